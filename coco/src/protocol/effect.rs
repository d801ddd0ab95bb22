//! What the machines want done. The shell does it, in order, and reports back what has happened.

use co_core::{Gtid, Priority, Stamp};

use super::{
    AbortCause, CoordinatorId, Decision, Dependencies, Heuristic, PeerMessage, SiteName,
    ToCoordinator, ToParticipant,
};
use crate::log::Record;

/// Names one forced append; comes back through `handle_durable` when the record is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names one waiting caller of the shell; the shell chooses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallerId(pub u64);

/// What a coordinator wants done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CoordinatorEffect {
    /// Append and force the record, then call `handle_durable(token)`.
    Append {
        /// What to write.
        record: Record,
        /// What to give back when it is durable.
        token: Token,
    },
    /// Append the record without forcing it: losing it costs a repetition, nothing else.
    AppendLazy {
        /// What to write.
        record: Record,
    },
    /// Send to a connected site, in order. May be dropped if the link has just died.
    Send {
        /// To whom.
        to: SiteName,
        /// What.
        message: ToParticipant,
    },
    /// Send to a connected coordinator, in order. May be dropped if the link has just died.
    SendPeer {
        /// To whom.
        to: CoordinatorId,
        /// What.
        message: PeerMessage,
    },
    /// Answer a waiting caller. Each caller is answered at most once.
    Answer {
        /// Who waits.
        caller: CallerId,
        /// About which transaction.
        gtid: Gtid,
        /// What became of it.
        answer: CommitAnswer,
    },
    /// Something odd that was survived: worth a line in the operator's log.
    Note(Note),
}

/// The answer to a commit or rollback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommitAnswer {
    /// Committed at all its sites, with this stamp.
    Committed {
        /// Its place in the order of all sites.
        stamp: Stamp,
    },
    /// Aborted at all its sites.
    Aborted {
        /// Why.
        cause: AbortCause,
    },
    /// Either; nobody here can know before a site or the coordinator has recovered. Never a "no".
    Unknown,
    /// The request made no sense; nothing was changed by it.
    Refused(Refusal),
}

/// Why a commit or rollback was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Never begun here, or ended so long ago that its outcome is no longer remembered. To a client
    /// that repeats a request this means "unknown outcome".
    UnknownGtid,
}

/// What `handle_begin` hands out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Begun {
    /// The transaction's name.
    pub gtid: Gtid,
    /// Its age: what the caller gave, or the present moment. A retry passes it on.
    pub priority: Priority,
}

/// Why a begin was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum BeginRefused {
    /// The epoch record is not yet durable: ask again in a moment.
    #[error("the coordinator is starting: its epoch is not yet in its log; try again")]
    Starting,
    /// The log has failed: no commit can be decided any more.
    #[error("the coordinator's log has failed; restart it after mending the disk")]
    LogFailed,
    /// Too many transactions are undecided.
    #[error("too many transactions are in flight (limit {limit}); try again later")]
    Busy {
        /// The configured limit.
        limit: usize,
    },
    /// All 2^24 epochs are used up.
    #[error("this coordinator id has used all its epochs; give the coordinator a new id")]
    EpochsExhausted,
}

/// Something odd that was survived.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// A site asked about, or reported, a transaction that this coordinator can know nothing of:
    /// another coordinator's, or of an epoch to come. Not answered.
    ForeignGtid {
        /// Who asked.
        from: SiteName,
        /// About what.
        gtid: Gtid,
    },
    /// A vote that nobody asked for, or that contradicts the decision. Ignored.
    UnexpectedVote {
        /// Who voted.
        from: SiteName,
        /// On what.
        gtid: Gtid,
    },
    /// A hello of an earlier life of the site, repeated late. Ignored.
    StaleHello {
        /// Who.
        from: SiteName,
    },
    /// A site came back without a vote that it had given: it lost its memory.
    VoteLost {
        /// Who.
        from: SiteName,
        /// Whose vote.
        gtid: Gtid,
    },
    /// A token that is not waited for came back as durable. Ignored.
    UnknownToken(Token),
}

/// The engine's answer when its gate has opened, or when it refuses.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReleasedVote {
    /// Every predecessor is decided and the engine can commit it.
    Yes {
        /// The engine's logical clock at the vote.
        stamp: Stamp,
        /// It wrote nothing here.
        read_only: bool,
        /// Predecessors that have voted here and are not decided. None unless the request allowed it,
        /// and none whose own vote the engine has not given before.
        depends: Dependencies,
    },
    /// The engine cannot commit it, or does not know it. The cause
    /// [`UnknownTransaction`](AbortCause::UnknownTransaction) means just that: there is nothing to
    /// undo, and nothing is said about an earlier life.
    No(AbortCause),
}

/// What a voter wants done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum VoterEffect {
    /// Ask the engine for its vote; it answers with `handle_released`, at once or when the
    /// predecessors are decided. Every request is followed by one `Apply`, unless the engine says
    /// that it does not know the transaction.
    RequestVote {
        /// Whose vote.
        gtid: Gtid,
        /// Whether predecessors that have voted need not be waited for.
        dependent: bool,
    },
    /// Log {gtid, stamp, read_only, the engine's writes and read marks} and force it, then call
    /// `handle_durable(token)`.
    AppendPrepared {
        /// Whose.
        gtid: Gtid,
        /// The stamp of its vote.
        stamp: Stamp,
        /// Only read marks to log.
        read_only: bool,
        /// What the vote depends on: to be logged as well.
        depends: Dependencies,
        /// What to give back when it is durable.
        token: Token,
    },
    /// Log {gtid, stamp, the engine's writes} as committed, in one record, and force it, then call
    /// `handle_durable(token)`.
    AppendOnePhase {
        /// Whose.
        gtid: Gtid,
        /// The stamp of its commit.
        stamp: Stamp,
        /// What to give back when it is durable.
        token: Token,
    },
    /// Log the decision on a prepared transaction and force it, then call `handle_durable(token)`.
    AppendDecision {
        /// Whose.
        gtid: Gtid,
        /// What was decided.
        decision: Decision,
        /// What to give back when it is durable.
        token: Token,
    },
    /// Log the decision without forcing it: after a restart the coordinator would say it again.
    AppendDecisionLazy {
        /// Whose.
        gtid: Gtid,
        /// What was decided.
        decision: Decision,
    },
    /// Log what an operator has decided on a transaction in doubt, in one record with the names of those that
    /// are aborted along with it, and force it, then call `handle_durable(token)`.
    AppendHeuristic {
        /// Whose.
        gtid: Gtid,
        /// What was decided here.
        decision: Decision,
        /// Who had read from it.
        along: Vec<Gtid>,
        /// What to give back when it is durable.
        token: Token,
    },
    /// Log what has become of a decision by hand. With a token: force it, then call `handle_durable(token)`;
    /// without one losing it costs a repetition.
    AppendHeuristicState {
        /// What is known now.
        heuristic: Heuristic,
        /// What to give back when it is durable.
        token: Option<Token>,
    },
    /// The engine makes the transaction visible or undoes it. An abort of a transaction that the
    /// engine does not know, or has undone, changes nothing.
    Apply {
        /// Whose.
        gtid: Gtid,
        /// What was decided.
        decision: Decision,
    },
    /// Send to a coordinator, in order.
    Send {
        /// To which.
        to: CoordinatorId,
        /// What.
        message: ToCoordinator,
    },
}
