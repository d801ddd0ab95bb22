//! The rows that the paper claims something about, each with an application to decide it by.
//!
//! A claim is what the paper says; a verdict is what a search finds. Where an honest model of a row contradicts its
//! claim, the row stands here twice: once in the formulation that the paper argues for, and once as a *finding*, with
//! a sentence that says what was modelled otherwise.

use serde::Serialize;

use super::application::Application;
use super::bounds::Bounds;
use super::decide::decide;
use super::verdict::Verdict;
use super::{table2, tpcc};

/// Where a claim stands in "Coordination Avoidance in Database Systems".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Table 2: SQL and abstract data types.
    Table2,
    /// Table 3: the consistency conditions of TPC-C.
    Table3,
}

/// What the paper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Invariant confluent: no coordination is needed.
    Confluent,
    /// Not invariant confluent.
    NotConfluent,
}

/// One row: what is claimed, and what was modelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Where the claim stands.
    pub source: Source,
    /// The invariant, in the paper's words; for TPC-C with its number.
    pub invariant: &'static str,
    /// The operation or the transactions, in the paper's words.
    pub operation: &'static str,
    /// What the paper says.
    pub claim: Claim,
    /// What the application here is.
    pub modelled: &'static str,
    /// Whether the search contradicts the claim for this model, and the model is kept for that.
    pub is_finding: bool,
    /// How far the row is searched if nothing else is asked for.
    pub bounds: Bounds,
}

/// A row that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowResult {
    /// The row.
    #[serde(flatten)]
    pub about: About,
    /// Whether verdict and claim are the same; a verdict that is neither yes nor no agrees with nothing.
    pub agrees: bool,
    /// What the search found, within the bounds that it states.
    pub result: Verdict,
}

/// Who is shown every row with its application, whatever the type of its state.
pub trait Visitor {
    /// Is shown one row.
    fn visit<A: Application>(&mut self, about: &About, application: &A);
}

/// Shows all rows of both tables, in the order of the paper; a finding follows the row that it varies.
pub fn visit_rows(visitor: &mut impl Visitor) {
    table2::visit(visitor);
    tpcc::visit(visitor);
}

/// Decides the rows for which `bounds` gives bounds; `|about| Some(about.bounds)` decides all.
pub fn table(bounds: impl Fn(&About) -> Option<Bounds>) -> Vec<RowResult> {
    let mut deciding = Deciding {
        bounds,
        results: Vec::new(),
    };
    visit_rows(&mut deciding);
    deciding.results
}

impl Claim {
    /// Whether the claim is "confluent".
    #[must_use]
    pub const fn is_confluent(self) -> bool {
        matches!(self, Self::Confluent)
    }
}

impl About {
    /// A row of Table 2 that is no finding, within the usual bounds.
    pub(super) fn sql(
        invariant: &'static str,
        operation: &'static str,
        claim: Claim,
        modelled: &'static str,
    ) -> Self {
        Self {
            source: Source::Table2,
            invariant,
            operation,
            claim,
            modelled,
            is_finding: false,
            bounds: Bounds::default(),
        }
    }

    /// The same row, modelled in another way.
    pub(super) const fn but(self, modelled: &'static str) -> Self {
        Self {
            modelled,
            is_finding: true,
            ..self
        }
    }
}

struct Deciding<F> {
    bounds: F,
    results: Vec<RowResult>,
}

impl<F: Fn(&About) -> Option<Bounds>> Visitor for Deciding<F> {
    fn visit<A: Application>(&mut self, about: &About, application: &A) {
        let Some(bounds) = (self.bounds)(about) else {
            return;
        };
        let result = decide(application, &bounds);
        self.results.push(RowResult {
            about: about.clone(),
            agrees: result.is_confluent() == Some(about.claim.is_confluent()),
            result,
        });
    }
}
