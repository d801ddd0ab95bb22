//! The `co-check` command over other people's histories: what it says, and its exit status.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails where something is not as it must be, and says what it skips"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn co_check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}

/// Each transaction reads what the other writes: no lists, no version orders but the initial states.
const WRITE_SKEW: &str =
    "r(1,0,0,0)\nr(2,0,0,0)\nw(1,10,0,0)\nr(1,0,1,1)\nr(2,0,1,1)\nw(2,20,1,1)\n";

/// Three sessions, in an order that explains every read.
const SERIAL: &str =
    "w(1,10,0,0)\nw(2,20,0,0)\nr(1,10,1,1)\nw(1,11,1,1)\nr(1,11,2,2)\nr(2,20,2,2)\n";

#[test]
fn the_strongest_model_is_named_and_what_excludes_the_next() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    let output = co_check(&[&skew]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("INVALID strong-session-serializable\n"),
        "{text}"
    );
    assert!(
        text.contains("The strongest that is shown to hold: strong-session-snapshot-isolation\n"),
        "{text}"
    );
    assert!(
        text.contains("G2-item (write skew): rules out repeatable-read"),
        "{text}"
    );
    assert!(
        text.contains("before T1 wrote 20") || text.contains("T1 wrote"),
        "{text}"
    );

    let output = co_check(&[&skew, "--level", "SI", "--quiet"]);
    assert_eq!(
        (output.status.code(), said(&output)),
        (Some(0), String::new())
    );
    let output = co_check(&[&skew, "--level", "serialisable"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("co-check levels"));
}

#[test]
fn json_says_the_same() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    let output = co_check(&[&skew, "--json", "--prefix"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["verdict"], "invalid");
    assert_eq!(json["longest_valid_prefix"], 1);
    assert_eq!(
        json["assessment"]["strongest"],
        serde_json::json!(["strong-session-snapshot-isolation"])
    );
    assert_eq!(
        json["assessment"]["anomalies"]["anomalies"][0]["name"],
        "G2-item"
    );
}

