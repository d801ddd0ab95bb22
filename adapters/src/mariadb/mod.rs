//! MariaDB as a database with prepared branches.
//!
//! Keys and values are the two columns of one table. Reads are single statements outside a transaction, at READ COMMITTED:
//! each sees the newest committed rows, waits for no lock, and takes none. A branch is one message to the server, from
//! `XA START` to `XA PREPARE`, of which the first statement that fails is the last; one that is too long for a message
//! is several.
//!
//! What the server does that one would not expect, and what follows:
//! - `XA COMMIT` from any other session, while the one that prepared the branch lives, is answered with 1397, "unknown
//!   XID": just as if the branch had been finished before. So a branch stays in its session until the decision, and who
//!   gets 1397 looks at `XA RECOVER`: if the branch is listed, the session that has it is ended.
//! - A connection may break while `XA PREPARE` is on its way. Its thread may prepare the branch later, so the branch is
//!   rolled back only when that thread is gone. This holds over the adapter's own crash as well: whoever opens
//!   first ends all sessions that the site has had.
//! - Resetting a connection that has a prepared branch (`COM_RESET_CONNECTION`, which most pools send between two callers)
//!   lets the `XA COMMIT` that follows answer OK and commit nothing. There is no reset here.
//! - A lock wait timeout (1205) undoes the statement alone, and the rest of the branch could be prepared. A branch in which
//!   anything has failed is rolled back.
//! - A branch that has changed nothing, such as the deletion of a key that is not there, is gone when its session ends: its
//!   `XA COMMIT` says 1402 or 1397 then, which is [`Ending::Before`].
//! - Changes in a table that is not of InnoDB are made in a branch, and are not undone with it. Such a table is refused.
//! - At SERIALIZABLE a prepared branch keeps locks on the gaps between its rows, and others with different keys wait for
//!   it. At READ COMMITTED they do not.
//! - A server without `innodb_flush_log_at_trx_commit = 1` may lose prepared branches. It is refused, unless
//!   [`MariaDbOptions::lazy_flush`] takes that.
//! - An index holds 3072 bytes, and keys may be longer: of these the first 3040 bytes and a digest of the rest are in it.
//!
//! Other writers are kept out of the table by triggers (INSERT, UPDATE, DELETE, REPLACE, LOAD DATA; INSERT
//! IGNORE writes nothing either). `TRUNCATE`, `DROP` and `ALTER` fire no trigger: grant them to
//! nobody. A session may say that it is an adapter's (`SET @co_writer = 1`); the triggers guard against mistakes, not
//! against intent.
//!
//! Of a site there is one adapter at a time: whoever opens it takes it over, and the former one is refused everything
//! from then on (`fenced`). The first to open needs the rights to make the database, its tables and triggers; who opens
//! what is there needs SELECT, INSERT, UPDATE and DELETE on it, and no right of the whole server: threads are ended by
//! the user whose they are, so the site keeps its user.
//!
//! What it costs: on loopback, without flushes, a branch of two rows and its commit take 0.11 ms as two messages and 0.14 ms
//! with a message for each statement; over a network every message saved is a round trip. The guards cannot be told from
//! noise there. A YES costs one flush of the server's log, and so does the commit, in the background.
//!
//! ```no_run
//! use adapters::mariadb::{MariaDb, MariaDbOptions, OpenError};
//! use adapters::ordered;
//! use participant::engine::Options;
//!
//! #[derive(Debug, thiserror::Error)]
//! enum Failed {
//!     #[error(transparent)]
//!     Database(#[from] OpenError),
//!     #[error(transparent)]
//!     Adapter(#[from] ordered::OpenError),
//! }
//!
//! let life = std::time::UNIX_EPOCH.elapsed()?.as_micros() as u64;
//! let database = MariaDbOptions::new("mysql://co:secret@127.0.0.1:3306");
//! let connect = async { Ok::<_, Failed>(MariaDb::open("orders", database).await?) };
//! let participant = ordered::open(Options::default(), life, connect)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod checks;
mod claim;
mod held;
pub mod native;
mod options;
mod pool;
mod session;
mod sql;
mod users;
mod xid;

use std::fmt;

use mysql_async::{Opts, Row};
use participant::{Change, Key, KeyRange, Value};

