//! Branches of the adapter, and what gets in their way.

use adapters::mariadb::{MariaDb, MariaDbOptions};
use adapters::{Backend, Ending, NotPrepared};
use participant::{Change, Key, KeyRange};

use super::proxy::Proxy;
use super::{Bench, all, commit, delete, global, key, put, value};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "a branch is committed, rolled back, and finished twice",
        finished_twice,
    ),
    (
        "more branches than sessions are finished all the same",
        many_branches,
    ),
    ("no connection is ever reset", never_reset),
    (
        "a branch whose session was killed is committed",
        owner_killed,
    ),
    (
        "a branch whose session lives on behind a broken connection is committed",
        owner_out_of_reach,
    ),
    (
        "a branch that may be prepared later is not, once it is rolled back",
        late_prepare,
    ),
    (
        "a lock wait timeout rolls the branch back",
        lock_wait_timeout,
    ),
    ("a deadlock rolls the branch back", deadlock),
    (
        "branches with different keys do not wait for each other",
        neighbours,
    ),
    ("branches without changes are committed", empty_branches),
    (
        "a branch that was rolled back by hand is known to be gone",
        rolled_back_by_hand,
    ),
    ("a branch that is longer than a message", long_branch),
    (
        "keys are bytes in their order, however long",
        keys_are_bytes,
    ),
    (
        "a branch of that name is not touched by another one",
        same_name,
    ),
];

fn finished_twice(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(async {
        adapter.prepare(global(1), &[put("a", "1")]).await.unwrap();
        assert_eq!(adapter.get(&key("a")).await.unwrap(), None, "prepared only");
        assert_eq!(adapter.branches().await.unwrap(), [global(1)]);
        adapter.commit(global(1)).await.unwrap();
        assert_eq!(adapter.get(&key("a")).await.unwrap(), Some(value("1")));
        assert_eq!(adapter.commit(global(1)).await.unwrap(), Ending::Before);
        adapter.prepare(global(2), &[put("a", "2")]).await.unwrap();
        assert_eq!(adapter.roll_back(global(2)).await.unwrap(), Ending::Now);
        assert_eq!(adapter.roll_back(global(2)).await.unwrap(), Ending::Before);
        assert_eq!(adapter.get(&key("a")).await.unwrap(), Some(value("1")));
        assert_eq!(adapter.mark().await.unwrap(), (0, 0));
        adapter.set_mark(u64::MAX, 7).await.unwrap();
        assert_eq!(adapter.mark().await.unwrap(), (u64::MAX, 7));
    });
    assert_eq!(bench.value(&options, "a").as_deref(), Some("1"));
    assert_eq!(bench.prepared(), 0);
}

/// The sessions of the oldest are closed; finishing them asks another session.
fn many_branches(bench: &mut Bench) {
    let options = MariaDbOptions {
        sessions: 2,
        ..bench.options()
    };
    let adapter = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.run(async {
        for number in 0..10 {
            let name = format!("k{number}");
            adapter
                .prepare(global(number), &[put(&name, "1")])
                .await
                .unwrap();
        }
        // Twice as many as may work at once.
        assert_eq!(adapter.branches().await.unwrap().len(), 10);
    });
    let mut conn = bench.connect();
    bench.wait_until(|| bench.threads(&mut conn).len() <= 4);
    bench.run(async {
        for number in 0..5 {
            adapter.commit(global(number)).await.unwrap();
        }
        for number in 5..10 {
            adapter.roll_back(global(number)).await.unwrap();
        }
        assert_eq!(adapter.scan(&all(), 100).await.unwrap().len(), 5);
        assert!(adapter.branches().await.unwrap().is_empty());
    });
}

