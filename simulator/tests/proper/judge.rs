//! What has been told irrevocably, and whether it is serializable: by trying every serial order.
//!
//! This is the specification of serializability as in Complete CALM, section 7.1: outcomes are sets of facts, a larger
//! set refines a smaller one, and a set of facts is an outcome if the committed transactions have a serial order that
//! explains all of them. It knows nothing of graphs, engines or the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::workload::{key_name, permutations};

/// Something that holds for ever once it was told. What an undecided or aborted transaction has read is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fact {
    /// The client of a transaction was told that it is committed.
    Commit { txn: usize },
    /// A committed transaction has read what another one wrote, or what was there before all of them.
    Read {
        txn: usize,
        key: usize,
        from: Option<usize>,
    },
    /// A committed transaction has written a key.
    Write { txn: usize, key: usize },
    /// A site has replaced one committed value by that of a transaction.
    Replaced {
        txn: usize,
        key: usize,
        before: Option<usize>,
    },
}

/// A set of facts: an outcome if it is serializable.
pub(crate) type Facts = BTreeSet<Fact>;

/// Whether some serial order of the committed transactions explains every fact.
pub(crate) fn is_serializable(facts: &Facts) -> bool {
    let committed: Vec<usize> = facts.iter().filter_map(committed).collect();
    permutations(committed.len())
        .iter()
        .any(|order| explains(order.iter().map(|&at| committed[at]), facts))
}

fn committed(fact: &Fact) -> Option<usize> {
    match fact {
        Fact::Commit { txn } => Some(*txn),
        Fact::Read { .. } | Fact::Write { .. } | Fact::Replaced { .. } => None,
    }
}

/// Runs the transactions one after the other: each reads what the last one before it wrote, and replaces it.
fn explains(order: impl Iterator<Item = usize>, facts: &Facts) -> bool {
    let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
    let mut ran = BTreeSet::new();
    for one in order {
        ran.insert(one);
        let agree = facts.iter().all(|fact| match *fact {
            Fact::Read { txn, key, from } => txn != one || newest.get(&key).copied() == from,
            Fact::Replaced { txn, key, before } => {
                txn != one || newest.get(&key).copied() == before
            }
            Fact::Commit { .. } | Fact::Write { .. } => true,
        });
        if !agree {
            return false;
        }
        for fact in facts {
            if let Fact::Write { txn, key } = *fact
                && txn == one
            {
                newest.insert(key, one);
            }
        }
    }
    // Whose value a site shows has committed.
    facts.iter().all(|fact| match fact {
        Fact::Replaced { txn, .. } => ran.contains(txn),
        Fact::Commit { .. } | Fact::Read { .. } | Fact::Write { .. } => true,
    })
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |txn: &Option<usize>| txn.map_or_else(|| "⊥".to_owned(), |txn| format!("T{}", txn + 1));
        match self {
            Self::Commit { txn } => write!(f, "commit(T{})", txn + 1),
            Self::Read { txn, key, from } => {
                write!(f, "read(T{}, {}, {})", txn + 1, key_name(*key), name(from))
            }
            Self::Write { txn, key } => write!(f, "write(T{}, {})", txn + 1, key_name(*key)),
            Self::Replaced { txn, key, before } => {
                write!(
                    f,
                    "replaced({}, {}, T{})",
                    key_name(*key),
                    name(before),
                    txn + 1
                )
            }
        }
    }
}

/// The facts as a set is written.
pub(crate) fn in_words(facts: &Facts) -> String {
    let facts: Vec<String> = facts.iter().map(ToString::to_string).collect();
    format!("{{{}}}", facts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITS: [Fact; 2] = [Fact::Commit { txn: 0 }, Fact::Commit { txn: 1 }];

    fn with(facts: &[Fact]) -> Facts {
        facts.iter().chain(&COMMITS).copied().collect()
    }

    const fn read(txn: usize, key: usize, from: Option<usize>) -> Fact {
        Fact::Read { txn, key, from }
    }

    const fn write(txn: usize, key: usize) -> Fact {
        Fact::Write { txn, key }
    }

    #[test]
    fn the_witness_of_the_paper_has_no_serial_order_and_its_first_half_has() {
        // Section 7.1: T1 reads x and writes y, T2 reads y and writes x, and both have seen nothing.
        let all = with(&[read(0, 0, None), write(0, 1), read(1, 1, None), write(1, 0)]);
        assert!(!is_serializable(&all));
        let first: Facts = [Fact::Commit { txn: 0 }, read(0, 0, None), write(0, 1)].into();
        assert!(is_serializable(&first));
        let seen = with(&[
            read(0, 0, None),
            write(0, 1),
            read(1, 1, Some(0)),
            write(1, 0),
        ]);
        assert!(is_serializable(&seen));
    }

    #[test]
    fn what_is_read_of_an_uncommitted_transaction_has_no_serial_order() {
        let facts: Facts = [Fact::Commit { txn: 1 }, read(1, 0, Some(0))].into();
        assert!(!is_serializable(&facts));
    }

    #[test]
    fn two_sites_that_install_in_opposite_orders_have_no_serial_order() {
        let writes = [write(0, 0), write(0, 1), write(1, 0), write(1, 1)];
        let replaced = |txn, key, before| Fact::Replaced { txn, key, before };
        let mut facts = with(&writes);
        assert!(is_serializable(&facts));
        facts.extend([replaced(0, 0, None), replaced(1, 0, Some(0))]);
        assert!(is_serializable(&facts));
        facts.extend([replaced(1, 1, None), replaced(0, 1, Some(1))]);
        assert!(!is_serializable(&facts));
    }

    #[test]
    fn a_lost_update_and_a_value_of_an_aborted_transaction_have_none() {
        let lost = with(&[read(0, 0, None), write(0, 0), read(1, 0, None), write(1, 0)]);
        assert!(!is_serializable(&lost));
        let shown: Facts = [Fact::Replaced {
            txn: 0,
            key: 0,
            before: None,
        }]
        .into();
        assert!(!is_serializable(&shown));
    }
}
