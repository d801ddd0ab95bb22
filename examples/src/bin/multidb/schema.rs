//! Where the data lie: keys, numbers, ranges and what a site holds at the start.
//!
//! | key                       | at                  | holds                                              |
//! |---------------------------|---------------------|----------------------------------------------------|
//! | `account/000`             | every site          | a balance                                          |
//! | `register/bc/00`          | both sites of a pair | 0 or 1; the two together are at least 1           |
//! | `row/bc/00`               | both sites of a pair | a row; present at both sites or at neither        |
//! | `counter/bc/00`           | both sites of a pair | a count; equal at both sites                      |
//! | `twin/00/left`, `.../right` | every site        | two counts of one site that are equal              |
//! | `note/00`                 | every site          | who changed something here last; overwritten blindly |
//!
//! All numbers are eight little-endian bytes, which is what the operation *increment* works on.

use crate::database::{Op, Range};
use crate::site::{Pair, Site};
use crate::workload::Sizes;

/// What each account holds at the start.
pub(crate) const OPENING_BALANCE: i64 = 1_000;

pub(crate) type Key = Vec<u8>;

pub(crate) fn account(number: u32) -> Key {
    format!("account/{number:03}").into_bytes()
}

pub(crate) fn register(pair: Pair, number: u32) -> Key {
    format!("register/{}/{number:02}", pair.name()).into_bytes()
}

pub(crate) fn row(pair: Pair, number: u32) -> Key {
    format!("row/{}/{number:02}", pair.name()).into_bytes()
}

pub(crate) fn counter(pair: Pair, number: u32) -> Key {
    format!("counter/{}/{number:02}", pair.name()).into_bytes()
}

pub(crate) fn twin(number: u32, right: bool) -> Key {
    let half = if right { "right" } else { "left" };
    format!("twin/{number:02}/{half}").into_bytes()
}

pub(crate) fn note(number: u32) -> Key {
    format!("note/{number:02}").into_bytes()
}

/// All accounts of a site.
pub(crate) fn accounts() -> Range {
    under("account/")
}

/// All rows of a pair, at one of its sites.
pub(crate) fn rows(pair: Pair) -> Range {
    under(&format!("row/{}/", pair.name()))
}

/// All counters of a pair, at one of its sites.
pub(crate) fn counters(pair: Pair) -> Range {
    under(&format!("counter/{}/", pair.name()))
}

/// All registers of a pair, at one of its sites.
pub(crate) fn registers(pair: Pair) -> Range {
    under(&format!("register/{}/", pair.name()))
}

/// All twins of a site.
pub(crate) fn twins() -> Range {
    under("twin/")
}

/// The keys that begin with `prefix`, which ends with a slash: those before the same text with `0`,
/// the character after the slash.
fn under(prefix: &str) -> Range {
    let high = prefix.strip_suffix('/').map(|stem| format!("{stem}0"));
    Range {
        low: prefix.as_bytes().to_vec(),
        high: high.map(String::into_bytes),
    }
}

/// A number as a site stores it.
pub(crate) fn encode(number: i64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// A stored number; an absent one is zero, as it is for an increment. `None` when it is no number.
pub(crate) fn decode(value: Option<&[u8]>) -> Option<i64> {
    match value {
        None => Some(0),
        Some(bytes) => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
    }
}

/// The writes that fill a site before a run: opening balances, and every register at 1.
pub(crate) fn opening(site: Site, sizes: Sizes) -> Vec<Op> {
    let balances =
        (0..sizes.accounts).map(|number| Op::Put(account(number), encode(OPENING_BALANCE)));
    let pairs = sizes.sites.pairs().into_iter();
    let pairs = pairs.filter(|pair| pair.has(site));
    let registers = pairs.flat_map(|pair| (0..sizes.hot).map(move |number| register(pair, number)));
    balances
        .chain(registers.map(|key| Op::Put(key, encode(1))))
        .collect()
}

/// The sum of all balances of all sites, which no transfer changes.
pub(crate) fn grand_total(sizes: Sizes) -> i64 {
    let accounts = i64::from(sizes.accounts) * sizes.sites.count() as i64;
    accounts * OPENING_BALANCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Sites;

    #[test]
    fn a_range_holds_its_keys_and_no_others() {
        let range = rows(Pair::BC);
        let holds =
            |key: &Key| range.low <= *key && range.high.as_ref().is_none_or(|high| key < high);
        assert!(holds(&row(Pair::BC, 0)));
        assert!(holds(&row(Pair::BC, 99)));
        assert!(!holds(&row(Pair::AB, 0)));
        assert!(!holds(&counter(Pair::BC, 0)));
        assert!(!holds(&twin(0, false)));
    }

    #[test]
    fn numbers_survive_storage_and_other_bytes_are_told_apart() {
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(decode(Some(&encode(number))), Some(number));
        }
        assert_eq!(decode(None), Some(0));
        assert_eq!(decode(Some(b"text")), None);
    }

    #[test]
    fn the_opening_fills_the_registers_of_the_own_pairs_only() {
        let sizes = Sizes {
            sites: Sites::USUAL,
            accounts: 4,
            hot: 2,
        };
        let at_a = opening(Site::A, sizes);
        assert_eq!(at_a.len(), 4 + 2 * 2);
        let foreign = register(Pair::BC, 0);
        assert!(
            !at_a
                .iter()
                .any(|op| matches!(op, Op::Put(key, _) if *key == foreign))
        );
        assert_eq!(grand_total(sizes), 12 * OPENING_BALANCE);
    }
}
