//! A site's half with a log of its own, in which an operator decides: agreement, contradiction, deaths before and
//! after each record, repetitions, and those who depend on it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::protocol::{
    CoordinatorId, GtidParts, InDoubt, Incarnation, ReleasedVote, ToParticipant, Token, VoterConfig,
};

const T: Gtid = Gtid(1);
const C: CoordinatorId = CoordinatorId(0);
const COMMIT: Decision = Decision::Commit { stamp: Stamp(9) };
const ABORT: Decision = Decision::Abort {
    cause: AbortCause::Client,
};

#[derive(Clone, Debug)]
enum Record {
    Prepared(InDoubt),
    Decided(Gtid, Decision),
    ByHand(Gtid, Decision, Vec<Gtid>),
    State(Heuristic),
}

/// A voter, its log, and an engine that remembers what it was told.
struct World {
    voter: Voter,
    durable: Vec<Record>,
    pending: Vec<(Record, Option<Token>)>,
    applied: Vec<(Gtid, bool)>,
    said: Vec<ToCoordinator>,
    lives: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            voter: Voter::recover(config(), Incarnation(1), Time(0), [], []),
            durable: Vec::new(),
            pending: Vec::new(),
            applied: Vec::new(),
            said: Vec::new(),
            lives: 1,
        };
        world.link();
        world
    }

    /// With this transaction in doubt.
    fn in_doubt() -> Self {
        let mut world = Self::new();
        world.vote(T, &[], &[]);
        world
    }

    fn link(&mut self) {
        for coordinator in [0, 1] {
            self.act(|it, out| it.handle_link_up(Time(0), CoordinatorId(coordinator), out));
        }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Voter, &mut Vec<VoterEffect>) -> R) -> R {
        let mut out = Vec::new();
        let result = act(&mut self.voter, &mut out);
        for effect in out {
            let record = match effect {
                VoterEffect::RequestVote { .. } => continue,
                VoterEffect::Apply { gtid, decision } => {
                    self.applied.push((gtid, decision.is_commit()));
                    continue;
                }
                VoterEffect::Send { message, .. } => {
                    self.said.push(message);
                    continue;
                }
                VoterEffect::AppendPrepared {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    token,
                } => {
                    let broken = false;
                    let vote = InDoubt {
                        gtid,
                        stamp,
                        read_only,
                        depends,
                        broken,
                    };
                    (Record::Prepared(vote), Some(token))
                }
                VoterEffect::AppendOnePhase { .. } => panic!("nobody asked for that"),
                VoterEffect::AppendDecision {
                    gtid,
                    decision,
                    token,
                } => (Record::Decided(gtid, decision), Some(token)),
                VoterEffect::AppendDecisionLazy { gtid, decision } => {
                    (Record::Decided(gtid, decision), None)
                }
                VoterEffect::AppendHeuristic {
                    gtid,
                    decision,
                    along,
                    token,
                } => (Record::ByHand(gtid, decision, along), Some(token)),
                VoterEffect::AppendHeuristicState { heuristic, token } => {
                    (Record::State(heuristic), token)
                }
            };
            self.pending.push(record);
        }
        result
    }

    fn hear(&mut self, gtid: Gtid, decision: Decision) {
        let from = GtidParts::coordinator_of(gtid);
        let message = ToParticipant::Decide { gtid, decision };
        self.act(|it, out| it.handle_message(Time(0), from, message, out));
    }

    fn by_hand(&mut self, gtid: Gtid, decision: Decision) -> Result<Vec<Gtid>, HeuristicRefused> {
        self.act(|it, out| it.handle_heuristic(Time(0), gtid, decision, out))
    }

    /// The transaction votes YES, and that is durable and said.
    fn vote(&mut self, gtid: Gtid, after: &[Gtid], if_committed: &[Gtid]) {
        self.give_vote(gtid, after, if_committed);
        self.sync();
    }

    fn give_vote(&mut self, gtid: Gtid, after: &[Gtid], if_committed: &[Gtid]) {
        let from = GtidParts::coordinator_of(gtid);
        let prepare = ToParticipant::Prepare {
            gtid,
            dependent: true,
        };
        self.act(|it, out| it.handle_message(Time(0), from, prepare, out));
        let set = |gtids: &[Gtid]| gtids.iter().copied().collect::<BTreeSet<_>>();
        let depends = Dependencies {
            after: set(after),
            if_committed: set(if_committed),
        };
        let yes = ReleasedVote::Yes {
            stamp: Stamp(3),
            read_only: false,
            depends,
        };
        self.act(|it, out| it.handle_released(Time(0), gtid, yes, out));
    }

    /// Everything becomes durable.
    fn sync(&mut self) {
        while !self.pending.is_empty() {
            let (record, token) = self.pending.remove(0);
            self.durable.push(record);
            if let Some(token) = token {
                self.act(|it, out| it.handle_durable(Time(0), token, out));
            }
        }
    }

    /// The site dies, with so many of the records on the disk that were on their way, and comes back.
    fn crash(&mut self, survivors: usize) {
        let pending = std::mem::take(&mut self.pending);
        let survived = pending.into_iter().take(survivors);
        self.durable.extend(survived.map(|(record, _)| record));
        let (in_doubt, heuristics) = self.read();
        self.lives += 1;
        let incarnation = Incarnation(self.lives);
        self.voter = Voter::recover(config(), incarnation, Time(0), in_doubt, []);
        self.voter.recover_heuristics(Time(0), heuristics);
        self.said.clear();
        self.link();
    }

    /// What the log says, as a site reads it.
    fn read(&self) -> (Vec<InDoubt>, Vec<Heuristic>) {
        let mut in_doubt: Vec<InDoubt> = Vec::new();
        let mut heuristics: BTreeMap<Gtid, Heuristic> = BTreeMap::new();
        for record in &self.durable {
            let decided: Vec<(Gtid, Decision)> = match record {
                Record::Prepared(vote) => {
                    in_doubt.push(vote.clone());
                    continue;
                }
                Record::State(heuristic) => {
                    heuristics.insert(heuristic.gtid, heuristic.clone());
                    continue;
                }
                Record::Decided(gtid, decision) => {
                    heuristics.remove(gtid);
                    vec![(*gtid, *decision)]
                }
                Record::ByHand(gtid, decision, along) => {
                    heuristics.insert(*gtid, Heuristic::new(*gtid, *decision, false));
                    for other in along {
                        let mut taken = Heuristic::new(*other, ABORT, false);
                        taken.because_of = Some(*gtid);
                        heuristics.entry(*other).or_insert(taken);
                    }
                    let along = along.iter().map(|other| (*other, ABORT));
                    std::iter::once((*gtid, *decision)).chain(along).collect()
                }
            };
            for (gtid, decision) in decided {
                in_doubt.retain(|vote| vote.gtid != gtid);
                let outcome = match decision {
                    Decision::Commit { stamp } => Some(stamp),
                    Decision::Abort { .. } => None,
                };
                in_doubt
                    .iter_mut()
                    .for_each(|vote| vote.settle(gtid, outcome));
            }
        }
        heuristics.retain(|_, it| !it.is_settled());
        (in_doubt, heuristics.into_values().collect())
    }

    fn damaged(&self) -> Vec<Gtid> {
        let damaged = self.voter.heuristics().filter(|it| it.is_damage());
        damaged.map(|it| it.gtid).collect()
    }

    fn unheard(&self) -> Vec<Gtid> {
        let unheard = self.voter.heuristics().filter(|it| it.heard.is_none());
        unheard.map(|it| it.gtid).collect()
    }

    fn in_doubt_at_hello(&self) -> Vec<Gtid> {
        let mut all = Vec::new();
        for message in &self.said {
            if let ToCoordinator::Hello { in_doubt, .. } = message {
                all.extend(in_doubt);
            }
        }
        all
    }

    fn acknowledged(&self, gtid: Gtid) -> bool {
        self.said.contains(&ToCoordinator::Ack { gtid })
    }
}

