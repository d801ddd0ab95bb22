//! What clients ask of the site.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use co_core::{AbortReason, Gtid, Priority, Stamp};
use coco::failpoint;
use coco::protocol::{AbortCause, ByHand, CommitAnswer, Refusal};
use coco::service::audit::Audit;
use coco::service::site::{
    DoneByHand, Execute, ExecuteAnswer, ExecuteOutcome, NewLocal, Operation as Wire,
    OperationReply, Peer, Pending, Range, Row, SiteHandler, SiteStatistics, SiteTxn, Table,
};
use coco::service::{Front, Refused, RefusedCode};
use tokio::sync::oneshot;

use super::activity::{Activity, Held, NotNow, Running};
use super::by_hand;
use super::watched::Watch;
use crate::error::OperationError;
use crate::participant::{Begin, KeyRange, Operation, Reply, TxnName};
use crate::site::{LocalOutcome, Site, cause_of};

/// The age of the first local transaction: younger than every global one, because a local transaction that
/// gives way has done work at one site only.
const LOCAL_AGE: u64 = 1 << 60;

/// Names of local transactions are `life (23 bits) | counter (40 bits)`: a client that missed a restart of
/// the site does not lay hands on the transaction of another.
const COUNTER_BITS: u32 = 40;
const LIFE_BITS: u64 = (1 << 23) - 1;

pub(super) struct Handler {
    site: Arc<Site>,
    activity: Arc<Activity>,
    watch: Arc<Watch>,
    operation_timeout: Duration,
    next_local: AtomicU64,
    /// How many transactions may be undecided here, and how many of one peer may be local ones.
    front: Front,
    /// Nothing begins any more.
    draining: Arc<AtomicBool>,
    audit: Option<Arc<Audit>>,
}

impl Handler {
    pub(super) fn new(
        site: Arc<Site>,
        activity: Arc<Activity>,
        watch: Arc<Watch>,
        operation_timeout: Duration,
    ) -> Self {
        let life = site.incarnation().0 & LIFE_BITS;
        let next_local = AtomicU64::new(life << COUNTER_BITS | 1);
        Self {
            site,
            activity,
            watch,
            operation_timeout,
            next_local,
            front: Front::default(),
            draining: Arc::default(),
            audit: None,
        }
    }

    /// The same, and what operators do is written down here.
    pub(super) fn audited(mut self, audit: Option<Audit>) -> Self {
        self.audit = audit.map(Arc::new);
        self
    }

    /// The same, with bounds, and a switch that ends all beginning.
    pub(super) fn bounded(mut self, front: &Front, draining: Arc<AtomicBool>) -> Self {
        self.front = front.clone();
        self.draining = draining;
        self
    }

