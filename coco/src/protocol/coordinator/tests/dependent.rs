//! Votes that depend on others' decisions.

use super::*;
use crate::protocol::{Ballot, Dependencies};

fn dependent(coordinator: &mut Coordinator, gtid: Gtid) -> Vec<CoordinatorEffect> {
    let mut out = Vec::new();
    let sites = ["A", "B"].map(SiteName::new);
    coordinator.handle_commit_dependent(ms(0), CallerId(gtid.0), gtid, &sites, &mut out);
    out
}

/// A YES of this site with this stamp, which depends on these.
fn yes_after(
    coordinator: &mut Coordinator,
    site: &str,
    gtid: Gtid,
    stamp: u64,
    depends: (&[Gtid], &[Gtid]),
) -> Vec<CoordinatorEffect> {
    let ballot = Ballot::Yes {
        stamp: Stamp(stamp),
        incarnation: Incarnation(1),
        read_only: false,
        depends: Dependencies {
            after: depends.0.iter().copied().collect(),
            if_committed: depends.1.iter().copied().collect(),
        },
    };
    hear(coordinator, site, ToCoordinator::Vote { gtid, ballot })
}

/// The commit records that are appended: whose, with which stamp.
fn appended(effects: &[CoordinatorEffect]) -> Vec<(Gtid, u64)> {
    let record = |effect: &CoordinatorEffect| {
        let CoordinatorEffect::Append {
            record: Record::Commit { gtid, stamp, .. },
            ..
        } = effect
        else {
            return None;
        };
        Some((*gtid, stamp.0))
    };
    effects.iter().filter_map(record).collect()
}

fn three(coordinator: &mut Coordinator) -> [Gtid; 3] {
    let gtids = [1, 2, 3].map(|age| begin(coordinator, 0, Some(age)));
    for gtid in gtids {
        let prepares = dependent(coordinator, gtid);
        let asks = |effect: &CoordinatorEffect| {
            matches!(
                effect,
                CoordinatorEffect::Send {
                    message: ToParticipant::Prepare {
                        dependent: true,
                        ..
                    },
                    ..
                }
            )
        };
        assert_eq!(prepares.iter().filter(|it| asks(it)).count(), 2);
    }
    gtids
}

/// The third depends on the second, that on the first: when the first has all its votes, all three are
/// decided at once, in one batch of the log, in their order, with growing stamps.
#[test]
fn a_chain_of_dependent_votes_is_decided_in_order_and_in_one_batch() {
    let mut coordinator = serving(&["A", "B"]);
    let [one, two, three] = three(&mut coordinator);
    for (gtid, before) in [(three, two), (two, one)] {
        let said = yes_after(&mut coordinator, "A", gtid, 5, (&[before], &[before]));
        assert_eq!(appended(&said), []);
        let said = yes_after(&mut coordinator, "B", gtid, 3, (&[], &[]));
        assert_eq!(appended(&said), [], "its predecessor is undecided");
    }
    yes_after(&mut coordinator, "A", one, 9, (&[], &[]));
    let said = yes_after(&mut coordinator, "B", one, 2, (&[], &[]));
    assert_eq!(appended(&said), [(one, 9), (two, 10), (three, 11)]);
}

#[test]
fn an_abort_ends_those_that_read_from_it_and_sets_the_others_free() {
    let mut coordinator = serving(&["A", "B"]);
    let [one, two, three] = three(&mut coordinator);
    for (gtid, depends) in [
        (two, (&[one][..], &[][..])),
        (three, (&[two][..], &[one][..])),
    ] {
        yes_after(&mut coordinator, "A", gtid, 5, depends);
        yes_after(&mut coordinator, "B", gtid, 5, (&[], &[]));
    }
    let no = ToCoordinator::Vote {
        gtid: one,
        ballot: Ballot::No {
            cause: AbortCause::WriteConflict,
        },
    };
    let said = hear(&mut coordinator, "A", no);
    assert_eq!(appended(&said), [(two, 5)], "it only came after");
    let cascade = CommitAnswer::Aborted {
        cause: AbortCause::Cascade,
    };
    assert!(
        said.contains(&answer(CallerId(three.0), three, cascade)),
        "{said:?}"
    );
}

