//! One history of a site out of the histories of its lives.
//!
//! A life that ends in a crash may have numbered versions that its log lost: their transactions are in doubt
//! again, are decided again, and may get other numbers. So versions are named by who installed them, and
//! numbered as the last life does. Reads are renamed with them; scans over several lives become reads of
//! every key in their range.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use checker::{
    Committed, Ending, HistoryBuilder, Op, Record, Scan, Seq, SiteHistory, Token, TxnId,
};
use co_core::{Gtid, Stamp};
use coco::protocol::Decision;
use participant::site::SiteRecord;
use participant::{Change, Recorder, TxnName};

use super::workload::all_keys;

/// The stamp of each vote of one life.
pub(crate) type Stamps = Arc<Mutex<BTreeMap<TxnName, Stamp>>>;

/// Who installed a version: the records of local transactions have a stamp and no name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Installer {
    Global(Gtid),
    Local(Stamp),
}

/// What a life finds installed before it does anything, by version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    installs: BTreeMap<u64, Install>,
}

/// One version: whose it is, and which keys it installs or deletes.
#[derive(Clone, Debug)]
struct Install {
    by: Installer,
    keys: Vec<(Vec<u8>, bool)>,
}

impl Replay {
    /// What the log says, by the meaning of its records alone, apart from the code that replays them. What a
    /// checkpoint has cut off, the life before knows: it was durable then, so its numbers stand.
    ///
    /// # Errors
    /// A version that nobody has installed.
    pub(crate) fn of(records: &[Vec<u8>], before: Option<&LifeHistory>) -> Result<Self, String> {
        let mut prepared = BTreeMap::new();
        let mut replay = Self::default();
        // The first version of which the log can tell; all before it are cut off.
        let mut first = None;
        let mut named = BTreeMap::new();
        for bytes in records {
            let (by, changes, ordinal) = match SiteRecord::decode(bytes) {
                Ok(SiteRecord::Prepared {
                    gtid, prepared: it, ..
                }) => {
                    prepared.insert(gtid, it.changes);
                    continue;
                }
                Ok(SiteRecord::Checkpoint { ordinal, .. }) => {
                    first.get_or_insert(ordinal + 1);
                    continue;
                }
                Ok(SiteRecord::Decision {
                    gtid,
                    decision: Decision::Commit { .. },
                    ordinal,
                }) => (Installer::Global(gtid), prepared.remove(&gtid), ordinal),
                Ok(SiteRecord::OnePhase {
                    gtid,
                    changes,
                    ordinal,
                    ..
                }) => (Installer::Global(gtid), Some(changes), ordinal),
                Ok(
                    SiteRecord::Local {
                        stamp,
                        changes,
                        ordinal,
                    }
                    | SiteRecord::NamedLocal {
                        stamp,
                        changes,
                        ordinal,
                        ..
                    },
                ) => (Installer::Local(stamp), Some(changes), ordinal),
                // Nobody writes markers any more.
                Ok(
                    SiteRecord::Life { .. }
                    | SiteRecord::Decision { .. }
                    | SiteRecord::Applied { .. }
                    | SiteRecord::ByHand { .. }
                    | SiteRecord::ByHandState(_),
                )
                | Err(_) => continue,
            };
            if ordinal == 0 {
                continue;
            }
            first.get_or_insert(ordinal);
            match changes {
                Some(changes) => replay.install(ordinal, by, &changes),
                // Its vote is cut off.
                None => drop(named.insert(ordinal, by)),
            }
        }
        let cut = 1..first.unwrap_or(1);
        if !cut.is_empty() || !named.is_empty() {
            replay.recall(cut, named, before)?;
        }
        let numbered = replay.installs.keys().copied().eq(1..=replay.newest());
        if !numbered {
            return Err("the log leaves out a version".to_owned());
        }
        Ok(replay)
    }

