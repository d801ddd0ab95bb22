//! What the log asks of a folder and its files, small enough to be made to fail.
//!
//! [`DiskFolder`] is the real one. Tests put a faulty one, or one that forgets what was not synced, in
//! its place.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::OpenError;

/// One file, open for writing.
pub trait Media: Send + fmt::Debug {
    /// Writes some of `bytes` at `offset` and says how many; not durable before `sync`.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Makes durable all that was written.
    ///
    /// # Errors
    ///
    /// If that is not certain. The log then never syncs this file again.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder that one log owns.
pub trait Folder: Send + Sync + fmt::Debug {
    /// Where it is, for messages.
    fn path(&self) -> &Path;

    /// The names of the files.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// All bytes of a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Creates an empty file, in place of one that has the name.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    fn create(&self, name: &str) -> io::Result<Box<dyn Media>>;

    /// Opens a file for writing.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn Media>>;

    /// Renames a file.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable what was created, renamed and removed.
    ///
    /// # Errors
    ///
    /// If that is not certain.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of `bytes`; a write that makes no progress is an error.
pub(super) fn write_all_at(media: &mut dyn Media, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match media.write_at(offset + written as u64, &bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A folder on a disk, locked for as long as this value lives.
#[derive(Debug)]
pub struct DiskFolder {
    path: PathBuf,
    /// Holds the lock: the operating system drops it with the process, however that ends.
    _lock: File,
}

const LOCK: &str = "lock";

impl DiskFolder {
    /// Opens the folder, creating it if need be, and locks it against other processes.
    ///
    /// # Errors
    ///
    /// If another log has it open, or it cannot be created or written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |source| OpenError::io(path, source);
        fs::create_dir_all(path).map_err(fail)?;
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: path.to_path_buf(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        // The folder itself must survive a crash as well as what is in it.
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(fail)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock,
        })
    }
}

impl Folder for DiskFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.as_ref().map_or(true, |name| name != LOCK))
            .collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let file = File::create(self.path.join(name))?;
        Ok(Box::new(DiskFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        Ok(Box::new(DiskFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile {
    file: File,
}

impl Media for DiskFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes two bytes at a time, if it is not interrupted, up to a limit.
    #[derive(Debug)]
    struct Narrow {
        bytes: Vec<u8>,
        limit: usize,
        interrupted: bool,
    }

    impl Media for Narrow {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert_eq!(
                offset,
                self.bytes.len() as u64,
                "one write follows the other"
            );
            let room = self.limit - self.bytes.len();
            let some = &bytes[..bytes.len().min(room).min(2)];
            self.bytes.extend_from_slice(some);
            Ok(some.len())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn interrupted_and_short_writes_go_on_and_one_without_progress_fails() {
        let mut media = Narrow {
            bytes: Vec::new(),
            limit: 9,
            interrupted: false,
        };
        write_all_at(&mut media, 0, b"12345").unwrap();
        write_all_at(&mut media, 5, b"6789").unwrap();
        assert_eq!(media.bytes, b"123456789");
        let error = write_all_at(&mut media, 9, b"0").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
