//! Reads of what was undecided: their versions have numbers only when the writers commit.
//!
//! A record that waits for its writers keeps their names, and nobody's number, until their lines are written: a
//! commit that a crash takes back gets another number afterwards.

use std::collections::BTreeMap;

use super::Op;
use crate::participant::TxnName;

/// What a transaction did, as far as it is known with its vote.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Record {
    pub(crate) ops: Vec<Op>,
    pub(crate) dirty: Vec<Dirty>,
}

/// Part of a read that was written by a transaction which had not committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dirty {
    /// Which of the operations.
    pub(crate) op: usize,
    /// Which of the rows of a scan; `None` for a read, or if there was no row in consequence.
    pub(crate) row: Option<usize>,
    pub(crate) writer: TxnName,
}

impl From<Vec<Op>> for Record {
    fn from(ops: Vec<Op>) -> Self {
        let dirty = Vec::new();
        Self { ops, dirty }
    }
}

impl Record {
    /// The writer has committed with this version. What is read on top of several is the newest.
    pub(crate) fn settle(&mut self, dirty: &Dirty, written: u64) {
        match self.ops.get_mut(dirty.op) {
            Some(Op::Read(_, version)) => *version = written.max(*version),
            Some(Op::Scan { position, rows, .. }) => {
                *position = written.max(*position);
                if let Some((_, version)) = dirty.row.and_then(|row| rows.get_mut(row)) {
                    *version = written.max(*version);
                }
            }
            Some(Op::Write(_) | Op::Delete(_) | Op::Increment(_)) | None => {}
        }
    }
}

/// The writers that records wait for.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeMap<TxnName, Writer>);

#[derive(Debug, Default)]
struct Writer {
    readers: usize,
    version: Option<u64>,
}

/// A version that never was: the checker finds who has read it.
const NEVER: u64 = u64::MAX;

impl Writers {
    /// A record waits for its writers from now on.
    pub(super) fn enter(&mut self, record: &Record) {
        for dirty in &record.dirty {
            self.0.entry(dirty.writer).or_default().readers += 1;
        }
    }

    /// A record waits no more.
    pub(super) fn leave(&mut self, record: &Record) {
        for dirty in &record.dirty {
            let Some(writer) = self.0.get_mut(&dirty.writer) else {
                continue;
            };
            writer.readers -= 1;
            if writer.readers == 0 {
                self.0.remove(&dirty.writer);
            }
        }
    }

    /// The line of a transaction is written, with this version if it has any.
    pub(super) fn written(&mut self, name: TxnName, version: Option<u64>) {
        if let Some(writer) = self.0.get_mut(&name) {
            writer.version = version.or(Some(NEVER));
        }
    }

    /// Whether all of a record's writers are written.
    pub(super) fn are_written(&self, record: &Record) -> bool {
        let mut dirty = record.dirty.iter();
        dirty.all(|dirty| self.version(dirty).is_some())
    }

    /// Takes a record out, with the versions that it has read.
    pub(super) fn resolve(&mut self, mut record: Record) -> Vec<Op> {
        for dirty in std::mem::take(&mut record.dirty) {
            record.settle(&dirty, self.version(&dirty).unwrap_or(NEVER));
            let ops = Vec::new();
            let dirty = vec![dirty];
            self.leave(&Record { ops, dirty });
        }
        record.ops
    }

    /// What is known of a transaction that stays in doubt: not what it has read of others in doubt.
    pub(super) fn known(&self, mut record: Record) -> Vec<Op> {
        let mut unknown = Vec::new();
        for dirty in std::mem::take(&mut record.dirty) {
            match self.version(&dirty) {
                Some(version) => record.settle(&dirty, version),
                None => unknown.push(dirty.op),
            }
        }
        let ops = record.ops.into_iter().enumerate();
        let known = ops.filter(|(op, _)| !unknown.contains(op));
        known.map(|(_, op)| op).collect()
    }

    fn version(&self, dirty: &Dirty) -> Option<u64> {
        self.0.get(&dirty.writer)?.version
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use co_core::{AbortReason, Stamp};

    use super::super::Recorder;
    use super::*;
    use crate::participant::Key;

    fn read_of(writers: &[u64]) -> Record {
        let key: Key = Arc::from(b"x".as_slice());
        let dirty = |writer: &u64| Dirty {
            op: 0,
            row: None,
            writer: TxnName::Local(*writer),
        };
        Record {
            ops: vec![Op::Read(key, 0)],
            dirty: writers.iter().map(dirty).collect(),
        }
    }

    fn write() -> Record {
        let key: Key = Arc::from(b"x".as_slice());
        vec![Op::Write(key)].into()
    }

    fn local(number: u64) -> TxnName {
        TxnName::Local(number)
    }

    #[test]
    fn an_undecided_read_gets_the_version_with_which_its_writer_commits() {
        let recorder = Recorder::memory("a");
        recorder.voted(local(1), Stamp(1), write);
        recorder.voted(local(2), Stamp(2), || read_of(&[1]));
        recorder.committed(local(1), Stamp(1), Some(7));
        recorder.committed(local(2), Stamp(3), None);
        recorder.finish().unwrap();
        let expected = "co-history 1 a\nc L1 1 7 w:x\nc L2 3 - r:x@7\nend 2\n";
        assert_eq!(recorder.text().unwrap(), expected);
    }

    #[test]
    fn who_commits_what_it_read_of_an_aborted_one_is_exposed() {
        let recorder = Recorder::memory("a");
        recorder.voted(local(1), Stamp(1), write);
        recorder.voted(local(2), Stamp(2), || read_of(&[1]));
        recorder.aborted(local(1), AbortReason::Requested);
        recorder.committed(local(2), Stamp(3), None);
        let text = recorder.text().unwrap();
        assert!(text.contains(&format!("r:x@{NEVER}")), "{text}");
    }

    /// The number that a commit had before a crash took it back is nobody's business.
    #[test]
    fn a_reader_waits_for_the_line_of_its_writer_over_a_restart() {
        let recorder = Recorder::memory("a");
        recorder.begin_life(0, &[].into());
        recorder.voted(local(1), Stamp(1), write);
        recorder.voted(local(2), Stamp(2), || read_of(&[1]));
        recorder.committed(local(1), Stamp(1), Some(1));
        recorder.committed(local(2), Stamp(3), None);
        recorder.begin_life(0, &[local(1), local(2)].into());
        recorder.voted(local(3), Stamp(1), write);
        recorder.committed(local(3), Stamp(1), Some(1));
        recorder.committed(local(1), Stamp(1), Some(2));
        recorder.committed(local(2), Stamp(3), None);
        recorder.settled(2);
        recorder.finish().unwrap();
        let expected = "co-history 1 a\nc L3 1 1 w:x\nc L1 1 2 w:x\nc L2 3 - r:x@2\nend 3\n";
        assert_eq!(recorder.text().unwrap(), expected);
    }
}
