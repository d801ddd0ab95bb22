//! What a decision says: the verdict, what was searched, and which law was broken.

use std::fmt;

use serde::Serialize;

use super::bounds::Bounds;
use super::witness::Witness;

/// The answer to "is this application invariant confluent?", for the bounds that it states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every merge within the bounds is valid.
    Confluent {
        /// What was searched.
        coverage: Coverage,
    },
    /// Two valid states that replicas can hold at once have an invalid merge.
    NotConfluent {
        /// How, with the fewest transactions.
        witness: Box<Witness>,
        /// What was searched until then.
        coverage: Coverage,
    },
    /// The cap on situations was reached, and no invalid merge had been found.
    Unknown {
        /// What was searched until then.
        coverage: Coverage,
    },
    /// The application is not one: there is no verdict.
    Breach {
        /// Which law it breaks.
        breach: Breach,
    },
}

impl Verdict {
    /// Yes, no, or neither.
    #[must_use]
    pub const fn is_confluent(&self) -> Option<bool> {
        match self {
            Self::Confluent { .. } => Some(true),
            Self::NotConfluent { .. } => Some(false),
            Self::Unknown { .. } | Self::Breach { .. } => None,
        }
    }

    /// The witness of a no.
    #[must_use]
    pub fn witness(&self) -> Option<&Witness> {
        match self {
            Self::NotConfluent { witness, .. } => Some(witness),
            Self::Confluent { .. } | Self::Unknown { .. } | Self::Breach { .. } => None,
        }
    }

    /// What was searched, if the application is one.
    #[must_use]
    pub const fn coverage(&self) -> Option<&Coverage> {
        match self {
            Self::Confluent { coverage }
            | Self::NotConfluent { coverage, .. }
            | Self::Unknown { coverage } => Some(coverage),
            Self::Breach { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confluent { coverage } => {
                write!(f, "confluent on all {coverage}")?;
                for unused in coverage.transactions.iter().filter(|it| it.committed == 0) {
                    write!(f, "\n  note: \"{}\" never committed", unused.name)?;
                }
                Ok(())
            }
            Self::NotConfluent { witness, .. } => write!(f, "not confluent\n{witness}"),
            Self::Unknown { coverage } => write!(
                f,
                "unknown: the cap of {} situations was reached; no invalid merge among {coverage}",
                grouped(coverage.bounds.max_situations().into())
            ),
            Self::Breach { breach } => write!(f, "no verdict: {breach}"),
        }
    }
}

/// What a search has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// How far it was to go.
    pub bounds: Bounds,
    /// Distinct valid states that a replica held.
    pub states: u64,
    /// Distinct pairs of different states, held by two replicas at once, whose merge was examined.
    pub pairs: u64,
    /// Distinct situations: one state for each replica, and how many transactions each has committed.
    pub situations: u64,
    /// Triples of states on which the merge was checked to be associative.
    pub associative_on: u64,
    /// What the transactions did.
    pub transactions: Vec<TransactionUse>,
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pairs of states that {} replicas can hold after up to {} transactions at each and any \
             exchange of states ({} states, {} situations)",
            grouped(self.pairs),
            self.bounds.replicas(),
            self.bounds.transactions_each(),
            grouped(self.states),
            grouped(self.situations)
        )
    }
}

/// How often a transaction ended in which way, over all pairs of a state and a replica that it was run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransactionUse {
    /// Its name.
    pub name: String,
    /// It committed and changed the state.
    pub committed: u64,
    /// It committed and changed nothing.
    pub unchanged: u64,
    /// It aborted itself.
    pub aborted_itself: u64,
    /// It would have broken the invariant on the replica's own state.
    pub refused: u64,
}

/// A law that an application must keep and does not, on the states that are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The law.
    pub law: Law,
    /// The states that it was applied to.
    pub operands: Vec<String>,
    /// What it gives, two results where they should be equal.
    pub results: Vec<String>,
}

/// What an application must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// There is an initial state.
    HasInitialState,
    /// The initial state is valid (section 3 of the paper: D0 must be valid).
    InitialValid,
    /// `a ⊔ a = a`.
    Idempotent,
    /// `a ⊔ b = b ⊔ a`.
    Commutative,
    /// `a ⊔ (a ⊔ b) = a ⊔ b`: what was merged is contained.
    Absorbing,
    /// `(a ⊔ b) ⊔ c = a ⊔ (b ⊔ c)`.
    Associative,
    /// `a ⊔ t(a) = t(a)`: a transaction adds to the state.
    Growing,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HasInitialState => "there is no initial state",
            Self::InitialValid => "the initial state is not valid",
            Self::Idempotent => "the merge is not idempotent",
            Self::Commutative => "the merge is not commutative",
            Self::Absorbing => "the merge loses what it merged",
            Self::Associative => "the merge is not associative",
            Self::Growing => "a transaction takes something away from the state",
        })
    }
}

/// A number with its digits in threes.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut told = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.law)?;
        for operand in &self.operands {
            write!(f, "\n  on: {operand}")?;
        }
        for result in &self.results {
            write!(f, "\n  gives: {result}")?;
        }
        Ok(())
    }
}
