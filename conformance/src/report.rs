//! What a run found: a verdict for every case, as text and as JSON.

use std::fmt;

use serde::Serialize;

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The engine's name, as the options gave it.
    pub engine: String,
    /// The seed of the random schedules.
    pub seed: u64,
    /// The cases, in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// Its short name, unique: `S3`, `lost-update`.
    pub id: &'static str,
    /// What it checks, as a sentence.
    pub title: &'static str,
    /// What came out.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came out of a case.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// All as it must be.
    Passed {
        /// Transactions that committed.
        committed: usize,
        /// Transactions that aborted.
        aborted: usize,
        /// Conflicts between committed transactions that the checker found in order.
        conflicts: usize,
    },
    /// Something is wrong with the engine.
    Failed {
        /// What; never empty.
        findings: Vec<Finding>,
        /// How many there were; `findings` holds the first few.
        total: usize,
        /// The last steps before the end of the case.
        transcript: Vec<String>,
    },
    /// It does not apply.
    Skipped {
        /// Why.
        reason: &'static str,
    },
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was seen.
    pub what: String,
    /// What to look at next in the engine.
    pub advice: &'static str,
}

impl Report {
    /// Whether no case failed and at least one passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        let any = self.cases.iter().any(|case| case.verdict.is_pass());
        any && self.failed().next().is_none()
    }

    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.verdict.is_failure())
    }

    /// The report as a JSON value.
    ///
    /// # Panics
    /// Never: every part of a report has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("a report has string keys only");
        if let Some(object) = value.as_object_mut() {
            object.insert("passed".to_owned(), self.passed().into());
        }
        value
    }

    /// The report as text with colours, for a terminal. Whether to colour is the caller's to decide
    /// (`NO_COLOR`, whether the output is a terminal); [`fmt::Display`] of the report has none.
    #[must_use]
    pub const fn coloured(&self) -> Coloured<'_> {
        Coloured(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, paint: bool) -> fmt::Result {
        for case in &self.cases {
            case.write(f, paint)?;
        }
        let count = |wanted: fn(&Verdict) -> bool| {
            let cases = self.cases.iter();
            cases.filter(|case| wanted(&case.verdict)).count()
        };
        let (passed, failed) = (count(Verdict::is_pass), count(Verdict::is_failure));
        let skipped = self.cases.len() - passed - failed;
        write!(
            f,
            "{}: {passed} passed, {failed} failed, {skipped} skipped (seed {})",
            self.engine, self.seed
        )
    }
}

impl Verdict {
    /// Whether the case passed.
    #[must_use]
    pub const fn is_pass(&self) -> bool {
        matches!(self, Self::Passed { .. })
    }

    /// Whether the case failed.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl CaseReport {
    fn write(&self, f: &mut fmt::Formatter<'_>, paint: bool) -> fmt::Result {
        let (word, colour) = match &self.verdict {
            Verdict::Passed { .. } => ("pass", "32"),
            Verdict::Failed { .. } => ("FAIL", "31"),
            Verdict::Skipped { .. } => ("skip", "33"),
        };
        if paint {
            write!(f, "\x1b[{colour}m{word}\x1b[0m")?;
        } else {
            f.write_str(word)?;
        }
        write!(f, "  {:<20} {}", self.id, self.title)?;
        match &self.verdict {
            Verdict::Passed {
                committed,
                aborted,
                conflicts,
            } => writeln!(
                f,
                " ({committed} committed, {aborted} aborted, {conflicts} conflicts in order)"
            ),
            Verdict::Skipped { reason } => writeln!(f, " (skipped: {reason})"),
            Verdict::Failed {
                findings,
                total,
                transcript,
            } => {
                writeln!(f)?;
                for finding in findings {
                    writeln!(f, "      {}", finding.what.replace('\n', "\n      "))?;
                    writeln!(f, "      next: {}", finding.advice)?;
                }
                if findings.len() < *total {
                    writeln!(f, "      and {} more", total - findings.len())?;
                }
                for line in transcript {
                    writeln!(f, "        | {line}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// A [`Report`] that shows itself in colours.
#[derive(Clone, Copy, Debug)]
pub struct Coloured<'a>(&'a Report);

impl fmt::Display for Coloured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let failed = Verdict::Failed {
            findings: vec![Finding {
                what: "T1 is stuck".to_owned(),
                advice: "report the wait",
            }],
            total: 2,
            transcript: vec!["r1(x) waits".to_owned()],
        };
        Report {
            engine: "shaky".to_owned(),
            seed: 7,
            cases: vec![CaseReport {
                id: "S1",
                title: "a schedule",
                verdict: failed,
            }],
        }
    }

    #[test]
    fn text_says_what_to_do_next_and_has_no_colour_unless_asked() {
        let text = report().to_string();
        for part in ["FAIL", "S1", "T1 is stuck", "next: report the wait"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("and 1 more") && text.contains("seed 7"));
        assert!(!text.contains('\x1b'));
        assert!(report().coloured().to_string().contains("\x1b[31mFAIL"));
    }

    #[test]
    fn json_has_the_verdict_of_each_case_and_of_all() {
        let json = report().to_json();
        assert_eq!(json["passed"], false);
        assert_eq!(json["cases"][0]["verdict"], "failed");
        assert_eq!(json["cases"][0]["findings"][0]["what"], "T1 is stuck");
    }

    #[test]
    fn a_report_without_a_passed_case_has_not_passed() {
        let mut empty = report();
        empty.cases.clear();
        assert!(!empty.passed());
    }
}
