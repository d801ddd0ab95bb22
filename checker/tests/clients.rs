//! Sessions and real time in the histories of sites: how they are read, what is doubted, what is found and how it is
//! called.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::process::Command;

use checker::parse::read_history;
use checker::{
    Case, Client, Doubt, Level, ParseFault, RealTime, RecordFault, SiteHistory, Turn, Verdict,
    judge, verify,
};

fn site(text: &str) -> SiteHistory {
    read_history(text.as_bytes(), "a.hist").unwrap()
}

/// A site's file of these records.
fn file(name: &str, lines: &[&str]) -> SiteHistory {
    let records: String = lines.iter().map(|line| format!("{line}\n")).collect();
    site(&format!(
        "co-history 2 {name}\n{records}end {}\n",
        lines.len()
    ))
}

#[test]
fn what_is_told_of_clients_is_read_and_written() {
    let text = "co-history 2 A clock-error:250\nc G1 5 1 p:web%201@7 t:100..200 w:x\nc L2 - - t:300..\na G3 late\n\
                c L4 6 2 p:web%201@8 w:x\nc L5 7 - r:x@2\nu G6 w:x\nend 6\n";
    let history = site(text);
    assert_eq!(history.to_string(), text);
    assert_eq!(history.clock_error(), 250);
    let turn = |position| {
        Some(Turn {
            session: "web 1".into(),
            position,
        })
    };
    let time = |from, to| Some(RealTime { from, to });
    let clients: Vec<Option<&Client>> = (0..6).map(|record| history.client(record)).collect();
    let known = [
        Client {
            turn: turn(7),
            time: time(100, Some(200)),
        },
        Client {
            turn: None,
            time: time(300, None),
        },
        Client {
            turn: turn(8),
            time: None,
        },
    ];
    assert_eq!(
        clients,
        [
            Some(&known[0]),
            Some(&known[1]),
            None,
            Some(&known[2]),
            None,
            None
        ]
    );
    // What says nothing of clients is written as ever.
    assert_eq!(
        site("co-history 2 A\nc G1 5 1 w:x\nend 1\n").to_string(),
        "co-history 1 A\nc G1 5 1 w:x\nend 1\n"
    );
}

/// Files, the line of their fault, and what is said of it.
const MALFORMED: &[(&str, u64, &str)] = &[
    (
        "co-history 3 A\n",
        1,
        "format version `3`, and this program reads versions 1 and 2",
    ),
    (
        "co-history 1 A clock-error:5\n",
        1,
        "`clock-error:5` follows the last field",
    ),
    (
        "co-history 2 A clock-error:\n",
        1,
        "`` is not a bound of clock error in nanoseconds",
    ),
    ("co-history 2 A clock-error:-1\n", 1, "`-1` is not a bound"),
    (
        "co-history 2 A clock-error:1 more\n",
        1,
        "`more` follows the last field",
    ),
    (
        "co-history 1 A\nc G1 5 - p:s@1\n",
        2,
        "in files that begin with `co-history 2`",
    ),
    (
        "co-history 2 A\nc G1 5 - r:x@0 p:s@1\n",
        2,
        "`p:s@1` stands where an operation should be",
    ),
    (
        "co-history 2 A\nc G1 5 - t:1..2 p:s@1\n",
        2,
        "`p:s@1` stands where",
    ),
    (
        "co-history 2 A\nc G1 5 - p:s@1 p:s@1\n",
        2,
        "`p:s@1` stands where",
    ),
    (
        "co-history 2 A\n\nc G1 5 - p:s\n",
        3,
        "expected `p:<session>@<position>`",
    ),
    (
        "co-history 2 A\nc G1 5 - p:@1\n",
        2,
        "where the name of a session should be",
    ),
    (
        "co-history 2 A\nc G1 5 - p:s@-\n",
        2,
        "`-` is not a position in a session",
    ),
    (
        "co-history 2 A\nc G1 5 - p:s.t@1\n",
        2,
        "`s.t` is not an escaped token",
    ),
    (
        "co-history 2 A\nc G1 5 - t:5\n",
        2,
        "expected `t:<from>..<to>`",
    ),
    ("co-history 2 A\nc G1 5 - t:5..4\n", 2, "with from <= to"),
    (
        "co-history 2 A\nc G1 5 - t:..4\n",
        2,
        "`` is not a time in nanoseconds",
    ),
    (
        "co-history 2 A\nc G1 5 - t:1..18446744073709551616\n",
        2,
        "is not a time in nanoseconds",
    ),
    ("co-history 2 A\nu G1 p:s@1\n", 2, "`p:s@1` stands where"),
];

