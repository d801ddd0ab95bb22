//! What transactions do while nothing fails.

use std::time::Duration;

use coco::client::{ClientError, Commit, Operation, OperationReply, Retry};
use coco::protocol::{AbortCause, CoordinatorConfig, DeadlockPolicy};
use coco::service::RefusedCode;
use coco::service::site::Range;
use participant::engine::EngineKind;
use participant::service::Storage;

use crate::cluster::{Cluster, number};

const TWO: [(&str, EngineKind); 2] = [("A", EngineKind::Ss2pl), ("B", EngineKind::Mvcc)];

#[tokio::test]
async fn a_transfer_between_two_sites_commits_and_is_seen() {
    for engine in EngineKind::ALL {
        let cluster = Cluster::start(&[("A", engine), ("B", EngineKind::Ss2pl)]).await;
        let client = cluster.client().await;
        let mut txn = client.begin().await.unwrap();
        txn.increment("A", b"alice", -10).await.unwrap();
        txn.increment("B", b"bob", 10).await.unwrap();
        let first = txn.commit().await.unwrap().committed().unwrap();

        let mut txn = client.begin().await.unwrap();
        assert_eq!(number(txn.get("A", b"alice").await.unwrap()), -10);
        assert_eq!(number(txn.get("B", b"bob").await.unwrap()), 10);
        let second = txn.commit().await.unwrap().committed().unwrap();
        assert!(first < second, "{engine}: stamps grow along precedence");
        cluster.finish().await;
    }
}

#[tokio::test]
async fn every_operation_works_over_the_wire() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"k1", b"v1").await.unwrap();
    txn.put("A", b"k2", b"").await.unwrap();
    txn.put("A", b"k3", b"v3").await.unwrap();
    txn.delete("A", b"k3").await.unwrap();
    assert_eq!(txn.get("A", b"k2").await.unwrap(), Some(Vec::new()));
    assert_eq!(txn.get("A", b"k3").await.unwrap(), None);
    let rows = txn.scan("A", b"k", Some(b"l")).await.unwrap();
    assert_eq!(
        rows,
        [
            (b"k1".to_vec(), b"v1".to_vec()),
            (b"k2".to_vec(), Vec::new())
        ]
    );
    let replies = txn
        .execute(
            "A",
            vec![
                Operation::Increment(b"n".to_vec(), 5),
                Operation::Get(b"n".to_vec()),
            ],
        )
        .await
        .unwrap();
    assert_eq!(replies[0], OperationReply::Done);
    assert_eq!(
        replies[1],
        OperationReply::Value(Some(5i64.to_le_bytes().to_vec()))
    );
    assert_eq!(txn.sites().collect::<Vec<_>>(), ["A"]);
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

/// Engines that need no declaration take it, and those without a language say so; the transaction goes on.
#[tokio::test]
async fn what_databases_alone_can_is_taken_or_refused_over_the_wire() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.declare("A", [b"k1", b"k2"]).await.unwrap();
    txn.put("A", b"k1", b"v1").await.unwrap();
    let refused = txn.sql("B", "SELECT 1").await.unwrap_err();
    let ClientError::Refused(refused) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.code, RefusedCode::Unsupported);
    assert!(refused.message.contains("run statements"), "{refused}");
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    let mut local = client.local("A");
    local.declare([b"k1"]).await.unwrap();
    assert_eq!(local.get(b"k1").await.unwrap(), Some(b"v1".to_vec()));
    assert!(local.sql("SELECT 1").await.is_err());
    assert!(matches!(local.commit().await, Ok(Commit::Committed(_))));
    let mut txn = client.begin().await.unwrap();
    let empty = txn.declare("A", [b""]).await.unwrap_err();
    assert!(empty.to_string().contains("empty"), "{empty}");
    txn.rollback().await.unwrap();
    cluster.finish().await;
}