#[test]
fn an_order_is_written_and_re_checked_and_a_wrong_one_refused() {
    let folder = Folder::new();
    let serial = folder.file("serial.txt", SERIAL);
    let certificate = folder.path("order.json");
    let output = co_check(&[&serial, "--certificate", &certificate]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = co_check(&["verify", &certificate, &serial]);
    assert_eq!(
        (output.status.code(), said(&output)),
        (
            Some(0),
            "VALID strong-session-serializable: the order explains every read\n".to_owned()
        )
    );
    let bent = folder.text("order.json").replace("[0,1,2]", "[1,0,2]");
    assert_ne!(bent, folder.text("order.json"));
    let bent = folder.file("bent.json", &bent);
    let output = co_check(&["verify", &bent, &serial]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("T1 would read something else here"));
    let output = co_check(&["verify", &serial, &serial]);
    assert_eq!(output.status.code(), Some(2));
}

/// Lists too, with what nobody read at the end, and an appender that was told nothing.
#[test]
fn an_order_of_lists_is_written_and_re_checked() {
    let folder = Folder::new();
    let history = "co-observed 1\nc 0 0..2 a:x=1 l:x=[1]\nu 1 1.. a:x=2 u:y\nc 0 3..5 l:x=[1,2] a:y=7\n\
        c 2 4..6 l:y=[]\nc 0 7..8 a:x=3\na 2 7..9 a:x=4\nend 6\n";
    let lists = folder.file("lists.txt", history);
    let certificate = folder.path("order.json");
    let output = co_check(&[&lists, "--certificate", &certificate]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = co_check(&["verify", &certificate, &lists]);
    assert_eq!(
        (output.status.code(), said(&output)),
        (
            Some(0),
            "VALID strict-serializable: the order explains every read\n".to_owned()
        )
    );
    // Without the one that was told nothing, a read is not explained.
    let order = folder.text("order.json");
    let bent = folder.file("bent.json", &order.replace("[0,1,", "[0,"));
    assert_ne!(folder.text("bent.json"), order);
    assert_eq!(co_check(&["verify", &bent, &lists]).status.code(), Some(1));
}

#[test]
fn a_cycle_is_drawn() {
    let folder = Folder::new();
    // A key that XML and DOT would take for something else.
    let history = "[{:process 0, :type :ok, :f :txn, :value [[:r \"<&\\\"\" []] [:append \"y\" 1]]}\n\
        {:process 1, :type :ok, :f :txn, :value [[:r \"y\" []] [:append \"<&\\\"\" 1]]}]\n";
    let skew = folder.file("skew.edn", history);
    let (svg, dot) = (folder.path("cycle.svg"), folder.path("cycle.dot"));
    let output = co_check(&[&skew, "--svg", &svg, "--dot", &dot, "--quiet"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let svg = folder.text("cycle.svg");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("class=\"a rw\"").count(), 2, "{svg}");
    assert!(svg.contains("&lt;&amp;") && !svg.contains("<&"), "{svg}");
    assert!(folder.text("cycle.dot").contains("n0 -> n1"));
}

#[test]
fn a_history_is_converted_and_judged_alike() {
    let folder = Folder::new();
    let skew = folder.file("skew.txt", WRITE_SKEW);
    let edn = folder.path("skew.edn");
    let output = co_check(&["convert", &skew, &edn, "--into", "elle-edn"]);
    assert_eq!(output.status.code(), Some(0));
    let output = co_check(&[&edn, "--level", "serializable"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let output = co_check(&["convert", &skew]);
    assert!(
        said(&output).starts_with("co-observed 1\n"),
        "{}",
        said(&output)
    );
}

#[test]
fn histories_of_sites_are_recognised() {
    let folder = Folder::new();
    let a = folder.file(
        "A.hist",
        "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n",
    );
    let b = folder.file(
        "B.hist",
        "co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n",
    );
    let svg = folder.path("cycle.svg");
    let output = co_check(&[&a, &b, "--svg", &svg]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("INVALID serializability"),
        "{}",
        said(&output)
    );
    assert!(folder.text("cycle.svg").contains("G1"));
    let text = said(&output);
    assert!(text.contains("Known as G2-item."), "{text}");
    assert!(
        text.contains("The weakest models that it rules out: repeatable-read"),
        "{text}"
    );
    assert!(text.contains("snapshot-isolation"), "{text}");
    let output = co_check(&[&a, &b, "--level", "commitment-ordering", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(co_check(&[&a, "--quiet"]).status.code(), Some(0));
}

#[test]
fn nothing_that_was_tested_is_unknown_and_bad_input_says_where() {
    let folder = Folder::new();
    let blind = folder.file("blind.txt", "w(1,1,0,0)\nw(2,2,1,1)\n");
    let output = co_check(&[&blind]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let words: Vec<String> = said(&output)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert!(
        words.join(" ").contains("nothing was tested"),
        "{}",
        said(&output)
    );
    let broken = folder.file("broken.txt", "w(1,1,0,0)\nw(1,2,0\n");
    let output = co_check(&[&broken]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error.contains("broken.txt:2") || error.contains("line 2"),
        "{error}"
    );
    assert_eq!(co_check(&[]).status.code(), Some(2));
    assert_eq!(co_check(&["levels"]).status.code(), Some(0));
}

/// Every published history of registers, with the verdicts of its index.
#[test]
fn published_histories_are_judged_as_their_index_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let Ok(index) = std::fs::read_to_string(folder.join("INDEX.md")) else {
        eprintln!(
            "SKIPPED: the published histories are not at {}",
            folder.display()
        );
        return;
    };
    let mut judged = 0;
    for row in index.lines().filter(|row| row.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let path: PathBuf = match cells[1] {
            name if name.ends_with(".txt") => folder.join("registers").join(name),
            name => folder
                .join("registers")
                .join(format!("dbcopreal-{name}.txt")),
        };
        if !path.is_file() {
            continue;
        }
        let verdict = cells
            .iter()
            .find(|cell| cell.starts_with("SER") || cell.starts_with("NOT"));
        let Some(verdict) = verdict else { continue };
        let path = path.display().to_string();
        let of = |level: &str| {
            co_check(&[&path, "--level", level, "--quiet"])
                .status
                .code()
        };
        let (plain, session) = match *verdict {
            it if it.starts_with("SER") => (Some(0), Some(0)),
            it if it.starts_with("NOT strong-session-SER; plain SER holds") => (Some(0), Some(1)),
            _ => (Some(1), Some(1)),
        };
        assert_eq!(of("serializable"), plain, "{path}: {row}");
        assert_eq!(of("strong-session-serializable"), session, "{path}: {row}");
        judged += 1;
    }
    assert!(judged > 60, "{judged}");
}
