//! Asking for the vote, and what was voted.

use std::sync::Arc;

use co_core::{AbortReason, Gtid, Priority, Stamp, Vote};

use super::{Engine, Shared, answer};
use crate::participant::{Ballot, Dependencies, OnBallot, Prepared, TxnName};
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
    pub(super) fn prepare(self: &Arc<Self>, name: TxnName, dependent: bool, on_ballot: OnBallot) {
        let Some(entry) = self.registry.get(name) else {
            on_ballot(Ballot::No(AbortReason::Requested));
            return;
        };
        match self.begin_preparing(&entry, dependent, on_ballot) {
            Found::Working => {
                // Kept by the engine and the scheduler, which this host owns: whoever is dropped with votes that are
                // withheld must let go of its storage all the same.
                let shared = Arc::downgrade(self);
                let fortified = Arc::clone(&entry);
                let done = move |done| {
                    let Some(shared) = shared.upgrade() else {
                        return;
                    };
                    match done {
                        Ok(()) => shared.request_vote(fortified, dependent),
                        Err(reason) => {
                            shared.scheduler.doom(fortified.handle().txn(), reason);
                            shared.abort(&fortified);
                        }
                    }
                    shared.reap();
                };
                self.engine.fortify(&entry, Box::new(done));
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

    /// Asks the scheduler for the vote. One that was undone meanwhile gets none.
    fn request_vote(self: &Arc<Self>, entry: Arc<Entry<E::Private>>, dependent: bool) {
        let shared = Arc::downgrade(self);
        let txn = entry.handle().txn().clone();
        let waiting = Arc::clone(&entry);
        self.scheduler
            .request_vote_with(&txn, move |vote| match vote {
                Vote::Yes => {
                    if let Some(shared) = shared.upgrade() {
                        shared.voted(&entry);
                    }
                }
                // Whoever doomed it undoes it and answers (H4).
                Vote::No(_) => {}
            });
        if dependent {
            self.try_dependent(waiting);
        }
    }

    fn begin_preparing(
        &self,
        entry: &Entry<E::Private>,
        dependent: bool,
        on_ballot: OnBallot,
    ) -> Found {
        let mut inner = entry.lock();
        match &mut inner.phase {
            Phase::Active => {}
            Phase::Preparing(ballots) => {
                ballots.push(on_ballot);
                inner.dependent &= dependent;
                return Found::Asked;
            }
            Phase::Voted(stamp) => {
                let stamp = *stamp;
                let read_only = inner.work.is_read_only();
                let depends = inner.depends.clone();
                let ballot = Ballot::Yes {
                    stamp,
                    read_only,
                    depends,
                };
                return Found::Known(ballot, on_ballot);
            }
            Phase::Ending(_) | Phase::Ended(_) => return Found::Ending(on_ballot),
        }
        inner.phase = Phase::Preparing(vec![on_ballot]);
        inner.dependent = dependent;
        let txn = entry.handle().txn();
        match txn.doomed() {
            Some(reason) => Found::Refused(reason),
            None => match self.engine.admit(txn, &inner.work) {
                Ok(()) => Found::Working,
                Err(reason) => Found::Refused(reason),
            },
        }
    }

    /// The scheduler cast a YES; one that depended on others may be given already. The stamp is taken after that, so it is later than every decision that
    /// released the vote (H1).
    fn voted(self: &Arc<Self>, entry: &Entry<E::Private>) {
        self.cast(entry, Dependencies::default());
        self.look_after(entry.handle().txn().id());
    }

    /// Gives the YES, unless it is given, or the coordinator's abort has come between the vote and this call and
    /// answers the ballot.
    pub(super) fn cast(&self, entry: &Entry<E::Private>, depends: Dependencies) {
        let handle = entry.handle();
        let mut inner = entry.lock();
        let Phase::Preparing(ballots) = &mut inner.phase else {
            return;
        };
        let ballots = std::mem::take(ballots);
        let stamp = self.clock.tick();
        handle.set_vote_stamp(stamp);
        inner.phase = Phase::Voted(stamp);
        inner.depends.clone_from(&depends);
        let read_only = inner.work.is_read_only();
        self.recorder
            .voted(handle.name(), stamp, || inner.work.take_record());
        drop(inner);
        self.engine.progressed();
        let ballot = Ballot::Yes {
            stamp,
            read_only,
            depends,
        };
        answer(ballots, &ballot);
        handle.set_told();
    }

    pub(super) fn prepared(&self, name: TxnName) -> Option<Prepared> {
        let entry = self.registry.get(name)?;
        let inner = entry.lock();
        match inner.phase {
            Phase::Voted(_) => Some(inner.work.prepared()),
            Phase::Active | Phase::Preparing(_) | Phase::Ending(_) | Phase::Ended(_) => None,
        }
    }

    /// Nothing precedes a transaction in doubt but what its vote depends on, which has been recovered: voted
    /// transactions are an antichain otherwise.
    pub(super) fn recover(
        self: &Arc<Self>,
        (gtid, priority, stamp): (Gtid, Priority, Stamp),
        prepared: Prepared,
        depends: &Dependencies,
    ) {
        let name = TxnName::Global(gtid);
        if self.registry.get(name).is_some() {
            return;
        }
        self.clock.raise(stamp);
        let txn = self.recover_order(gtid, priority, depends);
        let entry = Entry::recovered(name, txn, stamp);
        {
            let mut inner = entry.lock();
            inner.depends = depends.clone();
            inner.work = self.engine.recover(entry.handle(), prepared);
            self.recorder
                .voted(name, stamp, || inner.work.take_record());
        }
        let entered = self.registry.enter(name, || entry);
        assert!(entered.is_ok(), "R1: {gtid} was recovered by two threads");
    }
}
