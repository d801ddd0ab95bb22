//! One child process: started from this very program, watched, and never left behind.
//!
//! - C1 A child ends with its parent, however that ends: it runs with `--exit-with-parent`, which ends
//!   it when its standard input closes, and it is killed when its monitor is dropped.
//! - C2 A child runs in a process group of its own, so Ctrl-C reaches this program alone, which then
//!   stops the children in order.
//! - C3 Both outputs are read to their end, so a child never waits for a full pipe.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long a child may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a child may take to end after its standard input has closed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Lines kept of what a child says on its standard error.
const TAIL_LINES: usize = 12;
/// What stands before the address in a child's ready line.
const READY_MARK: &str = "listening on ";

/// Knows every child that was started, so that the program can wait until none is left.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    monitors: Mutex<Vec<JoinHandle<()>>>,
}

/// A running child. Dropping it kills the process; [`Supervisor::all_gone`] waits for that.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    pid: u32,
    address: String,
    /// Open as long as the child shall run (C1).
    stdin: Option<ChildStdin>,
    ended: watch::Receiver<Option<Ended>>,
    kill: Option<oneshot::Sender<()>>,
    tail: Tail,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its status, or why it could not be learned.
    status: Result<ExitStatus, String>,
}

/// The last lines of a child's standard error.
#[derive(Clone, Debug, Default)]
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Supervisor {
    /// Waits until every child is gone that has been stopped or dropped; call it when all have.
    pub(crate) async fn all_gone(&self) {
        let monitors =
            std::mem::take(&mut *self.monitors.lock().unwrap_or_else(PoisonError::into_inner));
        for monitor in monitors {
            // A monitor that panicked has dropped its process, which kills it.
            let _ended = monitor.await;
        }
    }

    fn watch(&self, monitor: impl Future<Output = ()> + Send + 'static) {
        let mut monitors = self.monitors.lock().unwrap_or_else(PoisonError::into_inner);
        monitors.push(tokio::spawn(monitor));
    }
}

impl Child {
    /// Starts this program again with `args` and waits until the child is ready.
    ///
    /// # Errors
    /// When it cannot be started, or ends or stays silent instead of getting ready; the message carries
    /// what it said.
    pub(crate) async fn start(
        supervisor: &Supervisor,
        name: String,
        args: &[OsString],
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(&program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {name} from {}", program.display()))?;
        let pid = process
            .id()
            .with_context(|| format!("{name} ended at once"))?;
        let nothing_taken = "the pipe was asked for and not taken before";
        let stdin = process.stdin.take().expect(nothing_taken);
        let stdout = process.stdout.take().expect(nothing_taken);
        let stderr = process.stderr.take().expect(nothing_taken);
        let tail = Tail::default();
        let stderr_read = tail.follow(stderr);
        let (address_sender, address) = oneshot::channel();
        tokio::spawn(find_address(stdout, address_sender));
        let (ended_sender, ended) = watch::channel(None);
        let (kill, kill_asked) = oneshot::channel();
        supervisor.watch(async move {
            let ended = watch_process(process, kill_asked, stderr_read).await;
            ended_sender.send_replace(Some(ended));
        });
        let mut child = Self {
            name,
            pid,
            address: String::new(),
            stdin: Some(stdin),
            ended,
            kill: Some(kill),
            tail,
        };
        child.address = child.ready(address).await?;
        Ok(child)
    }

    /// What the report calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the child ends, which it should not, and says how it did.
    pub(crate) fn death(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        let (name, pid, tail) = (self.name.clone(), self.pid, self.tail.clone());
        let mut ended = self.ended.clone();
        async move {
            let ended = ended_of(&mut ended).await;
            anyhow!(
                "{name} (pid {pid}) died in mid-run: {ended}{}",
                tail.quoted()
            )
        }
    }

    /// Ends the child in order: it finishes its files when its standard input closes.
    ///
    /// # Errors
    /// When it does not end in time (it is killed then) or ends with a failure.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        let ended = tokio::time::timeout(STOP_WITHIN, ended_of(&mut self.ended)).await;
        let Ok(ended) = ended else {
            self.kill().await;
            bail!(
                "{} did not end within {} s and was killed",
                self.name,
                STOP_WITHIN.as_secs()
            );
        };
        match &ended.status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) | Err(_) => bail!(
                "{} failed at its end: {ended}{}",
                self.name,
                self.tail.quoted()
            ),
        }
    }

    /// Ends the child at once and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // The monitor may have ended with the child: then there is nothing to kill.
            let _sent = kill.send(());
        }
        ended_of(&mut self.ended).await;
    }

    async fn ready(&mut self, address: oneshot::Receiver<String>) -> anyhow::Result<String> {
        match tokio::time::timeout(READY_WITHIN, address).await {
            Ok(Ok(address)) => Ok(address),
            Ok(Err(_silent)) => {
                let ended = ended_of(&mut self.ended).await;
                bail!("{} did not start: {ended}{}", self.name, self.tail.quoted())
            }
            Err(_late) => {
                self.kill().await;
                let seconds = READY_WITHIN.as_secs();
                bail!(
                    "{} was not ready within {seconds} s{}",
                    self.name,
                    self.tail.quoted()
                )
            }
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Ok(status) => status.fmt(f),
            Err(error) => write!(f, "its exit status cannot be read: {error}"),
        }
    }
}

impl Tail {
    /// Keeps the last lines of a stream, to its end.
    fn follow(&self, stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let tail = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tail.push(line);
            }
        })
    }

    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines, indented, for the end of a message.
    fn quoted(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "\n  (it said nothing on its standard error)".to_owned();
        }
        lines.iter().map(|line| format!("\n  | {line}")).collect()
    }
}

/// Waits for the end of a process, or for the order to kill it. The last lines are read before the end
/// is told.
async fn watch_process(
    mut process: tokio::process::Child,
    kill_asked: oneshot::Receiver<()>,
    stderr_read: JoinHandle<()>,
) -> Ended {
    let status = tokio::select! {
        status = process.wait() => status,
        // A dropped sender means that nobody wants the child any more.
        _asked = kill_asked => match process.kill().await {
            Ok(()) => process.wait().await,
            Err(error) => Err(error),
        },
    };
    let read_to_end = tokio::time::timeout(Duration::from_secs(2), stderr_read).await;
    // A grandchild could hold the pipe open; its lines are of no interest.
    drop(read_to_end);
    Ended {
        status: status.map_err(|error| error.to_string()),
    }
}

async fn ended_of(ended: &mut watch::Receiver<Option<Ended>>) -> Ended {
    match ended.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().expect("it was waited for"),
        Err(_gone) => Ended {
            status: Err("its monitor is gone".to_owned()),
        },
    }
}

/// Reads standard output to its end and passes on the address of the ready line. The sender is dropped
/// unused when the output ends without one.
async fn find_address(
    stdout: impl AsyncRead + Unpin + Send + 'static,
    address: oneshot::Sender<String>,
) {
    let mut address = Some(address);
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some((_, found)) = line.split_once(READY_MARK) else {
            continue;
        };
        if let Some(address) = address.take() {
            // The starter may have given up meanwhile.
            let _sent = address.send(found.trim().to_owned());
        }
    }
}
