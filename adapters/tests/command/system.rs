//! A coordinator in this process, adapters as processes of their own, one server under all of them.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use coco::client::Client;
use coco::log::{FileLog, Options, Owner};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use databases::{Product, Server};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Where a site listens at an address of its own.
const PORT: u16 = 7002;
/// How often something is looked at that tells nobody when it changes.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// A server, or nothing where there is none: the test is skipped, loudly.
pub(crate) fn server() -> Option<Server> {
    Server::for_test(Product::Postgres, &[("fsync", "off")])
}

/// A session with the server.
pub(crate) async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(async move {
        let _the_server_may_end = connection.await;
    });
    client
}

/// How many branches are prepared whose names begin like this.
pub(crate) async fn prepared(session: &tokio_postgres::Client, prefix: &str) -> i64 {
    let statement = "SELECT count(*) FROM pg_prepared_xacts WHERE starts_with(gid, $1)";
    session
        .query_one(statement, &[&prefix])
        .await
        .unwrap()
        .get(0)
}

/// Looks until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < end, "it does not come about: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A coordinator with a log.
pub(crate) async fn coordinator(folder: &Path) -> CoordinatorServer {
    let owner = Owner::coordinator("0");
    let (log, records) =
        FileLog::open(&folder.join("coordinator"), &owner, Options::default()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = CoordinatorOptions::default();
    CoordinatorServer::start(options, listener, Arc::new(log), &records)
        .await
        .unwrap()
}

/// A site, through all its lives.
pub(crate) struct Site {
    name: &'static str,
    url: String,
    coordinator: String,
    folder: PathBuf,
    host: String,
    /// It writes what it does to a file, and keeps its log whole for that; otherwise it cuts the log.
    history: bool,
    mode: &'static str,
    /// What its ready line calls that.
    engine: &'static str,
    pub(crate) lives: u64,
    process: Option<Child>,
}

impl Site {
    /// A site that has not been started.
    pub(crate) fn new(
        name: &'static str,
        url: &str,
        coordinator: &CoordinatorServer,
        folder: &Path,
        history: bool,
    ) -> Self {
        static SITES: AtomicU32 = AtomicU32::new(1);
        // It comes back where it was, so that clients find it again, and nobody else is there meanwhile.
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let host = format!(
            "127.{}.{}.{}",
            std::process::id() % 200 + 20,
            number / 250 + 1,
            number % 250 + 1
        );
        Self {
            name,
            url: url.to_owned(),
            coordinator: format!("http://{}", coordinator.address()),
            folder: folder.to_owned(),
            host,
            history,
            mode: "co",
            engine: "postgres",
            lives: 0,
            process: None,
        }
    }

    /// The same in another mode, or over another product.
    pub(crate) fn in_mode(mut self, mode: &'static str, engine: &'static str) -> Self {
        (self.mode, self.engine) = (mode, engine);
        self
    }

    /// Starts the next life, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.lives += 1;
        let path = |name: String| self.folder.join(name).to_str().unwrap().to_owned();
        let errors = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path(format!("{}.err", self.name)))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_adapter"));
        command
            .args(["serve", "--json", "--exit-with-parent", "--name", self.name])
            .args(["--database", &self.url, "--schema", self.name])
            .args(["--mode", self.mode])
            .args(["--coordinator", &self.coordinator])
            .args(["--listen", &format!("{}:{PORT}", self.host)])
            .args(["--data", &path(format!("{}.data", self.name))])
            .args(["--checkpoint-bytes", "1"]);
        if self.history {
            let file = chaos::lives::file(&self.folder, self.name, self.lives);
            command.arg("--history").arg(file);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no ready line: {}", self.said());
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (ready["site"].as_str(), ready["engine"].as_str()),
            (Some(self.name), Some(self.engine))
        );
        self.process = Some(process);
    }

    /// What all its lives have said to standard error.
    pub(crate) fn said(&self) -> String {
        let path = self.folder.join(format!("{}.err", self.name));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Its number.
    pub(crate) fn process(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `kill -9`; it must not have ended by itself.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        let ended = process.try_wait().unwrap();
        assert_eq!(
            ended,
            None,
            "{} ended by itself: {}",
            self.name,
            self.said()
        );
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Ends it in good order, without a word of complaint.
    pub(crate) fn end(&mut self) {
        let mut process = self.process.take().unwrap();
        let signal = Command::new("kill")
            .args(["-TERM", &process.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
        // Waiting closes it, and its end tells the process once more.
        let _input = process.stdin.take();
        let status = process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        assert!(!self.said().contains("ERROR"), "{}", self.said());
    }

    /// What all its lives have recorded.
    pub(crate) fn history(&self) -> checker::SiteHistory {
        let lives: Vec<_> = (1..=self.lives)
            .map(|life| chaos::lives::read(&self.folder, self.name, life).unwrap())
            .collect();
        chaos::lives::merge(self.name, &lives).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ended_before = process.kill();
            let _ended_before = process.wait();
        }
    }
}

/// A client that reaches all sites.
pub(crate) async fn client(coordinator: &CoordinatorServer, sites: &[&str]) -> Arc<Client> {
    let uri = format!("http://{}", coordinator.address());
    let client = Client::connect(&uri).await.unwrap();
    client.wait_for_sites(sites, PATIENCE).await.unwrap();
    Arc::new(client)
}

/// Runs the command to its end, which has to come.
pub(crate) fn adapter(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adapter"));
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    // What it says fits into the pipes.
    while process.try_wait().unwrap().is_none() {
        if Instant::now() >= end {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("it does not end: adapter {}", arguments.join(" "));
        }
        std::thread::sleep(LOOK);
    }
    process.wait_with_output().unwrap()
}
