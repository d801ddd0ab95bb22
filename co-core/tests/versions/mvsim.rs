//! The rules alone, without the crate: a model of snapshot isolation sites under two-phase commit, with several
//! vote rules and kinds of queries. It shows what each rule is for, and that the full set suffices; the crate is
//! tested against the same oracle in [`crate::random`].

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::is_acyclic;
use crate::rng::Rng;

const SITES: usize = 2;
const ITEMS: usize = 2;
const UPDATERS: usize = 3;

/// When a site votes YES.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// When it stays serializable by itself, as an exact test of its graph says.
    LocallySerializable,
    /// Conditions B, C and D without A: edges into committed transactions are not looked at.
    WithoutA,
    /// A, B, C, and D by waiting.
    Withhold,
    /// A, B, C; whom D would wait for is aborted when the writer commits.
    Eager,
}

/// How a read-only transaction reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queries {
    /// Like the others.
    Voting,
    /// At a snapshot of each site, without a vote.
    Unsynchronised,
    /// As of one stamp, without a vote.
    Stamped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Active,
    Voted,
    Committed,
    Aborted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Yes,
    No,
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    sequence: usize,
    writer: u32,
    stamp: u64,
}

#[derive(Default)]
struct Site {
    versions: Vec<Vec<Version>>,
    sequence: usize,
    clock: u64,
    state: BTreeMap<u32, State>,
    snapshots: BTreeMap<u32, usize>,
    reads: BTreeMap<u32, BTreeMap<usize, Version>>,
    writes: BTreeMap<u32, BTreeSet<usize>>,
    votes: BTreeMap<u32, u64>,
}

#[derive(Clone, Copy)]
struct Op {
    site: usize,
    writes: bool,
    item: usize,
}

#[derive(Clone, Copy)]
enum Event {
    Operate(u32),
    Vote(u32, usize),
    Decide(u32),
    Learn(u32, usize),
}

struct Model {
    rng: Rng,
    rule: Rule,
    queries: Queries,
    sites: Vec<Site>,
    programs: BTreeMap<u32, Vec<Op>>,
    next: BTreeMap<u32, usize>,
    read_only: BTreeSet<u32>,
    decisions: BTreeMap<u32, bool>,
    stamps: BTreeMap<u32, u64>,
    query_stamps: BTreeMap<u32, u64>,
    learned: BTreeSet<(u32, usize)>,
}

type Edges = BTreeSet<(u32, u32)>;

impl Site {
    fn open(&self, txn: u32) -> bool {
        matches!(self.state[&txn], State::Active | State::Voted)
    }

    fn writers(&self, item: usize) -> impl Iterator<Item = u32> {
        let writes = self.writes.iter();
        writes
            .filter(move |(txn, items)| items.contains(&item) && self.open(**txn))
            .map(|(txn, _)| *txn)
    }

