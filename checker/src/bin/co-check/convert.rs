//! `co-check convert`: histories from one format to another.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use checker::formats::{self, Format};

use crate::check::ReadingArguments;
use crate::history::read_file;
use crate::output::{Failure, STATUS_VALID};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConvertArguments {
    /// The history; `-` reads standard input.
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Where it goes: a file (of Cobra's logs a folder), or `-` for standard output.
    #[arg(value_name = "TO", default_value = "-")]
    to: PathBuf,
    /// The format to write.
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Native)]
    into: Format,
    /// The history of a further site of the same case, if FROM is the history of one of our own sites; may be repeated.
    #[arg(long, value_name = "FILE")]
    also: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
}

const EXAMPLES: &str = "\
Formats:
  native      our own, in which nothing is lost          read, written
  elle-edn    Jepsen's operations, as Elle takes them    read, written
  elle-json   the same in JSON, as elle-cli takes them   read, written
  text        r(key,value,session,transaction): Plume,
              AWDIT, PolySI, IsoVista                    read, written
  dbcop-hist  dbcop's notation [x:=1 y==2]               read, written
  dbcop       dbcop's binary files                       read, written
  dbcop-json  dbcop's JSON                               read, written
  cobra       a folder of Cobra's logs                   read, written
  timekiller  TimeKiller's (Chronos's, Aion's) JSON      read
  vbox        a folder of Vbox's logs                    read
  viper       a folder of ViperBench's JSON logs         read
  sites       the histories of our own sites             read
All may be compressed with gzip or zstd.

Examples:
  co-check convert history.edn history.txt --into text
  co-check convert history.bincode | gzip > history.gz
  co-check convert a.hist --also b.hist case.native

What a format cannot hold and can be done without is said on standard error. Without what it cannot do without,
nothing is written.";

/// Converts, and says the exit status.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<u8, Failure> {
    let is_sited = arguments.reading.is_sited(&arguments.from);
    let history = if is_sited {
        let all = std::iter::once(&arguments.from).chain(&arguments.also);
        let sites = all
            .map(|path| read_file(path))
            .collect::<Result<Vec<_>, _>>()?;
        formats::observe_sites(&sites)?
    } else if arguments.also.is_empty() {
        arguments.reading.read(&arguments.from)?
    } else {
        let from = arguments.from.display();
        let why = format!("--also is for histories of our own sites, and {from} is none");
        return Err(Failure::Usage(why));
    };
    let failed = |source| Failure::Write {
        path: arguments.to.clone(),
        source,
    };
    let losses = if arguments.into == Format::Cobra {
        formats::write_folder(&history, arguments.into, &arguments.to)?
    } else if arguments.to == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        let losses = formats::write(&history, arguments.into, &mut out)?;
        out.flush().map_err(failed)?;
        losses
    } else {
        let mut out = BufWriter::new(File::create(&arguments.to).map_err(failed)?);
        let losses = formats::write(&history, arguments.into, &mut out)?;
        out.flush().map_err(failed)?;
        losses
    };
    let into = arguments.into;
    if is_sited {
        // As below.
        writeln!(
            io::stderr(),
            "co-check: {into} does not hold the orders of versions and of decisions"
        )
        .ok();
    }
    for loss in losses {
        // The file is written, should standard error be closed.
        writeln!(io::stderr(), "co-check: {into} does not hold {loss}").ok();
    }
    Ok(STATUS_VALID)
}
