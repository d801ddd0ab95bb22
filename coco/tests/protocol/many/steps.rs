//! What may happen next, and letting it happen.
//!
//! Time is abstract: it stands still until a timer is made to run, and then it is when that one is due.
//!
//! # A reduction
//!
//! Once no misfortune can happen any more, what one site does commutes with what everybody else does: it
//! takes messages from the heads of queues at whose other ends the others put them, and changes nothing else
//! that they read. If such a site has a message from every coordinator that can ever send it one, then
//! nothing that the others do can add to what it may do first, and it is enough to look at its steps: they are a
//! persistent set, in a graph without cycles (every step without a misfortune uses up a message, a record, a
//! vote or a commit; none of these comes back). The same holds for a coordinator that has a
//! message from every site and every other coordinator. All ends, and all sequences of what one
//! machine does, are kept; while misfortunes remain, nothing is left out. Worlds without it reach the
//! same ends, by test.

use std::rc::Rc;

use coco::protocol::Time;

use super::rules::{Met, caller};
use super::{NAMES, SITES, State};
use coco::protocol::SiteName;

/// How often each misfortune may happen on one path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Budget {
    /// A machine stops, with any prefix of its unsynced records on the disk.
    pub(crate) crashes: u8,
    /// A message between coordinator and site is lost. (Between coordinators a message is lost with its
    /// link only: they are told once, by (E1) of the coordinator.)
    pub(crate) losses: u8,
    /// A link ends with all that is on its way.
    pub(crate) cuts: u8,
    /// A machine's timer comes due before anything else happens.
    pub(crate) ticks: u8,
    /// An engine refuses.
    pub(crate) refusals: u8,
    /// A client gives up.
    pub(crate) rollbacks: u8,
}

impl Budget {
    /// One machine crashes.
    pub(crate) const CRASH: Self = Self {
        crashes: 1,
        ..Self::NONE
    };

    pub(crate) const NONE: Self = Self {
        crashes: 0,
        losses: 0,
        cuts: 0,
        ticks: 0,
        refusals: 0,
        rollbacks: 0,
    };
}

/// Something happens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    Commit { of: u8 },
    ToDesk { desk: u8, site: u8 },
    ToSite { desk: u8, site: u8 },
    ToPeer { desk: u8 },
    SyncDesk { desk: u8 },
    SyncSite { site: u8 },
    Release { site: u8, of: u8 },
    StartDesk { desk: u8 },
    StartSite { site: u8 },
    Connect { desk: u8, site: u8 },
    ConnectPeers,
    // Misfortunes.
    CrashDesk { desk: u8, survivors: u8 },
    CrashSite { site: u8, survivors: u8 },
    LoseToDesk { desk: u8, site: u8 },
    LoseToSite { desk: u8, site: u8 },
    Cut { desk: u8, site: u8 },
    CutPeers,
    TickDesk { desk: u8 },
    TickSite { site: u8 },
    Refuse { site: u8, of: u8 },
    Rollback { of: u8 },
}

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("a world is small")
}

impl State {
    /// All that may happen, or as much of it as is enough to look at; and whether the state is one in which
    /// nothing happens unless something goes wrong.
    pub(crate) fn steps(&self, reduced: bool) -> (Vec<Step>, bool) {
        let mut steps = Vec::new();
        let rests = if self.outside.budget == Budget::NONE {
            self.enough_steps(reduced, &mut steps);
            steps.is_empty()
        } else {
            self.calm_steps(&mut steps);
            let rests = steps.is_empty();
            self.misfortunes(&mut steps);
            rests
        };
        (steps, rests)
    }

    /// What happens if nothing goes wrong, or a persistent set of it.
    fn enough_steps(&self, reduced: bool, steps: &mut Vec<Step>) {
        if reduced {
            for site in 0..SITES {
                if self.hears_all(site) {
                    self.site_steps(site, steps);
                    return;
                }
            }
            for desk in 0..self.desks.len() {
                if self.is_told_all(desk) {
                    self.desk_steps(desk, steps);
                    return;
                }
            }
        }
        self.calm_steps(steps);
    }

    /// Every coordinator has a message on its way to the site.
    fn hears_all(&self, site: usize) -> bool {
        (0..self.desks.len()).all(|desk| !self.link(desk, site).to_site.is_empty())
    }

    /// Every site, and every other coordinator, has a message on its way to the coordinator.
    fn is_told_all(&self, desk: usize) -> bool {
        let sites = (0..SITES).all(|site| !self.link(desk, site).to_desk.is_empty());
        let peers = self.desks.len() == 1 || !self.peers.to[desk].is_empty();
        sites && peers
    }

