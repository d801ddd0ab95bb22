//! Judges histories by their anomalies, and says how long that took.
//!
//! ```sh
//! cargo run --release -p checker --example anomalies -- --model serializable list.edn
//! ```
#![allow(clippy::print_stdout, reason = "what the example is for")]

use std::path::PathBuf;
use std::time::Instant;

use checker::anomaly::{self, Options};
use checker::formats::{self, ReadOptions};
use checker::models::Model;
use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "Judges histories by their anomalies")]
struct Arguments {
    /// The models that should hold.
    #[arg(long = "model", value_parser = model, default_value = "strict-serializable")]
    models: Vec<Model>,
    /// Judges as Elle would.
    #[arg(long)]
    as_elle: bool,
    /// Says everything, as JSON.
    #[arg(long)]
    json: bool,
    /// The histories.
    paths: Vec<PathBuf>,
}

fn model(name: &str) -> Result<Model, String> {
    Model::parse(name).ok_or_else(|| format!("{name} is not the name of a model"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    for path in &arguments.paths {
        let begin = Instant::now();
        let history = formats::read_path(path, &ReadOptions::default())?;
        let loaded = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let models = arguments.models.iter().copied();
        let options = if arguments.as_elle {
            Options::as_elle(models)
        } else {
            Options::new(models)
        };
        let judgement = anomaly::judge(&history, &options);
        let judged = begin.elapsed().as_secs_f64();
        let name = path.display();
        println!(
            "{name}: {}, read in {loaded:.3} s, judged in {judged:.3} s",
            judgement.verdict.name()
        );
        if arguments.json {
            println!("{:#}", judgement.to_json(&history));
            continue;
        }
        for found in judgement.anomalies.iter().chain(&judgement.others) {
            println!("  {} ({})", found.name.name(), found.count);
            found
                .sentences
                .iter()
                .for_each(|sentence| println!("    {sentence}"));
        }
        judgement
            .reasons
            .iter()
            .for_each(|reason| println!("  {}: {reason}", reason.name()));
        println!("  not {:?}", judgement.ruled_out.not);
    }
    Ok(())
}
