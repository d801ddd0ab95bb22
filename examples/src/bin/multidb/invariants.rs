//! The rules of the application, and what a transaction saw when one of them was broken.
//!
//! Each rule holds at the start, and each request keeps every rule if it runs alone. So if the
//! execution is serializable, no committed transaction can have seen a rule broken, read-only
//! transactions included. A transaction that aborted proves nothing: only those that committed count.

use std::fmt;

use serde::Serialize;

use crate::site::{Pair, Site};
use crate::workload::Account;

/// A state that no serial execution can show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Impossible {
    /// The balances of all sites do not add up.
    Total { expected: i64, found: i64 },
    /// An account is below zero, although no transfer takes more than there is.
    Overdrawn { account: Account, balance: i64 },
    /// Both halves of a register pair are 0, although nobody sets a half to 0 unless both are 1.
    BothTaken {
        pair: Pair,
        register: u32,
        halves: [i64; 2],
    },
    /// Two sites hold different rows, although rows come and go at both in one transaction.
    Rows { pair: Pair, counts: [usize; 2] },
    /// Two sites hold different counts, although each addition is made at both in one transaction.
    Counters {
        pair: Pair,
        counter: u32,
        counts: [i64; 2],
    },
    /// One site holds different counts, although each addition is made to both.
    Twins {
        site: Site,
        twin: u32,
        counts: [i64; 2],
    },
    /// A transaction counted the same rows twice and found different numbers.
    Recount {
        site: Site,
        pair: Pair,
        counts: [usize; 2],
    },
}

impl Impossible {
    /// One word for reports and JSON.
    pub(crate) const fn rule(&self) -> Rule {
        match self {
            Self::Total { .. } => Rule::Total,
            Self::Overdrawn { .. } => Rule::Overdraft,
            Self::BothTaken { .. } => Rule::Registers,
            Self::Rows { .. } => Rule::Rows,
            Self::Counters { .. } => Rule::Counters,
            Self::Twins { .. } => Rule::Twins,
            Self::Recount { .. } => Rule::Recount,
        }
    }
}

/// The rules, by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Total,
    Overdraft,
    Registers,
    Rows,
    Counters,
    Twins,
    Recount,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "the total of all accounts never changes",
            Self::Overdraft => "no account falls below zero",
            Self::Registers => "of two registers at two sites, at least one is 1",
            Self::Rows => "two sites hold the same rows",
            Self::Counters => "two sites hold the same count",
            Self::Twins => "two counts of one site are equal",
            Self::Recount => "counting twice gives the same number",
        })
    }
}

/// The total must be what it was at the start.
pub(crate) fn total(expected: i64, found: i64) -> Option<Impossible> {
    (expected != found).then_some(Impossible::Total { expected, found })
}

/// A balance is not negative.
pub(crate) fn balance(account: Account, balance: i64) -> Option<Impossible> {
    (balance < 0).then_some(Impossible::Overdrawn { account, balance })
}

/// At least one half is 1, and a half is 0 or 1.
pub(crate) fn registers(pair: Pair, register: u32, halves: [i64; 2]) -> Option<Impossible> {
    let in_range = halves.iter().all(|half| (0..=1).contains(half));
    (!in_range || halves.iter().sum::<i64>() < 1).then_some(Impossible::BothTaken {
        pair,
        register,
        halves,
    })
}

/// Both sites hold the same rows. `keys` are the rows found at each.
pub(crate) fn rows<K: PartialEq>(pair: Pair, keys: [&[K]; 2]) -> Option<Impossible> {
    (keys[0] != keys[1]).then(|| Impossible::Rows {
        pair,
        counts: keys.map(<[K]>::len),
    })
}

/// Both sites hold the same count.
pub(crate) fn counters(pair: Pair, counter: u32, counts: [i64; 2]) -> Option<Impossible> {
    (counts[0] != counts[1]).then_some(Impossible::Counters {
        pair,
        counter,
        counts,
    })
}

/// Both counts of one site are equal.
pub(crate) fn twins(site: Site, twin: u32, counts: [i64; 2]) -> Option<Impossible> {
    (counts[0] != counts[1]).then_some(Impossible::Twins { site, twin, counts })
}

