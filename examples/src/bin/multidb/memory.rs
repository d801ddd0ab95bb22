//! A database of one map, for unit tests: serial, and faulty on demand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use co_core::Priority;
use coco::protocol::AbortCause;

use crate::database::{Answer, Database, Op, Scope, Stop, Transaction};
use crate::schema::{self, Key};
use crate::site::Site;
use crate::workload::Sizes;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// One account begins with a unit too many.
    WrongTotal,
    /// The same, and nobody learns what became of a commit.
    WrongTotalAndUnknown,
    /// Commits forget what was written at C.
    DropsWritesAtC,
    /// The first two attempts of each age abort.
    AbortsTwice,
    /// No attempt commits.
    AbortsAlways,
}

type Data = BTreeMap<(Site, Key), Vec<u8>>;

#[derive(Debug)]
struct Shared {
    fault: Fault,
    data: Mutex<Data>,
    attempts: Mutex<(u64, HashMap<Priority, u32>)>,
}

/// The database.
#[derive(Debug)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
}

/// A transaction; its clients run one after another, so it needs no isolation.
#[derive(Debug)]
pub(crate) struct MemoryTxn {
    shared: Arc<Shared>,
    age: Priority,
    /// It has had its first operation. Before that a transaction of one site has no age to tell, as
    /// over the network.
    begun: bool,
    scope: Scope,
    writes: Data,
    dropped: Data,
}

impl Memory {
    pub(crate) fn open(sizes: Sizes, fault: Fault) -> Self {
        let mut data = Data::new();
        for site in sizes.sites.all() {
            for op in schema::opening(site, sizes) {
                let Op::Put(key, value) = op else {
                    panic!("the opening only puts")
                };
                data.insert((site, key), value);
            }
        }
        if matches!(fault, Fault::WrongTotal | Fault::WrongTotalAndUnknown) {
            let account = (Site::B, schema::account(0));
            data.insert(account, schema::encode(schema::OPENING_BALANCE + 1));
        }
        let (data, attempts) = (Mutex::new(data), Mutex::default());
        Self {
            shared: Arc::new(Shared {
                fault,
                data,
                attempts,
            }),
        }
    }

    /// Changes a value behind the back of everybody.
    pub(crate) fn corrupt(&self, site: Site, key: Key, value: i64) {
        self.shared
            .data
            .lock()
            .unwrap()
            .insert((site, key), schema::encode(value));
    }
}

impl Database for Memory {
    type Txn = MemoryTxn;

    async fn begin(&self, scope: Scope, age: Option<Priority>) -> Result<MemoryTxn, Stop> {
        let age = age.unwrap_or_else(|| {
            let mut attempts = self.shared.attempts.lock().unwrap();
            attempts.0 += 1;
            Priority(attempts.0)
        });
        let shared = Arc::clone(&self.shared);
        Ok(MemoryTxn {
            shared,
            age,
            begun: false,
            scope,
            writes: Data::new(),
            dropped: Data::new(),
        })
    }
}

impl MemoryTxn {
    fn value(&self, at: &(Site, Key)) -> Option<Vec<u8>> {
        let own = self.writes.get(at).or_else(|| self.dropped.get(at));
        own.cloned()
            .or_else(|| self.shared.data.lock().unwrap().get(at).cloned())
    }

    fn write(&mut self, at: (Site, Key), value: Vec<u8>) {
        let drops = self.shared.fault == Fault::DropsWritesAtC && at.0 == Site::C;
        let target = if drops {
            &mut self.dropped
        } else {
            &mut self.writes
        };
        target.insert(at, value);
    }

    fn answer(&mut self, site: Site, op: Op) -> Answer {
        match op {
            Op::Get(key) => Answer::Value(self.value(&(site, key))),
            Op::Put(key, value) => {
                self.write((site, key), value);
                Answer::Done
            }
            // An empty value stands for absence; no request writes one.
            Op::Delete(key) => {
                self.write((site, key), Vec::new());
                Answer::Done
            }
            Op::Increment(key, by) => {
                let held = self.value(&(site, key.clone()));
                let held = schema::decode(held.as_deref()).unwrap();
                self.write((site, key), schema::encode(held + by));
                Answer::Done
            }
            Op::Scan(range) => {
                let data = self.shared.data.lock().unwrap().clone();
                let inside = |at: &(Site, Key)| {
                    at.0 == site
                        && at.1 >= range.low
                        && range.high.as_ref().is_none_or(|high| at.1 < *high)
                };
                let rows = data
                    .into_iter()
                    .filter(|(at, value)| inside(at) && !value.is_empty());
                Answer::Rows(rows.map(|((_, key), value)| (key, value)).collect())
            }
        }
    }
}

impl Transaction for MemoryTxn {
    fn age(&self) -> Option<Priority> {
        (self.begun || self.scope == Scope::Global).then_some(self.age)
    }

    async fn execute(&mut self, site: Site, ops: Vec<Op>) -> Result<Vec<Answer>, Stop> {
        self.begun = true;
        if let Scope::Local(only) = self.scope {
            assert_eq!(site, only, "a local transaction went elsewhere");
        }
        Ok(ops.into_iter().map(|op| self.answer(site, op)).collect())
    }

    async fn commit(self) -> Result<(), Stop> {
        let attempt = {
            let mut attempts = self.shared.attempts.lock().unwrap();
            let attempt = attempts.1.entry(self.age).or_default();
            *attempt += 1;
            *attempt
        };
        match self.shared.fault {
            Fault::AbortsTwice if attempt <= 2 => Err(Stop::Aborted(AbortCause::StaleRead)),
            Fault::AbortsAlways => Err(Stop::Aborted(AbortCause::StaleRead)),
            Fault::WrongTotalAndUnknown => Err(Stop::Unknown("nobody knows".to_owned())),
            Fault::None | Fault::WrongTotal | Fault::DropsWritesAtC | Fault::AbortsTwice => {
                self.shared.data.lock().unwrap().extend(self.writes);
                Ok(())
            }
        }
    }
}
