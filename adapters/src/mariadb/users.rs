//! A table that somebody else has made, whose rows are a site's: [`crate::columns`] says how they are spelled.
//!
//! Invariants:
//! - U1 Two keys that differ are two rows, and the order of keys is the order of rows: columns that pad, or whose collation
//!   takes different texts for one, are refused.
//! - U2 A value that was read and is written back is the same: columns whose text is not all of them are refused.
//! - U3 A put changes the row of its key and no other. `ON DUPLICATE KEY UPDATE` would change whichever row has the same
//!   value in any unique index.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Row;
use participant::{Change, Key, KeyRange, Value};

use super::checks::Checks;
use super::options::{MariaDbOptions, OpenError};
use super::sql::{bytes, identifier};
use crate::columns::{Cell, Kind, Kinds, TableColumns, Values};

/// A table, with the columns that are used of it.
#[derive(Clone, Debug)]
pub(super) struct UsersTable {
    quoted: String,
    /// In backticks, as all names here.
    keys: Vec<String>,
    kinds: Vec<Kind>,
    codec: Kinds,
    values: Vec<String>,
    form: Values,
}

/// What the catalog says of a column.
struct Found {
    name: String,
    kind: String,
    sql_type: String,
    null: bool,
    collation: String,
    has_default: bool,
    is_generated: bool,
}

impl Found {
    /// What kind of a key it is a part of (U1).
    fn key_kind(&self) -> Result<Kind, String> {
        let (name, sql_type) = (&self.name, &self.sql_type);
        if self.null {
            return Err(format!(
                "key column `{name}` may be null; declare it NOT NULL"
            ));
        }
        match self.kind.as_str() {
            "bigint" if sql_type.contains("unsigned") => Err(format!(
                "key column `{name}` is {sql_type}, which has numbers that no signed one has; make it bigint"
            )),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Ok(Kind::Integer),
            "varbinary" => Ok(Kind::Bytes),
            "varchar" if self.collation == "utf8mb4_nopad_bin" => Ok(Kind::Text),
            "varchar" => Err(format!(
                "the collation of key column `{name}` ({}) takes different texts for one; give it utf8mb4_nopad_bin",
                self.collation
            )),
            _ => Err(format!(
                "key column `{name}` is of type {sql_type}; keys are integers, varbinary, or varchar with the collation \
                 utf8mb4_nopad_bin"
            )),
        }
    }

    fn is_bytes(&self) -> bool {
        let bytes = ["tinyblob", "blob", "mediumblob", "longblob", "varbinary"];
        bytes.contains(&self.kind.as_str())
    }

    /// Whether its text is all of it (U2); if not, what to do.
    fn value_fits(&self, alone: bool) -> Result<(), String> {
        let (name, sql_type) = (&self.name, &self.sql_type);
        let points = [
            "bit",
            "binary",
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geometrycollection",
        ];
        match self.kind.as_str() {
            "float" => Err(format!(
                "value column `{name}` is of type float, which shows fewer digits than it has; make it double or decimal"
            )),
            kind if points.contains(&kind) => Err(format!(
                "value column `{name}` is of type {sql_type}, which has no text that can be written back"
            )),
            _ if self.is_bytes() && !alone => Err(format!(
                "value column `{name}` holds bytes: it has to be the only value column, and NOT NULL"
            )),
            _ => Ok(()),
        }
    }
}

