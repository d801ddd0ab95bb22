//! Clients: the real one, which transfers, audits, counts and mixes, asks again when it was not answered, and
//! writes down what it was told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coco::client::{Client, ClientError, ClientOptions, Commit, OperationReply, Transaction};
use coco::service::net::Connector;
use coco::service::site::{Operation as Wire, Range};
use fastrand::Rng;
use participant::{Key, KeyRange, Operation, TxnName, Value};
use simulator::faults::lives::site_name;
use simulator::faults::{Action, Attempt, Script, Told};

use crate::faults::CLIENTS;
use crate::net::SimNet;
use crate::plan::{Plan, Planted, SITES};
use crate::trace::{Trace, now};

/// How often a script is tried while the faults go on.
const ATTEMPTS: u32 = 8;

/// What clients write down; they and the run share it.
pub(crate) struct Notebook {
    pub(crate) trace: Arc<Trace>,
    pub(crate) healed: AtomicBool,
    /// Each attempt, and which script of all it was for.
    pub(crate) attempts: Mutex<Vec<(usize, Attempt)>>,
    /// What the last audits have added up.
    pub(crate) sums: Mutex<Vec<i64>>,
    /// What somebody is doing just now, for a run that does not end.
    pub(crate) doing: Mutex<Vec<String>>,
}

impl Notebook {
    pub(crate) fn new(trace: Arc<Trace>, clients: usize) -> Self {
        Self {
            trace,
            healed: AtomicBool::new(false),
            attempts: Mutex::default(),
            sums: Mutex::default(),
            doing: Mutex::new(vec![String::new(); clients + 1]),
        }
    }

    /// What is waited for when the clients are done.
    fn last(&self, what: String) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = doing.last_mut() {
            *last = what;
        }
    }

    pub(crate) fn has_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }
}

/// A client that knows how to reach this coordinator.
pub(crate) async fn connect(coordinator: usize, trace: &Arc<Trace>) -> Client {
    let net = SimNet {
        from: CLIENTS.to_owned(),
        trace: Arc::clone(trace),
    };
    let options = ClientOptions {
        operation_timeout: Duration::from_secs(3),
        commit_timeout: Duration::from_secs(4),
        lease: 4,
        connector: Connector::of(net),
        ..ClientOptions::default()
    };
    loop {
        match Client::connect_with(&Plan::coordinator_uri(coordinator), options.clone()).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One client and its scripts.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) plan: Arc<Plan>,
    pub(crate) notebook: Arc<Notebook>,
    pub(crate) rng: Rng,
}

impl Worker {
    /// Works until its scripts are done, or the run has healed.
    pub(crate) async fn run(mut self) {
        let mut clients: Vec<Option<Client>> = vec![None; self.plan.coordinators];
        let scripts = self.plan.clients[self.index].clone();
        let first = self.index * scripts.len();
        for (number, script) in scripts.into_iter().enumerate() {
            if self.notebook.has_healed() {
                break;
            }
            let coordinator = self.rng.usize(..self.plan.coordinators);
            let client = match clients[coordinator].clone() {
                Some(client) => client,
                None => {
                    self.says("connects");
                    let client = connect(coordinator, &self.notebook.trace).await;
                    clients[coordinator].insert(client).clone()
                }
            };
            self.try_script(&client, first + number, &script).await;
            self.rest(150).await;
        }
        self.says("is done");
    }

    /// Runs a script until it commits, or often enough.
    async fn try_script(&mut self, client: &Client, number: usize, script: &Script) {
        let mut priority = None;
        for _ in 0..ATTEMPTS {
            self.says("begins");
            let began_at = micros();
            let begun = match priority {
                None => client.begin().await,
                Some(priority) => client.begin_again(priority).await,
            };
            let Ok(txn) = begun else {
                self.rest(100).await;
                if self.notebook.has_healed() {
                    return;
                }
                continue;
            };
            priority = Some(txn.priority());
            let mut attempt = Attempt {
                name: TxnName::Global(txn.gtid()),
                sites: BTreeSet::new(),
                done: Vec::new(),
                told: Vec::new(),
                began_at,
                heard_at: None,
                sum: script.audit.then_some(0),
                seen: Vec::new(),
            };
            let again = self.attempt(client, txn, script, &mut attempt).await;
            self.says(&format!("{:?} told {:?}", attempt.name, attempt.told));
            self.lock_attempts().push((number, attempt));
            if !again || self.notebook.has_healed() {
                return;
            }
            self.rest(60).await;
        }
    }

