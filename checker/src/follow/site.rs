//! What is kept of one site while its history is followed.
//!
//! - **F4** What needs other records to be judged waits for them: a read of a version that nobody has installed yet
//!   for its installer, a scan for the installs of [`Options::window`](super::Options) more records.
//! - **F5** An install behind a scan's back (at or before the position of a scan that was already evaluated) makes the
//!   verdict unknown.

use std::collections::{HashMap, VecDeque};

use crate::findings::Capped;
use crate::hashing::Hashing;
use crate::history::{Committed, Op, Record, RecordFault, Scan, Seq, TxnId};
use crate::index::{FaultKind, Install};
use crate::parse::{self, Header, Version};
use crate::parse_error::ParseFault;
use crate::token::Token;
use crate::verdict::{TxnRef, UnexplainedRead};

use super::Options;
use super::chain::{Access, Fault, Sighting};
use super::ids::IdSet;
use super::keys::Keys;
use super::line::{self, Head, Written};
use super::recent::Recent;
use super::verdict::OutOfOrder;

/// What a record says of its transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended {
    Committed(Option<u64>),
    Aborted,
    InDoubt,
}

/// What was found at a site.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) order: Capped<OutOfOrder>,
    /// Reads that nothing could explain.
    pub(super) certain: Capped<UnexplainedRead>,
    /// Reads that a record to come might explain.
    pub(super) suspected: Capped<UnexplainedRead>,
    /// Accesses to what is no longer kept.
    pub(super) late: u64,
    pub(super) unstamped: usize,
    pub(super) first_unstamped: Option<TxnRef>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Read { key: u32, version: u64 },
    Install { key: u32, how: Install },
}

/// A scan that waits (F4).
#[derive(Debug)]
struct Waiting {
    due: u64,
    access: Access,
    scan: Box<Scan>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) source: String,
    pub(super) name: Option<Token>,
    pub(super) header: Option<Header>,
    pub(super) lines: u64,
    pub(super) records: u64,
    pub(super) committed: u64,
    pub(super) operations: u64,
    pub(super) footer: bool,
    pub(super) closed: bool,
    pub(super) globals: IdSet,
    locals: IdSet,
    positions: IdSet,
    keys: Keys,
    /// The installs that are kept, oldest first: when they were fed, and on which key.
    installs: VecDeque<(u64, u32)>,
    unresolved: HashMap<(u32, u64), Vec<Access>, Hashing>,
    waiting: VecDeque<Waiting>,
    scanned_to: Option<u64>,
    /// What undecided transactions would install: whose, and whether it deletes the key.
    undecided: HashMap<u32, Vec<(TxnId, bool)>>,
    pub(super) recent: Recent,
    pub(super) found: Found,
    pub(super) full: bool,
    pub(super) highest_stamp: u64,
    actions: Vec<Action>,
    window: u64,
}

impl Site {
    pub(super) fn new(source: String, options: &Options) -> Self {
        Self {
            source,
            name: None,
            header: None,
            lines: 0,
            records: 0,
            committed: 0,
            operations: 0,
            footer: false,
            closed: false,
            globals: IdSet::default(),
            locals: IdSet::default(),
            positions: IdSet::default(),
            keys: Keys::default(),
            installs: VecDeque::new(),
            unresolved: HashMap::default(),
            waiting: VecDeque::new(),
            scanned_to: None,
            undecided: HashMap::new(),
            recent: Recent::new(options.recent_bytes),
            found: Found::default(),
            full: false,
            highest_stamp: 0,
            actions: Vec::new(),
            window: options.window,
        }
    }

    /// How many things are kept, each of a bounded size.
    pub(super) fn entries(&self) -> usize {
        let ids = [&self.globals, &self.locals, &self.positions];
        let ids: usize = ids.into_iter().map(IdSet::entries).sum();
        let keys = self.keys.entries.len() + self.keys.scan_count();
        ids + keys + self.installs.len() + self.unresolved.len() + self.waiting.len()
    }

