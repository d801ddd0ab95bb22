//! Random schedules of eight threads over whole sites, far beyond what loom can search.
//!
//! Every thread runs transactions over three keys, with random operations, votes, aborts and dooms. The values
//! that were read are replayed in commit order, and I1, I3 and I7 are checked; a thread that is never woken is a
//! deadlock that shuttle reports.
#![cfg(co_shuttle)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests may panic, and say how to see a failure again"
)]

#[path = "random/crew.rs"]
mod crew;
#[path = "random/edges.rs"]
mod edges;
#[path = "random/history.rs"]
mod history;
#[path = "random/locking.rs"]
mod locking;
#[path = "random/optimistic.rs"]
mod optimistic;
#[path = "random/snapshots.rs"]
mod snapshots;

use co_core::LockPolicy;

use crew::explore;
use edges::Edges;
use locking::Locking;
use optimistic::Optimistic;
use snapshots::Snapshots;

#[test]
fn a_site_under_ss2pl() {
    explore("a_site_under_ss2pl", || Locking::new(LockPolicy::Ss2pl));
}

#[test]
fn a_site_under_sco() {
    explore("a_site_under_sco", || Locking::new(LockPolicy::Sco));
}

#[test]
fn a_site_under_ordered_sharing() {
    explore("a_site_under_ordered_sharing", || {
        Locking::new(LockPolicy::OrderedSharing { longest_chain: 3 })
    });
}

#[test]
fn a_site_that_reports_its_own_edges() {
    explore("a_site_that_reports_its_own_edges", Edges::new);
}

#[test]
fn a_site_that_validates() {
    explore("a_site_that_validates", Optimistic::new);
}

#[test]
fn a_site_with_snapshots() {
    explore("a_site_with_snapshots", Snapshots::new);
}