/// Counting twice gives the same rows.
pub(crate) fn recount<K: PartialEq>(site: Site, pair: Pair, keys: [&[K]; 2]) -> Option<Impossible> {
    (keys[0] != keys[1]).then(|| Impossible::Recount {
        site,
        pair,
        counts: keys.map(<[K]>::len),
    })
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total { expected, found } => write!(
                f,
                "an audit added up {found} over all accounts of all sites; transfers never change \
                 the total of {expected}"
            ),
            Self::Overdrawn { account, balance } => write!(
                f,
                "account {} at {} held {balance}; no transfer takes more than there is",
                account.number, account.site
            ),
            Self::BothTaken {
                pair,
                register,
                halves: [left, right],
            } => {
                let [first, second] = pair.sites();
                write!(
                    f,
                    "register {register} was {left} at {first} and {right} at {second}; no \
                     transaction sets one to 0 unless both are 1"
                )
            }
            Self::Rows {
                pair,
                counts: [left, right],
            } => {
                let [first, second] = pair.sites();
                write!(
                    f,
                    "{left} rows at {first} and {right} others at {second}; rows come and go at \
                     both in one transaction"
                )
            }
            Self::Counters {
                pair,
                counter,
                counts: [left, right],
            } => {
                let [first, second] = pair.sites();
                write!(
                    f,
                    "counter {counter} was {left} at {first} and {right} at {second}; each addition \
                     is made at both in one transaction"
                )
            }
            Self::Twins {
                site,
                twin,
                counts: [left, right],
            } => write!(
                f,
                "the twin counts {twin} at {site} were {left} and {right}; each addition is made to \
                 both in one transaction"
            ),
            Self::Recount {
                site,
                pair,
                counts: [first, second],
            } => write!(
                f,
                "one transaction counted the rows of {pair} at {site} twice and found {first}, then \
                 {second} (or others)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_hold_say_nothing() {
        let account = Account {
            site: Site::A,
            number: 1,
        };
        assert_eq!(total(300, 300), None);
        assert_eq!(balance(account, 0), None);
        for halves in [[1, 1], [0, 1], [1, 0]] {
            assert_eq!(registers(Pair::BC, 0, halves), None);
        }
        assert_eq!(rows(Pair::AB, [&[1, 2], &[1, 2]]), None);
        assert_eq!(counters(Pair::AC, 0, [7, 7]), None);
        assert_eq!(twins(Site::C, 0, [7, 7]), None);
        assert_eq!(recount(Site::C, Pair::AC, [&[1], &[1]]), None);
    }

    #[test]
    fn a_broken_rule_is_seen_and_said() {
        let account = Account {
            site: Site::A,
            number: 1,
        };
        let seen = [
            (total(300, 290), Rule::Total, "290"),
            (balance(account, -1), Rule::Overdraft, "-1"),
            (
                registers(Pair::BC, 4, [0, 0]),
                Rule::Registers,
                "register 4 was 0 at B and 0 at C",
            ),
            (registers(Pair::BC, 4, [2, 1]), Rule::Registers, "2 at B"),
            (
                rows(Pair::AB, [&[1, 2][..], &[1][..]]),
                Rule::Rows,
                "2 rows at A",
            ),
            (
                rows(Pair::AB, [&[1, 2], &[1, 3]]),
                Rule::Rows,
                "2 others at B",
            ),
            (
                counters(Pair::AC, 0, [7, 8]),
                Rule::Counters,
                "7 at A and 8 at C",
            ),
            (twins(Site::C, 0, [7, 8]), Rule::Twins, "7 and 8"),
            (
                recount(Site::C, Pair::AC, [&[1][..], &[][..]]),
                Rule::Recount,
                "1, then 0",
            ),
        ];
        for (impossible, rule, words) in seen {
            let impossible = impossible.unwrap();
            assert_eq!(impossible.rule(), rule);
            assert!(impossible.to_string().contains(words), "{impossible}");
        }
    }
}
