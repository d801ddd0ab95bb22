//! What coordinator and participants say to each other about commits. Plain values: the wire format is
//! the service's business, the log format is the log's.
//!
//! Links keep order while they are up and may lose, and after a reconnect repeat, anything. Every
//! message is therefore idempotent.

use std::fmt;

use co_core::{Gtid, Priority, Stamp};

use super::Dependencies;

/// A site's name: how coordinator, clients and histories speak of one participant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteName(pub std::sync::Arc<str>);

impl SiteName {
    /// Names a site.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a participant between two starts: grows by one at every start of a durable site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation(pub u64);

/// Why a transaction ended in abort.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AbortCause {
    /// The client asked for it.
    Client,
    /// It stood on a local cycle of conflicts and waits and was the youngest there.
    LocalCycle,
    /// It stood on a cycle of withheld votes or lock waits of several sites.
    VotingDeadlock,
    /// It read a version that a committed transaction has since replaced (conditions A and B).
    StaleRead,
    /// Its validation found a newer version, or another writer was first.
    WriteConflict,
    /// It read what an aborted transaction wrote.
    Cascade,
    /// A vote, an operation or a client stayed away too long.
    Timeout,
    /// A participant does not know it: it restarted, or ended it before.
    UnknownTransaction,
    /// A participant is not connected.
    SiteUnreachable,
    /// A participant or the coordinator could not write its log.
    LogFailure,
    /// An older transaction and this one were in each other's way, and the older goes first (wound-wait,
    /// wait-die).
    Outranked,
    /// The database behind a participant cannot be reached.
    DatabaseAway,
}

/// From a participant to the coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ToCoordinator {
    /// First message on a link, and after every reconnect.
    Hello {
        /// The site's present life.
        incarnation: Incarnation,
        /// Where clients reach the site.
        address: String,
        /// Transactions in doubt here: voted YES, decision unknown.
        in_doubt: Vec<Gtid>,
    },
    /// The vote. A YES is in the site's log before it is sent.
    Vote {
        /// Whose vote.
        gtid: Gtid,
        /// YES or NO.
        ballot: Ballot,
    },
    /// The transaction waits here for these others to be decided (a withheld vote or a blocked
    /// operation). Only global transactions are named. Replaces earlier reports of the same
    /// transaction and site; an empty list withdraws it.
    Blocked {
        /// Who waits.
        gtid: Gtid,
        /// Its age.
        priority: Priority,
        /// Whom it waits for, with their ages.
        by: Vec<(Gtid, Priority)>,
    },
    /// Outcome of a one-phase commit: the site was the only participant and decided itself.
    OnePhaseDone {
        /// Whose outcome.
        gtid: Gtid,
        /// What the site decided.
        decision: Decision,
        /// Whether the site knew the transaction in its present life. If it did not, an abort says
        /// nothing about what an earlier life may have committed.
        known: bool,
    },
    /// The decision is applied and, if the site is durable, in its log.
    Ack {
        /// Whose decision.
        gtid: Gtid,
    },
    /// In doubt and not heard of for long: what was decided?
    Inquire {
        /// Whose decision is asked for.
        gtid: Gtid,
    },
}

/// From the coordinator to a participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ToParticipant {
    /// All work of the transaction at this site is done: vote when the order permits.
    Prepare {
        /// Whose vote is asked for.
        gtid: Gtid,
        /// Whether the vote may depend on others' decisions, if the site can do that.
        dependent: bool,
    },
    /// The transaction touched this site alone: decide it here, through the same gate.
    CommitOnePhase {
        /// Who is to commit.
        gtid: Gtid,
    },
    /// The decision.
    Decide {
        /// Whose decision.
        gtid: Gtid,
        /// Commit with its stamp, or abort with its cause.
        decision: Decision,
    },
}

impl ToParticipant {
    /// Asks for an ordinary vote, one that depends on nobody.
    #[must_use]
    pub const fn prepare(gtid: Gtid) -> Self {
        Self::Prepare {
            gtid,
            dependent: false,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub const fn gtid(&self) -> Gtid {
        match self {
            Self::Prepare { gtid, .. }
            | Self::CommitOnePhase { gtid }
            | Self::Decide { gtid, .. } => *gtid,
        }
    }
}

/// From one coordinator to another: what may close a cycle that neither sees alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PeerMessage {
    /// All waits of one of the sender's transactions, in place of what was last said of it; nowhere: it
    /// waits no more, or leads to nobody else's.
    Waits {
        /// Who waits.
        waiter: Gtid,
        /// Its age.
        priority: Priority,
        /// At which sites, for whom.
        at: Vec<(SiteName, Vec<Gtid>)>,
    },
    /// An older transaction waits for this one, which is the receiver's, at a site (wound-wait).
    Wound {
        /// Who is to be aborted, if it still can be.
        gtid: Gtid,
        /// Where it is in the way.
        at: SiteName,
    },
}

/// A participant's vote.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ballot {
    /// The site can commit it whatever happens (but for what it depends on), and from now on only the
    /// coordinator decides.
    Yes {
        /// The site's logical clock at the vote.
        stamp: Stamp,
        /// The life of the site in which the transaction did all its work.
        incarnation: Incarnation,
        /// The transaction wrote nothing here: no data to force. It still receives the decision,
        /// because its reads order others until then.
        read_only: bool,
        /// What it depends on; the site says the vote again as these are decided.
        depends: Dependencies,
    },
    /// The site has aborted it.
    No {
        /// Why.
        cause: AbortCause,
    },
}

/// The decision on a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// Committed; the stamp is the largest among the votes.
    Commit {
        /// Its place in the order of all sites.
        stamp: Stamp,
    },
    /// Aborted.
    Abort {
        /// Why.
        cause: AbortCause,
    },
}

impl Decision {
    /// Whether it is a commit.
    #[must_use]
    pub const fn is_commit(&self) -> bool {
        matches!(self, Self::Commit { .. })
    }
}
