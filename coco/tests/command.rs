//! The `coco` command as a real process: its ready line, its end, its refusals.
#![cfg(all(feature = "grpc", feature = "file-log"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails to set itself up has failed"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A child that does not outlive its test.
struct Process {
    child: Child,
    line: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command
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
        Self {
            child,
            line: line.trim_end().to_owned(),
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(status.unwrap().success());
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coco"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Refused with status 2 and exactly one line, which says this.
fn refused(output: &Output, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.starts_with("coco: ") && error.contains(says),
        "{error}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn it_says_where_it_listens_and_ends_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    for (epoch, signal) in ["-INT", "-TERM"].into_iter().enumerate() {
        let mut server = Process::start(&["serve", "--data", text(folder.path())]);
        let address = server
            .line
            .strip_prefix("coco: listening on ")
            .unwrap()
            .to_owned();
        let status = run(&["status", "--at", &address, "--json"]);
        assert!(status.status.success());
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["serving"], true);
        assert_eq!(status["epoch"], epoch + 1);
        let words = run(&["status", "--at", &format!("http://{address}")]);
        assert!(String::from_utf8_lossy(&words.stdout).starts_with("serving, epoch"));
        server.signal(signal);
        assert!(server.wait().success(), "{signal}");
    }
}

#[test]
fn the_ready_line_can_be_json() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(&["serve", "--data", text(folder.path()), "--json"]);
    let ready: serde_json::Value = serde_json::from_str(&server.line).unwrap();
    assert!(
        ready["listening"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}

#[test]
fn it_ends_with_its_parent_if_it_was_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut server =
        Process::start(&["serve", "--data", text(folder.path()), "--exit-with-parent"]);
    drop(server.child.stdin.take());
    assert!(server.wait().success());
}

#[test]
fn a_killed_coordinator_starts_again_with_the_next_epoch() {
    let folder = tempfile::tempdir().unwrap();
    for epoch in 1..=3 {
        let mut server = Process::start(&["serve", "--data", text(folder.path())]);
        let address = server
            .line
            .strip_prefix("coco: listening on ")
            .unwrap()
            .to_owned();
        let status = run(&["status", "--at", &address, "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["epoch"], epoch);
        server.signal("-KILL");
        assert!(!server.wait().success());
    }
}

#[test]
fn each_refusal_is_one_line_that_says_what_to_do_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("log");
    let data = text(&data);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(
        &run(&["serve", "--data", data, "--listen", &address]),
        "the port is in use",
    );

    let server = Process::start(&["serve", "--data", data]);
    refused(
        &run(&["serve", "--data", data]),
        "is in use; stop the process",
    );
    drop(server);
    refused(
        &run(&["serve", "--data", data, "--id", "3"]),
        "is the log of coordinator \"C0\"",
    );

    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    refused(&run(&["serve", "--data", text(&file)]), "file");

    refused(&run(&["status", "--at", "127.0.0.1:1"]), "is it running?");
    refused(
        &run(&["status", "--at", "not an address"]),
        "is not an address",
    );

    let help = run(&["serve", "--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
}

/// What the process has said on standard error; waits for its end.
fn complaints(mut server: Process) -> String {
    server.signal("-KILL");
    let _killed = server.wait();
    let mut text = String::new();
    let errors = server.child.stderr.as_mut().unwrap();
    errors.read_to_string(&mut text).unwrap();
    text
}

fn address(server: &Process) -> String {
    let address = server.line.strip_prefix("coco: listening on ");
    address.unwrap().to_owned()
}

#[test]
fn whoever_listens_to_everybody_without_asking_who_they_are_is_warned() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let open = Process::start(&["serve", "--data", data, "--listen", "0.0.0.0:0"]);
    let said = complaints(open);
    assert!(
        said.contains("WITHOUT ENCRYPTION AND WITHOUT TOKENS"),
        "{said}"
    );
    let json = ["--listen", "0.0.0.0:0", "--log-format", "json"];
    let arguments: Vec<&str> = ["serve", "--data", data].into_iter().chain(json).collect();
    let said = complaints(Process::start(&arguments));
    let line: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    let local = Process::start(&["serve", "--data", data]);
    assert_eq!(complaints(local), "");
}

#[test]
fn tokens_are_read_again_on_a_hangup() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = write("tokens", "operator root old-token-0123456789");
    let (old, new) = (
        write("old", "old-token-0123456789\n"),
        write("new", "new-token-0123456789\n"),
    );
    let data = folder.path().join("log");
    let mut server = Process::start(&["serve", "--data", text(&data), "--tokens", &tokens]);
    let at = address(&server);
    let status = |token: &str| {
        let arguments = ["status", "--at", &at, "--token-file", token];
        run(&arguments).status.code()
    };
    assert_eq!((status(&old), status(&new)), (Some(0), Some(2)));
    write("tokens", "king root new-token-0123456789");
    server.signal("-HUP");
    let errors = BufReader::new(server.child.stderr.take().unwrap());
    let (tell, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Until the process has ended, or the test.
        let lines = errors.lines().map_while(Result::ok);
        lines.map(|line| tell.send(line)).all(|sent| sent.is_ok())
    });
    let told = |line: String| line.contains("stay as they were");
    while !told(said.recv_timeout(PATIENCE).expect("it reads nothing again")) {}
    assert_eq!(status(&old), Some(0), "what is wrong changes nothing");
    write("tokens", "operator root new-token-0123456789");
    server.signal("-HUP");
    let end = Instant::now() + PATIENCE;
    while status(&new) != Some(0) {
        assert!(Instant::now() < end, "the new token is not accepted");
    }
    assert_eq!(status(&old), Some(2));
}

/// A site that says hello, and nothing when it is asked on what it has worked: that may be anything.
async fn silent_site(
    at: &str,
    client: &coco::client::Client,
) -> (coco::service::link::Link, coco::service::link::LinkSender) {
    use coco::protocol::{CoordinatorId, Incarnation, SiteName, ToCoordinator};
    use coco::service::link::{Link, LinkEvent};
    let (told, mut events) = tokio::sync::mpsc::channel(8);
    let link = Link::open(CoordinatorId(0), at, SiteName::new("a"), told).unwrap();
    let Some((_, LinkEvent::Up(sender))) = events.recv().await else {
        panic!()
    };
    sender.send(ToCoordinator::Hello {
        incarnation: Incarnation(1),
        address: "http://127.0.0.1:9".to_owned(),
        in_doubt: Vec::new(),
    });
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    client.wait_for_sites(&["a"], PATIENCE).await.unwrap();
    (link, sender)
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let mut server = Process::start(&["serve", "--data", data, "--drain-ms", "600000"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let at = address(&server);
    let client = coco::client::Client::connect(&at);
    let client = runtime.block_on(client).unwrap();
    let running = runtime.block_on(client.begin()).unwrap();
    let _site = runtime.block_on(silent_site(&at, &client));
    server.signal("-TERM");
    let end = Instant::now() + PATIENCE;
    while runtime.block_on(client.statistics()).unwrap().serving {
        assert!(Instant::now() < end, "it goes on as before");
    }
    assert!(server.child.try_wait().unwrap().is_none(), "one runs");
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(2));
    std::mem::forget(running);
}