impl UsersTable {
    /// Whether the table can have that key, and what is wrong if not.
    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), &'static str> {
        let cells = self.codec.decode(key).map(drop);
        cells.ok_or("spell that key in the columns of its table")
    }

    /// The same for a range: it begins and ends at whole columns.
    pub(super) fn check_range(&self, range: &KeyRange) -> Result<(), &'static str> {
        let ends = [Some(&range.low), range.high.as_ref()];
        for end in ends.into_iter().flatten() {
            let cells = self.codec.decode_start(end).map(drop);
            cells.ok_or("scan a range that begins or ends within a column")?;
        }
        Ok(())
    }

    /// The same for a change.
    pub(super) fn check_change(&self, change: &Change) -> Result<(), &'static str> {
        self.check_key(change.key())?;
        match change {
            Change::Delete(_) => Ok(()),
            // It is a number of eight bytes.
            Change::Increment(..) if self.form == Values::One { bytes: true } => Ok(()),
            Change::Increment(..) => Err("increment a column; read it and write the sum"),
            Change::Put(_, value) => {
                let cells = self.form.decode(value).map(drop);
                cells.ok_or("write a value that does not name exactly the value columns")
            }
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> String {
        let (values, table) = (self.values.join(", "), &self.quoted);
        format!(
            "SELECT SQL_NO_CACHE {values} FROM {table} WHERE {}",
            self.is(key)
        )
    }

    pub(super) fn scan(&self, range: &KeyRange, most: usize) -> String {
        let (keys, values) = (self.keys.join(", "), self.values.join(", "));
        let ends = [
            (Some(&range.low), ">", ">="),
            (range.high.as_ref(), "<", "<"),
        ];
        let ends = ends.into_iter().filter_map(|(end, beyond, at)| {
            let cells = self
                .codec
                .decode_start(end?)
                .expect("the range was checked");
            self.compare(&cells, beyond, at)
        });
        let ends: Vec<String> = ends.collect();
        let condition = if ends.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", ends.join(" AND "))
        };
        format!(
            "SELECT SQL_NO_CACHE {keys}, {values} FROM {}{condition} ORDER BY {keys} LIMIT {most}",
            self.quoted
        )
    }

    /// The first columns of a key against these cells. The server uses no index to compare rows as `(a, b) > (1, 2)`.
    fn compare(&self, cells: &[Cell], beyond: &str, at: &str) -> Option<String> {
        let mut pairs = self.keys.iter().zip(cells).rev();
        let (last, cell) = pairs.next()?;
        let last = format!("{last} {at} {}", literal(cell));
        let all = pairs.fold(last, |rest, (column, cell)| {
            let cell = literal(cell);
            format!("{column} {beyond}= {cell} AND ({column} {beyond} {cell} OR ({rest}))")
        });
        Some(format!("({all})"))
    }

    /// The condition that a row is that of a key.
    fn is(&self, key: &[u8]) -> String {
        let cells = self.codec.decode(key).expect("the key was checked");
        let pairs = self.keys.iter().zip(&cells);
        let all: Vec<String> = pairs
            .map(|(column, cell)| format!("{column} = {}", literal(cell)))
            .collect();
        all.join(" AND ")
    }

    /// The statements that make these changes, which have been checked (U3).
    pub(super) fn changes(&self, changes: &[Change]) -> Vec<String> {
        let mut statements = Vec::new();
        for change in changes {
            let (table, row) = (&self.quoted, self.is(change.key()));
            match change {
                Change::Delete(_) => statements.push(format!("DELETE FROM {table} WHERE {row}")),
                Change::Put(key, value) => {
                    let keys = self.codec.decode(key).expect("the key was checked");
                    let keys = keys.iter().map(literal);
                    let values = self.value_literals(value);
                    let set = self.values.iter().zip(&values);
                    let set: Vec<String> = set
                        .map(|(column, value)| format!("{column} = {value}"))
                        .collect();
                    statements.push(format!("UPDATE {table} SET {} WHERE {row}", set.join(", ")));
                    let columns: Vec<&str> = self
                        .keys
                        .iter()
                        .chain(&self.values)
                        .map(String::as_str)
                        .collect();
                    let literals: Vec<String> = keys.chain(values).collect();
                    statements.push(format!(
                        "INSERT INTO {table} ({}) SELECT {} FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {row})",
                        columns.join(", "),
                        literals.join(", ")
                    ));
                }
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            }
        }
        statements
    }

    fn value_literals(&self, value: &[u8]) -> Vec<String> {
        let cells = self.form.decode(value).expect("the value was checked");
        let cells = cells.into_iter().map(|cell| match cell {
            None => "NULL".to_owned(),
            Some(cell) if self.form == Values::One { bytes: true } => bytes(&cell),
            Some(cell) => text(&cell),
        });
        cells.collect()
    }

    /// The value of a row, whose value columns begin at this place.
    pub(super) fn value(&self, row: &Row, from: usize) -> Value {
        let cells: Vec<Option<&[u8]>> = (from..from + self.values.len())
            .map(|at| cell(row, at))
            .collect();
        self.form.encode(&cells).into()
    }

    /// The key and the value of a row of a scan; `None` if the table is not as it was.
    pub(super) fn pair(&self, row: &Row) -> Option<(Key, Value)> {
        let cells = self.kinds.iter().enumerate().map(|(at, kind)| {
            let cell = cell(row, at)?;
            Some(match kind {
                Kind::Integer => Cell::Integer(std::str::from_utf8(cell).ok()?.parse().ok()?),
                Kind::Text => Cell::Text(String::from_utf8(cell.to_vec()).ok()?),
                Kind::Bytes => Cell::Bytes(cell.to_vec()),
                Kind::Uuid => return None,
            })
        });
        let cells: Vec<Cell> = cells.collect::<Option<_>>()?;
        let key = self.codec.encode(&cells)?;
        Some((key.into(), self.value(row, self.keys.len())))
    }
}

