//! Queries that wait for a vote to be stamped or decided.
//!
//! A query registers its waker before it looks, and whoever changes what it looks at wakes after the
//! change: so no change is missed.

use std::task::Waker;

use crate::sync::Mutex;

#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakers: Mutex<Vec<Waker>>,
}

impl Waiters {
    pub(super) fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        for waker in wakers {
            waker.wake();
        }
    }
}