    /// Says whether to try the script again.
    async fn attempt(
        &mut self,
        client: &Client,
        mut txn: Transaction,
        script: &Script,
        attempt: &mut Attempt,
    ) -> bool {
        // Few vanish, few change their minds.
        let leaves_at = (self.rng.u8(..24) == 0).then(|| self.rng.usize(..=script.steps.len()));
        for (step, (site, action)) in script.steps.iter().enumerate() {
            self.says(&format!("{:?} at step {step}, site {site}", attempt.name));
            if leaves_at == Some(step) {
                std::mem::forget(txn);
                return false;
            }
            attempt.sites.insert(*site);
            if self.act(&mut txn, *site, action, attempt).await.is_err() {
                // Nobody was asked to commit it.
                attempt.told.push(Told::Aborted);
                return true;
            }
            self.rest(20).await;
        }
        if leaves_at.is_some() {
            attempt.told.push(Told::Aborted);
            // An error leaves it to the sites.
            let _left_to_the_sites = txn.rollback().await;
            return false;
        }
        self.says(&format!("{:?} commits", attempt.name));
        let mut ended = txn.commit().await;
        for _ in 0..6 {
            match ended {
                Ok(Commit::Committed(_)) => {
                    attempt.told.push(Told::Committed);
                    attempt.heard_at = Some(micros());
                    return false;
                }
                Ok(Commit::Aborted(_)) => {
                    attempt.told.push(Told::Aborted);
                    return true;
                }
                Err(ClientError::OutcomeUnknown { what, .. }) => match self.plan.bug {
                    Some(Planted::RetryNotIdempotent) => return true,
                    Some(Planted::UnknownIsAborted) => {
                        attempt.told.push(Told::Aborted);
                        return true;
                    }
                    Some(Planted::Inside(_) | Planted::AcknowledgementDropped) | None => {
                        attempt.told.push(Told::Unknown);
                        self.rest(300).await;
                        ended = client.ask_again(&what).await;
                    }
                },
                Err(_) => {
                    attempt.told.push(Told::Unknown);
                    return false;
                }
            }
        }
        false
    }

    async fn act(
        &mut self,
        txn: &mut Transaction,
        site: usize,
        action: &Action,
        attempt: &mut Attempt,
    ) -> Result<(), ClientError> {
        let operation = match action {
            Action::Do(operation) => operation.clone(),
            Action::ReadAdd(key, by) => {
                let read = read(txn, site, key, attempt).await?;
                Operation::Put(key.clone(), value(number_of(read.as_deref()) + by))
            }
            Action::Append(key, element) => {
                let read = read(txn, site, key, attempt).await?;
                let before = read.as_deref().unwrap_or_default();
                let longer = [before, &element.to_le_bytes()].concat();
                Operation::Put(key.clone(), longer.into())
            }
            Action::SetIfNoneIsSet(_) if has_seen_one(attempt) => return Ok(()),
            Action::SetIfNoneIsSet(key) => Operation::Put(key.clone(), value(1)),
        };
        let replies = execute(txn, site, &operation).await?;
        if let (Operation::Get(key), [OperationReply::Value(value)]) = (&operation, &replies[..]) {
            let value = value.as_deref().map(Arc::from);
            attempt.seen.push((site, key.clone(), value));
        }
        if let Some(total) = &mut attempt.sum {
            *total += sum(&replies);
        }
        attempt.done.push((site, operation));
        Ok(())
    }

    fn lock_attempts(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Attempt)>> {
        let attempts = self.notebook.attempts.lock();
        attempts.unwrap_or_else(PoisonError::into_inner)
    }

    fn says(&self, what: &str) {
        let who = format!("client {}", self.index);
        self.notebook.trace.tell(now(), &who, what);
        let doing = self.notebook.doing.lock();
        doing.unwrap_or_else(PoisonError::into_inner)[self.index] = format!("{who} {what}");
    }

    async fn rest(&mut self, most: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..=most))).await;
    }
}

