//! Random schedules on every engine of [`crate::world`], each step compared with [`crate::model`].

use std::collections::BTreeMap;

use co_core::{AbortReason, Grant, LockPolicy, Outcome, State, Vote};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::classes;
use crate::model::{Event, Model, Standing};
use crate::script::{Act, Op, render};
use crate::world::{Mode, Step, World};

const TRANSACTIONS: u32 = 4;
const ITEMS: [char; 3] = ['x', 'y', 'z'];

/// What the schedule asks for; skipped where the transaction cannot do it.
#[derive(Clone, Copy, Debug)]
enum Command {
    Operate(Act, u32, char),
    Vote(u32),
    Commit(u32),
    Abort(u32),
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let txn = 1..=TRANSACTIONS;
    let act = prop_oneof![4 => Just(Act::Read), 4 => Just(Act::Write), 1 => Just(Act::Increment)];
    let item = prop::sample::select(ITEMS.to_vec());
    let command = prop_oneof![
        12 => (act, txn.clone(), item).prop_map(|(act, txn, item)| Command::Operate(act, txn, item)),
        5 => txn.clone().prop_map(Command::Vote),
        3 => txn.clone().prop_map(Command::Commit),
        2 => txn.prop_map(Command::Abort),
    ];
    prop::collection::vec(command, 1..36)
}

/// What a run came across; a test of schedules in which nothing happens would prove nothing.
#[derive(Default, Debug)]
struct Seen {
    withheld: u64,
    cycles: u64,
    overtaken: usize,
    cascades: usize,
}

/// Whether the step made the scheduler look for a cycle, and through whom.
#[derive(Clone, Copy)]
enum Search {
    None,
    /// It was ordered without waiting: a search only if an edge led against the order of the graph.
    Possible(u32),
    Done(u32),
}

struct Run {
    mode: Mode,
    world: World,
    log: Vec<Event>,
    arrivals: Vec<u32>,
    states: BTreeMap<u32, State>,
}

