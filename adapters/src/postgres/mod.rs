//! PostgreSQL as a database with prepared branches.
//!
//! Keys and values are the two columns of one table. Reads are single statements outside a transaction: each sees the
//! newest committed rows. A branch is one message to the server, from `BEGIN` to `PREPARE TRANSACTION`, so a connection
//! that is replaced half-way cannot prepare half of it.
//!
//! What the server does that one would not expect, and what follows:
//! - `PREPARE TRANSACTION` in a transaction that has failed answers `ROLLBACK`, without an error: a `SAVEPOINT` before it
//!   is refused instead.
//! - A connection may break while `PREPARE TRANSACTION` is on its way. Its process may prepare the branch later, so the
//!   branch is rolled back only when that process is gone.
//! - The server goes on with what a killed adapter has sent, and may prepare a branch after the next life has looked for
//!   its own: who opens ends the sessions of the former life first.
//! - `COMMIT PREPARED` says that there is no such branch when it was finished before: for who asks again that is success.

mod claim;
mod inspect;
mod layout;
pub mod native;
mod pool;
mod sql;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use participant::{Change, Key, KeyRange, Value};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;

use self::layout::{Layout, Parameter};
use self::pool::{Pool, Process, Texts};
use crate::address::shown;
use crate::backend::{Backend, BackendError, Ending, NotPrepared};
use crate::branch::{BranchName, InvalidSite, Site};
use crate::columns::TableColumns;
use crate::identity::{LogIdentity, OtherLog};

pub(crate) use self::claim::claim;

/// How long a branch waits for a row that somebody outside the adapter has locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the end of a process of the server is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Which server, and which table.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Where it is: `postgres://user@host:port/database`, or `host=... user=...`.
    pub url: String,
    /// The schema of the table. The adapter keeps a table of its own, `sites`, there as well.
    pub schema: String,
    /// The table; the adapter's own is made if it is not there.
    pub table: String,
    /// The columns of somebody else's table that make key and value; without them the table is the adapter's own.
    pub columns: Option<TableColumns>,
    /// Whether writers that do not come through the site are refused, by a trigger on the table.
    pub guard: bool,
    /// How many sessions there are at most.
    pub sessions: usize,
    /// The log that the site's promises are in; a site without one forgets them with its end. The database remembers it,
    /// and takes no other from then on.
    pub log: Option<LogIdentity>,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &shown(&self.url))
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("guard", &self.guard)
            .field("sessions", &self.sessions)
            .field("log", &self.log)
            .finish()
    }
}

impl PostgresOptions {
    /// The adapter's own table `rows` in the schema `co`, guarded, and 16 sessions.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: "co".to_owned(),
            table: "rows".to_owned(),
            columns: None,
            guard: true,
            sessions: 16,
            log: None,
        }
    }
}

/// Why a database cannot be a participant as it is.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The site's name.
    #[error(transparent)]
    Site(#[from] InvalidSite),
    /// The address cannot be read.
    #[error(
        "`{url}` is no address of a PostgreSQL server ({why}); write postgres://user@host:port/database"
    )]
    Address {
        /// What was given, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Prepared transactions are switched off, as they are unless somebody asks for them.
    #[error(
        "{database} has max_prepared_transactions = 0, so nothing can be prepared there; run \
         `ALTER SYSTEM SET max_prepared_transactions = 200` as a superuser and restart the server"
    )]
    PreparedTransactionsOff {
        /// Which database.
        database: String,
    },
    /// Prepared branches of this site lie in another database of the server, where this connection cannot finish them.
    #[error(
        "branches of site `{site}` are prepared in database `{elsewhere}`, and this is {database}: connect the site to \
         the database it had, or finish them there"
    )]
    OtherDatabase {
        /// Which site.
        site: String,
        /// Where they are.
        elsewhere: String,
        /// Where this is.
        database: String,
    },
    /// Branches of this site were prepared by another role, and this one may not finish them.
    #[error(
        "branches of site `{site}` were prepared by role `{owner}`, and this is role `{role}`: connect as that role or as \
         a superuser, or finish them there"
    )]
    OtherRole {
        /// Which site.
        site: String,
        /// Whose they are.
        owner: String,
        /// Who this is.
        role: String,
    },
    /// The table cannot be put under a commit order as it is.
    #[error("table {table} cannot be a site's: {why}")]
    UnfitTable {
        /// Which.
        table: String,
        /// Why, and what to do.
        why: String,
    },
    /// The database was told that the site's promises are in another log.
    #[error(transparent)]
    OtherLog(#[from] OtherLog),
    /// The database did not do what it was asked.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Where a server is, in words: `127.0.0.1:5432`, and more if the address names several.
fn places(config: &Config) -> String {
    let ports = config.get_ports();
    let place = |(at, host): (usize, &Host)| {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(folder) => folder.display().to_string(),
        };
        // One port is that of all.
        let port = ports.get(at).or_else(|| ports.first());
        format!("{host}:{}", port.copied().unwrap_or(5432))
    };
    let places = config.get_hosts().iter().enumerate().map(place);
    places.collect::<Vec<_>>().join(", ")
}

