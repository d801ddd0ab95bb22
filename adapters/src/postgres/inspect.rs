//! Looking at a table before it is used: whether its columns keep what the order needs, and its guard.

use tokio_postgres::{Client, Config, NoTls, Row};

use super::layout::{Column, Layout};
use super::sql::{identifier, text};
use super::{LOCK_TIMEOUT, OpenError, PostgresOptions};
use crate::backend::BackendError;
use crate::branch::Site;
use crate::columns::{Kind, TableColumns, Values};
use crate::identity::{LogIdentity, OtherLog};

/// The guard's function takes the site's name, so that one serves all tables of a schema.
const GUARD: &str = "\
    CREATE OR REPLACE FUNCTION {schema}.co_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ \
    BEGIN \
        IF current_setting('co.site', true) IS DISTINCT FROM TG_ARGV[0] THEN \
            RAISE EXCEPTION 'table %.% is under a commit order: write to it through site %', \
                TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'object_in_use'; \
        END IF; \
        RETURN NULL; \
    END $guard$;";

/// What is asked of every column.
const COLUMNS: &str = "\
    SELECT a.attname::text, t.typname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
    a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', coalesce(c.collisdeterministic, true) \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation c ON c.oid = a.attcollation \
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

/// Unique indexes by their columns, without those that cover some rows only or are checked late.
const INDEXES: &str = "\
    SELECT (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a \
        WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) \
    FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate \
    AND i.indpred IS NULL AND i.indexprs IS NULL";

/// The table as the adapter uses it; makes what is the adapter's own.
pub(super) async fn table(
    config: &Config,
    database: &str,
    site: &Site,
    options: &PostgresOptions,
) -> Result<Layout, OpenError> {
    let away = |error: tokio_postgres::Error| {
        let why = error
            .as_db_error()
            .map_or_else(|| error.to_string(), |said| said.message().to_owned());
        let database = database.to_owned();
        match error.code() {
            Some(code) => BackendError::Refused {
                database,
                code: code.code().to_owned(),
                why,
            },
            None => BackendError::Away { database, why },
        }
    };
    let (client, connection) = config.connect(NoTls).await.map_err(away)?;
    tokio::spawn(async move {
        // Whoever uses the client hears of it.
        let _broken = connection.await;
    });
    let schema = identifier(&options.schema);
    let mut make = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};\
         CREATE TABLE IF NOT EXISTS {schema}.sites \
         (site text PRIMARY KEY, ordinal bigint NOT NULL, stamp bigint NOT NULL, log text);"
    );
    let name = format!("{schema}.{}", identifier(&options.table));
    if options.columns.is_none() {
        make.push_str(&format!(
            "CREATE TABLE IF NOT EXISTS {name} (key bytea PRIMARY KEY, value bytea NOT NULL);"
        ));
    }
    // Not before it is known that the table fits: nothing is left on one that does not.
    let layout = match &options.columns {
        Some(columns) => users(&client, &name, options, columns, &away).await?,
        None => Layout::own(&options.schema, &options.table),
    };
    // A trigger is made only where that changes something: it takes a lock that branches in doubt are in the way of.
    let guarded = "SELECT tgargs FROM pg_trigger WHERE tgrelid = to_regclass($1) \
                   AND tgname IN ('co_guard', 'co_guard_truncate')";
    let guards = client.query(guarded, &[&name]).await.map_err(away)?;
    let own = format!("{}\0", site.name());
    let same = guards
        .iter()
        .filter(|row| row.get::<_, &[u8]>(0) == own.as_bytes());
    let as_wanted = match options.guard {
        true => same.count() == 2,
        false => guards.is_empty(),
    };
    if !as_wanted {
        make.push_str(&guard(&schema, &name, site, options.guard));
    }
    // Two sites that make the same schema at once would see each other's half of it.
    let make = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock(hashtext('commitment ordering')); {make} COMMIT;",
        LOCK_TIMEOUT.as_millis()
    );
    client.batch_execute(&make).await.map_err(away)?;
    let belongs = belongs(&client, database, site, options).await;
    belongs
        .map_err(away)?
        .map_or(Ok(layout), |other| Err(other.into()))
}

/// Tells the database which log the site has, unless it was told another before (I2): then that is returned.
async fn belongs(
    client: &Client,
    database: &str,
    site: &Site,
    options: &PostgresOptions,
) -> Result<Option<OtherLog>, tokio_postgres::Error> {
    let sites = format!("{}.sites", identifier(&options.schema));
    let own = options.log.as_ref().map(LogIdentity::as_str);
    let tell = format!(
        "INSERT INTO {sites} AS known (site, ordinal, stamp, log) VALUES ($1, 0, 0, $2) \
         ON CONFLICT (site) DO UPDATE SET log = coalesce(known.log, excluded.log) RETURNING log"
    );
    let row = client.query_one(&tell, &[&site.name(), &own]).await?;
    let told: Option<String> = row.get(0);
    let other = |theirs| OtherLog {
        site: site.name().to_owned(),
        database: database.to_owned(),
        theirs,
        own: options.log.clone(),
        forget: format!("DELETE FROM {sites} WHERE site = {}", text(site.name())),
    };
    Ok(told.filter(|told| own != Some(told)).map(other))
}

