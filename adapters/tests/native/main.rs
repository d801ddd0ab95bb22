//! Sites whose order a database's own locks give: the suite, what the server does that one would not expect, what goes wrong
//! over two servers and in which mode it does not, and what is left after a crash.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: long ones say how far they are, and what fails panics"
)]

mod anomalies;
mod mariadb;
mod recovery;
mod statements;
mod storm;
mod suite;
mod traps;

use std::sync::Arc;
use std::time::Duration;

use adapters::Threads;
use adapters::native::{Native, open_on};
use adapters::postgres::PostgresOptions;
use adapters::postgres::native::{Mode, NativeOptions, PostgresSessions};
use databases::{Product, Server};
use participant::Participant;
use participant::conformance::Client;
use participant::engine::Options;

/// Longer than any test takes: waits have to be told apart by looking, not by giving up.
const NEVER: Duration = Duration::from_secs(120);

/// A server of the test's own; `None`, said loudly, where there is none.
fn server() -> Option<Server> {
    // The site finds circles by itself, and who is aborted is for it to say.
    let settings = [("fsync", "off"), ("deadlock_timeout", "10s")];
    Server::for_test(Product::Postgres, &settings)
}

fn options(url: &str, mode: Mode) -> NativeOptions {
    NativeOptions {
        postgres: PostgresOptions {
            sessions: 12,
            ..PostgresOptions::new(url)
        },
        lock_timeout: NEVER,
        ..NativeOptions::new(url, mode)
    }
}

/// One life of a site.
struct Life {
    site: Arc<dyn Participant>,
    backend: Arc<PostgresSessions>,
    threads: Threads,
}

impl Life {
    fn of(name: &'static str, life: u64, options: NativeOptions, host: Options) -> Self {
        let threads = Threads::start().unwrap();
        let backend = threads.wait_for(async move { PostgresSessions::open(name, options).await });
        let backend = Arc::new(backend.unwrap());
        let native: Native<PostgresSessions> = open_on(host, life, &threads, &backend).unwrap();
        Self {
            site: Arc::new(native),
            backend,
            threads,
        }
    }

    /// The first one, with nothing to recover.
    fn begin(url: &str, mode: Mode) -> Self {
        let life = Self::of("site", 1, options(url, mode), Options::default());
        life.site.recovered();
        life
    }

    fn client(&self, number: u64) -> Client {
        Client::begin(&self.site, number)
    }

    /// Ends as a crash does: nothing more is sent, and the server keeps what is prepared.
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
struct Foreign {
    threads: Threads,
    client: Arc<tokio_postgres::Client>,
}

impl Foreign {
    fn to(url: &str) -> Self {
        let threads = Threads::start().unwrap();
        let config: tokio_postgres::Config = url.parse().unwrap();
        let client = threads.wait_for(async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            Arc::new(client)
        });
        Self { threads, client }
    }

    fn run(&self, text: &str) -> Result<(), tokio_postgres::Error> {
        let (client, text) = (Arc::clone(&self.client), text.to_owned());
        self.threads
            .wait_for(async move { client.batch_execute(&text).await })
    }

    /// The only cell of the only row.
    fn number(&self, text: &str) -> i64 {
        let (client, text) = (Arc::clone(&self.client), text.to_owned());
        let row = self
            .threads
            .wait_for(async move { client.query_one(&text, &[]).await });
        row.unwrap().get(0)
    }

    fn prepared(&self) -> i64 {
        self.number("SELECT count(*) FROM pg_prepared_xacts")
    }
}

/// The server's code for an error.
fn code(error: &tokio_postgres::Error) -> &str {
    error.as_db_error().unwrap().code().code()
}
