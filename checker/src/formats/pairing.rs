//! Invocations and completions, as Jepsen records them, into transactions.
//!
//! The same for EDN and JSON; the conventions are in the documentation of [`formats`](super).

use std::collections::HashMap;

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use super::{Kind, Limits};
use crate::observed::{Interval, Key, Observed, Outcome, Value};

/// What an entry of the history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Type {
    pub(super) const fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"invoke" => Some(Self::Invoke),
            b"ok" => Some(Self::Ok),
            b"fail" => Some(Self::Fail),
            b"info" => Some(Self::Info),
            _ => None,
        }
    }
}

/// Whose entry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// It does not say.
    Unnamed,
    /// A client: its process is a whole number.
    Client(i64),
    /// Not a client, such as the nemesis.
    Other,
}

/// What an operation of a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
    Append,
}

impl Action {
    pub(super) const fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"r" => Some(Self::Read),
            b"w" => Some(Self::Write),
            b"append" => Some(Self::Append),
            _ => None,
        }
    }
}

/// What an operation returned, or was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    Nil,
    One(Value),
    /// A range of [`Entry::elements`].
    List {
        first: u32,
        count: u32,
    },
}

/// An operation of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) key: Key,
    pub(super) operand: Operand,
}

/// One entry of the history; its buffers are reused.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Option<Type>,
    pub(super) process: Process,
    pub(super) index: Option<i64>,
    /// Whether `:f` is absent, nil or `:txn`.
    pub(super) of_transactions: bool,
    /// Whether there is a value other than nil.
    pub(super) has_value: bool,
    /// Why the value is not that of a transaction, if it is not.
    pub(super) misshapen: Option<FormatFault>,
    pub(super) operations: Vec<Operation>,
    pub(super) elements: Vec<Value>,
}

impl Entry {
    pub(super) const fn new() -> Self {
        Self {
            kind: None,
            process: Process::Unnamed,
            index: None,
            of_transactions: true,
            has_value: false,
            misshapen: None,
            operations: Vec::new(),
            elements: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.kind = None;
        self.process = Process::Unnamed;
        self.index = None;
        self.of_transactions = true;
        self.clear_value();
    }

    /// The token is its type.
    pub(super) fn read_type(
        &mut self,
        scanner: &Scanner<'_>,
        expected: &'static str,
    ) -> Result<(), FormatFault> {
        let kind = Type::of(bare(scanner.token()));
        self.kind = Some(kind.ok_or_else(|| scanner.unexpected_token(expected))?);
        Ok(())
    }

    /// The token is its index, and this number if it is one.
    pub(super) fn read_index(
        &mut self,
        index: Option<i64>,
        scanner: &Scanner<'_>,
    ) -> Result<(), FormatFault> {
        let expected = "an index, a whole number";
        self.index = Some(index.ok_or_else(|| scanner.unexpected_token(expected))?);
        Ok(())
    }

    /// Whether it says nothing of an operation.
    pub(super) fn is_blank(&self) -> bool {
        let unnamed = self.process == Process::Unnamed;
        self.kind.is_none() && unnamed && !self.has_value && self.of_transactions
    }

    /// Whether it says that a transaction failed, or that nobody knows.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.kind, Some(Type::Fail | Type::Info))
    }

    /// Forgets the value (where one comes twice, the last counts).
    pub(super) fn clear_value(&mut self) {
        self.has_value = false;
        self.misshapen = None;
        self.operations.clear();
        self.elements.clear();
    }
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// It has invoked a transaction.
    Open,
    /// It was told that nobody knows the outcome.
    Crashed {
        /// Whether it had invoked the transaction.
        invoked: bool,
    },
}

#[derive(Debug)]
struct Client {
    session: Option<u32>,
    state: State,
    begin: u32,
    /// Where it got into its state.
    line: u32,
    /// Of the transaction that is open or in doubt.
    operations: Vec<Operation>,
}

/// Pairs invocations with completions.
pub(super) struct Pairing {
    pub(super) collector: Collector,
    kind: Option<Kind>,
    /// Whether something was read as nil before the kind was known.
    early: bool,
    clients: Vec<Client>,
    /// The place of each process in `clients`; those that do not say are one.
    places: HashMap<Option<i64>, usize>,
    sessions: u32,
    position: u32,
    last_index: Option<i64>,
    /// Whether there was an invocation.
    invoked: bool,
}

impl Pairing {
    pub(super) fn new(name: &str, kind: Option<Kind>, limits: &Limits) -> Self {
        Self {
            collector: Collector::new(name, limits),
            kind,
            early: false,
            clients: Vec::new(),
            places: HashMap::new(),
            sessions: 0,
            position: 0,
            last_index: None,
            invoked: false,
        }
    }

    /// What keys hold, unless that is known.
    pub(super) fn suppose(&mut self, kind: Kind) {
        self.kind.get_or_insert(kind);
    }

