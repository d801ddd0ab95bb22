//! Records what transactions did, for the checker (`docs/history-format.md`, version 1).
//!
//! One line for each transaction when it ends. The engine collects a transaction's operations while it
//! runs; the recorder gets them with the vote, so it also knows who is in doubt at the end.
//!
//! Invariants:
//! - H1 A transaction has at most one line: a commit needs the vote that handed its operations over, and
//!   takes them away.
//! - H2 After the sink has failed nothing more is written, not even the footer: a hole in the middle would
//!   look like a complete history.
//!
//! A recorder may outlive its engine: hand it to the next one after a restart, and the history goes on. A commit
//! that the site's log does not hold yet comes back after a crash as one in doubt, and perhaps under another
//! version number: its line is held until the log has it (`Recorder::settled`). Transactions restored from the log are in it already; those that are not (the recorder is new) are
//! written with what the log says of them, local ones under numbers counted down from the largest, so that every
//! version that later reads name has its installer.

mod undecided;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use co_core::{AbortReason, Stamp};

use crate::error::HistoryError;
use crate::participant::{Change, Key, KeyRange, TxnName};
use crate::sync::Mutex;

use self::undecided::Writers;
pub(crate) use self::undecided::{Dirty, Record};

/// One operation as it goes into a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read a key and saw the version with this number, zero if there never was one.
    Read(Key, u64),
    /// Read a range when `position` was the site's newest version: the present keys and their versions.
    Scan {
        /// What was read.
        range: KeyRange,
        /// The newest version visible.
        position: u64,
        /// What was there.
        rows: Vec<(Key, u64)>,
    },
    /// Installed a value.
    Write(Key),
    /// Removed the key.
    Delete(Key),
    /// Installed a sum.
    Increment(Key),
}

impl From<&Change> for Op {
    fn from(change: &Change) -> Self {
        match change {
            Change::Put(key, _) => Self::Write(Arc::clone(key)),
            Change::Delete(key) => Self::Delete(Arc::clone(key)),
            Change::Increment(key, _) => Self::Increment(Arc::clone(key)),
        }
    }
}

/// Writes the history of one site. Clones share it; a recorder that is off costs nothing.
///
/// ```
/// use participant::Recorder;
///
/// let recorder = Recorder::memory("berlin");
/// recorder.finish()?;
/// assert_eq!(recorder.text().as_deref(), Some("co-history 1 berlin\nend 0\n"));
/// # Ok::<(), participant::HistoryError>(())
/// ```
#[derive(Clone, Default)]
pub struct Recorder {
    shared: Option<Arc<Mutex<Written>>>,
}

enum Sink {
    Memory(Vec<u8>),
    Writer(Box<dyn Write + Send>),
}

struct Written {
    sink: Sink,
    failure: Option<Arc<io::Error>>,
    finished: bool,
    records: u64,
    newest: u64,
    /// With the stamps of their votes.
    in_doubt: BTreeMap<TxnName, (Stamp, Record)>,
    /// Those that were undecided when others read what they wrote.
    writers: Writers,
    /// Commits that changed nothing, and that wait for the lines of their writers.
    late: Vec<(TxnName, Stamp, Record)>,
    /// Whose commit is restored next.
    restoring: Option<TxnName>,
    life: Option<Life>,
    line: String,
}

/// One life of a site with a log.
#[derive(Default)]
struct Life {
    /// The log holds the commits with versions up to this one.
    settled: u64,
    /// Those after it, in order.
    held: VecDeque<Held>,
    /// Global transactions whose lines are written, and which a restart may find in doubt: those that committed of
    /// late and changed nothing, or had voted and were aborted.
    told: BTreeSet<TxnName>,
    told_order: VecDeque<TxnName>,
}

struct Held {
    name: TxnName,
    stamp: Stamp,
    sequence: u64,
    record: Record,
}

