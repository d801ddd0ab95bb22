//! Puts the records of a site into the order of their stamps, and replays them.
//!
//! - **R5** At most [`Options::window`](super::Options::window) records wait, of which the lowest stamp goes first. A
//!   record below what was replayed already cannot be taken in any more ([`Undecided::Late`]).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::Undecided;
use super::batch::{Batch, ScanOf};
use super::key::Key;
use super::table::{Actor, LAST_TURN, Table};

/// So many operations may wait,
const MAX_WAITING: usize = 1 << 21;
/// in so many batches.
const MAX_HELD: usize = 2048;

/// Replays what comes, to the end; how many keys there were.
pub(super) fn replay(
    full: &Receiver<Batch>,
    empty: &Sender<Batch>,
    window: usize,
) -> Result<usize, Undecided> {
    let mut replay = Replay::new(window);
    while let Ok(batch) = full.recv() {
        replay.take_in(batch, empty)?;
    }
    while !replay.due.is_empty() {
        replay.next(empty)?;
    }
    Ok(replay.table.len())
}

/// A record that waits.
#[derive(Debug, Clone, Copy)]
struct Due {
    stamp: u64,
    batch: u32,
    record: u32,
}

#[derive(Debug)]
struct Held {
    batch: Batch,
    /// How many of its records wait.
    left: usize,
}

struct Replay {
    window: usize,
    /// Ascending by stamp; in the order of the file where stamps are the same.
    due: VecDeque<Due>,
    held: Vec<Held>,
    /// Places of `held` that are not used.
    free: Vec<u32>,
    /// How many operations wait.
    waiting: usize,
    /// The last that was replayed.
    last: Actor,
    table: Table,
    places: Vec<usize>,
    /// Of long keys.
    names: Vec<u8>,
    /// The keys in order; only where there are scans.
    sorted: Option<BTreeMap<Box<[u8]>, Key>>,
    scans: PastScans,
}

impl Replay {
    fn new(window: usize) -> Self {
        Self {
            window,
            due: VecDeque::new(),
            held: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            last: Actor { turn: 0, stamp: 0 },
            table: Table::new(),
            places: Vec::new(),
            names: Vec::new(),
            sorted: None,
            scans: PastScans::default(),
        }
    }

