//! Schedules in textbook notation, run against one site.
//!
//! `r1(x)` reads, `w1(x)` writes, `d1(x)` deletes, `i1(x)` increments, `s1(a..z)` scans, `p1` asks for the
//! vote, `c1` asks for it if `p1` did not and commits on YES, `a1` aborts. Between `p1` and `c1` the
//! transaction is in doubt. The number names the transaction and is its age. A transaction
//! whose operation waits, or whose vote is withheld, does nothing until that ends; its later steps follow
//! then, in order. What became of each step is the [`Transcript`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use co_core::AbortReason;

use super::client::{Ballots, Client, Running, add, delete, get, put, scan};
use crate::error::OperationError;
use crate::participant::{Ballot, Decision, Operation, Participant, Reply, Value};

/// One step of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    text: String,
    txn: u64,
    act: Act,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Act {
    Run(Operation),
    Prepare,
    Commit,
    Abort,
}

impl Step {
    /// Reads one step.
    ///
    /// # Panics
    /// If it is not in the notation.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let parsed = Self::try_parse(text);
        parsed.unwrap_or_else(|| panic!("`{text}` is no step; write r1(x), s1(a..z), c1"))
    }

    fn try_parse(text: &str) -> Option<Self> {
        let act = text.chars().next()?;
        let rest = &text[act.len_utf8()..];
        let (number, argument) = match rest.split_once('(') {
            Some((number, argument)) => (number, Some(argument.strip_suffix(')')?)),
            None => (rest, None),
        };
        let act = match (act, argument) {
            ('r', Some(key)) => Act::Run(get(key)),
            ('w', Some(key)) => Act::Run(put(key, &format!("T{number}"))),
            ('d', Some(key)) => Act::Run(delete(key)),
            ('i', Some(key)) => Act::Run(add(key, 1)),
            ('s', Some(range)) => {
                let (low, high) = range.split_once("..")?;
                Act::Run(scan(low, high))
            }
            ('p', None) => Act::Prepare,
            ('c', None) => Act::Commit,
            ('a', None) => Act::Abort,
            _ => return None,
        };
        Some(Self {
            text: text.to_owned(),
            txn: number.parse().ok()?,
            act,
        })
    }
}

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    /// A read or scan returned this, as text.
    Saw(String),
    /// A write was done.
    Done,
    /// The operation waits for another transaction.
    Waits,
    /// The vote is YES; the decision comes later.
    Voted,
    /// The vote is withheld until another transaction is decided.
    Withheld,
    /// The transaction before it in the same line of work waits, so it does too.
    Queued,
    /// The transaction committed.
    Committed,
    /// The transaction aborted; the site's reason, or none when the script asked for it.
    Aborted(Option<AbortReason>),
    /// The transaction had ended before.
    Skipped,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saw(what) => write!(f, "sees {what}"),
            Self::Done => f.write_str("done"),
            Self::Waits => f.write_str("waits"),
            Self::Voted => f.write_str("votes"),
            Self::Withheld => f.write_str("vote withheld"),
            Self::Queued => f.write_str("queued"),
            Self::Committed => f.write_str("commits"),
            Self::Aborted(None) => f.write_str("aborts"),
            Self::Aborted(Some(reason)) => write!(f, "aborts: {reason}"),
            Self::Skipped => f.write_str("-"),
        }
    }
}

/// What became of a schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transcript {
    /// Steps in the order in which something happened to them. A step that had to wait comes twice.
    pub events: Vec<(String, Happened)>,
    /// The transactions that committed, in order.
    pub committed: Vec<u64>,
    /// The transactions that the site aborted, in order, and why.
    pub aborted: Vec<(u64, AbortReason)>,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, happened) in &self.events {
            writeln!(f, "  {step:<9} {happened}")?;
        }
        Ok(())
    }
}

