//! Every embedding passes the whole kit, and stays small enough to copy.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot make its folder has failed"
)]

use std::process::Command;

use conformance::{Options, Report, Verdict};
use embeddings::Embedding;

/// The most lines of code of a module that is meant to be copied.
const MOST_LINES: usize = 150;

fn check(embedding: Embedding) -> Report {
    let folder = tempfile::tempdir().unwrap();
    // Every vote and every decision of a store on disk is a sync.
    let options = Options {
        rounds: 4,
        transactions: 250,
        thread_transactions: 100,
        ..Options::default()
    };
    let report = embeddings::run(embedding, folder.path(), options);
    assert!(report.passed(), "{report}");
    report
}

fn skipped(report: &Report) -> Vec<&'static str> {
    let cases = report.cases.iter();
    cases
        .filter(|case| matches!(case.verdict, Verdict::Skipped { .. }))
        .map(|case| case.id)
        .collect()
}

#[test]
fn the_map_passes_all_but_the_crashes() {
    let report = check(Embedding::Map);
    let skipped = skipped(&report);
    assert!(!skipped.is_empty());
    assert!(skipped.iter().all(|id| id.starts_with("crash")));
}

#[test]
fn redb_passes_all() {
    assert!(skipped(&check(Embedding::Redb)).is_empty());
}

#[test]
fn fjall_passes_all() {
    assert!(skipped(&check(Embedding::Fjall)).is_empty());
}

#[test]
fn the_program_prints_a_report_for_people_and_one_for_programs() {
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embeddings"));
        command.args(arguments).output().unwrap()
    };
    let text = program(&["--engine", "map", "--only", "S1"]);
    assert!(text.status.success());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("pass  S1 ") && text.contains("map: 5 passed, 0 failed"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no colours in a pipe");

    let json = program(&["--engine", "redb", "--only", "crash-reads", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["engine"], "redb");
    assert_eq!(json[0]["passed"], true);
    assert_eq!(json[0]["cases"][0]["id"], "crash-reads");

    let nothing = program(&["--engine", "map", "--only", "no such case"]);
    assert_eq!(nothing.status.code(), Some(1), "nothing has passed");
    let help = program(&["--help"]);
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Examples:")
    );
}

#[test]
fn each_module_is_small_enough_to_copy() {
    let modules = [
        ("map", include_str!("../src/map.rs")),
        ("redb", include_str!("../src/redb.rs")),
        ("fjall", include_str!("../src/fjall.rs")),
        ("workspace", include_str!("../src/workspace.rs")),
        ("changes", include_str!("../src/changes.rs")),
    ];
    for (name, text) in modules {
        let code = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        assert!(code > 20, "{name}: {code} lines counted");
        assert!(code < MOST_LINES, "{name} has {code} lines of code");
    }
}
