//! Re-checks a cycle, step by step, against the records and nothing else.
//!
//! Neither the graph nor the index of versions has a part in it: each step is tested by the definition of its kind. The
//! records are gone through once.

use std::collections::HashMap;

use crate::client::{Client, RealTime, Turn};
use crate::explain::{Installed, Reason, Seen, SeenBy, Step};
use crate::history::{Committed, Op, Record, Seq, SiteHistory};
use crate::index::Install;
use crate::token::Token;
use crate::verdict::{Cycle, TxnRef};

/// Why a cycle is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessFault {
    /// Fewer than two steps.
    #[error("the cycle has fewer than two steps")]
    TooShort,
    /// The step does not end where the next begins.
    #[error("step {0} does not end where the next begins")]
    Broken(usize),
    /// The records do not say so.
    #[error("the records do not bear out step {0}")]
    NotSo(usize),
}

/// Re-checks a cycle that a judgement of these histories shows.
///
/// ```
/// use checker::{Level, judge, parse::read_history, witness};
///
/// let text = "co-history 2 A\nc L1 1 1 p:s@1 w:x\nc L2 2 - p:s@2 r:x@0\nend 2\n";
/// let sites = [read_history(text.as_bytes(), "A.hist")?];
/// let report = judge(&sites, Level::StrongSessionSerializability);
/// let cycle = report.cycle().expect("the session does not see what it wrote");
/// assert_eq!(cycle.class.to_string(), "G-single-process, a stale read in a session");
/// assert_eq!(witness::check(&sites, cycle), Ok(()));
/// # Ok::<(), checker::ParseError>(())
/// ```
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check(sites: &[SiteHistory], cycle: &Cycle) -> Result<(), WitnessFault> {
    let steps = &cycle.steps;
    if steps.len() < 2 {
        return Err(WitnessFault::TooShort);
    }
    let facts = Facts::new(sites, steps);
    for (place, step) in steps.iter().enumerate() {
        if steps[(place + 1) % steps.len()].from != step.to {
            return Err(WitnessFault::Broken(place));
        }
        if step.from == step.to || !facts.show(step) {
            return Err(WitnessFault::NotSo(place));
        }
    }
    Ok(())
}

/// What the records say of the transactions and the keys of a cycle.
struct Facts<'a> {
    sites: &'a [SiteHistory],
    /// Where each transaction has committed.
    places: HashMap<TxnRef, Vec<Place<'a>>>,
    /// The versions of each key of each site, ascending.
    versions: HashMap<(&'a Token, &'a Token), Vec<(Seq, Install)>>,
}

#[derive(Clone, Copy)]
struct Place<'a> {
    site: &'a Token,
    committed: &'a Committed,
    client: Option<&'a Client>,
}

impl<'a> Facts<'a> {
    fn new(sites: &'a [SiteHistory], steps: &'a [Step]) -> Self {
        let keys = steps
            .iter()
            .filter_map(|step| step.site.as_ref().zip(step.key.as_ref()));
        let mut facts = Self {
            sites,
            places: steps
                .iter()
                .map(|step| (step.from.clone(), Vec::new()))
                .collect(),
            versions: keys.map(|key| (key, Vec::new())).collect(),
        };
        for site in sites {
            for (place, record) in site.records().iter().enumerate() {
                if let Record::Committed(committed) = record {
                    facts.take_in(site, committed, site.client(place));
                }
            }
        }
        let all = facts.versions.values_mut();
        all.for_each(|versions| versions.sort_unstable_by_key(|(seq, _)| *seq));
        facts
    }

    fn take_in(
        &mut self,
        site: &'a SiteHistory,
        committed: &'a Committed,
        client: Option<&'a Client>,
    ) {
        let site = site.site();
        if let Some(places) = self.places.get_mut(&TxnRef::new(committed.txn, site)) {
            places.push(Place {
                site,
                committed,
                client,
            });
        }
        for key in committed.ops.iter().filter_map(Op::installs) {
            if let Some(versions) = self.versions.get_mut(&(site, key))
                && let Some((seq, how)) = committed.seq.zip(effect(committed, key))
                && versions.last() != Some(&(seq, how))
            {
                versions.push((seq, how));
            }
        }
    }

