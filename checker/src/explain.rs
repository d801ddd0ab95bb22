//! Finds the two operations behind a conflict.
//!
//! The graph keeps only the key and the kind of a conflict; the operations are looked up again in
//! the records when a conflict is to be explained, which happens for a few conflicts only. The
//! words are in `words`.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::graph::Kind;
use crate::history::{Committed, Scan, Seq};
use crate::index::{Install, Look, Sight, SiteIndex, Version};
use crate::orders::Clock;
use crate::token::Token;
use crate::verdict::{CycleClass, TxnRef};

/// One conflict: `from` precedes `to`, and why. [`Display`](std::fmt::Display) is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The transaction that comes first.
    pub from: TxnRef,
    /// The transaction that comes after it.
    pub to: TxnRef,
    /// The site where the two met; of a session or of real time, none.
    pub site: Option<Token>,
    /// The key on which they met; of a session or of real time, none.
    pub key: Option<Token>,
    /// How they met.
    pub reason: Reason,
}

/// How two transactions met on a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "conflict", rename_all = "snake_case")]
pub enum Reason {
    /// The later transaction installed a newer version than the earlier one.
    WriteWrite {
        /// The earlier transaction's version.
        earlier: Installed,
        /// The later transaction's version.
        later: Installed,
    },
    /// The later transaction saw the earlier one's version.
    WriteRead {
        /// The version of the earlier transaction.
        installed: Installed,
        /// What the later transaction saw.
        seen: Seen,
    },
    /// The later transaction installed a newer version than the earlier one saw.
    ReadWrite {
        /// What the earlier transaction saw.
        seen: Seen,
        /// The version of the later transaction.
        installed: Installed,
    },
    /// The later transaction comes later in the session that both are of.
    Session {
        /// The session.
        session: Token,
        /// The earlier transaction's position.
        earlier: u64,
        /// The later transaction's position.
        later: u64,
    },
    /// The client of the earlier transaction had been told when the later one was asked for.
    Realtime {
        /// When the former was told, in nanoseconds.
        told: u64,
        /// When the latter was asked for.
        asked: u64,
        /// By how much the clocks may disagree; less than is between the two.
        clock_error: u64,
    },
}

/// A version, and how it came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// What the install did to the key.
    pub how: Install,
    /// Its position.
    pub seq: Seq,
}

/// What a reader saw of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The version; [`Seq::INITIAL`] before any install.
    pub version: Seq,
    /// Whose version it is; nobody's in the initial state.
    pub installer: Option<TxnRef>,
    /// By what operation.
    pub by: SeenBy,
}

/// The operation that saw a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum SeenBy {
    /// A point read.
    Read,
    /// A scan.
    Scan {
        /// The first key of its range.
        lo: Token,
        /// The first key after its range, if it has an end.
        hi: Option<Token>,
        /// Its position.
        pos: Seq,
        /// Whether it returned the key; if not, it saw that the key does not exist.
        found: bool,
    },
}

/// One end of a conflict: a record and its place in the file.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) record: usize,
    pub(crate) committed: &'a Committed,
}

/// A reason whose installer is still a place in the file.
pub(crate) struct Unnamed {
    reason: Reason,
    installer: Option<usize>,
}

impl Unnamed {
    pub(crate) fn named(mut self, name: impl FnOnce(usize) -> TxnRef) -> Reason {
        match &mut self.reason {
            Reason::WriteRead { seen, .. } | Reason::ReadWrite { seen, .. } => {
                seen.installer = self.installer.map(name);
            }
            Reason::WriteWrite { .. } | Reason::Session { .. } | Reason::Realtime { .. } => {}
        }
        self.reason
    }
}

