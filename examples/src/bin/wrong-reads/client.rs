//! The load: clients that read both halves of a pair and change one, and look at what they have read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use co_core::Priority;
use coco::client::{Client, ClientError, Commit, Transaction};

use crate::cluster::NAMES;
use crate::random::Random;

/// The longest pause before a retry is drawn below a bound that doubles with each attempt up to this.
const MAX_PAUSE_MICROS: u64 = 16_000;
const FIRST_PAUSE_MICROS: u64 = 250;

/// When the load ends, and how far it is.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) until: Option<Instant>,
    pub(crate) commits: Option<u64>,
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicBool,
}

impl Goal {
    fn is_reached(&self) -> bool {
        let enough = |commits| self.done.load(Ordering::Relaxed) >= commits;
        self.failed.load(Ordering::Relaxed)
            || self.until.is_some_and(|until| Instant::now() >= until)
            || self.commits.is_some_and(enough)
    }
}

/// What the clients have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    /// Transactions that have committed after reading 0 in both halves.
    pub(crate) wrong: u64,
    /// Transactions of which nobody knows whether they have committed.
    pub(crate) unknown: u64,
    /// From the first attempt to the answer, of what committed.
    pub(crate) latencies: Vec<Duration>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.wrong += other.wrong;
        self.unknown += other.unknown;
        self.latencies.extend(other.latencies);
    }
}

/// Writes the first state: all halves are 1.
pub(crate) async fn fill(client: &Client, pairs: u32, declares: bool) -> anyhow::Result<()> {
    let mut txn = client.begin().await?;
    for site in NAMES {
        if declares {
            txn.declare(site, (0..pairs).map(key)).await?;
        }
        let puts = (0..pairs).map(|pair| coco::client::Operation::Put(key(pair), b"1".to_vec()));
        txn.execute(site, puts.collect()).await?;
    }
    match txn.commit().await? {
        Commit::Committed(_) => Ok(()),
        Commit::Aborted(cause) => bail!("the first state could not be written: {cause:?}"),
    }
}

fn key(pair: u32) -> Vec<u8> {
    format!("pair {pair:06}").into_bytes()
}

/// One attempt's answer.
enum Answer {
    /// And whether it had read 0 in both halves.
    Committed(bool),
    Aborted,
    Unknown,
}

/// One client.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) pairs: u32,
    pub(crate) declares: bool,
    pub(crate) random: Random,
    pub(crate) goal: Arc<Goal>,
}

impl Worker {
    pub(crate) async fn run(mut self) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        while !self.goal.is_reached() {
            if let Err(error) = self.serve(&mut seen).await {
                self.goal.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(seen)
    }

    /// One request, until it commits or the time is over.
    async fn serve(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let pair = self.random.below(u64::from(self.pairs));
        let (pair, side) = (u32::try_from(pair)?, usize::from(self.random.below(2) == 1));
        let started = Instant::now();
        let (mut age, mut bound) = (None, FIRST_PAUSE_MICROS);
        loop {
            match self.attempt(pair, side, &mut age).await? {
                Answer::Committed(wrong) => {
                    seen.commits += 1;
                    seen.wrong += u64::from(wrong);
                    seen.latencies.push(started.elapsed());
                    self.goal.done.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Answer::Unknown => {
                    seen.unknown += 1;
                    return Ok(());
                }
                Answer::Aborted => seen.aborts += 1,
            }
            if self.goal.is_reached() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_micros(self.random.below(bound))).await;
            bound = MAX_PAUSE_MICROS.min(2 * bound);
        }
    }

    async fn attempt(
        &self,
        pair: u32,
        side: usize,
        age: &mut Option<Priority>,
    ) -> anyhow::Result<Answer> {
        let mut txn = match *age {
            None => self.client.begin().await?,
            Some(age) => self.client.begin_again(age).await?,
        };
        *age = Some(txn.priority());
        let wrong = match perform(&mut txn, pair, side, self.declares).await {
            Ok(wrong) => wrong,
            Err(ClientError::Aborted(_)) => return Ok(Answer::Aborted),
            Err(error) => return Err(error).context("a transaction failed"),
        };
        match txn.commit().await {
            Ok(Commit::Committed(_)) => Ok(Answer::Committed(wrong)),
            Ok(Commit::Aborted(_)) => Ok(Answer::Aborted),
            Err(ClientError::OutcomeUnknown { .. }) => Ok(Answer::Unknown),
            Err(error) => Err(error).context("a commit failed"),
        }
    }
}

/// Reads both halves and changes what has to be changed. Says whether the state was impossible.
async fn perform(
    txn: &mut Transaction,
    pair: u32,
    side: usize,
    declares: bool,
) -> Result<bool, ClientError> {
    let key = key(pair);
    if declares {
        for site in NAMES {
            txn.declare(site, [&key]).await?;
        }
    }
    let mut taken = [false; 2];
    for (site, taken) in NAMES.iter().zip(&mut taken) {
        *taken = txn.get(site, &key).await?.as_deref() == Some(b"0".as_slice());
    }
    if taken == [false; 2] {
        txn.put(NAMES[side], &key, b"0").await?;
    }
    for (site, _) in NAMES.iter().zip(taken).filter(|(_, taken)| *taken) {
        txn.put(site, &key, b"1").await?;
    }
    Ok(taken == [true; 2])
}
