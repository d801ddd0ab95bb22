//! What a file is, by how it begins.

use super::Format;

/// Which format begins like this; `start` should be a few kilobytes, decompressed.
///
/// ```
/// use checker::formats::{Format, detect};
///
/// assert_eq!(detect(b"w(1,1,0,0)\n"), Some(Format::Text));
/// assert_eq!(detect(b"{:type :ok, :value [[:r :x 1]]}"), Some(Format::ElleEdn));
/// assert_eq!(detect(b"co-history 1 A\n"), Some(Format::SitedHistory));
/// assert_eq!(detect(b"GIF89a"), None);
/// ```
#[must_use]
pub fn detect(start: &[u8]) -> Option<Format> {
    if start.starts_with(b"co-history ") {
        return Some(Format::SitedHistory);
    }
    if start.starts_with(b"co-observed ") {
        return Some(Format::Native);
    }
    if is_bincode(start) {
        return Some(Format::DbcopBincode);
    }
    if is_cobra(start) {
        return Some(Format::Cobra);
    }
    if is_vbox(start) {
        return Some(Format::Vbox);
    }
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let content = content(start);
    match content {
        [b'r' | b'w', rest @ ..] if trimmed(rest).first() == Some(&b'(') => Some(Format::Text),
        [b'{' | b'[' | b'(' | b'#' | b'^', ..] => Some(structured(content)?),
        [b'-', ..] => has(content, b"[").then_some(Format::DbcopHist),
        _ => None,
    }
}

/// What follows white space and comments.
fn content(mut start: &[u8]) -> &[u8] {
    loop {
        start = trimmed(start);
        let comment = start.starts_with(b";")
            || start.starts_with(b"//")
            || (start.starts_with(b"# ") || start.starts_with(b"##"));
        if !comment {
            return start;
        }
        let end = start.iter().position(|byte| *byte == b'\n');
        start = &start[end.unwrap_or(start.len())..];
    }
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && (first.is_ascii_whitespace() || *first == b',')
    {
        bytes = rest;
    }
    bytes
}

/// Text with brackets.
fn structured(content: &[u8]) -> Option<Format> {
    let inner = trimmed(content.get(1..)?);
    if content[0] == b'[' && inner.first().is_some_and(|byte| is_variable(*byte)) {
        let name_end = inner.iter().position(|byte| !is_variable(*byte))?;
        let operator = &inner[name_end..];
        if operator.starts_with(b":=") || operator.starts_with(b"==") {
            return Some(Format::DbcopHist);
        }
    }
    let any = |words: &[&[u8]]| words.iter().any(|word| has(content, word));
    if any(&[b"\"sts\"", b"\"cts\""]) && has(content, b"\"p\"") {
        return Some(Format::TimeKiller);
    }
    let begins = |word: &[u8]| inner.starts_with(word);
    if content[0] == b'{'
        && (begins(b"\"value\"") || begins(b"\"preBeginTS\""))
        && !has(content, b"\"type\"")
    {
        return Some(Format::Viper);
    }
    if any(&[b":type", b":process", b":value"]) {
        return Some(Format::ElleEdn);
    }
    if any(&[b"\"events\"", b"\"variable\"", b"\"params\""]) && !has(content, b"\"type\"") {
        return Some(Format::DbcopJson);
    }
    if any(&[b"\"type\"", b"\"process\"", b"\"value\""]) {
        return Some(Format::ElleJson);
    }
    None
}

const fn is_variable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Five counts, then a string, then a string that begins with a year.
fn is_bincode(start: &[u8]) -> bool {
    let Some(length) = number(start, 40).and_then(|length| usize::try_from(length).ok()) else {
        return false;
    };
    let counts = (0..5).all(|place| number(start, place * 8).is_some_and(|count| count < 1 << 40));
    let date = 48_usize.saturating_add(length);
    counts
        && length < 4096
        && number(start, date).is_some_and(|length| (19..=64).contains(&length))
        && start
            .get(date + 8..date + 12)
            .is_some_and(|year| year.iter().all(u8::is_ascii_digit))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The start of a transaction, and its first record or its end.
fn is_cobra(start: &[u8]) -> bool {
    start.first() == Some(&b'S')
        && start.get(1) == Some(&0)
        && matches!(start.get(9), Some(b'R' | b'W' | b'C'))
}

/// A transaction that ran for some time, and its first record.
fn is_vbox(start: &[u8]) -> bool {
    let runs = number(start, 5).zip(number(start, 13));
    start.first() == Some(&b'T')
        && runs.is_some_and(|(begin, end)| begin <= end)
        && matches!(start.get(21), Some(b'S' | b'R' | b'W' | b'P' | b'C' | b'A'))
}
