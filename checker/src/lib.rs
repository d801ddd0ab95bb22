//! Judges transaction histories: which consistency models hold, and what excludes the next, in words and pictures.
//!
//! A program that records what two clients of a store see, judges it, and says what it found:
//!
//! ```
//! use checker::assess::{Assessment, Verdict, report};
//! use checker::recorder::Recorder;
//!
//! // The store: a counter. Each client reads it, and writes back one more.
//! let counter = std::cell::Cell::new(None::<u64>);
//! let recorder = Recorder::new("a counter");
//! let (mut one, mut two) = (recorder.session(), recorder.session());
//!
//! let mut first = one.begin();
//! first.read("counter", counter.get());
//! let mut second = two.begin();
//! second.read("counter", counter.get());
//! for mut txn in [second, first] {
//!     let value = recorder.fresh_value();
//!     txn.write("counter", value);
//!     counter.set(Some(value));
//!     txn.committed();
//! }
//!
//! let history = recorder.finish();
//! let assessment = Assessment::of(&history);
//! let words = report(&history, &assessment);
//! assert_eq!(assessment.verdict(), Verdict::Invalid, "{words}");
//! assert!(words.contains("T0, T1 each read counter as nothing, and each then wrote to it."));
//! ```
//!
//! # Where things are
//!
//! | to | there is |
//! |---|---|
//! | record what clients see | [`recorder`] |
//! | make a history by hand, or look into one | [`observed`] |
//! | read and write files, of this and of other tools | [`formats`] |
//! | judge | [`assess`]: [`Assessment::of`](assess::Assessment::of), or [`assess::assess`] with options |
//! | say it | [`assess::report`] in words, [`svg`] as a picture, [`Assessment::to_json`](assess::Assessment::to_json) |
//! | know which model implies which, and which anomaly rules out which | [`models`] |
//! | ask one judge alone | [`anomaly`] (by name), [`search`] (an order of the versions), [`weak`] (levels below) |
//! | decide whether a specification needs coordination at all | [`spec`] |
//! | judge what sites recorded | [`sited`], [`parse`], [`verify`], [`recovery`], [`dot`]; [`follow`] while they run |
//!
//! The command `co-check` does all of it for files. Each judge answers with valid, invalid or unknown, and has a type
//! `Verdict` of its own, because each has other grounds to give; the one that puts all together is
//! [`assess::Verdict`]. `Verdict`, `Anomaly`, `Op` and `Level` at the root of the crate are of sites: [`sited`] has them by
//! that name.
//!
//! # What sites recorded
//!
//! A *site* is a database of this project that takes part in distributed transactions. It writes one line for each
//! transaction that ended there, with the versions that it read and the order in which it installed (the format is in
//! [`parse`]). The checker joins the histories of all sites by global transaction id, builds the conflict graph over
//! versions, and answers with one of three verdicts:
//!
//! - [`sited::Verdict::Valid`], with a serial order that [`verify`](verify::verify) re-checks by running it;
//! - [`sited::Verdict::Invalid`], with a shortest cycle and one sentence for each of its conflicts, or with the read that
//!   nothing explains;
//! - [`sited::Verdict::Unknown`], with what is missing: a file that was cut short, a transaction in doubt.
//!
//! Because the sites record versions, nothing is guessed: judging takes linear time but for
//! sorting, and for scans the number of keys in their ranges.
//!
//! The crate depends on no other crate of the workspace, so that it cannot share their faults.
//!
//! Each of these two sites is serializable alone; together they are not:
//!
//! ```
//! use checker::parse::read_history;
//! use checker::sited::{Level, Verdict, judge, judge_each};
//!
//! let a = "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n";
//! let b = "co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n";
//! let sites = [read_history(a.as_bytes(), "A.hist")?, read_history(b.as_bytes(), "B.hist")?];
//!
//! let alone = judge_each(&sites, Level::Serializability);
//! assert!(alone.iter().all(|report| matches!(report.verdict, Verdict::Valid { .. })));
//!
//! let together = judge(&sites, Level::Serializability);
//! let cycle = together.cycle().expect("the sites disagree on the order of G1 and G2");
//! assert_eq!(
//!     cycle.steps[0].to_string(),
//!     "At site A, G1 read \"x\" in its initial state, and G2 then installed a newer version \
//!      (seq 1): so G1 precedes G2."
//! );
//! assert_eq!(
//!     cycle.steps[1].to_string(),
//!     "At site B, G2 read \"y\" in its initial state, and G1 then installed a newer version \
//!      (seq 1): so G2 precedes G1."
//! );
//! # Ok::<(), checker::ParseError>(())
//! ```
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod assess;
mod case;
mod client;
mod cycle;
pub mod dot;
mod explain;
mod extended;
mod findings;
pub mod follow;
pub mod formats;
mod graph;
mod hashing;
mod history;
mod index;
pub mod models;
mod named;
pub mod observed;
mod order;
mod orders;
pub mod parse;
mod parse_error;
pub mod recorder;
pub mod recovery;
mod render;
pub mod replay;
pub mod search;
pub mod spec;
pub mod svg;
mod token;
mod verdict;
pub mod verify;
pub mod weak;
pub mod witness;
mod words;

pub use case::{Case, judge, judge_each};
pub use client::{Client, RealTime, Turn};
pub use explain::{Installed, Reason, Seen, SeenBy, Step};
pub use history::{
    Committed, Ending, HistoryBuilder, Op, Record, RecordFault, Scan, Seq, SiteHistory, Stamp,
    TxnId,
};
pub use index::{FaultKind, Install};
pub use named::{Named, NamedAnomaly};
pub use parse_error::{ParseError, ParseFault};
pub use token::{Token, TokenFault};
pub use verdict::{
    Anomaly, Cycle, CycleClass, Doubt, Level, MAX_SHOWN, Report, Statistics, TxnRef,
    UnexplainedRead, Verdict,
};
pub use verify::VerifyError;

/// Histories of sites: what the root of the crate has of them, under a name that says so.
pub mod sited {
    pub use crate::case::{Case, judge, judge_each};
    pub use crate::explain::{Installed, Reason, Seen, SeenBy, Step};
    pub use crate::history::{
        Committed, Ending, HistoryBuilder, Op, Record, RecordFault, Scan, Seq, SiteHistory, Stamp,
        TxnId,
    };
    pub use crate::index::{FaultKind, Install};
    pub use crate::named::{Named, NamedAnomaly};
    pub use crate::parse_error::{ParseError, ParseFault};
    pub use crate::token::{Token, TokenFault};
    pub use crate::verdict::{
        Anomaly, Cycle, CycleClass, Doubt, Level, Report, Statistics, TxnRef, UnexplainedRead,
        Verdict,
    };
}