/// When the faults are over: waits until the coordinators know every site and nothing else, has each of them
/// commit an audit of all accounts, and waits again.
pub(crate) async fn wait_until_quiet(plan: &Plan, notebook: &Notebook) {
    let mut clients = Vec::new();
    for index in 0..plan.coordinators {
        notebook.last(format!("connecting to coordinator {index}"));
        clients.push(connect(index, &notebook.trace).await);
    }
    for audits in [true, false] {
        for (index, client) in clients.iter().enumerate() {
            loop {
                match left_over(client).await {
                    Ok(None) => break,
                    Ok(Some(left)) => notebook.last(format!("coordinator {index} has {left}")),
                    Err(error) => notebook.last(format!("coordinator {index}: {error}")),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            notebook.last(format!("auditing through coordinator {index}"));
            if audits {
                let sum = audit_at_last(client).await;
                let mut sums = notebook.sums.lock().unwrap_or_else(PoisonError::into_inner);
                sums.push(sum);
            }
        }
    }
}

/// What a coordinator and its sites still hold.
async fn left_over(client: &Client) -> Result<Option<String>, ClientError> {
    let sites = client.sites().await?;
    let connected = sites.iter().filter(|site| site.connected).count();
    if connected != SITES {
        return Ok(Some(format!("{connected} sites connected")));
    }
    let transactions = client.transactions(10).await?;
    if !transactions.transactions.is_empty() || !transactions.waits.is_empty() {
        return Ok(Some(format!("{transactions:?}")));
    }
    for site in 0..SITES {
        let name = site_name(site);
        let pending = client.pending(name.as_str()).await?;
        let statistics = client.site_statistics(name.as_str()).await?;
        if statistics.in_flight > 0 || !pending.in_doubt.is_empty() || !pending.waits.is_empty() {
            return Ok(Some(format!("site {name}: {pending:?} {statistics:?}")));
        }
    }
    Ok(None)
}

/// [`audit`], as often as it takes.
async fn audit_at_last(client: &Client) -> i64 {
    loop {
        match audit(client).await {
            Ok(sum) => return sum,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Reads all accounts of all sites and commits; what they add up to.
async fn audit(client: &Client) -> Result<i64, ClientError> {
    let mut txn = client.begin().await?;
    let mut total = 0;
    for site in 0..SITES {
        let rows = txn.scan(site_name(site).as_str(), b"a", Some(b"b")).await?;
        total += rows.iter().map(|(_, value)| number(value)).sum::<i64>();
    }
    txn.commit().await?.committed()?;
    Ok(total)
}

async fn execute(
    txn: &mut Transaction,
    site: usize,
    operation: &Operation,
) -> Result<Vec<OperationReply>, ClientError> {
    let operation = wire_of(operation);
    txn.execute(site_name(site).as_str(), vec![operation]).await
}

fn wire_of(operation: &Operation) -> Wire {
    let range_of = |range: &KeyRange| Range {
        low: range.low.to_vec(),
        high: range.high.as_ref().map(|high| high.to_vec()),
    };
    match operation {
        Operation::Get(key) => Wire::Get(key.to_vec()),
        Operation::Put(key, value) => Wire::Put(key.to_vec(), value.to_vec()),
        Operation::Delete(key) => Wire::Delete(key.to_vec()),
        Operation::Increment(key, by) => Wire::Increment(key.to_vec(), *by),
        Operation::Scan(range) => Wire::Scan(range_of(range)),
        Operation::Declare(keys) => Wire::Declare(keys.iter().map(|key| key.to_vec()).collect()),
        Operation::Sql(statement) => Wire::Sql(statement.clone()),
    }
}

/// The sum of the numbers that were read.
async fn read(
    txn: &mut Transaction,
    site: usize,
    key: &Key,
    attempt: &mut Attempt,
) -> Result<Option<Value>, ClientError> {
    let replies = execute(txn, site, &Operation::Get(key.clone())).await?;
    let value = replies.into_iter().find_map(|reply| match reply {
        OperationReply::Value(value) => value.map(Value::from),
        OperationReply::Rows(_) | OperationReply::Done | OperationReply::Table(_) => None,
    });
    attempt.seen.push((site, key.clone(), value.clone()));
    Ok(value)
}

/// Whether a switch is set, as far as the transaction has looked.
fn has_seen_one(attempt: &Attempt) -> bool {
    let mut seen = attempt.seen.iter();
    seen.any(|(_, _, value)| number_of(value.as_deref()) == 1)
}

fn number_of(value: Option<&[u8]>) -> i64 {
    value.map_or(0, number)
}

fn sum(replies: &[OperationReply]) -> i64 {
    let one = |reply: &OperationReply| match reply {
        OperationReply::Value(value) => value.as_deref().map_or(0, number),
        OperationReply::Rows(rows) => rows.iter().map(|(_, value)| number(value)).sum(),
        OperationReply::Done | OperationReply::Table(_) => 0,
    };
    replies.iter().map(one).sum()
}

fn number(value: &[u8]) -> i64 {
    value.try_into().map_or(i64::MIN, i64::from_le_bytes)
}

fn value(number: i64) -> Value {
    Arc::from(number.to_le_bytes().as_slice())
}

fn micros() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}
