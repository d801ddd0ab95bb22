//! Folders of logs, in which each file is a session: Cobra's, Vbox's and Viper's.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::collector::Collector;
use super::error::{FormatError, FormatFault, Place};
use super::scanner::Scanner;
use super::source::Source;
use super::{Format, ReadOptions, cobra, vbox, viper};
use crate::observed::Observed;

/// The formats of folders, and what stands before the number in the names of their logs.
const FAMILIES: [(Format, &str); 3] = [
    (Format::Cobra, "T"),
    (Format::Vbox, ""),
    (Format::Viper, "J"),
];

const NO_LOGS: FormatFault = FormatFault::WrongKind {
    found: "a folder without logs",
    expected: "a file, or a folder with logs of Cobra (T<number>.log), Vbox (<number>.log) or Viper (J<number>.log), or with \
               dbcop's history.bincode",
};

const SEVERAL: FormatFault = FormatFault::WrongKind {
    found: "a folder with logs of several kinds",
    expected: "one of them; name the format",
};

/// The logs of a folder that are being read.
pub(super) enum Logs {
    Cobra(Collector, HashSet<u64>),
    Vbox(vbox::Logs),
    Viper(viper::Logs),
}

impl Logs {
    /// Starts to read logs of a format, if it is one of folders.
    pub(super) fn of(
        format: Format,
        name: &str,
        options: &ReadOptions,
    ) -> Result<Option<Self>, FormatFault> {
        let collector = || Collector::new(name, &options.limits);
        Ok(match format {
            Format::Cobra => Some(Self::Cobra(collector(), HashSet::new())),
            Format::Vbox => Some(Self::Vbox(vbox::Logs::new(collector()))),
            Format::Viper => Some(Self::Viper(viper::Logs::new(collector())?)),
            Format::ElleEdn
            | Format::ElleJson
            | Format::Text
            | Format::DbcopBincode
            | Format::DbcopJson
            | Format::DbcopHist
            | Format::TimeKiller
            | Format::Native
            | Format::SitedHistory => None,
        })
    }

    /// Reads one log, as one session.
    pub(super) fn read_log(
        &mut self,
        scanner: &mut Scanner<'_>,
        session: u32,
    ) -> Result<(), FormatFault> {
        match self {
            Self::Cobra(collector, seen) => cobra::read_log(scanner, collector, seen, session),
            Self::Vbox(logs) => logs.read_log(scanner, session),
            Self::Viper(logs) => logs.read_log(scanner, session),
        }
    }

    pub(super) fn finish(self) -> Result<Observed, FormatFault> {
        match self {
            Self::Cobra(collector, _) => Ok(collector.finish()),
            Self::Vbox(logs) => logs.finish(),
            Self::Viper(logs) => logs.finish(),
        }
    }
}

/// Reads a folder of logs, each of which is a session; they are in the order of their numbers.
pub(super) fn read(folder: &Path, options: &ReadOptions) -> Result<Observed, FormatError> {
    let name = folder.display().to_string();
    let of_folder = |fault: FormatFault| fault.at(&name, Place::File);
    let (format, logs) = find(folder, options.format).map_err(of_folder)?;
    let reading = Logs::of(format, &name, options).map_err(of_folder)?;
    let mut reading = reading.ok_or_else(|| of_folder(NO_LOGS))?;
    for (session, (_, log)) in (0..).zip(&logs) {
        let name = log.display().to_string();
        let of_log = |fault: FormatFault| fault.at(&name, Place::File);
        let file = File::open(log).map_err(|error| of_log(FormatFault::Io(error)))?;
        let source = Source::open(BufReader::new(file), &options.limits);
        let mut source = source.map_err(of_log)?;
        let mut scanner = Scanner::new(&mut source.reader, options.limits);
        let result = reading.read_log(&mut scanner, session);
        result.map_err(|fault| fault.at(&name, format.place(&scanner)))?;
    }
    reading.finish().map_err(of_folder)
}

/// What logs there are in a folder, by their numbers.
fn find(
    folder: &Path,
    wanted: Option<Format>,
) -> Result<(Format, Vec<(u64, PathBuf)>), FormatFault> {
    let mut found: [Vec<(u64, PathBuf)>; 3] = Default::default();
    for entry in folder.read_dir().map_err(FormatFault::Io)? {
        let path = entry.map_err(FormatFault::Io)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(".log"));
        for ((_, prefix), logs) in FAMILIES.iter().zip(&mut found) {
            let number = stem.and_then(|stem| stem.strip_prefix(prefix)?.parse().ok());
            if let Some(number) = number {
                logs.push((number, path.clone()));
            }
        }
    }
    let families = FAMILIES.iter().zip(found);
    let mut families = families.filter(|((format, _), logs)| {
        !logs.is_empty() && wanted.is_none_or(|wanted| wanted == *format)
    });
    match (families.next(), families.next()) {
        (Some(((format, _), mut logs)), None) => {
            logs.sort();
            Ok((*format, logs))
        }
        (None, _) => Err(NO_LOGS),
        (Some(_), Some(_)) => Err(SEVERAL),
    }
}
