//! Conflict-driven clause learning (Marques-Silva and Sakallah 1999; Moskewicz et al. 2001; Eén and Sörensson 2003).
//!
//! Literal `2v` says that variable `v` is true, `2v + 1` that it is false. The caller adds conflicts of its own theory
//! as lists of false literals.

use std::collections::BinaryHeap;

use super::facts::NONE;

/// A literal that a clause is looked at for when it becomes false.
#[derive(Debug, Clone, Copy)]
struct Watch {
    clause: u32,
    /// Another literal of the clause: if it is true, the clause is.
    other: u32,
}

#[derive(Debug)]
struct Clause {
    literals: Vec<u32>,
    /// How many levels the clause spanned when it was learned; 0 for clauses that stay.
    span: u32,
}

/// A variable in the queue of decisions; entries may be out of date.
#[derive(Debug, PartialEq)]
struct Ranked(f64, u32);

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// The clauses and the assignment.
#[derive(Debug, Default)]
pub(super) struct Sat {
    clauses: Vec<Clause>,
    watches: Vec<Vec<Watch>>,
    /// By literal.
    truth: Vec<bool>,
    level: Vec<u32>,
    reason: Vec<u32>,
    phase: Vec<bool>,
    activity: Vec<f64>,
    seen: Vec<bool>,
    queue: BinaryHeap<Ranked>,
    increment: f64,
    trail: Vec<u32>,
    levels: Vec<usize>,
    head: usize,
    /// How many literals of the trail have stood since the caller last asked.
    stood: usize,
    learned: usize,
}

impl Sat {
    pub(super) fn new() -> Self {
        Self {
            increment: 1.0,
            stood: usize::MAX,
            ..Self::default()
        }
    }

    /// A new variable, to be tried as `phase` first.
    pub(super) fn variable(&mut self, phase: bool) -> u32 {
        let variable = u32::try_from(self.level.len())
            .expect("variables are bounded by pairs that were looked at");
        self.watches.extend([Vec::new(), Vec::new()]);
        self.truth.extend([false, false]);
        self.level.push(0);
        self.reason.push(NONE);
        self.phase.push(phase);
        self.activity.push(self.increment);
        self.seen.push(false);
        self.queue.push(Ranked(self.increment, variable));
        variable
    }

    /// The literals that are true, in the order in which they became so.
    pub(super) fn trail(&self) -> &[u32] {
        &self.trail
    }

