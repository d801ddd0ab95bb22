//! A value that is set once and waited for in three ways: by a future, by a blocked thread, by a
//! callback. Engines differ in which they can use.
//!
//! Invariants:
//! - C1 The first [`Cell::resolve`] wins; later ones change nothing and say so.
//! - C2 No waker and no callback runs while the cell's lock is held.
//! - C3 Whoever registers after the value was set sees the value: the check and the registration are
//!   one critical section.

use std::fmt;
use std::hint;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::sync::{Condvar, MODELLED, Mutex};

/// How often a waiter looks before it sleeps. After the first looks it pauses, after the others it lets another
/// thread run if one can, which may be the one it waits for.
const LOOKS: u32 = if MODELLED { 0 } else { 64 };
const PAUSES: u32 = 10;

type Callback<T> = Box<dyn FnOnce(T) + Send>;

pub(crate) struct Cell<T> {
    state: Mutex<CellState<T>>,
    changed: Condvar,
}

struct CellState<T> {
    value: Option<T>,
    /// Of every task that waits: a vote's future can be cloned, and its clones polled by different tasks.
    wakers: Vec<Waker>,
    callbacks: Vec<Callback<T>>,
}

impl<T: Copy> Cell<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(CellState {
                value: None,
                wakers: Vec::new(),
                callbacks: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Sets the value unless it is set; says whether this call set it.
    pub(crate) fn resolve(&self, value: T) -> bool {
        let mut state = self.state.lock();
        if state.value.is_some() {
            return false;
        }
        state.value = Some(value);
        let wakers = std::mem::take(&mut state.wakers);
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
        for callback in callbacks {
            callback(value);
        }
        true
    }

    /// The value, if it is set.
    pub(crate) fn peek(&self) -> Option<T> {
        self.state.lock().value
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state.lock();
        if let Some(value) = state.value {
            return Poll::Ready(value);
        }
        let waker = context.waker();
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Blocks until the value is set. Most waits are short, so it looks for a while before it sleeps: putting a
    /// thread to sleep and waking it costs more than a short transaction.
    pub(crate) fn wait(&self) -> T {
        for look in 0..LOOKS {
            if let Some(value) = self.peek() {
                return value;
            }
            if look < LOOKS / 4 {
                (0..PAUSES).for_each(|_| hint::spin_loop());
            } else {
                thread::yield_now();
            }
        }
        let mut state = self.state.lock();
        loop {
            if let Some(value) = state.value {
                return value;
            }
            state = self.changed.wait(state);
        }
    }

    /// Runs `callback` with the value: now if it is set, else from [`Cell::resolve`].
    pub(crate) fn on_value(&self, callback: Callback<T>) {
        let mut state = self.state.lock();
        match state.value {
            None => state.callbacks.push(callback),
            Some(value) => {
                drop(state);
                callback(value);
            }
        }
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cell").field(&self.peek()).finish()
    }
}
