//! Unit tests of what the transcripts do not show.

use std::time::Duration;

use super::*;
use crate::protocol::{Durability, ReleasedVote};

mod counters;

const T: Gtid = Gtid(1);
const C: CoordinatorId = CoordinatorId(0);

fn ms(ms: u64) -> Time {
    Time(ms * 1000)
}

fn config() -> VoterConfig {
    VoterConfig {
        inquire_after: Duration::from_millis(10),
        inquire_limit: Duration::from_millis(40),
        ..VoterConfig::default()
    }
}

fn linked(config: VoterConfig) -> Voter {
    let mut voter = Voter::recover(config, Incarnation(1), ms(0), [], []);
    voter.handle_link_up(ms(0), C, &mut Vec::new());
    voter
}

fn said(message: ToCoordinator) -> VoterEffect {
    VoterEffect::Send { to: C, message }
}

fn hear(voter: &mut Voter, message: ToParticipant) -> Vec<VoterEffect> {
    let mut out = Vec::new();
    voter.handle_message(ms(0), C, message, &mut out);
    out
}

fn release(voter: &mut Voter, vote: ReleasedVote) -> Vec<VoterEffect> {
    let mut out = Vec::new();
    voter.handle_released(ms(0), T, vote, &mut out);
    out
}

const YES: ReleasedVote = ReleasedVote::Yes {
    stamp: Stamp(3),
    read_only: false,
    depends: Dependencies {
        after: BTreeSet::new(),
        if_committed: BTreeSet::new(),
    },
};

const PREPARE: ToParticipant = ToParticipant::Prepare {
    gtid: T,
    dependent: false,
};

const COMMIT: ToParticipant = ToParticipant::Decide {
    gtid: T,
    decision: Decision::Commit { stamp: Stamp(9) },
};

fn abort(cause: AbortCause) -> ToParticipant {
    ToParticipant::Decide {
        gtid: T,
        decision: Decision::Abort { cause },
    }
}

/// When the voter asks what became of T, up to this time.
fn inquiries(voter: &mut Voter, until: u64) -> Vec<u64> {
    let mut asked = Vec::new();
    while let Some(at) = voter.next_deadline().filter(|&at| at <= ms(until)) {
        let mut out = Vec::new();
        voter.handle_tick(at, &mut out);
        if out == [said(ToCoordinator::Inquire { gtid: T })] {
            asked.push(at.0 / 1000);
        }
    }
    asked
}

#[test]
fn a_transaction_in_doubt_asks_ever_more_rarely_and_never_gives_up() {
    let in_doubt = [InDoubt {
        gtid: T,
        stamp: Stamp(3),
        read_only: false,
        depends: Dependencies::default(),
        broken: false,
    }];
    let mut voter = Voter::recover(config(), Incarnation(2), ms(0), in_doubt, []);
    assert!(inquiries(&mut voter, 15).is_empty(), "nobody is linked");
    voter.handle_link_up(ms(15), C, &mut Vec::new());
    assert_eq!(inquiries(&mut voter, 200), [30, 70, 110, 150, 190]);
    assert_eq!(voter.in_doubt().collect::<Vec<_>>(), [T]);
}

#[test]
fn a_withheld_vote_times_out_only_where_that_is_wanted() {
    let mut patient = linked(config());
    hear(&mut patient, PREPARE);
    assert_eq!(inquiries(&mut patient, 100), [10, 30, 70]);

    let wait = Some(Duration::from_millis(25));
    let mut voter = linked(VoterConfig {
        vote_wait_timeout: wait,
        ..config()
    });
    hear(&mut voter, PREPARE);
    assert_eq!(inquiries(&mut voter, 24), [10]);
    let mut out = Vec::new();
    voter.handle_tick(ms(25), &mut out);
    let cause = AbortCause::Timeout;
    let apply = VoterEffect::Apply {
        gtid: T,
        decision: Decision::Abort { cause },
    };
    let vote = ToCoordinator::Vote {
        gtid: T,
        ballot: Ballot::No { cause },
    };
    assert_eq!(out, [apply, said(vote.clone())]);
    assert_eq!(voter.next_deadline(), None);
    assert_eq!(
        release(&mut voter, YES),
        [],
        "the engine's late vote is of no interest"
    );
    let again = hear(&mut voter, PREPARE);
    assert_eq!(again, [said(vote)], "the NO may have been lost");
}

