//! Votes that depend on others' decisions: whose turn it is, and whose it will never be.
//!
//! A transaction all of whose sites have voted YES is decided when everything that their votes depend
//! on is. For an own transaction that is when its commit record has been handed to the log: the
//! record of the dependent one is handed over behind it, and the log keeps their order, so that no crash
//! leaves the second without the first. Another coordinator's transactions are waited for until the
//! site says the vote again without them.
//!
//! A vote that depends on somebody is a wait like any other: it is in the graph of waits, and cycles of
//! such votes are found there at once.

use co_core::{Gtid, Stamp};

use super::{Coordinator, Ended, Phase};
use crate::protocol::depends::next_stamp;
use crate::protocol::{AbortCause, CoordinatorEffect, Dependencies, SiteName, Time, ToParticipant};

/// What is known of a transaction that a vote depends on.
enum Turn {
    /// Not decided, as far as is known here.
    Undecided,
    /// Its commit record is in the log, or handed to it.
    Committed(Stamp),
    Aborted,
    /// Ended too long ago to know how: the site that named it must have learned it since.
    Forgotten,
}

/// What is to be done about a transaction whose votes are being collected.
enum Move {
    None,
    Commit(Stamp),
    Abort,
    /// Until these are decided, and these sites have voted again.
    Wait {
        own: Vec<Gtid>,
        ask_again: Vec<SiteName>,
    },
}

impl Coordinator {
    fn turn(&self, gtid: Gtid) -> Turn {
        if !self.is_own(gtid) {
            return Turn::Undecided;
        }
        match self.transactions.get(&gtid).map(|it| &it.phase) {
            Some(Phase::Active | Phase::Voting(_) | Phase::OnePhase(_)) => Turn::Undecided,
            Some(Phase::Forcing(forcing)) => Turn::Committed(forcing.stamp()),
            Some(Phase::Committed(committed)) => Turn::Committed(committed.stamp()),
            Some(Phase::Doomed(_)) => Turn::Aborted,
            None => match self.recent.get(gtid) {
                Some(Ended::Committed(proof)) => Turn::Committed(proof.stamp()),
                Some(&Ended::OnePhase(stamp)) => Turn::Committed(stamp),
                Some(Ended::Aborted(_)) => Turn::Aborted,
                Some(Ended::Unknown) | None => Turn::Forgotten,
            },
        }
    }

    /// A site's vote depends on these: a wait, until it says otherwise.
    pub(super) fn note_dependencies(
        &mut self,
        now: Time,
        gtid: Gtid,
        site: &SiteName,
        depends: &Dependencies,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let new = self.waits.replace(gtid, site, depends.iter().collect());
        // The age of a foreign one is not known here.
        let priority = |it: Gtid| self.transactions.get(&it).map(|known| known.priority);
        let new: Vec<_> = new.into_iter().map(|it| (it, priority(it))).collect();
        self.follow_policy(now, gtid, site, &new, out);
    }

    /// Decides the transaction if all have voted and its turn has come, or never will.
    pub(super) fn decide_in_turn(&mut self, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        match self.next_move(gtid) {
            Move::None => {}
            Move::Commit(stamp) => self.force_commit(gtid, stamp, out),
            Move::Abort => self.abort(gtid, AbortCause::Cascade, None, out),
            Move::Wait { own, ask_again } => {
                for predecessor in own {
                    self.dependents.entry(predecessor).or_default().insert(gtid);
                }
                for site in ask_again {
                    self.ask_for_vote_again(gtid, &site, out);
                }
            }
        }
    }

    /// An own transaction is decided: those that depend on it come next. Not at once, but when what is being
    /// done has been done: chains of them may be long.
    pub(super) fn pass_turn(&mut self, gtid: Gtid) {
        if let Some(next) = self.dependents.remove(&gtid) {
            self.turns.extend(next);
        }
    }

    /// Decides those whose turn has come.
    pub(super) fn take_turns(&mut self, out: &mut Vec<CoordinatorEffect>) {
        while let Some(gtid) = self.turns.pop_front() {
            self.decide_in_turn(gtid, out);
        }
    }

    fn next_move(&self, gtid: Gtid) -> Move {
        let Some(Phase::Voting(voting)) = self.transactions.get(&gtid).map(|it| &it.phase) else {
            return Move::None;
        };
        let mut ready = true;
        let mut stamp = Stamp::default();
        let (mut own, mut ask_again) = (Vec::new(), Vec::new());
        for (site, vote) in &voting.votes {
            let Some(yes) = vote else {
                ready = false;
                continue;
            };
            stamp = stamp.max(yes.stamp);
            for predecessor in yes.depends.iter() {
                match self.turn(predecessor) {
                    Turn::Undecided => {
                        ready = false;
                        if self.is_own(predecessor) {
                            own.push(predecessor);
                        }
                    }
                    // Y1
                    Turn::Committed(before) => stamp = stamp.max(next_stamp(before)),
                    // Y2
                    Turn::Aborted if yes.depends.if_committed.contains(&predecessor) => {
                        return Move::Abort;
                    }
                    Turn::Aborted => {}
                    Turn::Forgotten => {
                        ready = false;
                        ask_again.push(site.clone());
                    }
                }
            }
        }
        if ready {
            Move::Commit(stamp)
        } else {
            Move::Wait { own, ask_again }
        }
    }

    /// The vote is of long ago: the site has learned more since, or has said it already.
    fn ask_for_vote_again(
        &mut self,
        gtid: Gtid,
        site: &SiteName,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let phase = self.transactions.get_mut(&gtid).map(|it| &mut it.phase);
        if let Some(Phase::Voting(voting)) = phase {
            let dependent = voting.dependent;
            voting.votes.insert(site.clone(), None);
            self.resend(site, ToParticipant::Prepare { gtid, dependent }, out);
        }
    }
}
