//! What a global transaction id is made of.
//!
//! A gtid is `coordinator (8 bits) | epoch (24 bits) | counter (32 bits)`. The epoch grows by one at
//! every start of the coordinator and is in its log before the first gtid of that epoch is handed
//! out; hence no gtid is ever handed out twice, restarts included.

use std::fmt;

use co_core::Gtid;

/// Which coordinator. Coordinators that share a site need different ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CoordinatorId(pub u8);

impl fmt::Display for CoordinatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C{}", self.0)
    }
}

/// One life of a coordinator: 24 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch before the first start: no gtid bears it.
    pub const NONE: Self = Self(0);

    /// The last epoch there is.
    pub const LAST: Self = Self((1 << 24) - 1);

    /// The epoch of this number; `None` above 24 bits.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::LAST.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The epoch after this one; `None` after the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

/// The parts of a gtid.
///
/// ```
/// use coco::protocol::{CoordinatorId, Epoch, GtidParts};
/// let parts = GtidParts { coordinator: CoordinatorId(7), epoch: Epoch::new(2).unwrap(), counter: 5 };
/// assert_eq!(GtidParts::of(parts.gtid()), parts);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GtidParts {
    /// Who handed it out.
    pub coordinator: CoordinatorId,
    /// In which life.
    pub epoch: Epoch,
    /// The how-manieth of that life.
    pub counter: u32,
}

impl GtidParts {
    /// Takes a gtid apart.
    #[must_use]
    pub const fn of(gtid: Gtid) -> Self {
        let [coordinator, e2, e1, e0, c3, c2, c1, c0] = gtid.0.to_be_bytes();
        Self {
            coordinator: CoordinatorId(coordinator),
            epoch: Epoch(u32::from_be_bytes([0, e2, e1, e0])),
            counter: u32::from_be_bytes([c3, c2, c1, c0]),
        }
    }

    /// Who handed the gtid out.
    #[must_use]
    pub const fn coordinator_of(gtid: Gtid) -> CoordinatorId {
        Self::of(gtid).coordinator
    }

    /// Puts the gtid together.
    #[must_use]
    pub const fn gtid(self) -> Gtid {
        let [_, e2, e1, e0] = self.epoch.0.to_be_bytes();
        let [c3, c2, c1, c0] = self.counter.to_be_bytes();
        Gtid(u64::from_be_bytes([
            self.coordinator.0,
            e2,
            e1,
            e0,
            c3,
            c2,
            c1,
            c0,
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_gtid_are_the_same_thing_at_the_edges() {
        for coordinator in [0, 1, 255] {
            for epoch in [0, 1, Epoch::LAST.0] {
                for counter in [0, 1, u32::MAX] {
                    let parts = GtidParts {
                        coordinator: CoordinatorId(coordinator),
                        epoch: Epoch(epoch),
                        counter,
                    };
                    assert_eq!(GtidParts::of(parts.gtid()), parts);
                }
            }
        }
    }

    #[test]
    fn a_coordinator_is_shown_by_its_number() {
        assert_eq!(CoordinatorId(7).to_string(), "C7");
    }

    #[test]
    fn epochs_end_at_24_bits() {
        assert_eq!(Epoch::LAST.next(), None);
        assert_eq!(Epoch::new(1 << 24), None);
        assert_eq!(Epoch::NONE.next(), Epoch::new(1));
    }
}
