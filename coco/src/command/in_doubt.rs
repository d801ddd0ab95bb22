//! `coco in-doubt`: what is in doubt at which sites, and what was decided there by hand.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use co_core::Gtid;
use serde_json::{Value, json};

use super::operator::{MANY, connect_to, millis, texts};
use super::options::EitherArgs;
use super::table::{self, span};
use crate::client::{Client, ClientError, SiteOperator};
use crate::protocol::{Decision, Heuristic, TransactionState};
use crate::service::coordinator::{SiteInfo, TransactionInfo, Transactions, cause_name};
use crate::service::process::{self, Fatal};
use crate::service::site::{InDoubtInfo, Pending};

/// Whom to ask what is in doubt.
#[derive(ClapArgs, Clone, Debug)]
pub struct InDoubt {
    #[command(flatten)]
    server: EitherArgs,
}

/// One branch of a transaction that its site cannot end by itself.
struct Branch {
    site: String,
    gtid: Gtid,
    age: Duration,
    said_by: &'static str,
    what: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    branches: Vec<Branch>,
    by_hand: Vec<(String, Heuristic)>,
    not_asked: Vec<(String, String)>,
}

/// Shows what is in doubt, and what was decided by hand.
///
/// # Errors
/// If the server cannot be asked.
pub async fn in_doubt(args: &InDoubt) -> Result<ExitCode, Fatal> {
    let credentials = args.server.credentials()?;
    let mut found = match (&args.server.site, &args.server.at) {
        (Some(site), _) => {
            let operator = SiteOperator::connect(site, &credentials).await;
            let pending = operator.map_err(Fatal::new)?.pending().await;
            at_one_site(site, pending.map_err(Fatal::new)?)
        }
        (None, Some(at)) => at_all_sites(&connect_to(at, credentials).await?).await?,
        (None, None) => return Err(Fatal::because("say whom to ask, with --at or --site")),
    };
    found
        .branches
        .sort_by_key(|branch| std::cmp::Reverse(branch.age));
    if args.server.json() {
        process::say(&found.json().to_string())?;
    } else {
        found.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn at_one_site(site: &str, pending: Pending) -> Found {
    let branch = |info: &InDoubtInfo| Branch {
        site: site.to_owned(),
        gtid: info.gtid,
        age: info.age,
        said_by: "site",
        what: "not asked".to_owned(),
    };
    let by_hand = pending.heuristics.into_iter();
    Found {
        branches: pending.in_doubt.iter().map(branch).collect(),
        by_hand: by_hand.map(|it| (site.to_owned(), it)).collect(),
        not_asked: Vec::new(),
    }
}

async fn at_all_sites(client: &Client) -> Result<Found, Fatal> {
    let all = client.transactions(MANY).await.map_err(Fatal::new)?;
    let sites = client.sites().await.map_err(Fatal::new)?;
    let mut found = Found::default();
    for site in &sites {
        let name = site.name.as_str();
        let pending = if site.connected {
            client.pending(name).await.map_err(|error| {
                if let ClientError::SiteFailed { status, .. } = &error {
                    return format!("it did not answer ({})", status.message());
                }
                error.to_string()
            })
        } else {
            Err("it is not connected".to_owned())
        };
        match pending {
            Ok(pending) => {
                found.branches.extend(doubts(site, &pending, &all));
                let by_hand = pending.heuristics.into_iter();
                found
                    .by_hand
                    .extend(by_hand.map(|it| (name.to_owned(), it)));
            }
            Err(error) => {
                found.branches.extend(undelivered(site, &all));
                found.not_asked.push((name.to_owned(), error));
            }
        }
    }
    Ok(found)
}

impl Found {
    fn json(&self) -> Value {
        let branch = |branch: &Branch| {
            json!({
                "site": branch.site, "gtid": branch.gtid.0, "age_ms": millis(branch.age),
                "said_by": branch.said_by, "state": branch.what,
            })
        };
        let by_hand = |(site, it): &(String, Heuristic)| {
            json!({
                "site": site, "gtid": it.gtid.0, "by_hand": decision(it.decision),
                "coordinator": it.heard.map(decision), "damage": it.is_damage(),
                "because_of": it.because_of.map(|gtid| gtid.0),
            })
        };
        json!({
            "in_doubt": self.branches.iter().map(branch).collect::<Vec<_>>(),
            "by_hand": self.by_hand.iter().map(by_hand).collect::<Vec<_>>(),
            "sites_not_asked": self.not_asked.iter().map(|(site, why)| {
                json!({ "site": site, "reason": why })
            }).collect::<Vec<_>>(),
        })
    }

    fn print(&self) -> Result<(), Fatal> {
        if self.branches.is_empty() {
            process::say("nothing is in doubt")?;
        } else {
            let row = |branch: &Branch| {
                [
                    branch.site.clone(),
                    branch.gtid.0.to_string(),
                    span(branch.age),
                    branch.said_by.to_owned(),
                    branch.what.clone(),
                ]
            };
            let rows: Vec<_> = self.branches.iter().map(row).collect();
            table::print(
                ["SITE", "GTID", "FOR", "SAID BY", "AT THE COORDINATOR"],
                &rows,
            )?;
        }
        if !self.by_hand.is_empty() {
            process::say("decided by hand:")?;
            let row = |(site, it): &(String, Heuristic)| {
                [
                    site.clone(),
                    it.gtid.0.to_string(),
                    decision(it.decision),
                    it.heard.map_or_else(|| "not heard".to_owned(), decision),
                    note(it),
                ]
            };
            let rows: Vec<_> = self.by_hand.iter().map(row).collect();
            table::print(["SITE", "GTID", "BY HAND", "COORDINATOR", "NOTE"], &rows)?;
        }
        for (site, why) in &self.not_asked {
            process::say(&format!("site {site} could not be asked: {why}"))?;
        }
        Ok(())
    }
}

fn note(heuristic: &Heuristic) -> String {
    let along = heuristic
        .because_of
        .map_or_else(String::new, |gtid| format!("had read from {}", gtid.0));
    match (heuristic.is_damage(), along.is_empty()) {
        (false, _) => along,
        (true, true) => "DAMAGE".to_owned(),
        (true, false) => format!("DAMAGE; {along}"),
    }
}

fn decision(decision: Decision) -> String {
    match decision {
        Decision::Commit { stamp } => format!("committed at {}", stamp.0),
        Decision::Abort { .. } => "aborted".to_owned(),
    }
}

/// What a site says that it is in doubt about.
fn doubts(site: &SiteInfo, pending: &Pending, all: &Transactions) -> Vec<Branch> {
    let branch = |info: &InDoubtInfo| {
        let known = all.transactions.iter().find(|it| it.gtid == info.gtid);
        Branch {
            site: site.name.as_str().to_owned(),
            gtid: info.gtid,
            age: info.age,
            said_by: "site",
            what: known.map_or_else(|| "not known (any more)".to_owned(), state),
        }
    };
    pending.in_doubt.iter().map(branch).collect()
}

/// What a site that cannot be asked may be in doubt about: commits that it has not acknowledged.
fn undelivered(site: &SiteInfo, all: &Transactions) -> Vec<Branch> {
    let concerns = |info: &&TransactionInfo| match &info.state {
        TransactionState::Committed { unacknowledged } => unacknowledged.contains(&site.name),
        TransactionState::Forcing { sites } => sites.contains(&site.name),
        TransactionState::OnePhase { site: only } => *only == site.name,
        TransactionState::Active
        | TransactionState::Voting { .. }
        | TransactionState::Doomed { .. } => false,
    };
    let branch = |info: &TransactionInfo| Branch {
        site: site.name.as_str().to_owned(),
        gtid: info.gtid,
        age: info.age,
        said_by: "coordinator",
        what: state(info),
    };
    all.transactions
        .iter()
        .filter(concerns)
        .map(branch)
        .collect()
}

fn state(info: &TransactionInfo) -> String {
    match &info.state {
        TransactionState::Active => "active".to_owned(),
        TransactionState::Voting { missing } => {
            format!("voting, without {}", texts(missing).join(", "))
        }
        TransactionState::OnePhase { site } => format!("{site} decides"),
        TransactionState::Forcing { .. } => "commit on its way to the disk".to_owned(),
        TransactionState::Committed { unacknowledged } => {
            format!(
                "committed, not heard by {}",
                texts(unacknowledged).join(", ")
            )
        }
        TransactionState::Doomed { cause } => format!("aborted ({})", cause_name(*cause)),
    }
}
