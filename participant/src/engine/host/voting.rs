//! Asking for the vote, and what was voted.

use std::sync::Arc;

use co_core::{AbortReason, Gtid, Priority, Stamp, Vote};

use super::{Engine, Shared, answer};
use crate::participant::{Ballot, OnBallot, Prepared, TxnName};
use crate::registry::{Entry, Fate, Phase};

/// What a request for the vote finds.
enum Found {
    /// Ask the scheduler.
    Working,
    /// It cannot commit for this reason, and whoever undoes it answers the ballot.
    Refused(AbortReason),
    /// The answer to this one is known.
    Known(Ballot, OnBallot),
    /// It is being undone.
    Ending(OnBallot),
    /// The vote was asked for before and will answer this one too.
    Asked,
}

impl<E: Engine> Shared<E> {
    pub(super) fn prepare(self: &Arc<Self>, name: TxnName, on_ballot: OnBallot) {
        let Some(entry) = self.registry.get(name) else {
            on_ballot(Ballot::No(AbortReason::Requested));
            return;
        };
        match self.begin_preparing(&entry, on_ballot) {
            Found::Working => {
                let shared = Arc::clone(self);
                let txn = entry.handle().txn().clone();
                self.scheduler
                    .request_vote_with(&txn, move |vote| match vote {
                        Vote::Yes => shared.voted(&entry),
                        // Whoever doomed it undoes it and answers (H4).
                        Vote::No(_) => {}
                    });
            }
            Found::Refused(reason) => {
                self.scheduler.doom(entry.handle().txn(), reason);
                self.abort(&entry);
            }
            Found::Known(ballot, on_ballot) => on_ballot(ballot),
            Found::Ending(on_ballot) => on_ballot(Ballot::No(match entry.wait_ended() {
                Fate::Aborted(reason) => reason,
                // Only a repeated request meets a commit, and nobody acts on its answer.
                Fate::Committed => AbortReason::Requested,
            })),
            Found::Asked => {}
        }
    }

    fn begin_preparing(&self, entry: &Entry<E::Private>, on_ballot: OnBallot) -> Found {
        let mut inner = entry.lock();
        match &mut inner.phase {
            Phase::Active => {}
            Phase::Preparing(ballots) => {
                ballots.push(on_ballot);
                return Found::Asked;
            }
            Phase::Voted(stamp) => {
                let stamp = *stamp;
                let read_only = inner.work.is_read_only();
                return Found::Known(Ballot::Yes { stamp, read_only }, on_ballot);
            }
            Phase::Ending(_) | Phase::Ended(_) => return Found::Ending(on_ballot),
        }
        inner.phase = Phase::Preparing(vec![on_ballot]);
        let txn = entry.handle().txn();
        match txn.doomed() {
            Some(reason) => Found::Refused(reason),
            None => match self.engine.admit(txn, &inner.work) {
                Ok(()) => Found::Working,
                Err(reason) => Found::Refused(reason),
            },
        }
    }

    /// The scheduler cast a YES. The stamp is taken after that, so it is later than every decision that
    /// released the vote (H1).
    fn voted(&self, entry: &Entry<E::Private>) {
        let stamp = self.clock.tick();
        entry.handle().set_vote_stamp(stamp);
        let mut inner = entry.lock();
        if !matches!(inner.phase, Phase::Preparing(_)) {
            // The coordinator's abort came between the vote and this call, and answers the ballot.
            return;
        }
        let phase = std::mem::replace(&mut inner.phase, Phase::Voted(stamp));
        let Phase::Preparing(ballots) = phase else {
            unreachable!("checked above, under the same lock");
        };
        let read_only = inner.work.is_read_only();
        let name = entry.handle().name();
        self.recorder
            .voted(name, stamp, || inner.work.take_record());
        drop(inner);
        self.engine.progressed();
        answer(ballots, Ballot::Yes { stamp, read_only });
    }

    pub(super) fn prepared(&self, name: TxnName) -> Option<Prepared> {
        let entry = self.registry.get(name)?;
        let inner = entry.lock();
        match inner.phase {
            Phase::Voted(_) => Some(inner.work.prepared()),
            Phase::Active | Phase::Preparing(_) | Phase::Ending(_) | Phase::Ended(_) => None,
        }
    }

    /// Nothing precedes a transaction in doubt: it had voted, and voted transactions are an antichain.
    pub(super) fn recover(&self, gtid: Gtid, priority: Priority, stamp: Stamp, prepared: Prepared) {
        let name = TxnName::Global(gtid);
        if self.registry.get(name).is_some() {
            return;
        }
        self.clock.raise(stamp);
        let entry = Entry::recovered(name, self.scheduler.recover(gtid, priority), stamp);
        {
            let mut inner = entry.lock();
            inner.work = self.engine.recover(entry.handle(), prepared);
            self.recorder
                .voted(name, stamp, || inner.work.take_record());
        }
        let entered = self.registry.enter(name, || entry);
        assert!(entered.is_ok(), "R1: {gtid} was recovered by two threads");
    }
}
