//! Reads dbcop's histories: its binary form of 2019, its JSON of then and now, and its notation.
//!
//! All of them list sessions, transactions of a session, and events of a transaction. What they have in common is
//! [`Maker`]: version 0 is the initial state of a key unless a committed transaction wrote it.

use super::collector::Collector;
use super::error::FormatFault;
use super::json::Scalar;
use super::scanner::Scanner;
use super::text::mark;
use crate::observed::{Key, Observed, ObservedFault, Outcome, Value};

/// An event of a transaction.
#[derive(Debug, Clone, Copy)]
struct Event {
    writes: bool,
    key: Key,
    /// `None`: the initial state.
    value: Option<Value>,
    success: bool,
}

/// Makes the history of sessions, transactions and events.
struct Maker {
    collector: Collector,
    initial: Value,
    /// Keys to which a committed transaction wrote the initial value.
    written: Vec<bool>,
    session: u32,
    /// Whether the session has a transaction; those without are none.
    used: bool,
    events: Vec<Event>,
    failed: Vec<Event>,
}

impl Maker {
    fn new(scanner: &Scanner<'_>, name: &str) -> Result<Self, FormatFault> {
        let mut collector = Collector::new(name, scanner.limits());
        Ok(Self {
            initial: collector.numbered_value(0)?,
            collector,
            written: Vec::new(),
            session: 0,
            used: false,
            events: Vec::new(),
            failed: Vec::new(),
        })
    }

    fn event(&mut self, event: Event) -> Result<(), FormatFault> {
        self.collector.spend(1)?;
        self.events.push(event);
        Ok(())
    }

    /// Ends a transaction. What did not succeed in a transaction that did is a transaction of its own, aborted.
    fn end_transaction(&mut self, success: bool, line: u32) -> Result<(), FormatFault> {
        self.used = true;
        let events = std::mem::take(&mut self.events);
        self.collector.refund(events.len() as u64);
        self.failed.clear();
        for event in &events {
            match (event.writes, event.value) {
                (true, Some(_)) if success && !event.success => self.failed.push(*event),
                (true, Some(value)) => {
                    if success && value == self.initial {
                        mark(&mut self.written, event.key);
                    }
                    self.collector.write(event.key, value)?;
                }
                (true, None) => {
                    return Err(FormatFault::Record(
                        "a write of no version; a write needs one",
                    ));
                }
                (false, _) if !event.success => {}
                (false, value) => self.collector.read(event.key, value)?,
            }
        }
        self.events = events;
        self.events.clear();
        let outcome = if success {
            Outcome::Committed
        } else {
            Outcome::Aborted
        };
        self.collector
            .end(Some(self.session), outcome, None, line)?;
        if !self.failed.is_empty() {
            for event in &self.failed {
                if let Some(value) = event.value {
                    self.collector.write(event.key, value)?;
                }
            }
            let aborted = Outcome::Aborted;
            self.collector
                .end(Some(self.session), aborted, None, line)?;
        }
        Ok(())
    }

    fn end_session(&mut self) -> Result<(), FormatFault> {
        let next = self.session.checked_add(u32::from(self.used));
        self.session = next.ok_or(ObservedFault::TooLarge("sessions"))?;
        self.used = false;
        Ok(())
    }

    fn finish(mut self) -> Observed {
        self.collector.reads_of_initial(self.initial, &self.written);
        self.collector.finish()
    }
}

/// Reads the binary form: five counts, three strings, then sessions; lengths are 64 bits, little-endian.
pub(super) fn read_bincode(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut maker = Maker::new(scanner, name)?;
    for _ in 0..5 {
        number(scanner, "the parameters of the run")?;
    }
    for _ in 0..3 {
        let length = number(scanner, "the length of a string")?;
        for _ in 0..length {
            byte(scanner, "a string")?;
        }
    }
    let mut entry = 0_u32;
    for _ in 0..number(scanner, "the number of sessions")? {
        for _ in 0..number(scanner, "the number of transactions")? {
            for _ in 0..number(scanner, "the number of events")? {
                let writes = flag(scanner)?;
                let key = number(scanner, "a variable")?;
                let value = number(scanner, "a version")?;
                let success = flag(scanner)?;
                let key = maker.collector.numbered_key(key)?;
                let value = Some(maker.collector.numbered_value(value)?);
                maker.event(Event {
                    writes,
                    key,
                    value,
                    success,
                })?;
            }
            entry = entry.saturating_add(1);
            let success = flag(scanner)?;
            maker.end_transaction(success, entry)?;
        }
        maker.end_session()?;
    }
    match scanner.peek()? {
        None => Ok(maker.finish()),
        Some(_) => Err(FormatFault::AfterEnd),
    }
}

