//! Crashes, damage and failures of a log.

use std::sync::mpsc::{self, Receiver, Sender};

use super::frame::{Frame, Header, frame_len};
use super::sim_folder::{Fault, Random, SECTORS, SimFolder};
use super::*;

/// Small, so that a handful of records fills it.
const SMALL: u64 = MIN_SEGMENT_BYTES;

fn owner() -> Owner {
    Owner::participant("bank")
}

fn options() -> Options {
    Options {
        segment_bytes: SMALL,
        queue_bytes: 1 << 20,
    }
}

fn open(folder: &SimFolder) -> Result<(FileLog, Vec<Vec<u8>>), OpenError> {
    FileLog::open_in(Box::new(folder.clone()), &owner(), options())
}

/// Records of all lengths modulo the alignment, told apart by their text.
fn record(number: usize) -> Vec<u8> {
    let mut bytes = format!("record {number} ").into_bytes();
    bytes.resize(bytes.len() + number % 17, b'.');
    bytes
}

fn records(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(record).collect()
}

/// Appends and waits: each such record is a batch of its own.
fn append_now(log: &FileLog, record: &[u8]) -> Result<Lsn, LogError> {
    let (told, hears) = mpsc::channel();
    append(log, record, &told);
    hears.recv().unwrap()
}

fn append(log: &FileLog, record: &[u8], told: &Sender<Result<Lsn, LogError>>) {
    let told = told.clone();
    log.append(record, Box::new(move |result| drop(told.send(result))));
}

/// A folder with a log of these records, each in a batch of its own.
fn written(count: usize) -> SimFolder {
    let folder = SimFolder::default();
    let (log, found) = open(&folder).unwrap();
    assert!(found.is_empty());
    for number in 0..count {
        assert_eq!(
            append_now(&log, &record(number)).unwrap(),
            Lsn(number as u64 + 1)
        );
    }
    drop(log);
    folder
}

