//! Random schedules of global and local transactions and queries over two sites under two-phase commit, in which
//! every message may come at any time, judged by [`crate::oracle`].

use std::collections::{BTreeMap, BTreeSet};

use co_core::{
    Grant, Outcome, Position, Stamp, State, Turn, Txn, Vote, VoteFuture, VoteRule, WriteKind,
};

use crate::oracle::{End, History};
use crate::rng::Rng;
use crate::site::{Seen, Site};

const KEYS: [char; 3] = ['a', 'b', 'c'];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Read(char),
    Scan(char, Option<char>),
    Write(char, WriteKind),
}

/// How queries read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// As of a stamp.
    Stamped,
    /// Each site as it is when the query comes there.
    Unsynchronised,
}

struct Branch {
    txn: Txn,
    vote: Option<VoteFuture>,
    stamp: Option<Stamp>,
    turn: Option<Turn>,
}

struct Client {
    query: bool,
    program: Vec<(usize, Act)>,
    next: usize,
    branches: BTreeMap<usize, Branch>,
    decision: Option<Outcome>,
    /// A query's own, or that of the decision.
    stamp: Option<Stamp>,
    /// What an unsynchronised query saw at each site.
    shown: BTreeMap<usize, Position>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Operate(u32),
    Prepare(u32, usize),
    Stamp(u32, usize),
    Decide(u32),
    Learn(u32, usize),
}

struct World {
    rng: Rng,
    mode: Mode,
    sites: [Site; 2],
    clients: BTreeMap<u32, Client>,
    history: History,
    stuck: usize,
}

/// What the runs of one setting came to.
#[derive(Default, Debug)]
struct Tally {
    not_serializable: usize,
    out_of_order: usize,
    not_serializable_at_a_site: usize,
    commits: usize,
    turns: usize,
    withheld: u64,
    stuck: usize,
}

impl World {
    fn new(seed: u64, rule: VoteRule, mode: Mode) -> Self {
        let mut rng = Rng::new(seed);
        let limit = rng.pick(&[0, 1, 8]);
        let sites = [0, 1].map(|_| Site::under(rule, limit));
        let mut clients = BTreeMap::new();
        for number in 1..=5 {
            let query = number == 5;
            let only = if number == 4 {
                Some(rng.below(2))
            } else {
                None
            };
            let mut program = Vec::new();
            for site in 0..2 {
                if only.is_none_or(|only| only == site) {
                    for _ in 0..=rng.below(2) {
                        program.push((site, act(&mut rng, query)));
                    }
                }
            }
            rng.shuffle(&mut program);
            let branch = |site: usize| Branch {
                txn: sites[site].begin(number),
                vote: None,
                stamp: None,
                turn: None,
            };
            let own: BTreeSet<usize> = program.iter().map(|(site, _)| *site).collect();
            let own = own.into_iter().filter(|_| !query);
            let branches = own.map(|site| (site, branch(site))).collect();
            let client = Client {
                query,
                program,
                next: 0,
                branches,
                decision: None,
                stamp: None,
                shown: BTreeMap::new(),
            };
            clients.insert(number, client);
        }
        Self {
            rng,
            mode,
            sites,
            clients,
            history: History::default(),
            stuck: 0,
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, client) in &self.clients {
            if client.query {
                if client.next < client.program.len() && self.may_query(client) {
                    events.push(Event::Operate(*number));
                }
                continue;
            }
            let branches = client.branches.iter();
            if client.decision.is_some() {
                let open = branches.filter(|(_, branch)| branch.txn.state().is_undecided());
                events.extend(open.map(|(site, _)| Event::Learn(*number, *site)));
                continue;
            }
            if let Some((site, _)) = client.program.get(client.next) {
                let turn = client.branches[site].turn.as_ref();
                let waits = turn.is_some_and(|turn| turn.peek().is_none());
                if !waits && self.is_unlocked(client) {
                    events.push(Event::Operate(*number));
                }
                continue;
            }
            if client
                .branches
                .values()
                .all(|branch| branch.stamp.is_some())
            {
                events.push(Event::Decide(*number));
            }
            for (site, branch) in branches {
                match &branch.vote {
                    None => events.push(Event::Prepare(*number, *site)),
                    Some(vote) if vote.peek() == Some(Vote::Yes) && branch.stamp.is_none() => {
                        events.push(Event::Stamp(*number, *site));
                    }
                    Some(_) => {}
                }
            }
        }
        events
    }

