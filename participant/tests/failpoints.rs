//! Every failpoint fails once in every way, in a process of its own, and nothing is lost: `coco::failpoint` has
//! the list. Two coordinators that know each other run in one process, two sites in another.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test; its processes tell it that they are ready on their standard output"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use co_core::VoteRule;
use coco::client::{Client, ClientError, ClientOptions, Commit};
use coco::failpoint::{POINTS, Process, When};
use coco::log::{FileLog, Options, Owner};
use coco::protocol::{CoordinatorConfig, CoordinatorId, VoterConfig};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use participant::Recorder;
use participant::engine::{EngineKind, open_with};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use participant::storage::{FjallStore, Memory};
use tokio::net::TcpListener;

const ACTIONS: [&str; 4] = ["error", "panic", "kill", "sleep"];
const SITES: [&str; 2] = ["A", "B"];
const PATIENCE: Duration = Duration::from_secs(30);

/// Small, so that logs fill segments and are cut.
const LOG: Options = Options {
    segment_bytes: 6 * 1024,
    queue_bytes: 1 << 20,
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn uri(host: &str, coordinator: usize) -> String {
    format!("http://{host}:{}", 7000 + coordinator)
}

async fn bind(host: &str, port: usize) -> TcpListener {
    let address = format!("{host}:{port}");
    for _ in 0..500 {
        if let Ok(listener) = TcpListener::bind(&address).await {
            return listener;
        }
        tokio::time::sleep(millis(10)).await;
    }
    TcpListener::bind(&address).await.unwrap()
}

async fn coordinators(folder: &Path, host: &str) -> Vec<CoordinatorServer> {
    let mut servers = Vec::new();
    for index in [1, 2] {
        let name = format!("c{index}");
        let owner = Owner::coordinator(&name);
        let (log, records) = FileLog::open(&folder.join(&name), &owner, LOG).unwrap();
        let other = 3 - index;
        let options = CoordinatorOptions {
            id: CoordinatorId(u8::try_from(index).unwrap()),
            config: CoordinatorConfig {
                vote_timeout: millis(700),
                idle_timeout: millis(1500),
                resend_after: millis(100),
                resend_limit: millis(400),
                ..CoordinatorConfig::default()
            },
            peers: BTreeMap::from([(
                CoordinatorId(u8::try_from(other).unwrap()),
                uri(host, other),
            )]),
            checkpoint_bytes: 512,
            ..CoordinatorOptions::default()
        };
        let listener = bind(host, 7000 + index).await;
        let started = CoordinatorServer::start(options, listener, Arc::new(log), &records).await;
        servers.push(started.unwrap());
    }
    servers
}

async fn sites(folder: &Path, host: &str) -> Vec<ParticipantServer> {
    let mut servers = Vec::new();
    for (index, name) in SITES.into_iter().enumerate() {
        let home = folder.join(name);
        let (log, records) = FileLog::open(&home, &Owner::participant(name), LOG).unwrap();
        let mut engine = participant::engine::Options {
            rule: VoteRule::Withhold,
            recorder: Recorder::off(),
            storage: Arc::new(Memory::new()),
            ..participant::engine::Options::default()
        };
        let kind = [EngineKind::Ss2pl, EngineKind::Mvcc][index];
        if index == 0 {
            engine.storage = Arc::new(FjallStore::open(&home.join("store"), name).unwrap());
        }
        let coordinators =
            [1, 2].map(|it| (CoordinatorId(u8::try_from(it).unwrap()), uri(host, it)));
        let options = ParticipantOptions {
            coordinators: BTreeMap::from(coordinators),
            idle_timeout: millis(800),
            operation_timeout: millis(800),
            checkpoint_bytes: 1024,
            voter: VoterConfig {
                inquire_after: millis(100),
                inquire_limit: millis(400),
                ..VoterConfig::default()
            },
            ..ParticipantOptions::new(name, "")
        };
        let listener = bind(host, 7010 + index).await;
        let storage = Storage::Durable {
            log: Arc::new(log),
            records,
        };
        let server = ParticipantServer::start(options, open_with(kind, engine), storage, listener);
        servers.push(server.unwrap());
    }
    servers
}

#[test]
#[ignore = "a process of the other test"]
fn process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let (role, folder, host) = (variable("ROLE"), variable("FOLDER"), variable("HOST"));
    let folder = PathBuf::from(folder);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    // It does not outlive the test.
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    runtime.block_on(async {
        if role == "coordinators" {
            let _servers = coordinators(&folder, &host).await;
            println!("ready");
            std::future::pending::<()>().await;
        } else {
            let _servers = sites(&folder, &host).await;
            println!("ready");
            std::future::pending::<()>().await;
        }
    });
}