    /// Whom a transaction precedes by what it read: committed ones, and open ones.
    fn overwriters(&self, txn: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut committed, mut open) = (BTreeSet::new(), BTreeSet::new());
        for (item, seen) in &self.reads[&txn] {
            let newer = self.versions[*item]
                .iter()
                .filter(|version| version.sequence > seen.sequence);
            committed.extend(newer.map(|version| version.writer));
            open.extend(self.writers(*item));
        }
        committed.remove(&txn);
        open.remove(&txn);
        (committed, open)
    }

    /// Open transactions that read what this one writes.
    fn readers(&self, txn: u32) -> BTreeSet<u32> {
        let reads = self.reads.iter();
        reads
            .filter(|(other, reads)| {
                **other != txn
                    && self.open(**other)
                    && reads.keys().any(|item| self.writes[&txn].contains(item))
            })
            .map(|(other, _)| *other)
            .collect()
    }

    /// The serialization graph of some transactions, versions in the order of their sequence.
    fn graph(&self, alive: &BTreeSet<u32>) -> Edges {
        let mut edges = Edges::new();
        for chain in &self.versions {
            for (index, earlier) in chain.iter().enumerate() {
                let later = chain[index + 1..].iter();
                edges.extend(later.map(|later| (earlier.writer, later.writer)));
            }
        }
        for txn in alive {
            for (item, seen) in &self.reads[txn] {
                edges.insert((seen.writer, *txn));
                let newer = self.versions[*item].iter();
                let newer = newer.filter(|version| version.sequence > seen.sequence);
                edges.extend(newer.map(|version| (*txn, version.writer)));
                let intending = alive.iter().filter(|other| {
                    self.writes[*other].contains(item) && self.state[*other] != State::Committed
                });
                edges.extend(intending.map(|other| (*txn, *other)));
            }
            if self.state[txn] != State::Committed {
                for item in &self.writes[txn] {
                    let earlier = self.versions[*item].iter();
                    edges.extend(earlier.map(|version| (version.writer, *txn)));
                }
            }
        }
        edges.retain(|(from, to)| from != to && *from != 0 && *to != 0);
        edges
    }
}

impl Model {
    fn new(seed: u64, rule: Rule, queries: Queries) -> Self {
        let mut rng = Rng::new(seed);
        let mut model = Self {
            rule,
            queries,
            sites: Vec::new(),
            programs: BTreeMap::new(),
            next: BTreeMap::new(),
            read_only: BTreeSet::new(),
            decisions: BTreeMap::new(),
            stamps: BTreeMap::new(),
            query_stamps: BTreeMap::new(),
            learned: BTreeSet::new(),
            rng: Rng::new(seed ^ 0x5eed),
        };
        let initial = Version {
            sequence: 0,
            writer: 0,
            stamp: 0,
        };
        model.sites.resize_with(SITES, Site::default);
        for site in &mut model.sites {
            site.versions = vec![vec![initial]; ITEMS];
        }
        for index in 0..=UPDATERS {
            let txn = u32::try_from(index + 1).unwrap();
            let query = index == UPDATERS;
            let mut program = Vec::new();
            for site in 0..SITES {
                for _ in 0..=rng.below(2) {
                    let writes = !query && rng.below(3) == 2;
                    let item = rng.below(ITEMS);
                    program.push(Op { site, writes, item });
                }
            }
            rng.shuffle(&mut program);
            if program.iter().all(|op| !op.writes) {
                model.read_only.insert(txn);
            }
            for site in &mut model.sites {
                site.state.insert(txn, State::Active);
                site.reads.insert(txn, BTreeMap::new());
                site.writes.insert(txn, BTreeSet::new());
            }
            model.programs.insert(txn, program);
            model.next.insert(txn, 0);
        }
        model
    }

    fn without_vote(&self, txn: u32) -> bool {
        self.queries != Queries::Voting && self.read_only.contains(&txn)
    }

    fn stamped(&self, txn: u32) -> bool {
        self.queries == Queries::Stamped && self.read_only.contains(&txn)
    }

    fn blocked(&self, txn: u32) -> bool {
        let op = self.programs[&txn][self.next[&txn]];
        let site = &self.sites[op.site];
        if op.writes {
            return site.writers(op.item).any(|other| other != txn);
        }
        let Some(stamp) = self.query_stamps.get(&txn).filter(|_| self.stamped(txn)) else {
            return false;
        };
        // An event of its own raises the clock; before that the query has not arrived.
        site.clock >= *stamp
            && site.state.iter().any(|(other, state)| {
                *state == State::Voted
                    && !self.read_only.contains(other)
                    && site.votes[other] <= *stamp
            })
    }