    /// Takes the line of a record in.
    pub(super) fn record(&mut self, text: &[u8]) -> Result<(TxnId, Ended), ParseFault> {
        self.actions.clear();
        let (keys, actions) = (&mut self.keys, &mut self.actions);
        let head = line::commit(text, |written| {
            actions.push(match written {
                Written::Read { key, version } => Action::Read {
                    key: keys.id(key),
                    version,
                },
                Written::Install { key, how } => Action::Install {
                    key: keys.id(key),
                    how,
                },
            });
        });
        let ended = if let Some(head) = head {
            self.commit(head, Vec::new())?;
            (head.txn, Ended::Committed(head.stamp))
        } else {
            self.actions.clear();
            self.other(parse::record(text, self.version())?.0)?
        };
        self.records += 1;
        self.recent.push(text);
        self.forget();
        Ok(ended)
    }

    /// Takes a record in that is not of the common form.
    fn other(&mut self, record: Record) -> Result<(TxnId, Ended), ParseFault> {
        let txn = record.txn();
        match record {
            Record::Committed(committed) => {
                let stamp = committed.stamp.map(|stamp| stamp.0);
                self.general_commit(committed)?;
                Ok((txn, Ended::Committed(stamp)))
            }
            Record::Aborted { .. } => {
                self.name_txn(txn)?;
                Ok((txn, Ended::Aborted))
            }
            Record::InDoubt { ops, .. } => {
                self.name_txn(txn)?;
                for op in &ops {
                    if let Some(key) = op.installs() {
                        let key = self.keys.id(key.as_bytes());
                        let deletes = matches!(op, Op::Delete { .. });
                        self.undecided.entry(key).or_default().push((txn, deletes));
                    }
                }
                Ok((txn, Ended::InDoubt))
            }
        }
    }

    fn general_commit(&mut self, committed: Committed) -> Result<(), RecordFault> {
        let mut scans = Vec::new();
        for op in committed.ops {
            let install = |key, how| Action::Install { key, how };
            let action = match op {
                Op::Read { key, version } => Action::Read {
                    key: self.keys.id(key.as_bytes()),
                    version: version.0,
                },
                Op::Write { key } => install(self.keys.id(key.as_bytes()), Install::Write),
                Op::Delete { key } => install(self.keys.id(key.as_bytes()), Install::Delete),
                Op::Increment { key } => install(self.keys.id(key.as_bytes()), Install::Increment),
                Op::Scan(scan) => {
                    scans.push(scan);
                    continue;
                }
            };
            self.actions.push(action);
        }
        let head = Head {
            txn: committed.txn,
            stamp: committed.stamp.map(|stamp| stamp.0),
            seq: committed.seq.map(|seq| seq.0),
        };
        self.commit(head, scans)
    }

    /// Checks what [`HistoryBuilder`](crate::HistoryBuilder) checks (I1).
    fn name_txn(&mut self, txn: TxnId) -> Result<(), RecordFault> {
        let is_new = match txn {
            TxnId::Global(number) => self.globals.insert(number),
            TxnId::Local(number) => self.locals.insert(number),
        };
        if is_new {
            Ok(())
        } else {
            Err(RecordFault::DuplicateTxn { txn })
        }
    }

