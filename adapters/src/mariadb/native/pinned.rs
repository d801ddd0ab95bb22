//! The prepared branches that are not decided, each in the session that has made it.
//!
//! A branch's read locks are gone with its session, and nobody tells. What can be known is that they were still there: an
//! answer of the session proves that all its locks stood when it was asked. So before a branch is prepared here, all
//! sessions of undecided ones are asked, at a time when it has all the locks that it will ever have. If all answer, none
//! of its locks was had because another branch's were lost.
//!
//! Invariants:
//! - P1 Who votes after a branch has become known here has had an answer from its session after having had all locks.
//! - P2 A branch becomes known here when it is prepared, and then its own session is asked before its vote: who asked before
//!   it was known had its locks before that, while this branch still had all of its own.
//! - P3 A branch whose session does not answer before it is decided is lost, and then so is the site's life: nothing votes
//!   any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Blocking, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit};

use super::super::session::Session;
use crate::backend::BackendError;
use crate::branch::BranchName;

/// A session whose branch is prepared.
pub(super) struct Kept {
    pub(super) session: Session,
    pub(super) permit: OwnedSemaphorePermit,
    /// It is not to be used again.
    pub(super) tainted: bool,
}

/// Somebody may be asking it.
type Pin = Arc<Mutex<Option<Kept>>>;

/// A round in which all sessions are asked.
#[derive(Default)]
struct Round {
    done: Mutex<Option<Result<(), BackendError>>>,
}

#[derive(Default)]
pub(super) struct Pinned {
    pins: Blocking<BTreeMap<BranchName, Pin>>,
    /// The round that has not begun yet: whoever comes now has locks from before it.
    next: Blocking<Arc<Round>>,
    /// One round at a time.
    asking: Mutex<()>,
    lost: OnceLock<BackendError>,
    news: Notify,
    database: String,
}

impl Pinned {
    pub(super) fn new(database: String) -> Self {
        Self {
            database,
            ..Self::default()
        }
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<BranchName, Pin>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A branch is prepared (P2). After an error it must not vote YES.
    pub(super) async fn add(&self, branch: BranchName, kept: Kept) -> Result<(), BackendError> {
        let pin = Arc::new(Mutex::new(Some(kept)));
        self.pins().insert(branch, Arc::clone(&pin));
        if ask(&pin).await {
            Ok(())
        } else {
            self.pins().remove(&branch);
            Err(self.gone(branch))
        }
    }

    /// The session of a branch that is decided.
    pub(super) async fn take(&self, branch: BranchName) -> Option<Kept> {
        let pin = self.pins().remove(&branch)?;
        let mut kept = pin.lock().await;
        kept.take()
    }

    /// Whether a branch is prepared and not decided.
    pub(super) fn has(&self, branch: BranchName) -> bool {
        self.pins().contains_key(&branch)
    }

    /// Asks all of them (P1).
    pub(super) async fn verify(&self) -> Result<(), BackendError> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        if self.pins().is_empty() {
            return Ok(());
        }
        let round = {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&next)
        };
        let turn = self.asking.lock().await;
        let mut done = round.done.lock().await;
        if let Some(done) = &*done {
            return done.clone();
        }
        // Who comes from now on gets another round.
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        let answer = self.round().await;
        *done = Some(answer.clone());
        drop(turn);
        answer
    }

    async fn round(&self) -> Result<(), BackendError> {
        let pins: Vec<(BranchName, Pin)> = {
            let pins = self.pins();
            pins.iter()
                .map(|(name, pin)| (*name, Arc::clone(pin)))
                .collect()
        };
        let asked: Vec<_> = pins
            .into_iter()
            .map(|(name, pin)| (name, tokio::spawn(async move { ask(&pin).await })))
            .collect();
        for (name, asked) in asked {
            // Decided meanwhile: it gives its locks up.
            if !asked.await.unwrap_or(false) && self.pins().contains_key(&name) {
                let lost = self.gone(name);
                self.lost.get_or_init(|| lost.clone());
                self.news.notify_waiters();
                return Err(lost);
            }
        }
        Ok(())
    }

    fn gone(&self, branch: BranchName) -> BackendError {
        BackendError::Refused {
            database: self.database.clone(),
            code: "lost".to_owned(),
            why: format!(
                "the session of the prepared branch {branch} is gone, and with it the locks of what it has read; start the \
                 site again, which then begins nothing before all that is in doubt is decided"
            ),
        }
    }

    /// Ends when a branch is lost (P3); asks again whenever `look` has come to its end.
    pub(super) async fn lost(&self, look: std::time::Duration) -> BackendError {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            if let Some(lost) = self.lost.get() {
                return lost.clone();
            }
            // Either will do.
            let _which = tokio::time::timeout(look, news).await;
            let _seen = self.verify().await;
        }
    }
}

/// Whether the session answers.
async fn ask(pin: &Pin) -> bool {
    match &mut *pin.lock().await {
        Some(kept) => kept.session.ping().await.is_ok(),
        None => false,
    }
}
