//! Published histories with known verdicts (`../shared/histories`, read in place).

use std::path::PathBuf;
use std::time::Instant;

use checker::observed::Observed;
use checker::search::verify::verify;
use checker::search::{Budget, Level, Verdict, judge, verify_refutation};

use checker::weak;

use crate::text;

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if folder.join("INDEX.md").exists() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: {} is absent, so no published history was judged",
        folder.display()
    );
    None
}

/// The rows of the tables of the index: their cells.
fn rows(index: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    index
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

fn verdict(history: &Observed, level: Level) -> &'static str {
    let started = Instant::now();
    let verdict = judge(history, level, &Budget::default());
    eprintln!("{} {level:?} {:?}", history.source(), started.elapsed());
    match verdict {
        Verdict::Valid(certificate) => {
            assert_eq!(verify(history, level, &certificate), Ok(()));
            "valid"
        }
        Verdict::Invalid(refutation) => {
            assert_eq!(verify_refutation(history, level, &refutation), Ok(()));
            "invalid"
        }
        Verdict::Unknown(doubt) => {
            eprintln!("{doubt}");
            "unknown"
        }
    }
}

#[test]
fn published_histories_have_their_verdicts() {
    let Some(folder) = folder() else { return };
    let index = std::fs::read_to_string(folder.join("INDEX.md")).unwrap();
    let (mut judged, mut wrong) = (0, Vec::new());
    for row in rows(&index) {
        let (file, serializable, snapshot) = match row.len() {
            8 if row[0].ends_with(".txt") => (row[0].clone(), row[5].clone(), None),
            5 if row[0].contains("-hist-") => (
                format!("dbcopreal-{}.txt", row[0]),
                row[2].clone(),
                Some(row[4].clone()),
            ),
            _ => continue,
        };
        let path = folder.join("registers").join(&file);
        let history = text::read(&std::fs::read_to_string(&path).unwrap(), &file);
        let (session, plain) = if serializable.starts_with("SER") {
            ("valid", "valid")
        } else if serializable.contains("plain SER holds") {
            ("invalid", "valid")
        } else {
            ("invalid", "invalid")
        };
        let mut check = |level: Level, want: &str| {
            let got = verdict(&history, level);
            if got != want {
                wrong.push(format!("{file} at {level:?}: {got}, not {want}"));
            }
        };
        check(Level::SESSION_SERIALIZABLE, session);
        check(Level::SERIALIZABLE, plain);
        if let Some(snapshot) = snapshot {
            check(
                Level::SESSION_SNAPSHOT,
                if snapshot == "true" {
                    "valid"
                } else {
                    "invalid"
                },
            );
        }
        judged += 1;
    }
    assert!(
        judged >= 60,
        "the index has rows that were not understood: {judged}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn published_histories_have_their_weak_levels() {
    let Some(folder) = folder() else { return };
    let index = std::fs::read_to_string(folder.join("INDEX.md")).unwrap();
    let levels = [
        weak::Level::ReadCommitted,
        weak::Level::ReadAtomic,
        weak::Level::Causal,
    ];
    let (mut judged, mut wrong) = (0, Vec::new());
    for row in rows(&index) {
        if row.len() != 8 || !row[0].ends_with(".txt") {
            continue;
        }
        let strongest = row[7]
            .split("satisfied = ")
            .nth(1)
            .and_then(|rest| rest.split(';').next());
        let want: Vec<bool> = match strongest {
            Some("none") => vec![false, false, false],
            Some("read-committed") => vec![true, false, false],
            Some("read-atomic") => vec![true, true, false],
            Some("causal") => vec![true, true, true],
            _ => row[6]
                .split(';')
                .next()
                .unwrap()
                .split('/')
                .map(|cell| cell.starts_with("Cons"))
                .collect(),
        };
        let path = folder.join("registers").join(&row[0]);
        let history = text::read(&std::fs::read_to_string(&path).unwrap(), &row[0]);
        for (level, want) in levels.into_iter().zip(want) {
            let got = weak::judge(&history, level);
            if matches!(got, weak::Verdict::Valid(_)) != want
                || matches!(got, weak::Verdict::Unknown(_))
            {
                wrong.push(format!("{} at {level:?}: {got:?}", row[0]));
            }
        }
        judged += 1;
    }
    assert!(
        judged >= 30,
        "the index has rows that were not understood: {judged}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
