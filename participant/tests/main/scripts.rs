//! The schedules of the theory, run through every engine: what each does with each of them.
//!
//! The transcripts are in `tests/golden`; `UPDATE_GOLDEN=1 cargo test -p participant` writes them anew, for
//! review. Besides, the classes are checked: a locking engine runs a schedule as it stands exactly if the
//! schedule belongs to its class.

use std::fmt::Write as _;
use std::path::PathBuf;

use checker::Level;
use co_core::VoteRule;
use participant::Recorder;
use participant::conformance::script::{self, Happened, Transcript};
use participant::engine::{EngineKind, open};
use proptest::prelude::*;

use crate::judge::{assert_valid, is_valid};

struct Schedule {
    name: &'static str,
    steps: &'static str,
    /// Whether it is in the class of strong strict two-phase locking, and of strict commitment ordering.
    classes: (bool, bool),
}

const fn schedule(name: &'static str, steps: &'static str, ss2pl: bool, sco: bool) -> Schedule {
    Schedule {
        name,
        steps,
        classes: (ss2pl, sco),
    }
}

/// §7.1.
const SINGLE_VERSION: [Schedule; 13] = [
    schedule("S01", "r1(x) w2(x) c1 c2", false, true),
    schedule("S02", "w1(x) r2(x) c1 c2", false, false),
    schedule("S03", "r1(x) w2(x) c2 c1", false, false),
    schedule("S04", "r1(x) w2(x) w3(y) c3 r1(y) c1 c2", false, true),
    schedule("S05", "r1(x) w2(x) r2(y) w1(y) c1 c2", false, false),
    schedule("S06", "w1(x) r2(x) c2 a1", false, false),
    schedule("S07", "w1(x) r2(x) c2 c1", false, false),
    schedule("S08", "w1(x) w2(x) c1 c2", false, false),
    schedule("S09", "r1(a) w3(a) w3(b) c3 r2(b) c2 c1", false, false),
    schedule("S10", "r1(a) w3(a) w3(b) c3 r2(b) c1 c2", false, false),
    schedule("S11", "r1(x) r2(x) w1(x) c2 c1", false, true),
    schedule("S12", "r1(x) r2(x) w1(x) w2(x) c1 c2", false, false),
    schedule("S13", "i1(n) i2(n) c2 c1", true, true),
];

/// §7.2; the flag says whether it is multi-version commitment ordered.
const MULTI_VERSION: [(&str, &str, bool); 8] = [
    ("M1", "w1(x) r2(x) c2 c1", true),
    ("M2", "w1(x) r2(x) c1 c2", false),
    ("M3", "r1(x) w2(x) w2(y) c2 r1(y) c1", false),
    ("M4", "r1(x) r2(y) w1(y) w2(x) c1 c2", false),
    ("M5", "r1(x) w1(y) r2(x) w2(x) c1 c2", true),
    ("M6", "r1(x) w1(y) r2(x) w2(x) c2 c1", false),
    (
        "M7",
        "r1(x) r1(y) w1(y) r2(x) w2(x) c2 r3(x) r3(y) c3 c1",
        false,
    ),
    ("M8", "i1(n) i2(n) r3(n) c3 c2 c1", true),
];

fn play(kind: EngineKind, rule: VoteRule, steps: &str) -> (Transcript, String) {
    let recorder = Recorder::memory("site");
    let site = open(kind, rule, recorder.clone());
    let transcript = script::run(&site, &script::parse(steps));
    assert_eq!(site.in_flight(), 0, "{kind}: {steps}");
    recorder.finish().unwrap();
    (transcript, recorder.text().unwrap())
}

/// Whether every step was done when it came, without waiting and without a site's abort.
fn ran_as_it_stands(transcript: &Transcript) -> bool {
    transcript.events.iter().all(|(_, happened)| {
        matches!(
            happened,
            Happened::Saw(_)
                | Happened::Done
                | Happened::Voted
                | Happened::Committed
                | Happened::Aborted(None)
        )
    })
}

/// The order in which things took effect.
fn executed(transcript: &Transcript) -> String {
    let mut text = String::new();
    for (step, happened) in &transcript.events {
        let txn = step.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        match happened {
            Happened::Saw(_)
            | Happened::Done
            | Happened::Voted
            | Happened::Committed
            | Happened::Aborted(None) => {
                write!(text, " {step}").unwrap();
            }
            Happened::Aborted(Some(_)) => {
                let number: String = txn.chars().take_while(char::is_ascii_digit).collect();
                write!(text, " a{number}").unwrap();
            }
            Happened::Waits | Happened::Withheld | Happened::Queued | Happened::Skipped => {}
        }
    }
    text
}

