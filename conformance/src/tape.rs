//! What one site did, as the kit saw it from outside: the history that the checker judges.
//!
//! Every write carries a value of its own (a *tag*), so what a read returned says whose write it saw. The
//! engine is not asked for versions and cannot get them wrong.
//!
//! Invariants:
//! - H1 A transaction is decided at most once on a tape, and gets its position while it is decided: the
//!   caller decides under whatever guards the tape.
//! - H2 A scan's position is taken after the scan returned. An insert that becomes visible in between
//!   follows the scan, and commitment ordering forbids that its transaction is decided first.

use std::collections::BTreeMap;

use checker::{
    Committed, Ending, HistoryBuilder, Op, Record, RecordFault, Scan, Seq, SiteHistory, Stamp,
    TxnId,
};

use crate::engine::{Key, Value};
use crate::notation::site_letter;

/// Names one write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tag(pub(crate) u64);

/// Positions from here on belong to writes that no committed transaction installed: whoever saw one has
/// read something that never was, and the checker says so.
const NEVER_INSTALLED: u64 = 1 << 40;

enum Entry {
    Read(Key, Option<Tag>),
    Wrote(Key, Tag, Effect),
    Scanned {
        low: Key,
        high: Option<Key>,
        position: u64,
        found: Vec<(Key, Tag)>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Put,
    Delete,
}

enum End {
    Committed {
        stamp: u64,
        position: Option<u64>,
        entries: Vec<Entry>,
    },
    Aborted,
}

/// One site's tape.
pub(crate) struct Tape {
    site: usize,
    position: u64,
    open: BTreeMap<TxnId, Vec<Entry>>,
    ended: Vec<(TxnId, End)>,
    /// The newest committed delete of each key that was ever deleted.
    tombstones: BTreeMap<Key, Tag>,
}

impl Tag {
    /// The value that carries the tag.
    pub(crate) fn value(self) -> Value {
        self.0.to_string().into_bytes()
    }

    fn of(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        text.parse().ok().map(Self)
    }
}

impl Tape {
    pub(crate) const fn new(site: usize) -> Self {
        Self {
            site,
            position: 0,
            open: BTreeMap::new(),
            ended: Vec::new(),
            tombstones: BTreeMap::new(),
        }
    }

    /// A read returned; says what is wrong with the value at first sight.
    pub(crate) fn note_read(
        &mut self,
        txn: TxnId,
        key: &Key,
        value: Option<&Value>,
    ) -> Result<(), String> {
        let seen = parse_tag(value)?;
        if let Some(own) = self.own(txn, key) {
            return (own == seen)
                .then_some(())
                .ok_or_else(|| format!("{txn} reads {} and misses its own write", show(key)));
        }
        let version = seen.or_else(|| self.tombstones.get(key).copied());
        self.entries(txn).push(Entry::Read(key.clone(), version));
        Ok(())
    }

    /// A write was accepted.
    pub(crate) fn note_write(&mut self, txn: TxnId, key: &Key, tag: Tag, deletes: bool) {
        let effect = if deletes { Effect::Delete } else { Effect::Put };
        self.entries(txn)
            .push(Entry::Wrote(key.clone(), tag, effect));
    }

    /// A scan returned. What the transaction wrote itself is cut out of the range.
    pub(crate) fn note_scan(
        &mut self,
        txn: TxnId,
        low: &Key,
        high: Option<&Key>,
        rows: &[(Key, Value)],
    ) -> Result<(), String> {
        let mut found = BTreeMap::new();
        for (key, value) in rows {
            let inside = low <= key && high.is_none_or(|high| key < high);
            let after = found
                .last_key_value()
                .is_none_or(|(last, _): (&Key, _)| last < key);
            if !inside || !after {
                let key = show(key);
                return Err(format!(
                    "{txn} scans and gets {key} out of range or out of order"
                ));
            }
            found.insert(key.clone(), parse_tag(Some(value))?.unwrap_or(Tag(0)));
        }
        let mut own = BTreeMap::new();
        for entry in self.entries(txn).iter() {
            if let Entry::Wrote(key, tag, effect) = entry {
                own.insert(key.clone(), (*effect == Effect::Put).then_some(*tag));
            }
        }
        own.retain(|key, _| low <= key && high.is_none_or(|high| key < high));
        for (key, tag) in &own {
            if found.remove(key) != *tag {
                let key = show(key);
                return Err(format!(
                    "{txn} scans over {key} and misses its own write there"
                ));
            }
        }
        self.cut(txn, low, high, &own, &found);
        Ok(())
    }

