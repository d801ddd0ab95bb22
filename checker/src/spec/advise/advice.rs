//! From an application to the advice for each of its transaction types.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use super::document::InputError;
use super::judge::{Demand, Why, demand};
use super::projection::Projection;
use super::resolve::resolve;
use super::schema::{Operation, Rule, Schema, Site, TableId, Type};
use super::study::{Searched, Study};
use crate::spec::confluence::{Bounds, Witness};

/// How far the searches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    bounds: Bounds,
}

/// Why options make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A replica that runs nothing shows nothing, and longer searches do not end.
    #[error("a bound is 1 to {most}, not {0}", most = Options::GREATEST_BOUND)]
    Bound(u8),
}

impl Options {
    /// The most transactions at each replica that can be asked for.
    pub const GREATEST_BOUND: u8 = 6;

    /// With searches of up to so many transactions at each of two replicas.
    ///
    /// # Errors
    ///
    /// If the bound is 0, or more than [`Self::GREATEST_BOUND`].
    pub const fn with_bound(self, bound: u8) -> Result<Self, OptionsError> {
        if bound == 0 || bound > Self::GREATEST_BOUND {
            return Err(OptionsError::Bound(bound));
        }
        let bounds = self.bounds.with_transactions_each(bound);
        Ok(Self { bounds })
    }
}

impl Default for Options {
    /// Up to 2 transactions at each of two replicas.
    fn default() -> Self {
        let bounds = Bounds::new(2, 2, 600_000);
        Self {
            bounds: bounds.expect("two replicas, some situations"),
        }
    }
}

/// What to do about one transaction type; the later the more costly.
///
/// What runs before and after what is ordered across sites is the order of commitment: a global transaction takes part at
/// every site that holds a copy of what it touches, and each of these sites orders it with its own local transactions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It commits at its replica without asking another site, and is merged later. If types are ordered across sites, its
    /// own site's scheduler puts it before or after each of them: it is a local transaction of that site.
    NoCoordination,
    /// One site puts its executions into an order, and does them one after the other.
    SingleSite {
        /// Which.
        site: Site,
    },
    /// Each execution is one global transaction at every site that holds copies of what it touches: all that ran there
    /// before is in what it sees, and all that runs there later sees it.
    AcrossSites,
}

/// The advice for an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The name of the application.
    pub application: String,
    /// For each transaction type, in the order of the input.
    pub types: Vec<TypeAdvice>,
    /// For each invariant that some type can change, in the order of the input; keys first.
    pub invariants: Vec<Checked>,
}

/// The advice for a transaction type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeAdvice {
    /// The name of the type.
    pub name: String,
    /// What to do.
    #[serde(flatten)]
    pub answer: Answer,
    /// The operations whose order matters, where one site orders them.
    pub order: Vec<String>,
    /// Why it has to coordinate; empty if it does not.
    pub reasons: Vec<Reason>,
    /// The invariants that it can change, all of which were searched; empty if it touches none.
    pub touches: Vec<String>,
}

/// Why a type has to coordinate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The invariant, if it is because of one.
    pub invariant: Option<String>,
    /// In words.
    pub text: String,
    /// How it breaks without coordination, if that was found.
    pub witness: Option<Box<Witness>>,
}

/// What was found out about an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name.
    pub invariant: String,
    /// The types that run freely as far as it is concerned.
    pub free: Vec<String>,
    /// The types that an ordering point at one site orders for it.
    pub at_one_site: Vec<String>,
    /// The types that are ordered across sites for it, or for another reason.
    pub across_sites: Vec<String>,
    /// The search that found it confluent with that; none if no type is left to run freely or at one site.
    pub searched: Option<Searched>,
    /// What else would do, at one site.
    pub instead: Option<Instead>,
}

/// Another way to keep an invariant: more types, but at one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instead {
    /// The types that would have to be ordered there.
    pub types: Vec<String>,
    /// Where.
    pub site: Site,
}

/// Reads an application and advises.
///
/// # Errors
///
/// If the text is not an application: the error has the line, and the nearest name to one that is not known.
pub fn advise(text: &str, options: &Options) -> Result<Advice, InputError> {
    let schema = resolve(text)?;
    let mut advisor = Advisor::new(&schema);
    advisor.look_at_types();
    advisor.look_at_rules(options.bounds);
    Ok(advisor.conclude())
}

/// What is known of the types so far.
struct Advisor<'a> {
    schema: &'a Schema,
    reasons: BTreeMap<usize, Vec<Reason>>,
    /// Types that are ordered across sites whatever the searches say.
    across: BTreeSet<usize>,
    /// Where a type has ordering points, and what they order.
    points: BTreeMap<usize, BTreeMap<Site, BTreeSet<String>>>,
    touches: BTreeMap<usize, Vec<String>>,
    invariants: Vec<(String, BTreeSet<usize>, Option<Demand>)>,
}

