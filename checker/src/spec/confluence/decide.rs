//! The search for an invalid merge.
//!
//! States are kept once and go by number; a situation is a number for each replica and how many transactions each has
//! committed. Situations are visited by the number of transactions committed in all, so that the first invalid merge has
//! the fewest.
//!
//! - **D1** A situation is kept only if all its states are valid.
//! - **D2** A layer (situations with equally many transactions) is finished before the next begins. Transactions lead
//!   to the next layer, exchanges of states stay in theirs.
//! - **D3** Each pair of states is merged once, and each transaction is run once for each state and replica.
//!
//! Nothing is iterated in the order of a hash, so that the hash's secret never shows.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::application::{Application, Outcome, ReplicaId, commit};
use super::bounds::{Bounds, MAX_REPLICAS};
use super::laws;
use super::verdict::{Breach, Coverage, Law, TransactionUse, Verdict};
use super::witness::{Branch, Deed, Step, Witness};
use crate::hashing::Hashing;

/// On how many states, spread evenly over all that were met, every triple is tried for associativity.
const ASSOCIATIVE_STATES: usize = 24;

/// Decides whether the application is invariant confluent within the bounds (definition 6).
///
/// Takes time and memory for each situation, of which there are at most as many as the bounds allow.
///
/// # Panics
///
/// If the application itself panics.
#[must_use]
pub fn decide<A: Application + ?Sized>(application: &A, bounds: &Bounds) -> Verdict {
    let mut search = Search::new(application, *bounds);
    let end = search.run();
    if let Err(Stop::Breach(breach)) = end {
        return Verdict::Breach { breach };
    }
    let associative_on = match search.associative() {
        Ok(triples) => triples,
        Err(breach) => return Verdict::Breach { breach },
    };
    let coverage = search.coverage(associative_on);
    match end {
        Ok(()) => Verdict::Confluent { coverage },
        Err(Stop::Broken(witness)) => Verdict::NotConfluent { witness, coverage },
        Err(Stop::Full) => Verdict::Unknown { coverage },
        Err(Stop::Breach(breach)) => Verdict::Breach { breach },
    }
}

/// The number of a state.
type StateIndex = u32;
/// The number of a situation.
type NodeIndex = u32;

/// One state for each replica; numbers beyond the last replica are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Situation {
    states: [StateIndex; MAX_REPLICAS],
    committed: [u8; MAX_REPLICAS],
}

/// How a situation was first reached.
#[derive(Debug, Clone, Copy)]
enum Move {
    Start,
    Commit { at: u8, transaction: u32 },
    Receive { at: u8, from: u8 },
}

#[derive(Debug, Clone, Copy)]
struct Node {
    situation: Situation,
    parent: NodeIndex,
    how: Move,
}

/// What a transaction does to a state at a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    NotTried,
    Nothing,
    To(StateIndex),
}

/// Why a search ends early.
#[derive(Debug)]
enum Stop {
    Broken(Box<Witness>),
    Full,
    Breach(Breach),
}

impl From<Breach> for Stop {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

/// The merge of two states.
#[derive(Debug)]
enum Merged<S> {
    Valid(StateIndex),
    Invalid { state: S, broken: String },
}

struct Search<'a, A: Application + ?Sized> {
    application: &'a A,
    bounds: Bounds,
    states: Vec<Rc<A::State>>,
    index: HashMap<Rc<A::State>, StateIndex, Hashing>,
    /// By state, replica and transaction.
    effects: Vec<Effect>,
    merges: HashMap<(StateIndex, StateIndex), StateIndex, Hashing>,
    nodes: Vec<Node>,
    seen: HashSet<Situation, Hashing>,
    uses: Vec<TransactionUse>,
}

impl<'a, A: Application + ?Sized> Search<'a, A> {
    fn new(application: &'a A, bounds: Bounds) -> Self {
        let names = application.transactions().into_iter();
        Self {
            application,
            bounds,
            states: Vec::new(),
            index: HashMap::default(),
            effects: Vec::new(),
            merges: HashMap::default(),
            nodes: Vec::new(),
            seen: HashSet::default(),
            uses: names.map(unused).collect(),
        }
    }

    fn run(&mut self) -> Result<(), Stop> {
        let mut layer = Vec::new();
        self.begin(&mut layer)?;
        while !layer.is_empty() {
            let mut next = Vec::new();
            let mut visited = 0;
            while let Some(&node) = layer.get(visited) {
                visited += 1;
                self.examine(node)?;
                self.exchange(node, &mut layer)?;
                self.transact(node, &mut next)?;
            }
            layer = next;
        }
        Ok(())
    }

    /// The situations in which all replicas hold the same initial state.
    fn begin(&mut self, layer: &mut Vec<NodeIndex>) -> Result<(), Stop> {
        let initial = self.application.initial_states();
        if initial.is_empty() {
            return Err(breach(Law::HasInitialState, Vec::new(), Vec::new()));
        }
        for state in initial {
            if let Some(broken) = self.application.broken(&state) {
                let operands = vec![state.to_string()];
                return Err(breach(Law::InitialValid, operands, vec![broken]));
            }
            let number = self.intern(state)?;
            let mut states = [0; MAX_REPLICAS];
            states[..self.replicas()].fill(number);
            let situation = Situation {
                states,
                committed: [0; MAX_REPLICAS],
            };
            self.keep(situation, 0, Move::Start, layer)?;
        }
        Ok(())
    }

