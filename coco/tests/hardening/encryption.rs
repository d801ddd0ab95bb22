//! Certificates: good, none, another authority's, expired, a false server's, none at all; and their rotation.

use std::path::Path;
use std::time::Duration;

use coco::service::security::{
    CredentialFiles, SecurityError, SecurityFiles, ServerSecurity, TlsFiles,
};
use coco::service::{Front, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::certificates::{Authority, Pair};
use crate::{client, coordinator, until};

fn files(authority: &Authority, pair: Option<&Pair>) -> CredentialFiles {
    CredentialFiles {
        ca: Some(authority.pem.clone()),
        cert: pair.map(|pair| pair.cert.clone()),
        key: pair.map(|pair| pair.key.clone()),
        ..CredentialFiles::default()
    }
}

fn security(pair: &Pair, clients: Option<&Authority>) -> ServerSecurity {
    let tls = TlsFiles {
        cert: pair.cert.clone(),
        key: pair.key.clone(),
        client_ca: clients.map(|authority| authority.pem.clone()),
    };
    ServerSecurity::load(SecurityFiles {
        tls: Some(tls),
        tokens: None,
    })
    .unwrap()
}

/// Whether a client with these files gets an answer.
async fn answered(
    server: &coco::service::coordinator::CoordinatorServer,
    files: CredentialFiles,
) -> bool {
    match client(server, files).await {
        Ok(client) => client.statistics().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_clients_of_the_authority_get_in_and_only_to_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, other) = (
        Authority::new(folder, "ours"),
        Authority::new(folder, "other"),
    );
    let server = ours.issue(folder, "server");
    let front = Front::new(security(&server, Some(&ours)), Limits::default());
    let server = coordinator(front).await;

    let good = ours.issue(folder, "good");
    assert!(answered(&server, files(&ours, Some(&good))).await, "good");
    assert!(!answered(&server, files(&ours, None)).await, "none");
    let stranger = other.issue(folder, "stranger");
    assert!(
        !answered(&server, files(&ours, Some(&stranger))).await,
        "of another authority"
    );
    let expired = ours.issue_until(folder, "expired", 2020);
    assert!(
        !answered(&server, files(&ours, Some(&expired))).await,
        "expired"
    );
    assert!(
        !answered(&server, files(&other, Some(&good))).await,
        "the server is of an authority that the client does not trust"
    );
    assert!(
        !answered(&server, CredentialFiles::default()).await,
        "in the clear"
    );
    assert!(
        answered(&server, files(&ours, Some(&good))).await,
        "still good"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = Authority::new(folder, "ours");
    let pair = ours.issue_until(folder, "server", 2020);
    let security = security(&pair, None);
    let server = coordinator(Front::new(security.clone(), Limits::default())).await;
    assert!(!answered(&server, files(&ours, None)).await, "expired");
    ours.issue(folder, "server");
    security.reload().unwrap();
    assert!(answered(&server, files(&ours, None)).await, "renewed");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_encrypted_address_needs_an_authority_and_the_error_says_so() {
    let error = coco::client::Client::connect("https://127.0.0.1:1").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("--tls-ca"), "{error}");
}

#[tokio::test]
async fn a_reload_changes_the_certificate_of_new_connections_and_leaves_the_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, second) = (
        Authority::new(folder, "first"),
        Authority::new(folder, "second"),
    );
    let pair = first.issue(folder, "server");
    let security = security(&pair, None);
    let server = coordinator(Front::new(security.clone(), Limits::default())).await;
    let old = client(&server, files(&first, None)).await.unwrap();
    let begun = old.begin().await.unwrap();

    std::fs::write(&pair.cert, "no certificate").unwrap();
    let refused = security.reload().unwrap_err();
    assert!(matches!(refused, SecurityError::NotPem { .. }), "{refused}");
    assert!(
        answered(&server, files(&first, None)).await,
        "in force still"
    );

    second.issue(folder, "server");
    security.reload().unwrap();
    assert!(!answered(&server, files(&first, None)).await);
    assert!(answered(&server, files(&second, None)).await);
    begun.commit().await.unwrap().committed().unwrap();
    server.shutdown().await.unwrap();
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new(folder.path(), "ours").issue(folder.path(), "server");
    std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let tls = TlsFiles {
        cert: pair.cert,
        key: pair.key.clone(),
        client_ca: None,
    };
    let refused = ServerSecurity::load(SecurityFiles {
        tls: Some(tls),
        tokens: None,
    });
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, SecurityError::TooOpen { path, mode: 0o640 } if *path == pair.key));
    assert!(refused.to_string().contains("chmod 600"));
}

/// Opens a connection that says this and then nothing.
async fn bogus(address: std::net::SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have closed it already.
    let _closed = stream.write_all(says).await;
    stream
}

#[tokio::test]
async fn a_thousand_bogus_handshakes_hold_nobody_up_and_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let folder: &Path = folder.path();
    let ours = Authority::new(folder, "ours");
    let pair = ours.issue(folder, "server");
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_secs(2);
    let front = Front::new(security(&pair, None), limits);
    let server = coordinator(front.clone()).await;
    let refused = || {
        let mut counts = front.refused();
        counts.find(|(reason, _)| reason == "handshake").unwrap().1
    };
    let mut silent = Vec::new();
    for index in 0..1000 {
        // Half of them say nothing at all, half begin a handshake that has no end.
        let says: &[u8] = if index % 2 == 0 {
            b""
        } else {
            b"\x16\x03\x01\x02\x00\x01"
        };
        silent.push(bogus(server.address(), says).await);
    }
    assert!(answered(&server, files(&ours, None)).await, "beside them");
    assert!(refused() < 1000, "they were still open while it was served");
    until("all are ended", async || refused() == 1000).await;
    for mut stream in silent {
        let mut rest = Vec::new();
        // However it was closed, it was closed.
        let _closed = stream.read_to_end(&mut rest).await;
    }
    for _ in 0..50 {
        bogus(server.address(), b"GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").await;
    }
    until("garbage is refused at once", async || refused() >= 1050).await;
    assert!(answered(&server, files(&ours, None)).await, "after them");
    server.shutdown().await.unwrap();
}
