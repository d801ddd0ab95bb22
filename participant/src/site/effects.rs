//! What arrives is given to the voter, and what the voter wants done is done.

use std::sync::Arc;

use co_core::{Gtid, Stamp};
use coco::failpoint;
use coco::protocol::{
    AbortCause, Decision as Decided, Dependencies, GtidParts, InDoubt, ReleasedVote, Time,
    ToParticipant, Token, VoterEffect, Wait,
};

use super::by_hand;
use super::checkpoint::REMEMBERED_OUTCOMES;
use super::inbox::Event;
use super::{
    Aborted, Input, MAX_SITE_RECORD_BYTES, REMEMBERED_ABORTS, Site, SiteRecord, State, cause_of,
};
use crate::participant::{Ballot, Blocked, Decision, Participant, Prepared, TxnName};

impl Site {
    pub(super) fn take(&self, state: &mut State, input: Input, now: Time) {
        self.fails_at(point_of(&input));
        let mut effects = Vec::new();
        let told = match &input {
            Input::Message(
                from,
                ToParticipant::Decide {
                    gtid,
                    decision: Decided::Abort { cause },
                },
            ) if GtidParts::coordinator_of(*gtid) == *from => Some((*gtid, *cause)),
            Input::Message(..) | Input::LinkUp(_) | Input::LinkDown(_) | Input::Tick => None,
        };
        match input {
            Input::Message(from, message) => {
                state.voter.handle_message(now, from, message, &mut effects);
            }
            Input::LinkUp(coordinator) if !state.alive => {
                state.links_wait.insert(coordinator);
            }
            Input::LinkUp(coordinator) => {
                state.voter.handle_link_up(now, coordinator, &mut effects);
            }
            Input::LinkDown(coordinator) => {
                state.links_wait.remove(&coordinator);
                state.voter.handle_link_down(now, coordinator);
            }
            Input::Tick => {
                state.voter.handle_tick(now, &mut effects);
                if self.participant.stored().failure().is_some() {
                    self.inbox.push(Event::LogFailed);
                }
                let waits: Vec<Wait> = self.participant.blocked().into_iter().map(wait).collect();
                state.voter.handle_blocked(now, &waits, &mut effects);
            }
        }
        self.perform(state, effects);
        // The voter says "unknown" of what it was not asked about; the coordinator's word says more to
        // the client that waits.
        if let Some((gtid, cause)) = told
            && let Some(remembered) = state.aborted.get_mut(&gtid)
        {
            remembered.cause = cause;
        }
    }

    /// Handles events until none is left: doing what one asks for may bring the next. What they commit goes to
    /// the storage together.
    pub(super) fn drain(&self, state: &mut State, now: Time) {
        loop {
            self.handle_events(state, now);
            let appended = self.append_batch(state, now);
            if !self.settle(state) && !appended {
                break;
            }
        }
        Self::tell_operators(state);
        self.checkpoint(state);
    }

    fn handle_events(&self, state: &mut State, now: Time) {
        while let Some(event) = self.inbox.pop() {
            let Some(event) = state.hold_back(event) else {
                continue;
            };
            if let Some(point) = point_at(&event) {
                self.fails_at(point);
            }
            let mut effects = Vec::new();
            match event {
                Event::Released(gtid, ballot) => {
                    let vote = Self::released(&*self.participant, state, gtid, ballot);
                    state.voter.handle_released(now, gtid, vote, &mut effects);
                }
                Event::Durable(token) => state.voter.handle_durable(now, token, &mut effects),
                Event::Alive => {
                    state.alive = true;
                    for coordinator in std::mem::take(&mut state.links_wait) {
                        state.voter.handle_link_up(now, coordinator, &mut effects);
                    }
                }
                Event::LogFailed if state.log_failed => {}
                Event::LogFailed => {
                    state.log_failed = true;
                    self.end_turns(state);
                    state.voter.handle_log_failed(&mut effects);
                }
                Event::HeldBack(_) => unreachable!("it was unpacked above"),
                Event::Checkpointed(first, ordinal) => self.checkpointed(state, first, ordinal),
                Event::ByHand(gtid, how, done) => {
                    Self::asked_by_hand(state, now, (gtid, how, done), &mut effects);
                }
                Event::LocalReleased(name, ballot, done) => {
                    self.local_released(state, name, ballot, done);
                }
                Event::LocalDurable(name, stamp, done) => {
                    self.local_durable(state, name, stamp, done);
                }
                Event::LocalLost(done) => Self::local_lost(done),
            }
            self.perform(state, effects);
        }
    }

