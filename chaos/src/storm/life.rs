//! One life: the process that is killed. Recovers, says what is there, then works and says what it was told.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use co_core::{Gtid, Priority};
use coco::protocol::CommitAnswer;
use fastrand::Rng;
use participant::engine::EngineKind;
use participant::site::LocalOutcome;
use participant::{Begin, Key, KeyRange, Operation, Reply, TxnName};

use super::bug::Bug;
use super::folder::Death;
use super::system::{Setup, System};
use super::wire::{Line, say};
use crate::ledger::{
    ACCOUNT_RANGE, ACCOUNTS, Change, SiteState, account_key, marker_id, marker_key,
};
use crate::run::Store;

/// What a life is started with, on its command line.
#[derive(clap::Args, Clone, Debug)]
pub struct LifeArgs {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, value_delimiter = ',')]
    engines: Vec<EngineKind>,
    #[arg(long)]
    store: Store,
    #[arg(long)]
    clients: u64,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    life: u64,
    /// Most transactions of each client.
    #[arg(long)]
    transactions: u64,
    /// Ends in good order afterwards; otherwise waits to be killed.
    #[arg(long)]
    last: bool,
    #[arg(long)]
    death: Option<Death>,
    #[arg(long)]
    bug: Option<Bug>,
}

/// How long an operation may wait for its locks.
const PATIENCE: Duration = Duration::from_millis(100);

/// Each life numbers its transactions from here, times its number.
const LIFE: u64 = 1 << 24;

/// The numbers of those who only look are above all others.
const LOOKER: u64 = 1 << 39;

/// Lives the life.
///
/// # Errors
/// If it cannot recover.
pub fn live(args: &LifeArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, live_in(args))
}

async fn live_in(args: &LifeArgs) -> Result<()> {
    let system = System::open(&Setup {
        folder: &args.folder,
        engines: &args.engines,
        store: args.store,
        life: args.life,
        death: args.death.as_ref(),
        bug: args.bug,
    })?;
    drop(tokio::task::spawn_local(system.clone().drive()));
    let bound = Duration::from_secs(10);
    let quiet = tokio::time::timeout(bound, system.quiet()).await;
    quiet.context("what was in doubt is not resolved within 10 s")?;
    tell(&system, args.engines.len(), LOOKER).await?;
    let next = Rc::new(Cell::new(args.life * LIFE));
    let mut dice = Rng::with_seed(args.seed);
    let clients: Vec<_> = (0..args.clients)
        .map(|_| {
            let client = Client {
                system: system.clone(),
                sites: args.engines.len(),
                next: Rc::clone(&next),
                dice: dice.fork(),
            };
            tokio::task::spawn_local(client.work(args.transactions))
        })
        .collect();
    for client in clients {
        client.await?;
    }
    if !args.last {
        // Until somebody comes with a SIGKILL.
        std::future::pending::<()>().await;
    }
    let quiet = tokio::time::timeout(bound, system.quiet()).await;
    quiet.context("what was begun is not ended within 10 s")?;
    tell(&system, args.engines.len(), LOOKER + 1).await?;
    system.finish()
}

/// Says what is there, as this transaction of each site.
async fn tell(system: &System, sites: usize, looker: u64) -> Result<()> {
    for site in 0..sites {
        let name = TxnName::Local(looker);
        let priority = Priority(u64::MAX >> 1);
        system.begin_at(site, Begin { name, priority })?;
        let all = KeyRange {
            low: Key::from(b"a".as_slice()),
            high: None,
        };
        let engine = system.participant(site);
        let reply = engine.execute(name, &Operation::Scan(all)).await?;
        system.abandon(site, name);
        let Reply::Rows(rows) = reply else {
            anyhow::bail!("a scan answers with rows");
        };
        let mut state = SiteState::default();
        for (key, value) in rows {
            match marker_id(&key) {
                Some(id) => drop(state.markers.insert(id)),
                None => drop(state.accounts.insert(key[1] - b'0', number(&value))),
            }
        }
        say(&Line::Holds(site, state));
    }
    say(&Line::Ready);
    Ok(())
}

fn number(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_le_bytes)
}

struct Client {
    system: System,
    sites: usize,
    next: Rc<Cell<u64>>,
    dice: Rng,
}

/// The transaction was aborted at a site, or waited too long.
struct GiveUp;

impl Client {
    async fn work(mut self, transactions: u64) {
        for _ in 0..transactions {
            match self.dice.u8(0..8) {
                0 => self.local().await,
                kind => self.global(kind).await,
            }
            tokio::task::yield_now().await;
        }
    }

