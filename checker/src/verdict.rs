//! What a judgement says: the verdict, its grounds, and how large the case was.
//!
//! Verdicts are closed enums on purpose: a caller that handles `Valid` and `Invalid` must also say
//! what it does when the history does not decide the matter.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::client::Turn;
use crate::explain::Step;
use crate::history::{Seq, Stamp, TxnId};
use crate::index::FaultKind;
use crate::orders::Clock;
use crate::token::Token;

/// What the histories are judged against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Conflict serializability over versions: some serial order explains every read and the order
    /// of every key's versions.
    Serializability,
    /// Commitment ordering: for every conflict, the earlier transaction was decided first. It
    /// implies serializability, with the order of decisions as the serial order.
    CommitmentOrdering,
    /// Extended commitment ordering (Raz, PODS 1993): serializability, and for every path of conflicts from one global
    /// transaction to another on which there are only local ones, if any, the first was decided before the second.
    ///
    /// Local transactions are exempt: a conflict of one of them says nothing of decisions unless it is on such a path.
    /// That is enough for serializability, if each site is serializable by itself: a cycle through more than one site
    /// is made of such paths, each of which would be decided before the next. Commitment ordering implies it. Stamps of
    /// local transactions are not looked at.
    ExtendedCommitmentOrdering,
    /// Serializability in an order that keeps the order of each session (Daudjee and Salem, VLDB 2006). Every committed
    /// transaction must say where in which session it is ([`Turn`]).
    StrongSessionSerializability,
    /// Serializability in an order that keeps real time: who was asked for when the client of another had been told
    /// its outcome comes after it (Papadimitriou, 1979); and the order of sessions, where they are recorded. Every
    /// committed transaction must say when that was ([`RealTime`](crate::RealTime)).
    StrictSerializability,
    /// Commitment ordering in which decisions keep the order of each session: the order of decisions shows strong
    /// session serializability.
    SessionCommitmentOrdering,
    /// Commitment ordering in which decisions keep real time, and the order of sessions where they are recorded: the
    /// order of decisions shows strict serializability.
    RealtimeCommitmentOrdering,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 7] = [
        Self::Serializability,
        Self::CommitmentOrdering,
        Self::ExtendedCommitmentOrdering,
        Self::StrongSessionSerializability,
        Self::StrictSerializability,
        Self::SessionCommitmentOrdering,
        Self::RealtimeCommitmentOrdering,
    ];

    /// The order besides that of conflicts that it asks for.
    pub(crate) const fn clock(self) -> Option<Clock> {
        match self {
            Self::Serializability | Self::CommitmentOrdering | Self::ExtendedCommitmentOrdering => {
                None
            }
            Self::StrongSessionSerializability | Self::SessionCommitmentOrdering => {
                Some(Clock::Session)
            }
            Self::StrictSerializability | Self::RealtimeCommitmentOrdering => Some(Clock::Real),
        }
    }

    /// What it asks for apart from that.
    pub(crate) const fn rule(self) -> Rule {
        match self {
            Self::Serializability
            | Self::StrongSessionSerializability
            | Self::StrictSerializability => Rule::AnyOrder,
            Self::CommitmentOrdering
            | Self::SessionCommitmentOrdering
            | Self::RealtimeCommitmentOrdering => Rule::Decisions,
            Self::ExtendedCommitmentOrdering => Rule::DecisionsOfGlobals,
        }
    }
}

/// What a level asks of the order of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing: any order that explains every read will do.
    AnyOrder,
    /// That it agrees with every conflict.
    Decisions,
    /// That it agrees with every path from one global transaction to another.
    DecisionsOfGlobals,
}

/// The outcome of a judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The histories satisfy the level.
    Valid {
        /// A serial order that proves it; [`verify`](crate::verify::verify) re-checks it.
        serial_order: Vec<TxnRef>,
    },
    /// The histories violate the level, whatever the records that may be missing say.
    Invalid {
        /// The grounds, gravest first; never empty.
        anomalies: Vec<Anomaly>,
        /// How many anomalies there are; `anomalies` holds at most [`MAX_SHOWN`] of each sort.
        total: usize,
    },
    /// The histories do not decide the matter.
    Unknown {
        /// Why not; never empty.
        reasons: Vec<Doubt>,
        /// How many reasons there are; `reasons` holds at most [`MAX_SHOWN`] of each sort.
        total: usize,
    },
}

/// How many anomalies or doubts of one sort a verdict holds.
pub const MAX_SHOWN: usize = 20;

/// A judgement at one level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The level that was asked for.
    pub level: Level,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The size of the case.
    pub statistics: Statistics,
}

