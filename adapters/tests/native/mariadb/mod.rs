//! MariaDB at SERIALIZABLE with XA: the suite, and what the other modules share.

mod lives;
mod skew;
mod statements;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::Threads;
use adapters::mariadb::MariaDbOptions;
use adapters::mariadb::native::{MariaDbSessions, NativeOptions};
use adapters::native::{Native, open_on};
use co_core::AbortReason;
use databases::{Product, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use participant::conformance::{Client, Subject, Suite, put};
use participant::engine::Options;
use participant::{Ballot, Operation, OperationError, Participant, Reply};

use super::NEVER;
use super::suite::assert_ordered;

const AWAY: Ballot = Ballot::No(AbortReason::Unavailable);
const CONFLICT: OperationError = OperationError::Aborted(AbortReason::Conflict);

/// How many interleavings of the same programs the suite runs here. Each wait costs what the server takes to bring its
/// tables of waits up to date, 100 ms and more, and all of them, 6740, would take the better part of an hour.
const INTERLEAVINGS: usize = 12;

/// How old the server's table of transactions may be.
const COPY: Duration = Duration::from_millis(150);

/// A server of the test's own; `None`, said loudly, where there is none.
pub(crate) fn server() -> Option<Server> {
    let settings = [("innodb_flush_log_at_trx_commit", "2")];
    Server::for_test(Product::MariaDb, &settings)
}

pub(crate) fn options(url: &str) -> NativeOptions {
    NativeOptions {
        mariadb: MariaDbOptions {
            sessions: 40,
            lazy_flush: true,
            ..MariaDbOptions::new(url)
        },
        lock_timeout: NEVER,
    }
}

/// One life of a site.
pub(crate) struct Life {
    pub(crate) site: Arc<dyn Participant>,
    backend: Arc<MariaDbSessions>,
    threads: Threads,
}

impl Life {
    pub(crate) fn of(life: u64, options: NativeOptions, host: Options) -> Self {
        let threads = Threads::start().unwrap();
        let backend = threads.wait_for(async move { MariaDbSessions::open("site", options).await });
        let backend = Arc::new(backend.unwrap());
        let native: Native<MariaDbSessions> = open_on(host, life, &threads, &backend).unwrap();
        Self {
            site: Arc::new(native),
            backend,
            threads,
        }
    }

    fn begin(url: &str) -> Self {
        let life = Self::of(1, options(url), Options::default());
        life.site.recovered();
        life
    }

    fn client(&self, number: u64) -> Client {
        Client::begin(&self.site, number)
    }

    fn put(&self, number: u64, rows: &[(&str, &str)]) {
        let client = self.client(number);
        for (key, value) in rows {
            assert_eq!(client.run(put(key, value)), Ok(Reply::Done));
        }
        client.commit();
        self.site.quiesce();
    }

    fn crash(self) {
        let Self {
            site,
            backend,
            threads,
        } = self;
        drop((site, backend));
        drop(threads);
    }
}

/// Somebody who does not come through the site.
pub(crate) struct Foreign {
    threads: Threads,
    conn: Arc<tokio::sync::Mutex<Conn>>,
}

impl Foreign {
    pub(crate) fn to(url: &str) -> Self {
        let threads = Threads::start().unwrap();
        let url = url.to_owned();
        let conn = threads.wait_for(async move { Conn::from_url(url).await.unwrap() });
        Self {
            threads,
            conn: Arc::new(tokio::sync::Mutex::new(conn)),
        }
    }

    /// The error is the server's code.
    fn run(&self, text: &str) -> Result<(), u16> {
        let (conn, text) = (Arc::clone(&self.conn), text.to_owned());
        let done = self
            .threads
            .wait_for(async move { conn.lock().await.query_drop(text).await });
        done.map_err(|error| {
            let mysql_async::Error::Server(said) = error else {
                panic!("{error}");
            };
            said.code
        })
    }

    fn numbers(&self, text: &str) -> Vec<u64> {
        let (conn, text) = (Arc::clone(&self.conn), text.to_owned());
        let rows = self
            .threads
            .wait_for(async move { conn.lock().await.query(text).await });
        rows.unwrap()
    }

    pub(crate) fn prepared(&self) -> usize {
        let conn = Arc::clone(&self.conn);
        self.threads.wait_for(async move {
            let rows: Vec<mysql_async::Row> = conn.lock().await.query("XA RECOVER").await.unwrap();
            rows.len()
        })
    }

    /// Ends all sessions that have a prepared branch or a transaction.
    fn kill_transactions(&self) {
        let transactions = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID IN \
             (SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX) AND ID <> CONNECTION_ID()";
        let mut threads = self.numbers(transactions);
        while threads.is_empty() {
            // The table is a copy, and as old as its last reader.
            std::thread::sleep(COPY);
            threads = self.numbers(transactions);
        }
        for thread in threads {
            self.run(&format!("KILL {thread}")).unwrap();
        }
    }
}

fn sql(text: &str) -> Operation {
    Operation::Sql(text.to_owned())
}

/// Every second case, from the first one or from the next: most of the time is spent on waits that are to be seen, so two
/// halves beside each other take half of it.
fn suite(half: usize) {
    let Some(server) = server() else { return };
    let threads = Threads::start().unwrap();
    let options = options(&server.url());
    let backend = threads.wait_for(async move { MariaDbSessions::open("suite", options).await });
    let backend = Arc::new(backend.unwrap());
    let broom = Mutex::new(Foreign::to(&server.url()));
    let suite = Suite::new(
        |rule, recorder| {
            broom.lock().unwrap().run("TRUNCATE co.`rows`").unwrap();
            let options = Options {
                rule,
                recorder,
                ..Options::default()
            };
            let site: Native<MariaDbSessions> = open_on(options, 1, &threads, &backend).unwrap();
            let site = Arc::new(site);
            let seen = Arc::clone(&site);
            Subject::new(site).with_idle(move || seen.is_idle())
        },
        assert_ordered,
    );
    let suite = suite.with_at_most(INTERLEAVINGS);
    // `CASES_FROM=name` begins with that case.
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    let cases = Suite::cases().enumerate().filter(|(at, _)| at % 2 == half);
    let cases = cases.skip_while(|(_, (name, _))| !from.is_empty() && *name != from);
    for (_, (name, case)) in cases {
        eprintln!("mariadb-lock {name}");
        case(&suite);
    }
}

#[test]
fn serializable_xa_keeps_every_promise_of_a_participant_one_half() {
    suite(0);
}

#[test]
fn serializable_xa_keeps_every_promise_of_a_participant_other_half() {
    suite(1);
}
