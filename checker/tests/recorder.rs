//! What is recorded is what happened: of threads, of open transactions, of threads that panic.
#![allow(clippy::unwrap_used, reason = "tests may stop")]

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use checker::anomaly::{self, Options};
use checker::formats::{self, Format, ReadOptions};
use checker::models::{Anomaly, Model};
use checker::observed::{Observed, Op, Outcome, TxnIndex};
use checker::recorder::{Recorder, Session};
use checker::search::{self, Budget, Level, Verdict};

const THREADS: usize = 4;
const TXNS: usize = 200;
const KEYS: usize = 6;

fn judge(history: &Observed, level: Level) -> Verdict {
    search::judge(history, level, &Budget::default())
}

fn native(history: &Observed) -> String {
    let mut bytes = Vec::new();
    assert_eq!(
        formats::write(history, Format::Native, &mut bytes).unwrap(),
        []
    );
    String::from_utf8(bytes).unwrap()
}

/// Reads two keys and writes one of them, all at once.
fn transact(
    recorder: &Recorder,
    session: &mut Session,
    store: &Mutex<HashMap<usize, u64>>,
    turn: usize,
) {
    let (x, y) = (turn % KEYS, (turn * 5 + 1) % KEYS);
    let mut txn = session.begin();
    let mut store = store.lock().unwrap();
    txn.read(x, store.get(&x));
    txn.read(y, store.get(&y));
    let value = recorder.fresh_value();
    txn.write(x, value);
    store.insert(x, value);
    drop(store);
    txn.committed();
}

#[test]
fn concurrent_sessions_of_a_correct_store_are_strictly_serializable_and_nothing_is_lost() {
    let recorder = Recorder::new("store");
    let store = Mutex::default();
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (recorder, store, together) = (&recorder, &store, &together);
            scope.spawn(move || {
                let mut session = recorder.session();
                together.wait();
                for turn in 0..TXNS {
                    transact(recorder, &mut session, store, thread + turn);
                }
            });
        }
    });
    let history = recorder.finish();
    assert_eq!(history.txns().len(), THREADS * TXNS);
    assert_eq!(history.op_count(), THREADS * TXNS * 3);
    assert_eq!(history.session_count() as usize, THREADS);
    let mut written: Vec<String> = history
        .indexes()
        .filter_map(|txn| history.ops(txn)[2].wrote())
        .map(|(_, value)| history.value_name(value))
        .collect();
    written.sort_unstable();
    written.dedup();
    assert_eq!(written.len(), THREADS * TXNS);
    let mut times: Vec<u32> = Vec::new();
    for txn in history.txns() {
        let interval = txn.interval.unwrap();
        assert!(interval.begin < interval.end);
        times.extend([interval.begin, interval.end]);
    }
    times.sort_unstable();
    let all: Vec<u32> = (0..).take(times.len()).collect();
    assert_eq!(times, all);
    assert!(matches!(
        judge(&history, Level::STRICT_SERIALIZABLE),
        Verdict::Valid(_)
    ));
}

#[test]
fn a_store_that_reads_and_writes_in_two_steps_loses_an_update_and_that_is_found() {
    let recorder = Recorder::new("broken store");
    let store: Mutex<HashMap<&str, u64>> = Mutex::default();
    let both_have_read = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = recorder.session();
                let mut txn = session.begin();
                let seen = store.lock().unwrap().get("counter").copied();
                txn.read("counter", seen);
                both_have_read.wait();
                let value = recorder.fresh_value();
                txn.write("counter", value);
                store.lock().unwrap().insert("counter", value);
                txn.committed();
            });
        }
    });
    let history = recorder.finish();
    let judgement = anomaly::judge(&history, &Options::new([Model::Serializable]));
    assert_eq!(judgement.verdict, anomaly::Verdict::Invalid);
    let mut anomalies = judgement.anomalies.iter();
    assert!(anomalies.any(|found| found.name == Anomaly::LostUpdate));
    assert!(matches!(
        judge(&history, Level::SNAPSHOT),
        Verdict::Invalid(_)
    ));
}

#[test]
fn what_ended_before_another_began_is_before_it_so_that_a_stale_read_is_seen() {
    let recorder = Recorder::new("stale");
    let (mut writer, mut reader) = (recorder.session(), recorder.session());
    thread::scope(|scope| {
        let write = || {
            let mut txn = writer.begin();
            txn.write("x", 1);
            txn.committed();
        };
        scope.spawn(write).join().unwrap();
        let read = || {
            let mut txn = reader.begin();
            txn.read("x", None::<u64>);
            txn.committed();
        };
        scope.spawn(read).join().unwrap();
    });
    let history = recorder.finish();
    let [write, read] = [0, 1].map(|txn| history.txns()[txn].interval.unwrap());
    assert!(write.end < read.begin);
    assert!(matches!(
        judge(&history, Level::SERIALIZABLE),
        Verdict::Valid(_)
    ));
    assert!(matches!(
        judge(&history, Level::STRICT_SERIALIZABLE),
        Verdict::Invalid(_)
    ));
}

#[test]
fn what_overlaps_is_not_ordered_in_real_time() {
    let recorder = Recorder::new("overlap");
    let (mut writer, mut reader) = (recorder.session(), recorder.session());
    let mut read = reader.begin();
    let mut write = writer.begin();
    write.write("x", 1);
    write.committed();
    read.read("x", None::<u64>);
    read.committed();
    assert!(matches!(
        judge(&recorder.finish(), Level::STRICT_SERIALIZABLE),
        Verdict::Valid(_)
    ));
}

