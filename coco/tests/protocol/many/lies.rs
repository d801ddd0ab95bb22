//! Worlds that lie, each caught within a stated number of states by the rule that it breaks.

use coco::protocol::{Ballot, DeadlockPolicy, Dependencies, GtidParts, ToCoordinator};

use super::search::{Search, explore};
use super::steps::Budget;
use super::{Kind, Lie, Plan, State};

impl State {
    /// What arrives at the coordinator may be less than was said.
    pub(super) fn lie_about_dependencies(&self, message: &mut ToCoordinator) {
        if let ToCoordinator::Vote {
            ballot: Ballot::Yes { depends, .. },
            ..
        } = message
            && self.plan.lie == Lie::AfterIgnored
        {
            depends.after.clear();
        }
    }

    /// The same vote once more, without what it depends on of other coordinators.
    pub(super) fn upgraded_early(&self, message: &ToCoordinator) -> Option<ToCoordinator> {
        let ToCoordinator::Vote {
            gtid,
            ballot: Ballot::Yes { depends, .. },
        } = message
        else {
            return None;
        };
        if self.plan.lie != Lie::EarlyUpgrade || depends.is_empty() {
            return None;
        }
        let own = GtidParts::coordinator_of(*gtid);
        let mut later = message.clone();
        if let ToCoordinator::Vote {
            ballot: Ballot::Yes { depends, .. },
            ..
        } = &mut later
        {
            let ours = |it: &co_core::Gtid| GtidParts::coordinator_of(*it) == own;
            *depends = Dependencies {
                after: depends.after.iter().copied().filter(ours).collect(),
                if_committed: depends.if_committed.iter().copied().filter(ours).collect(),
            };
        }
        Some(later)
    }
}

/// The lie is found as a break of this rule, within so many states.
#[track_caller]
fn caught(plan: Plan, lie: Lie, rule: &str, within: usize) {
    explore(plan.clone(), Search::default()).unwrap_or_else(|it| panic!("{it:#?}"));
    let found = explore(plan.lie(lie), Search::default());
    let broken = found.expect_err("a lie must be caught");
    println!(
        "{lie:?} after {} states: {}\n{}",
        broken.states, broken.rule, broken.transcript
    );
    assert!(broken.rule.contains(rule), "{broken:#?}");
    assert!(broken.states <= within, "{lie:?}: {} states", broken.states);
}

/// T2 is behind T1 at one site, and they do not meet at the other. (If they met there too, in the same order,
/// the links would keep it: T2 would never have all votes before T1.)
fn behind(kind: Kind) -> Plan {
    Plan::of(2).order(0, &[0, 1], kind).dependent()
}

fn two_coordinators(kind: Kind) -> Plan {
    behind(kind).owned_by(&[0, 1])
}

/// T1 and T2 of two coordinators, each behind the other at one site.
fn opposed() -> Plan {
    Plan::of(2)
        .owned_by(&[0, 1])
        .order(0, &[0, 1], Kind::Order)
        .order(1, &[1, 0], Kind::Order)
}

#[test]
fn a_dependent_vote_decided_before_its_predecessors_record_is_appended() {
    caught(behind(Kind::Order), Lie::DependentFirst, "B1", 1_000);
    caught(behind(Kind::Data), Lie::DependentFirst, "B1", 1_000);
}

#[test]
fn after_treated_like_nothing() {
    caught(behind(Kind::Order), Lie::AfterIgnored, "B1", 1_000);
}

#[test]
fn dependencies_dropped_at_recovery() {
    let plan = behind(Kind::Order).budget(Budget::CRASH);
    caught(plan, Lie::ForgottenDependencies, "B1", 30_000);
}

#[test]
fn an_upgrade_before_the_predecessors_decision() {
    let plan = two_coordinators(Kind::Data);
    caught(plan, Lie::EarlyUpgrade, "B1", 2_000);
}

#[test]
fn a_held_commit_applied_at_once() {
    let budget = Budget {
        losses: 1,
        ..Budget::NONE
    };
    let plan = behind(Kind::Order).budget(budget);
    caught(plan, Lie::HeldCommitApplied, "B4", 6_000);
}

#[test]
fn stale_waits_of_other_coordinators_never_dropped() {
    caught(opposed(), Lie::StaleWaits, "reports: {}", 6_000);
}

#[test]
fn a_wound_ignored() {
    let plan = opposed().policy(DeadlockPolicy::WoundWait);
    caught(plan, Lie::WoundIgnored, "B6", 400);
}
