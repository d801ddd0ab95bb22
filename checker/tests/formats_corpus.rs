//! Published histories, read in place: as many transactions, sessions, operations and keys as their index says.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test crate; what is skipped has to be said"
)]

mod captured;

use std::fs;
use std::path::{Path, PathBuf};

use captured::{Captured, published};
use checker::formats::{self, Format, Kind, ReadOptions, WriteError};
use checker::observed::{Observed, Op, Outcome};

fn read(path: &Path) -> Observed {
    formats::read_path(path, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The cells of the rows of INDEX.md under a heading that starts with `heading`.
fn rows(corpus: &Path, heading: &str) -> Vec<Vec<String>> {
    let index = fs::read_to_string(corpus.join("INDEX.md")).unwrap();
    index
        .lines()
        .skip_while(|line| !line.starts_with(heading))
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .skip(1)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

#[test]
fn register_files_have_as_many_of_everything_as_their_index_says() {
    let Some(corpus) = published("") else { return };
    let rows = rows(&corpus, "## registers/");
    assert_eq!(rows.len(), 30);
    for row in rows {
        let history = read(&corpus.join("registers").join(&row[0]));
        let counts = [
            history.txns().len(),
            history.session_count() as usize,
            history.op_count(),
            history.key_count(),
        ];
        let stated: Vec<usize> = row[1..5].iter().map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(counts, stated[..], "{}", row[0]);
    }
}

#[test]
fn files_of_real_runs_have_as_many_transactions_as_their_index_says() {
    let Some(corpus) = published("") else { return };
    let rows = rows(&corpus, "### dbcopreal-");
    assert_eq!(rows.len(), 36);
    for row in rows {
        let path = corpus.join(format!("registers/dbcopreal-{}.txt", row[0]));
        let history = read(&path);
        let committed = history.txns().iter();
        let committed = committed.filter(|txn| txn.outcome == Outcome::Committed);
        assert_eq!(
            committed.count(),
            row[1].parse::<usize>().unwrap(),
            "{}",
            row[0]
        );
    }
}

#[test]
fn elles_files_have_as_many_entries_and_the_kind_that_their_index_says() {
    let Some(corpus) = published("") else { return };
    let rows = rows(&corpus, "## elle/");
    let captured = rows.iter().filter(|row| row.len() == 7);
    assert_eq!(captured.clone().count(), 23);
    for row in captured {
        let captured = Captured::read(&corpus.join("elle").join(&row[0]));
        let kind = match row[1].as_str() {
            "list-append" => Kind::ListAppend,
            _ => Kind::RwRegister,
        };
        assert_eq!(captured.kind, kind, "{}", row[0]);
        let with_header = read(&corpus.join("elle").join(&row[0]));
        assert_eq!(
            native(&with_header),
            native(&captured.history),
            "{}",
            row[0]
        );
        assert_eq!(captured.test, row[2], "{}", row[0]);
        assert_eq!(captured.entries.to_string(), row[3], "{}", row[0]);
        let lists = captured
            .history
            .indexes()
            .flat_map(|txn| captured.history.ops(txn).to_vec());
        for op in lists {
            let of_lists = matches!(op, Op::Append { .. } | Op::ReadList { .. });
            assert_eq!(of_lists, kind == Kind::ListAppend, "{}: {op:?}", row[0]);
        }
    }
}

/// What a history is, whatever its transactions are called and in which order sessions come: for each session, in
/// order of what it did first, its transactions in the native format without time.
fn by_session(history: &Observed) -> Vec<Vec<String>> {
    let native = native(history);
    let mut sessions = vec![Vec::new(); history.session_count() as usize];
    for line in native
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("end"))
    {
        let mut words = line.splitn(3, ' ');
        let outcome = words.next().unwrap();
        let session: usize = words.next().unwrap().parse().unwrap();
        sessions[session].push(format!("{outcome} {}", words.next().unwrap()));
    }
    sessions.sort();
    sessions
}

fn native(history: &Observed) -> String {
    let mut native = Vec::new();
    let losses = formats::write(history, Format::Native, &mut native).unwrap();
    assert_eq!(losses, []);
    String::from_utf8(native).unwrap()
}

#[test]
fn cobras_logs_are_the_history_that_their_text_is() {
    let Some(corpus) = published("") else { return };
    let logs = read(&corpus.join("cobra/chengRW-100"));
    let text = read(&corpus.join("registers/cobra-chengRW-100.txt"));
    assert_eq!(logs.txns().len(), 100);
    // Whoever made the text dropped the highest bit of each key.
    let mut masked: Vec<Vec<String>> = by_session(&logs)
        .iter()
        .map(|lines| lines.iter().map(|line| masked(line)).collect())
        .collect();
    masked.sort();
    assert!(masked == by_session(&text));
}

/// A line with the highest bit of keys dropped.
fn masked(line: &str) -> String {
    let word = |word: &str| match word.split_once([':', '=']) {
        Some((letter, _)) => {
            let (key, value) = word[letter.len() + 1..].split_once('=').unwrap();
            let key = key.parse::<u64>().unwrap() & (u64::MAX >> 1);
            format!("{letter}:{key}={value}")
        }
        None => word.to_owned(),
    };
    let words: Vec<String> = line.split(' ').map(word).collect();
    words.join(" ")
}

#[test]
fn one_of_cobras_logs_is_a_history_of_one_session() {
    let Some(corpus) = published("") else { return };
    let log = read(&corpus.join("cobra/chengRW-100/T10.log"));
    assert_eq!(
        (log.txns().len(), log.session_count(), log.op_count()),
        (2, 1, 16)
    );
}

#[test]
fn dbcops_binary_files_hold_the_committed_transactions_that_their_text_holds() {
    let Some(corpus) = published("") else { return };
    let mut seen = 0;
    for entry in fs::read_dir(corpus.join("dbcop")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let text = read(&corpus.join(format!("registers/dbcopreal-{name}.txt")));
        let binary = read(&folder);
        let committed = |history: &Observed| -> Vec<Vec<String>> {
            let sessions = by_session(history).into_iter();
            let committed = |line: &String| line.starts_with('c');
            sessions
                .map(|lines| lines.into_iter().filter(committed).collect())
                .collect()
        };
        assert!(committed(&binary) == committed(&text), "{name}");
        let aborted = binary
            .txns()
            .iter()
            .filter(|txn| txn.outcome == Outcome::Aborted);
        // Transactions that were aborted, and writes that failed in transactions that committed.
        let expected = match name.split('-').next().unwrap() {
            "roachdb_general_partition_writes" => 3,
            "galera_all_writes" | "roachdb_partition_writes" => 1,
            _ => 0,
        };
        assert_eq!(aborted.count(), expected, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn polysis_files_are_the_text_files_of_their_name() {
    let Some(corpus) = published("") else { return };
    for name in ["galera", "yugabyte"] {
        let own = read(&corpus.join(format!("polysi/{name}/{name}.txt")));
        let text = read(&corpus.join(format!("registers/polysi-{name}.txt")));
        assert_eq!(native(&own), native(&text), "{name}");
    }
}

#[test]
fn elles_examples_are_the_same_in_edn_and_json() {
    let Some(corpus) = published("") else { return };
    let (edn, json) = (
        read(&corpus.join("elle/paper-example.edn")),
        read(&corpus.join("elle/paper-example.json")),
    );
    assert_eq!(native(&edn), native(&json));
    assert_eq!(edn.txns().len(), 4);
    let edn = native(&read(&corpus.join("elle/rw-register.edn")));
    let json = native(&read(&corpus.join("elle/rw-register.json")));
    // The key is a keyword in one and a string in the other.
    assert_eq!(edn.replace("::x", ":x"), json);
    assert_eq!(
        json,
        "co-observed 1\nc 0 0..1 w:x=2\nc 0 2..3 r:x=3\nc 0 4..5 r:x=2\nend 3\n"
    );
}

#[test]
fn other_examples_of_elle_are_read_whole() {
    let Some(corpus) = published("") else { return };
    let history = read(&corpus.join("elle/si-without-g-single.edn"));
    let expected = "co-observed 1\nc 0 0..1 a:9=2\nc 1 2..3 a:8=1 l:9=[]\n\
        c 2 4..5 l:6=[] l:8=[] a:9=5\nc 3 6..7 a:6=2 l:9=[2]\nend 4\n";
    assert_eq!(native(&history), expected);
    let history = read(&corpus.join("elle/list-append-gh-30.edn"));
    assert_eq!((history.txns().len(), history.session_count()), (5, 3));
}

/// Every published history, by path.
fn all(corpus: &Path) -> Vec<PathBuf> {
    let mut paths = vec![corpus.join("cobra/chengRW-100")];
    for folder in ["registers", "elle"] {
        let entries = fs::read_dir(corpus.join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let entries = fs::read_dir(corpus.join("dbcop")).unwrap();
    paths.extend(entries.map(|entry| entry.unwrap().path()));
    paths.sort();
    paths
}

#[test]
fn every_published_history_survives_every_format_that_can_hold_it() {
    let Some(corpus) = published("") else { return };
    let mut written = 0;
    for path in all(&corpus) {
        let captured = path.extension().is_some_and(|e| e == "edn")
            && path.file_stem().is_some_and(|name| name.len() == 3);
        let history = if captured {
            Captured::read(&path).history
        } else {
            read(&path)
        };
        for format in [
            Format::Native,
            Format::ElleEdn,
            Format::ElleJson,
            Format::Text,
            Format::DbcopHist,
            Format::DbcopJson,
            Format::DbcopBincode,
        ] {
            let mut bytes = Vec::new();
            let losses = match formats::write(&history, format, &mut bytes) {
                Ok(losses) => losses,
                Err(WriteError::NotRepresentable { .. }) => continue,
                Err(error) => panic!("{}: {error}", path.display()),
            };
            let name = format!("{} as {format}", path.display());
            let again = formats::read(bytes.as_slice(), &name, &ReadOptions::default());
            let again = again.unwrap_or_else(|error| panic!("{error}"));
            if losses.is_empty() {
                let times = |text: String| -> Vec<String> {
                    let timeless = |line: &str| {
                        let words: Vec<&str> = line.split(' ').collect();
                        let outcome = words[0].to_owned();
                        let rest = words.get(3..).unwrap_or_default();
                        outcome + " " + &rest.join(" ")
                    };
                    let mut lines: Vec<String> = text.lines().map(timeless).collect();
                    lines.sort();
                    lines
                };
                assert_eq!(times(native(&again)), times(native(&history)), "{name}");
                written += 1;
            }
            assert_eq!(again.session_count(), history.session_count(), "{name}");
        }
    }
    assert!(written > 150, "{written}");
}
