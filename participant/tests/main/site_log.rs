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

#[test]
fn the_log_of_version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(), folder.path().join("00000000000000000001.seg")).unwrap();
    let (_log, records) = open(folder.path());
    assert_eq!(records.len(), 10);
    let _: Vec<Arc<[u8]>> = records.into_iter().map(Arc::from).collect();
}