/// A reset frees the locks that a session holds by name, and every session of the adapter holds one.
fn never_reset(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.kill_threads();
    bench.run(async {
        for number in 0..6 {
            let changes = [put("a", &number.to_string()), delete("b")];
            // The first one finds that the connections are gone.
            while adapter.prepare(global(number), &changes).await.is_err() {
                adapter.roll_back(global(number)).await.unwrap();
            }
            adapter.get(&key("a")).await.unwrap();
            adapter
                .prepare(global(10 + number), &[put("b", "1")])
                .await
                .unwrap();
            adapter.commit(global(number)).await.unwrap();
            adapter.roll_back(global(10 + number)).await.unwrap();
        }
    });
    let mut conn = bench.connect();
    let holders = |conn: &mut mysql_async::Conn, name: &str| -> Vec<u64> {
        let sql = format!(
            "SELECT thread FROM (SELECT IS_USED_LOCK(CONCAT({name}, seq)) AS thread FROM mysql.seq_0_to_99) AS holders \
             WHERE thread IS NOT NULL ORDER BY thread"
        );
        bench.rows(conn, &sql)
    };
    let name = format!("'co:', MD5('{}'), ':'", options.schema);
    // A session that was closed frees its lock first, and is gone a moment later.
    bench.wait_until(|| {
        let mut threads = bench.threads(&mut conn);
        threads.sort_unstable();
        assert!(threads.len() >= 2, "one prepared while another one worked");
        holders(&mut conn, &name) == threads
    });
    // That is how one would notice.
    let mut control = bench.connect();
    bench
        .exec(&mut control, "DO GET_LOCK('control:1', 0)")
        .unwrap();
    assert_eq!(holders(&mut conn, "'control:'").len(), 1);
    bench.run(control.reset()).unwrap();
    assert!(holders(&mut conn, "'control:'").is_empty());
}

fn owner_killed(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    let changes = [put("a", "1")];
    bench.run(adapter.prepare(global(1), &changes)).unwrap();
    bench.kill_threads();
    let first = bench.run(adapter.commit(global(1)));
    assert!(first.is_err_and(|error| error.is_away()));
    bench.until_done(|| adapter.commit(global(1)));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("1"));
    assert_eq!(bench.prepared(), 0);
}

fn through(bench: &mut Bench) -> (Proxy, MariaDb, MariaDbOptions) {
    let proxy = bench.run(Proxy::to(bench.server.port()));
    let options = MariaDbOptions {
        url: proxy.url(),
        ..bench.options()
    };
    let adapter = bench.run(MariaDb::open(&options.schema, options.clone()));
    (proxy, adapter.unwrap(), options)
}

fn owner_out_of_reach(bench: &mut Bench) {
    let (proxy, adapter, options) = through(bench);
    bench
        .run(adapter.prepare(global(1), &[put("a", "1")]))
        .unwrap();
    proxy.cut();
    let first = bench.run(adapter.commit(global(1)));
    assert!(
        first.is_err_and(|error| error.is_away()),
        "its connection is gone"
    );
    // The server has not heard of that, and has the branch still with its session.
    let mut other = bench.connect();
    let xid = format!("XA COMMIT 'co:{}','g1',25455", options.schema);
    assert_eq!(bench.exec(&mut other, &xid), Err(1397));
    bench.until_done(|| adapter.commit(global(1)));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("1"));
    assert_eq!(bench.prepared(), 0);
}

fn late_prepare(bench: &mut Bench) {
    let (proxy, adapter, options) = through(bench);
    // So that there is a session that need not be opened.
    bench.run(adapter.get(&key("a"))).unwrap();
    proxy.hold();
    let changes = [put("a", "1")];
    let answer = bench.run(async {
        let preparing = adapter.prepare(global(1), &changes);
        let cutting = async {
            proxy.holds_something().await;
            proxy.cut();
        };
        tokio::join!(preparing, cutting).0
    });
    assert!(matches!(answer, Err(NotPrepared::Unknown(_))), "{answer:?}");
    // New connections are not held; the old one's message is.
    proxy.pass_new();
    bench.until_done(|| adapter.roll_back(global(1)));
    proxy.release();
    bench.wait_until(|| proxy.delivered());
    assert_eq!(
        bench.prepared(),
        0,
        "it was prepared after it was rolled back"
    );
    bench.run(commit(&adapter, 2, &[put("a", "2")]));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("2"));
}

fn refused_with(answer: &Result<(), NotPrepared>, code: &str) -> bool {
    matches!(answer, Err(NotPrepared::Refused(why)) if why.contains(code))
}

fn lock_wait_timeout(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("z", "old")]));
    let mut outsider = bench.connect();
    let lock = format!(
        "START TRANSACTION; SELECT * FROM {}.rows WHERE `key` = 'z' AND tail = '' FOR UPDATE",
        options.schema
    );
    bench.exec(&mut outsider, &lock).unwrap();
    let changes = [put("a", "new"), put("z", "new"), delete("y")];
    let answer = bench.run(adapter.prepare(global(2), &changes));
    assert!(refused_with(&answer, "1205"), "{answer:?}");
    assert_eq!(bench.prepared(), 0, "half a branch");
    // Nothing of it holds a lock either.
    bench.run(commit(&adapter, 3, &[put("a", "other")]));
    bench.exec(&mut outsider, "ROLLBACK").unwrap();
    bench.run(commit(&adapter, 4, &changes));
    assert_eq!(bench.value(&options, "z").as_deref(), Some("new"));
}

