//! The register of specifications: what papers say of them, and what is found.
//!
//! A row never contains its verdict. It has what a paper claims, and a function that decides; where the two differ, that is a
//! finding, and the row says in its remark how the claim is to be read.

mod answers;
mod carts;
mod classical;
mod consensus;
mod editing;
mod graphs;
mod isolation;
mod objects;
mod queries;
mod queues;
pub mod registers;
mod structures;

use serde::Serialize;

use super::available::available;
use super::convergent::convergent;
use super::diagram::{Diagram, draw};
use super::explore::{Examined, Options};
use super::frontier::{Frontier, Tightness, frontier, tightness};
use super::history::EventId;
use super::monotone::{Decision, Verdict, distributed_monotone, monotone};
use super::proper::{Proper, proper};
use super::rounds::rounds;
use super::specification::Specification;

/// What is asked about a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Can it be had without coordination?
    Monotone,
    /// Is it distributed-monotone, as section 5 of Complete CALM defines it?
    DistributedMonotone,
    /// Is it distributed-monotone, as appendix B of Complete CALM uses it?
    Available,
    /// Can all outcomes of a history be reconciled?
    Convergent,
    /// Is there a wider order under which it is monotone?
    Relaxable,
    /// Is its order the smallest under which it is monotone?
    Tight,
    /// Is this variant a proper coordination of the specification?
    Proper,
}

impl Question {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Monotone,
        Self::DistributedMonotone,
        Self::Available,
        Self::Convergent,
        Self::Relaxable,
        Self::Tight,
        Self::Proper,
    ];

    /// Its name for commands and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monotone => "monotone",
            Self::DistributedMonotone => "distributed-monotone",
            Self::Available => "available",
            Self::Convergent => "convergent",
            Self::Relaxable => "relaxable",
            Self::Tight => "tight",
            Self::Proper => "proper",
        }
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Monotone => "monotone",
            Self::DistributedMonotone => "distributed-monotone",
            Self::Available => "available under partitions",
            Self::Convergent => "convergent",
            Self::Relaxable => "monotone under a wider order",
            Self::Tight => "of the smallest monotone order",
            Self::Proper => "properly coordinated",
        })
    }
}

/// What was found for one question.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was asked.
    pub question: Question,
    /// What the source claims, if it says anything.
    pub claim: Option<bool>,
    /// What was found; `None` if the specification is not well-formed, or has more outcomes than are compared.
    pub holds: Option<bool>,
    /// Which histories were looked at.
    pub examined: Examined,
    /// A smallest reason, if it does not hold or is not well-formed.
    pub witness: Option<Diagram>,
}

impl Finding {
    /// Whether the source claims something else.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        self.claim.is_some() && self.claim != self.holds
    }

    /// What the verdict is about, in words: all histories within the bound, or a smallest one.
    #[must_use]
    pub fn bound(&self) -> String {
        let examined = &self.examined;
        let size = self.witness.as_ref().map(Diagram::size);
        match (self.holds, size) {
            (Some(true), _) => format!("found on {examined}"),
            (Some(false), Some(size)) => format!(
                "a smallest witness has {size} events: no history of its universe with fewer shows it ({examined})"
            ),
            (Some(false), None) => format!("so found on {examined}"),
            (None, Some(size)) => format!(
                "not well-formed: a history of {size} events shows it, and none of fewer ({examined})"
            ),
            (None, None) => format!("more outcomes than are compared, on {examined}"),
        }
    }
}

/// Rows and questions for which the search contradicts the source, as the remarks of the rows explain.
pub const FINDINGS: &[(&str, Question)] = &[
    ("register-frontier", Question::Relaxable),
    ("causal-register-pending", Question::Monotone),
    ("causal-register-any-answer", Question::Monotone),
    ("fifo-as-defined", Question::Monotone),
    ("collaborative-text", Question::DistributedMonotone),
];

/// Answers a question about a specification of the register.
pub type Judge = Box<dyn Fn(&Options<'_>) -> Finding + Send + Sync>;
type Count = Box<dyn Fn(&Options<'_>) -> Sequence + Send + Sync>;

/// How many commitments must follow each other (see [`rounds`](super::rounds())).
#[derive(Debug, Clone, Serialize)]
pub struct Sequence {
    /// The least number of rounds of any schedule, in the history that needs most: 1 if nobody waits.
    pub rounds: usize,
    /// Which histories were looked at.
    pub examined: Examined,
    /// A smallest history that needs so many.
    pub history: Diagram,
}

/// A specification of the register.
pub struct Row {
    /// A name for commands: lower case, with hyphens, such as `linearizable-register`.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// How it is modelled, and how a claim is to be read that does not hold, if there is something to say.
    pub remark: &'static str,
    judges: Vec<(Question, Judge)>,
    counts: Option<Count>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.id, self.source)
    }
}

