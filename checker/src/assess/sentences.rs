//! Grounds in words, one sentence for each step.

use crate::observed::{Edge, Key, Observed, TxnIndex, Value, Why};
use crate::search::{ReadFault, ReadFaultKind, Refutation};
use crate::weak::{self, Witness};

/// One edge, with the operations that it rests on.
#[must_use]
pub fn sentence(history: &Observed, edge: &Edge) -> String {
    let (from, to) = (edge.from.0, edge.to.0);
    let words = Words { history };
    let because = match edge.why {
        Why::WriteWrite {
            key,
            earlier,
            later,
        } => format!(
            "T{from} wrote {} to {}, and T{to} wrote {} after it",
            words.value(earlier),
            words.key(key),
            words.value(later)
        ),
        Why::WriteRead { key, value } => format!(
            "T{to} read {} as {}, which T{from} wrote",
            words.key(key),
            words.value(value)
        ),
        Why::ReadWrite { key, read, wrote } => format!(
            "T{from} read {} {}, before T{to} wrote {}",
            words.key(key),
            words.read(read),
            words.value(wrote)
        ),
        Why::Session => {
            let session = history.txn(edge.from).session;
            let session = session.map_or_else(String::new, |session| format!(" {}", session.0));
            format!("T{from} came before T{to} in session{session}")
        }
        Why::Realtime => format!("T{from} had ended before T{to} began"),
    };
    format!("{because}: so T{from} precedes T{to}.")
}

/// Why a search found that there is no order.
#[must_use]
pub fn refutation_sentences(history: &Observed, refutation: &Refutation) -> Vec<String> {
    let words = Words { history };
    match refutation {
        Refutation::Reads(faults) => faults.iter().map(|fault| words.fault(fault)).collect(),
        Refutation::Exhausted { conflicts } => vec![format!(
            "Every order of the versions closes some cycle; that took {conflicts} conflicts to see."
        )],
        Refutation::Cycles { forced, cycles } => {
            let mut sentences = Vec::new();
            for order in forced {
                let (key, earlier, later) = (words.key(order.key), order.earlier.0, order.later.0);
                sentences.push(format!(
                    "T{earlier} wrote {key} before T{later} did, because the other order would close this cycle:"
                ));
                let steps = order.otherwise.iter();
                sentences.extend(steps.map(|edge| format!("  {}", sentence(history, edge))));
            }
            for (place, cycle) in cycles.iter().enumerate() {
                sentences.push(match cycles.len() {
                    1 => "So there is this cycle:".to_owned(),
                    count => format!(
                        "Whatever the order, one of {count} cycles is there; number {}:",
                        place + 1
                    ),
                });
                let steps = cycle.iter();
                sentences.extend(steps.map(|edge| format!("  {}", sentence(history, edge))));
            }
            sentences
        }
    }
}

/// Why a history is not of a level with sessions; nothing if it is.
#[must_use]
pub fn weak_sentences(history: &Observed, verdict: &weak::Verdict) -> Vec<String> {
    let words = Words { history };
    match verdict {
        weak::Verdict::Valid(_) => Vec::new(),
        weak::Verdict::Unknown(doubt) => vec![format!("{doubt}.")],
        weak::Verdict::Invalid(Witness::Reads(faults)) => {
            faults.iter().map(|fault| words.fault(fault)).collect()
        }
        weak::Verdict::Invalid(Witness::Cycle(steps)) => steps
            .iter()
            .map(|step| match &step.because {
                None => sentence(history, &step.edge),
                Some(because) => format!(
                    "T{} could see T{} when it read {}, and read what T{} wrote instead: so T{} precedes T{}.",
                    because.reader.0,
                    step.edge.from.0,
                    words.key(because.key),
                    step.edge.to.0,
                    step.edge.from.0,
                    step.edge.to.0
                ),
            })
            .collect(),
    }
}

#[derive(Clone, Copy)]
struct Words<'a> {
    history: &'a Observed,
}

impl Words<'_> {
    fn key(&self, key: Key) -> &str {
        self.history.key_name(key)
    }

    fn value(&self, value: Value) -> String {
        self.history.value_name(value)
    }

    fn read(&self, value: Option<Value>) -> String {
        value.map_or_else(
            || "in its initial state".to_owned(),
            |value| format!("as {}", self.value(value)),
        )
    }

    fn fault(&self, fault: &ReadFault) -> String {
        let read = format!(
            "T{} read {} {}",
            fault.txn.0,
            self.key(fault.key),
            self.read(fault.value)
        );
        let who = |txn: TxnIndex| format!("T{}", txn.0);
        match fault.kind {
            ReadFaultKind::ThinAir => format!("{read}, which nobody wrote."),
            ReadFaultKind::Aborted { writer } => {
                format!("{read}, which {} wrote, which aborted.", who(writer))
            }
            ReadFaultKind::Intermediate { writer } => {
                format!("{read}, which {} wrote and then wrote over.", who(writer))
            }
            ReadFaultKind::Future => format!("{read}, which it wrote itself only later."),
            ReadFaultKind::OwnWrite { wrote } => {
                format!("{read}, and had written {} itself.", self.value(wrote))
            }
            ReadFaultKind::Unrepeatable { before } => {
                format!("{read}, and had read it {} before.", self.read(before))
            }
        }
    }
}
