//! Re-checks what the search says, in linear time and with nothing of its code.

use std::collections::HashMap;

use super::level::{Isolation, Level, Precedence};
use super::verdict::{Certificate, Event};
use crate::observed::{Observed, Op, Outcome, TxnIndex};

/// Why a certificate is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyFault {
    /// Snapshots do not certify serializability.
    #[error("snapshots do not certify serializability")]
    WrongKind,
    /// A committed transaction is missing.
    #[error("transaction {} committed and is missing", .0.0)]
    Missing(TxnIndex),
    /// An event comes twice, a commit without a begin, or a transaction that aborted.
    #[error("transaction {} is out of place", .0.0)]
    OutOfPlace(TxnIndex),
    /// A read returned something else.
    #[error("transaction {} did not read what it would read here", .0.0)]
    Read(TxnIndex),
    /// Two transactions that overlap wrote the same key.
    #[error("transaction {} overwrites what was installed since it began", .0.0)]
    Overlap(TxnIndex),
    /// The order contradicts a session.
    #[error("transaction {} begins before the one before it in its session has committed", .0.0)]
    Session(TxnIndex),
    /// The order contradicts real time.
    #[error("transaction {} commits after one has begun that it preceded in real time", .0.0)]
    Realtime(TxnIndex),
    /// It is not about registers.
    #[error("transaction {} works on something else than a register", .0.0)]
    NotRegisters(TxnIndex),
}

/// Whether a certificate explains a history at a level: by execution.
///
/// # Errors
///
/// Why it does not.
pub fn verify(
    history: &Observed,
    level: Level,
    certificate: &Certificate,
) -> Result<(), VerifyFault> {
    match certificate {
        Certificate::Serial(order) => {
            let events = order
                .iter()
                .flat_map(|txn| [Event::Begin(*txn), Event::Commit(*txn)]);
            execute(history, level.precedence, events)
        }
        Certificate::Snapshots(_) if level.isolation == Isolation::Serializable => {
            Err(VerifyFault::WrongKind)
        }
        Certificate::Snapshots(events) => {
            execute(history, level.precedence, events.iter().copied())
        }
    }
}

/// What has begun of a session.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    /// The last of those whose outcome was told, and whether it has committed.
    told: Option<(TxnIndex, bool)>,
    /// The latest in the session's order of those whose outcome nobody was told.
    untold: Option<TxnIndex>,
}

impl Begun {
    /// Whether a transaction may begin now: all before it that were told of have committed, and none behind it, but if
    /// it is not told of itself, has begun.
    fn begin(&mut self, txn: TxnIndex, told: bool) -> bool {
        let follows = self
            .told
            .is_none_or(|(before, done)| if before < txn { done } else { !told });
        if told {
            self.told = Some((txn, false));
            follows && self.untold.is_none_or(|untold| untold < txn)
        } else {
            self.untold = self.untold.max(Some(txn));
            follows
        }
    }
}

fn execute(
    history: &Observed,
    precedence: Precedence,
    events: impl Iterator<Item = Event>,
) -> Result<(), VerifyFault> {
    let mut state = vec![None; history.key_count()];
    let mut installed = vec![0_usize; history.key_count()];
    let mut began = vec![0_usize; history.txns().len()];
    let mut committed = vec![false; history.txns().len()];
    let mut sessions: HashMap<u32, Begun> = HashMap::new();
    let mut latest_begin = 0;
    for (event, now) in events.zip(1_usize..) {
        let (Event::Begin(txn) | Event::Commit(txn)) = event;
        let at = txn.0 as usize;
        let (session, interval) = (history.txn(txn).session, history.txn(txn).interval);
        let has_end = history.txn(txn).outcome == Outcome::Committed;
        if matches!(event, Event::Begin(_)) {
            if began[at] != 0 || history.txn(txn).outcome == Outcome::Aborted {
                return Err(VerifyFault::OutOfPlace(txn));
            }
            began[at] = now;
            latest_begin = latest_begin.max(interval.map_or(0, |interval| interval.begin));
            if let Some(session) = session
                && !sessions.entry(session.0).or_default().begin(txn, has_end)
                && precedence != Precedence::Free
            {
                return Err(VerifyFault::Session(txn));
            }
            let mut own = HashMap::new();
            for op in history.ops(txn) {
                match *op {
                    Op::Write { key, value } => drop(own.insert(key, value)),
                    Op::Read { key, value }
                        if own.get(&key).copied().or(state[key.0 as usize]) != value =>
                    {
                        return Err(VerifyFault::Read(txn));
                    }
                    Op::Read { .. } | Op::Unseen { .. } => {}
                    Op::ReadList { .. } | Op::Append { .. } => {
                        return Err(VerifyFault::NotRegisters(txn));
                    }
                }
            }
        } else {
            if began[at] == 0 || std::mem::replace(&mut committed[at], true) {
                return Err(VerifyFault::OutOfPlace(txn));
            }
            if precedence == Precedence::Realtime
                && has_end
                && interval.is_some_and(|interval| interval.end < latest_begin)
            {
                return Err(VerifyFault::Realtime(txn));
            }
            if let Some(session) = session.filter(|_| has_end) {
                sessions.entry(session.0).or_default().told = Some((txn, true));
            }
            for (key, value) in history.ops(txn).iter().filter_map(|op| op.wrote()) {
                let place = key.0 as usize;
                if installed[place] > began[at] && installed[place] != now {
                    return Err(VerifyFault::Overlap(txn));
                }
                (installed[place], state[place]) = (now, Some(value));
            }
        }
    }
    let missing = |txn: &TxnIndex| {
        let (at, outcome) = (txn.0 as usize, history.txn(*txn).outcome);
        !committed[at] && (outcome == Outcome::Committed || began[at] != 0)
    };
    history
        .indexes()
        .find(missing)
        .map_or(Ok(()), |txn| Err(VerifyFault::Missing(txn)))
}
