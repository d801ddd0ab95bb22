//! How far a walk is, on a terminal.

use std::io::IsTerminal as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use checker::spec::Progress;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(100);

/// Does what is to be done, while standard error, if it is a terminal, shows how far it is.
pub(super) fn watched<T>(label: &str, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    if !std::io::stderr().is_terminal() {
        return work(&progress);
    }
    std::thread::scope(|scope| {
        // Dropped when the work is done, and also if it panics.
        let (_working, done) = channel();
        let shown = &progress;
        scope.spawn(move || draw(label, shown, &done));
        work(&progress)
    })
}

fn draw(label: &str, progress: &Progress, done: &Receiver<()>) {
    let begun = Instant::now();
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
        bar.set_style(style);
    }
    while done.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let (part, parts) = progress.parts();
        bar.set_length(u64::try_from(parts.max(1)).unwrap_or(u64::MAX));
        bar.set_position(u64::try_from(part).unwrap_or(u64::MAX));
        let histories = progress.histories();
        let seconds = begun.elapsed().as_secs().max(1);
        bar.set_message(format!(
            "{label}: {} histories, {} a second, part {part} of {parts}",
            HumanCount(histories),
            HumanCount(histories / seconds),
        ));
    }
    bar.finish_and_clear();
}
