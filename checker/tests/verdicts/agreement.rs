//! What one judge says no other contradicts, and a model that is asked for alone has the verdict that it has among all.

use checker::assess::{Options, Verdict, assess};
use checker::models::{Model, ModelSet};

use crate::{asked, check, history};

#[test]
fn a_model_that_nothing_tells_enough_for_fails_with_a_weaker_one() {
    let records = "c 0 - w:x=1 / c 1 - w:x=2 r:x=2 / c 2 - r:x=1 w:y=1 / c 3 - r:y=1 r:x=2 / \
                   c 4 - r:x=2 w:z=1 / c 5 - r:z=1 r:x=1";
    let models = [
        "serializable",
        "strong-session-serializable",
        "strict-serializable",
    ];
    for asks in models {
        check(records, &[asks], Verdict::Invalid);
    }
}

#[test]
fn asked_alone_a_model_has_the_verdict_that_it_has_among_all() {
    for records in [
        "c 0 1..1 w:x=1 / c 0 4..6 r:x=1 w:x=2",
        "c 0 - w:x=1 / c 0 - r:x=1 w:x=2 / c 1 - r:x=1 w:x=3",
        "c 0 - w:x=1 w:y=1 / c 1 - r:x=1 r:y=~",
        "c 0 - a:x=1 l:y=[] / c 1 - a:y=1 l:x=[]",
    ] {
        let history = history(records);
        let whole = asked(&history, &[]);
        for model in Model::ALL {
            let verdict = asked(&history, &[model.name()]).verdict();
            if whole.holds.contains(*model) {
                assert_eq!(verdict, Verdict::Valid, "{} of {records}", model.name());
            } else if whole.fails.contains(*model) {
                assert_eq!(verdict, Verdict::Invalid, "{} of {records}", model.name());
            }
        }
    }
}

#[test]
fn what_is_assumed_of_keys_binds_all_judges() {
    let says = |records: &str, model: Model| {
        let mut options = Options {
            models: ModelSet::of(model),
            ..Options::default()
        };
        options.anomaly.keys.linearizable = true;
        let assessment = assess(&history(records), &options, &mut |_| {});
        assert_eq!(assessment.troubles, [], "{records}");
        assessment.verdict()
    };
    let stale = "c 0 0..1 w:x=1 / c 1 2..3 w:x=2 / c 2 4..5 r:x=1";
    for model in [
        Model::Serializable,
        Model::StrictSerializable,
        Model::ReadCommitted,
    ] {
        assert_eq!(says(stale, model), Verdict::Invalid, "{}", model.name());
    }
    // What keeps real time keeps the assumption.
    let fresh = "c 0 0..1 w:x=1 / c 1 2..3 w:x=2 / c 2 4..5 r:x=2";
    assert_eq!(says(fresh, Model::Serializable), Verdict::Valid);
    // Serializable, but only in an order that real time contradicts; the keys alone do not.
    let late = "c 0 0..1 w:x=1 / c 1 2..3 r:x=~ r:y=~ w:z=1 / c 2 4..5 r:x=1 w:y=1 r:z=~";
    assert_ne!(says(late, Model::Serializable), Verdict::Valid);
}

#[test]
fn who_does_not_read_what_it_wrote_satisfies_no_level_for_certain() {
    for records in [
        "c - - a:x=1 l:x=[] / c - - l:x=[1]",
        "c - - w:x=1 r:x=~ / c - - r:x=1",
    ] {
        for model in ["read-committed", "repeatable-read", "monotonic-atomic-view"] {
            let assessment = asked(&history(records), &[model]);
            assert_ne!(assessment.verdict(), Verdict::Valid, "{model} of {records}");
            assert!(!assessment.holds.contains(Model::ReadCommitted));
            let reasons = assessment.reasons().join(" ");
            assert!(reasons.contains("had written themselves"), "{reasons}");
        }
        check(records, &["read-atomic"], Verdict::Invalid);
    }
}

#[test]
fn at_read_uncommitted_being_read_from_does_not_show_that_one_committed() {
    let records = "c 0 - r:x=1 / u 1 - r:y=99 w:x=1 / c 2 - w:z=1 / c 3 - r:z=1";
    check(records, &["read-committed"], Verdict::Invalid);
    check(records, &["read-uncommitted"], Verdict::Valid);
    let records = "c 0 - l:x=[1] / u 1 - l:y=[99] a:x=1 / c 2 - a:z=1 / c 3 - l:z=[1]";
    check(records, &["read-committed"], Verdict::Invalid);
    check(records, &["read-uncommitted"], Verdict::Valid);
}

/// What is written can be read again, and has the same verdict; or it is refused.
#[test]
fn what_is_converted_can_be_read() {
    use checker::formats::{Format, ReadOptions, WriteError, read, write};
    for records in [
        "c 0 5..8 w:x=1 / u 0 6..7 w:x=2 / c 1 9..10 r:x=2",
        "c 0 5..6 w:x=1 / u 0 7.. w:x=2 / c 0 9..10 r:x=1 / c 1 11..12 r:x=2",
        "u 0 3..4 w:x=2 / c 1 9..10 r:x=2",
    ] {
        let history = history(records);
        for format in [Format::ElleEdn, Format::ElleJson, Format::Native] {
            let mut bytes = Vec::new();
            write(&history, format, &mut bytes).unwrap();
            let again = read(&bytes[..], "again", &ReadOptions::default())
                .unwrap_or_else(|error| panic!("{records} as {format}: {error}"));
            let verdict = asked(&again, &["serializable"]).verdict();
            assert_eq!(verdict, asked(&history, &["serializable"]).verdict());
        }
    }
    let nothing = history("a 0 - r:x=1");
    let refused = write(&nothing, Format::Text, &mut Vec::new());
    assert!(matches!(refused, Err(WriteError::NotRepresentable { .. })));
}
