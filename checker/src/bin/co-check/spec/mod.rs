//! `co-check spec`: which specifications need coordination, found by looking at every history of a bounded universe.

mod invariants;
mod list;
mod show;
mod table;
mod watch;

use std::num::NonZeroUsize;

use checker::spec::rows::{Finding, Judge, Question, Row, Sequence, rows};
use checker::spec::{Options, Progress};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::output::{Failure, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID};

/// The version of what `--json` writes about specifications.
const FORMAT: u32 = 1;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the specifications, what is asked about each, and its source
    List(list::Arguments),
    /// Decide all questions, and compare with what the sources claim
    Table(table::Arguments),
    /// Decide the questions about one specification, and draw why not
    Show(show::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  co-check spec list                  the specifications by name
  co-check spec table                 all verdicts, next to what papers claim;
                                      a minute or two
  co-check spec table --section specifications
                                      without the invariants; some seconds
  co-check spec table --only linearizable-register --json
                                      for programs
  co-check spec table --section invariants
                                      invariant confluence, TPC-C included
  co-check spec show linearizable-register
                                      a verdict, its bound, and a smallest
                                      witness as a diagram
  co-check spec show linearizable-register --question monotone --svg why.svg
                                      the witness as a picture

Exit status: 0 found as claimed, or a known finding; 1 something else was found;
2 no verdict, or bad input.";

impl Arguments {
    /// Whether a program reads the answer.
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            Command::List(arguments) => arguments.json,
            Command::Table(arguments) => arguments.json,
            Command::Show(arguments) => arguments.json,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Table(arguments) => table::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

/// How universes are walked.
#[derive(Debug, clap::Args)]
struct Walk {
    /// Histories of up to N events, instead of each specification's own bound
    #[arg(long, value_name = "N")]
    events: Option<usize>,
    /// How many threads; as many as there are cores by default
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Look at all renamed copies of a history, not at one of them
    #[arg(long)]
    no_symmetry: bool,
}

impl Walk {
    fn options<'a>(&self, progress: &'a Progress) -> Options<'a> {
        let usual = Options::default();
        Options {
            events: self.events,
            threads: self.threads.map_or(usual.threads, NonZeroUsize::get),
            symmetry: !self.no_symmetry,
            progress: Some(progress),
        }
    }

    /// What there is to say of a contradiction, if the bound is not the specification's own.
    fn caution(&self) -> String {
        self.events.map_or_else(String::new, |events| {
            format!(
                "With --events {events}, a witness may lie beyond the bound: without it, each specification has its own.\n"
            )
        })
    }

    /// Decides a question, while a terminal shows how far it is.
    fn judge(&self, label: &str, judge: &Judge) -> Finding {
        watch::watched(label, |progress| judge(&self.options(progress)))
    }
}

/// Counts the sequential commitments of a specification, if that is asked of it, while a terminal shows how far it is.
fn sequence(walk: &Walk, row: &Row) -> Option<Sequence> {
    let label = format!("{}, sequential commitments", row.id);
    watch::watched(&label, |progress| row.sequence(&walk.options(progress)))
}

/// The specification of a name, or what is called nearly so.
fn row_named(id: &str) -> Result<Row, Failure> {
    let mut rows = rows();
    if let Some(place) = rows.iter().position(|row| row.id == id) {
        return Ok(rows.swap_remove(place));
    }
    let mut near: Vec<&str> = rows.iter().map(|row| row.id).collect();
    near.sort_by_key(|other| (distance(id, other), *other));
    near.truncate(3);
    Err(Failure::Usage(format!(
        "no specification is called `{id}`; near it are {}; `co-check spec list` lists all",
        near.join(", ")
    )))
}

/// How many letters have to be put in, left out or changed to get from one name to another (Levenshtein). Letters that are
/// put in count little: the beginning of a name is near it.
fn distance(from: &str, to: &str) -> usize {
    const CHANGED: usize = 4;
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for letter in from.chars() {
        let mut diagonal = row[0];
        row[0] += CHANGED;
        for (place, other) in to.iter().enumerate() {
            let same = diagonal + if letter == *other { 0 } else { CHANGED };
            diagonal = row[place + 1];
            row[place + 1] = same.min(diagonal + CHANGED).min(row[place] + 1);
        }
    }
    row[to.len()]
}

/// `yes`, `no`, or what is instead of an answer.
fn said(answer: Option<bool>, otherwise: &'static str) -> &'static str {
    answer.map_or(otherwise, |holds| if holds { "yes" } else { "no" })
}

/// How what was found compares with the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// The source claims the same.
    AsClaimed,
    /// The source claims nothing.
    Unclaimed,
    /// It is known that the source claims something else.
    KnownFinding,
    /// The source claims something else.
    Contradicts,
    /// The specification got no verdict.
    NoVerdict,
}

impl Match {
    fn of(row: &Row, finding: &Finding) -> Self {
        match (finding.holds, finding.contradicts()) {
            (_, true) if row.is_known(finding.question) => Self::KnownFinding,
            (None, _) => Self::NoVerdict,
            (Some(_), true) => Self::Contradicts,
            (Some(_), false) if finding.claim.is_none() => Self::Unclaimed,
            (Some(_), false) => Self::AsClaimed,
        }
    }

    const fn status(self) -> u8 {
        match self {
            Self::AsClaimed | Self::Unclaimed | Self::KnownFinding => STATUS_VALID,
            Self::Contradicts => STATUS_INVALID,
            Self::NoVerdict => STATUS_UNKNOWN,
        }
    }

    /// Whether there is nothing to explain.
    const fn is_well(self) -> bool {
        matches!(self, Self::AsClaimed | Self::Unclaimed)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::AsClaimed => "as claimed",
            Self::Unclaimed => "the source does not say",
            Self::KnownFinding => "a finding: the source claims otherwise, see the remark",
            Self::Contradicts => "the source claims otherwise",
            Self::NoVerdict => "no verdict",
        }
    }
}

/// A specification for programs, with what was found.
fn row_json(row: &Row, findings: &[Finding], sequence: Option<&Sequence>) -> Value {
    let findings: Vec<Value> = findings.iter().map(|it| finding_json(row, it)).collect();
    let questions: Vec<&str> = row.questions().map(Question::name).collect();
    json!({
        "id": row.id,
        "title": row.title,
        "source": row.source,
        "remark": row.remark,
        "questions": questions,
        "findings": findings,
        "sequential-commitments": sequence,
    })
}

fn finding_json(row: &Row, finding: &Finding) -> Value {
    let verdict = said(finding.holds, "no verdict");
    let kind = Match::of(row, finding);
    json!({
        "question": finding.question.name(),
        "verdict": verdict,
        "claim": finding.claim,
        "finding": matches!(kind, Match::KnownFinding | Match::Contradicts),
        "known": kind == Match::KnownFinding,
        "bound": finding.bound(),
        "examined": finding.examined,
        "per-second-and-core": finding.examined.per_second_and_core(),
        "witness": finding.witness,
    })
}
