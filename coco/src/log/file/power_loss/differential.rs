//! The log through its public interface, its thread included, beside the simplest log there is: a
//! list. Sequences are shrunk when they differ.

use std::sync::mpsc;

use proptest::prelude::*;

use super::super::sim_folder::{Fault, Random, SimFolder, Tear};
use super::super::*;
use super::world::{options, owner};

#[derive(Clone, Debug)]
enum Step {
    /// Appends a record of this length and waits for it.
    Force(usize),
    /// Appends a record of this length.
    Lazy(usize),
    /// Shortens the log, keeping so many records.
    Keep(usize),
    /// Closes the log and opens it again.
    Reopen,
    /// Kills the process.
    Kill,
    /// Cuts the power.
    PowerLoss { seed: u64, sector: usize },
    /// Lets an operation fail, so many operations later.
    Fail(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = || prop_oneof![8 => Just(16usize), 4 => 0..60usize, 1 => 900..1000usize];
    let step = prop_oneof![
        8 => length().prop_map(Step::Force),
        6 => length().prop_map(Step::Lazy),
        1 => (0..60usize).prop_map(Step::Keep),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        3 => (any::<u64>(), prop::sample::select(vec![8, 64, 512]))
            .prop_map(|(seed, sector)| Step::PowerLoss { seed, sector }),
        1 => (0..12usize).prop_map(Step::Fail),
    ];
    prop::collection::vec(step, 1..40)
}

/// The log, and the list that it must be.
struct Pair {
    folder: SimFolder,
    log: Option<FileLog>,
    list: Vec<Vec<u8>>,
    durable: usize,
    cut: usize,
    serial: usize,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            folder: SimFolder::default(),
            log: None,
            list: Vec::new(),
            durable: 0,
            cut: 0,
            serial: 0,
        };
        pair.open();
        pair
    }

    fn open(&mut self) {
        self.folder.mend();
        let (log, found) =
            FileLog::open_in(Box::new(self.folder.clone()), &owner(), options()).unwrap();
        let first = usize::try_from(log.shared.segments.lock().unwrap()[0].0 - 1).unwrap();
        let end = first + found.len();
        assert!(
            first <= self.cut,
            "{first} records are gone, {} were cut",
            self.cut
        );
        assert!(end >= self.durable, "{end} records of {}", self.durable);
        assert_eq!(self.list.get(first..end), Some(&found[..]));
        self.list.truncate(end);
        self.durable = end;
        self.log = Some(log);
    }

    fn record(&mut self, length: usize) -> Vec<u8> {
        self.serial += 1;
        let mut record = self.serial.to_le_bytes().to_vec();
        record.resize(length, 7);
        record
    }

    fn force(&mut self, length: usize) {
        let record = self.record(length);
        let (told, hears) = mpsc::channel();
        let log = self.log.as_ref().unwrap();
        log.append(&record, Box::new(move |result| told.send(result).unwrap()));
        self.list.push(record);
        match hears.recv().unwrap() {
            Ok(lsn) => {
                assert_eq!(lsn.0, self.list.len() as u64);
                self.durable = self.list.len();
                assert!(log.failure().is_none());
            }
            Err(LogError::Poisoned { .. }) => {
                assert!(self.folder.faulted() && log.failure().is_some());
                // What a failed log takes has no place in it.
                self.restart();
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// The process ends at once, whatever its threads are doing.
    fn restart(&mut self) {
        self.folder.fault_at(0, Fault::Death);
        self.log = None;
        self.open();
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Force(length) => self.force(length),
            Step::Lazy(length) => {
                let record = self.record(length);
                self.log.as_ref().unwrap().append_lazy(&record);
                self.list.push(record);
            }
            Step::Keep(keep) => {
                let keep = keep.min(self.durable);
                self.cut = self.cut.max(self.durable - keep);
                let cut = Lsn((self.durable - keep) as u64 + 1);
                let done = self.log.as_ref().unwrap().cut_before(cut);
                assert!(done.is_ok() || self.folder.faulted());
            }
            Step::Reopen => {
                self.log = None;
                // The close may have run into the failure that was planned.
                if !self.folder.faulted() {
                    self.durable = self.list.len();
                }
                self.open();
            }
            Step::Kill => self.restart(),
            Step::PowerLoss { seed, sector } => {
                let tear = Tear {
                    sector,
                    garbage: seed % 2 == 0,
                };
                self.folder = self.folder.after_crash(tear, &mut Random::new(seed));
                self.log = None;
                self.open();
            }
            Step::Fail(after) => self
                .folder
                .fault_at(after, Fault::Once(io::ErrorKind::Other)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(20_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_log_is_the_list(steps in steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        pair.restart();
    }
}
