//! The one task that owns the coordinator's state machine.
//!
//! Invariants:
//! - D1 Every input that is there is handled before any effect is carried out: votes that arrived together
//!   lead to decisions that are forced by one sync and leave in one frame.
//! - D2 Effects are carried out in order. An append is handed to the log and comes back as an input; nothing
//!   here waits for the disk.
//! - D3 At most one link for each site: the link of a later hello replaces the one before. A hello of an
//!   earlier life than the known one is refused, so that a forgotten process cannot take the name back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use co_core::{Gtid, Priority};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tonic::Status;

use super::census::Census;
use super::metrics::Observation;
use super::observe::Watched;
use super::points::{point_at, point_of};
use super::queue::{Down, DownFrames, QUEUE};
use super::quota::Quota;
use super::{
    BeginGrant, CoordinatorOptions, DeadlockInfo, DecisionInfo, SiteInfo, StartError, Statistics,
    Transactions,
};
use crate::failpoint;
use crate::log::checkpoint::Checkpoints;
use crate::log::{Log, LogError, Lsn, Record};
use crate::protocol::{
    BeginRefused, CallerId, CommitAnswer, Coordinator, CoordinatorEffect, CoordinatorId,
    Incarnation, PeerMessage, SiteName, Time, ToCoordinator, Token, TransactionState,
};
use crate::service::guard::PeerKey;
use crate::service::limits::{Reason, Refusals};

/// How many inputs are handled before their effects are carried out, so that none waits for ever.
const MAX_BATCH: usize = 4096;

/// One connection of one site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LinkId(u64);

type Linked = Result<(LinkId, DownFrames), Status>;

/// What the driver is told.
pub(super) enum Input {
    Begin {
        count: u32,
        priority: Option<Priority>,
        peer: PeerKey,
        reply: oneshot::Sender<Result<BeginGrant, NotBegun>>,
    },
    Commit {
        gtid: Gtid,
        sites: Vec<SiteName>,
        dependent: bool,
        reply: oneshot::Sender<CommitAnswer>,
    },
    Rollback {
        gtid: Gtid,
        sites: Vec<SiteName>,
        reply: oneshot::Sender<CommitAnswer>,
    },
    Sites {
        reply: oneshot::Sender<Vec<SiteInfo>>,
    },
    Statistics {
        reply: oneshot::Sender<Statistics>,
    },
    /// All that metrics tell.
    Observe {
        reply: oneshot::Sender<Observation>,
    },
    Transactions {
        limit: usize,
        reply: oneshot::Sender<Transactions>,
    },
    History {
        limit: usize,
        reply: oneshot::Sender<(Vec<DecisionInfo>, Vec<DeadlockInfo>)>,
    },
    StateOf {
        gtid: Gtid,
        reply: oneshot::Sender<Option<TransactionState>>,
    },
    /// Begin nothing more; the answer comes when nothing runs.
    Drain {
        reply: oneshot::Sender<()>,
    },
    /// A site has connected; the first message is its hello.
    Link {
        site: SiteName,
        messages: Vec<ToCoordinator>,
        reply: oneshot::Sender<Linked>,
    },
    Messages {
        id: LinkId,
        messages: Vec<ToCoordinator>,
    },
    /// On which transactions a site has worked that are not decided there.
    Working {
        id: LinkId,
        gtids: Vec<Gtid>,
    },
    LinkEnded {
        id: LinkId,
    },
    Peer(PeerInput),
    Shutdown {
        grace: Duration,
    },
}

/// What the driver is told of other coordinators.
pub(super) enum PeerInput {
    /// The link to another coordinator is up; it is told through this.
    Up {
        peer: CoordinatorId,
        sender: mpsc::UnboundedSender<PeerMessage>,
    },
    Down {
        peer: CoordinatorId,
    },
    /// Another coordinator has opened its link; the one before, if it is still there, ends with its sender.
    Speaks {
        from: CoordinatorId,
        silence: mpsc::Sender<()>,
    },
    Messages {
        from: CoordinatorId,
        messages: Vec<PeerMessage>,
    },
    Silent {
        from: CoordinatorId,
    },
}

/// Why nothing was begun.
pub(super) enum NotBegun {
    Refused(BeginRefused),
    PeerIsFull,
    Draining,
}

/// What became of a forced append; from the log's thread.
type Written = Result<Durable, LogError>;

enum Durable {
    Records(Vec<Token>),
    /// A checkpoint that begins here.
    Checkpoint(Lsn),
}

struct LinkOut {
    id: LinkId,
    messages: mpsc::Sender<Down>,
}

