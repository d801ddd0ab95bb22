//! Opening a log on segments that may hold anything, with checksums that may be right all the same.
//!
//! An input is a byte of switches and then pieces, one for each file: a list of changes to a header
//! that would be good, and the bytes behind it. The switches say whether checksums are put right, so
//! that what lies behind them is reached, and whether files are named after their headers.

use std::sync::mpsc;

use coco::log::{FileLog, Log as _, OpenError, Options, Owner};

use crate::chunks;
use crate::memory_folder::MemoryFolder;

const HEADER: usize = 4096;
const SEGMENT: usize = 5120;

const MEND_HEADERS: u8 = 1;
const MEND_FRAMES: u8 = 2;
const NAME_BY_PLACE: u8 = 4;

/// Changes to the header, three bytes each.
const CHANGES: usize = 8;

/// Opens, appends, opens again. A log that opens keeps what it holds and what is appended; one that
/// does not is left alone.
pub(crate) fn run(input: &[u8]) {
    let Some((&switches, rest)) = input.split_first() else {
        return;
    };
    let folder = MemoryFolder::default();
    for (place, (_, piece)) in chunks::split(rest).into_iter().take(4).enumerate() {
        let (name, bytes) = file(switches, place, piece);
        folder.put(name, bytes);
    }
    let before = folder.snapshot();
    let held: usize = before.values().map(Vec::len).sum();
    let (log, records) = match open(&folder) {
        Ok(opened) => opened,
        Err(OpenError::Io { .. } | OpenError::NoSpace { .. }) => return,
        Err(_) => {
            assert_eq!(folder.snapshot(), before, "a refusal changed the disk");
            return;
        }
    };
    let found: usize = records.iter().map(Vec::len).sum();
    assert!(found <= held, "{found} bytes of records in {held} bytes");
    let (told, hears) = mpsc::channel();
    log.append(
        b"one more",
        // Nobody may be listening any more; the log need not know.
        Box::new(move |result| told.send(result.is_ok()).unwrap_or_default()),
    );
    let appended = hears.recv() == Ok(true);
    drop(log);
    match open(&folder) {
        Ok((_, again)) => {
            assert_eq!(
                again.get(..records.len()),
                Some(&records[..]),
                "records changed"
            );
            assert_eq!(
                again.len(),
                records.len() + usize::from(appended),
                "records came or went"
            );
        }
        Err(OpenError::Io { .. } | OpenError::NoSpace { .. }) if !appended => {}
        Err(error) => panic!("the log opened once and then never again: {error}"),
    }
}

fn open(folder: &MemoryFolder) -> Result<(FileLog, Vec<Vec<u8>>), OpenError> {
    let options = Options {
        segment_bytes: SEGMENT as u64,
        ..Options::default()
    };
    FileLog::open_in(
        Box::new(folder.clone()),
        &Owner::participant("bank"),
        options,
    )
}

/// The name and the bytes that a piece describes.
fn file(switches: u8, place: usize, piece: &[u8]) -> (String, Vec<u8>) {
    let count = piece
        .first()
        .map_or(0, |count| usize::from(*count) % (CHANGES + 1));
    let changes = piece.get(1..).unwrap_or_default();
    let (changes, body) = changes.split_at((3 * count).min(changes.len()));
    let mut bytes = good_header(place);
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % HEADER;
        bytes[at] = change[2];
    }
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().max(SEGMENT), 0);
    if switches & MEND_HEADERS != 0 {
        bytes[12..16].fill(0);
        let checksum = crc32c::crc32c(&bytes[..HEADER]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    }
    if switches & MEND_FRAMES != 0 {
        mend_frames(&mut bytes);
    }
    let first = u64::from_le_bytes(*bytes[16..].first_chunk().unwrap_or(&[0; 8]));
    let number = if switches & NAME_BY_PLACE == 0 {
        first
    } else {
        place as u64 + 1
    };
    (format!("{number:020}.seg"), bytes)
}

fn good_header(place: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..8].copy_from_slice(b"COCOLOG\0");
    bytes[8] = 1;
    bytes[16..24].copy_from_slice(&(place as u64 + 1).to_le_bytes());
    bytes[24..32].copy_from_slice(&(SEGMENT as u64).to_le_bytes());
    bytes[36] = 2;
    bytes[37] = 4;
    bytes[40..44].copy_from_slice(b"bank");
    bytes
}

/// Puts the checksum of each frame right, as long as frames follow each other.
fn mend_frames(bytes: &mut [u8]) {
    let salt = u32::from_le_bytes(*bytes[32..].first_chunk().unwrap_or(&[0; 4]));
    let mut start = HEADER;
    while let Some(size) = bytes
        .get(start + 4..start + 8)
        .and_then(<[u8]>::first_chunk)
    {
        let end = start + 8 + usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX / 2);
        if end < start + 24 || end > bytes.len() {
            return;
        }
        let checksum = crc32c::crc32c_append(salt, &bytes[start + 4..end]);
        bytes[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        start = end.next_multiple_of(8);
    }
}

/// A frame without its checksum.
fn frame(lsn: u64, batch: u64, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&lsn.to_le_bytes());
    bytes.extend_from_slice(&batch.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Logs of one and two segments: whole, torn, damaged, and with headers that lie.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frames = |range: std::ops::Range<u64>, batch: u64| -> Vec<u8> {
        range
            .flat_map(|lsn| frame(lsn, batch, &lsn.to_le_bytes()))
            .collect()
    };
    let piece = |changes: &[[u8; 3]], body: &[u8]| -> Vec<u8> {
        let count = u8::try_from(changes.len()).unwrap_or(0);
        [&[count], changes.as_flattened(), body].concat()
    };
    let one = [frames(1..3, 1), frames(3..5, 3)].concat();
    let two = frames(5..8, 5);
    let mut torn = one.clone();
    torn[40] ^= 1;
    let second: [[u8; 3]; 1] = [[16, 0, 5]];
    let huge: [[u8; 3]; 3] = [[31, 0, 0x7f], [30, 0, 0xff], [24, 0, 0xff]];
    let last: [[u8; 3]; 8] = [16, 17, 18, 19, 20, 21, 22, 23].map(|at| [at, 0, 0xff]);
    let mut seeds = Vec::new();
    for switches in [0, MEND_HEADERS, MEND_HEADERS | MEND_FRAMES, 7] {
        for files in [
            vec![],
            vec![piece(&[], &[])],
            vec![piece(&[], &one)],
            vec![piece(&[], &torn)],
            vec![piece(&[], &one), piece(&second, &two)],
            vec![piece(&huge, &one)],
            vec![piece(&last, &frames(u64::MAX..u64::MAX, 1))],
            vec![piece(&last, &frame(u64::MAX, u64::MAX, b"last"))],
            vec![piece(&[[16, 0, 0]], &one)],
        ] {
            let pieces = files.iter().map(|file| (0, file.as_slice()));
            seeds.push([vec![switches], chunks::join(pieces)].concat());
        }
    }
    seeds
}
