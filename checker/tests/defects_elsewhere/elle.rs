//! Elle (jepsen-io, commit ccdee6f of July 2026, with jepsen.history 2b0a5a6), elle-cli and Maelstrom, which use it.

use super::*;
use checker::assess::common_name;
use checker::formats::{FormatFault, Place};
use checker::models::{prohibited, rules_out};

/// The example of the paper, as in Elle's histories/paper-example.edn but for the processes, which that leaves out.
const PAPER: &str = "\
{:index 0 :type :invoke :value [[:append 253 1] [:append 253 3] [:append 253 4] [:append 255 2] [:append 255 3] [:append 255 4] [:append 255 5] [:append 256 1] [:append 256 2]]}
{:index 1 :type :ok :value [[:append 253 1] [:append 253 3] [:append 253 4] [:append 255 2] [:append 255 3] [:append 255 4] [:append 255 5] [:append 256 1] [:append 256 2]]}
{:index 2 :type :invoke, :value [[:append 255 8] [:r 253 nil]]}
{:index 3 :type :ok, :value [[:append 255 8] [:r 253 [1 3 4]]]}
{:index 4 :type :invoke, :value [[:append 256 4] [:r 255 nil] [:r 256 nil] [:r 253 nil]]}
{:index 5 :type :ok, :value [[:append 256 4] [:r 255 [2 3 4 5 8]] [:r 256 [1 2 4]] [:r 253 [1 3 4]]]}
{:index 6 :type :invoke, :value [[:append 250 10] [:r 253 nil] [:r 255 nil] [:append 256 3]]}
{:index 7 :type :ok :value [[:append 250 10] [:r 253 [1 3 4]] [:r 255 [2 3 4 5]] [:append 256 3]]}
";

/// Elle drops operations without `:process`, then has nothing and answers `:unknown (:empty-transaction-graph)`
/// (jepsen-io/elle#20). They are in no session here, and pair up as they stand: the anomaly of the paper is there.
#[test]
fn the_papers_example_is_judged_without_processes() {
    let history = read(PAPER.as_bytes());
    assert_eq!(history.session_count(), 0);
    let assessment = asked(&history, Model::Serializable);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    let found = &assessment.judgement.anomalies[0];
    assert_eq!(found.name, Anomaly::GSingleItem);
    assert!(assessment.fails.contains(Model::ConsistentView));
    assert_eq!(verdict(&history, Model::ReadCommitted), "valid");
}

/// Elle throws `not-running` on the demonstration of its own README with that version of jepsen.history, which wants an
/// invocation for every completion. A completion alone is a transaction that began nobody knows when.
#[test]
fn the_readmes_demonstration_is_judged_without_invocations() {
    let history = read(
        b"{:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r :y [1]]]}
{:process 1, :type :ok, :f :txn, :value [[:append :x 2] [:append :y 1]]}
{:process 2, :type :ok, :f :txn, :value [[:r :x [1 2]]]}
",
    );
    let assessment = asked(&history, Model::Serializable);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    assert_eq!(names(&assessment), ["G1c"]);
    assert_eq!(assessment.weakest_failing().names(), ["read-committed"]);
}

/// In Elle, snapshot isolation and forward consistent view forbid `:G-SI` and `:G-SIb`, while what implies these implies
/// `:GSI` and `:GSIb`: the two never meet, and neither anomaly rules anything out by that name.
#[test]
fn missed_effects_are_connected_to_the_models_that_forbid_them() {
    for single in [Anomaly::GSingle, Anomaly::GSingleItem] {
        assert!(single.implied().contains(Anomaly::GSIb), "{single:?}");
        assert!(single.implied().contains(Anomaly::GSI), "{single:?}");
    }
    let out = |anomaly: Anomaly| rules_out([anomaly]).not.names();
    assert_eq!(out(Anomaly::GSIb), ["forward-consistent-view"]);
    assert_eq!(out(Anomaly::GSI), ["snapshot-isolation"]);
    for model in [Model::SnapshotIsolation, Model::StrongSnapshotIsolation] {
        let prohibited = prohibited(ModelSet::of(model));
        assert!(prohibited.contains(Anomaly::GSI) && prohibited.contains(Anomaly::GSIb));
    }
    let forward = prohibited(ModelSet::of(Model::ForwardConsistentView));
    assert!(forward.contains(Anomaly::GSIb) && !forward.contains(Anomaly::GSI));
    // Write skew is neither.
    assert!(!Anomaly::G2Item.implied().contains(Anomaly::GSI));
}

