//! The bytes of a segment: a header block, then frames (drawn in `docs/log-format.md`).
//!
//! Invariants: (F1) a frame is whole or it is no frame: its checksum covers all that is read from it,
//! salted by the segment; (F2) its `batch` is the first lsn after the sync that preceded it, so a
//! frame proves that everything before its batch was durable when it was written.

use super::{Owner, OwnerKind};
use crate::log::Lsn;

pub(super) const MAGIC: [u8; 8] = *b"COCOLOG\0";
pub(super) const VERSION: u32 = 1;

/// The header has a block of its own, so that no frame shares a sector with it.
pub(super) const HEADER_BYTES: usize = 4096;

/// Frames start at multiples of this.
pub(super) const ALIGN: usize = 8;

/// What a frame has besides its payload and padding.
pub(super) const FRAME_BYTES: usize = 24;

/// The size field counts lsn and batch besides the payload; zero is therefore unused space.
const COUNTED_BYTES: usize = 16;

/// The largest lsn that a segment may start with: far beyond any log, and far below an overflow.
const LAST_FIRST: u64 = 1 << 62;

/// The longest owner's name, in bytes.
pub(super) const NAME_BYTES: usize = 64;

const AT_VERSION: usize = 8;
const AT_CRC: usize = 12;
const AT_FIRST: usize = 16;
const AT_SEGMENT: usize = 24;
const AT_SALT: usize = 32;
const AT_KIND: usize = 36;
const AT_NAME_LEN: usize = 37;
const AT_NAME: usize = 40;

/// What a segment says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) owner: Owner,
    /// The lsn of its first frame: everything before was durable when the segment was made.
    pub(super) first: Lsn,
    /// How many bytes it has, the header included.
    pub(super) segment_bytes: u64,
    /// Makes the checksums of this segment differ from those of any other bytes.
    pub(super) salt: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadHeader {
    NotALog,
    Newer(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let name = self.owner.name.as_bytes();
        assert!(
            name.len() <= NAME_BYTES,
            "an owner's name is checked when the log is opened"
        );
        bytes[..8].copy_from_slice(&MAGIC);
        put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, AT_FIRST, &self.first.0.to_le_bytes());
        put(&mut bytes, AT_SEGMENT, &self.segment_bytes.to_le_bytes());
        put(&mut bytes, AT_SALT, &self.salt.to_le_bytes());
        bytes[AT_KIND] = self.owner.kind.code();
        bytes[AT_NAME_LEN] = u8::try_from(name.len()).expect("at most 64 bytes");
        put(&mut bytes, AT_NAME, name);
        let crc = crc32c::crc32c(&bytes);
        put(&mut bytes, AT_CRC, &crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(BadHeader::NotALog);
        }
        // Before the checksum: another version may reckon it otherwise.
        let version = u32_at(bytes, AT_VERSION).ok_or(BadHeader::Damaged)?;
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let block = bytes.get(..HEADER_BYTES).ok_or(BadHeader::Damaged)?;
        let mut zeroed = block.to_vec();
        put(&mut zeroed, AT_CRC, &[0; 4]);
        if Some(crc32c::crc32c(&zeroed)) != u32_at(block, AT_CRC) || version != VERSION {
            return Err(BadHeader::Damaged);
        }
        let name_len = usize::from(block[AT_NAME_LEN]).min(NAME_BYTES);
        let name = std::str::from_utf8(&block[AT_NAME..AT_NAME + name_len]);
        let kind = OwnerKind::from_code(block[AT_KIND]);
        let (Ok(name), Some(kind), Some(first), Some(segment_bytes), Some(salt)) = (
            name,
            kind,
            u64_at(block, AT_FIRST),
            u64_at(block, AT_SEGMENT),
            u32_at(block, AT_SALT),
        ) else {
            return Err(BadHeader::Damaged);
        };
        // No log has such numbers, and reckoning with them would overflow.
        if !(1..=LAST_FIRST).contains(&first) || segment_bytes < HEADER_BYTES as u64 {
            return Err(BadHeader::Damaged);
        }
        let owner = Owner {
            kind,
            name: name.to_owned(),
        };
        Ok(Self {
            owner,
            first: Lsn(first),
            segment_bytes,
            salt,
        })
    }
}

