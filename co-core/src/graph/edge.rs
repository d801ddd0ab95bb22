//! Insertion and removal of edges.
//!
//! The one delicate case is an edge a → b into a node that has voted: it arises only with versions,
//! when a reads the old version of what b is about to replace (condition B). The order a → b stands,
//! but b can no longer wait for a. So a waits for b instead: if b commits, a is overtaken and must
//! abort; if b aborts, a goes on.

use crate::graph::node::Node;
use crate::id::Outcome;
use crate::outcome::{Misuse, State};
use crate::sync::{Arc, AtomicU64, Ordering};

/// Why one transaction precedes another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum EdgeKind {
    /// The earlier one read what the later one overwrites (or read a version older than the later one's).
    ReadWrite,
    /// The later one read what the earlier, undecided one wrote: if that aborts, the reader aborts.
    WriteRead,
    /// Both wrote the same item, in this order.
    WriteWrite,
    /// The earlier one evaluated a predicate that the later one's change falls into.
    Predicate,
    /// Two operations of the engine's own that do not commute.
    Semantic,
}

/// What the end of the earlier transaction means for the later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tie {
    /// Releases it.
    Order,
    /// Commit releases it, abort dooms it: it read the earlier one's data.
    Data,
    /// Abort releases it, commit dooms it: it precedes a transaction that voted first.
    Overtaken,
    /// Releases it; removable, because a wait may end earlier.
    Wait,
    /// Not counted: remembered until the later one votes ([`VoteRule::LocalOnly`](crate::VoteRule)).
    Observed,
}

pub(crate) struct Successor {
    pub(crate) node: Arc<Node>,
    pub(crate) tie: Tie,
    /// Counted in [`Turns::backward`].
    pub(crate) backward: bool,
}