/// A request that arrives late, after the transaction was committed in an earlier life, must not make
/// the site believe that it was aborted: the decision, said again, would look like a broken promise.
#[test]
fn a_late_request_for_what_an_earlier_life_has_committed_does_no_harm() {
    let acknowledged = [said(ToCoordinator::Ack { gtid: T })];
    let mut voter = linked(config());
    hear(&mut voter, PREPARE);
    assert_eq!(
        hear(&mut voter, COMMIT),
        acknowledged,
        "the engine has not answered yet"
    );
    let effects = release(&mut voter, ReleasedVote::No(AbortCause::UnknownTransaction));
    let no_apply = |it: &VoterEffect| !matches!(it, VoterEffect::Apply { .. });
    assert!(effects.iter().all(no_apply), "{effects:?}");
    assert_eq!(hear(&mut voter, COMMIT), acknowledged);
}

#[test]
#[should_panic(expected = "V2")]
fn a_commit_of_what_this_site_has_refused_stops_it() {
    let mut voter = linked(config());
    hear(&mut voter, PREPARE);
    release(&mut voter, ReleasedVote::No(AbortCause::WriteConflict));
    hear(&mut voter, COMMIT);
}

#[test]
#[should_panic(expected = "V2")]
fn a_commit_before_the_vote_is_durable_stops_the_site() {
    let mut voter = linked(config());
    hear(&mut voter, PREPARE);
    release(&mut voter, YES);
    hear(&mut voter, COMMIT);
}

#[test]
fn a_site_without_a_log_acknowledges_what_it_has_lost() {
    let mut voter = linked(VoterConfig {
        durability: Durability::Volatile,
        ..config()
    });
    hear(&mut voter, PREPARE);
    release(&mut voter, ReleasedVote::No(AbortCause::Cascade));
    let effects = hear(&mut voter, COMMIT);
    assert_eq!(effects, [said(ToCoordinator::Ack { gtid: T })]);
    assert_eq!(voter.stats().lost_commits, 1);
}

