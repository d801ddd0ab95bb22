//! What the parent knows of the transactions that it asked for, kept apart from everything that can be killed.
//!
//! Every transaction that changes something also writes a key that nobody else writes, its *marker*, at each of
//! its sites. So the state of the sites says which transactions are there, and the amounts of the accounts say
//! whether each of them is there once.
//!
//! Invariants, which [`Ledger::check`] demands of a state in which nothing is undecided:
//! - L1 What was acknowledged as committed has its markers at all its sites.
//! - L2 What was acknowledged as aborted, or never asked to commit, has a marker nowhere.
//! - L3 Of anything else the markers are at all its sites or at none, and once seen it stays so.
//! - L4 Each account holds what the transactions with a marker at its site make, once each; all accounts
//!   together hold nothing, since money is only moved.
//! - L5 No marker is there of a transaction that nobody asked to commit.

use std::collections::{BTreeMap, BTreeSet};

/// A site, by its place in the list of sites.
pub type SiteIndex = usize;

/// How many accounts a site has.
pub const ACCOUNTS: u8 = 4;

/// The range of keys that holds the accounts.
pub const ACCOUNT_RANGE: (&[u8], &[u8]) = (b"a", b"b");

/// The key of an account.
#[must_use]
pub fn account_key(account: u8) -> [u8; 2] {
    [b'a', b'0' + account]
}

/// The key of a transaction's marker; keys are in the order of the numbers.
#[must_use]
pub fn marker_key(id: u64) -> Vec<u8> {
    format!("m{id:016x}").into_bytes()
}

/// The number in a marker's key.
#[must_use]
pub fn marker_id(key: &[u8]) -> Option<u64> {
    let digits = key.strip_prefix(b"m")?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// An amount that a transaction adds to an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub site: SiteIndex,
    /// Which account.
    pub account: u8,
    /// How much.
    pub by: i64,
}

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Committed.
    Committed,
    /// Aborted, or never asked to commit.
    Aborted,
    /// Asked to commit, and not answered.
    Unknown,
    /// Asked to commit, not answered, and seen to be at its sites.
    SeenCommitted,
    /// Asked to commit, not answered, and seen to be at no site.
    SeenAborted,
}

#[derive(Clone, Debug)]
struct Entry {
    sites: BTreeSet<SiteIndex>,
    changes: Vec<Change>,
    outcome: Outcome,
}

/// What is found at a site.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SiteState {
    /// Whose markers.
    pub markers: BTreeSet<u64>,
    /// Amounts by account.
    pub accounts: BTreeMap<u8, i64>,
}

/// How many transactions ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Acknowledged as committed.
    pub committed: u64,
    /// Acknowledged as aborted, or never asked to commit.
    pub aborted: u64,
    /// Not answered, seen to be committed.
    pub seen_committed: u64,
    /// Not answered, seen to be aborted.
    pub seen_aborted: u64,
    /// Not answered, not yet seen.
    pub unknown: u64,
}

/// The transactions that change something, by number.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Entry>,
}

impl Ledger {
    /// A transaction is about to ask for its commit at these sites.
    ///
    /// # Panics
    /// If the number was used before.
    pub fn asked(&mut self, id: u64, sites: BTreeSet<SiteIndex>, changes: Vec<Change>) {
        let entry = Entry {
            sites,
            changes,
            outcome: Outcome::Unknown,
        };
        let before = self.entries.insert(id, entry);
        assert!(
            before.is_none(),
            "the number {id} is given to one transaction"
        );
    }

    /// What its client was told.
    ///
    /// # Panics
    /// If it was never entered.
    pub fn told(&mut self, id: u64, outcome: Outcome) {
        let entry = self.entries.get_mut(&id);
        entry.expect("entered before it was asked for").outcome = outcome;
    }

    /// Forgets a transaction: what a test does to see that the check notices.
    pub fn forget(&mut self, id: u64) {
        self.entries.remove(&id);
    }

    /// The numbers of the transactions with this outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = u64> {
        let entries = self.entries.iter();
        entries.filter_map(move |(id, entry)| (entry.outcome == outcome).then_some(*id))
    }

    /// How many ended how.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for entry in self.entries.values() {
            *match entry.outcome {
                Outcome::Committed => &mut tally.committed,
                Outcome::Aborted => &mut tally.aborted,
                Outcome::Unknown => &mut tally.unknown,
                Outcome::SeenCommitted => &mut tally.seen_committed,
                Outcome::SeenAborted => &mut tally.seen_aborted,
            } += 1;
        }
        tally
    }

    /// Compares the state of all sites, in which nothing is undecided, with what was said, and remembers what it
    /// tells of transactions that were not answered. Returns what is wrong.
    pub fn check(&mut self, sites: &[SiteState]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expected: Vec<BTreeMap<u8, i64>> = vec![BTreeMap::new(); sites.len()];
        for (id, entry) in &mut self.entries {
            let here: BTreeSet<SiteIndex> = (0..sites.len())
                .filter(|site| sites[*site].markers.contains(id))
                .collect();
            entry.see(*id, &here, &mut wrong);
            for change in &entry.changes {
                if here.contains(&change.site) {
                    *expected[change.site].entry(change.account).or_default() += change.by;
                }
            }
        }
        let mut money = 0;
        for (site, (state, expected)) in sites.iter().zip(&expected).enumerate() {
            for id in state
                .markers
                .iter()
                .filter(|id| !self.entries.contains_key(id))
            {
                wrong.push(format!(
                    "L5: site {site} holds marker {id}, which nobody asked to commit"
                ));
            }
            for account in 0..ACCOUNTS {
                let amount = |of: &BTreeMap<u8, i64>| of.get(&account).copied().unwrap_or_default();
                let (found, made) = (amount(&state.accounts), amount(expected));
                money += found;
                if found != made {
                    wrong.push(format!(
                        "L4: account {account} of site {site} holds {found}, and its transactions make {made}"
                    ));
                }
            }
        }
        if money != 0 {
            wrong.push(format!(
                "L4: the accounts hold {money} together, not nothing"
            ));
        }
        wrong
    }
}

