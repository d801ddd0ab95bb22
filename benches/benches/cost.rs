//! What co-core costs, against the least that the same work costs without it, in the same run.
//!
//! `cargo bench -p benches --bench cost`; the ratios and their budgets: `cargo run --release -p benches --bin
//! budget`.
#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented items"
)]

use benches::cost;
use benches::lean::LeanTable;
use benches::optimistic::{Optimistic, Work};
use co_core::{LockPolicy, LockTable, Scheduler, Validator, VoteRule};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Keys are taken in turn from this many, so that tables and caches see more than one transaction's.
const KEYS: u64 = 1 << 16;

fn turns() -> impl FnMut() -> u64 {
    let mut next = 0;
    move || {
        next = (next + cost::ACCESSES) % KEYS;
        next
    }
}

fn unconflicted(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unconflicted transaction");
    let mutex = parking_lot::Mutex::new(0);
    group.bench_function("baseline: one mutex, locked and unlocked", |bencher| {
        bencher.iter(|| cost::mutex_pair(&mutex));
    });
    let scheduler = Scheduler::new(VoteRule::Withhold);
    group.bench_function("begin, ready, vote, decide", |bencher| {
        bencher.iter(|| cost::unconflicted(&scheduler));
    });
    group.finish();
}

fn locks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sixteen accesses under locks");
    let lean = LeanTable::default();
    let mut turn = turns();
    group.bench_function("baseline: striped table, no queues, no graph", |bencher| {
        bencher.iter(|| cost::lean_accesses(&lean, turn()));
    });
    for (name, policy) in [
        ("SS2PL", LockPolicy::Ss2pl),
        ("SCO", LockPolicy::Sco),
        (
            "ordered sharing",
            LockPolicy::OrderedSharing { longest_chain: 16 },
        ),
    ] {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let table = LockTable::new(scheduler.clone(), policy);
        group.bench_function(name, |bencher| {
            bencher.iter(|| cost::tracked_accesses(&scheduler, &table, turn()));
        });
    }
    group.finish();
}

fn optimistic(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sixteen accesses, optimistic");
    let engine = Optimistic::new(2 * KEYS);
    let (mut work, mut turn) = (Work::default(), turns());
    group.bench_function("baseline: the engine alone", |bencher| {
        bencher.iter(|| cost::optimistic_accesses(&engine, &mut work, turn(), None));
    });
    let nobody = Validator::new(Scheduler::new(VoteRule::Withhold));
    group.bench_function("nobody in doubt", |bencher| {
        bencher.iter(|| cost::optimistic_accesses(&engine, &mut work, turn(), Some(&nobody)));
    });
    let crowd = cost::in_doubt(4, 2 * KEYS);
    group.bench_function("four in doubt elsewhere", |bencher| {
        bencher.iter(|| cost::optimistic_accesses(&engine, &mut work, turn(), Some(&crowd)));
    });
    group.finish();
}

fn crowd(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("among undecided transactions");
    for count in [10, 1_000, 100_000] {
        let crowd = cost::Crowd::new(count);
        let mut turn = turns();
        group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
            bencher.iter(|| crowd.pass(count + turn()));
        });
    }
    group.finish();
}

fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain on one hot item");
    for length in [10, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(length as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(length),
            &length,
            |bencher, &length| {
                bencher.iter_batched(
                    || cost::withheld_chain(length),
                    |(scheduler, chain)| cost::release_chain(&scheduler, &chain),
                    BatchSize::SmallInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(benches, unconflicted, locks, optimistic, crowd, chain);
criterion_main!(benches);
