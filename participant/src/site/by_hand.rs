//! What operators decide at this site alone, on transactions in doubt whose coordinator is gone for good.
//!
//! The voter says what may be decided and what follows (`coco::protocol`'s H1 to H5); here is the record, its place in
//! the order of commits, and the word to the operator.

use co_core::{Gtid, Stamp};
use coco::protocol::{ByHand, Decision, Heuristic, HeuristicRefused, Time, VoterEffect};

use super::inbox::Event;
use super::{Site, SiteRecord, State};
use crate::participant::TxnName;

/// Called once with what came of it; must not call back into the site.
pub type OnByHand = Box<dyn FnOnce(Result<DoneByHand, ByHandError>) + Send>;

/// What an operator has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoneByHand {
    /// What was decided; none if it was damage that is acknowledged now.
    pub decision: Option<Decision>,
    /// Transactions in doubt that had read from it, and are aborted with it.
    pub along: Vec<Gtid>,
}

/// Why an operator has done nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ByHandError {
    /// Nothing was changed.
    #[error(transparent)]
    Refused(#[from] HeuristicRefused),
    /// The log failed under it.
    #[error(
        "the log has failed with the decision on its way to the disk: restart the site, which finds it decided or in \
         doubt"
    )]
    Unknown,
}

/// What an operator waits for.
pub(super) struct Asked {
    gtid: Gtid,
    done: DoneByHand,
    tell: OnByHand,
}

impl Site {
    /// Decides a transaction in doubt at this site alone, or acknowledges the damage that this did. Atomicity and
    /// order are broken if its coordinator decides, or has decided, the other way.
    pub fn resolve(&self, gtid: Gtid, how: ByHand, done: OnByHand) {
        self.inbox.push(Event::ByHand(gtid, how, done));
    }

    /// What was decided here by hand, and is not settled.
    #[must_use]
    pub fn heuristics(&self) -> Vec<Heuristic> {
        self.state.lock().voter.heuristics().cloned().collect()
    }

    pub(super) fn asked_by_hand(
        state: &mut State,
        now: Time,
        (gtid, how, tell): (Gtid, ByHand, OnByHand),
        effects: &mut Vec<VoterEffect>,
    ) {
        let decision = match how {
            ByHand::Commit { stamp } => {
                // Beyond every stamp of this site, so that what follows here follows it in the order of stamps.
                let next = Stamp(state.clock.0.saturating_add(1));
                let stamp = stamp.unwrap_or(next);
                Some(Decision::Commit { stamp })
            }
            ByHand::Abort => Some(Decision::Abort {
                cause: coco::protocol::AbortCause::Client,
            }),
            ByHand::Acknowledge => None,
        };
        let along = match decision {
            Some(decision) => state.voter.handle_heuristic(now, gtid, decision, effects),
            None => {
                let acknowledged = state.voter.handle_acknowledged(gtid, effects);
                acknowledged.map(|()| Vec::new())
            }
        };
        match along {
            Ok(along) => state.by_hand.push(Asked {
                gtid,
                done: DoneByHand { decision, along },
                tell,
            }),
            Err(refused) => tell(Err(refused.into())),
        }
    }

    /// Tells those who have waited for their records.
    pub(super) fn tell_operators(state: &mut State) {
        for asked in std::mem::take(&mut state.by_hand) {
            if !state.voter.is_being_handled(asked.gtid) {
                (asked.tell)(Ok(asked.done));
            } else if state.log_failed {
                (asked.tell)(Err(ByHandError::Unknown));
            } else {
                state.by_hand.push(asked);
            }
        }
    }
}

/// From here on neither the transaction nor those along are in doubt.
pub(super) fn record(
    state: &mut State,
    gtid: Gtid,
    decision: Decision,
    along: Vec<Gtid>,
) -> SiteRecord {
    let mut ordinal = 0;
    match decision {
        Decision::Commit { stamp } => {
            let doubt = state.doubts.all.get(&gtid);
            let changes = doubt.expect("S2: it was prepared here").changes;
            if changes {
                // Made visible when its record is durable, in its turn (S4).
                ordinal = state.commits.give_alone(TxnName::Global(gtid));
            }
            if let Some(doubt) = state.doubts.all.get_mut(&gtid) {
                doubt.decided = Some(ordinal);
            }
            state.clock = state.clock.max(stamp);
            state.doubts.settle(gtid, Some(stamp));
        }
        Decision::Abort { .. } => {
            for gone in std::iter::once(&gtid).chain(&along) {
                state.doubts.all.remove(gone);
                state.doubts.settle(*gone, None);
            }
        }
    }
    SiteRecord::ByHand {
        gtid,
        decision,
        ordinal,
        along,
    }
}
