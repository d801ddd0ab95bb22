//! A reference model of multi-version commitment ordering and of its generalisation with interval stamps, in one
//! place and without any of the types it is compared with. Each of its rules can be taken away.

use crate::dice::Dice;
use crate::digraph::{Digraph, NODES};
use crate::stage::{Program, Shape, Verb};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// Everything is ordered by its commit.
    Mvco,
    /// Globals are; locals are certified by intervals.
    Gco,
}

/// A rule that is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Without {
    Nothing,
    /// A: a global that precedes a committed transaction gets NO.
    Overtaken,
    /// B: a global that precedes one in doubt waits.
    DoubtAfter,
    /// C: who overwrites what one in doubt has read waits.
    DoubtBefore,
    /// Locals commit only if their interval is not empty.
    Interval,
    /// A local's `pi` is at most the `v` of those in doubt that it precedes.
    DoubtStamp,
    /// A local's `eta` is at least the `c` of those that read what it overwrites.
    ReaderStamp,
    /// `pi` is handed on through local transactions, instead of starting anew.
    Inherited,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) bad: u64,
    pub(crate) stuck: u64,
    pub(crate) commits: u64,
    pub(crate) global_aborts: u64,
    pub(crate) local_aborts: u64,
    pub(crate) after_yes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.bad += other.bad;
        self.stuck += other.stuck;
        self.commits += other.commits;
        self.global_aborts += other.global_aborts;
        self.local_aborts += other.local_aborts;
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes(u64),
    Wait,
    No,
}

#[derive(Clone, Copy)]
struct Version {
    writer: Option<usize>,
    created: u64,
    read_until: u64,
    overtaken: u64,
    number: u64,
}

const NEVER: u64 = u64::MAX;

/// One transaction at one site.
#[derive(Clone)]
struct Part {
    standing: Standing,
    snapshot: Option<u64>,
    reads: Vec<(usize, usize)>,
    writes: u32,
    voted: u64,
}

struct Site {
    versions: Vec<Vec<Version>>,
    commits: u64,
    clock: u64,
    parts: Vec<Part>,
}

enum Event {
    Step(usize),
    CommitLocal(usize),
    Vote(usize, usize),
    Decide(usize),
    Learn(usize, usize),
}

struct Model {
    rule: Rule,
    without: Without,
    snapshots: bool,
    programs: Vec<Program>,
    sites: Vec<Site>,
    done: Vec<usize>,
    decision: Vec<Option<bool>>,
    votes: Vec<u32>,
    learned: Vec<u32>,
    tally: Tally,
}

pub(crate) fn run(shape: Shape, rule: Rule, without: Without, snapshots: bool, seed: u64) -> Tally {
    let mut dice = Dice::new(seed);
    let verbs = [Verb::Read, Verb::Read, Verb::Write];
    let programs = shape.programs(&mut dice, &verbs);
    let count = programs.len();
    assert!(count < NODES, "the judge has room for them");
    let first = Version {
        writer: None,
        created: 0,
        read_until: 0,
        overtaken: NEVER,
        number: 0,
    };
    let part = Part {
        standing: Standing::Active,
        snapshot: None,
        reads: Vec::new(),
        writes: 0,
        voted: 0,
    };
    let sites = (0..shape.sites).map(|_| Site {
        versions: vec![vec![first]; shape.items],
        commits: 0,
        clock: 0,
        parts: vec![part.clone(); count],
    });
    let mut model = Model {
        rule,
        without,
        snapshots,
        sites: sites.collect(),
        programs,
        done: vec![0; count],
        decision: vec![None; count],
        votes: vec![0; count],
        learned: vec![0; count],
        tally: Tally {
            runs: 1,
            ..Tally::default()
        },
    };
    model.play(&mut dice);
    model.tally.bad = u64::from(model.committed_graph().has_cycle());
    model.tally
}

