//! The databases that a search begins with, and the transactions that it runs: all of a small size.
//!
//! - **I1** Every population is valid for the invariant that is decided, whether transactions of the application lead
//!   there or not: more ancestors than definition 6 asks for, so that a "confluent" is the stronger for it.
//! - **I2** What does not fit is an error, never left out.

use std::collections::{BTreeMap, BTreeSet};

use super::bound::{Bound, sums_of};
use super::database::{Database, RowId};
use super::invariant::{aggregate, broken};
use super::projection::{Projection, sources};
use super::schema::{
    Aggregate, ColumnId, Comparison, Filter, GREATEST, How, Kind, Linear, Operation, Pick, Rule,
    Source, TableId, Value, View,
};
use crate::spec::confluence::ReplicaId;

/// The most databases that a search begins with.
const MOST_POPULATIONS: usize = 3_000;
/// The same where rows have to be there for others.
const MOST_LINKED: usize = 20_000;
/// The most different rows of a table, and the most ways in which a type is run.
const MOST_ROWS: usize = 400;
const MOST_INSTANCES: usize = 100;
/// The greatest set that a bound on sizes may ask for.
const GREATEST_SET: i64 = 3;

/// What the kept columns of a row have.
type Cells = Vec<(u8, Vec<Value>)>;

/// A transaction type with values for its parameters.
pub(super) struct Instance {
    /// The place of the type in the projection.
    pub(super) of: usize,
    pub(super) label: String,
    pub(super) parameters: Vec<Value>,
}

/// What values there are for columns and parameters.
pub(super) struct Domains<'a> {
    projection: &'a Projection,
    constants: BTreeMap<ColumnId, BTreeSet<Value>>,
}

impl<'a> Domains<'a> {
    pub(super) fn new(projection: &'a Projection) -> Result<Self, String> {
        let mut constants: BTreeMap<ColumnId, BTreeSet<Value>> = BTreeMap::new();
        for (_, operations) in &projection.types {
            for operation in operations {
                for (column, source) in sources(operation, &projection.layout.columns) {
                    if let Source::Constant(value) = source {
                        constants.entry(column).or_default().insert(value);
                    }
                }
            }
        }
        let schema = &projection.layout.schema;
        let mut links: Vec<(ColumnId, ColumnId)> = schema.foreign_keys().collect();
        for invariant in &schema.invariants {
            constants_of(&invariant.rule, &projection.rule, &mut constants)?;
            links.extend(invariant.rule.link());
        }
        for _ in 0..links.len() {
            for (one, other) in &links {
                let mut all = constants.get(one).cloned().unwrap_or_default();
                all.extend(constants.get(other).into_iter().flatten());
                constants.insert(*one, all.clone());
                constants.insert(*other, all);
            }
        }
        let all = Self {
            projection,
            constants,
        };
        all.has_small_amounts()?;
        Ok(all)
    }

    /// The values of a plain column, or the elements of a set.
    fn of(&self, column: ColumnId) -> BTreeSet<Value> {
        let mut all = BTreeSet::from([Some(1), Some(2)]);
        all.extend(self.constants.get(&column).into_iter().flatten());
        all
    }

    /// The rows that a population can have of a table: values for its kept columns.
    fn rows(&self, table: TableId) -> Result<Vec<Cells>, String> {
        let layout = &self.projection.layout;
        let mut rows = vec![Vec::new()];
        for id in layout.columns.iter().filter(|it| it.table == table) {
            let choices = self.choices(*id);
            rows = rows
                .into_iter()
                .flat_map(|row: Vec<_>| {
                    choices.iter().map(move |values| {
                        let mut row = row.clone();
                        row.push((id.column, values.clone()));
                        row
                    })
                })
                .collect();
            if rows.len() > MOST_ROWS {
                let name = &layout.schema.table(table).name;
                return Err(format!("{name} has too many columns that matter to it"));
            }
        }
        match &self.projection.rule {
            Rule::Check { table: its, linear } if *its == table => self.counted(rows, linear),
            Rule::Check { .. }
            | Rule::Unique { .. }
            | Rule::Sequential { .. }
            | Rule::ForeignKey { .. }
            | Rule::NotNull(_)
            | Rule::Equal(..)
            | Rule::NotEqual(..)
            | Rule::View(_)
            | Rule::NullWhile(_)
            | Rule::Contains(..)
            | Rule::NotContains(..)
            | Rule::Size(..)
            | Rule::Custom { .. } => Ok(rows),
        }
    }