use self::checks::Checks;
#[cfg(feature = "command")]
pub(crate) use self::checks::{LONGEST_ROW, OLDEST, release};
pub(crate) use self::claim::claim;
use self::held::HeldBranches;
pub use self::options::{MariaDbOptions, OpenError};
use self::pool::{Held, Identity, LOOK, Pool, evict, evict_all};
use self::session::{DUPID, Fault, NOTA, RBROLLBACK, Session, Slot};
use self::sql::{Table, messages};
use self::users::UsersTable;
#[cfg(feature = "command")]
pub(crate) use self::xid::identifier_of_row;
use crate::address::shown;
use crate::backend::{Backend, BackendError, Ending, NotPrepared};
use crate::branch::{BranchName, Site};

/// How often a branch is found in the hands of a session that is not the adapter's, before that is an error.
const LOOKS: u32 = 100;

/// A table in a MariaDB database.
pub struct MariaDb {
    site: Site,
    table: Table,
    /// Somebody else's, if the rows are in such a one.
    users: Option<UsersTable>,
    pool: Pool,
    held: HeldBranches,
}

/// How a branch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Commit,
    RollBack,
}

impl MariaDb {
    /// Connects, looks whether the server keeps what it promises, makes the table if it is not there, and ends all sessions
    /// that an earlier adapter of this site may have left.
    ///
    /// # Errors
    /// [`OpenError`] says what to change.
    pub async fn open(site: &str, options: MariaDbOptions) -> Result<Self, OpenError> {
        let site = Site::new(site)?;
        let opts = Opts::from_url(&options.url).map_err(|error| OpenError::Address {
            url: shown(&options.url),
            why: error.to_string(),
        })?;
        let database = format!("MariaDB at {}:{}", opts.ip_or_hostname(), opts.tcp_port());
        let table = Table::new(&options.schema, &options.table);
        let lost = |fault: Fault| match fault {
            Fault::Foreign(version) => OpenError::Version {
                database: database.clone(),
                version,
            },
            fault @ (Fault::Lost(_) | Fault::Said { .. } | Fault::Unclear(_)) => {
                OpenError::Backend(fault.into_error(&database))
            }
        };
        let mut session = Session::connect(opts.clone()).await.map_err(lost)?;
        let mut checks = Checks {
            session: &mut session,
            database: &database,
            table: &table,
        };
        checks.server(&options).await?;
        checks.tables(options.columns.is_none()).await?;
        let users = match &options.columns {
            Some(columns) => Some(checks.users(&options, columns).await?),
            None => None,
        };
        checks.belongs(site.name(), options.log.as_ref()).await?;
        let epoch = checks.next_epoch(site.name()).await?;
        evict_all(&mut session, &site).await.map_err(lost)?;
        let identity = Identity {
            site: site.clone(),
            sites: table.sites(),
            epoch,
        };
        let most = usize::try_from(Slot::COUNT / 4).unwrap_or(usize::MAX);
        let size = options.sessions.clamp(1, most);
        Ok(Self {
            pool: Pool::new(opts, database, identity, size),
            site,
            table,
            users,
            held: HeldBranches::default(),
        })
    }

    fn xid(&self, branch: BranchName) -> String {
        xid::literal(&self.site, branch)
    }

