//! Other people's history files, into [`Observed`], and back.
//!
//! [`read_path`] opens a file (or a folder, where the format is one of folders), decompresses it, finds out what it
//! is and reads it; [`read()`] does the same for a stream. [`write()`] writes a history in another format and says what
//! that could not hold.
//!
//! ```
//! use checker::formats::{self, Format, ReadOptions};
//!
//! let text = "w(1,10,0,0)\nr(1,10,1,1)\nr(2,0,1,1)\n";
//! let history = formats::read(text.as_bytes(), "example.txt", &ReadOptions::default())?;
//! assert_eq!(history.txns().len(), 2);
//!
//! let mut edn = Vec::new();
//! formats::write(&history, Format::ElleEdn, &mut edn)?;
//! assert_eq!(
//!     String::from_utf8(edn)?,
//!     "{:index 0, :type :ok, :process 0, :f :txn, :value [[:w 1 10]]}\n\
//!      {:index 1, :type :ok, :process 1, :f :txn, :value [[:r 1 10] [:r 2 nil]]}\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is read
//!
//! No two tools agree on how a read of the initial state looks. This is what each importer takes for one:
//!
//! | format | from | a read of the initial state | aborted | unknown outcome | real time |
//! |---|---|---|---|---|---|
//! | `native` | this crate | `~` | `a` | `u` | intervals |
//! | `elle-edn` | Jepsen, Elle | `nil`, or `[]` of a list | `:fail` | `:info`, or no completion | positions |
//! | `elle-json` | elle-cli | `null`, or `[]` of a list | `fail` | `info`, or no completion | positions |
//! | `text` | Plume, AWDIT, PolySI, IsoVista | 0, unless a transaction that was not aborted wrote 0 to the key | transaction -1 | - | - |
//! | `dbcop` | dbcop (2019), binary | 0, unless a committed transaction wrote 0 to the key | flag | - | - |
//! | `dbcop-json` | dbcop, JSON | `null`; 0 as above | flag | - | - |
//! | `dbcop-hist` | dbcop, `[x:=1 y==?]` | `?`; 0 as above | `!` | - | - |
//! | `cobra` | Cobra's logs, a folder | writes 0xbebeebee and 0xdeadbeef | `A` | a log that ends in a transaction | - |
//! | `timekiller` | TimeKiller (Chronos, Aion), JSON | `null`, or `[]` of a list; 0 as above | - | - | start and commit timestamps |
//! | `vbox` | Vbox's logs, a folder | transaction 0 | `A` | a log that ends in a transaction | intervals |
//! | `viper` | ViperBench's JSON logs, a folder | 0, unless a transaction wrote 0 to the key | - | - | intervals, if they are there |
//!
//! All of them down to `cobra` are written as well; Cobra's logs by [`write_folder`]. [`Format::conventions`] has the
//! table for programs.
//!
//! What is written explicitly as the initial state (IsoVista's first transaction, AWDIT's, dbcop's) is a transaction
//! like any other, and reads of what it wrote are reads of it. PolySI, AWDIT and Plume add such a transaction
//! themselves; nothing is added here, because [`Observed`] knows the initial state. A file in which 0 is both the
//! initial state of a key and a value that was written to it later cannot be told from one in which all reads of 0
//! are of that write; it is taken for the latter, as dbcop, PolySI and AWDIT take it.
//!
//! The history of one of this project's sites (`co-history`) has versions instead of values: it is detected
//! ([`Format::SitedHistory`]), and [`parse`](crate::parse) reads it. [`observe_sites`] makes of it what its clients
//! observed, with their sessions and their real time. It refuses scans and increments, by name: the native format has
//! reads and writes of values only, and needs no more, because histories with predicates and increments are judged as
//! the sites wrote them, where versions say what a scan missed and what a sum includes. The other way round nothing is
//! converted: values do not tell the order of versions.
//!
//! # Elle's formats
//!
//! A history is entries, one after another or in one vector (in JSON, array). An entry is a map, or a tagged one
//! such as `#jepsen.history.Op{...}`, of which `:type`, `:process`, `:f`, `:value` and `:index` matter. The
//! conventions are those of Elle (VLDB 2020) and jepsen.history:
//!
//! - **E1** Operations are `[:r key seen]`, `[:w key value]` and `[:append key value]`. Whether keys hold lists or
//!   registers shows in the first operation that tells, or in [`ReadOptions::kind`]; both in one history are
//!   refused. What was read as nil (or not at all: `[:r key]`) is the empty list in a history of lists.
//! - **E2** Clients are the entries whose process is a whole number; what others do (`:nemesis`) is skipped. So is what a
//!   client does that is no transaction, if its `:f` is neither absent, nil nor `:txn`; if it is one of those, that is a
//!   fault.
//! - **E3** An invocation and the next completion of the same process are one transaction; it begins and ends at their
//!   positions in the history, which `:index` has to agree with, and `:time` is not looked at. `:ok` is
//!   committed, with the operations of the completion. `:fail` is aborted, `:info` is unknown and ends never; both have
//!   the operations of the invocation (of the completion, if that had none), whatever the value of the completion
//!   is, and what they read was not seen.
//! - **E4** A completion without invocation is a transaction that began nobody knows when: at 0. So it precedes in real
//!   time what is invoked later, and nothing precedes it. jepsen.history refuses it if asked for pairs; Elle's own
//!   tests have it, and its graph of real time treats it so. A history without any invocation has no real time.
//! - **E5** A process is a session. A process that was told nothing is not used again by Jepsen. If it goes on in a
//!   file, what it was not told of has no session ([`Txn::session`](crate::observed::Txn::session) is `None`), because it may take effect at any time;
//!   the others keep theirs. So it is in Elle, whose process graph has `:ok` entries only.
//! - **E6** Entries without process (or nil) are in no session, and pair up as if they were of one process. Elle drops them, and
//!   then knows nothing.
//! - **E7** A process invokes one transaction at a time, and completes it once; positions rise. Everything else is
//!   refused with its line.
//!
//! Keys and values are called as they are written: `:x`, `"x"` and `x` are three keys. In JSON a string is its
//! content, unless it could be taken for a number or a word without its quotes: `"x"` is called `x`, `"5"` is
//! called `"5"`.
//!
//! A first entry that has a `:kind` and is no operation says what keys hold, as in histories captured from tests.
//!
//! # Text
//!
//! `r(key,value,session,transaction)` or `w(...)` a line, in the order of each session; empty lines and those that
//! begin with `#` are skipped. Numbers of transactions are for the whole file, and their lines need not be
//! together; one number in two sessions is refused. Keys and values may be any words. Each line of transaction
//! -1 is an aborted transaction of its own.
//!
//! # dbcop
//!
//! Both flags count: a transaction without success is aborted; an event without success in one that has it did not
//! take place if it is a read, and is an aborted transaction of its own if it is a write.
//!
//! # Cobra
//!
//! The logs of a folder (`T<number>.log`) are sessions, in the order of their numbers. A write is called by its
//! identifier, because those are unique and values need not be. Reads by fence transactions are left out.
//!
//! # TimeKiller, Vbox, Viper
//!
//! TimeKiller's timestamps are the database's own, and count as real time: a transaction that had committed before another
//! started precedes it. So strong snapshot isolation and strict serializability are judged by them, and what its SESSION
//! axiom forbids is a cycle of a session and of real time. Registers and lists are not in one file.
//!
//! Vbox's versions are called by the transaction and the operation that wrote them, `5.2`. Viper's deletions write a
//! version as its writes do. Predicate reads (Vbox's `P`, Viper's `range`) are refused, because what they did not return
//! cannot be said in a history of keys, and a verdict without it would be a guess. Where their layouts are from is said
//! in the source of each reader.
//!
//! # Native
//!
//! ```text
//! history  = "co-observed 1" LF { line LF } "end " count [ LF ]     count: how many transactions there are
//! line     = txn | "#" anything | nothing
//! txn      = outcome " " session " " interval { " " op }
//! outcome  = "c" | "a" | "u"            committed, aborted, nobody was told
//! session  = number | "-"               "-": the history does not say
//! interval = begin ".." [ end ] | "-"   real time in any unit; without end: never told; "-": not known
//! op       = "r:" key "=" seen          read a register
//!          | "w:" key "=" value         wrote a register
//!          | "l:" key "=[" [ value { "," value } ] "]"    read a list, all of it
//!          | "a:" key "=" value         appended to a list
//!          | "u:" key                   read, and nobody saw what
//! seen     = value | "~"                "~": the initial state
//! ```
//!
//! Keys and values are UTF-8. White space, control characters and each of `%` `=` `,` `[` `]` `~` are written
//! `%HH`, and the empty name is `%`. Lines may end as Windows ends them. Begin and end are whole numbers below 2^32 - 1. Sessions are whole numbers,
//! and the transactions of one are in session order. A transaction of unknown outcome may take effect at any time from
//! its begin on: it has no end, whatever the interval says, and does not precede later ones of its session. The footer
//! is not optional: without it the file was cut short, and reads of what was cut off would look like reads of nothing
//! that was ever written.
//!
//! # Limits
//!
//! Whatever a file holds, the outcome is a history or a [`FormatError`] with the file, the line (of binary formats the
//! byte) and what to do. Nothing recurses. Memory is that of the history, one buffer and one name; [`Limits`] bounds
//! the history, the length of a name, and the number of bytes after decompression.
//!
//! A stream can be read once, so [`open`] looks at its beginning, and what it opened is what is read:
//!
//! ```
//! use checker::formats::{self, Format, ReadOptions};
//!
//! let options = ReadOptions::default();
//! let opened = formats::open("w(1,10,0,0)\n".as_bytes(), "a pipe", &options.limits)?;
//! assert_eq!(opened.format(), Some(Format::Text));
//! assert_eq!(opened.read(&options)?.txns().len(), 1);
//! # Ok::<(), formats::FormatError>(())
//! ```

