//! The weak levels: by trying every order of the transactions against the definitions, and on the corpus.

use checker::observed::{Observed, Op, Outcome, TxnIndex, Value, Why};
use checker::search::Doubt;
use checker::weak::{Level, Step, Verdict, Witness, judge};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::small;

type Relation = Vec<Vec<bool>>;

/// A read before the transaction wrote the key: key, who wrote the value (nobody: the initial state).
type Read = (u32, Option<usize>);

/// A history in which the chosen transactions have committed.
struct Chosen<'h> {
    history: &'h Observed,
    txns: Vec<TxnIndex>,
}

impl Chosen<'_> {
    fn ops(&self, at: usize) -> &[Op] {
        self.history.ops(self.txns[at])
    }

    fn wrote(&self, at: usize) -> Vec<u32> {
        self.ops(at)
            .iter()
            .filter_map(|op| op.wrote().map(|(key, _)| key.0))
            .collect()
    }

    /// Who installed a value.
    fn installed(&self, key: u32, value: Value) -> Option<usize> {
        (0..self.txns.len()).find(|at| {
            let mut of_key = self
                .ops(*at)
                .iter()
                .filter_map(|op| op.wrote())
                .filter(|(of, _)| of.0 == key);
            of_key.next_back().is_some_and(|(_, last)| last == value)
        })
    }

    /// The external reads of a transaction; nothing if one of its reads is impossible.
    fn reads(&self, at: usize) -> Option<Vec<Read>> {
        let (mut own, mut reads) = (std::collections::BTreeMap::new(), Vec::new());
        for op in self.ops(at) {
            match *op {
                Op::Write { key, value } => drop(own.insert(key, value)),
                Op::Read { key, value } => match own.get(&key) {
                    Some(wrote) if value == Some(*wrote) => {}
                    Some(_) => return None,
                    None => {
                        let writer = match value {
                            None => None,
                            Some(value) => Some(
                                self.installed(key.0, value)
                                    .filter(|writer| *writer != at)?,
                            ),
                        };
                        reads.push((key.0, writer));
                    }
                },
                _ => panic!("registers only"),
            }
        }
        Some(reads)
    }

    fn session(&self, a: usize, b: usize) -> bool {
        let of = |at: usize| self.history.txn(self.txns[at]).session;
        let told = self.history.txn(self.txns[a]).outcome == Outcome::Committed;
        told && a < b && of(a).is_some() && of(a) == of(b)
    }

    /// Whether some order is a `co`; or whether this one is.
    fn holds(&self, level: Level, given: Option<&[TxnIndex]>) -> bool {
        let count = self.txns.len();
        let Some(reads) = (0..count)
            .map(|at| self.reads(at))
            .collect::<Option<Vec<Vec<Read>>>>()
        else {
            return false;
        };
        let read = |a: usize, b: usize| reads[b].iter().any(|read| read.1 == Some(a));
        let relation = |of: &dyn Fn(usize, usize) -> bool| -> Relation {
            (0..count)
                .map(|a| (0..count).map(|b| of(a, b)).collect())
                .collect()
        };
        let mut reach = relation(&|a, b| self.session(a, b) || read(a, b));
        for over in 0..count {
            for a in 0..count {
                for b in 0..count {
                    reach[a][b] |= reach[a][over] && reach[over][b];
                }
            }
        }
        let any = |of: &dyn Fn(usize) -> bool| (0..count).any(of);
        let visible = relation(&|a, b| match level {
            Level::ReadUncommitted | Level::Pl2 | Level::ReadCommitted => false,
            Level::ReadAtomic => read(a, b) || self.session(a, b),
            Level::Causal => reach[a][b],
            Level::ReadYourWrites => self.session(a, b),
            Level::MonotonicReads => any(&|m| read(a, m) && self.session(m, b)),
            Level::MonotonicWrites => any(&|m| self.session(a, m) && read(m, b)),
            Level::WritesFollowReads => {
                any(&|m| read(a, m) && any(&|n| (m == n || self.session(m, n)) && read(n, b)))
            }
        });
        let before = relation(&|a, b| {
            let sessions = match level {
                Level::ReadCommitted | Level::ReadAtomic | Level::Causal => true,
                Level::MonotonicWrites => !self.wrote(a).is_empty() && !self.wrote(b).is_empty(),
                _ => false,
            };
            read(a, b) || (sessions && self.session(a, b))
        });
        let fits = |order: &[usize]| {
            let place = |at: usize| order.iter().position(|there| *there == at).unwrap();
            let is_before = |a: usize, b: usize| place(a) < place(b);
            let extends = (0..count).all(|a| (0..count).all(|b| !before[a][b] || is_before(a, b)));
            extends
                && (0..count).all(|reader| {
                    reads[reader].iter().enumerate().all(|(at, (key, from))| {
                        (0..count)
                            .filter(|other| *other != reader && Some(*other) != *from)
                            .all(|other| {
                                let earlier =
                                    reads[reader][..at].iter().any(|read| read.1 == Some(other));
                                let sees = visible[other][reader]
                                    || (level == Level::ReadCommitted && earlier);
                                let bound = sees && self.wrote(other).contains(key);
                                !bound || from.is_some_and(|from| is_before(other, from))
                            })
                    })
                })
        };
        if let Some(given) = given {
            let order: Vec<usize> = given
                .iter()
                .map(|txn| self.txns.binary_search(txn).unwrap())
                .collect();
            return order.len() == count && fits(&order);
        }
        some_order(&mut (0..count).collect::<Vec<usize>>(), 0, &fits)
    }
}

