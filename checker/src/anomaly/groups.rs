//! What single transactions tell: reads that contradict their own transaction, and updates that were lost.

use crate::models::Anomaly;
use crate::observed::{Elements, Key, Observed, Op, Value};

use super::findings::{Findings, list_words, value_words};
use super::writes::{Kind, Writer, Writes, by_key};

/// A transaction read a version of a key and then wrote the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    key: Key,
    seen: Seen,
    txn: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    List(Elements),
    Register(Option<Value>),
}

impl Update {
    /// Whether all that read the same values read the same version: not if several transactions wrote them.
    fn is_of_one_version(&self, history: &Observed, writes: &Writes) -> bool {
        let is_one = |&value: &Value| writes.writer(self.key, value) != Writer::Several;
        match self.seen {
            Seen::List(elements) => history.elements(elements).iter().all(is_one),
            Seen::Register(value) => value.iter().all(is_one),
        }
    }
}

/// Judges each transaction that counts, as far as it can be judged alone, and then lost updates.
pub(super) fn judge(history: &Observed, writes: &Writes, findings: &mut Findings) {
    let mut groups = Vec::new();
    let mut updates = Vec::new();
    for txn in history.indexes().filter(|txn| writes.is_live(txn.0)) {
        let ops = history.ops(txn);
        by_key(ops, &mut groups);
        for group in groups.chunk_by(|one, other| one.0 == other.0) {
            if group.len() == 1 {
                continue;
            }
            let one = Group {
                history,
                txn: txn.0,
                key: group[0].0,
            };
            let ops = group.iter().map(|&(_, place)| ops[place as usize]);
            match writes.kind(one.key) {
                Kind::List => one.judge_list(ops.clone(), writes, findings),
                Kind::Register => one.judge_register(ops.clone(), writes, findings),
                Kind::Mixed | Kind::Unused => continue,
            }
            updates.extend(
                one.update(ops)
                    .filter(|update| update.is_of_one_version(history, writes)),
            );
        }
    }
    lost_updates(history, updates, findings);
}

/// The operations of a transaction on a key.
struct Group<'a> {
    history: &'a Observed,
    txn: u32,
    key: Key,
}

