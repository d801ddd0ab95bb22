//! Committed data under the engines: the newest version of every key, and how far the site's commits are in it.
//!
//! A [`Storage`] knows nothing of transactions. An engine gives it whole commits, in order, as one [`Batch`]
//! with the [`Mark`] of the last of them; several commits may share a batch. Who may see what, and when a
//! commit may go to the store at all, is the engines' business: a durable store is given a commit only after
//! the site's log holds its record, so that a store is never ahead of its log.
//!
//! A deleted key keeps its row, with its version number and no value: a reader of the absence is told apart
//! from a reader of an earlier absence, also after a restart.
//!
//! Invariants every implementation keeps (`tests/main/storage.rs` checks them):
//! - D1 A batch is there as a whole or not at all, its mark with it; so is it after any crash.
//! - D2 After a crash there is a prefix of the batches, and all that came before the last
//!   [`Storage::persist`] that succeeded.
//! - D3 A call that fails answers nothing. After a failed write the store is not asked again
//!   (the engine refuses everything from then on).
//!
//! Implementations: [`Memory`]; `FjallStore` with the feature `fjall-store`; [`SimStorage`] for tests, which
//! knows what a crash would leave.

#[cfg(feature = "fjall-store")]
mod fjall;
mod memory;
mod sim;

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use co_core::Stamp;

use crate::participant::{Key, KeyRange, Value};

#[cfg(feature = "fjall-store")]
pub use self::fjall::FjallStore;
pub use self::memory::Memory;
pub use self::sim::SimStorage;

/// The committed version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    /// Its number: the ordinal of the commit that installed it; zero if there never was one.
    pub version: u64,
    /// The place of that commit in the order of all sites.
    pub stamp: Stamp,
    /// Its value, `None` if the key is absent.
    pub value: Option<Value>,
}

/// How far the commits of a site are in a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// The ordinal of the last commit that is there: the how-manieth commit of the site that changed something.
    pub ordinal: u64,
    /// The largest stamp among them.
    pub stamp: Stamp,
}

/// One or more commits, in order, to be stored together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The rows that change; the last one counts if a key is there twice.
    pub rows: Vec<(Key, Cell)>,
    /// The mark of the last commit.
    pub mark: Mark,
}

/// Gets the rows of a range, in order, until it breaks.
pub type Visit<'a> = &'a mut dyn FnMut(&Key, &Cell) -> ControlFlow<()>;

/// A store of committed data. All methods may be called from any thread.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// Whether what was persisted survives the process.
    fn is_durable(&self) -> bool;

    /// The mark of the last batch.
    fn mark(&self) -> Mark;

    /// The row of a key; the default if there is none.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Cell, StorageError>;

    /// Shows the rows of a range, those of deleted keys included, in the order of their keys, as of one moment.
    /// `visit` must not call the store.
    ///
    /// # Errors
    /// [`StorageError`] if they cannot be read; some may have been shown.
    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError>;

    /// Stores a batch (D1). It is visible when this returns, and durable with the next
    /// [`Storage::persist`], or earlier.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be stored. It may be there after a restart.
    fn apply(&self, batch: Batch) -> Result<(), StorageError>;

    /// Makes all batches durable.
    ///
    /// # Errors
    /// [`StorageError`] if that is not certain.
    fn persist(&self) -> Result<(), StorageError>;
}

/// What a store could not do. Every message says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process, or another value in this one, has it open.
    #[error("the store in {path:?} is in use; stop the process that has it open")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It is another site's.
    #[error(
        "the store in {path:?} is that of site {found:?}, not of {expected:?}; check the folder and the name"
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wants it.
        expected: String,
    },
    /// A newer version of this program wrote it, or it is no store at all.
    #[error(
        "the store in {path:?} has format version {found}, and this program reads version {supported}: use the program that wrote it"
    )]
    OtherVersion {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u8,
        /// The version that is understood here.
        supported: u8,
    },
    /// The disk is full.
    #[error("no space for the store; free some and start the site again: {0}")]
    NoSpace(#[source] Cause),
    /// What is there cannot be what was written.
    #[error("the store is damaged ({what}); restore its folder and that of the log from one copy")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
    },
    /// Anything else.
    #[error("the store failed; mend the disk and start the site again: {0}")]
    Failed(#[source] Cause),
}

/// Why a store failed, as the system or the library says it. Clones share it.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Keeps an error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        if is_no_space(&error) {
            Self::NoSpace(Cause::new(error))
        } else {
            Self::Failed(Cause::new(error))
        }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