/// A process of a case.
struct Running {
    child: Child,
    errors: Arc<Mutex<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One point failing in one way.
struct Case {
    point: &'static str,
    process: Process,
    when: When,
    action: &'static str,
    host: String,
    folder: tempfile::TempDir,
    /// What was asked for, in the order of its numbers.
    transfers: Vec<Transfer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Committed,
    Aborted,
    Unknown,
}

#[derive(Debug)]
struct Transfer {
    /// What each site gets; nothing if it is not touched.
    amounts: [Option<i64>; 2],
    told: Told,
}

impl Case {
    /// Starts a process; it may die before it is ready.
    fn start(&self, process: Process, armed: bool) -> Running {
        let role = match process {
            Process::Coordinator => "coordinators",
            Process::Site | Process::Adapter => "sites",
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["process", "--exact", "--ignored", "--nocapture"])
            .env("ROLE", role)
            .env("FOLDER", self.folder.path())
            .env("HOST", &self.host)
            .env_remove("COCO_FAILPOINT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if armed {
            // The logs of both servers of a process make their first segments before it works.
            let times = if self.when == When::Fills { 3 } else { 1 };
            let value = format!("{}={}@{times}", self.point, self.action);
            command.env("COCO_FAILPOINT", value);
        }
        let mut child = command.spawn().unwrap();
        let (stderr, errors) = (child.stderr.take().unwrap(), Arc::new(Mutex::default()));
        let kept: Arc<Mutex<String>> = Arc::clone(&errors);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            tell.send(lines.any(|line| line == "ready")).ok();
        });
        // One that neither is ready nor ends is found out by what comes next.
        ready.recv_timeout(Duration::from_secs(5)).ok();
        Running { child, errors }
    }

    fn has_fired(&self, running: &Running) -> bool {
        let line = format!("failpoint {}\n", self.point);
        running.errors.lock().unwrap().contains(&line)
    }

    async fn run(mut self) -> Result<(), String> {
        let other = match self.process {
            Process::Coordinator => Process::Site,
            Process::Site | Process::Adapter => Process::Coordinator,
        };
        let starts = self.when == When::Starts;
        let mut armed = self.start(self.process, !starts);
        let mut beside = self.start(other, false);
        if starts {
            self.work(16).await;
            drop(armed);
            armed = self.start(self.process, true);
        }
        let end = Instant::now() + PATIENCE;
        while !self.has_fired(&armed) {
            if Instant::now() > end {
                return Err(format!(
                    "never came there: {}",
                    armed.errors.lock().unwrap()
                ));
            }
            self.work(8).await;
            if self.when == When::Lonely {
                drop(beside);
                beside = self.start(other, false);
            }
        }
        // Whatever it does now, it does with what is left of it.
        self.work(4).await;
        if self.action != "sleep" {
            drop(armed);
            armed = self.start(self.process, false);
        }
        let settled = tokio::time::timeout(PATIENCE, self.settle()).await;
        let rows = settled.map_err(|_| {
            let (one, other) = (armed.errors.lock().unwrap(), beside.errors.lock().unwrap());
            format!("never settled: {one} {other}")
        })?;
        self.judge(&rows)
    }

    async fn client(&self, coordinator: usize) -> Result<Client, ClientError> {
        let options = ClientOptions {
            operation_timeout: millis(900),
            commit_timeout: millis(1200),
            lease: 4,
            ..ClientOptions::default()
        };
        Client::connect_with(&uri(&self.host, coordinator), options).await
    }

    /// Tries so many transfers through both coordinators, side by side; not for long if nothing works.
    async fn work(&mut self, count: usize) {
        let mut tasks = tokio::task::JoinSet::new();
        for coordinator in [1, 2] {
            let first = self.transfers.len() / 2 * 2 + coordinator - 1;
            let client = tokio::time::timeout(millis(300), self.client(coordinator)).await;
            let Ok(Ok(client)) = client else { continue };
            let numbers: Vec<usize> = (first..).step_by(2).take(count / 2).collect();
            tasks.spawn(async move {
                let _may_be_missing = client.wait_for_sites(&SITES, millis(300)).await;
                let mut done = Vec::new();
                for number in numbers {
                    let (transfer, works) = transfer(&client, number).await;
                    done.push((number, transfer));
                    if !works {
                        break;
                    }
                }
                done
            });
        }
        while let Some(done) = tasks.join_next().await {
            for (number, transfer) in done.unwrap() {
                while self.transfers.len() <= number {
                    let (amounts, told) = ([None, None], Told::Aborted);
                    self.transfers.push(Transfer { amounts, told });
                }
                self.transfers[number] = transfer;
            }
        }
        // Numbers are used once.
        if self.transfers.len() % 2 == 1 {
            let (amounts, told) = ([None, None], Told::Aborted);
            self.transfers.push(Transfer { amounts, told });
        }
    }

    /// Waits until nothing is undecided, and reads everything.
    async fn settle(&self) -> [BTreeMap<Vec<u8>, Vec<u8>>; 2] {
        loop {
            if let Ok(Some(rows)) = self.look().await {
                return rows;
            }
            tokio::time::sleep(millis(20)).await;
        }
    }

    async fn look(&self) -> Result<Option<[BTreeMap<Vec<u8>, Vec<u8>>; 2]>, ClientError> {
        for coordinator in [1, 2] {
            let client = self.client(coordinator).await?;
            client.wait_for_sites(&SITES, millis(100)).await?;
            let left = client.transactions(10).await?;
            if !left.transactions.is_empty() {
                return Ok(None);
            }
            for site in SITES {
                if client.site_statistics(site).await?.in_flight > 0 {
                    return Ok(None);
                }
            }
        }
        let client = self.client(1).await?;
        let mut txn = client.begin().await?;
        let a = txn.scan("A", b"a", None).await?;
        let b = txn.scan("B", b"a", None).await?;
        txn.commit().await?.committed()?;
        Ok(Some([a, b].map(|rows| rows.into_iter().collect())))
    }

    /// All of a transfer or nothing of it, once; and what its client was told.
    fn judge(&self, rows: &[BTreeMap<Vec<u8>, Vec<u8>>; 2]) -> Result<(), String> {
        let mut sums = [0_i64; 2];
        for (number, transfer) in self.transfers.iter().enumerate() {
            let mut here = Vec::new();
            for (site, rows) in rows.iter().enumerate() {
                if let Some(amount) = transfer.amounts[site] {
                    let is_here = rows.contains_key(&marker(number));
                    sums[site] += if is_here { amount } else { 0 };
                    here.push(is_here);
                }
            }
            let fits = match transfer.told {
                Told::Committed => here.iter().all(|it| *it),
                Told::Aborted => here.iter().all(|it| !*it),
                Told::Unknown => here.iter().all(|it| *it == here[0]),
            };
            if !fits {
                return Err(format!("{number} {transfer:?} is there: {here:?}"));
            }
        }
        let found = [0, 1].map(|site: usize| {
            let value = rows[site].get(b"account".as_slice());
            value.map_or(0, |value| i64::from_le_bytes(value[..].try_into().unwrap()))
        });
        if found == sums {
            Ok(())
        } else {
            Err(format!(
                "the accounts have {found:?}, and the transfers make {sums:?}"
            ))
        }
    }
}

