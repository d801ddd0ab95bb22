//! A site's log of any records: decoding, and opening a site on them, with each engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp, VoteRule};
use coco::log::MemoryLog;
use coco::protocol::{
    AbortCause, Decision, Durability, Heuristic, Incarnation, SiteName, Time, VoterConfig,
};
use participant::engine::{EngineKind, open};
use participant::site::{Parts, Site, SiteConfig, SiteRecord};
use participant::{Change, KeyRange, Prepared, Recorder};

use crate::chunks;

const ENGINES: [EngineKind; 3] = [EngineKind::Ss2pl, EngineKind::Optimistic, EngineKind::Mvcc];

/// What decodes is what was encoded, and a site opens on it or refuses.
pub(crate) fn run(input: &[u8]) {
    let mut records = Vec::new();
    for (_, bytes) in chunks::split(input) {
        if let Ok(record) = SiteRecord::decode(bytes) {
            // Version 1 is read and not written.
            if bytes.first() != Some(&1) {
                assert_eq!(record.encode(), bytes, "{record:?} has two encodings");
            }
            if is_sites_own(&record) {
                records.push(bytes.to_vec());
            }
        }
    }
    let engine = ENGINES[input
        .first()
        .map_or(0, |byte| usize::from(*byte) % ENGINES.len())];
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter: VoterConfig {
            durability: Durability::Durable,
            ..VoterConfig::default()
        },
        incarnation: Incarnation(0),
    };
    let parts = Parts {
        participant: open(engine, VoteRule::Withhold, Recorder::memory("s")),
        log: Arc::new(MemoryLog::automatic()),
        outbox: Box::new(|_, _| {}),
        wake: Box::new(|| ()),
    };
    if let Ok(site) = Site::open(config, parts, &records, Time(0)) {
        assert!(
            site.incarnation() > Incarnation(0),
            "a life without a number"
        );
    }
}

/// Whether a site could have written the record: checksums vouch for that, and replaying relies on it.
/// No site changes a key twice in one transaction, reads a range that ends before it begins, or reckons
/// with numbers near the end of them.
fn is_sites_own(record: &SiteRecord) -> bool {
    const LARGEST: u64 = 1 << 62;
    let distinct = |changes: &[Change]| {
        let key = |change: &Change| match change {
            Change::Put(key, _) | Change::Delete(key) | Change::Increment(key, _) => {
                Arc::clone(key)
            }
        };
        let keys: BTreeSet<_> = changes.iter().map(key).collect();
        keys.len() == changes.len()
    };
    match record {
        SiteRecord::Life { incarnation, clock } => incarnation.0 < LARGEST && clock.0 < LARGEST,
        SiteRecord::Prepared {
            stamp, prepared, ..
        } => {
            let forward =
                |range: &KeyRange| range.high.as_ref().is_none_or(|high| range.low < *high);
            let sound = distinct(&prepared.changes) && prepared.scans.iter().all(forward);
            stamp.0 < LARGEST && sound
        }
        SiteRecord::Decision {
            decision, ordinal, ..
        } => match decision {
            Decision::Commit { stamp } => stamp.0 < LARGEST && *ordinal < LARGEST,
            Decision::Abort { .. } => true,
        },
        SiteRecord::OnePhase {
            stamp,
            ordinal,
            changes,
            ..
        }
        | SiteRecord::Local {
            stamp,
            ordinal,
            changes,
        }
        | SiteRecord::NamedLocal {
            stamp,
            ordinal,
            changes,
            ..
        } => stamp.0 < LARGEST && *ordinal < LARGEST && distinct(changes),
        SiteRecord::Checkpoint {
            incarnation,
            clock,
            ordinal,
            ..
        } => incarnation.0 < LARGEST && clock.0 < LARGEST && *ordinal < LARGEST,
        SiteRecord::ByHand {
            decision, ordinal, ..
        } => match decision {
            Decision::Commit { stamp } => stamp.0 < LARGEST && *ordinal < LARGEST,
            Decision::Abort { .. } => true,
        },
        SiteRecord::ByHandState(_) | SiteRecord::Applied { .. } => true,
    }
}

fn key(name: &str) -> Arc<[u8]> {
    Arc::from(name.as_bytes())
}

fn prepared(gtid: u64) -> SiteRecord {
    SiteRecord::Prepared {
        gtid: Gtid(gtid),
        priority: Priority(1),
        stamp: Stamp(2),
        read_only: false,
        prepared: Prepared {
            changes: vec![
                Change::Put(key("a"), key("1")),
                Change::Delete(key("b")),
                Change::Increment(key("c"), -1),
            ],
            reads: vec![key("d")],
            scans: vec![KeyRange {
                low: key("e"),
                high: Some(key("f")),
            }],
        },
        after: vec![Gtid(8)],
        if_committed: vec![Gtid(9)],
    }
}

/// Logs as sites write them.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let life = SiteRecord::Life {
        incarnation: Incarnation(1),
        clock: Stamp(0),
    };
    let decision = |gtid, decision| SiteRecord::Decision {
        gtid: Gtid(gtid),
        decision,
        ordinal: u64::from(matches!(decision, Decision::Commit { .. })),
    };
    let local = SiteRecord::Local {
        stamp: Stamp(9),
        ordinal: 1,
        changes: vec![Change::Put(key("a"), key("2"))],
    };
    let one_phase = SiteRecord::OnePhase {
        gtid: Gtid(5),
        stamp: Stamp(10),
        ordinal: 2,
        changes: vec![Change::Increment(key("c"), 5)],
    };
    let checkpoint = SiteRecord::Checkpoint {
        incarnation: Incarnation(3),
        clock: Stamp(7),
        ordinal: 0,
        in_doubt: 1,
        outcomes: vec![(Gtid(5), Stamp(6))],
    };
    let by_hand = |gtid, decision: Decision| SiteRecord::ByHand {
        gtid: Gtid(gtid),
        decision,
        ordinal: u64::from(decision.is_commit()),
        along: vec![Gtid(9)],
    };
    let commit = Decision::Commit { stamp: Stamp(3) };
    let abort = Decision::Abort {
        cause: AbortCause::Timeout,
    };
    let mut damage = Heuristic::new(Gtid(4), abort, false);
    damage.heard = Some(commit);
    let damage = SiteRecord::ByHandState(damage);
    let logs = [
        vec![life.clone()],
        vec![life.clone(), prepared(4)],
        vec![life.clone(), prepared(4), decision(4, commit)],
        vec![life.clone(), prepared(4), decision(4, abort)],
        vec![life.clone(), prepared(4), by_hand(4, commit)],
        vec![life.clone(), prepared(4), by_hand(4, abort), damage],
        vec![life, local, one_phase],
        vec![checkpoint, prepared(4)],
    ];
    let encode = |log: &Vec<SiteRecord>| {
        let records: Vec<Vec<u8>> = log.iter().map(SiteRecord::encode).collect();
        chunks::join(records.iter().map(|record| (0, record.as_slice())))
    };
    logs.iter().map(encode).collect()
}