    /// Snapshot isolation needs write locks; commitment ordering does not.
    fn is_unlocked(&self, client: &Client) -> bool {
        let (index, act) = client.program[client.next];
        let site = &self.sites[index];
        match act {
            Act::Write(key, kind) if site.scheduler.rule() == VoteRule::LocalSnapshot => {
                site.is_free(&client.branches[&index].txn, key, kind)
            }
            Act::Write(..) | Act::Read(_) | Act::Scan(..) => true,
        }
    }

    /// Whether the query's next read need not wait, or has not been tried: only that raises the clock.
    fn may_query(&self, client: &Client) -> bool {
        let (site, act) = client.program[client.next];
        match (client.stamp, self.mode) {
            (Some(stamp), Mode::Stamped) if self.sites[site].queries.clock().now() >= stamp => {
                self.is_settled(site, act, stamp)
            }
            _ => true,
        }
    }

    fn is_settled(&self, site: usize, act: Act, stamp: Stamp) -> bool {
        let (low, high) = range(act);
        let site = &self.sites[site];
        let query = site.queries.begin(&site.scheduler, stamp).unwrap();
        query
            .settled(&site.versions, &low, high.as_ref())
            .is_settled()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Operate(number) if self.clients[&number].query => self.query(number),
            Event::Operate(number) => self.operate(number),
            Event::Prepare(number, site) => {
                let branch = self.branch(number, site);
                let txn = branch.txn.clone();
                let vote = self.sites[site].scheduler.request_vote(&txn);
                self.branch(number, site).vote = Some(vote);
            }
            Event::Stamp(number, site) => {
                let txn = self.branch(number, site).txn.clone();
                let stamp = self.sites[site].queries.vote(&txn).unwrap();
                self.branch(number, site).stamp = Some(stamp);
            }
            Event::Decide(number) => {
                let rank = self.history.committed.len();
                let client = self.clients.get_mut(&number).unwrap();
                let stamp = client
                    .branches
                    .values()
                    .filter_map(|branch| branch.stamp)
                    .max();
                client.decision = Some(Outcome::Commit);
                client.stamp = stamp;
                let stamp = stamp.unwrap().0;
                let rank = Some(rank);
                self.history.committed.insert(number, End { rank, stamp });
            }
            Event::Learn(number, site) => self.learn(number, site),
        }
        self.reap();
    }

    fn branch(&mut self, number: u32, site: usize) -> &mut Branch {
        let client = self.clients.get_mut(&number).unwrap();
        client.branches.get_mut(&site).unwrap()
    }

    fn learn(&mut self, number: u32, site: usize) {
        let client = &self.clients[&number];
        let txn = client.branches[&site].txn.clone();
        match client.decision.unwrap() {
            Outcome::Commit => self.sites[site].commit(&txn, client.stamp.unwrap()),
            Outcome::Abort => self.sites[site].abort(&txn),
        }
    }

    /// Who is doomed is undone at once, and so is the rest of it in time.
    fn reap(&mut self) {
        for site in 0..2 {
            for txn in self.sites[site].scheduler.take_doomed() {
                let number = Site::number(&txn);
                if txn.state().is_undecided() {
                    self.sites[site].abort(&txn);
                }
                let client = self.clients.get_mut(&number).unwrap();
                assert_ne!(client.decision, Some(Outcome::Commit), "I3: T{number}");
                client.decision = Some(Outcome::Abort);
            }
        }
    }

    fn operate(&mut self, number: u32) {
        let (site, act) = self.clients[&number].program[self.clients[&number].next];
        let branch = self.branch(number, site);
        let turn = branch.turn.take();
        let txn = branch.txn.clone();
        if let Some(Grant::Aborted(_)) = turn.and_then(|turn| turn.peek()) {
            return;
        }
        let done = match act {
            Act::Write(key, kind) => self.sites[site].change(&txn, key, kind).map(|()| None),
            Act::Read(key) => self.sites[site].read(&txn, key).map(|seen| match seen {
                Seen::Now(_) => {
                    // Reading is done; which version it was is asked of the snapshot.
                    None
                }
                Seen::After(turn) => Some(turn),
            }),
            Act::Scan(low, high) => self.sites[site]
                .scan(&txn, low, high)
                .map(|seen| match seen {
                    Seen::Now(_) => None,
                    Seen::After(turn) => Some(turn),
                }),
        };
        match done {
            Err(_) => {
                // Doomed, which `reap` finds.
                assert_ne!(txn.doomed(), None, "T{number} {act:?}");
            }
            Ok(Some(turn)) => self.branch(number, site).turn = Some(turn),
            Ok(None) => {
                if let Act::Read(_) | Act::Scan(..) = act {
                    let snapshot = self.sites[site].versions.snapshot(&txn);
                    if let Ok(snapshot) = snapshot {
                        let shows = |version: &crate::site::Version| {
                            version.position <= snapshot.position()
                        };
                        self.note(number, site, act, Some(&txn), shows);
                    }
                }
                self.clients.get_mut(&number).unwrap().next += 1;
            }
        }
    }

    fn query(&mut self, number: u32) {
        let client = &self.clients[&number];
        let (site, act) = client.program[client.next];
        match self.mode {
            Mode::Stamped => {
                let now = self.sites[site].queries.clock().now();
                let stamp = client.stamp.unwrap_or(now);
                self.clients.get_mut(&number).unwrap().stamp = Some(stamp);
                if !self.is_settled(site, act, stamp) {
                    return;
                }
                self.note(number, site, act, None, |version| version.stamp <= stamp);
            }
            Mode::Unsynchronised => {
                let newest = self.sites[site].versions.newest();
                let client = self.clients.get_mut(&number).unwrap();
                let position = *client.shown.entry(site).or_insert(newest);
                self.note(number, site, act, None, |version| {
                    version.position <= position
                });
            }
        }
        let client = self.clients.get_mut(&number).unwrap();
        client.next += 1;
        if client.next == client.program.len() {
            let stamp = client.stamp.unwrap_or_default().0;
            self.history
                .committed
                .insert(number, End { rank: None, stamp });
        }
    }

    /// Writes down whose versions a read saw, of keys that the reader has not written.
    fn note(
        &mut self,
        number: u32,
        site: usize,
        act: Act,
        txn: Option<&Txn>,
        shows: impl Fn(&crate::site::Version) -> bool,
    ) {
        let (low, high) = range(act);
        for key in KEYS {
            let within = low <= key && high.is_none_or(|high| key < high);
            let own = txn.is_some_and(|txn| self.sites[site].wrote(txn, key));
            if within && !own {
                let chain = self.sites[site].chains.get(&key).into_iter().flatten();
                let seen = chain.filter(|version| shows(version));
                let seen = seen.map(|version| version.writer).collect();
                self.history.reads.push((number, (site, key), seen));
            }
        }
    }

    fn run(mut self, tally: &mut Tally) {
        loop {
            let events = self.events();
            if !events.is_empty() {
                let event = self.rng.pick(&events);
                self.step(event);
                tally.turns += self
                    .clients
                    .values()
                    .flat_map(|client| client.branches.values())
                    .filter(|branch| branch.turn.is_some())
                    .count();
                continue;
            }
            let undecided =
                |(_, client): &(&u32, &Client)| !client.query && client.decision.is_none();
            let left: Vec<u32> = self
                .clients
                .iter()
                .filter(undecided)
                .map(|(n, _)| *n)
                .collect();
            if left.is_empty() {
                break;
            }
            // A voting deadlock: no site alone sees it. The coordinators abort one.
            self.stuck += 1;
            let victim = self.rng.pick(&left);
            self.clients.get_mut(&victim).unwrap().decision = Some(Outcome::Abort);
        }
        self.judge(tally);
    }

    fn judge(mut self, tally: &mut Tally) {
        for (index, site) in self.sites.iter_mut().enumerate() {
            tally.withheld += site.scheduler.statistics().withheld;
            site.close(&[]);
            for (key, chain) in &site.chains {
                let chain = chain.iter().map(|version| (version.writer, version.kind));
                self.history
                    .installed
                    .insert((index, *key), chain.collect());
            }
        }
        for client in self.clients.values() {
            let states = client.branches.values().map(|branch| branch.txn.state());
            let expected = match client.decision {
                Some(Outcome::Commit) => State::Committed,
                _ => State::Aborted,
            };
            assert!(states.into_iter().all(|state| state == expected));
        }
        tally.stuck += self.stuck;
        tally.commits += self.history.committed.len();
        tally.not_serializable += usize::from(!self.history.is_serializable());
        let alone = (0..2).all(|site| self.history.is_serializable_at(site));
        tally.not_serializable_at_a_site += usize::from(!alone);
        tally.out_of_order += usize::from(self.history.out_of_order().is_some());
    }
}

