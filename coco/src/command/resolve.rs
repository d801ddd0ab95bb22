//! `coco resolve`: ends a transaction by hand, at its coordinator or at one site.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use co_core::{Gtid, Stamp};
use serde_json::json;

use super::operator::{connect_to, list};
use super::options::EitherArgs;
use crate::client::{ClientError, SiteOperator};
use crate::protocol::ByHand;
use crate::service::RefusedCode;
use crate::service::coordinator::{Resolved, cause_name};
use crate::service::process::{self, Fatal};
use crate::service::site::DoneByHand;

/// Left alone, or not without being understood.
const LEFT_ALONE: u8 = 1;

/// Which transaction to end by hand, how, where and why.
#[derive(ClapArgs, Clone, Debug)]
#[command(group(clap::ArgGroup::new("how").required(true)))]
pub struct Resolve {
    /// Which transaction: a number, as the other commands print it.
    gtid: u64,
    /// Abort it: at the coordinator if it is undecided, at a site if it is in doubt there.
    #[arg(long, group = "how")]
    abort: bool,
    /// Commit it at a site where it is in doubt. At a coordinator that is not possible, and says why.
    #[arg(long, group = "how")]
    commit: bool,
    /// The damage that a decision by hand has done at a site is known, and need not be shown any more.
    #[arg(long, group = "how", requires = "site")]
    acknowledge: bool,
    /// With --commit at a site: the stamp of the commit, if the coordinator's is known from elsewhere.
    #[arg(long, value_name = "STAMP", requires_all = ["commit", "site"])]
    stamp: Option<u64>,
    /// Why; goes into the audit file.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// To decide at a site: I know that this may leave the transaction committed here and aborted there.
    #[arg(long, requires = "site")]
    i_understand: bool,
    #[command(flatten)]
    server: EitherArgs,
}

/// What came of it.
struct Outcome {
    done: bool,
    said: String,
    along: Vec<Gtid>,
}

impl Outcome {
    fn left_alone(why: &str) -> Self {
        Self {
            done: false,
            said: format!("left alone: {why}"),
            along: Vec::new(),
        }
    }
}

const NO_COMMIT: &str = "a coordinator commits what all sites have voted for, at once and by itself: what is \
    undecided lacks a vote, and a commit by hand would let one site keep what another has thrown away; \
    abort it, or mend the site whose vote is missing (coco withheld, coco in-doubt)";

const WHAT_IT_BREAKS: &str = "this decides the transaction at this site alone, whatever its coordinator decides or has \
    decided. If that is the contrary, it is committed at some sites and aborted at others: money is made or lost. Its \
    locks are released here, and others read what it leaves: the order of commits over all sites is broken too. It \
    cannot be taken back. Bring back the coordinator's log instead if you can; look at the other sites (coco in-doubt \
    --site) and their audit files first, and decide the same everywhere. If you mean it, add --i-understand";

/// Ends a transaction by hand. The exit status is 0 if that is done, 1 if it was left alone.
///
/// # Errors
/// If the server cannot be asked.
pub async fn resolve(args: &Resolve) -> Result<ExitCode, Fatal> {
    let outcome = match (&args.server.site, &args.server.at) {
        (Some(site), _) => at_site(args, site).await?,
        (None, Some(at)) => at_coordinator(args, at).await?,
        (None, None) => return Err(Fatal::because("say where, with --at or --site")),
    };
    let along: Vec<u64> = outcome.along.iter().map(|gtid| gtid.0).collect();
    if args.server.json() {
        let report = json!({
            "gtid": args.gtid, "aborted": outcome.done && args.abort, "done": outcome.done,
            "outcome": outcome.said, "aborted_along": along,
        });
        process::say(&report.to_string())?;
    } else {
        process::say(&format!("transaction {}: {}", args.gtid, outcome.said))?;
        if !along.is_empty() {
            let along = list(&outcome.along);
            process::say(&format!(
                "aborted along with it, because they had read from it: {along}"
            ))?;
        }
    }
    Ok(if outcome.done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LEFT_ALONE)
    })
}

async fn at_coordinator(args: &Resolve, at: &str) -> Result<Outcome, Fatal> {
    if args.commit {
        return Ok(Outcome::left_alone(NO_COMMIT));
    }
    let client = connect_to(at, args.server.credentials()?).await?;
    let resolved = client.resolve(Gtid(args.gtid), &args.reason).await;
    Ok(match resolved.map_err(Fatal::new)? {
        Resolved::Aborted(cause) => Outcome {
            done: true,
            said: format!("aborted ({})", cause_name(cause)),
            along: Vec::new(),
        },
        Resolved::Refused(why) => Outcome::left_alone(&why),
        Resolved::Unknown => Outcome {
            done: false,
            said: "asked for; its only site decides, and has not answered yet: look again"
                .to_owned(),
            along: Vec::new(),
        },
    })
}

async fn at_site(args: &Resolve, site: &str) -> Result<Outcome, Fatal> {
    let how = if args.acknowledge {
        ByHand::Acknowledge
    } else if !args.i_understand {
        return Ok(Outcome::left_alone(WHAT_IT_BREAKS));
    } else if args.commit {
        let stamp = args.stamp.map(Stamp);
        ByHand::Commit { stamp }
    } else {
        ByHand::Abort
    };
    let operator = SiteOperator::connect(site, &args.server.credentials()?).await;
    let operator = operator.map_err(Fatal::new)?;
    let resolved = operator.resolve(Gtid(args.gtid), how, &args.reason).await;
    match resolved {
        Ok(DoneByHand { along, .. }) => {
            let said = match how {
                ByHand::Commit { .. } => "committed at this site by hand",
                ByHand::Abort => "aborted at this site by hand",
                ByHand::Acknowledge => "the damage is acknowledged",
            };
            Ok(Outcome {
                done: true,
                said: said.to_owned(),
                along,
            })
        }
        Err(ClientError::Refused(refused)) if refused.code == RefusedCode::NotResolvable => {
            Ok(Outcome::left_alone(&refused.message))
        }
        Err(error) => Err(Fatal::new(error)),
    }
}
