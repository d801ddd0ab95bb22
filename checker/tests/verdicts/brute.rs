//! Small random histories against the definitions: every choice of what became of the untold, in every order.
//!
//! Values are appended and written twice, outcomes are not told in the middle of sessions and with ends, transactions
//! have no session or no interval, and each level is asked for alone.

use checker::assess::Verdict;
use checker::observed::{Observed, Op, Outcome, TxnIndex, Value};

use crate::{asked, history};

/// Numbers that look random.
struct Draws(u64);

impl Draws {
    fn draw(&mut self, below: u32) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = (self.0 >> 33) % u64::from(below);
        usize::try_from(drawn).expect("less than a number of 32 bits")
    }

    fn records(&mut self, lists: bool, timed: bool) -> String {
        let count = 2 + self.draw(3);
        let txn = |_| {
            let outcome = ["c", "c", "c", "u", "a"][self.draw(5)];
            let session = ["0", "0", "1", "-"][self.draw(4)];
            let begin = self.draw(9);
            let interval = match (timed, self.draw(4)) {
                (false, _) => "-".to_owned(),
                (true, 0) if outcome == "u" => format!("{begin}.."),
                (true, _) => format!("{begin}..{}", begin + self.draw(4)),
            };
            let mut text = format!("{outcome} {session} {interval}");
            for _ in 0..=self.draw(3) {
                let key = ["x", "y"][self.draw(2)];
                let (one, other) = (self.draw(3) + 1, self.draw(3) + 1);
                text += &match (lists, self.draw(5)) {
                    (true, 0 | 1) => format!(" a:{key}={one}"),
                    (false, 0 | 1) => format!(" w:{key}={one}"),
                    (true, 2) => format!(" l:{key}=[]"),
                    (false, 2) => format!(" r:{key}=~"),
                    (true, 3) => format!(" l:{key}=[{one}]"),
                    (true, _) => format!(" l:{key}=[{one},{other}]"),
                    (false, _) => format!(" r:{key}={one}"),
                };
            }
            text
        };
        (0..count).map(txn).collect::<Vec<_>>().join(" / ")
    }
}

/// Which order an explanation must keep.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    None,
    Sessions,
    RealTime,
}

fn precedes(history: &Observed, kept: Kept, one: TxnIndex, other: TxnIndex) -> bool {
    let (first, second) = (history.txn(one), history.txn(other));
    let session = first.session.is_some() && first.session == second.session && one < other;
    let times = first.interval.zip(second.interval);
    let ended = times.is_some_and(|(first, second)| first.end < second.begin);
    first.outcome == Outcome::Committed
        && match kept {
            Kept::None => false,
            Kept::Sessions => session,
            Kept::RealTime => session || ended,
        }
}

/// The state after a transaction; nothing if it read something else.
fn run(history: &Observed, txn: TxnIndex, state: &[Vec<Value>]) -> Option<Vec<Vec<Value>>> {
    let mut state = state.to_vec();
    for op in history.ops(txn) {
        let held = &mut state[op.key().0 as usize];
        let as_read = match *op {
            Op::Write { value, .. } => {
                *held = vec![value];
                true
            }
            Op::Append { value, .. } => {
                held.push(value);
                true
            }
            Op::Read { value, .. } => held.last().copied() == value,
            Op::ReadList { elements, .. } => held == history.elements(elements),
            Op::Unseen { .. } => true,
        };
        if !as_read {
            return None;
        }
    }
    Some(state)
}

/// Whether some order of all that committed, and of any that may have, explains every read.
fn explained(history: &Observed, kept: Kept, state: &[Vec<Value>], left: &[TxnIndex]) -> bool {
    let outcome = |txn: TxnIndex| history.txn(txn).outcome;
    if left.iter().all(|&txn| outcome(txn) == Outcome::Unknown) {
        return true;
    }
    left.iter().any(|&txn| {
        let free = left
            .iter()
            .all(|&other| other == txn || !precedes(history, kept, other, txn));
        // What an untold one follows must be before it, and what it would follow and is left is not: leave it out.
        let rest: Vec<TxnIndex> = left.iter().copied().filter(|&other| other != txn).collect();
        free && run(history, txn, state)
            .is_some_and(|state| explained(history, kept, &state, &rest))
    })
}

#[test]
fn no_verdict_contradicts_the_definitions() {
    let levels = [
        ("serializable", Kept::None),
        ("strong-session-serializable", Kept::Sessions),
        ("strict-serializable", Kept::RealTime),
    ];
    let mut draws = Draws(7);
    let mut counts = [0_u32; 3];
    for round in 0..12_000 {
        let (lists, timed) = (round % 2 == 0, round % 4 < 2);
        let records = draws.records(lists, timed);
        let history = history(&records);
        let candidates: Vec<TxnIndex> = history
            .indexes()
            .filter(|&txn| history.txn(txn).outcome != Outcome::Aborted)
            .collect();
        let start = vec![Vec::new(); history.key_count()];
        for (name, kept) in levels {
            let assessment = asked(&history, &[name]);
            assert_eq!(assessment.troubles, [], "{records}");
            let truth = explained(&history, kept, &start, &candidates);
            let verdict = assessment.verdict();
            match verdict {
                Verdict::Valid => assert!(truth, "{name} is said to hold: {records}"),
                Verdict::Invalid => assert!(!truth, "{name} is said not to hold: {records}"),
                Verdict::Unknown => {}
            }
            counts[verdict as usize] += 1;
        }
    }
    assert!(counts.iter().all(|&count| count > 1_000), "{counts:?}");
}
