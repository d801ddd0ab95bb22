//! Walks the corpus: every case in `corpus/valid`, `corpus/invalid` and `corpus/unknown` must get
//! the verdict of its folder, on the grounds that its comments name.
//!
//! What the reports say of all of them stands in `corpus/reports.txt`; after a wanted change run with
//! `CO_CHECK_REGENERATE=1` and read the difference.
//!
//! A case is `name.hist`, or `name.A.hist` and `name.B.hist` for two sites. Comments of the first
//! file direct the test: `# expect: <grounds> [<number>]` (for a cycle, its length; otherwise how
//! many there are; all grounds must match in order), `# level: co`, and `# per-site: valid` when
//! each site alone must be valid.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checker::parse::read_history;
use checker::verify::verify;
use checker::{Anomaly, Level, SiteHistory, Verdict, judge, judge_each};

struct Case {
    name: String,
    directives: BTreeMap<String, String>,
    sites: Vec<SiteHistory>,
}

impl Case {
    fn level(&self) -> Level {
        match self.directives.get("level").map(String::as_str) {
            Some("co") => Level::CommitmentOrdering,
            None => Level::Serializability,
            Some(other) => panic!("{}: no level {other}", self.name),
        }
    }

    fn expected(&self) -> &str {
        self.directives
            .get("expect")
            .unwrap_or_else(|| panic!("{}: no # expect", self.name))
    }
}

fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = file.split('.').next().unwrap().to_owned();
        files.entry(name).or_default().push(path);
    }
    let load = |(name, mut paths): (String, Vec<PathBuf>)| {
        paths.sort();
        let texts: Vec<String> = paths
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let directives = texts[0]
            .lines()
            .filter_map(|line| line.strip_prefix("# ")?.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let read = |(path, text): (&PathBuf, &String)| {
            let file = path.file_name().unwrap().to_str().unwrap();
            read_history(text.as_bytes(), file).unwrap()
        };
        Case {
            name,
            directives,
            sites: paths.iter().zip(&texts).map(read).collect(),
        }
    };
    files.into_iter().map(load).collect()
}

#[test]
fn valid_cases_are_valid_and_their_order_replays() {
    let cases = cases("valid");
    assert!(cases.len() >= 10, "the corpus is there");
    for case in cases {
        match judge(&case.sites, case.level()).verdict {
            Verdict::Valid { serial_order } => {
                assert_eq!(verify(&case.sites, &serial_order), Ok(()), "{}", case.name);
            }
            other => panic!("{}: {other:?}", case.name),
        }
    }
}

#[test]
fn invalid_cases_are_invalid_on_the_expected_grounds() {
    let cases = cases("invalid");
    assert!(cases.len() >= 20, "the corpus is there");
    for case in cases {
        let report = judge(&case.sites, case.level());
        let Verdict::Invalid { anomalies, total } = &report.verdict else {
            panic!("{}: {:?}", case.name, report.verdict);
        };
        let grounds = match &anomalies[0] {
            Anomaly::Cycle(cycle) => {
                assert!(cycle.shortest, "{}", case.name);
                format!("cycle {}", cycle.steps.len())
            }
            Anomaly::ImpossibleRead(_) => format!("impossible-read {total}"),
            Anomaly::BrokenAtomicity { .. } => format!("broken-atomicity {total}"),
            Anomaly::DecisionDisagreement { .. } => format!("decision-disagreement {total}"),
            Anomaly::OutOfOrder { conflicts, .. } => format!("out-of-order {conflicts}"),
            other => panic!("{}: {other}", case.name),
        };
        assert_eq!(grounds, case.expected(), "{}: {anomalies:#?}", case.name);
        if case.level() == Level::CommitmentOrdering {
            let weaker = judge(&case.sites, Level::Serializability).verdict;
            assert!(
                matches!(weaker, Verdict::Valid { .. }),
                "{} is serializable",
                case.name
            );
        }
    }
}

#[test]
fn unknown_cases_are_unknown_for_the_expected_reasons() {
    let cases = cases("unknown");
    assert!(cases.len() >= 8, "the corpus is there");
    for case in cases {
        let report = judge(&case.sites, case.level());
        let Verdict::Unknown { reasons, .. } = &report.verdict else {
            panic!("{}: {:?}", case.name, report.verdict);
        };
        let json = report.to_json();
        let names: Vec<String> = json["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["reason"].as_str().unwrap().replace('_', "-"))
            .collect();
        assert_eq!(names.len(), reasons.len());
        assert_eq!(names.join(" "), case.expected(), "{}", case.name);
    }
}

#[test]
fn sites_that_are_said_to_be_valid_alone_are() {
    let mut seen = 0;
    for case in ["invalid", "unknown"].into_iter().flat_map(cases) {
        if case.directives.get("per-site").map(String::as_str) == Some("valid") {
            for report in judge_each(&case.sites, case.level()) {
                let alone = &report.verdict;
                assert!(
                    matches!(alone, Verdict::Valid { .. }),
                    "{}: {alone:?}",
                    case.name
                );
            }
            seen += 1;
        }
    }
    assert!(
        seen >= 8,
        "the corpus shows the gap between each site and all sites"
    );
}

/// All that a report says of a case, one line for each thing.
fn words(case: &Case) -> String {
    let report = judge(&case.sites, case.level());
    let mut lines = vec![format!("=== {}", case.name)];
    match &report.verdict {
        Verdict::Valid { serial_order } => {
            let order: Vec<String> = serial_order.iter().map(ToString::to_string).collect();
            lines.push(format!("valid: {}", order.join(", ")));
        }
        Verdict::Invalid { anomalies, .. } => {
            lines.extend(anomalies.iter().map(|it| it.to_string()))
        }
        Verdict::Unknown { reasons, .. } => lines.extend(reasons.iter().map(|it| it.to_string())),
    }
    if let Some(cycle) = report.cycle() {
        lines.extend(cycle.steps.iter().map(|it| it.to_string()));
        lines.push(format!(
            "groups {}, entangled {}",
            cycle.groups, cycle.entangled
        ));
    }
    lines.push(format!("{:?}", report.statistics));
    lines.join("\n") + "\n\n"
}

/// The sentences name the operations behind each conflict: whoever reads them must be able to believe them.
#[test]
fn every_report_says_what_it_said() {
    let mut said = String::new();
    for case in ["valid", "invalid", "unknown"].into_iter().flat_map(cases) {
        said += &words(&case);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/reports.txt");
    if std::env::var_os("CO_CHECK_REGENERATE").is_some() {
        fs::write(&path, &said).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap();
    let mut lines = said.lines().zip(before.lines());
    if let Some((now, then)) = lines.find(|(now, then)| now != then) {
        panic!("expected {then:?}, got {now:?}");
    }
    assert_eq!(said.len(), before.len());
}

#[test]
fn every_case_survives_a_round_trip_through_text() {
    for case in ["valid", "invalid", "unknown"].into_iter().flat_map(cases) {
        for site in case.sites {
            let again = read_history(site.to_string().as_bytes(), site.source()).unwrap();
            assert_eq!(again, site, "{}", case.name);
        }
    }
}
