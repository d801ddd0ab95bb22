//! A coordinator or a site as a process of its own: this program once more, as `coco serve` or `participant
//! serve`.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is called in messages.
    pub name: String,
    /// The arguments of this program.
    pub arguments: Vec<String>,
    /// What it says to standard error is added to this file.
    pub log: PathBuf,
}

/// A running server. It is killed when this value is dropped, and ends by itself when this process does.
#[derive(Debug)]
pub struct Server {
    name: String,
    pid: Pid,
    child: Child,
    /// Its end would tell the process that its parent is gone.
    _input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts the process, and does not wait until it is ready.
    ///
    /// # Errors
    /// If there is no such process then.
    pub fn spawn(spec: &Spec) -> Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(&spec.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", spec.name))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let output = child.stdout.take().context("it has an output")?;
        let input = child.stdin.take().context("it has an input")?;
        Ok(Self {
            name: spec.name.clone(),
            pid: pid.context("it has just been started")?,
            child,
            _input: input,
            lines: BufReader::new(output).lines(),
        })
    }

    /// Waits until it says that it listens.
    ///
    /// # Errors
    /// If it ends before that, or takes longer than `patience`.
    pub async fn ready(&mut self, patience: Duration) -> Result<serde_json::Value> {
        let line = tokio::time::timeout(patience, self.lines.next_line()).await;
        let line = line.with_context(|| format!("{} is not ready in time", self.name))??;
        let line = line.with_context(|| format!("{} ended before it was ready", self.name))?;
        Ok(serde_json::from_str(&line)?)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("no process of {}", self.name))
    }

    /// `kill -9`, whatever it does, a stopped process included.
    ///
    /// # Errors
    /// If the process had ended by itself: nobody had told it to.
    pub async fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended by itself: {status}", self.name);
        }
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// If it ends with an error, or takes longer than `patience`.
    pub async fn end(mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = tokio::time::timeout(patience, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// How much of its memory is resident, in bytes.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let text = std::fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.context("no VmRSS")?.parse()?;
        Ok(kib * 1024)
    }
}

/// Ports that nobody has now, below those that the system gives out by itself: a server that is killed comes
/// back at its own. Drawn without a seed: two runs of one seed would meet at the same ports.
///
/// # Errors
/// If there are not so many.
pub fn ports(count: usize) -> Result<Vec<u16>> {
    let (mut dice, mut held) = (fastrand::Rng::new(), Vec::new());
    for _ in 0..10_000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
        let port = dice.u16(10_000..32_000);
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
    }
    bail!("there are no {count} free ports between 10000 and 32000")
}

/// The last lines of a file that do not say `but`, for a message.
#[must_use]
pub fn tail(path: &Path, lines: usize, but: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|line| !line.contains(but)).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
