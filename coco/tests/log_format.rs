//! Format version 1 stays readable: the fixture was written once and is never written again.
#![cfg(feature = "file-log")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use co_core::{Gtid, Stamp};
use coco::log::{FileLog, Log, Options, Owner, Record};
use coco::protocol::{
    Coordinator, CoordinatorConfig, CoordinatorId, Epoch, GtidParts, SiteName, TransactionState,
};

const FIXTURE: &str = "tests/fixtures/log-v1.bin";
const SEGMENT: &str = "00000000000000000001.seg";

fn owner() -> Owner {
    Owner::coordinator("fixture")
}

fn gtid(epoch: u32, counter: u32) -> Gtid {
    let epoch = Epoch::new(epoch).unwrap();
    GtidParts {
        coordinator: CoordinatorId(3),
        epoch,
        counter,
    }
    .gtid()
}

fn records() -> Vec<Record> {
    let epoch = |number| Record::Epoch {
        coordinator: CoordinatorId(3),
        epoch: Epoch::new(number).unwrap(),
    };
    let commit = |gtid, stamp, sites: &[&str]| Record::Commit {
        gtid,
        stamp: Stamp(stamp),
        sites: sites.iter().map(|name| SiteName::new(name)).collect(),
    };
    vec![
        epoch(1),
        commit(gtid(1, 0), 7, &["bank", "zürich"]),
        Record::End { gtid: gtid(1, 0) },
        commit(
            gtid(1, 4_000_000_000),
            0x0102_0304_0506_0708,
            &["a", "b", "c"],
        ),
        epoch(2),
    ]
}

#[test]
fn a_log_of_version_1_is_read_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
    std::fs::copy(&fixture, folder.path().join(SEGMENT)).unwrap();
    let (log, found) = FileLog::open(folder.path(), &owner(), Options::default()).unwrap();
    let found: Vec<Record> = found
        .iter()
        .map(|bytes| Record::decode(bytes).unwrap())
        .collect();
    assert_eq!(found, records());

    let mut effects = Vec::new();
    let config = CoordinatorConfig::default();
    let coordinator = Coordinator::recover(config, CoordinatorId(3), found, &mut effects).unwrap();
    assert_eq!(coordinator.epoch(), Epoch::new(3).unwrap());
    let views: Vec<_> = coordinator.transactions().collect();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].gtid, gtid(1, 4_000_000_000));
    assert!(
        matches!(&views[0].state, TransactionState::Committed { unacknowledged }
        if unacknowledged.len() == 3)
    );

    let (told, hears) = std::sync::mpsc::channel();
    log.append(
        b"one more",
        Box::new(move |result| told.send(result.unwrap()).unwrap()),
    );
    assert_eq!(hears.recv().unwrap().0, 6);
    drop(log);
    assert_eq!(
        FileLog::open(folder.path(), &owner(), Options::default())
            .unwrap()
            .1
            .len(),
        6
    );
}

/// Writes a fixture of the present version; for a new version, under a new name.
#[test]
#[ignore = "run by hand when the format gets a new version"]
fn write_a_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 5120,
        ..Options::default()
    };
    let (log, _) = FileLog::open(folder.path(), &owner(), options).unwrap();
    for record in records() {
        let (told, hears) = std::sync::mpsc::channel();
        log.append(
            &record.encode(),
            Box::new(move |result| told.send(result.unwrap()).unwrap()),
        );
        hears.recv().unwrap();
    }
    drop(log);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
    assert!(
        !target.exists(),
        "{target:?} is there: a fixture is written once"
    );
    std::fs::copy(folder.path().join(SEGMENT), target).unwrap();
}