mod cobra;
mod collector;
mod conventions;
mod dbcop;
mod detect;
mod edn;
mod elle_json;
mod error;
mod folder;
mod json;
mod native;
mod opened;
mod pairing;
mod scanner;
mod sited;
mod source;
mod text;
mod timekiller;
mod times;
mod vbox;
mod viper;
mod write;
mod write_cobra;
mod write_dbcop;
mod write_elle;
mod zstd;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::str::FromStr;

use self::scanner::Scanner;
use self::source::Source;
use crate::observed::Observed;

pub use conventions::Conventions;
pub use detect::detect;
pub use error::{FormatError, FormatFault, Place};
pub use opened::{Opened, open};
pub use sited::{SitedFault, observe_sites};
pub use write::{Loss, WriteError, write};
pub use write_cobra::write_folder;

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
    /// JSON with start and commit timestamps: TimeKiller (Chronos and Aion).
    TimeKiller,
    /// A folder of Vbox's logs, a file for each session.
    Vbox,
    /// A folder of ViperBench's JSON logs, a file for each client.
    Viper,
    /// Our own, in which nothing is lost.
    Native,
    /// The history of one of this project's sites, which [`parse`](crate::parse) reads and nothing here does.
    SitedHistory,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Native,
        Self::ElleEdn,
        Self::ElleJson,
        Self::Text,
        Self::DbcopBincode,
        Self::DbcopJson,
        Self::DbcopHist,
        Self::Cobra,
        Self::TimeKiller,
        Self::Vbox,
        Self::Viper,
        Self::SitedHistory,
    ];

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
            Self::TimeKiller => "timekiller",
            Self::Vbox => "vbox",
            Self::Viper => "viper",
            Self::SitedHistory => "sites",
        }
    }

    /// Where a fault is that was found here.
    const fn place(self, scanner: &Scanner<'_>) -> Place {
        match self {
            Self::DbcopBincode | Self::Cobra | Self::Vbox => Place::Byte(scanner.offset()),
            Self::SitedHistory => Place::File,
            Self::ElleEdn
            | Self::ElleJson
            | Self::Text
            | Self::DbcopJson
            | Self::DbcopHist
            | Self::TimeKiller
            | Self::Viper
            | Self::Native => Place::Line(scanner.line()),
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// The format of this [name](Format::name).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// A name that no format has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no format is called {0:?}; there are native, elle-edn, elle-json, text, dbcop, dbcop-json, dbcop-hist, cobra, \
     timekiller, vbox, viper and sites"
)]
pub struct UnknownFormat(pub String);

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
    /// Transactions, operations, elements of lists that were read, and processes, together; each takes 8 to 100
    /// bytes while reading. 2^28 unless changed.
    pub operations: u64,
    /// The length of a key or value, in bytes. 64 KiB unless changed.
    pub token_bytes: usize,
    /// How deep collections that are not needed may be nested. 65,536 unless changed.
    pub depth: usize,
    /// Bytes of memory that the history takes while it is read, by an estimate: of what has been built, and of what
    /// readers hold besides. Judging it comes on top, and takes about three times as much again. 8 GiB unless changed.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            operations: 1 << 28,
            token_bytes: 64 << 10,
            depth: 1 << 16,
            memory_bytes: 8 << 30,
        }
    }
}

