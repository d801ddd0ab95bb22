//! Every engine passes the suite on every storage, and every history it leaves is commitment ordered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use checker::Level;
use participant::conformance::{Subject, Suite};
use participant::engine::{Engine, Host, Mvcc, Optimistic, Options, Shared, Ss2pl};
use participant::storage::{
    Batch, Cell, FjallStore, Mark, Memory, SimStorage, Storage, StorageError, Visit,
};
use participant::{Key, KeyRange};

use crate::judge::assert_valid;

/// A part of a store on the disk, by a prefix of the keys. It gets every commit at once, as nobody writes a log
/// here.
#[derive(Debug)]
struct Part {
    store: Arc<FjallStore>,
    prefix: [u8; 4],
    mark: Mutex<Mark>,
}

impl Part {
    fn key(&self, key: &[u8]) -> Key {
        [&self.prefix, key].concat().into()
    }
}

impl Storage for Part {
    fn is_durable(&self) -> bool {
        false
    }
    fn mark(&self) -> Mark {
        *self.mark.lock().unwrap()
    }
    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        self.store.get(&self.key(key))
    }
    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        let next = (u32::from_be_bytes(self.prefix) + 1).to_be_bytes();
        let range = KeyRange {
            low: self.key(&range.low),
            high: Some(match &range.high {
                Some(high) => self.key(high),
                None => next.as_slice().into(),
            }),
        };
        self.store
            .scan(&range, &mut |key, cell| visit(&key[4..].into(), cell))
    }
    fn apply(&self, mut batch: Batch) -> Result<(), StorageError> {
        let mut mark = self.mark.lock().unwrap();
        *mark = batch.mark;
        batch.mark.ordinal = self.store.mark().ordinal + 1;
        for (key, _) in &mut batch.rows {
            *key = self.key(key);
        }
        self.store.apply(batch)
    }
    fn persist(&self) -> Result<(), StorageError> {
        self.store.persist()
    }
}

type Make<'a> = &'a dyn Fn() -> Arc<dyn Storage>;

fn check<E: Engine>(open: impl Fn(Options) -> Host<E>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FjallStore::open(folder.path(), "site").unwrap());
    let parts = AtomicU32::new(1);
    let part = || -> Arc<dyn Storage> {
        Arc::new(Part {
            store: Arc::clone(&store),
            prefix: parts.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
            mark: Mutex::default(),
        })
    };
    let storages: [(&str, Make<'_>); 3] = [
        ("memory", &|| Arc::new(Memory::new())),
        ("not in the log", &|| Arc::new(SimStorage::new())),
        ("fjall", &part),
    ];
    for (storage, make) in storages {
        let suite = Suite::new(
            |rule, recorder| {
                let site = Arc::new(open(Options {
                    rule,
                    recorder,
                    storage: make(),
                    // Little, so that it is forgotten while the suite looks.
                    kept_commits: 8,
                }));
                let seen = Arc::clone(&site);
                Subject::new(site).with_idle(move || seen.is_idle())
            },
            |case, history| assert_valid(case, history, Level::CommitmentOrdering),
        );
        for (name, case) in Suite::cases() {
            println!("{storage}: {name}");
            case(&suite);
        }
    }
}

#[test]
fn ss2pl_conforms() {
    check(Ss2pl::new);
}

#[test]
fn sco_conforms() {
    check(Ss2pl::strict_commit_order);
}

#[test]
fn optimistic_conforms() {
    check(Optimistic::new);
}

#[test]
fn mvcc_conforms() {
    check(Mvcc::new);
}

#[test]
fn shared_conforms() {
    check(Shared::new);
}
