//! Who may connect, and who may ask for what: certificates, tokens, roles.
//!
//! Invariants:
//! - A1 Without tokens everybody who can connect may do everything; with tokens only what
//!   the table in `access` gives to the token's role. What is not in the table is refused.
//! - A2 A reload is all or nothing: what cannot be read leaves what was in force.
//! - A3 No token and no key is ever part of an error, a `Debug` text or a log line.
//! - A4 Connections that exist outlive a reload; only new ones see the new certificates. A token that is
//!   gone is refused from the next call on.

pub(crate) mod access;
mod client;
mod tls;
mod tokens;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls;

pub use self::access::Role;
pub(crate) use self::client::Bearer;
pub use self::client::{CredentialFiles, Credentials};
pub use self::tls::TlsFiles;
pub(crate) use self::tokens::{Identity, Tokens};

/// Why certificates, keys or tokens cannot be used. The message says what to mend, and holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read a file with secrets.
    #[error("{} may be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds no certificate or key in PEM form.
    #[error("{} holds no {what} in PEM form", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("the certificate {} cannot be used: {source}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate authority cannot be used to check clients.
    #[error("the client authority {} cannot be used: {reason}", path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of a tokens file.
    #[error("line {line} of {}: {problem}", path.display())]
    Tokens {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Options that only make sense together.
    #[error("{0}")]
    Incomplete(&'static str),
}

/// What a server reads at its start and at every reload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityFiles {
    /// Certificate and key, and whose clients are let in. Without them connections are in the clear.
    pub tls: Option<TlsFiles>,
    /// The tokens file: one `ROLE NAME TOKEN [site=SITE]` a line. Without it no token is asked for.
    pub tokens: Option<PathBuf>,
}

/// The certificates and tokens that a server goes by. Clones share them, and a reload.
#[derive(Clone)]
pub struct ServerSecurity {
    shared: Arc<Shared>,
}

struct Shared {
    files: SecurityFiles,
    present: RwLock<Present>,
}

#[derive(Clone, Default)]
struct Present {
    tls: Option<Arc<rustls::ServerConfig>>,
    tokens: Option<Arc<Tokens>>,
}

impl Present {
    fn read(files: &SecurityFiles) -> Result<Self, SecurityError> {
        let tls = files.tls.as_ref().map(tls::server_config).transpose()?;
        let tokens = files.tokens.as_deref().map(Tokens::read).transpose()?;
        Ok(Self {
            tls,
            tokens: tokens.map(Arc::new),
        })
    }
}

impl Default for ServerSecurity {
    fn default() -> Self {
        Self::none()
    }
}

impl ServerSecurity {
    /// Everybody is let in, in the clear: for a loopback address, or a network that is trusted wholly.
    #[must_use]
    pub fn none() -> Self {
        Self {
            shared: Arc::new(Shared {
                files: SecurityFiles::default(),
                present: RwLock::default(),
            }),
        }
    }

    /// What these files say.
    ///
    /// # Errors
    /// [`SecurityError`] says which file to mend.
    pub fn load(files: SecurityFiles) -> Result<Self, SecurityError> {
        let present = RwLock::new(Present::read(&files)?);
        Ok(Self {
            shared: Arc::new(Shared { files, present }),
        })
    }

    /// Reads the files again (A2, A4).
    ///
    /// # Errors
    /// [`SecurityError`] says which file to mend; what was in force stays so.
    pub fn reload(&self) -> Result<(), SecurityError> {
        let present = Present::read(&self.shared.files)?;
        *self
            .shared
            .present
            .write()
            .unwrap_or_else(PoisonError::into_inner) = present;
        Ok(())
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.shared.files.tls.is_some()
    }

    /// Whether callers need a token.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.shared.files.tokens.is_some()
    }

    pub(crate) fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.present(|present| present.tls.clone())
    }

    pub(crate) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.present(|present| present.tokens.clone())
    }

    fn present<T>(&self, of: impl FnOnce(&Present) -> T) -> T {
        of(&self
            .shared
            .present
            .read()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for ServerSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSecurity")
            .field("files", &self.shared.files)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    std::fs::read(path).map_err(|source| SecurityError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Reads a file that only its owner may be able to read.
///
/// # Errors
/// [`SecurityError::TooOpen`] if others may, [`SecurityError::Unreadable`] if nobody can.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, SecurityError> {
    use std::os::unix::fs::PermissionsExt as _;
    let unreadable = |source| SecurityError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path)
        .map_err(unreadable)?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecurityError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    read(path)
}

#[cfg(test)]
mod tests;
