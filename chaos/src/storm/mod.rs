//! `chaos storm`: small whole systems, killed with SIGKILL by the thousand.
//!
//! A life is a process: a coordinator and two or three sites with real logs, in real files, written by their own
//! threads (`system`). It recovers, says through a pipe what is there, works, and says what it was told. It is
//! killed at a random microsecond, while it recovers or works, or at a named point of one of its logs
//! (`folder`). The parent keeps the [`Ledger`] and compares at the end of every recovery. The lives of one
//! folder are an epoch: its last life ends in good order, and the checker judges the histories of all of them.

mod bug;
mod folder;
mod life;
mod system;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use participant::engine::EngineKind;
use serde_json::json;

use self::folder::{COMMON, Moment, POINTS};
use self::wire::Line;
use crate::ledger::{Ledger, Outcome, SiteState, Tally};
use crate::lives;
use crate::progress::Progress;
use crate::run::Store;
use crate::server::tail;

pub use self::bug::Bug;
pub use self::life::{LifeArgs, live};

/// What a storm is made of.
#[derive(Clone, Debug)]
pub struct Storm {
    /// How many processes are killed, unless the time ends before.
    pub kills: u64,
    /// For how long at most.
    pub time: Option<Duration>,
    /// What is drawn.
    pub seed: u64,
    /// How many systems live and die at the same time.
    pub jobs: usize,
    /// How many lives an epoch has.
    pub lives: u64,
    /// Where the sites keep their data; either, if not said.
    pub store: Option<Store>,
    /// Where the folders of the epochs are made.
    pub folder: PathBuf,
    /// The program that lives: this one.
    pub program: PathBuf,
    /// A planted bug.
    pub bug: Option<Bug>,
}

/// What came of a storm.
#[derive(Debug, Default)]
pub struct Havoc {
    /// Processes killed.
    pub kills: u64,
    /// Of those, before recovery was over.
    pub in_recovery: u64,
    /// By name of the point: how many died there.
    pub at_points: BTreeMap<String, u64>,
    /// Recoveries whose state was compared.
    pub compared: u64,
    /// How the transactions ended.
    pub tally: Tally,
    /// Epochs judged by the checker, and committed transactions in them.
    pub epochs: u64,
    /// Committed transactions that were judged.
    pub judged: u64,
    /// How long it took.
    pub took: Duration,
    /// What does not hold, with the seed of its epoch.
    pub wrong: Vec<String>,
}

/// What the epochs share.
struct Sky<'a> {
    storm: &'a Storm,
    kills: AtomicU64,
    stop: AtomicBool,
    end: Option<Instant>,
    progress: Progress,
    havoc: Mutex<Havoc>,
}

