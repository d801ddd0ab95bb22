//! Small histories, and what holds of them by definition: every order is tried. Shares nothing with what it tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a module of test crates, each of which needs other parts of it"
)]

use checker::observed::{Interval, Observed, ObservedBuilder, Outcome};

/// One operation; keys and values are small numbers, a value is unique among all writes of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Append(u8, u8),
    List(u8, Vec<u8>),
    Write(u8, u8),
    Read(u8, Option<u8>),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Small {
    pub(crate) acts: Vec<Act>,
    pub(crate) outcome: Outcome,
    pub(crate) session: Option<u32>,
    pub(crate) interval: Option<(u32, u32)>,
}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |key: u8| ["x", "y", "z", "u"][key as usize];
        for act in &self.acts {
            match act {
                Act::Append(key, value) => write!(f, "a{}{value} ", name(*key))?,
                Act::List(key, list) => write!(f, "r{}{list:?} ", name(*key))?,
                Act::Write(key, value) => write!(f, "w{}{value} ", name(*key))?,
                Act::Read(key, value) => write!(f, "r{}{value:?} ", name(*key))?,
            }
        }
        write!(f, "{:?}", self.outcome)?;
        self.session
            .iter()
            .try_for_each(|session| write!(f, " s{session}"))?;
        self.interval
            .iter()
            .try_for_each(|interval| write!(f, " {interval:?}"))
    }
}

impl Small {
    pub(crate) fn new(acts: Vec<Act>) -> Self {
        Self {
            acts,
            outcome: Outcome::Committed,
            session: None,
            interval: None,
        }
    }
}

pub(crate) fn observed(txns: &[Small]) -> Observed {
    let mut builder = ObservedBuilder::new("small");
    let keys = [
        builder.key("x").unwrap(),
        builder.key("y").unwrap(),
        builder.key("z").unwrap(),
        builder.key("u").unwrap(),
    ];
    for (line, txn) in (1..).zip(txns) {
        for act in &txn.acts {
            match act {
                Act::Append(key, value) => {
                    let value = builder.value(&value.to_string()).unwrap();
                    builder.append(keys[*key as usize], value).unwrap();
                }
                Act::List(key, list) => {
                    let list: Vec<_> = list
                        .iter()
                        .map(|value| builder.value(&value.to_string()).unwrap())
                        .collect();
                    builder.read_list(keys[*key as usize], &list).unwrap();
                }
                Act::Write(key, value) => {
                    let value = builder.value(&value.to_string()).unwrap();
                    builder.write(keys[*key as usize], value).unwrap();
                }
                Act::Read(key, value) => {
                    let value = value.map(|value| builder.value(&value.to_string()).unwrap());
                    builder.read(keys[*key as usize], value).unwrap();
                }
            }
        }
        let interval = txn.interval.map(|(begin, end)| Interval { begin, end });
        builder
            .end(txn.session, txn.outcome, interval, line)
            .unwrap();
    }
    builder.finish()
}

/// Which orders of transactions are meant besides those that values show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    None,
    Session,
    Real,
}

/// Whether `one` must come before `other`.
fn precedes(txns: &[Small], time: Time, one: usize, other: usize) -> bool {
    // Nobody knows when a transaction without an answer took effect.
    if txns[one].outcome != Outcome::Committed {
        return false;
    }
    let session =
        || txns[one].session.is_some() && txns[one].session == txns[other].session && one < other;
    let real = || {
        txns[one]
            .interval
            .zip(txns[other].interval)
            .is_some_and(|(one, other)| one.1 < other.0)
    };
    match time {
        Time::None => false,
        Time::Session => session(),
        Time::Real => session() || real(),
    }
}

/// Each choice of which transactions without an answer committed.
fn choices(txns: &[Small]) -> Vec<Vec<usize>> {
    let mut choices = vec![Vec::new()];
    for (index, txn) in txns.iter().enumerate() {
        let with = choices
            .iter()
            .map(|choice: &Vec<usize>| [choice.as_slice(), &[index]].concat())
            .collect::<Vec<_>>();
        match txn.outcome {
            Outcome::Committed => choices = with,
            Outcome::Aborted => {}
            Outcome::Unknown => choices.extend(with),
        }
    }
    choices
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, &item) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(at);
        for mut order in permutations(&rest) {
            order.insert(0, item);
            all.push(order);
        }
    }
    all
}

