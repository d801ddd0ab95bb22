//! Published histories, read in place: as many transactions, sessions, operations and keys as their index says.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test crate; what is skipped has to be said"
)]

mod captured;

use std::fs;
use std::path::{Path, PathBuf};

use captured::Captured;
use checker::formats::{self, Kind, ReadOptions};
use checker::observed::{Observed, Op, Outcome};

/// The folder of published histories, if it is there.
fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let found = path.is_dir();
    if !found {
        eprintln!(
            "SKIPPED: the published histories are not at {}",
            path.display()
        );
    }
    found.then_some(path)
}

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
    let Some(corpus) = corpus() else { return };
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
    let Some(corpus) = corpus() else { return };
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
    let Some(corpus) = corpus() else { return };
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
