//! Bytes of a history, one after another, with their line.
//!
//! - **S1** Memory is bounded: one buffer of fixed size, and one token of at most [`Limits::token_bytes`].
//! - **S2** `line` is the line of the byte that comes next, because whatever consumes bytes counts line feeds.

use std::io::Read;

use super::Limits;
use super::error::FormatFault;
use super::source::fault_of;

/// The size of the buffer.
const CHUNK: usize = 128 << 10;

/// The longest piece of input that a message quotes.
const QUOTED: usize = 40;

pub(super) struct Scanner<'r> {
    reader: &'r mut dyn Read,
    buffer: Vec<u8>,
    /// The byte that comes next.
    next: usize,
    /// How many bytes of the buffer are filled.
    filled: usize,
    line: u64,
    /// How many bytes were in the buffer before this filling.
    before: u64,
    /// The token that was read last.
    token: Vec<u8>,
    limits: Limits,
}

impl<'r> Scanner<'r> {
    pub(super) fn new(reader: &'r mut dyn Read, limits: Limits) -> Self {
        Self {
            reader,
            buffer: vec![0; CHUNK],
            next: 0,
            filled: 0,
            line: 1,
            before: 0,
            token: Vec::new(),
            limits,
        }
    }

    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    /// The line in 32 bits, as transactions keep it.
    pub(super) fn line_number(&self) -> u32 {
        u32::try_from(self.line).unwrap_or(u32::MAX)
    }

