//! The coordinator: hands out transactions, collects votes, decides, and sees that every site learns.
//!
//! State: the transactions that are not yet forgotten, the sites, the waits that sites have reported,
//! one timer for each transaction.
//!
//! Invariants:
//! - (I1) "Commit" is said, to a site or a caller, only with a [`DurableCommit`]: the record is in the
//!   log. The one exception is a one-phase commit, which its site has decided and made durable.
//! - (I2) Presumed abort: a gtid of this coordinator, of this or an earlier epoch, that is not in the
//!   table cannot be committed any more, or is committed and acknowledged by every site. "Abort" is
//!   therefore the right answer to whoever asks about it.
//! - (I3) A transaction whose commit record was handed to the log is never aborted, even if the log
//!   fails: the record may be on the disk.
//! - (I4) No gtid is handed out twice: the epoch is durable before its first gtid.
//! - (I5) Every caller is answered at most once, and of one transaction all alike, except that
//!   "unknown" may be said to some.
//! - (I6) Every site of a committed transaction acknowledges, the read-only ones too, before it is
//!   forgotten: a read-only site that asked later and were told "abort" would not move its clock to
//!   the commit's stamp, and stamps would no longer grow along precedence.
//!
//! Not here: I/O, the clock, the wire, who the callers are. Transactions of other coordinators are
//! left to those; only waits that lead from one's to another's are told (`peers`).

mod deadlock;
mod deciding;
mod dependent;
mod link;
mod one_phase;
mod peers;
mod recovering;
mod view;
mod voting;
mod waits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use co_core::{Gtid, Priority, Stamp};

use self::deciding::{Committed, Forcing};
use self::one_phase::OnePhase;
use self::peers::Peers;
pub use self::recovering::RecoverError;
pub use self::view::{SiteView, TransactionState, TransactionView, WaitView};
use self::voting::Voting;
use self::waits::Waits;
use super::proof::DurableCommit;
use super::recent::Recent;
use super::time::Timers;
use super::{
    AbortCause, BeginRefused, Begun, CallerId, CommitAnswer, CoordinatorConfig, CoordinatorEffect,
    CoordinatorId, CoordinatorStats, Decision, Epoch, GtidParts, Incarnation, Note, Refusal,
    SiteName, Time, ToCoordinator, ToParticipant, Token,
};

/// The coordinator's half of two-phase commit.
///
/// Effects are appended to the buffer that the caller passes; they are to be done in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    id: CoordinatorId,
    epoch: Epoch,
    /// The append of the present epoch's record, while it is not durable.
    epoch_token: Option<Token>,
    /// The counter of the next gtid; `None` when the epoch has none left.
    counter: Option<u32>,
    next_token: u64,
    log_failed: bool,
    sites: BTreeMap<SiteName, Site>,
    transactions: BTreeMap<Gtid, Transaction>,
    /// Whose commit each append in flight decides.
    forcing: BTreeMap<Token, Gtid>,
    /// For each own undecided transaction, those that voted to be decided after it.
    dependents: BTreeMap<Gtid, BTreeSet<Gtid>>,
    /// Those whose predecessors have just been decided; empty between inputs.
    turns: VecDeque<Gtid>,
    /// Transactions that wait for votes, by age.
    ages: BTreeSet<(Priority, Gtid)>,
    timers: Timers,
    waits: Waits,
    peers: Peers,
    recent: Recent<Ended>,
    stats: CoordinatorStats,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Site {
    incarnation: Incarnation,
    address: String,
    connected: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Transaction {
    priority: Priority,
    phase: Phase,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Begun; its client works at the sites.
    Active,
    /// Asked its sites to prepare.
    Voting(Voting),
    /// Asked its only site to decide.
    OnePhase(OnePhase),
    /// All voted YES; the commit record is on its way to the disk.
    Forcing(Forcing),
    /// Decided; some sites have not acknowledged.
    Committed(Committed),
    /// Aborted before its client asked for commit.
    Doomed(AbortCause),
}

/// What is remembered of a transaction that has left the table.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Ended {
    Committed(DurableCommit),
    OnePhase(Stamp),
    Aborted(AbortCause),
    Unknown,
}

