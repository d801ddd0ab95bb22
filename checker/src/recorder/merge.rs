//! The logs of all sessions, made one history.

use std::collections::HashMap;
use std::ops::Deref;

use super::{Log, Span};
use crate::observed::{
    Elements, Interval, Key, Observed, ObservedBuilder, ObservedFault, Op, Outcome, TxnIndex, Value,
};

/// Makes one history of the logs: what ended in that order, then what is open. Sessions, keys and lines are numbered as
/// the importer of the native format numbers them.
pub(super) fn merge(
    name: &str,
    logs: &[impl Deref<Target = Log>],
) -> Result<Observed, ObservedFault> {
    let mut order: Vec<(u64, usize, TxnIndex)> = Vec::new();
    for (place, log) in logs.iter().enumerate() {
        let ends = log.spans.iter().map(|span| span.end);
        let ended = log.builder.history().indexes().zip(ends);
        order.extend(ended.map(|(txn, end)| (end, place, txn)));
    }
    order.sort_unstable();
    let mut merge = Merge {
        builder: ObservedBuilder::new(name),
        keys: vec![Vec::new(); logs.len()],
        sessions: HashMap::new(),
        // The header of the native format is line 1.
        line: 1,
    };
    for (_, place, txn) in order {
        merge.ended(place, &logs[place], txn)?;
    }
    let mut open: Vec<(u64, usize)> = Vec::new();
    for (place, log) in logs.iter().enumerate() {
        open.extend(log.open.map(|begin| (begin, place)));
    }
    open.sort_unstable();
    for (begin, place) in open {
        merge.open(place, &logs[place], begin)?;
    }
    Ok(merge.builder.finish())
}

/// The logs of all sessions, made one history.
struct Merge {
    builder: ObservedBuilder,
    /// What the keys of each log are in the history.
    keys: Vec<Vec<Option<Key>>>,
    /// The sessions, by log and part, in the order in which they come.
    sessions: HashMap<(usize, u32), u32>,
    line: u32,
}

impl Merge {
    fn ended(&mut self, place: usize, log: &Log, txn: TxnIndex) -> Result<(), ObservedFault> {
        let Span { part, begin, end } = log.spans[txn.0 as usize];
        let outcome = log.builder.history().txn(txn).outcome;
        let end = match outcome {
            Outcome::Committed | Outcome::Aborted => time(end)?,
            Outcome::Unknown => u32::MAX,
        };
        let begin = time(begin)?;
        let interval = Interval { begin, end };
        self.ops(place, log, log.builder.history().ops(txn))?;
        self.end((place, part), outcome, interval)
    }

    fn open(&mut self, place: usize, log: &Log, begin: u64) -> Result<(), ObservedFault> {
        let begin = time(begin)?;
        let end = u32::MAX;
        self.ops(place, log, log.builder.open_operations())?;
        self.end((place, log.part), Outcome::Unknown, Interval { begin, end })
    }

    fn end(
        &mut self,
        session: (usize, u32),
        outcome: Outcome,
        interval: Interval,
    ) -> Result<(), ObservedFault> {
        let next = u32::try_from(self.sessions.len());
        let next = next.map_err(|_| ObservedFault::TooLarge("sessions"))?;
        let session = *self.sessions.entry(session).or_insert(next);
        self.line = self.line.saturating_add(1);
        let (session, interval) = (Some(session), Some(interval));
        self.builder.end(session, outcome, interval, self.line)?;
        Ok(())
    }

    fn ops(&mut self, place: usize, log: &Log, ops: &[Op]) -> Result<(), ObservedFault> {
        let history = log.builder.history();
        for op in ops {
            let key = self.key(place, history, op.key())?;
            match *op {
                Op::Read { value, .. } => {
                    let value = value.map(|value| self.value(history, value)).transpose()?;
                    self.builder.read(key, value)?;
                }
                Op::Write { value, .. } => {
                    let value = self.value(history, value)?;
                    self.builder.write(key, value)?;
                }
                Op::Append { value, .. } => {
                    let value = self.value(history, value)?;
                    self.builder.append(key, value)?;
                }
                Op::ReadList { elements, .. } => self.list(history, key, elements)?,
                Op::Unseen { .. } => self.builder.unseen(key)?,
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        history: &Observed,
        key: Key,
        elements: Elements,
    ) -> Result<(), ObservedFault> {
        let elements = history.elements(elements).iter();
        let list: Result<Vec<Value>, _> =
            elements.map(|value| self.value(history, *value)).collect();
        self.builder.read_list(key, &list?)
    }

    fn key(&mut self, place: usize, history: &Observed, key: Key) -> Result<Key, ObservedFault> {
        let renamed = &mut self.keys[place];
        let at = key.0 as usize;
        if at >= renamed.len() {
            renamed.resize(at + 1, None);
        }
        if let Some(key) = renamed[at] {
            return Ok(key);
        }
        let new = self.builder.key(history.key_name(key))?;
        renamed[at] = Some(new);
        Ok(new)
    }

    fn value(&mut self, history: &Observed, value: Value) -> Result<Value, ObservedFault> {
        self.builder.value(&history.value_name(value))
    }
}

/// A time in 32 bits, below the largest, which means never.
fn time(tick: u64) -> Result<u32, ObservedFault> {
    let time = u32::try_from(tick).ok().filter(|time| *time < u32::MAX);
    time.ok_or(ObservedFault::TooLarge("begins and ends of transactions"))
}
