//! The durable store on fjall, a log-structured merge tree (`docs/log-format.md` draws what is in it).
//!
//! Two keyspaces: `rows` holds the cells by key, `site` holds whose store this is and the mark. A batch changes
//! both at once. Nothing is forced but by [`Storage::persist`]: the site's log holds every commit that this
//! store could lose.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::Path;

use co_core::Stamp;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Cause, Cell, Mark, Storage, StorageError, Visit, is_no_space};
use crate::participant::{Key, KeyRange, Value};
use crate::sync::Mutex;

/// Committed data in a folder.
///
/// ```
/// use participant::storage::{Batch, Cell, FjallStore, Mark, Storage};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// let cell = Cell { version: 1, value: Some((*b"v").into()), ..Cell::default() };
/// let mark = Mark { ordinal: 1, ..Mark::default() };
/// let store = FjallStore::open(path, "berlin")?;
/// store.apply(Batch { rows: vec![((*b"k").into(), cell.clone())], mark })?;
/// store.persist()?;
/// drop(store);
/// let store = FjallStore::open(path, "berlin")?;
/// assert_eq!((store.get(b"k")?, store.mark()), (cell, mark));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FjallStore {
    database: Database,
    rows: Keyspace,
    site: Keyspace,
    mark: Mutex<Mark>,
}

/// Of the store's own format; fjall has one for its files.
const VERSION: u8 = 1;
const ABOUT: &[u8] = b"about";
const MARK: &[u8] = b"mark";

impl FjallStore {
    /// Opens the store of `site` in a folder, or makes it.
    ///
    /// # Errors
    /// [`StorageError`] if it is in use, another site's, of another version, damaged, or cannot be written.
    pub fn open(path: &Path, site: &str) -> Result<Self, StorageError> {
        // What is made has to be beside the folder itself, not beside a link to it.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if is_absent(path) {
            make(path, site).map_err(|error| match error {
                MakeError::Store(error) => error,
                MakeError::Folder(error) => failed(fjall::Error::Io(error)),
            })?;
        }
        Self::open_in(path, site)
    }

    fn open_in(path: &Path, site: &str) -> Result<Self, StorageError> {
        let opened = Database::builder(path)
            .worker_threads(1)
            .manual_journal_persist(true)
            .open();
        let database = opened.map_err(|error| {
            if matches!(error, fjall::Error::Locked) {
                let path = path.to_path_buf();
                return StorageError::InUse { path };
            }
            failed(error)
        })?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default);
        let about = database.keyspace("site", KeyspaceCreateOptions::default);
        let store = Self {
            rows: rows.map_err(failed)?,
            site: about.map_err(failed)?,
            database,
            mark: Mutex::default(),
        };
        match store.site.get(ABOUT).map_err(failed)? {
            None => {
                let about = [&[VERSION], site.as_bytes()].concat();
                store.site.insert(ABOUT, about).map_err(failed)?;
                store.persist()?;
            }
            Some(about) => check_owner(path, &about, site)?,
        }
        if let Some(mark) = store.site.get(MARK).map_err(failed)? {
            *store.mark.lock() = decode_mark(&mark)?;
        }
        Ok(store)
    }

    /// How many bytes it takes on the disk, its journals included.
    ///
    /// # Errors
    /// [`StorageError`] if the folder cannot be read.
    pub fn disk_bytes(&self) -> Result<u64, StorageError> {
        self.database.disk_space().map_err(failed)
    }
}

/// No store, not even an empty one: at most an empty folder.
fn is_absent(path: &Path) -> bool {
    fs::read_dir(path).map_or_else(
        |error| error.kind() == io::ErrorKind::NotFound,
        |mut entries| entries.next().is_none(),
    )
}

enum MakeError {
    Store(StorageError),
    Folder(io::Error),
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Folder(error)
    }
}

/// Makes an empty store, which has its name only when it is whole: what fjall has half made when the process is
/// killed can be opened by nobody. What an earlier attempt has left is removed.
fn make(path: &Path, site: &str) -> Result<(), MakeError> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        // The root of a file system.
        return Ok(());
    };
    let mut unfinished = name.to_owned();
    unfinished.push(".unfinished");
    let unfinished = path.with_file_name(unfinished);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&unfinished)?;
    drop(FjallStore::open_in(&unfinished, site).map_err(MakeError::Store)?);
    match fs::rename(&unfinished, path) {
        // A file system of its own: nothing can take its place, and the store is made inside.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            fs::remove_dir_all(&unfinished)?;
            return Ok(());
        }
        renamed => renamed?,
    }
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    File::open(parent)?.sync_all()?;
    Ok(())
}

