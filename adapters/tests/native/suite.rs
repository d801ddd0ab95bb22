//! The suite that every participant passes, over sites whose order the database's own locks give.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::Threads;
use adapters::native::{Native, open_on};
use adapters::postgres::PostgresOptions;
use adapters::postgres::native::{Mode, NativeOptions, PostgresSessions};
use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use participant::conformance::{Subject, Suite};
use participant::engine::Options;

/// Longer than any case takes: what waits has to be told apart by looking, not by giving up.
const NEVER: Duration = Duration::from_secs(120);

/// How many interleavings of the same programs are run; `INTERLEAVINGS=100000` runs them all, up to 4 200, in some minutes.
const INTERLEAVINGS: usize = 120;

pub(crate) fn assert_ordered(case: &str, history: &str) {
    let site = read_history(history.as_bytes(), case).unwrap();
    let report = judge(&[site], Level::CommitmentOrdering);
    // In some runs everybody aborts.
    let empty = report.statistics.committed == 0;
    let valid = matches!(report.verdict, Verdict::Valid { .. });
    assert!(valid || empty, "{case}: {:?}\n{history}", report.verdict);
}

/// Takes all rows out of the table between two cases.
struct Broom {
    threads: Threads,
    client: tokio_postgres::Client,
}

impl Broom {
    fn sweep(&mut self) {
        let (client, threads) = (&self.client, &self.threads);
        let swept = threads.block_on(client.batch_execute("TRUNCATE co.rows"));
        swept.unwrap();
    }
}

fn run(mode: Mode) {
    let Some(server) = crate::server() else {
        return;
    };
    let threads = Threads::start().unwrap();
    let url = server.url();
    let options = NativeOptions {
        postgres: PostgresOptions {
            sessions: 12,
            ..PostgresOptions::new(&url)
        },
        lock_timeout: NEVER,
        ..NativeOptions::new(&url, mode)
    };
    let backend = threads.wait_for(async move { PostgresSessions::open("suite", options).await });
    let backend = Arc::new(backend.unwrap());
    let client = threads.wait_for(async move {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    let broom = Mutex::new(Broom {
        threads: threads.clone(),
        client,
    });
    let suite = Suite::new(
        |rule, recorder| {
            broom.lock().unwrap().sweep();
            let options = Options {
                rule,
                recorder,
                ..Options::default()
            };
            let site: Native<PostgresSessions> = open_on(options, 1, &threads, &backend).unwrap();
            let site = Arc::new(site);
            let seen = Arc::clone(&site);
            Subject::new(site).with_idle(move || seen.is_idle())
        },
        assert_ordered,
    )
    .with_at_most(INTERLEAVINGS);
    // `CASES_FROM=name` begins with that case.
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    for (name, case) in Suite::cases().skip_while(|(name, _)| !from.is_empty() && *name != from) {
        eprintln!("{} {name}", mode.name());
        case(&suite);
    }
}

#[test]
fn row_and_table_locks_keep_every_promise_of_a_participant() {
    run(Mode::Lock);
}

#[test]
fn one_transaction_at_a_time_keeps_every_promise_of_a_participant() {
    run(Mode::Serial);
}
