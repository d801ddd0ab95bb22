//! Types decided together, on one model with all tables and all invariants at once: slow, and another way to the advice.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::database::{Database, Layout};
use super::document::InputError;
use super::execute::execute;
use super::invariant::broken;
use super::population::{Domains, Instance};
use super::projection::Projection;
use super::resolve::resolve;
use super::schema::{ColumnId, Rule, Schema};
use crate::spec::confluence::{
    Application, Bounds, Outcome, ReplicaId, Semilattice, Verdict, commit, decide,
};

/// The most states that a search begins with.
const MOST_BEGINNINGS: usize = 40;
/// The most of them behind a barrier that come of one before it.
const MOST_BEHIND_EACH: usize = 8;

/// How the types of an application run, by name; the rest does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// At any replica, at any time.
    pub free: BTreeSet<String>,
    /// At every replica at once: each sees all that ran before it anywhere, and all that runs later anywhere sees it.
    pub across_sites: BTreeSet<String>,
}

/// Decides whether types of an application are confluent, for all its invariants at once, if they run like this.
///
/// The search begins with the empty database and with states that up to two transactions of any type make of it, one
/// after the other. Where nothing breaks, it goes on behind a barrier: after up to one transaction at each replica, all
/// is merged, a transaction of a type that is ordered across sites commits and reaches both replicas, and the search
/// begins again with that. `None` if the model does not fit.
///
/// # Errors
///
/// If the text is not an application.
pub fn together(
    text: &str,
    running: &Running,
    bounds: &Bounds,
) -> Result<Option<Verdict>, InputError> {
    let schema = resolve(text)?;
    let projection = whole(&schema);
    let Ok(instances) = Domains::new(&projection).and_then(|it| it.instances()) else {
        return Ok(None);
    };
    let is_of = |types: &BTreeSet<String>, it: &Instance| types.contains(&schema.types[it.of].name);
    let with = |runs: &dyn Fn(&Instance) -> bool, initial| {
        let running_now: Vec<&Instance> = instances.iter().filter(|it| runs(it)).collect();
        Whole {
            running: running_now,
            initial,
            schema: &schema,
            projection: &projection,
        }
    };
    let empty = vec![Database::new(&projection.layout)];
    let any = with(&|_| true, empty).serially();
    let concurrent = |it: &Instance| is_of(&running.free, it);
    let before = with(&concurrent, any);
    let verdict = decide(&before, bounds);
    if !matches!(verdict, Verdict::Confluent { .. }) {
        return Ok(Some(verdict));
    }
    let ordered = with(&|it| is_of(&running.across_sites, it), Vec::new());
    let behind = before.behind(&ordered);
    if behind.is_empty() {
        return Ok(Some(verdict));
    }
    Ok(Some(decide(&with(&concurrent, behind), bounds)))
}

/// All columns and all operations, and no rule: those of the schema are asked one by one.
fn whole(schema: &Schema) -> Projection {
    let mut columns = BTreeSet::new();
    for (table, its) in (0u8..).zip(&schema.tables) {
        let all = (0u8..).take(its.columns.len());
        columns.extend(all.map(|column| ColumnId { table, column }));
    }
    let tables = columns.iter().map(|it| it.table).collect();
    let types = schema.types.iter().enumerate();
    Projection {
        layout: Arc::new(Layout {
            schema: schema.clone(),
            columns,
            tables,
        }),
        rule: Rule::Custom {
            text: String::new(),
            tables: None,
        },
        types: types
            .map(|(number, it)| (number, it.operations.clone()))
            .collect(),
    }
}

struct Whole<'a> {
    schema: &'a Schema,
    projection: &'a Projection,
    running: Vec<&'a Instance>,
    initial: Vec<Database>,
}

impl Whole<'_> {
    /// What up to two transactions make of the first states, one after the other, wherever they can run.
    fn serially(&self) -> Vec<Database> {
        let mut all = self.initial.clone();
        let mut begin = 0;
        for _ in 0..2 {
            let end = all.len();
            for place in begin..end {
                for transaction in 0..self.running.len() {
                    let made = self.made(transaction, &all[place]);
                    for state in made {
                        if all.len() < MOST_BEGINNINGS && !all.contains(&state) {
                            all.push(state);
                        }
                    }
                }
            }
            begin = end;
        }
        all
    }

    /// What a transaction makes of a state, at each replica where it commits.
    fn made(&self, transaction: usize, state: &Database) -> Vec<Database> {
        let outcomes = [0, 1].map(|at| commit(self, transaction, state, ReplicaId(at)));
        let made = outcomes.into_iter().filter_map(|outcome| match outcome {
            Outcome::Committed(state) => Some(state),
            Outcome::AbortedItself | Outcome::Refused(_) => None,
        });
        made.collect()
    }

    /// What ordered transactions make of the merges of what up to one transaction at each replica made.
    fn behind(&self, ordered: &Whole<'_>) -> Vec<Database> {
        let mut all: Vec<Database> = Vec::new();
        for initial in &self.initial {
            let run = |at| {
                let all = (0..self.running.len()).filter_map(move |transaction| {
                    match commit(self, transaction, initial, ReplicaId(at)) {
                        Outcome::Committed(state) => Some(state),
                        Outcome::AbortedItself | Outcome::Refused(_) => None,
                    }
                });
                let all: Vec<Database> = all.chain([initial.clone()]).collect();
                all
            };
            let (here, there) = (run(0), run(1));
            let merged = here
                .iter()
                .flat_map(|one| there.iter().map(|other| one.merge(other)));
            let most = MOST_BEGINNINGS.min(all.len() + MOST_BEHIND_EACH);
            for (merged, transaction) in
                merged.flat_map(|it| (0..ordered.running.len()).map(move |of| (it.clone(), of)))
            {
                for state in ordered.made(transaction, &merged) {
                    if all.len() < most && !all.contains(&state) {
                        all.push(state);
                    }
                }
            }
        }
        all
    }
}

impl Application for Whole<'_> {
    type State = Database;

    fn initial_states(&self) -> Vec<Database> {
        self.initial.clone()
    }

    fn transactions(&self) -> Vec<String> {
        self.running.iter().map(|it| it.label.clone()).collect()
    }

    fn execute(&self, transaction: usize, state: &Database, at: ReplicaId) -> Option<Database> {
        let instance = self.running[transaction];
        let operations = &self.projection.types[instance.of].1;
        let next = execute(operations, &instance.parameters, state, at);
        next.map(|(next, _)| next)
    }

    fn broken(&self, state: &Database) -> Option<String> {
        let rules = self.schema.invariants.iter();
        let mut broken = rules.filter_map(|it| Some((&it.name, broken(&it.rule, state)?)));
        broken
            .next()
            .map(|(name, why)| format!("{name} does not hold: {why}"))
    }
}