/// How many bytes a record takes in a segment.
pub(super) const fn frame_len(payload: usize) -> usize {
    (FRAME_BYTES + payload).next_multiple_of(ALIGN)
}

/// Appends a frame to `buffer`.
pub(super) fn put_frame(buffer: &mut Vec<u8>, salt: u32, lsn: Lsn, batch: Lsn, payload: &[u8]) {
    assert!(batch <= lsn, "F2: a batch starts no later than its frames");
    let start = buffer.len();
    let size = u32::try_from(COUNTED_BYTES + payload.len()).expect("checked when it was appended");
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&size.to_le_bytes());
    buffer.extend_from_slice(&lsn.0.to_le_bytes());
    buffer.extend_from_slice(&batch.0.to_le_bytes());
    buffer.extend_from_slice(payload);
    let crc = crc32c::crc32c_append(salt, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(start + frame_len(payload.len()), 0);
}

/// A frame as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame<'a> {
    pub(super) lsn: Lsn,
    pub(super) batch: Lsn,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at this offset, if there is a whole one (F1).
    pub(super) fn at(segment: &'a [u8], offset: usize, salt: u32) -> Option<Self> {
        let bytes = segment.get(offset..)?;
        let size = usize::try_from(u32_at(bytes, 4)?).ok()?;
        let payload_len = size.checked_sub(COUNTED_BYTES)?;
        let payload = bytes.get(FRAME_BYTES..)?.get(..payload_len)?;
        let (lsn, batch) = (Lsn(u64_at(bytes, 8)?), Lsn(u64_at(bytes, 16)?));
        // Cheap tests before the checksum: the search for later frames tries every offset.
        if batch > lsn || batch.0 == 0 {
            return None;
        }
        let crc = crc32c::crc32c_append(salt, &bytes[4..FRAME_BYTES + payload_len]);
        (Some(crc) == u32_at(bytes, 0)).then_some(Self {
            lsn,
            batch,
            payload,
        })
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let owner = Owner {
            kind: OwnerKind::Participant,
            name: "bank-é".to_owned(),
        };
        Header {
            owner,
            first: Lsn(77),
            segment_bytes: 1 << 20,
            salt: 0xdead_beef,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_flip_of_any_bit_of_the_header_is_seen() {
        let bytes = header().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_first_lsn_or_a_size_that_no_log_has_is_damage() {
        for (first, segment_bytes) in [(0, 5120), (LAST_FIRST + 1, 5120), (1, 4095)] {
            let header = Header {
                first: Lsn(first),
                segment_bytes,
                ..header()
            };
            assert_eq!(Header::decode(&header.encode()), Err(BadHeader::Damaged));
        }
        for (first, segment_bytes) in [(1, 4096), (LAST_FIRST, 5120)] {
            let header = Header {
                first: Lsn(first),
                segment_bytes,
                ..header()
            };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[AT_VERSION] = 2;
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Newer(2)));
        assert_eq!(Header::decode(b"something else"), Err(BadHeader::NotALog));
        assert_eq!(
            Header::decode(&header().encode()[..100]),
            Err(BadHeader::Damaged)
        );
    }

    #[test]
    fn frames_lie_one_behind_the_other_and_need_their_own_salt() {
        let mut buffer = Vec::new();
        put_frame(&mut buffer, 5, Lsn(3), Lsn(2), b"");
        put_frame(&mut buffer, 5, Lsn(4), Lsn(2), b"123456789");
        assert_eq!(buffer.len(), frame_len(0) + frame_len(9));
        let first = Frame {
            lsn: Lsn(3),
            batch: Lsn(2),
            payload: b"",
        };
        let second = Frame {
            lsn: Lsn(4),
            batch: Lsn(2),
            payload: b"123456789",
        };
        assert_eq!(Frame::at(&buffer, 0, 5), Some(first));
        assert_eq!(Frame::at(&buffer, frame_len(0), 5), Some(second));
        assert_eq!(Frame::at(&buffer, 0, 6), None);
        assert_eq!(Frame::at(&buffer, 8, 5), None);
        assert_eq!(Frame::at(&buffer, buffer.len(), 5), None);
        assert_eq!(Frame::at(&[0; 64], 0, 5), None);
    }
}
