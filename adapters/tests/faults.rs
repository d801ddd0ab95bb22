//! Every step of a commit over two servers, and everybody who can die there: a table whose cells are all green.
//!
//! The coordinator and each adapter is a process; a failpoint holds one of them at the step while the victim is killed,
//! which may be itself, or the way between an adapter and its server is cut, which the server does not notice. Then the
//! victim comes back, and: transfers go through again, no branch stays prepared, no money is lost, every answer
//! *committed* was true, and what all lives have recorded is in commit order. Site `a` is over PostgreSQL and `b` over
//! MariaDB, then the other way round.
//!
//! `STEP`, `VICTIM` and `A` choose cells: `STEP="adapter: prepared" VICTIM="server a" A=mariadb`. `MODE=lock` has the
//! servers' own locks keep the order, where it is `co` otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test; its processes tell it that they are ready on their standard output"
)]

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adapters::{LogIdentity, Mode, SiteOptions, open_site};
use checker::{Level, Verdict, judge};
use co_core::VoteRule;
use coco::client::{Client, ClientError, ClientOptions, Commit};
use coco::log::{FileLog, Options as LogOptions, Owner};
use coco::protocol::{CoordinatorConfig, VoterConfig};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use databases::{Product, Server, Settings};
use mysql_async::prelude::Queryable;
use participant::Recorder;
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::NoTls;

const NAMES: [&str; 2] = ["a", "b"];
const PATIENCE: Duration = Duration::from_secs(30);
/// How often something is looked at that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(10);
/// What each account has at first.
const MONEY: i64 = 1000;

/// The steps of a commit, in their order: in the coordinator, and in the process of site `a`. Those that a process comes to
/// when it starts as well are held at the second time.
const STEPS: &[(&str, u32)] = &[
    ("coordinator: begin", 1),
    ("site: execute", 1),
    ("site: executed", 1),
    ("coordinator: commit", 1),
    ("coordinator: send prepare", 1),
    ("site: prepare", 1),
    ("adapter: prepare", 1),
    ("adapter: prepared", 1),
    ("site: append prepared", 1),
    ("log: before sync", 2),
    ("log: synced", 2),
    ("site: durable", 2),
    ("coordinator: append commit", 1),
    ("coordinator: durable", 2),
    ("coordinator: send decision", 1),
    ("coordinator: answer", 1),
    ("site: decide", 1),
    ("site: apply commit", 1),
    ("adapter: commit", 1),
    ("adapter: committed", 1),
    ("site: append decision", 1),
    ("coordinator: append end", 1),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Server(usize),
    Adapter(usize),
    Coordinator,
    /// Between an adapter and its server.
    Way(usize),
}

const VICTIMS: [Victim; 7] = [
    Victim::Server(0),
    Victim::Server(1),
    Victim::Adapter(0),
    Victim::Adapter(1),
    Victim::Coordinator,
    Victim::Way(0),
    Victim::Way(1),
];

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server(0) => "server a",
            Self::Server(_) => "server b",
            Self::Adapter(0) => "adapter a",
            Self::Adapter(_) => "adapter b",
            Self::Coordinator => "coordinator",
            Self::Way(0) => "way a",
            Self::Way(_) => "way b",
        })
    }
}

