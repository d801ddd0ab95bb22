//! A client of the world: runs one transaction, one operation at a time.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use co_core::{Gtid, Priority};
use coco::protocol::{AbortCause, CallerId, CommitAnswer};
use participant::site::LocalOutcome;
use participant::{Begin, Operation, OperationError, Participant, Reply, TxnName};

use crate::world::World;

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Committed.
    Committed,
    /// Aborted, by whomever.
    Aborted,
    /// Nobody could say.
    Unknown,
}

/// What a client's step led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The operation answered.
    Replied(Reply),
    /// The operation waits.
    Waiting,
    /// The site has aborted the transaction.
    Aborted,
    /// The operation was refused, the transaction stands.
    Refused(String),
}

type Execution = Pin<Box<dyn Future<Output = Result<Reply, OperationError>> + Send>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

enum End {
    Not,
    Global(CallerId),
    Local(Arc<Mutex<Option<LocalOutcome>>>),
}

/// One transaction under way.
pub struct Client {
    name: TxnName,
    priority: Priority,
    begun: BTreeSet<usize>,
    running: Option<(usize, Execution)>,
    woken: Arc<Flag>,
    end: End,
}

impl Client {
    /// Begins a global transaction.
    pub fn global(world: &mut World, priority: Option<Priority>) -> Self {
        let (gtid, priority) = world.begin(priority);
        Self::new(TxnName::Global(gtid), priority)
    }

    /// Begins a transaction of one site, with a number that is unique there.
    #[must_use]
    pub fn local(number: u64, priority: Priority) -> Self {
        Self::new(TxnName::Local(number), priority)
    }

    fn new(name: TxnName, priority: Priority) -> Self {
        Self {
            name,
            priority,
            begun: BTreeSet::new(),
            running: None,
            woken: Arc::new(Flag(AtomicBool::new(true))),
            end: End::Not,
        }
    }

    /// The global identifier.
    ///
    /// # Panics
    /// If the transaction is local.
    #[must_use]
    pub fn gtid(&self) -> Gtid {
        match self.name {
            TxnName::Global(gtid) => gtid,
            TxnName::Local(number) => panic!("L{number} is local"),
        }
    }

    /// Its age.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// What the coordinator has answered to a global transaction's end.
    #[must_use]
    pub fn answer(&self, world: &World) -> Option<CommitAnswer> {
        match &self.end {
            End::Global(caller) => world.answer(*caller),
            End::Not | End::Local(_) => None,
        }
    }

    /// Its name at the sites.
    #[must_use]
    pub fn name(&self) -> TxnName {
        self.name
    }

    /// Starts an operation at a site and sees how far it comes.
    ///
    /// # Panics
    /// If an operation is still running.
    pub fn start(&mut self, world: &World, site: usize, operation: Operation) -> Progress {
        assert!(self.running.is_none(), "one operation at a time");
        if self.begun.insert(site) {
            let begin = Begin {
                name: self.name,
                priority: self.priority,
            };
            if let Err(error) = world.site(site).begin(begin) {
                return self.progress(world, site, Err(error));
            }
        }
        let participant: Arc<dyn Participant> = Arc::clone(world.participant(site));
        let name = self.name;
        let execution = async move { participant.execute(name, &operation).await };
        self.running = Some((site, Box::pin(execution)));
        self.poll(world)
    }

