//! The commands that look at a server, and what they are refused.

use serde_json::Value;

use crate::system::{Site, adapter, coordinator, prepared, server, session};

fn document(arguments: &[&str], status: i32) -> Value {
    let output = adapter(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check(url: &str, status: i32) -> Vec<Value> {
    let found = document(&["check", "--database", url, "--json"], status);
    assert_eq!(found["fits"], status == 0, "{found:#}");
    found["findings"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_finding_comes_with_the_statement_that_mends_it() {
    let Some(server) = server() else { return };
    let url = server.url();
    let root = session(&url).await;
    let run = async |sql: &str| root.batch_execute(sql).await.unwrap();
    run("CREATE DATABASE shop").await;
    run("CREATE ROLE shop LOGIN; \
         CREATE ROLE other; ALTER ROLE shop IN DATABASE shop SET statement_timeout = '5s'; \
         ALTER ROLE shop IN DATABASE shop SET standard_conforming_strings = off; \
         ALTER ROLE shop IN DATABASE shop SET default_transaction_read_only = on;")
    .await;
    let (server_alone, _) = url.rsplit_once('/').unwrap();
    let inside = session(&format!("{server_alone}/shop")).await;
    let shop = format!("{server_alone}/shop").replace("postgres@", "shop@");
    inside
        .batch_execute(
            "CREATE SCHEMA co AUTHORIZATION other; \
             CREATE UNLOGGED TABLE co.rows (key bytea PRIMARY KEY, value bytea NOT NULL); \
             ALTER TABLE co.rows ENABLE ROW LEVEL SECURITY; \
             CREATE FUNCTION co.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; \
             CREATE TRIGGER audit AFTER INSERT ON co.rows FOR EACH ROW EXECUTE FUNCTION co.audit();",
        )
        .await
        .unwrap();
    let expected = [
        "fsync is off",
        "standard_conforming_strings is off",
        "default_transaction_read_only is on",
        "statement_timeout is 5s",
        "may not make schemas",
        "may not make tables",
        "is not logged",
        "has row security",
        "may not read and write",
        "has triggers",
    ];
    // The servers of tests are told on the command line what counts more than what is asked of them later.
    let stays = "fsync is off";
    let found = check(&shop, 1);
    for words in expected {
        let of = |finding: &&Value| finding["what"].as_str().unwrap().contains(words);
        let finding = found.iter().find(of);
        let finding = finding.unwrap_or_else(|| panic!("{words} is not found: {found:#?}"));
        if words != stays {
            let statement = finding["statement"].as_str().unwrap();
            inside
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let left = check(&shop, 1);
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0]["what"].as_str().unwrap().contains(stays));
}

#[test]
fn a_server_that_prepares_nothing_does_not_fit_and_one_as_it_should_be_does() {
    let product = databases::Product::Postgres;
    let off = [("max_prepared_transactions", "0")];
    let Some(server) = databases::Server::for_test(product, &off) else {
        return;
    };
    let found = check(&server.url(), 1);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        found[0]["statement"],
        "ALTER SYSTEM SET max_prepared_transactions = 200;"
    );
    assert_eq!(found[0]["then"], "restart the server");
    let serve = [
        "serve",
        "--name",
        "a",
        "--volatile",
        "--coordinator",
        "http://127.0.0.1:1",
        "--database",
        &server.url(),
    ];
    let refused = adapter(&serve);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("max_prepared_transactions"), "{error}");
    drop(server);

    let Some(server) = databases::Server::for_test(product, &[]) else {
        return;
    };
    assert_eq!(check(&server.url(), 0), Vec::<Value>::new());
    let few = [("max_prepared_transactions", "5"), ("fsync", "off")];
    drop(server);
    let server = databases::Server::for_test(product, &few).unwrap();
    let text = adapter(&["check", "--database", &server.url()]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(": does not fit"), "{text}");
    assert!(lines[1].starts_with("  WRONG     fsync is off"), "{text}");
    assert!(
        lines[3].starts_with("  drawback  max_prepared_transactions is 5"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_listed_with_whose_they_are() {
    let Some(server) = server() else { return };
    let url = server.url();
    let root = session(&url).await;
    let arguments = ["branches", "--name", "a", "--database", &url];
    let nothing = adapter(&arguments);
    assert_eq!(nothing.stdout, b"nothing is prepared\n");
    root.batch_execute("CREATE TABLE t (x int)").await.unwrap();
    for branch in ["co:a:g16777217", "co:b:l5.6", "backup"] {
        let prepare = format!("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{branch}'");
        root.batch_execute(&prepare).await.unwrap();
    }
    let text = String::from_utf8(adapter(&arguments).stdout).unwrap();
    for words in [
        "this site, transaction 16777217 of coordinator C0",
        "site b, local transaction 6 of life 5",
        "not an adapter's",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let mut with_json = arguments.to_vec();
    with_json.push("--json");
    let all = document(&with_json, 0);
    assert_eq!(all[0]["whose"], "own");
    assert_eq!(all[0]["gtid"], 16_777_217);
    assert_eq!(all[0]["owner"], "postgres");
    assert_eq!(all[1]["site"], "b");
    assert_eq!(all[2]["branch"], "backup");
    let ages: Vec<f64> = (0..3)
        .map(|at| all[at]["age_seconds"].as_f64().unwrap())
        .collect();
    assert!(
        ages.is_sorted_by(|a, b| a >= b) && ages[0] < 60.0,
        "{ages:?}"
    );
}

/// A second process would take the first one's branches for its own leftovers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_served_by_one_process() {
    let Some(server) = server() else { return };
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let coordinator = coordinator(folder.path()).await;
    let mut site = Site::new("only", &url, &coordinator, folder.path(), true);
    site.start();
    let root = session(&url).await;
    root.batch_execute("CREATE TABLE t (x int)").await.unwrap();
    let branch = "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'co:only:g7'";
    root.batch_execute(branch).await.unwrap();
    let second = adapter(&[
        "serve",
        "--name",
        "only",
        "--volatile",
        "--coordinator",
        "http://127.0.0.1:1",
        "--log-level",
        "off",
        "--database",
        &url,
    ]);
    let error = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{error}");
    assert!(
        error.contains("another process serves site `only`"),
        "{error}"
    );
    let holder = error.split("pg_terminate_backend(").nth(1).unwrap();
    let (holder, _) = holder.split_once(')').unwrap();
    assert!(holder.parse::<i32>().unwrap() > 0, "{error}");
    assert_eq!(
        prepared(&root, "co:only:").await,
        1,
        "it is not the second's"
    );
    // The name is free as soon as the first process has ended.
    site.kill();
    site.start();
    assert_eq!(
        prepared(&root, "co:only:").await,
        0,
        "now it is nobody's promise"
    );
    site.end();
    coordinator.kill();
}

#[test]
fn what_cannot_be_is_refused_in_one_line_that_says_what_to_do_and_no_password() {
    let serve = |database: &str, mode: &str| {
        let output = adapter(&[
            "serve",
            "--name",
            "a",
            "--volatile",
            "--coordinator",
            "http://127.0.0.1:1",
            "--log-level",
            "off",
            "--database",
            database,
            "--mode",
            mode,
        ]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    for (database, mode, words) in [
        ("oracle://u:secret@127.0.0.1:1/d", "co", "write postgres://"),
        (
            "mysql://u:secret@127.0.0.1:1/d",
            "co",
            "127.0.0.1:1 cannot be reached",
        ),
        ("mysql://u:secret@127.0.0.1:1/d", "serial", "use co"),
        (
            "postgres://u:secret@127.0.0.1:port/d",
            "co",
            "`postgres://...@127.0.0.1:port/d` is no address",
        ),
        (
            "postgres://u:secret@127.0.0.1:port/d",
            "lock",
            "`postgres://...@127.0.0.1:port/d` is no address",
        ),
        (
            "postgres://u:secret@127.0.0.1:1/d",
            "co",
            "database `d` of PostgreSQL at 127.0.0.1:1 cannot be reached",
        ),
    ] {
        let error = serve(database, mode);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.starts_with("adapter: ") && error.contains(words),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_site_that_would_forget_its_promises_does_not_start_unless_that_is_said() {
    let serve = |more: &[&str]| {
        let site = [
            "serve",
            "--name",
            "a",
            "--coordinator",
            "http://127.0.0.1:1",
        ];
        let database = [
            "--log-level",
            "off",
            "--database",
            "postgres://u@127.0.0.1:1/d",
        ];
        let output = adapter(&[&site[..], &database[..], more].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = serve(&[]);
    assert_eq!(refused.lines().count(), 1, "{refused}");
    assert!(refused.contains("--data FOLDER"), "{refused}");
    assert!(refused.contains("--volatile"), "{refused}");
    let said = serve(&["--volatile"]);
    assert!(said.contains("cannot be reached"), "{said}");
    let both = serve(&["--volatile", "--data", "never-made"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_site_s_own_guard_nor_declared_columns_are_found_fault_with() {
    let Some(server) = server() else { return };
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let coordinator = coordinator(folder.path()).await;
    let mut site = Site::new("guarded", &url, &coordinator, folder.path(), false);
    site.start();
    let root = session(&url).await;
    let table = "CREATE TABLE accounts (branch int, id int, balance bigint NOT NULL, PRIMARY KEY (branch, id))";
    root.batch_execute(table).await.unwrap();
    let accounts = ["--schema", "public", "--table", "accounts"];
    let columns = ["--key", "branch,id", "--value", "balance"];
    let found = |more: &[&str]| {
        let check = ["check", "--json", "--database", &url];
        let found = document(&[&check, more].concat(), 1);
        let found = found["findings"].as_array().unwrap().iter();
        let found = found.map(|finding| finding["what"].as_str().unwrap().to_owned());
        // That is how the servers of tests are.
        let found = found.filter(|what| !what.starts_with("fsync is off"));
        found.collect::<Vec<String>>()
    };
    assert_eq!(found(&["--schema", "guarded"]), Vec::<String>::new());
    assert_eq!(found(&[accounts, columns].concat()), Vec::<String>::new());
    let undeclared = found(&accounts);
    assert!(
        undeclared[0].contains("is not a table of a unique `key`"),
        "{undeclared:?}"
    );
    site.end();
    coordinator.kill();
}
