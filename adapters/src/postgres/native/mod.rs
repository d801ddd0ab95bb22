//! PostgreSQL as a database whose own locks give the order.
//!
//! | mode | isolation | what it covers | what others may do in the same database |
//! |---|---|---|---|
//! | [`Mode::Lock`] | READ COMMITTED | keys and ranges | everything: ordinary statements that write respect the locks, and are respected |
//! | [`Mode::Advisory`] | READ COMMITTED | keys that were declared | read; who writes the table must take the same locks |
//! | [`Mode::Serial`] | READ COMMITTED | statements, keys and ranges | read; who writes must not |
//! | [`Mode::Plain`] | SERIALIZABLE | one site only: **over several sites it is not serializable** | everything, at SERIALIZABLE |
//!
//! Several sites in one database do not see each other's advisory locks: with `advisory` and `serial` give each site a
//! database of its own, or tables that no other site touches.
//!
//! A put that the server refuses (a constraint, a trigger, a key of more than about 2700 bytes that cannot be compressed, no
//! room) has failed the transaction there, and is an abort. A statement in mode `serial` runs behind a savepoint: refused,
//! it leaves the transaction as it was, and the server's code and words are told.
//!
//! Why each is right:
//! - `lock` reads a row with `FOR SHARE` and writes it at once, so a row is locked from the first touch to the decision.
//!   What is not there has no row to lock: who reads it, or a range, locks the table against all writing
//!   (`SHARE`), and looks again behind that.
//! - `advisory` locks a hash of each declared key, in one order for all, before its first statement on rows; two keys
//!   with one hash wait for each other in vain, which is all that comes of it. It has to be READ COMMITTED: at the
//!   other levels the statement that waits for the lock has taken the snapshot already.
//! - `serial` has one such lock for the whole site, asked for by the transaction's first statement. Nobody else of the
//!   site has anything undecided when it is granted, since a prepared transaction keeps it, over a crash as well; so at
//!   READ COMMITTED every statement behind it sees all that is decided, and nothing else of the site's.
//! - `plain` is what transaction managers do over databases that are serializable each by itself. A snapshot of one site and
//!   a snapshot of another have nothing to do with each other: with it two transactions can each read what the other
//!   overwrites. It is here to be compared with.
//!
//! What the server does that one would not expect, and what follows:
//! - `PREPARE TRANSACTION` in a transaction that has failed answers `ROLLBACK`, without an error. A `SAVEPOINT` before it is
//!   refused instead, and also when the connection was replaced and there is no transaction.
//! - `PREPARE TRANSACTION` can itself fail with 40001: that is a NO.
//! - A prepared transaction holds its row locks, table locks and advisory locks until it is decided, also after
//!   `kill -9`: so no fence is needed after a crash, and what has only read is prepared too.
//! - Who prepares is its owner, and `COMMIT PREPARED` asks for that role and that database.

mod locks;
mod session;
mod statement;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use co_core::AbortReason;
use participant::{Granularity, Key, OperationError};
use tokio::sync::Semaphore;
use tokio_postgres::{Config, NoTls};

use self::session::{Connection, meaning};
use super::pool::Process;
use super::sql::Table;
use super::{LOOK, OpenError, Postgres, PostgresOptions};
use crate::backend::{Backend, BackendError, NotPrepared};
use crate::branch::BranchName;
use crate::native::{SessionBackend, SessionError, SessionId, Traits, Wait};

pub use session::PostgresSession;

/// How many sessions the adapter has besides those of transactions.
const CONTROL_SESSIONS: usize = 8;

/// How transactions are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Row locks, and table locks for what has no row.
    Lock,
    /// Locks on keys that are declared before anything is done.
    Advisory,
    /// One transaction at a time, with statements of any kind.
    Serial,
    /// Not at all beyond one site: what two-phase commit alone gives, for comparison.
    Plain,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lock, Self::Advisory, Self::Serial, Self::Plain];

    /// The name of the engine.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "postgres-lock",
            Self::Advisory => "postgres-advisory",
            Self::Serial => "postgres-serial",
            Self::Plain => "postgres-plain",
        }
    }

    /// Whether who writes past the site is in no order: where the server's own locks give it, they give it to all.
    const fn needs_guard(self) -> bool {
        matches!(self, Self::Advisory)
    }

    const fn begin(self) -> &'static str {
        match self {
            Self::Lock | Self::Advisory | Self::Serial => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
            }
            Self::Plain => "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
        }
    }
}

/// Which server, which table, which mode.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// Where the rows are. A guard is made in the mode [`Mode::Advisory`] alone. `sessions` of it is how many transactions can be at work at once: the others wait, for
    /// `lock_timeout` at most.
    pub postgres: PostgresOptions,
    /// How transactions are kept apart.
    pub mode: Mode,
    /// How long an operation waits for a lock before its transaction is aborted: for those that no one else sees, and for
    /// those of transactions in doubt.
    pub lock_timeout: Duration,
}