/// Lets it storm.
///
/// # Errors
/// If processes cannot be started.
pub fn storm(storm: &Storm) -> Result<Havoc> {
    let started = Instant::now();
    let sky = Sky {
        storm,
        kills: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        end: storm.time.map(|time| started + time),
        progress: Progress::count("kills", storm.kills),
        havoc: Mutex::default(),
    };
    let next = AtomicU64::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..storm.jobs.max(1) {
            scope.spawn(|| {
                while !sky.is_over() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = Epoch::run(&sky, number) {
                        sky.stop.store(true, Ordering::Relaxed);
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut havoc = sky
        .havoc
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    havoc.took = started.elapsed();
    Ok(havoc)
}

impl Sky<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.kills.load(Ordering::Relaxed) >= self.storm.kills
            || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// How a life is to end.
enum Fate {
    /// Killed so long after its start.
    Early(Duration),
    /// Killed so long after its recovery.
    Late(Duration),
    /// Dies at a point of a log, or is killed later if it does not come there.
    AtPoint(String, Duration),
    /// In good order.
    Natural,
}

/// What a life has said when it is over.
#[derive(Default)]
struct Told {
    states: BTreeMap<usize, SiteState>,
    ready: bool,
    died_at: Option<String>,
}

/// One folder and the lives in it.
struct Epoch<'a> {
    sky: &'a Sky<'a>,
    number: u64,
    folder: tempfile::TempDir,
    engines: Vec<EngineKind>,
    store: Store,
    clients: u64,
    dice: Rng,
    ledger: Ledger,
    life: u64,
    own: Havoc,
}

impl<'a> Epoch<'a> {
    fn run(sky: &'a Sky<'a>, number: u64) -> Result<()> {
        let mut dice = Rng::with_seed(sky.storm.seed.wrapping_mul(1 << 32).wrapping_add(number));
        let engines = (0..dice.usize(2..4))
            .map(|_| EngineKind::ALL[dice.usize(0..EngineKind::ALL.len())])
            .collect();
        let drawn = if dice.u8(0..4) == 0 {
            Store::Fjall
        } else {
            Store::Memory
        };
        let mut epoch = Epoch {
            sky,
            number,
            folder: tempfile::Builder::new()
                .prefix("chaos-storm-")
                .tempdir_in(&sky.storm.folder)?,
            engines,
            store: sky.storm.store.unwrap_or(drawn),
            clients: dice.u64(1..6),
            dice,
            ledger: Ledger::default(),
            life: 0,
            own: Havoc::default(),
        };
        if let Err(wrong) = epoch.lives() {
            epoch.wrong(&wrong);
        }
        epoch.end();
        Ok(())
    }

    fn wrong(&mut self, wrong: &anyhow::Error) {
        self.sky.stop.store(true, Ordering::Relaxed);
        self.folder.disable_cleanup(true);
        let engines: Vec<&str> = self.engines.iter().map(|kind| kind.name()).collect();
        self.own.wrong.push(format!(
            "seed {}, epoch {}, life {} ({}, store {}): {wrong:#}; kept in {}",
            self.sky.storm.seed,
            self.number,
            self.life,
            engines.join(","),
            self.store,
            self.folder.path().display()
        ));
    }

    fn end(self) {
        let mut havoc = self
            .sky
            .havoc
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (own, tally) = (self.own, self.ledger.tally());
        havoc.kills += own.kills;
        havoc.in_recovery += own.in_recovery;
        havoc.compared += own.compared;
        havoc.epochs += own.epochs;
        havoc.judged += own.judged;
        for (point, count) in own.at_points {
            *havoc.at_points.entry(point).or_default() += count;
        }
        havoc.tally.committed += tally.committed;
        havoc.tally.aborted += tally.aborted;
        havoc.tally.seen_committed += tally.seen_committed;
        havoc.tally.seen_aborted += tally.seen_aborted;
        havoc.tally.unknown += tally.unknown;
        havoc.wrong.extend(own.wrong);
    }

    fn lives(&mut self) -> Result<()> {
        while self.life < self.sky.storm.lives && !self.sky.is_over() {
            let fate = self.draw();
            let transactions = self.dice.u64(1..30);
            self.live(&fate, transactions)?;
            self.own.kills += 1;
            self.sky.kills.fetch_add(1, Ordering::Relaxed);
            self.sky.progress.one();
        }
        self.live(&Fate::Natural, 5)?;
        let mut histories = Vec::new();
        for site in 0..self.engines.len() {
            let name = system::site_name(site);
            let told: Result<Vec<lives::Life>> = (1..=self.life)
                .map(|life| lives::read(self.folder.path(), &name, life))
                .collect();
            histories.push(lives::merge(&name, &told?)?);
        }
        let report = lives::verdict(&histories)?;
        self.own.epochs += 1;
        self.own.judged += report.statistics.committed as u64;
        Ok(())
    }

    fn draw(&mut self) -> Fate {
        let dice = &mut self.dice;
        let late = Duration::from_micros(dice.u64(0..20_000));
        match dice.u8(0..10) {
            0..=1 => Fate::Early(Duration::from_micros(dice.u64(0..25_000))),
            2..=5 => Fate::Late(late),
            _ => {
                let among = if dice.bool() { COMMON } else { POINTS.len() };
                let (point, times) = POINTS[dice.usize(0..among)];
                let (log, time) = (dice.usize(0..=self.engines.len()), dice.u64(1..=times));
                let moment = Moment::ALL[dice.usize(0..Moment::ALL.len())].1;
                let death = format!("{log}/{point}/{time}/{moment}");
                // Most come there long before.
                Fate::AtPoint(death, Duration::from_millis(25))
            }
        }
    }

    fn command(&mut self, fate: &Fate, transactions: u64) -> Result<Command> {
        let errors = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.errors())?;
        let engines: Vec<&str> = self.engines.iter().map(|kind| kind.name()).collect();
        let mut command = Command::new(&self.sky.storm.program);
        command
            .args(["life", "--folder"])
            .arg(self.folder.path())
            .args(["--engines", &engines.join(",")])
            .args(["--store", &self.store.to_string()])
            .args(["--clients", &self.clients.to_string()])
            .args(["--seed", &self.dice.u64(..).to_string()])
            .args(["--life", &self.life.to_string()])
            .args(["--transactions", &transactions.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        match fate {
            Fate::Natural => drop(command.arg("--last")),
            Fate::AtPoint(death, _) => drop(command.args(["--death", death])),
            Fate::Early(_) | Fate::Late(_) => {}
        }
        if let Some(bug) = self.sky.storm.bug {
            command.args(["--bug", bug.name()]);
        }
        Ok(command)
    }

    fn errors(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }

    /// Lives one life to its end, and compares what it said with the ledger.
    fn live(&mut self, fate: &Fate, transactions: u64) -> Result<()> {
        self.life += 1;
        let mut child = self.command(fate, transactions)?.spawn()?;
        let started = Instant::now();
        let output = child.stdout.take().context("it has an output")?;
        let (tell, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            // A last line that is not whole was never said.
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                if tell.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        let mut told = Told::default();
        let mut kill_at = match fate {
            Fate::Early(after) => started + *after,
            Fate::Late(_) | Fate::AtPoint(..) | Fate::Natural => started + Duration::from_secs(30),
        };
        let mut wrong = Vec::new();
        loop {
            let left = kill_at.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if self.hear(&line, &mut told, &mut wrong)?
                        && let Fate::Late(after) | Fate::AtPoint(_, after) = fate
                    {
                        kill_at = Instant::now() + *after;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if !matches!(fate, Fate::Natural) {
            child.kill()?;
        }
        let status = child.wait()?;
        for line in lines {
            self.hear(&line, &mut told, &mut wrong)?;
        }
        drop(reader.join());
        ensure!(wrong.is_empty(), "{}", shortened(&wrong));
        self.over(fate, &told, status)
    }

    /// Whether it was said that recovery is over.
    fn hear(&mut self, line: &str, told: &mut Told, wrong: &mut Vec<String>) -> Result<bool> {
        match Line::decode(line.trim_end())? {
            Line::Holds(site, state) => drop(told.states.insert(site, state)),
            Line::Ready => {
                told.ready = true;
                self.own.compared += 1;
                let states: Vec<SiteState> = told.states.values().cloned().collect();
                wrong.extend(self.ledger.check(&states));
                return Ok(true);
            }
            Line::Asked(id, sites, changes) => self.ledger.asked(id, sites, changes),
            Line::Committed(id) => self.ledger.told(id, Outcome::Committed),
            Line::Aborted(id) => self.ledger.told(id, Outcome::Aborted),
            Line::DiesAt(point) => told.died_at = Some(point),
        }
        Ok(false)
    }

    fn over(&mut self, fate: &Fate, told: &Told, status: std::process::ExitStatus) -> Result<()> {
        use std::os::unix::process::ExitStatusExt as _;
        let killed = status.signal() == Some(9);
        match fate {
            Fate::Natural if status.success() => return Ok(()),
            Fate::Natural => {}
            Fate::Late(_) | Fate::AtPoint(..)
                if killed && !told.ready && told.died_at.is_none() =>
            {
                bail!("recovery took longer than 30 s")
            }
            Fate::Early(_) | Fate::Late(_) | Fate::AtPoint(..) if killed => {
                if !told.ready {
                    self.own.in_recovery += 1;
                }
                if let Some(point) = &told.died_at {
                    *self.own.at_points.entry(point.clone()).or_default() += 1;
                }
                return Ok(());
            }
            Fate::Early(_) | Fate::Late(_) | Fate::AtPoint(..) => {}
        }
        bail!(
            "the process ended with {status}: {}",
            tail(&self.errors(), 3, "\0")
        )
    }
}

/// The first of them, and how many there are.
fn shortened(wrong: &[String]) -> String {
    let shown = &wrong[..wrong.len().min(3)];
    let more = wrong.len() - shown.len();
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join("; "))
}

impl Havoc {
    /// Kills a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.kills as f64 / self.took.as_secs_f64()
    }

    /// One object, for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "kills": self.kills,
            "seconds": self.took.as_secs_f64(),
            "kills_per_second": self.rate(),
            "in_recovery": self.in_recovery,
            "at_points": self.at_points,
            "compared": self.compared,
            "committed": self.tally.committed,
            "aborted": self.tally.aborted,
            "unanswered_and_committed": self.tally.seen_committed,
            "unanswered_and_aborted": self.tally.seen_aborted,
            "epochs": self.epochs,
            "judged": self.judged,
            "wrong": self.wrong,
        })
    }
}

impl fmt::Display for Havoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tally, at_points) = (&self.tally, self.at_points.values().sum::<u64>());
        writeln!(
            f,
            "{} kills in {:.1} s ({:.0} a second), {} in recovery, {at_points} at {} named points; {} recoveries compared",
            self.kills,
            self.took.as_secs_f64(),
            self.rate(),
            self.in_recovery,
            self.at_points.len(),
            self.compared
        )?;
        writeln!(
            f,
            "acknowledged: {} commits, {} aborts; not answered: {} that committed, {} that did not",
            tally.committed, tally.aborted, tally.seen_committed, tally.seen_aborted
        )?;
        if self.epochs > 0 {
            writeln!(
                f,
                "the checker judged {} committed transactions in {} epochs: serializable, commitment ordered",
                self.judged, self.epochs
            )?;
        }
        for wrong in &self.wrong {
            writeln!(f, "WRONG: {wrong}")?;
        }
        write!(
            f,
            "{}",
            if self.wrong.is_empty() {
                "held"
            } else {
                "FAILED"
            }
        )
    }
}
