//! The oracle: what the scheduler should answer, computed from the log of events by definition. It keeps
//! nothing between two questions; every question replays the whole log.

use std::collections::{BTreeMap, BTreeSet};

use co_core::{LockPolicy, Outcome};

use crate::script::{Act, Op};
use crate::world::Mode;

/// What happened, as the oracle is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// An operation was executed or, in a lock mode, asked for.
    Operation(Op),
    /// What a multi-version engine reported: it alone knows the versions.
    Edges(Vec<(u32, u32)>),
    Request(u32),
    End(u32, Outcome),
    /// The scheduler broke a cycle here; checked with [`Model::explains`] before it is believed.
    Victim(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Working,
    Withheld,
    Doomed,
    Voted,
    Ended(Outcome),
}

impl Standing {
    fn is_undecided(self) -> bool {
        !matches!(self, Self::Ended(_))
    }

    fn is_unvoted(self) -> bool {
        matches!(self, Self::Working | Self::Withheld | Self::Doomed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tie {
    Order,
    Data,
    /// Into a transaction that had voted.
    Overtaken,
}

#[derive(Debug)]
pub(crate) struct Model {
    mode: Mode,
    pub(crate) standing: BTreeMap<u32, Standing>,
    edges: Vec<(u32, u32, Tie)>,
    operations: Vec<Op>,
    /// Pairs of lock requests, by index in `operations`: the first goes before the second.
    before: BTreeSet<(usize, usize)>,
    /// Those of them in which the first waited and the second would have been granted at once: it waits too,
    /// whatever the matrix says.
    behind: BTreeSet<(usize, usize)>,
    admitted: Vec<u32>,
    clock: usize,
    voted_at: BTreeMap<u32, usize>,
    ended_at: BTreeMap<u32, usize>,
}

impl Model {
    pub(crate) fn replay(mode: Mode, count: u32, log: &[Event]) -> Self {
        let mut model = Self {
            mode,
            standing: (1..=count)
                .map(|number| (number, Standing::Working))
                .collect(),
            edges: Vec::new(),
            operations: Vec::new(),
            before: BTreeSet::new(),
            behind: BTreeSet::new(),
            admitted: Vec::new(),
            clock: 0,
            voted_at: BTreeMap::new(),
            ended_at: BTreeMap::new(),
        };
        for event in log {
            model.clock += 1;
            model.apply(event);
            model.cast_votes();
        }
        model
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Operation(op) => match self.mode {
                Mode::Dirty => self.dirty(op),
                Mode::Locks(policy) => self.lock(policy, op),
                Mode::Optimistic | Mode::Versions => self.operations.push(op.clone()),
            },
            Event::Edges(edges) => {
                for (from, to) in edges {
                    self.edge(*from, *to, false);
                }
            }
            Event::Request(number) => {
                self.standing.insert(*number, Standing::Withheld);
                if self.mode == Mode::Optimistic {
                    self.admit(*number);
                }
            }
            Event::End(number, outcome) => self.end(*number, *outcome),
            Event::Victim(number) => {
                self.standing.insert(*number, Standing::Doomed);
            }
        }
        self.fall();
    }

    /// Whoever has read what a doomed or aborted transaction wrote is doomed.
    fn fall(&mut self) {
        while let Some(reader) = self.edges.iter().find_map(|edge| self.falls(edge)) {
            self.standing.insert(reader, Standing::Doomed);
        }
    }

    fn falls(&self, (from, to, tie): &(u32, u32, Tie)) -> Option<u32> {
        let source = self.standing[from];
        let gone = matches!(source, Standing::Doomed | Standing::Ended(Outcome::Abort));
        let stands = self.standing[to].is_unvoted() && self.standing[to] != Standing::Doomed;
        (*tie == Tie::Data && gone && stands).then_some(*to)
    }

    fn edge(&mut self, from: u32, to: u32, data: bool) {
        let tie = match (self.standing[&from], self.standing[&to]) {
            (from_stands, Standing::Ended(Outcome::Commit)) => {
                if from_stands.is_unvoted() {
                    self.standing.insert(from, Standing::Doomed);
                }
                return;
            }
            (Standing::Ended(_), _) | (_, Standing::Ended(Outcome::Abort)) => return,
            (_, Standing::Voted) => Tie::Overtaken,
            _ if data => Tie::Data,
            _ => Tie::Order,
        };
        self.edges.push((from, to, tie));
    }

    fn dirty(&mut self, op: &Op) {
        for earlier in self.operations.clone() {
            if earlier.conflicts(op) && self.standing[&earlier.txn].is_undecided() {
                self.edge(
                    earlier.txn,
                    op.txn,
                    earlier.act.changes() && op.act == Act::Read,
                );
            }
        }
        self.operations.push(op.clone());
    }

    /// Every pair of requests for one item has an order: that of arrival, except that a transaction which
    /// holds something on the item goes before those that wait there.
    fn lock(&mut self, policy: LockPolicy, op: &Op) {
        let own = |other: &Op| other.txn == op.txn && other.item == op.item;
        let held: Vec<_> = (0..self.operations.len())
            .filter(|index| own(&self.operations[*index]) && self.is_granted(*index))
            .map(|index| self.operations[index].act)
            .collect();
        if held.contains(&op.act) || held.contains(&Act::Write) {
            return;
        }
        let new = self.operations.len();
        let others: Vec<_> = (0..new).filter(|index| self.rivals(*index, op)).collect();
        for other in others {
            let passes = !held.is_empty() && !self.is_granted(other);
            let pair = if passes { (new, other) } else { (other, new) };
            self.before.insert(pair);
            let rival = self.operations[other].clone();
            let (first, second) = if passes { (op, &rival) } else { (&rival, op) };
            if policy == LockPolicy::Sco && first.act == Act::Read && second.act.changes() {
                self.edge(first.txn, second.txn, false);
            }
        }
        self.operations.push(op.clone());
        if held.is_empty() && self.is_granted(new) {
            let waiting = |(first, second): &&(usize, usize)| {
                let conflicts = self.operations[*first].conflicts(op);
                *second == new && conflicts && !self.is_granted(*first)
            };
            let behind: Vec<_> = self.before.iter().filter(waiting).copied().collect();
            self.behind.extend(behind);
        }
    }

    fn rivals(&self, index: usize, op: &Op) -> bool {
        let other = &self.operations[index];
        other.item == op.item && other.txn != op.txn && self.standing[&other.txn].is_undecided()
    }

    /// The undecided transactions that the lock request at `index` waits for.
    fn lock_waits(&self, index: usize) -> BTreeSet<u32> {
        let Mode::Locks(policy) = self.mode else {
            return BTreeSet::new();
        };
        let request = &self.operations[index];
        let earlier = self.before.iter().filter(|(_, second)| *second == index);
        earlier
            .filter(|pair| {
                let first = &self.operations[pair.0];
                let overtakes =
                    policy == LockPolicy::Sco && first.act == Act::Read && request.act.changes();
                first.conflicts(request) && (!overtakes || self.behind.contains(pair))
            })
            .map(|(first, _)| self.operations[*first].txn)
            .filter(|txn| self.standing[txn].is_undecided())
            .collect()
    }

    fn is_granted(&self, index: usize) -> bool {
        self.lock_waits(index).is_empty()
    }

    /// Whether a lock request of `number` waits.
    pub(crate) fn waits_for_lock(&self, number: u32) -> bool {
        let mut requests =
            (0..self.operations.len()).filter(|index| self.operations[*index].txn == number);
        self.standing[&number].is_undecided() && requests.any(|index| !self.is_granted(index))
    }

    /// The validator's table, read off the operations of everybody admitted.
    fn admit(&mut self, number: u32) {
        let of = |number: u32| -> Vec<Op> {
            self.operations
                .iter()
                .filter(|op| op.txn == number)
                .cloned()
                .collect()
        };
        let own = of(number);
        let mut edges = BTreeSet::new();
        for other in self
            .admitted
            .iter()
            .filter(|other| self.standing[other].is_undecided())
        {
            for theirs in of(*other) {
                for op in own.iter().filter(|op| op.conflicts(&theirs)) {
                    let reads = op.act == Act::Read;
                    edges.insert(if reads {
                        (number, *other)
                    } else {
                        (*other, number)
                    });
                }
            }
        }
        for (from, to) in edges {
            self.edge(from, to, false);
        }
        self.admitted.push(number);
    }

    fn end(&mut self, number: u32, outcome: Outcome) {
        self.standing.insert(number, Standing::Ended(outcome));
        self.ended_at.insert(number, self.clock);
        let dooms = |(from, to, tie): &(u32, u32, Tie)| match (tie, outcome) {
            (Tie::Overtaken, Outcome::Commit) => (*to == number).then_some(*from),
            _ => None,
        };
        let doomed: Vec<_> = self.edges.iter().filter_map(dooms).collect();
        for txn in doomed {
            if self.standing[&txn].is_unvoted() {
                self.standing.insert(txn, Standing::Doomed);
            }
        }
    }

    /// PRED: the undecided transactions that `number` must outwait.
    fn predecessors(&self, number: u32) -> BTreeSet<u32> {
        let by_edge = self.edges.iter().filter_map(|(from, to, tie)| match tie {
            Tie::Order | Tie::Data => (*to == number).then_some(*from),
            Tie::Overtaken => (*from == number).then_some(*to),
        });
        let requests =
            (0..self.operations.len()).filter(|index| self.operations[*index].txn == number);
        let by_lock = requests.flat_map(|index| self.lock_waits(index));
        by_edge
            .chain(by_lock)
            .filter(|txn| self.standing[txn].is_undecided())
            .collect()
    }

    /// Rule WITHHOLD.
    fn cast_votes(&mut self) {
        for number in self.standing.keys().copied().collect::<Vec<_>>() {
            if self.standing[&number] == Standing::Withheld && self.predecessors(number).is_empty()
            {
                self.standing.insert(number, Standing::Voted);
                self.voted_at.insert(number, self.clock);
            }
        }
    }

    /// Whom `start` reaches, among the undecided and not doomed that `admits`; not `start` itself unless by
    /// a cycle.
    fn reachable(&self, start: u32, admits: impl Fn(u32) -> bool) -> BTreeSet<u32> {
        let mut reached = BTreeSet::new();
        let mut stack = vec![start];
        while let Some(from) = stack.pop() {
            for to in self.standing.keys().copied() {
                let alive =
                    self.standing[&to].is_unvoted() && self.standing[&to] != Standing::Doomed;
                if alive
                    && admits(to)
                    && self.predecessors(to).contains(&from)
                    && reached.insert(to)
                {
                    stack.push(to);
                }
            }
        }
        reached
    }

    pub(crate) fn is_on_cycle(&self, number: u32) -> bool {
        self.standing[&number] != Standing::Doomed
            && self.reachable(number, |_| true).contains(&number)
    }

    /// Whether some cycle consists of transactions that all wait.
    pub(crate) fn has_deadlock(&self) -> bool {
        let waits = |txn| self.standing[&txn] == Standing::Withheld || self.waits_for_lock(txn);
        let mut waiting = self.standing.keys().copied().filter(|txn| waits(*txn));
        waiting.any(|txn| {
            self.standing[&txn] != Standing::Doomed && self.reachable(txn, waits).contains(&txn)
        })
    }

    /// Whether there is a cycle through `requester` of which `victim` is the youngest.
    pub(crate) fn explains(&self, requester: u32, victim: u32) -> bool {
        let older = |txn| txn <= victim;
        let there = requester == victim || self.reachable(requester, older).contains(&victim);
        requester <= victim && there && self.reachable(victim, older).contains(&requester)
    }

    /// I2: no edge between two voted transactions.
    pub(crate) fn voted_are_antichain(&self) -> bool {
        let voted = |txn: &u32| self.standing[txn] == Standing::Voted;
        self.edges
            .iter()
            .all(|(from, to, _)| !(voted(from) && voted(to)))
    }

    /// I1: of each edge between committed transactions, the earlier one was decided before the later voted
    /// (at the same event, when that decision released the vote).
    pub(crate) fn commits_in_order(&self) -> bool {
        let committed = |txn: &u32| self.standing[txn] == Standing::Ended(Outcome::Commit);
        let edges = self
            .edges
            .iter()
            .filter(|(from, to, _)| committed(from) && committed(to));
        edges
            .into_iter()
            .all(|(from, to, _)| self.ended_at[from] <= self.voted_at[to])
    }
}
