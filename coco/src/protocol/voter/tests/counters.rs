//! What is counted: operators see these numbers as metrics. Everything happens twice, so that a counter which only
//! stands at one, or at nothing, is seen.

use co_core::Priority;

use super::*;
use crate::protocol::{Durability, VoterStats};

const TWO: [Gtid; 2] = [Gtid(1), Gtid(2)];

fn voting(durability: Durability) -> Voter {
    let mut voter = linked(VoterConfig {
        durability,
        dependent_votes: true,
        ..config()
    });
    for gtid in TWO {
        let prepare = ToParticipant::Prepare {
            gtid,
            dependent: true,
        };
        hear(&mut voter, prepare);
    }
    voter
}

fn released(voter: &mut Voter, gtid: Gtid, vote: ReleasedVote) {
    let mut out = Vec::new();
    voter.handle_released(ms(0), gtid, vote, &mut out);
    for effect in out {
        if let VoterEffect::AppendPrepared { token, .. }
        | VoterEffect::AppendOnePhase { token, .. } = effect
        {
            voter.handle_durable(ms(0), token, &mut Vec::new());
        }
    }
}

fn read_only() -> ReleasedVote {
    ReleasedVote::Yes {
        stamp: Stamp(3),
        read_only: true,
        depends: Dependencies::default(),
    }
}

#[test]
fn votes_and_decisions_are_counted_by_their_kind() {
    let mut voter = voting(Durability::Durable);
    released(&mut voter, TWO[0], read_only());
    released(&mut voter, TWO[1], read_only());
    let mut expected = VoterStats {
        votes_yes: 2,
        votes_read_only: 2,
        ..VoterStats::default()
    };
    assert_eq!(*voter.stats(), expected);
    for gtid in TWO {
        let decision = Decision::Commit { stamp: Stamp(9) };
        hear(&mut voter, ToParticipant::Decide { gtid, decision });
    }
    expected.commits = 2;
    assert_eq!(*voter.stats(), expected);

    let mut voter = voting(Durability::Durable);
    let cause = AbortCause::StaleRead;
    released(&mut voter, TWO[0], ReleasedVote::No(cause));
    released(&mut voter, TWO[1], ReleasedVote::No(cause));
    let expected = VoterStats {
        votes_no: [(cause, 2)].into(),
        aborts: 2,
        ..VoterStats::default()
    };
    assert_eq!(voter.take_stats(), expected);
    assert_eq!(*voter.stats(), VoterStats::default());

    // In doubt, and never heard of: both end here.
    let mut voter = voting(Durability::Durable);
    released(&mut voter, TWO[0], YES);
    for gtid in [TWO[0], Gtid(7)] {
        let cause = AbortCause::Client;
        let decision = Decision::Abort { cause };
        hear(&mut voter, ToParticipant::Decide { gtid, decision });
    }
    assert_eq!((voter.stats().votes_yes, voter.stats().aborts), (1, 2));
}

#[test]
fn votes_that_depend_on_others_are_counted_when_given_and_when_settled() {
    let mut voter = after_t();
    let second = Gtid(FOREIGN.0 + 1);
    let prepare = ToParticipant::Prepare {
        gtid: second,
        dependent: true,
    };
    voter.handle_message(ms(0), OTHER, prepare, &mut Vec::new());
    prepared(&mut voter, FOREIGN, on_t(true));
    prepared(&mut voter, second, on_t(false));
    assert_eq!(voter.stats().votes_dependent, 2);
    assert_eq!(voter.stats().votes_settled, 0);
    hear(&mut voter, COMMIT);
    assert_eq!(voter.stats().votes_settled, 2);
}

#[test]
fn what_this_site_decides_alone_is_counted() {
    let mut voter = linked(config());
    for gtid in TWO {
        hear(&mut voter, ToParticipant::CommitOnePhase { gtid });
        released(&mut voter, gtid, YES);
    }
    let expected = VoterStats {
        one_phase_commits: 2,
        ..VoterStats::default()
    };
    assert_eq!(*voter.stats(), expected);
}

#[test]
fn commits_of_votes_that_a_site_without_a_log_has_lost_are_counted() {
    let mut voter = voting(Durability::Volatile);
    for gtid in TWO {
        released(&mut voter, gtid, ReleasedVote::No(AbortCause::Cascade));
        let decision = Decision::Commit { stamp: Stamp(9) };
        hear(&mut voter, ToParticipant::Decide { gtid, decision });
    }
    assert_eq!(voter.stats().lost_commits, 2);
}

#[test]
fn reports_inquiries_and_what_others_have_no_business_with_are_counted() {
    let mut voter = linked(config());
    let wait = Wait {
        gtid: T,
        priority: Priority(1),
        by: vec![(Gtid(2), Priority(2))],
    };
    for at in [0, 5] {
        voter.handle_blocked(ms(at), std::slice::from_ref(&wait), &mut Vec::new());
    }
    voter.handle_blocked(ms(6), &[], &mut Vec::new());
    assert_eq!(voter.stats().reports, 2, "reported and withdrawn");

    hear(&mut voter, PREPARE);
    assert_eq!(inquiries(&mut voter, 30), [10, 30]);
    assert_eq!(voter.stats().inquiries, 2);

    for gtid in [FOREIGN, Gtid(FOREIGN.0 + 1)] {
        assert_eq!(hear(&mut voter, ToParticipant::prepare(gtid)), []);
    }
    assert_eq!(voter.stats().foreign_messages, 2);
}
