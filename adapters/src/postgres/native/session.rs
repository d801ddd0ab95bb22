//! One session: a transaction's operations, as each mode does them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use co_core::AbortReason;
use participant::{Key, KeyRange, OperationError, Table, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, SimpleQueryMessage, Statement};
use tokio_stream::StreamExt as _;

use super::{Mode, Shared, locks, statement};
use crate::native::{Intent, Session, SessionError, SessionId};
use crate::postgres::pool::Process;
use crate::postgres::sql::Table as RowTable;

/// The statements on rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Which {
    Get,
    GetShared,
    GetLocked,
    Scan,
    ScanOn,
    Put,
    Delete,
}

/// A connection, with the statements that it has prepared so far. To prepare one takes locks of the table as to run it
/// does, so it is done by the operation that needs it, whose waits are looked for.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) process: Process,
    prepared: BTreeMap<Which, Statement>,
}

impl Connection {
    pub(super) const fn new(client: Client, process: Process) -> Self {
        Self {
            client,
            process,
            prepared: BTreeMap::new(),
        }
    }

    async fn prepared(&mut self, which: Which, table: &RowTable) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.get(&which) {
            return Ok(statement.clone());
        }
        let text = match which {
            Which::Get => table.get(),
            Which::GetShared => format!("{} FOR SHARE", table.get()),
            Which::GetLocked => format!("{} FOR UPDATE", table.get()),
            Which::Scan => table.scan(true),
            Which::ScanOn => table.scan(false),
            Which::Put => table.put(),
            Which::Delete => table.delete(),
        };
        let statement = self.client.prepare(&text).await?;
        self.prepared.insert(which, statement.clone());
        Ok(statement)
    }
}

/// How much of the table a transaction has locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Locked {
    Nothing,
    /// Nobody else writes.
    Share,
    /// Nobody else writes, or has locked it like this.
    Update,
}

/// A session of [`PostgresSessions`](super::PostgresSessions).
pub struct PostgresSession {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) permit: OwnedSemaphorePermit,
    /// Statements of a client's have run in it.
    pub(super) used: bool,
    locked: Locked,
    /// In mode `serial`: it is this transaction's turn.
    turn: bool,
    /// In mode `advisory`: what is locked.
    declared: Option<BTreeSet<Key>>,
}

/// What an error of the server, or of the way to it, means to a transaction. One that is not told apart here has failed it
/// all the same: the server does nothing more in it.
pub(super) fn meaning(error: &Error) -> SessionError {
    let Some(said) = error.as_db_error() else {
        return SessionError::Lost(error.to_string());
    };
    let code = said.code().code();
    match code {
        "40P01" => SessionError::Aborted(AbortReason::Cycle),
        "53300" => SessionError::Lost(said.message().to_owned()),
        _ if code.starts_with("08") || code.starts_with("57P") => {
            SessionError::Lost(said.message().to_owned())
        }
        _ => SessionError::Aborted(AbortReason::Conflict),
    }
}

/// Whether the server has ended the transaction for another's sake: for all else a statement's savepoint is enough.
fn is_conflict(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "55P03" | "57014")
}

