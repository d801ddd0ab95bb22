//! After the last kill: everything is decided by itself and empties, and what is there is what was said.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use coco::client::{Client, ClientError};
use tokio::time::Instant;

use super::clients::{CLIENT, Shared, number};
use super::cluster::Cluster;
use crate::ledger::{ACCOUNT_RANGE, SiteState, marker_id, marker_key};
use crate::lives;

/// How often it is asked whether everything is empty.
const POLL: Duration = Duration::from_millis(20);

/// Waits until nothing is in doubt, waited for or in flight anywhere; how long that took.
pub(super) async fn empty(cluster: &Cluster, bound: Duration) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let left = match left_over(cluster).await {
            Ok(left) => left,
            Err(error) => format!("{error:#}"),
        };
        if left.is_empty() {
            return Ok(started.elapsed());
        }
        if started.elapsed() >= bound {
            bail!(
                "{} s after the last restart this is left: {left}",
                bound.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What coordinators and sites have not ended.
async fn left_over(cluster: &Cluster) -> Result<String> {
    let mut left = Vec::new();
    let sites: Vec<&str> = cluster.sites.iter().map(String::as_str).collect();
    for (id, uri) in cluster.coordinators.iter().enumerate() {
        let client = Client::connect(uri).await?;
        client.wait_for_sites(&sites, POLL).await?;
        let statistics = client.statistics().await?;
        if statistics.in_flight > 0 || !statistics.serving {
            let (count, serving) = (statistics.in_flight, statistics.serving);
            left.push(format!(
                "coordinator {id}: {count} in flight, serving: {serving}"
            ));
        }
        let open = client.transactions(10).await?;
        if !open.transactions.is_empty() || !open.waits.is_empty() {
            left.push(format!("coordinator {id}: {open:?}"));
        }
        if id > 0 {
            continue;
        }
        for site in &sites {
            let pending = client.pending(site).await?;
            let in_flight = client.site_statistics(site).await?.in_flight;
            let (doubts, waits) = (pending.in_doubt.len(), pending.waits.len());
            if doubts + waits > 0 || in_flight > 0 {
                left.push(format!(
                    "site {site}: {doubts} in doubt, {waits} wait, {in_flight} in flight"
                ));
            }
        }
    }
    Ok(left.join("; "))
}

/// Reads all markers and accounts.
pub(super) async fn state(cluster: &Cluster, clients: u64) -> Result<Vec<SiteState>> {
    let uri = cluster.coordinators.first().context("a coordinator")?;
    let client = Client::connect(uri).await?;
    let mut states = Vec::new();
    for site in &cluster.sites {
        states.push(site_state(&client, site, clients).await?);
    }
    Ok(states)
}

/// How many numbers of transactions are read at once.
const CHUNK: u64 = 10_000;

async fn site_state(client: &Client, site: &str, clients: u64) -> Result<SiteState, ClientError> {
    let mut state = SiteState::default();
    let rows = scan(client, site, ACCOUNT_RANGE.0, ACCOUNT_RANGE.1).await?;
    for (key, value) in rows {
        if let [_, digit] = key[..] {
            state
                .accounts
                .insert(digit.wrapping_sub(b'0'), number(&value));
        }
    }
    for number in 0..clients {
        let mut from = number * CLIENT;
        loop {
            let rows = scan(client, site, &marker_key(from), &marker_key(from + CHUNK)).await?;
            let found = rows.len();
            state
                .markers
                .extend(rows.iter().filter_map(|(key, _)| marker_id(key)));
            from += CHUNK;
            // Numbers that left no marker are few in a row.
            if found == 0 {
                break;
            }
        }
    }
    Ok(state)
}

async fn scan(
    client: &Client,
    site: &str,
    low: &[u8],
    high: &[u8],
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ClientError> {
    let mut txn = client.local(site);
    let rows = txn.scan(low, Some(high)).await?;
    txn.commit().await?.committed()?;
    Ok(rows)
}

/// What is wrong with the state, and with what the clients saw.
pub(super) fn compare(shared: &Shared, states: &[SiteState], forget_one: bool) -> Vec<String> {
    assert!(
        shared.stop.load(Ordering::Relaxed),
        "the clients have ended"
    );
    let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
    if forget_one {
        let one = ledger.with(crate::ledger::Outcome::Committed).next();
        if let Some(one) = one {
            ledger.forget(one);
        }
    }
    let mut wrong = ledger.check(states);
    let told = shared.told.lock().unwrap_or_else(PoisonError::into_inner);
    wrong.extend(told.wrong.iter().cloned());
    wrong
}

/// What the histories of all lives of all sites come to.
pub(super) fn judge(cluster: &Cluster, folder: &std::path::Path) -> Result<checker::Report> {
    let mut histories = Vec::new();
    for node in &cluster.nodes {
        let Some(site) = node.site() else { continue };
        let told: Result<Vec<lives::Life>> = (1..=node.lives)
            .map(|life| lives::read(folder, site, life))
            .collect();
        histories.push(lives::merge(site, &told?)?);
    }
    lives::verdict(&histories)
}
