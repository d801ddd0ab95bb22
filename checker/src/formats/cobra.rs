//! Reads Cobra's logs: a folder with a file for each client, `T<number>.log`, of binary records.
//!
//! ```text
//! S txn                                  the client starts a transaction
//! W write key value                      it writes; `write` identifies the write
//! R txn write key value                  it reads what `write` of `txn` wrote
//! C txn                                  it has committed (A: aborted)
//! ```
//!
//! Each field is 64 bits, big-endian. The value of a write is its identifier, because Cobra makes those unique; keys
//! are hashes, and are called by them as unsigned numbers.

use std::collections::HashSet;

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use crate::observed::Outcome;

/// Reads of a key that has no value, and of what was loaded before the run.
pub(super) const INITIAL_WRITES: [u64; 2] = [0xdead_beef, 0xbebe_ebee];
/// Reads by Cobra's own fence transactions, which are not of the workload.
pub(super) const FENCE_WRITES: [u64; 2] = [0x2333_2333, 0x6666_6666];

/// Reads one log into `collector`, as one session; `seen` has the transactions of the logs before.
pub(super) fn read_log(
    scanner: &mut Scanner<'_>,
    collector: &mut Collector,
    seen: &mut HashSet<u64>,
    session: u32,
) -> Result<(), FormatFault> {
    let mut open = None;
    let mut entry = 0_u32;
    while let Some(kind) = scanner.peek()? {
        scanner.bump();
        match (kind, open) {
            (b'S', None) => {
                let txn = field(scanner)?;
                if !seen.insert(txn) {
                    let txn = txn.to_string();
                    return Err(FormatFault::Twice { txn });
                }
                open = Some(txn);
                entry = entry.saturating_add(1);
            }
            (b'S', Some(_)) => {
                return Err(FormatFault::Record(
                    "a transaction starts before the last one of its client has ended",
                ));
            }
            (b'W', Some(_)) => {
                let [write, key, _value] = fields(scanner)?;
                let key = collector.numbered_key(key)?;
                let write = collector.numbered_value(write)?;
                collector.write(key, write)?;
            }
            (b'R', Some(_)) => {
                let [writer, write, key, _value] = fields(scanner)?;
                let initial = INITIAL_WRITES.contains(&write);
                if !initial && INITIAL_WRITES.contains(&writer) {
                    if FENCE_WRITES.contains(&write) {
                        continue;
                    }
                    let fault = "a read of an initial transaction that is of no initial write";
                    return Err(FormatFault::Record(fault));
                }
                let key = collector.numbered_key(key)?;
                let write = collector.numbered_value(write)?;
                collector.read(key, (!initial).then_some(write))?;
            }
            (b'C' | b'A', Some(txn)) => {
                if field(scanner)? != txn {
                    return Err(FormatFault::Record(
                        "a transaction ends that is not the one that was started",
                    ));
                }
                let outcome = if kind == b'C' {
                    Outcome::Committed
                } else {
                    Outcome::Aborted
                };
                collector.end(Some(session), outcome, None, entry)?;
                open = None;
            }
            (b'W' | b'R' | b'C' | b'A', None) => {
                return Err(FormatFault::Record("a record outside of a transaction"));
            }
            _ => {
                return Err(FormatFault::Record(
                    "a record is none of S, W, R, C and A; is this a log of Cobra's?",
                ));
            }
        }
    }
    if open.is_some() {
        // The client was stopped before it was answered.
        collector.end(Some(session), Outcome::Unknown, None, entry)?;
    }
    Ok(())
}

fn fields<const N: usize>(scanner: &mut Scanner<'_>) -> Result<[u64; N], FormatFault> {
    let mut fields = [0; N];
    for place in &mut fields {
        *place = field(scanner)?;
    }
    Ok(fields)
}

fn field(scanner: &mut Scanner<'_>) -> Result<u64, FormatFault> {
    scanner
        .exactly("the rest of a record")
        .map(u64::from_be_bytes)
}
