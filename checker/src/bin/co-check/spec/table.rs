//! `co-check spec table`: all verdicts, next to what the sources claim.
//!
//! The table has sections, each with rows of its own kind; a new one is a line in [`SECTIONS`].

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use checker::spec::rows::{Finding, Row, rows};
use serde_json::{Value, json};

use super::{FORMAT, Match, Walk, row_json, row_named, said, sequence};
use crate::output::{
    Failure, Paint, STATUS_VALID, not_written, push, tame, worse, wrapped, write_to,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// These specifications only, by name; no other section
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
    only: Vec<String>,
    /// These sections only: specifications, invariants
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', conflicts_with = "only")]
    section: Vec<String>,
    /// Print it as JSON, with whole witnesses
    #[arg(long)]
    pub(super) json: bool,
    /// Print it as Markdown, also on a terminal
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print the whole witnesses below the table
    #[arg(long, conflicts_with = "json")]
    witnesses: bool,
    /// Draw each witness into a file of this folder, as SVG
    #[arg(long, value_name = "DIR")]
    svg_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) walk: Walk,
}

/// A part of the table.
struct Section {
    name: &'static str,
    decide: fn(&Arguments) -> Result<Decided, Failure>,
}

/// A section of which all is decided.
pub(super) struct Decided {
    pub(super) heading: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) cells: Vec<Vec<Cell>>,
    /// What stands below the cells.
    pub(super) notes: String,
    pub(super) json: Value,
    pub(super) status: u8,
}

/// What stands in a place of the table; whether it is as it should be, if that is the question.
pub(super) struct Cell {
    pub(super) words: String,
    pub(super) is_well: Option<bool>,
}

impl From<String> for Cell {
    fn from(words: String) -> Self {
        Self {
            words,
            is_well: None,
        }
    }
}

const SECTIONS: [Section; 2] = [
    Section {
        name: "specifications",
        decide: specifications,
    },
    Section {
        name: "invariants",
        decide: super::invariants::decided,
    },
];

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    for name in &arguments.section {
        if !SECTIONS.iter().any(|section| section.name == name) {
            let names = SECTIONS.map(|section| section.name).join(", ");
            return Err(Failure::Usage(format!(
                "no section is called `{name}`; there is {names}"
            )));
        }
    }
    let wanted = |section: &Section| {
        let mut names = arguments.section.iter();
        let usual = arguments.only.is_empty() || section.name == SECTIONS[0].name;
        arguments.section.is_empty() && usual || names.any(|name| name == section.name)
    };
    let mut all = json!({ "format": FORMAT });
    let mut text = String::new();
    let mut status = STATUS_VALID;
    let is_markdown = arguments.markdown || !std::io::stdout().is_terminal();
    for section in SECTIONS.iter().filter(|section| wanted(section)) {
        let decided = (section.decide)(arguments)?;
        status = worse(status, decided.status);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&if is_markdown {
            decided.markdown()
        } else {
            decided.plain(Paint::for_stdout())
        });
        all[section.name] = decided.json;
    }
    let text = if arguments.json {
        format!("{all:#}\n")
    } else {
        tame(&text)
    };
    write_to(Path::new("-"), &text)?;
    Ok(status)
}

impl Decided {
    fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = format!("## {}\n\n", self.heading);
        text.push_str(&line(&mut self.columns.iter().map(|it| (*it).to_owned())));
        text.push_str(&line(&mut self.columns.iter().map(|_| "---".to_owned())));
        for row in &self.cells {
            let cell = |cell: &Cell| match cell.is_well {
                Some(false) => format!("**{}**", cell.words.replace('|', "\\|")),
                Some(true) | None => cell.words.replace('|', "\\|"),
            };
            text.push_str(&line(&mut row.iter().map(cell)));
        }
        text + &self.notes
    }

    fn plain(&self, paint: Paint) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.cells.iter().map(|row| row[column].words.as_str());
                let all = cells.chain([self.columns[column]]);
                all.map(|words| words.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = (&str, Option<bool>)>| {
            let mut line = String::new();
            for ((words, is_well), width) in cells.zip(&widths) {
                let room = " ".repeat(width + 2 - words.chars().count());
                let shown = is_well.map_or_else(|| words.to_owned(), |it| paint.word(words, it));
                line.push_str(&shown);
                line.push_str(&room);
            }
            format!("{}\n", line.trim_end())
        };
        let mut text = format!("{}\n\n", self.heading);
        text.push_str(&line(&mut self.columns.iter().map(|words| (*words, None))));
        for row in &self.cells {
            text.push_str(&line(
                &mut row.iter().map(|cell| (cell.words.as_str(), cell.is_well)),
            ));
        }
        text + &self.notes
    }
}

const COLUMNS: &[&str] = &[
    "specification",
    "question",
    "claim",
    "found",
    "bound",
    "histories",
    "seconds",
    "a second and core",
    "commitments",
    "witness",
];

/// The column of the sequential commitments.
const ROUNDS: usize = 8;

