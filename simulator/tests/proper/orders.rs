//! What orders the transactions of a `Keeper`: `co_core::Eco`, `co_core::Gco`, or a textbook's graph.

use std::sync::{Mutex, MutexGuard, PoisonError};

use co_core::{
    AbortReason, Access, Certification, CommitSeq, Eco, Gco, Gtid, Kind, Outcome, Priority, Reads,
    SiteTxn, Source, Vote, VoteFuture,
};
use participant::Key;

use crate::textbook::{Book, Rule};

/// Which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Eco {
        /// Transactions of several sites are taken for local ones (*commitment ordering*, knowing what is local).
        all_local: bool,
    },
    Gco(Reads, Certification),
    Textbook(Rule),
}

/// A transaction's number at its site.
pub(crate) type Ticket = usize;

/// Decides on operations, votes and aborts; whoever meets an undecided write is aborted.
pub(crate) trait Orders: Send + Sync {
    fn name(&self) -> &'static str;
    fn begin(&self, kind: Kind) -> Ticket;
    /// Up to which version the transaction reads; or why it has to be aborted.
    fn read(&self, txn: Ticket, key: &Key) -> Result<u64, AbortReason>;
    fn write(&self, txn: Ticket, key: &Key) -> Result<(), AbortReason>;
    fn ask(&self, txn: Ticket);
    fn has_voted(&self, txn: Ticket) -> bool;
    fn abort(&self, txn: Ticket);
    /// `install` makes the versions visible under the number that is returned: `next`, unless the order gives another.
    fn commit(&self, txn: Ticket, next: u64, install: &mut dyn FnMut(u64)) -> u64;
    /// Who was doomed since the last call.
    fn take_doomed(&self) -> Vec<(Ticket, AbortReason)>;
    fn blocked_by(&self, txn: Ticket) -> Vec<(Gtid, Priority)>;
    fn undecided(&self) -> usize;
}

impl Order {
    /// A site without transactions.
    pub(crate) fn open(self) -> Box<dyn Orders> {
        let subject = match self {
            Self::Eco { .. } => Subject::Eco(Eco::new()),
            Self::Gco(reads, certification) => Subject::Gco(Gco::new(reads, certification)),
            Self::Textbook(rule) => return Box::new(Mutex::new(Book::new(rule))),
        };
        Box::new(Core {
            subject,
            txns: Mutex::default(),
        })
    }
}

enum Subject {
    Eco(Eco<Key>),
    Gco(Gco<Key>),
}

/// One of the two types of co-core, and its transactions.
struct Core {
    subject: Subject,
    txns: Mutex<Vec<(SiteTxn, Option<VoteFuture>)>>,
}

/// The handles are this site's, and operations come before votes: nothing of this is a misuse.
const SOUND: &str = "the keeper calls in the order that the type asks for";

impl Core {
    fn txns(&self) -> MutexGuard<'_, Vec<(SiteTxn, Option<VoteFuture>)>> {
        self.txns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, txn: Ticket) -> SiteTxn {
        self.txns()[txn].0.clone()
    }
}

fn granted<T>(access: Access<T>) -> Result<T, AbortReason> {
    match access {
        Access::Granted(what) => Ok(what),
        Access::Busy(_) => Err(AbortReason::Conflict),
        Access::Doomed(reason) => Err(reason),
    }
}

impl Orders for Core {
    fn name(&self) -> &'static str {
        match self.subject {
            Subject::Eco(_) => "eco",
            Subject::Gco(_) => "gco",
        }
    }

    fn begin(&self, kind: Kind) -> Ticket {
        let handle = match &self.subject {
            Subject::Eco(site) => site.begin(kind),
            Subject::Gco(site) => site.begin(kind),
        };
        let mut txns = self.txns();
        txns.push((handle, None));
        txns.len() - 1
    }

    fn read(&self, txn: Ticket, key: &Key) -> Result<u64, AbortReason> {
        let handle = self.handle(txn);
        match &self.subject {
            Subject::Eco(site) => granted(site.read(&handle, key).expect(SOUND)).map(|()| u64::MAX),
            Subject::Gco(site) => {
                granted(site.read(&handle, key).expect(SOUND)).map(|source| match source {
                    Source::AsOf(number) => number.0,
                    Source::Own => unreachable!("the keeper serves own writes"),
                })
            }
        }
    }

    fn write(&self, txn: Ticket, key: &Key) -> Result<(), AbortReason> {
        let handle = self.handle(txn);
        granted(match &self.subject {
            Subject::Eco(site) => site.write(&handle, key).expect(SOUND),
            Subject::Gco(site) => site.write(&handle, key).expect(SOUND),
        })
    }

    fn ask(&self, txn: Ticket) {
        let handle = self.handle(txn);
        let vote = match &self.subject {
            Subject::Eco(site) => site.request_vote(&handle),
            Subject::Gco(site) => site.request_vote(&handle),
        };
        self.txns()[txn].1 = Some(vote);
    }

    fn has_voted(&self, txn: Ticket) -> bool {
        let txns = self.txns();
        txns[txn].1.as_ref().and_then(VoteFuture::peek) == Some(Vote::Yes)
    }

    fn abort(&self, txn: Ticket) {
        let handle = self.handle(txn);
        let aborted = match &self.subject {
            Subject::Eco(site) => site.decided(&handle, Outcome::Abort),
            Subject::Gco(site) => site.decided(&handle, Outcome::Abort),
        };
        aborted.expect(SOUND);
    }

    fn commit(&self, txn: Ticket, next: u64, install: &mut dyn FnMut(u64)) -> u64 {
        let handle = self.handle(txn);
        match &self.subject {
            Subject::Eco(site) => {
                install(next);
                site.decided(&handle, Outcome::Commit).expect(SOUND);
                next
            }
            Subject::Gco(site) => {
                let mut given = 0;
                let number = |number: CommitSeq| {
                    given = number.0;
                    install(number.0);
                };
                site.decided_with(&handle, Outcome::Commit, number)
                    .expect(SOUND);
                given
            }
        }
    }

    fn take_doomed(&self) -> Vec<(Ticket, AbortReason)> {
        let doomed = match &self.subject {
            Subject::Eco(site) => site.take_doomed(),
            Subject::Gco(site) => site.take_doomed(),
        };
        let txns = self.txns();
        let ticket = |handle: &SiteTxn| txns.iter().position(|(other, _)| other == handle);
        let doomed = doomed.iter().map(|handle| {
            let ticket = ticket(handle).expect("it began here");
            (ticket, handle.doomed().expect("it is doomed"))
        });
        doomed.collect()
    }

    fn blocked_by(&self, txn: Ticket) -> Vec<(Gtid, Priority)> {
        let handle = self.handle(txn);
        match &self.subject {
            Subject::Eco(site) => site.blocked_by(&handle),
            Subject::Gco(site) => site.blocked_by(&handle),
        }
    }

    fn undecided(&self) -> usize {
        match &self.subject {
            Subject::Eco(site) => site.undecided(),
            Subject::Gco(site) => site.undecided(),
        }
    }
}
