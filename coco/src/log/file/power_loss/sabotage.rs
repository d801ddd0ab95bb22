//! Known bugs of logs, put between the log and its folder: what a log with the bug would do to the
//! disk, or would make of what it reads.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a bug changes one place and leaves the others alone"
)]

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::folder::{Folder, Media};
use super::super::frame::{HEADER_BYTES, MAGIC};
use super::super::sim_folder::SimFolder;
use super::reference;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    /// Batches are never synced.
    NoSync,
    /// A new segment gets its name before it is synced.
    NoSyncOfNewSegment,
    /// The folder is never synced.
    NoSyncOfFolder,
    /// The folder is not synced when the log is opened.
    NoSyncOfFolderAtOpening,
    /// A batch is acknowledged, and synced when the next one is written.
    AcknowledgedBeforeSync,
    /// A torn tail is not overwritten.
    TailNotZeroed,
    /// What was read back is synced at opening, but not written again.
    TailNotRewritten,
    /// Nothing behind the first bad frame is looked at.
    NoBatchCheck,
    /// A failed sync is tried again.
    SyncTriedAgain,
    /// A write that fails is taken for done.
    WriteErrorIgnored,
    /// A frame is believed whatever its lsn.
    LsnNotChecked,
    /// The folder is not synced between the removals of segments.
    CutWithoutSync,
}

impl Bug {
    pub(super) const ALL: [Self; 12] = [
        Self::NoSync,
        Self::NoSyncOfNewSegment,
        Self::NoSyncOfFolder,
        Self::NoSyncOfFolderAtOpening,
        Self::AcknowledgedBeforeSync,
        Self::TailNotZeroed,
        Self::TailNotRewritten,
        Self::NoBatchCheck,
        Self::SyncTriedAgain,
        Self::WriteErrorIgnored,
        Self::LsnNotChecked,
        Self::CutWithoutSync,
    ];
}

/// A folder that makes the log behave as if it had a bug.
#[derive(Debug)]
pub(super) struct Sabotaged {
    inner: SimFolder,
    bug: Bug,
    syncs: AtomicUsize,
    removed: Mutex<bool>,
}

impl Sabotaged {
    pub(super) const fn new(inner: SimFolder, bug: Bug) -> Self {
        Self {
            inner,
            bug,
            syncs: AtomicUsize::new(0),
            removed: Mutex::new(false),
        }
    }

    fn media(&self, inner: Box<dyn Media>, is_new: bool) -> Box<dyn Media> {
        Box::new(SabotagedMedia {
            inner,
            bug: self.bug,
            is_new,
            syncs: 0,
            owed: false,
        })
    }
}

impl Folder for Sabotaged {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = self.inner.read(name)?;
        if bytes.len() > HEADER_BYTES && bytes.starts_with(&MAGIC) {
            match self.bug {
                Bug::NoBatchCheck => {
                    let (_, end) = reference::frames(&bytes);
                    bytes[end..].fill(0);
                }
                Bug::LsnNotChecked => reference::believe_every_lsn(&mut bytes),
                _ => {}
            }
        }
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        Ok(self.media(self.inner.create(name)?, true))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        Ok(self.media(self.inner.open(name)?, false))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        *self.removed.lock().unwrap() = name.ends_with(".seg");
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        let is_first = self.syncs.fetch_add(1, Ordering::Relaxed) == 0;
        let after_removal = std::mem::take(&mut *self.removed.lock().unwrap());
        match self.bug {
            Bug::NoSyncOfFolder => Ok(()),
            Bug::NoSyncOfFolderAtOpening if is_first => Ok(()),
            Bug::CutWithoutSync if after_removal => Ok(()),
            _ => self.inner.sync(),
        }
    }
}

#[derive(Debug)]
struct SabotagedMedia {
    inner: Box<dyn Media>,
    bug: Bug,
    /// Created in this life.
    is_new: bool,
    syncs: usize,
    /// A sync that was said to be done.
    owed: bool,
}

impl Media for SabotagedMedia {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.owed) {
            self.inner.sync()?;
        }
        let is_zero = bytes.iter().all(|&byte| byte == 0);
        let is_opening = !self.is_new && self.syncs == 0;
        match self.bug {
            Bug::TailNotZeroed if is_opening && is_zero => Ok(bytes.len()),
            Bug::TailNotRewritten if is_opening && !is_zero => Ok(bytes.len()),
            Bug::WriteErrorIgnored => self.inner.write_at(offset, bytes).or(Ok(bytes.len())),
            _ => self.inner.write_at(offset, bytes),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        let is_batch = !self.is_new || self.syncs > 1;
        match self.bug {
            Bug::NoSync if is_batch => Ok(()),
            Bug::NoSyncOfNewSegment if !is_batch => Ok(()),
            Bug::AcknowledgedBeforeSync if is_batch => {
                self.owed = true;
                Ok(())
            }
            Bug::SyncTriedAgain => self.inner.sync().or_else(|_| self.inner.sync()),
            _ => self.inner.sync(),
        }
    }
}
