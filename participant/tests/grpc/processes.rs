//! The command as a real process: its ready line, its end, its refusals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use checker::{Level, Verdict};
use coco::client::{Client, Commit};

use crate::cluster::{COORDINATOR, Cluster, PATIENCE, number};

/// A child that does not outlive its test.
pub(crate) struct Process {
    child: Child,
    pub(crate) line: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Process {
    /// Starts the command and waits for its ready line.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut command(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            let mut error = String::new();
            child
                .stderr
                .as_mut()
                .unwrap()
                .read_to_string(&mut error)
                .unwrap();
            panic!("no ready line: {error}");
        }
        Self { child, line }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(status.unwrap().success());
    }

    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the process does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_participant"));
    command.args(arguments);
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

fn serve<'a>(uri: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "serve",
        "--name",
        "P",
        "--engine",
        "ss2pl",
        "--coordinator",
        uri,
    ];
    arguments.extend_from_slice(more);
    arguments
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

/// Refused with status 2 and exactly one line, which says this.
fn refused(output: &Output, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let lines: Vec<&str> = error
        .lines()
        .filter(|line| !line.contains("volatile: a restart loses"))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(
        lines[0].starts_with("participant: ") && lines[0].contains(says),
        "{error}"
    );
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_site_process_serves_and_ends_in_good_order_with_a_complete_history() {
    let folder = tempfile::tempdir().unwrap();
    let history = path(folder.path(), "P.hist");
    for end in ["-INT", "-TERM"] {
        let cluster = Cluster::start(&[("A", participant::engine::EngineKind::Mvcc)]).await;
        let uri = format!("{}={}", COORDINATOR.0, cluster.uri());
        let mut site = Process::start(&serve(&uri, &["--history", history.to_str().unwrap()]));
        assert!(
            site.line
                .starts_with("participant P (ss2pl): listening on 127.0.0.1:")
        );
        let client = cluster.client().await;
        client.wait_for_sites(&["P"], PATIENCE).await.unwrap();
        let mut txn = client.begin().await.unwrap();
        txn.put("A", b"x", b"1").await.unwrap();
        txn.put("P", b"y", b"1").await.unwrap();
        assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
        while client.site_statistics("P").await.unwrap().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(client);
        site.signal(end);
        assert!(site.wait().await.success(), "{end}");
        let file = BufReader::new(std::fs::File::open(&history).unwrap());
        let read = checker::parse::read_history(file, "P").unwrap();
        let report = checker::judge(&[read], Level::CommitmentOrdering);
        assert!(
            matches!(report.verdict, Verdict::Valid { .. }),
            "{}",
            report.to_json()
        );
        cluster.finish().await;
    }
}

#[tokio::test]
async fn a_killed_site_process_comes_back_with_what_it_had_committed() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "log");
    let cluster = Cluster::start(&[]).await;
    let uri = cluster.uri();
    let named = format!("{}={uri}", COORDINATOR.0);
    for round in 1..=5 {
        // The store on the disk, and in memory after that: which the uncut log allows.
        let store = if round < 4 { "fjall" } else { "memory" };
        let data = ["--data", data.to_str().unwrap(), "--json", "--store", store];
        let mut site = Process::start(&serve(&named, &data));
        let ready: serde_json::Value = serde_json::from_str(&site.line).unwrap();
        assert_eq!(
            (ready["site"].as_str(), ready["engine"].as_str()),
            (Some("P"), Some("ss2pl"))
        );
        let address = format!("http://{}", ready["listening"].as_str().unwrap());
        let client = Client::connect(&uri).await.unwrap();
        let here = async {
            let is_here = |site: &coco::service::coordinator::SiteInfo| {
                site.connected && site.address == address
            };
            while !client.sites().await.unwrap().iter().any(is_here) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, here).await.unwrap();
        let mut txn = client.begin().await.unwrap();
        txn.increment("P", b"rounds", 1).await.unwrap();
        assert_eq!(number(txn.get("P", b"rounds").await.unwrap()), round);
        assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
        site.signal("-KILL");
        assert!(!site.wait().await.success());
    }
}

#[tokio::test]
async fn a_site_ends_with_its_parent_if_it_was_asked_to() {
    let mut site = Process::start(&serve("http://127.0.0.1:1", &["--exit-with-parent"]));
    drop(site.child.stdin.take());
    assert!(site.wait().await.success());

    let mut site = Process::start(&serve("http://127.0.0.1:1", &[]));
    drop(site.child.stdin.take());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        site.child.try_wait().unwrap().is_none(),
        "it was not asked to"
    );
}

#[test]
fn each_refusal_is_one_line_that_says_what_to_do_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let uri = "http://127.0.0.1:1";

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(
        &run(&serve(uri, &["--listen", &address])),
        "the port is in use",
    );

    refused(&run(&serve("not an address", &[])), "is not an address");

    let data = path(folder.path(), "log");
    let data = data.to_str().unwrap();
    let holder = Process::start(&serve(uri, &["--data", data]));
    refused(&run(&serve(uri, &["--data", data])), "is in use");
    drop(holder);
    let other = [
        "serve",
        "--name",
        "Q",
        "--engine",
        "sco",
        "--coordinator",
        uri,
        "--data",
        data,
    ];
    refused(&run(&other), "is the log of participant \"P\"");
    refused(&run(&serve(uri, &["--store", "fjall"])), "needs a log");

    let nowhere = path(folder.path(), "no/such/folder/P.hist");
    refused(
        &run(&serve(uri, &["--history", nowhere.to_str().unwrap()])),
        "cannot write the history",
    );
    refused(
        &run(&[
            "serve",
            "--name",
            "",
            "--engine",
            "sco",
            "--coordinator",
            uri,
        ]),
        "needs a name",
    );

    let unknown = run(&[
        "serve",
        "--name",
        "P",
        "--engine",
        "oracle",
        "--coordinator",
        uri,
    ]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&unknown.stderr)
            .contains("use ss2pl, sco, optimistic, mvcc or shared")
    );
    let help = run(&["serve", "--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
}
