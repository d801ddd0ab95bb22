//! A process's disk: a folder in memory that keeps what was synced apart from what was not, and goes wrong
//! on command.
//!
//! Invariants:
//! - K1 What a sync reported as done survives everything but a bit flip.
//! - K2 Of the writes since the last sync any combination of sectors survives a power loss, and the last
//!   sector of each may be torn at any byte.
//! - K3 Names are durable when the folder is synced; of the changes since then a prefix survives.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coco::log::{Folder, Media};
use fastrand::Rng;

const SECTOR: usize = 512;

/// How a disk lies about syncs; seeded bugs only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lies {
    /// A failed sync is reported as done.
    pub(crate) failed_syncs_succeed: bool,
    /// Syncing the folder does nothing.
    pub(crate) folder_syncs_do_nothing: bool,
}

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<usize, File>,
    next_file: usize,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// The names after each change since the folder was last synced.
    unsynced_names: Vec<BTreeMap<String, usize>>,
    /// Operations until the machine stops, counted down.
    dies_in: Option<u64>,
    /// Operations until one fails, counted down.
    fails_in: Option<u64>,
    full: bool,
    /// An operation has failed as it was told to.
    excused: bool,
    lies: Lies,
}

#[derive(Clone, Debug, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, usize)>,
    /// Where the last batch that was synced begins: damage behind it looks like a torn tail.
    last_batch: usize,
}

impl Disk {
    pub(crate) fn new(lies: Lies) -> Self {
        let disk = Self::default();
        disk.lock().lies = lies;
        disk
    }

    /// The machine stops after so many operations more: none of them changes anything.
    pub(crate) fn dies_in(&self, operations: u64) {
        self.lock().dies_in = Some(operations);
    }

    /// The operation after so many more fails, once.
    pub(crate) fn fails_in(&self, operations: u64) {
        self.lock().fails_in = Some(operations);
    }

    /// Whether an operation has failed of late because the disk was told to let it fail, or is full.
    pub(crate) fn is_excused(&self) -> bool {
        let mut state = self.lock();
        std::mem::take(&mut state.excused) || state.full
    }

    /// The machine has not stopped after all.
    pub(crate) fn lives(&self) {
        self.lock().dies_in = None;
    }

    pub(crate) fn fails_never(&self) {
        self.lock().fails_in = None;
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The process has died and the machine goes on: everything written is still there.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.dies_in = None;
        state.fails_in = None;
    }

    /// The power goes: what was not synced survives in part (K2, K3).
    pub(crate) fn power_loss(&self, rng: &mut Rng) {
        let state = &mut *self.lock();
        state.dies_in = None;
        state.fails_in = None;
        let kept = rng.usize(..=state.unsynced_names.len());
        if let Some(last) = kept.checked_sub(1) {
            state.durable_names = state.unsynced_names.swap_remove(last);
        }
        state.unsynced_names.clear();
        state.names.clone_from(&state.durable_names);
        let names = &state.names;
        state
            .files
            .retain(|id, _| names.values().any(|named| named == id));
        for file in state.files.values_mut() {
            file.power_loss(rng);
        }
    }

    /// Flips one bit of what was durable before the last batch, which a log must notice unless the bit
    /// means nothing. Says where, or `None` if there is nothing to flip.
    pub(crate) fn flip(&self, rng: &mut Rng) -> Option<Flip> {
        let mut state = self.lock();
        let names: Vec<(String, usize)> = state.names.clone().into_iter().collect();
        let (name, id) = names.get(rng.usize(..names.len().max(1)))?.clone();
        let last = names.last().is_some_and(|(last, _)| *last == name);
        let file = state.files.get_mut(&id)?;
        let end = if last {
            file.last_batch.min(file.live.len())
        } else {
            file.live.len()
        };
        let byte = rng.usize(..end.max(1));
        let bit = rng.u8(..8);
        *file.live.get_mut(byte).filter(|_| byte < end)? ^= 1 << bit;
        Some(Flip { id, byte, bit })
    }

