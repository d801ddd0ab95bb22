//! A site's engine, as far as the protocol sees it: gates, waits, cascades, decisions.
//!
//! Invariants: a vote is given when every predecessor at this site has ended, or has voted too and the
//! vote may say so; who has read from an aborted one is refused.

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{AbortCause, Decision, Dependencies, ReleasedVote, ToParticipant, Wait};

use super::rules::Met;
use super::{Kind, Lie, SITES, State};
use crate::world::Work;

impl State {
    pub(super) fn asked_for_vote(&mut self, site: usize, gtid: Gtid, dependent: bool) {
        let index = self.plan.index(gtid);
        if self.sites[site].work[index] == Some(Work::Working) {
            let at = self.site(site);
            at.work[index] = Some(Work::Asked);
            at.may_depend[index] = dependent;
        } else {
            let vote = ReleasedVote::No(AbortCause::UnknownTransaction);
            self.on_site(site, |it, now, out| {
                it.handle_released(now, gtid, vote, out)
            });
        }
    }

    /// Those that come before a transaction at a site and have not ended there.
    fn predecessors(&self, site: usize, of: usize) -> impl Iterator<Item = (usize, Kind, Work)> {
        let edges = self.plan.conflicts[site].iter();
        let before = edges.filter(move |edge| edge.second == of);
        before.filter_map(move |edge| {
            let work = self.sites[site].work[edge.first]?;
            let open = !matches!(work, Work::Committed | Work::Aborted);
            open.then_some((edge.first, edge.kind, work))
        })
    }

    /// It has read what is undone.
    fn is_broken(&self, site: usize, of: usize) -> bool {
        let mut edges = self.plan.conflicts[site].iter();
        edges.any(|edge| {
            edge.second == of
                && edge.kind == Kind::Data
                && self.sites[site].work[edge.first] == Some(Work::Aborted)
        })
    }

    /// Whether the engine can vote now.
    pub(super) fn is_open(&self, site: usize, of: usize) -> bool {
        let at = &self.sites[site];
        let asked = at.work[of] == Some(Work::Asked);
        asked && (self.is_broken(site, of) || self.blockers(site, of).next().is_none())
    }

    /// Those for whom its vote is withheld.
    fn blockers(&self, site: usize, of: usize) -> impl Iterator<Item = usize> {
        let may_depend = self.sites[site].may_depend[of];
        let before = self.predecessors(site, of);
        let blocks = move |work| !(may_depend && work == Work::InDoubt);
        before
            .filter(move |&(_, _, work)| blocks(work))
            .map(|it| it.0)
    }

    pub(super) fn release(&mut self, site: usize, of: usize) {
        let gtid = self.plan.gtids[of];
        let vote = if self.is_broken(site, of) {
            self.met |= Met::CASCADE;
            ReleasedVote::No(AbortCause::Cascade)
        } else {
            let mut depends = Dependencies::default();
            for (first, kind, _) in self.predecessors(site, of) {
                let first = self.plan.gtids[first];
                match kind {
                    Kind::Order => depends.after.insert(first),
                    Kind::Data => depends.if_committed.insert(first),
                };
            }
            let at = self.site(site);
            at.clock += 1;
            at.work[of] = Some(Work::InDoubt);
            ReleasedVote::Yes {
                stamp: Stamp(at.clock),
                read_only: false,
                depends,
            }
        };
        self.on_site(site, |it, now, out| {
            it.handle_released(now, gtid, vote, out)
        });
        self.show_waits(site);
    }

    pub(super) fn refuse(&mut self, site: usize, of: usize) {
        let gtid = self.plan.gtids[of];
        let vote = ReleasedVote::No(AbortCause::WriteConflict);
        self.on_site(site, |it, now, out| {
            it.handle_released(now, gtid, vote, out)
        });
        self.show_waits(site);
    }

