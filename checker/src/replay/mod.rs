//! Judges histories by running them again in the order of decisions, without building a graph.
//!
//! # Method
//!
//! If every conflict agrees with the stamps, the order of the stamps is a serial order, and the histories are
//! commitment ordered and serializable. So the transactions of each site are run one after another in the order of
//! their stamps, against a state that has for each key the version in place: every read must have seen it, and every
//! install must be above all that was seen and overwritten. If that succeeds to the footers of all files, and the
//! sites agree on the outcomes and the stamps of global transactions, then both levels hold ([`Replayed`]).
//!
//! **Anything else is left to [`Case`](crate::Case)** ([`Undecided`]): a conflict that disagrees, a missing stamp or
//! footer, a transaction in doubt that committed elsewhere, a line that cannot be read. So this is the fast path of
//! histories that are as they should be, and never says that anything is wrong. Some that are valid are left over, too:
//! a stamp that only another site knows, and a transaction that reads a sum with its own increment in it, or reads or
//! scans at a position that is not before its own.
//!
//! Lines need not be in the order of stamps: [`Options::window`] records of a site wait, and the lowest of them is
//! replayed next. What comes later than that is [`Undecided::Late`].
//!
//! Memory is proportional to the number of keys and to the window, not to the length of the histories, but for one bit
//! for each transaction and position (where their numbers are dense), because the format forbids to use one twice.
//! Each site is read by a thread of its own, and replayed by another.
//!
//! ```
//! use checker::Level;
//! use checker::replay::{Options, Undecided, replay};
//!
//! let a = "co-history 1 A\nc G1 5 1 w:x\nc G2 6 - r:x@1\nend 2\n";
//! let b = "co-history 1 B\nc G1 5 - r:y@0\nc G2 6 1 w:y\nend 2\n";
//! let replayed = replay(&[a.as_bytes(), b.as_bytes()], &Options::default())?;
//! assert_eq!(replayed.statistics().committed, 2);
//!
//! let skewed = b.replace("G1 5", "G1 7");
//! let undecided = replay(&[a.as_bytes(), skewed.as_bytes()], &Options::default());
//! assert_eq!(undecided.unwrap_err(), Undecided::Disagrees);
//! # Ok::<(), Undecided>(())
//! ```

mod apply;
mod batch;
mod join;
pub(crate) mod key;
mod lines;
mod site;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::history::TxnId;
use crate::recovery::{Answer, Gap, Recovery};
use crate::verdict::{Level, Report, Statistics, TxnRef, Verdict};

use site::{Counts, Ways};

/// How histories are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many records of a site wait for those with lower stamps.
    pub window: usize,
    /// Whether to keep the order of the transactions, which takes memory for each of them.
    pub with_order: bool,
    /// How many bytes of a file are read, after decompression.
    pub max_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 1 << 16,
            with_order: false,
            max_bytes: 64 << 30,
        }
    }
}

/// Histories that are commitment ordered, and therefore serializable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    statistics: Statistics,
    order: Vec<TxnRef>,
}

/// Why a replay says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Undecided {
    /// A line is not of the format or of a version that is not known here, or a file cannot be read.
    #[error("a history cannot be read")]
    Unreadable,
    /// A read that was not of the version in place, or something out of the order of decisions.
    #[error("something disagrees with the order of decisions")]
    Disagrees,
    /// A footer or a stamp is missing, no transaction committed, or two histories are of one site.
    #[error("something is missing")]
    Doubt,
    /// A record came after others that were decided later, and more than the window holds.
    #[error("records are further out of order than the window is wide")]
    Late,
    /// Another thread has found one of the others.
    #[error("stopped")]
    Stopped,
}

/// Something that holds a history.
trait Source: Sync {
    /// Reads it, decompressed.
    fn open(&self, max_bytes: u64) -> Result<Box<dyn Read + '_>, Undecided>;
}

impl Source for &[u8] {
    fn open(&self, _: u64) -> Result<Box<dyn Read + '_>, Undecided> {
        Ok(Box::new(*self))
    }
}

impl<P: AsRef<Path> + Sync> Source for InFile<'_, P> {
    fn open(&self, max_bytes: u64) -> Result<Box<dyn Read + '_>, Undecided> {
        let file = File::open(self.0.as_ref()).map_err(|_| Undecided::Unreadable)?;
        let plain = crate::formats::plain(BufReader::with_capacity(1 << 16, file), max_bytes);
        Ok(Box::new(plain.map_err(|_| Undecided::Unreadable)?))
    }
}

struct InFile<'a, P>(&'a P);

/// Replays the histories in these texts, one for each site.
///
/// # Errors
///
/// Says why nothing can be said.
pub fn replay(texts: &[&[u8]], options: &Options) -> Result<Replayed, Undecided> {
    run(texts, options)
}

