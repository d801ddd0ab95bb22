//! Histories that were captured from Elle's own tests: verdict, anomalies and models are those that Elle gave.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test crate; what is skipped has to be said"
)]

mod captured;

use std::path::{Path, PathBuf};

use captured::{Captured, published};
use checker::anomaly::{self, Judgement, Options, Reason, Verdict, witness};
use checker::formats::{self, Kind, ReadOptions};
use checker::models::{Anomaly, Model, ModelSet};
use checker::observed::Observed;

/// What stands behind a keyword in the text of a map.
fn value<'a>(opts: &'a str, keyword: &str) -> Option<&'a str> {
    let rest = opts.split_once(keyword)?.1.trim_start();
    let end = match rest.chars().next()? {
        '[' => rest.find(']')? + 1,
        '{' => rest.find('}')? + 1,
        _ => rest.find([',', '}', ' ']).unwrap_or(rest.len()),
    };
    Some(&rest[..end])
}

fn keywords(collection: &str) -> Vec<&str> {
    let words = collection.split(|c: char| c.is_whitespace() || "[]{}(),".contains(c));
    words.filter_map(|word| word.strip_prefix(':')).collect()
}

/// The options of a captured test, as Elle reads them.
fn options(opts: &str) -> Options {
    let models: Vec<Model> = match value(opts, ":consistency-models") {
        None => vec![Model::StrictSerializable],
        Some(names) => keywords(names)
            .iter()
            .map(|name| Model::parse(name).unwrap())
            .collect(),
    };
    let mut options = Options::as_elle(models);
    let anomalies = value(opts, ":anomalies").unwrap_or("");
    options.anomalies = keywords(anomalies)
        .iter()
        .map(|name| Anomaly::parse(name).unwrap())
        .collect();
    let is_on = |keyword: &str| value(opts, keyword) == Some("true");
    options.keys.sequential = is_on(":sequential-keys?");
    options.keys.linearizable = is_on(":linearizable-keys?");
    options.keys.writes_follow_reads = is_on(":wfr-keys?");
    options.transaction_order = value(opts, ":transaction-order").map(|ranks| {
        let numbers = ranks
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| !word.is_empty());
        let numbers: Vec<u64> = numbers.map(|word| word.parse().unwrap()).collect();
        let mut ranks = vec![0; numbers.len() / 2];
        for pair in numbers.chunks(2) {
            ranks[usize::try_from(pair[0]).unwrap()] = pair[1];
        }
        ranks
    });
    options
}

/// The anomaly types as Elle lists them: with what makes a verdict unknown.
fn types(judgement: &Judgement) -> Vec<String> {
    let mut types: Vec<String> = judgement
        .anomalies
        .iter()
        .map(|found| found.name.name().to_owned())
        .collect();
    if judgement.reasons.contains(&Reason::EmptyGraph) {
        types.push("empty-transaction-graph".to_owned());
    }
    types.sort();
    types.dedup();
    types
}

/// Whether all that keeps the verdict from being Valid is that version orders of registers are not known.
fn lacks_orders_only(judgement: &Judgement) -> bool {
    judgement.verdict == Verdict::Unknown
        && judgement
            .reasons
            .iter()
            .all(|reason| matches!(reason, Reason::UnorderedRegisters(_)))
}

fn models(names: &[String]) -> ModelSet {
    names
        .iter()
        .map(|name| Model::parse(name).unwrap())
        .collect()
}

fn judge(history: &Observed, options: &Options) -> Judgement {
    let judgement = anomaly::judge(history, options);
    for found in judgement.anomalies.iter().chain(&judgement.others) {
        assert_eq!(witness::check(history, options, found), Ok(()), "{found:?}");
    }
    judgement
}

#[test]
fn captured_histories_are_judged_as_elle_judges_them() {
    let Some(corpus) = published("elle") else {
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(|c: char| c.is_ascii_digit())
    });
    files.sort();
    assert!(files.len() > 20, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let captured = Captured::read(&path);
        let options = options(&captured.opts);
        let judgement = judge(&captured.history, &options);
        let name = path.file_name().unwrap().display().to_string();
        let verdict = match captured.valid {
            Some(true) => judgement.verdict == Verdict::Valid || lacks_orders_only(&judgement),
            Some(false) => judgement.verdict == Verdict::Invalid,
            None => judgement.verdict == Verdict::Unknown,
        };
        let is_same = verdict
            && (captured.valid == Some(true)
                || (types(&judgement) == captured.anomaly_types
                    && judgement.ruled_out.not == models(&captured.not)
                    && judgement.ruled_out.also_not == models(&captured.also_not)));
        if !is_same {
            wrong.push(format!(
                "{name} {} {}\n  theirs {:?} {:?} not {:?}\n  ours {:?} {:?} not {:?} reasons {:?}",
                captured.test,
                captured.opts,
                captured.valid,
                captured.anomaly_types,
                captured.not,
                judgement.verdict,
                types(&judgement),
                judgement.ruled_out.not,
                judgement.reasons,
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn read(path: &Path, kind: Kind) -> Observed {
    let options = ReadOptions {
        kind: Some(kind),
        ..ReadOptions::default()
    };
    formats::read_path(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn names(judgement: &Judgement) -> Vec<&'static str> {
    judgement
        .anomalies
        .iter()
        .map(|found| found.name.name())
        .collect()
}

#[test]
fn published_examples_are_judged_as_published() {
    let Some(corpus) = published("elle") else {
        return;
    };
    let history = read(&corpus.join("si-without-g-single.edn"), Kind::ListAppend);
    let repeatable = judge(&history, &Options::as_elle([Model::RepeatableRead]));
    assert_eq!(
        (repeatable.verdict, names(&repeatable)),
        (Verdict::Invalid, vec!["G2-item"])
    );
    let snapshots = judge(&history, &Options::as_elle([Model::SnapshotIsolation]));
    assert_ne!(snapshots.verdict, Verdict::Invalid, "{snapshots:?}");

    let history = read(&corpus.join("paper-example.edn"), Kind::ListAppend);
    let paper = judge(&history, &Options::as_elle([Model::Serializable]));
    assert_eq!(
        (paper.verdict, names(&paper)),
        (Verdict::Invalid, vec!["G-single-item"])
    );

    let history = read(&corpus.join("list-append-gh-30.edn"), Kind::ListAppend);
    let thirty = judge(&history, &Options::as_elle([Model::Serializable]));
    assert_eq!(
        (thirty.verdict, names(&thirty)),
        (Verdict::Invalid, vec!["G2-item"])
    );

    let history = read(&corpus.join("rw-register.edn"), Kind::RwRegister);
    for model in [Model::Serializable, Model::StrictSerializable] {
        let register = judge(&history, &Options::as_elle([model]));
        assert!(
            register.verdict == Verdict::Valid || lacks_orders_only(&register),
            "{register:?}"
        );
        // Nobody wrote the 3 that was read.
        let strictly = judge(&history, &Options::new([model]));
        assert_eq!(
            (strictly.verdict, names(&strictly)),
            (Verdict::Invalid, vec!["garbage-read"])
        );
    }
}
