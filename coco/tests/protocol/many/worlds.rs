//! The worlds that are visited. The numbers of their states are in [`STATES`].
//!
//! Those that are not ignored have more than eleven million states and take about two minutes of one core. The
//! others: `cargo test --release -p coco --test protocol many:: -- --ignored`, with a line of progress every few
//! seconds if `COCO_EXPLORE_PROGRESS` is set and the output is shown.

use coco::protocol::DeadlockPolicy;

use super::pins::{ON_DEMAND, STATES};
use super::rules::Met;
use super::search::{Explored, Search, explore};
use super::steps::Budget;
use super::{Kind, Plan};

/// Visits all states of a world, as many as there should be, and sees that what should happen in some does.
#[track_caller]
fn check(name: &str, plan: Plan, met: Met) {
    assert!(!ON_DEMAND.contains(&name), "{name} is visited in every run");
    visit_and_compare(name, plan, met);
}

/// The same, of a world that only tests visit which are ignored.
#[track_caller]
fn check_on_demand(name: &str, plan: Plan, met: Met) {
    assert!(ON_DEMAND.contains(&name), "{name} is visited on demand");
    visit_and_compare(name, plan, met);
}

#[track_caller]
fn visit_and_compare(name: &str, plan: Plan, met: Met) {
    let explored = visit(name, plan);
    println!("{name}: {explored:?}");
    is_pinned(name, explored.states, explored.met, met);
}

#[track_caller]
fn is_pinned(name: &str, states: usize, met: Met, wanted: Met) {
    assert!(met.contains(wanted), "{name}: {wanted:?} in {met:?}");
    let pinned = STATES.iter().find(|(it, _)| *it == name);
    let &(_, pinned) = pinned.unwrap_or_else(|| panic!("{name} has {states} states: pin them"));
    assert_eq!(
        states, pinned,
        "the number of states of \"{name}\" has changed"
    );
}

#[track_caller]
fn visit(name: &str, plan: Plan) -> Explored {
    explore(plan, Search::default()).unwrap_or_else(|it| {
        let (rule, states, transcript) = (it.rule, it.states, it.transcript);
        panic!("{name}: {rule} after {states} states\n{transcript}")
    })
}

/// T1, T2... come in this order at both sites.
fn chain(transactions: usize, kind: Kind) -> Plan {
    let order: Vec<usize> = (0..transactions).collect();
    Plan::of(transactions)
        .order(0, &order, kind)
        .order(1, &order, kind)
}

/// T2 is behind T1 at one site, and may vote before it is decided; they do not meet at the other.
fn behind(kind: Kind) -> Plan {
    Plan::of(2).order(0, &[0, 1], kind).dependent()
}

/// T1 and T2 are each behind the other at one site.
fn opposed() -> Plan {
    Plan::of(2)
        .order(0, &[0, 1], Kind::Order)
        .order(1, &[1, 0], Kind::Order)
}

fn two_coordinators(plan: Plan) -> Plan {
    plan.owned_by(&[0, 1])
}

/// A cycle of three: two conflicts at one site, one at the other.
fn cycle_of_three() -> Plan {
    Plan::of(3)
        .order(0, &[0, 1], Kind::Order)
        .order(0, &[1, 2], Kind::Order)
        .order(1, &[2, 0], Kind::Order)
}

/// What a policy does about a deadlock.
fn ended_by(policy: DeadlockPolicy) -> Met {
    match policy {
        DeadlockPolicy::Search => Met::SEARCH,
        DeadlockPolicy::WoundWait | DeadlockPolicy::WaitDie => Met::OUTRANKED,
        DeadlockPolicy::Timeouts => Met::TIMEOUT,
    }
}

