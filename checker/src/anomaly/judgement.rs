//! What is said in the end.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::models::{Anomaly, Model, ModelSet, RuledOut, strongest_left};
use crate::observed::{Edge, Observed, TxnIndex, Why};

/// The judgement on a history.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// Whether the history satisfies what was asked.
    pub verdict: Verdict,
    /// What was found that was asked not to be there: worst first, at most sixteen cases of each.
    pub anomalies: Vec<Found>,
    /// What was found besides.
    pub others: Vec<Found>,
    /// The models that anything that was found rules out.
    pub ruled_out: RuledOut,
    /// The models that are shown to hold.
    pub proven: ModelSet,
    /// What keeps the judgement from being complete, whatever the verdict.
    pub reasons: Vec<Reason>,
    /// If it was asked for and serializability is shown: a serial order, and the strongest model that it shows.
    pub order: Option<(Model, Vec<TxnIndex>)>,
}

/// Whether a history satisfies what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does: every model that was asked for is shown to hold.
    Valid,
    /// It does not.
    Invalid,
    /// Nothing speaks against it, and it is not shown: see [`Judgement::reasons`].
    Unknown,
}

/// One anomaly that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: Anomaly,
    /// How many there are of this name, shown or not; of cycles, one in each component is counted.
    pub count: u64,
    /// The transactions that are involved.
    pub txns: Vec<TxnIndex>,
    /// The cycle; empty if it is not one.
    pub cycle: Vec<Edge>,
    /// One sentence for each edge of the cycle, or one that quotes the operations.
    pub sentences: Vec<String>,
}

/// What keeps a judgement from being complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// So many transactions read something else than they had written themselves. Definitions differ about which models
    /// allow that.
    OwnWrites(u64),
    /// No transaction depends on another by what it read or wrote: nothing was tested.
    EmptyGraph,
    /// Values that were read were written more than once.
    AmbiguousValues {
        /// How many reads saw such a value.
        reads: u64,
        /// The first: its key and its value.
        first: (String, String),
    },
    /// Keys are used as lists and as registers.
    MixedKeys(u64),
    /// The version orders of so many registers are not known; a search over all orders can decide.
    UnorderedRegisters(u64),
    /// To so many keys several transactions wrote what nobody read, and the order of these writes matters.
    UnreadWrites(u64),
    /// Reads contradict each other, so that some of them show nothing.
    ContradictoryReads,
    /// Not every transaction has an interval in real time.
    NoRealTime,
    /// Not every transaction has a session.
    NoSessions,
    /// No test here shows that this model holds.
    NoCompleteTest(Model),
    /// A search ran out of its budget, so that cycles are not located, or not the shortest.
    OutOfBudget,
}

impl Judgement {
    /// The strongest models that are not ruled out.
    #[must_use]
    pub fn strongest_left(&self) -> ModelSet {
        strongest_left(self.ruled_out.all())
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self, history: &Observed) -> Json {
        let found = |list: &[Found]| -> Vec<Json> {
            list.iter().map(|found| found.to_json(history)).collect()
        };
        json!({
            "verdict": self.verdict.name(),
            "anomalies": found(&self.anomalies),
            "others": found(&self.others),
            "not": self.ruled_out.not.names(),
            "also-not": self.ruled_out.also_not.names(),
            "proven": self.proven.names(),
            "strongest-left": self.strongest_left().names(),
            "reasons": self.reasons.iter().map(Reason::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Verdict {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        }
    }
}

impl Found {
    fn to_json(&self, history: &Observed) -> Json {
        let line = |txn: TxnIndex| history.txn(txn).line;
        json!({
            "name": self.name.name(),
            "known-as": crate::assess::common_name(&self.cycle),
            "count": self.count,
            "transactions": self.txns.iter().map(|txn| txn.0).collect::<Vec<_>>(),
            "lines": self.txns.iter().map(|&txn| line(txn)).collect::<Vec<_>>(),
            "cycle": self.cycle.iter().map(|edge| edge_json(history, edge)).collect::<Vec<_>>(),
            "sentences": self.sentences,
        })
    }
}

impl Reason {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OwnWrites(_) => "own-writes-not-read",
            Self::EmptyGraph => "empty-transaction-graph",
            Self::AmbiguousValues { .. } => "ambiguous-values",
            Self::MixedKeys(_) => "mixed-keys",
            Self::UnorderedRegisters(_) => "unordered-registers",
            Self::UnreadWrites(_) => "unread-writes",
            Self::ContradictoryReads => "contradictory-reads",
            Self::NoRealTime => "no-real-time",
            Self::NoSessions => "no-sessions",
            Self::NoCompleteTest(_) => "no-complete-test",
            Self::OutOfBudget => "cycle-search-out-of-budget",
        }
    }

    fn to_json(&self) -> Json {
        json!({ "name": self.name(), "sentence": self.to_string() })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnWrites(txns) => write!(
                f,
                "{txns} transactions read something else than they had written themselves. Adya's definitions forbid \
                 that to every model; the table of anomalies is Elle's, and has read atomic and what is stronger."
            ),
            Self::EmptyGraph => {
                f.write_str("No transaction depends on another by what it read or wrote, so nothing was tested.")
            }
            Self::AmbiguousValues {
                reads,
                first: (key, value),
            } => write!(
                f,
                "{reads} reads saw values that were written more than once, first {value} of {key}: \
                 make written values unique."
            ),
            Self::MixedKeys(keys) => write!(f, "{keys} keys are used as lists and as registers."),
            Self::UnorderedRegisters(keys) => write!(
                f,
                "The version orders of {keys} registers are not known: a search over all orders can decide."
            ),
            Self::UnreadWrites(keys) => write!(
                f,
                "To {keys} keys several transactions wrote what nobody read: read every key at the end."
            ),
            Self::ContradictoryReads => {
                f.write_str("Reads contradict each other, so that some of them show nothing.")
            }
            Self::NoRealTime => f.write_str("Not every transaction has an interval in real time."),
            Self::NoSessions => f.write_str("Not every transaction has a session."),
            Self::NoCompleteTest(model) => {
                write!(f, "No test here shows that {} holds.", model.name())
            }
            Self::OutOfBudget => f.write_str("A search for cycles ran out of its budget."),
        }
    }
}

fn edge_json(history: &Observed, edge: &Edge) -> Json {
    let name = |value| history.value_name(value);
    let why = match edge.why {
        Why::WriteWrite {
            key,
            earlier,
            later,
        } => json!({
            "type": "ww", "key": history.key_name(key), "value": name(earlier), "value'": name(later),
        }),
        Why::WriteRead { key, value } => json!({
            "type": "wr", "key": history.key_name(key), "value": name(value),
        }),
        Why::ReadWrite { key, read, wrote } => json!({
            "type": "rw", "key": history.key_name(key), "value": read.map(name), "value'": name(wrote),
        }),
        Why::Session => json!({ "type": "process" }),
        Why::Realtime => json!({ "type": "realtime" }),
    };
    let mut json = json!({ "from": edge.from.0, "to": edge.to.0 });
    if let (Json::Object(all), Json::Object(why)) = (&mut json, why) {
        all.extend(why);
    }
    json
}
