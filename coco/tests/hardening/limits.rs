//! Bounds: messages, headers, calls, connections, transactions, time.

use std::time::{Duration, Instant};

use coco::client::{Client, ClientError, ClientOptions};
use coco::service::security::{CredentialFiles, Credentials, SecurityFiles, ServerSecurity};
use coco::service::{Front, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::Bytes;

use crate::certificates::secret;
use crate::raw::{connect, request, status};
use crate::{client, coordinator, until};

fn front(set: impl FnOnce(&mut Limits)) -> Front {
    let mut limits = Limits::default();
    set(&mut limits);
    Front::new(ServerSecurity::none(), limits)
}

fn refused(front: &Front, reason: &str) -> u64 {
    let found = front.refused().find(|(name, _)| name == reason);
    found.unwrap().1
}

const BEGIN: &str = "/coco.v1.Coordinator/Begin";
const SITES: &str = "/coco.v1.Coordinator/Sites";

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let server = coordinator(front(|limits| limits.message_bytes = 64 * 1024)).await;
    let client = client(&server, CredentialFiles::default()).await.unwrap();
    let txn = client.begin().await.unwrap();
    let what = coco::client::Unresolved {
        gtid: txn.gtid(),
        sites: vec!["x".repeat(100_000)],
    };
    let said = client.ask_again(&what).await.unwrap_err();
    assert!(said.to_string().contains("too large"), "{said}");
    txn.commit().await.unwrap().committed().unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let server = coordinator(front(|limits| limits.header_bytes = 8 * 1024)).await;
    let mut raw = connect(server.address()).await;
    let token = "x".repeat(64 * 1024);
    let said = status(&mut raw, request(BEGIN, Some(&token))).await;
    assert!(!matches!(said, Ok(Some(0))), "{said:?}");
    let mut raw = connect(server.address()).await;
    assert_eq!(
        status(&mut raw, request(BEGIN, None)).await.unwrap(),
        Some(0)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    let server = coordinator(Front::default()).await;
    let mut raw = connect(server.address()).await;
    let mut opened = 0;
    let ended = loop {
        let mut ready = match raw.clone().ready().await {
            Ok(ready) => ready,
            Err(error) => break error,
        };
        match ready.send_request(request(BEGIN, None), false) {
            Ok((response, mut body)) => {
                body.send_reset(h2::Reason::CANCEL);
                drop(response);
                opened += 1;
            }
            Err(error) => break error,
        }
        assert!(opened < 100_000, "the server takes them all");
        tokio::task::yield_now().await;
    };
    assert!(
        ended.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) || ended.is_io(),
        "{ended}"
    );
    raw = connect(server.address()).await;
    assert_eq!(
        status(&mut raw, request(BEGIN, None)).await.unwrap(),
        Some(0)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_does_not_get_to_the_point_is_ended() {
    let front = front(|limits| limits.handshake_timeout = Duration::from_millis(300));
    let server = coordinator(front).await;
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let drip = async {
        // A byte at a time, always in time for the next one.
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r" {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            let mut answer = [0; 64];
            let read = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut answer));
            if let Ok(Ok(0) | Err(_)) = read.await {
                return;
            }
        }
        panic!("it was never ended");
    };
    tokio::time::timeout(crate::PATIENCE, drip).await.unwrap();
    server.shutdown().await.unwrap();
}

/// So that nobody who was let in once stays for ever. What runs goes on over the change.
#[tokio::test]
async fn connections_are_replaced_when_they_are_old() {
    let (age, call) = (Duration::from_millis(200), Duration::from_secs(2));
    let front = front(|limits| {
        limits.connection_age = Some(age);
        limits.call_timeout = call;
    });
    let server = coordinator(front).await;
    let start = Instant::now();
    let mut old = connect(server.address()).await;
    // A call that goes on for ever, as links do.
    let mut ready = connect(server.address()).await.ready().await.unwrap();
    let watch = request("/grpc.health.v1.Health/Watch", None);
    let (response, mut body) = ready.send_request(watch, false).unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let mut endless = response.await.unwrap().into_body();
    while let Ok(said) = status(&mut old, request(SITES, None)).await {
        assert_eq!(said, Some(0));
        assert!(start.elapsed() < crate::PATIENCE, "it stays for ever");
    }
    assert!(start.elapsed() >= age, "{:?}", start.elapsed());
    assert!(
        start.elapsed() < age + call,
        "it was asked to end, not cut off"
    );
    let rest = async { while let Some(Ok(_)) = endless.data().await {} };
    tokio::time::timeout(crate::PATIENCE, rest)
        .await
        .expect("it is cut off");
    assert!(start.elapsed() >= age + call, "{:?}", start.elapsed());
    let client = client(&server, CredentialFiles::default()).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < age * 10 {
        let mut ended = client.begin().await.unwrap().commit().await;
        // What was asked for in the very moment may have been left behind: nobody has looked at it.
        while let Err(ClientError::OutcomeUnknown { what, .. }) = ended {
            ended = client.ask_again(&what).await;
        }
        ended.unwrap().committed().unwrap();
    }
    server.shutdown().await.unwrap();
}

