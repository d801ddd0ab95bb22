//! `co-check convert`: histories from one format to another.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use checker::formats::{self, Format, Loss, WriteError};
use checker::observed::Observed;

use crate::input::ReadingArguments;
use crate::output::{Failure, STATUS_VALID, not_written, note};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConvertArguments {
    /// The history; `-` reads standard input
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Where it goes; `-` for standard output
    ///
    /// A file; of Cobra's logs a folder.
    #[arg(value_name = "TO", default_value = "-", verbatim_doc_comment)]
    to: PathBuf,
    /// The format to write
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Native, value_parser = writable)]
    into: Format,
    /// The history of a further site of the same case; may be repeated
    ///
    /// If FROM is the history of one of this project's sites.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    also: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
}

const EXAMPLES: &str = "\
Examples:
  co-check convert history.edn history.txt --into text
  co-check convert history.bincode | gzip > history.gz
  co-check convert a.hist --also b.hist case.native

`co-check formats` lists the formats, and which are written. Input may be
compressed with gzip or zstd.

What a format cannot hold and can be done without is said on standard error.
Without what it cannot do without, nothing is written.";

/// A format that is written.
fn writable(name: &str) -> Result<Format, String> {
    let written = || {
        let all = Format::ALL.into_iter();
        let all = all.filter(|format| format.conventions().is_written);
        all.map(Format::name).collect::<Vec<_>>().join(", ")
    };
    match name.parse::<Format>() {
        Ok(format) if format.conventions().is_written => Ok(format),
        Ok(format) => Err(format!("{format} is only read; written are {}", written())),
        Err(_) => Err(format!(
            "no format is called `{name}`; written are {}",
            written()
        )),
    }
}

impl ConvertArguments {
    /// What is converted, and whether sites wrote it.
    fn history(&self) -> Result<(Observed, bool), Failure> {
        let reading = &self.reading;
        let first = reading.open(&self.from)?;
        if first.is_sited() {
            let mut inputs = vec![first];
            inputs.extend(reading.open_all(&self.also)?);
            let sites = reading.bounds.read_sites(inputs)?;
            return Ok((formats::observe_sites(&sites)?, true));
        }
        if !self.also.is_empty() {
            let from = self.from.display();
            let why = format!("--also is for histories of sites, and {from} is none");
            return Err(Failure::Usage(why));
        }
        Ok((reading.read_input(first)?, false))
    }
}

/// Converts, and says the exit status.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<u8, Failure> {
    let (history, is_sited) = arguments.history()?;
    let failed = |source| not_written(&arguments.to, source);
    let into = arguments.into;
    let written = if into == Format::Cobra {
        formats::write_folder(&history, into, &arguments.to)
    } else if arguments.to == Path::new("-") {
        write(&history, into, io::stdout().lock())
    } else {
        write(&history, into, File::create(&arguments.to).map_err(failed)?)
    };
    let losses = match written {
        Ok(losses) => losses,
        // A reader that went away has what it wanted.
        Err(WriteError::Io(source)) if source.kind() == io::ErrorKind::BrokenPipe => Vec::new(),
        Err(WriteError::Io(source)) => return Err(failed(source)),
        Err(error) => return Err(Failure::Convert(error)),
    };
    if is_sited {
        note(&format!(
            "{into} does not hold the orders of versions and of decisions"
        ));
    }
    for loss in losses {
        note(&format!("{into} does not hold {loss}"));
    }
    Ok(STATUS_VALID)
}

fn write(history: &Observed, into: Format, out: impl io::Write) -> Result<Vec<Loss>, WriteError> {
    let mut out = BufWriter::new(out);
    let losses = formats::write(history, into, &mut out)?;
    out.flush()?;
    Ok(losses)
}
