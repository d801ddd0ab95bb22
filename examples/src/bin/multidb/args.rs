//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum, value_parser};

use crate::site::Sites;
use crate::workload::Sizes;

const EXAMPLES: &str = "\
Examples:
  multidb                              both runs, ten seconds each
  multidb --ordering on --seconds 60   one longer run, with ordering
  multidb --clients 64 --hot 1         as hot as it gets
  multidb --sites postgres,postgres    two PostgreSQL servers, started for this
  multidb --sites postgres,mariadb,mvcc,optimistic
                                       two servers and two engines of this project
  multidb --json > report.json         the report for a program
  multidb --data kept                  keep logs and histories; then judge them again:
  co-check history kept/off/*.hist --per-site

Exit status:
  0  every run with ordering on was clean
  1  a run with ordering on showed an anomaly
  2  the demonstration could not be carried out";

/// Shows what commitment ordering adds to two-phase commit.
///
/// Starts a coordinator and three participants, each a process of its own with another concurrency
/// control: strict two-phase locking (A), optimistic (B), multi-version (C); or those that --sites names,
/// database servers among them. Runs the same requests
/// from many clients twice: with plain two-phase commit, and with ordered votes. Looks for states that
/// no serial execution can show, and lets the checker judge what the sites recorded.
#[derive(Parser, Clone, Debug)]
#[command(name = "multidb", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) process: Option<Process>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What a demonstration can be told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What is behind the sites A, B and so on: engines (ss2pl, sco, optimistic, mvcc, shared) and database servers
    /// (postgres, mariadb), which are started for the demonstration and removed after it; up to eight, and some more
    /// than once if you like.
    #[arg(long, value_name = "KIND,...", default_value = "ss2pl,optimistic,mvcc")]
    sites: Sites,
    /// Clients that work at the same time.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) clients: u32,
    /// How long the clients work in each run.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Accounts at each site.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(2..=1000))]
    pub(crate) accounts: u32,
    /// How many of each shared thing there are; fewer are hotter.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) hot: u32,
    /// Selects what the clients ask for; the same seed asks for the same.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Whether votes are ordered; `both` runs without ordering first.
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    pub(crate) ordering: Choice,
    /// Prints one JSON document, and nothing else, on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Port of the coordinator on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Folder for logs and histories, which are kept; without it they go to a temporary folder.
    #[arg(long, visible_alias = "keep", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// The runs to carry out.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    On,
    Off,
    Both,
}

/// Whether the sites order their votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ordering {
    Off,
    On,
}

/// This program as one of its own processes: the very commands `coco` and `participant`.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Process {
    /// The command `coco`.
    #[command(hide = true)]
    Coco(coco::command::Args),
    /// The command `participant`.
    #[command(hide = true)]
    Participant(participant::command::Args),
    /// The command `adapter`.
    #[command(hide = true)]
    Adapter(adapters::command::Args),
}

impl Options {
    /// The sites.
    pub(crate) const fn sites(&self) -> Sites {
        self.sites
    }

    /// How much data there is.
    pub(crate) const fn sizes(&self) -> Sizes {
        Sizes {
            sites: self.sites,
            accounts: self.accounts,
            hot: self.hot,
        }
    }
}

impl Choice {
    /// The runs, in order.
    pub(crate) const fn runs(self) -> &'static [Ordering] {
        match self {
            Self::On => &[Ordering::On],
            Self::Off => &[Ordering::Off],
            Self::Both => &[Ordering::Off, Ordering::On],
        }
    }
}

impl Ordering {
    /// As an argument, a folder and in reports.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_plain_command_runs_both_ways() {
        let args = Args::parse_from(["multidb"]);
        assert!(args.process.is_none());
        assert_eq!(args.options.ordering.runs(), [Ordering::Off, Ordering::On]);
        assert_eq!((args.options.clients, args.options.seconds), (16, 10));
        assert_eq!(args.options.sites(), Sites::USUAL);
    }

    #[test]
    fn out_of_range_numbers_are_refused() {
        for bad in [
            ["--clients", "0"],
            ["--seconds", "0"],
            ["--accounts", "1"],
            ["--hot", "0"],
            ["--sites", ""],
            ["--sites", "mvcc,oracle"],
            ["--sites", "mvcc,mvcc,mvcc,mvcc,mvcc,mvcc,mvcc,mvcc,mvcc"],
        ] {
            assert!(
                Args::try_parse_from(std::iter::once("multidb").chain(bad)).is_err(),
                "{bad:?}"
            );
        }
    }
}
