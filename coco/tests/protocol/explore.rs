//! Every interleaving, within bounds, of the real coordinator, two real voters, their logs and links:
//! releases and refusals of votes, records becoming durable one by one, lost, repeated and late
//! messages, lost links, timers, crashes with any prefix of the unsynced records on the disk, failing
//! logs.
//!
//! In every state the rules of [`world`](crate::world) hold, and the healed world comes to rest: links up, disks
//! working, timers running, everybody learns the same end. The numbers of states are pinned: a change
//! of the protocol shows in them. That the rules can fail at all is shown by worlds that lie.
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;

use co_core::Gtid;
use coco::protocol::{AbortCause, CommitAnswer, Durability, Time, ToCoordinator, ToParticipant};

use crate::world::{Lie, Site, Work, World, coordinator_config};

/// How often each misfortune may happen on one path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Budget {
    losses: u8,
    /// Messages that arrive once more, at any later time, over whatever link there is then.
    repeats: u8,
    cuts: u8,
    crashes: u8,
    ticks: u8,
    log_failures: u8,
    refusals: u8,
    rollbacks: u8,
    /// Decisions by hand, at site A.
    hands: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Deliver { site: usize, up: bool },
    Lose { site: usize, up: bool },
    KeepForRepeat { site: usize, up: bool },
    Repeat,
    Release { site: usize },
    Refuse { site: usize },
    SyncSite { site: usize },
    SyncCoordinator,
    Cut { site: usize },
    Connect { site: usize },
    CrashSite { site: usize, survivors: usize },
    StartSite { site: usize },
    CrashCoordinator { survivors: usize },
    StartCoordinator,
    TickSite { site: usize },
    TickCoordinator,
    FailSiteLog { site: usize },
    FailCoordinatorLog,
    Rollback,
    DecideByHand { commit: bool },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Kept {
    Nothing,
    Up(usize, ToCoordinator),
    Down(usize, ToParticipant),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    world: World,
    budget: Budget,
    kept: Kept,
}

/// The transaction works at its sites and its client asks for commit.
fn start(sites: &[Durability], budget: Budget, lie: Lie) -> (State, Gtid) {
    let mut world = World::new(coordinator_config(), lie);
    for (site, &durability) in sites.iter().enumerate() {
        world.add_site(["A", "B"][site], durability);
        world.connect(site);
    }
    world.deliver_all();
    let gtid = world.begin(None);
    let all: Vec<usize> = (0..sites.len()).collect();
    for site in &mut world.sites {
        site.work.insert(gtid, Work::Working);
    }
    world.commit(1, gtid, &all, false);
    (
        State {
            world,
            budget,
            kept: Kept::Nothing,
        },
        gtid,
    )
}

impl State {
    fn steps(&self, gtid: Gtid) -> Vec<Step> {
        let (world, budget) = (&self.world, self.budget);
        let runs = world.coordinator.is_some();
        let mut offers = Vec::new();
        for (index, site) in world.sites.iter().enumerate() {
            self.offer_link(index, site, runs, &mut offers);
            self.offer_site(index, site, gtid, &mut offers);
        }
        offers.push((self.kept != Kept::Nothing, Step::Repeat));
        let pending = world.log.pending.len();
        let writes = pending > 0 && !world.log.failed;
        offers.push((writes, Step::SyncCoordinator));
        offers.push((writes && budget.log_failures > 0, Step::FailCoordinatorLog));
        for survivors in 0..=pending {
            let crash = Step::CrashCoordinator { survivors };
            offers.push((runs && budget.crashes > 0, crash));
        }
        offers.push((!runs, Step::StartCoordinator));
        let coordinator = world.coordinator.as_ref();
        let timer = coordinator.is_some_and(|it| it.next_deadline().is_some());
        offers.push((timer && budget.ticks > 0, Step::TickCoordinator));
        offers.push((runs && budget.rollbacks > 0, Step::Rollback));
        let voter = world.sites[0].voter.as_ref();
        let in_doubt = voter.is_some_and(|it| it.in_doubt().next().is_some());
        let hand = in_doubt && !world.sites[0].log.failed && budget.hands > 0;
        offers.push((hand, Step::DecideByHand { commit: true }));
        offers.push((hand, Step::DecideByHand { commit: false }));
        let possible = offers.into_iter().filter(|(possible, _)| *possible);
        possible.map(|(_, step)| step).collect()
    }

