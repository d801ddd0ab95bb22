//! What holds of an observed history: all judges asked, and their answers put together.
//!
//! 1. [`anomaly`] finds what is wrong by name, which rules models out, and shows that models hold where
//!    the version orders are known.
//! 2. For registers, whose version orders nobody recorded, [`search`] decides what that leaves open of
//!    serializability and snapshot isolation, the strongest first.
//! 3. [`weak`] decides the levels below, with sessions.
//!
//! Invariants:
//! - **A1** No model both holds and fails. If one judge said so and another the contrary, nothing would be believed:
//!   the verdict would be Unknown, with [`Trouble::Contradiction`].
//! - **A2** Each verdict Invalid and each certificate is re-checked by code that shares nothing with what found it;
//!   what is not borne out is not believed either ([`Trouble::Unconfirmed`]).
//! - **A3** What holds, holds under what the caller assumes of keys, and only then: searches do not know of it, so that
//!   what they find valid counts only if the order that they keep implies it.

mod names;
mod order;
mod prefix;
mod report;
mod sentences;

use std::fmt;

use serde_json::{Value as Json, json};

use crate::anomaly::{self, Judgement, Reason};
use crate::models::{Model, ModelSet};
use crate::observed::{Observed, Op, Outcome};
use crate::search::{self, Budget, Certificate, verify_refutation};
use crate::weak;

pub use names::common_name;
pub use order::{Order, OrderFault, verify_order};
pub use prefix::{Prefix, longest_valid_prefix};
pub use report::report;
pub use sentences::{refutation_sentences, sentence, weak_sentences};

/// What to ask, and how much the answer may cost.
#[derive(Debug, Clone)]
pub struct Options {
    /// The models that are asked for; if neither they nor levels are, the strongest that the history tells enough for.
    pub models: ModelSet,
    /// The levels with sessions that are asked for.
    pub levels: Vec<weak::Level>,
    /// What may be assumed, and the budget of the search for cycles. Its models are those asked for.
    pub anomaly: anomaly::Options,
    /// The budget of each search over version orders.
    pub search: Budget,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            models: ModelSet::default(),
            levels: Vec::new(),
            anomaly: anomaly::Options::new([]),
            search: Budget::default(),
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// The models that were asked for.
    pub asked: ModelSet,
    /// The levels with sessions that were asked for.
    pub asked_levels: Vec<weak::Level>,
    /// What anomalies say.
    pub judgement: Judgement,
    /// What searches over version orders say, in the order in which they were made.
    pub searched: Vec<(Model, search::Verdict)>,
    /// What the levels with sessions say, of registers: those that were asked for; if nothing was, and strong session
    /// snapshot isolation, which implies all of them, is not shown, all.
    pub weak: Vec<(weak::Level, weak::Verdict)>,
    /// Models that are shown to hold.
    pub holds: ModelSet,
    /// Models that are shown not to hold.
    pub fails: ModelSet,
    /// What should not be.
    pub troubles: Vec<Trouble>,
}

/// Whether what was asked for holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it does.
    Valid,
    /// Some of it does not.
    Invalid,
    /// It is not known.
    Unknown,
}

/// A judge that is not believed. Please report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// One judge shows that a model holds, another that it does not.
    Contradiction(Model),
    /// The grounds of a verdict are not borne out by the history.
    Unconfirmed(String),
}

/// The models that a search decides, the strongest first.
const SEARCHED: [(Model, search::Level); 6] = [
    (
        Model::StrictSerializable,
        search::Level::STRICT_SERIALIZABLE,
    ),
    (
        Model::StrongSessionSerializable,
        search::Level::SESSION_SERIALIZABLE,
    ),
    (Model::Serializable, search::Level::SERIALIZABLE),
    (
        Model::StrongSnapshotIsolation,
        search::Level::STRONG_SNAPSHOT,
    ),
    (
        Model::StrongSessionSnapshotIsolation,
        search::Level::SESSION_SNAPSHOT,
    ),
    (Model::SnapshotIsolation, search::Level::SNAPSHOT),
];