    /// Takes in a commit, whose reads and installs are in `actions`.
    #[allow(clippy::vec_box, reason = "scans come boxed, and go on boxed")]
    fn commit(&mut self, head: Head, scans: Vec<Box<Scan>>) -> Result<(), RecordFault> {
        let Head { txn, stamp, seq } = head;
        self.name_txn(txn)?;
        let actions = std::mem::take(&mut self.actions);
        let installs = |action: &Action| matches!(action, Action::Install { .. });
        match (seq, actions.iter().any(installs)) {
            (Some(0), _) => return Err(RecordFault::ZeroSeq { txn }),
            (Some(_), false) => return Err(RecordFault::SeqWithoutInstall { txn }),
            (None, true) => return Err(RecordFault::InstallWithoutSeq { txn }),
            (Some(seq), true) if !self.positions.insert(seq) => {
                let seq = Seq(seq);
                return Err(RecordFault::DuplicateSeq { txn, seq });
            }
            (Some(_), true) | (None, false) => {}
        }
        self.committed += 1;
        self.operations += (actions.len() + scans.len()) as u64;
        self.highest_stamp = self.highest_stamp.max(stamp.unwrap_or_default());
        if stamp.is_none() {
            self.found.unstamped += 1;
            let name = TxnRef::new(txn, self.site());
            self.found.first_unstamped.get_or_insert(name);
        }
        self.run(head, &actions);
        for scan in scans {
            for (key, version) in &scan.found {
                let key = self.keys.id(key.as_bytes());
                if *version == Seq::INITIAL {
                    self.existed(key);
                }
            }
            let access = Access {
                txn,
                stamp,
                at: scan.pos.0,
            };
            let due = self.records + self.window;
            self.waiting.push_back(Waiting { due, access, scan });
        }
        self.actions = actions;
        Ok(())
    }

    fn run(&mut self, head: Head, actions: &[Action]) {
        let Head { txn, stamp, seq } = head;
        let nets = Nets::of(actions);
        let mut reads_own_sum = false;
        for (place, action) in actions.iter().enumerate() {
            let Action::Read { key, version } = *action else {
                continue;
            };
            let own = nets.net(key).filter(|_| seq == Some(version));
            match own {
                None => self.read(
                    key,
                    Access {
                        txn,
                        stamp,
                        at: version,
                    },
                ),
                Some((first, _)) if place < first => {
                    let version = Seq(version);
                    self.unexplained(txn, key, FaultKind::OwnFuture { version });
                }
                Some((_, how)) => reads_own_sum |= how == Install::Increment,
            }
        }
        let Some(seq) = seq else { return };
        let access = Access {
            txn,
            stamp,
            at: seq,
        };
        for (place, action) in actions.iter().enumerate() {
            if let Action::Install { key, .. } = *action
                && let Some((first, how)) = nets.net(key)
                && first == place
            {
                self.install(key, access, how);
            }
        }
        if !reads_own_sum {
            return;
        }
        // To read back one's own increment adds to what others installed.
        for (place, action) in actions.iter().enumerate() {
            if let Action::Read { key, version } = *action
                && version == seq
                && let Some((first, Install::Increment)) = nets.net(key)
                && first < place
            {
                self.read(key, access);
            }
        }
    }

    fn read(&mut self, key: u32, access: Access) {
        let read = self.keys.entry(key).chain.read(access);
        match read {
            Ok(()) => {}
            // What is no longer kept was kept once, or is still to come.
            Err(_) if access.at > 0 && !self.positions.contains(access.at) => {
                self.postpone(key, access);
            }
            Err(Fault::Unresolved) => self.postpone(key, access),
            Err(fault) => self.fault(key, fault),
        }
    }

    fn postpone(&mut self, key: u32, access: Access) {
        self.unresolved
            .entry((key, access.at))
            .or_default()
            .push(access);
    }

    fn install(&mut self, key: u32, access: Access, how: Install) {
        let entry = self.keys.entry(key);
        let missed = entry.missed_by_forgotten;
        let installed = entry.chain.install(access, how);
        self.installs.push_back((self.records, key));
        let behind = self.scanned_to.is_some_and(|pos| access.at <= pos);
        let unsure = missed.is_some_and(|missed| access.stamp.is_none_or(|stamp| stamp <= missed));
        if behind || unsure {
            // What it clashes with may be a scan that would have seen it (F5).
            self.found.late += 1;
        } else if let Err(fault) = installed {
            self.fault(key, fault);
        }
        if !self.unresolved.is_empty()
            && let Some(readers) = self.unresolved.remove(&(key, access.at))
        {
            readers
                .into_iter()
                .for_each(|reader| self.read(key, reader));
        }
    }