    /// Where tests have a site fail: its log then counts as failed.
    pub(super) fn fails_at(&self, point: &'static str) {
        if failpoint::hit(point) {
            self.inbox.push(Event::LogFailed);
        }
    }

    /// The vote as the voter wants it. What a YES has to log is taken here, where a transaction that is
    /// too large for the log can still be refused.
    fn released(
        participant: &dyn Participant,
        state: &mut State,
        gtid: Gtid,
        ballot: Ballot,
    ) -> ReleasedVote {
        let (stamp, read_only, depends) = match ballot {
            Ballot::Yes {
                stamp,
                read_only,
                depends,
            } => (stamp, read_only, depends),
            Ballot::No(reason) => {
                let cause = if state.priorities.contains_key(&gtid) {
                    cause_of(reason)
                } else {
                    // What was aborted without having worked here may have committed in an earlier life.
                    let ended = state.aborted.get(&gtid).filter(|ended| ended.worked);
                    ended.map_or(AbortCause::UnknownTransaction, |ended| ended.cause)
                };
                return ReleasedVote::No(cause);
            }
        };
        // None: the decision to abort has overtaken the vote, which the voter then ignores.
        if state.durable
            && let Some(prepared) = participant.prepared(TxnName::Global(gtid))
        {
            if SiteRecord::prepared_len(&prepared) > MAX_SITE_RECORD_BYTES {
                return ReleasedVote::No(AbortCause::LogFailure);
            }
            state.prepared.insert(gtid, prepared);
        }
        ReleasedVote::Yes {
            stamp,
            read_only,
            depends,
        }
    }

    fn perform(&self, state: &mut State, effects: Vec<VoterEffect>) {
        for effect in effects {
            if let Some(point) = point_before(&effect) {
                self.fails_at(point);
            }
            match effect {
                VoterEffect::RequestVote { gtid, dependent } => {
                    self.request_vote(state, gtid, dependent);
                }
                VoterEffect::AppendPrepared {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    token,
                } => {
                    let record = prepared_record(state, gtid, stamp, read_only, depends);
                    self.append(state, &record, token);
                }
                VoterEffect::AppendOnePhase { gtid, stamp, token } => {
                    let record = one_phase_record(state, gtid, stamp);
                    self.append(state, &record, token);
                }
                VoterEffect::AppendDecision {
                    gtid,
                    decision,
                    token,
                } => {
                    let record = decision_record(state, gtid, decision).encode();
                    state.checkpoints.count(&record);
                    state.batch.force_soon(record, durable(token));
                }
                VoterEffect::AppendDecisionLazy { gtid, decision } => {
                    let record = decision_record(state, gtid, decision);
                    Self::append_lazy(state, &record);
                }
                VoterEffect::AppendHeuristic {
                    gtid,
                    decision,
                    along,
                    token,
                } => {
                    let record = by_hand::record(state, gtid, decision, along);
                    self.append(state, &record, token);
                }
                VoterEffect::AppendHeuristicState { heuristic, token } => {
                    let record = SiteRecord::ByHandState(heuristic);
                    match token {
                        Some(token) => self.append(state, &record, token),
                        None => Self::append_lazy(state, &record),
                    }
                }
                VoterEffect::Apply { gtid, decision } => self.apply(state, gtid, decision),
                VoterEffect::Send { to, message } => (self.outbox)(to, message),
            }
        }
    }

