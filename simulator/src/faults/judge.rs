//! What must hold when everything is over: the checker's verdict on all lives of all sites, what clients were
//! told, the values, the money.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Case, Level, Op, Record, SiteHistory, TxnId, Verdict};
use participant::{Key, Operation, TxnName};

use super::client::{Attempt, Told};
use super::history::{LifeHistory, Merged, merge};
use super::world::World;
use super::{Problem, site_name};

/// Judges a run that is over. The first problem ends it.
pub(crate) fn judge(world: &mut World) -> Result<(), Problem> {
    let rows: Vec<_> = world
        .sites
        .iter()
        .map(super::site::SiteProcess::rows)
        .collect();
    for site in 0..world.sites.len() {
        world.end_life(site);
    }
    let lives: Vec<&[LifeHistory]> = world.sites.iter().map(|it| &it.histories[..]).collect();
    let attempts: Vec<&Attempt> = world
        .clients
        .iter()
        .flat_map(|client| &client.history)
        .collect();
    world.counts.judged = judge_lives(&lives, &attempts, rows)?.judged;
    Ok(())
}

/// What was committed.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Under these names; local ones of different sites may be alike.
    pub(crate) committed: BTreeSet<TxnName>,
    /// How many that were.
    pub(crate) judged: u64,
}

/// Judges the lives of each site, what clients were told, and what is in the stores at the end, if that could
/// be read. Says what was committed.
pub(crate) fn judge_lives(
    lives: &[&[LifeHistory]],
    attempts: &[&Attempt],
    rows: Vec<Option<Vec<(Key, participant::Value)>>>,
) -> Result<Judged, Problem> {
    let mut merged = Vec::new();
    for (index, lives) in lives.iter().enumerate() {
        let name = site_name(index);
        let one = merge(name.as_str(), lives);
        merged.push(one.map_err(|text| Problem::Lost(format!("site {name}: {text}")))?);
    }
    outcomes(attempts, &merged)?;
    let histories: Vec<SiteHistory> = merged.iter().map(|one| one.history.clone()).collect();
    order(&histories)?;
    strict(attempts, &merged)?;
    let rows: Option<Vec<_>> = rows.into_iter().collect();
    let rows =
        rows.ok_or_else(|| Problem::Stuck("a site does not answer at the end".to_owned()))?;
    reads(attempts, &merged, &rows)?;
    values(attempts, &merged, &rows)?;
    let locals = merged.iter().map(|one| {
        let local = |name: &&TxnName| matches!(name, TxnName::Local(_));
        one.committed.iter().filter(local).count()
    });
    let locals: usize = locals.sum();
    let committed: BTreeSet<TxnName> = merged.into_iter().flat_map(|one| one.committed).collect();
    let global = |name: &&TxnName| matches!(name, TxnName::Global(_));
    let judged = (committed.iter().filter(global).count() + locals) as u64;
    Ok(Judged { committed, judged })
}

/// Serializable and commitment ordered.
fn order(histories: &[SiteHistory]) -> Result<(), Problem> {
    let case = Case::new(histories);
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = case.judge(level);
        match &report.verdict {
            Verdict::Valid { .. } => {}
            Verdict::Invalid { anomalies, .. } => {
                let text = anomalies.first().map(ToString::to_string);
                return Err(Problem::Disordered(text.unwrap_or_default()));
            }
            Verdict::Unknown { reasons, .. } => {
                let idle = |doubt: &checker::Doubt| matches!(doubt, checker::Doubt::NothingToJudge);
                if !reasons.iter().all(idle) {
                    let text = reasons.first().map(ToString::to_string);
                    return Err(Problem::Disordered(text.unwrap_or_default()));
                }
            }
        }
    }
    Ok(())
}

/// Everything acknowledged is there, everything aborted is nowhere, the rest is one or the other.
fn outcomes(attempts: &[&Attempt], merged: &[Merged]) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    for attempt in attempts {
        // Names of locals are unique in a run.
        if !names.insert(attempt.name) {
            return Err(Problem::Outcome(format!(
                "{:?} was handed out twice",
                attempt.name
            )));
        }
        let at = |site: &usize| merged[*site].committed.contains(&attempt.name);
        let committed = attempt.sites.iter().filter(|site| at(site)).count();
        let problem = |what: &str| {
            Err(Problem::Outcome(format!(
                "{:?} was told {:?}, and is {what}: committed at {committed} of {} sites",
                attempt.name,
                attempt.told,
                attempt.sites.len()
            )))
        };
        if committed != 0 && committed != attempt.sites.len() {
            return problem("torn apart");
        }
        for told in &attempt.told {
            match told {
                Told::Committed if committed == 0 && !attempt.sites.is_empty() => {
                    return problem("lost");
                }
                Told::Aborted if committed > 0 => return problem("committed"),
                Told::Committed | Told::Aborted | Told::Unknown => {}
            }
        }
        if committed > 0 && attempt.sum.is_some_and(|sum| sum != 0) {
            return Err(Problem::Money(format!(
                "an audit has seen {:?}",
                attempt.sum
            )));
        }
    }
    Ok(())
}