#[test]
fn what_is_malformed_is_refused_with_its_line() {
    for &(text, line, words) in MALFORMED {
        let error = read_history(text.as_bytes(), "a.hist").unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
    let misplaced = read_history("co-history 1 A\nc G1 5 - t:1..2\n".as_bytes(), "a").unwrap_err();
    assert!(matches!(misplaced.fault, ParseFault::MisplacedField { .. }));
    let mut builder = checker::HistoryBuilder::new("made", "A".into());
    let committed = checker::Committed {
        txn: checker::TxnId::Local(1),
        stamp: None,
        seq: None,
        ops: vec![],
    };
    let client = Client {
        turn: None,
        time: Some(RealTime {
            from: 2,
            to: Some(1),
        }),
    };
    let refused = builder.push_of(committed, client).unwrap_err();
    assert_eq!(
        refused,
        RecordFault::ToldBeforeAsked {
            txn: checker::TxnId::Local(1)
        }
    );
    assert_eq!(builder.record_count(), 0);
}

/// Names of anomalies, and records: `<` and `>` are the two ends of what real time or a session orders; who has `=` overlaps
/// with all.
const PLANTED: &[(&str, &[&str])] = &[
    ("G0", &["c L1 1 2 < w:x", "c L2 2 1 > w:x"]),
    ("G1c", &["c L1 1 - < r:x@1", "c L2 2 1 > w:x"]),
    ("G-single-item", &["c L1 1 1 < w:x", "c L2 2 - > r:x@0"]),
    ("G-single", &["c L1 1 1 < w:x", "c L2 2 - > s:a..z@0[]"]),
    (
        "G2-item",
        &["c L1 1 - > r:x@0", "c L2 2 1 = w:x r:y@0", "c L3 3 2 < w:y"],
    ),
    (
        "G2",
        &[
            "c L1 1 - > r:x@0",
            "c L2 2 1 = w:x s:y..z@0[]",
            "c L3 3 2 < w:y",
        ],
    ),
    (
        "G-nonadjacent-item",
        &[
            "c L1 1 - > r:x@0",
            "c L2 2 1 = w:x w:z",
            "c L3 3 - = r:z@1 r:y@0",
            "c L4 4 2 < w:y",
        ],
    ),
    (
        "G-nonadjacent",
        &[
            "c L1 1 - > r:x@0",
            "c L2 2 1 = w:x w:z",
            "c L3 3 - = r:z@1 s:y..yy@0[]",
            "c L4 4 2 < w:y",
        ],
    ),
];

/// Each anomaly as the only one of its case, and as real time or a session shows it.
#[test]
fn planted_anomalies_are_found_and_called_by_their_names() {
    for &(name, lines) in PLANTED {
        for (ending, first, second) in [
            ("realtime", "t:0..10", "t:20..30"),
            ("process", "p:s@1", "p:s@2"),
        ] {
            let told = |(place, line): (usize, &&str)| {
                let alone = if ending == "realtime" {
                    "t:0..99".to_owned()
                } else {
                    format!("p:alone{place}@1")
                };
                line.replace('<', first)
                    .replace('>', second)
                    .replace('=', &alone)
            };
            let lines: Vec<String> = lines.iter().enumerate().map(told).collect();
            let sites = [file(
                "A",
                &lines.iter().map(String::as_str).collect::<Vec<_>>(),
            )];
            let case = Case::new(&sites);
            let found: Vec<&str> = case
                .named()
                .found
                .iter()
                .map(|found| found.name.name())
                .collect();
            assert_eq!(found, [format!("{name}-{ending}")]);
            assert!(matches!(
                case.judge(Level::Serializability).verdict,
                Verdict::Valid { .. }
            ));
            let report = case.judge(case.strongest_told());
            let cycle = report.cycle().unwrap();
            assert!(
                cycle.class.to_string().contains(ending),
                "{name}: {}",
                cycle.class
            );
        }
    }
}

#[test]
fn each_step_has_a_sentence_and_pictures_have_it_too() {
    let sites = [site(
        "co-history 2 A clock-error:7\nc L1 1 1 p:s@3 t:0..10 w:x\nc L2 2 - p:u@1 t:20..30 r:x@0\n\
         c L3 3 - p:s@9 t:20..30 r:x@0\nend 3\n",
    )];
    let case = Case::new(&sites);
    let sentences = |level| -> Vec<String> {
        let report = case.judge(level);
        report
            .cycle()
            .unwrap()
            .steps
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let stale = "read \"x\" in its initial state, and L1@A then installed a newer version (seq 1)";
    assert_eq!(
        sentences(Level::StrongSessionSerializability),
        [
            "In session s, L1@A is at position 3 and L3@A at position 9: so L1@A precedes L3@A."
                .to_owned(),
            format!("At site A, L3@A {stale}: so L3@A precedes L1@A."),
        ]
    );
    let named = case.named();
    let real = named
        .found
        .iter()
        .find(|found| found.name.name() == "G-single-item-realtime");
    // What a session shows already is not said again.
    assert_eq!(real, None);
    let sites = [file(
        "A",
        &["c L1 1 1 t:0..10 w:x", "c L2 2 - t:20..30 r:x@0"],
    )];
    let report = judge(&sites, Level::StrictSerializability);
    let steps = &report.cycle().unwrap().steps;
    assert_eq!(
        steps[0].to_string(),
        "The client of L1@A was told at 10 ns, and L2@A was asked for at 20 ns, 10 ns later: so L1@A precedes L2@A."
    );
    let dot = checker::dot::to_dot(steps);
    assert!(
        dot.contains("[label=\"real time\", tooltip=\"The client of L1@A was told"),
        "{dot}"
    );
    let svg = checker::svg::Drawing::of_steps("stale", steps).to_svg();
    assert!(
        svg.contains("real time") && svg.contains("was told at 10 ns"),
        "{svg}"
    );
    let json = report.to_json();
    assert_eq!(json["anomalies"][0]["class"], "G-single-realtime");
    assert_eq!(
        json["anomalies"][0]["steps"][0]["reason"]["conflict"],
        "realtime"
    );
}

#[test]
fn only_what_is_further_apart_than_the_clocks_is_ordered() {
    let strict = |error: &str| {
        let sites = [site(&format!(
            "co-history 2 A{error}\nc L1 1 1 t:0..10 w:x\nc L2 2 - t:20..30 r:x@0\nend 2\n"
        ))];
        match judge(&sites, Level::StrictSerializability).verdict {
            Verdict::Valid { .. } => false,
            Verdict::Invalid { .. } => true,
            Verdict::Unknown { reasons, .. } => panic!("{reasons:?}"),
        }
    };
    assert!(strict("") && strict(" clock-error:9"));
    assert!(!strict(" clock-error:10") && !strict(" clock-error:18446744073709551615"));
    // Who was never told precedes nobody.
    let sites = [file(
        "A",
        &["c L1 1 1 t:0.. w:x", "c L2 2 - t:20..30 r:x@0"],
    )];
    assert!(matches!(
        judge(&sites, Level::StrictSerializability).verdict,
        Verdict::Valid { .. }
    ));
}

fn reasons(sites: &[SiteHistory], level: Level) -> Vec<Doubt> {
    match judge(sites, level).verdict {
        Verdict::Unknown { reasons, .. } => reasons,
        other @ (Verdict::Valid { .. } | Verdict::Invalid { .. }) => panic!("{level}: {other:?}"),
    }
}

#[test]
fn what_is_not_told_or_contradicts_itself_is_unknown() {
    use Level::{StrictSerializability as Strict, StrongSessionSerializability as Session};
    let some = [file(
        "A",
        &[
            "c L1 1 1 p:s@1 t:0..10 w:x",
            "c L2 2 - r:x@1",
            "c L3 3 - r:x@1",
        ],
    )];
    assert!(matches!(
        reasons(&some, Session)[..],
        [Doubt::NoSession { count: 2, .. }]
    ));
    assert!(matches!(
        reasons(&some, Strict)[..],
        [Doubt::NoRealTime { count: 2, .. }]
    ));
    assert_eq!(Case::new(&some).strongest_told(), Level::Serializability);

    let twice = [file("A", &["c L1 1 1 p:s@1 w:x", "c L2 2 - p:s@1 r:x@0"])];
    assert!(matches!(
        reasons(&twice, Session)[..],
        [Doubt::TurnTwice { .. }]
    ));

    let other = [
        file("A", &["c G1 1 1 p:s@1 w:x"]),
        file("B", &["c G1 1 1 p:s@2 w:x"]),
    ];
    assert!(matches!(
        reasons(&other, Session)[..],
        [Doubt::SessionDisagreement { .. }]
    ));

    // Told before the one was asked for that comes first in the session: nothing is taken from either.
    let back = [file(
        "A",
        &[
            "c L1 1 1 p:s@1 t:50..60 w:x",
            "c L2 2 - p:s@2 t:0..10 r:x@0",
        ],
    )];
    assert!(matches!(
        reasons(&back, Session)[..],
        [Doubt::SessionAgainstTime { .. }]
    ));
    assert!(matches!(
        reasons(&back, Strict)[..],
        [Doubt::SessionAgainstTime { .. }]
    ));
    // A cycle of conflicts is certain all the same.
    let cycle = [file(
        "A",
        &[
            "c L1 1 1 p:s@1 t:50..60 r:y@2 w:x",
            "c L2 2 2 p:s@2 t:0..10 r:x@1 w:y",
        ],
    )];
    assert!(matches!(
        judge(&cycle, Strict).verdict,
        Verdict::Invalid { .. }
    ));
    for doubt in [&some, &twice, &back]
        .iter()
        .flat_map(|sites| reasons(&sites[..], Session))
    {
        assert!(doubt.to_string().ends_with('.'), "{doubt}");
    }
}

/// A site whose end is missing may have told that the client waited for longer.
#[test]
fn a_global_transaction_is_not_ordered_while_a_site_may_tell_more_of_its_time() {
    let a = file("A", &["c G1 1 1 t:0..10 w:x", "c L2 2 - t:20..30 r:x@0"]);
    let strict = |b: &str| judge(&[a.clone(), site(b)], Level::StrictSerializability).verdict;
    let whole = "co-history 2 B\nc L9 1 - t:0..1\nend 1\n";
    assert!(matches!(strict(whole), Verdict::Invalid { .. }));
    assert!(matches!(
        strict(whole.strip_suffix("end 1\n").unwrap()),
        Verdict::Unknown { .. }
    ));
    assert!(matches!(
        strict("co-history 2 B\nu G1 w:x\nend 1\n"),
        Verdict::Unknown { .. }
    ));
    // It has told: the hull reaches beyond the beginning of the other, or does not.
    assert!(matches!(
        strict("co-history 2 B\nc G1 1 1 t:5..25 w:x\nend 1\n"),
        Verdict::Valid { .. }
    ));
    assert!(matches!(
        strict("co-history 2 B\nc G1 1 1 t:5..15 w:x\n"),
        Verdict::Invalid { .. }
    ));
}

/// The pairs that real time orders here are 1,800 millions: only what is linear in the transactions ends.
#[test]
fn real_time_takes_linear_space() {
    let line = |txn: u64| {
        let (session, from) = (txn % 9, 3 * txn);
        format!(
            "c L{txn} {txn} {txn} p:s{session}@{txn} t:{from}..{} w:k{txn}",
            from + 40
        )
    };
    let lines: Vec<String> = (1..=60_000).map(line).collect();
    let sites = [file(
        "A",
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    )];
    let case = Case::new(&sites);
    for level in Level::ALL {
        let Verdict::Valid { serial_order } = case.judge(level).verdict else {
            panic!("{level}")
        };
        assert_eq!(verify::verify_at(&sites, level, &serial_order), Ok(()));
    }
}

fn co_check(folder: &tempfile::TempDir, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    let output = command
        .current_dir(folder.path())
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code())
}

#[test]
fn the_command_asks_for_the_strongest_that_the_files_tell() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &[&str]| {
        std::fs::write(folder.path().join(name), file("A", lines).to_string()).unwrap();
    };
    write(
        "time.hist",
        &[
            "c L1 1 1 p:s@1 t:0..10 w:x",
            "c L2 2 - p:u@1 t:20..30 r:x@0",
        ],
    );
    write(
        "session.hist",
        &["c L1 1 1 p:s@1 w:x", "c L2 2 - p:u@1 r:x@0"],
    );
    write("plain.hist", &["c L1 1 1 w:x", "c L2 2 - r:x@1"]);
    let first = |arguments: &[&str]| {
        let (said, status) = co_check(&folder, arguments);
        (said.split(':').next().unwrap().to_owned(), status)
    };
    let is = |said: &str, status| (said.to_owned(), Some(status));
    assert_eq!(
        first(&["time.hist"]),
        is("INVALID strict serializability", 1)
    );
    assert_eq!(
        first(&["history", "time.hist"]),
        is("INVALID strict serializability", 1)
    );
    assert_eq!(
        first(&["history", "session.hist"]),
        is("VALID strong session serializability", 0)
    );
    assert_eq!(
        first(&["history", "plain.hist"]),
        is("VALID serializability", 0)
    );
    assert_eq!(
        first(&["time.hist", "--level", "serializable"]),
        is("VALID serializability", 0)
    );
    assert_eq!(
        first(&["plain.hist", "--level", "strict-serializable"]),
        is("UNKNOWN strict serializability", 2)
    );
    let (said, status) = co_check(&folder, &["plain.hist", "--level", "causal"]);
    assert!(
        status == Some(2) && said.contains("`strict-serializable`"),
        "{said}"
    );
    let (said, _) = co_check(&folder, &["time.hist", "--quiet", "--svg", "-"]);
    assert!(
        said.contains("<svg") && said.contains("real time"),
        "{said}"
    );
}