impl Run {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            world: World::new(mode, TRANSACTIONS),
            log: Vec::new(),
            arrivals: Vec::new(),
            states: BTreeMap::new(),
        }
    }

    fn model(&self) -> Model {
        Model::replay(self.mode, TRANSACTIONS, &self.log)
    }

    fn step(&mut self, command: Command) {
        match command {
            Command::Operate(act, txn, item) if self.world.actors[&txn].is_idle() => {
                self.operate(Op::new(act, txn, item));
            }
            Command::Vote(txn) if self.world.actors[&txn].is_idle() => self.request(txn),
            Command::Commit(txn) if self.world.state(txn) == State::Voted => {
                self.end(txn, Outcome::Commit);
            }
            Command::Abort(txn) if self.world.state(txn).is_undecided() => {
                self.end(txn, Outcome::Abort);
            }
            Command::Operate(..) | Command::Vote(_) | Command::Commit(_) | Command::Abort(_) => {}
        }
    }

    fn operate(&mut self, op: Op) {
        let step = self.world.operate(op.clone());
        let executed = match &step {
            Step::Executed(executed, _) => executed.clone(),
            Step::Blocked | Step::Refused(_) => op.clone(),
        };
        self.log.push(Event::Operation(executed));
        if let (Mode::Versions, Step::Executed(_, edges)) = (self.mode, &step) {
            self.log.push(Event::Edges(edges.clone()));
        }
        if step == Step::Blocked {
            self.arrivals.push(op.txn);
        }
        match step {
            Step::Blocked | Step::Refused(_) => self.check(Search::Done(op.txn)),
            Step::Executed(..) => self.check(Search::Possible(op.txn)),
        }
    }

    fn request(&mut self, txn: u32) {
        let in_line = self.world.writers_in_line(txn);
        let stale = self.world.actors[&txn].operations.iter().any(|op| {
            let newest = self.world.versions_of(op.item).last().copied().unwrap_or(0);
            op.act == Act::Read && op.version != Some(newest)
        });
        let refused = self.world.request(txn).err();
        if self.mode == Mode::Optimistic {
            assert_eq!(refused, stale.then_some(AbortReason::Conflict), "T{txn}");
        }
        if refused.is_some() {
            self.end(txn, Outcome::Abort);
            return;
        }
        if self.mode == Mode::Versions {
            self.log.push(Event::Edges(
                in_line.iter().map(|other| (*other, txn)).collect(),
            ));
        }
        self.log.push(Event::Request(txn));
        self.check(Search::Done(txn));
    }

    fn end(&mut self, txn: u32, outcome: Outcome) {
        self.world.decide(txn, outcome);
        self.log.push(Event::End(txn, outcome));
        self.check(Search::None);
    }

    /// Compares every answer with the oracle's. Only cycles through whoever began to wait, or was ordered
    /// without waiting, may be broken.
    fn check(&mut self, search: Search) {
        for doomed in self.world.scheduler.take_doomed() {
            let victim = self.world.number(&doomed);
            if doomed.doomed() == Some(AbortReason::Cycle) {
                let requester = match search {
                    Search::Done(requester) | Search::Possible(requester) => requester,
                    Search::None => panic!("a cycle was broken though nobody came into conflict"),
                };
                assert!(
                    self.model().explains(requester, victim),
                    "T{victim}: {:?}",
                    self.log
                );
                self.log.push(Event::Victim(victim));
            }
        }
        let model = self.model();
        if let Search::Done(requester) = search {
            assert!(
                !model.is_on_cycle(requester),
                "T{requester} waits on a cycle: {:?}",
                self.log
            );
        }
        assert!(!model.has_deadlock(), "nobody searched: {:?}", self.log);
        assert!(model.voted_are_antichain(), "I2: {:?}", self.log);
        assert!(model.commits_in_order(), "I1: {:?}", self.log);
        for (txn, standing) in &model.standing {
            self.compare(*txn, *standing, model.waits_for_lock(*txn));
        }
        self.world.granted(&self.arrivals);
    }

    fn compare(&mut self, txn: u32, standing: Standing, waits: bool) {
        let state = self.world.state(txn);
        let expected = match standing {
            Standing::Working => State::Active,
            Standing::Withheld => State::Withheld,
            Standing::Doomed => State::Doomed,
            Standing::Voted => State::Voted,
            Standing::Ended(Outcome::Commit) => State::Committed,
            Standing::Ended(Outcome::Abort) => State::Aborted,
        };
        assert_eq!(state, expected, "T{txn}: {:?}", self.log);
        let was = self.states.insert(txn, state);
        assert!(
            was != Some(State::Voted) || state != State::Doomed,
            "I3: T{txn}"
        );
        let actor = &self.world.actors[&txn];
        if let Some(vote) = &actor.vote {
            match state {
                State::Withheld => assert_eq!(vote.peek(), None),
                State::Voted | State::Committed => assert_eq!(vote.peek(), Some(Vote::Yes)),
                State::Doomed => assert_eq!(vote.peek(), actor.txn.doomed().map(Vote::No)),
                State::Aborted => assert!(vote.peek().is_some()),
                State::Active | State::Ready => panic!("T{txn} was asked to vote"),
            }
        }
        if let Some((future, _)) = &actor.lock {
            let answer = if state == State::Doomed {
                actor.txn.doomed().map(Grant::Aborted)
            } else {
                (!waits).then_some(Grant::Granted)
            };
            assert_eq!(future.peek(), answer, "T{txn}: {:?}", self.log);
        }
    }

    /// Ends everything and judges the history. Returns what the run came across.
    fn finish(mut self) -> Seen {
        for txn in 1..=TRANSACTIONS {
            if self.world.state(txn).is_undecided() {
                self.end(txn, Outcome::Abort);
            }
        }
        assert_eq!(self.world.scheduler.undecided(), 0, "I7");
        assert!(
            self.world.table.is_empty() && self.world.validator.is_empty(),
            "I7"
        );
        let history = &self.world.history;
        match self.mode {
            Mode::Dirty => judge(history),
            Mode::Locks(policy) => {
                let history = first_accesses(history);
                judge(&history);
                assert!(classes::st(&history), "{}", render(&history));
                let rigorous = policy == LockPolicy::Sco || classes::ss2pl(&history);
                assert!(rigorous, "{}", render(&history));
            }
            Mode::Versions => {
                assert!(classes::one_copy(history), "{}", render(history));
                assert!(classes::mvco(history), "{}", render(history));
            }
            Mode::Optimistic => self.reads_are_serial(),
        }
        let reason = |reason| {
            let actors = self.world.actors.values();
            actors
                .filter(|actor| actor.txn.doomed() == Some(reason))
                .count()
        };
        let statistics = self.world.scheduler.statistics();
        Seen {
            withheld: statistics.withheld,
            cycles: statistics.cycles,
            overtaken: reason(AbortReason::Overtaken),
            cascades: reason(AbortReason::Cascade),
        }
    }

    /// The commit order is a serial order: each read saw what the last writer before its transaction's own
    /// commit had written.
    fn reads_are_serial(&self) {
        let commits = self.world.history.iter().filter(|op| op.act == Act::Commit);
        let order: Vec<_> = commits.map(|op| op.txn).collect();
        for (rank, txn) in order.iter().enumerate() {
            let operations = &self.world.actors[txn].operations;
            for read in operations.iter().filter(|op| op.act == Act::Read) {
                let writes = |writer: &&u32| self.world.versions_of(read.item).contains(writer);
                let last = order[..rank].iter().rev().find(writes).copied();
                assert_eq!(
                    read.version,
                    Some(last.unwrap_or(0)),
                    "{}",
                    render(&self.world.history)
                );
            }
        }
    }
}

