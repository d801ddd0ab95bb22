//! A site's log as earlier versions wrote it stays readable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coco::log::{FileLog, Options, Owner};

/// Small, so that the fixture is.
const SEGMENT_BYTES: u64 = 8 * 1024;

fn fixture() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/site-log-v1.bin"]
        .iter()
        .collect()
}

fn open(folder: &Path) -> (FileLog, Vec<Vec<u8>>) {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    FileLog::open(folder, &Owner::participant("madrid"), options).unwrap()
}

mod version_1 {
    //! Wrote the fixture, with the code of format version 1.

    use co_core::{Gtid, Priority, Stamp};
    use coco::log::Log as _;
    use coco::protocol::{AbortCause, Decision, Incarnation};
    use participant::site::SiteRecord;
    use participant::{Change, Key, KeyRange, Prepared, Value};

    use super::*;

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    fn put(name: &str, value: &str) -> Change {
        Change::Put(key(name), Value::from(value.as_bytes()))
    }

    fn prepared(gtid: u64, stamp: u64, prepared: Prepared) -> SiteRecord {
        SiteRecord::Prepared {
            gtid: Gtid(gtid),
            priority: Priority(gtid + 100),
            stamp: Stamp(stamp),
            read_only: prepared.changes.is_empty(),
            prepared,
        }
    }

    fn writes(changes: Vec<Change>) -> Prepared {
        Prepared {
            changes,
            ..Prepared::default()
        }
    }

    fn decision(gtid: u64, decision: Decision) -> SiteRecord {
        SiteRecord::Decision {
            gtid: Gtid(gtid),
            decision,
        }
    }

    /// Two lives: decided, aborted and doubtful transactions, and commits of this site alone of which one
    /// became visible late and one not before the end.
    fn records() -> Vec<SiteRecord> {
        let life = |life, clock| SiteRecord::Life {
            incarnation: Incarnation(life),
            clock: Stamp(clock),
        };
        let doubtful = Prepared {
            changes: vec![
                put("d", "new"),
                Change::Delete(key("a")),
                Change::Increment(key("n"), 10),
            ],
            reads: vec![key("r")],
            scans: vec![
                KeyRange {
                    low: key("s"),
                    high: Some(key("t")),
                },
                KeyRange {
                    low: key("z"),
                    high: None,
                },
            ],
        };
        vec![
            life(1, 0),
            prepared(1, 10, writes(vec![put("a", "1"), put("b", "1")])),
            SiteRecord::Local {
                stamp: Stamp(11),
                changes: vec![Change::Increment(key("n"), 1)],
            },
            decision(1, Decision::Commit { stamp: Stamp(12) }),
            SiteRecord::Applied { ordinal: 1 },
            life(2, (1 << 32) + 12),
            prepared(2, (1 << 32) + 13, writes(vec![put("b", "2")])),
            decision(
                2,
                Decision::Abort {
                    cause: AbortCause::VotingDeadlock,
                },
            ),
            prepared(3, (1 << 32) + 14, doubtful),
            SiteRecord::OnePhase {
                gtid: Gtid(4),
                stamp: Stamp((1 << 32) + 15),
                changes: vec![Change::Delete(key("b")), put("c", "4")],
            },
        ]
    }

    #[test]
    #[ignore = "writes the fixture of format version 1: only the code of that version can"]
    fn write_the_fixture() {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(folder.path());
        let (told, hears) = std::sync::mpsc::channel();
        for record in records() {
            let told = told.clone();
            let done = move |written: Result<_, _>| told.send(written.is_ok()).unwrap();
            log.append(&record.encode(), Box::new(done));
            assert!(hears.recv().unwrap());
        }
        drop(log);
        let segment = folder.path().join("00000000000000000001.seg");
        std::fs::create_dir_all(fixture().parent().unwrap()).unwrap();
        std::fs::copy(segment, fixture()).unwrap();
    }
}

#[test]
fn the_log_of_version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(), folder.path().join("00000000000000000001.seg")).unwrap();
    let (_log, records) = open(folder.path());
    assert_eq!(records.len(), 10);
    let _: Vec<Arc<[u8]>> = records.into_iter().map(Arc::from).collect();
}
