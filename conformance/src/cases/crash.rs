//! Crashes: the store is dropped as it is and opened again at the same place.
//!
//! What had voted YES is in doubt again, with its writes and with everything it has read (G9); what had
//! not is gone; what was decided stays decided.
//!
//! A drop is not a power cut: what the operating system holds survives it, so whether the store syncs
//! before YES is not seen here.

use co_core::Outcome;

use super::Case;
use crate::cluster::Cluster;
use crate::context::Context;
use crate::engine::Engine;
use crate::notation::Operation;
use crate::outcome::CaseOutcome;
use crate::report::Finding;

const MARKS_ADVICE: &str = "keep read marks and range marks in the record that is forced before YES, and restore them as locks or marks before new work begins (contract 5, 8)";

pub(super) fn cases<E: Engine>(durable: bool) -> Vec<Case<E>> {
    let mut cases = vec![
        Case::new(
            "crash-writes",
            "prepared writes survive, and the decision lands",
            |context| both(context, writes),
        ),
        Case::new(
            "crash-reads",
            "read marks survive: who overwrites what is read in doubt waits for the decision (G9)",
            |context| both(context, |cluster, end| overtake(cluster, &read("x"), end)),
        ),
        Case::new(
            "crash-ranges",
            "range marks survive: who inserts into a range read in doubt waits for the decision",
            |context| both(context, |cluster, end| overtake(cluster, &scan(), end)),
        ),
        Case::new(
            "crash-read-only",
            "a YES of a transaction that only read here survives",
            |context| both(context, read_only),
        ),
        Case::new(
            "crash-active",
            "what had not voted is gone, what had committed is there",
            active,
        ),
        Case::new(
            "crash-decided",
            "what was decided is not in doubt again",
            decided,
        ),
        Case::new(
            "crash-twice",
            "what is in doubt survives a second crash",
            |context| both(context, twice),
        ),
        Case::new(
            "crash-many",
            "several in doubt survive together and are decided one by one",
            many,
        ),
    ];
    if !durable {
        for case in &mut cases {
            case.skip = Some("the store does not keep its contents");
        }
    }
    cases
}

fn key(name: &str) -> Vec<u8> {
    name.as_bytes().to_vec()
}

fn read(name: &str) -> Operation {
    Operation::Read(key(name))
}

fn write(name: &str) -> Operation {
    Operation::Write(key(name))
}

fn scan() -> Operation {
    Operation::Scan(key("w"), Some(key("z")))
}

