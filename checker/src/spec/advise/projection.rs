//! What of an application one invariant depends on: the columns that are kept, and the operations on them.
//!
//! - **I1** What is left out changes nothing that is kept: the columns that conditions, numbers, views and cascades of
//!   kept operations read are kept, too.
//!
//! A type whose other operations are refused for the sake of another invariant commits less often than here, so that
//! what is confluent here is confluent there: states that are valid for all invariants together are fewer.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::database::Layout;
use super::schema::{
    ColumnId, Home, Operation, Pick, Rule, Schema, Selection, Site, Source, TableId,
};

/// An application as one invariant sees it.
pub(super) struct Projection {
    pub(super) layout: Arc<Layout>,
    pub(super) rule: Rule,
    /// The types that can change whether the invariant holds, by number, with what they do to it.
    pub(super) types: Vec<(usize, Vec<Operation>)>,
}

impl Projection {
    pub(super) fn of(schema: &Schema, rule: &Rule) -> Self {
        let mut columns: BTreeSet<ColumnId> = rule.columns().into_iter().collect();
        loop {
            let before = columns.len();
            let tables = tables_of(&columns);
            for table in &tables {
                if let Some(Home::By(column, _)) = &schema.table(*table).home {
                    let (table, column) = (*table, *column);
                    columns.insert(ColumnId { table, column });
                }
            }
            for types in &schema.types {
                let operations = kept(schema, &columns, &types.operations);
                for operation in &operations {
                    needs(schema, operation, &mut columns);
                }
                columns.extend(bound_columns(&operations, &columns));
            }
            if columns.len() == before {
                break;
            }
        }
        let types = schema.types.iter().enumerate().filter_map(|(number, it)| {
            let operations = kept(schema, &columns, &it.operations);
            let touches = operations.iter().any(Operation::is_write);
            touches.then_some((number, operations))
        });
        let types = types.collect();
        let tables = tables_of(&columns);
        let layout = Layout {
            schema: schema.clone(),
            columns,
            tables,
        };
        Self {
            layout: Arc::new(layout),
            rule: rule.clone(),
            types,
        }
    }

    /// The one site at which all of a type's kept operations find their rows, if there is one.
    pub(super) fn site(&self, operations: &[Operation]) -> Option<Site> {
        let schema = &self.layout.schema;
        let mut sites = operations.iter().map(|operation| {
            let table = schema.table(operation.table()?);
            match (&table.home, operation) {
                (Some(Home::Site(site)), _) => Some(Site::Named(site.clone())),
                (Some(Home::By(by, name)), operation) => {
                    let is_own = match operation {
                        Operation::Insert { values, .. } => {
                            values.iter().any(|(column, source)| {
                                column == by && matches!(source, Source::Own(_))
                            })
                        }
                        Operation::Update { rows, .. }
                        | Operation::Delete { rows, .. }
                        | Operation::Read { rows, .. } => rows.own,
                        Operation::Unknown(_) => false,
                    };
                    is_own.then(|| Site::Of(name.clone()))
                }
                (None, _) => None,
            }
        });
        let first = sites.next()??;
        sites
            .all(|site| site.as_ref() == Some(&first))
            .then_some(first)
    }
}

fn tables_of(columns: &BTreeSet<ColumnId>) -> BTreeSet<TableId> {
    columns.iter().map(|it| it.table).collect()
}

/// The operations that can change what is kept, and those that bind rows for them.
fn kept(schema: &Schema, columns: &BTreeSet<ColumnId>, all: &[Operation]) -> Vec<Operation> {
    let tables = tables_of(columns);
    let mut wanted: BTreeSet<u8> = BTreeSet::new();
    let mut kept = Vec::new();
    for operation in all.iter().rev() {
        let binds = operation.bind();
        let changes = match operation {
            Operation::Insert { table, .. } => tables.contains(table),
            Operation::Update { table, changes, .. } => changes.iter().any(|it| {
                let (table, column) = (*table, it.column);
                columns.contains(&ColumnId { table, column })
            }),
            Operation::Delete { table, cascade, .. } => {
                tables.contains(table) || (*cascade && reaches(schema, *table, &tables))
            }
            Operation::Read { .. } | Operation::Unknown(_) => false,
        };
        if !changes && binds.is_none_or(|it| !wanted.contains(&it)) {
            continue;
        }
        for (_, source) in sources(operation, columns) {
            if let Source::Bound(row, _) = source {
                wanted.insert(row);
            }
        }
        kept.push(operation.clone());
    }
    kept.reverse();
    kept
}