impl Coordinator {
    /// A client begins a transaction. A retry passes the priority of its first attempt, so that it
    /// grows old enough to win.
    ///
    /// # Errors
    ///
    /// If the epoch is not yet durable, the log has failed, or there is too much in flight.
    ///
    /// # Panics
    ///
    /// If a gtid would be handed out twice (I4).
    pub fn handle_begin(
        &mut self,
        now: Time,
        priority: Option<Priority>,
        out: &mut Vec<CoordinatorEffect>,
    ) -> Result<Begun, BeginRefused> {
        if self.log_failed {
            return Err(BeginRefused::LogFailed);
        }
        if self.epoch_token.is_some() {
            return Err(BeginRefused::Starting);
        }
        if self.transactions.len() >= self.config.max_in_flight {
            return Err(BeginRefused::Busy {
                limit: self.config.max_in_flight,
            });
        }
        let Some(counter) = self.counter else {
            let next = self.epoch.next().ok_or(BeginRefused::EpochsExhausted)?;
            self.start_epoch(next, out);
            return Err(BeginRefused::Starting);
        };
        self.counter = counter.checked_add(1);
        let gtid = GtidParts {
            coordinator: self.id,
            epoch: self.epoch,
            counter,
        }
        .gtid();
        // Without the coordinator's bits a gtid is an age: it grows with every begin and restart.
        let priority = priority.unwrap_or(Priority(gtid.0 & ((1 << 56) - 1)));
        let before = self.transactions.insert(
            gtid,
            Transaction {
                priority,
                phase: Phase::Active,
            },
        );
        assert!(before.is_none(), "I4: no gtid is handed out twice");
        self.timers.set(gtid, now + self.config.idle_timeout);
        self.stats.begun += 1;
        Ok(Begun { gtid, priority })
    }

    /// A client asks to commit the transaction, which worked at these sites and has no more to do.
    ///
    /// A repetition is harmless: it waits for, or gets, the same outcome.
    pub fn handle_commit(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: &[SiteName],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.commit(now, caller, gtid, sites, false, out);
    }

    /// Like [`handle_commit`](Self::handle_commit), and the sites may vote before the transaction's
    /// predecessors are decided: it commits sooner, and aborts if one whose writes it read does.
    pub fn handle_commit_dependent(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: &[SiteName],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.commit(now, caller, gtid, sites, true, out);
    }

