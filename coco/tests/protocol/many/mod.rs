//! Several transactions in conflict, at two sites, under one or two of the real coordinators.
//!
//! What [`world`](crate::world) is for one transaction, this is for many: the real machines, and around them
//! logs, links, engines and crashes, made so that millions of states can be visited. A [`State`] is
//! a handful of parts, each shared with all other states in which it is the same; a step copies
//! the one or two parts that it changes.
//!
//! An engine ([`engine`]) knows a fixed set of conflicts, by a script for each site ([`Plan`]): who came
//! first there, and whether the second read what the first wrote. It withholds votes, or gives dependent
//! ones, tells who waits for whom, and undoes cascades.
//!
//! Besides the rules A1 to A6 of `world` these hold always ([`rules`]):
//!
//! - (B1) whoever comes second at a site is decided second: when the record of its commit is durable,
//!   so is that of the first, or the first can no longer commit;
//! - (B2) who has read what another wrote commits only if that one does;
//! - (B3) stamps grow along every conflict;
//! - (B4) a site commits in the order of its conflicts;
//! - (B5) who is aborted for a voting deadlock stands on a cycle of conflicts;
//! - (B6) where nothing fails and somebody looks for deadlocks, no timer is needed for an end.
//!
//! Wherever nothing happens any more unless something goes wrong, timers are let run and leases end: everything is decided, alike everywhere, and every
//! table, queue, timer and wait is empty.

mod engine;
mod lies;
mod pins;
mod rules;
mod search;
mod steps;
mod witness;
mod worlds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use co_core::{Gtid, Stamp};
use coco::log::Record;
use coco::protocol::{
    CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect, CoordinatorId,
    DeadlockPolicy, Decision, Durability, GtidParts, InDoubt, Incarnation, PeerMessage, SiteName,
    Time, ToCoordinator, ToParticipant, Token, Voter, VoterConfig, VoterEffect,
};

use self::rules::Met;
use self::steps::Budget;
use crate::world::{SimLog, SiteRecord, Text, Work, coordinator_config, voter_config};

/// What is broken in the machinery, to see whether the rules notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    None,
    /// A coordinator's log writes the commit of a dependent transaction before its predecessor's.
    DependentFirst,
    /// A site that starts again has forgotten what its votes depend on.
    ForgottenDependencies,
    /// A site takes back what its vote depends on before that is decided.
    EarlyUpgrade,
    /// An engine is told of a commit that its voter holds back.
    HeldCommitApplied,
    /// What another coordinator has said of waits that are over is never dropped.
    StaleWaits,
    /// A coordinator does not hear that its transaction is in an older one's way.
    WoundIgnored,
    /// A dependency on mere order is taken for none.
    AfterIgnored,
}

/// What the second of two transactions in conflict has to do with the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It comes after it.
    Order,
    /// It has read what the first wrote.
    Data,
}

/// A conflict at a site: the first operation was this transaction's, the second that one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Edge {
    first: usize,
    second: usize,
    kind: Kind,
}

/// What a world is made of, and does not change.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// For each transaction, whose it is.
    owners: Vec<u8>,
    /// For each transaction, where it works.
    places: Vec<Vec<usize>>,
    /// For each site, its conflicts.
    conflicts: [Vec<Edge>; SITES],
    /// Transactions whose votes may depend on others'.
    dependent: Vec<bool>,
    /// Sites that give such votes.
    dependent_votes: [bool; SITES],
    /// Sites that report waits.
    reports: [bool; SITES],
    policy: DeadlockPolicy,
    remembered_outcomes: usize,
    budget: Budget,
    lie: Lie,
    /// Known once the transactions have begun.
    gtids: Vec<Gtid>,
}

pub(crate) const SITES: usize = 2;
const NAMES: [&str; SITES] = ["A", "B"];

/// A coordinator with its log and those who wait for its answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Desk {
    machine: Option<Coordinator>,
    log: SimLog<Record>,
    waiting: BTreeSet<CallerId>,
    answers: BTreeMap<CallerId, CommitAnswer>,
}

