//! A site that keeps its whole conflict graph and votes by one of the rules that *commitment ordering* warns of, which
//! `co-core` does not offer; and by the right one, to see that it is the rule that fails.
//!
//! Invariants:
//! - B1 The site alone is serializable: an operation that closes a cycle in its graph, committed transactions included,
//!   aborts its transaction.
//! - B2 Nothing undecided is read or overwritten: whoever meets it is aborted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use co_core::{AbortReason, Gtid, Kind, Priority};
use participant::Key;

use crate::orders::{Orders, Ticket};

/// When such a site votes YES.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// When no direct predecessor is undecided, local or global.
    Withhold,
    /// Local transactions at once; global ones when no global transaction that precedes them *directly* is undecided.
    DirectOnly,
    /// Local transactions at once; global ones by the paths through local ones that there are *at the vote*. Paths that
    /// appear later are not looked for.
    PathsAtVote,
    /// When no neighbour has voted, although predecessors are undecided; those are aborted by the commit.
    Eager {
        /// A local transaction commits although one that it precedes is in doubt: "it commits first, so it is ordered".
        naive: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Asked,
    Voted,
    Committed,
    Aborted,
}

struct Node {
    kind: Kind,
    state: State,
}

struct Access {
    node: usize,
    key: Key,
    write: bool,
}

/// The graph of one site.
pub(crate) struct Book {
    rule: Rule,
    nodes: Vec<Node>,
    accesses: Vec<Access>,
    doomed: Vec<(usize, AbortReason)>,
}

enum Verdict {
    Yes,
    Wait,
    No,
}

impl Book {
    pub(crate) const fn new(rule: Rule) -> Self {
        Self {
            rule,
            nodes: Vec::new(),
            accesses: Vec::new(),
            doomed: Vec::new(),
        }
    }

    fn begin(&mut self, kind: Kind) -> usize {
        self.nodes.push(Node {
            kind,
            state: State::Open,
        });
        self.nodes.len() - 1
    }

    fn access(&mut self, node: usize, key: &Key, write: bool) -> Result<(), AbortReason> {
        let meets = |other: &Access| {
            other.node != node && other.key == *key && other.write && self.is_undecided(other.node)
        };
        if self.accesses.iter().any(meets) {
            return Err(AbortReason::Conflict);
        }
        self.accesses.push(Access {
            node,
            key: key.clone(),
            write,
        });
        if self.reach(node, |_| true)[node] {
            return Err(AbortReason::Cycle);
        }
        Ok(())
    }

    fn ask(&mut self, node: usize) {
        if self.nodes[node].state == State::Open {
            self.nodes[node].state = State::Asked;
        }
        self.settle();
    }

    fn has_voted(&self, node: usize) -> bool {
        self.nodes[node].state == State::Voted
    }

    fn end(&mut self, node: usize, commit: bool) {
        self.nodes[node].state = if commit {
            State::Committed
        } else {
            State::Aborted
        };
        if commit && matches!(self.rule, Rule::Eager { .. }) {
            for before in self.before(node) {
                self.doom(before, AbortReason::Overtaken);
            }
        }
        self.settle();
    }

    /// The global transactions that hold a vote up.
    fn blocked_by(&self, node: usize) -> Vec<(Gtid, Priority)> {
        let held = (0..self.nodes.len()).filter(|&other| {
            other != node
                && self.is_undecided(other)
                && (self.precedes(other, node) || self.precedes(node, other))
        });
        held.filter_map(|other| {
            self.nodes[other]
                .kind
                .gtid()
                .map(|gtid| (gtid, self.nodes[other].kind.priority()))
        })
        .collect()
    }

    fn doom(&mut self, node: usize, reason: AbortReason) {
        if matches!(self.nodes[node].state, State::Open | State::Asked) {
            self.nodes[node].state = State::Aborted;
            self.doomed.push((node, reason));
        }
    }

