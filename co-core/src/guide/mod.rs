//! From a key-value store to one that votes in commit order, one step after the other.
//!
//! Each step is a module of documentation with a program that runs. It shows what is new; the code of the steps
//! before is in it, hidden. The contract that the steps carry out is in the
//! [crate's documentation](crate#the-contract).
//!
//! | step | |
//! |---|---|
//! | [`step_1_the_store`] | A store |
//! | [`step_2_begin_and_end`] | Begin and end |
//! | [`step_3_conflicts`] | Find conflicts |
//! | [`step_4_the_vote`] | Ask for the vote, and wait |
//! | [`step_5_the_doomed`] | Abort and clean up |
//! | [`step_6_global`] | A global transaction |
//! | [`step_7_recovery`] | Come back from a crash |
//! | [`step_8_queries`] | Snapshots and queries |
//! | [`step_9_variants`] | Which variant |
//! | [`step_10_the_kit`] | See whether it holds |

pub mod step_10_the_kit;
pub mod step_1_the_store;
pub mod step_2_begin_and_end;
pub mod step_3_conflicts;
pub mod step_4_the_vote;
pub mod step_5_the_doomed;
pub mod step_6_global;
pub mod step_7_recovery;
pub mod step_8_queries;
pub mod step_9_variants;
