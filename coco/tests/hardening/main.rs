//! What a coordinator does with peers that are not who they should be, ask for what they may not, or take
//! more than their share. Real sockets, real handshakes; certificates are made here.
#![cfg(feature = "grpc")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails to set itself up has failed; figures are printed"
)]

mod certificates;
mod encryption;
mod limits;
mod raw;
mod roles;
mod standard;

use std::sync::Arc;
use std::time::Duration;

use coco::client::{Client, ClientError, ClientOptions};
use coco::log::MemoryLog;
use coco::service::Front;
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use coco::service::security::{CredentialFiles, Credentials};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

/// A coordinator behind this front.
async fn coordinator(front: Front) -> CoordinatorServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = CoordinatorOptions {
        front,
        ..CoordinatorOptions::default()
    };
    let log = Arc::new(MemoryLog::automatic());
    CoordinatorServer::start(options, listener, log, &[])
        .await
        .unwrap()
}

/// A client with these files.
async fn client(server: &CoordinatorServer, files: CredentialFiles) -> Result<Client, ClientError> {
    let options = ClientOptions {
        credentials: Credentials::load(files).unwrap(),
        overload_patience: Duration::ZERO,
        lease: 1,
        ..ClientOptions::default()
    };
    Client::connect_with(&server.address().to_string(), options).await
}

/// Waits for a fact.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "in vain: {what}"
    );
}
