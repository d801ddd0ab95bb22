//! What an engine's author implements: the handful of calls through which the kit drives one store.
//!
//! The calls are asynchronous and the kit polls them itself, so it sees all three answers: done (ready at
//! once), waits (pending), refused ([`Refusal`]). A call must not block its thread on another
//! transaction; the futures of co-core ([`co_core::LockFuture`], [`co_core::VoteFuture`]) do not.

use std::error::Error;
use std::fmt;

use co_core::{AbortReason, Kind, Misuse, Outcome, Scheduler, Txn};

/// A key. Keys are ordered as bytes.
pub type Key = Vec<u8>;

/// A value.
pub type Value = Vec<u8>;

/// The end of a call: a value, or why there is none.
pub type Answer<T> = Result<T, Refusal>;

/// One store that embeds co-core, at one site.
///
/// Methods may be called from any thread. One transaction has one call in progress at a time, and a
/// future that is dropped is followed by the abort of its transaction.
pub trait Engine: Send + Sync + Sized + 'static {
    /// The scheduler that orders this store's commits.
    fn scheduler(&self) -> &Scheduler;

    /// Begins a transaction.
    fn begin(&self, kind: Kind) -> Txn {
        self.scheduler().begin(kind)
    }

    /// Reads a key: the transaction's own write, or a committed value, or nothing.
    fn read(&self, txn: &Txn, key: &[u8]) -> impl Future<Output = Answer<Option<Value>>> + Send;

    /// Writes a key; `None` deletes it.
    fn write(
        &self,
        txn: &Txn,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Reads every key from `low` up to, not including, `high` (`None`: to the end), in order, the
    /// transaction's own writes included.
    fn scan(
        &self,
        txn: &Txn,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> impl Future<Output = Answer<Vec<(Key, Value)>>> + Send;

    /// Asks for the vote. `Ok` is YES: the order permits the commit, and for a global transaction its
    /// writes and read marks are in the store's log. NO is [`Refusal::Aborted`]. Asking again gives the
    /// same answer.
    fn request_vote(&self, txn: &Txn) -> impl Future<Output = Answer<()>> + Send;

    /// Decides: the coordinator's word for a global transaction, the site's own for a local one. An abort
    /// may come at any time, also while a call of the transaction waits; a commit only after a YES.
    ///
    /// # Errors
    /// [`Refusal::Misused`] when the scheduler does not allow it: a commit without a vote, a second
    /// decision. Nothing has changed then. [`Refusal::Failed`] when the store fails.
    fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()>;

    /// Aborts what the scheduler has doomed since the last call, so that nobody waits for a transaction
    /// whose client is idle. The kit calls it after every step.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    fn clean_up(&self) -> Answer<()> {
        for txn in self.scheduler().take_doomed() {
            if txn.state().is_undecided() {
                self.decide(&txn, Outcome::Abort)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is left of any transaction: no lock, no mark, no private write (I7).
    fn is_idle(&self) -> bool;

    /// The transactions in doubt that opening the store has brought back, if it keeps any.
    fn in_doubt(&self) -> Vec<Txn> {
        Vec::new()
    }
}

/// Why a call has no value.
///
/// Every error converts into it, so `?` works on a store's own errors: a [`Misuse`] stays one, anything
/// else becomes [`Refusal::Failed`].
#[derive(Debug)]
pub enum Refusal {
    /// The transaction must abort. An outcome like any other.
    Aborted(AbortReason),
    /// The scheduler does not allow the call in the transaction's state.
    Misused(Misuse),
    /// The store itself failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl<E: Error + Send + Sync + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(error);
        match boxed.downcast::<Misuse>() {
            Ok(misuse) => Self::Misused(*misuse),
            Err(other) => Self::Failed(other),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(reason) => write!(f, "aborted: {reason}"),
            Self::Misused(misuse) => write!(f, "misuse: {misuse}"),
            Self::Failed(error) => write!(f, "the store failed: {error}"),
        }
    }
}

/// Names one store. Opening the same place again is opening the same store after a crash; every other
/// place is a new, empty store. A store on disk uses it as the name of its folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use co_core::State;

    #[test]
    fn a_misuse_stays_a_misuse_and_other_errors_are_failures() {
        let misuse = Misuse::WrongState {
            state: State::Committed,
            attempted: "commit",
        };
        assert!(matches!(Refusal::from(misuse), Refusal::Misused(kept) if kept == misuse));
        let other = Refusal::from(std::io::Error::other("disk"));
        assert_eq!(other.to_string(), "the store failed: disk");
    }
}
