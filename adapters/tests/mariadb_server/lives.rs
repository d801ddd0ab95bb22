//! Lives: of the server, and of the adapter.

use std::sync::Arc;

use adapters::mariadb::{MariaDb, MariaDbOptions, OpenError};
use adapters::ordered::{self, Ordered};
use adapters::{Backend, NotPrepared};
use co_core::{Gtid, Priority, Stamp};
use participant::conformance::{Client, absent, found, get};
use participant::engine::Options;
use participant::{Decision, Participant, Prepared, TxnName};

use super::proxy::Proxy;
use super::{Bench, commit, delete, global, key, put};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "a prepared branch survives a kill of the server",
        server_killed,
    ),
    (
        "what is asked of a server that is not there is away",
        server_away,
    ),
    (
        "a former life's branch in doubt is kept, its orphans are rolled back",
        former_life,
    ),
    (
        "a former life's branch that is being prepared comes to nothing",
        former_life_prepares,
    ),
    ("two adapters of one site: the later one has it", fenced),
];

fn server_killed(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(async {
        commit(&adapter, 1, &[put("a", "old"), put("b", "old")]).await;
        adapter
            .prepare(global(2), &[put("a", "new"), delete("b")])
            .await
            .unwrap();
        adapter
            .prepare(global(3), &[put("c", "new")])
            .await
            .unwrap();
    });
    bench.kill_and_start();
    // Connections that were idle are broken as well; who reads does not notice.
    assert_eq!(bench.run(adapter.get(&key("c"))).unwrap(), None);
    let mut branches = bench.run(adapter.branches()).unwrap();
    branches.sort();
    assert_eq!(branches, [global(2), global(3)]);
    bench.until_done(|| adapter.commit(global(2)));
    bench.until_done(|| adapter.roll_back(global(3)));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("new"));
    assert_eq!(
        (bench.value(&options, "b"), bench.value(&options, "c")),
        (None, None)
    );
    assert_eq!(bench.prepared(), 0);
}

fn server_away(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    bench.run(commit(&adapter, 1, &[put("a", "1")]));
    bench
        .run(adapter.prepare(global(2), &[put("a", "2")]))
        .unwrap();
    bench.server.kill();
    bench.run(async {
        assert!(adapter.get(&key("a")).await.unwrap_err().is_away());
        assert!(adapter.commit(global(2)).await.unwrap_err().is_away());
        assert!(adapter.commit(global(2)).await.unwrap_err().is_away());
        let prepared = adapter.prepare(global(3), &[put("b", "1")]).await;
        assert!(
            matches!(prepared, Err(NotPrepared::Away(_))),
            "nothing was sent"
        );
    });
    bench.server.start().unwrap();
    bench.until_done(|| adapter.commit(global(2)));
    assert_eq!(bench.value(&options, "a").as_deref(), Some("2"));
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
enum Failed {
    Open(#[from] OpenError),
    Adapter(#[from] ordered::OpenError),
}

fn site(options: &MariaDbOptions, life: u64) -> Arc<Ordered<MariaDb>> {
    let (name, options) = (options.schema.clone(), options.clone());
    let connect = async move { Ok::<_, Failed>(MariaDb::open(&name, options).await?) };
    Arc::new(ordered::open(Options::default(), life, connect).unwrap())
}

/// The site's log has the vote on 7, and knows nothing of the others.
fn former_life(bench: &mut Bench) {
    let (adapter, options) = bench.adapter();
    let changes = vec![put("in doubt", "new"), delete("old")];
    let local = adapters::BranchName::of(TxnName::Local(1), 1);
    bench.run(async {
        commit(&adapter, 1, &[put("old", "1")]).await;
        adapter.prepare(global(7), &changes).await.unwrap();
        adapter
            .prepare(global(8), &[put("orphan", "1")])
            .await
            .unwrap();
        adapter.prepare(local, &[put("local", "1")]).await.unwrap();
    });
    // Its sessions stay: nobody has told the server that it is gone.
    for decision in [Decision::Commit(Stamp(3)), Decision::Abort] {
        let site = site(&options, 2);
        let prepared = Prepared {
            changes: changes.clone(),
            ..Prepared::default()
        };
        site.recover(Gtid(7), Priority(7), Stamp(3), prepared);
        site.recovered();
        assert_eq!(site.stored().failure().map(|it| it.to_string()), None);
        assert_eq!(bench.prepared(), usize::from(decision != Decision::Abort));
        if decision == Decision::Abort {
            // The first of the two has committed it; nothing is left to undo.
            continue;
        }
        site.decide(TxnName::Global(Gtid(7)), decision).unwrap();
        site.quiesce();
        let participant: Arc<dyn Participant> = site;
        let client = Client::begin(&participant, 20);
        assert_eq!(client.run(get("in doubt")), Ok(found("new")));
        for gone in ["old", "orphan", "local"] {
            assert_eq!(client.run(get(gone)), Ok(absent()), "{gone}");
        }
        client.abort();
    }
    assert_eq!(bench.value(&options, "in doubt").as_deref(), Some("new"));
    assert_eq!(bench.prepared(), 0);
}

/// Its `XA PREPARE` has not reached the server yet when the next life looks for orphans.
fn former_life_prepares(bench: &mut Bench) {
    let proxy = bench.run(Proxy::to(bench.server.port()));
    let options = bench.options();
    let there = MariaDbOptions {
        url: proxy.url(),
        ..options.clone()
    };
    let former = bench.run(MariaDb::open(&options.schema, there)).unwrap();
    bench.run(former.get(&key("a"))).unwrap();
    proxy.hold();
    let changes = [put("a", "1")];
    bench.run(async {
        tokio::select! {
            _ = former.prepare(global(1), &changes) => panic!("it cannot have come through"),
            () = proxy.holds_something() => {}
        }
    });
    drop(former);
    proxy.cut();
    let site = site(&options, 2);
    site.recovered();
    assert_eq!(site.stored().failure().map(|it| it.to_string()), None);
    proxy.release();
    bench.wait_until(|| proxy.delivered());
    assert_eq!(
        bench.prepared(),
        0,
        "an orphan that nobody looks for any more"
    );
}

fn fenced(bench: &mut Bench) {
    let (former, options) = bench.adapter();
    bench.run(commit(&former, 1, &[put("a", "1")]));
    let later = bench
        .run(MariaDb::open(&options.schema, options.clone()))
        .unwrap();
    bench.run(async {
        commit(&later, 2, &[put("a", "2")]).await;
        let error = former.get(&key("a")).await.unwrap_err();
        assert_eq!(error.code(), Some("fenced"), "{error}");
        let prepared = former.prepare(global(3), &[put("a", "3")]).await;
        assert!(
            matches!(prepared, Err(NotPrepared::Refused(_))),
            "{prepared:?}"
        );
        commit(&later, 4, &[put("a", "4")]).await;
    });
    // Names of sites tell capitals from small letters.
    let small = MariaDbOptions {
        sessions: 1,
        ..options.clone()
    };
    let capitals = bench
        .run(MariaDb::open(&options.schema.to_uppercase(), small))
        .unwrap();
    bench.run(async {
        commit(&capitals, 5, &[put("b", "1")]).await;
        later.get(&key("a")).await.unwrap();
        commit(&later, 6, &[put("a", "6")]).await;
    });
}
