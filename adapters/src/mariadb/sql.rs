//! The statements, and the quoting of what stands in them.
//!
//! XA statements take no parameters and a branch is sent as text, so keys and values stand in it as hexadecimal digits:
//! nothing in them can end a literal, whatever the server's settings say about backslashes.

use std::fmt::Write;

use participant::{Change, Key, KeyRange, MAX_KEY_BYTES, Value};

/// How much of a key stands in the column `key`, in bytes. An index of `InnoDB` holds 3072.
pub(super) const HEAD: usize = 3072 - DIGEST;
/// How long the digest of the rest is, in bytes.
pub(super) const DIGEST: usize = 32;
/// How much may be left.
pub(super) const REST: usize = MAX_KEY_BYTES - HEAD;
/// How long a statement with many rows gets before another one begins, in bytes.
const LONG_STATEMENT: usize = 256 * 1024;
/// Who puts a key that is there changes its value.
const UPSERT: &str = " ON DUPLICATE KEY UPDATE `value` = VALUES(`value`)";
/// The variable that says that a session is an adapter's.
pub(super) const WRITER: &str = "@co_writer";

/// What the guards of a table refuse writes with.
pub(super) const GUARDED: &str =
    "this table is written through commitment ordering only; write through the adapter";

/// The adapter's own table: the columns `key` and `value`, and two more that are empty unless a key is longer than
/// [`HEAD`]. Then `rest` holds what does not fit into the index, and `tail` its digest, which does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    schema: String,
    table: String,
}

/// What a guard watches.
pub(super) const GUARDS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

impl Table {
    pub(super) fn new(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
        }
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    pub(super) fn name(&self) -> &str {
        &self.table
    }

