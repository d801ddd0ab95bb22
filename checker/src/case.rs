//! Joins the histories of all sites and judges them.
//!
//! - **I10** A verdict is `Invalid` only on grounds that no missing record could remove: every edge
//!   of the graph is a true precedence even when versions between its ends were lost, and a read
//!   that a lost or undecided install may explain is a doubt, not an anomaly.
//! - **I11** A verdict is `Valid` only when nothing is in doubt.

use std::cell::OnceCell;

use crate::cycle::{self, FoundCycle, SEARCH_BUDGET_EDGES, Shape};
use crate::explain::{End, Reason, Step, classify, explain};
use crate::extended::path_violations;
use crate::findings::{Faults, Findings};
use crate::graph::{Conflict, Graph, GraphBuilder, Keys, Kind, Members, committed_at};
use crate::history::{Record, SiteHistory, Stamp, TxnId};
use crate::index::{FaultKind, SiteIndex, committed};
use crate::named::{self, Named};
use crate::order::{Violations, stamp_violations, stamp_violations_of};
use crate::orders::{Clock, Orders};
use crate::recovery::{Answer, Gap, Recovery};
use crate::verdict::{Anomaly, Cycle, Doubt, Level, Report, Rule, Statistics, TxnRef, Verdict};
use crate::witness;

/// Judges the histories of all sites together at one level.
///
/// To judge at both levels, make one [`Case`], which builds the graph once.
#[must_use]
pub fn judge(sites: &[SiteHistory], level: Level) -> Report {
    Case::new(sites).judge(level)
}

/// Judges each history alone, as if no other site existed.
///
/// Every site can be serializable although the sites together are not; that is the gap that
/// commitment ordering closes.
#[must_use]
pub fn judge_each(sites: &[SiteHistory], level: Level) -> Vec<Report> {
    sites
        .iter()
        .map(|site| judge(std::slice::from_ref(site), level))
        .collect()
}

/// The histories of all sites, joined: the graph of their conflicts, and what is wrong or in doubt
/// apart from it.
#[derive(Debug)]
pub struct Case<'a> {
    sites: &'a [SiteHistory],
    indexes: Vec<SiteIndex<'a>>,
    /// The number of each site's first key among the keys of all sites.
    first_keys: Vec<usize>,
    members: Members,
    stamps: Vec<Option<Stamp>>,
    graph: Graph,
    shape: Shape,
    /// The cycle to show; searched for once, when a verdict first needs it.
    found_cycle: OnceCell<FoundCycle>,
    orders: Orders,
    /// With the order of sessions, made when a level first asks for it.
    in_sessions: OnceCell<Ordered>,
    /// With that and real time.
    in_real_time: OnceCell<Ordered>,
    findings: Findings,
    statistics: Statistics,
}

/// The graph with the edges of an order besides that of conflicts.
#[derive(Debug)]
struct Ordered {
    graph: Graph,
    shape: Shape,
    found_cycle: OnceCell<FoundCycle>,
}

impl<'a> Case<'a> {
    /// Joins the histories. Takes time linear in their size but for sorting, and for scans the
    /// number of keys in their ranges.
    #[must_use]
    pub fn new(sites: &'a [SiteHistory]) -> Self {
        let indexes: Vec<SiteIndex<'_>> = sites.iter().map(SiteIndex::new).collect();
        let members = Members::new(sites);
        let mut findings = Findings::of_sites(sites, &members);
        let mut reads = Findings::default();
        let mut builder = GraphBuilder::new(&members);
        let mut first_keys = Vec::with_capacity(sites.len());
        let mut key_count = 0;
        for (site, index) in indexes.iter().enumerate() {
            first_keys.push(key_count);
            let runs = builder.add_versions(site, index, Keys { first: key_count });
            key_count += index.key_count();
            let faults = Faults::new(&sites[site]);
            for (record, committed) in committed(&sites[site]) {
                let reader = members.node(site, record);
                let sights = index.sights(record, committed);
                for sight in &sights.seen {
                    builder.add_sight(reader, sight, index, &runs);
                }
                for fault in sights.faults {
                    faults.sort(&members.names[reader as usize], fault, &mut reads);
                }
            }
        }
        findings.append(reads);
        let graph = builder.finish();
        let shape = cycle::shape(&graph);
        let stamps = members.stamps(sites);
        let orders = Orders::new(sites, &members);
        let statistics = Statistics {
            committed: members.names.len(),
            keys: key_count,
            edges: graph.edge_count(),
            ..count_records(sites)
        };
        Self {
            sites,
            indexes,
            first_keys,
            members,
            stamps,
            graph,
            shape,
            found_cycle: OnceCell::new(),
            orders,
            in_sessions: OnceCell::new(),
            in_real_time: OnceCell::new(),
            findings,
            statistics,
        }
    }

