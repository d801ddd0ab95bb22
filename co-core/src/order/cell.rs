//! A value that is set once and waited for in three ways: by a future, by a blocked thread, by a
//! callback. Engines differ in which they can use.
//!
//! Invariants:
//! - C1 The first [`Cell::resolve`] wins; later ones change nothing and say so.
//! - C2 No waker and no callback runs while the cell's lock is held.
//! - C3 Whoever registers after the value was set sees the value: the check and the registration are
//!   one critical section.

use std::fmt;
use std::task::{Context, Poll, Waker};

use crate::sync::{Condvar, Mutex};

type Callback<T> = Box<dyn FnOnce(T) + Send>;

pub(crate) struct Cell<T> {
    state: Mutex<CellState<T>>,
    changed: Condvar,
}

struct CellState<T> {
    value: Option<T>,
    waker: Option<Waker>,
    callback: Option<Callback<T>>,
}

impl<T: Copy> Cell<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(CellState {
                value: None,
                waker: None,
                callback: None,
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
        let waker = state.waker.take();
        let callback = state.callback.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(callback) = callback {
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
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) fn wait(&self) -> T {
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
            None => state.callback = Some(callback),
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