    /// What is recorded of the client of a transaction, at each site.
    fn clients(&self, txn: &TxnRef) -> impl Iterator<Item = &'a Client> {
        let places = self.places.get(txn).into_iter().flatten();
        places.filter_map(|place| place.client)
    }

    /// Whether the records show the step.
    fn show(&self, step: &Step) -> bool {
        match &step.reason {
            Reason::Session {
                session,
                earlier,
                later,
            } => {
                let at = |txn: &TxnRef, position: u64| {
                    let turn = Turn {
                        session: session.clone(),
                        position,
                    };
                    let mut turns = self.clients(txn).filter_map(|client| client.turn.as_ref());
                    turns.next() == Some(&turn) && turns.all(|other| *other == turn)
                };
                earlier < later && at(&step.from, *earlier) && at(&step.to, *later)
            }
            Reason::Realtime {
                told,
                asked,
                clock_error,
            } => {
                let bound = self.sites.iter().map(SiteHistory::clock_error).max();
                let time = |txn: &TxnRef| {
                    let times = self.clients(txn).filter_map(|client| client.time);
                    times.reduce(RealTime::hull)
                };
                let said = [
                    time(&step.from).and_then(|time| time.to),
                    time(&step.to).map(|time| time.from),
                ];
                said == [Some(*told), Some(*asked)]
                    && bound == Some(*clock_error)
                    && asked.saturating_sub(*told) > *clock_error
            }
            on_key @ (Reason::WriteWrite { .. }
            | Reason::WriteRead { .. }
            | Reason::ReadWrite { .. }) => {
                let meeting = self.meeting(step);
                meeting.is_some_and(|meeting| meeting.shows(on_key))
            }
        }
    }

    fn meeting(&self, step: &'a Step) -> Option<Meeting<'a, '_>> {
        let (site, key) = step.site.as_ref().zip(step.key.as_ref())?;
        let of = |txn: &TxnRef| {
            let mut places = self.places.get(txn)?.iter();
            Some(places.find(|place| place.site == site)?.committed)
        };
        Some(Meeting {
            key,
            from: of(&step.from)?,
            to: of(&step.to)?,
            versions: self.versions.get(&(site, key))?,
        })
    }
}

/// Two transactions that have records at a site, and the versions of a key there.
struct Meeting<'a, 'f> {
    key: &'a Token,
    from: &'a Committed,
    to: &'a Committed,
    versions: &'f [(Seq, Install)],
}

/// What a transaction does to a key in the end.
fn effect(committed: &Committed, key: &Token) -> Option<Install> {
    let mut effect = None;
    for op in committed.ops.iter().filter(|op| op.installs() == Some(key)) {
        effect = Some(match (op, effect) {
            (Op::Delete { .. }, _) => Install::Delete,
            (Op::Increment { .. }, None | Some(Install::Increment)) => Install::Increment,
            _ => Install::Write,
        });
    }
    effect
}

impl Meeting<'_, '_> {
    fn shows(&self, reason: &Reason) -> bool {
        let has = |committed: &Committed, installed: &Installed| {
            committed.seq == Some(installed.seq)
                && effect(committed, self.key) == Some(installed.how)
        };
        match reason {
            Reason::WriteWrite { earlier, later } => {
                let both_add = (earlier.how, later.how) == (Install::Increment, Install::Increment);
                has(self.from, earlier)
                    && has(self.to, later)
                    && earlier.seq < later.seq
                    && !both_add
            }
            Reason::WriteRead { installed, seen } => {
                has(self.from, installed)
                    && self.saw(self.to, seen)
                    && self.includes(*installed, seen.version)
            }
            Reason::ReadWrite { seen, installed } => {
                self.saw(self.from, seen) && has(self.to, installed) && seen.version < installed.seq
            }
            Reason::Session { .. } | Reason::Realtime { .. } => false,
        }
    }

    /// Whether a transaction has an operation that saw this version of the key, by what the operation itself says.
    fn saw(&self, reader: &Committed, seen: &Seen) -> bool {
        reader.ops.iter().any(|op| match (op, &seen.by) {
            (Op::Read { key, version }, SeenBy::Read) => {
                key == self.key && *version == seen.version
            }
            (Op::Scan(scan), SeenBy::Scan { lo, hi, pos, found }) => {
                let is_it = scan.lo == *lo && scan.hi == *hi && scan.pos == *pos;
                let mut entries = scan.found.iter().filter(|(key, _)| key == self.key);
                let saw = match entries.next() {
                    Some((_, version)) => *found && *version == seen.version,
                    None => !found && self.latest_for(reader, *pos) == seen.version,
                };
                is_it && scan.covers(self.key) && saw
            }
            _ => false,
        })
    }

    /// The latest version of the key at a position, but for the reader's own.
    fn latest_for(&self, reader: &Committed, pos: Seq) -> Seq {
        let after = self.versions.partition_point(|(seq, _)| *seq <= pos);
        let mut before = self.versions[..after].iter().rev().map(|(seq, _)| *seq);
        let latest = before.find(|seq| Some(*seq) != reader.seq);
        latest.unwrap_or(Seq::INITIAL)
    }

    /// Whether who saw `version` saw what was installed: that version itself, or a sum since.
    fn includes(&self, installed: Installed, version: Seq) -> bool {
        let first = self
            .versions
            .partition_point(|(seq, _)| *seq <= installed.seq);
        let mut since = self.versions[first..]
            .iter()
            .take_while(|(seq, _)| *seq <= version);
        installed.seq == version
            || (installed.seq < version
                && installed.how == Install::Increment
                && since.all(|(_, how)| *how == Install::Increment))
    }
}
