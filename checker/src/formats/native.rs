//! Our own format for what clients observed, in which nothing is lost. Its grammar is in the documentation of
//! [`formats`](super).

use std::collections::HashMap;
use std::io::{self, Write};

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use crate::observed::{Interval, Key, Observed, ObservedFault, Op, Outcome, TxnIndex, Value};

const HEADER: &[u8] = b"co-observed ";

#[inline]
const fn is_name(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b'=' | b',' | b'[' | b']' | b'~' | 0x7f)
}

pub(super) fn read(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut reader = Reader {
        collector: Collector::new(name, scanner.limits()),
        sessions: HashMap::new(),
        list: Vec::new(),
        scanner,
    };
    reader.header()?;
    while reader.line()? {}
    reader
        .scanner
        .skip_while(|byte| matches!(byte, b'\r' | b'\n'))?;
    if reader.scanner.peek()?.is_some() {
        return Err(FormatFault::AfterEnd);
    }
    Ok(reader.collector.finish())
}

struct Reader<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    collector: Collector,
    /// Sessions are renumbered densely, in the order in which they come.
    sessions: HashMap<u64, u32>,
    list: Vec<Value>,
}

impl Reader<'_, '_> {
    fn header(&mut self) -> Result<(), FormatFault> {
        for byte in HEADER {
            self.scanner.expect(*byte, "the header `co-observed 1`")?;
        }
        self.scanner.start_token("");
        self.scanner
            .extend_token(|byte| !matches!(byte, b'\r' | b'\n'))?;
        if self.scanner.token() != b"1" {
            let found = self.scanner.token_text()?.to_owned();
            return Err(FormatFault::Version { found });
        }
        self.scanner.take(b'\r')?;
        self.scanner.expect(b'\n', "the end of the header")
    }

    /// Reads a line; false if it was the footer.
    fn line(&mut self) -> Result<bool, FormatFault> {
        let outcome = match self.scanner.peek()? {
            Some(b'\r' | b'\n') => {
                self.scanner.bump();
                return Ok(true);
            }
            Some(b'#') => {
                self.scanner.skip_while(|byte| byte != b'\n')?;
                return Ok(true);
            }
            Some(b'e') => return self.footer(),
            Some(b'c') => Outcome::Committed,
            Some(b'a') => Outcome::Aborted,
            Some(b'u') => Outcome::Unknown,
            _ => {
                let expected = "a transaction (c, a or u) or the footer `end <count>`";
                return Err(self.scanner.unexpected(expected));
            }
        };
        self.scanner.bump();
        self.scanner.expect(b' ', "a space and a session")?;
        let session = self.session()?;
        self.scanner.expect(b' ', "a space and an interval")?;
        let interval = self.interval()?;
        while self.scanner.take(b' ')? {
            self.op()?;
        }
        let line = self.scanner.line_number();
        self.scanner.take(b'\r')?;
        self.scanner
            .expect(b'\n', "an operation or the end of the line")?;
        self.collector.end(session, outcome, interval, line)?;
        Ok(true)
    }

    fn footer(&mut self) -> Result<bool, FormatFault> {
        for byte in b"end " {
            self.scanner.expect(*byte, "the footer `end <count>`")?;
        }
        let stated = self.number("the number of transactions")?;
        if !matches!(self.scanner.peek()?, None | Some(b'\r' | b'\n')) {
            return Err(self.scanner.unexpected("the end of the footer"));
        }
        let counted = self.collector.transactions();
        if stated != counted {
            return Err(FormatFault::FooterMismatch { stated, counted });
        }
        Ok(false)
    }

    fn number(&mut self, expected: &'static str) -> Result<u64, FormatFault> {
        match self.scanner.digits()? {
            Some(number) => Ok(number),
            None => Err(self.scanner.unexpected(expected)),
        }
    }

    fn session(&mut self) -> Result<Option<u32>, FormatFault> {
        if self.scanner.take(b'-')? {
            return Ok(None);
        }
        let said = self.number("a session, a whole number or -")?;
        let next = u32::try_from(self.sessions.len());
        let next = next.map_err(|_| ObservedFault::TooLarge("sessions"))?;
        Ok(Some(*self.sessions.entry(said).or_insert(next)))
    }

    fn interval(&mut self) -> Result<Option<Interval>, FormatFault> {
        if self.scanner.take(b'-')? {
            return Ok(None);
        }
        let begin = self.time("when the transaction began, or -")?;
        self.scanner.expect(b'.', ".. between begin and end")?;
        self.scanner.expect(b'.', ".. between begin and end")?;
        let ended = matches!(self.scanner.peek()?, Some(b'0'..=b'9'));
        let end = if ended {
            self.time("when the transaction ended")?
        } else {
            u32::MAX
        };
        if end < begin {
            return Err(FormatFault::Record("the transaction ended before it began"));
        }
        Ok(Some(Interval { begin, end }))
    }

