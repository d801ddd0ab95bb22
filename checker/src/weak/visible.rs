//! Which writers are visible to which reads: the conditions of each level.

use crate::observed::{Observed, Outcome};
use crate::search::Doubt;
use crate::search::clocks::{Chains, Clocks};
use crate::search::csr::Csr;
use crate::search::facts::{Facts, NONE, Source};
use crate::search::problem::Problem;
use crate::search::saturate::{Entry, Runs};

use super::Level;

/// `earlier` is before `later` in every `co`, because `reader` read `later` and `earlier` was visible to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    /// The slot of the visible writer.
    pub(super) earlier: u32,
    /// The slot that was read; [`NONE`] is the initial state.
    pub(super) later: u32,
    /// Who read.
    pub(super) reader: u32,
    /// How.
    pub(super) by: By,
}

/// Conditions that a level may lead to; the guarantees without session order can ask for many.
const MOST_CONDITIONS: usize = 20_000_000;

/// How a writer is visible to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// It is before it in its session.
    Session,
    /// The reader read something of it.
    Read,
    /// Over sessions and reads.
    Path,
    /// This member of the reader's session read something of it.
    SessionRead(u32),
    /// This member of its own session is read by the reader.
    ReadAfter(u32),
    /// The first member read something of it, and the second, of the same session or the same, is read by the reader.
    ReadAfterRead(u32, u32),
}

/// Members by key, forgotten at once.
struct Scratch {
    stamp: u32,
    stamps: Vec<u32>,
    values: Vec<u32>,
}

impl Scratch {
    fn new(count: usize) -> Self {
        Self {
            stamp: 0,
            stamps: vec![0; count],
            values: vec![NONE; count],
        }
    }

    const fn forget(&mut self) {
        self.stamp += 1;
    }

    fn get(&self, place: u32) -> u32 {
        let place = place as usize;
        if self.stamps[place] == self.stamp {
            self.values[place]
        } else {
            NONE
        }
    }

    fn set(&mut self, place: u32, value: u32) -> u32 {
        let before = self.get(place);
        self.stamps[place as usize] = self.stamp;
        self.values[place as usize] = value;
        before
    }
}

/// What the reads of one member are of.
pub(super) struct Finder<'f> {
    facts: &'f Facts,
    keys: usize,
    /// The members of each session.
    sessions: Csr<u32>,
    /// The session of each member, and its place there.
    session: Vec<(u32, u32)>,
    /// Whose outcome was told: the others precede nobody in their session.
    told: Vec<bool>,
    found: Vec<Condition>,
}

impl<'f> Finder<'f> {
    /// The conditions of a level.
    pub(super) fn find(
        history: &Observed,
        facts: &'f Facts,
        problem: &Problem<'_>,
        order: &[u32],
        level: Level,
    ) -> Result<Vec<Condition>, Doubt> {
        let of = |member: u32| history.txn(facts.members[member as usize]).session;
        let in_sessions =
            (0..facts.count()).filter_map(|member| of(member).map(|session| (session.0, member)));
        let sessions = Csr::new(history.session_count() as usize, in_sessions);
        let mut session = vec![(NONE, 0); facts.members.len()];
        for number in 0..history.session_count() {
            for (place, member) in (0_u32..).zip(sessions.get(number)) {
                session[*member as usize] = (number, place);
            }
        }
        let mut finder = Self {
            facts,
            keys: history.key_count(),
            sessions,
            session,
            told: facts
                .members
                .iter()
                .map(|txn| history.txn(*txn).outcome == Outcome::Committed)
                .collect(),
            found: Vec::new(),
        };
        match level {
            Level::ReadUncommitted | Level::Pl2 => {}
            Level::ReadCommitted => finder.read(true),
            Level::ReadAtomic => {
                finder.read(false);
                finder.written_in_session(true);
            }
            Level::ReadYourWrites => finder.written_in_session(false),
            Level::MonotonicReads => finder.seen_in_session(),
            Level::MonotonicWrites => finder.written_before(),
            Level::WritesFollowReads => finder.seen_before(),
            Level::Causal => finder.causal(problem, order)?,
        }
        if finder.found.len() > MOST_CONDITIONS {
            return Err(Doubt::TooLarge(MOST_CONDITIONS));
        }
        Ok(finder.found)
    }

    fn add(&mut self, earlier: u32, later: u32, reader: u32, by: By) {
        if self.found.len() <= MOST_CONDITIONS
            && earlier != later
            && self.facts.slot(earlier).writer != reader
        {
            self.found.push(Condition {
                earlier,
                later,
                reader,
                by,
            });
        }
    }

    /// The slot that a read is of; nothing if that is not known.
    const fn read_slot(source: Source) -> Option<u32> {
        match source {
            Source::Initial => Some(NONE),
            Source::Slot(slot) => Some(slot),
            Source::Several | Source::Nothing => None,
        }
    }