/// The bytes of a stream, decompressed if it is of gzip or zstd; at most so many.
pub(crate) fn plain<'r>(
    reader: impl BufRead + 'r,
    limit_bytes: u64,
) -> Result<impl std::io::Read + 'r, FormatFault> {
    let limits = Limits {
        bytes: limit_bytes,
        ..Limits::default()
    };
    Source::open(reader, &limits).map(|source| source.reader)
}

/// What the history in a stream is, which may be compressed; `None` if it is nothing that is known, or cannot be read.
#[must_use]
pub fn detect_in(reader: impl BufRead) -> Option<Format> {
    let source = Source::open(reader, &Limits::default()).ok()?;
    detect(&source.start)
}

/// Reads the history in a file, or in a folder: of logs of Cobra, Vbox or Viper, or of dbcop's (`history.bincode`).
///
/// # Errors
///
/// The first fault, with the file and the line (in binary formats the byte).
pub fn read_path(path: &Path, options: &ReadOptions) -> Result<Observed, FormatError> {
    let name = path.display().to_string();
    if path.is_dir() {
        let dbcop = path.join("history.bincode");
        let wanted = options.format.unwrap_or(Format::DbcopBincode);
        if dbcop.is_file() && wanted == Format::DbcopBincode {
            return read_path(&dbcop, options);
        }
        return folder::read(path, options);
    }
    read(open_file(path, &name)?, &name, options)
}

fn open_file(path: &Path, name: &str) -> Result<BufReader<File>, FormatError> {
    let file = File::open(path).map_err(|error| FormatFault::Io(error).at(name, Place::File))?;
    Ok(BufReader::new(file))
}

/// Reads the history in a stream, which may be compressed; `name` is used in messages. One log of a folder is read as
/// a history of one session.
///
/// # Errors
///
/// The first fault, with the name and the line (in binary formats the byte).
pub fn read(
    reader: impl BufRead,
    name: &str,
    options: &ReadOptions,
) -> Result<Observed, FormatError> {
    open(reader, name, &options.limits)?.read(options)
}

/// Reads one log of a folder.
fn read_log(
    scanner: &mut Scanner<'_>,
    format: Format,
    name: &str,
    options: &ReadOptions,
) -> Result<Observed, FormatFault> {
    let logs = folder::Logs::of(format, name, options)?;
    let mut logs = logs.expect("the caller has a format of folders");
    logs.read_log(scanner, 0)?;
    logs.finish()
}
