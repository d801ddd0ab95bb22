//! Lists to which a value was appended more than once.

use checker::assess::Verdict;

use crate::{check, history};

#[test]
fn who_appended_a_value_twice_is_not_guessed() {
    for records in [
        // The twin aborted: the first append may be the one that was read.
        "c 0 - a:x=1 / c 0 - l:x=[1] / a 1 - a:x=1",
        "c 0 - a:x=1 / a 1 - a:x=2 / c 1 - a:x=2 / c 2 - l:x=[1,2] / c 2 - a:x=3",
        // Both are there, as they should be.
        "c - - a:x=1 / c - - a:x=1 / c - - l:x=[1,1]",
        "c - - a:x=1 a:x=1 / c - - l:x=[1,1]",
        // A read of the first append, before the second.
        "c 0 - a:x=1 l:x=[1] a:x=1 / c 0 - a:x=2",
        // The first of two appends is one of several of its value.
        "c 0 - a:x=1 a:x=2 / c 1 - a:x=1 / c 2 - l:x=[1,2,1]",
    ] {
        let assessment = check(records, &[], Verdict::Unknown);
        assert!(
            assessment.fails.is_empty(),
            "{records}: {:?}",
            assessment.fails.names()
        );
    }
}

#[test]
fn an_append_of_a_value_that_nobody_read_is_behind_what_was_read() {
    // Both appends of 9 come behind [1], so the reader of [1] precedes the one that it reads y from.
    let records = "c 0 - a:x=1 / c 1 - l:x=[1] l:y=[7] / c 2 - a:x=9 a:y=7 / c 3 - a:x=9";
    let assessment = check(records, &["snapshot-isolation"], Verdict::Invalid);
    assert!(
        assessment.judgement.anomalies[0].sentences[0].contains("without the 9 that T2 appended")
    );
}

#[test]
fn an_element_that_is_there_more_often_than_it_was_appended_is_a_duplicate() {
    for (records, words) in [
        ("c 0 - a:x=1 / c 1 - l:x=[1,1]", "has 1 twice"),
        (
            "c 0 - a:x=1 / c 1 - a:x=1 / c 2 - l:x=[1,1,1]",
            "has 1 3 times, and it was appended 2 times",
        ),
    ] {
        let assessment = check(records, &["read-uncommitted"], Verdict::Invalid);
        assert!(
            assessment.judgement.anomalies[0].sentences[0].contains(words),
            "{records}"
        );
    }
}

#[test]
fn a_later_append_without_an_earlier_one_is_out_of_order_whatever_else_was_appended() {
    let records = "c 0 - a:x=1 a:x=2 a:x=3 / c 1 - a:x=1 / c 2 - l:x=[1,3]";
    let assessment = check(records, &["read-committed"], Verdict::Invalid);
    assert_eq!(
        assessment.judgement.anomalies[0].name.name(),
        "incompatible-order"
    );
    assert_eq!(history(records).txns().len(), 3);
}
