//! The voter: a site's half of two-phase commit. It asks the engine for votes, makes them durable,
//! says them, and carries out the coordinators' decisions.
//!
//! A site may work for several coordinators. Each has a link of its own and speaks of its own
//! transactions only, which their gtids name; the engine orders them all alike.
//!
//! State: the transactions that a coordinator has asked about and that have not ended, a bounded
//! memory of those that have, the waits that were reported, one timer for each transaction.
//!
//! Invariants:
//! - (V1) A YES leaves only with a [`ForcedVote`]: its record is in the site's log, or the site has
//!   none.
//! - (V2) After its YES a transaction is ended by the coordinator's decision alone; no time, no lost
//!   link and no failed log of this site ends it. A YES that depends on others turns into a NO when one
//!   whose commit it needs is aborted, and then too the coordinator ends it.
//! - (V3) Every `RequestVote` is followed by one `Apply`, and so is every recovered transaction in
//!   doubt; none if the engine says that it does not know the transaction, or if the log fails.
//!   Further `Apply`s are aborts of transactions that the engine was never asked about.
//! - (V4) A commit is acknowledged when its decision is in the site's log, not before: the
//!   coordinator forgets what is acknowledged. The read-only ones too: if the site forgot such a
//!   decision in a crash it would not find its clock where the commit's stamp had put it.
//! - (V5) While a coordinator's link is down nothing is sent to it; everything that matters is said
//!   again after the hello.
//! - (V7) A commit is carried out after the decisions on all that its vote depended on, in whatever
//!   order they arrive.
//! - (V6) A coordinator hears of its own transactions only, but for the names of those that one of
//!   them waits for; and what it says of another's transactions is ignored.
//!
//! - (H1)–(H5), of decisions by hand: see `heuristic`.
//!
//! Not here: the engine, the log's format, the clock.

mod blocked;
mod deciding;
mod dependent;
mod heuristic;
mod voting;

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Gtid, Stamp};

use self::blocked::Reports;
pub use self::blocked::Wait;
pub use self::heuristic::{ByHand, Heuristic, HeuristicRefused};
use self::heuristic::{Handled, Step};
use super::proof::{ForcedVote, PendingVote, Vote};
use super::recent::Recent;
use super::time::{Timers, backoff};
use super::{
    AbortCause, Ballot, CoordinatorId, Decision, Dependencies, GtidParts, Incarnation, Time,
    ToCoordinator, ToParticipant, Token, VoterConfig, VoterEffect, VoterStats,
};

/// A site's half of two-phase commit.
///
/// Effects are appended to the buffer that the caller passes; they are to be done in order.
///
/// ```
/// use coco::protocol::{
///     CoordinatorId, Decision, Dependencies, Incarnation, ReleasedVote, Time, ToCoordinator, ToParticipant,
///     Voter, VoterConfig, VoterEffect,
/// };
/// use co_core::{Gtid, Stamp};
///
/// let (gtid, mut effects) = (Gtid(1), Vec::new());
/// let coordinator = CoordinatorId(0); // the first byte of the gtid
/// let mut voter = Voter::recover(VoterConfig::default(), Incarnation(1), Time(0), [], []);
/// voter.handle_link_up(Time(0), coordinator, &mut effects);
/// effects.clear(); // the hello, to be sent
///
/// // The coordinator asks; the engine votes when its gate opens; the vote is forced, then said.
/// let prepare = ToParticipant::Prepare { gtid, dependent: false };
/// voter.handle_message(Time(1), coordinator, prepare, &mut effects);
/// assert_eq!(effects.pop(), Some(VoterEffect::RequestVote { gtid, dependent: false }));
/// let depends = Dependencies::default(); // nothing
/// let yes = ReleasedVote::Yes { stamp: Stamp(7), read_only: false, depends };
/// voter.handle_released(Time(2), gtid, yes, &mut effects);
/// let Some(VoterEffect::AppendPrepared { token, .. }) = effects.pop() else { panic!() };
/// voter.handle_durable(Time(3), token, &mut effects);
/// assert!(matches!(
///     effects.pop(),
///     Some(VoterEffect::Send { message: ToCoordinator::Vote { .. }, .. })
/// ));
///
/// // The decision is applied at once, and acknowledged when it is in the site's log.
/// let decision = Decision::Commit { stamp: Stamp(9) };
/// let decide = ToParticipant::Decide { gtid, decision };
/// voter.handle_message(Time(4), coordinator, decide, &mut effects);
/// assert_eq!(effects.pop(), Some(VoterEffect::Apply { gtid, decision }));
/// let Some(VoterEffect::AppendDecision { token, .. }) = effects.pop() else { panic!() };
/// voter.handle_durable(Time(5), token, &mut effects);
/// let ack = VoterEffect::Send { to: coordinator, message: ToCoordinator::Ack { gtid } };
/// assert_eq!(effects.pop(), Some(ack));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Voter {
    config: VoterConfig,
    incarnation: Incarnation,
    /// The coordinators whose links are up.
    linked: BTreeSet<CoordinatorId>,
    log_failed: bool,
    next_token: u64,
    transactions: BTreeMap<Gtid, Phase>,
    /// Whose record each append in flight is.
    appends: BTreeMap<Token, Gtid>,
    timers: Timers,
    reports: Reports,
    /// For each voted transaction, those whose votes depend on it.
    dependents: BTreeMap<Gtid, Vec<Gtid>>,
    /// Decided here by hand, and by the coordinator the other way (H3).
    damage: BTreeMap<Gtid, Heuristic>,
    recent: Recent<Ended>,
    stats: VoterStats,
}

