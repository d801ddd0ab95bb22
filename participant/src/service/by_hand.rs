//! What operators ask of a site, written down before it is done.
//!
//! Invariant: (O2) what is asked for is in the audit file before it is done; what came of it follows.

use std::sync::Arc;

use co_core::Gtid;
use coco::protocol::ByHand;
use coco::service::audit::{Audit, objection};
use coco::service::site::DoneByHand;
use coco::service::{Refused, RefusedCode};
use tokio::sync::oneshot;

use crate::site::{ByHandError, Site};

/// Decides by hand, for this operator and reason. An operator who goes away does not take what follows along (O2).
pub(super) async fn resolve(
    site: &Arc<Site>,
    audit: Option<&Arc<Audit>>,
    operator: String,
    what: (Gtid, ByHand),
    reason: String,
) -> Result<DoneByHand, Refused> {
    let (site, audit) = (Arc::clone(site), audit.cloned());
    let task = async move { decide(&site, audit.as_ref(), &operator, what, &reason).await };
    match tokio::spawn(task).await {
        Ok(resolved) => resolved,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(Refused {
            code: RefusedCode::LogFailed,
            ..refuse("the site is ending; ask again when it is back".to_owned())
        }),
    }
}

async fn decide(
    site: &Site,
    audit: Option<&Arc<Audit>>,
    operator: &str,
    (gtid, how): (Gtid, ByHand),
    reason: &str,
) -> Result<DoneByHand, Refused> {
    if let Some(objection) = objection(reason) {
        return Err(refuse(objection));
    }
    let audit = audit.ok_or_else(|| {
        refuse("this site has no data folder to keep an audit file in".to_owned())
    })?;
    let (action, stamp) = match how {
        ByHand::Commit { stamp } => ("commit", stamp),
        ByHand::Abort => ("abort", None),
        ByHand::Acknowledge => ("acknowledge", None),
    };
    let entry = serde_json::json!({
        "operator": operator, "action": action, "gtid": gtid.0, "stamp": stamp.map(|stamp| stamp.0),
        "reason": reason,
    });
    write(audit, entry.clone()).await?;
    let (done, outcome) = oneshot::channel();
    site.resolve(
        gtid,
        how,
        Box::new(move |result| {
            // An error means that the operator has gone: it is done all the same.
            let _gone = done.send(result);
        }),
    );
    let resolved = outcome.await.unwrap_or(Err(ByHandError::Unknown));
    tell(gtid, operator, reason, (action, &resolved));
    let mut said = entry;
    match &resolved {
        Ok(done) => {
            let along: Vec<u64> = done.along.iter().map(|gtid| gtid.0).collect();
            said["outcome"] = "done".into();
            said["aborted_along"] = along.into();
        }
        Err(error @ ByHandError::Unknown) => said["outcome"] = format!("unknown: {error}").into(),
        Err(error) => said["outcome"] = format!("left alone: {error}").into(),
    }
    let outcome = said["outcome"].to_string();
    write(audit, said).await.map_err(|refused| Refused {
        code: RefusedCode::LogFailed,
        message: format!(
            "the transaction is {outcome}, and that is not in the audit: {}",
            refused.message
        ),
        ..refused
    })?;
    match resolved {
        Ok(done) => Ok(DoneByHand {
            decision: done.decision,
            along: done.along,
        }),
        Err(error @ ByHandError::Unknown) => Err(Refused {
            code: RefusedCode::LogFailed,
            ..refuse(error.to_string())
        }),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// Says in the log what has become of it.
fn tell(
    gtid: Gtid,
    operator: &str,
    reason: &str,
    (action, resolved): (&str, &Result<crate::site::DoneByHand, ByHandError>),
) {
    match resolved {
        Ok(_) => tracing::warn!(%gtid, operator, reason, "done by hand: {action}"),
        Err(error @ ByHandError::Refused(_)) => {
            tracing::warn!(%gtid, operator, reason, "not done by hand, left alone: {action}: {error}");
        }
        Err(error @ ByHandError::Unknown) => {
            tracing::warn!(%gtid, operator, reason, "asked for by hand, outcome unknown: {action}: {error}");
        }
    }
}

async fn write(audit: &Arc<Audit>, entry: serde_json::Value) -> Result<(), Refused> {
    audit.write(entry).await.map_err(|error| {
        refuse(format!(
            "the audit file cannot be written ({error}); mend the disk and ask again"
        ))
    })
}

fn refuse(message: String) -> Refused {
    Refused {
        code: RefusedCode::NotResolvable,
        message,
        retry_after: None,
    }
}
