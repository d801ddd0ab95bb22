//! What can be wrong with a server that one wants to start, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::product::Product;

/// Why a server was not found, not started or not stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A program of the product is not installed.
    Missing {
        /// Of which product.
        product: Product,
        /// The program.
        program: &'static str,
    },
    /// The port is taken by another process.
    PortInUse {
        /// Which server wanted it.
        server: String,
        /// The port.
        port: u16,
    },
    /// The data folder holds something that this program has not made, or that another version has.
    StaleFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A program of the product ended with an error.
    Failed {
        /// What was run.
        program: String,
        /// What it said last.
        said: String,
    },
    /// The server ended, or did not take connections in time.
    NotReady {
        /// Which server.
        server: String,
        /// The end of its log.
        log: String,
    },
    /// The system user under which the product has to run does not exist.
    NoUser {
        /// The user.
        user: &'static str,
        /// The product.
        product: Product,
    },
    /// An operation of the system failed.
    Io {
        /// What was done.
        doing: String,
        /// What it failed with.
        error: io::Error,
    },
}

impl Error {
    /// Whether the product is not installed here: a test may then skip, and say so.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// An error of the system, while doing this.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { product, program } => write!(
                f,
                "{product} is not installed: there is no `{program}`; install the package `{}` (apt-get install {}), \
                 or name the folder of its programs in {}",
                product.package(),
                product.package(),
                product.folder_variable()
            ),
            Self::PortInUse { server, port } => write!(
                f,
                "port {port} of `{server}` is in use by another process; stop that one, or choose other ports \
                 with CO_DATABASES_PORT"
            ),
            Self::StaleFolder { folder, why } => write!(
                f,
                "{} cannot be used: {why}; remove it (`cargo xtask databases down --remove`)",
                folder.display()
            ),
            Self::Failed { program, said } => write!(f, "`{program}` failed: {said}"),
            Self::NotReady { server, log } => {
                write!(
                    f,
                    "`{server}` does not take connections; the end of its log:\n{log}"
                )
            }
            Self::NoUser { user, product } => write!(
                f,
                "{product} does not run as root, and there is no user `{user}`; create it (`useradd --system {user}`), \
                 or run as another user"
            ),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Missing { .. }
            | Self::PortInUse { .. }
            | Self::StaleFolder { .. }
            | Self::Failed { .. }
            | Self::NotReady { .. }
            | Self::NoUser { .. } => None,
        }
    }
}