    /// The members that a member reads from, each with the place of its first read.
    fn sources(&self, member: u32, seen: &mut Scratch) -> Vec<(u32, usize)> {
        seen.forget();
        let mut sources = Vec::new();
        for (place, read) in self.facts.reads.get(member).iter().enumerate() {
            if let Source::Slot(slot) = read.source {
                let writer = self.facts.slot(slot).writer;
                if seen.set(writer, 0) == NONE {
                    sources.push((writer, place));
                }
            }
        }
        sources
    }

    /// Writers that the reader reads from: at all, or `before` the read in question. Goes over the writer's keys or the
    /// reader's reads, whichever are fewer.
    fn read(&mut self, before: bool) {
        let mut seen = Scratch::new(self.facts.members.len());
        let mut last_read = Scratch::new(self.keys);
        let facts = self.facts;
        for reader in 0..facts.count() {
            let reads = facts.reads.get(reader);
            let sources = self.sources(reader, &mut seen);
            last_read.forget();
            // The reads of each key, from the last one back.
            let mut previous = Vec::with_capacity(reads.len());
            for (place, read) in (0_u32..).zip(reads) {
                previous.push(last_read.set(read.key, place));
            }
            for (writer, first) in sources {
                let from = if before { first + 1 } else { 0 };
                let slots = facts.slots_of(writer);
                if slots.len() < reads.len() - from.min(reads.len()) {
                    for slot in slots {
                        let mut place = last_read.get(facts.slot(slot).key);
                        while place != NONE && place as usize >= from {
                            self.visible(slot, reads[place as usize].source, reader);
                            place = previous[place as usize];
                        }
                    }
                } else {
                    for read in reads.iter().skip(from) {
                        if let Some(slot) = facts.slot_of(writer, read.key) {
                            self.visible(slot, read.source, reader);
                        }
                    }
                }
            }
        }
    }

    fn visible(&mut self, slot: u32, source: Source, reader: u32) {
        if let Some(later) = Self::read_slot(source) {
            self.add(slot, later, reader, By::Read);
        }
    }

