//! Constraints within rows, and what is derived from rows: attributes, uniqueness, indexes and views.

use std::collections::BTreeSet;
use std::fmt;

use super::super::application::ReplicaId;
use super::super::catalogue::{About, Claim, Visitor};
use super::super::lattice::{Both, Counters, Grow, Rows, Version, Versioned};
use super::super::model::Model;

/// A row with a key and one attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Record {
    id: u16,
    value: &'static str,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.value)
    }
}

type Records = Rows<Versioned<Record>>;

/// Attributes and uniqueness.
pub(super) fn visit(visitor: &mut impl Visitor) {
    let modelled =
        "insert, update and delete of rows; an update deletes the versions it sees and adds one";
    let row = |invariant, operation, claim| About::sql(invariant, operation, claim, modelled);
    visitor.visit(
        &row("attribute equality", "any", Claim::Confluent),
        &attribute("every CURRENCY = EUR", |value| value == "EUR"),
    );
    visitor.visit(
        &row("attribute inequality", "any", Claim::Confluent),
        &attribute("no CURRENCY = NULL", |value| value != "NULL"),
    );
    let specific = row("uniqueness", "choose specific value", Claim::NotConfluent);
    visitor.visit(&specific, &specific_ids());
    let some = About::sql(
        "uniqueness",
        "choose some value",
        Claim::Confluent,
        "a replica composes an id of its own number and a count of its rows",
    );
    visitor.visit(&some, &chosen_ids());
    let sequential = About::sql(
        "AUTO_INCREMENT",
        "insert",
        Claim::NotConfluent,
        "an insert takes the highest id that it sees plus one; ids are 1, 2, 3, ... without gaps",
    );
    visitor.visit(&sequential, &sequential_ids());
}

/// What is kept next to the rows and must agree with them.
pub(super) fn visit_derived(visitor: &mut impl Visitor) {
    let index = About::sql(
        "secondary indexing",
        "update",
        Claim::Confluent,
        "an index entry names the version of the row that it is of; a transaction writes both",
    );
    visitor.visit(&index, &secondary_index());
    let view = About::sql(
        "materialized views",
        "update",
        Claim::Confluent,
        "UNREAD as the set of changes to it, each named by the mail that caused it",
    );
    visitor.visit(&view, &view_by_cause());
    let counter = view.but(
        "UNREAD as a bare counter: two replicas that mark the same mail as read both count it",
    );
    visitor.visit(&counter, &view_as_counter());
}

fn put(id: u16, value: &'static str) -> impl Fn(&mut Records, ReplicaId) {
    move |rows, at| {
        rows.delete_if(|row| row.content.id == id);
        rows.write(Record { id, value }, at);
    }
}

fn attribute(
    name: &'static str,
    allowed: impl Fn(&'static str) -> bool + Send + Sync + 'static,
) -> Model<Records> {
    let mut model = Model::new(Rows::default());
    for (id, value) in [(1, "EUR"), (1, "USD"), (1, "NULL"), (2, "EUR")] {
        model = model.update(
            format!("put row {id} with CURRENCY = {value}"),
            put(id, value),
        );
    }
    model
        .update("delete row 1", |rows, _| {
            rows.delete_if(|row| row.content.id == 1);
        })
        .explained(move |rows| {
            let wrong = rows.live().find(|row| !allowed(row.content.value))?;
            Some(format!("{name} does not hold: there is row {wrong}"))
        })
}

/// Ids that are there twice.
fn duplicate(rows: &Records) -> Option<String> {
    let mut ids = BTreeSet::new();
    let twice = rows.contents().find(|row| !ids.insert(row.id))?;
    Some(format!(
        "ids are unique does not hold: {} is there twice",
        twice.id
    ))
}

fn specific_ids() -> Model<Records> {
    let insert = |id, value| {
        move |rows: &mut Records, at| {
            rows.write(Record { id, value }, at);
        }
    };
    Model::new(Rows::default())
        .update("insert Stan with id 5", insert(5, "Stan"))
        .update("insert Mary with id 5", insert(5, "Mary"))
        .update("insert Anna with id 6", insert(6, "Anna"))
        .update("delete id 5", |rows, _| {
            rows.delete_if(|row| row.content.id == 5);
        })
        .explained(duplicate)
}

fn chosen_ids() -> Model<Records> {
    let insert = |value| {
        move |rows: &mut Records, at: ReplicaId| {
            let mine = rows.added().filter(|row| row.version.by == at).count();
            let count = u16::try_from(mine).expect("a replica writes few rows") + 1;
            let id = 100 * (u16::from(at.0) + 1) + count;
            rows.write(Record { id, value }, at);
        }
    };
    Model::new(Rows::default())
        .update("insert Stan with some id", insert("Stan"))
        .update("insert Mary with some id", insert("Mary"))
        .update("delete every Stan", |rows, _| {
            rows.delete_if(|row| row.content.value == "Stan");
        })
        .explained(duplicate)
}

fn sequential_ids() -> Model<Records> {
    let insert = |value| {
        move |rows: &mut Records, at| {
            let id = rows.contents().map(|row| row.id).max().unwrap_or(0) + 1;
            rows.write(Record { id, value }, at);
        }
    };
    Model::new(Rows::default())
        .update("insert Stan with the next id", insert("Stan"))
        .update("insert Mary with the next id", insert("Mary"))
        .explained(|rows| {
            let mut ids: Vec<u16> = rows.contents().map(|row| row.id).collect();
            ids.sort_unstable();
            let sequential = ids.iter().copied().eq((1..).take(ids.len()));
            (!sequential).then(|| format!("ids are 1, 2, 3, ... does not hold: they are {ids:?}"))
        })
}

/// An index entry: the attribute, and the version of the row that has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Entry {
    value: &'static str,
    of: Version,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.value, self.of)
    }
}

