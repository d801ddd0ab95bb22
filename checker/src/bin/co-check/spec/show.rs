//! `co-check spec show`: the questions about one specification, and a smallest witness as a diagram.

use std::path::{Path, PathBuf};

use checker::spec::diagram::Diagram;
use checker::spec::rows::{Finding, Question, Row, Sequence};
use serde_json::json;

use super::{FORMAT, Match, Walk, row_json, row_named, said, sequence};
use crate::output::{
    Failure, Paint, STATUS_VALID, note, push, retract, show, tame, worse, wrapped, write_to,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its name, as `co-check spec list` has it
    #[arg(value_name = "ID")]
    id: String,
    /// Decide this question only
    #[arg(long, value_name = "QUESTION", value_parser = question)]
    question: Option<Question>,
    /// Draw the first witness into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same in the DOT language of Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Print what was found as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    walk: Walk,
}

fn question(name: &str) -> Result<Question, String> {
    let mut all = Question::ALL.into_iter();
    all.find(|question| question.name() == name).ok_or_else(|| {
        format!(
            "ask one of {}",
            Question::ALL.map(Question::name).join(", ")
        )
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let row = row_named(&arguments.id)?;
    if let Some(question) = arguments.question
        && !row.questions().any(|asked| asked == question)
    {
        let asked: Vec<&str> = row.questions().map(Question::name).collect();
        return Err(Failure::Usage(format!(
            "{} is not asked about `{}`; it is asked about {}",
            question.name(),
            row.id,
            asked.join(", ")
        )));
    }
    let wanted = |question: Question| arguments.question.is_none_or(|only| only == question);
    let findings: Vec<Finding> = row
        .judges()
        .filter(|(question, _)| wanted(*question))
        .map(|(question, judge)| {
            let label = format!("{}, {}", row.id, question.name());
            arguments.walk.judge(&label, judge)
        })
        .collect();
    let sequence = match arguments.question {
        None => sequence(&arguments.walk, &row),
        Some(_) => None,
    };
    if arguments.json {
        let mut all = row_json(&row, &findings, sequence.as_ref());
        all["format"] = json!(FORMAT);
        write_to(Path::new("-"), &format!("{all:#}\n"))?;
    } else {
        tell(&row, &findings, &arguments.walk)?;
        if let Some(sequence) = &sequence {
            tell_sequence(sequence)?;
        }
    }
    let witness = findings.iter().find_map(|finding| finding.witness.as_ref());
    draw(arguments, witness)?;
    let statuses = findings.iter().map(|it| Match::of(&row, it).status());
    Ok(statuses.fold(STATUS_VALID, worse))
}

fn draw(arguments: &Arguments, witness: Option<&Diagram>) -> Result<(), Failure> {
    let svg = (&arguments.svg, "<svg", witness.map(Diagram::svg));
    let dot = (&arguments.dot, "digraph history", witness.map(Diagram::dot));
    for (path, begins, picture) in [svg, dot] {
        match (path, picture) {
            (None, _) => {}
            (Some(path), Some(picture)) => write_to(path, &picture)?,
            (Some(path), None) => {
                let gone = if retract(path, begins)? {
                    ", and the earlier picture there was removed"
                } else {
                    ""
                };
                note(&format!(
                    "nothing to draw into {}: there is no witness{gone}",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

fn tell(row: &Row, findings: &[Finding], walk: &Walk) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    show(&format!("{}: {} ({})\n", row.id, row.title, row.source))?;
    if !row.remark.is_empty() {
        show(&format!("{}\n", row.remark))?;
    }
    for finding in findings {
        let kind = Match::of(row, finding);
        let found = paint.word(said(finding.holds, "no verdict"), kind.is_well());
        let claim = kind.words();
        let mut text = String::new();
        push(
            &mut text,
            format_args!(
                "\n{}? {found} ({claim})\n{}\n",
                finding.question,
                finding.bound()
            ),
        );
        push(
            &mut text,
            format_args!(
                "{:.2} s, {:.0} histories a second and core ({} threads)\n",
                finding.examined.seconds,
                finding.examined.per_second_and_core(),
                finding.examined.threads
            ),
        );
        if kind == Match::Contradicts {
            text.push_str(&wrapped(&walk.caution()));
        }
        show(&text)?;
        if let Some(witness) = &finding.witness {
            tell_witness(witness)?;
        }
    }
    Ok(())
}

fn tell_sequence(sequence: &Sequence) -> Result<(), Failure> {
    show(&format!(
        "\nsequential commitments: {} ({})\n",
        sequence.rounds, sequence.examined
    ))?;
    if sequence.rounds > 1 {
        tell_witness(&sequence.history)?;
    }
    Ok(())
}

/// The diagram as it is, since it would fall apart if its lines were broken, and the sentences as text.
fn tell_witness(witness: &Diagram) -> Result<(), Failure> {
    let bare = Diagram {
        sentences: Vec::new(),
        ..witness.clone()
    };
    let sentences = format!("{}\n", witness.sentences.join("\n"));
    let text = format!("\n{}{}", bare.text(), wrapped(&sentences));
    write_to(Path::new("-"), &tame(&text))
}
