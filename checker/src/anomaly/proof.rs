//! From what was found to a verdict, and what it lacks.

use crate::models::{Anomaly, AnomalySet, Model, ModelSet, rules_out};
use crate::observed::Observed;

use super::components::Components;
use super::cycles::Cycles;
use super::findings::Findings;
use super::graph::{Class, Graph};
use super::judgement::{Found, Judgement, Reason, Verdict};
use super::options::Options;
use super::{Times, asked_not};

/// Which order of time a model respects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    None,
    Session,
    Real,
}

impl Time {
    fn of(model: Model) -> Self {
        let name = model.name();
        if name.starts_with("strong-session-") {
            Self::Session
        } else if name.starts_with("strong-") || name.starts_with("strict-") {
            Self::Real
        } else {
            Self::None
        }
    }
}

/// Whether a model is a form of snapshot isolation, and not more.
fn is_snapshot(model: Model) -> bool {
    let implied = model.implied();
    implied.contains(Model::SnapshotIsolation) && !implied.contains(Model::Serializable)
}

/// How many keys have writes that nobody read whose order matters to snapshot isolation: without orders of time, with
/// sessions, and in real time.
///
/// Two such writes in different components take the order of the components, which adds no cycle; two in one component
/// are undecided.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Undecided {
    keys: [u64; 3],
}

impl Undecided {
    /// Counts them.
    pub(super) fn of(graph: &Graph, cycles: &Cycles, findings: &Findings) -> Self {
        let mut undecided = Self::default();
        if cycles.forbidden.is_empty() || findings.contested.is_empty() {
            return undecided;
        }
        let mut classes = Class::WW.or(Class::WR).or(Class::RW);
        for (time, keys) in [Class(0), Class::SESSION, Class::REALTIME]
            .into_iter()
            .zip(&mut undecided.keys)
        {
            classes = classes.or(time);
            let components = Components::of(&graph.only(classes));
            let mut together = Vec::new();
            for writers in findings.contested.chunk_by(|one, other| one.0 == other.0) {
                together.clear();
                together.extend(
                    writers
                        .iter()
                        .filter_map(|&(_, txn)| Some((components.component(txn)?, txn))),
                );
                together.sort_unstable();
                together.dedup();
                *keys += u64::from(together.windows(2).any(|pair| pair[0].0 == pair[1].0));
            }
        }
        undecided
    }

    /// Whether none matters.
    const fn none(self, time: Time) -> bool {
        self.keys[time as usize] == 0
    }
}

/// What the verdict depends on.
pub(super) struct Case<'a> {
    pub(super) history: &'a Observed,
    pub(super) options: &'a Options,
    pub(super) findings: &'a Findings,
    pub(super) times: Times,
    pub(super) undecided: Undecided,
    /// Nothing orders any two transactions.
    pub(super) no_links: bool,
    /// Nothing but time does.
    pub(super) tests_nothing: bool,
    pub(super) gave_up: bool,
    pub(super) has_registers: bool,
}

/// The models that acyclicity tests are complete for.
const TESTED: [Model; 13] = [
    Model::ReadUncommitted,
    Model::StrongSessionReadUncommitted,
    Model::StrongReadUncommitted,
    Model::ReadCommitted,
    Model::StrongSessionReadCommitted,
    Model::StrongReadCommitted,
    Model::SnapshotIsolation,
    Model::RepeatableRead,
    Model::Serializable,
    Model::StrongSessionSnapshotIsolation,
    Model::StrongSnapshotIsolation,
    Model::StrongSessionSerializable,
    Model::StrictSerializable,
];