#[test]
fn dropped_panicked_forgotten_and_open_transactions_are_unknown_and_end_their_session() {
    let recorder = Recorder::new("unknown");
    let mut session = recorder.session();
    session.begin().write("x", 1);
    session.begin().committed();
    let panicked = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut txn = session.begin();
            txn.write("x", 2);
            panic!("the client failed");
        });
        thread.join()
    });
    assert!(panicked.is_err());
    let mut txn = session.begin();
    txn.write("x", 3);
    std::mem::forget(txn);
    let mut open = session.begin();
    open.write("x", 4);
    assert_eq!(
        native(&recorder.finish()),
        "co-observed 1\n\
         u 0 0.. w:x=1\n\
         c 1 2..3\n\
         u 1 4.. w:x=2\n\
         u 2 6.. w:x=3\n\
         u 3 8.. w:x=4\n\
         end 5\n"
    );
    open.aborted();
    drop(session);
    let history = recorder.finish();
    assert_eq!(history.txns()[4].outcome, Outcome::Aborted);
    assert_eq!(history.op_count(), 4);
}

#[test]
fn a_write_of_unknown_outcome_explains_a_read_and_one_that_was_aborted_does_not() {
    for (is_aborted, expected) in [(false, true), (true, false)] {
        let recorder = Recorder::new("told nothing");
        let (mut one, mut two) = (recorder.session(), recorder.session());
        let mut txn = one.begin();
        txn.write("x", 1);
        if is_aborted {
            txn.aborted();
        } else {
            txn.unknown();
        }
        let mut txn = two.begin();
        txn.read("x", Some(1));
        txn.committed();
        let verdict = judge(&recorder.finish(), Level::SERIALIZABLE);
        assert_eq!(
            matches!(verdict, Verdict::Valid(_)),
            expected,
            "{verdict:?}"
        );
        assert_ne!(matches!(verdict, Verdict::Invalid(_)), expected);
    }
}

/// A name that is slow to write, and holds its log meanwhile.
struct Slow<'a> {
    entered: &'a Barrier,
    go_on: &'a Mutex<Receiver<()>>,
}

impl Display for Slow<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.entered.wait();
        // Nobody tells it to go on if the record is of one moment: then the writer waits for it.
        let told = self.go_on.lock().unwrap();
        let told = told.recv_timeout(Duration::from_millis(2));
        assert!(matches!(told, Ok(()) | Err(RecvTimeoutError::Timeout)));
        f.write_str("slow")
    }
}

/// Takes a record while the second of three logs is held, the first gets a write and the third the read of it.
/// Whether the record has both, or neither, or the write alone depends on the threads.
fn record_while_one_is_slow() -> Observed {
    let recorder = Recorder::new("running");
    let [mut writer, mut slow, mut reader] = [(); 3].map(|()| recorder.session());
    let entered = Barrier::new(3);
    let (done, go_on) = channel();
    let go_on = Mutex::new(go_on);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (entered, go_on) = (&entered, &go_on);
            slow.begin().unseen(Slow { entered, go_on });
        });
        let taking = scope.spawn(|| {
            entered.wait();
            recorder.finish()
        });
        scope.spawn(|| {
            entered.wait();
            thread::yield_now();
            let mut txn = writer.begin();
            txn.write("x", 1);
            txn.committed();
            let mut txn = reader.begin();
            txn.read("x", Some(1));
            txn.committed();
            // Nobody listens once the slow one has given up.
            done.send(()).ok();
        });
        taking.join().unwrap()
    })
}

#[test]
fn a_record_taken_while_clients_run_has_every_write_that_was_read() {
    for _ in 0..100 {
        let history = record_while_one_is_slow();
        let ops = || history.indexes().flat_map(|txn| history.ops(txn));
        let has_read = ops().any(|op| matches!(op, Op::Read { .. }));
        let has_written = ops().any(|op| matches!(op, Op::Write { .. }));
        assert!(has_written || !has_read, "{}", native(&history));
    }
}

#[test]
fn what_is_saved_is_what_is_finished() {
    let recorder = Recorder::new("saved");
    let mut session = recorder.session();
    let mut txn = session.begin();
    txn.read_list("a list", &[] as &[u64]);
    txn.append("a list", 7);
    txn.unseen("x=1");
    txn.committed();
    let mut txn = session.begin();
    txn.read_list("a list", &["7", "seven, or [7]"]);
    txn.read("", Some("~"));
    txn.aborted();
    let folder = std::env::temp_dir().join(format!("co-recorder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("saved.observed");
    recorder.write_to(&path).unwrap();
    let read = formats::read_path(&path, &ReadOptions::default()).unwrap();
    let history = recorder.finish();
    assert_eq!(native(&read), native(&history));
    for (txn, line) in [(0, 2), (1, 3)] {
        assert_eq!(history.txn(TxnIndex(txn)).line, line);
        assert_eq!(read.txn(TxnIndex(txn)).line, line);
    }
    let nowhere = recorder.write_to(folder.join("no").join("where"));
    std::fs::remove_dir_all(&folder).unwrap();
    let message = nowhere.unwrap_err().to_string();
    assert!(
        message.contains("check that its folder exists"),
        "{message}"
    );
}