/// A depends on B here and B on A there: no turn would ever come.
#[test]
fn a_cycle_of_dependent_votes_is_broken_when_the_last_of_them_arrives() {
    let mut coordinator = serving(&["A", "B"]);
    let [one, two, _] = three(&mut coordinator);
    for (site, gtid, depends) in [
        ("A", one, vec![]),
        ("A", two, vec![one]),
        ("B", two, vec![]),
    ] {
        yes_after(&mut coordinator, site, gtid, 5, (&depends, &[]));
    }
    let said = yes_after(&mut coordinator, "B", one, 5, (&[two], &[]));
    let deadlock = CommitAnswer::Aborted {
        cause: AbortCause::VotingDeadlock,
    };
    assert!(
        said.contains(&answer(CallerId(two.0), two, deadlock)),
        "{said:?}"
    );
    assert_eq!(
        appended(&said),
        [(one, 5)],
        "and the other one goes on at once"
    );
    assert_eq!(coordinator.stats().deadlocks_by_search, 1);
}

/// Of another coordinator's transaction only the site can say that it is decided.
#[test]
fn a_foreign_predecessor_is_waited_for_until_the_site_votes_again() {
    let mut coordinator = serving(&["A", "B"]);
    let [one, ..] = three(&mut coordinator);
    let foreign = Gtid(7 << 56 | 1);
    yes_after(&mut coordinator, "B", one, 5, (&[], &[]));
    let said = yes_after(&mut coordinator, "A", one, 5, (&[], &[foreign]));
    assert_eq!(appended(&said), []);
    let said = yes_after(&mut coordinator, "A", one, 30, (&[], &[]));
    assert_eq!(appended(&said), [(one, 30)]);
    // The first word arrives once more, late: it brings nothing back.
    let said = yes_after(&mut coordinator, "A", one, 5, (&[], &[foreign]));
    assert_eq!(appended(&said), []);
}

#[test]
fn a_vote_that_names_what_is_long_forgotten_is_asked_for_again() {
    let mut coordinator = serving(&["A", "B"]);
    let [one, ..] = three(&mut coordinator);
    let forgotten = gtid(1, 999);
    yes_after(&mut coordinator, "B", one, 5, (&[], &[]));
    let said = yes_after(&mut coordinator, "A", one, 5, (&[forgotten], &[]));
    assert_eq!(appended(&said), []);
    let again = |effect: &CoordinatorEffect| {
        matches!(effect, CoordinatorEffect::Send { message: ToParticipant::Prepare { .. }, to }
            if to.as_str() == "A")
    };
    assert!(said.iter().any(again), "{said:?}");
    let said = yes_after(&mut coordinator, "A", one, 6, (&[], &[]));
    assert_eq!(appended(&said), [(one, 6)]);
}

/// The stack is not as deep as the chain is long.
#[test]
fn a_chain_of_a_hundred_thousand_is_decided_and_another_aborted() {
    for refuse in [false, true] {
        let mut coordinator = serving(&["A", "B"]);
        let mut before: Option<Gtid> = None;
        let length: u64 = if cfg!(debug_assertions) {
            20_000
        } else {
            100_000
        };
        let mut first = Gtid(0);
        for age in 0..length {
            let gtid = begin(&mut coordinator, 0, Some(age));
            dependent(&mut coordinator, gtid);
            let depends: Vec<Gtid> = before.replace(gtid).into_iter().collect();
            if depends.is_empty() {
                first = gtid;
                continue;
            }
            yes_after(&mut coordinator, "A", gtid, 1, (&[], &depends));
            yes_after(&mut coordinator, "B", gtid, 1, (&[], &[]));
        }
        if refuse {
            let mut out = Vec::new();
            let sites = ["A", "B"].map(SiteName::new);
            coordinator.handle_rollback(ms(0), CallerId(0), first, &sites, &mut out);
            assert_eq!(coordinator.stats().aborts[&AbortCause::Cascade], length - 1);
        } else {
            yes_after(&mut coordinator, "A", first, 1, (&[], &[]));
            let said = yes_after(&mut coordinator, "B", first, 1, (&[], &[]));
            let stamps: Vec<u64> = appended(&said)
                .into_iter()
                .map(|(_, stamp)| stamp)
                .collect();
            assert_eq!(stamps, (1..=length).collect::<Vec<_>>());
        }
    }
}
