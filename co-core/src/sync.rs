//! The only door to `std::sync`, or to loom when built with `--cfg co_loom`.
//!
//! Locks here do not poison: a panic in this crate is a broken invariant and its message is the news,
//! not a second panic in whoever comes next.

#![allow(clippy::disallowed_types, reason = "this module is the door")]

#[cfg(not(co_loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use std::sync::{Arc, Condvar as RawCondvar, Mutex as RawMutex, MutexGuard};
}

#[cfg(co_loom)]
mod real {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Condvar as RawCondvar, Mutex as RawMutex, MutexGuard};
}

use std::sync::PoisonError;

pub(crate) use real::{Arc, AtomicU64, MutexGuard, Ordering, fence};
use real::{RawCondvar, RawMutex};

/// A mutual exclusion lock that does not poison.
#[derive(Debug)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A mutex in a `static`, for what belongs to the process and not to a scheduler. loom does not see it.
#[cfg(not(co_loom))]
pub(crate) struct StaticMutex<T>(RawMutex<T>);

#[cfg(not(co_loom))]
impl<T> StaticMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value on cache lines of its own: two such values are never written by way of one line. Two lines,
/// because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A value on the heap that is made when it is first asked for. Under loom it is made at once, because loom
/// would not see that the making comes before every use.
#[cfg(not(co_loom))]
#[derive(Debug)]
pub(crate) struct Lazy<T>(std::sync::OnceLock<Box<T>>);

#[cfg(not(co_loom))]
impl<T: Default> Lazy<T> {
    pub(crate) const fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    pub(crate) fn get(&self) -> &T {
        self.0.get_or_init(Box::default)
    }
}

#[cfg(co_loom)]
#[derive(Debug)]
pub(crate) struct Lazy<T>(Box<T>);

#[cfg(co_loom)]
impl<T: Default> Lazy<T> {
    pub(crate) fn new() -> Self {
        Self(Box::default())
    }

    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

/// A condition variable without timed waits: timeouts are inputs of this crate, not waits in it.
#[derive(Debug)]
pub(crate) struct Condvar(RawCondvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(RawCondvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Reads a word that the caller is about to change by compare-and-swap.
///
/// A plain load, except under loom: version 0.7 remembers only the last access to an atomic, so the load
/// would hide from its search that the swap races with a read of another thread. Adding nothing does not.
pub(crate) fn read_to_change(word: &AtomicU64) -> u64 {
    if cfg!(co_loom) {
        word.fetch_add(0, Ordering::AcqRel)
    } else {
        word.load(Ordering::Acquire)
    }
}
