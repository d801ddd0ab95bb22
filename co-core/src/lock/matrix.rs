//! Which operations commute, and what a policy makes of two that do not.

use crate::graph::EdgeKind;

/// What a transaction wants to do with a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum LockMode {
    /// Read it.
    Read,
    /// Overwrite or delete it.
    Write,
    /// Add to it; additions commute with each other and with nothing else.
    Increment,
    /// An operation of the engine's own, from [`Commutativity::define`].
    Custom(Operation),
}

/// An operation of the engine's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Operation(u8);

/// What an operation does to the item: it decides which policies let it share the item, and whether an abort
/// takes the later transaction with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Effect {
    /// Its result depends on the item, and the item stays as it is.
    Observes,
    /// The item becomes something that does not depend on what it was, and nothing of it is returned.
    Replaces,
    /// The item becomes something that depends on what it was, and nothing of it is returned.
    Adjusts,
    /// The item changes, and the result tells something of what it was.
    ObservesAndChanges,
}

impl Effect {
    fn observes(self) -> bool {
        matches!(self, Self::Observes | Self::ObservesAndChanges)
    }

    pub(super) fn changes(self) -> bool {
        self != Self::Observes
    }
}

/// A table of operations: what each does, and which pairs commute.
///
/// [`LockMode::Read`], [`LockMode::Write`] and [`LockMode::Increment`] are in every table. What does not
/// commute conflicts, so a pair that nobody declared costs concurrency and never correctness. Declare that
/// two operations commute only if, in whatever state of the item, either order gives the same item and the
/// same two results (Weihl's forward commutativity is enough for engines that keep changes private until the
/// decision; one that changes in place needs backward commutativity and undoes by the inverse operation).
///
/// ```
/// use co_core::{Commutativity, Effect, LockMode, LockPolicy, LockTable, Scheduler, VoteRule};
///
/// let mut operations = Commutativity::new();
/// let insert = operations.define(Effect::Adjusts)?; // adds a member to a set
/// operations.commute(insert, insert);
///
/// let scheduler = Scheduler::new(VoteRule::Withhold);
/// let sets = LockTable::<u32>::with_operations(scheduler, LockPolicy::Sco, operations);
/// # drop(sets);
/// # Ok::<(), co_core::TooManyOperations>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commutativity {
    effects: Vec<Effect>,
    /// Row by operation, bit by operation.
    commute: Vec<u64>,
}

/// A table of operations holds 64 at most, the three built-in ones among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyOperations;

impl std::fmt::Display for TooManyOperations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a table of operations holds {MAX_OPERATIONS}; give one table per kind of item"
        )
    }
}

impl std::error::Error for TooManyOperations {}

const MAX_OPERATIONS: usize = 64;

impl Default for Commutativity {
    fn default() -> Self {
        Self::new()
    }
}

impl Commutativity {
    /// Reads commute, increments commute, nothing else does.
    #[must_use]
    pub fn new() -> Self {
        let mut table = Self {
            effects: vec![Effect::Observes, Effect::Replaces, Effect::Adjusts],
            commute: vec![0; 3],
        };
        table.commute(LockMode::Read, LockMode::Read);
        table.commute(LockMode::Increment, LockMode::Increment);
        table
    }

    /// Adds an operation that commutes with nothing yet.
    ///
    /// # Errors
    /// [`TooManyOperations`] when the table is full.
    pub fn define(&mut self, effect: Effect) -> Result<LockMode, TooManyOperations> {
        let next = self.effects.len();
        if next == MAX_OPERATIONS {
            return Err(TooManyOperations);
        }
        self.effects.push(effect);
        self.commute.push(0);
        let code = u8::try_from(next).map_err(|_| TooManyOperations)?;
        Ok(LockMode::Custom(Operation(code)))
    }

    /// Declares that two operations commute, in both orders. An operation of another table is ignored.
    pub fn commute(&mut self, one: LockMode, other: LockMode) {
        let (one, other) = (code(one), code(other));
        if one.max(other) < self.effects.len() {
            self.commute[one] |= 1 << other;
            self.commute[other] |= 1 << one;
        }
    }

    /// Whether two operations commute.
    #[must_use]
    pub fn commutes(&self, one: LockMode, other: LockMode) -> bool {
        let row = self.commute.get(code(one));
        code(other) < MAX_OPERATIONS && row.is_some_and(|row| row & (1 << code(other)) != 0)
    }

    /// What an operation does; one of another table may do anything.
    #[must_use]
    pub fn effect(&self, mode: LockMode) -> Effect {
        let effect = self.effects.get(code(mode));
        effect.copied().unwrap_or(Effect::ObservesAndChanges)
    }

    /// The kind of the edge from `earlier` to `later`, which do not commute.
    pub(super) fn edge(&self, earlier: LockMode, later: LockMode) -> EdgeKind {
        let (earlier, later) = (self.effect(earlier), self.effect(later));
        if earlier.changes() && later.observes() {
            EdgeKind::WriteRead
        } else if earlier.observes() && later.changes() {
            EdgeKind::ReadWrite
        } else {
            EdgeKind::WriteWrite
        }
    }
}

