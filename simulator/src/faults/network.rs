//! Links from sites to coordinators, and from each coordinator to every other.
//!
//! A link carries one connection after another. Invariants, which are what `docs/protocol.md` promises of
//! links:
//! - N1 A connection keeps the order of its messages, in each direction, and delivers a prefix of them.
//! - N2 A message of an earlier connection may arrive again after a reconnect, however late.
//! - N3 The two ends may notice at different times that a connection is gone.

use std::collections::VecDeque;

use fastrand::Rng;

use super::plan::{MS, Plan, ProcId};
use super::world::{Event, Wire, World};

/// The link from the process that dials, a site or a coordinator, to a coordinator.
pub(crate) struct Link {
    pub(crate) dialer: ProcId,
    pub(crate) coordinator: usize,
    /// Slow for a while.
    pub(crate) extra_delay: u64,
    connection: u64,
    /// Whoever dials believes in the connection.
    dialer_end: bool,
    broken: bool,
    dialing: bool,
    rng: Rng,
    up: Direction,
    down: Direction,
    /// What arrives again after the next connect.
    past: Vec<Wire>,
}

#[derive(Default)]
struct Direction {
    /// How many faults block it.
    blocked: u32,
    held: VecDeque<Wire>,
    /// When the last message arrives.
    last: u64,
    /// What would arrive later is lost.
    cut: u64,
}

impl Link {
    pub(crate) fn new(plan: &Plan, index: usize, rng: Rng) -> Self {
        let (dialer, coordinator) = plan.link_ends(index);
        Self {
            dialer,
            coordinator,
            extra_delay: 0,
            connection: 0,
            dialer_end: false,
            broken: false,
            dialing: true,
            rng,
            up: Direction::default(),
            down: Direction::default(),
            past: Vec::new(),
        }
    }

    fn direction(&mut self, wire: &Wire) -> &mut Direction {
        match wire {
            Wire::Up(_) | Wire::PeerHello | Wire::Peer(_) => &mut self.up,
            Wire::Down(_) => &mut self.down,
        }
    }
}

fn one_in(rng: &mut Rng, chance: u32) -> bool {
    chance > 0 && rng.u32(..chance) == 0
}

impl World {
    /// The link of a site.
    pub(crate) fn link_of(&self, site: usize, coordinator: usize) -> usize {
        site * self.plan.coordinators + coordinator
    }

    /// The link that one coordinator speaks to another on.
    pub(crate) fn peer_link(&self, from: usize, to: usize) -> Option<usize> {
        let ends = |link: &Link| link.dialer == from && link.coordinator == to;
        self.links.iter().position(ends)
    }

    fn linked(&self, link: usize) -> Option<u64> {
        let Link {
            dialer,
            coordinator,
            ..
        } = self.links[link];
        let life = self.coordinators[coordinator].life.as_ref()?;
        life.linked[dialer]
    }

    pub(crate) fn send(&mut self, index: usize, wire: Wire) {
        let open = match wire {
            Wire::Up(_) | Wire::PeerHello | Wire::Peer(_) => self.links[index].dialer_end,
            Wire::Down(_) => self.linked(index) == Some(self.links[index].connection),
        };
        let net = self.plan.net.clone();
        let link = &mut self.links[index];
        if !open || link.broken {
            return;
        }
        if !self.healed && one_in(&mut link.rng, net.break_one_in) {
            self.counts.faults += 1;
            self.break_link(index);
            return;
        }
        let between_peers = matches!(wire, Wire::PeerHello | Wire::Peer(_));
        if !self.healed && !between_peers && one_in(&mut link.rng, net.repeat_one_in) {
            self.counts.faults += 1;
            link.past.push(wire.clone());
        }
        let link = &mut self.links[index];
        if link.direction(&wire).blocked > 0 {
            link.direction(&wire).held.push_back(wire);
            return;
        }
        self.carry(index, wire);
    }

