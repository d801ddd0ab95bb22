//! What one site reports about the transactions that ended there.
//!
//! A [`SiteHistory`] is immutable once made; [`HistoryBuilder`] is the only way to make one, so
//! everything downstream may rely on:
//!
//! - **I1** A transaction has at most one record at a site.
//! - **I2** A committed transaction that installed something has a position ([`Seq`]) above zero,
//!   one that installed nothing has none, and no two transactions share a position.
//! - **I3** Every record that a footer promises is present, or the history says it was cut short.
//!
//! Not here: anything that spans sites, and any judgement.

use std::collections::HashSet;
use std::fmt;

use crate::client::Client;
use crate::token::Token;

/// Everything one site reported, in the order it reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHistory {
    source: String,
    site: Token,
    records: Vec<Record>,
    /// What is known of the clients of the first records; of all others, nothing is.
    clients: Vec<Client>,
    clock_error: u64,
    ending: Ending,
}

impl SiteHistory {
    /// The name of the file (or stream) that the history came from; used in messages only.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The site that wrote the history.
    #[must_use]
    pub const fn site(&self) -> &Token {
        &self.site
    }

    /// The records, in file order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What is recorded of the client of a committed record, by its place in [`records`](Self::records).
    #[must_use]
    pub fn client(&self, record: usize) -> Option<&Client> {
        self.clients
            .get(record)
            .filter(|client| !client.is_unknown())
    }

    /// By how many nanoseconds the clocks may disagree that gave the times of clients.
    #[must_use]
    pub const fn clock_error(&self) -> u64 {
        self.clock_error
    }

    /// Whether the first version of the format can hold it: nothing is said of clients.
    pub(crate) const fn is_of_version_1(&self) -> bool {
        self.clients.is_empty() && self.clock_error == 0
    }

    /// Whether the history carries its footer.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }
}

/// How a history ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The footer is present, and agrees with the number of records.
    Footer,
    /// The footer is absent: records may be missing.
    CutShort,
}

/// One transaction's end at one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// `c`: the transaction committed here.
    Committed(Committed),
    /// `a`: the transaction aborted here, and nothing it did counts.
    Aborted {
        /// Which transaction.
        txn: TxnId,
        /// Why, for the reader of the file; not judged.
        reason: Token,
    },
    /// `u`: the site voted YES and did not know the decision when the file ended.
    InDoubt {
        /// Which transaction.
        txn: TxnId,
        /// What it did here.
        ops: Vec<Op>,
    },
}

impl Record {
    /// The transaction that the record is about.
    #[must_use]
    pub const fn txn(&self) -> TxnId {
        match self {
            Self::Committed(committed) => committed.txn,
            Self::Aborted { txn, .. } | Self::InDoubt { txn, .. } => *txn,
        }
    }
}

/// A committed transaction's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Which transaction.
    pub txn: TxnId,
    /// When it was decided, in a logical time that all sites share; `None` when unknown.
    pub stamp: Option<Stamp>,
    /// Where the site put it in the order of its installs; `None` when it installed nothing.
    pub seq: Option<Seq>,
    /// What it did here, in execution order.
    pub ops: Vec<Op>,
}

/// A transaction's name within one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TxnId {
    /// `G<number>`: the same transaction at every site that names it.
    Global(u64),
    /// `L<number>`: known to this site only.
    Local(u64),
}

/// A decision stamp: when a transaction was decided, comparable across sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

/// A site's install position. The versions of a key are ordered by the positions of their
/// installers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The version that every key has before anything is installed.
    pub const INITIAL: Self = Self(0);
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `r`: read a key and saw the version installed at `version`.
    Read {
        /// The key.
        key: Token,
        /// Whose version it saw; [`Seq::INITIAL`] for the state before any install.
        version: Seq,
    },
    /// `w`: installed a new value.
    Write {
        /// The key.
        key: Token,
    },
    /// `x`: deleted the key (installed a tombstone).
    Delete {
        /// The key.
        key: Token,
    },
    /// `i`: installed a version that commutes with other increments.
    Increment {
        /// The key.
        key: Token,
    },
    /// `s`: scanned a range. Boxed, because scans are rare and large.
    Scan(Box<Scan>),
}

impl Op {
    /// The key that the operation installs a version of, if it installs one.
    #[must_use]
    pub const fn installs(&self) -> Option<&Token> {
        match self {
            Self::Write { key } | Self::Delete { key } | Self::Increment { key } => Some(key),
            Self::Read { .. } | Self::Scan(_) => None,
        }
    }
}

/// A range scan, evaluated at one position of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The first key of the range.
    pub lo: Token,
    /// The first key after the range; `None` means that the range has no upper end.
    pub hi: Option<Token>,
    /// The position: installs up to and including it were visible, later ones were not.
    pub pos: Seq,
    /// The keys that were present, each with the version that was seen.
    pub found: Vec<(Token, Seq)>,
}

impl Scan {
    /// Whether the range covers the key.
    #[must_use]
    pub fn covers(&self, key: &Token) -> bool {
        *key >= self.lo && self.hi.as_ref().is_none_or(|hi| key < hi)
    }
}