    /// Merges every two states of a situation (definition 6).
    fn examine(&mut self, node: NodeIndex) -> Result<(), Stop> {
        let states = self.nodes[node as usize].situation.states;
        for right in 1..self.replicas() {
            for left in 0..right {
                match self.merge(states[left], states[right])? {
                    Merged::Valid(_) => {}
                    Merged::Invalid { state, broken } => {
                        let witness = self.witness(node, left, right, &state, broken);
                        return Err(Stop::Broken(Box::new(witness)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets each replica receive the state of each other: situations of the same layer (D2).
    fn exchange(&mut self, node: NodeIndex, layer: &mut Vec<NodeIndex>) -> Result<(), Stop> {
        let situation = self.nodes[node as usize].situation;
        for at in 0..self.replicas() {
            for from in (0..self.replicas()).filter(|from| *from != at) {
                let merge = self.merge(situation.states[at], situation.states[from])?;
                let Merged::Valid(merged) = merge else {
                    unreachable!("D1: the pairs of a situation are examined before it goes on");
                };
                if merged == situation.states[at] {
                    continue;
                }
                let mut next = situation;
                next.states[at] = merged;
                let how = Move::Receive {
                    at: small(at),
                    from: small(from),
                };
                self.keep(next, node, how, layer)?;
            }
        }
        Ok(())
    }

    /// Runs each transaction at each replica: situations of the next layer (D2).
    fn transact(&mut self, node: NodeIndex, layer: &mut Vec<NodeIndex>) -> Result<(), Stop> {
        let situation = self.nodes[node as usize].situation;
        for at in 0..self.replicas() {
            if situation.committed[at] == self.bounds.transactions_each() {
                continue;
            }
            for transaction in 0..self.uses.len() {
                let effect = self.effect(situation.states[at], at, transaction)?;
                let Effect::To(state) = effect else {
                    continue;
                };
                let mut next = situation;
                next.states[at] = state;
                next.committed[at] += 1;
                let how = Move::Commit {
                    at: small(at),
                    transaction: number(transaction),
                };
                self.keep(next, node, how, layer)?;
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        situation: Situation,
        parent: NodeIndex,
        how: Move,
        layer: &mut Vec<NodeIndex>,
    ) -> Result<(), Stop> {
        if !self.seen.insert(situation) {
            return Ok(());
        }
        if self.nodes.len() == self.bounds.max_situations() as usize {
            return Err(Stop::Full);
        }
        layer.push(number(self.nodes.len()));
        self.nodes.push(Node {
            situation,
            parent,
            how,
        });
        Ok(())
    }

    /// What a transaction does, tried once (D3).
    fn effect(
        &mut self,
        state: StateIndex,
        at: usize,
        transaction: usize,
    ) -> Result<Effect, Breach> {
        let slot = (state as usize * self.replicas() + at) * self.uses.len() + transaction;
        if self.effects[slot] == Effect::NotTried {
            self.effects[slot] = self.attempt(state, ReplicaId(small(at)), transaction)?;
        }
        Ok(self.effects[slot])
    }

    fn attempt(
        &mut self,
        state: StateIndex,
        at: ReplicaId,
        transaction: usize,
    ) -> Result<Effect, Breach> {
        let before = Rc::clone(&self.states[state as usize]);
        let used = &mut self.uses[transaction];
        match commit(self.application, transaction, &*before, at) {
            Outcome::AbortedItself => used.aborted_itself += 1,
            Outcome::Refused(_) => used.refused += 1,
            Outcome::Committed(after) if after == *before => used.unchanged += 1,
            Outcome::Committed(after) => {
                used.committed += 1;
                laws::growing(&*before, &after)?;
                return self.intern(after).map(Effect::To);
            }
        }
        Ok(Effect::Nothing)
    }

    /// The merge of two valid states, made once if it is valid (D3).
    fn merge(&mut self, one: StateIndex, other: StateIndex) -> Result<Merged<A::State>, Breach> {
        if one == other {
            return Ok(Merged::Valid(one));
        }
        let pair = (one.min(other), one.max(other));
        if let Some(merged) = self.merges.get(&pair) {
            return Ok(Merged::Valid(*merged));
        }
        let state = laws::join(
            &*self.states[pair.0 as usize],
            &*self.states[pair.1 as usize],
        )?;
        if let Some(known) = self.index.get(&state) {
            self.merges.insert(pair, *known);
            return Ok(Merged::Valid(*known));
        }
        if let Some(broken) = self.application.broken(&state) {
            return Ok(Merged::Invalid { state, broken });
        }
        let merged = self.intern(state)?;
        self.merges.insert(pair, merged);
        Ok(Merged::Valid(merged))
    }

    /// The number of a valid state.
    fn intern(&mut self, state: A::State) -> Result<StateIndex, Breach> {
        if let Some(known) = self.index.get(&state) {
            return Ok(*known);
        }
        laws::idempotent(&state)?;
        let new = number(self.states.len());
        let state = Rc::new(state);
        self.states.push(Rc::clone(&state));
        self.index.insert(state, new);
        let slots = self.states.len() * self.replicas() * self.uses.len();
        self.effects.resize(slots, Effect::NotTried);
        Ok(new)
    }

    /// Tries the merge on all triples of some states; gives the number of triples.
    fn associative(&self) -> Result<u64, Breach> {
        let count = self.states.len().min(ASSOCIATIVE_STATES);
        let spread = |it: usize| &*self.states[it * self.states.len() / count];
        let mut triples = 0;
        for third in 0..count {
            for second in 0..third {
                for first in 0..second {
                    laws::associative(spread(first), spread(second), spread(third))?;
                    triples += 1;
                }
            }
        }
        Ok(triples)
    }

    fn coverage(&self, associative_on: u64) -> Coverage {
        Coverage {
            bounds: self.bounds,
            states: self.states.len() as u64,
            pairs: self.merges.len() as u64,
            situations: self.nodes.len() as u64,
            associative_on,
            transactions: self.uses.clone(),
        }
    }

    fn replicas(&self) -> usize {
        usize::from(self.bounds.replicas())
    }
}

/// Telling a witness.
impl<A: Application + ?Sized> Search<'_, A> {
    fn witness(
        &self,
        node: NodeIndex,
        left: usize,
        right: usize,
        merged: &A::State,
        broken: String,
    ) -> Witness {
        let path = self.path(node);
        let agree = |it: &NodeIndex| {
            let states = self.nodes[*it as usize].situation.states;
            states[left] == states[right]
        };
        let ancestor = path
            .iter()
            .rposition(agree)
            .expect("all replicas begin with the same state");
        let agreed = self.nodes[path[ancestor] as usize].situation.states[left];
        let agreed = &*self.states[agreed as usize];
        let (reached_by, meanwhile) = self.past_of(&path[..=ancestor], left, right);
        let mut after = meanwhile;
        after.extend(path[ancestor + 1..].iter().filter_map(|it| self.step(*it)));
        let last = self.nodes[node as usize].situation;
        let held = |replica: usize| &*self.states[last.states[replica] as usize];
        let branch = |replica: usize| Branch {
            replica: small(replica),
            steps: of_replica(&after, replica),
            state: self.application.describe(held(replica), Some(agreed)),
        };
        let others = (0..self.replicas()).filter(|it| *it != left && *it != right);
        Witness {
            transactions: last.committed.iter().copied().map(usize::from).sum(),
            reached_by,
            ancestor: self.application.describe(agreed, None),
            left: branch(left),
            right: branch(right),
            others: others
                .map(branch)
                .filter(|branch| !branch.steps.is_empty())
                .collect(),
            merged: self.application.describe(merged, Some(agreed)),
            broken,
        }
    }

    /// The steps to a situation: those that led two replicas to their states, and those that had no part in it.
    fn past_of(&self, path: &[NodeIndex], left: usize, right: usize) -> (Vec<Step>, Vec<Step>) {
        let mut involved = [false; MAX_REPLICAS];
        involved[left] = true;
        involved[right] = true;
        let (mut part, mut rest) = (Vec::new(), Vec::new());
        for step in path.iter().rev().filter_map(|it| self.step(*it)) {
            if !involved[usize::from(step.replica)] {
                rest.push(step);
                continue;
            }
            if let Deed::ReceivesFrom(from) = step.deed {
                involved[usize::from(from)] = true;
            }
            part.push(step);
        }
        part.reverse();
        rest.reverse();
        (part, rest)
    }

    /// From the first situation to this one.
    fn path(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let mut path = vec![node];
        let mut last = node;
        while !matches!(self.nodes[last as usize].how, Move::Start) {
            last = self.nodes[last as usize].parent;
            path.push(last);
        }
        path.reverse();
        path
    }

    fn step(&self, node: NodeIndex) -> Option<Step> {
        let (replica, deed) = match self.nodes[node as usize].how {
            Move::Start => return None,
            Move::Commit { at, transaction } => {
                let name = self.uses[transaction as usize].name.clone();
                (at, Deed::Commits(name))
            }
            Move::Receive { at, from } => (at, Deed::ReceivesFrom(from)),
        };
        Some(Step { replica, deed })
    }
}

fn of_replica(steps: &[Step], replica: usize) -> Vec<Step> {
    let there = |step: &&Step| usize::from(step.replica) == replica;
    steps.iter().filter(there).cloned().collect()
}

fn unused(name: String) -> TransactionUse {
    TransactionUse {
        name,
        committed: 0,
        unchanged: 0,
        aborted_itself: 0,
        refused: 0,
    }
}

const fn breach(law: Law, operands: Vec<String>, results: Vec<String>) -> Stop {
    Stop::Breach(Breach {
        law,
        operands,
        results,
    })
}

fn small(replica: usize) -> u8 {
    u8::try_from(replica).expect("a search has at most 4 replicas")
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("the cap on situations keeps all numbers below 2^32")
}