fn some_order(order: &mut Vec<usize>, fixed: usize, fits: &dyn Fn(&[usize]) -> bool) -> bool {
    if fixed == order.len() {
        return fits(order);
    }
    (fixed..order.len()).any(|at| {
        order.swap(fixed, at);
        let found = some_order(order, fixed + 1, fits);
        order.swap(fixed, at);
        found
    })
}

fn explained(history: &Observed, level: Level) -> bool {
    let of = |outcome| {
        history
            .indexes()
            .filter(move |txn| history.txn(*txn).outcome == outcome)
    };
    let committed: Vec<TxnIndex> = of(Outcome::Committed).collect();
    if level == Level::ReadUncommitted {
        let written = |op: &Op| match *op {
            Op::Read {
                key,
                value: Some(value),
            } => history.indexes().any(|txn| {
                history
                    .ops(txn)
                    .iter()
                    .any(|op| op.wrote() == Some((key, value)))
            }),
            _ => true,
        };
        return committed
            .iter()
            .all(|txn| history.ops(*txn).iter().all(written));
    }
    let unknown: Vec<TxnIndex> = of(Outcome::Unknown).collect();
    (0_u32..1 << unknown.len()).any(|mask| {
        let mut txns = committed.clone();
        txns.extend(
            unknown
                .iter()
                .enumerate()
                .filter(|(at, _)| mask >> at & 1 == 1)
                .map(|(_, txn)| *txn),
        );
        txns.sort();
        Chosen { history, txns }.holds(level, None)
    })
}

/// Steps lead around, and a condition's visible path leads from the one that it puts first to the reader.
fn leads_around(steps: &[Step]) -> bool {
    let next = |at: usize| &steps[(at + 1) % steps.len()];
    !steps.is_empty()
        && steps.iter().enumerate().all(|(at, step)| {
            let path = step.because.as_ref().is_none_or(|because| {
                let visible = &because.visible;
                let joined = visible.windows(2).all(|pair| pair[0].to == pair[1].from);
                joined
                    && visible.first().map(|edge| edge.from) == Some(step.edge.from)
                    && visible.last().map(|edge| edge.to) == Some(because.reader)
            });
            let condition = matches!(step.edge.why, Why::WriteWrite { .. });
            step.edge.to == next(at).edge.from && path && condition == step.because.is_some()
        })
}

pub(crate) fn agrees(history: &Observed, level: Level, what: &dyn std::fmt::Debug) -> bool {
    let want = explained(history, level);
    match judge(history, level) {
        Verdict::Valid(order) => {
            assert!(want, "valid at {level:?}, though no order fits {what:?}");
            let mut txns = order.clone();
            txns.sort();
            let fits = level == Level::ReadUncommitted
                || Chosen { history, txns }.holds(level, Some(&order));
            assert!(fits, "{level:?} {order:?} {what:?}");
        }
        Verdict::Invalid(witness) => {
            assert!(
                !want,
                "invalid at {level:?}, though an order fits {what:?}: {witness:?}"
            );
            match &witness {
                Witness::Reads(faults) => assert!(!faults.is_empty()),
                Witness::Cycle(steps) => assert!(leads_around(steps), "{what:?} {steps:?}"),
            }
        }
        Verdict::Unknown(doubt) => assert!(doubt == Doubt::Empty && want, "{doubt} {what:?}"),
    }
    want
}

#[test]
fn random_histories_agree_with_the_definitions() {
    let mut judged = [[0; 2]; Level::ALL.len()];
    let config = Config {
        cases: 3_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(any::<u64>(), 2_usize..6, 1_u32..4),
            |(seed, count, keys)| {
                let plan = small::random(seed, count, keys);
                for level in Level::ALL {
                    agrees(&small::history(&plan), level, &plan);
                }
                Ok(())
            },
        )
        .unwrap();
    for seed in 0..6_000 {
        let plan = small::random(seed, 5, 2 + u32::try_from(seed).unwrap() % 2);
        for (level, judged) in Level::ALL.into_iter().zip(&mut judged) {
            judged[usize::from(agrees(&small::history(&plan), level, &plan))] += 1;
        }
    }
    eprintln!("{judged:?}");
    assert!(
        judged[1..].iter().flatten().all(|count| *count > 300),
        "{judged:?}"
    );
}
