//! One transaction over a PostgreSQL and a MariaDB server, to copy: takes a piece out of a warehouse, whose stock is in
//! MariaDB, and writes down who ordered it, in PostgreSQL. Both happen or neither, and whoever reads both sees both.
//!
//! docs/databases.md starts the servers, the coordinator and the two sites that this needs.
#![allow(
    clippy::multiple_crate_versions,
    reason = "the clients of gRPC bring what they bring"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use coco::client::{Client, ClientError, Retry};

/// The site over PostgreSQL, as `adapter serve --name` has it.
const ORDERS: &str = "orders";
/// The site over MariaDB.
const STOCK: &str = "stock";
/// What the warehouse has at first.
const DELIVERED: i64 = 3;

/// Orders a piece from a warehouse: one transaction over two databases.
#[derive(Parser)]
struct Args {
    /// The coordinator.
    #[arg(long, default_value = "http://127.0.0.1:7000")]
    coordinator: String,
    /// Who orders.
    #[arg(long, default_value = "alice")]
    customer: String,
    /// What is ordered.
    #[arg(long, default_value = "lamp")]
    article: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match order(&Args::parse()).await {
        Ok(said) => {
            let _closed = writeln!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "two-databases: {error}");
            ExitCode::from(2)
        }
    }
}

async fn order(args: &Args) -> Result<String, ClientError> {
    let client = Client::connect(&args.coordinator).await?;
    client
        .wait_for_sites(&[ORDERS, STOCK], Duration::from_secs(10))
        .await?;
    // Aborted, it is done again, and is as old as the first time; so it keeps nothing from a run that failed.
    let work = |mut txn: coco::client::Transaction| async move {
        let left = txn.get(STOCK, &args.article).await?;
        let left = left.map_or(DELIVERED, |bytes| number(&bytes));
        if left > 0 {
            txn.put(STOCK, &args.article, (left - 1).to_string())
                .await?;
            let order = format!("{}/{left}", args.article);
            txn.put(ORDERS, order, &args.customer).await?;
        }
        Ok((txn, left))
    };
    let (left, stamp) = client.retry(Retry::default(), work).await?;
    Ok(if left > 0 {
        let Args {
            customer, article, ..
        } = args;
        format!(
            "{customer} gets {article} {left}, {} left; committed at {stamp}",
            left - 1
        )
    } else {
        format!("no {} is left; read at {stamp}", args.article)
    })
}

/// A number as this program writes it: values are bytes, and mean what their users say.
fn number(bytes: &[u8]) -> i64 {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