/// Two processes write; then each reads what the other wrote. `{}` is where the reporter wrote indexes.
fn crossing(index: impl Fn(usize) -> String) -> String {
    let ops = [
        (1, "[:r :x nil]"),
        (2, "[:r :x nil]"),
        (1, "[:w :x 100]"),
        (2, "[:w :x 200]"),
        (1, "[:r :x 200]"),
        (2, "[:r :x 100]"),
    ];
    let mut text = String::new();
    for (place, (process, op)) in ops.into_iter().enumerate() {
        for (phase, kind) in ["invoke", "ok"].into_iter().enumerate() {
            let index = index(2 * place + phase);
            text.push_str(&format!(
                "{{:type :{kind}, :f :txn :value [{op}], :process {process}{index}}}\n"
            ));
        }
    }
    text
}

/// elle-cli 0.1.2 accepts this under strict serializability and everything else that it was asked for
/// (ligurio/elle-cli#47): Elle knows no version order of registers, and says nothing of it. The orders are few and the
/// search tries them. Without sessions each read has a place; within them there is none.
#[test]
fn registers_without_known_version_orders_are_not_waved_through() {
    let history = read(crossing(|_| String::new()).as_bytes());
    for model in [
        Model::StrictSerializable,
        Model::StrongSnapshotIsolation,
        Model::StrongSessionSerializable,
        Model::StrongSessionSnapshotIsolation,
    ] {
        assert_eq!(verdict(&history, model), "invalid", "{}", model.name());
    }
    for model in [Model::Serializable, Model::SnapshotIsolation] {
        assert_eq!(verdict(&history, model), "valid", "{}", model.name());
    }
    assert_eq!(level(&history, weak::Level::Causal), "invalid");
    // The reporter numbered the operations of each process alone. That is no history, and said with its line.
    let each = |place: usize| format!(", :index {}", 2 * (place / 4) + place % 2 + 1);
    let error = formats::read(crossing(each).as_bytes(), "report", &ReadOptions::default());
    let error = error.unwrap_err();
    assert_eq!(error.place, Place::Line(3), "{error}");
    assert!(
        matches!(
            error.fault,
            FormatFault::IndexNotRising { index: 1, last: 2 }
        ),
        "{error}"
    );
}

/// Elle accepts a read of 2 where only 1 was written (jepsen-io/elle#8, pull request 7): what nobody wrote may have been
/// there before. In a history that is whole it may not; who judges a part of one says so (`Unwritten::BeforeHistory`).
#[test]
fn a_value_that_nobody_wrote_is_garbage() {
    let history = read(
        b"{:type :invoke, :f :txn :value [[:w :x 1]], :process 0, :index 1}
{:type :ok, :f :txn :value [[:w :x 1]], :process 0, :index 2}
{:type :invoke, :f :txn :value [[:r :x nil]], :process 0, :index 3}
{:type :ok, :f :txn :value [[:r :x 2]], :process 0, :index 4}
",
    );
    let assessment = asked(&history, Model::ReadUncommitted);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    assert_eq!(names(&assessment), ["garbage-read"]);
    let options = Options {
        models: ModelSet::of(Model::ReadUncommitted),
        anomaly: checker::anomaly::Options::as_elle([]),
        ..Options::default()
    };
    let as_elle = assess(&history, &options, &mut |_| {});
    assert_ne!(as_elle.verdict(), Verdict::Invalid);
}

/// A cycle of what was read, in which a session's order is one edge, and a read of one's own later write: Elle missed
/// both (jepsen-io/elle#21).
#[test]
fn cycles_through_a_session_and_reads_of_the_future_are_found() {
    let cycle = read(
        b"{:process 1, :type :invoke, :f :txn, :value [[:r :x] [:append :y 1]], :index 0}
{:process 1, :type :ok, :f :txn, :value [[:r :x [1]] [:append :y 1]], :index 1}
{:process 2, :type :invoke, :f :txn, :value [[:r :y]], :index 2}
{:process 2, :type :ok, :f :txn, :value [[:r :y [1]]], :index 3}
{:process 2, :type :invoke, :f :txn, :value [[:append :x 1]], :index 4}
{:process 2, :type :ok, :f :txn, :value [[:append :x 1]], :index 5}
",
    );
    for model in [
        Model::StrongSessionSnapshotIsolation,
        Model::StrongSessionReadCommitted,
    ] {
        assert_eq!(verdict(&cycle, model), "invalid", "{}", model.name());
    }
    assert!(names(&asked(&cycle, Model::StrongSessionReadCommitted)).contains(&"G1c-process"));
    assert_eq!(verdict(&cycle, Model::Serializable), "valid");
    for text in [
        "{:process 0, :type :ok, :f :txn, :value [[:r :x [1]] [:append :x 1]]}\n",
        "{:process 0, :type :ok, :f :txn, :value [[:r :x 1] [:w :x 1]]}\n",
    ] {
        let assessment = asked(&read(text.as_bytes()), Model::ReadCommitted);
        assert_eq!(assessment.verdict(), Verdict::Invalid, "{text}");
        assert!(names(&assessment).contains(&"future-read"), "{text}");
    }
}

