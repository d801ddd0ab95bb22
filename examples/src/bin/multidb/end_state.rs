//! The state when everything is quiet: does every rule hold, and do the counts show exactly what
//! committed?

use std::collections::BTreeMap;

use co_core::Priority;

use crate::client::MAX_ATTEMPTS;
use crate::database::{Database, Scope, Stop, Transaction};
use crate::invariants::{self, Impossible};
use crate::perform::{Raised, decode, scan};
use crate::schema::{self, Key};
use crate::site::Site;
use crate::tally::{Raise, Tally};
use crate::workload::Sizes;

/// What the end state shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndState {
    /// The sum of all accounts.
    pub(crate) total: i64,
    /// What it must be.
    pub(crate) expected_total: i64,
    /// Counts that were compared with what committed.
    pub(crate) counts_checked: usize,
    /// Everything that is not as it must be, in words.
    pub(crate) faults: Vec<String>,
}

type Rows = BTreeMap<Key, Vec<u8>>;

/// What one site holds, read in one transaction over all sites.
type Holdings = BTreeMap<Site, Rows>;

/// Reads everything in one transaction and compares.
///
/// # Errors
/// When the database fails, or aborts the transaction again and again although nothing else runs.
pub(crate) async fn inspect<D: Database>(
    database: &D,
    sizes: Sizes,
    tally: &Tally,
) -> anyhow::Result<EndState> {
    let mut age = None;
    for _ in 0..MAX_ATTEMPTS {
        match read_all(database, sizes, &mut age).await {
            Ok(holdings) => return Ok(compare(&holdings, sizes, tally)?),
            Err(Stop::Aborted(_)) => {}
            Err(Stop::Unknown(message)) => anyhow::bail!("reading the end state: {message}"),
            Err(Stop::Failed(error)) => return Err(error.context("reading the end state")),
        }
    }
    anyhow::bail!("the transaction that reads the end state aborted {MAX_ATTEMPTS} times")
}

async fn read_all<D: Database>(
    database: &D,
    sizes: Sizes,
    age: &mut Option<Priority>,
) -> Result<Holdings, Stop> {
    let mut txn = database.begin(Scope::Global, *age).await?;
    *age = txn.age();
    let mut holdings = Holdings::new();
    let pairs = sizes.sites.pairs();
    for site in sizes.sites.all() {
        let mut rows = Rows::new();
        let pairs = pairs.iter().copied().filter(|pair| pair.has(site));
        let shared = pairs.flat_map(|pair| {
            [
                schema::registers(pair),
                schema::rows(pair),
                schema::counters(pair),
            ]
        });
        for range in shared.chain([schema::accounts(), schema::twins()]) {
            rows.extend(scan(&mut txn, site, range).await?);
        }
        holdings.insert(site, rows);
    }
    txn.commit().await?;
    Ok(holdings)
}

fn compare(holdings: &Holdings, sizes: Sizes, tally: &Tally) -> Result<EndState, StopText> {
    let number = |site: Site, key: &Key| -> Result<i64, StopText> {
        let value = holdings.get(&site).and_then(|rows| rows.get(key));
        decode(value.map(Vec::as_slice)).map_err(StopText)
    };
    let mut state = EndState {
        expected_total: schema::grand_total(sizes),
        ..EndState::default()
    };
    let mut broken: Vec<Impossible> = Vec::new();
    for site in sizes.sites.all() {
        for account in 0..sizes.accounts {
            state.total += number(site, &schema::account(account))?;
        }
    }
    broken.extend(invariants::total(state.expected_total, state.total));
    for pair in sizes.sites.pairs() {
        for register in 0..sizes.hot {
            let key = schema::register(pair, register);
            let [first, second] = pair.sites();
            let halves = [number(first, &key)?, number(second, &key)?];
            broken.extend(invariants::registers(pair, register, halves));
        }
        let range = schema::rows(pair);
        let keys = pair.sites().map(|site| -> Vec<&Key> {
            let inside = |key: &&Key| **key >= range.low && Some(*key) < range.high.as_ref();
            holdings
                .get(&site)
                .into_iter()
                .flat_map(Rows::keys)
                .filter(inside)
                .collect()
        });
        broken.extend(invariants::rows(pair, [&keys[0], &keys[1]]));
    }
    state
        .faults
        .extend(broken.iter().map(Impossible::to_string));
    for (what, raise) in &tally.raised {
        let (name, held) = match *what {
            Raised::Counter(pair, counter) => {
                let key = schema::counter(pair, counter);
                let [first, second] = pair.sites();
                let held = [number(first, &key)?, number(second, &key)?];
                (format!("counter {counter} at {first} and {second}"), held)
            }
            Raised::Twin(site, twin) => {
                let held = [
                    number(site, &schema::twin(twin, false))?,
                    number(site, &schema::twin(twin, true))?,
                ];
                (format!("twin counts {twin} at {site}"), held)
            }
        };
        state.counts_checked += 1;
        state.faults.extend(miscount(&name, held, *raise));
    }
    Ok(state)
}