    /// What happens if nothing goes wrong.
    pub(crate) fn calm_steps(&self, steps: &mut Vec<Step>) {
        for desk in 0..self.desks.len() {
            self.desk_steps(desk, steps);
        }
        for site in 0..SITES {
            self.site_steps(site, steps);
        }
        for desk in 0..self.desks.len() {
            if self.desks[desk].machine.is_none() {
                steps.push(Step::StartDesk { desk: small(desk) });
                continue;
            }
            for site in 0..SITES {
                if self.sites[site].voter.is_some() && !self.link(desk, site).up {
                    let (desk, site) = (small(desk), small(site));
                    steps.push(Step::Connect { desk, site });
                }
            }
        }
        let all_run = self.desks.iter().all(|it| it.machine.is_some());
        if self.desks.len() > 1 && all_run && !self.peers.up {
            steps.push(Step::ConnectPeers);
        }
    }

    fn desk_steps(&self, index: usize, steps: &mut Vec<Step>) {
        let at = &self.desks[index];
        let desk = small(index);
        for site in 0..SITES {
            if !self.link(index, site).to_desk.is_empty() {
                let site = small(site);
                steps.push(Step::ToDesk { desk, site });
            }
        }
        if !self.peers.to.get(index).is_none_or(|it| it.is_empty()) {
            steps.push(Step::ToPeer { desk });
        }
        if !at.log.pending.is_empty() && at.machine.is_some() {
            steps.push(Step::SyncDesk { desk });
        }
        // A client that finds no coordinator waits until there is one.
        let serves = at.machine.as_ref().is_some_and(|it| it.is_serving());
        for of in 0..self.plan.gtids.len() {
            if serves && self.plan.owner(of) == index && !self.outside.asked[of] {
                steps.push(Step::Commit { of: small(of) });
            }
        }
    }

    fn site_steps(&self, index: usize, steps: &mut Vec<Step>) {
        let at = &self.sites[index];
        let site = small(index);
        for desk in 0..self.desks.len() {
            if !self.link(desk, index).to_site.is_empty() {
                let desk = small(desk);
                steps.push(Step::ToSite { desk, site });
            }
        }
        if at.voter.is_none() {
            steps.push(Step::StartSite { site });
            return;
        }
        if !at.log.pending.is_empty() {
            steps.push(Step::SyncSite { site });
        }
        for of in 0..self.plan.gtids.len() {
            if self.is_open(index, of) {
                let of = small(of);
                steps.push(Step::Release { site, of });
            }
        }
    }

    fn misfortunes(&self, steps: &mut Vec<Step>) {
        let budget = self.outside.budget;
        for (index, at) in self.desks.iter().enumerate() {
            let desk = small(index);
            let Some(machine) = &at.machine else { continue };
            if budget.crashes > 0 {
                let survivors = 0..=small(at.log.pending.len());
                steps.extend(survivors.map(|survivors| Step::CrashDesk { desk, survivors }));
            }
            if budget.ticks > 0 && machine.next_deadline().is_some() {
                steps.push(Step::TickDesk { desk });
            }
            for site in 0..SITES {
                self.link_misfortunes(index, site, steps);
            }
        }
        if budget.cuts > 0 && self.peers.up {
            steps.push(Step::CutPeers);
        }
        for (index, at) in self.sites.iter().enumerate() {
            let site = small(index);
            let Some(voter) = &at.voter else { continue };
            if budget.crashes > 0 {
                let survivors = 0..=small(at.log.pending.len());
                steps.extend(survivors.map(|survivors| Step::CrashSite { site, survivors }));
            }
            if budget.ticks > 0 && voter.next_deadline().is_some() {
                steps.push(Step::TickSite { site });
            }
            for of in 0..self.plan.gtids.len() {
                let asked = at.work[of] == Some(crate::world::Work::Asked);
                if budget.refusals > 0 && asked {
                    let of = small(of);
                    steps.push(Step::Refuse { site, of });
                }
            }
        }
        for of in 0..self.plan.gtids.len() {
            let desk = &self.desks[self.plan.owner(of)];
            if budget.rollbacks > 0 && desk.machine.is_some() && self.outside.asked[of] {
                let of = small(of);
                steps.push(Step::Rollback { of });
            }
        }
    }

