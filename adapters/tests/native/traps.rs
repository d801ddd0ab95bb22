//! What the server does that one would not expect, raw, and what the adapter makes of it.

use std::time::Duration;

use adapters::native::{Session as _, SessionBackend as _, SessionError};
use adapters::postgres::OpenError;
use adapters::postgres::native::{Mode, NativeOptions, PostgresSessions};
use adapters::{BackendError, BranchName, NotPrepared};
use co_core::{AbortReason, Gtid};
use participant::conformance::{Client, absent, block_on, found, get, put, scan};
use participant::engine::Options;
use participant::{Ballot, Blocked, OperationError, Reply, Value};

use super::{Foreign, Life, code, options, server};

const NO: Ballot = Ballot::No(AbortReason::Conflict);

#[test]
fn preparing_a_failed_transaction_is_no_error_for_the_server_and_a_no_for_the_site() {
    let Some(server) = server() else { return };
    let raw = Foreign::to(&server.url());
    raw.run("BEGIN").unwrap();
    assert!(raw.run("SELECT 1 / 0").is_err());
    assert!(
        raw.run("PREPARE TRANSACTION 'trap'").is_ok(),
        "as if it had"
    );
    assert_eq!(raw.prepared(), 0);
    assert!(
        raw.run("PREPARE TRANSACTION 'trap'").is_ok(),
        "outside of any"
    );
    assert_eq!(raw.prepared(), 0);
    raw.run("BEGIN").unwrap();
    assert!(raw.run("SELECT 1 / 0").is_err());
    let guarded = raw.run("SAVEPOINT co_guard; PREPARE TRANSACTION 'trap'");
    assert_eq!(code(&guarded.unwrap_err()), "25P02");
    raw.run("ROLLBACK").unwrap();
    let guarded = raw.run("SAVEPOINT co_guard; PREPARE TRANSACTION 'trap'");
    assert_eq!(code(&guarded.unwrap_err()), "25P01");

    // A key that the index cannot hold fails the transaction; nobody told the session.
    let life = Life::begin(&server.url(), Mode::Lock);
    let backend = std::sync::Arc::clone(&life.backend);
    let refused = life.threads.wait_for(async move {
        let branch = BranchName::Global(Gtid(1));
        let mut session = backend.begin(branch).await.unwrap();
        // Without anything that repeats: what can be compressed fits.
        let mut state = 1_u32;
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let bytes: Vec<u8> = bytes.take(4000).collect();
        let failed = session.put(&bytes.into(), Some(&Value::from([]))).await;
        assert_eq!(failed, Err(SessionError::Aborted(AbortReason::Conflict)));
        backend.prepare(branch, session).await
    });
    assert!(
        matches!(&refused, Err(NotPrepared::Refused(why)) if why.contains("25P02")),
        "{refused:?}"
    );
    assert_eq!(raw.prepared(), 0);
}

/// Both have read what the other overwrites; the server finds out when the second one is prepared.
#[test]
fn a_serialization_failure_while_preparing_is_a_no() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Plain);
    let [first, second] = [1, 2].map(|number| life.client(number));
    for client in [&first, &second] {
        assert_eq!(client.run(get("x")), Ok(absent()));
        assert_eq!(client.run(get("y")), Ok(absent()));
    }
    assert!(first.run(put("x", "1")).is_ok());
    assert!(second.run(put("y", "2")).is_ok());
    let ballots = first.prepare();
    assert!(ballots.yes().is_some());
    assert_eq!(second.prepare().cast(), Some(NO));
    second.abort();
    assert!(first.conclude(&ballots).is_ok());
}

#[test]
fn a_wait_for_somebody_from_outside_ends_with_an_abort() {
    let Some(server) = server() else { return };
    let short = NativeOptions {
        lock_timeout: Duration::from_millis(200),
        ..options(&server.url(), Mode::Lock)
    };
    let life = Life::of("site", 1, short, Options::default());
    let client = life.client(1);
    assert!(client.run(put("x", "1")).is_ok());
    client.commit();
    life.site.quiesce();
    let foreign = Foreign::to(&server.url());
    foreign
        .run("BEGIN; UPDATE co.rows SET value = '2'")
        .unwrap();
    let client = life.client(2);
    let answer = block_on(life.site.execute(client.name(), &get("x")));
    assert_eq!(answer, Err(OperationError::Aborted(AbortReason::Conflict)));
    assert_eq!(client.prepare().yes(), None);
    client.abort();
    foreign.run("COMMIT").unwrap();
    let client = life.client(3);
    assert_eq!(client.run(get("x")), Ok(found("2")));
    client.commit();
}

#[test]
fn a_session_that_is_lost_before_the_vote_is_an_abort() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let foreign = Foreign::to(&server.url());
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE application_name = 'co session:site'";
    let [working, voting] = [1, 2].map(|number| life.client(number));
    assert!(working.run(put("x", "1")).is_ok());
    assert!(voting.run(put("y", "1")).is_ok());
    assert_eq!(foreign.number(kill), 2);
    let lost = working.run(put("z", "1"));
    let away = AbortReason::Unavailable;
    assert_eq!(lost, Err(OperationError::Aborted(away)));
    assert_eq!(voting.prepare().cast(), Some(Ballot::No(away)));
    working.abort();
    voting.abort();
    let client = life.client(3);
    assert_eq!(client.run(scan("a", "zz")), Ok(Reply::Rows(Vec::new())));
    client.commit();
}