/// A site with its log and its engine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Site {
    voter: Option<Voter>,
    log: SimLog<SiteRecord>,
    /// For each transaction, what the engine makes of it; nothing, if it does not work here.
    work: Vec<Option<Work>>,
    /// Those that have asked for a vote which may depend on others.
    may_depend: Vec<bool>,
    incarnation: u64,
    clock: u64,
    committed_ever: Vec<Option<Stamp>>,
    aborted_ever: Vec<bool>,
}

/// Between a coordinator and a site.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Link {
    up: bool,
    to_desk: VecDeque<ToCoordinator>,
    to_site: VecDeque<ToParticipant>,
}

/// Between two coordinators: by receiver.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct PeerLink {
    up: bool,
    to: [VecDeque<PeerMessage>; 2],
}

/// What is nobody's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Outside {
    now: Time,
    budget: Budget,
    /// Whose commit has been asked for.
    asked: Vec<bool>,
    /// Something has failed, or a timer has run.
    disturbed: bool,
}

/// One state of a world, and what was seen on the last step to it.
#[derive(Clone)]
pub(crate) struct State {
    plan: Rc<Plan>,
    desks: Vec<Rc<Desk>>,
    sites: Vec<Rc<Site>>,
    /// By coordinator, then by site.
    links: Vec<Rc<Link>>,
    peers: Rc<PeerLink>,
    outside: Rc<Outside>,
    violation: Option<String>,
    met: Met,
    trace: Option<Vec<String>>,
}

impl Plan {
    /// So many transactions of one coordinator that work everywhere, without conflicts.
    pub(crate) fn of(transactions: usize) -> Self {
        Self {
            owners: vec![0; transactions],
            places: vec![(0..SITES).collect(); transactions],
            conflicts: [Vec::new(), Vec::new()],
            dependent: vec![false; transactions],
            dependent_votes: [false; SITES],
            reports: [true; SITES],
            policy: DeadlockPolicy::Search,
            remembered_outcomes: 4,
            budget: Budget::default(),
            lie: Lie::None,
            gtids: Vec::new(),
        }
    }

    /// At this site each comes before the next, and before all behind it.
    pub(crate) fn order(mut self, site: usize, order: &[usize], kind: Kind) -> Self {
        for (at, &first) in order.iter().enumerate() {
            for &second in &order[at + 1..] {
                self.conflicts[site].push(Edge {
                    first,
                    second,
                    kind,
                });
            }
        }
        self
    }

    /// All sites give dependent votes, on all transactions.
    pub(crate) fn dependent(mut self) -> Self {
        self.dependent.fill(true);
        self.dependent_votes = [true; SITES];
        self
    }

    pub(crate) fn owned_by(mut self, owners: &[u8]) -> Self {
        self.owners = owners.to_vec();
        self
    }

    /// One transaction works at one site only.
    pub(crate) fn alone(mut self, transaction: usize, site: usize) -> Self {
        self.places[transaction] = vec![site];
        self
    }

