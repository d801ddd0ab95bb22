//! One way to open a site over any database server: the product is told by the scheme of the address.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use co_core::VoteRule;
use participant::engine::Options;
use participant::{Participant, Recorder};

use crate::address::shown;
use crate::claim::Taken;
use crate::columns::TableColumns;
use crate::identity::LogIdentity;
use crate::mariadb::native::MariaDbSessions;
use crate::mariadb::{self, MariaDb, MariaDbOptions};
use crate::ordered;
use crate::postgres::native::{self, NativeOptions, PostgresSessions};
use crate::postgres::{self, Postgres, PostgresOptions};

/// A database product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Product {
    /// `postgres://` or `postgresql://`.
    Postgres,
    /// `mysql://` or `mariadb://`.
    MariaDb,
}

impl Product {
    /// The product of an address.
    ///
    /// # Errors
    /// [`SiteError::Scheme`] if it has another scheme, or none.
    pub fn of_address(address: &str) -> Result<Self, SiteError> {
        let scheme = address.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            Some("mysql" | "mariadb") => Ok(Self::MariaDb),
            // The rest of an address may hold a password: it is not repeated.
            Some(other) => Err(SiteError::Scheme(format!("{other}://..."))),
            None => Err(SiteError::Scheme("...".to_owned())),
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// Who keeps the commit order at a site, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// The adapter, which sees every key and range, by [`ordered`]. The server needs no isolation level of its own.
    #[default]
    Co,
    /// The server's row locks, held until the decision; table locks for scans, or the locks of gaps that MariaDB has.
    Lock,
    /// Locks with names in the server, for transactions that say at their beginning which keys they need.
    Advisory,
    /// One transaction after another.
    Serial,
    /// Nobody: plain two-phase commit over what the server does by itself. Sites that are serializable each are not so
    /// together: PostgreSQL, that is. MariaDB at SERIALIZABLE holds what it reads until the decision, so over it this is
    /// what `lock` is, and serializable while its sessions and the server stay up; what is done about the rest is done in
    /// this mode as well.
    Plain,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Co,
        Self::Lock,
        Self::Advisory,
        Self::Serial,
        Self::Plain,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Co => "co",
            Self::Lock => "lock",
            Self::Advisory => "advisory",
            Self::Serial => "serial",
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no mode has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no mode `{0}`; use co, lock, advisory, serial or plain")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let mut modes = Self::ALL.into_iter();
        let found = modes.find(|mode| mode.name() == name);
        found.ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// Which site, over what.
#[derive(Clone)]
pub struct SiteOptions {
    /// The site's name. It is part of the names of its branches: no two sites of one server share it.
    pub name: String,
    /// The server and database: `postgres://user@host:port/database` or `mysql://...`.
    pub database: String,
    /// Who keeps the commit order.
    pub mode: Mode,
    /// The schema of the site's table; in MariaDB that is a database.
    pub schema: String,
    /// The table; the adapter's own is made if it is not there.
    pub table: String,
    /// The columns of somebody else's table that make key and value (mode `co`); without them the table is the
    /// adapter's own.
    pub columns: Option<TableColumns>,
    /// Whether triggers refuse writers that do not come through the site, where the server's locks do not put them in
    /// order anyway; the adapter's own table in MariaDB has them always.
    pub guard: bool,
    /// How many sessions with the server there are at most.
    pub sessions: usize,
    /// The log that the site's promises are in; `None` for a site that forgets them with its end. A database that was told
    /// one takes no other for that name.
    pub log: Option<LogIdentity>,
    /// When transactions may vote.
    pub rule: VoteRule,
    /// Where they are recorded.
    pub recorder: Recorder,
}

impl fmt::Debug for SiteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteOptions")
            .field("name", &self.name)
            .field("database", &shown(&self.database))
            .field("mode", &self.mode)
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("guard", &self.guard)
            .field("sessions", &self.sessions)
            .field("log", &self.log)
            .field("rule", &self.rule)
            .field("recorder", &self.recorder)
            .finish()
    }
}

