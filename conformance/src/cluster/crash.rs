//! A site goes down and comes back: what had not voted is gone, what had is in doubt again.

use std::collections::BTreeMap;
use std::sync::Arc;

use co_core::{Kind, Outcome, State, Txn};

use super::{Cluster, Doing, Site};
use crate::engine::Engine;
use crate::notation::site_letter;
use crate::report::Finding;

const LOG_ADVICE: &str = "write gtid, age, writes and read marks to the store and sync before YES, remove them with the decision, and on open re-create what is left by Scheduler::recover (contract 5, 8)";

impl<E: Engine> Cluster<'_, E> {
    /// Drops the store of a site as it is, opens it again, and compares what it has in doubt with what it
    /// has promised.
    pub(crate) fn crash(&mut self, site: usize) -> Result<(), Finding> {
        let at = site_letter(site);
        self.log.step(format!("site {at} crashes"));
        let promised = self.lose_memory(site);
        // A store on disk has one owner: the old one is gone before the new one opens. The calls in
        // progress, which share it, went with the transactions' memory.
        let Site {
            place,
            engine,
            tape,
        } = self.sites.remove(site);
        drop(engine);
        let engine = Arc::new(self.context.open(place)?);
        let again = Site {
            place,
            engine,
            tape,
        };
        self.sites.insert(site, again);
        self.log.step(format!("site {at} is open again"));
        self.meet_again(site, promised);
        self.settle();
        Ok(())
    }

    /// What the site forgets: everything but promises. Returns those.
    fn lose_memory(&mut self, site: usize) -> Vec<u64> {
        let mut promised = Vec::new();
        for (number, actor) in &mut self.actors {
            let Some(branch) = actor.branches.get_mut(&site) else {
                continue;
            };
            let global = matches!(actor.kind, Kind::Global { .. });
            match branch.doing {
                Doing::Ended => {}
                Doing::Voted if global => promised.push(*number),
                Doing::Voted | Doing::Nothing | Doing::Operating(..) | Doing::Voting(_) => {
                    branch.doing = Doing::Ended;
                    actor.refused = true;
                    self.sites[site].tape.abort(actor.id);
                }
            }
        }
        promised
    }

    fn meet_again(&mut self, site: usize, promised: Vec<u64>) {
        let at = site_letter(site);
        let mut in_doubt: BTreeMap<u64, Txn> = BTreeMap::new();
        for txn in self.sites[site].engine.in_doubt() {
            if let Kind::Global { gtid, .. } = txn.kind() {
                in_doubt.insert(gtid.0, txn);
            }
        }
        for number in promised {
            let actor = self
                .actors
                .get_mut(&number)
                .expect("a promised transaction is known");
            let found = in_doubt.remove(&number);
            let same = found.filter(|txn| txn.kind() == actor.kind && txn.state() == State::Voted);
            let Some(branch) = actor.branches.get_mut(&site) else {
                continue;
            };
            if let Some(txn) = same {
                branch.txn = txn;
                continue;
            }
            self.log.find(
                format!("T{number} had voted YES at site {at} and is not in doubt after the crash"),
                LOG_ADVICE,
            );
            branch.doing = Doing::Ended;
            self.sites[site].tape.abort(actor.id);
            if !matches!(actor.decision, Some((Outcome::Commit, _))) {
                actor.refused = true;
            }
        }
        for (number, txn) in in_doubt {
            self.log.find(
                format!("T{number} is in doubt at site {at} after the crash, but it was decided or never voted"),
                LOG_ADVICE,
            );
            // It may not stay: the rest of the case would wait for it.
            if let Err(refusal) = self.sites[site].engine.decide(&txn, Outcome::Abort) {
                self.log
                    .step(format!("T{number} cannot be aborted: {refusal}"));
            }
        }
    }
}
