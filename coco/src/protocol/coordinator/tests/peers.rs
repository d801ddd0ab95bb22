//! Two coordinators and what they tell each other.

use std::collections::VecDeque;

use super::*;
use crate::protocol::{DeadlockPolicy, PeerMessage};

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
