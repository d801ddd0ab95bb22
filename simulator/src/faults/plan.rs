//! What a simulated run is made of. Everything is drawn from the seed beforehand, so that a plan can be
//! printed, and taken apart by the shrinker.

use std::fmt;

use coco::protocol::DeadlockPolicy;
use fastrand::Rng;
use participant::engine::EngineKind;

use super::bug::Bug;
use super::workload::Script;

/// One millisecond; all times of a plan are in microseconds.
pub(crate) const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// The engines that plans draw: the one that can give dependent votes twice as often as the others.
const ENGINES: [EngineKind; 6] = [
    EngineKind::Ss2pl,
    EngineKind::Sco,
    EngineKind::Optimistic,
    EngineKind::Mvcc,
    EngineKind::Shared,
    EngineKind::Shared,
];

/// One run in this many has many more transactions than the others.
const LONG_ONE_IN: u8 = 16;

/// Which faults there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultKinds {
    /// Broken and slow links, partitions, repetitions, lost requests.
    pub net: bool,
    /// Failed syncs, full and slow disks, flipped bits.
    pub disk: bool,
    /// Killed, powered-off and paused processes.
    pub crash: bool,
    /// Clocks that run fast, slow, or jump.
    pub clock: bool,
}

impl FaultKinds {
    /// All of them.
    pub const ALL: Self = Self {
        net: true,
        disk: true,
        crash: true,
        clock: true,
    };
}

/// What the caller wants; the seed fills in the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Which faults.
    pub faults: FaultKinds,
    /// How many sites; drawn if none.
    pub sites: Option<usize>,
    /// How many clients, each with one transaction and its retries; drawn if none.
    pub txns: Option<usize>,
    /// A bug to plant.
    pub bug: Option<Bug>,
}

/// All that a run depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seeds the generators of links, disks and clients.
    pub seed: u64,
    /// The planted bug.
    pub bug: Option<Bug>,
    pub(crate) sites: Vec<SitePlan>,
    pub(crate) coordinators: usize,
    /// By how many bytes a coordinator's log grows between two checkpoints.
    pub(crate) coordinator_checkpoints: Option<u64>,
    pub(crate) deadlocks: DeadlockPolicy,
    /// Sites report their waits.
    pub(crate) reports: bool,
    pub(crate) timing: Timing,
    pub(crate) net: Net,
    pub(crate) segment_bytes: u64,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) heal_at: u64,
}

/// One site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SitePlan {
    pub(crate) engine: EngineKind,
    /// Its votes may depend on others, if its engine can do that and the transaction allows it.
    pub(crate) dependent_votes: bool,
    pub(crate) store: Option<StorePlan>,
}

/// A durable store under the engine; without one the log is all that survives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorePlan {
    /// By how many bytes the log grows between two checkpoints.
    pub(crate) checkpoints: Option<u64>,
}

/// Spans of time, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) vote: u64,
    pub(crate) idle: u64,
    pub(crate) resend: u64,
    pub(crate) resend_limit: u64,
    pub(crate) inquire: u64,
    pub(crate) inquire_limit: u64,
    pub(crate) tick: u64,
    /// After which a connection is given up that nothing comes from.
    pub(crate) keepalive: u64,
    /// How long a client waits for an answer.
    pub(crate) patience: u64,
    /// How many outcomes coordinators remember.
    pub(crate) remembered: usize,
    /// The same for voters: enough for the one-phase commits of a run.
    pub(crate) remembered_by_sites: usize,
    /// A sync takes up to this.
    pub(crate) sync: u64,
}

/// What the network does all the time, until it heals.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// A message takes up to this, in microseconds.
    pub(crate) delay: u64,
    /// One message in this many breaks its link instead of arriving; 0 for none.
    pub(crate) break_one_in: u32,
    /// One message in this many is repeated, however late; 0 for none.
    pub(crate) repeat_one_in: u32,
    /// One request or answer of a client in this many is lost; 0 for none.
    pub(crate) lose_one_in: u32,
}

/// A process: coordinators first, then sites.
pub(crate) type ProcId = usize;

/// One fault, and when.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) what: FaultKind,
}

