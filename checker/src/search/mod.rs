//! Serializability and snapshot isolation of register histories whose version orders nobody recorded.
//!
//! Deciding them is NP-complete (Papadimitriou 1979; Biswas and Enea 2019). What makes real histories tractable is that
//! almost everything follows:
//!
//! 1. reads that no execution explains are looked for first ([`ReadFaultKind`]);
//! 2. orders that are likely are tried: that of the file, that of real time. One that explains every read is a proof;
//! 3. what sessions, real time, reads and read-modify-writes imply is saturated; a cycle is a refutation;
//! 4. an order is built that agrees with all of that, and with luck explains every read;
//! 5. what is left is decided by conflict-driven search over the orders of pairs of versions, which are looked at only
//!    where the order at hand is wrong.
//!
//! A value that several transactions wrote to the same key is not guessed about: what follows without the reads of it
//! is used, an order that explains them all is a proof, and otherwise the answer is [`Doubt::SeveralWriters`].
//!
//! A history is taken to be whole: a value that nobody wrote is a fault ([`ReadFaultKind::ThinAir`]). Elle lets such
//! reads pass; who judges a part of a history has to leave them out.
//!
//! Saturation needs rows of 4 bytes for each pair of transaction and chain (session). Where that would take more than
//! bits for all pairs of transactions, or than 512 MB, it goes through the transactions in blocks, in little memory but
//! for longer; a large history of the plain level without sessions may then remain undecided.
//!
//! ```
//! use checker::observed::{ObservedBuilder, Outcome};
//! use checker::search::{Budget, Level, Verdict, judge};
//!
//! // Write skew: both read both keys, and each writes one.
//! let mut builder = ObservedBuilder::new("write skew");
//! let (x, y) = (builder.key("x")?, builder.key("y")?);
//! let one = builder.value("1")?;
//! for written in [x, y] {
//!     builder.read(x, None)?;
//!     builder.read(y, None)?;
//!     builder.write(written, one)?;
//!     builder.end(None, Outcome::Committed, None, 0)?;
//! }
//! let history = builder.finish();
//! let budget = Budget::default();
//! assert!(matches!(judge(&history, Level::SERIALIZABLE, &budget), Verdict::Invalid(_)));
//! assert!(matches!(judge(&history, Level::SNAPSHOT, &budget), Verdict::Valid(_)));
//! # Ok::<(), checker::observed::ObservedFault>(())
//! ```
//!
//! Sources: Papadimitriou, "The serializability of concurrent database updates" (1979); Berenson et al., "A critique of
//! ANSI SQL isolation levels" (1995); Adya, "Weak consistency" (2000); Biswas and Enea, "On the complexity of checking
//! transactional consistency" (2019); Tan et al., "Cobra" (2020); Huang et al., "PolySI" (2023); Zhang et al., "Viper"
//! (2023).

mod blocks;
mod choice;
pub(crate) mod clocks;
pub(crate) mod csr;
mod dynamic;
pub(crate) mod explain;
pub(crate) mod facts;
mod judge;
mod level;
pub(crate) mod problem;
mod realtime;
mod refute;
mod sat;
pub(crate) mod saturate;
mod schedule;
mod verdict;
pub mod verify;

pub use judge::judge;
pub use level::{Budget, Isolation, Level, Precedence};
pub use refute::{RefutationFault, verify_refutation};
pub use verdict::{
    Certificate, Doubt, Event, Forced, ReadFault, ReadFaultKind, Refutation, Verdict,
};