    fn commit(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: &[SiteName],
        dependent: bool,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        match self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase)
        {
            Some(Phase::Active) => self.start_commit(now, caller, gtid, sites, dependent, out),
            Some(
                Phase::Voting(Voting { callers, .. }) | Phase::OnePhase(OnePhase { callers, .. }),
            ) => {
                callers.push(caller);
            }
            Some(Phase::Forcing(forcing)) => forcing.join(caller, gtid, out),
            Some(Phase::Committed(committed)) => {
                out.push(answer(caller, gtid, committed.answer()));
            }
            Some(&mut Phase::Doomed(cause)) => {
                self.end(caller, gtid, Ended::Aborted(cause), sites, out);
            }
            None => self.answer_ended(caller, gtid, self.recent.get(gtid), sites, out),
        }
        self.finish(out);
    }

    /// A client gives the transaction up. If its commit was asked for and can no longer be stopped,
    /// the answer says what has become of it.
    pub fn handle_rollback(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: &[SiteName],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        match self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase)
        {
            Some(Phase::Active) => {
                self.count_abort(AbortCause::Client);
                self.end(caller, gtid, Ended::Aborted(AbortCause::Client), sites, out);
            }
            Some(Phase::Voting(Voting { callers, .. })) => {
                callers.push(caller);
                self.abort(gtid, AbortCause::Client, None, out);
            }
            Some(Phase::OnePhase(OnePhase { callers, .. })) => {
                callers.push(caller);
                self.request_one_phase_abort(now, gtid, AbortCause::Client, out);
            }
            Some(Phase::Forcing(_) | Phase::Committed(_) | Phase::Doomed(_)) | None => {
                self.handle_commit(now, caller, gtid, sites, out);
            }
        }
        self.finish(out);
    }

    /// A message from a site.
    pub fn handle_message(
        &mut self,
        now: Time,
        from: &SiteName,
        message: ToCoordinator,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        match message {
            ToCoordinator::Hello {
                incarnation,
                address,
                in_doubt,
            } => {
                self.handle_hello(from, incarnation, address, &in_doubt, out);
            }
            ToCoordinator::Vote { gtid, ballot } => self.handle_vote(now, from, gtid, ballot, out),
            ToCoordinator::Blocked { gtid, by, .. } => {
                self.handle_blocked(now, from, gtid, &by, out);
            }
            ToCoordinator::OnePhaseDone {
                gtid,
                decision,
                known,
            } => {
                self.handle_one_phase_done(from, gtid, decision, known, out);
            }
            ToCoordinator::Ack { gtid } => self.handle_ack(from, gtid, out),
            ToCoordinator::Inquire { gtid } => self.resolve(from, gtid, out),
        }
        self.finish(out);
    }

    /// An append is durable.
    pub fn handle_durable(&mut self, now: Time, token: Token, out: &mut Vec<CoordinatorEffect>) {
        if self.epoch_token == Some(token) {
            self.epoch_token = None;
        } else if let Some(gtid) = self.forcing.remove(&token) {
            self.commit_is_durable(now, gtid, token, out);
        } else {
            out.push(CoordinatorEffect::Note(Note::UnknownToken(token)));
        }
    }

    /// The log has failed: nothing can be decided any more. What is undecided is aborted; of a commit
    /// whose record was on its way nobody can say what it is before a restart has read the log.
    pub fn handle_log_failed(&mut self, now: Time, out: &mut Vec<CoordinatorEffect>) {
        if std::mem::replace(&mut self.log_failed, true) {
            return;
        }
        let gtids: Vec<Gtid> = self.transactions.keys().copied().collect();
        for gtid in gtids {
            match self
                .transactions
                .get_mut(&gtid)
                .map(|transaction| &mut transaction.phase)
            {
                Some(Phase::Active) => self.doom(now, gtid, AbortCause::LogFailure, out),
                Some(Phase::Voting(_)) => self.abort(gtid, AbortCause::LogFailure, None, out),
                Some(Phase::Forcing(forcing)) => {
                    self.stats.unknown += forcing.fail(gtid, out);
                }
                // A site decides these, or has been told; the coordinator's log has no part in it.
                Some(Phase::OnePhase(_) | Phase::Committed(_) | Phase::Doomed(_)) | None => {}
            }
        }
        self.finish(out);
    }

    /// Time has passed: does what has come due.
    pub fn handle_tick(&mut self, now: Time, out: &mut Vec<CoordinatorEffect>) {
        while let Some(gtid) = self.timers.pop_due(now) {
            let Some(transaction) = self.transactions.get(&gtid) else {
                unreachable!("a transaction that leaves the table takes its timer with it");
            };
            match transaction.phase {
                Phase::Active => {
                    self.stats.expired += 1;
                    self.count_abort(AbortCause::Timeout);
                    self.forget(gtid, Ended::Aborted(AbortCause::Timeout));
                }
                Phase::Voting(_) => self.vote_timer(now, gtid, out),
                Phase::OnePhase(_) => self.one_phase_timer(now, gtid, out),
                Phase::Committed(_) => self.resend_timer(now, gtid, out),
                Phase::Doomed(cause) => self.forget(gtid, Ended::Aborted(cause)),
                Phase::Forcing(_) => unreachable!("only the log ends this phase: it has no timer"),
            }
        }
        self.finish(out);
    }

    /// When [`handle_tick`](Self::handle_tick) has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// What follows from every input: decisions whose turn has come, news for other coordinators.
    pub(super) fn finish(&mut self, out: &mut Vec<CoordinatorEffect>) {
        self.take_turns(out);
        self.tell_peers(out);
    }

    /// Starts the commit of an active transaction.
    fn start_commit(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: &[SiteName],
        dependent: bool,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let sites: BTreeSet<SiteName> = sites.iter().cloned().collect();
        let reachable = sites.iter().all(|site| self.is_connected(site));
        let mut names = sites.iter();
        match (names.next(), names.next()) {
            (None, _) => {
                self.stats.commits += 1;
                self.end(caller, gtid, Ended::OnePhase(Stamp::default()), &[], out);
            }
            _ if !reachable => {
                let cause = AbortCause::SiteUnreachable;
                self.count_abort(cause);
                let sites: Vec<SiteName> = sites.into_iter().collect();
                self.end(caller, gtid, Ended::Aborted(cause), &sites, out);
            }
            (Some(site), None) => self.start_one_phase(now, caller, gtid, site.clone(), out),
            (Some(_), Some(_)) => self.start_voting(now, caller, gtid, sites, dependent, out),
        }
    }

    /// Takes the transaction out of the table, and says so to its caller and sites.
    fn end(
        &mut self,
        caller: CallerId,
        gtid: Gtid,
        ended: Ended,
        sites: &[SiteName],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.forget(gtid, ended.clone());
        self.answer_ended(caller, gtid, Some(&ended), sites, out);
    }

    /// Answers a caller about a transaction that is not in the table, and cleans up at the sites.
    fn answer_ended(
        &self,
        caller: CallerId,
        gtid: Gtid,
        ended: Option<&Ended>,
        sites: &[SiteName],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let (said, cleanup) = match ended {
            Some(Ended::Committed(proof)) => (proof.answer(), None),
            Some(&Ended::OnePhase(stamp)) => (CommitAnswer::Committed { stamp }, None),
            Some(&Ended::Aborted(cause)) => (CommitAnswer::Aborted { cause }, Some(cause)),
            Some(Ended::Unknown) => (CommitAnswer::Unknown, None),
            None => (
                CommitAnswer::Refused(Refusal::UnknownGtid),
                self.knows(gtid).then_some(AbortCause::UnknownTransaction),
            ),
        };
        // Nobody else would tell these sites: the coordinator did not know of them when it aborted,
        // and by I2 it cannot be wrong about it now.
        if let Some(cause) = cleanup {
            let sites: BTreeSet<&SiteName> = sites.iter().collect();
            self.send_abort(gtid, cause, sites, out);
        }
        out.push(answer(caller, gtid, said));
    }

    /// Whether what is not in the table is known to have ended: the gtid is this coordinator's and
    /// of no later epoch (I2).
    fn knows(&self, gtid: Gtid) -> bool {
        let parts = GtidParts::of(gtid);
        parts.coordinator == self.id && parts.epoch <= self.epoch && parts.epoch != Epoch::NONE
    }

    fn is_connected(&self, site: &SiteName) -> bool {
        self.sites.get(site).is_some_and(|site| site.connected)
    }

    fn send(&self, to: &SiteName, message: ToParticipant, out: &mut Vec<CoordinatorEffect>) {
        if self.is_connected(to) {
            out.push(CoordinatorEffect::Send {
                to: to.clone(),
                message,
            });
        }
    }

    fn send_abort<'a, I: IntoIterator<Item = &'a SiteName>>(
        &self,
        gtid: Gtid,
        cause: AbortCause,
        sites: I,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        debug_assert!(
            self.transactions
                .get(&gtid)
                .is_none_or(|transaction| !matches!(
                    transaction.phase,
                    Phase::Forcing(_) | Phase::Committed(_)
                )),
            "I3: a commit that may be in the log is not aborted"
        );
        for site in sites {
            let decision = Decision::Abort { cause };
            self.send(site, ToParticipant::Decide { gtid, decision }, out);
        }
    }

    fn count_abort(&mut self, cause: AbortCause) {
        *self.stats.aborts.entry(cause).or_default() += 1;
    }

    /// Takes a transaction out of the table; what it was is remembered for a while.
    fn forget(&mut self, gtid: Gtid, ended: Ended) {
        let known = self.transactions.remove(&gtid);
        let transaction = known.expect("only a transaction in the table is forgotten");
        self.ages.remove(&(transaction.priority, gtid));
        self.timers.cancel(gtid);
        self.waits.forget(gtid);
        self.recent.insert(gtid, ended);
    }

    fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}

const fn answer(caller: CallerId, gtid: Gtid, answer: CommitAnswer) -> CoordinatorEffect {
    CoordinatorEffect::Answer {
        caller,
        gtid,
        answer,
    }
}

#[cfg(test)]
mod tests;