#[derive(Debug, Clone, Default)]
struct Store {
    lists: [Vec<u8>; 4],
    registers: [Option<u8>; 4],
}

impl Store {
    /// Runs a transaction; whether all its reads are right. A transaction that got no answer read nothing known.
    fn run(&mut self, txn: &Small) -> bool {
        for act in &txn.acts {
            match act {
                Act::Append(key, value) => self.lists[*key as usize].push(*value),
                Act::Write(key, value) => self.registers[*key as usize] = Some(*value),
                Act::List(key, list) if self.lists[*key as usize] != *list => return false,
                Act::Read(key, value) if self.registers[*key as usize] != *value => return false,
                Act::List(..) | Act::Read(..) => {}
            }
        }
        true
    }
}

/// Whether there is a serial order.
pub(crate) fn serializable(txns: &[Small], time: Time) -> bool {
    choices(txns).iter().any(|choice| {
        permutations(choice).iter().any(|order| {
            let mut store = Store::default();
            let late = |at: usize, txn: usize| {
                order[at + 1..]
                    .iter()
                    .any(|&after| precedes(txns, time, after, txn))
            };
            order
                .iter()
                .enumerate()
                .all(|(at, &txn)| !late(at, txn) && store.run(&txns[txn]))
        })
    })
}

/// Whether there is an order of beginnings and commits with snapshot reads in which of two writers of a key one has
/// committed before the other begins.
pub(crate) fn snapshot_isolation(txns: &[Small], time: Time) -> bool {
    choices(txns).iter().any(|choice| {
        let mut run = SnapshotRun { txns, choice, time };
        run.go(
            &mut vec![None; txns.len()],
            &mut vec![false; txns.len()],
            &Store::default(),
        )
    })
}

struct SnapshotRun<'a> {
    txns: &'a [Small],
    choice: &'a [usize],
    time: Time,
}

impl SnapshotRun<'_> {
    fn go(
        &mut self,
        begun: &mut Vec<Option<Store>>,
        done: &mut Vec<bool>,
        committed: &Store,
    ) -> bool {
        if self.choice.iter().all(|&txn| done[txn]) {
            return true;
        }
        for &txn in self.choice {
            if done[txn] {
                continue;
            }
            if let Some(snapshot) = begun[txn].take() {
                if let Some(next) = self.commit(txn, &snapshot, begun, committed) {
                    done[txn] = true;
                    if self.go(begun, done, &next) {
                        return true;
                    }
                    done[txn] = false;
                }
                begun[txn] = Some(snapshot);
            } else if self.may_begin(txn, begun, done) {
                begun[txn] = Some(committed.clone());
                if self.go(begun, done, committed) {
                    return true;
                }
                begun[txn] = None;
            }
        }
        false
    }

    fn may_begin(&self, txn: usize, begun: &[Option<Store>], done: &[bool]) -> bool {
        let first = self
            .choice
            .iter()
            .all(|&before| done[before] || !precedes(self.txns, self.time, before, txn));
        // A writer of the same key that is running would commit after this one began.
        let free = self
            .choice
            .iter()
            .all(|&other| begun[other].is_none() || !conflict(&self.txns[txn], &self.txns[other]));
        first && free
    }

    fn commit(
        &self,
        txn: usize,
        snapshot: &Store,
        _begun: &[Option<Store>],
        committed: &Store,
    ) -> Option<Store> {
        let mut seen = snapshot.clone();
        if !seen.run(&self.txns[txn]) {
            return None;
        }
        let mut next = committed.clone();
        for act in &self.txns[txn].acts {
            match act {
                Act::Append(key, _) => {
                    next.lists[*key as usize].clone_from(&seen.lists[*key as usize])
                }
                Act::Write(key, _) => next.registers[*key as usize] = seen.registers[*key as usize],
                Act::List(..) | Act::Read(..) => {}
            }
        }
        Some(next)
    }
}