    /// Asks for rows; once more on another connection if the first is broken: it may have been so for long.
    async fn read<T>(&self, statement: &str) -> Result<Vec<T>, BackendError>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        let mut session = self.pool.session().await?;
        match session.rows(statement).await {
            Ok(rows) => return Ok(rows),
            Err(fault @ (Fault::Said { .. } | Fault::Unclear(_) | Fault::Foreign(_))) => {
                return Err(self.pool.error(fault));
            }
            Err(fault @ Fault::Lost(_)) => {
                let _broken = self.pool.error(fault);
            }
        }
        drop(session);
        let mut session = self.pool.session().await?;
        let rows = session.rows(statement).await;
        rows.map_err(|fault| self.pool.error(fault))
    }

    fn changes(&self, changes: &[Change]) -> Vec<String> {
        match &self.users {
            Some(users) => users.changes(changes),
            None => self.table.changes(changes),
        }
    }

    /// Sends a branch, from its beginning to its preparation.
    async fn send(
        &self,
        session: &mut Session,
        xid: &str,
        changes: &[Change],
    ) -> Result<(), Fault> {
        let mut statements = vec![format!("XA START {xid}")];
        statements.extend(self.changes(changes));
        statements.push(format!("XA END {xid}"));
        statements.push(format!("XA PREPARE {xid}"));
        for message in messages(statements, session.most()) {
            session.run(&message).await?;
        }
        Ok(())
    }

    /// Rolls back a branch that failed while it was made, in the session where that was. Says whether it is gone.
    async fn undo(&self, session: &mut Session, xid: &str) -> bool {
        // Refused if the server has ended it already, as after a deadlock.
        let _ended = session.run(&format!("XA END {xid}")).await;
        session.is_clean() && session.run(&format!("XA ROLLBACK {xid}")).await.is_ok()
    }

    /// The branches of this site that are prepared.
    async fn listed(&self, session: &mut Session) -> Result<Vec<BranchName>, Fault> {
        let rows: Vec<(i64, usize, usize, Vec<u8>)> = session.rows("XA RECOVER").await?;
        let parse = |(format, first, second, data): (i64, usize, usize, Vec<u8>)| {
            xid::parse(&self.site, (format, first, second, &data))
        };
        Ok(rows.into_iter().filter_map(parse).collect())
    }

    /// Ends a branch in the session that has it. Says whether that could be done.
    async fn finish_in_session(&self, end: End, branch: BranchName) -> Result<bool, BackendError> {
        let Some(mut session) = self.held.session(branch) else {
            return Ok(false);
        };
        match session.run(&self.ending(end, branch)).await {
            Ok(()) => {
                self.held.forget(branch);
                self.pool.give_back(session);
                Ok(true)
            }
            Err(fault @ Fault::Lost(_)) => Err(self.pool.error(fault)),
            // What the server makes of the branch is seen from another session, when this one is gone.
            Err(Fault::Said { .. } | Fault::Unclear(_) | Fault::Foreign(_)) => Ok(false),
        }
    }

    fn ending(&self, end: End, branch: BranchName) -> String {
        let verb = match end {
            End::Commit => "COMMIT",
            End::RollBack => "ROLLBACK",
        };
        format!("XA {verb} {}", self.xid(branch))
    }

    /// Ends a branch that no session of this adapter has, or that its session could not end.
    async fn finish(&self, end: End, branch: BranchName) -> Result<Ending, BackendError> {
        let statement = self.ending(end, branch);
        let mut looks = 0;
        let ending = loop {
            let mut session = self.pool.session().await?;
            let Err(fault) = session.run(&statement).await else {
                break Ending::Now;
            };
            if !matches!(fault.code(), Some(NOTA | RBROLLBACK)) {
                return Err(self.pool.error(fault));
            }
            let listed = self.listed(&mut session).await;
            let listed = listed.map_err(|fault| self.pool.error(fault))?;
            if !listed.contains(&branch) {
                // It had ended before, or there was nothing in it.
                break Ending::Before;
            }
            // The session that made it lives.
            self.evict(&mut session, branch).await?;
            looks += 1;
            if looks == LOOKS {
                return Err(self.pool.error(fault));
            }
            tokio::time::sleep(LOOK).await;
        };
        self.held.forget(branch);
        Ok(ending)
    }

    /// Waits until the session that has made the branch, or is at it, is gone.
    async fn evict(&self, session: &mut Session, branch: BranchName) -> Result<(), BackendError> {
        let Some(owner) = self.held.owner(branch) else {
            return Ok(());
        };
        if owner.thread == session.thread() {
            return Ok(());
        }
        let gone = evict(session, &self.site, owner).await;
        gone.map_err(|fault| self.pool.error(fault))
    }

    /// One statement that changes something, whether it is done once or twice.
    async fn run(&self, statements: Vec<String>) -> Result<(), BackendError> {
        let mut session = self.pool.session().await?;
        for message in messages(statements, session.most()) {
            if let Err(fault) = session.run(&message).await {
                // It may stand in a transaction.
                session.discard();
                return Err(self.pool.error(fault));
            }
        }
        Ok(())
    }

    fn not_prepared(&self, session: Held<'_>, fault: Fault) -> NotPrepared {
        let error = self.pool.error(fault);
        session.discard();
        NotPrepared::Unknown(error.to_string())
    }
}

