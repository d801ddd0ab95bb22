//! The statements, and the quoting of what stands in them.
//!
//! Prepared transactions take no parameters, so keys and values stand in the text, as hexadecimal digits: nothing in them
//! can end a literal.

use std::fmt::Write;

use participant::{Change, Key, Value};

/// A table with a key column and a value column, both `bytea`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    quoted: String,
    key: String,
    value: String,
}

impl Table {
    pub(super) fn new(schema: &str, table: &str, key: &str, value: &str) -> Self {
        Self {
            quoted: format!("{}.{}", identifier(schema), identifier(table)),
            key: identifier(key),
            value: identifier(value),
        }
    }

    pub(super) fn get(&self) -> String {
        let Self { quoted, key, value } = self;
        format!("SELECT {value} FROM {quoted} WHERE {key} = $1")
    }

    /// Writes one row, whether it is there or not.
    pub(super) fn put(&self) -> String {
        let Self { quoted, key, value } = self;
        format!(
            "INSERT INTO {quoted} ({key}, {value}) VALUES ($1, $2) ON CONFLICT ({key}) DO UPDATE SET {value} = \
             excluded.{value}"
        )
    }

    /// Removes one row.
    pub(super) fn delete(&self) -> String {
        let Self { quoted, key, .. } = self;
        format!("DELETE FROM {quoted} WHERE {key} = $1")
    }

    /// Locks all of it.
    pub(super) fn lock(&self, mode: &str) -> String {
        format!("LOCK TABLE {} IN {mode} MODE", self.quoted)
    }

    /// The range has an end if `bounded`.
    pub(super) fn scan(&self, bounded: bool) -> String {
        let Self { quoted, key, value } = self;
        let end = if bounded {
            format!(" AND {key} < $3")
        } else {
            String::new()
        };
        format!(
            "SELECT {key}, {value} FROM {quoted} WHERE {key} >= $1{end} ORDER BY {key} LIMIT $2"
        )
    }

    /// The statements that make these changes.
    pub(super) fn changes(&self, changes: &[Change]) -> String {
        let Self { quoted, key, value } = self;
        let mut puts: Vec<(&Key, &Value)> = Vec::new();
        let mut deletes: Vec<&Key> = Vec::new();
        for change in changes {
            match change {
                Change::Put(key, value) => puts.push((key, value)),
                Change::Delete(key) => deletes.push(key),
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            }
        }
        let mut sql = String::new();
        for (at, (row_key, row_value)) in puts.iter().enumerate() {
            sql.push_str(if at == 0 { "INSERT INTO " } else { ", " });
            if at == 0 {
                write!(sql, "{quoted} ({key}, {value}) VALUES ").expect("a string takes all");
            }
            write!(sql, "({}, {})", bytes(row_key), bytes(row_value)).expect("a string takes all");
        }
        if !puts.is_empty() {
            write!(
                sql,
                " ON CONFLICT ({key}) DO UPDATE SET {value} = excluded.{value};"
            )
            .expect("a string takes all");
        }
        for (at, row_key) in deletes.iter().enumerate() {
            if at == 0 {
                write!(sql, "DELETE FROM {quoted} WHERE {key} IN (").expect("a string takes all");
            } else {
                sql.push_str(", ");
            }
            sql.push_str(&bytes(row_key));
        }
        if !deletes.is_empty() {
            sql.push_str(");");
        }
        sql
    }

    /// The table, if it is the adapter's own.
    pub(super) fn create(&self, schema: &str) -> String {
        let Self { quoted, key, value } = self;
        format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};\
             CREATE TABLE IF NOT EXISTS {quoted} ({key} bytea PRIMARY KEY, {value} bytea NOT NULL);\
             CREATE TABLE IF NOT EXISTS {schema}.sites \
             (site text PRIMARY KEY, ordinal bigint NOT NULL, stamp bigint NOT NULL);",
            schema = identifier(schema)
        )
    }
}

/// A name in double quotes.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes. `standard_conforming_strings` is on, so a backslash is one.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn bytes(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(2 * bytes.len() + 12);
    literal.push_str("'\\x");
    for byte in bytes {
        write!(literal, "{byte:02x}").expect("a string takes all");
    }
    literal.push_str("'::bytea");
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.as_bytes().into()
    }

    #[test]
    fn changes_are_two_statements_at_most_and_nothing_in_a_value_ends_one() {
        let table = Table::new("co", "rows", "key", "value");
        let changes = [
            Change::Put(key("a"), key("';--")),
            Change::Delete(key("b")),
            Change::Put(key("c"), key("")),
            Change::Delete(key("d")),
        ];
        assert_eq!(
            table.changes(&changes),
            "INSERT INTO \"co\".\"rows\" (\"key\", \"value\") VALUES ('\\x61'::bytea, '\\x273b2d2d'::bytea), \
             ('\\x63'::bytea, '\\x'::bytea) ON CONFLICT (\"key\") DO UPDATE SET \"value\" = excluded.\"value\";\
             DELETE FROM \"co\".\"rows\" WHERE \"key\" IN ('\\x62'::bytea, '\\x64'::bytea);"
        );
        assert_eq!(table.changes(&[]), "");
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(text("it's"), "'it''s'");
    }
}
