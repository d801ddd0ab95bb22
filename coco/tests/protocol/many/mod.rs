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

mod effects;
mod engine;
mod lies;
mod pins;
mod plan;
mod rules;
mod search;
mod steps;
mod surroundings;
mod witness;
mod worlds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use co_core::{Gtid, Stamp};
use coco::log::Record;
use coco::protocol::{
    CallerId, CommitAnswer, Coordinator, CoordinatorEffect, CoordinatorId, GtidParts, PeerMessage,
    Time, ToCoordinator, ToParticipant, Voter, VoterEffect,
};

pub(crate) use self::plan::{Kind, Lie, Plan};
use self::rules::Met;
use self::steps::Budget;
use crate::world::{SimLog, SiteRecord, Text, Work};

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

fn desk_id(desk: usize) -> CoordinatorId {
    CoordinatorId(u8::try_from(desk).expect("there are two at most"))
}

fn desk_of(gtid: Gtid) -> usize {
    usize::from(GtidParts::coordinator_of(gtid).0)
}
