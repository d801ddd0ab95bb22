//! Whatever ends deadlocks over several sites: work goes on, and the histories are in order.

use std::time::Duration;

use participant::engine::EngineKind;
use simulator::policy::{Load, Report, Resolver, run};

const LOAD: Load = Load {
    clients: 8,
    keys: 3,
    rounds: 1_000,
    timeout: Duration::from_millis(50),
    report_after: Duration::from_millis(5),
};

fn of(resolver: Resolver, engine: EngineKind) -> Report {
    let report = run(1, resolver, engine, &LOAD);
    assert!(report.valid, "{resolver:?} {engine}");
    report
}

#[test]
fn everybody_commits_in_the_end_under_every_resolver() {
    for engine in [EngineKind::Ss2pl, EngineKind::Sco, EngineKind::Optimistic] {
        for resolver in Resolver::ALL {
            let report = of(resolver, engine);
            assert!(report.commits > 10, "{resolver:?} {engine}: {report:?}");
            // Nobody is passed over: the longest took a fifth of the run at most.
            let longest = report.latencies.last().copied().unwrap_or(u32::MAX);
            assert!(longest < LOAD.rounds, "{resolver:?} {engine}: {longest}");
        }
    }
}

#[test]
fn only_the_search_aborts_nobody_needlessly() {
    // Without the timeouts, which are a net below the search as below the others.
    let patient = Load {
        timeout: Duration::from_secs(60),
        ..LOAD
    };
    let search = run(1, Resolver::ALL[0], EngineKind::Sco, &patient);
    assert!(search.valid && search.needed > 0, "{search:?}");
    assert_eq!(search.needless, 0, "{search:?}");
    for resolver in &Resolver::ALL[1..3] {
        let other = of(*resolver, EngineKind::Sco);
        assert!(other.needless > 0, "{resolver:?}: {other:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = || run(7, Resolver::Autonomy, EngineKind::Ss2pl, &LOAD);
    assert_eq!(figures(), figures());
}
