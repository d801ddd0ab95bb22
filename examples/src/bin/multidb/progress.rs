//! What a person sees while a run takes its time, on standard error: a bar on a terminal, else a line
//! at the start.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Ordering;
use crate::cluster::ProcessInfo;
use crate::tally::Live;

/// How often the bar moves.
const STEP: Duration = Duration::from_millis(100);

/// The progress of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    ordering: Ordering,
}

impl Progress {
    /// Names the processes of the run.
    pub(crate) fn announce(ordering: Ordering, processes: &[ProcessInfo]) -> Self {
        let mut line = format!("multidb: ordering {}:", ordering.word());
        for process in processes {
            let ProcessInfo { name, pid, address } = process;
            write!(line, "\n  {name}: pid {pid}, {address}").expect("a string takes all text");
        }
        say(&line);
        Self { ordering }
    }

    /// Moves the bar until it is dropped.
    pub(crate) async fn follow(self, span: Duration, live: &Live) {
        let bar = ProgressBar::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("  ordering {prefix} [{bar:30}] {msg}")
            .expect("the template is well formed")
            .progress_chars("=> ");
        bar.set_style(style);
        bar.set_prefix(self.ordering.word());
        let _cleared = Cleared(&bar);
        let started = Instant::now();
        let mut steps = tokio::time::interval(STEP);
        loop {
            steps.tick().await;
            let past = started.elapsed().min(span);
            let [commits, aborts, impossible] = live.read();
            bar.set_message(format!(
                "{:.1} s  {commits} commits  {aborts} aborts  {impossible} impossible reads",
                past.as_secs_f64()
            ));
            bar.set_position(u64::try_from(past.as_millis()).unwrap_or(u64::MAX));
        }
    }
}

/// Takes the bar off the terminal when it is not followed any more.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Writes a line to standard error; a closed one is no reason to stop.
pub(crate) fn say(line: &str) {
    let _written = writeln!(std::io::stderr(), "{line}");
}
