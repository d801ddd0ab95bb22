//! Read locks on ranges of keys, present or not: what prevents phantoms (§4.11).

use std::collections::BTreeSet;

use crate::id::TxnId;
use crate::order::{Cell, Txn};
use crate::outcome::Grant;
use crate::sync::{Arc, Mutex};

/// A read lock, held or waited for, on all keys from `low` up to, not including, `high`.
pub(super) struct Scan<K> {
    pub(super) txn: Txn,
    pub(super) low: K,
    pub(super) high: Option<K>,
    pub(super) wait: Mutex<Wait>,
    /// Keys on which a waiting request names this scan's transaction in its `blocked_by`.
    pub(super) blocking: Mutex<BTreeSet<K>>,
}

/// Whom a request waits for, and how to tell it that nobody is left (L2).
#[derive(Default)]
pub(super) struct Wait {
    pub(super) blocked_by: Vec<TxnId>,
    pub(super) cell: Option<Arc<Cell<Grant>>>,
}

impl Wait {
    pub(super) fn is_granted(&self) -> bool {
        self.blocked_by.is_empty()
    }

    pub(super) fn block_on(&mut self, txn: TxnId) {
        if !self.blocked_by.contains(&txn) {
            self.blocked_by.push(txn);
        }
    }

    /// `txn` has released: hands out the cell if it was the last one waited for.
    pub(super) fn unblock(&mut self, txn: TxnId) -> Option<Arc<Cell<Grant>>> {
        let position = self.blocked_by.iter().position(|waited| *waited == txn)?;
        self.blocked_by.swap_remove(position);
        if self.is_granted() {
            self.cell.take()
        } else {
            None
        }
    }
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

    pub(super) fn is_granted(&self) -> bool {
        self.wait.lock().is_granted()
    }
}