/// Whether a cascade from this table can delete rows of those.
fn reaches(schema: &Schema, from: TableId, tables: &BTreeSet<TableId>) -> bool {
    let mut met = BTreeSet::from([from]);
    loop {
        let before = met.len();
        for (child, parent) in schema.foreign_keys() {
            if met.contains(&parent.table) {
                met.insert(child.table);
            }
        }
        if met.len() == before {
            return met.iter().any(|it| *it != from && tables.contains(it));
        }
    }
}

/// The values that an operation uses, with their columns: those of conditions, and of columns that are kept.
pub(super) fn sources(operation: &Operation, kept: &BTreeSet<ColumnId>) -> Vec<(ColumnId, Source)> {
    let Some(table) = operation.table() else {
        return Vec::new();
    };
    let id = |column| ColumnId { table, column };
    let mut all = Vec::new();
    if let Some(rows) = operation.selection() {
        all.extend(
            rows.filter
                .iter()
                .map(|(column, source)| (id(*column), *source)),
        );
    }
    let written: Vec<(u8, Source)> = match operation {
        Operation::Insert { values, .. } => values.clone(),
        Operation::Update { changes, .. } => {
            let changes = changes.iter();
            changes.map(|it| (it.column, it.source)).collect()
        }
        Operation::Delete { .. } | Operation::Read { .. } | Operation::Unknown(_) => Vec::new(),
    };
    let written = written
        .into_iter()
        .map(|(column, source)| (id(column), source));
    all.extend(written.filter(|(column, _)| kept.contains(column)));
    all
}

/// The columns that a kept operation reads.
fn needs(schema: &Schema, operation: &Operation, columns: &mut BTreeSet<ColumnId>) {
    let Some(table) = operation.table() else {
        return;
    };
    let id = |column| ColumnId { table, column };
    if let Some(Selection { filter, pick, .. }) = operation.selection() {
        columns.extend(filter.iter().map(|(column, _)| id(*column)));
        if let Pick::Lowest(column) = pick {
            columns.insert(id(*column));
        }
        // A row that is only bound or deleted must be there: its table is kept by its key or first column.
        columns.insert(id(schema.table(table).key.unwrap_or(0)));
    }
    for (column, source) in sources(operation, columns) {
        match source {
            Source::Next => {
                let groups = schema.groups(column).unwrap_or_default();
                columns.extend(groups.iter().map(|it| id(*it)));
            }
            Source::Computed => {
                columns.extend(schema.view(column).into_iter().flat_map(|it| it.columns()));
            }
            Source::Bound(..)
            | Source::Constant(_)
            | Source::Given(_)
            | Source::Own(_)
            | Source::Unique => {}
        }
    }
    if let Operation::Delete { cascade: true, .. } = operation {
        for (child, parent) in schema.foreign_keys() {
            if parent.table == table || columns.contains(&parent) {
                columns.extend([child, parent]);
            }
        }
    }
}

/// The columns of bound rows that operations use: they are kept with the operation that binds them.
fn bound_columns(operations: &[Operation], kept: &BTreeSet<ColumnId>) -> Vec<ColumnId> {
    let mut tables = Vec::new();
    for operation in operations {
        if let Some(bind) = operation.bind() {
            tables.extend(operation.table().map(|table| (bind, table)));
        }
    }
    let used = operations.iter().flat_map(|it| sources(it, kept));
    let bound = used.filter_map(|(_, source)| match source {
        Source::Bound(row, column) => {
            let (_, table) = tables.iter().find(|(known, _)| *known == row)?;
            Some(ColumnId {
                table: *table,
                column,
            })
        }
        Source::Constant(_)
        | Source::Given(_)
        | Source::Own(_)
        | Source::Unique
        | Source::Next
        | Source::Computed => None,
    });
    bound.collect()
}
