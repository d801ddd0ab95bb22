//! The cases, by group. A case is a name, a sentence, and a function from stores to an outcome.

mod crash;
mod isolation;
mod random;
mod sites;
mod textbook;
mod threads;
mod votes;

use std::sync::Arc;

use crate::cluster::{Cluster, Played};
use crate::context::Context;
use crate::engine::Engine;
use crate::notation::{Act, Step, interleavings, parse};
use crate::outcome::CaseOutcome;
use crate::report::Finding;

pub(crate) type Run<E> = Arc<dyn Fn(&Context<E>) -> Result<CaseOutcome, Finding> + Send + Sync>;

/// One case.
pub(crate) struct Case<E> {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Why it does not apply, if so.
    pub(crate) skip: Option<&'static str>,
    pub(crate) run: Run<E>,
}

impl<E: Engine> Case<E> {
    fn new(
        id: &'static str,
        title: &'static str,
        run: impl Fn(&Context<E>) -> Result<CaseOutcome, Finding> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            title,
            skip: None,
            run: Arc::new(run),
        }
    }
}

/// All cases, cheap ones first.
pub(crate) fn all<E: Engine>(context: &Context<E>) -> Vec<Case<E>> {
    let mut cases = textbook::cases();
    cases.extend(isolation::cases());
    cases.extend(votes::cases());
    cases.extend(sites::cases());
    cases.extend(crash::cases(context.options.durable));
    cases.extend(random::cases());
    cases.extend(threads::cases(context.options.threads));
    cases
}

/// Schedules that are played one after the other on the same stores, each on keys of its own, and judged
/// together.
struct Script {
    id: &'static str,
    title: &'static str,
    sites: usize,
    schedules: &'static [&'static str],
    /// Pairs of transactions, to be mixed in every way.
    mixed: &'static [(&'static str, &'static str)],
    /// How many transactions of each schedule have to commit, at least: an engine that aborts everything
    /// has kept every order.
    least: usize,
}

const PROGRESS_ADVICE: &str = "abort only to break a cycle or to keep the order: of the transactions of a cycle one gives way, and whoever waited for it goes on";

impl Script {
    fn case<E: Engine>(&'static self) -> Case<E> {
        Case::new(self.id, self.title, |context| self.run(context))
    }

    fn run<E: Engine>(&self, context: &Context<E>) -> Result<CaseOutcome, Finding> {
        let mut cluster = Cluster::open(context, self.sites)?;
        for (round, schedule) in self.all_schedules().iter().enumerate() {
            let played = cluster.play(round, schedule);
            demand(&mut cluster, schedule, &played, self.least);
        }
        Ok(cluster.finish())
    }

    fn all_schedules(&self) -> Vec<Vec<Step>> {
        let mut all: Vec<_> = self.schedules.iter().map(|text| parse(text)).collect();
        for (one, other) in self.mixed {
            all.extend(interleavings(&[&parse(one), &parse(other)]));
        }
        all
    }
}

/// Enough of those that asked for it have committed.
fn demand<E: Engine>(
    cluster: &mut Cluster<'_, E>,
    schedule: &[Step],
    played: &Played,
    least: usize,
) {
    let asked = schedule.iter().filter(|step| step.act == Act::Commit);
    let asked = asked.count();
    if played.committed.len() < least {
        cluster.log.find(
            format!(
                "only {} of {asked} transactions committed, and {least} could have: {} aborted",
                played.committed.len(),
                names(&played.aborted)
            ),
            PROGRESS_ADVICE,
        );
    }
}

fn names(numbers: &[u64]) -> String {
    let names: Vec<String> = numbers.iter().map(|number| format!("T{number}")).collect();
    names.join(", ")
}