/// A case once with a commit and once with an abort as the decision. T1 is decided in it.
fn both<E: Engine>(
    context: &Context<E>,
    run: impl Fn(&mut Cluster<'_, E>, Outcome) -> Result<(), Finding>,
) -> Result<CaseOutcome, Finding> {
    let mut joined = None;
    for end in [Outcome::Commit, Outcome::Abort] {
        let mut cluster = Cluster::open(context, 2)?;
        (0..10).for_each(|number| cluster.introduce(number, false));
        cluster.operate(0, 0, &write("old"));
        cluster.commit(0);
        run(&mut cluster, end)?;
        let outcome = cluster.finish();
        match &mut joined {
            None => joined = Some(outcome),
            Some(joined) => joined.join(outcome),
        }
    }
    Ok(joined.expect("the loop above runs twice"))
}

fn end<E: Engine>(cluster: &mut Cluster<'_, E>, number: u64, outcome: Outcome) {
    match outcome {
        Outcome::Commit => cluster.commit(number),
        Outcome::Abort => cluster.abort(number),
    }
}

/// T1 at both sites, voted at both.
fn prepare<E: Engine>(cluster: &mut Cluster<'_, E>, operations: &[Operation]) {
    for operation in operations {
        cluster.operate(1, 0, operation);
    }
    cluster.operate(1, 1, &write("elsewhere"));
    cluster.ask_all(1);
}

fn writes<E: Engine>(cluster: &mut Cluster<'_, E>, outcome: Outcome) -> Result<(), Finding> {
    let delete = Operation::Delete(key("old"));
    prepare(cluster, &[write("x"), write("y"), delete]);
    cluster.crash(0)?;
    // A reader of the prepared write waits, or sees what was before and is ordered before it.
    cluster.operate(2, 0, &read("x"));
    cluster.commit(2);
    end(cluster, 1, outcome);
    for (number, name) in (3..).zip(["x", "y", "old"]) {
        cluster.operate(number, 0, &read(name));
        cluster.commit(number);
    }
    Ok(())
}

fn overtake<E: Engine>(
    cluster: &mut Cluster<'_, E>,
    footprint: &Operation,
    outcome: Outcome,
) -> Result<(), Finding> {
    prepare(cluster, &[footprint.clone(), write("other")]);
    cluster.crash(0)?;
    later_writer(cluster, outcome);
    Ok(())
}

fn read_only<E: Engine>(cluster: &mut Cluster<'_, E>, outcome: Outcome) -> Result<(), Finding> {
    prepare(cluster, &[read("x"), scan()]);
    cluster.crash(0)?;
    later_writer(cluster, outcome);
    Ok(())
}

/// T2 writes what T1, in doubt, has read: its vote comes after T1's decision, and comes then.
fn later_writer<E: Engine>(cluster: &mut Cluster<'_, E>, outcome: Outcome) {
    cluster.operate(2, 0, &write("x"));
    if cluster.outcome(2).is_none() {
        cluster.commit(2);
    }
    let early = cluster.outcome(2) == Some(Outcome::Commit);
    let what = "T1 is in doubt and has read x; T2 has overwritten x and committed";
    cluster.log.check(!early, what, MARKS_ADVICE);
    let waited = cluster.waits(2);
    end(cluster, 1, outcome);
    let stuck = waited && cluster.outcome(2) != Some(Outcome::Commit);
    let what =
        "T2 waited for T1, which was in doubt over a crash; T1 is decided and T2 has not committed";
    cluster.log.check(!stuck, what, MARKS_ADVICE);
    cluster.operate(3, 0, &read("x"));
    cluster.operate(3, 0, &read("other"));
    cluster.commit(3);
}

fn twice<E: Engine>(cluster: &mut Cluster<'_, E>, outcome: Outcome) -> Result<(), Finding> {
    prepare(cluster, &[read("x"), write("y")]);
    cluster.crash(0)?;
    cluster.crash(0)?;
    cluster.crash(1)?;
    later_writer(cluster, outcome);
    cluster.crash(0)?;
    cluster.operate(4, 0, &read("y"));
    cluster.operate(4, 1, &read("elsewhere"));
    cluster.commit(4);
    Ok(())
}

fn active<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = Cluster::open(context, 2)?;
    (0..10).for_each(|number| cluster.introduce(number, number == 3));
    cluster.operate(0, 0, &write("x"));
    cluster.commit(0);
    // T1 works, T2 waits or is withheld, T3 is local: none of them has promised anything.
    cluster.operate(1, 0, &read("x"));
    cluster.operate(1, 0, &write("y"));
    cluster.operate(1, 1, &write("y"));
    cluster.operate(2, 0, &write("x"));
    if !cluster.waits(2) && cluster.outcome(2).is_none() {
        cluster.operate(2, 0, &write("z"));
    }
    cluster.operate(3, 0, &write("local"));
    cluster.crash(0)?;
    let gone = (1..=3).all(|number| cluster.outcome(number) == Some(Outcome::Abort));
    let what = "a transaction that had not voted outlived the crash";
    cluster.log.check(gone, what, MARKS_ADVICE);
    for (number, name) in (4..).zip(["x", "y", "z", "local"]) {
        cluster.operate(number, 0, &read(name));
        cluster.commit(number);
    }
    cluster.operate(8, 0, &Operation::Scan(Vec::new(), None));
    cluster.commit(8);
    Ok(cluster.finish())
}

fn decided<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = Cluster::open(context, 2)?;
    (0..10).for_each(|number| cluster.introduce(number, number == 3));
    for (number, outcome) in [(1, Outcome::Commit), (2, Outcome::Abort)] {
        cluster.operate(number, 0, &read("r"));
        cluster.operate(number, 0, &write("x"));
        cluster.operate(number, 1, &write("x"));
        cluster.ask_all(number);
        end(&mut cluster, number, outcome);
    }
    cluster.operate(3, 0, &write("local"));
    cluster.commit(3);
    // `crash` compares what is in doubt with what is still undecided, which is nothing.
    cluster.crash(0)?;
    cluster.operate(4, 0, &Operation::Scan(Vec::new(), None));
    cluster.operate(4, 0, &write("r"));
    cluster.commit(4);
    let free = cluster.outcome(4) == Some(Outcome::Commit);
    let what = "all is decided, and after the crash a transaction still waits or aborts";
    cluster.log.check(free, what, MARKS_ADVICE);
    Ok(cluster.finish())
}

fn many<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = Cluster::open(context, 2)?;
    (0..20).for_each(|number| cluster.introduce(number, false));
    for number in 1..=6 {
        cluster.operate(number, 0, &read("shared"));
        cluster.operate(number, 0, &write(&format!("own-{number}")));
        cluster.operate(number, 1, &write(&format!("own-{number}")));
        cluster.ask_all(number);
    }
    cluster.crash(0)?;
    cluster.operate(10, 0, &write("shared"));
    if cluster.outcome(10).is_none() {
        cluster.commit(10);
    }
    for number in [4, 1, 6, 3, 2, 5] {
        let early = cluster.outcome(10) == Some(Outcome::Commit);
        let what = "T10 overwrites what six in doubt have read, and commits before all are decided";
        cluster.log.check(!early, what, MARKS_ADVICE);
        let outcome = if number % 2 == 0 {
            Outcome::Commit
        } else {
            Outcome::Abort
        };
        end(&mut cluster, number, outcome);
        if number == 6 {
            cluster.crash(1)?;
        }
    }
    cluster.operate(11, 0, &Operation::Scan(Vec::new(), None));
    cluster.commit(11);
    Ok(cluster.finish())
}
