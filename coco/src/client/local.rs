//! Transactions of one site alone.

use std::fmt;

use co_core::Priority;

use super::backoff::Backoff;
use super::error::leaves_open;
use super::{Client, ClientError, Commit, Operation, OperationReply, Table};
use crate::protocol::{AbortCause, CommitAnswer};
use crate::service::site::{Execute, ExecuteOutcome, Range, Row, SiteTxn};
use crate::service::{answer_of, local_request, retry_after, with_timeout};

/// A transaction of one site alone. It begins with its first operation, and commits without the
/// coordinator, in the same order as all others. Dropped unfinished it is rolled back in the background.
pub struct LocalTransaction {
    client: Client,
    site: String,
    name: Option<u64>,
    priority: Option<Priority>,
    open: bool,
}

impl LocalTransaction {
    pub(super) fn new(client: Client, site: &str, priority: Option<Priority>) -> Self {
        Self {
            client,
            site: site.to_owned(),
            name: None,
            priority,
            open: true,
        }
    }

    /// Its age, once it has begun. Give it to [`Client::local_again`] when the transaction was aborted.
    #[must_use]
    pub fn priority(&self) -> Option<Priority> {
        self.priority
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ClientError> {
        value(
            self.execute(vec![Operation::Get(key.as_ref().to_vec())])
                .await?,
        )
    }

    /// Writes a key.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn put(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), ClientError> {
        let operation = Operation::Put(key.as_ref().to_vec(), value.as_ref().to_vec());
        self.execute(vec![operation]).await.map(drop)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<(), ClientError> {
        self.execute(vec![Operation::Delete(key.as_ref().to_vec())])
            .await
            .map(drop)
    }

    /// Adds to a number, eight little-endian bytes.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn increment(&mut self, key: impl AsRef<[u8]>, by: i64) -> Result<(), ClientError> {
        self.execute(vec![Operation::Increment(key.as_ref().to_vec(), by)])
            .await
            .map(drop)
    }

    /// Reads the keys from `low` up to, not including, `high`.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn scan(
        &mut self,
        low: impl AsRef<[u8]>,
        high: Option<&[u8]>,
    ) -> Result<Vec<Row>, ClientError> {
        let range = Range {
            low: low.as_ref().to_vec(),
            high: high.map(<[u8]>::to_vec),
        };
        rows(self.execute(vec![Operation::Scan(range)]).await?)
    }

    /// Names all keys that the transaction is going to use, before its other operations: sites that lock what is
    /// declared need it, for the others it means nothing.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`].
    pub async fn declare<K: AsRef<[u8]>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), ClientError> {
        self.execute(vec![declaration(keys)]).await.map(drop)
    }

    /// Runs one statement of the site's database, without parameters; the answer is text.
    ///
    /// # Errors
    /// As [`LocalTransaction::execute`]. A site without such a language refuses it, and so does one whose database
    /// does.
    pub async fn sql(&mut self, statement: &str) -> Result<Table, ClientError> {
        table(
            self.execute(vec![Operation::Sql(statement.to_owned())])
                .await?,
        )
    }

    /// Runs several operations with one round trip.
    ///
    /// # Errors
    /// [`ClientError::Aborted`] and [`ClientError::SiteFailed`] end the transaction;
    /// [`ClientError::Refused`] leaves it as it was, except that the operations before the refused one are
    /// done.
    ///
    /// # Cancel safety
    /// When the future is dropped the transaction is aborted.
    pub async fn execute(
        &mut self,
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationReply>, ClientError> {
        if !self.open {
            return Err(ClientError::Ended);
        }
        let (txn, begin) = match self.name {
            Some(name) => (SiteTxn::Local(name), None),
            None => (SiteTxn::NewLocal, self.priority),
        };
        let shared = std::sync::Arc::clone(&self.client.shared);
        let request = Execute {
            txn,
            begin,
            operations,
        };
        let timeout = shared.options.operation_timeout;
        // Until an answer lets it go on, it has ended: the site aborts what nobody waits for.
        self.open = false;
        let answer = match shared.directory.execute(&self.site, request, timeout).await {
            Ok(answer) => answer,
            Err(error) => {
                self.open = matches!(
                    error,
                    ClientError::UnknownSite { .. } | ClientError::Overloaded { .. }
                );
                return Err(error);
            }
        };
        if let Some(local) = answer.local {
            self.name = Some(local.name);
            self.priority = Some(local.priority);
        }
        match answer.outcome {
            ExecuteOutcome::Results(results) => {
                self.open = true;
                Ok(results)
            }
            ExecuteOutcome::Refused(refused) => {
                self.open = true;
                Err(refused.into())
            }
            ExecuteOutcome::Aborted(cause) => Err(ClientError::Aborted(cause)),
        }
    }

    /// Commits.
    ///
    /// # Errors
    /// [`ClientError::LocalOutcomeUnknown`] when no answer came: never take that for an abort.
    ///
    /// # Cancel safety
    /// When the future is dropped the commit goes on, and its outcome stays unknown here.
    pub async fn commit(mut self) -> Result<Commit, ClientError> {
        if !std::mem::replace(&mut self.open, false) {
            return Err(ClientError::Ended);
        }
        let Some(name) = self.name else {
            return Ok(Commit::Committed(co_core::Stamp::default()));
        };
        let options = &self.client.shared.options;
        let mut site = self.client.shared.directory.client(&self.site).await?;
        let mut backoff = Backoff::new(options.overload_patience);
        let answer = loop {
            let request = with_timeout(local_request(name), options.commit_timeout);
            match site.commit_local(request).await {
                Err(status) if backoff.again(&status).await => {}
                answer => break answer,
            }
        };
        let reason = match answer {
            Ok(reply) => match answer_of(reply.into_inner())? {
                CommitAnswer::Committed { stamp } => return Ok(Commit::Committed(stamp)),
                CommitAnswer::Aborted { cause } => return Ok(Commit::Aborted(cause)),
                // The request is sent once, so a site that does not know it has not committed it.
                CommitAnswer::Refused(_) => {
                    return Ok(Commit::Aborted(AbortCause::UnknownTransaction));
                }
                CommitAnswer::Unknown => "the site's log failed while it was written".to_owned(),
            },
            Err(status) if retry_after(&status).is_some() => {
                // Nobody has looked at it: dropping it rolls it back.
                self.open = true;
                return Err(self.client.shared.directory.failed(&self.site, status));
            }
            Err(status) if leaves_open(status.code()) => {
                format!("no answer ({})", status.message())
            }
            Err(status) => return Err(self.client.shared.directory.failed(&self.site, status)),
        };
        Err(ClientError::LocalOutcomeUnknown {
            site: self.site.clone(),
            reason,
        })
    }

    /// Aborts.
    ///
    /// # Errors
    /// If the site cannot be told; it then gives the transaction up in time.
    pub async fn rollback(mut self) -> Result<(), ClientError> {
        if !std::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        roll_back(self.client.clone(), self.site.clone(), self.name).await
    }
}