/// How many such transactions are remembered: more than one sync of the log writes.
const TOLD: usize = 1 << 16;

impl Recorder {
    /// A recorder that records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// A recorder that keeps the history of `site` in memory, for [`Recorder::text`].
    #[must_use]
    pub fn memory(site: &str) -> Self {
        Self::begin(site, Sink::Memory(Vec::new()))
    }

    /// A recorder that writes the history of `site` to `sink` as transactions end. Give it a buffered
    /// writer; [`Recorder::finish`] flushes it.
    #[must_use]
    pub fn to_writer(site: &str, sink: Box<dyn Write + Send>) -> Self {
        Self::begin(site, Sink::Writer(sink))
    }

    fn begin(site: &str, sink: Sink) -> Self {
        let mut record = Written {
            sink,
            failure: None,
            finished: false,
            records: 0,
            newest: 0,
            in_doubt: BTreeMap::new(),
            writers: Writers::default(),
            late: Vec::new(),
            restoring: None,
            life: None,
            line: String::new(),
        };
        record.line.push_str("co-history 1 ");
        push_token(&mut record.line, site.as_bytes());
        record.write_line();
        Self {
            shared: Some(Arc::new(Mutex::new(record))),
        }
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// A transaction voted YES: `operations` returns what it did here. Asked only when the recorder is on.
    pub(crate) fn voted(&self, name: TxnName, stamp: Stamp, operations: impl FnOnce() -> Record) {
        self.with(|written| {
            // A recorder that outlived a restart knows the operations better than the recovered marks.
            if let Entry::Vacant(voted) = written.in_doubt.entry(name) {
                let (_, record) = voted.insert((stamp, operations()));
                written.writers.enter(record);
            }
        });
    }

    /// A voted transaction committed; `sequence` numbers its versions, if it installed any.
    pub(crate) fn committed(&self, name: TxnName, stamp: Stamp, sequence: Option<u64>) {
        self.with(|written| {
            let (_, record) = written.in_doubt.remove(&name).unwrap_or_default();
            if let Some(life) = &mut written.life {
                match sequence {
                    Some(sequence) if sequence > life.settled => {
                        life.held.push_back(Held {
                            name,
                            stamp,
                            sequence,
                            record,
                        });
                        return;
                    }
                    None if !life.is_news(name) => {
                        written.writers.leave(&record);
                        return;
                    }
                    Some(_) | None => {}
                }
            }
            if sequence.is_none() && !written.writers.are_written(&record) {
                written.late.push((name, stamp, record));
                return;
            }
            written.commit(name, stamp, sequence, record);
        });
    }

    /// The site has opened its log, which holds the commits with versions up to `settled`, told before, and
    /// these transactions in doubt. What was held and is not in the log is in doubt again; what had voted and
    /// is not, is gone.
    pub(crate) fn begin_life(&self, settled: u64, in_doubt: &BTreeSet<TxnName>) {
        self.with(|written| {
            let mut before = written.life.take().unwrap_or_default();
            for held in before.held.drain(..) {
                let doubt = (held.stamp, held.record);
                written.in_doubt.insert(held.name, doubt);
            }
            for (name, stamp, record) in std::mem::take(&mut written.late) {
                before.told.remove(&name);
                written.in_doubt.insert(name, (stamp, record));
            }
            let gone = written
                .in_doubt
                .extract_if(.., |name, _| !in_doubt.contains(name));
            for (_, (_, record)) in gone {
                written.writers.leave(&record);
            }
            written.life = Some(Life { settled, ..before });
        });
    }

    /// The site's log holds the commits with versions up to this one.
    pub(crate) fn settled(&self, through: u64) {
        self.with(|record| {
            if let Some(life) = &mut record.life {
                life.settled = life.settled.max(through);
            }
            record.write_held(through);
        });
    }

    /// The newest version that the history names.
    pub(crate) fn newest(&self) -> Option<u64> {
        Some(self.shared.as_ref()?.lock().newest)
    }

    /// A transaction aborted.
    pub(crate) fn aborted(&self, name: TxnName, reason: AbortReason) {
        self.with(|record| {
            if let Some((_, doubt)) = record.in_doubt.remove(&name) {
                record.writers.leave(&doubt);
                // The restart had found the vote, and not the abort.
                if let Some(life) = &mut record.life
                    && !life.is_news(name)
                {
                    return;
                }
            }
            record.writers.written(name, None);
            record.line.push_str("a ");
            push_name(&mut record.line, name);
            record.line.push(' ');
            push_token(&mut record.line, format!("{reason:?}").as_bytes());
            record.write_record();
        });
    }

    /// A transaction that committed before a restart was applied again as version `sequence`.
    pub(crate) fn restored(&self, stamp: Stamp, sequence: u64, changes: &[Change]) {
        self.with(|record| {
            let named = record.restoring.take();
            if sequence <= record.newest {
                return;
            }
            let held = record.life.as_ref().and_then(|life| life.held.front());
            if held.is_some_and(|held| held.sequence == sequence && held.stamp == stamp) {
                record.write_held(sequence);
                return;
            }
            // It had voted, and was not told of its commit before the restart.
            let alone = record
                .in_doubt
                .iter()
                .find(|(name, (vote, _))| matches!(name, TxnName::Local(_)) && *vote == stamp);
            let name = named.or_else(|| alone.map(|(name, _)| *name));
            let known = name.and_then(|name| record.in_doubt.remove(&name));
            let replayed = || changes.iter().map(Op::from).collect::<Vec<_>>().into();
            let known = known.map_or_else(replayed, |(_, known)| known);
            let name = name.unwrap_or(TxnName::Local(u64::MAX - sequence));
            record.commit(name, stamp, Some(sequence), known);
        });
    }

    /// The commit that is restored next is that of a global transaction.
    pub(crate) fn restoring(&self, name: TxnName) {
        self.with(|record| record.restoring = Some(name));
    }

    /// Ends the history: those in doubt, then the footer. What happens afterwards is not recorded.
    ///
    /// # Errors
    /// [`HistoryError::Sink`] if the sink failed, now or at any time before.
    pub fn finish(&self) -> Result<(), HistoryError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let mut record = shared.lock();
        if !record.finished {
            record.write_held(u64::MAX);
            for (name, (_, doubt)) in std::mem::take(&mut record.in_doubt) {
                let mut lives = record.life.iter();
                if lives.any(|life| life.told.contains(&name)) {
                    continue;
                }
                let ops = record.writers.known(doubt);
                record.line.push_str("u ");
                push_name(&mut record.line, name);
                push_ops(&mut record.line, &ops);
                record.write_record();
            }
            let records = record.records;
            // Writing to a string cannot fail.
            let _infallible = write!(record.line, "end {records}");
            record.write_line();
            record.flush();
            record.finished = true;
        }
        match &record.failure {
            None => Ok(()),
            Some(error) => Err(HistoryError::Sink(Arc::clone(error))),
        }
    }

