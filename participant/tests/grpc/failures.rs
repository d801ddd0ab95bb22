//! What is left of transactions when something fails.

use std::time::Duration;

use coco::client::{Client, ClientError, Commit};
use coco::protocol::AbortCause;
use coco::service::RefusedCode;
use participant::engine::EngineKind;
use participant::service::Storage;

use crate::cluster::{COORDINATOR, Cluster, GatedLog, PATIENCE, Wire, durable, until};

const SITES: [(&str, EngineKind); 2] = [("A", EngineKind::Ss2pl), ("B", EngineKind::Ss2pl)];

async fn set(client: &Client, at: &[(&str, &[u8])], value: &[u8]) {
    let mut txn = client.begin().await.unwrap();
    for &(site, key) in at {
        txn.put(site, key, value).await.unwrap();
    }
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
}

#[tokio::test]
async fn the_transaction_of_a_vanished_client_is_given_up() {
    let mut cluster = Cluster::start(&[]).await;
    cluster
        .start_site("A", EngineKind::Ss2pl, Storage::Volatile, |options| {
            options.idle_timeout = Duration::from_millis(200);
        })
        .await;
    let client = cluster.client().await;
    let mut vanished = client.begin().await.unwrap();
    vanished.put("A", b"x", b"1").await.unwrap();
    let (gtid, priority) = (vanished.gtid(), vanished.priority());
    // Neither a rollback nor anything else comes from it any more.
    std::mem::forget(vanished);

    let mut other = client.begin().await.unwrap();
    assert_eq!(other.get("A", b"x").await.unwrap(), None);
    assert!(matches!(other.commit().await, Ok(Commit::Committed(_))));
    assert_eq!(
        cluster.site("A").site().abort_cause(gtid),
        Some(AbortCause::Timeout)
    );

    // It comes back late: it is told why, and cannot begin behind the site's back.
    let begin = participant::Begin {
        name: participant::TxnName::Global(gtid),
        priority,
    };
    assert!(cluster.site("A").site().begin(begin).is_err());
    cluster.finish().await;
}

