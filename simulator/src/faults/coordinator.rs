//! A coordinator's process: the real state machine and the real log, in a shell that does what the
//! service's driver does, one input at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use co_core::Gtid;
use coco::log::checkpoint::{Checkpoints, live};
use coco::log::{Log, Lsn, ManualLog, Record};
use coco::protocol::{
    AbortCause, Ballot, CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect,
    CoordinatorId, Decision, Dependencies, Incarnation, PeerMessage, SiteName, Time, ToCoordinator,
    ToParticipant, Token, TransactionState,
};

use super::bug::Bug;
use super::plan::{Plan, ProcId};
use super::world::{Answer, Caller, Event, Request, Wire, World};
use super::{Problem, site_name};

pub(crate) struct CoordinatorProcess {
    pub(crate) index: usize,
    pub(crate) life: Option<Life>,
    /// The YES votes as the sites said them: by transaction and site, the life that voted. Outlives crashes,
    /// since it belongs to the checks.
    votes: BTreeMap<(Gtid, usize), Incarnation>,
    /// Votes of sites that only read.
    read_only: BTreeSet<(Gtid, usize)>,
    /// The life that each site announced last.
    announced: BTreeMap<usize, Incarnation>,
}

pub(crate) struct Life {
    pub(crate) machine: Coordinator,
    pub(crate) log: Arc<ManualLog>,
    /// By process, the connection from it that counts.
    pub(crate) linked: Vec<Option<u64>>,
    written: Arc<Mutex<Vec<Written>>>,
    checkpoints: Checkpoints,
    /// Commits on their way to the disk.
    forcing: BTreeMap<Token, Record>,
    callers: BTreeMap<CallerId, (Caller, Gtid)>,
    next_caller: u64,
}

/// What became of a forced append.
#[derive(Clone, Copy)]
enum Written {
    Record(Token),
    /// A checkpoint that begins here.
    Checkpoint(Lsn),
    Failed,
}

impl CoordinatorProcess {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            life: None,
            votes: BTreeMap::new(),
            read_only: BTreeSet::new(),
            announced: BTreeMap::new(),
        }
    }

    /// Nothing is undecided, unacknowledged, waited for or timed (I7).
    pub(crate) fn is_empty(&self) -> bool {
        self.life.as_ref().is_some_and(|life| {
            let machine = &life.machine;
            machine.transactions().next().is_none()
                && machine.waits().next().is_none()
                && machine.next_deadline().is_none()
                && machine.is_serving()
                && life.callers.is_empty()
        })
    }

    pub(crate) fn left_over(&self) -> String {
        let Some(life) = &self.life else {
            return String::new();
        };
        let mut text = String::new();
        for transaction in life.machine.transactions() {
            text.push_str(&format!(
                "coordinator {}: {:?} {:?}; ",
                self.index, transaction.gtid, transaction.state
            ));
        }
        for wait in life.machine.waits() {
            text.push_str(&format!("coordinator {}: {wait:?}; ", self.index));
        }
        if life.machine.next_deadline().is_some() {
            text.push_str(&format!("coordinator {} has a timer; ", self.index));
        }
        text
    }
}

fn config(plan: &Plan) -> CoordinatorConfig {
    CoordinatorConfig {
        vote_timeout: Duration::from_micros(plan.timing.vote),
        idle_timeout: Duration::from_micros(plan.timing.idle),
        resend_after: Duration::from_micros(plan.timing.resend),
        resend_limit: Duration::from_micros(plan.timing.resend_limit),
        deadlocks: plan.deadlocks,
        remembered_outcomes: plan.timing.remembered,
        ..CoordinatorConfig::default()
    }
}

/// The name by which a log knows the coordinator.
pub(crate) fn owner_name(index: usize) -> String {
    format!("coordinator {}", index + 1)
}

pub(crate) fn id_of(index: usize) -> CoordinatorId {
    CoordinatorId(u8::try_from(index + 1).unwrap_or(u8::MAX))
}

