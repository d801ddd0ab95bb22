//! Tables that somebody else has made.

use adapters::columns::{Cell, Kind, Kinds, TableColumns};
use adapters::mariadb::{MariaDb, MariaDbOptions, OpenError};
use adapters::{Backend, NotPrepared};
use participant::{Change, Key, KeyRange, Value};

use super::{Bench, commit, global, value};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "a table of others is read and written by its columns",
        by_columns,
    ),
    ("a put changes no row but that of its key", one_row),
    ("a single value column is the value", single_column),
    (
        "a table that does not keep what the order needs is refused with what to do",
        unfit,
    ),
    (
        "who writes past the site is refused, unless that is wanted",
        past_the_site,
    ),
];

fn columns(key: &[&str], value: &[&str]) -> TableColumns {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    TableColumns {
        key: owned(key),
        value: owned(value),
    }
}

fn account(branch: i64, name: &str) -> Key {
    let kinds = Kinds::new(vec![Kind::Integer, Kind::Text]);
    let cells = [Cell::Integer(branch), Cell::Text(name.to_owned())];
    kinds.encode(&cells).unwrap().into()
}

fn branch_start(branch: i64) -> Key {
    let kinds = Kinds::new(vec![Kind::Integer]);
    kinds.encode(&[Cell::Integer(branch)]).unwrap().into()
}

/// A table with a key of two columns, a value of two, and columns that the site does not know.
fn bank(bench: &mut Bench) -> MariaDbOptions {
    let options = MariaDbOptions {
        table: "accounts".to_owned(),
        columns: Some(columns(&["branch", "name"], &["balance", "note"])),
        ..bench.options()
    };
    let mut conn = bench.connect();
    let table = format!("`{}`.accounts", options.schema);
    let make = format!(
        "CREATE DATABASE `{}`; \
         CREATE TABLE {table} (branch INT, name VARCHAR(40) COLLATE utf8mb4_nopad_bin, balance DECIMAL(12,2) NOT NULL, \
             note VARCHAR(40) UNIQUE, opened TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (branch, name)) \
             CHARACTER SET utf8mb4; \
         INSERT INTO {table} (branch, name, balance, note) VALUES \
             (-1, 'eve', 5, NULL), (2, 'adam', 7.5, 'it''s'), (2, 'adam ', 1, ''), (10, 'adam', 1, 'ten')",
        options.schema
    );
    bench.exec(&mut conn, &make).unwrap();
    options
}

fn open(bench: &Bench, options: &MariaDbOptions) -> MariaDb {
    let opened = bench.run(MariaDb::open(&options.schema, options.clone()));
    opened.unwrap()
}

