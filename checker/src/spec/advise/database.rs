//! The database of a bounded model: versions of rows and cells, so that every change adds something.
//!
//! - **I1** A plain cell that two replicas assigned without seeing each other has both values: whatever a store makes of
//!   it, one of them, the last or a choice, is among what the invariants are asked about.
//! - **I2** A deletion leaves a tombstone. A cascading deletion also reaches rows that a merge brings later.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::schema::{ColumnId, Kind, Schema, TableId, Value};
use crate::spec::confluence::lattice::{Counters, Grow, Rows, Version, Versioned};
use crate::spec::confluence::{ReplicaId, Semilattice};

/// The most by which a counter changes at once.
pub(super) const GREATEST_COUNT: i64 = 100_000_000;

/// What a model keeps of an application, and its names. All states of a search share one: it is no part of them.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: Schema,
    /// The columns that are kept.
    pub(super) columns: BTreeSet<ColumnId>,
    /// The tables that have one of them.
    pub(super) tables: BTreeSet<TableId>,
}

impl Layout {
    pub(super) fn keeps(&self, table: TableId, column: u8) -> bool {
        self.columns.contains(&ColumnId { table, column })
    }

    fn kind(&self, table: TableId, column: u8) -> Kind {
        self.schema.column(ColumnId { table, column }).kind
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RowId {
    pub(super) table: TableId,
    pub(super) version: Version,
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Cell {
    row: RowId,
    column: u8,
    value: Value,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.row)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Count {
    row: RowId,
    column: u8,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.row)
    }
}

/// A key whose row was deleted, cascading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Gone {
    table: TableId,
    key: i64,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)
    }
}

/// Names are not compared: all states of a search have the same.
#[derive(Debug, Clone)]
struct Names(Arc<Layout>);

impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Names {}
impl Hash for Names {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
impl PartialOrd for Names {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Names {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A state of the database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Database {
    rows: Rows<RowId>,
    cells: Rows<Versioned<Cell>>,
    counts: Counters<Count>,
    gone: Grow<Gone>,
    names: Names,
}

/// A row as it is read: by column, all values that it has at once. A counter has one, a set any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: RowId,
    pub(super) values: Vec<Vec<Value>>,
}

impl Row {
    pub(super) fn of(&self, column: u8) -> &[Value] {
        &self.values[usize::from(column)]
    }

