//! Random schedules on one thread: a seed gives one schedule, always the same for the same answers of the
//! engine. A handful of transactions work at once on a handful of keys at two sites, global and local;
//! votes are asked for site by site, as soon as the work at a site is done, and decisions arrive at each
//! site on their own.

use std::collections::VecDeque;

use fastrand::Rng;

use super::Case;
use crate::cluster::Cluster;
use crate::context::Context;
use crate::engine::{Engine, Key};
use crate::notation::Operation;
use crate::outcome::CaseOutcome;
use crate::report::Finding;

/// Transactions at work at the same time.
const AT_WORK: usize = 6;
const KEYS: usize = 6;
const MOST_OPERATIONS: usize = 5;

const PROGRESS_ADVICE: &str = "see which transactions the transcript shows aborting, and why: of the members of a cycle only one has to";

pub(super) fn cases<E: Engine>() -> Vec<Case<E>> {
    vec![Case::new(
        "random",
        "random schedules over two sites, decided by two-phase commit",
        run,
    )]
}

fn run<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut joined: Option<CaseOutcome> = None;
    for round in 0..context.options.rounds {
        let outcome = one_round(context, context.options.seed.wrapping_add(round))?;
        match &mut joined {
            None => joined = Some(outcome),
            Some(joined) => joined.join(outcome),
        }
    }
    joined.map_or_else(|| Ok(Cluster::open(context, 1)?.finish()), Ok)
}

/// The plan of one transaction.
pub(super) struct Plan {
    pub(super) local: bool,
    pub(super) steps: VecDeque<(usize, Operation)>,
    /// The client changes its mind at the end.
    pub(super) gives_up: bool,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let local = rng.u8(..10) < 3;
        let home = rng.usize(..2);
        let count = rng.usize(1..=MOST_OPERATIONS);
        let step = |rng: &mut Rng| {
            let site = if local { home } else { rng.usize(..2) };
            (site, operation(rng))
        };
        Self {
            local,
            steps: (0..count).map(|_| step(rng)).collect(),
            gives_up: rng.u8(..100) < 5,
        }
    }

    fn works_at(&self, site: usize) -> bool {
        self.steps.iter().any(|(at, _)| *at == site)
    }
}

fn key(number: usize) -> Key {
    format!("k{number}").into_bytes()
}

fn operation(rng: &mut Rng) -> Operation {
    let item = rng.usize(..KEYS);
    match rng.u8(..20) {
        0..=8 => Operation::Read(key(item)),
        9..=15 => Operation::Write(key(item)),
        16 => Operation::Delete(key(item)),
        _ => {
            let high = rng.usize(item..=KEYS + 1);
            Operation::Scan(key(item), (high <= KEYS).then(|| key(high)))
        }
    }
}

struct AtWork {
    number: u64,
    plan: Plan,
}

fn one_round<E: Engine>(context: &Context<E>, seed: u64) -> Result<CaseOutcome, Finding> {
    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::open(context, 2)?;
    cluster.log.step(format!("seed {seed}"));
    let mut at_work: Vec<AtWork> = Vec::new();
    let mut begun = 0;
    loop {
        at_work.retain(|work| cluster.outcome(work.number).is_none() || !is_told(&cluster, work));
        while at_work.len() < AT_WORK && begun < context.options.transactions {
            begun += 1;
            let plan = Plan::new(&mut rng);
            cluster.introduce(begun, plan.local);
            at_work.push(AtWork {
                number: begun,
                plan,
            });
        }
        if at_work.is_empty() || cluster.log.total > 0 {
            break;
        }
        let able: Vec<usize> = (0..at_work.len())
            .filter(|index| !cluster.waits(at_work[*index].number))
            .collect();
        match rng.choice(able) {
            Some(index) => one_step(&mut cluster, &mut at_work[index], &mut rng),
            None => cluster.break_stuck(),
        }
    }
    let committed = cluster
        .tapes()
        .iter()
        .map(|tape| tape.committed().count())
        .sum::<usize>();
    let enough = committed as u64 >= begun / 10 || cluster.log.total > 0;
    let what = "fewer than one in ten of the random transactions commits";
    cluster.log.check(enough, what, PROGRESS_ADVICE);
    Ok(cluster.finish())
}

fn is_told<E: Engine>(cluster: &Cluster<'_, E>, work: &AtWork) -> bool {
    cluster.untold(work.number).is_empty()
}

fn one_step<E: Engine>(cluster: &mut Cluster<'_, E>, work: &mut AtWork, rng: &mut Rng) {
    let number = work.number;
    if cluster.outcome(number).is_some() {
        if let Some(site) = rng.choice(cluster.untold(number)) {
            cluster.deliver(number, site);
            cluster.settle();
        }
        return;
    }
    // A site may be asked for its vote as soon as its part of the work is done.
    let ripe: Vec<usize> = cluster
        .touched(number)
        .into_iter()
        .filter(|site| !work.plan.works_at(*site) && !cluster.has_voted(number, *site))
        .collect();
    if !ripe.is_empty() && (work.plan.steps.is_empty() || rng.u8(..4) == 0) {
        if let Some(site) = rng.choice(ripe) {
            cluster.ask(number, site);
        }
    } else if let Some((site, operation)) = work.plan.steps.pop_front() {
        cluster.operate(number, site, &operation);
    } else if work.plan.gives_up {
        cluster.abort(number);
    } else {
        cluster.decide_commit(number);
    }
}
