//! `coco status`: what a running coordinator has done, and its sites.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;

use super::operator::connect;
use super::options::ClientArgs;
use crate::client::Client;
use crate::protocol::SiteName;
use crate::service::coordinator::{SiteInfo, Statistics};
use crate::service::process::{self, Fatal};

#[derive(ClapArgs, Clone, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn status(args: &Status) -> Result<(), Fatal> {
    let client = connect(&args.client).await?;
    let sites = client.sites().await.map_err(Fatal::new)?;
    let statistics = client.statistics().await.map_err(Fatal::new)?;
    let counters = &statistics.counters;
    let by_hand = by_hand(&client, &sites).await;
    if args.client.json() {
        return process::say(&report(&statistics, &sites, &by_hand).to_string());
    }
    let state = if statistics.serving {
        "serving"
    } else {
        "not serving"
    };
    process::say(&format!(
        "{state}, epoch {}; {} in flight, {} begun, {} committed ({} of one site), {} aborted, \
         {} of unknown outcome",
        statistics.epoch,
        statistics.in_flight,
        counters.begun,
        counters.commits,
        counters.one_phase_commits,
        counters.aborts_in_all(),
        counters.unknown,
    ))?;
    for (cause, count) in &counters.aborts {
        process::say(&format!("  aborted for {cause:?}: {count}"))?;
    }
    process::say(&format!(
        "deadlocks over several sites: {} found by search, {} ended by timeout; {} never used",
        counters.deadlocks_by_search, counters.deadlocks_by_timeout, counters.expired,
    ))?;
    for site in sites {
        let state = if site.connected { "connected" } else { "away" };
        process::say(&format!(
            "site {}: {state}, {} (life {})",
            site.name, site.address, site.incarnation.0
        ))?;
        if let Some(&(decided, damaged)) = by_hand.get(&site.name)
            && decided > 0
        {
            process::say(&format!(
                "  {decided} decided by hand and not settled, {damaged} of them DAMAGE (coco in-doubt)"
            ))?;
        }
    }
    Ok(())
}

/// The same for programs.
fn report(
    statistics: &Statistics,
    sites: &[SiteInfo],
    by_hand: &BTreeMap<SiteName, (usize, usize)>,
) -> serde_json::Value {
    let counters = &statistics.counters;
    let site = |site: &SiteInfo| {
        serde_json::json!({
            "name": site.name.as_str(),
            "address": site.address,
            "connected": site.connected,
            "incarnation": site.incarnation.0,
            "decided_by_hand": by_hand.get(&site.name).map(|it| it.0),
            "damaged_by_hand": by_hand.get(&site.name).map(|it| it.1),
        })
    };
    let aborts = counters
        .aborts
        .iter()
        .map(|(cause, &count)| (format!("{cause:?}"), count.into()));
    serde_json::json!({
        "serving": statistics.serving,
        "epoch": statistics.epoch,
        "in_flight": statistics.in_flight,
        "begun": counters.begun,
        "commits": counters.commits,
        "one_phase_commits": counters.one_phase_commits,
        "aborts": serde_json::Map::from_iter(aborts),
        "expired": counters.expired,
        "unknown": counters.unknown,
        "deadlocks_by_search": counters.deadlocks_by_search,
        "deadlocks_by_timeout": counters.deadlocks_by_timeout,
        "reports": counters.reports,
        "resends": counters.resends,
        "sites": sites.iter().map(site).collect::<Vec<_>>(),
    })
}

/// What was decided by hand at the sites that answer: how much, and how much of it is damage. Only operators are told.
async fn by_hand(client: &Client, sites: &[SiteInfo]) -> BTreeMap<SiteName, (usize, usize)> {
    let mut found = BTreeMap::new();
    for site in sites.iter().filter(|site| site.connected) {
        if let Ok(pending) = client.pending(site.name.as_str()).await {
            let all = pending.heuristics;
            let damaged = all.iter().filter(|it| it.is_damage()).count();
            found.insert(site.name.clone(), (all.len(), damaged));
        }
    }
    found
}