fn deadlock(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("a", "old"), put("b", "old")]));
    let mut outsider = bench.connect();
    let rows = format!("{}.rows", options.schema);
    // Whoever has done more is not the victim.
    let work: Vec<String> = (0..100).map(|n| format!("('o{n}', '')")).collect();
    let begin = format!(
        "SET @co_writer = 1; START TRANSACTION; INSERT INTO {rows} (`key`, `value`) VALUES {}; \
         UPDATE {rows} SET `value` = 'theirs' WHERE `key` = 'b' AND tail = ''",
        work.join(", ")
    );
    bench.exec(&mut outsider, &begin).unwrap();
    let mut watch = bench.connect();
    let waiting = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                   WHERE VARIABLE_NAME = 'Innodb_row_lock_current_waits'";
    let changes = [put("a", "new"), put("b", "new")];
    let theirs = format!("UPDATE {rows} SET `value` = 'theirs' WHERE `key` = 'a' AND tail = ''");
    let (answer, other) = bench.run(async {
        let outside = async {
            use mysql_async::prelude::Queryable;
            while watch.query_first::<u64, _>(waiting).await.unwrap() != Some(1) {
                tokio::time::sleep(super::LOOK).await;
            }
            super::exec(&mut outsider, &theirs).await
        };
        tokio::join!(adapter.prepare(global(2), &changes), outside)
    });
    assert!(refused_with(&answer, "1213"), "{answer:?}");
    assert_eq!(other, Ok(()));
    bench.exec(&mut outsider, "ROLLBACK").unwrap();
    assert_eq!(bench.prepared(), 0);
    bench.run(commit(&adapter, 3, &changes));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("new"));
}

/// At SERIALIZABLE the second branch would wait for the gaps of the first.
fn neighbours(bench: &mut Bench) {
    let (adapter, _) = bench.adapter();
    let before = ["a", "c", "e", "g"].map(|name| put(name, "old"));
    bench.run(commit(&adapter, 1, &before));
    let first = [put("bb", "1"), delete("c"), delete("d"), put("e", "1")];
    let second = [
        put("ba", "2"),
        put("bc", "2"),
        delete("cc"),
        put("d1", "2"),
        put("f", "2"),
        delete("a"),
        delete("g"),
        put("zz", "2"),
    ];
    // A branch that waited would be refused after two seconds.
    bench.run(async {
        adapter.prepare(global(2), &first).await.unwrap();
        adapter.prepare(global(3), &second).await.unwrap();
        adapter.commit(global(3)).await.unwrap();
        // And with what it has left behind.
        adapter
            .prepare(global(4), &[put("a", "4"), put("g", "4")])
            .await
            .unwrap();
        adapter.commit(global(4)).await.unwrap();
        adapter.roll_back(global(2)).await.unwrap();
    });
}

fn empty_branches(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("same", "1")]));
    let nothing = [delete("missing")];
    bench.run(adapter.prepare(global(2), &nothing)).unwrap();
    bench
        .run(adapter.prepare(global(3), &[put("same", "1")]))
        .unwrap();
    bench.kill_threads();
    for number in [2, 3] {
        bench.until_done(|| adapter.commit(global(number)));
    }
    bench.run(adapter.prepare(global(4), &nothing)).unwrap();
    bench.kill_and_start();
    bench.until_done(|| adapter.commit(global(4)));
    // The same for who does not know what was in it.
    bench.run(adapter.prepare(global(5), &nothing)).unwrap();
    bench.kill_threads();
    drop(adapter);
    let adapter = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.run(adapter.commit(global(5))).unwrap();
    assert_eq!(bench.value(&options, "same").as_deref(), Some("1"));
    assert_eq!(bench.prepared(), 0);
}

/// The answer says so, and the engine above makes what was decided again.
fn rolled_back_by_hand(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("b", "old")]));
    let changes = [put("a", "new"), delete("b")];
    bench.run(adapter.prepare(global(2), &changes)).unwrap();
    bench.kill_threads();
    let mut operator = bench.connect();
    let roll_back = format!("XA ROLLBACK 'co:{}','g2',25455", options.schema);
    bench.wait_until(|| bench.exec(&mut operator, &roll_back).is_ok());
    let ending = bench.until_done(|| adapter.commit(global(2)));
    assert_eq!(ending, Ending::Before);
    bench.run(adapter.redo(&changes)).unwrap();
    assert_eq!(bench.value(&options, "a").as_deref(), Some("new"));
    assert_eq!(bench.value(&options, "b"), None);
}

