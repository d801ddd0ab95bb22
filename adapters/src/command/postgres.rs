//! What the command asks a PostgreSQL server. Nothing here changes anything.

use std::time::Duration;

use coco::service::process::Fatal;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::TableArgs;
use super::branches::Listed;
use super::check::{Finding, Findings, drawback, wrong};
use crate::site::Product;

/// How long a server may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest version that is tried.
const OLDEST: i32 = 130_000;
/// With fewer prepared transactions than this, a busy site has to abort some.
const FEW_PREPARED: i32 = 64;
/// From this age on a prepared transaction is forgotten rather than slow.
const OLD: Duration = Duration::from_secs(3600);

async fn connect(address: &str) -> Result<Client, Fatal> {
    // An address may hold a password: what cannot be read is not repeated.
    let config = address.parse::<Config>();
    let mut config = config.map_err(|error| {
        Fatal::because(format!(
            "the address of the PostgreSQL server cannot be read ({error}); write postgres://user@host:port/database"
        ))
    })?;
    config.application_name("commitment ordering: adapter command");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(PATIENCE);
    }
    let (client, connection) = config.connect(NoTls).await.map_err(Fatal::new)?;
    tokio::spawn(async move {
        // Whoever uses the client hears of it.
        let _broken = connection.await;
    });
    Ok(client)
}

/// The branches that are prepared in the whole server, the oldest first.
pub(super) async fn branches(address: &str) -> Result<Vec<Listed>, Fatal> {
    let client = connect(address).await?;
    let statement = "SELECT gid, database, owner, \
                     greatest(extract(epoch FROM clock_timestamp() - prepared), 0)::float8 \
                     FROM pg_prepared_xacts ORDER BY prepared, gid";
    let rows = client.query(statement, &[]).await.map_err(Fatal::new)?;
    let listed = rows.iter().map(|row| Listed {
        identifier: row.get(0),
        database: Some(row.get(1)),
        owner: Some(row.get(2)),
        age: Some(Duration::from_secs_f64(row.get(3))),
    });
    Ok(listed.collect())
}

/// Whether the server and the table can be a site.
pub(super) async fn check(address: &str, table: &TableArgs) -> Result<Findings, Fatal> {
    let client = connect(address).await?;
    let server = Server::ask(&client).await.map_err(Fatal::new)?;
    let mut all = server.findings(table.sessions);
    all.extend(branches_left(&client, &server).await.map_err(Fatal::new)?);
    all.extend(
        rights(&client, &server, &table.schema)
            .await
            .map_err(Fatal::new)?,
    );
    all.extend(of_table(&client, table).await.map_err(Fatal::new)?);
    all.sort_by_key(Finding::is_drawback);
    Ok(Findings {
        product: Product::Postgres,
        version: server.version.clone(),
        database: server.database,
        user: server.user,
        all,
    })
}

/// What is set.
struct Server {
    version: String,
    number: i32,
    /// As they stand in statements.
    database: String,
    user: String,
    prepared: i32,
    connections: i32,
    fsync: bool,
    whole_pages: bool,
    conforming: bool,
    read_only: bool,
    standby: bool,
    statement_timeout: String,
}

impl Server {
    async fn ask(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let statement = "SELECT current_setting('server_version'), \
             current_setting('server_version_num')::int, \
             quote_ident(current_database()), quote_ident(current_user), \
             current_setting('max_prepared_transactions')::int, \
             current_setting('max_connections')::int \
                 - current_setting('superuser_reserved_connections')::int, \
             current_setting('fsync')::bool, current_setting('full_page_writes')::bool, \
             current_setting('standard_conforming_strings')::bool, \
             current_setting('default_transaction_read_only')::bool, pg_is_in_recovery(), \
             current_setting('statement_timeout')";
        let row = client.query_one(statement, &[]).await?;
        Ok(Self {
            version: row.get(0),
            number: row.get(1),
            database: row.get(2),
            user: row.get(3),
            prepared: row.get(4),
            connections: row.get(5),
            fsync: row.get(6),
            whole_pages: row.get(7),
            conforming: row.get(8),
            read_only: row.get(9),
            standby: row.get(10),
            statement_timeout: row.get(11),
        })
    }

