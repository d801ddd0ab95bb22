//! What differs between the products: their programs, how a data folder is made, with what a server is started.

use std::fmt;
use std::path::Path;

/// A database product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Product {
    /// PostgreSQL, 13 or later.
    Postgres,
    /// MariaDB, 10.5 or later.
    MariaDb,
}

/// A setting of a server: its name and its value.
pub(crate) type Setting = (&'static str, String);

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::MariaDb];

    /// The package that brings its server, in Debian and Ubuntu.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb-server",
        }
    }

    /// The environment variable that may name the folder of its programs.
    #[must_use]
    pub const fn folder_variable(self) -> &'static str {
        match self {
            Self::Postgres => "CO_POSTGRES_BIN",
            Self::MariaDb => "CO_MARIADB_BIN",
        }
    }

    /// The superuser of a new server; it has no password.
    #[must_use]
    pub const fn superuser(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "root",
        }
    }

    /// The user of the system that the server runs as when this program runs as root.
    pub(crate) const fn system_user(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    /// The program that makes a data folder.
    pub(crate) const fn installer(self) -> &'static str {
        match self {
            Self::Postgres => "initdb",
            Self::MariaDb => "mariadb-install-db",
        }
    }

    /// The server.
    pub(crate) const fn daemon(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadbd",
        }
    }

    /// A file that only a finished data folder has.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Postgres => "PG_VERSION",
            Self::MariaDb => "ibdata1",
        }
    }

    /// The signal of an orderly stop that does not wait for clients.
    pub(crate) const fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::MariaDb => "TERM",
        }
    }

    /// The arguments of the installer.
    pub(crate) fn install_arguments(self, data: &Path) -> Vec<String> {
        let data = data.display();
        match self {
            Self::Postgres => vec![
                format!("--pgdata={data}"),
                format!("--username={}", self.superuser()),
                "--auth=trust".to_owned(),
                "--encoding=UTF8".to_owned(),
                "--locale=C".to_owned(),
                "--no-sync".to_owned(),
            ],
            Self::MariaDb => vec![
                "--no-defaults".to_owned(),
                format!("--datadir={data}"),
                "--auth-root-authentication-method=normal".to_owned(),
                "--skip-test-db".to_owned(),
                "--skip-name-resolve".to_owned(),
            ],
        }
    }

    /// The arguments of the server: where it keeps what, where it listens.
    pub(crate) fn start_arguments(self, folder: &Path, port: u16) -> Vec<String> {
        let data = folder.join("data");
        let (data, folder) = (data.display(), folder.display());
        match self {
            Self::Postgres => vec![
                "-D".to_owned(),
                data.to_string(),
                "-p".to_owned(),
                port.to_string(),
                "-h".to_owned(),
                "127.0.0.1".to_owned(),
                "-k".to_owned(),
                String::new(),
            ],
            Self::MariaDb => vec![
                "--no-defaults".to_owned(),
                format!("--datadir={data}"),
                format!("--port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--socket={folder}/server.sock"),
                format!("--pid-file={folder}/server.pid"),
                format!("--tmpdir={folder}"),
                "--skip-name-resolve".to_owned(),
            ],
        }
    }

    /// What the tests and demonstrations need, and what keeps a small server small.
    pub(crate) fn settings(self) -> Vec<Setting> {
        let settings: &[(&'static str, &str)] = match self {
            Self::Postgres => &[
                ("max_prepared_transactions", "400"),
                ("max_connections", "200"),
                ("shared_buffers", "64MB"),
                ("deadlock_timeout", "100ms"),
                ("autovacuum_naptime", "10s"),
                ("log_min_messages", "warning"),
            ],
            Self::MariaDb => &[
                ("max_connections", "400"),
                ("transaction_isolation", "SERIALIZABLE"),
                ("innodb_buffer_pool_size", "64M"),
                ("innodb_lock_wait_timeout", "5"),
                ("performance_schema", "OFF"),
            ],
        };
        let owned = settings.iter();
        owned
            .map(|&(name, value)| (name, value.to_owned()))
            .collect()
    }

    /// A setting as an argument of the server.
    pub(crate) fn setting_argument(self, (name, value): &Setting) -> Vec<String> {
        match self {
            Self::Postgres => vec!["-c".to_owned(), format!("{name}={value}")],
            Self::MariaDb => vec![format!("--{}={value}", name.replace('_', "-"))],
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
