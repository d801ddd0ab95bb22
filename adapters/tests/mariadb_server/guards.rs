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
    ("branches of others are left alone", foreign_branches),
    (
        "a user with few rights can do all that is needed",
        plain_user,
    ),
];

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