/// Who decides: everybody together, or this site because it is the only one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phases {
    Two,
    One,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// The engine was asked for its vote.
    Requested {
        phases: Phases,
        since: Time,
        inquiry: Inquiry,
    },
    /// The vote is on its way to the disk.
    Preparing(PendingVote),
    /// The commit of a one-phase transaction is on its way to the disk.
    Committing { stamp: Stamp },
    /// YES; in doubt.
    Voted {
        vote: ForcedVote,
        inquiry: Inquiry,
        /// Committed with this stamp, and not carried out: what it depends on is in doubt here.
        held: Option<Stamp>,
    },
    /// Committed and applied; the decision is on its way to the disk.
    Applied { stamp: Stamp },
    /// Decided by an operator.
    ByHand(Handled),
}

/// When the coordinator will be asked about a transaction, and how often it has been.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Inquiry {
    at: Time,
    asked: u32,
}

/// What is remembered of a transaction that has ended here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ended {
    phases: Phases,
    decision: Decision,
    /// Whether it is known to have worked here in this life, or to be committed. If not, an earlier life
    /// may have committed what this one says it has aborted.
    known: bool,
}

/// A transaction in doubt, read back from the site's log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InDoubt {
    /// Which.
    pub gtid: Gtid,
    /// The stamp of its vote.
    pub stamp: Stamp,
    /// It wrote nothing here.
    pub read_only: bool,
    /// What its vote depends on, of what is in doubt as well: the log has settled the rest.
    pub depends: Dependencies,
    /// The log says that what it depended on was aborted.
    pub broken: bool,
}

impl InDoubt {
    /// The log goes on with a decision on a transaction: committed with this stamp, or aborted.
    pub fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) {
        let mut vote = Vote {
            stamp: self.stamp,
            read_only: self.read_only,
            depends: std::mem::take(&mut self.depends),
            broken: self.broken,
        };
        vote.settle(gtid, outcome);
        (self.stamp, self.depends, self.broken) = (vote.stamp, vote.depends, vote.broken);
    }
}

impl Voter {
    /// Starts a voter from what the site's log says: the transactions in doubt, which the engine has
    /// re-created with their writes and read marks, and the one-phase commits that the log still
    /// holds, whose outcome the coordinator may ask for again. Both are empty at a first start.
    pub fn recover(
        config: VoterConfig,
        incarnation: Incarnation,
        now: Time,
        in_doubt: impl IntoIterator<Item = InDoubt>,
        one_phase: impl IntoIterator<Item = (Gtid, Stamp)>,
    ) -> Self {
        let mut voter = Self {
            incarnation,
            linked: BTreeSet::new(),
            log_failed: false,
            next_token: 0,
            transactions: BTreeMap::new(),
            appends: BTreeMap::new(),
            timers: Timers::default(),
            reports: Reports::default(),
            dependents: BTreeMap::new(),
            damage: BTreeMap::new(),
            recent: Recent::new(config.remembered_outcomes),
            stats: VoterStats::default(),
            config,
        };
        for (gtid, stamp) in one_phase {
            let decision = Decision::Commit { stamp };
            voter.recent.insert(
                gtid,
                Ended {
                    phases: Phases::One,
                    decision,
                    known: true,
                },
            );
        }
        for InDoubt {
            gtid,
            stamp,
            read_only,
            depends,
            broken,
        } in in_doubt
        {
            voter.index_dependencies(gtid, &depends);
            let vote = Vote {
                stamp,
                read_only,
                depends,
                broken,
            };
            voter.enter_voted(now, gtid, ForcedVote::recovered(vote));
        }
        voter
    }