    /// Takes from the life before what the log does not tell any more: these versions, and what these versions of
    /// known installers are.
    fn recall(
        &mut self,
        cut: Range<u64>,
        named: BTreeMap<u64, Installer>,
        before: Option<&LifeHistory>,
    ) -> Result<(), String> {
        let before = before.ok_or("the log of a first life is cut")?;
        let known = before.installs(before.records.as_ref().map_err(Clone::clone)?);
        for version in cut.chain(named.keys().copied()) {
            let Some(install) = known.get(&version) else {
                return Err(format!("version {version} was cut off and nobody knows it"));
            };
            if named.get(&version).is_some_and(|by| *by != install.by) {
                return Err(format!(
                    "version {version} was {:?} before its vote was cut off, and is {:?}",
                    install.by, named[&version]
                ));
            }
            self.installs.insert(version, install.clone());
        }
        Ok(())
    }

    fn newest(&self) -> u64 {
        let last = self.installs.last_key_value();
        last.map_or(0, |(version, _)| *version)
    }

    fn install(&mut self, version: u64, by: Installer, changes: &[Change]) {
        let keys = changes.iter().map(|change| {
            let deletes = matches!(change, Change::Delete(_));
            (change.key().to_vec(), deletes)
        });
        let keys = keys.collect();
        self.installs.insert(version, Install { by, keys });
    }
}

/// One life.
pub(crate) struct LifeHistory {
    records: Result<Vec<Record>, String>,
    stamps: BTreeMap<TxnName, Stamp>,
    replay: Replay,
}

impl LifeHistory {
    pub(crate) fn new(recorder: &Recorder, stamps: &Stamps, replay: Replay) -> Self {
        let finished = recorder.finish();
        let text = recorder.text().unwrap_or_default();
        let records = match finished {
            Ok(()) => checker::parse::read_history(text.as_bytes(), "life")
                .map(|history| history.records().to_vec())
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            records,
            stamps: stamps.clone(),
            replay,
        }
    }

    fn installer(&self, txn: TxnId, stamp: Option<checker::Stamp>) -> Option<Installer> {
        match txn {
            TxnId::Global(gtid) => Some(Installer::Global(Gtid(gtid))),
            TxnId::Local(number) => {
                let voted = self.stamps.get(&TxnName::Local(number)).copied();
                let stamp = stamp.map(|stamp| Stamp(stamp.0)).or(voted);
                stamp.map(Installer::Local)
            }
        }
    }

    /// What each version of this life is.
    fn installs(&self, records: &[Record]) -> BTreeMap<u64, Install> {
        let mut installs = self.replay.installs.clone();
        for record in records {
            if let Record::Committed(committed) = record
                && let Some(seq) = committed.seq
                && !is_restored(committed.txn)
                && let Some(by) = self.installer(committed.txn, committed.stamp)
            {
                let keys = committed.ops.iter().filter_map(|op| {
                    let key = op.installs()?.as_bytes().to_vec();
                    Some((key, matches!(op, Op::Delete { .. })))
                });
                let keys = keys.collect();
                installs.insert(seq.0, Install { by, keys });
            }
        }
        installs
    }

    fn versions(&self, records: &[Record]) -> Versions {
        let mut versions = Versions::default();
        for (seq, install) in self.installs(records) {
            versions.installers.insert(seq, install.by);
            for (key, deletes) in install.keys {
                versions.keys.entry(key).or_default().insert(seq, deletes);
            }
        }
        versions
    }
}

/// Restored transactions have numbers from the largest downwards.
const fn is_restored(txn: TxnId) -> bool {
    matches!(txn, TxnId::Local(number) if number > u64::MAX - (1 << 40))
}

#[derive(Default)]
struct Versions {
    installers: BTreeMap<u64, Installer>,
    /// By key and version: whether it deletes.
    keys: BTreeMap<Vec<u8>, BTreeMap<u64, bool>>,
}

impl Versions {
    fn latest(&self, key: &[u8], position: u64) -> Option<(u64, bool)> {
        let versions = self.keys.get(key)?;
        let (seq, deletes) = versions.range(..=position).next_back()?;
        Some((*seq, *deletes))
    }
}

