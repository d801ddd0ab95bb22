//! Byte strings that are written escaped: keys, site names, abort reasons.
//!
//! A token may hold any bytes. In a history file, printable ASCII stands for itself except the
//! characters that the format uses as punctuation (space `%` `:` `@` `[` `]` `,` `.` `#`), and
//! every other byte is `%HH`. [`Display`](fmt::Display) writes that form and [`FromStr`] reads it,
//! so a key looks the same in a file, in a sentence of the report and in a drawing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A byte string that is escaped wherever it is written. Cloning shares the bytes.
///
/// ```
/// use checker::Token;
/// let key = Token::from("acct 3");
/// assert_eq!(key.to_string(), "acct%203");
/// assert_eq!("acct%203".parse::<Token>()?, key);
/// # Ok::<(), checker::TokenFault>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// The bytes, unescaped.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the token has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(Arc::from(text.as_bytes()))
    }
}

impl From<&[u8]> for Token {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for &byte in self.0.iter() {
            if is_plain(byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Token {
    type Err = TokenFault;

    fn from_str(text: &str) -> Result<Self, TokenFault> {
        let bytes = text.as_bytes();
        if bytes.iter().all(|&byte| is_plain(byte)) {
            return Ok(Self(Arc::from(bytes)));
        }
        let mut plain = Vec::with_capacity(bytes.len());
        let mut rest = bytes.iter();
        while let Some(&byte) = rest.next() {
            if byte == b'%' {
                let high = rest.next().and_then(|&digit| hex_value(digit));
                let low = rest.next().and_then(|&digit| hex_value(digit));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(TokenFault::BadEscape);
                };
                plain.push(high << 4 | low);
            } else if is_plain(byte) {
                plain.push(byte);
            } else {
                return Err(TokenFault::MustBeEscaped { byte });
            }
        }
        Ok(Self(Arc::from(plain)))
    }
}

/// Why a text is not an escaped token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// A `%` is not followed by two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits")]
    BadEscape,
    /// A byte stands for itself that the format reserves or that is not printable ASCII.
    #[error("byte 0x{byte:02X} must be written as %{byte:02X}")]
    MustBeEscaped {
        /// The offending byte.
        byte: u8,
    },
}

/// Whether the byte stands for itself in an escaped token.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E)
        && !matches!(byte, b'%' | b':' | b'@' | b'[' | b']' | b',' | b'.' | b'#')
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_escaping() {
        let all: Vec<u8> = (0..=255).collect();
        let token = Token::from(all.as_slice());
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
    }

    #[test]
    fn an_escape_needs_two_hexadecimal_digits() {
        for text in ["%", "%4", "%4g", "a%zz"] {
            assert_eq!(text.parse::<Token>(), Err(TokenFault::BadEscape), "{text}");
        }
    }

    #[test]
    fn punctuation_of_the_format_must_be_escaped() {
        for byte in *b" :@[],.#" {
            let text = char::from(byte).to_string();
            assert_eq!(
                text.parse::<Token>(),
                Err(TokenFault::MustBeEscaped { byte })
            );
        }
        assert!("é".parse::<Token>().is_err());
    }
}