    pub(crate) fn policy(mut self, policy: DeadlockPolicy) -> Self {
        self.policy = policy;
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    pub(crate) fn lie(mut self, lie: Lie) -> Self {
        self.lie = lie;
        self
    }

    fn desks(&self) -> usize {
        usize::from(*self.owners.iter().max().expect("a transaction")) + 1
    }

    fn index(&self, gtid: Gtid) -> usize {
        let of = self.gtids.iter().position(|it| *it == gtid);
        of.expect("one of the world's transactions")
    }

    fn owner(&self, transaction: usize) -> usize {
        usize::from(self.owners[transaction])
    }

    fn coordinator_config(&self) -> CoordinatorConfig {
        CoordinatorConfig {
            deadlocks: self.policy,
            remembered_outcomes: self.remembered_outcomes,
            ..coordinator_config()
        }
    }

    fn voter_config(&self, site: usize) -> VoterConfig {
        VoterConfig {
            // Waits are reported at once: their first milliseconds are of no interest here.
            report_after: self.reports[site].then_some(Duration::ZERO),
            dependent_votes: self.dependent_votes[site],
            remembered_outcomes: self.remembered_outcomes.max(1),
            ..voter_config(Durability::Durable)
        }
    }
}

impl State {
    /// Everything is up, every transaction has done its work everywhere, no commit is asked for.
    pub(crate) fn start(mut plan: Plan) -> Self {
        let transactions = plan.owners.len();
        let desks = plan.desks();
        let desk = Desk {
            machine: None,
            log: SimLog::default(),
            waiting: BTreeSet::new(),
            answers: BTreeMap::new(),
        };
        let site = |site: usize| Site {
            voter: None,
            log: SimLog::default(),
            work: plan
                .places
                .iter()
                .map(|places| places.contains(&site).then_some(Work::Working))
                .collect(),
            may_depend: vec![false; transactions],
            incarnation: 0,
            clock: 0,
            committed_ever: vec![None; transactions],
            aborted_ever: vec![false; transactions],
        };
        let sites = (0..SITES).map(|it| Rc::new(site(it))).collect();
        let budget = plan.budget;
        let mut state = Self {
            plan: Rc::new(plan.clone()),
            desks: (0..desks).map(|_| Rc::new(desk.clone())).collect(),
            sites,
            links: vec![Rc::default(); desks * SITES],
            peers: Rc::default(),
            outside: Rc::new(Outside {
                now: Time(0),
                budget,
                asked: vec![false; transactions],
                disturbed: false,
            }),
            violation: None,
            met: Met::default(),
            trace: None,
        };
        for desk in 0..desks {
            state.start_desk(desk);
            state.sync_desk(desk);
        }
        for site in 0..SITES {
            state.start_site(site);
            for desk in 0..desks {
                state.connect(desk, site);
                state.deliver_to_desk(desk, site);
            }
        }
        state.connect_peers();
        for &owner in &plan.owners {
            let begun = state.on_desk(usize::from(owner), |it, now, out| {
                it.handle_begin(now, None, out)
            });
            let begun = begun.expect("it runs").expect("it serves");
            plan.gtids.push(begun.gtid);
        }
        state.plan = Rc::new(plan);
        state.forget_counters();
        state
    }

    fn desk(&mut self, desk: usize) -> &mut Desk {
        Rc::make_mut(&mut self.desks[desk])
    }

    fn site(&mut self, site: usize) -> &mut Site {
        Rc::make_mut(&mut self.sites[site])
    }

    fn link(&self, desk: usize, site: usize) -> &Link {
        &self.links[desk * SITES + site]
    }

    fn link_mut(&mut self, desk: usize, site: usize) -> &mut Link {
        Rc::make_mut(&mut self.links[desk * SITES + site])
    }

    fn desk_name(&self, desk: usize) -> &'static str {
        match (self.desks.len(), desk) {
            (1, _) => "C",
            (_, 0) => "C0",
            _ => "C1",
        }
    }

