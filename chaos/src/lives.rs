//! One history of a site out of the files of its lives, and the verdict on all of them.
//!
//! A site writes each line of its history with one write, and only when its log holds what the line says. A
//! process that is killed therefore leaves whole lines but for the last, and never one that the next life takes
//! back; what its log held and its file does not is told by the next life, which replays the log. So the lines
//! of all lives together are the history, each commit from the first life that tells of it: that one knows its
//! reads as well.
//!
//! Invariants, which [`merge`] demands:
//! - M1 The positions of all commits are 1, 2, 3 and so on: none is lost, none is given twice.
//! - M2 Lives that tell of the same commit agree on its name, its stamp and its position.
//! - M3 Nothing is committed in one life and aborted in another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use checker::parse::read_history;
use checker::{
    Committed, Ending, HistoryBuilder, Level, Record, Report, Seq, SiteHistory, Token, TxnId,
    Verdict, judge,
};

/// The file that a life of a site writes; the first life is 1.
#[must_use]
pub fn file(folder: &Path, site: &str, life: u64) -> PathBuf {
    folder.join(format!("{site}.{life}.hist"))
}

/// Local transactions are numbered anew in each life, and those that are restored without a name downwards from
/// the largest number.
const LIFE: u64 = 1 << 40;

/// What one life tells.
#[derive(Debug)]
pub struct Life {
    records: Vec<Record>,
    /// It has ended by itself, and told everything.
    complete: bool,
}

/// Reads what a life has told. A life that was killed before it wrote anything has told nothing.
///
/// # Errors
/// If the file is no history.
pub fn read(folder: &Path, site: &str, life: u64) -> Result<Life> {
    let path = file(folder, site, life);
    let absent = Life {
        records: Vec::new(),
        complete: false,
    };
    let Ok(opened) = File::open(&path) else {
        return Ok(absent);
    };
    let text = std::io::read_to_string(BufReader::new(opened))?;
    if !text.contains('\n') {
        return Ok(absent);
    }
    let history = read_history(text.as_bytes(), &path.display().to_string());
    let history = history.with_context(|| format!("the history {}", path.display()))?;
    Ok(Life {
        complete: history.ending() == Ending::Footer,
        records: history.records().to_vec(),
    })
}

#[derive(Default)]
struct Merging {
    commits: BTreeMap<u64, Committed>,
    names: BTreeMap<TxnId, u64>,
    readers: BTreeMap<TxnId, Committed>,
    aborted: BTreeMap<TxnId, Token>,
    in_doubt: BTreeSet<TxnId>,
}

/// Merges the lives of a site, of which the last has ended by itself.
///
/// # Errors
/// If M1, M2 or M3 does not hold, or the last life did not end by itself, or left somebody in doubt.
pub fn merge(site: &str, lives: &[Life]) -> Result<SiteHistory> {
    let last = lives.last().context("a site without a life")?;
    ensure!(
        last.complete,
        "the last life of site {site} has not told everything"
    );
    let mut merging = Merging::default();
    for (number, life) in (0..).zip(lives) {
        for record in &life.records {
            merging
                .take(number, record)
                .with_context(|| format!("site {site}, life {}", number + 1))?;
        }
    }
    merging.finish(site)
}

impl Merging {
    fn take(&mut self, life: u64, record: &Record) -> Result<()> {
        match record {
            Record::Committed(committed) => self.committed(life, committed),
            Record::Aborted { txn, reason } => {
                let txn = named(*txn, life);
                self.in_doubt.remove(&txn);
                self.aborted.entry(txn).or_insert_with(|| reason.clone());
                Ok(())
            }
            Record::InDoubt { txn, .. } => {
                self.in_doubt.insert(named(*txn, life));
                Ok(())
            }
        }
    }

    fn committed(&mut self, life: u64, committed: &Committed) -> Result<()> {
        let mut committed = committed.clone();
        committed.txn = named(committed.txn, life);
        let txn = committed.txn;
        self.in_doubt.remove(&txn);
        let Some(Seq(seq)) = committed.seq else {
            self.readers.entry(txn).or_insert(committed);
            return Ok(());
        };
        if let Some(before) = self.commits.get(&seq) {
            let same_name = before.txn == txn || is_restored(txn) || is_restored(before.txn);
            ensure!(
                same_name && before.stamp == committed.stamp,
                "M2: position {seq} is that of {} at {:?}, and now of {txn} at {:?}",
                before.txn,
                before.stamp,
                committed.stamp
            );
            return Ok(());
        }
        let elsewhere = self.names.insert(txn, seq);
        ensure!(
            elsewhere.is_none(),
            "M2: {txn} is at position {seq}, and was at {elsewhere:?}"
        );
        self.commits.insert(seq, committed);
        Ok(())
    }

