//! `co-check verify`: re-checks the order that shows a history valid, in linear time.

use std::path::{Path, PathBuf};

use checker::assess::{Order, verify_order};
use checker::models::Model;
use checker::{SiteHistory, verify};

use crate::check::ReadingArguments;
use crate::history::read_file;
use crate::output::{Failure, Paint, STATUS_INVALID, STATUS_VALID, write_to};
use crate::replay::order_of_sites;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArguments {
    /// What `co-check --certificate` wrote.
    #[arg(value_name = "CERTIFICATE")]
    certificate: PathBuf,
    /// The history that it was written for; all of them, if they are those of our own sites.
    #[arg(required = true, value_name = "FILE")]
    histories: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
}

const EXAMPLES: &str = "\
Example:
  co-check history.edn --certificate order.json && co-check verify order.json history.edn

The transactions are executed in the order that the certificate says: every read must return what it returned, sessions
and real time must be kept if the model asks for them. Nothing of the judges' code has a part in it.

Exit status: 0 it shows the model, 1 it does not, 2 bad input.";

/// Re-checks, and says the exit status.
pub(crate) fn run(arguments: &VerifyArguments) -> Result<u8, Failure> {
    let path = &arguments.certificate;
    let text = std::fs::read_to_string(path).map_err(|source| Failure::Open {
        path: path.clone(),
        source,
    })?;
    let bad = |what: &str| {
        Failure::Usage(format!(
            "{} is no certificate: {what}; `co-check FILE --certificate` writes one",
            path.display()
        ))
    };
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
    if json["co-check"] != "certificate" || json["version"] != 1 {
        return Err(bad("its version is not 1"));
    }
    let model = json["model"].as_str().and_then(Model::parse);
    let model = model.ok_or_else(|| bad("it names no model"))?;
    let verified = if let Some(order) = order_of_sites(&json["order"]) {
        let files = arguments.histories.iter();
        let sites: Vec<SiteHistory> = files
            .map(|file| read_file(file))
            .collect::<Result<_, _>>()?;
        verify::verify(&sites, &order).map_err(|fault| fault.to_string())
    } else {
        let order = Order::from_json(&json["order"]).ok_or_else(|| bad("it has no order"))?;
        let [history] = arguments.histories.as_slice() else {
            return Err(bad("it is one of a single history"));
        };
        let history = arguments.reading.read(history)?;
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
    write_to(
        Path::new("-"),
        &format!("{word} {}: {what}\n", model.name()),
    )?;
    Ok(status)
}