/// Makes a [`SiteHistory`] record by record, refusing what would break its invariants.
///
/// ```
/// use checker::{Committed, Ending, HistoryBuilder, Op, Record, Seq, Stamp, TxnId};
/// let mut builder = HistoryBuilder::new("made here", "A".into());
/// builder.push(Record::Committed(Committed {
///     txn: TxnId::Global(1),
///     stamp: Some(Stamp(5)),
///     seq: Some(Seq(1)),
///     ops: vec![Op::Write { key: "x".into() }],
/// }))?;
/// let history = builder.finish(Ending::Footer);
/// assert_eq!(history.to_string(), "co-history 1 A\nc G1 5 1 w:x\nend 1\n");
/// # Ok::<(), checker::RecordFault>(())
/// ```
#[derive(Debug)]
pub struct HistoryBuilder {
    history: SiteHistory,
    seen_txns: HashSet<TxnId>,
    seen_seqs: HashSet<Seq>,
}

impl HistoryBuilder {
    /// Starts the history of `site`; `source` names it in messages.
    #[must_use]
    pub fn new(source: &str, site: Token) -> Self {
        let history = SiteHistory {
            source: source.to_owned(),
            site,
            records: Vec::new(),
            clients: Vec::new(),
            clock_error: 0,
            ending: Ending::CutShort,
        };
        Self {
            history,
            seen_txns: HashSet::new(),
            seen_seqs: HashSet::new(),
        }
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// Refuses a record that breaks I1 or I2; the builder is then unchanged.
    pub fn push(&mut self, record: Record) -> Result<(), RecordFault> {
        let txn = record.txn();
        if self.seen_txns.contains(&txn) {
            return Err(RecordFault::DuplicateTxn { txn });
        }
        if let Record::Committed(committed) = &record {
            let installs = committed.ops.iter().any(|op| op.installs().is_some());
            match committed.seq {
                Some(Seq::INITIAL) => return Err(RecordFault::ZeroSeq { txn }),
                Some(_) if !installs => return Err(RecordFault::SeqWithoutInstall { txn }),
                None if installs => return Err(RecordFault::InstallWithoutSeq { txn }),
                Some(seq) if !self.seen_seqs.insert(seq) => {
                    return Err(RecordFault::DuplicateSeq { txn, seq });
                }
                Some(_) | None => {}
            }
        }
        self.seen_txns.insert(txn);
        self.history.records.push(record);
        Ok(())
    }

    /// Appends the record of a transaction that committed, and what is known of its client.
    ///
    /// ```
    /// use checker::{Client, Committed, Ending, HistoryBuilder, Op, RealTime, Seq, Stamp, Turn, TxnId};
    /// let mut builder = HistoryBuilder::new("made here", "A".into());
    /// let committed = Committed {
    ///     txn: TxnId::Global(1),
    ///     stamp: Some(Stamp(5)),
    ///     seq: Some(Seq(1)),
    ///     ops: vec![Op::Write { key: "x".into() }],
    /// };
    /// let client = Client {
    ///     turn: Some(Turn { session: "s".into(), position: 1 }),
    ///     time: Some(RealTime { from: 100, to: Some(250) }),
    /// };
    /// builder.push_of(committed, client)?;
    /// let history = builder.finish(Ending::Footer);
    /// assert_eq!(history.to_string(), "co-history 2 A\nc G1 5 1 p:s@1 t:100..250 w:x\nend 1\n");
    /// # Ok::<(), checker::RecordFault>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and refuses a time that ends before it begins.
    pub fn push_of(&mut self, committed: Committed, client: Client) -> Result<(), RecordFault> {
        let txn = committed.txn;
        if let Some(time) = client.time
            && time.to.is_some_and(|to| to < time.from)
        {
            return Err(RecordFault::ToldBeforeAsked { txn });
        }
        self.push(Record::Committed(committed))?;
        if !client.is_unknown() {
            let history = &mut self.history;
            history
                .clients
                .resize_with(history.records.len() - 1, Client::default);
            history.clients.push(client);
        }
        Ok(())
    }

    /// Says by how many nanoseconds the clocks may disagree that gave the times of clients; 0 unless said.
    pub const fn set_clock_error(&mut self, nanoseconds: u64) {
        self.history.clock_error = nanoseconds;
    }

    /// How many records the history has so far.
    #[must_use]
    pub const fn record_count(&self) -> usize {
        self.history.records.len()
    }

    /// Ends the history.
    #[must_use]
    pub fn finish(mut self, ending: Ending) -> SiteHistory {
        self.history.ending = ending;
        self.history
    }
}

/// Why a record cannot be part of a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// I1: the transaction already has a record.
    #[error("{txn} already has a record in this file; write one line per transaction")]
    DuplicateTxn {
        /// The transaction.
        txn: TxnId,
    },
    /// I2: two transactions claim one position.
    #[error("{txn} claims position {seq}, which another transaction already has")]
    DuplicateSeq {
        /// The later claimant.
        txn: TxnId,
        /// The position.
        seq: Seq,
    },
    /// I2: position 0 is the initial state.
    #[error("{txn} claims position 0, which is the initial state; positions start at 1")]
    ZeroSeq {
        /// The transaction.
        txn: TxnId,
    },
    /// I2: something was installed nowhere.
    #[error("{txn} installed a version but has no position; write its position, not `-`")]
    InstallWithoutSeq {
        /// The transaction.
        txn: TxnId,
    },
    /// The client was told the outcome before it asked.
    #[error("{txn} has a time that ends before it begins; write `t:<from>..<to>` with from <= to")]
    ToldBeforeAsked {
        /// The transaction.
        txn: TxnId,
    },
    /// I2: nothing was installed somewhere.
    #[error("{txn} has a position but installed nothing; write `-` as its position")]
    SeqWithoutInstall {
        /// The transaction.
        txn: TxnId,
    },
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global(number) => write!(f, "G{number}"),
            Self::Local(number) => write!(f, "L{number}"),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