/// A table in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    site: Site,
    layout: Layout,
    schema: String,
    pool: Pool,
    /// Branches whose preparation may still be on its way, and who is at it.
    unsure: Mutex<BTreeMap<BranchName, Process>>,
}

impl Postgres {
    /// Connects, makes the table if it is not there, and looks whether the server is set up for prepared transactions.
    ///
    /// # Errors
    /// [`OpenError`] says what to change.
    pub async fn open(site: &str, options: PostgresOptions) -> Result<Self, OpenError> {
        let site = Site::new(site)?;
        let mut config: Config = options
            .url
            .parse()
            .map_err(|error: tokio_postgres::Error| OpenError::Address {
                url: shown(&options.url),
                why: error.to_string(),
            })?;
        config.application_name(application(&site));
        // The guard lets sessions of the site through, and literals are read as they are written here.
        let settings = format!(
            "-c co.site={} -c standard_conforming_strings=on",
            site.name()
        );
        let settings = match config.get_options() {
            Some(given) => format!("{given} {settings}"),
            None => settings,
        };
        config.options(settings);
        let database = format!(
            "database `{}` of PostgreSQL at {}",
            config.get_dbname().unwrap_or("(default)"),
            places(&config)
        );
        let layout = inspect::table(&config, &database, &site, &options).await?;
        let texts = Texts {
            get: layout.get(),
            scan: layout.scan(true),
            scan_on: layout.scan(false),
        };
        let backend = Self {
            pool: Pool::new(config, database.clone(), texts, options.sessions.max(1)),
            layout,
            schema: options.schema,
            site,
            unsure: Mutex::default(),
        };
        backend.check(database).await?;
        backend.end_former_sessions().await?;
        Ok(backend)
    }

