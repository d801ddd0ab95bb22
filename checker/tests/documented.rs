//! What the documents show of `co-check` is what it says, to the letter but for times.
//!
//! A block that is marked `console` begins with `$ co-check ...`, run in the workspace's folder; the output follows.
//! `DOCUMENTED=write` puts what is said into the documents, for a change that was meant: look at the difference.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails where something is not as it must be, and says what it skips"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: [&str; 5] = [
    "advice.md",
    "checker.md",
    "check-your-database.md",
    "history-format.md",
    "observed-format.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the command says, and a line with its exit status if that is not 0.
fn output(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[..2], ["$", "co-check"], "{command}");
    let mut run = Command::new(env!("CARGO_BIN_EXE_co-check"));
    let output = run.args(&words[2..]).current_dir(root()).output().unwrap();
    assert!(output.stderr.is_empty(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Times differ from run to run: `0.012 s` becomes `0.000 s`.
fn without_times(text: &str) -> String {
    let mut masked: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let is_unit = word.trim_end_matches([';', ',', '\n']).starts_with('s') && word.len() <= 3;
        let is_time = |it: &str| {
            it.split_once('.')
                .is_some_and(|(_, digits)| digits.len() == 3)
        };
        if let Some(number) = masked
            .last_mut()
            .filter(|it| (is_unit || word.starts_with("s\n")) && is_time(it))
        {
            "0.000".clone_into(number);
        }
        masked.push(word.to_owned());
    }
    masked.join(" ")
}

#[test]
fn the_documents_show_what_the_command_says() {
    let mut shown = 0;
    for page in PAGES {
        let path = root().join("docs").join(page);
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED: {} is not there", path.display());
            return;
        };
        let mut renewed = String::new();
        let mut rest = text.as_str();
        while let Some((before, block)) = rest.split_once("```console\n") {
            let (block, after) = block.split_once("```").unwrap();
            let (command, said) = block.split_once('\n').unwrap();
            let says = output(command);
            let is_same = without_times(said) == without_times(&says);
            let writes = std::env::var_os("DOCUMENTED").is_some();
            assert!(
                is_same || writes,
                "{page} shows of {command}\n{said}\nbut it says\n{says}\n(see the head of this test)"
            );
            let kept = if is_same { said } else { &says };
            renewed += &format!("{before}```console\n{command}\n{kept}```");
            rest = after;
            shown += 1;
        }
        renewed += rest;
        if renewed != text {
            std::fs::write(&path, renewed).unwrap();
        }
    }
    assert!(shown >= 6, "only {shown} blocks are marked");
}

#[test]
fn every_example_history_is_shown_somewhere() {
    let pages = PAGES
        .map(|page| std::fs::read_to_string(root().join("docs").join(page)).unwrap_or_default());
    if pages.iter().all(String::is_empty) {
        eprintln!("SKIPPED: the documents are not there");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/histories");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_shown = pages
            .iter()
            .any(|page| page.contains(&format!("histories/{name}")));
        assert!(is_shown, "{name} is in no document");
    }
}

#[test]
fn times_are_left_out_and_nothing_else() {
    let line = "x.edn: 4 transactions; read in 0.012 s, judged in 1.250 s\n\nThe 1.500 strongest, edges 2, 0.001 s\n";
    let masked = "x.edn: 4 transactions; read in 0.000 s, judged in 0.000 s\n\nThe 1.500 strongest, edges 2, 0.000 s\n";
    assert_eq!(without_times(line), masked);
}
