//! A suite that any participant has to pass: what [`Participant`] promises, checked from outside.
//!
//! The cases say what must come out, not how: an engine may make an operation wait, withhold a vote or
//! abort a transaction, as long as the outcome is right. They run on one thread and drive every
//! transaction step by step, so nothing depends on timing. Every case records its history and hands it to
//! the judge of the [`Suite`], which is the caller's (the `checker` crate, in this workspace's tests).
//!
//! ```
//! use std::sync::Arc;
//! use participant::conformance::{Subject, Suite};
//! use participant::engine::{Mvcc, Options};
//!
//! let suite = Suite::new(
//!     |rule, recorder| {
//!         let site = Arc::new(Mvcc::new(Options { rule, recorder, ..Options::default() }));
//!         let seen = Arc::clone(&site);
//!         Subject::new(site).with_idle(move || seen.is_idle())
//!     },
//!     |case, history| assert!(history.contains("end"), "{case}"),
//! );
//! suite.run_all();
//! ```

mod basics;
mod client;
mod isolation;
mod queries;
mod recovery;
pub mod script;
mod votes;

use std::fmt;
use std::sync::Arc;

use co_core::VoteRule;

use crate::history::Recorder;
use crate::participant::{Blocked, Operation, Participant, Reply};

pub use client::{
    Ballots, Client, Running, absent, add, block_on, delete, found, get, key, number, put, range,
    rows, scan, value,
};

/// The participant under test.
pub struct Subject {
    participant: Arc<dyn Participant>,
    idle: Box<dyn Fn() -> bool>,
}

impl Subject {
    /// A participant with an empty store.
    #[must_use]
    pub fn new(participant: Arc<dyn Participant>) -> Self {
        Self {
            participant,
            idle: Box::new(|| true),
        }
    }

    /// Lets the suite ask whether the engine's tables are empty (I7).
    #[must_use]
    pub fn with_idle(mut self, idle: impl Fn() -> bool + 'static) -> Self {
        self.idle = Box::new(idle);
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.participant.engine())
    }
}

type Open<'a> = Box<dyn Fn(VoteRule, Recorder) -> Subject + 'a>;
type Judge<'a> = Box<dyn Fn(&str, &str) + 'a>;

/// The suite.
pub struct Suite<'a> {
    open: Open<'a>,
    judge: Judge<'a>,
    most: usize,
}

/// One thing that is checked.
pub type Case = (&'static str, fn(&Suite<'_>));

impl<'a> Suite<'a> {
    /// A suite for what `open` opens; `judge` gets a case's name and the history of one run, and panics
    /// unless the history is commitment ordered.
    pub fn new(
        open: impl Fn(VoteRule, Recorder) -> Subject + 'a,
        judge: impl Fn(&str, &str) + 'a,
    ) -> Self {
        Self {
            open: Box::new(open),
            judge: Box::new(judge),
            most: usize::MAX,
        }
    }

    /// Has so many interleavings of the same programs run at most, for a participant of which one takes long: the two
    /// ends of the list, where the programs run one after the other, and others spread evenly between them. The
    /// environment variable `INTERLEAVINGS` says another number for one run of the tests.
    ///
    /// # Panics
    /// If `INTERLEAVINGS` is not a number.
    #[must_use]
    pub fn with_at_most(mut self, interleavings: usize) -> Self {
        let asked = std::env::var("INTERLEAVINGS").ok().map(|most| {
            let most = most.parse();
            most.expect("INTERLEAVINGS is a number of interleavings")
        });
        self.most = asked.unwrap_or(interleavings).max(2);
        self
    }

    /// All cases, by name.
    pub fn cases() -> impl Iterator<Item = Case> {
        let groups = [
            basics::CASES,
            isolation::CASES,
            votes::CASES,
            recovery::CASES,
            queries::CASES,
        ];
        groups.into_iter().flatten().copied()
    }

    /// Runs all cases.
    ///
    /// # Panics
    /// If the participant breaks a promise.
    pub fn run_all(&self) {
        for (_, case) in Self::cases() {
            case(self);
        }
    }

    /// One run against a fresh participant, which has to be idle at the end.
    fn run(&self, case: &str, run: impl FnOnce(&Arc<dyn Participant>)) {
        let recorder = Recorder::memory("site");
        let subject = (self.open)(VoteRule::Withhold, recorder.clone());
        let site = &subject.participant;
        run(site);
        assert_eq!(site.in_flight(), 0, "P5 after {case}");
        assert!(blocked(site).is_empty(), "nobody waits after {case}");
        assert!((subject.idle)(), "I7: tables are empty after {case}");
        let finished = recorder.finish();
        assert!(finished.is_ok(), "{case}: {finished:?}");
        if let Some(history) = recorder.text() {
            (self.judge)(case, &history);
        }
    }
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Suite(..)")
    }
}

/// Commits one transaction that does `operations` and stands alone.
fn commit_alone(
    site: &Arc<dyn Participant>,
    number: u64,
    operations: impl IntoIterator<Item = Operation>,
) {
    let client = Client::begin(site, number);
    for operation in operations {
        let answer = client.run(operation.clone());
        assert!(answer.is_ok(), "{operation:?}: {answer:?}");
    }
    client.commit();
}

/// Who waits, when nothing is on its way to a database any more.
fn blocked(site: &Arc<dyn Participant>) -> Vec<Blocked> {
    site.quiesce();
    site.blocked()
}

/// Checks what a transaction of its own reads.
fn assert_reads(site: &Arc<dyn Participant>, number: u64, operation: Operation, expected: &Reply) {
    let client = Client::begin(site, number);
    assert_eq!(client.run(operation).as_ref(), Ok(expected));
    client.commit();
}
