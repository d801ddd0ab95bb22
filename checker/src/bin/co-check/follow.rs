//! `co-check follow`: judges histories while they are written.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use checker::follow::{Options, Reason, Statistics, Tail, Verdict};
use checker::{Doubt, Level};
use clap::ValueEnum;
use serde_json::json;

use crate::output::{Failure, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, worse, write_to};

/// What `co-check follow` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One history file for each site; a file need not exist yet
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to judge against
    #[arg(long, value_enum, default_value_t = Choice::Co)]
    level: Choice,
    /// Judge what the files hold now, and do not wait for more
    #[arg(long)]
    no_wait: bool,
    /// Print JSON, one object a line
    ///
    /// The progress once a second, and the verdicts.
    #[arg(long, verbatim_doc_comment)]
    pub(crate) json: bool,
    /// Print nothing; the exit status tells the verdict
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// How many records a scan waits for
    ///
    /// Versions are kept twice as long.
    #[arg(verbatim_doc_comment, long, value_name = "RECORDS", default_value_t = Options::default().window)]
    window: u64,
    /// How many keys, versions and transactions are kept at most
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_entries)]
    max_entries: usize,
    /// Milliseconds to wait for more at the end of every file
    #[arg(long, value_name = "MS", default_value_t = 100)]
    poll: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Serializability
    Ser,
    /// Commitment ordering
    Co,
    /// Both
    All,
}

const EXAMPLES: &str = "\
Examples:
  co-check follow a.hist b.hist
      Judge two sites while they run; ends at their footers, at a violation, or
      at Ctrl-C.
  co-check follow --no-wait a.hist b.hist
      Judge large files that are complete, in bounded memory.
  co-check follow --json a.hist b.hist | jq .
      The same for a program.

Exit status: 0 valid and every footer was read, 1 invalid, 2 anything else:
stopped before the end, unknown or bad input.";

/// Says so if a file is compressed: it is then no text, whatever its first line looks like.
fn refuse_compressed(files: &[PathBuf]) -> Result<(), Failure> {
    for path in files.iter().filter(|path| path.is_file()) {
        let mut start = Vec::new();
        // What cannot be opened is reported by who reads it.
        if let Ok(file) = File::open(path) {
            file.take(4).read_to_end(&mut start).unwrap_or_default();
        }
        let with = match start.as_slice() {
            [0x1f, 0x8b, ..] => "gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
            _ => continue,
        };
        let path = path.clone();
        return Err(Failure::Compressed { path, with });
    }
    Ok(())
}

/// Follows until the end; the exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::Signal)?;
    }
    refuse_compressed(&arguments.files)?;
    let options = Options {
        window: arguments.window,
        max_entries: arguments.max_entries,
        ..Options::default()
    };
    let mut tail = Tail::new(&arguments.files, options);
    let levels: &[Level] = match arguments.level {
        Choice::Ser => &[Level::Serializability],
        Choice::Co => &[Level::CommitmentOrdering],
        Choice::All => &[Level::Serializability, Level::CommitmentOrdering],
    };
    let mut shown = Shown::new(arguments);
    loop {
        let more = match tail.step() {
            Ok(more) => more,
            Err(error) => {
                // A file that came later.
                refuse_compressed(&arguments.files)?;
                return Err(error.into());
            }
        };
        let violated = levels.iter().any(|level| tail.follower.is_violated(*level));
        let over = violated || tail.follower.is_ended() || stop.load(Ordering::Relaxed);
        if over || (!more && arguments.no_wait) {
            break;
        }
        shown.progress(&tail)?;
        if !more {
            std::thread::sleep(Duration::from_millis(arguments.poll));
        }
    }
    shown.clear();
    if arguments.no_wait {
        tail.close();
    }
    let mut status = STATUS_VALID;
    for level in levels {
        let verdict = tail.follower.verdict(*level);
        shown.verdict(*level, &verdict, tail.follower.statistics())?;
        let this = match verdict {
            Verdict::Valid => STATUS_VALID,
            Verdict::Invalid { .. } => STATUS_INVALID,
            Verdict::Unknown { .. } => STATUS_UNKNOWN,
        };
        status = worse(status, this);
    }
    Ok(status)
}

