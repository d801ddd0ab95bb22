//! Histories of any text: parsing, judging, following and converting.

use checker::follow::{self, Follower};
use checker::formats::observe_sites;
use checker::parse::read_history;
use checker::verify::verify_at;
use checker::{Case, Level, SiteHistory, Verdict, witness};

/// Separates the sites of an input; it occurs in no history.
const SEPARATOR: u8 = 0xff;

/// Parses or refuses; what was parsed is the same after it was written and parsed again; judges without a panic; a serial
/// order or a cycle that the judge gives holds; and who follows the files says nothing else.
pub(crate) fn run(input: &[u8]) {
    let sites: Vec<_> = input
        .split(|&byte| byte == SEPARATOR)
        .take(3)
        .filter_map(|text| read_history(text, "fuzz.hist").ok())
        .collect();
    for site in &sites {
        let again = read_history(site.to_string().as_bytes(), "fuzz.hist");
        assert!(again.is_ok_and(|again| again == *site), "{site}");
    }
    let case = Case::new(&sites);
    let mut follower = follow(&sites);
    for level in Level::ALL {
        let report = case.judge(level);
        if let Verdict::Valid { serial_order } = &report.verdict {
            let verified = verify_at(&sites, level, serial_order);
            assert!(verified.is_ok(), "{level:?}: {verified:?}");
        }
        if let Some(cycle) = report.cycle() {
            assert_eq!(witness::check(&sites, cycle), Ok(()), "{level:?}");
        }
        let agree = match follower.verdict(level) {
            follow::Verdict::Valid => matches!(report.verdict, Verdict::Valid { .. }),
            follow::Verdict::Invalid { .. } => matches!(report.verdict, Verdict::Invalid { .. }),
            follow::Verdict::Unknown { .. } => true,
        };
        assert!(agree, "{level:?}: {:?}", report.verdict);
    }
    // Refused or converted; either is fine.
    drop(observe_sites(&sites));
}

/// Feeds the files to one that follows.
fn follow(sites: &[SiteHistory]) -> Follower {
    let sources: Vec<&str> = sites.iter().map(SiteHistory::source).collect();
    let mut follower = Follower::new(&sources);
    for (number, site) in sites.iter().enumerate() {
        for line in site.to_string().lines() {
            let fed = follower.feed(number, line.as_bytes());
            assert!(fed.is_ok(), "{line}: {fed:?}");
        }
        follower.close(number, b"");
    }
    follower
}

/// The checker's own cases, some that have two sites, and some with sessions and real time.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [
        "co-history 1 A\nc G1 5 1 w:x\nc G2 6 - r:x@1\nend 2\n",
        "co-history 1 A\nc G1 5 - r:x@0\nc G2 6 1 w:x\nend 2\n\u{1}co-history 1 B\nc G1 5 1 w:y\nc G2 6 - r:y@0\nend 2\n",
        "co-history 1 A\n# note\na G1 timeout\nu G2 w:x r:y@0\nc L3 7 2 i:n x:z\nc G4 8 - s:a..z@2[n@2]\nend 4\n",
        "co-history 1 A\nc G1 - 1 w:%00%ff\nc L2 9 - s:..@1[%00%ff@1]\n",
        "co-history 2 A clock-error:3\nc G1 5 1 p:s@1 t:0..9 w:x\nc L2 6 - p:s@2 t:20..30 r:x@0\nc L3 7 - t:5.. i:n\nend 3\n",
        "co-history 2 A\nc G1 5 1 p:s@1 w:x\nc G2 6 2 t:20..30 w:x\nend 2\n\u{1}co-history 2 B clock-error:1\nc G1 5 1 t:0..9 x:y\nc G2 6 - p:s@2 r:y@1\nend 2\n",
        "co-history 2 A\nc L1 5 1 p:s@2 t:50..60 w:x\nc L2 6 - p:s@1 t:0..9 r:x@1\nc L3 7 - p:s@1 t:0..9 r:x@0\nend 3\n",
    ]
    .iter()
    .map(|text| text.bytes().map(|byte| if byte == 1 { SEPARATOR } else { byte }).collect())
    .collect()
}
