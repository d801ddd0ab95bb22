//! A transaction of one [`Eco`](crate::Eco) or [`Gco`](crate::Gco), and the list of those that are undecided.
//!
//! Invariants:
//! - X1 A status changes only while the site's mutex is held; its own mutex is a leaf, so that a handle can be
//!   asked for its state at any time.
//! - X2 Nothing of the embedder (waker, callback, blocked thread) runs while the site's mutex is held: what is
//!   to be told is collected as a [`Notice`] and told after the mutex is released.
//! - X3 A voted transaction is never doomed (I3).
//!
//! Deliberately not here: who precedes whom.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::graph::Kind;
use crate::id::{Outcome, TxnId};
use crate::order::Cell;
use crate::outcome::{AbortReason, Misuse, State, Vote};
use crate::sync::{Arc, Mutex, MutexGuard};

/// A transaction known to one [`Eco`](crate::Eco) or one [`Gco`](crate::Gco). Clones are the same transaction.
#[derive(Clone)]
pub struct SiteTxn(Arc<Record>);

struct Record {
    id: TxnId,
    kind: Kind,
    status: Mutex<Status>,
    end: Arc<Cell<Outcome>>,
}

struct Status {
    state: State,
    reason: Option<AbortReason>,
    vote: Option<Arc<Cell<Vote>>>,
}

impl SiteTxn {
    fn new(id: TxnId, kind: Kind, state: State) -> Self {
        Self(Arc::new(Record {
            id,
            kind,
            status: Mutex::new(Status {
                state,
                reason: None,
                vote: None,
            }),
            end: Arc::new(Cell::new()),
        }))
    }

    /// Its name at this site.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.0.id
    }

    /// Its kind, as given at its begin.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it stands now.
    #[must_use]
    pub fn state(&self) -> State {
        self.status().state
    }

    /// Why it must abort, if it was doomed.
    #[must_use]
    pub fn doomed(&self) -> Option<AbortReason> {
        self.status().reason
    }

    /// Its end: what an engine waits for when an operation was answered [`Access::Busy`].
    pub fn ending(&self) -> Ending {
        Ending {
            id: self.0.id,
            cell: Arc::clone(&self.0.end),
        }
    }

    pub(super) fn is_global(&self) -> bool {
        self.0.kind.gtid().is_some()
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.0.status.lock()
    }
}

impl PartialEq for SiteTxn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SiteTxn {}

impl fmt::Debug for SiteTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteTxn")
            .field("id", &self.0.id)
            .field("kind", &self.0.kind)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The end of a transaction, to be waited for: as a future or as a blocked thread.
///
/// # Cancel safety
/// Dropping it changes nothing.
#[derive(Clone, Debug)]
#[must_use = "an operation that was answered busy has not been done"]
pub struct Ending {
    id: TxnId,
    cell: Arc<Cell<Outcome>>,
}

impl Ending {
    /// Whose end it is.
    #[must_use]
    pub fn txn(&self) -> TxnId {
        self.id
    }

    /// Blocks the thread until the transaction is decided.
    pub fn wait(self) -> Outcome {
        self.cell.wait()
    }

    /// The outcome, if it is decided.
    #[must_use]
    pub fn peek(&self) -> Option<Outcome> {
        self.cell.peek()
    }
}

impl Future for Ending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.cell.poll(context)
    }
}

/// The answer to an operation.
#[derive(Clone, Debug)]
#[must_use = "an operation may be done only when it is granted"]
pub enum Access<T = ()> {
    /// Do it now.
    Granted(T),
    /// An undecided transaction is in the way, and nothing was recorded. Wait for its end and ask again, or
    /// abort. The site does not know who waits: an engine whose transactions wait for each other breaks their
    /// deadlocks itself, by a timeout or by age ([`Kind::priority`](crate::Kind::priority)).
    Busy(Ending),
    /// The transaction must abort: undo it and report [`Outcome::Abort`](crate::Outcome::Abort).
    Doomed(AbortReason),
}

impl<T> Access<T> {
    /// Whether it is [`Access::Granted`].
    #[must_use]
    pub const fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }
}

/// Something to be told once the site's mutex is released.
pub(super) enum Notice {
    Vote(Arc<Cell<Vote>>, Vote),
    End(Arc<Cell<Outcome>>, Outcome),
}

impl Notice {
    pub(super) fn tell(self) {
        match self {
            Self::Vote(cell, vote) => {
                cell.resolve(vote);
            }
            Self::End(cell, outcome) => {
                cell.resolve(outcome);
            }
        }
    }
}