impl NativeOptions {
    /// [`PostgresOptions::new`] with up to 48 transactions at work, and one second for a lock.
    #[must_use]
    pub fn new(url: &str, mode: Mode) -> Self {
        Self {
            postgres: PostgresOptions {
                sessions: 48,
                ..PostgresOptions::new(url)
            },
            mode,
            lock_timeout: Duration::from_secs(1),
        }
    }
}

/// What the sessions have in common.
#[derive(Debug)]
struct Shared {
    mode: Mode,
    table: Table,
    /// What every advisory lock of the site begins with.
    prefix: Vec<u8>,
    idle: Mutex<Vec<Connection>>,
    /// The server's processes that are behind sessions of this backend.
    own: Mutex<BTreeSet<i32>>,
}

impl Shared {
    /// The advisory lock of a key, or of the whole site.
    fn advisory(&self, key: Option<&Key>) -> i64 {
        // The 64-bit FNV-1a hash: every life of the adapter has to find the same.
        let kind: &[u8] = if key.is_some() { b"key\0" } else { b"site" };
        let bytes = self.prefix.iter().chain(kind);
        let bytes = bytes.chain(key.map(|key| &**key).unwrap_or_default());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.cast_signed()
    }
}

/// A PostgreSQL database with a session for every transaction.
#[derive(Debug)]
pub struct PostgresSessions {
    control: Postgres,
    config: Config,
    application: String,
    permits: Arc<Semaphore>,
    patience: Duration,
    shared: Arc<Shared>,
}

impl PostgresSessions {
    /// Connects, makes the table if it is not there, and looks whether the server is set up for prepared transactions.
    ///
    /// # Errors
    /// [`OpenError`] says what to change.
    pub async fn open(site: &str, options: NativeOptions) -> Result<Self, OpenError> {
        let NativeOptions {
            postgres,
            mode,
            lock_timeout,
        } = options;
        let mut config: Config = postgres
            .url
            .parse()
            .map_err(|error: tokio_postgres::Error| OpenError::Address {
                url: super::shown(&postgres.url),
                why: error.to_string(),
            })?;
        let application = format!("co session:{site}");
        config.application_name(&application);
        let own = config.get_options().unwrap_or_default();
        // The guard of the table lets sessions of the site through.
        let settings = format!(
            "{own} -c lock_timeout={} -c co.site={site}",
            lock_timeout.as_millis().max(1)
        );
        config.options(&settings);
        let size = postgres.sessions.max(1);
        let table = Table::new(&postgres.schema, &postgres.table, "key", "value");
        let prefix = [site, &postgres.schema, &postgres.table].map(|part| format!("{part}\0"));
        let control = Postgres::open(
            site,
            PostgresOptions {
                sessions: CONTROL_SESSIONS,
                guard: postgres.guard && mode.needs_guard(),
                ..postgres
            },
        )
        .await?;
        Ok(Self {
            control,
            config,
            application,
            permits: Arc::new(Semaphore::new(size)),
            patience: lock_timeout,
            shared: Arc::new(Shared {
                mode,
                table,
                prefix: prefix.concat().into_bytes(),
                idle: Mutex::default(),
                own: Mutex::default(),
            }),
        })
    }

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            // Whoever uses the client hears of it.
            let _broken = connection.await;
        });
        let statement =
            "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let row = client.query_one(statement, &[]).await?;
        let process = Process {
            pid: row.get(0),
            started: row.get(1),
        };
        self.own().insert(process.pid);
        Ok(Connection::new(client, process))
    }

    fn own(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.shared
            .own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, session: PostgresSession) {
        let PostgresSession {
            connection, permit, ..
        } = session;
        if connection.client.is_closed() {
            self.lose(connection);
        } else {
            self.idle().push(connection);
        }
        drop(permit);
    }

    /// The connection ends when its client is dropped.
    fn lose(&self, connection: Connection) {
        self.own().remove(&connection.process.pid);
        drop(connection);
    }

    /// Takes away what statements of a client's may have left in a session: settings, locks and the like.
    async fn clean(&self, session: PostgresSession) {
        let client = &session.connection.client;
        let statement = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; UNLISTEN *; CLOSE ALL; DISCARD TEMP; \
                         DISCARD SEQUENCES; SELECT pg_advisory_unlock_all()";
        if session.used && client.batch_execute(statement).await.is_err() {
            self.lose(session.connection);
        } else {
            self.give_back(session);
        }
    }
}

impl SessionBackend for PostgresSessions {
    type Session = PostgresSession;