fn written(act: &Act) -> Option<(u8, u8)> {
    match act {
        Act::Append(key, value) | Act::Write(key, value) => Some((*key, *value)),
        Act::List(..) | Act::Read(..) => None,
    }
}

fn conflict(one: &Small, other: &Small) -> bool {
    let keys = |txn: &Small| {
        txn.acts
            .iter()
            .filter_map(written)
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    keys(one).iter().any(|key| keys(other).contains(key))
}

/// Which dependencies must not be cyclic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phenomena {
    /// Adya's PL-2: ww and wr.
    Flow,
    /// Adya's PL-2.99, where all reads are of keys: ww, wr and rw.
    Item,
}

/// Adya's definitions: whether there are version orders of each key under which every read is of a committed last
/// version (or of what the transaction wrote itself) and the dependencies are not cyclic.
pub(crate) fn adya(txns: &[Small], phenomena: Phenomena, time: Time) -> bool {
    choices(txns).iter().any(|choice| {
        let writers = |key: u8| {
            let wrote = |&txn: &usize| {
                txns[txn]
                    .acts
                    .iter()
                    .filter_map(written)
                    .any(|(of, _)| of == key)
            };
            choice.iter().copied().filter(wrote).collect::<Vec<_>>()
        };
        let orders: Vec<Vec<Vec<usize>>> = (0..4).map(|key| permutations(&writers(key))).collect();
        let mut at = [0; 4];
        loop {
            let chosen: Vec<&[usize]> = (0..4).map(|key| orders[key][at[key]].as_slice()).collect();
            if acyclic_under(txns, choice, &chosen, phenomena, time) {
                return true;
            }
            let Some(key) = (0..4).find(|&key| at[key] + 1 < orders[key].len()) else {
                return false;
            };
            at[..key].fill(0);
            at[key] += 1;
        }
    })
}

/// The states that a key had: what it held after each of its writers.
fn states(txns: &[Small], order: &[usize], key: u8) -> Vec<Vec<u8>> {
    let mut states = vec![Vec::new()];
    for &txn in order {
        let mut state = states.last().unwrap().clone();
        for act in &txns[txn].acts {
            match act {
                Act::Append(of, value) if *of == key => state.push(*value),
                Act::Write(of, value) if *of == key => state = vec![*value],
                _ => {}
            }
        }
        states.push(state);
    }
    states
}

fn acyclic_under(
    txns: &[Small],
    choice: &[usize],
    orders: &[&[usize]],
    phenomena: Phenomena,
    time: Time,
) -> bool {
    let n = txns.len();
    let mut before = vec![vec![false; n]; n];
    for order in orders {
        for pair in order.windows(2) {
            before[pair[0]][pair[1]] = true;
        }
    }
    for &txn in choice {
        for &other in choice {
            before[txn][other] |= txn != other && precedes(txns, time, txn, other);
        }
        for (place, act) in txns[txn].acts.iter().enumerate() {
            let (key, seen) = match act {
                Act::List(key, list) => (*key, list.clone()),
                Act::Read(key, value) => (*key, value.iter().copied().collect()),
                Act::Append(..) | Act::Write(..) => continue,
            };
            let order = orders[key as usize];
            let states = states(txns, order, key);
            let mut own = Vec::new();
            for act in &txns[txn].acts[..place] {
                own.extend(
                    written(act)
                        .filter(|&(of, _)| of == key)
                        .map(|(_, value)| value),
                );
            }
            let Some(version) = version_read(
                txn,
                order,
                &states,
                &seen,
                &own,
                matches!(act, Act::List(..)),
            ) else {
                return false;
            };
            if version > 0 && order[version - 1] != txn {
                before[order[version - 1]][txn] = true;
            }
            if phenomena == Phenomena::Item
                && let Some(&next) = order.get(version)
                && next != txn
            {
                before[txn][next] = true;
            }
        }
    }
    for via in 0..n {
        for one in 0..n {
            for other in 0..n {
                before[one][other] |= before[one][via] && before[via][other];
            }
        }
    }
    (0..n).all(|txn| !before[txn][txn])
}

