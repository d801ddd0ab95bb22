//! Every history of a universe once, with its futures of one more step.
//!
//! The *last step* of a history is the last step of the highest process whose last event no other event depends on. Every
//! history but the empty one has exactly one, and taking it back gives a history of the universe; so the histories form
//! a tree, and walking it in depth meets each once without remembering any. Memory is a stack and a cache of bounded size.
//!
//! Where renamings are declared, only the least history of each set of renamed copies is shown to the visitor. The
//! others are still walked through, because a least history can be the child of one that is not.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::history::{Event, EventId, History};
use super::specification::{HistoryOf, Specification};
use super::universe::{Action, Answers, Symmetry, Universe};
use crate::hashing::Hashing;

/// How a universe is walked.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Another bound on events than the universe's own.
    pub events: Option<usize>,
    /// How many threads; as many as the machine has cores by default.
    pub threads: usize,
    /// Whether of histories that renamings turn into each other only one is looked at.
    pub symmetry: bool,
    /// Where to count what is done, for who watches.
    pub progress: Option<&'a Progress>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            events: None,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            symmetry: true,
            progress: None,
        }
    }
}

/// What is done so far of a walk, readable from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    histories: AtomicU64,
    parts: AtomicUsize,
    parts_done: AtomicUsize,
}

impl Progress {
    /// Histories that were looked at.
    #[must_use]
    pub fn histories(&self) -> u64 {
        self.histories.load(Ordering::Relaxed)
    }

    /// Of how many parts the walk has, how many are done: `(done, all)`. Parts differ in size.
    #[must_use]
    pub fn parts(&self) -> (usize, usize) {
        let all = self.parts.load(Ordering::Relaxed);
        (self.parts_done.load(Ordering::Relaxed).min(all), all)
    }
}

/// What was looked at: the bound of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Examined {
    /// The most events that a history of the universe has.
    pub events: usize,
    /// All histories of up to so many events were looked at: `events`, or the size of the smallest witness, where the walk
    /// ended. Of larger ones, some may have been.
    pub complete: usize,
    /// How many processes there were.
    pub processes: usize,
    /// Histories that were looked at.
    pub histories: u64,
    /// Histories that these stand for: with those that renamings turn into them.
    pub copies: u64,
    /// Pairs of a history and a future of it that were compared.
    pub futures: u64,
    /// How long it took, in seconds, with how many threads.
    pub seconds: f64,
    /// How many threads looked.
    pub threads: usize,
}

impl Examined {
    /// Histories a second and core.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with three digits"
    )]
    pub fn per_second_and_core(&self) -> f64 {
        self.histories as f64 / (self.seconds * self.threads as f64).max(1e-9)
    }
}

impl std::fmt::Display for Examined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            events,
            complete,
            processes,
            histories,
            copies,
            ..
        } = self;
        if complete < events {
            write!(
                f,
                "{histories} histories of {processes} processes, among them all of up to {complete} events"
            )?;
        } else {
            write!(
                f,
                "all {histories} histories of up to {events} events of {processes} processes"
            )?;
        }
        if copies > histories {
            write!(f, " ({copies} with renamed copies)")?;
        }
        Ok(())
    }
}

/// One more step of a process: an event, or a call with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step<Op, Value> {
    pub(crate) process: usize,
    event: Event<Op, Value>,
    answer: Option<Value>,
}

pub(crate) type StepOf<S> = Step<<S as Specification>::Op, <S as Specification>::Value>;

impl<Op: super::history::Label, Value: super::history::Label> Step<Op, Value> {
    fn events(&self) -> usize {
        1 + usize::from(self.answer.is_some())
    }

    pub(crate) fn apply(&self, history: &mut History<Op, Value>) {
        let to = history.push(self.process, self.event.clone());
        if let Some(value) = self.answer.clone() {
            history.push(self.process, Event::Respond { to, value });
        }
    }

    pub(crate) fn undo(&self, history: &mut History<Op, Value>) {
        for _ in 0..self.events() {
            history.pop(self.process);
        }
    }

    pub(crate) fn is_call_without_answer(&self) -> bool {
        matches!(self.event, Event::Invoke(_)) && self.answer.is_none()
    }

    /// The process that a message leaves for in this step.
    fn sent_to(&self) -> Option<usize> {
        match self.event {
            Event::Send { to } => Some(usize::from(to)),
            Event::Invoke(_)
            | Event::Respond { .. }
            | Event::Internal(_)
            | Event::Receive { .. } => None,
        }
    }

