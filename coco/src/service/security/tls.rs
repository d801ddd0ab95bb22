//! Certificates and keys from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::{SecurityError, read, read_secret};

/// A server's certificate and key, and whose clients it lets in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Its certificate, followed by those between it and the authority; PEM.
    pub cert: PathBuf,
    /// Its private key; PEM. Only the owner may be able to read it.
    pub key: PathBuf,
    /// The authority whose clients are let in. Without it clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

pub(super) fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, SecurityError> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |source| SecurityError::Certificate {
        path: files.cert.clone(),
        source,
    };
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let refused = |reason: String| SecurityError::Authority {
                path: path.clone(),
                reason,
            };
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|error| refused(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build();
            builder.with_client_cert_verifier(verifier.map_err(|error| refused(error.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(&files.cert)?, key(&files.key)?)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(SecurityError::NotPem {
            path: path.to_owned(),
            what: "certificate",
        }),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, SecurityError> {
    let text = read_secret(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| SecurityError::NotPem {
        path: path.to_owned(),
        what: "private key",
    })
}