impl Row {
    fn new(id: &'static str, title: &'static str, source: &'static str) -> Self {
        Self {
            id,
            title,
            source,
            remark: "",
            judges: Vec::new(),
            counts: None,
        }
    }

    fn remark(mut self, remark: &'static str) -> Self {
        self.remark = remark;
        self
    }

    /// Asks whether a specification is monotone, of which the source claims that it is, or is not.
    fn monotone<S: Specification + Send + 'static>(self, spec: S, claim: bool) -> Self {
        self.ask(Question::Monotone, spec, Some(claim), monotone)
    }

    fn distributed<S: Specification + Send + 'static>(self, spec: S, claim: Option<bool>) -> Self {
        self.ask(
            Question::DistributedMonotone,
            spec,
            claim,
            distributed_monotone,
        )
    }

    fn available<S: Specification + Send + 'static>(self, spec: S, claim: Option<bool>) -> Self {
        self.ask(Question::Available, spec, claim, available)
    }

    /// Asks whether its order can be widened until it is monotone.
    fn relaxable<S: Specification + Send + 'static>(mut self, spec: S, claim: bool) -> Self
    where
        S::Outcome: Ord,
    {
        let title = self.title;
        let judge: Judge = Box::new(move |options| {
            let (found, examined) = frontier(&spec, options);
            let title = format!("{title} is not {}", Question::Relaxable);
            let (holds, witness) = match found {
                Frontier::Orders { added, .. } => (Some(!added.is_empty()), None),
                Frontier::Nowhere(witness) => (Some(false), Some(witness.diagram(&spec, &title))),
                Frontier::Contradiction => (Some(false), None),
                Frontier::TooLarge => (None, None),
            };
            Finding {
                question: Question::Relaxable,
                claim: Some(claim),
                holds,
                examined,
                witness,
            }
        });
        self.judges.push((Question::Relaxable, judge));
        self
    }

    /// Asks whether no smaller order than its own would do.
    fn tight<S: Specification + Send + 'static>(mut self, spec: S, claim: bool) -> Self
    where
        S::Outcome: Ord,
    {
        let judge: Judge = Box::new(move |options| {
            let (found, examined) = tightness(&spec, options);
            let holds = match found {
                Tightness::Tight => Some(true),
                Tightness::Loose(..) | Tightness::NotMonotone => Some(false),
                Tightness::TooLarge => None,
            };
            Finding {
                question: Question::Tight,
                claim: Some(claim),
                holds,
                examined,
                witness: None,
            }
        });
        self.judges.push((Question::Tight, judge));
        self
    }

    /// Asks whether replicas that know the same updates answer the same.
    fn convergent<S: Specification + Send + 'static>(
        mut self,
        spec: S,
        is_update: fn(&S::Op) -> bool,
        claim: bool,
    ) -> Self {
        let title = self.title;
        let judge: Judge = Box::new(move |options| {
            let (found, examined) = convergent(&spec, is_update, options);
            let witness = found.map(|found| {
                let words = "Two that know the same updates answer differently, and nothing contradicts either.";
                let title = format!("{title} is not {}", Question::Convergent);
                draw(&spec, &title, &found.history, &found.history, vec![words.to_owned()])
            });
            Finding {
                question: Question::Convergent,
                claim: Some(claim),
                holds: Some(witness.is_none()),
                examined,
                witness,
            }
        });
        self.judges.push((Question::Convergent, judge));
        self
    }

    fn ask<S: Specification + Send + 'static>(
        mut self,
        question: Question,
        spec: S,
        claim: Option<bool>,
        decide: fn(&S, &Options<'_>) -> Decision<S>,
    ) -> Self {
        let title = self.title;
        let judge: Judge = Box::new(move |options| {
            let Decision { verdict, examined } = decide(&spec, options);
            let (holds, witness) = match verdict {
                Verdict::Holds => (Some(true), None),
                Verdict::Fails(witness) => {
                    assert!(
                        witness.is_sound(&spec),
                        "a witness is one from the definition"
                    );
                    let title = format!("{title} is not {question}");
                    (Some(false), Some(witness.diagram(&spec, &title)))
                }
                Verdict::IllFormed(breach) => {
                    let title = format!("{title} is not well-formed");
                    (None, Some(breach.diagram(&spec, &title)))
                }
            };
            Finding {
                question,
                claim,
                holds,
                examined,
                witness,
            }
        });
        self.judges.push((question, judge));
        self
    }

    /// Asks whether `variant` is a properly coordinated variant of `spec`.
    fn proper<S, V>(mut self, variant: V, spec: S, claim: bool) -> Self
    where
        S: Specification + Send + 'static,
        V: Specification<Op = S::Op, Value = S::Value, Outcome = S::Outcome> + Send + 'static,
    {
        let title = self.title;
        let judge: Judge = Box::new(move |options| {
            let found = proper(&variant, &spec, options);
            let title = format!("{title} is not {}", Question::Proper);
            let witness = match &found.verdict {
                Proper::Proper => None,
                Proper::NotMonotone(witness) => Some(witness.diagram(&spec, &title)),
                Proper::New { history, outcome } => {
                    let new = spec.say_outcome(outcome, history);
                    let words = format!(
                        "The specification does not admit what the variant admits here: {new}"
                    );
                    Some(draw(&spec, &title, history, history, vec![words]))
                }
            };
            Finding {
                question: Question::Proper,
                claim: Some(claim),
                // A variant that admits next to nothing would be proper for no reason: an admitted history has to have more
                // than one admitted past, on the average.
                holds: Some(witness.is_none() && found.pairs > found.admitted),
                examined: Examined {
                    futures: found.pairs,
                    ..found.examined
                },
                witness,
            }
        });
        self.judges.push((Question::Proper, judge));
        self
    }

    /// Counts the sequential commitments that it needs in histories of up to so many events.
    fn counted<S: Specification + Send + 'static>(mut self, spec: S, events: usize) -> Self {
        let title = self.title;
        self.counts = Some(Box::new(move |options| {
            let events = Some(options.events.unwrap_or(events));
            let found = rounds(&spec, &Options { events, ..*options });
            let universe = spec.universe();
            let called = |call: &EventId| {
                let op = found
                    .history
                    .op(*call)
                    .map(|op| spec.say_op(op))
                    .unwrap_or_default();
                let process = &universe.processes()[usize::from(call.process)];
                format!("{op} at {}", process.name())
            };
            let first: Vec<String> = found.first.iter().map(called).collect();
            let words = match found.rounds {
                0 => "Nobody asks.".to_owned(),
                1 => "All calls can be answered at once.".to_owned(),
                more => format!(
                    "Answering all calls takes {more} rounds; the first answers {}.",
                    first.join(", ")
                ),
            };
            let title = format!("{title}: {} sequential commitments", found.rounds);
            Sequence {
                rounds: found.rounds,
                examined: found.examined,
                history: draw(&spec, &title, &found.history, &found.history, vec![words]),
            }
        }));
        self
    }

    /// How many commitments must follow each other, if that is asked of it.
    #[must_use]
    pub fn sequence(&self, options: &Options<'_>) -> Option<Sequence> {
        self.counts.as_ref().map(|count| count(options))
    }

    /// Which questions are asked about it.
    pub fn questions(&self) -> impl Iterator<Item = Question> {
        self.judges.iter().map(|(question, _)| *question)
    }

    /// Which questions are asked about it, and what answers each.
    pub fn judges(&self) -> impl Iterator<Item = (Question, &Judge)> {
        self.judges
            .iter()
            .map(|(question, judge)| (*question, judge))
    }

    /// Whether it is known that the search contradicts the source here.
    #[must_use]
    pub fn is_known(&self, question: Question) -> bool {
        FINDINGS.contains(&(self.id, question))
    }

    /// Decides all questions.
    pub fn judge<'a>(&'a self, options: &'a Options<'_>) -> impl Iterator<Item = Finding> + 'a {
        self.judges.iter().map(|(_, judge)| judge(options))
    }
}

/// All specifications of the register, in the order of the papers.
#[must_use]
pub fn rows() -> Vec<Row> {
    [
        registers::rows(),
        isolation::rows(),
        queues::rows(),
        structures::rows(),
        editing::rows(),
        queries::rows(),
        objects::rows(),
        consensus::rows(),
        classical::rows(),
        graphs::rows(),
        carts::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
