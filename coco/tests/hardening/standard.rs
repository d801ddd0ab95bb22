//! Health, reflection, drain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use co_core::Gtid;
use coco::client::{Client, ClientError};
use coco::log::MemoryLog;
use coco::service::Front;
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use coco::service::link::Link;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::{coordinator, until};

async fn channel(server: &CoordinatorServer) -> Channel {
    let uri = format!("http://{}", server.address());
    Channel::from_shared(uri).unwrap().connect().await.unwrap()
}

async fn health(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let reply = HealthClient::new(channel.clone()).check(request).await;
    reply.unwrap().into_inner().status()
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let server = coordinator(Front::default()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let replies = client
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let reply = replies.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
        panic!()
    };
    let names: Vec<String> = list.service.into_iter().map(|it| it.name).collect();
    for name in ["coco.v1.Coordinator", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|it| it == name), "{names:?}");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn health_follows_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let log = MemoryLog::automatic();
    let options = CoordinatorOptions::default();
    let server = CoordinatorServer::start(options, listener, Arc::new(log.clone()), &[]);
    let server = server.await.unwrap();
    let channel = channel(&server).await;
    for service in ["", "coco.v1.Coordinator"] {
        until("healthy", async || {
            health(&channel, service).await == ServingStatus::Serving
        })
        .await;
    }
    // The log notices at its next record: that of a commit at two sites, or of the next epoch. Here the
    // disk is asked directly.
    log.fail_next_sync();
    let client = Client::connect(&server.address().to_string())
        .await
        .unwrap();
    let mut links = Vec::new();
    for name in ["a", "b"] {
        links.push(voter(&server, name, Vec::new()));
    }
    client
        .wait_for_sites(&["a", "b"], crate::PATIENCE)
        .await
        .unwrap();
    let txn = client.begin().await.unwrap();
    let what = coco::client::Unresolved {
        gtid: txn.gtid(),
        sites: vec!["a".to_owned(), "b".to_owned()],
    };
    std::mem::forget(txn);
    let outcome = client.ask_again(&what).await;
    assert!(
        matches!(outcome, Err(ClientError::OutcomeUnknown { .. })),
        "{outcome:?}"
    );
    until("not healthy", async || {
        health(&channel, "").await == ServingStatus::NotServing
    })
    .await;
    server.kill();
}

/// A site that votes YES to everything, and says that it has worked on these.
fn voter(server: &CoordinatorServer, name: &str, worked: Vec<Gtid>) -> Link {
    use coco::protocol::{
        Ballot, CoordinatorId, Dependencies, Incarnation, SiteName, ToCoordinator, ToParticipant,
    };
    use coco::service::link::LinkEvent;
    let uri = server.address().to_string();
    let (told, mut events) = tokio::sync::mpsc::channel(8);
    let link = Link::open(CoordinatorId(0), &uri, SiteName::new(name), told).unwrap();
    tokio::spawn(async move {
        let mut sender = None;
        while let Some((_, event)) = events.recv().await {
            match event {
                LinkEvent::Up(up) => {
                    up.send(ToCoordinator::Hello {
                        incarnation: Incarnation(1),
                        address: "http://127.0.0.1:9".to_owned(),
                        in_doubt: Vec::new(),
                    });
                    sender = Some(up);
                }
                LinkEvent::Messages(messages) => {
                    for message in messages {
                        if let (ToParticipant::Prepare { gtid, .. }, Some(sender)) =
                            (message, &sender)
                        {
                            let ballot = Ballot::Yes {
                                stamp: co_core::Stamp(1),
                                incarnation: Incarnation(1),
                                read_only: false,
                                depends: Dependencies::default(),
                            };
                            sender.send(ToCoordinator::Vote { gtid, ballot });
                        }
                    }
                }
                LinkEvent::TellWorking => {
                    if let Some(sender) = &sender {
                        sender.working(worked.clone());
                    }
                }
                LinkEvent::Down { .. } => sender = None,
            }
        }
    });
    link
}

#[tokio::test]
async fn a_drain_begins_nothing_ends_what_runs_and_tells_health() {
    let server = coordinator(Front::default()).await;
    let address = server.address().to_string();
    let options = coco::client::ClientOptions {
        lease: 1,
        ..coco::client::ClientOptions::default()
    };
    let client = Client::connect_with(&address, options).await.unwrap();
    let running = client.begin().await.unwrap();
    let _site = voter(&server, "a", vec![running.gtid()]);
    client
        .wait_for_sites(&["a"], crate::PATIENCE)
        .await
        .unwrap();
    let channel = channel(&server).await;
    let drain = tokio::spawn(server.drain(Duration::from_secs(60)));
    until("not healthy", async || {
        health(&channel, "").await == ServingStatus::NotServing
    })
    .await;
    let refused = client.begin().await.unwrap_err();
    assert!(refused.to_string().contains("stopping"), "{refused}");
    assert!(!drain.is_finished(), "one runs");
    running.commit().await.unwrap().committed().unwrap();
    let ended = tokio::time::timeout(crate::PATIENCE, drain).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let server = coordinator(Front::default()).await;
    let client = Client::connect(&server.address().to_string())
        .await
        .unwrap();
    let running = client.begin().await.unwrap();
    let _site = voter(&server, "a", vec![running.gtid()]);
    client
        .wait_for_sites(&["a"], crate::PATIENCE)
        .await
        .unwrap();
    let patience = Duration::from_millis(50);
    let start = Instant::now();
    let drain = server.drain(patience);
    tokio::time::timeout(crate::PATIENCE, drain)
        .await
        .unwrap()
        .unwrap();
    assert!(start.elapsed() >= patience, "one runs");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_what_was_fetched_ahead() {
    let server = coordinator(Front::default()).await;
    let client = Client::connect(&server.address().to_string())
        .await
        .unwrap();
    let _site = voter(&server, "a", Vec::new());
    client
        .wait_for_sites(&["a"], crate::PATIENCE)
        .await
        .unwrap();
    for _ in 0..4 {
        let txn = client.begin().await.unwrap();
        txn.commit().await.unwrap().committed().unwrap();
    }
    let left = client.statistics().await.unwrap().in_flight;
    assert!(left > 0, "identifiers are fetched ahead");
    let drain = server.drain(Duration::from_secs(600));
    let drained = tokio::time::timeout(crate::PATIENCE, drain).await;
    drained.expect("nothing runs").unwrap();
}
