//! Which transaction wrote what another read, and which transactions count at all.
//!
//! **Who counts.** Every committed transaction; of those whose outcome nobody was told, the ones that somebody who
//! counts has read from, since they must have committed. The others are left out, and that is sound: take any execution
//! of the level that has them, and delete one that nobody reads from. Every read still finds the write that it found,
//! which is still the latest of those before it; each order between the transactions that remain stands. So if the
//! history has an explanation with some of them, it has one without. Aborted transactions do not count.
//!
//! - **F1** Members are numbered densely in the order of the history.
//! - **F2** Slots are the final writes of members, one for each pair of member and key, numbered member by member and
//!   for each member in the order of keys.
//! - **F3** A read of `reads` is external: its transaction had not written the key before. Where not every one is asked
//!   for, the same value read again is listed once, unless another value came between.

use super::csr::Csr;
use super::verdict::{ReadFault, ReadFaultKind};
use crate::observed::{Key, Observed, Op, Outcome, TxnIndex, Value};

/// No member, no slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The initial state.
    Initial,
    /// A final write of a member.
    Slot(u32),
    /// Several members wrote it.
    Several,
    /// No final write of a member: there is a fault, and the read says nothing more.
    Nothing,
}

/// An external read (F3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// Of which key.
    pub(crate) key: u32,
    /// Where its value came from.
    pub(crate) source: Source,
}

/// The final write of a member to a key (F2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// Who wrote.
    pub(crate) writer: u32,
    /// The key.
    pub(crate) key: u32,
    /// What was written.
    pub(crate) value: Value,
}

/// What is known of a history before any order is.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The members (F1).
    pub(crate) members: Vec<TxnIndex>,
    /// The external reads of each member.
    pub(crate) reads: Csr<Read>,
    /// All slots (F2).
    pub(crate) slots: Vec<Slot>,
    /// The first slot of each member, and the number of slots.
    first_slot: Vec<u32>,
    /// The slots of each key.
    pub(crate) key_slots: Csr<u32>,
    /// Reads that no execution explains.
    pub(crate) faults: Vec<ReadFault>,
    /// The first read of a value that several members wrote.
    pub(crate) several: Option<(TxnIndex, Key)>,
    /// The first transaction with an operation on something else than a register.
    pub(crate) not_registers: Option<TxnIndex>,
}

/// One write, of whomsoever.
#[derive(Debug, Clone, Copy)]
struct Written {
    value: Value,
    txn: u32,
    last: bool,
}

/// What the open transaction has done to a key.
#[derive(Debug, Clone, Copy, Default)]
struct Touched {
    stamp: u32,
    wrote: Option<Value>,
    read: Option<Option<Value>>,
}

/// Walks through transactions.
struct Walk<'h> {
    history: &'h Observed,
    touched: Vec<Touched>,
    stamp: u32,
}

impl<'h> Walk<'h> {
    fn new(history: &'h Observed) -> Self {
        let touched = vec![Touched::default(); history.key_count()];
        Self {
            history,
            touched,
            stamp: 0,
        }
    }

    fn touch(&mut self, key: Key) -> &mut Touched {
        let touched = &mut self.touched[key.0 as usize];
        if touched.stamp != self.stamp {
            *touched = Touched {
                stamp: self.stamp,
                ..Touched::default()
            };
        }
        touched
    }

    /// The external reads of a transaction (F3) go to `read`, what contradicts the transaction itself to `fault`.
    fn reads(
        &mut self,
        txn: TxnIndex,
        every: bool,
        mut read: impl FnMut(Key, Option<Value>),
        mut fault: impl FnMut(Key, Option<Value>, ReadFaultKind),
    ) {
        self.stamp += 1;
        for op in self.history.ops(txn) {
            match *op {
                Op::Write { key, value } => self.touch(key).wrote = Some(value),
                Op::Read { key, value } => {
                    let touched = self.touch(key);
                    if let Some(wrote) = touched.wrote {
                        if value != Some(wrote) {
                            fault(key, value, ReadFaultKind::OwnWrite { wrote });
                        }
                        continue;
                    }
                    match touched.read.replace(value) {
                        Some(before) if before == value && !every => continue,
                        Some(before) if before == value => {}
                        Some(before) => fault(key, value, ReadFaultKind::Unrepeatable { before }),
                        None => {}
                    }
                    read(key, value);
                }
                Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {}
            }
        }
    }
}

