//! The commits of a site in order, the snapshots between them, and what may be forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::sync::Arc;
use crate::versions::record::{Range, Record};

/// Where a commit that changed something stands among those of its site; the initial state is at zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a transaction sees: of every key the newest version at or before a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    position: Position,
    /// When it was taken, in the order of all snapshots and ends.
    pub(super) taken: u64,
}

impl Snapshot {
    /// The newest commit that it shows.
    #[must_use]
    pub const fn position(self) -> Position {
        self.position
    }
}

/// A committed reader whose marks still stand ([`keeps_committed_reads`](crate::VoteRule)).
struct Ended<K> {
    record: Arc<Record<K>>,
    moment: u64,
    footprint: Reads<K>,
}

/// What a transaction read.
pub(super) struct Reads<K> {
    pub(super) keys: BTreeSet<K>,
    pub(super) ranges: Vec<Range<K>>,
}

/// What nobody needs any more, to be taken out of the items.
pub(super) struct Expired<K> {
    pub(super) readers: Vec<(Arc<Record<K>>, Reads<K>)>,
    pub(super) versions: Vec<(Position, Vec<K>)>,
}

/// Guarded by one mutex (MV4).
pub(super) struct Timeline<K> {
    newest: Position,
    moments: u64,
    /// Of undecided transactions, by when they were taken; so their positions grow too.
    snapshots: BTreeMap<u64, Position>,
    /// Versions that some snapshot does not show, oldest first (MV5).
    recent: VecDeque<(Position, Vec<K>)>,
    ended: VecDeque<Ended<K>>,
}

impl<K> Default for Timeline<K> {
    fn default() -> Self {
        Self {
            newest: Position(0),
            moments: 0,
            snapshots: BTreeMap::new(),
            recent: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }
}

impl<K> Timeline<K> {
    pub(super) fn newest(&self) -> Position {
        self.newest
    }

    /// The oldest position that a snapshot of now or later shows.
    pub(super) fn horizon(&self) -> Position {
        let oldest = self.snapshots.first_key_value();
        oldest.map_or(self.newest, |(_, position)| *position)
    }

    /// A moment after all snapshots and ends so far.
    pub(super) fn tick(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    pub(super) fn take_snapshot(&mut self) -> Snapshot {
        let taken = self.tick();
        self.snapshots.insert(taken, self.newest);
        Snapshot {
            position: self.newest,
            taken,
        }
    }

    pub(super) fn drop_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshots.remove(&snapshot.taken);
    }

    /// Whether the next version has to be remembered: not if every snapshot to come shows it.
    pub(super) fn has_snapshots(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// The position of the commit being installed; [`Timeline::publish`] makes it one to take snapshots of.
    pub(super) fn next(&self) -> Position {
        Position(self.newest.0 + 1)
    }

    pub(super) fn publish(&mut self, position: Position, remembered: Vec<K>) {
        assert_eq!(
            position,
            self.next(),
            "MV4: positions are published in order"
        );
        self.newest = position;
        if !remembered.is_empty() {
            self.recent.push_back((position, remembered));
        }
    }

    /// A reader has committed, and its marks outlive it.
    pub(super) fn keep(&mut self, record: Arc<Record<K>>, footprint: Reads<K>) {
        let moment = self.tick();
        record.end_at(moment);
        self.ended.push_back(Ended {
            record,
            moment,
            footprint,
        });
    }

    /// Takes out what no snapshot of an undecided transaction needs.
    pub(super) fn expire(&mut self) -> Expired<K> {
        let horizon = self.horizon();
        let oldest = self.snapshots.first_key_value().map(|(taken, _)| *taken);
        let mut expired = Expired {
            readers: Vec::new(),
            versions: Vec::new(),
        };
        while self
            .recent
            .front()
            .is_some_and(|(position, _)| *position <= horizon)
        {
            expired.versions.extend(self.recent.pop_front());
        }
        while self
            .ended
            .front()
            .is_some_and(|reader| oldest.is_none_or(|taken| reader.moment < taken))
        {
            let reader = self.ended.pop_front();
            expired
                .readers
                .extend(reader.map(|reader| (reader.record, reader.footprint)));
        }
        expired
    }

    pub(super) fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.recent.is_empty() && self.ended.is_empty()
    }
}
