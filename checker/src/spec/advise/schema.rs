//! An application as its author states it, with every name resolved.
//!
//! - **I1** Every table, column, parameter and bound row that is referred to by number exists.
//! - **I2** A change fits the column that it is of: counters are counted, sets are added to and removed from, and
//!   other columns are assigned.

use serde::Serialize;

/// The number of a table.
pub(super) type TableId = u8;

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ColumnId {
    pub(super) table: TableId,
    pub(super) column: u8,
}

/// A value; `None` is null. Words are numbers from [`WORDS`], chosen identifiers from [`CHOSEN`].
pub(super) type Value = Option<i64>;

/// The first number that stands for a word of the application.
pub(super) const WORDS: i64 = 1_000_000_000;
/// The first number that stands for an identifier that a replica composed.
pub(super) const CHOSEN: i64 = 2_000_000_000;
/// The greatest number that an application may name.
pub(super) const GREATEST: i64 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) tables: Vec<Table>,
    pub(super) words: Vec<String>,
    pub(super) invariants: Vec<Invariant>,
    pub(super) types: Vec<Type>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) key: Option<u8>,
    pub(super) home: Option<Home>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// How concurrent changes of a column are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Assigned values that have not seen each other all stay.
    Plain,
    /// All increments and decrements count.
    Counter,
    /// Additions stay unless a removal has seen them.
    Set,
}

/// Where the rows of a table live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// All at this site.
    Site(String),
    /// Rows that agree on this column at one site; tables whose partitions have the same name live together.
    By(u8, String),
}

/// Where an ordering point is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Site {
    /// The site of this name.
    Named(String),
    /// For each partition of this name, the site of its rows.
    Of(String),
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "the site {name}"),
            Self::Of(column) => write!(f, "the site of its own {column}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invariant {
    pub(super) name: String,
    pub(super) rule: Rule,
}

/// What must hold in every valid state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Unique {
        table: TableId,
        columns: Vec<u8>,
    },
    /// In each group, the values follow one another without a gap, each once.
    Sequential {
        column: ColumnId,
        per: Vec<u8>,
    },
    ForeignKey {
        from: ColumnId,
        to: ColumnId,
    },
    NotNull(ColumnId),
    Equal(ColumnId, i64),
    NotEqual(ColumnId, i64),
    Check {
        table: TableId,
        linear: Linear,
    },
    View(View),
    NullWhile(NullWhile),
    Contains(ColumnId, i64),
    NotContains(ColumnId, i64),
    Size(ColumnId, Comparison, i64),
    /// Text that nobody but its author understands; if it names no tables, it may be of all.
    Custom {
        text: String,
        tables: Option<Vec<TableId>>,
    },
}

/// A column that is computed of rows: null is not computed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) column: ColumnId,
    pub(super) key: u8,
    pub(super) aggregate: Aggregate,
    pub(super) of: TableId,
    /// The column of the rows that has the key of the view's row.
    pub(super) by: u8,
    pub(super) only: Vec<(u8, Filter)>,
}

/// A column that is null exactly while something is so of the rows that have the key of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NullWhile {
    pub(super) column: ColumnId,
    pub(super) key: u8,
    pub(super) of: TableId,
    /// The column of the rows that has the key.
    pub(super) by: u8,
    /// The column of theirs that is null as long, in each of them; if there is none, they are there as long.
    pub(super) too: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Count,
    Sum(u8),
    Max(u8),
}

/// Which rows count for a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Is(Value),
    NotNull,
}

/// A sum of columns, each times a factor, compared with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linear {
    pub(super) terms: Vec<(u8, i64)>,
    pub(super) comparison: Comparison,
    pub(super) bound: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
    NotEqual,
}

impl Comparison {
    pub(super) const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::AtLeast => left >= right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::Below => left < right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

/// A transaction type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    pub(super) operations: Vec<Operation>,
    /// What its author says; `None` is to be found out.
    pub(super) depends_on_reads: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Insert {
        table: TableId,
        values: Vec<(u8, Source)>,
        /// The number under which later operations know the row.
        bind: Option<u8>,
    },
    Update {
        table: TableId,
        rows: Selection,
        changes: Vec<Change>,
    },
    Delete {
        table: TableId,
        rows: Selection,
        cascade: bool,
    },
    Read {
        table: TableId,
        rows: Selection,
        columns: Vec<u8>,
    },
    Unknown(String),
}

