//! The versions of every key of one site, in order, and what each read of the site saw of them.
//!
//! Both the graph and the re-check of a serial order are built on [`SiteIndex::sights`], which
//! turns point reads and scans (including the keys that a scan did *not* find) into one form: *the
//! reader saw the first `seen` versions of this key*.
//!
//! - **I4** `keys` is sorted and holds every key that a committed transaction names.
//! - **I5** The versions of one key are contiguous in `versions` and ascend by position.
//! - **I6** A sight is only produced for a version that some committed transaction installed, or
//!   for the initial state; everything else becomes a [`ReadFault`].
//!
//! Not here: edges, and anything that spans sites.

use std::collections::HashMap;

use crate::history::{Committed, Op, Record, Scan, Seq, SiteHistory};
use crate::token::Token;

/// What an install does to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Install {
    /// Gives it a value.
    Write,
    /// Leaves a tombstone.
    Delete,
    /// Adds to it, in any order with other increments.
    Increment,
}

/// One version of one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    /// The installer's position.
    pub(crate) seq: Seq,
    /// The installer's record at this site.
    pub(crate) record: usize,
    /// What the install did.
    pub(crate) how: Install,
    /// The place (counted from 1) of the last version up to and including this one that is not an
    /// increment; 0 when there is none.
    pub(crate) base: usize,
}

/// How a reader came to see a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look<'a> {
    /// By a point read.
    Point,
    /// By a scan that returned the key.
    Found(&'a Scan),
    /// By a scan that covers the key and did not return it.
    Missed(&'a Scan),
}

/// The reader saw the first `seen` versions of `key`, and no later one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) key: usize,
    pub(crate) seen: usize,
    pub(crate) look: Look<'a>,
}

/// A read that no order of the recorded installs explains.
#[derive(Debug, Clone)]
pub(crate) struct ReadFault {
    pub(crate) key: Token,
    pub(crate) kind: FaultKind,
}

/// Why it is not explained. Positions name versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// No committed transaction installed the version that was read.
    NeverInstalled {
        /// The version that was read.
        version: Seq,
    },
    /// The transaction read the version that it installed itself only later.
    OwnFuture {
        /// The transaction's own position.
        version: Seq,
    },
    /// A scan returned a key outside its range.
    OutsideRange,
    /// A scan returned a key twice.
    Repeated,
    /// A scan returned another version than the latest one at its position.
    NotLatest {
        /// The version that was returned.
        version: Seq,
        /// The latest version at the scan's position.
        latest: Seq,
        /// The scan's position.
        pos: Seq,
    },
    /// A scan returned a key that was deleted at its position.
    Deleted {
        /// The tombstone.
        version: Seq,
        /// The scan's position.
        pos: Seq,
    },
    /// A scan missed a key that was present at its position.
    NotReturned {
        /// The version that it should have returned.
        version: Seq,
        /// The scan's position.
        pos: Seq,
    },
}

impl FaultKind {
    /// Whether a record that the file lacks could explain the read.
    pub(crate) const fn lost_record_explains(self) -> bool {
        matches!(self, Self::NeverInstalled { .. } | Self::NotReturned { .. })
    }

    /// Whether this operation of an undecided transaction, on the same key, could explain it.
    pub(crate) const fn undecided_op_explains(self, op: &Op) -> bool {
        match self {
            Self::NeverInstalled { .. } => op.installs().is_some(),
            Self::NotReturned { .. } => matches!(op, Op::Delete { .. }),
            Self::OwnFuture { .. }
            | Self::OutsideRange
            | Self::Repeated
            | Self::NotLatest { .. }
            | Self::Deleted { .. } => false,
        }
    }
}

/// The keys and versions of one site.
#[derive(Debug)]
pub(crate) struct SiteIndex<'a> {
    site: &'a SiteHistory,
    /// I4.
    keys: Vec<&'a Token>,
    /// Look-up only: never iterated, so its order reaches no output.
    ids: HashMap<&'a Token, usize>,
    /// `starts[k]..starts[k + 1]` are the versions of key `k` in `versions`.
    starts: Vec<usize>,
    /// I5.
    versions: Vec<Version>,
    /// Keys that some scan returned in their initial version: they existed from the start.
    initially_present: Vec<bool>,
}