/// Several levels are judged each for itself.
#[test]
fn decisions_against_a_session_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let back = ["c L1 2 1 p:s@1 w:x", "c L2 1 - p:s@2 r:y@0"];
    std::fs::write(
        folder.path().join("back.hist"),
        file("A", &back).to_string(),
    )
    .unwrap();
    let (said, _) = co_check(
        &folder,
        &["back.hist", "--level", "co", "--level", "session-co"],
    );
    assert!(said.starts_with("VALID commitment ordering"), "{said}");
    assert!(
        said.contains("\nINVALID session commitment ordering"),
        "{said}"
    );
    assert!(
        flat(&said).contains("so L1@A precedes L2@A. But L1@A was decided at 2 and L2@A at 1."),
        "{said}"
    );
}

/// A text without its line breaks.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What can be known of recoverability is told in words, too.
#[test]
fn the_command_tells_which_classes_of_schedules_hold() {
    let folder = tempfile::tempdir().unwrap();
    let said = |lines: &[&str]| {
        std::fs::write(folder.path().join("a.hist"), file("A", lines).to_string()).unwrap();
        flat(&co_check(&folder, &["history", "a.hist"]).0)
    };
    let plain = said(&["c L1 1 1 w:x", "c L2 2 - r:x@1"]);
    assert!(
        plain.contains(
            "Schedules are recoverable. Not known whether cascadeless, strict, rigorous: the files do not tell when \
             reads and writes took place."
        ),
        "{plain}"
    );
    let early = said(&["c L1 2 1 w:x", "c L2 1 - r:x@1"]);
    let not = "Not recoverable, cascadeless, strict, rigorous: L1@A precedes L2@A and was not decided before it.";
    assert!(early.contains(not), "{early}");
}

