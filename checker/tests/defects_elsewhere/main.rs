//! Defects that were seen in other checkers, and what their users ask of them: each as a history, what the other tool
//! makes of it (with the version that was run, or where it is reported), and what is right and why.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop at the first surprise"
)]

mod conventions;
mod dbcop;
mod demands;
mod elle;
#[path = "../random/mod.rs"]
mod random;

use checker::assess::{self, Assessment, Options, Verdict, assess};
use checker::formats::{self, ReadOptions};
use checker::models::{Anomaly, Model, ModelSet};
use checker::observed::Observed;
use checker::{search, weak};

/// The history in these bytes, whatever their format.
#[track_caller]
pub(crate) fn read(bytes: &[u8]) -> Observed {
    let history = formats::read(bytes, "history", &ReadOptions::default());
    history.unwrap_or_else(|error| panic!("{error}"))
}

/// What is answered if nothing is asked.
#[track_caller]
pub(crate) fn assessed(history: &Observed) -> Assessment {
    checked(assess(history, &Options::default(), &mut |_| {}))
}

/// What is answered of one model.
#[track_caller]
pub(crate) fn asked(history: &Observed, model: Model) -> Assessment {
    let options = Options {
        models: ModelSet::of(model),
        ..Options::default()
    };
    checked(assess(history, &options, &mut |_| {}))
}

/// No answer without grounds: what is found has sentences, and no judge contradicts another.
#[track_caller]
fn checked(assessment: Assessment) -> Assessment {
    assert_eq!(assessment.troubles, []);
    for found in &assessment.judgement.anomalies {
        assert!(!found.sentences.is_empty(), "{found:?}");
    }
    assessment
}

/// One word for a model of a history.
#[track_caller]
pub(crate) fn verdict(history: &Observed, model: Model) -> &'static str {
    asked(history, model).verdict().name()
}

/// One word for a level with sessions.
pub(crate) fn level(history: &Observed, level: weak::Level) -> &'static str {
    assess::weak_word(&weak::judge(history, level))
}

/// The anomalies by name, each once.
pub(crate) fn names(assessment: &Assessment) -> Vec<&'static str> {
    let judgement = &assessment.judgement;
    let all = judgement.anomalies.iter().chain(&judgement.others);
    let mut names: Vec<&str> = all.map(|found| found.name.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
