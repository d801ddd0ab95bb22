//! Plays a schedule: a transaction whose call has not been answered does nothing until it is, and its
//! later steps follow then, in order.

use std::collections::{BTreeMap, VecDeque};

use co_core::Outcome;

use super::Cluster;
use crate::engine::Engine;
use crate::notation::{Act, Step};

/// What became of a schedule: the numbers of the transactions, as the schedule names them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Played {
    /// Those that committed, in the order of the decisions.
    pub(crate) committed: Vec<u64>,
    /// Those that aborted, by number.
    pub(crate) aborted: Vec<u64>,
}

/// Rounds have their own names: transaction 3 of round 2 is number 2003.
const NAMES: u64 = 1000;

impl<E: Engine> Cluster<'_, E> {
    /// Plays a schedule to its end, on keys of the round's own; every transaction is decided afterwards.
    pub(crate) fn play(&mut self, round: usize, schedule: &[Step]) -> Played {
        let base = NAMES * round as u64;
        let mut queues: BTreeMap<u64, VecDeque<Step>> = BTreeMap::new();
        for step in schedule {
            let number = base + step.txn;
            self.introduce(number, step.local);
            queues.entry(number).or_default().push_back(step.clone());
            self.advance(round, &mut queues);
        }
        self.end_script(round, &mut queues);
        self.played(base, queues.keys().copied())
    }

    /// As far as the steps that have arrived can go.
    fn advance(&mut self, round: usize, queues: &mut BTreeMap<u64, VecDeque<Step>>) {
        self.settle();
        while let Some(number) = self.next_able(queues) {
            let queue = queues.get_mut(&number);
            if let Some(step) = queue.and_then(VecDeque::pop_front) {
                self.perform(round, number, &step.act);
            }
        }
    }

    fn next_able(&self, queues: &BTreeMap<u64, VecDeque<Step>>) -> Option<u64> {
        let able = |(number, queue): (&u64, &VecDeque<Step>)| {
            // An abort does not wait for an answer.
            let abort = queue.front().is_some_and(|step| step.act == Act::Abort);
            let able = !queue.is_empty() && (abort || !self.waits(*number));
            able.then_some(*number)
        };
        queues.iter().find_map(able)
    }

    fn perform(&mut self, round: usize, number: u64, act: &Act) {
        if self.outcome(number).is_some() {
            return;
        }
        match act {
            Act::Run(site, operation) => self.operate(number, *site, &operation.in_round(round)),
            Act::Vote(None) => self.ask_all(number),
            Act::Vote(Some(site)) => self.ask(number, *site),
            Act::Commit => self.commit(number),
            Act::Abort => self.abort(number),
        }
    }

    /// No more steps come: whoever is idle will never go on, whoever waits for a cycle neither.
    fn end_script(&mut self, round: usize, queues: &mut BTreeMap<u64, VecDeque<Step>>) {
        loop {
            self.advance(round, queues);
            let undecided = |number: &&u64| self.outcome(**number).is_none();
            let numbers: Vec<u64> = queues.keys().filter(undecided).copied().collect();
            let Some(first) = numbers.first() else { return };
            match numbers.iter().find(|number| !self.waits(**number)) {
                Some(idle) => self.abort(*idle),
                None => self.break_stuck(),
            }
            debug_assert!(
                numbers.iter().any(|number| self.outcome(*number).is_some()),
                "each turn decides one: T{first}"
            );
        }
    }

    fn played(&self, base: u64, numbers: impl Iterator<Item = u64>) -> Played {
        let mut committed = BTreeMap::new();
        let mut aborted = Vec::new();
        for number in numbers {
            match self.actors[&number].decision {
                Some((Outcome::Commit, stamp)) => {
                    committed.insert(stamp, number - base);
                }
                Some((Outcome::Abort, _)) | None => aborted.push(number - base),
            }
        }
        Played {
            committed: committed.into_values().collect(),
            aborted,
        }
    }
}
