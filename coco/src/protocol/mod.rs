//! Pure state machines of two-phase commit with vote ordering: no I/O, no clock, no randomness.
//!
//! The theory in one sentence: if every site delays its YES on a transaction until every transaction
//! that precedes it there is decided, then the order of decisions is a serial order of all sites
//! together. Here lives everything around that sentence: one [`Coordinator`] collects votes and
//! decides, one [`Voter`] at each site votes when its engine's gate opens and carries out decisions.
//!
//! Both are driven alike. Something happens, the shell calls the matching `handle_*` with the time
//! and a buffer, and then does what the buffer says, in order:
//!
//! ```
//! use coco::protocol::{Coordinator, CoordinatorConfig, CoordinatorEffect, CoordinatorId, Time};
//!
//! let mut effects = Vec::new();
//! let mut coordinator =
//!     Coordinator::recover(CoordinatorConfig::default(), CoordinatorId(1), [], &mut effects)?;
//! // 1. Do the effects. The first start appends the epoch record and waits for the disk.
//! let Some(CoordinatorEffect::Append { token, .. }) = effects.pop() else { panic!() };
//! // 2. Report what has happened; more effects may follow.
//! coordinator.handle_durable(Time(10), token, &mut effects);
//! // 3. Serve callers.
//! let begun = coordinator.handle_begin(Time(20), None, &mut effects)?;
//! // 4. Call `handle_tick` at the next deadline.
//! assert!(coordinator.next_deadline().is_some());
//! # let _ = begun;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What each message means and what is forced when stands in `docs/protocol.md`.

mod config;
mod coordinator;
mod depends;
mod effect;
mod gtid;
mod message;
mod proof;
mod recent;
mod stats;
mod time;
mod voter;

pub use config::{CoordinatorConfig, DeadlockPolicy, Durability, UnknownPolicy, VoterConfig};
pub use coordinator::{
    Coordinator, RecoverError, SiteView, TransactionState, TransactionView, WaitView,
};
pub use depends::{Dependencies, Settled};
pub use effect::{
    BeginRefused, Begun, CallerId, CommitAnswer, CoordinatorEffect, Note, Refusal, ReleasedVote,
    Token, VoterEffect,
};
pub use gtid::{CoordinatorId, Epoch, GtidParts};
pub use message::{
    AbortCause, Ballot, Decision, Incarnation, PeerMessage, SiteName, ToCoordinator, ToParticipant,
};
pub use stats::{CoordinatorStats, VoterStats};
pub use time::Time;
pub use voter::{ByHand, Heuristic, HeuristicRefused, InDoubt, Voter, Wait};
