//! What the command asks a MariaDB server. Nothing here changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use coco::service::process::Fatal;
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Opts, OptsBuilder};

use super::TableArgs;
use super::branches::Listed;
use super::check::{Finding, Findings, drawback, wrong};
use crate::mariadb::{LONGEST_ROW, OLDEST, identifier_of_row, release};
use crate::site::Product;

/// How long a server may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(10);
/// What to do after a global setting was changed: it lasts until the server's next start.
const KEEP: &str = "write it into the server's configuration";

async fn connect(address: &str) -> Result<Conn, Fatal> {
    // An address may hold a password: what cannot be read is not repeated.
    let opts = Opts::from_url(address).map_err(|error| {
        Fatal::because(format!(
            "the address of the MariaDB server cannot be read ({error}); write mysql://user:password@host:port"
        ))
    })?;
    let place = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
    let opts = OptsBuilder::from_opts(opts).prefer_socket(false);
    match tokio::time::timeout(PATIENCE, Conn::new(opts)).await {
        Ok(conn) => conn.map_err(Fatal::new),
        Err(_) => Err(Fatal::because(format!(
            "the MariaDB server at {place} did not answer for {PATIENCE:?}"
        ))),
    }
}

async fn rows<T: FromRow + Send + 'static>(
    conn: &mut Conn,
    statement: &str,
) -> Result<Vec<T>, Fatal> {
    conn.query(statement).await.map_err(Fatal::new)
}

/// The branches that are prepared in the whole server, by their names: it does not say since when, or by whom.
pub(super) async fn branches(address: &str) -> Result<Vec<Listed>, Fatal> {
    let mut conn = connect(address).await?;
    let found: Vec<(i64, usize, usize, Vec<u8>)> = rows(&mut conn, "XA RECOVER").await?;
    let listed = found
        .into_iter()
        .map(|(format, first, second, data)| Listed {
            identifier: identifier_of_row((format, first, second, &data))
                .unwrap_or_else(|| String::from_utf8_lossy(&data).into_owned()),
            database: None,
            owner: None,
            age: None,
        });
    let mut listed: Vec<Listed> = listed.collect();
    listed.sort_by(|one, other| one.identifier.cmp(&other.identifier));
    Ok(listed)
}

/// Whether the server and the table can be a site.
pub(super) async fn check(address: &str, table: &TableArgs) -> Result<Findings, Fatal> {
    let mut conn = connect(address).await?;
    let of_session = "SELECT VERSION(), CURRENT_USER()";
    let session: Vec<(String, String)> = rows(&mut conn, of_session).await?;
    let (version, user) = session.into_iter().next().unwrap_or_default();
    let statement =
        "SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES";
    let settings = Settings(rows(&mut conn, statement).await?.into_iter().collect());
    let mut all = Vec::new();
    settings.able(&version, &mut all);
    settings.durable(&mut all);
    settings.roomy(table.sessions, &mut all);
    of_table(&mut conn, table, &mut all).await?;
    all.sort_by_key(Finding::is_drawback);
    Ok(Findings {
        product: Product::MariaDb,
        version,
        database: table.schema.clone(),
        user,
        all,
    })
}

/// The server's global settings, by their names in small letters.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn is_on(&self, name: &str) -> bool {
        self.text(name) == "ON"
    }

    /// Whether it prepares branches that outlive their sessions.
    fn able(&self, version: &str, all: &mut Vec<Finding>) {
        if !version.contains("MariaDB") || release(version).is_none_or(|it| it < OLDEST) {
            let (major, minor) = OLDEST;
            all.push(wrong(
                format!("version {version} is no MariaDB, or older than {major}.{minor}"),
                "SELECT VERSION();".to_owned(),
                Some("upgrade the server"),
            ));
        }
        for setting in ["read_only", "innodb_read_only"] {
            if self.is_on(setting) {
                all.push(wrong(
                    format!("{setting} is on, so nothing can be written"),
                    format!("SET GLOBAL {setting} = OFF;"),
                    Some("or give the address of its primary"),
                ));
            }
        }
        if self.is_on("wsrep_on") {
            all.push(wrong(
                "it is a node of a Galera cluster, which supports no XA".to_owned(),
                "SHOW GLOBAL STATUS LIKE 'wsrep%';".to_owned(),
                Some("give the site a server of its own"),
            ));
        }
        if self.is_on("log_bin") && self.text("binlog_format") == "STATEMENT" {
            all.push(wrong(
                "binlog_format is STATEMENT, with which the server refuses changes at READ COMMITTED"
                    .to_owned(),
                "SET GLOBAL binlog_format = ROW;".to_owned(),
                Some(KEEP),
            ));
        }
    }

    /// Whether what it has prepared survives a crash.
    fn durable(&self, all: &mut Vec<Finding>) {
        let flush = self.number("innodb_flush_log_at_trx_commit");
        if !matches!(flush, 1 | 3) {
            all.push(wrong(
                format!(
                    "innodb_flush_log_at_trx_commit is {flush}: a crash loses branches that had voted"
                ),
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1;".to_owned(),
                Some(KEEP),
            ));
        }
        if self.is_on("log_bin") && self.number("sync_binlog") != 1 {
            all.push(drawback(
                format!(
                    "sync_binlog is {}: after a crash of the machine the binary log may lack what the tables have",
                    self.number("sync_binlog")
                ),
                "SET GLOBAL sync_binlog = 1;".to_owned(),
                Some(KEEP),
            ));
        }
    }

    /// Whether the longest row and all sessions have room.
    fn roomy(&self, sessions: usize, all: &mut Vec<Finding>) {
        let (found, needed) = (
            self.number("max_allowed_packet"),
            LONGEST_ROW.next_power_of_two(),
        );
        if found < LONGEST_ROW {
            all.push(wrong(
                format!("max_allowed_packet is {found}, and the longest row needs {needed}"),
                format!("SET GLOBAL max_allowed_packet = {needed};"),
                Some(KEEP),
            ));
        }
        // As many more keep the branches that are undecided.
        let wanted = 2 * u64::try_from(sessions).unwrap_or(u64::MAX / 2);
        let connections = self.number("max_connections");
        if connections < wanted {
            all.push(drawback(
                format!("{connections} connections, and the site wants up to {wanted}"),
                format!("SET GLOBAL max_connections = {};", wanted + 20),
                Some(KEEP),
            ));
        }
    }
}

