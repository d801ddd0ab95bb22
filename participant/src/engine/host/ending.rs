//! Decisions, and the undoing of doomed transactions.

use co_core::{AbortReason, Outcome, Stamp};

use super::{Engine, Shared, answer};
use crate::error::OperationError;
use crate::participant::{Ballot, Decision, TxnName};
use crate::registry::Entry;

impl<E: Engine> Shared<E> {
    pub(super) fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError> {
        let Some(entry) = self.registry.get(name) else {
            return Ok(());
        };
        match decision {
            Decision::Commit(stamp) => self.commit(&entry, stamp)?,
            Decision::Abort => {
                // Whoever waits for it is told; a transaction that has voted is ended by the claim alone.
                let txn = entry.handle().txn();
                self.scheduler.doom(txn, AbortReason::Requested);
                self.abort(&entry);
            }
        }
        self.registry.forget(name);
        Ok(())
    }

    fn commit(&self, entry: &Entry<E::Private>, stamp: Stamp) -> Result<(), OperationError> {
        let Some(work) = entry.claim_commit()? else {
            entry.wait_ended();
            return Ok(());
        };
        let handle = entry.handle();
        self.clock.raise(stamp);
        let version = match self.engine.apply(handle, &work, stamp) {
            Ok(version) => version,
            Err(_kept) => {
                // Neither visible nor undone: its locks and marks stay, so nobody sees around it.
                entry.finish();
                return Err(OperationError::StorageFailed);
            }
        };
        self.recorder.committed(handle.name(), stamp, version);
        let decided = self.scheduler.decided(handle.txn(), Outcome::Commit);
        assert!(decided.is_ok(), "I3: {:?} had voted", handle.name());
        self.engine.release(handle, &work);
        self.end(entry);
        Ok(())
    }

    /// Undoes a transaction, or waits until whoever is at it has done so.
    pub(super) fn abort(&self, entry: &Entry<E::Private>) {
        let Some(claim) = entry.claim_abort() else {
            entry.wait_ended();
            return;
        };
        let handle = entry.handle();
        self.engine.undo(handle, &claim.work);
        let decided = self.scheduler.decided(handle.txn(), Outcome::Abort);
        assert!(decided.is_ok(), "R1: {:?} ended twice", handle.name());
        self.engine.release(handle, &claim.work);
        self.recorder.aborted(handle.name(), claim.reason);
        self.end(entry);
        answer(claim.ballots, &Ballot::No(claim.reason));
    }

    fn end(&self, entry: &Entry<E::Private>) {
        self.registry.bury(entry.handle().txn().id());
        entry.finish();
        self.engine.progressed();
        self.look_after(entry.handle().txn().id());
    }

    /// Undoes all transactions that the scheduler doomed, and those that this dooms in turn (P4). Says
    /// whether there were any.
    pub(super) fn reap(&self) -> bool {
        let mut any = false;
        loop {
            let doomed = self.scheduler.take_doomed();
            if doomed.is_empty() {
                return any;
            }
            any = true;
            for txn in doomed {
                if let Some(entry) = self.registry.by_txn(txn.id()) {
                    self.abort(&entry);
                }
            }
        }
    }
}
