//! The database as it is: a coordinator and the sites, reached over the network.

use std::time::Duration;

use anyhow::{Context as _, bail};
use co_core::Priority;
use coco::client::{
    Client, ClientError, Commit, LocalTransaction, Operation, OperationReply, Transaction as Global,
};
use coco::service::site::Range as SiteRange;

use crate::database::{Answer, Database, Op, Range, Scope, Stop, Transaction};
use crate::figures::{CoordinatorFigures, SiteFigures};
use crate::site::{Site, Sites};

/// How long the participants may take to connect to the coordinator.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// How long the last transactions may take to leave the sites.
const QUIET_WITHIN: Duration = Duration::from_secs(30);
/// How often the sites are asked whether they are quiet; they do not tell it by themselves.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A connection to all of them.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    client: Client,
    sites: Sites,
}

/// A transaction over the network.
#[derive(Debug)]
pub(crate) enum RemoteTxn {
    Global(Global),
    Local(Site, LocalTransaction),
}

impl Remote {
    /// Connects and waits until all sites have.
    ///
    /// # Errors
    /// When the coordinator is not there or a site does not connect to it.
    pub(crate) async fn connect(uri: &str, sites: Sites) -> anyhow::Result<Self> {
        let client = Client::connect(uri).await?;
        let names: Vec<&str> = sites.all().into_iter().map(Site::name).collect();
        client.wait_for_sites(&names, CONNECT_WITHIN).await?;
        Ok(Self { client, sites })
    }

    /// Waits until no transaction is left at any site.
    ///
    /// # Errors
    /// When one stays, which would be a fault of the protocol, or when a site cannot be asked.
    pub(crate) async fn quiet(&self) -> anyhow::Result<()> {
        let all_quiet = async {
            for site in self.sites.all() {
                while self.site(site).await?.in_flight > 0 {
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(QUIET_WITHIN, all_quiet).await {
            Ok(quiet) => quiet,
            Err(_late) => {
                let mut left = Vec::new();
                for site in self.sites.all() {
                    left.push(format!("{site} {}", self.site(site).await?.in_flight));
                }
                let seconds = QUIET_WITHIN.as_secs();
                bail!(
                    "{seconds} s after the end transactions are left: {}",
                    left.join(", ")
                )
            }
        }
    }

    /// What the processes have counted.
    ///
    /// # Errors
    /// When one of them cannot be asked.
    pub(crate) async fn figures(
        &self,
    ) -> anyhow::Result<(CoordinatorFigures, Vec<(Site, SiteFigures)>)> {
        let asked = self
            .client
            .statistics()
            .await
            .context("asking the coordinator")?;
        let coordinator = CoordinatorFigures {
            commits: asked.counters.commits,
            aborts: asked.counters.aborts_in_all(),
            deadlocks_by_search: asked.counters.deadlocks_by_search,
            deadlocks_by_timeout: asked.counters.deadlocks_by_timeout,
            blocked_reports: asked.counters.reports,
        };
        let mut sites = Vec::new();
        for site in self.sites.all() {
            let asked = self.site(site).await?;
            let figures = SiteFigures {
                votes_requested: asked.votes_requested,
                votes_withheld: asked.votes_withheld,
                local_cycles: asked.local_cycles,
                overtaken: asked.overtaken,
            };
            sites.push((site, figures));
        }
        Ok((coordinator, sites))
    }

    async fn site(&self, site: Site) -> anyhow::Result<coco::service::site::SiteStatistics> {
        let asked = self.client.site_statistics(site.name()).await;
        asked.with_context(|| format!("asking site {site}"))
    }
}

impl Database for Remote {
    type Txn = RemoteTxn;

    async fn begin(&self, scope: Scope, age: Option<Priority>) -> Result<RemoteTxn, Stop> {
        Ok(match (scope, age) {
            (Scope::Global, None) => RemoteTxn::Global(self.client.begin().await.map_err(stop)?),
            (Scope::Global, Some(age)) => {
                RemoteTxn::Global(self.client.begin_again(age).await.map_err(stop)?)
            }
            (Scope::Local(site), None) => RemoteTxn::Local(site, self.client.local(site.name())),
            (Scope::Local(site), Some(age)) => {
                RemoteTxn::Local(site, self.client.local_again(site.name(), age))
            }
        })
    }
}

impl Transaction for RemoteTxn {
    fn age(&self) -> Option<Priority> {
        match self {
            Self::Global(txn) => Some(txn.priority()),
            Self::Local(_, txn) => txn.priority(),
        }
    }

    async fn execute(&mut self, site: Site, ops: Vec<Op>) -> Result<Vec<Answer>, Stop> {
        let operations = ops.into_iter().map(operation).collect();
        let replies = match self {
            Self::Global(txn) => txn.execute(site.name(), operations).await,
            Self::Local(own, txn) => {
                assert_eq!(*own, site, "a request of one site stays there");
                txn.execute(operations).await
            }
        };
        Ok(replies.map_err(stop)?.into_iter().map(answer).collect())
    }

    async fn commit(self) -> Result<(), Stop> {
        let ended = match self {
            Self::Global(txn) => txn.commit().await,
            Self::Local(_, txn) => txn.commit().await,
        };
        match ended.map_err(stop)? {
            Commit::Committed(_) => Ok(()),
            Commit::Aborted(cause) => Err(Stop::Aborted(cause)),
        }
    }
}

fn operation(op: Op) -> Operation {
    match op {
        Op::Get(key) => Operation::Get(key),
        Op::Put(key, value) => Operation::Put(key, value),
        Op::Delete(key) => Operation::Delete(key),
        Op::Scan(Range { low, high }) => Operation::Scan(SiteRange { low, high }),
        Op::Increment(key, by) => Operation::Increment(key, by),
    }
}

fn answer(reply: OperationReply) -> Answer {
    match reply {
        OperationReply::Value(value) => Answer::Value(value),
        OperationReply::Rows(rows) => Answer::Rows(rows),
        OperationReply::Done | OperationReply::Table(_) => Answer::Done,
    }
}

fn stop(error: ClientError) -> Stop {
    let unknown = matches!(
        error,
        ClientError::OutcomeUnknown { .. } | ClientError::LocalOutcomeUnknown { .. }
    );
    if let ClientError::Aborted(cause) = error {
        Stop::Aborted(cause)
    } else if unknown {
        Stop::Unknown(error.to_string())
    } else {
        Stop::Failed(error.into())
    }
}
