//! The anomalies of a case by their established names, and which consistency models they rule out.
//!
//! Cycles that need the order of a session or real time end in `-process` or `-realtime`.
//! A cycle is named by its conflicts as in [`models::Anomaly`](crate::models::Anomaly): ww, wr and rw. Two things are
//! particular to histories of sites. Increments commute, so there is no ww between those of one run, and a read of the
//! sum depends on all of them. And an anti-dependency is one on a predicate if a scan *missed* the key that was installed
//! afterwards (a phantom); if it returned the key, it read it as an item. A cycle with a predicate's has no `-item`.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::anomaly::{Class, CycleSearch, Links};
use crate::explain::{Reason, SeenBy, Step};
use crate::graph::{Conflict, Kind};
use crate::index::FaultKind;
use crate::models::{self, Anomaly, AnomalySet, ModelSet, RuledOut};
use crate::orders::Timeline;
use crate::verdict::Anomaly as Ground;

/// What is in a case, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// One of each name, the gravest first.
    pub found: Vec<NamedAnomaly>,
    /// Whether a search ended early: further names may apply.
    pub gave_up: bool,
    /// The models that cannot hold.
    pub ruled_out: RuledOut,
    /// The strongest models that are not ruled out. That is not to say that they hold.
    pub strongest_left: ModelSet,
}

/// An anomaly that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAnomaly {
    /// Its name.
    pub name: Anomaly,
    /// A shortest cycle of it; empty for what is no cycle.
    pub cycle: Vec<Step>,
    /// One sentence for each step, or for what is no cycle, one.
    pub sentences: Vec<String>,
}

/// How many links between entangled transactions are looked at.
pub(crate) const MAX_LINKS: usize = 2_000_000;

/// How many links one search follows.
const BUDGET: u64 = 4_000_000;

/// What there is between entangled transactions.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// How many transactions the case has.
    pub(crate) txns: usize,
    /// The conflicts, and the neighbours in sessions.
    pub(crate) conflicts: &'a [Conflict],
    /// Whether these are all.
    pub(crate) complete: bool,
    /// Their times, if there are any.
    pub(crate) line: Option<&'a Timeline>,
}

/// Names what is in a case.
pub(crate) fn name(
    found: &Found<'_>,
    grounds: &[Ground],
    step: impl Fn(Conflict) -> Step,
) -> Named {
    let Found {
        txns,
        conflicts,
        complete,
        line,
    } = *found;
    let mut naming = Naming {
        names: AnomalySet::default(),
        found: Vec::new(),
        gave_up: !complete,
        txns: u32::try_from(txns).expect("nodes are counted in 32 bits"),
        line,
        step,
    };
    naming.reads(grounds);
    // On items alone, cycles have the names that end in `-item`; what else there is rests on predicates.
    let is_phantom = |conflict: &&Conflict| {
        conflict.kind == Kind::ReadWrite && missed_by_scan(&(naming.step)(**conflict))
    };
    let (phantoms, items): (Vec<&Conflict>, Vec<&Conflict>) =
        conflicts.iter().partition(is_phantom);
    naming.cycles(&items, &[]);
    if !phantoms.is_empty() {
        naming.cycles(&items, &phantoms);
    }
    naming.found.sort_by_key(|found| found.name);
    let ruled_out = models::rules_out(naming.names.iter());
    Named {
        found: naming.found,
        gave_up: naming.gave_up,
        ruled_out,
        strongest_left: models::strongest_left(ruled_out.all()),
    }
}

struct Naming<'a, F> {
    names: AnomalySet,
    found: Vec<NamedAnomaly>,
    gave_up: bool,
    txns: u32,
    line: Option<&'a Timeline>,
    step: F,
}

impl<F: Fn(Conflict) -> Step> Naming<'_, F> {
    fn add(&mut self, name: Anomaly, cycle: Vec<Step>, sentences: Vec<String>) {
        self.names.insert(name);
        self.found.push(NamedAnomaly {
            name,
            cycle,
            sentences,
        });
    }

    fn reads(&mut self, grounds: &[Ground]) {
        for ground in grounds {
            if let Ground::ImpossibleRead(read) = ground {
                let name = of_read(read.fault);
                if !self.names.contains(name) {
                    self.add(name, Vec::new(), vec![ground.to_string()]);
                }
            }
        }
    }

    fn cycles(&mut self, items: &[&Conflict], phantoms: &[&Conflict]) {
        let mut links = Links::new(self.txns, items.len() + phantoms.len());
        for conflict in items.iter().chain(phantoms) {
            links.push(conflict.from, conflict.to, class(conflict.kind));
        }
        if let Some(line) = self.line {
            real_time(line, &mut links);
        }
        let search = CycleSearch::of(&links.into_graph(), BUDGET);
        self.gave_up |= search.gave_up;
        for (name, walk) in &search.located {
            let name = if phantoms.is_empty() {
                *name
            } else {
                on_predicate(*name)
            };
            if self
                .names
                .iter()
                .any(|known| known.implied().contains(name))
            {
                continue;
            }
            let ends = walk.steps.iter().cycle().skip(1);
            let steps = walk.steps.iter().zip(ends);
            let cycle: Vec<Step> = steps
                .map(|(&(from, class), &(to, _))| {
                    let all = items.iter().chain(phantoms);
                    (self.step)(if class == Class::REALTIME {
                        Conflict::without_key(from, to, Kind::Realtime)
                    } else {
                        link(all, from, to, class)
                    })
                })
                .collect();
            let sentences = cycle.iter().map(ToString::to_string).collect();
            self.add(name, cycle, sentences);
        }
        for &model in &search.forbidden {
            // On predicates, what repeatable read forbids is not what was searched for.
            let tells = phantoms.is_empty() || model != models::Model::RepeatableRead;
            let out = models::rules_out(self.names.iter()).all().contains(model);
            if let Some(name) = Anomaly::cycle_exists(model).filter(|_| tells && !out) {
                let sentence = format!(
                    "A cycle that {} forbids exists; within the budget it was not located.",
                    model.name()
                );
                self.add(name, Vec::new(), vec![sentence]);
            }
        }
    }
}

