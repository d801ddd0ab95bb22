//! What lists tell: the order of the appends of each key, and the dependencies that follow.
//!
//! A list that was read shows every append before it in order (Kingsbury and Alvaro, 2020, "traceability"). So the longest
//! read of a key is the version order of what it shows, as long as other reads are beginnings of it, and what nobody
//! has read comes behind.
//!
//! - **L1** [`Lists::trusted`] elements of the longest read are in version order: no read contradicts them, and no
//!   element of them comes twice.
//! - **L2** Every committed append that is not among them comes behind them; if several transactions have such
//!   appends, their order among each other is not known, and nobody has seen it.
//! - **L3** Of a value that was appended more than once, nobody knows whose element a read shows. If the certain part
//!   shows it, nothing is said of where any of these appends is; if it does not, all of them are behind it.

use crate::models::Anomaly;
use crate::observed::{Elements, Key, Observed, Op, Outcome, TxnIndex, Value};

use super::findings::{Findings, list_words};
use super::graph::{Class, Links};
use super::writes::{Kind, Write, Writer, Writes};

/// No position, no transaction, no write.
pub(super) const NONE: u32 = u32::MAX;

/// The position of a write that is in the certain part or behind it (L3).
const ANYWHERE: u32 = u32::MAX - 1;

/// Where an append is in the order of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At this position of the certain part.
    At(u32),
    /// Behind the certain part.
    Behind,
    /// Nobody knows (L3).
    Anywhere,
}

/// The orders of all lists.
#[derive(Debug)]
pub(super) struct Lists {
    /// Where the order of each key begins in `order`.
    first: Vec<u32>,
    /// Of the longest read of each key, who appended the elements (places in `Writes`, or `NONE`).
    order: Vec<u32>,
    /// Who read it, and what.
    longest: Vec<Option<(u32, Elements)>>,
    /// How many elements of it are certain (L1).
    trusted: Vec<u32>,
    /// For each place of `order`: the transaction of the first append there or later that is certain and committed.
    next: Vec<u32>,
    /// The position of each write in its key's order, if it is certain; `NONE` behind that, or `ANYWHERE`.
    position: Vec<u32>,
    /// Who appended what nobody read.
    tails: Vec<Tail>,
    /// Reads that are not beginnings of the longest.
    pub(super) incompatible: Vec<(u32, Key, Elements)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Empty,
    One(u32),
    Many,
}

impl Lists {
    /// Finds what was read; transactions that were seen count as committed from then on.
    pub(super) fn of(history: &Observed, writes: &mut Writes) -> Self {
        loop {
            let mut lists = Self::longest_reads(history, writes);
            // What a transaction read counts as soon as the transaction does.
            if !lists.resolve(history, writes) {
                return lists;
            }
        }
    }

    /// Finds the orders (L1, L2).
    pub(super) fn order(&mut self, history: &Observed, writes: &Writes, findings: &mut Findings) {
        self.trust(history, writes, findings);
        self.place(history, writes);
    }

    fn longest_reads(history: &Observed, writes: &Writes) -> Self {
        let keys = history.key_count();
        let mut longest: Vec<Option<(u32, Elements)>> = vec![None; keys];
        let mut lengths = vec![0_u32; keys];
        for (txn, key, elements) in reads(history, writes) {
            let length = history.elements(elements).len();
            let best = &mut lengths[key.0 as usize];
            if length > *best as usize {
                *best = u32::try_from(length).expect("elements are counted in 32 bits");
                longest[key.0 as usize] = Some((txn, elements));
            }
        }
        let mut first = Vec::with_capacity(keys + 1);
        let mut sum = 0_u32;
        for &length in &lengths {
            first.push(sum);
            sum = sum
                .checked_add(length)
                .expect("no more than there are elements");
        }
        first.push(sum);
        Self {
            first,
            order: vec![NONE; sum as usize],
            longest,
            trusted: lengths,
            next: Vec::new(),
            position: Vec::new(),
            tails: Vec::new(),
            incompatible: Vec::new(),
        }
    }

