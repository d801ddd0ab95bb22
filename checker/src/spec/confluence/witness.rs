//! Why an application is not confluent: a common ancestor, two branches, two valid states, one invalid merge.

use std::fmt;

use serde::Serialize;

/// Two valid states whose merge is not valid, and how replicas come to hold them: the diamond of figure 4 of the paper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Transactions in all, of the way to the ancestor and of the branches.
    pub transactions: usize,
    /// How the ancestor is reached from an initial state; empty if it is one.
    pub reached_by: Vec<Step>,
    /// The last state that both replicas held at once.
    pub ancestor: String,
    /// What one replica then did, and the valid state that it holds.
    pub left: Branch,
    /// What the other replica then did, and the valid state that it holds.
    pub right: Branch,
    /// What other replicas did meanwhile; often nothing.
    pub others: Vec<Branch>,
    /// The merge of the two states.
    pub merged: String,
    /// Which invariant the merge breaks, and how.
    pub broken: String,
}

/// What one replica did since the ancestor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// Its number.
    pub replica: u8,
    /// What it did, in order.
    pub steps: Vec<Step>,
    /// The state that it holds then.
    pub state: String,
}

/// Something that happened at a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Where.
    pub replica: u8,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What a replica can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// The transaction of this name committed.
    Commits(String),
    /// The state of the replica with this number was merged into this one's.
    ReceivesFrom(u8),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.deed {
            Deed::Commits(name) => write!(f, "commits: {name}"),
            Deed::ReceivesFrom(other) => write!(f, "receives the state of replica {other}"),
        }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  replica {} {step}", self.replica)?;
        }
        write!(f, "    and holds {}", self.state)
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.reached_by.is_empty() {
            writeln!(f, "  before:")?;
        }
        for step in &self.reached_by {
            writeln!(f, "  replica {} {step}", step.replica)?;
        }
        writeln!(f, "  both replicas hold {}", self.ancestor)?;
        for branch in [&self.left, &self.right].into_iter().chain(&self.others) {
            writeln!(f, "{branch}")?;
        }
        writeln!(f, "  merged:  {}", self.merged)?;
        write!(f, "  broken:  {}", self.broken)
    }
}
