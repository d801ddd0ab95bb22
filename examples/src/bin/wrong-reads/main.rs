//! Counts wrong reads over two real databases, without a global order and with one.
#![allow(
    clippy::multiple_crate_versions,
    reason = "the database clients bring what they bring"
)]

mod args;
mod client;
mod cluster;
mod plot;
mod random;
mod run;
mod table;
mod variant;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::run::Measured;

fn main() -> ExitCode {
    let args = Args::parse().complete();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => run::all(&args, &runtime).and_then(|cells| report(&args, &cells)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "wrong-reads: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn report(args: &Args, measured: &Measured) -> anyhow::Result<ExitCode> {
    let markdown = table::markdown(measured);
    let text = if args.json {
        serde_json::to_string_pretty(measured)?
    } else {
        markdown.clone()
    };
    writeln!(std::io::stdout(), "{text}")?;
    if let Some(path) = &args.markdown {
        std::fs::write(path, &markdown)?;
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, plot::svg(measured))?;
    }
    Ok(match measured.broken().next() {
        None => ExitCode::SUCCESS,
        Some(cell) => {
            let mut stderr = std::io::stderr();
            writeln!(
                stderr,
                "wrong-reads: an ordered variant was wrong: {cell:?}"
            )?;
            ExitCode::from(1)
        }
    })
}
