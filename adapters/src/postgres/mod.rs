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
//! - `COMMIT PREPARED` says that there is no such branch when it was finished before: for who asks again that is success.

pub mod native;
mod pool;
mod sql;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use participant::{Change, Key, KeyRange, Value};
use tokio_postgres::Config;

use self::pool::{Pool, Process, Texts};
use self::sql::Table;
use crate::backend::{Backend, BackendError, NotPrepared};
use crate::branch::{BranchName, InvalidSite, Site};

/// How long a branch waits for a row that somebody outside the adapter has locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the end of a process of the server is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Which server, and which table.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where it is: `postgres://user@host:port/database`, or `host=... user=...`.
    pub url: String,
    /// The schema of the table. The adapter keeps a table of its own, `sites`, there as well.
    pub schema: String,
    /// The table; it is made if it is not there.
    pub table: String,
    /// How many sessions there are at most.
    pub sessions: usize,
}

impl PostgresOptions {
    /// The table `rows` in the schema `co`, and 16 sessions.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: "co".to_owned(),
            table: "rows".to_owned(),
            sessions: 16,
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
        /// What was given.
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
    /// Prepared branches of this site belong to another role, and this one cannot finish them.
    #[error(
        "branches of site `{site}` were prepared by role `{owner}`, and this is `{role}`: connect as that role, or as a \
         superuser"
    )]
    OtherRole {
        /// Which site.
        site: String,
        /// Whose they are.
        owner: String,
        /// Who this is.
        role: String,
    },
    /// The database did not do what it was asked.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A table in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    site: Site,
    table: Table,
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
                url: options.url.clone(),
                why: error.to_string(),
            })?;
        config.application_name(format!("commitment ordering: {}", site.name()));
        let database = format!(
            "database `{}` of PostgreSQL at {:?}:{:?}",
            config.get_dbname().unwrap_or("(default)"),
            config.get_hosts(),
            config.get_ports()
        );
        let table = Table::new(&options.schema, &options.table, "key", "value");
        let texts = Texts {
            get: table.get(),
            scan: table.scan(true),
            scan_on: table.scan(false),
        };
        make_table(&config, &database, &table, &options.schema).await?;
        let backend = Self {
            pool: Pool::new(config, database.clone(), texts, options.sessions.max(1)),
            table,
            schema: options.schema,
            site,
            unsure: Mutex::default(),
        };
        backend.check(database).await?;
        Ok(backend)
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
        let others = session
            .client
            .query(
                "SELECT gid, database FROM pg_prepared_xacts WHERE database <> current_database()",
                &[],
            )
            .await
            .map_err(|error| self.pool.error(&error))?;
        let own = |identifier: &str| self.site.parse(identifier).is_some();
        match others.iter().find(|row| own(row.get::<_, &str>(0))) {
            None => Ok(()),
            Some(row) => Err(OpenError::OtherDatabase {
                site: self.site.name().to_owned(),
                elsewhere: row.get(1),
                database,
            }),
        }
    }

    fn quoted(&self, branch: BranchName) -> String {
        sql::text(&self.site.identifier(branch))
    }

    /// `COMMIT PREPARED` or `ROLLBACK PREPARED`, until the branch is gone.
    async fn finish(&self, command: &str, branch: BranchName) -> Result<(), BackendError> {
        let statement = format!("{command} PREPARED {}", self.quoted(branch));
        loop {
            let session = self.pool.session().await?;
            let Err(error) = session.client.batch_execute(&statement).await else {
                return Ok(());
            };
            let error = self.pool.error(&error);
            match error.code() {
                // No such branch: finished before.
                Some("42704") => return Ok(()),
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

/// The table has to be there before a session can prepare its statements.
async fn make_table(
    config: &Config,
    database: &str,
    table: &Table,
    schema: &str,
) -> Result<(), BackendError> {
    let none = Texts {
        get: "SELECT 1".to_owned(),
        scan: "SELECT 1".to_owned(),
        scan_on: "SELECT 1".to_owned(),
    };
    let pool = Pool::new(config.clone(), database.to_owned(), none, 1);
    let session = pool.session().await?;
    // Two sites that make the same schema at once would see each other's half of it.
    let statement = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('commitment ordering')); {} COMMIT;",
        table.create(schema)
    );
    let made = session.client.batch_execute(&statement).await;
    made.map_err(|error| pool.error(&error))
}

impl Backend for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, BackendError> {
        let session = self.pool.session().await?;
        let rows = session.client.query(&session.get, &[&&**key]).await;
        let rows = rows.map_err(|error| self.pool.error(&error))?;
        Ok(rows.first().map(|row| row.get::<_, &[u8]>(0).into()))
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, BackendError> {
        let session = self.pool.session().await?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = match &range.high {
            Some(high) => {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                    [&&*range.low, &most, &&**high];
                session.client.query(&session.scan, &parameters).await
            }
            None => {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
                    [&&*range.low, &most];
                session.client.query(&session.scan_on, &parameters).await
            }
        };
        let rows = rows.map_err(|error| self.pool.error(&error))?;
        if rows.len() > limit {
            return Err(BackendError::TooManyRows);
        }
        let pair = |row: &tokio_postgres::Row| {
            (row.get::<_, &[u8]>(0).into(), row.get::<_, &[u8]>(1).into())
        };
        Ok(rows.iter().map(pair).collect())
    }

    async fn prepare(&self, branch: BranchName, changes: &[Change]) -> Result<(), NotPrepared> {
        let session = self.pool.session().await;
        let session = session.map_err(|error| NotPrepared::Refused(error.to_string()))?;
        let statement = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; {} SAVEPOINT co_guard; PREPARE TRANSACTION {}",
            LOCK_TIMEOUT.as_millis(),
            self.table.changes(changes),
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

    async fn commit(&self, branch: BranchName) -> Result<(), BackendError> {
        self.finish("COMMIT", branch).await
    }

    async fn roll_back(&self, branch: BranchName) -> Result<(), BackendError> {
        self.settle(branch).await?;
        self.finish("ROLLBACK", branch).await
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
        let statement = format!("BEGIN; {} COMMIT", self.table.changes(changes));
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
