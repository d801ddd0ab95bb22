//! What users of checkers ask for in their issue trackers, where it can be tested.

use super::*;
use checker::assess::longest_valid_prefix;
use checker::search::Budget;
use std::process::Command;

/// A read-uncommitted store ran two transactions of one key at once, and Maelstrom passed it under read uncommitted
/// (jepsen-io/maelstrom#56, where it is called a G0). Versions are what transactions leave behind, so that one key of
/// two writers has one order and no cycle: it is not G0, and read uncommitted allows it. What it is has names, and
/// nothing from read committed up allows it.
#[test]
fn interleaved_writes_are_named_for_what_they_are() {
    let history = read(
        b"{:process 3, :type :ok, :f :txn, :value [[:r 0 1] [:w 0 10] [:r 0 3] [:w 0 11]]}
{:process 2, :type :ok, :f :txn, :value [[:w 0 1] [:r 0 1] [:r 0 10] [:w 0 2] [:w 0 3] [:r 0 3]]}
",
    );
    let assessment = asked(&history, Model::ReadCommitted);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    assert!(
        names(&assessment).contains(&"G1b"),
        "{:?}",
        names(&assessment)
    );
    assert!(
        names(&assessment).contains(&"internal"),
        "{:?}",
        names(&assessment)
    );
    assert_ne!(verdict(&history, Model::ReadUncommitted), "invalid");
}

/// Two transactions each write two registers, and later reads show the orders crossed: a G0 that rw-register checkers
/// pass over, because it takes real time to know which of two blind writes came last.
#[test]
fn crossed_blind_writes_are_found_where_later_reads_show_them() {
    let history = read(
        b"{:process 0 :type :invoke :f :txn :value [[:w x 1] [:w y 1]]}
{:process 1 :type :invoke :f :txn :value [[:w x 2] [:w y 2]]}
{:process 0 :type :ok :f :txn :value [[:w x 1] [:w y 1]]}
{:process 1 :type :ok :f :txn :value [[:w x 2] [:w y 2]]}
{:process 2 :type :invoke :f :txn :value [[:r x nil] [:r y nil]]}
{:process 2 :type :ok :f :txn :value [[:r x 1] [:r y 2]]}
",
    );
    assert_eq!(verdict(&history, Model::StrictSerializable), "invalid");
    assert_eq!(verdict(&history, Model::Serializable), "invalid");
    assert_eq!(verdict(&history, Model::SnapshotIsolation), "invalid");
    // Lists show the order without reads of real time.
    let lists = read(
        b"{:process 0 :type :ok :f :txn :value [[:append x 1] [:append y 1]]}
{:process 1 :type :ok :f :txn :value [[:append x 2] [:append y 2]]}
{:process 2 :type :ok :f :txn :value [[:r x [1 2]] [:r y [2 1]]]}
",
    );
    let assessment = asked(&lists, Model::ReadUncommitted);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    assert_eq!(names(&assessment), ["G0"]);
}

/// Known commit timestamps should order the versions of registers (jepsen-io/elle#30; TimeKiller's histories have them):
/// then an anomaly has its name, where otherwise all orders have to be excluded.
#[test]
fn commit_timestamps_order_versions() {
    let txn = |id: u64, ops: &str, times: [u64; 2]| {
        let [start, commit] = times.map(|time| format!("{{\"p\":{time},\"l\":0}}"));
        format!("{{\"tid\":{id},\"sid\":{id},\"sts\":{start},\"cts\":{commit},\"ops\":[{ops}]}}")
    };
    let write = |value: u64| {
        format!("{{\"t\":\"w\",\"k\":1,\"v\":{value}}},{{\"t\":\"w\",\"k\":2,\"v\":{value}}}")
    };
    let torn = r#"{"t":"r","k":1,"v":1},{"t":"r","k":2,"v":2}"#;
    let text = |commit: u64| {
        format!(
            "[{},{},{}]",
            txn(1, &write(1), [1, 4]),
            txn(2, &write(2), [2, commit]),
            txn(3, torn, [3, 9]),
        )
    };
    let history = read(text(5).as_bytes());
    let unnamed = asked(&history, Model::Serializable);
    assert_eq!(
        (unnamed.verdict(), names(&unnamed).len()),
        (Verdict::Invalid, 0)
    );
    let mut options = Options {
        models: ModelSet::of(Model::Serializable),
        ..Options::default()
    };
    options.anomaly.transaction_order = checker::anomaly::commit_order(&history);
    let named = checked(assess(&history, &options, &mut |_| {}));
    assert_eq!(named.verdict(), Verdict::Invalid);
    assert_eq!(names(&named), ["G-single-item"]);
    // Two that committed at once have no order.
    assert_eq!(
        checker::anomaly::commit_order(&read(text(4).as_bytes())),
        None
    );
}

