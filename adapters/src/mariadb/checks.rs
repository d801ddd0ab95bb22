//! What is looked at before a database is taken: whether it keeps what it promises, and whether the table is right.
//!
//! What is there already is not made again, so that a user who may not make it can open the site later.

use participant::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

use super::options::{MariaDbOptions, OpenError};
use super::session::{Fault, Session};
use super::sql::{self, DIGEST, GUARDED, GUARDS, HEAD, REST, Table, WRITER, identifier};
use crate::identity::{LogIdentity, OtherLog};

/// The oldest version whose prepared branches outlive their sessions.
pub(crate) const OLDEST: (u32, u32) = (10, 5);
/// The longest row in a message, with room for the words around it.
pub(crate) const LONGEST_ROW: u64 = 2 * (MAX_VALUE_BYTES as u64 + MAX_KEY_BYTES as u64) + 4096;

/// What a trigger refuses with.
const SIGNALLED: u16 = 1644;
/// The user may not do that with the table.
const DENIED: u16 = 1142;
/// A lock was waited for in vain.
const LOCK_WAIT: u16 = 1205;

/// The open connection, and what to call the server.
pub(super) struct Checks<'a> {
    pub(super) session: &'a mut Session,
    pub(super) database: &'a str,
    pub(super) table: &'a Table,
}

