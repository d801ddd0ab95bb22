//! Clients: each runs one transaction, again with its first priority after an abort, and writes down what it
//! was told.

use std::collections::BTreeSet;

use co_core::{Gtid, Priority};
use coco::protocol::CommitAnswer;
use fastrand::Rng;
use participant::{Key, Operation, Reply, TxnName, Value};

use super::plan::{ClientPlan, MS};
use super::workload::Action;
use super::world::{Answer, Caller, Event, Request, World};

/// What a client was told about a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is committed.
    Committed,
    /// It is aborted.
    Aborted,
    /// It is one or the other.
    Unknown,
}

/// One transaction as its client saw it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its name, which no other of the run has.
    pub name: TxnName,
    /// The sites that it was begun at.
    pub sites: BTreeSet<usize>,
    /// What was done, and answered, in order.
    pub done: Vec<(usize, Operation)>,
    /// What its client was told, in order.
    pub told: Vec<Told>,
    /// When its client asked for it.
    pub began_at: u64,
    /// When its client heard of the commit.
    pub heard_at: Option<u64>,
    /// What an audit has added up so far.
    pub sum: Option<i64>,
    /// What single reads have seen, in order.
    pub seen: Vec<(usize, Key, Option<Value>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Beginning,
    Thinking,
    Working,
    Ending,
}

pub(crate) struct Client {
    pub(crate) plan: ClientPlan,
    pub(crate) done: bool,
    rng: Rng,
    state: State,
    /// The request that counts now.
    request: u64,
    /// A rollback that races with the commit.
    race: Option<u64>,
    priority: Option<Priority>,
    begun_as: Priority,
    attempts: u32,
    step: usize,
    /// The value that the second half of a step writes.
    second: Option<Value>,
    tries: u32,
    pub(crate) history: Vec<Attempt>,
}

/// How often a client asks for the same thing again.
const TRIES: u32 = 4;

