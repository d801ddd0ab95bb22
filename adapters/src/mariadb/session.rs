//! One connection, and what goes over it.
//!
//! Invariants:
//! - S1 A connection on which an answer is missing is never used again: what comes next would be that answer.
//! - S2 No connection is ever reset (`COM_RESET_CONNECTION`, `COM_CHANGE_USER`): with a prepared branch the server would
//!   answer the `XA COMMIT` that follows with success, and commit nothing.
//! - S3 A session holds a lock on its [`Slot`]'s name for as long as its thread in the server lives, and the server lets
//!   the lock go only after it has rolled back or put aside what the session was at. So who finds the lock free
//!   knows that nothing of that session will come any more.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Error, Opts, Row, Value};

use crate::backend::BackendError;
use crate::branch::Site;

/// How long an answer may take: beyond it the connection counts as broken. Waiting for locks ends long before.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a branch waits for a row that somebody outside the adapter has locked, in seconds.
const LOCK_WAIT: u32 = 2;
/// How long the server keeps a connection that says nothing, in seconds: as long as it can.
const SILENCE: u32 = 31_536_000;
/// After how much silence the network is asked whether it still reaches the server.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// No such branch, or one that belongs to a session that lives: the server has one code for both.
pub(super) const NOTA: u16 = 1397;
/// The branch was rolled back by the server.
pub(super) const RBROLLBACK: u16 = 1402;
/// There is a branch with that name.
pub(super) const DUPID: u16 = 1440;
/// No such thread.
pub(super) const NO_SUCH_THREAD: u16 = 1094;
/// Somebody has interrupted the statement.
pub(super) const INTERRUPTED: u16 = 1317;

/// Why a statement was not executed, or not to its end.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The connection is gone; whether it was executed is not known.
    Lost(String),
    /// The server refused it.
    Said { code: u16, why: String },
    /// It was executed, and the answer is not what it should be.
    Unclear(String),
    /// It is no MariaDB; this is what it says it is.
    Foreign(String),
}

impl Fault {
    pub(super) const fn code(&self) -> Option<u16> {
        match self {
            Self::Lost(_) | Self::Unclear(_) | Self::Foreign(_) => None,
            Self::Said { code, .. } => Some(*code),
        }
    }

    pub(super) fn into_error(self, database: &str) -> BackendError {
        let database = database.to_owned();
        match self {
            Self::Lost(why) => BackendError::Away { database, why },
            Self::Said { code, why } => BackendError::Refused {
                database,
                code: code.to_string(),
                why,
            },
            Self::Unclear(why) => BackendError::Refused {
                database,
                code: "answer".to_owned(),
                why,
            },
            Self::Foreign(version) => BackendError::Refused {
                database,
                code: "version".to_owned(),
                why: format!("it says that it is version {version}"),
            },
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Error::Server(said) = error else {
            return Self::Lost(error.to_string());
        };
        // Errors of the way there, servers that stop, too many connections, and a session that was killed.
        let lost = said.state.starts_with("08") || matches!(said.code, 1203 | 1927 | INTERRUPTED);
        if lost {
            Self::Lost(format!("{} ({})", said.message, said.code))
        } else {
            Self::Said {
                code: said.code,
                why: said.message,
            }
        }
    }
}

/// The name that a session has in the server, besides its number: numbers begin anew with every start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// How many names a site has.
    pub(super) const COUNT: u32 = 1000;

    /// As an expression. Names of locks do not tell capitals from small letters, names of sites do.
    pub(super) fn name(self, site: &Site) -> String {
        format!("CONCAT('co:', MD5('{}'), ':{}')", site.name(), self.0)
    }
}

/// Who has a branch: a thread of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) slot: Slot,
    pub(super) thread: u64,
}

/// A connection.
pub(super) struct Session {
    conn: Conn,
    thread: u64,
    slot: Option<Slot>,
    /// Nothing is on its way (S1).
    clean: bool,
    most: usize,
    patience: Duration,
    /// Statements are interrupted on purpose, and the session goes on behind that.
    interruptible: bool,
}

