//! Read locks on ranges of keys, present or not: what prevents phantoms (§4.11).

use crate::id::TxnId;
use crate::lock::queue::Wait;
use crate::order::Txn;

/// A read lock, held or waited for, on all keys from `low` up to, not including, `high`.
pub(super) struct Scan<K> {
    pub(super) txn: Txn,
    pub(super) low: K,
    pub(super) high: Option<K>,
    /// Whether it was granted only after a wait.
    pub(super) waited: bool,
    /// `None`: granted.
    pub(super) wait: Option<Box<Wait>>,
    /// Hashes of keys on which a waiting request names this scan's transaction in its `blocked_by`.
    pub(super) blocking: Vec<u64>,
}

impl<K: Ord> Scan<K> {
    pub(super) fn contains(&self, key: &K) -> bool {
        *key >= self.low && self.high.as_ref().is_none_or(|high| key < high)
    }

    pub(super) fn covers(&self, low: &K, high: Option<&K>) -> bool {
        let reaches = match (&self.high, high) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        };
        self.low <= *low && reaches
    }

    pub(super) fn is_of(&self, owner: TxnId) -> bool {
        self.txn.id() == owner
    }

    pub(super) fn is_done(&self) -> bool {
        !self.waited
    }

    pub(super) fn is_granted(&self) -> bool {
        self.wait.is_none()
    }
}
