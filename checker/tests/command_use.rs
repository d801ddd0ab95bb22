//! The `co-check` command in the hands of somebody who has just installed it, and of somebody who means it ill.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use checker::assess::level_name;
use checker::models::{Anomaly, Model};
use checker::weak;
use serde_json::Value as Json;

const CO_CHECK: &str = env!("CARGO_BIN_EXE_co-check");

fn co_check(arguments: &[&str]) -> Output {
    Command::new(CO_CHECK).args(arguments).output().unwrap()
}

fn shell(script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, CO_CHECK]).args(arguments);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was said on standard error, on one line.
fn complained(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text on one line, wherever it was broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    fn sites(&self) -> (String, String) {
        let a = "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n";
        let b = "co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n";
        (self.file("A.hist", a), self.file("B.hist", b))
    }
}

const WRITE_SKEW: &str =
    "r(1,0,0,0)\nr(2,0,0,0)\nw(1,10,0,0)\nr(1,0,1,1)\nr(2,0,1,1)\nw(2,20,1,1)\n";

const LOST_UPDATE: &str = "r(1,0,0,0)\nw(1,10,0,0)\nr(1,0,1,1)\nw(1,11,1,1)\n";

const SERIAL: &str =
    "w(1,10,0,0)\nw(2,20,0,0)\nr(1,10,1,1)\nw(1,11,1,1)\nr(1,11,2,2)\nr(2,20,2,2)\n";

/// Two appends that miss each other.
const LISTS: &str = "{:process 0, :type :ok, :f :txn, :value [[:r :x []] [:append :x 1]]}\n\
    {:process 1, :type :ok, :f :txn, :value [[:r :x []] [:append :x 2]]}\n\
    {:process 2, :type :ok, :f :txn, :value [[:r :x [1 2]]]}\n";

/// Invalid by its first lines; what follows is more than a reader takes at once, and valid by itself.
fn long_and_invalid() -> String {
    let mut text = WRITE_SKEW.to_owned();
    for number in 100..1500 {
        let before = if number == 100 { 0 } else { number - 1 };
        text += &format!("r(9,{before},0,{number})\nw(9,{number},0,{number})\n");
    }
    assert!(text.len() > 32 << 10);
    text
}

