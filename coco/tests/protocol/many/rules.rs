//! What must hold always, what must be met sometimes, and what it is to be at rest.

use std::fmt::Debug;
use std::ops::BitOrAssign;

use co_core::{Gtid, Stamp};
use coco::log::Record;
use coco::protocol::{
    AbortCause, Ballot, CallerId, CommitAnswer, Coordinator, CoordinatorStats, DeadlockPolicy,
    Decision, ToCoordinator, ToParticipant, TransactionState, VoterStats,
};

use super::{Kind, SITES, State, desk_of};
use crate::world::{SiteRecord, Work};

/// Things that happen in some worlds, if these are worth anything.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Met(u32);

impl Met {
    /// Every transaction commits.
    pub(crate) const ALL_COMMIT: Self = Self(1);
    pub(crate) const SEARCH: Self = Self(1 << 1);
    pub(crate) const TIMEOUT: Self = Self(1 << 2);
    /// A vote was lost in a crash.
    pub(crate) const CRASH: Self = Self(1 << 3);
    pub(crate) const CASCADE: Self = Self(1 << 4);
    /// A vote said again with less to depend on.
    pub(crate) const SETTLED: Self = Self(1 << 5);
    pub(crate) const DEPENDENT: Self = Self(1 << 6);
    /// A commit waits at its site for the one before it.
    pub(crate) const HELD: Self = Self(1 << 7);
    pub(crate) const OUTRANKED: Self = Self(1 << 8);
    pub(crate) const UNREACHABLE: Self = Self(1 << 9);
    /// A commit that follows, in order only, one that is aborted.
    pub(crate) const AFTER_ABORT: Self = Self(1 << 10);
    /// A commit of what has read from a commit.
    pub(crate) const IF_COMMIT: Self = Self(1 << 11);
    pub(crate) const PEERS: Self = Self(1 << 12);
    pub(crate) const NONE_COMMIT: Self = Self(1 << 13);

    const WORDS: [(Self, &'static str); 14] = [
        (Self::ALL_COMMIT, "all commit"),
        (Self::SEARCH, "abort by search"),
        (Self::TIMEOUT, "abort by timeout"),
        (Self::CRASH, "abort by crash"),
        (Self::CASCADE, "cascade"),
        (Self::SETTLED, "vote said again"),
        (Self::DEPENDENT, "dependent vote"),
        (Self::HELD, "held commit"),
        (Self::OUTRANKED, "outranked"),
        (Self::UNREACHABLE, "site unreachable"),
        (Self::AFTER_ABORT, "commit after an abort"),
        (Self::IF_COMMIT, "commit on a commit"),
        (Self::PEERS, "peers talk"),
        (Self::NONE_COMMIT, "none commits"),
    ];

    /// All that is met in either.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn see_desk(&mut self, stats: &CoordinatorStats) {
        let of = |cause| stats.aborts.get(&cause).is_some_and(|&it| it > 0);
        let seen = [
            (stats.deadlocks_by_search > 0, Self::SEARCH),
            (of(AbortCause::Timeout), Self::TIMEOUT),
            (of(AbortCause::UnknownTransaction), Self::CRASH),
            (of(AbortCause::Cascade), Self::CASCADE),
            (stats.outranked > 0, Self::OUTRANKED),
            (of(AbortCause::SiteUnreachable), Self::UNREACHABLE),
            (stats.peer_messages > 0, Self::PEERS),
        ];
        self.see(&seen);
    }

    pub(super) fn see_site(&mut self, stats: &VoterStats) {
        let seen = [
            (stats.votes_settled > 0, Self::SETTLED),
            (stats.votes_dependent > 0, Self::DEPENDENT),
        ];
        self.see(&seen);
    }

    fn see(&mut self, seen: &[(bool, Self)]) {
        for &(seen, what) in seen {
            if seen {
                *self |= what;
            }
        }
    }
}

