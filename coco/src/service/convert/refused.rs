//! Requests that change nothing.

use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};

use crate::service::wire;

/// Why a request was refused; it changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// For programs.
    pub code: RefusedCode,
    /// For people: what to do.
    pub message: String,
    /// When to come again, if it was for lack of room.
    pub retry_after: Option<Duration>,
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
    /// There is no room just now; come again after [`Refused::retry_after`].
    Overloaded,
    /// The site ends and begins nothing any more.
    Draining,
    /// What an operator asks for is not possible, or not now.
    NotResolvable,
    /// The database behind the site cannot be reached; the transaction is as it was.
    DatabaseAway,
    /// A code that only a newer version knows.
    Other(String),
}

/// The codes that this version knows.
pub(super) const CODES: [RefusedCode; 11] = [
    RefusedCode::UnknownTransaction,
    RefusedCode::DuplicateBegin,
    RefusedCode::AlreadyEnded,
    RefusedCode::Busy,
    RefusedCode::InvalidOperation,
    RefusedCode::Unsupported,
    RefusedCode::LogFailed,
    RefusedCode::Overloaded,
    RefusedCode::Draining,
    RefusedCode::NotResolvable,
    RefusedCode::DatabaseAway,
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
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::NotResolvable => "not-resolvable",
            Self::DatabaseAway => "database-away",
        }
    }
}

impl From<wire::Refused> for Refused {
    fn from(refused: wire::Refused) -> Self {
        let code = CODES.into_iter().find(|code| code.as_str() == refused.code);
        Self {
            code: code.unwrap_or(RefusedCode::Other(refused.code)),
            message: refused.message,
            retry_after: refused.retry_after_ms.map(Duration::from_millis),
        }
    }
}

impl From<Refused> for wire::Refused {
    fn from(refused: Refused) -> Self {
        Self {
            code: refused.code.as_str().to_owned(),
            message: refused.message,
            retry_after_ms: refused
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// `google.rpc.Status`, `RetryInfo` and what they are made of: what a gRPC client in any language reads
/// from the details of a status.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A call that was refused for lack of room, before anybody looked at it.
pub(crate) fn overloaded(why: &str, retry_after: Duration) -> Status {
    let code = Code::ResourceExhausted;
    let message = format!(
        "overloaded: {why}; retry after {} ms",
        retry_after.as_millis()
    );
    let delay = Delay {
        seconds: i64::try_from(retry_after.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(retry_after.subsec_nanos()).unwrap_or_default(),
    };
    let info = RetryInfo {
        retry_delay: Some(delay),
    };
    let details = RpcStatus {
        code: code.into(),
        message: message.clone(),
        details: vec![Any {
            type_url: RETRY_INFO.to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// When to come again, if the status says that the call was refused for lack of room and not looked at.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    if status.code() != Code::ResourceExhausted {
        return None;
    }
    let details = RpcStatus::decode(status.details()).ok()?;
    let info = details
        .details
        .iter()
        .find(|it| it.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(delay.nanos).ok()?))
}
