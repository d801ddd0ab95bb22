//! A small generator of numbers, so that a failure can be repeated.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a module of test crates, each of which needs other parts of it"
)]

/// A linear congruential generator (Knuth's MMIX), with this seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