/// All writes, by key and value.
struct Writes(Csr<Written>);

impl Writes {
    fn new(history: &Observed) -> Self {
        let mut last_of = vec![(NONE, 0_usize); history.key_count()];
        let mut flat: Vec<(u32, Written)> = Vec::new();
        for txn in history.indexes() {
            for op in history.ops(txn) {
                let Op::Write { key, value } = *op else {
                    continue;
                };
                let last = &mut last_of[key.0 as usize];
                if last.0 == txn.0 {
                    flat[last.1].1.last = false;
                }
                *last = (txn.0, flat.len());
                let written = Written {
                    value,
                    txn: txn.0,
                    last: true,
                };
                flat.push((key.0, written));
            }
        }
        let mut all = Csr::new(history.key_count(), flat.iter().copied());
        all.sort_each_by_key(|written| (written.value, written.txn));
        Self(all)
    }

    /// Who wrote this value to this key.
    fn of(&self, key: Key, value: Value) -> &[Written] {
        let all = self.0.get(key.0);
        let from = all.partition_point(|written| written.value < value);
        let count = all[from..].partition_point(|written| written.value == value);
        &all[from..from + count]
    }
}

impl Facts {
    /// Finds out; `every` is whether reads that repeat are listed too (F3). Faults come in the order of the history.
    pub(crate) fn new(history: &Observed, every: bool) -> Self {
        let writes = Writes::new(history);
        let mut walk = Walk::new(history);
        let counts = who_counts(history, &writes, &mut walk);
        let members: Vec<TxnIndex> = history
            .indexes()
            .filter(|txn| counts[txn.0 as usize])
            .collect();
        let (slots, first_slot) = slots(history, &members);
        let key_slots = Csr::new(
            history.key_count(),
            slots
                .iter()
                .zip(0_u32..)
                .map(|(slot, place)| (slot.key, place)),
        );
        let mut facts = Self {
            members,
            reads: Csr::new(0, std::iter::empty()),
            slots,
            first_slot,
            key_slots,
            faults: Vec::new(),
            several: None,
            not_registers: None,
        };
        facts.read_all(history, &writes, &mut walk, every);
        facts
    }

    /// How many members there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.members.len()).expect("the builder counts transactions in 32 bits")
    }

    /// The slots of a member.
    pub(crate) fn slots_of(&self, member: u32) -> std::ops::Range<u32> {
        self.first_slot[member as usize]..self.first_slot[member as usize + 1]
    }

    /// A slot.
    pub(crate) fn slot(&self, slot: u32) -> Slot {
        self.slots[slot as usize]
    }

    /// The slot of a member for a key.
    pub(crate) fn slot_of(&self, member: u32, key: u32) -> Option<u32> {
        self.slots_of(member)
            .find(|slot| self.slot(*slot).key == key)
    }

    fn read_all(&mut self, history: &Observed, writes: &Writes, walk: &mut Walk<'_>, every: bool) {
        let mut flat: Vec<(u32, Read)> = Vec::new();
        let mut faults = Vec::new();
        for (member, txn) in (0_u32..).zip(self.members.clone()) {
            let lists = |op: &Op| matches!(op, Op::ReadList { .. } | Op::Append { .. });
            if self.not_registers.is_none() && history.ops(txn).iter().any(lists) {
                self.not_registers = Some(txn);
            }
            let mut found: Vec<(Key, Option<Value>)> = Vec::new();
            let fault = |key, value: Option<Value>, kind| {
                let nobody = value.is_some_and(|value| writes.of(key, value).is_empty());
                let kind = if nobody { ReadFaultKind::ThinAir } else { kind };
                faults.push(ReadFault {
                    txn,
                    key,
                    value,
                    kind,
                });
            };
            walk.reads(txn, every, |key, value| found.push((key, value)), fault);
            for (key, value) in found {
                let source = match value {
                    None => Source::Initial,
                    Some(wrote) => self.source(history, writes.of(key, wrote), txn, key),
                };
                if source == Source::Nothing {
                    let kind = why_nothing(
                        history,
                        value.map_or(&[], |wrote| writes.of(key, wrote)),
                        txn,
                    );
                    faults.push(ReadFault {
                        txn,
                        key,
                        value,
                        kind,
                    });
                } else if source == Source::Several && self.several.is_none() {
                    self.several = Some((txn, key));
                }
                flat.push((member, Read { key: key.0, source }));
            }
        }
        self.reads = Csr::new(self.members.len(), flat.iter().copied());
        self.faults = faults;
    }

    fn source(
        &self,
        history: &Observed,
        written: &[Written],
        reader: TxnIndex,
        key: Key,
    ) -> Source {
        let mut able = able(history, written, reader);
        let Some(first) = able.next() else {
            return Source::Nothing;
        };
        if able.next().is_some() {
            return Source::Several;
        }
        let member = self
            .members
            .binary_search(&first)
            .expect("the only possible writer counts");
        let member = u32::try_from(member).expect("members are counted in 32 bits");
        let slot = self.slot_of(member, key.0);
        Source::Slot(slot.expect("a member has a slot for each final write (F2)"))
    }
}

