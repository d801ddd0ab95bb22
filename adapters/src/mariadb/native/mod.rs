//! MariaDB as a database whose own locks give the order: SERIALIZABLE and XA.
//!
//! InnoDB at SERIALIZABLE is strong strict two-phase locking: in a branch, every plain `SELECT` locks what it reads, rows and
//! the gaps between them, and `XA PREPARE` lets none of these locks go. So sites of this kind are serializable together as
//! they stand, **while the server is up and the branch's session lives**: that plain two-phase commit over such servers is
//! right, and this mode is that. What it adds is that it stays right where a lock is lost, and that waits through several
//! sites are seen (no server finds such a circle before its time limit).
//!
//! Keys, ranges and statements are all taken. Statements: SELECT, INSERT, REPLACE, UPDATE, DELETE, WITH, VALUES, on tables of
//! InnoDB. Refused, with what to do instead: what begins, ends or divides transactions; what defines tables; what uses
//! variables, named locks or files, or reads past locks (`SKIP LOCKED`); what touches a table of another engine, also
//! through a view, a function or a trigger, because a branch of such changes is prepared and **not** rolled back. Names are
//! looked up without taking the statement apart: one whose column is called like a table of another engine in the same
//! schema is refused as well. What a definer's view or function uses and the site's user may not see is not found: give
//! that user the rights to see it. A table that is moved to another engine between the look and the statement is not noticed.
//!
//! Others may use the database too, at any level, as long as what they write goes through locks: their reads outside of
//! SERIALIZABLE are their own concern. The adapter's own table is guarded against their writes as in the mode `co`.
//!
//! What the server does that one would not expect, and what follows, besides what stands at [`super`]:
//! - Locks of what was only read are gone when the session of the prepared branch is, and when the server is killed; only
//!   rows that the branch has changed stay locked. So each branch keeps its session until the decision, before
//!   any branch is prepared all these sessions are asked whether they are there, and one that is not ends the life of the
//!   site. After a restart nothing begins before all that is in doubt is decided (`native`, D3). What others do directly in
//!   a server that comes up again before the site does is held back by nothing.
//! - At REPEATABLE READ and below, `XA PREPARE` lets read locks go. The level is set for each session, and looked at.
//! - 1205, a wait that took too long, undoes the statement alone; the branch is doomed here. 1213 leaves a branch that can
//!   only be rolled back.
//! - What a function or a trigger sets in a session stays set, and may be the level of the next transaction: a session in
//!   which one has run is closed after its transaction.
//! - A `SELECT` outside of a transaction takes no locks at any level: nothing is read outside of a branch here.
//! - The tables that tell who waits are copies of up to 100 ms ago, and for ever old to who looks more often than that: so
//!   a circle over two sites costs about that. And all who have only read are one and the same there, unless made to ask
//!   for a write lock: a branch does that at its beginning, in the empty table `branches` beside the site's. They need the
//!   right `PROCESS`. Waits for somebody's table lock or DDL are seen too.
//! - Locks of gaps let each other pass, and who wants to insert waits for all of them: readers of a key that is not there
//!   (also such that ask to write it) that keep coming hold up its insertion as long as they do. If they wait for the
//!   inserter at another site they are aborted, being the younger, and nothing moves if all of them try again at
//!   once. A key that is there has a queue.
//! - A prepared branch needs its session, so it counts among [`NativeOptions::mariadb`]'s `sessions`.
//!
//! It costs one message more for each vote, and one for each undecided branch of the site and round of votes; a
//! statement costs up to four more, for the look at what it touches.

mod catalog;
mod pinned;
mod session;
mod statement;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex as Blocking, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use co_core::AbortReason;
use mysql_async::Opts;
use participant::{Granularity, OperationError};
use tokio::sync::{Mutex, Semaphore};

use self::pinned::{Kept, Pinned};
use super::session::{Fault, NO_SUCH_THREAD, Session as Connection};
use super::sql::{self, Table};
use super::{End, MariaDb, MariaDbOptions, OpenError};
use crate::backend::{Backend, BackendError, NotPrepared};
use crate::branch::BranchName;
use crate::native::{Holder, SessionBackend, SessionError, SessionId, Traits, Wait};

pub use session::MariaDbSession;

