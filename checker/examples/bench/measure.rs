//! Time and memory of a process of its own.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::work::Work;

/// What reading and judging took.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Seconds of reading.
    load: f64,
    /// Seconds of judging.
    check: f64,
    /// Seconds of CPU time of both.
    cpu: f64,
    /// The most that was resident, in KiB.
    peak: u32,
    pub(crate) verdict: String,
}

impl Measured {
    pub(crate) fn wall(&self) -> f64 {
        self.load + self.check
    }

    pub(crate) fn peak_megabytes(&self) -> f64 {
        f64::from(self.peak) * 1024.0 / 1e6
    }

    pub(crate) fn to_json(&self) -> Json {
        json!({
            "load": self.load,
            "check": self.check,
            "cpu": self.cpu,
            "peak-kib": self.peak,
            "verdict": self.verdict,
        })
    }

    fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            load: json["load"].as_f64()?,
            check: json["check"].as_f64()?,
            cpu: json["cpu"].as_f64()?,
            peak: u32::try_from(json["peak-kib"].as_u64()?).ok()?,
            verdict: json["verdict"].as_str()?.to_owned(),
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |seconds: f64| format!("{seconds:.3}");
        let (load, check) = (seconds(self.load), seconds(self.check));
        let (wall, cpu) = (seconds(self.wall()), seconds(self.cpu));
        let peak = format!("{:.0}M", self.peak_megabytes());
        write!(f, "{load:>7}{check:>7}{wall:>7}{cpu:>7}{peak:>7}")
    }
}

/// Reads and judges, and prints what that took.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn child(work: Work, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let loaded = work.load(path)?;
    let load = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let verdict = work.judge(&loaded);
    let check = begin.elapsed().as_secs_f64();
    let measured = Measured {
        load,
        check,
        cpu: cpu()?,
        peak: peak()?,
        verdict: verdict.to_owned(),
    };
    println!("{}", measured.to_json());
    // Giving the history back is not part of it.
    std::mem::forget(loaded);
    Ok(())
}

/// Runs `child` in a process of its own; `None` if it took longer than `limit` seconds and was stopped.
pub(crate) fn run_child(work: Work, path: &Path, limit: u64) -> io::Result<Option<Measured>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--child", work.name()])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().expect("it is piped");
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = output.read_to_string(&mut text).map(|_| text);
        sender.send(read).is_ok()
    });
    let told = receiver.recv_timeout(Duration::from_secs(limit));
    if matches!(told, Err(RecvTimeoutError::Timeout)) {
        child.kill()?;
    }
    let status = child.wait()?;
    reader.join().expect("the reader does not panic");
    match told {
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a run told nothing")),
        Ok(text) => {
            let json: Option<Json> = serde_json::from_str(&text?).ok();
            let measured = json.as_ref().and_then(Measured::from_json);
            let failed = || io::Error::other(format!("a run of {} failed: {status}", work.name()));
            Ok(Some(measured.ok_or_else(failed)?))
        }
    }
}

/// Seconds of CPU time: of all threads that live, which is exact, or in hundredths of those that have ended too.
fn cpu() -> io::Result<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += number(&text, 0)?;
    }
    let text = fs::read_to_string("/proc/self/stat")?;
    // Behind the name of the command, which may hold anything.
    let text = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let hundredths = number(text, 11)? + number(text, 12)?;
    Ok((nanoseconds / 1e9).max(hundredths / 100.0))
}

/// The most that was resident, in KiB.
fn peak() -> io::Result<u32> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let fields = line.unwrap_or_default().split_whitespace().nth(1);
    fields
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}

fn number(text: &str, place: usize) -> io::Result<f64> {
    let field = text.split_whitespace().nth(place);
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("no number; the kernel does not count time"))
}