fn secondary_index() -> Model<Both<Records, Rows<Entry>>> {
    let mut model = Model::new(Both(Records::default(), Rows::default()));
    for (id, value) in [(1, "Rome"), (1, "Oslo"), (2, "Rome")] {
        let name = format!("put person {id} with CITY = {value}");
        model = model.update(name, move |Both(rows, index), at| {
            let old = rows.live().filter(|row| row.content.id == id).cloned();
            for row in old.collect::<Vec<_>>() {
                index.delete(Entry {
                    value: row.content.value,
                    of: row.version,
                });
                rows.delete(row);
            }
            let of = rows.write(Record { id, value }, at);
            index.insert(Entry { value, of });
        });
    }
    model.invariant(
        "the index on CITY has exactly the people",
        |Both(rows, index)| {
            let entry = |row: &Versioned<Record>| (row.content.value, row.version);
            let people: BTreeSet<_> = rows.live().map(entry).collect();
            let entries: BTreeSet<_> = index.live().map(|it| (it.value, it.of)).collect();
            people == entries
        },
    )
}

/// A change to UNREAD: a mail came, or was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Change {
    mail: Version,
    by: i8,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+} for {}", self.by, self.mail)
    }
}

/// Unread mails; those that were read are deleted here.
type Mails = Rows<Versioned<&'static str>>;

/// Mails with a view that counts them, kept by `change`: called with the view, the mail, -1 or 1, and who does it.
fn mails<V>(
    view: V,
    change: fn(&mut V, Version, i8, ReplicaId),
    value: fn(&V) -> i64,
) -> Model<Both<Mails, V>>
where
    V: Clone + 'static,
{
    let mut start = Both(Mails::default(), view);
    let mail = start.0.write("mail", ReplicaId::INITIAL);
    change(&mut start.1, mail, 1, ReplicaId::INITIAL);
    Model::new(start)
        .update("receive a mail", move |Both(mails, view), at| {
            let mail = mails.write("mail", at);
            change(view, mail, 1, at);
        })
        .transaction("mark a mail as read", move |Both(mails, view), at| {
            let (mut mails, mut view) = (mails.clone(), view.clone());
            let read = mails.live().next()?.clone();
            change(&mut view, read.version, -1, at);
            mails.delete(read);
            Some(Both(mails, view))
        })
        .explained(move |Both(mails, view)| {
            let (unread, shown) = (mails.live().count(), value(view));
            let name = "UNREAD is the number of unread mails";
            (i64::try_from(unread) != Ok(shown))
                .then(|| format!("{name} does not hold: it is {shown}, and there are {unread}"))
        })
}

fn view_by_cause() -> Model<Both<Mails, Grow<Change>>> {
    mails(
        Grow::default(),
        |view, mail, by, _| view.insert(Change { mail, by }),
        |view| view.iter().map(|change| i64::from(change.by)).sum(),
    )
}

fn view_as_counter() -> Model<Both<Mails, Counters<&'static str>>> {
    mails(
        Counters::default(),
        |view, _, by, at| view.add("UNREAD", at, i32::from(by)),
        |view| view.value(&"UNREAD"),
    )
}