fn config() -> VoterConfig {
    VoterConfig {
        dependent_votes: true,
        ..VoterConfig::default()
    }
}

/// A transaction of coordinator 1.
fn foreign(counter: u64) -> Gtid {
    Gtid(1 << 56 | counter)
}

#[test]
fn nothing_is_applied_before_the_record_is_durable() {
    for decision in [COMMIT, ABORT] {
        let mut world = World::in_doubt();
        assert_eq!(world.by_hand(T, decision), Ok(vec![]));
        assert!(world.applied.is_empty());
        assert!(world.voter.is_being_handled(T));
        assert!(
            world.voter.in_doubt().next().is_none(),
            "the operator has decided"
        );
        world.sync();
        assert_eq!(world.applied, [(T, decision.is_commit())]);
        assert!(!world.voter.is_being_handled(T));
        assert_eq!(world.unheard(), [T]);
    }
}

/// H5 and V6: to the other one it is nobody's, and its hello would be taken for a claim.
#[test]
fn what_was_decided_by_hand_stands_in_the_hello_to_its_own_coordinator_only() {
    for decision in [COMMIT, ABORT] {
        let mut world = World::in_doubt();
        world.by_hand(T, decision).unwrap();
        world.sync();
        for (coordinator, expected) in [(C, vec![T]), (CoordinatorId(1), vec![])] {
            world.said.clear();
            world.act(|it, out| it.handle_link_up(Time(0), coordinator, out));
            assert_eq!(world.in_doubt_at_hello(), expected, "{coordinator}");
            let votes = |it: &&ToCoordinator| matches!(it, ToCoordinator::Vote { .. });
            assert_eq!(world.said.iter().filter(votes).count(), expected.len());
        }
        let stats = world.voter.stats();
        let counted = (stats.heuristic_commits, stats.heuristic_aborts);
        let commits = u64::from(decision.is_commit());
        assert_eq!(counted, (commits, 1 - commits));
    }
}