    fn offer_link(&self, index: usize, at: &Site, runs: bool, offers: &mut Vec<(bool, Step)>) {
        let budget = self.budget;
        let empty = [
            (true, at.to_coordinator.is_empty()),
            (false, at.to_site.is_empty()),
        ];
        for (up, empty) in empty {
            let site = index;
            offers.push((!empty, Step::Deliver { site, up }));
            // A link whose hello is lost is not up: that is a cut.
            let first = at.to_coordinator.front();
            let hello = up && matches!(first, Some(ToCoordinator::Hello { .. }));
            let lose = !empty && !hello && budget.losses > 0;
            offers.push((lose, Step::Lose { site, up }));
            let keep = !empty && budget.repeats > 0 && self.kept == Kept::Nothing;
            offers.push((keep, Step::KeepForRepeat { site, up }));
        }
        let cut = at.linked && budget.cuts > 0;
        offers.push((cut, Step::Cut { site: index }));
        let can_link = runs && at.voter.is_some() && !at.linked;
        offers.push((can_link, Step::Connect { site: index }));
    }

    fn offer_site(&self, site: usize, at: &Site, gtid: Gtid, offers: &mut Vec<(bool, Step)>) {
        let budget = self.budget;
        let runs = at.voter.is_some();
        let asked = runs && at.work.get(&gtid) == Some(&Work::Asked);
        offers.push((asked, Step::Release { site }));
        offers.push((asked && budget.refusals > 0, Step::Refuse { site }));
        let pending = at.log.pending.len();
        let writes = pending > 0 && !at.log.failed;
        offers.push((writes, Step::SyncSite { site }));
        offers.push((
            writes && budget.log_failures > 0,
            Step::FailSiteLog { site },
        ));
        for survivors in 0..=pending {
            let crash = Step::CrashSite { site, survivors };
            offers.push((runs && budget.crashes > 0, crash));
        }
        offers.push((!runs, Step::StartSite { site }));
        let timer = at
            .voter
            .as_ref()
            .is_some_and(|it| it.next_deadline().is_some());
        offers.push((timer && budget.ticks > 0, Step::TickSite { site }));
    }

    /// Takes from the budget what the step costs.
    fn pay(&mut self, step: Step) {
        let budget = &mut self.budget;
        let account = match step {
            Step::Lose { .. } => &mut budget.losses,
            Step::KeepForRepeat { .. } => &mut budget.repeats,
            Step::Refuse { .. } => &mut budget.refusals,
            Step::Cut { .. } => &mut budget.cuts,
            Step::CrashSite { .. } | Step::CrashCoordinator { .. } => &mut budget.crashes,
            Step::TickSite { .. } | Step::TickCoordinator => &mut budget.ticks,
            Step::FailSiteLog { .. } | Step::FailCoordinatorLog => &mut budget.log_failures,
            Step::Rollback => &mut budget.rollbacks,
            Step::DecideByHand { .. } => &mut budget.hands,
            Step::Deliver { .. }
            | Step::Repeat
            | Step::Release { .. }
            | Step::SyncSite { .. }
            | Step::SyncCoordinator
            | Step::Connect { .. }
            | Step::StartSite { .. }
            | Step::StartCoordinator => return,
        };
        *account -= 1;
    }

    fn take(&mut self, step: Step, gtid: Gtid) {
        self.pay(step);
        let world = &mut self.world;
        match step {
            Step::Deliver { site, up: true } => world.deliver_to_coordinator(site),
            Step::Deliver { site, up: false } => world.deliver_to_site(site),
            Step::Lose { site, up: true } => drop(world.sites[site].to_coordinator.pop_front()),
            Step::Lose { site, up: false } => drop(world.sites[site].to_site.pop_front()),
            Step::KeepForRepeat { site, up: true } => {
                self.kept = Kept::Up(site, world.sites[site].to_coordinator[0].clone());
            }
            Step::KeepForRepeat { site, up: false } => {
                self.kept = Kept::Down(site, world.sites[site].to_site[0].clone());
            }
            Step::Repeat => match std::mem::replace(&mut self.kept, Kept::Nothing) {
                Kept::Up(site, message) => world.arrive_at_coordinator(site, message),
                Kept::Down(site, message) => world.arrive_at_site(site, message),
                Kept::Nothing => unreachable!("offered only if something is kept"),
            },
            Step::Release { site } => world.release(site, gtid, Ok(false)),
            Step::Refuse { site } => world.release(site, gtid, Err(AbortCause::WriteConflict)),
            Step::SyncSite { site } => world.sync_site(site),
            Step::SyncCoordinator => world.sync_coordinator(),
            Step::Cut { site } => world.cut(site),
            Step::Connect { site } => world.connect(site),
            Step::CrashSite { site, survivors } => world.crash_site(site, survivors),
            Step::StartSite { site } => world.start_site(site),
            Step::CrashCoordinator { survivors } => world.crash_coordinator(survivors),
            Step::StartCoordinator => world.start_coordinator(),
            Step::TickSite { site } => {
                let voter = world.sites[site].voter.as_ref();
                advance(&mut world.now, voter.and_then(|it| it.next_deadline()));
                world.tick_site(site);
            }
            Step::TickCoordinator => {
                let coordinator = world.coordinator.as_ref();
                advance(
                    &mut world.now,
                    coordinator.and_then(|it| it.next_deadline()),
                );
                world.tick_coordinator();
            }
            Step::FailSiteLog { site } => world.fail_site_log(site),
            Step::FailCoordinatorLog => world.fail_coordinator_log(),
            Step::Rollback => {
                let all: Vec<usize> = (0..world.sites.len()).collect();
                world.rollback(2, gtid, &all);
            }
            Step::DecideByHand { commit } => {
                let decided = world.decide_by_hand(0, gtid, commit);
                assert!(decided, "what is in doubt is decided by hand");
            }
        }
        self.forget_counters();
    }

