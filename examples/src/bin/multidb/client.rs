//! One client: asks for its stream of requests, retries what aborts, and keeps the books.
//!
//! - A retry keeps the age of the first attempt, so it gets older than what it competes with, and
//!   repeats the same request. After [`MAX_ATTEMPTS`] the request is given up and counted as such.
//! - Only what was answered *committed* is booked as commit; an unknown outcome is booked apart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::database::{Database, Scope, Stop, Transaction};
use crate::perform::{Seen, perform};
use crate::random::Random;
use crate::tally::{Live, Tally, Witness};
use crate::workload::{Request, Workload};

/// Attempts at one request.
pub(crate) const MAX_ATTEMPTS: u32 = 200;
/// The longest pause before a retry. Pauses are drawn at random below a bound that doubles with each
/// attempt up to this, so that two transactions that got in each other's way do not meet again at once.
const MAX_PAUSE_MICROS: u32 = 32_000;
const FIRST_PAUSE_MICROS: u32 = 250;

/// When a client stops asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    /// At this instant; a request on its way then ends with the attempt that is running.
    pub(crate) time: Option<Instant>,
    /// After so many requests.
    pub(crate) requests: u64,
}

impl Until {
    /// At this instant.
    pub(crate) const fn time(end: Instant) -> Self {
        Self {
            time: Some(end),
            requests: u64::MAX,
        }
    }

    fn is_over(self, asked: u64) -> bool {
        asked >= self.requests || self.time.is_some_and(|end| Instant::now() >= end)
    }
}

/// One client of the database.
#[derive(Debug)]
pub(crate) struct Client<D> {
    pub(crate) database: Arc<D>,
    pub(crate) workload: Workload,
    /// Its place among the clients, which selects its stream.
    pub(crate) index: u32,
    pub(crate) started: Instant,
    pub(crate) until: Until,
    pub(crate) live: Arc<Live>,
}