impl Entry {
    /// Its markers are found at these sites.
    fn see(&mut self, id: u64, here: &BTreeSet<SiteIndex>, wrong: &mut Vec<String>) {
        let (all, none) = (*here == self.sites, here.is_empty());
        let sites = &self.sites;
        match self.outcome {
            Outcome::Committed if !all => wrong.push(format!(
                "L1: transaction {id} was acknowledged as committed at {sites:?}, and is at {here:?}"
            )),
            Outcome::Aborted if !none => wrong.push(format!(
                "L2: transaction {id} was acknowledged as aborted, and is at {here:?}"
            )),
            Outcome::SeenCommitted if !all => wrong.push(format!(
                "L3: transaction {id} was committed at {sites:?} before, and is at {here:?}"
            )),
            Outcome::SeenAborted if !none => wrong.push(format!(
                "L3: transaction {id} was nowhere before, and is at {here:?}"
            )),
            Outcome::Unknown if all => self.outcome = Outcome::SeenCommitted,
            Outcome::Unknown if none => self.outcome = Outcome::SeenAborted,
            Outcome::Unknown => wrong.push(format!(
                "L3: transaction {id} worked at {sites:?}, and is at {here:?} only"
            )),
            Outcome::Committed
            | Outcome::Aborted
            | Outcome::SeenCommitted
            | Outcome::SeenAborted => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transaction 7 moves 5 from site 0 to site 1.
    fn ledger(outcome: Outcome) -> Ledger {
        let mut ledger = Ledger::default();
        let change = |site, by| Change {
            site,
            account: 0,
            by,
        };
        ledger.asked(7, BTreeSet::from([0, 1]), vec![change(0, -5), change(1, 5)]);
        if outcome != Outcome::Unknown {
            ledger.told(7, outcome);
        }
        ledger
    }

    fn state(there: bool, amount: i64) -> SiteState {
        SiteState {
            markers: there.then_some(7).into_iter().collect(),
            accounts: BTreeMap::from([(0, amount)]),
        }
    }

    #[test]
    fn what_was_said_must_be_what_is_there() {
        let whole = [state(true, -5), state(true, 5)];
        let nothing = [state(false, 0), state(false, 0)];
        let torn = [state(true, -5), state(false, 0)];
        for (outcome, state, wrong) in [
            (Outcome::Committed, &whole, ""),
            (Outcome::Committed, &nothing, "L1"),
            (Outcome::Committed, &torn, "L1"),
            (Outcome::Aborted, &nothing, ""),
            (Outcome::Aborted, &whole, "L2"),
            (Outcome::Unknown, &whole, ""),
            (Outcome::Unknown, &nothing, ""),
            (Outcome::Unknown, &torn, "L3"),
        ] {
            let found = ledger(outcome).check(state).join("; ");
            assert_eq!(found.is_empty(), wrong.is_empty(), "{outcome:?}: {found}");
            assert!(found.contains(wrong), "{outcome:?}: {found}");
        }
    }

    #[test]
    fn what_was_seen_once_stays() {
        let mut committed = ledger(Outcome::Unknown);
        assert!(
            committed
                .check(&[state(true, -5), state(true, 5)])
                .is_empty()
        );
        let lost = committed.check(&[state(false, 0), state(false, 0)]);
        assert!(lost[0].starts_with("L3"), "{lost:?}");
        let mut aborted = ledger(Outcome::Unknown);
        assert!(
            aborted
                .check(&[state(false, 0), state(false, 0)])
                .is_empty()
        );
        let risen = aborted.check(&[state(true, -5), state(true, 5)]);
        assert!(risen[0].starts_with("L3"), "{risen:?}");
    }

    #[test]
    fn a_change_that_is_made_twice_or_without_its_marker_is_noticed() {
        let twice = ledger(Outcome::Committed).check(&[state(true, -5), state(true, 10)]);
        assert!(twice.iter().any(|it| it.starts_with("L4")), "{twice:?}");
        let bare = ledger(Outcome::Aborted).check(&[state(false, -5), state(false, 5)]);
        assert!(bare.iter().any(|it| it.starts_with("L4")), "{bare:?}");
        let mut empty = Ledger::default();
        let stray = empty.check(&[state(true, 0), state(false, 0)]);
        assert!(stray[0].starts_with("L5"), "{stray:?}");
    }

    #[test]
    fn a_marker_tells_its_transaction() {
        assert_eq!(marker_id(&marker_key(u64::MAX - 3)), Some(u64::MAX - 3));
        assert_eq!(marker_id(b"a0"), None);
    }
}