impl<'a> Advisor<'a> {
    const fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            reasons: BTreeMap::new(),
            across: BTreeSet::new(),
            points: BTreeMap::new(),
            touches: BTreeMap::new(),
            invariants: Vec::new(),
        }
    }

    fn order_across(&mut self, number: usize, invariant: Option<&str>, text: String) {
        self.across.insert(number);
        self.reasons.entry(number).or_default().push(Reason {
            invariant: invariant.map(ToOwned::to_owned),
            text,
            witness: None,
        });
    }

    /// What needs no search: operations that are not known, reads, invariants that are only text.
    fn look_at_types(&mut self) {
        let schema = self.schema;
        for (number, its) in schema.types.iter().enumerate() {
            for operation in &its.operations {
                if let Operation::Unknown(text) = operation {
                    let text = format!("it does \"{text}\", which is not recognised");
                    self.order_across(number, None, text);
                }
            }
            if let Some(text) = depends(schema, its) {
                self.order_across(number, None, text);
            }
        }
        for invariant in &schema.invariants {
            let Rule::Custom { tables, .. } = &invariant.rule else {
                continue;
            };
            for (number, its) in schema.types.iter().enumerate() {
                let written = written(schema, its);
                let touches = match tables {
                    None => its.operations.iter().any(Operation::is_write),
                    Some(tables) => tables.iter().any(|it| written.contains(it)),
                };
                if touches {
                    let text = "not recognised: the invariant is only text".to_owned();
                    self.order_across(number, Some(&invariant.name), text);
                }
            }
        }
    }

    /// Searches for each invariant. What fits into no model comes first, so that every search knows who is ordered.
    fn look_at_rules(&mut self, bounds: Bounds) {
        let mut studies = Vec::new();
        for invariant in &self.schema.invariants {
            let projection = Projection::of(self.schema, &invariant.rule);
            let touching: BTreeSet<usize> = projection.types.iter().map(|it| it.0).collect();
            for number in &touching {
                let touches = self.touches.entry(*number).or_default();
                touches.push(invariant.name.clone());
            }
            if touching.is_empty() || matches!(invariant.rule, Rule::Custom { .. }) {
                continue;
            }
            match Study::new(projection, bounds) {
                Ok(study) => studies.push((&invariant.name, touching, Some(study))),
                Err(why) => {
                    for number in &touching {
                        let text = format!("not recognised: {why}");
                        self.order_across(*number, Some(&invariant.name), text);
                    }
                    studies.push((&invariant.name, touching, None));
                }
            }
        }
        for (name, touching, study) in studies {
            let found = study.map(|study| {
                let found = demand(&study, &self.across);
                self.take(name, &study, &found);
                found
            });
            self.invariants.push((name.clone(), touching, found));
        }
    }

    /// Keeps what an invariant asks for.
    fn take(&mut self, invariant: &str, study: &Study, found: &Demand) {
        let taken = found.split.ordered.union(&found.split.at_point);
        let new: Vec<usize> = taken.copied().collect();
        for number in new {
            let because = found.refused.iter().find(|(set, _)| set.contains(&number));
            let Some((set, why)) = because else {
                continue;
            };
            let (text, witness) = match why {
                Why::Broken(witness) => (self.breaks(number, set), Some(witness.clone())),
                Why::NotRecognised(why) => (format!("not recognised: {why}"), None),
            };
            self.reasons.entry(number).or_default().push(Reason {
                invariant: Some(invariant.to_owned()),
                text,
                witness,
            });
            let Some(site) = found
                .site
                .as_ref()
                .filter(|_| found.split.at_point.contains(&number))
            else {
                continue;
            };
            let mut types = study.projection.types.iter();
            let operations = types.find(|it| it.0 == number).map(|it| it.1.as_slice());
            let points = self.points.entry(number).or_default();
            let order = points.entry(site.clone()).or_default();
            let writes = operations
                .unwrap_or_default()
                .iter()
                .filter(|it| it.is_write());
            order.extend(writes.map(|it| in_words(self.schema, it)));
        }
    }

    fn breaks(&self, number: usize, set: &BTreeSet<usize>) -> String {
        let others = set.iter().filter(|it| **it != number);
        let others: Vec<&str> = others
            .map(|it| self.schema.types[*it].name.as_str())
            .collect();
        if others.is_empty() {
            "two of it that do not see each other break it".to_owned()
        } else {
            format!(
                "it and {} break it if they do not see each other",
                others.join(", ")
            )
        }
    }

    fn conclude(mut self) -> Advice {
        let mut types = Vec::new();
        for (number, its) in self.schema.types.iter().enumerate() {
            let ordered = self.invariants.iter().filter_map(|it| it.2.as_ref());
            let is_across = ordered
                .into_iter()
                .any(|it| it.split.ordered.contains(&number));
            let points = self.points.remove(&number).unwrap_or_default();
            let mut reasons = self.reasons.remove(&number).unwrap_or_default();
            let mut order = Vec::new();
            let answer = if is_across || self.across.contains(&number) {
                Answer::AcrossSites
            } else if points.len() > 1 {
                let sites: Vec<String> = points.keys().map(ToString::to_string).collect();
                let text = format!(
                    "it needs ordering points at several sites: {}",
                    sites.join(", ")
                );
                reasons.push(Reason {
                    invariant: None,
                    text,
                    witness: None,
                });
                Answer::AcrossSites
            } else if let Some((site, what)) = points.into_iter().next() {
                order.extend(what);
                Answer::SingleSite { site }
            } else {
                Answer::NoCoordination
            };
            types.push(TypeAdvice {
                name: its.name.clone(),
                answer,
                order,
                reasons,
                touches: self.touches.remove(&number).unwrap_or_default(),
            });
        }
        let invariants = self.invariants.iter();
        Advice {
            application: self.schema.name.clone(),
            types,
            invariants: invariants.map(|it| self.checked(it)).collect(),
        }
    }

    fn checked(&self, found: &(String, BTreeSet<usize>, Option<Demand>)) -> Checked {
        let (name, touching, demand) = found;
        let names = |set: &BTreeSet<usize>| -> Vec<String> {
            let types = set.iter().map(|it| self.schema.types[*it].name.clone());
            types.collect()
        };
        let Some(demand) = demand else {
            return Checked {
                invariant: name.clone(),
                free: Vec::new(),
                at_one_site: Vec::new(),
                across_sites: names(touching),
                searched: None,
                instead: None,
            };
        };
        let instead = demand.instead.as_ref();
        Checked {
            invariant: name.clone(),
            free: names(&demand.split.free),
            at_one_site: names(&demand.split.at_point),
            across_sites: names(&demand.split.ordered),
            searched: demand.searched,
            instead: instead.map(|(types, site)| Instead {
                types: names(types),
                site: site.clone(),
            }),
        }
    }
}

