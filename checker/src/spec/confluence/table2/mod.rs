//! The rows of Table 2, each as an application of a few lines.
//!
//! Tables and collections are [`Rows`](super::lattice::Rows): versions and tombstones. Every write makes a version of its
//! own, so that the merge, a union, never takes two writes for one.

mod collections;
mod counters;
mod keys;
mod relations;

use super::catalogue::Visitor;

/// Shows the rows in the order of the paper.
pub(super) fn visit(visitor: &mut impl Visitor) {
    relations::visit(visitor);
    keys::visit(visitor);
    relations::visit_derived(visitor);
    counters::visit(visitor);
    collections::visit(visitor);
}
