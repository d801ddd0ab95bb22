//! What all parts of the command share: exit statuses, failures, colours, writing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use checker::ParseError;
use checker::follow::TailError;
use checker::formats::{FormatError, SitedFault, WriteError};

pub(crate) const STATUS_VALID: u8 = 0;
pub(crate) const STATUS_INVALID: u8 = 1;
pub(crate) const STATUS_UNKNOWN: u8 = 2;

/// A violation is certain whatever else is unknown, so it outweighs a doubt.
pub(crate) fn worse(one: u8, other: u8) -> u8 {
    if one == STATUS_INVALID || other == STATUS_INVALID {
        STATUS_INVALID
    } else {
        one.max(other)
    }
}

/// Why the command could not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot open {}: {source}; check the path, or pass `-` for stdin", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{0}\nNothing was judged. The format is described in docs/history-format.md.")]
    Parse(#[from] ParseError),
    #[error("{0}\nNothing was judged. The formats are described in docs/checker.md.")]
    Format(#[from] FormatError),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Convert(#[from] WriteError),
    #[error("{0}\nNothing was written.")]
    Sited(#[from] SitedFault),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("cannot listen for Ctrl-C: {0}; use --no-wait, which does not")]
    Signal(io::Error),
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
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            let shown = if path == Path::new("-") {
                "standard output".into()
            } else {
                path.into()
            };
            Err(Failure::Write {
                path: shown,
                source,
            })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether verdicts are coloured.
#[derive(Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !refused)
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
}

pub(crate) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a string does not fail");
}
