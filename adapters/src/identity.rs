//! Which log holds what a site has promised: a number that the log's folder and the database both keep.
//!
//! A site that opens ends prepared branches as its log says, and writes again what the log says was committed. With the
//! log of another life of the same name it would roll back what others have committed, and overwrite what is newer. So the
//! database is told once which log belongs to the site, and takes no other.
//!
//! Invariants:
//! - I1 An identity is on the disk, in the folder of its log, before a database is told of it.
//! - I2 A database that was told one opens no site of that name with another, or with none.

use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file in the folder of a site's log.
const FILE: &str = "identity";
/// The file that becomes it.
const UNFINISHED: &str = "identity.tmp";
/// How many digits it has.
const DIGITS: usize = 32;

/// The identity of a site's log: 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogIdentity(String);

/// The identity of a log cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("the identity of the log cannot be kept in {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{} does not hold the identity of a log, {DIGITS} hexadecimal digits; restore it from a copy, or take it from the \
         column `log` of the site's row in the database's table `sites`", path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

/// The database belongs to another log than the site's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what site `{site}` has promised is in log {theirs}, says {database}, and this is {}: open the site with the data folder \
     it had. Only if that is lost for good, end by hand what is prepared for the site, restart its coordinator, and run in \
     the database: {forget}",
    own.as_ref().map_or_else(|| "none".to_owned(), |own| format!("log {own}"))
)]
pub struct OtherLog {
    /// Which site.
    pub site: String,
    /// Which database.
    pub database: String,
    /// What the database was told.
    pub theirs: String,
    /// What the site has now; a volatile one has none.
    pub own: Option<LogIdentity>,
    /// The statement that makes the database forget the log.
    pub forget: String,
}

impl LogIdentity {
    /// The identity that a folder has; a new one if it has none yet. Whoever calls has the log in the folder open, so nobody
    /// else does this at once.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be read, or not be written durably.
    pub fn of_folder(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(text.trim_end()).ok_or(IdentityError::Damaged { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Self::new();
                let written = new.write(folder);
                written.map_err(|source| IdentityError::File { path, source })?;
                Ok(new)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(IdentityError::Damaged { path })
            }
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    /// One that nobody has: two hashers with keys of their own, which the system's randomness gives.
    fn new() -> Self {
        let half = || RandomState::new().build_hasher().finish();
        let process =
            RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()));
        Self(format!("{:016x}{:016x}", half(), half() ^ process))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text
            .bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        (digits && text.len() == DIGITS).then(|| Self(text.to_owned()))
    }

    /// Whole or not at all.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let unfinished = folder.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{self}")?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }

    /// Its digits: nothing that has to be quoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_identity_and_no_other_folder_has_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = LogIdentity::of_folder(one.path()).unwrap();
        assert_eq!(LogIdentity::of_folder(one.path()).unwrap(), first);
        assert_ne!(LogIdentity::of_folder(other.path()).unwrap(), first);
        assert_eq!(first.as_str().len(), DIGITS);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_no_identity_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(UNFINISHED), "0123").unwrap();
        let made = LogIdentity::of_folder(folder.path()).unwrap();
        assert_eq!(LogIdentity::of_folder(folder.path()).unwrap(), made);
        for damage in ["", "0123", &"x".repeat(DIGITS)] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            let refused = LogIdentity::of_folder(folder.path()).unwrap_err();
            assert!(
                matches!(refused, IdentityError::Damaged { .. }),
                "{refused}"
            );
        }
        fs::write(folder.path().join(FILE), [0xff; DIGITS]).unwrap();
        let refused = LogIdentity::of_folder(folder.path()).unwrap_err();
        assert!(
            matches!(refused, IdentityError::Damaged { .. }),
            "{refused}"
        );
        let nowhere = LogIdentity::of_folder(Path::new("/proc/nowhere")).unwrap_err();
        assert!(matches!(nowhere, IdentityError::File { .. }), "{nowhere}");
    }
}
