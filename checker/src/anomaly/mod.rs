//! Anomalies of observed histories, by their established names, and the models that they rule out.
//!
//! This is what Elle does (Kingsbury and Alvaro, VLDB 2020), and its names are kept: dependencies between transactions
//! are inferred from the values that clients saw, cycles among them are found and named (Adya, 1999; Adya, Liskov and
//! O'Neil, 2000), together with the anomalies that show without a cycle.
//!
//! ```
//! use checker::anomaly::{self, Options, Verdict};
//! use checker::models::{Anomaly, Model};
//! use checker::observed::{ObservedBuilder, Outcome};
//!
//! // Each reads what the other is about to append to.
//! let mut builder = ObservedBuilder::new("write skew");
//! let (x, y) = (builder.key("x")?, builder.key("y")?);
//! let one = builder.value("1")?;
//! for (reads, appends) in [(x, y), (y, x)] {
//!     builder.read_list(reads, &[])?;
//!     builder.append(appends, one)?;
//!     builder.end(None, Outcome::Committed, None, 0)?;
//! }
//! let history = builder.finish();
//!
//! let judgement = anomaly::judge(&history, &Options::new([Model::Serializable]));
//! assert_eq!(judgement.verdict, Verdict::Invalid);
//! assert_eq!(judgement.anomalies[0].name, Anomaly::G2Item);
//! assert_eq!(
//!     judgement.anomalies[0].sentences[0],
//!     "T0 read x as [], without the 1 that T1 appended: so T0 precedes T1."
//! );
//!
//! let judgement = anomaly::judge(&history, &Options::new([Model::SnapshotIsolation]));
//! assert_eq!(judgement.verdict, Verdict::Valid);
//! # Ok::<(), checker::observed::ObservedFault>(())
//! ```
//!
//! # What Valid means
//!
//! - **V1** *Invalid* is never a guess: each anomaly that is found rules out the models that [`models`](crate::models) says.
//! - **V2** *Valid* is said of a model only if a test that is complete for it, or for a stronger one, has found nothing.
//!   For lists, whose version orders the reads show, acyclicity is such a test for read uncommitted and committed,
//!   snapshot isolation, repeatable read and serializability, and their strong-session and real-time forms. Of appends
//!   that nobody read the order is not known; it does not matter, because any order that agrees with the others will
//!   do, but for snapshot isolation if two such appends are in one component.
//! - **V3** For registers it is complete for read uncommitted and read committed whatever the version orders are (they
//!   may follow any order of the transactions that agrees with who read from whom), and for the stronger models if a
//!   chain of transactions that read a version and wrote the next orders every key. Else the verdict is *Unknown*:
//!   nothing was found, and a search over version orders has to decide.
//! - **V4** *Unknown* has reasons. A graph without a link is one: such a history tests nothing.
//!
//! # Differences to Elle
//!
//! - A read of a value that nobody wrote is a `garbage-read`, unless [`Unwritten::BeforeHistory`] says otherwise.
//! - `future-read` is found in registers too, and `internal` if the first read was of the initial state.
//! - Where reads of a list contradict each other, only what they agree on gives dependencies.
//! - Transactions whose outcome is unknown have committed if a committed transaction saw their writes, and only then.
//! - That writes follow reads is assumed of registers by default (`registers`); a cycle of such version pairs is a G1c, not
//!   `cyclic-versions`.
//! - A cycle by session or real time that has a step which values explain too is left out if it rules out no model that
//!   is not ruled out anyway. (Elle names such cycles after the values, and then looks for no other.)
//! - Searches have a budget of links instead of time, so that a judgement can be repeated; [`Reason::OutOfBudget`].

mod components;
mod cycles;
mod explain;
mod findings;
mod graph;
mod groups;
mod judgement;
mod lists;
mod options;
mod order;
mod proof;
mod registers;
mod serial;
pub mod witness;
mod writes;

