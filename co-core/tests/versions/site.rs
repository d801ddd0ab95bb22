//! A small multi-version engine around one `VersionOrder`: its values are the names of who wrote them.

use std::collections::BTreeMap;

use co_core::{
    AbortReason, Gtid, Kind, Outcome, Position, Priority, Queries, Reading, Scheduler, Stamp, Turn,
    Txn, VersionOrder, Vote, VoteRule, WriteKind,
};

/// One version of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) position: Position,
    pub(crate) stamp: Stamp,
    pub(crate) writer: u32,
    pub(crate) kind: WriteKind,
}

/// What a read answered.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    Now(T),
    After(Turn),
}

pub(crate) struct Site {
    pub(crate) scheduler: Scheduler,
    pub(crate) versions: VersionOrder<char>,
    pub(crate) queries: Queries,
    pub(crate) chains: BTreeMap<char, Vec<Version>>,
    writes: BTreeMap<u32, BTreeMap<char, WriteKind>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with_late_readers(8)
    }

    pub(crate) fn with_late_readers(limit: usize) -> Self {
        Self::under(VoteRule::Withhold, limit)
    }

    pub(crate) fn under(rule: VoteRule, limit: usize) -> Self {
        let scheduler = Scheduler::new(rule);
        Self {
            versions: VersionOrder::with_late_readers(scheduler.clone(), limit),
            scheduler,
            queries: Queries::new(),
            chains: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    /// A global transaction named and aged `number`.
    pub(crate) fn begin(&self, number: u32) -> Txn {
        self.scheduler.begin(Kind::Global {
            gtid: Gtid(number.into()),
            priority: Priority(number.into()),
        })
    }

    /// A transaction's number, which is its age.
    pub(crate) fn number(txn: &Txn) -> u32 {
        u32::try_from(txn.kind().priority().0).unwrap()
    }

    /// Who wrote the version of `key` that `position` shows; 0 initially.
    pub(crate) fn writer_at(&self, key: char, position: Position) -> u32 {
        let mut chain = self.chains.get(&key).into_iter().flatten().rev();
        let shown = chain.find(|version| version.position <= position);
        shown.map_or(0, |version| version.writer)
    }

    /// Who wrote the version that is read.
    pub(crate) fn read(&self, txn: &Txn, key: char) -> Result<Seen<u32>, AbortReason> {
        Ok(match self.versions.read(txn, &key)? {
            Reading::Now(snapshot) => Seen::Now(self.writer_at(key, snapshot.position())),
            Reading::After(turn) => Seen::After(turn),
        })
    }

    /// [`Site::read`] where nobody is made to wait.
    pub(crate) fn read_now(&self, txn: &Txn, key: char) -> Result<u32, AbortReason> {
        match self.read(txn, key)? {
            Seen::Now(writer) => Ok(writer),
            Seen::After(turn) => panic!("{txn:?} has to wait: {turn:?}"),
        }
    }

    /// The position that a scan shows.
    pub(crate) fn scan(
        &self,
        txn: &Txn,
        low: char,
        high: Option<char>,
    ) -> Result<Seen<Position>, AbortReason> {
        Ok(match self.versions.scan(txn, &low, high.as_ref())? {
            Reading::Now(snapshot) => Seen::Now(snapshot.position()),
            Reading::After(turn) => Seen::After(turn),
        })
    }

    pub(crate) fn scan_now(
        &self,
        txn: &Txn,
        low: char,
        high: Option<char>,
    ) -> Result<Position, AbortReason> {
        match self.scan(txn, low, high)? {
            Seen::Now(position) => Ok(position),
            Seen::After(turn) => panic!("{txn:?} has to wait: {turn:?}"),
        }
    }

    pub(crate) fn write(&mut self, txn: &Txn, key: char) -> Result<(), AbortReason> {
        self.change(txn, key, WriteKind::Put)
    }

    pub(crate) fn change(
        &mut self,
        txn: &Txn,
        key: char,
        kind: WriteKind,
    ) -> Result<(), AbortReason> {
        self.versions.intend(txn, &key, kind)?;
        let own = self.writes.entry(Self::number(txn)).or_default();
        let known = own.entry(key).or_insert(kind);
        *known = (*known).min(kind);
        Ok(())
    }

    pub(crate) fn wrote(&self, txn: &Txn, key: char) -> bool {
        let own = self.writes.get(&Self::number(txn));
        own.is_some_and(|own| own.contains_key(&key))
    }

    /// Whether a write lock of the key would be free.
    pub(crate) fn is_free(&self, txn: &Txn, key: char, kind: WriteKind) -> bool {
        let others = self.writes.iter();
        let mut others = others.filter(|(number, _)| **number != Self::number(txn));
        others.all(|(_, writes)| match writes.get(&key) {
            None => true,
            Some(held) => *held == WriteKind::Increment && kind == WriteKind::Increment,
        })
    }

    /// The decision arrives: install, tell, retire, settle.
    pub(crate) fn commit(&mut self, txn: &Txn, stamp: Stamp) {
        self.queries.learn(stamp);
        let number = Self::number(txn);
        if let Some(writes) = self.writes.remove(&number) {
            let chains = &mut self.chains;
            let store = |position| {
                for (key, kind) in writes {
                    chains.entry(key).or_default().push(Version {
                        position,
                        stamp,
                        writer: number,
                        kind,
                    });
                }
            };
            self.versions.install(txn, store).unwrap();
        }
        self.scheduler.decided(txn, Outcome::Commit).unwrap();
        self.versions.retire(txn);
        self.queries.settle(txn);
    }

    pub(crate) fn abort(&mut self, txn: &Txn) {
        self.writes.remove(&Self::number(txn));
        self.scheduler.decided(txn, Outcome::Abort).unwrap();
        self.versions.retire(txn);
        self.queries.settle(txn);
    }

    /// Votes, which nothing may delay, and commits at the vote's stamp.
    pub(crate) fn vote_and_commit(&mut self, txn: &Txn) -> Stamp {
        let vote = self.scheduler.request_vote(txn);
        assert_eq!(vote.peek(), Some(Vote::Yes), "{txn:?}");
        let stamp = self.queries.vote(txn).unwrap();
        self.commit(txn, stamp);
        stamp
    }

    /// Aborts whatever is undecided; then nothing may be left (I7).
    pub(crate) fn close(&mut self, txns: &[&Txn]) {
        for txn in txns {
            if txn.state().is_undecided() {
                self.abort(txn);
            }
        }
        drop(self.scheduler.take_doomed());
        assert_eq!(self.scheduler.undecided(), 0, "I7");
        assert!(self.versions.is_empty(), "I7");
        assert_eq!(self.versions.held(), 0, "I7");
        assert!(self.queries.is_empty(), "I7");
    }
}