fn by_columns(bench: &mut Bench) {
    let options = bank(bench);
    let adapter = open(bench, &options);
    let get = |key| {
        let found: Option<Value> = bench.run(adapter.get(&key)).unwrap();
        found.map(|found| String::from_utf8(found.to_vec()).unwrap())
    };
    let expected = r#"{"balance":"7.50","note":"it's"}"#;
    assert_eq!(get(account(2, "adam")).as_deref(), Some(expected));
    let expected = r#"{"balance":"5.00","note":null}"#;
    assert_eq!(get(account(-1, "eve")).as_deref(), Some(expected));
    assert_eq!(get(account(2, "eve")), None);
    let changes = [
        Change::Put(
            account(2, "e'\"\\"),
            value(r#"{"note": "ö", "balance": "3.25"}"#),
        ),
        Change::Put(account(2, "adam"), value(r#"{"note": null, "balance": 8}"#)),
        Change::Delete(account(10, "adam")),
        Change::Delete(account(11, "nobody")),
    ];
    bench.run(commit(&adapter, 1, &changes));
    let keys = |low: Key, high: Option<Key>| -> Vec<Key> {
        let rows = bench.run(adapter.scan(&KeyRange { low, high }, 9)).unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    };
    let two = [
        account(2, "adam"),
        account(2, "adam "),
        account(2, "e'\"\\"),
    ];
    assert_eq!(keys(branch_start(2), Some(branch_start(3))), two);
    assert_eq!(keys(account(2, "adam "), Some(account(2, "b"))), two[1..2]);
    assert_eq!(keys(account(-1, "f"), None), two);
    let everything: Key = [].into();
    assert_eq!(keys(Key::clone(&everything), None).len(), 4);
    assert!(
        bench
            .run(adapter.scan(
                &KeyRange {
                    low: everything,
                    high: None
                },
                3
            ))
            .is_err()
    );
    // The column that the site does not know is as it was.
    let statement = format!(
        "SELECT name, CAST(balance AS CHAR), IFNULL(note, 'none') FROM `{}`.accounts WHERE branch = 2 ORDER BY name",
        options.schema
    );
    let rows: Vec<(String, String, String)> = bench.rows(&mut bench.connect(), &statement);
    let expected = [
        ("adam", "8.00", "none"),
        ("adam ", "1.00", ""),
        ("e'\"\\", "3.25", "ö"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(rows, expected);
    assert!(adapter.check_key(&[1, 2].as_slice().into()).is_err());
    let half = KeyRange {
        low: [1].as_slice().into(),
        high: None,
    };
    assert!(adapter.check_range(&half).is_err());
    let wrong = Change::Put(account(2, "adam"), value("7"));
    assert!(adapter.check_change(&wrong).is_err());
    let increment = Change::Increment(account(2, "adam"), 1);
    assert!(adapter.check_change(&increment).is_err());
}

/// Where somebody else has the value of another unique index, or a value does not fit, the branch is refused.
fn one_row(bench: &mut Bench) {
    let options = bank(bench);
    let adapter = open(bench, &options);
    let rows = format!(
        "SELECT SUM(balance), COUNT(*) FROM `{}`.accounts",
        options.schema
    );
    let before: Vec<(String, u64)> = bench.rows(&mut bench.connect(), &rows);
    for (number, (name, content)) in [
        ("new", r#"{"balance": "100", "note": "ten"}"#),
        ("adam", r#"{"balance": "100", "note": "ten"}"#),
        ("adam", r#"{"balance": "much", "note": null}"#),
        ("adam", r#"{"balance": null, "note": null}"#),
        ("adam", r#"{"balance": "99999999999", "note": null}"#),
        (
            "a name of more than forty letters, which is too long",
            r#"{"balance": "1", "note": null}"#,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let change = Change::Put(account(2, name), value(content));
        let prepared = bench.run(adapter.prepare(global(number as u64), &[change]));
        assert!(
            matches!(prepared, Err(NotPrepared::Refused(_))),
            "{content}: {prepared:?}"
        );
    }
    assert_eq!(
        bench.rows::<(String, u64)>(&mut bench.connect(), &rows),
        before
    );
    assert_eq!(bench.prepared(), 0);
}

fn single_column(bench: &mut Bench) {
    let options = MariaDbOptions {
        table: "blobs".to_owned(),
        columns: Some(columns(&["id"], &["content"])),
        ..bench.options()
    };
    let make = format!(
        "CREATE DATABASE `{0}`; CREATE TABLE `{0}`.blobs (id VARBINARY(16) PRIMARY KEY, content BLOB NOT NULL)",
        options.schema
    );
    bench.exec(&mut bench.connect(), &make).unwrap();
    let adapter = open(bench, &options);
    let key: Key = [0, 255, b'\''].as_slice().into();
    let content: Value = [255, 0, 1].as_slice().into();
    let put = Change::Put(Key::clone(&key), Value::clone(&content));
    bench.run(commit(&adapter, 1, &[put]));
    assert_eq!(
        bench.run(adapter.get(&key)).unwrap(),
        Some(Value::clone(&content))
    );
    let all = KeyRange {
        low: [0].as_slice().into(),
        high: None,
    };
    assert_eq!(bench.run(adapter.scan(&all, 9)).unwrap(), [(key, content)]);
}

fn unfit(bench: &mut Bench) {
    let schema = bench.options().schema;
    let make = format!(
        "CREATE DATABASE `{schema}`; USE `{schema}`; \
         CREATE TABLE padded (k VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, v TEXT); \
         CREATE TABLE zeros (k BINARY(4) PRIMARY KEY, v TEXT); \
         CREATE TABLE large (k BIGINT UNSIGNED PRIMARY KEY, v TEXT); \
         CREATE TABLE half (k INT, b INT DEFAULT 0, v TEXT, PRIMARY KEY (k, b)); \
         CREATE TABLE part (k VARBINARY(90) NOT NULL, v TEXT, UNIQUE (k(3))); \
         CREATE TABLE needs (k INT PRIMARY KEY, v TEXT, other TEXT NOT NULL); \
         CREATE TABLE inexact (k INT PRIMARY KEY, v FLOAT); \
         CREATE TABLE bits (k INT PRIMARY KEY, v BIT(4)); \
         CREATE TABLE bytes (k INT PRIMARY KEY, v BLOB); \
         CREATE TABLE made (k INT PRIMARY KEY, v INT AS (k + 1)); \
         CREATE TABLE open_end (k INT UNIQUE, v TEXT); \
         CREATE TABLE lost (k INT PRIMARY KEY, v TEXT) ENGINE = Aria; \
         CREATE TABLE child (k INT PRIMARY KEY, v TEXT, up INT, FOREIGN KEY (up) REFERENCES needs (k) ON DELETE CASCADE)"
    );
    bench.exec(&mut bench.connect(), &make).unwrap();
    for (table, said) in [
        ("padded", "utf8mb4_nopad_bin"),
        ("zeros", "varbinary"),
        ("large", "make it bigint"),
        ("half", "unique index"),
        ("part", "unique index"),
        ("needs", "`other`"),
        ("inexact", "double or decimal"),
        ("bits", "no text"),
        ("bytes", "NOT NULL"),
        ("made", "generated"),
        ("open_end", "declare it NOT NULL"),
        ("lost", "ENGINE = InnoDB"),
        ("child", "ON DELETE CASCADE"),
        ("nothing", "none of that name"),
    ] {
        let options = MariaDbOptions {
            schema: schema.clone(),
            table: table.to_owned(),
            columns: Some(columns(&["k"], &["v"])),
            ..bench.options()
        };
        let opened = bench.run(MariaDb::open(&schema, options));
        let error = opened.map(drop).expect_err(table).to_string();
        assert!(error.contains(said), "{table}: {error}");
    }
}

fn past_the_site(bench: &mut Bench) {
    let guarded = bank(bench);
    drop(open(bench, &guarded));
    let mut conn = bench.connect();
    let table = format!("`{}`.accounts", guarded.schema);
    let insert = format!("INSERT INTO {table} (branch, name, balance) VALUES (1, 'x', 1)");
    let update = format!("UPDATE {table} SET balance = 0");
    let delete = format!("DELETE FROM {table}");
    for statement in [&insert, &update, &delete] {
        assert_eq!(bench.exec(&mut conn, statement), Err(1644), "{statement}");
    }
    // The triggers are there already, and a branch in doubt would be in the way of new ones.
    let adapter = open(bench, &guarded);
    let change = Change::Put(
        account(2, "adam"),
        value(r#"{"balance": "1", "note": null}"#),
    );
    bench.run(adapter.prepare(global(1), &[change])).unwrap();
    drop(adapter);
    let adapter = open(bench, &guarded);
    bench.run(adapter.commit(global(1))).unwrap();
    drop(adapter);
    let unguarded = MariaDbOptions {
        guard: false,
        ..guarded.clone()
    };
    let adapter = open(bench, &unguarded);
    bench.exec(&mut conn, &insert).unwrap();
    assert!(bench.run(adapter.get(&account(1, "x"))).unwrap().is_some());
    drop(adapter);
    // A trigger of that name that lets everything through.
    let weak = format!(
        "CREATE TRIGGER `{}`.accounts_co_update BEFORE UPDATE ON {table} FOR EACH ROW SET @seen = 1",
        guarded.schema
    );
    bench.exec(&mut conn, &weak).unwrap();
    let refused = bench
        .run(MariaDb::open(&guarded.schema, guarded.clone()))
        .map(drop);
    assert!(
        matches!(refused, Err(OpenError::Guards { .. })),
        "{refused:?}"
    );
}
