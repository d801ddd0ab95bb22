//! Hands the tapes of all sites to the checker and puts its verdict into findings.
//!
//! Three questions, each answered by the checker alone: is the union of the sites commitment ordered
//! (which includes serializable, recoverable, and atomic across sites); does the serial order that the
//! checker names replay; does the order of the decisions replay.

use std::collections::BTreeMap;

use checker::{Case, Doubt, Level, SiteHistory, Token, TxnRef, Verdict, verify};

use crate::notation::site_letter;
use crate::report::Finding;
use crate::tape::Tape;

const ORDER_ADVICE: &str = "report every undecided earlier accessor to Scheduler::edge before the later transaction is asked to vote, keep locks and marks to the decision, and make a commit visible before Scheduler::decided";

/// What the checker says.
#[derive(Default)]
pub(crate) struct Judgement {
    pub(crate) findings: Vec<Finding>,
    pub(crate) committed: usize,
    pub(crate) aborted: usize,
    pub(crate) conflicts: usize,
}

pub(crate) fn judge(tapes: &[&Tape]) -> Judgement {
    let mut judgement = Judgement::default();
    let mut sites = Vec::new();
    for tape in tapes {
        match tape.history() {
            Ok(history) => sites.push(history),
            Err(fault) => judgement.add(format!("the history is no history: {fault}")),
        }
    }
    if !judgement.findings.is_empty() {
        return judgement;
    }
    let report = Case::new(&sites).judge(Level::CommitmentOrdering);
    judgement.committed = report.statistics.committed;
    judgement.aborted = report.statistics.aborted;
    judgement.conflicts = report.statistics.edges;
    match &report.verdict {
        Verdict::Valid { serial_order } => {
            judgement.replay(&sites, "the checker's serial order", serial_order);
            judgement.replay(&sites, "the order of the decisions", &decision_order(tapes));
        }
        Verdict::Invalid { anomalies, .. } => {
            for anomaly in anomalies {
                judgement.add(anomaly.to_string());
            }
            for step in report.cycle().into_iter().flat_map(|cycle| &cycle.steps) {
                judgement.add(step.to_string());
            }
        }
        Verdict::Unknown { reasons, .. } => {
            let judged = |doubt: &&Doubt| !matches!(doubt, Doubt::NothingToJudge);
            for doubt in reasons.iter().filter(judged) {
                judgement.add(doubt.to_string());
            }
        }
    }
    judgement
}

impl Judgement {
    fn add(&mut self, what: String) {
        self.findings.push(Finding {
            what,
            advice: ORDER_ADVICE,
        });
    }

    fn replay(&mut self, sites: &[SiteHistory], name: &str, order: &[TxnRef]) {
        if let Err(error) = verify::verify(sites, order) {
            self.add(format!("{name} does not replay: {error}"));
        }
    }
}

fn decision_order(tapes: &[&Tape]) -> Vec<TxnRef> {
    let mut order = BTreeMap::new();
    for (site, tape) in tapes.iter().enumerate() {
        let name = Token::from(site_letter(site).to_string().as_str());
        for (txn, stamp) in tape.committed() {
            order.insert(stamp, TxnRef::new(txn, &name));
        }
    }
    order.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tag;
    use checker::TxnId;

    #[test]
    fn a_decision_order_against_a_conflict_is_found() {
        let mut tape = Tape::new(0);
        let (reader, writer) = (TxnId::Global(1), TxnId::Global(2));
        let key = b"x".to_vec();
        tape.note_read(reader, &key, None).unwrap();
        tape.note_write(writer, &key, Tag(1), false);
        tape.commit(writer, 1);
        tape.commit(reader, 2);
        let judgement = judge(&[&tape]);
        assert!(!judgement.findings.is_empty());
        assert!(
            judgement.findings[0]
                .what
                .contains("so G1 precedes G2. But"),
            "{}",
            judgement.findings[0].what
        );
    }

    #[test]
    fn nothing_committed_is_nothing_wrong() {
        assert!(judge(&[&Tape::new(0)]).findings.is_empty());
    }
}