#[test]
fn a_death_before_the_record_leaves_it_in_doubt_and_one_after_it_decided() {
    for decision in [COMMIT, ABORT] {
        let mut world = World::in_doubt();
        world.by_hand(T, decision).unwrap();
        world.crash(0);
        assert_eq!(world.voter.in_doubt().collect::<Vec<_>>(), [T]);
        assert!(world.unheard().is_empty());
        world.by_hand(T, decision).unwrap();
        world.crash(1);
        assert_eq!(world.voter.in_doubt().count(), 0);
        assert_eq!(world.unheard(), [T]);
        let yes = world.said.iter().any(|it| {
            matches!(it, ToCoordinator::Vote { gtid: T, ballot } if matches!(ballot, Ballot::Yes { .. }))
        });
        assert_eq!(yes, decision.is_commit(), "{:?}", world.said);
        assert_eq!(
            world.in_doubt_at_hello(),
            [T],
            "or the coordinator takes the vote for lost"
        );
    }
}

#[test]
fn the_coordinator_that_agrees_is_answered_as_ever_and_nothing_is_left() {
    for decision in [COMMIT, ABORT] {
        for crash in [None, Some(0), Some(1)] {
            let mut world = World::in_doubt();
            world.by_hand(T, decision).unwrap();
            world.sync();
            world.hear(T, decision);
            assert!(!world.acknowledged(T), "not in the log yet");
            if let Some(survivors) = crash {
                world.crash(survivors);
                world.hear(T, decision);
            }
            world.sync();
            assert_eq!(world.acknowledged(T), decision.is_commit());
            assert_eq!(world.voter.heuristics().count(), 0);
            assert_eq!(world.voter.in_flight(), 0);
            assert_eq!(world.voter.stats().heuristic_damage, 0);
            world.crash(0);
            assert_eq!(world.voter.in_flight(), 0, "{decision:?} {crash:?}");
        }
    }
}