/// What the server said, which is text unless the column holds bytes.
fn cell(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(mysql_async::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

fn literal(cell: &Cell) -> String {
    match cell {
        Cell::Integer(number) => number.to_string(),
        Cell::Text(words) => text(words.as_bytes()),
        Cell::Bytes(content) => bytes(content),
        Cell::Uuid(_) => unreachable!("no key column is a UUID"),
    }
}

/// Text in UTF-8 as a literal: digits, so that nothing in it ends it.
fn text(words: &[u8]) -> String {
    format!("_utf8mb4 {}", bytes(words))
}

impl Checks<'_> {
    /// The table as the site uses it, with its guards.
    ///
    /// # Errors
    /// [`OpenError::UnfitTable`] says what to change.
    pub(super) async fn users(
        &mut self,
        options: &MariaDbOptions,
        columns: &TableColumns,
    ) -> Result<UsersTable, OpenError> {
        let found = self.users_columns().await?;
        let unfit = |why: String| OpenError::UnfitTable {
            table: self.table.quoted(),
            why,
        };
        if found.is_empty() {
            return Err(unfit("there is none of that name".to_owned()));
        }
        let table = fit(self.table.quoted(), columns, &found).map_err(unfit)?;
        let engine = self.engine(self.table.name()).await?.unwrap_or_default();
        if !engine.eq_ignore_ascii_case("InnoDB") {
            return Err(OpenError::NotTransactional {
                table: self.table.quoted(),
                engine,
            });
        }
        let key: BTreeSet<&String> = columns.key.iter().collect();
        let unique = self.unique_indexes().await?;
        if !unique
            .iter()
            .any(|index| index.iter().eq(key.iter().copied()))
        {
            return Err(OpenError::UnfitTable {
                table: self.table.quoted(),
                why: format!(
                    "its key columns ({}) have no unique index of their own; name those of the primary key",
                    columns.key.join(", ")
                ),
            });
        }
        if options.guard {
            self.no_cascades().await?;
        }
        self.guards(false, options.guard).await?;
        Ok(table)
    }

    async fn users_columns(&mut self) -> Result<Vec<Found>, OpenError> {
        let statement = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE = 'YES', IFNULL(COLLATION_NAME, ''), \
             COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%auto_increment%', IS_GENERATED = 'ALWAYS' \
             FROM information_schema.COLUMNS WHERE {} ORDER BY ORDINAL_POSITION",
            self.of_table("TABLE_SCHEMA", "TABLE_NAME", self.table.name())
        );
        type Row = (String, String, String, bool, String, bool, bool);
        let rows = self.session.rows::<Row>(&statement).await;
        let rows = rows.map_err(|fault| self.error(fault))?;
        let found = rows.into_iter().map(
            |(name, kind, sql_type, null, collation, has_default, is_generated)| Found {
                name,
                kind,
                sql_type,
                null,
                collation,
                has_default,
                is_generated,
            },
        );
        Ok(found.collect())
    }

    /// The columns of each unique index that covers them whole.
    async fn unique_indexes(&mut self) -> Result<Vec<BTreeSet<String>>, OpenError> {
        let statement = format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL FROM information_schema.STATISTICS \
             WHERE NON_UNIQUE = 0 AND {}",
            self.of_table("TABLE_SCHEMA", "TABLE_NAME", self.table.name())
        );
        let rows = self
            .session
            .rows::<(String, String, bool)>(&statement)
            .await;
        let mut indexes: BTreeMap<String, (BTreeSet<String>, bool)> = BTreeMap::new();
        for (index, column, part) in rows.map_err(|fault| self.error(fault))? {
            let index = indexes.entry(index).or_default();
            index.0.insert(column);
            index.1 |= part;
        }
        let whole = indexes.into_values().filter(|(_, part)| !part);
        Ok(whole.map(|(columns, _)| columns).collect())
    }

    /// Foreign keys that change rows of the table when those of another change: no trigger sees that.
    async fn no_cascades(&mut self) -> Result<(), OpenError> {
        let statement = format!(
            "SELECT CONSTRAINT_NAME, CONCAT('ON DELETE ', DELETE_RULE, ' ON UPDATE ', UPDATE_RULE) \
             FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE {} \
             AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL'))",
            self.of_table("CONSTRAINT_SCHEMA", "TABLE_NAME", self.table.name())
        );
        match self.texts(&statement).await?.into_iter().next() {
            None => Ok(()),
            Some((name, rules)) => Err(OpenError::UnfitTable {
                table: self.table.quoted(),
                why: format!(
                    "its foreign key `{name}` ({rules}) changes rows past every trigger; give it RESTRICT, or open the site \
                     without a guard and change the other table through nobody"
                ),
            }),
        }
    }
}