/// Judges a history. `progress` is told what comes next. [`Assessment::of`] asks with the defaults, and [`report`] puts
/// the answer in words.
///
/// ```
/// use checker::assess::{Options, Verdict, assess};
/// use checker::models::{Model, ModelSet};
/// use checker::observed::ObservedBuilder;
///
/// // Two transactions read a counter before either has added to it.
/// let mut builder = ObservedBuilder::new("a counter");
/// builder.txn().read("x", None::<u64>).write("x", 1).committed()?;
/// builder.txn().read("x", None::<u64>).write("x", 2).committed()?;
/// builder.txn().read("x", Some(2)).committed()?;
/// let history = builder.finish();
///
/// let ask = |model| {
///     let options = Options { models: ModelSet::of(model), ..Options::default() };
///     assess(&history, &options, &mut |stage| eprintln!("{stage}")).verdict()
/// };
/// assert_eq!(ask(Model::SnapshotIsolation), Verdict::Invalid);
/// assert_eq!(ask(Model::ReadCommitted), Verdict::Valid);
/// # Ok::<(), checker::observed::ObservedFault>(())
/// ```
#[must_use]
pub fn assess(
    history: &Observed,
    options: &Options,
    progress: &mut dyn FnMut(&'static str),
) -> Assessment {
    let traits = Traits::of(history);
    let asks_nothing = options.models.is_empty() && options.levels.is_empty();
    let asked = if asks_nothing {
        ModelSet::of(traits.strongest())
    } else {
        options.models
    };
    progress("looking for anomalies");
    let judge_by = anomaly::Options {
        models: asked,
        ..options.anomaly.clone()
    };
    let judgement = anomaly::judge(history, &judge_by);
    let mut assessment = Assessment {
        asked,
        asked_levels: options.levels.clone(),
        holds: judgement.proven,
        fails: judgement.ruled_out.all(),
        judgement,
        searched: Vec::new(),
        weak: Vec::new(),
        troubles: Vec::new(),
    };
    assessment.confirm_anomalies(history, &judge_by);
    assessment.confirm_order(history);
    let tests_something = !assessment.judgement.reasons.contains(&Reason::EmptyGraph);
    // Searches take a value that nobody wrote for a fault.
    let may_search = options.anomaly.unwritten == anomaly::Unwritten::Garbage;
    if traits.registers && tests_something && may_search {
        assessment.search(history, traits, asks_nothing, options, progress);
        let implied = assessment
            .holds
            .contains(Model::StrongSessionSnapshotIsolation);
        let levels = match asks_nothing {
            true if implied => &[],
            true => &weak::Level::ALL[..],
            false => &options.levels[..],
        };
        for &level in levels {
            progress("deciding the levels of sessions");
            if traits.sessions || matches!(level, weak::Level::ReadUncommitted | weak::Level::Pl2) {
                assessment.weak.push((level, weak::judge(history, level)));
            }
        }
        assessment.take_from_weak(options);
        assessment.approach_from_above(history, traits, options, progress);
    }
    let both = assessment.holds.intersection(assessment.fails);
    let contradictions = both.iter().map(Trouble::Contradiction);
    assessment.troubles.extend(contradictions);
    assessment
}

/// What a history tells.
#[derive(Debug, Clone, Copy)]
struct Traits {
    registers: bool,
    sessions: bool,
    realtime: bool,
}

impl Traits {
    fn of(history: &Observed) -> Self {
        let txns = || {
            history
                .indexes()
                .filter(|&txn| history.txn(txn).outcome == Outcome::Committed)
        };
        let is_register = |op: &Op| !matches!(op, Op::ReadList { .. } | Op::Append { .. });
        Self {
            registers: history
                .indexes()
                .all(|txn| history.ops(txn).iter().all(is_register)),
            sessions: txns().all(|txn| history.txn(txn).session.is_some()),
            realtime: txns().all(|txn| history.txn(txn).interval.is_some()),
        }
    }

    /// Whether the order that a search keeps is known.
    const fn can_search(self, level: search::Level) -> bool {
        match level.precedence {
            search::Precedence::Free => true,
            search::Precedence::Session => self.sessions,
            search::Precedence::Realtime => self.realtime,
        }
    }

    /// The strongest model that can be judged.
    const fn strongest(self) -> Model {
        match (self.realtime, self.sessions) {
            (true, _) => Model::StrictSerializable,
            (false, true) => Model::StrongSessionSerializable,
            (false, false) => Model::Serializable,
        }
    }
}

impl Assessment {
    /// Whether what was asked for holds.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let levels = || self.asked_levels.iter().map(|level| self.level(*level));
        let fails =
            |level: Option<&weak::Verdict>| matches!(level, Some(weak::Verdict::Invalid(_)));
        let holds = |level: Option<&weak::Verdict>| matches!(level, Some(weak::Verdict::Valid(_)));
        if !self.troubles.is_empty() {
            Verdict::Unknown
        } else if !self.asked.intersection(self.fails).is_empty() || levels().any(fails) {
            Verdict::Invalid
        } else if self.asked.is_subset(self.holds) && levels().all(holds) {
            Verdict::Valid
        } else {
            Verdict::Unknown
        }
    }

    /// What is said of a level with sessions, if it was judged.
    #[must_use]
    pub fn level(&self, level: weak::Level) -> Option<&weak::Verdict> {
        let mut all = self.weak.iter();
        all.find(|(other, _)| *other == level)
            .map(|(_, verdict)| verdict)
    }

    /// The strongest models that hold.
    #[must_use]
    pub fn strongest(&self) -> ModelSet {
        let stronger = |model: &Model| self.holds.iter().any(|other| other.is_stronger(*model));
        self.holds.iter().filter(|model| !stronger(model)).collect()
    }

    /// The weakest models that do not hold.
    #[must_use]
    pub fn weakest_failing(&self) -> ModelSet {
        let weaker = |model: &Model| self.fails.iter().any(|other| model.is_stronger(other));
        self.fails.iter().filter(|model| !weaker(model)).collect()
    }

    /// The models that are neither shown to hold nor shown not to.
    #[must_use]
    pub fn open(&self) -> ModelSet {
        let known = self.holds.union(self.fails);
        let all: ModelSet = Model::ALL.iter().copied().collect();
        all.minus(known)
    }

    /// A serial order (or an order of snapshots and commits) that explains the history, and the model that it shows.
    #[must_use]
    pub fn certificate(&self) -> Option<(Model, Certificate)> {
        if let Some((model, order)) = &self.judgement.order {
            return Some((*model, Certificate::Serial(order.clone())));
        }
        self.searched
            .iter()
            .filter(|(model, _)| self.holds.contains(*model))
            .find_map(|(model, verdict)| match verdict {
                search::Verdict::Valid(certificate) => Some((*model, certificate.clone())),
                search::Verdict::Invalid(_) | search::Verdict::Unknown(_) => None,
            })
    }

    /// Why the verdict is not complete, in sentences.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let troubles = self.troubles.iter().map(ToString::to_string);
        let mut reasons: Vec<String> = troubles.collect();
        let decided = |reason: &Reason| {
            let by_search = matches!(
                reason,
                Reason::UnorderedRegisters(_)
                    | Reason::UnreadWrites(_)
                    | Reason::AmbiguousValues { .. }
            );
            by_search && self.asked.is_subset(self.holds.union(self.fails))
        };
        let left = self.judgement.reasons.iter();
        reasons.extend(
            left.filter(|reason| !decided(reason))
                .map(ToString::to_string),
        );
        for (model, verdict) in &self.searched {
            match verdict {
                search::Verdict::Unknown(doubt) => {
                    reasons.push(format!("{}: {doubt}.", model.name()));
                }
                search::Verdict::Valid(_) if self.open().contains(*model) => reasons.push(format!(
                    "{} holds; whether it does under what is assumed of keys is not known.",
                    model.name()
                )),
                search::Verdict::Valid(_) | search::Verdict::Invalid(_) => {}
            }
        }
        reasons
    }

    fn confirm_anomalies(&mut self, history: &Observed, options: &anomaly::Options) {
        let all = self.judgement.anomalies.iter();
        let all = all.chain(&self.judgement.others);
        let mut seen = Vec::new();
        let mut troubles = Vec::new();
        for found in all {
            // One of each name: each edge costs a walk through the history.
            if seen.contains(&found.name) {
                continue;
            }
            seen.push(found.name);
            if let Err(fault) = anomaly::witness::check(history, options, found) {
                troubles.push(Trouble::Unconfirmed(format!(
                    "{}: {fault}",
                    found.name.name()
                )));
            }
        }
        self.troubles.extend(troubles);
    }

    fn confirm_order(&mut self, history: &Observed) {
        if let Some((model, order)) = &self.judgement.order
            && let Err(fault) = verify_order(history, *model, &Order::serial(order))
        {
            let what = format!("the order for {}: {fault}", model.name());
            self.troubles.push(Trouble::Unconfirmed(what));
        }
    }

    /// Decides by search what anomalies leave open.
    fn search(
        &mut self,
        history: &Observed,
        traits: Traits,
        asks_nothing: bool,
        options: &Options,
        progress: &mut dyn FnMut(&'static str),
    ) {
        for (model, level) in SEARCHED {
            let known = self.holds.union(self.fails).contains(model);
            let wanted = asks_nothing
                || self.asked.iter().any(|asked| asked == model)
                || (self.asked.is_subset(self.fails)
                    && self.asked.iter().any(|it| it.is_stronger(model)))
                || self.asked.iter().any(|it| self.may_refute(model, it));
            if !known && wanted && traits.can_search(level) {
                progress("searching for an order of the versions");
                self.search_one(history, model, level, options);
            }
        }
    }

    /// Whether a model may be asked in place of one that it is weaker than, and that is still open without a search
    /// that could decide it.
    fn may_refute(&self, weaker: Model, asked: Model) -> bool {
        let tried = self.searched.iter().any(|(model, _)| *model == asked);
        asked.is_stronger(weaker) && self.open().contains(asked) && !tried
    }

    fn search_one(
        &mut self,
        history: &Observed,
        model: Model,
        level: search::Level,
        options: &Options,
    ) {
        let verdict = search::judge(history, level, &options.search);
        match &verdict {
            search::Verdict::Valid(certificate) => {
                if keeps_assumed(options, level.precedence) {
                    self.holds = self.holds.union(model.implied());
                }
                if let Err(fault) = search::verify::verify(history, level, certificate) {
                    let what = format!("the order for {}: {fault}", model.name());
                    self.troubles.push(Trouble::Unconfirmed(what));
                }
            }
            search::Verdict::Invalid(refutation) => {
                let all = Model::ALL.iter().copied();
                let fail = all.filter(|other| other.implied().contains(model));
                self.fails = self.fails.union(fail.collect());
                match verify_refutation(history, level, refutation) {
                    Ok(()) | Err(search::RefutationFault::TooLong) => {}
                    Err(fault) => {
                        let what = format!("the refutation of {}: {fault}", model.name());
                        self.troubles.push(Trouble::Unconfirmed(what));
                    }
                }
            }
            search::Verdict::Unknown(_) => {}
        }
        self.searched.push((model, verdict));
    }

    /// Models that no judge decides are implied by some that one does: those are tried for what was asked and is still
    /// open, the weakest first. That one of them fails says nothing of what was asked.
    fn approach_from_above(
        &mut self,
        history: &Observed,
        traits: Traits,
        options: &Options,
        progress: &mut dyn FnMut(&'static str),
    ) {
        let is_open = |it: &Self, above: Model| {
            let known = it.holds.union(it.fails);
            let mut open = it.asked.minus(known).iter();
            !known.contains(above) && open.any(|asked| above.implied().contains(asked))
        };
        for level in [
            weak::Level::Pl2,
            weak::Level::ReadAtomic,
            weak::Level::Causal,
        ] {
            let can = traits.sessions || level == weak::Level::Pl2;
            let tried = self.weak.iter().any(|(other, _)| *other == level);
            if can && !tried && decided_by(level).is_some_and(|above| is_open(self, above)) {
                progress("deciding the levels of sessions");
                self.weak.push((level, weak::judge(history, level)));
                self.take_from_weak(options);
            }
        }
        for (model, level) in SEARCHED.into_iter().rev() {
            let tried = self.searched.iter().any(|(other, _)| *other == model);
            // Of the others, one that keeps an order is needed only if none does that keeps none.
            let mut asked = self.asked.iter();
            let needed = level.precedence == search::Precedence::Free
                || !keeps_assumed(options, search::Precedence::Free)
                || asked.any(|it| !Model::Serializable.implied().contains(it));
            if needed && !tried && traits.can_search(level) && is_open(self, model) {
                progress("searching for an order of the versions");
                self.search_one(history, model, level, options);
            }
        }
    }

    /// Levels with sessions imply those without.
    fn take_from_weak(&mut self, options: &Options) {
        if !keeps_assumed(options, search::Precedence::Free) {
            return;
        }
        for (level, verdict) in &self.weak {
            if let (Some(model), weak::Verdict::Valid(_)) = (decided_by(*level), verdict) {
                self.holds = self.holds.union(model.implied());
            }
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self, history: &Observed) -> Json {
        let searched = self
            .searched
            .iter()
            .map(|(model, verdict)| match verdict {
                search::Verdict::Valid(certificate) => json!({
                    "model": model.name(),
                    "verdict": "valid",
                    "certificate": certificate_json(certificate),
                }),
                search::Verdict::Invalid(refutation) => json!({
                    "model": model.name(),
                    "verdict": "invalid",
                    "sentences": refutation_sentences(history, refutation),
                }),
                search::Verdict::Unknown(doubt) => json!({
                    "model": model.name(),
                    "verdict": "unknown",
                    "reason": doubt.to_string(),
                }),
            })
            .collect::<Vec<_>>();
        let weak = self
            .weak
            .iter()
            .map(|(level, verdict)| {
                json!({
                    "level": level_name(*level),
                    "verdict": weak_word(verdict),
                    "sentences": weak_sentences(history, verdict),
                })
            })
            .collect::<Vec<_>>();
        json!({
            "asked": self.asked.names(),
            "verdict": self.verdict().name(),
            "strongest": self.strongest().names(),
            "holds": self.holds.names(),
            "fails": self.fails.names(),
            "open": self.open().names(),
            "reasons": self.reasons(),
            "anomalies": self.judgement.to_json(history),
            "searched": searched,
            "sessions": weak,
        })
    }
}

/// The certificate's order: transactions for a serial one, else `b` and `c` with a transaction each.
#[must_use]
pub fn certificate_json(certificate: &Certificate) -> Json {
    match certificate {
        Certificate::Serial(order) => {
            let order: Vec<u32> = order.iter().map(|txn| txn.0).collect();
            json!({ "serial": order })
        }
        Certificate::Snapshots(events) => {
            let word = |event: &search::Event| match event {
                search::Event::Begin(txn) => format!("b{}", txn.0),
                search::Event::Commit(txn) => format!("c{}", txn.0),
            };
            json!({ "snapshots": events.iter().map(word).collect::<Vec<_>>() })
        }
    }
}

/// Whether what keeps an order also keeps what is assumed of keys: their versions come in that order then.
const fn keeps_assumed(options: &Options, order: search::Precedence) -> bool {
    let keys = options.anomaly.keys;
    let kept = match order {
        search::Precedence::Free => !keys.sequential && !keys.linearizable,
        search::Precedence::Session => !keys.linearizable,
        search::Precedence::Realtime => true,
    };
    kept && options.anomaly.transaction_order.is_none()
}

/// The model that a level with sessions implies, if there is one.
const fn decided_by(level: weak::Level) -> Option<Model> {
    match level {
        weak::Level::ReadAtomic => Some(Model::ReadAtomic),
        weak::Level::Causal => Some(Model::Causal),
        weak::Level::Pl2 | weak::Level::ReadCommitted => Some(Model::ReadCommitted),
        weak::Level::ReadUncommitted
        | weak::Level::ReadYourWrites
        | weak::Level::MonotonicReads
        | weak::Level::MonotonicWrites
        | weak::Level::WritesFollowReads => None,
    }
}

/// The name of a level with sessions, as `--level` takes it.
#[must_use]
pub const fn level_name(level: weak::Level) -> &'static str {
    match level {
        weak::Level::ReadUncommitted => "registers-read-uncommitted",
        weak::Level::Pl2 => "registers-PL-2",
        weak::Level::ReadCommitted => "session-read-committed",
        weak::Level::ReadAtomic => "session-read-atomic",
        weak::Level::Causal => "transactional-causal",
        weak::Level::ReadYourWrites => "read-your-writes",
        weak::Level::MonotonicReads => "monotonic-reads",
        weak::Level::MonotonicWrites => "monotonic-writes",
        weak::Level::WritesFollowReads => "writes-follow-reads",
    }
}

/// A verdict in one word.
#[must_use]
pub const fn weak_word(verdict: &weak::Verdict) -> &'static str {
    match verdict {
        weak::Verdict::Valid(_) => "valid",
        weak::Verdict::Invalid(_) => "invalid",
        weak::Verdict::Unknown(_) => "unknown",
    }
}

impl Verdict {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(model) => write!(
                f,
                "Two judges contradict each other on {}: please report this history.",
                model.name()
            ),
            Self::Unconfirmed(what) => write!(
                f,
                "Grounds were given that the history does not bear out ({what}): please report this history."
            ),
        }
    }
}
