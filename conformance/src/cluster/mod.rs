//! One or two sites under two-phase commit, driven step by step on one thread.
//!
//! The kit is the client of every transaction and its coordinator. Nothing here waits: an operation or a
//! vote that is not there yet is polled again whenever something else has happened.
//!
//! Invariants:
//! - K1 A transaction has at most one operation in progress, at one site.
//! - K2 A commit is decided only when every site that the transaction has touched has said YES, and its
//!   stamp is taken then.
//! - K3 A decision reaches every touched site exactly once, as far as the site lets it.

mod crash;
mod script;
mod settle;
mod stuck;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use checker::TxnId;
use co_core::{Gtid, Kind, Outcome, Priority, State, Txn};

use crate::context::Context;
use crate::engine::{Answer, Engine, Key, Place, Refusal, Value};
use crate::judge::judge;
use crate::log::Log;
use crate::notation::{Operation, site_letter};
use crate::outcome::CaseOutcome;
use crate::report::Finding;
use crate::tape::{Tag, Tape};

pub(crate) use script::Played;
pub(crate) use stuck::on_cycle;

/// What an operation returned.
pub(crate) enum Said {
    Done,
    Value(Option<Value>),
    Rows(Vec<(Key, Value)>),
}

/// A call in progress.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer<Said>> + Send>>;

struct Site<E> {
    place: Place,
    engine: Arc<E>,
    tape: Tape,
}

/// One transaction, as its client and coordinator sees it.
struct Actor {
    id: TxnId,
    kind: Kind,
    branches: BTreeMap<usize, Branch>,
    /// The client has asked for the commit.
    commits: bool,
    /// A site has said no; the transaction has to be aborted.
    refused: bool,
    /// The decision and its stamp.
    decision: Option<(Outcome, u64)>,
}

/// What a transaction does at one site.
struct Branch {
    txn: Txn,
    doing: Doing,
}

enum Doing {
    Nothing,
    Operating(Operation, Tag, Running),
    Voting(Running),
    Voted,
    Ended,
}

/// The sites and the transactions.
pub(crate) struct Cluster<'c, E: Engine> {
    context: &'c Context<E>,
    sites: Vec<Site<E>>,
    actors: BTreeMap<u64, Actor>,
    stamp: u64,
    tag: u64,
    pub(crate) log: Log,
}

impl<'c, E: Engine> Cluster<'c, E> {
    /// New stores at `sites` sites.
    pub(crate) fn open(context: &'c Context<E>, sites: usize) -> Result<Self, Finding> {
        let mut opened = Vec::new();
        for site in 0..sites {
            let place = context.new_place();
            opened.push(Site {
                place,
                engine: Arc::new(context.open(place)?),
                tape: Tape::new(site),
            });
        }
        Ok(Self {
            context,
            sites: opened,
            actors: BTreeMap::new(),
            stamp: 0,
            tag: 0,
            log: Log::default(),
        })
    }

    /// Names a transaction before its first step. A local one stays at the site of its first step.
    pub(crate) fn introduce(&mut self, number: u64, local: bool) {
        let priority = Priority(number);
        let (id, kind) = if local {
            (TxnId::Local(number), Kind::Local { priority })
        } else {
            let gtid = Gtid(number);
            (TxnId::Global(number), Kind::Global { gtid, priority })
        };
        self.actors.entry(number).or_insert_with(|| Actor {
            id,
            kind,
            branches: BTreeMap::new(),
            commits: false,
            refused: false,
            decision: None,
        });
    }

    /// Starts an operation; it may be over at once.
    pub(crate) fn operate(&mut self, number: u64, site: usize, operation: &Operation) {
        self.tag += 1;
        let tag = Tag(self.tag);
        let txn = self.branch(number, site).txn.clone();
        let line = format!("T{number} {operation} at {}", site_letter(site));
        self.log.step(line);
        let running = start(&self.sites[site].engine, txn, operation, tag);
        self.branch(number, site).doing = Doing::Operating(operation.clone(), tag, running);
        self.settle();
    }

    /// Asks one site for its vote, unless it was asked before.
    pub(crate) fn ask(&mut self, number: u64, site: usize) {
        self.begin_vote(number, site);
        self.settle();
    }

    /// Asks every touched site for its vote.
    pub(crate) fn ask_all(&mut self, number: u64) {
        for site in self.touched(number) {
            if self.actors[&number].decision.is_none() {
                self.ask(number, site);
            }
        }
    }

