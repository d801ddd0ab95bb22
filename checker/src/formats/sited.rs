//! What the clients of our own sites observed, out of the sites' histories.

use std::collections::HashMap;

use crate::client::{RealTime, Turn};
use crate::history::{Committed, Ending, Op, Record, Seq, SiteHistory};
use crate::observed::{Interval, Key, Observed, ObservedBuilder, ObservedFault, Outcome};
use crate::token::Token;
use crate::verdict::TxnRef;

/// Why histories of sites are not what clients observed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SitedFault {
    /// An operation that is neither a read nor a write of a value.
    #[error(
        "at site {site}, {txn} has the operation `{op}`; only reads, writes and deletes are converted, so judge the \
         files as they are with `co-check history`"
    )]
    Operation {
        /// The transaction.
        txn: TxnRef,
        /// Where.
        site: Token,
        /// The scan or increment, as written.
        op: String,
    },
    /// A history without footer: nobody knows what is missing, and the other formats have no way to say so.
    #[error("{file} was cut short (it has no footer); convert files that are complete")]
    CutShort {
        /// The history.
        file: String,
    },
    /// A transaction in doubt would install versions that have no positions.
    #[error("at site {site}, {txn} is in doubt; resolve it there and convert again")]
    InDoubt {
        /// The transaction.
        txn: TxnRef,
        /// Where.
        site: Token,
    },
    /// Two sites say different things of one transaction, or two transactions claim one place in a session.
    #[error("{txn}: {what}; judge the files with `co-check history`, which says more")]
    Contradiction {
        /// The transaction.
        txn: TxnRef,
        /// What is wrong.
        what: &'static str,
    },
    /// Two histories claim the same site.
    #[error("two files claim to be the history of site {site}; pass one file a site")]
    SiteTwice {
        /// The site.
        site: Token,
    },
    /// More than 32 bits can count.
    #[error(transparent)]
    TooLarge(#[from] ObservedFault),
}

/// The histories of all sites as one history of registers: each version is a value, called by its position, and each
/// key of each site a key (`x@A`; `x` if there is one site only).
///
/// Sessions are kept, and so is the order of real time: the times themselves are kept if they are small enough and the
/// clocks are exact, otherwise numbers that order the same. A transaction's reads come before its writes, because a
/// site records what it saw of others. What is lost is the order of versions and of decisions, so a history that is
/// invalid only by these becomes valid.
///
/// ```
/// use checker::formats::{self, Format, observe_sites};
/// use checker::parse::read_history;
///
/// let text = "co-history 2 A\nc G1 5 1 p:s@1 t:100..200 w:x\nc G2 6 - p:s@2 t:300..400 r:x@1\nend 2\n";
/// let history = observe_sites(&[read_history(text.as_bytes(), "A.hist")?])?;
/// let mut native = Vec::new();
/// formats::write(&history, Format::Native, &mut native)?;
/// let expected = "co-observed 1\nc 0 100..200 w:x=1\nc 0 300..400 r:x=1\nend 2\n";
/// assert_eq!(String::from_utf8(native)?, expected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What would become another history: see [`SitedFault`].
pub fn observe_sites(sites: &[SiteHistory]) -> Result<Observed, SitedFault> {
    let mut txns = join(sites)?;
    in_session_order(&mut txns)?;
    let bound = sites
        .iter()
        .map(SiteHistory::clock_error)
        .max()
        .unwrap_or(0);
    let clock = Clock::of(&txns, bound);
    let names: Vec<&str> = sites.iter().map(SiteHistory::source).collect();
    let mut builder = ObservedBuilder::new(&names.join(", "));
    let mut sessions: HashMap<&Token, u32> = HashMap::new();
    for (line, txn) in (1u32..).zip(&txns) {
        for part in &txn.parts {
            operations(sites, txn, *part, &mut builder)?;
        }
        let session = match txn.turn {
            None => None,
            Some(turn) => {
                let next = u32::try_from(sessions.len());
                let next = next.map_err(|_| ObservedFault::TooLarge("sessions"))?;
                Some(*sessions.entry(&turn.session).or_insert(next))
            }
        };
        let interval = txn.time.map(|time| clock.interval(time));
        builder.end(session, txn.outcome, interval, line)?;
    }
    Ok(builder.finish())
}

/// A transaction of all sites.
#[derive(Debug)]
struct Txn<'a> {
    name: TxnRef,
    outcome: Outcome,
    /// The sites where it committed, and its records there.
    parts: Vec<(usize, &'a Committed)>,
    turn: Option<&'a Turn>,
    time: Option<RealTime>,
}

