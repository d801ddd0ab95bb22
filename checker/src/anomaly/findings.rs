//! What was found besides cycles, and what is in doubt.

use crate::models::{Anomaly, AnomalySet};
use crate::observed::{Key, Observed, Outcome, TxnIndex, Value};

/// At most so many cases are kept of each anomaly; all are counted.
pub(super) const MAX_CASES: usize = 16;

/// One anomaly that is not a cycle.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) name: Anomaly,
    pub(super) txns: Vec<TxnIndex>,
    pub(super) sentence: String,
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    /// How often each was found: by the anomaly's place in `Anomaly::ALL`.
    counts: Vec<u64>,
    /// Values that more than one transaction wrote to one key, and were read: how many, and the first.
    pub(super) ambiguous: (u64, Option<(Key, Value)>),
    /// Keys that are used as a list and as a register.
    pub(super) mixed: u64,
    /// How many transactions read a key after a write of their own, and something else than that write.
    pub(super) own_writes: u64,
    /// Keys of registers whose version order is not known, and matters.
    pub(super) unordered_registers: u64,
    /// Who wrote keys that several transactions wrote in an order that is not known, and that no read depends on: the
    /// key and the transaction, by key.
    pub(super) contested: Vec<(Key, u32)>,
}

impl Findings {
    /// Notes an anomaly; the sentence is made only if it is kept.
    pub(super) fn note(&mut self, name: Anomaly, txns: &[u32], sentence: impl FnOnce() -> String) {
        self.counts.resize(Anomaly::ALL.len(), 0);
        let count = &mut self.counts[name as usize];
        *count += 1;
        if *count <= MAX_CASES as u64 {
            self.list.push(Finding {
                name,
                txns: txns.iter().map(|&txn| TxnIndex(txn)).collect(),
                sentence: sentence(),
            });
        }
    }

    /// Notes a read that nothing explains. If nobody was told whether the reader committed, but somebody read from it,
    /// then either it did, or that read was of what never committed: which read uncommitted allows.
    pub(super) fn note_impossible(
        &mut self,
        history: &Observed,
        name: Anomaly,
        reader: u32,
        sentence: impl FnOnce() -> String,
    ) {
        if history.txn(TxnIndex(reader)).outcome == Outcome::Committed {
            self.note(name, &[reader], sentence);
        } else {
            self.note(Anomaly::G1a, &[reader], || {
                format!(
                    "{} Nobody was told whether T{reader} committed: it cannot have, and a committed transaction read from it.",
                    sentence()
                )
            });
        }
    }

    /// Notes a read of a value that several transactions wrote.
    pub(super) fn doubt(&mut self, key: Key, value: Value) {
        self.ambiguous.0 += 1;
        self.ambiguous.1.get_or_insert((key, value));
    }

    /// How often an anomaly was found.
    pub(super) fn count(&self, name: Anomaly) -> u64 {
        self.counts.get(name as usize).copied().unwrap_or(0)
    }

    /// The names of what was found.
    pub(super) fn names(&self) -> AnomalySet {
        self.list.iter().map(|finding| finding.name).collect()
    }
}

/// A list in words, long ones without their beginning.
pub(super) fn list_words(history: &Observed, list: &[Value]) -> String {
    const SHOWN: usize = 8;
    let left_out = list.len().saturating_sub(SHOWN);
    let dots = (left_out > 0).then(|| "...".to_owned());
    let names = list[left_out..]
        .iter()
        .map(|&value| history.value_name(value));
    format!(
        "[{}]",
        dots.into_iter().chain(names).collect::<Vec<_>>().join(" ")
    )
}

/// What a register held, in words.
pub(super) fn value_words(history: &Observed, value: Option<Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| history.value_name(value))
}