    /// Rows of the table of a check, each with counts that bring it near the bound.
    fn counted(&self, rows: Vec<Cells>, linear: &Linear) -> Result<Vec<Cells>, String> {
        let Some(bound) = self.bound(linear)? else {
            return Ok(rows);
        };
        let mut all = Vec::new();
        let mut sums = BTreeSet::new();
        for row in rows {
            let Some(plain) = plain_sum(&row, &bound) else {
                all.push(row);
                continue;
            };
            for counts in bound.counts(plain)? {
                let mut row = row.clone();
                let mut sum = plain;
                for ((column, factor), count) in bound.counters.iter().zip(&counts) {
                    sum += factor * count;
                    let cells = row.iter_mut().filter(|cell| cell.0 == *column);
                    cells.for_each(|cell| cell.1 = vec![Some(*count)]);
                }
                if linear.comparison.holds(sum, linear.bound) {
                    sums.insert(sum);
                    all.push(row);
                }
            }
            if all.len() > MOST_ROWS {
                return Err("it depends on too many counts".to_owned());
            }
        }
        bound.is_reached(&sums)?;
        Ok(all)
    }

    /// The contents that a cell of a population can have.
    fn choices(&self, id: ColumnId) -> Vec<Vec<Value>> {
        let rule = &self.projection.rule;
        let is_view = matches!(rule, Rule::View(view) if view.column == id);
        if is_view {
            return vec![Vec::new()];
        }
        let single = |values: BTreeSet<Value>| values.into_iter().map(|it| vec![it]).collect();
        match (self.projection.layout.schema.column(id).kind, rule) {
            (Kind::Plain, _) => single(self.of(id)),
            (Kind::Counter, Rule::View(view)) if view.columns().contains(&id) => {
                vec![vec![Some(0)], vec![Some(1)]]
            }
            (Kind::Counter, _) => vec![vec![Some(0)]],
            (Kind::Set, _) => subsets(&self.of(id)),
        }
    }

