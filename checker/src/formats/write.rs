//! Writes histories in formats of others, and says what those cannot hold.

use std::fmt;
use std::io::{self, Write};

use super::Format;
use super::json::is_ambiguous;
use crate::observed::{Key, Observed, Op, Outcome, TxnIndex, Value};

/// What a format could not hold of a history. None of it makes a valid history look invalid; that an invalid one
/// looks valid without it is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// When transactions began and ended.
    RealTime,
    /// What keys or values are called: they are numbers instead.
    Names,
    /// Which writes of aborted transactions were of one transaction, and what those had read.
    AbortedTransactions,
    /// Transactions that did nothing.
    EmptyTransactions,
    /// The sessions of transactions of unknown outcome that others of their session follow.
    SessionsInDoubt,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RealTime => "real time",
            Self::Names => "the names of keys or values, which are numbers now",
            Self::AbortedTransactions => "which aborted writes were of one transaction, and its reads",
            Self::EmptyTransactions => "transactions that did nothing",
            Self::SessionsInDoubt => {
                "the sessions of transactions of unknown outcome that others of their session follow"
            }
        })
    }
}

/// Why a history was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The stream does not take more.
    #[error("cannot write it: {0}")]
    Io(#[from] io::Error),
    /// Nothing here writes the format.
    #[error(
        "{0} is not written to a stream; write native, elle-edn, elle-json, text, dbcop, dbcop-json or dbcop-hist, or cobra to \
         a folder"
    )]
    NotWritten(Format),
    /// A history without this would be another history.
    #[error(
        "{format} cannot hold {what}, of transaction {txn} (line {line}); write native, which holds everything"
    )]
    NotRepresentable {
        /// The format.
        format: Format,
        /// What it cannot hold.
        what: &'static str,
        /// The first transaction that has it.
        txn: u32,
        /// Its line in the source.
        line: u32,
    },
}

/// Writes a history, and says what was lost.
///
/// ```
/// use checker::formats::{self, Format, ReadOptions};
///
/// let text = "w(1,10,0,0)\nr(1,10,1,1)\nr(2,0,1,1)\n";
/// let history = formats::read(text.as_bytes(), "example.txt", &ReadOptions::default())?;
/// let mut native = Vec::new();
/// let losses = formats::write(&history, Format::Native, &mut native)?;
/// assert_eq!(losses, []);
/// assert_eq!(
///     String::from_utf8(native)?,
///     "co-observed 1\nc 0 - w:1=10\nc 1 - r:1=10 r:2=~\nend 2\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`WriteError::NotRepresentable`] before anything is written, if the format would make another history of it;
/// [`WriteError::Io`].
pub fn write(
    history: &Observed,
    format: Format,
    out: &mut dyn Write,
) -> Result<Vec<Loss>, WriteError> {
    match format {
        Format::Native => {
            super::native::write(history, out)?;
            Ok(Vec::new())
        }
        Format::Text | Format::DbcopHist | Format::DbcopJson | Format::DbcopBincode => {
            write_numbered(history, format, out)
        }
        Format::ElleEdn | Format::ElleJson => super::write_elle::write(history, format, out),
        Format::Cobra
        | Format::TimeKiller
        | Format::Vbox
        | Format::Viper
        | Format::SitedHistory => Err(WriteError::NotWritten(format)),
    }
}

/// The first transaction of which `is` holds makes the history one that the format cannot hold.
pub(super) fn refuse(
    history: &Observed,
    format: Format,
    what: &'static str,
    is: impl Fn(TxnIndex) -> bool,
) -> Result<(), WriteError> {
    match history.indexes().find(|txn| is(*txn)) {
        None => Ok(()),
        Some(txn) => Err(WriteError::NotRepresentable {
            format,
            what,
            txn: txn.0,
            line: history.txn(txn).line,
        }),
    }
}

/// Lists, and committed reads that nobody has seen, make the history one that the format cannot hold.
pub(super) fn refuse_all_but_registers(
    history: &Observed,
    format: Format,
) -> Result<(), WriteError> {
    refuse(history, format, "lists", |txn| {
        let mut ops = history.ops(txn).iter();
        ops.any(|op| matches!(op, Op::ReadList { .. } | Op::Append { .. }))
    })?;
    refuse_unseen(history, format)
}

/// Committed reads that nobody has seen make the history one that the format cannot hold.
pub(super) fn refuse_unseen(history: &Observed, format: Format) -> Result<(), WriteError> {
    let what = "a committed read that nobody has seen";
    refuse(history, format, what, |txn| {
        let committed = history.txn(txn).outcome == Outcome::Committed;
        let mut ops = history.ops(txn).iter();
        committed && ops.any(|op| matches!(op, Op::Unseen { .. }))
    })
}

/// Keys and values as numbers; 0 is the initial state and no value.
pub(super) struct Numbers<'h> {
    history: &'h Observed,
    keys: bool,
    values: bool,
    /// The numbers of values that are not numbers themselves.
    given: std::collections::HashMap<Value, u64>,
}

