//! One transaction on one replica's state.

use super::database::{Database, Row, RowId};
use super::invariant::aggregate;
use super::schema::{
    CHOSEN, Change, ColumnId, Home, How, Kind, Operation, Pick, Selection, Source, TableId, Value,
};
use crate::spec::confluence::ReplicaId;

/// Runs operations with these parameters; `None` if the transaction aborts itself: a row that it needs is not there,
/// or one that it inserts is deleted already.
pub(super) fn execute(
    operations: &[Operation],
    parameters: &[Value],
    state: &Database,
    at: ReplicaId,
) -> Option<(Database, Vec<Value>)> {
    let mut run = Run {
        state: state.clone(),
        at,
        parameters,
        bound: Vec::new(),
        inserted: Vec::new(),
        partitions: Vec::new(),
    };
    for operation in operations {
        run.operation(operation)?;
    }
    let stays = |id: &RowId| run.state.is_there(*id);
    run.inserted.iter().all(stays).then_some(())?;
    Some((run.state, run.partitions))
}

struct Run<'a> {
    state: Database,
    at: ReplicaId,
    parameters: &'a [Value],
    bound: Vec<(u8, Row)>,
    inserted: Vec<RowId>,
    /// The partitions of the rows that were selected or inserted.
    partitions: Vec<Value>,
}

impl Run<'_> {
    fn operation(&mut self, operation: &Operation) -> Option<()> {
        match operation {
            Operation::Insert {
                table,
                values,
                bind,
            } => {
                let row = self.insert(*table, values)?;
                self.bound.extend(bind.map(|name| (name, row)));
                Some(())
            }
            Operation::Update {
                table,
                rows,
                changes,
            } => {
                for row in self.select(*table, rows)? {
                    for change in changes {
                        self.change(&row, change)?;
                    }
                }
                Some(())
            }
            Operation::Delete {
                table,
                rows,
                cascade,
            } => {
                let key = self.state.layout().schema.table(*table).key;
                for row in self.select(*table, rows)? {
                    if let Some(key) = key.filter(|_| *cascade) {
                        self.state.cascade(*table, row.of(key));
                    }
                    self.state.delete(row.id);
                }
                Some(())
            }
            Operation::Read { table, rows, .. } => self.select(*table, rows).map(|_| ()),
            Operation::Unknown(_) => None,
        }
    }

    fn insert(&mut self, table: TableId, values: &[(u8, Source)]) -> Option<Row> {
        let id = self.state.insert(table, self.at);
        let mut computed = Vec::new();
        for (column, source) in values {
            if !self.state.layout().keeps(table, *column) {
                continue;
            }
            let column = ColumnId {
                table,
                column: *column,
            };
            if matches!(source, Source::Computed | Source::Next) {
                computed.push((column, *source));
                continue;
            }
            let value = self.value(column, *source, None)?;
            self.set(id, column, value)?;
        }
        for (column, source) in computed {
            let row = self.again(id);
            let value = self.value(column, source, Some(&row))?;
            self.set(id, column, value)?;
        }
        let row = self.again(id);
        self.visit(table, &row);
        self.inserted.push(id);
        Some(row)
    }

    fn set(&mut self, row: RowId, column: ColumnId, value: Value) -> Option<()> {
        match self.state.layout().schema.column(column).kind {
            Kind::Counter => {
                let amount = value.unwrap_or(0);
                self.state.count(row, column.column, amount, self.at)?;
            }
            Kind::Plain | Kind::Set => self.state.assign(row, column.column, value, self.at),
        }
        Some(())
    }

    fn again(&self, id: RowId) -> Row {
        let rows = self.state.ever(id.table).into_iter();
        let mut same = rows.filter(|row| row.id == id);
        same.next().expect("the row was inserted")
    }

    fn change(&mut self, row: &Row, change: &Change) -> Option<()> {
        let table = row.id.table;
        let id = ColumnId {
            table,
            column: change.column,
        };
        if !self.state.layout().columns.contains(&id) {
            return Some(());
        }
        let value = self.value(id, change.source, Some(row))?;
        match (change.how, value) {
            (How::Assign, value) => self.state.assign(row.id, id.column, value, self.at),
            (_, None) => return None,
            (How::Increment, Some(amount)) => {
                self.state.count(row.id, id.column, amount, self.at)?;
            }
            (How::Decrement, Some(amount)) => {
                self.state.count(row.id, id.column, -amount, self.at)?;
            }
            (How::Add, Some(element)) => self.state.add(row.id, id.column, element, self.at),
            (How::Remove, Some(element)) => self.state.remove(row.id, id.column, element),
        }
        Some(())
    }

    /// The rows that an operation is of; `None` if it binds one and there is none.
    fn select(&mut self, table: TableId, rows: &Selection) -> Option<Vec<Row>> {
        let mut wanted = Vec::new();
        for (column, source) in &rows.filter {
            let id = ColumnId {
                table,
                column: *column,
            };
            wanted.push((*column, self.value(id, *source, None)?));
        }
        let fits = |row: &Row| {
            let mut wanted = wanted.iter();
            wanted.all(|(column, value)| row.of(*column).contains(value))
        };
        let mut found: Vec<Row> = self.state.rows(table).into_iter().filter(fits).collect();
        match rows.pick {
            Pick::All => {}
            Pick::One(which) => {
                let which = usize::try_from(self.parameters[usize::from(which)]?).ok()?;
                found = found.into_iter().skip(which).take(1).collect();
            }
            Pick::Lowest(column) => {
                found.sort_by_key(|row| row.read(column));
                found.truncate(1);
            }
        }
        if let Some(name) = rows.bind {
            let first = found.first()?.clone();
            found.truncate(1);
            self.bound.push((name, first));
        }
        for row in &found {
            self.visit(table, row);
        }
        Some(found)
    }

    fn visit(&mut self, table: TableId, row: &Row) {
        let home = match &self.state.layout().schema.table(table).home {
            Some(Home::By(column, _)) => row.of(*column).to_vec(),
            Some(Home::Site(_)) | None => Vec::new(),
        };
        self.partitions.extend(home);
    }

    fn value(&self, column: ColumnId, source: Source, row: Option<&Row>) -> Option<Value> {
        Some(match source {
            Source::Constant(value) => value,
            Source::Given(parameter) | Source::Own(parameter) => {
                self.parameters[usize::from(parameter)]
            }
            Source::Unique => {
                let count = i64::try_from(self.state.inserted(self.at)).ok()?;
                Some(CHOSEN + i64::from(self.at.0) * 1000 + count)
            }
            Source::Next => Some(self.next(column, row)?),
            Source::Computed => {
                let view = self.state.layout().schema.view(column)?;
                aggregate(&self.state, view, row?.read(view.key))?
            }
            Source::Bound(name, column) => {
                let row = self.bound.iter().find(|(known, _)| *known == name)?;
                row.1.read(column)
            }
        })
    }

    /// The highest number that was ever in the row's group, plus one.
    fn next(&self, column: ColumnId, row: Option<&Row>) -> Option<i64> {
        let row = row?;
        let groups = self.state.layout().schema.groups(column)?;
        let mut highest = 0;
        for other in self.state.ever(column.table) {
            let same = groups.iter().all(|by| other.read(*by) == row.read(*by));
            if same && other.id != row.id {
                highest = highest.max(other.of(column.column).last().copied().flatten()?);
            }
        }
        Some(highest + 1)
    }
}
