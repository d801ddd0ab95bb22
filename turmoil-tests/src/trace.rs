//! Everything that happens in a run, in order: a hash of it, and the words if they are asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A run's trace; its hosts share it.
#[derive(Debug)]
pub(crate) struct Trace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hash: u64,
    events: u64,
    words: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(readable: bool) -> Self {
        let state = State {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            words: readable.then(Vec::new),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Something has happened, at this moment of the simulation.
    pub(crate) fn tell(&self, at: Duration, who: &str, what: &str) {
        let mut state = self.lock();
        state.events += 1;
        let micros = at.as_micros();
        let line = format!("{micros:>10} {who}: {what}");
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(words) = &mut state.words {
            words.push(line);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.lock().hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.lock().events
    }

    pub(crate) fn words(&self) -> Vec<String> {
        self.lock().words.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What o'clock it is on the hosts; to be asked by their programs.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
