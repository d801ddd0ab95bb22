//! What registers tell: who read from whom, and the little that is certain about version orders.
//!
//! With unique values, a read names its writer. The order of the versions of a key is another matter:
//!
//! - The initial state comes before every other version.
//! - A transaction that read a version and then wrote the key wrote a later one (*writes follow reads*): were it an
//!   earlier one, the two transactions would be a cycle of a wr and a ww edge, which read committed forbids. So it is
//!   assumed by default; whatever follows rules out nothing weaker than read committed, because each ww edge that it
//!   gives is also a wr edge. (Elle makes no use of it unless told.)
//! - That the versions of each key come in session order (*sequential keys*), or in the order of real time
//!   (*linearizable keys*), or in a given order of transactions, are assumptions that only the caller can make; what
//!   is found then is found under them.
//!
//! A version is the last write of a transaction to a key, by its place in [`Writes`]; behind those come the initial
//! versions of each key, and behind those the values that nobody wrote, if such values are from before the history.

use crate::models::Anomaly;
use crate::observed::{Interval, Key, Observed, Op, Outcome, TxnIndex, Value};

use super::components::Components;
use super::findings::{Findings, value_words};
use super::graph::{Class, Digraph, Links};
use super::options::{Options, Unwritten};
use super::writes::{Kind, Writer, Writes, by_key};

/// What a transaction did to a register, seen from outside: its first read and its last write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    pub(super) key: Key,
    pub(super) txn: u32,
    /// The version that it read before it wrote any.
    pub(super) read: Option<u32>,
    /// The version that it wrote.
    pub(super) wrote: Option<u32>,
}

/// What is known about registers.
#[derive(Debug, Default)]
pub(super) struct Registers {
    /// By transaction.
    pub(super) touches: Vec<Touch>,
    /// Pairs of versions of a key, the second later, that follow from an assumption.
    pub(super) assumed: Vec<(u32, u32)>,
    /// Values that nobody wrote.
    foreign: Vec<(Key, Value)>,
    /// How many writes there are: versions from there on are initial ones.
    writes: u32,
    /// How many keys there are.
    keys: u32,
}

impl Registers {
    /// Finds who read what; transactions that were seen count as committed from then on.
    pub(super) fn of(history: &Observed, writes: &mut Writes, options: &Options) -> Self {
        loop {
            let mut registers = Self {
                writes: writes.len(),
                keys: u32::try_from(history.key_count()).expect("keys are counted in 32 bits"),
                ..Self::default()
            };
            // What a transaction did counts as soon as the transaction does.
            if !registers.touch_all(history, writes, options) {
                return registers;
            }
        }
    }

    fn touch_all(&mut self, history: &Observed, writes: &mut Writes, options: &Options) -> bool {
        let mut groups = Vec::new();
        let mut reads: Vec<(usize, Key, Value)> = Vec::new();
        let mut news = false;
        for txn in history
            .indexes()
            .filter(|&txn| writes.is_live(txn.0))
            .collect::<Vec<_>>()
        {
            let ops = history.ops(txn);
            by_key(ops, &mut groups);
            for group in groups.chunk_by(|one, other| one.0 == other.0) {
                let key = group[0].0;
                if writes.kind(key) != Kind::Register {
                    continue;
                }
                let mut touch = Touch {
                    key,
                    txn: txn.0,
                    read: None,
                    wrote: None,
                };
                // Of what it read, only the first counts, also if nobody knows what that was.
                let mut has_read = false;
                for &(_, place) in group {
                    match ops[place as usize] {
                        Op::Read { value, .. } => {
                            let version = self.version(history, writes, key, value, &mut news);
                            if !std::mem::replace(&mut has_read, true) && touch.wrote.is_none() {
                                touch.read = version;
                                let foreign = version == Some(u32::MAX);
                                if let (true, Some(value)) = (foreign, value) {
                                    touch.read = None;
                                    reads.push((self.touches.len(), key, value));
                                }
                            }
                        }
                        Op::Write { value, .. } => {
                            touch.wrote = match writes.writer(key, value) {
                                Writer::One(write) => Some(write),
                                Writer::Nobody | Writer::Several => own(writes, key, value, txn.0),
                            };
                        }
                        Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {}
                    }
                }
                // Who read what it wrote only later saw no version of others, and wrote over none.
                let of_its_own =
                    |read: &u32| self.is_written(*read) && writes.at(*read).txn == txn.0;
                touch.read = touch.read.filter(|read| !of_its_own(read));
                self.touches.push(touch);
            }
        }
        if options.unwritten == Unwritten::BeforeHistory {
            self.number_foreign(reads);
        }
        news
    }