/// The name of the engine.
const NAME: &str = "mariadb-lock";
/// How many sessions the adapter has besides those of transactions.
const CONTROL_SESSIONS: usize = 8;
/// How long a lost session may go unnoticed while nothing votes.
const LOST_LOOK: Duration = Duration::from_secs(1);
/// The right PROCESS is missing.
const NO_RIGHT: u16 = 1227;

/// Which server, which table.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// Where the rows are. `sessions` of it is how many transactions can be at work or undecided at once: the others wait,
    /// for `lock_timeout` at most. The database of its address is where names in statements are looked for, or else the
    /// schema.
    pub mariadb: MariaDbOptions,
    /// How long an operation waits for a lock before its transaction is aborted, in whole seconds: for those that no one
    /// else sees.
    pub lock_timeout: Duration,
}

impl NativeOptions {
    /// [`MariaDbOptions::new`] with up to 48 transactions at work, and one second for a lock.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            mariadb: MariaDbOptions {
                sessions: 48,
                ..MariaDbOptions::new(url)
            },
            lock_timeout: Duration::from_secs(1),
        }
    }
}

/// What the sessions have in common.
#[derive(Debug)]
pub(super) struct Shared {
    table: Table,
    /// Where names without a schema are.
    schema: String,
}

/// Whoever looks for waits, and when that was last.
#[derive(Default)]
struct Looker {
    session: Option<Connection>,
    last: Option<Instant>,
    looks: u64,
}

/// A MariaDB database with a session for every transaction.
pub struct MariaDbSessions {
    control: MariaDb,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    patience: Duration,
    idle: Blocking<Vec<Connection>>,
    pinned: Pinned,
    looker: Mutex<Looker>,
}

impl MariaDbSessions {
    /// Connects, makes the table if it is not there, and looks whether the server keeps what it promises.
    ///
    /// # Errors
    /// [`OpenError`] says what to change.
    pub async fn open(site: &str, options: NativeOptions) -> Result<Self, OpenError> {
        let NativeOptions {
            mariadb,
            lock_timeout,
        } = options;
        let size = mariadb.sessions.max(1);
        let table = Table::new(&mariadb.schema, &mariadb.table);
        let named = Opts::from_url(&mariadb.url).ok();
        let named = named.and_then(|opts| opts.db_name().map(str::to_owned));
        let schema = named.unwrap_or_else(|| mariadb.schema.clone());
        let control = MariaDbOptions {
            sessions: CONTROL_SESSIONS,
            ..mariadb
        };
        let control = MariaDb::open(site, control).await?;
        let database = control.pool.database().to_owned();
        let sessions = Self {
            control,
            shared: Arc::new(Shared { table, schema }),
            permits: Arc::new(Semaphore::new(size)),
            patience: lock_timeout,
            idle: Blocking::default(),
            pinned: Pinned::new(database.clone()),
            looker: Mutex::default(),
        };
        let mut first = sessions.connect().await?;
        sessions.make_numbers(&mut first).await?;
        let levels = first.rows("SELECT @@tx_isolation").await;
        let levels: Vec<String> = levels.map_err(|fault| sessions.control.pool.error(fault))?;
        if levels.first().is_none_or(|level| level != "SERIALIZABLE") {
            return Err(OpenError::Isolation {
                database,
                found: levels.concat(),
            });
        }
        let seen = first.run("SELECT COUNT(*) FROM information_schema.INNODB_TRX");
        match seen.await {
            Ok(()) => {}
            Err(fault) if fault.code() == Some(NO_RIGHT) => {
                return Err(OpenError::NoProcess { database });
            }
            Err(fault) => return Err(sessions.control.pool.error(fault).into()),
        }
        sessions.idle().push(first);
        Ok(sessions)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a session of transactions has besides what all of the adapter's have.
    fn settings(&self) -> String {
        let longest = self.patience.as_millis().div_ceil(1000).max(1);
        format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET innodb_lock_wait_timeout = {longest}; \
             SET lock_wait_timeout = {longest}; SET query_cache_type = OFF; USE {}",
            sql::identifier(&self.shared.schema)
        )
    }

    async fn connect(&self) -> Result<Connection, BackendError> {
        let mut connection = self.control.pool.connect().await?;
        connection.wait_for_locks(self.patience);
        let set = connection.run(&self.settings()).await;
        set.map_err(|fault| self.control.pool.error(fault))?;
        Ok(connection)
    }