fn transcribe(name: &str, steps: &str, kinds: &[EngineKind]) -> String {
    let mut text = format!("{name}: {steps}\n");
    for kind in kinds {
        let (transcript, history) = play(*kind, VoteRule::Withhold, steps);
        assert_valid(
            &format!("{name} {kind}"),
            &history,
            Level::CommitmentOrdering,
        );
        let order = executed(&transcript);
        write!(text, "\n{kind}\n{transcript}  executed:{order}\n").unwrap();
    }
    text
}

fn compare_golden(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name]
        .iter()
        .collect();
    let path = path.with_extension("txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with UPDATE_GOLDEN=1", path.display()));
    assert_eq!(
        text, expected,
        "{name}; run with UPDATE_GOLDEN=1 and review"
    );
}

#[test]
fn engines_do_with_each_schedule_what_is_written() {
    for schedule in &SINGLE_VERSION {
        let text = transcribe(schedule.name, schedule.steps, &EngineKind::ALL);
        compare_golden(schedule.name, &text);
    }
    for (name, steps, _) in MULTI_VERSION {
        compare_golden(name, &transcribe(name, steps, &[EngineKind::Mvcc]));
    }
}

#[test]
fn a_locking_engine_runs_exactly_its_class_as_it_stands() {
    for Schedule {
        name,
        steps,
        classes: (ss2pl, sco),
    } in SINGLE_VERSION
    {
        for (kind, belongs) in [(EngineKind::Ss2pl, ss2pl), (EngineKind::Sco, sco)] {
            let (transcript, _) = play(kind, VoteRule::Withhold, steps);
            assert_eq!(
                ran_as_it_stands(&transcript),
                belongs,
                "{kind} and {name}:\n{transcript}"
            );
        }
    }
}

#[test]
fn the_multi_version_engine_runs_exactly_its_class_as_it_stands() {
    for (name, steps, belongs) in MULTI_VERSION {
        let (transcript, _) = play(EngineKind::Mvcc, VoteRule::Withhold, steps);
        assert_eq!(
            ran_as_it_stands(&transcript),
            belongs,
            "{name}:\n{transcript}"
        );
    }
}

#[test]
fn without_the_rule_the_checker_finds_the_skew() {
    // Shows that the histories carry what the judge needs, and that it is the rule that prevents this.
    let skew = "r1(x) r2(y) w1(y) w2(x) c1 c2";
    for kind in [EngineKind::Sco, EngineKind::Mvcc] {
        let (transcript, history) = play(kind, VoteRule::DangerIgnoreReads, skew);
        assert_eq!(transcript.committed, [1, 2], "{kind}");
        assert!(
            !is_valid(&history, Level::Serializability),
            "{kind}: {history}"
        );
    }
    let phantoms = "s1(a..m) s2(n..z) w1(p) w2(b) c1 c2";
    let (transcript, history) = play(EngineKind::Mvcc, VoteRule::DangerIgnoreReads, phantoms);
    assert_eq!(transcript.committed, [1, 2]);
    assert!(!is_valid(&history, Level::Serializability), "{history}");
}

/// Three transactions of random steps in a random order.
fn schedules() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        3 => "r[123]\\([xy]\\)",
        3 => "w[123]\\([xy]\\)",
        1 => "d[123]\\([xy]\\)",
        2 => "i[123]\\([nm]\\)",
        1 => "r[123]\\([nm]\\)",
        1 => "s[123]\\((l\\.\\.o|x\\.\\.z|a\\.\\.z)\\)",
        2 => "p[123]",
        2 => "c[123]",
    ];
    prop::collection::vec(step, 4..24).prop_map(|steps| steps.join(" ") + " c1 c2 c3")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_schedules_are_commitment_ordered(steps in schedules()) {
        for kind in EngineKind::ALL {
            let (transcript, history) = play(kind, VoteRule::Withhold, &steps);
            assert_valid(&format!("{kind}: {steps}\n{transcript}"), &history, Level::CommitmentOrdering);
        }
    }

    #[test]
    fn random_schedules_are_serializable_at_one_site_under_local_rules(steps in schedules()) {
        for kind in EngineKind::ALL {
            let (transcript, history) = play(kind, VoteRule::LocalOnly, &steps);
            assert_valid(&format!("{kind}: {steps}\n{transcript}"), &history, Level::Serializability);
        }
    }
}