fn join(sites: &[SiteHistory]) -> Result<Vec<Txn<'_>>, SitedFault> {
    let mut txns: Vec<Txn<'_>> = Vec::new();
    let mut places: HashMap<TxnRef, usize> = HashMap::new();
    for (number, site) in sites.iter().enumerate() {
        if site.ending() == Ending::CutShort {
            let file = site.source().to_owned();
            return Err(SitedFault::CutShort { file });
        }
        if sites[..number]
            .iter()
            .any(|other| other.site() == site.site())
        {
            let site = site.site().clone();
            return Err(SitedFault::SiteTwice { site });
        }
        for (place, record) in site.records().iter().enumerate() {
            let name = TxnRef::new(record.txn(), site.site());
            let (outcome, part) = match record {
                Record::Committed(committed) => (Outcome::Committed, Some((number, committed))),
                Record::Aborted { .. } => (Outcome::Aborted, None),
                Record::InDoubt { .. } => {
                    let site = site.site().clone();
                    return Err(SitedFault::InDoubt { txn: name, site });
                }
            };
            let at = *places.entry(name.clone()).or_insert_with(|| {
                txns.push(Txn {
                    name: name.clone(),
                    outcome,
                    parts: Vec::new(),
                    turn: None,
                    time: None,
                });
                txns.len() - 1
            });
            let txn = &mut txns[at];
            let turn = site.client(place).and_then(|client| client.turn.as_ref());
            let contradiction = if txn.outcome != outcome {
                Some("it committed at one site and aborted at another")
            } else if txn.turn.zip(turn).is_some_and(|(one, other)| one != other) {
                Some("two sites put it into different places of sessions")
            } else {
                None
            };
            if let Some(what) = contradiction {
                return Err(SitedFault::Contradiction { txn: name, what });
            }
            txn.parts.extend(part);
            txn.turn = txn.turn.or(turn);
            let time = site.client(place).and_then(|client| client.time);
            txn.time = txn.time.into_iter().chain(time).reduce(RealTime::hull);
        }
    }
    Ok(txns)
}

/// Puts the transactions of each session in order, in the places that they have among all others.
fn in_session_order(txns: &mut Vec<Txn<'_>>) -> Result<(), SitedFault> {
    let mut of: HashMap<&Token, Vec<usize>> = HashMap::new();
    for (place, turn) in txns
        .iter()
        .enumerate()
        .filter_map(|(place, txn)| Some((place, txn.turn?)))
    {
        of.entry(&turn.session).or_default().push(place);
    }
    let mut from: Vec<usize> = (0..txns.len()).collect();
    for places in of.into_values() {
        let position = |place: &usize| txns[*place].turn.map(|turn| turn.position);
        let mut sorted = places.clone();
        sorted.sort_by_key(position);
        if let Some(pair) = sorted
            .windows(2)
            .find(|pair| position(&pair[0]) == position(&pair[1]))
        {
            return Err(SitedFault::Contradiction {
                txn: txns[pair[1]].name.clone(),
                what: "another transaction has its place in the session",
            });
        }
        for (place, source) in places.into_iter().zip(sorted) {
            from[place] = source;
        }
    }
    let mut taken: Vec<Option<Txn<'_>>> = std::mem::take(txns).into_iter().map(Some).collect();
    txns.extend(from.into_iter().filter_map(|source| taken[source].take()));
    Ok(())
}

fn operations(
    sites: &[SiteHistory],
    txn: &Txn<'_>,
    (number, committed): (usize, &Committed),
    builder: &mut ObservedBuilder,
) -> Result<(), SitedFault> {
    let site = sites[number].site();
    let key_of = |builder: &mut ObservedBuilder, key: &Token| -> Result<Key, SitedFault> {
        Ok(match sites {
            [_] => builder.key(&key.to_string())?,
            _ => builder.key(&format!("{key}@{site}"))?,
        })
    };
    let mut installed: Vec<&Token> = Vec::new();
    for op in &committed.ops {
        match op {
            Op::Read { key, version } => {
                // What it wrote itself, it has not seen of others.
                if committed.seq == Some(*version) && installed.contains(&key) {
                    continue;
                }
                let value = match *version {
                    Seq::INITIAL => None,
                    version => Some(builder.value(&version.to_string())?),
                };
                let key = key_of(builder, key)?;
                builder.read(key, value)?;
            }
            Op::Write { key } | Op::Delete { key } => {
                if !installed.contains(&key) {
                    installed.push(key);
                }
            }
            Op::Increment { .. } | Op::Scan(_) => {
                return Err(SitedFault::Operation {
                    txn: txn.name.clone(),
                    site: site.clone(),
                    op: op.to_string(),
                });
            }
        }
    }
    for key in installed {
        let seq = committed.seq.expect("I2: an installer has a position");
        let value = builder.value(&seq.to_string())?;
        let key = key_of(builder, key)?;
        builder.write(key, value)?;
    }
    Ok(())
}

/// How times become numbers of 32 bits that order the same.
enum Clock {
    /// As they are.
    Exact,
    /// By their rank among all beginnings, and all ends with the clock error added.
    Ranks { instants: Vec<u64>, bound: u64 },
}

impl Clock {
    fn of(txns: &[Txn<'_>], bound: u64) -> Self {
        let times = || txns.iter().filter_map(|txn| txn.time);
        let highest = times().map(|time| time.to.unwrap_or(time.from)).max();
        if bound == 0 && highest.is_none_or(|highest| highest < u64::from(u32::MAX)) {
            return Self::Exact;
        }
        let mut instants: Vec<u64> = times()
            .flat_map(|time| {
                [
                    Some(time.from),
                    time.to.and_then(|to| to.checked_add(bound)),
                ]
            })
            .flatten()
            .collect();
        instants.sort_unstable();
        instants.dedup();
        Self::Ranks { instants, bound }
    }

    fn interval(&self, time: RealTime) -> Interval {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match self {
            Self::Exact => Interval {
                begin: narrow(time.from),
                end: time.to.map_or(u32::MAX, narrow),
            },
            Self::Ranks { instants, bound } => {
                let rank = |at: u64| narrow(instants.partition_point(|other| *other < at) as u64);
                Interval {
                    begin: rank(time.from),
                    end: time
                        .to
                        .and_then(|to| to.checked_add(*bound))
                        .map_or(u32::MAX, rank),
                }
            }
        }
    }
}
