//! What the clients of a plan do: money that is moved and counted, counters, and short mixtures over few keys.

use std::sync::Arc;

use fastrand::Rng;
use participant::{Key, KeyRange, Operation};

/// What a transaction does.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it does, at which sites.
    pub steps: Vec<(usize, Action)>,
    /// Committed at its site, without a coordinator.
    pub local: bool,
    /// Reads all accounts; they add up to nothing.
    pub audit: bool,
}

/// One step at one site.
#[derive(Clone, Debug)]
pub enum Action {
    /// An operation.
    Do(Operation),
    /// Reads a number, then writes it changed by this.
    ReadAdd(Key, i64),
}

/// Accounts at each site; their sum over all sites stays zero.
const ACCOUNTS: u8 = 3;

/// The keys in order: accounts `a`, a counter `c`, scratch `s`.
pub(crate) fn account(number: u8) -> Key {
    Arc::from([b'a', b'0' + number].as_slice())
}

fn counter() -> Key {
    Arc::from(b"c0".as_slice())
}

fn scratch(number: u8) -> Key {
    Arc::from([b's', b'0' + number].as_slice())
}

/// Every key that a run may use, in order.
pub(crate) fn all_keys() -> Vec<Key> {
    let accounts = (0..ACCOUNTS).map(account);
    let scratches = (0..4).map(scratch);
    accounts.chain([counter()]).chain(scratches).collect()
}

/// All accounts of a site.
pub(crate) fn accounts() -> KeyRange {
    KeyRange {
        low: Arc::from(b"a".as_slice()),
        high: Some(Arc::from(b"b".as_slice())),
    }
}

impl Script {
    /// One of any kind, over so many sites.
    pub fn draw(rng: &mut Rng, sites: usize) -> Self {
        match rng.u8(..16) {
            0..5 => Self::transfer(rng, sites),
            5 | 6 => Self::audit(rng, sites),
            7..9 => Self::count(rng, sites),
            9..12 => Self::mixed(rng, sites, 4),
            // One site alone, through the coordinator or without it.
            12 | 13 => {
                let site = rng.usize(..sites);
                Self::mixed(rng, 1, 3).at(site)
            }
            _ => {
                let site = rng.usize(..sites);
                let mut script = Self::mixed(rng, 1, 3).at(site);
                script.local = true;
                script
            }
        }
    }

    fn global(steps: Vec<(usize, Action)>) -> Self {
        Self {
            steps,
            local: false,
            audit: false,
        }
    }

    fn at(mut self, site: usize) -> Self {
        for (at, _) in &mut self.steps {
            *at = site;
        }
        self
    }

    fn transfer(rng: &mut Rng, sites: usize) -> Self {
        let amount = rng.i64(1..100);
        let (from, to) = (rng.usize(..sites), rng.usize(..sites));
        let source = account(rng.u8(..ACCOUNTS));
        let mut target = account(rng.u8(..ACCOUNTS));
        if from == to && source == target {
            target = account((source[1] - b'0' + 1) % ACCOUNTS);
        }
        let mut side = |key: Key, amount: i64| {
            if rng.bool() {
                Action::Do(Operation::Increment(key, amount))
            } else {
                Action::ReadAdd(key, amount)
            }
        };
        let taken = (from, side(source, -amount));
        let given = (to, side(target, amount));
        Self::global(vec![taken, given])
    }

    /// Reads a hot key here and writes one there: two of these disagree on their order.
    pub fn skew(rng: &mut Rng, sites: usize) -> Self {
        let (from, to) = (rng.usize(..sites), rng.usize(..sites));
        let read = Action::Do(Operation::Get(scratch(0)));
        let value = crate::program::number(rng.i64(0..1_000));
        let write = Action::Do(Operation::Put(scratch(0), value));
        let mut steps = vec![(from, read), (to, write)];
        if rng.u8(..4) == 0 {
            steps.swap(0, 1);
        }
        Self::global(steps)
    }

    fn audit(rng: &mut Rng, sites: usize) -> Self {
        let scans = rng.bool();
        let mut steps = Vec::new();
        for site in 0..sites {
            if scans {
                steps.push((site, Action::Do(Operation::Scan(accounts()))));
            } else {
                let gets = (0..ACCOUNTS).map(|it| (site, Action::Do(Operation::Get(account(it)))));
                steps.extend(gets);
            }
        }
        rng.shuffle(&mut steps);
        Self {
            audit: true,
            ..Self::global(steps)
        }
    }

    fn count(rng: &mut Rng, sites: usize) -> Self {
        let steps = (0..rng.usize(1..=3)).map(|_| {
            let by = rng.i64(1..10);
            (
                rng.usize(..sites),
                Action::Do(Operation::Increment(counter(), by)),
            )
        });
        Self::global(steps.collect())
    }

    fn mixed(rng: &mut Rng, sites: usize, most: usize) -> Self {
        let steps = (0..rng.usize(1..=most)).map(|_| {
            let key = scratch(rng.u8(..4));
            let action = match rng.u8(..16) {
                0..5 => Action::Do(Operation::Get(key)),
                5..8 => Action::Do(Operation::Put(
                    key,
                    crate::program::number(rng.i64(0..1_000)),
                )),
                8 => Action::Do(Operation::Delete(key)),
                9..12 => Action::ReadAdd(key, rng.i64(1..10)),
                12 => Action::Do(Operation::Get(counter())),
                13 => Action::Do(Operation::Increment(counter(), 1)),
                _ => {
                    let high = Some(Arc::from([b's', key[1] + rng.u8(1..4)].as_slice()));
                    Action::Do(Operation::Scan(KeyRange { low: key, high }))
                }
            };
            (rng.usize(..sites), action)
        });
        Self::global(steps.collect())
    }
}

impl Action {
    /// Whether it moves money.
    pub(crate) fn is_money(&self) -> bool {
        let (Self::ReadAdd(key, _) | Self::Do(Operation::Increment(key, _))) = self else {
            return false;
        };
        key.starts_with(b"a")
    }

    pub(crate) fn text(&self, site: usize) -> String {
        let site = crate::faults::site_name(site);
        let show = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        match self {
            Self::ReadAdd(key, by) => format!("{site}:{}:={}{by:+}", show(key), show(key)),
            Self::Do(Operation::Get(key)) => format!("{site}:get({})", show(key)),
            Self::Do(Operation::Put(key, _)) => format!("{site}:put({})", show(key)),
            Self::Do(Operation::Delete(key)) => format!("{site}:delete({})", show(key)),
            Self::Do(Operation::Increment(key, by)) => format!("{site}:{}{by:+}", show(key)),
            Self::Do(Operation::Scan(range)) => {
                let high = range.high.as_deref().unwrap_or_default();
                format!("{site}:scan({}..{})", show(&range.low), show(high))
            }
        }
    }
}