fn act(rng: &mut Rng, query: bool) -> Act {
    let key = rng.pick(&KEYS);
    match if query { rng.below(3) } else { rng.below(7) } {
        0 | 1 => Act::Read(key),
        2 => rng.pick(&[
            Act::Scan('a', None),
            Act::Scan('a', Some('c')),
            Act::Scan('b', Some('c')),
        ]),
        3 => Act::Read(key),
        4 => Act::Write(key, WriteKind::Increment),
        _ => Act::Write(key, WriteKind::Put),
    }
}

fn range(act: Act) -> (char, Option<char>) {
    match act {
        Act::Read(key) | Act::Write(key, _) => (key, char::from_u32(key as u32 + 1)),
        Act::Scan(low, high) => (low, high),
    }
}

fn tally(seeds: std::ops::Range<u64>, rule: VoteRule, mode: Mode) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let before = (tally.not_serializable, tally.out_of_order);
        World::new(seed, rule, mode).run(&mut tally);
        let good = (tally.not_serializable, tally.out_of_order) == before;
        let must_be = rule == VoteRule::Withhold && mode == Mode::Stamped;
        assert!(good || !must_be, "seed {seed} is not commitment ordered");
    }
    tally
}

#[test]
fn every_random_schedule_is_serial_in_the_order_of_its_decisions_and_stamps() {
    let tally = tally(0..6000, VoteRule::Withhold, Mode::Stamped);
    assert_eq!(tally.not_serializable + tally.out_of_order, 0, "{tally:?}");
    // Schedules in which nothing happens would prove nothing.
    assert!(tally.commits > 15_000, "{tally:?}");
    assert!(tally.turns > 100, "{tally:?}");
    assert!(tally.withheld > 1000, "{tally:?}");
    assert!(tally.stuck > 50, "{tally:?}");
}

#[test]
fn queries_without_a_common_stamp_are_not() {
    let tally = tally(0..3000, VoteRule::Withhold, Mode::Unsynchronised);
    assert!(tally.not_serializable > 0, "{tally:?}");
}

#[test]
fn schedules_without_the_edges_of_reads_are_not() {
    let tally = tally(0..500, VoteRule::DangerIgnoreReads, Mode::Stamped);
    assert!(tally.not_serializable > 0, "{tally:?}");
}

/// Under the rule of serializable snapshot isolation each site is serializable by itself, queries as of a stamp
/// left aside; the two together are not.
#[test]
fn snapshot_isolation_sites_are_serializable_one_by_one() {
    let mut tally = Tally::default();
    for seed in 0..4000 {
        let mut world = World::new(seed, VoteRule::LocalSnapshot, Mode::Stamped);
        world.clients.retain(|_, client| !client.query);
        world.run(&mut tally);
        assert_eq!(tally.not_serializable_at_a_site, 0, "seed {seed}");
    }
    assert!(tally.commits > 8_000, "{tally:?}");
    assert!(tally.not_serializable > 0, "{tally:?}");
}