    /// The operator has restored what a flip damaged.
    pub(crate) fn restore(&self, flip: &Flip) {
        if let Some(file) = self.lock().files.get_mut(&flip.id) {
            file.live[flip.byte] ^= 1 << flip.bit;
            // An opening may have synced the damage.
            if let Some(byte) = file.durable.get_mut(flip.byte) {
                *byte = file.live[flip.byte];
            }
        }
    }

    /// Counts an operation that changes something; fails it if its time has come.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.dies_in {
            Some(0) => {
                state.excused = true;
                return Err(io::Error::other("the machine has stopped"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match state.fails_in {
            Some(0) => {
                state.fails_in = None;
                state.excused = true;
                return Err(io::Error::other("an injected failure"));
            }
            Some(left) => state.fails_in = Some(left - 1),
            None => {}
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which bit was flipped.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    id: usize,
    byte: usize,
    bit: u8,
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.unsynced.push((offset, end));
    }

    fn sync(&mut self) {
        // Zeros up to the end are a tail that was cut: the batch before it stays the last.
        let tail = |(from, to): &(usize, usize)| {
            *to == self.live.len() && self.live[*from..*to].iter().all(|byte| *byte == 0)
        };
        let batches = self.unsynced.iter().filter(|range| !tail(range));
        if let Some(first) = batches.map(|(from, _)| *from).min() {
            self.last_batch = first;
        }
        self.durable.resize(self.live.len(), 0);
        for (from, to) in self.unsynced.drain(..) {
            self.durable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    fn power_loss(&mut self, rng: &mut Rng) {
        for (from, to) in std::mem::take(&mut self.unsynced) {
            let mut at = from;
            while at < to {
                let end = to.min((at / SECTOR + 1) * SECTOR);
                let torn = end == to && rng.u8(..4) == 0;
                let kept = if torn {
                    at + rng.usize(..=end - at)
                } else {
                    end
                };
                if rng.bool() && kept > at {
                    if self.durable.len() < kept {
                        self.durable.resize(kept, 0);
                    }
                    self.durable[at..kept].copy_from_slice(&self.live[at..kept]);
                }
                at = end;
            }
        }
        self.live.clone_from(&self.durable);
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl State {
    fn id(&self, name: &str) -> io::Result<usize> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names_changed(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }
}

impl Folder for Disk {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let id = state.id(name)?;
        Ok(state.files[&id].live.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let mut state = self.step()?;
        if state.full {
            return Err(full());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.names.insert(name.to_owned(), id);
        state.names_changed();
        drop(state);
        let disk = self.clone();
        Ok(Box::new(Open { disk, id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let id = self.lock().id(name)?;
        let disk = self.clone();
        Ok(Box::new(Open { disk, id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.step()?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.names_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.step()?;
        state.id(name)?;
        state.names.remove(name);
        state.names_changed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        if !state.lies.folder_syncs_do_nothing {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    id: usize,
}

impl Media for Open {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.step()?;
        // Space inside a file was allocated when the file was made.
        let offset = usize::try_from(offset).map_err(|_| full())?;
        let is_full = state.full;
        let file = state.files.get_mut(&self.id).ok_or_else(full)?;
        if is_full && offset + bytes.len() > file.live.len() {
            return Err(full());
        }
        file.write(offset, bytes);
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        let lies = self.disk.lock().lies.failed_syncs_succeed;
        let dying = self.disk.lock().dies_in == Some(0);
        match self.disk.step() {
            Ok(mut state) => {
                if let Some(file) = state.files.get_mut(&self.id) {
                    file.sync();
                }
                Ok(())
            }
            // The pages are dropped as a kernel would, and nobody hears of it.
            Err(_) if lies && !dying => {
                if let Some(file) = self.disk.lock().files.get_mut(&self.id) {
                    file.unsynced.clear();
                    file.live.clone_from(&file.durable);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
