//! What follows from a step: doomed transactions are cleaned up, waiting calls polled, votes counted.

use std::task::{Context as Task, Poll, Waker};

use co_core::{Outcome, State};

use super::{Branch, Cluster, Doing, Said, Site, is_outcome, note};
use crate::engine::{Answer, Engine};
use crate::log::Log;
use crate::notation::{Operation, site_letter};
use crate::tape::Tag;
use checker::TxnId;

/// What became of a branch when it was polled.
enum Polled {
    Same,
    Moved,
    Refused,
}

impl<E: Engine> Cluster<'_, E> {
    /// Goes on until nothing moves any more without a new step.
    pub(crate) fn settle(&mut self) {
        loop {
            self.context.beat();
            self.clean_up();
            let mut moved = self.poll_all();
            moved |= self.conclude_all();
            if !moved {
                return;
            }
        }
    }

    fn clean_up(&mut self) {
        for (number, site) in self.sites.iter().enumerate() {
            if let Err(refusal) = site.engine.clean_up() {
                let at = site_letter(number);
                self.log.find(
                    format!("cleaning up at site {at} failed: {refusal}"),
                    "clean_up aborts what Scheduler::take_doomed returns, if it is still undecided",
                );
            }
        }
    }

    fn poll_all(&mut self) -> bool {
        let Self {
            sites, actors, log, ..
        } = self;
        let mut moved = false;
        for (number, actor) in actors.iter_mut() {
            if actor.decision.is_some() || actor.refused {
                continue;
            }
            for (at, branch) in &mut actor.branches {
                match poll_branch(*number, actor.id, *at, branch, &mut sites[*at], log) {
                    Polled::Same => {}
                    Polled::Moved => moved = true,
                    Polled::Refused => {
                        actor.refused = true;
                        moved = true;
                    }
                }
            }
        }
        moved
    }

    /// Aborts what was refused, commits what has all votes, asks for those that are due.
    fn conclude_all(&mut self) -> bool {
        let undecided = |(number, actor): (&u64, &super::Actor)| {
            let open = actor.decision.is_none() && (actor.refused || actor.commits);
            open.then_some(*number)
        };
        let numbers: Vec<u64> = self.actors.iter().filter_map(undecided).collect();
        let mut moved = false;
        for number in numbers {
            if self.actors[&number].decision.is_some() {
                continue;
            }
            if self.actors[&number].refused {
                self.abort(number);
                moved = true;
            } else if self.has_all_votes(number) {
                self.decide_commit(number);
                for site in self.touched(number) {
                    self.deliver(number, site);
                }
                moved = true;
            } else if !self.waits(number) {
                // Its last operation was in progress when the client asked.
                for site in self.touched(number) {
                    self.begin_vote(number, site);
                }
                moved = true;
            }
        }
        moved
    }

    /// Ends every transaction: aborts those that are idle, breaks what is stuck.
    pub(crate) fn end_all(&mut self) {
        self.settle();
        let numbers: Vec<u64> = self.actors.keys().copied().collect();
        for number in &numbers {
            if self.outcome(*number) == Some(Outcome::Commit) {
                for site in self.untold(*number) {
                    self.deliver(*number, site);
                }
                self.settle();
            } else if self.outcome(*number).is_none() && !self.waits(*number) {
                self.abort(*number);
            }
        }
        while numbers.iter().any(|number| self.waits(*number)) {
            self.break_stuck();
        }
        for number in &numbers {
            self.abort(*number);
        }
    }
}

fn poll_branch<E: Engine>(
    number: u64,
    id: TxnId,
    at: usize,
    branch: &mut Branch,
    site: &mut Site<E>,
    log: &mut Log,
) -> Polled {
    if !matches!(branch.doing, Doing::Ended) && branch.txn.state() == State::Aborted {
        let letter = site_letter(at);
        log.step(format!("T{number} was aborted by site {letter}"));
        if matches!(branch.doing, Doing::Voted) {
            log.find(
                format!("I3: site {letter} aborted T{number} after it had voted YES"),
                "a voted transaction belongs to its coordinator: only decide may end it (contract 6)",
            );
        }
        return Polled::Refused;
    }
    let (Doing::Operating(_, _, running) | Doing::Voting(running)) = &mut branch.doing else {
        return Polled::Same;
    };
    let Poll::Ready(answer) = running.as_mut().poll(&mut Task::from_waker(Waker::noop())) else {
        return Polled::Same;
    };
    match std::mem::replace(&mut branch.doing, Doing::Nothing) {
        Doing::Operating(operation, tag, _) => {
            operated((number, id, at), (&operation, tag), answer, site, log)
        }
        Doing::Voting(_) => voted(number, at, branch, answer, log),
        Doing::Nothing | Doing::Voted | Doing::Ended => Polled::Same,
    }
}

fn operated<E: Engine>(
    (number, id, at): (u64, TxnId, usize),
    (operation, tag): (&Operation, Tag),
    answer: Answer<Said>,
    site: &mut Site<E>,
    log: &mut Log,
) -> Polled {
    let at = site_letter(at);
    match answer {
        Ok(said) => {
            log.step(format!("T{number} {operation} at {at}: {}", show(&said)));
            if let Err(what) = note(&mut site.tape, id, operation, tag, &said) {
                log.find(
                    what,
                    "a read returns the transaction's own last write, else a committed value; a scan the same for each key of its range, in order",
                );
            }
            Polled::Moved
        }
        Err(refusal) => {
            log.step(format!("T{number} {operation} at {at}: {refusal}"));
            if !is_outcome(&refusal) {
                log.find(
                    format!("T{number}: {operation} at site {at} ended in an error: {refusal}"),
                    "an operation of an active transaction waits, succeeds, or is refused as Refusal::Aborted",
                );
            }
            Polled::Refused
        }
    }
}

fn voted(
    number: u64,
    at: usize,
    branch: &mut Branch,
    answer: Answer<Said>,
    log: &mut Log,
) -> Polled {
    let at = site_letter(at);
    match answer {
        Ok(_) => {
            log.step(format!("T{number} votes YES at {at}"));
            if branch.txn.state() != State::Voted {
                log.find(
                    format!(
                        "T{number} said YES at site {at}, but the scheduler holds it as {:?}",
                        branch.txn.state()
                    ),
                    "say YES only when the future of Scheduler::request_vote has said it (contract 5)",
                );
            }
            branch.doing = Doing::Voted;
            Polled::Moved
        }
        Err(refusal) => {
            log.step(format!("T{number} votes NO at {at}: {refusal}"));
            if !is_outcome(&refusal) {
                log.find(
                    format!("T{number}: the vote at site {at} ended in an error: {refusal}"),
                    "the vote of a transaction whose operations are done is YES or Refusal::Aborted",
                );
            }
            Polled::Refused
        }
    }
}

fn show(said: &Said) -> String {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match said {
        Said::Done => "done".to_owned(),
        Said::Value(None) => "nothing".to_owned(),
        Said::Value(Some(value)) => format!("saw {}", text(value)),
        Said::Rows(rows) => {
            let rows = rows
                .iter()
                .map(|(key, value)| format!("{}={}", text(key), text(value)));
            format!("saw [{}]", rows.collect::<Vec<_>>().join(" "))
        }
    }
}