    /// A message from a coordinator. What it says of another's transaction is ignored (V6).
    pub fn handle_message(
        &mut self,
        now: Time,
        from: CoordinatorId,
        message: ToParticipant,
        out: &mut Vec<VoterEffect>,
    ) {
        if GtidParts::coordinator_of(message.gtid()) != from {
            self.stats.foreign_messages += 1;
            return;
        }
        match message {
            ToParticipant::Prepare { gtid, dependent } => {
                self.handle_prepare(now, gtid, dependent, out);
            }
            ToParticipant::CommitOnePhase { gtid } => {
                self.handle_commit_one_phase(now, gtid, out);
            }
            ToParticipant::Decide {
                gtid,
                decision: Decision::Commit { stamp },
            } => {
                self.handle_commit(gtid, stamp, out);
            }
            ToParticipant::Decide {
                gtid,
                decision: Decision::Abort { cause },
            } => {
                self.handle_abort(gtid, cause, out);
            }
        }
    }

    /// An append is durable.
    pub fn handle_durable(&mut self, now: Time, token: Token, out: &mut Vec<VoterEffect>) {
        let Some(gtid) = self.appends.remove(&token) else {
            // The transaction has ended while its record was being written.
            return;
        };
        if self.acknowledged(gtid) {
            return;
        }
        match self.transactions.remove(&gtid) {
            Some(Phase::Preparing(pending)) => {
                self.vote_yes(now, gtid, pending.durable(token), out);
            }
            Some(Phase::Committing { stamp }) => {
                let decision = Decision::Commit { stamp };
                out.push(VoterEffect::Apply { gtid, decision });
                self.end_one_phase(gtid, decision, true, out);
                self.settle_dependents(gtid, Some(stamp), out);
            }
            Some(Phase::Applied { stamp }) => {
                self.remember(gtid, Phases::Two, Decision::Commit { stamp }, true);
                self.send(gtid, ToCoordinator::Ack { gtid }, out);
            }
            Some(Phase::ByHand(handled)) if matches!(handled.step, Step::Hearing) => {
                self.heard(handled.heuristic, out);
            }
            Some(Phase::ByHand(handled)) => self.carry_out_by_hand(now, handled, out),
            Some(Phase::Requested { .. } | Phase::Voted { .. }) | None => {
                unreachable!("the index of appends names transactions that are being written")
            }
        }
    }

    /// The site's log has failed. What has not voted is refused; what has voted stays in doubt (V2);
    /// of a one-phase commit that was being written nobody can say what it is before a restart.
    pub fn handle_log_failed(&mut self, out: &mut Vec<VoterEffect>) {
        self.log_failed = true;
        self.appends.clear();
        let gtids: Vec<Gtid> = self.transactions.keys().copied().collect();
        for gtid in gtids {
            match self.transactions.get(&gtid) {
                Some(&Phase::Requested { phases, .. }) => {
                    self.refuse(gtid, phases, AbortCause::LogFailure, false, out);
                }
                // The record may be on the disk. "No" is true, since the YES has not left; but if it
                // is lost, a restart would find the record and vote YES. So nothing is undone yet.
                Some(Phase::Preparing(_)) => self.say_log_failed(gtid, out),
                Some(
                    Phase::Committing { .. }
                    | Phase::Voted { .. }
                    | Phase::Applied { .. }
                    | Phase::ByHand(_),
                )
                | None => {}
            }
        }
    }