/// Where each frame of the only segment starts and ends, padding included.
fn frames(segment: &[u8]) -> Vec<(usize, usize)> {
    let salt = Header::decode(segment).unwrap().salt;
    let (mut frames, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(frame) = Frame::at(segment, at, salt) {
        let end = at + frame_len(frame.payload.len());
        frames.push((at, end));
        at = end;
    }
    frames
}

#[test]
fn what_was_appended_is_found_again_over_many_segments() {
    let folder = written(100);
    let (log, found) = open(&folder).unwrap();
    assert_eq!(found, records(0..100));
    assert!(log.stats().segments > 3, "{:?}", log.stats());
    assert_eq!(append_now(&log, &record(100)).unwrap(), Lsn(101));
    drop(log);
    assert_eq!(open(&folder).unwrap().1, records(0..101));
}

#[test]
fn lazy_records_reach_the_disk_with_the_next_forced_one_or_the_close() {
    let folder = SimFolder::default();
    let (log, _) = open(&folder).unwrap();
    log.append_lazy(b"a");
    assert_eq!(append_now(&log, b"b").unwrap(), Lsn(2));
    log.append_lazy(b"c");
    drop(log);
    let found = open(&folder).unwrap().1;
    assert_eq!(found, [b"a", b"b", b"c"]);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let folder = written(5);
    let [(name, whole)] = &folder.files()[..] else {
        panic!("one segment")
    };
    let (start, end) = *frames(whole).last().unwrap();
    let padding = end - start - FRAME_BYTES - record(4).len();
    for tear in start..end - padding {
        let mut torn = whole.clone();
        torn[tear..end].fill(0);
        let folder = SimFolder::holding(&[(name.clone(), torn)]);
        let (log, found) = open(&folder).unwrap();
        // A tear behind the last byte that is not zero changes nothing.
        let kept = if whole[tear..end].iter().all(|&byte| byte == 0) {
            5
        } else {
            4
        };
        assert_eq!(found, records(0..kept), "torn at {tear}");
        assert_eq!(append_now(&log, b"next").unwrap(), Lsn(kept as u64 + 1));
        drop(log);
        let found = open(&folder).unwrap().1;
        assert_eq!(found.len(), kept + 1);
        assert_eq!(found[kept], b"next");
    }
}

#[test]
fn a_torn_file_that_lost_its_end_is_filled_up_again() {
    let folder = written(5);
    let [(name, whole)] = &folder.files()[..] else {
        panic!("one segment")
    };
    let (start, _) = frames(whole)[4];
    let folder = SimFolder::holding(&[(name.clone(), whole[..start + 3].to_vec())]);
    let (log, found) = open(&folder).unwrap();
    assert_eq!(found, records(0..4));
    drop(log);
    assert_eq!(folder.files()[0].1.len() as u64, SMALL);
}

/// A batch may reach the disk in any order: a frame that is whole behind one that is not proves
/// nothing if both belong to one batch.
#[test]
fn a_batch_that_is_torn_in_its_middle_is_cut_from_there() {
    let folder = SimFolder::default();
    let (log, _) = open(&folder).unwrap();
    append_now(&log, &record(0)).unwrap();
    // Lazy ones stay queued until the forced one comes: one batch of three.
    log.append_lazy(&record(1));
    log.append_lazy(&record(2));
    append_now(&log, &record(3)).unwrap();
    drop(log);
    let [(name, whole)] = &folder.files()[..] else {
        panic!("one segment")
    };
    let frames = frames(whole);
    for torn in 1..4 {
        let mut bytes = whole.clone();
        bytes[frames[torn].0..frames[torn].1].fill(0);
        let folder = SimFolder::holding(&[(name.clone(), bytes)]);
        let (log, found) = open(&folder).unwrap();
        assert_eq!(found, records(0..torn), "torn at frame {torn}");
        // The whole frames behind must not come back when the gap is filled with one of their size.
        append_now(&log, &record(torn)).unwrap();
        drop(log);
        assert_eq!(open(&folder).unwrap().1, records(0..torn + 1));
    }
}

/// Damage in what was durable is never taken for a torn tail, and no altered record is ever returned.
#[test]
fn a_flip_of_any_bit_is_harmless_or_refused_or_in_the_last_batch() {
    let folder = written(4);
    let [(name, whole)] = &folder.files()[..] else {
        panic!("one segment")
    };
    let frames = frames(whole);
    let last_start = frames[3].0;
    let end = frames[3].1;
    let (mut refused, mut cut) = (0, 0);
    for byte in 0..end + 64 {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            let folder = SimFolder::holding(&[(name.clone(), flipped)]);
            match open(&folder) {
                Ok((_, found)) if found == records(0..4) => {
                    let in_padding = frames.iter().enumerate().any(|(number, &(start, end))| {
                        (start + FRAME_BYTES + record(number).len()..end).contains(&byte)
                    });
                    assert!(
                        in_padding || byte >= end,
                        "byte {byte} bit {bit} went unseen"
                    );
                }
                Ok((_, found)) => {
                    assert_eq!(found, records(0..3), "byte {byte} bit {bit}");
                    assert!(
                        (last_start..end).contains(&byte),
                        "byte {byte} bit {bit} lost data"
                    );
                    cut += 1;
                }
                Err(error) => {
                    let expected = matches!(
                        error,
                        OpenError::Corrupt { .. }
                            | OpenError::NotALog { .. }
                            | OpenError::NewerVersion { .. }
                    );
                    assert!(expected, "byte {byte} bit {bit}: {error}");
                    assert!(byte < last_start, "byte {byte} bit {bit}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 4096 * 8 && cut > 100,
        "{refused} refused, {cut} cut"
    );
}

#[test]
fn damage_before_a_later_segment_and_a_missing_segment_are_refused() {
    let folder = written(100);
    let files = folder.files();
    let mut damaged = files.clone();
    let (_, last_frame_end) = *frames(&damaged[0].1).last().unwrap();
    damaged[0].1[last_frame_end - 12] ^= 1;
    let error = open(&SimFolder::holding(&damaged)).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Gap { .. }), "{error}");

    let mut missing = files;
    missing.remove(1);
    let error = open(&SimFolder::holding(&missing)).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Gap { .. }), "{error}");
}

