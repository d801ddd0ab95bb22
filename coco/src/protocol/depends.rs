//! Votes that depend on others' decisions.
//!
//! A site withholds its YES on a transaction while one that precedes it there is undecided. A site and a
//! transaction that allow it may do better: the site votes at once and says what the YES depends on.
//! The coordinator then decides the two in that order, in the same batch of its log if both are its
//! own, instead of waiting for the one decision to travel to the site and for the other's vote to come
//! back.
//!
//! Invariants:
//! - (Y1) For every pair that a vote names, the one named is decided first, and gets the smaller stamp.
//! - (Y2) What depends on the commit of an aborted transaction is aborted.
//! - (Y3) A vote's dependencies only shrink.

use std::collections::BTreeSet;

use co_core::{Gtid, Stamp};

/// What a YES depends on; nothing, for an ordinary one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dependencies {
    /// These precede it: they have to be decided before, whichever way.
    pub after: BTreeSet<Gtid>,
    /// It read what these wrote: they have to be committed before, or it is aborted.
    pub if_committed: BTreeSet<Gtid>,
}

/// What a decision on one transaction means for a vote that may depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Settled {
    /// The vote did not name it.
    Unnamed,
    /// One dependency less.
    Fulfilled,
    /// The vote cannot become a commit any more (Y2).
    Broken,
}

impl Dependencies {
    /// Whether the vote is an ordinary one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.after.is_empty() && self.if_committed.is_empty()
    }

    /// Those that have to be decided before.
    pub fn iter(&self) -> impl Iterator<Item = Gtid> {
        self.after.union(&self.if_committed).copied()
    }

    /// A transaction is decided: committed with this stamp, or aborted.
    pub fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) -> Settled {
        let after = self.after.remove(&gtid);
        let if_committed = self.if_committed.remove(&gtid);
        match (if_committed, outcome) {
            (true, None) => Settled::Broken,
            (false, _) if !after => Settled::Unnamed,
            (true, Some(_)) | (false, _) => Settled::Fulfilled,
        }
    }

    /// A later word of the same site about the same vote: what either does not name is settled (Y3).
    pub(super) fn narrow(&mut self, other: &Self) {
        self.after.retain(|gtid| other.after.contains(gtid));
        self.if_committed
            .retain(|gtid| other.if_committed.contains(gtid));
    }
}

/// The smallest stamp after this one.
pub(super) const fn next_stamp(stamp: Stamp) -> Stamp {
    Stamp(stamp.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depends(after: &[u64], if_committed: &[u64]) -> Dependencies {
        let set = |gtids: &[u64]| gtids.iter().map(|&it| Gtid(it)).collect();
        Dependencies {
            after: set(after),
            if_committed: set(if_committed),
        }
    }

    #[test]
    fn order_is_fulfilled_by_either_decision_and_data_by_a_commit_only() {
        let mut vote = depends(&[1, 2], &[2, 3]);
        assert_eq!(vote.settle(Gtid(9), None), Settled::Unnamed);
        assert_eq!(vote.settle(Gtid(1), None), Settled::Fulfilled);
        assert_eq!(vote.settle(Gtid(1), None), Settled::Unnamed);
        assert_eq!(vote.settle(Gtid(2), Some(Stamp(1))), Settled::Fulfilled);
        assert_eq!(vote.iter().collect::<Vec<_>>(), [Gtid(3)]);
        assert_eq!(vote.settle(Gtid(3), None), Settled::Broken);
        assert!(vote.is_empty());
    }

    #[test]
    fn a_late_repetition_brings_nothing_back() {
        let mut known = depends(&[2], &[]);
        known.narrow(&depends(&[1, 2], &[3]));
        assert_eq!(known, depends(&[2], &[]));
        known.narrow(&depends(&[], &[3]));
        assert!(known.is_empty());
    }
}