/// Finds the two operations behind a conflict on a key.
///
/// # Panics
///
/// When the two records do not conflict in this way, which would be a fault of the graph.
pub(crate) fn explain<'a>(
    index: &SiteIndex<'a>,
    key: usize,
    kind: Kind,
    [from, to]: [End<'a>; 2],
) -> Unnamed {
    let versions = index.versions(key);
    let place_of = |end: End<'a>| {
        let mut installs = index.installs(end.committed);
        installs.find_map(|(installed, place)| (installed == key).then_some(place))
    };
    let installed = |place: usize| {
        let Version { how, seq, .. } = versions[place - 1];
        Installed { how, seq }
    };
    let sights = |end: End<'a>| {
        let seen = index.sights(end.record, end.committed).seen;
        seen.into_iter().filter(move |sight| sight.key == key)
    };
    let nothing = "a conflict rests on operations of both its ends";
    let (reason, seen) = match kind {
        Kind::WriteWrite => {
            let earlier = installed(place_of(from).expect(nothing));
            let later = installed(place_of(to).expect(nothing));
            assert!(earlier.seq < later.seq, "versions ascend");
            (Reason::WriteWrite { earlier, later }, 0)
        }
        Kind::WriteRead => {
            let place = place_of(from).expect(nothing);
            let includes = |sight: &Sight<'_>| {
                let in_sum = |last: &Version| place > last.base && place < sight.seen;
                place == sight.seen || versions[..sight.seen].last().is_some_and(in_sum)
            };
            let sight = sights(to)
                .filter(includes)
                .min_by_key(|sight| sight.seen)
                .expect(nothing);
            let seen = describe(versions, sight);
            (
                Reason::WriteRead {
                    installed: installed(place),
                    seen,
                },
                sight.seen,
            )
        }
        Kind::ReadWrite => {
            let place = place_of(to).expect(nothing);
            let before = |sight: &Sight<'_>| sight.seen < place;
            let sight = sights(from)
                .filter(before)
                .max_by_key(|sight| sight.seen)
                .expect(nothing);
            let seen = describe(versions, sight);
            (
                Reason::ReadWrite {
                    seen,
                    installed: installed(place),
                },
                sight.seen,
            )
        }
        Kind::Session | Kind::Realtime => unreachable!("these are no conflicts on keys"),
        Kind::Chain => unreachable!("I8: a conflict has a kind of its own"),
    };
    let installer = seen.checked_sub(1).map(|last| versions[last].record);
    Unnamed { reason, installer }
}

fn describe(versions: &[Version], sight: Sight<'_>) -> Seen {
    let scanned = |scan: &Scan, found| SeenBy::Scan {
        lo: scan.lo.clone(),
        hi: scan.hi.clone(),
        pos: scan.pos,
        found,
    };
    let by = match sight.look {
        Look::Point => SeenBy::Read,
        Look::Found(scan) => scanned(scan, true),
        Look::Missed(scan) => scanned(scan, false),
    };
    let version = versions[..sight.seen]
        .last()
        .map_or(Seq::INITIAL, |version| version.seq);
    Seen {
        version,
        installer: None,
        by,
    }
}

/// The class of a cycle.
pub(crate) fn classify(steps: &[Step]) -> CycleClass {
    let (mut reads, mut missed, mut phantom) = (0, 0, false);
    let mut clock = None;
    for step in steps {
        match &step.reason {
            Reason::WriteWrite { .. } => {}
            Reason::Session { .. } => clock = clock.or(Some(Clock::Session)),
            Reason::Realtime { .. } => clock = Some(Clock::Real),
            Reason::WriteRead { .. } => reads += 1,
            Reason::ReadWrite { seen, .. } => {
                missed += 1;
                phantom |= matches!(seen.by, SeenBy::Scan { found: false, .. });
            }
        }
    }
    let classes = match (missed, reads) {
        (0, 0) => [
            CycleClass::G0,
            CycleClass::G0Process,
            CycleClass::G0Realtime,
        ],
        (0, _) => [
            CycleClass::G1c,
            CycleClass::G1cProcess,
            CycleClass::G1cRealtime,
        ],
        (1, _) => [
            CycleClass::GSingle,
            CycleClass::GSingleProcess,
            CycleClass::GSingleRealtime,
        ],
        _ if phantom => [
            CycleClass::G2,
            CycleClass::G2Process,
            CycleClass::G2Realtime,
        ],
        _ => [
            CycleClass::G2Item,
            CycleClass::G2ItemProcess,
            CycleClass::G2ItemRealtime,
        ],
    };
    match clock {
        None => classes[0],
        Some(Clock::Session) => classes[1],
        Some(Clock::Real) => classes[2],
    }
}

impl Reason {
    /// The kind of the conflict, in two letters: `ww`, `wr` or `rw`; otherwise `session` or `real time`.
    #[must_use]
    pub const fn letters(&self) -> &'static str {
        match self {
            Self::WriteWrite { .. } => "ww",
            Self::WriteRead { .. } => "wr",
            Self::ReadWrite { .. } => "rw",
            Self::Session { .. } => "session",
            Self::Realtime { .. } => "real time",
        }
    }
}

impl Step {
    /// What it is about, in few words: the key and the site, or the session.
    #[must_use]
    pub fn about(&self) -> String {
        match (&self.key, &self.site, &self.reason) {
            (Some(key), Some(site), _) => format!("{key} @ {site}"),
            (_, _, Reason::Session { session, .. }) => session.to_string(),
            _ => String::new(),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Step", 6)?;
        fields.serialize_field("from", &self.from)?;
        fields.serialize_field("to", &self.to)?;
        fields.serialize_field("site", &self.site)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("reason", &self.reason)?;
        fields.serialize_field("sentence", &self.to_string())?;
        fields.end()
    }
}
