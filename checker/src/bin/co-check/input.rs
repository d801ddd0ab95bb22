//! What is read: files, folders, pipes and standard input.
//!
//! - **I1** What can be read once is opened once: its format is found out on the reader that it is then read from.
//! - **I2** What is read is bounded, in bytes and in memory, and what goes beyond is refused by name.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use checker::SiteHistory;
use checker::formats::{self, Format, Kind, Limits, Opened, ReadOptions};
use checker::observed::Observed;
use checker::parse::read_history;

use crate::output::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct ReadingArguments {
    /// The format of the files; found out otherwise
    ///
    /// `co-check formats` lists them.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// What the keys of one of Elle's histories hold
    ///
    /// Found out otherwise.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<KindChoice>,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

/// What is too much (I2).
#[derive(Debug, clap::Args)]
pub(crate) struct Bounds {
    /// How many GiB of a history, decompressed, are read
    #[arg(long, default_value_t = 16, value_name = "GIB")]
    max_gib: u64,
    /// How many GiB of memory may be taken, about
    ///
    /// Checked while a history is read, which may take a quarter of it by an
    /// estimate: judging takes about three times as much besides. Histories
    /// of sites are taken to need eight bytes for each byte of text.
    #[arg(long, default_value_t = 8, value_name = "GIB", verbatim_doc_comment)]
    max_memory: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KindChoice {
    /// Lists, to which transactions append
    Lists,
    /// Registers
    Registers,
}

/// Judging a history takes about three times as much memory as holding it.
const JUDGING: u64 = 4;

/// Bytes of memory for each byte of text that a site wrote, with judging it.
const OF_SITES: u64 = 8;

/// A file, a folder or a stream whose format was found out.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    name: String,
    format: Option<Format>,
    from: From,
}

enum From {
    Folder,
    /// A file, which can be opened again when its turn comes.
    File,
    /// What can be read once (I1).
    Stream(Opened<'static>),
}

impl Input {
    /// Whether it is the history of one of this project's sites.
    pub(crate) fn is_sited(&self) -> bool {
        self.format == Some(Format::SitedHistory)
    }

    /// Whether it is a file, which can be read twice.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.from, From::File)
    }

    /// What the numbers of its transactions' places count.
    pub(crate) const fn place_word(&self) -> &'static str {
        match (&self.from, self.format) {
            (_, Some(Format::DbcopBincode | Format::Cobra | Format::Vbox)) => "entry",
            (From::Folder, _) => "line or entry",
            (From::File | From::Stream(_), _) => "line",
        }
    }
}

impl ReadingArguments {
    fn options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            kind: self.kind.map(|kind| match kind {
                KindChoice::Lists => Kind::ListAppend,
                KindChoice::Registers => Kind::RwRegister,
            }),
            limits: self.bounds.limits(),
        }
    }

    /// Opens what is at a path, and finds out what it is; `-` is standard input.
    pub(crate) fn open(&self, path: &Path) -> Result<Input, Failure> {
        self.bounds.open(path, self.format)
    }

    /// Opens all of them before anything is read.
    pub(crate) fn open_all(&self, paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
        self.bounds.open_all(paths, self.format)
    }

    /// Opens and reads a history of clients.
    pub(crate) fn read(&self, path: &Path) -> Result<Observed, Failure> {
        self.read_input(self.open(path)?)
    }

    /// Reads a history of clients, with a bar on a terminal.
    pub(crate) fn read_input(&self, input: Input) -> Result<Observed, Failure> {
        let options = self.options();
        Ok(match input.from {
            From::Folder => formats::read_path(&input.path, &options)?,
            From::Stream(opened) => opened.read(&options)?,
            From::File => {
                let reader = bar(&input.path)?;
                formats::read(reader, &input.name, &options)?
            }
        })
    }
}

impl Bounds {
    fn limits(&self) -> Limits {
        Limits {
            bytes: self.bytes(),
            // Their memory is bounded.
            operations: u64::MAX,
            memory_bytes: self.memory_bytes() / JUDGING,
            ..Limits::default()
        }
    }