    fn fault(&mut self, key: u32, fault: Fault) {
        match fault {
            Fault::Clash(clash) => {
                let site = self.site().clone();
                let key = self.keys.entry(key).token.clone();
                self.found
                    .order
                    .push_capped(|| OutOfOrder::new(clash, site, key));
            }
            Fault::Late | Fault::Unresolved => self.found.late += 1,
        }
    }

    fn unexplained(&mut self, reader: TxnId, key: u32, fault: FaultKind) {
        let read = UnexplainedRead {
            reader: TxnRef::new(reader, self.site()),
            site: self.site().clone(),
            key: self.keys.entry(key).token.clone(),
            fault,
        };
        if fault.lost_record_explains() {
            self.found.suspected.push_capped(|| read);
        } else {
            self.found.certain.push_capped(|| read);
        }
    }

    /// A scan returned the initial version of a key.
    fn existed(&mut self, key: u32) {
        let entry = self.keys.entry(key);
        if std::mem::replace(&mut entry.initially_present, true) {
            return;
        }
        let forgotten = entry.missed_by_forgotten.is_some();
        if let Some((reader, pos)) = entry.missed {
            let fault = FaultKind::NotReturned {
                version: Seq::INITIAL,
                pos: Seq(pos),
            };
            self.unexplained(reader, key, fault);
        } else if forgotten {
            self.found.late += 1;
        }
    }

    /// Evaluates the scans that are due, and drops installs that nobody will ask for.
    fn forget(&mut self) {
        while self
            .waiting
            .front()
            .is_some_and(|first| first.due <= self.records)
        {
            self.next_scan();
        }
        while let Some((fed, key)) = self.installs.front().copied() {
            if fed + 2 * self.window >= self.records {
                break;
            }
            self.installs.pop_front();
            self.keys.entry(key).chain.prune();
        }
    }

    fn next_scan(&mut self) {
        let Some(Waiting { access, scan, .. }) = self.waiting.pop_front() else {
            return;
        };
        self.scanned_to = self.scanned_to.max(Some(access.at));
        let mut found: Vec<(u32, Token, Seq)> = Vec::with_capacity(scan.found.len());
        for (key, version) in &scan.found {
            found.push((self.keys.id(key.as_bytes()), key.clone(), *version));
        }
        found.sort_unstable_by(|one, other| (&one.1, one.2).cmp(&(&other.1, other.2)));
        let doubles = found.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let doubles: Vec<u32> = doubles.map(|pair| pair[0].0).collect();
        for key in doubles {
            self.unexplained(access.txn, key, FaultKind::Repeated);
        }
        found.dedup_by_key(|(key, _, _)| *key);
        for (key, token, _) in &found {
            if !scan.covers(token) {
                self.unexplained(access.txn, *key, FaultKind::OutsideRange);
            }
        }
        let returned: HashMap<u32, Seq> = found.iter().map(|(key, _, seq)| (*key, *seq)).collect();
        for key in self.keys.covered(&scan) {
            self.scanned(key, access, returned.get(&key).copied());
        }
        self.keys.remember(scan, access);
    }

