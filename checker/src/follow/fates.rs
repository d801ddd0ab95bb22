//! What sites say of global transactions, compared.

use std::collections::{HashMap, VecDeque};

use crate::findings::Capped;
use crate::hashing::Hashing;
use crate::history::{Stamp, TxnId};
use crate::token::Token;
use crate::verdict::{Anomaly, Doubt, TxnRef};

use super::site::Ended;

/// The last global transactions.
#[derive(Debug)]
pub(super) struct Fates {
    known: HashMap<u64, Fate, Hashing>,
    order: VecDeque<u64>,
    limit: usize,
    pub(super) anomalies: Capped<Anomaly>,
    pub(super) doubts: Capped<Doubt>,
    /// How many outcomes had nothing left to be compared with.
    pub(super) late: u64,
}

/// The first site that says each.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    committed: Option<usize>,
    stamp: Option<(usize, u64)>,
    aborted: Option<usize>,
    in_doubt: Option<usize>,
}

impl Fates {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            limit,
            anomalies: Capped::default(),
            doubts: Capped::default(),
            late: 0,
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.known.len()
    }

    /// Takes in what a site says. `elsewhere` tells whether another site has named the transaction.
    pub(super) fn tell(
        &mut self,
        id: u64,
        site: usize,
        ended: Ended,
        elsewhere: impl FnOnce() -> bool,
        name: impl Fn(usize) -> Token,
    ) {
        let mut fate = match self.known.get(&id) {
            Some(fate) => *fate,
            None => {
                self.late += u64::from(elsewhere());
                self.make_room();
                self.order.push_back(id);
                Fate::default()
            }
        };
        let txn = || TxnRef::new(TxnId::Global(id), &name(site));
        let torn = |committed: usize, aborted: usize| Anomaly::BrokenAtomicity {
            txn: txn(),
            committed_at: name(committed),
            aborted_at: name(aborted),
        };
        let undecided = |committed: usize, in_doubt: usize| Doubt::Undecided {
            txn: txn(),
            committed_at: name(committed),
            in_doubt_at: name(in_doubt),
        };
        match ended {
            Ended::Committed(stamp) => {
                if fate.committed.is_none() {
                    let aborted = fate.aborted;
                    aborted.into_iter().for_each(|aborted| {
                        self.anomalies.push_capped(|| torn(site, aborted));
                    });
                    let in_doubt = fate.in_doubt;
                    in_doubt.into_iter().for_each(|in_doubt| {
                        self.doubts.push_capped(|| undecided(site, in_doubt));
                    });
                    fate.committed = Some(site);
                }
                match (fate.stamp, stamp) {
                    (None, Some(stamp)) => fate.stamp = Some((site, stamp)),
                    (Some((first, known)), Some(stamp)) if known != stamp => {
                        self.anomalies
                            .push_capped(|| Anomaly::DecisionDisagreement {
                                txn: txn(),
                                first: (name(first), Stamp(known)),
                                second: (name(site), Stamp(stamp)),
                            });
                    }
                    (_, None) | (Some(_), Some(_)) => {}
                }
            }
            Ended::Aborted => {
                if let Some(committed) = fate.committed {
                    self.anomalies.push_capped(|| torn(committed, site));
                }
                fate.aborted = fate.aborted.or(Some(site));
            }
            Ended::InDoubt => {
                if let Some(committed) = fate.committed {
                    self.doubts.push_capped(|| undecided(committed, site));
                }
                fate.in_doubt = fate.in_doubt.or(Some(site));
            }
        }
        self.known.insert(id, fate);
    }

    fn make_room(&mut self) {
        if self.known.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