    /// Takes the next entry of the history.
    pub(super) fn entry(&mut self, entry: &mut Entry, line: u32) -> Result<(), FormatFault> {
        let position = self.position;
        let too_large = crate::observed::ObservedFault::TooLarge("entries");
        self.position = position.checked_add(1).ok_or(too_large)?;
        self.check_index(entry.index)?;
        let process = match entry.process {
            Process::Other => return Ok(()),
            Process::Unnamed => None,
            Process::Client(process) => Some(process),
        };
        match entry.misshapen.take() {
            // What it wanted to do is known from the invocation.
            Some(_) if entry.is_unanswered() && self.is_open(process) => entry.clear_value(),
            Some(fault) if entry.of_transactions => return Err(fault),
            Some(_) => return Ok(()),
            None => {}
        }
        let completes = entry.is_unanswered() && self.is_open(process);
        if entry.operations.is_empty() && !entry.of_transactions && !completes {
            return Ok(());
        }
        let missing = FormatFault::Expected {
            expected: "an entry with a :type",
            found: "an entry without one".to_owned(),
        };
        let kind = entry.kind.ok_or(missing)?;
        if kind == Type::Ok && !entry.has_value {
            return Err(FormatFault::NothingCommitted);
        }
        self.check_kind(&entry.operations)?;
        let client = self.client(process)?;
        match kind {
            Type::Invoke => self.invoke(client, process, entry, position, line),
            Type::Ok | Type::Fail | Type::Info => {
                self.complete(client, process, kind, entry, position, line)
            }
        }
    }

    /// Ends the history: what is still open or in doubt ends as unknown.
    pub(super) fn finish(mut self) -> Result<Observed, FormatFault> {
        let mut open: Vec<usize> = (0..self.clients.len())
            .filter(|place| self.clients[*place].state != State::Idle)
            .collect();
        open.sort_by_key(|place| self.clients[*place].begin);
        for place in open {
            let session = self.clients[place].session;
            self.end_unknown(place, session)?;
        }
        if self.early && self.kind == Some(Kind::ListAppend) {
            self.collector.reads_of_lists();
        }
        if !self.invoked {
            self.collector.intervals(std::iter::repeat(None));
        }
        Ok(self.collector.finish())
    }

    /// Indexes rise, but for those that were never given (nil or below zero).
    fn check_index(&mut self, index: Option<i64>) -> Result<(), FormatFault> {
        let Some(index) = index.filter(|index| *index >= 0) else {
            return Ok(());
        };
        if let Some(last) = self.last_index
            && index <= last
        {
            return Err(FormatFault::IndexNotRising { index, last });
        }
        self.last_index = Some(index);
        Ok(())
    }

    /// Learns from the operations whether the history is of lists or registers, and refuses both.
    fn check_kind(&mut self, operations: &[Operation]) -> Result<(), FormatFault> {
        for operation in operations {
            let (kind, found) = match (operation.action, operation.operand) {
                (Action::Append, _) => (Kind::ListAppend, "an append"),
                (Action::Write, _) => (Kind::RwRegister, "a write"),
                (Action::Read, Operand::List { .. }) => (Kind::ListAppend, "a read of a list"),
                (Action::Read, Operand::One(_)) => (Kind::RwRegister, "a read of one value"),
                (Action::Read, Operand::Nil) => continue,
            };
            match self.kind {
                Some(known) if known == kind => {}
                None => self.kind = Some(kind),
                Some(known) => {
                    let kind = known.words();
                    return Err(FormatFault::Mixed { found, kind });
                }
            }
        }
        Ok(())
    }

    fn is_open(&self, process: Option<i64>) -> bool {
        let place = self.places.get(&process);
        place.is_some_and(|place| self.clients[*place].state == State::Open)
    }

    fn client(&mut self, process: Option<i64>) -> Result<usize, FormatFault> {
        if let Some(place) = self.places.get(&process) {
            return Ok(*place);
        }
        self.collector.spend(1)?;
        let place = self.clients.len();
        let session = process.map(|_| self.sessions);
        if session.is_some() {
            let too_large = crate::observed::ObservedFault::TooLarge("processes");
            self.sessions = self.sessions.checked_add(1).ok_or(too_large)?;
        }
        self.clients.push(Client {
            session,
            state: State::Idle,
            begin: 0,
            line: 0,
            operations: Vec::new(),
        });
        self.places.insert(process, place);
        Ok(place)
    }

    fn invoke(
        &mut self,
        place: usize,
        process: Option<i64>,
        entry: &mut Entry,
        position: u32,
        line: u32,
    ) -> Result<(), FormatFault> {
        match self.clients[place].state {
            State::Idle => {}
            State::Open => {
                return Err(FormatFault::StillOpen {
                    process: name_of(process),
                    since: u64::from(self.clients[place].line),
                });
            }
            State::Crashed { .. } => self.end_unknown(place, None)?,
        }
        // What is not completed yet is held outside the history.
        self.collector.spend(entry.operations.len() as u64)?;
        let client = &mut self.clients[place];
        self.invoked = true;
        client.state = State::Open;
        client.begin = position;
        client.line = line;
        std::mem::swap(&mut client.operations, &mut entry.operations);
        Ok(())
    }

