//! Several sites of the real types under a simulated two-phase commit. Operations, requests to vote, decisions and
//! the learning of decisions are separate events in a random order; nothing here looks into the types, and what
//! committed is judged by a graph built from what was granted.
//!
//! Checked in every run:
//! - I5 the graph of all sites is acyclic;
//! - E2 for each path a ⇝ b of globals at a site, a was learned there before b voted there;
//! - I3 no voted transaction is doomed;
//! - I7 nothing is remembered once everything is decided;
//! - strictness of [`Eco`] and the turns of writers of [`Gco`];
//! - a state without events is one in which each transaction waits for another undecided one, so there is a cycle,
//!   and ending one transaction on it lets the others go on: no wakeup is lost.

use co_core::{
    Access, Certification, Eco, Ending, Gco, Gtid, Kind, Outcome, Priority, Reads, SiteTxn, Source,
    State, Vote, VoteFuture,
};

use crate::dice::Dice;
use crate::digraph::{Digraph, members};
use crate::stage::{Program, Shape, Step, Verb};

/// Which type a site is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    Eco,
    Gco(Reads, Certification),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) shape: Shape,
    /// Sites take these in turn.
    pub(crate) rules: &'static [Rule],
    /// A site may be asked to vote before the work at other sites is done.
    pub(crate) early: bool,
    /// Local transactions are decided some time after their YES, and not at once.
    pub(crate) windows: bool,
    /// The coordinator gives up now and then.
    pub(crate) nervous: bool,
    /// Sites forget what they may forget after every step.
    pub(crate) forgetful: bool,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) stuck: u64,
    pub(crate) commits: u64,
    pub(crate) global_aborts: u64,
    pub(crate) local_aborts: u64,
    /// Committed local transactions that precede, at their site, a transaction that committed before them.
    pub(crate) out_of_order: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.stuck += other.stuck;
        self.commits += other.commits;
        self.global_aborts += other.global_aborts;
        self.local_aborts += other.local_aborts;
        self.out_of_order += other.out_of_order;
    }
}

enum Subject {
    Eco(Eco<usize>),
    Gco(Gco<usize>),
}

/// An operation that was granted.
#[derive(Clone, Copy)]
struct Done {
    txn: usize,
    verb: Verb,
    item: usize,
    /// For a read of a version: its place among the item's versions.
    version: usize,
}

/// One transaction at one site.
struct Part {
    handle: SiteTxn,
    vote: Option<VoteFuture>,
    voted: Option<u64>,
    ended: Option<u64>,
}

struct Site {
    subject: Subject,
    granted: Vec<Done>,
    /// For each item its committed versions: number and writer; the first one is nobody's.
    versions: Vec<Vec<(u64, Option<usize>)>>,
    parts: Vec<Option<Part>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Step(usize),
    Ask(usize, usize),
    Decide(usize, Outcome),
    Learn(usize, usize),
}

pub(crate) struct World {
    setting: Setting,
    programs: Vec<Program>,
    sites: Vec<Site>,
    done: Vec<usize>,
    busy: Vec<Option<Ending>>,
    decision: Vec<Option<Outcome>>,
    globals: u32,
    clock: u64,
    tally: Tally,
}

/// Plays one schedule. What is wrong with it, if anything is.
pub(crate) fn play(setting: Setting, seed: u64) -> Result<Tally, String> {
    let mut dice = Dice::new(seed);
    let increments = setting.rules.iter().all(|rule| *rule == Rule::Eco);
    let verbs: &[Verb] = if increments {
        &[
            Verb::Read,
            Verb::Read,
            Verb::Write,
            Verb::Write,
            Verb::Increment,
        ]
    } else {
        &[Verb::Read, Verb::Read, Verb::Write]
    };
    let mut world = World::new(setting, setting.shape.programs(&mut dice, verbs));
    world.run(&mut dice)?;
    world.judge()?;
    Ok(world.tally)
}

fn fail<T>(condition: bool, what: impl FnOnce() -> T) -> Result<(), T> {
    if condition { Err(what()) } else { Ok(()) }
}