/// What is known of the table, if it is there. Of another's columns the site itself says whether they will do.
async fn of_table(conn: &mut Conn, table: &TableArgs, all: &mut Vec<Finding>) -> Result<(), Fatal> {
    let of = |schema: &str, name: &str| {
        let is = |column: &str, text: &str| {
            let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("{column} = CONVERT(x'{digits}' USING utf8mb4)")
        };
        format!(
            "{} AND {}",
            is(schema, &table.schema),
            is(name, &table.table)
        )
    };
    let quoted = format!("`{}`.`{}`", table.schema, table.table);
    let statement = format!(
        "SELECT IFNULL(ENGINE, TABLE_TYPE) FROM information_schema.TABLES WHERE {}",
        of("TABLE_SCHEMA", "TABLE_NAME")
    );
    let engines: Vec<String> = rows(conn, &statement).await?;
    for engine in engines
        .iter()
        .filter(|it| !it.eq_ignore_ascii_case("InnoDB"))
    {
        all.push(wrong(
            format!("{quoted} has the engine {engine}, which cannot roll back"),
            format!("ALTER TABLE {quoted} ENGINE = InnoDB;"),
            None,
        ));
    }
    let statement = format!(
        "SELECT GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION) FROM information_schema.COLUMNS WHERE {}",
        of("TABLE_SCHEMA", "TABLE_NAME")
    );
    let columns: Vec<Option<String>> = rows(conn, &statement).await?;
    let columns = columns.into_iter().next().flatten();
    if table.key.is_empty() && columns.is_some_and(|names| names != "key,tail,rest,value") {
        all.push(wrong(
            format!("{quoted} is not a table as the site makes it"),
            format!("RENAME TABLE {quoted} TO `{}`.other_rows;", table.schema),
            Some(
                "let the site make its own, give another one with --table, or say which columns of this one are key and \
                 value with --key and --value",
            ),
        ));
    }
    let statement = format!(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE {}",
        of("TRIGGER_SCHEMA", "EVENT_OBJECT_TABLE")
    );
    let triggers: Vec<String> = rows(conn, &statement).await?;
    let guards = ["insert", "update", "delete"].map(|event| format!("{}_co_{event}", table.table));
    let others: Vec<String> = triggers
        .into_iter()
        .filter(|name| !guards.contains(name))
        .collect();
    if let Some(first) = others.first() {
        all.push(drawback(
            format!(
                "{quoted} has triggers ({}): what they do elsewhere is outside the commit order",
                others.join(", ")
            ),
            format!("DROP TRIGGER `{}`.`{first}`;", table.schema),
            None,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let good = [
            ("innodb_flush_log_at_trx_commit", "1"),
            ("max_allowed_packet", "16777216"),
            ("max_connections", "151"),
        ];
        let pairs = good.iter().chain(pairs);
        Settings(
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn found(version: &str, pairs: &[(&str, &str)]) -> Vec<Finding> {
        let (settings, mut all) = (settings(pairs), Vec::new());
        settings.able(version, &mut all);
        settings.durable(&mut all);
        settings.roomy(16, &mut all);
        all
    }

    #[test]
    fn every_setting_that_does_not_do_is_found_and_no_other() {
        let version = "10.11.14-MariaDB";
        assert_eq!(
            found(version, &[("log_bin", "ON"), ("sync_binlog", "1")]),
            []
        );
        for (setting, value, statement) in [
            ("read_only", "ON", "SET GLOBAL read_only = OFF;"),
            ("wsrep_on", "ON", "SHOW GLOBAL STATUS LIKE 'wsrep%';"),
            (
                "innodb_flush_log_at_trx_commit",
                "2",
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1;",
            ),
            (
                "max_allowed_packet",
                "1024",
                "SET GLOBAL max_allowed_packet = 4194304;",
            ),
        ] {
            let all = found(version, &[(setting, value)]);
            assert_eq!(all.len(), 1, "{setting}: {all:?}");
            assert_eq!(all[0].statement, statement);
            assert!(!all[0].is_drawback(), "{setting}");
        }
        let binary = [
            ("log_bin", "ON"),
            ("binlog_format", "STATEMENT"),
            ("sync_binlog", "0"),
        ];
        let all = found(version, &binary);
        assert_eq!(
            all.iter().map(Finding::is_drawback).collect::<Vec<_>>(),
            [false, true]
        );
        assert!(found(version, &[("max_connections", "31")])[0].is_drawback());
        for other in ["8.0.36", "10.4.34-MariaDB"] {
            assert!(found(other, &[])[0].what.contains(other));
        }
    }
}
