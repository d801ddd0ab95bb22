//! Unit tests of what the transcripts do not show.

use std::time::Duration;

use super::*;
use crate::protocol::{Durability, ReleasedVote};

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
    hear(&mut patient, ToParticipant::Prepare { gtid: T });
    assert_eq!(inquiries(&mut patient, 100), [10, 30, 70]);

    let wait = Some(Duration::from_millis(25));
    let mut voter = linked(VoterConfig {
        vote_wait_timeout: wait,
        ..config()
    });
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
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
    let again = hear(&mut voter, ToParticipant::Prepare { gtid: T });
    assert_eq!(again, [said(vote)], "the NO may have been lost");
}

/// A request that arrives late, after the transaction was committed in an earlier life, must not make
/// the site believe that it was aborted: the decision, said again, would look like a broken promise.
#[test]
fn a_late_request_for_what_an_earlier_life_has_committed_does_no_harm() {
    let acknowledged = [said(ToCoordinator::Ack { gtid: T })];
    let mut voter = linked(config());
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
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
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
    release(&mut voter, ReleasedVote::No(AbortCause::WriteConflict));
    hear(&mut voter, COMMIT);
}

#[test]
#[should_panic(expected = "V2")]
fn a_commit_before_the_vote_is_durable_stops_the_site() {
    let mut voter = linked(config());
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
    release(&mut voter, YES);
    hear(&mut voter, COMMIT);
}

#[test]
fn a_site_without_a_log_acknowledges_what_it_has_lost() {
    let mut voter = linked(VoterConfig {
        durability: Durability::Volatile,
        ..config()
    });
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
    release(&mut voter, ReleasedVote::No(AbortCause::Cascade));
    let effects = hear(&mut voter, COMMIT);
    assert_eq!(effects, [said(ToCoordinator::Ack { gtid: T })]);
    assert_eq!(voter.stats().lost_commits, 1);
}

#[test]
fn an_abort_overtakes_the_vote_on_its_way_to_the_disk() {
    let mut voter = linked(config());
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
    let effects = release(&mut voter, YES);
    let [VoterEffect::AppendPrepared { token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
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
    let done = said(ToCoordinator::OnePhaseDone { gtid: T, decision });
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
    hear(&mut voter, ToParticipant::Prepare { gtid: T });
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