impl Group<'_> {
    fn judge_list(&self, ops: impl Iterator<Item = Op>, writes: &Writes, findings: &mut Findings) {
        let Self { history, txn, .. } = *self;
        let mut base: Option<&[Value]> = None;
        let mut own: Vec<Value> = Vec::new();
        let mut has_written = false;
        let mut read: Vec<&[Value]> = Vec::new();
        let mut wrong = false;
        for op in ops {
            match op {
                Op::Append { value, .. } => {
                    if let Some(list) = read.iter().find(|list| list.contains(&value))
                        && matches!(writes.writer(self.key, value), Writer::One(_))
                    {
                        self.note_future(findings, &list_words(history, list), value);
                        read.clear();
                    }
                    has_written = true;
                    own.push(value);
                }
                Op::ReadList { elements, .. } => {
                    let list = history.elements(elements);
                    let expected = [base.unwrap_or(&[]), &own].concat();
                    let fits = if base.is_some() {
                        list == expected
                    } else {
                        list.ends_with(&own)
                    };
                    if !fits && !wrong {
                        wrong = true;
                        findings.own_writes += u64::from(has_written);
                        findings.note(Anomaly::Internal, &[txn], || {
                            format!(
                                "T{txn} read {} as {}, after operations of its own that make it {}{}.",
                                history.key_name(self.key),
                                list_words(history, list),
                                if base.is_some() { "" } else { "end with " },
                                list_words(history, &expected),
                            )
                        });
                    }
                    base = Some(list);
                    own.clear();
                    read.push(list);
                }
                Op::Read { .. } | Op::Write { .. } | Op::Unseen { .. } => {}
            }
        }
    }

    fn judge_register(
        &self,
        ops: impl Iterator<Item = Op>,
        writes: &Writes,
        findings: &mut Findings,
    ) {
        let Self { history, txn, key } = *self;
        let mut state: Option<Option<Value>> = None;
        let mut own: Vec<Value> = Vec::new();
        let (mut wrong, mut future) = (false, false);
        for op in ops {
            match op {
                Op::Write { value, .. } => {
                    own.push(value);
                    state = Some(Some(value));
                }
                Op::Read { value, .. } => {
                    if let Some(expected) = state.filter(|&expected| expected != value)
                        && !wrong
                    {
                        wrong = true;
                        findings.own_writes += u64::from(!own.is_empty());
                        findings.note(Anomaly::Internal, &[txn], || {
                            format!(
                                "T{txn} read {} as {}, after an operation of its own that makes it {}.",
                                history.key_name(key),
                                value_words(history, value),
                                value_words(history, expected),
                            )
                        });
                    }
                    if let Some(value) = value
                        && !own.contains(&value)
                        && !future
                        && let Writer::One(write) = writes.writer(key, value)
                        && writes.at(write).txn == txn
                    {
                        future = true;
                        self.note_future(findings, &history.value_name(value), value);
                    }
                    state = Some(value);
                }
                Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {}
            }
        }
    }

    fn note_future(&self, findings: &mut Findings, read: &str, value: Value) {
        let Self { history, txn, key } = *self;
        findings.note(Anomaly::FutureRead, &[txn], || {
            format!(
                "T{txn} read {} as {read}, and wrote {} itself only after that.",
                history.key_name(key),
                history.value_name(value),
            )
        });
    }

    /// Whether it read the key first, something that others left, and wrote it then.
    fn update(&self, ops: impl Iterator<Item = Op>) -> Option<Update> {
        let mut known = ops.filter(|op| !matches!(op, Op::Unseen { .. }));
        let seen = match known.next()? {
            Op::Read { value, .. } => Seen::Register(value),
            Op::ReadList { elements, .. } => Seen::List(elements),
            Op::Write { .. } | Op::Append { .. } | Op::Unseen { .. } => return None,
        };
        let has_seen = |value: Value| match seen {
            Seen::Register(read) => read == Some(value),
            Seen::List(elements) => self.history.elements(elements).contains(&value),
        };
        let mut wrote = false;
        for (_, value) in known.filter_map(Op::wrote) {
            if has_seen(value) {
                // That is a read of the future, and of no version that another could have read as well.
                return None;
            }
            wrote = true;
        }
        wrote.then_some(Update {
            key: self.key,
            seen,
            txn: self.txn,
        })
    }
}

fn lost_updates(history: &Observed, mut updates: Vec<Update>, findings: &mut Findings) {
    let state = |update: &Update| match update.seen {
        Seen::List(elements) => (
            history.elements(elements).len(),
            history.elements(elements).last().copied(),
        ),
        Seen::Register(value) => (0, value),
    };
    let same = |one: &Update, other: &Update| {
        one.key == other.key
            && match (one.seen, other.seen) {
                (Seen::List(one), Seen::List(other)) => {
                    history.elements(one) == history.elements(other)
                }
                (Seen::Register(one), Seen::Register(other)) => one == other,
                (Seen::List(_), Seen::Register(_)) | (Seen::Register(_), Seen::List(_)) => false,
            }
    };
    updates.sort_by_key(|update| (update.key, state(update), update.txn));
    for case in updates.chunk_by(same).filter(|case| case.len() > 1) {
        let txns: Vec<u32> = case.iter().map(|update| update.txn).collect();
        findings.note(Anomaly::LostUpdate, &txns, || {
            let seen = match case[0].seen {
                Seen::List(elements) => list_words(history, history.elements(elements)),
                Seen::Register(value) => value_words(history, value),
            };
            let names: Vec<String> = txns.iter().take(8).map(|txn| format!("T{txn}")).collect();
            let more = if txns.len() > 8 { " and others" } else { "" };
            let key = history.key_name(case[0].key);
            format!(
                "{}{more} each read {key} as {seen}, and each then wrote to it.",
                names.join(", ")
            )
        });
    }
}
