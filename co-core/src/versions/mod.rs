//! Multi-version commitment ordering (§2.6): who read which version, who is going to write the next one.
//!
//! With versions an edge can run *into* a transaction that has finished, even into one that has voted or
//! committed: a reader that still sees the version before. [`VersionOrder`] keeps the marks from which such
//! edges follow, and tells them to the scheduler. Under [`VoteRule::Withhold`](crate::VoteRule) the four
//! conditions of a vote are then
//!
//! | | T asks for its vote, and | then | by |
//! |---|---|---|---|
//! | A | T read a version older than a committed one | T is overtaken: NO | the late edge into the writer |
//! | B | T read a version older than a voted writer's | T waits: the writer's commit means NO | the same edge |
//! | C | a voted transaction read what T overwrites | T waits for its decision | the edge reader → T |
//! | D | a working one did | T waits, but not for ever | the same edge, and taking turns |
//!
//! and a vote comes after the decision on whoever wrote the version before. [`Queries`] is for reads that take
//! no part in any of this: they see what was decided up to a stamp.
//!
//! Values are not here. An engine stores every version under the [`Position`] that
//! [`VersionOrder::install`] gives it and reads the newest one at or before its [`Snapshot`]'s.
//!
//! # Taking turns (condition D)
//!
//! Readers of the old version may keep coming, and a writer that is ready would wait for all of them. A reader
//! is *late* for a writer if its snapshot was taken after somebody met that writer ready. Once a writer has had
//! its fill of late readers ([`VersionOrder::with_late_readers`]) the next one waits for the writer's end
//! ([`Reading::After`]) and reads again, on a snapshot moved past the writer's commit if all it has read is
//! unchanged. So a writer waits for the readers that were there when it became ready, which are finitely many,
//! and for a bounded number of later ones. The reader's wait is an edge like any other, so a cycle through it
//! is found; who is let past a writer once precedes it anyway and is let past it again.
//!
//! # State, and who may touch it
//!
//! | state | holding |
//! |---|---|
//! | what one transaction read, wrote and shows (`Marks`) | its record's mutex |
//! | ranges that were scanned | their mutex; their number is read without |
//! | versions, snapshots, ended readers (`Timeline`) | its mutex |
//! | marks and recent versions of one key (`Item`) | the mutex of the key's shard |
//! | late readers and waiters of a writer (`Turns`) | its own mutex |
//!
//! Locks are taken in the order of the table. Edges, waits and answers are given under none of them.
//!
//! Invariants (numbers as elsewhere in this crate; MV for this module):
//! - MV1 A mark stands from the operation to [`VersionOrder::retire`], which comes after the decision.
//! - MV2 In one step under the key's mutex a writer's intent becomes its version; so a reader meets the one or
//!   the other.
//! - MV3 A reader leaves its mark and looks for writers in one step under the key's mutex, a writer leaves its
//!   intent and looks for readers in one step: of two that meet, at least one sees the other. A range is marked
//!   before its keys are looked at, and a writer looks at the ranges after it has left its intent; so of these two,
//!   too, at least one sees the other. Who has held a shard's mutex after a scan did reads the number of ranges
//!   that the scan has raised before.
//! - MV4 A snapshot shows the whole of a commit or nothing: positions are handed out, and snapshots taken, under
//!   the timeline's mutex, and values are in place before the position is.
//! - MV5 A version is remembered here as long as the snapshot of an undecided transaction does not show it, and
//!   no longer.
//! - MV6 Under [`VoteRule::Withhold`](crate::VoteRule) what a transaction that is not doomed has read is the
//!   newest committed version, whatever its snapshot: who installs a newer one had to wait for it.
//! - MV7 Who asks for its turn is told when the writer ends: joining the writer's waiters and closing them
//!   exclude each other.

mod end;
mod item;
mod order;
mod query;
mod read;
mod record;
mod timeline;
mod turn;
mod write;

pub use order::{Reading, VersionOrder};
pub use query::{Queries, Query, Settled, TooOld};
pub use timeline::{Position, Snapshot};
pub use turn::Turn;
