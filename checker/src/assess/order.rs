//! Orders that show a history valid, and their re-check: by execution, in linear time, with nothing of the judges' code.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::models::Model;
use crate::observed::{Key, Observed, Op, Outcome, TxnIndex, Value};
use crate::search::Event;

/// An order of what transactions do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order(pub Vec<Event>);

/// Why an order shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderFault {
    /// An order shows serializability or snapshot isolation, or a model that these imply.
    #[error("an order of transactions does not show {}", .0.name())]
    Model(Model),
    /// Snapshots do not show serializability.
    #[error("T{} runs beside others, which does not show a serializable history", .0.0)]
    Overlapping(TxnIndex),
    /// A committed transaction is missing.
    #[error("T{} committed and is missing", .0.0)]
    Missing(TxnIndex),
    /// Twice there, not of this history, aborted, or committed before it began.
    #[error("T{} is out of place", .0.0)]
    OutOfPlace(TxnIndex),
    /// A read would return something else.
    #[error("T{} would read something else here", .0.0)]
    Read(TxnIndex),
    /// Two transactions that overlap wrote the same key.
    #[error("T{} would write over what was installed since it began", .0.0)]
    Overwritten(TxnIndex),
    /// The order is not that of the session.
    #[error("T{} comes before its predecessor in its session", .0.0)]
    Session(TxnIndex),
    /// The order is not that of real time.
    #[error("T{} comes after one that began when it had ended", .0.0)]
    Realtime(TxnIndex),
}

impl Order {
    /// One transaction after another.
    #[must_use]
    pub fn serial(order: &[TxnIndex]) -> Self {
        let both = |&txn| [Event::Begin(txn), Event::Commit(txn)];
        Self(order.iter().flat_map(both).collect())
    }

    /// As [`certificate_json`](super::certificate_json) writes it.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let number = |number: u64| u32::try_from(number).ok().map(TxnIndex);
        if let Some(serial) = json["serial"].as_array() {
            let order: Option<Vec<TxnIndex>> = serial
                .iter()
                .map(|it| it.as_u64().and_then(number))
                .collect();
            return order.map(|order| Self::serial(&order));
        }
        let event = |json: &Json| {
            let (kind, of) = json.as_str()?.split_at_checked(1)?;
            let txn = number(of.parse().ok()?)?;
            match kind {
                "b" => Some(Event::Begin(txn)),
                "c" => Some(Event::Commit(txn)),
                _ => None,
            }
        };
        let events: Option<Vec<Event>> = json["snapshots"].as_array()?.iter().map(event).collect();
        events.map(Self)
    }
}

/// Whether executing the transactions in this order shows the model.
///
/// # Errors
/// Why not.
pub fn verify_order(history: &Observed, model: Model, order: &Order) -> Result<(), OrderFault> {
    let serial = Model::StrictSerializable
        .implied()
        .contains(model)
        .then(|| model.implied().contains(Model::Serializable));
    let serial = serial.ok_or(OrderFault::Model(model))?;
    let implied = model.implied();
    let mut run = Run::new(history);
    for event in &order.0 {
        match *event {
            Event::Begin(txn) => run.begin(txn)?,
            Event::Commit(txn) => {
                if serial && run.open != 1 {
                    return Err(OrderFault::Overlapping(txn));
                }
                run.commit(txn)?;
            }
        }
    }
    let missing = history.indexes().find(|&txn| {
        history.txn(txn).outcome == Outcome::Committed && run.ended[txn.0 as usize].is_none()
    });
    if let Some(txn) = missing {
        return Err(OrderFault::Missing(txn));
    }
    if [
        Model::StrongSessionSnapshotIsolation,
        Model::StrongSnapshotIsolation,
    ]
    .iter()
    .any(|strong| implied.contains(*strong))
    {
        run.keeps_sessions()?;
    }
    if implied.contains(Model::StrongSnapshotIsolation) {
        run.keeps_realtime()?;
    }
    Ok(())
}

/// The state of an execution.
struct Run<'a> {
    history: &'a Observed,
    /// Registers: who wrote what when; lists: every element with the time of its append.
    registers: HashMap<Key, Vec<(u64, Value)>>,
    lists: HashMap<Key, Vec<(u64, Value)>>,
    began: Vec<Option<u64>>,
    ended: Vec<Option<u64>>,
    open: u64,
    time: u64,
}

impl<'a> Run<'a> {
    fn new(history: &'a Observed) -> Self {
        let count = history.txns().len();
        Self {
            history,
            registers: HashMap::new(),
            lists: HashMap::new(),
            began: vec![None; count],
            ended: vec![None; count],
            open: 0,
            time: 0,
        }
    }

