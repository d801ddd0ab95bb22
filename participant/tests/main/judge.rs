//! The checker as the judge of a site's history.

use checker::parse::read_history;
use checker::{Level, Report, Verdict, judge};

fn report(case: &str, history: &str, level: Level) -> Report {
    let site = read_history(history.as_bytes(), "site")
        .unwrap_or_else(|error| panic!("{case}: {error}\n{history}"));
    judge(&[site], level)
}

/// Panics unless the history is valid at `level`.
pub(crate) fn assert_valid(case: &str, history: &str, level: Level) {
    let report = report(case, history, level);
    match &report.verdict {
        Verdict::Valid { .. } => {}
        // A run in which everybody aborted.
        Verdict::Unknown { .. } if report.statistics.committed == 0 => {}
        verdict @ (Verdict::Invalid { .. } | Verdict::Unknown { .. }) => {
            let steps = report.cycle().map(|cycle| {
                let steps = cycle.steps.iter().map(ToString::to_string);
                steps.collect::<Vec<_>>().join("\n")
            });
            let why = steps.unwrap_or_else(|| format!("{verdict:?}"));
            panic!("{case} at {level:?}:\n{why}\n{history}");
        }
    }
}

/// Whether the history is valid at `level`.
pub(crate) fn is_valid(history: &str, level: Level) -> bool {
    matches!(report("", history, level).verdict, Verdict::Valid { .. })
}