impl Client {
    pub(crate) fn new(plan: ClientPlan, rng: Rng) -> Self {
        Self {
            plan,
            done: false,
            rng,
            state: State::Idle,
            request: 0,
            race: None,
            priority: None,
            begun_as: Priority(0),
            attempts: 0,
            step: 0,
            second: None,
            tries: 0,
            history: Vec::new(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let name = self.history.last().map(|attempt| attempt.name);
        format!("{:?} {name:?} at step {}", self.state, self.step)
    }

    /// Whether a switch is set, as far as the transaction has looked.
    fn has_seen_one(&self) -> bool {
        let seen = self.history.iter().next_back().map(|it| &it.seen);
        let one = |(_, _, value): &(usize, Key, Option<Value>)| number(value.as_ref()) == 1;
        seen.is_some_and(|seen| seen.iter().any(one))
    }

    fn attempt(&mut self) -> &mut Attempt {
        self.history.last_mut().expect("who works has begun")
    }
}

fn number(value: Option<&Value>) -> i64 {
    let bytes = value.and_then(|value| value.get(..8)?.try_into().ok());
    bytes.map_or(0, i64::from_le_bytes)
}

impl World {
    /// An answer is on its way to a client, unless it is lost.
    pub(crate) fn reply(&mut self, to: Caller, answer: Answer) {
        if let Some(span) = self.client_delay(to.client) {
            self.after(span, Event::Answer { to, answer });
        }
    }

    /// How long a request or an answer takes; `None` if it is lost.
    fn client_delay(&mut self, client: usize) -> Option<u64> {
        let (delay, lose) = (self.plan.net.delay, self.plan.net.lose_one_in);
        let rng = &mut self.clients[client].rng;
        let lost = lose > 0 && rng.u32(..lose) == 0;
        let span = rng.u64(1..=delay);
        if lost && !self.healed {
            self.counts.faults += 1;
            return None;
        }
        Some(span)
    }

    fn ask(&mut self, client: usize, to: usize, request: Request) {
        let patience = self.plan.timing.patience;
        let it = &mut self.clients[client];
        it.request += 1;
        let from = Caller {
            client,
            request: it.request,
        };
        self.after(patience, Event::Wake(from));
        if let Some(span) = self.client_delay(client) {
            self.after(span, Event::Request { from, to, request });
        }
    }

    fn pause(&mut self, client: usize, span: u64) {
        let it = &mut self.clients[client];
        it.request += 1;
        let caller = Caller {
            client,
            request: it.request,
        };
        self.after(span, Event::Wake(caller));
    }

    pub(crate) fn woken(&mut self, caller: Caller) {
        let client = caller.client;
        let it = &mut self.clients[client];
        if it.done || it.request != caller.request {
            return;
        }
        match it.state {
            State::Idle => self.start_attempt(client),
            State::Thinking => self.go_on(client),
            State::Beginning => self.begin_again(client),
            State::Working => self.give_up(client),
            State::Ending => self.end_again(client),
        }
    }

    fn start_attempt(&mut self, client: usize) {
        let now = self.now;
        let it = &mut self.clients[client];
        it.attempts += 1;
        it.step = 0;
        it.second = None;
        it.tries = 0;
        it.race = None;
        if it.plan.script.local {
            let number = it.plan.id as u64 * 64 + u64::from(it.attempts);
            it.begun_as = *it.priority.get_or_insert(Priority(now));
            self.begun(client, TxnName::Local(number));
        } else {
            it.state = State::Beginning;
            let (priority, to) = (it.priority, it.plan.coordinator);
            self.ask(client, to, Request::Begin { priority });
        }
    }

    fn begin_again(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.tries += 1;
        if it.tries > TRIES {
            it.done = true;
            return;
        }
        it.state = State::Beginning;
        let (priority, to) = (it.priority, it.plan.coordinator);
        self.ask(client, to, Request::Begin { priority });
    }

    fn begun(&mut self, client: usize, name: TxnName) {
        let began_at = self.now;
        let it = &mut self.clients[client];
        let sum = it.plan.script.audit.then_some(0);
        it.history.push(Attempt {
            name,
            sites: BTreeSet::new(),
            done: Vec::new(),
            told: Vec::new(),
            began_at,
            heard_at: None,
            sum,
            seen: Vec::new(),
        });
        it.tries = 0;
        self.go_on(client);
    }

    /// The next step, or the commit.
    fn go_on(&mut self, client: usize) {
        let coordinators = self.plan.coordinators;
        let it = &mut self.clients[client];
        if it.plan.vanish == Some(it.step) {
            self.vanish(client);
            return;
        }
        let Some((site, action)) = it.plan.script.steps.get(it.step).cloned() else {
            self.ask_end(client, true);
            return;
        };
        let operation = match (action, it.second.clone()) {
            (Action::Do(operation), _) => operation,
            (Action::ReadAdd(key, _) | Action::Append(key, _), None) => Operation::Get(key),
            (Action::ReadAdd(key, _) | Action::Append(key, _), Some(value)) => {
                Operation::Put(key, value)
            }
            (Action::SetIfNoneIsSet(_), _) if it.has_seen_one() => {
                it.step += 1;
                self.pause_for(client, State::Thinking, 0);
                return;
            }
            (Action::SetIfNoneIsSet(key), _) => Operation::Put(key, crate::program::number(1)),
        };
        it.state = State::Working;
        let priority = it.begun_as;
        let attempt = it.attempt();
        let name = attempt.name;
        let first = attempt.sites.insert(site);
        let request = Request::Execute {
            name,
            priority,
            first,
            operation,
        };
        self.ask(client, coordinators + site, request);
    }

    pub(crate) fn answered(&mut self, to: Caller, answer: Answer) {
        let client = to.client;
        let it = &mut self.clients[client];
        if it.race == Some(to.request) {
            if let Answer::Outcome(outcome) = answer {
                self.told(client, outcome);
            }
            return;
        }
        if it.done || it.request != to.request {
            return;
        }
        match (it.state, answer) {
            (State::Beginning, Answer::Begun { gtid, priority }) => {
                it.priority.get_or_insert(priority);
                it.begun_as = priority;
                self.begun(client, TxnName::Global(gtid));
            }
            (State::Beginning, _) => {
                let span = it.rng.u64(10..=100) * MS;
                self.pause_for(client, State::Beginning, span);
            }
            (State::Working, Answer::Replied(reply)) => self.replied(client, &reply),
            (State::Working, _) => self.give_up(client),
            (State::Ending, Answer::Outcome(outcome)) => self.ended(client, outcome),
            (State::Ending, _) => {
                let span = it.rng.u64(10..=100) * MS;
                self.pause_for(client, State::Ending, span);
            }
            (State::Idle | State::Thinking, _) => {}
        }
    }

    fn pause_for(&mut self, client: usize, state: State, span: u64) {
        self.clients[client].state = state;
        self.pause(client, span);
    }

    fn replied(&mut self, client: usize, reply: &Reply) {
        let it = &mut self.clients[client];
        let (site, action) = it.plan.script.steps[it.step].clone();
        if let Some(sum) = it.attempt().sum {
            let read = match reply {
                Reply::Value(value) => number(value.as_ref()),
                Reply::Rows(rows) => rows.iter().map(|(_, value)| number(Some(value))).sum(),
                Reply::Done | Reply::Table(_) => 0,
            };
            it.attempt().sum = Some(sum + read);
        }
        if let Reply::Value(value) = reply
            && let Action::Do(Operation::Get(key))
            | Action::ReadAdd(key, _)
            | Action::Append(key, _) = &action
        {
            it.attempt().seen.push((site, key.clone(), value.clone()));
        }
        match (action, reply) {
            (Action::ReadAdd(_, by), Reply::Value(value)) if it.second.is_none() => {
                let sum = number(value.as_ref()) + by;
                it.second = Some(crate::program::number(sum));
                self.go_on(client);
                return;
            }
            (Action::Append(_, element), Reply::Value(value)) if it.second.is_none() => {
                let before = value.as_deref().unwrap_or_default();
                it.second = Some([before, &element.to_le_bytes()].concat().into());
                self.go_on(client);
                return;
            }
            (Action::ReadAdd(key, _) | Action::Append(key, _), _) => {
                if let Some(value) = it.second.take() {
                    it.attempt().done.push((site, Operation::Put(key, value)));
                }
            }
            (Action::SetIfNoneIsSet(key), _) => {
                let set = Operation::Put(key, crate::program::number(1));
                it.attempt().done.push((site, set));
            }
            (Action::Do(operation), _) => it.attempt().done.push((site, operation)),
        }
        it.step += 1;
        let span = it.rng.u64(..=it.plan.think);
        self.pause_for(client, State::Thinking, span);
    }

    fn ask_end(&mut self, client: usize, commit: bool) {
        let coordinators = self.plan.coordinators;
        let it = &mut self.clients[client];
        it.state = State::Ending;
        let to = it.plan.coordinator;
        let races = commit && it.plan.races;
        let dependent = it.plan.dependent;
        let attempt = it.attempt();
        let sites: Vec<usize> = attempt.sites.iter().copied().collect();
        match attempt.name {
            TxnName::Global(gtid) => {
                let request = Request::End {
                    gtid,
                    sites,
                    commit,
                    dependent,
                };
                self.ask(client, to, request);
                if races {
                    self.race(client, gtid);
                }
            }
            TxnName::Local(number) => {
                let site = sites.first().copied().unwrap_or(0);
                self.ask(client, coordinators + site, Request::CommitLocal { number });
            }
        }
    }

    /// A rollback right behind the commit.
    fn race(&mut self, client: usize, gtid: Gtid) {
        let it = &mut self.clients[client];
        let to = it.plan.coordinator;
        let request = it.request | 1 << 63;
        it.race = Some(request);
        let sites = it.attempt().sites.iter().copied().collect();
        let rollback = Request::End {
            gtid,
            sites,
            commit: false,
            dependent: false,
        };
        if let Some(span) = self.client_delay(client) {
            let from = Caller { client, request };
            let request = rollback;
            self.after(span, Event::Request { from, to, request });
        }
    }

    /// The answer stays away: asks again, and in the end does not know. A site answers about its own commits
    /// once only.
    fn end_again(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.tries += 1;
        let local = matches!(it.attempt().name, TxnName::Local(_));
        if local || it.tries > TRIES {
            self.told(client, CommitAnswer::Unknown);
            self.clients[client].done = true;
        } else {
            self.ask_end(client, true);
        }
    }

    fn told(&mut self, client: usize, answer: CommitAnswer) {
        let now = self.now;
        let attempt = self.clients[client].attempt();
        attempt.told.push(match answer {
            CommitAnswer::Committed { .. } => Told::Committed,
            CommitAnswer::Aborted { .. } => Told::Aborted,
            CommitAnswer::Unknown | CommitAnswer::Refused(_) => Told::Unknown,
        });
        if matches!(answer, CommitAnswer::Committed { .. }) {
            attempt.heard_at.get_or_insert(now);
        }
        match attempt.told.last() {
            Some(Told::Committed) => self.counts.commits += 1,
            Some(Told::Aborted) => self.counts.aborts += 1,
            Some(Told::Unknown) | None => self.counts.unknown += 1,
        }
    }

    fn ended(&mut self, client: usize, answer: CommitAnswer) {
        self.told(client, answer);
        if matches!(answer, CommitAnswer::Aborted { .. }) {
            self.retry(client);
        } else {
            self.clients[client].done = true;
        }
    }

    /// Before the commit was asked for: nobody can have committed it.
    fn give_up(&mut self, client: usize) {
        let to = self.clients[client].plan.coordinator;
        self.leave(client);
        let attempt = self.clients[client].attempt();
        attempt.told.push(Told::Aborted);
        let sites = attempt.sites.iter().copied().collect();
        if let TxnName::Global(gtid) = attempt.name {
            let request = Request::End {
                gtid,
                sites,
                commit: false,
                dependent: false,
            };
            self.ask(client, to, request);
        }
        self.counts.aborts += 1;
        self.retry(client);
    }

    /// Its sites notice some day that nobody is there.
    fn leave(&mut self, client: usize) {
        let keepalive = self.plan.timing.keepalive;
        let attempt = self.clients[client].attempt();
        let name = attempt.name;
        for site in attempt.sites.clone() {
            let span = self.clients[client].rng.u64(..=keepalive);
            self.after(span, Event::Gone { site, name });
        }
    }

    fn vanish(&mut self, client: usize) {
        self.counts.faults += 1;
        self.clients[client].done = true;
        // Connections break for those that a request was made on; the rest is found out by its silence.
        if self.clients[client].rng.bool() {
            self.leave(client);
        }
    }

    fn retry(&mut self, client: usize) {
        let it = &mut self.clients[client];
        if it.attempts > it.plan.retries {
            it.done = true;
            return;
        }
        let span = it.rng.u64(1..=20 * u64::from(it.attempts)) * MS;
        self.pause_for(client, State::Idle, span);
    }
}
