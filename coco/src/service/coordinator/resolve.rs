//! Ending a transaction by hand, at the coordinator.
//!
//! Invariants: (O1) an operator can do nothing here that the protocol could not do by itself: an undecided
//! transaction is aborted, a decided one is left alone. Nothing that is done here can break atomicity.
//! (O2) What is asked for is in the audit file before it is done; what came of it follows.

use std::sync::Arc;

use co_core::Gtid;
use tonic::Status;

use super::driver::Input;
use super::{Adapter, Resolved};
use crate::protocol::{CommitAnswer, SiteName, TransactionState};
use crate::service::audit::{Audit, objection};
use crate::service::guard::Caller;

impl Adapter {
    pub(super) async fn resolve_by_hand(
        &self,
        caller: &Caller,
        gtid: Gtid,
        reason: &str,
    ) -> Result<Resolved, Status> {
        if let Some(objection) = objection(reason) {
            return Err(Status::invalid_argument(objection));
        }
        let Some(audit) = self.audit.clone() else {
            let nowhere = "this coordinator has no data folder to keep an audit file in";
            return Err(Status::failed_precondition(nowhere));
        };
        let entry = serde_json::json!({
            "operator": caller.name(),
            "action": "abort",
            "gtid": gtid.0,
            "reason": reason,
        });
        write(&audit, entry.clone()).await?;
        let resolved = self.abort_undecided(gtid).await;
        let said = match &resolved {
            Ok(Resolved::Aborted(cause)) => format!("aborted ({})", super::cause_name(*cause)),
            Ok(Resolved::Refused(why)) => format!("refused: {why}"),
            Ok(Resolved::Unknown) => "unknown".to_owned(),
            Err(status) => format!("failed: {}", status.message()),
        };
        tracing::warn!(%gtid, operator = caller.name(), reason, "asked to abort by hand: {said}");
        let mut outcome = entry;
        outcome["outcome"] = said.into();
        write(&audit, outcome).await?;
        resolved
    }

    /// Aborts the transaction unless it is decided (O1).
    async fn abort_undecided(&self, gtid: Gtid) -> Result<Resolved, Status> {
        let refused = |why: &str| Ok(Resolved::Refused(why.to_owned()));
        match self.ask(|reply| Input::StateOf { gtid, reply }).await? {
            None => {
                return refused(
                    "the coordinator has no such transaction now: it is aborted, or committed and \
                     acknowledged by all its sites, or another coordinator's; a site in doubt about it \
                     is told when it asks",
                );
            }
            Some(TransactionState::Forcing { .. }) => {
                return refused(
                    "its commit is on its way to the disk and may be there; if the log has failed, \
                     restart the coordinator, which reads what became of it",
                );
            }
            Some(TransactionState::Committed { unacknowledged }) => {
                let names: Vec<&str> = unacknowledged.iter().map(SiteName::as_str).collect();
                return refused(&format!(
                    "it is committed; {} will hear so when connected",
                    names.join(", ")
                ));
            }
            Some(TransactionState::Doomed { cause }) => return Ok(Resolved::Aborted(cause)),
            Some(
                TransactionState::Active
                | TransactionState::Voting { .. }
                | TransactionState::OnePhase { .. },
            ) => {}
        }
        // Where an active transaction has worked only its client knows: all sites are told.
        let sites = self.ask(|reply| Input::Sites { reply }).await?;
        let sites = sites.into_iter().map(|site| site.name).collect();
        let answer = self
            .ask(|reply| Input::Rollback { gtid, sites, reply })
            .await?;
        match answer {
            CommitAnswer::Aborted { cause } => Ok(Resolved::Aborted(cause)),
            CommitAnswer::Committed { .. } => refused("its commit was decided first"),
            CommitAnswer::Unknown => Ok(Resolved::Unknown),
            CommitAnswer::Refused(_) => refused("it has ended meanwhile"),
        }
    }
}

async fn write(audit: &Arc<Audit>, entry: serde_json::Value) -> Result<(), Status> {
    audit.write(entry).await.map_err(|error| {
        Status::internal(format!(
            "the audit file cannot be written ({error}); mend the disk and ask again"
        ))
    })
}
