//! Makes a history that is serializable by construction, and plants an anomaly in it if asked to.
//!
//! ```sh
//! cargo run --release -p checker --example generate -- --kind list-append --txns 100000 > list.edn
//! ```
//!
//! Sessions run transactions of distinct keys, half of whose operations are reads and half blind writes. A
//! transaction takes effect as a whole when its client is told that it committed, so the order of completions is a
//! serial order that real time agrees with. What is planted is of two transactions on two keys of their own, in the
//! middle.

mod store;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use checker::formats::{self, Format};
use clap::{Parser, ValueEnum};

use crate::store::{Kind, Plan, Plant};

#[derive(Debug, Parser)]
#[command(about = "Makes a history that is serializable by construction, but for what is planted")]
struct Arguments {
    /// What keys hold.
    #[arg(long, value_enum, default_value_t = Kind::ListAppend)]
    kind: Kind,
    /// How many transactions.
    #[arg(long, default_value_t = 1000)]
    txns: u32,
    /// How many sessions.
    #[arg(long, default_value_t = 20)]
    sessions: u32,
    /// How many operations a transaction has.
    #[arg(long, default_value_t = 8)]
    ops: u32,
    /// How many keys; half as many as transactions if not given.
    #[arg(long)]
    keys: Option<u32>,
    /// What to plant.
    #[arg(long, value_enum, default_value_t = Plant::None)]
    plant: Plant,
    /// In which format.
    #[arg(long, value_enum, default_value_t = Form::ElleEdn)]
    format: Form,
    /// Leaves real time out.
    #[arg(long)]
    untimed: bool,
    /// Another seed makes another history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to; standard output if not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    ElleEdn,
    ElleJson,
    Text,
    DbcopHist,
    Native,
}

impl Form {
    const fn format(self) -> Format {
        match self {
            Self::ElleEdn => Format::ElleEdn,
            Self::ElleJson => Format::ElleJson,
            Self::Text => Format::Text,
            Self::DbcopHist => Format::DbcopHist,
            Self::Native => Format::Native,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let plan = Plan {
        kind: arguments.kind,
        txns: arguments.txns,
        sessions: arguments.sessions,
        ops: arguments.ops,
        keys: arguments.keys,
        plant: arguments.plant,
        timed: !arguments.untimed,
        seed: arguments.seed,
    };
    let history = plan.run()?;
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    formats::write(&history, arguments.format.format(), &mut out)?;
    out.flush()?;
    Ok(())
}
