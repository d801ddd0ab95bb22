//! The commands that look at a MariaDB server.

use databases::{Product, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::system::adapter;

fn check(url: &str, more: &[&str], status: i32) -> Vec<Value> {
    let output = adapter(&[&["check", "--database", url, "--json"], more].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["fits"], status == 0, "{found:#}");
    assert_eq!(found["product"], "MariaDB");
    found["findings"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_finding_over_mariadb_comes_with_the_statement_that_mends_it() {
    let Some(server) = Server::for_test(Product::MariaDb, &[]) else {
        return;
    };
    let url = server.url();
    assert_eq!(check(&url, &[], 0), Vec::<Value>::new());
    let mut root = Conn::from_url(&url).await.unwrap();
    let make = "CREATE DATABASE co; CREATE TABLE co.rows (k INT PRIMARY KEY, v TEXT) ENGINE = Aria; \
                CREATE TRIGGER co.audit AFTER INSERT ON co.rows FOR EACH ROW SET @seen = 1; \
                SET GLOBAL innodb_flush_log_at_trx_commit = 2; SET GLOBAL read_only = ON; \
                SET GLOBAL max_allowed_packet = 1048576; SET GLOBAL max_connections = 20";
    root.query_drop(make).await.unwrap();
    let expected = [
        "read_only is on",
        "innodb_flush_log_at_trx_commit is 2",
        "max_allowed_packet is 1048576",
        "has the engine Aria",
        "has triggers (audit)",
        "20 connections",
        "is not a table as the site makes it",
    ];
    let found = check(&url, &[], 1);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    // Declared, the columns are the site's to judge.
    let declared = check(&url, &["--key", "k", "--value", "v"], 1);
    assert_eq!(declared.len(), expected.len() - 1, "{declared:#?}");
    for words in expected {
        let of = |finding: &&Value| finding["what"].as_str().unwrap().contains(words);
        let finding = found.iter().find(of);
        let finding = finding.unwrap_or_else(|| panic!("{words} is not found: {found:#?}"));
        let statement = finding["statement"].as_str().unwrap();
        let done = root.query_drop(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    assert_eq!(check(&url, &[], 0), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_in_mariadb_are_listed_with_whose_they_are() {
    let Some(server) = Server::for_test(Product::MariaDb, &[]) else {
        return;
    };
    let url = server.url();
    let arguments = ["branches", "--name", "a", "--database", &url];
    assert_eq!(adapter(&arguments).stdout, b"nothing is prepared\n");
    let mut root = Conn::from_url(&url).await.unwrap();
    let make = "CREATE DATABASE t; CREATE TABLE t.t (x INT)";
    root.query_drop(make).await.unwrap();
    for xid in [
        "'co:a','g16777217',25455",
        "'co:b','l5.6',25455",
        "'co:a','g1',1",
    ] {
        let mut session = Conn::from_url(&url).await.unwrap();
        let branch =
            format!("XA START {xid}; INSERT INTO t.t VALUES (1); XA END {xid}; XA PREPARE {xid}");
        session.query_drop(branch).await.unwrap();
        session.disconnect().await.unwrap();
    }
    let text = String::from_utf8(adapter(&arguments).stdout).unwrap();
    for words in [
        "this site, transaction 16777217 of coordinator C0",
        "site b, local transaction 6 of life 5",
        "not an adapter's",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let json = adapter(&[&arguments[..], &["--json"]].concat()).stdout;
    let all: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[0]["branch"], "co:a:g16777217");
    assert_eq!(all[0]["age_seconds"], Value::Null);
}