/// Asked in jepsen-io/elle#16: the third transaction begins after the first two have ended, and does not see the second,
/// which cannot have come before the first. It is serializable, and not strictly.
#[test]
fn real_time_counts_where_it_was_recorded() {
    let timed = "\
{:type :invoke, :process 1, :value [[:r 0 nil] [:w 0 1]]}
{:type :invoke, :process 2, :value [[:w 0 2]]}
{:type :ok, :process 1, :value [[:r 0 nil] [:w 0 1]]}
{:type :ok, :process 2, :value [[:w 0 2]]}
{:type :invoke, :process 3, :value [[:r 0 nil]]}
{:type :ok, :process 3, :value [[:r 0 1]]}
";
    let history = read(timed.as_bytes());
    assert_eq!(verdict(&history, Model::StrictSerializable), "invalid");
    assert_eq!(verdict(&history, Model::Serializable), "valid");
    let completions: Vec<&str> = timed.lines().filter(|line| line.contains(":ok")).collect();
    let untimed = read(completions.join("\n").as_bytes());
    assert_eq!(verdict(&untimed, Model::StrongSessionSerializable), "valid");
}

/// PL-2L (monotonic view) forbids G-monotonic, which is of one transaction's reads in their order and no G-single
/// (jepsen-io/elle#25): a session that sees less than before violates monotonic reads, and says nothing of monotonic
/// view; a transaction that does is for a finer graph than that of whole transactions, and what is not looked for is not
/// waved through.
#[test]
fn monotonic_view_is_neither_ruled_out_by_sessions_nor_passed_unseen() {
    let session = read(b"[x:=1]\n---\n[x==1]\n[x==?]\n");
    assert_eq!(level(&session, weak::Level::MonotonicReads), "invalid");
    let assessment = asked(&session, Model::StrongSessionSnapshotIsolation);
    assert_eq!(assessment.verdict(), Verdict::Invalid);
    assert!(!assessment.fails.contains(Model::MonotonicView));
    assert_eq!(verdict(&session, Model::MonotonicView), "valid");

    // T0 wrote both; T1 saw that in x, and then not in y: G-monotonic by definition.
    let backwards = read(b"[x:=1 y:=1]\n---\n[x==1 y==?]\n");
    let assessment = asked(&backwards, Model::MonotonicView);
    assert_ne!(assessment.verdict(), Verdict::Valid);
    assert_eq!(verdict(&backwards, Model::ConsistentView), "invalid");
    // In the other order of its reads it saw first less and then more, which monotonic view allows.
    let forwards = read(b"[x:=1 y:=1]\n---\n[y==? x==1]\n");
    assert_ne!(verdict(&forwards, Model::MonotonicView), "invalid");
    assert_eq!(verdict(&forwards, Model::ConsistentView), "invalid");
}

/// A history in which no transaction depends on another tests nothing, whatever it is asked for: that is not Valid.
#[test]
fn nothing_passes_in_silence() {
    for text in [
        "w(1,1,0,0)\nw(2,1,1,1)\n",
        "r(1,0,0,0)\nr(2,0,1,1)\n",
        "w(1,1,0,-1)\nr(2,0,1,1)\n",
        "{:process 0 :type :info :f :txn :value [[:append x 1]]}\n",
        "[[]]",
    ] {
        let Ok(history) = formats::read(text.as_bytes(), "history", &ReadOptions::default()) else {
            continue;
        };
        let assessment = assessed(&history);
        assert_eq!(assessment.verdict(), Verdict::Unknown, "{text}");
        assert!(!assessment.reasons().is_empty(), "{text}");
    }
}