/// Who keeps the order at both sites.
fn mode() -> Mode {
    std::env::var("MODE").map_or(Mode::Co, |name| name.parse().unwrap())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

async fn bind(address: &str) -> TcpListener {
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn run_coordinator() -> CoordinatorServer {
    let folder = PathBuf::from(variable("FOLDER")).join("coordinator");
    let owner = Owner::coordinator("0");
    let (log, records) = FileLog::open(&folder, &owner, LogOptions::default()).unwrap();
    let options = CoordinatorOptions {
        config: CoordinatorConfig {
            vote_timeout: Duration::from_secs(4),
            idle_timeout: Duration::from_secs(4),
            resend_after: Duration::from_millis(100),
            resend_limit: Duration::from_millis(400),
            ..CoordinatorConfig::default()
        },
        ..CoordinatorOptions::default()
    };
    let listener = bind(&variable("LISTEN")).await;
    CoordinatorServer::start(options, listener, Arc::new(log), &records)
        .await
        .unwrap()
}

async fn run_adapter() -> ParticipantServer {
    let (folder, name) = (PathBuf::from(variable("FOLDER")), variable("NAME"));
    let life: u64 = variable("LIFE").parse().unwrap();
    let file = std::fs::File::create(chaos::lives::file(&folder, &name, life)).unwrap();
    let data = folder.join(&name);
    std::fs::create_dir_all(&data).unwrap();
    let log = LogIdentity::of_folder(&data).unwrap();
    let options = SiteOptions {
        mode: mode(),
        schema: variable("SCHEMA"),
        sessions: 4,
        rule: VoteRule::Withhold,
        recorder: Recorder::to_writer(&name, Box::new(file)),
        log: Some(log),
        ..SiteOptions::new(&name, &variable("URL"))
    };
    let open = tokio::task::spawn_blocking(move || open_site(options));
    let engine = open.await.unwrap().unwrap();
    let owner = Owner::participant(&name);
    let (log, records) = FileLog::open(&data, &owner, LogOptions::default()).unwrap();
    let options = ParticipantOptions {
        idle_timeout: Duration::from_secs(3),
        operation_timeout: Duration::from_secs(3),
        voter: VoterConfig {
            inquire_after: Duration::from_millis(100),
            inquire_limit: Duration::from_millis(400),
            ..VoterConfig::default()
        },
        ..ParticipantOptions::new(&name, &variable("COORDINATOR"))
    };
    let storage = Storage::Durable {
        log: Arc::new(log),
        records,
    };
    let listener = bind(&variable("LISTEN")).await;
    ParticipantServer::start(options, engine, storage, listener).unwrap()
}

/// A process of a cell: it serves until its standard input says `end` or is closed.
#[test]
#[ignore = "a process of the other test"]
fn process() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        if read.is_ok_and(|bytes| bytes > 0) {
            tell.send(()).ok();
        } else {
            // It does not outlive the test.
            std::process::exit(0);
        }
    });
    runtime.block_on(async {
        if variable("ROLE") == "coordinator" {
            let server = run_coordinator().await;
            println!("ready");
            told.await.ok();
            server.shutdown().await.unwrap();
        } else {
            let server = run_adapter().await;
            println!("ready");
            told.await.ok();
            server.drain(PATIENCE).await.unwrap();
        }
    });
}

struct Running {
    child: Child,
}

impl Running {
    fn start(
        variables: &[(&str, String)],
        errors: &Path,
        failpoint: Option<(String, &str)>,
    ) -> Self {
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(errors)
            .unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["process", "--exact", "--ignored", "--nocapture"])
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        if let Some((point, script)) = failpoint {
            command.env("COCO_FAILPOINT", point);
            command.env("COCO_FAILPOINT_COMMAND", script);
        }
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // It is read to its end, so that nobody has to wait to say something.
            stdout.lines().map_while(Result::ok).for_each(drop);
        });
        Self { child }
    }

    fn kill(&mut self) {
        // Errors mean that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    fn end(mut self) -> bool {
        let told = self.child.stdin.take().unwrap().write_all(b"end\n");
        told.is_ok() && self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The way from an adapter to its server, which can be cut: the adapter loses all its connections at once and gets no new
/// ones, and the server sees nothing of it.
struct Way {
    port: u16,
    is_open: watch::Sender<bool>,
}

/// How long it stays cut.
const CUT_FOR: Duration = Duration::from_millis(300);

impl Way {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_open, open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut open = open.clone();
                if !*open.borrow_and_update() {
                    continue;
                }
                let Ok(mut to) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                tokio::spawn(async move {
                    let cut = tokio::select! {
                        _ended = tokio::io::copy_bidirectional(&mut from, &mut to) => false,
                        _cut = open.changed() => true,
                    };
                    if cut {
                        drop(from);
                        // The server's side stays for as long as the way is cut.
                        let _mended = open.wait_for(|open| *open).await;
                    }
                });
            }
        });
        Self { port, is_open }
    }

    fn cut(&self) {
        self.is_open.send_replace(false);
    }

    fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

