//! What the clients ask for: a stream of requests that is repeatable.
//!
//! Request number n of client c is a pure function of (seed, c, n) and the sizes: both runs, with and
//! without ordering, ask for the same things in the same order at each client. What differs is how
//! the transactions meet.
//!
//! Where there is one site only, there is nothing that two sites share: money moves within it, and two of its counts
//! rise together.
//!
//! The registers are the classical write skew, spread over two sites: a transaction reads both halves
//! and, if both are 1, sets one of them to 0. Two such transactions on the two halves touch no common
//! item for writing, so no single site sees anything wrong.

use crate::random::Random;
use crate::site::{Pair, Site, Sites};

/// How much data there is; smaller is hotter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    /// Where it is.
    pub(crate) sites: Sites,
    /// Accounts at each site.
    pub(crate) accounts: u32,
    /// How many of each shared thing: register pairs, counters and notes; and of the accounts, half of
    /// all accesses go to this many.
    pub(crate) hot: u32,
}

/// Slots for rows at each pair of sites, which bounds the tables.
pub(crate) const ROW_SLOTS: u32 = 24;

/// An account of one site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    pub(crate) site: Site,
    pub(crate) number: u32,
}

/// One half of a register pair, and the note that is overwritten with each change to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Half {
    pub(crate) pair: Pair,
    pub(crate) register: u32,
    /// Which of the two sites of the pair.
    pub(crate) side: usize,
    pub(crate) note: u32,
}

/// One thing that a client wants done, as one transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Moves money, if there is enough. Both accounts may be at one site.
    Transfer {
        from: Account,
        to: Account,
        amount: i64,
    },
    /// Adds up all accounts of all sites.
    Audit,
    /// Reads both halves of a register pair and, if both are 1, sets this one to 0.
    Take { half: Half, other_first: bool },
    /// Sets this half back to 1, whatever it is.
    Restore { half: Half },
    /// Reads both halves.
    Look { pair: Pair, register: u32 },
    /// Puts a row at both sites.
    Insert { pair: Pair, row: u32 },
    /// Removes a row at both sites.
    Remove { pair: Pair, row: u32 },
    /// Counts the rows at both sites.
    Count { pair: Pair },
    /// Adds to a counter at both sites.
    Increment { pair: Pair, counter: u32, by: i64 },
    /// Reads a counter at both sites.
    Compare { pair: Pair, counter: u32 },
    /// At one site: adds to two counters.
    LocalIncrement { site: Site, twin: u32, by: i64 },
    /// At one site: reads two counters.
    LocalCompare { site: Site, twin: u32 },
    /// At one site: counts the rows that two sites share, twice.
    LocalCount { site: Site, pair: Pair },
}

impl Request {
    /// The site, if the request needs one only.
    pub(crate) fn local_site(&self) -> Option<Site> {
        match *self {
            Self::Transfer { from, to, .. } => (from.site == to.site).then_some(from.site),
            Self::LocalIncrement { site, .. }
            | Self::LocalCompare { site, .. }
            | Self::LocalCount { site, .. } => Some(site),
            Self::Audit
            | Self::Take { .. }
            | Self::Restore { .. }
            | Self::Look { .. }
            | Self::Insert { .. }
            | Self::Remove { .. }
            | Self::Count { .. }
            | Self::Increment { .. }
            | Self::Compare { .. } => None,
        }
    }
}

/// The streams of all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    seed: u64,
    sizes: Sizes,
}

/// Shares of the requests, in percent; they sum up to 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Transfer,
    Audit,
    Take,
    Restore,
    Look,
    Insert,
    Remove,
    Count,
    Increment,
    Compare,
    LocalTransfer,
    LocalIncrement,
    LocalCompare,
    LocalCount,
}

const MIX: [(Sort, u32); 14] = [
    (Sort::Transfer, 18),
    (Sort::Audit, 2),
    (Sort::Take, 26),
    (Sort::Restore, 14),
    (Sort::Look, 6),
    (Sort::Insert, 4),
    (Sort::Remove, 3),
    (Sort::Count, 3),
    (Sort::Increment, 7),
    (Sort::Compare, 3),
    (Sort::LocalTransfer, 7),
    (Sort::LocalIncrement, 4),
    (Sort::LocalCompare, 2),
    (Sort::LocalCount, 1),
];

impl Workload {
    /// The workload of a seed.
    pub(crate) const fn new(seed: u64, sizes: Sizes) -> Self {
        Self { seed, sizes }
    }

    /// How much data it works on.
    pub(crate) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Request number `n` of a client.
    pub(crate) fn request(&self, client: u32, n: u64) -> Request {
        let mut random = Random::at(&[self.seed, u64::from(client), n]);
        let random = &mut random;
        let sites = self.sizes.sites.all();
        let pairs = self.sizes.sites.pairs();
        if pairs.is_empty() {
            return self.alone(random, sites[0]);
        }
        let pair = random.pick(&pairs);
        let hot = random.below(self.sizes.hot);
        let note = random.below(self.sizes.hot);
        let side = usize::from(random.flip());
        let half = Half {
            pair,
            register: hot,
            side,
            note,
        };
        let by = 1 + i64::from(random.below(5));
        match sort(random) {
            Sort::Transfer => self.transfer(random, pair.sites(), by),
            Sort::Audit => Request::Audit,
            Sort::Take => Request::Take {
                half,
                other_first: random.flip(),
            },
            Sort::Restore => Request::Restore { half },
            Sort::Look => Request::Look {
                pair,
                register: hot,
            },
            Sort::Insert => Request::Insert {
                pair,
                row: random.below(ROW_SLOTS),
            },
            Sort::Remove => Request::Remove {
                pair,
                row: random.below(ROW_SLOTS),
            },
            Sort::Count => Request::Count { pair },
            Sort::Increment => Request::Increment {
                pair,
                counter: hot,
                by,
            },
            Sort::Compare => Request::Compare { pair, counter: hot },
            Sort::LocalTransfer => {
                let site = random.pick(&sites);
                self.transfer(random, [site, site], by)
            }
            Sort::LocalIncrement => Request::LocalIncrement {
                site: random.pick(&sites),
                twin: hot,
                by,
            },
            Sort::LocalCompare => Request::LocalCompare {
                site: random.pick(&sites),
                twin: hot,
            },
            Sort::LocalCount => Request::LocalCount {
                site: pair.sites()[side],
                pair,
            },
        }
    }