impl World {
    pub(crate) fn start_coordinator(
        &mut self,
        index: usize,
        log: Arc<ManualLog>,
        records: &[Vec<u8>],
    ) {
        let every = self.plan.coordinator_checkpoints.unwrap_or(u64::MAX);
        let checkpoints = Checkpoints::new(every, records);
        let decoded = live(records).into_iter();
        let decoded: Result<Vec<Record>, _> =
            decoded.map(|(_, bytes)| Record::decode(bytes)).collect();
        let mut effects = Vec::new();
        let machine = decoded
            .map_err(|error| error.to_string())
            .and_then(|records| {
                Coordinator::recover(config(&self.plan), id_of(index), records, &mut effects)
                    .map_err(|error| error.to_string())
            });
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) => {
                self.fail(Problem::Unrecoverable(format!(
                    "coordinator {index}: {error}"
                )));
                return;
            }
        };
        self.coordinators[index].life = Some(Life {
            machine,
            log,
            linked: vec![None; self.plan.processes()],
            written: Arc::default(),
            checkpoints,
            forcing: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_caller: 0,
        });
        self.perform(index, effects);
        for link in self.links_of(index) {
            if self.dials(link, index) {
                self.redial(link);
            }
        }
        self.settle_coordinator(index);
    }

    /// Calls the machine, and does what it wants.
    fn on_machine(
        &mut self,
        index: usize,
        call: impl FnOnce(&mut Coordinator, Time, &mut Vec<CoordinatorEffect>),
    ) {
        let now = self.clock(index);
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        let mut effects = Vec::new();
        call(&mut life.machine, now, &mut effects);
        self.perform(index, effects);
    }

    pub(crate) fn tick_coordinator(&mut self, index: usize) {
        let silent = self.plan.bug == Some(Bug::NothingResent);
        let now = self.clock(index);
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        let mut effects = Vec::new();
        life.machine.handle_tick(now, &mut effects);
        if silent {
            effects.retain(|effect| !is_commit(effect));
        }
        self.perform(index, effects);
        self.settle_coordinator(index);
    }

    pub(crate) fn coordinator_request(&mut self, index: usize, from: Caller, request: Request) {
        match request {
            Request::Begin { priority } => {
                let mut begun = None;
                self.on_machine(index, |machine, now, out| {
                    begun = machine.handle_begin(now, priority, out).ok();
                });
                let answer = begun.map_or(Answer::Failed, |begun| Answer::Begun {
                    gtid: begun.gtid,
                    priority: begun.priority,
                });
                self.reply(from, answer);
            }
            Request::End {
                gtid,
                sites,
                commit,
                dependent,
            } => {
                let Some(life) = &mut self.coordinators[index].life else {
                    return;
                };
                life.next_caller += 1;
                let caller = CallerId(life.next_caller);
                life.callers.insert(caller, (from, gtid));
                let names: Vec<SiteName> = sites.into_iter().map(site_name).collect();
                let how = match (commit, dependent) {
                    (true, false) => Coordinator::handle_commit,
                    (true, true) => Coordinator::handle_commit_dependent,
                    (false, _) => Coordinator::handle_rollback,
                };
                self.on_machine(index, |machine, now, out| {
                    how(machine, now, caller, gtid, &names, out);
                });
            }
            Request::Execute { .. } | Request::CommitLocal { .. } => {}
        }
        self.settle_coordinator(index);
    }

    /// A message of this connection; the first one of a new connection is its hello.
    pub(crate) fn at_coordinator(
        &mut self,
        index: usize,
        site: usize,
        connection: u64,
        message: &ToCoordinator,
    ) {
        let dialer = self.plan.coordinators + site;
        let Some(life) = &self.coordinators[index].life else {
            return;
        };
        if life.linked[dialer] != Some(connection) {
            if !matches!(message, ToCoordinator::Hello { .. }) {
                return;
            }
            self.unlink(index, dialer);
            if let Some(life) = &mut self.coordinators[index].life {
                life.linked[dialer] = Some(connection);
            }
            self.lose_if_broken(self.link_of(site, index), connection);
        }
        self.watch_votes(index, site, message);
        let name = site_name(site);
        let message = self.changed_by_bug(index, site, message);
        let hello = matches!(message, ToCoordinator::Hello { .. });
        let silent = hello && self.plan.bug == Some(Bug::NothingResent);
        let now = self.clock(index);
        let acks = self.forged_acks(site, &message);
        if self.answered_by_bug(index, site, &message) {
            return;
        }
        if let Some(life) = &mut self.coordinators[index].life {
            let mut effects = Vec::new();
            life.machine
                .handle_message(now, &name, message, &mut effects);
            for (name, gtid) in acks {
                let ack = ToCoordinator::Ack { gtid };
                life.machine.handle_message(now, &name, ack, &mut effects);
            }
            if silent {
                effects.retain(|effect| !is_commit(effect));
            }
            self.perform(index, effects);
        }
        self.settle_coordinator(index);
    }

    fn watch_votes(&mut self, index: usize, site: usize, message: &ToCoordinator) {
        let process = &mut self.coordinators[index];
        match message {
            ToCoordinator::Hello {
                incarnation,
                in_doubt,
                ..
            } => {
                let known = process.announced.entry(site).or_default();
                *known = (*known).max(*incarnation);
                // What a later life is in doubt about, it has not lost.
                for gtid in in_doubt {
                    if let Some(voted) = process.votes.get_mut(&(*gtid, site)) {
                        *voted = (*voted).max(*incarnation);
                    }
                }
            }
            ToCoordinator::Vote {
                gtid,
                ballot:
                    Ballot::Yes {
                        incarnation,
                        read_only,
                        depends,
                        ..
                    },
            } => {
                self.counts.dependent_votes += u64::from(!depends.is_empty());
                process.votes.insert((*gtid, site), *incarnation);
                if *read_only {
                    process.read_only.insert((*gtid, site));
                }
            }
            ToCoordinator::Vote { .. }
            | ToCoordinator::Blocked { .. }
            | ToCoordinator::OnePhaseDone { .. }
            | ToCoordinator::Ack { .. }
            | ToCoordinator::Inquire { .. } => {}
        }
    }

    /// No commit rests on a vote of a life that its site has left since, as far as the coordinator was told.
    fn check_votes(&mut self, index: usize, gtid: Gtid, sites: &[SiteName]) {
        let process = &self.coordinators[index];
        let stale = (0..self.plan.sites.len()).find(|site| {
            let voted = process.votes.get(&(gtid, *site));
            sites.contains(&site_name(*site)) && voted != process.announced.get(site)
        });
        if let Some(site) = stale {
            let voted = process.votes.get(&(gtid, site)).copied();
            let problem = format!(
                "{gtid:?} commits on a vote of {} in {voted:?}, which is in {:?}",
                site_name(site),
                process.announced.get(&site)
            );
            self.fail(Problem::StaleVote(problem));
        }
    }

    fn changed_by_bug(&self, index: usize, site: usize, message: &ToCoordinator) -> ToCoordinator {
        match (self.plan.bug, message) {
            (
                Some(Bug::IncarnationIgnored),
                ToCoordinator::Vote {
                    gtid,
                    ballot:
                        Ballot::Yes {
                            stamp,
                            read_only,
                            depends,
                            ..
                        },
                },
            ) => {
                let known = self.coordinators[index].announced.get(&site);
                ToCoordinator::Vote {
                    gtid: *gtid,
                    ballot: Ballot::Yes {
                        stamp: *stamp,
                        incarnation: known.copied().unwrap_or_default(),
                        read_only: *read_only,
                        depends: depends.clone(),
                    },
                }
            }
            (
                Some(Bug::DependenciesIgnored),
                ToCoordinator::Vote {
                    gtid,
                    ballot:
                        Ballot::Yes {
                            stamp,
                            incarnation,
                            read_only,
                            ..
                        },
                },
            ) => ToCoordinator::Vote {
                gtid: *gtid,
                ballot: Ballot::Yes {
                    stamp: *stamp,
                    incarnation: *incarnation,
                    read_only: *read_only,
                    depends: Dependencies::default(),
                },
            },
            _ => message.clone(),
        }
    }

    /// Acknowledgements that a bug makes up.
    fn forged_acks(&self, site: usize, message: &ToCoordinator) -> Vec<(SiteName, Gtid)> {
        if let (Some(Bug::FirstAckForAll), ToCoordinator::Ack { gtid }) = (self.plan.bug, message) {
            let others = (0..self.plan.sites.len()).filter(|other| *other != site);
            return others.map(|other| (site_name(other), *gtid)).collect();
        }
        Vec::new()
    }

    /// Whether a bug has answered the question in the machine's place.
    fn answered_by_bug(&mut self, index: usize, site: usize, message: &ToCoordinator) -> bool {
        let (Some(Bug::PresumedTooEarly), &ToCoordinator::Inquire { gtid }) =
            (self.plan.bug, message)
        else {
            return false;
        };
        let life = self.coordinators[index].life.as_ref();
        let known = life.and_then(|life| life.machine.transactions().find(|it| it.gtid == gtid));
        let undecided =
            known.is_some_and(|it| !matches!(it.state, TransactionState::Committed { .. }));
        if undecided {
            let cause = AbortCause::UnknownTransaction;
            let decision = Decision::Abort { cause };
            let link = self.link_of(site, index);
            self.send(link, Wire::Down(ToParticipant::Decide { gtid, decision }));
        }
        undecided
    }

    /// A connection that broke before anybody spoke on it is noticed some time.
    fn lose_if_broken(&mut self, link: usize, connection: u64) {
        if self.is_broken(link) {
            let at_dialer = false;
            let lost = Event::Lost {
                link,
                connection,
                at_dialer,
            };
            self.after(self.plan.timing.keepalive, lost);
        }
    }

    /// The connection from a process is gone.
    pub(crate) fn unlink(&mut self, index: usize, dialer: ProcId) {
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        if life.linked[dialer].take().is_some() {
            if let Some(site) = dialer.checked_sub(self.plan.coordinators) {
                let name = site_name(site);
                self.on_machine(index, |machine, now, out| {
                    machine.handle_link_down(now, &name, out);
                });
            } else {
                self.on_machine(index, |machine, now, _| {
                    machine.handle_peer_silent(now, id_of(dialer));
                });
            }
            self.settle_coordinator(index);
        }
    }

    /// The link to another coordinator has come up or gone down.
    pub(crate) fn peer_link_told(&mut self, index: usize, peer: usize, up: bool) {
        self.on_machine(index, |machine, now, out| {
            if up {
                machine.handle_peer_up(now, id_of(peer), out);
            } else {
                machine.handle_peer_down(now, id_of(peer));
            }
        });
        self.settle_coordinator(index);
    }

    /// Another coordinator begins to speak.
    pub(crate) fn peer_speaks(&mut self, index: usize, from: usize, connection: u64) {
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        life.linked[from] = Some(connection);
        self.on_machine(index, |machine, now, _| {
            machine.handle_peer_silent(now, id_of(from));
        });
        if let Some(link) = self.peer_link(from, index) {
            self.lose_if_broken(link, connection);
        }
    }

    pub(crate) fn at_peer(
        &mut self,
        index: usize,
        from: usize,
        connection: u64,
        message: PeerMessage,
    ) {
        let life = self.coordinators[index].life.as_ref();
        if life.is_some_and(|life| life.linked[from] == Some(connection)) {
            self.on_machine(index, |machine, now, out| {
                machine.handle_peer_message(now, id_of(from), message, out);
            });
            self.settle_coordinator(index);
        }
    }

    pub(crate) fn settle_coordinator(&mut self, index: usize) {
        loop {
            let Some(life) = &self.coordinators[index].life else {
                return;
            };
            let written: Vec<Written> = {
                let mut queue = life.written.lock().unwrap_or_else(PoisonError::into_inner);
                queue.drain(..).collect()
            };
            if written.is_empty() {
                break;
            }
            for written in written {
                self.written(index, written);
            }
        }
        let Some(life) = &self.coordinators[index].life else {
            return;
        };
        let (has_work, has_failed) = (life.log.has_work(), life.log.has_failed());
        let deadline = life.machine.next_deadline();
        let proc: ProcId = index;
        self.see_to_log(proc, has_work, has_failed);
        self.tick_when(proc, deadline);
    }

    fn written(&mut self, index: usize, written: Written) {
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        match written {
            Written::Record(token) => {
                life.forcing.remove(&token);
                self.on_machine(index, |machine, now, out| {
                    machine.handle_durable(now, token, out);
                });
            }
            Written::Checkpoint(first) => {
                life.checkpoints.ended();
                // A log that cannot be cut is whole.
                if life.log.cut_before(first).is_ok() {
                    self.counts.coordinator_checkpoints += 1;
                }
            }
            Written::Failed => self.on_machine(index, |machine, now, out| {
                machine.handle_log_failed(now, out);
            }),
        }
    }

    /// Appends what still counts, so that what was before can be cut; a commit on its way to the disk too.
    fn checkpoint_if_due(&mut self, index: usize) {
        let forgets = self.plan.bug == Some(Bug::UndeliveredCut);
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        let works = life.machine.is_serving() && !life.log.has_failed();
        if !works || !life.checkpoints.is_due() {
            return;
        }
        let mut records = life.machine.live_records();
        records.extend(life.forcing.values().cloned());
        if forgets {
            records.retain(|record| matches!(record, Record::Epoch { .. }));
        }
        let written = Arc::clone(&life.written);
        life.checkpoints
            .append(&*life.log, &records, move |result| {
                let mut queue = written.lock().unwrap_or_else(PoisonError::into_inner);
                queue.push(result.map_or(Written::Failed, Written::Checkpoint));
            });
    }

    fn perform(&mut self, index: usize, effects: Vec<CoordinatorEffect>) {
        let forged = self.unacknowledged(index, &effects);
        for effect in effects {
            match effect {
                CoordinatorEffect::Append { record, token } => self.append(index, &record, token),
                CoordinatorEffect::AppendLazy { record } => {
                    if let Some(life) = &mut self.coordinators[index].life {
                        let bytes = record.encode();
                        life.checkpoints.count(&bytes);
                        life.log.append_lazy(&bytes);
                    }
                }
                CoordinatorEffect::Send { to, message } => {
                    let site = (0..self.plan.sites.len()).find(|site| site_name(*site) == to);
                    if let Some(site) = site {
                        let link = self.link_of(site, index);
                        self.send(link, Wire::Down(message));
                    }
                }
                CoordinatorEffect::SendPeer { to, message } => {
                    let peer = (0..self.plan.coordinators).find(|peer| id_of(*peer) == to);
                    if let Some(link) = peer.and_then(|peer| self.peer_link(index, peer)) {
                        self.send(link, Wire::Peer(message));
                    }
                }
                CoordinatorEffect::Answer { caller, answer, .. } => {
                    let life = self.coordinators[index].life.as_mut();
                    if let Some((to, _)) = life.and_then(|life| life.callers.remove(&caller)) {
                        self.reply(to, Answer::Outcome(answer));
                    }
                }
                CoordinatorEffect::Note(_) => self.counts.notes += 1,
            }
        }
        self.checkpoint_if_due(index);
        for (site, gtid) in forged {
            let name = site_name(site);
            self.on_machine(index, |machine, now, out| {
                machine.handle_message(now, &name, ToCoordinator::Ack { gtid }, out);
            });
        }
    }

    /// The sites whose acknowledgement a bug does not wait for.
    fn unacknowledged(&self, index: usize, effects: &[CoordinatorEffect]) -> Vec<(usize, Gtid)> {
        let mut forged = Vec::new();
        if self.plan.bug == Some(Bug::ReadOnlyUnacknowledged) {
            for effect in effects.iter().filter(|effect| is_commit(effect)) {
                if let CoordinatorEffect::Send {
                    to,
                    message: ToParticipant::Decide { gtid, .. },
                } = effect
                {
                    let read_only = self.coordinators[index].read_only.iter();
                    let own = read_only.filter(|(it, site)| it == gtid && site_name(*site) == *to);
                    forged.extend(own.map(|(_, site)| (*site, *gtid)));
                }
            }
        }
        forged
    }

    fn append(&mut self, index: usize, record: &Record, token: Token) {
        if let Record::Commit { gtid, sites, .. } = record {
            self.check_votes(index, *gtid, sites);
        }
        let Some(life) = &mut self.coordinators[index].life else {
            return;
        };
        let too_early = matches!(
            (self.plan.bug, record),
            (Some(Bug::CommitBeforeForce), Record::Commit { .. })
                | (Some(Bug::EpochBeforeForce), Record::Epoch { .. })
        );
        let written = Arc::clone(&life.written);
        let done = move |is_written: bool| {
            let mut queue = written.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push(if is_written {
                Written::Record(token)
            } else {
                Written::Failed
            });
        };
        let bytes = record.encode();
        life.checkpoints.count(&bytes);
        if too_early {
            life.log.append_lazy(&bytes);
            done(true);
            return;
        }
        if matches!(record, Record::Commit { .. }) {
            life.forcing.insert(token, record.clone());
        }
        life.log
            .append(&bytes, Box::new(move |result| done(result.is_ok())));
        if let (Some(Bug::AnswerBeforeForce), &Record::Commit { gtid, stamp, .. }) =
            (self.plan.bug, record)
        {
            let callers = life.callers.iter();
            let waiting: Vec<CallerId> = callers
                .filter(|(_, (_, asked))| *asked == gtid)
                .map(|(caller, _)| *caller)
                .collect();
            for caller in waiting {
                let life = self.coordinators[index].life.as_mut();
                if let Some((to, _)) = life.and_then(|life| life.callers.remove(&caller)) {
                    let answer = CommitAnswer::Committed { stamp };
                    self.reply(to, Answer::Outcome(answer));
                }
            }
        }
    }
}

fn is_commit(effect: &CoordinatorEffect) -> bool {
    matches!(
        effect,
        CoordinatorEffect::Send {
            message: ToParticipant::Decide {
                decision: Decision::Commit { .. },
                ..
            },
            ..
        }
    )
}
