//! Histories of any text: parsing and judging.

use checker::parse::read_history;
use checker::verify::verify;
use checker::{Level, Verdict, judge};

/// Separates the sites of an input; it occurs in no history.
const SEPARATOR: u8 = 0xff;

/// Parses or refuses; judges without a panic; and a serial order that the judge gives holds.
pub(crate) fn run(input: &[u8]) {
    let sites: Vec<_> = input
        .split(|&byte| byte == SEPARATOR)
        .take(3)
        .filter_map(|text| read_history(text, "fuzz.hist").ok())
        .collect();
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = judge(&sites, level);
        if let Verdict::Valid { serial_order } = &report.verdict {
            let verified = verify(&sites, serial_order);
            assert!(verified.is_ok(), "{level:?}: {verified:?}");
        }
    }
}

/// The checker's own cases, and some that have two sites.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [
        "co-history 1 A\nc G1 5 1 w:x\nc G2 6 - r:x@1\nend 2\n",
        "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n\u{1}co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n",
        "co-history 1 A\n# note\na G1 timeout\nu G2 w:x r:y@0\nc L3 7 2 i:n x:z\nc G4 8 - s:a..z@2[n@2]\nend 4\n",
        "co-history 1 A\nc G1 - 1 w:%00%ff\nc L2 9 - s:..@1[%00%ff@1]\n",
    ]
    .iter()
    .map(|text| text.bytes().map(|byte| if byte == 1 { SEPARATOR } else { byte }).collect())
    .collect()
}