    fn traits(&self) -> Traits {
        let mode = self.shared.mode;
        Traits {
            name: mode.name(),
            granularity: match mode {
                Mode::Lock => Granularity::Table,
                Mode::Advisory | Mode::Plain => Granularity::Key,
                Mode::Serial => Granularity::Site,
            },
            statements: mode == Mode::Serial,
            declares: mode == Mode::Advisory,
            read_locks_survive: true,
            locks_reads: mode != Mode::Plain,
        }
    }

    async fn begin(&self, _: BranchName) -> Result<PostgresSession, SessionError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.patience, permit).await {
            Ok(permit) => permit.expect("the semaphore is never closed"),
            Err(_late) => return Err(SessionError::Aborted(AbortReason::Conflict)),
        };
        let begin = self.shared.mode.begin();
        loop {
            let idle = self.idle().pop();
            let fresh = idle.is_none();
            let connection = match idle {
                Some(connection) => connection,
                None => self.connect().await.map_err(|_away| away())?,
            };
            match connection.client.batch_execute(begin).await {
                Ok(()) => {
                    let shared = Arc::clone(&self.shared);
                    return Ok(PostgresSession::new(connection, shared, permit));
                }
                // It had broken while nobody used it, or the server is gone.
                Err(_) => {
                    self.lose(connection);
                    if fresh {
                        return Err(away());
                    }
                }
            }
        }
    }

    async fn prepare(
        &self,
        branch: BranchName,
        session: PostgresSession,
    ) -> Result<(), NotPrepared> {
        // It belongs to who prepares it, whatever statements have made of the session.
        let role = if session.used {
            "RESET SESSION AUTHORIZATION; RESET ROLE; "
        } else {
            ""
        };
        let name = self.control.quoted(branch);
        let statement = format!("{role}SAVEPOINT co_guard; PREPARE TRANSACTION {name}");
        let process = session.connection.process.clone();
        self.control.unsure().insert(branch, process);
        let done = session.connection.client.batch_execute(&statement).await;
        let Err(error) = done else {
            self.control.unsure().remove(&branch);
            self.clean(session).await;
            return Ok(());
        };
        if let SessionError::Lost(why) = meaning(&error) {
            self.lose(session.connection);
            return Err(NotPrepared::Unknown(why));
        }
        self.control.unsure().remove(&branch);
        self.discard(session).await;
        Err(NotPrepared::Refused(
            self.control.pool.error(&error).to_string(),
        ))
    }

    async fn discard(&self, session: PostgresSession) {
        let undone = session.connection.client.batch_execute("ROLLBACK").await;
        if undone.is_err() {
            self.lose(session.connection);
        } else {
            self.clean(session).await;
        }
    }

    async fn interrupt(&self, session: SessionId) -> Result<(), BackendError> {
        let process = i32::try_from(session.0).unwrap_or_default();
        let control = self.control.pool.session().await?;
        // The signal is with the process when this is answered: before it reads its next message.
        let sent = control
            .client
            .query("SELECT pg_cancel_backend($1)", &[&process])
            .await;
        sent.map(drop)
            .map_err(|error| self.control.pool.error(&error))
    }

    async fn commit(&self, branch: BranchName) -> Result<(), BackendError> {
        Backend::commit(&self.control, branch).await.map(drop)
    }

    async fn roll_back(&self, branch: BranchName) -> Result<(), BackendError> {
        Backend::roll_back(&self.control, branch).await.map(drop)
    }

    fn by_hand(&self, commits: bool, branch: BranchName) -> String {
        Backend::by_hand(&self.control, commits, branch)
    }

    async fn take_over(&self) -> Result<(), BackendError> {
        let session = self.control.pool.session().await?;
        let own: Vec<i32> = self.own().iter().copied().collect();
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = $1 AND datname = current_database() AND pid <> ALL($2)";
        loop {
            let rows = session
                .client
                .query(statement, &[&self.application, &own])
                .await;
            let rows = rows.map_err(|error| self.control.pool.error(&error))?;
            if rows.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn branches(&self) -> Result<Vec<BranchName>, BackendError> {
        Backend::branches(&self.control).await
    }

    async fn waits(&self) -> Result<Vec<Wait>, BackendError> {
        let session = self.control.pool.session().await?;
        let rows = session.client.query(locks::QUERY, &[]).await;
        let rows = rows.map_err(|error| self.control.pool.error(&error))?;
        let site = &self.control.site;
        let locks: Vec<_> = rows
            .iter()
            .map(|row| locks::Lock::read(row, site))
            .collect();
        Ok(locks::waits(&locks))
    }

    async fn mark(&self) -> Result<(u64, u64), BackendError> {
        Backend::mark(&self.control).await
    }

    async fn set_mark(&self, ordinal: u64, stamp: u64) -> Result<(), BackendError> {
        Backend::set_mark(&self.control, ordinal, stamp).await
    }
}

/// The database cannot be reached, and nothing has begun there.
const fn away() -> SessionError {
    SessionError::Refused(OperationError::DatabaseAway)
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
