//! What operators and metrics see of a coordinator. It steers nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use co_core::Gtid;

use super::driver::Driver;
use super::{DeadlockInfo, DecisionInfo, TransactionInfo, Transactions, WaitInfo};
use crate::protocol::{
    AbortCause, CommitAnswer, Decision, SiteName, Time, ToCoordinator, ToParticipant,
    TransactionState,
};

/// How many decisions are kept for those who look back.
const DECISIONS: usize = 4096;

/// How many deadlocks are kept.
const DEADLOCKS: usize = 256;

/// Waits that may have ended unsaid, before they are looked for.
const STALE_WAITS: usize = 4096;

/// The last decisions, and since when who waits.
#[derive(Debug, Default)]
pub(super) struct Watched {
    decisions: VecDeque<(DecisionInfo, Time)>,
    deadlocks: VecDeque<DeadlockInfo>,
    waiting: BTreeMap<(Gtid, SiteName), Time>,
}

impl Watched {
    /// A caller was answered: the transaction is decided.
    pub(super) fn answered(&mut self, now: Time, gtid: Gtid, answer: CommitAnswer) {
        let known = |(info, _): &(DecisionInfo, Time)| info.gtid == gtid && info.answer == answer;
        if matches!(answer, CommitAnswer::Refused(_)) || self.decisions.back().is_some_and(known) {
            return;
        }
        tracing::debug_span!("decision", %gtid).in_scope(|| tracing::debug!(?answer));
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        let at = SystemTime::now();
        self.decisions
            .push_back((DecisionInfo { gtid, answer, at }, now));
    }

    /// A message leaves for a site: an abort may be the end of a deadlock.
    pub(super) fn sent(&mut self, message: &ToParticipant) {
        let ToParticipant::Decide { gtid, decision } = message else {
            return;
        };
        let deadlock = Decision::Abort {
            cause: AbortCause::VotingDeadlock,
        };
        if *decision != deadlock || self.deadlocks.iter().any(|it| it.victim == *gtid) {
            return;
        }
        if self.deadlocks.len() == DEADLOCKS {
            self.deadlocks.pop_front();
        }
        self.deadlocks.push_back(DeadlockInfo {
            victim: *gtid,
            at: SystemTime::now(),
        });
    }

    /// A site has said something.
    pub(super) fn heard(&mut self, now: Time, site: &SiteName, message: &ToCoordinator) {
        match message {
            ToCoordinator::Blocked { gtid, by, .. } => {
                let key = (*gtid, site.clone());
                if by.is_empty() {
                    self.waiting.remove(&key);
                } else {
                    self.waiting.entry(key).or_insert(now);
                }
            }
            ToCoordinator::Vote { gtid, ballot } => {
                let span = tracing::debug_span!("vote", %gtid, %site);
                span.in_scope(|| tracing::debug!(?ballot));
            }
            ToCoordinator::Hello { .. }
            | ToCoordinator::OnePhaseDone { .. }
            | ToCoordinator::Ack { .. }
            | ToCoordinator::Inquire { .. } => {}
        }
    }
}

/// What metrics say of the transactions of one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Gauges {
    pub(super) voting: u64,
    pub(super) forcing: u64,
    pub(super) unacknowledged: u64,
    pub(super) oldest_unacknowledged: Duration,
    pub(super) waits: u64,
    pub(super) withheld: u64,
    pub(super) oldest_withheld: Duration,
}

impl Driver {
    /// Since when the transaction is as it is, as far as is known: since its decision, its begin, or, if both
    /// are long past, at least since the oldest decision that is remembered.
    fn since(&self, decided: &HashMap<Gtid, Time>, gtid: Gtid) -> Time {
        let begun = || self.quota.since(gtid);
        let oldest = self.watched.decisions.front().map(|(_, at)| *at);
        let at = decided.get(&gtid).copied().or_else(begun);
        at.unwrap_or_else(|| oldest.unwrap_or_default())
    }

    fn decided_at(&self) -> HashMap<Gtid, Time> {
        let decisions = self.watched.decisions.iter();
        decisions.map(|(info, at)| (info.gtid, *at)).collect()
    }

    fn waits(&self, now: Time) -> Vec<WaitInfo> {
        let wait = |wait: crate::protocol::WaitView<'_>| {
            let key = (wait.waiter, wait.site.clone());
            let since = self.watched.waiting.get(&key).copied().unwrap_or(now);
            WaitInfo {
                gtid: wait.waiter,
                site: wait.site.clone(),
                waits_for: wait.blockers.to_vec(),
                age: now.since(since),
            }
        };
        self.machine.waits().map(wait).collect()
    }

    /// Forgets since when those waited that do not wait any more and never said so.
    pub(super) fn sweep_waits(&mut self) {
        if self.watched.waiting.len() < STALE_WAITS {
            return;
        }
        let present: std::collections::BTreeSet<(Gtid, SiteName)> = self
            .machine
            .waits()
            .map(|wait| (wait.waiter, wait.site.clone()))
            .collect();
        self.watched.waiting.retain(|key, _| present.contains(key));
    }

    pub(super) fn transactions(&self, now: Time, limit: usize) -> Transactions {
        let decided = self.decided_at();
        let mut all = self.machine.transactions();
        let info = |view: crate::protocol::TransactionView| TransactionInfo {
            gtid: view.gtid,
            priority: view.priority,
            age: now.since(self.since(&decided, view.gtid)),
            state: view.state,
        };
        let transactions = all.by_ref().take(limit).map(info).collect();
        Transactions {
            transactions,
            waits: self.waits(now),
            more: all.next().is_some(),
        }
    }

    pub(super) fn state_of(&self, gtid: Gtid) -> Option<TransactionState> {
        let found = self.machine.transactions().find(|view| view.gtid == gtid);
        found.map(|view| view.state)
    }

    pub(super) fn decisions(&self, limit: usize) -> (Vec<DecisionInfo>, Vec<DeadlockInfo>) {
        let latest = self.watched.decisions.iter().rev().take(limit);
        let deadlocks = self.watched.deadlocks.iter().rev().take(limit);
        (
            latest.map(|(info, _)| info.clone()).collect(),
            deadlocks.cloned().collect(),
        )
    }

    pub(super) fn gauges(&self, now: Time) -> Gauges {
        let decided = self.decided_at();
        let mut gauges = Gauges::default();
        let mut voting = std::collections::HashSet::new();
        for view in self.machine.transactions() {
            match view.state {
                TransactionState::Voting { .. } | TransactionState::OnePhase { .. } => {
                    gauges.voting += 1;
                    voting.insert(view.gtid);
                }
                TransactionState::Forcing { .. } => gauges.forcing += 1,
                TransactionState::Committed { .. } => {
                    gauges.unacknowledged += 1;
                    let age = now.since(self.since(&decided, view.gtid));
                    gauges.oldest_unacknowledged = gauges.oldest_unacknowledged.max(age);
                }
                TransactionState::Active | TransactionState::Doomed { .. } => {}
            }
        }
        for wait in self.waits(now) {
            gauges.waits += 1;
            if voting.contains(&wait.gtid) {
                gauges.withheld += 1;
                gauges.oldest_withheld = gauges.oldest_withheld.max(wait.age);
            }
        }
        gauges
    }
}
