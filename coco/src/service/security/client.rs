//! What a client, or a site on its link, shows to servers: a certificate, a token.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{Request, Status};

use super::{SecurityError, read, read_secret};

/// Where a client's certificate and token come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CredentialFiles {
    /// The authority whose servers are trusted; PEM. With it connections are encrypted.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for servers that ask for one; PEM.
    pub cert: Option<PathBuf>,
    /// Its key; PEM. Only the owner may be able to read it.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must be for, if it is not the one in the address.
    pub server_name: Option<String>,
    /// A file with the token and nothing else. Only the owner may be able to read it.
    pub token: Option<PathBuf>,
}

/// What a client shows to servers. Clones share it, and a reload.
#[derive(Clone)]
pub struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    files: CredentialFiles,
    present: RwLock<Loaded>,
}

/// What was read last.
#[derive(Clone, Default)]
pub(crate) struct Loaded {
    pub(crate) tls: Option<ClientTlsConfig>,
    token: Option<AsciiMetadataValue>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::none()
    }
}

impl Credentials {
    /// No certificate and no token.
    #[must_use]
    pub fn none() -> Self {
        Self {
            shared: Arc::new(Shared {
                files: CredentialFiles::default(),
                present: RwLock::default(),
            }),
        }
    }

    /// What these files say.
    ///
    /// # Errors
    /// [`SecurityError`] says which file to mend.
    pub fn load(files: CredentialFiles) -> Result<Self, SecurityError> {
        let present = RwLock::new(Loaded::read(&files)?);
        Ok(Self {
            shared: Arc::new(Shared { files, present }),
        })
    }

    /// Reads the files again: the next call shows the new token, the next connection the new certificate.
    ///
    /// # Errors
    /// [`SecurityError`] says which file to mend; what was in force stays so.
    pub fn reload(&self) -> Result<(), SecurityError> {
        let loaded = Loaded::read(&self.shared.files)?;
        *self
            .shared
            .present
            .write()
            .unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.shared.files.ca.is_some()
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.shared
            .present
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds the token to every call.
    pub(crate) fn bearer(&self) -> Bearer {
        Bearer(self.shared.files.token.is_some().then(|| self.clone()))
    }
}

impl Loaded {
    fn read(files: &CredentialFiles) -> Result<Self, SecurityError> {
        let identity = match (&files.cert, &files.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(Identity::from_pem(read(cert)?, read_secret(key)?)),
            (Some(_), None) | (None, Some(_)) => {
                let together = "a client's certificate and key go together; give both or none";
                return Err(SecurityError::Incomplete(together));
            }
        };
        let tls = match &files.ca {
            Some(ca) => {
                let mut tls =
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
                if let Some(identity) = identity {
                    tls = tls.identity(identity);
                }
                if let Some(name) = &files.server_name {
                    tls = tls.domain_name(name);
                }
                Some(tls)
            }
            None if identity.is_some() => {
                let authority = "a client's certificate needs the authority of its servers as \
                                 well; give it with --tls-ca";
                return Err(SecurityError::Incomplete(authority));
            }
            None => None,
        };
        let token = match &files.token {
            None => None,
            Some(path) => {
                let text = read_secret(path)?;
                let text = String::from_utf8_lossy(&text);
                let wrong = |_| SecurityError::Tokens {
                    path: path.clone(),
                    line: 1,
                    problem: "the token has characters that no header can carry",
                };
                let value = format!("Bearer {}", text.trim());
                let mut value: AsciiMetadataValue = value.parse().map_err(wrong)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { tls, token })
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.shared.files == other.shared.files
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.shared.files)
            .finish_non_exhaustive()
    }
}

/// Shows the token with every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<Credentials>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(credentials) = &self.0
            && let Some(token) = credentials.loaded().token
        {
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}
