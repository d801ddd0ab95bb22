//! All schedules of a workload, and what they tell.
//!
//! The search goes through all steps in depth, and plays a schedule again from the start for each branch but the first.
//! Schedules that differ in the order of commuting steps only lead to the same history, so one of them is enough: each
//! step that was tried at a history sleeps in the branches tried after it until a step follows that does not commute
//! with it (Godefroid's sleep sets). That loses no history, and meets almost none twice;
//! `the_search_meets_every_history_that_trying_all_steps_meets` compares.

use checker::{Case, Doubt, Level, Verdict};

use crate::play::{Play, Step, Then, What};
use crate::proper::{Admitted, Failure};
use crate::variant::Variant;
use crate::workload::Workload;

/// What the schedules of one workload have led to.
pub(crate) struct Explored {
    pub(crate) admitted: Admitted,
    /// For each history, the one before it and the step between, on one schedule that leads to it.
    ways: Vec<(usize, Step)>,
    pub(crate) tally: Tally,
}

/// What there was to see.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    /// Schedules that were played to the end, no two of which differ by commuting steps only.
    pub(crate) schedules: u64,
    /// Of these, those in which all transactions committed that had not given up.
    pub(crate) all_commit: u64,
    /// Of these in turn, those in which two conflicting ones ran at the same time.
    pub(crate) interleaved: u64,
    /// Schedules in which somebody waited or was aborted.
    pub(crate) contested: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.all_commit += other.all_commit;
        self.interleaved += other.interleaved;
        self.contested += other.contested;
    }
}

/// Whether commuting steps are tried in one order only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Search {
    Sleeping,
    EveryStep,
}

struct Explorer<'a> {
    variant: Variant,
    workload: &'a Workload,
    search: Search,
    explored: Explored,
    /// The schedule that is played now.
    path: Vec<Passed>,
}

/// A step that was taken.
#[derive(Clone)]
struct Passed {
    step: Step,
    what: What,
    disturbs: bool,
}

/// A place in the search.
struct Place {
    history: usize,
    sites: Vec<usize>,
    /// How much was told, and the place of these facts.
    told: usize,
    facts: usize,
}

/// Plays all schedules of a workload.
pub(crate) fn explore(variant: Variant, workload: &Workload, search: Search) -> Explored {
    let mut admitted = Admitted::new(workload.sites());
    let play = Play::new(variant, workload);
    let sites = admitted.empty();
    let facts = admitted.place_of(play.facts());
    let history = admitted
        .add(sites.clone(), 0, facts)
        .expect("it is the first");
    let told = play.told();
    let place = Place {
        history,
        sites,
        told,
        facts,
    };
    let explored = Explored {
        admitted,
        ways: vec![(0, Step::Pass)],
        tally: Tally::default(),
    };
    let mut explorer = Explorer {
        variant,
        workload,
        search,
        explored,
        path: Vec::new(),
    };
    explorer.visit(&place, play, Vec::new());
    explorer.explored
}

impl<'a> Explorer<'a> {
    fn visit(&mut self, place: &Place, play: Play<'a>, mut sleeping: Vec<Step>) {
        // What comes after a history without an outcome does not matter any more.
        if !self.explored.admitted.has_outcome(place.history) {
            return;
        }
        let steps = play.possible();
        if steps.is_empty() {
            self.complete(place, play);
            return;
        }
        let mut here = Some(play);
        for step in steps {
            if sleeping.contains(&step) {
                continue;
            }
            let mut play = here.take().unwrap_or_else(|| self.again());
            if let Some(next) = self.take(place, &mut play, step) {
                let still = sleeping.iter().filter(|other| commute(**other, step));
                let still = still.copied().collect();
                self.visit(&next, play, still);
            }
            self.path.pop();
            if self.search == Search::Sleeping {
                sleeping.push(step);
            }
        }
    }

