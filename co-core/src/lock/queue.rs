//! The requests on one key, in the order of their arrival.

use crate::id::TxnId;
use crate::lock::matrix::LockMode;
use crate::order::{Cell, Txn};
use crate::outcome::Grant;
use crate::sync::Arc;

/// What a transaction asked for on a key. Its owner is known by name only: most requests are granted and
/// released without anybody asking who that is.
pub(super) struct Request {
    pub(super) owner: TxnId,
    pub(super) mode: LockMode,
    /// Whether it was granted only after a wait: then its owner may not have done yet what it asked for.
    pub(super) waited: bool,
    /// `None`: granted.
    pub(super) wait: Option<Box<Wait>>,
}

impl Request {
    pub(super) fn granted(owner: TxnId, mode: LockMode) -> Self {
        Self::new(owner, mode, None)
    }

    pub(super) fn new(owner: TxnId, mode: LockMode, wait: Option<Box<Wait>>) -> Self {
        Self {
            owner,
            mode,
            waited: wait.is_some(),
            wait,
        }
    }

    /// Whether its owner has done what it asked for, if the engine asks and acts in one step.
    pub(super) fn is_done(&self) -> bool {
        !self.waited
    }

    pub(super) fn is_granted(&self) -> bool {
        self.wait.is_none()
    }
}

/// Whom a request waits for, and how to tell it that nobody is left (L2).
pub(super) struct Wait {
    pub(super) txn: Txn,
    pub(super) blocked_by: Vec<TxnId>,
    pub(super) cell: Arc<Cell<Grant>>,
}

impl Wait {
    pub(super) fn block_on(&mut self, txn: TxnId) {
        if !self.blocked_by.contains(&txn) {
            self.blocked_by.push(txn);
        }
    }
}

/// `gone` has released: takes the wait out if it was the last one waited for.
pub(super) fn unblock(wait: &mut Option<Box<Wait>>, gone: TxnId) -> Option<Wait> {
    let waiting = wait.as_mut()?;
    let position = waiting
        .blocked_by
        .iter()
        .position(|waited| *waited == gone)?;
    waiting.blocked_by.swap_remove(position);
    if waiting.blocked_by.is_empty() {
        wait.take().map(|wait| *wait)
    } else {
        None
    }
}

/// The requests on one key: almost always one.
pub(super) struct Entry<K> {
    pub(super) key: K,
    requests: Requests,
}

enum Requests {
    One(Request),
    Several(Vec<Request>),
}

impl<K> Entry<K> {
    pub(super) fn new(key: K, request: Request) -> Self {
        Self {
            key,
            requests: Requests::One(request),
        }
    }

    pub(super) fn requests(&self) -> &[Request] {
        match &self.requests {
            Requests::One(request) => std::slice::from_ref(request),
            Requests::Several(requests) => requests,
        }
    }

    pub(super) fn requests_mut(&mut self) -> &mut [Request] {
        match &mut self.requests {
            Requests::One(request) => std::slice::from_mut(request),
            Requests::Several(requests) => requests,
        }
    }

    pub(super) fn push(&mut self, request: Request) {
        if let Requests::Several(requests) = &mut self.requests {
            requests.push(request);
            return;
        }
        let before = std::mem::replace(&mut self.requests, Requests::Several(Vec::new()));
        if let (Requests::One(first), Requests::Several(requests)) = (before, &mut self.requests) {
            requests.extend([first, request]);
        }
    }

    /// Adds a request that passes those that wait (L3): they come after it from now on, in their order.
    pub(super) fn push_before_waiters(&mut self, request: Request) {
        let owner = request.owner;
        self.push(request);
        if let Requests::Several(requests) = &mut self.requests {
            requests.sort_by_key(|request| request.owner != owner && !request.is_granted());
        }
    }

    /// Whether `owner` is the only one who has asked for the key, and once.
    pub(super) fn is_alone(&self, owner: TxnId) -> bool {
        matches!(&self.requests, Requests::One(request) if request.owner == owner)
    }

    pub(super) fn has(&self, owner: TxnId) -> bool {
        self.requests().iter().any(|request| request.owner == owner)
    }

    /// Takes `owner`'s requests out; says what is left.
    pub(super) fn remove(&mut self, owner: TxnId, mut each: impl FnMut(Request)) -> usize {
        let taken = std::mem::replace(&mut self.requests, Requests::Several(Vec::new()));
        match taken {
            Requests::One(request) if request.owner == owner => each(request),
            Requests::One(request) => self.requests = Requests::One(request),
            Requests::Several(mut requests) => {
                requests
                    .extract_if(.., |request| request.owner == owner)
                    .for_each(each);
                self.requests = Requests::Several(requests);
            }
        }
        self.requests().len()
    }
}
