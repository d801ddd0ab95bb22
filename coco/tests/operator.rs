//! What operators see of a running coordinator, and do to it: the `coco` command against a real server, with
//! sites that vote, wait and go away on command.
#![cfg(all(feature = "grpc", feature = "file-log"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails to set itself up has failed"
)]

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use coco::client::{Client, ClientOptions, Unresolved};
use coco::log::MemoryLog;
use coco::protocol::{
    Ballot, CoordinatorId, Dependencies, Incarnation, SiteName, ToCoordinator, ToParticipant,
};
use coco::service::audit::Audit;
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use coco::service::link::{Link, LinkEvent, LinkSender};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

async fn server(folder: &Path) -> (CoordinatorServer, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = CoordinatorOptions {
        audit: Some(Audit::in_folder(folder)),
        ..CoordinatorOptions::default()
    };
    let log = Arc::new(MemoryLog::automatic());
    let server = CoordinatorServer::start(options, listener, log, &[]);
    let server = server.await.unwrap();
    let options = ClientOptions {
        lease: 1,
        ..ClientOptions::default()
    };
    let client = Client::connect_with(&server.address().to_string(), options).await;
    (server, client.unwrap())
}

/// A site whose part the test plays.
struct Site {
    link: Link,
    sender: LinkSender,
    events: mpsc::Receiver<(CoordinatorId, LinkEvent)>,
}

impl Site {
    async fn link(server: &CoordinatorServer, client: &Client, name: &str) -> Self {
        let uri = server.address().to_string();
        let (told, mut events) = mpsc::channel(8);
        let link = Link::open(CoordinatorId(0), &uri, SiteName::new(name), told).unwrap();
        let Some((_, LinkEvent::Up(sender))) = events.recv().await else {
            panic!()
        };
        sender.send(ToCoordinator::Hello {
            incarnation: Incarnation(1),
            address: "http://127.0.0.1:9".to_owned(),
            in_doubt: Vec::new(),
        });
        client.wait_for_sites(&[name], PATIENCE).await.unwrap();
        Self {
            link,
            sender,
            events,
        }
    }

    /// Waits until the coordinator says this.
    async fn hears(&mut self, wanted: impl Fn(&ToParticipant) -> bool) {
        let heard = async {
            loop {
                if let Some((_, LinkEvent::Messages(messages))) = self.events.recv().await
                    && messages.iter().any(&wanted)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }

    fn votes_yes(&self, gtid: Gtid) {
        let ballot = Ballot::Yes {
            stamp: Stamp(3),
            incarnation: Incarnation(1),
            read_only: false,
            depends: Dependencies::default(),
        };
        self.sender.send(ToCoordinator::Vote { gtid, ballot });
    }
}

async fn coco(server: &CoordinatorServer, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_coco"));
    let address = server.address().to_string();
    command.args(arguments).args(["--at", &address]);
    command.stdin(Stdio::null()).output().await.unwrap()
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{error}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('{')) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!text.contains('\x1b'), "no colour where nobody looks");
    text
}

async fn json(server: &CoordinatorServer, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = coco(server, &arguments).await;
    assert!(output.status.success());
    serde_json::from_str(&text(&output)).unwrap()
}

