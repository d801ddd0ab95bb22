//! Whether a state is valid: what each rule says of the rows that are there.
//!
//! - **I1** A cell with several values counts as each of them: a rule holds only if it holds for every choice.

use super::database::{Database, Row};
use super::schema::{Aggregate, ColumnId, Filter, Linear, NullWhile, Rule, TableId, Value, View};

/// What is wrong with a state, as a sentence.
pub(super) fn broken(rule: &Rule, state: &Database) -> Option<String> {
    match rule {
        Rule::Unique { table, columns } => duplicate(state, *table, columns),
        Rule::Sequential { column, per } => gap(state, *column, per),
        Rule::ForeignKey { from, to } => dangling(state, *from, *to),
        Rule::NotNull(column) => each_value(state, *column, |value| value.is_some()),
        Rule::Equal(column, wanted) => each_value(state, *column, |it| it == Some(*wanted)),
        Rule::NotEqual(column, never) => each_value(state, *column, |it| it != Some(*never)),
        Rule::Check { table, linear } => check(state, *table, linear),
        Rule::View(view) => stale(state, view),
        Rule::NullWhile(rule) => disagreement(state, rule),
        Rule::Contains(column, element) => {
            each_set(state, *column, |set| set.contains(&Some(*element)))
        }
        Rule::NotContains(column, element) => {
            each_set(state, *column, |set| !set.contains(&Some(*element)))
        }
        Rule::Size(column, comparison, size) => each_set(state, *column, |set| {
            let len = i64::try_from(set.len()).unwrap_or(i64::MAX);
            comparison.holds(len, *size)
        }),
        Rule::Custom { .. } => None,
    }
}

fn name(state: &Database, column: ColumnId) -> String {
    let schema = &state.layout().schema;
    format!(
        "{}.{}",
        schema.table(column.table).name,
        schema.column(column).name
    )
}

fn show(state: &Database, values: &[Value]) -> String {
    let shown = values.iter().map(|it| state.layout().schema.show(*it));
    shown.collect::<Vec<_>>().join(" and ")
}

fn meet(one: &[Value], other: &[Value]) -> bool {
    one.iter()
        .any(|value| value.is_some() && other.contains(value))
}

fn duplicate(state: &Database, table: TableId, columns: &[u8]) -> Option<String> {
    let rows = state.rows(table);
    for (place, row) in rows.iter().enumerate() {
        let same = |other: &&Row| columns.iter().all(|it| meet(row.of(*it), other.of(*it)));
        if rows[..place].iter().any(|other| same(&other)) {
            let shown = columns.iter().map(|column| {
                let column = *column;
                let value = show(state, row.of(column));
                format!("{} {value}", name(state, ColumnId { table, column }))
            });
            let shown: Vec<String> = shown.collect();
            return Some(format!("two rows have {}", shown.join(", ")));
        }
    }
    None
}

fn gap(state: &Database, column: ColumnId, per: &[u8]) -> Option<String> {
    let rows = state.rows(column.table);
    for row in &rows {
        let mut columns = per.iter().chain([&column.column]);
        if let Some(several) = columns.find(|it| row.of(**it).len() != 1) {
            let values = show(state, row.of(*several));
            return Some(format!("a row is numbered or grouped as {values} at once"));
        }
        let group = |other: &&Row| per.iter().all(|it| other.of(*it) == row.of(*it));
        let all = rows.iter().filter(group).map(|it| it.read(column.column));
        let mut numbers: Vec<i64> = all.flatten().collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|two| two[0] + 1 != two[1]) {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let numbers = numbers.join(", ");
            return Some(format!("{} is {numbers} in one group", name(state, column)));
        }
        if row.read(column.column).is_none() {
            return Some(format!("{} is null", name(state, column)));
        }
    }
    None
}

fn dangling(state: &Database, from: ColumnId, to: ColumnId) -> Option<String> {
    let parents = state.rows(to.table);
    for row in state.rows(from.table) {
        for value in row.of(from.column).iter().filter(|it| it.is_some()) {
            let is_it = |parent: &Row| parent.of(to.column) == [*value];
            if !parents.iter().any(is_it) {
                let (from, to) = (name(state, from), name(state, to));
                let value = show(state, &[*value]);
                return Some(format!("{from} is {value}, and no {to} is"));
            }
        }
    }
    None
}

fn each_value(state: &Database, column: ColumnId, holds: impl Fn(Value) -> bool) -> Option<String> {
    let rows = state.rows(column.table);
    let mut values = rows.iter().flat_map(|row| row.of(column.column));
    let wrong = values.find(|value| !holds(**value))?;
    let wrong = show(state, &[*wrong]);
    Some(format!("{} is {wrong}", name(state, column)))
}

fn each_set(
    state: &Database,
    column: ColumnId,
    holds: impl Fn(&[Value]) -> bool,
) -> Option<String> {
    let rows = state.rows(column.table);
    let wrong = rows.iter().find(|row| !holds(row.of(column.column)))?;
    let set = wrong.of(column.column).iter();
    let set: Vec<String> = set.map(|it| state.layout().schema.show(*it)).collect();
    Some(format!("{} is {{{}}}", name(state, column), set.join(", ")))
}