/// A database whose registers begin with 2, recorded as if they began with nil: Elle takes the reads of 2 for reads of
/// the first transaction's write, and finds a lost update that is none (jepsen-io/elle#28). What is wrong with such a
/// recording is that a transaction seems to have read what it wrote only later, and that is what is said.
#[test]
fn an_initial_value_that_was_recorded_wrongly_is_no_lost_update() {
    let recorded = |initial: &str| {
        format!(
            "{{:index 0 :time 0 :type :invoke :process 0 :f :txn :value [[:r 1 nil] [:w 1 2]]}}
{{:index 1 :time 1 :type :invoke :process 1 :f :txn :value [[:r 1 nil] [:w 1 3]]}}
{{:index 2 :time 2 :type :ok :process 0 :f :txn :value [[:r 1 {initial}] [:w 1 2]]}}
{{:index 3 :time 3 :type :ok :process 1 :f :txn :value [[:r 1 2] [:w 1 3]]}}
"
        )
    };
    let wrong = assessed(&read(recorded("2").as_bytes()));
    assert_eq!(wrong.verdict(), Verdict::Invalid);
    assert_eq!(names(&wrong), ["future-read"]);
    let right = assessed(&read(recorded("nil").as_bytes()));
    assert_eq!(right.verdict(), Verdict::Valid, "{:?}", right.reasons());
}

/// Elle had no name for a lost update (P4, jepsen-io/jepsen#482), and has none for a long fork (ligurio/elle-cli#43):
/// in its terms two anti-dependencies that alternate with reads, G-nonadjacent-item.
#[test]
fn lost_updates_and_long_forks_have_their_names() {
    for text in [
        "w(1,1,0,0)\nr(1,1,1,1)\nw(1,2,1,1)\nr(1,1,2,2)\nw(1,3,2,2)\n",
        "{:process 0 :type :ok :value [[:append x 1]]}
{:process 1 :type :ok :value [[:r x [1]] [:append x 2]]}
{:process 2 :type :ok :value [[:r x [1]] [:append x 3]]}
{:process 3 :type :ok :value [[:r x [1 2 3]]]}
",
    ] {
        let assessment = asked(&read(text.as_bytes()), Model::SnapshotIsolation);
        assert_eq!(assessment.verdict(), Verdict::Invalid, "{text}");
        assert!(names(&assessment).contains(&"lost-update"), "{text}");
    }
    for text in [
        "w(1,1,0,0)\nw(2,2,1,1)\nr(1,1,2,2)\nr(2,0,2,2)\nr(1,0,3,3)\nr(2,2,3,3)\n",
        "{:process 0 :type :ok :value [[:append x 1]]}
{:process 1 :type :ok :value [[:append y 1]]}
{:process 2 :type :ok :value [[:r x [1]] [:r y []]]}
{:process 3 :type :ok :value [[:r x []] [:r y [1]]]}
",
    ] {
        let history = read(text.as_bytes());
        let assessment = asked(&history, Model::SnapshotIsolation);
        assert_eq!(assessment.verdict(), Verdict::Invalid, "{text}");
        let judgement = &assessment.judgement;
        let found = judgement
            .anomalies
            .iter()
            .find(|it| it.name == Anomaly::GNonadjacentItem);
        let cycle = found.map(|found| found.cycle.as_slice()).unwrap();
        assert_eq!(common_name(cycle), Some("long fork"), "{text}");
        let sessions = asked(&history, Model::ReadCommitted);
        assert_eq!(sessions.verdict(), Verdict::Valid);
    }
}
