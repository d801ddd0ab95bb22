//! The bare disk: a record appended to a file that has its size already, and made durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const RECORD: [u8; 128] = [0x5a; 128];
const FILE_BYTES: usize = 4 << 20;

/// The time of each of many forced writes of 128 bytes in `folder`, while `others` more threads do the same.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn forced_writes(
    folder: &Path,
    others: usize,
    span: Duration,
) -> io::Result<Vec<Duration>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..=others)
            .map(|index| scope.spawn(move || one_thread(folder, index, span)))
            .collect();
        let mut first = None;
        for thread in threads {
            let spans = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            first.get_or_insert(spans);
        }
        Ok(first.unwrap_or_default())
    })
}

fn one_thread(folder: &Path, index: usize, span: Duration) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!("bare-{index}"));
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let (mut spans, mut at) = (Vec::new(), 0);
    let end = Instant::now() + span;
    while Instant::now() < end {
        let start = Instant::now();
        file.write_all_at(&RECORD, at)?;
        file.sync_data()?;
        spans.push(start.elapsed());
        at = (at + RECORD.len() as u64) % FILE_BYTES as u64;
    }
    std::fs::remove_file(path)?;
    Ok(spans)
}
