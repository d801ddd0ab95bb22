use proptest::prelude::*;

use std::sync::Arc;

use super::bytes::CAUSES;
use super::*;

fn bytes() -> impl Strategy<Value = Arc<[u8]>> {
    prop::collection::vec(any::<u8>(), 0..9).prop_map(Arc::from)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Change::Put(key, value)),
        bytes().prop_map(Change::Delete),
        (bytes(), any::<i64>()).prop_map(|(key, by)| Change::Increment(key, by)),
    ];
    prop::collection::vec(change, 0..4)
}

fn prepared() -> impl Strategy<Value = Prepared> {
    let range = (bytes(), prop::option::of(bytes())).prop_map(|(low, high)| KeyRange { low, high });
    (
        changes(),
        prop::collection::vec(bytes(), 0..3),
        prop::collection::vec(range, 0..3),
    )
        .prop_map(|(changes, reads, scans)| Prepared {
            changes,
            reads,
            scans,
        })
}

fn pairs() -> impl Strategy<Value = Vec<(Gtid, Stamp)>> {
    let pair = (any::<u64>(), any::<u64>());
    prop::collection::vec(
        pair.prop_map(|(gtid, stamp)| (Gtid(gtid), Stamp(stamp))),
        0..4,
    )
}

/// Zero makes a record of version 1.
fn ordinals() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), any::<u64>()]
}

fn decisions() -> impl Strategy<Value = Decision> {
    prop_oneof![
        any::<u64>().prop_map(|stamp| Decision::Commit {
            stamp: Stamp(stamp)
        }),
        prop::sample::select(CAUSES.to_vec()).prop_map(|cause| Decision::Abort { cause }),
    ]
}

#[allow(
    clippy::too_many_lines,
    reason = "one strategy for each kind of record"
)]
fn records() -> impl Strategy<Value = SiteRecord> {
    let number = any::<u64>;
    prop_oneof![
        number().prop_map(|place| SiteRecord::Applied { place }),
        (number(), number(), number(), any::<u32>(), pairs()).prop_map(
            |(life, clock, ordinal, in_doubt, outcomes)| SiteRecord::Checkpoint {
                incarnation: Incarnation(life),
                clock: Stamp(clock),
                ordinal,
                in_doubt,
                outcomes,
            }
        ),
        (number(), number()).prop_map(|(life, clock)| SiteRecord::Life {
            incarnation: Incarnation(life),
            clock: Stamp(clock),
        }),
        (
            number(),
            number(),
            number(),
            any::<bool>(),
            prepared(),
            pairs()
        )
            .prop_map(|(gtid, priority, stamp, read_only, prepared, others)| {
                SiteRecord::Prepared {
                    gtid: Gtid(gtid),
                    priority: Priority(priority),
                    stamp: Stamp(stamp),
                    read_only,
                    prepared,
                    after: others.iter().map(|(gtid, _)| *gtid).collect(),
                    if_committed: others.iter().skip(1).map(|(gtid, _)| *gtid).collect(),
                }
            }),
        (number(), number(), number()).prop_map(|(gtid, stamp, ordinal)| SiteRecord::Decision {
            gtid: Gtid(gtid),
            decision: Decision::Commit {
                stamp: Stamp(stamp)
            },
            ordinal,
        }),
        (number(), prop::sample::select(CAUSES.to_vec())).prop_map(|(gtid, cause)| {
            SiteRecord::Decision {
                gtid: Gtid(gtid),
                decision: Decision::Abort { cause },
                ordinal: 0,
            }
        }),
        (number(), number(), ordinals(), changes()).prop_map(|(gtid, stamp, ordinal, changes)| {
            SiteRecord::OnePhase {
                gtid: Gtid(gtid),
                stamp: Stamp(stamp),
                ordinal,
                changes,
            }
        }),
        (number(), decisions(), number(), pairs()).prop_map(|(gtid, decision, ordinal, along)| {
            SiteRecord::ByHand {
                gtid: Gtid(gtid),
                decision,
                ordinal: if decision.is_commit() { ordinal } else { 0 },
                along: along.iter().map(|(gtid, _)| *gtid).collect(),
            }
        }),
        (
            number(),
            decisions(),
            any::<(bool, bool)>(),
            prop::option::of(number()),
            prop::option::of(decisions())
        )
            .prop_map(|(gtid, decision, flags, because_of, heard)| {
                SiteRecord::ByHandState(Heuristic {
                    gtid: Gtid(gtid),
                    decision,
                    read_only: flags.0,
                    because_of: because_of.map(Gtid),
                    heard,
                    acknowledged: flags.1,
                })
            }),
        (number(), ordinals(), changes()).prop_map(|(stamp, ordinal, changes)| {
            SiteRecord::Local {
                stamp: Stamp(stamp),
                ordinal,
                changes,
            }
        }),
        (number(), number(), 1..u64::MAX, changes()).prop_map(|(name, stamp, ordinal, changes)| {
            SiteRecord::NamedLocal {
                name,
                stamp: Stamp(stamp),
                ordinal,
                changes,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(record in records()) {
        prop_assert_eq!(SiteRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn every_cut_and_every_addition_is_refused(record in records()) {
        let bytes = record.encode();
        for cut in 0..bytes.len() {
            prop_assert!(SiteRecord::decode(&bytes[..cut]).is_err());
        }
        prop_assert!(SiteRecord::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn any_bytes_that_decode_are_the_encoding(tail in prop::collection::vec(0..3u8, 0..60), kind in 0..9u8) {
        let bytes = [vec![2, kind], tail].concat();
        if let Ok(record) = SiteRecord::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }

    #[test]
    fn the_length_is_known_without_encoding(prepared in prepared()) {
        let length = SiteRecord::prepared_len(&prepared);
        let record = SiteRecord::Prepared {
            gtid: Gtid(1),
            priority: Priority(1),
            stamp: Stamp(1),
            read_only: false,
            prepared,
            after: Vec::new(),
            if_committed: Vec::new(),
        };
        prop_assert_eq!(record.encode().len(), length);
    }
}

#[test]
fn a_newer_version_and_an_unknown_kind_are_named() {
    assert_eq!(
        SiteRecord::decode(&[5, 1]),
        Err(SiteRecordError::NewerVersion(5))
    );
    assert_eq!(
        SiteRecord::decode(&[4, 1]),
        Err(SiteRecordError::UnknownKind(1))
    );
    assert_eq!(
        SiteRecord::decode(&[3, 1]),
        Err(SiteRecordError::UnknownKind(1))
    );
    assert_eq!(
        SiteRecord::decode(&[2, 8]),
        Err(SiteRecordError::UnknownKind(8))
    );
    assert_eq!(
        SiteRecord::decode(&[1, 9]),
        Err(SiteRecordError::UnknownKind(9))
    );
    assert_eq!(
        SiteRecord::decode(&[1, 7]),
        Err(SiteRecordError::UnknownKind(7))
    );
    assert_eq!(
        SiteRecord::decode(&[2, 6]),
        Err(SiteRecordError::UnknownKind(6))
    );
    assert_eq!(
        SiteRecord::decode(&[]),
        Err(SiteRecordError::Malformed("too short"))
    );
}

#[test]
fn a_count_that_lies_does_not_allocate() {
    let mut bytes = vec![1, 5];
    bytes.extend_from_slice(&7u64.to_le_bytes());
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        SiteRecord::decode(&bytes),
        Err(SiteRecordError::Malformed("too short"))
    );
}