    fn carry(&mut self, index: usize, wire: Wire) {
        let delay = self.plan.net.delay;
        let now = self.now;
        let link = &mut self.links[index];
        let span = link.rng.u64(1..=delay) + link.extra_delay;
        let connection = link.connection;
        let direction = link.direction(&wire);
        direction.last = direction.last.max(now + span);
        let at = direction.last;
        if at < direction.cut {
            self.at(
                at,
                Event::Arrive {
                    link: index,
                    connection,
                    wire,
                },
            );
        }
    }

    pub(crate) fn arrive(&mut self, index: usize, connection: u64, wire: Wire) {
        let link = &self.links[index];
        let late = match &wire {
            Wire::Up(_) | Wire::PeerHello | Wire::Peer(_) => self.now >= link.up.cut,
            Wire::Down(_) => self.now >= link.down.cut || !link.dialer_end,
        };
        if link.connection == connection && !late {
            self.hand_over(index, connection, wire);
        }
    }

    fn hand_over(&mut self, index: usize, connection: u64, wire: Wire) {
        let link = &self.links[index];
        let (dialer, coordinator) = (link.dialer, link.coordinator);
        let site = dialer.wrapping_sub(self.plan.coordinators);
        match wire {
            Wire::Up(message) => self.at_coordinator(coordinator, site, connection, &message),
            Wire::Down(message) => self.at_site(site, coordinator, &message),
            Wire::PeerHello => self.peer_speaks(coordinator, dialer, connection),
            Wire::Peer(message) => self.at_peer(coordinator, dialer, connection, message),
        }
    }

    /// N2.
    pub(crate) fn repeat(&mut self, index: usize, connection: u64, wire: Wire) {
        let link = &self.links[index];
        let present = link.connection;
        if present > connection && link.dialer_end && self.linked(index) == Some(present) {
            self.counts.repeated += 1;
            self.hand_over(index, present, wire);
        }
    }

    pub(crate) fn dial(&mut self, index: usize) {
        let link = &mut self.links[index];
        let (dialer, coordinator) = (link.dialer, link.coordinator);
        let blocked = link.up.blocked + link.down.blocked > 0;
        link.dialing = false;
        if !self.processes[dialer].up || link.dialer_end {
            return;
        }
        if blocked || !self.processes[coordinator].up {
            self.redial(index);
            return;
        }
        let link = &mut self.links[index];
        link.connection += 1;
        link.dialer_end = true;
        link.broken = false;
        for direction in [&mut link.up, &mut link.down] {
            direction.held.clear();
            direction.last = self.now;
            direction.cut = u64::MAX;
        }
        let before = link.connection - 1;
        for wire in std::mem::take(&mut link.past) {
            let most = [50, 3_000][self.links[index].rng.usize(..2)] * MS;
            let span = self.links[index].rng.u64(..most);
            self.after(
                span,
                Event::Repeat {
                    link: index,
                    connection: before,
                    wire,
                },
            );
        }
        self.dialer_told(index, dialer, coordinator, true);
    }

    pub(crate) fn redial(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.dialing {
            link.dialing = true;
            let span = link.rng.u64(5..=200) * MS;
            self.after(span, Event::Dial { link: index });
        }
    }

    /// The connection is gone; what is under way arrives up to some moment.
    pub(crate) fn break_link(&mut self, index: usize) {
        let keepalive = self.plan.timing.keepalive;
        let now = self.now;
        let delay = self.plan.net.delay;
        let link = &mut self.links[index];
        if link.broken {
            return;
        }
        link.broken = true;
        let connection = link.connection;
        link.up.cut = now + link.rng.u64(..=delay);
        link.down.cut = now + link.rng.u64(..=delay);
        let spans = [link.rng.u64(..=keepalive), link.rng.u64(..=keepalive)];
        for (span, at_dialer) in spans.into_iter().zip([true, false]) {
            self.after(
                span,
                Event::Lost {
                    link: index,
                    connection,
                    at_dialer,
                },
            );
        }
    }

    pub(crate) fn lost(&mut self, index: usize, connection: u64, at_dialer: bool) {
        let link = &mut self.links[index];
        let (dialer, coordinator) = (link.dialer, link.coordinator);
        if at_dialer {
            if link.connection == connection && link.dialer_end {
                link.dialer_end = false;
                self.dialer_told(index, dialer, coordinator, false);
                self.redial(index);
            }
        } else if self.linked(index) == Some(connection) {
            self.unlink(coordinator, dialer);
        }
    }