impl Case<'_> {
    /// The judgement on what was found.
    pub(super) fn judge(&self, all: Vec<Found>) -> Judgement {
        let names: AnomalySet = all.iter().map(|found| found.name).collect();
        let ruled_out = rules_out(names.iter());
        let asked_not = asked_not(self.options);
        let (anomalies, others): (Vec<Found>, Vec<Found>) = all
            .into_iter()
            .partition(|found| asked_not.contains(found.name));
        let proven = self.proven(ruled_out.all(), names);
        let unproven = self.options.models.minus(proven);
        let absent = |anomaly: Anomaly| {
            !anomaly.rules_out().intersection(proven).is_empty() || self.is_complete()
        };
        let holds = unproven.is_empty() && self.options.anomalies.iter().all(absent);
        let reasons = self.reasons(holds, unproven, names);
        let verdict = if !anomalies.is_empty() {
            Verdict::Invalid
        } else if holds && !self.tests_nothing {
            Verdict::Valid
        } else {
            Verdict::Unknown
        };
        Judgement {
            verdict,
            anomalies,
            others,
            ruled_out,
            proven,
            reasons,
            order: None,
        }
    }

    /// Whether nothing that could be found is left to be found.
    const fn is_complete(&self) -> bool {
        let findings = self.findings;
        findings.ambiguous.0 == 0
            && findings.mixed == 0
            && findings.unordered_registers == 0
            && self.undecided.none(Time::Real)
            && !self.gave_up
    }

    fn proven(&self, ruled_out: ModelSet, names: AnomalySet) -> ModelSet {
        if self.tests_nothing || self.findings.ambiguous.0 > 0 || self.findings.mixed > 0 {
            return ModelSet::default();
        }
        let shown = |model: &Model| !ruled_out.contains(*model) && self.is_tested(*model, names);
        TESTED
            .into_iter()
            .filter(shown)
            .fold(ModelSet::default(), |all, model| all.union(model.implied()))
    }

    /// Whether reads contradict each other, so that some of them show nothing.
    fn has_contradictions(&self, names: AnomalySet) -> bool {
        names.contains(Anomaly::IncompatibleOrder)
            || (self.has_registers && names.contains(Anomaly::Internal))
    }

    /// Whether the tests are complete for one of [`TESTED`] (V2, V3).
    fn is_tested(&self, model: Model, names: AnomalySet) -> bool {
        if names.contains(Anomaly::IncompatibleOrder) {
            return false;
        }
        let sessions = self.times.sessions && self.times.all_in_sessions;
        let realtime = self.times.realtime && self.times.all_timed;
        let weakest = Model::StrongReadUncommitted.implied().contains(model);
        if self.findings.own_writes > 0 && !weakest {
            return false;
        }
        let weak = Model::StrongReadCommitted.implied().contains(model);
        // The second of two reads that contradict each other gives no anti-dependencies.
        let reads = weak || !self.has_contradictions(names);
        let registers = weak || self.findings.unordered_registers == 0;
        let snapshots = self.undecided.none(Time::of(model)) || !is_snapshot(model);
        let in_order = match Time::of(model) {
            Time::None => true,
            Time::Session => sessions,
            Time::Real => realtime,
        };
        registers && reads && snapshots && in_order
    }

    fn reasons(&self, holds: bool, unproven: ModelSet, names: AnomalySet) -> Vec<Reason> {
        let findings = self.findings;
        let mut reasons = Vec::new();
        if self.no_links || (self.tests_nothing && names.is_empty()) {
            reasons.push(Reason::EmptyGraph);
        }
        if let (reads, Some((key, value))) = findings.ambiguous {
            let first = (
                self.history.key_name(key).to_owned(),
                self.history.value_name(value),
            );
            reasons.push(Reason::AmbiguousValues { reads, first });
        }
        if findings.mixed > 0 {
            reasons.push(Reason::MixedKeys(findings.mixed));
        }
        if self.gave_up {
            reasons.push(Reason::OutOfBudget);
        }
        if holds {
            return reasons;
        }
        if self.has_contradictions(names) {
            reasons.push(Reason::ContradictoryReads);
        }
        if findings.own_writes > 0 {
            reasons.push(Reason::OwnWrites(findings.own_writes));
        }
        let needs = |time: Time| {
            let respects = |model: Model| TESTED.contains(&model) && Time::of(model) == time;
            unproven.iter().any(respects)
        };
        if needs(Time::Session) && !self.times.all_in_sessions {
            reasons.push(Reason::NoSessions);
        }
        if needs(Time::Real) && !self.times.all_timed {
            reasons.push(Reason::NoRealTime);
        }
        if findings.unordered_registers > 0 {
            reasons.push(Reason::UnorderedRegisters(findings.unordered_registers));
        }
        let snapshots = unproven
            .iter()
            .filter(|&model| TESTED.contains(&model) && is_snapshot(model));
        if let Some(keys) = snapshots
            .map(|model| self.undecided.keys[Time::of(model) as usize])
            .max()
            && keys > 0
        {
            reasons.push(Reason::UnreadWrites(keys));
        }
        let untested = unproven.iter().filter(|model| !TESTED.contains(model));
        reasons.extend(untested.map(Reason::NoCompleteTest));
        reasons
    }
}
