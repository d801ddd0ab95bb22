//! A stream that was opened to see what it is, and is then read: nothing of it is lost in between, whatever it is.

use std::fmt;
use std::io::{BufRead, Read};

use super::error::{FormatError, FormatFault, Place};
use super::scanner::{Scanner, quote};
use super::source::Source;
use super::{
    Format, Limits, ReadOptions, dbcop, detect, edn, elle_json, native, read_log, text, timekiller,
};
use crate::observed::Observed;

/// A stream whose beginning was looked at.
pub struct Opened<'r> {
    source: Source<'r>,
    name: String,
    format: Option<Format>,
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Opened");
        shown.field("name", &self.name);
        shown.field("format", &self.format).finish_non_exhaustive()
    }
}

/// Looks at the beginning of a stream, which may be compressed; `name` is used in messages.
///
/// # Errors
///
/// If it cannot be read, or is damaged.
pub fn open<'r>(
    reader: impl BufRead + 'r,
    name: &str,
    limits: &Limits,
) -> Result<Opened<'r>, FormatError> {
    let source = Source::open(reader, limits);
    let source = source.map_err(|fault| fault.at(name, Place::File))?;
    Ok(Opened {
        format: detect(&source.start),
        name: name.to_owned(),
        source,
    })
}

impl<'r> Opened<'r> {
    /// What the stream holds; `None` if it is nothing that is known.
    #[must_use]
    pub const fn format(&self) -> Option<Format> {
        self.format
    }

    /// All of it, decompressed: for a reader of its own, such as [`parse::read_history`](crate::parse::read_history).
    #[must_use]
    pub fn into_plain(self) -> impl Read + 'r {
        self.source.reader
    }

    /// Reads the history. Of the limits, the number of bytes is what it was opened with.
    ///
    /// # Errors
    ///
    /// The first fault, with the name and the line (in binary formats the byte).
    pub fn read(mut self, options: &ReadOptions) -> Result<Observed, FormatError> {
        let name = self.name.as_str();
        let of_file = |fault: FormatFault| fault.at(name, Place::File);
        if self.source.start.is_empty() {
            return Err(of_file(FormatFault::Empty));
        }
        let found = || FormatFault::Unrecognised {
            found: quote(&self.source.start),
        };
        let format = options.format.or(self.format);
        let format = format.ok_or_else(|| of_file(found()))?;
        let mut scanner = Scanner::new(&mut self.source.reader, options.limits);
        let scanner = &mut scanner;
        let history = match format {
            Format::ElleEdn => edn::read(scanner, name, options.kind),
            Format::ElleJson => elle_json::read(scanner, name, options.kind),
            Format::Text => text::read(scanner, name),
            Format::Native => native::read(scanner, name),
            Format::DbcopBincode => dbcop::read_bincode(scanner, name),
            Format::DbcopJson => dbcop::read_json(scanner, name),
            Format::DbcopHist => dbcop::read_hist(scanner, name),
            Format::TimeKiller => timekiller::read(scanner, name),
            Format::Cobra | Format::Vbox | Format::Viper => {
                read_log(scanner, format, name, options)
            }
            Format::SitedHistory => Err(FormatFault::SitedHistory),
        };
        history.map_err(|fault| fault.at(name, format.place(scanner)))
    }
}
