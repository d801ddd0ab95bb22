//! Writes histories as Cobra logs them: a folder with a file for each client, `T<number>.log`. The records are those that
//! [`cobra`](super::cobra) reads.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Format;
use super::cobra::{FENCE_WRITES, INITIAL_WRITES};
use super::write::{Loss, WriteError, refuse_all_but_registers};
use super::write_elle::processes;
use crate::observed::{Key, Observed, Op, Outcome, TxnIndex, Value};

/// What reads of the initial state name as their writer.
const INITIAL: u64 = INITIAL_WRITES[1];

/// Writes a history as a folder of logs, and says what was lost. The folder is made if it is not there; logs in it that
/// have the names of those that are written are replaced, and any other log makes it fail.
///
/// Writes are identified by numbers that are unique in the history, and keep their values as such if these are. A client
/// that is told nothing writes no more, so that a transaction of unknown outcome ends its log; if others of its session
/// follow, it has a log of its own.
///
/// ```
/// use checker::formats::{self, Format, ReadOptions};
///
/// let history = formats::read(&b"[x:=5]\n---\n[x==5 y==?]\n"[..], "example", &ReadOptions::default())?;
/// let folder = tempfile::tempdir()?;
/// formats::write_folder(&history, Format::Cobra, folder.path())?;
/// let again = formats::read_path(folder.path(), &ReadOptions::default())?;
/// assert_eq!((again.session_count(), again.op_count()), (2, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`WriteError::NotWritten`] if the format is not one of folders that are written; [`WriteError::NotRepresentable`]
/// before anything is written, if it would make another history of it; [`WriteError::Io`].
pub fn write_folder(
    history: &Observed,
    format: Format,
    folder: &Path,
) -> Result<Vec<Loss>, WriteError> {
    if format != Format::Cobra {
        return Err(WriteError::NotWritten(format));
    }
    refuse_all_but_registers(history, format)?;
    let mut losses = Vec::new();
    let plan = Plan::of(history, &mut losses);
    std::fs::create_dir_all(folder)?;
    let logs = plan.logs(history);
    refuse_other_logs(folder, logs.len())?;
    for (place, log) in logs.iter().enumerate() {
        let mut out = BufWriter::new(File::create(folder.join(format!("T{place}.log")))?);
        for &txn in log {
            plan.transaction(history, txn, &mut losses, &mut out)?;
        }
        out.flush()?;
    }
    losses.sort_unstable();
    losses.dedup();
    Ok(losses)
}

/// A log of another history would become part of this one.
fn refuse_other_logs(folder: &Path, logs: usize) -> io::Result<()> {
    let ours: HashSet<String> = (0..logs).map(|place| format!("T{place}.log")).collect();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".log") && !ours.contains(&*name) {
            let what = format!("{name} is there already; write the logs to an empty folder");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
    }
    Ok(())
}

/// What everything is called.
struct Plan {
    /// The client of each transaction.
    clients: Vec<u64>,
    keys: Vec<u64>,
    /// The identifier of what was written to a key, and who wrote it first.
    writes: HashMap<(Key, Value), (u64, Option<TxnIndex>)>,
}

impl Plan {
    fn of(history: &Observed, losses: &mut Vec<Loss>) -> Self {
        let clients = processes(history, losses);
        if history.txns().iter().any(|txn| txn.interval.is_some()) {
            losses.push(Loss::RealTime);
        }
        let names = |key: u32| history.key_name(Key(key));
        let all = 0..u32::try_from(history.key_count()).unwrap_or(u32::MAX);
        let mut keys: Vec<u64> = all.clone().filter_map(|key| plain(names(key))).collect();
        let mut is_named = keys.len() < history.key_count();
        if is_named {
            keys = all.map(u64::from).collect();
        }
        let keeps = is_unique(history);
        is_named |= !keeps;
        if is_named {
            losses.push(Loss::Names);
        }
        let mut writes = HashMap::new();
        for txn in history.indexes() {
            for op in history.ops(txn) {
                let Some((key, value)) = version(*op) else {
                    continue;
                };
                let next = identifier(writes.len());
                let known = writes.entry((key, value)).or_insert_with(|| {
                    let own = plain(&history.value_name(value)).filter(|_| keeps);
                    (own.unwrap_or(next), None)
                });
                if op.wrote().is_some() {
                    known.1.get_or_insert(txn);
                }
            }
        }
        Self {
            clients,
            keys,
            writes,
        }
    }

