//! What is said about a history of clients: in text, as JSON, and in pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::anomaly::{self, Reason};
use checker::assess::{self, Assessment, Prefix, Verdict};
use checker::models::{Model, ModelSet};
use checker::observed::{Edge, Observed, Op, Outcome, TxnIndex};
use checker::search::{self, Refutation};
use checker::svg::Drawing;
use checker::weak;
use serde_json::json;

use crate::output::{
    Failure, JSON_FORMAT, Paint, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, note, push, retract,
    write_to,
};

/// The answer to a question about one history.
pub(crate) struct Answer<'a> {
    pub(crate) history: &'a Observed,
    pub(crate) assessment: &'a Assessment,
    /// Values that nobody wrote are taken for initial ones.
    pub(crate) as_elle: bool,
    pub(crate) prefix: Option<Prefix>,
    /// What `line` counts in the file.
    pub(crate) place_word: &'static str,
    /// Reading, judging.
    pub(crate) times: [Duration; 2],
}

impl Answer<'_> {
    pub(crate) fn status(&self) -> u8 {
        match self.assessment.verdict() {
            Verdict::Valid => STATUS_VALID,
            Verdict::Invalid => STATUS_INVALID,
            Verdict::Unknown => STATUS_UNKNOWN,
        }
    }

    fn asked(&self) -> String {
        let levels = self
            .assessment
            .asked_levels
            .iter()
            .map(|level| assess::level_name(*level));
        let models = self.assessment.asked.iter().map(Model::name);
        levels.chain(models).collect::<Vec<_>>().join(", ")
    }

    fn counts(&self) -> String {
        let txns = self.history.txns();
        let of = |outcome| txns.iter().filter(|txn| txn.outcome == outcome).count();
        let counted = |count: usize, what: &str| {
            format!("{count} {what}{}", if count == 1 { "" } else { "s" })
        };
        format!(
            "{}: {} ({} committed, {} aborted, {} unknown), {}, {}, {}; read in {:.3} s, judged in {:.3} s",
            self.history.source(),
            counted(txns.len(), "transaction"),
            of(Outcome::Committed),
            of(Outcome::Aborted),
            of(Outcome::Unknown),
            counted(self.history.op_count(), "operation"),
            counted(self.history.key_count(), "key"),
            counted(self.history.session_count() as usize, "session"),
            self.times[0].as_secs_f64(),
            self.times[1].as_secs_f64()
        )
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let txns = self.history.txns();
        json!({
            "format": JSON_FORMAT,
            "kind": "observed",
            "source": self.history.source(),
            "verdict": self.assessment.verdict().name(),
            "asked": self.asked(),
            "transactions": txns.len(),
            "operations": self.history.op_count(),
            "keys": self.history.key_count(),
            "sessions": self.history.session_count(),
            "seconds": { "read": self.times[0].as_secs_f64(), "judge": self.times[1].as_secs_f64() },
            "longest_valid_prefix": self.prefix.map(|prefix| prefix.valid),
            "shortest_invalid_prefix": self.prefix.map(|prefix| prefix.invalid),
            "reasons": self.reasons(),
            "lines": self.lines_json(),
            "assessment": self.assessment.to_json(self.history),
        })
    }

    pub(crate) fn text(&self, paint: Paint) -> String {
        let verdict = match self.assessment.verdict() {
            Verdict::Valid => paint.valid(),
            Verdict::Invalid => paint.invalid(),
            Verdict::Unknown => paint.unknown(),
        };
        let mut text = String::new();
        push(
            &mut text,
            format_args!("{verdict} {}\n{}\n\n", self.asked(), self.counts()),
        );
        self.model_lines(&mut text);
        self.session_lines(&mut text);
        if let Some(Prefix { valid, invalid }) = self.prefix {
            let all = self.history.txns().len();
            push(
                &mut text,
                format_args!("The first {valid} of {all} transactions are valid.\n"),
            );
            if valid + 1 < invalid {
                push(
                    &mut text,
                    format_args!("The first {invalid} are not; what is between is not known.\n"),
                );
            }
        }
        self.grounds(&mut text);
        let reasons = self.reasons();
        if !reasons.is_empty() && self.assessment.verdict() != Verdict::Valid {
            push(&mut text, format_args!("\nWhat is not known, and why:\n"));
            for reason in reasons {
                push(&mut text, format_args!("- {reason}\n"));
            }
        }
        text
    }

    fn model_lines(&self, text: &mut String) {
        let names = |set: ModelSet| set.names().join(", ");
        let strongest = self.assessment.strongest();
        let failing = self.assessment.weakest_failing();
        if strongest.is_empty() {
            text.push_str("Nothing is shown to hold.\n");
        } else {
            push(
                text,
                format_args!(
                    "The strongest that is shown to hold: {}\n",
                    names(strongest)
                ),
            );
        }
        if !failing.is_empty() {
            push(
                text,
                format_args!("The weakest that does not: {}\n", names(failing)),
            );
        }
        let open = self.assessment.open();
        let (sessions, realtime) = self.tells();
        let told = |model: &Model| {
            let implied = model.implied();
            (realtime || !implied.contains(Model::StrongReadUncommitted))
                && (sessions || !implied.contains(Model::StrongSessionReadUncommitted))
        };
        let undecided: ModelSet = open.iter().filter(told).collect();
        if !undecided.is_empty() {
            push(text, format_args!("Not decided: {}\n", names(undecided)));
        }
        if undecided != open {
            let what = if sessions { "real time" } else { "sessions" };
            let models = if sessions { "strict" } else { "strong" };
            push(
                text,
                format_args!("Not judged: {models} models, for want of {what} in the history.\n"),
            );
        }
    }

    /// Whether every transaction has a session, and an interval in real time.
    fn tells(&self) -> (bool, bool) {
        let txns = || {
            let all = self.history.txns().iter();
            all.filter(|txn| txn.outcome == Outcome::Committed)
        };
        (
            txns().all(|txn| txn.session.is_some()),
            txns().all(|txn| txn.interval.is_some()),
        )
    }

    /// Why the answer is not complete.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.assessment.reasons();
        if self.assessment.verdict() == Verdict::Invalid {
            // A violation was tested for, and found.
            let nothing = Reason::EmptyGraph.to_string();
            reasons.retain(|reason| *reason != nothing);
        }
        for level in &self.assessment.asked_levels {
            let name = assess::level_name(*level);
            match self.assessment.level(*level) {
                Some(weak::Verdict::Unknown(doubt)) => reasons.push(format!("{name}: {doubt}.")),
                Some(weak::Verdict::Valid(_) | weak::Verdict::Invalid(_)) => {}
                None => reasons.extend(self.why_not_judged(*level)),
            }
        }
        reasons
    }

    /// Why a level with sessions was not judged, unless that is said anyway.
    fn why_not_judged(&self, level: weak::Level) -> Option<String> {
        let name = assess::level_name(level);
        let is_list = |op: &Op| matches!(op, Op::ReadList { .. } | Op::Append { .. });
        let mut txns = self.history.indexes();
        if txns.any(|txn| self.history.ops(txn).iter().any(is_list)) {
            return Some(format!(
                "{name} is defined for registers, and this history has lists."
            ));
        }
        if self.as_elle {
            return Some(format!("{name} is not judged with --as-elle."));
        }
        let sessions = self.tells().0;
        (!sessions).then(|| format!("{name} needs the session of every transaction."))
    }

    fn session_lines(&self, text: &mut String) {
        let of = |wanted: &str| -> Vec<weak::Level> {
            let all = self.assessment.weak.iter();
            all.filter(|(_, verdict)| assess::weak_word(verdict) == wanted)
                .map(|(level, _)| *level)
                .collect()
        };
        let (hold, fail) = (of("valid"), of("invalid"));
        let strongest = |level: &&weak::Level| !hold.iter().any(|it| implies(*it, **level));
        let weakest = |level: &&weak::Level| !fail.iter().any(|it| implies(**level, *it));
        let name = |level: &weak::Level| assess::level_name(*level);
        for (label, names) in [
            (
                "Of the levels with sessions hold",
                hold.iter().filter(strongest).map(name).collect::<Vec<_>>(),
            ),
            (
                "Of the levels with sessions do not hold",
                fail.iter().filter(weakest).map(name).collect(),
            ),
        ] {
            if !names.is_empty() {
                push(text, format_args!("{label}: {}\n", names.join(", ")));
            }
        }
    }

    fn grounds(&self, text: &mut String) {
        let all = &self.assessment.judgement.anomalies;
        let mut told = Vec::new();
        for same in all.chunk_by(|one, other| one.name == other.name) {
            self.anomaly_lines(same, &mut told, text);
        }
        for (model, refutation) in self.assessment.refuted() {
            let cycle = match refutation {
                Refutation::Cycles { cycles, .. } if cycles.len() == 1 => {
                    let known_as = assess::common_name(&cycles[0]);
                    let known_as = known_as.map_or_else(String::new, |name| format!(" ({name})"));
                    format!(": {}{known_as}", anomaly::witness::name(&cycles[0]).name())
                }
                Refutation::Cycles { .. } | Refutation::Reads(_) | Refutation::Exhausted { .. } => {
                    String::new()
                }
            };
            push(
                text,
                format_args!("\nWhy {} does not hold{cycle}\n", model.name()),
            );
            for sentence in assess::refutation_sentences(self.history, refutation) {
                push(text, format_args!("  {sentence}\n"));
            }
            self.place_line(refutation_txns(refutation), text);
        }
        for (level, verdict) in &self.assessment.weak {
            if matches!(verdict, weak::Verdict::Invalid(_))
                && (self.assessment.asked_levels.contains(level)
                    || self.assessment.asked.is_empty())
            {
                push(
                    text,
                    format_args!("\nWhy {} does not hold\n", assess::level_name(*level)),
                );
                for sentence in assess::weak_sentences(self.history, verdict) {
                    push(text, format_args!("  {sentence}\n"));
                }
                self.place_line(weak_txns(verdict), text);
            }
        }
    }

    pub(crate) fn draw(&self, svg: Option<&PathBuf>, dot: Option<&PathBuf>) -> Result<(), Failure> {
        let Some((name, cycle, sentences)) = self.assessment.gravest_cycle() else {
            return not_drawn("there is no cycle", svg, dot);
        };
        let source = Path::new(self.history.source());
        let source = source.file_name().unwrap_or(source.as_os_str());
        let title = format!("{name} in {}", source.to_string_lossy());
        let drawing = Drawing::of_cycle(self.history, &title, &cycle, &sentences);
        if let Some(path) = svg {
            write_to(path, &drawing.to_svg())?;
        }
        if let Some(path) = dot {
            write_to(path, &drawing.to_dot())?;
        }
        Ok(())
    }

    pub(crate) fn certify(&self, path: &Path) -> Result<(), Failure> {
        let Some((model, certificate)) = self.assessment.certificate() else {
            let gone = if retract(path, CERTIFICATE)? {
                format!("; {}, of an earlier run, was removed", path.display())
            } else {
                String::new()
            };
            note(&format!(
                "no order was written: none was found, or what was asked is shown without one{gone}"
            ));
            return Ok(());
        };
        let json = json!({
            "co-check": "certificate",
            "version": 1,
            "model": model.name(),
            "transactions": self.history.txns().len(),
            "order": assess::certificate_json(&certificate),
        });
        write_to(path, &format!("{json}\n"))
    }

    /// The cases of one anomaly. `told` are the transactions of those before, and what they are called.
    fn anomaly_lines(
        &self,
        same: &[anomaly::Found],
        told: &mut Vec<(Vec<TxnIndex>, &'static str)>,
        text: &mut String,
    ) {
        let Some(first) = same.first() else {
            return;
        };
        let name = first.name.name();
        let times = if first.count > 1 {
            format!(", {} times", first.count)
        } else {
            String::new()
        };
        let known_as = assess::common_name(&first.cycle);
        let known_as = known_as.map_or_else(String::new, |name| format!(" ({name})"));
        push(text, format_args!("\n{name}{known_as}{times}"));
        let weakest = checker::models::rules_out([first.name]).not;
        if !weakest.is_empty() {
            push(
                text,
                format_args!(
                    ": rules out {} and all that is stronger",
                    weakest.names().join(", ")
                ),
            );
        }
        text.push('\n');
        for (place, found) in same.iter().take(TOLD).enumerate() {
            if place > 0 && !found.cycle.is_empty() {
                text.push('\n');
            }
            for sentence in &found.sentences {
                push(text, format_args!("  {sentence}\n"));
            }
            let mut txns = found.txns.clone();
            txns.sort_unstable();
            txns.dedup();
            if let Some((_, before)) = told.iter().find(|(others, _)| *others == txns) {
                push(
                    text,
                    format_args!("  These are the transactions of {before} above.\n"),
                );
            } else {
                self.place_line(txns.clone(), text);
                told.push((txns, name));
            }
        }
    }

    /// Where transactions are in the file.
    fn place_line(&self, mut txns: Vec<TxnIndex>, text: &mut String) {
        txns.sort_unstable();
        txns.dedup();
        let more = txns.len().saturating_sub(PLACED);
        let places = txns.iter().take(PLACED).filter_map(|&txn| {
            let line = self.history.txn(txn).line;
            (line > 0).then(|| format!("T{} in {} {line}", txn.0, self.place_word))
        });
        let places: Vec<String> = places.collect();
        if !places.is_empty() {
            let more = if more > 0 {
                format!(", and {more} more")
            } else {
                String::new()
            };
            push(
                text,
                format_args!("  In the file: {}{more}.\n", places.join(", ")),
            );
        }
    }

    /// The lines of all transactions that grounds are about.
    fn lines_json(&self) -> serde_json::Value {
        let judgement = &self.assessment.judgement;
        let found = judgement.anomalies.iter().chain(&judgement.others);
        let searched = self.assessment.searched.iter();
        let refuted = searched.filter_map(|(_, verdict)| match verdict {
            search::Verdict::Invalid(refutation) => Some(refutation_txns(refutation)),
            search::Verdict::Valid(_) | search::Verdict::Unknown(_) => None,
        });
        let weak = self.assessment.weak.iter();
        let weak = weak.map(|(_, verdict)| weak_txns(verdict));
        let txns = found.flat_map(|found| found.txns.clone());
        let txns = txns.chain(refuted.flatten()).chain(weak.flatten());
        let lines: BTreeMap<u32, u32> = txns
            .map(|txn| (txn.0, self.history.txn(txn).line))
            .collect();
        let lines = lines
            .into_iter()
            .map(|(txn, line)| (txn.to_string(), line.into()));
        serde_json::Value::Object(lines.collect())
    }
}

