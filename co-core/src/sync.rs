//! The only door to `std::sync`; to loom when built with `--cfg co_loom`, to shuttle with `--cfg co_shuttle`.
//!
//! loom tries every schedule of few steps and every value of the memory model; shuttle tries random schedules
//! of many threads, in which every load reads the newest value. A build is for one of the two.
//!
//! Locks here do not poison: a panic in this crate is a broken invariant and its message is the news,
//! not a second panic in whoever comes next.

#![allow(clippy::disallowed_types, reason = "this module is the door")]

#[cfg(all(co_loom, co_shuttle))]
compile_error!("a build is for loom or for shuttle, not for both");

#[cfg(not(any(co_loom, co_shuttle)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use std::sync::{Arc, Condvar as RawCondvar, Mutex as RawMutex, MutexGuard};
}

#[cfg(co_loom)]
mod real {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Condvar as RawCondvar, Mutex as RawMutex, MutexGuard};
}

#[cfg(all(co_shuttle, not(co_loom)))]
mod real {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use shuttle::sync::{Arc, Condvar as RawCondvar, Mutex as RawMutex, MutexGuard};
}

use std::sync::PoisonError;

pub(crate) use real::{Arc, AtomicU64, MutexGuard, Ordering, fence};
use real::{RawCondvar, RawMutex};

/// Whether a model checker schedules the threads. Capacities are small then, so that what is rare in a process
/// is common, and nobody looks again and again instead of waiting: to the checker that is a loop without end.
pub(crate) const MODELLED: bool = cfg!(any(co_loom, co_shuttle));

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

/// A mutex in a `static`, for what belongs to the process and not to a scheduler. No model checker sees it.
#[cfg(not(any(co_loom, co_shuttle)))]
pub(crate) struct StaticMutex<T>(RawMutex<T>);

#[cfg(not(any(co_loom, co_shuttle)))]
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

/// A value on the heap that is made when it is first asked for. In a model it is made at once, because
/// the checker would not see that the making comes before every use.
#[cfg(not(any(co_loom, co_shuttle)))]
#[derive(Debug)]
pub(crate) struct Lazy<T>(std::sync::OnceLock<Box<T>>);

#[cfg(not(any(co_loom, co_shuttle)))]
impl<T: Default> Lazy<T> {
    pub(crate) const fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    pub(crate) fn get(&self) -> &T {
        self.0.get_or_init(Box::default)
    }
}

#[cfg(any(co_loom, co_shuttle))]
#[derive(Debug)]
pub(crate) struct Lazy<T>(Box<T>);

#[cfg(any(co_loom, co_shuttle))]
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
