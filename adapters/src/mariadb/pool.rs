//! Sessions with one server, each used by one caller at a time.
//!
//! The adapter has a pool of its own because of what pools do between two callers: they reset the connection (S2).
//!
//! Invariants:
//! - O1 A session that is given out is clean, and holds no branch.
//! - O2 After one connection has broken none that was idle then is used again: the server may have been restarted.
//! - O3 Sessions are of this adapter's epoch. Another adapter that opens for the same site begins a later one and ends
//!   all sessions of earlier ones; who connects again after that is refused.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::Opts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::session::{Fault, NO_SUCH_THREAD, Owner, Session, Slot};
use crate::backend::BackendError;
use crate::branch::Site;

/// How often the end of a thread of the server is looked for: there is no event that tells of it.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// What the pool needs to know of the site.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) site: Site,
    /// The table that has the epoch.
    pub(super) sites: String,
    pub(super) epoch: u64,
}

pub(super) struct Pool {
    opts: Opts,
    database: String,
    identity: Identity,
    idle: Mutex<Vec<Session>>,
    /// The name that the next session asks for.
    next: AtomicU32,
    permits: Arc<Semaphore>,
    size: usize,
}

/// A session that goes back when it is dropped, unless it is broken.
pub(super) struct Held<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(opts: Opts, database: String, identity: Identity, size: usize) -> Self {
        Self {
            opts,
            database,
            identity,
            idle: Mutex::default(),
            next: AtomicU32::new(0),
            permits: Arc::new(Semaphore::new(size)),
            size,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server is called in errors.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// How many sessions are used at once.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// A session of one's own; waits while all are in use.
    pub(super) async fn session(&self) -> Result<Held<'_>, BackendError> {
        let permits = Arc::clone(&self.permits);
        let permit = permits
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let idle = self.idle().pop();
        let session = match idle {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Held {
            pool: self,
            session: Some(session),
            _permit: permit,
        })
    }

    /// One that is nobody else's.
    pub(super) async fn connect(&self) -> Result<Session, BackendError> {
        let session = Session::connect(self.opts.clone()).await;
        let mut session = session.map_err(|fault| self.error(fault))?;
        let mut tries = 0;
        loop {
            let slot = Slot(self.next.fetch_add(1, Ordering::Relaxed) % Slot::COUNT);
            let taken = session.take(&self.identity.site, slot).await;
            if taken.map_err(|fault| self.error(fault))? {
                break;
            }
            tries += 1;
            if tries == Slot::COUNT {
                return Err(self.refused("sessions", "all names of the site's sessions are in use"));
            }
        }
        // Only now: who begins a new epoch after this looks for the holders of the names after that.
        let Identity { site, sites, epoch } = &self.identity;
        let statement = format!(
            "SELECT `epoch` FROM {sites} WHERE `site` = '{}'",
            site.name()
        );
        let found: Vec<u64> = session
            .rows(&statement)
            .await
            .map_err(|fault| self.error(fault))?;
        if found.first() == Some(epoch) {
            return Ok(session);
        }
        Err(self.refused(
            "fenced",
            "another adapter has opened for this site since; stop one of the two",
        ))
    }

    /// What this adapter refuses itself.
    pub(super) fn refused(&self, code: &str, why: &str) -> BackendError {
        BackendError::Refused {
            database: self.database.clone(),
            code: code.to_owned(),
            why: why.to_owned(),
        }
    }

    /// What a fault means to the adapter.
    pub(super) fn error(&self, fault: Fault) -> BackendError {
        if matches!(fault, Fault::Lost(_)) {
            self.suspect();
        }
        fault.into_error(&self.database)
    }

    /// A connection has broken (O2).
    fn suspect(&self) {
        let suspects = std::mem::take(&mut *self.idle());
        drop(suspects);
    }

    /// A session that had a branch, and is free.
    pub(super) fn give_back(&self, session: Session) {
        if !session.is_clean() {
            return;
        }
        let mut idle = self.idle();
        let in_use = self.size - self.permits.available_permits();
        if idle.len() + in_use < self.size {
            idle.push(session);
        }
    }
}

impl Held<'_> {
    /// The session is of no use any more: nobody gets it.
    pub(super) fn discard(mut self) {
        self.session = None;
    }

    /// Takes the session out of the pool.
    pub(super) fn keep(mut self) -> Session {
        self.session.take().expect("there until it is dropped")
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("there until it is dropped")
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(Session::is_clean) {
            self.pool.idle().push(session);
        }
    }
}

/// Ends a thread of the server, and waits until nothing of it is left (S3).
pub(super) async fn evict(session: &mut Session, site: &Site, owner: Owner) -> Result<(), Fault> {
    let statement = format!("SELECT IS_USED_LOCK({})", owner.slot.name(site));
    loop {
        let holders: Vec<Option<u64>> = session.rows(&statement).await?;
        if holders.first().copied().flatten() != Some(owner.thread) {
            return Ok(());
        }
        kill(session, owner.thread).await?;
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends all sessions of the site but this one.
pub(super) async fn evict_all(session: &mut Session, site: &Site) -> Result<(), Fault> {
    let last = Slot::COUNT - 1;
    let statement = format!(
        "WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < {last}) \
         SELECT thread FROM (SELECT IS_USED_LOCK(CONCAT('co:', MD5('{}'), ':', slot)) AS thread FROM slots) AS holders \
         WHERE thread IS NOT NULL",
        site.name()
    );
    loop {
        let mut holders: Vec<u64> = session.rows(&statement).await?;
        holders.retain(|holder| *holder != session.thread());
        if holders.is_empty() {
            return Ok(());
        }
        for thread in holders {
            kill(session, thread).await?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn kill(session: &mut Session, thread: u64) -> Result<(), Fault> {
    match session.run(&format!("KILL {thread}")).await {
        // It has just gone.
        Err(fault) if fault.code() == Some(NO_SUCH_THREAD) => Ok(()),
        other => other,
    }
}
