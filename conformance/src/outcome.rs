//! What a case hands back.

use crate::judge::Judgement;
use crate::log::Log;
use crate::report::{Finding, Verdict};

/// What a case found, and what the checker counted.
pub(crate) struct CaseOutcome {
    log: Log,
    committed: usize,
    aborted: usize,
    conflicts: usize,
}

impl CaseOutcome {
    pub(crate) fn new(mut log: Log, judgement: Judgement) -> Self {
        for finding in judgement.findings {
            log.add(finding);
        }
        Self {
            log,
            committed: judgement.committed,
            aborted: judgement.aborted,
            conflicts: judgement.conflicts,
        }
    }

    /// Joins the outcome of another part of the same case.
    pub(crate) fn join(&mut self, other: Self) {
        for finding in other.log.findings {
            self.log.add(finding);
        }
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.conflicts += other.conflicts;
    }

    pub(crate) fn verdict(mut self) -> Verdict {
        if self.log.findings.is_empty() {
            return Verdict::Passed {
                committed: self.committed,
                aborted: self.aborted,
                conflicts: self.conflicts,
            };
        }
        Verdict::Failed {
            transcript: self.log.steps(),
            total: self.log.total,
            findings: self.log.findings,
        }
    }
}

/// The verdict when a case could not run to its end.
pub(crate) fn broken_off(finding: Finding) -> Verdict {
    Verdict::Failed {
        findings: vec![finding],
        total: 1,
        transcript: Vec::new(),
    }
}