pub(crate) use cycles::Cycles as CycleSearch;
pub(crate) use graph::{Class, Links};
pub use judgement::{Found, Judgement, Reason, Verdict};
pub use options::{KeyOrders, Options, Orders, Unwritten, commit_order};

use crate::models::{Anomaly, AnomalySet, Model, ModelSet, prohibited, rules_out};
use crate::observed::{Observed, TxnIndex};

use cycles::Cycles;
use explain::Explainer;
use findings::{Findings, MAX_CASES};
use lists::Lists;
use proof::{Case, Undecided};
use registers::Registers;
use writes::{Kind, Writes};

/// Judges a history.
///
/// Cost: about linear in operations and list elements, but for sorting; see [`Options::budget`] for searches in
/// components, which are empty if all is well.
#[must_use]
pub fn judge(history: &Observed, options: &Options) -> Judgement {
    let mut findings = Findings::default();
    let mut writes = Writes::of(history);
    let (mut lists, mut registers) = settle(history, &mut writes, options);
    let mut links = Links::new(count(history.txns().len()), history.op_count());
    lists.order(history, &writes, &mut findings);
    lists.link(history, &writes, &mut findings, &mut links);
    lists.judge_reads(history, &writes, &mut findings);
    registers.link(history, &writes, options, &mut findings, &mut links);
    registers::judge_reads(history, &writes, options, &mut findings);
    groups::judge(history, &writes, &mut findings);
    findings.mixed = count_mixed(history, &writes);
    registers.unordered(&writes, options, &mut findings);
    let times = Times::of(history, &writes, options);
    times.link(history, &writes, &mut links);
    let (no_links, tests_nothing) = (links.is_empty(), !links.has_dependencies());
    let graph = links.into_graph();
    let cycles = Cycles::of(&graph, options.budget);
    let undecided = Undecided::of(&graph, &cycles, &findings);
    let orders = options.order.then_some(graph);
    let explainer = Explainer {
        history,
        writes: &writes,
        lists: &lists,
        registers: &registers,
        writes_follow_reads: options.keys.writes_follow_reads,
    };
    let all = assemble(&explainer, &findings, &cycles);
    let case = Case {
        history,
        options,
        findings: &findings,
        times,
        undecided,
        no_links,
        tests_nothing,
        gave_up: cycles.gave_up,
        has_registers: !registers.touches.is_empty(),
    };
    let mut judgement = case.judge(all);
    judgement.order = orders.and_then(|graph| serial_order(&graph, &writes, judgement.proven));
    judgement
}

/// An order that shows the strongest serializable model that is proven.
fn serial_order(
    graph: &graph::Graph,
    writes: &Writes,
    proven: ModelSet,
) -> Option<(Model, Vec<TxnIndex>)> {
    let (model, ignored) = [
        (Model::StrictSerializable, Class(0)),
        (Model::StrongSessionSerializable, Class::REALTIME),
        (Model::Serializable, Class::REALTIME.or(Class::SESSION)),
    ]
    .into_iter()
    .find(|(model, _)| proven.contains(*model))?;
    let order = graph.serial_order(ignored)?;
    let live = order.into_iter().filter(|&txn| writes.is_live(txn));
    Some((model, live.map(TxnIndex).collect()))
}

/// Finds which transactions count, and what is read.
fn settle(history: &Observed, writes: &mut Writes, options: &Options) -> (Lists, Registers) {
    loop {
        let lists = Lists::of(history, writes);
        let before = writes.live.iter().filter(|live| **live).count();
        let registers = Registers::of(history, writes, options);
        if before == writes.live.iter().filter(|live| **live).count() {
            return (lists, registers);
        }
    }
}

fn count_mixed(history: &Observed, writes: &Writes) -> u64 {
    let keys = 0..count(history.key_count());
    let mixed = keys.filter(|&key| writes.kind(crate::observed::Key(key)) == Kind::Mixed);
    mixed.count() as u64
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("the builder counts in 32 bits")
}

