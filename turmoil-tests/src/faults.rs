//! What goes wrong, and when: links that are cut (both ways or one), stand still or slow down, processes that
//! are killed, machines that lose their power, disks that fail.
//!
//! Invariants: (F1) a link has one kind of trouble at a time: turmoil does not combine them. (F2) When the run
//! has healed, no link has trouble and every process runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use turmoil::Sim;

use crate::machine::Machine;
use crate::plan::{LATENCY, Plan, SITES};
use crate::trace::Trace;

/// The host that clients run on.
pub(crate) const CLIENTS: &str = "clients";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    Cut,
    CutOneWay,
    Held,
    Slow,
}

/// A link, by its hosts.
type Link = (String, String);

/// Injects faults until it is told to heal.
pub(crate) struct Faults {
    rng: Rng,
    machines: Vec<Arc<Machine>>,
    links: Vec<Link>,
    trace: Arc<Trace>,
    pace: Duration,
    next: Duration,
    /// By link, what is wrong and until when.
    troubled: BTreeMap<usize, (Trouble, Duration)>,
    /// By machine, when it starts again.
    down: BTreeMap<usize, Duration>,
    /// Machines whose operator has seen that their logs have failed, and when he restarts them.
    called: BTreeMap<usize, Duration>,
    pub(crate) injected: u32,
    pub(crate) crashes: u32,
    pub(crate) failed_disks: u32,
}

impl Faults {
    pub(crate) fn new(plan: &Plan, machines: Vec<Arc<Machine>>, trace: Arc<Trace>) -> Self {
        let coordinators: Vec<String> =
            (0..plan.coordinators).map(Plan::coordinator_host).collect();
        let mut links = Vec::new();
        for (index, coordinator) in coordinators.iter().enumerate() {
            links.push((CLIENTS.to_owned(), coordinator.clone()));
            let sites = (0..SITES).map(|site| (Plan::site_host(site), coordinator.clone()));
            links.extend(sites);
            let others = coordinators.iter().skip(index + 1);
            links.extend(others.map(|other| (coordinator.clone(), other.clone())));
        }
        links.extend((0..SITES).map(|site| (CLIENTS.to_owned(), Plan::site_host(site))));
        Self {
            rng: plan.rng(1),
            machines,
            links,
            trace,
            pace: plan.pace,
            // The processes come up first.
            next: Duration::from_millis(300),
            troubled: BTreeMap::new(),
            down: BTreeMap::new(),
            called: BTreeMap::new(),
            injected: 0,
            crashes: 0,
            failed_disks: 0,
        }
    }

    /// What is due now.
    pub(crate) fn act(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.end_troubles(sim, now);
        while self.next <= now {
            self.inject(sim, now);
            let pace = u64::try_from(self.pace.as_millis()).unwrap_or(u64::MAX);
            self.next += Duration::from_millis(self.rng.u64(1..=2 * pace));
        }
        self.restart_machines(sim, now);
    }

    /// Ends all trouble; from now on only the operator acts.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.end_troubles(sim, Duration::MAX);
        for machine in &self.machines {
            machine.disk.fails_never();
        }
        let now = sim.elapsed();
        self.down.values_mut().for_each(|until| *until = now);
        self.trace.tell(now, "world", "heals");
    }

    /// Starts what is down, and what the operator sees to.
    pub(crate) fn restart_machines(&mut self, sim: &mut Sim<'_>, now: Duration) {
        for index in 0..self.machines.len() {
            if self.down.contains_key(&index) || !self.machines[index].log_has_failed() {
                continue;
            }
            let soon = now + Duration::from_millis(self.rng.u64(20..300));
            let due = *self.called.entry(index).or_insert(soon);
            if due <= now {
                self.failed_disks += 1;
                self.crash(sim, index, true, Duration::from_millis(10));
            }
        }
        let due: Vec<usize> = self
            .down
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            self.down.remove(&index);
            self.trace
                .tell(now, &self.machines[index].host, "is started");
            sim.bounce(self.machines[index].host.as_str());
        }
    }

    fn inject(&mut self, sim: &mut Sim<'_>, now: Duration) {
        match self.rng.u8(..100) {
            0..20 => self.trouble(sim, now, Trouble::Held, 600),
            20..38 => self.trouble(sim, now, Trouble::Cut, 1_000),
            38..50 => self.trouble(sim, now, Trouble::CutOneWay, 1_000),
            50..65 => self.trouble(sim, now, Trouble::Slow, 1_500),
            65..90 => {
                let index = self.rng.usize(..self.machines.len());
                if !self.down.contains_key(&index) {
                    let power = self.rng.bool();
                    let away = Duration::from_millis(self.rng.u64(2..800));
                    self.injected += 1;
                    self.crash(sim, index, power, away);
                }
            }
            _ => {
                let machine = &self.machines[self.rng.usize(..self.machines.len())];
                machine.disk.fails_in(self.rng.u64(..8));
                self.trace
                    .tell(now, &machine.host, "its disk is about to fail");
                self.injected += 1;
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, index: usize, power: bool, away: Duration) {
        let now = sim.elapsed();
        let machine = &self.machines[index];
        sim.crash(machine.host.as_str());
        machine.died(power);
        let what = if power {
            "loses its power"
        } else {
            "is killed"
        };
        self.trace.tell(now, &machine.host, what);
        self.called.remove(&index);
        self.down.insert(index, now + away);
        self.crashes += 1;
    }

    fn trouble(&mut self, sim: &Sim<'_>, now: Duration, trouble: Trouble, longest: u64) {
        let index = self.rng.usize(..self.links.len());
        if self.troubled.contains_key(&index) {
            return;
        }
        if self.rng.bool() {
            let (one, other) = self.links[index].clone();
            self.links[index] = (other, one);
        }
        let (one, other) = &self.links[index];
        let (from, to) = (one.as_str(), other.as_str());
        match trouble {
            Trouble::Cut => sim.partition(from, to),
            Trouble::CutOneWay => sim.partition_oneway(from, to),
            Trouble::Held => sim.hold(from, to),
            Trouble::Slow => {
                let most = LATENCY * self.rng.u32(5..40);
                sim.set_link_max_message_latency(from, to, most);
            }
        }
        self.trace.tell(now, from, &format!("{trouble:?} to {to}"));
        let until = now + Duration::from_millis(self.rng.u64(20..longest));
        self.troubled.insert(index, (trouble, until));
        self.injected += 1;
    }

    fn end_troubles(&mut self, sim: &Sim<'_>, now: Duration) {
        let links = &self.links;
        self.troubled.retain(|index, (trouble, until)| {
            if *until > now {
                return true;
            }
            let (from, to) = &links[*index];
            let (from, to) = (from.as_str(), to.as_str());
            match trouble {
                Trouble::Cut => sim.repair(from, to),
                Trouble::CutOneWay => sim.repair_oneway(from, to),
                Trouble::Held => sim.release(from, to),
                Trouble::Slow => sim.set_link_max_message_latency(from, to, LATENCY),
            }
            false
        });
    }
}
