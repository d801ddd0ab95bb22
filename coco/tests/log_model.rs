//! The log against another store of the same records: random sequences of appends, lazy appends, cuts, clean closes
//! and kills, on the files of the log and in a table of redb. Whatever is forced in both is in both afterwards, in the
//! same place; of what is lazy a prefix is; of what is cut only a beginning is left.
#![cfg(feature = "file-log")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it has done"
)]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use coco::log::{FileLog, Log, Lsn, Options, Owner};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// The smallest there is: about a kilobyte of records.
const SEGMENT_BYTES: u64 = 5_120;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize),
    Lazy(usize),
    /// Before the record so many from the end.
    Cut(u64),
    Close,
    /// What the files hold at that moment is all that is left.
    Kill,
}

/// What is broken between the log and the test, to see whether the test notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    LastLost,
    CutTooFar,
    TwoSwapped,
}

thread_local! {
    /// Restarts, and records that were found by them.
    static SEEN: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = || prop_oneof![4 => 0..80_usize, 1 => 200..900_usize];
    let step = prop_oneof![
        8 => size().prop_map(Step::Append),
        4 => size().prop_map(Step::Lazy),
        2 => (0..12_u64).prop_map(Step::Cut),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..60)
}

/// The record with this number.
fn record(lsn: u64, size: usize) -> Vec<u8> {
    let bytes = lsn.to_le_bytes().into_iter().cycle();
    bytes.take(size).collect()
}

struct Both {
    lie: Lie,
    folder: tempfile::TempDir,
    lives: u32,
    log: Option<FileLog>,
    redb: Database,
    /// All that was ever appended and may be found, from the first.
    sizes: Vec<usize>,
    /// Of these, so many are forced: redb has them.
    forced: usize,
    /// The first that counts.
    first: u64,
}

impl Both {
    fn new(lie: Lie) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm");
        let folder = folder.unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let redb = Database::create(folder.path().join("redb")).unwrap();
        let mut both = Self {
            lie,
            folder,
            lives: 0,
            log: None,
            redb,
            sizes: Vec::new(),
            forced: 0,
            first: 1,
        };
        both.open(None);
        both
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.lives.to_string())
    }

    /// Opens the log, on a copy of its present files if it was killed.
    fn open(&mut self, killed: Option<&Path>) {
        if let Some(from) = killed {
            copy(from, &self.path());
        }
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            ..Options::default()
        };
        let owner = Owner::participant("s");
        let (log, mut found) = FileLog::open(&self.path(), &owner, options).unwrap();
        match (self.lie, found.len()) {
            (Lie::LastLost, _) => drop(found.pop()),
            (Lie::TwoSwapped, 2..) => found.swap(0, 1),
            (Lie::None | Lie::CutTooFar | Lie::TwoSwapped, _) => {}
        }
        self.log = Some(log);
        self.compare(&found);
    }

    fn log(&self) -> &FileLog {
        self.log.as_ref().expect("it is open between steps")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(size) => self.append(size),
            Step::Lazy(size) => {
                self.sizes.push(size);
                let lsn = self.sizes.len() as u64;
                self.log().append_lazy(&record(lsn, size));
            }
            Step::Cut(back) => self.cut(back),
            Step::Close => {
                self.log = None;
                self.open(None);
            }
            Step::Kill => {
                let from = self.path();
                self.lives += 1;
                // The old one goes on with its own files, until it is dropped.
                let old = self.log.take();
                self.open(Some(&from));
                drop(old);
            }
        }
    }

    fn append(&mut self, size: usize) {
        self.sizes.push(size);
        let lsn = self.sizes.len() as u64;
        let (told, tells) = channel();
        let done = move |written| told.send(written).unwrap();
        self.log().append(&record(lsn, size), Box::new(done));
        let written = tells.recv().unwrap();
        assert_eq!(written.unwrap(), Lsn(lsn), "its place in the order");
        self.force(self.sizes.len());
    }

    /// redb has the records up to this one.
    fn force(&mut self, through: usize) {
        let write = self.redb.begin_write().unwrap();
        {
            let mut table = write.open_table(RECORDS).unwrap();
            for (lsn, size) in (1..).zip(&self.sizes[..through]).skip(self.forced) {
                table.insert(lsn, record(lsn, *size).as_slice()).unwrap();
            }
        }
        write.commit().unwrap();
        self.forced = through;
    }

    fn cut(&mut self, back: u64) {
        let first = (self.forced as u64).saturating_sub(back).max(self.first);
        self.first = first;
        let further = if self.lie == Lie::CutTooFar { 40 } else { 0 };
        self.log().cut_before(Lsn(first + further)).unwrap();
        let write = self.redb.begin_write().unwrap();
        {
            let mut table = write.open_table(RECORDS).unwrap();
            table.retain(|lsn, _| lsn >= first).unwrap();
        }
        write.commit().unwrap();
    }

    /// What the log holds after a start.
    fn compare(&mut self, found: &[Vec<u8>]) {
        let redb: Vec<(u64, Vec<u8>)> = {
            let read = self.redb.begin_read().unwrap();
            match read.open_table(RECORDS) {
                Ok(table) => table
                    .iter()
                    .unwrap()
                    .map(|row| row.map(|(lsn, bytes)| (lsn.value(), bytes.value().to_vec())))
                    .collect::<Result<_, _>>()
                    .unwrap(),
                Err(_) => Vec::new(),
            }
        };
        // Where the last of what was found stands: nobody may be missing before it.
        let lost = self.sizes.len() + 1 - self.forced;
        let last = (0..lost).map(|lazy| self.forced + lazy).find(|last| {
            let records = (1..).zip(&self.sizes[..*last]);
            let all: Vec<_> = records.map(|(lsn, size)| record(lsn, *size)).collect();
            let whole = redb.len() + (last - self.forced);
            found.len() >= whole && all.ends_with(found)
        });
        let Some(last) = last else {
            panic!(
                "{} records found, of {} appended, {} forced and {} in redb",
                found.len(),
                self.sizes.len(),
                self.forced,
                redb.len()
            );
        };
        let place = found.len() - (last - self.forced) - redb.len();
        let same = found[place..].iter().zip(&redb);
        for (found, (lsn, bytes)) in same {
            assert_eq!(found, bytes, "record {lsn}");
        }
        self.sizes.truncate(last);
        self.force(last);
        let (restarts, records) = SEEN.get();
        SEEN.set((restarts + 1, records + found.len() as u64));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn run(cases: u32, lie: Lie) -> Result<(), String> {
    let times = std::env::var("COCO_MODEL_CASES");
    let times: u32 = times.map_or(1, |times| times.parse().unwrap());
    let config = Config {
        cases: cases * times,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let ran = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let mut both = Both::new(lie);
        for step in steps {
            both.step(step);
        }
        both.step(Step::Close);
        Ok(())
    });
    ran.map_err(|error| error.to_string())
}

#[test]
fn the_log_holds_what_redb_holds() {
    let cases = 1_500;
    if let Err(error) = run(cases, Lie::None) {
        panic!("{error}");
    }
    let (restarts, records) = SEEN.take();
    println!("{cases} cases, {restarts} restarts, {records} records found by them");
    assert!(restarts > 3 * u64::from(cases), "{restarts}");
    assert!(records > 5 * restarts, "{records}");
}

#[test]
fn what_is_broken_is_noticed() {
    for lie in [Lie::LastLost, Lie::CutTooFar, Lie::TwoSwapped] {
        assert!(run(100, lie).is_err(), "{lie:?}");
    }
}
