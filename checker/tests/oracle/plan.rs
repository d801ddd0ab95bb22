//! Random histories: a serial execution, and ways to bend it.

use std::collections::BTreeMap;

use checker::{
    Committed, Ending, HistoryBuilder, Op, Record, Scan, Seq, SiteHistory, Stamp, Token, TxnId,
    TxnRef,
};
use proptest::prelude::*;

use crate::replay::{Effect, effect};

const SITES: usize = 2;
const KEYS: u8 = 3;

/// What each transaction does: site, kind of operation, key, and a choice for scans.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    txns: Vec<Vec<(usize, u8, u8, u8)>>,
}

/// One change to a finished execution: its kind, and what it picks.
pub(crate) type Bend = (u8, u8, u8, u8);

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let op = (0..SITES, 0u8..9, 0..KEYS, any::<u8>());
    prop::collection::vec(prop::collection::vec(op, 1..6), 1..6).prop_map(|txns| Plan { txns })
}

pub(crate) fn bends() -> impl Strategy<Value = Vec<Bend>> {
    prop::collection::vec((0u8..6, any::<u8>(), any::<u8>(), any::<u8>()), 1..10)
}

/// A site while it executes: committed records, and the present version of each key (0 and false
/// before any install; the flag says whether the key exists).
#[derive(Default)]
struct Site {
    records: Vec<Committed>,
    now: BTreeMap<Token, (Seq, bool)>,
    seq: u64,
}

impl Plan {
    /// Runs the transactions one after another; stamps are their order.
    pub(crate) fn execute(&self) -> Vec<SiteHistory> {
        finish(self.run())
    }

    /// Runs them, then applies the bends.
    pub(crate) fn execute_bent(&self, bends: &[Bend]) -> Vec<SiteHistory> {
        let mut sites = self.run();
        for bend in bends {
            apply(&mut sites, *bend);
        }
        finish(sites)
    }

    fn run(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = (0..SITES).map(|_| Site::default()).collect();
        for (number, plan) in self.txns.iter().enumerate() {
            for (place, site) in sites.iter_mut().enumerate() {
                let ops: Vec<Op> = plan
                    .iter()
                    .filter(|op| op.0 == place)
                    .map(|(_, kind, key, choice)| site.execute(*kind, *key, *choice))
                    .collect();
                if !ops.is_empty() {
                    // A transaction of one site is sometimes local, sometimes a global of one site.
                    let everywhere = plan.iter().any(|op| op.0 != place);
                    site.commit(number as u64, everywhere || number.is_multiple_of(2), ops);
                }
            }
        }
        sites
    }
}

fn key(number: u8) -> Token {
    Token::from(&[b'a' + 2 * number][..])
}

/// A bound may be a key, lie between keys, or before or after all.
fn bound(choice: u8) -> Token {
    Token::from(&[b'`' + choice % 8][..])
}

impl Site {
    fn execute(&self, kind: u8, number: u8, choice: u8) -> Op {
        let key = key(number);
        match kind {
            0..=2 => {
                let version = self.now.get(&key).map_or(Seq::INITIAL, |now| now.0);
                Op::Read { key, version }
            }
            3 | 4 => Op::Write { key },
            5 => Op::Delete { key },
            6 | 7 => Op::Increment { key },
            _ => {
                let hi = if choice.is_multiple_of(3) {
                    None
                } else {
                    Some(bound(choice / 8))
                };
                let mut scan = Scan {
                    lo: bound(choice),
                    hi,
                    pos: Seq(self.seq),
                    found: vec![],
                };
                let present = |(_, now): &(&Token, &(Seq, bool))| now.1;
                let covered = self
                    .now
                    .iter()
                    .filter(present)
                    .filter(|(key, _)| scan.covers(key));
                scan.found = covered.map(|(key, now)| (key.clone(), now.0)).collect();
                Op::Scan(Box::new(scan))
            }
        }
    }

    fn commit(&mut self, number: u64, global: bool, ops: Vec<Op>) {
        let installs = ops.iter().any(|op| op.installs().is_some());
        let seq = Seq(self.seq + 1);
        if installs {
            self.seq += 1;
        }
        for op in &ops {
            if let Some(key) = op.installs() {
                self.now
                    .insert(key.clone(), (seq, !matches!(op, Op::Delete { .. })));
            }
        }
        self.records.push(Committed {
            txn: if global {
                TxnId::Global(number)
            } else {
                TxnId::Local(number)
            },
            stamp: Some(Stamp(10 * number + 5)),
            seq: installs.then_some(seq),
            ops,
        });
    }
}

