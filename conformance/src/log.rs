//! What a case writes down while it runs: its last steps, and what it found wrong.

use std::collections::VecDeque;

use crate::report::Finding;

/// How many steps and how many findings a report shows.
const STEPS_SHOWN: usize = 40;
const FINDINGS_SHOWN: usize = 6;

/// Steps and findings of one case.
#[derive(Default)]
pub(crate) struct Log {
    steps: VecDeque<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) total: usize,
}

impl Log {
    pub(crate) fn step(&mut self, line: String) {
        // The steps up to the first finding explain it; later ones would push them out.
        if self.total > 0 {
            return;
        }
        if self.steps.len() == STEPS_SHOWN {
            self.steps.pop_front();
        }
        self.steps.push_back(line);
    }

    pub(crate) fn find(&mut self, what: String, advice: &'static str) {
        self.add(Finding { what, advice });
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.findings.len() < FINDINGS_SHOWN && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A check with a sentence for when it fails.
    pub(crate) fn check(&mut self, holds: bool, what: &str, advice: &'static str) {
        if !holds {
            self.find(what.to_owned(), advice);
        }
    }

    pub(crate) fn steps(&mut self) -> Vec<String> {
        std::mem::take(&mut self.steps).into()
    }
}