/// Asks until the answer is as wanted.
async fn until(
    server: &CoordinatorServer,
    arguments: &[&str],
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let asking = async {
        loop {
            let answer = json(server, arguments).await;
            if wanted(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

fn end(client: &Client, gtid: Gtid) -> tokio::task::JoinHandle<String> {
    let what = Unresolved {
        gtid,
        sites: vec!["a".to_owned(), "b".to_owned()],
    };
    let client = client.clone();
    tokio::spawn(async move { format!("{:?}", client.ask_again(&what).await) })
}

async fn begin(client: &Client) -> Gtid {
    let txn = client.begin().await.unwrap();
    let gtid = txn.gtid();
    // Its client has gone without a word.
    std::mem::forget(txn);
    gtid
}

#[tokio::test]
async fn a_commit_that_a_site_has_not_heard_of_is_in_doubt_until_it_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = server(folder.path()).await;
    assert_eq!(
        text(&coco(&server, &["in-doubt"]).await),
        "nothing is in doubt\n"
    );
    let mut a = Site::link(&server, &client, "a").await;
    let mut b = Site::link(&server, &client, "b").await;
    let gtid = begin(&client).await;
    let commit = end(&client, gtid);
    let prepare = |message: &ToParticipant| matches!(message, ToParticipant::Prepare { .. });
    a.hears(prepare).await;
    b.hears(prepare).await;
    a.votes_yes(gtid);
    b.votes_yes(gtid);
    assert!(commit.await.unwrap().contains("Committed"));
    a.sender.send(ToCoordinator::Ack { gtid });
    drop(b.link);
    let report = until(&server, &["in-doubt"], |report| {
        let of = |site: &str| {
            let all = report["in_doubt"].as_array().unwrap().clone();
            all.into_iter().any(|branch| branch["site"] == site)
        };
        of("b") && !of("a")
    })
    .await;
    let branch = &report["in_doubt"][0];
    assert_eq!(branch["gtid"], gtid.0);
    assert_eq!(branch["said_by"], "coordinator");
    assert!(
        branch["state"]
            .as_str()
            .unwrap()
            .contains("committed, not heard by b")
    );
    let table = text(&coco(&server, &["in-doubt"]).await);
    assert!(table.starts_with("SITE  GTID"), "{table}");
    assert!(table.contains(&gtid.0.to_string()) && table.contains("site b could not be asked"));

    // What is decided is left alone, and the attempt is written down.
    let number = gtid.0.to_string();
    let arguments = ["resolve", &number, "--abort", "--reason", "impatience"];
    let refused = coco(&server, &arguments).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("left alone: it is committed; b will hear so"));
    let history = json(&server, &["history"]).await;
    assert_eq!(history["decisions"][0]["gtid"], gtid.0);
    assert_eq!(history["actions"].as_array().unwrap().len(), 2);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_withheld_vote_is_shown_and_its_transaction_can_be_aborted_by_hand_and_that_is_audited() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = server(folder.path()).await;
    assert_eq!(
        text(&coco(&server, &["withheld"]).await),
        "nothing is withheld\n"
    );
    let mut a = Site::link(&server, &client, "a").await;
    let b = Site::link(&server, &client, "b").await;
    let (first, second) = (begin(&client).await, begin(&client).await);
    let commit = end(&client, second);
    a.hears(|message| *message == ToParticipant::prepare(second))
        .await;
    b.votes_yes(second);
    a.sender.send(ToCoordinator::Blocked {
        gtid: second,
        priority: Priority(2),
        by: vec![(first, Priority(1))],
    });
    let report = until(&server, &["withheld"], |report| {
        !report["withheld"].as_array().unwrap().is_empty()
    })
    .await;
    let wait = &report["withheld"][0];
    assert_eq!(
        (&wait["site"], &wait["withholds"]),
        (&"a".into(), &"vote".into())
    );
    assert_eq!(wait["gtid"], second.0);
    assert_eq!(wait["waits_for"], serde_json::json!([first.0]));
    let table = text(&coco(&server, &["withheld"]).await);
    assert!(table.starts_with("SITE  GTID"), "{table}");

    let number = second.0.to_string();
    let arguments = ["resolve", &number, "--commit", "--reason", "because"];
    let refused = coco(&server, &arguments).await;
    assert_eq!(refused.status.code(), Some(1));
    let unsaid = coco(&server, &["resolve", &number, "--abort"]).await;
    assert_eq!(unsaid.status.code(), Some(2), "without a reason");
    let empty = coco(&server, &["resolve", &number, "--abort", "--reason", " "]).await;
    assert_eq!(empty.status.code(), Some(2), "with an empty one");
    assert!(!commit.is_finished());

    let reason = "its client is gone \"for good\"";
    let arguments = ["resolve", &number, "--abort", "--reason", reason];
    let done = coco(&server, &arguments).await;
    assert_eq!(
        text(&done),
        format!("transaction {number}: aborted (client)\n")
    );
    assert!(done.status.success());
    assert!(commit.await.unwrap().contains("Aborted(Client)"));
    a.hears(|message| matches!(message, ToParticipant::Decide { gtid, .. } if *gtid == second))
        .await;

    let history = json(&server, &["history"]).await;
    let actions = history["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 2, "what was asked for, and what came of it");
    assert_eq!(actions[1]["reason"], reason);
    assert_eq!(actions[1]["outcome"], Value::Null);
    assert_eq!(actions[0]["outcome"], "aborted (client)");
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(audit.lines().count(), 2);
    let table = text(&coco(&server, &["history"]).await);
    assert!(
        table.contains("asks to abort: its client is gone"),
        "{table}"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn nothing_is_done_by_hand_that_cannot_be_written_down() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("audit.jsonl")).unwrap();
    let (server, client) = server(folder.path()).await;
    let gtid = begin(&client).await;
    let refused = client.resolve(gtid, "try").await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the audit file cannot be written"),
        "{refused}"
    );
    assert_eq!(client.statistics().await.unwrap().in_flight, 1);
    server.shutdown().await.unwrap();
}
