//! What all parts of the command share: exit statuses, failures, colours, writing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use checker::ParseError;
use checker::follow::TailError;
use checker::formats::{FormatError, FormatFault, SitedFault, WriteError};

pub(crate) const STATUS_VALID: u8 = 0;
pub(crate) const STATUS_INVALID: u8 = 1;
pub(crate) const STATUS_UNKNOWN: u8 = 2;

/// The version of what `--json` writes.
pub(crate) const JSON_FORMAT: u32 = 2;

/// A violation is certain whatever else is unknown, so it outweighs a doubt.
pub(crate) fn worse(one: u8, other: u8) -> u8 {
    if one == STATUS_INVALID || other == STATUS_INVALID {
        STATUS_INVALID
    } else {
        one.max(other)
    }
}

/// The word for a status.
pub(crate) const fn verdict_of(status: u8) -> &'static str {
    match status {
        STATUS_VALID => "valid",
        STATUS_INVALID => "invalid",
        _ => "unknown",
    }
}

/// Why the command could not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot open {}: {source}; check the path, or pass `-` for stdin", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{0}\nNothing was judged. `co-check formats sites` describes the format.")]
    Parse(#[from] ParseError),
    #[error("{error}{}\nNothing was judged.", advice(&error.fault))]
    Format { error: FormatError },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Convert(WriteError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}\nNothing was written.")]
    Sited(#[from] SitedFault),
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error(
        "{} is compressed with {with}, and what is followed must be plain text; judge it with `co-check history`, which \
         decompresses",
        path.display()
    )]
    Compressed { path: PathBuf, with: &'static str },
    #[error("cannot listen for Ctrl-C: {0}; use --no-wait, which does not")]
    Signal(io::Error),
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::Format { error }
    }
}

/// What to do about a fault, in the words of the command.
const fn advice(fault: &FormatFault) -> &'static str {
    match fault {
        FormatFault::SitedHistory => {
            ". `co-check FILE...` judges it; `co-check formats` lists what else is read."
        }
        FormatFault::Unrecognised { .. } | FormatFault::WrongKind { .. } => {
            ". `co-check formats` lists those; --format names one."
        }
        FormatFault::TooManyBytes { .. } => " (--max-gib).",
        FormatFault::TooMuchMemory { .. } => {
            " (--max-memory, of which a history may take a quarter)."
        }
        FormatFault::Expected { .. }
        | FormatFault::CutShort { .. }
        | FormatFault::Version { .. }
        | FormatFault::Record(_) => ". `co-check formats` says how the formats look.",
        // What to do is said already.
        FormatFault::Io(_)
        | FormatFault::Empty
        | FormatFault::Damaged { .. }
        | FormatFault::TooManyOperations { .. }
        | FormatFault::TokenTooLong { .. }
        | FormatFault::TooDeep { .. }
        | FormatFault::NotUtf8
        | FormatFault::NothingCommitted
        | FormatFault::AfterEnd
        | FormatFault::FooterMismatch { .. }
        | FormatFault::StillOpen { .. }
        | FormatFault::CompletedTwice { .. }
        | FormatFault::IndexNotRising { .. }
        | FormatFault::Mixed { .. }
        | FormatFault::TwoSessions { .. }
        | FormatFault::Twice { .. }
        | FormatFault::TooLarge(_)
        | _ => ".",
    }
}

