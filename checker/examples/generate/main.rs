//! Makes a history that is serializable by construction, and plants an anomaly in it if asked to; or, with `--store`,
//! one of a store that runs transactions beside each other.
//!
//! ```sh
//! cargo run --release -p checker --example generate -- --kind list-append --txns 100000 > list.edn
//! cargo run --release -p checker --example generate -- --store snapshot --distribution zipf --reads 80 \
//!     --plant lost-update --txns 10000 --sessions 24 > registers.txt
//! ```
//!
//! Sessions run transactions of distinct keys, half of whose operations are reads and half blind writes. A
//! transaction takes effect as a whole when its client is told that it committed, so the order of completions is a
//! serial order that real time agrees with. What is planted is of two transactions on two keys of their own, in the
//! middle.
//!
//! A store that runs transactions beside each other (`concurrent`) holds registers, and its history is text; what is
//! planted in it is on keys that others use.

mod concurrent;
mod distribution;
mod planted;
mod store;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use checker::formats::{self, Format};
use clap::{Parser, ValueEnum};

use crate::concurrent::{Discipline, Lines, Workload};
use crate::distribution::Distribution;
use crate::planted::Violation;
use crate::store::{Kind, Plan, Plant};

#[derive(Debug, Parser)]
#[command(about = "Makes a history of a store whose isolation is known, but for what is planted")]
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
    #[arg(long, value_enum, default_value_t = Violation::None)]
    plant: Violation,
    /// In which format; EDN if not given, or text of a store that runs transactions beside each other.
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// What keeps transactions apart that run beside each other; without, they run one at a time.
    #[arg(long, value_enum)]
    store: Option<Discipline>,
    #[command(flatten)]
    mix: Mix,
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

/// What transactions that run beside each other do.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Mix {
    /// How keys are drawn.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Of a hundred operations, how many are reads.
    #[arg(long, default_value_t = 50)]
    reads: u32,
    /// Of a hundred writes, how many read the key before.
    #[arg(long, default_value_t = 0)]
    modify: u32,
    /// Of a thousand transactions, how many only read, and eight times as much.
    #[arg(long, default_value_t = 0)]
    long: u32,
    /// Of a hundred snapshots of those that only read, how many are taken in the past.
    #[arg(long, default_value_t = 0)]
    stale: u32,
    /// In which order the transactions are listed.
    #[arg(long, value_enum, default_value_t = Lines::Sessions)]
    lines: Lines,
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
    let (history, form) = match arguments.store {
        None => (one_at_a_time(&arguments)?.run()?, Form::ElleEdn),
        Some(discipline) => (beside(&arguments, discipline).run()?, Form::Text),
    };
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let form = arguments.format.unwrap_or(form);
    formats::write(&history, form.format(), &mut out)?;
    out.flush()?;
    Ok(())
}

fn one_at_a_time(arguments: &Arguments) -> Result<Plan, &'static str> {
    let plant = match arguments.plant {
        Violation::None => Plant::None,
        Violation::WriteSkew => Plant::WriteSkew,
        Violation::LostUpdate => Plant::LostUpdate,
        Violation::G1c => Plant::G1c,
        Violation::LongFork | Violation::Causality | Violation::LongCycle => {
            return Err("this is planted in a --store only");
        }
    };
    Ok(Plan {
        kind: arguments.kind,
        txns: arguments.txns,
        sessions: arguments.sessions,
        ops: arguments.ops,
        keys: arguments.keys,
        plant,
        timed: !arguments.untimed,
        seed: arguments.seed,
    })
}

fn beside(arguments: &Arguments, discipline: Discipline) -> Workload {
    let mix = arguments.mix;
    Workload {
        discipline,
        txns: arguments.txns,
        sessions: arguments.sessions.max(1),
        ops: arguments.ops,
        keys: arguments.keys.unwrap_or(arguments.txns / 2),
        distribution: mix.distribution,
        reads: mix.reads,
        modify: mix.modify,
        long: mix.long,
        stale: mix.stale,
        violation: arguments.plant,
        lines: mix.lines,
        timed: !arguments.untimed,
        seed: arguments.seed,
    }
}