    /// Writers before the reader in its session; `last` of each key only, where sessions count in `co`, so that the
    /// others follow.
    fn written_in_session(&mut self, last: bool) {
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); self.keys];
        let facts = self.facts;
        for session in
            0..u32::try_from(self.sessions.len()).expect("sessions are counted in 32 bits")
        {
            let members = self.sessions.get(session).to_vec();
            for member in &members {
                for read in facts.reads.get(*member) {
                    self.all_before(&mut written[read.key as usize], read.source, *member);
                }
                for slot in facts
                    .slots_of(*member)
                    .filter(|_| self.told[*member as usize])
                {
                    let of_key = &mut written[facts.slot(slot).key as usize];
                    if last {
                        of_key.clear();
                    }
                    of_key.push(slot);
                }
            }
            for slot in members.iter().flat_map(|member| facts.slots_of(*member)) {
                written[facts.slot(slot).key as usize].clear();
            }
        }
    }

    /// All of `visible`, which the session wrote, are before what was read. If that is one of them, it stands for them
    /// from then on.
    fn all_before(&mut self, visible: &mut Vec<u32>, source: Source, reader: u32) {
        let Some(later) = Self::read_slot(source) else {
            return;
        };
        for earlier in visible.iter() {
            self.add(*earlier, later, reader, By::Session);
        }
        if visible.contains(&later) {
            visible.clear();
            visible.push(later);
        }
    }

    /// Writers that somebody before the reader in its session has read something of. What the session has read of a key
    /// last stands for what was visible before: those are before it, and it is visible from then on.
    fn seen_in_session(&mut self) {
        let facts = self.facts;
        // By key: the visible slots, and who has read something of their writers.
        let mut seen: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.keys];
        let mut scratch = Scratch::new(facts.members.len());
        for session in
            0..u32::try_from(self.sessions.len()).expect("sessions are counted in 32 bits")
        {
            let mut touched = Vec::new();
            for member in self.sessions.get(session).to_vec() {
                for read in facts.reads.get(member) {
                    let Some(later) = Self::read_slot(read.source) else {
                        continue;
                    };
                    for (earlier, seer) in &seen[read.key as usize] {
                        self.add(*earlier, later, member, By::SessionRead(*seer));
                    }
                }
                if !self.told[member as usize] {
                    continue;
                }
                for read in facts.reads.get(member) {
                    if matches!(read.source, Source::Slot(_)) {
                        seen[read.key as usize]
                            .retain(|(slot, _)| facts.slot(*slot).writer == member);
                    }
                }
                for (writer, _) in self.sources(member, &mut scratch) {
                    for slot in facts.slots_of(writer) {
                        let key = facts.slot(slot).key;
                        if !seen[key as usize].iter().any(|(there, _)| *there == slot) {
                            seen[key as usize].push((slot, member));
                            touched.push(key);
                        }
                    }
                }
            }
            for key in touched {
                seen[key as usize].clear();
            }
        }
    }

    /// Writers before, in its session, somebody that the reader reads from; the last one of each key, since here the
    /// writers of a session are in its order.
    fn written_before(&mut self) {
        let facts = self.facts;
        let place_of = |slot: u32| self.session[facts.slot(slot).writer as usize];
        let slots = (0_u32..)
            .take(facts.slots.len())
            .filter(|slot| place_of(*slot).0 != NONE)
            .filter(|slot| self.told[facts.slot(*slot).writer as usize]);
        let entry = |slot: u32| {
            (
                place_of(slot).0,
                (facts.slot(slot).key, place_of(slot).1, slot),
            )
        };
        let mut written = Csr::new(self.sessions.len(), slots.map(entry));
        written.sort_each_by_key(|entry| *entry);
        let mut scratch = Scratch::new(facts.members.len());
        for reader in 0..facts.count() {
            for (source, _) in self.sources(reader, &mut scratch) {
                let (session, place) = self.session[source as usize];
                if session == NONE {
                    continue;
                }
                let of_session = written.get(session);
                for read in facts.reads.get(reader) {
                    let end =
                        of_session.partition_point(|(key, at, _)| (*key, *at) < (read.key, place));
                    let last = end
                        .checked_sub(1)
                        .map(|last| of_session[last])
                        .filter(|last| last.0 == read.key);
                    if let (Some((_, _, slot)), Some(later)) = (last, Self::read_slot(read.source))
                    {
                        self.found.push(Condition {
                            earlier: slot,
                            later,
                            reader,
                            by: By::ReadAfter(source),
                        });
                    }
                }
            }
        }
        self.found.retain(|condition| {
            condition.earlier != condition.later
                && facts.slot(condition.earlier).writer != condition.reader
        });
    }

    /// Writers that somebody that the reader reads from, or one before it in its session, has read something of.
    fn seen_before(&mut self) {
        let facts = self.facts;
        let mut scratch = Scratch::new(facts.members.len());
        // For each session, by key: the place in the session, who read there, and what became visible. The same for
        // members that are in no session or precede nobody in theirs.
        let mut flat: Vec<(u32, (u32, u32, u32, u32))> = Vec::new();
        let mut alone: Vec<(u32, (u32, u32, u32, u32))> = Vec::new();
        for member in 0..facts.count() {
            let (session, place) = self.session[member as usize];
            for (writer, _) in self.sources(member, &mut scratch) {
                for slot in facts.slots_of(writer) {
                    let entry = (facts.slot(slot).key, place, member, slot);
                    if session == NONE || !self.told[member as usize] {
                        alone.push((member, entry));
                    } else {
                        flat.push((session, entry));
                    }
                }
            }
        }
        let mut by_session = Csr::new(self.sessions.len(), flat.iter().copied());
        by_session.sort_each_by_key(|entry| *entry);
        let by_member = Csr::new(facts.members.len(), alone.iter().copied());
        for reader in 0..facts.count() {
            for (source, _) in self.sources(reader, &mut scratch) {
                let (session, place) = self.session[source as usize];
                let entries = match session {
                    NONE => &[],
                    session => by_session.get(session),
                };
                for read in facts.reads.get(reader) {
                    let Some(later) = Self::read_slot(read.source) else {
                        continue;
                    };
                    let start = entries.partition_point(|entry| entry.0 < read.key);
                    let in_session = entries[start..]
                        .iter()
                        .take_while(|(key, at, ..)| *key == read.key && *at <= place);
                    let own = by_member.get(source).iter();
                    for (_, _, member, slot) in
                        in_session.chain(own.filter(|entry| entry.0 == read.key))
                    {
                        self.add(*slot, later, reader, By::ReadAfterRead(*member, source));
                    }
                }
            }
        }
    }

    /// Writers that reach the reader; the last one in each chain.
    fn causal(&mut self, problem: &Problem<'_>, order: &[u32]) -> Result<(), Doubt> {
        let facts = self.facts;
        let chains = Chains::new(problem, order);
        if !chains.affordable(problem.events()) {
            return Err(Doubt::TooLarge(crate::search::problem::MOST_EDGES));
        }
        let mut clocks = Clocks::new(problem, chains);
        clocks.update(
            &crate::search::clocks::graph(problem.events(), &problem.edges),
            order,
        );
        let runs = Runs::new(problem, &clocks);
        let mut last = Vec::new();
        for reader in 0..facts.count() {
            let row = clocks.row(reader);
            for read in facts.reads.get(reader) {
                let Some(later) = Self::read_slot(read.source) else {
                    continue;
                };
                let implied = (later != NONE).then(|| clocks.row(facts.slot(later).writer));
                let not = |slot: u32| slot == later || facts.slot(slot).writer == reader;
                let reached = |chain: u32, entry: &Entry| row[chain as usize] >= entry.commit;
                runs.last(read.key, u64::MAX, not, reached, |chain, entry| {
                    if implied.is_none_or(|row| row[chain as usize] < entry.commit) {
                        last.push(entry.slot);
                    }
                });
                for earlier in last.drain(..) {
                    self.add(earlier, later, reader, By::Path);
                }
            }
        }
        Ok(())
    }
}