    /// The version that a read saw; `u32::MAX` for a value that nobody wrote.
    fn version(
        &self,
        history: &Observed,
        writes: &mut Writes,
        key: Key,
        value: Option<Value>,
        news: &mut bool,
    ) -> Option<u32> {
        let Some(value) = value else {
            return Some(self.initial(key));
        };
        match writes.writer(key, value) {
            Writer::One(write) => {
                *news |= writes.saw(history, writes.at(write).txn);
                Some(write)
            }
            Writer::Nobody => Some(u32::MAX),
            Writer::Several => None,
        }
    }

    fn number_foreign(&mut self, mut reads: Vec<(usize, Key, Value)>) {
        reads.sort_unstable_by_key(|&(touch, key, value)| (key, value, touch));
        for same in reads.chunk_by(|one, other| (one.1, one.2) == (other.1, other.2)) {
            let next = u32::try_from(self.foreign.len()).expect("fewer than there are operations");
            for &(touch, _, _) in same {
                self.touches[touch].read = Some(self.writes + self.keys + next);
            }
            self.foreign.push((same[0].1, same[0].2));
        }
    }

    /// The initial version of a key.
    pub(super) const fn initial(&self, key: Key) -> u32 {
        self.writes + key.0
    }

    fn versions(&self) -> u32 {
        let foreign = u32::try_from(self.foreign.len()).expect("fewer than there are operations");
        self.writes + self.keys + foreign
    }

    /// Whether a version is one that a transaction wrote.
    pub(super) const fn is_written(&self, version: u32) -> bool {
        version < self.writes
    }

    /// The value of a version; `None` is the initial one.
    pub(super) fn value(&self, writes: &Writes, version: u32) -> Option<Value> {
        if self.is_written(version) {
            return Some(writes.at(version).value);
        }
        let foreign = version.checked_sub(self.writes + self.keys)?;
        Some(self.foreign[foreign as usize].1)
    }

    /// All dependencies between transactions.
    pub(super) fn link(
        &mut self,
        history: &Observed,
        writes: &Writes,
        options: &Options,
        findings: &mut Findings,
        links: &mut Links,
    ) {
        Self::link_reads(history, writes, links);
        self.assume(history, writes, options, findings);
        let mut readers: Vec<(u32, u32)> = Vec::new();
        let mut overwriters: Vec<(u32, u32)> = Vec::new();
        let mut creators: Vec<(u32, u32)> = Vec::new();
        for touch in &self.touches {
            if let Some(read) = touch.read {
                readers.push((read, touch.txn));
                if touch.wrote.is_some() && options.keys.writes_follow_reads {
                    overwriters.push((read, touch.txn));
                }
            }
            if touch.wrote.is_some() {
                creators.push((self.initial(touch.key), touch.txn));
            }
        }
        for &(earlier, later) in &self.assumed {
            if let (true, Some(writer)) = (self.is_written(later), live_writer(writes, later)) {
                overwriters.push((earlier, writer));
                if self.is_written(earlier)
                    && let Some(before) = live_writer(writes, earlier)
                {
                    links.push(before, writer, Class::WW);
                }
            }
        }
        overwriters.append(&mut creators);
        readers.sort_unstable();
        overwriters.sort_unstable();
        link_anti(&readers, &overwriters, links);
    }

