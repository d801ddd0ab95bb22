//! The suite that every participant passes, over a real server.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: a skipped one says so, and what fails panics"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adapters::ordered;
use adapters::postgres::{OpenError, Postgres, PostgresOptions};
use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use databases::{Product, Server};
use participant::conformance::{Subject, Suite};
use participant::engine::Options;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
enum Failed {
    Open(#[from] OpenError),
    Adapter(#[from] ordered::OpenError),
}

fn assert_ordered(case: &str, history: &str) {
    let site = read_history(history.as_bytes(), case).unwrap();
    let report = judge(&[site], Level::CommitmentOrdering);
    // In some runs everybody aborts.
    let empty = report.statistics.committed == 0;
    let valid = matches!(report.verdict, Verdict::Valid { .. });
    assert!(valid || empty, "{case}: {:?}\n{history}", report.verdict);
}

#[test]
fn postgres_keeps_every_promise_of_a_participant() {
    let server = match Server::private(Product::Postgres, &[("fsync", "off")]) {
        Ok(server) => server,
        Err(error) if error.is_missing() => {
            eprintln!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let number = AtomicU32::new(0);
    let suite = Suite::new(
        |rule, recorder| {
            let schema = format!("case_{}", number.fetch_add(1, Ordering::Relaxed));
            let options = PostgresOptions {
                schema: schema.clone(),
                sessions: 4,
                ..PostgresOptions::new(&server.url())
            };
            let engine = Options {
                rule,
                recorder,
                ..Options::default()
            };
            let connect = async move { Ok::<_, Failed>(Postgres::open(&schema, options).await?) };
            let site = Arc::new(ordered::open(engine, 1, connect).unwrap());
            let seen = Arc::clone(&site);
            Subject::new(site).with_idle(move || seen.is_idle())
        },
        assert_ordered,
    );
    // `CASES_FROM=name` begins with that case.
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    for (name, case) in Suite::cases().skip_while(|(name, _)| !from.is_empty() && *name != from) {
        eprintln!("{name}");
        case(&suite);
    }
}