    fn request_vote(&self, state: &mut State, gtid: Gtid, dependent: bool) {
        let name = TxnName::Global(gtid);
        state.ending.insert(name);
        let inbox = Arc::clone(&self.inbox);
        let on_ballot = Box::new(move |ballot| inbox.push(Event::Released(gtid, ballot)));
        if dependent {
            self.participant.prepare_dependent(name, on_ballot);
        } else {
            self.participant.prepare(name, on_ballot);
        }
    }

    fn append_lazy(state: &mut State, record: &SiteRecord) {
        let record = record.encode();
        state.checkpoints.count(&record);
        state.batch.add_lazy(record);
    }

    fn append(&self, state: &mut State, record: &SiteRecord, token: Token) {
        Self::force(state, record, durable(token));
    }

    /// Has a record appended with the present batch; `then` says what it means that it is durable, or is not.
    pub(super) fn force(
        state: &mut State,
        record: &SiteRecord,
        then: impl FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send + 'static,
    ) {
        let record = record.encode();
        state.checkpoints.count(&record);
        state.batch.force(record, then);
    }

    fn apply(&self, state: &mut State, gtid: Gtid, decision: Decided) {
        let name = TxnName::Global(gtid);
        match decision {
            Decided::Commit { stamp } => {
                state.clock = state.clock.max(stamp);
                let decided = state.doubts.all.get(&gtid).and_then(|doubt| doubt.decided);
                self.commit(state, name, decided.unwrap_or(0), stamp);
            }
            Decided::Abort { cause } => {
                let worked = state.priorities.contains_key(&gtid);
                remember_abort(state, gtid, Aborted { cause, worked });
                self.participant
                    .decide(name, Decision::Abort)
                    .expect("S2: nobody else has committed it");
                state.forget(name);
            }
        }
    }
}

/// A record of the voter is durable, or cannot be.
fn durable(token: Token) -> impl FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send + 'static {
    move |written| match written {
        Ok(()) => [Some(Event::Durable(token)), None],
        Err(()) => [Some(Event::LogFailed), None],
    }
}

/// The failpoint of an input.
const fn point_of(input: &Input) -> &'static str {
    match input {
        Input::Message(_, ToParticipant::Prepare { .. }) => "site: prepare",
        Input::Message(_, ToParticipant::CommitOnePhase { .. }) => "site: one-phase",
        Input::Message(_, ToParticipant::Decide { .. }) => "site: decide",
        Input::LinkUp(_) => "site: link up",
        Input::LinkDown(_) => "site: link down",
        Input::Tick => "site: tick",
    }
}

/// The failpoint of an event.
const fn point_at(event: &Event) -> Option<&'static str> {
    match event {
        Event::Released(..) => Some("site: released"),
        Event::Durable(_) => Some("site: durable"),
        Event::Alive => Some("site: alive"),
        Event::Checkpointed(..) => Some("site: checkpoint durable"),
        Event::LocalReleased(..)
        | Event::LocalDurable(..)
        | Event::LocalLost(_)
        | Event::ByHand(..)
        | Event::HeldBack(_)
        | Event::LogFailed => None,
    }
}

/// The failpoint before an effect.
const fn point_before(effect: &VoterEffect) -> Option<&'static str> {
    match effect {
        VoterEffect::RequestVote { .. } => Some("site: request vote"),
        VoterEffect::AppendPrepared { .. } => Some("site: append prepared"),
        VoterEffect::AppendOnePhase { .. } => Some("site: append one-phase"),
        VoterEffect::AppendDecision { .. } => Some("site: append decision"),
        VoterEffect::AppendDecisionLazy { .. }
        | VoterEffect::AppendHeuristic { .. }
        | VoterEffect::AppendHeuristicState { .. } => None,
        VoterEffect::Apply {
            decision: Decided::Commit { .. },
            ..
        } => Some("site: apply commit"),
        VoterEffect::Apply {
            decision: Decided::Abort { .. },
            ..
        } => Some("site: apply abort"),
        VoterEffect::Send { .. } => Some("site: send"),
    }
}

