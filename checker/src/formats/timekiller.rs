//! Reads the histories of TimeKiller (Chronos, and Aion's batches): JSON with start and commit timestamps.
//!
//! ```text
//! history     = [ transaction, ... ]
//! transaction = { "tid": id, "sid": id, "sts": time, "cts": time, "ops": [ operation, ... ] }
//! time        = { "p": physical, "l": logical }             ordered by p, then l; integers, or the same in quotes
//! operation   = { "t": "w" | "write" | "r" | "read",   "k": key, "v": value or null }        registers
//!             | { "t": "a" | "append",                 "k": key, "v": value }                lists
//!             | { "t": "r" | "read",                   "k": key, "v": [ value, ... ] or null }
//! ```
//!
//! Members come in any order, other ones (Aion's `rtts`) are skipped, the case of `t` does not matter, and a `v` that is
//! null may be left out. The layout is that of the README of FertileFragrance/TimeKiller (commits 0757fee and 7b6f89d),
//! of its readers (`SIKVFastReader`, `SIListFastReader`) and of `examples/format-kv.json` and `format-list.json`, which
//! has times in quotes.
//!
//! - **K1** Every transaction committed. Those of a session are in session order, as the README asks.
//! - **K2** A transaction ran from its start timestamp to its commit timestamp: one that had committed before another
//!   started precedes it in real time. TimeKiller's SESSION axiom, that one starts no earlier than the one before it of its
//!   session has committed, is left to the judges.
//! - **K3** null is the initial state, and so is 0, the tool's other choice (`--initial_value`), unless a transaction
//!   wrote 0 to the key.

use std::collections::{HashMap, HashSet};

use super::collector::Collector;
use super::error::FormatFault;
use super::json::Scalar;
use super::scanner::Scanner;
use super::text::mark;
use super::times::Times;
use crate::observed::{Observed, ObservedFault, Outcome, Value};

/// A hybrid logical clock: the physical part, then the logical one.
type Time = (i64, i64);

pub(super) fn read(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut collector = Collector::new(name, scanner.limits());
    let mut reader = Reader {
        initial: collector.numbered_value(0)?,
        collector,
        times: Times::new(),
        ids: HashSet::new(),
        sessions: HashMap::new(),
        written: Vec::new(),
        kind: None,
        list: Vec::new(),
        scanner,
    };
    let mut transactions = reader.scanner.json_open(b'[', "an array of transactions")?;
    while reader.scanner.json_element(&mut transactions)? {
        reader.transaction()?;
    }
    match reader.scanner.json_space()? {
        None => reader.finish(),
        Some(_) => Err(FormatFault::AfterEnd),
    }
}

/// What the keys of a file hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Registers,
    Lists,
}

/// The value of an operation.
enum Seen {
    Nothing,
    One(Value),
    /// What is in `Reader::list`.
    List,
}

struct Reader<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    collector: Collector,
    initial: Value,
    times: Times<Time>,
    /// The identifiers of the transactions.
    ids: HashSet<Box<str>>,
    sessions: HashMap<Box<str>, u32>,
    /// Keys to which the initial value was written.
    written: Vec<bool>,
    kind: Option<Keys>,
    list: Vec<Value>,
}

impl Reader<'_, '_> {
    fn transaction(&mut self) -> Result<(), FormatFault> {
        let expected = "a transaction: an object with tid, sid, sts, cts and ops";
        let mut members = self.scanner.json_open(b'{', expected)?;
        let (mut id, mut session, mut start, mut commit) = (None, None, None, None);
        let mut operations = false;
        while self.scanner.json_member(&mut members)? {
            match self.scanner.token() {
                b"tid" => id = Some(self.identifier()?),
                b"sid" => session = Some(self.identifier()?),
                b"sts" => start = Some(self.time()?),
                b"cts" => commit = Some(self.time()?),
                b"ops" if operations => {
                    return Err(FormatFault::Record("a transaction has ops twice"));
                }
                b"ops" => {
                    operations = true;
                    self.operations()?;
                }
                _ => self.scanner.json_skip()?,
            }
        }
        let (Some(id), Some(session), Some(start), Some(commit), true) =
            (id, session, start, commit, operations)
        else {
            return Err(FormatFault::Record(
                "a transaction needs tid, sid, sts, cts and ops",
            ));
        };
        self.collector.spend(1)?;
        if let Some(txn) = self.ids.replace(id) {
            return Err(FormatFault::Twice { txn: txn.into() });
        }
        let next = u32::try_from(self.sessions.len());
        let next = next.map_err(|_| ObservedFault::TooLarge("sessions"))?;
        let session = *self.sessions.entry(session).or_insert(next);
        self.times
            .push(&mut self.collector, Some((start, Some(commit))))?;
        let line = self.scanner.line_number();
        self.collector
            .end(Some(session), Outcome::Committed, None, line)
    }

    /// A number or a string; 5 and "5" are one.
    fn identifier(&mut self) -> Result<Box<str>, FormatFault> {
        match self.scanner.json_scalar()? {
            Scalar::Number(number) => Ok(number.to_string().into()),
            Scalar::Name => Ok(unquoted(self.scanner.token_text()?).into()),
            Scalar::Null | Scalar::Collection => {
                Err(self.scanner.unexpected("a number or a string"))
            }
        }
    }

