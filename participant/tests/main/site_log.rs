//! A site's log as earlier versions wrote it stays readable, and goes with the store that it belongs to only.
//!
//! The fixture was written by the code of version 1: two lives with decided, aborted and doubtful transactions,
//! and commits of the site alone of which one became visible late and one not before the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp};
use coco::log::{FileLog, Log as _, MemoryLog, Options, Owner};
use coco::protocol::{
    AbortCause, Decision, Durability, Heuristic, Incarnation, SiteName, Time, VoterConfig,
};
use participant::engine::{EngineKind, open_with};
use participant::site::{Parts, RecoverError, Site, SiteConfig, SiteRecord};
use participant::storage::{Batch, Cell, Mark, Memory, SimStorage, Storage};
use participant::{Change, Key, KeyRange, Prepared, TxnName, Value};

/// Small, so that the fixture is.
const SEGMENT_BYTES: u64 = 8 * 1024;

fn fixture(version: u8) -> PathBuf {
    let name = format!("site-log-v{version}.bin");
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", &name]
        .iter()
        .collect()
}

/// The records of a log in a fixture.
fn records_of(version: u8) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let segment = folder.path().join(FIRST_SEGMENT);
    std::fs::copy(fixture(version), segment).unwrap();
    open(folder.path()).1
}

const FIRST_SEGMENT: &str = "00000000000000000001.seg";

fn open(folder: &Path) -> (FileLog, Vec<Vec<u8>>) {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    FileLog::open(folder, &Owner::participant("madrid"), options).unwrap()
}

#[test]
fn the_log_of_version_1_is_read() {
    let records = records_of(1);
    assert_eq!(records.len(), 10);
    for kind in EngineKind::ALL {
        let storages: [Arc<dyn Storage>; 2] =
            [Arc::new(Memory::new()), Arc::new(SimStorage::new())];
        for storage in storages {
            let site = site(kind, &storage, &MemoryLog::automatic(), &records).unwrap();
            assert_eq!(site.incarnation(), Incarnation(3));
            let participant = site.participant();
            let in_doubt = TxnName::Global(Gtid(3));
            let prepared = participant.prepared(in_doubt).unwrap();
            assert_eq!((prepared.changes.len(), prepared.scans.len()), (3, 2));
            assert_eq!(prepared.reads, [key("r")]);
            // In the order in which version 1 made them visible: G1, the local one, and after the restart G4.
            let at = |name: &str, version, value: Option<&[u8]>| {
                let mut cell = storage.get(&key(name)).unwrap();
                cell.stamp = Stamp(0);
                let value = value.map(Value::from);
                let stamp = Stamp(0);
                let expected = Cell {
                    version,
                    stamp,
                    value,
                };
                assert_eq!(cell, expected, "{kind} {name}");
            };
            at("a", 1, Some(b"1"));
            at("n", 2, Some(&1i64.to_le_bytes()));
            at("b", 3, None);
            at("c", 3, Some(b"4"));
            participant
                .decide(in_doubt, participant::Decision::Abort)
                .unwrap();
            assert_eq!(participant.in_flight(), 0);
        }
    }
}

