//! Objects, graphs, queries, carts, classical problems, editing: witnesses, symmetries, threads.

use checker::spec::Options;
use checker::spec::diagram::{Diagram, Kind};
use checker::spec::rows::{Finding, Question, Row, rows};

/// The rows that are not monotone, and the smallest histories that show it: what happened before, a bar, and what follows.
const WITNESSES: &[(&str, &str)] = &[
    (
        "collaborative-text",
        "keyboard: type x \u{2192} ok | editor: type y \u{2192} ok",
    ),
    (
        "datalog-with-negation",
        "n3: edge(a, b) \u{2192} ok, n3: edge(b, c) \u{2192} ok | n3: edge(c, a) \u{2192} ok",
    ),
    ("reset-counter", "r: up \u{2192} ok | r: reset \u{2192} ok"),
    // The reason that the paper gives: a merge came first where the read is delivered.
    (
        "crdt-reads",
        "q: add(eggs) \u{2192} ok, r: read \u{2192} {}, r sends | q receives",
    ),
    (
        "crdt-reads-of-now",
        "r: read \u{2192} {} | q: add(eggs) \u{2192} ok",
    ),
    (
        "lww-reads",
        "q: write(eggs) \u{2192} ok, r: read \u{2192} {}, r sends | q receives",
    ),
    ("consensus", "q: members {q}, q: vote(cat) | p: members {p}"),
    (
        "atomic-snapshot",
        "q: update \u{2192} ok, q: scan \u{2192} [0, 1] | p: scan \u{2192} [0, 0]",
    ),
    // The three processes of lemma 3.
    (
        "k-set-agreement",
        "q: propose(cat) \u{2192} cat, r: propose(cow) \u{2192} cow | p: propose(dog) \u{2192} dog",
    ),
    (
        "strong-renaming",
        "r: take a name \u{2192} 1 | q: take a name \u{2192} 1",
    ),
    (
        "consensus-authority",
        "r: claim authority \u{2192} authority 1 | q: claim authority \u{2192} authority 1",
    ),
    (
        "garbage-collection",
        "m1: declare \u{2192} {O1, O2, O3, O4} | m1: root \u{2192} O1",
    ),
    (
        "cart-with-checkout",
        "q: checkout \u{2192} {} | p: add(eggs) \u{2192} ok",
    ),
];

/// The rows that this file is about.
fn all() -> Vec<Row> {
    let mut all = rows();
    let first = all.iter().position(|row| row.id == "collaborative-text");
    let rest = all.split_off(first.expect("they begin with the editor"));
    assert!(
        rest.iter().any(|row| row.id == "cart-with-manifest"),
        "and end with the carts"
    );
    rest
}

fn said(diagram: &Diagram) -> String {
    let say = |later: bool| {
        let marks = diagram.events.iter().filter(|mark| mark.later == later);
        let said = marks.map(|mark| {
            let lane = &diagram.lanes[mark.lane].name;
            match mark.kind {
                Kind::Send => format!("{lane} sends"),
                Kind::Receive => format!("{lane} receives"),
                Kind::Invoke | Kind::Respond | Kind::Call | Kind::Internal => {
                    format!("{lane}: {}", mark.label)
                }
            }
        });
        said.collect::<Vec<_>>().join(", ")
    };
    format!("{} | {}", say(false), say(true))
}

#[test]
fn witnesses_are_those_of_the_papers_or_smaller() {
    let mut found = Vec::new();
    let listed = |row: &Row| WITNESSES.iter().any(|(id, _)| *id == row.id);
    for row in all().into_iter().filter(listed) {
        for finding in row.judge(&Options::default()) {
            if let (Question::Monotone, Some(witness)) = (finding.question, &finding.witness) {
                found.push((row.id, said(witness)));
            }
        }
    }
    let expected: Vec<(&str, String)> = WITNESSES
        .iter()
        .map(|(id, said)| (*id, (*said).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

fn judged(row: &Row, threads: usize, symmetry: bool) -> Vec<Finding> {
    let options = Options {
        events: Some(7),
        threads,
        symmetry,
        progress: None,
    };
    row.judge(&options).collect()
}

#[test]
fn verdicts_depend_neither_on_symmetry_nor_on_threads() {
    for row in all() {
        let plain = judged(&row, 1, true);
        let asymmetric = judged(&row, 1, false);
        let shared = judged(&row, 3, true);
        for (plain, (asymmetric, shared)) in plain.iter().zip(asymmetric.iter().zip(&shared)) {
            let which = format!("{}: {}", row.id, plain.question);
            assert_eq!(plain.holds, asymmetric.holds, "{which}");
            assert_eq!(plain.holds, shared.holds, "{which}");
            assert_eq!(plain.witness, shared.witness, "{which}");
            let size =
                |finding: &Finding| finding.witness.as_ref().map(|witness| witness.events.len());
            assert_eq!(size(plain), size(asymmetric), "{which}");
            if plain.holds == Some(true) {
                // A renaming that is none would lose histories or count some twice.
                assert_eq!(
                    plain.examined.copies, asymmetric.examined.histories,
                    "{which}"
                );
                assert_eq!(
                    plain.examined.histories, shared.examined.histories,
                    "{which}"
                );
                assert!(plain.examined.copies > 100, "{which} on {}", plain.examined);
            }
        }
    }
}