    /// Finds who appended what was read; whether a transaction came to count by that.
    fn resolve(&mut self, history: &Observed, writes: &mut Writes) -> bool {
        let mut news = false;
        for key in 0..self.longest.len() {
            let Some((_, elements)) = self.longest[key] else {
                continue;
            };
            let name = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
            for (place, &value) in (self.first[key] as usize..).zip(history.elements(elements)) {
                if let Writer::One(write) = writes.writer(name, value) {
                    self.order[place] = write;
                    news |= saw_reader(history, writes, write);
                }
            }
        }
        let mut incompatible = Vec::new();
        for (txn, key, elements) in reads(history, writes) {
            let list = history.elements(elements);
            if !self.longest_list(history, key).starts_with(list) {
                incompatible.push((txn, key, elements));
            }
        }
        for &(_, key, elements) in &incompatible {
            for &value in history.elements(elements) {
                if let Writer::One(write) = writes.writer(key, value) {
                    news |= saw_reader(history, writes, write);
                }
            }
        }
        self.incompatible = incompatible;
        news
    }

    fn longest_list<'a>(&self, history: &'a Observed, key: Key) -> &'a [Value] {
        self.longest[key.0 as usize].map_or(&[], |(_, elements)| history.elements(elements))
    }

    /// Establishes L1.
    fn trust(&mut self, history: &Observed, writes: &Writes, findings: &mut Findings) {
        let mut sorted = Vec::new();
        let mut several = Vec::new();
        for key in 0..self.longest.len() {
            let Some((reader, elements)) = self.longest[key] else {
                continue;
            };
            let list = history.elements(elements);
            let name = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
            note_program_order(history, writes, findings, reader, name, list, &mut several);
            if let Some(second) = first_repeated(list, &mut sorted) {
                self.trusted[key] = u32::try_from(second).expect("a position in it");
                note_duplicates(history, writes, findings, reader, (name, list), &sorted);
            }
        }
        for &(reader, key, elements) in &self.incompatible {
            let list = history.elements(elements);
            let longest = self.longest_list(history, key);
            let same = list
                .iter()
                .zip(longest)
                .take_while(|(one, other)| one == other)
                .count();
            let trusted = &mut self.trusted[key.0 as usize];
            *trusted = (*trusted).min(u32::try_from(same).expect("a position in it"));
            let by = self.longest[key.0 as usize].map_or(reader, |(txn, _)| txn);
            findings.note(Anomaly::IncompatibleOrder, &[by, reader], || {
                format!(
                    "T{by} read {} as {}, and T{reader} read it as {}: neither is the beginning of the other.",
                    history.key_name(key),
                    list_words(history, longest),
                    list_words(history, list),
                )
            });
            note_program_order(history, writes, findings, reader, key, list, &mut several);
            if first_repeated(list, &mut sorted).is_some() {
                note_duplicates(history, writes, findings, reader, (key, list), &sorted);
            }
        }
    }

    fn place(&mut self, history: &Observed, writes: &Writes) {
        self.position = vec![NONE; writes.len() as usize];
        self.next = vec![NONE; self.order.len()];
        for key in 0..self.longest.len() {
            let Some((_, elements)) = self.longest[key] else {
                continue;
            };
            let first = self.first[key];
            let mut next = NONE;
            for at in (0..self.trusted[key]).rev() {
                let write = self.order[(first + at) as usize];
                if write == NONE {
                    let list = history.elements(elements);
                    let name = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
                    let all = writes.of_value(name, list[at as usize]);
                    self.position[all.start as usize..all.end as usize].fill(ANYWHERE);
                } else {
                    self.position[write as usize] = at;
                    let txn = writes.at(write).txn;
                    next = if writes.is_live(txn) { txn } else { next };
                }
                self.next[(first + at) as usize] = next;
            }
        }
        self.tails = (0..self.longest.len())
            .map(|key| {
                let key = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
                let mut tail = Tail::Empty;
                for txn in self.behind(writes, key) {
                    match tail {
                        Tail::Empty => tail = Tail::One(txn),
                        Tail::One(one) if one == txn => {}
                        Tail::One(_) | Tail::Many => tail = Tail::Many,
                    }
                }
                tail
            })
            .collect();
    }

    /// Who appended what is behind the certain part of a key, once for each append.
    fn behind(&self, writes: &Writes, key: Key) -> impl Iterator<Item = u32> {
        let is_list = writes.kind(key) == Kind::List;
        let range = if is_list { writes.of_key(key) } else { 0..0 };
        let unplaced = range.filter(|&write| self.position[write as usize] == NONE);
        unplaced
            .map(|write| writes.at(write).txn)
            .filter(|&txn| writes.is_live(txn))
    }

    /// Where an append is.
    pub(super) fn place_of(&self, write: u32) -> Place {
        match self.position[write as usize] {
            NONE => Place::Behind,
            ANYWHERE => Place::Anywhere,
            position => Place::At(position),
        }
    }

    /// The longest read of a key.
    pub(super) fn longest(&self, key: Key) -> Option<(u32, Elements)> {
        self.longest[key.0 as usize]
    }

    /// How many elements of the longest read of a key are certain (L1).
    pub(super) fn trusted(&self, key: Key) -> u32 {
        self.trusted[key.0 as usize]
    }

    /// The last committed append before a position of the certain part.
    pub(super) fn before(&self, writes: &Writes, key: Key, position: u32) -> Option<Write> {
        let first = self.first[key.0 as usize];
        let known = (0..position)
            .rev()
            .map(|at| self.order[(first + at) as usize]);
        let mut appends = known
            .filter(|&write| write != NONE)
            .map(|write| writes.at(write));
        appends.find(|write| writes.is_live(write.txn))
    }

    /// Whether a read is of a state whose successors are known.
    pub(super) fn is_certain(&self, history: &Observed, key: Key, list: &[Value]) -> bool {
        list.len() <= self.trusted(key) as usize
            && self.longest_list(history, key).starts_with(list)
    }

    /// All dependencies between transactions.
    pub(super) fn link(
        &self,
        history: &Observed,
        writes: &Writes,
        findings: &mut Findings,
        links: &mut Links,
    ) {
        self.link_writes(writes, links, findings);
        let mut at_end: Vec<(Key, u32)> = Vec::new();
        for (txn, key, elements) in reads(history, writes) {
            let list = history.elements(elements);
            let first = self.first[key.0 as usize];
            let length = u32::try_from(list.len()).expect("elements are counted in 32 bits");
            let compatible = self.longest_list(history, key).starts_with(list);
            if let Some(&last) = list.last() {
                let writer = if compatible {
                    self.order[(first + length - 1) as usize]
                } else if let Writer::One(writer) = writes.writer(key, last) {
                    writer
                } else {
                    NONE
                };
                if writer != NONE && writes.is_live(writes.at(writer).txn) {
                    links.push(writes.at(writer).txn, txn, Class::WR);
                }
            }
            if !compatible || length > self.trusted(key) {
                continue;
            }
            let here = (length < self.trusted(key)).then(|| self.next[(first + length) as usize]);
            match (here, self.tails[key.0 as usize]) {
                (Some(next), _) if next != NONE => links.push(txn, next, Class::RW),
                (_, Tail::One(next)) => links.push(txn, next, Class::RW),
                (_, Tail::Many) => at_end.push((key, txn)),
                (_, Tail::Empty) => {}
            }
        }
        at_end.sort_unstable();
        let mut after: Vec<u32> = Vec::new();
        for readers in at_end.chunk_by(|one, other| one.0 == other.0) {
            let mut before = readers.iter().map(|&(_, txn)| txn).collect();
            after.clear();
            after.extend(self.behind(writes, readers[0].0));
            links.all_to_all(&mut before, &mut after, Class::RW);
        }
    }

    fn link_writes(&self, writes: &Writes, links: &mut Links, findings: &mut Findings) {
        for key in 0..self.longest.len() {
            let first = self.first[key];
            let mut last = NONE;
            for at in 0..self.trusted[key] {
                let write = self.order[(first + at) as usize];
                if write == NONE || !writes.is_live(writes.at(write).txn) {
                    continue;
                }
                let txn = writes.at(write).txn;
                if last != NONE {
                    links.push(last, txn, Class::WW);
                }
                last = txn;
            }
            let name = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
            if self.tails[key] == Tail::Many {
                let unread = self.behind(writes, name).map(|txn| (name, txn));
                findings.contested.extend(unread);
            }
            if last == NONE || self.tails[key] == Tail::Empty {
                continue;
            }
            let mut before = NONE;
            for txn in self.behind(writes, name) {
                if txn != before {
                    links.push(last, txn, Class::WW);
                }
                before = txn;
            }
        }
    }

    /// Reads of what should not have been read.
    pub(super) fn judge_reads(&self, history: &Observed, writes: &Writes, findings: &mut Findings) {
        let bad = self.first_bad(history, writes, findings);
        for (txn, key, elements) in reads(history, writes) {
            let list = history.elements(elements);
            let Some(&last) = list.last() else { continue };
            let compatible = self.longest_list(history, key).starts_with(list);
            if !compatible || list.len() as u64 > u64::from(bad[key.0 as usize]) {
                judge_elements(history, writes, findings, txn, key, list);
            }
            let writer = if compatible {
                let place = self.first[key.0 as usize] as usize + list.len() - 1;
                self.order[place]
            } else if let Writer::One(writer) = writes.writer(key, last) {
                writer
            } else {
                NONE
            };
            if writer != NONE && !writes.at(writer).is_final() && writes.at(writer).txn != txn {
                let by = writes.at(writer).txn;
                findings.note(Anomaly::G1b, &[by, txn], || {
                    format!(
                        "T{txn} read {} as {}, which ends with {}: T{by} appended that and then more.",
                        history.key_name(key),
                        list_words(history, list),
                        history.value_name(last),
                    )
                });
            }
        }
    }

    /// For each key, the position of the first element of the longest read that no committed transaction appended.
    fn first_bad(&self, history: &Observed, writes: &Writes, findings: &mut Findings) -> Vec<u32> {
        let outcome = |txn: u32| history.txn(TxnIndex(txn)).outcome;
        let mut bad = vec![NONE; self.longest.len()];
        for (key, bad) in bad.iter_mut().enumerate() {
            let Some((_, elements)) = self.longest[key] else {
                continue;
            };
            let mut aborted: Option<Write> = None;
            for (at, &value) in (0_u32..).zip(history.elements(elements)) {
                let write = self.order[(self.first[key] + at) as usize];
                if write == NONE {
                    *bad = (*bad).min(at);
                    let name = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
                    if writes.writer(name, value) == Writer::Several {
                        findings.doubt(name, value);
                    }
                    continue;
                }
                let write = writes.at(write);
                match (outcome(write.txn), aborted) {
                    (Outcome::Aborted, None) => {
                        *bad = (*bad).min(at);
                        aborted = Some(write);
                    }
                    (Outcome::Committed, Some(dirty)) => {
                        note_dirty_update(history, findings, key, dirty, write);
                        aborted = None;
                    }
                    (Outcome::Aborted | Outcome::Unknown, _) | (Outcome::Committed, None) => {}
                }
            }
        }
        bad
    }
}

