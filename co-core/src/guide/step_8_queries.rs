//! # Snapshots and queries
//!
//! A long report need not vote. Every YES carries a stamp, every commit the largest stamp of its votes, and
//! stamps grow along every conflict, over all sites. So what was decided up to a stamp is a prefix of the
//! serial order, and a [`Query`](crate::Query) at one stamp at every site reads it: no marks, no aborts, and it
//! waits only for a vote that may still commit at or before its stamp.
//!
//! The store has to keep versions under stamps for it, and mark its writers in a
//! [`VersionOrder`](crate::VersionOrder), which takes the place of the locks: readers get a snapshot, and no
//! operation waits for a writer at work.
//!
//! ```
//! # use std::collections::BTreeMap;
//! # use co_core::*;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scheduler = Scheduler::new(VoteRule::Withhold);
//! let order = VersionOrder::new(scheduler.clone());
//! let queries = Queries::new();
//! let mut versions: BTreeMap<Stamp, i64> = BTreeMap::from([(Stamp(0), 0)]); // of one key
//!
//! let writer = scheduler.begin(Kind::Local { priority: Priority(1) });
//! assert_eq!(order.intend(&writer, &"x", WriteKind::Put), Ok(()));
//! assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
//! let stamp = queries.vote(&writer)?; // a global one sends it with its YES
//!
//! let before = queries.begin(&scheduler, Stamp(stamp.0 - 1))?;
//! assert!(before.settled(&order, &"x", None).is_settled()); // no need to wait for the writer
//! let query = queries.begin(&scheduler, stamp)?;
//! assert!(!query.settled(&order, &"x", None).is_settled());
//!
//! queries.learn(stamp); // the decision's stamp
//! order.install(&writer, |_position| versions.insert(stamp, 7))?;
//! scheduler.decided(&writer, Outcome::Commit)?;
//! order.retire(&writer);
//! queries.settle(&writer);
//!
//! query.settled(&order, &"x", None).wait();
//! let read = |query: &Query<'_>| versions.range(..=query.stamp()).next_back().map(|(_, value)| *value);
//! assert_eq!((read(&before), read(&query)), (Some(0), Some(7)));
//! # Ok(())
//! # }
//! ```