pub(super) struct Driver {
    pub(super) machine: Coordinator,
    lease: Duration,
    log: Arc<dyn Log>,
    on_event: Box<dyn Fn(&str) + Send>,
    log_failed: bool,
    checkpoints: Checkpoints,
    /// Commits on their way to the disk.
    forcing: BTreeMap<Token, Record>,
    pub(super) quota: Quota,
    pub(super) watched: Watched,
    /// Told when nothing runs any more; while there is one nothing begins.
    drained: Option<oneshot::Sender<()>>,
    census: Census,
    draining: bool,
    serving: watch::Sender<bool>,
    refusals: Arc<Refusals>,
    /// Time zero of the machine.
    start: Instant,
    effects: Vec<CoordinatorEffect>,
    callers: HashMap<CallerId, oneshot::Sender<CommitAnswer>>,
    next_caller: u64,
    /// Where each site's messages go (D3).
    links: BTreeMap<SiteName, LinkOut>,
    sites: BTreeMap<LinkId, SiteName>,
    next_link: u64,
    /// Where each coordinator's messages go.
    peers: BTreeMap<CoordinatorId, mpsc::UnboundedSender<PeerMessage>>,
    /// Held for each coordinator that speaks.
    speaking: BTreeMap<CoordinatorId, mpsc::Sender<()>>,
    written: mpsc::UnboundedReceiver<Written>,
    writing: mpsc::UnboundedSender<Written>,
    /// Told once: whether the first record is durable.
    ready: Option<oneshot::Sender<bool>>,
    /// When to end although callers wait.
    end_at: Option<Instant>,
}