/// Every read of a list by a transaction that counts.
fn reads<'a>(
    history: &'a Observed,
    writes: &'a Writes,
) -> impl Iterator<Item = (u32, Key, Elements)> + use<'a> {
    let live = history.indexes().filter(|txn| writes.is_live(txn.0));
    live.flat_map(move |txn| {
        history.ops(txn).iter().filter_map(move |op| match *op {
            Op::ReadList { key, elements } if writes.kind(key) == Kind::List => {
                Some((txn.0, key, elements))
            }
            Op::ReadList { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Append { .. }
            | Op::Unseen { .. } => None,
        })
    })
}

/// A write was seen; whether that makes reads count that did not.
fn saw_reader(history: &Observed, writes: &mut Writes, write: u32) -> bool {
    let txn = writes.at(write).txn;
    let is_read = |op: &Op| matches!(op, Op::ReadList { .. });
    writes.saw(history, txn) && history.ops(TxnIndex(txn)).iter().any(is_read)
}

/// The position of the first element that was there before.
fn first_repeated(list: &[Value], sorted: &mut Vec<(Value, usize)>) -> Option<usize> {
    sorted.clear();
    sorted.extend(list.iter().copied().zip(0..));
    sorted.sort_unstable();
    let again = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    again.map(|pair| pair[1].1).min()
}