/// How a certificate begins.
const CERTIFICATE: &str = "{\"co-check\":\"certificate\"";

/// Says that nothing was drawn; pictures of an earlier run do not stay.
pub(crate) fn not_drawn(
    why: &str,
    svg: Option<&PathBuf>,
    dot: Option<&PathBuf>,
) -> Result<(), Failure> {
    let mut gone = String::new();
    for (path, begins) in [(svg, "<svg "), (dot, "digraph ")] {
        let Some(path) = path else { continue };
        if retract(path, begins)? {
            push(
                &mut gone,
                format_args!("; {}, of an earlier run, was removed", path.display()),
            );
        }
    }
    note(&format!("nothing was drawn: {why}{gone}"));
    Ok(())
}

/// Whether one level with sessions implies another.
fn implies(one: weak::Level, other: weak::Level) -> bool {
    use weak::Level::{
        Causal, MonotonicReads, MonotonicWrites, Pl2, ReadAtomic, ReadCommitted, ReadUncommitted,
        ReadYourWrites, WritesFollowReads,
    };
    let place = |level| match level {
        ReadUncommitted => Some(0),
        Pl2 => Some(1),
        ReadCommitted => Some(2),
        ReadAtomic => Some(3),
        Causal => Some(4),
        // The guarantees of sessions are next to these.
        ReadYourWrites | MonotonicReads | MonotonicWrites | WritesFollowReads => None,
    };
    match (place(one), place(other)) {
        (Some(one), Some(other)) => one > other,
        // What is visible to causal consistency includes what any of them asks for.
        (Some(4), None) => true,
        _ => false,
    }
}

