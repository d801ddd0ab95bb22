//! Reads the JSON logs of ViperBench, which Viper judges: a folder with a file for each client, `J<number>.log`, and a
//! transaction a line.
//!
//! ```text
//! transaction = { "preBeginTS": time, "postBeginTS": time, "preCommitTS": time, "postCommitTS": time,
//!                 "value": [ operation, ... ], "isInitial": flag, "isFinal": flag }
//! operation   = ["r", key, seen, dead]               | {"opType": "r", "key": key, "value": seen, "isDead": dead}
//!             | ["w", key, value, done]              | {"opType": "w", "key": key, "value": value, "succ": done}
//!             | ["i", key, value, seen, dead, done]  | {"opType": "i", ..., "readValue": seen, ...}
//!             | ["d", key, value, seen, dead, done]  | {"opType": "d", ..., "readValue": seen, ...}
//!             | ["range", low, high, [...], [...]]   | {"opType": "range", ...}
//! ```
//!
//! Only `value` is always there. The layout is that of `JsonLogger`, `JSONMop1` and `JSONMop2` of Khoury-srg/ViperBench
//! (commit 44eb8a2); what operations mean is that of `get_value`, `ext_reads_fn` and `ext_writes_fn` in
//! `cobraplus/utils/range_utils.py` of Khoury-srg/Viper (commit 217ab96). (Viper's EDN logs of appends are Elle's
//! entries, and read as such.)
//!
//! - **P1** What is there committed; an aborted transaction leaves no line.
//! - **P2** `i` and `d` read the key and then write it: a deletion writes a version like any other, a dead one. What was
//!   not done (`succ` is false) wrote nothing.
//! - **P3** 0 is the initial state of a key (`NULL_VALUE`), unless a transaction wrote 0 to it. Viper takes a read of what
//!   no line wrote for one of the initial state as well, because data may have been loaded before; here that is for the
//!   judge to assume ([`Unwritten`](crate::anomaly::Unwritten)), because it would hide reads of what was aborted.
//! - **P4** A transaction ran from `preBeginTS` to `postCommitTS`, if both are there and none is below 0.
//! - **P5** A history with `range` is refused, for the reason for which Vbox's `P` is.

use super::collector::Collector;
use super::error::FormatFault;
use super::json::Scalar;
use super::scanner::Scanner;
use super::text::mark;
use super::times::Times;
use crate::observed::{Key, Observed, Outcome, Value};

/// What the logs of a folder have in common.
pub(super) struct Logs {
    collector: Collector,
    times: Times<u64>,
    initial: Value,
    /// Keys to which the initial value was written.
    written: Vec<bool>,
}

impl Logs {
    pub(super) fn new(mut collector: Collector) -> Result<Self, FormatFault> {
        Ok(Self {
            initial: collector.numbered_value(0)?,
            collector,
            times: Times::new(),
            written: Vec::new(),
        })
    }

    /// The history.
    pub(super) fn finish(mut self) -> Result<Observed, FormatFault> {
        self.collector.reads_of_initial(self.initial, &self.written);
        self.times.tell(&mut self.collector)?;
        Ok(self.collector.finish())
    }

    /// Reads one log, as one session.
    pub(super) fn read_log(
        &mut self,
        scanner: &mut Scanner<'_>,
        session: u32,
    ) -> Result<(), FormatFault> {
        while scanner.json_space()?.is_some() {
            self.transaction(scanner, session)?;
        }
        Ok(())
    }

    fn transaction(&mut self, scanner: &mut Scanner<'_>, session: u32) -> Result<(), FormatFault> {
        let mut members = scanner.json_open(b'{', "a transaction: an object with value")?;
        let (mut begin, mut end, mut operations) = (None, None, false);
        while scanner.json_member(&mut members)? {
            match scanner.token() {
                b"preBeginTS" => begin = time(scanner)?,
                b"postCommitTS" => end = time(scanner)?,
                b"value" if operations => {
                    return Err(FormatFault::Record("a transaction has value twice"));
                }
                b"value" => {
                    operations = true;
                    let mut parts = scanner.json_open(b'[', "an array of operations")?;
                    while scanner.json_element(&mut parts)? {
                        let draft = self.operation(scanner)?;
                        self.take(draft)?;
                    }
                }
                _ => scanner.json_skip()?,
            }
        }
        if !operations {
            return Err(FormatFault::Record("a transaction needs a value"));
        }
        let times = begin.zip(end).map(|(begin, end)| (begin, Some(end)));
        self.times.push(&mut self.collector, times)?;
        let line = scanner.line_number();
        self.collector
            .end(Some(session), Outcome::Committed, None, line)
    }

