//! What a MariaDB server does with prepared branches, and that the adapter lives with it. One server for all cases; those
//! that begin with `server:` show the server alone, through plain connections, so that a version that behaves otherwise
//! is noticed. `CASES_FROM=name` begins with that case.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: a skipped one says so, and what fails panics"
)]

mod mariadb_server;

use databases::{Product, Server};
use mariadb_server::{Bench, behaviour, branches, guards, lives, settings, users};

/// One thing that is checked.
type Case = (&'static str, fn(&mut Bench));

#[test]
fn mariadb_keeps_what_the_adapter_relies_on_and_the_adapter_survives_the_rest() {
    let settings = [("innodb_flush_log_at_trx_commit", "2")];
    let Some(server) = Server::for_test(Product::MariaDb, &settings) else {
        return;
    };
    let mut bench = Bench::new(server);
    let groups: [&[Case]; 6] = [
        behaviour::CASES,
        branches::CASES,
        guards::CASES,
        users::CASES,
        settings::CASES,
        lives::CASES,
    ];
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    let cases = groups.into_iter().flatten();
    let mut ran = 0;
    for (name, case) in cases.skip_while(|(name, _)| !from.is_empty() && *name != from) {
        eprintln!("{name}");
        case(&mut bench);
        ran += 1;
    }
    assert!(ran > 0, "there is no case `{from}`");
}
