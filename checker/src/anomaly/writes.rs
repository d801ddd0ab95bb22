//! Who wrote which value: every write of a history, by key and value.

use crate::observed::{Key, Observed, Op, Outcome, Value};

/// One write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) value: Value,
    pub(super) txn: u32,
    /// How many writes of its key its transaction made before it; `LAST` is set if it made none after it.
    nth: u32,
}

/// See [`Write::nth`].
const LAST: u32 = 1 << 31;

impl Write {
    /// Whether it is the last of its transaction on its key.
    pub(super) const fn is_final(self) -> bool {
        self.nth & LAST != 0
    }

    /// How many writes of its key its transaction made before it.
    pub(super) const fn nth(self) -> u32 {
        self.nth & !LAST
    }
}

/// What an index lookup finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// Exactly one write, or the last of one transaction's of a register: its place.
    One(u32),
    /// Nobody wrote it.
    Nobody,
    /// It was written more than once; which write was read is not known.
    Several,
}

/// Every write, whatever became of its transaction.
#[derive(Debug)]
pub(super) struct Writes {
    /// Where the writes of each key begin.
    first: Vec<u32>,
    /// By key, then by value.
    list: Vec<Write>,
    /// What kind each key is of.
    kinds: Vec<Kind>,
    /// Which transactions count as committed; see [`Writes::saw`].
    pub(super) live: Vec<bool>,
}

/// How a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// Not at all, or by reads that nobody saw.
    #[default]
    Unused,
    /// As a list.
    List,
    /// As a register.
    Register,
    /// As both, which nothing can be inferred from.
    Mixed,
}

impl Kind {
    fn with(self, other: Self) -> Self {
        if self == Self::Unused || self == other {
            other
        } else {
            Self::Mixed
        }
    }
}

impl Writes {
    /// Indexes a history.
    pub(super) fn of(history: &Observed) -> Self {
        let keys = history.key_count();
        let mut first = vec![0_u32; keys + 1];
        let mut kinds = vec![Kind::Unused; keys];
        for txn in history.indexes() {
            for op in history.ops(txn) {
                let key = op.key().0 as usize;
                let kind = match op {
                    Op::Write { .. } | Op::Read { .. } => Kind::Register,
                    Op::Append { .. } | Op::ReadList { .. } => Kind::List,
                    Op::Unseen { .. } => continue,
                };
                kinds[key] = kinds[key].with(kind);
                first[key + 1] += u32::from(op.wrote().is_some());
            }
        }
        for key in 0..keys {
            first[key + 1] += first[key];
        }
        let mut writes = Self {
            list: Self::filled(history, &first),
            first,
            kinds,
            live: history
                .txns()
                .iter()
                .map(|txn| txn.outcome == Outcome::Committed)
                .collect(),
        };
        for key in 0..keys {
            let (start, end) = (writes.first[key] as usize, writes.first[key + 1] as usize);
            writes.list[start..end]
                .sort_unstable_by_key(|write| (write.value, write.txn, write.nth()));
        }
        writes
    }

    fn filled(history: &Observed, first: &[u32]) -> Vec<Write> {
        let none = Write {
            value: Value::number(0).expect("a small number"),
            txn: 0,
            nth: LAST,
        };
        let mut next = first.to_vec();
        let mut list = vec![none; *first.last().expect("one more than keys") as usize];
        for txn in history.indexes() {
            for (key, value) in history.ops(txn).iter().filter_map(|op| op.wrote()) {
                let key = key.0 as usize;
                let place = next[key] as usize;
                // A transaction's writes of one key stand side by side until they are sorted.
                let mut nth = LAST;
                if place > first[key] as usize && list[place - 1].txn == txn.0 {
                    list[place - 1].nth &= !LAST;
                    nth = LAST | (list[place - 1].nth + 1);
                }
                list[place] = Write {
                    value,
                    txn: txn.0,
                    nth,
                };
                next[key] += 1;
            }
        }
        list
    }

    /// The write at a place.
    pub(super) fn at(&self, place: u32) -> Write {
        self.list[place as usize]
    }

    /// How many writes there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.list.len()).expect("operations are counted in 32 bits")
    }

    /// The key of the write at a place.
    pub(super) fn key_of(&self, place: u32) -> Key {
        let key = self.first.partition_point(|&first| first <= place) - 1;
        Key(u32::try_from(key).expect("keys are counted in 32 bits"))
    }

    /// How a key is used.
    pub(super) fn kind(&self, key: Key) -> Kind {
        self.kinds[key.0 as usize]
    }

    /// The places of the writes of a key, by value.
    pub(super) fn of_key(&self, key: Key) -> std::ops::Range<u32> {
        self.first[key.0 as usize]..self.first[key.0 as usize + 1]
    }

    /// Who wrote a value to a key. Several writes of a register by one transaction count as its last; in a list each
    /// append is an element of its own.
    pub(super) fn writer(&self, key: Key, value: Value) -> Writer {
        let same = self.of_value(key, value);
        let Some(place) = same.clone().next_back() else {
            return Writer::Nobody;
        };
        let alone = match self.kind(key) {
            Kind::Register => self.at(same.start).txn == self.at(place).txn,
            Kind::List | Kind::Mixed | Kind::Unused => same.len() == 1,
        };
        if alone {
            Writer::One(place)
        } else {
            Writer::Several
        }
    }

    /// The places of all writes of a value to a key, by transaction.
    pub(super) fn of_value(&self, key: Key, value: Value) -> std::ops::Range<u32> {
        let all = self.of_key(key);
        let slice = &self.list[all.start as usize..all.end as usize];
        let count =
            |length: usize| u32::try_from(length).expect("operations are counted in 32 bits");
        let at = slice.partition_point(|write| write.value < value);
        let same = slice[at..].partition_point(|write| write.value == value);
        let first = all.start + count(at);
        first..first + count(same)
    }

    /// Whether a transaction counts as committed.
    pub(super) fn is_live(&self, txn: u32) -> bool {
        self.live[txn as usize]
    }

    /// A transaction that counts read what `txn` wrote: if nobody was told whether it committed, it did. Tells whether
    /// that is news.
    pub(super) fn saw(&mut self, history: &Observed, txn: u32) -> bool {
        let live = &mut self.live[txn as usize];
        let news = !*live && history.txns()[txn as usize].outcome == Outcome::Unknown;
        *live |= news;
        news
    }
}

/// Groups the operations of a transaction by key: pairs of key and place, in that order.
pub(super) fn by_key(ops: &[Op], groups: &mut Vec<(Key, u32)>) {
    groups.clear();
    groups.extend((0..).zip(ops).map(|(place, op)| (op.key(), place)));
    groups.sort_unstable();
}