impl BitOrAssign for Met {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Debug for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let met = Self::WORDS.iter().filter(|(it, _)| self.contains(*it));
        f.debug_set().entries(met.map(|(_, word)| word)).finish()
    }
}

/// How far a transaction is, as far as anybody can know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// It can no longer commit.
    Aborted,
    /// The record of its commit is durable.
    Committed(Stamp),
}

impl State {
    pub(super) fn check(&mut self, holds: bool, rule: &str, of: usize) {
        if !holds && self.violation.is_none() {
            self.violation = Some(format!("{rule} (T{})", of + 1));
        }
    }

    fn fate(&self, of: usize) -> Fate {
        let gtid = self.plan.gtids[of];
        let desk = &self.desks[self.plan.owner(of)];
        for record in &desk.log.durable {
            if let Record::Commit {
                gtid: it, stamp, ..
            } = record
                && *it == gtid
            {
                return Fate::Committed(*stamp);
            }
        }
        for site in &self.sites {
            for record in &site.log.durable {
                match *record {
                    SiteRecord::Alone { gtid: it, stamp } if it == gtid => {
                        return Fate::Committed(stamp);
                    }
                    _ => {}
                }
            }
        }
        let open = |machine: &Coordinator| {
            let mut known = machine.transactions();
            known.any(|it| it.gtid == gtid && !matches!(it.state, TransactionState::Doomed { .. }))
        };
        let alone = self.plan.places[of].len() == 1;
        if desk.machine.as_ref().is_some_and(open) || alone {
            Fate::Open
        } else {
            Fate::Aborted
        }
    }

    /// A commit is on the disk: B1, B2 and B3.
    pub(super) fn check_record(&mut self, desk: usize, record: &Record) {
        let &Record::Commit { gtid, stamp, .. } = record else {
            return;
        };
        assert_eq!(desk_of(gtid), desk, "a coordinator writes of its own");
        let of = self.plan.index(gtid);
        for site in 0..SITES {
            for at in 0..self.plan.conflicts[site].len() {
                let edge = self.plan.conflicts[site][at];
                let both = self.sites[site].work[edge.first].is_some();
                if edge.second == of && both && self.sites[site].work[of].is_some() {
                    self.check_turn(site, edge.first, of, edge.kind, stamp);
                }
                if edge.first == of
                    && let Fate::Committed(after) = self.fate(edge.second)
                {
                    let both = self.sites[site].work[edge.second].is_some();
                    self.check(!both || stamp < after, "B3: stamps do not grow", of);
                }
            }
        }
    }

    fn check_turn(&mut self, site: usize, first: usize, second: usize, kind: Kind, stamp: Stamp) {
        let gone = self.sites[site].work[first] == Some(Work::Aborted);
        let fate = self.fate(first);
        match fate {
            Fate::Open => self.check(gone, "B1: decided before its predecessor", second),
            Fate::Aborted if kind == Kind::Order => self.met |= Met::AFTER_ABORT,
            Fate::Committed(_) if kind == Kind::Data => self.met |= Met::IF_COMMIT,
            Fate::Aborted | Fate::Committed(_) => {}
        }
        if kind == Kind::Data {
            let committed = matches!(fate, Fate::Committed(_));
            self.check(committed, "B2: has read what is not committed", second);
        }
        if let Fate::Committed(before) = fate {
            self.check(before < stamp, "B3: stamps do not grow", second);
        }
    }

    /// A4, of what is sent.
    pub(super) fn check_sent(&mut self, desk: usize, message: &ToParticipant) {
        let &ToParticipant::Decide {
            gtid,
            decision: Decision::Commit { .. },
        } = message
        else {
            return;
        };
        let of = self.plan.index(gtid);
        let durable = self.is_durable(desk, gtid);
        self.check(durable, "A4: commit sent, not durable", of);
    }

