//! How fast histories are enumerated: over sets, whose outcomes cost next to nothing.

use checker::spec::{Options, Progress, monotone};

use crate::sets::{Plan, Sets};

#[test]
#[ignore = "a measurement: cargo test --release -p checker --test spec -- --ignored --nocapture speed"]
fn a_million_histories_of_three_processes() {
    let plans = [
        Plan::menu(&[0, 1], 1, 2, &[1, 2], 1),
        Plan::menu(&[2, 3], 1, 2, &[0, 2], 1),
        Plan::menu(&[4], 1, 1, &[0, 1], 1),
    ];
    measure(&Sets::new(14, &plans));
}

#[test]
#[ignore = "a measurement, as above"]
fn a_million_histories_of_which_three_each_are_renamed_copies() {
    let plan = |next, other| Plan::menu(&[0, 1], 1, 2, &[next, other], 1);
    let spec = Sets {
        turns: true,
        ..Sets::new(13, &[plan(1, 2), plan(2, 0), plan(0, 1)])
    };
    measure(&spec);
}

fn measure(spec: &Sets) {
    for threads in [1, 2] {
        let progress = Progress::default();
        let options = Options {
            threads,
            progress: Some(&progress),
            ..Options::default()
        };
        let decision = monotone(spec, &options);
        assert!(decision.holds());
        assert_eq!(progress.histories(), decision.examined.histories);
        println!(
            "{} in {:.2} s with {threads} threads: {:.0} a second and core, {} futures",
            decision.examined,
            decision.examined.seconds,
            decision.examined.per_second_and_core(),
            decision.examined.futures,
        );
    }
}
