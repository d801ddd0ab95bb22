//! Every history of a universe, for who wants to look at them.

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::specification::{HistoryOf, Specification};

/// Shows every history of a specification's universe once, in no particular order: one of each set of renamed
/// copies, unless [`Options::symmetry`] is off.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use checker::spec::{Ack, EventId, History, Options, Program, Specification, Universe, each_history};
///
/// struct TwoWrites;
///
/// impl Specification for TwoWrites {
///     type Op = u8;
///     type Value = Ack;
///     type Outcome = ();
///     fn universe(&self) -> Universe<Self> {
///         Universe::new(4).process("p", Program::script(&[1])).process("q", Program::script(&[2]))
///     }
///     fn outcomes(&self, _: &History<u8, Ack>) -> Vec<()> { vec![()] }
///     fn refines(&self, _: &(), _: &()) -> bool { true }
///     fn answer(&self, _: &(), _: &History<u8, Ack>, _: EventId) -> Option<Ack> { Some(Ack) }
/// }
///
/// let seen = AtomicUsize::new(0);
/// each_history(&TwoWrites, &Options::default(), |_| { seen.fetch_add(1, Ordering::Relaxed); });
/// assert_eq!(seen.into_inner(), 4); // nothing, one write or the other, both
/// ```
pub fn each_history<S: Specification>(
    spec: &S,
    options: &Options<'_>,
    show: impl Fn(&HistoryOf<S>) + Sync,
) -> Examined {
    explore(spec, options, || Each(&show)).1
}

struct Each<'a, F>(&'a F);

impl<S: Specification, F: Fn(&HistoryOf<S>) + Sync> Visitor<S> for Each<'_, F> {
    const FUTURES: bool = false;

    fn history(&mut self, history: &HistoryOf<S>, _: &[S::Outcome]) {
        (self.0)(history);
    }

    fn future(&mut self, _: &Future<'_, S>) {}

    fn join(&mut self, _: Self) {}
}
