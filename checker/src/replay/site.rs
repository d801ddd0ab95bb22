//! Reads the history of one site, and checks what can be told from each record alone.
//!
//! What it hands on has invariants I1 and I2 of [`SiteHistory`](crate::SiteHistory).

use std::collections::HashSet;
use std::io::Read as Source;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use crate::follow::ids::IdSet;
use crate::follow::line::{self, Head, Written};
use crate::history::{Committed, Op, Record, Scan, TxnId};
use crate::index::Install;
use crate::parse::{self, Version};
use crate::token::Token;

use super::Undecided;
use super::batch::{Batch, Commit, Read, ScanOf};
use super::join::{Fate, Told};
use super::key::{Key, Names};
use super::lines::{Line, Lines};

/// What a history says in all.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) name: Token,
    pub(super) committed: usize,
    pub(super) aborted: usize,
    pub(super) in_doubt: usize,
    pub(super) operations: usize,
    /// The stamps of commits, and whose they are, in the order of the file; only if asked for.
    pub(super) stamps: Vec<(u64, TxnId)>,
}

/// Where batches go, and where they come back.
pub(super) struct Ways<'a> {
    pub(super) full: SyncSender<Batch>,
    pub(super) empty: Receiver<Batch>,
    /// Nowhere if there is one site only.
    pub(super) told: Option<SyncSender<Vec<Told>>>,
    pub(super) stop: &'a AtomicBool,
}

/// Reads to the footer.
pub(super) fn read(
    source: impl Source,
    ways: &Ways<'_>,
    with_stamps: bool,
) -> Result<Counts, Undecided> {
    let mut lines = Lines::new(source);
    let header = lines.next()?.filter(|line| line.terminated);
    let header = header.ok_or(Undecided::Unreadable)?.text;
    // Later versions of the format may mean something else by what looks alike.
    if !header.starts_with(b"co-history 1 ") {
        return Err(Undecided::Unreadable);
    }
    let header = parse::header(header).map_err(|_| Undecided::Unreadable)?;
    let mut site = Site::new(header.site, with_stamps);
    loop {
        let Some(Line { text, terminated }) = lines.next()? else {
            return Err(Undecided::Doubt);
        };
        match text.first() {
            None | Some(b'#') if terminated => continue,
            Some(b'e') => {
                site.footer(text, terminated)?;
                break;
            }
            _ if !terminated => return Err(Undecided::Doubt),
            _ => site.record(text)?,
        }
        if site.batch.is_full() {
            site.hand_on(ways)?;
        }
    }
    while let Some(Line { text, terminated }) = lines.next()? {
        if !terminated || !(text.is_empty() || text.starts_with(b"#")) {
            return Err(Undecided::Unreadable);
        }
    }
    site.hand_on(ways)?;
    Ok(site.counts)
}

struct Site {
    counts: Counts,
    records: u64,
    with_stamps: bool,
    globals: IdSet,
    locals: IdSet,
    positions: IdSet,
    keys: Names,
    /// How many bytes of the names were handed on.
    named: usize,
    batch: Batch,
    told: Vec<Told>,
}

impl Site {
    fn new(name: Token, with_stamps: bool) -> Self {
        let counts = Counts {
            name,
            committed: 0,
            aborted: 0,
            in_doubt: 0,
            operations: 0,
            stamps: Vec::new(),
        };
        Self {
            counts,
            records: 0,
            with_stamps,
            globals: IdSet::default(),
            locals: IdSet::default(),
            positions: IdSet::default(),
            keys: Names::default(),
            named: 0,
            batch: Batch::default(),
            told: Vec::new(),
        }
    }

    fn footer(&self, text: &[u8], terminated: bool) -> Result<(), Undecided> {
        let stated = parse::footer(text).and_then(Result::ok);
        if stated != Some(self.records) {
            return Err(Undecided::Unreadable);
        }
        // Without its line feed it may be the beginning of another line, unless it is as it must be.
        if !terminated && text != format!("end {}", self.records).as_bytes() {
            return Err(Undecided::Doubt);
        }
        Ok(())
    }

    #[inline]
    fn record(&mut self, text: &[u8]) -> Result<(), Undecided> {
        self.records += 1;
        let begin = self.batch.ends();
        let (batch, keys) = (&mut self.batch, &mut self.keys);
        let head = line::commit(text, |written| match written {
            Written::Read { key, version } => batch.reads.push(Read {
                key: keys.key(key),
                version,
            }),
            Written::Install { key, how } => batch.installs.push((keys.key(key), how)),
        });
        let Some(head) = head else {
            self.batch.cut_back(begin);
            return self.other(text);
        };
        let ends = self.batch.ends();
        self.counts.operations += ends.reads - begin.reads + ends.installs - begin.installs;
        if let Some(seq) = head.seq {
            let mut reads = self.batch.reads[begin.reads..].iter();
            if reads.any(|read| read.version == seq) {
                self.batch.cut_back(begin);
                self.counts.operations -= ends.reads - begin.reads + ends.installs - begin.installs;
                return self.other(text);
            }
        }
        let installs = ends.installs > begin.installs;
        if ends.installs - begin.installs > 1 {
            self.leave_net(begin.installs);
        }
        self.commit(head, installs)
    }

    /// Takes increments out that the transaction overwrote itself: they are no versions.
    #[inline]
    fn leave_net(&mut self, begin: usize) {
        let is_increment = |(_, how): &(Key, Install)| *how == Install::Increment;
        let installs = &mut self.batch.installs;
        let increments = installs[begin..]
            .iter()
            .filter(|one| is_increment(one))
            .count();
        if increments == 0 || increments == installs.len() - begin {
            return;
        }
        let mut overwritten = HashSet::new();
        let mut net: Vec<(Key, Install)> = Vec::with_capacity(installs.len() - begin);
        for (key, how) in installs.drain(begin..).rev() {
            if how != Install::Increment {
                overwritten.insert(key);
            } else if overwritten.contains(&key) {
                continue;
            }
            net.push((key, how));
        }
        installs.extend(net.into_iter().rev());
    }