    fn findings(&self, sessions: usize) -> Vec<Finding> {
        let mut all = Vec::new();
        self.able(&mut all);
        self.durable(&mut all);
        self.session(&mut all);
        let connections = usize::try_from(self.connections).unwrap_or(0);
        if connections < sessions {
            let enough = sessions + 20;
            all.push(drawback(
                format!("{connections} connections for ordinary users, and the site wants up to {sessions}"),
                format!("ALTER SYSTEM SET max_connections = {enough};"),
                Some(RESTART),
            ));
        }
        all
    }

    /// Whether it prepares transactions at all.
    fn able(&self, all: &mut Vec<Finding>) {
        if self.number < OLDEST {
            all.push(wrong(
                format!(
                    "version {} is older than 13, the oldest that is known to do what it must",
                    self.version
                ),
                "SELECT version();".to_owned(),
                Some("upgrade the server"),
            ));
        }
        if self.standby {
            all.push(wrong(
                "it is a standby, which takes no changes".to_owned(),
                "SELECT pg_promote();".to_owned(),
                Some("or give the address of its primary"),
            ));
        }
        let set = "ALTER SYSTEM SET max_prepared_transactions = 200;".to_owned();
        if self.prepared == 0 {
            all.push(wrong(
                "max_prepared_transactions is 0, so nothing can be prepared".to_owned(),
                set,
                Some(RESTART),
            ));
        } else if self.prepared < FEW_PREPARED {
            all.push(drawback(
                format!(
                    "max_prepared_transactions is {}: transactions that find so many others undecided abort",
                    self.prepared
                ),
                set,
                Some(RESTART),
            ));
        }
    }

    /// Whether what it has prepared survives a crash. `synchronous_commit` does not matter: two-phase statements are
    /// always synchronous.
    fn durable(&self, all: &mut Vec<Finding>) {
        for (name, on, lost) in [
            (
                "fsync",
                self.fsync,
                "a crash of the machine loses branches that had voted",
            ),
            (
                "full_page_writes",
                self.whole_pages,
                "a crash of the machine can leave half-written pages",
            ),
        ] {
            if !on {
                all.push(wrong(
                    format!("{name} is off: {lost}"),
                    format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"),
                    None,
                ));
            }
        }
    }

    /// What the site's sessions begin with.
    fn session(&self, all: &mut Vec<Finding>) {
        let Self { database, user, .. } = self;
        let alter =
            |setting: &str| format!("ALTER ROLE {user} IN DATABASE {database} SET {setting};");
        if !self.conforming {
            all.push(wrong(
                "standard_conforming_strings is off, so a backslash in a text would not be one"
                    .to_owned(),
                alter("standard_conforming_strings = on"),
                None,
            ));
        }
        if self.read_only {
            all.push(wrong(
                "default_transaction_read_only is on, so nothing can be written".to_owned(),
                alter("default_transaction_read_only = off"),
                None,
            ));
        }
        if self.statement_timeout != "0" {
            all.push(drawback(
                format!(
                    "statement_timeout is {}: scans and preparations that take longer abort",
                    self.statement_timeout
                ),
                alter("statement_timeout = 0"),
                None,
            ));
        }
    }
}

const RESTART: &str = "restart the server";

/// Branches that take room, or have been forgotten: they hold their locks, and keep the server from cleaning up.
async fn branches_left(
    client: &Client,
    server: &Server,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let statement = "SELECT count(*)::int, \
                     coalesce(max(extract(epoch FROM clock_timestamp() - prepared)), 0)::float8 \
                     FROM pg_prepared_xacts";
    let row = client.query_one(statement, &[]).await?;
    let (count, oldest): (i32, f64) = (row.get(0), row.get(1));
    let list = || {
        "SELECT gid, prepared, owner, database FROM pg_prepared_xacts ORDER BY prepared;".to_owned()
    };
    let mut all = Vec::new();
    if server.prepared > 0 && count * 5 >= server.prepared * 4 {
        all.push(drawback(
            format!(
                "{count} of {} prepared transactions are taken",
                server.prepared
            ),
            list(),
            Some("see `adapter branches` for whose they are"),
        ));
    }
    if oldest > OLD.as_secs_f64() {
        all.push(drawback(
            format!(
                "a transaction has been prepared for {}: it holds its locks, and vacuum cannot clean up behind it",
                coco::command::table::span(Duration::from_secs_f64(oldest))
            ),
            list(),
            Some("see `adapter branches` for whose it is"),
        ));
    }
    Ok(all)
}