    fn is_durable(&self, desk: usize, wanted: Gtid) -> bool {
        let mut records = self.desks[desk].log.durable.iter();
        records.any(|it| matches!(it, Record::Commit { gtid, .. } if *gtid == wanted))
    }

    /// A3 and A5.
    pub(super) fn check_said(&mut self, site: usize, message: &ToCoordinator) {
        let log = &self.sites[site].log.durable;
        let (gtid, durable, rule) = match *message {
            ToCoordinator::Vote {
                gtid,
                ballot: Ballot::Yes { .. },
            } => {
                let prepared =
                    |it: &SiteRecord| matches!(it, SiteRecord::Prepared(it) if it.gtid == gtid);
                let rule = "A3: YES sent, not durable";
                (gtid, log.iter().any(prepared), rule)
            }
            ToCoordinator::Ack { gtid } => {
                let decided = self.sites[site].decided(gtid);
                let committed = matches!(decided, Some(Decision::Commit { .. }));
                (gtid, committed, "A5: acknowledged, not durable")
            }
            _ => return,
        };
        let of = self.plan.index(gtid);
        self.check(durable, rule, of);
    }

    /// A caller is answered: A2, A4 and B5.
    pub(super) fn answered(
        &mut self,
        desk: usize,
        caller: CallerId,
        gtid: Gtid,
        answer: CommitAnswer,
    ) {
        let of = self.plan.index(gtid);
        if matches!(answer, CommitAnswer::Committed { .. }) {
            let decided = matches!(self.fate(of), Fate::Committed(_));
            self.check(decided, "A4: commit answered, not durable", of);
        }
        if let CommitAnswer::Aborted {
            cause: AbortCause::VotingDeadlock,
        } = answer
        {
            let cyclic = self.is_on_a_cycle(of);
            self.check(cyclic, "B5: aborted for a deadlock that is none", of);
        }
        let at = self.desk(desk);
        at.waiting.remove(&caller);
        let before = at.answers.insert(caller, answer);
        self.check(before.is_none(), "a caller is answered twice", of);
        self.check_outcomes(of);
    }

    /// Whether conflicts lead from the transaction back to it, whatever the site.
    fn is_on_a_cycle(&self, start: usize) -> bool {
        let mut reached = vec![false; self.plan.gtids.len()];
        let mut untried = vec![start];
        while let Some(of) = untried.pop() {
            for edge in self.plan.conflicts.iter().flatten() {
                if edge.second == of {
                    if edge.first == start {
                        return true;
                    }
                    if !std::mem::replace(&mut reached[edge.first], true) {
                        untried.push(edge.first);
                    }
                }
            }
        }
        false
    }

    /// Keeps what a site has ever done with a transaction.
    pub(super) fn ended(&mut self, site: usize, of: usize, decision: Decision) {
        let at = self.site(site);
        match decision {
            Decision::Commit { stamp } => {
                let before = at.committed_ever[of].replace(stamp);
                let same = before.is_none_or(|it| it == stamp);
                self.check(same, "A1: stamps differ", of);
            }
            Decision::Abort { .. } => at.aborted_ever[of] = true,
        }
        self.check_outcomes(of);
    }

    /// A1 and A2.
    fn check_outcomes(&mut self, of: usize) {
        let stamps: Vec<Stamp> = self
            .sites
            .iter()
            .filter_map(|it| it.committed_ever[of])
            .collect();
        let aborted = self.sites.iter().any(|it| it.aborted_ever[of]);
        let same = stamps.windows(2).all(|it| it[0] == it[1]);
        self.check(same, "A1: stamps differ between sites", of);
        let atomic = stamps.is_empty() || !aborted;
        self.check(atomic, "A1: committed here, aborted there", of);
        let desk = &self.desks[self.plan.owner(of)];
        match desk.answers.get(&caller(of)).copied() {
            Some(CommitAnswer::Committed { stamp }) => {
                self.check(!aborted, "A2: answered committed, aborted at a site", of);
                let agree = stamps.iter().all(|it| *it == stamp);
                self.check(agree, "A2: answered another stamp", of);
            }
            Some(CommitAnswer::Aborted { .. }) => {
                let none = stamps.is_empty();
                self.check(none, "A2: answered aborted, committed at a site", of);
            }
            Some(CommitAnswer::Unknown | CommitAnswer::Refused(_)) | None => {}
        }
    }