impl Model {
    fn play(&mut self, dice: &mut Dice) {
        loop {
            let mut events = self.events();
            if events.is_empty() {
                let stuck: Vec<_> = (0..self.programs.len())
                    .filter(|&txn| self.decision[txn].is_none())
                    .collect();
                if stuck.is_empty() {
                    return;
                }
                self.tally.stuck += 1;
                self.give_up(dice.pick(&stuck));
                continue;
            }
            let event = events.swap_remove(dice.below(events.len()));
            self.apply(&event);
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (txn, program) in self.programs.iter().enumerate() {
            let decided = self.decision[txn].is_some();
            if decided && program.global {
                for site in program.sites() {
                    if self.learned[txn] & (1 << site) == 0 {
                        events.push(Event::Learn(txn, site));
                    }
                }
            } else if decided {
            } else if self.done[txn] < program.steps.len() {
                if !self.blocked(txn) {
                    events.push(Event::Step(txn));
                }
            } else if !program.global {
                if self.verdict(program.steps[0].site, txn) != Answer::Wait {
                    events.push(Event::CommitLocal(txn));
                }
            } else {
                let sites = program.sites();
                for &site in &sites {
                    let open = self.votes[txn] & (1 << site) == 0;
                    if open && self.verdict(site, txn) != Answer::Wait {
                        events.push(Event::Vote(txn, site));
                    }
                }
                if self.votes[txn].count_ones() as usize == sites.len() {
                    events.push(Event::Decide(txn));
                }
            }
        }
        events
    }

    fn blocked(&self, txn: usize) -> bool {
        let step = self.programs[txn].steps[self.done[txn]];
        let parts = self.sites[step.site].parts.iter().enumerate();
        step.verb == Verb::Write
            && parts.into_iter().any(|(other, part)| {
                other != txn
                    && part.writes & (1 << step.item) != 0
                    && matches!(part.standing, Standing::Active | Standing::Voted)
            })
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Step(txn) => self.step(txn),
            Event::CommitLocal(txn) => {
                let site = self.programs[txn].steps[0].site;
                match self.verdict(site, txn) {
                    Answer::Yes(pi) => {
                        self.decision[txn] = Some(true);
                        self.tally.commits += 1;
                        self.install(site, txn, pi);
                    }
                    Answer::No | Answer::Wait => self.abort_at(site, txn),
                }
            }
            Event::Vote(txn, site) => match self.verdict(site, txn) {
                Answer::Yes(_) => {
                    self.votes[txn] |= 1 << site;
                    let site = &mut self.sites[site];
                    site.clock += 1;
                    site.parts[txn].standing = Standing::Voted;
                    site.parts[txn].voted = site.clock;
                }
                Answer::No | Answer::Wait => self.abort_at(site, txn),
            },
            Event::Decide(txn) => {
                self.decision[txn] = Some(true);
                self.tally.commits += 1;
            }
            Event::Learn(txn, site) => {
                self.learned[txn] |= 1 << site;
                if self.decision[txn] == Some(true) {
                    let pi = self.sites[site].parts[txn].voted;
                    self.install(site, txn, pi);
                } else {
                    self.abort_at(site, txn);
                }
            }
        }
    }

    fn step(&mut self, txn: usize) {
        let step = self.programs[txn].steps[self.done[txn]];
        let snapshots = self.snapshots;
        let site = &mut self.sites[step.site];
        let part = &mut site.parts[txn];
        let snapshot = *part.snapshot.get_or_insert(site.commits);
        let versions = &site.versions[step.item];
        if step.verb == Verb::Read {
            self.done[txn] += 1;
            let known = part.reads.iter().any(|&(item, _)| item == step.item);
            if part.writes & (1 << step.item) == 0 && !known {
                let visible = |version: &Version| !snapshots || version.number <= snapshot;
                let at = versions.iter().rposition(visible).unwrap();
                part.reads.push((step.item, at));
            }
        } else if snapshots && versions.last().unwrap().number > snapshot {
            self.abort_at(step.site, txn);
        } else {
            self.done[txn] += 1;
            part.writes |= 1 << step.item;
        }
    }

    fn give_up(&mut self, txn: usize) {
        self.decision[txn] = Some(false);
        if self.programs[txn].global {
            self.tally.global_aborts += 1;
        } else {
            self.tally.local_aborts += 1;
            let site = self.programs[txn].steps[0].site;
            self.sites[site].parts[txn].standing = Standing::Aborted;
        }
    }

