//! Cycles by their kind, shortest first.
//!
//! A cycle lies in one strongly connected component. In each, the kinds are searched from the worst to the mildest, and
//! a kind that is implied by one that was found is not searched: a G1c that is also a G0 says nothing new. That is also
//! why no search has to insist on everything that its kind demands: a cycle of ww and wr edges with a wr edge is what
//! remains if there is no cycle of ww edges alone.
//!
//! Whether a component has a forbidden cycle at all is decided in linear time: by components of the links of some
//! classes, and for snapshot isolation by components of the product with "the last link was an anti-dependency"
//! (Cerone and Gotsman, 2018: forbidden are the cycles without two adjacent anti-dependencies). So a search that runs
//! out of its budget does not end in silence: the model is still ruled out, by a cycle that is not located.

use std::collections::VecDeque;

use crate::models::{Anomaly, AnomalySet, Model};

use super::components::Components;
use super::graph::{Class, Graph, Part, step};

/// A closed walk through transactions: each with the class of the link that leads to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) steps: Vec<(u32, Class)>,
}

/// What the components of a graph contain.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    /// Walks by their names: the shortest of each component, shortest first.
    pub(crate) located: Vec<(Anomaly, Walk)>,
    /// Models that some cycle forbids.
    pub(crate) forbidden: Vec<Model>,
    /// Whether a search ran out of its budget.
    pub(crate) gave_up: bool,
}

/// The kinds of cycles, from the worst to the mildest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Writes,
    Flow,
    Single,
    Nonadjacent,
    Any,
}

/// Whether cycles may use an order of time, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    None,
    Session,
    Real,
}

const KINDS: [Kind; 5] = [
    Kind::Writes,
    Kind::Flow,
    Kind::Single,
    Kind::Nonadjacent,
    Kind::Any,
];

impl Cycles {
    /// Finds them.
    pub(crate) fn of(graph: &Graph, budget: u64) -> Self {
        let mut found = Self::default();
        let components = Components::of(graph).lists();
        if components.is_empty() {
            return found;
        }
        let nodes: u32 = super::graph::Digraph::nodes(graph);
        let mut places = vec![u32::MAX; nodes as usize];
        // Components are many only where they are small.
        let mut total = budget.saturating_mul(32);
        for nodes in components {
            let part = Part::of(graph, nodes, &mut places);
            let mut search = Search::new(&part, graph.txns(), budget.min(total));
            search.run(&mut found);
            total = total.saturating_sub(search.spent);
        }
        found
            .located
            .sort_by_key(|(name, walk)| (*name, walk.steps.len()));
        found.forbidden.sort_unstable();
        found.forbidden.dedup();
        found
    }
}

impl Time {
    const fn class(self) -> Class {
        match self {
            Self::None => Class(0),
            Self::Session => Class::SESSION,
            Self::Real => Class::REALTIME,
        }
    }

    /// What cycles of this variant may use: real time includes the order of sessions.
    const fn allowed(self) -> Class {
        match self {
            Self::None => Class(0),
            Self::Session => Class::SESSION,
            Self::Real => Class::REALTIME.or(Class::SESSION),
        }
    }
}

impl Kind {
    /// Which links its cycles use, but for orders of time.
    const fn classes(self) -> Class {
        match self {
            Self::Writes => Class::WW,
            Self::Flow => Class::WW.or(Class::WR),
            Self::Single | Self::Nonadjacent | Self::Any => Class::WW.or(Class::WR).or(Class::RW),
        }
    }

    const fn name(self, time: Time) -> Anomaly {
        match (self, time) {
            (Self::Writes, Time::None) => Anomaly::G0,
            (Self::Writes, Time::Session) => Anomaly::G0Process,
            (Self::Writes, Time::Real) => Anomaly::G0Realtime,
            (Self::Flow, Time::None) => Anomaly::G1c,
            (Self::Flow, Time::Session) => Anomaly::G1cProcess,
            (Self::Flow, Time::Real) => Anomaly::G1cRealtime,
            (Self::Single, Time::None) => Anomaly::GSingleItem,
            (Self::Single, Time::Session) => Anomaly::GSingleItemProcess,
            (Self::Single, Time::Real) => Anomaly::GSingleItemRealtime,
            (Self::Nonadjacent, Time::None) => Anomaly::GNonadjacentItem,
            (Self::Nonadjacent, Time::Session) => Anomaly::GNonadjacentItemProcess,
            (Self::Nonadjacent, Time::Real) => Anomaly::GNonadjacentItemRealtime,
            (Self::Any, Time::None) => Anomaly::G2Item,
            (Self::Any, Time::Session) => Anomaly::G2ItemProcess,
            (Self::Any, Time::Real) => Anomaly::G2ItemRealtime,
        }
    }