fn number(scanner: &mut Scanner<'_>, expected: &'static str) -> Result<u64, FormatFault> {
    scanner.exactly(expected).map(u64::from_le_bytes)
}

fn byte(scanner: &mut Scanner<'_>, expected: &'static str) -> Result<u8, FormatFault> {
    scanner.exactly(expected).map(|[byte]| byte)
}

fn flag(scanner: &mut Scanner<'_>) -> Result<bool, FormatFault> {
    match byte(scanner, "a flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatFault::Record(
            "a flag is neither 0 nor 1; is this dbcop's binary form?",
        )),
    }
}

/// Reads JSON: sessions, or an object whose `data` they are.
pub(super) fn read_json(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut json = Json {
        maker: Maker::new(scanner, name)?,
        scanner,
    };
    if json.scanner.json_next("sessions")? == b'[' {
        json.sessions()?;
    } else {
        let mut parts = json
            .scanner
            .json_open(b'{', "sessions, or an object with data")?;
        let mut found = false;
        while json.scanner.json_member(&mut parts)? {
            if json.scanner.token() != b"data" {
                json.scanner.json_skip()?;
                continue;
            }
            if found {
                return Err(FormatFault::Record(
                    "two members are called data; give one history a file",
                ));
            }
            found = true;
            json.sessions()?;
        }
        if !found {
            return Err(FormatFault::Record(
                "no member is called data; is this dbcop's JSON?",
            ));
        }
    }
    match json.scanner.json_space()? {
        None => Ok(json.maker.finish()),
        Some(_) => Err(FormatFault::AfterEnd),
    }
}

struct Json<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    maker: Maker,
}

impl Json<'_, '_> {
    fn sessions(&mut self) -> Result<(), FormatFault> {
        let mut sessions = self.scanner.json_open(b'[', "an array of sessions")?;
        while self.scanner.json_element(&mut sessions)? {
            let mut transactions = self.scanner.json_open(b'[', "an array of transactions")?;
            while self.scanner.json_element(&mut transactions)? {
                self.transaction()?;
            }
            self.maker.end_session()?;
        }
        Ok(())
    }

    /// `{"events": [...], "committed": true}`; `success` in older files.
    fn transaction(&mut self) -> Result<(), FormatFault> {
        let expected = "a transaction, that is an object with events";
        let mut parts = self.scanner.json_open(b'{', expected)?;
        let mut success = None;
        while self.scanner.json_member(&mut parts)? {
            match self.scanner.token() {
                b"events" => {
                    let mut events = self.scanner.json_open(b'[', "an array of events")?;
                    while self.scanner.json_element(&mut events)? {
                        let event = self.event()?;
                        self.maker.event(event)?;
                    }
                }
                b"committed" | b"success" => success = Some(self.flag()?),
                _ => self.scanner.json_skip()?,
            }
        }
        let unsaid = FormatFault::Record("a transaction does not say whether it was committed");
        let line = self.scanner.line_number();
        self.maker.end_transaction(success.ok_or(unsaid)?, line)
    }

    fn flag(&mut self) -> Result<bool, FormatFault> {
        self.scanner.json_scalar()?;
        match self.scanner.token() {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(self.scanner.unexpected("true or false")),
        }
    }

    /// `{"Read": {"variable": 0, "version": 1}}`, `["r", 0, 1]`, or `{"write": false, "variable": 0, "value": 1,
    /// "success": true}` in older files.
    fn event(&mut self) -> Result<Event, FormatFault> {
        let mut draft = Draft::default();
        if self.scanner.json_next("an event")? == b'[' {
            let mut parts = self.scanner.json_open(b'[', "an event")?;
            for place in 0..3 {
                if !self.scanner.json_element(&mut parts)? {
                    return Err(self.scanner.unexpected("an event of three parts"));
                }
                match place {
                    0 => {
                        self.scanner.json_scalar()?;
                        draft.writes = match self.scanner.token() {
                            b"r" => Some(false),
                            b"w" => Some(true),
                            _ => return Err(self.scanner.unexpected_token("r or w")),
                        };
                    }
                    1 => draft.key = self.key()?,
                    _ => draft.value = Some(self.value()?),
                }
            }
            if self.scanner.json_element(&mut parts)? {
                return Err(self
                    .scanner
                    .unexpected("the end of an event of three parts"));
            }
            return draft.finish();
        }
        let mut parts = self.scanner.json_open(b'{', "an event")?;
        while self.scanner.json_member(&mut parts)? {
            match self.scanner.token() {
                b"Read" | b"Write" => {
                    draft.writes = Some(self.scanner.token() == b"Write");
                    let mut inner = self.scanner.json_open(b'{', "variable and version")?;
                    while self.scanner.json_member(&mut inner)? {
                        self.member(&mut draft)?;
                    }
                }
                _ => self.member(&mut draft)?,
            }
        }
        draft.finish()
    }

