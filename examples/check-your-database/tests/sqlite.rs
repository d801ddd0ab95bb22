//! SQLite is strictly serializable if it is asked to be, and a program that is not is found out.
#![allow(clippy::unwrap_used, reason = "tests may stop")]

use std::process::{Command, Stdio};

use check_your_database::{Plan, run, verdict};
use checker::assess::Verdict;
use checker::formats::{self, Format, ReadOptions};

/// Judges a run, what was read of it again as well.
fn check(is_broken: bool) -> (Verdict, String) {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        is_broken,
        ..Plan::default()
    };
    let recorder = run(&folder.path().join("kv.sqlite"), &plan).unwrap();
    let saved = folder.path().join("saved.observed");
    recorder.write_to(&saved).unwrap();
    let options = ReadOptions {
        format: Some(Format::Native),
        ..ReadOptions::default()
    };
    let history = formats::read_path(&saved, &options).unwrap();
    let committed = 1 + plan.threads * plan.transactions;
    assert_eq!(history.txns().len() as u64, committed);
    let judged = verdict(&history);
    // All but the line with the name of the history.
    let said = |text: &str| -> Vec<String> { text.lines().skip(2).map(str::to_owned).collect() };
    let (directly, text) = verdict(&recorder.finish());
    assert_eq!((judged.0, said(&judged.1)), (directly, said(&text)));
    judged
}

#[test]
fn transactions_are_strictly_serializable() {
    let (verdict, text) = check(false);
    assert_eq!(verdict, Verdict::Valid, "{text}");
    assert!(text.starts_with("VALID strict-serializable\n"), "{text}");
}

#[test]
fn reading_in_one_transaction_and_writing_in_another_loses_updates_and_that_is_found() {
    let (verdict, text) = check(true);
    assert_eq!(verdict, Verdict::Invalid, "{text}");
    assert!(text.contains("lost-update"), "{text}");
}

#[test]
fn the_program_exits_with_the_verdict_and_leaves_a_history() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, status) in [(&[] as &[&str], 0), (&["--broken"], 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_check-your-database"));
        command.args(arguments).current_dir(&folder);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let history = folder.path().join("sqlite.observed");
        let read = formats::read_path(&history, &ReadOptions::default()).unwrap();
        assert_eq!(read.txns().len(), 401);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_check-your-database"));
    let arguments = ["--broken", "--transactions", "1"];
    command.args(arguments).current_dir(&folder);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer).stderr(Stdio::piped());
    drop(reader);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(1), ""));
}