/// Which orders of time are used, and whether they are known of every transaction.
#[derive(Debug, Clone, Copy)]
struct Times {
    sessions: bool,
    realtime: bool,
    all_in_sessions: bool,
    all_timed: bool,
}

impl Times {
    fn of(history: &Observed, writes: &Writes, options: &Options) -> Self {
        let asked = asked_not(options);
        let asks = |suffix: &str| asked.iter().any(|anomaly| anomaly.name().ends_with(suffix));
        let (sessions, realtime) = match options.orders {
            Orders::All => (true, true),
            Orders::Asked if asks("-realtime") => (false, true),
            Orders::Asked => (asks("-process"), false),
        };
        Self {
            sessions,
            realtime,
            all_in_sessions: order::all_in_sessions(history, &writes.live),
            all_timed: order::all_timed(history, &writes.live),
        }
    }

    fn link(self, history: &Observed, writes: &Writes, links: &mut Links) {
        if self.sessions {
            order::sessions(history, &writes.live, links);
        }
        if self.realtime {
            order::realtime(history, &writes.live, links);
        }
    }
}

/// What must not be there.
fn asked_not(options: &Options) -> AnomalySet {
    let implying = options.anomalies.iter().map(Anomaly::implying);
    implying.fold(prohibited(options.models), AnomalySet::union)
}

/// Everything that was found, with explanations.
fn assemble(explainer: &Explainer<'_>, findings: &Findings, cycles: &Cycles) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for finding in &findings.list {
        all.push(Found {
            name: finding.name,
            count: findings.count(finding.name),
            txns: finding.txns.clone(),
            cycle: Vec::new(),
            sentences: vec![finding.sentence.clone()],
        });
    }
    let names: AnomalySet = cycles.located.iter().map(|&(name, _)| name).collect();
    let mut names = names.union(findings.names());
    for same in cycles.located.chunk_by(|one, other| one.0 == other.0) {
        let name = same[0].0;
        let others: AnomalySet = names.minus(AnomalySet::of(name));
        let adds = !name.rules_out().is_subset(rules_out(others.iter()).all());
        let walks: Vec<&cycles::Walk> = same
            .iter()
            .map(|(_, walk)| walk)
            .filter(|walk| adds || !is_explained_otherwise(explainer, walk))
            .collect();
        if walks.is_empty() {
            names = others;
        }
        for walk in walks.iter().take(MAX_CASES) {
            all.push(located(explainer, name, walks.len() as u64, walk));
        }
    }
    for &model in &cycles.forbidden {
        let Some(name) = Anomaly::cycle_exists(model) else {
            continue;
        };
        if !rules_out(names.iter()).all().contains(model) {
            names.insert(name);
            all.push(Found {
                name,
                count: 1,
                txns: Vec::new(),
                cycle: Vec::new(),
                sentences: vec![format!(
                    "A cycle that {} forbids exists; within the budget it was not located.",
                    model.name()
                )],
            });
        }
    }
    all.sort_by_key(|found| found.name);
    all
}

/// Whether a step of a cycle is by session or real time although values say the same.
fn is_explained_otherwise(explainer: &Explainer<'_>, walk: &cycles::Walk) -> bool {
    let ends = walk.steps.iter().cycle().skip(1);
    walk.steps
        .iter()
        .zip(ends)
        .any(|(&(from, class), &(to, _))| {
            class.meets(Class::SESSION.or(Class::REALTIME)) && explainer.is_data(from, to)
        })
}

fn located(explainer: &Explainer<'_>, name: Anomaly, count: u64, walk: &cycles::Walk) -> Found {
    let ends = walk.steps.iter().cycle().skip(1);
    let steps = walk.steps.iter().zip(ends);
    let edges = steps.map(|(&(from, class), &(to, _))| explainer.link(from, to, class));
    let (cycle, sentences) = edges.unzip();
    Found {
        name,
        count,
        txns: walk.steps.iter().map(|&(txn, _)| TxnIndex(txn)).collect(),
        cycle,
        sentences,
    }
}