/// A branch that this role, or this database, cannot finish is found when the site opens, and named when it is tried.
#[test]
fn the_wrong_role_and_the_wrong_database_are_told() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let foreign = Foreign::to(&server.url());
    foreign
        .run(
            "CREATE ROLE clerk LOGIN; GRANT ALL ON SCHEMA co TO clerk; GRANT ALL ON ALL TABLES IN SCHEMA co TO clerk; \
             GRANT CREATE ON DATABASE postgres TO clerk",
        )
        .unwrap();
    foreign.run("CREATE DATABASE elsewhere").unwrap();
    let url = server.url();
    let clerk = url.replace("postgres@", "clerk@");
    let elsewhere = format!("{}/elsewhere", url.rsplit_once('/').unwrap().0);
    assert!(clerk != url && elsewhere != url, "{url}");
    let open = |url: &str| {
        let options = options(url, Mode::Lock);
        life.threads
            .wait_for(async move { PostgresSessions::open("site", options).await })
    };
    let others = [open(&clerk).unwrap(), open(&elsewhere).unwrap()];
    let client = life.client(1);
    assert!(client.run(put("x", "1")).is_ok());
    let ballots = client.prepare();
    assert!(ballots.yes().is_some());
    let branch = BranchName::Global(Gtid(1));
    let codes = others.map(|other| {
        let refused = life
            .threads
            .wait_for(async move { other.commit(branch).await });
        match refused {
            Err(BackendError::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(codes, ["42501", "0A000"]);
    let refused = open(&clerk).unwrap_err();
    assert!(
        matches!(&refused, OpenError::OtherRole { owner, role, .. } if owner == "postgres" && role == "clerk")
    );
    let refused = open(&elsewhere).unwrap_err();
    assert!(
        matches!(refused, OpenError::OtherDatabase { .. }),
        "{refused}"
    );
    assert!(client.conclude(&ballots).is_ok());
}

/// The server would look for a circle after a while, and choose anybody.
#[test]
fn a_circle_of_waits_costs_the_youngest_and_waits_are_told_by_name() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let before = life.client(9);
    for key in ["x", "y"] {
        assert!(before.run(put(key, "0")).is_ok());
    }
    before.commit();
    let [old, young, third] = [1, 2, 3].map(|number| life.client(number));
    assert!(old.run(put("x", "1")).is_ok());
    assert!(young.run(put("y", "2")).is_ok());
    let mut waiting = young.start(put("x", "2"));
    assert_eq!(waiting.poll(), None);
    let mut behind = third.start(get("x"));
    assert_eq!(behind.poll(), None);
    life.site.quiesce();
    let by = |blocked: &Blocked| {
        blocked
            .by
            .iter()
            .map(|(gtid, _)| gtid.0)
            .collect::<Vec<_>>()
    };
    let mut blocked: Vec<_> = life.site.blocked();
    blocked.sort_by_key(|it| it.gtid);
    assert_eq!(by(&blocked[0]), [1]);
    assert_eq!(blocked[1].gtid, Gtid(3));
    let deadlock = old.run(put("y", "1"));
    assert_eq!(deadlock, Ok(Reply::Done), "the older one gets through");
    assert_eq!(
        waiting.poll(),
        Some(Err(OperationError::Aborted(AbortReason::Cycle)))
    );
    young.abort();
    old.commit();
    assert_eq!(behind.poll(), Some(Ok(found("1"))));
    let reader = |client: &Client| client.commit();
    reader(&third);
    assert_eq!(life.site.in_flight(), 0);
}

/// The server lets readers pass a writer that waits for other readers. A reader that is aborted for the writer's sake and
/// comes again at once could keep it waiting for ever, together with one other.
#[test]
fn who_is_aborted_for_a_writers_sake_comes_again_behind_it() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let before = life.client(9);
    assert!(before.run(put("x", "0")).is_ok());
    before.commit();
    let [writer, aborted, other] = [1, 2, 3].map(|number| life.client(number));
    for client in [&writer, &aborted, &other] {
        assert_eq!(client.run(get("x")), Ok(found("0")));
    }
    let mut writing = writer.start(put("x", "1"));
    assert_eq!(writing.poll(), None, "two others read it");
    // As who looks over several sites would, for a circle that no site sees.
    aborted.abort();
    let again = life.client(4);
    let mut reading = again.start(get("x"));
    assert_eq!(reading.poll(), None, "it does not pass the writer");
    assert_eq!(writing.poll(), None, "one other reads it");
    other.abort();
    assert_eq!(writing.poll(), Some(Ok(Reply::Done)));
    writer.commit();
    assert_eq!(reading.poll(), Some(Ok(found("1"))));
    again.commit();
    assert_eq!(life.site.in_flight(), 0);
}