/// The servers of both sites, and the ways to them.
struct System {
    servers: [Server; 2],
    ways: [Way; 2],
}

impl System {
    async fn over(servers: [Server; 2]) -> Self {
        let ways = [
            Way::to(servers[0].port()).await,
            Way::to(servers[1].port()).await,
        ];
        Self { servers, ways }
    }

    /// The server's address, by the way.
    fn url(&self, which: usize) -> String {
        let (server, way) = (&self.servers[which], &self.ways[which]);
        let port = |number: u16| format!(":{number}/");
        server.url().replace(&port(server.port()), &port(way.port))
    }

    /// What the account holds at a server and which branches are prepared there, without the adapter.
    async fn look(&self, which: usize, schema: &str) -> (i64, Vec<String>) {
        let server = &self.servers[which];
        let (value, left): (Vec<u8>, Vec<String>) = match server.product() {
            Product::Postgres => {
                let (client, connection) =
                    tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
                tokio::spawn(connection);
                let left = client.query("SELECT gid FROM pg_prepared_xacts", &[]);
                let left = left.await.unwrap();
                let statement = format!("SELECT value FROM {schema}.rows");
                let row = client.query_one(&statement, &[]).await.unwrap();
                (row.get(0), left.iter().map(|row| row.get(0)).collect())
            }
            Product::MariaDb => {
                let mut conn = mysql_async::Conn::from_url(server.url()).await.unwrap();
                let left: Vec<(u64, u64, u64, String)> = conn.query("XA RECOVER").await.unwrap();
                let statement = format!("SELECT `value` FROM `{schema}`.`rows`");
                let value: Option<Vec<u8>> = conn.query_first(statement).await.unwrap();
                conn.disconnect().await.unwrap();
                let left = left.into_iter().map(|(.., data)| data);
                (value.unwrap(), left.collect())
            }
        };
        let balance = String::from_utf8(value).unwrap().parse().unwrap();
        (balance, left)
    }
}

/// One cell of the table.
struct Cell<'a> {
    step: &'static str,
    times: u32,
    victim: Victim,
    system: &'a mut System,
    schema: String,
    folder: tempfile::TempDir,
    /// An address of its own: no port of it is anybody else's, so that whoever comes back finds its own free.
    host: String,
    lives: [u64; 2],
    /// A client has asked for a transaction.
    asked: AtomicBool,
    committed: i64,
    unknown: i64,
}

