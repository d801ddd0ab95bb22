//! One site, one process, one log: what a second process, or the same site with another folder, is told, and that nothing
//! of the first is lost by it.

use coco::client::{Client, Commit};
use coco::service::coordinator::CoordinatorServer;
use databases::{Product, Server};
use mysql_async::prelude::Queryable as _;

use crate::system::{Site, adapter, client, coordinator, session};

fn server(product: Product) -> Option<Server> {
    let lazy: &[(&str, &str)] = match product {
        Product::Postgres => &[("fsync", "off")],
        Product::MariaDb => &[],
    };
    Server::for_test(product, lazy)
}

/// What a process for the site is refused with.
fn refused(url: &str, log: &[&str]) -> String {
    let serve = ["serve", "--name", "only", "--schema", "only"];
    let nowhere = ["--coordinator", "http://127.0.0.1:1", "--log-level", "off"];
    let output = adapter(&[&serve[..], &nowhere[..], &["--database", url], log].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

async fn write(client: &Client, value: &str) {
    let mut txn = client.begin().await.unwrap();
    txn.put("only", "key", value).await.unwrap();
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
}

/// Runs a statement in the server itself.
async fn run(product: Product, url: &str, statement: &str) {
    match product {
        Product::Postgres => session(url).await.batch_execute(statement).await.unwrap(),
        Product::MariaDb => {
            let mut session = mysql_async::Conn::from_url(url).await.unwrap();
            session.query_drop(statement).await.unwrap();
            session.disconnect().await.unwrap();
        }
    }
}

async fn value(coordinator: &CoordinatorServer) -> Option<Vec<u8>> {
    let client = client(coordinator, &["only"]).await;
    let mut txn = client.begin().await.unwrap();
    let value = txn.get("only", "key").await.unwrap();
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    value
}

async fn a_site_has_one_process_and_one_log(product: Product) {
    let Some(server) = server(product) else {
        return;
    };
    let url = server.url();
    let engine = match product {
        Product::Postgres => "postgres",
        Product::MariaDb => "mariadb",
    };
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [own, other] = folders.each_ref().map(tempfile::TempDir::path);
    let elsewhere = other.join("only.data");
    let elsewhere = ["--data", elsewhere.to_str().unwrap()];
    let first = coordinator(own).await;
    let mut site = Site::new("only", &url, &first, own, false).in_mode("co", engine);
    site.start();
    let through = client(&first, &["only"]).await;
    write(&through, "first").await;

    let error = refused(&url, &elsewhere);
    let words = "another process serves site `only`";
    assert!(error.contains(words), "{error}");
    let end = match product {
        Product::Postgres => "SELECT pg_terminate_backend(",
        Product::MariaDb => "KILL ",
    };
    let (_, holder) = error.split_once(end).unwrap();
    let holder: String = holder.chars().take_while(char::is_ascii_digit).collect();
    assert!(holder.parse::<u64>().unwrap() > 0, "{error}");
    write(&through, "second").await;
    drop(through);
    site.end();

    for (log, what) in [(&elsewhere[..], "log "), (&["--volatile"], "none")] {
        let error = refused(&url, log);
        let words = "what site `only` has promised is in log ";
        assert!(error.contains(words), "{error}");
        assert!(error.contains(&format!(", and this is {what}")), "{error}");
    }
    site.start();
    assert_eq!(value(&first).await.as_deref(), Some(&b"second"[..]));
    site.kill();
    first.kill();

    // Who gives the log up for lost makes the database forget it, with the statement that the refusal names.
    let error = refused(&url, &elsewhere);
    let (_, statement) = error.split_once("run in the database: ").unwrap();
    run(product, &url, statement.trim_end()).await;
    // The coordinator begins anew as well: it hears of no life that is earlier than one it knows.
    let coordinator = coordinator(own).await;
    let mut heir = Site::new("only", &url, &coordinator, other, false).in_mode("co", engine);
    heir.start();
    assert_eq!(value(&coordinator).await.as_deref(), Some(&b"second"[..]));
    heir.end();
    coordinator.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_over_postgresql_has_one_process_and_one_log() {
    a_site_has_one_process_and_one_log(Product::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_over_mariadb_has_one_process_and_one_log() {
    a_site_has_one_process_and_one_log(Product::MariaDb).await;
}
