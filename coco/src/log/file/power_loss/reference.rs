//! The log format read a second time, from `docs/log-format.md` alone: slow, obvious, and sharing
//! nothing with what it judges but the polynomial of the checksum.

/// A frame as it lies in a segment.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) lsn: u64,
    pub(super) batch: u64,
    /// The bytes that its checksum covers, and the checksum.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What opening must find.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// These records, the first with this lsn.
    Records(u64, Vec<Vec<u8>>),
    /// A file is not ours, or its header is not whole.
    Header,
    /// A frame is missing, and what lies behind proves that it had been durable.
    Corrupt,
    /// A file is missing, or ends early.
    Gap,
}

impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Records(first, records) => {
                write!(f, "{} records from #{first} on", records.len())
            }
            Self::Header => f.write_str("a bad header"),
            Self::Corrupt => f.write_str("damage"),
            Self::Gap => f.write_str("a gap"),
        }
    }
}

const HEADER: usize = 4096;

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at + length)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    )
}

pub(super) fn salt(segment: &[u8]) -> u32 {
    u32::try_from(number(segment, 32, 4).unwrap()).unwrap()
}

/// The frame at a place of a segment, if a whole one is there.
fn frame_at(segment: &[u8], start: usize) -> Option<Frame> {
    let checksum = number(segment, start, 4)?;
    let size = usize::try_from(number(segment, start + 4, 4)?).ok()?;
    let (lsn, batch) = (
        number(segment, start + 8, 8)?,
        number(segment, start + 16, 8)?,
    );
    let end = start.checked_add(8)?.checked_add(size)?;
    let covered = segment.get(start + 4..end)?;
    let whole = size >= 16
        && u64::from(crc32c::crc32c_append(salt(segment), covered)) == checksum
        && (1..=lsn).contains(&batch);
    whole.then_some(Frame {
        lsn,
        batch,
        start,
        end,
    })
}

/// The frames of a segment up to the first that is missing, and where that would be.
pub(super) fn frames(segment: &[u8]) -> (Vec<Frame>, usize) {
    let mut due = number(segment, 16, 8).unwrap();
    let (mut frames, mut place) = (Vec::new(), HEADER);
    while let Some(frame) = frame_at(segment, place).filter(|frame| frame.lsn == due) {
        due += 1;
        place = frame.end.div_ceil(8) * 8;
        frames.push(frame);
    }
    (frames, place)
}

fn header_is_whole(segment: &[u8], name: &str) -> bool {
    let Some(header) = segment.get(..HEADER) else {
        return false;
    };
    let mut without = header.to_vec();
    without[12..16].fill(0);
    header.starts_with(b"COCOLOG\0")
        && number(header, 8, 4) == Some(1)
        && number(header, 12, 4) == Some(u64::from(crc32c::crc32c(&without)))
        && header[36] == 2
        && header[37] == 4
        && &header[40..44] == b"bank"
        && !name.is_empty()
}

/// Reads all segments, in the order of their names.
pub(super) fn read(files: &[(String, Vec<u8>)]) -> Reading {
    let mut records = Vec::new();
    let mut begin = None;
    let mut due = 0;
    for (name, segment) in files.iter().filter(|(name, _)| name.ends_with(".seg")) {
        if !header_is_whole(segment, name) {
            return Reading::Header;
        }
        let first = number(segment, 16, 8).unwrap();
        if begin.is_none() {
            begin = Some(first);
            due = first;
        }
        if first != due || *name != format!("{first:020}.seg") {
            return Reading::Gap;
        }
        let (frames, end) = frames(segment);
        for frame in &frames {
            records.push(segment[frame.start + 24..frame.end].to_vec());
        }
        due += frames.len() as u64;
        let behind = (end..segment.len()).step_by(8);
        if behind
            .filter_map(|place| frame_at(segment, place))
            .any(|frame| frame.batch > due)
        {
            return Reading::Corrupt;
        }
    }
    begin.map_or(Reading::Records(1, Vec::new()), |begin| {
        Reading::Records(begin, records)
    })
}

/// Renumbers whole frames that lie where another is due, as a reader does that does not look.
pub(super) fn believe_every_lsn(segment: &mut [u8]) {
    loop {
        let (frames, place) = frames(segment);
        let first = number(segment, 16, 8).unwrap();
        let Some(frame) = frame_at(segment, place) else {
            return;
        };
        let lsn = first + frames.len() as u64;
        segment[place + 8..place + 16].copy_from_slice(&lsn.to_le_bytes());
        segment[place + 16..place + 24].copy_from_slice(&lsn.to_le_bytes());
        let checksum = crc32c::crc32c_append(salt(segment), &segment[place + 4..frame.end]);
        segment[place..place + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}
