//! JSON, byte by byte. Nothing recurses, and nothing is held but one string.

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use crate::observed::{Key, Value};

#[inline]
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

/// Whether a byte is of a number or a word.
#[inline]
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
}

/// A value that is neither an array nor an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Null,
    /// A whole number of at most 18 digits.
    Number(u64),
    /// Something else, whose name is the token. A string is its content, unless it could be taken for something
    /// else without its quotes.
    Name,
    /// An array or an object, of which nothing was consumed.
    Collection,
}

impl Scalar {
    pub(super) fn key(
        self,
        scanner: &Scanner<'_>,
        collector: &mut Collector,
    ) -> Result<Option<Key>, FormatFault> {
        match self {
            Self::Number(number) => collector.key_of(Some(number), scanner).map(Some),
            Self::Name => collector.key_of(None, scanner).map(Some),
            Self::Null | Self::Collection => Ok(None),
        }
    }

    pub(super) fn value(
        self,
        scanner: &Scanner<'_>,
        collector: &mut Collector,
    ) -> Result<Option<Value>, FormatFault> {
        match self {
            Self::Number(number) => collector.value_of(Some(number), scanner).map(Some),
            Self::Name => collector.value_of(None, scanner).map(Some),
            Self::Null | Self::Collection => Ok(None),
        }
    }
}

/// A position between the parts of an array or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    first: bool,
}