/// Runs a schedule. Transactions that are still at work at its end are aborted.
///
/// # Panics
/// If a step is not in the notation, or the site breaks its contract.
pub fn run(site: &Arc<dyn Participant>, steps: &[Step]) -> Transcript {
    let mut stage = Stage {
        actors: BTreeMap::new(),
        transcript: Transcript::default(),
    };
    for step in steps {
        if let std::collections::btree_map::Entry::Vacant(seat) = stage.actors.entry(step.txn) {
            seat.insert(Actor::new(Client::begin(site, step.txn)));
        }
        stage.play(step.clone());
        stage.settle();
    }
    stage.close();
    stage.transcript
}

struct Actor {
    client: Client,
    busy: Option<Busy>,
    /// What `p1` asked for and `c1` has not used yet.
    asked: Option<(String, Ballots)>,
    backlog: VecDeque<Step>,
    ended: bool,
}

enum Busy {
    Operation(String, Running<Result<Reply, OperationError>>),
    Vote(String, Ballots),
}

impl Actor {
    fn new(client: Client) -> Self {
        Self {
            client,
            busy: None,
            asked: None,
            backlog: VecDeque::new(),
            ended: false,
        }
    }
}

struct Stage {
    actors: BTreeMap<u64, Actor>,
    transcript: Transcript,
}

impl Stage {
    fn actor(&mut self, txn: u64) -> &mut Actor {
        self.actors.get_mut(&txn).expect("begun at its first step")
    }

    fn note(&mut self, step: &str, happened: Happened) {
        self.transcript.events.push((step.to_owned(), happened));
    }

    fn play(&mut self, step: Step) {
        let actor = self.actor(step.txn);
        if actor.ended {
            self.note(&step.text, Happened::Skipped);
            return;
        }
        if actor.busy.is_some() && step.act != Act::Abort {
            actor.backlog.push_back(step.clone());
            self.note(&step.text, Happened::Queued);
            return;
        }
        match step.act {
            Act::Run(_) | Act::Prepare if actor.asked.is_some() => {
                self.note(&step.text, Happened::Skipped);
            }
            Act::Run(operation) => {
                let running = actor.client.start(operation);
                actor.busy = Some(Busy::Operation(step.text.clone(), running));
                if !self.advance(step.txn) {
                    self.note(&step.text, Happened::Waits);
                }
            }
            Act::Prepare => {
                let ballots = actor.client.prepare();
                actor.asked = Some((step.text.clone(), ballots.clone()));
                match ballots.cast() {
                    Some(Ballot::Yes { .. }) => self.note(&step.text, Happened::Voted),
                    None => self.note(&step.text, Happened::Withheld),
                    // The next round tells.
                    Some(Ballot::No(_)) => {}
                }
            }
            Act::Commit => {
                let asked = actor.asked.take().map(|(_, ballots)| ballots);
                let ballots = asked.unwrap_or_else(|| actor.client.prepare());
                actor.busy = Some(Busy::Vote(step.text.clone(), ballots));
                if !self.advance(step.txn) {
                    self.note(&step.text, Happened::Withheld);
                }
            }
            Act::Abort => {
                actor.client.abort();
                self.end(step.txn);
                self.note(&step.text, Happened::Aborted(None));
            }
        }
    }

    /// Ends what the transaction is busy with, if it can end now.
    fn advance(&mut self, txn: u64) -> bool {
        let actor = self.actor(txn);
        if let Some((step, ballots)) = &actor.asked
            && let Some(Ballot::No(reason)) = ballots.cast()
        {
            let step = step.clone();
            self.refused(txn, &step, reason);
            return true;
        }
        match actor.busy.take() {
            None => false,
            Some(Busy::Operation(step, mut running)) => {
                let Some(answer) = running.poll() else {
                    actor.busy = Some(Busy::Operation(step, running));
                    return false;
                };
                self.answered(txn, &step, answer);
                true
            }
            Some(Busy::Vote(step, ballots)) => {
                match ballots.cast() {
                    None => {
                        actor.busy = Some(Busy::Vote(step, ballots));
                        return false;
                    }
                    Some(Ballot::No(reason)) => self.refused(txn, &step, reason),
                    Some(Ballot::Yes { stamp, .. }) => {
                        let decided = actor.client.decide(Decision::Commit(stamp));
                        assert_eq!(decided, Ok(()), "{step}");
                        self.end(txn);
                        self.transcript.committed.push(txn);
                        self.note(&step, Happened::Committed);
                    }
                }
                true
            }
        }
    }

