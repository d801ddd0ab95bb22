//! Real time as one more site: a history that makes serializability strict.
//!
//! A transaction that has ended before another begins has to come before it in a strict order. The history of a site
//! that does not exist says just that to the checker: *ticks*, local transactions one after the other, lie between
//! the ends and the begins. A tick installs a new key that whoever begins later has read, and one for each transaction
//! that has ended since the tick before, which that one had read when it was not there. So whoever ended precedes the
//! tick, and the tick whoever begins; the histories are serializable together with this one if and only if there is a
//! serial order that real time agrees with. (The reduction of real-time order to conflicts on clock objects.)

use std::fmt::Write as _;

use co_core::Gtid;

/// When a committed transaction was at work, as its client saw it, in any unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Which.
    pub gtid: Gtid,
    /// Before its first operation.
    pub begun: u64,
    /// When its client knew that it is committed.
    pub ended: u64,
}

/// The history of the clock for these transactions. Equal moments count as overlap.
#[must_use]
pub fn clock_site(intervals: &[Interval]) -> String {
    // At one moment begins come before ends.
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (place, interval) in intervals.iter().enumerate() {
        moments.push((interval.begun, false, place));
        moments.push((interval.ended, true, place));
    }
    moments.sort_unstable();
    let mut text = String::from("co-history 1 clock\n");
    let (mut tick, mut records) = (0, 0);
    let mut ended: Vec<usize> = Vec::new();
    let mut reads = vec![String::new(); intervals.len()];
    for (_, is_end, place) in moments {
        if is_end {
            ended.push(place);
            continue;
        }
        if !ended.is_empty() {
            tick += 1;
            records += 1;
            write!(text, "c L{tick} - {tick} w:clock w:tick{tick}").expect("memory takes all");
            for gone in ended.drain(..) {
                let gtid = intervals[gone].gtid;
                write!(text, " w:end{gtid}").expect("memory takes all");
                write!(reads[gone], " r:end{gtid}@0").expect("memory takes all");
            }
            text.push('\n');
        }
        if tick > 0 {
            write!(reads[place], " r:tick{tick}@{tick}").expect("memory takes all");
        }
    }
    for (interval, reads) in intervals.iter().zip(reads) {
        records += 1;
        writeln!(text, "c G{} - -{reads}", interval.gtid.0).expect("memory takes all");
    }
    writeln!(text, "end {records}").expect("memory takes all");
    text
}

#[cfg(test)]
mod tests {
    use checker::{Level, Verdict};

    use super::*;

    fn is_strict(history: &str, intervals: &[(u64, u64, u64)]) -> bool {
        let intervals: Vec<Interval> = intervals
            .iter()
            .map(|&(gtid, begun, ended)| Interval {
                gtid: Gtid(gtid),
                begun,
                ended,
            })
            .collect();
        let clock = clock_site(&intervals);
        let site = checker::parse::read_history(history.as_bytes(), "a").unwrap();
        let alone = checker::judge(std::slice::from_ref(&site), Level::Serializability);
        assert!(matches!(alone.verdict, Verdict::Valid { .. }));
        let clock = checker::parse::read_history(clock.as_bytes(), "clock").unwrap();
        let report = checker::judge(&[site, clock], Level::Serializability);
        match report.verdict {
            Verdict::Valid { .. } => true,
            Verdict::Invalid { .. } => false,
            Verdict::Unknown { reasons, .. } => panic!("{reasons:?}"),
        }
    }

    /// G2 reads the state before G1.
    const STALE: &str = "co-history 1 A\nc G1 1 1 w:x\nc G2 2 - r:x@0\nend 2\n";
    const FRESH: &str = "co-history 1 A\nc G1 1 1 w:x\nc G2 2 - r:x@1\nend 2\n";

    #[test]
    fn a_stale_read_is_serializable_and_not_strict() {
        assert!(!is_strict(STALE, &[(1, 0, 5), (2, 6, 9)]));
        assert!(is_strict(FRESH, &[(1, 0, 5), (2, 6, 9)]));
    }

    #[test]
    fn what_overlaps_may_come_in_either_order() {
        for begun in [0, 3, 5] {
            assert!(is_strict(STALE, &[(1, 0, 5), (2, begun, 9)]));
        }
        assert!(is_strict(STALE, &[(1, 4, 5), (2, 0, 3)]));
        assert!(!is_strict(FRESH, &[(1, 4, 5), (2, 0, 3)]));
    }

    #[test]
    fn real_time_reaches_over_those_in_between() {
        let history =
            "co-history 1 A\nc G1 1 1 w:x\nc G2 2 - r:y@0\nc G3 3 - r:z@0\nc G4 4 - r:x@0\nend 4\n";
        let one_by_one = [(1, 0, 1), (2, 2, 3), (3, 4, 5), (4, 6, 7)];
        assert!(!is_strict(history, &one_by_one));
        let all_at_once = [(1, 0, 9), (2, 2, 3), (3, 4, 5), (4, 6, 7)];
        assert!(is_strict(history, &all_at_once));
    }
}