    /// The send whose message arrives in this step.
    pub(crate) fn received(&self) -> Option<EventId> {
        match self.event {
            Event::Receive { from } => Some(from),
            Event::Invoke(_) | Event::Respond { .. } | Event::Internal(_) | Event::Send { .. } => {
                None
            }
        }
    }
}

/// A history, and one with one more step.
pub(crate) struct Future<'a, S: Specification> {
    pub(crate) step: &'a StepOf<S>,
    pub(crate) earlier: &'a HistoryOf<S>,
    pub(crate) before: &'a [S::Outcome],
    pub(crate) history: &'a HistoryOf<S>,
    pub(crate) outcomes: &'a [S::Outcome],
}

/// Who looks at histories.
pub(crate) trait Visitor<S: Specification>: Send {
    /// Whether [`future`](Self::future) is wanted.
    const FUTURES: bool;

    /// A history, once.
    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]);

    /// A history with one more step; every pair once.
    fn future(&mut self, future: &Future<'_, S>);

    /// What others found, who looked at other parts.
    fn join(&mut self, other: Self);

    /// The most events of a history that is still worth looking at. It may fall while others look, and what is found must be no
    /// larger than it is in the end: larger histories are looked at or not, as it happens.
    fn limit(&self) -> usize {
        usize::MAX
    }
}

/// The most views whose answers are remembered by one thread.
const REMEMBERED: usize = 50_000;
/// How many parts there are for each thread at least, if the universe has as many.
const PARTS: usize = 32;
/// After how many histories those who watch are told.
const TOLD_EVERY: u64 = 1024;

/// Walks the whole universe of a specification.
pub(crate) fn explore<S: Specification, V: Visitor<S>>(
    spec: &S,
    options: &Options<'_>,
    visitor: impl FnMut() -> V,
) -> (V, Examined) {
    explore_in(spec, &spec.universe(), options, visitor)
}