impl Operation {
    pub(super) const fn table(&self) -> Option<TableId> {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Read { table, .. } => Some(*table),
            Self::Unknown(_) => None,
        }
    }

    pub(super) const fn selection(&self) -> Option<&Selection> {
        match self {
            Self::Update { rows, .. } | Self::Delete { rows, .. } | Self::Read { rows, .. } => {
                Some(rows)
            }
            Self::Insert { .. } | Self::Unknown(_) => None,
        }
    }

    /// The number of the row that it binds.
    pub(super) const fn bind(&self) -> Option<u8> {
        match self {
            Self::Insert { bind, .. } => *bind,
            Self::Update { rows, .. } | Self::Delete { rows, .. } | Self::Read { rows, .. } => {
                rows.bind
            }
            Self::Unknown(_) => None,
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// Which rows an operation is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// Only rows of the transaction's own partition.
    pub(super) own: bool,
    pub(super) filter: Vec<(u8, Source)>,
    pub(super) pick: Pick,
    /// The number under which later operations know the row.
    pub(super) bind: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    All,
    /// Any one of them: the parameter says which.
    One(u8),
    /// The one with the lowest value in this column.
    Lowest(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) column: u8,
    pub(super) how: How,
    pub(super) source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Assign,
    Increment,
    Decrement,
    Add,
    Remove,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Constant(Value),
    /// Chosen by the client: the parameter of this number.
    Given(u8),
    /// The transaction's own partition, which is a parameter, too.
    Own(u8),
    /// A new identifier, no matter which.
    Unique,
    /// The highest of the group plus one.
    Next,
    /// What the view's rows give, as the transaction sees them.
    Computed,
    /// A column of a row that an earlier operation bound.
    Bound(u8, u8),
}

impl Schema {
    pub(super) fn table(&self, table: TableId) -> &Table {
        &self.tables[usize::from(table)]
    }

    pub(super) fn column(&self, id: ColumnId) -> &Column {
        &self.table(id.table).columns[usize::from(id.column)]
    }

    pub(super) fn show(&self, value: Value) -> String {
        let Some(number) = value else {
            return "null".to_owned();
        };
        if number >= CHOSEN {
            let (replica, count) = ((number - CHOSEN) / 1000, (number - CHOSEN) % 1000);
            return format!("r{replica}.{count}");
        }
        let word = usize::try_from(number - WORDS).ok();
        let word = word.and_then(|it| self.words.get(it));
        word.map_or_else(|| number.to_string(), Clone::clone)
    }

    /// The foreign keys: who references, and what.
    pub(super) fn foreign_keys(&self) -> impl Iterator<Item = (ColumnId, ColumnId)> {
        self.invariants.iter().filter_map(|it| {
            let Rule::ForeignKey { from, to } = &it.rule else {
                return None;
            };
            Some((*from, *to))
        })
    }

    /// The groups in which a column is numbered, if an invariant says so.
    pub(super) fn groups(&self, column: ColumnId) -> Option<&[u8]> {
        self.invariants.iter().find_map(|it| {
            let Rule::Sequential { column: its, per } = &it.rule else {
                return None;
            };
            (*its == column).then_some(per.as_slice())
        })
    }

    /// The view that a column is.
    pub(super) fn view(&self, column: ColumnId) -> Option<&View> {
        self.invariants.iter().find_map(|it| {
            let Rule::View(view) = &it.rule else {
                return None;
            };
            (view.column == column).then_some(view)
        })
    }
}

impl Rule {
    /// The columns that it speaks of.
    pub(super) fn columns(&self) -> Vec<ColumnId> {
        let of = |table, columns: &[u8]| -> Vec<ColumnId> {
            let columns = columns.iter().copied();
            columns.map(|column| ColumnId { table, column }).collect()
        };
        match self {
            Self::Unique { table, columns } => of(*table, columns),
            Self::Sequential { column, per } => {
                let mut all = of(column.table, per);
                all.push(*column);
                all
            }
            Self::ForeignKey { from, to } => vec![*from, *to],
            Self::NotNull(column)
            | Self::Equal(column, _)
            | Self::NotEqual(column, _)
            | Self::Contains(column, _)
            | Self::NotContains(column, _)
            | Self::Size(column, ..) => vec![*column],
            Self::Check { table, linear } => {
                let columns: Vec<u8> = linear.terms.iter().map(|(column, _)| *column).collect();
                of(*table, &columns)
            }
            Self::View(view) => view.columns(),
            Self::NullWhile(rule) => {
                let mut all = vec![rule.column];
                all.extend(of(rule.column.table, &[rule.key]));
                all.extend(of(rule.of, &[rule.by]));
                all.extend(rule.too.into_iter().flat_map(|it| of(rule.of, &[it])));
                all
            }
            Self::Custom { .. } => Vec::new(),
        }
    }

    /// The column that has the keys of another, if there are two such that are no foreign key.
    pub(super) fn link(&self) -> Option<(ColumnId, ColumnId)> {
        let (of, by, table, key) = match self {
            Self::View(view) => (view.of, view.by, view.column.table, view.key),
            Self::NullWhile(rule) => (rule.of, rule.by, rule.column.table, rule.key),
            Self::Unique { .. }
            | Self::Sequential { .. }
            | Self::ForeignKey { .. }
            | Self::NotNull(_)
            | Self::Equal(..)
            | Self::NotEqual(..)
            | Self::Check { .. }
            | Self::Contains(..)
            | Self::NotContains(..)
            | Self::Size(..)
            | Self::Custom { .. } => return None,
        };
        let id = |table, column| ColumnId { table, column };
        Some((id(of, by), id(table, key)))
    }
}

impl View {
    pub(super) fn columns(&self) -> Vec<ColumnId> {
        let source = |column| ColumnId {
            table: self.of,
            column,
        };
        let key = ColumnId {
            table: self.column.table,
            column: self.key,
        };
        let mut all = vec![self.column, key, source(self.by)];
        match self.aggregate {
            Aggregate::Count => {}
            Aggregate::Sum(column) | Aggregate::Max(column) => all.push(source(column)),
        }
        all.extend(self.only.iter().map(|(column, _)| source(*column)));
        all
    }
}
