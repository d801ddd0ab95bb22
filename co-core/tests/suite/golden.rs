//! Textbook schedules, played on the engines of [`crate::world`], against transcripts in `tests/golden`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p co-core golden` writes the transcripts anew; read the difference. Apart
//! from the transcript, each row is checked against the table of classes below: an engine plays a schedule
//! unchanged exactly if the schedule belongs to the engine's class, and what it commits is commitment ordered.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use co_core::{LockPolicy, Outcome, Vote};

use crate::classes;
use crate::script::{Act, Op, parse, render};
use crate::world::{Mode, Step, World};

/// Columns: CSR CO REC ACA ST SS2PL SCO.
const SINGLE: [(&str, &str, &str); 13] = [
    ("S1", "r1(x) w2(x) c1 c2", "YYYYY-Y"),
    ("S2", "w1(x) r2(x) c1 c2", "YYY----"),
    ("S3", "r1(x) w2(x) c2 c1", "Y-YYY--"),
    ("S4", "r1(x) w2(x) w3(y) c3 r1(y) c1 c2", "YYYYY-Y"),
    ("S5", "r1(x) w2(x) r2(y) w1(y) c1 c2", "--YYY--"),
    ("S6", "w1(x) r2(x) c2 a1", "YY-----"),
    ("S7", "w1(x) r2(x) c2 c1", "Y------"),
    ("S8", "w1(x) w2(x) c1 c2", "YYYY---"),
    ("S9", "r1(a) w3(a) w3(b) c3 r2(b) c2 c1", "Y-YYY--"),
    ("S10", "r1(a) w3(a) w3(b) c3 r2(b) c1 c2", "Y-YYY--"),
    ("S11", "r1(x) r2(x) w1(x) c2 c1", "YYYYY-Y"),
    ("S12", "r1(x) r2(x) w1(x) w2(x) c1 c2", "--YY---"),
    ("S13", "i1(n) i2(n) c2 c1", "YYYYYYY"),
];

/// Columns: one-copy serializable, MVCO, MVCO with queries exempt.
const MULTI: [(&str, &str, &str); 7] = [
    ("M1", "w1(x) r2(x0) c2 c1", "YYY"),
    ("M2", "w1(x) r2(x0) c1 c2", "Y-Y"),
    ("M3", "r1(x0) w2(x) w2(y) c2 r1(y0) c1", "Y-Y"),
    ("M4", "r1(x0) r2(y0) w1(y) w2(x) c1 c2", "---"),
    ("M5", "r1(x0) w1(y) r2(x0) w2(x) c1 c2", "YYY"),
    ("M6", "r1(x0) w1(y) r2(x0) w2(x) c2 c1", "Y--"),
    (
        "M7",
        "r1(x0) r1(y0) w1(y) r2(x0) w2(x) c2 r3(x2) r3(y0) c3 c1",
        "---",
    ),
];

/// Whether a schedule belongs to a class.
pub(crate) type Class = fn(&[Op]) -> bool;

/// Plays one schedule: an operation of a transaction that waits is delayed, a commit is a vote request, and
/// the decision follows the vote at once.
pub(crate) struct Player {
    pub(crate) world: World,
    delayed: BTreeMap<u32, VecDeque<Op>>,
    arrivals: Vec<u32>,
    transcript: String,
}

impl Player {
    pub(crate) fn play(mode: Mode, schedule: &[Op]) -> Self {
        let count = schedule.iter().map(|op| op.txn).max().unwrap_or(0);
        let mut player = Self {
            world: World::new(mode, count),
            delayed: BTreeMap::new(),
            arrivals: Vec::new(),
            transcript: String::new(),
        };
        for op in schedule {
            player.arrive(op.clone());
        }
        assert!(
            player.delayed.values().all(VecDeque::is_empty),
            "{}",
            player.transcript
        );
        assert_eq!(
            player.world.scheduler.undecided(),
            0,
            "I7: {}",
            player.transcript
        );
        assert!(player.world.table.is_empty(), "I7: {}", player.transcript);
        player
    }

    fn say(&mut self, op: &Op, what: &str) {
        writeln!(self.transcript, "{:<8}{what}", op.to_string()).unwrap();
    }

    fn arrive(&mut self, op: Op) {
        let actor = &self.world.actors[&op.txn];
        if !actor.txn.state().is_undecided() {
            self.say(&op, "ignored: the transaction has ended");
        } else if actor.is_idle() || op.act == Act::Abort {
            self.execute(op);
            self.settle();
        } else {
            self.say(&op, "delayed: the transaction waits");
            self.delayed.entry(op.txn).or_default().push_back(op);
        }
    }

    fn execute(&mut self, op: Op) {
        match op.act {
            Act::Commit => self.commit(&op),
            Act::Abort => {
                self.say(&op, "aborted");
                self.delayed.remove(&op.txn);
                self.world.decide(op.txn, Outcome::Abort);
            }
            Act::Read | Act::Write | Act::Increment => match self.world.operate(op.clone()) {
                Step::Executed(executed, edges) => {
                    let mut what = if executed == op {
                        "executed".to_owned()
                    } else {
                        format!("executed as {executed}: the version asked for is not committed")
                    };
                    for (from, to) in edges {
                        write!(what, ", T{from} precedes T{to}").unwrap();
                    }
                    self.say(&op, &what);
                }
                Step::Blocked => {
                    self.arrivals.push(op.txn);
                    let what = format!("waits for {}", self.waits_for(op.txn));
                    self.say(&op, &what);
                }
                Step::Refused(reason) => {
                    self.say(&op, &format!("refused: {reason}"));
                }
            },
        }
    }

