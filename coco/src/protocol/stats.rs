//! Counters. They say what happened and steer nothing.

use std::collections::BTreeMap;

use super::AbortCause;

/// What a coordinator has seen since it started or since the counters were last taken.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct CoordinatorStats {
    /// Transactions begun.
    pub begun: u64,
    /// Commits, one-phase ones included.
    pub commits: u64,
    /// Commits that a single site decided.
    pub one_phase_commits: u64,
    /// Aborts by cause.
    pub aborts: BTreeMap<AbortCause, u64>,
    /// Callers answered with "unknown".
    pub unknown: u64,
    /// Transactions that were begun and never came back.
    pub expired: u64,
    /// Reports of waits received.
    pub reports: u64,
    /// Deadlocks over several sites that the cycle search resolved.
    pub deadlocks_by_search: u64,
    /// Vote timeouts that ended a transaction which stood on a reported cycle.
    pub deadlocks_by_timeout: u64,
    /// Transactions that wound-wait or wait-die ended.
    pub outranked: u64,
    /// Messages of other coordinators received.
    pub peer_messages: u64,
    /// Decisions sent again.
    pub resends: u64,
}

impl CoordinatorStats {
    /// Aborts of all causes.
    #[must_use]
    pub fn aborts_in_all(&self) -> u64 {
        self.aborts.values().sum()
    }
}

/// What a voter has seen since it started or since the counters were last taken.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct VoterStats {
    /// Votes YES, read-only ones included.
    pub votes_yes: u64,
    /// Votes YES of transactions that wrote nothing here.
    pub votes_read_only: u64,
    /// Votes YES that depended on others when they were given.
    pub votes_dependent: u64,
    /// Votes said again because what they depended on was decided.
    pub votes_settled: u64,
    /// Votes NO by cause.
    pub votes_no: BTreeMap<AbortCause, u64>,
    /// Transactions that this site alone committed.
    pub one_phase_commits: u64,
    /// Commit decisions applied.
    pub commits: u64,
    /// Abort decisions applied.
    pub aborts: u64,
    /// Waits reported or withdrawn.
    pub reports: u64,
    /// Inquiries sent.
    pub inquiries: u64,
    /// Messages of a coordinator about another's transaction. Ignored.
    pub foreign_messages: u64,
    /// Commit decisions on transactions that a volatile site had voted for and lost by a restart.
    pub lost_commits: u64,
    /// Transactions in doubt that an operator committed here.
    pub heuristic_commits: u64,
    /// Transactions in doubt that an operator aborted here, those included that had read from one of them.
    pub heuristic_aborts: u64,
    /// Of both, those that the coordinator had decided the other way.
    pub heuristic_damage: u64,
}