#[test]
fn what_is_not_our_log_is_refused_by_name_and_reason() {
    let folder = written(1);
    let refuse = |change: &dyn Fn(&mut Vec<u8>), owner: &Owner| {
        let mut files = folder.files();
        change(&mut files[0].1);
        FileLog::open_in(Box::new(SimFolder::holding(&files)), owner, options())
            .map(|_| ())
            .unwrap_err()
    };
    let same = |_: &mut Vec<u8>| {};
    let error = refuse(&same, &Owner::participant("shop"));
    assert!(
        error
            .to_string()
            .contains("participant \"bank\", not of participant \"shop\"")
    );
    let error = refuse(&same, &Owner::coordinator("bank"));
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    let error = refuse(&|bytes| bytes[8] = 9, &owner());
    assert!(
        matches!(
            error,
            OpenError::NewerVersion {
                found: 9,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    let error = refuse(
        &|bytes| bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0"),
        &owner(),
    );
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    let error = refuse(&same, &Owner::participant(&"x".repeat(65)));
    assert!(matches!(error, OpenError::NameTooLong { .. }), "{error}");
    let tiny = Options {
        segment_bytes: 4096,
        ..options()
    };
    let error = FileLog::open_in(Box::new(SimFolder::default()), &owner(), tiny).map(|_| ());
    assert!(matches!(error, Err(OpenError::SegmentTooSmall { .. })));
}

/// Fails every operation of opening and appending in turn, with every kind of failure.
#[test]
fn after_any_failure_nothing_is_durable_any_more_and_a_restart_mends_it() {
    use io::ErrorKind as Kind;
    let mut poisoned = 0;
    for kind in [
        Kind::Other,
        Kind::StorageFull,
        Kind::WriteZero,
        Kind::PermissionDenied,
    ] {
        for at in 0.. {
            let folder = SimFolder::default();
            folder.fault_at(at, Fault::Once(kind));
            let acknowledged = match open(&folder) {
                Err(error) => {
                    let named = matches!(
                        (kind, &error),
                        (Kind::StorageFull, OpenError::NoSpace { .. })
                            | (Kind::PermissionDenied, OpenError::NotWritable { .. })
                            | (Kind::Other | Kind::WriteZero, OpenError::Io { .. })
                    );
                    assert!(named, "operation {at}: {error}");
                    0
                }
                Ok((log, _)) => {
                    let results: Vec<_> = (0..60)
                        .map(|number| append_now(&log, &record(number)))
                        .collect();
                    let good = results.iter().take_while(|result| result.is_ok()).count();
                    for result in &results[good..] {
                        let error = result.as_ref().unwrap_err();
                        assert!(
                            matches!(error, LogError::Poisoned { cause } if cause.kind() == kind)
                        );
                    }
                    assert_eq!(log.failure().is_some(), good < results.len());
                    poisoned += usize::from(good < results.len());
                    good
                }
            };
            let operations = folder.operations();
            folder.mend();
            let found = open(&folder).unwrap().1;
            assert_eq!(found, records(0..found.len()), "operation {at}");
            assert!(found.len() >= acknowledged, "operation {at}");
            if operations <= at {
                break;
            }
        }
    }
    assert!(poisoned > 400, "only {poisoned} runs were poisoned");
}

#[test]
fn short_writes_are_continued() {
    let folder = SimFolder::default();
    folder.write_at_most(100);
    let (log, _) = open(&folder).unwrap();
    let large = vec![7; 900];
    append_now(&log, &large).unwrap();
    drop(log);
    assert_eq!(open(&folder).unwrap().1, [large]);
}

/// The machine stops at every operation, of the run and of the reopening; any sectors of what was not
/// synced survive. What was acknowledged is always there, and what is there was appended.
#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let mut images = 0;
    for at in 0.. {
        let folder = SimFolder::default();
        folder.fault_at(at, Fault::Death);
        let mut acknowledged = 0;
        if let Ok((log, _)) = open(&folder) {
            for group in 0..12 {
                // Batches of one to four records.
                let (told, hears) = mpsc::channel();
                for number in group * 4..group * 4 + 3 {
                    log.append_lazy(&record(number));
                }
                append(&log, &record(group * 4 + 3), &told);
                match hears.recv().unwrap() {
                    Ok(lsn) => acknowledged = usize::try_from(lsn.0).unwrap(),
                    Err(_) => break,
                }
            }
        }
        for seed in 0..6 {
            let image = folder.after_crash(SECTORS, &mut Random::new(seed));
            images += 1;
            reopen_after_crash(&image, acknowledged, seed);
        }
        if folder.operations() <= at {
            break;
        }
    }
    assert!(images > 200, "only {images} images");
}

/// Reopens, crashing at every operation of that too.
fn reopen_after_crash(image: &SimFolder, acknowledged: usize, seed: u64) {
    let check = |folder: &SimFolder| {
        let (log, found) = open(folder).unwrap();
        assert!(
            found.len() >= acknowledged,
            "{} < {acknowledged}",
            found.len()
        );
        assert_eq!(found, records(0..found.len()));
        assert_eq!(
            append_now(&log, b"on").unwrap(),
            Lsn(found.len() as u64 + 1)
        );
        drop(log);
        assert_eq!(open(folder).unwrap().1.len(), found.len() + 1);
    };
    for at in 0.. {
        let folder = SimFolder::holding(&image.files());
        folder.fault_at(at, Fault::Death);
        let opened = open(&folder).map(|(log, _)| drop(log)).is_ok();
        check(&folder.after_crash(SECTORS, &mut Random::new(seed + 100)));
        if opened {
            break;
        }
    }
    check(image);
}

#[test]
fn completions_come_in_order_and_many_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = FileLog::open(folder.path(), &owner(), Options::default()).unwrap();
    let order: Receiver<Lsn> = thread::scope(|scope| {
        let (told, hears) = mpsc::channel();
        for thread in 0..8 {
            let (log, told) = (&log, told.clone());
            scope.spawn(move || {
                let (mine, done) = mpsc::channel();
                for number in 0..250 {
                    let (told, mine) = (told.clone(), mine.clone());
                    let text = format!("{thread}/{number}");
                    log.append(
                        text.as_bytes(),
                        Box::new(move |result| {
                            told.send(result.unwrap()).unwrap();
                            mine.send(()).unwrap();
                        }),
                    );
                }
                assert_eq!(done.iter().take(250).count(), 250);
            });
        }
        hears
    });
    let order: Vec<u64> = order.iter().map(|lsn| lsn.0).collect();
    assert_eq!(order, (1..=2000).collect::<Vec<_>>());
    let stats = log.stats();
    assert_eq!(stats.appended, 2000);
    assert!(stats.syncs < 1000, "{stats:?}");
    drop(log);
    let found = FileLog::open(folder.path(), &owner(), Options::default())
        .unwrap()
        .1;
    for thread in 0..8 {
        let prefix = format!("{thread}/");
        let of_thread = found
            .iter()
            .filter(|record| record.starts_with(prefix.as_bytes()));
        let expected = (0..250).map(|number| format!("{thread}/{number}").into_bytes());
        assert!(of_thread.cloned().eq(expected), "thread {thread}");
    }
}

#[test]
fn a_folder_is_open_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = FileLog::open(folder.path(), &owner(), Options::default()).unwrap();
    let second = FileLog::open(folder.path(), &owner(), Options::default()).map(|_| ());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(log);
    assert!(FileLog::open(folder.path(), &owner(), Options::default()).is_ok());
}