#[test]
fn the_coordinator_that_contradicts_is_answered_and_the_damage_stays_until_it_is_acknowledged() {
    for (decision, heard) in [(COMMIT, ABORT), (ABORT, COMMIT)] {
        for crash in [None, Some(0), Some(1)] {
            let mut world = World::in_doubt();
            world.by_hand(T, decision).unwrap();
            world.sync();
            world.hear(T, heard);
            if let Some(survivors) = crash {
                world.crash(survivors);
                world.hear(T, heard);
            }
            world.sync();
            assert_eq!(
                world.acknowledged(T),
                heard.is_commit(),
                "{decision:?} {crash:?}"
            );
            assert_eq!(world.damaged(), [T], "{decision:?} {crash:?}");
            assert_eq!(world.voter.in_flight(), 0);
            world.crash(0);
            assert_eq!(world.damaged(), [T], "over restarts");
            world.hear(T, heard);
            assert_eq!(world.acknowledged(T), heard.is_commit(), "said again");

            let acknowledge = |it: &mut Voter, out: &mut Vec<_>| it.handle_acknowledged(T, out);
            assert_eq!(world.act(acknowledge), Ok(()));
            assert!(world.voter.is_being_handled(T));
            world.crash(0);
            assert_eq!(world.damaged(), [T], "the acknowledgement was lost");
            assert_eq!(world.act(acknowledge), Ok(()));
            let twice = Err(HeuristicRefused::NoDamage { gtid: T });
            assert_eq!(world.act(acknowledge), twice);
            world.sync();
            assert!(world.damaged().is_empty());
            world.crash(0);
            assert_eq!(world.voter.heuristics().count(), 0);
        }
    }
}

#[test]
fn a_decision_that_arrives_while_the_record_is_written_is_compared_behind_it() {
    for (decision, heard) in [
        (COMMIT, ABORT),
        (ABORT, COMMIT),
        (COMMIT, COMMIT),
        (ABORT, ABORT),
    ] {
        let mut world = World::in_doubt();
        world.by_hand(T, decision).unwrap();
        world.hear(T, heard);
        world.hear(T, heard);
        assert!(world.applied.is_empty() && !world.acknowledged(T));
        world.sync();
        assert_eq!(world.applied, [(T, decision.is_commit())]);
        assert_eq!(world.acknowledged(T), heard.is_commit());
        let contradicts = decision.is_commit() != heard.is_commit();
        assert_eq!(world.damaged().len(), usize::from(contradicts));
        assert_eq!(world.voter.stats().heuristic_damage, u64::from(contradicts));
    }
}

#[test]
fn the_coordinator_is_asked_until_it_is_heard_and_told_no_in_case_it_still_collects_votes() {
    let mut world = World::in_doubt();
    world.by_hand(T, ABORT).unwrap();
    world.said.clear();
    world.sync();
    let no = ToCoordinator::Vote {
        gtid: T,
        ballot: Ballot::No {
            cause: AbortCause::Client,
        },
    };
    assert_eq!(world.said, std::slice::from_ref(&no));
    for _ in 0..3 {
        let at = world.voter.next_deadline().unwrap();
        world.act(|it, out| it.handle_tick(at, out));
    }
    let asked = ToCoordinator::Inquire { gtid: T };
    assert_eq!(world.said.iter().filter(|it| **it == asked).count(), 3);
    let prepare = ToParticipant::prepare(T);
    world.said.clear();
    world.act(|it, out| it.handle_message(Time(0), C, prepare, out));
    assert_eq!(world.said, [no]);
    world.hear(T, ABORT);
    assert_eq!(world.voter.next_deadline(), None);
}