    fn take_in(&mut self, mut batch: Batch, empty: &Sender<Batch>) -> Result<(), Undecided> {
        self.names.append(&mut batch.names);
        self.waiting += batch.reads.len() + batch.installs.len();
        let left = batch.records.len();
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.held.len() == MAX_HELD => return Err(Undecided::Late),
            None => {
                self.held.push(Held {
                    batch: Batch::default(),
                    left: 0,
                });
                u32::try_from(self.held.len() - 1).expect("MAX_HELD is below")
            }
        };
        let records = u32::try_from(left).expect("a batch is full with far fewer");
        self.held[place as usize] = Held { batch, left };
        for record in 0..records {
            self.queue(place, record)?;
            while self.due.len() > self.window {
                self.next(empty)?;
            }
        }
        while self.waiting > MAX_WAITING {
            self.next(empty)?;
        }
        Ok(())
    }

    /// R5: nearly always at the end.
    #[inline]
    fn queue(&mut self, batch: u32, record: u32) -> Result<(), Undecided> {
        let stamp = self.held[batch as usize].batch.records[record as usize].stamp;
        if stamp < self.last.stamp {
            return Err(Undecided::Late);
        }
        let due = Due {
            stamp,
            batch,
            record,
        };
        let mut after = self.due.len();
        while after > 0 && self.due[after - 1].stamp > stamp {
            after -= 1;
        }
        if after == self.due.len() {
            self.due.push_back(due);
        } else {
            self.due.insert(after, due);
        }
        Ok(())
    }

    /// Replays the record that is first.
    fn next(&mut self, empty: &Sender<Batch>) -> Result<(), Undecided> {
        let Some(due) = self.due.pop_front() else {
            return Ok(());
        };
        assert!(self.last.stamp <= due.stamp, "R1, by R5");
        if self.last.turn == LAST_TURN {
            return Err(Undecided::Late);
        }
        self.last = Actor {
            turn: self.last.turn + 1,
            stamp: due.stamp,
        };
        let place = due.batch as usize;
        let batch = std::mem::take(&mut self.held[place].batch);
        let done = self.run(&batch, due.record as usize);
        let held = &mut self.held[place];
        held.batch = batch;
        held.left -= 1;
        if held.left == 0 {
            let mut batch = std::mem::take(&mut held.batch);
            batch.clear();
            self.free.push(due.batch);
            // Its reader may have finished.
            empty.send(batch).unwrap_or_default();
        }
        done
    }

    /// Runs a transaction: first what it saw, which does not include its own installs, then these.
    fn run(&mut self, batch: &Batch, record: usize) -> Result<(), Undecided> {
        let (commit, begin) = (&batch.records[record], batch.begin(record));
        let (ends, actor) = (commit.ends, self.last);
        let reads = &batch.reads[begin.reads..ends.reads];
        let installs = &batch.installs[begin.installs..ends.installs];
        self.waiting -= reads.len() + installs.len();
        self.table.reserve(reads.len() + installs.len());
        // All places first: to wait for memory once, not each time.
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        let keys = reads.iter().map(|read| read.key);
        let keys = keys.chain(installs.iter().map(|(key, _)| *key));
        for key in keys {
            let (place, is_new) = self.table.place(key);
            if is_new {
                self.begin_key(key, place);
            }
            places.push(place);
        }
        let (of_reads, of_installs) = places.split_at(reads.len());
        for (read, place) in reads.iter().zip(of_reads) {
            self.table.at(*place).read(read.version, actor)?;
        }
        for scan in &batch.scans[begin.scans..ends.scans] {
            self.scan(scan)?;
        }
        for ((_, how), place) in installs.iter().zip(of_installs) {
            self.table.at(*place).install(*how, commit.seq, actor)?;
        }
        self.places = places;
        Ok(())
    }

    /// A key is named for the first time: scans that cover it have missed it.
    #[inline]
    fn begin_key(&mut self, key: Key, place: usize) {
        if let Some(sorted) = &mut self.sorted {
            let bytes = key.bytes(&self.names);
            self.scans.tell(&bytes, self.table.at(place));
            sorted.insert(bytes, key);
        }
    }

    fn scan(&mut self, scan: &ScanOf) -> Result<(), Undecided> {
        let actor = self.last;
        if self.sorted.is_none() {
            let keys = self.table.keys().map(|key| (key.bytes(&self.names), key));
            self.sorted = Some(keys.collect());
        }
        for read in &scan.found {
            self.table.reserve(1);
            let (place, is_new) = self.table.place(read.key);
            if is_new {
                self.begin_key(read.key, place);
            }
        }
        let mut found = scan.found.iter().peekable();
        let range = (Bound::Included(&*scan.lo), Bound::Unbounded);
        let sorted = self.sorted.get_or_insert_default();
        for (bytes, key) in sorted.range::<[u8], _>(range) {
            if !scan.covers(bytes) {
                break;
            }
            let returned = found.next_if(|read| read.key == *key);
            let (place, _) = self.table.place(*key);
            let state = self.table.at(place);
            state.scan(returned.map(|read| read.version), scan.pos, actor)?;
        }
        assert!(
            found.next().is_none(),
            "what a scan found is in its range, and was just added"
        );
        self.scans.remember(scan, actor);
        Ok(())
    }
}

/// Scans that took place, for keys that are named later.
#[derive(Debug, Default)]
struct PastScans {
    known: VecDeque<(ScanOf, Actor)>,
    /// The highest position, and the latest stamp, of those that are not known any more.
    forgotten: Option<(u64, u64)>,
}

/// So many scans are known.
const MAX_SCANS: usize = 1024;

impl PastScans {
    fn tell(&self, key: &[u8], state: &mut super::table::State) {
        if let Some((pos, stamp)) = self.forgotten {
            state.may_have_been_missed(pos, stamp);
        }
        let covering = self.known.iter().filter(|(scan, _)| scan.covers(key));
        for (scan, actor) in covering {
            state.was_missed(scan.pos, *actor);
        }
    }

    fn remember(&mut self, scan: &ScanOf, actor: Actor) {
        if self.known.len() == MAX_SCANS
            && let Some((oldest, actor)) = self.known.pop_front()
        {
            let (pos, stamp) = self.forgotten.unwrap_or_default();
            self.forgotten = Some((pos.max(oldest.pos), stamp.max(actor.stamp)));
        }
        let range = ScanOf {
            lo: Arc::clone(&scan.lo),
            hi: scan.hi.clone(),
            pos: scan.pos,
            found: Vec::new(),
        };
        self.known.push_back((range, actor));
    }
}