    fn link_misfortunes(&self, desk: usize, site: usize, steps: &mut Vec<Step>) {
        let budget = self.outside.budget;
        let link = self.link(desk, site);
        let (desk, site) = (small(desk), small(site));
        if budget.cuts > 0 && link.up {
            steps.push(Step::Cut { desk, site });
        }
        // A link whose hello is lost is not up: that is a cut.
        let first = link.to_desk.front();
        let hello =
            first.is_some_and(|it| matches!(it, coco::protocol::ToCoordinator::Hello { .. }));
        if budget.losses > 0 && first.is_some() && !hello {
            steps.push(Step::LoseToDesk { desk, site });
        }
        if budget.losses > 0 && !link.to_site.is_empty() {
            steps.push(Step::LoseToSite { desk, site });
        }
    }

    /// Takes from the budget what the step costs.
    fn pay(&mut self, step: Step) {
        let outside = Rc::make_mut(&mut self.outside);
        let budget = &mut outside.budget;
        let account = match step {
            Step::CrashDesk { .. } | Step::CrashSite { .. } => &mut budget.crashes,
            Step::LoseToDesk { .. } | Step::LoseToSite { .. } => &mut budget.losses,
            Step::Cut { .. } | Step::CutPeers => &mut budget.cuts,
            Step::TickDesk { .. } | Step::TickSite { .. } => &mut budget.ticks,
            Step::Refuse { .. } => &mut budget.refusals,
            Step::Rollback { .. } => &mut budget.rollbacks,
            Step::Commit { .. }
            | Step::ToDesk { .. }
            | Step::ToSite { .. }
            | Step::ToPeer { .. }
            | Step::SyncDesk { .. }
            | Step::SyncSite { .. }
            | Step::Release { .. }
            | Step::StartDesk { .. }
            | Step::StartSite { .. }
            | Step::Connect { .. }
            | Step::ConnectPeers => return,
        };
        *account -= 1;
        outside.disturbed = true;
    }

    /// Lets it happen.
    pub(crate) fn take(&mut self, step: Step) {
        self.pay(step);
        let wide = usize::from;
        match step {
            Step::Commit { of } => self.commit(wide(of)),
            Step::ToDesk { desk, site } => self.deliver_to_desk(wide(desk), wide(site)),
            Step::ToSite { desk, site } => self.deliver_to_site(wide(desk), wide(site)),
            Step::ToPeer { desk } => self.deliver_to_peer(wide(desk)),
            Step::SyncDesk { desk } => self.sync_desk(wide(desk)),
            Step::SyncSite { site } => self.sync_site(wide(site)),
            Step::Release { site, of } => self.release(wide(site), wide(of)),
            Step::StartDesk { desk } => self.start_desk(wide(desk)),
            Step::StartSite { site } => self.start_site(wide(site)),
            Step::Connect { desk, site } => self.connect(wide(desk), wide(site)),
            Step::ConnectPeers => self.connect_peers(),
            Step::CrashDesk { desk, survivors } => self.crash_desk(wide(desk), wide(survivors)),
            Step::CrashSite { site, survivors } => self.crash_site(wide(site), wide(survivors)),
            Step::LoseToDesk { desk, site } => {
                self.link_mut(wide(desk), wide(site)).to_desk.pop_front();
            }
            Step::LoseToSite { desk, site } => {
                self.link_mut(wide(desk), wide(site)).to_site.pop_front();
            }
            Step::Cut { desk, site } => self.cut(wide(desk), wide(site)),
            Step::CutPeers => self.cut_peers(),
            Step::TickDesk { desk } => {
                let machine = self.desks[wide(desk)].machine.as_ref();
                self.advance(machine.and_then(|it| it.next_deadline()));
                self.tick_desk(wide(desk));
            }
            Step::TickSite { site } => {
                let voter = self.sites[wide(site)].voter.as_ref();
                self.advance(voter.and_then(|it| it.next_deadline()));
                self.tick_site(wide(site));
            }
            Step::Refuse { site, of } => self.refuse(wide(site), wide(of)),
            Step::Rollback { of } => self.rollback(wide(of)),
        }
        self.forget_counters();
    }

    fn commit(&mut self, of: usize) {
        Rc::make_mut(&mut self.outside).asked[of] = true;
        let desk = self.plan.owner(of);
        let (gtid, sites) = (self.plan.gtids[of], self.names(of));
        let dependent = self.plan.dependent[of];
        self.desk(desk).waiting.insert(caller(of));
        self.on_desk(desk, |it, now, out| {
            if dependent {
                it.handle_commit_dependent(now, caller(of), gtid, &sites, out);
            } else {
                it.handle_commit(now, caller(of), gtid, &sites, out);
            }
        });
    }