    /// The transactions of each client that has some.
    fn logs(&self, history: &Observed) -> Vec<Vec<TxnIndex>> {
        let clients = self.clients.iter().max().map_or(0, |last| last + 1);
        let mut logs = vec![Vec::new(); usize::try_from(clients).unwrap_or(usize::MAX)];
        for txn in history.indexes() {
            let client = usize::try_from(self.clients[txn.0 as usize]).unwrap_or(usize::MAX);
            logs[client].push(txn);
        }
        logs.retain(|log| !log.is_empty());
        logs
    }

    fn transaction(
        &self,
        history: &Observed,
        txn: TxnIndex,
        losses: &mut Vec<Loss>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        record(b'S', &[number(txn)], out)?;
        for op in history.ops(txn) {
            let key = self.keys[op.key().0 as usize];
            match *op {
                Op::Write { key: of, value } => {
                    let (write, _) = self.writes[&(of, value)];
                    record(b'W', &[write, key, write], out)?;
                }
                Op::Read { value: None, .. } => record(b'R', &[INITIAL, INITIAL, key, 0], out)?,
                Op::Read {
                    key: of,
                    value: Some(value),
                } => {
                    let (write, writer) = self.writes[&(of, value)];
                    let writer = writer.map_or(0, number);
                    record(b'R', &[writer, write, key, write], out)?;
                }
                Op::Unseen { .. } | Op::ReadList { .. } | Op::Append { .. } => {
                    losses.push(Loss::AbortedTransactions);
                }
            }
        }
        match history.txn(txn).outcome {
            Outcome::Committed => record(b'C', &[number(txn)], out),
            Outcome::Aborted => record(b'A', &[number(txn)], out),
            Outcome::Unknown => Ok(()),
        }
    }
}

/// Whether every value was written to one key only, and none means something else to Cobra.
fn is_unique(history: &Observed) -> bool {
    let mut keys: HashMap<Value, Key> = HashMap::new();
    let ops = history.indexes().flat_map(|txn| history.ops(txn));
    let mut versions = ops.filter_map(|op| version(*op));
    versions.all(|(key, value)| {
        let number = plain(&history.value_name(value));
        number.is_some_and(is_free) && *keys.entry(value).or_insert(key) == key
    })
}

/// The version that an operation wrote or saw, but for the initial one.
const fn version(op: Op) -> Option<(Key, Value)> {
    match op {
        Op::Write { key, value }
        | Op::Read {
            key,
            value: Some(value),
        } => Some((key, value)),
        Op::Read { value: None, .. }
        | Op::ReadList { .. }
        | Op::Append { .. }
        | Op::Unseen { .. } => None,
    }
}

/// A whole number of 64 bits in its shortest form.
fn plain(name: &str) -> Option<u64> {
    let number: u64 = name.parse().ok()?;
    (number.to_string() == name).then_some(number)
}

/// Whether an identifier means nothing else to Cobra.
fn is_free(number: u64) -> bool {
    number != 0 && !INITIAL_WRITES.contains(&number) && !FENCE_WRITES.contains(&number)
}

/// An identifier for each number, from one on.
fn identifier(place: usize) -> u64 {
    let taken = INITIAL_WRITES.into_iter().chain(FENCE_WRITES);
    let mut taken: Vec<u64> = taken.collect();
    taken.sort_unstable();
    let mut number = 1 + place as u64;
    for one in taken {
        number += u64::from(number >= one);
    }
    number
}

/// What a transaction is called.
fn number(txn: TxnIndex) -> u64 {
    identifier(txn.0 as usize)
}

fn record(kind: u8, fields: &[u64], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[kind])?;
    for field in fields {
        out.write_all(&field.to_be_bytes())?;
    }
    Ok(())
}
