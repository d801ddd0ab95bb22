//! What is counted: operators see these numbers as metrics. Each flow is driven twice, so that a counter
//! which only stands at one, or at nothing, is seen.

use super::*;
use crate::protocol::DeadlockPolicy;

/// A transaction that has asked twice to commit at A and B.
fn voting(coordinator: &mut Coordinator, at: u64) -> Gtid {
    let gtid = begin(coordinator, at, None);
    commit(coordinator, at, gtid, &["A", "B"]);
    commit(coordinator, at, gtid, &["A", "B"]);
    gtid
}

/// Both sites have voted YES: the token of the commit's record.
fn forcing(coordinator: &mut Coordinator) -> (Gtid, Token) {
    let gtid = voting(coordinator, 0);
    hear(coordinator, "A", yes(gtid, 1));
    let effects = hear(coordinator, "B", yes(gtid, 1));
    let [CoordinatorEffect::Append { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    (gtid, token)
}

fn waits_for(coordinator: &mut Coordinator, site: &str, waiter: Gtid, blocker: Gtid) {
    let message = ToCoordinator::Blocked {
        gtid: waiter,
        priority: Priority(waiter.0),
        by: vec![(blocker, coordinator.transactions[&blocker].priority)],
    };
    hear(coordinator, site, message);
}

#[test]
fn commits_and_what_is_said_again_are_counted() {
    let mut coordinator = serving(&["A", "B"]);
    for done in 1..=2 {
        let (_, token) = forcing(&mut coordinator);
        coordinator.handle_durable(ms(0), token, &mut Vec::new());
        assert_eq!(coordinator.stats().commits, done);
    }
    for _ in 0..2 {
        let empty = begin(&mut coordinator, 0, None);
        commit(&mut coordinator, 0, empty, &[]);
    }
    assert_eq!(coordinator.stats().commits, 4);
    assert_eq!(coordinator.stats().one_phase_commits, 0);
    // The resend timer says both decisions to both sites; one that is away is told nothing.
    tick(&mut coordinator, 1000);
    assert_eq!(coordinator.stats().resends, 4);
    coordinator.handle_link_down(ms(1000), &SiteName::new("B"), &mut Vec::new());
    tick(&mut coordinator, 3000);
    assert_eq!(coordinator.stats().resends, 6);
}

#[test]
fn each_caller_who_hears_unknown_is_counted() {
    let mut coordinator = serving(&["A", "B"]);
    for done in 1..=2 {
        let gtid = begin(&mut coordinator, 0, None);
        commit(&mut coordinator, 0, gtid, &["A"]);
        commit(&mut coordinator, 0, gtid, &["A"]);
        tick(&mut coordinator, 1000 * done);
        assert_eq!(tick(&mut coordinator, 1000 * done + 500), [gtid, gtid]);
        assert_eq!(coordinator.stats().unknown, 2 * done);
    }
    forcing(&mut coordinator);
    forcing(&mut coordinator);
    coordinator.handle_log_failed(ms(0), &mut Vec::new());
    assert_eq!(coordinator.stats().unknown, 8);
    assert_eq!(coordinator.stats().aborts_in_all(), 0);
}

#[test]
fn transactions_that_never_come_back_are_counted() {
    let mut coordinator = serving(&["A", "B"]);
    begin(&mut coordinator, 0, None);
    begin(&mut coordinator, 0, None);
    let idle = coordinator.config.idle_timeout;
    coordinator.handle_tick(ms(0) + idle, &mut Vec::new());
    assert_eq!(coordinator.stats().expired, 2);
    assert_eq!(coordinator.stats().aborts[&AbortCause::Timeout], 2);
}

#[test]
fn deadlocks_are_counted_by_what_ended_them() {
    let mut coordinator = serving(&["A", "B"]);
    for done in 1..=2 {
        let (one, two) = (voting(&mut coordinator, 0), voting(&mut coordinator, 0));
        waits_for(&mut coordinator, "A", one, two);
        waits_for(&mut coordinator, "B", two, one);
        assert_eq!(coordinator.stats().deadlocks_by_search, done);
        assert_eq!(coordinator.stats().reports, 2 * done);
        hear(
            &mut coordinator,
            "A",
            ToCoordinator::Vote {
                gtid: one,
                ballot: Ballot::No {
                    cause: AbortCause::Client,
                },
            },
        );
    }
    coordinator.config.deadlocks = DeadlockPolicy::Timeouts;
    for done in 1..=2 {
        let start = 1000 * done;
        let (one, two) = (
            voting(&mut coordinator, start),
            voting(&mut coordinator, start),
        );
        waits_for(&mut coordinator, "A", one, two);
        waits_for(&mut coordinator, "B", two, one);
        // The first to run out stands on the cycle; the other, after it, on none.
        tick(&mut coordinator, start + 999);
        assert_eq!(coordinator.in_flight(), 0);
        assert_eq!(coordinator.stats().deadlocks_by_timeout, done);
    }
    assert_eq!(coordinator.stats().deadlocks_by_search, 2);
}

/// A transaction of one site may stand on a cycle as well: it waits there with an operation.
#[test]
fn deadlocks_through_a_transaction_of_one_site_are_counted() {
    let mut coordinator = serving(&["A", "B"]);
    coordinator.config.deadlocks = DeadlockPolicy::Timeouts;
    for done in 1..=2 {
        let start = 1000 * done;
        let older = begin(&mut coordinator, start, None);
        let one = begin(&mut coordinator, start, None);
        commit(&mut coordinator, start, one, &["A"]);
        waits_for(&mut coordinator, "A", one, older);
        waits_for(&mut coordinator, "B", older, one);
        tick(&mut coordinator, start + 200);
        assert_eq!(coordinator.stats().deadlocks_by_timeout, done);
        tick(&mut coordinator, start + 500);
        coordinator.handle_rollback(ms(start), CallerId(0), older, &[], &mut Vec::new());
        assert_eq!(coordinator.in_flight(), 0);
    }
}

#[test]
fn who_gives_way_to_an_older_one_is_counted() {
    for policy in [DeadlockPolicy::WoundWait, DeadlockPolicy::WaitDie] {
        let mut coordinator = serving(&["A", "B"]);
        coordinator.config.deadlocks = policy;
        for done in 1..=2 {
            let (old, young) = (voting(&mut coordinator, 0), voting(&mut coordinator, 0));
            waits_for(&mut coordinator, "A", old, young);
            waits_for(&mut coordinator, "B", young, old);
            assert_eq!(coordinator.stats().outranked, done, "{policy}");
        }
        assert_eq!(coordinator.stats().aborts[&AbortCause::Outranked], 2);
        assert_eq!(coordinator.stats().deadlocks_by_search, 0);
    }
}
