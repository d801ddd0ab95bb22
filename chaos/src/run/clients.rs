//! Clients that work all the time, whatever is killed under them, and remember what they were told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coco::client::{
    Client, ClientError, ClientOptions, Commit, LocalTransaction, Transaction, Unresolved,
};
use fastrand::Rng;

use crate::ledger::{ACCOUNT_RANGE, ACCOUNTS, Change, Ledger, Outcome, account_key, marker_key};

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) coordinators: Vec<String>,
    pub(super) sites: Vec<String>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) told: Mutex<Told>,
    pub(super) stop: AtomicBool,
}

/// What the clients have seen besides what the ledger holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Audits that committed.
    pub(super) audits: u64,
    /// What audits saw that cannot be.
    pub(super) wrong: Vec<String>,
    /// Commits whose outcome was learnt by asking again.
    pub(super) asked_again: u64,
    /// Errors that ended a transaction before its commit was asked for.
    pub(super) failed_early: u64,
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transactions of a client have numbers of their own.
pub(super) const CLIENT: u64 = 1 << 32;

pub(super) struct Worker {
    shared: Arc<Shared>,
    dice: Rng,
    next: u64,
}

/// What a transaction is to do.
struct Plan {
    id: u64,
    changes: Vec<Change>,
    sites: BTreeSet<usize>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: u64, dice: Rng) -> Self {
        Self {
            shared,
            dice,
            next: number * CLIENT,
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn work(mut self) {
        let options = ClientOptions {
            operation_timeout: Duration::from_secs(2),
            commit_timeout: Duration::from_secs(3),
            overload_patience: Duration::from_secs(1),
            ..ClientOptions::default()
        };
        while !self.shared.stop.load(Ordering::Relaxed) {
            let which = self.dice.usize(0..self.shared.coordinators.len());
            let uri = self.shared.coordinators[which].clone();
            let Ok(client) = Client::connect_with(&uri, options.clone()).await else {
                // Nobody is there: somebody else may be.
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            for _ in 0..200 {
                if self.shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                match self.one(&client).await {
                    Ok(()) | Err(ClientError::Aborted(_)) => {}
                    // Something is away: a new connection finds out what is there.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        break;
                    }
                }
            }
        }
    }

    async fn one(&mut self, client: &Client) -> Result<(), ClientError> {
        let done = match self.dice.u8(0..20) {
            0..=1 => self.audit(client).await,
            2..=8 => self.increments(client).await,
            9..=15 => self.read_and_write(client).await,
            16..=17 => self.at_one_site(client).await,
            _ => self.local(client).await,
        };
        if done.as_ref().is_err_and(|error| !error.is_abort()) {
            self.shared.told().failed_early += 1;
        }
        done
    }

    /// Moves between two accounts of different sites, or of one.
    fn plan(&mut self, same_site: bool) -> Plan {
        let by = self.dice.i64(1..10);
        let sites = self.shared.sites.len();
        let from = (self.dice.usize(0..sites), self.dice.u8(0..ACCOUNTS));
        let mut to = (self.dice.usize(0..sites), self.dice.u8(0..ACCOUNTS));
        if same_site {
            to.0 = from.0;
        }
        if to == from {
            to.1 = (from.1 + 1) % ACCOUNTS;
        }
        self.next += 1;
        let change = |(site, account), by| Change { site, account, by };
        Plan {
            id: self.next,
            changes: vec![change(from, -by), change(to, by)],
            sites: BTreeSet::from([from.0, to.0]),
        }
    }

    /// Everything adds up, whenever it is looked at.
    async fn audit(&mut self, client: &Client) -> Result<(), ClientError> {
        let mut txn = client.begin().await?;
        let mut sum = 0;
        for site in &self.shared.sites {
            let rows = txn
                .scan(site, ACCOUNT_RANGE.0, Some(ACCOUNT_RANGE.1))
                .await?;
            sum += rows.iter().map(|(_, value)| number(value)).sum::<i64>();
        }
        let gtid = txn.gtid();
        if let Commit::Committed(stamp) = txn.commit().await? {
            let mut told = self.shared.told();
            told.audits += 1;
            if sum != 0 {
                let wrong = format!("the audit {} at {stamp} has seen {sum}", gtid.0);
                told.wrong.push(wrong);
            }
        }
        Ok(())
    }

    async fn increments(&mut self, client: &Client) -> Result<(), ClientError> {
        let plan = self.plan(false);
        let mut txn = client.begin().await?;
        for change in &plan.changes {
            let site = &self.shared.sites[change.site];
            txn.increment(site, account_key(change.account), change.by)
                .await?;
        }
        self.mark_and_commit(client, txn, plan).await
    }

    async fn read_and_write(&mut self, client: &Client) -> Result<(), ClientError> {
        let plan = self.plan(false);
        self.write(client, plan).await
    }

    /// One site alone, through the coordinator: one phase.
    async fn at_one_site(&mut self, client: &Client) -> Result<(), ClientError> {
        let plan = self.plan(true);
        self.write(client, plan).await
    }

    async fn write(&mut self, client: &Client, plan: Plan) -> Result<(), ClientError> {
        let mut txn = client.begin().await?;
        for change in &plan.changes {
            let (site, key) = (&self.shared.sites[change.site], account_key(change.account));
            let before = txn.get(site, key).await?;
            let after = before.map_or(0, |value| number(&value)) + change.by;
            txn.put(site, key, after.to_le_bytes()).await?;
        }
        self.mark_and_commit(client, txn, plan).await
    }

    /// One site alone, without the coordinator.
    async fn local(&mut self, client: &Client) -> Result<(), ClientError> {
        let plan = self.plan(true);
        let site = self.shared.sites[plan.changes[0].site].clone();
        let mut txn: LocalTransaction = client.local(&site);
        for change in &plan.changes {
            txn.increment(account_key(change.account), change.by)
                .await?;
        }
        txn.put(marker_key(plan.id), b"").await?;
        let id = plan.id;
        self.shared.ledger().asked(id, plan.sites, plan.changes);
        let answer = txn.commit().await;
        self.note(id, &answer);
        answer.map(drop)
    }

    async fn mark_and_commit(
        &mut self,
        client: &Client,
        mut txn: Transaction,
        plan: Plan,
    ) -> Result<(), ClientError> {
        for site in &plan.sites {
            let site = &self.shared.sites[*site];
            txn.put(site, marker_key(plan.id), b"").await?;
        }
        let id = plan.id;
        self.shared.ledger().asked(id, plan.sites, plan.changes);
        let mut answer = txn.commit().await;
        if let Err(ClientError::OutcomeUnknown { what, .. }) = &answer {
            let what = what.clone();
            if self.dice.bool()
                && let Some(known) = ask_again(client, &what).await
            {
                self.shared.told().asked_again += 1;
                answer = Ok(known);
            }
        }
        self.note(id, &answer);
        answer.map(drop)
    }

    /// Writes down what was answered; an answer that says nothing leaves the outcome open.
    fn note(&self, id: u64, answer: &Result<Commit, ClientError>) {
        let outcome = match answer {
            Ok(Commit::Committed(_)) => Outcome::Committed,
            // Refused at the door: nobody has looked at it, and it is rolled back.
            Ok(Commit::Aborted(_)) | Err(ClientError::Overloaded { .. }) => Outcome::Aborted,
            Err(_) => return,
        };
        self.shared.ledger().told(id, outcome);
    }
}

/// Asks for an outcome for up to a second.
async fn ask_again(client: &Client, what: &Unresolved) -> Option<Commit> {
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Ok(known) = client.ask_again(what).await {
            return Some(known);
        }
    }
    None
}

/// The number in a value.
pub(super) fn number(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_le_bytes)
}
