//! A folder in memory with little room: a file that claims to be huge runs out of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coco::log::{Folder, Media};

/// The largest offset that can be written.
const ROOM: u64 = 64 * 1024;

type Files = BTreeMap<String, Arc<Mutex<Vec<u8>>>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFolder {
    files: Arc<Mutex<Files>>,
}

impl MemoryFolder {
    pub(crate) fn put(&self, name: String, bytes: Vec<u8>) {
        lock(&self.files).insert(name, Arc::new(Mutex::new(bytes)));
    }

    /// Names and bytes.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let files = lock(&self.files);
        let copies = files
            .iter()
            .map(|(name, file)| (name.clone(), lock(file).clone()));
        copies.collect()
    }

    fn file(&self, name: &str) -> io::Result<Arc<Mutex<Vec<u8>>>> {
        let files = lock(&self.files);
        files
            .get(name)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Folder for MemoryFolder {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(lock(&*self.file(name)?).clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        self.put(name.to_owned(), Vec::new());
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        Ok(Box::new(MemoryFile(self.file(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = lock(&self.files).remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl Media for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let room = ROOM.saturating_sub(offset);
        let length = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if length == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let mut file = lock(&self.0);
        if file.len() < start + length {
            file.resize(start + length, 0);
        }
        file[start..start + length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
