//! Visiting every state of a world, breadth first.
//!
//! A state is kept as ten numbers: each of its parts (a coordinator with its log, a site, a link...) is
//! kept once, however many states share it, and compared as a whole, so that no two parts are ever
//! taken for one. Of the states that have been left only 128 bits of a hash are kept, and the step by
//! which each was first met (12 bytes): the first broken rule that is found is at the end of a shortest
//! path, which is printed as a transcript.
//!
//! A general model checker would serve no better: its actions are closures over one global state, which
//! it clones and hashes as a whole, so that the sharing of parts that makes these worlds fit into memory
//! would have to be built beside it; it knows no persistent sets; and transcripts would still be ours.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::rules::Met;
use super::steps::Step;
use super::{Desk, Link, Outside, PeerLink, Plan, SITES, Site, State};

const PARTS: usize = 10;

/// A state, as the numbers of its parts.
type Key = [u32; PARTS];

/// Each part once.
struct Parts<T> {
    numbers: HashMap<Rc<T>, u32>,
    all: Vec<Rc<T>>,
}

impl<T: Hash + Eq> Parts<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            all: Vec::new(),
        }
    }

    fn number(&mut self, part: &Rc<T>) -> u32 {
        if let Some(&known) = self.numbers.get(part) {
            return known;
        }
        let number = u32::try_from(self.all.len()).expect("fewer than 2^32 parts");
        self.numbers.insert(Rc::clone(part), number);
        self.all.push(Rc::clone(part));
        number
    }

    /// The part's number, which is known if the part is the one before it.
    fn number_after(&mut self, part: &Rc<T>, before: Option<(&Rc<T>, u32)>) -> u32 {
        match before {
            Some((before, known)) if Rc::ptr_eq(before, part) => known,
            _ => self.number(part),
        }
    }

    fn get(&self, number: u32) -> &Rc<T> {
        &self.all[number as usize]
    }
}

struct Memory {
    plan: Rc<Plan>,
    desks: Parts<Desk>,
    sites: Parts<Site>,
    links: Parts<Link>,
    peers: Parts<PeerLink>,
    outside: Parts<Outside>,
}

impl Memory {
    fn new(plan: Rc<Plan>) -> Self {
        Self {
            plan,
            desks: Parts::new(),
            sites: Parts::new(),
            links: Parts::new(),
            peers: Parts::new(),
            outside: Parts::new(),
        }
    }

    /// The state's numbers; those of parts that `before` has too are known.
    fn key(&mut self, state: &State, before: Option<(&State, &Key)>) -> Key {
        let mut key = [0; PARTS];
        let desks = state.desks.len();
        for (it, desk) in state.desks.iter().enumerate() {
            let known = before.map(|(state, key)| (&state.desks[it], key[it]));
            key[it] = self.desks.number_after(desk, known);
        }
        for it in 0..SITES {
            let known = before.map(|(state, key)| (&state.sites[it], key[2 + it]));
            key[2 + it] = self.sites.number_after(&state.sites[it], known);
        }
        for it in 0..desks * SITES {
            let known = before.map(|(state, key)| (&state.links[it], key[4 + it]));
            key[4 + it] = self.links.number_after(&state.links[it], known);
        }
        let known = before.map(|(state, key)| (&state.peers, key[8]));
        key[8] = self.peers.number_after(&state.peers, known);
        let known = before.map(|(state, key)| (&state.outside, key[9]));
        key[9] = self.outside.number_after(&state.outside, known);
        key
    }

    fn state(&self, key: &Key) -> State {
        let desks = self.plan.desks();
        State {
            plan: Rc::clone(&self.plan),
            desks: (0..desks)
                .map(|it| Rc::clone(self.desks.get(key[it])))
                .collect(),
            sites: (0..SITES)
                .map(|it| Rc::clone(self.sites.get(key[2 + it])))
                .collect(),
            links: (0..desks * SITES)
                .map(|it| Rc::clone(self.links.get(key[4 + it])))
                .collect(),
            peers: Rc::clone(self.peers.get(key[8])),
            outside: Rc::clone(self.outside.get(key[9])),
            violation: None,
            met: Met::default(),
            trace: None,
        }
    }

    fn parts(&self) -> usize {
        self.desks.all.len() + self.sites.all.len() + self.links.all.len()
    }
}

/// The values are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole numbers are hashed");
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value >> 64).expect("64 bits are left");
    }
}

fn fingerprint(key: &Key) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// The longest of the shortest paths.
    pub(crate) depth: usize,
    pub(crate) met: Met,
    /// For each way of ending, in how many last states: `C` is a commit, `a` an abort.
    pub(crate) ends: BTreeMap<String, usize>,
}

/// A rule was broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: String,
    /// How many states had been visited.
    pub(crate) states: usize,
    /// A shortest path to it, as a transcript.
    pub(crate) transcript: String,
}

