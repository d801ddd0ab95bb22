//! The marks on one key, and those of its versions that some snapshot does not show.

use crate::graph::EdgeKind;
use crate::order::Txn;
use crate::outcome::State;
use crate::sync::Arc;
use crate::validate::WriteKind;
use crate::versions::record::Record;
use crate::versions::timeline::{Position, Snapshot};

pub(super) struct Item<K> {
    readers: Vec<Arc<Record<K>>>,
    writers: Vec<(Arc<Record<K>>, WriteKind)>,
    /// Oldest first.
    versions: Vec<Version>,
}

struct Version {
    position: Position,
    kind: WriteKind,
    writer: Txn,
}

/// An edge that follows from the marks: the other transaction, and why.
pub(super) type Neighbour = (Txn, EdgeKind);

impl<K> Default for Item<K> {
    fn default() -> Self {
        Self {
            readers: Vec::new(),
            writers: Vec::new(),
            versions: Vec::new(),
        }
    }
}

impl<K> Item<K> {
    pub(super) fn add_reader(&mut self, reader: &Arc<Record<K>>) {
        self.readers.push(Arc::clone(reader));
    }

    pub(super) fn remove_reader(&mut self, reader: &Txn) {
        self.readers.retain(|record| record.txn != *reader);
    }

    /// Adds an intent, or makes it one to put.
    pub(super) fn add_writer(&mut self, writer: &Arc<Record<K>>, kind: WriteKind) {
        let mut writers = self.writers.iter_mut();
        match writers.find(|(record, _)| record.txn == writer.txn) {
            Some((_, known)) => *known = (*known).min(kind),
            None => self.writers.push((Arc::clone(writer), kind)),
        }
    }

    pub(super) fn remove_writer(&mut self, writer: &Txn) {
        self.writers.retain(|(record, _)| record.txn != *writer);
    }

    pub(super) fn add_version(&mut self, position: Position, kind: WriteKind, writer: &Txn) {
        let newest = self.versions.last().map(|version| version.position);
        assert!(newest < Some(position), "MV4: versions of a key in order");
        self.versions.push(Version {
            position,
            kind,
            writer: writer.clone(),
        });
    }

    /// Forgets the version at `position`, which is the oldest one.
    pub(super) fn forget_version(&mut self, position: Position) {
        self.versions.retain(|version| version.position > position);
    }

    pub(super) fn changed_since(&self, snapshot: Snapshot) -> bool {
        let newest = self.versions.last();
        newest.is_some_and(|version| version.position > snapshot.position())
    }

    /// Whom a reader precedes: who installed what its snapshot does not show, and who is going to.
    pub(super) fn successors(&self, reader: &Txn, snapshot: Snapshot) -> impl Iterator<Item = Txn> {
        let newer = self.newer(snapshot).map(|version| &version.writer);
        let intending = self.writers.iter().map(|(record, _)| &record.txn);
        newer
            .chain(intending)
            .filter(move |writer| *writer != reader)
            .cloned()
    }

    /// Writers that have finished their work and not voted: a reader delays them.
    pub(super) fn ready_writers(&self, reader: &Txn) -> impl Iterator<Item = &Arc<Record<K>>> {
        let writers = self.writers.iter().map(|(record, _)| record);
        writers.filter(move |record| {
            record.txn != *reader && matches!(record.txn.state(), State::Ready | State::Withheld)
        })
    }

    /// Who precedes a writer of the key: its readers, and those whose writes it follows.
    pub(super) fn predecessors(
        &self,
        writer: &Txn,
        snapshot: Option<Snapshot>,
        kind: WriteKind,
    ) -> impl Iterator<Item = Neighbour> {
        let commutes = move |other| kind == WriteKind::Increment && other == WriteKind::Increment;
        let readers = self.readers.iter();
        let readers = readers
            .filter(move |reader| reader.is_concurrent(snapshot))
            .map(|reader| (&reader.txn, EdgeKind::ReadWrite));
        let newer = snapshot.map(|snapshot| self.newer(snapshot));
        let newer = newer
            .into_iter()
            .flatten()
            .filter(move |version| !commutes(version.kind))
            .map(|version| (&version.writer, EdgeKind::WriteWrite));
        let earlier = self.writers.iter();
        let earlier = earlier
            .filter(move |(_, other)| !commutes(*other))
            .map(|(record, _)| (&record.txn, EdgeKind::WriteWrite));
        readers
            .chain(newer)
            .chain(earlier)
            .filter(move |(other, _)| *other != writer)
            .map(|(other, kind)| (other.clone(), kind))
    }

    pub(super) fn writers(&self) -> impl Iterator<Item = &Txn> {
        self.writers.iter().map(|(record, _)| &record.txn)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty() && self.versions.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        self.readers.len() + self.writers.len() + self.versions.len()
    }

    fn newer(&self, snapshot: Snapshot) -> impl Iterator<Item = &Version> {
        let versions = self.versions.iter().rev();
        versions.take_while(move |version| version.position > snapshot.position())
    }
}
