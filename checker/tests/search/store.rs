//! Stores of known isolation, whose histories are large and come with no order of versions.

use checker::observed::{Interval, Key, Observed, ObservedBuilder, Op, Outcome, Value};

/// A small generator of numbers (xorshift).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 20) % u64::from(below)).unwrap()
    }
}

/// What a workload looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) txns: u32,
    pub(crate) sessions: u32,
    pub(crate) ops: u32,
    pub(crate) keys: u32,
    pub(crate) writes_percent: u32,
    /// How many transactions run at the same time on snapshots; 1 is a serial store.
    pub(crate) overlap: u32,
    /// Where a write skew is planted.
    pub(crate) skew: Option<u32>,
}

/// One transaction that has run: key, value, whether it was written.
pub(crate) type Ran = Vec<(u32, Option<u64>, bool)>;

/// Runs the workload; the transactions in the order of their commits, with their intervals.
pub(crate) fn run(work: Workload, seed: u64) -> Vec<(u32, Ran, (u32, u32))> {
    let mut draw = Draw::new(seed);
    let mut state: Vec<Option<u64>> = vec![None; work.keys as usize];
    let mut installed: Vec<u32> = vec![0; work.keys as usize];
    let (mut done, mut next) = (Vec::new(), 0_u64);
    let mut running: Vec<(u32, u32, Ran)> = Vec::new();
    let mut now = 0;
    while u32::try_from(done.len()).unwrap() < work.txns {
        now += 1;
        if u32::try_from(running.len()).unwrap() < work.overlap.min(work.sessions) {
            let session = draw.below(work.sessions);
            if running.iter().any(|(busy, ..)| *busy == session) {
                continue;
            }
            let mut keys: Vec<u32> = Vec::new();
            while u32::try_from(keys.len()).unwrap() < work.ops.min(work.keys) {
                let key = draw.below(work.keys);
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            let mut ran = Ran::new();
            for key in keys {
                let write = draw.below(100) < work.writes_percent;
                next += u64::from(write);
                ran.push((
                    key,
                    if write {
                        Some(next)
                    } else {
                        state[key as usize]
                    },
                    write,
                ));
            }
            running.push((session, now, ran));
            continue;
        }
        let place = draw.below(u32::try_from(running.len()).unwrap());
        let (session, began, ran) = running.swap_remove(place as usize);
        let written =
            |(key, value, write): &(u32, Option<u64>, bool)| write.then_some((*key, *value));
        if ran
            .iter()
            .filter_map(written)
            .any(|(key, _)| installed[key as usize] > began)
        {
            continue;
        }
        for (key, value) in ran.iter().filter_map(written) {
            (state[key as usize], installed[key as usize]) = (value, now);
        }
        done.push((session, ran, (began, now)));
        if work.skew == Some(u32::try_from(done.len()).unwrap()) {
            plant_skew(&mut done, &mut state, &mut next, &mut now);
        }
    }
    done
}

/// Two transactions of two sessions that read the same two keys; each writes one of them.
fn plant_skew(
    done: &mut Vec<(u32, Ran, (u32, u32))>,
    state: &mut [Option<u64>],
    next: &mut u64,
    now: &mut u32,
) {
    let (x, y) = (0, 1);
    let reads = [(x, state[x as usize], false), (y, state[y as usize], false)];
    for (session, written) in [(0, x), (1, y)] {
        *next += 1;
        *now += 1;
        let mut ran = reads.to_vec();
        ran.push((written, Some(*next), true));
        done.push((session, ran, (*now - 1, *now)));
    }
    for (back, written) in [(2, x), (1, y)] {
        state[written as usize] = done[done.len() - back].1[2].1;
    }
}

/// How much of what ran the history tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Session by session, without time.
    Sessions,
    /// In the order of commits, without time.
    Commits,
    /// In the order of commits, with intervals.
    Intervals,
}

/// The history of a run.
pub(crate) fn history(ran: &[(u32, Ran, (u32, u32))], told: Told) -> Observed {
    let mut order: Vec<usize> = (0..ran.len()).collect();
    if told == Told::Sessions {
        order.sort_by_key(|at| ran[*at].0);
    }
    let mut builder = ObservedBuilder::new("a store");
    for (at, line) in order.into_iter().zip(1..) {
        let (session, ops, (begin, end)) = &ran[at];
        for (key, value, write) in ops {
            let key: Key = builder.key(&key.to_string()).unwrap();
            let value = value.map(|value| Value::number(value).unwrap());
            match (write, value) {
                (true, Some(value)) => builder.write(key, value).unwrap(),
                _ => builder.read(key, value).unwrap(),
            }
        }
        let interval = (told == Told::Intervals).then_some(Interval {
            begin: *begin,
            end: *end,
        });
        builder
            .end(Some(*session), Outcome::Committed, interval, line)
            .unwrap();
    }
    builder.finish()
}

/// The same transactions, without sessions, and those of odd places before those of even ones.
pub(crate) fn anonymous(history: &Observed) -> Observed {
    let mut builder = ObservedBuilder::new("anonymous");
    let odd = history.indexes().skip(1).step_by(2);
    for txn in odd.chain(history.indexes().step_by(2)) {
        for op in history.ops(txn) {
            let key = builder.key(history.key_name(op.key())).unwrap();
            match *op {
                Op::Write { value, .. } => {
                    let value = builder.value(&history.value_name(value)).unwrap();
                    builder.write(key, value).unwrap();
                }
                Op::Read { value, .. } => {
                    let value =
                        value.map(|value| builder.value(&history.value_name(value)).unwrap());
                    builder.read(key, value).unwrap();
                }
                Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {
                    panic!("registers only")
                }
            }
        }
        let it = history.txn(txn);
        builder.end(None, it.outcome, it.interval, it.line).unwrap();
    }
    builder.finish()
}
