//! The keys of one site, and the scans over them.

use std::collections::{BTreeMap, HashMap};

use crate::hashing::Hashing;
use crate::history::{Scan, TxnId};
use crate::replay::key::{Key, Names};
use crate::token::Token;

use super::chain::{Access, Chain};

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) chain: Chain,
    /// Some scan returned it in its initial version.
    pub(super) initially_present: bool,
    /// A scan that did not find it before anything was installed, and at which position.
    pub(super) missed: Option<(TxnId, u64)>,
    /// Scans of which only this stamp is kept may have missed it.
    pub(super) missed_by_forgotten: Option<u64>,
}

/// The keys by number.
#[derive(Debug, Default)]
pub(super) struct Keys {
    names: Names,
    ids: HashMap<Key, u32, Hashing>,
    pub(super) entries: Vec<Entry>,
    /// The keys in order; only where there are scans.
    sorted: Option<BTreeMap<Token, u32>>,
    scans: Vec<PastScan>,
    /// The latest stamp of the scans that were forgotten.
    forgotten: Option<u64>,
}

/// A scan that was evaluated: keys that first appear after it were missed by it.
#[derive(Debug)]
struct PastScan {
    scan: Box<Scan>,
    access: Access,
}

/// So many scans are remembered with their ranges.
const MAX_SCANS: usize = 1024;

impl Keys {
    /// The number of a key, given by its bytes.
    pub(super) fn id(&mut self, bytes: &[u8]) -> u32 {
        let key = self.names.key(bytes);
        match self.ids.get(&key) {
            Some(&id) => id,
            None => self.add(key, bytes),
        }
    }

    #[cold]
    fn add(&mut self, key: Key, bytes: &[u8]) -> u32 {
        let id = u32::try_from(self.entries.len()).expect("the limit on entries is far below");
        let token = Token::from(bytes);
        let mut chain = Chain::new();
        let mut missed = None;
        for past in self.scans.iter().filter(|past| past.scan.covers(&token)) {
            let initial = Access {
                at: 0,
                ..past.access
            };
            let read = chain.read(initial);
            assert!(read.is_ok(), "nothing is installed yet");
            missed = missed.or(Some((past.access.txn, past.scan.pos.0)));
        }
        if let Some(sorted) = &mut self.sorted {
            sorted.insert(token.clone(), id);
        }
        self.ids.insert(key, id);
        self.entries.push(Entry {
            token,
            chain,
            initially_present: false,
            missed,
            missed_by_forgotten: self.forgotten,
        });
        id
    }

    pub(super) fn entry(&mut self, id: u32) -> &mut Entry {
        &mut self.entries[id as usize]
    }

    /// The keys that a scan covers, in ascending order.
    pub(super) fn covered(&mut self, scan: &Scan) -> Vec<u32> {
        let entries = &self.entries;
        let sorted = self.sorted.get_or_insert_with(|| {
            let keys = (0..).zip(entries);
            keys.map(|(id, entry)| (entry.token.clone(), id)).collect()
        });
        sorted
            .range(scan.lo.clone()..)
            .take_while(|(key, _)| scan.covers(key))
            .map(|(_, id)| *id)
            .collect()
    }

    /// Remembers a scan for keys that appear later.
    pub(super) fn remember(&mut self, scan: Box<Scan>, access: Access) {
        if self.scans.len() == MAX_SCANS {
            for past in self.scans.drain(..MAX_SCANS / 2) {
                self.forgotten = self.forgotten.max(past.access.stamp).or(Some(0));
            }
        }
        self.scans.push(PastScan { scan, access });
    }

    pub(super) fn scan_count(&self) -> usize {
        self.scans.len()
    }
}