    pub(super) fn quoted(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    /// The table that says how far each site is.
    pub(super) fn sites(&self) -> String {
        qualified(&self.schema, "sites")
    }

    /// The empty table that branches ask to write to.
    pub(super) fn numbers(&self) -> String {
        qualified(&self.schema, "branches")
    }

    /// Whether it is one of those two. How the server tells capitals from small letters in names is its own affair, so they
    /// are not told apart here.
    pub(super) fn is_bookkeeping(&self, schema: &str, name: &str) -> bool {
        let own = ["sites", "branches"];
        schema.eq_ignore_ascii_case(&self.schema)
            && own.iter().any(|own| name.eq_ignore_ascii_case(own))
    }

    pub(super) fn get(&self, key: &Key) -> String {
        format!(
            "SELECT SQL_NO_CACHE `value` FROM {} WHERE {}",
            self.quoted(),
            is(key)
        )
    }

    /// Rows of a range, in the order of `key`: those whose keys begin with the same [`HEAD`] bytes stand together.
    pub(super) fn scan(&self, range: &KeyRange, most: usize) -> String {
        let mut sql = format!(
            "SELECT SQL_NO_CACHE `key`, `rest`, `value` FROM {} WHERE `key` >= {}",
            self.quoted(),
            bytes(split(&range.low).0)
        );
        let whole = "CONCAT(`key`, `rest`)";
        if range.low.len() > HEAD {
            write!(sql, " AND {whole} >= {}", bytes(&range.low)).expect("a string takes all");
        }
        if let Some(high) = &range.high {
            let (head, rest) = split(high);
            let end = if rest.is_empty() { "<" } else { "<=" };
            write!(sql, " AND `key` {end} {}", bytes(head)).expect("a string takes all");
            if !rest.is_empty() {
                write!(sql, " AND {whole} < {}", bytes(high)).expect("a string takes all");
            }
        }
        write!(sql, " ORDER BY `key` LIMIT {most}").expect("a string takes all");
        sql
    }

    /// The statements that make these changes, none of them much longer than one row needs.
    ///
    /// Every deletion is a statement of its own: with a list of keys the server may read the whole of a small table, and
    /// wait for rows of other branches that it has no business with.
    pub(super) fn changes(&self, changes: &[Change]) -> Vec<String> {
        let mut puts: Vec<(&Key, &Value)> = Vec::new();
        let mut deletes: Vec<&Key> = Vec::new();
        for change in changes {
            match change {
                Change::Put(key, value) => puts.push((key, value)),
                Change::Delete(key) => deletes.push(key),
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            }
        }
        let (puts, long): (Vec<_>, Vec<_>) = puts.iter().partition(|(key, _)| key.len() <= HEAD);
        let mut statements = Vec::new();
        let mut puts = puts.into_iter().peekable();
        while puts.peek().is_some() {
            let mut sql = format!("INSERT INTO {} (`key`, `value`) VALUES ", self.quoted());
            let mut first = true;
            while let Some((key, value)) =
                puts.next_if(|(_, value)| first || sql.len() + 2 * value.len() < LONG_STATEMENT)
            {
                let comma = if first { "" } else { ", " };
                write!(sql, "{comma}({}, {})", bytes(key), bytes(value))
                    .expect("a string takes all");
                first = false;
            }
            sql.push_str(UPSERT);
            statements.push(sql);
        }
        statements.extend(long.into_iter().map(|(key, value)| {
            let (head, rest) = split(key);
            format!(
                "INSERT INTO {} (`key`, `tail`, `rest`, `value`) VALUES ({}, {}, {}, {}){UPSERT}",
                self.quoted(),
                bytes(head),
                digest(rest),
                bytes(rest),
                bytes(value)
            )
        }));
        let delete = |key: &&Key| format!("DELETE FROM {} WHERE {}", self.quoted(), is(key));
        statements.extend(deletes.iter().map(delete));
        statements
    }

    /// The table. The collation of bytes is their order, and `VARBINARY` pads nothing.
    pub(super) fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (`key` VARBINARY({HEAD}) NOT NULL, \
             `tail` VARBINARY({DIGEST}) NOT NULL DEFAULT '', `rest` VARBINARY({REST}) NOT NULL DEFAULT '', \
             `value` MEDIUMBLOB NOT NULL, PRIMARY KEY (`key`, `tail`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
            self.quoted()
        )
    }

    pub(super) fn create_sites(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (`site` VARBINARY(64) NOT NULL PRIMARY KEY, \
             `epoch` BIGINT UNSIGNED NOT NULL, `ordinal` BIGINT UNSIGNED NOT NULL, \
             `stamp` BIGINT UNSIGNED NOT NULL, `log` VARBINARY(64)) ENGINE=InnoDB",
            self.sites()
        )
    }

    /// The name of a guard.
    pub(super) fn guard(&self, event: &str) -> String {
        format!("{}_co_{}", self.table, event.to_ascii_lowercase())
    }

    /// A statement that the guard has to refuse, where a row with the empty key is there.
    pub(super) fn probe(&self, event: &str) -> String {
        let quoted = self.quoted();
        match event {
            "INSERT" => {
                format!("INSERT INTO {quoted} (`key`, `tail`, `value`) VALUES ('', 'new', '')")
            }
            "UPDATE" => {
                format!("UPDATE {quoted} SET `value` = 'new' WHERE `key` = '' AND `tail` = ''")
            }
            _ => format!("DELETE FROM {quoted} WHERE `key` = '' AND `tail` = ''"),
        }
    }

    /// A trigger that refuses what does not come from an adapter.
    pub(super) fn create_guard(&self, event: &str) -> String {
        format!(
            "CREATE TRIGGER IF NOT EXISTS {} BEFORE {event} ON {} FOR EACH ROW IF {WRITER} IS NULL THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{GUARDED}'; END IF",
            qualified(&self.schema, &self.guard(event)),
            self.quoted()
        )
    }
}