    /// What a recorder in memory holds so far; `None` for the others.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let record = self.shared.as_ref()?.lock();
        match &record.sink {
            Sink::Memory(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Sink::Writer(_) => None,
        }
    }

    fn with(&self, change: impl FnOnce(&mut Written)) {
        if let Some(shared) = &self.shared {
            let mut record = shared.lock();
            if !record.finished {
                change(&mut record);
            }
        }
    }
}

impl Written {
    fn commit(&mut self, name: TxnName, stamp: Stamp, sequence: Option<u64>, record: Record) {
        let ops = self.writers.resolve(record);
        self.write_commit(name, stamp, sequence, &ops);
        self.writers.written(name, sequence);
        if sequence.is_some() && !self.late.is_empty() {
            let writers = &self.writers;
            let ready = |(_, _, record): &mut (_, _, Record)| writers.are_written(record);
            let ready: Vec<_> = self.late.extract_if(.., ready).collect();
            for (name, stamp, record) in ready {
                let ops = self.writers.resolve(record);
                self.write_commit(name, stamp, None, &ops);
            }
        }
    }

    fn write_commit(&mut self, name: TxnName, stamp: Stamp, sequence: Option<u64>, ops: &[Op]) {
        self.newest = self.newest.max(sequence.unwrap_or(0));
        self.line.push_str("c ");
        push_name(&mut self.line, name);
        // Writing to a string cannot fail.
        let _infallible = match sequence {
            Some(sequence) => write!(self.line, " {} {sequence}", stamp.0),
            None => write!(self.line, " {} -", stamp.0),
        };
        push_ops(&mut self.line, ops);
        self.write_record();
    }