fn prepared_record(
    state: &mut State,
    gtid: Gtid,
    stamp: Stamp,
    read_only: bool,
    depends: Dependencies,
) -> SiteRecord {
    let priority = state.priorities.get(&gtid).copied();
    let prepared = take_prepared(state, gtid);
    let changes = !prepared.changes.is_empty();
    let mut vote = InDoubt {
        gtid,
        stamp,
        read_only,
        depends,
        broken: false,
    };
    settle_one_phase(state, &mut vote);
    let record = SiteRecord::Prepared {
        gtid,
        priority: priority.expect("S2: who voted has begun here and not ended"),
        stamp: vote.stamp,
        read_only,
        prepared,
        after: vote.depends.after.iter().copied().collect(),
        if_committed: vote.depends.if_committed.iter().copied().collect(),
    };
    state.clock = state.clock.max(vote.stamp);
    state.doubts.enter(vote, changes);
    record
}

/// What a vote depends on and is not in doubt decides alone, and its commit is in the log before this vote.
fn settle_one_phase(state: &State, vote: &mut InDoubt) {
    let named: Vec<Gtid> = vote.depends.iter().collect();
    for gtid in named {
        if state.doubts.all.contains_key(&gtid) {
            continue;
        }
        let mut outcomes = state.outcomes.iter().rev();
        if let Some((_, stamp)) = outcomes.find(|(alone, _)| *alone == gtid) {
            vote.settle(gtid, Some(*stamp));
        }
    }
}

fn one_phase_record(state: &mut State, gtid: Gtid, stamp: Stamp) -> SiteRecord {
    state.clock = state.clock.max(stamp);
    state.outcomes.push_back((gtid, stamp));
    if state.outcomes.len() > REMEMBERED_OUTCOMES {
        state.outcomes.pop_front();
    }
    SiteRecord::OnePhase {
        gtid,
        stamp,
        ordinal: state.commits.give_alone(TxnName::Global(gtid)),
        changes: take_prepared(state, gtid).changes,
    }
}

/// From here on the transaction is not in doubt.
fn decision_record(state: &mut State, gtid: Gtid, decision: Decided) -> SiteRecord {
    let mut ordinal = 0;
    match (decision, state.doubts.all.get_mut(&gtid)) {
        (Decided::Commit { stamp }, doubt) => {
            let doubt = doubt.expect("S2: a commit is logged of what was prepared here");
            if doubt.changes {
                ordinal = state.commits.give();
            }
            doubt.decided = Some(ordinal);
            state.doubts.settle(gtid, Some(stamp));
        }
        (Decided::Abort { .. }, _) => {
            state.doubts.all.remove(&gtid);
            state.doubts.settle(gtid, None);
        }
    }
    SiteRecord::Decision {
        gtid,
        decision,
        ordinal,
    }
}

fn wait(blocked: Blocked) -> Wait {
    Wait {
        gtid: blocked.gtid,
        priority: blocked.priority,
        by: blocked.by,
    }
}

fn take_prepared(state: &mut State, gtid: Gtid) -> Prepared {
    state
        .prepared
        .remove(&gtid)
        .expect("S2: what a durable site votes for was taken with the vote")
}

pub(super) fn remember_abort(state: &mut State, gtid: Gtid, ended: Aborted) {
    if state.aborted.insert(gtid, ended).is_none() {
        state.aborted_order.push_back(gtid);
    }
    if state.aborted_order.len() > REMEMBERED_ABORTS
        && let Some(oldest) = state.aborted_order.pop_front()
    {
        state.aborted.remove(&oldest);
    }
}