impl<'a> SiteIndex<'a> {
    pub(crate) fn new(site: &'a SiteHistory) -> Self {
        let keys = sorted_keys(site);
        let ids: HashMap<&Token, usize> = keys
            .iter()
            .enumerate()
            .map(|(id, &key)| (key, id))
            .collect();
        let mut keyed = Vec::new();
        let mut initially_present = vec![false; keys.len()];
        for (record, committed) in committed(site) {
            for (key, how) in net_installs(committed) {
                let seq = committed.seq.expect("I2: an installer has a position");
                keyed.push((
                    ids[key],
                    Version {
                        seq,
                        record,
                        how,
                        base: 0,
                    },
                ));
            }
            for (key, version) in committed.ops.iter().flat_map(returned) {
                initially_present[ids[key]] |= *version == Seq::INITIAL;
            }
        }
        keyed.sort_unstable_by_key(|(key, version)| (*key, version.seq));
        let mut starts = Vec::with_capacity(keys.len() + 1);
        let mut versions: Vec<Version> = Vec::with_capacity(keyed.len());
        let mut last_base = 0;
        for (key, mut version) in keyed {
            while starts.len() <= key {
                starts.push(versions.len());
                last_base = 0;
            }
            if version.how != Install::Increment {
                last_base = versions.len() + 1 - starts[key];
            }
            version.base = last_base;
            versions.push(version);
        }
        starts.resize(keys.len() + 1, versions.len());
        Self {
            site,
            keys,
            ids,
            starts,
            versions,
            initially_present,
        }
    }

    pub(crate) const fn site(&self) -> &'a SiteHistory {
        self.site
    }

    pub(crate) const fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, key: usize) -> &'a Token {
        self.keys[key]
    }

    /// The versions of a key, ascending.
    pub(crate) fn versions(&self, key: usize) -> &[Version] {
        &self.versions[self.range(key)]
    }

    /// Where the versions of a key lie in the site's list of all versions.
    pub(crate) fn range(&self, key: usize) -> std::ops::Range<usize> {
        self.starts[key]..self.starts[key + 1]
    }

    pub(crate) const fn version_count(&self) -> usize {
        self.versions.len()
    }

    /// The keys that a committed transaction installed, each once, with its place (counted from 1)
    /// among the versions of the key.
    pub(crate) fn installs(
        &self,
        committed: &'a Committed,
    ) -> impl Iterator<Item = (usize, usize)> + '_ {
        net_installs(committed).into_iter().map(|(key, _)| {
            let seq = committed.seq.expect("I2: an installer has a position");
            let key = self.ids[key];
            (key, self.seen_up_to(key, seq))
        })
    }

    /// What a committed transaction saw, and which of its reads nothing explains.
    pub(crate) fn sights(&self, record: usize, committed: &'a Committed) -> Sights<'a> {
        let mut sights = Sights::default();
        for (place, op) in committed.ops.iter().enumerate() {
            match op {
                Op::Read { key, version } => {
                    let own = committed.seq == Some(*version) && installs_key(committed, key);
                    if own
                        && !committed.ops[..place]
                            .iter()
                            .any(|op| op.installs() == Some(key))
                    {
                        sights.fault(key, FaultKind::OwnFuture { version: *version });
                    } else if !(own && self.is_own_value(key, *version)) {
                        self.point_read(key, *version, &mut sights);
                    }
                }
                Op::Scan(scan) => self.scan(scan, record, &mut sights),
                Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => {}
            }
        }
        sights
    }

    fn point_read(&self, key: &'a Token, version: Seq, sights: &mut Sights<'a>) {
        let id = self.ids[key];
        if self.is_installed(id, version) {
            let seen = self.seen_up_to(id, version);
            sights.seen.push(Sight {
                key: id,
                seen,
                look: Look::Point,
            });
        } else {
            sights.fault(key, FaultKind::NeverInstalled { version });
        }
    }

    /// Whether the version is a value or a tombstone. To read back one's own says nothing about
    /// others, unlike one's own increment, which adds to what others installed.
    fn is_own_value(&self, key: &Token, version: Seq) -> bool {
        let versions = self.versions(self.ids[key]);
        let place = versions.binary_search_by_key(&version, |version| version.seq);
        place.is_ok_and(|place| versions[place].how != Install::Increment)
    }

    /// Walks the keys of the range beside what the scan returned, both ascending.
    fn scan(&self, scan: &'a Scan, record: usize, sights: &mut Sights<'a>) {
        let mut found: Vec<&(Token, Seq)> = scan.found.iter().collect();
        found.sort_unstable();
        for pair in found.windows(2) {
            if pair[0].0 == pair[1].0 {
                sights.fault(&pair[1].0, FaultKind::Repeated);
            }
        }
        found.dedup_by(|later, kept| later.0 == kept.0);
        for (key, _) in found.iter().filter(|(key, _)| !scan.covers(key)) {
            sights.fault(key, FaultKind::OutsideRange);
        }
        let mut found = found
            .into_iter()
            .filter(|(key, _)| scan.covers(key))
            .peekable();
        let first = self.keys.partition_point(|&key| *key < scan.lo);
        for id in first..self.keys.len() {
            let key = self.keys[id];
            if !scan.covers(key) {
                break;
            }
            let returned = found
                .next_if(|(found, _)| found == key)
                .map(|(_, version)| *version);
            self.scanned_key(scan, id, record, returned, sights);
        }
        assert!(
            found.next().is_none(),
            "I4: every returned key is in the index"
        );
    }

    fn scanned_key(
        &self,
        scan: &'a Scan,
        key: usize,
        record: usize,
        returned: Option<Seq>,
        sights: &mut Sights<'a>,
    ) {
        let versions = self.versions(key);
        let mut seen = self.seen_up_to(key, scan.pos);
        // The transaction's own installs are not part of what a scan records.
        if seen > 0 && versions[seen - 1].record == record {
            seen -= 1;
        }
        let latest = if seen == 0 {
            Seq::INITIAL
        } else {
            versions[seen - 1].seq
        };
        let present = match seen.checked_sub(1) {
            Some(last) => versions[last].how != Install::Delete,
            None => self.initially_present[key],
        };
        let pos = scan.pos;
        let fault = match returned {
            Some(version) if !self.is_installed(key, version) => {
                FaultKind::NeverInstalled { version }
            }
            Some(version) if version != latest => FaultKind::NotLatest {
                version,
                latest,
                pos,
            },
            Some(version) if !present => FaultKind::Deleted { version, pos },
            None if present => FaultKind::NotReturned {
                version: latest,
                pos,
            },
            Some(_) => {
                return sights.seen.push(Sight {
                    key,
                    seen,
                    look: Look::Found(scan),
                });
            }
            None => {
                return sights.seen.push(Sight {
                    key,
                    seen,
                    look: Look::Missed(scan),
                });
            }
        };
        sights.fault(self.keys[key], fault);
    }

    /// How many versions of the key lie at or before the position.
    fn seen_up_to(&self, key: usize, pos: Seq) -> usize {
        self.versions(key)
            .partition_point(|version| version.seq <= pos)
    }

    fn is_installed(&self, key: usize, version: Seq) -> bool {
        version == Seq::INITIAL
            || self
                .versions(key)
                .binary_search_by_key(&version, |version| version.seq)
                .is_ok()
    }
}

