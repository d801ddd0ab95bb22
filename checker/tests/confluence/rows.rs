//! Every row of Table 2 and Table 3 against what the paper says.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use checker::spec::confluence::{About, Bounds, RowResult, Source, Verdict, table};

use super::bounds;

/// All rows, decided once for all tests.
pub(super) fn all() -> &'static [RowResult] {
    static ALL: OnceLock<Vec<RowResult>> = OnceLock::new();
    ALL.get_or_init(|| table(|about| Some(about.bounds)))
}

#[test]
fn every_row_agrees_with_the_paper_and_every_finding_contradicts_it() {
    for row in all() {
        let RowResult {
            about,
            agrees,
            result,
        } = row;
        let name = format!(
            "{} / {}: {}",
            about.invariant, about.operation, about.modelled
        );
        assert!(result.is_confluent().is_some(), "{name}: {result}");
        assert_eq!(*agrees, !about.is_finding, "{name}: {result}");
        assert_eq!(
            result.is_confluent() == Some(about.claim.is_confluent()),
            *agrees,
            "{name}"
        );
        assert_eq!(
            result.witness().is_some(),
            result.is_confluent() == Some(false),
            "{name}"
        );
    }
}

/// The rows of the paper's tables, counted by hand: 16 lines of Table 2, of which the last two are each for set, list
/// and map (and the one before the last is both CONTAINS and NOT CONTAINS), and 12 of Table 3.
#[test]
fn all_lines_of_both_tables_are_there() {
    let mut lines: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
    for row in all().iter().filter(|row| !row.about.is_finding) {
        let About {
            source,
            invariant,
            operation,
            claim,
            ..
        } = &row.about;
        let table = match source {
            Source::Table2 => "Table 2",
            Source::Table3 => "Table 3",
        };
        let line = format!("{invariant} / {operation}");
        let lines = lines.entry((table, claim.is_confluent())).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let counts: Vec<(_, usize)> = lines
        .iter()
        .map(|(key, lines)| (*key, lines.len()))
        .collect();
    let expected = [
        (("Table 2", false), 8),
        (("Table 2", true), 15),
        (("Table 3", false), 2),
        (("Table 3", true), 10),
    ];
    assert_eq!(counts, expected, "{lines:#?}");
    let sequential = &lines[&("Table 3", false)];
    assert!(sequential[0].starts_with("2. ") && sequential[1].starts_with("3. "));
}

#[test]
fn what_never_commits_is_what_the_invariant_forbids_everywhere() {
    for row in all() {
        let Verdict::Confluent { coverage } = &row.result else {
            continue;
        };
        let idle = coverage.transactions.iter().filter(|it| it.committed == 0);
        for never in idle {
            let literal = row.about.modelled.starts_with("literally");
            let is_meant = match row.about.source {
                Source::Table2 => never.refused > 0 || never.unchanged > 0,
                Source::Table3 if never.name.starts_with("Delivery") => {
                    literal && never.refused > 0
                }
                Source::Table3 => never.name.contains("item 9") && never.aborted_itself > 0,
            };
            assert!(is_meant, "{}: {never:?}", row.about.invariant);
        }
        let some = coverage.transactions.iter().filter(|it| it.committed > 0);
        assert!(some.count() > 1, "{} runs too little", row.about.invariant);
    }
}

#[test]
fn three_replicas_say_the_same_of_table_2() {
    let rows = table(|about| (about.source == Source::Table2).then_some(bounds(3, 1)));
    for row in rows {
        // Findings and lists need more than one transaction at a replica or a common step before; the others do not.
        let name = format!("{} / {}", row.about.invariant, row.about.operation);
        if !row.about.is_finding {
            assert!(row.agrees, "{name}: {}", row.result);
        }
    }
}

#[test]
fn equal_input_gives_equal_output() {
    let few = |about: &About| (about.source == Source::Table2).then_some(bounds(2, 2));
    let (first, second) = (table(few), table(few));
    let json = |rows: &[RowResult]| serde_json::to_string(rows).unwrap();
    assert_eq!(json(&first), json(&second));
    let text = |rows: &[RowResult]| -> Vec<String> {
        rows.iter().map(|row| row.result.to_string()).collect()
    };
    assert_eq!(text(&first), text(&second));
}

#[test]
fn a_row_that_is_not_asked_for_is_not_decided() {
    let one = table(|about| (about.invariant == "AUTO_INCREMENT").then_some(about.bounds));
    assert_eq!(one.len(), 1);
    assert!(table(|_| None).is_empty());
}

#[test]
fn a_row_that_is_not_searched_to_the_end_agrees_with_nothing() {
    let tiny = Bounds::new(2, 3, 1).unwrap();
    let rows = table(|_| Some(tiny));
    assert!(!rows.is_empty());
    for row in rows {
        let RowResult {
            about,
            agrees,
            result,
        } = row;
        assert!(
            matches!(result, Verdict::Unknown { .. }),
            "{}: {result}",
            about.invariant
        );
        assert!(!agrees, "{}", about.invariant);
    }
}