/// Whether two counts are equal and what the committed additions make them.
fn miscount(name: &str, held: [i64; 2], raise: Raise) -> Option<String> {
    let expected = raise.committed..=raise.committed + raise.unknown;
    let agree = held[0] == held[1] && expected.contains(&held[0]);
    let unknown = if raise.unknown == 0 {
        String::new()
    } else {
        format!(" (and up to {} more of unknown outcome)", raise.unknown)
    };
    (!agree).then(|| {
        let Raise { committed, .. } = raise;
        format!(
            "{name}: {} and {}, but the committed additions make {committed}{unknown}",
            held[0], held[1]
        )
    })
}

/// A [`Stop`] as an error.
struct StopText(Stop);

impl From<StopText> for anyhow::Error {
    fn from(StopText(stop): StopText) -> Self {
        match stop {
            Stop::Failed(error) => error,
            Stop::Aborted(_) | Stop::Unknown(_) => Self::msg(format!("{stop:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Fault, Memory};
    use crate::site::{Pair, Sites};

    const SIZES: Sizes = Sizes {
        sites: Sites::USUAL,
        accounts: 4,
        hot: 1,
    };

    #[tokio::test]
    async fn an_untouched_database_is_in_order() {
        let memory = Memory::open(SIZES, Fault::None);
        let state = inspect(&memory, SIZES, &Tally::default()).await.unwrap();
        assert_eq!(state.faults, Vec::<String>::new());
        assert_eq!((state.total, state.expected_total), (12_000, 12_000));
    }

    #[tokio::test]
    async fn every_rule_is_checked() {
        let memory = Memory::open(SIZES, Fault::WrongTotal);
        for site in Pair::BC.sites() {
            memory.corrupt(site, schema::register(Pair::BC, 0), 0);
        }
        memory.corrupt(Site::A, schema::row(Pair::AC, 3), 1);
        memory.corrupt(Site::A, schema::counter(Pair::AB, 0), 5);
        memory.corrupt(Site::B, schema::counter(Pair::AB, 0), 5);
        let mut tally = Tally::default();
        let raise = Raise {
            committed: 4,
            unknown: 0,
        };
        tally.raised.insert(Raised::Counter(Pair::AB, 0), raise);
        tally.raised.insert(Raised::Twin(Site::C, 0), raise);
        let state = inspect(&memory, SIZES, &tally).await.unwrap();
        let words = [
            "12001",
            "register 0",
            "1 rows at A",
            "counter 0 at A and B: 5 and 5",
            "twin",
        ];
        assert_eq!(state.faults.len(), words.len(), "{:?}", state.faults);
        for (fault, word) in state.faults.iter().zip(words) {
            assert!(fault.contains(word), "{fault}");
        }
        assert_eq!(state.counts_checked, 2);
    }

    #[test]
    fn unknown_outcomes_widen_what_a_count_may_be() {
        let raise = Raise {
            committed: 4,
            unknown: 2,
        };
        assert_eq!(miscount("n", [4, 4], raise), None);
        assert_eq!(miscount("n", [6, 6], raise), None);
        assert!(miscount("n", [7, 7], raise).is_some());
        assert!(miscount("n", [5, 6], raise).is_some());
    }
}
