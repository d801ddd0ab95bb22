//! What is compared: an operation with the transaction's earlier ones, its footprint with others'.

use std::sync::Arc;

use co_core::{Footprint, WriteKind};

use crate::engine::store::Store;
use crate::engine::workspace::{Scanned, Workspace};
use crate::participant::{Change, Key, KeyRange, Prepared};
use crate::storage::StorageError;

/// Whether the committed version of a key is another one than the transaction has seen before, alone or
/// (present or absent) in a range.
pub(super) fn contradicts(work: &Workspace<()>, key: &[u8], version: u64) -> bool {
    work.version_read(key).is_some_and(|read| read != version)
        || work
            .scans()
            .iter()
            .any(|scan| scan.range.contains(key) && scan.position < version)
}

/// Whether everything that the transaction has read in `range` is still committed.
pub(super) fn unchanged_in(
    store: &Store,
    work: &Workspace<()>,
    range: &KeyRange,
) -> Result<bool, StorageError> {
    let reads = work.reads().filter(|(key, _)| range.contains(key));
    let scans: Vec<Scanned> = work
        .scans()
        .iter()
        .filter(|scan| overlap(&scan.range, range))
        .cloned()
        .collect();
    store.unchanged(reads, &scans)
}

fn overlap(one: &KeyRange, other: &KeyRange) -> bool {
    let before = |high: &Option<Key>, low: &Key| high.as_ref().is_some_and(|high| high <= low);
    !before(&one.high, &other.low) && !before(&other.high, &one.low)
}

/// What a prepared transaction shows to the validator.
pub(super) fn footprint(prepared: &Prepared) -> Footprint<Key> {
    let ranges = prepared.scans.iter();
    let changes = prepared.changes.iter();
    Footprint {
        reads: prepared.reads.clone(),
        ranges: ranges
            .map(|range| (Arc::clone(&range.low), range.high.clone()))
            .collect(),
        writes: changes
            .map(|change| {
                let kind = match change {
                    Change::Put(..) | Change::Delete(_) => WriteKind::Put,
                    Change::Increment(..) => WriteKind::Increment,
                };
                (Arc::clone(change.key()), kind)
            })
            .collect(),
    }
}