    /// Casts the votes that can be cast, oldest transaction first.
    fn settle(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].state != State::Asked {
                continue;
            }
            match self.verdict(node) {
                Verdict::Yes => self.nodes[node].state = State::Voted,
                Verdict::Wait => {}
                Verdict::No => self.doom(node, AbortReason::Overtaken),
            }
        }
    }

    fn verdict(&self, node: usize) -> Verdict {
        let local = self.nodes[node].kind.gtid().is_none();
        let in_doubt = |nodes: &[usize]| nodes.iter().any(|&other| self.has_voted(other));
        match self.rule {
            Rule::Withhold => wait_if(!self.before(node).is_empty()),
            Rule::DirectOnly | Rule::PathsAtVote if local => Verdict::Yes,
            Rule::DirectOnly => self.order_globals(node, |_| false),
            Rule::PathsAtVote => {
                self.order_globals(node, |inner| self.nodes[inner].kind.gtid().is_none())
            }
            Rule::Eager { naive } => {
                let after = self.after(node);
                wait_if(in_doubt(&self.before(node)) || (in_doubt(&after) && !(naive && local)))
            }
        }
    }

    /// Globals in the order of votes, along paths whose inner nodes are as said.
    fn order_globals(&self, node: usize, inner: impl Fn(usize) -> bool + Copy) -> Verdict {
        let global = |other: &usize| *other != node && self.nodes[*other].kind.gtid().is_some();
        let after = self.reach(node, inner);
        let mut globals = (0..self.nodes.len()).filter(global);
        if globals.any(|other| {
            after[other] && matches!(self.nodes[other].state, State::Voted | State::Committed)
        }) {
            return Verdict::No;
        }
        let mut globals = (0..self.nodes.len()).filter(global);
        wait_if(globals.any(|other| self.is_undecided(other) && self.reach(other, inner)[node]))
    }

    fn is_undecided(&self, node: usize) -> bool {
        match self.nodes[node].state {
            State::Open | State::Asked | State::Voted => true,
            State::Committed | State::Aborted => false,
        }
    }

    /// Its undecided direct predecessors.
    fn before(&self, node: usize) -> Vec<usize> {
        let others = (0..self.nodes.len())
            .filter(|&other| self.is_undecided(other) && self.precedes(other, node));
        others.collect()
    }

    /// Its undecided direct successors.
    fn after(&self, node: usize) -> Vec<usize> {
        let others = (0..self.nodes.len())
            .filter(|&other| self.is_undecided(other) && self.precedes(node, other));
        others.collect()
    }

    fn precedes(&self, one: usize, two: usize) -> bool {
        let counts = |node: usize| self.nodes[node].state != State::Aborted;
        one != two
            && counts(one)
            && counts(two)
            && self.accesses.iter().enumerate().any(|(place, first)| {
                let mut later = self.accesses[place..].iter();
                first.node == one
                    && later.any(|second| {
                        second.node == two
                            && second.key == first.key
                            && (first.write || second.write)
                    })
            })
    }

    /// Who is reached from a node by a path whose inner nodes are as said.
    fn reach(&self, from: usize, inner: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            for (next, reached) in reached.iter_mut().enumerate() {
                if !*reached && self.precedes(node, next) {
                    *reached = true;
                    if inner(next) {
                        open.push(next);
                    }
                }
            }
        }
        reached
    }
}

fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Orders for Mutex<Book> {
    fn name(&self) -> &'static str {
        "textbook"
    }

    fn begin(&self, kind: Kind) -> Ticket {
        open(self).begin(kind)
    }

    fn read(&self, txn: Ticket, key: &Key) -> Result<u64, AbortReason> {
        open(self).access(txn, key, false).map(|()| u64::MAX)
    }

    fn write(&self, txn: Ticket, key: &Key) -> Result<(), AbortReason> {
        open(self).access(txn, key, true)
    }

    fn ask(&self, txn: Ticket) {
        open(self).ask(txn);
    }

    fn has_voted(&self, txn: Ticket) -> bool {
        open(self).has_voted(txn)
    }

    fn abort(&self, txn: Ticket) {
        open(self).end(txn, false);
    }

    fn commit(&self, txn: Ticket, next: u64, install: &mut dyn FnMut(u64)) -> u64 {
        install(next);
        open(self).end(txn, true);
        next
    }

    fn take_doomed(&self) -> Vec<(Ticket, AbortReason)> {
        std::mem::take(&mut open(self).doomed)
    }

    fn blocked_by(&self, txn: Ticket) -> Vec<(Gtid, Priority)> {
        open(self).blocked_by(txn)
    }

    fn undecided(&self) -> usize {
        let book = open(self);
        (0..book.nodes.len())
            .filter(|&node| book.is_undecided(node))
            .count()
    }
}

const fn wait_if(held_up: bool) -> Verdict {
    if held_up { Verdict::Wait } else { Verdict::Yes }
}
