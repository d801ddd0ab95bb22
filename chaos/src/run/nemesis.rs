//! Kills, stops and restarts, drawn from the seed; the moments are those of the machine.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;

/// What was done to the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Harm {
    /// Coordinators killed.
    pub coordinator_kills: u64,
    /// Sites killed.
    pub site_kills: u64,
    /// Of all those killed, servers that had not come up from the kill before.
    pub kills_in_recovery: u64,
    /// How often several were killed at once.
    pub massacres: u64,
    /// Servers stopped (SIGSTOP) for a while.
    pub stops: u64,
}

impl Harm {
    /// How many processes were killed.
    #[must_use]
    pub const fn kills(&self) -> u64 {
        self.coordinator_kills + self.site_kills
    }
}

/// Harms the servers until `end`, then lets all of them run again.
pub(super) async fn rage(cluster: &mut Cluster, dice: &mut Rng, end: Instant) -> Result<Harm> {
    let mut harm = Harm::default();
    while Instant::now() < end {
        sleep(millis(dice, 50..350)).await;
        match dice.u8(0..10) {
            0..=3 => one(cluster, dice, &mut harm).await?,
            4..=5 => several(cluster, dice, &mut harm).await?,
            6..=7 => again_and_again(cluster, dice, &mut harm).await?,
            _ => stop(cluster, dice, &mut harm).await?,
        }
    }
    cluster.up().await?;
    Ok(harm)
}

fn millis(dice: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_micros(dice.u64(range.start * 1000..range.end * 1000))
}

async fn kill(cluster: &mut Cluster, place: usize, harm: &mut Harm) -> Result<()> {
    let node = &mut cluster.nodes[place];
    if node.is_coordinator() {
        harm.coordinator_kills += 1;
    } else {
        harm.site_kills += 1;
    }
    node.kill().await
}

/// One server is killed, stays away for a while, and comes back.
async fn one(cluster: &mut Cluster, dice: &mut Rng, harm: &mut Harm) -> Result<()> {
    let place = dice.usize(0..cluster.nodes.len());
    kill(cluster, place, harm).await?;
    sleep(millis(dice, 0..300)).await;
    cluster.nodes[place].spawn()?;
    cluster.nodes[place].ready().await
}

/// Several are killed together, up to all of them, and come back one after the other.
async fn several(cluster: &mut Cluster, dice: &mut Rng, harm: &mut Harm) -> Result<()> {
    harm.massacres += 1;
    let mut places: Vec<usize> = (0..cluster.nodes.len()).collect();
    dice.shuffle(&mut places);
    places.truncate(dice.usize(2..=places.len().max(2)));
    for place in &places {
        kill(cluster, *place, harm).await?;
    }
    dice.shuffle(&mut places);
    for place in &places {
        sleep(millis(dice, 0..60)).await;
        cluster.nodes[*place].spawn()?;
    }
    for place in places {
        cluster.nodes[place].ready().await?;
    }
    Ok(())
}

/// One is killed again while it recovers, up to four times.
async fn again_and_again(cluster: &mut Cluster, dice: &mut Rng, harm: &mut Harm) -> Result<()> {
    let place = dice.usize(0..cluster.nodes.len());
    kill(cluster, place, harm).await?;
    for _ in 0..dice.u8(1..5) {
        cluster.nodes[place].spawn()?;
        sleep(millis(dice, 0..50)).await;
        harm.kills_in_recovery += 1;
        kill(cluster, place, harm).await?;
    }
    cluster.nodes[place].spawn()?;
    cluster.nodes[place].ready().await
}

/// One stands still for a while: its links stay open and silent. Sometimes it is killed in its sleep.
async fn stop(cluster: &mut Cluster, dice: &mut Rng, harm: &mut Harm) -> Result<()> {
    let place = dice.usize(0..cluster.nodes.len());
    harm.stops += 1;
    cluster.nodes[place].signal(Signal::STOP)?;
    sleep(millis(dice, 20..1500)).await;
    if dice.u8(0..4) == 0 {
        kill(cluster, place, harm).await?;
        cluster.nodes[place].spawn()?;
        return cluster.nodes[place].ready().await;
    }
    cluster.nodes[place].signal(Signal::CONT)
}