fn code(mode: LockMode) -> usize {
    match mode {
        LockMode::Read => 0,
        LockMode::Write => 1,
        LockMode::Increment => 2,
        LockMode::Custom(Operation(code)) => usize::from(code),
    }
}

/// Which matrix a table uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum LockPolicy {
    /// Strong strict two-phase locking: rigorous schedules, votes are never withheld.
    #[default]
    Ss2pl,
    /// Strict commitment ordering: a write does not wait for readers; the writer's vote does.
    ///
    /// A reader that was overtaken may read the key again, and an earlier reader may still be on its way to
    /// its first read: keep what it read, or the value before the write, until the reader is decided.
    Sco,
    /// Ordered sharing (Agrawal, El Abbadi, Lang 1994): nothing waits for a lock; votes come in the order of
    /// the requests. Reads see undecided writes, so an abort takes its readers with it.
    ///
    /// A request waits after all when it would make a chain of more than `longest_chain` transactions each
    /// of which falls with the one before, or when a transaction that others have read from would itself
    /// read undecided data. With `longest_chain` 1 nothing undecided is read.
    ///
    /// The engine keeps every undecided write of a key, in the order of the requests: a read sees the newest
    /// one, an abort takes one out, and a before-image would be wrong. Requests and the accesses they are for
    /// have to come in the same order: ask under a latch of the record, and when the request is granted at
    /// once, access the record before the latch is left. Whoever asks after a request that had to wait,
    /// waits until its transaction asks for something else or ends, so such an access needs no latch.
    OrderedSharing {
        /// The longest cascade, counting the transaction that aborts first.
        longest_chain: u8,
    },
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
    pub(super) fn cell(
        self,
        operations: &Commutativity,
        earlier: LockMode,
        later: LockMode,
    ) -> Compatibility {
        if operations.commutes(earlier, later) {
            return Compatibility::Free;
        }
        match self {
            Self::Ss2pl => Compatibility::Waits,
            Self::Sco if operations.effect(earlier).changes() => Compatibility::Waits,
            Self::Sco | Self::OrderedSharing { .. } => Compatibility::Ordered,
        }
    }

    /// Whether a change is seen by others before its transaction is decided.
    pub(super) fn is_dirty(self) -> bool {
        matches!(self, Self::OrderedSharing { .. })
    }
}

impl LockMode {
    /// Whether a granted request of this mode makes one of mode `other` unnecessary.
    pub(super) fn covers(self, other: Self) -> bool {
        self == other || self == Self::Write
    }
}

#[cfg(all(test, not(any(co_loom, co_shuttle))))]
mod tests {
    use super::*;
    use Compatibility::{Free, Ordered, Waits};
    use LockMode::{Increment, Read, Write};

    fn matrix(policy: LockPolicy) -> [[Compatibility; 3]; 3] {
        let operations = Commutativity::new();
        let modes = [Read, Write, Increment];
        modes.map(|held| modes.map(|asked| policy.cell(&operations, held, asked)))
    }

    #[test]
    fn ss2pl_and_sco_differ_in_the_read_row_only() {
        let rest = [[Waits, Waits, Waits], [Waits, Waits, Free]];
        assert_eq!(matrix(LockPolicy::Ss2pl)[0], [Free, Waits, Waits]);
        assert_eq!(matrix(LockPolicy::Sco)[0], [Free, Ordered, Ordered]);
        assert_eq!(matrix(LockPolicy::Ss2pl)[1..], rest);
        assert_eq!(matrix(LockPolicy::Sco)[1..], rest);
    }

    #[test]
    fn under_ordered_sharing_no_cell_waits() {
        let policy = LockPolicy::OrderedSharing { longest_chain: 9 };
        let expected = [
            [Free, Ordered, Ordered],
            [Ordered, Ordered, Ordered],
            [Ordered, Ordered, Free],
        ];
        assert_eq!(matrix(policy), expected);
    }

    #[test]
    fn a_table_of_operations_ends_at_sixty_four() {
        let mut operations = Commutativity::new();
        for _ in 3..MAX_OPERATIONS {
            let mode = operations.define(Effect::Adjusts).unwrap();
            operations.commute(mode, mode);
            assert!(operations.commutes(mode, mode) && !operations.commutes(mode, Write));
        }
        assert_eq!(operations.define(Effect::Adjusts), Err(TooManyOperations));
    }

    #[test]
    fn an_operation_of_another_table_conflicts_with_everything() {
        let foreign = Commutativity::new().define(Effect::Observes).unwrap();
        let mut own = Commutativity::new();
        own.commute(foreign, Read);
        assert!(!own.commutes(foreign, foreign) && !own.commutes(Read, foreign));
        assert_eq!(own.effect(foreign), Effect::ObservesAndChanges);
    }
}