/// What a statement returned, as text.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) affected: u64,
    /// There were more rows than asked for.
    pub(super) too_many: bool,
}

impl Session {
    /// Connects, and makes the session one of an adapter.
    pub(super) async fn connect(opts: Opts) -> Result<Self, Fault> {
        let opts = mysql_async::OptsBuilder::from_opts(opts)
            .db_name(None::<String>)
            // Whoever is told to go by TCP may have somebody there who listens.
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(0);
        let conn = answer(tokio::time::timeout(PATIENCE, Conn::new(opts)).await)?;
        let mut session = Self {
            conn,
            thread: 0,
            slot: None,
            clean: true,
            most: 0,
            patience: PATIENCE,
            interruptible: false,
        };
        let of_session = "SELECT VERSION(), CONNECTION_ID(), @@max_allowed_packet";
        let rows: Vec<(String, u64, usize)> = session.rows(of_session).await?;
        let Some((version, thread, most)) = rows.into_iter().next() else {
            return Err(Fault::Lost("the session has no number".to_owned()));
        };
        // Others do not know all of the settings.
        if !version.contains("MariaDB") {
            return Err(Fault::Foreign(version));
        }
        session.run(&setup()).await?;
        session.thread = thread;
        session.most = most;
        Ok(session)
    }

    /// Takes the name, if nobody has it (S3).
    pub(super) async fn take(&mut self, site: &Site, slot: Slot) -> Result<bool, Fault> {
        let statement = format!("SELECT GET_LOCK({}, 0)", slot.name(site));
        let rows: Vec<Option<i64>> = self.rows(&statement).await?;
        let taken = rows.first().copied().flatten() == Some(1);
        if taken {
            self.slot = Some(slot);
        }
        Ok(taken)
    }

    /// Who this is, to the server.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            slot: self.slot.expect("it has taken a name"),
            thread: self.thread,
        }
    }

    pub(super) const fn thread(&self) -> u64 {
        self.thread
    }

    /// The longest message, in bytes.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Whether it can be used (S1).
    pub(super) const fn is_clean(&self) -> bool {
        self.clean
    }

    /// Makes it one whose statements wait so long for locks, and may be interrupted.
    pub(super) fn wait_for_locks(&mut self, longest: Duration) {
        self.patience = PATIENCE + longest;
        self.interruptible = true;
    }

    /// Runs one or more statements; the first that fails is the last.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        self.clean = false;
        let done = tokio::time::timeout(self.patience, self.conn.query_drop(sql)).await;
        self.answered(done)
    }

    /// Runs one statement, for its rows.
    pub(super) async fn rows<T: FromRow>(&mut self, sql: &str) -> Result<Vec<T>, Fault> {
        self.clean = false;
        let done = tokio::time::timeout(self.patience, self.conn.query(sql)).await;
        let rows: Vec<Row> = self.answered(done)?;
        let understood = rows.into_iter().map(T::from_row_opt);
        understood.collect::<Result<_, _>>().map_err(|_row| {
            // The row is not repeated: it may be a client's.
            let verb = sql.split_whitespace().next().unwrap_or_default();
            Fault::Unclear(format!(
                "the answer to a {verb} does not have the columns, types or nulls that are expected"
            ))
        })
    }

    /// Runs one statement of a client's, for what it returns: `limit` rows at most.
    pub(super) async fn table(&mut self, sql: &str, limit: usize) -> Result<Rows, Fault> {
        self.clean = false;
        let done = tokio::time::timeout(self.patience, table(&mut self.conn, sql, limit)).await;
        self.answered(done)
    }

    /// Asks whether the session is there: an answer says that it was when the question had come.
    pub(super) async fn ping(&mut self) -> Result<(), Fault> {
        self.clean = false;
        let done = tokio::time::timeout(PATIENCE, self.conn.ping()).await;
        self.answered(done)
    }

    fn answered<T>(
        &mut self,
        done: Result<Result<T, Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Fault> {
        let answer = match done {
            Ok(Err(Error::Server(said))) if self.interruptible && said.code == INTERRUPTED => {
                Err(Fault::Said {
                    code: said.code,
                    why: said.message,
                })
            }
            done => answer(done),
        };
        self.clean = !matches!(answer, Err(Fault::Lost(_)));
        answer
    }
}