impl<D: Database> Client<D> {
    /// Runs until the end and returns the books.
    ///
    /// # Errors
    /// When the database fails, as opposed to aborting a transaction.
    pub(crate) async fn run(self) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut n = 0;
        while !self.until.is_over(n) {
            let request = self.workload.request(self.index, n);
            self.serve(n, request, &mut tally)
                .await
                .with_context(|| format!("client {}, request {n} ({request:?})", self.index))?;
            n += 1;
        }
        Ok(tally)
    }

    /// Serves one request, with retries.
    async fn serve(&self, n: u64, request: Request, tally: &mut Tally) -> anyhow::Result<()> {
        let first_attempt = Instant::now();
        let mut age = None;
        for attempt in 0..MAX_ATTEMPTS {
            match self.attempt(n, request, &mut age).await {
                (Ok(()), seen) => {
                    Live::count(&self.live.commits);
                    tally.commits += 1;
                    tally.local_commits += u64::from(request.local_site().is_some());
                    tally.latencies.add(first_attempt.elapsed());
                    self.book(n, seen, tally);
                    return Ok(());
                }
                (Err(Stop::Aborted(cause)), _) => {
                    Live::count(&self.live.aborts);
                    *tally.aborts.entry(cause).or_default() += 1;
                }
                (Err(Stop::Unknown(_)), seen) => {
                    tally.unknown += 1;
                    if let Some((what, by)) = seen.raised {
                        tally.raised.entry(what).or_default().unknown += by;
                    }
                    return Ok(());
                }
                (Err(Stop::Failed(error)), _) => return Err(error),
            }
            if self.until.is_over(n) {
                // The run is over: neither committed nor given up.
                return Ok(());
            }
            tokio::time::sleep(self.pause(n, attempt)).await;
        }
        tally.given_up += 1;
        Ok(())
    }

    /// One attempt: what it saw counts only if the answer is *committed*.
    async fn attempt(
        &self,
        n: u64,
        request: Request,
        age: &mut Option<co_core::Priority>,
    ) -> (Result<(), Stop>, Seen) {
        let scope = request.local_site().map_or(Scope::Global, Scope::Local);
        let mut txn = match self.database.begin(scope, *age).await {
            Ok(txn) => txn,
            Err(stop) => return (Err(stop), Seen::default()),
        };
        let tag = format!("client {} request {n}", self.index);
        let performed = perform(&mut txn, request, self.workload.sizes(), &tag).await;
        // A transaction of one site gets its age with its first operation, not before.
        *age = txn.age().or(*age);
        match performed {
            Ok(seen) => (txn.commit().await, seen),
            Err(stop) => (Err(stop), Seen::default()),
        }
    }

    fn book(&self, n: u64, seen: Seen, tally: &mut Tally) {
        if let Some((what, by)) = seen.raised {
            tally.raised.entry(what).or_default().committed += by;
        }
        if let Some(impossible) = seen.impossible {
            Live::count(&self.live.impossible);
            let at = self.started.elapsed();
            tally.witness(Witness {
                at,
                client: self.index,
                request: n,
                impossible,
            });
        }
    }

    fn pause(&self, n: u64, attempt: u32) -> Duration {
        let bound = FIRST_PAUSE_MICROS
            .saturating_mul(1 << attempt.min(10))
            .min(MAX_PAUSE_MICROS);
        let mut random = Random::at(&[u64::from(self.index), n, u64::from(attempt)]);
        Duration::from_micros(u64::from(random.below(bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::Rule;
    use crate::memory::{Fault, Memory};
    use crate::site::Sites;
    use crate::workload::Sizes;

    const SIZES: Sizes = Sizes {
        sites: Sites::USUAL,
        accounts: 8,
        hot: 2,
    };

    async fn run(fault: Fault, requests: u64) -> Tally {
        let database = Arc::new(Memory::open(SIZES, fault));
        let mut sum = Tally::default();
        for index in 0..3 {
            let client = Client {
                database: Arc::clone(&database),
                workload: Workload::new(5, SIZES),
                index,
                started: Instant::now(),
                until: Until {
                    time: None,
                    requests,
                },
                live: Arc::new(Live::default()),
            };
            sum.merge(client.run().await.unwrap());
        }
        sum
    }

    #[tokio::test]
    async fn a_serial_execution_shows_nothing_impossible_and_commits_everything() {
        let tally = run(Fault::None, 400).await;
        assert_eq!(
            (tally.commits, tally.impossible, tally.given_up),
            (1_200, 0, 0)
        );
        assert!(tally.local_commits > 100 && tally.local_commits < 400);
        assert!(tally.aborts.is_empty() && tally.unknown == 0);
    }

    #[tokio::test]
    async fn a_wrong_total_is_seen_by_every_audit() {
        let tally = run(Fault::WrongTotal, 400).await;
        let workload = Workload::new(5, SIZES);
        let streams = (0..3).flat_map(|client| (0..400).map(move |n| (client, n)));
        let audits = streams
            .filter(|(client, n)| workload.request(*client, *n) == Request::Audit)
            .count() as u64;
        assert!(audits > 0);
        assert_eq!(tally.impossible_by_rule.get(&Rule::Total), Some(&audits));
        assert_eq!(tally.impossible, audits);
        assert_eq!(tally.witnesses.len(), 5);
    }

    #[tokio::test]
    async fn a_lost_half_of_a_write_is_seen() {
        let tally = run(Fault::DropsWritesAtC, 400).await;
        for rule in [Rule::Total, Rule::Rows, Rule::Counters] {
            assert!(
                tally.impossible_by_rule.contains_key(&rule),
                "{rule} was kept: {tally:?}"
            );
        }
    }

    #[tokio::test]
    async fn aborts_are_retried_with_the_age_of_the_first_attempt() {
        let tally = run(Fault::AbortsTwice, 40).await;
        assert_eq!(tally.commits, 120);
        assert_eq!(tally.aborts_in_all(), 240);
        assert_eq!(tally.given_up, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_always_aborts_is_given_up() {
        let tally = run(Fault::AbortsAlways, 2).await;
        assert_eq!((tally.commits, tally.given_up), (0, 6));
        assert_eq!(tally.aborts_in_all(), 6 * u64::from(MAX_ATTEMPTS));
    }

    #[tokio::test]
    async fn an_aborted_or_unknown_transaction_is_no_witness() {
        let unknown = run(Fault::WrongTotalAndUnknown, 400).await;
        assert_eq!(
            (unknown.commits, unknown.unknown, unknown.impossible),
            (0, 1_200, 0)
        );
        assert!(
            unknown
                .raised
                .values()
                .all(|raise| raise.committed == 0 && raise.unknown > 0)
        );
    }
}
