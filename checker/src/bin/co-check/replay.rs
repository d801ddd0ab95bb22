//! Histories of our own sites are replayed before anything else is done with them, since nearly all are commitment
//! ordered; and the order that shows it is written down.

use std::path::{Path, PathBuf};

use checker::replay::{Options, Replayed, replay_files};
use checker::{Report, Token, TxnId, TxnRef, Verdict};
use serde_json::{Value as Json, json};

use crate::input::Input;
use crate::output::{Failure, note, write_to};

/// Replays the files, if they can be read twice: what is not decided here is read again.
pub(crate) fn replayed(inputs: &[Input], with_order: bool, max_bytes: u64) -> Option<Replayed> {
    let options = Options {
        with_order,
        max_bytes,
        ..Options::default()
    };
    if !inputs.iter().all(Input::is_file) {
        return None;
    }
    let paths: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
    replay_files(&paths, &options).ok()
}

/// The order that shows the histories valid, if they are.
fn certificate(reports: &[Report]) -> Option<String> {
    let order = reports.iter().find_map(|report| match &report.verdict {
        Verdict::Valid { serial_order } => Some(serial_order),
        Verdict::Invalid { .. } | Verdict::Unknown { .. } => None,
    })?;
    let json = json!({
        "co-check": "certificate",
        "version": 1,
        "model": "serializable",
        "transactions": order.len(),
        "order": order,
    });
    Some(format!("{json}\n"))
}

/// Writes it to a file, or says why not.
pub(crate) fn certify(path: &Path, reports: &[Report]) -> Result<(), Failure> {
    if let Some(text) = certificate(reports) {
        return write_to(path, &text);
    }
    note("no order was written: the histories are not shown to be valid");
    Ok(())
}

/// The transactions of a certificate of histories of sites; `None` if it is one of other histories.
pub(crate) fn order_of_sites(order: &Json) -> Option<Vec<TxnRef>> {
    let names = order.as_array().filter(|names| !names.is_empty())?;
    names.iter().map(|name| txn(name.as_str()?)).collect()
}

fn txn(name: &str) -> Option<TxnRef> {
    let (letter, rest) = name.split_at_checked(1)?;
    let (number, site) = rest.split_once('@').unwrap_or((rest, ""));
    let number = number.parse().ok()?;
    let site: Token = site.parse().ok()?;
    match letter {
        "G" => Some(TxnRef::new(TxnId::Global(number), &site)),
        "L" => Some(TxnRef::new(TxnId::Local(number), &site)),
        _ => None,
    }
}
