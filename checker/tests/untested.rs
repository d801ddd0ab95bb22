//! What tests nothing is not valid, and what is large does not take for ever.
#![allow(clippy::unwrap_used, reason = "tests: what fails panics")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use checker::assess::{Assessment, Options, Verdict, assess};
use checker::formats::{self, ReadOptions};
use checker::models::Model;
use checker::observed::Observed;

fn judged(history: &Observed) -> Assessment {
    assess(history, &Options::default(), &mut |_| {})
}

fn history(text: &str) -> Observed {
    formats::read(text.as_bytes(), "a test", &ReadOptions::default()).unwrap()
}

/// Nothing depends on anything in these, although time and sessions order all of it.
#[test]
fn a_history_in_which_nothing_was_read_is_unknown_whatever_its_times_and_sessions() {
    let mut appends = String::new();
    let mut writes = String::new();
    let mut text = String::new();
    for number in 0..50 {
        for (edn, f) in [(&mut appends, "append"), (&mut writes, "w")] {
            let operation = format!("[[:{f} {number} {number}]]");
            writeln!(
                edn,
                "{{:type :invoke, :process {number}, :value {operation}}}"
            )
            .unwrap();
            writeln!(edn, "{{:type :ok, :process {number}, :value {operation}}}").unwrap();
        }
        writeln!(text, "w({number},{number},{},{number})", number % 5).unwrap();
    }
    let empty =
        "{:type :invoke, :process 0, :value []}\n{:type :ok, :process 0, :value []}\n".repeat(9);
    let alone = "{:type :invoke, :process 0, :value [[:append 1 1] [:r 1 nil]]}\n\
                 {:type :ok, :process 0, :value [[:append 1 1] [:r 1 [1]]]}\n";
    for history_of in [&appends, &writes, &text, &empty, alone] {
        let judged = judged(&history(history_of));
        assert_eq!(judged.verdict(), Verdict::Unknown);
        assert!(judged.holds.is_empty(), "{:?}", judged.holds);
        assert!(judged.reasons()[0].contains("nothing was tested"));
    }
}

#[test]
fn completions_without_any_invocation_tell_no_real_time() {
    let mut edn = String::new();
    for number in 1..=9 {
        writeln!(
            edn,
            "{{:type :ok, :process 0, :value [[:append 1 {number}]]}}"
        )
        .unwrap();
    }
    // Strictly behind all of them, and it has seen the first alone.
    writeln!(edn, "{{:type :ok, :process 1, :value [[:r 1 [1]]]}}").unwrap();
    let judged = judged(&history(&edn));
    assert!(!judged.holds.contains(Model::StrictSerializable));
    assert!(!judged.asked.contains(Model::StrictSerializable));
    assert_eq!(judged.verdict(), Verdict::Valid);
}

/// Each lookup of a writer walked through all writes of the key before, or of the value.
#[test]
fn many_writes_of_one_key_take_time_by_their_number() {
    let distinct = |writes: u32| {
        let lines = (0..writes).fold(String::new(), |mut lines, number| {
            writeln!(lines, "w(1,{number},1,1)").unwrap();
            lines
        });
        history(&format!("{lines}r(1,{},2,2)\n", writes - 1))
    };
    let equal = |writes: usize| history(&("w(1,1,1,1)\n".repeat(writes) + "r(1,1,2,2)\n"));
    for (small, large) in [
        (distinct(10_000), distinct(160_000)),
        (equal(10_000), equal(160_000)),
    ] {
        let time = |history: &Observed| {
            let started = Instant::now();
            assert_ne!(judged(history).verdict(), Verdict::Invalid);
            started.elapsed()
        };
        let short = time(&small).max(Duration::from_millis(20));
        let long = time(&large);
        // Sixteen times as many; quadratic would be 256 times.
        assert!(long < 100 * short, "{short:?}, and {long:?}");
    }
}