/// Writes a text to a file, or to standard output for `-`. A reader that went away is no failure:
/// the verdict is in the exit status.
pub(crate) fn write_to(path: &Path, text: &str) -> Result<(), Failure> {
    let written = if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
    } else {
        std::fs::write(path, text)
    };
    match written {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(not_written(path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A failure for programs.
pub(crate) fn failure_json(failure: &Failure) -> serde_json::Value {
    serde_json::json!({
        "format": JSON_FORMAT,
        "verdict": "error",
        "error": failure.to_string(),
    })
}

/// Writes a text for people to standard output.
pub(crate) fn show(text: &str) -> Result<(), Failure> {
    write_to(Path::new("-"), &wrapped(&tame(text)))
}

/// Says something beside the answer, which stands without it, should standard error be closed.
pub(crate) fn note(what: &str) {
    writeln!(
        io::stderr(),
        "{}",
        wrapped(&tame(&format!("co-check: {what}")))
    )
    .ok();
}

pub(crate) fn not_written(path: &Path, source: io::Error) -> Failure {
    let path = if path == Path::new("-") {
        "standard output".into()
    } else {
        path.into()
    };
    Failure::Write { path, source }
}

/// A file that an earlier run wrote, and this one has nothing to write to, is not left to be taken for this one's.
pub(crate) fn retract(path: &Path, begins: &str) -> Result<bool, Failure> {
    let is_ours = path.is_file()
        && std::fs::File::open(path).is_ok_and(|file| {
            let mut start = Vec::new();
            let mut file = io::Read::take(file, begins.len() as u64);
            io::Read::read_to_end(&mut file, &mut start).is_ok() && start == begins.as_bytes()
        });
    if is_ours {
        std::fs::remove_file(path).map_err(|source| not_written(path, source))?;
    }
    Ok(is_ours)
}

/// How wide a line of text is at most, unless a word is longer.
const WIDTH: usize = 80;

/// Lines that are too long are broken between words, and go on further in.
pub(crate) fn wrapped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.chars().count() <= WIDTH {
            all.push_str(line);
        } else {
            wrap_line(line, &mut all);
        }
    }
    all
}

fn wrap_line(line: &str, all: &mut String) {
    let words = line.trim_start_matches(' ');
    let indent = line.len() - words.len();
    let further = " ".repeat(indent + 2);
    all.push_str(&line[..indent]);
    let mut column = indent;
    for (place, word) in words.split(' ').enumerate() {
        // Colours take no room, and line feeds none either.
        let bare = word.trim_end_matches('\n');
        let painted = COLOURS.iter().filter(|colour| bare.contains(**colour));
        let width = bare.chars().count() - painted.map(|colour| colour.len()).sum::<usize>();
        if place > 0 && column + 1 + width > WIDTH {
            all.push('\n');
            all.push_str(&further);
            column = further.len();
        } else if place > 0 {
            all.push(' ');
            column += 1;
        }
        all.push_str(word);
        column += width;
    }
}

/// Control characters, and those that turn the direction of text, are shown as what they are: a key or a file name does
/// not get at the terminal. Colours are ours.
pub(crate) fn tame(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for (place, character) in text.char_indices() {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let is_colour = || {
            COLOURS
                .iter()
                .any(|colour| text[place..].starts_with(colour))
        };
        if turns || (character.is_control() && character != '\n' && !is_colour()) {
            all.extend(character.escape_unicode());
        } else {
            all.push(character);
        }
    }
    all
}

const COLOURS: [&str; 4] = ["\x1b[1;32m", "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"];

/// Whether verdicts are coloured.
#[derive(Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !refused)
    }

    /// A word in green.
    pub(crate) fn good(self, word: &str) -> String {
        self.in_colour(COLOURS[0], word)
    }

    /// A word in red.
    pub(crate) fn bad(self, word: &str) -> String {
        self.in_colour(COLOURS[1], word)
    }

    /// A word in yellow.
    pub(crate) fn doubtful(self, word: &str) -> String {
        self.in_colour(COLOURS[2], word)
    }

    /// Each word on its own, as lines are broken between them.
    fn in_colour(self, colour: &str, words: &str) -> String {
        if !self.0 {
            return words.to_owned();
        }
        let words = words
            .split(' ')
            .map(|word| format!("{colour}{word}{}", COLOURS[3]));
        words.collect::<Vec<_>>().join(" ")
    }

    pub(crate) const fn valid(self) -> &'static str {
        if self.0 {
            "\x1b[1;32mVALID\x1b[0m"
        } else {
            "VALID"
        }
    }

    pub(crate) const fn invalid(self) -> &'static str {
        if self.0 {
            "\x1b[1;31mINVALID\x1b[0m"
        } else {
            "INVALID"
        }
    }

    pub(crate) const fn unknown(self) -> &'static str {
        if self.0 {
            "\x1b[1;33mUNKNOWN\x1b[0m"
        } else {
            "UNKNOWN"
        }
    }

    /// A word in the colour of what is well, or else of what is to be looked at.
    pub(crate) fn word(self, word: &str, is_well: bool) -> String {
        let [green, _, yellow, plain] = COLOURS;
        match (self.0, is_well) {
            (false, _) => word.to_owned(),
            (true, true) => format!("{green}{word}{plain}"),
            (true, false) => format!("{yellow}{word}{plain}"),
        }
    }
}

pub(crate) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a string does not fail");
}