impl Cell<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the sites listen, and the coordinator as third.
    fn address(&self, which: usize) -> String {
        format!("{}:{}", self.host, 7000 + which)
    }

    fn uri(&self) -> String {
        format!("http://{}", self.address(2))
    }

    /// The failpoint stands until the victim is dead.
    fn script(&self) -> String {
        let (at, go) = (self.path("at"), self.path("go"));
        format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.01; done",
            at.display(),
            go.display()
        )
    }

    fn failpoint(&self) -> String {
        format!("{}=run@{}", self.step, self.times)
    }

    fn coordinator(&self, armed: bool) -> Running {
        let armed = armed && self.step.starts_with("coordinator");
        let script = self.script();
        let variables = [
            ("ROLE", "coordinator".to_owned()),
            ("FOLDER", self.folder.path().display().to_string()),
            ("LISTEN", self.address(2)),
        ];
        let failpoint = armed.then(|| (self.failpoint(), script.as_str()));
        Running::start(&variables, &self.path("errors"), failpoint)
    }

    fn adapter(&mut self, which: usize, armed: bool) -> Running {
        self.lives[which] += 1;
        let armed = armed && which == 0 && !self.step.starts_with("coordinator");
        let script = self.script();
        let variables = [
            ("ROLE", "adapter".to_owned()),
            ("NAME", NAMES[which].to_owned()),
            ("FOLDER", self.folder.path().display().to_string()),
            ("SCHEMA", self.schema.clone()),
            ("URL", self.system.url(which)),
            ("COORDINATOR", self.uri()),
            ("LISTEN", self.address(which)),
            ("LIFE", self.lives[which].to_string()),
        ];
        let failpoint = armed.then(|| (self.failpoint(), script.as_str()));
        Running::start(&variables, &self.path("errors"), failpoint)
    }

    async fn run(mut self) -> Result<(), String> {
        let mut coordinator = self.coordinator(true);
        let mut adapters = [self.adapter(0, true), self.adapter(1, true)];
        let working = self.work_until(|cell| cell.path("at").exists());
        let mut result = working.await;
        if result.is_ok() && !self.asked.load(Ordering::Relaxed) {
            result = Err("the step came before there was a transaction".to_owned());
        }
        if result.is_ok() {
            match self.victim {
                Victim::Server(which) => self.system.servers[which].kill(),
                Victim::Way(which) => self.system.ways[which].cut(),
                Victim::Adapter(which) => adapters[which].kill(),
                Victim::Coordinator => coordinator.kill(),
            }
            std::fs::write(self.path("go"), "").unwrap();
            match self.victim {
                Victim::Server(which) => self.system.servers[which].start().unwrap(),
                Victim::Way(which) => {
                    tokio::time::sleep(CUT_FOR).await;
                    self.system.ways[which].mend();
                }
                Victim::Adapter(which) => adapters[which] = self.adapter(which, false),
                Victim::Coordinator => coordinator = self.coordinator(false),
            }
            let enough = self.committed + 3;
            result = self.work_until(|cell| cell.committed >= enough).await;
        }
        if result.is_ok() {
            result = self.judge(adapters).await;
        }
        drop(coordinator);
        result.map_err(|problem| {
            let said = std::fs::read_to_string(self.path("errors")).unwrap_or_default();
            format!("{problem}; {said}")
        })
    }

    /// Transfers money until that is so. A transaction takes longer than the patience of a commit while somebody stands
    /// at a failpoint, so the caller looks at the end of each.
    async fn work_until(&mut self, so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            if Instant::now() > end {
                return Err(format!("not reached: {} committed", self.committed));
            }
            let at = self.path("at");
            let free = self.path("go").exists();
            let come = async move {
                while free || !at.exists() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                told = self.transfer() => match told {
                    Ok(true) => self.committed += 1,
                    Ok(false) => tokio::time::sleep(LOOK).await,
                    Err(()) => self.unknown += 1,
                },
                // Nobody waits for the answer to what may be committed yet.
                () = come => self.unknown += 1,
            }
        }
        Ok(())
    }

    /// Moves 1 from `a` to `b`. Whether it has committed; an error if nobody knows.
    async fn transfer(&self) -> Result<bool, ()> {
        let options = ClientOptions {
            operation_timeout: Duration::from_secs(4),
            commit_timeout: Duration::from_secs(5),
            ..ClientOptions::default()
        };
        let attempt = async {
            let client = Client::connect_with(&self.uri(), options).await?;
            client
                .wait_for_sites(&NAMES, Duration::from_secs(5))
                .await?;
            self.asked.store(true, Ordering::Relaxed);
            let mut txn = client.begin().await?;
            for (site, by) in NAMES.into_iter().zip([-1, 1]) {
                let held = txn.get(site, "account").await?;
                let held = held.map_or(MONEY, |held| {
                    String::from_utf8(held).unwrap().parse().unwrap()
                });
                let now: i64 = held + by;
                txn.put(site, "account", now.to_string()).await?;
            }
            txn.commit().await
        };
        match attempt.await {
            Ok(Commit::Committed(_)) => Ok(true),
            Ok(Commit::Aborted(_)) => Ok(false),
            Err(ClientError::OutcomeUnknown { .. }) => Err(()),
            Err(_) => Ok(false),
        }
    }

    async fn judge(&mut self, adapters: [Running; 2]) -> Result<(), String> {
        for (name, adapter) in NAMES.into_iter().zip(adapters) {
            if !adapter.end() {
                return Err(format!("adapter {name} did not end in order"));
            }
        }
        let mut balances = [0_i64; 2];
        for (which, balance) in balances.iter_mut().enumerate() {
            let (found, left) = self.system.look(which, &self.schema).await;
            if let Some(branch) = left.first() {
                return Err(format!("branch {branch} is still prepared"));
            }
            *balance = found;
        }
        let moved = balances[1] - MONEY;
        if balances[0] + balances[1] != 2 * MONEY {
            return Err(format!("money is lost: {balances:?}"));
        }
        let (least, most) = (self.committed, self.committed + self.unknown);
        if !(least..=most).contains(&moved) {
            return Err(format!("{least} to {most} have committed, and {moved} did"));
        }
        let histories: Vec<_> = NAMES
            .into_iter()
            .zip(self.lives)
            .map(|(name, lives)| {
                let lives: Vec<_> = (1..=lives)
                    .map(|life| chaos::lives::read(self.folder.path(), name, life).unwrap())
                    .collect();
                chaos::lives::merge(name, &lives).map_err(|error| format!("{error:#}"))
            })
            .collect::<Result<_, _>>()?;
        match judge(&histories, Level::CommitmentOrdering).verdict {
            Verdict::Valid { .. } => Ok(()),
            verdict @ (Verdict::Invalid { .. } | Verdict::Unknown { .. }) => {
                Err(format!("{verdict:?}"))
            }
        }
    }
}

