//! How fast the log is on this machine: `cargo test --release -p coco --test log_throughput -- \
//! --ignored --nocapture`. Nothing is asserted about time; how many records share a sync is.
#![cfg(feature = "file-log")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement prints what it finds"
)]

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use coco::log::{FileLog, Log, Options, Owner};

fn folder() -> tempfile::TempDir {
    // The system's folder for temporary files is often in memory; `COCO_LOG_DIR` names a disk.
    let parent = std::env::var_os("COCO_LOG_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

/// Each of `appenders` keeps `window` appends of 100 bytes on their way until it has made `each`; returns
/// how many records shared a sync.
fn measure(appenders: usize, window: usize, each: usize) -> f64 {
    let folder = folder();
    let owner = Owner::coordinator("throughput");
    let (log, _) = FileLog::open(folder.path(), &owner, Options::default()).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..appenders {
            scope.spawn(|| {
                let (told, hears) = mpsc::channel();
                for number in 0..each {
                    if number >= window {
                        hears.recv().unwrap();
                    }
                    let told = told.clone();
                    log.append(
                        &[7; 100],
                        Box::new(move |it| told.send(it.unwrap()).unwrap()),
                    );
                }
                drop(told);
                assert_eq!(hears.iter().count(), window.min(each));
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let stats = log.stats();
    assert_eq!(stats.appended, (appenders * each) as u64);
    println!(
        "{appenders:3} appenders x window {window:3}: {:9.0} appends/s, {:6.0} syncs/s, {:6.1} \
         records per sync, {} segments",
        stats.appended as f64 / seconds,
        stats.syncs as f64 / seconds,
        stats.appended as f64 / stats.syncs as f64,
        stats.segments,
    );
    stats.appended as f64 / stats.syncs as f64
}

/// One appender, `window` records in flight, one completion for each `group`: the records before it are
/// appended without force, and by the order of the log they are durable when the last one is.
fn measure_groups(window: usize, group: usize, each: usize) {
    let folder = folder();
    let owner = Owner::coordinator("throughput");
    let (log, _) = FileLog::open(folder.path(), &owner, Options::default()).unwrap();
    let (told, hears) = mpsc::channel();
    let start = Instant::now();
    for number in 0..each / group {
        if number >= window / group {
            hears.recv().unwrap();
        }
        for _ in 1..group {
            log.append_lazy(&[7; 100]);
        }
        let told = told.clone();
        log.append(
            &[7; 100],
            Box::new(move |it| told.send(it.unwrap()).unwrap()),
        );
    }
    drop(told);
    assert_eq!(hears.iter().count(), window / group);
    let rate = log.stats().appended as f64 / start.elapsed().as_secs_f64();
    println!("window {window:4}, one completion for {group:3} records: {rate:9.0} appends/s");
}

#[test]
#[ignore = "a measurement"]
fn completions_for_many_records_at_once() {
    for window in [256, 1024] {
        for group in [1, 16, 64] {
            measure_groups(window, group, 384_000);
        }
    }
}

/// Group commit: at 256 in flight a sync carries at least twenty records, whether one thread keeps them
/// going or four do.
#[test]
fn at_256_in_flight_at_least_twenty_records_share_a_sync() {
    for appenders in [1, 4] {
        let per_sync = measure(appenders, 256 / appenders, 20_000 / appenders);
        assert!(per_sync >= 20.0, "{per_sync} records per sync");
    }
}

#[test]
#[ignore = "a measurement"]
fn appends_per_second() {
    measure(1, 1, 3_000);
    measure(16, 1, 3_000);
    measure(64, 1, 3_000);
    measure(4, 64, 100_000);
    measure(4, 256, 200_000);
}
