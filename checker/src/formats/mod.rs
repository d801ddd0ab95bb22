//! Other people's history files, into [`Observed`].
//!
//! [`read_path`] opens a file (or a folder, where the format is one of folders), decompresses it, finds out what it
//! is and reads it; [`read`] does the same for a stream.
//!
//! ```
//! use checker::formats::{self, ReadOptions};
//!
//! let text = "w(1,10,0,0)\nr(1,10,1,1)\nr(2,0,1,1)\n";
//! let history = formats::read(text.as_bytes(), "example.txt", &ReadOptions::default())?;
//! assert_eq!(history.txns().len(), 2);
//! # Ok::<(), checker::formats::FormatError>(())
//! ```

mod cobra;
mod collector;
mod dbcop;
mod detect;
mod edn;
mod elle_json;
mod error;
mod json;
mod native;
mod pairing;
mod scanner;
mod source;
mod text;
mod write;
mod write_elle;
mod zstd;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use self::collector::Collector;
use self::scanner::{Scanner, quote};
use self::source::Source;
use crate::observed::Observed;

pub use detect::detect;
pub use error::{FormatError, FormatFault, Place};
pub use write::{Loss, WriteError, write};

/// A format of history files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// EDN as Jepsen writes it and Elle takes it.
    ElleEdn,
    /// The same in JSON, as elle-cli takes it.
    ElleJson,
    /// `r(key,value,session,transaction)`: Plume, AWDIT, PolySI, IsoVista.
    Text,
    /// dbcop's binary form (2019).
    DbcopBincode,
    /// dbcop's JSON form.
    DbcopJson,
    /// dbcop's notation `[x:=1 y==2]`.
    DbcopHist,
    /// A folder of Cobra's logs, a file for each client.
    Cobra,
    /// Our own, in which nothing is lost.
    Native,
    /// The history of one of this project's sites, which [`parse`](crate::parse) reads and nothing here does.
    SitedHistory,
}

impl Format {
    /// Its name in commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElleEdn => "elle-edn",
            Self::ElleJson => "elle-json",
            Self::Text => "text",
            Self::DbcopBincode => "dbcop",
            Self::DbcopJson => "dbcop-json",
            Self::DbcopHist => "dbcop-hist",
            Self::Cobra => "cobra",
            Self::Native => "native",
            Self::SitedHistory => "sites",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the keys of one of Elle's histories hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lists: `:append`, and `:r` of a list.
    ListAppend,
    /// Registers: `:w`, and `:r` of one value.
    RwRegister,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::ListAppend => "lists",
            Self::RwRegister => "registers",
        }
    }
}

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format; found out if `None`.
    pub format: Option<Format>,
    /// What keys hold, for Elle's formats; found out from the first operation that tells if `None`.
    pub kind: Option<Kind>,
    /// What is too much.
    pub limits: Limits,
}

/// What is too much of a history, so that no file can take all memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, after decompression. 16 GiB unless changed.
    pub bytes: u64,
    /// Operations and elements of lists that were read, together; each takes 8 to 40 bytes while reading. 2^28
    /// unless changed.
    pub operations: u64,
    /// The length of a key or value, in bytes. 64 KiB unless changed.
    pub token_bytes: usize,
    /// How deep collections that are not needed may be nested. 64 unless changed.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            operations: 1 << 28,
            token_bytes: 64 << 10,
            depth: 64,
        }
    }
}

/// Reads the history in a file, or in a folder: of Cobra's logs, or of dbcop's (`history.bincode`).
///
/// # Errors
///
/// The first fault, with the file and the line (in binary formats the byte).
pub fn read_path(path: &Path, options: &ReadOptions) -> Result<Observed, FormatError> {
    let name = path.display().to_string();
    if path.is_dir() {
        let dbcop = path.join("history.bincode");
        if dbcop.is_file() && options.format != Some(Format::Cobra) {
            return read_path(&dbcop, options);
        }
        return read_logs(path, options);
    }
    read(open(path, &name)?, &name, options)
}