/// In which order the transactions of one site came into conflict with others, and how many edges lead against
/// it. A cycle has at least one of those; where there is none, nobody needs to search (G5).
#[derive(Debug)]
pub(crate) struct Turns {
    next: AtomicU64,
    backward: AtomicU64,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            backward: AtomicU64::new(0),
        }
    }

    /// Whether `from → to` leads backward; counts it if so, before it is there for others to see.
    fn note(&self, from: &Node, to: &Node) -> bool {
        let turn = |node: &Node| node.turn(|| self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let backward = turn(from) > turn(to);
        if backward {
            self.backward.fetch_add(1, Ordering::AcqRel);
        }
        backward
    }

    /// An edge is gone.
    pub(crate) fn forget(&self, edge: &Successor) {
        if edge.backward {
            self.backward.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether there may be a cycle. Asked after one's own edges are there; by read-modify-write, so that of
    /// two who ask at once one comes second and sees what the first has added.
    pub(crate) fn may_close(&self) -> bool {
        self.backward.fetch_add(0, Ordering::AcqRel) != 0
    }
}

/// What the caller of [`add_edge`] has to do with the *earlier* or the *later* transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EdgeEffect {
    /// The edge is counted.
    Added {
        /// It leads against the order of the nodes: it may close a cycle.
        backward: bool,
    },
    /// The edge is counted, and the later one read from a transaction that must abort: doom it.
    AddedToDoomed,
    /// One of the two is decided and the order holds by itself.
    NotNeeded,
    /// The earlier one precedes a committed transaction: doom it (condition A).
    DoomEarlier,
    /// The later one read from an aborted transaction: doom it.
    DoomLater,
}

/// How many of the newest entries are looked through for a repeated edge. Repetitions come in bursts
/// (a scan against one writer), so a short look-back keeps the list short without a set.
const REPEAT_WINDOW: usize = 4;

/// Adds `from → to`.
pub(crate) fn add_edge(
    turns: &Turns,
    from: &Arc<Node>,
    to: &Arc<Node>,
    tie: Tie,
) -> Result<EdgeEffect, Misuse> {
    loop {
        match to.state() {
            State::Aborted => return Ok(EdgeEffect::NotNeeded),
            state @ (State::Voted | State::Committed) if tie == Tie::Data => {
                return late_read(from, state);
            }
            State::Committed => return committed_effect(from, tie),
            State::Voted if tie == Tie::Wait => {
                return Err(Misuse::WrongState {
                    state: State::Voted,
                    attempted: "wait",
                });
            }
            State::Voted => {
                if let Some(effect) = add_overtaken(turns, from, to)? {
                    return Ok(effect);
                }
            }
            State::Active | State::Ready | State::Withheld | State::Doomed => {
                if let Some(effect) = add_counted(turns, from, to, tie) {
                    return Ok(effect);
                }
            }
        }
    }
}

/// What a reader saw it has to report before it votes: afterwards nothing can save it from `from`'s abort.
fn late_read(from: &Node, state: State) -> Result<EdgeEffect, Misuse> {
    if from.state() == State::Committed {
        return Ok(EdgeEffect::NotNeeded);
    }
    Err(Misuse::WrongState {
        state,
        attempted: "read from an undecided transaction (report conflicts before the vote)",
    })
}

fn committed_effect(from: &Node, tie: Tie) -> Result<EdgeEffect, Misuse> {
    match from.state() {
        _ if tie == Tie::Wait => Ok(EdgeEffect::NotNeeded),
        State::Committed | State::Aborted => Ok(EdgeEffect::NotNeeded),
        state @ State::Voted => Err(Misuse::WrongState {
            state,
            attempted: "precede a committed transaction (report conflicts before the vote)",
        }),
        State::Active | State::Ready | State::Withheld | State::Doomed => {
            Ok(EdgeEffect::DoomEarlier)
        }
    }
}

/// The common case: `to` has not voted. `None` if it voted or was decided meanwhile.
fn add_counted(turns: &Turns, from: &Arc<Node>, to: &Arc<Node>, tie: Tie) -> Option<EdgeEffect> {
    let mut successors = from.links().successors.lock();
    match from.expose() {
        Err(Outcome::Abort) if tie == Tie::Data => return Some(EdgeEffect::DoomLater),
        Err(_) => return Some(EdgeEffect::NotNeeded),
        Ok(()) => {}
    }
    if repeated(&successors, to, tie) {
        return Some(EdgeEffect::NotNeeded);
    }
    to.add_pending().ok()?;
    let backward = turns.note(from, to);
    successors.push(Successor {
        node: Arc::clone(to),
        tie,
        backward,
    });
    to.links().predecessors.lock().push((Arc::clone(from), tie));
    // Whoever dooms `from` looks through its list afterwards: one of the two sees the other.
    drop(successors);
    Some(if tie == Tie::Data && from.state() == State::Doomed {
        EdgeEffect::AddedToDoomed
    } else {
        EdgeEffect::Added { backward }
    })
}

/// `to` has voted: `from` waits for its decision. `None` if it was decided meanwhile.
fn add_overtaken(
    turns: &Turns,
    from: &Arc<Node>,
    to: &Arc<Node>,
) -> Result<Option<EdgeEffect>, Misuse> {
    let mut successors = to.links().successors.lock();
    if to.expose().is_err() {
        return Ok(None);
    }
    if repeated(&successors, from, Tie::Overtaken) {
        return Ok(Some(EdgeEffect::NotNeeded));
    }
    match from.add_pending() {
        Ok(()) => {
            let backward = turns.note(to, from);
            successors.push(Successor {
                node: Arc::clone(from),
                tie: Tie::Overtaken,
                backward,
            });
            from.links()
                .predecessors
                .lock()
                .push((Arc::clone(to), Tie::Overtaken));
            Ok(Some(EdgeEffect::Added { backward }))
        }
        Err(state @ State::Voted) => Err(Misuse::WrongState {
            state,
            attempted: "precede another voted transaction (report conflicts before the vote)",
        }),
        Err(_) => Ok(Some(EdgeEffect::NotNeeded)),
    }
}

fn repeated(list: &[Successor], to: &Arc<Node>, tie: Tie) -> bool {
    list.iter()
        .rev()
        .take(REPEAT_WINDOW)
        .any(|entry| entry.tie == tie && Arc::ptr_eq(&entry.node, to))
}

/// Takes a wait edge `holder → waiter` back; says whether there was one.
pub(crate) fn remove_wait(turns: &Turns, holder: &Arc<Node>, waiter: &Arc<Node>) -> bool {
    let mut successors = holder.links().successors.lock();
    let found = successors
        .iter()
        .position(|entry| entry.tie == Tie::Wait && Arc::ptr_eq(&entry.node, waiter));
    let Some(position) = found else {
        return false;
    };
    let edge = successors.swap_remove(position);
    turns.forget(&edge);
    let mut predecessors = waiter.links().predecessors.lock();
    if let Some(position) = predecessors
        .iter()
        .position(|(node, tie)| *tie == Tie::Wait && Arc::ptr_eq(node, holder))
    {
        predecessors.swap_remove(position);
    }
    true
}