    /// Records the parts of a scan between the transaction's own keys.
    fn cut(
        &mut self,
        txn: TxnId,
        low: &Key,
        high: Option<&Key>,
        own: &BTreeMap<Key, Option<Tag>>,
        found: &BTreeMap<Key, Tag>,
    ) {
        let position = self.position;
        let mut from = low.clone();
        let ends = own.keys().cloned().map(Some);
        for end in ends.chain([high.cloned()]) {
            let inside = |key: &Key| from <= *key && end.as_ref().is_none_or(|end| key < end);
            let part = found.iter().filter(|(key, _)| inside(key));
            let entry = Entry::Scanned {
                low: from.clone(),
                high: end.clone(),
                position,
                found: part.map(|(key, tag)| (key.clone(), *tag)).collect(),
            };
            self.entries(txn).push(entry);
            if let Some(end) = end {
                from = [end, vec![0]].concat();
            }
        }
    }

    /// The site has committed the transaction.
    pub(crate) fn commit(&mut self, txn: TxnId, stamp: u64) {
        let entries = self.open.remove(&txn).unwrap_or_default();
        let mut position = None;
        for entry in &entries {
            if let Entry::Wrote(key, tag, effect) = entry {
                position = Some(self.position + 1);
                match effect {
                    Effect::Delete => self.tombstones.insert(key.clone(), *tag),
                    Effect::Put => None,
                };
            }
        }
        self.position = position.unwrap_or(self.position);
        let end = End::Committed {
            stamp,
            position,
            entries,
        };
        self.ended.push((txn, end));
    }

    /// The site has aborted the transaction.
    pub(crate) fn abort(&mut self, txn: TxnId) {
        self.open.remove(&txn);
        self.ended.push((txn, End::Aborted));
    }

    /// The committed transactions and their stamps.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (TxnId, u64)> {
        self.ended.iter().filter_map(|(txn, end)| match end {
            End::Committed { stamp, .. } => Some((*txn, *stamp)),
            End::Aborted => None,
        })
    }

    /// The history for the checker.
    pub(crate) fn history(&self) -> Result<SiteHistory, RecordFault> {
        let site = site_letter(self.site).to_string();
        let mut builder = HistoryBuilder::new("the kit", site.as_str().into());
        let positions = self.positions();
        let version = |tag: Tag| {
            let never = NEVER_INSTALLED + tag.0;
            Seq(positions.get(&tag).copied().unwrap_or(never))
        };
        for (txn, end) in &self.ended {
            builder.push(match end {
                End::Aborted => Record::Aborted {
                    txn: *txn,
                    reason: "aborted".into(),
                },
                End::Committed {
                    stamp,
                    position,
                    entries,
                } => Record::Committed(Committed {
                    txn: *txn,
                    stamp: Some(Stamp(*stamp)),
                    seq: position.map(Seq),
                    ops: operations(entries, &version),
                }),
            })?;
        }
        Ok(builder.finish(Ending::Footer))
    }

    /// Where each write that came to be was installed: only the last one of a transaction on a key.
    fn positions(&self) -> BTreeMap<Tag, u64> {
        let mut positions = BTreeMap::new();
        for (_, end) in &self.ended {
            if let End::Committed {
                position: Some(position),
                entries,
                ..
            } = end
            {
                let finals = last_writes(entries).into_values();
                positions.extend(finals.map(|(tag, _)| (tag, *position)));
            }
        }
        positions
    }

    /// What the transaction itself last wrote there: a tag, or none for a delete.
    fn own(&mut self, txn: TxnId, key: &Key) -> Option<Option<Tag>> {
        let entries = self.entries(txn);
        entries.iter().rev().find_map(|entry| match entry {
            Entry::Wrote(other, tag, effect) if other == key => {
                Some((*effect == Effect::Put).then_some(*tag))
            }
            Entry::Wrote(..) | Entry::Read(..) | Entry::Scanned { .. } => None,
        })
    }

    fn entries(&mut self, txn: TxnId) -> &mut Vec<Entry> {
        self.open.entry(txn).or_default()
    }
}

