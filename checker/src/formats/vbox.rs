//! Reads Vbox's logs: a folder with a file for each session, `<number>.log`, of binary records.
//!
//! ```text
//! T txn begin end                              a transaction, and from when to when it ran
//! S op begin end                               it is started
//! W op begin end key field value               it writes a field of a key; `op` identifies the write
//! R op begin end key txn op                    it reads what that operation of that transaction wrote
//! P op begin end field low high n keys txns ops   it reads all keys whose field lies between two values
//! C op begin end                               it has committed (A: aborted)
//! ```
//!
//! Times (nanoseconds), keys and fields are 64 bits, all else is 32, little-endian. The layout is that of
//! `TransactionManager::load` in `src/transaction/transaction.cpp` of WeihuaSun/Vbox (commits 166d95d and 0daa536), and
//! what reads of the initial state look like is said by its `INIT_TID` and its `t.py`, which turns such logs into Cobra's.
//!
//! - **V1** A version of a key is called by the transaction and the operation that wrote it, `5.2`. A read names the last
//!   writer of the whole row, so that fields need not be told apart.
//! - **V2** A transaction ran from the begin of its `T` to the end of that, or of its `C` or `A` if that is later.
//! - **V3** Transaction 0 is the initial state.
//! - **V4** A history with `P` is refused: what such a read did not return says as much as what it did, a history of reads
//!   and writes of keys cannot hold that, and without it Valid would be a guess.

use std::collections::HashSet;

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use super::times::Times;
use crate::observed::{Outcome, Value};

/// What the logs of a folder have in common.
pub(super) struct Logs {
    pub(super) collector: Collector,
    times: Times<u64>,
    txns: HashSet<u32>,
    /// Counts transactions, for messages.
    entry: u32,
}

/// The transaction that is being read.
struct Open {
    txn: u32,
    begin: u64,
    end: u64,
}

impl Logs {
    pub(super) fn new(collector: Collector) -> Self {
        Self {
            collector,
            times: Times::new(),
            txns: HashSet::new(),
            entry: 0,
        }
    }

    /// The history.
    pub(super) fn finish(mut self) -> Result<crate::observed::Observed, FormatFault> {
        self.times.tell(&mut self.collector)?;
        Ok(self.collector.finish())
    }

    /// Reads one log, as one session.
    pub(super) fn read_log(
        &mut self,
        scanner: &mut Scanner<'_>,
        session: u32,
    ) -> Result<(), FormatFault> {
        let mut open: Option<Open> = None;
        while let Some(kind) = scanner.peek()? {
            scanner.bump();
            match (kind, &mut open) {
                (b'T', None) => open = Some(self.begin(scanner)?),
                (b'T', Some(_)) => {
                    return Err(FormatFault::Record(
                        "a transaction begins before the last one of its session has ended",
                    ));
                }
                (b'S', Some(_)) => {
                    operation(scanner)?;
                }
                (b'W', Some(txn)) => {
                    let (op, _) = operation(scanner)?;
                    let [key, _field] = longs(scanner)?;
                    let _value: [u8; 4] = scanner.exactly(REST)?;
                    let key = self.collector.numbered_key(key)?;
                    let version = self.version(txn.txn, op)?;
                    self.collector.write(key, version)?;
                }
                (b'R', Some(_)) => {
                    operation(scanner)?;
                    let [key] = longs(scanner)?;
                    let (from, op) = (short(scanner)?, short(scanner)?);
                    let key = self.collector.numbered_key(key)?;
                    let version = match from {
                        0 => None,
                        txn => Some(self.version(txn, op)?),
                    };
                    self.collector.read(key, version)?;
                }
                (b'P', Some(_)) => {
                    return Err(FormatFault::Record(
                        "a predicate read (P): a history of reads and writes of keys cannot hold what it did not return",
                    ));
                }
                (b'C' | b'A', Some(txn)) => {
                    let (_, told) = operation(scanner)?;
                    let outcome = if kind == b'C' {
                        Outcome::Committed
                    } else {
                        Outcome::Aborted
                    };
                    let times = (txn.begin, Some(txn.end.max(told)));
                    self.end(session, outcome, times)?;
                    open = None;
                }
                (b'S' | b'W' | b'R' | b'P' | b'C' | b'A', None) => {
                    return Err(FormatFault::Record("a record outside of a transaction"));
                }
                _ => {
                    return Err(FormatFault::Record(
                        "a record is none of T, S, W, R, P, C and A; is this a log of Vbox's?",
                    ));
                }
            }
        }
        match open {
            // The client was stopped before it was answered.
            Some(txn) => self.end(session, Outcome::Unknown, (txn.begin, None)),
            None => Ok(()),
        }
    }

    fn begin(&mut self, scanner: &mut Scanner<'_>) -> Result<Open, FormatFault> {
        let txn = short(scanner)?;
        let [begin, end] = longs(scanner)?;
        if txn == 0 {
            return Err(FormatFault::Record(
                "transaction 0 is the initial state, and runs nowhere",
            ));
        }
        self.collector.spend(1)?;
        if !self.txns.insert(txn) {
            let txn = txn.to_string();
            return Err(FormatFault::Twice { txn });
        }
        self.entry = self.entry.saturating_add(1);
        Ok(Open { txn, begin, end })
    }

    fn end(
        &mut self,
        session: u32,
        outcome: Outcome,
        times: (u64, Option<u64>),
    ) -> Result<(), FormatFault> {
        self.times.push(&mut self.collector, Some(times))?;
        self.collector.end(Some(session), outcome, None, self.entry)
    }

    fn version(&mut self, txn: u32, op: u32) -> Result<Value, FormatFault> {
        self.collector.value(&format!("{txn}.{op}"))
    }
}

const REST: &str = "the rest of a record";

/// The number of an operation, and when it ended.
fn operation(scanner: &mut Scanner<'_>) -> Result<(u32, u64), FormatFault> {
    let op = short(scanner)?;
    let [_begin, end] = longs(scanner)?;
    Ok((op, end))
}

fn short(scanner: &mut Scanner<'_>) -> Result<u32, FormatFault> {
    scanner.exactly(REST).map(u32::from_le_bytes)
}

fn longs<const N: usize>(scanner: &mut Scanner<'_>) -> Result<[u64; N], FormatFault> {
    let mut longs = [0; N];
    for long in &mut longs {
        *long = scanner.exactly(REST).map(u64::from_le_bytes)?;
    }
    Ok(longs)
}