    /// Makes the table by which branches get their numbers, unless it is there.
    async fn make_numbers(&self, connection: &mut Connection) -> Result<(), OpenError> {
        let numbers = self.shared.table.numbers();
        let look = format!("SELECT `id` FROM {numbers} LIMIT 1");
        if connection.run(&look).await.is_ok() {
            return Ok(());
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {numbers} (`id` INT NOT NULL PRIMARY KEY) ENGINE=InnoDB"
        );
        let made = connection.run(&create).await;
        made.map_err(|fault| self.control.pool.error(fault).into())
    }

    /// Gives a session back, for the next transaction; or closes it.
    fn spare(&self, connection: Connection, tainted: bool) {
        if connection.is_clean() && !tainted {
            self.idle().push(connection);
        }
    }

    /// Ends a prepared branch in the session that has it. Says whether that could be done.
    async fn finish_in_session(&self, end: End, branch: BranchName) -> Result<bool, BackendError> {
        let Some(Kept {
            mut session,
            permit,
            tainted,
        }) = self.pinned.take(branch).await
        else {
            return Ok(false);
        };
        match session.run(&self.control.ending(end, branch)).await {
            Ok(()) => {
                self.control.held.forget(branch);
                self.spare(session, tainted);
                drop(permit);
                Ok(true)
            }
            Err(fault @ Fault::Lost(_)) => Err(self.control.pool.error(fault)),
            // What the server makes of the branch is seen from another session, when this one is gone.
            Err(Fault::Said { .. } | Fault::Unclear(_) | Fault::Foreign(_)) => Ok(false),
        }
    }

    /// Undoes what a session has done; if it cannot, waits until the server has ended it.
    async fn undo(&self, session: MariaDbSession) {
        let MariaDbSession {
            mut connection,
            branch,
            tainted,
            permit,
            ..
        } = session;
        let xid = self.control.xid(branch);
        // Twice: an interruption that came too late for its statement may hit the next one.
        let undone = self.control.undo(&mut connection, &xid).await
            || self.control.undo(&mut connection, &xid).await;
        if undone {
            self.control.held.forget(branch);
            self.spare(connection, tainted);
        } else {
            drop(connection);
            if let Ok(mut session) = self.control.pool.session().await
                && self.control.evict(&mut session, branch).await.is_ok()
            {
                self.control.held.forget(branch);
            }
        }
        drop(permit);
    }

    /// Who waits for whom, by threads.
    async fn look(&self) -> Result<Vec<waits::Seen>, BackendError> {
        let mut looker = self.looker.lock().await;
        if let Some(last) = looker.last {
            tokio::time::sleep(waits::AGE.saturating_sub(last.elapsed())).await;
        }
        let mut session = match looker.session.take() {
            Some(session) => session,
            None => self.control.pool.connect().await?,
        };
        looker.looks += 1;
        let sites = self.shared.table.sites();
        let seen = waits::look(&mut session, &sites, looker.looks).await;
        looker.last = Some(Instant::now());
        let seen = seen.map_err(|fault| self.control.pool.error(fault))?;
        looker.session = Some(session);
        Ok(seen)
    }
}

/// The database cannot be reached, and nothing has begun there.
const fn away() -> SessionError {
    SessionError::Refused(OperationError::DatabaseAway)
}

impl SessionBackend for MariaDbSessions {
    type Session = MariaDbSession;

    fn traits(&self) -> Traits {
        Traits {
            name: NAME,
            granularity: Granularity::Table,
            statements: true,
            declares: false,
            read_locks_survive: false,
            locks_reads: true,
        }
    }

