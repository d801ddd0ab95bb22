//! A coordinator's transactions for the program that it is part of: what clients ask for over the network, without
//! the network.

use co_core::{Gtid, Priority};
use tokio::sync::{mpsc, oneshot};

use super::driver::{Input, NotBegun};
use super::{BeginGrant, CoordinatorServer, MAX_LEASE};
use crate::protocol::{BeginRefused, CommitAnswer, SiteName};
use crate::service::guard::PeerKey;

/// Begins and ends transactions at a coordinator in the same process. It has to tell the sites of their operations
/// itself. Clones ask the same coordinator.
#[derive(Clone, Debug)]
pub struct Embedded {
    inbox: mpsc::Sender<Input>,
}

/// Why an embedded coordinator did not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// Its machine begins nothing now.
    #[error(transparent)]
    Refused(#[from] BeginRefused),
    /// The program's own share of transactions is used up; end some first.
    #[error("too many transactions are undecided; end some of them first")]
    Full,
    /// It is draining: it begins nothing any more.
    #[error("the coordinator is draining; begin at another one")]
    Draining,
    /// It has ended. What was asked for may have been done.
    #[error("the coordinator has ended; ask again when it is back")]
    Ended,
}

impl CoordinatorServer {
    /// Its transactions, for a program that the coordinator is a part of.
    #[must_use]
    pub fn embedded(&self) -> Embedded {
        Embedded {
            inbox: self.inbox.clone(),
        }
    }
}

impl Embedded {
    /// Begins up to `count` transactions, at least one and at most 1024, that are this old or as old as they are.
    ///
    /// # Errors
    /// [`EmbeddedError`] says why none was begun.
    pub async fn begin(
        &self,
        count: u32,
        priority: Option<Priority>,
    ) -> Result<BeginGrant, EmbeddedError> {
        let begin = |reply| Input::Begin {
            count: count.clamp(1, MAX_LEASE),
            priority,
            peer: PeerKey::Unknown,
            reply,
        };
        self.ask(begin).await?.map_err(|not_begun| match not_begun {
            NotBegun::Refused(refused) => EmbeddedError::Refused(refused),
            NotBegun::PeerIsFull => EmbeddedError::Full,
            NotBegun::Draining => EmbeddedError::Draining,
        })
    }

    /// Ends a transaction that has worked at these sites: commit if every one of them can. With `dependent` those that
    /// can, vote before its predecessors are decided.
    ///
    /// # Errors
    /// [`EmbeddedError::Ended`]: the outcome is not known.
    pub async fn commit(
        &self,
        gtid: Gtid,
        sites: Vec<SiteName>,
        dependent: bool,
    ) -> Result<CommitAnswer, EmbeddedError> {
        self.ask(|reply| Input::Commit {
            gtid,
            sites,
            dependent,
            reply,
        })
        .await
    }

    /// Aborts a transaction at these sites.
    ///
    /// # Errors
    /// [`EmbeddedError::Ended`]: the sites give it up in time.
    pub async fn rollback(
        &self,
        gtid: Gtid,
        sites: Vec<SiteName>,
    ) -> Result<CommitAnswer, EmbeddedError> {
        self.ask(|reply| Input::Rollback { gtid, sites, reply })
            .await
    }

    async fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, EmbeddedError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(input(reply)).await;
        sent.map_err(|_| EmbeddedError::Ended)?;
        answer.await.map_err(|_| EmbeddedError::Ended)
    }
}
