//! The order of sessions and of real time among committed transactions, joined from all sites.
//!
//! - **T1** An edge between two transactions stands for a precedence that the records show, whatever records are
//!   missing. So a global transaction is not ordered in real time while a site may have told more of its time, and
//!   where sites contradict each other, nothing is taken from either.
//! - **T2** Sessions alone, real time alone, and both together form no cycle. Where they would, because a session is
//!   said to have gone on before it began, no edge is made of either, and a doubt says so.
//! - **T3** Edges are linear in number: of a session, between neighbours; in real time, through a relay for each
//!   beginning, which leads to the next one and to who begins there.

use std::collections::HashMap;

use crate::client::{RealTime, Turn};
use crate::findings::Capped;
use crate::graph::{Edge, Graph, Kind, Members, NO_KEY, Place};
use crate::history::{Ending, Record, SiteHistory, TxnId};
use crate::token::Token;
use crate::verdict::Doubt;

/// An order besides that of conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of sessions.
    Session,
    /// That of real time, and of sessions.
    Real,
}

/// What the records say of sessions and of real time.
#[derive(Debug)]
pub(crate) struct Orders {
    /// For each transaction, the number of its session and its position there.
    turns: Vec<Option<(u32, u64)>>,
    sessions: Vec<Token>,
    /// For each transaction, its time as far as it is certain (T1).
    times: Vec<Option<RealTime>>,
    clock_error: u64,
    /// Transactions with a turn, by session and position.
    in_session: Vec<u32>,
    no_turn: Missing,
    no_time: Missing,
    /// What is wrong with the records of sessions.
    faults: Capped<Doubt>,
    /// T2.
    contradictory: bool,
}

/// Transactions of which something is not told.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    first: Option<u32>,
    count: usize,
}

impl Missing {
    fn note(&mut self, node: u32) {
        self.first = self.first.or(Some(node));
        self.count += 1;
    }
}

impl Orders {
    pub(crate) fn new(sites: &[SiteHistory], members: &Members) -> Self {
        let mut orders = Self {
            turns: Vec::new(),
            sessions: Vec::new(),
            times: Vec::new(),
            clock_error: sites
                .iter()
                .map(SiteHistory::clock_error)
                .max()
                .unwrap_or(0),
            in_session: Vec::new(),
            no_turn: Missing::default(),
            no_time: Missing::default(),
            faults: Capped::default(),
            contradictory: false,
        };
        if sites.iter().all(SiteHistory::is_of_version_1) {
            // Of long histories, not even the room is taken.
            let count = members.names.len();
            let first = (count > 0).then_some(0);
            (orders.no_turn, orders.no_time) = (Missing { first, count }, Missing { first, count });
            return orders;
        }
        orders.turns = vec![None; members.names.len()];
        orders.times = vec![None; members.names.len()];
        orders.join_turns(sites, members);
        orders.join_times(sites, members);
        orders.compare(members);
        orders
    }

    fn join_turns(&mut self, sites: &[SiteHistory], members: &Members) {
        let mut numbers: HashMap<&Token, u32> = HashMap::new();
        for node in (0u32..).take(members.names.len()) {
            let mut turns = members.places(node).iter().filter_map(|place| {
                let turn = sites[place.site].client(place.record)?.turn.as_ref()?;
                Some((turn, place.site))
            });
            let Some((first, site)) = turns.next() else {
                self.no_turn.note(node);
                continue;
            };
            if let Some((second, other)) = turns.find(|(turn, _)| *turn != first) {
                self.faults.push_capped(|| Doubt::SessionDisagreement {
                    txn: members.names[node as usize].clone(),
                    first: (sites[site].site().clone(), first.clone()),
                    second: (sites[other].site().clone(), second.clone()),
                });
                continue;
            }
            let number = *numbers.entry(&first.session).or_insert_with(|| {
                self.sessions.push(first.session.clone());
                u32::try_from(self.sessions.len() - 1).expect("counted in 32 bits, like nodes")
            });
            self.turns[node as usize] = Some((number, first.position));
            self.in_session.push(node);
        }
        let turns = &self.turns;
        self.in_session
            .sort_by_key(|node| (turns[*node as usize], *node));
        let twice: Vec<(u32, u32)> = self
            .in_session
            .windows(2)
            .filter(|pair| turns[pair[0] as usize] == turns[pair[1] as usize])
            .map(|pair| (pair[0], pair[1]))
            .collect();
        for &(one, other) in &twice {
            if let Some(turn) = self.turns[one as usize].map(|turn| self.turn(turn)) {
                self.faults.push_capped(|| Doubt::TurnTwice {
                    turn,
                    txns: [one, other].map(|node| members.names[node as usize].clone()),
                });
            }
        }
        for node in twice.into_iter().flat_map(|(one, other)| [one, other]) {
            self.turns[node as usize] = None;
        }
        let turns = &self.turns;
        self.in_session
            .retain(|node| turns[*node as usize].is_some());
    }

