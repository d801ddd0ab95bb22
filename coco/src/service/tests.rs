//! What a server says to peers that break the rules. Here and not in `tests/`, because only this module can
//! speak the wire format wrongly.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::coordinator::{CoordinatorOptions, CoordinatorServer, StartError};
use super::link::{Link, LinkEvent, LinkSender};
use super::wire::{self, coordinator_client::CoordinatorClient};
use crate::log::MemoryLog;
use crate::protocol::{CoordinatorId, Incarnation, SiteName, ToCoordinator, ToParticipant};

async fn server() -> (CoordinatorServer, CoordinatorClient<Channel>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let log = Arc::new(MemoryLog::automatic());
    let server = CoordinatorServer::start(CoordinatorOptions::default(), listener, log, &[]);
    let server = server.await.unwrap();
    let uri = format!("http://{}", server.address());
    (server, CoordinatorClient::connect(uri).await.unwrap())
}

/// A stream that says these and then nothing, but does not end.
struct Says(std::vec::IntoIter<wire::UpFrame>);

impl Stream for Says {
    type Item = wire::UpFrame;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<wire::UpFrame>> {
        self.get_mut()
            .0
            .next()
            .map_or(std::task::Poll::Pending, |frame| {
                std::task::Poll::Ready(Some(frame))
            })
    }
}

fn says(frames: Vec<wire::UpFrame>) -> Says {
    Says(frames.into_iter())
}

fn frame(messages: Vec<wire::to_coordinator::Message>) -> wire::UpFrame {
    let message = |message| wire::ToCoordinator {
        message: Some(message),
    };
    wire::UpFrame {
        messages: messages.into_iter().map(message).collect(),
        working: None,
    }
}

fn hello(site: &str, incarnation: u64) -> wire::to_coordinator::Message {
    wire::to_coordinator::Message::Hello(wire::Hello {
        site: site.to_owned(),
        incarnation,
        address: "http://127.0.0.1:9".to_owned(),
        in_doubt: Vec::new(),
        coordinator: 0,
    })
}

fn refused(status: &Status, code: Code, says: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{status}");
}

