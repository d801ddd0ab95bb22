//! Records what threads see of an SQLite database, and judges it: an example to copy.
//!
//! Read `docs/check-your-database.md` first. [`run`] is the workload with its record; [`verdict`] judges. To check
//! another database, replace what names SQLite.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use checker::assess::{Assessment, Verdict, report};
use checker::observed::Observed;
use checker::recorder::{Recorder, Session, Transaction};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many client threads there are.
    pub threads: u64,
    /// How many transactions each of them runs.
    pub transactions: u64,
    /// How many keys there are; the fewer, the more transactions get in each other's way.
    pub keys: u64,
    /// Whether clients read in one transaction of the database and write in another.
    pub is_broken: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            threads: 4,
            transactions: 100,
            keys: 5,
            is_broken: false,
        }
    }
}

/// Runs the workload on a database in this file, which it makes.
///
/// # Errors
///
/// The database refused something that is no abort.
///
/// # Panics
///
/// If a client thread does.
pub fn run(database: &Path, plan: &Plan) -> anyhow::Result<Recorder> {
    let connection = open(database)?;
    connection.execute(
        "create table kv (key integer primary key, value integer)",
        (),
    )?;
    let recorder = Recorder::new("sqlite");
    // Where clients wait for each other in each transaction, so that transactions overlap on any machine.
    let together = Barrier::new(usize::try_from(plan.threads)?);
    thread::scope(|scope| {
        let start = |thread| {
            let (recorder, together) = (&recorder, &together);
            scope.spawn(move || client(database, plan, thread, recorder, together))
        };
        let clients: Vec<_> = (0..plan.threads).map(start).collect();
        for client in clients {
            client.join().expect("clients do not panic")?;
        }
        anyhow::Ok(())
    })?;
    read_all(&connection, plan, &mut recorder.session())?;
    Ok(recorder)
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What is tested is isolation, not what survives a power cut.
    connection.pragma_update(None, "synchronous", "off")?;
    Ok(connection)
}

/// A client thread: a connection, a session, and one transaction after another.
fn client(
    database: &Path,
    plan: &Plan,
    thread: u64,
    recorder: &Recorder,
    together: &Barrier,
) -> anyhow::Result<()> {
    let mut connection = open(database);
    let mut session = recorder.session();
    let mut failed = None;
    for turn in 0..plan.transactions {
        // Two threads at a time want to write the same key.
        let first = (thread / 2 + turn) % plan.keys;
        let second = (first + 1 + turn % (plan.keys - 1).max(1)) % plan.keys;
        match &mut connection {
            Ok(connection) if failed.is_none() => {
                let value = recorder.fresh_value();
                let keys = [first, second];
                let done = transact(connection, plan, &mut session, keys, value, together);
                failed = done.err();
            }
            // A client that has failed goes on meeting the others: they wait for it.
            _ => {
                together.wait();
            }
        }
    }
    connection?;
    failed.map_or(Ok(()), Err)
}

/// One transaction: reads two keys, and writes the first when all clients have read.
fn transact(
    connection: &mut Connection,
    plan: &Plan,
    session: &mut Session,
    keys: [u64; 2],
    value: u64,
    together: &Barrier,
) -> anyhow::Result<()> {
    let mut record = session.begin();
    let done = if plan.is_broken {
        in_two(connection, &mut record, keys, value, together)
    } else {
        in_one(connection, &mut record, keys, value, together)
    };
    match done {
        Ok(()) => record.committed(),
        // SQLite says so when others were faster; the transaction is rolled back, and nothing of it stays.
        Err(error) if is_abort(&error) => record.aborted(),
        Err(error) => {
            record.unknown();
            bail!(error);
        }
    }
    Ok(())
}

fn is_abort(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// As it should be: the transaction of the client is one of the database.
fn in_one(
    connection: &mut Connection,
    record: &mut Transaction<'_>,
    keys: [u64; 2],
    value: u64,
    together: &Barrier,
) -> rusqlite::Result<()> {
    let has_read = begin(connection, record, keys);
    together.wait();
    let transaction = has_read?;
    record.write(name(keys[0]), value);
    write(&transaction, keys[0], value)?;
    transaction.commit()
}

/// As it is in many a program: what is written rests on what was read in another transaction.
fn in_two(
    connection: &mut Connection,
    record: &mut Transaction<'_>,
    keys: [u64; 2],
    value: u64,
    together: &Barrier,
) -> rusqlite::Result<()> {
    let has_read = begin(connection, record, keys).and_then(rusqlite::Transaction::commit);
    together.wait();
    has_read?;
    record.write(name(keys[0]), value);
    write(connection, keys[0], value)
}

/// A transaction of the database that has read both keys.
fn begin<'c>(
    connection: &'c mut Connection,
    record: &mut Transaction<'_>,
    keys: [u64; 2],
) -> rusqlite::Result<rusqlite::Transaction<'c>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    for key in keys {
        record.read(name(key), read(&transaction, key)?);
    }
    Ok(transaction)
}

/// What a key is called in the record.
fn name(key: u64) -> String {
    format!("k{key}")
}

/// Reads every key when all is over, so that the last writes are seen, too.
fn read_all(connection: &Connection, plan: &Plan, session: &mut Session) -> anyhow::Result<()> {
    let mut record = session.begin();
    let transaction = connection.unchecked_transaction()?;
    for key in 0..plan.keys {
        record.read(name(key), read(&transaction, key)?);
    }
    transaction.commit()?;
    record.committed();
    Ok(())
}

fn read(connection: &Connection, key: u64) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare("select value from kv where key = ?")?;
    select
        .query_row([key.cast_signed()], |row| row.get(0))
        .optional()
}

fn write(connection: &Connection, key: u64, value: u64) -> rusqlite::Result<()> {
    let row = [key.cast_signed(), value.cast_signed()];
    let mut replace = connection.prepare("replace into kv (key, value) values (?, ?)")?;
    replace.execute(row)?;
    Ok(())
}

/// Judges a history, and says why in words.
///
/// Asks for the strongest model that the history can tell of: strict serializability, because it has real time.
#[must_use]
pub fn verdict(history: &Observed) -> (Verdict, String) {
    let assessment = Assessment::of(history);
    (assessment.verdict(), report(history, &assessment))
}
