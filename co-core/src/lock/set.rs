//! The locks of one transaction.

use std::hash::Hash;

use crate::id::TxnId;
use crate::lock::LockTable;
use crate::order::Txn;

/// The locks of one transaction in one [`LockTable`](crate::LockTable), kept by the engine next to the
/// transaction: from [`LockTable::begin`](crate::LockTable::begin) to
/// [`LockTable::end`](crate::LockTable::end).
///
/// Requests take it by exclusive reference, so a transaction makes one at a time, and its end consumes it, so
/// nothing is asked for afterwards. Dropping it instead leaves its locks in the table for ever.
#[derive(Debug)]
#[must_use = "its locks stay in the table until `LockTable::end`"]
pub struct LockSet {
    pub(super) txn: Txn,
    pub(super) owner: TxnId,
    /// Of the keys asked for, each once for every request that was queued.
    pub(super) hashes: Vec<u64>,
    pub(super) scans: bool,
    /// Under ordered sharing: the hash of the key of the last request, if that had to wait.
    pub(super) undone: Option<u64>,
}

impl LockSet {
    pub(super) fn new(txn: Txn) -> Self {
        Self {
            owner: txn.id(),
            txn,
            hashes: Vec::new(),
            scans: false,
            undone: None,
        }
    }

    /// Whose locks they are.
    #[must_use]
    pub fn txn(&self) -> &Txn {
        &self.txn
    }
}

impl<K: Ord + Clone + Hash> LockTable<K> {
    /// Under ordered sharing: `txn` has made the access that its last request was for, if that had to wait. Those
    /// behind it are ordered after it now, and not only when it asks for something else or ends. For engines
    /// that keep no [`LockSet`].
    pub fn accessed(&self, txn: &Txn) {
        let undone = {
            let mut sets = self.sets(txn.id()).lock();
            sets.get_mut(&txn.id()).and_then(|set| set.undone.take())
        };
        if let Some(hash) = undone {
            self.done(txn, hash);
        }
    }
}
