//! Reads files that grow.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::parse::MAX_LINE_BYTES;
use crate::parse_error::ParseError;

use super::{Follower, Options};

/// Why files cannot be followed any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check that it is a file and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is not of the format.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// Files of histories that are fed to a [`Follower`] as they grow. A file need not exist yet.
#[derive(Debug)]
pub struct Tail {
    /// The follower, to be asked for verdicts.
    pub follower: Follower,
    files: Vec<Growing>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Growing {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end was not there yet.
    rest: Vec<u8>,
    read_bytes: u64,
    /// Whether the last look found nothing new.
    at_end: bool,
}

/// How much is read of a file at once.
const CHUNK_BYTES: usize = 1 << 18;

impl Tail {
    /// Follows these files, one for each site.
    #[must_use]
    pub fn new(paths: &[PathBuf], options: Options) -> Self {
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let growing = |path: &PathBuf| Growing {
            path: path.clone(),
            file: None,
            rest: Vec::new(),
            read_bytes: 0,
            at_end: false,
        };
        Self {
            follower: Follower::with_options(&names, options),
            files: paths.iter().map(growing).collect(),
            buffer: vec![0; CHUNK_BYTES].into_boxed_slice(),
        }
    }

    /// Reads one chunk of the file that is furthest behind, by stamps, among those that may have something new. Tells
    /// whether something was read; if not, every file has been read as far as it goes.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds what is not a history.
    pub fn step(&mut self) -> Result<bool, TailError> {
        loop {
            let may_go_on =
                |place: &usize| !self.files[*place].at_end && !self.follower.is_closed(*place);
            let behind = (0..self.files.len())
                .filter(may_go_on)
                .min_by_key(|place| self.follower.highest_stamp(*place));
            let Some(place) = behind else {
                self.files.iter_mut().for_each(|file| file.at_end = false);
                return Ok(false);
            };
            if self.read(place)? {
                return Ok(true);
            }
            self.files[place].at_end = true;
        }
    }

    /// Takes in that the files will not grow any more.
    pub fn close(&mut self) {
        for (place, file) in self.files.iter().enumerate() {
            self.follower.close(place, &file.rest);
        }
    }

    /// The files that do not exist yet.
    #[must_use]
    pub fn absent(&self) -> Vec<&Path> {
        let absent = self.files.iter().filter(|file| file.file.is_none());
        absent.map(|file| file.path.as_path()).collect()
    }

    /// How many bytes were read, and how many more the files hold now.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let read = self.files.iter().map(|file| file.read_bytes).sum();
        let size = |file: &Growing| {
            let metadata = file.file.as_ref().and_then(|file| file.metadata().ok());
            metadata.map_or(0, |metadata| metadata.len())
        };
        let total: u64 = self.files.iter().map(size).sum();
        (read, total.saturating_sub(read))
    }

    /// Feeds the next chunk of a file.
    fn read(&mut self, place: usize) -> Result<bool, TailError> {
        let growing = &mut self.files[place];
        let failed = |source| TailError::Read {
            path: growing.path.clone(),
            source,
        };
        if growing.file.is_none() {
            match File::open(&growing.path) {
                Ok(file) => growing.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
        }
        let Some(file) = &mut growing.file else {
            return Ok(false);
        };
        let count = loop {
            match file.read(&mut self.buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        };
        growing.read_bytes += count as u64;
        let mut text = &self.buffer[..count];
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&text[..end], &text[end + 1..]);
            if growing.rest.is_empty() {
                self.follower.feed(place, line)?;
            } else {
                growing.rest.extend_from_slice(line);
                self.follower.feed(place, &growing.rest)?;
                growing.rest.clear();
            }
            text = after;
        }
        growing.rest.extend_from_slice(text);
        if growing.rest.len() > MAX_LINE_BYTES {
            // Refused for its length.
            self.follower.feed(place, &growing.rest)?;
        }
        Ok(count > 0)
    }
}