    /// What a scan says of one key: as `SiteIndex` of a whole history has it.
    fn scanned(&mut self, key: u32, access: Access, returned: Option<Seq>) {
        let pos = Seq(access.at);
        let entry = self.keys.entry(key);
        let Sighting::Version { seq, how } = entry.chain.at(access.at, access.txn) else {
            self.found.late += 1;
            return;
        };
        let latest = Seq(seq);
        let is_initial = latest == Seq::INITIAL;
        let present = if is_initial {
            entry.initially_present
        } else {
            how != Install::Delete
        };
        let is_installed = |version: Seq| version == Seq::INITIAL || entry.chain.holds(version.0);
        let fault = match returned {
            Some(version) if !is_installed(version) => {
                if entry.chain.may_have_held(version.0) {
                    self.found.late += 1;
                    return;
                }
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
            Some(_) | None => {
                if returned.is_none() && is_initial && entry.missed.is_none() {
                    entry.missed = Some((access.txn, access.at));
                }
                return self.read(key, Access { at: seq, ..access });
            }
        };
        self.unexplained(access.txn, key, fault);
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self, footer: bool) {
        self.closed = true;
        self.footer = footer;
        while !self.waiting.is_empty() {
            self.next_scan();
        }
        let mut unresolved: Vec<((u32, u64), Vec<Access>)> = self.unresolved.drain().collect();
        unresolved.sort_unstable_by_key(|(version, _)| *version);
        for ((key, version), readers) in unresolved {
            for reader in readers {
                let version = Seq(version);
                self.unexplained(reader.txn, key, FaultKind::NeverInstalled { version });
            }
        }
    }

    /// The undecided transaction that may explain a read.
    pub(super) fn perhaps(&self, read: &UnexplainedRead) -> Option<TxnRef> {
        let entries = &self.keys.entries;
        let mut candidates = self
            .undecided
            .iter()
            .filter(|(key, _)| entries[**key as usize].token == read.key)
            .flat_map(|(_, candidates)| candidates);
        let only_deletes = matches!(read.fault, FaultKind::NotReturned { .. });
        candidates
            .find(|(_, deletes)| *deletes || !only_deletes)
            .map(|(txn, _)| TxnRef::new(*txn, self.site()))
    }

    pub(super) fn version(&self) -> Version {
        let header = self.header.as_ref();
        header.expect("records follow the header").version
    }

    pub(super) fn site(&self) -> &Token {
        self.name
            .as_ref()
            .expect("records follow the header, which names the site")
    }

    /// The distinct keys.
    pub(super) fn key_count(&self) -> usize {
        self.keys.entries.len()
    }

    /// The longest list of versions of a key.
    pub(super) fn longest_chain(&self) -> usize {
        let lengths = self.keys.entries.iter().map(|entry| entry.chain.len());
        lengths.max().unwrap_or_default()
    }
}

/// What a transaction does to each key in the end, as `net_installs` of a whole history has it, and where it first
/// installs the key.
#[derive(Debug)]
enum Nets<'a> {
    /// Of few operations, which are gone through each time.
    Few(&'a [Action]),
    Many(HashMap<u32, (usize, Install)>),
}

/// How many operations are few.
const FEW: usize = 24;

impl<'a> Nets<'a> {
    fn of(actions: &'a [Action]) -> Self {
        if actions.len() <= FEW {
            return Self::Few(actions);
        }
        let mut many: HashMap<u32, (usize, Install)> = HashMap::new();
        for (place, action) in actions.iter().enumerate() {
            if let Action::Install { key, how } = *action {
                let net = many.entry(key).or_insert((place, how));
                net.1 = both(net.1, how);
            }
        }
        Self::Many(many)
    }

    fn net(&self, wanted: u32) -> Option<(usize, Install)> {
        let actions = match self {
            Self::Few(actions) => actions,
            Self::Many(many) => return many.get(&wanted).copied(),
        };
        let mut net: Option<(usize, Install)> = None;
        for (place, action) in actions.iter().enumerate() {
            if let Action::Install { key, how } = *action
                && key == wanted
            {
                net = Some(net.map_or((place, how), |(first, before)| (first, both(before, how))));
            }
        }
        net
    }
}

/// One install of a key, and then another.
const fn both(before: Install, how: Install) -> Install {
    match (before, how) {
        (_, Install::Write | Install::Delete) => how,
        (Install::Increment, Install::Increment) => Install::Increment,
        (Install::Write | Install::Delete, Install::Increment) => Install::Write,
    }
}
