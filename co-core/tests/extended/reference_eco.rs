//! A reference model of extended commitment ordering over a log of operations: it builds its graph anew for each
//! question and forgets nothing. Each of its guards can be taken away or weakened.

use crate::dice::Dice;
use crate::digraph::{Digraph, members};
use crate::stage::{Program, Step, Verb};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// Every path a ⇝ b of globals: a was learned before b voted.
    Full,
    /// Nothing looks at what a local's operation links.
    None,
    /// Only a source in doubt is looked at.
    InDoubtOnly,
    /// Decisions are compared in the order in which the site learned them.
    LearnOrder,
    /// Only direct conflicts of globals count.
    DirectOnly,
    /// A global that precedes a committed one is voted on all the same.
    NoRefusal,
    /// A global does not wait for those that precede it.
    NoWait,
    /// Locals are not certified against cycles.
    NoCertification,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) bad: u64,
    pub(crate) stuck: u64,
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    pub(crate) after_yes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.bad += other.bad;
        self.stuck += other.stuck;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.after_yes += other.after_yes;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Voted,
    Committed,
    Aborted,
}

#[derive(Clone)]
struct Part {
    standing: Standing,
    voted: u64,
    learned: u64,
}

struct Site {
    log: Vec<(usize, Verb, usize)>,
    parts: Vec<Part>,
}

#[derive(Clone, Copy)]
enum Event {
    Step(usize),
    CommitLocal(usize),
    Vote(usize, usize),
    Decide(usize),
    Learn(usize, usize),
}

struct Model {
    guard: Guard,
    globals: u32,
    programs: Vec<Program>,
    sites: Vec<Site>,
    done: Vec<usize>,
    decision: Vec<Option<bool>>,
    votes: Vec<u32>,
    learned: Vec<u32>,
    clock: u64,
    tally: Tally,
}

const SITES: usize = 2;
const ITEMS: usize = 2;
const GLOBALS: usize = 3;
const LOCALS: usize = 2;
const NEVER: u64 = u64::MAX;

fn programs(dice: &mut Dice) -> Vec<Program> {
    let mut programs = Vec::new();
    for index in 0..GLOBALS + LOCALS {
        let global = index < GLOBALS;
        let only = dice.below(SITES);
        let mut steps = Vec::new();
        for site in 0..SITES {
            let count = match (global, site == only) {
                (true, _) => dice.pick(&[1, 1, 2]),
                (false, true) => dice.pick(&[2, 2, 3]),
                (false, false) => 0,
            };
            for _ in 0..count {
                steps.push(Step {
                    site,
                    verb: dice.pick(&[Verb::Read, Verb::Write]),
                    item: dice.below(ITEMS),
                });
            }
        }
        dice.shuffle(&mut steps);
        programs.push(Program { global, steps });
    }
    programs
}

pub(crate) fn run(guard: Guard, seed: u64) -> Tally {
    let mut dice = Dice::new(seed);
    let programs = programs(&mut dice);
    let count = programs.len();
    let part = Part {
        standing: Standing::Active,
        voted: NEVER,
        learned: NEVER,
    };
    let sites = (0..SITES).map(|_| Site {
        log: Vec::new(),
        parts: vec![part.clone(); count],
    });
    let mut model = Model {
        guard,
        globals: (1 << GLOBALS) - 1,
        sites: sites.collect(),
        programs,
        done: vec![0; count],
        decision: vec![None; count],
        votes: vec![0; count],
        learned: vec![0; count],
        clock: 0,
        tally: Tally {
            runs: 1,
            ..Tally::default()
        },
    };
    model.play(&mut dice);
    let mut union = Digraph::default();
    for site in 0..SITES {
        union.join(&model.edges(site));
    }
    model.tally.bad = u64::from(union.has_cycle());
    model.tally
}

impl Model {
    fn play(&mut self, dice: &mut Dice) {
        loop {
            let events = self.events();
            if events.is_empty() {
                let stuck: Vec<_> = (0..self.programs.len())
                    .filter(|&txn| self.decision[txn].is_none())
                    .collect();
                if stuck.is_empty() {
                    return;
                }
                self.tally.stuck += 1;
                let victim = dice.pick(&stuck);
                self.decision[victim] = Some(false);
                self.tally.aborts += 1;
                continue;
            }
            self.clock += 1;
            self.apply(dice.pick(&events));
        }
    }

    fn edges(&self, site: usize) -> Digraph {
        let site = &self.sites[site];
        let alive = |txn: usize| site.parts[txn].standing != Standing::Aborted;
        let mut graph = Digraph::default();
        for (at, &(from, verb, item)) in site.log.iter().enumerate() {
            for &(to, later, same) in &site.log[at + 1..] {
                let conflict = verb == Verb::Write || later == Verb::Write;
                if item == same && conflict && alive(from) && alive(to) {
                    graph.add(from, to);
                }
            }
        }
        graph
    }

    /// For each global the globals that it reaches through locals.
    fn paths(&self, site: usize) -> Vec<(usize, usize)> {
        let edges = self.edges(site);
        let through = if self.guard == Guard::DirectOnly {
            0
        } else {
            !self.globals
        };
        let mut paths = Vec::new();
        for from in members(self.globals) {
            let found = edges.reach(from, through) & self.globals & !(1 << from);
            paths.extend(members(found).map(|to| (from, to)));
        }
        paths
    }

