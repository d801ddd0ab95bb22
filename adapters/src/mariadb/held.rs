//! The branches of this life that are not finished, and who has each.
//!
//! A prepared branch stays in the session that made it until the decision, as far as there are sessions to spare: the
//! server refuses to let anybody else finish it while that session lives. Where there are too many, the session of the
//! oldest is closed: a branch needs it no more once it is prepared.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::session::{Owner, Session};
use crate::branch::BranchName;

struct Branch {
    owner: Owner,
    /// There once it is prepared, unless it had to go.
    session: Option<Session>,
    /// Its place among all that were ever prepared.
    place: u64,
}

#[derive(Default)]
struct Branches {
    all: BTreeMap<BranchName, Branch>,
    places: u64,
}

#[derive(Default)]
pub(super) struct HeldBranches(Mutex<Branches>);

impl HeldBranches {
    fn lock(&self) -> MutexGuard<'_, Branches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A branch is about to be made in that session.
    pub(super) fn begin(&self, name: BranchName, owner: Owner) {
        let mut branches = self.lock();
        branches.places += 1;
        let branch = Branch {
            owner,
            session: None,
            place: branches.places,
        };
        branches.all.insert(name, branch);
    }

    /// It is prepared, and keeps its session. Of more than `most` sessions, the one of the oldest branch is given out, to
    /// be closed.
    pub(super) fn keep(&self, name: BranchName, session: Session, most: usize) -> Option<Session> {
        let mut branches = self.lock();
        let Some(branch) = branches.all.get_mut(&name) else {
            return Some(session);
        };
        branch.session = Some(session);
        let count = branches
            .all
            .values()
            .filter(|it| it.session.is_some())
            .count();
        if count <= most {
            return None;
        }
        let kept = branches.all.values_mut().filter(|it| it.session.is_some());
        let oldest = kept.min_by_key(|branch| branch.place);
        oldest.and_then(|branch| branch.session.take())
    }

    /// Its session, if it has one.
    pub(super) fn session(&self, name: BranchName) -> Option<Session> {
        self.lock().all.get_mut(&name)?.session.take()
    }

    /// Who has made it, or is at it.
    pub(super) fn owner(&self, name: BranchName) -> Option<Owner> {
        self.lock().all.get(&name).map(|branch| branch.owner)
    }

    /// All that are not finished.
    pub(super) fn owners(&self) -> Vec<(BranchName, Owner)> {
        let branches = self.lock();
        let all = branches.all.iter();
        all.map(|(name, branch)| (*name, branch.owner)).collect()
    }

    /// It is finished.
    pub(super) fn forget(&self, name: BranchName) {
        self.lock().all.remove(&name);
    }
}
