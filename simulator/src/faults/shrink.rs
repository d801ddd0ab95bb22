//! Makes a failing plan small: leaves out clients, steps, faults, network trouble and sites as long as the
//! same check still fails.

use super::plan::Plan;
use super::{Outcome, run};

/// A small plan that fails like the one it was made from.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What comes of it, with its trace in words.
    pub outcome: Outcome,
    /// What was left out.
    pub left_out: Vec<String>,
    /// How many runs it took.
    pub runs: u64,
}

struct Shrinker {
    check: &'static str,
    plan: Plan,
    runs: u64,
    most: u64,
}

/// Shrinks a plan that fails, with at most so many runs. A plan that does not fail is returned as it is.
#[must_use]
pub fn shrink(plan: Plan, most: u64) -> Shrunk {
    let first = run(plan.clone(), false);
    let Some(problem) = &first.problem else {
        return Shrunk {
            outcome: run(plan.clone(), true),
            plan,
            left_out: Vec::new(),
            runs: 1,
        };
    };
    let before = sizes(&plan);
    let mut shrinker = Shrinker {
        check: problem.check(),
        plan,
        runs: 1,
        most,
    };
    loop {
        let size = sizes(&shrinker.plan);
        shrinker.faults();
        shrinker.clients();
        shrinker.network();
        shrinker.extras();
        shrinker.steps();
        shrinker.sites();
        shrinker.time();
        if sizes(&shrinker.plan) == size || shrinker.runs >= shrinker.most {
            break;
        }
    }
    let after = sizes(&shrinker.plan);
    let named = [
        "clients",
        "steps",
        "faults",
        "sites",
        "kinds of network trouble",
        "stores, checkpoints, dependent votes",
        "retries",
        "ms until healed",
    ];
    let left_out = named.iter().zip(before.iter().zip(&after));
    let left_out = left_out.filter(|(_, (before, after))| before != after);
    Shrunk {
        outcome: run(shrinker.plan.clone(), true),
        left_out: left_out
            .map(|(what, (before, after))| format!("{what}: {after} of {before}"))
            .collect(),
        plan: shrinker.plan,
        runs: shrinker.runs,
    }
}

fn sizes(plan: &Plan) -> [u64; 8] {
    let steps = plan.clients.iter().map(|client| client.script.steps.len());
    let net = &plan.net;
    let trouble = [net.break_one_in, net.repeat_one_in, net.lose_one_in];
    [
        plan.clients.len() as u64,
        steps.sum::<usize>() as u64,
        plan.faults.len() as u64,
        plan.sites.len() as u64,
        trouble.iter().filter(|one_in| **one_in > 0).count() as u64,
        plan.extras(),
        plan.clients
            .iter()
            .map(|client| u64::from(client.retries))
            .sum(),
        plan.heal_at / 1_000,
    ]
}

impl Shrinker {
    /// Takes the candidate if the same check still fails.
    fn take(&mut self, candidate: Plan) -> bool {
        if self.runs >= self.most {
            return false;
        }
        self.runs += 1;
        let fails = run(candidate.clone(), false)
            .problem
            .is_some_and(|problem| problem.check() == self.check);
        if fails {
            self.plan = candidate;
        }
        fails
    }

    /// Leaves out runs of elements, long ones first.
    fn leave_out(&mut self, len: fn(&Plan) -> usize, cut: fn(&mut Plan, usize, usize)) {
        let mut size = len(&self.plan).div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < len(&self.plan) {
                let mut candidate = self.plan.clone();
                cut(&mut candidate, at, (at + size).min(len(&self.plan)));
                if !self.take(candidate) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn faults(&mut self) {
        self.leave_out(
            |plan| plan.faults.len(),
            |plan, from, to| drop(plan.faults.drain(from..to)),
        );
    }

    fn clients(&mut self) {
        self.leave_out(
            |plan| plan.clients.len(),
            |plan, from, to| drop(plan.clients.drain(from..to)),
        );
        for index in 0..self.plan.clients.len() {
            let mut candidate = self.plan.clone();
            let client = &mut candidate.clients[index];
            if client.retries > 0 || client.vanish.is_some() || client.races {
                client.retries = 0;
                client.vanish = None;
                client.races = false;
                self.take(candidate);
            }
        }
    }

    /// Not of scripts that keep something together, such as the sum of all accounts.
    fn steps(&mut self) {
        for index in 0..self.plan.clients.len() {
            let script = &self.plan.clients[index].script;
            let whole = script.is_whole();
            let mut step = 0;
            while !whole && step < self.plan.clients[index].script.steps.len() {
                let mut candidate = self.plan.clone();
                let steps = &mut candidate.clients[index].script.steps;
                steps.remove(step);
                if steps.is_empty() || !self.take(candidate) {
                    step += 1;
                }
            }
        }
    }

    fn network(&mut self) {
        let offs: [fn(&mut Plan); 3] = [
            |plan| plan.net.break_one_in = 0,
            |plan| plan.net.repeat_one_in = 0,
            |plan| plan.net.lose_one_in = 0,
        ];
        for off in offs {
            let mut candidate = self.plan.clone();
            off(&mut candidate);
            if sizes(&candidate) != sizes(&self.plan) {
                self.take(candidate);
            }
        }
    }

    /// What sites, coordinators and clients can do without.
    fn extras(&mut self) {
        let mut candidate = self.plan.clone();
        candidate.coordinator_checkpoints = None;
        self.take_if_smaller(candidate);
        for site in 0..self.plan.sites.len() {
            let mut candidate = self.plan.clone();
            candidate.sites[site].store = None;
            self.take_if_smaller(candidate);
            let mut candidate = self.plan.clone();
            candidate.sites[site].dependent_votes = false;
            self.take_if_smaller(candidate);
        }
        for client in 0..self.plan.clients.len() {
            let mut candidate = self.plan.clone();
            candidate.clients[client].dependent = false;
            self.take_if_smaller(candidate);
        }
    }

    fn take_if_smaller(&mut self, candidate: Plan) {
        if sizes(&candidate) != sizes(&self.plan) {
            self.take(candidate);
        }
    }

    /// The last site, as long as nobody works there.
    fn sites(&mut self) {
        while self.plan.sites.len() > 1 {
            let mut candidate = self.plan.clone();
            if !candidate.leave_out_last_site() || !self.take(candidate) {
                return;
            }
        }
    }

    fn time(&mut self) {
        let last = self.plan.clients.iter().map(|client| client.at);
        let faults = self.plan.faults.iter().map(|fault| fault.at);
        let least = last.chain(faults).max().unwrap_or(0) + 1_000;
        for heal_at in [least, least + (self.plan.heal_at.saturating_sub(least)) / 2] {
            if heal_at < self.plan.heal_at {
                let mut candidate = self.plan.clone();
                candidate.heal_at = heal_at;
                if self.take(candidate) {
                    return;
                }
            }
        }
    }
}