    /// Judges at one level.
    #[must_use]
    pub fn judge(&self, level: Level) -> Report {
        let Findings {
            mut anomalies,
            mut doubts,
            site_twice,
        } = self.findings.clone();
        let clock = level.clock();
        if let Some(cycle) = self.cycle_within(clock) {
            match witness::check(self.sites, &cycle) {
                Ok(()) => anomalies.push(Anomaly::Cycle(cycle)),
                Err(_) if self.findings.site_twice => {}
                Err(fault) => doubts.push(Doubt::Unproven {
                    found: Box::new(cycle),
                    fault: fault.to_string(),
                }),
            }
        }
        match level.rule() {
            Rule::Decisions => {
                anomalies.extend(self.order_anomaly(clock));
                doubts.extend(self.stamp_doubt(|_| true));
            }
            Rule::DecisionsOfGlobals => {
                anomalies.extend(self.path_anomaly());
                doubts.extend(self.stamp_doubt(|node| self.is_global(node)));
            }
            Rule::AnyOrder => {}
        }
        if let Some(clock) = clock {
            doubts.append(self.orders.doubts(clock, &self.members));
        }
        let verdict = if anomalies.total > 0 && !site_twice {
            Verdict::Invalid {
                anomalies: anomalies.shown,
                total: anomalies.total,
            }
        } else if doubts.total > 0 {
            Verdict::Unknown {
                reasons: doubts.shown,
                total: doubts.total,
            }
        } else {
            Verdict::Valid {
                serial_order: self.serial_order(clock),
            }
        };
        Report {
            level,
            verdict,
            statistics: self.statistics,
        }
    }

    /// The levels that the histories tell most of: serializability with the strongest order that every committed
    /// transaction carries.
    #[must_use]
    pub const fn strongest_told(&self) -> Level {
        if self.members.names.is_empty() {
            Level::Serializability
        } else if self.orders.are_told(Clock::Real) {
            Level::StrictSerializability
        } else if self.orders.are_told(Clock::Session) {
            Level::StrongSessionSerializability
        } else {
            Level::Serializability
        }
    }

    /// The graph and its shape with the edges of an order besides that of conflicts.
    fn within(&self, clock: Option<Clock>) -> (&Graph, &Shape) {
        match clock.filter(|clock| !self.orders.are_empty(*clock)) {
            None => (&self.graph, &self.shape),
            Some(clock) => {
                let ordered = self.ordered(clock);
                (&ordered.graph, &ordered.shape)
            }
        }
    }

    fn ordered(&self, clock: Clock) -> &Ordered {
        let cell = match clock {
            Clock::Session => &self.in_sessions,
            Clock::Real => &self.in_real_time,
        };
        cell.get_or_init(|| {
            let graph = self.orders.within(&self.graph, clock);
            let shape = cycle::shape(&graph);
            Ordered {
                graph,
                shape,
                found_cycle: OnceCell::new(),
            }
        })
    }

    /// A shortest cycle of the weakest order in which there is one: of conflicts alone, else with sessions, else with
    /// real time.
    fn cycle_within(&self, clock: Option<Clock>) -> Option<Cycle> {
        let clocks: &[Clock] = match clock {
            None => &[],
            Some(Clock::Session) => &[Clock::Session],
            Some(Clock::Real) => &[Clock::Session, Clock::Real],
        };
        let ordered = clocks
            .iter()
            .filter(|clock| !self.orders.are_empty(**clock))
            .map(|clock| {
                let Ordered {
                    graph,
                    shape,
                    found_cycle,
                } = self.ordered(*clock);
                (graph, shape, found_cycle)
            });
        std::iter::once((&self.graph, &self.shape, &self.found_cycle))
            .chain(ordered)
            .find_map(|(graph, shape, cell)| {
                let Shape::Cyclic(components) = shape else {
                    return None;
                };
                let search = || cycle::shortest_cycle(graph, components, SEARCH_BUDGET_EDGES);
                let found = cell.get_or_init(search);
                let entangled = components.groups.iter().map(Vec::len).sum();
                Some(self.cycle(found, components.groups.len(), entangled))
            })
    }

