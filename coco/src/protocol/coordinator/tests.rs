//! Unit tests of what the transcripts do not show.

use std::time::Duration;

use super::*;
use crate::log::Record;
use crate::protocol::{Ballot, DeadlockPolicy, Dependencies, PeerMessage};

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

/// Two coordinators, what they say to each other delivered in order.
struct Pair {
    machines: BTreeMap<CoordinatorId, Coordinator>,
    now: u64,
    /// What callers and sites were told.
    told: Vec<CoordinatorEffect>,
}

impl Pair {
    fn new(deadlocks: DeadlockPolicy) -> Self {
        let ids = [CoordinatorId(1), CoordinatorId(2)];
        let mut pair = Self {
            machines: BTreeMap::new(),
            now: 0,
            told: Vec::new(),
        };
        for id in ids {
            let config = CoordinatorConfig {
                deadlocks,
                ..config()
            };
            let mut out = Vec::new();
            let mut machine = Coordinator::recover(config, id, [], &mut out).unwrap();
            machine.handle_durable(ms(0), Token(1), &mut out);
            for site in ["A", "B"] {
                hello(&mut machine, site, 1, &[]);
            }
            pair.machines.insert(id, machine);
        }
        pair
    }

    fn link(&mut self) {
        self.act(CoordinatorId(1), |it, now, out| {
            it.handle_peer_up(now, CoordinatorId(2), out)
        });
        self.act(CoordinatorId(2), |it, now, out| {
            it.handle_peer_up(now, CoordinatorId(1), out)
        });
    }

    fn act(
        &mut self,
        id: CoordinatorId,
        what: impl FnOnce(&mut Coordinator, Time, &mut Vec<CoordinatorEffect>),
    ) {
        let mut out = Vec::new();
        what(self.machines.get_mut(&id).unwrap(), ms(self.now), &mut out);
        let mut queue: VecDeque<_> = out.into_iter().map(|it| (id, it)).collect();
        while let Some((from, effect)) = queue.pop_front() {
            if let CoordinatorEffect::SendPeer { to, message } = effect {
                let (mut out, now) = (Vec::new(), ms(self.now));
                let machine = self.machines.get_mut(&to).unwrap();
                machine.handle_peer_message(now, from, message, &mut out);
                queue.extend(out.into_iter().map(|it| (to, it)));
            } else {
                self.told.push(effect);
            }
        }
    }

    /// A transaction of this age that has asked for its commit.
    fn voting(&mut self, id: CoordinatorId, age: u64) -> Gtid {
        let mut gtid = Gtid(0);
        self.act(id, |it, now, out| {
            gtid = it.handle_begin(now, Some(Priority(age)), out).unwrap().gtid;
            let sites = ["A", "B"].map(SiteName::new);
            it.handle_commit(now, CallerId(gtid.0), gtid, &sites, out);
        });
        gtid
    }

    /// The site says that one waits for the other.
    fn waits(&mut self, site: &str, waiter: (Gtid, u64), by: (Gtid, u64)) {
        self.waits_for(site, waiter, vec![(by.0, Priority(by.1))]);
    }

    fn waits_for(&mut self, site: &str, waiter: (Gtid, u64), by: Vec<(Gtid, Priority)>) {
        let message = ToCoordinator::Blocked {
            gtid: waiter.0,
            priority: Priority(waiter.1),
            by,
        };
        let id = GtidParts::coordinator_of(waiter.0);
        let site = SiteName::new(site);
        self.act(id, |it, now, out| {
            it.handle_message(now, &site, message, out)
        });
    }

    fn aborted(&self) -> Vec<(Gtid, AbortCause)> {
        let abort = |effect: &CoordinatorEffect| {
            let CoordinatorEffect::Answer {
                gtid,
                answer: CommitAnswer::Aborted { cause },
                ..
            } = *effect
            else {
                return None;
            };
            Some((gtid, cause))
        };
        self.told.iter().filter_map(abort).collect()
    }
}

/// One coordinator sees that T1 waits for T2, the other that T2 waits for T1.
#[test]
fn a_deadlock_over_two_coordinators_costs_its_youngest_and_nobody_else() {
    for (one, two) in [(10, 20), (20, 10)] {
        for linked_before in [true, false] {
            let mut pair = Pair::new(DeadlockPolicy::Search);
            if linked_before {
                pair.link();
            }
            let first = (pair.voting(CoordinatorId(1), one), one);
            let second = (pair.voting(CoordinatorId(2), two), two);
            pair.waits("A", first, second);
            assert_eq!(pair.aborted(), []);
            pair.waits("B", second, first);
            if !linked_before {
                assert_eq!(pair.aborted(), [], "neither sees it alone");
                pair.link();
            }
            let youngest = if one > two { first.0 } else { second.0 };
            assert_eq!(pair.aborted(), [(youngest, AbortCause::VotingDeadlock)]);
            // The victim's end and the survivor's way free are known to both.
            let (site, survivor) = if one > two {
                ("B", second)
            } else {
                ("A", first)
            };
            pair.waits_for(site, survivor, Vec::new());
            let waits: usize = pair.machines.values().map(|it| it.waits().count()).sum();
            assert_eq!(waits, 0);
        }
    }
}