    fn operate(&mut self, txn: u32) {
        let op = self.programs[&txn][self.next[&txn]];
        if self.stamped(txn) {
            let site = &mut self.sites[op.site];
            let stamp = *self.query_stamps.entry(txn).or_insert(site.clock);
            site.clock = site.clock.max(stamp);
            if self.blocked(txn) {
                return;
            }
            let site = &mut self.sites[op.site];
            let seen = site.versions[op.item].iter().rfind(|v| v.stamp <= stamp);
            let seen = *seen.unwrap();
            site.reads
                .get_mut(&txn)
                .unwrap()
                .entry(op.item)
                .or_insert(seen);
        } else {
            let site = &mut self.sites[op.site];
            let snapshot = *site.snapshots.entry(txn).or_insert(site.sequence);
            if op.writes {
                if site.versions[op.item].last().unwrap().sequence > snapshot {
                    self.abort_at(op.site, txn); // the first updater has won
                    return;
                }
                site.writes.get_mut(&txn).unwrap().insert(op.item);
            } else if !site.writes[&txn].contains(&op.item) {
                let seen = site.versions[op.item]
                    .iter()
                    .rfind(|v| v.sequence <= snapshot);
                let seen = *seen.unwrap();
                site.reads
                    .get_mut(&txn)
                    .unwrap()
                    .entry(op.item)
                    .or_insert(seen);
            }
        }
        *self.next.get_mut(&txn).unwrap() += 1;
    }

    fn abort_at(&mut self, site: usize, txn: u32) {
        let voted = self.sites[site].state[&txn] == State::Voted;
        let decided = self.decisions.entry(txn).or_insert(false);
        assert!(!voted || !*decided, "I3: T{txn} was aborted after its YES");
        self.sites[site].state.insert(txn, State::Aborted);
    }

    fn verdict(&self, site: usize, txn: u32) -> Verdict {
        let site = &self.sites[site];
        if self.without_vote(txn) {
            return Verdict::Yes;
        }
        if self.rule == Rule::LocallySerializable {
            let counts = |state: &State| matches!(state, State::Committed | State::Voted);
            let alive = site.state.iter().filter(|(_, state)| counts(state));
            let alive: BTreeSet<u32> = alive.map(|(other, _)| *other).chain([txn]).collect();
            let serializable = is_acyclic(&site.graph(&alive));
            return if serializable {
                Verdict::Yes
            } else {
                Verdict::No
            };
        }
        let (committed, open) = site.overwriters(txn);
        if self.rule != Rule::WithoutA && !committed.is_empty() {
            return Verdict::No;
        }
        let voted = |other: &u32| site.state[other] == State::Voted;
        let readers = site.readers(txn);
        let mut readers = readers.iter().filter(|reader| !self.without_vote(**reader));
        let waits = match self.rule {
            Rule::Withhold => readers.next().is_some(),
            Rule::LocallySerializable | Rule::WithoutA | Rule::Eager => readers.any(voted),
        };
        if waits || open.iter().any(voted) {
            Verdict::Wait
        } else {
            Verdict::Yes
        }
    }

