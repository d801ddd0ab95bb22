//! Requests that change nothing.

use crate::service::wire;

/// Why a request was refused; it changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// For programs.
    pub code: RefusedCode,
    /// For people: what to do.
    pub message: String,
}

/// Why a request was refused, for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RefusedCode {
    /// Nobody here knows the transaction (any more).
    UnknownTransaction,
    /// The transaction has begun here already.
    DuplicateBegin,
    /// The transaction has been asked for its vote.
    AlreadyEnded,
    /// Another operation of the same transaction is running.
    Busy,
    /// A key, value, range or number is out of its bounds.
    InvalidOperation,
    /// The site's engine cannot do it.
    Unsupported,
    /// The site's log has failed.
    LogFailed,
    /// A code that only a newer version knows.
    Other(String),
}

/// The codes that this version knows.
pub(super) const CODES: [RefusedCode; 7] = [
    RefusedCode::UnknownTransaction,
    RefusedCode::DuplicateBegin,
    RefusedCode::AlreadyEnded,
    RefusedCode::Busy,
    RefusedCode::InvalidOperation,
    RefusedCode::Unsupported,
    RefusedCode::LogFailed,
];

impl RefusedCode {
    /// The code as text, as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(other) => other,
            Self::UnknownTransaction => "unknown-transaction",
            Self::DuplicateBegin => "duplicate-begin",
            Self::AlreadyEnded => "already-ended",
            Self::Busy => "busy",
            Self::InvalidOperation => "invalid-operation",
            Self::Unsupported => "unsupported",
            Self::LogFailed => "log-failed",
        }
    }
}

impl From<wire::Refused> for Refused {
    fn from(refused: wire::Refused) -> Self {
        let code = CODES.into_iter().find(|code| code.as_str() == refused.code);
        Self {
            code: code.unwrap_or(RefusedCode::Other(refused.code)),
            message: refused.message,
        }
    }
}

impl From<Refused> for wire::Refused {
    fn from(refused: Refused) -> Self {
        Self {
            code: refused.code.as_str().to_owned(),
            message: refused.message,
        }
    }
}