#[test]
fn a_path_that_is_a_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"x").unwrap();
    let error = FileLog::open(&path, &owner(), Options::default())
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn records_that_belong_together_share_a_sync_and_a_completion() {
    let folder = SimFolder::default();
    let (log, _) = open(&folder).unwrap();
    assert_eq!(append_now(&log, &record(0)).unwrap(), Lsn(1));
    let syncs = log.stats().syncs;
    let (told, hears) = mpsc::channel();
    let tell = |told: &Sender<Result<Lsn, LogError>>| -> Done {
        let told = told.clone();
        Box::new(move |result| drop(told.send(result)))
    };
    log.append_all(&records(1..10), tell(&told));
    assert_eq!(hears.recv().unwrap().unwrap(), Lsn(10));
    assert_eq!(log.stats().syncs, syncs + 1);
    // One that is too large takes the others with it, and the log goes on.
    let mut with_a_giant = records(10..12);
    with_a_giant.insert(1, vec![0; log.max_record() + 1]);
    log.append_all(&with_a_giant, tell(&told));
    assert!(matches!(
        hears.recv().unwrap(),
        Err(LogError::TooLarge { .. })
    ));
    log.append_all(&[], tell(&told));
    assert_eq!(hears.recv().unwrap().unwrap(), Lsn(0));
    drop(log);
    assert_eq!(open(&folder).unwrap().1, records(0..10));
}

