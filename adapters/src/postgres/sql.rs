//! The statements of the native modes on the adapter's own table, whose keys and values are parameters; and quoting, for
//! all that cannot be one.

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
}

/// A name in double quotes.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes. `standard_conforming_strings` is on, so a backslash is one.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(text("it's"), "'it''s'");
    }
}
