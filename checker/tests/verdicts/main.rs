//! Verdicts on histories that other tests do not have: values written twice, outcomes that nobody was told, reads that
//! contradict their own transaction, models asked for alone, beginnings of histories.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod agreement;
mod beginnings;
mod brute;
mod duplicates;
mod untold;

use checker::assess::{Assessment, Options, Verdict, assess};
use checker::formats::{ReadOptions, read};
use checker::models::{Model, ModelSet};
use checker::observed::Observed;

/// A history of our own format: its records, joined by ` / `.
fn history(records: &str) -> Observed {
    let lines: Vec<&str> = records.split(" / ").collect();
    let text = format!("co-observed 1\n{}\nend {}\n", lines.join("\n"), lines.len());
    read(text.as_bytes(), "case.hist", &ReadOptions::default())
        .unwrap_or_else(|error| panic!("{records}: {error}"))
}

fn model(name: &str) -> Model {
    Model::parse(name).unwrap_or_else(|| panic!("{name} is a model"))
}

/// What is said if these models are asked for; the strongest that can be if there are none.
fn asked(history: &Observed, models: &[&str]) -> Assessment {
    let mut options = Options {
        models: models
            .iter()
            .map(|name| model(name))
            .fold(ModelSet::default(), |all, one| all.union(ModelSet::of(one))),
        ..Options::default()
    };
    options.anomaly.order = true;
    assess(history, &options, &mut |_| {})
}

/// Nothing is said that should not be: no trouble, no more than `holds` and `fails` allow, and this verdict.
fn check(records: &str, models: &[&str], verdict: Verdict) -> Assessment {
    let assessment = asked(&history(records), models);
    assert_eq!(assessment.troubles, [], "{records}");
    assert_eq!(
        assessment.verdict(),
        verdict,
        "{records}: {:?}",
        assessment.reasons()
    );
    assessment
}
