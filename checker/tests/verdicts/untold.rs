//! Transactions whose outcome nobody was told: they follow what came before them, and precede nobody.

use checker::assess::{Order, Verdict, verify_order};
use checker::search;

use crate::{asked, check, history, model};

/// The verdict, alone and beside transactions that have nothing to do with it, and what the certificate is worth.
fn agree(records: &str, level: &str, verdict: Verdict) {
    let lists = records.contains("a:");
    let beside = if lists {
        "c 8 - a:k=1 / c 9 - a:k=2 / c 7 - l:k=[1,2]"
    } else if level.starts_with("strict") {
        "c 8 0..1 w:k=1 / c 9 0..1 w:k=2 / c 7 0..1 r:k=2"
    } else {
        "c 8 - w:k=1 / c 9 - w:k=2 / c 7 - r:k=2"
    };
    for records in [records.to_owned(), format!("{records} / {beside}")] {
        let assessment = check(&records, &[level], verdict);
        if verdict == Verdict::Valid {
            let (shown, certificate) = assessment.certificate().expect("it was found");
            let history = history(&records);
            let order = match &certificate {
                search::Certificate::Serial(order) => Order::serial(order),
                search::Certificate::Snapshots(events) => Order(events.clone()),
            };
            assert_eq!(shown, model(level), "{records}");
            assert_eq!(verify_order(&history, shown, &order), Ok(()), "{records}");
        }
    }
}

#[test]
fn who_was_told_nothing_goes_on_before_it_takes_effect() {
    // Its session reads the initial state after it, and others see it only later.
    let records = "u 0 - w:x=1 / c 0 - r:x=~ / c 2 - r:x=1";
    agree(records, "strong-session-serializable", Verdict::Valid);
    let lists = "u 0 - a:x=1 / c 0 - l:x=[] / c 2 - l:x=[1]";
    agree(lists, "strong-session-serializable", Verdict::Valid);
    // What came before it in its session is before it all the same.
    let records = "c 0 - w:y=1 / u 0 - w:x=1 / c 2 - r:x=1 r:y=~";
    agree(records, "strong-session-serializable", Verdict::Invalid);
}

#[test]
fn who_was_told_nothing_has_no_end_in_real_time() {
    let records = "u 0 2..3 w:x=1 / c 1 5..6 r:x=~ / c 2 7..8 r:x=1";
    agree(records, "strict-serializable", Verdict::Valid);
    let records = "c 3 0..1 w:y=1 / u 0 2..3 w:x=1 / c 2 7..8 r:x=1 r:y=~";
    agree(records, "strict-serializable", Verdict::Invalid);
}

#[test]
fn levels_of_sessions_let_it_come_late_too() {
    use checker::weak::{Level, Verdict, judge};
    // Each level would forbid the last read of x as 0 if the second transaction had ended.
    for (records, level) in [
        (
            "c 1 - w:x=0 / u 0 - r:x=0 w:x=1 / c 0 - r:x=0 / c 2 - r:x=1",
            Level::ReadYourWrites,
        ),
        (
            "c 1 - w:x=0 / c 3 - r:x=0 w:x=1 / u 0 - r:x=1 w:z=1 / c 0 - r:x=0 / c 2 - r:z=1",
            Level::MonotonicReads,
        ),
        (
            "c 1 - w:x=0 / u 0 - r:x=0 w:x=1 / c 0 - w:y=1 / c 2 - r:y=1 r:x=0 / c 3 - r:x=1",
            Level::MonotonicWrites,
        ),
        (
            "c 1 - w:x=0 / c 3 - r:x=0 w:x=1 / u 0 - r:x=1 w:z=1 / c 0 - w:y=1 / c 2 - r:y=1 r:x=0 / c 4 - r:z=1",
            Level::WritesFollowReads,
        ),
        (
            "c 1 - w:x=0 / u 0 - r:x=0 w:x=1 / c 0 - r:x=0 / c 2 - r:x=1",
            Level::ReadAtomic,
        ),
        (
            "c 1 - w:x=0 / u 0 - r:x=0 w:x=1 / c 0 - r:x=0 / c 2 - r:x=1",
            Level::Causal,
        ),
    ] {
        let late = judge(&history(records), level);
        assert!(matches!(late, Verdict::Valid(_)), "{level:?}: {late:?}");
        let told = judge(&history(&records.replace('u', "c")), level);
        assert!(matches!(told, Verdict::Invalid(_)), "{level:?}: {told:?}");
    }
    // Of what it has seen, those who read from it must know.
    let records = "c 1 - w:x=0 / c 3 - r:x=0 w:x=1 / u 0 - r:x=1 w:z=1 / c 2 - r:z=1 r:x=0";
    let unseen = judge(&history(records), Level::WritesFollowReads);
    assert!(matches!(unseen, Verdict::Invalid(_)), "{unseen:?}");
}

#[test]
fn an_order_in_which_it_comes_last_is_verified_by_both_verifiers() {
    let history = history("u 0 - w:x=1 / c 0 - r:x=~ / c 2 - r:x=1");
    let txns: Vec<_> = [1, 0, 2].map(checker::observed::TxnIndex).to_vec();
    let certificate = search::Certificate::Serial(txns.clone());
    let level = search::Level::SESSION_SERIALIZABLE;
    assert_eq!(
        search::verify::verify(&history, level, &certificate),
        Ok(())
    );
    let shown = model("strong-session-serializable");
    assert_eq!(verify_order(&history, shown, &Order::serial(&txns)), Ok(()));
    assert!(asked(&history, &[]).certificate().is_some());
}
