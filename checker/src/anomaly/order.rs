//! Orders that do not come from values: sessions, and real time.

use crate::observed::{Observed, Outcome};

use super::graph::{Class, Links};

/// Links each transaction to the next of its session. What follows a transaction whose outcome nobody was told is
/// not ordered behind it: it may have taken effect later.
pub(super) fn sessions(history: &Observed, live: &[bool], links: &mut Links) {
    let mut last: Vec<Option<u32>> = vec![None; history.session_count() as usize];
    for (index, txn) in (0_u32..).zip(history.txns()) {
        let Some(session) = txn.session else { continue };
        if !live[index as usize] {
            continue;
        }
        let last = &mut last[session.0 as usize];
        if let Some(before) = *last {
            links.push(before, index, Class::SESSION);
        }
        if txn.outcome == Outcome::Committed {
            *last = Some(index);
        }
    }
}

/// Links each transaction to those that began after it had ended: through a chain of virtual nodes, one for each stretch
/// of time in which transactions ended and none began. That is three links a transaction at most, and exact.
pub(super) fn realtime(history: &Observed, live: &[bool], links: &mut Links) {
    let mut events: Vec<(u32, bool, u32)> = Vec::new();
    for (index, txn) in (0_u32..).zip(history.txns()) {
        let (Some(interval), true) = (txn.interval, live[index as usize]) else {
            continue;
        };
        // At the same instant, beginnings come first: to precede is to end strictly before.
        events.push((interval.begin, false, index));
        let ended = interval.end != u32::MAX && interval.end >= interval.begin;
        if ended && txn.outcome == Outcome::Committed {
            events.push((interval.end, true, index));
        }
    }
    events.sort_unstable();
    let mut now: Option<u32> = None;
    let mut begun_since = true;
    for (_, is_end, txn) in events {
        if !is_end {
            if let Some(now) = now {
                links.push(now, txn, Class::PASS);
            }
            begun_since = true;
            continue;
        }
        if begun_since {
            let node = links.virtual_node();
            if let Some(before) = now {
                links.push(before, node, Class::PASS);
            }
            now = Some(node);
            begun_since = false;
        }
        if let Some(now) = now {
            links.push(txn, now, Class::REALTIME);
        }
    }
}

/// Whether every transaction that counts has an interval.
pub(super) fn all_timed(history: &Observed, live: &[bool]) -> bool {
    history
        .txns()
        .iter()
        .zip(live)
        .all(|(txn, &live)| !live || txn.interval.is_some())
}

/// Whether every transaction that counts has a session.
pub(super) fn all_in_sessions(history: &Observed, live: &[bool]) -> bool {
    history
        .txns()
        .iter()
        .zip(live)
        .all(|(txn, &live)| !live || txn.session.is_some())
}
