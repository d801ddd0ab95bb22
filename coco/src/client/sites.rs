//! Where the sites are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use co_core::{Gtid, Stamp};
use tokio::time::Instant;
use tonic::{Request, Status};

use super::backoff::Backoff;
use super::{ClientError, ClientOptions, error};
use crate::protocol::ByHand;
use crate::service::coordinator::SiteInfo;
use crate::service::net::Connector;
use crate::service::security::Credentials;
use crate::service::site::{
    DoneByHand, Execute, ExecuteAnswer, ExecuteOutcome, Pending, Range, Row, SiteStatistics,
};
use crate::service::{
    CoordinatorClient, MAX_MESSAGE_BYTES, RefusedCode, SiteServiceClient, Transport,
    done_by_hand_of, endpoint, execute_answer_of, execute_to_wire, pending_of, pending_request,
    query_reply_of, query_request, retry_after, site_infos, site_resolve_request,
    site_statistics_of, sites_request, statistics_request, with_timeout,
};

/// The clients of the sites that were used, by name.
#[derive(Debug)]
pub(super) struct Directory {
    coordinator: CoordinatorClient<Transport>,
    /// In order, so that a client which ends closes its connections in the same order each time.
    known: Mutex<BTreeMap<String, SiteServiceClient<Transport>>>,
    credentials: Credentials,
    connector: Connector,
    timeout: Duration,
    patience: Duration,
}

/// How often the coordinator is asked while sites are waited for.
const POLL: Duration = Duration::from_millis(20);

impl Directory {
    pub(super) fn new(coordinator: CoordinatorClient<Transport>, options: &ClientOptions) -> Self {
        Self {
            coordinator,
            known: Mutex::default(),
            credentials: options.credentials.clone(),
            connector: options.connector.clone(),
            timeout: options.operation_timeout,
            patience: options.overload_patience,
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<SiteInfo>, ClientError> {
        let request = with_timeout(sites_request(), self.timeout);
        let reply = self.coordinator.clone().sites(request).await;
        let reply = reply.map_err(error::of_coordinator)?;
        Ok(site_infos(reply.into_inner())?)
    }

    pub(super) async fn wait_for(
        &self,
        sites: &[&str],
        patience: Duration,
    ) -> Result<(), ClientError> {
        let end = Instant::now() + patience;
        loop {
            let list = self.list().await?;
            let is_there = |name: &str| {
                list.iter()
                    .any(|site| site.connected && site.name.as_str() == name)
            };
            let missing: Vec<String> = sites
                .iter()
                .filter(|name| !is_there(name))
                .map(|&name| name.to_owned())
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(ClientError::SitesMissing { sites: missing });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs operations at a site. A failure of the transport forgets the site's address: it may have come
    /// back elsewhere.
    pub(super) async fn execute(
        &self,
        site: &str,
        request: Execute,
        timeout: Duration,
    ) -> Result<ExecuteAnswer, ClientError> {
        let mut client = self.client(site).await?;
        let wire = execute_to_wire(request);
        let mut backoff = Backoff::new(self.patience);
        loop {
            let mut request = Request::new(wire.clone());
            request.set_timeout(timeout);
            let reply = match client.execute(request).await {
                Ok(reply) => execute_answer_of(reply.into_inner())?,
                Err(status) if backoff.again(&status).await => continue,
                Err(status) => return Err(self.failed(site, status)),
            };
            // A site without room for one more transaction has begun none.
            if let ExecuteOutcome::Refused(refused) = &reply.outcome
                && refused.code == RefusedCode::Overloaded
                && let Some(after) = refused.retry_after
            {
                if backoff.pause(after).await {
                    continue;
                }
                return Err(ClientError::Overloaded { retry_after: after });
            }
            return Ok(reply);
        }
    }

    pub(super) async fn query(
        &self,
        site: &str,
        stamp: Stamp,
        range: Range,
        timeout: Duration,
    ) -> Result<Vec<Row>, ClientError> {
        let mut client = self.client(site).await?;
        let request = query_request(stamp, range, timeout);
        let reply = client
            .query(request)
            .await
            .map_err(|status| self.failed(site, status))?;
        Ok(query_reply_of(reply.into_inner())??)
    }

    pub(super) async fn statistics(&self, site: &str) -> Result<SiteStatistics, ClientError> {
        let mut client = self.client(site).await?;
        let reply = client
            .site_statistics(with_timeout(statistics_request(), self.timeout))
            .await;
        let reply = reply.map_err(|status| self.failed(site, status))?;
        Ok(site_statistics_of(reply.into_inner()))
    }

    pub(super) async fn pending(&self, site: &str) -> Result<Pending, ClientError> {
        let mut client = self.client(site).await?;
        let reply = client
            .pending(with_timeout(pending_request(), self.timeout))
            .await;
        let reply = reply.map_err(|status| self.failed(site, status))?;
        Ok(pending_of(reply.into_inner())?)
    }

    pub(super) async fn resolve(
        &self,
        site: &str,
        gtid: Gtid,
        how: ByHand,
        reason: &str,
    ) -> Result<DoneByHand, ClientError> {
        let mut client = self.client(site).await?;
        let request = site_resolve_request(gtid, how, reason);
        let reply = client.resolve(with_timeout(request, self.timeout)).await;
        let reply = reply.map_err(|status| self.failed(site, status))?;
        Ok(done_by_hand_of(reply.into_inner())??)
    }

    /// The site's client, for calls that this module does not know.
    pub(super) async fn client(
        &self,
        site: &str,
    ) -> Result<SiteServiceClient<Transport>, ClientError> {
        if let Some(client) = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(site)
        {
            return Ok(client.clone());
        }
        let list = self.list().await?;
        let found = list
            .into_iter()
            .find(|info| info.connected && info.name.as_str() == site);
        let Some(found) = found else {
            return Err(ClientError::UnknownSite {
                site: site.to_owned(),
            });
        };
        let target = endpoint(&found.address, &self.credentials, &self.connector)?;
        let channel = target.connect_lazy();
        let client = SiteServiceClient::with_interceptor(channel, self.credentials.bearer())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(site.to_owned()).or_insert(client).clone())
    }

    /// What a failed call means to a transaction.
    pub(super) fn failed(&self, site: &str, status: Status) -> ClientError {
        if let Some(retry_after) = retry_after(&status) {
            return ClientError::Overloaded { retry_after };
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(site);
        ClientError::SiteFailed {
            site: site.to_owned(),
            status: Box::new(status),
        }
    }
}
