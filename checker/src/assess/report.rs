//! An assessment in words.

use std::fmt::{self, Write as _};

use super::{
    Assessment, Options, Verdict, assess, common_name, level_name, refutation_sentences,
    weak_sentences,
};
use crate::anomaly::{self, Found};
use crate::models::{Model, ModelSet, rules_out};
use crate::observed::{Edge, Observed, Outcome};
use crate::search::{self, Refutation};
use crate::weak;

/// How many cases of an anomaly are told; [`Assessment::to_json`] has more.
const TOLD: usize = 2;

impl Assessment {
    /// Asks for the strongest model that the history tells enough for: [`assess`] with its defaults.
    #[must_use]
    pub fn of(history: &Observed) -> Self {
        assess(history, &Options::default(), &mut |_| {})
    }

    /// What searches over version orders have refuted, without what a weaker model's refutation says already.
    pub fn refuted(&self) -> impl Iterator<Item = (Model, &Refutation)> {
        let all = || {
            let searched = self.searched.iter();
            searched.filter_map(|(model, verdict)| match verdict {
                search::Verdict::Invalid(refutation) => Some((*model, refutation)),
                search::Verdict::Valid(_) | search::Verdict::Unknown(_) => None,
            })
        };
        let is_weakest = move |model: Model| !all().any(|(other, _)| model.is_stronger(other));
        all().filter(move |(model, _)| is_weakest(*model))
    }

    /// The gravest cycle, with a title, and a sentence for each edge where they are there already: what
    /// [`Drawing::of_cycle`](crate::svg::Drawing::of_cycle) draws.
    #[must_use]
    pub fn gravest_cycle(&self) -> Option<(String, Vec<Edge>, Vec<String>)> {
        let mut all = self.judgement.anomalies.iter();
        if let Some(found) = all.find(|found| !found.cycle.is_empty()) {
            let name = found.name.name().to_owned();
            return Some((name, found.cycle.clone(), found.sentences.clone()));
        }
        self.refuted()
            .find_map(|(model, refutation)| match refutation {
                Refutation::Cycles { cycles, .. } => {
                    let cycle = cycles.first()?.clone();
                    Some((format!("Not {}", model.name()), cycle, Vec::new()))
                }
                Refutation::Reads(_) | Refutation::Exhausted { .. } => None,
            })
    }
}

/// The verdict, what holds and what does not, what was found with a sentence for each edge, and what is not known:
/// for the message of a test that fails, or for people to read. The first line is about the models that were asked for;
/// if there were none, about the levels with sessions.
///
/// ```
/// use checker::assess::{Assessment, report};
/// use checker::observed::ObservedBuilder;
///
/// let mut builder = ObservedBuilder::new("a counter");
/// builder.txn().session(0).read("x", None::<u64>).write("x", 1).committed()?;
/// builder.txn().session(1).read("x", None::<u64>).write("x", 2).committed()?;
/// builder.txn().session(1).read("x", Some(2)).committed()?;
/// let history = builder.finish();
///
/// let report = report(&history, &Assessment::of(&history));
/// assert!(report.starts_with(
///     "INVALID strong-session-serializable\n\
///      a counter: 3 transactions (3 committed, 0 aborted, 0 unknown), 5 operations, 1 keys, 2 sessions\n"
/// ));
/// assert!(report.contains("\n  T0, T1 each read x as nothing, and each then wrote to it.\n"), "{report}");
/// # Ok::<(), checker::observed::ObservedFault>(())
/// ```
///
/// # Panics
///
/// Never: writing to a string does not fail.
#[must_use]
pub fn report(history: &Observed, assessment: &Assessment) -> String {
    let verdict = assessment.verdict();
    let mut text = String::new();
    let mut line = |line: fmt::Arguments<'_>| {
        text.write_fmt(line)
            .and_then(|()| text.write_char('\n'))
            .expect("writing to a string does not fail");
    };
    line(format_args!(
        "{} {}",
        verdict.name().to_uppercase(),
        asked(assessment)
    ));
    line(format_args!("{}", counts(history)));
    let names = |set: ModelSet| set.names().join(", ");
    let (holding, failing) = (assessment.strongest(), assessment.weakest_failing());
    if !holding.is_empty() || !failing.is_empty() {
        line(format_args!(""));
    }
    if !holding.is_empty() {
        line(format_args!(
            "The strongest shown to hold: {}",
            names(holding)
        ));
    }
    if !failing.is_empty() {
        line(format_args!(
            "The weakest that does not: {}",
            names(failing)
        ));
    }
    let open = assessment.open();
    if !open.is_empty() && verdict != Verdict::Valid {
        line(format_args!("Not decided: {}", names(open)));
    }
    grounds(history, assessment, &mut line);
    let reasons = assessment.reasons();
    // A violation stands whatever is not known besides.
    if !reasons.is_empty() && verdict == Verdict::Unknown {
        line(format_args!("\nWhat is not known, and why:"));
        for reason in reasons {
            line(format_args!("- {reason}"));
        }
    }
    text
}

