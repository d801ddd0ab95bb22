//! What every case is given: how to open stores, and what was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::{Answer, Engine, Place};
use crate::options::Options;
use crate::report::Finding;

pub(crate) type Opener<E> = Arc<dyn Fn(Place) -> Answer<E> + Send + Sync>;

/// Shared by the cases of one run.
pub(crate) struct Context<E> {
    pub(crate) options: Options,
    open: Opener<E>,
    places: AtomicU64,
    /// Moves with every step of a case: while it moves, nothing hangs.
    steps: AtomicU64,
}

impl<E: Engine> Context<E> {
    pub(crate) fn new(options: Options, open: Opener<E>) -> Self {
        Self {
            options,
            open,
            places: AtomicU64::new(1),
            steps: AtomicU64::new(0),
        }
    }

    /// Something has happened.
    pub(crate) fn beat(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How much has happened.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// A place where no store is.
    pub(crate) fn new_place(&self) -> Place {
        Place(self.places.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn open(&self, place: Place) -> Result<E, Finding> {
        (self.open)(place).map_err(|refusal| Finding {
            what: format!("{place} cannot be opened: {refusal}"),
            advice: "opening a place for the first time gives an empty store, opening it again after its store was dropped gives that store back",
        })
    }
}
