//! What is measured: how many in a second, and how long each took.

use std::time::{Duration, Instant};

/// How much work is kept on its way, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// So many at a time.
    pub(crate) in_flight: usize,
    /// What comes in the first part of the time does not count.
    pub(crate) warm_up: Duration,
    /// What comes in this time does.
    pub(crate) span: Duration,
    /// How long each caller rests between two transactions.
    pub(crate) pause: Duration,
}

impl Load {
    pub(crate) fn begin(self) -> Figures {
        let start = Instant::now() + self.warm_up;
        Figures {
            start,
            end: start + self.span,
            spans: Vec::new(),
        }
    }
}

/// What came of a load.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    start: Instant,
    end: Instant,
    spans: Vec<Duration>,
}

impl Figures {
    /// One is done, which took so long.
    pub(crate) fn took(&mut self, span: Duration) {
        if Instant::now() >= self.start {
            self.spans.push(span);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// What another client of the same load has done.
    pub(crate) fn add(&mut self, other: Self) {
        self.spans.extend(other.spans);
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.spans.len() as f64 / (self.end - self.start).as_secs_f64()
    }

    /// A percentile.
    pub(crate) fn at(&mut self, percent: usize) -> Duration {
        percentile(&mut self.spans, percent)
    }
}

/// A percentile of these.
pub(crate) fn percentile(spans: &mut [Duration], percent: usize) -> Duration {
    spans.sort_unstable();
    let place = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
    spans.get(place).copied().unwrap_or_default()
}