/// Every kind of record that versions 2 and 3 have.
fn of_version_3() -> Vec<SiteRecord> {
    let put = |name: &str| Change::Put(key(name), Value::from(name.as_bytes()));
    let commit = |stamp| Decision::Commit {
        stamp: Stamp(stamp),
    };
    let abort = Decision::Abort {
        cause: AbortCause::Timeout,
    };
    let prepared = |gtid, stamp, if_committed: &[u64]| SiteRecord::Prepared {
        gtid: Gtid(gtid),
        priority: Priority(gtid),
        stamp: Stamp(stamp),
        read_only: false,
        prepared: Prepared {
            changes: vec![put(&format!("k{gtid}"))],
            reads: vec![key("r")],
            scans: vec![KeyRange {
                low: key("s"),
                high: None,
            }],
        },
        after: Vec::new(),
        if_committed: if_committed.iter().copied().map(Gtid).collect(),
    };
    let decision = |gtid, decision, ordinal| SiteRecord::Decision {
        gtid: Gtid(gtid),
        decision,
        ordinal,
    };
    let mut heard = Heuristic::new(Gtid(6), abort, false);
    heard.heard = Some(commit(50));
    vec![
        SiteRecord::Life {
            incarnation: Incarnation(1),
            clock: Stamp(0),
        },
        prepared(1, 2, &[]),
        prepared(2, 3, &[1]),
        decision(1, commit(4), 1),
        decision(2, commit(5), 2),
        SiteRecord::OnePhase {
            gtid: Gtid(3),
            stamp: Stamp(6),
            ordinal: 3,
            changes: vec![Change::Increment(key("n"), -2)],
        },
        SiteRecord::Local {
            stamp: Stamp(7),
            ordinal: 4,
            changes: vec![Change::Delete(key("k1"))],
        },
        prepared(6, 8, &[]),
        SiteRecord::ByHand {
            gtid: Gtid(6),
            decision: abort,
            ordinal: 0,
            along: Vec::new(),
        },
        SiteRecord::ByHandState(heard),
        prepared(4, 9, &[]),
        decision(4, abort, 0),
        prepared(5, 10, &[]),
    ]
}

#[test]
fn the_log_of_version_3_is_read() {
    let records = records_of(3);
    let decoded: Vec<SiteRecord> = records
        .iter()
        .map(|bytes| SiteRecord::decode(bytes).unwrap())
        .collect();
    assert_eq!(decoded, of_version_3());
    let encoded: Vec<Vec<u8>> = decoded.iter().map(SiteRecord::encode).collect();
    assert_eq!(encoded, records);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let site = site(
        EngineKind::Shared,
        &storage,
        &MemoryLog::automatic(),
        &records,
    )
    .unwrap();
    assert_eq!(site.in_doubt(), [Gtid(5)]);
    assert_eq!(site.heuristics().len(), 1);
    assert_eq!(site.participant().stored().newest(), 4);
}

/// What version 4 has besides: a local commit with its name.
fn of_version_4() -> Vec<SiteRecord> {
    vec![
        SiteRecord::Life {
            incarnation: Incarnation(1),
            clock: Stamp(0),
        },
        SiteRecord::NamedLocal {
            name: 9,
            stamp: Stamp(3),
            ordinal: 1,
            changes: vec![Change::Put(key("k"), key("v"))],
        },
    ]
}

#[test]
fn the_log_of_version_4_is_read() {
    let records = records_of(4);
    let decoded: Vec<SiteRecord> = records
        .iter()
        .map(|bytes| SiteRecord::decode(bytes).unwrap())
        .collect();
    assert_eq!(decoded, of_version_4());
    let encoded: Vec<Vec<u8>> = decoded.iter().map(SiteRecord::encode).collect();
    assert_eq!(encoded, records);
    // A site with its data in memory does it again.
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let log = MemoryLog::automatic();
    let site = site(EngineKind::Ss2pl, &storage, &log, &records).unwrap();
    assert_eq!(site.participant().stored().newest(), 1);
}

/// How the fixture was made: by the code of version 4, once.
#[test]
#[ignore = "writes the fixture of version 4"]
fn the_log_of_version_4_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    for record in of_version_4() {
        log.append_lazy(&record.encode());
    }
    drop(log);
    std::fs::copy(folder.path().join(FIRST_SEGMENT), fixture(4)).unwrap();
}

/// How the fixture was made: by the code of version 3, once.
#[test]
#[ignore = "writes the fixture of version 3"]
fn the_log_of_version_3_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    for record in of_version_3() {
        log.append_lazy(&record.encode());
    }
    drop(log);
    std::fs::copy(folder.path().join(FIRST_SEGMENT), fixture(3)).unwrap();
}

fn key(text: &str) -> Key {
    Key::from(text.as_bytes())
}

