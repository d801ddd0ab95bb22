//! Proofs as values: what must be durable before a word is said is a type that only the arrival of
//! the durable append can make.
//!
//! [`DurableCommit`] is the only way of this crate to build a commit decision or the answer
//! "committed" of two-phase commit; [`ForcedVote`] is the only way to build a YES. Their fields are
//! private to this module, and the functions that make them ask for the token with which the record
//! was appended.

use co_core::{Gtid, Stamp};

use super::{
    Ballot, CommitAnswer, Decision, Durability, Incarnation, SiteName, ToParticipant, Token,
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

/// A vote whose record was handed to the site's log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PendingVote {
    stamp: Stamp,
    read_only: bool,
    token: Token,
}

impl PendingVote {
    pub(super) const fn new(stamp: Stamp, read_only: bool, token: Token) -> Self {
        Self {
            stamp,
            read_only,
            token,
        }
    }

    pub(super) const fn token(&self) -> Token {
        self.token
    }

    /// The append with this token is durable.
    ///
    /// # Panics
    ///
    /// If the token is another append's.
    pub(super) fn durable(self, token: Token) -> ForcedVote {
        assert_eq!(self.token, token, "V1: a vote is proved by its own append");
        ForcedVote {
            stamp: self.stamp,
            read_only: self.read_only,
        }
    }
}

/// A vote that may be said: in the site's log, or of a site that has none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ForcedVote {
    stamp: Stamp,
    read_only: bool,
}

impl ForcedVote {
    /// Read back from the site's log.
    pub(super) const fn recovered(stamp: Stamp, read_only: bool) -> Self {
        Self { stamp, read_only }
    }

    /// Of a site without a log; `None` if the site has one.
    pub(super) const fn volatile(
        durability: Durability,
        stamp: Stamp,
        read_only: bool,
    ) -> Option<Self> {
        match durability {
            Durability::Volatile => Some(Self { stamp, read_only }),
            Durability::Durable => None,
        }
    }

    /// The YES.
    pub(super) const fn ballot(&self, incarnation: Incarnation) -> Ballot {
        Ballot::Yes {
            stamp: self.stamp,
            incarnation,
            read_only: self.read_only,
        }
    }

    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "I1")]
    fn a_commit_is_not_proved_by_another_append() {
        PendingCommit::new(Gtid(1), Stamp(1), Token(1)).durable(Token(2));
    }

    #[test]
    #[should_panic(expected = "V1")]
    fn a_vote_is_not_proved_by_another_append() {
        PendingVote::new(Stamp(1), false, Token(1)).durable(Token(2));
    }

    #[test]
    fn only_a_site_without_a_log_votes_without_one() {
        assert!(ForcedVote::volatile(Durability::Durable, Stamp(1), false).is_none());
        assert!(ForcedVote::volatile(Durability::Volatile, Stamp(1), false).is_some());
    }
}