    /// Its link has come up or gone down.
    fn dialer_told(&mut self, index: usize, dialer: ProcId, coordinator: usize, up: bool) {
        if let Some(site) = dialer.checked_sub(self.plan.coordinators) {
            self.site_link(site, coordinator, up);
        } else {
            if up {
                self.send(index, Wire::PeerHello);
            }
            self.peer_link_told(dialer, coordinator, up);
        }
    }

    pub(crate) fn block(&mut self, index: usize, up: bool, down: bool) {
        let keepalive = self.plan.timing.keepalive;
        let link = &mut self.links[index];
        link.up.blocked += u32::from(up);
        link.down.blocked += u32::from(down);
        let connection = link.connection;
        self.after(
            keepalive,
            Event::Silence {
                link: index,
                connection,
            },
        );
    }

    pub(crate) fn unblock(&mut self, index: usize, up: bool, down: bool) {
        let link = &mut self.links[index];
        link.up.blocked = link.up.blocked.saturating_sub(u32::from(up));
        link.down.blocked = link.down.blocked.saturating_sub(u32::from(down));
        self.release(index);
    }

    /// Nothing blocks it any more.
    pub(crate) fn free(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.up.blocked = 0;
        link.down.blocked = 0;
        link.extra_delay = 0;
        self.release(index);
    }

    fn release(&mut self, index: usize) {
        let link = &mut self.links[index];
        let mut freed = Vec::new();
        for direction in [&mut link.up, &mut link.down] {
            if direction.blocked == 0 {
                freed.extend(std::mem::take(&mut direction.held));
            }
        }
        if !self.links[index].broken {
            for wire in freed {
                self.carry(index, wire);
            }
        }
    }

    /// A paused process answers nothing: its links look dead after a while.
    pub(crate) fn silent_links(&mut self, proc: ProcId) {
        let keepalive = self.plan.timing.keepalive;
        for link in self.links_of(proc) {
            let connection = self.links[link].connection;
            self.after(keepalive, Event::Silence { link, connection });
        }
    }

    pub(crate) fn silence(&mut self, index: usize, connection: u64) {
        let link = &self.links[index];
        let paused = self.is_paused(link.coordinator) || self.is_paused(link.dialer);
        let blocked = link.up.blocked + link.down.blocked > 0;
        if link.connection == connection && (blocked || paused) {
            self.break_link(index);
        }
    }

    /// A process has died: the other ends notice at once, or after their keepalive.
    pub(crate) fn drop_links(&mut self, proc: ProcId, power: bool) {
        let keepalive = self.plan.timing.keepalive;
        for index in self.links_of(proc) {
            let link = &mut self.links[index];
            let connection = link.connection;
            let at_dialer = link.dialer != proc;
            if !at_dialer {
                link.dialer_end = false;
                // Whoever was dialing is dead.
                link.dialing = false;
            }
            link.broken = true;
            // What it had sent may still arrive; what was sent to it does not.
            let late = self.now + link.rng.u64(..=self.plan.net.delay);
            let (sent, received) = if at_dialer {
                (&mut link.down, &mut link.up)
            } else {
                (&mut link.up, &mut link.down)
            };
            sent.cut = sent.cut.min(late);
            received.cut = received.cut.min(self.now);
            let span = if power {
                keepalive
            } else {
                link.rng.u64(..=10 * MS)
            };
            self.after(
                span,
                Event::Lost {
                    link: index,
                    connection,
                    at_dialer,
                },
            );
        }
    }

    pub(crate) fn dials(&self, link: usize, proc: ProcId) -> bool {
        self.links[link].dialer == proc
    }

    /// Whether the connection is gone, though perhaps not everybody has noticed.
    pub(crate) fn is_broken(&self, index: usize) -> bool {
        self.links[index].broken
    }

    pub(crate) fn links_of(&self, proc: ProcId) -> Vec<usize> {
        let all = self.links.iter().enumerate();
        let own = all.filter(|(_, link)| link.coordinator == proc || link.dialer == proc);
        own.map(|(index, _)| index).collect()
    }
}
