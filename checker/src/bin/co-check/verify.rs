//! `co-check verify`: re-checks the order that shows a history valid, in linear time.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use checker::assess::{Order, verify_order};
use checker::models::Model;
use checker::verify;

use crate::input::ReadingArguments;
use crate::output::{Failure, Paint, STATUS_INVALID, STATUS_VALID, show};
use crate::replay::order_of_sites;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArguments {
    /// What `co-check --certificate` wrote
    #[arg(value_name = "CERTIFICATE")]
    certificate: PathBuf,
    /// The history that it was written for; of sites, all of them
    #[arg(required = true, value_name = "FILE")]
    histories: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
}

const EXAMPLES: &str = "\
Example:
  co-check history.edn --certificate order.json
  co-check verify order.json history.edn

The transactions are executed in the order that the certificate says: every read
must return what it returned, sessions and real time must be kept if the model
asks for them. Nothing of the judges' code has a part in it.

Exit status: 0 it shows the model, 1 it does not, 2 bad input.";

/// Re-checks, and says the exit status.
pub(crate) fn run(arguments: &VerifyArguments) -> Result<u8, Failure> {
    let path = &arguments.certificate;
    let failed = |source| Failure::Open {
        path: path.clone(),
        source,
    };
    // What is parsed takes some times as much again.
    let limit = arguments.reading.bounds.memory_bytes() / 8;
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let count = file.take(limit.saturating_add(1)).read_to_string(&mut text);
    let count = count.map_err(failed)? as u64;
    let bad = |what: &str| {
        Failure::Usage(format!(
            "{} is no certificate: {what}; `co-check FILE --certificate` writes one",
            path.display()
        ))
    };
    if count > limit {
        return Err(bad("it is larger than an eighth of --max-memory"));
    }
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
    if json["co-check"] != "certificate" || json["version"] != 1 {
        return Err(bad("its version is not 1"));
    }
    let model = json["model"].as_str().and_then(Model::parse);
    let model = model.ok_or_else(|| bad("it names no model"))?;
    let reading = &arguments.reading;
    let verified = if let Some(order) = order_of_sites(&json["order"]) {
        let inputs = reading.open_all(&arguments.histories)?;
        let sites = reading.bounds.read_sites(inputs)?;
        verify::verify(&sites, &order).map_err(|fault| fault.to_string())
    } else {
        let order = Order::from_json(&json["order"]).ok_or_else(|| bad("it has no order"))?;
        let [history] = arguments.histories.as_slice() else {
            return Err(bad("it is one of a single history"));
        };
        let history = reading.read(history)?;
        verify_order(&history, model, &order).map_err(|fault| fault.to_string())
    };
    let paint = Paint::for_stdout();
    let (word, what, status) = match verified {
        Ok(()) => (
            paint.valid(),
            "the order explains every read".to_owned(),
            STATUS_VALID,
        ),
        Err(fault) => (paint.invalid(), fault, STATUS_INVALID),
    };
    show(&format!("{word} {}: {what}\n", model.name()))?;
    Ok(status)
}
