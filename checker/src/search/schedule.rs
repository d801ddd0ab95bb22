//! Builds an order of events that agrees with the graph, and that with luck explains every read.
//!
//! Events are taken as soon as all that must be before them have been. One that would overwrite a version before all of
//! its readers have come waits for them; if all wait, one goes anyway, and the order is only a start for the search.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::clocks::Graph;
use super::facts::{NONE, Source};
use super::problem::Problem;

/// An order of events that agrees with the graph.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The events.
    pub(super) order: Vec<u32>,
    /// How many did not wait as long as they should have.
    pub(super) hasty: usize,
}

/// For each event, how many events follow one another before it, less those after it.
pub(super) fn depths(graph: &Graph, order: &[u32]) -> Vec<i64> {
    let mut before = vec![0_i64; order.len()];
    for event in order {
        for (to, _) in graph.get(*event) {
            before[*to as usize] = before[*to as usize].max(before[*event as usize] + 1);
        }
    }
    let mut after = vec![0_i64; order.len()];
    for event in order.iter().rev() {
        for (to, _) in graph.get(*event) {
            after[*event as usize] = after[*event as usize].max(after[*to as usize] + 1);
        }
    }
    before
        .iter()
        .zip(&after)
        .map(|(before, after)| before - after)
        .collect()
}

/// Takes the events, those with low `urgency` first where there is a choice.
pub(super) fn schedule(problem: &Problem<'_>, graph: &Graph, urgency: &[i64]) -> Schedule {
    let mut run = Run::new(problem, graph, urgency);
    loop {
        while let Some(Reverse((urgency, event))) = run.ready.pop() {
            if let Some(key) = run.must_wait(event) {
                run.waiting[key as usize].push(event);
                run.blocked.insert((urgency, event));
            } else {
                run.take(event);
            }
        }
        let Some((_, event)) = run.blocked.pop_first() else {
            break;
        };
        run.hasty += 1;
        run.take(event);
    }
    Schedule {
        order: run.order,
        hasty: run.hasty,
    }
}

struct Run<'r> {
    problem: &'r Problem<'r>,
    graph: &'r Graph,
    urgency: &'r [i64],
    /// How many events must still come before each.
    missing: Vec<u32>,
    ready: BinaryHeap<Reverse<(i64, u32)>>,
    blocked: BTreeSet<(i64, u32)>,
    /// The events that wait for something of a key.
    waiting: Vec<Vec<u32>>,
    /// The slot that each key has now.
    current: Vec<u32>,
    /// The readers of each slot that have not come, and of the initial state of each key.
    unread: Vec<u32>,
    unread_initial: Vec<u32>,
    /// Who has begun and will write each key; only where a transaction is two events.
    writing: Vec<u32>,
    order: Vec<u32>,
    hasty: usize,
}

impl<'r> Run<'r> {
    fn new(problem: &'r Problem<'r>, graph: &'r Graph, urgency: &'r [i64]) -> Self {
        let events = problem.events();
        let mut missing = vec![0_u32; events as usize];
        for event in 0..events {
            for (to, _) in graph.get(event) {
                missing[*to as usize] += 1;
            }
        }
        let count =
            |list: &[u32]| u32::try_from(list.len()).expect("members are counted in 32 bits");
        let keys = problem.initial.len();
        let lists = |csr: &super::csr::Csr<u32>| {
            (0_u32..)
                .take(csr.len())
                .map(|list| count(csr.get(list)))
                .collect()
        };
        let ready = (0..events).filter(|event| missing[*event as usize] == 0);
        Self {
            ready: ready
                .map(|event| Reverse((urgency[event as usize], event)))
                .collect(),
            problem,
            graph,
            urgency,
            missing,
            blocked: BTreeSet::new(),
            waiting: vec![Vec::new(); keys],
            current: vec![NONE; keys],
            unread: lists(&problem.readers),
            unread_initial: lists(&problem.initial),
            writing: vec![NONE; keys],
            order: Vec::new(),
            hasty: 0,
        }
    }

    /// How many have yet to read the version that a key has now.
    fn unread(&self, key: u32) -> u32 {
        match self.current[key as usize] {
            NONE => self.unread_initial[key as usize],
            slot => self.unread[slot as usize],
        }
    }

    /// The key for which an event must wait.
    fn must_wait(&self, event: u32) -> Option<u32> {
        let problem = self.problem;
        let member = problem.member(event);
        let mut keys = problem
            .facts
            .slots_of(member)
            .map(|slot| problem.facts.slot(slot).key);
        if problem.split && event == problem.begin(member) {
            return keys.find(|key| self.writing[*key as usize] != NONE);
        }
        // Where a transaction is one event, it has not yet read what it overwrites itself.
        let reads_itself = |key: u32| {
            let current = match self.current[key as usize] {
                NONE => Source::Initial,
                slot => Source::Slot(slot),
            };
            let reads = problem.facts.reads.get(member);
            !problem.split
                && reads
                    .iter()
                    .any(|read| read.key == key && read.source == current)
        };
        keys.find(|key| self.unread(*key) > u32::from(self.unread(*key) == 1 && reads_itself(*key)))
    }

    fn take(&mut self, event: u32) {
        let problem = self.problem;
        let member = problem.member(event);
        self.order.push(event);
        if event == problem.begin(member) {
            for read in problem.facts.reads.get(member) {
                match read.source {
                    Source::Initial => self.unread_initial[read.key as usize] -= 1,
                    Source::Slot(slot) => self.unread[slot as usize] -= 1,
                    Source::Several | Source::Nothing => continue,
                }
                if self.unread(read.key) <= 1 {
                    self.wake(read.key);
                }
            }
        }
        for slot in problem.facts.slots_of(member) {
            let key = problem.facts.slot(slot).key;
            if event == problem.commit(member) {
                self.current[key as usize] = slot;
                self.writing[key as usize] = NONE;
                self.wake(key);
            } else {
                self.writing[key as usize] = member;
            }
        }
        for (to, _) in self.graph.get(event) {
            self.missing[*to as usize] -= 1;
            if self.missing[*to as usize] == 0 {
                self.ready.push(Reverse((self.urgency[*to as usize], *to)));
            }
        }
    }

    fn wake(&mut self, key: u32) {
        for event in std::mem::take(&mut self.waiting[key as usize]) {
            let urgency = self.urgency[event as usize];
            if self.blocked.remove(&(urgency, event)) {
                self.ready.push(Reverse((urgency, event)));
            }
        }
    }
}