async fn table(conn: &mut Conn, sql: &str, limit: usize) -> Result<Rows, Error> {
    let mut answer = conn.query_iter(sql).await?;
    let columns = answer.columns();
    let names = columns.iter().flat_map(|columns| columns.iter());
    let mut rows = Rows {
        columns: names.map(|it| it.name_str().into_owned()).collect(),
        ..Rows::default()
    };
    while let Some(row) = answer.next().await? {
        if rows.rows.len() == limit {
            rows.too_many = true;
            continue;
        }
        let cells = row.unwrap().into_iter().map(|cell| match cell {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            // Not in an answer to a statement that is sent as text.
            other @ (Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Date(..)
            | Value::Time(..)) => Some(other.as_sql(true)),
        });
        rows.rows.push(cells.collect());
    }
    rows.affected = match rows.columns.is_empty() {
        true => answer.affected_rows(),
        false => u64::try_from(rows.rows.len()).unwrap_or(u64::MAX),
    };
    answer.drop_result().await?;
    Ok(rows)
}

fn answer<T>(done: Result<Result<T, Error>, tokio::time::error::Elapsed>) -> Result<T, Fault> {
    match done {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Lost("no answer for too long".to_owned())),
    }
}

/// What the adapter relies on, whatever the server's settings are.
pub(super) fn setup() -> String {
    let settings = [
        // Prepared branches of others are not seen, and there are no locks on gaps.
        "SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
        "SESSION TRANSACTION READ WRITE".to_owned(),
        // Times of day that a clock shows twice a year are one moment.
        "time_zone = '+00:00'".to_owned(),
        "autocommit = 1".to_owned(),
        "completion_type = 0".to_owned(),
        // What does not fit is refused, not cut.
        "sql_mode = 'STRICT_ALL_TABLES'".to_owned(),
        "sql_safe_updates = 0".to_owned(),
        "sql_select_limit = DEFAULT".to_owned(),
        "max_statement_time = 0".to_owned(),
        format!("innodb_lock_wait_timeout = {LOCK_WAIT}"),
        format!("lock_wait_timeout = {LOCK_WAIT}"),
        // A prepared branch waits in its session for the decision.
        format!("wait_timeout = {SILENCE}"),
        "idle_transaction_timeout = 0".to_owned(),
        "idle_write_transaction_timeout = 0".to_owned(),
        format!("{} = 1", super::sql::WRITER),
    ];
    settings.map(|setting| format!("SET {setting}")).join("; ")
}

#[cfg(test)]
mod tests {
    use databases::{Product, Server};

    use super::*;
    use crate::threads::Threads;

    #[test]
    fn an_answer_that_is_not_understood_is_an_error_and_the_session_goes_on() {
        let Some(server) = Server::for_test(Product::MariaDb, &[]) else {
            return;
        };
        let opts = Opts::from_url(&server.url()).unwrap();
        let threads = Threads::start().unwrap();
        threads.wait_for(async move {
            let mut session = Session::connect(opts).await.unwrap();
            for wrong in ["SELECT 1 UNION SELECT NULL", "SELECT 'one'"] {
                let refused = session.rows::<i64>(wrong).await.unwrap_err();
                assert!(
                    matches!(&refused, Fault::Unclear(why) if why.contains("answer to a SELECT")),
                    "{refused:?}"
                );
            }
            assert!(session.is_clean(), "S1: the answer was read to its end");
            let rows: Vec<(Option<i64>, String)> = session.rows("SELECT NULL, 'x'").await.unwrap();
            assert_eq!(rows, [(None, "x".to_owned())]);
        });
    }
}