    /// Takes in a commit whose operations are in the batch.
    #[inline]
    fn commit(&mut self, head: Head, installs: bool) -> Result<(), Undecided> {
        let Head { txn, stamp, seq } = head;
        let stamp = stamp.ok_or(Undecided::Doubt)?;
        self.name_txn(txn, Fate::Committed(stamp))?;
        match seq {
            Some(seq) if installs && seq > 0 && self.positions.insert(seq) => {}
            None if !installs => {}
            Some(_) | None => return Err(Undecided::Unreadable),
        }
        self.counts.committed += 1;
        if self.with_stamps {
            self.counts.stamps.push((stamp, txn));
        }
        self.batch.records.push(Commit {
            stamp,
            seq: seq.unwrap_or(0),
            ends: self.batch.ends(),
        });
        Ok(())
    }

    #[inline]
    fn name_txn(&mut self, txn: TxnId, fate: Fate) -> Result<(), Undecided> {
        let is_new = match txn {
            TxnId::Global(id) => {
                self.told.push(Told { id, fate });
                self.globals.insert(id)
            }
            TxnId::Local(id) => self.locals.insert(id),
        };
        if is_new {
            Ok(())
        } else {
            Err(Undecided::Unreadable)
        }
    }

    /// Takes in a record that is not of the common form.
    #[cold]
    fn other(&mut self, text: &[u8]) -> Result<(), Undecided> {
        let record = parse::record(text, Version::One);
        let (record, _) = record.map_err(|_| Undecided::Unreadable)?;
        match record {
            Record::Committed(committed) => self.general_commit(&committed),
            Record::Aborted { txn, .. } => {
                self.counts.aborted += 1;
                self.name_txn(txn, Fate::NotCommitted)
            }
            Record::InDoubt { txn, .. } => {
                self.counts.in_doubt += 1;
                self.name_txn(txn, Fate::NotCommitted)
            }
        }
    }

    fn general_commit(&mut self, committed: &Committed) -> Result<(), Undecided> {
        self.counts.operations += committed.ops.len();
        let begin = self.batch.installs.len();
        let mut installs = false;
        for (place, op) in committed.ops.iter().enumerate() {
            let (key, how) = match op {
                Op::Read { key, version } => {
                    if committed.seq == Some(*version) {
                        own_value(committed, place, key)?;
                    } else {
                        let (key, version) = (self.keys.key(key.as_bytes()), version.0);
                        self.batch.reads.push(Read { key, version });
                    }
                    continue;
                }
                Op::Scan(scan) => {
                    let scan = self.scan(scan)?;
                    self.batch.scans.push(scan);
                    continue;
                }
                Op::Write { key } => (key, Install::Write),
                Op::Delete { key } => (key, Install::Delete),
                Op::Increment { key } => (key, Install::Increment),
            };
            installs = true;
            let key = self.keys.key(key.as_bytes());
            self.batch.installs.push((key, how));
        }
        let head = Head {
            txn: committed.txn,
            stamp: committed.stamp.map(|stamp| stamp.0),
            seq: committed.seq.map(|seq| seq.0),
        };
        self.leave_net(begin);
        self.commit(head, installs)
    }

    fn scan(&mut self, scan: &Scan) -> Result<ScanOf, Undecided> {
        let mut sorted: Vec<_> = scan.found.iter().collect();
        sorted.sort_unstable();
        let repeats = sorted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if repeats || !sorted.iter().all(|(key, _)| scan.covers(key)) {
            return Err(Undecided::Disagrees);
        }
        let read = |(key, version): &(Token, crate::history::Seq)| Read {
            key: self.keys.key(key.as_bytes()),
            version: version.0,
        };
        Ok(ScanOf {
            lo: Arc::from(scan.lo.as_bytes()),
            hi: scan.hi.as_ref().map(|hi| Arc::from(hi.as_bytes())),
            pos: scan.pos.0,
            found: sorted.into_iter().map(read).collect(),
        })
    }

    /// Hands the batch on, and takes another one.
    #[cold]
    fn hand_on(&mut self, ways: &Ways<'_>) -> Result<(), Undecided> {
        if ways.stop.load(Ordering::Relaxed) {
            return Err(Undecided::Stopped);
        }
        let new = &self.keys.bytes[self.named..];
        self.batch.names.extend_from_slice(new);
        self.named = self.keys.bytes.len();
        let next = ways.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.batch, next);
        ways.full.send(full).map_err(|_| Undecided::Stopped)?;
        match &ways.told {
            Some(told) => told
                .send(std::mem::take(&mut self.told))
                .map_err(|_| Undecided::Stopped),
            None => {
                self.told.clear();
                Ok(())
            }
        }
    }
}

/// Whether a read of the transaction's own position means nothing: it wrote the key before, and not only increments. A
/// sum that it reads back includes what others added.
fn own_value(committed: &Committed, place: usize, key: &Token) -> Result<(), Undecided> {
    let of_key = |op: &&Op| op.installs() == Some(key);
    let adds = |op: &Op| matches!(op, Op::Increment { .. });
    let before = committed.ops[..place].iter().any(|op| of_key(&op));
    let mut all = committed.ops.iter().filter(of_key);
    if before && !all.all(adds) {
        Ok(())
    } else {
        Err(Undecided::Disagrees)
    }
}