    fn member(&mut self, draft: &mut Draft) -> Result<(), FormatFault> {
        match self.scanner.token() {
            b"variable" => draft.key = self.key()?,
            b"version" | b"value" => draft.value = Some(self.value()?),
            b"write" => draft.writes = Some(self.flag()?),
            b"success" => draft.failed = !self.flag()?,
            _ => self.scanner.json_skip()?,
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Option<Key>, FormatFault> {
        let scalar = self.scanner.json_scalar()?;
        scalar.key(self.scanner, &mut self.maker.collector)
    }

    fn value(&mut self) -> Result<Option<Value>, FormatFault> {
        let scalar = self.scanner.json_scalar()?;
        if scalar == Scalar::Collection {
            return Err(self.scanner.unexpected("a version, or null"));
        }
        scalar.value(self.scanner, &mut self.maker.collector)
    }
}

/// An event of which not all is known.
#[derive(Default)]
struct Draft {
    writes: Option<bool>,
    key: Option<Key>,
    value: Option<Option<Value>>,
    failed: bool,
}

impl Draft {
    fn finish(self) -> Result<Event, FormatFault> {
        match (self.writes, self.key, self.value) {
            (Some(writes), Some(key), Some(value)) => Ok(Event {
                writes,
                key,
                value,
                success: !self.failed,
            }),
            _ => Err(FormatFault::Record(
                "an event needs a variable, a version, and to be a read or a write",
            )),
        }
    }
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Whether a byte is of a variable or a version.
#[inline]
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Reads the notation: `[x:=1 y==2 z==?]`, `!` after a transaction that was not committed, a line of dashes between
/// sessions, `//` before comments.
pub(super) fn read_hist(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut maker = Maker::new(scanner, name)?;
    loop {
        match scanner.skip_while(|byte| is_blank(byte) || byte == b'\n')? {
            None => return Ok(maker.finish()),
            Some(b'/') => {
                scanner.bump();
                scanner.expect(b'/', "the second / of a comment")?;
                scanner.skip_while(|byte| byte != b'\n')?;
            }
            Some(b'-') => {
                scanner.skip_while(|byte| byte == b'-' || is_blank(byte))?;
                if !matches!(scanner.peek()?, None | Some(b'\n')) {
                    return Err(scanner.unexpected("the end of a line of dashes"));
                }
                maker.end_session()?;
            }
            Some(b'[') => {
                scanner.bump();
                while !ends(scanner)? {
                    let event = hist_event(scanner, &mut maker.collector)?;
                    maker.event(event)?;
                }
                let line = scanner.line_number();
                let committed = !scanner.take(b'!')?;
                maker.end_transaction(committed, line)?;
            }
            Some(_) => return Err(scanner.unexpected("a transaction in brackets, or ---")),
        }
    }
}

/// Whether the transaction ends here; if so, its bracket is consumed.
fn ends(scanner: &mut Scanner<'_>) -> Result<bool, FormatFault> {
    scanner.skip_while(is_blank)?;
    scanner.take(b']')
}

fn hist_event(scanner: &mut Scanner<'_>, collector: &mut Collector) -> Result<Event, FormatFault> {
    let name = scanner.word(is_word, "a variable, as in x:=1 or x==1")?;
    let key = collector.key_of(name, scanner)?;
    let writes = match scanner.peek()? {
        Some(b':') => true,
        Some(b'=') => false,
        _ => return Err(scanner.unexpected(":= or ==")),
    };
    scanner.bump();
    scanner.expect(b'=', ":= or ==")?;
    let value = if !writes && scanner.take(b'?')? {
        None
    } else {
        let name = scanner.word(is_word, "a version, a whole number")?;
        Some(collector.value_of(name, scanner)?)
    };
    if !matches!(scanner.peek()?, Some(b' ' | b'\t' | b']')) {
        return Err(scanner.unexpected("a space or the ] of the transaction"));
    }
    Ok(Event {
        writes,
        key,
        value,
        success: true,
    })
}