/// A site's whole history.
pub(crate) struct Merged {
    pub(crate) history: SiteHistory,
    /// Who installed the versions, oldest first; locals by their names where those are known.
    pub(crate) order: Vec<TxnName>,
    pub(crate) committed: BTreeSet<TxnName>,
}

/// What is known of a transaction over all lives.
#[derive(Default)]
struct Story {
    ops: Option<Vec<Op>>,
    stamp: Option<checker::Stamp>,
    committed: bool,
    aborted: Option<Token>,
    in_doubt: bool,
}

/// Merges the lives of a site, the last one being over.
///
/// # Errors
/// What cannot be: a commit that the last life does not have, a read of a version that is nowhere.
pub(crate) fn merge(site: &str, lives: &[LifeHistory]) -> Result<Merged, String> {
    let mut parsed = Vec::new();
    for life in lives {
        parsed.push(life.records.as_ref().map_err(Clone::clone)?);
    }
    let (Some(last), Some(last_records)) = (lives.last(), parsed.last()) else {
        return Err("a site without a life".to_owned());
    };
    let numbers: BTreeMap<Installer, u64> = {
        let installers = last.versions(last_records).installers;
        installers.into_iter().map(|(seq, it)| (it, seq)).collect()
    };
    let mut stories: BTreeMap<TxnId, (Story, Option<Installer>)> = BTreeMap::new();
    for (life, records) in lives.iter().zip(&parsed) {
        let versions = life.versions(records);
        for record in records.iter().filter(|record| !is_restored(record.txn())) {
            let (story, installer) = stories.entry(record.txn()).or_default();
            let stamp = match record {
                Record::Committed(committed) => committed.stamp,
                Record::Aborted { .. } | Record::InDoubt { .. } => None,
            };
            *installer = installer.or_else(|| life.installer(record.txn(), stamp));
            let renumber = |ops: &[Op]| renumbered(ops, &versions, &numbers, lives.len() == 1);
            story.add(record, renumber)?;
        }
    }
    finish(site, lives, &numbers, stories)
}

impl Story {
    fn add(
        &mut self,
        record: &Record,
        renumber: impl Fn(&[Op]) -> Result<Vec<Op>, String>,
    ) -> Result<(), String> {
        match record {
            Record::Committed(committed) => {
                self.learn(renumber(&committed.ops)?);
                if let (Some(before), Some(now)) = (self.stamp, committed.stamp)
                    && before != now
                {
                    return Err(format!(
                        "{:?} has stamp {before:?} in one life and {now:?} in another",
                        committed.txn
                    ));
                }
                self.stamp = self.stamp.or(committed.stamp);
                self.committed = true;
            }
            Record::Aborted { reason, .. } => self.aborted = Some(reason.clone()),
            Record::InDoubt { ops, .. } => {
                self.in_doubt = true;
                if let Ok(ops) = renumber(ops) {
                    self.learn(ops);
                }
            }
        }
        Ok(())
    }

    /// The first life that tells knows the operations best: later ones know marks only. But it may not have known
    /// what came of those whose undecided writes were read.
    fn learn(&mut self, ops: Vec<Op>) {
        let Some(known) = &mut self.ops else {
            self.ops = Some(ops);
            return;
        };
        for op in ops {
            if let Op::Read { key, .. } = &op {
                let knows = |it: &Op| matches!(it, Op::Read { key: known, .. } if known == key);
                if !known.iter().any(knows) {
                    known.push(op);
                }
            }
        }
    }
}