fn check(state: &Database, table: TableId, linear: &Linear) -> Option<String> {
    for row in state.rows(table) {
        let mut sums = vec![Some(0)];
        for (column, factor) in &linear.terms {
            let values = row.of(*column).iter();
            let sum = |value: &Value, sum: &Value| Some(sum.as_ref()? + factor * value.as_ref()?);
            sums = values
                .flat_map(|value| sums.iter().map(move |it| sum(value, it)))
                .collect();
        }
        let mut wrong = sums.iter().flatten();
        let Some(sum) = wrong.find(|it| !linear.comparison.holds(**it, linear.bound)) else {
            continue;
        };
        let shown = linear.terms.iter().map(|(column, _)| {
            let column = *column;
            let value = show(state, row.of(column));
            format!("{} is {value}", name(state, ColumnId { table, column }))
        });
        let shown: Vec<String> = shown.collect();
        let sum = if shown.len() > 1 || linear.terms[0].1 != 1 {
            format!(", which makes {sum}")
        } else {
            String::new()
        };
        return Some(format!("{}{sum}", shown.join(", ")));
    }
    None
}

fn stale(state: &Database, view: &View) -> Option<String> {
    for row in state.rows(view.column.table) {
        for shown in row.of(view.column.column).iter().filter(|it| it.is_some()) {
            for key in row.of(view.key) {
                let column = name(state, view.column);
                let shown = show(state, &[*shown]);
                let Some(value) = aggregate(state, view, *key) else {
                    let why = "but its rows have several values at once";
                    return Some(format!("{column} is {shown}, {why}"));
                };
                let value = show(state, &[value]);
                if value != shown {
                    let rows = format!("its rows give {value}");
                    return Some(format!("{column} is {shown}, and {rows}"));
                }
            }
        }
    }
    None
}

fn disagreement(state: &Database, rule: &NullWhile) -> Option<String> {
    let rows = state.rows(rule.of);
    for row in state.rows(rule.column.table) {
        let cell = row.of(rule.column.column);
        let is_null = truth(cell, |it| it.is_none());
        let told = format!("{} is {}", name(state, rule.column), show(state, cell));
        let table = rule.of;
        let its_table = &state.layout().schema.table(table).name;
        for key in row.of(rule.key) {
            let is_its = |other: &&Row| truth(other.of(rule.by), |it| it.is_some() && it == *key);
            if let Some(column) = rule.too {
                // Rows that may be its own count as such.
                let own = rows.iter().filter(|other| is_its(other) != Some(false));
                let mut other = own.map(|it| it.of(column));
                let agrees = |other: &[Value]| {
                    is_null.is_some() && truth(other, |it| it.is_none()) == is_null
                };
                if let Some(other) = other.find(|it| !agrees(it)) {
                    let column = name(state, ColumnId { table, column });
                    let other = show(state, other);
                    return Some(format!("{told}, and its {column} is {other}"));
                }
                continue;
            }
            let all: Vec<Option<bool>> = rows.iter().map(|other| is_its(&other)).collect();
            // Some row is its own whatever is chosen, none is, or that depends on the choice.
            let has = if all.contains(&Some(true)) {
                Some(true)
            } else if all.contains(&None) {
                None
            } else {
                Some(false)
            };
            let what = match has {
                _ if has.is_some() && has == is_null => continue,
                Some(true) => "it has a row of",
                Some(false) => "it has no row of",
                None => "it may or may not have a row of",
            };
            return Some(format!("{told}, and {what} {its_table}"));
        }
    }
    None
}

/// What the rows of a view give for a key; `None` if that depends on a choice among several values.
pub(super) fn aggregate(state: &Database, view: &View, key: Value) -> Option<Value> {
    let mut values = Vec::new();
    for row in state.rows(view.of) {
        let mut counts = truth(row.of(view.by), |it| it.is_some() && it == key)?;
        for (column, filter) in &view.only {
            counts &= truth(row.of(*column), |value| match filter {
                Filter::Is(wanted) => value == *wanted,
                Filter::NotNull => value.is_some(),
            })?;
        }
        if !counts {
            continue;
        }
        let column = match view.aggregate {
            Aggregate::Count => view.by,
            Aggregate::Sum(column) | Aggregate::Max(column) => column,
        };
        let [value] = row.of(column) else {
            return None;
        };
        values.push(*value);
    }
    let known = values.iter().flatten();
    Some(match view.aggregate {
        Aggregate::Count => Some(i64::try_from(values.len()).ok()?),
        Aggregate::Sum(_) => Some(known.sum()),
        Aggregate::Max(_) => known.max().copied(),
    })
}

/// Whether something is so of all values, or of none; otherwise `None`.
fn truth(values: &[Value], is_so: impl Fn(Value) -> bool) -> Option<bool> {
    let so = values.iter().filter(|it| is_so(**it)).count();
    (so == 0 || so == values.len()).then_some(so == values.len())
}
