//! Starting: the log's records say what was decided in earlier lives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use co_core::{Gtid, Priority};

use super::deciding::Committed;
use super::peers::Peers;
use super::waits::Waits;
use super::{Coordinator, Phase, Transaction};
use crate::log::Record;
use crate::protocol::proof::DurableCommit;
use crate::protocol::recent::Recent;
use crate::protocol::time::Timers;
use crate::protocol::{
    CoordinatorConfig, CoordinatorEffect, CoordinatorId, CoordinatorStats, Epoch, GtidParts, Time,
};

/// Why a coordinator cannot start from a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The log is another coordinator's.
    #[error("the log belongs to coordinator {found}, not {expected}; check the id and the folder")]
    OtherCoordinator {
        /// Whose log it is.
        found: CoordinatorId,
        /// Who wants to start from it.
        expected: CoordinatorId,
    },
    /// A record does not fit the records before it.
    #[error("the log contradicts itself: epoch {found:?} is recorded after epoch {after:?}")]
    EpochOutOfOrder {
        /// The epoch of the record.
        found: Epoch,
        /// The last epoch before it.
        after: Epoch,
    },
    /// All 2^24 epochs are used up.
    #[error("this coordinator id has used all its epochs; give the coordinator a new id and log")]
    EpochsExhausted,
}

impl Coordinator {
    /// Starts a coordinator from the records of its log, oldest first; none at the first start.
    ///
    /// The effects append the record of a new epoch: begins are refused until it is durable.
    /// Commits that some site has not acknowledged are said again when their sites say hello.
    ///
    /// # Errors
    ///
    /// If the records are another coordinator's, contradict each other, or leave no epoch.
    pub fn recover(
        config: CoordinatorConfig,
        id: CoordinatorId,
        records: impl IntoIterator<Item = Record>,
        out: &mut Vec<CoordinatorEffect>,
    ) -> Result<Self, RecoverError> {
        let mut coordinator = Self {
            id,
            epoch: Epoch::NONE,
            epoch_token: None,
            counter: None,
            next_token: 0,
            log_failed: false,
            sites: BTreeMap::new(),
            transactions: BTreeMap::new(),
            forcing: BTreeMap::new(),
            dependents: BTreeMap::new(),
            turns: VecDeque::new(),
            ages: BTreeSet::new(),
            timers: Timers::default(),
            waits: Waits::of(id),
            peers: Peers::default(),
            recent: Recent::new(config.remembered_outcomes),
            stats: CoordinatorStats::default(),
            config,
        };
        for record in records {
            coordinator.replay(record)?;
        }
        let next = coordinator
            .epoch
            .next()
            .ok_or(RecoverError::EpochsExhausted)?;
        coordinator.start_epoch(next, out);
        Ok(coordinator)
    }

    fn replay(&mut self, record: Record) -> Result<(), RecoverError> {
        let proof = DurableCommit::recovered(&record);
        match record {
            Record::Epoch { coordinator, epoch } => {
                self.expect_own(coordinator)?;
                if epoch <= self.epoch {
                    return Err(RecoverError::EpochOutOfOrder {
                        found: epoch,
                        after: self.epoch,
                    });
                }
                self.epoch = epoch;
            }
            Record::Commit { gtid, sites, .. } => {
                self.expect_known(gtid)?;
                let proof = proof.expect("the record is a commit");
                let committed = Committed::new(proof, sites.into_iter().collect());
                let phase = Phase::Committed(committed);
                self.transactions.insert(
                    gtid,
                    Transaction {
                        priority: Priority(0),
                        phase,
                    },
                );
                self.timers
                    .set(gtid, Time::default() + self.config.resend_after);
            }
            Record::End { gtid } => {
                self.expect_known(gtid)?;
                self.transactions.remove(&gtid);
                self.timers.cancel(gtid);
            }
        }
        Ok(())
    }

    fn expect_own(&self, found: CoordinatorId) -> Result<(), RecoverError> {
        if found == self.id {
            Ok(())
        } else {
            Err(RecoverError::OtherCoordinator {
                found,
                expected: self.id,
            })
        }
    }

    fn expect_known(&self, gtid: Gtid) -> Result<(), RecoverError> {
        let parts = GtidParts::of(gtid);
        self.expect_own(parts.coordinator)?;
        if parts.epoch > self.epoch {
            return Err(RecoverError::EpochOutOfOrder {
                found: parts.epoch,
                after: self.epoch,
            });
        }
        Ok(())
    }

    /// Appends the record of a new epoch; begins wait until it is durable (I4).
    pub(super) fn start_epoch(&mut self, epoch: Epoch, out: &mut Vec<CoordinatorEffect>) {
        assert!(epoch > self.epoch, "I4: epochs grow");
        let token = self.new_token();
        self.epoch = epoch;
        self.counter = Some(0);
        self.epoch_token = Some(token);
        let record = Record::Epoch {
            coordinator: self.id,
            epoch,
        };
        out.push(CoordinatorEffect::Append { record, token });
    }

    /// The records that the log must still hold. To shorten the log: recover, append these again,
    /// and when they are durable cut what was before them. A commit that is only on its way to the
    /// log is not among them; right after `recover` there is none.
    #[must_use]
    pub fn live_records(&self) -> Vec<Record> {
        let epoch = Record::Epoch {
            coordinator: self.id,
            epoch: self.epoch,
        };
        let commits =
            self.transactions
                .values()
                .filter_map(|transaction| match &transaction.phase {
                    Phase::Committed(committed) => Some(committed.record()),
                    Phase::Active
                    | Phase::Voting(_)
                    | Phase::OnePhase(_)
                    | Phase::Forcing(_)
                    | Phase::Doomed(_) => None,
                });
        std::iter::once(epoch).chain(commits).collect()
    }
}