    /// The anomalies by their established names, with a minimal cycle each, and which consistency models they rule out.
    #[must_use]
    pub fn named(&self) -> Named {
        let mut conflicts = Vec::new();
        let mut complete = true;
        let mut line = None;
        if let (_, Shape::Cyclic(components)) = self.within(Some(Clock::Real))
            && !self.findings.site_twice
        {
            let mut entangled = vec![false; self.graph.txn_count()];
            for &txn in components.groups.iter().flatten() {
                entangled[txn as usize] = true;
                complete &= conflicts.len() < named::MAX_LINKS;
                if complete {
                    self.graph.conflicts(txn, |conflict| {
                        if components.are_together(conflict.from, conflict.to) {
                            conflicts.push(conflict);
                        }
                    });
                }
            }
            let sessions = self.orders.session_pairs();
            let together = sessions.filter(|(one, next)| components.are_together(*one, *next));
            conflicts
                .extend(together.map(|(from, to)| Conflict::without_key(from, to, Kind::Session)));
            line = Some(self.orders.by_beginning(|node| entangled[node as usize]));
        }
        conflicts.sort_unstable();
        conflicts.dedup();
        let grounds: &[Anomaly] = if self.findings.site_twice {
            &[]
        } else {
            &self.findings.anomalies.shown
        };
        let txns = self.graph.txn_count();
        let links = named::Found {
            txns,
            conflicts: &conflicts,
            complete,
            line: line.as_ref(),
        };
        named::name(&links, grounds, |conflict| self.step(conflict))
    }

