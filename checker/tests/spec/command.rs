//! `co-check spec`: what it says, to people and programs, and its exit status.

use std::process::{Command, Output};

use serde_json::Value;

fn co_check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    command.arg("spec").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complained(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_table_for_programs_has_verdict_bound_and_witness() {
    let output = co_check(&["table", "--only", "linearizable-register", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table = json(&output);
    assert_eq!(table["format"], 1);
    let rows = table["specifications"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    let finding = &rows[0]["findings"][0];
    assert_eq!(finding["question"], "monotone");
    assert_eq!(finding["verdict"], "no");
    assert_eq!(
        (&finding["claim"], &finding["finding"]),
        (&Value::Bool(false), &Value::Bool(false))
    );
    let complete = finding["examined"]["complete"].as_u64().unwrap();
    assert!(complete < finding["examined"]["events"].as_u64().unwrap());
    let bound = finding["bound"].as_str().unwrap();
    assert!(
        bound.starts_with(&format!(
            "a smallest witness has {complete} events: no history of its universe with fewer shows it"
        )),
        "{bound}"
    );
    assert!(!bound.contains("histories of up to"), "{bound}");
    assert!(finding["per-second-and-core"].as_f64().unwrap() > 0.0);
    let events = finding["witness"]["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["later"] == true));
}

#[test]
fn a_table_for_people_is_markdown_where_no_terminal_is_and_marks_findings() {
    let only = [
        "table",
        "--only",
        "linearizable-register",
        "causal-register-pending",
    ];
    let output = co_check(&only);
    assert_eq!(
        output.status.code(),
        Some(0),
        "a known finding is no failure: {output:?}"
    );
    let text = said(&output);
    assert!(
        text.contains("| linearizable-register | monotone | no | no | none below 6 events |"),
        "{text}"
    );
    assert!(
        text.contains("| causal-register-pending | monotone | yes | **no** |"),
        "{text}"
    );
    assert!(
        text.contains("causal-register-pending, monotone: a finding"),
        "{text}"
    );
    assert!(
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("known findings: 1; contradicting their source: 0;"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours where no terminal is");
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(
        table.iter().all(|line| columns(line) == columns(table[0])),
        "{text}"
    );
    let whole = said(&co_check(&[&only[..], &["--witnesses"]].concat()));
    assert!(
        whole.contains("```text") && whole.contains("only in the future"),
        "{whole}"
    );
}

#[test]
fn what_contradicts_a_source_within_a_smaller_bound_exits_with_1() {
    let output = co_check(&["table", "--only", "linearizable-register", "--events", "3"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = said(&output);
    assert!(text.contains("--events 3, a witness may lie"), "{text}");
    let output = co_check(&[
        "show",
        "linearizable-register",
        "--events",
        "3",
        "--question",
        "monotone",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("monotone? yes (the source claims otherwise)"),
        "{text}"
    );
    assert!(
        text.contains("histories of up to 3 events of 2 processes"),
        "{text}"
    );
    assert!(text.contains("--events 3, a witness may lie"), "{text}");
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let output = co_check(&["show", "linearisable-registre"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).is_empty());
    let complaint = complained(&output);
    assert!(
        complaint.contains("near it are linearizable-register"),
        "{complaint}"
    );
    assert!(complaint.contains("co-check spec list"), "{complaint}");
    let output = co_check(&["table", "--only", "fifa"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complained(&output).contains("near it are fifo"),
        "{output:?}"
    );
    let output = co_check(&["show", "fifa", "--json"]);
    assert_eq!(json(&output)["verdict"], "error");
    for arguments in [
        &["show", "fifo", "--question", "monoton"][..],
        &["show", "fifo", "--question", "proper"],
        &["table", "--section", "nothing"],
        &["table", "--threads", "0"],
        &["table", "--only", "fifo", "--section", "invariants"],
    ] {
        let output = co_check(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn pictures_are_written_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (svg, dot, pictures) = (path("why.svg"), path("why.dot"), path("pictures"));
    let show = ["show", "fifo", "--svg", &svg, "--dot", &dot];
    assert_eq!(co_check(&show).status.code(), Some(0));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    assert!(
        std::fs::read_to_string(&dot)
            .unwrap()
            .starts_with("digraph")
    );
    let output = co_check(&["show", "causal-fifo", "--svg", &svg]);
    assert!(
        complained(&output).contains("there is no witness"),
        "{output:?}"
    );
    assert!(
        !std::path::Path::new(&svg).exists(),
        "an earlier picture is not left for this one"
    );
    let output = co_check(&["table", "--only", "fifo", "--svg-dir", &pictures]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        std::path::Path::new(&pictures)
            .join("fifo.monotone.svg")
            .exists()
    );
}

#[test]
fn the_list_has_every_specification_and_symmetry_and_threads_do_not_matter() {
    let list = json(&co_check(&["list", "--json"]));
    let listed = list["specifications"].as_array().unwrap();
    let rows = checker::spec::rows::rows();
    assert_eq!(listed.len(), rows.len());
    let text = said(&co_check(&["list"]));
    assert!(
        rows.iter()
            .all(|row| text.contains(row.id) && text.contains(row.title))
    );
    let witness = |more: &[&str]| {
        let arguments = [&["show", "fixed-fifo", "--json"][..], more].concat();
        json(&co_check(&arguments))["findings"][0]["witness"].clone()
    };
    let first = witness(&[]);
    assert!(first.is_object());
    assert_eq!(first, witness(&["--threads", "1"]));
    assert_eq!(first, witness(&["--threads", "4"]));
    let all = witness(&["--no-symmetry"]);
    assert_eq!(
        all["events"].as_array().unwrap().len(),
        first["events"].as_array().unwrap().len()
    );
}

#[test]
fn colours_are_for_terminals_and_never_with_no_color() {
    // `script` of util-linux gives the command a terminal.
    let on_terminal = |no_color: &str| {
        let command = format!(
            "{} spec show fifo-as-defined 2>/dev/null",
            env!("CARGO_BIN_EXE_co-check")
        );
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]);
        script.env("NO_COLOR", no_color).output()
    };
    let (Ok(coloured), Ok(plain)) = (on_terminal(""), on_terminal("1")) else {
        println!("SKIPPED: there is no `script` to give the command a terminal");
        return;
    };
    assert!(
        said(&coloured).contains("monotone? \u{1b}[1;33myes\u{1b}[0m"),
        "{coloured:?}"
    );
    assert!(said(&plain).contains("monotone? yes"), "{plain:?}");
    assert!(!said(&plain).contains('\u{1b}'), "{plain:?}");
}