/// A list that shows a transaction's second append must show its first, and before it.
fn note_program_order(
    history: &Observed,
    writes: &Writes,
    findings: &mut Findings,
    reader: u32,
    key: Key,
    list: &[Value],
    several: &mut Vec<(u32, u32, u32)>,
) {
    several.clear();
    for (at, &value) in (0_u32..).zip(list) {
        if let Writer::One(place) = writes.writer(key, value) {
            let write = writes.at(place);
            if write.nth() > 0 || !write.is_final() {
                several.push((write.txn, write.nth(), at));
            }
        }
    }
    several.sort_unstable();
    for of_txn in several.chunk_by(|one, other| one.0 == other.0) {
        let firsts = (0_u32..)
            .zip(of_txn)
            .all(|(nth, &(_, write, _))| write == nth);
        let ascending = of_txn.windows(2).all(|pair| pair[0].2 < pair[1].2);
        let by = of_txn[0].0;
        if !ascending || (!firsts && misses_one(history, writes, by, key, of_txn)) {
            findings.note(Anomaly::IncompatibleOrder, &[by, reader], || {
                format!(
                    "T{reader} read {} as {}, which is not the order in which T{by} appended to it.",
                    history.key_name(key),
                    list_words(history, list),
                )
            });
        }
    }
}

