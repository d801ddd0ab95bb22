//! Violations that are planted among what a store runs: on keys of its own, which others read and write as well.
//!
//! Every version that matters is read by who overwrites it, so the order of versions is certain and the history
//! violates what it says, whatever the rest of it is.

use clap::ValueEnum;

use crate::concurrent::{Done, Store};

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Violation {
    /// Nothing.
    None,
    /// Two read the same two keys, and each writes one of them: not serializable.
    WriteSkew,
    /// Two read a key and write it: nor of snapshots.
    LostUpdate,
    /// Each of two reads what the other wrote: nor read committed.
    G1c,
    /// Two see two writes in opposite orders: nor of snapshots.
    LongFork,
    /// One sees an effect without its cause: nor causal.
    Causality,
    /// Sixteen, each of which overwrites what the next has read: not serializable.
    LongCycle,
}

/// How many transactions a long cycle has.
const LONG: usize = 16;

/// Plants a violation, now; false if there are not enough keys that nobody uses.
pub(crate) fn plant(store: &mut Store, violation: Violation) -> bool {
    let keys = store.free_keys(LONG);
    if keys.len() < LONG {
        return false;
    }
    let old: Vec<u64> = keys
        .iter()
        .map(|key| store.value_at(*key, store.clock))
        .collect();
    let read = |at: usize| -> Done { (keys[at], old[at], false) };
    let (one, two) = (store.fresh(), store.fresh());
    let wrote = |at: usize, value: u64| -> Done { (keys[at], value, true) };
    let saw = |at: usize, value: u64| -> Done { (keys[at], value, false) };
    let txns: Vec<Vec<Done>> = match violation {
        Violation::None => Vec::new(),
        Violation::WriteSkew => vec![
            vec![read(0), read(1), wrote(0, one)],
            vec![read(0), read(1), wrote(1, two)],
        ],
        Violation::LostUpdate => vec![vec![read(0), wrote(0, one)], vec![read(0), wrote(0, two)]],
        Violation::G1c => vec![
            vec![saw(1, two), wrote(0, one)],
            vec![saw(0, one), wrote(1, two)],
        ],
        Violation::LongFork => vec![
            vec![read(0), wrote(0, one)],
            vec![read(1), wrote(1, two)],
            vec![saw(0, one), read(1)],
            vec![read(0), saw(1, two)],
        ],
        Violation::Causality => vec![
            vec![read(0), wrote(0, one)],
            vec![saw(0, one), read(1), wrote(1, two)],
            vec![saw(1, two), read(0)],
        ],
        Violation::LongCycle => {
            let each = |at: usize| {
                let next = (at + 1) % LONG;
                vec![read(at), read(next), wrote(next, store.fresh())]
            };
            (0..LONG).map(each).collect()
        }
    };
    let sessions = store.free_sessions();
    let begin = store.clock;
    for (txn, session) in txns.into_iter().zip((0..sessions).cycle()) {
        store.clock += 1;
        store.commit(session, begin, txn);
    }
    store.clock += 1;
    true
}
