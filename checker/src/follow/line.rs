//! Reads the common form of a line without making anything of it but numbers: a commit with reads and installs.
//!
//! Everything else, faults included, is left to [`parse`](crate::parse), which has the words for it.

use crate::history::TxnId;
use crate::index::Install;

/// A commit whose operations are neither scans nor malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) txn: TxnId,
    pub(crate) stamp: Option<u64>,
    pub(crate) seq: Option<u64>,
}

/// An operation, with its key as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written<'a> {
    Read { key: &'a [u8], version: u64 },
    Install { key: &'a [u8], how: Install },
}

/// Reads a line, and calls `each` with its operations; `None` if the line is of another form.
pub(crate) fn commit<'a>(line: &'a [u8], mut each: impl FnMut(Written<'a>)) -> Option<Head> {
    let rest = line.strip_prefix(b"c ")?;
    let (&letter, rest) = rest.split_first()?;
    let (number, rest) = number(rest)?;
    let txn = match letter {
        b'G' => TxnId::Global(number),
        b'L' => TxnId::Local(number),
        _ => return None,
    };
    let (stamp, rest) = optional(rest.strip_prefix(b" ")?)?;
    let (seq, mut rest) = optional(rest.strip_prefix(b" ")?)?;
    while let [b' ', kind, b':', after @ ..] = rest {
        let length = after
            .iter()
            .position(|&byte| !is_plain(byte))
            .unwrap_or(after.len());
        let (key, after) = after.split_at(length);
        let how = match kind {
            b'r' => {
                let (version, after) = self::number(after.strip_prefix(b"@")?)?;
                each(Written::Read { key, version });
                rest = after;
                continue;
            }
            b'w' => Install::Write,
            b'x' => Install::Delete,
            b'i' => Install::Increment,
            _ => return None,
        };
        each(Written::Install { key, how });
        rest = after;
    }
    rest.is_empty().then_some(Head { txn, stamp, seq })
}

/// Whether the byte stands for itself in a key.
const fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte: u8 = 0x21;
        while byte < 0x7f {
            plain[byte as usize] =
                !matches!(byte, b'%' | b':' | b'@' | b'[' | b']' | b',' | b'.' | b'#');
            byte += 1;
        }
        plain
    };
    PLAIN[byte as usize]
}

fn optional(text: &[u8]) -> Option<(Option<u64>, &[u8])> {
    match text.strip_prefix(b"-") {
        Some(rest) => Some((None, rest)),
        None => number(text).map(|(number, rest)| (Some(number), rest)),
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    let mut length = 0;
    while let Some(digit) = text.get(length).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        length += 1;
    }
    (length > 0).then(|| (value, &text[length..]))
}
