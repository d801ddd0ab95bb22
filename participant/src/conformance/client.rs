//! A client of one site, driven step by step on one thread: an operation that waits is seen to wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use co_core::{AbortReason, Gtid, Priority, Stamp};

use crate::error::OperationError;
use crate::participant::{
    Ballot, Begin, Decision, Key, KeyRange, Operation, Participant, Reply, TxnName, Value,
};
use crate::sync::Mutex;

/// Runs a future to its end on this thread, which sleeps while it waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// Whether something that waited may go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Something that may wait.
pub struct Running<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    site: Option<Arc<dyn Participant>>,
}

impl<T> Running<T> {
    /// Something that has not started.
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
            site: None,
        }
    }

    /// Something that a site does, which may have to ask a database.
    pub fn at(
        site: &Arc<dyn Participant>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            site: Some(Arc::clone(site)),
            ..Self::new(future)
        }
    }

    /// Goes as far as it can; `None` if it waits. Not to be called again after it has ended.
    pub fn poll(&mut self) -> Option<T> {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = self.future.as_mut().poll(&mut context) {
                return Some(value);
            }
            // It may have waited for the database alone, whose answer may have come before anybody asks whether one is
            // on its way.
            let moved = self.site.as_ref().is_some_and(|site| site.quiesce());
            if !woken.0.swap(false, Ordering::SeqCst) && !moved {
                return None;
            }
        }
    }

    /// Its end, which must come without waiting.
    ///
    /// # Panics
    /// If it waits.
    pub fn now(mut self) -> T {
        self.poll()
            .expect("the operation waits where it should not")
    }
}

impl<T> std::fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running(..)")
    }
}

/// The ballots that answered one request for a vote.
#[derive(Clone)]
pub struct Ballots {
    cast: Arc<Mutex<Vec<Ballot>>>,
    site: Arc<dyn Participant>,
}

impl Ballots {
    fn none(site: &Arc<dyn Participant>) -> Self {
        Self {
            cast: Arc::default(),
            site: Arc::clone(site),
        }
    }

    /// The ballot, if it is cast.
    ///
    /// # Panics
    /// If there is more than one.
    #[must_use]
    pub fn cast(&self) -> Option<Ballot> {
        self.site.quiesce();
        let ballots = self.cast.lock();
        assert!(ballots.len() <= 1, "one request, two ballots: {ballots:?}");
        ballots.first().cloned()
    }

    /// The stamp of the YES, if it is one.
    #[must_use]
    pub fn yes(&self) -> Option<Stamp> {
        match self.cast() {
            Some(Ballot::Yes { stamp, .. }) => Some(stamp),
            Some(Ballot::No(_)) | None => None,
        }
    }
}

/// One transaction at one site.
#[derive(Clone)]
pub struct Client {
    site: Arc<dyn Participant>,
    name: TxnName,
}

impl Client {
    /// Begins a global transaction whose number is also its age.
    ///
    /// # Panics
    /// If the name is in use.
    #[must_use]
    pub fn begin(site: &Arc<dyn Participant>, number: u64) -> Self {
        let begin = Begin {
            name: TxnName::Global(Gtid(number)),
            priority: Priority(number),
        };
        let begun = site.begin(begin);
        assert_eq!(begun, Ok(()), "transaction {number}");
        Self::of(site, begin.name)
    }