/// Final writes that `reader` may have read: of others that have not aborted.
fn able<'w>(
    history: &'w Observed,
    written: &'w [Written],
    reader: TxnIndex,
) -> impl Iterator<Item = TxnIndex> + use<'w> {
    written
        .iter()
        .filter(move |written| written.last && written.txn != reader.0)
        .map(|written| TxnIndex(written.txn))
        .filter(|writer| history.txn(*writer).outcome != Outcome::Aborted)
}

/// Who counts (see above). A value with several possible writers makes none of them count.
fn who_counts(history: &Observed, writes: &Writes, walk: &mut Walk<'_>) -> Vec<bool> {
    let outcomes = || history.txns().iter().map(|txn| txn.outcome);
    let mut counts: Vec<bool> = outcomes()
        .map(|outcome| outcome == Outcome::Committed)
        .collect();
    if !outcomes().any(|outcome| outcome == Outcome::Unknown) {
        return counts;
    }
    let mut open: Vec<TxnIndex> = history
        .indexes()
        .filter(|txn| counts[txn.0 as usize])
        .collect();
    while let Some(reader) = open.pop() {
        let mut found = Vec::new();
        walk.reads(
            reader,
            false,
            |key, value| found.extend(value.map(|v| (key, v))),
            |_, _, _| {},
        );
        for (key, value) in found {
            let mut able = able(history, writes.of(key, value), reader);
            if let (Some(only), None) = (able.next(), able.next())
                && !std::mem::replace(&mut counts[only.0 as usize], true)
            {
                open.push(only);
            }
        }
    }
    counts
}

fn slots(history: &Observed, members: &[TxnIndex]) -> (Vec<Slot>, Vec<u32>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut first = vec![0_u32];
    let mut last_of = vec![(NONE, 0_usize); history.key_count()];
    for (member, txn) in (0_u32..).zip(members) {
        for op in history.ops(*txn) {
            let Op::Write { key, value } = *op else {
                continue;
            };
            let last = &mut last_of[key.0 as usize];
            if last.0 == member {
                slots[last.1].value = value;
            } else {
                *last = (member, slots.len());
                slots.push(Slot {
                    writer: member,
                    key: key.0,
                    value,
                });
            }
        }
        let from = first.last().map_or(0, |from| *from as usize);
        slots[from..].sort_by_key(|slot| slot.key);
        first.push(u32::try_from(slots.len()).expect("the builder counts operations in 32 bits"));
    }
    (slots, first)
}

/// Why a value has no writer that could have been read.
fn why_nothing(history: &Observed, written: &[Written], reader: TxnIndex) -> ReadFaultKind {
    let of_others = || written.iter().filter(|written| written.txn != reader.0);
    let aborted =
        |written: &&Written| history.txn(TxnIndex(written.txn)).outcome == Outcome::Aborted;
    if let Some(before) = of_others().find(|written| !aborted(written)) {
        return ReadFaultKind::Intermediate {
            writer: TxnIndex(before.txn),
        };
    }
    if let Some(writer) = of_others().find(aborted) {
        return ReadFaultKind::Aborted {
            writer: TxnIndex(writer.txn),
        };
    }
    if written.is_empty() {
        ReadFaultKind::ThinAir
    } else {
        ReadFaultKind::Future
    }
}