fn finish(
    site: &str,
    lives: &[LifeHistory],
    numbers: &BTreeMap<Installer, u64>,
    stories: BTreeMap<TxnId, (Story, Option<Installer>)>,
) -> Result<Merged, String> {
    let mut builder = HistoryBuilder::new(site, Token::from(site));
    let mut named: BTreeMap<u64, TxnName> = BTreeMap::new();
    let mut committed = BTreeSet::new();
    for (txn, (story, installer)) in stories {
        let name = match txn {
            TxnId::Global(gtid) => TxnName::Global(Gtid(gtid)),
            TxnId::Local(number) => TxnName::Local(number),
        };
        let ops = story.ops.unwrap_or_default();
        let installs = ops.iter().any(|op| op.installs().is_some());
        let seq = installer.and_then(|it| numbers.get(&it)).copied();
        let seq = seq.filter(|_| installs);
        if story.committed && installs && seq.is_none() {
            return Err(format!("the commit of {txn} was applied once, and is gone"));
        }
        // In the log and never applied by the life that wrote it: the next life did.
        let is_committed = story.committed || seq.is_some();
        if is_committed && story.aborted.is_some() {
            return Err(format!(
                "{txn} is committed in one life and aborted in another"
            ));
        }
        if is_committed {
            committed.insert(name);
            if let Some(seq) = seq {
                named.insert(seq, name);
            }
            let stamp = story.stamp.or_else(|| match installer {
                Some(Installer::Local(stamp)) => Some(checker::Stamp(stamp.0)),
                Some(Installer::Global(_)) | None => own_stamp(lives, name),
            });
            let seq = seq.map(Seq);
            let record = Committed {
                txn,
                stamp,
                seq,
                ops,
            };
            push(&mut builder, Record::Committed(record))?;
        } else if let Some(reason) = story.aborted {
            push(&mut builder, Record::Aborted { txn, reason })?;
        }
    }
    if let Some((installer, seq)) = numbers.iter().find(|(_, seq)| !named.contains_key(seq)) {
        return Err(format!(
            "version {seq} was installed by {installer:?}, which nobody has seen vote"
        ));
    }
    Ok(Merged {
        history: builder.finish(Ending::Footer),
        order: named.into_values().collect(),
        committed,
    })
}

/// The stamp of a one-phase commit that only its record tells of: that of its vote.
fn own_stamp(lives: &[LifeHistory], name: TxnName) -> Option<checker::Stamp> {
    let mut stamps = lives.iter().filter_map(|life| life.stamps.get(&name));
    stamps.next_back().map(|stamp| checker::Stamp(stamp.0))
}

fn push(builder: &mut HistoryBuilder, record: Record) -> Result<(), String> {
    builder.push(record).map_err(|fault| fault.to_string())
}

/// The operations with versions as the last life numbers them.
fn renumbered(
    ops: &[Op],
    versions: &Versions,
    numbers: &BTreeMap<Installer, u64>,
    only_life: bool,
) -> Result<Vec<Op>, String> {
    let number = |seq: u64| match versions.installers.get(&seq) {
        _ if seq == 0 => Ok(Seq::INITIAL),
        Some(installer) => numbers
            .get(installer)
            .map(|number| Seq(*number))
            .ok_or_else(|| {
                format!("a committed transaction read from {installer:?}, which is gone")
            }),
        None => Err(format!("a read saw version {seq}, which nobody installed")),
    };
    let mut out = Vec::new();
    for op in ops {
        match op {
            _ if only_life => out.push(op.clone()),
            Op::Read { key, version } => out.push(Op::Read {
                key: key.clone(),
                version: number(version.0)?,
            }),
            Op::Scan(scan) => {
                for (key, seq) in seen(scan, versions)? {
                    let version = number(seq)?;
                    out.push(Op::Read { key, version });
                }
            }
            Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => out.push(op.clone()),
        }
    }
    Ok(out)
}

/// Which version of every key in its range a scan saw.
fn seen(scan: &Scan, versions: &Versions) -> Result<Vec<(Token, u64)>, String> {
    let mut seen = Vec::new();
    for key in all_keys() {
        let token = Token::from(&key[..]);
        if !scan.covers(&token) {
            continue;
        }
        let found = scan.found.iter().find(|(found, _)| *found == token);
        let latest = versions.latest(&key, scan.pos.0);
        match (found, latest) {
            (Some((_, version)), _) => seen.push((token, version.0)),
            (None, Some((seq, true))) => seen.push((token, seq)),
            (None, None) => seen.push((token, 0)),
            (None, Some((seq, false))) => {
                return Err(format!(
                    "a scan misses {token}, which version {seq} had installed"
                ));
            }
        }
    }
    Ok(seen)
}
