//! A folder in memory that knows what a power loss would leave: for each file the bytes that were
//! synced and the writes that were not, for the folder the names that were synced and the changes
//! that were not. It fails, dies, fills up and writes short on command.
//!
//! Harsh where disks are: (S1) of what was not synced any part survives, in any combination; (S2) an
//! operation that fails may have happened, or a part of it; (S3) a sync that fails loses what it was
//! to make durable: the process still reads it, the next sync succeeds, and the disk does not have it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::folder::{Folder, Media};
use super::frame::MAGIC;

/// A small generator: the tests are the same at every run.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, and without, `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

#[derive(Clone, Debug)]
pub(super) struct SimFolder {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
struct State {
    files: BTreeMap<usize, SimFile>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    operations: usize,
    faults: Vec<(usize, Fault)>,
    dead: bool,
    /// How many faults came about.
    faulted: usize,
    /// The longest write that succeeds at once.
    longest_write: Option<usize>,
    /// How many bytes all files together may have.
    capacity: Option<usize>,
    /// What the log is doing, for the names of points.
    phase: &'static str,
    points: Option<Points>,
    random: Random,
}

/// Which places of the log were passed, and which of them failed or died.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    pub(super) passed: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
    pub(super) died: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It fails, once; later ones would succeed again.
    Once(io::ErrorKind),
    /// The machine stops: this operation may happen in part, and no later one does.
    Death,
}

/// How much of what was not synced survives, and in what state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tear {
    /// Unsynced writes reach the disk in units of this many bytes, any of them or none.
    pub(super) sector: usize,
    /// Some of the bytes that do reach it are wrong.
    pub(super) garbage: bool,
}

pub(super) const SECTORS: Tear = Tear {
    sector: 512,
    garbage: false,
};

impl Default for SimFolder {
    fn default() -> Self {
        Self::holding(&[])
    }
}