    fn join_times(&mut self, sites: &[SiteHistory], members: &Members) {
        // Global transactions of which a site has said that it does not know more.
        let mut undecided: Vec<u64> = Vec::new();
        for record in sites.iter().flat_map(SiteHistory::records) {
            if let (TxnId::Global(id), Record::Aborted { .. } | Record::InDoubt { .. }) =
                (record.txn(), record)
            {
                undecided.push(id);
            }
        }
        undecided.sort_unstable();
        let cut: Vec<usize> = (0..sites.len())
            .filter(|site| sites[*site].ending() == Ending::CutShort)
            .collect();
        for node in (0u32..).take(members.names.len()) {
            let places = members.places(node);
            let time = |place: &Place| sites[place.site].client(place.record)?.time;
            let Some(time) = places.iter().filter_map(time).reduce(RealTime::hull) else {
                self.no_time.note(node);
                continue;
            };
            let certain = match members.names[node as usize].id() {
                TxnId::Local(_) => true,
                TxnId::Global(id) => {
                    let known = |site: &usize| places.iter().any(|place| place.site == *site);
                    undecided.binary_search(&id).is_err() && cut.iter().all(known)
                }
            };
            self.times[node as usize] = certain.then_some(time);
        }
    }

    /// Compares sessions with real time (T2): nobody may be over before one begins that is earlier in its session. As
    /// beginnings and ends then rise along both, comparing all pairs of each session suffices.
    fn compare(&mut self, members: &Members) {
        let mut latest: Option<(u32, u64, u32)> = None;
        let mut found: Vec<Doubt> = Vec::new();
        for &node in &self.in_session {
            let (Some((session, _)), Some(time)) =
                (self.turns[node as usize], self.times[node as usize])
            else {
                continue;
            };
            let before = latest.filter(|(of, _, _)| *of == session);
            if let Some((_, from, earlier)) = before
                && time.precedes(RealTime { from, to: None }, self.clock_error)
            {
                found.push(Doubt::SessionAgainstTime {
                    session: self.sessions[session as usize].clone(),
                    earlier: members.names[earlier as usize].clone(),
                    later: members.names[node as usize].clone(),
                });
            }
            if before.is_none_or(|(_, from, _)| from < time.from) {
                latest = Some((session, time.from, node));
            }
        }
        self.contradictory = !found.is_empty();
        for doubt in found {
            self.faults.push_capped(|| doubt);
        }
    }

    fn turn(&self, (session, position): (u32, u64)) -> Turn {
        Turn {
            session: self.sessions[session as usize].clone(),
            position,
        }
    }

    /// Whether something is recorded from which edges could follow.
    pub(crate) fn are_empty(&self, clock: Clock) -> bool {
        let timed = || self.times.iter().any(Option::is_some);
        self.contradictory || (self.in_session.is_empty() && (clock == Clock::Session || !timed()))
    }

    /// Whether every transaction has a turn, or a time.
    pub(crate) const fn are_told(&self, clock: Clock) -> bool {
        match clock {
            Clock::Session => self.no_turn.count == 0,
            Clock::Real => self.no_time.count == 0,
        }
    }