    fn rollback(&mut self, of: usize) {
        let (gtid, sites) = (self.plan.gtids[of], self.names(of));
        let second = coco::protocol::CallerId(100 + of as u64);
        self.on_desk(self.plan.owner(of), |it, now, out| {
            it.handle_rollback(now, second, gtid, &sites, out);
        });
    }

    fn names(&self, of: usize) -> Vec<SiteName> {
        let places = self.plan.places[of].iter();
        places.map(|&site| SiteName::new(NAMES[site])).collect()
    }

    fn advance(&mut self, deadline: Option<Time>) {
        let now = self.outside.now;
        let then = deadline.map_or(now, |deadline| deadline.max(now));
        if then > now {
            Rc::make_mut(&mut self.outside).now = then;
        }
    }

    fn tick_desk(&mut self, desk: usize) {
        self.on_desk(desk, |it, now, out| it.handle_tick(now, out));
    }

    fn tick_site(&mut self, site: usize) {
        self.on_site(site, |it, now, out| it.handle_tick(now, out));
        self.show_waits(site);
    }

    /// Nothing goes wrong any more: lets everything run, timers too, until it rests. What was left, if it
    /// does not.
    pub(crate) fn heal(&mut self) -> Result<String, String> {
        let mut left = String::new();
        for round in 0..40 {
            self.run();
            self.end_leases();
            self.run();
            if let Some(violation) = self.violation.take() {
                return Err(format!("healing: {violation}"));
            }
            match self.rest() {
                Ok(()) => return Ok(self.see_end()),
                Err(it) => left = it,
            }
            if round == 0 && self.needs_no_timer() {
                return Err(format!("B6: without a timer this stays: {left}"));
            }
            let desks = self.desks.iter().filter_map(|it| it.machine.as_ref());
            let desks = desks.filter_map(|it| it.next_deadline());
            let voters = self.sites.iter().filter_map(|it| it.voter.as_ref());
            let voters = voters.filter_map(|it| it.next_deadline());
            let next = desks.chain(voters).min();
            self.advance(next);
            for desk in 0..self.desks.len() {
                self.tick_desk(desk);
            }
            for site in 0..SITES {
                self.tick_site(site);
            }
            self.forget_counters();
        }
        Err(format!("healing: does not come to rest: {left}"))
    }

    fn run(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..1000 {
            steps.clear();
            self.calm_steps(&mut steps);
            match steps.first() {
                Some(&step) => self.take(step),
                None => return,
            }
        }
        self.violation = Some("messages without end".to_owned());
    }

    /// A step, in the words of scripts.
    pub(super) fn words(&self, step: Step) -> String {
        let c = |desk: u8| self.desk_name(usize::from(desk));
        let s = |site: u8| NAMES[usize::from(site)];
        let at = |desk: u8| {
            if self.desks.len() > 1 {
                format!(" {}", c(desk))
            } else {
                String::new()
            }
        };
        match step {
            Step::Commit { of } => format!("commit T{}", of + 1),
            Step::ToDesk { desk, site } => format!("deliver {} up{}", s(site), at(desk)),
            Step::ToSite { desk, site } => format!("deliver {} down{}", s(site), at(desk)),
            Step::ToPeer { desk } => format!("deliver to {}", c(desk)),
            Step::SyncDesk { desk } => format!("sync {}", c(desk)),
            Step::SyncSite { site } => format!("sync {}", s(site)),
            Step::Release { site, of } => format!("release {} T{}", s(site), of + 1),
            Step::StartDesk { desk } => format!("start {}", c(desk)),
            Step::StartSite { site } => format!("start {}", s(site)),
            Step::Connect { desk, site } => format!("connect {}{}", s(site), at(desk)),
            Step::ConnectPeers => "connect C0 C1".to_owned(),
            Step::CrashDesk { desk, survivors } => {
                format!("crash {} keeping {survivors}", c(desk))
            }
            Step::CrashSite { site, survivors } => {
                format!("crash {} keeping {survivors}", s(site))
            }
            Step::LoseToDesk { desk, site } => format!("lose {} up{}", s(site), at(desk)),
            Step::LoseToSite { desk, site } => format!("lose {} down{}", s(site), at(desk)),
            Step::Cut { desk, site } => format!("cut {}{}", s(site), at(desk)),
            Step::CutPeers => "cut C0 C1".to_owned(),
            Step::TickDesk { desk } => format!("timer {}", c(desk)),
            Step::TickSite { site } => format!("timer {}", s(site)),
            Step::Refuse { site, of } => format!("release {} T{} no", s(site), of + 1),
            Step::Rollback { of } => format!("rollback T{}", of + 1),
        }
    }

    pub(super) const fn met(&self) -> Met {
        self.met
    }
}