/// Whether the site may make its tables: it looks for them at every start, with statements that ask for these rights
/// even where the tables are there.
async fn rights(
    client: &Client,
    server: &Server,
    schema: &str,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let Server { database, user, .. } = server;
    let statement = "SELECT has_database_privilege(current_database(), 'CREATE'), quote_ident($1), \
                     (SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') \
                      FROM pg_namespace WHERE nspname = $1)";
    let row = client.query_one(statement, &[&schema]).await?;
    let quoted: String = row.get(1);
    let mut all = Vec::new();
    if !row.get::<_, bool>(0) {
        all.push(wrong(
            format!("{user} may not make schemas, as the site does if its own is not there"),
            format!("GRANT CREATE ON DATABASE {database} TO {user};"),
            None,
        ));
    }
    if row.get::<_, Option<bool>>(2) == Some(false) {
        all.push(wrong(
            format!("{user} may not make tables in the schema {quoted}"),
            format!("GRANT USAGE, CREATE ON SCHEMA {quoted} TO {user};"),
            None,
        ));
    }
    Ok(all)
}

/// What is known of the table, if it is there.
async fn of_table(
    client: &Client,
    table: &TableArgs,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let statement = "SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text, c.relpersistence::text, \
         row_security_active(c.oid), quote_ident(current_user), \
         has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
             AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), \
         (SELECT count(*)::int FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped \
             AND a.attname IN ('key', 'value') AND a.atttypid = 'bytea'::regtype), \
         EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'key' \
             WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
             AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum), \
         (SELECT string_agg(quote_ident(t.tgname), ', ') FROM pg_trigger t \
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' \
             AND t.tgname NOT IN ('co_guard', 'co_guard_truncate')) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2";
    let found = client
        .query_opt(statement, &[&table.schema, &table.table])
        .await?;
    let own = table.key.is_empty();
    Ok(found.map_or_else(Vec::new, |row| of_found_table(&row, own)))
}

/// `own` is a table as the site makes it; of another one the site itself says whether its columns will do.
fn of_found_table(row: &Row, own: bool) -> Vec<Finding> {
    let (name, user): (String, String) = (row.get(0), row.get(4));
    let mut all = Vec::new();
    let table = matches!(row.get::<_, &str>(1), "r" | "p");
    let columns = row.get::<_, i32>(6) == 2 && row.get::<_, bool>(7);
    if !table || (own && !columns) {
        all.push(wrong(
            format!("{name} is not a table of a unique `key` and a `value`, both bytea"),
            format!("ALTER TABLE {name} RENAME TO other_rows;"),
            Some(
                "let the site make its own, give another one with --table, or say which columns of this one are key and \
                 value with --key and --value",
            ),
        ));
        return all;
    }
    if row.get::<_, &str>(2) != "p" {
        all.push(wrong(
            format!("{name} is not logged: a crash empties it"),
            format!("ALTER TABLE {name} SET LOGGED;"),
            None,
        ));
    }
    if row.get::<_, bool>(3) {
        all.push(wrong(
            format!("{name} has row security, so {user} does not see all rows"),
            format!("ALTER ROLE {user} BYPASSRLS;"),
            None,
        ));
    }
    if !row.get::<_, bool>(5) {
        all.push(wrong(
            format!("{user} may not read and write {name}"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {user};"),
            None,
        ));
    }
    if let Some(triggers) = row.get::<_, Option<String>>(8) {
        all.push(drawback(
            format!("{name} has triggers ({triggers}): what they do elsewhere is outside the commit order"),
            format!("ALTER TABLE {name} DISABLE TRIGGER USER;"),
            None,
        ));
    }
    all
}
