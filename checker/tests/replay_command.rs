//! `co-check` over the histories of sites says the same whether it replays them or builds the graph.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

#[path = "follow/random.rs"]
#[allow(dead_code, reason = "shared with the tests of following")]
mod random;

use random::{History, Numbers};

fn co_check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    command.args(arguments).output().unwrap()
}

/// Writes the histories into a folder; the paths.
fn files(folder: &Path, texts: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        let path = folder.join(format!("{place}.hist"));
        std::fs::write(&path, text).unwrap();
        paths.push(path.display().to_string());
    }
    paths
}

/// What is said, without what may differ, and the method.
fn said(output: &Output) -> (Json, String) {
    let mut json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let method = json["method"].take().as_str().unwrap().to_owned();
    json["seconds"].take();
    for report in json["reports"].as_array_mut().unwrap() {
        report["statistics"]["edges"].take();
    }
    (json, method)
}

#[test]
fn the_answer_is_that_of_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let mut methods = [0; 2];
    for seed in 0..60 {
        let texts = History::random(&mut Numbers(seed)).texts();
        let paths = files(folder.path(), &texts);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        for level in [&[][..], &["--level", "eco"]] {
            let options = [&["--json"], level, &paths].concat();
            let fast = co_check(&options);
            let slow = co_check(&[&["--graph"], &options[..]].concat());
            let ((fast_said, method), (slow_said, graph)) = (said(&fast), said(&slow));
            assert_eq!(fast_said, slow_said, "{texts:?}");
            assert_eq!(fast.status.code(), slow.status.code());
            assert_eq!(graph, "graph");
            methods[usize::from(method == "replay")] += 1;
        }
    }
    assert!(methods.iter().all(|count| *count > 10), "{methods:?}");
}

#[test]
fn the_order_is_written_and_re_checked() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        "co-history 1 A\nc G1 5 1 w:x\nc L2 6 - r:x@1\nend 2\n",
        "co-history 1 B\nc G1 5 - r:y@0\nend 1\n",
    ];
    let paths = files(folder.path(), &texts.map(str::to_owned));
    let (a, b) = (paths[0].as_str(), paths[1].as_str());
    let order = folder.path().join("order.json").display().to_string();
    let output = co_check(&[a, b, "--certificate", &order]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("VALID serializability: a serial order of 2 transactions"),
        "{text}"
    );
    let words: Vec<&str> = text.split_whitespace().collect();
    let flat = words.join(" ");
    assert!(
        flat.contains(", replayed in the order of decisions, "),
        "{text}"
    );
    let output = co_check(&["verify", &order, a, b]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), text.as_str()),
        (
            Some(0),
            "VALID serializable: the order explains every read\n"
        )
    );
    let written = std::fs::read_to_string(&order).unwrap();
    assert!(written.contains(r#"["G1","L2@A"]"#), "{written}");
    std::fs::write(
        &order,
        written.replace(r#"["G1","L2@A"]"#, r#"["L2@A","G1"]"#),
    )
    .unwrap();
    assert_eq!(co_check(&["verify", &order, a, b]).status.code(), Some(1));
    // The graph writes the same.
    let again = folder.path().join("again.json").display().to_string();
    assert_eq!(
        co_check(&["--graph", a, b, "--certificate", &again])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(std::fs::read_to_string(&again).unwrap(), written);
}

#[test]
fn compressed_files_are_replayed_too_and_bad_ones_told_of_as_ever() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.hist.gz").display().to_string();
    let file = std::fs::File::create(&path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(b"co-history 1 A\nc G1 5 1 w:x\nend 1\n")
        .unwrap();
    gzip.finish().unwrap();
    let output = co_check(&[&path, "--json"]);
    assert_eq!(
        (output.status.code(), said(&output).1.as_str()),
        (Some(0), "replay")
    );
    let path = folder.path().join("bad.hist").display().to_string();
    std::fs::write(&path, "co-history 1 A\nc G1 5 1 w:x\nc G1 6 2 w:x\nend 2\n").unwrap();
    let output = co_check(&[&path]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("line 3") || error.contains(":3"), "{error}");
}
