//! The engines: four ways to run transactions, one way to end them.
//!
//! | engine                   | reads                | writes conflict with | what its votes wait for            |
//! |--------------------------|----------------------|----------------------|------------------------------------|
//! | [`ss2pl`] (`ss2pl`)      | under read locks     | readers and writers  | nothing: the locks waited before   |
//! | [`ss2pl`] (`sco`)        | under read locks     | writers              | readers of what they overwrite     |
//! | [`optimistic`]           | without locks        | nobody until prepare | whom validation puts before them   |
//! | [`mvcc`]                 | from a snapshot      | writers              | readers of what they overwrite     |
//! | [`shared`]               | what is not committed | nobody              | whoever came before at a key; or for nobody: dependent votes name them |
//!
//! They share the [`Host`]: names, phases, votes, decisions and undoing are the same for all of them. An
//! engine of your own needs an [`Engine`] only; [`conformance`](crate::conformance) then checks it.

mod backing;
mod host;
pub mod mvcc;
mod number;
pub mod optimistic;
pub mod shared;
pub mod ss2pl;
mod store;
mod workspace;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use co_core::VoteRule;

use crate::history::Recorder;
use crate::participant::Participant;

pub use crate::registry::{Active, Entry, Handle};
pub use backing::Stored;
pub(crate) use backing::each as each_row;
pub use host::{Engine, Host, OnFortified, Options, SiteParts};
pub use mvcc::Mvcc;
pub use optimistic::Optimistic;
pub use shared::Shared;
pub use ss2pl::Ss2pl;
pub use workspace::{Committed, Pending, Row, Scanned, Workspace};

/// Which engine a site runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EngineKind {
    /// Strong strict two-phase locking.
    Ss2pl,
    /// Strict commitment ordering: locks, but a write does not wait for readers.
    Sco,
    /// Optimistic: validation at prepare.
    Optimistic,
    /// Multi-version: snapshot reads, and queries as of a stamp.
    Mvcc,
    /// Ordered sharing: nobody waits for a lock, and reads see what is not committed.
    Shared,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ss2pl,
        Self::Sco,
        Self::Optimistic,
        Self::Mvcc,
        Self::Shared,
    ];

    /// Its name, as [`Participant::engine`] says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ss2pl => "ss2pl",
            Self::Sco => "sco",
            Self::Optimistic => "optimistic",
            Self::Mvcc => "mvcc",
            Self::Shared => "shared",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no engine has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no engine `{name}`; use ss2pl, sco, optimistic, mvcc or shared")]
pub struct UnknownEngine {
    name: String,
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let mut kinds = Self::ALL.into_iter();
        kinds
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownEngine {
                name: name.to_owned(),
            })
    }
}

/// Opens an engine with an empty store in memory.
///
/// ```
/// use co_core::VoteRule;
/// use participant::engine::{EngineKind, open};
/// use participant::{Participant, Recorder};
///
/// let kind: EngineKind = "mvcc".parse()?;
/// let site = open(kind, VoteRule::Withhold, Recorder::off());
/// assert_eq!(site.engine(), "mvcc");
/// # Ok::<(), participant::engine::UnknownEngine>(())
/// ```
#[must_use]
pub fn open(kind: EngineKind, rule: VoteRule, recorder: Recorder) -> Arc<dyn Participant> {
    open_with(
        kind,
        Options {
            rule,
            recorder,
            ..Options::default()
        },
    )
}

/// Opens an engine on what its storage holds.
#[must_use]
pub fn open_with(kind: EngineKind, options: Options) -> Arc<dyn Participant> {
    match kind {
        EngineKind::Ss2pl => Arc::new(Ss2pl::new(options)),
        EngineKind::Sco => Arc::new(Ss2pl::strict_commit_order(options)),
        EngineKind::Optimistic => Arc::new(Optimistic::new(options)),
        EngineKind::Mvcc => Arc::new(Mvcc::new(options)),
        EngineKind::Shared => Arc::new(Shared::new(options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_is_parsed_from_the_name_it_answers_to() {
        for kind in EngineKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let site = open(kind, VoteRule::Withhold, Recorder::off());
            assert_eq!(site.engine(), kind.name());
        }
        assert!("oracle".parse::<EngineKind>().is_err());
    }
}
