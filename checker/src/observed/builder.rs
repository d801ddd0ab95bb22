//! Makes a history transaction by transaction.

use super::{Elements, Interval, Key, Observed, Op, Outcome, Session, Txn, TxnIndex, Value};

/// Makes an [`Observed`] history: with [`txn`](Self::txn), which takes names,
///
/// ```
/// use checker::observed::ObservedBuilder;
///
/// let mut builder = ObservedBuilder::new("made here");
/// builder.txn().session(0).write("x", 1).committed()?;
/// builder.txn().session(1).read("x", Some(1)).append("list", "first").committed()?;
/// assert_eq!(builder.finish().txns().len(), 2);
/// # Ok::<(), checker::observed::ObservedFault>(())
/// ```
///
/// or operation by operation, for importers of large files, who look names up themselves:
///
/// ```
/// use checker::observed::{ObservedBuilder, Outcome};
///
/// let mut builder = ObservedBuilder::new("made here");
/// let (x, one) = (builder.key("x")?, builder.value("1")?);
/// builder.write(x, one)?;
/// builder.end(Some(0), Outcome::Committed, None, 1)?;
/// builder.read(x, Some(one))?;
/// builder.end(Some(1), Outcome::Committed, None, 2)?;
/// let history = builder.finish();
/// assert_eq!(history.txns().len(), 2);
/// assert_eq!(history.key_name(x), "x");
/// # Ok::<(), checker::observed::ObservedFault>(())
/// ```
#[derive(Debug, Default)]
pub struct ObservedBuilder {
    history: Observed,
    /// The first operation of the transaction that is being made.
    open: usize,
}

/// Why something cannot be part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObservedFault {
    /// More than 32 bits can count.
    #[error("the history has more than four thousand million {0}; judge it in parts")]
    TooLarge(&'static str),
}

impl ObservedBuilder {
    /// Starts a history; `source` names it in messages.
    #[must_use]
    pub fn new(source: &str) -> Self {
        let history = Observed {
            source: source.to_owned(),
            ..Observed::default()
        };
        Self { history, open: 0 }
    }

    /// The number of a key (O2).
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn key(&mut self, name: &str) -> Result<Key, ObservedFault> {
        let place = self.history.keys.intern(name);
        place.map(Key).ok_or(ObservedFault::TooLarge("keys"))
    }