    /// Why nothing can be said to hold in these orders.
    pub(crate) fn doubts(&self, clock: Clock, members: &Members) -> Capped<Doubt> {
        let mut doubts = self.faults.clone();
        let name = |node: u32| members.names[node as usize].clone();
        let Missing { first, count } = match clock {
            Clock::Session => self.no_turn,
            Clock::Real => self.no_time,
        };
        doubts.extend(first.map(name).map(|txn| match clock {
            Clock::Session => Doubt::NoSession { txn, count },
            Clock::Real => Doubt::NoRealTime { txn, count },
        }));
        doubts
    }

    /// The neighbours in sessions.
    pub(crate) fn session_pairs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let pairs = self.in_session.windows(2).map(|pair| (pair[0], pair[1]));
        let session = |node: u32| self.turns[node as usize].map(|turn| turn.0);
        pairs.filter(move |(one, next)| !self.contradictory && session(*one) == session(*next))
    }

    /// Transactions with a time, of those that `counts` holds of, by their beginnings.
    pub(crate) fn by_beginning(&self, counts: impl Fn(u32) -> bool) -> Timeline {
        let mut begun: Vec<(u64, u32)> = Vec::new();
        let mut ended: Vec<(u64, u32)> = Vec::new();
        for (node, time) in (0u32..).zip(&self.times) {
            if let Some(time) = time.filter(|_| counts(node) && !self.contradictory) {
                begun.push((time.from, node));
                let over = time.to.and_then(|to| to.checked_add(self.clock_error));
                ended.extend(over.map(|over| (over, node)));
            }
        }
        begun.sort_unstable();
        Timeline { begun, ended }
    }

    /// The graph with the edges of these orders as well.
    pub(crate) fn within(&self, graph: &Graph, clock: Clock) -> Graph {
        let mut edges: Vec<(u32, Edge)> = Vec::new();
        let edge = |to, kind| Edge {
            to,
            key: NO_KEY,
            kind,
        };
        edges.extend(
            self.session_pairs()
                .map(|(one, next)| (one, edge(next, Kind::Session))),
        );
        let mut relays = 0;
        if clock == Clock::Real {
            let line = self.by_beginning(|_| true);
            let first = graph.node_count();
            let relay = |place: usize| {
                u32::try_from(first + place).expect("four thousand million nodes do not fit memory")
            };
            relays = line.begun.len();
            for (place, (_, node)) in line.begun.iter().enumerate() {
                if place + 1 < relays {
                    edges.push((relay(place), edge(relay(place + 1), Kind::Chain)));
                }
                edges.push((relay(place), edge(*node, Kind::Chain)));
            }
            for (over, node) in &line.ended {
                let place = line.after(*over);
                if place < relays {
                    edges.push((*node, edge(relay(place), Kind::Realtime)));
                }
            }
        }
        graph.with(edges, relays)
    }

    /// Where both transactions are in their session: the earlier and the later position.
    pub(crate) fn positions(&self, from: u32, to: u32) -> (Token, u64, u64) {
        let turn = |node: u32| self.turns[node as usize].expect("T1: edges are between turns");
        let (session, earlier) = turn(from);
        (self.sessions[session as usize].clone(), earlier, turn(to).1)
    }

    /// When the one was over and the other began, and by how much clocks may disagree.
    pub(crate) fn instants(&self, from: u32, to: u32) -> (u64, u64, u64) {
        let time = |node: u32| self.times[node as usize].expect("T1: edges are between times");
        let over = time(from).to.expect("what precedes in real time is over");
        (over, time(to).from, self.clock_error)
    }
}

/// Beginnings in order, and ends.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Ascending.
    pub(crate) begun: Vec<(u64, u32)>,
    /// When each was over, clock error included.
    pub(crate) ended: Vec<(u64, u32)>,
}

impl Timeline {
    /// The place of the first beginning after an instant.
    pub(crate) fn after(&self, instant: u64) -> usize {
        self.begun.partition_point(|(from, _)| *from <= instant)
    }
}
