//! A decision that the server refuses to carry out: the operator hears what it said and what to do, and it is done as soon
//! as it can be.
#![allow(
    clippy::unwrap_used,
    reason = "tests: what fails panics, and a skipped one says so"
)]

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use adapters::{Mode, SiteOptions, open_site};
use co_core::{Gtid, Priority};
use databases::{Product, Server};
use participant::conformance::block_on;
use participant::{Ballot, Begin, Decision, Operation, TxnName};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

const PATIENCE: Duration = Duration::from_secs(20);
const NAME: TxnName = TxnName::Global(Gtid(1));

/// What this process has logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn errors(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("ERROR"));
        lines.map(str::to_owned).collect()
    }
}

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move {
        let _the_server_may_end = connection.await;
    });
    client
}

/// The branch of a transaction that has voted is replaced by somebody else's of the same name.
fn refuses_the_commit(mode: Mode, logged: &Logged) {
    let Some(server) = Server::for_test(Product::Postgres, &[("fsync", "off")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let root = runtime.block_on(session(&server.url()));
    for statement in [
        "CREATE ROLE clerk LOGIN",
        "CREATE DATABASE shop OWNER clerk",
    ] {
        runtime.block_on(root.batch_execute(statement)).unwrap();
    }
    let place = server.url();
    let place = place
        .split_once('@')
        .unwrap()
        .1
        .replace("/postgres", "/shop");
    let url = format!("postgres://clerk@{place}");
    let options = SiteOptions {
        mode,
        ..SiteOptions::new("site", &url)
    };
    let site = open_site(options).unwrap();
    let priority = Priority(1);
    let name = NAME;
    site.begin(Begin { name, priority }).unwrap();
    let put = Operation::Put(b"a".as_slice().into(), b"1".as_slice().into());
    block_on(site.execute(NAME, &put)).unwrap();
    let (tell, told) = mpsc::channel();
    let on_ballot = Box::new(move |ballot| tell.send(ballot).unwrap_or_default());
    site.prepare(NAME, on_ballot);
    let Ballot::Yes { stamp, .. } = told.recv().unwrap() else {
        panic!("nobody is in its way");
    };
    let root = runtime.block_on(session(&format!("postgres://postgres@{place}")));
    for statement in [
        "ROLLBACK PREPARED 'co:site:g1'",
        "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'co:site:g1'",
    ] {
        runtime.block_on(root.batch_execute(statement)).unwrap();
    }
    let before = logged.errors().len();
    site.decide(NAME, Decision::Commit(stamp)).unwrap();
    let end = Instant::now() + PATIENCE;
    while logged.errors().len() == before {
        assert!(Instant::now() < end, "{mode}: nobody is told");
        // Nothing tells when something is logged.
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = logged.errors().pop().unwrap();
    for part in [
        "PostgreSQL at 127.0.0.1",
        "permission denied to finish prepared transaction",
        "42501",
        "run `COMMIT PREPARED 'co:site:g1'`",
    ] {
        assert!(error.contains(part), "{mode}: {part} in {error}");
    }
    // It is asked again until somebody has seen to it, and he is told once.
    runtime
        .block_on(root.batch_execute("COMMIT PREPARED 'co:site:g1'"))
        .unwrap();
    site.quiesce();
    assert_eq!(logged.errors().len(), before + 1, "{:?}", logged.errors());
}

#[test]
fn a_commit_that_the_server_refuses_is_complained_about_and_done_when_it_can_be() {
    let logged = Logged::default();
    let writer = logged.clone();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(log.finish()).unwrap();
    refuses_the_commit(Mode::Co, &logged);
    refuses_the_commit(Mode::Lock, &logged);
}