impl World {
    fn new(setting: Setting, programs: Vec<Program>) -> Self {
        let count = programs.len();
        let sites = (0..setting.shape.sites).map(|site| {
            let subject = match setting.rules[site % setting.rules.len()] {
                Rule::Eco => Subject::Eco(Eco::new()),
                Rule::Gco(reads, certification) => Subject::Gco(Gco::new(reads, certification)),
            };
            let parts = programs.iter().enumerate().map(|(txn, program)| {
                program.sites().contains(&site).then(|| Part {
                    handle: subject.begin(txn, program.global),
                    vote: None,
                    voted: None,
                    ended: None,
                })
            });
            let parts = parts.collect();
            Site {
                subject,
                granted: Vec::new(),
                versions: vec![vec![(0, None)]; setting.shape.items],
                parts,
            }
        });
        let sites = sites.collect();
        let globals = programs
            .iter()
            .enumerate()
            .filter(|(_, program)| program.global);
        Self {
            setting,
            sites,
            done: vec![0; count],
            busy: vec![None; count],
            decision: vec![None; count],
            globals: globals.fold(0, |set, (txn, _)| set | (1 << txn)),
            clock: 0,
            tally: Tally {
                runs: 1,
                ..Tally::default()
            },
            programs,
        }
    }

    fn run(&mut self, dice: &mut Dice) -> Result<(), String> {
        loop {
            let events = self.events();
            if events.is_empty() {
                let stuck: Vec<_> = (0..self.programs.len())
                    .filter(|&txn| self.decision[txn].is_none())
                    .collect();
                if stuck.is_empty() {
                    return Ok(());
                }
                self.check_stuck(&stuck)?;
                self.tally.stuck += 1;
                let victim = dice.pick(&stuck);
                self.decide(victim, Outcome::Abort);
                continue;
            }
            self.clock += 2;
            let event = if self.setting.nervous && dice.one_in(40) {
                let open = (0..self.programs.len()).filter(|&txn| self.decision[txn].is_none());
                let open: Vec<_> = open.collect();
                if open.is_empty() {
                    dice.pick(&events)
                } else {
                    Event::Decide(dice.pick(&open), Outcome::Abort)
                }
            } else {
                dice.pick(&events)
            };
            self.apply(event)?;
            self.look_around()?;
        }
    }