    fn answered(&mut self, txn: u64, step: &str, answer: Result<Reply, OperationError>) {
        match answer {
            Ok(Reply::Done) => self.note(step, Happened::Done),
            Ok(reply) => self.note(step, Happened::Saw(describe(&reply))),
            Err(OperationError::Aborted(reason)) => self.refused(txn, step, reason),
            Err(error) => panic!("{step}: {error}"),
        }
    }

    fn refused(&mut self, txn: u64, step: &str, reason: AbortReason) {
        self.actor(txn).client.abort();
        self.end(txn);
        self.transcript.aborted.push((txn, reason));
        self.note(step, Happened::Aborted(Some(reason)));
    }

    fn end(&mut self, txn: u64) {
        let actor = self.actor(txn);
        actor.ended = true;
        actor.busy = None;
        actor.asked = None;
    }

    /// Lets everybody go on who can, until nobody can.
    fn settle(&mut self) {
        let txns: Vec<u64> = self.actors.keys().copied().collect();
        loop {
            let mut moved = false;
            for txn in &txns {
                moved |= self.advance(*txn);
                while self.actor(*txn).busy.is_none() {
                    let Some(step) = self.actor(*txn).backlog.pop_front() else {
                        break;
                    };
                    self.play(step);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn close(&mut self) {
        let txns: Vec<u64> = self.actors.keys().copied().collect();
        for txn in txns {
            if !self.actor(txn).ended {
                self.play(Step::parse(&format!("a{txn}")));
                self.settle();
            }
        }
    }
}

fn describe(reply: &Reply) -> String {
    match reply {
        Reply::Done => "done".to_owned(),
        Reply::Value(None) => "nothing".to_owned(),
        Reply::Value(Some(value)) => text_of(value),
        Reply::Rows(rows) => {
            let rows = rows.iter();
            let rows: Vec<String> = rows
                .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(key), text_of(value)))
                .collect();
            format!("[{}]", rows.join(" "))
        }
        Reply::Table(table) => format!("{:?}", table.rows),
    }
}

fn text_of(value: &Value) -> String {
    match <[u8; 8]>::try_from(&**value) {
        Ok(number) => i64::from_le_bytes(number).to_string(),
        Err(_) => String::from_utf8_lossy(value).into_owned(),
    }
}

/// Reads a schedule: steps with spaces between.
///
/// # Panics
/// As [`Step::parse`].
#[must_use]
pub fn parse(schedule: &str) -> Vec<Step> {
    schedule.split_whitespace().map(Step::parse).collect()
}

/// All ways to interleave the schedules of several transactions, each keeping its own order.
#[must_use]
pub fn interleavings(programs: &[Vec<Step>]) -> Vec<Vec<Step>> {
    let total = programs.iter().map(Vec::len).sum();
    let mut found = Vec::new();
    let mut chosen = Vec::with_capacity(total);
    extend(
        programs,
        &mut vec![0; programs.len()],
        &mut chosen,
        total,
        &mut found,
    );
    found
}

fn extend(
    programs: &[Vec<Step>],
    next: &mut [usize],
    chosen: &mut Vec<Step>,
    total: usize,
    found: &mut Vec<Vec<Step>>,
) {
    if chosen.len() == total {
        found.push(chosen.clone());
        return;
    }
    for program in 0..programs.len() {
        if let Some(step) = programs[program].get(next[program]) {
            next[program] += 1;
            chosen.push(step.clone());
            extend(programs, next, chosen, total, found);
            chosen.pop();
            next[program] -= 1;
        }
    }
}
