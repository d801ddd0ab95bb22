//! One session: a transaction's operations, in a branch from its beginning.

use std::sync::Arc;

use co_core::AbortReason;
use participant::{Change, Key, KeyRange, OperationError, Table, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::super::session::{Fault, INTERRUPTED, Session as Connection};
use super::{Shared, catalog, statement};
use crate::branch::BranchName;
use crate::native::{Intent, Session, SessionError, SessionId};

/// The wait for a lock took too long: the server has undone the statement, and would go on with the transaction.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// A circle of waits: the server has undone the transaction.
const DEADLOCK: u16 = 1213;
/// The same, found later.
const XA_DEADLOCK: u16 = 1614;
/// What leaves a statement half done, or the transaction undone: out of room for locks or rows, an engine's error, a branch
/// that is rolled back or timed out, a limit on time.
const DOOMING: [u16; 12] = [
    1030,
    1114,
    1180,
    LOCK_WAIT_TIMEOUT,
    1206,
    DEADLOCK,
    INTERRUPTED,
    1402,
    1613,
    XA_DEADLOCK,
    1969,
    3024,
];

/// A row of a scan: see [`pairs`](super::super::pairs).
type Row = (Vec<u8>, Vec<u8>, Vec<u8>);

/// A session of [`MariaDbSessions`](super::MariaDbSessions).
pub struct MariaDbSession {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) branch: BranchName,
    /// Functions or triggers of others have run in it, and what they have set stays set: nobody else gets it.
    pub(super) tainted: bool,
    /// Something is half done, and must not be prepared.
    pub(super) doomed: bool,
}

/// What an error means to a transaction that is not to go on after it.
fn meaning(fault: Fault) -> SessionError {
    match fault {
        Fault::Lost(why) | Fault::Foreign(why) => SessionError::Lost(why),
        Fault::Said {
            code: DEADLOCK | XA_DEADLOCK,
            ..
        } => SessionError::Aborted(AbortReason::Cycle),
        Fault::Said { .. } | Fault::Unclear(_) => SessionError::Aborted(AbortReason::Conflict),
    }
}

impl MariaDbSession {
    /// Notes that what has failed may have left something half done.
    fn failed(&mut self, fault: Fault) -> SessionError {
        self.doomed = true;
        meaning(fault)
    }

    /// A statement that was not run, or is undone: the transaction is as it was.
    fn refused(code: impl ToString, why: String) -> SessionError {
        SessionError::Refused(OperationError::Statement {
            code: code.to_string(),
            why,
        })
    }
}

impl Session for MariaDbSession {
    fn id(&self) -> SessionId {
        SessionId(self.connection.thread())
    }

    async fn get(&mut self, key: &Key, intent: Intent) -> Result<Option<Value>, SessionError> {
        let mut statement = self.shared.table.get(key);
        if intent == Intent::Write {
            statement.push_str(" FOR UPDATE");
        }
        let rows: Result<Vec<Vec<u8>>, Fault> = self.connection.rows(&statement).await;
        let rows = rows.map_err(|fault| self.failed(fault))?;
        Ok(rows.into_iter().next().map(Value::from))
    }

    async fn scan(
        &mut self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, SessionError> {
        let statement = self.shared.table.scan(range, limit.saturating_add(1));
        let rows: Result<Vec<Row>, Fault> = self.connection.rows(&statement).await;
        let rows = rows.map_err(|fault| self.failed(fault))?;
        if rows.len() > limit {
            return Err(SessionError::Refused(OperationError::TooManyRows));
        }
        Ok(super::super::pairs(rows))
    }

    async fn put(&mut self, key: &Key, value: Option<&Value>) -> Result<(), SessionError> {
        let key = Key::clone(key);
        let changes = match value {
            Some(value) => vec![Change::Put(key, Value::clone(value))],
            // To delete what is not there locks no row, and who reads that it is not there would not wait for this one.
            None => vec![
                Change::Put(Key::clone(&key), Value::from([])),
                Change::Delete(key),
            ],
        };
        for change in changes {
            for statement in self.shared.table.changes(&[change]) {
                let done = self.connection.run(&statement).await;
                done.map_err(|fault| self.failed(fault))?;
            }
        }
        Ok(())
    }

    async fn statement(&mut self, text: &str, limit: usize) -> Result<Table, SessionError> {
        let names = statement::check(text).map_err(SessionError::Refused)?;
        let changes = !statement::only_reads(text);
        match catalog::look(&mut self.connection, &self.shared, names, changes).await {
            Ok(catalog::Look::Fine { routines }) => self.tainted |= routines,
            Ok(catalog::Look::Refused(why)) => return Err(Self::refused("engine", why)),
            Err(fault) => return Err(self.failed(fault)),
        }
        match self.connection.table(text, limit).await {
            // What it has changed stays changed, and nobody has seen what.
            Ok(rows) if rows.too_many && changes => {
                self.doomed = true;
                Err(SessionError::Aborted(AbortReason::Conflict))
            }
            Ok(rows) if rows.too_many => Err(SessionError::Refused(OperationError::TooManyRows)),
            Ok(rows) => Ok(Table {
                columns: rows.columns,
                rows: rows.rows,
                affected: rows.affected,
            }),
            Err(Fault::Said { code, why }) if !DOOMING.contains(&code) => {
                Err(Self::refused(code, why))
            }
            Err(fault) => Err(self.failed(fault)),
        }
    }
}

impl std::fmt::Debug for MariaDbSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MariaDbSession")
            .field("branch", &self.branch)
            .field("thread", &self.connection.thread())
            .finish_non_exhaustive()
    }
}