#[tokio::test]
async fn a_rolled_back_and_a_dropped_transaction_leave_nothing() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"1").await.unwrap();
    txn.rollback().await.unwrap();
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"2").await.unwrap();
    txn.put("B", b"y", b"2").await.unwrap();
    drop(txn);
    // Waits for the lock of the dropped one until it is rolled back, well before it would be idle.
    let mut txn = client.begin().await.unwrap();
    assert_eq!(txn.get("A", b"x").await.unwrap(), None);
    assert_eq!(txn.get("B", b"y").await.unwrap(), None);
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn a_conflict_aborts_one_and_the_retry_keeps_its_age() {
    let cluster = Cluster::start(&[("A", EngineKind::Optimistic), ("B", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    let mut loser = client.begin().await.unwrap();
    loser.get("A", b"x").await.unwrap();
    let mut winner = client.begin().await.unwrap();
    winner.put("A", b"x", b"new").await.unwrap();
    winner.put("B", b"y", b"new").await.unwrap();
    assert!(matches!(winner.commit().await, Ok(Commit::Committed(_))));

    loser.put("A", b"x", b"old").await.unwrap();
    loser.put("B", b"z", b"old").await.unwrap();
    let priority = loser.priority();
    assert_eq!(
        loser.commit().await.unwrap(),
        Commit::Aborted(AbortCause::WriteConflict)
    );

    let mut again = client.begin_again(priority).await.unwrap();
    assert_eq!(again.priority(), priority);
    assert_eq!(again.get("B", b"z").await.unwrap(), None);
    assert!(matches!(again.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn an_abort_at_one_site_ends_the_transaction_at_the_others() {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl), ("B", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    let mut old = client.begin().await.unwrap();
    let mut young = client.begin().await.unwrap();
    young.put("B", b"kept", b"no").await.unwrap();
    old.put("A", b"x", b"1").await.unwrap();
    young.put("A", b"y", b"1").await.unwrap();
    // A deadlock at A: the younger one is its victim.
    let (old_result, young_result) =
        tokio::join!(old.put("A", b"y", b"2"), young.put("A", b"x", b"2"));
    old_result.unwrap();
    assert!(matches!(
        young_result,
        Err(ClientError::Aborted(AbortCause::LocalCycle))
    ));
    assert!(matches!(
        young.put("B", b"kept", b"no").await,
        Err(ClientError::Ended)
    ));
    // Nobody but the rollback frees this lock.
    old.put("B", b"kept", b"yes").await.unwrap();
    assert!(matches!(old.commit().await, Ok(Commit::Committed(_))));
    assert!(matches!(young.commit().await, Err(ClientError::Ended)));
    cluster.finish().await;
}

#[tokio::test]
async fn a_deadlock_over_two_sites_is_found_and_the_youngest_gives_way() {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl), ("B", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    let mut old = client.begin().await.unwrap();
    let mut young = client.begin().await.unwrap();
    old.put("A", b"x", b"1").await.unwrap();
    young.put("B", b"y", b"1").await.unwrap();
    let (old_result, young_result) =
        tokio::join!(old.put("B", b"y", b"2"), young.put("A", b"x", b"2"));
    old_result.unwrap();
    assert!(
        matches!(
            young_result,
            Err(ClientError::Aborted(AbortCause::VotingDeadlock))
        ),
        "{young_result:?}"
    );
    assert!(matches!(old.commit().await, Ok(Commit::Committed(_))));
    let statistics = client.statistics().await.unwrap();
    assert_eq!(statistics.counters.deadlocks_by_search, 1);
    drop(young);
    cluster.finish().await;
}

#[tokio::test]
async fn with_detection_off_the_operation_timeout_ends_the_deadlock() {
    let config = CoordinatorConfig {
        deadlocks: DeadlockPolicy::Timeouts,
        ..CoordinatorConfig::default()
    };
    let mut cluster = Cluster::start_with(config, &[]).await;
    for (name, patience) in [("A", 300), ("B", 3000)] {
        cluster
            .start_site(name, EngineKind::Ss2pl, Storage::Volatile, |options| {
                options.operation_timeout = Duration::from_millis(patience);
            })
            .await;
    }
    let client = cluster.client().await;
    let mut one = client.begin().await.unwrap();
    let mut two = client.begin().await.unwrap();
    one.put("A", b"x", b"1").await.unwrap();
    two.put("B", b"y", b"1").await.unwrap();
    let (one_result, two_result) = tokio::join!(one.put("B", b"y", b"2"), two.put("A", b"x", b"2"));
    one_result.unwrap();
    assert!(matches!(
        two_result,
        Err(ClientError::Aborted(AbortCause::Timeout))
    ));
    assert!(matches!(one.commit().await, Ok(Commit::Committed(_))));
    assert_eq!(
        client
            .statistics()
            .await
            .unwrap()
            .counters
            .deadlocks_by_search,
        0
    );
    cluster.finish().await;
}

#[tokio::test]
async fn retry_tries_until_it_commits_and_can_be_spawned() {
    let cluster = Cluster::start(&[("A", EngineKind::Optimistic), ("B", EngineKind::Mvcc)]).await;
    let client = cluster.client().await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    client
                        .retry(Retry::default(), |mut txn| async move {
                            let value = number(txn.get("A", b"n").await?);
                            txn.put("A", b"n", (value + 1).to_le_bytes()).await?;
                            txn.increment("B", b"n", 1).await?;
                            Ok((txn, ()))
                        })
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut txn = client.begin().await.unwrap();
    assert_eq!(number(txn.get("A", b"n").await.unwrap()), 40);
    assert_eq!(number(txn.get("B", b"n").await.unwrap()), 40);
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn local_transactions_commit_without_the_coordinator() {
    let mut cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let mut local = client.local("A");
    local.put(b"x", b"1").await.unwrap();
    assert_eq!(
        local.get(b"x").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
    cluster.kill_coordinator();
    assert!(matches!(local.commit().await, Ok(Commit::Committed(_))));
    let mut local = client.local("A");
    assert_eq!(
        local.get(b"x").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
    assert_eq!(local.scan(b"x", None).await.unwrap().len(), 1);
    local.delete(b"x").await.unwrap();
    local.rollback().await.unwrap();
    let mut local = client.local("A");
    assert_eq!(local.scan(b"x", None).await.unwrap().len(), 1);
    assert!(matches!(local.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn a_local_victim_keeps_its_age_when_it_comes_again() {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    let (mut old, mut young) = (client.local("A"), client.local("A"));
    old.put(b"x", b"1").await.unwrap();
    young.put(b"y", b"1").await.unwrap();
    let (old_result, young_result) = tokio::join!(old.put(b"y", b"2"), young.put(b"x", b"2"));
    old_result.unwrap();
    assert!(matches!(
        young_result,
        Err(ClientError::Aborted(AbortCause::LocalCycle))
    ));
    assert!(matches!(young.get(b"x").await, Err(ClientError::Ended)));
    let age = young.priority().unwrap();
    assert!(matches!(old.commit().await, Ok(Commit::Committed(_))));
    let mut again = client.local_again("A", age);
    again.put(b"x", b"3").await.unwrap();
    assert_eq!(again.priority(), Some(age));
    assert!(matches!(again.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn a_query_sees_its_stamp_and_only_multi_version_sites_answer() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let all = || Range {
        low: b"a".to_vec(),
        high: None,
    };
    let mut txn = client.begin().await.unwrap();
    txn.put("B", b"k", b"1").await.unwrap();
    let first = txn.commit().await.unwrap().committed().unwrap();
    let mut txn = client.begin().await.unwrap();
    txn.put("B", b"k", b"2").await.unwrap();
    let second = txn.commit().await.unwrap().committed().unwrap();
    let of = |value: &[u8]| vec![(b"k".to_vec(), value.to_vec())];
    assert_eq!(client.query("B", first, all()).await.unwrap(), of(b"1"));
    assert_eq!(client.query("B", second, all()).await.unwrap(), of(b"2"));
    let refused = client.query("A", first, all()).await.unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused(refused) if refused.code == RefusedCode::Unsupported)
    );
    cluster.finish().await;
}

#[tokio::test]
async fn refused_operations_say_why_and_leave_the_transaction_alone() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"text", b"not a number").await.unwrap();
    let code = |error: ClientError| {
        let ClientError::Refused(refused) = error else {
            panic!("{error:?}")
        };
        assert!(refused.message.contains(';'), "says what to do: {refused}");
        refused.code
    };
    let refused = txn.get("A", vec![0; 5000]).await.unwrap_err();
    assert_eq!(code(refused), RefusedCode::InvalidOperation);
    let refused = txn.increment("A", b"text", 1).await.unwrap_err();
    assert_eq!(code(refused), RefusedCode::InvalidOperation);
    let unknown = txn.get("nowhere", b"x").await.unwrap_err();
    assert!(
        matches!(unknown, ClientError::UnknownSite { ref site } if site == "nowhere"),
        "{unknown}"
    );
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn a_commit_that_touched_nothing_succeeds() {
    let cluster = Cluster::start(&TWO).await;
    let client = cluster.client().await;
    assert!(matches!(
        client.begin().await.unwrap().commit().await,
        Ok(Commit::Committed(_))
    ));
    assert!(matches!(
        client.local("A").commit().await,
        Ok(Commit::Committed(_))
    ));
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"k", b"v").await.unwrap();
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}