fn check_owner(path: &Path, about: &[u8], site: &str) -> Result<(), StorageError> {
    let path = path.to_path_buf();
    match about.split_first() {
        Some((&VERSION, name)) if name == site.as_bytes() => Ok(()),
        Some((&VERSION, name)) => Err(StorageError::NotOurs {
            path,
            found: String::from_utf8_lossy(name).into_owned(),
            expected: site.to_owned(),
        }),
        Some((&found, _)) => Err(StorageError::OtherVersion {
            path,
            found,
            supported: VERSION,
        }),
        None => Err(StorageError::Corrupt {
            what: "it does not say whose it is",
        }),
    }
}

impl Storage for FjallStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn mark(&self) -> Mark {
        *self.mark.lock()
    }

    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        match self.rows.get(key).map_err(failed)? {
            None => Ok(Cell::default()),
            Some(bytes) => decode_cell(&bytes),
        }
    }

    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        if range.high.as_ref().is_some_and(|high| *high <= range.low) {
            return Ok(());
        }
        let high = range.high.as_deref();
        let bounds = (
            Bound::Included(&*range.low),
            high.map_or(Bound::Unbounded, Bound::Excluded),
        );
        for row in self.rows.range::<&[u8], _>(bounds) {
            let (key, bytes) = row.into_inner().map_err(failed)?;
            if visit(&Key::from(&*key), &decode_cell(&bytes)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        let mut mark = self.mark.lock();
        assert!(mark.ordinal < batch.mark.ordinal, "D1: batches in order");
        let mut writes = self.database.batch();
        for (key, cell) in &batch.rows {
            writes.insert(&self.rows, &**key, encode_cell(cell));
        }
        writes.insert(&self.site, MARK, encode_mark(batch.mark));
        writes.commit().map_err(failed)?;
        *mark = batch.mark;
        Ok(())
    }

    fn persist(&self) -> Result<(), StorageError> {
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallStore")
            .field("mark", &self.mark())
            .finish_non_exhaustive()
    }
}

fn encode_mark(mark: Mark) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mark.ordinal.to_le_bytes());
    bytes[8..].copy_from_slice(&mark.stamp.0.to_le_bytes());
    bytes
}

fn decode_mark(bytes: &[u8]) -> Result<Mark, StorageError> {
    let corrupt = StorageError::Corrupt {
        what: "its mark is malformed",
    };
    let (ordinal, rest) = number(bytes).ok_or_else(|| corrupt.clone())?;
    match number(rest) {
        Some((stamp, [])) => Ok(Mark {
            ordinal,
            stamp: Stamp(stamp),
        }),
        Some(_) | None => Err(corrupt),
    }
}

fn encode_cell(cell: &Cell) -> Vec<u8> {
    let value = cell.value.as_deref();
    let mut bytes = Vec::with_capacity(17 + value.map_or(0, <[u8]>::len));
    bytes.extend_from_slice(&cell.version.to_le_bytes());
    bytes.extend_from_slice(&cell.stamp.0.to_le_bytes());
    bytes.push(u8::from(value.is_some()));
    bytes.extend_from_slice(value.unwrap_or_default());
    bytes
}

fn decode_cell(bytes: &[u8]) -> Result<Cell, StorageError> {
    let decoded = (|| {
        let (version, rest) = number(bytes)?;
        let (stamp, rest) = number(rest)?;
        let value = match rest.split_first()? {
            (0, []) => None,
            (1, value) => Some(Value::from(value)),
            _ => return None,
        };
        Some(Cell {
            version,
            stamp: Stamp(stamp),
            value,
        })
    })();
    decoded.ok_or(StorageError::Corrupt {
        what: "a row is malformed",
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*head), rest))
}

/// What fjall says, with a full disk told apart wherever it hides.
fn failed(error: fjall::Error) -> StorageError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if inner.downcast_ref::<io::Error>().is_some_and(is_no_space) {
            return StorageError::NoSpace(Cause::new(error));
        }
        source = inner.source();
    }
    StorageError::Failed(Cause::new(error))
}