    fn part(&self, site: usize, txn: usize) -> &Part {
        self.sites[site].parts[txn].as_ref().unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (txn, program) in self.programs.iter().enumerate() {
            let sites = program.sites();
            if self.decision[txn].is_some() {
                for site in sites {
                    if self.part(site, txn).ended.is_none() {
                        events.push(Event::Learn(txn, site));
                    }
                }
                continue;
            }
            let left = &program.steps[self.done[txn]..];
            if !left.is_empty()
                && self.busy[txn]
                    .as_ref()
                    .is_none_or(|holder| holder.peek().is_some())
            {
                events.push(Event::Step(txn));
            }
            for &site in &sites {
                let here_done = left.iter().all(|step| step.site != site);
                let may_ask = left.is_empty() || (self.setting.early && here_done);
                if may_ask && self.part(site, txn).vote.is_none() {
                    events.push(Event::Ask(txn, site));
                }
            }
            if sites
                .iter()
                .all(|&site| self.part(site, txn).voted.is_some())
            {
                events.push(Event::Decide(txn, Outcome::Commit));
            }
        }
        events
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Step(txn) => self.step(txn)?,
            Event::Ask(txn, site) => {
                let vote = {
                    let part = self.part(site, txn);
                    self.sites[site].subject.request_vote(&part.handle)
                };
                self.sites[site].parts[txn].as_mut().unwrap().vote = Some(vote);
                let decides_alone = !self.programs[txn].global && !self.setting.windows;
                if decides_alone
                    && self.part(site, txn).vote.as_ref().unwrap().peek() == Some(Vote::Yes)
                {
                    self.note_votes()?;
                    self.decide(txn, Outcome::Commit);
                    self.learn(txn, site)?;
                }
            }
            Event::Decide(txn, outcome) => self.decide(txn, outcome),
            Event::Learn(txn, site) => self.learn(txn, site)?,
        }
        Ok(())
    }

    fn step(&mut self, txn: usize) -> Result<(), String> {
        let step = self.programs[txn].steps[self.done[txn]];
        let site = &mut self.sites[step.site];
        let handle = site.parts[txn].as_ref().unwrap().handle.clone();
        self.busy[txn] = None;
        match site.subject.operate(&handle, step) {
            Access::Granted(source) => {
                self.done[txn] += 1;
                let version = match source {
                    Source::Own => return Ok(()),
                    Source::AsOf(number) => {
                        let versions = &site.versions[step.item];
                        versions.partition_point(|version| version.0 <= number.0) - 1
                    }
                };
                site.granted.push(Done {
                    txn,
                    verb: step.verb,
                    item: step.item,
                    version,
                });
                self.check_strict(step, txn)?;
            }
            Access::Busy(holder) => {
                fail(holder.peek().is_some(), || {
                    "busy with a decided one".to_owned()
                })?;
                self.busy[txn] = Some(holder);
            }
            Access::Doomed(_) => {
                if self.decision[txn].is_none() {
                    self.decide(txn, Outcome::Abort);
                }
            }
        }
        Ok(())
    }

    fn decide(&mut self, txn: usize, outcome: Outcome) {
        self.decision[txn] = Some(outcome);
        match outcome {
            Outcome::Commit => self.tally.commits += 1,
            Outcome::Abort if self.programs[txn].global => self.tally.global_aborts += 1,
            Outcome::Abort => self.tally.local_aborts += 1,
        }
    }

    fn learn(&mut self, txn: usize, at: usize) -> Result<(), String> {
        let outcome = self.decision[txn].unwrap();
        let clock = self.clock;
        let site = &mut self.sites[at];
        let part = site.parts[txn].as_mut().unwrap();
        part.ended = Some(clock);
        let handle = part.handle.clone();
        let written: Vec<_> = site
            .granted
            .iter()
            .filter(|done| done.txn == txn && done.verb != Verb::Read)
            .map(|done| done.item)
            .collect();
        let result = match &site.subject {
            Subject::Eco(eco) => eco.decided(&handle, outcome),
            Subject::Gco(gco) => gco.decided_with(&handle, outcome, |number| {
                for item in written {
                    if site.versions[item].last().unwrap().0 != number.0 {
                        site.versions[item].push((number.0, Some(txn)));
                    }
                }
            }),
        };
        result.map_err(|misuse| format!("T{txn} at {at}: {misuse}"))
    }

    /// Notes new votes, and aborts what sites have doomed.
    fn look_around(&mut self) -> Result<(), String> {
        self.note_votes()?;
        for at in 0..self.sites.len() {
            if self.setting.forgetful {
                self.sites[at].subject.forget();
            }
            for handle in self.sites[at].subject.take_doomed() {
                let mut parts = self.sites[at].parts.iter();
                let is =
                    |part: &Option<Part>| part.as_ref().is_some_and(|part| part.handle == handle);
                let txn = parts.position(is).unwrap();
                fail(self.part(at, txn).voted.is_some(), || {
                    format!("I3: T{txn} was doomed at {at} after its YES")
                })?;
                if self.decision[txn].is_none() {
                    self.decide(txn, Outcome::Abort);
                }
            }
        }
        Ok(())
    }

    fn note_votes(&mut self) -> Result<(), String> {
        // After what was learned in the same step.
        let now = self.clock + 1;
        for part in self
            .sites
            .iter_mut()
            .flat_map(|site| &mut site.parts)
            .flatten()
        {
            let vote = part.vote.as_ref().and_then(VoteFuture::peek);
            if part.voted.is_none() && part.ended.is_none() && vote == Some(Vote::Yes) {
                part.voted = Some(now);
                fail(part.handle.state() != State::Voted, || {
                    format!("a YES for {:?}", part.handle)
                })?;
            }
        }
        Ok(())
    }

    /// No undecided write of another transaction stands where `step` was granted.
    fn check_strict(&self, step: Step, txn: usize) -> Result<(), String> {
        let site = &self.sites[step.site];
        let versioned = matches!(site.subject, Subject::Gco(_));
        if versioned && step.verb == Verb::Read {
            return Ok(());
        }
        let broken = site.granted.iter().any(|done| {
            let commutes = done.verb == Verb::Increment && step.verb == Verb::Increment;
            done.txn != txn
                && done.item == step.item
                && done.verb != Verb::Read
                && !commutes
                && self.part(step.site, done.txn).ended.is_none()
        });
        fail(broken, || format!("not strict: {step:?} of T{txn}"))
    }

    /// The serialization graph of one site over the transactions in `of`.
    fn graph(&self, at: usize, of: u32) -> Digraph {
        let site = &self.sites[at];
        let mut graph = Digraph::default();
        match site.subject {
            Subject::Eco(_) => {
                for (index, one) in site.granted.iter().enumerate() {
                    for two in &site.granted[index + 1..] {
                        let reads = one.verb == Verb::Read && two.verb == Verb::Read;
                        let adds = one.verb == Verb::Increment && two.verb == Verb::Increment;
                        if one.item == two.item && !reads && !adds {
                            graph.add(one.txn, two.txn);
                        }
                    }
                }
            }
            Subject::Gco(_) => {
                for versions in &site.versions {
                    for (index, one) in versions.iter().enumerate() {
                        for two in &versions[index + 1..] {
                            if let (Some(from), Some(to)) = (one.1, two.1) {
                                graph.add(from, to);
                            }
                        }
                    }
                }
                for done in site.granted.iter().filter(|done| done.verb == Verb::Read) {
                    let versions = &site.versions[done.item];
                    if let Some(writer) = versions[done.version].1 {
                        graph.add(writer, done.txn);
                    }
                    for later in versions[done.version + 1..].iter().filter_map(|one| one.1) {
                        graph.add(done.txn, later);
                    }
                }
            }
        }
        graph.restricted(of)
    }

    /// Everything is decided and learned.
    fn judge(&mut self) -> Result<(), String> {
        let committed = (0..self.programs.len())
            .filter(|&txn| self.decision[txn] == Some(Outcome::Commit))
            .fold(0, |set, txn| set | (1 << txn));
        let mut union = Digraph::default();
        for at in 0..self.sites.len() {
            let graph = self.graph(at, committed);
            self.check_paths(at, &graph, committed)?;
            union.join(&graph);
            let site = &self.sites[at];
            for one in members(committed & !self.globals) {
                let ended = |txn: usize| site.parts[txn].as_ref().and_then(|part| part.ended);
                let behind = graph.successors(one).any(|two| ended(two) < ended(one));
                self.tally.out_of_order += u64::from(behind);
            }
            fail(
                site.subject.undecided() != 0 || !site.subject.is_empty(),
                || format!("I7: site {at} remembers something"),
            )?;
        }
        fail(union.has_cycle(), || {
            "I5: a cycle among committed".to_owned()
        })
    }

    fn check_paths(&self, at: usize, graph: &Digraph, committed: u32) -> Result<(), String> {
        for from in members(committed & self.globals) {
            let found = graph.reach(from, u32::MAX) & self.globals & !(1 << from);
            for to in members(found) {
                let learned = self.part(at, from).ended.unwrap();
                let voted = self.part(at, to).voted.unwrap();
                fail(learned >= voted, || {
                    format!("E2: T{from} ⇝ T{to} at {at}, learned {learned}, voted {voted}")
                })?;
            }
        }
        Ok(())
    }

    /// Each of the stuck transactions waits for another one of them.
    fn check_stuck(&self, stuck: &[usize]) -> Result<(), String> {
        let mut waits = Digraph::default();
        for &txn in stuck {
            if let Some(holder) = &self.busy[txn] {
                let step = self.programs[txn].steps[self.done[txn]];
                let mut parts = self.sites[step.site].parts.iter();
                let is = |part: &Option<Part>| {
                    part.as_ref()
                        .is_some_and(|part| part.handle.id() == holder.txn())
                };
                waits.add(txn, parts.position(is).unwrap());
            }
            for at in self.programs[txn].sites() {
                let part = self.part(at, txn);
                if part.vote.as_ref().is_some_and(|vote| vote.peek().is_none()) {
                    for other in members(self.holds_up(at, txn)) {
                        waits.add(txn, other);
                    }
                    self.check_report(at, txn)?;
                }
            }
        }
        for &txn in stuck {
            let next = waits.successors(txn).any(|other| stuck.contains(&other));
            fail(!next, || {
                format!("stuck without a cycle: T{txn} waits for nobody")
            })?;
        }
        fail(!waits.has_cycle(), || "stuck without a cycle".to_owned())
    }

    /// What `blocked_by` reports are undecided globals that hold the vote up.
    fn check_report(&self, at: usize, txn: usize) -> Result<(), String> {
        let holds_up = self.holds_up(at, txn) & self.globals;
        let reported = self.sites[at]
            .subject
            .blocked_by(&self.part(at, txn).handle);
        let reported = reported
            .into_iter()
            .fold(0, |set, gtid| set | (1u32 << gtid.0));
        fail(reported != holds_up, || {
            format!("T{txn} at {at}: reported {reported:b}, held up by {holds_up:b}")
        })
    }

    /// Who holds the vote of `txn` at a site up, by the rules of the type and this graph.
    fn holds_up(&self, at: usize, txn: usize) -> u32 {
        let site = &self.sites[at];
        let state = |other: usize| site.parts[other].as_ref().map(|part| part.handle.state());
        let set = |wanted: &dyn Fn(State) -> bool| {
            (0..self.programs.len())
                .filter(|&other| other != txn && state(other).is_some_and(wanted))
                .fold(0u32, |set, other| set | (1 << other))
        };
        match site.subject {
            Subject::Eco(_) => {
                let alive = set(&|state| !matches!(state, State::Doomed | State::Aborted));
                let undecided = set(&State::is_undecided) & alive;
                let graph = self.graph(at, alive | (1 << txn));
                members(undecided & self.globals)
                    .filter(|&other| graph.reach(other, !self.globals) & (1 << txn) != 0)
                    .fold(0, |set, other| set | (1 << other))
            }
            Subject::Gco(_) => {
                let voted = set(&|state| state == State::Voted);
                let clash = |one: &Done, two: &Done| {
                    one.item == two.item && (one.verb == Verb::Read) != (two.verb == Verb::Read)
                };
                let mine = || site.granted.iter().filter(|done| done.txn == txn);
                site.granted
                    .iter()
                    .filter(|other| voted & (1 << other.txn) != 0)
                    .filter(|other| mine().any(|done| clash(done, other)))
                    .fold(0, |set, other| set | (1 << other.txn))
            }
        }
    }
}