    fn undecided(&self, site: usize, txn: usize) -> bool {
        let standing = self.sites[site].parts[txn].standing;
        matches!(standing, Standing::Active | Standing::Voted)
    }

    fn blocked(&self, txn: usize) -> bool {
        let step = self.programs[txn].steps[self.done[txn]];
        let mut log = self.sites[step.site].log.iter();
        log.any(|&(other, verb, item)| {
            other != txn
                && item == step.item
                && verb == Verb::Write
                && self.undecided(step.site, other)
        })
    }

    fn may_vote(&self, site: usize, txn: usize) -> bool {
        self.paths(site).into_iter().all(|(from, to)| {
            let waits = to == txn && self.undecided(site, from) && self.guard != Guard::NoWait;
            let doubt = from == txn && self.sites[site].parts[to].standing == Standing::Voted;
            !waits && !doubt
        })
    }

    fn must_refuse(&self, site: usize, txn: usize) -> bool {
        let committed = |to: usize| self.sites[site].parts[to].standing == Standing::Committed;
        self.guard != Guard::NoRefusal
            && self
                .paths(site)
                .into_iter()
                .any(|(from, to)| from == txn && committed(to))
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (txn, program) in self.programs.iter().enumerate() {
            let sites = program.sites();
            if self.decision[txn].is_some() {
                for site in sites {
                    if self.learned[txn] & (1 << site) == 0 {
                        events.push(Event::Learn(txn, site));
                    }
                }
            } else if self.done[txn] < program.steps.len() {
                if !self.blocked(txn) {
                    events.push(Event::Step(txn));
                }
            } else if program.global {
                for &site in &sites {
                    let open = self.votes[txn] & (1 << site) == 0;
                    if open && (self.must_refuse(site, txn) || self.may_vote(site, txn)) {
                        events.push(Event::Vote(txn, site));
                    }
                }
                if self.votes[txn].count_ones() as usize == sites.len() {
                    events.push(Event::Decide(txn));
                }
            } else {
                events.push(Event::CommitLocal(txn));
            }
        }
        events
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Step(txn) => self.step(txn),
            Event::CommitLocal(txn) => {
                let site = self.programs[txn].steps[0].site;
                self.decision[txn] = Some(true);
                self.tally.commits += 1;
                self.learned[txn] = 1 << site;
                self.sites[site].parts[txn].standing = Standing::Committed;
            }
            Event::Vote(txn, site) if self.must_refuse(site, txn) => self.abort_at(site, txn),
            Event::Vote(txn, site) => {
                self.votes[txn] |= 1 << site;
                let part = &mut self.sites[site].parts[txn];
                part.standing = Standing::Voted;
                part.voted = self.clock;
            }
            Event::Decide(txn) => {
                self.decision[txn] = Some(true);
                self.tally.commits += 1;
            }
            Event::Learn(txn, site) => {
                self.learned[txn] |= 1 << site;
                if self.decision[txn] == Some(false) {
                    self.abort_at(site, txn);
                } else {
                    self.learn_commit(site, txn);
                }
            }
        }
    }

    fn learn_commit(&mut self, site: usize, txn: usize) {
        let part = &mut self.sites[site].parts[txn];
        part.standing = Standing::Committed;
        part.learned = self.clock;
        if !self.programs[txn].global || self.guard == Guard::NoRefusal {
            return;
        }
        for (from, to) in self.paths(site) {
            if to == txn && self.undecided(site, from) && self.guard != Guard::NoWait {
                self.abort_at(site, from);
            }
        }
    }

    fn abort_at(&mut self, site: usize, txn: usize) {
        let part = &mut self.sites[site].parts[txn];
        if part.standing == Standing::Voted && self.decision[txn] != Some(false) {
            self.tally.after_yes += 1;
        }
        part.standing = Standing::Aborted;
        if self.decision[txn].is_none() {
            self.decision[txn] = Some(false);
            self.tally.aborts += 1;
        }
    }

    fn step(&mut self, txn: usize) {
        let step = self.programs[txn].steps[self.done[txn]];
        self.sites[step.site].log.push((txn, step.verb, step.item));
        self.done[txn] += 1;
        let certified = self.guard != Guard::NoCertification;
        let cycle = certified && self.edges(step.site).has_cycle();
        if cycle || (!self.programs[txn].global && self.links_late(step.site)) {
            self.abort_at(step.site, txn);
        }
    }

    fn links_late(&self, site: usize) -> bool {
        let part = |txn: usize| &self.sites[site].parts[txn];
        let voted =
            |txn: usize| matches!(part(txn).standing, Standing::Voted | Standing::Committed);
        let late = |a: usize, b: usize| match self.guard {
            Guard::None | Guard::DirectOnly => false,
            Guard::InDoubtOnly => part(a).standing == Standing::Voted,
            Guard::LearnOrder => {
                part(a).standing == Standing::Voted
                    || (part(b).standing == Standing::Committed
                        && part(a).learned > part(b).learned)
            }
            Guard::Full | Guard::NoRefusal | Guard::NoWait | Guard::NoCertification => {
                part(a).learned >= part(b).voted
            }
        };
        self.paths(site)
            .into_iter()
            .any(|(a, b)| voted(a) && voted(b) && late(a, b))
    }
}