    /// One line of the transcript, about a coordinator or what is said to it.
    fn say(&mut self, desk: usize, line: impl FnOnce(&Text<'_>) -> String) {
        let c = self.desk_name(desk);
        if let Some(trace) = &mut self.trace {
            let gtids = self.plan.gtids.iter().enumerate();
            let names = gtids.map(|(at, &gtid)| (gtid, format!("T{}", at + 1)));
            let names = names.collect();
            trace.push(line(&Text { names: &names, c }));
        }
    }

    fn on_desk<R>(
        &mut self,
        desk: usize,
        call: impl FnOnce(&mut Coordinator, Time, &mut Vec<CoordinatorEffect>) -> R,
    ) -> Option<R> {
        let now = self.outside.now;
        let mut effects = Vec::new();
        let result = call(self.desk(desk).machine.as_mut()?, now, &mut effects);
        for effect in effects {
            self.do_desk_effect(desk, effect);
        }
        Some(result)
    }

    fn on_site(&mut self, site: usize, call: impl FnOnce(&mut Voter, Time, &mut Vec<VoterEffect>)) {
        let now = self.outside.now;
        let mut effects = Vec::new();
        let Some(voter) = self.site(site).voter.as_mut() else {
            return;
        };
        call(voter, now, &mut effects);
        for effect in effects {
            self.do_site_effect(site, effect);
        }
    }

    // Links.

    fn deliver_to_desk(&mut self, desk: usize, site: usize) {
        let Some(mut message) = self.link_mut(desk, site).to_desk.pop_front() else {
            return;
        };
        let name = SiteName::new(NAMES[site]);
        self.say(desk, |text| text.arrival_at_coordinator(&name, &message));
        self.lie_about_dependencies(&mut message);
        self.on_desk(desk, |it, now, out| {
            it.handle_message(now, &name, message, out);
        });
    }

    fn deliver_to_site(&mut self, desk: usize, site: usize) {
        let Some(message) = self.link_mut(desk, site).to_site.pop_front() else {
            return;
        };
        let name = SiteName::new(NAMES[site]);
        self.say(desk, |text| text.arrival_at_site(&name, &message));
        let id = desk_id(desk);
        let told = message.clone();
        self.on_site(site, |it, now, out| {
            it.handle_message(now, id, message, out);
        });
        self.see_held(site, &told);
        self.show_waits(site);
    }

    fn deliver_to_peer(&mut self, to: usize) {
        let Some(message) = Rc::make_mut(&mut self.peers).to[to].pop_front() else {
            return;
        };
        let from = self.desk_name(1 - to);
        self.say(to, |text| text.arrival_at_peer(from, &message));
        let over = matches!(&message, PeerMessage::Waits { at, .. } if at.is_empty());
        let wound = matches!(message, PeerMessage::Wound { .. });
        match self.plan.lie {
            Lie::StaleWaits if over => return,
            Lie::WoundIgnored if wound => return,
            _ => {}
        }
        self.on_desk(to, |it, now, out| {
            it.handle_peer_message(now, desk_id(1 - to), message, out);
        });
    }

    fn cut(&mut self, desk: usize, site: usize) {
        if !self.link(desk, site).up {
            return;
        }
        *self.link_mut(desk, site) = Link::default();
        self.on_site(site, |it, now, _| it.handle_link_down(now, desk_id(desk)));
        let name = SiteName::new(NAMES[site]);
        self.on_desk(desk, |it, now, out| it.handle_link_down(now, &name, out));
    }

    fn connect(&mut self, desk: usize, site: usize) {
        self.link_mut(desk, site).up = true;
        self.on_site(site, |it, now, out| {
            it.handle_link_up(now, desk_id(desk), out);
        });
        self.show_waits(site);
    }

    fn cut_peers(&mut self) {
        if !self.peers.up {
            return;
        }
        self.peers = Rc::default();
        for desk in 0..self.desks.len() {
            let other = desk_id(1 - desk);
            let stale = self.plan.lie == Lie::StaleWaits;
            self.on_desk(desk, |it, now, _| {
                it.handle_peer_down(now, other);
                if !stale {
                    it.handle_peer_silent(now, other);
                }
            });
        }
    }

    fn connect_peers(&mut self) {
        if self.desks.len() < 2 {
            return;
        }
        Rc::make_mut(&mut self.peers).up = true;
        for desk in 0..2 {
            let other = desk_id(1 - desk);
            self.on_desk(desk, |it, now, out| it.handle_peer_up(now, other, out));
        }
    }

    // Disks.

    fn sync_desk(&mut self, desk: usize) {
        let Some((record, token)) = self.desk(desk).log.pending.pop_front() else {
            return;
        };
        let c = self.desk_name(desk);
        self.say(desk, |text| format!("{c}  disk  {}", text.record(&record)));
        self.desk(desk).log.durable.push(record.clone());
        self.check_record(desk, &record);
        if let Some(token) = token {
            self.on_desk(desk, |it, now, out| it.handle_durable(now, token, out));
        }
    }

    fn sync_site(&mut self, site: usize) {
        let Some((record, token)) = self.site(site).log.pending.pop_front() else {
            return;
        };
        self.say(0, |text| {
            format!("{}  disk  {}", NAMES[site], text.site_record(&record))
        });
        self.site(site).log.durable.push(record);
        if let Some(token) = token {
            self.on_site(site, |it, now, out| it.handle_durable(now, token, out));
            self.show_waits(site);
        }
    }

    // Machines.

    fn start_desk(&mut self, desk: usize) {
        let mut effects = Vec::new();
        let config = self.plan.coordinator_config();
        let records = self.desks[desk].log.durable.clone();
        let machine = Coordinator::recover(config, desk_id(desk), records, &mut effects);
        self.desk(desk).machine = Some(machine.expect("its own log is sound"));
        for effect in effects {
            self.do_desk_effect(desk, effect);
        }
    }

    fn crash_desk(&mut self, desk: usize, survivors: usize) {
        for site in 0..SITES {
            self.cut(desk, site);
        }
        if self.desks.len() > 1 {
            self.cut_peers();
        }
        let survivors_of = self.desks[desk].log.pending.iter().take(survivors);
        let late: Vec<Record> = survivors_of.map(|(record, _)| record.clone()).collect();
        let at = self.desk(desk);
        at.machine = None;
        at.log.crash(survivors);
        at.waiting.clear();
        for record in late {
            self.check_record(desk, &record);
        }
    }

    fn start_site(&mut self, site: usize) {
        let now = self.outside.now;
        let config = self.plan.voter_config(site);
        let forgets = self.plan.lie == Lie::ForgottenDependencies;
        let at = self.site(site);
        at.incarnation += 1;
        let (mut in_doubt, alone) = at.recovered();
        if forgets {
            for it in &mut in_doubt {
                it.depends = Default::default();
            }
        }
        let incarnation = Incarnation(at.incarnation);
        at.voter = Some(Voter::recover(config, incarnation, now, in_doubt, alone));
    }

    // Effects.

    fn do_desk_effect(&mut self, desk: usize, effect: CoordinatorEffect) {
        self.say(desk, |text| text.coordinator_effect(&effect));
        match effect {
            CoordinatorEffect::Append { record, token } => self.append(desk, record, token),
            CoordinatorEffect::AppendLazy { record } => self.desk(desk).log.append(record, None),
            CoordinatorEffect::Send { to, message } => {
                let site = NAMES.iter().position(|it| *it == to.as_str());
                let site = site.expect("a known site");
                self.check_sent(desk, &message);
                if self.link(desk, site).up {
                    self.link_mut(desk, site).to_site.push_back(message);
                }
            }
            CoordinatorEffect::Answer {
                caller,
                gtid,
                answer,
            } => self.answered(desk, caller, gtid, answer),
            CoordinatorEffect::SendPeer { to, message } => {
                if self.peers.up {
                    let to = usize::from(to.0);
                    Rc::make_mut(&mut self.peers).to[to].push_back(message);
                }
            }
            CoordinatorEffect::Note(_) => {}
        }
    }

    fn append(&mut self, desk: usize, record: Record, token: Token) {
        let swaps = self.plan.lie == Lie::DependentFirst;
        let log = &mut self.desk(desk).log;
        log.append(record, Some(token));
        let last = log.pending.len() - 1;
        if swaps && last > 0 {
            log.pending.swap(last - 1, last);
        }
    }

    fn do_site_effect(&mut self, site: usize, effect: VoterEffect) {
        let name = SiteName::new(NAMES[site]);
        let about = match &effect {
            VoterEffect::Send { to, .. } => usize::from(to.0),
            _ => 0,
        };
        self.say(about, |text| text.voter_effect(&name, &effect));
        let (record, token) = match effect {
            VoterEffect::RequestVote { gtid, dependent } => {
                self.asked_for_vote(site, gtid, dependent);
                return;
            }
            VoterEffect::Apply { gtid, decision } => {
                self.apply(site, gtid, decision);
                return;
            }
            VoterEffect::Send { to, message } => {
                self.say_to_desk(usize::from(to.0), site, message);
                return;
            }
            VoterEffect::AppendPrepared {
                gtid,
                stamp,
                read_only,
                depends,
                token,
            } => {
                let in_doubt = InDoubt {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    broken: false,
                };
                (SiteRecord::Prepared(in_doubt), Some(token))
            }
            VoterEffect::AppendOnePhase { gtid, stamp, token } => {
                (SiteRecord::Alone { gtid, stamp }, Some(token))
            }
            VoterEffect::AppendDecision {
                gtid,
                decision,
                token,
            } => (SiteRecord::Decided { gtid, decision }, Some(token)),
            VoterEffect::AppendDecisionLazy { gtid, decision } => {
                (SiteRecord::Decided { gtid, decision }, None)
            }
        };
        self.site(site).log.append(record, token);
    }

    fn say_to_desk(&mut self, desk: usize, site: usize, message: ToCoordinator) {
        self.check_said(site, &message);
        if !self.link(desk, site).up {
            return;
        }
        let early = self.upgraded_early(&message);
        let queue = &mut self.link_mut(desk, site).to_desk;
        queue.push_back(message);
        queue.extend(early);
    }

    /// Counters are not part of the state; some of them are worth remembering.
    fn forget_counters(&mut self) {
        for desk in 0..self.desks.len() {
            let stats = self.desks[desk].machine.as_ref().map(Coordinator::stats);
            if stats.is_some_and(|it| *it != Default::default())
                && let Some(machine) = &mut self.desk(desk).machine
            {
                let stats = machine.take_stats();
                self.met.see_desk(&stats);
            }
        }
        for site in 0..SITES {
            let stats = self.sites[site].voter.as_ref().map(Voter::stats);
            if stats.is_some_and(|it| *it != Default::default())
                && let Some(voter) = &mut self.site(site).voter
            {
                let stats = voter.take_stats();
                self.met.see_site(&stats);
            }
        }
    }
}

impl Site {
    /// What the log has prepared and not decided, and what was decided here alone.
    fn recovered(&self) -> (Vec<InDoubt>, Vec<(Gtid, Stamp)>) {
        let mut in_doubt: BTreeMap<Gtid, InDoubt> = BTreeMap::new();
        let mut alone = Vec::new();
        for record in &self.log.durable {
            let (gtid, outcome) = match record {
                SiteRecord::Prepared(it) => {
                    let mut it = it.clone();
                    for &(gtid, stamp) in &alone {
                        it.settle(gtid, Some(stamp));
                    }
                    in_doubt.insert(it.gtid, it);
                    continue;
                }
                &SiteRecord::Decided { gtid, decision } => match decision {
                    Decision::Commit { stamp } => (gtid, Some(stamp)),
                    Decision::Abort { .. } => (gtid, None),
                },
                &SiteRecord::Alone { gtid, stamp } => {
                    alone.push((gtid, stamp));
                    (gtid, Some(stamp))
                }
            };
            in_doubt.remove(&gtid);
            for other in in_doubt.values_mut() {
                other.settle(gtid, outcome);
            }
        }
        (in_doubt.into_values().collect(), alone)
    }

    /// What the log says became of a transaction; `None`: nothing.
    fn decided(&self, wanted: Gtid) -> Option<Decision> {
        let mut records = self.log.durable.iter().rev();
        records.find_map(|record| match *record {
            SiteRecord::Decided { gtid, decision } if gtid == wanted => Some(decision),
            SiteRecord::Alone { gtid, stamp } if gtid == wanted => Some(Decision::Commit { stamp }),
            SiteRecord::Prepared(_) | SiteRecord::Alone { .. } | SiteRecord::Decided { .. } => None,
        })
    }
}

fn desk_id(desk: usize) -> CoordinatorId {
    CoordinatorId(u8::try_from(desk).expect("there are two at most"))
}

fn desk_of(gtid: Gtid) -> usize {
    usize::from(GtidParts::coordinator_of(gtid).0)
}