    fn complete(
        &mut self,
        place: usize,
        process: Option<i64>,
        kind: Type,
        entry: &mut Entry,
        position: u32,
        line: u32,
    ) -> Result<(), FormatFault> {
        let begin = match self.clients[place].state {
            State::Open => Some(self.clients[place].begin),
            State::Idle => None,
            State::Crashed { invoked: true } => {
                return Err(FormatFault::CompletedTwice {
                    process: name_of(process),
                    since: u64::from(self.clients[place].line),
                });
            }
            State::Crashed { invoked: false } => {
                self.end_unknown(place, None)?;
                None
            }
        };
        let interval = Interval {
            begin: begin.unwrap_or(0),
            end: position,
        };
        let client = &mut self.clients[place];
        let session = client.session;
        client.state = State::Idle;
        if begin.is_some() {
            self.collector.refund(client.operations.len() as u64);
        } else {
            client.operations.clear();
        }
        if kind == Type::Ok {
            self.push_seen(entry)?;
            let committed = Outcome::Committed;
            return self.collector.end(session, committed, Some(interval), line);
        }
        // What it wanted to do is what it invoked, or what the completion says if that says nothing.
        if client.operations.is_empty() {
            std::mem::swap(&mut client.operations, &mut entry.operations);
        }
        if kind == Type::Fail {
            std::mem::swap(&mut client.operations, &mut entry.operations);
            self.push_intended(&entry.operations)?;
            let aborted = Outcome::Aborted;
            return self.collector.end(session, aborted, Some(interval), line);
        }
        self.collector.spend(client.operations.len() as u64)?;
        client.begin = interval.begin;
        client.line = line;
        client.state = State::Crashed {
            invoked: begin.is_some(),
        };
        Ok(())
    }

    /// The transaction that a client has open, or that is in doubt, ends as unknown.
    fn end_unknown(&mut self, place: usize, session: Option<u32>) -> Result<(), FormatFault> {
        let client = &mut self.clients[place];
        let operations = std::mem::take(&mut client.operations);
        let interval = Interval {
            begin: client.begin,
            end: u32::MAX,
        };
        let line = client.line;
        client.state = State::Idle;
        self.collector.refund(operations.len() as u64);
        self.push_intended(&operations)?;
        self.collector
            .end(session, Outcome::Unknown, Some(interval), line)
    }

    /// What a transaction did that was answered.
    fn push_seen(&mut self, entry: &Entry) -> Result<(), FormatFault> {
        for operation in &entry.operations {
            let key = operation.key;
            match (operation.action, operation.operand) {
                (Action::Write, Operand::One(value)) => self.collector.write(key, value)?,
                (Action::Append, Operand::One(value)) => self.collector.append(key, value)?,
                (Action::Read, Operand::One(value)) => self.collector.read(key, Some(value))?,
                (Action::Read, Operand::List { first, count }) => {
                    let first = first as usize;
                    let list = &entry.elements[first..first + count as usize];
                    self.collector.read_list(key, list)?;
                }
                (Action::Read, Operand::Nil) if self.kind == Some(Kind::ListAppend) => {
                    self.collector.read_list(key, &[])?;
                }
                (Action::Read, Operand::Nil) => {
                    self.early |= self.kind.is_none();
                    self.collector.read(key, None)?;
                }
                (Action::Write | Action::Append, Operand::Nil | Operand::List { .. }) => {
                    unreachable!("readers refuse writes of nothing and of lists")
                }
            }
        }
        Ok(())
    }

    /// What a transaction wanted to do that was not answered, or failed: what it read was not seen.
    fn push_intended(&mut self, operations: &[Operation]) -> Result<(), FormatFault> {
        for operation in operations {
            let key = operation.key;
            match (operation.action, operation.operand) {
                (Action::Write, Operand::One(value)) => self.collector.write(key, value)?,
                (Action::Append, Operand::One(value)) => self.collector.append(key, value)?,
                (Action::Read, _) => self.collector.unseen(key)?,
                (Action::Write | Action::Append, Operand::Nil | Operand::List { .. }) => {
                    unreachable!("readers refuse writes of nothing and of lists")
                }
            }
        }
        Ok(())
    }
}

fn name_of(process: Option<i64>) -> String {
    process.map_or_else(
        || "without a number".to_owned(),
        |process| process.to_string(),
    )
}

/// A word without the colon of a keyword.
pub(super) fn bare(token: &[u8]) -> &[u8] {
    token.strip_prefix(b":").unwrap_or(token)
}

pub(super) fn whole_number(token: &[u8]) -> Option<i64> {
    std::str::from_utf8(token).ok()?.parse().ok()
}