    fn begin(&mut self, txn: TxnIndex) -> Result<(), OrderFault> {
        let place = txn.0 as usize;
        let is_free = self.began.get(place).is_some_and(Option::is_none);
        if !is_free || self.history.txn(txn).outcome == Outcome::Aborted {
            return Err(OrderFault::OutOfPlace(txn));
        }
        self.time += 1;
        self.began[place] = Some(self.time);
        self.open += 1;
        Ok(())
    }

    fn commit(&mut self, txn: TxnIndex) -> Result<(), OrderFault> {
        let place = txn.0 as usize;
        let began = self.began.get(place).copied().flatten();
        let began = began.ok_or(OrderFault::OutOfPlace(txn))?;
        if self.ended[place].is_some() {
            return Err(OrderFault::OutOfPlace(txn));
        }
        self.time += 1;
        self.ended[place] = Some(self.time);
        self.open -= 1;
        let mut written: HashMap<Key, Value> = HashMap::new();
        let mut appended: HashMap<Key, Vec<Value>> = HashMap::new();
        for op in self.history.ops(txn) {
            match *op {
                Op::Unseen { .. } => {}
                Op::Write { key, value } => drop(written.insert(key, value)),
                Op::Append { key, value } => appended.entry(key).or_default().push(value),
                Op::Read { key, value } => {
                    let own = written.get(&key).copied();
                    let there = || last_before(self.registers.get(&key), began);
                    if own.or_else(there) != value {
                        return Err(OrderFault::Read(txn));
                    }
                }
                Op::ReadList { key, elements } => {
                    let there = self.lists.get(&key).into_iter().flatten();
                    let there = there.take_while(|(at, _)| *at < began).map(|&(_, it)| it);
                    let own = appended.get(&key).into_iter().flatten().copied();
                    if !there
                        .chain(own)
                        .eq(self.history.elements(elements).iter().copied())
                    {
                        return Err(OrderFault::Read(txn));
                    }
                }
            }
        }
        for (key, value) in written {
            let versions = self.registers.entry(key).or_default();
            if versions.last().is_some_and(|&(at, _)| at > began) {
                return Err(OrderFault::Overwritten(txn));
            }
            versions.push((self.time, value));
        }
        for (key, values) in appended {
            let list = self.lists.entry(key).or_default();
            if list.last().is_some_and(|&(at, _)| at > began) {
                return Err(OrderFault::Overwritten(txn));
            }
            list.extend(values.into_iter().map(|value| (self.time, value)));
        }
        Ok(())
    }

    /// Each transaction of a session begins after those before it have committed whose outcome was told.
    fn keeps_sessions(&self) -> Result<(), OrderFault> {
        let mut last: HashMap<u32, u64> = HashMap::new();
        for txn in self.history.indexes() {
            let place = txn.0 as usize;
            let (Some(session), Some(began), Some(ended)) = (
                self.history.txn(txn).session,
                self.began[place],
                self.ended[place],
            ) else {
                continue;
            };
            if last.get(&session.0).is_some_and(|&before| before > began) {
                return Err(OrderFault::Session(txn));
            }
            if self.history.txn(txn).outcome == Outcome::Committed {
                last.insert(session.0, ended);
            }
        }
        Ok(())
    }

    /// Nobody commits after somebody has begun who began, in real time, when it had ended.
    fn keeps_realtime(&self) -> Result<(), OrderFault> {
        let mut by_end: Vec<(u32, u64, TxnIndex)> = Vec::new();
        let mut by_begin: Vec<(u32, u64)> = Vec::new();
        for txn in self.history.indexes() {
            let place = txn.0 as usize;
            let interval = self.history.txn(txn).interval;
            if let (Some(interval), Some(began), Some(ended)) =
                (interval, self.began[place], self.ended[place])
            {
                by_begin.push((interval.begin, began));
                // Nobody was told of the end of what nobody knows the outcome of.
                if self.history.txn(txn).outcome == Outcome::Committed {
                    by_end.push((interval.end, ended, txn));
                }
            }
        }
        by_end.sort_unstable();
        by_begin.sort_unstable();
        let mut ends = by_end.into_iter().peekable();
        let mut latest: Option<(u64, TxnIndex)> = None;
        for (begin, began) in by_begin {
            while let Some(&(end, ended, txn)) = ends.peek()
                && end < begin
            {
                latest = latest.max(Some((ended, txn)));
                ends.next();
            }
            if let Some((ended, txn)) = latest
                && ended > began
            {
                return Err(OrderFault::Realtime(txn));
            }
        }
        Ok(())
    }
}

fn last_before(versions: Option<&Vec<(u64, Value)>>, time: u64) -> Option<Value> {
    let versions = versions?;
    let count = versions.partition_point(|&(at, _)| at < time);
    let last = count.checked_sub(1)?;
    Some(versions[last].1)
}