    fn commit(&mut self, op: &Op) {
        self.world.request(op.txn).unwrap();
        match self.world.vote(op.txn) {
            Some(Vote::Yes) => {
                self.say(op, "voted, committed");
                self.world.decide(op.txn, Outcome::Commit);
            }
            Some(Vote::No(reason)) => self.say(op, &format!("voted no: {reason}")),
            None => {
                let what = format!("withheld until {} ended", self.waits_for(op.txn));
                self.say(op, &what);
            }
        }
    }

    fn waits_for(&self, number: u32) -> String {
        let blockers = self
            .world
            .scheduler
            .blocked_by(&self.world.actors[&number].txn);
        let names: Vec<_> = blockers
            .iter()
            .map(|(gtid, _)| format!("T{}", gtid.0))
            .collect();
        names.join(", ")
    }

    /// Everything that follows by itself: dooms, grants, released votes.
    fn settle(&mut self) {
        loop {
            let doomed = self.world.scheduler.take_doomed();
            for txn in &doomed {
                let number = self.world.number(txn);
                if txn.state().is_undecided() {
                    let what = format!("doomed: {}", txn.doomed().unwrap());
                    self.say(&Op::end(Act::Abort, number), &what);
                    self.delayed.remove(&number);
                    self.world.decide(number, Outcome::Abort);
                }
            }
            let granted = self.world.granted(&self.arrivals);
            for op in &granted {
                self.say(op, "granted");
            }
            let released = self.release_votes();
            let resumed = self.resume();
            if doomed.is_empty() && granted.is_empty() && !released && !resumed {
                return;
            }
        }
    }

    fn release_votes(&mut self) -> bool {
        let voted = |number: &u32| {
            self.world.state(*number).is_undecided() && self.world.vote(*number) == Some(Vote::Yes)
        };
        let released: Vec<_> = self.world.actors.keys().copied().filter(voted).collect();
        for number in &released {
            self.say(&Op::end(Act::Commit, *number), "released, committed");
            self.world.decide(*number, Outcome::Commit);
        }
        !released.is_empty()
    }

    fn resume(&mut self) -> bool {
        let idle = |number: &u32| self.world.actors[number].is_idle();
        let Some(number) = self.delayed.keys().copied().find(idle) else {
            return false;
        };
        let queue = self.delayed.get_mut(&number).unwrap();
        let next = queue.pop_front();
        if queue.is_empty() {
            self.delayed.remove(&number);
        }
        if let Some(op) = next {
            self.execute(op);
        }
        true
    }
}

fn columns(schedule: &[Op], classes: &[Class]) -> String {
    let mark = |class: &Class| if class(schedule) { 'Y' } else { '-' };
    classes.iter().map(mark).collect()
}

fn section(name: &str, player: &Player, unchanged: bool) -> String {
    let history = render(&player.world.history);
    let verdict = if unchanged {
        "as given"
    } else {
        "reordered or aborted"
    };
    format!(
        "\n[{name}]\n{}history: {history}   ({verdict})\n",
        player.transcript
    )
}

/// Compares with the file, or writes it.
fn check_golden(id: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{id}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{id}: see the head of golden.rs");
}

#[test]
fn single_version_schedules_play_as_their_class_says() {
    let classes: [Class; 7] = [
        classes::csr,
        classes::co,
        classes::rec,
        classes::aca,
        classes::st,
        classes::ss2pl,
        classes::sco,
    ];
    let engines: [(&str, Mode, Class); 3] = [
        ("dirty access", Mode::Dirty, classes::withheld_nothing),
        ("SS2PL", Mode::Locks(LockPolicy::Ss2pl), classes::ss2pl),
        ("SCO", Mode::Locks(LockPolicy::Sco), |schedule| {
            classes::st(schedule) && classes::withheld_nothing(schedule)
        }),
    ];
    for (id, text, expected) in SINGLE {
        let schedule = parse(text);
        assert_eq!(columns(&schedule, &classes), expected, "{id}");
        let mut golden = format!("{id}: {text}\nCSR CO REC ACA ST SS2PL SCO: {expected}\n");
        for (name, mode, class) in engines {
            let player = Player::play(mode, &schedule);
            let history = &player.world.history;
            let unchanged = *history == schedule;
            assert_eq!(
                unchanged,
                class(&schedule),
                "{id} {name}: {}",
                render(history)
            );
            assert!(classes::co(history), "{id} {name}: {}", render(history));
            assert!(classes::rec(history), "{id} {name}: {}", render(history));
            golden += &section(name, &player, unchanged);
        }
        check_golden(id, &golden);
    }
}

#[test]
fn multi_version_schedules_play_as_their_class_says() {
    let classes: [Class; 3] = [
        classes::one_copy,
        classes::mvco,
        classes::mvco_queries_exempt,
    ];
    for (id, text, expected) in MULTI {
        let schedule = parse(text);
        assert_eq!(columns(&schedule, &classes), expected, "{id}");
        let player = Player::play(Mode::Versions, &schedule);
        let history = &player.world.history;
        let unchanged = *history == schedule;
        assert_eq!(
            unchanged,
            classes::mvco(&schedule),
            "{id}: {}",
            render(history)
        );
        assert!(
            classes::mvco(history) && classes::one_copy(history),
            "{id}: {}",
            render(history)
        );
        let head = format!("{id}: {text}\n1SR MVCO MVCO-without-queries: {expected}\n");
        check_golden(id, &(head + &section("versions", &player, unchanged)));
    }
}