impl SiteOptions {
    /// A site in the mode `co`, over the table `rows` in the schema `co`, with 16 sessions; nothing is recorded.
    #[must_use]
    pub fn new(name: &str, database: &str) -> Self {
        Self {
            name: name.to_owned(),
            database: database.to_owned(),
            mode: Mode::default(),
            schema: "co".to_owned(),
            table: "rows".to_owned(),
            columns: None,
            guard: true,
            sessions: 16,
            log: None,
            rule: VoteRule::default(),
            recorder: Recorder::off(),
        }
    }

    fn postgres(&self) -> PostgresOptions {
        PostgresOptions {
            schema: self.schema.clone(),
            table: self.table.clone(),
            columns: self.columns.clone(),
            guard: self.guard,
            sessions: self.sessions,
            log: self.log.clone(),
            ..PostgresOptions::new(&self.database)
        }
    }

    fn mariadb(&self) -> MariaDbOptions {
        MariaDbOptions {
            schema: self.schema.clone(),
            table: self.table.clone(),
            columns: self.columns.clone(),
            guard: self.guard,
            sessions: self.sessions,
            log: self.log.clone(),
            ..MariaDbOptions::new(&self.database)
        }
    }

    /// Claims the site's name, for as long as the present runtime lives.
    async fn claim(&self) -> Result<(), SiteError> {
        let (name, database) = (&self.name, &self.database);
        let product = Product::of_address(database)?;
        let claimed = match product {
            Product::Postgres => postgres::claim(name, database).await,
            Product::MariaDb => mariadb::claim(name, database).await,
        };
        claimed.map_err(|Taken(holder)| SiteError::Taken {
            site: name.clone(),
            end: match product {
                Product::Postgres => format!("SELECT pg_terminate_backend({holder})"),
                Product::MariaDb => format!("KILL {holder}"),
            },
        })
    }

    fn engine(&self) -> Options {
        Options {
            rule: self.rule,
            recorder: self.recorder.clone(),
            ..Options::default()
        }
    }
}