    fn begin_vote(&mut self, number: u64, site: usize) {
        let txn = self.branch(number, site).txn.clone();
        if !matches!(self.branch(number, site).doing, Doing::Nothing) {
            return;
        }
        let line = format!("T{number} is asked to vote at {}", site_letter(site));
        self.log.step(line);
        let running = vote(&self.sites[site].engine, txn);
        self.branch(number, site).doing = Doing::Voting(running);
    }

    /// The client asks for the commit: the votes are asked for when its operations are done, and it comes
    /// as soon as all are YES.
    pub(crate) fn commit(&mut self, number: u64) {
        self.actor(number).commits = true;
        self.ask_all(number);
        self.settle();
    }

    /// Decides to commit, all votes being YES; the sites are told by [`Cluster::deliver`].
    pub(crate) fn decide_commit(&mut self, number: u64) {
        debug_assert!(self.has_all_votes(number), "K2");
        self.stamp += 1;
        let stamp = self.stamp;
        self.log.step(format!("T{number} is decided: commit"));
        self.actor(number).decision = Some((Outcome::Commit, stamp));
    }

    /// Aborts, unless it is decided.
    pub(crate) fn abort(&mut self, number: u64) {
        if self.actors[&number].decision.is_some() {
            return;
        }
        self.stamp += 1;
        let stamp = self.stamp;
        self.log.step(format!("T{number} is decided: abort"));
        self.actor(number).decision = Some((Outcome::Abort, stamp));
        for site in self.touched(number) {
            self.deliver(number, site);
        }
        self.settle();
    }

    /// Tells one site the decision.
    pub(crate) fn deliver(&mut self, number: u64, site: usize) {
        let actor = self.actor(number);
        let (id, decision) = (actor.id, actor.decision);
        let Some((outcome, stamp)) = decision else {
            return;
        };
        let branch = self.branch(number, site);
        if matches!(branch.doing, Doing::Ended) {
            return;
        }
        branch.doing = Doing::Ended; // and drops what is in progress
        let txn = branch.txn.clone();
        let already = txn.state() == State::Aborted && outcome == Outcome::Abort;
        if !already {
            let answer = self.sites[site].engine.decide(&txn, outcome);
            self.check_decided(number, site, &txn, outcome, answer);
        }
        match outcome {
            Outcome::Commit => self.sites[site].tape.commit(id, stamp),
            Outcome::Abort => self.sites[site].tape.abort(id),
        }
    }

    fn check_decided(
        &mut self,
        number: u64,
        site: usize,
        txn: &Txn,
        outcome: Outcome,
        answer: Answer<()>,
    ) {
        let at = site_letter(site);
        let (word, expected) = match outcome {
            Outcome::Commit => ("commit", State::Committed),
            Outcome::Abort => ("abort", State::Aborted),
        };
        self.log.step(format!("T{number} learns at {at}: {word}"));
        if let Err(refusal) = answer {
            self.log.find(
                format!("T{number} cannot {word} at site {at}: {refusal}"),
                "a decision is the coordinator's last word: apply or undo the effects and call Scheduler::decided",
            );
        } else if txn.state() != expected {
            self.log.find(
                format!(
                    "decide({outcome:?}) of T{number} returned at site {at}, but the scheduler holds it as {:?}",
                    txn.state()
                ),
                "call Scheduler::decided for every transaction, whatever happens (contract 6)",
            );
        }
    }

    /// Ends what is not ended, checks that nothing is left (I7), and has the checker judge all of it.
    pub(crate) fn finish(mut self) -> CaseOutcome {
        self.end_all();
        for site in 0..self.sites.len() {
            let (engine, at) = (&self.sites[site].engine, site_letter(site));
            let (left, idle) = (engine.scheduler().undecided(), engine.is_idle());
            if left > 0 {
                self.log.find(
                    format!("I7: {left} transactions are undecided at site {at} after all have ended"),
                    "call Scheduler::decided for every transaction, also one that did nothing or was refused (contract 1)",
                );
            }
            if !idle {
                self.log.find(
                    format!("I7: site {at} still holds something of a transaction that has ended"),
                    "release locks, marks and private writes on every path of decide (contract 6)",
                );
            }
        }
        let judgement = judge(&self.tapes());
        CaseOutcome::new(self.log, judgement)
    }

    pub(crate) fn tapes(&self) -> Vec<&Tape> {
        self.sites.iter().map(|site| &site.tape).collect()
    }

    pub(crate) fn engine(&self, site: usize) -> Arc<E> {
        Arc::clone(&self.sites[site].engine)
    }

    /// The transaction's handle at a site it has touched.
    pub(crate) fn handle(&self, number: u64, site: usize) -> Option<Txn> {
        let branch = self.actors.get(&number)?.branches.get(&site)?;
        Some(branch.txn.clone())
    }