    /// The weakest model that forbids every cycle of its links, if a linear test tells. One rw edge is forbidden by what
    /// forbids nonadjacent ones.
    const fn model(self, time: Time) -> Model {
        match (self, time) {
            (Self::Writes, Time::None) => Model::ReadUncommitted,
            (Self::Writes, Time::Session) => Model::StrongSessionReadUncommitted,
            (Self::Writes, Time::Real) => Model::StrongReadUncommitted,
            (Self::Flow, Time::None) => Model::ReadCommitted,
            (Self::Flow, Time::Session) => Model::StrongSessionReadCommitted,
            (Self::Flow, Time::Real) => Model::StrongReadCommitted,
            (Self::Single | Self::Nonadjacent, Time::None) => Model::SnapshotIsolation,
            (Self::Single | Self::Nonadjacent, Time::Session) => {
                Model::StrongSessionSnapshotIsolation
            }
            (Self::Single | Self::Nonadjacent, Time::Real) => Model::StrongSnapshotIsolation,
            (Self::Any, Time::None) => Model::Serializable,
            (Self::Any, Time::Session) => Model::StrongSessionSerializable,
            (Self::Any, Time::Real) => Model::StrictSerializable,
        }
    }
}

/// The name of a cycle with these links.
pub(super) fn classify(classes: &[Class]) -> Anomaly {
    let count = |class: Class| classes.iter().filter(|one| one.meets(class)).count();
    let time = if count(Class::REALTIME) > 0 {
        Time::Real
    } else if count(Class::SESSION) > 0 {
        Time::Session
    } else {
        Time::None
    };
    let before = classes.iter().skip(classes.len() - 1).chain(classes);
    let adjacent = before
        .zip(classes)
        .any(|(one, next)| one.meets(Class::RW) && next.meets(Class::RW));
    let kind = match count(Class::RW) {
        0 if count(Class::WR) == 0 => Kind::Writes,
        0 => Kind::Flow,
        1 => Kind::Single,
        _ if adjacent => Kind::Any,
        _ => Kind::Nonadjacent,
    };
    kind.name(time)
}

/// The search in one component.
struct Search<'a> {
    part: &'a Part,
    txns: u32,
    /// How many links one search may follow.
    budget: u64,
    spent: u64,
    /// For each node and state: in which round it was reached, how far it is, and from where.
    reached: Vec<(u32, u32, u32)>,
    round: u32,
    queue: VecDeque<u32>,
    /// For each node, the last virtual node that leads to it, or 0: virtual nodes lead to later ones only (G3).
    gates: Vec<u32>,
}

/// Which paths are meant.
#[derive(Debug, Clone, Copy)]
struct Path {
    from: u32,
    /// 1 after an anti-dependency.
    state: u32,
    to: u32,
    classes: Class,
    /// Whether two anti-dependencies may follow each other.
    adjacent: bool,
    /// How many links that count it may have.
    longest: u32,
}

/// How long paths may be, level by level.
const LEVELS: [u32; 9] = [1, 2, 3, 4, 6, 8, 16, 64, u32::MAX];

impl<'a> Search<'a> {
    fn new(part: &'a Part, txns: u32, budget: u64) -> Self {
        let mut gates = vec![0; part.len() as usize];
        for place in (0..part.len()).filter(|&place| part.nodes[place as usize] >= txns) {
            for (to, _) in part.links(place) {
                gates[to as usize] = place;
            }
        }
        Self {
            part,
            txns,
            budget,
            gates,
            spent: 0,
            reached: vec![(0, 0, 0); 2 * part.len() as usize],
            round: 0,
            queue: VecDeque::new(),
        }
    }

    fn run(&mut self, found: &mut Cycles) {
        let mut implied = AnomalySet::default();
        for time in [Time::None, Time::Session, Time::Real] {
            if time != Time::None && !self.part.classes().meets(time.class()) {
                continue;
            }
            for kind in KINDS {
                let classes = kind.classes().or(time.allowed());
                let components = match kind {
                    Kind::Single | Kind::Nonadjacent => {
                        Components::of(&self.part.nonadjacent(classes))
                    }
                    Kind::Writes | Kind::Flow | Kind::Any => {
                        Components::of(&self.part.only(classes))
                    }
                };
                if !components.any() {
                    continue;
                }
                found.forbidden.push(kind.model(time));
                if (kind, time) == (Kind::Any, Time::None) {
                    // Every anti-dependency here is one on a key.
                    found.forbidden.push(Model::RepeatableRead);
                }
                if implied.contains(kind.name(time)) {
                    continue;
                }
                let start = match (kind, time) {
                    (Kind::Writes | Kind::Flow, Time::Session | Time::Real) => time.class(),
                    (Kind::Writes, Time::None) => Class::WW,
                    (Kind::Flow, Time::None) => Class::WR,
                    (Kind::Single | Kind::Nonadjacent | Kind::Any, _) => Class::RW,
                };
                let (walk, complete) = self.shortest(kind, classes, start, &components);
                found.gave_up |= !complete;
                if let Some(walk) = walk {
                    let classes: Vec<Class> = walk.steps.iter().map(|&(_, class)| class).collect();
                    let name = classify(&classes);
                    implied = implied.union(name.implied());
                    found.located.push((name, walk));
                }
            }
        }
    }