impl PostgresSession {
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            connection,
            shared,
            permit,
            used: false,
            locked: Locked::Nothing,
            turn: false,
            declared: None,
        }
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }

    async fn run(&self, text: &str) -> Result<(), SessionError> {
        let done = self.client().batch_execute(text).await;
        done.map_err(|error| meaning(&error))
    }

    /// What has to be had before anything is done with a key; in mode `serial` the turn of the transaction. The lock is
    /// asked for by a statement of its own, at READ COMMITTED: what comes behind it sees what the one before has left.
    async fn admit(&mut self, key: Option<&Key>) -> Result<(), SessionError> {
        match self.shared.mode {
            Mode::Lock | Mode::Plain => Ok(()),
            Mode::Serial if self.turn => Ok(()),
            Mode::Serial => {
                let lock = self.shared.advisory(None);
                self.run(&format!("SELECT pg_advisory_xact_lock({lock})"))
                    .await?;
                self.turn = true;
                Ok(())
            }
            Mode::Advisory => {
                let Some(key) = key else {
                    let error = OperationError::Unsupported {
                        engine: Mode::Advisory.name(),
                        what: "read ranges, whose keys cannot be declared",
                    };
                    return Err(SessionError::Refused(error));
                };
                match &self.declared {
                    Some(declared) if declared.contains(key) => Ok(()),
                    Some(_) | None => Err(SessionError::Refused(OperationError::NotDeclared)),
                }
            }
        }
    }

    async fn lock_table(&mut self, locked: Locked) -> Result<(), SessionError> {
        if self.locked < locked {
            let mode = match locked {
                Locked::Nothing => return Ok(()),
                Locked::Share => "SHARE",
                Locked::Update => "SHARE ROW EXCLUSIVE",
            };
            self.run(&self.shared.table.lock(mode)).await?;
            self.locked = locked;
        }
        Ok(())
    }

    async fn prepared(&mut self, which: Which) -> Result<Statement, SessionError> {
        let statement = self.connection.prepared(which, &self.shared.table).await;
        statement.map_err(|error| meaning(&error))
    }

    async fn row(&mut self, which: Which, key: &Key) -> Result<Option<Value>, SessionError> {
        let statement = self.prepared(which).await?;
        let rows = self.client().query(&statement, &[&&**key]).await;
        let rows = rows.map_err(|error| meaning(&error))?;
        Ok(rows.first().map(|row| row.get::<_, &[u8]>(0).into()))
    }

    /// In mode `lock`: a row is locked; what is not there has none, so nothing is written to the table any more.
    async fn locked_row(
        &mut self,
        key: &Key,
        intent: Intent,
    ) -> Result<Option<Value>, SessionError> {
        let (first, all, again) = match intent {
            Intent::Read if self.locked >= Locked::Share => return self.row(Which::Get, key).await,
            Intent::Read => (Which::GetShared, Locked::Share, Which::Get),
            Intent::Write => (Which::GetLocked, Locked::Update, Which::GetLocked),
        };
        let found = self.row(first, key).await?;
        if found.is_some() || self.locked >= all {
            return Ok(found);
        }
        self.lock_table(all).await?;
        // Somebody may have written it before the lock was had.
        self.row(again, key).await
    }

    async fn delete(&mut self, key: &Key) -> Result<u64, SessionError> {
        let statement = self.prepared(Which::Delete).await?;
        let deleted = self.client().execute(&statement, &[&&**key]).await;
        deleted.map_err(|error| meaning(&error))
    }

    /// Runs a statement behind a savepoint.
    async fn guarded(&self, text: &str, limit: usize) -> Result<Table, Failure> {
        let (saved, prepared) = tokio::join!(
            self.client().batch_execute("SAVEPOINT co_statement"),
            // Several statements cannot be prepared as one.
            self.client().prepare(text)
        );
        saved?;
        if !prepared?.params().is_empty() {
            return Err(Failure::Parameters);
        }
        let table = self.table(text, limit).await?;
        self.client()
            .batch_execute("RELEASE SAVEPOINT co_statement")
            .await?;
        Ok(table)
    }

    async fn table(&self, text: &str, limit: usize) -> Result<Table, Failure> {
        let messages = self.client().simple_query_raw(text).await?;
        let mut messages = std::pin::pin!(messages);
        let mut table = Table::default();
        let mut too_many = false;
        while let Some(message) = messages.next().await {
            match message? {
                SimpleQueryMessage::RowDescription(columns) => {
                    let names = columns.iter().map(|column| column.name().to_owned());
                    table.columns = names.collect();
                }
                SimpleQueryMessage::Row(row) if table.rows.len() < limit => {
                    let cells = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
                    table.rows.push(cells.collect());
                }
                SimpleQueryMessage::Row(_) => too_many = true,
                SimpleQueryMessage::CommandComplete(rows) => table.affected = rows,
                _ => {}
            }
        }
        if too_many {
            return Err(Failure::TooManyRows);
        }
        Ok(table)
    }

    /// Takes back what a refused statement has done.
    async fn take_back(&self, refused: OperationError) -> SessionError {
        let undo = "ROLLBACK TO SAVEPOINT co_statement; RELEASE SAVEPOINT co_statement";
        match self.run(undo).await {
            Ok(()) => SessionError::Refused(refused),
            Err(error) => error,
        }
    }
}