/// Walks another universe than the specification's own.
pub(crate) fn explore_in<S: Specification, V: Visitor<S>>(
    spec: &S,
    universe: &Universe<S>,
    options: &Options<'_>,
    mut visitor: impl FnMut() -> V,
) -> (V, Examined) {
    let start = Instant::now();
    let events = options.events.unwrap_or(universe.events);
    let mut first = Explorer::new(spec, universe, events, options, visitor());
    let empty = History::new(universe.processes.len());
    let threads = options.threads.max(1);
    let mut parts = vec![empty];
    // Widens the front until there is enough to share.
    while !parts.is_empty() && parts.len() < PARTS * threads {
        let mut next = Vec::new();
        for part in parts {
            first.enter(part, &mut |_, at, _| next.push(at.history.clone()));
        }
        parts = next;
    }
    if let Some(progress) = options.progress {
        progress.parts.store(parts.len(), Ordering::Relaxed);
        progress.parts_done.store(0, Ordering::Relaxed);
    }
    let next = AtomicUsize::new(0);
    let others: Vec<_> = (1..threads).map(|_| visitor()).collect();
    let mut explorers = vec![first];
    explorers.extend(
        others
            .into_iter()
            .map(|visitor| Explorer::new(spec, universe, events, options, visitor)),
    );
    std::thread::scope(|scope| {
        for explorer in &mut explorers {
            let (next, parts) = (&next, &parts);
            scope.spawn(move || {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    explorer.enter(part.clone(), &mut Explorer::walk);
                    explorer.report();
                    if let Some(progress) = options.progress {
                        progress.parts_done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut all = explorers.into_iter();
    let mut whole = all.next().expect("there is at least one thread");
    for other in all {
        whole.histories += other.histories;
        whole.copies += other.copies;
        whole.futures += other.futures;
        whole.visitor.join(other.visitor);
    }
    let examined = Examined {
        events,
        complete: events.min(whole.visitor.limit()),
        processes: universe.processes.len(),
        histories: whole.histories,
        copies: whole.copies,
        futures: whole.futures,
        seconds: start.elapsed().max(Duration::from_nanos(1)).as_secs_f64(),
        threads,
    };
    (whole.visitor, examined)
}

/// Where a walk is: at a history, of which `later` is a copy that steps are tried on.
struct At<S: Specification> {
    history: HistoryOf<S>,
    later: HistoryOf<S>,
}

/// What to do with a child of a history, and its outcomes if they are known.
type Child<'c, 'a, S, V> =
    dyn FnMut(&mut Explorer<'a, S, V>, &mut At<S>, Option<&[<S as Specification>::Outcome]>) + 'c;

struct Explorer<'a, S: Specification, V> {
    spec: &'a S,
    universe: &'a Universe<S>,
    events: usize,
    symmetry: bool,
    progress: Option<&'a Progress>,
    visitor: V,
    answers: HashMap<HistoryOf<S>, Vec<S::Value>, Hashing>,
    /// What each process can do next. A step of one changes nothing for the others, but that its message can arrive.
    ready: Vec<Vec<StepOf<S>>>,
    histories: u64,
    reported: u64,
    copies: u64,
    futures: u64,
}

impl<'a, S: Specification, V: Visitor<S>> Explorer<'a, S, V> {
    fn new(
        spec: &'a S,
        universe: &'a Universe<S>,
        events: usize,
        options: &Options<'a>,
        visitor: V,
    ) -> Self {
        Self {
            spec,
            universe,
            events,
            symmetry: options.symmetry && !universe.symmetries.is_empty(),
            progress: options.progress,
            visitor,
            answers: HashMap::default(),
            ready: vec![Vec::new(); universe.processes.len()],
            histories: 0,
            reported: 0,
            copies: 0,
            futures: 0,
        }
    }

    fn report(&mut self) {
        if let Some(progress) = self.progress {
            let news = self.histories - self.reported;
            progress.histories.fetch_add(news, Ordering::Relaxed);
            self.reported = self.histories;
        }
    }

    /// Begins at a history.
    fn enter(&mut self, history: HistoryOf<S>, child: &mut Child<'_, 'a, S, V>) {
        for process in 0..history.processes() {
            self.ready[process] = self.steps_of(&history, process);
        }
        let outcomes = self.spec.outcomes(&history);
        let later = history.clone();
        self.visit(&mut At { history, later }, &outcomes, child);
    }

    fn walk(&mut self, at: &mut At<S>, outcomes: Option<&[S::Outcome]>) {
        match outcomes {
            Some(outcomes) => self.visit(at, outcomes, &mut Self::walk),
            None => {
                let outcomes = self.spec.outcomes(&at.history);
                self.visit(at, &outcomes, &mut Self::walk);
            }
        }
    }

    /// Shows a history and its futures, and then each of its children in the tree to `child`.
    fn visit(&mut self, at: &mut At<S>, outcomes: &[S::Outcome], child: &mut Child<'_, 'a, S, V>) {
        let copies = self.copies(&at.history);
        if copies > 0 {
            self.histories += 1;
            self.copies += copies;
            self.visitor.history(&at.history, outcomes);
            if self.histories - self.reported >= TOLD_EVERY {
                self.report();
            }
        }
        let length = at.history.len();
        for process in 0..self.ready.len() {
            // While it steps, what it can do is another matter.
            let steps = std::mem::take(&mut self.ready[process]);
            for step in &steps {
                let room = self.events.min(self.visitor.limit()).saturating_sub(length);
                if step.events() > room {
                    continue;
                }
                step.apply(&mut at.later);
                let later = (V::FUTURES && copies > 0).then(|| self.spec.outcomes(&at.later));
                if let Some(later) = &later {
                    self.futures += 1;
                    self.visitor.future(&Future {
                        step,
                        earlier: &at.history,
                        before: outcomes,
                        history: &at.later,
                        outcomes: later,
                    });
                }
                let unanswered = self.universe.at_once && step.is_call_without_answer();
                if !unanswered && is_last_step(&at.later, process) {
                    step.apply(&mut at.history);
                    if step.events() < room {
                        self.ready[process] = self.steps_of(&at.history, process);
                    }
                    self.below(at, step, later.as_deref(), child);
                    step.undo(&mut at.history);
                }
                step.undo(&mut at.later);
            }
            self.ready[process] = steps;
        }
    }

    /// Shows a child, which came to be by a step, to `child`, with what its processes can do next.
    fn below(
        &mut self,
        at: &mut At<S>,
        step: &StepOf<S>,
        outcomes: Option<&[S::Outcome]>,
        child: &mut Child<'_, 'a, S, V>,
    ) {
        let Some(to) = step.sent_to().filter(|to| *to != step.process) else {
            child(self, at, outcomes);
            return;
        };
        let from = EventId::new(step.process, at.history.process(step.process).len() - 1);
        let arrives = Step {
            process: to,
            event: Event::Receive { from },
            answer: None,
        };
        self.ready[to].push(arrives);
        child(self, at, outcomes);
        self.ready[to].pop();
    }

    /// How many renamed copies a history has, itself included; 0 if it is not the least of them.
    fn copies(&self, history: &HistoryOf<S>) -> u64 {
        if !self.symmetry {
            return 1;
        }
        let smaller = |symmetry: &Symmetry<S>| {
            let order = history.cmp_renamed(&symmetry.places, symmetry.op, symmetry.value);
            order.is_lt()
        };
        if self.universe.symmetries.iter().any(smaller) {
            return 0;
        }
        let mut orbit = vec![history.clone()];
        let mut done = 0;
        while done < orbit.len() {
            for symmetry in &self.universe.symmetries {
                let copy = orbit[done].renamed(&symmetry.places, symmetry.op, symmetry.value);
                if copy < *history {
                    return 0;
                }
                if !orbit.contains(&copy) {
                    orbit.push(copy);
                }
            }
            done += 1;
        }
        orbit.len() as u64
    }

    /// What a process can do next: that depends on what it did and knows, and on the messages that it can get.
    fn steps_of(&mut self, history: &HistoryOf<S>, process: usize) -> Vec<StepOf<S>> {
        let mut steps = Vec::new();
        let mut step = |event, answer| {
            steps.push(Step {
                process,
                event,
                answer,
            })
        };
        let pending = history.pending(process);
        if let Some(to) = pending {
            for value in self.answers(&history.view(process), to) {
                step(Event::Respond { to, value }, None);
            }
        }
        let mut view = None;
        for action in self.universe.processes[process]
            .program
            .next(history.process(process))
        {
            match action {
                Action::Call(_) if pending.is_some() => {}
                Action::Call(op) if self.universe.at_once => {
                    let view = view.get_or_insert_with(|| history.view(process));
                    let to = view.push(process, Event::Invoke(op.clone()));
                    let answers = self.answers(view, to);
                    view.pop(process);
                    if answers.is_empty() && !self.universe.waits {
                        // Nothing may be answered: what is left of the history is the question.
                        step(Event::Invoke(op), None);
                        continue;
                    }
                    for value in answers {
                        step(Event::Invoke(op.clone()), Some(value));
                    }
                }
                Action::Call(op) => step(Event::Invoke(op), None),
                Action::Internal(op) => step(Event::Internal(op), None),
                Action::Send(to) => {
                    let to = EventId::new(to, 0).process;
                    step(Event::Send { to }, None);
                }
            }
        }
        let known = history.known_to(process);
        for (sender, known) in known.iter().enumerate().take(history.processes()) {
            // A message from which the receiver learns nothing changes nothing.
            let sent = history.process(sender).iter().enumerate();
            for (place, event) in sent.skip(usize::from(*known)) {
                if matches!(event, Event::Send { to } if usize::from(*to) == process) {
                    let from = EventId::new(sender, place);
                    step(Event::Receive { from }, None);
                }
            }
        }
        steps
    }

    /// Which answers an invocation may get in a view of the process that it is made at.
    fn answers(&mut self, view: &HistoryOf<S>, invocation: EventId) -> Vec<S::Value> {
        if let Answers::Any(values) = &self.universe.answers {
            return values.clone();
        }
        if let Some(answers) = self.answers.get(view) {
            return answers.clone();
        }
        let outcomes = self.spec.outcomes(view);
        let answer = |outcome: &S::Outcome| self.spec.answer(outcome, view, invocation);
        let mut answers: Vec<S::Value> = outcomes.iter().filter_map(answer).collect();
        answers.sort_unstable();
        answers.dedup();
        if self.answers.len() >= REMEMBERED {
            self.answers.clear();
        }
        self.answers.insert(view.clone(), answers.clone());
        answers
    }
}

/// Whether the last step of a process, on which no other depends, is the last step of a history: whether on the
/// last of every higher process another event depends.
fn is_last_step<Op: super::history::Label, Value: super::history::Label>(
    history: &History<Op, Value>,
    process: usize,
) -> bool {
    (process + 1..history.processes()).all(|higher| {
        let last = history.process(higher).len().checked_sub(1);
        last.is_none_or(|place| history.receipt(EventId::new(higher, place)).is_some())
    })
}
