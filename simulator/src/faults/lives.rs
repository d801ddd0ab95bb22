//! The disks, the sites and the checks of these simulations, for programs that run the same sites in other
//! surroundings.
//!
//! ```
//! use participant::engine::EngineKind;
//! use simulator::faults::lives::{SiteLife, judge};
//!
//! // One site, one life, in which nothing happened.
//! let life = SiteLife::new(0, EngineKind::Ss2pl, &[], None);
//! let rows = life.rows();
//! assert_eq!(judge(vec![vec![life]], &[], vec![rows])?.len(), 0);
//! # Ok::<(), simulator::faults::Problem>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use coco::log::{Folder, Log, ManualLog};
use coco::protocol::SiteName;
use fastrand::Rng;
use participant::engine::EngineKind;
use participant::storage::Memory;
use participant::{Key, Participant, Recorder, TxnName, Value};

use super::bug::{Bug, SiteLog, records_read};
use super::disk::{Disk, Lies};
use super::history::{LifeHistory, Replay, Stamps};
use super::site::{engine, rows_of};
use super::tap::{Amnesia, Tap};
use super::{Attempt, Problem};

/// What is in a store, in the order of its keys.
pub type Rows = Vec<(Key, Value)>;

/// The name of a site, by its number from 0.
#[must_use]
pub fn site_name(index: usize) -> SiteName {
    super::site_name(index)
}

/// A machine's disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Disk);

impl SimulatedDisk {
    /// An empty one; some bugs are the disk's.
    #[must_use]
    pub fn new(bug: Option<Bug>) -> Self {
        Self(Disk::new(Lies {
            failed_syncs_succeed: bug == Some(Bug::SyncFailureIgnored),
            folder_syncs_do_nothing: bug == Some(Bug::FolderNotSynced),
        }))
    }

    /// For a log.
    #[must_use]
    pub fn folder(&self) -> Box<dyn Folder> {
        Box::new(self.0.clone())
    }

    /// The operation after so many more fails, once.
    pub fn fails_in(&self, operations: u64) {
        self.0.fails_in(operations);
    }

    /// It does not fail after all.
    pub fn fails_never(&self) {
        self.0.fails_never();
    }

    /// Whether an operation has failed of late because it was told to.
    #[must_use]
    pub fn has_failed_as_told(&self) -> bool {
        self.0.is_excused()
    }

    /// The process has died, and the machine goes on.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// The power goes: of what was not synced a part survives.
    pub fn power_loss(&self, rng: &mut Rng) {
        self.0.power_loss(rng);
    }
}

/// One life of a site: its engine, and what it leaves for the checks. Clones share it.
#[derive(Clone)]
pub struct SiteLife {
    engine: Arc<dyn Participant>,
    is_idle: Arc<dyn Fn() -> bool + Send + Sync>,
    recorder: Recorder,
    stamps: Stamps,
    /// What its log says before it does anything, or why that makes no sense.
    replay: Result<Replay, String>,
}

impl SiteLife {
    /// A life that begins with these records in the site's log.
    #[must_use]
    pub fn new(index: usize, kind: EngineKind, records: &[Vec<u8>], bug: Option<Bug>) -> Self {
        let recorder = Recorder::memory(site_name(index).as_str());
        let (engine, is_idle) = engine(kind, recorder.clone(), Arc::new(Memory::new()));
        let stamps = Stamps::default();
        let tap = Tap {
            amnesia: Amnesia::of(&engine),
            engine,
            stamps: Arc::clone(&stamps),
            ends_early: Arc::default(),
            bug,
        };
        Self {
            engine: Arc::new(tap),
            is_idle: Arc::from(is_idle),
            recorder,
            stamps,
            replay: Replay::of(records, None),
        }
    }

    /// What the site is opened with.
    #[must_use]
    pub fn participant(&self) -> Arc<dyn Participant> {
        Arc::clone(&self.engine)
    }

    /// Whether no transaction, lock, mark or operation is left (I7).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.engine.in_flight() == 0 && (self.is_idle)()
    }

    /// What is in the store, once nothing is undecided.
    #[must_use]
    pub fn rows(&self) -> Option<Rows> {
        rows_of(&*self.engine)
    }
}

impl fmt::Debug for SiteLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteLife")
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}

/// A site's log, with a bug between the two if there is one, and the records as the bug reads them.
#[must_use]
pub fn site_log(
    log: Arc<ManualLog>,
    records: Vec<Vec<u8>>,
    bug: Option<Bug>,
) -> (Arc<dyn Log>, Vec<Vec<u8>>) {
    (Arc::new(SiteLog::new(log, bug)), records_read(bug, records))
}

/// Judges a run that is over: the lives of each site, all of them ended, what clients were told, and what is in
/// the stores at the end. Returns what was committed.
///
/// # Errors
/// The first thing that must never be.
pub fn judge(
    lives: Vec<Vec<SiteLife>>,
    attempts: &[Attempt],
    rows: Vec<Option<Rows>>,
) -> Result<BTreeSet<TxnName>, Problem> {
    let over = |life: SiteLife| {
        let replay = life.replay.map_err(Problem::Lost)?;
        Ok(LifeHistory::new(&life.recorder, &life.stamps, replay))
    };
    let histories = lives
        .into_iter()
        .map(|lives| lives.into_iter().map(over).collect())
        .collect::<Result<Vec<Vec<LifeHistory>>, Problem>>()?;
    let histories: Vec<&[LifeHistory]> = histories.iter().map(|it| &it[..]).collect();
    let attempts: Vec<&Attempt> = attempts.iter().collect();
    let judged = super::judge::judge_lives(&histories, &attempts, rows)?;
    Ok(judged.committed)
}