    /// The first of its values: where there are several, a transaction that reads takes it.
    pub(super) fn read(&self, column: u8) -> Value {
        self.of(column).first().copied().flatten()
    }
}

impl Database {
    pub(super) fn new(layout: &Arc<Layout>) -> Self {
        Self {
            rows: Rows::default(),
            cells: Rows::default(),
            counts: Counters::default(),
            gone: Grow::default(),
            names: Names(Arc::clone(layout)),
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.names.0
    }

    /// Adds an empty row.
    pub(super) fn insert(&mut self, table: TableId, by: ReplicaId) -> RowId {
        let written = self.rows.added().filter(|it| it.version.by == by).count();
        let number = u8::try_from(written + 1).expect("a replica of a model inserts few rows");
        let version = Version { by, number };
        let id = RowId { table, version };
        self.rows.insert(id);
        id
    }

    pub(super) fn delete(&mut self, row: RowId) {
        self.rows.delete(row);
    }

    /// Marks the key of a row as gone: what references it is deleted, now and later.
    pub(super) fn cascade(&mut self, table: TableId, keys: &[Value]) {
        for key in keys.iter().copied().flatten() {
            self.gone.insert(Gone { table, key });
        }
    }

    pub(super) fn assign(&mut self, row: RowId, column: u8, value: Value, by: ReplicaId) {
        self.cells
            .delete_if(|it| it.content.row == row && it.content.column == column);
        self.cells.write(Cell { row, column, value }, by);
    }

    /// Increments or decrements a counter; `None` if that is by more than [`GREATEST_COUNT`].
    pub(super) fn count(
        &mut self,
        row: RowId,
        column: u8,
        amount: i64,
        by: ReplicaId,
    ) -> Option<()> {
        let amount = Some(amount).filter(|it| it.abs() <= GREATEST_COUNT)?;
        let amount = i32::try_from(amount).ok()?;
        self.counts.add(Count { row, column }, by, amount);
        Some(())
    }

    pub(super) fn add(&mut self, row: RowId, column: u8, element: i64, by: ReplicaId) {
        let value = Some(element);
        self.cells.write(Cell { row, column, value }, by);
    }

    pub(super) fn remove(&mut self, row: RowId, column: u8, element: i64) {
        let value = Some(element);
        let doomed = Cell { row, column, value };
        self.cells.delete_if(|it| it.content == doomed);
    }

    /// The values of a column in all rows that ever were, deleted or not, with their rows.
    pub(super) fn ever(&self, table: TableId) -> Vec<Row> {
        let rows = self.rows.added().filter(|it| it.table == table);
        rows.map(|id| self.row(*id)).collect()
    }

    /// How many rows of any table this replica has inserted.
    pub(super) fn inserted(&self, by: ReplicaId) -> usize {
        self.rows.added().filter(|it| it.version.by == by).count()
    }

    fn row(&self, id: RowId) -> Row {
        let layout = self.layout();
        let columns = layout.schema.table(id.table).columns.len();
        let mut values = vec![Vec::new(); columns];
        for cell in self.cells.contents().filter(|it| it.row == id) {
            values[usize::from(cell.column)].push(cell.value);
        }
        for (place, values) in (0u8..).zip(&mut values) {
            values.sort_unstable();
            values.dedup();
            match layout.kind(id.table, place) {
                Kind::Plain if values.is_empty() => values.push(None),
                Kind::Counter => {
                    let count = Count {
                        row: id,
                        column: place,
                    };
                    values.push(Some(self.counts.value(&count)));
                }
                Kind::Plain | Kind::Set => {}
            }
        }
        Row { id, values }
    }

    /// The rows of a table that are there.
    pub(super) fn rows(&self, table: TableId) -> Vec<Row> {
        let live = self.rows.live().filter(|it| it.table == table);
        let rows = live.map(|id| self.row(*id));
        if self.gone.iter().next().is_none() {
            return rows.collect();
        }
        let gone = self.all_gone();
        rows.filter(|row| !self.references(row, &gone)).collect()
    }

    pub(super) fn is_there(&self, id: RowId) -> bool {
        self.rows(id.table).iter().any(|row| row.id == id)
    }

    fn references(&self, row: &Row, gone: &BTreeSet<Gone>) -> bool {
        let layout = self.layout();
        let mut keys = layout.schema.foreign_keys();
        keys.any(|(from, to)| {
            let table = to.table;
            let is_gone = |key: i64| gone.contains(&Gone { table, key });
            from.table == row.id.table
                && layout.columns.contains(&from)
                && row
                    .of(from.column)
                    .iter()
                    .flatten()
                    .any(|key| is_gone(*key))
        })
    }

    /// The keys that are gone, also those of rows that are gone because they reference some.
    fn all_gone(&self) -> BTreeSet<Gone> {
        let layout = self.layout();
        let mut gone: BTreeSet<Gone> = self.gone.iter().copied().collect();
        loop {
            let before = gone.len();
            for id in self.rows.added() {
                let row = self.row(*id);
                let key = layout.schema.table(id.table).key;
                let key = key.filter(|key| layout.keeps(id.table, *key));
                let Some(key) = key.filter(|_| self.references(&row, &gone)) else {
                    continue;
                };
                let table = id.table;
                let keys = row.of(key).iter().flatten();
                gone.extend(keys.map(|key| Gone { table, key: *key }));
            }
            if gone.len() == before {
                return gone;
            }
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = self.layout();
        let mut told = Vec::new();
        for table in &layout.tables {
            for row in self.rows(*table) {
                told.push(shown(layout, *table, &row));
            }
        }
        if told.is_empty() {
            return f.write_str("no rows");
        }
        f.write_str(&told.join(", "))
    }
}

/// A row in words: `orders(number 1, warehouse 2)`; where a cell has two values, `1|2`.
fn shown(layout: &Layout, table: TableId, row: &Row) -> String {
    let its = layout.schema.table(table);
    let cells = (0u8..).zip(&its.columns).filter_map(|(place, column)| {
        if !layout.keeps(table, place) {
            return None;
        }
        let values: Vec<String> = row
            .of(place)
            .iter()
            .map(|it| layout.schema.show(*it))
            .collect();
        Some(match column.kind {
            Kind::Plain | Kind::Counter => format!("{} {}", column.name, values.join("|")),
            Kind::Set => format!("{} {{{}}}", column.name, values.join(", ")),
        })
    });
    let cells: Vec<String> = cells.collect();
    format!("{}({})", its.name, cells.join(", "))
}

impl Semilattice for Database {
    fn merge(&self, other: &Self) -> Self {
        Self {
            rows: self.rows.union(&other.rows),
            cells: self.cells.union(&other.cells),
            counts: self.counts.union(&other.counts),
            gone: self.gone.union(&other.gone),
            names: self.names.clone(),
        }
    }
}
