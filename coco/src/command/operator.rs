//! What operators ask a running coordinator: tables for people, JSON for programs.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use co_core::Gtid;
use serde_json::{Value, json};

use super::options::ClientArgs;
use super::table::{self, moment, span};
use crate::client::{Client, ClientOptions};
use crate::protocol::{CommitAnswer, SiteName, TransactionState};
use crate::service::coordinator::{DecisionInfo, cause_name};
use crate::service::process::{self, Fatal};
use crate::service::security::Credentials;

/// How many transactions are asked for.
pub(super) const MANY: u32 = 10_000;

pub(super) async fn connect(args: &ClientArgs) -> Result<Client, Fatal> {
    connect_to(&args.at, args.credentials()?).await
}

pub(super) async fn connect_to(uri: &str, credentials: Credentials) -> Result<Client, Fatal> {
    let options = ClientOptions {
        credentials,
        ..ClientOptions::default()
    };
    let client = Client::connect_with(uri, options).await;
    client.map_err(Fatal::new)
}

pub(super) fn texts(sites: &[SiteName]) -> Vec<&str> {
    sites.iter().map(SiteName::as_str).collect()
}

fn numbers(gtids: &[Gtid]) -> Vec<u64> {
    gtids.iter().map(|gtid| gtid.0).collect()
}

pub(super) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn list(gtids: &[Gtid]) -> String {
    let texts: Vec<String> = gtids.iter().map(|gtid| gtid.0.to_string()).collect();
    texts.join(", ")
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
    if args.client.json() {
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
    if args.client.json() {
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