    pub(super) const fn offset(&self) -> u64 {
        self.before + self.next as u64
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The next byte, which stays the next.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Option<u8>, FormatFault> {
        if self.next < self.filled {
            return Ok(Some(self.buffer[self.next]));
        }
        self.fill()
    }

    #[cold]
    fn fill(&mut self) -> Result<Option<u8>, FormatFault> {
        self.before += self.filled as u64;
        self.next = 0;
        self.filled = 0;
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.filled = count;
                    return Ok(Some(self.buffer[0]));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault_of(error)),
            }
        }
    }

    /// Consumes the byte that [`peek`](Self::peek) has shown.
    #[inline]
    pub(super) fn bump(&mut self) {
        debug_assert!(self.next < self.filled, "peek has shown a byte");
        self.line += u64::from(self.buffer[self.next] == b'\n');
        self.next += 1;
    }

    /// Consumes bytes as long as `is` holds for them, and shows the next.
    #[inline]
    pub(super) fn skip_while(
        &mut self,
        is: impl Fn(u8) -> bool,
    ) -> Result<Option<u8>, FormatFault> {
        loop {
            while self.next < self.filled {
                let byte = self.buffer[self.next];
                if !is(byte) {
                    return Ok(Some(byte));
                }
                self.line += u64::from(byte == b'\n');
                self.next += 1;
            }
            if self.fill()?.is_none() {
                return Ok(None);
            }
        }
    }

    /// Consumes `byte` if it is the next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, FormatFault> {
        let is = self.peek()? == Some(byte);
        if is {
            self.bump();
        }
        Ok(is)
    }

    /// Consumes `bytes`, which have no line feed, if they are next and in the buffer; so false says nothing.
    #[inline]
    pub(super) fn take_all(&mut self, bytes: &[u8]) -> bool {
        let are = self.buffer[self.next..self.filled].starts_with(bytes);
        if are {
            self.next += bytes.len();
        }
        are
    }

    /// Consumes `byte`, which has to be the next.
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), FormatFault> {
        if self.take(byte)? {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// A number of at most 18 digits in its shortest form; what follows is for the caller to look at. Nothing is
    /// consumed if no digit is next. A leading zero is a number of its own.
    #[inline]
    pub(super) fn digits(&mut self) -> Result<Option<u64>, FormatFault> {
        let Some(first @ b'0'..=b'9') = self.peek()? else {
            return Ok(None);
        };
        self.next += 1;
        let mut number = u64::from(first - b'0');
        if number == 0 {
            return Ok(Some(0));
        }
        for _ in 1..18 {
            let Some(byte @ b'0'..=b'9') = self.peek()? else {
                break;
            };
            number = number * 10 + u64::from(byte - b'0');
            self.next += 1;
        }
        Ok(Some(number))
    }

    /// Starts a token that begins with what was consumed already.
    pub(super) fn start_token(&mut self, begin: &str) {
        self.token.clear();
        self.token.extend_from_slice(begin.as_bytes());
    }

    /// Consumes bytes into the token as long as `is` holds for them.
    #[inline]
    pub(super) fn extend_token(&mut self, is: impl Fn(u8) -> bool) -> Result<(), FormatFault> {
        while self.peek()?.is_some() {
            let rest = &self.buffer[self.next..self.filled];
            let end = rest.iter().position(|byte| !is(*byte));
            let taken = &rest[..end.unwrap_or(rest.len())];
            if self.token.len() + taken.len() > self.limits.token_bytes {
                return Err(FormatFault::TokenTooLong {
                    limit: self.limits.token_bytes,
                });
            }
            self.token.extend_from_slice(taken);
            let feeds = taken.iter().filter(|byte| **byte == b'\n').count();
            self.line += feeds as u64;
            self.next += taken.len();
            if end.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// A number of [`digits`](Self::digits) that no byte of a word follows, or else a word into the token: at least one
    /// byte for which `is` holds.
    #[inline]
    pub(super) fn word(
        &mut self,
        is: impl Fn(u8) -> bool + Copy,
        expected: &'static str,
    ) -> Result<Option<u64>, FormatFault> {
        match self.digits()? {
            Some(number) => match self.peek()? {
                Some(byte) if is(byte) => self.start_token(&number.to_string()),
                _ => return Ok(Some(number)),
            },
            None => self.start_token(""),
        }
        self.extend_token(is)?;
        if self.token.is_empty() {
            return Err(self.unexpected(expected));
        }
        Ok(None)
    }

    /// Adds a byte to the token.
    #[inline]
    pub(super) fn push_token(&mut self, byte: u8) -> Result<(), FormatFault> {
        if self.token.len() >= self.limits.token_bytes {
            return Err(FormatFault::TokenTooLong {
                limit: self.limits.token_bytes,
            });
        }
        self.token.push(byte);
        Ok(())
    }

    /// Puts `quote` around the token.
    pub(super) fn wrap_token(&mut self, quote: u8) -> Result<(), FormatFault> {
        self.push_token(quote)?;
        self.token.insert(0, quote);
        Ok(())
    }

    pub(super) fn token(&self) -> &[u8] {
        &self.token
    }

    /// The token as text.
    pub(super) fn token_text(&self) -> Result<&str, FormatFault> {
        std::str::from_utf8(&self.token).map_err(|_| FormatFault::NotUtf8)
    }

    /// The token is not what it should be.
    pub(super) fn unexpected_token(&self, expected: &'static str) -> FormatFault {
        FormatFault::Expected {
            expected,
            found: quote(&self.token),
        }
    }

    /// What comes next is not what should.
    #[cold]
    pub(super) fn unexpected(&mut self, expected: &'static str) -> FormatFault {
        match self.peek() {
            Err(fault) => fault,
            Ok(None) => FormatFault::CutShort { expected },
            Ok(Some(_)) => {
                let rest = &self.buffer[self.next..self.filled];
                let end = rest.iter().position(|byte| *byte == b'\n');
                let rest = &rest[..end.unwrap_or(rest.len()).max(1)];
                FormatFault::Expected {
                    expected,
                    found: quote(rest),
                }
            }
        }
    }

    /// Consumes exactly so many bytes.
    pub(super) fn exactly<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], FormatFault> {
        let mut bytes = [0; N];
        for slot in &mut bytes {
            let Some(byte) = self.peek()? else {
                return Err(FormatFault::CutShort { expected });
            };
            self.bump();
            *slot = byte;
        }
        Ok(bytes)
    }
}

/// The beginning of `bytes`, for a message.
pub(super) fn quote(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(QUOTED)];
    let mut text = String::from_utf8_lossy(shown).into_owned();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

impl Scanner<'_> {
    /// Undoes `%HH` in the token, and makes nothing of a single `%`; false if it is not escaped well.
    pub(super) fn unescape_token(&mut self) -> bool {
        if self.token == b"%" {
            self.token.clear();
            return true;
        }
        let mut from = 0;
        let mut to = 0;
        while from < self.token.len() {
            let mut byte = self.token[from];
            from += 1;
            if byte == b'%' {
                let digits = self.token.get(from..from + 2);
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(value) = digits.and_then(hex) else {
                    return false;
                };
                byte = value;
                from += 2;
            }
            self.token[to] = byte;
            to += 1;
        }
        self.token.truncate(to);
        true
    }
}

/// Two hexadecimal digits.
fn hex(digits: &str) -> Option<u8> {
    let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