/// Puts statements into as few messages of at most `most` bytes as there can be, in order.
pub(super) fn messages(statements: Vec<String>, most: usize) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for statement in statements {
        match messages.last_mut() {
            Some(last) if last.len() + 2 + statement.len() <= most => {
                last.push_str("; ");
                last.push_str(&statement);
            }
            Some(_) | None => messages.push(statement),
        }
    }
    messages
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// What of a key stands in the index, and what does not fit.
fn split(key: &[u8]) -> (&[u8], &[u8]) {
    key.split_at(key.len().min(HEAD))
}

/// The condition that a row is that of a key.
fn is(key: &[u8]) -> String {
    let (head, rest) = split(key);
    format!("`key` = {} AND `tail` = {}", bytes(head), digest(rest))
}

fn digest(rest: &[u8]) -> String {
    if rest.is_empty() {
        "''".to_owned()
    } else {
        format!("UNHEX(SHA2({}, 256))", bytes(rest))
    }
}

/// A name in backticks.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Any bytes as a literal.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(2 * bytes.len() + 3);
    literal.push_str("x'");
    for byte in bytes {
        write!(literal, "{byte:02x}").expect("a string takes all");
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.as_bytes().into()
    }

    #[test]
    fn every_deletion_stands_alone_and_nothing_in_a_value_ends_a_literal() {
        let table = Table::new("co", "rows");
        let changes = [
            Change::Put(key("a"), key("';--")),
            Change::Delete(key("b")),
            Change::Put(key("c"), key("")),
            Change::Delete(key("d")),
        ];
        assert_eq!(
            table.changes(&changes),
            [
                "INSERT INTO `co`.`rows` (`key`, `value`) VALUES (x'61', x'273b2d2d'), (x'63', x'') \
                 ON DUPLICATE KEY UPDATE `value` = VALUES(`value`)",
                "DELETE FROM `co`.`rows` WHERE `key` = x'62' AND `tail` = ''",
                "DELETE FROM `co`.`rows` WHERE `key` = x'64' AND `tail` = ''",
            ]
        );
        assert!(table.changes(&[]).is_empty());
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[test]
    fn what_is_beyond_the_index_is_told_apart_by_its_digest() {
        let table = Table::new("co", "rows");
        let long: Key = [[b'k'; HEAD].as_slice(), b"end"].concat().into();
        let head = bytes(&long[..HEAD]);
        assert_eq!(
            table.get(&long),
            format!(
                "SELECT SQL_NO_CACHE `value` FROM `co`.`rows` WHERE `key` = {head} AND `tail` = UNHEX(SHA2(x'656e64', 256))"
            )
        );
        let range = KeyRange {
            low: key("a"),
            high: Some(Key::clone(&long)),
        };
        assert_eq!(
            table.scan(&range, 5),
            format!(
                "SELECT SQL_NO_CACHE `key`, `rest`, `value` FROM `co`.`rows` WHERE `key` >= x'61' AND `key` <= {head} \
                 AND CONCAT(`key`, `rest`) < {} ORDER BY `key` LIMIT 5",
                bytes(&long)
            )
        );
        assert_eq!(HEAD + DIGEST, 3072);
        assert_eq!(HEAD + REST, MAX_KEY_BYTES);
    }

    #[test]
    fn long_values_get_statements_of_their_own_and_messages_keep_the_order() {
        let table = Table::new("co", "rows");
        let long: Value = vec![7; LONG_STATEMENT].into();
        let names = ["a", "b", "c"];
        let changes = names.map(|name| Change::Put(key(name), Value::clone(&long)));
        let statements = table.changes(&changes);
        assert_eq!(statements.len(), 3);
        let one = statements[0].len();
        let sent = messages(statements.clone(), 2 * one + 2);
        assert_eq!(sent.len(), 2);
        assert_eq!(sent.join("; "), statements.join("; "));
        let short: Vec<Change> = names.map(|name| Change::Put(key(name), key("v"))).to_vec();
        assert_eq!(table.changes(&short).len(), 1);
    }
}