    /// The link to a coordinator is up: introduces the site and repeats what may be lost.
    pub fn handle_link_up(
        &mut self,
        _now: Time,
        coordinator: CoordinatorId,
        out: &mut Vec<VoterEffect>,
    ) {
        self.linked.insert(coordinator);
        self.reports.forget_reported(coordinator);
        let votes: Vec<(Gtid, Ballot)> = self
            .transactions
            .iter()
            .filter(|&(&gtid, _)| GtidParts::coordinator_of(gtid) == coordinator)
            .filter_map(|(&gtid, phase)| match phase {
                Phase::Voted { vote, .. } => Some((gtid, vote.ballot(self.incarnation))),
                Phase::Requested { .. }
                | Phase::Preparing(_)
                | Phase::Committing { .. }
                | Phase::Applied { .. }
                | Phase::ByHand(_) => None,
            })
            .collect();
        let by_hand = self.handled_of(coordinator);
        let in_doubt = votes.iter().map(|&(gtid, _)| gtid);
        let in_doubt = in_doubt.chain(by_hand.iter().map(|&(gtid, _)| gtid));
        let hello = ToCoordinator::Hello {
            incarnation: self.incarnation,
            address: self.config.address.clone(),
            in_doubt: in_doubt.collect(),
        };
        out.push(VoterEffect::Send {
            to: coordinator,
            message: hello,
        });
        let by_hand = by_hand.into_iter();
        let by_hand = by_hand.filter_map(|(gtid, ballot)| Some((gtid, ballot?)));
        for (gtid, ballot) in votes.into_iter().chain(by_hand) {
            self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
        }
    }

    /// The link to a coordinator is down.
    pub fn handle_link_down(&mut self, _now: Time, coordinator: CoordinatorId) {
        self.linked.remove(&coordinator);
    }

    /// Time has passed: does what has come due.
    ///
    /// Not only the voted ask what became of them: if the word of an abort was lost, a transaction
    /// whose vote is withheld would hold up its successors for ever.
    pub fn handle_tick(&mut self, now: Time, out: &mut Vec<VoterEffect>) {
        while let Some(gtid) = self.timers.pop_due(now) {
            let inquiry = match self.transactions.get_mut(&gtid) {
                Some(&mut Phase::Requested {
                    phases,
                    since,
                    ref mut inquiry,
                }) => {
                    let patience = self.config.vote_wait_timeout;
                    if patience.is_some_and(|patience| now >= since + patience) {
                        self.refuse(gtid, phases, AbortCause::Timeout, false, out);
                        continue;
                    }
                    inquiry
                }
                Some(Phase::Voted { inquiry, .. } | Phase::ByHand(Handled { inquiry, .. })) => {
                    inquiry
                }
                Some(Phase::Preparing(_) | Phase::Committing { .. } | Phase::Applied { .. })
                | None => unreachable!("only who waits for somebody else has a timer"),
            };
            if now >= inquiry.at {
                inquiry.asked = inquiry.asked.saturating_add(1);
                let (base, limit) = (self.config.inquire_after, self.config.inquire_limit);
                inquiry.at = now + backoff(base, inquiry.asked, limit);
                if self.is_linked(gtid) {
                    self.stats.inquiries += 1;
                    self.send(gtid, ToCoordinator::Inquire { gtid }, out);
                }
            }
            self.set_timer(gtid);
        }
    }

    /// When [`handle_tick`](Self::handle_tick) has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The transactions in doubt: voted YES, decision unknown.
    pub fn in_doubt(&self) -> impl Iterator<Item = Gtid> {
        let voted = |phase: &Phase| matches!(phase, Phase::Voted { .. });
        self.transactions
            .iter()
            .filter(move |(_, phase)| voted(phase))
            .map(|(&gtid, _)| gtid)
    }

    /// How many transactions the coordinator has asked about and that have not ended here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.transactions.len()
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &VoterStats {
        &self.stats
    }

    /// The counters since they were last taken; they start again from zero.
    pub fn take_stats(&mut self) -> VoterStats {
        std::mem::take(&mut self.stats)
    }

    /// Says something of the transaction to its coordinator (V5, V6).
    fn send(&self, gtid: Gtid, message: ToCoordinator, out: &mut Vec<VoterEffect>) {
        let to = GtidParts::coordinator_of(gtid);
        if self.linked.contains(&to) {
            out.push(VoterEffect::Send { to, message });
        }
    }

    fn is_linked(&self, gtid: Gtid) -> bool {
        self.linked.contains(&GtidParts::coordinator_of(gtid))
    }

    fn new_token(&mut self, gtid: Gtid) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.appends.insert(token, gtid);
        token
    }

    fn remember(&mut self, gtid: Gtid, phases: Phases, decision: Decision, known: bool) {
        assert!(
            !self.transactions.contains_key(&gtid),
            "what is remembered has ended"
        );
        self.timers.cancel(gtid);
        self.reports.forget(gtid);
        let ended = Ended {
            phases,
            decision,
            known,
        };
        self.recent.insert(gtid, ended);
    }
}

#[cfg(test)]
mod tests;