#[test]
fn an_abort_overtakes_the_vote_on_its_way_to_the_disk() {
    let mut voter = linked(config());
    hear(&mut voter, PREPARE);
    let effects = release(&mut voter, YES);
    let [VoterEffect::AppendPrepared { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(voter.in_flight(), 1);
    let decision = Decision::Abort {
        cause: AbortCause::Timeout,
    };
    let effects = hear(&mut voter, abort(AbortCause::Timeout));
    let written = VoterEffect::AppendDecisionLazy { gtid: T, decision };
    assert_eq!(effects, [written, VoterEffect::Apply { gtid: T, decision }]);
    let mut out = Vec::new();
    voter.handle_durable(ms(0), token, &mut out);
    assert_eq!(out, [], "no YES for the dead");
    assert_eq!(voter.in_flight(), 0);
}

#[test]
fn a_one_phase_abort_that_comes_too_late_gets_the_outcome() {
    let mut voter = linked(config());
    hear(&mut voter, ToParticipant::CommitOnePhase { gtid: T });
    let effects = release(&mut voter, YES);
    let [VoterEffect::AppendOnePhase { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        hear(&mut voter, abort(AbortCause::Client)),
        [],
        "it is being written"
    );
    let mut out = Vec::new();
    voter.handle_durable(ms(0), token, &mut out);
    let decision = Decision::Commit { stamp: Stamp(3) };
    let done = said(ToCoordinator::OnePhaseDone {
        gtid: T,
        decision,
        known: true,
    });
    assert_eq!(
        out,
        [VoterEffect::Apply { gtid: T, decision }, done.clone()]
    );
    assert_eq!(hear(&mut voter, abort(AbortCause::Client)), [done]);
}

#[test]
fn a_read_only_transaction_of_one_site_writes_nothing() {
    let mut voter = linked(config());
    hear(&mut voter, ToParticipant::CommitOnePhase { gtid: T });
    let effects = release(
        &mut voter,
        ReleasedVote::Yes {
            stamp: Stamp(3),
            read_only: true,
            depends: Dependencies::default(),
        },
    );
    let [
        VoterEffect::Apply { .. },
        VoterEffect::Send {
            message: ToCoordinator::OnePhaseDone { .. },
            ..
        },
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
}

#[test]
fn while_the_link_is_down_nothing_is_sent() {
    let mut voter = linked(config());
    hear(&mut voter, PREPARE);
    voter.handle_link_down(ms(0), C);
    let effects = release(&mut voter, YES);
    let [VoterEffect::AppendPrepared { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let mut out = Vec::new();
    voter.handle_durable(ms(0), token, &mut out);
    assert_eq!(out, []);
    voter.handle_link_up(ms(0), C, &mut out);
    let [
        VoterEffect::Send {
            message: ToCoordinator::Hello { ref in_doubt, .. },
            ..
        },
        VoterEffect::Send {
            message:
                ToCoordinator::Vote {
                    gtid: T,
                    ballot: Ballot::Yes { .. },
                },
            ..
        },
    ] = out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(*in_doubt, [T]);
}

/// The coordinator takes an abort for proof that nothing was committed, so who has only forgotten must not
/// sound like who has aborted.
#[test]
fn an_abort_of_what_the_engine_has_not_said_it_knows_is_no_proof() {
    let known = |effects: &[VoterEffect]| {
        effects.iter().find_map(|effect| match effect {
            VoterEffect::Send {
                message: ToCoordinator::OnePhaseDone { known, .. },
                ..
            } => Some(*known),
            VoterEffect::RequestVote { .. }
            | VoterEffect::AppendPrepared { .. }
            | VoterEffect::AppendOnePhase { .. }
            | VoterEffect::AppendDecision { .. }
            | VoterEffect::AppendDecisionLazy { .. }
            | VoterEffect::Apply { .. }
            | VoterEffect::AppendHeuristic { .. }
            | VoterEffect::AppendHeuristicState { .. }
            | VoterEffect::Send { .. } => None,
        })
    };
    let asked = || {
        let mut voter = linked(config());
        hear(&mut voter, ToParticipant::CommitOnePhase { gtid: T });
        voter
    };
    let said = hear(&mut asked(), abort(AbortCause::Timeout));
    assert_eq!(known(&said), Some(false), "the engine has not answered");
    for (cause, expected) in [
        (AbortCause::StaleRead, true),
        (AbortCause::UnknownTransaction, false),
    ] {
        let said = release(&mut asked(), ReleasedVote::No(cause));
        assert_eq!(known(&said), Some(expected), "{cause:?}");
    }
    let mut voter = asked();
    let mut out = Vec::new();
    voter.handle_log_failed(&mut out);
    assert_eq!(known(&out), Some(false));
    let mut voter = linked(config());
    voter.handle_log_failed(&mut out);
    let said = hear(&mut voter, ToParticipant::CommitOnePhase { gtid: T });
    assert_eq!(known(&said), Some(false), "it was not even asked");
}

/// One of this coordinator, T, and one of another.
const FOREIGN: Gtid = Gtid(7 << 56 | 1);
const OTHER: CoordinatorId = CoordinatorId(7);

/// A voter that lets votes depend on others, with both coordinators linked; `T` has voted, and `FOREIGN`,
/// which it precedes, has been asked to.
fn after_t() -> Voter {
    let mut voter = linked(VoterConfig {
        dependent_votes: true,
        ..config()
    });
    voter.handle_link_up(ms(0), OTHER, &mut Vec::new());
    hear(&mut voter, PREPARE);
    prepared(&mut voter, T, Dependencies::default());
    let (gtid, mut out) = (FOREIGN, Vec::new());
    let prepare = ToParticipant::Prepare {
        gtid,
        dependent: true,
    };
    voter.handle_message(ms(0), OTHER, prepare, &mut out);
    assert_eq!(
        out,
        [VoterEffect::RequestVote {
            gtid,
            dependent: true
        }]
    );
    voter
}

/// The engine votes, and the record becomes durable. What the voter says.
fn prepared(voter: &mut Voter, gtid: Gtid, depends: Dependencies) -> Vec<VoterEffect> {
    let vote = ReleasedVote::Yes {
        stamp: Stamp(3),
        read_only: false,
        depends,
    };
    let mut out = Vec::new();
    voter.handle_released(ms(0), gtid, vote, &mut out);
    let Some(VoterEffect::AppendPrepared { token, .. }) = out.pop() else {
        panic!("{out:?}")
    };
    voter.handle_durable(ms(0), token, &mut out);
    out
}

fn on_t(if_committed: bool) -> Dependencies {
    let t = BTreeSet::from([T]);
    if if_committed {
        Dependencies {
            if_committed: t,
            ..Dependencies::default()
        }
    } else {
        Dependencies {
            after: t,
            ..Dependencies::default()
        }
    }
}

/// What is said to the other coordinator about the one that depends: a YES with this stamp and this many
/// dependencies, or a NO.
fn votes_said(effects: &[VoterEffect]) -> Vec<Option<(u64, usize)>> {
    let vote = |effect: &VoterEffect| {
        let VoterEffect::Send {
            to: OTHER,
            message:
                ToCoordinator::Vote {
                    gtid: FOREIGN,
                    ballot,
                },
        } = effect
        else {
            return None;
        };
        Some(match ballot {
            Ballot::Yes { stamp, depends, .. } => Some((stamp.0, depends.iter().count())),
            Ballot::No { .. } => None,
        })
    };
    effects.iter().filter_map(vote).collect()
}

#[test]
fn a_dependent_vote_is_said_again_when_what_it_depends_on_is_committed() {
    let mut voter = after_t();
    let said = prepared(&mut voter, FOREIGN, on_t(true));
    assert_eq!(votes_said(&said), [Some((3, 1))]);
    let said = hear(&mut voter, COMMIT);
    assert_eq!(
        votes_said(&said),
        [Some((10, 0))],
        "beyond the stamp of T, 9"
    );
}

#[test]
fn an_abort_turns_a_vote_that_needed_the_commit_into_a_no_and_sets_another_free() {
    for (needs_commit, expected) in [(true, None), (false, Some((3, 0)))] {
        let mut voter = after_t();
        prepared(&mut voter, FOREIGN, on_t(needs_commit));
        let said = hear(&mut voter, abort(AbortCause::Timeout));
        assert_eq!(votes_said(&said), [expected]);
    }
}

#[test]
fn what_is_decided_while_the_vote_is_on_its_way_is_not_named() {
    let mut voter = after_t();
    hear(&mut voter, COMMIT);
    let said = prepared(&mut voter, FOREIGN, on_t(true));
    assert_eq!(votes_said(&said), [Some((10, 0))]);

    // Nor when its record is durable, and it is only remembered.
    let mut voter = after_t();
    let effects = hear(&mut voter, COMMIT);
    let Some(&VoterEffect::AppendDecision { token, .. }) = effects.first() else {
        panic!("{effects:?}")
    };
    voter.handle_durable(ms(0), token, &mut Vec::new());
    let said = prepared(&mut voter, FOREIGN, on_t(true));
    assert_eq!(votes_said(&said), [Some((10, 0))]);

    let mut voter = after_t();
    hear(&mut voter, abort(AbortCause::Timeout));
    let vote = ReleasedVote::Yes {
        stamp: Stamp(3),
        read_only: false,
        depends: on_t(true),
    };
    let mut out = Vec::new();
    voter.handle_released(ms(0), FOREIGN, vote, &mut out);
    assert_eq!(votes_said(&out), [None]);
}

/// V7: links of two coordinators know no order, and nor do repetitions.
#[test]
fn a_commit_that_overtakes_what_it_depends_on_is_held_back() {
    let mut voter = after_t();
    prepared(&mut voter, FOREIGN, on_t(false));
    let mut out = Vec::new();
    let decide = ToParticipant::Decide {
        gtid: FOREIGN,
        decision: Decision::Commit { stamp: Stamp(12) },
    };
    voter.handle_message(ms(0), OTHER, decide, &mut out);
    assert_eq!(out, []);
    let applied: Vec<Gtid> = hear(&mut voter, COMMIT)
        .into_iter()
        .filter_map(|effect| match effect {
            VoterEffect::Apply { gtid, .. } => Some(gtid),
            VoterEffect::RequestVote { .. }
            | VoterEffect::AppendPrepared { .. }
            | VoterEffect::AppendOnePhase { .. }
            | VoterEffect::AppendDecision { .. }
            | VoterEffect::AppendDecisionLazy { .. }
            | VoterEffect::AppendHeuristic { .. }
            | VoterEffect::AppendHeuristicState { .. }
            | VoterEffect::Send { .. } => None,
        })
        .collect();
    assert_eq!(applied, [T, FOREIGN]);
}

#[test]
fn a_restart_remembers_what_a_vote_depends_on() {
    let doubt = |gtid, depends| InDoubt {
        gtid,
        stamp: Stamp(3),
        read_only: false,
        depends,
        broken: false,
    };
    let in_doubt = [
        doubt(T, Dependencies::default()),
        doubt(FOREIGN, on_t(true)),
    ];
    let mut voter = Voter::recover(config(), Incarnation(2), ms(0), in_doubt, []);
    let mut out = Vec::new();
    voter.handle_link_up(ms(0), OTHER, &mut out);
    assert_eq!(votes_said(&out), [Some((3, 1))]);
    let said = hear(&mut voter, abort(AbortCause::Timeout));
    assert_eq!(votes_said(&said), [None]);

    let mut settled = doubt(FOREIGN, on_t(true));
    settled.settle(T, None);
    let mut voter = Voter::recover(config(), Incarnation(2), ms(0), [settled], []);
    let mut out = Vec::new();
    voter.handle_link_up(ms(0), OTHER, &mut out);
    assert_eq!(votes_said(&out), [None], "the log knew that T was aborted");
}

#[test]
fn a_site_that_does_not_want_them_never_asks_for_dependent_votes() {
    let mut voter = linked(config());
    let mut out = Vec::new();
    let prepare = ToParticipant::Prepare {
        gtid: T,
        dependent: true,
    };
    voter.handle_message(ms(0), C, prepare, &mut out);
    let asked = VoterEffect::RequestVote {
        gtid: T,
        dependent: false,
    };
    assert_eq!(out, [asked]);
}