/// Why a statement has not been done.
enum Failure {
    Server(Error),
    Parameters,
    TooManyRows,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl Session for PostgresSession {
    fn id(&self) -> SessionId {
        locks::session_of(self.connection.process.pid)
    }

    async fn get(&mut self, key: &Key, intent: Intent) -> Result<Option<Value>, SessionError> {
        self.admit(Some(key)).await?;
        match self.shared.mode {
            Mode::Lock => self.locked_row(key, intent).await,
            Mode::Advisory | Mode::Serial | Mode::Plain => self.row(Which::Get, key).await,
        }
    }

    async fn scan(
        &mut self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, SessionError> {
        self.admit(None).await?;
        if self.shared.mode == Mode::Lock {
            self.lock_table(Locked::Share).await?;
        }
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let low = &*range.low;
        let rows = match range.high.as_deref() {
            Some(high) => {
                let scan = self.prepared(Which::Scan).await?;
                let parameters: [&(dyn ToSql + Sync); 3] = [&low, &most, &high];
                self.client().query(&scan, &parameters).await
            }
            None => {
                let scan = self.prepared(Which::ScanOn).await?;
                let parameters: [&(dyn ToSql + Sync); 2] = [&low, &most];
                self.client().query(&scan, &parameters).await
            }
        };
        let rows = rows.map_err(|error| meaning(&error))?;
        if rows.len() > limit {
            return Err(SessionError::Refused(OperationError::TooManyRows));
        }
        let pair = |row: &tokio_postgres::Row| {
            (row.get::<_, &[u8]>(0).into(), row.get::<_, &[u8]>(1).into())
        };
        Ok(rows.iter().map(pair).collect())
    }

    async fn put(&mut self, key: &Key, value: Option<&Value>) -> Result<(), SessionError> {
        self.admit(Some(key)).await?;
        let Some(value) = value else {
            let deleted = self.delete(key).await?;
            if deleted > 0 || self.shared.mode != Mode::Lock || self.locked >= Locked::Share {
                return Ok(());
            }
            // There was no row to lock: until the decision there will be none.
            self.lock_table(Locked::Update).await?;
            return self.delete(key).await.map(drop);
        };
        let put = self.prepared(Which::Put).await?;
        let parameters: [&(dyn ToSql + Sync); 2] = [&&**key, &&**value];
        let done = self.client().execute(&put, &parameters).await;
        done.map(drop).map_err(|error| meaning(&error))
    }

    async fn declare(&mut self, keys: &[Key]) -> Result<(), SessionError> {
        if self.shared.mode != Mode::Advisory {
            return Ok(());
        }
        if self.declared.is_some() {
            return Err(SessionError::Refused(OperationError::DeclaredLate));
        }
        // In one order for all, so that nobody waits in a circle at this site.
        let locks: BTreeSet<i64> = keys
            .iter()
            .map(|key| self.shared.advisory(Some(key)))
            .collect();
        let ask = locks
            .iter()
            .map(|lock| format!("SELECT pg_advisory_xact_lock({lock});"));
        let ask: String = ask.collect();
        self.run(&ask).await?;
        self.declared = Some(keys.iter().cloned().collect());
        Ok(())
    }

    async fn statement(&mut self, text: &str, limit: usize) -> Result<Table, SessionError> {
        statement::check(text).map_err(SessionError::Refused)?;
        self.admit(None).await?;
        self.used = true;
        match self.guarded(text, limit).await {
            Ok(table) => Ok(table),
            Err(Failure::TooManyRows) => Err(self.take_back(OperationError::TooManyRows).await),
            Err(Failure::Parameters) => {
                let error = OperationError::Statement {
                    code: "42P02".to_owned(),
                    why: "it has parameters; write the values into it".to_owned(),
                };
                Err(self.take_back(error).await)
            }
            Err(Failure::Server(error)) => match error.as_db_error() {
                Some(said) if !is_conflict(said.code().code()) => {
                    let error = OperationError::Statement {
                        code: said.code().code().to_owned(),
                        why: said.message().to_owned(),
                    };
                    Err(self.take_back(error).await)
                }
                Some(_) | None => Err(meaning(&error)),
            },
        }
    }
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSession")
            .field("process", &self.connection.process)
            .field("mode", &self.shared.mode)
            .finish_non_exhaustive()
    }
}
