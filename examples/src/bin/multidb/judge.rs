//! The checker's judgement of what the sites recorded: all sites together, and each alone.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use checker::{Anomaly, Case, Level, Report, SiteHistory, Statistics, Verdict};

use crate::site::Site;

/// A verdict without its proofs, as the demonstration reports it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    /// Anomalies or reasons for doubt, in words; the first few.
    pub(crate) grounds: Vec<String>,
    /// The conflicts of a minimal cycle, one sentence each.
    pub(crate) cycle: Vec<String>,
    /// How many transactions lie on some cycle.
    pub(crate) entangled: usize,
}

/// What the checker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Valid,
    Invalid,
    Unknown,
}

/// All judgements of one run.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) serializability: Judged,
    pub(crate) commitment_ordering: Judged,
    /// Each site judged as if there were no other.
    pub(crate) alone: Vec<(Site, Judged)>,
    pub(crate) statistics: Statistics,
    pub(crate) took: Duration,
}

/// Reads the histories and judges them. It computes for a while: not for an async thread.
///
/// # Errors
/// When a history cannot be read or is no history.
pub(crate) fn judge(files: &[(Site, PathBuf)]) -> anyhow::Result<Judgement> {
    let started = Instant::now();
    let histories = files
        .iter()
        .map(|(site, file)| {
            let opened = File::open(file).with_context(|| {
                format!("cannot open the history of site {site}: {}", file.display())
            })?;
            let name = file.display().to_string();
            let history = checker::parse::read_history(BufReader::new(opened), &name);
            history.with_context(|| format!("the history of site {site} cannot be read"))
        })
        .collect::<anyhow::Result<Vec<SiteHistory>>>()?;
    let together = Case::new(&histories);
    let alone = files
        .iter()
        .zip(&histories)
        .map(|((site, _), history)| {
            let case = Case::new(std::slice::from_ref(history));
            (*site, summary(&case.judge(Level::Serializability)))
        })
        .collect();
    Ok(Judgement {
        serializability: summary(&together.judge(Level::Serializability)),
        commitment_ordering: summary(&together.judge(Level::CommitmentOrdering)),
        alone,
        statistics: together.statistics(),
        took: started.elapsed(),
    })
}

fn summary(report: &Report) -> Judged {
    let (outcome, grounds) = match &report.verdict {
        Verdict::Valid { .. } => (Outcome::Valid, Vec::new()),
        Verdict::Invalid { anomalies, .. } => (
            Outcome::Invalid,
            anomalies.iter().map(Anomaly::to_string).collect(),
        ),
        Verdict::Unknown { reasons, .. } => (
            Outcome::Unknown,
            reasons.iter().map(ToString::to_string).collect(),
        ),
    };
    let cycle = report.cycle();
    Judged {
        outcome,
        grounds,
        cycle: cycle.map_or_else(Vec::new, |cycle| {
            cycle.steps.iter().map(ToString::to_string).collect()
        }),
        entangled: cycle.map_or(0, |cycle| cycle.entangled),
    }
}

impl Outcome {
    /// For JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(histories: &[(Site, &str)]) -> anyhow::Result<Judgement> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (site, text) in histories {
            let file = folder.path().join(format!("{site}.hist"));
            std::fs::write(&file, text).unwrap();
            files.push((*site, file));
        }
        judge(&files)
    }

    #[test]
    fn write_skew_over_two_sites_is_serializable_at_each_and_not_together() {
        let judgement = judged(&[
            (
                Site::A,
                "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n",
            ),
            (
                Site::B,
                "co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n",
            ),
        ]);
        let judgement = judgement.unwrap();
        assert_eq!(judgement.serializability.outcome, Outcome::Invalid);
        assert_eq!(judgement.commitment_ordering.outcome, Outcome::Invalid);
        assert_eq!(judgement.serializability.cycle.len(), 2);
        assert_eq!(judgement.serializability.entangled, 2);
        assert!(
            judgement
                .alone
                .iter()
                .all(|(_, judged)| judged.outcome == Outcome::Valid)
        );
        assert_eq!(judgement.statistics.committed, 2);
    }

    #[test]
    fn a_history_that_was_cut_short_decides_nothing() {
        let judgement = judged(&[(Site::A, "co-history 1 A\nc G1 5 1 w:x\n")]).unwrap();
        assert_eq!(judgement.serializability.outcome, Outcome::Unknown);
        assert_eq!(judgement.serializability.grounds.len(), 1);
    }

    #[test]
    fn what_is_no_history_is_refused_by_name() {
        let error = judged(&[(Site::C, "nonsense\n")]).unwrap_err();
        assert!(format!("{error:#}").contains("site C"), "{error:#}");
    }
}