    fn id(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    fn changes(&mut self, same_site: bool) -> Vec<Change> {
        let by = self.dice.i64(1..10);
        let place = |dice: &mut Rng, sites| (dice.usize(0..sites), dice.u8(0..ACCOUNTS));
        let from = place(&mut self.dice, self.sites);
        let mut to = place(&mut self.dice, self.sites);
        if same_site {
            to.0 = from.0;
        }
        if to == from {
            to.1 = (from.1 + 1) % ACCOUNTS;
        }
        let change = |(site, account), by| Change { site, account, by };
        vec![change(from, -by), change(to, by)]
    }

    /// Of one site alone, without the coordinator.
    async fn local(&mut self) {
        let changes = self.changes(true);
        let (site, id) = (changes[0].site, self.id());
        let name = TxnName::Local(id);
        let priority = Priority(id);
        if self
            .system
            .begin_at(site, Begin { name, priority })
            .is_err()
        {
            return;
        }
        let mut work = changes.iter().map(increment).collect::<Vec<_>>();
        work.push(marker(id));
        for operation in work {
            if self.execute(site, name, operation).await.is_err() {
                self.system.abandon(site, name);
                return;
            }
        }
        say(&Line::Asked(id, BTreeSet::from([site]), changes));
        match self.system.commit_local(site, id).await {
            LocalOutcome::Committed { .. } => say(&Line::Committed(id)),
            LocalOutcome::Aborted { .. } => say(&Line::Aborted(id)),
            LocalOutcome::Unknown => {}
        }
    }

    /// Through the coordinator: increments, reads and writes, or an audit.
    async fn global(&mut self, kind: u8) {
        let Ok((gtid, priority)) = self.system.begin() else {
            return;
        };
        let mut txn = Global {
            gtid,
            priority,
            begun: Vec::new(),
        };
        let (id, changes) = (self.id(), self.changes(false));
        let done = match kind {
            1 => self.audit(&mut txn).await,
            2..=4 => self.increments(&mut txn, &changes).await,
            _ => self.writes(&mut txn, &changes).await,
        };
        let done = match done {
            Ok(()) if kind != 1 => self.mark(&mut txn, id).await,
            done => done,
        };
        if done.is_err() {
            let _rolled_back = self.system.end(gtid, &txn.begun, false).await;
            return;
        }
        if kind == 1 {
            let _whatever = self.system.end(gtid, &txn.begun, true).await;
            return;
        }
        say(&Line::Asked(
            id,
            txn.begun.iter().copied().collect(),
            changes,
        ));
        match self.system.end(gtid, &txn.begun, true).await {
            CommitAnswer::Committed { .. } => say(&Line::Committed(id)),
            CommitAnswer::Aborted { .. } | CommitAnswer::Refused(_) => say(&Line::Aborted(id)),
            CommitAnswer::Unknown => {}
        }
    }

    async fn audit(&mut self, txn: &mut Global) -> Result<(), GiveUp> {
        for site in 0..self.sites {
            let range = KeyRange {
                low: Key::from(ACCOUNT_RANGE.0),
                high: Some(Key::from(ACCOUNT_RANGE.1)),
            };
            self.at(txn, site, Operation::Scan(range)).await?;
        }
        Ok(())
    }

    async fn increments(&mut self, txn: &mut Global, changes: &[Change]) -> Result<(), GiveUp> {
        for change in changes {
            self.at(txn, change.site, increment(change)).await?;
        }
        Ok(())
    }

    async fn writes(&mut self, txn: &mut Global, changes: &[Change]) -> Result<(), GiveUp> {
        for change in changes {
            let key = Key::from(account_key(change.account).as_slice());
            let read = self
                .at(txn, change.site, Operation::Get(Arc::clone(&key)))
                .await?;
            let before = match read {
                Reply::Value(Some(value)) => number(&value),
                Reply::Value(None) | Reply::Rows(_) | Reply::Done | Reply::Table(_) => 0,
            };
            let after = (before + change.by).to_le_bytes();
            let put = Operation::Put(key, after.as_slice().into());
            self.at(txn, change.site, put).await?;
        }
        Ok(())
    }

    async fn mark(&mut self, txn: &mut Global, id: u64) -> Result<(), GiveUp> {
        for site in txn.begun.clone() {
            self.at(txn, site, marker(id)).await?;
        }
        Ok(())
    }

    async fn at(
        &mut self,
        txn: &mut Global,
        site: usize,
        operation: Operation,
    ) -> Result<Reply, GiveUp> {
        let name = TxnName::Global(txn.gtid);
        if !txn.begun.contains(&site) {
            let priority = txn.priority;
            let begun = self.system.begin_at(site, Begin { name, priority });
            begun.map_err(|_| GiveUp)?;
            txn.begun.push(site);
        }
        self.execute(site, name, operation).await
    }

    async fn execute(
        &self,
        site: usize,
        name: TxnName,
        operation: Operation,
    ) -> Result<Reply, GiveUp> {
        let engine = self.system.participant(site);
        let done = tokio::time::timeout(PATIENCE, engine.execute(name, &operation)).await;
        self.system.wake();
        done.map_err(|_late| GiveUp)?.map_err(|_aborted| GiveUp)
    }
}

struct Global {
    gtid: Gtid,
    priority: Priority,
    begun: Vec<usize>,
}

fn increment(change: &Change) -> Operation {
    let key = Key::from(account_key(change.account).as_slice());
    Operation::Increment(key, change.by)
}

fn marker(id: u64) -> Operation {
    Operation::Put(Key::from(marker_key(id)), [].as_slice().into())
}
