//! Unit tests of what the transcripts do not show.

use std::time::Duration;

use super::*;
use crate::log::Record;
use crate::protocol::{Ballot, Dependencies};

mod counters;
mod dependent;
mod peers;

const ID: CoordinatorId = CoordinatorId(9);

fn ms(ms: u64) -> Time {
    Time(ms * 1000)
}

fn config() -> CoordinatorConfig {
    CoordinatorConfig {
        vote_timeout: Duration::from_millis(100),
        ..CoordinatorConfig::default()
    }
}

fn epoch(number: u32) -> Record {
    Record::Epoch {
        coordinator: ID,
        epoch: Epoch::new(number).unwrap(),
    }
}

fn gtid(epoch: u32, counter: u32) -> Gtid {
    GtidParts {
        coordinator: ID,
        epoch: Epoch::new(epoch).unwrap(),
        counter,
    }
    .gtid()
}

fn recover(records: &[Record]) -> Result<(Coordinator, Vec<CoordinatorEffect>), RecoverError> {
    let mut out = Vec::new();
    Coordinator::recover(config(), ID, records.iter().cloned(), &mut out).map(|it| (it, out))
}

/// A coordinator in service, with these sites connected.
fn serving(sites: &[&str]) -> Coordinator {
    let (mut coordinator, effects) = recover(&[]).unwrap();
    let [CoordinatorEffect::Append { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    coordinator.handle_durable(ms(0), token, &mut Vec::new());
    for site in sites {
        hello(&mut coordinator, site, 1, &[]);
    }
    coordinator
}

fn hello(
    coordinator: &mut Coordinator,
    site: &str,
    incarnation: u64,
    in_doubt: &[Gtid],
) -> Vec<CoordinatorEffect> {
    let message = ToCoordinator::Hello {
        incarnation: Incarnation(incarnation),
        address: format!("{site}:1"),
        in_doubt: in_doubt.to_vec(),
    };
    hear(coordinator, site, message)
}

fn hear(coordinator: &mut Coordinator, site: &str, it: ToCoordinator) -> Vec<CoordinatorEffect> {
    let mut out = Vec::new();
    coordinator.handle_message(ms(0), &SiteName::new(site), it, &mut out);
    out
}

fn yes(gtid: Gtid, incarnation: u64) -> ToCoordinator {
    let incarnation = Incarnation(incarnation);
    let ballot = Ballot::Yes {
        stamp: Stamp(1),
        incarnation,
        read_only: false,
        depends: Dependencies::default(),
    };
    ToCoordinator::Vote { gtid, ballot }
}

fn begin(coordinator: &mut Coordinator, at: u64, priority: Option<u64>) -> Gtid {
    let begun = coordinator.handle_begin(ms(at), priority.map(Priority), &mut Vec::new());
    begun.unwrap().gtid
}

fn commit(
    coordinator: &mut Coordinator,
    at: u64,
    gtid: Gtid,
    sites: &[&str],
) -> Vec<CoordinatorEffect> {
    let sites: Vec<SiteName> = sites.iter().map(|site| SiteName::new(site)).collect();
    let mut out = Vec::new();
    coordinator.handle_commit(ms(at), CallerId(gtid.0), gtid, &sites, &mut out);
    out
}

fn tick(coordinator: &mut Coordinator, at: u64) -> Vec<Gtid> {
    let mut out = Vec::new();
    coordinator.handle_tick(ms(at), &mut out);
    out.into_iter()
        .filter_map(|effect| {
            if let CoordinatorEffect::Answer { gtid, .. } = effect {
                Some(gtid)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn nothing_is_begun_before_the_epoch_is_durable_or_after_the_log_has_failed() {
    let (mut coordinator, effects) = recover(&[]).unwrap();
    let mut out = Vec::new();
    let early = coordinator.handle_begin(ms(0), None, &mut out);
    assert_eq!(early, Err(BeginRefused::Starting));
    assert!(!coordinator.is_serving());
    let [CoordinatorEffect::Append { token, ref record }] = effects[..] else {
        panic!()
    };
    assert_eq!(*record, epoch(1));
    coordinator.handle_durable(ms(0), token, &mut out);
    assert!(coordinator.is_serving());
    assert_eq!(begin(&mut coordinator, 0, None), gtid(1, 0));
    coordinator.handle_log_failed(ms(0), &mut out);
    let late = coordinator.handle_begin(ms(0), None, &mut out);
    assert_eq!(late, Err(BeginRefused::LogFailed));
}

#[test]
fn what_is_in_flight_is_bounded() {
    let mut coordinator = serving(&[]);
    coordinator.config.max_in_flight = 2;
    let first = begin(&mut coordinator, 0, None);
    begin(&mut coordinator, 0, None);
    let refused = coordinator.handle_begin(ms(0), None, &mut Vec::new());
    assert_eq!(refused, Err(BeginRefused::Busy { limit: 2 }));
    commit(&mut coordinator, 0, first, &[]);
    begin(&mut coordinator, 0, None);
    assert_eq!(coordinator.in_flight(), 2);
}

#[test]
fn when_an_epoch_is_used_up_the_next_one_starts_and_earlier_gtids_live_on() {
    let mut coordinator = serving(&["A", "B"]);
    coordinator.counter = Some(u32::MAX);
    let last = begin(&mut coordinator, 0, None);
    assert_eq!(last, gtid(1, u32::MAX));
    let mut out = Vec::new();
    let refused = coordinator.handle_begin(ms(0), None, &mut out);
    assert_eq!(refused, Err(BeginRefused::Starting));
    let [CoordinatorEffect::Append { token, ref record }] = out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(*record, epoch(2));
    coordinator.handle_durable(ms(0), token, &mut out);
    assert_eq!(begin(&mut coordinator, 0, None), gtid(2, 0));
    let asked = commit(&mut coordinator, 0, last, &["A", "B"]);
    assert_eq!(
        asked.len(),
        2,
        "the earlier epoch's transaction goes on: {asked:?}"
    );

    coordinator.epoch = Epoch::LAST;
    coordinator.counter = None;
    let refused = coordinator.handle_begin(ms(0), None, &mut out);
    assert_eq!(refused, Err(BeginRefused::EpochsExhausted));
}

#[test]
fn a_log_that_is_not_ours_or_contradicts_itself_is_refused() {
    let other = Record::Epoch {
        coordinator: CoordinatorId(1),
        epoch: Epoch::new(1).unwrap(),
    };
    let error = recover(&[other]).map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        RecoverError::OtherCoordinator {
            found: CoordinatorId(1),
            expected: ID
        }
    );
    let out_of_order = [
        vec![epoch(2), epoch(2)],
        vec![epoch(2), epoch(1)],
        vec![epoch(1), Record::End { gtid: gtid(2, 0) }],
        vec![Record::Commit {
            gtid: gtid(1, 0),
            stamp: Stamp(1),
            sites: vec![],
        }],
    ];
    for records in out_of_order {
        let error = recover(&records).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, RecoverError::EpochOutOfOrder { .. }),
            "{records:?}: {error}"
        );
    }
    let error = recover(&[epoch(Epoch::LAST.number())])
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error, RecoverError::EpochsExhausted);
}

#[test]
fn live_records_recover_to_the_same_as_the_whole_log() {
    let commit = |counter| Record::Commit {
        gtid: gtid(1, counter),
        stamp: Stamp(5),
        sites: vec![SiteName::new("A"), SiteName::new("B")],
    };
    let whole = [
        epoch(1),
        commit(0),
        commit(1),
        Record::End { gtid: gtid(1, 0) },
        epoch(4),
    ];
    let (coordinator, _) = recover(&whole).unwrap();
    let live = coordinator.live_records();
    assert_eq!(live, [epoch(5), commit(1)]);
    let (again, _) = recover(&live).unwrap();
    let views = |it: &Coordinator| it.transactions().collect::<Vec<_>>();
    assert_eq!(views(&again), views(&coordinator));
    assert_eq!(again.epoch(), Epoch::new(6).unwrap());
}

#[test]
fn priorities_grow_with_begins_and_restarts_and_a_retry_keeps_its_own() {
    let mut coordinator = serving(&[]);
    let mut begin = |priority| {
        coordinator
            .handle_begin(ms(0), priority, &mut Vec::new())
            .unwrap()
    };
    let (first, second) = (begin(None), begin(None));
    assert!(first.priority < second.priority);
    assert_eq!(begin(Some(first.priority)).priority, first.priority);
    let (mut later, effects) = recover(&[epoch(1)]).unwrap();
    let [CoordinatorEffect::Append { token, .. }] = effects[..] else {
        panic!()
    };
    later.handle_durable(ms(0), token, &mut Vec::new());
    let after_restart = later.handle_begin(ms(0), None, &mut Vec::new()).unwrap();
    assert!(after_restart.priority > second.priority);
}

/// Two coordinators, each with one transaction of one deadlock, know no ages but their own: if both
/// timers always fired together, both would die and come again for ever.
#[test]
fn attempts_differ_in_how_long_they_wait() {
    let mut coordinator = serving(&["A", "B"]);
    let mut ends = BTreeSet::new();
    for _ in 0..10 {
        let gtid = begin(&mut coordinator, 0, Some(10));
        commit(&mut coordinator, 0, gtid, &["A", "B"]);
        ends.insert(coordinator.next_deadline().unwrap());
        tick(&mut coordinator, 1000);
    }
    assert!(ends.len() > 5, "{ends:?}");
}

/// 4.9: if the timers of two on one deadlock fired together, two would die for one.
#[test]
fn older_transactions_wait_longer_for_their_votes() {
    let mut coordinator = serving(&["A", "B"]);
    let sites = ["A", "B"];
    let oldest = begin(&mut coordinator, 0, Some(10));
    let middle = begin(&mut coordinator, 0, Some(20));
    let newest = begin(&mut coordinator, 0, Some(30));
    for gtid in [oldest, middle, newest] {
        commit(&mut coordinator, 0, gtid, &sites);
    }
    // All have up to an eighth of the span more, which differs from one set of attempts to the next.
    assert_eq!(tick(&mut coordinator, 99), []);
    assert_eq!(tick(&mut coordinator, 113), [newest]);
    // The middle one is the youngest now, but its time was measured when it was not.
    assert_eq!(tick(&mut coordinator, 149), []);
    assert_eq!(tick(&mut coordinator, 163), [middle]);
    assert_eq!(tick(&mut coordinator, 199), []);
    assert_eq!(tick(&mut coordinator, 213), [oldest]);
    assert_eq!(coordinator.stats().aborts[&AbortCause::Timeout], 3);
}

#[test]
fn a_vote_of_another_life_than_announced_aborts() {
    let mut coordinator = serving(&["A", "B"]);
    let gtid = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, gtid, &["A", "B"]);
    let effects = hear(&mut coordinator, "A", yes(gtid, 2));
    let cause = AbortCause::UnknownTransaction;
    let said = CommitAnswer::Aborted { cause };
    assert!(
        effects.contains(&answer(CallerId(gtid.0), gtid, said)),
        "{effects:?}"
    );
    let told = effects
        .iter()
        .filter(|it| matches!(it, CoordinatorEffect::Send { .. }))
        .count();
    assert_eq!(told, 2, "the voter is told as well: {effects:?}");
}

#[test]
fn a_hello_of_an_earlier_life_is_ignored() {
    let mut coordinator = serving(&["A"]);
    hello(&mut coordinator, "A", 3, &[]);
    let effects = hello(&mut coordinator, "A", 2, &[]);
    let note = Note::StaleHello {
        from: SiteName::new("A"),
    };
    assert_eq!(effects, [CoordinatorEffect::Note(note)]);
    assert_eq!(
        coordinator.sites().next().unwrap().incarnation,
        Incarnation(3)
    );
}

#[test]
fn nothing_is_presumed_of_what_others_decide_or_what_is_not_yet_begun() {
    let mut coordinator = serving(&["A"]);
    let parts = GtidParts::of(gtid(1, 0));
    let foreign = GtidParts {
        coordinator: CoordinatorId(8),
        ..parts
    }
    .gtid();
    for gtid in [foreign, gtid(2, 0), gtid(0, 7)] {
        let effects = hear(&mut coordinator, "A", ToCoordinator::Inquire { gtid });
        let note = Note::ForeignGtid {
            from: SiteName::new("A"),
            gtid,
        };
        assert_eq!(effects, [CoordinatorEffect::Note(note)]);
        let effects = commit(&mut coordinator, 0, gtid, &["A"]);
        assert_eq!(
            effects.len(),
            1,
            "refused, and no abort is sent: {effects:?}"
        );
    }
    let active = begin(&mut coordinator, 0, None);
    assert_eq!(
        hear(
            &mut coordinator,
            "A",
            ToCoordinator::Inquire { gtid: active }
        ),
        []
    );
    let effects = hear(
        &mut coordinator,
        "A",
        ToCoordinator::Inquire { gtid: gtid(1, 77) },
    );
    assert!(
        matches!(effects[..], [CoordinatorEffect::Send { .. }]),
        "{effects:?}"
    );
}

#[test]
fn votes_that_nobody_asked_for_are_ignored() {
    let mut coordinator = serving(&["A", "B", "C"]);
    let gtid = begin(&mut coordinator, 0, None);
    let unexpected = CoordinatorEffect::Note(Note::UnexpectedVote {
        from: SiteName::new("C"),
        gtid,
    });
    assert_eq!(
        hear(&mut coordinator, "C", yes(gtid, 1)),
        std::slice::from_ref(&unexpected)
    );
    commit(&mut coordinator, 0, gtid, &["A", "B"]);
    assert_eq!(hear(&mut coordinator, "C", yes(gtid, 1)), [unexpected]);
    assert_eq!(hear(&mut coordinator, "A", yes(gtid, 1)), []);
    let effects = hear(&mut coordinator, "B", yes(gtid, 1));
    assert!(
        matches!(effects[..], [CoordinatorEffect::Append { .. }]),
        "{effects:?}"
    );
}

#[test]
fn an_outcome_is_told_again_as_long_as_it_is_remembered() {
    let mut coordinator = serving(&["A", "B"]);
    coordinator.recent = Recent::new(1);
    let first = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, first, &["A", "X"]);
    let said = |effects: Vec<CoordinatorEffect>| match effects.last() {
        Some(&CoordinatorEffect::Answer { answer, .. }) => answer,
        other => panic!("{other:?}"),
    };
    let aborted = CommitAnswer::Aborted {
        cause: AbortCause::SiteUnreachable,
    };
    assert_eq!(
        said(commit(&mut coordinator, 0, first, &["A", "X"])),
        aborted
    );
    let second = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, second, &[]);
    let refused = CommitAnswer::Refused(Refusal::UnknownGtid);
    assert_eq!(
        said(commit(&mut coordinator, 0, first, &["A", "X"])),
        refused
    );
}

