//! A bar that shows how far it is: on a terminal only, and without colours if those are not wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar; gone when it is dropped. Hidden where standard error is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    ticking: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Progress {
    /// Counts things.
    #[must_use]
    pub fn count(what: &str, length: u64) -> Self {
        let template = "{bar:40} {pos}/{len} {msg}, {per_sec}, {eta} left";
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self { bar, ticking: None }
    }

    /// Shows that time passes.
    #[must_use]
    pub fn seconds(what: &str, time: Duration) -> Self {
        let mut progress = Self::count(what, time.as_secs());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} s, {msg}") {
            progress.bar.set_style(style);
        }
        if progress.bar.is_hidden() {
            return progress;
        }
        let (bar, end) = (progress.bar.clone(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&end);
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                bar.set_position(started.elapsed().as_secs());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        progress.ticking = Some((end, thread));
        progress
    }

    /// One more.
    pub fn one(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.ticking.take() {
            end.store(true, Ordering::Relaxed);
            // It does nothing that could panic.
            drop(thread.join());
        }
        self.bar.finish_and_clear();
    }
}
