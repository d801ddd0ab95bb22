//! What to judge by.

use crate::models::{AnomalySet, Model, ModelSet};
use crate::observed::{Observed, Outcome, Txn};

/// What is asked for, and what may be assumed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The models that the history should satisfy.
    pub models: ModelSet,
    /// Further anomalies that should not be there.
    pub anomalies: AnomalySet,
    /// What may be assumed of the version orders of registers.
    pub keys: KeyOrders,
    /// What it means if a register is read with a value that nobody wrote.
    pub unwritten: Unwritten,
    /// The order in which transactions installed their writes, if it is known otherwise: a rank for each transaction,
    /// by number.
    pub transaction_order: Option<Vec<u64>>,
    /// Which orders of time cycles may use.
    pub orders: Orders,
    /// Whether a serial order is wanted, if there is one.
    pub order: bool,
    /// How many links a search for one kind of cycle in one component may follow before it gives up.
    pub budget: u64,
}

/// What may be assumed of the version order of each register alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOrders {
    /// Versions come in the order in which each session saw them.
    pub sequential: bool,
    /// Versions come in the order of real time.
    pub linearizable: bool,
    /// A transaction that reads a key and then writes it wrote a later version than it read. This is sound for read
    /// committed and everything stronger.
    pub writes_follow_reads: bool,
}

/// What it means if a register is read with a value that nobody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// That nothing explains it.
    Garbage,
    /// That it was there before the history began.
    BeforeHistory,
}

/// Which orders of time cycles may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    /// Sessions and real time, whatever is asked.
    All,
    /// Real time if a model is asked that has to do with it; else sessions if such a model is asked; else none. That is
    /// what Elle does: a session's cycle is named by real time then, because real time includes sessions.
    Asked,
}

impl Options {
    /// Follows at most so many links in one search by default.
    pub const BUDGET: u64 = 20_000_000;

    /// Asks for these models, with the defaults for all else: nothing assumed but that writes follow reads, all orders
    /// of time used, and values that nobody wrote are garbage.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = Model>) -> Self {
        Self {
            models: models.into_iter().collect(),
            anomalies: AnomalySet::default(),
            keys: KeyOrders {
                sequential: false,
                linearizable: false,
                writes_follow_reads: true,
            },
            unwritten: Unwritten::Garbage,
            transaction_order: None,
            orders: Orders::All,
            order: false,
            budget: Self::BUDGET,
        }
    }

    /// Asks as Elle's `check` does: writes need not follow reads, values that nobody wrote were there before, and
    /// orders of time count if a model asks for them.
    #[must_use]
    pub fn as_elle(models: impl IntoIterator<Item = Model>) -> Self {
        let mut options = Self::new(models);
        options.keys.writes_follow_reads = false;
        options.unwritten = Unwritten::BeforeHistory;
        options.orders = Orders::Asked;
        options
    }
}

/// The order in which transactions ended, as [`Options::transaction_order`] takes it: that in which they installed their
/// writes, if the times of the history are commit timestamps of the database, as TimeKiller's are.
///
/// `None` if that is no order: a transaction that wrote and did not abort has no known end, or ended when another did.
///
/// ```
/// use checker::anomaly::commit_order;
/// use checker::formats::{self, ReadOptions};
///
/// let timed = "co-observed 1\nc 0 0..5 w:x=1\nc 1 1..3 w:x=2\nend 2\n";
/// let history = formats::read(timed.as_bytes(), "example", &ReadOptions::default())?;
/// assert_eq!(commit_order(&history), Some(vec![5, 3]));
/// # Ok::<(), checker::formats::FormatError>(())
/// ```
#[must_use]
pub fn commit_order(history: &Observed) -> Option<Vec<u64>> {
    let mut ends = Vec::new();
    for index in history.indexes() {
        let txn = history.txn(index);
        let wrote = history.ops(index).iter().any(|op| op.wrote().is_some());
        if wrote && txn.outcome != Outcome::Aborted {
            let end = txn.interval.map(|interval| interval.end);
            ends.push(end.filter(|end| *end != u32::MAX)?);
        }
    }
    ends.sort_unstable();
    if ends.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let txns = history.txns().iter();
    let end = |txn: &Txn| txn.interval.map_or(u32::MAX, |interval| interval.end);
    Some(txns.map(|txn| u64::from(end(txn))).collect())
}

impl Default for Options {
    fn default() -> Self {
        Self::new([Model::StrictSerializable])
    }
}