    fn sites_of(&self, txn: u32) -> BTreeSet<usize> {
        self.programs[&txn].iter().map(|op| op.site).collect()
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (txn, program) in &self.programs {
            let sites = self.sites_of(*txn);
            if self.decisions.contains_key(txn) {
                let unlearned = sites
                    .iter()
                    .filter(|site| !self.learned.contains(&(*txn, **site)));
                events.extend(unlearned.map(|site| Event::Learn(*txn, *site)));
            } else if self.next[txn] < program.len() {
                if !self.blocked(*txn) {
                    events.push(Event::Operate(*txn));
                }
            } else {
                let voted = |site: &usize| self.sites[*site].votes.contains_key(txn);
                let unvoted = sites.iter().filter(|site| !voted(site));
                let ready = unvoted.filter(|site| self.verdict(**site, *txn) != Verdict::Wait);
                events.extend(ready.map(|site| Event::Vote(*txn, *site)));
                if sites.iter().all(voted) {
                    events.push(Event::Decide(*txn));
                }
            }
        }
        events
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Operate(txn) => self.operate(txn),
            Event::Vote(txn, index) => {
                if self.verdict(index, txn) == Verdict::No {
                    self.abort_at(index, txn);
                    return;
                }
                let site = &mut self.sites[index];
                site.clock += 1;
                site.state.insert(txn, State::Voted);
                site.votes.insert(txn, site.clock);
            }
            Event::Decide(txn) => {
                let votes = self.sites.iter().filter_map(|site| site.votes.get(&txn));
                self.stamps.insert(txn, *votes.max().unwrap());
                self.decisions.insert(txn, true);
            }
            Event::Learn(txn, index) => self.learn(txn, index),
        }
    }

    fn learn(&mut self, txn: u32, index: usize) {
        self.learned.insert((txn, index));
        if !self.decisions[&txn] {
            self.abort_at(index, txn);
            return;
        }
        let stamp = self.stamps[&txn];
        let site = &mut self.sites[index];
        site.state.insert(txn, State::Committed);
        site.clock = site.clock.max(stamp);
        let written = site.writes[&txn].clone();
        site.sequence += usize::from(!written.is_empty());
        for item in written {
            site.versions[item].push(Version {
                sequence: site.sequence,
                writer: txn,
                stamp,
            });
        }
        if self.rule == Rule::Eager {
            let site = &self.sites[index];
            let state = site.state.iter();
            let active = state.filter(|(_, state)| **state == State::Active);
            let overtaken: Vec<u32> = active
                .map(|(other, _)| *other)
                .filter(|other| !self.without_vote(*other))
                .filter(|other| site.overwriters(*other).0.contains(&txn))
                .collect();
            for other in overtaken {
                self.abort_at(index, other);
            }
        }
    }

    /// Runs to the end; whether what committed is serializable over all sites.
    fn run(mut self) -> bool {
        loop {
            let events = self.events();
            if !events.is_empty() {
                let event = self.rng.pick(&events);
                self.step(event);
                continue;
            }
            let undecided = self.programs.keys().copied();
            let undecided: Vec<u32> = undecided
                .filter(|txn| !self.decisions.contains_key(txn))
                .collect();
            if undecided.is_empty() {
                break;
            }
            let victim = self.rng.pick(&undecided);
            self.decisions.insert(victim, false);
        }
        let committed = self.decisions.iter().filter(|(_, commits)| **commits);
        let committed: BTreeSet<u32> = committed.map(|(txn, _)| *txn).collect();
        let mut edges = Edges::new();
        for site in &self.sites {
            edges.extend(site.graph(&committed));
        }
        edges.retain(|(from, to)| committed.contains(from) && committed.contains(to));
        is_acyclic(&edges)
    }
}

fn bad_runs(rule: Rule, queries: Queries) -> usize {
    let runs = (0..2000).map(|seed| Model::new(seed, rule, queries).run());
    runs.filter(|serializable| !serializable).count()
}

#[test]
fn serializable_sites_under_plain_two_phase_commit_are_not_serializable_together() {
    assert!(bad_runs(Rule::LocallySerializable, Queries::Voting) > 0);
}

#[test]
fn without_condition_a_committed_transactions_form_cycles() {
    for queries in [Queries::Voting, Queries::Stamped] {
        assert!(bad_runs(Rule::WithoutA, queries) > 0, "{queries:?}");
    }
}

#[test]
fn queries_of_unsynchronised_snapshots_break_the_full_rules() {
    for rule in [Rule::Withhold, Rule::Eager] {
        assert!(bad_runs(rule, Queries::Unsynchronised) > 0, "{rule:?}");
    }
}

#[test]
fn the_full_rules_with_voting_or_stamped_queries_have_no_bad_run() {
    for rule in [Rule::Withhold, Rule::Eager] {
        for queries in [Queries::Voting, Queries::Stamped] {
            assert_eq!(bad_runs(rule, queries), 0, "{rule:?} {queries:?}");
        }
    }
}