impl<'h> Numbers<'h> {
    fn new(history: &'h Observed, format: Format) -> Self {
        let names = (0..history.key_count()).filter_map(|key| u32::try_from(key).ok());
        let mut names = names.map(|key| history.key_name(Key(key)));
        let keys = if format == Format::DbcopHist {
            names.all(is_variable)
        } else {
            names.all(is_number)
        };
        let ops = || history.indexes().flat_map(|txn| history.ops(txn));
        let values = ops().all(|op| match value_of(*op) {
            Some(value) => is_number(&history.value_name(value)),
            None => true,
        });
        // A value 0 that was written cannot be told from the initial state where that is read.
        let zero = Value::number(0);
        let reads_initial = ops().any(|op| matches!(op, Op::Read { value: None, .. }));
        let has_zero = ops().any(|op| value_of(*op) == zero);
        Self {
            history,
            keys,
            values: values && !(reads_initial && has_zero),
            given: std::collections::HashMap::new(),
        }
    }

    pub(super) fn key(&self, key: Key) -> String {
        if self.keys {
            self.history.key_name(key).to_owned()
        } else {
            key.0.to_string()
        }
    }

    pub(super) fn value(&mut self, value: Option<Value>) -> String {
        match value {
            None => "0".to_owned(),
            Some(value) if self.values => self.history.value_name(value),
            Some(value) => {
                let next = self.given.len() as u64 + 1;
                self.given.entry(value).or_insert(next).to_string()
            }
        }
    }
}

fn value_of(op: Op) -> Option<Value> {
    match op {
        Op::Read { value, .. } => value,
        Op::Write { value, .. } | Op::Append { value, .. } => Some(value),
        Op::ReadList { .. } | Op::Unseen { .. } => None,
    }
}

/// A variable of dbcop's notation.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A whole number in its shortest form, small enough for all tools.
fn is_number(name: &str) -> bool {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    digits && (name == "0" || !name.starts_with('0')) && name.parse::<i64>().is_ok()
}

/// The formats in which keys and values are numbers, and that hold registers only.
fn write_numbered(
    history: &Observed,
    format: Format,
    out: &mut dyn Write,
) -> Result<Vec<Loss>, WriteError> {
    refuse_all_but_registers(history, format)?;
    refuse(history, format, "an unknown outcome", |txn| {
        history.txn(txn).outcome == Outcome::Unknown
    })?;
    let mut numbers = Numbers::new(history, format);
    let mut losses = Vec::new();
    if history.txns().iter().any(|txn| txn.interval.is_some()) {
        losses.push(Loss::RealTime);
    }
    if !numbers.keys || !numbers.values {
        losses.push(Loss::Names);
    }
    if format == Format::Text {
        write_text(history, &mut numbers, &mut losses, out)?;
    } else {
        super::write_dbcop::write(history, format, &mut numbers, &mut losses, out)?;
    }
    losses.sort_unstable();
    losses.dedup();
    Ok(losses)
}

fn write_text(
    history: &Observed,
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    refuse_nothing(history)?;
    let mut alone = u64::from(history.session_count());
    for index in history.indexes() {
        let txn = history.txn(index);
        let aborted = txn.outcome == Outcome::Aborted;
        let ops = history.ops(index);
        if ops.is_empty() {
            losses.push(Loss::EmptyTransactions);
        }
        if aborted && ops.len() > 1 {
            losses.push(Loss::AbortedTransactions);
        }
        let session = txn.session.map_or(alone, |session| u64::from(session.0));
        alone += u64::from(txn.session.is_none());
        for op in ops {
            let (letter, key, value) = match *op {
                Op::Write { key, value } => ('w', key, Some(value)),
                Op::Read { key, value } if !aborted => ('r', key, value),
                Op::Read { .. } | Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {
                    losses.push(Loss::AbortedTransactions);
                    continue;
                }
            };
            let (key, value) = (numbers.key(key), numbers.value(value));
            if aborted {
                writeln!(out, "{letter}({key},{value},{session},-1)")?;
            } else {
                writeln!(out, "{letter}({key},{value},{session},{})", index.0)?;
            }
        }
    }
    Ok(())
}

/// A history of which no line would be left: the file would be empty, and nothing reads that.
fn refuse_nothing(history: &Observed) -> Result<(), WriteError> {
    let left = |index: TxnIndex| {
        let told = history.txn(index).outcome != Outcome::Aborted;
        let mut ops = history.ops(index).iter();
        ops.any(|op| told || op.wrote().is_some())
    };
    match history.txns().first() {
        Some(txn) if !history.indexes().any(left) => Err(WriteError::NotRepresentable {
            format: Format::Text,
            what: "a history of nothing but what aborted transactions read",
            txn: 0,
            line: txn.line,
        }),
        Some(_) | None => Ok(()),
    }
}

/// A name in JSON.
pub(super) fn json_name(name: &str) -> String {
    let number =
        name.len() == name.trim().len() && serde_json::from_str::<serde_json::Number>(name).is_ok();
    if number || matches!(name, "true" | "false") {
        return name.to_owned();
    }
    let quoted = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    let content = quoted.filter(|content| is_ambiguous(content.as_bytes()));
    serde_json::Value::from(content.unwrap_or(name)).to_string()
}

/// A name in EDN.
pub(super) fn edn_name(name: &str) -> String {
    if is_atom(name) || is_string(name) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

/// A keyword, symbol or number.
fn is_atom(name: &str) -> bool {
    let bare = name.strip_prefix(':').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !bare.is_empty() && bare.bytes().all(plain) && bare != "nil"
}

/// A string of EDN, as its reader keeps it.
fn is_string(name: &str) -> bool {
    let Some(content) = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    else {
        return false;
    };
    let mut escaped = false;
    for byte in content.bytes() {
        if byte == b'"' && !escaped {
            return false;
        }
        escaped = byte == b'\\' && !escaped;
    }
    !escaped
}
