//! Writers that do not come through the adapter, and users that may do little.

use adapters::Backend;
use adapters::mariadb::{MariaDb, MariaDbOptions, OpenError};

use super::{Bench, all, commit, delete, global, put};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "writers from outside are refused, as far as triggers go",
        outsiders,
    ),
    ("a trigger that does not refuse is found", weak_guard),
    (
        "a branch in doubt that holds a gap is not in the way of the next life",
        gap_in_doubt,
    ),
    ("branches of others are left alone", foreign_branches),
    (
        "a user with few rights can do all that is needed",
        plain_user,
    ),
    (
        "the rights that the manual grants are enough, and none is too many",
        manual_user,
    ),
];

/// The manual's way to a user for a site.
const MANUAL: &str = include_str!("../../../docs/databases.md");

/// What triggers refuse with.
const SIGNAL: Result<(), u16> = Err(1644);

fn outsiders(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("a", "1"), put("b", "1")]));
    let mut conn = bench.connect();
    let rows = format!("{}.rows", options.schema);
    let insert = format!("INTO {rows} (`key`, `value`) VALUES ('a', 'x')");
    for refused in [
        format!("INSERT {insert}"),
        format!("REPLACE {insert}"),
        format!("INSERT {insert} ON DUPLICATE KEY UPDATE `value` = 'x'"),
        format!("UPDATE {rows} SET `value` = 'x'"),
        format!("DELETE FROM {rows} LIMIT 1"),
        format!("START TRANSACTION; DELETE FROM {rows}"),
    ] {
        assert_eq!(bench.exec(&mut conn, &refused), SIGNAL, "{refused}");
    }
    let file = format!(
        "USE {}; SELECT 'c', '', '', 'x' INTO OUTFILE 'rows.txt'; LOAD DATA INFILE 'rows.txt' INTO TABLE `rows`",
        options.schema
    );
    assert_eq!(bench.exec(&mut conn, &file), SIGNAL);
    // IGNORE makes warnings of some errors.
    let ignoring =
        format!("ROLLBACK; INSERT IGNORE INTO {rows} (`key`, `value`) VALUES ('d', 'x')");
    let _refused_or_warned = bench.exec(&mut conn, &ignoring);
    assert_eq!(bench.run(adapter.scan(&all(), 9)).unwrap().len(), 2);
    // A row whose value does not change is not written.
    bench.run(commit(&adapter, 2, &[put("a", "1"), delete("b")]));
    // What no trigger sees, as the documentation says.
    bench.exec(&mut conn, &format!("TRUNCATE {rows}")).unwrap();
    assert!(bench.run(adapter.scan(&all(), 9)).unwrap().is_empty());
}

fn gap_in_doubt(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    drop(adapter);
    let mut conn = bench.connect();
    let branch = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE; XA START 'gap'; \
         SELECT * FROM `{}`.`rows` WHERE `key` = 'a'; XA END 'gap'; XA PREPARE 'gap'",
        options.schema
    );
    bench.exec(&mut conn, &branch).unwrap();
    bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.exec(&mut conn, "XA ROLLBACK 'gap'").unwrap();
}

fn weak_guard(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    drop(adapter);
    let mut conn = bench.connect();
    let guard = format!("{}.rows_co_update", options.schema);
    bench
        .exec(&mut conn, &format!("DROP TRIGGER {guard}"))
        .unwrap();
    bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    let update = format!("UPDATE {}.rows SET `value` = 'x'", options.schema);
    let weak = format!(
        "CREATE OR REPLACE TRIGGER {guard} BEFORE UPDATE ON {}.rows FOR EACH ROW SET @seen = 1",
        options.schema
    );
    bench.exec(&mut conn, &weak).unwrap();
    let refused = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap_err();
    assert!(matches!(refused, OpenError::Guards { .. }), "{refused}");
    assert!(refused.to_string().contains("rows_co_update"), "{refused}");
    bench
        .exec(&mut conn, &format!("DROP TRIGGER {guard}"))
        .unwrap();
    let adapter = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.run(commit(&adapter, 1, &[put("a", "1")]));
    assert_eq!(bench.exec(&mut conn, &update), SIGNAL);
}

