//! Counts of what begins and ends, without a cache line that all threads write.
//!
//! Each thread has a row of its own, so counting is a load and a store. Threads beyond [`ROWS`], and a
//! thread that is just ending, share one row and count by read-modify-write. In a model everybody shares.
//!
//! Invariants:
//! - N1 A row of its own is written by one thread at a time: a thread takes its number from [`Numbers`] and
//!   gives it back when it ends, both under one mutex.
//! - N2 Nothing is counted as ended that a reader does not also count as begun: a reader adds up the ends
//!   first.

use crate::sync::{AtomicU64, MODELLED, Ordering};

/// Threads that have a row of their own.
const ROWS: usize = if MODELLED { 0 } else { 31 };

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Count {
    Begun = 0,
    /// Ended, and its vote had not been cast as soon as it was asked for.
    Ended = 1,
    /// Ended, and its vote had been cast as soon as it was asked for.
    EndedAtOnce = 2,
}

/// One thread's counts, on cache lines that nobody else writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Row([AtomicU64; 3]);

#[derive(Debug)]
pub(super) struct Tally(Box<[Row]>);

impl Tally {
    pub(super) fn new() -> Self {
        Self((0..=ROWS).map(|_| Row::default()).collect())
    }

    /// Counts one more; a number that no other call for the same count returns.
    pub(super) fn add(&self, count: Count) -> u64 {
        let own = numbers::own();
        let row = own.unwrap_or(ROWS);
        let counter = &self.0[row].0[count as usize];
        let before = if own.is_some() {
            let before = counter.load(Ordering::Relaxed);
            counter.store(before + 1, Ordering::Release);
            before
        } else {
            counter.fetch_add(1, Ordering::Release)
        };
        before * (ROWS as u64 + 1) + row as u64 + 1
    }

    pub(super) fn total(&self, count: Count) -> u64 {
        let counters = self.0.iter().map(|row| &row.0[count as usize]);
        counters
            .map(|counter| counter.load(Ordering::Acquire))
            .sum()
    }
}

#[cfg(not(any(co_loom, co_shuttle)))]
mod numbers {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::ROWS;
    use crate::sync::StaticMutex;

    /// Numbers of the threads that have a row; the lowest free one goes first.
    #[derive(Debug)]
    struct Numbers {
        next: usize,
        free: BTreeSet<usize>,
    }

    static NUMBERS: StaticMutex<Numbers> = StaticMutex::new(Numbers {
        next: 0,
        free: BTreeSet::new(),
    });

    /// Gives the number back when the thread ends.
    struct Number(usize);

    impl Number {
        fn take() -> Self {
            let mut numbers = NUMBERS.lock();
            let free = numbers.free.pop_first();
            Self(free.unwrap_or_else(|| {
                numbers.next += 1;
                numbers.next - 1
            }))
        }
    }

    impl Drop for Number {
        fn drop(&mut self) {
            KNOWN.set(ENDING);
            NUMBERS.lock().free.insert(self.0);
        }
    }

    const UNKNOWN: usize = usize::MAX;
    const ENDING: usize = usize::MAX - 1;

    thread_local! {
        static NUMBER: Number = Number::take();
        /// The same number where reading it costs nothing: no destructor to register or to ask for.
        static KNOWN: Cell<usize> = const { Cell::new(UNKNOWN) };
    }

    /// The calling thread's row, if it has one.
    pub(super) fn own() -> Option<usize> {
        let mut known = KNOWN.get();
        if known == UNKNOWN {
            known = NUMBER.try_with(|number| number.0).unwrap_or(ENDING);
            KNOWN.set(known);
        }
        (known < ROWS).then_some(known)
    }
}

#[cfg(any(co_loom, co_shuttle))]
mod numbers {
    pub(super) fn own() -> Option<usize> {
        None
    }
}

#[cfg(all(test, not(any(co_loom, co_shuttle))))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn threads_count_apart_and_are_added_up() {
        let tally = Tally::new();
        let numbers: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..ROWS + 9)
                .map(|_| scope.spawn(|| (0..100).map(|_| tally.add(Count::Begun)).collect()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let all: Vec<u64> = numbers.into_iter().flatten().collect();
        assert_eq!(tally.total(Count::Begun), 100 * (ROWS as u64 + 9));
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "a scoped thread may count as ended before its thread-local values are dropped"
    )]
    fn a_number_is_given_back_by_a_thread_that_ends() {
        for _ in 0..4 * ROWS {
            let own = std::thread::spawn(numbers::own).join().unwrap();
            // Other tests of the process hold numbers too, and far fewer than all.
            assert!(own.is_some());
        }
    }
}