/// The undecided transactions of a site, those with a withheld vote in the order of their requests, those
/// doomed since somebody asked, and what is to be told.
pub(super) struct Roster {
    next: u64,
    undecided: BTreeMap<TxnId, SiteTxn>,
    withheld: Vec<SiteTxn>,
    doomed: Vec<SiteTxn>,
    notices: Vec<Notice>,
}

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            next: 1,
            undecided: BTreeMap::new(),
            withheld: Vec::new(),
            doomed: Vec::new(),
            notices: Vec::new(),
        }
    }

    pub(super) fn enter(&mut self, kind: Kind, state: State) -> SiteTxn {
        let id = TxnId(self.next);
        self.next += 1;
        let txn = SiteTxn::new(id, kind, state);
        self.undecided.insert(id, txn.clone());
        txn
    }

    pub(super) fn get(&self, id: TxnId) -> Option<&SiteTxn> {
        self.undecided.get(&id)
    }

    pub(super) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    pub(super) fn is_member(&self, txn: &SiteTxn) -> bool {
        self.undecided.get(&txn.id()) == Some(txn)
    }

    /// Whether `txn` may do an operation; the reason if it is doomed.
    pub(super) fn operate(
        &self,
        txn: &SiteTxn,
        attempted: &'static str,
    ) -> Result<Option<AbortReason>, Misuse> {
        let status = txn.status();
        let state = status.state;
        if matches!(state, State::Active | State::Doomed) && self.is_member(txn) {
            Ok(status.reason)
        } else {
            Err(Misuse::WrongState { state, attempted })
        }
    }

    /// The cell of the vote on `txn`, and whether this is the first request of a transaction that may still
    /// be voted on: it is withheld now, and the caller casts what can be cast.
    pub(super) fn ask(&mut self, txn: &SiteTxn) -> (Arc<Cell<Vote>>, bool) {
        let member = self.is_member(txn);
        let mut status = txn.status();
        let stranger = status.state.is_undecided() && !member;
        if let Some(cell) = status.vote.as_ref().filter(|_| !stranger) {
            return (Arc::clone(cell), false);
        }
        let cell = Arc::new(Cell::new());
        if status.state == State::Active && member {
            status.state = State::Withheld;
            status.vote = Some(Arc::clone(&cell));
            drop(status);
            self.withheld.push(txn.clone());
            return (cell, true);
        }
        let yes = matches!(status.state, State::Voted | State::Committed) && !stranger;
        let vote = if yes {
            Vote::Yes
        } else {
            Vote::No(status.reason.unwrap_or(AbortReason::Requested))
        };
        self.notices.push(Notice::Vote(Arc::clone(&cell), vote));
        (cell, false)
    }

    pub(super) fn withheld(&self) -> &[SiteTxn] {
        &self.withheld
    }

    /// Casts a YES.
    pub(super) fn vote(&mut self, txn: &SiteTxn) {
        let mut status = txn.status();
        assert_eq!(
            status.state,
            State::Withheld,
            "X1: only a withheld vote is cast"
        );
        status.state = State::Voted;
        if let Some(cell) = &status.vote {
            self.notices.push(Notice::Vote(Arc::clone(cell), Vote::Yes));
        }
        drop(status);
        self.withheld.retain(|other| other != txn);
    }

    /// Dooms a transaction that has not voted; says whether this call did.
    pub(super) fn doom(&mut self, txn: &SiteTxn, reason: AbortReason) -> bool {
        if !self.is_member(txn) {
            return false;
        }
        let mut status = txn.status();
        if !matches!(status.state, State::Active | State::Withheld) {
            return false;
        }
        status.state = State::Doomed;
        status.reason = Some(reason);
        if let Some(cell) = &status.vote {
            self.notices
                .push(Notice::Vote(Arc::clone(cell), Vote::No(reason)));
        }
        drop(status);
        self.withheld.retain(|other| other != txn);
        self.doomed.push(txn.clone());
        true
    }

    /// Whether `outcome` may be reported for `txn` now.
    pub(super) fn may_end(&self, txn: &SiteTxn, outcome: Outcome) -> Result<(), Misuse> {
        let state = txn.state();
        let allowed = match outcome {
            Outcome::Commit => state == State::Voted,
            Outcome::Abort => state.is_undecided(),
        };
        if allowed && self.is_member(txn) {
            return Ok(());
        }
        let attempted = match outcome {
            Outcome::Commit => "commit",
            Outcome::Abort => "abort",
        };
        Err(Misuse::WrongState { state, attempted })
    }

    /// The last that the roster knows of `txn`, after [`Roster::may_end`] allowed it.
    pub(super) fn leave(&mut self, txn: &SiteTxn, outcome: Outcome) {
        let mut status = txn.status();
        if outcome == Outcome::Abort && status.state != State::Voted {
            let reason = status.reason.unwrap_or(AbortReason::Requested);
            if let Some(cell) = &status.vote {
                self.notices
                    .push(Notice::Vote(Arc::clone(cell), Vote::No(reason)));
            }
        }
        status.state = match outcome {
            Outcome::Commit => State::Committed,
            Outcome::Abort => State::Aborted,
        };
        drop(status);
        self.withheld.retain(|other| other != txn);
        self.undecided.remove(&txn.id());
        self.notices
            .push(Notice::End(Arc::clone(&txn.0.end), outcome));
    }

    pub(super) fn take_doomed(&mut self) -> Vec<SiteTxn> {
        std::mem::take(&mut self.doomed)
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}