    /// A time below the largest, which means never.
    fn time(&mut self, expected: &'static str) -> Result<u32, FormatFault> {
        let time = self.number(expected)?;
        let time = u32::try_from(time).ok().filter(|time| *time < u32::MAX);
        time.ok_or(FormatFault::Record(
            "a time is not below 2^32 - 1; number the times from zero",
        ))
    }

    fn op(&mut self) -> Result<(), FormatFault> {
        let expected = "an operation: r:key=value, w:, l:, a: or u:";
        let Some(letter @ (b'r' | b'w' | b'l' | b'a' | b'u')) = self.scanner.peek()? else {
            return Err(self.scanner.unexpected(expected));
        };
        self.scanner.bump();
        self.scanner.expect(b':', expected)?;
        let key = self.key()?;
        if letter == b'u' {
            return self.collector.unseen(key);
        }
        self.scanner.expect(b'=', "= and a value")?;
        match letter {
            b'r' if self.scanner.take(b'~')? => self.collector.read(key, None),
            b'r' => {
                let value = self.value()?;
                self.collector.read(key, Some(value))
            }
            b'w' => {
                let value = self.value()?;
                self.collector.write(key, value)
            }
            b'a' => {
                let value = self.value()?;
                self.collector.append(key, value)
            }
            _ => self.list(key),
        }
    }

    fn list(&mut self, key: Key) -> Result<(), FormatFault> {
        self.scanner.expect(b'[', "a list in brackets")?;
        self.list.clear();
        if !self.scanner.take(b']')? {
            loop {
                let value = self.value()?;
                self.collector.spend(1)?;
                self.list.push(value);
                if self.scanner.take(b']')? {
                    break;
                }
                self.scanner.expect(b',', "a comma or the end of a list")?;
            }
        }
        self.collector.refund(self.list.len() as u64);
        self.collector.read_list(key, &self.list)
    }

    fn key(&mut self) -> Result<Key, FormatFault> {
        let name = self.name("a key")?;
        self.collector.key_of(name, self.scanner)
    }

    fn value(&mut self) -> Result<Value, FormatFault> {
        let name = self.name("a value")?;
        self.collector.value_of(name, self.scanner)
    }

    /// A number, or else a name into the token, unescaped.
    #[inline]
    fn name(&mut self, expected: &'static str) -> Result<Option<u64>, FormatFault> {
        let number = self.scanner.word(is_name, expected)?;
        if number.is_some() {
            return Ok(number);
        }
        if self.scanner.token().contains(&b'%') && !self.scanner.unescape_token() {
            return Err(self.scanner.unexpected_token("a name, escaped as %HH"));
        }
        Ok(None)
    }
}

/// Writes a history.
pub(super) fn write(history: &Observed, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"co-observed 1\n")?;
    let mut line = String::new();
    for index in history.indexes() {
        line.clear();
        write_txn(history, index, &mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    writeln!(out, "end {}", history.txns().len())
}

fn write_txn(history: &Observed, index: TxnIndex, line: &mut String) {
    use std::fmt::Write as _;

    let txn = history.txn(index);
    line.push(match txn.outcome {
        Outcome::Committed => 'c',
        Outcome::Aborted => 'a',
        Outcome::Unknown => 'u',
    });
    // Writing to a string cannot fail.
    let written = match txn.session {
        Some(session) => write!(line, " {}", session.0),
        None => write!(line, " -"),
    };
    debug_assert!(written.is_ok());
    let written = match txn.interval {
        Some(Interval {
            begin,
            end: u32::MAX,
        }) => write!(line, " {begin}.."),
        Some(Interval { begin, end }) => write!(line, " {begin}..{end}"),
        None => write!(line, " -"),
    };
    debug_assert!(written.is_ok());
    for op in history.ops(index) {
        line.push_str(match op {
            Op::Read { .. } => " r:",
            Op::Write { .. } => " w:",
            Op::ReadList { .. } => " l:",
            Op::Append { .. } => " a:",
            Op::Unseen { .. } => " u:",
        });
        escape(history.key_name(op.key()), line);
        match op {
            Op::Read { value: None, .. } => line.push_str("=~"),
            Op::Read {
                value: Some(value), ..
            }
            | Op::Write { value, .. }
            | Op::Append { value, .. } => {
                line.push('=');
                escape(&history.value_name(*value), line);
            }
            Op::ReadList { elements, .. } => {
                line.push_str("=[");
                for (place, value) in history.elements(*elements).iter().enumerate() {
                    if place > 0 {
                        line.push(',');
                    }
                    escape(&history.value_name(*value), line);
                }
                line.push(']');
            }
            Op::Unseen { .. } => {}
        }
    }
}

/// Adds a name to a line.
fn escape(name: &str, line: &mut String) {
    use std::fmt::Write as _;

    if name.is_empty() {
        line.push('%');
    }
    for c in name.chars() {
        let plain = match u8::try_from(c) {
            Ok(byte @ 0..0x80) => is_name(byte) && byte != b'%',
            _ => !c.is_whitespace() && !c.is_control(),
        };
        if plain {
            line.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let written = write!(line, "%{byte:02X}");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }
}
