//! One transaction over any number of sites.

use std::collections::BTreeSet;
use std::fmt;

use co_core::{Gtid, Priority, Stamp};

use super::{Client, ClientError, End, Operation, OperationReply, Table, Unresolved};
use crate::protocol::AbortCause;
use crate::service::RefusedCode;
use crate::service::site::{Execute, ExecuteOutcome, Range, Row, SiteTxn};

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Commit {
    /// Committed at all its sites, at this place in the order of all sites.
    Committed(Stamp),
    /// Aborted at all its sites.
    Aborted(AbortCause),
}

impl Commit {
    /// The stamp of the commit.
    ///
    /// # Errors
    /// [`ClientError::Aborted`] if it did not commit: for callers that treat this as any other failure.
    pub const fn committed(self) -> Result<Stamp, ClientError> {
        match self {
            Self::Committed(stamp) => Ok(stamp),
            Self::Aborted(cause) => Err(ClientError::Aborted(cause)),
        }
    }
}

/// A transaction over any number of sites. It begins at a site with its first operation there.
///
/// One operation runs at a time. When a site aborts the transaction, or an operation's answer is lost, it
/// is rolled back at its other sites at once. A transaction that is dropped unfinished is rolled back in the
/// background; without a tokio runtime it is left to the sites, which give up idle transactions.
pub struct Transaction {
    client: Client,
    gtid: Gtid,
    priority: Priority,
    sites: BTreeSet<String>,
    open: bool,
}

impl Transaction {
    pub(super) fn new(client: Client, gtid: Gtid, priority: Priority) -> Self {
        Self {
            client,
            gtid,
            priority,
            sites: BTreeSet::new(),
            open: true,
        }
    }

    /// Its name at all sites.
    #[must_use]
    pub fn gtid(&self) -> Gtid {
        self.gtid
    }

    /// Its age. Give it to [`Client::begin_again`] when the transaction was aborted.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The sites at which it has begun.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.iter().map(String::as_str)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn get(
        &mut self,
        site: &str,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let operation = Operation::Get(key.as_ref().to_vec());
        super::local::value(self.execute(site, vec![operation]).await?)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn put(
        &mut self,
        site: &str,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), ClientError> {
        let operation = Operation::Put(key.as_ref().to_vec(), value.as_ref().to_vec());
        self.execute(site, vec![operation]).await.map(drop)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn delete(&mut self, site: &str, key: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let operation = Operation::Delete(key.as_ref().to_vec());
        self.execute(site, vec![operation]).await.map(drop)
    }

    /// Adds to a number, eight little-endian bytes. Increments of one key do not wait for each other.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn increment(
        &mut self,
        site: &str,
        key: impl AsRef<[u8]>,
        by: i64,
    ) -> Result<(), ClientError> {
        let operation = Operation::Increment(key.as_ref().to_vec(), by);
        self.execute(site, vec![operation]).await.map(drop)
    }

