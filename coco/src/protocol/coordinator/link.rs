//! Sites that come and go.

use std::collections::BTreeSet;

use co_core::Gtid;

use super::{Coordinator, Phase, Site};
use crate::protocol::{
    AbortCause, CoordinatorEffect, Incarnation, Note, SiteName, Time, ToParticipant,
};

/// What a site's hello calls for in one transaction.
enum Catchup {
    Abort,
    Prepare { dependent: bool },
    Decide(ToParticipant),
    AskAgain,
}

impl Coordinator {
    /// The link to a site is down. What it owes will be asked for again when it says hello; what it
    /// lets wait runs into its timers.
    pub fn handle_link_down(
        &mut self,
        _now: Time,
        site: &SiteName,
        _out: &mut Vec<CoordinatorEffect>,
    ) {
        if let Some(site) = self.sites.get_mut(site) {
            site.connected = false;
        }
    }

    pub(super) fn handle_hello(
        &mut self,
        from: &SiteName,
        incarnation: Incarnation,
        address: String,
        in_doubt: &[Gtid],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        if self
            .sites
            .get(from)
            .is_some_and(|site| site.incarnation > incarnation)
        {
            out.push(CoordinatorEffect::Note(Note::StaleHello {
                from: from.clone(),
            }));
            return;
        }
        self.sites.insert(
            from.clone(),
            Site {
                incarnation,
                address,
                connected: true,
            },
        );
        // The site reports its waits anew.
        self.waits.forget_site(from);
        let in_doubt: BTreeSet<Gtid> = in_doubt.iter().copied().collect();
        let catchups: Vec<(Gtid, Catchup)> = self
            .transactions
            .iter()
            .filter_map(|(&gtid, transaction)| {
                let doubted = in_doubt.contains(&gtid);
                catchup(&transaction.phase, from, doubted).map(|what| (gtid, what))
            })
            .collect();
        for (gtid, what) in catchups {
            match what {
                Catchup::Prepare { dependent } => {
                    self.resend(from, ToParticipant::Prepare { gtid, dependent }, out);
                }
                Catchup::Decide(message) => self.resend(from, message, out),
                Catchup::AskAgain => self.ask_again(from, gtid, out),
                Catchup::Abort => {
                    let note = Note::VoteLost {
                        from: from.clone(),
                        gtid,
                    };
                    out.push(CoordinatorEffect::Note(note));
                    self.abort(gtid, AbortCause::UnknownTransaction, None, out);
                }
            }
        }
        for gtid in in_doubt {
            if !matches!(
                self.transactions
                    .get(&gtid)
                    .map(|transaction| &transaction.phase),
                Some(Phase::Committed(_))
            ) {
                self.resolve(from, gtid, out);
            }
        }
    }
}

/// What a transaction in this phase needs from a site that says hello, in doubt about it or not.
fn catchup(phase: &Phase, from: &SiteName, in_doubt: bool) -> Option<Catchup> {
    match phase {
        Phase::Voting(voting) => match voting.votes.get(from)?.as_ref() {
            // It voted YES and should be in doubt. It is not: it has lost the transaction.
            Some(_) if !in_doubt => Some(Catchup::Abort),
            // It repeats its vote by itself.
            Some(_) => None,
            None if in_doubt => None,
            None => Some(Catchup::Prepare {
                dependent: voting.dependent,
            }),
        },
        // In doubt, though all that it acknowledged is recorded here: the acknowledgement was of a
        // decision that its log has lost since. It is told again.
        Phase::Committed(committed) if in_doubt || committed.unacknowledged().contains(from) => {
            Some(Catchup::Decide(committed.decide()))
        }
        Phase::OnePhase(one_phase) if one_phase.site == *from => Some(Catchup::AskAgain),
        Phase::Committed(_)
        | Phase::OnePhase(_)
        | Phase::Active
        | Phase::Forcing(_)
        | Phase::Doomed(_) => None,
    }
}