/// Two records do not fit into the queue: whoever appends the second waits until the first is taken out, so that
/// no batch has two.
#[test]
fn whoever_appends_more_than_there_is_room_for_waits() {
    let folder = SimFolder::default();
    let options = Options {
        queue_bytes: 64,
        ..options()
    };
    let (log, mut writer, _) = FileLog::assemble(Box::new(folder), &owner(), &options).unwrap();
    let log = Arc::new(log);
    let appends = Arc::clone(&log);
    let appending = thread::spawn(move || (0..100).for_each(|_| appends.append_lazy(&[1; 60])));
    for done in 1..=100 {
        assert!(writer.turn());
        assert_eq!(log.stats().appended, done);
    }
    appending.join().unwrap();
}

/// What lies in the queue waits for nobody, and what comes next does not fit beside it.
#[test]
fn records_without_room_do_not_wait_behind_lazy_ones() {
    let folder = SimFolder::default();
    let options = Options {
        queue_bytes: 64,
        ..options()
    };
    let (log, _) = FileLog::open_in(Box::new(folder), &owner(), options).unwrap();
    log.append_lazy(&[1; 20]);
    let (told, hears) = mpsc::channel();
    let appending = thread::spawn(move || {
        let told = Box::new(move |result: Result<Lsn, LogError>| told.send(result).unwrap());
        log.append_all(&[vec![2; 60], vec![3; 40]], told);
        log
    });
    let durable = hears.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(durable.expect("the writer sleeps").unwrap(), Lsn(3));
    drop(appending.join());
}

#[test]
fn a_record_too_large_is_refused_and_the_largest_is_not() {
    let folder = SimFolder::default();
    let (log, _) = open(&folder).unwrap();
    append_now(&log, b"small").unwrap();
    let largest = vec![1; log.max_record()];
    append_now(&log, &largest).unwrap();
    let too_large = append_now(&log, &vec![1; log.max_record() + 1]);
    assert!(
        matches!(too_large, Err(LogError::TooLarge { .. })),
        "{too_large:?}"
    );
    append_now(&log, b"small").unwrap();
    drop(log);
    let found = open(&folder).unwrap().1;
    assert_eq!(found, [b"small".to_vec(), largest, b"small".to_vec()]);
}

#[test]
fn segments_before_a_cut_go_and_the_rest_stays() {
    let folder = written(100);
    let (log, _) = open(&folder).unwrap();
    let before = log.stats().segments;
    log.cut_before(Lsn(60)).unwrap();
    assert!(log.stats().segments < before);
    drop(log);
    let (log, found) = open(&folder).unwrap();
    assert!(found.len() >= 41 && found.len() < 100, "{}", found.len());
    assert_eq!(found, records(100 - found.len()..100));
    log.cut_before(Lsn(u64::MAX)).unwrap();
    assert_eq!(log.stats().segments, 1);
    assert_eq!(append_now(&log, &record(100)).unwrap(), Lsn(101));
}

