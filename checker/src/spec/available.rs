//! Can a specification be had by nodes that are cut off from each other? (Complete CAP: section 5 and appendix B.)
//!
//! The definition in section 5 quantifies over all futures in which no message crosses the partition, among them
//! those in which the exposing node itself goes on. The proof in appendix B uses less: what a node exposes is an outcome of what that
//! node knows, and the future consists of activity that the node cannot see. The two differ where the steps that break an outcome are
//! the node's own, as in an editor whose keystrokes a local mutex orders; the paper's own example is available only as
//! the proof has it. This module decides the latter, [`distributed_monotone`](super::distributed_monotone) the former.

use super::explore::{Future, Options, Visitor, explore};
use super::history::{Cut, Event};
use super::monotone::{Decision, Verdict};
use super::smallest::{Size, Smallest};
use super::specification::{HistoryOf, Specification};
use super::well_formed::Contract;
use super::witness::Witness;

/// Decides whether every outcome of what a node knows survives everything that happens elsewhere, as long as some
/// partition keeps the node apart from somebody. In a witness, the first history is what the node knows.
pub fn available<S: Specification>(spec: &S, options: &Options<'_>) -> Decision<S> {
    let size = Size::unbounded();
    let nodes = spec.universe().nodes();
    let (search, examined) = explore(spec, options, || Search {
        spec,
        contract: Contract::new(spec),
        nodes: &nodes,
        smallest: Smallest::nothing(&size),
    });
    Decision {
        verdict: Verdict::of(spec, options, search.contract, search.smallest.take()),
        examined,
    }
}

struct Search<'a, S: Specification> {
    spec: &'a S,
    contract: Contract<'a, S>,
    nodes: &'a [usize],
    smallest: Smallest<'a, Witness<S>>,
}

impl<S: Specification> Search<'_, S> {
    /// What all processes of a node know.
    fn known(&self, history: &HistoryOf<S>, node: usize) -> Cut {
        let mut known = Cut::default();
        for process in (0..history.processes()).filter(|process| self.nodes[*process] == node) {
            for (all, more) in known.iter_mut().zip(history.known_to(process)) {
                *all = (*all).max(more);
            }
        }
        known
    }

    /// Whether a partition with the node on one side and somebody on the other is crossed by no message that arrives
    /// after what the node knows.
    fn apart(&self, history: &HistoryOf<S>, known: &Cut, node: usize) -> bool {
        let mut side = vec![node];
        let mut grown = true;
        while grown {
            grown = false;
            for (id, event) in history.events() {
                let Event::Receive { from } = event else {
                    continue;
                };
                if id.place < known[usize::from(id.process)] {
                    continue;
                }
                let ends =
                    [from.process, id.process].map(|process| self.nodes[usize::from(process)]);
                for (one, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                    if side.contains(&one) && !side.contains(&other) {
                        side.push(other);
                        grown = true;
                    }
                }
            }
        }
        self.nodes.iter().any(|node| !side.contains(node))
    }
}

impl<S: Specification> Visitor<S> for Search<'_, S> {
    const FUTURES: bool = true;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        self.contract.of_history(history, outcomes);
        let mut nodes = self.nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let known = self.known(history, node);
            if !self.apart(history, &known, node) {
                continue;
            }
            let before = history.restrict(&known);
            let refined = |outcome: &S::Outcome| {
                outcomes
                    .iter()
                    .any(|later| self.spec.refines(outcome, later))
            };
            let exposed = self.spec.outcomes(&before);
            if let Some(outcome) = exposed.into_iter().find(|outcome| !refined(outcome)) {
                self.smallest.keep(Witness {
                    before,
                    outcome,
                    after: history.clone(),
                    later: outcomes.to_vec(),
                });
            }
        }
    }

    fn future(&mut self, future: &Future<'_, S>) {
        self.contract.of_future(future);
        // Where calls are answered at once, a call that cannot be answered is met as a future only.
        if future.step.is_call_without_answer() {
            self.history(future.history, future.outcomes);
        }
    }

    fn join(&mut self, other: Self) {
        self.contract.join(other.contract);
        self.smallest.join(other.smallest);
    }

    fn limit(&self) -> usize {
        self.smallest.limit().min(self.contract.breach_size())
    }
}
