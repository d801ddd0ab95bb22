//! A durable log on files: checksummed frames in segments of zeros, one writer thread, one sync for
//! each batch of whatever is queued.
//!
//! The bytes are drawn, and what is expected of the disk is said, in `docs/log-format.md`. Invariants:
//! those of every log (L1-L4), those of frames (F1, F2), of opening (O1) and of the writer (W1-W3), each
//! in its module.

mod folder;
mod frame;
#[cfg(feature = "manual-log")]
mod manual;
mod recover;
mod writer;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

pub use self::folder::{DiskFolder, Folder, Media};
use self::frame::{FRAME_BYTES, HEADER_BYTES, NAME_BYTES};
#[cfg(feature = "manual-log")]
pub use self::manual::ManualLog;
use self::writer::{Shared, Writer};
use super::{Done, Log, LogError, Lsn};
use crate::failpoint;

/// A durable log in a folder of its own.
///
/// Dropping it writes what is queued, syncs, and gives the folder free.
///
/// ```
/// use coco::log::{FileLog, Log, Options, Owner};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// let owner = Owner::participant("bank");
/// let (log, records) = FileLog::open(path, &owner, Options::default())?;
/// assert!(records.is_empty());
/// let (told, hears) = std::sync::mpsc::channel();
/// log.append(b"prepared G1", Box::new(move |result| told.send(result).unwrap()));
/// hears.recv()??; // durable
/// drop(log);
///
/// let (_log, records) = FileLog::open(path, &owner, Options::default())?;
/// assert_eq!(records, [b"prepared G1"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    max_record: usize,
}

/// Sizes of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How large a segment is: files are made at this size, filled with zeros, because a file that
    /// grows costs two to three times as much for each sync. A record must fit into one.
    pub segment_bytes: u64,
    /// How many bytes may be queued for the writer; whoever appends more waits.
    pub queue_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            queue_bytes: 16 << 20,
        }
    }
}

/// Whose log it is; written into every segment, so that nobody starts from another's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// What kind of program.
    pub kind: OwnerKind,
    /// Which of them; at most 64 bytes.
    pub name: String,
}

impl Owner {
    /// A coordinator of this name.
    #[must_use]
    pub fn coordinator(name: &str) -> Self {
        Self {
            kind: OwnerKind::Coordinator,
            name: name.to_owned(),
        }
    }

    /// A participant of this name.
    #[must_use]
    pub fn participant(name: &str) -> Self {
        Self {
            kind: OwnerKind::Participant,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OwnerKind::Coordinator => "coordinator",
            OwnerKind::Participant => "participant",
        };
        write!(f, "{kind} \"{}\"", self.name)
    }
}

/// What kind of program owns a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerKind {
    /// A coordinator: its records are [`Record`](crate::log::Record)s.
    Coordinator,
    /// A participant: its records are its own business.
    Participant,
}

impl OwnerKind {
    const fn code(self) -> u8 {
        match self {
            Self::Coordinator => 1,
            Self::Participant => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Coordinator),
            2 => Some(Self::Participant),
            _ => None,
        }
    }
}