    /// The shortest walk of a kind with a link of the class `start`, and whether the search was complete. Short walks are
    /// looked for first from everywhere: they are common, and found at little cost even in large components.
    fn shortest(
        &mut self,
        kind: Kind,
        classes: Class,
        start: Class,
        components: &Components,
    ) -> (Option<Walk>, bool) {
        let mut best: Option<Walk> = None;
        let limit = self.spent + self.budget;
        let (rest, state) = match kind {
            // After the one anti-dependency, no further.
            Kind::Single => (Class(classes.0 & !Class::RW.0), 0),
            Kind::Nonadjacent => (classes, 1),
            Kind::Writes | Kind::Flow | Kind::Any => (classes, 0),
        };
        let mut path = Path {
            from: 0,
            state,
            to: 0,
            classes: rest,
            adjacent: kind == Kind::Any,
            longest: 0,
        };
        for level in LEVELS {
            for from in 0..self.part.len() {
                for (to, class) in self.part.links(from) {
                    if !class.meets(start) || !may_close(kind, components, from, to) {
                        continue;
                    }
                    path.longest = best
                        .as_ref()
                        .map_or(level, |walk| level.min(length(walk) - 2));
                    if path.longest == 0 {
                        return (best, true);
                    }
                    if self.spent >= limit {
                        return (best, false);
                    }
                    (path.from, path.to) = (to, from);
                    if let Some(steps) = self.path(path) {
                        best = Some(self.walk(from, class, &steps, rest));
                    }
                }
            }
            // Shorter ones were looked for before.
            if best.is_some() || level >= self.part.len() {
                break;
            }
        }
        (best, true)
    }

    /// The nodes of the shortest path of those that are meant. Breadth-first; links out of virtual nodes do not count.
    fn path(&mut self, path: Path) -> Option<Vec<u32>> {
        self.round += 1;
        self.queue.clear();
        self.reach(2 * path.from + path.state, 0, u32::MAX);
        self.queue.push_back(2 * path.from + path.state);
        let gate = self.gates[path.to as usize];
        while let Some(at) = self.queue.pop_front() {
            let (_, far, _) = self.reached[at as usize];
            if at / 2 == path.to && (path.adjacent || at % 2 == 0) {
                return Some(self.back(at));
            }
            // Once no further link may count, only virtual nodes up to the last before the end lead there.
            let is_last = far == path.longest;
            if is_last && !self.is_virtual(at / 2) {
                continue;
            }
            for (next, class) in self.part.links(at / 2) {
                self.spent += 1;
                let Some(state) = step(class, at % 2, path.classes) else {
                    continue;
                };
                let state = if path.adjacent { 0 } else { state };
                let passes = class.meets(Class::PASS);
                let leads_on = next == path.to || (self.is_virtual(next) && next <= gate);
                if is_last && (!passes || !leads_on) {
                    continue;
                }
                if !self.reach(2 * next + state, far + u32::from(!passes), at) {
                    continue;
                }
                if passes {
                    self.queue.push_front(2 * next + state);
                } else {
                    self.queue.push_back(2 * next + state);
                }
            }
        }
        None
    }

    fn is_virtual(&self, place: u32) -> bool {
        self.part.nodes[place as usize] >= self.txns
    }

    /// Notes that a node is so far; whether that is better than what was known.
    fn reach(&mut self, node: u32, far: u32, by: u32) -> bool {
        let known = &mut self.reached[node as usize];
        let better = known.0 != self.round || known.1 > far;
        if better {
            *known = (self.round, far, by);
        }
        better
    }

    /// The nodes of the path that was found.
    fn back(&self, end: u32) -> Vec<u32> {
        let mut nodes = vec![end / 2];
        let mut at = self.reached[end as usize].2;
        while at != u32::MAX {
            nodes.push(at / 2);
            at = self.reached[at as usize].2;
        }
        nodes.reverse();
        nodes
    }

    /// The walk of a first link and the path back to its beginning; virtual nodes are left out.
    fn walk(&self, from: u32, class: Class, path: &[u32], classes: Class) -> Walk {
        let mut steps = vec![(self.part.nodes[from as usize], class)];
        for pair in path.windows(2) {
            if self.part.nodes[pair[0] as usize] < self.txns {
                let links = self.part.links(pair[0]);
                let taken = links.filter(|&(to, class)| to == pair[1] && class.meets(classes));
                let class = first_named(taken.map(|(_, class)| class));
                steps.push((self.part.nodes[pair[0] as usize], class));
            }
        }
        Walk { steps }
    }
}

/// Of parallel links, the first in the order in which they are named.
fn first_named(classes: impl Iterator<Item = Class>) -> Class {
    classes.min_by_key(|class| class.0).unwrap_or(Class::PASS)
}

fn length(walk: &Walk) -> u32 {
    u32::try_from(walk.steps.len()).expect("a walk of fewer than 2^32 links")
}

/// Whether a link can be part of a cycle of the kind.
fn may_close(kind: Kind, components: &Components, from: u32, to: u32) -> bool {
    match kind {
        Kind::Single | Kind::Nonadjacent => components.together(2 * from, 2 * to + 1),
        Kind::Writes | Kind::Flow | Kind::Any => components.together(from, to),
    }
}