fn marker(number: usize) -> Vec<u8> {
    format!("t{number:04}").into_bytes()
}

/// Takes from one site and gives to the other; or works at one alone; or changes its mind. Says whether the
/// system seems to work.
async fn transfer(client: &Client, number: usize) -> (Transfer, bool) {
    let amount = i64::try_from(number).unwrap() + 1;
    let amounts = match number % 5 {
        3 => [Some(amount), None],
        4 => [None, Some(amount)],
        _ => [Some(amount), Some(-amount)],
    };
    let aborted = |works| {
        let told = Told::Aborted;
        (Transfer { amounts, told }, works)
    };
    let Ok(mut txn) = client.begin().await else {
        return aborted(false);
    };
    for (site, amount) in SITES.into_iter().zip(amounts) {
        let Some(amount) = amount else { continue };
        let written = match txn.increment(site, b"account", amount).await {
            Ok(()) => txn.put(site, marker(number), b"").await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(ClientError::Aborted(_)) => return aborted(true),
            Err(_) => return aborted(false),
        }
    }
    if number % 7 == 6 {
        return aborted(txn.rollback().await.is_ok());
    }
    match txn.commit().await {
        Ok(Commit::Committed(_)) => {
            let told = Told::Committed;
            (Transfer { amounts, told }, true)
        }
        Ok(Commit::Aborted(_)) => aborted(true),
        Err(_) => {
            let told = Told::Unknown;
            (Transfer { amounts, told }, false)
        }
    }
}

#[test]
fn the_list_names_each_point_once() {
    let mut names = std::collections::BTreeSet::new();
    for (name, process, when) in POINTS {
        println!("{name} ({process:?}, {when:?})");
        assert!(names.insert(name), "{name} is listed twice");
    }
}

#[test]
fn every_point_fails_in_every_way_and_nothing_is_lost() {
    let started = Instant::now();
    let only = std::env::var("ONLY").unwrap_or_default();
    let cases: Vec<(usize, &'static str)> = (0..POINTS.len())
        // There are no databases here: those of adapters have a test of their own.
        .filter(|point| POINTS[*point].1 != Process::Adapter)
        .flat_map(|point| ACTIONS.map(|action| (point, action)))
        .filter(|(point, action)| format!("{}={action}", POINTS[*point].0).contains(&only))
        .collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(&(index, action)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (point, process, when) = POINTS[index];
                    let part = ACTIONS.iter().position(|it| *it == action).unwrap();
                    // Every case has a loopback address for itself.
                    let net = std::process::id() % 200 + 20;
                    let case = Case {
                        point,
                        process,
                        when,
                        action,
                        host: format!("127.{net}.{}.{}", part + 1, index + 1),
                        folder: tempfile::tempdir().unwrap(),
                        transfers: Vec::new(),
                    };
                    let runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = { runtime }.enable_all().build().unwrap();
                    let began = Instant::now();
                    if let Err(problem) = runtime.block_on(case.run()) {
                        eprintln!("{point}={action}: {problem}");
                        failed.lock().unwrap().push(format!("{point}={action}"));
                    } else if began.elapsed() > millis(8000) {
                        eprintln!("{point}={action} took {:?}", began.elapsed());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{} cases in {:?}", cases.len(), started.elapsed());
    assert!(POINTS.len() >= 60);
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}