#[test]
fn ten_million_states_are_visited_in_every_run() {
    let always = STATES.iter().filter(|(name, _)| !ON_DEMAND.contains(name));
    let all: usize = always.map(|(_, states)| states).sum();
    println!("{all} states of the worlds that every run visits");
    assert_eq!(all, 11_785_609);
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Three transactions in each order at each site. Two worlds that differ by the names of the sites are the
/// same: of such only one is visited.
fn all_orders(name: &str, each: impl Fn(Plan) -> Plan) {
    let (mut states, mut met) = (0, Met::default());
    for (at, a) in ORDERS.iter().enumerate() {
        for b in &ORDERS[at..] {
            let plan = Plan::of(3).order(0, a, Kind::Data).order(1, b, Kind::Data);
            let explored = visit(name, each(plan));
            states += explored.states;
            met |= explored.met;
        }
    }
    let wanted = Met::ALL_COMMIT.and(Met::SEARCH).and(Met::CASCADE);
    is_pinned(name, states, met, wanted);
}

#[test]
fn three_transactions_in_every_order() {
    all_orders("every order", |plan| plan);
}

#[test]
fn three_transactions_and_a_crash() {
    let plan = Plan::of(3)
        .order(0, &[0, 1, 2], Kind::Data)
        .order(1, &[0, 1, 2], Kind::Order);
    let met = Met::ALL_COMMIT.and(Met::CRASH).and(Met::CASCADE);
    let met = met.and(Met::NONE_COMMIT).and(Met::IF_COMMIT);
    check("three, a crash", plan.budget(Budget::CRASH), met);
}

/// One site gives dependent votes, the other withholds.
#[test]
#[ignore = "ten million states take minutes"]
fn three_dependent_transactions_and_a_crash() {
    let mut plan = chain(3, Kind::Data).dependent().budget(Budget::CRASH);
    plan.dependent_votes[1] = false;
    let met = Met::ALL_COMMIT.and(Met::CRASH).and(Met::CASCADE);
    let met = met.and(Met::SETTLED).and(Met::IF_COMMIT);
    check_on_demand("three dependent, a crash", plan, met);
}

/// For a quiet night: the number is not pinned.
#[test]
#[ignore = "more than forty million states"]
fn three_dependent_transactions_at_both_sites_and_a_crash() {
    let plan = chain(3, Kind::Data).dependent().budget(Budget::CRASH);
    let explored = visit("three dependent at both sites, a crash", plan);
    let met = Met::ALL_COMMIT.and(Met::CRASH).and(Met::CASCADE);
    assert!(explored.met.contains(met), "{explored:?}");
    assert!(explored.states > 40_000_000, "{explored:?}");
}

#[test]
fn three_on_a_cycle() {
    check("a cycle of three", cycle_of_three(), Met::SEARCH);
    let dependent = cycle_of_three().dependent();
    let met = Met::SEARCH.and(Met::DEPENDENT);
    check("a cycle of three, dependent", dependent, met);
}

/// A vote that is broken before it is said is a NO of a site that waits for the decision all the same.
#[test]
fn who_says_no_for_a_cascade_is_told_the_end() {
    let plan = Plan::of(2)
        .order(0, &[0, 1], Kind::Data)
        .order(1, &[1, 0], Kind::Data);
    let met = Met::SEARCH.and(Met::CASCADE);
    check("opposed by data", plan.dependent(), met);
}

#[test]
fn a_dependent_vote_and_a_crash() {
    let met = Met::ALL_COMMIT.and(Met::DEPENDENT).and(Met::CRASH);
    let plan = behind(Kind::Order).budget(Budget::CRASH);
    check("after, a crash", plan, met.and(Met::AFTER_ABORT));
    let plan = behind(Kind::Data).budget(Budget::CRASH);
    let met = met.and(Met::IF_COMMIT).and(Met::CASCADE).and(Met::SETTLED);
    check("if, a crash", plan, met);
}

#[test]
fn a_dependent_chain_of_three() {
    let plan = chain(3, Kind::Data).dependent();
    let met = Met::ALL_COMMIT.and(Met::IF_COMMIT);
    check("a chain of three", plan, met);
}

#[test]
fn a_dependent_chain_of_three_and_a_refusal() {
    let budget = Budget {
        refusals: 1,
        ..Budget::NONE
    };
    let plan = Plan::of(3).order(0, &[0, 1, 2], Kind::Data);
    let met = Met::ALL_COMMIT.and(Met::CASCADE).and(Met::SETTLED);
    check(
        "a chain of three, a refusal",
        plan.dependent().budget(budget),
        met,
    );
}

#[test]
fn decisions_are_lost_late_or_not_wanted() {
    let met = Met::ALL_COMMIT.and(Met::HELD).and(Met::AFTER_ABORT);
    let lost = Budget {
        losses: 1,
        refusals: 1,
        ..Budget::NONE
    };
    let cut = Budget {
        cuts: 1,
        rollbacks: 1,
        ..Budget::NONE
    };
    let late = Budget {
        ticks: 1,
        losses: 1,
        ..Budget::NONE
    };
    check("a loss, a refusal", behind(Kind::Order).budget(lost), met);
    check("a cut, a rollback", behind(Kind::Order).budget(cut), met);
    check("a loss, a timer", behind(Kind::Order).budget(late), met);
}

#[test]
#[ignore = "millions of states take minutes"]
fn a_crash_a_loss_and_a_refusal() {
    let budget = Budget {
        losses: 1,
        refusals: 1,
        ..Budget::CRASH
    };
    let met = Met::ALL_COMMIT.and(Met::HELD).and(Met::AFTER_ABORT);
    let plan = behind(Kind::Order).budget(budget);
    check_on_demand("a crash, a loss, a refusal", plan, met.and(Met::CRASH));
}

#[test]
fn nothing_depends_on_the_memory_of_outcomes() {
    let budget = Budget {
        refusals: 1,
        cuts: 1,
        ..Budget::NONE
    };
    let mut plan = chain(2, Kind::Data).dependent().budget(budget);
    plan.remembered_outcomes = 0;
    check("forgetful", plan, Met::ALL_COMMIT.and(Met::CASCADE));
}

#[test]
fn some_give_dependent_votes_and_some_do_not() {
    let mut plan = opposed().dependent();
    plan.dependent_votes[1] = false;
    check("one site, opposed", plan, Met::SEARCH.and(Met::DEPENDENT));
    let mut plan = chain(2, Kind::Data).dependent().budget(Budget::CRASH);
    plan.dependent_votes[1] = false;
    let met = Met::ALL_COMMIT.and(Met::DEPENDENT);
    check("one site, a crash", plan, met.and(Met::CRASH));
    let mut plan = chain(3, Kind::Data).dependent();
    plan.dependent[1] = false;
    check("two of three", plan, met);
}

#[test]
fn who_works_at_one_site_decides_there() {
    let plan = chain(2, Kind::Data).dependent().budget(Budget::CRASH);
    let met = Met::ALL_COMMIT.and(Met::CRASH);
    check("the first alone, a crash", plan.clone().alone(0, 0), met);
    check("the second alone, a crash", plan.alone(1, 0), met);
}

#[test]
fn every_policy_ends_every_deadlock() {
    for policy in DeadlockPolicy::ALL {
        let met = ended_by(policy);
        let two = opposed().policy(policy);
        let three = cycle_of_three().policy(policy);
        let crash = two.clone().budget(Budget::CRASH);
        check(&format!("{policy}: two"), two.clone(), met);
        check(
            &format!("{policy}: two, a crash"),
            crash,
            met.and(Met::CRASH),
        );
        let met_too = met.and(Met::DEPENDENT);
        check(
            &format!("{policy}: two dependent"),
            two.dependent(),
            met_too,
        );
        check(&format!("{policy}: three"), three, met);
    }
}

#[test]
#[ignore = "millions of states"]
fn every_policy_ends_every_deadlock_of_dependent_votes() {
    for policy in DeadlockPolicy::ALL {
        let met = ended_by(policy).and(Met::DEPENDENT);
        let two = opposed().policy(policy).dependent();
        let three = cycle_of_three().policy(policy).dependent();
        let name = format!("{policy}: two dependent, a crash");
        check_on_demand(&name, two.budget(Budget::CRASH), met.and(Met::CRASH));
        check_on_demand(&format!("{policy}: three dependent"), three, met);
    }
}

#[test]
fn a_site_that_says_nothing_but_votes_leaves_deadlocks_to_the_timers() {
    for (name, reports) in [("one", [true, false]), ("both", [false, false])] {
        let mut plan = opposed();
        plan.reports = reports;
        let crash = plan.clone().budget(Budget::CRASH);
        check(&format!("{name} silent"), plan, Met::TIMEOUT);
        let met = Met::TIMEOUT.and(Met::CRASH);
        check(&format!("{name} silent, a crash"), crash, met);
    }
}

#[test]
fn chains_over_two_coordinators() {
    let plan = two_coordinators(chain(2, Kind::Data).dependent());
    let met = Met::ALL_COMMIT.and(Met::SETTLED).and(Met::IF_COMMIT);
    check("two coordinators, a chain", plan, met);
    let budget = Budget {
        refusals: 1,
        ..Budget::NONE
    };
    let plan = two_coordinators(behind(Kind::Data)).budget(budget);
    let met = met.and(Met::CASCADE);
    check("two coordinators, a refusal", plan, met);
}

#[test]
fn a_chain_over_two_coordinators_and_a_crash() {
    let plan = two_coordinators(behind(Kind::Data)).budget(Budget::CRASH);
    let met = Met::ALL_COMMIT.and(Met::SETTLED).and(Met::CASCADE);
    check(
        "two coordinators, a chain, a crash",
        plan,
        met.and(Met::CRASH),
    );
}

#[test]
fn deadlocks_over_two_coordinators() {
    for policy in DeadlockPolicy::ALL {
        let plan = two_coordinators(opposed()).policy(policy);
        let mut silent = plan.clone();
        silent.reports = [true, false];
        let name = format!("two coordinators, {policy}");
        check(&name, plan, ended_by(policy));
        // To wait-die one wait is enough to see which way it points.
        let one_is_enough = policy == DeadlockPolicy::WaitDie;
        let met = if one_is_enough {
            Met::OUTRANKED
        } else {
            Met::TIMEOUT
        };
        check(&format!("{name}, one silent"), silent, met);
    }
    let cuts = Budget {
        cuts: 1,
        ..Budget::NONE
    };
    let plan = two_coordinators(opposed()).budget(cuts);
    check("two coordinators, a cut", plan, Met::SEARCH.and(Met::PEERS));
}

#[test]
fn deadlocks_of_dependent_votes_over_two_coordinators() {
    for policy in DeadlockPolicy::ALL {
        // Wound-wait and wait-die need an age that such a vote does not tell, and may leave it to a timer.
        let met = ended_by(policy).and(Met::SETTLED);
        let plan = two_coordinators(opposed().dependent()).policy(policy);
        check(&format!("two coordinators, dependent, {policy}"), plan, met);
    }
}

#[test]
fn two_coordinators_and_a_crash() {
    let plan = two_coordinators(opposed()).budget(Budget::CRASH);
    let met = Met::SEARCH.and(Met::CRASH);
    check("two coordinators, a crash", plan, met);
}

/// What is left out by the reduction is no end: with and without it the same are reached.
#[test]
fn the_reduction_keeps_every_end() {
    let worlds = [
        chain(2, Kind::Data).dependent(),
        opposed(),
        cycle_of_three(),
        two_coordinators(behind(Kind::Order)),
        two_coordinators(opposed()),
        chain(2, Kind::Data).budget(Budget::CRASH),
    ];
    for plan in worlds {
        let full = Search {
            reduced: false,
            ..Search::default()
        };
        let full = explore(plan.clone(), full).expect("no rule is broken");
        let reduced = visit("reduced", plan.clone());
        assert_eq!(full.ends, reduced.ends, "{plan:?}");
        assert!(reduced.states < full.states, "{plan:?}");
        println!("{} of {} states", reduced.states, full.states);
    }
}