/// A model that is asked for alone is decided as it is among others: by what implies it, where it has no judge of its
/// own. (Elle knows no version orders of registers, and so nothing of most models: elle-cli#47.)
#[test]
fn a_model_that_is_asked_for_alone_is_decided() {
    // Writes that nobody read leave the orders of versions open.
    let text = "w(1,1,0,0)\nr(1,1,1,1)\nw(1,2,1,2)\nw(1,3,2,3)\nr(1,3,0,4)\nw(2,1,0,5)\nw(2,2,1,6)\nr(2,2,2,7)\n";
    let history = read(text.as_bytes());
    assert_eq!(verdict(&history, Model::Serializable), "valid");
    for &model in Model::ALL {
        if Model::StrongSessionSerializable.implied().contains(model)
            && !model.name().starts_with("strong-")
        {
            assert_eq!(verdict(&history, model), "valid", "{}", model.name());
        }
    }
}

/// Checkers that run until memory or patience ends, and then have nothing (anishathalye/porcupine#3 and #6, Elle with
/// `:linearizable-keys?` at 10,000 transactions): out of budget the answer is Unknown with its reason, and what was found
/// before stands.
#[test]
fn out_of_budget_the_answer_is_unknown_and_what_was_found_stands() {
    // Two writes of each of two keys, each read by two transactions that saw them crossed: no order follows, and each
    // that is tried is wrong.
    let text = "w(1,1,0,0)\nw(1,2,1,1)\nw(2,1,2,2)\nw(2,2,3,3)\nr(1,1,4,4)\nr(2,2,4,4)\nr(1,2,5,5)\nr(2,1,5,5)\n\
                r(1,1,6,6)\nr(2,1,6,6)\nr(1,2,7,7)\nr(2,2,7,7)\n";
    let history = read(text.as_bytes());
    let mut options = Options {
        models: ModelSet::of(Model::Serializable),
        levels: vec![weak::Level::Causal],
        search: Budget {
            conflicts: 0,
            shortcuts: false,
            ..Budget::default()
        },
        ..Options::default()
    };
    let assessment = assess(&history, &options, &mut |_| {});
    assert_eq!(assessment.troubles, []);
    assert_eq!(assessment.verdict(), Verdict::Unknown);
    let reasons = assessment.reasons();
    let of_search = |reason: &String| reason.starts_with("serializable: ");
    assert!(reasons.iter().any(of_search), "{reasons:?}");
    assert!(matches!(
        assessment.weak[..],
        [(weak::Level::Causal, weak::Verdict::Valid(_))]
    ));
    assert!(assessment.holds.contains(Model::Causal));
    options.search.conflicts = 1_000;
    let assessment = assess(&history, &options, &mut |_| {});
    assert_eq!(assessment.verdict(), Verdict::Invalid);
}

/// The longest beginning that is still well (anishathalye/porcupine#21).
#[test]
fn the_longest_valid_beginning_ends_before_the_transaction_that_went_wrong() {
    for wrong in [1, 2, 17, 29] {
        let mut text = String::new();
        for number in 0..30 {
            let seen = if number == wrong { number - 1 } else { number };
            text.push_str(&format!(
                "r(1,{seen},0,{number})\nw(1,{},0,{number})\n",
                number + 1
            ));
        }
        let history = read(text.as_bytes());
        let options = Options {
            models: ModelSet::of(Model::Serializable),
            ..Options::default()
        };
        let longest = longest_valid_prefix(&history, &options).valid;
        assert_eq!(longest, usize::try_from(wrong).unwrap());
        let prefix = assess(&history.first(longest), &options, &mut |_| {});
        assert_ne!(prefix.verdict(), Verdict::Invalid);
        let more = assess(&history.first(longest + 1), &options, &mut |_| {});
        assert_eq!(more.verdict(), Verdict::Invalid);
    }
}

/// Elle needs Graphviz and a display for its plots, and Jepsen fails where `dot` is missing (jepsen-io/jepsen#469). The
/// picture is drawn here, with nothing installed and nothing in the environment.
#[test]
fn pictures_need_no_other_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skew.txt");
    std::fs::write(&file, "r(1,0,0,0)\nw(2,1,0,0)\nr(2,0,1,1)\nw(1,1,1,1)\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    command
        .env_clear()
        .args(["--quiet", "--svg", "-"])
        .arg(&file);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let svg = String::from_utf8(output.stdout).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
}