/// Why a log cannot be opened. Nothing is changed on the disk by a refusal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another value in this one, has it open.
    #[error(
        "{path:?} is in use; stop the process that has this log open, or choose another folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is named like a segment is none.
    #[error("{path:?} is not a log segment; move it out of the folder, or choose another folder")]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// It is another owner's.
    #[error("{path:?} is the log of {found}, not of {expected}; check the folder and the name")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Owner,
        /// Who wants it.
        expected: Owner,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{path:?} has format version {found} and this program reads up to {supported}; \
         use the version that wrote it"
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is understood here.
        supported: u32,
    },
    /// A record that was durable is not whole any more.
    #[error(
        "{path:?} is damaged at byte {offset}{}: what was durable there is lost; restore the folder \
         from a copy, do not delete the file",
        lsn.map(|lsn| format!(" (record {lsn})")).unwrap_or_default()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Which record; `None` for the header.
        lsn: Option<Lsn>,
    },
    /// Durable records are missing before a segment.
    #[error(
        "{path:?} starts with record {found} where record {expected} must follow: the end of the \
         segment before it, or a whole segment, is lost; restore the folder from a copy"
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// Which record must come.
        expected: Lsn,
        /// Which comes.
        found: Lsn,
    },
    /// The disk is full.
    #[error("no space for the log in {path:?}; free some and start again")]
    NoSpace {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder may not be written.
    #[error("the log in {path:?} cannot be written; check its permissions and how it is mounted")]
    NotWritable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else the system said.
    #[error("the log in {path:?} cannot be opened")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The owner's name does not fit into the header.
    #[error("the name {name:?} is too long for a log (at most {NAME_BYTES} bytes)")]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// Segments of this size hold nothing.
    #[error(
        "segments of {segment_bytes} bytes are too small (at least {})",
        MIN_SEGMENT_BYTES
    )]
    SegmentTooSmall {
        /// The size.
        segment_bytes: u64,
    },
}

/// A header and the smallest sensible room for frames.
const MIN_SEGMENT_BYTES: u64 = HEADER_BYTES as u64 + 1024;

impl OpenError {
    fn io(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_path_buf();
        let kind = source.kind();
        if matches!(
            kind,
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge
        ) {
            Self::NoSpace { path, source }
        } else if matches!(kind, Kind::PermissionDenied | Kind::ReadOnlyFilesystem) {
            Self::NotWritable { path, source }
        } else {
            Self::Io { path, source }
        }
    }
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLogStats {
    /// Records that are durable, lazy ones included.
    pub appended: u64,
    /// Syncs of segments that held records: one for each batch.
    pub syncs: u64,
    /// Segments in the folder.
    pub segments: usize,
}

impl FileLog {
    /// Opens the log in a folder, and creates it if there is none; returns the records it holds.
    ///
    /// A torn tail, which a crash leaves of records that were not yet durable, is cut.
    ///
    /// # Errors
    ///
    /// If the folder is in use or not writable, or if what is there is another owner's, of a newer
    /// version, or damaged. The error says what to do.
    pub fn open(
        path: &Path,
        owner: &Owner,
        options: Options,
    ) -> Result<(Self, Vec<Vec<u8>>), OpenError> {
        Self::open_in(Box::new(DiskFolder::open(path)?), owner, options)
    }

    /// Opens the log in a folder of any kind.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_in(
        folder: Box<dyn Folder>,
        owner: &Owner,
        options: Options,
    ) -> Result<(Self, Vec<Vec<u8>>), OpenError> {
        let (mut log, writer, records) = Self::assemble(folder, owner, &options)?;
        let thread = thread::Builder::new()
            .name("coco-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::io(log.shared.folder.path(), source))?;
        log.writer = Some(thread);
        Ok((log, records))
    }

    /// The log and its writer, which has no thread yet: tests turn it by hand.
    fn assemble(
        folder: Box<dyn Folder>,
        owner: &Owner,
        options: &Options,
    ) -> Result<(Self, Writer, Vec<Vec<u8>>), OpenError> {
        Self::assemble_with(folder, owner, options, Box::new(new_salt))
    }

    /// The same, with the salts of its segments from elsewhere.
    fn assemble_with(
        folder: Box<dyn Folder>,
        owner: &Owner,
        options: &Options,
        mut new_salt: Box<dyn FnMut() -> u32 + Send>,
    ) -> Result<(Self, Writer, Vec<Vec<u8>>), OpenError> {
        let &Options {
            segment_bytes,
            queue_bytes,
        } = options;
        if owner.name.len() > NAME_BYTES {
            return Err(OpenError::NameTooLong {
                name: owner.name.clone(),
            });
        }
        if segment_bytes < MIN_SEGMENT_BYTES {
            return Err(OpenError::SegmentTooSmall { segment_bytes });
        }
        let found = recover::open(&*folder, owner, segment_bytes, new_salt())?;
        let shared = Arc::new(Shared::new(folder, queue_bytes, found.segments));
        let writer = Writer {
            shared: Arc::clone(&shared),
            current: found.current,
            next: found.next,
            segment_bytes,
            buffer: Vec::new(),
            new_salt,
        };
        let room = segment_bytes - (HEADER_BYTES + FRAME_BYTES) as u64;
        let max_record = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize / 2);
        // Padding never makes a record of this size overflow the segment.
        let max_record = max_record & !(frame::ALIGN - 1);
        let log = Self {
            shared,
            writer: None,
            max_record,
        };
        Ok((log, writer, found.records))
    }