fn operations(entries: &[Entry], version: &impl Fn(Tag) -> Seq) -> Vec<Op> {
    let mut operations = Vec::new();
    for entry in entries {
        match entry {
            Entry::Read(key, seen) => operations.push(Op::Read {
                key: key.as_slice().into(),
                version: seen.map_or(Seq::INITIAL, version),
            }),
            Entry::Scanned {
                low,
                high,
                position,
                found,
            } => operations.push(Op::Scan(Box::new(Scan {
                lo: low.as_slice().into(),
                hi: high.as_ref().map(|high| high.as_slice().into()),
                pos: Seq(*position),
                found: found
                    .iter()
                    .map(|(key, tag)| (key.as_slice().into(), version(*tag)))
                    .collect(),
            }))),
            Entry::Wrote(..) => {}
        }
    }
    for (key, (_, effect)) in last_writes(entries) {
        let key = key.as_slice().into();
        operations.push(match effect {
            Effect::Put => Op::Write { key },
            Effect::Delete => Op::Delete { key },
        });
    }
    operations
}

fn last_writes(entries: &[Entry]) -> BTreeMap<&Key, (Tag, Effect)> {
    let mut last = BTreeMap::new();
    for entry in entries {
        if let Entry::Wrote(key, tag, effect) = entry {
            last.insert(key, (*tag, *effect));
        }
    }
    last
}

fn parse_tag(value: Option<&Value>) -> Result<Option<Tag>, String> {
    let Some(value) = value else { return Ok(None) };
    let unknown = || format!("returned {}, which nobody wrote", show(value));
    Tag::of(value).map(Some).ok_or_else(unknown)
}

/// A key or value as text.
pub(crate) fn show(bytes: &[u8]) -> String {
    format!("`{}`", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: TxnId = TxnId::Global(1);
    const T2: TxnId = TxnId::Local(2);

    fn key(name: &str) -> Key {
        name.as_bytes().to_vec()
    }

    #[test]
    fn reads_name_the_version_they_saw_and_own_writes_are_not_reads() {
        let mut tape = Tape::new(0);
        tape.note_write(T1, &key("x"), Tag(1), false);
        tape.note_write(T1, &key("x"), Tag(2), false);
        assert_eq!(tape.note_read(T1, &key("x"), Some(&Tag(2).value())), Ok(()));
        assert!(
            tape.note_read(T1, &key("x"), Some(&Tag(1).value()))
                .is_err()
        );
        tape.commit(T1, 5);
        assert_eq!(tape.note_read(T2, &key("x"), Some(&Tag(2).value())), Ok(()));
        assert_eq!(tape.note_read(T2, &key("y"), None), Ok(()));
        tape.commit(T2, 6);
        let text = tape.history().map(|history| history.to_string());
        let expected = "co-history 1 A\nc G1 5 1 w:x\nc L2 6 - r:x@1 r:y@0\nend 2\n";
        assert_eq!(text.as_deref(), Ok(expected));
    }

    #[test]
    fn a_write_that_was_overwritten_or_aborted_was_never_installed() {
        let mut tape = Tape::new(1);
        tape.note_write(T1, &key("x"), Tag(1), false);
        tape.abort(T1);
        let dirty = Some(Tag(1).value());
        assert_eq!(tape.note_read(T2, &key("x"), dirty.as_ref()), Ok(()));
        tape.commit(T2, 6);
        let text = tape.history().map(|history| history.to_string());
        assert!(text.is_ok_and(|text| text.contains(&format!("x@{}", NEVER_INSTALLED + 1))));
    }

    #[test]
    fn a_scan_is_cut_at_the_scanners_own_writes() {
        let mut tape = Tape::new(0);
        tape.note_write(T1, &key("b"), Tag(1), false);
        let rows = [(key("b"), Tag(1).value())];
        let (low, high) = (key("a"), key("c"));
        assert_eq!(tape.note_scan(T1, &low, Some(&high), &rows), Ok(()));
        assert!(tape.note_scan(T1, &low, Some(&high), &[]).is_err());
        tape.commit(T1, 5);
        let text = tape.history().map(|history| history.to_string());
        let expected = "co-history 1 A\nc G1 5 1 s:a..b@0[] s:b%00..c@0[] w:b\nend 1\n";
        assert_eq!(text.as_deref(), Ok(expected));
    }

    #[test]
    fn reading_nothing_after_a_delete_is_reading_the_delete() {
        let mut tape = Tape::new(0);
        tape.note_write(T1, &key("x"), Tag(1), true);
        tape.commit(T1, 5);
        assert_eq!(tape.note_read(T2, &key("x"), None), Ok(()));
        tape.commit(T2, 6);
        let text = tape.history().map(|history| history.to_string());
        assert!(text.is_ok_and(|text| text.contains("x:x\n") && text.contains("r:x@1")));
    }
}