#[tokio::test]
async fn a_client_that_vanishes_while_it_waits_for_a_lock_leaves_no_request_behind() {
    let cluster = Cluster::start(&SITES).await;
    let client = cluster.client().await;
    let mut holder = client.begin().await.unwrap();
    holder.put("A", b"x", b"1").await.unwrap();
    let mut waiter = client.begin().await.unwrap();
    let gtid = waiter.gtid();
    let waiting = tokio::time::timeout(Duration::from_millis(100), waiter.put("A", b"x", b"2"));
    assert!(waiting.await.is_err(), "the lock is held");
    std::mem::forget(waiter);
    let site = cluster.site("A").site();
    until("the waiter is given up", || {
        site.abort_cause(gtid).is_some()
    })
    .await;
    assert!(matches!(holder.commit().await, Ok(Commit::Committed(_))));
    set(&client, &[("A", b"x")], b"3").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_site_that_is_lost_before_the_commit_aborts_the_transaction() {
    let mut cluster = Cluster::start(&SITES).await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"1").await.unwrap();
    txn.put("B", b"y", b"1").await.unwrap();
    cluster.kill_site("B");
    let missing = loop {
        let connected = client.sites().await.unwrap();
        if connected
            .iter()
            .any(|site| site.name.as_str() == "B" && !site.connected)
        {
            break client
                .wait_for_sites(&["A", "B"], Duration::ZERO)
                .await
                .unwrap_err();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(matches!(missing, ClientError::SitesMissing { sites } if sites == ["B"]));
    assert_eq!(
        txn.commit().await.unwrap(),
        Commit::Aborted(AbortCause::SiteUnreachable)
    );

    // The site comes back elsewhere, empty, and the same client finds it.
    cluster
        .start_site("B", EngineKind::Ss2pl, Storage::Volatile, |_| {})
        .await;
    client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();
    let mut txn = client.begin().await.unwrap();
    let failed = txn.get("B", b"y").await.unwrap_err();
    assert!(matches!(failed, ClientError::SiteFailed { .. }), "{failed}");
    set(&client, &[("A", b"x"), ("B", b"y")], b"2").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_volatile_site_that_restarted_votes_no_on_what_it_forgot() {
    let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    cluster
        .start_site("B", EngineKind::Ss2pl, Storage::Volatile, |_| {})
        .await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"1").await.unwrap();
    txn.put("B", b"y", b"1").await.unwrap();
    let before = cluster.site("B").site().incarnation();
    cluster.kill_site("B");
    cluster
        .start_site("B", EngineKind::Ss2pl, Storage::Volatile, |_| {})
        .await;
    assert!(cluster.site("B").site().incarnation() > before);
    let life = cluster.site("B").site().incarnation();
    loop {
        let sites = client.sites().await.unwrap();
        if sites
            .iter()
            .any(|site| site.incarnation == life && site.connected)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        txn.commit().await.unwrap(),
        Commit::Aborted(AbortCause::UnknownTransaction)
    );
    set(&cluster.client().await, &[("A", b"x"), ("B", b"y")], b"2").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_site_in_doubt_learns_the_commit_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    let storage = durable(folder.path(), "B").await;
    cluster
        .start_site("B", EngineKind::Ss2pl, storage, |_| {})
        .await;
    let client = cluster.client().await;
    set(&client, &[("A", b"x"), ("B", b"y")], b"1").await;

    // The coordinator's disk stands still: B votes YES and is in doubt.
    cluster.log.hold();
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"2").await.unwrap();
    txn.put("B", b"y", b"2").await.unwrap();
    let commit = tokio::spawn(txn.commit());
    let site = std::sync::Arc::clone(cluster.site("B").site());
    until("B has voted", || site.stats().votes_yes == 2).await;
    cluster.kill_site("B");
    drop(site);
    cluster.log.release();
    assert!(matches!(commit.await.unwrap(), Ok(Commit::Committed(_))));

    let storage = durable(folder.path(), "B").await;
    cluster
        .start_site("B", EngineKind::Ss2pl, storage, |_| {})
        .await;
    assert_eq!(
        cluster.site("B").site().participant().in_flight(),
        1,
        "in doubt, and nothing else"
    );
    client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();
    let fresh = cluster.client().await;
    let mut txn = fresh.begin().await.unwrap();
    assert_eq!(
        txn.get("B", b"y").await.unwrap().as_deref(),
        Some(b"2".as_slice())
    );
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

/// Two sites have voted YES on a transaction that writes at both, and the coordinator's disk holds the
/// decision back.
async fn in_doubt(
    cluster: &Cluster,
    client: &Client,
) -> tokio::task::JoinHandle<Result<Commit, ClientError>> {
    cluster.log.hold();
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"new").await.unwrap();
    txn.put("B", b"y", b"new").await.unwrap();
    let commit = tokio::spawn(txn.commit());
    until("the decision is on its way to the disk", || {
        cluster.log.held() == 1
    })
    .await;
    commit
}

fn unresolved(outcome: Result<Commit, ClientError>) -> coco::client::Unresolved {
    match outcome {
        Err(ClientError::OutcomeUnknown { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_decision_that_is_durable_is_delivered_by_the_next_coordinator() {
    let mut cluster = Cluster::start(&SITES).await;
    let client = cluster.client().await;
    let commit = in_doubt(&cluster, &client).await;
    // The record reaches the disk, and nobody hears of it any more.
    cluster.log.release();
    cluster.kill_coordinator();
    let what = unresolved(commit.await.unwrap());

    cluster.start_coordinator().await;
    let fresh = cluster.client().await;
    let mut txn = fresh.begin().await.unwrap();
    for (site, key) in [("A", b"x"), ("B", b"y")] {
        assert_eq!(
            txn.get(site, key).await.unwrap().as_deref(),
            Some(b"new".as_slice())
        );
    }
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    assert!(matches!(
        fresh.ask_again(&what).await,
        Ok(Commit::Committed(_))
    ));
    cluster.finish().await;
}

#[tokio::test]
async fn a_decision_that_was_lost_with_the_coordinator_is_presumed_abort() {
    let mut cluster = Cluster::start(&SITES).await;
    let client = cluster.client().await;
    let commit = in_doubt(&cluster, &client).await;
    cluster.kill_coordinator();
    let what = unresolved(commit.await.unwrap());

    cluster.start_coordinator().await;
    let fresh = cluster.client().await;
    let mut txn = fresh.begin().await.unwrap();
    for (site, key) in [("A", b"x"), ("B", b"y")] {
        assert_eq!(txn.get(site, key).await.unwrap(), None);
    }
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    // The coordinator keeps no record of aborts; a client is never told more than is known.
    unresolved(fresh.ask_again(&what).await);
    cluster.finish().await;
}

#[tokio::test]
async fn a_failed_coordinator_log_leaves_the_outcome_open_and_refuses_new_work() {
    let mut cluster = Cluster::start(&SITES).await;
    let client = cluster.client().await;
    let commit = in_doubt(&cluster, &client).await;
    cluster.log.fail();
    unresolved(commit.await.unwrap());
    // What was fetched ahead is used up first, then the refusal shows.
    let refused = loop {
        match client.begin().await {
            Ok(txn) => txn.rollback().await.unwrap(),
            Err(error) => break error,
        }
    };
    let ClientError::Coordinator(status) = refused else {
        panic!("{refused}")
    };
    assert!(status.message().contains("log has failed"), "{status}");
    assert!(!client.statistics().await.unwrap().serving);
    // A restart reads what is on the disk: nothing, so it is an abort.
    cluster.kill_coordinator();
    cluster.start_coordinator().await;
    set(&cluster.client().await, &[("A", b"x"), ("B", b"y")], b"1").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_site_whose_log_fails_votes_no_and_refuses_new_work() {
    let log = GatedLog::default();
    let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    cluster
        .start_site("B", EngineKind::Mvcc, log.storage(), |_| {})
        .await;
    let client = cluster.client().await;
    set(&client, &[("A", b"x"), ("B", b"y")], b"1").await;
    log.fail();
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"2").await.unwrap();
    txn.put("B", b"y", b"2").await.unwrap();
    assert_eq!(
        txn.commit().await.unwrap(),
        Commit::Aborted(AbortCause::LogFailure)
    );
    let mut txn = client.begin().await.unwrap();
    let refused = txn.get("B", b"y").await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(ref it) if it.code == RefusedCode::LogFailed));
    txn.rollback().await.unwrap();

    cluster.kill_site("B");
    cluster
        .start_site("B", EngineKind::Mvcc, log.survivors().storage(), |_| {})
        .await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    assert_eq!(
        txn.get("A", b"x").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
    assert_eq!(
        txn.get("B", b"y").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn a_durable_site_keeps_all_kinds_of_commits_over_a_restart() {
    for engine in EngineKind::ALL {
        let log = GatedLog::default();
        let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
        cluster.start_site("B", engine, log.storage(), |_| {}).await;
        let client = cluster.client().await;
        set(&client, &[("A", b"x"), ("B", b"two")], b"1").await;
        set(&client, &[("B", b"one")], b"2").await;
        let mut local = client.local("B");
        local.put(b"local", b"3").await.unwrap();
        local.delete(b"two").await.unwrap();
        assert!(matches!(local.commit().await, Ok(Commit::Committed(_))));
        let life = cluster.site("B").site().incarnation();
        cluster.kill_site("B");

        cluster
            .start_site("B", engine, log.survivors().storage(), |_| {})
            .await;
        assert_eq!(cluster.site("B").site().incarnation().0, life.0 + 1);
        let client = cluster.client().await;
        let mut local = client.local("B");
        let rows = local.scan(b"a", None).await.unwrap();
        let expected = [("local", "3"), ("one", "2")];
        assert_eq!(
            rows,
            expected.map(|(key, value)| (key.into(), value.into())),
            "{engine}"
        );
        assert!(matches!(local.commit().await, Ok(Commit::Committed(_))));
        set(&client, &[("A", b"x"), ("B", b"one")], b"4").await;
        cluster.finish().await;
    }
}

#[tokio::test]
async fn a_local_commit_whose_record_the_log_lost_is_of_unknown_outcome() {
    let log = GatedLog::default();
    let mut cluster = Cluster::start(&[]).await;
    cluster
        .start_site("A", EngineKind::Ss2pl, log.storage(), |_| {})
        .await;
    let client = cluster.client().await;
    let mut local = client.local("A");
    local.put(b"x", b"1").await.unwrap();
    log.hold();
    let commit = tokio::spawn(local.commit());
    until("the record is on its way", || log.held() == 1).await;
    log.fail();
    let outcome = commit.await.unwrap();
    assert!(
        matches!(outcome, Err(ClientError::LocalOutcomeUnknown { .. })),
        "{outcome:?}"
    );
    cluster.kill_site("A");
    cluster
        .start_site("A", EngineKind::Ss2pl, log.survivors().storage(), |_| {})
        .await;
    set(&cluster.client().await, &[("A", b"x")], b"2").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_cut_link_delays_the_decision_and_breaks_nothing() {
    let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    let wire = Wire::to(cluster.address()).await;
    let uri = wire.uri();
    cluster
        .start_site("B", EngineKind::Ss2pl, Storage::Volatile, |options| {
            options.coordinators.insert(COORDINATOR, uri);
        })
        .await;
    let client = cluster.client().await;
    let commit = in_doubt(&cluster, &client).await;
    wire.cut();
    cluster.log.release();
    // Decided without B: all votes are in.
    assert!(matches!(commit.await.unwrap(), Ok(Commit::Committed(_))));
    let site = std::sync::Arc::clone(cluster.site("B").site());
    assert_eq!(site.participant().in_flight(), 1, "B does not know it yet");
    wire.mend();
    until("B has learned it", || site.participant().in_flight() == 0).await;
    drop(site);
    client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();
    set(&client, &[("A", b"x"), ("B", b"y")], b"after").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_one_phase_commit_is_asked_for_again_over_the_mended_link() {
    let log = GatedLog::default();
    let mut cluster = Cluster::start(&[]).await;
    let wire = Wire::to(cluster.address()).await;
    let uri = wire.uri();
    cluster
        .start_site("A", EngineKind::Sco, log.storage(), |options| {
            options.coordinators.insert(COORDINATOR, uri);
        })
        .await;
    let client = cluster.client().await;
    let mut txn = client.begin().await.unwrap();
    txn.put("A", b"x", b"1").await.unwrap();
    log.hold();
    let commit = tokio::spawn(txn.commit());
    until("the record is on its way", || log.held() == 1).await;
    wire.cut();
    log.release();
    let site = std::sync::Arc::clone(cluster.site("A").site());
    until("A has decided", || site.participant().in_flight() == 0).await;
    assert!(!commit.is_finished(), "the coordinator cannot know");
    wire.mend();
    assert!(matches!(commit.await.unwrap(), Ok(Commit::Committed(_))));
    drop(site);
    cluster.finish().await;
}
