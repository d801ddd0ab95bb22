//! The lines of a stream, in one buffer.

use std::io::{self, Read};

use crate::parse::MAX_LINE_BYTES;

use super::Undecided;

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 18;

/// Lines without their line feed.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What was read and not handed out.
    start: usize,
    end: usize,
}

/// A line, and whether its line feed was there.
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    pub(super) terminated: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; 2 * CHUNK_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// The next line; none at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, Undecided> {
        let mut searched = self.start;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let (start, end) = (self.start, searched + found);
                self.start = end + 1;
                return Ok(Some(Line {
                    text: &self.buffer[start..end],
                    terminated: true,
                }));
            }
            searched = self.end - self.start;
            if self.fill()? == 0 {
                let text = &self.buffer[self.start..self.end];
                self.start = self.end;
                let terminated = false;
                return Ok((!text.is_empty()).then_some(Line { text, terminated }));
            }
        }
    }

    /// Reads more behind what is there, which comes to the front.
    #[cold]
    fn fill(&mut self) -> Result<usize, Undecided> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end > MAX_LINE_BYTES {
            return Err(Undecided::Unreadable);
        }
        if self.buffer.len() - self.end < CHUNK_BYTES {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let space = &mut self.buffer[self.end..self.end + CHUNK_BYTES];
        loop {
            match self.reader.read(space) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Undecided::Unreadable),
            }
        }
    }
}