impl Report {
    /// The report as a JSON value. Transactions appear as in the sentences (`G7`, `L3@A`), keys and
    /// sites escaped, and every step of a cycle carries its sentence.
    ///
    /// # Panics
    ///
    /// Never: every part of a report has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a report has string keys and finite numbers only")
    }

    /// The cycle, if the verdict rests on one.
    #[must_use]
    pub fn cycle(&self) -> Option<&Cycle> {
        match &self.verdict {
            Verdict::Invalid { anomalies, .. } => anomalies.iter().find_map(|anomaly| {
                if let Anomaly::Cycle(cycle) = anomaly {
                    Some(cycle)
                } else {
                    None
                }
            }),
            Verdict::Valid { .. } | Verdict::Unknown { .. } => None,
        }
    }
}

/// How large a case is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Histories that were joined.
    pub sites: usize,
    /// Committed transactions, a global one counted once.
    pub committed: usize,
    /// Abort records.
    pub aborted: usize,
    /// In-doubt records.
    pub in_doubt: usize,
    /// Operations of committed transactions.
    pub operations: usize,
    /// Keys, counted at each site.
    pub keys: usize,
    /// Edges of the conflict graph, those to and from relays included.
    pub edges: usize,
}

/// A transaction, named so that no two of a case share a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnRef {
    id: TxnId,
    site: Option<Token>,
}

impl TxnRef {
    /// Names the transaction that a record at `site` calls `id`.
    #[must_use]
    pub fn new(id: TxnId, site: &Token) -> Self {
        let site = match id {
            TxnId::Global(_) => None,
            TxnId::Local(_) => Some(site.clone()),
        };
        Self { id, site }
    }

    /// The name within its file.
    #[must_use]
    pub const fn id(&self) -> TxnId {
        self.id
    }

    /// The site of a local transaction.
    #[must_use]
    pub const fn site(&self) -> Option<&Token> {
        self.site.as_ref()
    }
}

/// Grounds for an invalid verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "anomaly", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Anomaly {
    /// A global transaction committed at one site and aborted at another.
    BrokenAtomicity {
        /// The transaction.
        txn: TxnRef,
        /// A site where it committed.
        committed_at: Token,
        /// A site where it aborted.
        aborted_at: Token,
    },
    /// Two sites know different decision stamps of one transaction.
    DecisionDisagreement {
        /// The transaction.
        txn: TxnRef,
        /// One site and its stamp.
        first: (Token, Stamp),
        /// Another site and its stamp.
        second: (Token, Stamp),
    },
    /// A read that no recorded install explains.
    ImpossibleRead(UnexplainedRead),
    /// Transactions that each precede the next, in a circle.
    Cycle(Cycle),
    /// A conflict that disagrees with the decision order (commitment ordering only).
    OutOfOrder {
        /// The conflict.
        step: Step,
        /// When its earlier transaction was decided.
        earlier_stamp: Stamp,
        /// When its later transaction was decided: not after `earlier_stamp`.
        later_stamp: Stamp,
        /// How many conflicts like this one were met; a run of increments counts once.
        conflicts: usize,
        /// Whether the case is serializable all the same.
        serializable: bool,
    },
    /// A path of conflicts from one global transaction to another, with local ones between them if any, that disagrees
    /// with the decision order (extended commitment ordering only).
    PathOutOfOrder {
        /// The conflicts; each starts where the one before ends.
        steps: Vec<Step>,
        /// When the first transaction was decided.
        earlier_stamp: Stamp,
        /// When the last was decided: not after `earlier_stamp`.
        later_stamp: Stamp,
        /// How many links into global transactions end such a path.
        paths: usize,
    },
}

/// A read that no recorded install explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnexplainedRead {
    /// Who read.
    pub reader: TxnRef,
    /// Where.
    pub site: Token,
    /// What.
    pub key: Token,
    /// Why it is unexplained.
    #[serde(flatten)]
    pub fault: FaultKind,
}

/// Transactions that each precede the next, in a circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cycle {
    /// The conflicts; each starts where the one before ends.
    pub steps: Vec<Step>,
    /// What kind of cycle it is.
    pub class: CycleClass,
    /// Whether it is certain that no shorter cycle exists.
    pub shortest: bool,
    /// How many groups of entangled transactions there are; the cycle is from one of them.
    pub groups: usize,
    /// How many transactions lie on some cycle.
    pub entangled: usize,
}

