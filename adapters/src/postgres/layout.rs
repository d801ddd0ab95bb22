//! Which table the rows are in, which of its columns are key and value, and the statements that follow from that.
//!
//! Invariants:
//! - Y1 Two keys that differ are two rows, and the order of keys is the order of rows: columns whose collation takes
//!   different texts for one, and types that are spelled in several ways, are refused.
//! - Y2 Prepared transactions take no parameters, so keys and values stand in the text of a branch. Each is a literal in
//!   quotes, with a cast.

use std::fmt::Write;

use participant::{Change, Key, KeyRange, Value};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::sql::{identifier, text};
use crate::columns::{Cell, Kind, Kinds, Values};

/// A parameter of a prepared statement.
pub(super) type Parameter = Box<dyn ToSql + Sync + Send>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    /// In quotes.
    pub(super) name: String,
    /// The server's name for its type, with what belongs to it.
    pub(super) sql_type: String,
}

/// A table, with the columns that are used of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    quoted: String,
    keys: Vec<Column>,
    kinds: Vec<Kind>,
    codec: Kinds,
    values: Vec<Column>,
    form: Values,
}

fn push(sql: &mut String, arguments: std::fmt::Arguments<'_>) {
    sql.write_fmt(arguments).expect("a string takes all");
}

impl Layout {
    pub(super) fn new(
        schema: &str,
        table: &str,
        keys: Vec<(Column, Kind)>,
        values: Vec<Column>,
        form: Values,
    ) -> Self {
        let (keys, kinds): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        Self {
            quoted: format!("{}.{}", identifier(schema), identifier(table)),
            keys,
            codec: Kinds::new(kinds.clone()),
            kinds,
            values,
            form,
        }
    }

    /// The adapter's own table: a key and a value, both bytes.
    pub(super) fn own(schema: &str, table: &str) -> Self {
        let column = |name| Column {
            name: identifier(name),
            sql_type: "bytea".to_owned(),
        };
        let keys = vec![(column("key"), Kind::Bytes)];
        let form = Values::One { bytes: true };
        Self::new(schema, table, keys, vec![column("value")], form)
    }

    /// Whether every range has a statement of its own.
    pub(super) fn scans_by_parameters(&self) -> bool {
        self.keys.len() == 1
    }