/// Whoever begins after a commit was acknowledged sees it, or what came after it.
fn strict(attempts: &[&Attempt], merged: &[Merged]) -> Result<(), Problem> {
    let by_name: BTreeMap<TxnName, &Attempt> = attempts.iter().map(|it| (it.name, *it)).collect();
    for one in merged {
        let mut installed: BTreeMap<&[u8], Vec<(u64, u64)>> = BTreeMap::new();
        for record in one.history.records() {
            if let Record::Committed(committed) = record
                && let Some(seq) = committed.seq
                && let Some(heard) = by_name
                    .get(&name_of(committed.txn))
                    .and_then(|it| it.heard_at)
            {
                for key in committed.ops.iter().filter_map(Op::installs) {
                    installed
                        .entry(key.as_bytes())
                        .or_default()
                        .push((seq.0, heard));
                }
            }
        }
        for record in one.history.records() {
            let Record::Committed(reader) = record else {
                continue;
            };
            let Some(began) = by_name.get(&name_of(reader.txn)).map(|it| it.began_at) else {
                continue;
            };
            for op in &reader.ops {
                if let Op::Read { key, version } = op
                    && let Some(installs) = installed.get(key.as_bytes())
                    && let Some((seq, _)) = installs
                        .iter()
                        .find(|(seq, heard)| *heard < began && *seq > version.0)
                {
                    return Err(Problem::Stale(format!(
                        "{} began after version {seq} of {key} was acknowledged, and read version {}",
                        reader.txn, version.0
                    )));
                }
            }
        }
    }
    Ok(())
}

const fn name_of(txn: TxnId) -> TxnName {
    match txn {
        TxnId::Global(gtid) => TxnName::Global(co_core::Gtid(gtid)),
        TxnId::Local(number) => TxnName::Local(number),
    }
}

/// What the clients have read fits together, whatever the sites have recorded: a list that somebody has read is the
/// beginning of what it is at the end, halves of a pair are equal, and two switches are never set.
fn reads(
    attempts: &[&Attempt],
    merged: &[Merged],
    rows: &[Vec<(Key, participant::Value)>],
) -> Result<(), Problem> {
    let problem = |name: TxnName, what: String| Err(Problem::Reads(format!("{name:?} {what}")));
    for attempt in attempts {
        let is_committed = |site: &usize| merged[*site].committed.contains(&attempt.name);
        if !attempt.sites.iter().any(is_committed) {
            continue;
        }
        let mut pairs = BTreeSet::new();
        let mut switches = BTreeMap::new();
        for (site, key, value) in &attempt.seen {
            match key[0] {
                b'l' => {
                    let last = rows[*site].iter().find(|(it, _)| it == key);
                    let last = last.map(|(_, value)| &**value).unwrap_or_default();
                    if !last.starts_with(value.as_deref().unwrap_or_default()) {
                        let site = site_name(*site);
                        let text = format!("has read a list at {site} that no longer is one");
                        return problem(attempt.name, text);
                    }
                }
                b'p' => drop(pairs.insert(value.as_deref())),
                b'w' => drop(switches.insert(key, value.as_deref().map(decode))),
                _ => {}
            }
        }
        if pairs.len() > 1 {
            return problem(attempt.name, "has read half of a pair".to_owned());
        }
        if switches.len() > 1 && switches.values().all(|value| *value == Some(1)) {
            return problem(attempt.name, "has seen both switches set".to_owned());
        }
    }
    Ok(())
}

/// The stores hold what the committed transactions make in their order, once each; accounts add up.
fn values(
    attempts: &[&Attempt],
    merged: &[Merged],
    rows: &[Vec<(Key, participant::Value)>],
) -> Result<(), Problem> {
    let by_name: BTreeMap<TxnName, &Attempt> = attempts.iter().map(|it| (it.name, *it)).collect();
    let mut money = 0_i64;
    for (site, (one, rows)) in merged.iter().zip(rows).enumerate() {
        let mut model: BTreeMap<Key, participant::Value> = BTreeMap::new();
        for name in &one.order {
            let Some(attempt) = by_name.get(name) else {
                return Err(Problem::Lost(format!(
                    "{name:?} is committed, and no client began it"
                )));
            };
            let here = attempt.done.iter().filter(|(at, _)| *at == site);
            for (_, operation) in here {
                apply(&mut model, operation);
            }
        }
        let found: BTreeMap<Key, participant::Value> = rows.iter().cloned().collect();
        if model != found {
            return Err(Problem::Values(format!(
                "site {} holds {found:?}, and its commits make {model:?}",
                site_name(site)
            )));
        }
        let accounts = found.iter().filter(|(key, _)| key.starts_with(b"a"));
        money += accounts.map(|(_, value)| decode(value)).sum::<i64>();
    }
    if money == 0 {
        Ok(())
    } else {
        Err(Problem::Money(format!("the accounts add up to {money}")))
    }
}

fn apply(model: &mut BTreeMap<Key, participant::Value>, operation: &Operation) {
    match operation {
        Operation::Put(key, value) => {
            model.insert(key.clone(), value.clone());
        }
        Operation::Delete(key) => {
            model.remove(key);
        }
        Operation::Increment(key, by) => {
            let before = model.get(key).map_or(0, |value| decode(value));
            model.insert(key.clone(), crate::program::number(before + by));
        }
        Operation::Get(_) | Operation::Scan(_) | Operation::Declare(_) | Operation::Sql(_) => {}
    }
}

fn decode(value: &[u8]) -> i64 {
    value.try_into().map_or(i64::MIN, i64::from_le_bytes)
}
