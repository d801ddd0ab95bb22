//! `co-check levels`: the models, what they imply, and what rules them out.

use std::path::Path;

use checker::assess::level_name;
use checker::models::{Anomaly, Model};
use checker::weak;
use serde_json::json;

use crate::output::{Failure, STATUS_VALID, push, write_to};

#[derive(Debug, clap::Args)]
pub(crate) struct LevelsArguments {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the models, the strongest first.
pub(crate) fn run(arguments: &LevelsArguments) -> Result<u8, Failure> {
    let forbids = |model: Model| -> Vec<&'static str> {
        // The weakest only: what rules out a weaker model rules out this one, too.
        let all = Anomaly::ALL.iter().copied();
        all.filter(|&it| checker::models::rules_out([it]).not.contains(model))
            .map(Anomaly::name)
            .collect()
    };
    let models = || Model::ALL.iter().rev().copied();
    let text = if arguments.json {
        let all: Vec<_> = models()
            .map(|model| {
                let implies: Vec<_> = model.weaker().iter().map(|it| it.name()).collect();
                json!({
                    "name": model.name(),
                    "aliases": model.aliases(),
                    "implies": implies,
                    "first-ruled-out-by": forbids(model),
                })
            })
            .collect();
        let sessions: Vec<_> = weak::Level::ALL.map(level_name).to_vec();
        format!("{:#}\n", json!({ "models": all, "sessions": sessions }))
    } else {
        let mut text = String::from("Models, the strongest first:\n");
        for model in models() {
            let implies: Vec<_> = model.weaker().iter().map(|it| it.name()).collect();
            push(&mut text, format_args!("\n{}", model.name()));
            if !model.aliases().is_empty() {
                push(&mut text, format_args!(" ({})", model.aliases().join(", ")));
            }
            text.push('\n');
            if !implies.is_empty() {
                push(
                    &mut text,
                    format_args!("  implies      {}\n", implies.join(", ")),
                );
            }
            let forbids = forbids(model);
            if !forbids.is_empty() {
                push(
                    &mut text,
                    format_args!("  ruled out by {}\n", forbids.join(", ")),
                );
            }
        }
        text.push_str(
            "\nLevels with sessions, for registers (Biswas and Enea 2019; Terry et al. 1994):\n",
        );
        for level in weak::Level::ALL {
            push(&mut text, format_args!("  {}\n", level_name(level)));
        }
        text.push_str("\nFor histories of our own sites also: commitment-ordering, extended-commitment-ordering,\nsession-commitment-ordering, real-time-commitment-ordering\n");
        text
    };
    write_to(Path::new("-"), &text)?;
    Ok(STATUS_VALID)
}