fn apply(sites: &mut [Site], (kind, a, b, c): Bend) {
    let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
    if kind == 0 {
        return exchange_stamps(sites, a, b);
    }
    let site = &mut sites[a % SITES];
    if kind <= 2 {
        exchange_positions(site, b, c);
        return rescan(site);
    }
    if kind == 3 {
        for op in site.records.iter_mut().flat_map(|record| &mut record.ops) {
            if let Op::Scan(scan) = op {
                scan.pos = Seq((scan.pos.0 + b as u64) % (site.seq + 1));
            }
        }
        return rescan(site);
    }
    let highest = site.seq;
    let seqs_of = installed(site);
    let reads = |op: &&mut Op| op.installs().is_none();
    let mut ops: Vec<&mut Op> = site
        .records
        .iter_mut()
        .flat_map(|record| &mut record.ops)
        .filter(reads)
        .collect();
    if ops.is_empty() {
        return;
    }
    let place = b % ops.len();
    let number = u8::try_from(b % usize::from(KEYS)).expect("below KEYS");
    match &mut *ops[place] {
        Op::Read { key, version } => {
            // Mostly a version of the key, sometimes one that nobody installed.
            let seqs: Vec<u64> = seqs_of
                .get(key)
                .map(|seqs| seqs.keys().copied().collect())
                .unwrap_or_default();
            let any = c as u64 % (highest + 2);
            *version = Seq(if c.is_multiple_of(8) {
                any
            } else {
                *seqs.get(c % (seqs.len() + 1)).unwrap_or(&0)
            });
        }
        Op::Scan(scan) if kind == 4 => drop(scan.found.pop()),
        Op::Scan(scan) => {
            let version = Seq(c as u64 % (highest + 2));
            match scan.found.first_mut() {
                Some(first) => first.1 = version,
                None => scan.found.push((key(number), version)),
            }
        }
        Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => unreachable!("filtered"),
    }
}

/// Two transactions exchange their positions, which gives another version order; reads keep to the
/// versions of the transactions that they read from.
fn exchange_positions(site: &mut Site, one: usize, other: usize) {
    let seqs: Vec<Seq> = site
        .records
        .iter()
        .filter_map(|record| record.seq)
        .collect();
    if seqs.is_empty() {
        return;
    }
    let (one, other) = (seqs[one % seqs.len()], seqs[other % seqs.len()]);
    let exchanged = |seq: Seq| match seq {
        seq if seq == one => other,
        seq if seq == other => one,
        seq => seq,
    };
    for record in &mut site.records {
        record.seq = record.seq.map(exchanged);
        for op in &mut record.ops {
            if let Op::Read { version, .. } = op {
                *version = exchanged(*version);
            }
        }
    }
}

/// The positions at which each key was installed, and what was done there.
fn installed(site: &Site) -> BTreeMap<Token, BTreeMap<u64, Effect>> {
    let mut keys: BTreeMap<Token, BTreeMap<u64, Effect>> = BTreeMap::new();
    for record in &site.records {
        for key in record.ops.iter().filter_map(Op::installs) {
            let effect = effect(record, key).unwrap();
            keys.entry(key.clone())
                .or_default()
                .insert(record.seq.unwrap().0, effect);
        }
    }
    keys
}

/// Lets every scan return what it must at its position.
fn rescan(site: &mut Site) {
    let keys = installed(site);
    for record in &mut site.records {
        let own = record.seq.map_or(0, |seq| seq.0);
        for op in &mut record.ops {
            let Op::Scan(scan) = op else { continue };
            let mut found = Vec::new();
            for (key, seqs) in keys.iter().filter(|(key, _)| scan.covers(key)) {
                let mut before = seqs
                    .range(..=scan.pos.0)
                    .rev()
                    .filter(|(seq, _)| **seq != own);
                if let Some((seq, Effect::Value | Effect::Sum)) = before.next() {
                    found.push((key.clone(), Seq(*seq)));
                }
            }
            scan.found = found;
        }
    }
}

/// Two transactions exchange their stamps, at every site they visited.
fn exchange_stamps(sites: &mut [Site], a: usize, b: usize) {
    let mut all: Vec<Stamp> = sites
        .iter()
        .flat_map(|site| &site.records)
        .filter_map(|record| record.stamp)
        .collect();
    all.sort_unstable();
    all.dedup();
    let (one, other) = (all[a % all.len()], all[b % all.len()]);
    for record in sites.iter_mut().flat_map(|site| &mut site.records) {
        record.stamp = match record.stamp {
            Some(stamp) if stamp == one => Some(other),
            Some(stamp) if stamp == other => Some(one),
            stamp => stamp,
        };
    }
}

fn finish(sites: Vec<Site>) -> Vec<SiteHistory> {
    let build = |(site, name): (Site, &str)| {
        let mut builder = HistoryBuilder::new(name, name.into());
        // Lines are not in the order of positions.
        for record in site.records.into_iter().rev() {
            builder.push(Record::Committed(record)).unwrap();
        }
        builder.finish(Ending::Footer)
    };
    sites.into_iter().zip(["A", "B"]).map(build).collect()
}

/// The order, shuffled by a small generator that the seed starts.
pub(crate) fn shuffled(mut order: Vec<TxnRef>, mut seed: u64) -> Vec<TxnRef> {
    for end in (1..order.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(end, (seed >> 33) as usize % (end + 1));
    }
    order
}
