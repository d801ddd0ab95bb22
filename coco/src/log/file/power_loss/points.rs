//! Every point at which the log touches its folder, by name: each fails once and dies once, and what
//! was acknowledged is there afterwards.

use std::collections::BTreeSet;
use std::sync::mpsc;

use super::super::sim_folder::{Fault, Points, Random, SECTORS, SimFolder};
use super::super::*;
use super::world::{options, owner};

/// All of them. A new one belongs here, and is then tried like the others.
const POINTS: [&str; 26] = [
    "append: create unfinished",
    "append: rename unfinished",
    "append: sync folder",
    "append: sync segment",
    "append: sync unfinished",
    "append: write frames",
    "append: write header",
    "append: write zeros",
    "create: create unfinished",
    "create: list",
    "create: remove unfinished",
    "create: rename unfinished",
    "create: sync folder",
    "create: sync unfinished",
    "create: write header",
    "create: write zeros",
    "cut: remove segment",
    "cut: sync folder",
    "open: list",
    "open: open segment",
    "open: read segment",
    "open: remove unfinished",
    "open: sync folder",
    "open: sync segment",
    "open: write frames",
    "open: write zeros",
];

fn record(number: usize) -> Vec<u8> {
    format!("{number:050}").into_bytes()
}

/// Opens the log and compares; the number of records, if it opens.
fn open(
    folder: &SimFolder,
    phase: &'static str,
    acknowledged: usize,
) -> Option<(FileLog, Writer, usize)> {
    folder.phase(phase);
    let (log, writer, found) =
        FileLog::assemble(Box::new(folder.clone()), &owner(), &options()).ok()?;
    let first = usize::try_from(log.shared.segments.lock().unwrap()[0].0 - 1).unwrap();
    let end = first + found.len();
    assert!(
        end >= acknowledged,
        "{end} of {acknowledged} records in {phase}"
    );
    assert!(
        (first..end).map(record).eq(found),
        "other records than were appended"
    );
    Some((log, writer, end))
}

/// Appends records, one batch each, and says how many the log then has for certain.
fn append(
    folder: &SimFolder,
    log: &FileLog,
    writer: &mut Writer,
    range: std::ops::Range<usize>,
) -> usize {
    folder.phase("append");
    let (told, hears) = mpsc::channel();
    let mut acknowledged = range.start;
    for number in range {
        let told = told.clone();
        log.append(
            &record(number),
            Box::new(move |result| told.send(result.is_ok()).unwrap()),
        );
        if log.failure().is_none() {
            writer.turn();
        }
        if hears.recv().unwrap() {
            acknowledged = number + 1;
        }
    }
    acknowledged
}

/// A life from an empty folder on, and one that goes on from it; how much was acknowledged.
fn script(folder: &SimFolder) -> usize {
    let Some((log, mut writer, _)) = open(folder, "create", 0) else {
        return 0;
    };
    let acknowledged = append(folder, &log, &mut writer, 0..40);
    drop((log, writer));
    // As a crash in the middle of making a segment leaves it.
    folder.create("unfinished.tmp").ok();
    let Some((log, mut writer, end)) = open(folder, "open", acknowledged) else {
        return acknowledged;
    };
    let acknowledged = append(folder, &log, &mut writer, end..end + 20);
    folder.phase("cut");
    // A failure is the caller's to see; the log goes on.
    log.cut_before(Lsn(30)).ok();
    acknowledged
}

fn add(all: &mut Points, some: Points) {
    all.passed.extend(some.passed);
    all.failed.extend(some.failed);
    all.died.extend(some.died);
}

#[test]
fn every_point_fails_once_and_dies_once_and_nothing_is_lost() {
    let mut points = Points::default();
    for fault in [Fault::Once(io::ErrorKind::Other), Fault::Death] {
        for at in 0.. {
            // A file that a crash left behind, so that removing it is a point too.
            let folder = SimFolder::default();
            drop(folder.create("unfinished.tmp").unwrap());
            folder.plan(vec![(at, fault)], at as u64);
            let acknowledged = script(&folder);
            add(&mut points, folder.points());
            let operations = folder.operations();
            let was_dead = folder.is_dead();
            folder.mend();
            if was_dead {
                let image = folder.after_crash(SECTORS, &mut Random::new(at as u64));
                open(&image, "after", acknowledged).expect("a crash harms no log");
            } else {
                open(&folder, "after", acknowledged).expect("a failure harms no log");
            }
            if operations <= at {
                break;
            }
        }
    }
    let after = |name: &String| !name.starts_with("after");
    let of_the_run = |names: BTreeSet<String>| names.into_iter().filter(after).collect();
    let passed: BTreeSet<String> = of_the_run(points.passed);
    let expected = BTreeSet::from(POINTS.map(str::to_owned));
    let unknown: Vec<&String> = passed.difference(&expected).collect();
    let missed: Vec<&String> = expected.difference(&passed).collect();
    assert!(
        unknown.is_empty() && missed.is_empty(),
        "new: {unknown:?}, missed: {missed:?}"
    );
    assert_eq!(of_the_run(points.failed), passed);
    assert_eq!(of_the_run(points.died), passed);
}