/// How many writers had installed when the state was read: one of the states, or what the reader itself had written
/// so far on top of the state that it found.
fn version_read(
    reader: usize,
    order: &[usize],
    states: &[Vec<u8>],
    seen: &[u8],
    own: &[u8],
    is_list: bool,
) -> Option<usize> {
    let mine = order.iter().position(|&txn| txn == reader);
    for (version, state) in states.iter().enumerate() {
        // Its own last version is there only after it has written all of it.
        let complete = mine.is_none_or(|mine| {
            version <= mine
                || if is_list {
                    states[mine + 1].len() == states[mine].len() + own.len()
                } else {
                    version > mine + 1 || own.last() == states[mine + 1].last()
                }
        });
        if state == seen && complete {
            return Some(version);
        }
    }
    let mine = mine?;
    let on_top = |count: usize| [states[mine].as_slice(), &own[..count]].concat() == seen;
    let partial = is_list && (0..=own.len()).any(on_top);
    let register = !is_list && seen.len() == 1 && own.contains(&seen[0]);
    (partial || register).then_some(mine + 1)
}

/// Whether lists can have been written without a cycle of writes alone, if each read shows the order of the appends it
/// shows. `None` if reads contradict each other, so that they show nothing certain.
pub(crate) fn write_cycles_free(txns: &[Small], time: Time) -> Option<bool> {
    let mut committed: Vec<usize> = (0..txns.len())
        .filter(|&txn| txns[txn].outcome == Outcome::Committed)
        .collect();
    // Without an answer, and without reads of its own: it committed if somebody saw it.
    for txn in (0..txns.len()).filter(|&txn| txns[txn].outcome == Outcome::Unknown) {
        let saw = |&reader: &usize| {
            txns[reader].acts.iter().any(|act| match act {
                Act::List(key, list) => list
                    .iter()
                    .any(|&value| txns[txn].acts.contains(&Act::Append(*key, value))),
                _ => false,
            })
        };
        if committed.iter().any(saw) {
            committed.push(txn);
        }
    }
    let mut longest = vec![Vec::new(); 4];
    for act in committed.iter().flat_map(|&txn| &txns[txn].acts) {
        if let Act::List(key, list) = act {
            let best: &mut Vec<u8> = &mut longest[*key as usize];
            if !best.starts_with(list) && !list.starts_with(best) {
                return None;
            }
            if list.len() > best.len() {
                best.clone_from(list);
            }
        }
    }
    let writer = |key: u8, value: u8| {
        committed
            .iter()
            .copied()
            .find(|&txn| txns[txn].acts.contains(&Act::Append(key, value)))
    };
    let n = txns.len();
    let mut known = vec![vec![false; n]; n];
    for &one in &committed {
        for &other in &committed {
            known[one][other] = one != other && precedes(txns, time, one, other);
        }
    }
    for key in 0..4_u8 {
        let shown: Vec<usize> = longest[key as usize]
            .iter()
            .filter_map(|&value| writer(key, value))
            .collect();
        for pair in shown.windows(2) {
            known[pair[0]][pair[1]] |= pair[0] != pair[1];
        }
        for act in committed.iter().flat_map(|&txn| &txns[txn].acts) {
            if let Act::Append(of, value) = act
                && *of == key
                && !longest[key as usize].contains(value)
                && let (Some(&last), Some(writer)) = (shown.last(), writer(key, *value))
            {
                known[last][writer] |= last != writer;
            }
        }
    }
    // Appends that nobody read may be in any order that agrees with the rest.
    Some(permutations(&committed).iter().any(|order| {
        let place = |txn: usize| order.iter().position(|&one| one == txn);
        (0..n).all(|one| (0..n).all(|other| !known[one][other] || place(one) < place(other)))
    }))
}
