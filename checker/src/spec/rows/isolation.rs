//! Isolation levels of transactions (Complete CALM, section 7.1; Bailis et al., "Highly available transactions").
//!
//! A process is a session: it runs transactions one after another, each ended by a commit, which may be refused. Every
//! write writes a value of its own, so that a read says which write it saw. Outcomes are sets of facts under inclusion:
//! what committed, and what was read and written.

use std::collections::BTreeSet;

use super::super::history::{Event, EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Program, Universe};
use super::Row;
use super::answers::choices;

const SOURCE: &str = "Complete CALM, section 7.1";

pub(super) fn rows() -> Vec<Row> {
    let highly_available = [
        (
            "read-uncommitted",
            "read uncommitted",
            Level::ReadUncommitted,
        ),
        ("read-committed", "read committed", Level::ReadCommitted),
        ("monotonic-reads", "monotonic reads", Level::MonotonicReads),
        (
            "read-your-writes",
            "read your writes",
            Level::ReadYourWrites,
        ),
    ];
    let mut rows: Vec<Row> = highly_available
        .into_iter()
        .map(|(id, title, level)| {
            Row::new(id, title, SOURCE)
                .monotone(Isolation::sessions(level), true)
                .available(Isolation::sessions(level), Some(true))
                .counted(Isolation::sessions(level), 11)
        })
        .collect();
    rows.extend(global());
    rows
}

