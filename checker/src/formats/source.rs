//! Where bytes come from: plain or compressed, and never more of them than allowed.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::Limits;
use super::error::FormatFault;

/// How much of a file is looked at to tell what it is.
pub(super) const SHOWN: usize = 8 << 10;

/// What some editors write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A stream whose beginning was looked at.
pub(super) struct Source<'r> {
    pub(super) start: Vec<u8>,
    pub(super) reader: Box<dyn Read + 'r>,
}

impl<'r> Source<'r> {
    /// Looks at the beginning of a stream, and decompresses it if it is compressed.
    pub(super) fn open(reader: impl BufRead + 'r, limits: &Limits) -> Result<Self, FormatFault> {
        let plain = Self::look(Limited::new(reader, limits.bytes))?;
        match compression(&plain.start) {
            None => Ok(plain),
            Some(compression) => Self::decompress(plain, compression, limits),
        }
    }

    /// A fault after the first bytes is left to whoever reads that far, and knows the line.
    fn look(mut reader: impl Read + 'r) -> Result<Self, FormatFault> {
        let mut start = vec![0; SHOWN];
        let mut filled = 0;
        let mut fault = None;
        while filled < SHOWN {
            match reader.read(&mut start[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(fault_of(error)),
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
        start.truncate(filled);
        if start.starts_with(BYTE_ORDER_MARK) {
            start.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Self {
            reader: Box::new(
                Cursor::new(start.clone())
                    .chain(Failing(fault))
                    .chain(reader),
            ),
            start,
        })
    }

    fn decompress(
        source: Self,
        compression: Compression,
        limits: &Limits,
    ) -> Result<Self, FormatFault> {
        let reader = BufReader::new(source.reader);
        match compression {
            Compression::Gzip => {
                let gzip = flate2::bufread::MultiGzDecoder::new(reader);
                Self::look(Limited::new(Damaging::new(gzip, "gzip"), limits.bytes))
            }
            Compression::Zstd => {
                let zstd = super::zstd::Frames::new(reader);
                Self::look(Limited::new(Damaging::new(zstd, "zstd"), limits.bytes))
            }
        }
    }
}

/// Fails once, if there is a reason to.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

fn compression(start: &[u8]) -> Option<Compression> {
    if start.starts_with(&[0x1f, 0x8b]) {
        Some(Compression::Gzip)
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Compression::Zstd)
    } else {
        None
    }
}

/// Ends in an error where more bytes come than allowed.
struct Limited<R> {
    reader: R,
    left: u64,
    limit: u64,
}

impl<R> Limited<R> {
    const fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            left: limit,
            limit,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Carried::TooMany(self.limit))),
        }
        Ok(count)
    }
}

/// Says that an error of a decoder is one of the data.
struct Damaging<R> {
    reader: R,
    compression: &'static str,
}

impl<R> Damaging<R> {
    const fn new(reader: R, compression: &'static str) -> Self {
        Self {
            reader,
            compression,
        }
    }
}

impl<R: Read> Read for Damaging<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into).map_err(|error| {
            let kind = error.kind();
            let carried = error
                .get_ref()
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Carried>);
            if carried || kind == io::ErrorKind::Interrupted {
                return error;
            }
            let reason = error.to_string();
            io::Error::other(Carried::Damaged(self.compression, reason))
        })
    }
}

/// A fault on its way through [`Read`].
#[derive(Debug, thiserror::Error)]
enum Carried {
    #[error("more than {0} bytes")]
    TooMany(u64),
    #[error("damaged {0} data: {1}")]
    Damaged(&'static str, String),
}

/// The fault that an error of a reader made here is.
pub(super) fn fault_of(error: io::Error) -> FormatFault {
    match error.downcast::<Carried>() {
        Ok(Carried::TooMany(limit)) => FormatFault::TooManyBytes { limit },
        Ok(Carried::Damaged(compression, reason)) => FormatFault::Damaged {
            compression,
            reason,
        },
        Err(error) => FormatFault::Io(error),
    }
}