/// The format was found out on one reader, and the history read from another, which had lost its beginning.
#[test]
fn nothing_is_lost_of_what_can_be_read_once() {
    let folder = Folder::new();
    let file = folder.file("long.txt", long_and_invalid());
    let of_file = co_check(&[&file]);
    assert_eq!(of_file.status.code(), Some(1), "{}", said(&of_file));
    let fifo = folder.path("fifo");
    let scripts = [
        "cat \"$1\" | \"$0\" /dev/stdin",
        "cat \"$1\" | \"$0\" -",
        "gzip -c \"$1\" | \"$0\" /dev/stdin",
        "mkfifo \"$2\" && { cat \"$1\" > \"$2\" & } && \"$0\" \"$2\"",
    ];
    for script in scripts {
        let output = shell(script, &[&file, &fifo]);
        assert_eq!(output.status.code(), Some(1), "{script}: {}", said(&output));
        assert!(
            said(&output).contains("1402 transactions"),
            "{script}: {}",
            said(&output)
        );
    }
    let small = folder.file("small.txt", WRITE_SKEW);
    let output = shell("cat \"$1\" | \"$0\" /dev/stdin", &[&small]);
    assert_eq!(output.status.code(), Some(1), "{}", complained(&output));
    let (a, b) = folder.sites();
    let output = shell("cat \"$2\" | \"$0\" \"$1\" /dev/stdin", &[&a, &b]);
    assert!(
        said(&output).contains("INVALID serializability"),
        "{}",
        complained(&output)
    );
    let output = co_check(&["-", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complained(&output).contains("read once"),
        "{}",
        complained(&output)
    );
}

#[test]
fn an_unknown_level_says_why() {
    let folder = Folder::new();
    let lists = folder.file("lists.edn", LISTS);
    for level in [
        "transactional-causal",
        "session-read-atomic",
        "registers-PL-2",
    ] {
        let output = co_check(&[&lists, "--level", level]);
        assert_eq!(output.status.code(), Some(2));
        let why = format!("{level} is defined for registers, and this history has lists.");
        assert!(flat(&said(&output)).contains(&why), "{}", said(&output));
        let json = co_check(&[&lists, "--level", level, "--json"]);
        let json: Json = serde_json::from_slice(&json.stdout).unwrap();
        let reasons = json["reasons"].as_array().unwrap();
        assert!(reasons.contains(&Json::String(why)), "{reasons:?}");
    }
}

#[test]
fn what_is_shown_is_told_from_what_is_not_decided() {
    let folder = Folder::new();
    let lists = folder.file("lists.edn", LISTS);
    let text = flat(&said(&co_check(&[&lists])));
    assert!(
        text.contains("The strongest that is shown to hold: "),
        "{text}"
    );
    assert!(
        text.contains("Not decided: monotonic-atomic-view"),
        "{text}"
    );
    let garbage = folder.file("garbage.txt", "r(1,7,0,0)\nr(1,8,1,1)\n");
    let output = co_check(&[&garbage]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("\n\nNothing is shown to hold.\n"),
        "{}",
        said(&output)
    );
    // A violation is one, whether or not something else was tested.
    assert!(
        !said(&output).contains("nothing was tested"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_level_of_sites_is_not_called_unknown() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    for level in ["commitment-ordering", "eco"] {
        let output = co_check(&[&skew, "--level", level]);
        assert_eq!(output.status.code(), Some(2));
        let error = complained(&output);
        assert!(
            error.contains("judged of the histories of sites"),
            "{error}"
        );
    }
    // Two levels that are named are these two, not all.
    let (a, b) = folder.sites();
    let arguments = [
        a.as_str(),
        &b,
        "--level",
        "eco",
        "--level",
        "commitment-ordering",
    ];
    let text = said(&co_check(&arguments));
    assert!(text.contains("extended commitment ordering"), "{text}");
    assert!(!text.contains("serializability:"), "{text}");
}

#[test]
fn what_would_do_nothing_is_refused() {
    let folder = Folder::new();
    let (a, b) = folder.sites();
    let out = folder.path("out");
    for option in [
        &["--prefix"][..],
        &["--as-elle"],
        &["--sequential-keys"],
        &["--linearizable-keys"],
    ] {
        let output = co_check(&[&[a.as_str(), &b], option].concat());
        assert_eq!(output.status.code(), Some(2), "{option:?}");
        assert_eq!(said(&output), "", "{option:?}");
        assert!(
            complained(&output).contains(option[0]),
            "{}",
            complained(&output)
        );
    }
    let (skew, lost) = (
        folder.file("skew.txt", WRITE_SKEW),
        folder.file("lost.txt", LOST_UPDATE),
    );
    for option in ["--certificate", "--svg", "--dot"] {
        let output = co_check(&[&skew, &lost, option, &out]);
        assert_eq!(
            (output.status.code(), said(&output)),
            (Some(2), String::new())
        );
        assert!(
            complained(&output).contains(option),
            "{}",
            complained(&output)
        );
    }
    assert!(!folder.has("out"));
}

#[test]
fn a_picture_of_an_earlier_run_does_not_stay() {
    let folder = Folder::new();
    let (skew, serial) = (
        folder.file("skew.txt", WRITE_SKEW),
        folder.file("serial.txt", SERIAL),
    );
    let (svg, dot, order) = (
        folder.path("c.svg"),
        folder.path("c.dot"),
        folder.path("o.json"),
    );
    assert_eq!(
        co_check(&[&skew, "--svg", &svg, "--dot", &dot])
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        co_check(&[&serial, "--certificate", &order]).status.code(),
        Some(0)
    );
    assert!(folder.has("c.svg") && folder.has("c.dot") && folder.has("o.json"));
    let output = co_check(&[&serial, "--svg", &svg, "--dot", &dot]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        complained(&output).contains("there is no cycle"),
        "{}",
        complained(&output)
    );
    assert!(
        complained(&output).contains("was removed"),
        "{}",
        complained(&output)
    );
    assert!(!folder.has("c.svg") && !folder.has("c.dot"));
    let output = co_check(&[&skew, "--level", "serializable", "--certificate", &order]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.has("o.json"));
    // What is no picture is not ours to remove.
    let notes = folder.file("notes.txt", "mine");
    assert_eq!(co_check(&[&serial, "--svg", &notes]).status.code(), Some(0));
    assert!(folder.has("notes.txt"));
}

#[test]
fn histories_of_sites_and_of_clients_are_judged_side_by_side() {
    let folder = Folder::new();
    let (a, b) = folder.sites();
    let serial = folder.file("serial.txt", SERIAL);
    let output = co_check(&[&serial, &a, &b]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{}", complained(&output));
    assert!(text.contains("INVALID serializability"), "{text}");
    assert!(text.contains("sites 2,"), "{text}");
    assert!(text.contains("VALID strong-session-serializable"), "{text}");
    // What is missing is noticed before anything is judged.
    let output = co_check(&[&serial, &folder.path("absent.txt")]);
    assert_eq!(
        (output.status.code(), said(&output)),
        (Some(2), String::new())
    );
    assert!(complained(&output).contains("absent.txt"));
}

#[test]
fn fields_that_are_ignored_may_be_of_any_depth_and_an_entry_without_value_is_explained() {
    let folder = Folder::new();
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let edn = LISTS.replace(":f :txn", &format!(":extra {deep}, :f :txn"));
    let edn = folder.file("deep.edn", edn);
    assert_eq!(co_check(&[&edn]).status.code(), Some(1));
    let json = format!(
        "{{\"type\":\"ok\",\"process\":0,\"extra\":{deep},\"f\":\"txn\",\"value\":[[\"append\",\"x\",1]]}}\n\
         {{\"type\":\"ok\",\"process\":1,\"f\":\"txn\",\"value\":[[\"r\",\"x\",[1]]]}}\n"
    );
    let json = folder.file("deep.json", json);
    let output = co_check(&[&json]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    // Memory for it is bounded all the same.
    let deeper = folder.file(
        "deeper.edn",
        format!("{{:type :ok :extra {}", "[".repeat(1 << 20)),
    );
    assert!(complained(&co_check(&[&deeper])).contains("nested deeper than 65536"));
    let nil = folder.file("nil.edn", "{:type :ok, :process 0, :f :txn, :value nil}\n");
    let error = complained(&co_check(&[&nil]));
    assert!(
        error.contains("line 1: the entry says `ok` and has no value"),
        "{error}"
    );
}

#[test]
fn windows_line_ends_are_read_or_named() {
    let folder = Folder::new();
    let native = "co-observed 1\n# a comment\nc 0 0..1 w:x=1\n\nc 1 2..3 r:x=1\nend 2\n";
    let of = |name: &str, text: &str| {
        let path = folder.file(name, text);
        co_check(&[&path, "--json"])
    };
    let unix: Json = serde_json::from_slice(&of("unix", native).stdout).unwrap();
    let windows: Json =
        serde_json::from_slice(&of("windows", &native.replace('\n', "\r\n")).stdout).unwrap();
    assert_eq!(windows["verdict"], "valid", "{windows}");
    assert_eq!(windows["assessment"], unix["assessment"]);
    let output = of("sites", "co-history 1 A\r\nc G1 5 1 w:x\r\nend 1\r\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complained(&output).contains("Windows"),
        "{}",
        complained(&output)
    );
}

#[test]
fn following_compressed_files_is_refused_as_that() {
    let folder = Folder::new();
    let packed = folder.file("a.hist.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let output = co_check(&["follow", "--no-wait", &packed]);
    assert_eq!(output.status.code(), Some(2));
    let error = complained(&output);
    assert!(
        error.contains("compressed with gzip") && error.contains("co-check history"),
        "{error}"
    );
    let packed = folder.file("a.hist.zst", ZSTD);
    let error = complained(&co_check(&["follow", "--no-wait", &packed]));
    assert!(error.contains("compressed with zstd"), "{error}");
}

/// [`WRITE_SKEW`] compressed.
const ZSTD: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x44, 0x7d, 0x1, 0x0, 0xf0, 0x72, 0x28, 0x31, 0x2c, 0x30, 0x29,
    0xa, 0x72, 0x28, 0x32, 0x77, 0x28, 0x31, 0x2c, 0x31, 0x31, 0x2c, 0x31, 0x77, 0x28, 0x32, 0x2c,
    0x32, 0x30, 0x2c, 0x31, 0x2c, 0x31, 0x29, 0xa, 0x6, 0x0, 0x2e, 0x2, 0x0, 0x9a, 0xa2, 0x2, 0xd0,
    0x59, 0xb4, 0xb, 0xe9, 0x2, 0xa7, 0x5, 0xf7, 0x9, 0x90, 0x82,
];

#[test]
fn damaged_compressed_data_is_described_in_words() {
    let folder = Folder::new();
    let whole = folder.file("whole.zst", ZSTD);
    assert_eq!(co_check(&[&whole]).status.code(), Some(1));
    let cut = folder.file("cut.zst", &ZSTD[..40]);
    let tail = folder.file("tail.zst", [ZSTD, b"garbage"].concat());
    for (path, what) in [
        (cut, "it ends there too early, before byte 40"),
        (tail, "no frame of zstd begins there"),
    ] {
        let output = co_check(&[&path]);
        assert_eq!(output.status.code(), Some(2));
        let error = complained(&output);
        assert!(error.contains(what), "{error}");
        assert!(!error.contains("Error") && !error.contains('{'), "{error}");
    }
}

#[test]
fn messages_name_options_and_no_library() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    let unknown = folder.file("unknown", "GIF89a");
    for (arguments, wanted) in [
        (&[skew.as_str(), "--max-gib", "0"][..], "--max-gib"),
        (&[&unknown], "co-check formats"),
        (&[&unknown], "--format"),
    ] {
        let output = co_check(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = complained(&output);
        assert!(error.contains(wanted), "{error}");
        assert!(
            !error.contains("Limits::") && !error.contains("parse::"),
            "{error}"
        );
        assert!(
            !error.contains("docs/"),
            "an installed command has no docs: {error}"
        );
    }
}

#[test]
fn memory_is_bounded_by_an_option() {
    let folder = Folder::new();
    let blind: String = (0..20_000)
        .map(|it| format!("w({it},{it},{it},{it})\n"))
        .collect();
    let blind = folder.file("blind.txt", blind);
    let (site, _) = folder.sites();
    // A replay takes memory by keys, and not by operations.
    for arguments in [&[blind.as_str()][..], &[&site, "--graph"]] {
        let output = co_check(&[arguments, &["--max-memory", "0"]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let error = complained(&output);
        assert!(
            error.contains("of memory") && error.contains("--max-memory"),
            "{error}"
        );
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
    let folder = Folder::new();
    let text: String = (0..50_000)
        .map(|it| format!("w({it},{it},{it},{it})\n"))
        .collect();
    let file = folder.file("long.txt", text);
    let mut child = Command::new(CO_CHECK)
        .args(["convert", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "co-observed 1\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), complained(&output)),
        (Some(0), String::new())
    );
    for script in [
        "\"$0\" --help > /dev/full",
        "\"$0\" convert \"$1\" > /dev/full",
    ] {
        let output = shell(script, &[&file]);
        assert_eq!(output.status.code(), Some(2), "{script}");
        let error = complained(&output);
        assert!(
            error.contains("cannot write standard output: No space"),
            "{error}"
        );
    }
}

#[test]
fn only_formats_that_are_written_are_offered() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    for format in ["nonsense", "viper", "sites"] {
        let output = co_check(&["convert", &skew, "--into", format]);
        assert_eq!(output.status.code(), Some(2));
        let error = complained(&output);
        assert!(error.contains("written are native, elle-edn"), "{error}");
        let (_, offered) = error.split_once("written are").unwrap();
        assert!(
            offered.contains("cobra") && !offered.contains("sites"),
            "{error}"
        );
    }
}

#[test]
fn names_do_not_get_at_the_terminal() {
    let folder = Folder::new();
    let evil = "a\u{1b}[31m\u{9b}2J\u{202e}b";
    let file = folder.file(evil, WRITE_SKEW);
    let keyed = LISTS.replace(":x", "\"\u{1b}[31m\"");
    let keyed = folder.file("keyed.edn", keyed);
    let broken = folder.file(&format!("{evil}2"), "GIF89a");
    for path in [&file, &keyed, &broken] {
        let output = co_check(&[path]);
        let all = said(&output) + &String::from_utf8(output.stderr).unwrap();
        let raw = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
        assert!(!all.contains(raw), "{all:?}");
        assert!(all.contains("\\u{1b}[31m"), "{all:?}");
    }
}

#[test]
fn text_fits_a_terminal() {
    let folder = Folder::new();
    let lost = folder.file("lost.txt", LOST_UPDATE);
    let (a, b) = folder.sites();
    for arguments in [
        &["--help"][..],
        &["history", "--help"],
        &["follow", "--help"],
        &["convert", "--help"],
        &["verify", "--help"],
        &["levels", "--help"],
        &["explain", "--help"],
        &["formats", "--help"],
        &["levels"],
        &["formats"],
        &["formats", "native"],
        &["formats", "sites"],
        &["explain", "strict-serializable"],
        &[&lost],
        &[&a, &b],
    ] {
        let text = said(&co_check(arguments));
        assert!(text.len() > 40, "{arguments:?}: {text}");
        // A path of a test's own folder is one word.
        let wide = text
            .lines()
            .find(|line| line.chars().count() > 80 && !line.contains("/lost.txt"));
        assert_eq!(wide, None, "{arguments:?}");
    }
    // Of nine levels with sessions the strongest is enough.
    let text = said(&co_check(&[&lost]));
    assert!(
        text.contains("\nOf the levels with sessions hold: transactional-causal\n"),
        "{text}"
    );
}

#[test]
fn json_is_one_object_for_each_judgement_and_bad_input_is_told_from_unknown() {
    let folder = Folder::new();
    let (a, b) = folder.sites();
    let (serial, skew) = (
        folder.file("serial.txt", SERIAL),
        folder.file("skew.txt", WRITE_SKEW),
    );
    let broken = folder.file("broken.txt", "w(1,1,0\n");
    let blind = folder.file("blind.txt", "w(1,1,0,0)\nw(2,2,1,1)\n");
    let output = co_check(&["--json", &serial, &broken, &a, &skew, &b, &blind]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Json> = said(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |key: &str| {
        lines
            .iter()
            .map(|line| line[key].as_str().unwrap_or(""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("kind"),
        ["sites", "observed", "", "observed", "observed"]
    );
    assert_eq!(
        of("verdict"),
        ["invalid", "valid", "error", "invalid", "unknown"]
    );
    assert!(lines.iter().all(|line| line["format"] == 2), "{lines:?}");
    assert!(
        of("error")[2].contains("broken.txt, line 1"),
        "{:?}",
        of("error")
    );

    for arguments in [
        &["--json", &broken][..],
        &["--json", "absent.txt"],
        &["--json", &serial, "--level", "nonsense"],
        &["history", "--json", &serial],
        &["follow", "--json", "--no-wait", &serial],
    ] {
        let output = co_check(arguments);
        assert_eq!(output.status.code(), Some(2));
        let json: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["verdict"], "error", "{arguments:?}");
        assert!(!json["error"].as_str().unwrap().is_empty());
        assert_ne!(complained(&output), "");
    }
    let json: Json = serde_json::from_slice(&co_check(&["--json", &blind]).stdout).unwrap();
    assert_eq!(json["verdict"], "unknown");
}

/// All keys of an object, however deep.
fn keys(json: &Json, all: &mut std::collections::BTreeSet<String>) {
    let mut left = vec![json];
    while let Some(json) = left.pop() {
        match json {
            Json::Object(object) => {
                // Transactions are keys of `lines`.
                let names = object.keys().filter(|key| key.parse::<u32>().is_err());
                all.extend(names.cloned());
                left.extend(object.values());
            }
            Json::Array(array) => left.extend(array),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
}

#[test]
fn every_key_of_the_json_is_documented() {
    let folder = Folder::new();
    let (a, b) = folder.sites();
    let mut all = std::collections::BTreeSet::new();
    for (name, text) in [
        ("skew", WRITE_SKEW),
        ("serial", SERIAL),
        ("lost", LOST_UPDATE),
        ("lists", LISTS),
    ] {
        let file = folder.file(name, text);
        for level in ["serializable", "snapshot-isolation", "transactional-causal"] {
            for arguments in [&["--json", &file][..], &["--json", &file, "--level", level]] {
                let output = co_check(arguments);
                keys(&serde_json::from_slice(&output.stdout).unwrap(), &mut all);
            }
        }
    }
    for arguments in [
        &["--json", &a, &b][..],
        &["--json", &a],
        &["history", "--json", "--per-site", &a, &b],
    ] {
        keys(
            &serde_json::from_slice(&co_check(arguments).stdout).unwrap(),
            &mut all,
        );
    }
    assert!(all.len() > 60, "{all:?}");
    let documented = said(&co_check(&["explain", "json"]));
    let absent: Vec<&String> = all
        .iter()
        .filter(|key| !documented.contains(&format!("`{key}`")))
        .collect();
    assert_eq!(absent, Vec::<&String>::new());
}

#[test]
fn transactions_are_found_in_the_file_and_one_fault_is_not_taken_for_two() {
    let folder = Folder::new();
    let lost = folder.file("lost.txt", LOST_UPDATE);
    let text = said(&co_check(&[&lost]));
    assert!(
        text.contains("  In the file: T0 in line 2, T1 in line 4.\n"),
        "{text}"
    );
    assert!(text.contains("\nG2-item (lost update): "), "{text}");
    assert!(
        text.contains("  These are the transactions of G2-item above.\n"),
        "{text}"
    );
    assert_eq!(text.matches("In the file").count(), 1, "{text}");
    let json: Json = serde_json::from_slice(&co_check(&[&lost, "--json"]).stdout).unwrap();
    assert_eq!(json["lines"], serde_json::json!({ "0": 2, "1": 4 }));
    // Of what a search refutes, too: nobody knows the order of the versions but by trying.
    let fork = folder.file(
        "fork.txt",
        "w(1,1,0,0)\nw(2,1,1,1)\nr(1,1,2,2)\nr(2,0,2,2)\nr(1,0,3,3)\nr(2,1,3,3)\n",
    );
    let text = said(&co_check(&[&fork]));
    assert!(
        text.contains("In the file: T0 in line 1, T1 in line 2"),
        "{text}"
    );
}

#[test]
fn everything_that_is_named_is_explained() {
    let models = Model::ALL.iter().map(|model| model.name());
    let anomalies = Anomaly::ALL.iter().map(|anomaly| anomaly.name());
    let levels = weak::Level::ALL.into_iter().map(level_name);
    let others = [
        "commitment-ordering",
        "eco",
        "write skew",
        "long-fork",
        "fractured read",
        "PL-2.99",
        "si",
    ];
    let names: Vec<&str> = models
        .chain(anomalies)
        .chain(levels)
        .chain(others)
        .collect();
    let output = co_check(&[&["explain"], names.as_slice()].concat());
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    let text = said(&output);
    assert_eq!(text.matches("\n  source ").count(), names.len());
    let text = flat(&said(&co_check(&["explain", "G2-item"])));
    assert!(
        text.starts_with("G2-item: A cycle with rw edges, all of them on keys"),
        "{text}"
    );
    assert!(
        text.contains("rules out repeatable-read so also serializable"),
        "{text}"
    );
    assert!(text.contains("source Adya"), "{text}");
    // One name, one meaning: the level with sessions.
    let text = said(&co_check(&["explain", "transactional-causal"]));
    assert!(text.contains("Biswas"), "{text}");
    let text = said(&co_check(&["explain", "causal-cerone"]));
    assert!(!text.contains("transactional-causal"), "{text}");
    let output = co_check(&["explain", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let text = flat(&said(&co_check(&["levels"])));
    for model in Model::ALL {
        assert!(text.contains(&model.definition()), "{}", model.name());
    }
}

#[test]
fn formats_are_listed_with_their_conventions() {
    let text = said(&co_check(&["formats"]));
    for format in checker::formats::Format::ALL {
        assert!(text.contains(&format!("\n{format}: ")), "{format}");
        let one = said(&co_check(&["formats", format.name()]));
        assert!(text.contains(one.lines().next().unwrap()), "{one}");
    }
    assert_eq!(text.matches("\n  initial state ").count(), 12);
    // The examples are what they are examples of.
    let folder = Folder::new();
    for (name, begin) in [("native", "co-observed 1"), ("sites", "co-history 1 A")] {
        let text = said(&co_check(&["formats", name]));
        let example = &text[text.find(begin).unwrap()..];
        let end = example.find("\n\n").unwrap() + 1;
        let file = folder.file(name, &example[..end]);
        let error = complained(&co_check(&[&file]));
        assert_eq!(error, "", "{name}");
    }
}

/// A certificate comes from anywhere, and is not read without bound.
#[test]
fn a_huge_certificate_is_refused() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    let certificate = folder.path("order.json");
    let mut file = std::fs::File::create(&certificate).unwrap();
    writeln!(file, "\"{}\"", "x".repeat(1 << 20)).unwrap();
    let output = co_check(&["verify", "--max-memory", "0", &certificate, &skew]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complained(&output).contains("larger than an eighth of --max-memory"),
        "{}",
        complained(&output)
    );
}