    /// Ends what a former life has left at the server, and waits until it is gone.
    async fn end_former_sessions(&self) -> Result<(), BackendError> {
        let session = self.pool.session().await?;
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = $1 AND pid <> pg_backend_pid() \
                         AND datname = current_database() AND usename = current_user";
        let application = application(&self.site);
        loop {
            let rows = session.client.query(statement, &[&application]).await;
            if rows.map_err(|error| self.pool.error(&error))?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn check(&self, database: String) -> Result<(), OpenError> {
        let session = self.pool.session().await?;
        let row = session
            .client
            .query_one(
                "SELECT current_setting('max_prepared_transactions')::int",
                &[],
            )
            .await
            .map_err(|error| self.pool.error(&error))?;
        if row.get::<_, i32>(0) == 0 {
            return Err(OpenError::PreparedTransactionsOff { database });
        }
        let own = "SELECT gid, database, owner, current_user::text, database = current_database(), \
                   owner = current_user OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \
                   FROM pg_prepared_xacts";
        let rows = session.client.query(own, &[]).await;
        let rows = rows.map_err(|error| self.pool.error(&error))?;
        let own = |row: &&tokio_postgres::Row| self.site.parse(row.get(0)).is_some();
        for row in rows.iter().filter(own) {
            let site = self.site.name().to_owned();
            if !row.get::<_, bool>(4) {
                let elsewhere = row.get(1);
                return Err(OpenError::OtherDatabase {
                    site,
                    elsewhere,
                    database,
                });
            }
            if !row.get::<_, bool>(5) {
                let (owner, role) = (row.get(2), row.get(3));
                return Err(OpenError::OtherRole { site, owner, role });
            }
        }
        Ok(())
    }

    fn quoted(&self, branch: BranchName) -> String {
        sql::text(&self.site.identifier(branch))
    }

    /// `COMMIT PREPARED` or `ROLLBACK PREPARED`, until the branch is gone.
    async fn finish(&self, command: &str, branch: BranchName) -> Result<Ending, BackendError> {
        let statement = format!("{command} PREPARED {}", self.quoted(branch));
        loop {
            let session = self.pool.session().await?;
            let Err(error) = session.client.batch_execute(&statement).await else {
                return Ok(Ending::Now);
            };
            let error = self.pool.error(&error);
            match error.code() {
                // No such branch.
                Some("42704") => return Ok(Ending::Before),
                // Another session is finishing it.
                Some("55000") => {
                    drop(session);
                    tokio::time::sleep(LOOK).await;
                }
                Some(_) | None => {
                    session.discard();
                    return Err(error);
                }
            }
        }
    }

    /// Waits until nobody is preparing the branch any more.
    async fn settle(&self, branch: BranchName) -> Result<(), BackendError> {
        let process = self.unsure().get(&branch).cloned();
        let Some(Process { pid, started }) = process else {
            return Ok(());
        };
        let session = self.pool.session().await?;
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE pid = $1 AND backend_start::text = $2";
        loop {
            let rows = session.client.query(statement, &[&pid, &started]).await;
            let rows = rows.map_err(|error| self.pool.error(&error))?;
            if rows.is_empty() {
                self.unsure().remove(&branch);
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn unsure(&self) -> std::sync::MutexGuard<'_, BTreeMap<BranchName, Process>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the server knows the sessions of a site.
fn application(site: &Site) -> String {
    format!("commitment ordering: {}", site.name())
}

/// Parameters as the client takes them.
fn of(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    let parameters = parameters.iter();
    parameters
        .map(|it| -> &(dyn ToSql + Sync) { it.as_ref() })
        .collect()
}

impl Backend for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn check_key(&self, key: &Key) -> Result<(), &'static str> {
        self.layout.check_key(key)
    }

    fn check_range(&self, range: &KeyRange) -> Result<(), &'static str> {
        self.layout.check_range(range)
    }

    fn check_change(&self, change: &Change) -> Result<(), &'static str> {
        self.layout.check_change(change)
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, BackendError> {
        let Some(cells) = self.layout.parameters(key) else {
            return Ok(None);
        };
        let session = self.pool.session().await?;
        let row = session.client.query_opt(&session.get, &of(&cells)).await;
        let row = row.map_err(|error| self.pool.error(&error))?;
        Ok(row.map(|row| self.layout.value(&row, 0)))
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, BackendError> {
        let session = self.pool.session().await?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = if self.layout.scans_by_parameters() && !range.low.is_empty() {
            let mut parameters = self.layout.parameters(&range.low).unwrap_or_default();
            parameters.push(Box::new(most));
            let high = range.high.as_ref();
            let statement = match high.and_then(|high| self.layout.parameters(high)) {
                Some(high) => {
                    parameters.extend(high);
                    &session.scan
                }
                None => &session.scan_on,
            };
            session.client.query(statement, &of(&parameters)).await
        } else {
            let Some(statement) = self.layout.scan_range(range, most) else {
                return Ok(Vec::new());
            };
            session.client.query(&statement, &[]).await
        };
        let rows = rows.map_err(|error| self.pool.error(&error))?;
        if rows.len() > limit {
            return Err(BackendError::TooManyRows);
        }
        Ok(rows.iter().map(|row| self.layout.pair(row)).collect())
    }

    async fn prepare(&self, branch: BranchName, changes: &[Change]) -> Result<(), NotPrepared> {
        let session = self.pool.session().await;
        let session = session.map_err(|error| NotPrepared::without_session(&error))?;
        let statement = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; {} SAVEPOINT co_guard; PREPARE TRANSACTION {}",
            LOCK_TIMEOUT.as_millis(),
            self.layout.changes(changes),
            self.quoted(branch)
        );
        self.unsure().insert(branch, session.process.clone());
        let Err(error) = session.client.batch_execute(&statement).await else {
            self.unsure().remove(&branch);
            return Ok(());
        };
        let error = self.pool.error(&error);
        if error.is_away() {
            session.discard();
            return Err(NotPrepared::Unknown(error.to_string()));
        }
        self.unsure().remove(&branch);
        // The session stands in a failed transaction, unless it was the last statement that failed.
        if session.client.batch_execute("ROLLBACK").await.is_err() {
            session.discard();
        }
        Err(NotPrepared::Refused(error.to_string()))
    }

    async fn commit(&self, branch: BranchName) -> Result<Ending, BackendError> {
        self.finish("COMMIT", branch).await
    }

    async fn roll_back(&self, branch: BranchName) -> Result<Ending, BackendError> {
        self.settle(branch).await?;
        self.finish("ROLLBACK", branch).await
    }

    fn by_hand(&self, commits: bool, branch: BranchName) -> String {
        let verb = if commits { "COMMIT" } else { "ROLLBACK" };
        format!("{verb} PREPARED {}", self.quoted(branch))
    }

    async fn branches(&self) -> Result<Vec<BranchName>, BackendError> {
        let session = self.pool.session().await?;
        let statement = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
        let rows = session.client.query(statement, &[]).await;
        let rows = rows.map_err(|error| self.pool.error(&error))?;
        let identifiers = rows.iter().map(|row| row.get::<_, &str>(0));
        Ok(identifiers.filter_map(|it| self.site.parse(it)).collect())
    }

    async fn redo(&self, changes: &[Change]) -> Result<(), BackendError> {
        if changes.is_empty() {
            return Ok(());
        }
        let session = self.pool.session().await?;
        let statement = format!("BEGIN; {} COMMIT", self.layout.changes(changes));
        let done = session.client.batch_execute(&statement).await;
        let Err(error) = done else {
            return Ok(());
        };
        session.discard();
        Err(self.pool.error(&error))
    }

    async fn mark(&self) -> Result<(u64, u64), BackendError> {
        let session = self.pool.session().await?;
        let schema = sql::identifier(&self.schema);
        let statement = format!("SELECT ordinal, stamp FROM {schema}.sites WHERE site = $1");
        let row = session
            .client
            .query_opt(&statement, &[&self.site.name()])
            .await;
        let row = row.map_err(|error| self.pool.error(&error))?;
        let number = |row: &tokio_postgres::Row, at| row.get::<_, i64>(at).cast_unsigned();
        Ok(row.map_or((0, 0), |row| (number(&row, 0), number(&row, 1))))
    }

    async fn set_mark(&self, ordinal: u64, stamp: u64) -> Result<(), BackendError> {
        let session = self.pool.session().await?;
        let schema = sql::identifier(&self.schema);
        let statement = format!(
            "INSERT INTO {schema}.sites (site, ordinal, stamp) VALUES ($1, $2, $3) \
             ON CONFLICT (site) DO UPDATE SET ordinal = excluded.ordinal, stamp = excluded.stamp"
        );
        let (ordinal, stamp) = (ordinal.cast_signed(), stamp.cast_signed());
        let done = session
            .client
            .execute(&statement, &[&self.site.name(), &ordinal, &stamp])
            .await;
        done.map(drop).map_err(|error| self.pool.error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_places() {
        for (url, expected) in [
            ("postgres://u:secret@h/d", "h:5432"),
            ("postgres://u@h:1/d", "h:1"),
            ("postgres://u@a:1,b:2/d", "a:1, b:2"),
            ("host=/run/pg port=3", "/run/pg:3"),
        ] {
            assert_eq!(places(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
