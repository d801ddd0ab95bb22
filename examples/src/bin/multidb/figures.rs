//! What the processes counted themselves.

use serde::Serialize;

/// A site's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct SiteFigures {
    /// Votes that the site was asked for.
    pub(crate) votes_requested: u64,
    /// Votes that waited until a predecessor was decided.
    pub(crate) votes_withheld: u64,
    /// Cycles of conflicts and waits that the site found and broke by itself.
    pub(crate) local_cycles: u64,
    /// Transactions that the site doomed because they precede one that had voted or committed.
    pub(crate) overtaken: u64,
}

/// The coordinator's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct CoordinatorFigures {
    /// Transactions that it committed, those of one site included.
    pub(crate) commits: u64,
    /// Transactions that it aborted.
    pub(crate) aborts: u64,
    /// Deadlocks over several sites that its cycle search resolved.
    pub(crate) deadlocks_by_search: u64,
    /// Deadlocks over several sites that only a timeout resolved.
    pub(crate) deadlocks_by_timeout: u64,
    /// Reports of waits that the sites sent it.
    pub(crate) blocked_reports: u64,
}
