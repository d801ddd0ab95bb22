//! The steps of a judgement, in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::choice::{Chosen, choose, fewer};
use super::clocks::{Clocks, graph};
use super::explain;
use super::facts::Facts;
use super::level::{Budget, Isolation, Level, Precedence};
use super::problem::Problem;
use super::saturate::{Saturated, saturate};
use super::schedule::{self, Schedule};
use super::verdict::{Certificate, Doubt, Event, Refutation, Verdict};
use super::verify::verify;
use crate::observed::{Observed, TxnIndex, Why};

/// Decides whether a history has an explanation at a level.
#[must_use]
pub fn judge(history: &Observed, level: Level, budget: &Budget) -> Verdict {
    let facts = Facts::new(history, false);
    decide(history, &facts, level, budget).unwrap_or_else(Verdict::Unknown)
}

fn decide(
    history: &Observed,
    facts: &Facts,
    level: Level,
    budget: &Budget,
) -> Result<Verdict, Doubt> {
    if let Some(txn) = facts.not_registers {
        return Err(Doubt::NotRegisters { txn });
    }
    if facts.members.iter().all(|txn| history.ops(*txn).is_empty()) {
        return Err(Doubt::Empty);
    }
    if !facts.faults.is_empty() {
        return Ok(Verdict::Invalid(Refutation::Reads(facts.faults.clone())));
    }
    if budget.shortcuts
        && let Some(certificate) = likely(history, facts, level)
    {
        return valid(history, facts, level, certificate);
    }
    if budget.shortcuts && level.precedence == Precedence::Free {
        let has_session = |txn: &TxnIndex| history.txn(*txn).session.is_some();
        let found = if facts.members.iter().any(has_session) {
            by_sessions(history, facts, level, budget)
        } else {
            by_serializability(history, facts, level, budget)
        };
        if let Some(verdict) = found {
            return Ok(verdict);
        }
    }
    match find(history, facts, level, &BTreeSet::new(), budget)? {
        Verdict::Valid(certificate) => valid(history, facts, level, certificate),
        verdict @ (Verdict::Invalid(_) | Verdict::Unknown(_)) => Ok(verdict),
    }
}

/// Snapshot isolation by way of serializability, in which more follows: where no sessions help, an explanation of
/// the stronger level is found sooner, if there is one. A refutation of it says nothing.
fn by_serializability(
    history: &Observed,
    facts: &Facts,
    level: Level,
    budget: &Budget,
) -> Option<Verdict> {
    if level.isolation == Isolation::Serializable {
        return None;
    }
    let stronger = Level {
        isolation: Isolation::Serializable,
        ..level
    };
    let part = Budget {
        conflicts: budget.conflicts / 8,
        time: budget.time / 4,
        ..*budget
    };
    let verdict = find(history, facts, stronger, &BTreeSet::new(), &part).ok()?;
    matches!(verdict, Verdict::Valid(_)).then_some(verdict)
}

/// The plain level by way of the one that keeps the order of sessions, in which far more follows: an explanation that
/// keeps it is an explanation, and a refutation that does not rest on it is a refutation. One that does shows where to
/// cut sessions, and the parts are tried in their place.
fn by_sessions(
    history: &Observed,
    facts: &Facts,
    level: Level,
    budget: &Budget,
) -> Option<Verdict> {
    const MOST_CUTS: u32 = 32;
    let stronger = Level {
        precedence: Precedence::Session,
        ..level
    };
    let started = Instant::now();
    let mut cut = BTreeSet::new();
    for _ in 0..MOST_CUTS {
        let part = Budget {
            conflicts: budget.conflicts / 8,
            time: (budget.time / 2).checked_sub(started.elapsed())?,
            ..*budget
        };
        let verdict = find(history, facts, stronger, &cut, &part).ok()?;
        let Verdict::Invalid(Refutation::Cycles { forced, cycles }) = &verdict else {
            return matches!(verdict, Verdict::Valid(_)).then_some(verdict);
        };
        let edges = forced
            .iter()
            .map(|forced| &forced.otherwise)
            .chain(cycles)
            .flatten();
        let sessions: Vec<TxnIndex> = edges
            .filter(|edge| edge.why == Why::Session)
            .map(|edge| edge.to)
            .collect();
        if sessions.is_empty() {
            return Some(verdict);
        }
        cut.extend(sessions);
    }
    None
}

/// Looks for an explanation, or for a reason that there is none. Sessions do not count before the transactions of
/// `cut`.
fn find(
    history: &Observed,
    facts: &Facts,
    level: Level,
    cut: &BTreeSet<TxnIndex>,
    budget: &Budget,
) -> Result<Verdict, Doubt> {
    let mut problem = Problem::new(history, facts, level, cut)?;
    let started = Instant::now();
    // No clock runs for longer than this.
    let half = (budget.time / 2).min(Duration::from_secs(u64::from(u32::MAX)));
    let deadline = budget.shortcuts.then(|| started + half);
    match saturate(&mut problem, deadline)? {
        Saturated::Cyclic(among, clocks) => {
            let lists = graph(problem.events(), &problem.edges);
            let cycle = explain::short_cycle(&problem, &lists, &among);
            let cycle = cycle
                .iter()
                .map(|place| problem.edges[*place as usize])
                .collect();
            let refutation =
                explain::refutation(history, &problem, &lists, clocks.as_ref(), &[cycle]);
            Ok(Verdict::Invalid(refutation))
        }
        Saturated::Acyclic(order, clocks) => {
            let known = Known {
                problem: &problem,
                order: &order,
                clocks: clocks.as_ref(),
            };
            let time = budget.time.saturating_sub(started.elapsed());
            let left = Budget { time, ..*budget };
            search(history, &known, level, &left).map_err(|doubt| {
                let out_of_time = matches!(doubt, Doubt::Time(_));
                if out_of_time {
                    Doubt::Time(budget.time)
                } else {
                    doubt
                }
            })
        }
    }
}