#[test]
fn only_what_is_in_doubt_is_decided_by_hand_and_once() {
    let mut world = World::new();
    assert_eq!(
        world.by_hand(T, ABORT),
        Err(HeuristicRefused::NotInDoubt { gtid: T })
    );
    world.give_vote(T, &[], &[]);
    assert_eq!(
        world.by_hand(T, ABORT),
        Err(HeuristicRefused::NotInDoubt { gtid: T }),
        "its YES has not left"
    );
    world.sync();
    let small = Decision::Commit { stamp: Stamp(2) };
    let least = Stamp(3);
    assert_eq!(
        world.by_hand(T, small),
        Err(HeuristicRefused::StampTooSmall { gtid: T, least })
    );
    let large = Decision::Commit {
        stamp: Stamp(1 << 61),
    };
    assert!(matches!(
        world.by_hand(T, large),
        Err(HeuristicRefused::StampTooLarge { gtid: T, .. })
    ));
    world.by_hand(T, COMMIT).unwrap();
    let twice = Err(HeuristicRefused::DecidedByHand {
        gtid: T,
        decision: COMMIT,
    });
    assert_eq!(world.by_hand(T, ABORT), twice);
    world.sync();
    assert_eq!(world.by_hand(T, ABORT), twice);
    world.hear(T, ABORT);
    world.sync();
    assert_eq!(world.by_hand(T, ABORT), twice, "damage");
}

#[test]
fn a_site_whose_log_has_failed_or_that_has_none_decides_nothing_by_hand() {
    let mut world = World::in_doubt();
    world.act(|it, out| it.handle_log_failed(out));
    assert_eq!(world.by_hand(T, ABORT), Err(HeuristicRefused::LogFailed));
    let volatile = VoterConfig {
        durability: Durability::Volatile,
        ..config()
    };
    world.voter = Voter::recover(volatile, Incarnation(1), Time(0), [], []);
    world.vote(T, &[], &[]);
    assert_eq!(world.by_hand(T, ABORT), Err(HeuristicRefused::NoLog));
    assert_eq!(world.voter.in_doubt().count(), 1);
}

#[test]
fn a_log_that_fails_under_the_record_leaves_it_to_a_restart() {
    for (survivors, decided) in [(0, false), (1, true)] {
        let mut world = World::in_doubt();
        world.by_hand(T, ABORT).unwrap();
        world.act(|it, out| it.handle_log_failed(out));
        world.hear(T, COMMIT);
        assert!(world.applied.is_empty() && !world.acknowledged(T));
        world.crash(survivors);
        world.hear(T, COMMIT);
        world.sync();
        assert!(world.acknowledged(T));
        assert_eq!(world.damaged().len(), usize::from(decided));
    }
}

#[test]
fn a_commit_by_hand_frees_those_who_depend_on_it_and_comes_before_them() {
    let (first, second) = (T, foreign(2));
    let mut world = World::in_doubt();
    world.vote(second, &[], &[first]);
    let after = vec![first];
    let gtid = second;
    assert_eq!(
        world.by_hand(second, COMMIT),
        Err(HeuristicRefused::DependsOn { gtid, after })
    );
    world.by_hand(first, COMMIT).unwrap();
    world.said.clear();
    world.sync();
    let settled = world.said.iter().any(|it| {
        matches!(it, ToCoordinator::Vote { gtid, ballot: Ballot::Yes { depends, stamp, .. } }
            if *gtid == second && depends.is_empty() && *stamp > Stamp(9))
    });
    assert!(settled, "{:?}", world.said);
    world.hear(second, Decision::Commit { stamp: Stamp(12) });
    assert_eq!(world.applied, [(first, true), (second, true)]);
}

#[test]
fn a_commit_that_was_held_for_it_follows_a_commit_by_hand() {
    let (first, second) = (T, foreign(2));
    let mut world = World::in_doubt();
    world.vote(second, &[first], &[]);
    world.hear(second, Decision::Commit { stamp: Stamp(12) });
    assert!(world.applied.is_empty(), "V7");
    let (gtid, after) = (second, vec![first]);
    assert_eq!(
        world.by_hand(second, ABORT),
        Err(HeuristicRefused::Decided { gtid, after })
    );
    world.by_hand(first, ABORT).unwrap();
    world.sync();
    assert_eq!(world.applied, [(first, false), (second, true)]);
    assert!(
        world.acknowledged(second),
        "it had read nothing of the other"
    );
}