    /// Writes the lines of commits that the log has.
    fn write_held(&mut self, through: u64) {
        while let Some(life) = &mut self.life
            && let Some(held) = life.held.pop_front_if(|held| held.sequence <= through)
        {
            self.commit(held.name, held.stamp, Some(held.sequence), held.record);
        }
    }

    fn write_record(&mut self) {
        self.records += 1;
        self.write_line();
    }

    fn write_line(&mut self) {
        self.line.push('\n');
        if self.failure.is_none() {
            let written = match &mut self.sink {
                Sink::Memory(bytes) => {
                    bytes.extend_from_slice(self.line.as_bytes());
                    Ok(())
                }
                Sink::Writer(writer) => writer.write_all(self.line.as_bytes()),
            };
            self.failure = written.err().map(Arc::new);
        }
        self.line.clear();
    }

    fn flush(&mut self) {
        if let (Sink::Writer(writer), None) = (&mut self.sink, &self.failure) {
            self.failure = writer.flush().err().map(Arc::new);
        }
    }
}

impl Life {
    /// Whether a transaction that changed nothing commits, or one that had voted aborts, for the first time.
    fn is_news(&mut self, name: TxnName) -> bool {
        if matches!(name, TxnName::Local(_)) {
            return true;
        }
        let news = self.told.insert(name);
        if news {
            self.told_order.push_back(name);
        }
        if self.told_order.len() > TOLD
            && let Some(oldest) = self.told_order.pop_front()
        {
            self.told.remove(&oldest);
        }
        news
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            None => f.write_str("Recorder(off)"),
            Some(shared) => write!(f, "Recorder({} records)", shared.lock().records),
        }
    }
}

fn push_name(line: &mut String, name: TxnName) {
    // Writing to a string cannot fail.
    let _infallible = match name {
        TxnName::Global(gtid) => write!(line, "G{}", gtid.0),
        TxnName::Local(number) => write!(line, "L{number}"),
    };
}

fn push_ops(line: &mut String, ops: &[Op]) {
    for op in ops {
        match op {
            Op::Read(key, version) => {
                line.push_str(" r:");
                push_version(line, key, *version);
            }
            Op::Write(key) => push_change(line, " w:", key),
            Op::Delete(key) => push_change(line, " x:", key),
            Op::Increment(key) => push_change(line, " i:", key),
            Op::Scan {
                range,
                position,
                rows,
            } => push_scan(line, range, *position, rows),
        }
    }
}

fn push_change(line: &mut String, sort: &str, key: &Key) {
    line.push_str(sort);
    push_token(line, key);
}

fn push_version(line: &mut String, key: &Key, version: u64) {
    push_token(line, key);
    // Writing to a string cannot fail.
    let _infallible = write!(line, "@{version}");
}

fn push_scan(line: &mut String, range: &KeyRange, position: u64, rows: &[(Key, u64)]) {
    line.push_str(" s:");
    push_token(line, &range.low);
    line.push_str("..");
    push_token(line, range.high.as_deref().unwrap_or_default());
    // Writing to a string cannot fail.
    let _infallible = write!(line, "@{position}[");
    for (index, (key, version)) in rows.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        push_version(line, key, *version);
    }
    line.push(']');
}