/// Of the links between two transactions that are of a class, the first.
fn link<'a>(
    conflicts: impl Iterator<Item = &'a &'a Conflict>,
    from: u32,
    to: u32,
    wanted: Class,
) -> Conflict {
    let mut same = conflicts.filter(|conflict| (conflict.from, conflict.to) == (from, to));
    let found = same.find(|conflict| class(conflict.kind).meets(wanted));
    **found.expect("a walk follows links that were put in")
}

const fn class(kind: Kind) -> Class {
    match kind {
        Kind::WriteWrite => Class::WW,
        Kind::WriteRead => Class::WR,
        Kind::ReadWrite | Kind::Chain => Class::RW,
        Kind::Session => Class::SESSION,
        Kind::Realtime => Class::REALTIME,
    }
}

/// A virtual node for each beginning, which leads to the next one and to who begins there.
fn real_time(line: &Timeline, links: &mut Links) {
    let gates: Vec<u32> = line.begun.iter().map(|_| links.virtual_node()).collect();
    for (place, (_, node)) in line.begun.iter().enumerate() {
        links.push(gates[place], *node, Class::PASS);
        if let Some(next) = gates.get(place + 1) {
            links.push(gates[place], *next, Class::PASS);
        }
    }
    for (over, node) in &line.ended {
        if let Some(gate) = gates.get(line.after(*over)) {
            links.push(*node, *gate, Class::REALTIME);
        }
    }
}

fn missed_by_scan(step: &Step) -> bool {
    matches!(
        &step.reason,
        Reason::ReadWrite { seen, .. } if matches!(seen.by, SeenBy::Scan { found: false, .. })
    )
}

fn on_predicate(name: Anomaly) -> Anomaly {
    let names = [
        (Anomaly::GSingleItem, Anomaly::GSingle),
        (Anomaly::GNonadjacentItem, Anomaly::GNonadjacent),
        (Anomaly::G2Item, Anomaly::G2),
        (Anomaly::GSingleItemProcess, Anomaly::GSingleProcess),
        (
            Anomaly::GNonadjacentItemProcess,
            Anomaly::GNonadjacentProcess,
        ),
        (Anomaly::G2ItemProcess, Anomaly::G2Process),
        (Anomaly::GSingleItemRealtime, Anomaly::GSingleRealtime),
        (
            Anomaly::GNonadjacentItemRealtime,
            Anomaly::GNonadjacentRealtime,
        ),
        (Anomaly::G2ItemRealtime, Anomaly::G2Realtime),
    ];
    let found = names.into_iter().find(|(item, _)| *item == name);
    found.map_or(name, |(_, predicate)| predicate)
}

/// A read of what nobody installed may be one of an aborted transaction or of garbage, and the former rules out less.
const fn of_read(fault: FaultKind) -> Anomaly {
    match fault {
        FaultKind::NeverInstalled { .. } => Anomaly::G1a,
        FaultKind::OwnFuture { .. } => Anomaly::FutureRead,
        FaultKind::OutsideRange
        | FaultKind::Repeated
        | FaultKind::NotLatest { .. }
        | FaultKind::Deleted { .. }
        | FaultKind::NotReturned { .. } => Anomaly::PredicateReadMiss,
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Named", 5)?;
        fields.serialize_field("anomalies", &self.found)?;
        fields.serialize_field("gave_up", &self.gave_up)?;
        fields.serialize_field("not", &self.ruled_out.not.names())?;
        fields.serialize_field("also_not", &self.ruled_out.also_not.names())?;
        fields.serialize_field("strongest_left", &self.strongest_left.names())?;
        fields.end()
    }
}

impl Serialize for NamedAnomaly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("NamedAnomaly", 3)?;
        fields.serialize_field("name", self.name.name())?;
        fields.serialize_field("cycle", &self.cycle)?;
        fields.serialize_field("sentences", &self.sentences)?;
        fields.end()
    }
}
