//! The longest valid beginning of a history, and judges that must not get in each other's way.

use checker::assess::{Options, Prefix, Verdict, assess, longest_valid_prefix};
use checker::models::ModelSet;

use crate::{check, history, model};

fn prefix(records: &str, level: &str) -> Prefix {
    let options = Options {
        models: ModelSet::of(model(level)),
        ..Options::default()
    };
    longest_valid_prefix(&history(records), &options)
}

#[test]
fn what_comes_after_the_beginning_has_no_end() {
    let records = "c 1 3..4 w:x=8 / c 2 5..8 r:x=1 / c 3 0..0 w:x=1";
    let longest = prefix(records, "strict-serializable");
    assert_eq!((longest.valid, longest.invalid), (2, 3));
}

#[test]
fn a_beginning_that_is_not_judged_valid_does_not_count() {
    let records = "c 0 - a:k0=1 l:k2=[] / c 100 - a:k1=2 a:k2=3 l:k1=[2] / c 101 - l:k0=[1] a:k2=4 a:k1=5 / \
                   c 102 - l:k0=[1] l:k0=[1] / c 103 - a:k0=6 a:k2=7 l:k1=[2] / c 104 - l:k2=[3,4,7] a:k2=8";
    let longest = prefix(records, "snapshot-isolation");
    assert_eq!((longest.valid, longest.invalid), (4, 6));
    let options = Options {
        models: ModelSet::of(model("snapshot-isolation")),
        ..Options::default()
    };
    let verdict = |count| assess(&history(records).first(count), &options, &mut |_| {}).verdict();
    assert_eq!([verdict(4), verdict(5)], [Verdict::Valid, Verdict::Unknown]);
}

#[test]
fn a_garbage_read_stays_one_whatever_its_transaction_does_next() {
    let records = "c 0 0..1 w:x=2 / c 0 2..3 r:x=99 r:x=2 w:x=3 / c 0 4..5 r:x=2";
    let assessment = check(records, &[], Verdict::Invalid);
    let garbage = |name: &str| {
        assessment
            .judgement
            .anomalies
            .iter()
            .any(|found| found.name.name() == name)
    };
    assert!(garbage("garbage-read"));
}

#[test]
fn lists_that_were_read_by_one_that_was_read_from_count_for_the_witness() {
    let records = "c - - l:k0=[2,1] a:k1=1 / c - - a:k1=2 a:k0=1 / u - - a:k0=2 l:k1=[1]";
    check(records, &[], Verdict::Invalid);
}

#[test]
fn real_time_alone_is_enough_for_the_strict_levels() {
    let records = "c - 0..1 w:x=1 / c - 2..3 w:x=2 / c - 4..5 r:x=2";
    check(records, &["strict-serializable"], Verdict::Valid);
    check(records, &["strong-snapshot-isolation"], Verdict::Valid);
    let lost = "c - 0..1 w:x=1 / c - 2..3 w:x=2 / c - 4..5 r:x=1";
    check(lost, &["strict-serializable"], Verdict::Invalid);
    check(records, &[], Verdict::Valid);
}