    /// How many decisions stand.
    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.levels.len()).expect("there are no more decisions than variables")
    }

    /// How many literals of the trail, from its start, have stood since the last call.
    pub(super) fn take_stood(&mut self) -> usize {
        std::mem::replace(&mut self.stood, usize::MAX).min(self.trail.len())
    }

    pub(super) fn is_true(&self, literal: u32) -> bool {
        self.truth[literal as usize]
    }

    fn is_false(&self, literal: u32) -> bool {
        self.truth[literal as usize ^ 1]
    }

    /// Adds a clause that stays, at depth 0; false if it contradicts what is known.
    pub(super) fn clause(&mut self, mut literals: Vec<u32>) -> bool {
        debug_assert_eq!(self.depth(), 0);
        literals.sort_unstable();
        literals.dedup();
        if literals.iter().any(|literal| self.is_true(*literal)) {
            return true;
        }
        literals.retain(|literal| !self.is_false(*literal));
        match literals[..] {
            [] => return false,
            [only] => self.assign(only, NONE),
            _ => drop(self.attach(literals, 0)),
        }
        true
    }

    /// Decides a variable that is open; false if none is.
    pub(super) fn decide(&mut self) -> bool {
        while let Some(Ranked(_, variable)) = self.queue.pop() {
            let literal = 2 * variable;
            if !self.is_true(literal) && !self.is_false(literal) {
                self.levels.push(self.trail.len());
                self.assign(literal + u32::from(!self.phase[variable as usize]), NONE);
                return true;
            }
        }
        false
    }

    /// Decides that a literal of an open variable is true.
    pub(super) fn decide_on(&mut self, literal: u32) {
        self.levels.push(self.trail.len());
        self.assign(literal, NONE);
    }

    /// Whether a variable has no truth yet.
    pub(super) fn is_open(&self, variable: u32) -> bool {
        !self.is_true(2 * variable) && !self.is_false(2 * variable)
    }

    /// The truth that a variable had last.
    pub(super) fn phase(&self, variable: u32) -> bool {
        self.phase[variable as usize]
    }

    /// Draws conclusions; returns the false literals of a clause that is false.
    pub(super) fn propagate(&mut self) -> Option<Vec<u32>> {
        while self.head < self.trail.len() {
            let falsified = self.trail[self.head] ^ 1;
            self.head += 1;
            let watches = std::mem::take(&mut self.watches[falsified as usize]);
            let mut kept = Vec::with_capacity(watches.len());
            let mut conflict = None;
            for watch in watches {
                if conflict.is_some() || self.is_true(watch.other) {
                    kept.push(watch);
                    continue;
                }
                if let Some(other) = self.rewatch(watch.clause, falsified) {
                    kept.push(Watch { other, ..watch });
                    if self.is_false(other) {
                        conflict = Some(watch.clause);
                    } else if !self.is_true(other) {
                        self.assign(other, watch.clause);
                    }
                }
            }
            self.watches[falsified as usize] = kept;
            if let Some(clause) = conflict {
                return Some(self.clauses[clause as usize].literals.clone());
            }
        }
        None
    }

    /// Watches another literal of a clause in place of a false one; if there is none, returns the other one watched.
    fn rewatch(&mut self, clause: u32, falsified: u32) -> Option<u32> {
        let mut literals = std::mem::take(&mut self.clauses[clause as usize].literals);
        if literals[0] == falsified {
            literals.swap(0, 1);
        }
        let first = literals[0];
        let free = (2..literals.len()).find(|place| !self.is_false(literals[*place]));
        if let Some(place) = free
            && !self.is_true(first)
        {
            literals.swap(1, place);
            self.watches[literals[1] as usize].push(Watch {
                clause,
                other: first,
            });
            self.clauses[clause as usize].literals = literals;
            return None;
        }
        self.clauses[clause as usize].literals = literals;
        Some(first)
    }

    /// Learns from literals that cannot all be false, goes back, and draws the first conclusion; false if there is
    /// nothing to go back to.
    pub(super) fn learn(&mut self, conflict: &[u32]) -> bool {
        let deepest = conflict
            .iter()
            .map(|literal| self.level_of(*literal))
            .max()
            .unwrap_or(0);
        if deepest == 0 {
            return false;
        }
        self.back_to(deepest);
        let learned = self.analyze(conflict);
        let back = learned[1..]
            .iter()
            .map(|literal| self.level_of(*literal))
            .max()
            .unwrap_or(0);
        let mut levels: Vec<u32> = learned
            .iter()
            .map(|literal| self.level_of(*literal))
            .collect();
        levels.sort_unstable();
        levels.dedup();
        self.back_to(back);
        let first = learned[0];
        if learned.len() == 1 {
            self.assign(first, NONE);
        } else {
            let span = u32::try_from(levels.len()).expect("levels are variables");
            let clause = self.attach(learned, span);
            self.assign(first, clause);
        }
        self.increment *= 1.05;
        if self.increment > 1e100 {
            self.activity
                .iter_mut()
                .for_each(|activity| *activity *= 1e-100);
            self.increment *= 1e-100;
            self.requeue();
        }
        true
    }

    /// Takes decisions back until `depth` are left.
    pub(super) fn back_to(&mut self, depth: u32) {
        let Some(count) = self.levels.get(depth as usize).copied() else {
            return;
        };
        for literal in self.trail.drain(count..) {
            let variable = literal >> 1;
            self.truth[literal as usize] = false;
            self.phase[variable as usize] = literal & 1 == 0;
            self.queue
                .push(Ranked(self.activity[variable as usize], variable));
        }
        self.levels.truncate(depth as usize);
        self.head = self.head.min(count);
        self.stood = self.stood.min(count);
    }

    /// Starts again from depth 0, and forgets the half of what was learned that spans most levels if it is much.
    pub(super) fn restart(&mut self) {
        self.back_to(0);
        if self.learned < 4_000 + self.clauses.len() / 4 {
            return;
        }
        let mut spans: Vec<u32> = self
            .clauses
            .iter()
            .map(|clause| clause.span)
            .filter(|span| *span > 2)
            .collect();
        spans.sort_unstable();
        let Some(middle) = spans.get(spans.len() / 2).copied() else {
            return;
        };
        self.clauses
            .retain(|clause| clause.span <= 2 || clause.span < middle);
        self.learned = 0;
        self.watches.iter_mut().for_each(Vec::clear);
        // At depth 0 reasons are never asked for.
        self.reason.fill(NONE);
        for (clause, number) in self.clauses.iter_mut().zip(0_u32..) {
            // Watch literals that are not false, if there are any.
            let truth = &self.truth;
            clause
                .literals
                .sort_by_key(|literal| truth[*literal as usize ^ 1]);
            for (place, other) in [(0, 1), (1, 0)] {
                let (literal, other) = (clause.literals[place], clause.literals[other]);
                self.watches[literal as usize].push(Watch {
                    clause: number,
                    other,
                });
            }
        }
    }

    fn level_of(&self, literal: u32) -> u32 {
        self.level[literal as usize >> 1]
    }

    fn assign(&mut self, literal: u32, reason: u32) {
        debug_assert!(!self.is_true(literal) && !self.is_false(literal));
        let variable = literal as usize >> 1;
        self.truth[literal as usize] = true;
        self.level[variable] = self.depth();
        self.reason[variable] = reason;
        self.trail.push(literal);
    }

    fn attach(&mut self, literals: Vec<u32>, span: u32) -> u32 {
        let clause = u32::try_from(self.clauses.len()).expect("the budget bounds what is learned");
        self.watches[literals[0] as usize].push(Watch {
            clause,
            other: literals[1],
        });
        self.watches[literals[1] as usize].push(Watch {
            clause,
            other: literals[0],
        });
        self.learned += usize::from(span > 0);
        self.clauses.push(Clause { literals, span });
        clause
    }

    /// The clause of the first unique implication point; its first literal is the only one of the present level, its
    /// second of the next deepest.
    fn analyze(&mut self, conflict: &[u32]) -> Vec<u32> {
        let mut learned = vec![NONE];
        let mut open = 0_usize;
        let mut at = self.trail.len();
        let mut literals = conflict.to_vec();
        loop {
            for literal in literals {
                let variable = literal as usize >> 1;
                if self.seen[variable] || self.level[variable] == 0 {
                    continue;
                }
                self.seen[variable] = true;
                self.bump(variable);
                if self.level[variable] == self.depth() {
                    open += 1;
                } else {
                    learned.push(literal);
                }
            }
            loop {
                at -= 1;
                if self.seen[self.trail[at] as usize >> 1] {
                    break;
                }
            }
            let literal = self.trail[at];
            let variable = literal as usize >> 1;
            self.seen[variable] = false;
            open -= 1;
            if open == 0 {
                learned[0] = literal ^ 1;
                break;
            }
            let reason = &self.clauses[self.reason[variable] as usize].literals;
            literals = reason
                .iter()
                .copied()
                .filter(|other| *other != literal)
                .collect();
        }
        let clear = learned[1..].to_vec();
        self.minimize(&mut learned);
        clear
            .iter()
            .for_each(|literal| self.seen[*literal as usize >> 1] = false);
        if let Some(deepest) = (1..learned.len()).max_by_key(|place| self.level_of(learned[*place]))
        {
            learned.swap(1, deepest);
        }
        learned
    }

    /// Leaves out of a clause what the rest of it implies by one clause each (Sörensson and Biere 2009, local); the
    /// variables of all but the first literal are `seen`.
    fn minimize(&self, learned: &mut Vec<u32>) {
        let implied = |literal: u32| {
            let reason = self.reason[literal as usize >> 1];
            reason != NONE
                && self.clauses[reason as usize].literals.iter().all(|other| {
                    let variable = *other as usize >> 1;
                    *other == literal ^ 1 || self.seen[variable] || self.level[variable] == 0
                })
        };
        let first = learned[0];
        learned.retain(|literal| *literal == first || !implied(*literal));
    }

    fn bump(&mut self, variable: usize) {
        self.activity[variable] += self.increment;
        let ranked = u32::try_from(variable).expect("variables are counted in 32 bits");
        if self.queue.len() > 16 * self.level.len() + 1_000 {
            self.requeue();
        }
        self.queue.push(Ranked(self.activity[variable], ranked));
    }

    fn requeue(&mut self) {
        let all = self.activity.iter().zip(0_u32..);
        self.queue = all
            .map(|(activity, variable)| Ranked(*activity, variable))
            .collect();
    }
}
