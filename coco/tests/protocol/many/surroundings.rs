//! What happens to machines from outside: links, disks, stops and starts.

use std::rc::Rc;

use coco::log::Record;
use coco::protocol::{Coordinator, Incarnation, PeerMessage, SiteName, Voter};

use super::{Lie, Link, NAMES, SITES, State, desk_id};

impl State {
    // Links.

    pub(super) fn deliver_to_desk(&mut self, desk: usize, site: usize) {
        let Some(mut message) = self.link_mut(desk, site).to_desk.pop_front() else {
            return;
        };
        let name = SiteName::new(NAMES[site]);
        self.say(desk, |text| text.arrival_at_coordinator(&name, &message));
        self.lie_about_dependencies(&mut message);
        self.on_desk(desk, |it, now, out| {
            it.handle_message(now, &name, message, out);
        });
    }

    pub(super) fn deliver_to_site(&mut self, desk: usize, site: usize) {
        let Some(message) = self.link_mut(desk, site).to_site.pop_front() else {
            return;
        };
        let name = SiteName::new(NAMES[site]);
        self.say(desk, |text| text.arrival_at_site(&name, &message));
        let id = desk_id(desk);
        let told = message.clone();
        self.on_site(site, |it, now, out| {
            it.handle_message(now, id, message, out);
        });
        self.see_held(site, &told);
        self.show_waits(site);
    }

    pub(super) fn deliver_to_peer(&mut self, to: usize) {
        let Some(message) = Rc::make_mut(&mut self.peers).to[to].pop_front() else {
            return;
        };
        let from = self.desk_name(1 - to);
        self.say(to, |text| text.arrival_at_peer(from, &message));
        let over = matches!(&message, PeerMessage::Waits { at, .. } if at.is_empty());
        let wound = matches!(message, PeerMessage::Wound { .. });
        match self.plan.lie {
            Lie::StaleWaits if over => return,
            Lie::WoundIgnored if wound => return,
            _ => {}
        }
        self.on_desk(to, |it, now, out| {
            it.handle_peer_message(now, desk_id(1 - to), message, out);
        });
    }

    pub(super) fn cut(&mut self, desk: usize, site: usize) {
        if !self.link(desk, site).up {
            return;
        }
        *self.link_mut(desk, site) = Link::default();
        self.on_site(site, |it, now, _| it.handle_link_down(now, desk_id(desk)));
        let name = SiteName::new(NAMES[site]);
        self.on_desk(desk, |it, now, out| it.handle_link_down(now, &name, out));
    }

    pub(super) fn connect(&mut self, desk: usize, site: usize) {
        self.link_mut(desk, site).up = true;
        self.on_site(site, |it, now, out| {
            it.handle_link_up(now, desk_id(desk), out);
        });
        self.show_waits(site);
    }

    pub(super) fn cut_peers(&mut self) {
        if !self.peers.up {
            return;
        }
        self.peers = Rc::default();
        for desk in 0..self.desks.len() {
            let other = desk_id(1 - desk);
            let stale = self.plan.lie == Lie::StaleWaits;
            self.on_desk(desk, |it, now, _| {
                it.handle_peer_down(now, other);
                if !stale {
                    it.handle_peer_silent(now, other);
                }
            });
        }
    }

    pub(super) fn connect_peers(&mut self) {
        if self.desks.len() < 2 {
            return;
        }
        Rc::make_mut(&mut self.peers).up = true;
        for desk in 0..2 {
            let other = desk_id(1 - desk);
            self.on_desk(desk, |it, now, out| it.handle_peer_up(now, other, out));
        }
    }

    // Disks.

    pub(super) fn sync_desk(&mut self, desk: usize) {
        let Some((record, token)) = self.desk(desk).log.pending.pop_front() else {
            return;
        };
        let c = self.desk_name(desk);
        self.say(desk, |text| format!("{c}  disk  {}", text.record(&record)));
        self.desk(desk).log.durable.push(record.clone());
        self.check_record(desk, &record);
        if let Some(token) = token {
            self.on_desk(desk, |it, now, out| it.handle_durable(now, token, out));
        }
    }

    pub(super) fn sync_site(&mut self, site: usize) {
        let Some((record, token)) = self.site(site).log.pending.pop_front() else {
            return;
        };
        self.say(0, |text| {
            format!("{}  disk  {}", NAMES[site], text.site_record(&record))
        });
        self.site(site).log.durable.push(record);
        if let Some(token) = token {
            self.on_site(site, |it, now, out| it.handle_durable(now, token, out));
            self.show_waits(site);
        }
    }

    // Machines.

    pub(super) fn start_desk(&mut self, desk: usize) {
        let mut effects = Vec::new();
        let config = self.plan.coordinator_config();
        let records = self.desks[desk].log.durable.clone();
        let machine = Coordinator::recover(config, desk_id(desk), records, &mut effects);
        self.desk(desk).machine = Some(machine.expect("its own log is sound"));
        for effect in effects {
            self.do_desk_effect(desk, effect);
        }
    }

    pub(super) fn crash_desk(&mut self, desk: usize, survivors: usize) {
        for site in 0..SITES {
            self.cut(desk, site);
        }
        if self.desks.len() > 1 {
            self.cut_peers();
        }
        let survivors_of = self.desks[desk].log.pending.iter().take(survivors);
        let late: Vec<Record> = survivors_of.map(|(record, _)| record.clone()).collect();
        let at = self.desk(desk);
        at.machine = None;
        at.log.crash(survivors);
        at.waiting.clear();
        for record in late {
            self.check_record(desk, &record);
        }
    }

    pub(super) fn start_site(&mut self, site: usize) {
        let now = self.outside.now;
        let config = self.plan.voter_config(site);
        let forgets = self.plan.lie == Lie::ForgottenDependencies;
        let at = self.site(site);
        at.incarnation += 1;
        let (mut in_doubt, alone) = at.recovered();
        if forgets {
            for it in &mut in_doubt {
                it.depends = Default::default();
            }
        }
        let incarnation = Incarnation(at.incarnation);
        at.voter = Some(Voter::recover(config, incarnation, now, in_doubt, alone));
    }
}
