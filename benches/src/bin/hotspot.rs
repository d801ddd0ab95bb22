//! One hot record at one of two sites, under two-phase commit with slow messages: what withheld and dependent votes
//! make of it, against strong strict two-phase locking.
//!
//! In virtual time (see [`benches::hotspot`]), so the figures repeat; every run is judged by the checker.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::process::ExitCode;

use benches::hotspot::{DELAY_MICROS, Figures, Setting, run};
use clap::Parser;
use participant::engine::EngineKind;
use serde_json::json;

/// Commits a second on one hot record of a distributed transaction, by engine and kind of vote.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cargo run --release -p benches --bin hotspot\n  \
    cargo run --release -p benches --bin hotspot -- --clients 64 --seconds 60 --json\n\n\
    Exits with 1 when a run is not serializable and commitment ordered."
)]
struct Arguments {
    /// How many clients, one run each; may be repeated.
    #[arg(long, default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// Seconds of virtual time for each run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// One JSON object for each run instead of a table.
    #[arg(long)]
    json: bool,
}

const SETTINGS: [(&str, Setting); 4] = [
    ("ss2pl", setting(EngineKind::Ss2pl, false)),
    ("sco, withheld", setting(EngineKind::Sco, false)),
    ("shared, withheld", setting(EngineKind::Shared, false)),
    ("shared, dependent", setting(EngineKind::Shared, true)),
];

const fn setting(engine: EngineKind, dependent: bool) -> Setting {
    Setting { engine, dependent }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.json {
        let delay = DELAY_MICROS / 1000;
        println!("virtual time, {delay} ms for each message, every run judged\n");
        println!(
            "{:<18} {:>7} {:>10} {:>9} {:>7} {:>8} {:>9} {:>9} {:>10}",
            "votes",
            "clients",
            "commits/s",
            "x ss2pl",
            "aborts",
            "given up",
            "cascades",
            "cascaded",
            "dependent"
        );
    }
    for clients in arguments.clients {
        let mut base = None;
        for (name, setting) in SETTINGS {
            let figures = match run(setting, clients, arguments.seconds) {
                Ok(figures) => figures,
                Err(why) => {
                    eprintln!("{name}, {clients} clients: {why}");
                    return ExitCode::FAILURE;
                }
            };
            let times = figures.per_second / *base.get_or_insert(figures.per_second);
            show(name, clients, &figures, times, arguments.json);
        }
    }
    ExitCode::SUCCESS
}

fn show(name: &str, clients: usize, figures: &Figures, times: f64, as_json: bool) {
    if as_json {
        let line = json!({
            "votes": name,
            "clients": clients,
            "commits_per_second": figures.per_second,
            "times_ss2pl": times,
            "commits": figures.commits,
            "aborts": figures.aborts,
            "given_up": figures.given_up,
            "cascades": figures.cascades,
            "cascaded": figures.cascaded,
            "dependent_votes": figures.dependent_votes,
            "valid": ["ser", "co"],
        });
        println!("{line}");
        return;
    }
    println!(
        "{name:<18} {clients:>7} {:>10.1} {times:>9.1} {:>7} {:>8} {:>9} {:>9} {:>10}",
        figures.per_second,
        figures.aborts,
        figures.given_up,
        figures.cascades,
        figures.cascaded,
        figures.dependent_votes
    );
}
