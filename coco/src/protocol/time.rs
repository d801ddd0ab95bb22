//! Time as a parameter: the machines never read a clock, the shell says what time it is.
//!
//! Invariants: (T1) a transaction has at most one timer; (T2) timers come due in order of time and
//! then of transaction, so that a run is a function of its inputs alone.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Add;
use std::time::Duration;

use co_core::Gtid;
use foldhash::fast::FixedState;

/// Microseconds on a clock that the shell owns. Only differences have a meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// One timer for each transaction that has one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Time, Gtid)>,
    of: HashMap<Gtid, Time, FixedState>,
}

impl Hash for Timers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The other index says the same.
        self.order.hash(state);
    }
}

impl Timers {
    /// Sets the transaction's timer, in place of the one it had (T1).
    pub(super) fn set(&mut self, gtid: Gtid, at: Time) {
        self.cancel(gtid);
        self.of.insert(gtid, at);
        self.order.insert((at, gtid));
    }

    /// Drops the transaction's timer, if it has one.
    pub(super) fn cancel(&mut self, gtid: Gtid) {
        if let Some(at) = self.of.remove(&gtid) {
            let removed = self.order.remove(&(at, gtid));
            assert!(removed, "T1: a timer is in both indexes");
        }
    }

    /// When the next timer comes due.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes out one timer that is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Gtid> {
        let &(at, gtid) = self.order.first()?;
        if at > now {
            return None;
        }
        self.cancel(gtid);
        Some(gtid)
    }
}

/// `base` doubled `times` times, at most `limit`.
pub(super) fn backoff(base: Duration, times: u32, limit: Duration) -> Duration {
    base.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX))
        .min(limit.max(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_replaces_the_one_before_and_ties_go_by_transaction() {
        let mut timers = Timers::default();
        timers.set(Gtid(2), Time(5));
        timers.set(Gtid(1), Time(9));
        timers.set(Gtid(1), Time(5));
        assert_eq!(timers.next(), Some(Time(5)));
        assert_eq!(timers.pop_due(Time(4)), None);
        assert_eq!(timers.pop_due(Time(5)), Some(Gtid(1)));
        assert_eq!(timers.pop_due(Time(5)), Some(Gtid(2)));
        assert_eq!(timers.pop_due(Time(u64::MAX)), None);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit_and_time_saturates() {
        let ms = Duration::from_millis;
        assert_eq!(backoff(ms(10), 0, ms(100)), ms(10));
        assert_eq!(backoff(ms(10), 3, ms(100)), ms(80));
        assert_eq!(backoff(ms(10), 4, ms(100)), ms(100));
        assert_eq!(backoff(ms(10), 200, ms(100)), ms(100));
        assert_eq!(Time(u64::MAX) + Duration::MAX, Time(u64::MAX));
        assert_eq!(Time(3).since(Time(5)), Duration::ZERO);
    }
}
