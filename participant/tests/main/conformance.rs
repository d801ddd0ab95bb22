//! Every engine passes the suite, and every history it leaves is commitment ordered.

use std::sync::Arc;

use checker::Level;
use participant::conformance::{Subject, Suite};
use participant::engine::{Engine, Host, Mvcc, Optimistic, Options, Ss2pl};

use crate::judge::assert_valid;

fn check<E: Engine>(open: impl Fn(Options) -> Host<E>) {
    let suite = Suite::new(
        |rule, recorder| {
            let site = Arc::new(open(Options {
                rule,
                recorder,
                ..Options::default()
            }));
            let seen = Arc::clone(&site);
            Subject::new(site).with_idle(move || seen.is_idle())
        },
        |case, history| assert_valid(case, history, Level::CommitmentOrdering),
    );
    for (name, case) in Suite::cases() {
        println!("{name}");
        case(&suite);
    }
}

#[test]
fn ss2pl_conforms() {
    check(Ss2pl::new);
}

#[test]
fn sco_conforms() {
    check(Ss2pl::strict_commit_order);
}

#[test]
fn optimistic_conforms() {
    check(Optimistic::new);
}

#[test]
fn mvcc_conforms() {
    check(Mvcc::new);
}