    /// What moves a check, if counters do.
    fn bound<'b>(&self, linear: &'b Linear) -> Result<Option<Bound<'b>>, String> {
        let Rule::Check { table, .. } = &self.projection.rule else {
            return Ok(None);
        };
        let table = *table;
        let layout = &self.projection.layout;
        let kind = |column| layout.schema.column(ColumnId { table, column }).kind;
        let of_kind = |wanted| {
            let terms = linear.terms.iter().copied();
            let terms = terms.filter(move |(column, _)| kind(*column) == wanted);
            terms.collect::<Vec<(u8, i64)>>()
        };
        let counters = of_kind(Kind::Counter);
        if counters.is_empty() {
            return Ok(None);
        }
        let mut plain = BTreeSet::from([0]);
        for (column, factor) in of_kind(Kind::Plain) {
            let values = self.of(ColumnId { table, column });
            let values: Vec<i64> = values.into_iter().flatten().collect();
            let sums = plain
                .iter()
                .flat_map(|sum| values.iter().map(move |it| sum + factor * it));
            plain = sums.collect();
        }
        Ok(Some(Bound {
            linear,
            moves: self.moves(table, &counters)?,
            counters,
            plain,
        }))
    }

    /// By how much one execution can move the sum of a row.
    fn moves(&self, table: TableId, counters: &[(u8, i64)]) -> Result<BTreeSet<i64>, String> {
        let mut all = BTreeSet::new();
        for (number, operations) in &self.projection.types {
            let its = &self.projection.layout.schema.types[*number];
            let given = self.parameters(its.parameters.len(), operations);
            let mut steps = Vec::new();
            for operation in operations.iter().filter(|it| it.table() == Some(table)) {
                let Operation::Update { changes, .. } = operation else {
                    continue;
                };
                let mut sums = BTreeSet::from([0]);
                for change in changes {
                    let Some((column, factor)) = counters.iter().find(|it| it.0 == change.column)
                    else {
                        continue;
                    };
                    let column = ColumnId {
                        table,
                        column: *column,
                    };
                    let sign = match change.how {
                        How::Decrement => -factor,
                        How::Increment | How::Assign | How::Add | How::Remove => *factor,
                    };
                    let amounts = self.amounts(column, change.source, operations, &given)?;
                    let both = sums
                        .iter()
                        .flat_map(|sum| amounts.iter().map(move |it| sum + sign * it));
                    sums = both.collect();
                }
                steps.push(sums);
            }
            all.extend(sums_of(&steps)?);
        }
        Ok(all)
    }

    /// Asks that every amount is known and can be counted, and that no count is copied: not all counts are in a model.
    fn has_small_amounts(&self) -> Result<(), String> {
        let layout = &self.projection.layout;
        for (number, operations) in &self.projection.types {
            let its = &layout.schema.types[*number];
            let given = self.parameters(its.parameters.len(), operations);
            for operation in operations {
                for (column, source) in sources(operation, &layout.columns) {
                    if layout.schema.column(column).kind == Kind::Counter {
                        self.amounts(column, source, operations, &given)?;
                    }
                    if let Some(id) = bound_column(source, operations)
                        && layout.schema.column(id).kind == Kind::Counter
                    {
                        return Err(format!("{} copies a counter", its.name));
                    }
                }
            }
        }
        Ok(())
    }

    /// The amounts by which a counter changes.
    fn amounts(
        &self,
        column: ColumnId,
        source: Source,
        operations: &[Operation],
        given: &[BTreeSet<Value>],
    ) -> Result<BTreeSet<i64>, String> {
        let schema = &self.projection.layout.schema;
        let values = match source {
            Source::Constant(value) => BTreeSet::from([value]),
            Source::Given(it) | Source::Own(it) => given[usize::from(it)].clone(),
            Source::Bound(..) => match bound_column(source, operations) {
                Some(id) => self.numbers(id)?,
                None => BTreeSet::new(),
            },
            Source::Computed => match schema.view(column).map(|it| (it.of, it.aggregate)) {
                Some((table, Aggregate::Sum(column) | Aggregate::Max(column))) => {
                    self.numbers(ColumnId { table, column })?
                }
                Some((_, Aggregate::Count)) | None => BTreeSet::new(),
            },
            Source::Unique | Source::Next => {
                return Err(format!("{} counts identifiers", schema.column(column).name));
            }
        };
        let values: BTreeSet<i64> = values.into_iter().flatten().collect();
        if values.iter().any(|it| it.abs() > GREATEST) {
            let name = &schema.column(column).name;
            return Err(format!("{name} is counted by what is no number"));
        }
        Ok(values)
    }

    /// The values of a column by which something is counted: those of the model, if nothing else gets into it.
    fn numbers(&self, id: ColumnId) -> Result<BTreeSet<Value>, String> {
        let layout = &self.projection.layout;
        if layout.schema.column(id).kind == Kind::Counter {
            return Ok(BTreeSet::from([Some(0), Some(1)]));
        }
        let operations = self.projection.types.iter().flat_map(|it| &it.1);
        let mut written = operations.flat_map(|it| sources(it, &layout.columns));
        let is_elsewhere = |(column, source): (ColumnId, Source)| {
            column == id
                && match source {
                    Source::Constant(_) | Source::Given(_) | Source::Own(_) => false,
                    Source::Unique | Source::Next | Source::Computed | Source::Bound(..) => true,
                }
        };
        if written.any(is_elsewhere) {
            let name = &layout.schema.column(id).name;
            return Err(format!("{name} gets values that are not known before"));
        }
        Ok(self.of(id))
    }

    /// All ways to run the types, but for what does not matter to the invariant.
    pub(super) fn instances(&self) -> Result<Vec<Instance>, String> {
        let mut all = Vec::new();
        for (place, (number, operations)) in self.projection.types.iter().enumerate() {
            let its = &self.projection.layout.schema.types[*number];
            let domains = self.parameters(its.parameters.len(), operations);
            let mut ways = vec![Vec::new()];
            for domain in &domains {
                let extend = |way: Vec<Value>| {
                    domain.iter().map(move |value| {
                        let mut way = way.clone();
                        way.push(*value);
                        way
                    })
                };
                ways = ways.into_iter().flat_map(extend).collect();
                if ways.len() > MOST_INSTANCES {
                    return Err(format!(
                        "{} has too many parameters that matter to it",
                        its.name
                    ));
                }
            }
            all.extend(ways.into_iter().map(|parameters| Instance {
                of: place,
                label: self.label(*number, &domains, &parameters),
                parameters,
            }));
        }
        Ok(all)
    }

    fn label(&self, number: usize, domains: &[BTreeSet<Value>], values: &[Value]) -> String {
        let schema = &self.projection.layout.schema;
        let its = &schema.types[number];
        let chosen = (0..values.len()).filter(|it| domains[*it].len() > 1);
        let chosen =
            chosen.map(|it| format!("{} = {}", its.parameters[it], schema.show(values[it])));
        let chosen: Vec<String> = chosen.collect();
        if chosen.is_empty() {
            return its.name.clone();
        }
        format!("{} ({})", its.name, chosen.join(", "))
    }

    /// The values of each parameter; one that does not matter has one.
    fn parameters(&self, count: usize, operations: &[Operation]) -> Vec<BTreeSet<Value>> {
        let mut domains = vec![BTreeSet::new(); count];
        let mut amounts = BTreeSet::new();
        for operation in operations {
            if let Some(Pick::One(which)) = operation.selection().map(|it| it.pick) {
                domains[usize::from(which)].extend([Some(0), Some(1)]);
            }
            for (column, source) in sources(operation, &self.projection.layout.columns) {
                if let Source::Given(it) | Source::Own(it) = source {
                    let schema = &self.projection.layout.schema;
                    if schema.column(column).kind == Kind::Counter {
                        amounts.insert(usize::from(it));
                        domains[usize::from(it)].extend([Some(1), Some(2)]);
                        continue;
                    }
                    let may_be_null = self.projection.rule == Rule::NotNull(column);
                    let values = self.of(column).into_iter();
                    let values = values.filter(|value| value.is_some() || may_be_null);
                    domains[usize::from(it)].extend(values);
                }
            }
        }
        for amount in amounts {
            domains[amount].retain(|value| *value >= Some(1));
        }
        for domain in domains.iter_mut().filter(|it| it.is_empty()) {
            domain.insert(None);
        }
        domains
    }

    /// The databases to begin with, the smallest first, and how many rows the greatest has.
    pub(super) fn populations(&self) -> Result<(Vec<Database>, usize), String> {
        let tables: Vec<TableId> = self.projection.layout.tables.iter().copied().collect();
        let mut rows = Vec::new();
        for table in &tables {
            for row in self.rows(*table)? {
                rows.push((*table, row));
            }
        }
        let is_local = is_of_one_row(&self.projection.rule) && tables.len() == 1;
        // A row that must be there can be two, of which each of two replicas takes one away; and a row can be handed from
        // one to another.
        let mut more: BTreeMap<TableId, usize> = BTreeMap::new();
        if let Rule::NullWhile(rule) = &self.projection.rule {
            for table in [rule.of, rule.column.table] {
                *more.entry(table).or_default() += 1;
            }
        }
        let most = if is_local {
            1
        } else if more.is_empty() {
            2.max(tables.len()).min(3)
        } else {
            (tables.len() + 1).clamp(3, 4)
        };
        let mut chosen: Vec<Vec<usize>> = vec![Vec::new()];
        let mut begin = 0;
        let mut all = Vec::new();
        for size in 0..=most {
            for choice in &chosen[begin..] {
                let built = self.build(&rows, choice);
                all.extend(built.ok_or("its view is too large to be counted")?);
            }
            let mut longer = Vec::new();
            for choice in chosen[begin..].iter().filter(|_| size < most) {
                for next in choice.last().copied().unwrap_or(0)..rows.len() {
                    let table = rows[next].0;
                    let has = choice.iter().filter(|it| rows[**it].0 == table).count();
                    let enough = more.get(&table).copied().unwrap_or_default();
                    if size < 2 || has <= enough {
                        let mut choice = choice.clone();
                        choice.push(next);
                        longer.push(choice);
                    }
                }
            }
            let most_here = if more.is_empty() {
                MOST_POPULATIONS
            } else {
                MOST_LINKED
            };
            if longer.len() > 40 * most_here || all.len() > most_here {
                return Err("it depends on too many columns at once".to_owned());
            }
            begin = chosen.len();
            chosen.extend(longer);
        }
        Ok((all, most))
    }

    /// The database with these rows, or with and without what its view shows, if it is valid.
    ///
    /// `None` if a count is too large.
    fn build(&self, rows: &[(TableId, Cells)], choice: &[usize]) -> Option<Vec<Database>> {
        let mut state = Database::new(&self.projection.layout);
        for it in choice {
            let (table, cells) = &rows[*it];
            let id = state.insert(*table, ReplicaId::INITIAL);
            for (column, values) in cells {
                self.fill(&mut state, id, *column, values)?;
            }
        }
        let mut all = vec![state];
        if let Rule::View(view) = &self.projection.rule
            && let Some(shown) = self.shown(&all[0], view)
        {
            let shown = shown?;
            match self.projection.layout.schema.column(view.column).kind {
                Kind::Plain if shown != all[0] => all.push(shown),
                Kind::Plain | Kind::Set => {}
                Kind::Counter => all = vec![shown],
            }
        }
        let is_valid = |state: &Database| {
            broken(&self.projection.rule, state).is_none() && self.has_keys(state)
        };
        all.retain(is_valid);
        Some(all)
    }

    /// Whether keys are keys: a population with two rows of a key is none.
    fn has_keys(&self, state: &Database) -> bool {
        let layout = &self.projection.layout;
        layout.tables.iter().all(|table| {
            let key = layout.schema.table(*table).key;
            key.is_none_or(|key| {
                let columns = vec![key];
                let rule = Rule::Unique {
                    table: *table,
                    columns,
                };
                !layout.keeps(*table, key) || broken(&rule, state).is_none()
            })
        })
    }

    /// `None` if a count is too large.
    fn fill(&self, state: &mut Database, id: RowId, column: u8, values: &[Value]) -> Option<()> {
        let table = id.table;
        let by = ReplicaId::INITIAL;
        for value in values {
            match self
                .projection
                .layout
                .schema
                .column(ColumnId { table, column })
                .kind
            {
                Kind::Plain => state.assign(id, column, *value, by),
                Kind::Counter => state.count(id, column, value.unwrap_or(0), by)?,
                Kind::Set => value.iter().for_each(|it| state.add(id, column, *it, by)),
            }
        }
        Some(())
    }

    /// With every row of the view showing what its rows give, if that is one value; `Some(None)` if it is too large.
    fn shown(&self, state: &Database, view: &View) -> Option<Option<Database>> {
        let mut shown = state.clone();
        for row in state.rows(view.column.table) {
            let value = aggregate(state, view, row.read(view.key))?;
            if self
                .fill(&mut shown, row.id, view.column.column, &[value])
                .is_none()
            {
                return Some(None);
            }
        }
        Some(Some(shown))
    }
}