    /// The value that the source calls `name`; a whole number below 2^63 in its shortest form costs nothing.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn value(&mut self, name: &str) -> Result<Value, ObservedFault> {
        if let Some(value) = plain(name).and_then(Value::number) {
            return Ok(value);
        }
        let place = self.history.values.intern(name);
        place
            .map(Value::named)
            .ok_or(ObservedFault::TooLarge("values"))
    }

    /// The open transaction wrote a register.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn write(&mut self, key: Key, value: Value) -> Result<(), ObservedFault> {
        self.push(Op::Write { key, value })
    }

    /// The open transaction read a register; `None` is the initial state.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn read(&mut self, key: Key, value: Option<Value>) -> Result<(), ObservedFault> {
        self.push(Op::Read { key, value })
    }

    /// The open transaction appended to a list.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn append(&mut self, key: Key, value: Value) -> Result<(), ObservedFault> {
        self.push(Op::Append { key, value })
    }

    /// The open transaction read a list.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn read_list(&mut self, key: Key, list: &[Value]) -> Result<(), ObservedFault> {
        let too_large = ObservedFault::TooLarge("list elements");
        let first = u32::try_from(self.history.elements.len()).map_err(|_| too_large)?;
        let count = u32::try_from(list.len()).map_err(|_| too_large)?;
        first.checked_add(count).ok_or(too_large)?;
        self.history.elements.extend_from_slice(list);
        let elements = Elements { first, count };
        self.push(Op::ReadList { key, elements })
    }

    /// The open transaction read, and nobody saw what.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn unseen(&mut self, key: Key) -> Result<(), ObservedFault> {
        self.push(Op::Unseen { key })
    }

    /// Ends the open transaction. Transactions of a session end in session order (O1).
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn end(
        &mut self,
        session: Option<u32>,
        outcome: Outcome,
        interval: Option<Interval>,
        line: u32,
    ) -> Result<TxnIndex, ObservedFault> {
        let too_large = ObservedFault::TooLarge("transactions");
        let index = u32::try_from(self.history.txns.len()).map_err(|_| too_large)?;
        let count = self.history.ops.len() - self.open;
        let txn = Txn {
            session: session.map(Session),
            outcome,
            interval,
            line,
            first_op: u32::try_from(self.open).map_err(|_| too_large)?,
            ops: u32::try_from(count).map_err(|_| too_large)?,
        };
        if let Some(session) = session {
            let count = session.checked_add(1).ok_or(too_large)?;
            self.history.sessions = self.history.sessions.max(count);
        }
        self.open = self.history.ops.len();
        self.history.txns.push(txn);
        Ok(TxnIndex(index))
    }

    /// Changes operations that were made before, for importers that learn late what a read of the initial state
    /// looks like in their source. What is returned has to be about the same key.
    ///
    /// ```
    /// use checker::observed::{ObservedBuilder, Op, Outcome, TxnIndex};
    ///
    /// let mut builder = ObservedBuilder::new("zero is the initial value");
    /// let (x, zero) = (builder.key("x")?, builder.value("0")?);
    /// builder.read(x, Some(zero))?;
    /// builder.end(None, Outcome::Committed, None, 1)?;
    /// builder.rewrite(|op| match op {
    ///     Op::Read { key, value: Some(value) } if value == zero => Op::Read { key, value: None },
    ///     op => op,
    /// });
    /// assert_eq!(builder.finish().ops(TxnIndex(0)), [Op::Read { key: x, value: None }]);
    /// # Ok::<(), checker::observed::ObservedFault>(())
    /// ```
    pub fn rewrite(&mut self, mut change: impl FnMut(Op) -> Op) {
        for op in &mut self.history.ops {
            let changed = change(*op);
            debug_assert_eq!(op.key(), changed.key());
            *op = changed;
        }
    }

    /// Says when the transactions that have been ended ran, in their order, for importers that learn it late.
    ///
    /// ```
    /// use checker::observed::{Interval, ObservedBuilder, Outcome};
    ///
    /// let mut builder = ObservedBuilder::new("made here");
    /// builder.end(None, Outcome::Committed, None, 1)?;
    /// builder.set_intervals([Some(Interval { begin: 3, end: 4 })]);
    /// let history = builder.finish();
    /// assert_eq!(history.txns()[0].interval, Some(Interval { begin: 3, end: 4 }));
    /// # Ok::<(), checker::observed::ObservedFault>(())
    /// ```
    pub fn set_intervals(&mut self, intervals: impl IntoIterator<Item = Option<Interval>>) {
        for (txn, interval) in self.history.txns.iter_mut().zip(intervals) {
            txn.interval = interval;
        }
    }

    /// What has been ended so far.
    ///
    /// ```
    /// use checker::observed::{ObservedBuilder, Outcome};
    ///
    /// let mut builder = ObservedBuilder::new("made here");
    /// let (x, one) = (builder.key("x")?, builder.value("1")?);
    /// builder.write(x, one)?;
    /// builder.end(None, Outcome::Committed, None, 1)?;
    /// builder.read(x, Some(one))?;
    /// assert_eq!(builder.history().txns().len(), 1);
    /// assert_eq!(builder.open_operations().len(), 1);
    /// # Ok::<(), checker::observed::ObservedFault>(())
    /// ```
    #[must_use]
    pub const fn history(&self) -> &Observed {
        &self.history
    }

    /// The operations of the open transaction; their keys, values and elements are those of [`history`](Self::history).
    #[must_use]
    pub fn open_operations(&self) -> &[Op] {
        &self.history.ops[self.open..]
    }

    /// How many operations the open transaction has.
    #[must_use]
    pub const fn open_ops(&self) -> usize {
        self.history.ops.len() - self.open
    }

    /// About how many bytes of memory the history takes so far.
    ///
    /// ```
    /// use checker::observed::ObservedBuilder;
    ///
    /// let mut builder = ObservedBuilder::new("made here");
    /// let before = builder.memory_bytes();
    /// builder.key("a key with a rather long name")?;
    /// assert!(builder.memory_bytes() > before);
    /// # Ok::<(), checker::observed::ObservedFault>(())
    /// ```
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let history = &self.history;
        let lists = history.txns.capacity() * size_of::<Txn>()
            + history.ops.capacity() * size_of::<Op>()
            + history.elements.capacity() * size_of::<Value>();
        (lists + history.keys.memory_bytes() + history.values.memory_bytes()) as u64
    }

    /// Drops the operations of the open transaction.
    pub fn abandon(&mut self) {
        self.history.ops.truncate(self.open);
    }

    /// Ends the history; operations of a transaction that was not ended are dropped.
    #[must_use]
    pub fn finish(mut self) -> Observed {
        self.abandon();
        self.history
    }

    fn push(&mut self, op: Op) -> Result<(), ObservedFault> {
        if self.history.ops.len() >= u32::MAX as usize {
            return Err(ObservedFault::TooLarge("operations"));
        }
        self.history.ops.push(op);
        Ok(())
    }
}

/// A whole number in its shortest form.
fn plain(name: &str) -> Option<u64> {
    let shortest = name == "0" || !name.starts_with(['0', '+']);
    shortest.then(|| name.parse().ok()).flatten()
}