/// Adya's classes of cycles, by the sorts of conflicts on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CycleClass {
    /// Write-write conflicts only.
    #[serde(rename = "G0")]
    G0,
    /// No anti-dependency, at least one read of another's version.
    #[serde(rename = "G1c")]
    G1c,
    /// Exactly one anti-dependency: lost updates, fractured and non-repeatable reads.
    #[serde(rename = "G-single")]
    GSingle,
    /// Two or more anti-dependencies, all on keys that were seen: write skew, long fork.
    #[serde(rename = "G2-item")]
    G2Item,
    /// Two or more anti-dependencies, at least one on a key that a scan did not find: phantoms.
    #[serde(rename = "G2")]
    G2,
    /// G0 with the order of a session.
    #[serde(rename = "G0-process")]
    G0Process,
    /// G0 with real time.
    #[serde(rename = "G0-realtime")]
    G0Realtime,
    /// G1c with the order of a session.
    #[serde(rename = "G1c-process")]
    G1cProcess,
    /// G1c with real time.
    #[serde(rename = "G1c-realtime")]
    G1cRealtime,
    /// G-single with the order of a session.
    #[serde(rename = "G-single-process")]
    GSingleProcess,
    /// G-single with real time.
    #[serde(rename = "G-single-realtime")]
    GSingleRealtime,
    /// G2-item with the order of a session.
    #[serde(rename = "G2-item-process")]
    G2ItemProcess,
    /// G2-item with real time.
    #[serde(rename = "G2-item-realtime")]
    G2ItemRealtime,
    /// G2 with the order of a session.
    #[serde(rename = "G2-process")]
    G2Process,
    /// G2 with real time.
    #[serde(rename = "G2-realtime")]
    G2Realtime,
}

/// Why a verdict is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doubt {
    /// No committed transaction at all.
    NothingToJudge,
    /// Two histories claim the same site, so their positions cannot be told apart.
    SiteTwice {
        /// The site.
        site: Token,
        /// The sources of the two histories.
        sources: (String, String),
    },
    /// A history has no footer.
    CutShort {
        /// The source of the history.
        source: String,
    },
    /// A transaction committed at one site and was undecided at another when that file ended.
    Undecided {
        /// The transaction.
        txn: TxnRef,
        /// A site where it committed.
        committed_at: Token,
        /// A site where it was in doubt.
        in_doubt_at: Token,
    },
    /// A read that only a missing or an undecided install can explain.
    UnexplainedRead {
        /// The read.
        #[serde(flatten)]
        read: UnexplainedRead,
        /// The undecided transaction that may explain it; otherwise, the file was cut short.
        perhaps: Option<TxnRef>,
    },
    /// A committed transaction that is in no session (levels with sessions only).
    NoSession {
        /// One such transaction.
        txn: TxnRef,
        /// How many there are.
        count: usize,
    },
    /// A committed transaction without real time (levels with real time only).
    NoRealTime {
        /// One such transaction.
        txn: TxnRef,
        /// How many there are.
        count: usize,
    },
    /// A cycle was found that the records do not bear out when they are read once more: a fault of this program.
    Unproven {
        /// What was found.
        found: Box<Cycle>,
        /// What is wrong with it.
        fault: String,
    },
    /// Two sites put one transaction into different places (levels with sessions or real time only, as what follows).
    SessionDisagreement {
        /// The transaction.
        txn: TxnRef,
        /// One site and its place.
        first: (Token, Turn),
        /// Another site and its place.
        second: (Token, Turn),
    },
    /// Two transactions claim one place in a session.
    TurnTwice {
        /// The place.
        turn: Turn,
        /// The transactions.
        txns: [TxnRef; 2],
    },
    /// A transaction was over before another was asked for that is earlier in its session.
    SessionAgainstTime {
        /// The session.
        session: Token,
        /// Who comes first in the session.
        earlier: TxnRef,
        /// Who was over first.
        later: TxnRef,
    },
    /// A committed transaction without decision stamp (commitment ordering only).
    NoStamp {
        /// One such transaction.
        txn: TxnRef,
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serializability => "serializability",
            Self::CommitmentOrdering => "commitment ordering",
            Self::ExtendedCommitmentOrdering => "extended commitment ordering",
            Self::StrongSessionSerializability => "strong session serializability",
            Self::StrictSerializability => "strict serializability",
            Self::SessionCommitmentOrdering => "session commitment ordering",
            Self::RealtimeCommitmentOrdering => "real-time commitment ordering",
        })
    }
}

impl fmt::Display for TxnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        self.site
            .as_ref()
            .map_or(Ok(()), |site| write!(f, "@{site}"))
    }
}

impl Serialize for TxnRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for Seq {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}