    /// Reads the keys from `low` up to, not including, `high`.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn scan(
        &mut self,
        site: &str,
        low: impl AsRef<[u8]>,
        high: Option<&[u8]>,
    ) -> Result<Vec<Row>, ClientError> {
        let range = Range {
            low: low.as_ref().to_vec(),
            high: high.map(<[u8]>::to_vec),
        };
        super::local::rows(self.execute(site, vec![Operation::Scan(range)]).await?)
    }

    /// Names all keys that the transaction is going to use at a site, before its other operations there: sites that
    /// lock what is declared need it, for the others it means nothing.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn declare<K: AsRef<[u8]>>(
        &mut self,
        site: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), ClientError> {
        let declaration = super::local::declaration(keys);
        self.execute(site, vec![declaration]).await.map(drop)
    }

    /// Runs one statement of a site's database, without parameters; the answer is text.
    ///
    /// # Errors
    /// As [`Transaction::execute`]. A site without such a language refuses it, and so does one whose database does.
    pub async fn sql(&mut self, site: &str, statement: &str) -> Result<Table, ClientError> {
        let operation = Operation::Sql(statement.to_owned());
        super::local::table(self.execute(site, vec![operation]).await?)
    }

    /// Runs several operations at one site with one round trip.
    ///
    /// # Errors
    /// [`ClientError::Aborted`] and [`ClientError::SiteFailed`] end the transaction everywhere;
    /// [`ClientError::Refused`], [`ClientError::Overloaded`] and [`ClientError::UnknownSite`] leave it as it was, except that the
    /// operations before the refused one are done.
    ///
    /// # Cancel safety
    /// When the future is dropped the transaction has ended: it is rolled back.
    pub async fn execute(
        &mut self,
        site: &str,
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationReply>, ClientError> {
        if !self.open {
            return Err(ClientError::Ended);
        }
        let directory = &self.client.shared.directory;
        // A site that is not there has not been touched.
        directory.client(site).await?;
        let begin = self.sites.insert(site.to_owned()).then_some(self.priority);
        let txn = SiteTxn::Global(self.gtid);
        let timeout = self.client.shared.options.operation_timeout;
        let mut lost = EndUnlessKept {
            txn: self,
            keep: false,
        };
        let request = Execute {
            txn,
            begin,
            operations,
        };
        let directory = &lost.txn.client.shared.directory;
        let answer = match directory.execute(site, request, timeout).await {
            Ok(answer) => answer,
            Err(error) => {
                // The site has not looked at it, and so has not begun the transaction either.
                lost.keep = matches!(error, ClientError::Overloaded { .. });
                if lost.keep && begin.is_some() {
                    lost.txn.sites.remove(site);
                }
                return Err(error);
            }
        };
        match answer.outcome {
            ExecuteOutcome::Results(results) => {
                lost.keep = true;
                Ok(results)
            }
            ExecuteOutcome::Refused(refused) => {
                // A site that does not know the transaction has lost it: it cannot commit any more.
                lost.keep = refused.code != RefusedCode::UnknownTransaction;
                Err(refused.into())
            }
            ExecuteOutcome::Aborted(cause) => Err(ClientError::Aborted(cause)),
        }
    }

    /// Commits at all sites, or at none.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`] when no answer came: never take that for an abort.
    /// [`ClientError::Overloaded`] when the coordinator had no room to look at it: it is rolled back.
    ///
    /// # Cancel safety
    /// When the future is dropped the commit goes on, and its outcome stays unknown here.
    pub async fn commit(self) -> Result<Commit, ClientError> {
        self.end_with(false).await
    }

    /// Commits at all sites, or at none; sites that can, vote before the transaction's predecessors are
    /// decided. It commits sooner on data that many write, and aborts if a transaction whose writes it
    /// read does.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    ///
    /// # Cancel safety
    /// As [`Transaction::commit`].
    pub async fn commit_dependent(self) -> Result<Commit, ClientError> {
        self.end_with(true).await
    }

    async fn end_with(mut self, dependent: bool) -> Result<Commit, ClientError> {
        if !self.open {
            return Err(ClientError::Ended);
        }
        self.open = false;
        let (client, what) = (self.client.clone(), self.unresolved());
        let ended = client.end(what, End::Commit { dependent }).await;
        // Nobody has been asked to commit it.
        self.open = matches!(ended, Err(ClientError::Overloaded { .. }));
        ended
    }

    /// Aborts at all sites.
    ///
    /// # Errors
    /// If the coordinator cannot be told; the sites then give the transaction up in time.
    pub async fn rollback(mut self) -> Result<(), ClientError> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        let (client, what) = (self.client.clone(), self.unresolved());
        client.end(what, End::Rollback).await.map(drop)
    }

    fn unresolved(&self) -> Unresolved {
        Unresolved {
            gtid: self.gtid,
            sites: self.sites.iter().cloned().collect(),
        }
    }

    /// Ends it and has it rolled back in the background.
    fn give_up(&mut self) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let (client, what) = (self.client.clone(), self.unresolved());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // An error leaves it to the sites, which give up idle transactions.
                let _left_to_the_sites = client.end(what, End::Rollback).await;
            });
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("gtid", &self.gtid)
            .field("priority", &self.priority)
            .field("sites", &self.sites)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// Ends the transaction unless an operation's answer has come and lets it go on (K2): an error, an abort
/// and a dropped future all end it.
struct EndUnlessKept<'a> {
    txn: &'a mut Transaction,
    keep: bool,
}

impl Drop for EndUnlessKept<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.txn.give_up();
        }
    }
}