type Line<'a> = dyn FnMut(fmt::Arguments<'_>) + 'a;

fn asked(assessment: &Assessment) -> String {
    let models = assessment.asked.iter().map(Model::name);
    let levels = assessment.asked_levels.iter().map(|it| level_name(*it));
    levels.chain(models).collect::<Vec<_>>().join(", ")
}

fn counts(history: &Observed) -> String {
    let txns = history.txns();
    let of = |outcome| txns.iter().filter(|txn| txn.outcome == outcome).count();
    format!(
        "{}: {} transactions ({} committed, {} aborted, {} unknown), {} operations, {} keys, {} sessions",
        history.source(),
        txns.len(),
        of(Outcome::Committed),
        of(Outcome::Aborted),
        of(Outcome::Unknown),
        history.op_count(),
        history.key_count(),
        history.session_count(),
    )
}

fn grounds(history: &Observed, assessment: &Assessment, line: &mut Line<'_>) {
    let all = &assessment.judgement.anomalies;
    for same in all.chunk_by(|one, other| one.name == other.name) {
        anomaly_lines(same, line);
    }
    for (model, refutation) in assessment.refuted() {
        let cycle = match refutation {
            Refutation::Cycles { cycles, .. } if cycles.len() == 1 => {
                let name = anomaly::witness::name(&cycles[0]).name();
                format!(": {name}{}", known_as(&cycles[0]))
            }
            Refutation::Cycles { .. } | Refutation::Reads(_) | Refutation::Exhausted { .. } => {
                String::new()
            }
        };
        line(format_args!("\nWhy {} does not hold{cycle}", model.name()));
        for sentence in refutation_sentences(history, refutation) {
            line(format_args!("  {sentence}"));
        }
    }
    for (level, verdict) in &assessment.weak {
        if matches!(verdict, weak::Verdict::Invalid(_)) {
            line(format_args!("\nWhy {} does not hold", level_name(*level)));
            for sentence in weak_sentences(history, verdict) {
                line(format_args!("  {sentence}"));
            }
        }
    }
}

fn known_as(cycle: &[Edge]) -> String {
    common_name(cycle).map_or_else(String::new, |name| format!(" ({name})"))
}

/// The cases of one anomaly.
fn anomaly_lines(same: &[Found], line: &mut Line<'_>) {
    let Some(first) = same.first() else {
        return;
    };
    let times = match first.count {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    };
    let weakest = rules_out([first.name]).not.names().join(", ");
    let rules_out = if weakest.is_empty() {
        weakest
    } else {
        format!(": rules out {weakest} and all that is stronger")
    };
    let (name, known_as) = (first.name.name(), known_as(&first.cycle));
    line(format_args!("\n{name}{known_as}{times}{rules_out}"));
    for (place, found) in same.iter().take(TOLD).enumerate() {
        if place > 0 && !found.cycle.is_empty() {
            line(format_args!(""));
        }
        for sentence in &found.sentences {
            line(format_args!("  {sentence}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ObservedBuilder;

    #[test]
    fn levels_that_are_asked_for_alone_decide_the_first_line() {
        let first_line = |has_sessions: bool| {
            let mut builder = ObservedBuilder::new("fractured");
            for number in 0..2 {
                let mut txn = builder.txn();
                if has_sessions {
                    txn = txn.session(number);
                }
                let txn = match number {
                    0 => txn.write("x", 1).write("y", 1),
                    _ => txn.read("x", Some(1)).read("y", None::<u64>),
                };
                txn.committed().unwrap();
            }
            let history = builder.finish();
            let options = Options {
                levels: vec![weak::Level::ReadAtomic],
                ..Options::default()
            };
            let assessment = assess(&history, &options, &mut |_| {});
            let expected = if has_sessions {
                Verdict::Invalid
            } else {
                Verdict::Unknown
            };
            assert_eq!(assessment.verdict(), expected);
            report(&history, &assessment)
                .lines()
                .next()
                .map(str::to_owned)
        };
        assert_eq!(first_line(true).unwrap(), "INVALID session-read-atomic");
        // Nobody knows the sessions.
        assert!(first_line(false).unwrap().starts_with("UNKNOWN"));
    }
}