fn foreign_branches(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    let site = &options.schema;
    bench
        .run(adapter.prepare(global(1), &[put("a", "1")]))
        .unwrap();
    let mut others = Vec::new();
    for xid in [
        format!("'co:{site}','g2',1"),
        format!("'co:{site}x','g2',25455"),
        format!("'co:{site}','x2',25455"),
        "x'ff00fe',x'fe',25455".to_owned(),
    ] {
        let mut conn = bench.connect();
        let branch = format!("XA START {xid}; XA END {xid}; XA PREPARE {xid}");
        bench.exec(&mut conn, &branch).unwrap();
        others.push((conn, xid));
    }
    assert_eq!(bench.run(adapter.branches()).unwrap(), [global(1)]);
    // Whoever opens the site ends its own sessions, and no others.
    let adapter = bench.run(MariaDb::open(site, options.clone())).unwrap();
    assert_eq!(bench.run(adapter.branches()).unwrap(), [global(1)]);
    for (mut conn, xid) in others {
        bench
            .exec(&mut conn, &format!("XA ROLLBACK {xid}"))
            .unwrap();
    }
    bench.run(adapter.roll_back(global(1))).unwrap();
    assert_eq!(bench.prepared(), 0);
}

fn plain_user(bench: &mut Bench) {
    let (_, options) = bench.adapter();
    let mut root = bench.connect();
    let user = format!(
        "CREATE USER plain@'%' IDENTIFIED BY 'p%40ss'; GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO plain@'%'",
        options.schema
    );
    bench.exec(&mut root, &user).unwrap();
    let options = MariaDbOptions {
        url: format!("mysql://plain:p%2540ss@127.0.0.1:{}", bench.server.port()),
        sessions: 1,
        ..options
    };
    let former = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench
        .run(former.prepare(global(1), &[put("a", "1")]))
        .unwrap();
    // Ends the session of the former one, and finds its branch.
    let adapter = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.run(async {
        assert_eq!(adapter.branches().await.unwrap(), [global(1)]);
        adapter.commit(global(1)).await.unwrap();
        adapter.set_mark(1, 1).await.unwrap();
        commit(&adapter, 2, &[delete("a")]).await;
    });
    assert_eq!(bench.value(&options, "a"), None);
    bench.exec(&mut root, "DROP USER plain@'%'").unwrap();
}

/// What the manual grants on the schema `co`.
fn granted() -> Vec<&'static str> {
    let (_, rest) = MANUAL.split_once("    GRANT ").unwrap();
    let (rights, _) = rest.split_once(" ON co.* TO stock@").unwrap();
    rights.split(", ").collect()
}

fn manual_user(bench: &mut Bench) {
    let options = bench.options();
    let mut root = bench.connect();
    let rights = granted();
    let schema = options.schema.clone();
    let user = format!(
        "CREATE USER stock@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT {} ON {schema}.* TO stock@'127.0.0.1'",
        rights.join(", ")
    );
    bench.exec(&mut root, &user).unwrap();
    let options = MariaDbOptions {
        url: format!("mysql://stock:secret@127.0.0.1:{}", bench.server.port()),
        ..options
    };
    let works = |bench: &mut Bench, number| {
        let adapter = bench
            .run(MariaDb::open(&schema, options.clone()))
            .map_err(|error| error.to_string())?;
        let written = bench.run(adapter.prepare(global(number), &[put("a", "1")]));
        written.map_err(|error| format!("{error:?}"))?;
        let committed = bench.run(adapter.commit(global(number)));
        committed.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(works(bench, 1), Ok(()), "the first start");
    assert_eq!(works(bench, 2), Ok(()), "another one");
    for (number, right) in (3..).zip(&rights) {
        let revoke = format!("REVOKE {right} ON {schema}.* FROM stock@'127.0.0.1'");
        bench.exec(&mut root, &revoke).unwrap();
        // Once the table is there nothing is created any more; all else is needed for as long as the site lives.
        let goes_on = works(bench, number);
        match *right {
            "CREATE" => assert_eq!(goes_on, Ok(()), "without {right}"),
            // No row has been deleted here, only guards look at those who delete.
            "DELETE" => assert!(
                delete_is_refused(bench, &schema, &options),
                "without {right}"
            ),
            _ => assert!(goes_on.is_err(), "without {right}"),
        }
        let grant = format!("GRANT {right} ON {schema}.* TO stock@'127.0.0.1'");
        bench.exec(&mut root, &grant).unwrap();
    }
    assert_eq!(works(bench, 100), Ok(()), "with all of them again");
    bench
        .exec(&mut root, "DROP USER stock@'127.0.0.1'")
        .unwrap();
}

/// Whether a row cannot be deleted.
fn delete_is_refused(bench: &mut Bench, site: &str, options: &MariaDbOptions) -> bool {
    let Ok(adapter) = bench.run(MariaDb::open(site, options.clone())) else {
        return true;
    };
    let deleted = bench.run(adapter.prepare(global(99), &[delete("a")]));
    if deleted.is_ok() {
        bench.run(adapter.roll_back(global(99))).unwrap();
    }
    deleted.is_err()
}