    fn operation(&mut self, scanner: &mut Scanner<'_>) -> Result<Draft, FormatFault> {
        let mut draft = Draft::default();
        if scanner.json_next("an operation")? == b'{' {
            let mut members = scanner.json_open(b'{', "an operation")?;
            while scanner.json_member(&mut members)? {
                match scanner.token() {
                    b"opType" => draft.letter = letter(scanner)?,
                    b"key" => draft.key = self.key(scanner)?,
                    b"value" => draft.value = self.value(scanner)?,
                    b"readValue" => draft.seen = self.value(scanner)?,
                    b"succ" => draft.done = Some(flag(scanner)?),
                    _ => scanner.json_skip()?,
                }
            }
            return Ok(draft);
        }
        let mut parts = scanner.json_open(b'[', "an operation")?;
        let mut place = 0;
        while scanner.json_element(&mut parts)? {
            match (place, draft.letter) {
                (0, _) => draft.letter = letter(scanner)?,
                (1, _) => draft.key = self.key(scanner)?,
                (2, _) => draft.value = self.value(scanner)?,
                (3, b'i' | b'd') => draft.seen = self.value(scanner)?,
                (3, b'w') | (5, b'i' | b'd') => draft.done = Some(flag(scanner)?),
                (3, b'r') | (4, b'i' | b'd') => {
                    flag(scanner)?;
                }
                _ => return Err(scanner.unexpected("the end of an operation")),
            }
            place += 1;
        }
        Ok(draft)
    }

    fn take(&mut self, draft: Draft) -> Result<(), FormatFault> {
        let incomplete = || FormatFault::Record("an operation lacks its key, value or flag");
        let key = draft.key.ok_or_else(incomplete)?;
        let value = draft.value.ok_or_else(incomplete)?;
        if draft.letter == b'r' {
            return self.collector.read(key, Some(value));
        }
        let done = draft.done.ok_or_else(incomplete)?;
        if draft.letter != b'w' {
            let seen = draft.seen.ok_or_else(incomplete)?;
            self.collector.read(key, Some(seen))?;
        }
        if done {
            if value == self.initial {
                mark(&mut self.written, key);
            }
            self.collector.write(key, value)?;
        }
        Ok(())
    }

    fn key(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Key>, FormatFault> {
        scanner.json_scalar()?.key(scanner, &mut self.collector)
    }

    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Value>, FormatFault> {
        scanner.json_scalar()?.value(scanner, &mut self.collector)
    }
}

/// An operation of which not all is known.
#[derive(Default)]
struct Draft {
    letter: u8,
    key: Option<Key>,
    value: Option<Value>,
    seen: Option<Value>,
    done: Option<bool>,
}

/// `r`, `w`, `i` or `d`.
fn letter(scanner: &mut Scanner<'_>) -> Result<u8, FormatFault> {
    scanner.json_scalar()?;
    match scanner.token() {
        &[letter @ (b'r' | b'w' | b'i' | b'd')] => Ok(letter),
        b"range" => Err(FormatFault::Record(
            "a range read: a history of reads and writes of keys cannot hold what it did not return",
        )),
        _ => Err(scanner.unexpected_token("r, w, i, d or range")),
    }
}

fn flag(scanner: &mut Scanner<'_>) -> Result<bool, FormatFault> {
    scanner.json_scalar()?;
    match scanner.token() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(scanner.unexpected("true or false")),
    }
}

/// A time; one below 0 was not taken.
fn time(scanner: &mut Scanner<'_>) -> Result<Option<u64>, FormatFault> {
    let time = match scanner.json_scalar()? {
        Scalar::Number(number) => return Ok(Some(number)),
        Scalar::Name => scanner.token_text()?.parse::<i64>().ok(),
        Scalar::Null | Scalar::Collection => None,
    };
    match time {
        Some(time) => Ok(u64::try_from(time).ok()),
        None => Err(scanner.unexpected_token("an integer of 64 bits")),
    }
}
