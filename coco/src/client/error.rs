//! What a client is told when something did not work.

use std::time::Duration;

use co_core::Gtid;
use tonic::{Code, Status};

use super::{Commit, End};
use crate::protocol::{AbortCause, CommitAnswer};
use crate::service::{InvalidUri, MalformedWire, Refused, RefusedCode, retry_after};

/// A commit that was asked for and not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unresolved {
    /// The transaction.
    pub gtid: Gtid,
    /// Where it worked.
    pub sites: Vec<String>,
}

/// Why a client's call did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The transaction is aborted everywhere. An outcome rather than a fault: begin it again with
    /// [`Client::begin_again`](super::Client::begin_again), or let [`Client::retry`](super::Client::retry)
    /// do that.
    #[error("the transaction was aborted ({0:?}); begin it again with the same priority")]
    Aborted(AbortCause),
    /// The commit was asked for, and no answer came: it may have committed or not. Ask again with
    /// [`Client::ask_again`](super::Client::ask_again), or look at the data.
    #[error("the outcome of transaction {} is unknown: {reason}; ask again", what.gtid)]
    OutcomeUnknown {
        /// Which commit.
        what: Unresolved,
        /// What happened instead of an answer.
        reason: String,
    },
    /// The commit of a transaction of one site was asked for, and no answer came.
    #[error("the outcome of the local transaction at site {site} is unknown: {reason}")]
    LocalOutcomeUnknown {
        /// Where.
        site: String,
        /// What happened instead of an answer.
        reason: String,
    },
    /// An operation was refused and changed nothing; the transaction goes on.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The transaction has been aborted, or an operation of it was lost; it does no more work.
    #[error("the transaction has ended already; begin another one")]
    Ended,
    /// An operation got no answer. The transaction is being rolled back.
    #[error("site {site} did not answer ({}); the transaction is rolled back", status.message())]
    SiteFailed {
        /// Which site.
        site: String,
        /// What happened instead.
        status: Box<Status>,
    },
    /// The coordinator knows no such site, or it has no link now.
    #[error("site {site} is not connected to the coordinator; start it, or check its name")]
    UnknownSite {
        /// Its name.
        site: String,
    },
    /// Sites that were waited for in vain.
    #[error("these sites have not connected: {}", sites.join(", "))]
    SitesMissing {
        /// Their names.
        sites: Vec<String>,
    },
    /// There was no room for the request for as long as the client had patience: it was never looked at.
    #[error("overloaded for too long; come again after {} ms", retry_after.as_millis())]
    Overloaded {
        /// When there may be room.
        retry_after: Duration,
    },
    /// The coordinator refused, or could not be asked; nothing was changed.
    #[error("the coordinator did not answer: {}", .0.message())]
    Coordinator(#[source] Status),
    /// Nobody listens where the coordinator should be.
    #[error("cannot connect to the coordinator at {uri}; is it running?")]
    Connect {
        /// Where.
        uri: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Nobody listens where the site should be.
    #[error("cannot connect to the site at {uri}; is it running?")]
    ConnectSite {
        /// Where.
        uri: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Not an address.
    #[error(transparent)]
    InvalidUri(#[from] InvalidUri),
    /// An answer breaks the rules of the wire format: are the versions far apart?
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] MalformedWire),
}

impl ClientError {
    /// Whether the transaction is aborted, and beginning it again may help.
    #[must_use]
    pub const fn is_abort(&self) -> bool {
        matches!(self, Self::Aborted(_))
    }

    /// Whether the database behind a site cannot be reached: the transaction cannot commit now, and beginning it again
    /// after a while may help.
    #[must_use]
    pub const fn is_database_away(&self) -> bool {
        matches!(self, Self::Aborted(AbortCause::DatabaseAway))
            || matches!(self, Self::Refused(refused) if matches!(refused.code, RefusedCode::DatabaseAway))
    }
}

/// What a commit's or rollback's answer means to the client (K1). The one place that says so.
pub(super) fn outcome(
    what: Unresolved,
    how: End,
    answer: Result<CommitAnswer, Status>,
) -> Result<Commit, ClientError> {
    let reason = match answer {
        Ok(CommitAnswer::Committed { stamp }) => return Ok(Commit::Committed(stamp)),
        Ok(CommitAnswer::Aborted { cause }) => return Ok(Commit::Aborted(cause)),
        Ok(CommitAnswer::Unknown) => "a site or the log failed while it was decided".to_owned(),
        // Asked for the first time, a transaction that nobody remembers cannot have committed: this was the
        // only request that could have made it.
        Ok(CommitAnswer::Refused(_)) if how != End::CommitAgain => {
            return Ok(Commit::Aborted(AbortCause::UnknownTransaction));
        }
        Ok(CommitAnswer::Refused(_)) => "the coordinator does not remember it".to_owned(),
        // Never looked at; but when asked again, the first request may have been.
        Err(status) if how != End::CommitAgain && retry_after(&status).is_some() => {
            return Err(of_coordinator(status));
        }
        Err(status) if leaves_open(status.code()) => format!("no answer ({})", status.message()),
        Err(status) => return Err(ClientError::Coordinator(status)),
    };
    Err(ClientError::OutcomeUnknown { what, reason })
}

/// What a call that the coordinator did not answer means.
pub(super) fn of_coordinator(status: Status) -> ClientError {
    match retry_after(&status) {
        Some(retry_after) => ClientError::Overloaded { retry_after },
        None => ClientError::Coordinator(status),
    }
}

/// Whether a request that ended so may have been carried out. A deadline shows as `Cancelled`.
pub(super) fn leaves_open(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::PermissionDenied => false,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
    }
}