    async fn begin(&self, branch: BranchName) -> Result<MariaDbSession, SessionError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.patience, permit).await {
            Ok(permit) => permit.expect("the semaphore is never closed"),
            Err(_late) => return Err(SessionError::Aborted(AbortReason::Conflict)),
        };
        // The second statement gives it a number: `waits`.
        let begin = format!(
            "XA START {}; DO (SELECT `id` FROM {} FOR UPDATE)",
            self.control.xid(branch),
            self.shared.table.numbers()
        );
        loop {
            let idle = self.idle().pop();
            let fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect().await.map_err(|_away| away())?,
            };
            match connection.run(&begin).await {
                Ok(()) => {
                    self.control.held.begin(branch, connection.owner());
                    return Ok(MariaDbSession {
                        connection,
                        shared: Arc::clone(&self.shared),
                        permit,
                        branch,
                        tainted: false,
                        doomed: false,
                    });
                }
                // It had broken while nobody used it, or the server is gone.
                Err(Fault::Lost(_)) if !fresh => {}
                Err(Fault::Lost(_) | Fault::Unclear(_) | Fault::Foreign(_)) => return Err(away()),
                // A branch of that name is there.
                Err(Fault::Said { .. }) => {
                    return Err(SessionError::Aborted(AbortReason::Conflict));
                }
            }
        }
    }

    async fn prepare(
        &self,
        branch: BranchName,
        mut session: MariaDbSession,
    ) -> Result<(), NotPrepared> {
        if let Err(lost) = self.pinned.verify().await {
            self.undo(session).await;
            return Err(NotPrepared::Away(lost.to_string()));
        }
        if session.doomed {
            self.undo(session).await;
            return Err(NotPrepared::Refused("it has failed before".to_owned()));
        }
        let xid = self.control.xid(branch);
        let prepare = format!("XA END {xid}; XA PREPARE {xid}");
        match session.connection.run(&prepare).await {
            Ok(()) => {
                let kept = Kept {
                    session: session.connection,
                    permit: session.permit,
                    tainted: session.tainted,
                };
                let added = self.pinned.add(branch, kept).await;
                added.map_err(|lost| NotPrepared::Unknown(lost.to_string()))
            }
            Err(fault @ Fault::Lost(_)) => {
                let error = self.control.pool.error(fault);
                Err(NotPrepared::Unknown(error.to_string()))
            }
            Err(fault) => {
                let error = self.control.pool.error(fault);
                self.undo(session).await;
                Err(NotPrepared::Refused(error.to_string()))
            }
        }
    }

    async fn discard(&self, session: MariaDbSession) {
        self.undo(session).await;
    }

    async fn interrupt(&self, session: SessionId) -> Result<(), BackendError> {
        let mut control = self.control.pool.session().await?;
        match control.run(&format!("KILL QUERY {}", session.0)).await {
            // It has just gone.
            Err(fault) if fault.code() == Some(NO_SUCH_THREAD) => Ok(()),
            other => other.map_err(|fault| self.control.pool.error(fault)),
        }
    }

    async fn commit(&self, branch: BranchName) -> Result<(), BackendError> {
        if self.finish_in_session(End::Commit, branch).await? {
            return Ok(());
        }
        Backend::commit(&self.control, branch).await.map(drop)
    }

    async fn roll_back(&self, branch: BranchName) -> Result<(), BackendError> {
        if self.finish_in_session(End::RollBack, branch).await? {
            return Ok(());
        }
        Backend::roll_back(&self.control, branch).await.map(drop)
    }

    fn by_hand(&self, commits: bool, branch: BranchName) -> String {
        Backend::by_hand(&self.control, commits, branch)
    }

    /// Sessions of other adapters were ended when this one opened; those of an engine that had it before are ended here.
    async fn take_over(&self) -> Result<(), BackendError> {
        for (branch, _) in self.control.held.owners() {
            if !self.pinned.has(branch) {
                let mut session = self.control.pool.session().await?;
                self.control.evict(&mut session, branch).await?;
                self.control.held.forget(branch);
            }
        }
        Ok(())
    }

    async fn branches(&self) -> Result<Vec<BranchName>, BackendError> {
        Backend::branches(&self.control).await
    }

    async fn waits(&self) -> Result<Vec<Wait>, BackendError> {
        let seen = self.look().await?;
        let owners = self.control.held.owners().into_iter();
        let branches: BTreeMap<SessionId, BranchName> = owners
            .map(|(branch, owner)| (SessionId(owner.thread), branch))
            .collect();
        let wait = |(waiter, holder): waits::Seen| Wait {
            waiter,
            holder: holder
                .and_then(|holder| branches.get(&holder))
                .map_or(Holder::Foreign, |branch| Holder::Branch(*branch)),
        };
        Ok(seen.into_iter().map(wait).collect())
    }

    async fn lost(&self) -> BackendError {
        self.pinned.lost(LOST_LOOK).await
    }

    async fn mark(&self) -> Result<(u64, u64), BackendError> {
        Backend::mark(&self.control).await
    }

    async fn set_mark(&self, ordinal: u64, stamp: u64) -> Result<(), BackendError> {
        Backend::set_mark(&self.control, ordinal, stamp).await
    }
}

impl fmt::Debug for MariaDbSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbSessions")
            .field("control", &self.control)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