    /// Which classes of schedules by recoverability hold; see [`recovery`](crate::recovery) for what can be known.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let found = &self.findings;
        let mut gaps: Vec<Gap> = Vec::new();
        let doubts = found.doubts.shown.iter().cloned();
        gaps.extend(
            doubts
                .chain(self.stamp_doubt(|_| true))
                .map(|of| Gap::Doubt { of }),
        );
        let first = found.anomalies.shown.first().filter(|_| !found.site_twice);
        gaps.extend(first.map(|found| Gap::Anomaly {
            found: Box::new(found.clone()),
        }));
        let unread = |anomaly: &&Anomaly| {
            matches!(anomaly, Anomaly::ImpossibleRead(read)
                if matches!(read.fault, FaultKind::NeverInstalled { .. }))
        };
        let dirty = found.anomalies.shown.iter().find(unread).cloned();
        let dirty = dirty.filter(|_| !found.site_twice);
        let answer = |kinds: &[Kind]| {
            let violations = stamp_violations_of(&self.graph, &self.stamps, kinds);
            let violations = violations.filter(|_| !found.site_twice);
            let order = violations.map(|violations| self.out_of_order(&violations));
            if let Some(by) = dirty.clone().or(order) {
                return Answer::Violated { by: Box::new(by) };
            }
            let mut because = gaps.clone();
            if kinds.len() > 1 {
                because.push(Gap::TimesOfOperations);
            }
            if because.is_empty() {
                Answer::Holds
            } else {
                Answer::Unknown { because }
            }
        };
        let recoverable = answer(&[Kind::WriteRead]);
        let mut cascadeless = recoverable.clone();
        match &mut cascadeless {
            Answer::Violated { .. } => {}
            Answer::Unknown { because } => because.push(Gap::TimesOfOperations),
            Answer::Holds => {
                cascadeless = Answer::Unknown {
                    because: vec![Gap::TimesOfOperations],
                };
            }
        }
        Recovery {
            recoverable,
            cascadeless,
            strict: answer(&[Kind::WriteRead, Kind::WriteWrite]),
            rigorous: answer(&[Kind::WriteRead, Kind::WriteWrite, Kind::ReadWrite]),
        }
    }

    /// The size of the case.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The conflicts of the whole case, each explained, or nothing when it has more than
    /// `max_txns` transactions: a drawing of many nodes shows nothing.
    #[must_use]
    pub fn conflicts(&self, max_txns: usize) -> Option<Vec<Step>> {
        if self.graph.txn_count() > max_txns {
            return None;
        }
        let mut conflicts = Vec::new();
        for node in (0u32..).take(self.graph.txn_count()) {
            self.graph
                .conflicts(node, |conflict| conflicts.push(conflict));
        }
        conflicts.sort_unstable();
        conflicts.dedup();
        Some(
            conflicts
                .into_iter()
                .map(|conflict| self.step(conflict))
                .collect(),
        )
    }

    fn serial_order(&self, clock: Option<Clock>) -> Vec<TxnRef> {
        let (graph, shape) = self.within(clock);
        let Shape::Acyclic(order) = shape else {
            unreachable!("a valid case has no cycle");
        };
        let mut order = order.clone();
        let stamped = self.stamps.iter().all(Option::is_some);
        if stamped && stamp_violations(graph, &self.stamps).is_none() {
            // Commitment ordered: the order of decisions is itself a serial order.
            order.sort_by_key(|node| (self.stamps[*node as usize], *node));
        }
        order.into_iter().map(|node| self.name(node)).collect()
    }

    fn cycle(&self, found: &FoundCycle, groups: usize, entangled: usize) -> Cycle {
        let steps: Vec<Step> = found
            .conflicts
            .iter()
            .map(|conflict| self.step(*conflict))
            .collect();
        let class = classify(&steps);
        Cycle {
            steps,
            class,
            shortest: found.exhaustive,
            groups,
            entangled,
        }
    }

    fn order_anomaly(&self, clock: Option<Clock>) -> Option<Anomaly> {
        let violations = stamp_violations(self.within(clock).0, &self.stamps)?;
        Some(self.out_of_order(&violations))
    }

    fn out_of_order(&self, violations: &Violations) -> Anomaly {
        let stamp = |node: u32| self.stamps[node as usize].expect("only known stamps are compared");
        Anomaly::OutOfOrder {
            step: self.step(violations.first),
            earlier_stamp: stamp(violations.first.from),
            later_stamp: stamp(violations.first.to),
            conflicts: violations.count,
            serializable: matches!(self.shape, Shape::Acyclic(_))
                && self.findings.anomalies.total == 0,
        }
    }

    /// A path between global transactions that disagrees with the stamps; where there is a cycle, that is what is shown.
    fn path_anomaly(&self) -> Option<Anomaly> {
        let Shape::Acyclic(_) = &self.shape else {
            return None;
        };
        let is_global: Vec<bool> = (0..self.stamps.len())
            .map(|node| self.is_global(node))
            .collect();
        let found = path_violations(&self.graph, &self.stamps, &is_global)?;
        let stamp = |node: u32| self.stamps[node as usize].expect("only known stamps are compared");
        let (first, last) = (found.path.first()?, found.path.last()?);
        Some(Anomaly::PathOutOfOrder {
            earlier_stamp: stamp(first.from),
            later_stamp: stamp(last.to),
            steps: found.path.iter().map(|step| self.step(*step)).collect(),
            paths: found.count,
        })
    }

    fn is_global(&self, node: usize) -> bool {
        matches!(self.members.names[node].id(), TxnId::Global(_))
    }

    fn stamp_doubt(&self, counts: impl Fn(usize) -> bool) -> Option<Doubt> {
        let without = |node: &usize| self.stamps[*node].is_none() && counts(*node);
        let count = (0..self.stamps.len()).filter(without).count();
        let first = (0..self.stamps.len()).find(without)?;
        Some(Doubt::NoStamp {
            txn: self.members.names[first].clone(),
            count,
        })
    }

    /// Puts a conflict into words, from the records of its two transactions.
    fn step(&self, conflict: Conflict) -> Step {
        let reason = match conflict.kind {
            Kind::Session => {
                let (session, earlier, later) = self.orders.positions(conflict.from, conflict.to);
                Reason::Session {
                    session,
                    earlier,
                    later,
                }
            }
            Kind::Realtime => {
                let (told, asked, clock_error) = self.orders.instants(conflict.from, conflict.to);
                Reason::Realtime {
                    told,
                    asked,
                    clock_error,
                }
            }
            Kind::Chain | Kind::WriteWrite | Kind::WriteRead | Kind::ReadWrite => {
                return self.step_on_key(conflict);
            }
        };
        Step {
            from: self.name(conflict.from),
            to: self.name(conflict.to),
            site: None,
            key: None,
            reason,
        }
    }

    fn step_on_key(&self, conflict: Conflict) -> Step {
        let key = conflict.key as usize;
        let site = self.first_keys.partition_point(|first| *first <= key) - 1;
        let key = key - self.first_keys[site];
        let end = |node: u32| {
            let places = self.members.places(node);
            let place = places.iter().find(|place| place.site == site);
            let place = *place.expect("a conflict at a site has both its ends there");
            End {
                record: place.record,
                committed: committed_at(self.sites, place),
            }
        };
        let index = &self.indexes[site];
        let reason = explain(
            index,
            key,
            conflict.kind,
            [end(conflict.from), end(conflict.to)],
        )
        .named(|record| self.name(self.members.node(site, record)));
        Step {
            from: self.name(conflict.from),
            to: self.name(conflict.to),
            site: Some(index.site().site().clone()),
            key: Some(index.key(key).clone()),
            reason,
        }
    }

    fn name(&self, node: u32) -> TxnRef {
        self.members.names[node as usize].clone()
    }
}

fn count_records(sites: &[SiteHistory]) -> Statistics {
    let mut counts = Statistics {
        sites: sites.len(),
        ..Statistics::default()
    };
    for record in sites.iter().flat_map(SiteHistory::records) {
        match record {
            Record::Committed(committed) => counts.operations += committed.ops.len(),
            Record::Aborted { .. } => counts.aborted += 1,
            Record::InDoubt { .. } => counts.in_doubt += 1,
        }
    }
    counts
}