    /// The schedule up to here, from the start.
    fn again(&self) -> Play<'a> {
        let mut play = Play::new(self.variant, self.workload);
        for passed in &self.path {
            let event = play.step(passed.step);
            assert_eq!(
                event.what, passed.what,
                "Y1: the same steps give the same events"
            );
        }
        play
    }

    /// Takes a step and notes the history that it leads to; `None` if that is known.
    fn take(&mut self, place: &Place, play: &mut Play<'a>, step: Step) -> Option<Place> {
        let event = play.step(step);
        self.path.push(Passed {
            step,
            what: event.what,
            disturbs: disturbs(&event.what, &event.then),
        });
        let admitted = &mut self.explored.admitted;
        let mut sites = place.sites.clone();
        match step {
            Step::Act { site, .. }
            | Step::Deliver { site, .. }
            | Step::AbortByHand { site, .. } => {
                sites[site] = admitted.extend(site, sites[site], event);
            }
            Step::Pass => {
                for (site, sequence) in sites.iter_mut().enumerate() {
                    *sequence = admitted.extend(site, *sequence, event.clone());
                }
            }
        }
        let told = play.told();
        let facts = if told == place.told {
            place.facts
        } else {
            admitted.place_of(play.facts())
        };
        let history = admitted.add(sites.clone(), self.path.len(), facts)?;
        self.explored.ways.push((place.history, step));
        Some(Place {
            history,
            sites,
            told,
            facts,
        })
    }

    /// All have ended and nothing is left to happen: the checker judges as well.
    fn complete(&mut self, place: &Place, mut play: Play<'a>) {
        let tally = &mut self.explored.tally;
        let txns = 0..self.workload.programs.len();
        let willing = |txn: &usize| !self.workload.programs[*txn].gives_up;
        let all = txns
            .clone()
            .filter(willing)
            .all(|txn| play.is_committed(txn));
        let steps: Vec<&Step> = self.path.iter().map(|passed| &passed.step).collect();
        let interleaved = txns.clone().any(|one| {
            txns.clone().any(|two| {
                one != two
                    && play.is_committed(one)
                    && play.is_committed(two)
                    && self.workload.conflict(one, two)
                    && overlap(&steps, one, two)
            })
        });
        tally.schedules += 1;
        tally.all_commit += u64::from(all);
        tally.interleaved += u64::from(all && interleaved);
        tally.contested += u64::from(self.path.iter().any(|passed| passed.disturbs));
        let quiet = play.is_quiet();
        let histories = play.histories();
        let case = Case::new(&histories);
        let serializable = is_valid(&case, Level::Serializability);
        let agreed = self.explored.admitted.has_outcome(place.history);
        // Under a trap a site may record what it has forgotten or decided by itself, and others the opposite.
        if self.variant.trap.is_none() {
            assert_eq!(
                serializable, agreed,
                "the checker agrees with the trial of all orders: {}",
                self.workload
            );
            assert!(quiet, "I7: something is left of {}", self.workload);
        }
        if self.variant.is_ordered() {
            let promised = self.variant.promised();
            assert!(is_valid(&case, promised), "{promised:?}: {}", self.workload);
        }
    }
}

impl Explored {
    /// The steps of a schedule that leads to a history.
    pub(crate) fn way(&self, mut history: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while history != 0 {
            let (before, step) = self.ways[history];
            steps.push(step);
            history = before;
        }
        steps.reverse();
        steps
    }

    /// A history with an outcome that a bad one is a future of.
    pub(crate) fn last_good(&self, failure: &Failure) -> usize {
        match failure {
            Failure::TakenBack { earlier, .. } => *earlier,
            // The search ends at a history without an outcome, so what was before it has one.
            Failure::NoOutcome { at } => self.ways[*at].0,
        }
    }
}

/// Whether steps have the same result in both orders (Y3).
fn commute(one: Step, two: Step) -> bool {
    let place = |step| match step {
        Step::Act { txn, site } => Some((txn, site, false)),
        Step::Deliver { txn, site } | Step::AbortByHand { txn, site } => Some((txn, site, true)),
        Step::Pass => None,
    };
    match (place(one), place(two)) {
        (Some((txn, here, message)), Some((other, there, another))) => {
            here != there && (txn != other || (message && another))
        }
        (None, _) | (_, None) => false,
    }
}

/// Whether somebody waits, or is refused or aborted.
fn disturbs(what: &What, then: &[Then]) -> bool {
    let refused = match what {
        What::Waits { .. } | What::Fails { .. } | What::Pass => true,
        What::Prepare { txn } => !then.contains(&Then::Yes { txn: *txn }),
        What::Commits { txn } => !then.contains(&Then::Committed { txn: *txn }),
        What::Read { .. }
        | What::Wrote { .. }
        | What::GivesUp { .. }
        | What::Commit { .. }
        | What::Abort { .. }
        | What::ByHand { .. } => false,
    };
    refused || then.iter().any(|then| matches!(then, Then::No { .. }))
}

/// Whether each of two transactions did something before the other one's last step.
fn overlap(steps: &[&Step], one: usize, two: usize) -> bool {
    let is = |step: &Step, wanted: usize| match step {
        Step::Act { txn, .. } | Step::Deliver { txn, .. } | Step::AbortByHand { txn, .. } => {
            *txn == wanted
        }
        Step::Pass => false,
    };
    let first = |txn| steps.iter().position(|step| is(step, txn));
    let last = |txn| steps.iter().rposition(|step| is(step, txn));
    first(one) < last(two) && first(two) < last(one)
}

/// A history without a commit is in order, though there is nothing to say about it.
fn is_valid(case: &Case<'_>, level: Level) -> bool {
    match case.judge(level).verdict {
        Verdict::Valid { .. } => true,
        Verdict::Invalid { .. } => false,
        Verdict::Unknown { reasons, .. } => {
            assert!(
                reasons
                    .iter()
                    .all(|doubt| matches!(doubt, Doubt::NothingToJudge)),
                "{reasons:?}"
            );
            true
        }
    }
}