    /// Shows the voter who waits at its site.
    pub(super) fn show_waits(&mut self, site: usize) {
        if !self.plan.reports[site] {
            return;
        }
        let mut waits = Vec::new();
        for of in 0..self.plan.gtids.len() {
            if self.sites[site].work[of] != Some(Work::Asked) || self.is_broken(site, of) {
                continue;
            }
            let by: Vec<_> = self.blockers(site, of).map(|it| self.age(it)).collect();
            if !by.is_empty() {
                let (gtid, priority) = self.age(of);
                waits.push(Wait { gtid, priority, by });
            }
        }
        self.on_site(site, |it, now, out| it.handle_blocked(now, &waits, out));
    }

    fn age(&self, of: usize) -> (Gtid, Priority) {
        let gtid = self.plan.gtids[of];
        (gtid, Priority(gtid.0 & ((1 << 56) - 1)))
    }

    pub(super) fn apply(&mut self, site: usize, gtid: Gtid, decision: Decision) {
        let of = self.plan.index(gtid);
        let before = self.sites[site].work[of];
        let (after, sound) = match decision {
            Decision::Commit { stamp } => {
                let ordered = self.predecessors(site, of).next().is_none();
                self.check(ordered, "B4: committed before its predecessor here", of);
                let at = self.site(site);
                at.clock = at.clock.max(stamp.0);
                let told = self.plan.lie == Lie::HeldCommitApplied;
                let again = told && before == Some(Work::Committed);
                (Work::Committed, again || before == Some(Work::InDoubt))
            }
            Decision::Abort { .. } => (Work::Aborted, before != Some(Work::Committed)),
        };
        self.check(sound, "A6: told an end that does not fit", of);
        self.site(site).work[of] = Some(after);
        self.ended(site, of, decision);
    }

    /// A commit was said to a site and is not carried out: the voter holds it.
    pub(super) fn see_held(&mut self, site: usize, told: &ToParticipant) {
        let &ToParticipant::Decide {
            gtid,
            decision: decision @ Decision::Commit { .. },
        } = told
        else {
            return;
        };
        let of = self.plan.index(gtid);
        if self.sites[site].work[of] == Some(Work::InDoubt) {
            self.met |= Met::HELD;
            if self.plan.lie == Lie::HeldCommitApplied {
                self.apply(site, gtid, decision);
            }
        }
    }

    pub(super) fn crash_site(&mut self, site: usize, survivors: usize) {
        for desk in 0..self.desks.len() {
            self.cut(desk, site);
        }
        let at = self.site(site);
        at.voter = None;
        at.log.crash(survivors);
        at.may_depend.fill(false);
        let (in_doubt, _) = at.recovered();
        for of in 0..self.plan.gtids.len() {
            let gtid = self.plan.gtids[of];
            let at = self.site(site);
            let Some(work) = at.work[of] else { continue };
            let found = at.decided(gtid);
            at.work[of] = Some(match found {
                _ if in_doubt.iter().any(|it| it.gtid == gtid) => Work::InDoubt,
                Some(Decision::Commit { .. }) => Work::Committed,
                // What has left no trace has never happened here.
                Some(Decision::Abort { .. }) | None => Work::Aborted,
            });
            match (found, at.work[of]) {
                (Some(decision), _) => self.ended(site, of, decision),
                (None, Some(Work::Aborted)) => {
                    assert_ne!(work, Work::Committed, "A5: a commit has left no trace");
                    let cause = AbortCause::UnknownTransaction;
                    self.ended(site, of, Decision::Abort { cause });
                }
                (None, _) => {}
            }
        }
    }

    /// A transaction that its coordinator no longer knows, and that nobody asks for its vote, is given up
    /// when its lease has run out.
    pub(super) fn end_leases(&mut self) {
        for site in 0..SITES {
            for of in 0..self.plan.gtids.len() {
                let desk = &self.desks[self.plan.owner(of)];
                let gtid = self.plan.gtids[of];
                let known = |it: &coco::protocol::Coordinator| {
                    it.transactions().any(|known| known.gtid == gtid)
                };
                let working = self.sites[site].work[of] == Some(Work::Working);
                if working && !desk.machine.as_ref().is_some_and(known) {
                    self.site(site).work[of] = Some(Work::Aborted);
                    let cause = AbortCause::Timeout;
                    self.ended(site, of, Decision::Abort { cause });
                    self.show_waits(site);
                }
            }
        }
    }
}