    /// Whether one more transaction may begin.
    fn room(&self) -> Result<(), ExecuteOutcome> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(refuse(
                RefusedCode::Draining,
                "the site is about to end and begins nothing; come again when it is back",
            ));
        }
        let limit = self.front.limits.transactions;
        if self.site.participant().in_flight() >= limit {
            self.front.count_full(false);
            let full = format!("the site has {limit} undecided transactions");
            return Err(self.overloaded(&full));
        }
        Ok(())
    }

    /// A place for one more local transaction of this peer.
    fn place(&self, peer: Peer) -> Result<Held, ExecuteOutcome> {
        let limit = self.front.limits.transactions_per_peer;
        self.activity.hold(peer, limit).ok_or_else(|| {
            self.front.count_full(true);
            self.overloaded(&format!(
                "you have {limit} undecided transactions of this site alone"
            ))
        })
    }

    fn overloaded(&self, why: &str) -> ExecuteOutcome {
        let after = self.front.limits.retry_after;
        ExecuteOutcome::Refused(Refused {
            code: RefusedCode::Overloaded,
            message: format!("overloaded: {why}; retry after {} ms", after.as_millis()),
            retry_after: Some(after),
        })
    }

    /// Finds or begins the transaction of a request, and counts it as running.
    fn admit(
        &self,
        peer: Peer,
        txn: SiteTxn,
        begin: Option<Priority>,
    ) -> Result<(Running<'_>, TxnName, Option<NewLocal>), ExecuteOutcome> {
        if self.site.log_failed() {
            return Err(refuse(
                RefusedCode::LogFailed,
                "the site's log has failed; restart the site after mending its disk",
            ));
        }
        let (name, begin, local) = match txn {
            SiteTxn::Global(gtid) => (TxnName::Global(gtid), begin, None),
            SiteTxn::Local(name) => (TxnName::Local(name), None, None),
            SiteTxn::NewLocal => {
                let name = self.next_local.fetch_add(1, Ordering::Relaxed);
                let priority = begin.unwrap_or(Priority(LOCAL_AGE + name));
                (
                    TxnName::Local(name),
                    Some(priority),
                    Some(NewLocal { name, priority }),
                )
            }
        };
        let running = match begin {
            Some(priority) => {
                self.room()?;
                let held = local.is_some().then(|| self.place(peer)).transpose()?;
                let begun = self.site.begin(Begin { name, priority });
                begun.map_err(|error| self.outcome_of(name, error))?;
                self.activity.begin(&self.site, name, held)
            }
            None => self
                .activity
                .enter(&self.site, name)
                .map_err(|not_now| match not_now {
                    NotNow::Unknown => self.outcome_of(name, OperationError::UnknownTransaction),
                    NotNow::Busy => refuse(
                        RefusedCode::Busy,
                        "an operation of the transaction is running; wait for its answer",
                    ),
                })?,
        };
        Ok((running, name, local))
    }

    async fn run(&self, name: TxnName, operations: Vec<Wire>) -> ExecuteOutcome {
        let mut replies = Vec::with_capacity(operations.len());
        for operation in operations {
            let operation = operation_of(operation);
            let running = self.site.participant().execute(name, &operation);
            match tokio::time::timeout(self.operation_timeout, running).await {
                Ok(Ok(reply)) => replies.push(reply_to(reply)),
                Ok(Err(error)) => return self.outcome_of(name, error),
                Err(_late) => return ExecuteOutcome::Aborted(AbortCause::Timeout),
            }
        }
        ExecuteOutcome::Results(replies)
    }

    /// What an error means to the client. The one place that says so.
    fn outcome_of(&self, name: TxnName, error: OperationError) -> ExecuteOutcome {
        let known_cause = match name {
            TxnName::Global(gtid) => self.site.abort_cause(gtid),
            TxnName::Local(_) => None,
        };
        let code = match (&error, known_cause) {
            // The coordinator, or an idle timeout, aborted it: the engine knows only that it was asked to.
            (
                OperationError::Aborted(AbortReason::Requested)
                | OperationError::UnknownTransaction
                | OperationError::AlreadyEnded,
                Some(cause),
            ) => return ExecuteOutcome::Aborted(cause),
            (OperationError::Aborted(reason), _) => {
                return ExecuteOutcome::Aborted(cause_of(*reason));
            }
            (OperationError::UnknownTransaction, None) => RefusedCode::UnknownTransaction,
            (OperationError::DuplicateBegin, _) => RefusedCode::DuplicateBegin,
            (OperationError::AlreadyEnded | OperationError::NotVoted, _) => {
                RefusedCode::AlreadyEnded
            }
            (
                OperationError::EmptyKey
                | OperationError::KeyTooLong { .. }
                | OperationError::ValueTooLong { .. }
                | OperationError::TooManyRows
                | OperationError::InvalidRange
                | OperationError::TooOld { .. }
                | OperationError::TooFarAhead { .. }
                | OperationError::NotANumber { .. }
                | OperationError::NotDeclared
                | OperationError::DeclaredLate
                | OperationError::TooManyKeys { .. }
                | OperationError::StatementTooLong { .. }
                | OperationError::NotYours { .. }
                | OperationError::Statement { .. },
                _,
            ) => RefusedCode::InvalidOperation,
            (OperationError::Unsupported { .. }, _) => RefusedCode::Unsupported,
            (OperationError::DatabaseAway, _) => RefusedCode::DatabaseAway,
            (OperationError::StorageFailed, _) => RefusedCode::LogFailed,
        };
        refuse(code, &error.to_string())
    }
}

impl SiteHandler for Handler {
    async fn execute(&self, peer: Peer, request: Execute) -> ExecuteAnswer {
        if failpoint::hit("site: execute") {
            let outcome = refuse(RefusedCode::Busy, "a test says so");
            return ExecuteAnswer {
                local: None,
                outcome,
            };
        }
        let (running, name, local) = match self.admit(peer, request.txn, request.begin) {
            Ok(admitted) => admitted,
            Err(outcome) => {
                return ExecuteAnswer {
                    local: None,
                    outcome,
                };
            }
        };
        let mut outcome = self.run(name, request.operations).await;
        if failpoint::hit("site: executed") {
            outcome = ExecuteOutcome::Aborted(AbortCause::Timeout);
        }
        match (&outcome, name) {
            (ExecuteOutcome::Results(_) | ExecuteOutcome::Refused(_), _) => running.done(),
            // Timed out here: dropping it aborts the transaction.
            (ExecuteOutcome::Aborted(AbortCause::Timeout), _) => drop(running),
            // Nobody will decide it: its client knows, and the site may forget it.
            (ExecuteOutcome::Aborted(_), TxnName::Local(_)) => drop(running),
            // Its coordinator will be told by its client; if it is not, the idle timeout forgets it.
            (ExecuteOutcome::Aborted(_), TxnName::Global(_)) => running.done(),
        }
        ExecuteAnswer { local, outcome }
    }