/// Serializable by trying every order, the commit order among them, and recoverable.
fn judge(history: &[Op]) {
    let edges = classes::edges(history);
    let order: Vec<_> = history
        .iter()
        .filter(|op| op.act == Act::Commit)
        .map(|op| op.txn)
        .collect();
    let serial: Vec<_> = classes::permutations(&order)
        .into_iter()
        .filter(|order| classes::respects(order, &edges))
        .collect();
    assert!(
        serial.contains(&order),
        "the commit order is not serial: {}",
        render(history)
    );
    assert!(classes::rec(history), "{}", render(history));
}

/// Without the accesses that a lock already covered: a transaction reads its own copy again.
fn first_accesses(history: &[Op]) -> Vec<Op> {
    let covered = |index: usize, op: &Op| {
        history[..index].iter().any(|earlier| {
            earlier.txn == op.txn
                && earlier.item == op.item
                && (earlier.act == op.act || earlier.act == Act::Write)
        })
    };
    let mut kept = history.to_vec();
    let mut index = 0;
    kept.retain(|op| {
        index += 1;
        op.act.is_end() || !covered(index - 1, op)
    });
    kept
}

/// Ordered sharing: whatever is committed is serializable in commit order and recoverable, and no chain of
/// transactions that fall together is longer than allowed. Returns what the run came across.
fn share(longest_chain: u8, commands: &[Command]) -> (u64, u64) {
    let mut world = World::new(
        Mode::Locks(LockPolicy::OrderedSharing { longest_chain }),
        TRANSACTIONS,
    );
    let mut arrivals = Vec::new();
    for command in commands {
        match *command {
            Command::Operate(act, txn, item) if world.actors[&txn].is_idle() => {
                if world.operate(Op::new(act, txn, item)) == Step::Blocked {
                    arrivals.push(txn);
                }
            }
            Command::Vote(txn) if world.actors[&txn].is_idle() => world.request(txn).unwrap(),
            Command::Commit(txn) if world.state(txn) == State::Voted => {
                world.decide(txn, Outcome::Commit);
            }
            Command::Abort(txn) if world.state(txn).is_undecided() => {
                world.decide(txn, Outcome::Abort);
            }
            // Doomed from outside, and undone later.
            Command::Commit(txn) => {
                let actor = &world.actors[&txn];
                world.scheduler.doom(&actor.txn, AbortReason::Requested);
            }
            Command::Operate(..) | Command::Vote(_) | Command::Abort(_) => {}
        }
        // Whoever is doomed lingers until its own abort, as one does whose client is idle.
        world.granted(&arrivals);
    }
    for txn in 1..=TRANSACTIONS {
        if world.state(txn).is_undecided() {
            world.decide(txn, Outcome::Abort);
        }
    }
    assert!(world.scheduler.is_idle() && world.table.is_empty(), "I7");
    judge(&without_own_reads(&world.history));
    let statistics = world.scheduler.statistics();
    assert!(statistics.longest_chain <= u64::from(longest_chain).max(1));
    (statistics.cascaded, statistics.longest_chain)
}