/// Whether what a type writes must follow from reads that nobody changes meanwhile, in words.
///
/// Unless its author says otherwise, that is so of every type that reads and writes. What nobody writes can be read
/// anywhere.
fn depends(schema: &Schema, its: &Type) -> Option<String> {
    if its.depends_on_reads == Some(false) || !its.operations.iter().any(Operation::is_write) {
        return None;
    }
    for operation in &its.operations {
        let Operation::Read { table, columns, .. } = operation else {
            continue;
        };
        let writers = schema
            .types
            .iter()
            .filter(|it| changes(schema, it, *table, columns));
        let writers: Vec<&str> = writers.map(|it| it.name.as_str()).collect();
        if !writers.is_empty() {
            return Some(format!(
                "it reads {}, which {} changes, and writes: what it writes may depend on what it read (if invariants say \
                 all that its reads are for, say `depends-on-reads = false`)",
                schema.table(*table).name,
                writers.join(", ")
            ));
        }
    }
    let declared = its.depends_on_reads == Some(true);
    let binds = |it: &Operation| it.selection().is_some();
    (declared && its.operations.iter().any(binds))
        .then(|| "it says that what it writes depends on what it reads".to_owned())
}

/// Whether a type changes these columns, or which rows there are.
fn changes(schema: &Schema, its: &Type, table: TableId, columns: &[u8]) -> bool {
    its.operations.iter().any(|operation| match operation {
        Operation::Unknown(_) => true,
        Operation::Insert { table: its, .. } => *its == table,
        Operation::Delete { .. } => written(schema, its).contains(&table),
        Operation::Update {
            table: its,
            changes,
            ..
        } => *its == table && changes.iter().any(|it| columns.contains(&it.column)),
        Operation::Read { .. } => false,
    })
}

/// The tables that a type writes, also by cascades.
fn written(schema: &Schema, its: &Type) -> BTreeSet<TableId> {
    let mut all = BTreeSet::new();
    let mut cascading = BTreeSet::new();
    for operation in its.operations.iter().filter(|it| it.is_write()) {
        match (operation, operation.table()) {
            (Operation::Unknown(_), _) | (_, None) => {
                all.extend((0u8..).take(schema.tables.len()));
            }
            (Operation::Delete { cascade: true, .. }, Some(table)) => {
                cascading.insert(table);
            }
            (_, Some(table)) => {
                all.insert(table);
            }
        }
    }
    let mut before = usize::MAX;
    while before != cascading.len() {
        before = cascading.len();
        for (child, parent) in schema.foreign_keys() {
            if cascading.contains(&parent.table) {
                cascading.insert(child.table);
            }
        }
    }
    all.extend(cascading);
    all
}

fn in_words(schema: &Schema, operation: &Operation) -> String {
    let name = |table: &TableId| &schema.table(*table).name;
    match operation {
        Operation::Insert { table, .. } => format!("insert into {}", name(table)),
        Operation::Update { table, .. } => format!("update {}", name(table)),
        Operation::Delete { table, .. } => format!("delete from {}", name(table)),
        Operation::Read { table, .. } => format!("read {}", name(table)),
        Operation::Unknown(text) => text.clone(),
    }
}
