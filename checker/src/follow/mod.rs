//! Judges histories while they are written, in bounded memory.
//!
//! # Method
//!
//! Commitment ordering is a property of pairs: for each conflict, the earlier transaction was decided first. A conflict
//! is between two accesses of one key at one site, so a [`Follower`] keeps for each key its last versions and the latest
//! stamps of their readers, and compares each access with them when it is fed. This is the replay of the decisions: if
//! every comparison succeeds, running the transactions one after another in the order of their stamps explains every
//! read, and the histories are both commitment ordered and serializable.
//!
//! **Nothing waits for an order of stamps.** A site may learn old decisions late, so no rule tells that a file will
//! hold no lower stamp; and none is needed, because whichever of two accesses is fed second is compared with the first.
//! What is dropped is therefore not chosen by stamps but by age: a version is dropped when so many records of its
//! site have followed it ([`Options::window`], twice over). A record that comes later than that and needs it makes the
//! verdict unknown ([`Reason::Late`]), never valid and never invalid. Scans alone wait for the window before they are
//! looked at, because what they missed can be told only when the installs before their position are there.
//!
//! **If conflicts disagree with the stamps**, commitment ordering is violated for certain. Serializability is not: then
//! the last lines of every site ([`Options::recent_bytes`]) are judged as a case of its own whose files were cut short.
//! A cycle in it is a cycle; if there is none, the verdict is that of the whole case as long as no line was dropped, and
//! unknown afterwards ([`Reason::Forgotten`]).
//!
//! A read of a version that nobody installed is certain only when the file has ended: a line to come could install it.
//!
//! Memory: entries are counted ([`Statistics::entries`]), and at [`Options::max_entries`] nothing more is looked at
//! ([`Reason::Full`]). They are the keys, the versions and scans within the window, the last global transactions,
//! and the numbers of transactions and positions that were used (64 to an entry where they are dense), because the
//! format forbids to use one twice.
//!
//! ```
//! use checker::Level;
//! use checker::follow::{Follower, Verdict};
//!
//! let mut follower = Follower::new(&["a.hist", "b.hist"]);
//! for line in ["co-history 1 A", "c G1 5 1 w:x", "c G2 6 - r:x@1", "end 2"] {
//!     follower.feed(0, line.as_bytes())?;
//! }
//! follower.feed(1, b"co-history 1 B")?;
//! follower.feed(1, b"c G1 5 - r:y@0")?;
//! assert!(matches!(follower.verdict(Level::CommitmentOrdering), Verdict::Unknown { .. }), "B has not ended");
//! follower.feed(1, b"c G2 6 1 w:y")?;
//! follower.feed(1, b"end 2")?;
//! assert_eq!(follower.verdict(Level::CommitmentOrdering), Verdict::Valid);
//! # Ok::<(), checker::ParseError>(())
//! ```

mod chain;
mod fates;
pub(crate) mod ids;
mod keys;
pub(crate) mod line;
mod recent;
mod site;
mod tail;
mod verdict;

pub use tail::{Tail, TailError};
pub use verdict::{Ground, Met, OutOfOrder, Reason, Verdict};

use std::collections::HashMap;

use crate::case::Case;
use crate::history::{Record, SiteHistory, TxnId};
use crate::parse::{self, MAX_LINE_BYTES};
use crate::parse_error::{ParseError, ParseFault};
use crate::verdict::{Anomaly, Doubt, Level, Rule, UnexplainedRead};

use fates::Fates;
use site::Site;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many records of a site a scan waits for; versions are kept twice as long.
    pub window: u64,
    /// How many global transactions are kept, to compare what sites say of them.
    pub globals: usize,
    /// How many bytes of lines are kept of each site, to search them for cycles.
    pub recent_bytes: usize,
    /// How many entries are kept at most.
    pub max_entries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 10_000,
            globals: 1 << 17,
            recent_bytes: 4 << 20,
            max_entries: 20_000_000,
        }
    }
}

/// How much was read, and how much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Histories.
    pub sites: usize,
    /// Those that have ended with a footer.
    pub ended: usize,
    /// Records.
    pub records: u64,
    /// Commit records; a global transaction counts at each of its sites.
    pub committed: u64,
    /// Operations of committed transactions.
    pub operations: u64,
    /// Keys, counted at each site.
    pub keys: usize,
    /// Everything that is kept and of a bounded size, keys included.
    pub entries: usize,
    /// Bytes of lines that are kept for a search for cycles.
    pub recent_bytes: usize,
    /// The longest list of versions of one key.
    pub longest_chain: usize,
}