/// The file is gone and the folder could not be synced: the next call finds no file and goes on from there.
#[test]
fn a_cut_that_failed_half_way_is_taken_up_again() {
    let folder = written(100);
    let (log, _) = open(&folder).unwrap();
    let log: &dyn Log = &log;
    let segments = || folder.files().len();
    let before = segments();
    folder.fault_at(1, Fault::Once(io::ErrorKind::Other));
    log.cut_before(Lsn(60)).unwrap_err();
    assert_eq!(segments(), before - 1);
    log.cut_before(Lsn(60)).unwrap();
    assert!(segments() < before - 1, "{} of {before}", segments());
    // Another failure than a missing file is one.
    folder.fault_at(0, Fault::Once(io::ErrorKind::Other));
    log.cut_before(Lsn(u64::MAX)).unwrap_err();
}

#[test]
fn a_refusal_of_damage_says_where_it_is() {
    let folder = written(4);
    let mut files = folder.files();
    let (start, _) = frames(&files[0].1)[1];
    files[0].1[start] ^= 1;
    let error = open(&SimFolder::holding(&files)).map(|_| ()).unwrap_err();
    let said = error.to_string();
    let place = format!("is damaged at byte {start} (record #2)");
    assert!(said.contains(&place), "{said}");
}

/// A full queue makes appenders wait, but a completion, which runs on the writer, may always append.
#[test]
fn completions_may_append_to_a_full_queue_and_drop_the_log() {
    let folder = SimFolder::default();
    let options = Options {
        queue_bytes: 64,
        ..options()
    };
    let (log, _) = FileLog::open_in(Box::new(folder), &owner(), options).unwrap();
    let log = Arc::new(log);
    let (told, hears) = mpsc::channel();
    for number in 0..20 {
        let (again, told) = (Arc::clone(&log), told.clone());
        log.append(
            &record(number),
            Box::new(move |result| {
                result.unwrap();
                for _ in 0..10 {
                    again.append_lazy(&[9; 60]);
                }
                again.append(b"again", Box::new(move |result| told.send(result).unwrap()));
            }),
        );
    }
    drop((log, told));
    assert_eq!(hears.iter().filter(Result::is_ok).count(), 20);
}

#[test]
fn a_completion_that_panics_fails_the_log_loudly() {
    let folder = SimFolder::default();
    let (log, _) = open(&folder).unwrap();
    log.append(b"a", Box::new(|_| panic!("on purpose")));
    // In the same batch, queued behind it, or refused after it: the completion comes in any case.
    let _either = append_now(&log, b"b");
    while append_now(&log, b"c").is_ok() {}
    assert!(log.failure().unwrap().to_string().contains("panicked"));
}

/// The batch that was being written was dropped with its completions: a coordinator that waited for its first
/// record waited for ever.
#[test]
fn whoever_waits_is_told_when_the_writer_panics() {
    #[derive(Debug)]
    struct Broken;

    impl Media for Broken {
        fn write_at(&mut self, _offset: u64, _bytes: &[u8]) -> io::Result<usize> {
            panic!("a broken invariant");
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let disk = Box::new(DiskFolder::open(folder.path()).unwrap());
    let owner = Owner::participant("bank");
    let (log, mut writer, _) = FileLog::assemble(disk, &owner, &Options::default()).unwrap();
    writer.current.media = Box::new(Broken);
    let (told, hears) = mpsc::channel();
    log.append(
        b"one",
        Box::new(move |result| told.send(result.is_err()).unwrap()),
    );
    let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.turn()));
    assert!(turned.is_err());
    assert_eq!(hears.try_recv(), Ok(true));
    assert!(log.failure().is_some());
}