/// The levels that order transactions of all sessions.
fn global() -> Vec<Row> {
    let crossed = || Isolation::crossed(Level::Serializable);
    let invariant = || Isolation::doctors(Level::SnapshotWithInvariant);
    vec![
        Row::new("serializability", "serializability", SOURCE)
            .remark(
                "T1 reads x and writes y, T2 reads y and writes x, each in a process of its own.",
            )
            .monotone(crossed(), false)
            .distributed(crossed(), Some(false))
            .available(crossed(), Some(false))
        .counted(crossed(), 10),
        Row::new(
            "snapshot-isolation-invariant",
            "snapshot isolation with the invariant x + y >= 1",
            SOURCE,
        )
        .remark("x = y = 1 at first. Both transactions read both; one sets x to 0, the other y.")
        .monotone(invariant(), false)
        .distributed(invariant(), Some(false))
        .available(invariant(), Some(false))
        .counted(invariant(), 14),
        Row::new("snapshot-isolation", "snapshot isolation", SOURCE)
            .remark(
                "Without an invariant: it is first-committer-wins that a concurrent commit breaks.",
            )
            .monotone(Isolation::blind(Level::Snapshot), false),
        Row::new(
            "cascade",
            "serializability of a cascade",
            "Hellerstein, \"What is coordination, really?\"",
        )
        .remark(
            "T1 reads x and writes y, T2 reads y and writes x; T3 reads what T1 wrote. One of T1 and T2 can commit, and T3 \
             only if T1 does.",
        )
        .monotone(Isolation::cascade(), false)
        .counted(Isolation::cascade(), 15),
        Row::new(
            "commitment-ordering",
            "commitment ordering, as a variant of serializability",
            "Raz, \"The principle of commitment ordering\"; Complete CALM, section 4.1",
        )
        .remark(
            "Admitted is, by the rule of the scheduler alone, every history in which of two conflicting committed \
             transactions the one that precedes committed first, and happens-before says so.",
        )
        .proper(Isolation::crossed(Level::CommitOrdered), crossed(), true),
        Row::new(
            "uncoordinated-commits",
            "commits without an order, as a variant of serializability",
            "Complete CALM, section 4.1",
        )
        .remark("Every process commits what it likes: what commitment ordering is to be compared with.")
        .proper(Isolation::crossed(Level::Unordered), crossed(), false),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    ReadUncommitted,
    ReadCommitted,
    MonotonicReads,
    ReadYourWrites,
    Snapshot,
    SnapshotWithInvariant,
    Serializable,
    /// A scheduler's rule, not a specification of what is right: of two conflicting transactions the one that precedes
    /// commits first.
    CommitOrdered,
    /// No rule at all: everybody commits.
    Unordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Op {
    Read(char),
    Write(char),
    Commit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    /// The write whose value was read; none for the initial value.
    Saw(Option<EventId>),
    Written,
    Committed,
    Refused,
}

/// A transaction: its operations with their answers, and its commit if it committed.
#[derive(Debug)]
struct Txn {
    ops: Vec<(EventId, Op, Answer)>,
    commit: Option<EventId>,
}

impl Txn {
    fn reads(&self) -> impl Iterator<Item = (EventId, char, Option<EventId>)> {
        self.ops
            .iter()
            .filter_map(|(id, op, answer)| match (op, answer) {
                (Op::Read(key), Answer::Saw(write)) => Some((*id, *key, *write)),
                _ => None,
            })
    }

    fn writes(&self) -> impl Iterator<Item = (EventId, char)> {
        self.ops.iter().filter_map(|(id, op, _)| match op {
            Op::Write(key) => Some((*id, *key)),
            Op::Read(_) | Op::Commit => None,
        })
    }
}

struct Isolation {
    level: Level,
    scripts: Vec<Vec<Op>>,
    events: usize,
    messages: usize,
    /// Who sends to whom; everybody to everybody, if there is nothing.
    links: &'static [(usize, usize)],
}

type Seen = History<Op, Answer>;

/// What was answered to each invocation: the facts.
type Facts = BTreeSet<(EventId, Op, Answer)>;

impl Isolation {
    /// T1 reads x and writes y, T2 reads y and writes x: the paper's witness.
    fn crossed(level: Level) -> Self {
        let crossed = |read, write| vec![Op::Read(read), Op::Write(write), Op::Commit];
        Self {
            level,
            scripts: vec![crossed('x', 'y'), crossed('y', 'x')],
            events: 16,
            messages: 1,
            links: &[],
        }
    }

    /// The essay's cascade: T1 and T2 exclude each other, T3 reads what T1 wrote.
    fn cascade() -> Self {
        let mut cascade = Self::crossed(Level::Serializable);
        cascade.scripts.push(vec![Op::Read('y'), Op::Commit]);
        cascade.links = &[(0, 2)];
        cascade
    }

    /// Both read both and write one: write skew.
    fn doctors(level: Level) -> Self {
        let reads_both = |write| vec![Op::Read('x'), Op::Read('y'), Op::Write(write), Op::Commit];
        Self {
            level,
            scripts: vec![reads_both('y'), reads_both('x')],
            events: 18,
            messages: 1,
            links: &[],
        }
    }

    /// Both write the same.
    fn blind(level: Level) -> Self {
        let script = vec![Op::Read('x'), Op::Write('x'), Op::Commit];
        Self {
            level,
            scripts: vec![script.clone(), script],
            events: 16,
            messages: 1,
            links: &[],
        }
    }

    /// A session writes x twice, in two transactions; another reads x, writes it, and reads it again.
    fn sessions(level: Level) -> Self {
        let writer = vec![Op::Write('x'), Op::Commit, Op::Write('x'), Op::Commit];
        let reader = vec![
            Op::Read('x'),
            Op::Write('x'),
            Op::Commit,
            Op::Read('x'),
            Op::Commit,
        ];
        Self {
            level,
            scripts: vec![writer, reader],
            events: 16,
            messages: 2,
            links: &[],
        }
    }

    /// The facts of histories in which all but one invocation of each process are answered, completed in all ways.
    fn completions(&self, history: &Seen) -> Vec<Facts> {
        let fact = |(id, answer): (EventId, Answer)| {
            let op = history.op(id).expect("it is an invocation");
            (id, *op, answer)
        };
        choices(history, |id, op| self.candidates(history, id, *op))
            .into_iter()
            .map(|answers| answers.into_iter().map(fact).collect())
            .collect()
    }

    /// What an operation might be answered: a read, any write of its past.
    fn candidates(&self, history: &Seen, id: EventId, op: Op) -> Vec<Answer> {
        match op {
            Op::Write(_) => vec![Answer::Written],
            Op::Commit => vec![Answer::Committed, Answer::Refused],
            Op::Read(key) => {
                let known = history
                    .invocations()
                    .filter(|(write, op)| **op == Op::Write(key) && history.precedes(*write, id));
                let writes = known.map(|(write, _)| Some(write));
                std::iter::once(None)
                    .chain(writes)
                    .map(Answer::Saw)
                    .collect()
            }
        }
    }

    /// The transactions of all sessions, from their facts.
    fn txns(facts: &Facts) -> Vec<Txn> {
        let mut txns: Vec<Txn> = Vec::new();
        let mut open: Option<u8> = None;
        for (id, op, answer) in facts {
            if open != Some(id.process) {
                txns.push(Txn {
                    ops: Vec::new(),
                    commit: None,
                });
                open = Some(id.process);
            }
            let txn = txns.last_mut().expect("one is open");
            match op {
                Op::Read(_) | Op::Write(_) => txn.ops.push((*id, *op, *answer)),
                Op::Commit => {
                    txn.commit = (*answer == Answer::Committed).then_some(*id);
                    open = None;
                }
            }
        }
        txns
    }

    fn admits(&self, history: &Seen, facts: &Facts) -> bool {
        let txns = Self::txns(facts);
        let level = Judge {
            history,
            txns: &txns,
        };
        level.reads_its_own()
            && match self.level {
                Level::ReadUncommitted => true,
                Level::ReadCommitted => level.reads_committed(),
                Level::MonotonicReads => level.reads_committed() && level.reads_forward(),
                Level::ReadYourWrites => level.reads_committed() && level.reads_own_session(),
                Level::Snapshot => level.snapshot(),
                Level::SnapshotWithInvariant => level.snapshot() && level.keeps_one(),
                Level::Serializable => level.serializable(),
                Level::CommitOrdered => level.commit_ordered(),
                Level::Unordered => true,
            }
    }
}

struct Judge<'a> {
    history: &'a Seen,
    txns: &'a [Txn],
}

impl Judge<'_> {
    fn writer(&self, write: EventId) -> &Txn {
        let wrote = |txn: &&Txn| txn.writes().any(|(id, _)| id == write);
        self.txns
            .iter()
            .find(wrote)
            .expect("every write is of a transaction")
    }

    /// Whether it was known at an event that a transaction had committed.
    fn known(&self, txn: &Txn, event: EventId) -> bool {
        let committed = txn
            .commit
            .and_then(|commit| self.history.response_to(commit));
        committed.is_some_and(|committed| self.history.precedes(committed, event))
    }

    fn committed(&self) -> Vec<&Txn> {
        self.txns
            .iter()
            .filter(|txn| txn.commit.is_some())
            .collect()
    }

    /// Who has written a key in a transaction reads the last such write in it; at every level.
    fn reads_its_own(&self) -> bool {
        self.txns.iter().all(|txn| {
            txn.reads().all(|(read, key, seen)| {
                let own = txn
                    .writes()
                    .filter(|(write, written)| *written == key && *write < read)
                    .last();
                own.is_none_or(|(write, _)| seen == Some(write))
            })
        })
    }

    /// Reads of others see what was committed before.
    fn reads_committed(&self) -> bool {
        self.txns.iter().all(|txn| {
            txn.reads().all(|(read, _, seen)| {
                seen.is_none_or(|write| {
                    let writer = self.writer(write);
                    std::ptr::eq(writer, txn) || self.known(writer, read)
                })
            })
        })
    }

    /// No read of a session sees an older value of a key than an earlier one of the same session.
    fn reads_forward(&self) -> bool {
        let reads = || self.txns.iter().flat_map(Txn::reads);
        reads().all(|(first, key, seen)| {
            reads()
                .filter(|(second, other, _)| {
                    second.process == first.process && *second > first && *other == key
                })
                .all(|(_, _, later)| !self.older(later, seen))
        })
    }

    /// No read of a session sees an older value of a key than the session committed before.
    fn reads_own_session(&self) -> bool {
        self.txns.iter().all(|txn| {
            txn.reads().all(|(read, key, seen)| {
                let own = self.committed().into_iter().flat_map(Txn::writes).filter(
                    |(write, written)| {
                        *written == key && write.process == read.process && *write < read
                    },
                );
                own.into_iter()
                    .all(|(write, _)| !self.older(seen, Some(write)))
            })
        })
    }

    /// Whether one value of a key is older than another.
    fn older(&self, one: Option<EventId>, other: Option<EventId>) -> bool {
        match (one, other) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(other)) => self.history.precedes(one, other),
        }
    }

    /// Whether the committed transactions have a serial order that explains what they read.
    fn serializable(&self) -> bool {
        let committed = self.committed();
        permutations(committed.len()).iter().any(|order| {
            let mut state: Vec<(char, EventId)> = Vec::new();
            order.iter().all(|&next| {
                let txn = committed[next];
                let mut own = state.clone();
                let explained = txn.ops.iter().all(|(id, op, answer)| match op {
                    Op::Write(key) => {
                        own.retain(|(written, _)| written != key);
                        own.push((*key, *id));
                        true
                    }
                    Op::Read(key) => {
                        let held = own.iter().find(|(written, _)| written == key);
                        *answer == Answer::Saw(held.map(|(_, write)| *write))
                    }
                    Op::Commit => true,
                });
                state = own;
                explained
            })
        })
    }

    /// Each transaction reads one snapshot, of what was committed in the past of its first operation, and of two that
    /// do not know each other and write the same key only one commits.
    fn snapshot(&self) -> bool {
        let snapshots = self.txns.iter().all(|txn| {
            let Some((start, _, _)) = txn.ops.first() else {
                return true;
            };
            txn.reads().all(|(_, key, seen)| {
                let visible = |other: &&&Txn| self.known(other, *start);
                let versions: Vec<EventId> = self
                    .committed()
                    .iter()
                    .filter(visible)
                    .flat_map(|txn| txn.writes())
                    .filter_map(|(write, written)| (written == key).then_some(write))
                    .collect();
                let own = |write: EventId| txn.writes().any(|(id, _)| id == write);
                match seen {
                    Some(write) if own(write) => true,
                    Some(write) => {
                        let newer = |other: &EventId| self.older(Some(write), Some(*other));
                        versions.contains(&write) && !versions.iter().any(newer)
                    }
                    None => versions.is_empty(),
                }
            })
        });
        let committed = self.committed();
        let lost = committed.iter().any(|one| {
            committed.iter().any(|other| {
                let concurrent =
                    match (one.commit, other.commit, one.ops.first(), other.ops.first()) {
                        (Some(first), Some(second), Some((one, ..)), Some((other, ..))) => {
                            !self.history.precedes(first, *other)
                                && !self.history.precedes(second, *one)
                        }
                        _ => false,
                    };
                !std::ptr::eq(*one, *other)
                    && concurrent
                    && one
                        .writes()
                        .any(|(_, key)| other.writes().any(|(_, written)| written == key))
            })
        });
        snapshots && !lost
    }

    /// Whether of two keys that are 1 at first and that writes set to 0, one is left.
    fn keeps_one(&self) -> bool {
        let zero: BTreeSet<char> = self
            .committed()
            .into_iter()
            .flat_map(Txn::writes)
            .map(|(_, key)| key)
            .collect();
        zero.len() < 2
    }

    /// Whether of two committed transactions with a conflict, the one that precedes committed first.
    fn commit_ordered(&self) -> bool {
        let committed = self.committed();
        let written: Vec<char> = committed
            .iter()
            .flat_map(|txn| txn.writes())
            .map(|(_, key)| key)
            .collect();
        let once = written.iter().collect::<BTreeSet<_>>().len() == written.len();
        assert!(
            once,
            "conflicts of two writers of one key are not looked at"
        );
        committed.iter().all(|first| {
            committed.iter().all(|second| {
                let in_order = match (first.commit, second.commit) {
                    (Some(one), Some(other)) => self.history.precedes(one, other),
                    (None, _) | (_, None) => false,
                };
                std::ptr::eq(*first, *second) || !Self::conflict(first, second) || in_order
            })
        })
    }

    /// Whether the first precedes the second: the second read what the first wrote, or the first read a version that the
    /// second replaces. (No two write the same key where this is asked.)
    fn conflict(first: &Txn, second: &Txn) -> bool {
        let wrote = |txn: &Txn, write: EventId| txn.writes().any(|(id, _)| id == write);
        let read_from = second
            .reads()
            .any(|(_, _, seen)| seen.is_some_and(|write| wrote(first, write)));
        let replaced = first.reads().any(|(_, key, seen)| {
            let replaces = second.writes().any(|(_, written)| written == key);
            replaces && !seen.is_some_and(|write| wrote(second, write) || wrote(first, write))
        });
        read_from || replaced
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        let insert = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |place| {
                let mut order = order.clone();
                order.insert(place, next);
                order
            })
        };
        all = all.iter().flat_map(insert).collect();
    }
    all
}

