//! What is wrong or in doubt apart from cycles: outcomes on which sites disagree, reads that
//! nothing explains, files that were cut short.

use std::collections::HashMap;

use crate::graph::{Members, stamp_at};
use crate::history::{Ending, Op, Record, SiteHistory, TxnId};
use crate::index::{ReadFault, committed};
use crate::token::Token;
use crate::verdict::{Anomaly, Doubt, MAX_SHOWN, TxnRef, UnexplainedRead};

/// What is wrong or in doubt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) anomalies: Capped<Anomaly>,
    pub(crate) doubts: Capped<Doubt>,
    /// Two histories claim one site. Their records cannot be told apart, so no anomaly is certain.
    pub(crate) site_twice: bool,
}

impl Findings {
    /// What the histories say about each other, before any operation is looked at.
    pub(crate) fn of_sites(sites: &[SiteHistory], members: &Members) -> Self {
        let mut findings = Self::default();
        findings.find_site_doubts(sites);
        compare_outcomes(sites, members, &mut findings);
        findings
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.anomalies.append(other.anomalies);
        self.doubts.append(other.doubts);
        self.site_twice |= other.site_twice;
    }

    fn find_site_doubts(&mut self, sites: &[SiteHistory]) {
        if sites.iter().all(|site| committed(site).next().is_none()) {
            self.doubts.push(Doubt::NothingToJudge);
        }
        let mut first_of = HashMap::new();
        for site in sites {
            if let Some(first) = first_of.insert(site.site(), site) {
                self.site_twice = true;
                let sources = (first.source().to_owned(), site.source().to_owned());
                self.doubts.push(Doubt::SiteTwice {
                    site: site.site().clone(),
                    sources,
                });
            }
            if site.ending() == Ending::CutShort {
                self.doubts.push(Doubt::CutShort {
                    source: site.source().to_owned(),
                });
            }
        }
    }
}

/// The first [`MAX_SHOWN`] of a list, and the length of the whole.
#[derive(Debug, Clone)]
pub(crate) struct Capped<T> {
    pub(crate) shown: Vec<T>,
    pub(crate) total: usize,
}

impl<T> Default for Capped<T> {
    fn default() -> Self {
        Self {
            shown: Vec::new(),
            total: 0,
        }
    }
}

impl<T> Capped<T> {
    /// Counts the item, and keeps it: for sorts of which there are few.
    pub(crate) fn push(&mut self, item: T) {
        self.shown.push(item);
        self.total += 1;
    }

    /// Counts the item, and keeps it if there is room.
    pub(crate) fn push_capped(&mut self, item: impl FnOnce() -> T) {
        self.total += 1;
        if self.shown.len() < MAX_SHOWN {
            self.shown.push(item());
        }
    }

    /// Counts and keeps what there is.
    pub(crate) fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.shown.extend(other.shown);
        self.total += other.total;
    }
}

/// Sorts the read faults of one site into anomalies and doubts (I10).
pub(crate) struct Faults<'a> {
    site: &'a SiteHistory,
    /// What the undecided transactions would install, by key. Look-up only.
    undecided: HashMap<&'a Token, Vec<(TxnId, &'a Op)>>,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(site: &'a SiteHistory) -> Self {
        let mut undecided: HashMap<&Token, Vec<(TxnId, &Op)>> = HashMap::new();
        for record in site.records() {
            match record {
                Record::InDoubt { txn, ops } => {
                    for (key, op) in ops.iter().filter_map(|op| Some((op.installs()?, op))) {
                        undecided.entry(key).or_default().push((*txn, op));
                    }
                }
                Record::Committed(_) | Record::Aborted { .. } => {}
            }
        }
        Self { site, undecided }
    }

    pub(crate) fn sort(&self, reader: &TxnRef, fault: ReadFault, found: &mut Findings) {
        let ReadFault { key, kind } = fault;
        let candidates = self.undecided.get(&key).map_or(&[][..], Vec::as_slice);
        let perhaps = candidates
            .iter()
            .find(|(_, op)| kind.undecided_op_explains(op));
        let perhaps = perhaps.map(|(txn, _)| TxnRef::new(*txn, self.site.site()));
        let cut_short = self.site.ending() == Ending::CutShort && kind.lost_record_explains();
        let site = self.site.site().clone();
        let read = UnexplainedRead {
            reader: reader.clone(),
            site,
            key,
            fault: kind,
        };
        if perhaps.is_some() || cut_short {
            found
                .doubts
                .push_capped(|| Doubt::UnexplainedRead { read, perhaps });
        } else {
            found
                .anomalies
                .push_capped(|| Anomaly::ImpossibleRead(read));
        }
    }
}

/// Compares what the sites say about each global transaction: its outcome and its stamp.
fn compare_outcomes(sites: &[SiteHistory], members: &Members, findings: &mut Findings) {
    let mut nodes = HashMap::new();
    for (node, name) in (0u32..).zip(&members.names) {
        nodes.insert(name, node);
    }
    let (mut torn, mut undecided) = (Capped::default(), Capped::default());
    for site in sites {
        for record in site.records() {
            let name = TxnRef::new(record.txn(), site.site());
            let Some(node) = nodes.get(&name) else {
                continue;
            };
            let committed_at = || sites[members.places(*node)[0].site].site().clone();
            match record {
                Record::Aborted { .. } => torn.push_capped(|| Anomaly::BrokenAtomicity {
                    committed_at: committed_at(),
                    aborted_at: site.site().clone(),
                    txn: name,
                }),
                Record::InDoubt { .. } => undecided.push_capped(|| Doubt::Undecided {
                    committed_at: committed_at(),
                    in_doubt_at: site.site().clone(),
                    txn: name,
                }),
                Record::Committed(_) => {}
            }
        }
    }
    findings.anomalies.append(torn);
    findings.doubts.append(undecided);
    findings
        .anomalies
        .append(stamp_disagreements(sites, members));
}

fn stamp_disagreements(sites: &[SiteHistory], members: &Members) -> Capped<Anomaly> {
    let mut disagreements = Capped::default();
    for (node, name) in (0u32..).zip(&members.names) {
        if matches!(name.id(), TxnId::Local(_)) {
            continue;
        }
        let mut known = members.places(node).iter().filter_map(|place| {
            stamp_at(sites, *place).map(|stamp| (sites[place.site].site().clone(), stamp))
        });
        let Some(first) = known.next() else { continue };
        if let Some(second) = known.find(|(_, stamp)| *stamp != first.1) {
            disagreements.push_capped(|| Anomaly::DecisionDisagreement {
                txn: name.clone(),
                first,
                second,
            });
        }
    }
    disagreements
}
