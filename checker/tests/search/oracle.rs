//! Tries everything: what a level means, spelled out over values, for histories of a few transactions.
//!
//! Nothing here knows of graphs, of versions that follow, or of the code under test.

use std::collections::BTreeMap;

use checker::observed::{Observed, Op, Outcome, TxnIndex};
use checker::search::{Isolation, Level, Precedence};

type State = BTreeMap<u32, Option<u64>>;

/// One transaction: reads with their values and writes, in program order.
#[derive(Clone, Debug)]
struct Txn {
    session: Option<u32>,
    interval: Option<(u32, u32)>,
    /// Whether its client was told that it committed: the others precede nobody.
    told: bool,
    /// Key, value, whether it is a write; values as their names, nothing for the initial state.
    ops: Vec<(u32, Option<u64>, bool)>,
}

fn txns(history: &Observed, chosen: &[TxnIndex]) -> Vec<Txn> {
    let one = |txn: &TxnIndex| Txn {
        session: history.txn(*txn).session.map(|session| session.0),
        interval: history
            .txn(*txn)
            .interval
            .map(|interval| (interval.begin, interval.end)),
        told: history.txn(*txn).outcome == Outcome::Committed,
        ops: history
            .ops(*txn)
            .iter()
            .map(|op| match *op {
                Op::Read { key, value } => (
                    key.0,
                    value.map(|v| history.value_name(v).parse().unwrap()),
                    false,
                ),
                Op::Write { key, value } => (
                    key.0,
                    Some(history.value_name(value).parse().unwrap()),
                    true,
                ),
                _ => panic!("registers only"),
            })
            .collect(),
    };
    chosen.iter().map(one).collect()
}

/// Whether some choice of what became of the unknown ones has an explanation.
pub(crate) fn explained(history: &Observed, level: Level) -> bool {
    let of = |outcome| {
        history
            .indexes()
            .filter(move |txn| history.txn(*txn).outcome == outcome)
    };
    let committed: Vec<TxnIndex> = of(Outcome::Committed).collect();
    let unknown: Vec<TxnIndex> = of(Outcome::Unknown).collect();
    (0_u32..1 << unknown.len()).any(|mask| {
        let mut chosen = committed.clone();
        chosen.extend(
            unknown
                .iter()
                .enumerate()
                .filter(|(at, _)| mask >> at & 1 == 1)
                .map(|(_, txn)| *txn),
        );
        chosen.sort();
        let txns = txns(history, &chosen);
        match level.isolation {
            Isolation::Serializable => {
                serial(&txns, level, &mut vec![false; txns.len()], &State::new())
            }
            Isolation::Snapshot => {
                let fresh = vec![Phase::Waiting; txns.len()];
                snapshots(&txns, level, &fresh, &State::new())
            }
        }
    })
}

/// Whether this order of all committed transactions explains every read and keeps what the level keeps.
pub(crate) fn explains(history: &Observed, level: Level, order: &[TxnIndex]) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort();
    let txns = txns(history, &sorted);
    let places: Vec<usize> = order
        .iter()
        .map(|txn| sorted.binary_search(txn).unwrap())
        .collect();
    let mut state = State::new();
    places.iter().enumerate().all(|(at, place)| {
        let kept = places[at..]
            .iter()
            .all(|later| !precedes(&txns, level, *later, *place));
        let own = run(&txns[*place], &state);
        state.extend(own.clone().unwrap_or_default());
        kept && own.is_some()
    })
}

fn precedes(txns: &[Txn], level: Level, a: usize, b: usize) -> bool {
    let session = a < b && txns[a].session.is_some() && txns[a].session == txns[b].session;
    let real = match (txns[a].interval, txns[b].interval) {
        (Some((_, end)), Some((begin, _))) => end < begin,
        _ => false,
    };
    let told = txns[a].told;
    match level.precedence {
        Precedence::Free => false,
        Precedence::Session => told && session,
        Precedence::Realtime => told && (session || real),
    }
}

/// Runs a transaction on a state: its reads must match; returns what it writes.
fn run(txn: &Txn, state: &State) -> Option<State> {
    let mut own = State::new();
    for (key, value, write) in &txn.ops {
        if *write {
            own.insert(*key, *value);
        } else if own.get(key).or_else(|| state.get(key)).copied().flatten() != *value {
            return None;
        }
    }
    Some(own)
}

fn serial(txns: &[Txn], level: Level, done: &mut Vec<bool>, state: &State) -> bool {
    if done.iter().all(|done| *done) {
        return true;
    }
    for next in 0..txns.len() {
        let free = !done[next]
            && (0..txns.len()).all(|other| done[other] || !precedes(txns, level, other, next));
        let Some(own) = free.then(|| run(&txns[next], state)).flatten() else {
            continue;
        };
        let mut after = state.clone();
        after.extend(own);
        done[next] = true;
        if serial(txns, level, done, &after) {
            return true;
        }
        done[next] = false;
    }
    false
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting,
    /// Has begun: what it will write, and whether somebody has installed one of these keys since.
    Running(State, bool),
    Done,
}

fn snapshots(txns: &[Txn], level: Level, phases: &[Phase], state: &State) -> bool {
    if phases.iter().all(|phase| matches!(phase, Phase::Done)) {
        return true;
    }
    for next in 0..txns.len() {
        let mut after = phases.to_vec();
        let mut installed = state.clone();
        match &phases[next] {
            Phase::Done => continue,
            Phase::Waiting => {
                let done = |other: usize| matches!(phases[other], Phase::Done);
                if !(0..txns.len()).all(|other| done(other) || !precedes(txns, level, other, next))
                {
                    continue;
                }
                let Some(own) = run(&txns[next], state) else {
                    continue;
                };
                after[next] = Phase::Running(own, false);
            }
            Phase::Running(_, true) => return false,
            Phase::Running(own, false) => {
                for phase in &mut after {
                    if let Phase::Running(theirs, beaten) = phase {
                        *beaten |= theirs.keys().any(|key| own.contains_key(key));
                    }
                }
                after[next] = Phase::Done;
                installed.extend(own.clone());
            }
        }
        if snapshots(txns, level, &after, &installed) {
            return true;
        }
    }
    false
}
