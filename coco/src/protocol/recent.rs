//! A bounded memory of what has ended, so that a repeated question gets the same answer.
//!
//! Invariant (M1): at most `limit` entries; the oldest goes first. Nothing may *depend* on an entry
//! being there: whoever finds none falls back to what is right for every unknown transaction.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use co_core::Gtid;
use foldhash::fast::FixedState;

/// The last `limit` values, by transaction. Nobody walks through them, so their order is nobody's concern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Recent<V> {
    limit: usize,
    order: VecDeque<Gtid>,
    values: HashMap<Gtid, V, FixedState>,
}

impl<V> Recent<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            order: VecDeque::new(),
            values: HashMap::default(),
        }
    }

    /// Remembers `value`, in place of what was remembered of the same transaction.
    pub(super) fn insert(&mut self, gtid: Gtid, value: V) {
        if self.limit == 0 {
            return;
        }
        if self.values.insert(gtid, value).is_none() {
            self.order.push_back(gtid);
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        assert!(self.values.len() <= self.limit, "M1: the memory is bounded");
    }

    pub(super) fn get(&self, gtid: Gtid) -> Option<&V> {
        self.values.get(&gtid)
    }
}

impl<V: Hash> Hash for Recent<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.limit.hash(state);
        for gtid in &self.order {
            (gtid, self.values.get(gtid)).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_first_and_a_repeated_one_is_replaced() {
        let mut recent = Recent::new(2);
        recent.insert(Gtid(1), 'a');
        recent.insert(Gtid(2), 'b');
        recent.insert(Gtid(1), 'c');
        assert_eq!(recent.get(Gtid(1)), Some(&'c'));
        recent.insert(Gtid(3), 'd');
        assert_eq!(recent.get(Gtid(1)), None);
        assert_eq!(
            (recent.get(Gtid(2)), recent.get(Gtid(3))),
            (Some(&'b'), Some(&'d'))
        );
    }

    #[test]
    fn a_limit_of_nothing_remembers_nothing() {
        let mut recent = Recent::new(0);
        recent.insert(Gtid(1), ());
        assert_eq!(recent.get(Gtid(1)), None);
    }
}