    fn abort_at(&mut self, site: usize, txn: usize) {
        let part = &mut self.sites[site].parts[txn];
        if part.standing == Standing::Voted && self.decision[txn] != Some(false) {
            self.tally.after_yes += 1;
        }
        part.standing = Standing::Aborted;
        if self.decision[txn].is_none() {
            self.give_up(txn);
        }
    }

    fn verdict(&self, site: usize, txn: usize) -> Answer {
        let site = &self.sites[site];
        let part = &site.parts[txn];
        let voted = |other: usize| other != txn && site.parts[other].standing == Standing::Voted;
        let others = || (0..site.parts.len()).filter(|&other| voted(other));
        let read_set = part
            .reads
            .iter()
            .fold(0u32, |set, &(item, _)| set | (1 << item));
        let read_by = |other: usize| {
            let reads = site.parts[other].reads.iter();
            reads.fold(0u32, |set, &(item, _)| set | (1 << item))
        };
        let before = self.without != Without::DoubtBefore
            && others().any(|other| read_by(other) & part.writes != 0);
        let mut after = others().filter(|&other| site.parts[other].writes & read_set != 0);
        let versions_read = || part.reads.iter().map(|&(item, at)| site.versions[item][at]);
        if self.rule == Rule::Mvco || self.programs[txn].global {
            let overtaken = versions_read().any(|version| version.overtaken < NEVER);
            if overtaken && self.without != Without::Overtaken {
                return Answer::No;
            }
            if before || (self.without != Without::DoubtAfter && after.next().is_some()) {
                return Answer::Wait;
            }
            return Answer::Yes(site.clock + 1);
        }
        if before {
            return Answer::Wait;
        }
        let mut pi = site.clock + 1;
        let mut eta = 0;
        for version in versions_read() {
            eta = eta.max(version.created);
            pi = pi.min(version.overtaken);
        }
        if self.without != Without::DoubtStamp {
            pi = after
                .map(|other| site.parts[other].voted)
                .fold(pi, u64::min);
        }
        for (item, versions) in site.versions.iter().enumerate() {
            if part.writes & (1 << item) != 0 {
                let newest = versions.last().unwrap();
                eta = eta.max(newest.created);
                if self.without != Without::ReaderStamp {
                    eta = eta.max(newest.read_until);
                }
            }
        }
        if pi > eta || self.without == Without::Interval {
            Answer::Yes(if self.without == Without::Inherited {
                site.clock + 1
            } else {
                pi
            })
        } else {
            Answer::No
        }
    }

    fn install(&mut self, site: usize, txn: usize, pi: u64) {
        let site = &mut self.sites[site];
        site.clock += 1;
        site.commits += 1;
        let now = site.clock;
        let part = &mut site.parts[txn];
        part.standing = Standing::Committed;
        for &(item, at) in &part.reads {
            let version = &mut site.versions[item][at];
            version.read_until = version.read_until.max(now);
        }
        for (item, versions) in site.versions.iter_mut().enumerate() {
            if part.writes & (1 << item) != 0 {
                let newest = versions.last_mut().unwrap();
                newest.overtaken = newest.overtaken.min(pi);
                versions.push(Version {
                    writer: Some(txn),
                    created: now,
                    read_until: now,
                    overtaken: NEVER,
                    number: site.commits,
                });
            }
        }
    }

    fn committed_graph(&self) -> Digraph {
        let mut graph = Digraph::default();
        for site in &self.sites {
            for versions in &site.versions {
                for pair in versions.windows(2) {
                    if let (Some(from), Some(to)) = (pair[0].writer, pair[1].writer) {
                        graph.add(from, to);
                    }
                }
            }
            for (txn, part) in site.parts.iter().enumerate() {
                if part.standing != Standing::Committed {
                    continue;
                }
                for &(item, at) in &part.reads {
                    let versions = &site.versions[item];
                    if let Some(writer) = versions[at].writer {
                        graph.add(writer, txn);
                    }
                    if let Some(next) = versions.get(at + 1).and_then(|version| version.writer) {
                        graph.add(txn, next);
                    }
                }
            }
        }
        graph
    }
}