/// What was printed so far.
struct Shown {
    json: bool,
    quiet: bool,
    terminal: bool,
    begin: Instant,
    last: Instant,
    last_committed: u64,
    on_line: bool,
}

impl Shown {
    fn new(arguments: &Arguments) -> Self {
        let now = Instant::now();
        Self {
            json: arguments.json,
            quiet: arguments.quiet,
            terminal: io::stderr().is_terminal(),
            begin: now,
            last: now,
            last_committed: 0,
            on_line: false,
        }
    }

    /// Once a second: how much was read, how fast, and how far behind that is.
    fn progress(&mut self, tail: &Tail) -> Result<(), Failure> {
        let passed = self.last.elapsed();
        if passed < Duration::from_secs(1) || self.quiet || !(self.json || self.terminal) {
            return Ok(());
        }
        let statistics = tail.follower.statistics();
        let (_, behind) = tail.progress();
        let fresh = statistics.committed - self.last_committed;
        let rate = u128::from(fresh) * 1000 / passed.as_millis().max(1);
        (self.last, self.last_committed) = (Instant::now(), statistics.committed);
        if self.json {
            return print(&json!({
                "event": "progress",
                "statistics": statistics,
                "commits_per_second": u64::try_from(rate).unwrap_or(u64::MAX),
                "bytes_behind": behind,
                "absent": tail.absent(),
            }));
        }
        let absent = tail.absent().len();
        let line = format!(
            "\r\x1b[K{} commits, {rate}/s, {} KiB behind, {} of {} sites ended, {absent} files to come",
            statistics.committed,
            behind / 1024,
            statistics.ended,
            statistics.sites,
        );
        self.on_line = true;
        // Progress is for whoever looks; the verdict does not depend on it.
        io::stderr().write_all(line.as_bytes()).unwrap_or_default();
        Ok(())
    }

    fn clear(&mut self) {
        if self.on_line {
            io::stderr().write_all(b"\r\x1b[K").unwrap_or_default();
            self.on_line = false;
        }
    }

    fn verdict(
        &self,
        level: Level,
        verdict: &Verdict,
        statistics: Statistics,
    ) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let seconds = self.begin.elapsed().as_secs_f64();
        if self.json {
            let mut line = json!({
                "event": "verdict",
                "level": level,
                "statistics": statistics,
                "seconds": seconds,
            });
            if let (Some(line), Ok(serde_json::Value::Object(verdict))) =
                (line.as_object_mut(), serde_json::to_value(verdict))
            {
                line.extend(verdict);
            }
            return print(&line);
        }
        let (word, lines): (&str, Vec<String>) = match verdict {
            Verdict::Valid => ("VALID", Vec::new()),
            Verdict::Invalid { grounds, total } => {
                let mut lines: Vec<String> = grounds.iter().map(ToString::to_string).collect();
                let hidden = total.saturating_sub(lines.len());
                if hidden > 0 {
                    lines.push(format!("and {hidden} more."));
                }
                ("INVALID", lines)
            }
            Verdict::Unknown { reasons } if reasons.iter().all(is_end) => (
                "VALID SO FAR, not to the end:",
                reasons.iter().map(ToString::to_string).collect(),
            ),
            Verdict::Unknown { reasons } => {
                ("UNKNOWN", reasons.iter().map(ToString::to_string).collect())
            }
        };
        let mut text = format!(
            "{word} {level}\nsites {}, commits {}, operations {}, keys {}, entries kept {}, {seconds:.3} s\n",
            statistics.sites,
            statistics.committed,
            statistics.operations,
            statistics.keys,
            statistics.entries,
        );
        lines.iter().for_each(|line| text += &format!("- {line}\n"));
        write_to(Path::new("-"), &text)
    }
}

/// Whether only the end of a history is missing.
const fn is_end(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Doubt {
            of: Doubt::CutShort { .. }
        }
    )
}

fn print(line: &serde_json::Value) -> Result<(), Failure> {
    write_to(Path::new("-"), &format!("{line}\n"))
}
