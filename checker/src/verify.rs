//! Re-checks a serial order by running it.
//!
//! The transactions are executed one after another on an empty store that knows only which
//! versions of a key are in place; every read must find what the history says it found, and every
//! version must be installed on top of the right ones. No graph is involved, so the proof of a
//! `Valid` verdict does not rest on the code that found it.

use std::collections::HashMap;

use crate::client::{RealTime, Turn};
use crate::history::{Committed, SiteHistory, Stamp};
use crate::index::{Install, SiteIndex, committed};
use crate::token::Token;
use crate::verdict::{Level, TxnRef};

/// Why an order is not a serial order of the histories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The order leaves out a committed transaction.
    #[error("the order leaves out {txn}, which committed")]
    Missing {
        /// The transaction.
        txn: TxnRef,
    },
    /// The order names a transaction that did not commit, or names one twice.
    #[error("the order names {txn} where no such commit is left")]
    Surplus {
        /// The transaction.
        txn: TxnRef,
    },
    /// A read nothing explains, in any order.
    #[error("at site {site}, no order explains what {txn} read of \"{key}\"")]
    Unexplained {
        /// The reader.
        txn: TxnRef,
        /// The site.
        site: Token,
        /// The key.
        key: Token,
    },
    /// At its turn, a transaction does not find what it read.
    #[error("at site {site}, {txn} in its turn does not find \"{key}\" as it read it")]
    WrongRead {
        /// The reader.
        txn: TxnRef,
        /// The site.
        site: Token,
        /// The key.
        key: Token,
    },
    /// At its turn, a transaction's version does not follow the versions in place.
    #[error("at site {site}, {txn} in its turn does not install \"{key}\" in version order")]
    WrongInstall {
        /// The installer.
        txn: TxnRef,
        /// The site.
        site: Token,
        /// The key.
        key: Token,
    },
    /// The order turns a session round.
    #[error(
        "session {session} has {later} before {earlier}, and the order {earlier} before {later}"
    )]
    AgainstSession {
        /// The session.
        session: Token,
        /// Who is earlier in the order.
        earlier: TxnRef,
        /// Who is later in it.
        later: TxnRef,
    },
    /// The order turns real time round.
    #[error(
        "{later} was over when {earlier} was asked for, and the order has {earlier} before {later}"
    )]
    AgainstTime {
        /// Who is earlier in the order.
        earlier: TxnRef,
        /// Who is later in it.
        later: TxnRef,
    },
    /// The order is not that of decisions.
    #[error("{later} was decided before {earlier}, and the order has {earlier} before {later}")]
    AgainstDecisions {
        /// Who is earlier in the order.
        earlier: TxnRef,
        /// Who is later in it.
        later: TxnRef,
    },
}

/// [`verify`], and that the order keeps what the level asks for besides: that of sessions, of real time, of decisions.
///
/// What the sites say of one transaction is joined here once more: of its turns and stamps the first is taken, and
/// of its times the hull.
///
/// # Errors
///
/// Says where the order first fails.
pub fn verify_at(sites: &[SiteHistory], level: Level, order: &[TxnRef]) -> Result<(), VerifyError> {
    verify(sites, order)?;
    let told = told(sites);
    let (sessions, times, decisions) = match level {
        Level::Serializability | Level::ExtendedCommitmentOrdering => (false, false, false),
        Level::CommitmentOrdering => (false, false, true),
        Level::StrongSessionSerializability => (true, false, false),
        Level::StrictSerializability => (true, true, false),
        Level::SessionCommitmentOrdering => (true, false, true),
        Level::RealtimeCommitmentOrdering => (true, true, true),
    };
    let clock_error = sites
        .iter()
        .map(SiteHistory::clock_error)
        .max()
        .unwrap_or(0);
    let mut last_turn: HashMap<&Token, (u64, &TxnRef)> = HashMap::new();
    let mut last_begun: Option<(u64, &TxnRef)> = None;
    let mut last_decided: Option<(Stamp, &TxnRef)> = None;
    for txn in order {
        let Told { turn, time, stamp } = told.get(txn).copied().unwrap_or_default();
        let later = txn.clone();
        if sessions && let Some(Turn { session, position }) = turn {
            match last_turn.insert(session, (*position, txn)) {
                Some((before, earlier)) if before >= *position => {
                    let (session, earlier) = (session.clone(), earlier.clone());
                    return Err(VerifyError::AgainstSession {
                        session,
                        earlier,
                        later,
                    });
                }
                Some(_) | None => {}
            }
        }
        if times && let Some(time) = time {
            if let Some((from, earlier)) = last_begun
                && time
                    .to
                    .is_some_and(|to| from.saturating_sub(to) > clock_error)
            {
                let earlier = earlier.clone();
                return Err(VerifyError::AgainstTime { earlier, later });
            }
            last_begun = last_begun.max(Some((time.from, txn)));
        }
        if decisions && let Some(stamp) = stamp {
            if let Some((before, earlier)) = last_decided
                && before > stamp
            {
                let earlier = earlier.clone();
                return Err(VerifyError::AgainstDecisions { earlier, later });
            }
            last_decided = Some((stamp, txn));
        }
    }
    Ok(())
}

