//! What the server does, shown through plain connections.

use mysql_async::{Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts};

use super::{Bench, LOOK};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "server: 1397 is said of what another session holds and of what is finished",
        nota_both_ways,
    ),
    (
        "server: a lock wait timeout leaves half a branch that can be prepared",
        timeout_is_partial,
    ),
    (
        "server: what a branch changes in an Aria table stays after its rollback",
        aria_stays,
    ),
    (
        "server: a branch without changes goes with its session",
        empty_branches_go,
    ),
    (
        "server: after a reset a commit is answered and not done",
        reset_swallows_a_commit,
    ),
    (
        "server: a pool resets the connection with the branch",
        pools_reset,
    ),
];

const TABLE: &str = "CREATE OR REPLACE TABLE mysql.plain (k INT PRIMARY KEY, v INT NOT NULL) ENGINE=InnoDB; \
                     INSERT INTO mysql.plain VALUES (1, 0), (2, 0)";
const BRANCH: &str =
    "XA START 'b'; UPDATE mysql.plain SET v = 1 WHERE k = 1; XA END 'b'; XA PREPARE 'b'";

fn fresh(bench: &Bench) -> mysql_async::Conn {
    let mut conn = bench.connect();
    bench.exec(&mut conn, TABLE).unwrap();
    conn
}

fn value(bench: &Bench, number: u32) -> i64 {
    let mut conn = bench.connect();
    let sql = format!("SELECT v FROM mysql.plain WHERE k = {number}");
    bench.rows(&mut conn, &sql)[0]
}

fn nota_both_ways(bench: &mut Bench) {
    let (mut owner, mut other) = (fresh(bench), bench.connect());
    bench.exec(&mut owner, BRANCH).unwrap();
    assert_eq!(bench.exec(&mut other, "XA COMMIT 'b'"), Err(1397));
    assert_eq!(bench.prepared(), 1);
    assert_eq!(
        bench.exec(&mut owner, "UPDATE mysql.plain SET v = 2"),
        Err(1399)
    );
    bench.run(owner.disconnect()).unwrap();
    bench.wait_until(|| bench.exec(&mut other, "XA COMMIT 'b'").is_ok());
    assert_eq!(bench.exec(&mut other, "XA COMMIT 'b'"), Err(1397));
    assert_eq!((bench.prepared(), value(bench, 1)), (0, 1));
}

fn timeout_is_partial(bench: &mut Bench) {
    let (mut owner, mut other) = (fresh(bench), bench.connect());
    let lock = "START TRANSACTION; UPDATE mysql.plain SET v = 9 WHERE k = 2";
    bench.exec(&mut other, lock).unwrap();
    let begin = "SET innodb_lock_wait_timeout = 1; XA START 'b'; UPDATE mysql.plain SET v = 1 WHERE k = 1; \
                 UPDATE mysql.plain SET v = 1 WHERE k = 2";
    assert_eq!(bench.exec(&mut owner, begin), Err(1205));
    bench
        .exec(&mut owner, "XA END 'b'; XA PREPARE 'b'; XA COMMIT 'b'")
        .unwrap();
    bench.exec(&mut other, "ROLLBACK").unwrap();
    assert_eq!((value(bench, 1), value(bench, 2)), (1, 0), "half of it");
}

fn aria_stays(bench: &mut Bench) {
    let mut conn = fresh(bench);
    bench
        .exec(&mut conn, "ALTER TABLE mysql.plain ENGINE = Aria")
        .unwrap();
    bench.exec(&mut conn, BRANCH).unwrap();
    bench.exec(&mut conn, "XA ROLLBACK 'b'").unwrap();
    assert_eq!(value(bench, 1), 1);
}

fn empty_branches_go(bench: &mut Bench) {
    let (mut owner, mut other) = (fresh(bench), bench.connect());
    let branch = "XA START 'b'; DELETE FROM mysql.plain WHERE k = 7; XA END 'b'; XA PREPARE 'b'";
    bench.exec(&mut owner, branch).unwrap();
    bench.run(owner.disconnect()).unwrap();
    let mut answer = Ok(());
    bench.wait_until(|| {
        answer = bench.exec(&mut other, "XA COMMIT 'b'");
        answer != Err(1397)
    });
    assert_eq!(answer, Err(1402));
    assert_eq!(bench.prepared(), 0);
}

fn reset_swallows_a_commit(bench: &mut Bench) {
    let mut owner = fresh(bench);
    bench.exec(&mut owner, BRANCH).unwrap();
    assert!(bench.run(owner.reset()).unwrap());
    assert_eq!(bench.exec(&mut owner, "XA COMMIT 'b'"), Ok(()), "it says");
    assert_eq!((bench.prepared(), value(bench, 1)), (0, 0), "and did not");
    bench.kill_and_start();
    assert_eq!(bench.prepared(), 1, "it is there again");
    let mut other = bench.connect();
    bench.exec(&mut other, "XA ROLLBACK 'b'").unwrap();
}

fn pools_reset(bench: &mut Bench) {
    drop(fresh(bench));
    let one = PoolOpts::default().with_constraints(PoolConstraints::new(1, 1).unwrap());
    let opts = Opts::from_url(&bench.server.url()).unwrap();
    let pool = bench.run(async { Pool::new(OptsBuilder::from_opts(opts).pool_opts(one)) });
    let mut conn = bench.run(pool.get_conn()).unwrap();
    let thread = conn.id();
    bench.exec(&mut conn, BRANCH).unwrap();
    bench.run(async { drop(conn) });
    let mut conn = bench.run(pool.get_conn()).unwrap();
    assert_eq!(conn.id(), thread, "the same connection");
    assert_eq!(bench.exec(&mut conn, "XA COMMIT 'b'"), Ok(()), "it says");
    assert_eq!(value(bench, 1), 0, "and did not");
    bench.run(async { drop(conn) });
    bench.run(pool.disconnect()).unwrap();
    std::thread::sleep(LOOK);
    bench.kill_and_start();
    let mut other = bench.connect();
    bench.exec(&mut other, "XA ROLLBACK 'b'").unwrap();
    assert_eq!(bench.prepared(), 0);
}
