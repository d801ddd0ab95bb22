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
use crate::spec::confluence::{Application, Bounds, Outcome, ReplicaId, Verdict, commit, decide};

/// The most states that a search begins with.
const MOST_BEGINNINGS: usize = 40;

/// Decides whether these types of an application are confluent together, for all its invariants at once.
///
/// The search begins with the empty database and with states that up to two transactions of any type make of it, one
/// after the other. `None` if the model does not fit.
///
/// # Errors
///
/// If the text is not an application.
pub fn together(
    text: &str,
    types: &BTreeSet<String>,
    bounds: &Bounds,
) -> Result<Option<Verdict>, InputError> {
    let schema = resolve(text)?;
    let projection = whole(&schema);
    let Ok(instances) = Domains::new(&projection).and_then(|it| it.instances()) else {
        return Ok(None);
    };
    let mut all = Whole {
        running: instances.iter().collect(),
        initial: vec![Database::new(&projection.layout)],
        schema: &schema,
        projection: &projection,
    };
    all.initial = all.beginnings();
    let runs = |it: &&Instance| types.contains(&schema.types[it.of].name);
    all.running = instances.iter().filter(runs).collect();
    Ok(Some(decide(&all, bounds)))
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
    fn beginnings(&self) -> Vec<Database> {
        let mut all = self.initial.clone();
        let mut begin = 0;
        for _ in 0..2 {
            let end = all.len();
            for place in begin..end {
                for transaction in 0..self.running.len() {
                    let outcome = commit(self, transaction, &all[place], ReplicaId(0));
                    let Outcome::Committed(state) = outcome else {
                        continue;
                    };
                    if all.len() < MOST_BEGINNINGS && !all.contains(&state) {
                        all.push(state);
                    }
                }
            }
            begin = end;
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