/// Rows of a scan, in the order of their keys.
fn pairs(rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>) -> Vec<(Key, Value)> {
    let pair = |(key, rest, value): (Vec<u8>, Vec<u8>, Vec<u8>)| {
        (Key::from([key, rest].concat()), Value::from(value))
    };
    let mut rows: Vec<_> = rows.into_iter().map(pair).collect();
    // Keys that are longer than the index holds stand in the order of their digests.
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

impl fmt::Debug for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDb")
            .field("site", &self.site)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl Backend for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn check_key(&self, key: &Key) -> Result<(), &'static str> {
        let users = self.users.as_ref();
        users.map_or(Ok(()), |users| users.check_key(key))
    }

    fn check_range(&self, range: &KeyRange) -> Result<(), &'static str> {
        let users = self.users.as_ref();
        users.map_or(Ok(()), |users| users.check_range(range))
    }

    fn check_change(&self, change: &Change) -> Result<(), &'static str> {
        let users = self.users.as_ref();
        users.map_or(Ok(()), |users| users.check_change(change))
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, BackendError> {
        if let Some(users) = &self.users {
            let rows: Vec<Row> = self.read(&users.get(key)).await?;
            return Ok(rows.first().map(|row| users.value(row, 0)));
        }
        let rows: Vec<Vec<u8>> = self.read(&self.table.get(key)).await?;
        Ok(rows.into_iter().next().map(Value::from))
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, BackendError> {
        if let Some(users) = &self.users {
            let statement = users.scan(range, limit.saturating_add(1));
            let rows: Vec<Row> = self.read(&statement).await?;
            if rows.len() > limit {
                return Err(BackendError::TooManyRows);
            }
            let pairs = rows.iter().map(|row| users.pair(row));
            let pairs: Option<Vec<_>> = pairs.collect();
            return pairs.ok_or_else(|| {
                self.pool
                    .refused("table", "a key column has changed its type")
            });
        }
        let statement = self.table.scan(range, limit.saturating_add(1));
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = self.read(&statement).await?;
        if rows.len() > limit {
            return Err(BackendError::TooManyRows);
        }
        Ok(pairs(rows))
    }

    async fn prepare(&self, branch: BranchName, changes: &[Change]) -> Result<(), NotPrepared> {
        let session = self.pool.session().await;
        let mut session = session.map_err(|error| NotPrepared::without_session(&error))?;
        let xid = self.xid(branch);
        self.held.begin(branch, session.owner());
        let Err(fault) = self.send(&mut session, &xid, changes).await else {
            let too_many = self.held.keep(branch, session.keep(), self.pool.size());
            drop(too_many);
            return Ok(());
        };
        match fault.code() {
            None => return Err(self.not_prepared(session, fault)),
            // Nothing was begun, and the branch of that name is not to be touched.
            Some(DUPID) => {}
            Some(_) if !self.undo(&mut session, &xid).await => {
                return Err(self.not_prepared(session, fault));
            }
            Some(_) => {}
        }
        self.held.forget(branch);
        Err(NotPrepared::Refused(self.pool.error(fault).to_string()))
    }

    async fn commit(&self, branch: BranchName) -> Result<Ending, BackendError> {
        if self.finish_in_session(End::Commit, branch).await? {
            return Ok(Ending::Now);
        }
        self.finish(End::Commit, branch).await
    }

    async fn roll_back(&self, branch: BranchName) -> Result<Ending, BackendError> {
        if self.finish_in_session(End::RollBack, branch).await? {
            return Ok(Ending::Now);
        }
        // Whoever was preparing it may do so yet.
        let mut session = self.pool.session().await?;
        self.evict(&mut session, branch).await?;
        drop(session);
        self.finish(End::RollBack, branch).await
    }

    fn by_hand(&self, commits: bool, branch: BranchName) -> String {
        let end = if commits { End::Commit } else { End::RollBack };
        self.ending(end, branch)
    }

    async fn branches(&self) -> Result<Vec<BranchName>, BackendError> {
        let mut session = self.pool.session().await?;
        let listed = self.listed(&mut session).await;
        listed.map_err(|fault| self.pool.error(fault))
    }

    async fn redo(&self, changes: &[Change]) -> Result<(), BackendError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut statements = vec!["START TRANSACTION".to_owned()];
        statements.extend(self.changes(changes));
        statements.push("COMMIT".to_owned());
        self.run(statements).await
    }

    async fn mark(&self) -> Result<(u64, u64), BackendError> {
        let statement = format!(
            "SELECT `ordinal`, `stamp` FROM {} WHERE `site` = '{}'",
            self.table.sites(),
            self.site.name()
        );
        let rows = self.read(&statement).await?;
        Ok(rows.into_iter().next().unwrap_or((0, 0)))
    }

    async fn set_mark(&self, ordinal: u64, stamp: u64) -> Result<(), BackendError> {
        let statement = format!(
            "UPDATE {} SET `ordinal` = {ordinal}, `stamp` = {stamp} WHERE `site` = '{}'",
            self.table.sites(),
            self.site.name()
        );
        self.run(vec![statement]).await
    }
}
