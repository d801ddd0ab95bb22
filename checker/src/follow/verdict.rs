//! What following says: a verdict that may still change, and its grounds.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::history::{Seq, Stamp};
use crate::token::Token;
use crate::verdict::{Anomaly, Doubt, Level, TxnRef};

use super::chain::{Clash, Meeting};

/// What is known at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every history has ended, and the level holds.
    Valid,
    /// The level is violated, whatever comes.
    Invalid {
        /// Why; never empty, and at most [`MAX_SHOWN`](crate::MAX_SHOWN) of each sort at each site.
        grounds: Vec<Ground>,
        /// How many there are.
        total: usize,
    },
    /// Nothing is violated so far; this is why it cannot be said to hold.
    Unknown {
        /// Why; never empty.
        reasons: Vec<Reason>,
    },
}

/// Why a level does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ground", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ground {
    /// A conflict disagrees with the decisions.
    OutOfOrder(OutOfOrder),
    /// What a judgement of a whole case names.
    Anomaly {
        /// The anomaly.
        found: Anomaly,
    },
}

/// A conflict, or a chain of conflicts on one key, that disagrees with the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfOrder {
    /// Where.
    pub site: Token,
    /// On which key.
    pub key: Token,
    /// The transaction that comes first.
    pub earlier: TxnRef,
    /// When it was decided.
    pub earlier_stamp: Stamp,
    /// The transaction that comes after it.
    pub later: TxnRef,
    /// When that was decided: not after `earlier_stamp`.
    pub later_stamp: Stamp,
    /// How they met.
    pub how: Met,
}

/// How two transactions met on a key, and on which versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "conflict", rename_all = "snake_case")]
pub enum Met {
    /// Both installed the key.
    WriteWrite {
        /// The version of the earlier transaction.
        earlier: Seq,
        /// The version of the later one.
        later: Seq,
    },
    /// The later one saw what the earlier one installed.
    WriteRead {
        /// The version of the earlier transaction.
        installed: Seq,
        /// The version that the later one saw, which includes it.
        seen: Seq,
    },
    /// The later one installed a newer version than the earlier one saw.
    ReadWrite {
        /// The version that the earlier transaction saw.
        seen: Seq,
        /// The version of the later one.
        installed: Seq,
    },
}

/// Why a verdict is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// As for a whole case. [`Doubt::CutShort`] is said of every history without a footer, which here may mean that it
    /// is still being written.
    Doubt {
        /// The doubt.
        of: Doubt,
    },
    /// Records came so late that what they conflict with is no longer kept.
    Late {
        /// At which site.
        site: Token,
        /// How many accesses.
        count: u64,
    },
    /// Outcomes of global transactions came so late that those of other sites are no longer kept.
    LateOutcomes {
        /// How many.
        count: u64,
    },
    /// Some conflicts disagree with the decisions, so only a search for cycles tells, and lines that it would need are
    /// no longer kept (serializability only).
    Forgotten {
        /// How many conflicts disagree, and transactions have no stamp.
        count: usize,
    },
    /// The level asks for the order of sessions or of real time, which are not followed: a site still to be read may
    /// tell more of either.
    WholeFiles {
        /// The level.
        level: Level,
    },
    /// The limit on what is kept was reached, and nothing was looked at from there on.
    Full {
        /// The limit.
        entries: usize,
    },
}

impl OutOfOrder {
    pub(super) fn new(clash: Clash, site: Token, key: Token) -> Self {
        let Clash { from, to, meeting } = clash;
        let (first, second) = (Seq(from.at), Seq(to.at));
        let how = match meeting {
            Meeting::WriteWrite => Met::WriteWrite {
                earlier: first,
                later: second,
            },
            Meeting::WriteRead => Met::WriteRead {
                installed: first,
                seen: second,
            },
            Meeting::ReadWrite => Met::ReadWrite {
                seen: first,
                installed: second,
            },
        };
        Self {
            earlier: TxnRef::new(from.txn, &site),
            earlier_stamp: Stamp(from.stamp),
            later: TxnRef::new(to.txn, &site),
            later_stamp: Stamp(to.stamp),
            site,
            key,
            how,
        }
    }
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            key,
            earlier,
            later,
            ..
        } = self;
        write!(f, "At site {site}, {earlier} ")?;
        match self.how {
            Met::WriteWrite {
                earlier: first,
                later: second,
            } => write!(
                f,
                "installed \"{key}\" (seq {first}), and {later} installed a newer version (seq {second})"
            )?,
            Met::WriteRead { installed, seen } => write!(
                f,
                "installed \"{key}\" (seq {installed}), and {later} saw it (version {seen})"
            )?,
            Met::ReadWrite { seen, installed } => write!(
                f,
                "saw \"{key}\" at version {seen}, and {later} installed a newer version (seq {installed})"
            )?,
        }
        write!(
            f,
            ": so {earlier} precedes {later}, but {earlier} was decided at {} and {later} at {}.",
            self.earlier_stamp, self.later_stamp
        )
    }
}

impl Serialize for OutOfOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("OutOfOrder", 8)?;
        fields.serialize_field("site", &self.site)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("earlier", &self.earlier)?;
        fields.serialize_field("earlier_stamp", &self.earlier_stamp)?;
        fields.serialize_field("later", &self.later)?;
        fields.serialize_field("later_stamp", &self.later_stamp)?;
        fields.serialize_field("how", &self.how)?;
        fields.serialize_field("sentence", &self.to_string())?;
        fields.end()
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder(conflict) => conflict.fmt(f),
            Self::Anomaly { found } => {
                found.fmt(f)?;
                if let Anomaly::Cycle(cycle) = found {
                    for (place, step) in cycle.steps.iter().enumerate() {
                        write!(f, "\n  {}. {step}", place + 1)?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doubt { of } => of.fmt(f),
            Self::Late { site, count } => write!(
                f,
                "At site {site}, {count} accesses were to versions that are no longer kept; follow with a larger \
                 window, or judge the files with `co-check history`."
            ),
            Self::LateOutcomes { count } => write!(
                f,
                "{count} outcomes of global transactions came after those of other sites were dropped; follow with \
                 a larger window, or judge the files with `co-check history`."
            ),
            Self::Forgotten { count } => write!(
                f,
                "{count} conflicts are not in the order of decisions, and whether they are part of a cycle with \
                 transactions that are no longer kept is not known; judge the files with `co-check history`."
            ),
            Self::WholeFiles { level } => write!(
                f,
                "Sessions and real time are judged when all files are complete; ask `co-check history` for {level}."
            ),
            Self::Full { entries } => write!(
                f,
                "The limit of {entries} entries was reached, and nothing was looked at from there on; raise it, or \
                 judge the files with `co-check history`."
            ),
        }
    }
}
