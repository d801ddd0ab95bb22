//! What the clients counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coco::protocol::AbortCause;

use crate::invariants::{Impossible, Rule};
use crate::perform::Raised;
use crate::samples::Samples;

/// How many impossible reads are kept to be told in words.
const WITNESSES: usize = 5;

/// Counters that grow while the clients run, for the progress bar.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) commits: AtomicU64,
    pub(crate) aborts: AtomicU64,
    pub(crate) impossible: AtomicU64,
}

impl Live {
    /// Adds one.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Commits, aborts and impossible reads so far.
    pub(crate) fn read(&self) -> [u64; 3] {
        [&self.commits, &self.aborts, &self.impossible]
            .map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// A committed transaction that saw an impossible state.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    /// When it committed, from the start of the run.
    pub(crate) at: Duration,
    pub(crate) client: u32,
    /// The number of its request in the client's stream.
    pub(crate) request: u64,
    pub(crate) impossible: Impossible,
}

/// By how much the committed requests raised a count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Raise {
    pub(crate) committed: i64,
    /// What transactions of unknown outcome may have added.
    pub(crate) unknown: i64,
}

/// The books of one client, or of all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Transactions answered *committed*, those of one site included.
    pub(crate) commits: u64,
    /// Of these, the transactions of one site.
    pub(crate) local_commits: u64,
    /// Attempts answered *aborted*, by cause.
    pub(crate) aborts: BTreeMap<AbortCause, u64>,
    /// Requests that were given up after too many attempts.
    pub(crate) given_up: u64,
    /// Commits of unknown outcome.
    pub(crate) unknown: u64,
    /// From the first attempt to the commit.
    pub(crate) latencies: Samples,
    /// Committed transactions that saw an impossible state.
    pub(crate) impossible: u64,
    /// The same, by the rule that was broken.
    pub(crate) impossible_by_rule: BTreeMap<Rule, u64>,
    /// The first of them.
    pub(crate) witnesses: Vec<Witness>,
    /// What the counts must show at the end.
    pub(crate) raised: BTreeMap<Raised, Raise>,
}

impl Tally {
    /// Adds another's books to these.
    pub(crate) fn merge(&mut self, other: Self) {
        self.commits += other.commits;
        self.local_commits += other.local_commits;
        for (cause, count) in other.aborts {
            *self.aborts.entry(cause).or_default() += count;
        }
        self.given_up += other.given_up;
        self.unknown += other.unknown;
        self.latencies.append(other.latencies);
        self.impossible += other.impossible;
        for (rule, count) in other.impossible_by_rule {
            *self.impossible_by_rule.entry(rule).or_default() += count;
        }
        self.witnesses.extend(other.witnesses);
        self.witnesses
            .sort_by_key(|witness| (witness.at, witness.client));
        self.witnesses.truncate(WITNESSES);
        for (what, raise) in other.raised {
            let sum = self.raised.entry(what).or_default();
            sum.committed += raise.committed;
            sum.unknown += raise.unknown;
        }
    }

    /// Books a committed transaction that saw an impossible state.
    pub(crate) fn witness(&mut self, witness: Witness) {
        self.impossible += 1;
        *self
            .impossible_by_rule
            .entry(witness.impossible.rule())
            .or_default() += 1;
        if self.witnesses.len() < WITNESSES {
            self.witnesses.push(witness);
        }
    }

    /// Attempts that aborted, of all causes.
    pub(crate) fn aborts_in_all(&self) -> u64 {
        self.aborts.values().sum()
    }
}