async fn roll_back(client: Client, site: String, name: Option<u64>) -> Result<(), ClientError> {
    let Some(name) = name else { return Ok(()) };
    let directory = &client.shared.directory;
    let reply = directory
        .client(&site)
        .await?
        .rollback_local(with_timeout(
            local_request(name),
            client.shared.options.operation_timeout,
        ))
        .await;
    reply
        .map(drop)
        .map_err(|status| directory.failed(&site, status))
}

impl Drop for LocalTransaction {
    fn drop(&mut self) {
        if !self.open || self.name.is_none() {
            return;
        }
        let ending = roll_back(self.client.clone(), self.site.clone(), self.name);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // An error leaves it to the site, which gives up idle transactions.
                let _left_to_the_site = ending.await;
            });
        }
    }
}

impl fmt::Debug for LocalTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTransaction")
            .field("site", &self.site)
            .field("name", &self.name)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

const UNFIT: ClientError = ClientError::Malformed(crate::service::MalformedWire::Missing(
    "execute_reply.results",
));

/// The answer to one read.
pub(super) fn value(replies: Vec<OperationReply>) -> Result<Option<Vec<u8>>, ClientError> {
    match replies.into_iter().next() {
        Some(OperationReply::Value(value)) => Ok(value),
        Some(OperationReply::Rows(_) | OperationReply::Done | OperationReply::Table(_)) | None => {
            Err(UNFIT)
        }
    }
}

/// The answer to one scan.
pub(super) fn rows(replies: Vec<OperationReply>) -> Result<Vec<Row>, ClientError> {
    match replies.into_iter().next() {
        Some(OperationReply::Rows(rows)) => Ok(rows),
        Some(OperationReply::Value(_) | OperationReply::Done | OperationReply::Table(_)) | None => {
            Err(UNFIT)
        }
    }
}

/// The answer to one statement.
pub(super) fn table(replies: Vec<OperationReply>) -> Result<Table, ClientError> {
    match replies.into_iter().next() {
        Some(OperationReply::Table(table)) => Ok(table),
        Some(OperationReply::Value(_) | OperationReply::Rows(_) | OperationReply::Done) | None => {
            Err(UNFIT)
        }
    }
}

pub(super) fn declaration<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Operation {
    let keys = keys.into_iter().map(|key| key.as_ref().to_vec());
    Operation::Declare(keys.collect())
}