/// What goes wrong. Spans are in microseconds.
#[derive(Clone, Debug)]
pub(crate) enum FaultKind {
    /// The connection of a link breaks.
    Break { link: usize },
    /// A link carries nothing, in one direction or both.
    Block {
        link: usize,
        up: bool,
        down: bool,
        span: u64,
    },
    /// A link is slow.
    Slow { link: usize, delay: u64, span: u64 },
    /// The process dies. `power`: so does its machine. `mid_write`: after so many operations of the batch
    /// that was due. `flip`: it finds a bit flipped when it comes back.
    Crash {
        proc: ProcId,
        power: bool,
        mid_write: Option<u64>,
        flip: bool,
        down: u64,
    },
    /// The process stands still, and its clock does not.
    Pause { proc: ProcId, span: u64 },
    /// Its clock jumps, backwards too.
    Jump { proc: ProcId, by: i64 },
    /// Its clock runs at so many thousandths of the true speed.
    Rate { proc: ProcId, thousandths: u64 },
    /// Its syncs take this long.
    SlowDisk { proc: ProcId, sync: u64, span: u64 },
    /// An operation of its disk fails. The process is started again after `down`.
    FailDisk {
        proc: ProcId,
        operation: u64,
        down: u64,
    },
    /// Its disk is full for a while.
    FullDisk { proc: ProcId, span: u64 },
}

