//! `co-check levels`: the models, what they imply, and what rules them out.

use std::path::Path;

use checker::assess::level_name;
use checker::models::Model;
use checker::{Level, weak};
use serde_json::json;

use crate::explain::{first_ruled_out_by, name_of_sites, weak_words, words_of_sites};
use crate::output::{Failure, STATUS_VALID, push, show, write_to};

#[derive(Debug, clap::Args)]
pub(crate) struct LevelsArguments {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// The levels that histories of sites are judged for besides.
const OF_SITES: [Level; 4] = [
    Level::CommitmentOrdering,
    Level::ExtendedCommitmentOrdering,
    Level::SessionCommitmentOrdering,
    Level::RealtimeCommitmentOrdering,
];

/// Lists the models, the strongest first.
pub(crate) fn run(arguments: &LevelsArguments) -> Result<u8, Failure> {
    if arguments.json {
        write_to(Path::new("-"), &format!("{:#}\n", as_json()))?;
    } else {
        show(&as_text())?;
    }
    Ok(STATUS_VALID)
}

fn as_json() -> serde_json::Value {
    let models = Model::ALL.iter().rev().map(|model| {
        let implies: Vec<_> = model.weaker().iter().map(|it| it.name()).collect();
        json!({
            "name": model.name(),
            "aliases": model.aliases(),
            "definition": model.definition(),
            "source": model.source(),
            "implies": implies,
            "first-ruled-out-by": first_ruled_out_by(*model),
        })
    });
    let sessions: Vec<_> = weak::Level::ALL.map(level_name).to_vec();
    json!({
        "models": models.collect::<Vec<_>>(),
        "sessions": sessions,
        "sites": OF_SITES.map(name_of_sites),
    })
}

fn as_text() -> String {
    let mut text =
        String::from("Models, the strongest first (`co-check explain NAME` has their sources):\n");
    for model in Model::ALL.iter().rev() {
        push(&mut text, format_args!("\n{}", model.name()));
        if !model.aliases().is_empty() {
            push(&mut text, format_args!(" ({})", model.aliases().join(", ")));
        }
        push(&mut text, format_args!("\n  {}\n", model.definition()));
        let implies: Vec<_> = model.weaker().iter().map(|it| it.name()).collect();
        for (label, names) in [
            ("implies      ", implies),
            ("ruled out by ", first_ruled_out_by(*model)),
        ] {
            if !names.is_empty() {
                push(&mut text, format_args!("  {label}{}\n", names.join(", ")));
            }
        }
    }
    text.push_str("\nLevels with sessions, for registers:\n\n");
    for level in weak::Level::ALL {
        let (words, _) = weak_words(level);
        push(
            &mut text,
            format_args!("{}\n  {words}\n", level_name(level)),
        );
    }
    text.push_str("\nFor the histories of sites also:\n\n");
    for level in OF_SITES {
        let (words, _) = words_of_sites(level);
        push(
            &mut text,
            format_args!("{}\n  {words}\n", name_of_sites(level)),
        );
    }
    text
}