    /// wr: each read that saw the last write of another.
    fn link_reads(history: &Observed, writes: &Writes, links: &mut Links) {
        for txn in history.indexes().filter(|txn| writes.is_live(txn.0)) {
            for op in history.ops(txn) {
                if let Op::Read {
                    key,
                    value: Some(value),
                } = *op
                    && writes.kind(key) == Kind::Register
                    && let Writer::One(write) = writes.writer(key, value)
                {
                    let write = writes.at(write);
                    if write.is_final() && write.txn != txn.0 && writes.is_live(write.txn) {
                        links.push(write.txn, txn.0, Class::WR);
                    }
                }
            }
        }
    }

    /// Version orders by assumption; those that contradict what else is known are noted and left out.
    fn assume(
        &mut self,
        history: &Observed,
        writes: &Writes,
        options: &Options,
        findings: &mut Findings,
    ) {
        let mut known: Vec<(u32, u32)> = Vec::new();
        for touch in &self.touches {
            if let (Some(read), Some(wrote), true) =
                (touch.read, touch.wrote, options.keys.writes_follow_reads)
            {
                known.push((read, wrote));
            }
        }
        let mut sources: Vec<(&str, Vec<(u32, u32)>)> = Vec::new();
        if options.keys.sequential {
            sources.push(("sequential", self.sequential(history)));
        }
        if options.keys.linearizable {
            sources.push(("linearizable", self.linearizable(history)));
        }
        if let Some(ranks) = &options.transaction_order {
            sources.push(("in the given order", self.ranked(ranks)));
        }
        for (name, pairs) in sources {
            let both: Vec<(u32, u32)> = known.iter().chain(&pairs).copied().collect();
            if self.note_cycles(history, writes, name, &both, findings) {
                continue;
            }
            self.assumed.extend(&pairs);
            known = both;
        }
        self.assumed.sort_unstable();
        self.assumed.dedup();
    }

    /// Whether there is a cycle of versions; each is noted.
    fn note_cycles(
        &self,
        history: &Observed,
        writes: &Writes,
        source: &str,
        pairs: &[(u32, u32)],
        findings: &mut Findings,
    ) -> bool {
        let mut links = Links::new(self.versions(), pairs.len());
        let initial = self.writes..self.writes + self.keys;
        for &(from, to) in pairs {
            links.push(from, to, Class::WW);
            // Every version comes after the initial one; only what leads to it can make a cycle of that.
            if initial.contains(&to) {
                links.push(to, from, Class::WW);
            }
        }
        let graph = links.into_graph();
        debug_assert_eq!(graph.nodes(), self.versions());
        let components = Components::of(&graph);
        for versions in components.lists() {
            let mut txns: Vec<u32> = Vec::new();
            for &version in versions.iter().filter(|&&version| self.is_written(version)) {
                txns.push(writes.at(version).txn);
            }
            findings.note(Anomaly::CyclicVersions, &txns, || {
                let values: Vec<String> = versions
                    .iter()
                    .take(8)
                    .map(|&version| value_words(history, self.value(writes, version)))
                    .collect();
                format!(
                    "If keys are {source}, then each of these values of {} came before each other: {}.",
                    history.key_name(self.key_of(versions[0], writes)),
                    values.join(", "),
                )
            });
        }
        components.any()
    }

    fn key_of(&self, version: u32, writes: &Writes) -> Key {
        if self.is_written(version) {
            return writes.key_of(version);
        }
        let key = version - self.writes;
        if key < self.keys {
            Key(key)
        } else {
            self.foreign[(key - self.keys) as usize].0
        }
    }

    /// Pairs of versions: in each session, what was last of a key, and what came next.
    fn sequential(&self, history: &Observed) -> Vec<(u32, u32)> {
        let mut touches: Vec<(u32, Touch)> = Vec::new();
        for touch in &self.touches {
            if let Some(session) = history.txn(TxnIndex(touch.txn)).session {
                touches.push((session.0, *touch));
            }
        }
        touches.sort_by_key(|(session, touch)| (*session, touch.key, touch.txn));
        let mut pairs = Vec::new();
        for same in touches.chunk_by(|one, other| (one.0, one.1.key) == (other.0, other.1.key)) {
            let mut last = None;
            for (_, touch) in same {
                push_pair(last, touch.read.or(touch.wrote), &mut pairs);
                // What follows a transaction that nobody was told of may have come before it.
                if history.txn(TxnIndex(touch.txn)).outcome == Outcome::Committed {
                    last = touch.wrote.or(touch.read).or(last);
                }
            }
        }
        pairs
    }

