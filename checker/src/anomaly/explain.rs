//! Why one transaction precedes another: the operations that say so, and a sentence that quotes them.

use crate::observed::{Edge, Key, Observed, Op, TxnIndex, Value, Why};

use super::findings::list_words;
use super::graph::Class;
use super::lists::{Lists, Place};
use super::registers::{Registers, Touch};
use super::writes::{Kind, Writer, Writes};

/// Everything that an explanation may need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explainer<'a> {
    pub(super) history: &'a Observed,
    pub(super) writes: &'a Writes,
    pub(super) lists: &'a Lists,
    pub(super) registers: &'a Registers,
    pub(super) writes_follow_reads: bool,
}

impl Explainer<'_> {
    /// Why there is a link of this class, and the sentence.
    ///
    /// # Panics
    ///
    /// If there is no such link.
    pub(super) fn link(&self, from: u32, to: u32, class: Class) -> (Edge, String) {
        let (why, sentence) = match class {
            Class::SESSION => (Why::Session, self.session_sentence(from, to)),
            Class::REALTIME => (Why::Realtime, self.realtime_sentence(from, to)),
            _ => self
                .data(from, to, class)
                .expect("every link was made for a reason"),
        };
        let edge = Edge {
            from: TxnIndex(from),
            to: TxnIndex(to),
            why,
        };
        (edge, format!("{sentence}: so T{from} precedes T{to}."))
    }

    /// Whether values alone say that one transaction precedes another.
    pub(super) fn is_data(&self, from: u32, to: u32) -> bool {
        [Class::WW, Class::WR, Class::RW]
            .iter()
            .any(|&class| self.data(from, to, class).is_some())
    }

    fn data(&self, from: u32, to: u32, class: Class) -> Option<(Why, String)> {
        match class {
            Class::WW => self
                .list_ww(from, to)
                .or_else(|| self.register_ww(from, to)),
            Class::WR => self
                .list_wr(from, to)
                .or_else(|| self.register_wr(from, to)),
            Class::RW => self
                .list_rw(from, to)
                .or_else(|| self.register_rw(from, to)),
            _ => None,
        }
    }

    fn session_sentence(&self, from: u32, to: u32) -> String {
        let session = self.history.txn(TxnIndex(from)).session;
        let name = session.map_or_else(
            || "its session".to_owned(),
            |of| format!("session {}", of.0),
        );
        format!("T{from} came before T{to} in {name}")
    }

    fn realtime_sentence(&self, from: u32, to: u32) -> String {
        let interval = |txn: u32| self.history.txn(TxnIndex(txn)).interval;
        let end = interval(from).map_or(0, |interval| interval.end);
        let begin = interval(to).map_or(0, |interval| interval.begin);
        format!("T{from} had ended (at {end}) before T{to} began (at {begin})")
    }

    /// The appends of a transaction of which it is known where they are: their position, or behind all that is certain.
    fn appends(&self, txn: u32) -> impl Iterator<Item = (Key, Value, Option<u32>)> {
        self.history
            .ops(TxnIndex(txn))
            .iter()
            .filter_map(move |op| match *op {
                Op::Append { key, value } if self.writes.kind(key) == Kind::List => {
                    // Where there are several, all are in the same place.
                    let write = self.writes.of_value(key, value).next()?;
                    match self.lists.place_of(write) {
                        Place::At(position) => Some((key, value, Some(position))),
                        Place::Behind => Some((key, value, None)),
                        Place::Anywhere => None,
                    }
                }
                Op::Append { .. }
                | Op::Read { .. }
                | Op::Write { .. }
                | Op::ReadList { .. }
                | Op::Unseen { .. } => None,
            })
    }

    fn list_ww(&self, from: u32, to: u32) -> Option<(Why, String)> {
        for (key, later, position) in self.appends(to) {
            let end = position.unwrap_or_else(|| self.lists.trusted(key));
            let Some(before) = self.lists.before(self.writes, key, end) else {
                continue;
            };
            if before.txn != from {
                continue;
            }
            let earlier = before.value;
            let (reader, elements) = self.lists.longest(key).expect("a position in it");
            let list = self.history.elements(elements);
            let shown = list_words(self.history, &list[..list.len().min(end as usize + 1)]);
            let name = |value: Value| self.history.value_name(value);
            let seen = match position {
                Some(_) => format!("T{reader} read {shown}"),
                None => format!("T{reader} read {shown}, which has {} only", name(earlier)),
            };
            let sentence = format!(
                "T{from} appended {} to {}, T{to} appended {}, and {seen}",
                name(earlier),
                self.history.key_name(key),
                name(later),
            );
            return Some((
                Why::WriteWrite {
                    key,
                    earlier,
                    later,
                },
                sentence,
            ));
        }
        None
    }

    fn list_wr(&self, from: u32, to: u32) -> Option<(Why, String)> {
        for op in self.history.ops(TxnIndex(to)) {
            let Op::ReadList { key, elements } = *op else {
                continue;
            };
            let list = self.history.elements(elements);
            let Some(&value) = list.last() else { continue };
            if self.is_writer(key, value, from) {
                let sentence = format!(
                    "T{from} appended {} to {}, and T{to} read {}",
                    self.history.value_name(value),
                    self.history.key_name(key),
                    list_words(self.history, list),
                );
                return Some((Why::WriteRead { key, value }, sentence));
            }
        }
        None
    }

    fn list_rw(&self, from: u32, to: u32) -> Option<(Why, String)> {
        for op in self.history.ops(TxnIndex(from)) {
            let Op::ReadList { key, elements } = *op else {
                continue;
            };
            let list = self.history.elements(elements);
            if self.writes.kind(key) != Kind::List
                || !self.lists.is_certain(self.history, key, list)
            {
                continue;
            }
            let behind = |position: u32| position as usize >= list.len();
            let later = self
                .appends(to)
                .find(|&(of, _, position)| of == key && position.is_none_or(behind));
            if let Some((_, wrote, _)) = later {
                let read = list.last().copied();
                let sentence = format!(
                    "T{from} read {} as {}, without the {} that T{to} appended",
                    self.history.key_name(key),
                    list_words(self.history, list),
                    self.history.value_name(wrote),
                );
                return Some((Why::ReadWrite { key, read, wrote }, sentence));
            }
        }
        None
    }

    fn touches(&self, txn: u32) -> &[Touch] {
        let touches = &self.registers.touches;
        let first = touches.partition_point(|touch| touch.txn < txn);
        let end = touches.partition_point(|touch| touch.txn <= txn);
        &touches[first..end]
    }

    /// Pairs of touches of one key.
    fn pairs(&self, from: u32, to: u32) -> impl Iterator<Item = (Touch, Touch)> {
        self.touches(from).iter().flat_map(move |&one| {
            let same = self
                .touches(to)
                .iter()
                .filter(move |other| other.key == one.key);
            same.map(move |&other| (one, other))
        })
    }

    fn is_assumed(&self, earlier: u32, later: u32) -> bool {
        self.registers
            .assumed
            .binary_search(&(earlier, later))
            .is_ok()
    }

    fn register_ww(&self, from: u32, to: u32) -> Option<(Why, String)> {
        self.pairs(from, to).find_map(|(one, other)| {
            let (earlier, later) = (one.wrote?, other.wrote?);
            if !self.is_assumed(earlier, later) {
                return None;
            }
            let (earlier, later) = (self.value(earlier)?, self.value(later)?);
            let name = self.history.key_name(one.key);
            let sentence = format!(
                "T{from} wrote {name} as {}, and T{to} wrote it as {}, which is later by what is assumed of keys",
                self.history.value_name(earlier),
                self.history.value_name(later),
            );
            Some((Why::WriteWrite { key: one.key, earlier, later }, sentence))
        })
    }

    fn value(&self, version: u32) -> Option<Value> {
        self.registers.value(self.writes, version)
    }

    fn register_wr(&self, from: u32, to: u32) -> Option<(Why, String)> {
        for op in self.history.ops(TxnIndex(to)) {
            let Op::Read {
                key,
                value: Some(value),
            } = *op
            else {
                continue;
            };
            if self.is_writer(key, value, from) {
                let sentence = format!(
                    "T{from} wrote {} as {}, and T{to} read that",
                    self.history.key_name(key),
                    self.history.value_name(value),
                );
                return Some((Why::WriteRead { key, value }, sentence));
            }
        }
        None
    }

    fn register_rw(&self, from: u32, to: u32) -> Option<(Why, String)> {
        self.pairs(from, to).find_map(|(one, other)| {
            let (read, wrote) = (one.read?, other.wrote?);
            let name = self.history.key_name(one.key);
            let new = self.value(wrote)?;
            let words = self.history.value_name(new);
            let old = self.value(read);
            let old_words = old.map_or_else(|| "nothing".to_owned(), |old| self.history.value_name(old));
            let sentence = if read == self.registers.initial(one.key) {
                format!("T{from} read {name} in its initial state, and T{to} wrote it as {words}")
            } else if self.writes_follow_reads && other.read == Some(read) {
                format!("T{from} read {name} as {old_words}, and T{to} read the same and then wrote it as {words}")
            } else if self.is_assumed(read, wrote) {
                format!(
                    "T{from} read {name} as {old_words}, and T{to} wrote it as {words}, \
                     which is later by what is assumed of keys"
                )
            } else {
                return None;
            };
            Some((Why::ReadWrite { key: one.key, read: old, wrote: new }, sentence))
        })
    }

    fn is_writer(&self, key: Key, value: Value, txn: u32) -> bool {
        match self.writes.writer(key, value) {
            Writer::One(write) => self.writes.at(write).txn == txn,
            Writer::Nobody | Writer::Several => false,
        }
    }
}