/// How to go about it.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    pub(crate) reduced: bool,
    /// Stops at the first state in which this is met, and shows the path to it.
    pub(crate) until: Option<Met>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            reduced: true,
            until: None,
        }
    }
}

struct Progress {
    shown: bool,
    since: Instant,
    last: Instant,
}

impl Progress {
    fn new() -> Self {
        Self {
            shown: std::env::var_os("COCO_EXPLORE_PROGRESS").is_some(),
            since: Instant::now(),
            last: Instant::now(),
        }
    }

    fn show(&mut self, explored: &Explored, open: usize, parts: usize) {
        if self.shown && self.last.elapsed() >= Duration::from_secs(3) {
            self.last = Instant::now();
            let rate = explored.states as f64 / self.since.elapsed().as_secs_f64();
            eprintln!(
                "{} states, {open} open, depth {}, {parts} parts, {rate:.0} states/s",
                explored.states, explored.depth
            );
        }
    }
}

/// Visits every state of the world; `Err` holds the first broken rule.
pub(crate) fn explore(plan: Plan, search: Search) -> Result<Explored, Broken> {
    let first = State::start(plan);
    let mut memory = Memory::new(Rc::clone(&first.plan));
    let mut explored = Explored::default();
    let mut progress = Progress::new();
    let key = memory.key(&first, None);
    let mut seen: HashSet<u128, BuildHasherDefault<AsIs>> = HashSet::default();
    seen.insert(fingerprint(&key));
    let mut trail: Vec<(u32, Option<Step>)> = vec![(0, None)];
    let mut open = vec![(key, 0)];
    while !open.is_empty() {
        let mut next = Vec::new();
        for (key, at) in open.drain(..) {
            explored.states += 1;
            progress.show(&explored, next.len(), memory.parts());
            let state = memory.state(&key);
            let (steps, rests) = state.steps(search.reduced);
            if rests {
                match heal(state.clone()) {
                    Ok((end, met)) => {
                        *explored.ends.entry(end).or_default() += 1;
                        explored.met |= met;
                    }
                    Err(rule) => return Err(broken(rule, &explored, &first, &trail, at, None)),
                }
            }
            for step in steps {
                let mut then = state.clone();
                let taken = catch_unwind(AssertUnwindSafe(|| then.take(step)));
                explored.met |= then.met();
                let until = search.until.is_some_and(|it| then.met().contains(it));
                let rule = match taken {
                    Ok(()) if until => Some(format!("met: {:?}", then.met())),
                    Ok(()) => then.violation.clone(),
                    Err(panic) => Some(panicked(&*panic)),
                };
                if let Some(rule) = rule {
                    return Err(broken(
                        rule,
                        &explored,
                        &first,
                        &trail,
                        at,
                        Some((step, until)),
                    ));
                }
                let then = memory.key(&then, Some((&state, &key)));
                if seen.insert(fingerprint(&then)) {
                    let from = u32::try_from(at).expect("fewer than 2^32 states");
                    trail.push((from, Some(step)));
                    next.push((then, trail.len() - 1));
                }
            }
        }
        open = next;
        explored.depth += usize::from(!open.is_empty());
    }
    Ok(explored)
}

fn heal(mut state: State) -> Result<(String, Met), String> {
    let healed = catch_unwind(AssertUnwindSafe(|| state.heal()));
    let end = healed.unwrap_or_else(|panic| Err(panicked(&*panic)))?;
    Ok((end, state.met()))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
    format!("a machine stops: {}", text.unwrap_or_default())
}

fn broken(
    rule: String,
    explored: &Explored,
    first: &State,
    trail: &[(u32, Option<Step>)],
    mut at: usize,
    last: Option<(Step, bool)>,
) -> Broken {
    let mut steps: Vec<Step> = last.map(|it| it.0).into_iter().collect();
    while let (before, Some(step)) = trail[at] {
        steps.push(step);
        at = before as usize;
    }
    steps.reverse();
    Broken {
        transcript: transcript(first, &steps, last.is_none_or(|(_, heals)| heals)),
        states: explored.states,
        rule,
    }
}

/// What happens on a path, in words, and while the world heals after it.
pub(crate) fn transcript(first: &State, steps: &[Step], heals: bool) -> String {
    let mut state = first.clone();
    let mut text = String::new();
    for &step in steps {
        text += &format!("> {}\n", state.words(step));
        tell(&mut state, &mut text, |it| it.take(step));
    }
    if heals {
        text += "# What follows if nothing more goes wrong:\n";
        tell(&mut state, &mut text, |it| drop(it.heal()));
    }
    text
}

fn tell(state: &mut State, text: &mut String, happens: impl FnOnce(&mut State)) {
    state.trace = Some(Vec::new());
    let stopped = catch_unwind(AssertUnwindSafe(|| happens(state)));
    for line in state.trace.take().unwrap_or_default() {
        *text += &format!("{line}\n");
    }
    if stopped.is_err() {
        *text += "a machine stops\n";
    }
}