/// Replays the histories in these files, which may be compressed, one for each site.
///
/// # Errors
///
/// Says why nothing can be said.
pub fn replay_files(
    paths: &[impl AsRef<Path> + Sync],
    options: &Options,
) -> Result<Replayed, Undecided> {
    let files: Vec<_> = paths.iter().map(InFile).collect();
    run(&files, options)
}

impl Replayed {
    /// The size of the case; `edges` is 0, since there was no graph.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The transactions in the order of their decisions, which is a serial order; empty unless it was asked for.
    #[must_use]
    pub fn serial_order(&self) -> &[TxnRef] {
        &self.order
    }

    /// Whether a replay answers for a level: not for one that asks for sessions or real time.
    #[must_use]
    pub const fn answers(level: Level) -> bool {
        level.clock().is_none()
    }

    /// What a judgement of the whole case says at a level; `None` if a replay does not answer for it.
    #[must_use]
    pub fn report(&self, level: Level) -> Option<Report> {
        Self::answers(level).then(|| Report {
            level,
            verdict: Verdict::Valid {
                serial_order: self.order.clone(),
            },
            statistics: self.statistics,
        })
    }

    /// Which classes of schedules by recoverability hold.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let unknown = || Answer::Unknown {
            because: vec![Gap::TimesOfOperations],
        };
        Recovery {
            recoverable: Answer::Holds,
            cascadeless: unknown(),
            strict: unknown(),
            rigorous: unknown(),
        }
    }
}

/// How many batches are on their way from one thread to another.
const BATCHES: usize = 4;

fn run(sources: &[impl Source], options: &Options) -> Result<Replayed, Undecided> {
    let stop = AtomicBool::new(false);
    let (sites, repeated) = thread::scope(|scope| {
        let mut outcomes = Vec::new();
        let mut telling = Vec::new();
        for source in sources {
            let (full, filled) = mpsc::sync_channel(BATCHES);
            let (emptied, empty) = mpsc::channel();
            let (tell, told) = mpsc::sync_channel(BATCHES);
            telling.push(told);
            let ways = Ways {
                full,
                empty,
                told: (sources.len() > 1).then_some(tell),
                stop: &stop,
            };
            let stop = &stop;
            let reader = scope.spawn(move || {
                let read = source.open(options.max_bytes);
                let read = read.and_then(|source| site::read(source, &ways, options.with_order));
                stop.fetch_or(read.is_err(), Ordering::Relaxed);
                read
            });
            let replayer = scope.spawn(move || {
                let done = apply::replay(&filled, &emptied, options.window);
                stop.fetch_or(done.is_err(), Ordering::Relaxed);
                done
            });
            outcomes.push((reader, replayer));
        }
        let joined = join::join(&telling);
        stop.fetch_or(joined.is_err(), Ordering::Relaxed);
        drop(telling);
        let mut sites = Vec::new();
        let mut faults: Vec<Undecided> = joined.err().into_iter().collect();
        for (reader, replayer) in outcomes {
            let read = reader.join().expect("a reader does not panic");
            let keys = replayer.join().expect("a replayer does not panic");
            faults.extend(
                [read.as_ref().err(), keys.as_ref().err()]
                    .into_iter()
                    .flatten(),
            );
            sites.extend(read.ok().zip(keys.ok()));
        }
        // The first of several, so that it is the same each time if it is one of a kind.
        match faults.into_iter().min() {
            Some(fault) => Err(fault),
            None => Ok((sites, joined.unwrap_or_default())),
        }
    })?;
    sum_up(&sites, repeated)
}

fn sum_up(sites: &[(Counts, usize)], repeated: usize) -> Result<Replayed, Undecided> {
    let names: HashSet<_> = sites.iter().map(|(counts, _)| &counts.name).collect();
    let mut statistics = Statistics {
        sites: sites.len(),
        ..Statistics::default()
    };
    for (counts, keys) in sites {
        statistics.committed += counts.committed;
        statistics.aborted += counts.aborted;
        statistics.in_doubt += counts.in_doubt;
        statistics.operations += counts.operations;
        statistics.keys += keys;
    }
    statistics.committed -= repeated;
    if names.len() < sites.len() || statistics.committed == 0 {
        return Err(Undecided::Doubt);
    }
    Ok(Replayed {
        statistics,
        order: order(sites),
    })
}

/// The transactions by their stamps; where these are the same, by the order of the sites and their lines.
fn order(sites: &[(Counts, usize)]) -> Vec<TxnRef> {
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (site, (counts, _)) in sites.iter().enumerate() {
        let stamps = counts.stamps.iter().enumerate();
        all.extend(stamps.map(|(place, (stamp, _))| (*stamp, site, place)));
    }
    all.sort_unstable();
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    for (_, site, place) in all {
        let (counts, _) = &sites[site];
        let (_, txn) = counts.stamps[place];
        let is_first = match txn {
            TxnId::Global(id) => sites.len() == 1 || seen.insert(id),
            TxnId::Local(_) => true,
        };
        if is_first {
            order.push(TxnRef::new(txn, &counts.name));
        }
    }
    order
}
