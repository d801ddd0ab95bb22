//! A transaction in one expression.

use std::fmt::Display;

use super::{Interval, ObservedBuilder, ObservedFault, Outcome, TxnIndex, Value};

/// A transaction that is being made ([`ObservedBuilder::txn`]): who ran it and when, its operations in their order, and
/// at last what became of it.
///
/// ```
/// use checker::observed::{ObservedBuilder, Outcome};
///
/// let mut builder = ObservedBuilder::new("made here");
/// builder.txn().session(0).ran(1, 3).write("x", 1).committed()?;
/// builder.txn().session(1).ran(2, 4).read("x", None::<u64>).write("x", 2).aborted()?;
/// builder.txn().session(0).ran(5, 6).read_list("list", &[1, 2]).committed()?;
/// let history = builder.finish();
/// assert_eq!(history.txns()[1].outcome, Outcome::Aborted);
/// assert_eq!(history.op_count(), 4);
/// # Ok::<(), checker::observed::ObservedFault>(())
/// ```
///
/// What does not fit is told by the last call. A transaction that is dropped before was never there.
#[must_use = "nothing is there until it is said what became of it"]
#[derive(Debug)]
pub struct TxnBuilder<'b> {
    builder: &'b mut ObservedBuilder,
    session: Option<u32>,
    interval: Option<Interval>,
    fault: Option<ObservedFault>,
}

impl ObservedBuilder {
    /// Begins a transaction in one expression. Operations of one that is open are dropped.
    pub fn txn(&mut self) -> TxnBuilder<'_> {
        self.abandon();
        TxnBuilder {
            builder: self,
            session: None,
            interval: None,
            fault: None,
        }
    }
}

impl TxnBuilder<'_> {
    /// Who ran it; transactions of a session are made in the order in which it ran them.
    pub const fn session(mut self, session: u32) -> Self {
        self.session = Some(session);
        self
    }

    /// When it was begun, and when its client was told the outcome, in any unit of real time.
    pub const fn ran(mut self, begin: u32, end: u32) -> Self {
        self.interval = Some(Interval { begin, end });
        self
    }

    /// It read a register, and saw this; `None` is the initial state.
    pub fn read(self, key: impl Display, value: Option<impl Display>) -> Self {
        self.op(|builder| {
            let value = value.map(|value| builder.value(&value.to_string()));
            let (key, value) = (builder.key(&key.to_string())?, value.transpose()?);
            builder.read(key, value)
        })
    }

    /// It wrote a register.
    pub fn write(self, key: impl Display, value: impl Display) -> Self {
        self.op(|builder| {
            let value = builder.value(&value.to_string())?;
            let key = builder.key(&key.to_string())?;
            builder.write(key, value)
        })
    }

    /// It appended to a list.
    pub fn append(self, key: impl Display, value: impl Display) -> Self {
        self.op(|builder| {
            let value = builder.value(&value.to_string())?;
            let key = builder.key(&key.to_string())?;
            builder.append(key, value)
        })
    }

    /// It read a list, and saw these elements; none is the initial state.
    pub fn read_list(self, key: impl Display, elements: &[impl Display]) -> Self {
        self.op(|builder| {
            let elements = elements.iter().map(|it| builder.value(&it.to_string()));
            let elements = elements.collect::<Result<Vec<Value>, _>>()?;
            let key = builder.key(&key.to_string())?;
            builder.read_list(key, &elements)
        })
    }

    /// It committed.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn committed(self) -> Result<TxnIndex, ObservedFault> {
        self.end(Outcome::Committed)
    }

    /// It aborted.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn aborted(self) -> Result<TxnIndex, ObservedFault> {
        self.end(Outcome::Aborted)
    }

    /// Nobody was told what became of it.
    ///
    /// # Errors
    ///
    /// [`ObservedFault::TooLarge`].
    pub fn unknown(self) -> Result<TxnIndex, ObservedFault> {
        self.end(Outcome::Unknown)
    }

    fn op(mut self, make: impl FnOnce(&mut ObservedBuilder) -> Result<(), ObservedFault>) -> Self {
        if self.fault.is_none() {
            self.fault = make(self.builder).err();
        }
        self
    }

    fn end(self, outcome: Outcome) -> Result<TxnIndex, ObservedFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => self.builder.end(self.session, outcome, self.interval, 0),
        }
    }
}

impl Drop for TxnBuilder<'_> {
    fn drop(&mut self) {
        // Nothing, once it was ended.
        self.builder.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_in_no_later_transaction() {
        let mut builder = ObservedBuilder::new("made here");
        drop(builder.txn().write("x", 1).write("y", 1));
        builder.end(None, Outcome::Committed, None, 0).unwrap();
        builder.txn().write("x", 2).committed().unwrap();
        let history = builder.finish();
        let ops: Vec<usize> = history.indexes().map(|it| history.ops(it).len()).collect();
        assert_eq!(ops, [0, 1]);
    }
}
