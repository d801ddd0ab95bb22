//! The compatibility matrices.

/// What a transaction wants to do with a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum LockMode {
    /// Read it.
    Read,
    /// Overwrite or delete it.
    Write,
    /// Add to it; additions commute with each other and with nothing else.
    Increment,
}

/// Which matrix a table uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum LockPolicy {
    /// Strong strict two-phase locking: rigorous schedules, votes are never withheld.
    #[default]
    Ss2pl,
    /// Strict commitment ordering: a write does not wait for readers; the writer's vote does.
    Sco,
}

/// What an earlier request means for a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compatibility {
    /// Nothing.
    Free,
    /// The later one is granted, and its transaction comes after the earlier one.
    Ordered,
    /// The later one waits.
    Waits,
}

impl LockPolicy {
    pub(super) fn cell(self, earlier: LockMode, later: LockMode) -> Compatibility {
        match (earlier, later) {
            (LockMode::Read, LockMode::Read) | (LockMode::Increment, LockMode::Increment) => {
                Compatibility::Free
            }
            (LockMode::Read, LockMode::Write | LockMode::Increment) if self == Self::Sco => {
                Compatibility::Ordered
            }
            _ => Compatibility::Waits,
        }
    }
}

impl LockMode {
    /// Whether a granted request of this mode makes one of mode `other` unnecessary.
    pub(super) fn covers(self, other: Self) -> bool {
        self == other || self == Self::Write
    }
}

#[cfg(all(test, not(co_loom)))]
mod tests {
    use super::*;
    use Compatibility::{Free, Ordered, Waits};
    use LockMode::{Increment, Read, Write};

    #[test]
    fn the_policies_differ_in_the_read_row_only() {
        let matrix = |policy: LockPolicy| {
            [Read, Write, Increment]
                .map(|held| [Read, Write, Increment].map(|asked| policy.cell(held, asked)))
        };
        let rest = [[Waits, Waits, Waits], [Waits, Waits, Free]];
        assert_eq!(matrix(LockPolicy::Ss2pl)[0], [Free, Waits, Waits]);
        assert_eq!(matrix(LockPolicy::Sco)[0], [Free, Ordered, Ordered]);
        assert_eq!(matrix(LockPolicy::Ss2pl)[1..], rest);
        assert_eq!(matrix(LockPolicy::Sco)[1..], rest);
    }
}
