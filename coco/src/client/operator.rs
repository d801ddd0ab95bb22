//! What operators ask.

use std::time::Duration;

use co_core::Gtid;
use tonic::Status;

use super::{Client, ClientError, ClientOptions, error};
use crate::protocol::ByHand;
use crate::service::coordinator::{History, Resolved, Transactions};
use crate::service::net::Connector;
use crate::service::security::Credentials;
use crate::service::site::{DoneByHand, Pending};
use crate::service::{
    MAX_MESSAGE_BYTES, SiteServiceClient, Transport, done_by_hand_of, endpoint, history_of,
    history_request, pending_of, pending_request, resolve_request, resolved_of,
    site_resolve_request, transactions_of, transactions_request, with_timeout,
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

    /// Decides a transaction in doubt at one site alone, or acknowledges the damage that this did. It breaks
    /// atomicity and order if the coordinator decides, or has decided, the other way: for when it is gone for
    /// good. What is asked for, and why, goes into the site's audit file first. Needs the role operator.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if that is not possible, and says why; or if the site is not known or cannot be
    /// asked, after which it may have been done: ask what is [pending](Self::pending).
    pub async fn resolve_at(
        &self,
        site: &str,
        gtid: Gtid,
        how: ByHand,
        reason: &str,
    ) -> Result<DoneByHand, ClientError> {
        let directory = &self.shared.directory;
        directory.resolve(site, gtid, how, reason).await
    }
}

/// An operator at one site, whose coordinator need not be there.
#[derive(Clone, Debug)]
pub struct SiteOperator {
    site: SiteServiceClient<Transport>,
    uri: String,
    patience: Duration,
}

impl SiteOperator {
    /// Connects to the site at `uri`, such as `http://127.0.0.1:7001`.
    ///
    /// # Errors
    /// If `uri` is no address, or nobody listens there.
    pub async fn connect(uri: &str, credentials: &Credentials) -> Result<Self, ClientError> {
        let target = endpoint(uri, credentials, &Connector::tcp())?;
        let connected = target.connect().await;
        let channel = connected.map_err(|source| ClientError::ConnectSite {
            uri: uri.to_owned(),
            source,
        })?;
        let site = SiteServiceClient::with_interceptor(channel, credentials.bearer())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            site,
            uri: uri.to_owned(),
            patience: ClientOptions::default().operation_timeout,
        })
    }

    /// As [`Client::pending`].
    ///
    /// # Errors
    /// If the site cannot be asked.
    pub async fn pending(&self) -> Result<Pending, ClientError> {
        let request = with_timeout(pending_request(), self.patience);
        let reply = self.site.clone().pending(request).await;
        let reply = reply.map_err(|status| self.failed(status))?;
        Ok(pending_of(reply.into_inner())?)
    }

    /// As [`Client::resolve_at`].
    ///
    /// # Errors
    /// As that.
    pub async fn resolve(
        &self,
        gtid: Gtid,
        how: ByHand,
        reason: &str,
    ) -> Result<DoneByHand, ClientError> {
        let request = site_resolve_request(gtid, how, reason);
        let request = with_timeout(request, self.patience);
        let reply = self.site.clone().resolve(request).await;
        let reply = reply.map_err(|status| self.failed(status))?;
        Ok(done_by_hand_of(reply.into_inner())??)
    }

    fn failed(&self, status: Status) -> ClientError {
        ClientError::SiteFailed {
            site: self.uri.clone(),
            status: Box::new(status),
        }
    }
}
