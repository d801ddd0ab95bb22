//! Writes histories as dbcop takes them: sessions, their transactions, and the events of those.

use std::io::{self, Write};

use super::Format;
use super::write::{Loss, Numbers};
use crate::observed::{Observed, Op, Outcome, TxnIndex};

/// An event, with the number (or in the notation the word) of its variable.
struct Event {
    writes: bool,
    variable: String,
    /// `None`: the initial state.
    version: Option<String>,
}

/// Writes a history of registers whose outcomes are known.
pub(super) fn write(
    history: &Observed,
    format: Format,
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let sessions = sessions(history);
    match format {
        Format::DbcopJson => write_json(history, &sessions, numbers, losses, out),
        Format::DbcopBincode => write_bincode(history, &sessions, numbers, losses, out),
        Format::DbcopHist
        | Format::ElleEdn
        | Format::ElleJson
        | Format::Text
        | Format::Cobra
        | Format::TimeKiller
        | Format::Vbox
        | Format::Viper
        | Format::Native
        | Format::SitedHistory => write_hist(history, &sessions, numbers, losses, out),
    }
}

/// The transactions of each session that has some; those without session are each one.
fn sessions(history: &Observed) -> Vec<Vec<TxnIndex>> {
    let mut sessions = vec![Vec::new(); history.session_count() as usize];
    let mut alone = Vec::new();
    for txn in history.indexes() {
        match history.txn(txn).session {
            Some(session) => sessions[session.0 as usize].push(txn),
            None => alone.push(vec![txn]),
        }
    }
    sessions.append(&mut alone);
    sessions.retain(|session| !session.is_empty());
    sessions
}

/// The events of a transaction, but for what nobody has seen of one that was aborted.
fn events(
    history: &Observed,
    txn: TxnIndex,
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for op in history.ops(txn) {
        let (writes, value) = match *op {
            Op::Write { value, .. } => (true, Some(value)),
            Op::Read { value, .. } => (false, value),
            Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {
                losses.push(Loss::AbortedTransactions);
                continue;
            }
        };
        events.push(Event {
            writes,
            variable: numbers.key(op.key()),
            version: value.map(|value| numbers.value(Some(value))),
        });
    }
    events
}

fn is_committed(history: &Observed, txn: TxnIndex) -> bool {
    history.txn(txn).outcome == Outcome::Committed
}

fn write_hist(
    history: &Observed,
    sessions: &[Vec<TxnIndex>],
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (place, session) in sessions.iter().enumerate() {
        if place > 0 {
            writeln!(out, "---")?;
        }
        for txn in session {
            let events = events(history, *txn, numbers, losses);
            if events.is_empty() {
                losses.push(Loss::EmptyTransactions);
                continue;
            }
            let words: Vec<String> = events
                .into_iter()
                .map(|event| {
                    let operator = if event.writes { ":=" } else { "==" };
                    let version = event.version.as_deref().unwrap_or("?");
                    format!("{}{operator}{version}", event.variable)
                })
                .collect();
            let mark = if is_committed(history, *txn) { "" } else { "!" };
            writeln!(out, "[{}]{mark}", words.join(" "))?;
        }
    }
    Ok(())
}

/// The parameters of the run that would have made the history: its number, and how many sessions, variables,
/// transactions of a session and events of a transaction there are at most.
fn parameters(history: &Observed, sessions: &[Vec<TxnIndex>]) -> [usize; 5] {
    let transactions = sessions.iter().map(Vec::len).max();
    let events = history.indexes().map(|txn| history.ops(txn).len()).max();
    [
        0,
        sessions.len(),
        history.key_count(),
        transactions.unwrap_or(0),
        events.unwrap_or(0),
    ]
}

/// What the history is called, and when it began and ended: the format asks for it, and nobody knows.
const STRINGS: [&str; 3] = [
    "converted",
    "1970-01-01T00:00:00+00:00",
    "1970-01-01T00:00:00+00:00",
];

fn write_json(
    history: &Observed,
    sessions: &[Vec<TxnIndex>],
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let [id, nodes, variables, transactions, most] = parameters(history, sessions);
    let [info, start, end] = STRINGS;
    writeln!(
        out,
        "{{\"params\":{{\"id\":{id},\"n_node\":{nodes},\"n_variable\":{variables},\"n_transaction\":{transactions},\
         \"n_event\":{most}}},\"info\":\"{info}\",\"start\":\"{start}\",\"end\":\"{end}\",\"data\":["
    )?;
    for (place, session) in sessions.iter().enumerate() {
        writeln!(out, "{}[", if place > 0 { "," } else { "" })?;
        for (place, txn) in session.iter().enumerate() {
            let events = events(history, *txn, numbers, losses);
            let events: Vec<String> = events
                .into_iter()
                .map(|event| {
                    let kind = if event.writes { "Write" } else { "Read" };
                    let version = event.version.as_deref().unwrap_or("null");
                    let variable = event.variable;
                    format!("{{\"{kind}\":{{\"variable\":{variable},\"version\":{version}}}}}")
                })
                .collect();
            let comma = if place > 0 { "," } else { "" };
            let committed = is_committed(history, *txn);
            let events = events.join(",");
            writeln!(
                out,
                "{comma}{{\"events\":[{events}],\"committed\":{committed}}}"
            )?;
        }
        write!(out, "]")?;
    }
    writeln!(out, "\n]}}")
}

fn write_bincode(
    history: &Observed,
    sessions: &[Vec<TxnIndex>],
    numbers: &mut Numbers<'_>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for parameter in parameters(history, sessions) {
        count(parameter, out)?;
    }
    for text in STRINGS {
        count(text.len(), out)?;
        out.write_all(text.as_bytes())?;
    }
    count(sessions.len(), out)?;
    for session in sessions {
        count(session.len(), out)?;
        for txn in session {
            let events = events(history, *txn, numbers, losses);
            count(events.len(), out)?;
            for event in events {
                out.write_all(&[u8::from(event.writes)])?;
                number(&event.variable, out)?;
                number(event.version.as_deref().unwrap_or("0"), out)?;
                out.write_all(&[1])?;
            }
            out.write_all(&[u8::from(is_committed(history, *txn))])?;
        }
    }
    Ok(())
}

fn count(count: usize, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&(count as u64).to_le_bytes())
}

/// A number of [`Numbers`], in binary.
fn number(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let number: u64 = text.parse().map_err(io::Error::other)?;
    out.write_all(&number.to_le_bytes())
}
