//! What the cases share.

pub(crate) mod behaviour;
pub(crate) mod branches;
pub(crate) mod guards;
pub(crate) mod lives;
pub(crate) mod proxy;
pub(crate) mod settings;
pub(crate) mod users;

use std::future::Future;
use std::time::Duration;

use adapters::mariadb::{MariaDb, MariaDbOptions};
use adapters::{Backend, BranchName, Ending};
use co_core::Gtid;
use databases::Server;
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Error};
use participant::{Change, Key, KeyRange, Value};
use tokio::runtime::Runtime;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the server is asked whether something has happened there: it tells nobody.
const LOOK: Duration = Duration::from_millis(5);

/// The server, and a runtime.
pub(crate) struct Bench {
    pub(crate) server: Server,
    runtime: Runtime,
    schemas: u32,
}

impl Bench {
    pub(crate) fn new(server: Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            server,
            runtime,
            schemas: 0,
        }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let work = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(work).expect("it takes too long")
    }

    /// Options for a table and a site of their own.
    pub(crate) fn options(&mut self) -> MariaDbOptions {
        self.schemas += 1;
        MariaDbOptions {
            schema: format!("db{}", self.schemas),
            sessions: 4,
            lazy_flush: true,
            ..MariaDbOptions::new(&self.server.url())
        }
    }

    /// An adapter with a table of its own.
    pub(crate) fn adapter(&mut self) -> (MariaDb, MariaDbOptions) {
        let options = self.options();
        let opened = self.run(MariaDb::open(&options.schema, options.clone()));
        (opened.unwrap(), options)
    }

    /// A plain connection.
    pub(crate) fn connect(&self) -> Conn {
        self.run(Conn::from_url(self.server.url())).unwrap()
    }

    /// The end of a power loss.
    pub(crate) fn kill_and_start(&mut self) {
        self.server.kill();
        self.server.start().unwrap();
    }

    /// Runs statements; the error is the server's code.
    pub(crate) fn exec(&self, conn: &mut Conn, sql: &str) -> Result<(), u16> {
        self.run(exec(conn, sql))
    }

    pub(crate) fn rows<T: FromRow + Send + 'static>(&self, conn: &mut Conn, sql: &str) -> Vec<T> {
        self.run(conn.query(sql)).unwrap()
    }

    /// The value of a key as anybody sees it.
    pub(crate) fn value(&self, options: &MariaDbOptions, key: &str) -> Option<String> {
        let mut conn = self.connect();
        let sql = format!(
            "SELECT `value` FROM `{}`.`{}` WHERE `key` = '{key}'",
            options.schema, options.table
        );
        self.rows(&mut conn, &sql).pop()
    }

    /// How many branches are prepared in the server, whoever made them.
    pub(crate) fn prepared(&self) -> usize {
        let mut conn = self.connect();
        let rows: Vec<mysql_async::Row> = self.rows(&mut conn, "XA RECOVER");
        rows.len()
    }

    /// The threads of the server but those of this connection.
    pub(crate) fn threads(&self, conn: &mut Conn) -> Vec<u64> {
        self.rows(
            conn,
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root'",
        )
    }

    /// Ends all threads of the server, and waits until they are gone.
    pub(crate) fn kill_threads(&self) {
        let mut conn = self.connect();
        loop {
            let threads = self.threads(&mut conn);
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                let _gone = self.exec(&mut conn, &format!("KILL {thread}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Repeats what the engine above the adapter would: until it is done.
    pub(crate) fn until_done<T, F, E>(&self, mut work: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, E>>,
    {
        self.run(async {
            loop {
                if let Ok(done) = work().await {
                    return done;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Waits until a condition holds.
    pub(crate) fn wait_until(&self, mut holds: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "it takes too long");
            std::thread::sleep(LOOK);
        }
    }
}

pub(crate) async fn exec(conn: &mut Conn, sql: &str) -> Result<(), u16> {
    match conn.query_drop(sql).await {
        Ok(()) => Ok(()),
        Err(Error::Server(error)) => Err(error.code),
        Err(other) => panic!("{sql}: {other}"),
    }
}

pub(crate) fn key(text: &str) -> Key {
    text.as_bytes().into()
}

pub(crate) fn value(text: &str) -> Value {
    text.as_bytes().into()
}

pub(crate) fn put(name: &str, content: &str) -> Change {
    Change::Put(key(name), value(content))
}

pub(crate) fn delete(name: &str) -> Change {
    Change::Delete(key(name))
}

pub(crate) fn global(number: u64) -> BranchName {
    BranchName::Global(Gtid(number))
}

pub(crate) fn all() -> KeyRange {
    KeyRange {
        low: vec![0].into(),
        high: None,
    }
}

/// Commits one branch.
pub(crate) async fn commit(adapter: &MariaDb, number: u64, changes: &[Change]) {
    adapter.prepare(global(number), changes).await.unwrap();
    let ending = adapter.commit(global(number)).await.unwrap();
    assert_eq!(ending, Ending::Now);
}
