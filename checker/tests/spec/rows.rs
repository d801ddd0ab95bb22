//! Every row of the register has the verdict that its source claims, or is listed here as a finding.

use checker::spec::Options;
use checker::spec::rows::{FINDINGS, Question, rows};

#[test]
fn every_claim_of_the_papers_is_reproduced_or_is_a_known_finding() {
    let mut found = Vec::new();
    for row in rows() {
        for finding in row.judge(&Options::default()) {
            println!(
                "{:28} {:22} claim {:?} found {:?}  {} in {:.2} s ({:.0}/s and core)",
                row.id,
                finding.question.to_string(),
                finding.claim,
                finding.holds,
                finding.examined,
                finding.examined.seconds,
                finding.examined.per_second_and_core()
            );
            if let Some(witness) = &finding.witness {
                println!("{witness:#?}");
            }
            if finding.contradicts() {
                found.push((row.id, finding.question));
            }
        }
    }
    assert_eq!(found, FINDINGS);
}

/// How many commitments must follow each other, of what is not monotone.
const NEEDED: &[(&str, usize)] = &[
    ("linearizable-register", 2),
    ("serializability", 2),
    ("snapshot-isolation-invariant", 2),
    ("cascade", 2),
    ("fifo", 2),
    ("atomic-snapshot", 2),
    ("k-set-agreement", 2),
    ("strong-renaming", 3),
    ("consensus-authority", 3),
    // It waits for news, not for answers.
    ("garbage-collection", 1),
];

/// Rounds that a row needs, and whether that was looked for and found.
#[test]
fn what_is_monotone_needs_one_round_and_the_cascade_of_the_essay_two() {
    let mut needed = Vec::new();
    for row in rows() {
        let Some(sequence) = row.sequence(&Options::default()) else {
            continue;
        };
        println!(
            "{:28} {} rounds  {}",
            row.id, sequence.rounds, sequence.examined
        );
        println!("{:#?}", sequence.history);
        let asked = row
            .judges()
            .find(|(question, _)| *question == Question::Monotone);
        let (_, judge) = asked.expect("what is counted is asked whether it is monotone");
        if judge(&Options::default()).holds == Some(true) {
            assert_eq!(sequence.rounds, 1, "{}", row.id);
            continue;
        }
        needed.push((row.id, sequence.rounds));
    }
    assert_eq!(needed, NEEDED);
}