fn long_branch(bench: &mut Bench) {
    let (adapter, _) = bench.adapter();
    let megabyte: participant::Value = vec![0xa5; 1 << 20].into();
    let changes: Vec<Change> = (0..20)
        .map(|n| {
            Change::Put(
                key(&format!("k{n:02}")),
                participant::Value::clone(&megabyte),
            )
        })
        .collect();
    bench.run(async {
        adapter.prepare(global(1), &changes).await.unwrap();
        adapter.commit(global(1)).await.unwrap();
        adapter.redo(&changes).await.unwrap();
        let rows = adapter.scan(&all(), 20).await.unwrap();
        assert_eq!(rows.len(), 20);
        assert!(rows.iter().all(|(_, value)| *value == megabyte));
        let deletions: Vec<Change> = changes
            .iter()
            .map(|it| Change::Delete(Key::clone(it.key())))
            .collect();
        adapter.prepare(global(2), &deletions).await.unwrap();
        adapter.commit(global(2)).await.unwrap();
        assert!(adapter.scan(&all(), 20).await.unwrap().is_empty());
    });
}

fn keys_are_bytes(bench: &mut Bench) {
    let (adapter, _) = bench.adapter();
    let long = |end: &[u8]| [vec![b'k'; 3040].as_slice(), end].concat();
    let mut keys: Vec<Vec<u8>> = vec![
        b"A".to_vec(),
        b"a".to_vec(),
        b"a\0".to_vec(),
        b"a ".to_vec(),
        b"a'\\`\";".to_vec(),
        vec![0],
        vec![0xff],
        long(b""),
        long(b"1"),
        long(b"2"),
        long(b"2\0"),
        long(b"3"),
        long(&[7; 1056]),
    ];
    let changes: Vec<Change> = keys
        .iter()
        .map(|name| Change::Put(name.as_slice().into(), name.as_slice().into()))
        .collect();
    bench.run(commit(&adapter, 1, &changes));
    keys.sort();
    let read = |range: KeyRange| {
        let rows = bench.run(adapter.scan(&range, keys.len())).unwrap();
        rows.iter()
            .for_each(|(name, value)| assert_eq!(name, value));
        rows.into_iter()
            .map(|(name, _)| name.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(read(all()), keys);
    // Every range between two of them, and between what is just after them.
    let ends = || keys.iter().cloned().chain([long(b"15"), long(&[2; 30])]);
    for low in ends() {
        for high in ends().filter(|high| low < *high) {
            let range = KeyRange {
                low: low.as_slice().into(),
                high: Some(high.as_slice().into()),
            };
            let expected = keys.iter().filter(|name| range.contains(name));
            assert!(read(range.clone()).iter().eq(expected), "{range:?}");
        }
    }
    bench.run(async {
        for name in &keys {
            let found = adapter.get(&name.as_slice().into()).await.unwrap();
            assert_eq!(found.as_deref(), Some(name.as_slice()));
        }
        let gone = [Change::Delete(long(b"2").into())];
        commit(&adapter, 2, &gone).await;
        assert_eq!(
            adapter.scan(&all(), 100).await.unwrap().len(),
            keys.len() - 1
        );
        assert_eq!(adapter.get(&long(b"2").into()).await.unwrap(), None);
        let too_many = adapter.scan(&all(), keys.len() - 2).await;
        assert!(too_many.is_err());
    });
}

fn same_name(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    let mut outsider = bench.connect();
    let branch = format!(
        "SET @co_writer = 1; XA START 'co:{0}','g1',25455; \
         INSERT INTO {0}.rows (`key`, `value`) VALUES ('a', 'theirs'); \
         XA END 'co:{0}','g1',25455; XA PREPARE 'co:{0}','g1',25455",
        options.schema
    );
    bench.exec(&mut outsider, &branch).unwrap();
    bench.run(outsider.disconnect()).unwrap();
    let answer = bench.run(adapter.prepare(global(1), &[put("b", "ours")]));
    assert!(refused_with(&answer, "1440"), "{answer:?}");
    assert_eq!(
        bench.run(adapter.branches()).unwrap(),
        [global(1)],
        "it is there still"
    );
    bench.run(adapter.roll_back(global(1))).unwrap();
    assert_eq!(bench.prepared(), 0);
}