/// What is known when the known edges have no cycle.
struct Known<'k> {
    problem: &'k Problem<'k>,
    /// An order that agrees with them.
    order: &'k [u32],
    clocks: Option<&'k Clocks>,
}

/// Decides what is left.
fn search(
    history: &Observed,
    known: &Known<'_>,
    level: Level,
    budget: &Budget,
) -> Result<Verdict, Doubt> {
    let problem = known.problem;
    let facts = problem.facts;
    let lists = graph(problem.events(), &problem.edges);
    let in_file = |event: u32| i64::from(event);
    let urgencies = [
        schedule::depths(&lists, known.order),
        (0..problem.events()).map(in_file).collect(),
    ];
    let mut best: Option<Schedule> = None;
    for urgency in &urgencies {
        let found = schedule::schedule(problem, &lists, urgency);
        let better = best.as_ref().is_none_or(|best| found.hasty < best.hasty);
        if better {
            best = Some(found);
        }
        if best.as_ref().is_some_and(|best| best.hasty == 0) {
            break;
        }
    }
    let best = best.expect("there are two");
    if budget.shortcuts && best.hasty == 0 {
        let certificate = certificate(problem, &best.order);
        if verify(history, level, &certificate).is_ok() {
            return Ok(Verdict::Valid(certificate));
        }
    }
    match choose(problem, lists, best.order, budget)? {
        Chosen::Order(events) => {
            let certificate = certificate(problem, &events);
            match facts.several {
                Some((txn, key)) if verify(history, level, &certificate).is_err() => {
                    Err(Doubt::SeveralWriters { txn, key })
                }
                _ => Ok(Verdict::Valid(certificate)),
            }
        }
        Chosen::Nothing { conflicts, cycles } if cycles.is_empty() => {
            Ok(Verdict::Invalid(Refutation::Exhausted { conflicts }))
        }
        Chosen::Nothing { cycles, .. } => {
            let lists = graph(problem.events(), &problem.edges);
            let cycles = fewer(cycles);
            Ok(Verdict::Invalid(explain::refutation(
                history,
                problem,
                &lists,
                known.clocks,
                &cycles,
            )))
        }
    }
}

fn certificate(problem: &Problem<'_>, events: &[u32]) -> Certificate {
    let txn = |event: u32| problem.facts.members[problem.member(event) as usize];
    if !problem.split {
        return Certificate::Serial(events.iter().map(|event| txn(*event)).collect());
    }
    let event = |event: &u32| {
        if problem.begin(problem.member(*event)) == *event {
            Event::Begin(txn(*event))
        } else {
            Event::Commit(txn(*event))
        }
    };
    Certificate::Snapshots(events.iter().map(event).collect())
}

/// Orders that are often right: as in the file, as clients were answered, as they began.
fn likely(history: &Observed, facts: &Facts, level: Level) -> Option<Certificate> {
    let mut orders = vec![facts.members.clone()];
    let interval = |txn: &TxnIndex| history.txn(*txn).interval;
    if facts.members.iter().all(|txn| interval(txn).is_some()) {
        let by = |key: fn(crate::observed::Interval) -> u32| {
            let mut order = facts.members.clone();
            order.sort_by_key(|txn| interval(txn).map(key));
            order
        };
        orders.push(by(|interval| interval.end));
        orders.push(by(|interval| interval.begin));
    }
    let certificates = orders.into_iter().map(Certificate::Serial);
    certificates
        .into_iter()
        .find(|certificate| verify(history, level, certificate).is_ok())
}

/// The verdict for a certificate, unless the level needs what the history does not have.
fn valid(
    history: &Observed,
    facts: &Facts,
    level: Level,
    certificate: Certificate,
) -> Result<Verdict, Doubt> {
    debug_assert!(
        level.isolation == Isolation::Snapshot || matches!(certificate, Certificate::Serial(_))
    );
    assert_eq!(
        verify(history, level, &certificate),
        Ok(()),
        "a certificate is an explanation"
    );
    let member = |without: &dyn Fn(&TxnIndex) -> bool| {
        facts.members.iter().copied().find(|txn| without(txn))
    };
    if level.precedence == Precedence::Session
        && let Some(txn) = member(&|txn| history.txn(*txn).session.is_none())
    {
        return Err(Doubt::NoSession { txn });
    }
    if level.precedence == Precedence::Realtime
        && let Some(txn) = member(&|txn| history.txn(*txn).interval.is_none())
    {
        return Err(Doubt::NoRealtime { txn });
    }
    Ok(Verdict::Valid(certificate))
}
