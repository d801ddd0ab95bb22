//! Opening: reads the segments, tells a torn tail from damage, and leaves the tail clean.
//!
//! A crash may leave any part of the writes after the last sync, in any order. Such a tail is cut: it
//! was never said to be durable. What was said to be durable and is not whole is damage, and damage is
//! an error, never a shorter log. The two are told apart by what comes behind the first bad place: a
//! later segment, or a frame of a later batch, proves that the bad place had been synced (F2).
//!
//! What is read may be in the system's memory only: a sync that failed in an earlier process may have
//! left it there, marked as written. So whatever no later batch proves is written again before it is
//! synced, and the names are synced before they are relied on.
//!
//! Invariants: (O1) after opening, every byte behind the last frame is zero and durable, so that no
//! remains of a torn batch are ever taken for frames; (O2) every record that opening returns is
//! durable.

use std::io;

use super::folder::{Folder, Media, write_all_at};
use super::frame::{ALIGN, BadHeader, Frame, HEADER_BYTES, Header, VERSION, frame_len};
use super::{OpenError, Owner};
use crate::failpoint;
use crate::log::Lsn;

/// The segment that is being filled.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) media: Box<dyn Media>,
    /// Where the next frame goes.
    pub(super) end: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) records: Vec<Vec<u8>>,
    pub(super) current: Segment,
    pub(super) next: Lsn,
    /// The first lsn of every segment, the current one last.
    pub(super) segments: Vec<Lsn>,
}

const SUFFIX: &str = ".seg";
const UNFINISHED: &str = "unfinished.tmp";

pub(super) fn file_name(first: Lsn) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// Creates a segment: filled with zeros, its header written, all of it durable before it has its name.
pub(super) fn create_segment(folder: &dyn Folder, header: Header) -> io::Result<Segment> {
    failpoint::io("log: segment: create")?;
    let mut media = folder.create(UNFINISHED)?;
    failpoint::io("log: segment: write zeros")?;
    write_zeros(&mut *media, 0, header.segment_bytes)?;
    failpoint::io("log: segment: write header")?;
    write_all_at(&mut *media, 0, &header.encode())?;
    failpoint::io("log: segment: sync")?;
    media.sync()?;
    failpoint::io("log: segment: rename")?;
    folder.rename(UNFINISHED, &file_name(header.first))?;
    failpoint::io("log: segment: sync folder")?;
    folder.sync()?;
    Ok(Segment {
        header,
        media,
        end: HEADER_BYTES as u64,
    })
}

/// Writes zeros from one offset to another.
fn write_zeros(media: &mut dyn Media, mut from: u64, to: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let chunk = |from: u64| CHUNK.min(to.saturating_sub(from));
    let zeros = vec![0; usize::try_from(chunk(from)).unwrap_or(usize::MAX)];
    while from < to {
        let length = usize::try_from(chunk(from)).unwrap_or(zeros.len());
        write_all_at(media, from, &zeros[..length])?;
        from += length as u64;
    }
    Ok(())
}

/// Reads the folder; makes the first segment if there is none.
pub(super) fn open(
    folder: &dyn Folder,
    owner: &Owner,
    segment_bytes: u64,
    salt: u32,
) -> Result<Found, OpenError> {
    let fail = |source| OpenError::io(folder.path(), source);
    failpoint::io("log: open: list").map_err(fail)?;
    let names = folder.list().map_err(fail)?;
    if names.iter().any(|name| name == UNFINISHED) {
        folder.remove(UNFINISHED).map_err(fail)?;
    }
    let mut names: Vec<String> = names
        .into_iter()
        .filter(|name| name.ends_with(SUFFIX))
        .collect();
    names.sort_unstable();
    let Some(last) = names.pop() else {
        let header = Header {
            owner: owner.clone(),
            first: Lsn(1),
            segment_bytes,
            salt,
        };
        let current = create_segment(folder, header).map_err(fail)?;
        return Ok(Found {
            records: Vec::new(),
            current,
            next: Lsn(1),
            segments: vec![Lsn(1)],
        });
    };
    let mut reader = Reader {
        folder,
        owner,
        records: Vec::new(),
        next: None,
        segments: Vec::new(),
    };
    for name in &names {
        reader.read(name)?;
    }
    let scan = reader.read(&last)?;
    let media = clean_tail(folder, &last, &scan).map_err(fail)?;
    let next = reader.next.unwrap_or(scan.header.first);
    let current = Segment {
        header: scan.header,
        media,
        end: scan.end as u64,
    };
    Ok(Found {
        records: reader.records,
        current,
        next,
        segments: reader.segments,
    })
}