/// One client: a transaction and how the client behaves.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    /// Its number, which stays when others are left out.
    pub(crate) id: usize,
    pub(crate) at: u64,
    pub(crate) coordinator: usize,
    pub(crate) script: Script,
    /// How long it thinks between two steps, at most.
    pub(crate) think: u64,
    /// How often it begins again after an abort.
    pub(crate) retries: u32,
    /// Before which step it disappears.
    pub(crate) vanish: Option<usize>,
    /// It rolls back right after it has asked for the commit.
    pub(crate) races: bool,
    /// The sites may vote before its predecessors are decided.
    pub(crate) dependent: bool,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(seed: u64, wish: &Wish) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed_0000_0000);
        let sites = wish.sites.unwrap_or_else(|| rng.usize(1..=4)).max(1);
        let long = rng.u8(..LONG_ONE_IN) == 0;
        let most = if long { 48..=96 } else { 4..=16 };
        let txns = wish.txns.unwrap_or_else(|| rng.usize(most));
        let window = rng.u64(20..=1_500) * MS;
        let hot = rng.u8(..4) == 0;
        let plans = (0..sites).map(|_| SitePlan::draw(&mut rng, hot)).collect();
        let coordinators = [1, 1, 2, 3][rng.usize(..4)];
        let crowd = Crowd {
            sites,
            coordinators,
            window,
            skew: rng.u8(..4) == 0,
            hot,
            dependent_of_four: [if hot { 4 } else { 0 }, 2, 4][rng.usize(..3)],
        };
        let clients = (0..txns)
            .map(|id| ClientPlan::draw(id, &mut rng, &crowd))
            .collect();
        let heal_at = window + rng.u64(100..=3_000) * MS;
        let mut plan = Self {
            seed,
            bug: wish.bug,
            sites: plans,
            coordinators,
            coordinator_checkpoints: [None, Some(200), Some(800)][rng.usize(..3)],
            deadlocks: match rng.u8(..8) {
                0 => DeadlockPolicy::Timeouts,
                1 => DeadlockPolicy::WoundWait,
                2 => DeadlockPolicy::WaitDie,
                _ => DeadlockPolicy::Search,
            },
            reports: rng.u8(..8) != 0,
            timing: Timing::draw(&mut rng),
            net: Net::draw(&mut rng, wish.faults.net),
            segment_bytes: [5_632, 8_192, 16_384][rng.usize(..3)],
            clients,
            faults: Vec::new(),
            heal_at,
        };
        plan.draw_faults(&mut rng, wish.faults);
        if crowd.skew && wish.faults.crash {
            plan.blink(&mut rng, window);
        }
        plan
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> usize {
        self.coordinators + self.sites.len()
    }

    /// How many stores, kinds of checkpoints, and parties to dependent votes there are.
    pub(crate) fn extras(&self) -> u64 {
        let stores = self.sites.iter().filter_map(|site| site.store.as_ref());
        let stores = stores.map(|store| 1 + u64::from(store.checkpoints.is_some()));
        let votes = self.sites.iter().filter(|site| site.dependent_votes);
        let clients = self.clients.iter().filter(|client| client.dependent);
        stores.sum::<u64>()
            + (votes.count() + clients.count()) as u64
            + u64::from(self.coordinator_checkpoints.is_some())
    }

    /// How many links there are: one from each site to each coordinator, and one from each coordinator to
    /// every other.
    pub(crate) fn links(&self) -> usize {
        self.coordinators * (self.sites.len() + self.coordinators - 1)
    }

    /// Who dials, and whom: the links of the sites come first.
    pub(crate) fn link_ends(&self, link: usize) -> (ProcId, usize) {
        let (all, of_sites) = (self.coordinators, self.coordinators * self.sites.len());
        match link.checked_sub(of_sites) {
            None => (all + link / all, link % all),
            Some(rest) => {
                let (from, other) = (rest / (all - 1), rest % (all - 1));
                (from, other + usize::from(other >= from))
            }
        }
    }

    /// Leaves out the last site; says no if a client works there.
    pub(crate) fn leave_out_last_site(&mut self) -> bool {
        let last = self.sites.len() - 1;
        let works = |client: &ClientPlan| client.script.steps.iter().any(|(site, _)| *site == last);
        if self.clients.iter().any(works) {
            return false;
        }
        let gone = self.coordinators * last..self.coordinators * self.sites.len();
        self.sites.pop();
        let processes = self.processes();
        let moved = |link: usize| {
            if link < gone.start {
                Some(link)
            } else {
                link.checked_sub(gone.end).map(|it| it + gone.start)
            }
        };
        self.faults.retain_mut(|fault| match &mut fault.what {
            FaultKind::Break { link }
            | FaultKind::Block { link, .. }
            | FaultKind::Slow { link, .. } => {
                let place = moved(*link);
                *link = place.unwrap_or(0);
                place.is_some()
            }
            FaultKind::Crash { proc, .. }
            | FaultKind::Pause { proc, .. }
            | FaultKind::Jump { proc, .. }
            | FaultKind::Rate { proc, .. }
            | FaultKind::SlowDisk { proc, .. }
            | FaultKind::FailDisk { proc, .. }
            | FaultKind::FullDisk { proc, .. } => *proc < processes,
        });
        true
    }

    fn draw_faults(&mut self, rng: &mut Rng, kinds: FaultKinds) {
        let mut makers: Vec<fn(&Self, &mut Rng) -> FaultKind> = Vec::new();
        if kinds.net {
            makers.extend([Self::net_fault as fn(&Self, &mut Rng) -> FaultKind; 3]);
        }
        if kinds.crash {
            makers.extend([Self::crash_fault as fn(&Self, &mut Rng) -> FaultKind; 3]);
        }
        if kinds.disk {
            makers.extend([Self::disk_fault as fn(&Self, &mut Rng) -> FaultKind; 2]);
        }
        if kinds.clock {
            makers.push(Self::clock_fault);
        }
        if makers.is_empty() {
            return;
        }
        for _ in 0..rng.usize(1..=12) {
            let at = rng.u64(..self.heal_at);
            let mut what = makers[rng.usize(..makers.len())](self, rng);
            // A flip is found at a restart only.
            if let FaultKind::Crash { flip, .. } = &mut what {
                *flip = kinds.disk && rng.u8(..6) == 0;
            }
            self.faults.push(Fault { at, what });
        }
        if kinds.net && rng.u8(..4) == 0 {
            self.swizzle(rng);
        }
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Sites die and are back at once, while their transactions go on.
    fn blink(&mut self, rng: &mut Rng, window: u64) {
        for _ in 0..rng.usize(1..=6) {
            let what = FaultKind::Crash {
                proc: self.coordinators + rng.usize(..self.sites.len()),
                power: rng.bool(),
                mid_write: None,
                flip: false,
                down: rng.u64(1..=3) * MS,
            };
            let at = rng.u64(..window + 100 * MS);
            self.faults.push(Fault { at, what });
        }
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Blocks a random part of the links one after the other, and frees them in another order.
    fn swizzle(&mut self, rng: &mut Rng) {
        let start = rng.u64(..self.heal_at);
        for link in 0..self.links() {
            if rng.bool() {
                let at = start + rng.u64(..200) * MS;
                let span = rng.u64(50..2_000) * MS;
                let (up, down) = (true, true);
                let what = FaultKind::Block {
                    link,
                    up,
                    down,
                    span,
                };
                self.faults.push(Fault { at, what });
            }
        }
    }

    fn net_fault(&self, rng: &mut Rng) -> FaultKind {
        let link = rng.usize(..self.links());
        match rng.u8(..4) {
            0 => FaultKind::Break { link },
            1 | 2 => {
                let sides = rng.u8(1..=3);
                FaultKind::Block {
                    link,
                    up: sides & 1 != 0,
                    down: sides & 2 != 0,
                    span: rng.u64(1..3_000) * MS,
                }
            }
            _ => FaultKind::Slow {
                link,
                delay: rng.u64(1..500) * MS,
                span: rng.u64(10..2_000) * MS,
            },
        }
    }

    fn crash_fault(&self, rng: &mut Rng) -> FaultKind {
        let proc = rng.usize(..self.processes());
        if rng.u8(..5) == 0 {
            let span = rng.u64(1..3_000) * MS;
            return FaultKind::Pause { proc, span };
        }
        FaultKind::Crash {
            proc,
            power: rng.bool(),
            mid_write: rng.bool().then(|| rng.u64(..4)),
            flip: false,
            down: short_or_long(rng),
        }
    }

    fn disk_fault(&self, rng: &mut Rng) -> FaultKind {
        let proc = rng.usize(..self.processes());
        match rng.u8(..4) {
            0 | 1 => FaultKind::FailDisk {
                proc,
                operation: rng.u64(..6),
                down: rng.u64(1..1_500) * MS,
            },
            2 => FaultKind::FullDisk {
                proc,
                span: rng.u64(10..1_000) * MS,
            },
            _ => FaultKind::SlowDisk {
                proc,
                sync: rng.u64(10..600) * MS,
                span: rng.u64(10..2_000) * MS,
            },
        }
    }

    fn clock_fault(&self, rng: &mut Rng) -> FaultKind {
        let proc = rng.usize(..self.processes());
        if rng.bool() {
            let size = rng.i64(1..5_000) * 1_000;
            let by = if rng.u8(..3) == 0 { -size } else { size };
            FaultKind::Jump { proc, by }
        } else {
            let thousandths = rng.u64(500..2_000);
            FaultKind::Rate { proc, thousandths }
        }
    }

    /// How long after the end of the faults everything must be decided and empty: every timer of client,
    /// coordinator and voter may have to run to its limit one after the other, some of them twice, because
    /// the allowance of the oldest transaction is twice that of the youngest.
    #[must_use]
    pub fn bound(&self) -> u64 {
        let timing = &self.timing;
        let once = timing.vote * 4
            + timing.idle * 2
            + timing.resend_limit * 2
            + timing.inquire_limit * 2
            + timing.keepalive * 2
            + timing.patience * 6;
        let attempts = self.clients.iter().map(|client| client.retries + 1).max();
        10 * SECOND + once * u64::from(attempts.unwrap_or(1))
    }
}

/// How long a process is down.
fn short_or_long(rng: &mut Rng) -> u64 {
    let most = [20, 1_500][rng.usize(..2)];
    rng.u64(1..=most) * MS
}

impl Timing {
    fn draw(rng: &mut Rng) -> Self {
        let resend = rng.u64(20..1_000) * MS;
        let inquire = rng.u64(20..2_000) * MS;
        Self {
            vote: rng.u64(50..3_000) * MS,
            idle: rng.u64(500..5_000) * MS,
            resend,
            resend_limit: resend * rng.u64(1..8),
            inquire,
            inquire_limit: inquire * rng.u64(1..8),
            tick: [5, 10, 20, 40][rng.usize(..4)] * MS,
            keepalive: rng.u64(200..2_000) * MS,
            patience: rng.u64(300..3_000) * MS,
            remembered: [2, 8, 1_000][rng.usize(..3)],
            remembered_by_sites: [2, 8, 1_000][rng.usize(..3)],
            sync: rng.u64(50..5_000),
        }
    }
}

impl Net {
    fn draw(rng: &mut Rng, faults: bool) -> Self {
        let delay = [200, 1_000, 5_000, 50_000][rng.usize(..4)];
        let one_in = |rng: &mut Rng, least: u32, most: u32| {
            if faults && rng.bool() {
                rng.u32(least..most)
            } else {
                0
            }
        };
        Self {
            delay,
            break_one_in: one_in(rng, 8, 200),
            repeat_one_in: one_in(rng, 2, 50),
            lose_one_in: one_in(rng, 8, 200),
        }
    }
}

impl SitePlan {
    /// Where all meet at one key there is most to see of those who do not wait for each other.
    fn draw(rng: &mut Rng, hot: bool) -> Self {
        let mut engine = ENGINES[rng.usize(..ENGINES.len())];
        if hot && rng.bool() {
            engine = EngineKind::Shared;
        }
        let checkpoints = [None, Some(300), Some(900), Some(2_500)];
        Self {
            engine,
            dependent_votes: hot || rng.u8(..4) != 0,
            store: rng.bool().then(|| StorePlan {
                checkpoints: checkpoints[rng.usize(..checkpoints.len())],
            }),
        }
    }

    fn text(&self) -> String {
        let mut text = self.engine.name().to_owned();
        if self.dependent_votes {
            text.push_str(" with dependent votes");
        }
        match self.store {
            None => {}
            Some(StorePlan { checkpoints: None }) => text.push_str(" on a store"),
            Some(StorePlan {
                checkpoints: Some(bytes),
            }) => text.push_str(&format!(" on a store, a checkpoint every {bytes} bytes")),
        }
        text
    }
}

/// What the clients of a run have in common.
struct Crowd {
    sites: usize,
    coordinators: usize,
    window: u64,
    skew: bool,
    /// All meet at one key of two sites, within a moment.
    hot: bool,
    /// Of four clients, so many allow votes that depend on others.
    dependent_of_four: u8,
}

impl ClientPlan {
    fn draw(id: usize, rng: &mut Rng, crowd: &Crowd) -> Self {
        let &Crowd {
            sites,
            coordinators,
            window,
            skew,
            hot,
            ..
        } = crowd;
        let script = if skew && rng.u8(..8) != 0 {
            Script::skew(rng, sites)
        } else if hot && rng.u8(..8) != 0 {
            Script::hot(rng, sites)
        } else {
            Script::draw(rng, sites)
        };
        let steps = script.steps.len();
        Self {
            id,
            at: rng.u64(..if hot { window.min(100 * MS) } else { window }),
            coordinator: if coordinators > 1 {
                rng.usize(..coordinators)
            } else {
                0
            },
            script,
            think: [0, 2, 20, if skew { 400 } else { 20 }][rng.usize(..4)] * MS,
            retries: rng.u32(..4),
            vanish: (rng.u8(..16) == 0).then(|| rng.usize(..=steps)),
            races: rng.u8(..16) == 0,
            dependent: rng.u8(..4) < crowd.dependent_of_four,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sites: Vec<String> = self.sites.iter().map(SitePlan::text).collect();
        writeln!(f, "seed {}", self.seed)?;
        if let Some(bug) = self.bug {
            writeln!(f, "planted bug: {bug}")?;
        }
        writeln!(f, "sites: {}", sites.join("; "))?;
        writeln!(f, "coordinators: {}", self.coordinators)?;
        if let Some(bytes) = self.coordinator_checkpoints {
            writeln!(f, "their logs have a checkpoint every {bytes} bytes")?;
        }
        let reports = if self.reports {
            "reported"
        } else {
            "kept to the sites"
        };
        writeln!(f, "deadlocks: {}, waits are {reports}", self.deadlocks)?;
        writeln!(f, "times in microseconds: {:?}", self.timing)?;
        writeln!(f, "network: {:?}", self.net)?;
        writeln!(f, "log segments of {} bytes", self.segment_bytes)?;
        writeln!(f, "faults end at {} us, and then:", self.heal_at)?;
        writeln!(f, "all is over within {} us", self.bound())?;
        for client in &self.clients {
            writeln!(f, "client {}: {}", client.id, client.text())?;
        }
        for fault in &self.faults {
            writeln!(f, "fault at {} us: {:?}", fault.at, fault.what)?;
        }
        Ok(())
    }
}

impl ClientPlan {
    fn text(&self) -> String {
        let mut text = format!("from {} us", self.at);
        if self.script.local {
            text.push_str(", local");
        }
        if self.dependent {
            text.push_str(", allows dependent votes");
        }
        if self.script.audit {
            text.push_str(", audit");
        }
        if let Some(step) = self.vanish {
            text.push_str(&format!(", vanishes before step {step}"));
        }
        if self.races {
            text.push_str(", rolls back after its commit");
        }
        text.push_str(&format!(", {} retries:", self.retries));
        for (site, action) in &self.script.steps {
            text.push_str(&format!(" {}", action.text(*site)));
        }
        text
    }
}