    async fn commit_local(&self, name: u64) -> CommitAnswer {
        let held = match self.activity.remove(TxnName::Local(name)) {
            None => return CommitAnswer::Refused(Refusal::UnknownGtid),
            Some((true, _)) => {
                self.site.abandon(TxnName::Local(name), AbortCause::Client);
                return CommitAnswer::Aborted {
                    cause: AbortCause::Client,
                };
            }
            Some((false, held)) => held,
        };
        let (done, outcome) = oneshot::channel();
        self.site.commit_local(
            name,
            Box::new(move |outcome| {
                drop(held);
                // An error means that the client has gone: the commit stands.
                let _gone = done.send(outcome);
            }),
        );
        match outcome.await {
            Ok(LocalOutcome::Committed { stamp }) => CommitAnswer::Committed { stamp },
            Ok(LocalOutcome::Aborted { cause }) => CommitAnswer::Aborted { cause },
            Ok(LocalOutcome::Unknown) | Err(_) => CommitAnswer::Unknown,
        }
    }

    async fn rollback_local(&self, name: u64) {
        self.activity.remove(TxnName::Local(name));
        self.site.abandon(TxnName::Local(name), AbortCause::Client);
    }

    async fn query(&self, stamp: Stamp, range: Range) -> Result<Vec<Row>, Refused> {
        let range = range_of(range);
        let rows = self.site.participant().query(stamp, &range);
        let rows = match tokio::time::timeout(self.operation_timeout, rows).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                let unsupported = matches!(error, OperationError::Unsupported { .. });
                let code = if unsupported {
                    RefusedCode::Unsupported
                } else {
                    RefusedCode::InvalidOperation
                };
                let message = error.to_string();
                return Err(Refused {
                    code,
                    message,
                    retry_after: None,
                });
            }
            Err(_late) => {
                let message = "a transaction in doubt holds the query up; ask again later";
                return Err(Refused {
                    code: RefusedCode::Busy,
                    message: message.to_owned(),
                    retry_after: None,
                });
            }
        };
        Ok(rows
            .into_iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect())
    }

    fn pending(&self) -> Pending {
        self.watch.look(&self.site)
    }

    async fn resolve(
        &self,
        operator: String,
        gtid: Gtid,
        how: ByHand,
        reason: String,
    ) -> Result<DoneByHand, Refused> {
        let (site, audit) = (&self.site, self.audit.as_ref());
        by_hand::resolve(site, audit, operator, (gtid, how), reason).await
    }

    fn statistics(&self) -> SiteStatistics {
        let participant = self.site.participant();
        let statistics = participant.statistics();
        SiteStatistics {
            engine: participant.engine().to_owned(),
            votes_requested: statistics.requested,
            votes_withheld: statistics.withheld,
            local_cycles: statistics.cycles,
            overtaken: statistics.overtaken,
            in_flight: participant.in_flight() as u64,
        }
    }
}

fn refuse(code: RefusedCode, message: &str) -> ExecuteOutcome {
    ExecuteOutcome::Refused(Refused {
        code,
        message: message.to_owned(),
        retry_after: None,
    })
}

fn operation_of(operation: Wire) -> Operation {
    match operation {
        Wire::Get(key) => Operation::Get(key.into()),
        Wire::Put(key, value) => Operation::Put(key.into(), value.into()),
        Wire::Delete(key) => Operation::Delete(key.into()),
        Wire::Scan(range) => Operation::Scan(range_of(range)),
        Wire::Increment(key, by) => Operation::Increment(key.into(), by),
        Wire::Declare(keys) => Operation::Declare(keys.into_iter().map(Into::into).collect()),
        Wire::Sql(statement) => Operation::Sql(statement),
    }
}

fn range_of(range: Range) -> KeyRange {
    KeyRange {
        low: range.low.into(),
        high: range.high.map(Into::into),
    }
}

fn reply_to(reply: Reply) -> OperationReply {
    match reply {
        Reply::Value(value) => OperationReply::Value(value.map(|value| value.to_vec())),
        Reply::Rows(rows) => {
            let row = |(key, value): (crate::Key, crate::Value)| (key.to_vec(), value.to_vec());
            OperationReply::Rows(rows.into_iter().map(row).collect())
        }
        Reply::Done => OperationReply::Done,
        Reply::Table(table) => OperationReply::Table(Table {
            columns: table.columns,
            rows: table.rows,
            affected: table.affected,
        }),
    }
}