    /// Pairs of versions: of each key, what a transaction left that had ended before another began, with no third
    /// between the two.
    fn linearizable(&self, history: &Observed) -> Vec<(u32, u32)> {
        let mut events: Vec<(Key, u32, bool, Touch, Interval)> = Vec::new();
        for touch in &self.touches {
            let txn = history.txn(TxnIndex(touch.txn));
            if let Some(interval) = txn.interval {
                events.push((touch.key, interval.begin, false, *touch, interval));
                let ended = interval.end != u32::MAX && interval.end >= interval.begin;
                if ended && txn.outcome == Outcome::Committed {
                    events.push((touch.key, interval.end, true, *touch, interval));
                }
            }
        }
        events.sort_by_key(|&(key, at, is_end, touch, _)| (key, at, is_end, touch.txn));
        let mut pairs = Vec::new();
        for of_key in events.chunk_by(|one, other| one.0 == other.0) {
            let mut latest: Vec<(Touch, u32)> = Vec::new();
            for &(_, _, is_end, touch, interval) in of_key {
                if is_end {
                    // Those that ended before this one began are behind it now.
                    latest.retain(|&(_, end)| end >= interval.begin);
                    latest.push((touch, interval.end));
                } else {
                    for (before, _) in &latest {
                        push_pair(
                            before.wrote.or(before.read),
                            touch.read.or(touch.wrote),
                            &mut pairs,
                        );
                    }
                }
            }
        }
        pairs
    }

    /// Pairs of versions: each key's writers in the order of their ranks.
    fn ranked(&self, ranks: &[u64]) -> Vec<(u32, u32)> {
        let mut written: Vec<(Key, u64, u32)> = Vec::new();
        for touch in &self.touches {
            if let (Some(wrote), Some(&rank)) = (touch.wrote, ranks.get(touch.txn as usize)) {
                written.push((touch.key, rank, wrote));
            }
        }
        written.sort_unstable();
        let neighbours = written
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1);
        neighbours.map(|pair| (pair[0].2, pair[1].2)).collect()
    }

    /// How many keys that are read have a version order that is not known. Those that are not read are noted by who
    /// wrote them.
    pub(super) fn unordered(&self, writes: &Writes, options: &Options, findings: &mut Findings) {
        let mut of_key: Vec<&Touch> = self.touches.iter().collect();
        of_key.sort_by_key(|touch| touch.key);
        for touches in of_key.chunk_by(|one, other| one.key == other.key) {
            if self.is_ordered(writes, touches, options) {
                continue;
            }
            let initial = self.initial(touches[0].key);
            if touches
                .iter()
                .any(|touch| touch.read.is_some_and(|read| read != initial))
            {
                findings.unordered_registers += 1;
            } else {
                let writers = touches.iter().filter(|touch| touch.wrote.is_some());
                findings
                    .contested
                    .extend(writers.map(|touch| (touch.key, touch.txn)));
            }
        }
    }

    fn is_ordered(&self, writes: &Writes, touches: &[&Touch], options: &Options) -> bool {
        let initial = self.initial(touches[0].key);
        let written = touches.iter().filter(|touch| touch.wrote.is_some()).count();
        let read_ones = touches
            .iter()
            .filter_map(|touch| touch.read)
            .filter(|&read| read != initial);
        for read in read_ones {
            // Foreign values have no place in the order.
            if !self.is_written(read) || !writes.is_live(writes.at(read).txn) {
                return false;
            }
        }
        if written <= 1 {
            return true;
        }
        if let Some(ranks) = &options.transaction_order {
            let ranked = touches.iter().filter(|touch| touch.wrote.is_some());
            return ranked
                .clone()
                .all(|touch| ranks.get(touch.txn as usize).is_some());
        }
        if !options.keys.writes_follow_reads {
            return false;
        }
        // A chain of transactions that read a version and wrote the next, from the initial state on to all versions.
        let mut steps: Vec<(u32, u32)> = Vec::new();
        steps.extend(
            touches
                .iter()
                .filter_map(|touch| touch.read.zip(touch.wrote)),
        );
        steps.sort_unstable();
        let mut at = initial;
        let mut passed = 0;
        while passed < written
            && let Ok(step) = steps.binary_search_by_key(&at, |&(read, _)| read)
        {
            at = steps[step].1;
            passed += 1;
        }
        let is_fork = steps.windows(2).any(|pair| pair[0].0 == pair[1].0);
        passed == written && !is_fork
    }
}