    fn time(&mut self) -> Result<Time, FormatFault> {
        let mut members = self
            .scanner
            .json_open(b'{', "a timestamp: an object with p and l")?;
        let (mut physical, mut logical) = (None, None);
        while self.scanner.json_member(&mut members)? {
            match self.scanner.token() {
                b"p" => physical = Some(self.integer()?),
                b"l" => logical = Some(self.integer()?),
                _ => self.scanner.json_skip()?,
            }
        }
        physical
            .zip(logical)
            .ok_or(FormatFault::Record("a timestamp needs p and l"))
    }

    fn integer(&mut self) -> Result<i64, FormatFault> {
        let expected = "an integer of 64 bits";
        let number = match self.scanner.json_scalar()? {
            Scalar::Number(number) => i64::try_from(number).ok(),
            Scalar::Name => unquoted(self.scanner.token_text()?).parse().ok(),
            Scalar::Null | Scalar::Collection => None,
        };
        number.ok_or_else(|| self.scanner.unexpected_token(expected))
    }

    fn operations(&mut self) -> Result<(), FormatFault> {
        let mut operations = self.scanner.json_open(b'[', "an array of operations")?;
        while self.scanner.json_element(&mut operations)? {
            self.operation()?;
        }
        Ok(())
    }

    fn operation(&mut self) -> Result<(), FormatFault> {
        let expected = "an operation: an object with t, k and v";
        let mut members = self.scanner.json_open(b'{', expected)?;
        let (mut letter, mut key, mut seen) = (None, None, Seen::Nothing);
        while self.scanner.json_member(&mut members)? {
            match self.scanner.token() {
                b"t" => letter = Some(self.letter()?),
                b"k" => {
                    let scalar = self.scanner.json_scalar()?;
                    key = scalar.key(self.scanner, &mut self.collector)?;
                }
                b"v" => seen = self.seen()?,
                _ => self.scanner.json_skip()?,
            }
        }
        match (letter.zip(key), seen) {
            (Some((b'w', key)), Seen::One(value)) => {
                self.is_of(Keys::Registers)?;
                if value == self.initial {
                    mark(&mut self.written, key);
                }
                self.collector.write(key, value)
            }
            (Some((b'a', key)), Seen::One(value)) => {
                self.is_of(Keys::Lists)?;
                self.collector.append(key, value)
            }
            (Some((b'r', key)), Seen::Nothing) => self.collector.read(key, None),
            (Some((b'r', key)), Seen::One(value)) => {
                self.is_of(Keys::Registers)?;
                self.collector.read(key, Some(value))
            }
            (Some((b'r', key)), Seen::List) => {
                self.is_of(Keys::Lists)?;
                self.collector.refund(self.list.len() as u64);
                self.collector.read_list(key, &self.list)
            }
            (Some(_), _) => Err(FormatFault::Record(
                "what was written or appended is not one value",
            )),
            (None, _) => Err(FormatFault::Record("an operation needs t and k")),
        }
    }

    /// `w`, `a` or `r`.
    fn letter(&mut self) -> Result<u8, FormatFault> {
        self.scanner.json_scalar()?;
        let word = self.scanner.token().to_ascii_lowercase();
        match word.as_slice() {
            b"w" | b"write" => Ok(b'w'),
            b"a" | b"append" => Ok(b'a'),
            b"r" | b"read" => Ok(b'r'),
            _ => Err(self.scanner.unexpected_token("w, a or r")),
        }
    }

    fn seen(&mut self) -> Result<Seen, FormatFault> {
        let scalar = self.scanner.json_scalar()?;
        if scalar != Scalar::Collection {
            let value = scalar.value(self.scanner, &mut self.collector)?;
            return Ok(value.map_or(Seen::Nothing, Seen::One));
        }
        self.list.clear();
        let mut elements = self
            .scanner
            .json_open(b'[', "a value or an array of them")?;
        while self.scanner.json_element(&mut elements)? {
            let element = self.scanner.json_scalar()?;
            let value = element.value(self.scanner, &mut self.collector)?;
            let missing = FormatFault::Record("an element of a list is not a value");
            self.collector.spend(1)?;
            self.list.push(value.ok_or(missing)?);
        }
        Ok(Seen::List)
    }

    fn is_of(&mut self, keys: Keys) -> Result<(), FormatFault> {
        if *self.kind.get_or_insert(keys) == keys {
            Ok(())
        } else {
            Err(FormatFault::Record(
                "lists and registers in one history; TimeKiller's are of the one or of the other",
            ))
        }
    }

    fn finish(mut self) -> Result<Observed, FormatFault> {
        match self.kind {
            Some(Keys::Lists) => self.collector.reads_of_lists(),
            Some(Keys::Registers) => self.collector.reads_of_initial(self.initial, &self.written),
            None => {}
        }
        self.times.tell(&mut self.collector)?;
        Ok(self.collector.finish())
    }
}

/// A string that could be taken for a number keeps its quotes in a token.
fn unquoted(token: &str) -> &str {
    let inner = token
        .strip_prefix('"')
        .and_then(|token| token.strip_suffix('"'));
    inner.unwrap_or(token)
}