/// What one segment holds.
struct Scan {
    header: Header,
    bytes: Vec<u8>,
    /// Where the last batch starts: that everything before is durable is proven.
    proven: usize,
    /// Where the whole frames end.
    end: usize,
}

struct Reader<'a> {
    folder: &'a dyn Folder,
    owner: &'a Owner,
    records: Vec<Vec<u8>>,
    /// The lsn that comes next; `None` before the first segment.
    next: Option<Lsn>,
    segments: Vec<Lsn>,
}

impl Reader<'_> {
    /// Reads one segment; refuses it if it does not continue the ones before.
    fn read(&mut self, name: &str) -> Result<Scan, OpenError> {
        let path = || self.folder.path().join(name);
        let bytes = failpoint::io("log: open: read segment")
            .and_then(|()| self.folder.read(name))
            .map_err(|source| OpenError::io(&path(), source))?;
        let header = Header::decode(&bytes).map_err(|bad| match bad {
            BadHeader::NotALog => OpenError::NotALog { path: path() },
            BadHeader::Newer(found) => OpenError::NewerVersion {
                path: path(),
                found,
                supported: VERSION,
            },
            BadHeader::Damaged => OpenError::Corrupt {
                path: path(),
                offset: 0,
                lsn: None,
            },
        })?;
        if header.owner != *self.owner {
            let (found, expected) = (header.owner, self.owner.clone());
            return Err(OpenError::NotOurs {
                path: path(),
                found,
                expected,
            });
        }
        let next = *self.next.get_or_insert(header.first);
        if header.first != next || file_name(header.first) != name {
            // The segment before ends early, or one is missing: this one proves that all records
            // before it were durable.
            return Err(OpenError::Gap {
                path: path(),
                expected: next,
                found: header.first,
            });
        }
        self.segments.push(header.first);
        let (proven, end, next) = self.read_frames(&bytes, header.salt, next);
        if has_later_batch(&bytes, end, header.salt, next) {
            return Err(OpenError::Corrupt {
                path: path(),
                offset: end as u64,
                lsn: Some(next),
            });
        }
        self.next = Some(next);
        Ok(Scan {
            header,
            bytes,
            proven,
            end,
        })
    }

    /// Reads whole frames from the header on, as long as they continue; says where the last batch
    /// starts, where the frames end, and which record is due there.
    fn read_frames(&mut self, bytes: &[u8], salt: u32, first: Lsn) -> (usize, usize, Lsn) {
        let (mut proven, mut end, mut next) = (HEADER_BYTES, HEADER_BYTES, first);
        let mut batch = first;
        while let Some(frame) = Frame::at(bytes, end, salt).filter(|frame| frame.lsn == next) {
            if frame.batch > batch {
                (batch, proven) = (frame.batch, end);
            }
            self.records.push(frame.payload.to_vec());
            end += frame_len(frame.payload.len());
            next = Lsn(next.0 + 1);
        }
        (proven, end, next)
    }
}

/// Whether a frame behind `end` was written after record `next` had been synced.
fn has_later_batch(bytes: &[u8], end: usize, salt: u32, next: Lsn) -> bool {
    (end..bytes.len())
        .step_by(ALIGN)
        .filter_map(|offset| Frame::at(bytes, offset, salt))
        .any(|frame| frame.batch > next)
}

/// Writes the last batch again, zeros from there to the end of the segment, and syncs (O1, O2).
fn clean_tail(folder: &dyn Folder, name: &str, scan: &Scan) -> io::Result<Box<dyn Media>> {
    // A kill between a rename and the sync of the folder leaves a name that a crash would take away.
    failpoint::io("log: open: sync folder")?;
    folder.sync()?;
    failpoint::io("log: open: open segment")?;
    let mut media = folder.open(name)?;
    // The zeros too: that they are read does not say that they reached the disk.
    let last_batch = scan.bytes.get(scan.proven..scan.end).unwrap_or_default();
    failpoint::io("log: open: write tail")?;
    write_all_at(&mut *media, scan.proven as u64, last_batch)?;
    failpoint::io("log: open: write zeros")?;
    let full = scan.header.segment_bytes.max(scan.bytes.len() as u64);
    write_zeros(&mut *media, scan.end as u64, full)?;
    failpoint::io("log: open: sync segment")?;
    media.sync()?;
    Ok(media)
}