    /// A request where there is no other site.
    fn alone(&self, random: &mut Random, site: Site) -> Request {
        let twin = random.below(self.sizes.hot);
        let by = 1 + i64::from(random.below(5));
        match random.below(100) {
            0..60 => self.transfer(random, [site, site], by),
            60..70 => Request::Audit,
            70..90 => Request::LocalIncrement { site, twin, by },
            _ => Request::LocalCompare { site, twin },
        }
    }

    fn transfer(&self, random: &mut Random, sites: [Site; 2], by: i64) -> Request {
        let [mut from, mut to] = sites.map(|site| Account {
            site,
            number: self.account(random),
        });
        if from == to {
            to.number = (to.number + 1) % self.sizes.accounts;
        }
        if random.flip() {
            std::mem::swap(&mut from, &mut to);
        }
        Request::Transfer {
            from,
            to,
            amount: 10 * by,
        }
    }

    fn account(&self, random: &mut Random) -> u32 {
        let all = self.sizes.accounts;
        let range = if random.flip() {
            self.sizes.hot.clamp(2, all)
        } else {
            all
        };
        random.below(range)
    }
}

fn sort(random: &mut Random) -> Sort {
    let mut point = random.below(100);
    for (sort, share) in MIX {
        match point.checked_sub(share) {
            None => return sort,
            Some(rest) => point = rest,
        }
    }
    unreachable!("the shares sum up to 100, which a test checks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        sites: Sites::USUAL,
        accounts: 16,
        hot: 3,
    };

    #[test]
    fn the_shares_sum_up_to_a_hundred() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u32>(), 100);
    }

    #[test]
    fn a_stream_is_a_function_of_seed_client_and_number() {
        let stream = |seed, client| -> Vec<Request> {
            let workload = Workload::new(seed, SIZES);
            (0..500).map(|n| workload.request(client, n)).collect()
        };
        assert_eq!(stream(1, 4), stream(1, 4));
        assert_ne!(stream(1, 4), stream(1, 5));
        assert_ne!(stream(1, 4), stream(2, 4));
        // Any request can be asked for alone: nothing is carried from one to the next.
        assert_eq!(Workload::new(1, SIZES).request(4, 321), stream(1, 4)[321]);
    }

    #[test]
    fn every_sort_of_request_and_every_pair_appears() {
        let workload = Workload::new(1, SIZES);
        let requests: Vec<Request> = (0..4_000).map(|n| workload.request(0, n)).collect();
        let local = requests
            .iter()
            .filter(|request| request.local_site().is_some())
            .count();
        assert!(
            (400..720).contains(&local),
            "{local} of 4000 need one site only"
        );
        for pair in Pair::ALL {
            let cross = |request: &&Request| {
                matches!(request, Request::Transfer { from, to, .. }
                    if from.site != to.site && pair.has(from.site) && pair.has(to.site))
            };
            assert!(
                requests.iter().any(|request| cross(&request)),
                "no transfer between {pair}"
            );
            for side in [0, 1] {
                let take = |request: &Request| {
                    matches!(request, Request::Take { half, .. }
                        if (half.pair, half.side) == (pair, side))
                };
                assert!(
                    requests.iter().any(take),
                    "no take at side {side} of {pair}"
                );
            }
        }
        let sorts: std::collections::HashSet<_> =
            requests.iter().map(std::mem::discriminant).collect();
        assert_eq!(sorts.len(), 13);
    }

    #[test]
    fn one_site_alone_is_asked_for_what_one_site_can_do() {
        let alone = Sites::of(&[Site::A.kind()]).unwrap();
        let sizes = Sizes {
            sites: alone,
            ..SIZES
        };
        let workload = Workload::new(1, sizes);
        let requests: Vec<Request> = (0..1_000).map(|n| workload.request(0, n)).collect();
        let here =
            |request: &Request| *request == Request::Audit || request.local_site() == Some(Site::A);
        assert!(requests.iter().all(here));
        let sorts: std::collections::HashSet<_> =
            requests.iter().map(std::mem::discriminant).collect();
        assert_eq!(sorts.len(), 4);
    }

    #[test]
    fn a_transfer_never_names_one_account_twice_and_stays_within_the_table() {
        let workload = Workload::new(
            9,
            Sizes {
                sites: Sites::USUAL,
                accounts: 2,
                hot: 1,
            },
        );
        for n in 0..2_000 {
            if let Request::Transfer { from, to, amount } = workload.request(3, n) {
                assert_ne!(from, to);
                assert!(from.number < 2 && to.number < 2 && amount > 0);
            }
        }
    }
}