    /// Whether an operation is running that was not woken since it was last looked at.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.running.is_some() && !self.woken.0.load(Ordering::Acquire)
    }

    /// Whether an operation is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Looks at the running operation.
    ///
    /// # Panics
    /// If none is running.
    pub fn poll(&mut self, world: &World) -> Progress {
        let (site, execution) = self.running.as_mut().expect("an operation is running");
        self.woken.0.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.woken));
        match execution.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Progress::Waiting,
            Poll::Ready(result) => {
                let site = *site;
                self.running = None;
                self.progress(world, site, result)
            }
        }
    }

    fn progress(
        &self,
        world: &World,
        site: usize,
        result: Result<Reply, OperationError>,
    ) -> Progress {
        match (result, self.name) {
            (Ok(reply), _) => Progress::Replied(reply),
            (Err(OperationError::Aborted(_)), _) => Progress::Aborted,
            // The coordinator has aborted it and the site has forgotten it already.
            (Err(OperationError::UnknownTransaction), TxnName::Global(gtid))
                if world.site(site).abort_cause(gtid).is_some() =>
            {
                Progress::Aborted
            }
            (Err(error), _) => Progress::Refused(error.to_string()),
        }
    }

    /// Asks for the commit.
    ///
    /// # Panics
    /// If it is local and has not worked anywhere.
    pub fn commit(&mut self, world: &mut World) {
        match self.name {
            TxnName::Global(gtid) => {
                let sites: Vec<usize> = self.begun.iter().copied().collect();
                self.end = End::Global(world.commit(gtid, &sites));
            }
            TxnName::Local(number) => {
                let outcome = Arc::new(Mutex::new(None));
                let told = Arc::clone(&outcome);
                let done = move |result| {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                };
                let site = self.begun.first().expect("it has worked somewhere");
                world.site(*site).commit_local(number, Box::new(done));
                self.end = End::Local(outcome);
            }
        }
    }

    /// Gives the transaction up.
    pub fn rollback(&mut self, world: &mut World) {
        self.running = None;
        match self.name {
            TxnName::Global(gtid) => {
                let sites: Vec<usize> = self.begun.iter().copied().collect();
                self.end = End::Global(world.rollback(gtid, &sites));
            }
            TxnName::Local(_) => {
                for site in &self.begun {
                    world.site(*site).abandon(self.name, AbortCause::Client);
                }
                let aborted = LocalOutcome::Aborted {
                    cause: AbortCause::Client,
                };
                self.end = End::Local(Arc::new(Mutex::new(Some(aborted))));
            }
        }
    }

    /// A site has crashed: what the client had there, and an operation on its way there, is gone. A local
    /// transaction that had asked for its commit will hear no more of it.
    pub fn lose(&mut self, world: &mut World, site: usize) {
        if !self.begun.contains(&site) {
            return;
        }
        if let End::Local(outcome) = &self.end {
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.get_or_insert(LocalOutcome::Unknown);
        } else if !self.is_ending() {
            self.rollback(world);
        }
    }

    /// The sites' servers end what their clients have left: what they do when a transaction has been idle
    /// for long. A transaction whose vote was asked for is left to its decision.
    pub fn expire(&self, world: &World) {
        for site in &self.begun {
            world.site(*site).abandon(self.name, AbortCause::Timeout);
        }
    }

    /// Whether its end was asked for.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        !matches!(self.end, End::Not)
    }

    /// What became of it; `None` while that is open.
    ///
    /// # Panics
    /// If the coordinator refuses to end it: it has begun and ended once.
    #[must_use]
    pub fn ending(&self, world: &World) -> Option<Ending> {
        match &self.end {
            End::Not => None,
            End::Global(caller) => match world.answer(*caller)? {
                CommitAnswer::Committed { .. } => Some(Ending::Committed),
                CommitAnswer::Aborted { .. } => Some(Ending::Aborted),
                CommitAnswer::Unknown => Some(Ending::Unknown),
                CommitAnswer::Refused(refusal) => panic!("{:?}: {refusal:?}", self.name),
            },
            End::Local(outcome) => {
                let outcome = *outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.map(|outcome| match outcome {
                    LocalOutcome::Committed { .. } => Ending::Committed,
                    LocalOutcome::Aborted { .. } => Ending::Aborted,
                    LocalOutcome::Unknown => Ending::Unknown,
                })
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("running", &self.running.is_some())
            .field("ending", &self.is_ending())
            .finish_non_exhaustive()
    }
}