    /// How many bytes of a history are read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.max_gib.saturating_mul(1 << 30)
    }

    /// How much memory may be taken.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        self.max_memory.saturating_mul(1 << 30)
    }

    fn open(&self, path: &Path, format: Option<Format>) -> Result<Input, Failure> {
        let failed = |source| Failure::Open {
            path: path.to_owned(),
            source,
        };
        let mut input = Input {
            path: path.to_owned(),
            name: path.display().to_string(),
            format,
            from: From::Folder,
        };
        if path == Path::new("-") {
            "standard input".clone_into(&mut input.name);
            let stdin = BufReader::new(io::stdin());
            return self.look(input, stdin, false);
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Ok(input);
        }
        self.look(input, BufReader::new(file), metadata.is_file())
    }

    fn look(
        &self,
        mut input: Input,
        reader: impl BufRead + 'static,
        again: bool,
    ) -> Result<Input, Failure> {
        let opened = formats::open(reader, &input.name, &self.limits())?;
        input.format = input.format.or_else(|| opened.format());
        input.from = if again {
            From::File
        } else {
            From::Stream(opened)
        };
        Ok(input)
    }

    /// Opens all of them before anything is read.
    pub(crate) fn open_all(
        &self,
        paths: &[PathBuf],
        format: Option<Format>,
    ) -> Result<Vec<Input>, Failure> {
        let stdin = |path: &&PathBuf| path.as_path() == Path::new("-");
        if paths.iter().filter(stdin).count() > 1 {
            let why = "standard input can be read once: give `-` once";
            return Err(Failure::Usage(why.to_owned()));
        }
        paths.iter().map(|path| self.open(path, format)).collect()
    }

    /// Reads the histories of sites, all of which have to find room together.
    pub(crate) fn read_sites(&self, inputs: Vec<Input>) -> Result<Vec<SiteHistory>, Failure> {
        let left = Rc::new(Cell::new(self.memory_bytes() / OF_SITES));
        let mut sites = Vec::with_capacity(inputs.len());
        for input in inputs {
            let opened = match input.from {
                From::Folder => {
                    let why = format!(
                        "{} is a folder; give the history files of sites one by one",
                        input.name
                    );
                    return Err(Failure::Usage(why));
                }
                From::Stream(opened) => opened,
                From::File => {
                    let reader = bar(&input.path)?;
                    formats::open(reader, &input.name, &self.limits())?
                }
            };
            let bounded = Bounded {
                reader: opened.into_plain(),
                left: Rc::clone(&left),
                max_memory: self.max_memory,
            };
            let reader = BufReader::with_capacity(1 << 16, bounded);
            sites.push(read_history(reader, &input.name)?);
        }
        Ok(sites)
    }
}

fn bar(path: &Path) -> Result<BufReader<Bar>, Failure> {
    let failed = |source| Failure::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok(BufReader::with_capacity(1 << 18, Bar::new(file, size)))
}

/// Refuses text that would take too much memory (I2).
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<u64>>,
    max_memory: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        let left = self.left.get().checked_sub(count as u64);
        let too_much = || {
            io::Error::other(format!(
                "the histories take more than {} GiB of memory, at about {OF_SITES} bytes for each byte of text; raise \
                 --max-memory, or judge them with `co-check follow --no-wait`, in bounded memory",
                self.max_memory
            ))
        };
        self.left.set(left.ok_or_else(too_much)?);
        Ok(count)
    }
}

/// Shows on a terminal how much of a file was read.
struct Bar {
    file: File,
    size: u64,
    read: u64,
    shown: Instant,
    shows: bool,
}

impl Bar {
    fn new(file: File, size: u64) -> Self {
        Self {
            file,
            size,
            read: 0,
            shown: Instant::now(),
            shows: io::stderr().is_terminal() && size > 0,
        }
    }
}

impl Read for Bar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        if self.shows && (count == 0 || self.shown.elapsed() > Duration::from_millis(200)) {
            self.shown = Instant::now();
            let tenths = self.read.min(self.size) * 30 / self.size;
            let bar: String = (0..30)
                .map(|it| if it < tenths { '=' } else { ' ' })
                .collect();
            say(&if count == 0 {
                String::new()
            } else {
                format!("reading [{bar}]")
            });
        }
        Ok(count)
    }
}

/// Says on a terminal what is going on, in the place of what was said before.
pub(crate) fn say(what: &str) {
    if io::stderr().is_terminal() {
        // Nobody needs it, should standard error be closed.
        write!(io::stderr(), "\r\x1b[K{what}").ok();
    }
}
