//! A folder in memory that knows what a crash would leave: for each file the bytes that were synced
//! and the writes that were not, for the folder the names that were synced and the changes that were
//! not. It fails, dies and writes short on command.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::folder::{Folder, Media};

/// Unsynced writes reach the disk sector by sector, any of them or none.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct SimFolder {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<usize, SimFile>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// The folder as it was after each change since its last sync.
    unsynced_names: Vec<BTreeMap<String, usize>>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    /// The longest write that succeeds at once.
    longest_write: Option<usize>,
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
    /// The machine stops: this operation and every later one fails and changes nothing.
    Death,
}

impl SimFolder {
    /// A folder with these files, all durable.
    pub(super) fn holding(files: &[(String, Vec<u8>)]) -> Self {
        let folder = Self::default();
        let mut state = folder.lock();
        for (id, (name, bytes)) in files.iter().enumerate() {
            let file = SimFile {
                live: bytes.clone(),
                durable: bytes.clone(),
                unsynced: Vec::new(),
            };
            state.files.insert(id, file);
            state.names.insert(name.clone(), id);
        }
        state.durable_names = state.names.clone();
        drop(state);
        folder
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
        let mut state = self.lock();
        state.operations = 0;
        state.fault = Some((operation, fault));
    }

    pub(super) fn mend(&self) {
        self.lock().fault = None;
    }

    pub(super) fn write_at_most(&self, longest: usize) {
        self.lock().longest_write = Some(longest);
    }

    /// How many operations there were since the fault was set.
    pub(super) fn operations(&self) -> usize {
        self.lock().operations
    }

    /// What a crash now would leave; `random` chooses among the possibilities.
    pub(super) fn after_crash(&self, random: &mut impl FnMut() -> u64) -> Self {
        let state = self.lock();
        let mut names = &state.durable_names;
        if !state.unsynced_names.is_empty() {
            let kept = usize::try_from(random() % (state.unsynced_names.len() as u64 + 1)).unwrap();
            names = kept
                .checked_sub(1)
                .map_or(names, |last| &state.unsynced_names[last]);
        }
        let files: Vec<(String, Vec<u8>)> = names
            .iter()
            .map(|(name, id)| (name.clone(), state.files[id].after_crash(random)))
            .collect();
        drop(state);
        Self::holding(&files)
    }

    /// Counts an operation; fails it if its time has come.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let number = state.operations;
        state.operations += 1;
        match state.fault {
            Some((at, Fault::Once(kind))) if number == at => Err(kind.into()),
            Some((at, Fault::Death)) if number >= at => {
                Err(io::Error::other("the machine is dead"))
            }
            _ => Ok(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl SimFile {
    fn after_crash(&self, random: &mut impl FnMut() -> u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (offset, written) in &self.unsynced {
            let mut at = 0;
            while at < written.len() {
                let to_sector_end = SECTOR - (offset + at) % SECTOR;
                let end = written.len().min(at + to_sector_end);
                if random().is_multiple_of(2) {
                    put(&mut bytes, offset + at, &written[at..end]);
                }
                at = end;
            }
        }
        bytes
    }
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

    fn names_changed(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }
}

impl Folder for SimFolder {
    fn path(&self) -> &Path {
        Path::new("sim")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.step()?.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.step()?;
        let id = state.id(name)?;
        Ok(state.files[&id].live.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let mut state = self.step()?;
        let id = state.files.len();
        state.files.insert(id, SimFile::default());
        state.names.insert(name.to_owned(), id);
        state.names_changed();
        Ok(Box::new(SimMedia {
            folder: self.clone(),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let id = self.step()?.id(name)?;
        Ok(Box::new(SimMedia {
            folder: self.clone(),
            id,
        }))
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
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct SimMedia {
    folder: SimFolder,
    id: usize,
}

impl Media for SimMedia {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.folder.step()?;
        let longest = state.longest_write.unwrap_or(usize::MAX);
        let written = &bytes[..bytes.len().min(longest)];
        let offset = usize::try_from(offset).unwrap();
        let file = state.files.get_mut(&self.id).unwrap();
        put(&mut file.live, offset, written);
        file.unsynced.push((offset, written.to_vec()));
        Ok(written.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.folder.step()?;
        let file = state.files.get_mut(&self.id).unwrap();
        file.durable = file.live.clone();
        file.unsynced.clear();
        Ok(())
    }
}