    /// Whether the table can have that key, and what is wrong if not.
    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), &'static str> {
        let cells = self.codec.decode(key);
        let cells = cells.ok_or("spell that key in the columns of its table")?;
        storable(&cells)
    }

    /// The same for a change.
    pub(super) fn check_change(&self, change: &Change) -> Result<(), &'static str> {
        self.check_key(change.key())?;
        match change {
            Change::Delete(_) => Ok(()),
            Change::Increment(..) if self.is_number() => Ok(()),
            Change::Increment(..) => Err("increment a column; read it and write the sum"),
            Change::Put(_, value) => {
                let cells = self.form.decode(value);
                let cells =
                    cells.ok_or("write a value that does not name exactly the value columns")?;
                let bytes = self.form == Values::One { bytes: true };
                let zero = |cell: &Vec<u8>| cell.contains(&0);
                if !bytes && cells.iter().flatten().any(zero) {
                    return Err("store a zero byte in a text column");
                }
                Ok(())
            }
        }
    }

    /// Whether the value may be a number of eight bytes.
    fn is_number(&self) -> bool {
        self.form == Values::One { bytes: true }
    }

    /// The same for a range: it begins and ends at whole columns.
    pub(super) fn check_range(&self, range: &KeyRange) -> Result<(), &'static str> {
        let ends = [Some(&range.low), range.high.as_ref()];
        for end in ends.into_iter().flatten() {
            let cells = self.codec.decode_start(end);
            let cells = cells.ok_or("scan a range that begins or ends within a column")?;
            storable(&cells)?;
        }
        Ok(())
    }

    pub(super) fn get(&self) -> String {
        let values = self.value_list();
        let mut sql = format!("SELECT {values} FROM {} WHERE ", self.quoted);
        for (at, (column, kind)) in self.keys.iter().zip(&self.kinds).enumerate() {
            let and = if at == 0 { "" } else { " AND " };
            push(
                &mut sql,
                format_args!("{and}{} = ${}::{}", column.name, at + 1, cast(*kind)),
            );
        }
        sql
    }

    /// The cells of a key, as the parameters of [`Layout::get`].
    pub(super) fn parameters(&self, key: &[u8]) -> Option<Vec<Parameter>> {
        let cells = self.codec.decode(key)?;
        Some(cells.into_iter().map(parameter).collect())
    }

    /// A range of a key of one column: `$1` is its begin, `$2` how many rows, and `$3` its end if it has one.
    pub(super) fn scan(&self, bounded: bool) -> String {
        let (Some(column), Some(kind)) = (self.keys.first(), self.kinds.first()) else {
            unreachable!("a key has a column");
        };
        let (ordered, cast) = (ordered(column, *kind), cast(*kind));
        let end = if bounded {
            format!(" AND {ordered} < $3::{cast}")
        } else {
            String::new()
        };
        format!(
            "SELECT {}, {} FROM {} WHERE {ordered} >= $1::{cast}{end} ORDER BY {ordered} LIMIT $2",
            self.key_list(),
            self.value_list(),
            self.quoted
        )
    }

    /// The statement for a range of a key of several columns.
    pub(super) fn scan_range(&self, range: &KeyRange, most: i64) -> Option<String> {
        let mut sql = format!(
            "SELECT {}, {} FROM {}",
            self.key_list(),
            self.value_list(),
            self.quoted
        );
        let ends = [(Some(&range.low), ">="), (range.high.as_ref(), "<")];
        let mut word = " WHERE";
        for (end, compared) in ends {
            let Some(end) = end.filter(|end| !end.is_empty()) else {
                continue;
            };
            let cells = self.codec.decode_start(end)?;
            let columns = self.order_list(cells.len());
            let literals: Vec<String> = cells.iter().map(literal).collect();
            push(
                &mut sql,
                format_args!("{word} ({columns}) {compared} ({})", literals.join(", ")),
            );
            word = " AND";
        }
        let columns = self.order_list(self.keys.len());
        push(&mut sql, format_args!(" ORDER BY {columns} LIMIT {most}"));
        Some(sql)
    }

    fn order_list(&self, count: usize) -> String {
        let columns = self.keys.iter().zip(&self.kinds).take(count);
        let columns: Vec<String> = columns.map(|(it, kind)| ordered(it, *kind)).collect();
        columns.join(", ")
    }

    fn key_list(&self) -> String {
        let columns = self.keys.iter().zip(&self.kinds);
        let columns: Vec<String> = columns
            .map(|(Column { name, .. }, kind)| match kind {
                Kind::Uuid => format!("uuid_send({name})"),
                Kind::Integer => format!("{name}::bigint"),
                Kind::Text => format!("{name}::text"),
                Kind::Bytes => name.clone(),
            })
            .collect();
        columns.join(", ")
    }

    fn value_list(&self) -> String {
        let bytes = self.form == Values::One { bytes: true };
        let columns = self.values.iter().map(|Column { name, .. }| {
            if bytes {
                name.clone()
            } else {
                format!("{name}::text")
            }
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The value of a row, whose value columns begin at this place.
    pub(super) fn value(&self, row: &Row, from: usize) -> Value {
        if self.form == (Values::One { bytes: true }) {
            return row.get::<_, &[u8]>(from).into();
        }
        let cells = (from..from + self.values.len()).map(|at| row.get::<_, Option<&str>>(at));
        let cells: Vec<Option<&[u8]>> = cells.map(|cell| cell.map(str::as_bytes)).collect();
        self.form.encode(&cells).into()
    }

    /// The key and the value of a row of a scan.
    pub(super) fn pair(&self, row: &Row) -> (Key, Value) {
        let cells = self.kinds.iter().enumerate().map(|(at, kind)| match kind {
            Kind::Integer => Cell::Integer(row.get(at)),
            Kind::Text => Cell::Text(row.get(at)),
            Kind::Bytes => Cell::Bytes(row.get(at)),
            Kind::Uuid => {
                let bytes: &[u8] = row.get(at);
                Cell::Uuid(bytes.try_into().expect("a UUID has sixteen bytes"))
            }
        });
        let cells: Vec<Cell> = cells.collect();
        let key = self.codec.encode(&cells).expect("cells of these columns");
        (key.into(), self.value(row, self.keys.len()))
    }

    /// The statements that make these changes, which have been checked.
    pub(super) fn changes(&self, changes: &[Change]) -> String {
        let mut sql = String::new();
        let mut deletes: Vec<&Key> = Vec::new();
        let columns: Vec<&str> = self.columns().collect();
        let mut first = true;
        for change in changes {
            let (key, value) = match change {
                Change::Put(key, value) => (key, value),
                Change::Delete(key) => {
                    deletes.push(key);
                    continue;
                }
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            };
            let row = self.row(key, value);
            if first {
                push(
                    &mut sql,
                    format_args!(
                        "INSERT INTO {} ({}) VALUES ({row})",
                        self.quoted,
                        columns.join(", ")
                    ),
                );
            } else {
                push(&mut sql, format_args!(", ({row})"));
            }
            first = false;
        }
        if !first {
            let set = self.values.iter();
            let set: Vec<String> = set
                .map(|Column { name, .. }| format!("{name} = excluded.{name}"))
                .collect();
            let keys: Vec<&str> = self.keys.iter().map(|it| it.name.as_str()).collect();
            push(
                &mut sql,
                format_args!(
                    " ON CONFLICT ({}) DO UPDATE SET {};",
                    keys.join(", "),
                    set.join(", ")
                ),
            );
        }
        if !deletes.is_empty() {
            let keys: Vec<&str> = self.keys.iter().map(|it| it.name.as_str()).collect();
            let rows: Vec<String> = deletes.into_iter().map(|it| self.key_row(it)).collect();
            push(
                &mut sql,
                format_args!(
                    "DELETE FROM {} WHERE ({}) IN ({});",
                    self.quoted,
                    keys.join(", "),
                    rows.join(", ")
                ),
            );
        }
        sql
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        let columns = self.keys.iter().chain(&self.values);
        columns.map(|column| column.name.as_str())
    }

    fn key_row(&self, key: &[u8]) -> String {
        let cells = self.codec.decode(key).expect("the key was checked");
        let literals: Vec<String> = cells.iter().map(literal).collect();
        format!("({})", literals.join(", "))
    }

    fn row(&self, key: &[u8], value: &[u8]) -> String {
        let cells = self.codec.decode(key).expect("the key was checked");
        let mut literals: Vec<String> = cells.iter().map(literal).collect();
        let bytes = self.form == Values::One { bytes: true };
        let cells = self.form.decode(value).expect("the value was checked");
        for (cell, Column { sql_type, .. }) in cells.iter().zip(&self.values) {
            literals.push(match cell {
                None => "NULL".to_owned(),
                Some(cell) if bytes => hexadecimal(cell),
                Some(cell) => {
                    let cell = String::from_utf8_lossy(cell);
                    format!("{}::{sql_type}", text(&cell))
                }
            });
        }
        literals.join(", ")
    }
}

/// The server keeps no zero bytes in texts.
fn storable(cells: &[Cell]) -> Result<(), &'static str> {
    let zero = |cell: &Cell| matches!(cell, Cell::Text(text) if text.contains('\0'));
    if cells.iter().any(zero) {
        Err("have a zero byte in a text column")
    } else {
        Ok(())
    }
}

const fn cast(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        // As digits: the client knows no UUIDs.
        Kind::Uuid => "text::uuid",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

/// The column such that its order is that of its bytes.
fn ordered(column: &Column, kind: Kind) -> String {
    match kind {
        Kind::Text => format!("{} COLLATE \"C\"", column.name),
        Kind::Integer | Kind::Uuid | Kind::Bytes => column.name.clone(),
    }
}

fn parameter(cell: Cell) -> Parameter {
    match cell {
        Cell::Integer(number) => Box::new(number),
        Cell::Uuid(uuid) => Box::new(digits(&uuid)),
        Cell::Text(text) => Box::new(text),
        Cell::Bytes(bytes) => Box::new(bytes),
    }
}

fn literal(cell: &Cell) -> String {
    match cell {
        Cell::Integer(number) => format!("'{number}'::bigint"),
        Cell::Text(words) => format!("{}::text", text(words)),
        Cell::Bytes(bytes) => hexadecimal(bytes),
        Cell::Uuid(uuid) => format!("'{}'::uuid", digits(uuid)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("'\\x{}'::bytea", digits(bytes))
}

fn digits(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        push(&mut digits, format_args!("{byte:02x}"));
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.as_bytes().into()
    }

    fn column(name: &str, sql_type: &str) -> Column {
        Column {
            name: identifier(name),
            sql_type: sql_type.to_owned(),
        }
    }

    #[test]
    fn changes_are_two_statements_at_most_and_nothing_in_a_value_ends_one() {
        let layout = Layout::own("co", "rows");
        let changes = [
            Change::Put(key("a"), key("';--")),
            Change::Delete(key("b")),
            Change::Put(key("c"), key("")),
            Change::Delete(key("d")),
        ];
        assert_eq!(
            layout.changes(&changes),
            "INSERT INTO \"co\".\"rows\" (\"key\", \"value\") VALUES ('\\x61'::bytea, '\\x273b2d2d'::bytea), \
             ('\\x63'::bytea, '\\x'::bytea) ON CONFLICT (\"key\") DO UPDATE SET \"value\" = excluded.\"value\";\
             DELETE FROM \"co\".\"rows\" WHERE (\"key\") IN (('\\x62'::bytea), ('\\x64'::bytea));"
        );
        assert_eq!(layout.changes(&[]), "");
    }

    #[test]
    fn a_table_of_others_gets_casts_and_ranges_of_its_columns() {
        let keys = vec![
            (column("branch", "integer"), Kind::Integer),
            (column("name", "text"), Kind::Text),
        ];
        let values = vec![column("balance", "numeric(12,2)")];
        let form = Values::One { bytes: false };
        let layout = Layout::new("bank", "accounts", keys, values, form);
        let of = |branch: i64, name: &str| -> Key {
            let cells = [Cell::Integer(branch), Cell::Text(name.to_owned())];
            layout.codec.encode(&cells).unwrap().into()
        };
        assert_eq!(
            layout.changes(&[Change::Put(of(-1, "o'b"), key("1'0"))]),
            "INSERT INTO \"bank\".\"accounts\" (\"branch\", \"name\", \"balance\") VALUES \
             ('-1'::bigint, 'o''b'::text, '1''0'::numeric(12,2)) ON CONFLICT (\"branch\", \"name\") DO UPDATE SET \
             \"balance\" = excluded.\"balance\";"
        );
        let range = KeyRange {
            low: of(1, "a"),
            high: Some(of(2, "")),
        };
        assert_eq!(
            layout.scan_range(&range, 9).unwrap(),
            "SELECT \"branch\"::bigint, \"name\"::text, \"balance\"::text FROM \"bank\".\"accounts\" WHERE \
             (\"branch\", \"name\" COLLATE \"C\") >= ('1'::bigint, 'a'::text) AND \
             (\"branch\", \"name\" COLLATE \"C\") < ('2'::bigint, ''::text) \
             ORDER BY \"branch\", \"name\" COLLATE \"C\" LIMIT 9"
        );
        assert!(layout.check_range(&range).is_ok());
        let all = KeyRange {
            low: key(""),
            high: None,
        };
        let own = Layout::own("co", "rows");
        assert_eq!(
            own.scan_range(&all, 9).unwrap(),
            "SELECT \"key\", \"value\" FROM \"co\".\"rows\" ORDER BY \"key\" LIMIT 9"
        );
        assert!(layout.check_key(b"short").is_err());
        assert!(layout.check_key(&of(1, "a\0")).is_err());
        let increment = Change::Increment(of(1, "a"), 1);
        assert!(layout.check_change(&increment).is_err());
    }
}