impl SimFolder {
    /// A folder with these files, all durable.
    pub(super) fn holding(files: &[(String, Vec<u8>)]) -> Self {
        let file = |bytes: &Vec<u8>| SimFile {
            live: bytes.clone(),
            durable: bytes.clone(),
            unsynced: Vec::new(),
        };
        let names: BTreeMap<String, usize> = files
            .iter()
            .map(|(name, _)| name.clone())
            .zip(0..)
            .collect();
        let state = State {
            files: (0..)
                .zip(files.iter().map(|(_, bytes)| file(bytes)))
                .collect(),
            durable_names: names.clone(),
            names,
            unsynced_names: Vec::new(),
            operations: 0,
            faults: Vec::new(),
            dead: false,
            faulted: 0,
            longest_write: None,
            capacity: None,
            phase: "",
            points: None,
            random: Random::new(files.len() as u64),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The files as a process sees them now.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        state
            .names
            .iter()
            .map(|(name, id)| (name.clone(), state.files[id].live.clone()))
            .collect()
    }

    /// Lets the operation with this number (from 0, counted from now on) go wrong.
    pub(super) fn fault_at(&self, operation: usize, fault: Fault) {
        self.plan(vec![(operation, fault)], 0);
    }

    /// Lets the operations with these numbers, counted from now on, go wrong; `seed` chooses how.
    pub(super) fn plan(&self, faults: Vec<(usize, Fault)>, seed: u64) {
        let mut state = self.lock();
        state.operations = 0;
        state.faulted = 0;
        state.dead = false;
        state.faults = faults;
        state.random = Random::new(seed);
    }

    /// No faults from now on, and as much room as there is.
    pub(super) fn mend(&self) {
        self.plan(Vec::new(), 0);
        let mut state = self.lock();
        state.capacity = None;
        state.longest_write = None;
    }

    pub(super) fn write_at_most(&self, longest: usize) {
        self.lock().longest_write = Some(longest);
    }

    /// The disk is full when there are so many bytes more.
    pub(super) fn leave_room(&self, bytes: usize) {
        let mut state = self.lock();
        state.capacity = Some(state.bytes() + bytes);
    }

    /// How many operations there were since the faults were planned.
    pub(super) fn operations(&self) -> usize {
        self.lock().operations
    }

    pub(super) fn faulted(&self) -> bool {
        self.lock().faulted > 0
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Names what comes next; points are noted from the first call on.
    pub(super) fn phase(&self, phase: &'static str) {
        let mut state = self.lock();
        state.phase = phase;
        state.points.get_or_insert_default();
    }

    pub(super) fn points(&self) -> Points {
        self.lock().points.clone().unwrap_or_default()
    }

    /// What a power loss now would leave; `random` chooses among the possibilities.
    pub(super) fn after_crash(&self, tear: Tear, random: &mut Random) -> Self {
        let state = self.lock();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced_names {
            if random.once_in(2) {
                change.apply(&mut names);
            }
        }
        let files: Vec<(String, Vec<u8>)> = names
            .iter()
            .map(|(name, id)| (name.clone(), state.files[id].after_crash(tear, random)))
            .collect();
        drop(state);
        Self::holding(&files)
    }

    /// Counts an operation. An error in the middle says that it has to fail, after as much of it as
    /// the operation likes; an error at the end, that nothing happens any more.
    fn step(
        &self,
        name: impl FnOnce(&State) -> &'static str,
    ) -> io::Result<(MutexGuard<'_, State>, Option<io::Error>)> {
        let mut state = self.lock();
        if state.dead {
            return Err(dead());
        }
        let number = state.operations;
        state.operations += 1;
        let fault = state.faults.iter().find(|(at, _)| *at == number);
        let fault = fault.map(|(_, fault)| *fault);
        if state.points.is_some() {
            let point = format!("{}: {}", state.phase, name(&state));
            let points = state.points.as_mut().unwrap();
            match fault {
                Some(Fault::Once(_)) => points.failed.insert(point.clone()),
                Some(Fault::Death) => points.died.insert(point.clone()),
                None => false,
            };
            points.passed.insert(point);
        }
        state.faulted += usize::from(fault.is_some());
        let error = fault.map(|fault| match fault {
            Fault::Once(kind) => kind.into(),
            Fault::Death => {
                state.dead = true;
                dead()
            }
        });
        Ok((state, error))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn dead() -> io::Error {
    io::Error::other("the machine is dead")
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to, id) => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl SimFile {
    fn after_crash(&self, tear: Tear, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // Now and then all or nothing survives, or the likelihood is far from a half.
        let likelihood = [0, 1, 8, 8, 8, 15, 16][random.below(7)];
        for (offset, written) in &self.unsynced {
            for (at, sector) in sectors(*offset, written, tear.sector) {
                if random.below(16) < likelihood {
                    let old = bytes
                        .get(at..at + sector.len())
                        .unwrap_or_default()
                        .to_vec();
                    put(&mut bytes, at, sector);
                    if tear.garbage && old != sector && random.once_in(4) {
                        // Only what was to change can be torn: the rest has its value either way.
                        let place = random.below(sector.len());
                        if old.get(place) != Some(&sector[place]) {
                            bytes[at + place] = bytes[at + place].wrapping_add(1);
                        }
                    }
                }
            }
        }
        bytes
    }

    /// Makes durable; if it fails, only a part, and forgets the rest (S3).
    fn sync(&mut self, fails: Option<&mut Random>) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let Some(random) = fails else {
            for (offset, written) in &unsynced {
                put(&mut self.durable, *offset, written);
            }
            return;
        };
        for (offset, written) in &unsynced {
            for (at, sector) in sectors(*offset, written, SECTORS.sector) {
                if random.once_in(2) {
                    put(&mut self.durable, at, sector);
                }
            }
        }
    }
}

/// A write cut at multiples of `sector`.
fn sectors(offset: usize, mut rest: &[u8], sector: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let length = rest.len().min(sector - at % sector);
        let (head, tail) = rest.split_at(length);
        rest = tail;
        at += length;
        (length > 0).then_some((at - length, head))
    })
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if bytes.len() < offset + written.len() {
        bytes.resize(offset + written.len(), 0);
    }
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

impl State {
    fn id(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self) -> usize {
        let ids = self.names.values();
        ids.map(|id| self.files[id].live.len()).sum()
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn is_segment(&self, id: usize) -> bool {
        self.names
            .iter()
            .any(|(name, of)| *of == id && name.ends_with(".seg"))
    }

    /// Changes a name; if the operation fails, perhaps (S2).
    fn change_names(&mut self, change: NameChange, error: Option<io::Error>) -> io::Result<()> {
        if error.is_none() || self.random.once_in(2) {
            self.change(change);
        }
        error.map_or(Ok(()), Err)
    }
}

impl Folder for SimFolder {
    fn path(&self) -> &Path {
        Path::new("sim")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let (state, error) = self.step(|_| "list")?;
        error.map_or_else(|| Ok(state.names.keys().cloned().collect()), Err)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let (state, error) = self.step(|_| "read segment")?;
        if let Some(error) = error {
            return Err(error);
        }
        Ok(state.files[&state.id(name)?].live.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let (mut state, error) = self.step(|_| "create unfinished")?;
        let id = state.files.len();
        state.files.insert(id, SimFile::default());
        state.change_names(NameChange::Create(name.to_owned(), id), error)?;
        Ok(Box::new(SimMedia {
            folder: self.clone(),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let (state, error) = self.step(|_| "open segment")?;
        if let Some(error) = error {
            return Err(error);
        }
        Ok(Box::new(SimMedia {
            folder: self.clone(),
            id: state.id(name)?,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut state, error) = self.step(|_| "rename unfinished")?;
        let id = state.id(from)?;
        state.change_names(
            NameChange::Rename(from.to_owned(), to.to_owned(), id),
            error,
        )
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let is_segment = name.ends_with(".seg");
        let (mut state, error) = self.step(|_| {
            if is_segment {
                "remove segment"
            } else {
                "remove unfinished"
            }
        })?;
        state.id(name)?;
        state.change_names(NameChange::Remove(name.to_owned()), error)
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, error) = self.step(|_| "sync folder")?;
        // What a failed sync of names did not make durable stays to be done: a file system that
        // loses changes of its own structure stops.
        if error.is_none() || !state.dead && state.random.once_in(2) {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
        }
        error.map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct SimMedia {
    folder: SimFolder,
    id: usize,
}

impl Media for SimMedia {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, error) = self.folder.step(|_| {
            if bytes.starts_with(&MAGIC) {
                "write header"
            } else if bytes.iter().all(|&byte| byte == 0) {
                "write zeros"
            } else {
                "write frames"
            }
        })?;
        let offset = usize::try_from(offset).unwrap();
        let mut longest = state.longest_write.unwrap_or(usize::MAX);
        if let Some(capacity) = state.capacity {
            let had = state.files[&self.id].live.len();
            let room = capacity.saturating_sub(state.bytes());
            longest = longest.min((had + room).saturating_sub(offset));
            if longest == 0 {
                state.faulted += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let State { files, random, .. } = &mut *state;
        let file = files.get_mut(&self.id).unwrap();
        let written = &bytes[..bytes.len().min(longest)];
        if let Some(error) = error {
            for (at, sector) in sectors(offset, written, SECTORS.sector) {
                if random.once_in(2) {
                    put(&mut file.live, at, sector);
                    file.unsynced.push((at, sector.to_vec()));
                }
            }
            return Err(error);
        }
        put(&mut file.live, offset, written);
        file.unsynced.push((offset, written.to_vec()));
        Ok(written.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, error) = self.folder.step(|state| {
            if state.is_segment(self.id) {
                "sync segment"
            } else {
                "sync unfinished"
            }
        })?;
        let State {
            files,
            random,
            dead,
            ..
        } = &mut *state;
        let file = files.get_mut(&self.id).unwrap();
        match error {
            None => file.sync(None),
            // The power fails: whatever was on its way survives or not.
            Some(_) if *dead => {}
            Some(_) => file.sync(Some(random)),
        }
        error.map_or(Ok(()), Err)
    }
}