fn open(path: &Path, name: &str) -> Result<BufReader<File>, FormatError> {
    let file = File::open(path).map_err(|error| FormatFault::Io(error).at(name, Place::File))?;
    Ok(BufReader::new(file))
}

/// Reads a folder of Cobra's logs, each of which is a session; they are in the order of their numbers.
fn read_logs(folder: &Path, options: &ReadOptions) -> Result<Observed, FormatError> {
    let name = folder.display().to_string();
    let of_folder = |fault: FormatFault| fault.at(&name, Place::File);
    let not_logs = FormatFault::WrongKind {
        found: "a folder",
        expected: "a file, or a folder with Cobra's logs (T<number>.log) or dbcop's history.bincode",
    };
    if !matches!(options.format, None | Some(Format::Cobra)) {
        return Err(of_folder(not_logs));
    }
    let entries = folder
        .read_dir()
        .map_err(|error| of_folder(FormatFault::Io(error)))?;
    let mut logs: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| of_folder(FormatFault::Io(error)))?
            .path();
        let number = path.file_name().and_then(|name| name.to_str());
        let number = number.and_then(|name| name.strip_prefix('T')?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            logs.push((number, path));
        }
    }
    if logs.is_empty() {
        return Err(of_folder(not_logs));
    }
    logs.sort();
    let mut collector = Collector::new(&name, &options.limits);
    for (session, (_, log)) in (0..).zip(&logs) {
        let name = log.display().to_string();
        let reader = open(log, &name)?;
        let source = Source::open(reader, &options.limits);
        let mut source = source.map_err(|fault| fault.at(&name, Place::File))?;
        let mut scanner = Scanner::new(&mut source.reader, options.limits);
        let result = cobra::read_log(&mut scanner, &mut collector, session);
        result.map_err(|fault| fault.at(&name, Place::Byte(scanner.offset())))?;
    }
    Ok(collector.finish())
}

/// Reads the history in a stream, which may be compressed; `name` is used in messages. One of Cobra's logs is read
/// as a history of one session.
///
/// # Errors
///
/// The first fault, with the name and the line (in binary formats the byte).
pub fn read(
    reader: impl BufRead,
    name: &str,
    options: &ReadOptions,
) -> Result<Observed, FormatError> {
    let of_file = |fault: FormatFault| fault.at(name, Place::File);
    let mut source = Source::open(reader, &options.limits).map_err(of_file)?;
    if source.start.is_empty() {
        return Err(of_file(FormatFault::Empty));
    }
    let found = || FormatFault::Unrecognised {
        found: quote(&source.start),
    };
    let format = match options.format {
        Some(format) => format,
        None => detect(&source.start).ok_or_else(|| of_file(found()))?,
    };
    let mut scanner = Scanner::new(&mut source.reader, options.limits);
    let scanner = &mut scanner;
    let history = match format {
        Format::ElleEdn => edn::read(scanner, name, options.kind),
        Format::ElleJson => elle_json::read(scanner, name, options.kind),
        Format::Text => text::read(scanner, name),
        Format::Native => native::read(scanner, name),
        Format::DbcopBincode => dbcop::read_bincode(scanner, name),
        Format::DbcopJson => dbcop::read_json(scanner, name),
        Format::DbcopHist => dbcop::read_hist(scanner, name),
        Format::Cobra => {
            let mut collector = Collector::new(name, &options.limits);
            cobra::read_log(scanner, &mut collector, 0).map(|()| collector.finish())
        }
        Format::SitedHistory => Err(FormatFault::SitedHistory),
    };
    let place = match format {
        Format::DbcopBincode | Format::Cobra => Place::Byte(scanner.offset()),
        Format::SitedHistory => Place::File,
        Format::ElleEdn
        | Format::ElleJson
        | Format::Text
        | Format::DbcopJson
        | Format::DbcopHist
        | Format::Native => Place::Line(scanner.line()),
    };
    history.map_err(|fault| fault.at(name, place))
}
