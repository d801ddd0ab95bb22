//! Between wire and plain values, the only place that knows both.
//!
//! Invariants: (W1) total: whatever prost decodes is either converted or refused with a [`MalformedWire`]
//! that names the field; (W2) what was converted to the wire and back is what it was.

mod coordinator;
mod link;
mod operator;
mod refused;
mod requests;
mod site;

use std::time::Duration;

use tonic::{Code, Status};

use super::wire;
use crate::protocol::{AbortCause, BeginRefused};

pub(crate) use self::coordinator::*;
pub(crate) use self::link::*;
pub(crate) use self::operator::*;
pub use self::refused::{Refused, RefusedCode};
pub(crate) use self::refused::{overloaded, retry_after};
pub(crate) use self::requests::*;
pub(crate) use self::site::*;

/// A message that breaks the rules of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedWire {
    /// A field that must be there is not; perhaps the sender is newer and chose a variant unknown here.
    #[error("field `{0}` is missing, or holds a variant that this version does not know")]
    Missing(&'static str),
    /// An enumeration field holds a number that has no name here.
    #[error("field `{field}` holds the unknown value {value}")]
    UnknownValue {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// The first message of a link must be a hello, and no later one may name another site.
    #[error("a link begins with `hello`, and this one did not")]
    NoHello,
    /// A number is larger than what it stands for allows.
    #[error("field `{0}` holds a number that is too large")]
    OutOfRange(&'static str),
    /// A site without a name.
    #[error("field `{0}` is empty")]
    Empty(&'static str),
}

impl From<MalformedWire> for Status {
    fn from(error: MalformedWire) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

/// The status that tells a client why it got no new transaction. The one place for it.
pub(crate) fn begin_refused(refused: BeginRefused, retry_after: Duration) -> Status {
    let code = match refused {
        BeginRefused::Starting => Code::Unavailable,
        BeginRefused::Busy { .. } => return overloaded(&refused.to_string(), retry_after),
        BeginRefused::LogFailed | BeginRefused::EpochsExhausted => Code::FailedPrecondition,
    };
    Status::new(code, refused.to_string())
}

pub(crate) fn cause_to_wire(cause: AbortCause) -> i32 {
    let wire = match cause {
        AbortCause::Client => wire::AbortCause::Client,
        AbortCause::LocalCycle => wire::AbortCause::LocalCycle,
        AbortCause::VotingDeadlock => wire::AbortCause::VotingDeadlock,
        AbortCause::StaleRead => wire::AbortCause::StaleRead,
        AbortCause::WriteConflict => wire::AbortCause::WriteConflict,
        AbortCause::Cascade => wire::AbortCause::Cascade,
        AbortCause::Timeout => wire::AbortCause::Timeout,
        AbortCause::UnknownTransaction => wire::AbortCause::UnknownTransaction,
        AbortCause::SiteUnreachable => wire::AbortCause::SiteUnreachable,
        AbortCause::LogFailure => wire::AbortCause::LogFailure,
        AbortCause::Outranked => wire::AbortCause::Outranked,
        AbortCause::DatabaseAway => wire::AbortCause::DatabaseAway,
    };
    wire.into()
}

pub(crate) fn cause_of(value: i32, field: &'static str) -> Result<AbortCause, MalformedWire> {
    let unknown = MalformedWire::UnknownValue { field, value };
    Ok(
        match wire::AbortCause::try_from(value).map_err(|_| unknown)? {
            wire::AbortCause::Unspecified => return Err(unknown),
            wire::AbortCause::Client => AbortCause::Client,
            wire::AbortCause::LocalCycle => AbortCause::LocalCycle,
            wire::AbortCause::VotingDeadlock => AbortCause::VotingDeadlock,
            wire::AbortCause::StaleRead => AbortCause::StaleRead,
            wire::AbortCause::WriteConflict => AbortCause::WriteConflict,
            wire::AbortCause::Cascade => AbortCause::Cascade,
            wire::AbortCause::Timeout => AbortCause::Timeout,
            wire::AbortCause::UnknownTransaction => AbortCause::UnknownTransaction,
            wire::AbortCause::SiteUnreachable => AbortCause::SiteUnreachable,
            wire::AbortCause::LogFailure => AbortCause::LogFailure,
            wire::AbortCause::Outranked => AbortCause::Outranked,
            wire::AbortCause::DatabaseAway => AbortCause::DatabaseAway,
        },
    )
}

#[cfg(test)]
mod tests;
