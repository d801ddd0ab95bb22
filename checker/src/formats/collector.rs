//! Makes a history out of what a reader hands over, within [`Limits::operations`] and [`Limits::memory_bytes`].

use std::collections::HashMap;

use super::Limits;
use super::error::FormatFault;
use super::scanner::Scanner;
use crate::observed::{Elements, Interval, Key, Observed, ObservedBuilder, Op, Outcome, Value};

/// Keys whose name is a number below this are found in a table.
const SMALL_KEYS: u64 = 1 << 20;

const NO_KEY: u32 = u32::MAX;

/// What a buffer outside is taken to hold for each thing that it counts.
const OUTSIDE_BYTES: u64 = 48;

/// How many things come between two looks at the memory that is taken.
const LOOK: u64 = 1 << 12;

pub(super) struct Collector {
    builder: ObservedBuilder,
    small: Vec<u32>,
    large: HashMap<u64, Key>,
    left: u64,
    limit: u64,
    transactions: u64,
    /// What buffers outside hold.
    outside: u64,
    since_look: u64,
    memory_limit: u64,
}

impl Collector {
    pub(super) fn new(name: &str, limits: &Limits) -> Self {
        Self {
            builder: ObservedBuilder::new(name),
            small: Vec::new(),
            large: HashMap::new(),
            left: limits.operations,
            limit: limits.operations,
            transactions: 0,
            outside: 0,
            since_look: 0,
            memory_limit: limits.memory_bytes,
        }
    }

    /// How many transactions have ended.
    pub(super) const fn transactions(&self) -> u64 {
        self.transactions
    }

    /// The key that is called `number`.
    #[inline]
    pub(super) fn numbered_key(&mut self, number: u64) -> Result<Key, FormatFault> {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        match self.small.get(place) {
            Some(&key) if key != NO_KEY => Ok(Key(key)),
            _ => self.new_numbered_key(number),
        }
    }

    fn new_numbered_key(&mut self, number: u64) -> Result<Key, FormatFault> {
        if number >= SMALL_KEYS {
            if let Some(key) = self.large.get(&number) {
                return Ok(*key);
            }
            let key = self.builder.key(&number.to_string())?;
            self.large.insert(number, key);
            return Ok(key);
        }
        let key = self.builder.key(&number.to_string())?;
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        if self.small.len() <= place {
            let grown = (place + 1).next_power_of_two();
            self.small.resize(grown, NO_KEY);
        }
        self.small[place] = key.0;
        Ok(key)
    }

    pub(super) fn key(&mut self, name: &str) -> Result<Key, FormatFault> {
        Ok(self.builder.key(name)?)
    }

    pub(super) fn value(&mut self, name: &str) -> Result<Value, FormatFault> {
        Ok(self.builder.value(name)?)
    }

    #[inline]
    pub(super) fn numbered_value(&mut self, number: u64) -> Result<Value, FormatFault> {
        match Value::number(number) {
            Some(value) => Ok(value),
            None => self.value(&number.to_string()),
        }
    }

    /// The key that is called by a number, or else by the token.
    #[inline]
    pub(super) fn key_of(
        &mut self,
        number: Option<u64>,
        scanner: &Scanner<'_>,
    ) -> Result<Key, FormatFault> {
        match number {
            Some(number) => self.numbered_key(number),
            None => self.key(scanner.token_text()?),
        }
    }

    /// The value that is called by a number, or else by the token.
    #[inline]
    pub(super) fn value_of(
        &mut self,
        number: Option<u64>,
        scanner: &Scanner<'_>,
    ) -> Result<Value, FormatFault> {
        match number {
            Some(number) => self.numbered_value(number),
            None => self.value(scanner.token_text()?),
        }
    }

    pub(super) fn write(&mut self, key: Key, value: Value) -> Result<(), FormatFault> {
        self.count(1)?;
        Ok(self.builder.write(key, value)?)
    }