#[cfg(test)]
mod tests {
    use co_core::Stamp;

    use super::*;
    use crate::protocol::Refusal;

    const COMMIT: End = End::Commit { dependent: false };

    fn of(how: End, answer: Result<CommitAnswer, Status>) -> Result<Commit, ClientError> {
        let sites = vec!["a".to_owned()];
        let gtid = Gtid(1);
        outcome(Unresolved { gtid, sites }, how, answer)
    }

    #[test]
    fn no_broken_call_is_ever_called_aborted() {
        for code in [
            Code::Cancelled,
            Code::Unavailable,
            Code::Unknown,
            Code::DeadlineExceeded,
        ] {
            let result = of(COMMIT, Err(Status::new(code, "gone")));
            assert!(
                matches!(result, Err(ClientError::OutcomeUnknown { .. })),
                "{code:?}"
            );
        }
        let refused = of(COMMIT, Err(Status::invalid_argument("no")));
        assert!(matches!(refused, Err(ClientError::Coordinator(_))));
    }

    #[test]
    fn answers_are_what_they_say() {
        for how in [COMMIT, End::CommitAgain] {
            let committed = of(how, Ok(CommitAnswer::Committed { stamp: Stamp(3) }));
            assert!(matches!(committed, Ok(Commit::Committed(Stamp(3)))));
            let cause = AbortCause::Timeout;
            let aborted = of(how, Ok(CommitAnswer::Aborted { cause }));
            assert!(matches!(aborted, Ok(Commit::Aborted(AbortCause::Timeout))));
            let open = of(how, Ok(CommitAnswer::Unknown));
            assert!(matches!(open, Err(ClientError::OutcomeUnknown { .. })));
        }
    }

    #[test]
    fn what_nobody_remembers_is_aborted_only_if_it_was_asked_for_once() {
        let forgotten = Ok(CommitAnswer::Refused(Refusal::UnknownGtid));
        let once = of(COMMIT, forgotten.clone());
        assert!(matches!(
            once,
            Ok(Commit::Aborted(AbortCause::UnknownTransaction))
        ));
        let again = of(End::CommitAgain, forgotten);
        assert!(matches!(again, Err(ClientError::OutcomeUnknown { .. })));
    }
}
