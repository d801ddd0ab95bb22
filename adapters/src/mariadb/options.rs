//! Which server and which table, and why it may not do.

use std::fmt;

use crate::address::shown;
use crate::backend::BackendError;
use crate::branch::InvalidSite;
use crate::columns::TableColumns;
use crate::identity::{LogIdentity, OtherLog};

/// Which server, and which table.
#[derive(Clone)]
pub struct MariaDbOptions {
    /// Where it is: `mysql://user:password@host:port`. The connection is not encrypted.
    pub url: String,
    /// The database (schema) of the table; it is made if it is not there. The adapter keeps a table of its own, `sites`,
    /// there as well.
    pub schema: String,
    /// The table; it is made if it is not there.
    pub table: String,
    /// The columns of somebody else's table that make key and value; without them the table is the adapter's own.
    pub columns: Option<TableColumns>,
    /// Whether writers that do not come through the site are refused by triggers on somebody else's table; on the
    /// adapter's own they always are.
    pub guard: bool,
    /// How many sessions work at once, at most. Prepared branches keep as many more.
    pub sessions: usize,
    /// Takes a server whose prepared branches survive its own crash but not that of its machine
    /// (`innodb_flush_log_at_trx_commit = 2`). Off unless asked for.
    pub lazy_flush: bool,
    /// The log that the site's promises are in; a site without one forgets them with its end. The database remembers it,
    /// and takes no other from then on.
    pub log: Option<LogIdentity>,
}

impl MariaDbOptions {
    /// The table `rows` in the database `co`, and 16 sessions.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: "co".to_owned(),
            table: "rows".to_owned(),
            columns: None,
            guard: true,
            sessions: 16,
            lazy_flush: false,
            log: None,
        }
    }
}

impl fmt::Debug for MariaDbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbOptions")
            .field("url", &shown(&self.url))
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("guard", &self.guard)
            .field("sessions", &self.sessions)
            .field("lazy_flush", &self.lazy_flush)
            .field("log", &self.log)
            .finish()
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
        "`{url}` is no address of a MariaDB server ({why}); write mysql://user:password@host:port"
    )]
    Address {
        /// What was given, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another product, or a version whose prepared branches do not outlive their sessions.
    #[error("{database} is version {version}; MariaDB 10.5 or later is needed")]
    Version {
        /// Which database.
        database: String,
        /// What it says it is.
        version: String,
    },
    /// It takes no writes.
    #[error(
        "{database} takes no writes ({setting} = {value}); connect to the primary, or run `SET GLOBAL {setting} = OFF`"
    )]
    ReadOnly {
        /// Which database.
        database: String,
        /// Which setting says so.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// A node of a Galera cluster, which has no XA transactions.
    #[error(
        "{database} is a node of a Galera cluster (wsrep_on = ON), which supports no XA; connect the site to a server of its own"
    )]
    Galera {
        /// Which database.
        database: String,
    },
    /// What is prepared may be lost in a crash.
    #[error(
        "{database} has innodb_flush_log_at_trx_commit = {value}, so prepared branches may be lost in a crash; run \
         `SET GLOBAL innodb_flush_log_at_trx_commit = 1`, and write it into the server's configuration"
    )]
    NotDurable {
        /// Which database.
        database: String,
        /// The value.
        value: u64,
    },
    /// The binary log takes no statements at READ COMMITTED.
    #[error(
        "{database} writes statements into its binary log (binlog_format = STATEMENT), so it refuses changes at READ \
         COMMITTED; run `SET GLOBAL binlog_format = ROW`, and write it into the server's configuration"
    )]
    StatementLog {
        /// Which database.
        database: String,
    },
    /// The longest value does not fit into a message.
    #[error(
        "{database} takes messages of {found} bytes, and the longest row needs {needed}; run \
         `SET GLOBAL max_allowed_packet = {needed}`, and write it into the server's configuration"
    )]
    SmallPackets {
        /// Which database.
        database: String,
        /// What it takes.
        found: u64,
        /// What is needed.
        needed: u64,
    },
    /// A table whose changes an XA transaction does not undo.
    #[error(
        "the table {table} has the engine {engine}, which cannot roll back; run `ALTER TABLE {table} ENGINE = InnoDB`"
    )]
    NotTransactional {
        /// Which table.
        table: String,
        /// Its engine.
        engine: String,
    },
    /// A table that is not as the adapter makes it.
    #[error(
        "the table {table} is not one of the adapter's ({found}); name another table, which the adapter makes itself"
    )]
    Columns {
        /// Which table.
        table: String,
        /// Its columns.
        found: String,
    },
    /// The table cannot be put under a commit order as it is.
    #[error("table {table} cannot be a site's: {why}")]
    UnfitTable {
        /// Which.
        table: String,
        /// Why, and what to do.
        why: String,
    },
    /// The table's guards cannot be made.
    #[error(
        "the triggers that keep other writers out of {table} cannot be made ({why}); let a user who may make triggers \
         open the site once, or set log_bin_trust_function_creators = ON"
    )]
    Guards {
        /// Which table.
        table: String,
        /// What the server said.
        why: String,
    },
    /// The database was told that the site's promises are in another log.
    #[error(transparent)]
    OtherLog(#[from] OtherLog),
    /// Who waits for whom is hidden from the user.
    #[error(
        "{database} shows who waits for whose locks only to who has the right PROCESS, and the mode lock needs it; run \
         `GRANT PROCESS ON *.* TO ...` for the site's user"
    )]
    NoProcess {
        /// Which database.
        database: String,
    },
    /// Sessions do not get the isolation level that keeps the locks of what is read.
    #[error(
        "{database} gives sessions the isolation level {found} where SERIALIZABLE was asked for, and at that level XA PREPARE \
         lets read locks go; take out what sets it (init_connect, a proxy)"
    )]
    Isolation {
        /// Which database.
        database: String,
        /// Which level.
        found: String,
    },
    /// The database did not do what it was asked.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