/// Finds the declared columns, and looks whether rows can be written with them alone.
fn fit(quoted: String, columns: &TableColumns, found: &[Found]) -> Result<UsersTable, String> {
    let find = |name: &String| {
        let column = found.iter().find(|column| column.name == *name);
        let column = column.ok_or_else(|| format!("it has no column `{name}`"))?;
        if column.is_generated {
            return Err(format!(
                "column `{name}` is generated: nothing can be written to it"
            ));
        }
        Ok(column)
    };
    if columns.key.is_empty() {
        return Err("no column is declared as key".to_owned());
    }
    let kinds = columns.key.iter().map(|name| find(name)?.key_kind());
    let kinds = kinds.collect::<Result<Vec<_>, String>>()?;
    let values = columns.value.iter().map(find);
    let values = values.collect::<Result<Vec<_>, String>>()?;
    let used = |name: &String| columns.key.contains(name) || columns.value.contains(name);
    let missing = |column: &&Found| {
        !column.null && !column.has_default && !column.is_generated && !used(&column.name)
    };
    if let Some(column) = found.iter().find(missing) {
        return Err(format!(
            "column `{}` must have a value and has no default; declare it as value, or give it a default",
            column.name
        ));
    }
    let form = match values.as_slice() {
        [] => return Err("no column is declared as value".to_owned()),
        [one] if !one.null => Values::One {
            bytes: one.is_bytes(),
        },
        _ => Values::Object(columns.value.clone()),
    };
    let alone = matches!(form, Values::One { .. });
    values
        .iter()
        .try_for_each(|column| column.value_fits(alone))?;
    let names = |names: &[String]| names.iter().map(|name| identifier(name)).collect();
    Ok(UsersTable {
        quoted,
        keys: names(&columns.key),
        codec: Kinds::new(kinds.clone()),
        kinds,
        values: names(&columns.value),
        form,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_compared_column_by_column_and_nothing_in_a_value_ends_a_literal() {
        let table = UsersTable {
            quoted: "`bank`.`accounts`".to_owned(),
            keys: vec!["`branch`".to_owned(), "`name`".to_owned()],
            kinds: vec![Kind::Integer, Kind::Text],
            codec: Kinds::new(vec![Kind::Integer, Kind::Text]),
            values: vec!["`balance`".to_owned()],
            form: Values::One { bytes: false },
        };
        let of = |branch: i64, name: &str| -> Key {
            let cells = [Cell::Integer(branch), Cell::Text(name.to_owned())];
            table.codec.encode(&cells).unwrap().into()
        };
        let range = KeyRange {
            low: of(1, "a"),
            high: Some(of(2, "b")),
        };
        assert_eq!(
            table.scan(&range, 9),
            "SELECT SQL_NO_CACHE `branch`, `name`, `balance` FROM `bank`.`accounts` WHERE \
             (`branch` >= 1 AND (`branch` > 1 OR (`name` >= _utf8mb4 x'61'))) AND \
             (`branch` <= 2 AND (`branch` < 2 OR (`name` < _utf8mb4 x'62'))) ORDER BY `branch`, `name` LIMIT 9"
        );
        assert_eq!(
            table.changes(&[
                Change::Put(of(-1, "o'b"), b"1'".as_slice().into()),
                Change::Delete(of(0, ""))
            ]),
            [
                "UPDATE `bank`.`accounts` SET `balance` = _utf8mb4 x'3127' WHERE `branch` = -1 AND `name` = _utf8mb4 x'6f2762'",
                "INSERT INTO `bank`.`accounts` (`branch`, `name`, `balance`) SELECT -1, _utf8mb4 x'6f2762', _utf8mb4 x'3127' \
                 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM `bank`.`accounts` WHERE `branch` = -1 AND `name` = _utf8mb4 x'6f2762')",
                "DELETE FROM `bank`.`accounts` WHERE `branch` = 0 AND `name` = _utf8mb4 x''",
            ]
        );
        assert!(table.check_key(b"short").is_err());
        assert!(
            table
                .check_range(&KeyRange {
                    low: b"half"[..].into(),
                    high: None
                })
                .is_err()
        );
        assert!(
            table
                .check_change(&Change::Increment(of(1, "a"), 1))
                .is_err()
        );
    }
}
