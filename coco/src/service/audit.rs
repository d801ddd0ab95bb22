//! The audit file: what operators did by hand, one JSON object a line, forced before it is done and again
//! with what came of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest reason that is kept.
const MAX_REASON: usize = 1000;

/// What is wrong with a reason that an operator gives; nothing, usually.
#[must_use]
pub fn objection(reason: &str) -> Option<String> {
    let fits = !reason.trim().is_empty() && reason.len() <= MAX_REASON;
    (!fits).then(|| format!("say why, in at most {MAX_REASON} bytes: it goes into the audit file"))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// An audit file. It only grows.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    /// One line at a time.
    writing: Mutex<()>,
}

impl Audit {
    /// The audit file in a data folder, which has to be there.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join("audit.jsonl"),
            writing: Mutex::new(()),
        }
    }

    /// Appends a line and forces it to the disk.
    ///
    /// # Errors
    /// If it cannot be written or forced; part of it may be there.
    pub fn append(&self, entry: &serde_json::Value) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !self.path.exists();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(format!("{entry}\n").as_bytes())?;
        file.sync_all()?;
        if is_new && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// [`append`](Self::append) in the present tokio runtime, beside its tasks; with the time.
    ///
    /// # Errors
    /// As that.
    pub async fn write(self: &Arc<Self>, mut entry: serde_json::Value) -> io::Result<()> {
        entry["at_ms"] = now_ms().into();
        let audit = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || audit.append(&entry)).await;
        written.unwrap_or_else(|_| Err(io::Error::other("writing it was broken off")))
    }

    /// The last lines, latest first.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn latest(&self, limit: usize) -> io::Result<Vec<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut lines = std::collections::VecDeque::new();
        for line in BufReader::new(file).lines() {
            if lines.len() == limit {
                lines.pop_front();
            }
            lines.push_back(line?);
        }
        Ok(lines.into_iter().rev().collect())
    }
}