/// Follows the histories of all sites. See the [module](self).
#[derive(Debug)]
pub struct Follower {
    options: Options,
    sites: Vec<Site>,
    fates: Fates,
    /// The cycle that was found, and the state in which it was last looked for.
    cycle: Option<Anomaly>,
    /// A path between global transactions that disagrees with the decisions.
    path: Option<Anomaly>,
    searched_at: Option<u64>,
    next_search: u64,
    gap: u64,
    full: bool,
}

impl Follower {
    /// Follows histories that are called so in messages, one for each site.
    #[must_use]
    pub fn new(sources: &[impl AsRef<str>]) -> Self {
        Self::with_options(sources, Options::default())
    }

    /// The same, with limits of one's own.
    #[must_use]
    pub fn with_options(sources: &[impl AsRef<str>], options: Options) -> Self {
        let site = |source: &_| Site::new(AsRef::<str>::as_ref(source).to_owned(), &options);
        Self {
            options,
            sites: sources.iter().map(site).collect(),
            fates: Fates::new(options.globals),
            cycle: None,
            path: None,
            searched_at: None,
            next_search: 0,
            gap: FIRST_GAP,
            full: false,
        }
    }

    /// Takes in the next line of a site, without its line feed; the first line is the header.
    ///
    /// # Errors
    ///
    /// Refuses what [`read_history`](crate::parse::read_history) refuses, with the name and the line. The history is
    /// then not to be fed any further.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn feed(&mut self, site: usize, line: &[u8]) -> Result<(), ParseError> {
        let at = &mut self.sites[site];
        at.lines += 1;
        let number = at.lines;
        self.take_in(site, line).map_err(|fault| ParseError {
            file: self.sites[site].source.clone(),
            line: number,
            fault,
        })
    }

    /// Takes in a record.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn feed_record(&mut self, site: usize, record: &Record) -> Result<(), ParseError> {
        self.feed(site, record.to_string().as_bytes())
    }

    /// Takes in that nothing more will come of a site, but for the rest of a last line without its line feed. This is
    /// how a file ends that was cut short; after a footer it says nothing new.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn close(&mut self, site: usize, rest: &[u8]) {
        let at = &mut self.sites[site];
        if !at.closed {
            let footer = at.name.is_some() && rest == format!("end {}", at.records).as_bytes();
            at.close(footer);
        }
    }

    fn take_in(&mut self, index: usize, line: &[u8]) -> Result<(), ParseFault> {
        if line.len() > MAX_LINE_BYTES {
            return Err(ParseFault::LineTooLong);
        }
        let site = &mut self.sites[index];
        if site.name.is_none() {
            let header = parse::header(line)?;
            site.name = Some(header.site.clone());
            site.header = Some(header);
            return Ok(());
        }
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        if site.closed {
            return Err(ParseFault::AfterFooter);
        }
        if let Some(stated) = parse::footer(line) {
            let (stated, counted) = (stated?, site.records);
            if stated != counted {
                return Err(ParseFault::FooterMismatch { stated, counted });
            }
            site.close(true);
            return Ok(());
        }
        if self.full {
            parse::record(line, site.version())?;
            site.records += 1;
            return Ok(());
        }
        let (txn, ended) = site.record(line)?;
        if site.records.is_multiple_of(1024) {
            self.full = self.entries() > self.options.max_entries;
        }
        if let TxnId::Global(id) = txn
            && self.sites.len() > 1
        {
            let sites = &self.sites;
            let others = || {
                let mut others = sites.iter().enumerate();
                others.any(|(other, site)| other != index && site.globals.contains(id))
            };
            let name = |site: usize| sites[site].site().clone();
            self.fates.tell(id, index, ended, others, name);
        }
        Ok(())
    }

    /// What is known now. Cheap, but for serializability after conflicts that disagree with the decisions.
    #[must_use]
    pub fn verdict(&mut self, level: Level) -> Verdict {
        let rule = level.rule();
        if let Some(reason) = self.site_twice() {
            return Verdict::Unknown {
                reasons: vec![reason],
            };
        }
        let (mut grounds, mut total) = (Vec::new(), 0);
        let mut reasons = Vec::new();
        let mut ground = |found: &[Anomaly], count: usize| {
            grounds.extend(found.iter().cloned().map(|found| Ground::Anomaly { found }));
            total += count;
        };
        ground(&self.fates.anomalies.shown, self.fates.anomalies.total);
        for site in &self.sites {
            let read = |read: &UnexplainedRead| Anomaly::ImpossibleRead(read.clone());
            let certain: Vec<Anomaly> = site.found.certain.shown.iter().map(read).collect();
            ground(&certain, site.found.certain.total);
            let (anomalies, doubts) = suspicions(site);
            let hidden = site.found.suspected.total - site.found.suspected.shown.len();
            let hidden = if anomalies.is_empty() { 0 } else { hidden };
            ground(&anomalies, anomalies.len() + hidden);
            reasons.extend(doubts.into_iter().map(|of| Reason::Doubt { of }));
        }
        if rule == Rule::DecisionsOfGlobals && self.disorder() > 0 {
            // Stricter than needed: one of a local transaction would do no harm.
            reasons.extend(self.unstamped());
        }
        match rule {
            Rule::Decisions => {
                for order in self.sites.iter().map(|site| &site.found.order) {
                    grounds.extend(order.shown.iter().cloned().map(Ground::OutOfOrder));
                    total += order.total;
                }
                reasons.extend(self.unstamped());
            }
            Rule::AnyOrder | Rule::DecisionsOfGlobals => {
                if total == 0 && self.disorder() > 0 {
                    self.search();
                }
                let path = self.path.clone();
                let path = path.filter(|_| rule == Rule::DecisionsOfGlobals);
                if let Some(found) = self.cycle.clone().or(path) {
                    grounds.push(Ground::Anomaly { found });
                    total += 1;
                } else if self.disorder() > 0 && self.sites.iter().any(|site| site.recent.dropped) {
                    let count = self.disorder();
                    reasons.push(Reason::Forgotten { count });
                }
            }
        }
        if total > 0 {
            return Verdict::Invalid { grounds, total };
        }
        reasons.extend(self.doubts());
        if level.clock().is_some() {
            reasons.push(Reason::WholeFiles { level });
        }
        if reasons.is_empty() {
            Verdict::Valid
        } else {
            Verdict::Unknown { reasons }
        }
    }

    /// Whether the level is known to be violated. Made to be asked often: after conflicts that disagree with the
    /// decisions it looks for cycles at growing distances only, so it may tell later than [`verdict`](Self::verdict).
    #[must_use]
    pub fn is_violated(&mut self, level: Level) -> bool {
        let found = |site: &Site| {
            site.found.certain.total > 0 || (site.closed && site.found.suspected.total > 0)
        };
        let decisions = level.rule() == Rule::Decisions;
        let ordered = !decisions || self.sites.iter().all(|site| site.found.order.total == 0);
        if self.fates.anomalies.total > 0 || self.sites.iter().any(found) || !ordered {
            return matches!(self.verdict(level), Verdict::Invalid { .. });
        }
        let records = self.records();
        if !decisions && self.disorder() > 0 && records >= self.next_search {
            self.gap = (self.gap * 2).min(MAX_GAP);
            self.next_search = records + self.gap;
            self.search();
            return matches!(self.verdict(level), Verdict::Invalid { .. });
        }
        false
    }

    /// Whether every history has ended with its footer.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.sites.iter().all(|site| site.footer)
    }

    /// Whether the history of a site has ended with its footer, or was closed.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    #[must_use]
    pub fn is_closed(&self, site: usize) -> bool {
        self.sites[site].closed
    }

    /// The highest stamp of a site so far; 0 before any. To feed files of which one is far ahead of the others, feed
    /// the one whose highest stamp is lowest.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    #[must_use]
    pub fn highest_stamp(&self, site: usize) -> u64 {
        self.sites[site].highest_stamp
    }

    /// How much was read, and how much is kept.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let sites = || self.sites.iter();
        Statistics {
            sites: self.sites.len(),
            ended: sites().filter(|site| site.footer).count(),
            records: self.records(),
            committed: sites().map(|site| site.committed).sum(),
            operations: sites().map(|site| site.operations).sum(),
            keys: sites().map(Site::key_count).sum(),
            entries: self.entries(),
            recent_bytes: sites().map(|site| site.recent.bytes()).sum(),
            longest_chain: sites().map(Site::longest_chain).max().unwrap_or_default(),
        }
    }

    fn records(&self) -> u64 {
        self.sites.iter().map(|site| site.records).sum()
    }

    fn entries(&self) -> usize {
        let sites: usize = self.sites.iter().map(Site::entries).sum();
        sites + self.fates.entries()
    }

    /// How many conflicts disagree with the decisions, or cannot be compared with them.
    fn disorder(&self) -> usize {
        let found = self.sites.iter().map(|site| &site.found);
        found.map(|found| found.order.total + found.unstamped).sum()
    }

    /// Looks for a cycle among the lines that are kept.
    fn search(&mut self) {
        let now = Some(self.records());
        if self.cycle.is_some() || self.searched_at == now {
            return;
        }
        self.searched_at = now;
        let named = self
            .sites
            .iter()
            .filter_map(|site| Some((site, site.header.as_ref()?)));
        let histories: Vec<SiteHistory> = named
            .map(|(site, header)| site.recent.history(&site.source, header, site.footer))
            .collect();
        let case = Case::new(&histories);
        let report = case.judge(Level::Serializability);
        self.cycle = report.cycle().cloned().map(Anomaly::Cycle);
        if self.path.is_none() {
            let verdict = case.judge(Level::ExtendedCommitmentOrdering).verdict;
            let found = match verdict {
                crate::Verdict::Invalid { anomalies, .. } => anomalies,
                crate::Verdict::Valid { .. } | crate::Verdict::Unknown { .. } => Vec::new(),
            };
            let is_path = |anomaly: &Anomaly| matches!(anomaly, Anomaly::PathOutOfOrder { .. });
            self.path = found.into_iter().find(is_path);
        }
    }

    fn site_twice(&self) -> Option<Reason> {
        let mut first_of = HashMap::new();
        for site in &self.sites {
            let name = site.name.as_ref()?;
            if let Some(first) = first_of.insert(name, site) {
                let sources = (first.source.clone(), site.source.clone());
                return Some(Reason::Doubt {
                    of: Doubt::SiteTwice {
                        site: name.clone(),
                        sources,
                    },
                });
            }
        }
        None
    }

    fn unstamped(&self) -> Option<Reason> {
        let found = || self.sites.iter().map(|site| &site.found);
        let txn = found().find_map(|found| found.first_unstamped.clone())?;
        let count = found().map(|found| found.unstamped).sum();
        Some(Reason::Doubt {
            of: Doubt::NoStamp { txn, count },
        })
    }

    /// Why the level cannot be said to hold, apart from reads.
    fn doubts(&self) -> Vec<Reason> {
        let mut doubts = Vec::new();
        if self.sites.iter().all(|site| site.committed == 0) {
            doubts.push(Doubt::NothingToJudge);
        }
        for site in self.sites.iter().filter(|site| !site.footer) {
            let source = site.source.clone();
            doubts.push(Doubt::CutShort { source });
        }
        doubts.extend(self.fates.doubts.shown.iter().cloned());
        let mut reasons: Vec<Reason> = doubts.into_iter().map(|of| Reason::Doubt { of }).collect();
        for site in self.sites.iter().filter(|site| site.found.late > 0) {
            reasons.push(Reason::Late {
                site: site.site().clone(),
                count: site.found.late,
            });
        }
        if self.fates.late > 0 {
            let count = self.fates.late;
            reasons.push(Reason::LateOutcomes { count });
        }
        if self.full {
            let entries = self.options.max_entries;
            reasons.push(Reason::Full { entries });
        }
        reasons
    }
}

/// The first search for cycles is repeated after so many records; each distance is twice the one before.
const FIRST_GAP: u64 = 16;
const MAX_GAP: u64 = 20_000;

/// Reads that nothing explains, sorted: anomalies only where no record can come, no undecided transaction is in question
/// and nothing was looked at too late.
fn suspicions(site: &Site) -> (Vec<Anomaly>, Vec<Doubt>) {
    let (mut anomalies, mut doubts) = (Vec::new(), Vec::new());
    for read in &site.found.suspected.shown {
        let perhaps = site.perhaps(read);
        if perhaps.is_some() || !site.footer || site.found.late > 0 || site.full {
            let read = read.clone();
            doubts.push(Doubt::UnexplainedRead { read, perhaps });
        } else {
            anomalies.push(Anomaly::ImpossibleRead(read.clone()));
        }
    }
    (anomalies, doubts)
}
