//! `co-check spec list`: the specifications by name.

use std::path::Path;

use checker::spec::rows::{Question, rows};
use serde_json::{Value, json};

use super::{FORMAT, row_json};
use crate::output::{Failure, STATUS_VALID, push, show, write_to};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print them as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let rows = rows();
    if arguments.json {
        let rows: Vec<Value> = rows.iter().map(|row| row_json(row, &[], None)).collect();
        let all = json!({ "format": FORMAT, "specifications": rows });
        write_to(Path::new("-"), &format!("{all:#}\n"))?;
        return Ok(STATUS_VALID);
    }
    let mut text = String::new();
    for row in &rows {
        let questions: Vec<&str> = row.questions().map(Question::name).collect();
        push(
            &mut text,
            format_args!(
                "{}\n  {} ({})\n  asked: {}\n",
                row.id,
                row.title,
                row.source,
                questions.join(", ")
            ),
        );
    }
    show(&text)?;
    Ok(STATUS_VALID)
}