/// Reads that should not have been possible.
pub(super) fn judge_reads(
    history: &Observed,
    writes: &Writes,
    options: &Options,
    findings: &mut Findings,
) {
    for txn in history.indexes().filter(|txn| writes.is_live(txn.0)) {
        let reader = txn.0;
        for op in history.ops(txn) {
            let Op::Read {
                key,
                value: Some(value),
            } = *op
            else {
                continue;
            };
            if writes.kind(key) != Kind::Register {
                continue;
            }
            let (name, read) = (history.key_name(key), || history.value_name(value));
            match writes.writer(key, value) {
                Writer::One(write) => {
                    let write = writes.at(write);
                    let by = write.txn;
                    if by == reader {
                        continue;
                    }
                    if history.txn(TxnIndex(by)).outcome == Outcome::Aborted {
                        findings.note(Anomaly::G1a, &[by, reader], || {
                            format!("T{reader} read {name} as {}, and T{by}, which wrote that, aborted.", read())
                        });
                    }
                    if !write.is_final() {
                        findings.note(Anomaly::G1b, &[by, reader], || {
                            format!("T{reader} read {name} as {}: T{by} wrote that and then wrote over it.", read())
                        });
                    }
                }
                Writer::Nobody if options.unwritten == Unwritten::Garbage => {
                    findings.note_impossible(history, Anomaly::GarbageRead, reader, || {
                        format!(
                            "T{reader} read {name} as {}, and nobody wrote that.",
                            read()
                        )
                    });
                }
                Writer::Nobody => {}
                Writer::Several => findings.doubt(key, value),
            }
        }
    }
}

/// rw: from those that read a version to those that wrote a later one. Both sorted by version.
fn link_anti(readers: &[(u32, u32)], overwriters: &[(u32, u32)], links: &mut Links) {
    let mut rest = overwriters;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for reading in readers.chunk_by(|one, other| one.0 == other.0) {
        let version = reading[0].0;
        rest = &rest[rest.partition_point(|&(of, _)| of < version)..];
        let end = rest.partition_point(|&(of, _)| of <= version);
        if end == 0 {
            continue;
        }
        before.clear();
        before.extend(reading.iter().map(|&(_, txn)| txn));
        after.clear();
        after.extend(rest[..end].iter().map(|&(_, txn)| txn));
        links.all_to_all(&mut before, &mut after, Class::RW);
    }
}

fn push_pair(earlier: Option<u32>, later: Option<u32>, pairs: &mut Vec<(u32, u32)>) {
    if let (Some(earlier), Some(later)) = (earlier, later)
        && earlier != later
    {
        pairs.push((earlier, later));
    }
}

fn live_writer(writes: &Writes, version: u32) -> Option<u32> {
    let txn = writes.at(version).txn;
    writes.is_live(txn).then_some(txn)
}

/// The write of a value that several transactions wrote.
fn own(writes: &Writes, key: Key, value: Value, txn: u32) -> Option<u32> {
    writes
        .of_key(key)
        .find(|&write| writes.at(write).value == value && writes.at(write).txn == txn)
}
