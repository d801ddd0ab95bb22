//! What operators ask.

use co_core::Gtid;

use super::{Client, ClientError, error};
use crate::service::coordinator::{History, Resolved, Transactions};
use crate::service::site::Pending;
use crate::service::{
    history_of, history_request, resolve_request, resolved_of, transactions_of,
    transactions_request, with_timeout,
};

impl Client {
    /// The transactions that the coordinator has not forgotten, oldest first and at most so many, and who
    /// waits for whom. Needs the role operator.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn transactions(&self, limit: u32) -> Result<Transactions, ClientError> {
        let request = with_timeout(transactions_request(limit), self.patience());
        let reply = self.coordinator().transactions(request).await;
        let reply = reply.map_err(error::of_coordinator)?;
        Ok(transactions_of(reply.into_inner())?)
    }

    /// The last decisions, deadlocks and operator actions, latest first and at most so many of each. Needs
    /// the role operator.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn history(&self, limit: u32) -> Result<History, ClientError> {
        let request = with_timeout(history_request(limit), self.patience());
        let reply = self.coordinator().history(request).await;
        let reply = reply.map_err(error::of_coordinator)?;
        Ok(history_of(reply.into_inner())?)
    }

    /// Aborts a transaction that is undecided; a decided one is left alone. It cannot break atomicity. What
    /// is asked for, and why, goes into the coordinator's audit file first. Needs the role operator.
    ///
    /// # Errors
    /// If the coordinator cannot be asked, or cannot write its audit file.
    pub async fn resolve(&self, gtid: Gtid, reason: &str) -> Result<Resolved, ClientError> {
        let request = with_timeout(resolve_request(gtid, reason), self.patience());
        let reply = self.coordinator().resolve(request).await;
        let reply = reply.map_err(error::of_coordinator)?;
        Ok(resolved_of(reply.into_inner())?)
    }

    /// What is in doubt at a site, and who waits there. Needs the role operator.
    ///
    /// # Errors
    /// If the site is not known or cannot be asked.
    pub async fn pending(&self, site: &str) -> Result<Pending, ClientError> {
        self.shared.directory.pending(site).await
    }
}