#[test]
fn what_a_committed_one_has_read_can_only_be_committed() {
    let (first, second, third) = (T, Gtid(2), foreign(3));
    let mut world = World::in_doubt();
    world.vote(second, &[], &[first]);
    world.vote(third, &[], &[second]);
    world.hear(third, Decision::Commit { stamp: Stamp(12) });
    let refused = Err(HeuristicRefused::MustCommit {
        gtid: first,
        by: third,
    });
    assert_eq!(world.by_hand(first, ABORT), refused);
    world.by_hand(first, COMMIT).unwrap();
    world.sync();
    world.hear(second, Decision::Commit { stamp: Stamp(11) });
    assert_eq!(
        world.applied,
        [(first, true), (second, true), (third, true)]
    );
}

/// The three deaths: before the record, behind it, and behind its being carried out.
#[test]
fn an_abort_by_hand_takes_those_along_that_have_read_from_it() {
    let (first, second, third, bystander) = (T, foreign(2), Gtid(3), Gtid(4));
    for crash in [None, Some(0), Some(1)] {
        let mut world = World::in_doubt();
        world.vote(second, &[], &[first]);
        world.vote(third, &[], &[second]);
        world.vote(bystander, &[first], &[]);
        let mut along = world.by_hand(first, ABORT).unwrap();
        along.sort_unstable();
        assert_eq!(along, [third, second]);
        if let Some(survivors) = crash {
            world.crash(survivors);
        }
        if crash == Some(0) {
            assert_eq!(world.voter.in_doubt().count(), 4);
            continue;
        }
        world.sync();
        let mut unheard = world.unheard();
        unheard.sort_unstable();
        assert_eq!(unheard, [first, third, second]);
        // The coordinators had committed them all.
        for gtid in [third, second, first] {
            world.hear(gtid, COMMIT);
            world.sync();
            assert!(world.acknowledged(gtid));
        }
        assert_eq!(world.damaged(), [first, third, second]);
        let because: Vec<_> = world.voter.heuristics().map(|it| it.because_of).collect();
        assert_eq!(because, [None, Some(first), Some(first)]);
        assert!(!world.applied.iter().any(|(_, commit)| *commit));
        world.hear(bystander, COMMIT);
        assert!(world.applied.contains(&(bystander, true)));
    }
}

#[test]
fn who_is_committed_or_votes_while_the_abort_is_written_is_treated_as_one_who_came_before() {
    let (first, second, third, late) = (T, foreign(2), Gtid(3), foreign(4));
    let mut world = World::in_doubt();
    world.vote(second, &[], &[first]);
    world.give_vote(third, &[], &[second]);
    world.by_hand(first, ABORT).unwrap();
    world.hear(second, COMMIT);
    assert!(world.applied.is_empty(), "V7");
    world.give_vote(late, &[], &[first]);
    assert_eq!(world.applied, [(late, false)], "broken at once");
    world.sync();
    assert_eq!(world.damaged(), [second]);
    assert!(world.acknowledged(second));
    world.hear(third, COMMIT);
    world.sync();
    assert_eq!(world.damaged(), [third, second], "it had voted before");
}

#[test]
fn a_vote_given_while_the_commit_is_written_counts_on_it() {
    let late = foreign(4);
    let mut world = World::in_doubt();
    world.by_hand(T, COMMIT).unwrap();
    world.give_vote(late, &[], &[T]);
    world.sync();
    let yes = world.said.iter().any(|it| {
        matches!(it, ToCoordinator::Vote { gtid, ballot: Ballot::Yes { depends, stamp, .. } }
            if *gtid == late && depends.is_empty() && *stamp > Stamp(9))
    });
    assert!(yes, "{:?}", world.said);
    world.crash(0);
    assert_eq!(world.voter.in_doubt().collect::<Vec<_>>(), [late]);
}

#[test]
fn one_that_is_aborted_by_its_coordinator_while_the_record_is_written_is_not_taken_along() {
    let second = foreign(2);
    for crash in [None, Some(2)] {
        let mut world = World::in_doubt();
        world.vote(second, &[], &[T]);
        world.by_hand(T, ABORT).unwrap();
        world.hear(second, ABORT);
        if let Some(survivors) = crash {
            world.crash(survivors);
        }
        world.sync();
        assert_eq!(world.unheard(), [T], "{crash:?}");
    }
}