    /// The largest record that it takes.
    #[must_use]
    pub const fn max_record(&self) -> usize {
        self.max_record
    }

    /// The failure that has poisoned the log, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<io::Error>> {
        self.shared.failure()
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> FileLogStats {
        let segments = self
            .shared
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        FileLogStats {
            appended: self.shared.appended.load(Ordering::Relaxed),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            segments,
        }
    }

    /// Removes the segments that hold only records before `lsn`: the caller needs them no more, and
    /// what replaces them is durable.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed. The log is not harmed.
    pub fn cut_before(&self, lsn: Lsn) -> io::Result<()> {
        let mut segments = self
            .shared
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A segment ends where the next one starts; the last one stays. Oldest first and each made
        // durable, so that a crash in between leaves no gap.
        while let [oldest, following, ..] = segments[..]
            && following <= lsn
        {
            failpoint::io("log: cut: remove")?;
            match self.shared.folder.remove(&recover::file_name(oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // An earlier call that failed may have got so far.
                Ok(()) | Err(_) => {
                    failpoint::io("log: cut: sync folder")?;
                    self.shared.folder.sync()?;
                }
            }
            segments.remove(0);
        }
        Ok(())
    }

    fn push(&self, record: &[u8], done: Option<Done>) {
        match (self.too_large(record), done) {
            (None, done) => self.shared.push(&[record], done),
            (Some(error), Some(done)) => done(Err(error)),
            (Some(_), None) => {}
        }
    }

    fn too_large(&self, record: &[u8]) -> Option<LogError> {
        let (len, max) = (record.len(), self.max_record);
        (len > max).then_some(LogError::TooLarge { len, max })
    }
}

impl Log for FileLog {
    /// Waits for room if too much is queued, but never on the log's own thread.
    fn append(&self, record: &[u8], done: Done) {
        self.push(record, Some(done));
    }

    /// None of them is appended if one is too large.
    fn append_all(&self, records: &[Vec<u8>], done: Done) {
        if records.is_empty() {
            // Nothing is durable already.
            done(Ok(Lsn(0)));
            return;
        }
        let mut refused = records.iter().filter_map(|record| self.too_large(record));
        match refused.next() {
            Some(error) => done(Err(error)),
            None => self.shared.push(records, Some(done)),
        }
    }

    fn append_lazy(&self, record: &[u8]) {
        self.push(record, None);
    }

    fn cut_before(&self, lsn: Lsn) -> io::Result<()> {
        Self::cut_before(self, lsn)
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.shared.close();
        let Some(writer) = self.writer.take() else {
            return;
        };
        // The last owner may be a completion, which runs on the writer: it must not wait for itself.
        if !self.shared.is_writer() {
            // A panic of the writer was a completion's, has been reported and has failed the log.
            drop(writer.join());
        }
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("folder", &self.shared.folder)
            .field("failure", &self.shared.failure())
            .finish_non_exhaustive()
    }
}

/// A number that no earlier segment had, with all likelihood.
fn new_salt() -> u32 {
    let hash = RandomState::new().build_hasher().finish();
    u32::try_from(hash >> 32).expect("the upper half of 64 bits")
}

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod sim_folder;
#[cfg(test)]
mod tests;