fn refutation_txns(refutation: &Refutation) -> Vec<TxnIndex> {
    let ends = |edge: &Edge| [edge.from, edge.to];
    match refutation {
        Refutation::Reads(faults) => faults.iter().map(|fault| fault.txn).collect(),
        Refutation::Cycles { forced, cycles } => {
            let proofs = forced.iter().flat_map(|forced| &forced.otherwise);
            let edges = proofs.chain(cycles.iter().flatten());
            edges.flat_map(ends).collect()
        }
        Refutation::Exhausted { .. } => Vec::new(),
    }
}

fn weak_txns(verdict: &weak::Verdict) -> Vec<TxnIndex> {
    match verdict {
        weak::Verdict::Invalid(weak::Witness::Reads(faults)) => {
            faults.iter().map(|fault| fault.txn).collect()
        }
        weak::Verdict::Invalid(weak::Witness::Cycle(steps)) => {
            let of = |step: &weak::Step| {
                let reader = step.because.as_ref().map(|because| because.reader);
                [Some(step.edge.from), Some(step.edge.to), reader]
            };
            steps.iter().flat_map(of).flatten().collect()
        }
        weak::Verdict::Valid(_) | weak::Verdict::Unknown(_) => Vec::new(),
    }
}

/// How many cases of an anomaly are told; `--json` has more.
const TOLD: usize = 2;

/// Of how many transactions it is said where they are; `--json` has all.
const PLACED: usize = 12;