impl Checks<'_> {
    pub(super) fn error(&self, fault: Fault) -> OpenError {
        OpenError::Backend(fault.into_error(self.database))
    }

    pub(super) async fn run(&mut self, statement: &str) -> Result<(), OpenError> {
        let done = self.session.run(statement).await;
        done.map_err(|fault| self.error(fault))
    }

    pub(super) async fn texts(
        &mut self,
        statement: &str,
    ) -> Result<Vec<(String, String)>, OpenError> {
        let rows = self.session.rows(statement).await;
        rows.map_err(|fault| self.error(fault))
    }

    /// The settings that matter.
    pub(super) async fn server(&mut self, options: &MariaDbOptions) -> Result<(), OpenError> {
        let statement = "SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES \
                         WHERE VARIABLE_NAME IN ('version', 'read_only', 'innodb_read_only', 'wsrep_on', \
                         'innodb_flush_log_at_trx_commit', 'log_bin', 'binlog_format', 'max_allowed_packet')";
        let settings = self.texts(statement).await?;
        let value = |name: &str| {
            let mut found = settings.iter().filter(|(known, _)| known == name);
            found.next().map_or("", |(_, value)| value.as_str())
        };
        let number = |name: &str| value(name).parse::<u64>().unwrap_or(0);
        let database = || self.database.to_owned();
        let version = value("version");
        if release(version).is_none_or(|it| it < OLDEST) {
            return Err(OpenError::Version {
                database: database(),
                version: version.to_owned(),
            });
        }
        for setting in ["read_only", "innodb_read_only"] {
            if value(setting) == "ON" {
                return Err(OpenError::ReadOnly {
                    database: database(),
                    setting,
                    value: value(setting).to_owned(),
                });
            }
        }
        if value("wsrep_on") == "ON" {
            return Err(OpenError::Galera {
                database: database(),
            });
        }
        let flush = number("innodb_flush_log_at_trx_commit");
        if !(matches!(flush, 1 | 3) || (flush == 2 && options.lazy_flush)) {
            return Err(OpenError::NotDurable {
                database: database(),
                value: flush,
            });
        }
        if value("log_bin") == "ON" && value("binlog_format") == "STATEMENT" {
            return Err(OpenError::StatementLog {
                database: database(),
            });
        }
        if number("max_allowed_packet") < LONGEST_ROW {
            return Err(OpenError::SmallPackets {
                database: database(),
                found: number("max_allowed_packet"),
                needed: LONGEST_ROW.next_power_of_two(),
            });
        }
        Ok(())
    }

    /// The tables, and the guards of the adapter's own.
    pub(super) async fn tables(&mut self, own: bool) -> Result<(), OpenError> {
        let table = self.table;
        let schema = sql::bytes(table.schema().as_bytes());
        let statement = format!(
            "SELECT SCHEMA_NAME, '' FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = CONVERT({schema} USING utf8mb4)"
        );
        if self.texts(&statement).await?.is_empty() {
            let name = identifier(table.schema());
            self.run(&format!("CREATE DATABASE IF NOT EXISTS {name}"))
                .await?;
        }
        let rows = own.then(|| (table.name(), table.quoted(), table.create()));
        let sites = ("sites", table.sites(), table.create_sites());
        for (name, quoted, create) in rows.into_iter().chain([sites]) {
            let engine = match self.engine(name).await? {
                Some(engine) => engine,
                None => {
                    self.run(&create).await?;
                    self.engine(name).await?.unwrap_or_default()
                }
            };
            if !engine.eq_ignore_ascii_case("InnoDB") {
                return Err(OpenError::NotTransactional {
                    table: quoted,
                    engine,
                });
            }
        }
        if own {
            self.columns().await?;
            self.guards(true, true).await?;
        }
        Ok(())
    }

    /// The engine of a table, if it is there.
    pub(super) async fn engine(&mut self, table: &str) -> Result<Option<String>, OpenError> {
        let statement = format!(
            "SELECT IFNULL(ENGINE, TABLE_TYPE), '' FROM information_schema.TABLES WHERE {}",
            self.of_table("TABLE_SCHEMA", "TABLE_NAME", table)
        );
        let found = self.texts(&statement).await?;
        Ok(found.into_iter().next().map(|(engine, _)| engine))
    }

    pub(super) fn of_table(&self, schema: &str, name: &str, table: &str) -> String {
        let is = |column, text: &str| {
            format!(
                "{column} = CONVERT({} USING utf8mb4)",
                sql::bytes(text.as_bytes())
            )
        };
        format!(
            "{} AND {}",
            is(schema, self.table.schema()),
            is(name, table)
        )
    }

    async fn columns(&mut self) -> Result<(), OpenError> {
        let statement = format!(
            "SELECT COLUMN_NAME, CONCAT(COLUMN_TYPE, ' ', COLUMN_KEY) FROM information_schema.COLUMNS WHERE {} \
             ORDER BY ORDINAL_POSITION",
            self.of_table("TABLE_SCHEMA", "TABLE_NAME", self.table.name())
        );
        let columns = self.texts(&statement).await?;
        let expected = [
            ("key", format!("varbinary({HEAD}) PRI")),
            ("tail", format!("varbinary({DIGEST}) PRI")),
            ("rest", format!("varbinary({REST}) ")),
            ("value", "mediumblob ".to_owned()),
        ];
        let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
        if columns == expected {
            return Ok(());
        }
        let columns = columns.iter().map(|(name, kind)| format!("{name} {kind}"));
        Err(OpenError::Columns {
            table: self.table.quoted(),
            found: columns.collect::<Vec<_>>().join(", ").trim_end().to_owned(),
        })
    }

    /// Makes the triggers that refuse others, or takes them away; `own` is the adapter's own table. A trigger is touched only
    /// where that changes something, and none is tried out unless it cannot be seen: the locks of branches in doubt are in the
    /// way of both. A trigger whose text the server does not show cannot be seen.
    pub(super) async fn guards(&mut self, own: bool, wanted: bool) -> Result<(), OpenError> {
        let statement = format!(
            "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS \
             WHERE ACTION_STATEMENT IS NOT NULL AND {}",
            self.of_table("TRIGGER_SCHEMA", "EVENT_OBJECT_TABLE", self.table.name())
        );
        let there = self.texts(&statement).await?;
        for event in GUARDS {
            let guard = self.table.guard(event);
            let known = there.iter().find(|(name, _)| *name == guard);
            let statement = match known {
                Some((_, action)) if wanted && action.contains(GUARDED) => continue,
                None if !wanted => continue,
                Some(_) if wanted => {
                    let why = format!("a trigger {guard} that does not refuse is there; drop it");
                    return Err(self.no_guard(why));
                }
                Some(_) => {
                    let schema = identifier(self.table.schema());
                    format!("DROP TRIGGER IF EXISTS {schema}.{}", identifier(&guard))
                }
                None => self.table.create_guard(event),
            };
            match self.session.run(&statement).await {
                Ok(()) => {}
                Err(Fault::Said { code, why }) => {
                    let why = format!("{why} ({code})");
                    if code == DENIED && own {
                        return self.refuse_others(why).await;
                    }
                    return Err(self.no_guard(why));
                }
                Err(fault @ (Fault::Lost(_) | Fault::Unclear(_) | Fault::Foreign(_))) => {
                    return Err(self.error(fault));
                }
            }
        }
        Ok(())
    }

    /// The triggers of the adapter's own table, for a user who may not see them: somebody else has made them. It is tried
    /// whether they refuse, with a key that no participant has, in a transaction that is rolled back. The locks of a branch in
    /// doubt may be in the way of that; then the site has been open before, and tried it.
    async fn refuse_others(&mut self, why: String) -> Result<(), OpenError> {
        let table = self.table.quoted();
        let row = format!(
            "START TRANSACTION; INSERT INTO {table} (`key`, `value`) VALUES ('', ''); SET {WRITER} = NULL"
        );
        let mut weak = false;
        match self.session.run(&row).await {
            Ok(()) => {
                for event in GUARDS {
                    match self.session.run(&self.table.probe(event)).await {
                        Err(fault) if fault.code() == Some(SIGNALLED) => {}
                        Ok(()) => weak = true,
                        Err(fault) => return Err(self.error(fault)),
                    }
                }
            }
            Err(fault) if fault.code() == Some(LOCK_WAIT) => {}
            Err(fault) => return Err(self.error(fault)),
        }
        self.run(&format!("ROLLBACK; SET {WRITER} = 1")).await?;
        if weak {
            return Err(self.no_guard(why));
        }
        Ok(())
    }

    fn no_guard(&self, why: String) -> OpenError {
        OpenError::Guards {
            table: self.table.quoted(),
            why,
        }
    }

    /// Tells the database which log the site has, unless it was told another before (I2).
    pub(super) async fn belongs(
        &mut self,
        site: &str,
        own: Option<&LogIdentity>,
    ) -> Result<(), OpenError> {
        let sites = self.table.sites();
        let log = own.map_or_else(|| "NULL".to_owned(), |own| format!("'{own}'"));
        self.run(&format!(
            "INSERT INTO {sites} (`site`, `epoch`, `ordinal`, `stamp`, `log`) VALUES ('{site}', 0, 0, 0, {log}) \
             ON DUPLICATE KEY UPDATE `log` = IFNULL(`log`, VALUES(`log`))"
        ))
        .await?;
        let told = format!("SELECT `log` FROM {sites} WHERE `site` = '{site}'");
        let rows = self.session.rows(&told).await;
        let rows: Vec<Option<String>> = rows.map_err(|fault| self.error(fault))?;
        match rows.into_iter().next().flatten() {
            Some(theirs) if own.is_none_or(|own| own.as_str() != theirs) => Err(OtherLog {
                site: site.to_owned(),
                database: self.database.to_owned(),
                theirs,
                own: own.cloned(),
                forget: format!(
                    "UPDATE {sites} SET log = NULL, ordinal = 0, stamp = 0 WHERE site = '{site}'"
                ),
            }
            .into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins the site's next epoch (O3), and says which.
    pub(super) async fn next_epoch(&mut self, site: &str) -> Result<u64, OpenError> {
        let sites = self.table.sites();
        self.run(&format!(
            "UPDATE {sites} SET `epoch` = LAST_INSERT_ID(`epoch` + 1) WHERE `site` = '{site}'"
        ))
        .await?;
        let rows = self.session.rows("SELECT LAST_INSERT_ID()").await;
        let rows: Vec<u64> = rows.map_err(|fault| self.error(fault))?;
        Ok(rows.first().copied().unwrap_or(0))
    }
}

/// The first two numbers of a version.
pub(crate) fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(release("10.11.14-MariaDB-0+deb12u2").unwrap() >= OLDEST);
        assert!(release("11.4.2-MariaDB").unwrap() >= OLDEST);
        assert!(release("10.4.34-MariaDB").unwrap() < OLDEST);
        assert_eq!(release("none"), None);
    }
}