fn site(
    kind: EngineKind,
    storage: &Arc<dyn Storage>,
    log: &MemoryLog,
    records: &[Vec<u8>],
) -> Result<Site, RecoverError> {
    let options = participant::engine::Options {
        storage: Arc::clone(storage),
        ..participant::engine::Options::default()
    };
    let config = SiteConfig {
        name: SiteName::new("madrid"),
        voter: VoterConfig {
            durability: Durability::Durable,
            ..VoterConfig::default()
        },
        incarnation: Incarnation(0),
    };
    let parts = Parts {
        participant: open_with(kind, options),
        log: Arc::new(log.clone()),
        outbox: Box::new(|_, _| {}),
        wake: Box::new(|| {}),
    };
    Site::open(config, parts, records, Time(0))
}

fn local(ordinal: u64) -> Vec<u8> {
    let record = SiteRecord::Local {
        stamp: Stamp(ordinal),
        ordinal,
        changes: vec![Change::Increment(key("n"), 1)],
    };
    record.encode()
}

fn checkpoint(ordinal: u64) -> Vec<u8> {
    let record = SiteRecord::Checkpoint {
        incarnation: Incarnation(4),
        clock: Stamp(ordinal),
        ordinal,
        in_doubt: 0,
        outcomes: vec![(Gtid(7), Stamp(2))],
    };
    record.encode()
}

/// A storage with the first commits of [`local`].
fn stored(ordinal: u64) -> Arc<dyn Storage> {
    let storage = SimStorage::new();
    let stamp = Stamp(ordinal);
    let cell = Cell {
        version: ordinal,
        stamp,
        value: Some(Value::from(ordinal.to_le_bytes().as_slice())),
    };
    let mark = Mark { ordinal, stamp };
    let rows = vec![(key("n"), cell)];
    storage.apply(Batch { rows, mark }).unwrap();
    Arc::new(storage)
}

fn opened(storage: &Arc<dyn Storage>, records: &[Vec<u8>]) -> Result<Option<Value>, RecoverError> {
    site(EngineKind::Ss2pl, storage, &MemoryLog::manual(), records)?;
    Ok(storage.get(b"n").unwrap().value)
}

#[test]
fn commits_are_replayed_once_from_the_checkpoint_that_the_store_has() {
    // The log was cut: what is left of the segment before the checkpoint makes no sense by itself.
    let decision = SiteRecord::Decision {
        gtid: Gtid(1),
        decision: Decision::Commit { stamp: Stamp(1) },
        ordinal: 1,
    };
    let log = [
        decision.encode(),
        checkpoint(1),
        local(2),
        checkpoint(2),
        local(3),
    ];
    for have in 1..=3 {
        let value = opened(&stored(have), &log).unwrap();
        assert_eq!(
            value.as_deref(),
            Some(3u64.to_le_bytes().as_slice()),
            "{have}"
        );
    }
}

#[test]
fn a_store_that_does_not_belong_to_the_log_is_refused_by_name() {
    let life = SiteRecord::Life {
        incarnation: Incarnation(1),
        clock: Stamp(0),
    };
    let whole = [life.encode(), local(1), local(2)];
    let cut = [checkpoint(5), local(6)];
    let error = opened(&stored(3), &whole).unwrap_err();
    assert!(
        matches!(
            error,
            RecoverError::StoreAhead {
                stored: 3,
                logged: 2
            }
        ),
        "{error}"
    );
    let error = opened(&stored(1), &[]).unwrap_err();
    assert!(
        matches!(
            error,
            RecoverError::StoreAhead {
                stored: 1,
                logged: 0
            }
        ),
        "{error}"
    );
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    for (storage, have) in [(stored(4), 4), (memory, 0)] {
        let error = opened(&storage, &cut).unwrap_err();
        assert!(
            matches!(error, RecoverError::StoreBehind { stored, cut: 5 } if stored == have),
            "{error}"
        );
    }
    let skipped = [life.encode(), local(2)];
    let error = opened(&stored(1), &skipped).unwrap_err();
    assert!(
        matches!(error, RecoverError::OutOfOrder { index: 2, .. }),
        "{error}"
    );
}
