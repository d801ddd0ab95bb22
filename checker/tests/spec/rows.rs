//! Every row of the register has the verdict that its source claims, or is listed here as a finding.

use checker::spec::Options;
use checker::spec::rows::{FINDINGS, rows};

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

/// Rounds that a row needs, and whether that was looked for and found.
#[test]
fn what_is_monotone_needs_one_round_and_the_cascade_of_the_essay_two() {
    for row in rows() {
        let Some(sequence) = row.sequence(&Options::default()) else {
            continue;
        };
        println!(
            "{:28} {} rounds  {}",
            row.id, sequence.rounds, sequence.examined
        );
        println!("{:#?}", sequence.history);
        let expected = match row.id {
            "causal-register" | "causal-fifo" => 1,
            "read-uncommitted" | "read-committed" | "monotonic-reads" | "read-your-writes" => 1,
            _ => 2,
        };
        assert_eq!(sequence.rounds, expected, "{}", row.id);
    }
}
