//! Proofs as values: what must be durable before a word is said is a type that only the arrival of
//! the durable append can make.
//!
//! [`DurableCommit`] is the only way of this crate to build a commit decision or the answer
//! "committed" of two-phase commit; [`ForcedVote`] is the only way to build a YES. Their fields are
//! private to this module, and the functions that make them ask for the token with which the record
//! was appended.

use co_core::{Gtid, Stamp};

use super::depends::{Dependencies, Settled, next_stamp};
use super::{
    AbortCause, Ballot, CommitAnswer, Decision, Durability, Incarnation, SiteName, ToParticipant,
    Token,
};
use crate::log::Record;

/// A commit whose record was handed to the log and is not known to be durable. It may be on the
/// disk: nobody may say "aborted" of it any more, and nobody "committed" yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PendingCommit {
    gtid: Gtid,
    stamp: Stamp,
    token: Token,
}

impl PendingCommit {
    pub(super) const fn new(gtid: Gtid, stamp: Stamp, token: Token) -> Self {
        Self { gtid, stamp, token }
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The append with this token is durable.
    ///
    /// # Panics
    ///
    /// If the token is another append's: the coordinator's index of tokens is wrong.
    pub(super) fn durable(self, token: Token) -> DurableCommit {
        assert_eq!(
            self.token, token,
            "I1: a commit is proved by its own append"
        );
        DurableCommit {
            gtid: self.gtid,
            stamp: self.stamp,
        }
    }
}

/// A commit decision that is in the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct DurableCommit {
    gtid: Gtid,
    stamp: Stamp,
}

impl DurableCommit {
    /// Read back from the log; `None` if the record is not a commit.
    pub(super) const fn recovered(record: &Record) -> Option<Self> {
        match record {
            Record::Commit { gtid, stamp, .. } => Some(Self {
                gtid: *gtid,
                stamp: *stamp,
            }),
            Record::Epoch { .. } | Record::End { .. } => None,
        }
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The record, naming the sites that have not acknowledged.
    pub(super) const fn record(&self, sites: Vec<SiteName>) -> Record {
        Record::Commit {
            gtid: self.gtid,
            stamp: self.stamp,
            sites,
        }
    }

    /// The decision, for a participant.
    pub(super) const fn decide(&self) -> ToParticipant {
        ToParticipant::Decide {
            gtid: self.gtid,
            decision: Decision::Commit { stamp: self.stamp },
        }
    }

    /// The answer, for a caller.
    pub(super) const fn answer(&self) -> CommitAnswer {
        CommitAnswer::Committed { stamp: self.stamp }
    }
}

/// What a site has to say of a transaction that it can commit.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Vote {
    pub(super) stamp: Stamp,
    pub(super) read_only: bool,
    pub(super) depends: Dependencies,
    /// What it depends on was aborted (Y2).
    pub(super) broken: bool,
}

impl Vote {
    /// A transaction that it may depend on is decided here: committed with this stamp, or aborted.
    pub(super) fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) -> Settled {
        let settled = self.depends.settle(gtid, outcome);
        match (settled, outcome) {
            (Settled::Broken, _) => self.broken = true,
            (Settled::Fulfilled, Some(stamp)) => self.stamp = self.stamp.max(next_stamp(stamp)),
            (Settled::Fulfilled, None) | (Settled::Unnamed, _) => {}
        }
        settled
    }
}

/// A vote whose record was handed to the site's log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PendingVote {
    vote: Vote,
    token: Token,
}

impl PendingVote {
    pub(super) const fn new(vote: Vote, token: Token) -> Self {
        Self { vote, token }
    }

    pub(super) const fn token(&self) -> Token {
        self.token
    }

    /// What the vote depends on.
    pub(super) const fn depends(&self) -> &Dependencies {
        &self.vote.depends
    }

    /// A transaction that it may depend on is decided here.
    pub(super) fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) -> Settled {
        self.vote.settle(gtid, outcome)
    }

    /// The append with this token is durable.
    ///
    /// # Panics
    ///
    /// If the token is another append's.
    pub(super) fn durable(self, token: Token) -> ForcedVote {
        assert_eq!(self.token, token, "V1: a vote is proved by its own append");
        ForcedVote { vote: self.vote }
    }
}

/// A vote that may be said: in the site's log, or of a site that has none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ForcedVote {
    vote: Vote,
}

impl ForcedVote {
    /// Read back from the site's log.
    pub(super) const fn recovered(vote: Vote) -> Self {
        Self { vote }
    }

    /// Of a site without a log; the vote comes back if the site has one.
    pub(super) const fn volatile(durability: Durability, vote: Vote) -> Result<Self, Vote> {
        match durability {
            Durability::Volatile => Ok(Self { vote }),
            Durability::Durable => Err(vote),
        }
    }

    /// What there is to say: YES, or NO because what it depended on was aborted.
    pub(super) fn ballot(&self, incarnation: Incarnation) -> Ballot {
        if self.vote.broken {
            return Ballot::No {
                cause: AbortCause::Cascade,
            };
        }
        Ballot::Yes {
            stamp: self.vote.stamp,
            incarnation,
            read_only: self.vote.read_only,
            depends: self.vote.depends.clone(),
        }
    }

    /// A transaction that it may depend on is decided here.
    pub(super) fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) -> Settled {
        self.vote.settle(gtid, outcome)
    }

    pub(super) const fn vote(&self) -> &Vote {
        &self.vote
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote() -> Vote {
        Vote {
            stamp: Stamp(1),
            read_only: false,
            depends: Dependencies::default(),
            broken: false,
        }
    }

    #[test]
    #[should_panic(expected = "I1")]
    fn a_commit_is_not_proved_by_another_append() {
        PendingCommit::new(Gtid(1), Stamp(1), Token(1)).durable(Token(2));
    }

    #[test]
    #[should_panic(expected = "V1")]
    fn a_vote_is_not_proved_by_another_append() {
        PendingVote::new(vote(), Token(1)).durable(Token(2));
    }

    #[test]
    fn only_a_site_without_a_log_votes_without_one() {
        assert!(ForcedVote::volatile(Durability::Durable, vote()).is_err());
        assert!(ForcedVote::volatile(Durability::Volatile, vote()).is_ok());
    }
}