/// The column of a bound row that a source is.
fn bound_column(source: Source, operations: &[Operation]) -> Option<ColumnId> {
    let Source::Bound(row, column) = source else {
        return None;
    };
    let mut binding = operations.iter().filter(|it| it.bind() == Some(row));
    let table = binding.next()?.table()?;
    Some(ColumnId { table, column })
}

/// What the plain columns of a row add to a sum; `None` if one is null.
fn plain_sum(row: &Cells, bound: &Bound<'_>) -> Option<i64> {
    let terms = bound.linear.terms.iter();
    let mut plain = terms.filter(|it| !bound.counters.contains(it));
    plain.try_fold(0, |sum, (column, factor)| {
        let (_, values) = row.iter().find(|(its, _)| its == column)?;
        Some(sum + factor * (*values.first()?)?)
    })
}

/// For each column of a check, the values that bring the sum to the bound if one other column has a value that the
/// application names.
fn opposite(
    rule: &Rule,
    constants: &BTreeMap<ColumnId, BTreeSet<Value>>,
) -> Vec<(ColumnId, Value)> {
    let Rule::Check { table, linear } = rule else {
        return Vec::new();
    };
    let id = |column: u8| ColumnId {
        table: *table,
        column,
    };
    let mut all = Vec::new();
    for (column, factor) in &linear.terms {
        for (other, weight) in linear.terms.iter().filter(|it| it.0 != *column) {
            let named = constants.get(&id(*other)).into_iter().flatten().flatten();
            for value in named.filter(|it| it.abs() <= GREATEST) {
                let level = (linear.bound - weight * value).div_euclid(*factor);
                all.extend([level, level + 1].map(|it| (id(*column), Some(it))));
            }
        }
    }
    all
}