impl Scanner<'_> {
    /// Skips white space, and shows what comes next.
    #[inline]
    pub(super) fn json_space(&mut self) -> Result<Option<u8>, FormatFault> {
        self.skip_while(is_space)
    }

    #[inline]
    pub(super) fn json_next(&mut self, expected: &'static str) -> Result<u8, FormatFault> {
        match self.json_space()? {
            Some(byte) => Ok(byte),
            None => Err(FormatFault::CutShort { expected }),
        }
    }

    /// Consumes the bracket or brace that begins something with parts.
    pub(super) fn json_open(
        &mut self,
        byte: u8,
        expected: &'static str,
    ) -> Result<Parts, FormatFault> {
        self.json_space()?;
        self.expect(byte, expected)?;
        Ok(Parts { first: true })
    }

    /// Goes to the next element of an array; false, and the array is consumed, if there is none.
    #[inline]
    pub(super) fn json_element(&mut self, parts: &mut Parts) -> Result<bool, FormatFault> {
        self.json_part(parts, b']', "a comma or the end of an array")
    }

    /// Goes to the next member of an object, whose name is then the token; false, and the object is consumed, if
    /// there is none.
    pub(super) fn json_member(&mut self, parts: &mut Parts) -> Result<bool, FormatFault> {
        if !self.json_part(parts, b'}', "a comma or the end of an object")? {
            return Ok(false);
        }
        if self.json_next("the name of a member")? != b'"' {
            return Err(self.unexpected("the name of a member, in quotes"));
        }
        self.json_string()?;
        self.json_space()?;
        self.expect(b':', "a colon after the name of a member")?;
        Ok(true)
    }

    fn json_part(
        &mut self,
        parts: &mut Parts,
        closer: u8,
        expected: &'static str,
    ) -> Result<bool, FormatFault> {
        if self.json_next(expected)? == closer {
            self.bump();
            return Ok(false);
        }
        if !parts.first {
            self.expect(b',', expected)?;
            if self.json_next("what follows a comma")? == closer {
                return Err(self.unexpected("what follows a comma"));
            }
        }
        parts.first = false;
        Ok(true)
    }

    /// A value that is no collection.
    #[inline]
    pub(super) fn json_scalar(&mut self) -> Result<Scalar, FormatFault> {
        match self.json_next("a value")? {
            b'[' | b'{' => return Ok(Scalar::Collection),
            b'"' => {
                self.json_string()?;
                if is_ambiguous(self.token()) {
                    self.wrap_token(b'"')?;
                }
                return Ok(Scalar::Name);
            }
            b'0'..=b'9' => {
                if let Some(number) = self.digits()? {
                    match self.peek()? {
                        Some(next) if is_word(next) => self.start_token(&number.to_string()),
                        _ => return Ok(Scalar::Number(number)),
                    }
                }
            }
            _ => self.start_token(""),
        }
        self.extend_token(is_word)?;
        match self.token() {
            b"" => Err(self.unexpected("a value")),
            b"null" => Ok(Scalar::Null),
            b"true" | b"false" => Ok(Scalar::Name),
            [b'-' | b'0'..=b'9', ..] => Ok(Scalar::Name),
            _ => Err(self.unexpected_token("a value")),
        }
    }

    /// A string into the token, unescaped.
    pub(super) fn json_string(&mut self) -> Result<(), FormatFault> {
        self.bump();
        self.start_token("");
        loop {
            self.extend_token(|byte| byte != b'"' && byte != b'\\')?;
            match self.peek()? {
                Some(b'"') => {
                    self.bump();
                    return Ok(());
                }
                Some(_) => {
                    self.bump();
                    self.json_escape()?;
                }
                None => return Err(self.unexpected("the end of a string")),
            }
        }
    }

    /// What follows a backslash.
    fn json_escape(&mut self) -> Result<(), FormatFault> {
        let byte = self.peek()?;
        let plain = match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.bump();
                return self.json_unicode();
            }
            _ => return Err(self.unexpected("an escape in a string")),
        };
        self.bump();
        self.push_token(plain)
    }

    fn json_unicode(&mut self) -> Result<(), FormatFault> {
        let mut code = self.json_hex()?;
        if (0xd800..0xdc00).contains(&code) {
            self.expect(b'\\', "the second half of a surrogate pair")?;
            self.expect(b'u', "the second half of a surrogate pair")?;
            let low = self.json_hex()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(FormatFault::NotUtf8);
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        let c = char::from_u32(code).ok_or(FormatFault::NotUtf8)?;
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            self.push_token(byte)?;
        }
        Ok(())
    }

    fn json_hex(&mut self) -> Result<u32, FormatFault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek()?.and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("four hexadecimal digits"));
            };
            self.bump();
            code = code * 16 + digit;
        }
        Ok(code)
    }

    /// Skips a value, whatever it is.
    pub(super) fn json_skip(&mut self) -> Result<(), FormatFault> {
        let mut closers: Vec<u8> = Vec::new();
        loop {
            match self.json_next("the rest of a value")? {
                b'"' => self.json_skip_string()?,
                open @ (b'[' | b'{') => {
                    self.bump();
                    closers.push(if open == b'[' { b']' } else { b'}' });
                    let limit = self.limits().depth;
                    if closers.len() > limit {
                        return Err(FormatFault::TooDeep { limit });
                    }
                    continue;
                }
                byte @ (b']' | b'}') => {
                    if closers.pop() != Some(byte) {
                        return Err(self.unexpected("a value"));
                    }
                    self.bump();
                }
                b',' | b':' if !closers.is_empty() => {
                    self.bump();
                    continue;
                }
                byte if is_word(byte) => {
                    self.skip_while(is_word)?;
                }
                _ => return Err(self.unexpected("a value")),
            }
            if closers.is_empty() {
                return Ok(());
            }
        }
    }

    fn json_skip_string(&mut self) -> Result<(), FormatFault> {
        self.bump();
        loop {
            match self.skip_while(|byte| byte != b'"' && byte != b'\\')? {
                Some(b'"') => {
                    self.bump();
                    return Ok(());
                }
                Some(_) => {
                    self.bump();
                    if self.peek()?.is_some() {
                        self.bump();
                    }
                }
                None => return Err(self.unexpected("the end of a string")),
            }
        }
    }
}

/// Whether a string could be taken for something else if it stood without quotes.
pub(super) fn is_ambiguous(text: &[u8]) -> bool {
    matches!(
        text,
        b"" | b"true" | b"false" | b"null" | b"nil" | [b'-' | b'+' | b'"' | b'0'..=b'9', ..]
    )
}
