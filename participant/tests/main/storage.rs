//! Every storage against an ordered map, and what is left of it after a crash or a restart.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use co_core::Stamp;
use participant::storage::{
    Batch, Cell, FjallStore, Mark, Memory, SimStorage, Storage, StorageError,
};
use participant::{Key, KeyRange, Value};
use proptest::prelude::*;

type Model = BTreeMap<Key, Cell>;

/// One commit: which keys get which values, or lose theirs.
type Commit = Vec<(u8, Option<u8>)>;

fn key(number: u8) -> Key {
    // Prefixes of each other, the empty one left out.
    Key::from(&[0xFF, number, 0][..usize::from(number % 3) + 1])
}

fn batch(ordinal: u64, commit: &Commit, model: &mut Model) -> Batch {
    let stamp = Stamp(ordinal * 10);
    let mut rows = Vec::new();
    for (number, value) in commit {
        let cell = Cell {
            version: ordinal,
            stamp,
            value: value.map(|value| Value::from(vec![value; usize::from(value)])),
        };
        model.insert(key(*number), cell.clone());
        rows.push((key(*number), cell));
    }
    let mark = Mark { ordinal, stamp };
    Batch { rows, mark }
}

fn range(low: u8, high: Option<u8>) -> KeyRange {
    KeyRange {
        low: key(low),
        high: high.map(key),
    }
}

fn rows(storage: &dyn Storage, range: &KeyRange, limit: usize) -> Vec<(Key, Cell)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &Key, cell: &Cell| {
        rows.push((Arc::clone(key), cell.clone()));
        if rows.len() == limit {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    storage.scan(range, visit).unwrap();
    rows
}

fn assert_same(storage: &dyn Storage, model: &Model, ordinal: u64) {
    assert_eq!(storage.mark().ordinal, ordinal);
    for number in 0..=255 {
        let expected = model.get(&key(number)).cloned().unwrap_or_default();
        assert_eq!(storage.get(&key(number)).unwrap(), expected);
    }
    for (low, high) in [(0, None), (1, Some(5)), (2, Some(200)), (9, Some(9))] {
        let range = range(low, high);
        let inside = model.iter().filter(|(key, _)| range.contains(key));
        let expected: Vec<_> = inside
            .map(|(key, cell)| (key.clone(), cell.clone()))
            .collect();
        assert_eq!(rows(storage, &range, usize::MAX), expected);
        assert_eq!(
            rows(storage, &range, 2),
            expected.iter().take(2).cloned().collect::<Vec<_>>()
        );
    }
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let commit = prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>())), 0..5);
    prop::collection::vec(commit, 1..12)
}

/// Applies the commits, persisting where `persists` says; the models after each.
fn run(storage: &dyn Storage, commits: &[Commit], persists: u16) -> Vec<Model> {
    let mut model = Model::new();
    let mut models = vec![model.clone()];
    for (commit, ordinal) in commits.iter().zip(1..) {
        storage.apply(batch(ordinal, commit, &mut model)).unwrap();
        if persists >> (ordinal % 16) & 1 == 1 {
            storage.persist().unwrap();
        }
        models.push(model.clone());
    }
    models
}

proptest! {
    #[test]
    fn a_store_in_memory_is_an_ordered_map(commits in commits()) {
        let storages: [Box<dyn Storage>; 2] = [Box::new(Memory::new()), Box::new(SimStorage::new())];
        for storage in storages {
            let models = run(&*storage, &commits, 0x5A5A);
            assert_same(&*storage, models.last().unwrap(), commits.len() as u64);
        }
    }

    #[test]
    fn a_crash_leaves_a_prefix_that_has_all_that_was_persisted(
        commits in commits(), persists in any::<u16>(), survivors in 0..12usize,
    ) {
        let storage = SimStorage::new();
        let models = run(&storage, &commits, persists);
        let persisted = commits.len() - storage.unpersisted();
        let left = commits.len().min(persisted + survivors);
        assert_same(&storage.crash(survivors), &models[left], left as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_store_on_fjall_is_an_ordered_map_before_and_after_a_restart(
        commits in commits(), persists in any::<u16>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path(), "site").unwrap();
        let models = run(&storage, &commits, persists);
        let (last, ordinal) = (models.last().unwrap(), commits.len() as u64);
        assert_same(&storage, last, ordinal);
        storage.persist().unwrap();
        drop(storage);
        assert_same(&open(folder.path(), "site").unwrap(), last, ordinal);
    }
}

fn open(folder: &Path, site: &str) -> Result<FjallStore, StorageError> {
    FjallStore::open(folder, site)
}

#[test]
fn a_store_is_refused_to_others_and_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path(), "berlin").unwrap();
    let error = open(folder.path(), "berlin").unwrap_err();
    assert!(matches!(error, StorageError::InUse { .. }), "{error}");
    drop(storage);
    let error = open(folder.path(), "madrid").unwrap_err();
    assert!(
        matches!(&error, StorageError::NotOurs { found, expected, .. }
            if found == "berlin" && expected == "madrid"),
        "{error}"
    );
    drop(open(folder.path(), "berlin").unwrap());
}

#[test]
fn what_the_machine_loses_of_a_store_on_fjall_is_its_end() {
    // The journal of a killed process, cut at every so many bytes, as a power failure might.
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path(), "site").unwrap();
    let commits: Vec<Commit> = (0..20).map(|n| vec![(n, Some(n)), (0, Some(n))]).collect();
    let models = run(&storage, &commits, 1 << 10);
    storage.persist().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let journal = copy_folder(folder.path(), copy.path());
    let written = std::fs::read(&journal).unwrap();
    let used = written.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut seen = std::collections::BTreeSet::new();
    for cut in (used / 3..=used).step_by(used / 40 + 1).chain([used]) {
        let file = std::fs::OpenOptions::new().write(true).open(&journal);
        std::fs::write(&journal, &written[..cut]).unwrap();
        drop(file);
        let Ok(storage) = open(copy.path(), "site") else {
            panic!("cut at {cut} of {used}");
        };
        let ordinal = storage.mark().ordinal;
        seen.insert(ordinal);
        assert_same(
            &storage,
            &models[usize::try_from(ordinal).unwrap()],
            ordinal,
        );
    }
    assert!(seen.len() > 5 && seen.contains(&20), "{seen:?}");
}

/// Copies a folder as it is on the disk; the journal's place in the copy.
fn copy_folder(from: &Path, to: &Path) -> std::path::PathBuf {
    let mut journal = None;
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            journal = copy_into(&entry.path(), &target).or(journal);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            if target.extension().is_some_and(|ext| ext == "jnl") {
                journal = Some(target);
            }
        }
    }
    journal.expect("a journal")
}

fn copy_into(from: &Path, to: &Path) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
    None
}

/// A process that was killed while it made its store used to find a store that nobody could open.
#[test]
fn a_store_has_its_name_only_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let unfinished = folder.path().join("store.unfinished");
    // What fjall leaves when it is killed while it makes a database.
    std::fs::create_dir_all(unfinished.join("keyspaces")).unwrap();
    std::fs::write(unfinished.join("0.jnl"), [0; 64]).unwrap();
    drop(FjallStore::open(&path, "berlin").unwrap());
    assert!(!unfinished.exists());
    assert!(path.join("version").exists());
    let again = FjallStore::open(&path, "berlin").unwrap();
    assert_eq!(again.mark(), Mark::default());
}
