//! The report: for a person, and for a program.

mod json;
mod paint;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub(crate) use json::document;
pub(crate) use paint::Paint;
pub(crate) use text::{comparison, heading, run};

use crate::args::Ordering;
use crate::run::{Finding, RunReport};

/// How the demonstration ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conclusion {
    /// Every run with ordering on was clean.
    Clean,
    /// A run with ordering on showed an anomaly.
    Anomaly,
    /// A history does not decide whether there was one.
    Undecided,
}

impl Conclusion {
    /// What the runs amount to: only those with ordering on can fail.
    pub(crate) fn of(runs: &[RunReport]) -> Self {
        let findings: Vec<Finding> = runs
            .iter()
            .filter(|run| run.ordering == Ordering::On)
            .map(RunReport::finding)
            .collect();
        if findings.contains(&Finding::Anomalous) {
            Self::Anomaly
        } else if findings.contains(&Finding::Undecided) {
            Self::Undecided
        } else {
            Self::Clean
        }
    }

    /// The exit status.
    pub(crate) const fn exit_status(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Anomaly => 1,
            Self::Undecided => 2,
        }
    }
}

/// The run of each kind, if it took place.
fn both(runs: &[RunReport]) -> [Option<&RunReport>; 2] {
    [Ordering::Off, Ordering::On].map(|ordering| runs.iter().find(|run| run.ordering == ordering))
}