/// Without the reads that a transaction serves from what it has read or written itself.
fn without_own_reads(history: &[Op]) -> Vec<Op> {
    let own = |index: usize, op: &Op| {
        let mut earlier = history[..index].iter();
        earlier.any(|earlier| {
            let same = earlier.txn == op.txn && earlier.item == op.item;
            same && matches!(earlier.act, Act::Read | Act::Write)
        })
    };
    let kept = history.iter().enumerate();
    let kept = kept.filter(|(index, op)| op.act != Act::Read || !own(*index, op));
    kept.map(|(_, op)| op.clone()).collect()
}

#[test]
fn random_schedules_under_ordered_sharing_cascade_and_reach_the_bound() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut cascaded, mut at_the_bound) = (0, 0);
    for _ in 0..2_000 {
        let commands = commands().new_tree(&mut runner).unwrap().current();
        let (fallen, longest) = share(2, &commands);
        cascaded += fallen;
        at_the_bound += u64::from(longest == 2);
    }
    assert!(
        cascaded >= 50 && at_the_bound >= 50,
        "{cascaded} {at_the_bound}"
    );
}

fn run(mode: Mode, commands: &[Command]) -> Seen {
    let mut run = Run::new(mode);
    for command in commands {
        run.step(*command);
    }
    run.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dirty_access_agrees_with_the_model(commands in commands()) {
        run(Mode::Dirty, &commands);
    }

    #[test]
    fn ss2pl_agrees_with_the_model(commands in commands()) {
        run(Mode::Locks(LockPolicy::Ss2pl), &commands);
    }

    #[test]
    fn sco_agrees_with_the_model(commands in commands()) {
        run(Mode::Locks(LockPolicy::Sco), &commands);
    }

    #[test]
    fn ordered_sharing_commits_in_order(commands in commands(), longest_chain in 0_u8..5) {
        share(longest_chain, &commands);
    }

    #[test]
    fn optimistic_validation_agrees_with_the_model(commands in commands()) {
        run(Mode::Optimistic, &commands);
    }

    #[test]
    fn versions_agree_with_the_model(commands in commands()) {
        run(Mode::Versions, &commands);
    }
}

/// What each engine must meet in random schedules, each at least ten times in three thousand runs.
#[test]
fn random_schedules_reach_the_interesting_cases() {
    let sco = Mode::Locks(LockPolicy::Sco);
    let ss2pl = Mode::Locks(LockPolicy::Ss2pl);
    for mode in [Mode::Dirty, ss2pl, sco, Mode::Optimistic, Mode::Versions] {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut seen = Seen::default();
        for _ in 0..3000 {
            let commands = commands().new_tree(&mut runner).unwrap().current();
            let run = run(mode, &commands);
            seen.withheld += run.withheld;
            seen.cycles += run.cycles;
            seen.overtaken += run.overtaken;
            seen.cascades += run.cascades;
        }
        // Rigorous schedules withhold nothing, and an optimistic transaction's cycle shows at its vote.
        assert_eq!(seen.withheld >= 10, mode != ss2pl, "{mode:?}: {seen:?}");
        assert!(seen.cycles >= 10, "{mode:?}: {seen:?}");
        assert_eq!(
            seen.cascades >= 10,
            mode == Mode::Dirty,
            "{mode:?}: {seen:?}"
        );
        let versioned = matches!(mode, Mode::Optimistic | Mode::Versions);
        assert_eq!(seen.overtaken >= 10, versioned, "{mode:?}: {seen:?}");
    }
}
