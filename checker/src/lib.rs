//! Judges transaction histories: which consistency models hold, and what excludes the next, in words and pictures.
//!
//! There are two kinds of histories, and this crate judges both.
//!
//! **What clients observed** ([`observed`]): sessions, transactions, and values instead of versions, from other people's
//! files ([`formats`]) or from your own tests. [`assess`] says which models hold: it asks [`anomaly`] for what is wrong
//! by name, [`search`] for an order of the versions where nobody recorded one, and [`weak`] for the levels below.
//!
//! **What sites recorded**: one line for each transaction that ended there, with the versions
//! it read and the order in which it installed (the format is in [`parse`]). The checker
//! joins the histories of all sites by global transaction id, builds the conflict graph over
//! versions, and answers with one of three verdicts:
//!
//! - [`Verdict::Valid`], with a serial order that [`verify`](verify::verify) re-checks by running
//!   it;
//! - [`Verdict::Invalid`], with a shortest cycle and one sentence for each of its conflicts, or
//!   with the read that nothing explains;
//! - [`Verdict::Unknown`], with what is missing: a file that was cut short, a transaction in doubt.
//!
//! Because the sites record versions, nothing is guessed: judging takes linear time but for
//! sorting, and for scans the number of keys in their ranges.
//!
//! The crate depends on no other crate of the workspace, so that it cannot share their faults.
//!
//! # Write skew across two sites
//!
//! Each site is serializable alone; together they are not.
//!
//! ```
//! use checker::{Level, Verdict, judge, judge_each, parse::read_history};
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
//!
//! # Where things are
//!
//! Of sites: [`parse`] reads histories and [`HistoryBuilder`] makes them in memory; [`judge`], [`judge_each`]
//! and [`Case`] judge; [`verify`] re-checks orders and [`witness`] cycles; [`dot`] draws. Of clients: [`formats`], [`assess`], [`models`], [`svg`].
//! The command `co-check` does all of it for files.
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