impl Specification for Isolation {
    type Op = Op;
    type Value = Answer;
    type Outcome = Facts;

    fn universe(&self) -> Universe<Self> {
        let mut universe = Universe::new(self.events);
        for (process, script) in self.scripts.iter().enumerate() {
            let linked =
                |other: &usize| self.links.is_empty() || self.links.contains(&(process, *other));
            let others: Vec<usize> = (0..self.scripts.len())
                .filter(|other| *other != process && linked(other))
                .collect();
            let program = Program::script(script).and_send(&others, self.messages);
            universe = universe.process(&format!("session {}", process + 1), program);
        }
        universe
    }

    fn outcomes(&self, history: &Seen) -> Vec<Facts> {
        let mut all = self.completions(history);
        all.retain(|facts| self.admits(history, facts));
        all
    }

    fn refines(&self, earlier: &Facts, later: &Facts) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, outcome: &Facts, _: &Seen, invocation: EventId) -> Option<Answer> {
        let fact = outcome.iter().find(|(id, ..)| *id == invocation);
        fact.map(|(_, _, answer)| *answer)
    }

    fn say_op(&self, op: &Op) -> String {
        match op {
            Op::Read(key) => format!("r({key})"),
            Op::Write(key) => format!("w({key})"),
            Op::Commit => "commit".to_owned(),
        }
    }

    fn say_value(&self, value: &Answer) -> String {
        match value {
            Answer::Saw(None) => "initial".to_owned(),
            Answer::Saw(Some(write)) => format!("by {}", write.process + 1),
            Answer::Written => "ok".to_owned(),
            Answer::Committed => "committed".to_owned(),
            Answer::Refused => "refused".to_owned(),
        }
    }

    fn say_outcome(&self, outcome: &Facts, history: &Seen) -> String {
        let answered = |id: &EventId| matches!(history.get(*id), Some(Event::Invoke(_)));
        let facts = outcome
            .iter()
            .filter(|(id, ..)| answered(id))
            .map(|(id, op, answer)| {
                format!(
                    "{}: {} {}",
                    id.process + 1,
                    self.say_op(op),
                    self.say_value(answer)
                )
            });
        format!("{{{}}}", facts.collect::<Vec<_>>().join(", "))
    }
}