/// What is recorded of a transaction besides its operations.
#[derive(Debug, Clone, Copy, Default)]
struct Told<'a> {
    turn: Option<&'a Turn>,
    time: Option<RealTime>,
    stamp: Option<Stamp>,
}

fn told(sites: &[SiteHistory]) -> HashMap<TxnRef, Told<'_>> {
    let mut told: HashMap<TxnRef, Told<'_>> = HashMap::new();
    for site in sites {
        for (place, committed) in committed(site) {
            let of = told
                .entry(TxnRef::new(committed.txn, site.site()))
                .or_default();
            of.stamp = of.stamp.or(committed.stamp);
            if let Some(client) = site.client(place) {
                of.turn = of.turn.or(client.turn.as_ref());
                let times = of.time.into_iter().chain(client.time);
                of.time = times.reduce(RealTime::hull);
            }
        }
    }
    told
}

/// Runs the transactions in the given order and compares; time linear in the histories but for
/// looking up keys, and for scans the number of keys in their ranges.
///
/// # Errors
///
/// Says where the order first fails.
pub fn verify(sites: &[SiteHistory], order: &[TxnRef]) -> Result<(), VerifyError> {
    let indexes: Vec<SiteIndex<'_>> = sites.iter().map(SiteIndex::new).collect();
    let mut stores: Vec<Vec<InPlace>> = indexes
        .iter()
        .map(|index| vec![InPlace::default(); index.key_count()])
        .collect();
    let mut waiting: HashMap<TxnRef, Vec<(usize, usize, &Committed)>> = HashMap::new();
    for (site, history) in sites.iter().enumerate() {
        for (record, committed) in committed(history) {
            let name = TxnRef::new(committed.txn, history.site());
            waiting
                .entry(name)
                .or_default()
                .push((site, record, committed));
        }
    }
    for txn in order {
        let Some(places) = waiting.remove(txn) else {
            return Err(VerifyError::Surplus { txn: txn.clone() });
        };
        for (site, record, committed) in places {
            let run = Run {
                index: &indexes[site],
                txn,
                record,
                committed,
            };
            run.read(&stores[site])?;
            run.install(&mut stores[site])?;
        }
    }
    waiting
        .into_keys()
        .min()
        .map_or(Ok(()), |txn| Err(VerifyError::Missing { txn }))
}

/// Which versions of a key are in place: the last one that is no increment, and the increments
/// since. Places count from 1, so 0 is the initial state.
#[derive(Debug, Clone, Copy, Default)]
struct InPlace {
    base: usize,
    increments: usize,
    highest: usize,
}

/// One transaction's turn at one site.
struct Run<'a> {
    index: &'a SiteIndex<'a>,
    txn: &'a TxnRef,
    record: usize,
    committed: &'a Committed,
}

impl Run<'_> {
    fn read(&self, store: &[InPlace]) -> Result<(), VerifyError> {
        let sights = self.index.sights(self.record, self.committed);
        if let Some(fault) = sights.faults.into_iter().next() {
            let (txn, site) = (self.txn.clone(), self.index.site().site().clone());
            return Err(VerifyError::Unexplained {
                txn,
                site,
                key: fault.key,
            });
        }
        for sight in sights.seen {
            if !self.finds(store[sight.key], sight.key, sight.seen) {
                let (txn, site, key) = self.names(sight.key);
                return Err(VerifyError::WrongRead { txn, site, key });
            }
        }
        Ok(())
    }

    /// Whether the versions in place are the first `seen`, the transaction's own left out.
    fn finds(&self, now: InPlace, key: usize, seen: usize) -> bool {
        let versions = &self.index.versions(key)[..seen];
        let Some(last) = versions.last() else {
            return now.highest == 0;
        };
        let own = self
            .committed
            .seq
            .map(|own| versions.partition_point(|one| one.seq < own) + 1);
        let own = own.filter(|place| *place > last.base && *place <= seen);
        let own = own.filter(|place| versions[place - 1].record == self.record);
        let highest = if own == Some(seen) { seen - 1 } else { seen };
        let increments = seen - last.base - usize::from(own.is_some());
        now.base == last.base && now.increments == increments && now.highest == highest
    }

    fn install(&self, store: &mut [InPlace]) -> Result<(), VerifyError> {
        for (key, place) in self.index.installs(self.committed) {
            let versions = self.index.versions(key);
            let version = versions[place - 1];
            let now = &mut store[key];
            let fits = if version.how == Install::Increment {
                now.base == version.base
            } else {
                // Everything before it is in place, and nothing after it.
                now.base + now.increments == place - 1 && now.highest == place - 1
            };
            if !fits {
                let (txn, site, key) = self.names(key);
                return Err(VerifyError::WrongInstall { txn, site, key });
            }
            *now = match version.how {
                Install::Increment => InPlace {
                    increments: now.increments + 1,
                    highest: now.highest.max(place),
                    ..*now
                },
                Install::Write | Install::Delete => InPlace {
                    base: place,
                    increments: 0,
                    highest: place,
                },
            };
        }
        Ok(())
    }

    fn names(&self, key: usize) -> (TxnRef, Token, Token) {
        let site = self.index.site().site().clone();
        (self.txn.clone(), site, self.index.key(key).clone())
    }
}
