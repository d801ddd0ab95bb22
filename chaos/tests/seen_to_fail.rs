//! The judges of `chaos` see what they are there for: each planted bug is found within so many kills, a ledger
//! with a hole and plain two-phase commit are noticed; and without any of them everything holds.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

use std::process::{Command, Stdio};

/// Runs the command with `--json`; its exit status and what it said.
fn chaos(arguments: &str) -> (i32, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments.split_whitespace())
        .arg("--json")
        // What a failing run keeps goes with the test.
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{errors}"));
    (output.status.code().unwrap(), json)
}

/// What is wrong, in one text.
fn wrong(said: &serde_json::Value) -> String {
    said["wrong"].to_string()
}

#[test]
fn a_storm_over_the_real_log_holds() {
    for store in ["memory", "fjall"] {
        let (status, said) = chaos(&format!("storm --kills 60 --lives 30 --store {store}"));
        assert_eq!(status, 0, "{said}");
        assert!(said["compared"].as_u64().unwrap() > 0, "{said}");
        assert!(said["epochs"].as_u64().unwrap() > 0, "{said}");
        assert!(said["judged"].as_u64().unwrap() > 0, "{said}");
    }
}

/// Each folder sees one life, most of them killed while stores and logs are made, and the last.
#[test]
fn a_storm_over_first_lives_holds() {
    let (status, said) = chaos("storm --kills 60 --lives 1 --store fjall");
    assert_eq!(status, 0, "{said}");
    assert!(said["in_recovery"].as_u64().unwrap() > 5, "{said}");
}

/// Fails if `bug` is not found within so many kills.
fn found(bug: &str, kills: u64) {
    let (status, said) = chaos(&format!("storm --kills {kills} --bug {bug}"));
    assert_eq!(status, 1, "{bug} is not found within {kills} kills: {said}");
}

#[test]
fn a_log_that_acknowledges_before_it_syncs_is_found() {
    found("ack-before-sync", 200);
}

#[test]
fn a_recovery_that_forgets_the_last_record_is_found() {
    found("last-record-forgotten", 200);
}

#[test]
fn a_run_with_a_ledger_that_lacks_a_commit_does_not_hold() {
    let (status, said) = chaos("run --seconds 3 --forget-one --coordinators 1 --sites ss2pl,mvcc");
    assert_eq!(status, 1, "{said}");
    assert!(wrong(&said).contains("L5"), "{said}");
    // It is the ledger alone that is wrong.
    assert!(!wrong(&said).contains("histories"), "{said}");
}

#[test]
fn a_run_without_the_commit_order_is_found_not_to_be_serializable() {
    // Snapshots at both sites: each is serializable, and their orders cross within seconds in most runs.
    for seed in 1..=20 {
        let (status, said) = chaos(&format!(
            "run --seconds 5 --sites mvcc,mvcc --ordering off --seed {seed}"
        ));
        if wrong(&said).contains("not Serializability") {
            assert_eq!(status, 1, "{said}");
            return;
        }
    }
    panic!("twenty runs of plain two-phase commit were serializable");
}