    /// Whether everything has ended and nothing is left over; what is, if not.
    pub(super) fn rest(&self) -> Result<(), String> {
        for (index, desk) in self.desks.iter().enumerate() {
            let name = self.desk_name(index);
            let Some(machine) = &desk.machine else {
                return Err(format!("{name} is down"));
            };
            if let Some(it) = machine.transactions().next() {
                return Err(format!("{name} still has {it:?}"));
            }
            if !desk.waiting.is_empty() {
                return Err(format!("{name} has not answered {:?}", desk.waiting));
            }
            let tables = ["forcing: {}", "dependents: {}", "turns: []", "ages: {}"];
            let told = "told: {}";
            let waits = "reports: {}, foreign: {}, away: {}, waited_for: {}";
            let timers = "timers: Timers { order: {}, of: {} }";
            let wanted = [&tables[..], &[told, waits, timers]].concat();
            all_empty(name, machine, &wanted)?;
        }
        for (index, site) in self.sites.iter().enumerate() {
            let name = super::NAMES[index];
            let Some(voter) = &site.voter else {
                return Err(format!("{name} is down"));
            };
            let open =
                |it: &&Option<Work>| !matches!(it, Some(Work::Committed | Work::Aborted) | None);
            if let Some(work) = site.work.iter().find(open) {
                return Err(format!("{name}'s engine still has one that is {work:?}"));
            }
            let tables = ["transactions: {}", "appends: {}", "dependents: {}"];
            let waits = "waiting: {}";
            let timers = "timers: Timers { order: {}, of: {} }";
            let wanted = [&tables[..], &[waits, timers]].concat();
            all_empty(name, voter, &wanted)?;
        }
        Ok(())
    }

    /// How it has ended, for a state at rest; rule B6 for one without timers.
    pub(super) fn see_end(&mut self) -> String {
        let transactions = self.plan.gtids.len();
        let ends = (0..transactions).map(|of| {
            let committed = matches!(self.fate(of), Fate::Committed(_));
            if committed { 'C' } else { 'a' }
        });
        let ends: String = ends.collect();
        if !ends.contains('a') {
            self.met |= Met::ALL_COMMIT;
        }
        if !ends.contains('C') {
            self.met |= Met::NONE_COMMIT;
        }
        ends
    }

    /// Whether B6 applies: nothing has failed, and somebody looks for deadlocks.
    pub(super) fn needs_no_timer(&self) -> bool {
        // A dependent vote does not tell the age of another coordinator's transaction: who is to go
        // by age is then not known.
        let ages_known = self.desks.len() == 1 || !self.plan.dependent.contains(&true);
        let looks = match self.plan.policy {
            DeadlockPolicy::Search => true,
            DeadlockPolicy::WoundWait | DeadlockPolicy::WaitDie => ages_known,
            DeadlockPolicy::Timeouts => false,
        };
        looks && !self.outside.disturbed && self.plan.reports.iter().all(|it| *it)
    }
}

pub(super) fn caller(of: usize) -> CallerId {
    CallerId(of as u64 + 1)
}

/// Whether a machine's tables, as it shows them, are empty.
fn all_empty(name: &str, machine: &impl Debug, wanted: &[&str]) -> Result<(), String> {
    let shown = format!("{machine:?}");
    match wanted.iter().find(|it| !shown.contains(**it)) {
        Some(missing) => Err(format!("{name}: not `{missing}` in {shown}")),
        None => Ok(()),
    }
}
