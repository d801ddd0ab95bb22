//! Runs the `co-check` command as a user would.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn co_check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_co-check"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
        .arg("history")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

const SKEW: [&str; 2] = ["invalid/write-skew.A.hist", "invalid/write-skew.B.hist"];

#[test]
fn the_verdict_is_the_first_line_and_the_exit_status() {
    let cases = [
        (&["valid/serial.hist"][..], 0, "VALID serializability: "),
        (
            &SKEW[..],
            1,
            "INVALID serializability: a cycle of 2 transactions",
        ),
        (
            &["unknown/truncated.hist"][..],
            2,
            "UNKNOWN serializability: File unknown/truncated",
        ),
        (
            &["--level", "co", "invalid/out-of-order.hist"][..],
            1,
            "INVALID commitment ordering: ",
        ),
        (
            &["invalid/out-of-order.hist"][..],
            0,
            "VALID serializability: ",
        ),
        (
            &["--level", "all", "invalid/out-of-order.hist"][..],
            1,
            "VALID serializability: ",
        ),
        (
            &["--level", "all", "unknown/no-stamps.hist"][..],
            2,
            "VALID serializability: ",
        ),
    ];
    for (arguments, status, first) in cases {
        let output = co_check(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let text = stdout(&output);
        assert!(text.starts_with(first), "{arguments:?}: {text}");
        assert!(!text.contains('\x1b'), "no colours in a pipe");
    }
}

#[test]
fn a_cycle_is_told_in_one_sentence_a_step() {
    let output = co_check(&SKEW);
    // Wherever the lines were broken.
    let words: Vec<&str> = stdout(&output).split_whitespace().collect();
    let text = words.join(" ");
    for sentence in [
        "1. At site A, G1 read \"x\" in its initial state, and G2 then installed a newer version \
         (seq 1): so G1 precedes G2.",
        "2. At site B, G2 read \"y\" in its initial state, and G1 then installed a newer version \
         (seq 1): so G2 precedes G1.",
    ] {
        assert!(text.contains(sentence), "{text}");
    }
}

#[test]
fn each_site_alone_may_be_valid_while_the_union_is_not() {
    let output = co_check(&["--per-site", SKEW[0], SKEW[1]]);
    assert_eq!(output.status.code(), Some(1));
    for site in ["Site A alone: VALID", "Site B alone: VALID"] {
        assert!(stdout(&output).contains(site), "{}", stdout(&output));
    }
}

#[test]
fn json_carries_the_cycle_and_its_sentences() {
    let output = co_check(&["--json", "--per-site", SKEW[0], SKEW[1]]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &json["reports"][0];
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(report["anomalies"][0]["anomaly"], "cycle");
    assert_eq!(report["anomalies"][0]["class"], "G2-item");
    let step = &report["anomalies"][0]["steps"][0];
    assert_eq!(
        (&step["from"], &step["key"], &step["site"]),
        (&"G1".into(), &"x".into(), &"A".into())
    );
    assert!(
        step["sentence"]
            .as_str()
            .unwrap()
            .ends_with("so G1 precedes G2.")
    );
    assert_eq!(json["per_site"][1]["report"]["verdict"], "valid");
    assert_eq!(report["statistics"]["committed"], 2);
}

#[test]
fn the_cycle_can_be_drawn() {
    let drawing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cycle.dot");
    let to_file = co_check(&[
        "--quiet",
        "--dot",
        drawing.to_str().unwrap(),
        SKEW[0],
        SKEW[1],
    ]);
    assert_eq!((to_file.status.code(), stdout(&to_file)), (Some(1), ""));
    let text = std::fs::read_to_string(drawing).unwrap();
    assert!(
        text.contains("\"G1\" -> \"G2\" [label=\"rw x @ A\""),
        "{text}"
    );
    let to_stdout = co_check(&["--quiet", "--dot", "-", SKEW[0], SKEW[1]]);
    assert_eq!(stdout(&to_stdout), text);
}

#[test]
fn a_small_graph_without_cycle_is_drawn_whole() {
    let output = co_check(&["--quiet", "--dot", "-", "valid/serial.hist"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("\"L1@A\" -> \"L3@A\" [label=\"wr y @ A\""));
}

#[test]
fn a_graph_too_large_to_draw_keeps_its_verdict() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large.hist");
    let lines: String = (1..=201)
        .map(|txn| format!("c L{txn} {txn} {txn} w:x\n"))
        .collect();
    std::fs::write(&file, format!("co-history 1 A\n{lines}end 201\n")).unwrap();
    let output = co_check(&["--dot", "-", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).starts_with("VALID"), "{}", stdout(&output));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("nothing was drawn")
    );
}

#[test]
fn bad_input_names_the_file_and_the_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_co-check"))
        .args(["history", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"co-history 1 A\nc L1 1 1 w:a b\nend 1\n")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("standard input, line 2: `b` is not an operation"),
        "{message}"
    );
    assert_eq!(co_check(&["no-such.hist"]).status.code(), Some(2));
}
