//! Which specifications need coordination, and is theirs proper? (Hellerstein, "Complete CALM: A Coordination Criterion
//! for Specifications", cited as Complete CALM.)
//!
//! A [`Specification`] has three parts: a bounded [`Universe`] of histories, the outcomes that a history admits, and an order: when
//! does one outcome refine another without contradicting it? It can be had without coordination exactly if it is
//! [`monotone`]: if every outcome of a history is refined in every future of that history. Here that is decided by looking at every
//! history of the universe. The verdict says how many those were, and claims no more.
//!
//! # The register of section 2, step by step
//!
//! Two processes write and read a register, and tell each other what they know. First the operations and the answers:
//!
//! ```
//! use checker::spec::{EventId, History, Options, Program, Specification, Universe, monotone};
//!
//! #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
//! enum Op { Write(&'static str), Read }
//!
//! #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
//! enum Answer { Done, Value(&'static str) }
//!
//! struct LinearizableRegister;
//!
//! impl Specification for LinearizableRegister {
//!     type Op = Op;
//!     type Value = Answer;
//!     /// The operations in an order, each with its answer.
//!     type Outcome = Vec<(EventId, Answer)>;
//!
//!     // The events: `p` writes dog, `q` writes cat, both may read once, and send each other one message.
//!     fn universe(&self) -> Universe<Self> {
//!         let p = Program::menu(&[Op::Write("dog"), Op::Read], 1, 2).and_send(&[1], 1);
//!         let q = Program::menu(&[Op::Write("cat"), Op::Read], 1, 2).and_send(&[0], 1);
//!         Universe::new(8).process("p", p).process("q", q)
//!     }
//!
//!     // The outcomes: every order that agrees with happens-before, in which each read returns the write before it.
//!     // Answers that were given stand.
//!     fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Self::Outcome> {
//!         let operations: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
//!         let executed = history.all_orders(&operations).into_iter().map(|order| {
//!             let mut register = "nothing";
//!             let answered = order.into_iter().map(|id| match history.op(id) {
//!                 Some(Op::Write(value)) => { register = value; (id, Answer::Done) }
//!                 Some(Op::Read) | None => (id, Answer::Value(register)),
//!             });
//!             answered.collect::<Self::Outcome>()
//!         });
//!         let stands = |(id, answer): &(EventId, Answer)| history.response(*id).is_none_or(|given| given == answer);
//!         executed.filter(|outcome| outcome.iter().all(stands)).collect()
//!     }
//!
//!     // The order: an outcome is refined by those that it is a prefix of.
//!     fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
//!         later.starts_with(earlier)
//!     }
//!
//!     // What clients are told.
//!     fn answer(&self, outcome: &Self::Outcome, _: &History<Op, Answer>, invocation: EventId) -> Option<Answer> {
//!         outcome.iter().find(|(id, _)| *id == invocation).map(|(_, answer)| answer.clone())
//!     }
//! }
//!
//! let decision = monotone(&LinearizableRegister, &Options::default());
//! let witness = decision.witness().expect("a linearizable register needs coordination");
//! // Two operations suffice, fewer than in the paper: `q` writes cat, and `p`, who has not heard of it, reads nothing.
//! // No order that begins with the write explains the read.
//! assert_eq!(witness.before.invocations().count(), 1);
//! assert_eq!(witness.after.invocations().count(), 2);
//! assert!(witness.is_sound(&LinearizableRegister));
//! ```
//!
//! # What is decided
//!
//! | question | function |
//! |---|---|
//! | Can it be had without coordination? | [`monotone`] |
//! | Can it be had under partitions? As defined; as proved | [`distributed_monotone`]; [`available`] |
//! | Do replicas that know the same answer the same? | [`convergent`] |
//! | Is this scheduler a proper coordination of it? | [`proper`] |
//! | How far must its order be widened; is it wider than it must be? | [`frontier`]; [`tightness`] |
//! | How many commitments must follow each other? | [`rounds`] |
//! | Is it well-formed for clients? | [`well_formed`]; `monotone`, `distributed_monotone` and `available` look as well, and give a [`Breach`] instead of a verdict |
//!
//! Invariants of applications have a decider of their own, [`confluence`], and are a specification as well
//! ([`confluence::Enforced`]); the two agree. [`advise`] tells an application which of its transactions need coordination.
//!
//! # Which histories there are
//!
//! The enumerator yields each history once. Answers are the ones that the specification admits for what the answering process
//! knows, as in the causal-view protocol of the paper's proof; with *any* answer as an event, a read of a value that nobody
//! wrote would be a future of every history, and nothing that reads would be monotone. Messages carry all that their sender knows, may
//! be late, lost and overtaken; those that tell nothing new are left out. An answer follows its call at once unless the
//! universe says otherwise ([`Universe::answers_take_time`]). A call that no answer is admissible for is a future with the question alone; that
//! ends there.

pub mod advise;
mod authority;
mod available;
pub mod confluence;
mod convergent;
pub mod diagram;
mod each;
mod explore;
mod frontier;
mod history;
mod monotone;
mod proper;
mod rounds;
pub mod rows;
mod smallest;
mod specification;
mod universe;
mod well_formed;
mod witness;

pub use authority::{Evaluation, Ordered, Request};
pub use available::available;
pub use convergent::{Disagreement, convergent};
pub use each::each_history;
pub use explore::{Examined, Options, Progress};
pub use frontier::{Frontier, Tightness, frontier, tightness};
pub use history::{Cut, Event, EventId, History, Label, MAX_PROCESSES};
pub use monotone::{Decision, Verdict, distributed_monotone, monotone};
pub use proper::{Coordination, Proper, proper};
pub use rounds::{Rounds, rounds};
pub use specification::{Ack, HistoryOf, Specification};
pub use universe::{Action, Next, Process, Program, Universe};
pub use well_formed::{Breach, Condition, well_formed};
pub use witness::Witness;