/// It has got to the point, and then its peer is gone without a word: it answers no ping.
#[tokio::test]
async fn a_connection_that_falls_silent_is_ended() {
    let server = coordinator(Front::default()).await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    silent.write_all(preface).await.unwrap();
    let mut said = Vec::new();
    let ended = tokio::time::timeout(crate::PATIENCE, silent.read_to_end(&mut said));
    // However it was closed, it was closed.
    let _closed = ended
        .await
        .expect("it is asked for a sign of life, and ended");
    assert!(!said.is_empty(), "it was served before");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_call_takes_no_longer_than_calls_may_whatever_its_client_says() {
    let front = front(|limits| limits.call_timeout = Duration::from_millis(200));
    let server = coordinator(front.clone()).await;
    let mut raw = connect(server.address()).await;
    let mut ready = raw.clone().ready().await.unwrap();
    let start = Instant::now();
    // A message that is announced and never comes.
    let (response, mut body) = ready.send_request(request(BEGIN, None), false).unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false)
        .unwrap();
    let response = tokio::time::timeout(crate::PATIENCE, response)
        .await
        .unwrap();
    let response = response.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4", "deadline exceeded");
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(refused(&front, "deadline"), 1);
    assert_eq!(
        status(&mut raw, request(BEGIN, None)).await.unwrap(),
        Some(0)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded_and_given_back() {
    let front = front(|limits| limits.connections_per_address = 3);
    let server = coordinator(front.clone()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(client(&server, CredentialFiles::default()).await.unwrap());
    }
    let mut fourth = TcpStream::connect(server.address()).await.unwrap();
    let mut rest = Vec::new();
    // Closed without a word, or reset.
    let _closed = fourth.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(refused(&front, "connections"), 1);
    open.pop();
    until("there is a place again", async || {
        match client(&server, CredentialFiles::default()).await {
            Ok(client) => client.statistics().await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_peer_with_too_many_transactions_is_told_when_to_come_again() {
    let front = front(|limits| {
        limits.transactions_per_peer = 2;
        limits.retry_after = Duration::from_millis(70);
    });
    let server = coordinator(front.clone()).await;
    let one = client(&server, CredentialFiles::default()).await.unwrap();
    let first = one.begin().await.unwrap();
    let _second = one.begin().await.unwrap();
    let refusal = one.begin().await.unwrap_err();
    assert!(
        matches!(refusal, ClientError::Overloaded { retry_after }
            if retry_after == Duration::from_millis(70)),
        "{refusal:?}"
    );
    assert_eq!(refused(&front, "transactions_per_peer"), 1);

    // A client with patience gets its turn as soon as there is room.
    let patient = Client::connect(&server.address().to_string())
        .await
        .unwrap();
    let waits = tokio::spawn(async move { patient.begin().await.map(drop) });
    until("it has been refused", async || {
        refused(&front, "transactions_per_peer") >= 2
    })
    .await;
    first.commit().await.unwrap().committed().unwrap();
    let begun = tokio::time::timeout(crate::PATIENCE, waits).await;
    begun.unwrap().unwrap().unwrap();
    server.shutdown().await.unwrap();
}

/// Whoever was refused first used to hold the others up, each for his whole patience.
#[tokio::test]
async fn begins_without_room_do_not_wait_behind_each_other_and_ask_together() {
    const BEGINS: u32 = 20;
    let front = front(|limits| limits.transactions_per_peer = 1);
    let server = coordinator(front.clone()).await;
    let patience = Duration::from_millis(400);
    let options = ClientOptions {
        overload_patience: patience,
        lease: 1,
        ..ClientOptions::default()
    };
    let address = server.address().to_string();
    let client = Client::connect_with(&address, options).await.unwrap();
    let _only = client.begin().await.unwrap();
    let started = Instant::now();
    let begins: Vec<_> = (0..BEGINS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.begin().await.map(drop) })
        })
        .collect();
    for begin in begins {
        let refusal = begin.await.unwrap().unwrap_err();
        assert!(
            matches!(refusal, ClientError::Overloaded { .. }),
            "{refusal:?}"
        );
    }
    let took = started.elapsed();
    assert!(took < patience * (BEGINS / 2), "{took:?}");
    // One request for each time that the coordinator says to come again, not one for each begin.
    let asked = refused(&front, "transactions_per_peer");
    assert!((1..u64::from(BEGINS)).contains(&asked), "{asked} requests");
    server.shutdown().await.unwrap();
}

/// A client with a token of its own.
async fn named(
    server: &coco::service::coordinator::CoordinatorServer,
    folder: &std::path::Path,
    token: &str,
    patience: Duration,
) -> Client {
    let path = folder.join(token);
    secret(&path, token);
    let files = CredentialFiles {
        token: Some(path),
        ..CredentialFiles::default()
    };
    let options = ClientOptions {
        credentials: Credentials::load(files).unwrap(),
        overload_patience: patience,
        lease: 1,
        ..ClientOptions::default()
    };
    let address = server.address().to_string();
    Client::connect_with(&address, options).await.unwrap()
}

const TRANSACTIONS: usize = 200;

/// Transactions one after the other; the median span.
async fn median(client: &Client) -> Duration {
    let mut spans = Vec::new();
    for _ in 0..TRANSACTIONS {
        let start = Instant::now();
        let txn = client.begin().await.unwrap();
        txn.commit().await.unwrap().committed().unwrap();
        spans.push(start.elapsed());
    }
    spans.sort_unstable();
    spans[spans.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_abusive_client_does_not_starve_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tokens = folder.join("tokens");
    secret(
        &tokens,
        "client good good-token-0123456789\nclient greedy greedy-token-0123456789",
    );
    let security = ServerSecurity::load(SecurityFiles {
        tls: None,
        tokens: Some(tokens),
    });
    let mut limits = Limits::default();
    limits.calls_per_peer = 8;
    limits.transactions_per_peer = 100;
    let front = Front::new(security.unwrap(), limits);
    let server = coordinator(front.clone()).await;
    let good = named(&server, folder, "good-token-0123456789", Duration::ZERO).await;
    let alone = median(&good).await;

    // Takes all it can get, on several connections, and never gives anything back.
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let one = named(&server, folder, "greedy-token-0123456789", Duration::ZERO).await;
        for _ in 0..16 {
            let one = one.clone();
            greedy.push(tokio::spawn(async move {
                loop {
                    match one.begin_again(co_core::Priority(1)).await {
                        Ok(txn) => std::mem::forget(txn),
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            }));
        }
    }
    until("it has taken all that it may", async || {
        refused(&front, "transactions_per_peer") > 0 && refused(&front, "calls_per_peer") > 0
    })
    .await;
    let beside = median(&good).await;
    for task in greedy {
        task.abort();
    }
    println!("a good client's transaction: alone {alone:?}, beside an abusive one {beside:?}");
    assert!(
        beside < alone * 50 + Duration::from_millis(500),
        "alone {alone:?}, beside an abusive one {beside:?}"
    );
    let statistics = good.statistics().await.unwrap();
    assert_eq!(statistics.counters.commits, 2 * TRANSACTIONS as u64);
    assert!(statistics.in_flight <= 101, "{}", statistics.in_flight);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_refusal_for_lack_of_room_carries_the_standard_retry_information() {
    let server = coordinator(front(|limits| limits.calls_per_peer = 0)).await;
    let mut raw = connect(server.address()).await;
    let said = status(&mut raw, request(BEGIN, None)).await.unwrap();
    assert_eq!(said, Some(Code::ResourceExhausted.into()));
    let client = client(&server, CredentialFiles::default()).await.unwrap();
    let refusal = client.begin().await.unwrap_err();
    assert!(
        matches!(refusal, ClientError::Overloaded { .. }),
        "{refusal:?}"
    );
    server.shutdown().await.unwrap();
}
