//! What the scheduler costs, against the least that anything could cost in the same run.
//!
//! `cargo bench -p benches --bench scheduler`
#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented items"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Mutex;

use co_core::{
    EdgeKind, Grant, Kind, LockMode, LockPolicy, LockTable, Outcome, Priority, Scheduler, VoteRule,
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

fn local(priority: u64) -> Kind {
    Kind::Local {
        priority: Priority(priority),
    }
}

/// begin → ready → vote → decide of a transaction that conflicts with nobody.
fn unconflicted(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unconflicted transaction");
    let mutex = Mutex::new(0_u64);
    group.bench_function("baseline: lock and unlock one mutex", |bencher| {
        bencher.iter(|| *black_box(&mutex).lock().expect("nobody panics") += 1);
    });
    let scheduler = Scheduler::new(VoteRule::Withhold);
    group.bench_function("begin, vote, decide", |bencher| {
        bencher.iter(|| {
            let txn = scheduler.begin(local(1));
            black_box(scheduler.request_vote_blocking(&txn));
            scheduler
                .decided(&txn, Outcome::Commit)
                .expect("it has voted");
        });
    });
    group.finish();
}

/// Sixteen locks on distinct keys, uncontended, against the leanest table that could do it: one mutex
/// over an ordered map, no queues, no graph.
fn sixteen_locks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sixteen uncontended write locks");
    let lean: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());
    group.bench_function("baseline: one mutex, one map", |bencher| {
        bencher.iter(|| {
            for key in 0..16 {
                lean.lock()
                    .expect("nobody panics")
                    .insert(black_box(key), 1);
            }
            for key in 0..16 {
                lean.lock().expect("nobody panics").remove(&black_box(key));
            }
        });
    });
    for policy in [LockPolicy::Ss2pl, LockPolicy::Sco] {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let locks: LockTable<u64> = LockTable::new(scheduler.clone(), policy);
        group.bench_function(format!("{policy:?}"), |bencher| {
            bencher.iter(|| {
                let txn = scheduler.begin(local(1));
                for key in 0..16 {
                    let grant = locks.acquire(&txn, &black_box(key), LockMode::Write).wait();
                    assert_eq!(grant, Grant::Granted);
                }
                black_box(scheduler.request_vote_blocking(&txn));
                scheduler
                    .decided(&txn, Outcome::Commit)
                    .expect("it has voted");
                locks.release(&txn);
            });
        });
    }
    group.finish();
}

/// A chain of n transactions on one hot item: release is linear in n.
fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain on one hot item");
    for length in [10_usize, 100, 1_000] {
        group.throughput(criterion::Throughput::Elements(length as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(length),
            &length,
            |bencher, &length| {
                bencher.iter_batched(
                    || withheld_chain(length),
                    |(scheduler, chain)| {
                        for txn in &chain {
                            scheduler
                                .decided(txn, Outcome::Commit)
                                .expect("its predecessor is gone");
                        }
                    },
                    BatchSize::SmallInput,
                );
            },
        );
    }
    group.finish();
}

fn withheld_chain(length: usize) -> (Scheduler, Vec<co_core::Txn>) {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let chain: Vec<_> = (0..length)
        .map(|age| scheduler.begin(local(age as u64)))
        .collect();
    for pair in chain.windows(2) {
        scheduler
            .edge(&pair[0], &pair[1], EdgeKind::ReadWrite)
            .expect("nobody has voted");
    }
    for txn in &chain {
        drop(scheduler.request_vote(txn));
    }
    (scheduler, chain)
}

criterion_group!(benches, unconflicted, sixteen_locks, chain);
criterion_main!(benches);