#[tokio::test]
async fn malformed_requests_get_a_typed_status_and_change_nothing() {
    let (server, mut client) = server().await;
    let bad = wire::CommitRequest {
        gtid: 1,
        sites: vec![String::new()],
        dependent: false,
    };
    let status = client.commit(bad).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "`sites` is empty");
    let unknown = wire::CommitRequest {
        gtid: 99,
        sites: vec!["a".to_owned()],
        dependent: false,
    };
    let reply = client.commit(unknown).await.unwrap().into_inner();
    let Some(wire::commit_reply::Outcome::Refused(reply)) = reply.outcome else {
        panic!()
    };
    assert_eq!(reply.code, "unknown-transaction");
    let statistics = client
        .statistics(wire::StatisticsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (statistics.begun, statistics.commits, statistics.serving),
        (0, 0, true)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_link_without_a_hello_is_refused() {
    let (server, mut client) = server().await;
    let ack = wire::to_coordinator::Message::AckGtid(1);
    let wrong = [
        vec![frame(vec![ack])],
        vec![frame(Vec::new())],
        vec![wire::UpFrame {
            messages: vec![wire::ToCoordinator { message: None }],
            working: None,
        }],
        vec![frame(vec![hello("", 1)])],
        vec![frame(vec![hello("a", 1), hello("b", 1)])],
    ];
    for frames in wrong {
        let status = client.link(says(frames)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert!(
        client
            .sites(wire::SitesRequest {})
            .await
            .unwrap()
            .into_inner()
            .sites
            .is_empty()
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_link_that_breaks_the_rules_later_is_closed() {
    let (server, mut client) = server().await;
    for later in [
        hello("other", 1),
        wire::to_coordinator::Message::Vote(wire::Vote::default()),
    ] {
        let frames = vec![frame(vec![hello("a", 1)]), frame(vec![later])];
        let mut down = client.link(says(frames)).await.unwrap().into_inner();
        assert!(matches!(down.message().await, Ok(None)));
        let sites = client
            .sites(wire::SitesRequest {})
            .await
            .unwrap()
            .into_inner()
            .sites;
        assert_eq!((sites.len(), sites[0].connected), (1, false));
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_later_life_takes_a_sites_name_over_and_an_earlier_one_does_not() {
    let (server, mut client) = server().await;
    let link = |life| says(vec![frame(vec![hello("a", life)])]);
    let mut first = client.link(link(5)).await.unwrap().into_inner();
    // The same life again is a reconnect that the server hears of before the old connection's end.
    let mut second = client.link(link(5)).await.unwrap().into_inner();
    assert!(matches!(first.message().await, Ok(None)), "replaced");
    let third = client.link(link(6)).await.unwrap();
    assert!(matches!(second.message().await, Ok(None)), "replaced");
    let status = client.link(link(5)).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "end the older process");
    let sites = client
        .sites(wire::SitesRequest {})
        .await
        .unwrap()
        .into_inner()
        .sites;
    assert_eq!((sites[0].incarnation, sites[0].connected), (6, true));
    drop(third);
    server.shutdown().await.unwrap();
}

type Events = mpsc::Receiver<(CoordinatorId, LinkEvent)>;

async fn next(events: &mut Events) -> LinkEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), events.recv());
    event.await.unwrap().unwrap().1
}

/// Waits for the link and introduces the site.
async fn introduce(events: &mut Events) -> LinkSender {
    loop {
        if let LinkEvent::Up(sender) = next(events).await {
            sender.send(ToCoordinator::Hello {
                incarnation: Incarnation(1),
                address: "http://127.0.0.1:9".to_owned(),
                in_doubt: Vec::new(),
            });
            return sender;
        }
    }
}

/// Begins a transaction and asks for its commit at site `a`, once that is connected.
async fn commit_at_a(
    mut client: CoordinatorClient<Channel>,
) -> (u64, JoinHandle<Result<(), Status>>) {
    let begin = wire::BeginRequest {
        count: 3,
        priority: None,
    };
    let grant = client.begin(begin).await.unwrap().into_inner();
    assert_eq!(grant.count, 3);
    loop {
        let sites = client.sites(wire::SitesRequest {}).await.unwrap();
        if sites.into_inner().sites.iter().any(|site| site.connected) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (gtid, sites) = (grant.first_gtid, vec!["a".to_owned()]);
    let commit = async move {
        let request = wire::CommitRequest {
            gtid,
            sites,
            dependent: false,
        };
        client.commit(request).await.map(drop)
    };
    (gtid, tokio::spawn(commit))
}

#[tokio::test]
async fn a_link_comes_up_again_by_itself_and_carries_messages_both_ways() {
    let (server, client) = server().await;
    let address = server.address();
    let (told, mut events) = mpsc::channel(8);
    let (id, uri) = (CoordinatorId(0), address.to_string());
    let _link = Link::open(id, &uri, SiteName::new("a"), told).unwrap();
    let _sender = introduce(&mut events).await;
    let (gtid, commit) = commit_at_a(client).await;
    let LinkEvent::Messages(messages) = next(&mut events).await else {
        panic!()
    };
    let gtid = co_core::Gtid(gtid);
    assert_eq!(messages, [ToParticipant::CommitOnePhase { gtid }]);

    server.kill();
    assert!(matches!(next(&mut events).await, LinkEvent::Down { .. }));
    let status = commit.await.unwrap().unwrap_err();
    assert_ne!(
        status.code(),
        Code::InvalidArgument,
        "open, not refused: {status}"
    );

    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let log = Arc::new(MemoryLog::automatic());
    let again = CoordinatorServer::start(CoordinatorOptions::default(), listener, log, &[]);
    let again = again.await.unwrap();
    let _sender = introduce(&mut events).await;
    again.shutdown().await.unwrap();
    assert!(matches!(next(&mut events).await, LinkEvent::Down { .. }));
}

#[tokio::test]
async fn a_coordinator_does_not_start_from_a_log_that_it_cannot_read_or_write() {
    let start = async |log: MemoryLog, records: &[Vec<u8>]| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = CoordinatorOptions::default();
        CoordinatorServer::start(options, listener, Arc::new(log), records)
            .await
            .unwrap_err()
    };
    let error = start(MemoryLog::automatic(), &[vec![77]]).await;
    assert!(
        matches!(error, StartError::Record { index: 1, .. }),
        "{error}"
    );
    let log = MemoryLog::automatic();
    log.fail_next_sync();
    assert!(matches!(start(log, &[]).await, StartError::LogFailed));
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_who_will_not_come() {
    let (server, mut client) = server().await;
    let frames = vec![frame(vec![hello("a", 1)])];
    let _down = client.link(says(frames)).await.unwrap().into_inner();
    let begin = wire::BeginRequest {
        count: 0,
        priority: None,
    };
    let gtid = client.begin(begin).await.unwrap().into_inner().first_gtid;
    // A site that never answers.
    let mut other = client.clone();
    let commit = tokio::spawn(async move {
        other
            .commit(wire::CommitRequest {
                gtid,
                sites: vec!["a".to_owned()],
                dependent: false,
            })
            .await
    });
    while client
        .statistics(wire::StatisticsRequest {})
        .await
        .unwrap()
        .into_inner()
        .in_flight
        == 0
    {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(20), server.shutdown())
        .await
        .unwrap()
        .unwrap();
    assert!(commit.await.unwrap().is_err(), "unknown, not aborted");
}
