//! Looking in: what an operator, a service or a test wants to see. Nothing here changes anything.

use co_core::{Gtid, Priority};

use super::{Coordinator, Phase, Site};
use crate::protocol::{AbortCause, CoordinatorId, CoordinatorStats, Epoch, Incarnation, SiteName};

/// A site as the coordinator knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteView<'a> {
    /// Its name.
    pub name: &'a SiteName,
    /// Where clients reach it.
    pub address: &'a str,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Whether its link is up.
    pub connected: bool,
}

/// How far a transaction has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionState {
    /// Begun, not asked to commit.
    Active,
    /// Some sites have not voted.
    Voting {
        /// Which.
        missing: Vec<SiteName>,
    },
    /// Its only site decides.
    OnePhase {
        /// Which.
        site: SiteName,
    },
    /// The commit record is on its way to the disk.
    Forcing {
        /// Who voted YES.
        sites: Vec<SiteName>,
    },
    /// Committed; some sites have not acknowledged.
    Committed {
        /// Which.
        unacknowledged: Vec<SiteName>,
    },
    /// Aborted; its client does not know yet.
    Doomed {
        /// Why.
        cause: AbortCause,
    },
}

/// A transaction that is not yet forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionView {
    /// Its name.
    pub gtid: Gtid,
    /// Its age.
    pub priority: Priority,
    /// How far it has come.
    pub state: TransactionState,
}

/// A reported wait: at this site, this transaction waits for those to be decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitView<'a> {
    /// Who waits.
    pub waiter: Gtid,
    /// Where.
    pub site: &'a SiteName,
    /// For whom.
    pub blockers: &'a [Gtid],
}

impl Coordinator {
    /// Who this coordinator is.
    #[must_use]
    pub const fn id(&self) -> CoordinatorId {
        self.id
    }

    /// The present epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether begins are answered: the epoch is durable and the log has not failed.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        self.epoch_token.is_none() && !self.log_failed
    }

    /// How many transactions are undecided, as far as is known here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let undecided = |phase: &Phase| !matches!(phase, Phase::Committed(_) | Phase::Doomed(_));
        self.transactions
            .values()
            .filter(|transaction| undecided(&transaction.phase))
            .count()
    }

    /// The sites that have ever said hello, by name.
    pub fn sites(&self) -> impl Iterator<Item = SiteView<'_>> {
        self.sites.iter().map(
            |(
                name,
                Site {
                    incarnation,
                    address,
                    connected,
                },
            )| SiteView {
                name,
                address,
                incarnation: *incarnation,
                connected: *connected,
            },
        )
    }

    /// The transactions that are not yet forgotten, oldest gtid first.
    pub fn transactions(&self) -> impl Iterator<Item = TransactionView> {
        self.transactions.iter().map(|(&gtid, transaction)| {
            let state = match &transaction.phase {
                Phase::Active => TransactionState::Active,
                Phase::Voting(voting) => {
                    let missing = voting.votes.iter().filter(|(_, vote)| vote.is_none());
                    TransactionState::Voting {
                        missing: missing.map(|(site, _)| site.clone()).collect(),
                    }
                }
                Phase::OnePhase(one_phase) => TransactionState::OnePhase {
                    site: one_phase.site.clone(),
                },
                Phase::Forcing(forcing) => TransactionState::Forcing {
                    sites: forcing.sites().iter().cloned().collect(),
                },
                Phase::Committed(committed) => TransactionState::Committed {
                    unacknowledged: committed.unacknowledged().iter().cloned().collect(),
                },
                &Phase::Doomed(cause) => TransactionState::Doomed { cause },
            };
            TransactionView {
                gtid,
                priority: transaction.priority,
                state,
            }
        })
    }

    /// The waits that sites have reported and not withdrawn.
    pub fn waits(&self) -> impl Iterator<Item = WaitView<'_>> {
        self.waits.iter()
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &CoordinatorStats {
        &self.stats
    }

    /// The counters since they were last taken; they start again from zero.
    pub fn take_stats(&mut self) -> CoordinatorStats {
        std::mem::take(&mut self.stats)
    }
}