/// What one transaction saw at one site.
#[derive(Debug, Default)]
pub(crate) struct Sights<'a> {
    /// I6.
    pub(crate) seen: Vec<Sight<'a>>,
    pub(crate) faults: Vec<ReadFault>,
}

impl Sights<'_> {
    fn fault(&mut self, key: &Token, kind: FaultKind) {
        self.faults.push(ReadFault {
            key: key.clone(),
            kind,
        });
    }
}

/// The committed records of a site, each with its place in the file.
pub(crate) fn committed(site: &SiteHistory) -> impl Iterator<Item = (usize, &Committed)> {
    site.records()
        .iter()
        .enumerate()
        .filter_map(|(place, record)| match record {
            Record::Committed(committed) => Some((place, committed)),
            Record::Aborted { .. } | Record::InDoubt { .. } => None,
        })
}

/// The net effect of a transaction on each key that it installed: increments alone stay an
/// increment; otherwise the last write or delete counts, and an increment after it gives a value.
fn net_installs(committed: &Committed) -> Vec<(&Token, Install)> {
    let mut effects: Vec<(&Token, Install)> = Vec::new();
    for op in &committed.ops {
        let (key, how) = match op {
            Op::Write { key } => (key, Install::Write),
            Op::Delete { key } => (key, Install::Delete),
            Op::Increment { key } => (key, Install::Increment),
            Op::Read { .. } | Op::Scan(_) => continue,
        };
        effects.push((key, how));
    }
    // Stable, so the effects on one key stay in execution order.
    effects.sort_by_key(|(key, _)| *key);
    effects.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = match (kept.1, later.1) {
                (_, Install::Write | Install::Delete) => later.1,
                (Install::Increment, Install::Increment) => Install::Increment,
                (Install::Write | Install::Delete, Install::Increment) => Install::Write,
            };
        }
        same
    });
    effects
}

fn installs_key(committed: &Committed, key: &Token) -> bool {
    committed.ops.iter().any(|op| op.installs() == Some(key))
}

fn returned(op: &Op) -> &[(Token, Seq)] {
    match op {
        Op::Scan(scan) => &scan.found,
        Op::Read { .. } | Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => &[],
    }
}

fn sorted_keys(site: &SiteHistory) -> Vec<&Token> {
    let mut keys: Vec<&Token> = Vec::new();
    for (_, committed) in committed(site) {
        for op in &committed.ops {
            match op {
                Op::Read { key, .. }
                | Op::Write { key }
                | Op::Delete { key }
                | Op::Increment { key } => keys.push(key),
                Op::Scan(scan) => keys.extend(scan.found.iter().map(|(key, _)| key)),
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}
