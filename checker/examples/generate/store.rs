//! A store that runs transactions one at a time, and what its clients saw of it.
#![allow(
    clippy::unwrap_used,
    reason = "numbers that are small enough by construction"
)]

use checker::observed::{Interval, Key, Observed, ObservedBuilder, ObservedFault, Outcome, Value};
use clap::ValueEnum;

/// What keys hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Lists, that are read and appended to.
    ListAppend,
    /// Registers, that are read and written.
    RwRegister,
}

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// Nothing: the history is strictly serializable.
    None,
    /// Each of two reads both keys in their initial state and writes one.
    WriteSkew,
    /// Each of two reads one key in its initial state and writes it.
    LostUpdate,
    /// Each of two reads what the other wrote.
    G1c,
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// What keys hold.
    pub(crate) kind: Kind,
    /// How many transactions.
    pub(crate) txns: u32,
    /// How many sessions.
    pub(crate) sessions: u32,
    /// How many operations a transaction has.
    pub(crate) ops: u32,
    /// How many keys; half as many as transactions if not given.
    pub(crate) keys: Option<u32>,
    /// What to plant.
    pub(crate) plant: Plant,
    /// Whether transactions have an interval in real time.
    pub(crate) timed: bool,
    /// Another seed makes another history.
    pub(crate) seed: u64,
}

impl Plan {
    /// Makes the history.
    pub(crate) fn run(&self) -> Result<Observed, ObservedFault> {
        Store::new(self).run(self)
    }
}

/// Numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below_wide(u64::from(bound))).unwrap()
    }

    pub(crate) fn below_wide(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let scaled = (u128::from(mixed) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap()
    }
}

/// A store that runs transactions one at a time, and what its clients saw.
struct Store {
    kind: Kind,
    timed: bool,
    random: Random,
    builder: ObservedBuilder,
    /// The lists, or what was last written, of keys by their number.
    lists: Vec<Vec<Value>>,
    registers: Vec<Option<Value>>,
    /// The next value of each key.
    next: Vec<u64>,
    names: Vec<Option<Key>>,
}

impl Store {
    fn new(plan: &Plan) -> Self {
        // Two keys more, for what is planted.
        let keys = plan.keys.unwrap_or(plan.txns / 2).max(plan.ops);
        let count = keys as usize + 2;
        Self {
            kind: plan.kind,
            timed: plan.timed,
            random: Random(plan.seed),
            builder: ObservedBuilder::new("generated"),
            lists: vec![Vec::new(); count],
            registers: vec![None; count],
            next: vec![1; count],
            names: vec![None; count],
        }
    }

    fn run(mut self, plan: &Plan) -> Result<Observed, ObservedFault> {
        let mut begins: Vec<Option<u32>> = vec![None; plan.sessions.max(2) as usize];
        let mut clock = 0;
        let mut done = 0;
        while done < plan.txns {
            if done == plan.txns / 2 && plan.plant != Plant::None {
                for (session, begin) in begins.iter_mut().enumerate() {
                    if let Some(begin) = begin.take() {
                        self.transaction(plan.ops)?;
                        self.end(session, begin, clock)?;
                        clock += 1;
                        done += 1;
                    }
                }
                self.plant(plan.plant, &mut clock)?;
                done += 3;
            }
            let session = self.random.below(plan.sessions.max(2)) as usize;
            match begins[session].take() {
                None => begins[session] = Some(clock),
                Some(begin) => {
                    self.transaction(plan.ops)?;
                    self.end(session, begin, clock)?;
                    done += 1;
                }
            }
            clock += 1;
        }
        Ok(self.builder.finish())
    }

    fn transaction(&mut self, ops: u32) -> Result<(), ObservedFault> {
        let keys = u32::try_from(self.next.len() - 2).unwrap();
        let mut used: Vec<usize> = Vec::new();
        while used.len() < ops as usize {
            let key = self.random.below(keys) as usize;
            if used.contains(&key) {
                continue;
            }
            used.push(key);
            if self.random.below(2) == 0 {
                self.read(key)?;
            } else {
                self.write(key)?;
            }
        }
        Ok(())
    }

    fn key(&mut self, key: usize) -> Result<Key, ObservedFault> {
        if let Some(name) = self.names[key] {
            return Ok(name);
        }
        let name = self.builder.key(&key.to_string())?;
        self.names[key] = Some(name);
        Ok(name)
    }

    fn read(&mut self, key: usize) -> Result<(), ObservedFault> {
        let name = self.key(key)?;
        match self.kind {
            Kind::ListAppend => self.builder.read_list(name, &self.lists[key]),
            Kind::RwRegister => self.builder.read(name, self.registers[key]),
        }
    }

    /// Writes the next value of a key, and returns it.
    fn write(&mut self, key: usize) -> Result<Value, ObservedFault> {
        let name = self.key(key)?;
        let value = Value::number(self.next[key]).unwrap();
        self.next[key] += 1;
        match self.kind {
            Kind::ListAppend => {
                self.lists[key].push(value);
                self.builder.append(name, value)?;
            }
            Kind::RwRegister => {
                self.registers[key] = Some(value);
                self.builder.write(name, value)?;
            }
        }
        Ok(value)
    }

    fn end(&mut self, session: usize, begin: u32, end: u32) -> Result<(), ObservedFault> {
        let interval = self.timed.then_some(Interval { begin, end });
        let session = u32::try_from(session).unwrap();
        let committed = Outcome::Committed;
        self.builder.end(Some(session), committed, interval, 0)?;
        Ok(())
    }

    /// Two transactions of the first two sessions, at the same time.
    fn plant(&mut self, plant: Plant, clock: &mut u32) -> Result<(), ObservedFault> {
        let (x, y) = (self.next.len() - 2, self.next.len() - 1);
        let begin = *clock;
        let one = Value::number(1).unwrap();
        match plant {
            Plant::None => return Ok(()),
            Plant::WriteSkew => {
                self.read_initial(x)?;
                self.read_initial(y)?;
                self.write(x)?;
                self.end(0, begin, begin + 2)?;
                self.read_initial(x)?;
                self.read_initial(y)?;
                self.write(y)?;
            }
            Plant::LostUpdate => {
                self.read_initial(x)?;
                self.write(x)?;
                self.end(0, begin, begin + 2)?;
                self.read_initial(x)?;
                self.write(x)?;
            }
            Plant::G1c => {
                self.read_one(y, one)?;
                self.write(x)?;
                self.end(0, begin, begin + 2)?;
                self.read_one(x, one)?;
                self.write(y)?;
            }
        }
        self.end(1, begin + 1, begin + 3)?;
        *clock += 4;
        // So that the version order of lists is known.
        self.read(x)?;
        self.read(y)?;
        self.end(0, *clock, *clock + 1)?;
        *clock += 2;
        Ok(())
    }

    fn read_initial(&mut self, key: usize) -> Result<(), ObservedFault> {
        let name = self.key(key)?;
        match self.kind {
            Kind::ListAppend => self.builder.read_list(name, &[]),
            Kind::RwRegister => self.builder.read(name, None),
        }
    }

    fn read_one(&mut self, key: usize, value: Value) -> Result<(), ObservedFault> {
        let name = self.key(key)?;
        match self.kind {
            Kind::ListAppend => self.builder.read_list(name, &[value]),
            Kind::RwRegister => self.builder.read(name, Some(value)),
        }
    }
}