/// The register, with a line for each question.
fn specifications(arguments: &Arguments) -> Result<Decided, Failure> {
    let rows = if arguments.only.is_empty() {
        rows()
    } else {
        let named = arguments.only.iter().map(|id| row_named(id));
        named.collect::<Result<_, _>>()?
    };
    if let Some(folder) = &arguments.svg_dir {
        std::fs::create_dir_all(folder).map_err(|source| not_written(folder, source))?;
    }
    let mut cells = Vec::new();
    let mut witnesses = String::new();
    let mut json = Vec::new();
    let mut kinds = Vec::new();
    let mut remarks = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut findings = Vec::new();
        for (question, judge) in row.judges() {
            let label = format!(
                "{} of {}, {}, {}",
                number + 1,
                rows.len(),
                row.id,
                question.name()
            );
            let finding = arguments.walk.judge(&label, judge);
            let kind = Match::of(row, &finding);
            if !kind.is_well() {
                remarks.push_str(&remark(row, &finding, kind));
            }
            draw(arguments, row, &finding)?;
            if let Some(witness) = finding.witness.as_ref().filter(|_| arguments.witnesses) {
                push(
                    &mut witnesses,
                    format_args!("\n```text\n{}```\n", witness.text()),
                );
            }
            cells.push(line(row, &finding, kind));
            kinds.push(kind);
            findings.push(finding);
        }
        let sequence = sequence(&arguments.walk, row);
        if let (Some(sequence), Some(first)) = (&sequence, findings.len().checked_sub(1)) {
            let line = cells.len() - 1 - first;
            cells[line][ROUNDS] = sequence.rounds.to_string().into();
        }
        json.push(row_json(row, &findings, sequence.as_ref()));
    }
    Ok(Decided {
        heading: "Specifications: can they be had without coordination?",
        columns: COLUMNS,
        cells,
        notes: summary(arguments, &kinds) + &remarks + &witnesses,
        json: Value::Array(json),
        status: kinds
            .iter()
            .fold(STATUS_VALID, |all, kind| worse(all, kind.status())),
    })
}

/// A line of the table.
fn line(row: &Row, finding: &Finding, kind: Match) -> Vec<Cell> {
    let examined = &finding.examined;
    let bound = finding.witness.as_ref().map_or_else(
        || format!("up to {} events", examined.events),
        |witness| format!("none below {} events", witness.size()),
    );
    let found = Cell {
        words: said(finding.holds, "no verdict").to_owned(),
        is_well: Some(kind.is_well()),
    };
    let witness = finding.witness.as_ref().map(|witness| witness.line());
    vec![
        row.id.to_owned().into(),
        finding.question.to_string().into(),
        said(finding.claim, "-").to_owned().into(),
        found,
        bound.into(),
        examined.histories.to_string().into(),
        format!("{:.2}", examined.seconds).into(),
        format!("{:.0}", examined.per_second_and_core()).into(),
        String::new().into(),
        witness.unwrap_or_default().into(),
    ]
}

/// What there is to say where the search does not agree with the source.
fn remark(row: &Row, finding: &Finding, kind: Match) -> String {
    let remark = if row.remark.is_empty() {
        "There is no remark."
    } else {
        row.remark
    };
    wrapped(&format!(
        "\n{}, {}: {}.\n  Claimed: {}; found: {}.\n  {remark}\n  Source: {}.\n",
        row.id,
        finding.question,
        kind.words(),
        said(finding.claim, "nothing"),
        said(finding.holds, "no verdict"),
        row.source,
    ))
}

fn summary(arguments: &Arguments, kinds: &[Match]) -> String {
    let count = |wanted: Match| kinds.iter().filter(|kind| **kind == wanted).count();
    let mut text = format!(
        "\nQuestions: {}. As claimed: {}; nothing claimed: {}; known findings: {}; contradicting their \
         source: {}; without a verdict: {}.\n",
        kinds.len(),
        count(Match::AsClaimed),
        count(Match::Unclaimed),
        count(Match::KnownFinding),
        count(Match::Contradicts),
        count(Match::NoVerdict),
    );
    text.push_str(
        "\"Up to N events\": all histories of the universe within that bound were looked at. \"None below N events\": the \
         witness has N events, and no history of the universe with fewer shows the same. `co-check spec show ID` draws it. \"Commitments\": how \
         many answers must follow each other under the best schedule, where that was counted; 1 if nobody waits.\n",
    );
    if count(Match::Contradicts) > 0 {
        text.push_str(&arguments.walk.caution());
    }
    wrapped(&text)
}

fn draw(arguments: &Arguments, row: &Row, finding: &Finding) -> Result<(), Failure> {
    if let (Some(folder), Some(witness)) = (&arguments.svg_dir, &finding.witness) {
        let name = format!("{}.{}.svg", row.id, finding.question.name());
        write_to(&folder.join(name), &witness.svg())?;
    }
    Ok(())
}
