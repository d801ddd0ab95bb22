//! Schedules S1 to S13 of the theory, each as global and as local transactions.
//!
//! Every engine may delay or abort as it likes, as long as what commits is commitment ordered. An engine
//! that declares its class has to do exactly what the class does.

use super::{Case, demand, names};
use crate::cluster::{Cluster, Played};
use crate::context::Context;
use crate::engine::Engine;
use crate::notation::{Step, parse};
use crate::options::Class;
use crate::outcome::CaseOutcome;
use crate::report::Finding;

/// A schedule and who commits, in order, in each class; whoever is not named aborts.
struct Row {
    id: &'static str,
    title: &'static str,
    schedule: &'static str,
    rigorous: &'static [u64],
    strict_co: &'static [u64],
    optimistic: &'static [u64],
}

const fn row(
    id: &'static str,
    title: &'static str,
    schedule: &'static str,
    [rigorous, strict_co, optimistic]: [&'static [u64]; 3],
) -> Row {
    Row {
        id,
        title,
        schedule,
        rigorous,
        strict_co,
        optimistic,
    }
}

static ROWS: [Row; 13] = [
    row(
        "S1",
        "a write after a read, committed in order",
        "r1(x) w2(x) c1 c2",
        [&[1, 2], &[1, 2], &[1, 2]],
    ),
    row(
        "S2",
        "a read of what is not committed yet",
        "w1(x) r2(x) c1 c2",
        [&[1, 2], &[1, 2], &[1]],
    ),
    row(
        "S3",
        "a write after a read, committed out of order",
        "r1(x) w2(x) c2 c1",
        [&[1, 2], &[1, 2], &[2]],
    ),
    row(
        "S4",
        "a read after a commit that the reader precedes nowhere",
        "r1(x) w2(x) w3(y) c3 r1(y) c1 c2",
        [&[3, 1, 2], &[3, 1, 2], &[3, 1, 2]],
    ),
    row(
        "S5",
        "two transactions that each overwrite what the other read",
        "r1(x) w2(x) r2(y) w1(y) c1 c2",
        [&[1, 2], &[1], &[1]],
    ),
    row(
        "S6",
        "a read of what is then aborted",
        "w1(x) r2(x) c2 a1",
        [&[2], &[2], &[2]],
    ),
    row(
        "S7",
        "a read of what is not committed yet, reader first",
        "w1(x) r2(x) c2 c1",
        [&[1, 2], &[1, 2], &[2, 1]],
    ),
    row(
        "S8",
        "two writers of one item",
        "w1(x) w2(x) c1 c2",
        [&[1, 2], &[1, 2], &[1, 2]],
    ),
    row(
        "S9",
        "an indirect conflict, committed out of order",
        "r1(a) w3(a) w3(b) c3 r2(b) c2 c1",
        [&[2, 1, 3], &[1, 3, 2], &[3, 2]],
    ),
    row(
        "S10",
        "an indirect conflict, the middle committed first",
        "r1(a) w3(a) w3(b) c3 r2(b) c1 c2",
        [&[1, 2, 3], &[1, 3, 2], &[3, 2]],
    ),
    row(
        "S11",
        "two readers, one of which writes",
        "r1(x) r2(x) w1(x) c2 c1",
        [&[2, 1], &[2, 1], &[2, 1]],
    ),
    row(
        "S12",
        "a lost update",
        "r1(x) r2(x) w1(x) w2(x) c1 c2",
        [&[1], &[1], &[1]],
    ),
    row(
        "S13",
        "two increments, as reads and writes",
        "i1(n) i2(n) c2 c1",
        [&[1, 2], &[1, 2], &[2]],
    ),
];

const CLASS_ADVICE: &str = "the engine is not of the class that the options declare: declare another or none, or compare its lock matrix or its validation with the class";

pub(super) fn cases<E: Engine>() -> Vec<Case<E>> {
    let case = |row: &'static Row| Case::new(row.id, row.title, |context| row.run(context));
    ROWS.iter().map(case).collect()
}

impl Row {
    fn run<E: Engine>(&self, context: &Context<E>) -> Result<CaseOutcome, Finding> {
        let global = parse(self.schedule);
        let mut local = global.clone();
        local.iter_mut().for_each(|step| step.local = true);
        let mut outcome = self.play(context, &global)?;
        outcome.join(self.play(context, &local)?);
        Ok(outcome)
    }

    fn play<E: Engine>(
        &self,
        context: &Context<E>,
        schedule: &[Step],
    ) -> Result<CaseOutcome, Finding> {
        let mut cluster = Cluster::open(context, 1)?;
        let played = cluster.play(0, schedule);
        demand(&mut cluster, schedule, &played, 1);
        if let Some(class) = context.options.class {
            self.compare(&mut cluster, &played, class);
        }
        Ok(cluster.finish())
    }

    fn compare<E: Engine>(&self, cluster: &mut Cluster<'_, E>, played: &Played, class: Class) {
        let expected = match class {
            Class::Rigorous => self.rigorous,
            Class::StrictCo => self.strict_co,
            Class::Optimistic => self.optimistic,
        };
        if played.committed != expected {
            cluster.log.find(
                format!(
                    "{}: an engine of class {class:?} commits {}; this one committed {}",
                    self.schedule,
                    names(expected),
                    names(&played.committed)
                ),
                CLASS_ADVICE,
            );
        }
    }
}