fn is_chosen(name: &str, value: &str) -> bool {
    let only = std::env::var(name).unwrap_or_default();
    only.is_empty() || only == value
}

/// Two servers of these products; nothing where one of them is not installed.
fn servers(products: [Product; 2]) -> Option<[Server; 2]> {
    let start = |product| {
        let settings: Settings<'static> = match product {
            Product::Postgres => &[("fsync", "on")],
            Product::MariaDb => &[("innodb_flush_log_at_trx_commit", "1")],
        };
        Server::for_test(product, settings)
    };
    Some([start(products[0])?, start(products[1])?])
}

#[test]
fn whoever_dies_at_any_step_nothing_is_lost_and_nothing_stays() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut table, mut failed, mut number) = (String::new(), Vec::new(), 0);
    let both = [
        ("postgres", [Product::Postgres, Product::MariaDb]),
        ("mariadb", [Product::MariaDb, Product::Postgres]),
    ];
    for (name, products) in both.into_iter().filter(|(name, _)| is_chosen("A", name)) {
        let Some(servers) = servers(products) else {
            return;
        };
        let mut system = runtime.block_on(System::over(servers));
        table.push_str(&format!("site a over {}, mode {}\n", products[0], mode()));
        for (step, times) in STEPS.iter().filter(|(step, _)| is_chosen("STEP", step)) {
            table.push_str(&format!("  {step:28}"));
            let chosen = |victim: &Victim| is_chosen("VICTIM", &victim.to_string());
            for victim in VICTIMS.into_iter().filter(chosen) {
                number += 1;
                let cell = Cell {
                    step,
                    times: *times,
                    victim,
                    system: &mut system,
                    schema: format!("cell_{number}"),
                    folder: tempfile::tempdir().unwrap(),
                    host: format!(
                        "127.{}.{}.{}",
                        std::process::id() % 200 + 20,
                        number / 250 + 1,
                        number % 250 + 1
                    ),
                    lives: [0; 2],
                    asked: AtomicBool::new(false),
                    committed: 0,
                    unknown: 0,
                };
                let began = Instant::now();
                let result = runtime.block_on(cell.run());
                let word = if result.is_ok() { "green" } else { "RED" };
                println!("{name} {step:28} {victim:12} {word} {:?}", began.elapsed());
                table.push_str(&format!(" {victim}: {word:6}"));
                if let Err(problem) = result {
                    eprintln!("{name}, {step}, {victim}: {problem}");
                    failed.push((name, step, victim));
                }
            }
            table.push('\n');
        }
    }
    println!("{table}");
    assert!(number > 0, "A, STEP or VICTIM names none");
    assert!(failed.is_empty(), "{failed:?}");
}