impl Subject {
    fn begin(&self, txn: usize, global: bool) -> SiteTxn {
        let priority = Priority(txn as u64);
        let kind = if global {
            Kind::Global {
                gtid: Gtid(txn as u64),
                priority,
            }
        } else {
            Kind::Local { priority }
        };
        match self {
            Self::Eco(site) => site.begin(kind),
            Self::Gco(site) => site.begin(kind),
        }
    }

    fn operate(&self, txn: &SiteTxn, step: Step) -> Access<Source> {
        let plain = |access: Access| match access {
            Access::Granted(()) => Access::Granted(Source::AsOf(co_core::CommitSeq(0))),
            Access::Busy(holder) => Access::Busy(holder),
            Access::Doomed(reason) => Access::Doomed(reason),
        };
        let item = &step.item;
        match (self, step.verb) {
            (Self::Eco(site), Verb::Read) => plain(site.read(txn, item).unwrap()),
            (Self::Eco(site), Verb::Write) => plain(site.write(txn, item).unwrap()),
            (Self::Eco(site), Verb::Increment) => plain(site.increment(txn, item).unwrap()),
            (Self::Gco(site), Verb::Read) => site.read(txn, item).unwrap(),
            (Self::Gco(site), Verb::Write | Verb::Increment) => {
                plain(site.write(txn, item).unwrap())
            }
        }
    }

    fn request_vote(&self, txn: &SiteTxn) -> VoteFuture {
        match self {
            Self::Eco(site) => site.request_vote(txn),
            Self::Gco(site) => site.request_vote(txn),
        }
    }

    fn take_doomed(&self) -> Vec<SiteTxn> {
        match self {
            Self::Eco(site) => site.take_doomed(),
            Self::Gco(site) => site.take_doomed(),
        }
    }

    fn blocked_by(&self, txn: &SiteTxn) -> Vec<Gtid> {
        let names = match self {
            Self::Eco(site) => site.blocked_by(txn),
            Self::Gco(site) => site.blocked_by(txn),
        };
        names.into_iter().map(|(gtid, _)| gtid).collect()
    }

    fn forget(&self) {
        let _remembered = match self {
            Self::Eco(site) => site.remembered(),
            Self::Gco(site) => site.remembered(),
        };
    }

    fn undecided(&self) -> usize {
        match self {
            Self::Eco(site) => site.undecided(),
            Self::Gco(site) => site.undecided(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Eco(site) => site.is_empty(),
            Self::Gco(site) => site.is_empty(),
        }
    }
}
