//! The smallest of what a search finds.
//!
//! Every thread keeps its own; all see how many events the smallest so far has, so that nobody looks at larger histories. Which
//! one is the smallest does not depend on threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What can be smaller than another.
pub(super) trait Ranked {
    /// How many events it has, then an order that is always the same.
    type Rank<'a>: Ord
    where
        Self: 'a;

    fn rank(&self) -> Self::Rank<'_>;

    /// How many events it has.
    fn events(&self) -> usize;
}

/// How many events the smallest has that any thread has found.
#[derive(Debug)]
pub(super) struct Size(AtomicUsize);

impl Size {
    pub(super) fn unbounded() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

/// The smallest that one thread has found.
#[derive(Debug)]
pub(super) struct Smallest<'a, T> {
    of_all: &'a Size,
    found: Option<Box<T>>,
}

impl<'a, T: Ranked> Smallest<'a, T> {
    pub(super) fn nothing(of_all: &'a Size) -> Self {
        Self {
            of_all,
            found: None,
        }
    }

    /// Keeps what is found, unless something smaller is kept.
    pub(super) fn keep(&mut self, found: T) {
        self.keep_boxed(Box::new(found));
    }

    fn keep_boxed(&mut self, found: Box<T>) {
        self.of_all.0.fetch_min(found.events(), Ordering::Relaxed);
        let smaller = |held: &T| found.rank() < held.rank();
        if self.found.as_deref().is_none_or(smaller) {
            self.found = Some(found);
        }
    }

    /// Keeps what another thread has kept.
    pub(super) fn join(&mut self, other: Self) {
        if let Some(found) = other.found {
            self.keep_boxed(found);
        }
    }

    /// The most events that something smaller could have.
    pub(super) fn limit(&self) -> usize {
        self.of_all.0.load(Ordering::Relaxed)
    }

    pub(super) fn take(self) -> Option<Box<T>> {
        self.found
    }
}