    pub(crate) fn touched(&self, number: u64) -> Vec<usize> {
        self.actors[&number].branches.keys().copied().collect()
    }

    pub(crate) fn outcome(&self, number: u64) -> Option<Outcome> {
        let actor = self.actors.get(&number)?;
        actor.decision.map(|(outcome, _)| outcome)
    }

    /// Whether an operation or a vote of it has not been answered.
    pub(crate) fn waits(&self, number: u64) -> bool {
        let actor = &self.actors[&number];
        actor.decision.is_none() && actor.branches.values().any(Branch::waits)
    }

    /// Whether the site has been asked for its vote and has not answered.
    pub(crate) fn is_asked(&self, number: u64, site: usize) -> bool {
        let branch = self.actors[&number].branches.get(&site);
        branch.is_some_and(|branch| matches!(branch.doing, Doing::Voting(_)))
    }

    pub(crate) fn has_voted(&self, number: u64, site: usize) -> bool {
        let branch = self.actors[&number].branches.get(&site);
        branch.is_some_and(|branch| matches!(branch.doing, Doing::Voted))
    }

    pub(crate) fn has_all_votes(&self, number: u64) -> bool {
        let mut branches = self.actors[&number].branches.values();
        branches.all(|branch| matches!(branch.doing, Doing::Voted))
    }

    /// The sites that have not been told the decision.
    pub(crate) fn untold(&self, number: u64) -> Vec<usize> {
        let branches = self.actors[&number].branches.iter();
        branches
            .filter(|(_, branch)| !matches!(branch.doing, Doing::Ended))
            .map(|(site, _)| *site)
            .collect()
    }

    fn actor(&mut self, number: u64) -> &mut Actor {
        self.actors
            .get_mut(&number)
            .expect("introduced before its first step")
    }

    /// The transaction's branch at a site; begins it at the first call.
    fn branch(&mut self, number: u64, site: usize) -> &mut Branch {
        let engine = &self.sites[site].engine;
        let actor = self
            .actors
            .get_mut(&number)
            .expect("introduced before its first step");
        actor.branches.entry(site).or_insert_with(|| Branch {
            txn: engine.begin(actor.kind),
            doing: Doing::Nothing,
        })
    }
}

impl Branch {
    const fn waits(&self) -> bool {
        matches!(self.doing, Doing::Operating(..) | Doing::Voting(_))
    }
}

/// Starts an operation without polling it.
pub(crate) fn start<E: Engine>(
    engine: &Arc<E>,
    txn: Txn,
    operation: &Operation,
    tag: Tag,
) -> Running {
    let engine = Arc::clone(engine);
    match operation.clone() {
        Operation::Read(key) => {
            Box::pin(async move { engine.read(&txn, &key).await.map(Said::Value) })
        }
        Operation::Write(key) => Box::pin(async move {
            let value = tag.value();
            engine.write(&txn, &key, Some(&value)).await?;
            Ok(Said::Done)
        }),
        Operation::Delete(key) => Box::pin(async move {
            engine.write(&txn, &key, None).await?;
            Ok(Said::Done)
        }),
        Operation::Scan(low, high) => Box::pin(async move {
            let rows = engine.scan(&txn, &low, high.as_deref()).await?;
            Ok(Said::Rows(rows))
        }),
    }
}

/// Asks for a vote without polling it.
pub(crate) fn vote<E: Engine>(engine: &Arc<E>, txn: Txn) -> Running {
    let engine = Arc::clone(engine);
    Box::pin(async move {
        engine.request_vote(&txn).await?;
        Ok(Said::Done)
    })
}

/// Writes what an operation returned on the tape; says what is wrong with it at first sight.
pub(crate) fn note(
    tape: &mut Tape,
    id: TxnId,
    operation: &Operation,
    tag: Tag,
    said: &Said,
) -> Result<(), String> {
    match (operation, said) {
        (Operation::Read(key), Said::Value(value)) => tape.note_read(id, key, value.as_ref()),
        (Operation::Scan(low, high), Said::Rows(rows)) => {
            tape.note_scan(id, low, high.as_ref(), rows)
        }
        (Operation::Write(key) | Operation::Delete(key), Said::Done) => {
            let deletes = matches!(operation, Operation::Delete(_));
            tape.note_write(id, key, tag, deletes);
            Ok(())
        }
        _ => unreachable!("`start` pairs operations with their answers"),
    }
}

/// Whether a refusal is an outcome like any other.
pub(crate) const fn is_outcome(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Aborted(_))
}