    /// Counters are not part of the state.
    fn forget_counters(&mut self) {
        if let Some(coordinator) = &mut self.world.coordinator {
            coordinator.take_stats();
        }
        for voter in self
            .world
            .sites
            .iter_mut()
            .filter_map(|site| site.voter.as_mut())
        {
            voter.take_stats();
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

fn advance(now: &mut Time, deadline: Option<Time>) {
    *now = deadline.map_or(*now, |deadline| deadline.max(*now));
}

/// Mends everything and lets it run: says what does not come to rest.
fn heal(mut world: World, gtid: Gtid) -> Result<(World, Outcome), String> {
    if world.coordinator.is_some() && world.log.failed {
        world.crash_coordinator(0);
    }
    if world.coordinator.is_none() {
        world.start_coordinator();
    }
    for site in 0..world.sites.len() {
        if world.sites[site].voter.is_some() && world.sites[site].log.failed {
            world.crash_site(site, 0);
        }
        if world.sites[site].voter.is_none() {
            world.start_site(site);
        }
    }
    for _round in 0..12 {
        for site in 0..world.sites.len() {
            if !world.sites[site].linked {
                world.connect(site);
            }
            if world.sites[site].work.get(&gtid) == Some(&Work::Asked) {
                world.release(site, gtid, Ok(false));
            }
        }
        world.deliver_all();
        world.sync_coordinator_fully();
        for site in 0..world.sites.len() {
            while !world.sites[site].log.pending.is_empty() {
                world.sync_site(site);
            }
        }
        world.deliver_all();
        if let Some(outcome) = rest(&world, gtid) {
            return match world.violation.clone() {
                Some(violation) => Err(format!("healing: {violation}")),
                None => Ok((world, outcome)),
            };
        }
        let deadlines = world
            .sites
            .iter()
            .filter_map(|site| site.voter.as_ref()?.next_deadline());
        let own = world.coordinator.as_ref().and_then(|it| it.next_deadline());
        let next = deadlines.chain(own).min();
        advance(&mut world.now, next);
        world.tick_coordinator();
        for site in 0..world.sites.len() {
            world.tick_site(site);
        }
    }
    Err("healing: does not come to rest".to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Committed,
    Aborted,
}

/// The end, if everybody has come to one: no vote is open, nobody is in doubt, nobody waits.
fn rest(world: &World, gtid: Gtid) -> Option<Outcome> {
    let idle = world.coordinator.as_ref()?.transactions().next().is_none()
        && world.waiting.is_empty()
        && world.sites.iter().all(|site| {
            site.voter
                .as_ref()
                .is_some_and(|voter| voter.in_flight() == 0)
                && !matches!(site.work.get(&gtid), Some(Work::Asked | Work::InDoubt))
        });
    let committed = |site: &Site| site.work.get(&gtid) == Some(&Work::Committed);
    let by_hand = |site: &&Site| site.by_hand.contains_key(&gtid);
    let mut others = world.sites.iter().filter(|site| !by_hand(site));
    match (idle, others.clone().any(committed)) {
        (false, _) => None,
        (true, true) => others.all(committed).then_some(Outcome::Committed),
        (true, false) => Some(Outcome::Aborted),
    }
}

/// What became of a decision by hand: A7.
fn by_hand(world: &World, gtid: Gtid, outcome: Outcome) -> Result<&'static str, String> {
    let shown = world.shown(0, gtid);
    let Some(decision) = world.sites[0].by_hand.get(&gtid) else {
        return match shown {
            None => Ok(""),
            Some(shown) => Err(format!("healing: shows what nobody decided: {shown:?}")),
        };
    };
    let agrees = decision.is_commit() == (outcome == Outcome::Committed);
    match shown {
        None if agrees => Ok(", by hand the same"),
        Some(shown) if shown.is_damage() && !agrees => Ok(", by hand the contrary"),
        None | Some(_) => Err(format!(
            "healing: A7: {outcome:?}, by hand {decision:?}, shown {shown:?}"
        )),
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    /// Ends of healed worlds and what callers heard: that the good and the bad are both met.
    ends: BTreeMap<String, usize>,
}

/// Visits every state; `Err` holds the first broken rule and the steps that led to it.
fn explore(sites: &[Durability], budget: Budget, lie: Lie) -> Result<Explored, String> {
    let (first, gtid) = start(sites, budget, lie);
    let mut explored = Explored::default();
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut trail: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut open = vec![(first, 0)];
    while let Some((state, at)) = open.pop() {
        explored.states += 1;
        let broken = match (&state.world.violation, heal(state.world.clone(), gtid)) {
            (Some(violation), _) => Some(violation.clone()),
            (None, Err(broken)) => Some(broken),
            (None, Ok((world, outcome))) => {
                let said = world.answers.values().map(|&(_, answer)| match answer {
                    CommitAnswer::Committed { .. } => "committed",
                    CommitAnswer::Aborted { .. } => "aborted",
                    CommitAnswer::Unknown => "unknown",
                    CommitAnswer::Refused(_) => "refused",
                });
                let said = said.collect::<Vec<_>>().join(", ");
                by_hand(&world, gtid, outcome).map_or_else(Some, |hand| {
                    let end = format!("{outcome:?}, said [{said}]{hand}");
                    *explored.ends.entry(end).or_default() += 1;
                    None
                })
            }
        };
        if let Some(broken) = broken {
            return Err(format!("{broken}\n{}", path(&trail, at)));
        }
        for step in state.steps(gtid) {
            let mut next = state.clone();
            next.take(step, gtid);
            if seen.insert(next.fingerprint()) {
                trail.push((at, Some(step)));
                open.push((next, trail.len() - 1));
            }
        }
    }
    Ok(explored)
}

fn path(trail: &[(usize, Option<Step>)], mut at: usize) -> String {
    let mut steps = Vec::new();
    while let (before, Some(step)) = trail[at] {
        steps.push(format!("{step:?}"));
        at = before;
    }
    steps.reverse();
    steps.join("\n")
}

const TWO: [Durability; 2] = [Durability::Durable, Durability::Durable];
const ONE: [Durability; 1] = [Durability::Durable];
const MIXED: [Durability; 2] = [Durability::Durable, Durability::Volatile];

/// Explores, compares the number of states, and sees that commits and aborts are both met.
#[track_caller]
fn check(sites: &[Durability], budget: Budget, states: usize) -> Explored {
    let explored = explore(sites, budget, Lie::None).unwrap_or_else(|broken| panic!("{broken}"));
    let met = |end: &str| explored.ends.keys().any(|it| it.starts_with(end));
    assert!(met("Committed, said [committed"), "{explored:#?}");
    assert!(met("Aborted, said [aborted"), "{explored:#?}");
    assert_eq!(explored.states, states, "{:#?}", explored.ends);
    explored
}

#[test]
fn nothing_goes_wrong_but_votes_may_be_refused() {
    check(
        &TWO,
        Budget {
            refusals: 2,
            ..Budget::default()
        },
        87,
    );
}

#[test]
fn one_machine_crashes_at_any_point() {
    check(
        &TWO,
        Budget {
            crashes: 1,
            ..Budget::default()
        },
        2_765,
    );
}

#[test]
fn one_machine_crashes_and_one_message_is_lost() {
    check(
        &TWO,
        Budget {
            crashes: 1,
            losses: 1,
            ..Budget::default()
        },
        5_831,
    );
}

#[test]
fn machines_crash_twice() {
    check(
        &TWO,
        Budget {
            crashes: 2,
            ..Budget::default()
        },
        21_527,
    );
}

#[test]
fn messages_are_lost_and_timers_run() {
    check(
        &TWO,
        Budget {
            losses: 2,
            ticks: 2,
            ..Budget::default()
        },
        22_812,
    );
}

#[test]
fn a_message_arrives_again_at_any_later_time_over_any_later_link() {
    check(
        &TWO,
        Budget {
            repeats: 1,
            cuts: 1,
            refusals: 1,
            ..Budget::default()
        },
        8_123,
    );
}

#[test]
fn a_message_arrives_again_after_a_crash() {
    check(
        &TWO,
        Budget {
            repeats: 1,
            crashes: 1,
            ..Budget::default()
        },
        33_680,
    );
}

#[test]
fn links_are_cut_and_the_client_gives_up() {
    check(
        &TWO,
        Budget {
            cuts: 2,
            rollbacks: 1,
            ..Budget::default()
        },
        6_114,
    );
}

#[test]
fn a_log_fails_and_a_machine_crashes() {
    let explored = check(
        &TWO,
        Budget {
            log_failures: 1,
            crashes: 1,
            ..Budget::default()
        },
        7_310,
    );
    assert!(explored.ends.contains_key("Committed, said [unknown]"));
    assert!(explored.ends.contains_key("Aborted, said [unknown]"));
}

#[test]
fn a_single_site_decides_through_everything_at_once() {
    let budget = Budget {
        losses: 1,
        repeats: 1,
        cuts: 1,
        crashes: 1,
        ticks: 2,
        log_failures: 1,
        refusals: 1,
        rollbacks: 1,
        hands: 0,
    };
    // 231,336 if the allowance for votes were not a little different after each begin.
    check(&ONE, budget, 253_075);
}

#[test]
fn a_message_is_lost_another_repeated_and_a_machine_crashes() {
    let budget = Budget {
        losses: 1,
        repeats: 1,
        crashes: 1,
        ..Budget::default()
    };
    check(&TWO, budget, 72_499);
}

#[test]
#[ignore = "millions of states take minutes"]
fn everything_goes_wrong_once() {
    let budget = Budget {
        losses: 1,
        repeats: 1,
        cuts: 1,
        crashes: 1,
        ticks: 1,
        refusals: 1,
        ..Budget::default()
    };
    check(&TWO, budget, 4_362_922);
}

/// What the coordinator and site B come to is what they would have come to; site A shows the difference.
#[test]
fn an_operator_decides_at_one_site_whatever_else_happens() {
    let hand = Budget {
        hands: 1,
        refusals: 1,
        ..Budget::default()
    };
    let budgets = [
        Budget { crashes: 1, ..hand },
        Budget {
            losses: 1,
            cuts: 1,
            ticks: 1,
            ..hand
        },
        Budget {
            log_failures: 1,
            crashes: 1,
            ..hand
        },
        Budget {
            repeats: 1,
            crashes: 1,
            ..hand
        },
    ];
    let states = budgets.map(|budget| {
        let explored = explore(&TWO, budget, Lie::None).unwrap_or_else(|broken| panic!("{broken}"));
        for (outcome, said) in [("Committed", "committed"), ("Aborted", "aborted")] {
            for hand in ["the same", "the contrary"] {
                let end = format!("{outcome}, said [{said}], by hand {hand}");
                assert!(explored.ends.contains_key(&end), "{end}: {explored:#?}");
            }
        }
        explored.states
    });
    assert_eq!(states, [19_173, 128_678, 48_903, 253_299]);
}

#[test]
fn a_site_without_a_log_loses_links_and_messages() {
    let budget = Budget {
        losses: 1,
        cuts: 1,
        ticks: 1,
        refusals: 1,
        ..Budget::default()
    };
    check(&MIXED, budget, 18_675);
}

/// Worlds that lie are caught, each by the rule that it breaks or by the machine that stops.
#[test]
fn broken_protocols_are_caught() {
    let caught = |lie: Lie, budget: Budget, rule: &str| {
        let explored = catch_unwind(|| explore(&TWO, budget, lie));
        let broken = match explored {
            Ok(explored) => explored.expect_err("a lie must be caught"),
            Err(panic) => panic
                .downcast::<String>()
                .map_or_else(|_| String::new(), |it| *it),
        };
        assert!(broken.contains(rule), "{lie:?}: {broken}");
    };
    let calm = Budget::default();
    caught(Lie::CoordinatorLog, calm, "A4: commit");
    caught(Lie::SiteLogs, calm, "A3: YES sent, not durable");
    caught(
        Lie::VotesForOthers,
        Budget {
            refusals: 1,
            ..calm
        },
        "without the YES of this site",
    );
    caught(
        Lie::PresumedTooEarly,
        Budget { ticks: 1, ..calm },
        "aborted",
    );
    caught(
        Lie::ForgottenVotes,
        Budget { crashes: 1, ..calm },
        "does not come to rest",
    );
}