    /// A transaction that has begun.
    #[must_use]
    pub fn of(site: &Arc<dyn Participant>, name: TxnName) -> Self {
        Self {
            site: Arc::clone(site),
            name,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> TxnName {
        self.name
    }

    /// Starts an operation.
    #[must_use]
    pub fn start(&self, operation: Operation) -> Running<Result<Reply, OperationError>> {
        let (site, name) = (Arc::clone(&self.site), self.name);
        let execute = async move { site.execute(name, &operation).await };
        Running::at(&self.site, execute)
    }

    /// Runs an operation that must not wait.
    ///
    /// # Errors
    /// As [`Participant::execute`].
    pub fn run(&self, operation: Operation) -> Result<Reply, OperationError> {
        self.start(operation).now()
    }

    /// Asks for the vote.
    #[must_use]
    pub fn prepare(&self) -> Ballots {
        let ballots = Ballots::none(&self.site);
        let sink = Arc::clone(&ballots.cast);
        let on_ballot = Box::new(move |ballot| sink.lock().push(ballot));
        self.site.prepare(self.name, on_ballot);
        ballots
    }

    /// Asks for a vote that may depend on others.
    #[must_use]
    pub fn prepare_dependent(&self) -> Ballots {
        let ballots = Ballots::none(&self.site);
        let sink = Arc::clone(&ballots.cast);
        let on_ballot = Box::new(move |ballot| sink.lock().push(ballot));
        self.site.prepare_dependent(self.name, on_ballot);
        ballots
    }

    /// Tells the decision.
    ///
    /// # Errors
    /// As [`Participant::decide`].
    pub fn decide(&self, decision: Decision) -> Result<(), OperationError> {
        self.site.decide(self.name, decision)
    }

    /// Aborts it.
    ///
    /// # Panics
    /// If the site refuses.
    pub fn abort(&self) {
        assert_eq!(self.decide(Decision::Abort), Ok(()));
    }

    /// Commits what must be able to commit without waiting.
    ///
    /// # Panics
    /// If it waits or aborts.
    pub fn commit(&self) -> Stamp {
        self.try_commit().expect("nothing stands in its way")
    }

    /// Commits, or tells why it aborted; it must not wait.
    ///
    /// # Errors
    /// Why it aborted.
    ///
    /// # Panics
    /// If it waits.
    pub fn try_commit(&self) -> Result<Stamp, AbortReason> {
        let ballots = self.prepare();
        self.conclude(&ballots)
    }

    /// Commits or aborts as the ballot says, which must be cast.
    ///
    /// # Errors
    /// Why it aborted.
    ///
    /// # Panics
    /// If the vote is withheld.
    pub fn conclude(&self, ballots: &Ballots) -> Result<Stamp, AbortReason> {
        match ballots
            .cast()
            .expect("the vote is withheld where it should not be")
        {
            Ballot::Yes { stamp, .. } => {
                assert_eq!(self.decide(Decision::Commit(stamp)), Ok(()));
                Ok(stamp)
            }
            Ballot::No(reason) => {
                self.abort();
                Err(reason)
            }
        }
    }
}

impl std::fmt::Debug for Ballots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ballots").field(&self.cast).finish()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({:?})", self.name)
    }
}

/// A key from text.
#[must_use]
pub fn key(text: &str) -> Key {
    Key::from(text.as_bytes())
}

/// A value from text.
#[must_use]
pub fn value(text: &str) -> Value {
    Value::from(text.as_bytes())
}

/// A number as a value.
#[must_use]
pub fn number(number: i64) -> Value {
    Value::from(number.to_le_bytes().as_slice())
}

/// A range from text.
#[must_use]
pub fn range(low: &str, high: Option<&str>) -> KeyRange {
    KeyRange {
        low: key(low),
        high: high.map(key),
    }
}

/// Reads a key.
#[must_use]
pub fn get(name: &str) -> Operation {
    Operation::Get(key(name))
}

/// Puts text.
#[must_use]
pub fn put(name: &str, text: &str) -> Operation {
    Operation::Put(key(name), value(text))
}

/// Deletes a key.
#[must_use]
pub fn delete(name: &str) -> Operation {
    Operation::Delete(key(name))
}

/// Adds to a key.
#[must_use]
pub fn add(name: &str, delta: i64) -> Operation {
    Operation::Increment(key(name), delta)
}

/// Scans from `low` up to `high`.
#[must_use]
pub fn scan(low: &str, high: &str) -> Operation {
    Operation::Scan(range(low, Some(high)))
}

/// The reply to a read of text.
#[must_use]
pub fn found(text: &str) -> Reply {
    Reply::Value(Some(value(text)))
}

/// The reply to a read of an absent key.
#[must_use]
pub fn absent() -> Reply {
    Reply::Value(None)
}

/// The reply to a scan of text rows.
#[must_use]
pub fn rows(expected: &[(&str, &str)]) -> Reply {
    let rows = expected.iter();
    Reply::Rows(rows.map(|(name, text)| (key(name), value(text))).collect())
}