/// The constants that an invariant names; sets and bounds of the one that is decided give more.
fn constants_of(
    rule: &Rule,
    decided: &Rule,
    constants: &mut BTreeMap<ColumnId, BTreeSet<Value>>,
) -> Result<(), String> {
    let opposite = opposite(rule, constants);
    let mut add = |column: ColumnId, value: Value| {
        constants.entry(column).or_default().insert(value);
    };
    match rule {
        Rule::Equal(column, value)
        | Rule::NotEqual(column, value)
        | Rule::Contains(column, value)
        | Rule::NotContains(column, value) => add(*column, Some(*value)),
        Rule::NotNull(column) if rule == decided => add(*column, None),
        Rule::NullWhile(its) if rule == decided => {
            add(its.column, None);
            if its.of == its.column.table {
                // A row and two that are its own.
                let (table, column) = (its.of, its.key);
                add(ColumnId { table, column }, Some(3));
            }
            if let Some(column) = its.too {
                let table = its.of;
                add(ColumnId { table, column }, None);
            }
        }
        Rule::View(view) => {
            for (column, filter) in &view.only {
                let table = view.of;
                let column = *column;
                add(
                    ColumnId { table, column },
                    match filter {
                        Filter::Is(value) => *value,
                        Filter::NotNull => None,
                    },
                );
            }
        }
        Rule::Check { table, linear } if rule == decided => {
            opposite
                .iter()
                .for_each(|(column, value)| add(*column, *value));
            for (column, factor) in &linear.terms {
                let level = linear.bound.div_euclid(*factor);
                let (table, column) = (*table, *column);
                for value in [0, level - 1, level, level + 1] {
                    add(ColumnId { table, column }, Some(value));
                }
            }
        }
        Rule::Size(column, comparison, size) if rule == decided => {
            let is_trivial = matches!(comparison, Comparison::NotEqual);
            if *size > GREATEST_SET || is_trivial {
                return Err(format!("bounds on sizes go up to {GREATEST_SET}"));
            }
            (1..=size + 1).for_each(|it| add(*column, Some(it)));
        }
        Rule::Unique { .. }
        | Rule::Sequential { .. }
        | Rule::ForeignKey { .. }
        | Rule::NotNull(_)
        | Rule::NullWhile(_)
        | Rule::Check { .. }
        | Rule::Size(..)
        | Rule::Custom { .. } => {}
    }
    Ok(())
}

/// Whether a rule is of each row alone.
const fn is_of_one_row(rule: &Rule) -> bool {
    match rule {
        Rule::NotNull(_)
        | Rule::Equal(..)
        | Rule::NotEqual(..)
        | Rule::Check { .. }
        | Rule::Contains(..)
        | Rule::NotContains(..)
        | Rule::Size(..) => true,
        Rule::Unique { .. }
        | Rule::Sequential { .. }
        | Rule::ForeignKey { .. }
        | Rule::View(_)
        | Rule::NullWhile(_)
        | Rule::Custom { .. } => false,
    }
}

fn subsets(elements: &BTreeSet<Value>) -> Vec<Vec<Value>> {
    let mut all: Vec<Vec<Value>> = vec![Vec::new()];
    for element in elements.iter().filter(|it| it.is_some()) {
        let with = all.clone().into_iter().map(|mut set| {
            set.push(*element);
            set
        });
        let with: Vec<_> = with.collect();
        all.extend(with);
    }
    all
}