/// The trigger, made anew, or taken away.
fn guard(schema: &str, table: &str, site: &Site, wanted: bool) -> String {
    if !wanted {
        return format!(
            "DROP TRIGGER IF EXISTS co_guard ON {table}; DROP TRIGGER IF EXISTS co_guard_truncate ON {table};"
        );
    }
    let site = text(site.name());
    let function = GUARD.replace("{schema}", schema);
    format!(
        "{function} \
         CREATE OR REPLACE TRIGGER co_guard BEFORE INSERT OR UPDATE OR DELETE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION {schema}.co_guard({site}); \
         CREATE OR REPLACE TRIGGER co_guard_truncate BEFORE TRUNCATE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION {schema}.co_guard({site});"
    )
}

/// A column, as the catalog has it.
struct Found {
    name: String,
    kind: String,
    sql_type: String,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
    deterministic: bool,
}

impl Found {
    fn read(row: &Row) -> Self {
        Self {
            name: row.get(0),
            kind: row.get(1),
            sql_type: row.get(2),
            not_null: row.get(3),
            has_default: row.get(4),
            is_generated: row.get(5),
            deterministic: row.get(6),
        }
    }

    fn column(&self) -> Column {
        Column {
            name: identifier(&self.name),
            sql_type: self.sql_type.clone(),
        }
    }

    /// What kind of a key it is a part of.
    fn kind(&self) -> Result<Kind, String> {
        let (name, sql_type) = (&self.name, &self.sql_type);
        if !self.deterministic {
            return Err(format!(
                "the collation of key column `{name}` takes different texts for one; give it a deterministic one"
            ));
        }
        if !self.not_null {
            return Err(format!(
                "key column `{name}` may be null; ALTER COLUMN \"{name}\" SET NOT NULL"
            ));
        }
        match self.kind.as_str() {
            "int2" | "int4" | "int8" => Ok(Kind::Integer),
            "text" | "varchar" => Ok(Kind::Text),
            "bytea" => Ok(Kind::Bytes),
            "uuid" => Ok(Kind::Uuid),
            _ => Err(format!(
                "key column `{name}` is of type {sql_type}; keys are integers, text, bytea or uuid"
            )),
        }
    }
}

async fn users(
    client: &Client,
    name: &str,
    options: &PostgresOptions,
    columns: &TableColumns,
    away: &(impl Fn(tokio_postgres::Error) -> BackendError + Sync),
) -> Result<Layout, OpenError> {
    let unfit = |why: String| OpenError::UnfitTable {
        table: name.to_owned(),
        why,
    };
    let persistence =
        "SELECT relkind::text, relpersistence::text FROM pg_class WHERE oid = to_regclass($1)";
    let row = client.query_opt(persistence, &[&name]).await;
    let row = row
        .map_err(away)?
        .ok_or_else(|| unfit("there is none of that name".to_owned()))?;
    let (kind, persistence): (String, String) = (row.get(0), row.get(1));
    if !["r", "p"].contains(&kind.as_str()) {
        return Err(unfit("it is no ordinary table".to_owned()));
    }
    if persistence != "p" {
        let why =
            "a crash empties it, and what is committed has to stay; ALTER TABLE ... SET LOGGED";
        return Err(unfit(why.to_owned()));
    }
    let found = client.query(COLUMNS, &[&name]).await.map_err(away)?;
    let found: Vec<Found> = found.iter().map(Found::read).collect();
    let mut names: Vec<String> = columns.key.clone();
    names.sort_unstable();
    let indexes = client.query(INDEXES, &[&name]).await.map_err(away)?;
    let unique = indexes
        .iter()
        .any(|row| row.get::<_, Vec<String>>(0) == names);
    if names.is_empty() || !unique {
        let why = format!(
            "its key columns ({}) have no unique index of their own; name those of the primary key",
            columns.key.join(", ")
        );
        return Err(unfit(why));
    }
    fit(options, columns, &found).map_err(unfit)
}

/// Finds the declared columns, and looks whether rows can be written with them alone.
fn fit(
    options: &PostgresOptions,
    columns: &TableColumns,
    found: &[Found],
) -> Result<Layout, String> {
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
    let keys = columns.key.iter().map(|name| {
        let column = find(name)?;
        Ok((column.column(), column.kind()?))
    });
    let keys = keys.collect::<Result<Vec<_>, String>>()?;
    let values = columns.value.iter().map(find);
    let values = values.collect::<Result<Vec<_>, String>>()?;
    let used = |name: &String| columns.key.contains(name) || columns.value.contains(name);
    let missing = |column: &&Found| {
        column.not_null && !column.has_default && !column.is_generated && !used(&column.name)
    };
    if let Some(column) = found.iter().find(missing) {
        return Err(format!(
            "column `{}` must have a value and has no default; declare it as value, or give it a default",
            column.name
        ));
    }
    let form = match values.as_slice() {
        [] => return Err("no column is declared as value".to_owned()),
        [one] if one.not_null => Values::One {
            bytes: one.kind == "bytea",
        },
        _ => Values::Object(columns.value.clone()),
    };
    let values = values.into_iter().map(Found::column).collect();
    Ok(Layout::new(
        &options.schema,
        &options.table,
        keys,
        values,
        form,
    ))
}