    fn finish(self, site: &str) -> Result<SiteHistory> {
        for (expected, seq) in (1..).zip(self.commits.keys()) {
            ensure!(
                expected == *seq,
                "M1: no life of site {site} tells of position {expected}, and {seq} is there"
            );
        }
        ensure!(
            self.in_doubt.is_empty(),
            "site {site} has left in doubt: {:?}",
            self.in_doubt
        );
        let mut builder = HistoryBuilder::new(site, Token::from(site));
        let readers = self.readers.into_values();
        let readers = readers.filter(|reader| !self.names.contains_key(&reader.txn));
        let commits = self.commits.into_values().chain(readers);
        for committed in commits {
            ensure!(
                !self.aborted.contains_key(&committed.txn),
                "M3: {} is committed in one life of site {site} and aborted in another",
                committed.txn
            );
            builder.push(Record::Committed(committed))?;
        }
        for (txn, reason) in self.aborted {
            builder.push(Record::Aborted { txn, reason })?;
        }
        Ok(builder.finish(Ending::Footer))
    }
}

const fn is_restored(txn: TxnId) -> bool {
    matches!(txn, TxnId::Local(number) if number > u64::MAX - LIFE)
}

const fn named(txn: TxnId, life: u64) -> TxnId {
    match txn {
        TxnId::Local(number) if !is_restored(txn) => TxnId::Local(life * LIFE + number),
        TxnId::Local(_) | TxnId::Global(_) => txn,
    }
}

/// Has the checker judge the histories of all sites: serializable, and commitment ordered.
///
/// # Errors
/// What is wrong, in the checker's words.
pub fn verdict(histories: &[SiteHistory]) -> Result<Report> {
    let mut last = None;
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = judge(histories, level);
        ensure!(
            matches!(report.verdict, Verdict::Valid { .. }),
            "the histories are not {level:?}: {}",
            explained(&report)
        );
        last = Some(report);
    }
    last.context("no level was judged")
}

/// A verdict that is not Valid, in words.
#[must_use]
pub fn explained(report: &Report) -> String {
    report.cycle().map_or_else(
        || format!("{:?}", report.verdict),
        |cycle| {
            let steps: Vec<String> = cycle.steps.iter().map(ToString::to_string).collect();
            steps.join(" ")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(text: &str) -> Life {
        let history = read_history(text.as_bytes(), "life").unwrap();
        Life {
            complete: history.ending() == Ending::Footer,
            records: history.records().to_vec(),
        }
    }

    fn wrong(lives: &[&str]) -> String {
        let lives: Vec<Life> = lives.iter().map(|text| life(text)).collect();
        format!("{:#}", merge("A", &lives).unwrap_err())
    }

    #[test]
    fn a_life_goes_on_where_the_one_before_was_killed() {
        let lives = [
            life(
                "co-history 1 A\nc G1 5 1 r:x@0 w:x\nc L1 6 - r:x@1\na G2 Cycle\nc L2 7 2 w:y\nc G3 8 3 w:z",
            ),
            life(
                "co-history 1 A\nc G1 5 1 w:x\nc L18446744073709551613 7 2 w:y\nc G3 8 3 w:z\nc L1 9 4 w:x\nend 4\n",
            ),
        ];
        let merged = merge("A", &lives).unwrap();
        let names: Vec<TxnId> = merged.records().iter().map(Record::txn).collect();
        let expected = [
            TxnId::Global(1),
            TxnId::Local(2),
            TxnId::Global(3),
            TxnId::Local(LIFE + 1),
            TxnId::Local(1),
            TxnId::Global(2),
        ];
        assert_eq!(names, expected);
        let Record::Committed(first) = &merged.records()[0] else {
            panic!("a commit");
        };
        assert_eq!(first.ops.len(), 2, "the first life knows the reads");
        verdict(&[merged]).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let one = "co-history 1 A\nc G1 5 1 w:x\n";
        assert!(wrong(&[one, "co-history 1 A\nc G2 5 1 w:x\nend 1\n"]).contains("M2"));
        assert!(wrong(&[one, "co-history 1 A\nc G1 6 1 w:x\nend 1\n"]).contains("M2"));
        assert!(wrong(&[one, "co-history 1 A\nc G1 5 2 w:x\nend 1\n"]).contains("M2"));
        assert!(wrong(&[one, "co-history 1 A\nc G2 5 3 w:x\nend 1\n"]).contains("M1"));
        assert!(wrong(&[one, "co-history 1 A\na G1 Cycle\nend 1\n"]).contains("M3"));
        assert!(wrong(&[one]).contains("not told everything"));
        assert!(wrong(&[one, "co-history 1 A\nu G4 w:x\nend 1\n"]).contains("in doubt"));
    }
}
