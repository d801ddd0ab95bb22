//! What the clients of a plan do: money that is moved and counted, counters, lists that are appended to, short
//! mixtures over few keys, and the shapes of known anomalies: write skew, long forks, fractured reads.

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
    /// Its steps belong together: what it keeps is broken if one is left out.
    pub whole: bool,
}

/// One step at one site.
#[derive(Clone, Debug)]
pub enum Action {
    /// An operation.
    Do(Operation),
    /// Reads a number, then writes it changed by this.
    ReadAdd(Key, i64),
    /// Reads a list, then writes it with one element more.
    Append(Key, i64),
    /// Writes a one, unless the transaction has read a one before.
    SetIfNoneIsSet(Key),
}

/// Accounts at each site; their sum over all sites stays zero.
const ACCOUNTS: u8 = 3;

/// The keys in order: accounts `a`, a counter `c`, those of forks `f`, lists `l`, one half of a pair `p`, scratch `s`,
/// switches `w`.
pub(crate) fn account(number: u8) -> Key {
    Arc::from([b'a', b'0' + number].as_slice())
}

fn counter() -> Key {
    Arc::from(b"c0".as_slice())
}

fn scratch(number: u8) -> Key {
    Arc::from([b's', b'0' + number].as_slice())
}

/// Who reads both and who writes one of them must agree on an order.
fn fork(number: u8) -> Key {
    Arc::from([b'f', b'0' + number].as_slice())
}

fn list(number: u8) -> Key {
    Arc::from([b'l', b'0' + number].as_slice())
}

/// The same at each site: written together, and equal whenever they are read together.
fn pair() -> Key {
    Arc::from(b"p0".as_slice())
}

/// One of two is never set while the other is.
pub(crate) fn switch(number: u8) -> Key {
    Arc::from([b'w', b'0' + number].as_slice())
}

/// Every key that a run may use, in order.
pub(crate) fn all_keys() -> Vec<Key> {
    let accounts = (0..ACCOUNTS).map(account);
    let scratches = (0..4).map(scratch);
    let middle = [counter(), fork(0), fork(1), list(0), list(1), pair()];
    let switches = (0..2).map(switch);
    let all = accounts.chain(middle).chain(scratches);
    all.chain(switches).collect()
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
        match rng.u8(..24) {
            16 | 17 => Self::lists(rng, sites),
            18 | 19 => Self::switches(rng, sites),
            20 | 21 => Self::forks(rng, sites),
            22 | 23 => Self::pairs(rng, sites),
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
            whole: false,
        }
    }

    fn whole(steps: Vec<(usize, Action)>) -> Self {
        Self {
            whole: true,
            ..Self::global(steps)
        }
    }

    /// Whether no step of it may be left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole || self.audit
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
        Self::whole(vec![taken, given])
    }

    /// Reads and appends to lists; elements are told apart, but for those of a script and its retries.
    fn lists(rng: &mut Rng, sites: usize) -> Self {
        let steps = (0..rng.usize(1..=3)).map(|_| {
            let key = list(rng.u8(..2));
            let action = if rng.u8(..3) == 0 {
                Action::Do(Operation::Get(key))
            } else {
                Action::Append(key, rng.i64(1..1 << 40))
            };
            (rng.usize(..sites), action)
        });
        Self::global(steps.collect())
    }

    /// Reads two switches, at the first and the last site, and sets one if none is set, or clears one, or only
    /// looks: write skew would set both.
    fn switches(rng: &mut Rng, sites: usize) -> Self {
        let places = [0, sites - 1];
        let look = |number: u8| {
            let get = Operation::Get(switch(number));
            (places[usize::from(number)], Action::Do(get))
        };
        let mut steps = vec![look(0), look(1)];
        if rng.bool() {
            steps.swap(0, 1);
        }
        let one = rng.u8(..2);
        let place = places[usize::from(one)];
        match rng.u8(..4) {
            0 => {}
            1 => {
                let clear = Operation::Put(switch(one), crate::program::number(0));
                steps.push((place, Action::Do(clear)));
            }
            _ => steps.push((place, Action::SetIfNoneIsSet(switch(one)))),
        }
        Self::whole(steps)
    }

    /// Writes one of two keys at two sites, or reads both: two writers, and two readers that see them in another
    /// order, are a long fork.
    fn forks(rng: &mut Rng, sites: usize) -> Self {
        let places = [(0, fork(0)), (sites - 1, fork(1))];
        if rng.bool() {
            let (site, key) = places[rng.usize(..2)].clone();
            let value = crate::program::number(rng.i64(0..1_000));
            return Self::global(vec![(site, Action::Do(Operation::Put(key, value)))]);
        }
        let reads = places.map(|(site, key)| (site, Action::Do(Operation::Get(key))));
        let mut steps = reads.to_vec();
        rng.shuffle(&mut steps);
        Self::global(steps)
    }

    /// Writes one value at all sites, or reads there: a reader that sees it at some is fractured.
    fn pairs(rng: &mut Rng, sites: usize) -> Self {
        let writes = rng.bool();
        let value = crate::program::number(rng.i64(0..1_000));
        let step = |site| {
            let operation = if writes {
                Operation::Put(pair(), Arc::clone(&value))
            } else {
                Operation::Get(pair())
            };
            (site, Action::Do(operation))
        };
        let mut steps: Vec<_> = (0..sites).map(step).collect();
        rng.shuffle(&mut steps);
        Self::whole(steps)
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

    /// Changes the first key of two sites, as all others do at that time.
    pub(crate) fn hot(rng: &mut Rng, sites: usize) -> Self {
        let mut change = |site: usize| {
            let key = scratch(0);
            let by = rng.i64(1..10);
            let action = match rng.u8(..4) {
                0 => Action::Do(Operation::Increment(key, by)),
                1 => Action::Do(Operation::Put(key, crate::program::number(by))),
                _ => Action::ReadAdd(key, by),
            };
            (site, action)
        };
        Self::global((0..sites.min(2)).map(&mut change).collect())
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
    pub(crate) fn text(&self, site: usize) -> String {
        let site = crate::faults::site_name(site);
        let show = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        match self {
            Self::Append(key, element) => format!("{site}:{}.append({element})", show(key)),
            Self::SetIfNoneIsSet(key) => format!("{site}:set({}) if none is", show(key)),
            Self::ReadAdd(key, by) => format!("{site}:{}:={}{by:+}", show(key), show(key)),
            Self::Do(Operation::Get(key)) => format!("{site}:get({})", show(key)),
            Self::Do(Operation::Put(key, _)) => format!("{site}:put({})", show(key)),
            Self::Do(Operation::Delete(key)) => format!("{site}:delete({})", show(key)),
            Self::Do(Operation::Increment(key, by)) => format!("{site}:{}{by:+}", show(key)),
            Self::Do(Operation::Scan(range)) => {
                let high = range.high.as_deref().unwrap_or_default();
                format!("{site}:scan({}..{})", show(&range.low), show(high))
            }
            Self::Do(Operation::Declare(keys)) => format!("{site}:declare({} keys)", keys.len()),
            Self::Do(Operation::Sql(statement)) => format!("{site}:sql({statement})"),
        }
    }
}