/// The orders of sessions and of real time survive, and nothing is made up.
#[test]
fn a_case_becomes_what_its_clients_observed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let a = "co-history 2 A\nc L5 9 3 p:s@3 t:50..60 r:x@1 w:x r:x@3 w:x\nc G1 5 1 p:s@1 t:10..20 w:x\na L2 late\n\
             c L3 6 - t:25.. r:x@1\nend 4\n";
    write("a.hist", a);
    write(
        "b.hist",
        "co-history 2 B\nc G1 5 4 t:15..22 x:x r:y@0\nc L1 8 - p:s@2 r:x@4\nend 2\n",
    );
    let expected = "co-observed 1\nc 0 10..22 w:x@A=1 r:y@B=~ w:x@B=4\na - -\nc - 25.. r:x@A=1\nc 0 - r:x@B=4\n";
    let (said, status) = co_check(&folder, &["convert", "a.hist", "--also", "b.hist", "-"]);
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    // The session is in order, wherever the files have its transactions.
    assert_eq!(
        lines[0..2].join("\n") + "\n",
        expected[..expected.find("a - -").unwrap()]
    );
    let session: Vec<&&str> = lines
        .iter()
        .filter(|line| line.starts_with("c 0 "))
        .collect();
    assert_eq!(
        session,
        [
            &"c 0 10..22 w:x@A=1 r:y@B=~ w:x@B=4",
            &"c 0 - r:x@B=4",
            &"c 0 50..60 r:x@A=1 w:x@A=3"
        ]
    );
    assert!(
        lines.contains(&"a - -") && lines.contains(&"c - 25.. r:x@A=1") && lines.contains(&"end 5"),
        "{said}"
    );
    assert!(
        said.contains("does not hold the orders of versions and of decisions"),
        "{said}"
    );

    let refused = |text: &str, words: &str| {
        write("c.hist", text);
        let (said, status) = co_check(&folder, &["convert", "c.hist", "c.native"]);
        assert!(status == Some(2) && said.contains(words), "{said}");
        assert!(
            !folder.path().join("c.native").exists(),
            "nothing is written"
        );
    };
    refused(
        "co-history 1 C\nc L1 1 1 i:n\nend 1\n",
        "at site C, L1@C has the operation `i:n`",
    );
    refused(
        "co-history 1 C\nc L1 1 - s:a..b@0[]\nend 1\n",
        "L1@C has the operation `s:a..b@0[]`",
    );
    refused("co-history 1 C\nc L1 1 1 w:x\n", "was cut short");
    refused(
        "co-history 1 C\nu L1 w:x\nend 1\n",
        "at site C, L1@C is in doubt",
    );
    refused(
        "co-history 2 C\nc L1 1 - p:s@1\nc L2 2 - p:s@1\nend 2\n",
        "another transaction has its place",
    );
    let (said, status) = co_check(&folder, &["convert", "a.hist", "--also", "a.hist"]);
    assert!(
        status == Some(2) && said.contains("two files claim"),
        "{said}"
    );
}

/// Times too large for the other format, or of clocks that are not exact, become numbers that order the same pairs.
#[test]
fn large_times_and_clock_errors_keep_their_order() {
    let sites = [site(
        "co-history 2 A clock-error:10\nc L1 1 - t:9000000000..9000000010 r:x@0\nc L2 2 - t:9000000020..9000000021 r:x@0\n\
         c L3 3 - t:9000000022..9000000040 r:x@0\nc L4 4 - t:18446744073709551615.. r:x@0\nend 4\n",
    )];
    let history = checker::formats::observe_sites(&sites).unwrap();
    let intervals: Vec<_> = history
        .txns()
        .iter()
        .map(|txn| txn.interval.unwrap())
        .collect();
    let ordered: Vec<(usize, usize)> = (0..4)
        .flat_map(|one| (0..4).map(move |other| (one, other)))
        .filter(|(one, other)| intervals[*one].end < intervals[*other].begin)
        .collect();
    assert_eq!(ordered, [(0, 2), (0, 3), (1, 3), (2, 3)]);
}