impl Driver {
    pub(super) fn recover(
        options: CoordinatorOptions,
        log: Arc<dyn Log>,
        records: Vec<Record>,
        checkpoints: Checkpoints,
        ready: oneshot::Sender<bool>,
        serving: watch::Sender<bool>,
    ) -> Result<Self, StartError> {
        let mut effects = Vec::new();
        let lease = options.config.idle_timeout;
        let limits = &options.front.limits;
        let machine = Coordinator::recover(options.config, options.id, records, &mut effects)?;
        let (writing, written) = mpsc::unbounded_channel();
        Ok(Self {
            machine,
            lease,
            log,
            on_event: options.on_event,
            log_failed: false,
            checkpoints,
            forcing: BTreeMap::new(),
            quota: Quota::new(limits.transactions_per_peer, lease),
            watched: Watched::default(),
            drained: None,
            census: Census::default(),
            draining: false,
            serving,
            refusals: Arc::clone(&options.front.refusals),
            start: Instant::now(),
            effects,
            callers: HashMap::new(),
            next_caller: 0,
            links: BTreeMap::new(),
            sites: BTreeMap::new(),
            next_link: 0,
            peers: BTreeMap::new(),
            speaking: BTreeMap::new(),
            written,
            writing,
            ready: Some(ready),
            end_at: None,
        })
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            while !self.effects.is_empty() {
                self.carry_out();
            }
            if self.has_ended() {
                return;
            }
            self.tell_health();
            self.tell_drained();
            let deadline = self.next_wake();
            tokio::select! {
                biased;
                Some(written) = self.written.recv() => self.handle_written(written),
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return,
                },
                () = sleep_until(deadline) => {}
            }
            // Whoever has something to say and is about to run says it in this batch.
            tokio::task::yield_now().await;
            self.gather(&mut inputs);
            let now = self.now();
            if self
                .machine
                .next_deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                self.machine.handle_tick(now, &mut self.effects);
            }
        }
    }

    /// Takes whatever else is there (D1).
    fn gather(&mut self, inputs: &mut mpsc::Receiver<Input>) {
        for _ in 0..MAX_BATCH {
            if let Ok(written) = self.written.try_recv() {
                self.handle_written(written);
            } else if let Ok(input) = inputs.try_recv() {
                self.handle(input);
            } else {
                return;
            }
        }
    }

    /// Says whether transactions can begin, when that changes.
    fn tell_health(&self) {
        let is_serving = self.machine.is_serving() && !self.draining && self.end_at.is_none();
        self.serving.send_if_modified(|serving| {
            let changed = *serving != is_serving;
            *serving = is_serving;
            changed
        });
    }

    /// Says that nothing runs any more, to whoever waits for that.
    fn tell_drained(&mut self) {
        if self.drained.is_some()
            && self.callers.is_empty()
            && self.census.is_over(&self.machine)
            && let Some(drained) = self.drained.take()
        {
            answer(drained, ());
        }
    }

    fn now(&self) -> Time {
        Time::default() + self.start.elapsed()
    }

    fn next_wake(&self) -> Option<Instant> {
        let timer = self.machine.next_deadline();
        // One microsecond more, so that the timer is due when the sleep has ended.
        let timer =
            timer.map(|at| self.start + at.since(Time::default()) + Duration::from_micros(1));
        match (timer, self.end_at) {
            (Some(timer), Some(end)) => Some(timer.min(end)),
            (timer, end) => timer.or(end),
        }
    }

    fn has_ended(&self) -> bool {
        self.end_at
            .is_some_and(|end| self.callers.is_empty() || Instant::now() >= end)
    }

    fn handle_written(&mut self, written: Written) {
        let now = self.now();
        let point = match &written {
            Ok(Durable::Records(_)) => "coordinator: durable",
            Ok(Durable::Checkpoint(_)) | Err(_) => "coordinator: checkpoint durable",
        };
        let written = match written {
            Ok(_) if failpoint::hit(point) => Err(LogError::Closed),
            written => written,
        };
        match written {
            Ok(Durable::Records(tokens)) => {
                for token in tokens {
                    self.forcing.remove(&token);
                    self.machine.handle_durable(now, token, &mut self.effects);
                }
            }
            Ok(Durable::Checkpoint(first)) => {
                self.checkpoints.ended();
                let cut = failpoint::io("coordinator: cut")
                    .and_then(|()| self.log.cut_before(first))
                    .and_then(|()| failpoint::io("coordinator: cut done"));
                if let Err(error) = cut {
                    (self.on_event)(&format!("the log cannot be shortened: {error}"));
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.log_failed, true) {
                    (self.on_event)(&format!("takes no new transactions: {error}"));
                }
                self.machine.handle_log_failed(now, &mut self.effects);
            }
        }
        if let Some(ready) = self.ready.take() {
            // An error means that nobody waits for the start any more.
            let _nobody_waits = ready.send(self.machine.is_serving());
        }
    }

    fn handle(&mut self, input: Input) {
        if failpoint::hit(point_of(&input)) {
            self.handle_written(Err(LogError::Closed));
        }
        let now = self.now();
        match input {
            Input::Begin {
                count,
                priority,
                peer,
                reply,
            } => {
                let grant = self.begin(now, count, priority, &peer);
                answer(reply, grant);
            }
            Input::Commit {
                gtid,
                sites,
                dependent,
                reply,
            } => {
                let caller = self.caller(reply);
                let commit = if dependent {
                    Coordinator::handle_commit_dependent
                } else {
                    Coordinator::handle_commit
                };
                commit(
                    &mut self.machine,
                    now,
                    caller,
                    gtid,
                    &sites,
                    &mut self.effects,
                );
            }
            Input::Rollback { gtid, sites, reply } => {
                let caller = self.caller(reply);
                self.machine
                    .handle_rollback(now, caller, gtid, &sites, &mut self.effects);
            }
            Input::Sites { reply } => answer(reply, self.site_infos()),
            Input::Statistics { reply } => answer(reply, self.statistics()),
            Input::Observe { reply } => {
                let observation = self.observe(now);
                answer(reply, observation);
            }
            Input::Transactions { limit, reply } => answer(reply, self.transactions(now, limit)),
            Input::History { limit, reply } => answer(reply, self.decisions(limit)),
            Input::StateOf { gtid, reply } => answer(reply, self.state_of(gtid)),
            Input::Drain { reply } => {
                self.draining = true;
                self.drained = Some(reply);
                let sites: Vec<SiteName> = self.links.keys().cloned().collect();
                sites.iter().for_each(|site| self.ask_for_work(site));
            }
            Input::Link {
                site,
                messages,
                reply,
            } => {
                let linked = self.link(now, site, messages);
                answer(reply, linked);
            }
            Input::Messages { id, messages } => self.hear(now, id, messages),
            Input::Working { id, gtids } => self.census.answered(id, gtids),
            Input::LinkEnded { id } => self.unlink(now, id),
            Input::Peer(input) => self.handle_peer(now, input),
            Input::Shutdown { grace } => self.end_at = Some(Instant::now() + grace),
        }
    }

    /// Asks a site on what it has worked, for the end of a drain.
    fn ask_for_work(&mut self, site: &SiteName) {
        // A queue that is full loses its link anyhow.
        if let Some(link) = self.links.get(site)
            && link.messages.try_send(Down::TellWorking).is_ok()
        {
            self.census.asked(link.id);
        }
    }

    fn observe(&mut self, now: Time) -> Observation {
        self.sweep_waits();
        Observation {
            statistics: self.statistics(),
            gauges: self.gauges(now),
            sites: self.site_infos(),
        }
    }

    fn hear(&mut self, now: Time, id: LinkId, messages: Vec<ToCoordinator>) {
        // The messages of a link that was replaced are late repetitions at best.
        let Some(site) = self.sites.get(&id).cloned() else {
            return;
        };
        for message in messages {
            self.watched.heard(now, &site, &message);
            self.machine
                .handle_message(now, &site, message, &mut self.effects);
        }
    }

    fn handle_peer(&mut self, now: Time, input: PeerInput) {
        match input {
            PeerInput::Up { peer, sender } => {
                self.peers.insert(peer, sender);
                self.machine.handle_peer_up(now, peer, &mut self.effects);
            }
            PeerInput::Down { peer } => {
                self.peers.remove(&peer);
                self.machine.handle_peer_down(now, peer);
            }
            PeerInput::Speaks { from, silence } => {
                self.speaking.insert(from, silence);
                self.machine.handle_peer_silent(now, from);
            }
            PeerInput::Messages { from, messages } => {
                for message in messages {
                    self.machine
                        .handle_peer_message(now, from, message, &mut self.effects);
                }
            }
            PeerInput::Silent { from } => {
                self.speaking.remove(&from);
                self.machine.handle_peer_silent(now, from);
            }
        }
    }

    fn caller(&mut self, reply: oneshot::Sender<CommitAnswer>) -> CallerId {
        self.next_caller += 1;
        let caller = CallerId(self.next_caller);
        self.callers.insert(caller, reply);
        caller
    }

    /// Hands out up to `count` identifiers; fewer if there are no more just now.
    fn begin(
        &mut self,
        now: Time,
        count: u32,
        priority: Option<Priority>,
        peer: &PeerKey,
    ) -> Result<BeginGrant, NotBegun> {
        if self.draining {
            self.refusals.count(Reason::Draining);
            return Err(NotBegun::Draining);
        }
        let room = self.quota.room(now, peer);
        if room == 0 {
            self.refusals.count(Reason::PeerTransactions);
            return Err(NotBegun::PeerIsFull);
        }
        let count = count.min(u32::try_from(room).unwrap_or(u32::MAX));
        let first = self
            .machine
            .handle_begin(now, priority, &mut self.effects)
            .map_err(|refused| {
                if matches!(refused, BeginRefused::Busy { .. }) {
                    self.refusals.count(Reason::Transactions);
                }
                NotBegun::Refused(refused)
            })?;
        self.quota.begun(now, peer, first.gtid);
        let mut begun = 1;
        while begun < count {
            match self.machine.handle_begin(now, priority, &mut self.effects) {
                Ok(next) => {
                    self.quota.begun(now, peer, next.gtid);
                    assert_eq!(
                        next.gtid.0,
                        first.gtid.0 + u64::from(begun),
                        "one epoch counts up"
                    );
                    begun += 1;
                }
                Err(_) => break,
            }
        }
        let lease = self.lease;
        Ok(BeginGrant {
            first: first.gtid,
            count: begun,
            priority: first.priority,
            lease,
        })
    }

    fn site_infos(&self) -> Vec<SiteInfo> {
        let info = |site: crate::protocol::SiteView<'_>| SiteInfo {
            name: site.name.clone(),
            address: site.address.to_owned(),
            connected: site.connected,
            incarnation: site.incarnation,
        };
        self.machine.sites().map(info).collect()
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            counters: self.machine.stats().clone(),
            in_flight: self.machine.in_flight() as u64,
            epoch: self.machine.epoch().number(),
            serving: self.machine.is_serving() && !self.draining && self.end_at.is_none(),
        }
    }

    /// A site has connected and said hello (D3).
    fn link(&mut self, now: Time, site: SiteName, messages: Vec<ToCoordinator>) -> Linked {
        if self.end_at.is_some() {
            return Err(super::stopping());
        }
        let known = self.machine.sites().find(|known| *known.name == site);
        let known = known.map(|known| known.incarnation);
        if let Some(ToCoordinator::Hello { incarnation, .. }) = messages.first()
            && known.is_some_and(|known| known > *incarnation)
        {
            return Err(stale(&site, *incarnation, known.unwrap_or_default()));
        }
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let (sender, receiver) = mpsc::channel(QUEUE);
        if let Some(before) = self.links.insert(
            site.clone(),
            LinkOut {
                id,
                messages: sender,
            },
        ) {
            self.sites.remove(&before.id);
            self.census.gone(before.id);
            self.machine.handle_link_down(now, &site, &mut self.effects);
        }
        self.sites.insert(id, site.clone());
        for message in messages {
            self.machine
                .handle_message(now, &site, message, &mut self.effects);
        }
        if self.draining {
            self.ask_for_work(&site);
        }
        Ok((id, DownFrames::new(receiver)))
    }

    fn unlink(&mut self, now: Time, id: LinkId) {
        if let Some(site) = self.sites.remove(&id) {
            self.census.gone(id);
            self.links.remove(&site);
            self.machine.handle_link_down(now, &site, &mut self.effects);
        }
    }

    /// Does what the machine wants done (D2).
    fn carry_out(&mut self) {
        let (mut broken, mut fails, mut batch) = (Vec::new(), false, Batch::default());
        let now = self.now();
        for effect in std::mem::take(&mut self.effects) {
            let fails_here = failpoint::hit(point_at(&effect));
            fails |= fails_here;
            match effect {
                CoordinatorEffect::Append { record, token } => {
                    batch.add(&mut self.checkpoints, &record);
                    batch.tokens.push(token);
                    if matches!(record, Record::Commit { .. }) {
                        self.forcing.insert(token, record);
                    }
                }
                CoordinatorEffect::AppendLazy { record } => {
                    batch.add(&mut self.checkpoints, &record);
                }
                CoordinatorEffect::Send { to, message } => {
                    self.watched.sent(&message);
                    if let Some(link) = self.links.get(&to)
                        && (fails_here || link.messages.try_send(Down::Message(message)).is_err())
                    {
                        broken.push(link.id);
                    }
                }
                CoordinatorEffect::SendPeer { to, message } => {
                    if let Some(peer) = self.peers.get(&to) {
                        // An error means that the link has ended: the next one tells all anew.
                        let _link_ended = peer.send(message);
                    }
                }
                CoordinatorEffect::Answer {
                    caller,
                    gtid,
                    answer: said,
                } => {
                    self.quota.ended(gtid);
                    self.watched.answered(now, gtid, said);
                    if let Some(reply) = self.callers.remove(&caller) {
                        answer(reply, said);
                    }
                }
                CoordinatorEffect::Note(note) => (self.on_event)(&format!("survived: {note:?}")),
            }
        }
        self.append(batch);
        if fails && broken.is_empty() {
            self.handle_written(Err(LogError::Closed));
        }
        for id in broken {
            self.unlink(now, id);
        }
        if self.checkpoints.is_due() && self.ready.is_none() && !self.log_failed {
            self.checkpoint();
        }
    }

    /// Hands the records of a batch to the log in one piece (D1).
    fn append(&self, batch: Batch) {
        let Batch { records, tokens } = batch;
        if tokens.is_empty() {
            for record in records {
                self.log.append_lazy(&record);
            }
            return;
        }
        let writing = self.writing.clone();
        self.log.append_all(
            &records,
            Box::new(move |written| {
                // An error means that the driver has ended: nobody wants to know.
                let _ended = writing.send(written.map(|_lsn| Durable::Records(tokens)));
            }),
        );
    }

    /// Appends what still counts, so that what was before can be cut. A commit on its way to the disk is written
    /// again: its first record is before the checkpoint (K1).
    fn checkpoint(&mut self) {
        if failpoint::hit("coordinator: checkpoint") {
            self.handle_written(Err(LogError::Closed));
            return;
        }
        let mut records = self.machine.live_records();
        records.extend(self.forcing.values().cloned());
        let writing = self.writing.clone();
        self.checkpoints
            .append(&*self.log, &records, move |written| {
                // As above.
                let _ended = writing.send(written.map(Durable::Checkpoint));
            });
    }
}

/// Records that are appended together, and the tokens of those that are waited for.
#[derive(Default)]
struct Batch {
    records: Vec<Vec<u8>>,
    tokens: Vec<Token>,
}

impl Batch {
    fn add(&mut self, checkpoints: &mut Checkpoints, record: &Record) {
        let bytes = record.encode();
        checkpoints.count(&bytes);
        self.records.push(bytes);
    }
}

/// Answers; whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    // An error means that the caller has gone away.
    let _gone = reply.send(value);
}

fn stale(site: &SiteName, incarnation: Incarnation, known: Incarnation) -> Status {
    Status::failed_precondition(format!(
        "site {site} is known in its life {}, and this one says it is in life {}: \
         end the older process, or, if the site lost its data for good, restart the coordinator",
        known.0, incarnation.0
    ))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
