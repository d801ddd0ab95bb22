//! Which tables a statement touches, as far as the server's catalogue tells: through views, functions and triggers.
//!
//! The server rolls back, locks and prepares what is in InnoDB's tables. Of every other engine it accepts statements in a
//! branch all the same, and a rollback leaves them done. So before a statement is run, every name in it is looked up, and
//! what views, functions and triggers of such names are made of.

use std::collections::BTreeSet;

use super::super::session::{Fault, Session};
use super::super::sql;
use super::Shared;
use super::statement::{self, Name};

/// The server's own schemas: what is in them is no table of InnoDB's, or not to be written.
const OWN: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// A thing of the catalogue that a name may mean.
type Place = (String, String);

/// What is to be said of a statement.
pub(super) enum Look {
    /// It is not run, for what it touches.
    Refused(String),
    /// It may run. `routines`: functions or triggers run with it, and may set something in the session that stays set.
    Fine { routines: bool },
}

fn refused(why: String) -> Result<Look, Fault> {
    Ok(Look::Refused(why))
}

/// Looks at all that the names of a statement lead to; one that `changes` something must not do that to the adapter's own
/// tables.
pub(super) async fn look(
    session: &mut Session,
    shared: &Shared,
    names: Vec<Name>,
    changes: bool,
) -> Result<Look, Fault> {
    let mut routines = false;
    let mut known: BTreeSet<Place> = BTreeSet::new();
    let mut called: BTreeSet<Place> = BTreeSet::new();
    let mut next: Vec<(String, Vec<Name>)> = vec![(shared.schema.clone(), names)];
    while let Some((default, names)) = next.pop() {
        if let Some(own) = names.iter().find_map(|it| own_schema(it)) {
            return refused(format!("{own} is the server's own"));
        }
        if statement::takes_locks(&names) {
            return refused("it takes or gives back named locks".to_owned());
        }
        let place = |name: Name| (name.schema.unwrap_or_else(|| default.clone()), name.name);
        let (functions, tables): (Vec<Name>, Vec<Name>) =
            names.into_iter().partition(|it| it.called);
        let functions: Vec<Place> = functions.into_iter().map(place).collect();
        // `INSERT INTO t(a)`: a table may look like a function.
        let places = tables
            .into_iter()
            .map(place)
            .chain(functions.iter().cloned());
        let tables: Vec<Place> = places.filter(|it| known.insert(it.clone())).collect();
        let functions = functions.into_iter();
        let functions: Vec<Place> = functions.filter(|it| called.insert(it.clone())).collect();
        for table in of_tables(session, &tables).await? {
            if is_own(&table.place.0) {
                return refused(format!("{} is the server's own", table.place.0));
            }
            let (schema, name) = &table.place;
            if (changes || routines) && shared.table.is_bookkeeping(schema, name) {
                return refused(format!("{schema}.{name} is the adapter's own"));
            }
            match table.what {
                What::InnoDb => {}
                What::Engine(engine) => {
                    return refused(format!(
                        "the table {schema}.{name} is not one of InnoDB's ({engine})"
                    ));
                }
                What::View(text) | What::Trigger(text) if text.is_empty() => {
                    return refused(hidden(schema, name));
                }
                What::View(text) => next.push((table.place.0, statement::names_in(&text))),
                What::Trigger(text) => {
                    routines = true;
                    next.push((table.place.0, statement::names_in(&text)));
                }
            }
        }
        for (schema, name, text) in of_functions(session, &functions).await? {
            let Some(text) = text else {
                return refused(hidden(&schema, &name));
            };
            routines = true;
            next.push((schema, statement::names_in(&text)));
        }
    }
    Ok(Look::Fine { routines })
}

fn hidden(schema: &str, name: &str) -> String {
    format!("what {schema}.{name} does is not shown to the site's user")
}

fn own_schema(name: &Name) -> Option<&str> {
    let schema = name.schema.as_deref()?;
    is_own(schema).then_some(schema)
}

fn is_own(schema: &str) -> bool {
    OWN.iter().any(|own| own.eq_ignore_ascii_case(schema))
}

enum What {
    InnoDb,
    /// Another engine, or no table.
    Engine(String),
    /// It shows what this says.
    View(String),
    /// It has this done.
    Trigger(String),
}

/// What a text makes of what has it.
type OfText = fn(String) -> What;

struct Found {
    place: Place,
    what: What,
}

fn literal(text: &str) -> String {
    format!("CONVERT({} USING utf8mb4)", sql::bytes(text.as_bytes()))
}

fn union(places: &[Place], select: &str, columns: (&str, &str)) -> String {
    let (schema, name) = columns;
    let selects = places.iter().map(|place| {
        let (in_schema, named) = (literal(&place.0), literal(&place.1));
        format!("{select} WHERE {schema} = {in_schema} AND {name} = {named}")
    });
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

async fn of_tables(session: &mut Session, places: &[Place]) -> Result<Vec<Found>, Fault> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let select = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, '') FROM information_schema.TABLES";
    let statement = union(places, select, ("TABLE_SCHEMA", "TABLE_NAME"));
    let rows: Vec<(String, String, String, String)> = session.rows(&statement).await?;
    let (mut found, mut views, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    for (schema, name, kind, engine) in rows {
        let place = (schema, name);
        let versioned = kind == "SYSTEM VERSIONED";
        let what = match kind.as_str() {
            "VIEW" => {
                views.push(place);
                continue;
            }
            _ if engine.eq_ignore_ascii_case("InnoDB") && (kind == "BASE TABLE" || versioned) => {
                tables.push(place.clone());
                What::InnoDb
            }
            "BASE TABLE" => What::Engine(engine),
            _ => What::Engine(kind),
        };
        found.push(Found { place, what });
    }
    let texts: [(_, OfText, _, _); 2] = [
        (
            views,
            What::View,
            "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS",
            ("TABLE_SCHEMA", "TABLE_NAME"),
        ),
        (
            tables,
            What::Trigger,
            "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, ACTION_STATEMENT FROM information_schema.TRIGGERS",
            ("EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE"),
        ),
    ];
    for (places, what, select, columns) in texts {
        if places.is_empty() {
            continue;
        }
        let statement = union(&places, select, columns);
        let rows: Vec<(String, String, Option<String>)> = session.rows(&statement).await?;
        found.extend(rows.into_iter().map(|(schema, name, text)| Found {
            place: (schema, name),
            what: what(text.unwrap_or_default()),
        }));
    }
    Ok(found)
}

async fn of_functions(
    session: &mut Session,
    places: &[Place],
) -> Result<Vec<(String, String, Option<String>)>, Fault> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let select =
        "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES";
    let statement = union(places, select, ("ROUTINE_SCHEMA", "ROUTINE_NAME"));
    session.rows(&statement).await
}