/// A site that has said YES, and NO since because what it read was aborted, waits for the decision.
#[test]
fn who_votes_no_is_not_told_again_unless_it_may_have_voted_before() {
    for (cause, expected) in [
        (AbortCause::StaleRead, vec!["B"]),
        (AbortCause::Cascade, vec!["A", "B"]),
    ] {
        let mut coordinator = serving(&["A", "B"]);
        let gtid = begin(&mut coordinator, 0, None);
        commit(&mut coordinator, 0, gtid, &["A", "B"]);
        let ballot = Ballot::No { cause };
        let effects = hear(&mut coordinator, "A", ToCoordinator::Vote { gtid, ballot });
        let told: Vec<&str> = effects
            .iter()
            .filter_map(|effect| {
                if let CoordinatorEffect::Send { to, .. } = effect {
                    Some(to.as_str())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(told, expected, "{cause:?}");
    }
}

/// An abort by a site that did not know the transaction is a proof if it was asked once, and only then: asked
/// again, it may have committed and forgotten in between. What it knew is a proof whenever it says so.
#[test]
fn an_abort_by_the_only_site_is_believed_if_it_cannot_have_forgotten_a_commit() {
    let cause = AbortCause::StaleRead;
    let aborted = CommitAnswer::Aborted { cause };
    for (known, comes_back_as, expected) in [
        (true, None, aborted),
        (false, None, aborted),
        (true, Some(1), aborted),
        (true, Some(2), aborted),
        (false, Some(1), CommitAnswer::Unknown),
        (false, Some(2), CommitAnswer::Unknown),
    ] {
        let mut coordinator = serving(&["A", "B"]);
        let gtid = begin(&mut coordinator, 0, None);
        commit(&mut coordinator, 0, gtid, &["A"]);
        if let Some(incarnation) = comes_back_as {
            let again = hello(&mut coordinator, "A", incarnation, &[]);
            assert_eq!(again.len(), 1, "it is asked again: {again:?}");
        }
        let done = ToCoordinator::OnePhaseDone {
            gtid,
            decision: Decision::Abort { cause },
            known,
        };
        assert_eq!(
            hear(&mut coordinator, "B", done.clone()),
            [],
            "B has no say in it"
        );
        assert_eq!(
            hear(&mut coordinator, "A", done),
            [answer(CallerId(gtid.0), gtid, expected)],
            "known: {known}, back as {comes_back_as:?}"
        );
    }
}

/// A timer that set itself again for the moment at which it fires would fire for ever.
#[test]
fn at_its_deadline_a_transaction_has_waited_long_enough() {
    let mut coordinator = serving(&["A", "B"]);
    let voting = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, voting, &["A", "B"]);
    let alone = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, alone, &["A"]);
    for _ in 0..10 {
        let due = coordinator.next_deadline();
        if let Some(due) = due {
            coordinator.handle_tick(due, &mut Vec::new());
            assert!(coordinator.next_deadline().is_none_or(|next| next > due));
        }
    }
    assert_eq!(coordinator.in_flight(), 0);
    assert_eq!(coordinator.next_deadline(), None);
}

#[test]
fn reported_waits_are_shown_until_they_are_withdrawn() {
    let mut coordinator = serving(&["A"]);
    let (one, two) = (
        begin(&mut coordinator, 0, None),
        begin(&mut coordinator, 0, None),
    );
    let report = |by: &[Gtid]| ToCoordinator::Blocked {
        gtid: one,
        priority: Priority(1),
        by: by.iter().map(|&it| (it, Priority(2))).collect(),
    };
    hear(&mut coordinator, "A", report(&[two]));
    let site = SiteName::new("A");
    let wait = WaitView {
        waiter: one,
        site: &site,
        blockers: &[two],
    };
    assert_eq!(coordinator.waits().collect::<Vec<_>>(), [wait]);
    hear(&mut coordinator, "A", report(&[]));
    assert_eq!(coordinator.waits().count(), 0);
}

#[test]
fn counters_count_and_start_again_when_taken() {
    let mut coordinator = serving(&["A"]);
    let gtid = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, gtid, &["A"]);
    let decision = Decision::Commit { stamp: Stamp(4) };
    hear(
        &mut coordinator,
        "A",
        ToCoordinator::OnePhaseDone {
            gtid,
            decision,
            known: true,
        },
    );
    let lost = begin(&mut coordinator, 0, None);
    commit(&mut coordinator, 0, lost, &["X"]);
    let stats = coordinator.take_stats();
    assert_eq!(
        (stats.begun, stats.commits, stats.one_phase_commits),
        (2, 1, 1)
    );
    assert_eq!(stats.aborts_in_all(), 1);
    assert_eq!(*coordinator.stats(), CoordinatorStats::default());
}
