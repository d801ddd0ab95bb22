//! Pure state machines of two-phase commit with vote ordering.

mod message;

pub use message::{
    AbortCause, Ballot, Decision, Incarnation, SiteName, ToCoordinator, ToParticipant,
};
