//! The site's logical clock for decision stamps.
//!
//! A vote ticks it; a learned decision raises it. Under the vote rule
//! [`VoteRule::Withhold`](crate::VoteRule::Withhold) the stamps then grow along every precedence
//! (invariant I6): if T1 → T2 at some site, T2 voted there after the site learned T1's decision.

use crate::id::Stamp;
use crate::sync::{AtomicU64, Ordering};

/// A logical clock, shared by the threads of one site.
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Moves the clock on by one and reads it: the stamp of a vote or of a local commit.
    pub fn tick(&self) -> Stamp {
        Stamp(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Moves the clock to `stamp` unless it is already there or beyond: a decision was learned, or a
    /// query with this stamp begins.
    pub fn raise(&self, stamp: Stamp) {
        self.0.fetch_max(stamp.0, Ordering::AcqRel);
    }

    /// Where the clock stands.
    pub fn now(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Acquire))
    }
}

#[cfg(all(test, not(any(co_loom, co_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_vote_after_a_learned_decision_is_stamped_later() {
        let clock = Clock::new();
        assert_eq!(clock.tick(), Stamp(1));
        clock.raise(Stamp(7));
        clock.raise(Stamp(3));
        assert_eq!(clock.now(), Stamp(7));
        assert_eq!(clock.tick(), Stamp(8));
    }
}
