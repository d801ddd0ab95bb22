//! What a run is made of, drawn from its seed.

use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use participant::engine::EngineKind;
use simulator::faults::{Bug, Script};

/// How many sites every run has.
pub(crate) const SITES: usize = 3;

/// Where coordinators listen.
pub(crate) const COORDINATOR_PORT: u16 = 7000;

/// Where sites listen.
pub(crate) const SITE_PORT: u16 = 7001;

/// How long faults go on.
pub(crate) const FAULTS_LAST: Duration = Duration::from_secs(12);

/// Within this after the faults have ended all is decided, everywhere, and nothing is held. A dead connection
/// is noticed after 10 s and opened again after 6 s at most; then one inquiry or resend of 2 s, one vote of
/// 3 s, and one more operation or commit of a client, 4 s; the rest is for several of these in a row.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// How much time passes in a step.
pub(crate) const STEP: Duration = Duration::from_millis(2);

/// How long a message takes at most.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// No run has fewer faults.
pub(crate) const FAULTS: u32 = 60;

/// A bug that is planted around the real code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// One that the simulator of whole systems knows too: of disks, logs and engines.
    Inside(Bug),
    /// A client that does not know whether its commit happened does the transaction again.
    RetryNotIdempotent,
    /// A client takes a commit without an answer for an abort.
    UnknownIsAborted,
    /// The completion of a site's third commit record in each life is dropped: nobody hears its
    /// acknowledgement.
    AcknowledgementDropped,
}

impl Planted {
    /// Those that are found here, and nowhere else or as well.
    pub const ALL: [Self; 9] = [
        Self::RetryNotIdempotent,
        Self::UnknownIsAborted,
        Self::AcknowledgementDropped,
        Self::Inside(Bug::YesBeforeForce),
        Self::Inside(Bug::AckBeforeForce),
        Self::Inside(Bug::AppliedTwice),
        Self::Inside(Bug::LastRecordCut),
        Self::Inside(Bug::SyncFailureIgnored),
        Self::Inside(Bug::FolderNotSynced),
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside(bug) => bug.name(),
            Self::RetryNotIdempotent => "retry-not-idempotent",
            Self::UnknownIsAborted => "unknown-is-aborted",
            Self::AcknowledgementDropped => "acknowledgement-dropped",
        }
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|bug| bug.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("there is no bug `{name}`; use {}", names.join(", "))
        })
    }
}

/// All that a run depends on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) bug: Option<Planted>,
    pub(crate) coordinators: usize,
    pub(crate) engines: [EngineKind; SITES],
    pub(crate) clients: Vec<Vec<Script>>,
    /// Mean time between two faults.
    pub(crate) pace: Duration,
}

impl Plan {
    pub(crate) fn draw(seed: u64, bug: Option<Planted>) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Engines that read committed data only: the judgement of reads rests on that.
        let mut engines = [
            EngineKind::Ss2pl,
            EngineKind::Sco,
            EngineKind::Optimistic,
            EngineKind::Mvcc,
        ];
        rng.shuffle(&mut engines);
        let [first, second, third, _] = engines;
        let clients = (0..rng.usize(6..12)).map(|_| {
            let scripts = (0..40).map(|_| match rng.u8(..6) {
                0 => Script::skew(&mut rng, SITES),
                _ => Script::draw(&mut rng, SITES),
            });
            scripts.collect()
        });
        let clients = clients.collect();
        Self {
            seed,
            bug,
            coordinators: rng.usize(1..=2),
            engines: [first, second, third],
            clients,
            pace: Duration::from_millis(rng.u64(100..180)),
        }
    }

    /// The bug, if it is one of a disk, a log or an engine.
    pub(crate) fn inside(&self) -> Option<Bug> {
        match self.bug {
            Some(Planted::Inside(bug)) => Some(bug),
            Some(
                Planted::RetryNotIdempotent
                | Planted::UnknownIsAborted
                | Planted::AcknowledgementDropped,
            )
            | None => None,
        }
    }

    /// A generator for one part of the run.
    pub(crate) fn rng(&self, what: u64) -> Rng {
        let seed = self.seed.wrapping_add(what << 32);
        Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
    }

    pub(crate) fn coordinator_host(index: usize) -> String {
        format!("coordinator-{}", index + 1)
    }

    pub(crate) fn site_host(index: usize) -> String {
        format!("site-{}", index + 1)
    }

    pub(crate) fn coordinator_uri(index: usize) -> String {
        format!(
            "http://{}:{COORDINATOR_PORT}",
            Self::coordinator_host(index)
        )
    }
}