/// Printable ASCII stands for itself unless the format uses it; every other byte is `%HH`.
fn push_token(line: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && !b"%:@[],.#".contains(&byte) {
            line.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(line, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use co_core::Gtid;

    use super::*;

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    #[test]
    fn each_kind_of_record_has_its_line() {
        let recorder = Recorder::memory("a b");
        let one = TxnName::Global(Gtid(1));
        let range = KeyRange {
            low: key("a"),
            high: None,
        };
        recorder.voted(one, Stamp(8), || {
            let ops = vec![
                Op::Read(key("x.y"), 0),
                Op::Scan {
                    range,
                    position: 4,
                    rows: vec![(key("b"), 2), (key("c"), 4)],
                },
                Op::Write(key("w")),
                Op::Delete(key("d")),
                Op::Increment(key("n")),
            ];
            ops.into()
        });
        recorder.committed(one, Stamp(9), Some(5));
        recorder.aborted(TxnName::Local(2), AbortReason::Cycle);
        recorder.voted(TxnName::Global(Gtid(3)), Stamp(10), || {
            vec![Op::Read(key("q"), 5)].into()
        });
        recorder.finish().unwrap();
        let expected = "co-history 1 a%20b\n\
                        c G1 9 5 r:x%2Ey@0 s:a..@4[b@2,c@4] w:w x:d i:n\n\
                        a L2 Cycle\n\
                        u G3 r:q@5\n\
                        end 3\n";
        assert_eq!(recorder.text().unwrap(), expected);
    }

    #[test]
    fn nothing_is_recorded_after_the_footer() {
        let recorder = Recorder::memory("a");
        recorder.finish().unwrap();
        recorder.aborted(TxnName::Local(1), AbortReason::Requested);
        recorder.finish().unwrap();
        assert_eq!(recorder.text().unwrap(), "co-history 1 a\nend 0\n");
    }

    #[test]
    fn a_restored_version_is_recorded_unless_the_recorder_has_it() {
        let recorder = Recorder::memory("a");
        let change = [Change::Delete(key("k"))];
        recorder.restored(Stamp(3), 1, &change);
        recorder.restored(Stamp(3), 1, &change);
        let expected = "co-history 1 a\nc L18446744073709551614 3 1 x:k\n";
        assert_eq!(recorder.text().unwrap(), expected);
    }

    /// The log had the vote, and the abort was on its way there.
    #[test]
    fn who_is_in_doubt_again_after_an_abort_has_one_line_only() {
        let recorder = Recorder::memory("a");
        let name = TxnName::Global(Gtid(1));
        let vote = || recorder.voted(name, Stamp(1), || vec![Op::Write(key("w"))].into());
        recorder.begin_life(0, &BTreeSet::new());
        vote();
        recorder.aborted(name, AbortReason::Requested);
        for _ in 0..2 {
            recorder.begin_life(0, &[name].into());
            vote();
            recorder.aborted(name, AbortReason::Requested);
        }
        recorder.begin_life(0, &[name].into());
        vote();
        recorder.finish().unwrap();
        let expected = "co-history 1 a\na G1 Requested\nend 1\n";
        assert_eq!(recorder.text().unwrap(), expected);
    }

    #[test]
    fn a_failed_sink_cuts_the_history_short_and_is_reported_at_the_end() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0 < bytes.len() {
                    return Err(io::Error::from(io::ErrorKind::StorageFull));
                }
                self.0 -= bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let recorder = Recorder::to_writer("a", Box::new(Full(16)));
        recorder.aborted(TxnName::Local(1), AbortReason::Requested);
        for _ in 0..2 {
            let HistoryError::Sink(error) = recorder.finish().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