/// Whether, of the appends of a transaction that nobody can take for another's (L3), a list shows a later one and not an
/// earlier one. `shown`: by how many came before each.
fn misses_one(
    history: &Observed,
    writes: &Writes,
    txn: u32,
    key: Key,
    shown: &[(u32, u32, u32)],
) -> bool {
    let appended = history
        .ops(TxnIndex(txn))
        .iter()
        .filter_map(|op| op.wrote());
    let own = (0_u32..).zip(appended.filter(|&(of, _)| of == key));
    let mut known = own
        .filter(|&(_, (_, value))| matches!(writes.writer(key, value), Writer::One(_)))
        .map(|(nth, _)| nth);
    shown.iter().any(|&(_, nth, _)| known.next() != Some(nth))
}

/// A list that shows an element more often than it was appended.
fn note_duplicates(
    history: &Observed,
    writes: &Writes,
    findings: &mut Findings,
    txn: u32,
    (key, list): (Key, &[Value]),
    sorted: &[(Value, usize)],
) {
    let mut same = sorted.chunk_by(|one, other| one.0 == other.0);
    let more = same.find(|same| same.len() > writes.of_value(key, same[0].0).len().max(1));
    if let Some(same) = more {
        findings.note_impossible(history, Anomaly::DuplicateElements, txn, || {
            format!(
                "T{txn} read {} as {}, which has {} {}.",
                history.key_name(key),
                list_words(history, list),
                history.value_name(same[0].0),
                times(same.len(), writes.of_value(key, same[0].0).len()),
            )
        });
    }
}

/// How often something was read that was appended less often.
fn times(read: usize, appended: usize) -> String {
    match (read, appended) {
        (2, 0 | 1) => "twice".to_owned(),
        (_, 0 | 1) => format!("{read} times"),
        (_, _) => format!("{read} times, and it was appended {appended} times"),
    }
}

fn note_dirty_update(
    history: &Observed,
    findings: &mut Findings,
    key: usize,
    dirty: Write,
    on_it: Write,
) {
    findings.note(Anomaly::DirtyUpdate, &[dirty.txn, on_it.txn], || {
        let key = Key(u32::try_from(key).expect("keys are counted in 32 bits"));
        format!(
            "T{} appended {} to {} and aborted, and T{} committed {}, which was appended behind it.",
            dirty.txn,
            history.value_name(dirty.value),
            history.key_name(key),
            on_it.txn,
            history.value_name(on_it.value),
        )
    });
}

/// Each element of a read: from an aborted transaction, or from nowhere.
fn judge_elements(
    history: &Observed,
    writes: &Writes,
    findings: &mut Findings,
    txn: u32,
    key: Key,
    list: &[Value],
) {
    for &value in list {
        match writes.writer(key, value) {
            Writer::One(write) => {
                let by = writes.at(write).txn;
                if history.txn(TxnIndex(by)).outcome == Outcome::Aborted && by != txn {
                    findings.note(Anomaly::G1a, &[by, txn], || {
                        format!(
                            "T{txn} read {} as {}, and T{by}, which appended {}, aborted.",
                            history.key_name(key),
                            list_words(history, list),
                            history.value_name(value),
                        )
                    });
                }
            }
            Writer::Nobody => findings.note_impossible(history, Anomaly::GarbageRead, txn, || {
                format!(
                    "T{txn} read {} as {}, and nobody appended {}.",
                    history.key_name(key),
                    list_words(history, list),
                    history.value_name(value),
                )
            }),
            Writer::Several => findings.doubt(key, value),
        }
    }
}
