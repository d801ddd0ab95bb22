//! What operators ask a running coordinator: tables for people, JSON for programs.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use co_core::Gtid;
use serde_json::{Value, json};

use super::options::ClientArgs;
use super::table::{self, moment, span};
use crate::client::{Client, ClientError, ClientOptions};
use crate::protocol::{CommitAnswer, SiteName, TransactionState};
use crate::service::coordinator::{
    DecisionInfo, Resolved, SiteInfo, TransactionInfo, Transactions, cause_name,
};
use crate::service::process::{self, Fatal};
use crate::service::site::Pending;

/// Left alone, or not without being understood.
const LEFT_ALONE: u8 = 1;

/// How many transactions are asked for.
const MANY: u32 = 10_000;

pub(super) async fn connect(args: &ClientArgs) -> Result<Client, Fatal> {
    let options = ClientOptions {
        credentials: args.credentials()?,
        ..ClientOptions::default()
    };
    let client = Client::connect_with(&args.at, options).await;
    client.map_err(Fatal::new)
}

fn texts(sites: &[SiteName]) -> Vec<&str> {
    sites.iter().map(SiteName::as_str).collect()
}

fn numbers(gtids: &[Gtid]) -> Vec<u64> {
    gtids.iter().map(|gtid| gtid.0).collect()
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn list(gtids: &[Gtid]) -> String {
    let texts: Vec<String> = gtids.iter().map(|gtid| gtid.0.to_string()).collect();
    texts.join(", ")
}

#[derive(ClapArgs, Clone, Debug)]
pub(super) struct InDoubt {
    #[command(flatten)]
    client: ClientArgs,
}

/// One branch of a transaction that its site cannot end by itself.
struct Branch {
    site: String,
    gtid: Gtid,
    age: std::time::Duration,
    said_by: &'static str,
    what: String,
}

pub(super) async fn in_doubt(args: &InDoubt) -> Result<ExitCode, Fatal> {
    let client = connect(&args.client).await?;
    let all = client.transactions(MANY).await.map_err(Fatal::new)?;
    let sites = client.sites().await.map_err(Fatal::new)?;
    let mut branches = Vec::new();
    let mut not_asked = Vec::new();
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
            Ok(pending) => branches.extend(doubts(site, &pending, &all)),
            Err(error) => {
                branches.extend(undelivered(site, &all));
                not_asked.push((name.to_owned(), error));
            }
        }
    }
    branches.sort_by_key(|branch| std::cmp::Reverse(branch.age));
    if args.client.json {
        let branch = |branch: &Branch| {
            json!({
                "site": branch.site, "gtid": branch.gtid.0, "age_ms": millis(branch.age),
                "said_by": branch.said_by, "state": branch.what,
            })
        };
        let report = json!({
            "in_doubt": branches.iter().map(branch).collect::<Vec<_>>(),
            "sites_not_asked": not_asked.iter().map(|(site, why)| {
                json!({ "site": site, "reason": why })
            }).collect::<Vec<_>>(),
        });
        process::say(&report.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if branches.is_empty() {
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
        let rows: Vec<_> = branches.iter().map(row).collect();
        table::print(
            ["SITE", "GTID", "FOR", "SAID BY", "AT THE COORDINATOR"],
            &rows,
        )?;
    }
    for (site, why) in not_asked {
        process::say(&format!("site {site} could not be asked: {why}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a site says that it is in doubt about.
fn doubts(site: &SiteInfo, pending: &Pending, all: &Transactions) -> Vec<Branch> {
    let branch = |info: &crate::service::site::InDoubtInfo| {
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

#[derive(ClapArgs, Clone, Debug)]
pub(super) struct Withheld {
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn withheld(args: &Withheld) -> Result<ExitCode, Fatal> {
    let client = connect(&args.client).await?;
    let mut all = client.transactions(MANY).await.map_err(Fatal::new)?;
    all.waits.sort_by_key(|wait| std::cmp::Reverse(wait.age));
    let kind = |gtid: Gtid| {
        let found = all.transactions.iter().find(|it| it.gtid == gtid);
        match found.map(|it| &it.state) {
            Some(TransactionState::Voting { .. } | TransactionState::OnePhase { .. }) => "vote",
            Some(
                TransactionState::Active
                | TransactionState::Forcing { .. }
                | TransactionState::Committed { .. }
                | TransactionState::Doomed { .. },
            ) => "operation",
            None => "unknown",
        }
    };
    if args.client.json {
        let wait = |wait: &crate::service::coordinator::WaitInfo| {
            json!({
                "site": wait.site.as_str(), "gtid": wait.gtid.0, "withholds": kind(wait.gtid),
                "waits_for": numbers(&wait.waits_for), "age_ms": millis(wait.age),
            })
        };
        let report = json!({ "withheld": all.waits.iter().map(wait).collect::<Vec<_>>() });
        process::say(&report.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if all.waits.is_empty() {
        process::say("nothing is withheld")?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |wait: &crate::service::coordinator::WaitInfo| {
        [
            wait.site.to_string(),
            wait.gtid.0.to_string(),
            kind(wait.gtid).to_owned(),
            span(wait.age),
            list(&wait.waits_for),
        ]
    };
    let rows: Vec<_> = all.waits.iter().map(row).collect();
    table::print(["SITE", "GTID", "WITHHELD", "FOR", "UNTIL DECIDED"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(ClapArgs, Clone, Debug)]
pub(super) struct History {
    /// At most so many of each kind.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

fn outcome(info: &DecisionInfo) -> String {
    match info.answer {
        CommitAnswer::Committed { stamp } => format!("committed at {}", stamp.0),
        CommitAnswer::Aborted { cause } => format!("aborted ({})", cause_name(cause)),
        CommitAnswer::Unknown => "unknown before a restart".to_owned(),
        CommitAnswer::Refused(_) => "not known".to_owned(),
    }
}

pub(super) async fn history(args: &History) -> Result<ExitCode, Fatal> {
    let client = connect(&args.client).await?;
    let history = client.history(args.limit).await.map_err(Fatal::new)?;
    let since = |at: std::time::SystemTime| {
        let since = at.duration_since(std::time::UNIX_EPOCH);
        millis(since.unwrap_or_default())
    };
    let action = |line: &String| -> Value {
        serde_json::from_str(line).unwrap_or_else(|_| json!({ "unreadable": line }))
    };
    let actions: Vec<Value> = history.actions.iter().map(action).collect();
    if args.client.json {
        let decision = |info: &DecisionInfo| json!({ "gtid": info.gtid.0, "at_ms": since(info.at), "outcome": outcome(info) });
        let deadlock = |info: &crate::service::coordinator::DeadlockInfo| json!({ "victim": info.victim.0, "at_ms": since(info.at) });
        let report = json!({
            "decisions": history.decisions.iter().map(decision).collect::<Vec<_>>(),
            "deadlocks": history.deadlocks.iter().map(deadlock).collect::<Vec<_>>(),
            "actions": actions,
        });
        process::say(&report.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let decisions = history.decisions.iter().map(|info| {
        let what = "decision".to_owned();
        (
            since(info.at),
            [
                moment(info.at),
                what,
                info.gtid.0.to_string(),
                outcome(info),
            ],
        )
    });
    let deadlocks = history.deadlocks.iter().map(|info| {
        let (what, how) = ("deadlock".to_owned(), "broken by its abort".to_owned());
        (
            since(info.at),
            [moment(info.at), what, info.victim.0.to_string(), how],
        )
    });
    let mut rows: Vec<_> = decisions.chain(deadlocks).collect();
    for action in &actions {
        let at = action["at_ms"].as_u64().unwrap_or_default();
        let when = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at);
        let text = |field: &str| action[field].as_str().unwrap_or_default().to_owned();
        let what = match action["outcome"].as_str() {
            None => format!(
                "{} asks to {}: {}",
                text("operator"),
                text("action"),
                text("reason")
            ),
            Some(outcome) => format!("{} for {}", outcome, text("operator")),
        };
        let gtid = action["gtid"].as_u64().unwrap_or_default().to_string();
        rows.push((at, [moment(when), "operator".to_owned(), gtid, what]));
    }
    if rows.is_empty() {
        process::say("nothing has happened since the coordinator started")?;
        return Ok(ExitCode::SUCCESS);
    }
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    table::print(["WHEN", "WHAT", "GTID", "OUTCOME"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(ClapArgs, Clone, Debug)]
#[command(group(clap::ArgGroup::new("how").required(true)))]
pub(super) struct Resolve {
    /// Which transaction: a number, as the other commands print it.
    gtid: u64,
    /// Abort it, if it is undecided.
    #[arg(long, group = "how")]
    abort: bool,
    /// Not possible, and says why.
    #[arg(long, group = "how")]
    commit: bool,
    /// Why; goes into the audit file.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    client: ClientArgs,
}

const NO_COMMIT: &str = "a coordinator commits what all sites have voted for, at once and by itself: what is \
    undecided lacks a vote, and a commit by hand would let one site keep what another has thrown away; \
    abort it, or mend the site whose vote is missing (coco withheld, coco in-doubt)";

pub(super) async fn resolve(args: &Resolve) -> Result<ExitCode, Fatal> {
    let (done, said) = if args.commit {
        (false, format!("left alone: {NO_COMMIT}"))
    } else {
        let client = connect(&args.client).await?;
        let resolved = client.resolve(Gtid(args.gtid), &args.reason).await;
        match resolved.map_err(Fatal::new)? {
            Resolved::Aborted(cause) => (true, format!("aborted ({})", cause_name(cause))),
            Resolved::Refused(why) => (false, format!("left alone: {why}")),
            Resolved::Unknown => {
                let unknown =
                    "asked for; its only site decides, and has not answered yet: look again";
                (false, unknown.to_owned())
            }
        }
    };
    if args.client.json {
        let report = json!({ "gtid": args.gtid, "aborted": done, "outcome": said });
        process::say(&report.to_string())?;
    } else {
        process::say(&format!("transaction {}: {said}", args.gtid))?;
    }
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LEFT_ALONE)
    })
}