/// Why a site over a database does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The address is that of no product known here. Holds its beginning.
    #[error(
        "`{0}` is no address of a database that can be a site; write postgres://user@host:port/database or \
         mysql://user@host:port/database"
    )]
    Scheme(String),
    /// The mode does not exist for the product.
    #[error("there is no mode `{mode}` for {product}; use {usable}")]
    Mode {
        /// Which mode.
        mode: Mode,
        /// Of which product.
        product: Product,
        /// Those that exist.
        usable: &'static str,
    },
    /// Another process runs the site.
    #[error(
        "another process serves site `{site}` over this database; stop it, or give this site another name. If it is gone \
         and its session is left, run `{end}` there"
    )]
    Taken {
        /// Which site.
        site: String,
        /// The statement that ends the session of the other one.
        end: String,
    },
    /// Columns of a table were declared, in a mode that takes its own table only.
    #[error("{0} keeps rows in a table of its own; leave out the columns, or use the mode `co`")]
    ColumnsInMode(&'static str),
    /// The adapter did not open, in a mode that leaves the order to the server.
    #[error(transparent)]
    Native(#[from] crate::native::OpenError),
    /// MariaDB cannot be a site as it is.
    #[error(transparent)]
    MariaDb(#[from] mariadb::OpenError),
    /// PostgreSQL cannot be a site as it is.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The adapter did not open.
    #[error(transparent)]
    Adapter(#[from] ordered::OpenError),
}

/// Opens a site over a database. Blocks until the server has answered.
///
/// # Errors
/// [`SiteError`] says what to change.
pub fn open_site(options: SiteOptions) -> Result<Arc<dyn Participant>, SiteError> {
    let product = Product::of_address(&options.database)?;
    match (product, options.mode) {
        (Product::Postgres, Mode::Co) => postgres_in_order(options),
        (Product::MariaDb, Mode::Co) => mariadb_in_order(options),
        (Product::Postgres, Mode::Lock) => postgres_native(options, native::Mode::Lock),
        (Product::Postgres, Mode::Advisory) => postgres_native(options, native::Mode::Advisory),
        (Product::Postgres, Mode::Serial) => postgres_native(options, native::Mode::Serial),
        (Product::Postgres, Mode::Plain) => postgres_native(options, native::Mode::Plain),
        (Product::MariaDb, Mode::Lock | Mode::Plain) => mariadb_native(options),
        (product @ Product::MariaDb, mode @ (Mode::Advisory | Mode::Serial)) => {
            Err(SiteError::Mode {
                mode,
                product,
                usable: "co, lock or plain",
            })
        }
    }
}

fn mariadb_native(options: SiteOptions) -> Result<Arc<dyn Participant>, SiteError> {
    if options.columns.is_some() {
        return Err(SiteError::ColumnsInMode(options.mode.name()));
    }
    let engine = options.engine();
    let connect = async move {
        options.claim().await?;
        let native = mariadb::native::NativeOptions {
            mariadb: options.mariadb(),
            ..mariadb::native::NativeOptions::new(&options.database)
        };
        Ok::<_, SiteError>(MariaDbSessions::open(&options.name, native).await?)
    };
    Ok(Arc::new(crate::native::open(engine, life(), connect)?))
}

fn postgres_native(
    options: SiteOptions,
    mode: native::Mode,
) -> Result<Arc<dyn Participant>, SiteError> {
    if options.columns.is_some() {
        return Err(SiteError::ColumnsInMode(mode.name()));
    }
    let engine = options.engine();
    let connect = async move {
        options.claim().await?;
        let native = NativeOptions {
            postgres: options.postgres(),
            ..NativeOptions::new(&options.database, mode)
        };
        Ok::<_, SiteError>(PostgresSessions::open(&options.name, native).await?)
    };
    Ok(Arc::new(crate::native::open(engine, life(), connect)?))
}

fn postgres_in_order(options: SiteOptions) -> Result<Arc<dyn Participant>, SiteError> {
    let engine = options.engine();
    let connect = async move {
        options.claim().await?;
        Ok::<_, SiteError>(Postgres::open(&options.name, options.postgres()).await?)
    };
    Ok(Arc::new(ordered::open(engine, life(), connect)?))
}

fn mariadb_in_order(options: SiteOptions) -> Result<Arc<dyn Participant>, SiteError> {
    let engine = options.engine();
    let connect = async move {
        options.claim().await?;
        Ok::<_, SiteError>(MariaDb::open(&options.name, options.mariadb()).await?)
    };
    Ok(Arc::new(ordered::open(engine, life(), connect)?))
}

/// A number that no earlier life of the adapter has: the time of its beginning, in microseconds. A clock that was set back
/// over a restart could repeat one only for a life that began in the very same microsecond.
fn life() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = now.map_or(0, |now| now.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_parsed_from_its_name_and_others_are_refused_with_all_names() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let refused = "ticket".parse::<Mode>().unwrap_err().to_string();
        for mode in Mode::ALL {
            assert!(refused.contains(mode.name()), "{refused}");
        }
    }

    #[test]
    fn the_scheme_tells_the_product_and_no_error_repeats_a_password() {
        let of = Product::of_address;
        assert_eq!(of("postgres://u@h/d").unwrap(), Product::Postgres);
        assert_eq!(of("postgresql://u@h/d").unwrap(), Product::Postgres);
        assert_eq!(of("mysql://u@h/d").unwrap(), Product::MariaDb);
        for other in ["oracle://u:secret@h/d", "u:secret@h/d", ""] {
            let refused = of(other).unwrap_err().to_string();
            assert!(refused.contains("postgres://"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_before_a_server_is_asked() {
        let open = |database: &str, mode| {
            let options = SiteOptions {
                mode,
                ..SiteOptions::new("a", database)
            };
            open_site(options).map(drop).unwrap_err()
        };
        for mode in [Mode::Advisory, Mode::Serial] {
            let refused = open("mysql://u@127.0.0.1:1/d", mode);
            assert!(matches!(refused, SiteError::Mode { .. }), "{refused}");
        }
    }
}
