//! The values of all versions. Who may read which one, and who waits for whom, is
//! [`VersionOrder`](co_core::VersionOrder)'s business.
//!
//! Invariants:
//! - M1 A commit's values are all in the store before a snapshot shows its version, and before its writer's
//!   intents go; so neither a reader nor a query meets a part of it, or finds it gone from both.
//! - M2 Versions are never taken back or changed, so what a snapshot or a stamp shows stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use co_core::{Position, Stamp};

use super::version::Chain;
use crate::engine::workspace::{Committed, Row};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Value};

#[derive(Debug, Default)]
pub(super) struct Store {
    newest: u64,
    chains: BTreeMap<Key, Chain>,
}

impl Store {
    /// Stores changes as the site's next version; says its number.
    pub(super) fn install(&mut self, position: Position, stamp: Stamp, changes: &[Change]) -> u64 {
        assert!(self.newest < position.0, "M1: versions in order");
        self.newest = position.0;
        for change in changes {
            let chain = self.chains.entry(Arc::clone(change.key())).or_default();
            chain.install(self.newest, stamp, change);
        }
        self.newest
    }

    /// What a snapshot at `position` shows of a key: the version, zero if there is none, and the value.
    pub(super) fn at(&self, key: &[u8], position: Position) -> (u64, Option<Value>) {
        let chain = self.chains.get(key);
        let version = chain.and_then(|chain| chain.at(position.0));
        version.map_or((0, None), |version| {
            (version.sequence, version.value.clone())
        })
    }

    /// The present rows of a range that a snapshot at `position` shows.
    pub(super) fn rows_at(&self, range: &KeyRange, position: Position) -> Vec<Row> {
        let chains = self.chains.range(range.bounds());
        let rows = chains.filter_map(|(key, chain)| {
            let version = chain.at(position.0)?;
            let value = version.value.as_ref()?;
            Some((Arc::clone(key), version.sequence, Arc::clone(value)))
        });
        rows.take(MAX_SCAN_ROWS + 1).collect()
    }

    /// The rows of a range as everything decided up to `stamp` has left them.
    pub(super) fn rows_as_of(&self, range: &KeyRange, stamp: Stamp) -> Vec<(Key, Value)> {
        let chains = self.chains.range(range.bounds());
        let rows = chains.filter_map(|(key, chain)| Some((Arc::clone(key), chain.as_of(stamp)?)));
        rows.take(MAX_SCAN_ROWS + 1).collect()
    }

    pub(super) fn newest_value(&self, key: &[u8]) -> Option<&Value> {
        self.chains.get(key)?.newest_value()
    }
}

impl Committed for Store {
    fn position(&self) -> u64 {
        self.newest
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.chains.get(key).map_or(0, Chain::newest_sequence)
    }

    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        self.rows_at(range, Position(self.newest))
    }
}