/// The cycle passes twice through each: every coordinator needs waits that are not next to its own.
#[test]
fn a_deadlock_that_goes_to_and_fro_between_coordinators_is_found() {
    let mut pair = Pair::new(DeadlockPolicy::Search);
    pair.link();
    let ages = [30, 10, 40, 20];
    let ids = [1, 2, 1, 2].map(CoordinatorId);
    let txns: Vec<(Gtid, u64)> = (0..4)
        .map(|it| (pair.voting(ids[it], ages[it]), ages[it]))
        .collect();
    for it in 0..4 {
        assert_eq!(pair.aborted(), []);
        pair.waits("A", txns[it], txns[(it + 1) % 4]);
    }
    assert_eq!(pair.aborted(), [(txns[2].0, AbortCause::VotingDeadlock)]);
}

#[test]
fn waits_that_lead_to_nobody_elses_transactions_are_not_told() {
    let mut pair = Pair::new(DeadlockPolicy::Search);
    pair.link();
    let first = (pair.voting(CoordinatorId(1), 1), 1);
    let second = (pair.voting(CoordinatorId(1), 2), 2);
    pair.waits("A", second, first);
    let peer_messages = |pair: &Pair| {
        let machines = pair.machines.values();
        machines.map(|it| it.stats().peer_messages).sum::<u64>()
    };
    assert_eq!(peer_messages(&pair), 0);
    let third = (pair.voting(CoordinatorId(2), 3), 3);
    pair.waits("B", first, third);
    assert_eq!(peer_messages(&pair), 2, "both lead to the third one");
}

#[test]
fn what_a_coordinator_said_is_void_when_its_link_ends() {
    let mut pair = Pair::new(DeadlockPolicy::Search);
    pair.link();
    let first = (pair.voting(CoordinatorId(1), 1), 1);
    let second = (pair.voting(CoordinatorId(2), 2), 2);
    pair.waits("A", first, second);
    pair.act(CoordinatorId(2), |it, now, _| {
        it.handle_peer_silent(now, CoordinatorId(1))
    });
    pair.waits("B", second, first);
    assert_eq!(pair.aborted(), []);
}

#[test]
fn nobody_speaks_for_another_coordinators_transactions() {
    let mut pair = Pair::new(DeadlockPolicy::Search);
    pair.link();
    let first = (pair.voting(CoordinatorId(1), 1), 1);
    let second = (pair.voting(CoordinatorId(1), 2), 2);
    pair.waits("A", second, first);
    let lie = PeerMessage::Waits {
        waiter: first.0,
        priority: Priority(1),
        at: vec![(SiteName::new("B"), vec![second.0])],
    };
    pair.act(CoordinatorId(1), |it, now, out| {
        it.handle_peer_message(now, CoordinatorId(2), lie, out);
    });
    assert_eq!(pair.aborted(), []);
}

/// An older one that waits for a younger one has it aborted, at its coordinator's word; the other way round
/// nothing happens.
#[test]
fn wound_wait_lets_only_the_younger_wait() {
    let mut pair = Pair::new(DeadlockPolicy::WoundWait);
    pair.link();
    let old = (pair.voting(CoordinatorId(1), 1), 1);
    let young = (pair.voting(CoordinatorId(2), 2), 2);
    pair.waits("A", young, old);
    assert_eq!(pair.aborted(), []);
    pair.waits("B", old, young);
    assert_eq!(pair.aborted(), [(young.0, AbortCause::Outranked)]);
}

#[test]
fn wait_die_lets_only_the_older_wait() {
    let mut pair = Pair::new(DeadlockPolicy::WaitDie);
    let old = (pair.voting(CoordinatorId(1), 1), 1);
    let young = (pair.voting(CoordinatorId(2), 2), 2);
    pair.waits("A", old, young);
    assert_eq!(pair.aborted(), []);
    pair.waits("B", young, old);
    assert_eq!(pair.aborted(), [(young.0, AbortCause::Outranked)]);
}

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