    pub(super) fn read(&mut self, key: Key, value: Option<Value>) -> Result<(), FormatFault> {
        self.count(1)?;
        Ok(self.builder.read(key, value)?)
    }

    pub(super) fn append(&mut self, key: Key, value: Value) -> Result<(), FormatFault> {
        self.count(1)?;
        Ok(self.builder.append(key, value)?)
    }

    pub(super) fn read_list(&mut self, key: Key, list: &[Value]) -> Result<(), FormatFault> {
        self.count(1 + list.len() as u64)?;
        Ok(self.builder.read_list(key, list)?)
    }

    pub(super) fn unseen(&mut self, key: Key) -> Result<(), FormatFault> {
        self.count(1)?;
        Ok(self.builder.unseen(key)?)
    }

    pub(super) fn end(
        &mut self,
        session: Option<u32>,
        outcome: Outcome,
        interval: Option<Interval>,
        line: u32,
    ) -> Result<(), FormatFault> {
        self.count(1)?;
        self.builder.end(session, outcome, interval, line)?;
        self.transactions += 1;
        Ok(())
    }

    /// Reads of nothing were reads of empty lists.
    pub(super) fn reads_of_lists(&mut self) {
        self.builder.rewrite(|op| {
            if let Op::Read { key, value: None } = op {
                let elements = Elements::NONE;
                return Op::ReadList { key, elements };
            }
            op
        });
    }

    /// Reads of `initial` were reads of the initial state, but for the keys that it was written to.
    pub(super) fn reads_of_initial(&mut self, initial: Value, written: &[bool]) {
        let is_written = |key: Key| written.get(key.0 as usize).copied().unwrap_or(false);
        self.builder.rewrite(|op| {
            if let Op::Read { key, value } = op
                && value == Some(initial)
                && !is_written(key)
            {
                return Op::Read { key, value: None };
            }
            op
        });
    }

    /// When the transactions ran, in their order.
    pub(super) fn intervals(&mut self, intervals: impl Iterator<Item = Option<Interval>>) {
        self.builder.set_intervals(intervals);
    }

    pub(super) fn finish(self) -> Observed {
        self.builder.finish()
    }

    /// Refuses to hold so much outside.
    #[inline]
    pub(super) const fn afford(&self, held: usize) -> Result<(), FormatFault> {
        let held = held as u64;
        if held > self.left {
            return Err(FormatFault::TooManyOperations { limit: self.limit });
        }
        if held.saturating_mul(OUTSIDE_BYTES) > self.memory_limit {
            let limit = self.memory_limit;
            return Err(FormatFault::TooMuchMemory { limit });
        }
        Ok(())
    }

    /// What a buffer outside held is not held any more.
    pub(super) const fn refund(&mut self, count: u64) {
        self.left += count;
        self.outside = self.outside.saturating_sub(count);
    }

    /// Counts what a buffer outside holds.
    #[inline]
    pub(super) fn spend(&mut self, count: u64) -> Result<(), FormatFault> {
        self.outside += count;
        self.count(count)
    }

    #[inline]
    fn count(&mut self, count: u64) -> Result<(), FormatFault> {
        let limit = self.limit;
        let left = self.left.checked_sub(count);
        self.left = left.ok_or(FormatFault::TooManyOperations { limit })?;
        self.since_look += count;
        if self.since_look >= LOOK {
            self.look()?;
        }
        Ok(())
    }

    /// Looks at how much memory is taken.
    #[cold]
    fn look(&mut self) -> Result<(), FormatFault> {
        self.since_look = 0;
        let tables = self.small.capacity() * size_of::<u32>() + self.large.capacity() * 32;
        let outside = self.outside.saturating_mul(OUTSIDE_BYTES);
        let taken = self.builder.memory_bytes() + tables as u64;
        if taken.saturating_add(outside) > self.memory_limit {
            let limit = self.memory_limit;
            return Err(FormatFault::TooMuchMemory { limit });
        }
        Ok(())
    }
}
