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

/// A history of registers whose outcomes are known, and what its keys and values are called.
struct Source<'h, 'n> {
    history: &'h Observed,
    /// The transactions of each session that has some.
    sessions: &'n [Vec<TxnIndex>],
    numbers: &'n mut Numbers<'h>,
    losses: &'n mut Vec<Loss>,
}

/// Writes a history of registers whose outcomes are known.
pub(super) fn write<'h>(
    history: &'h Observed,
    format: Format,
    numbers: &mut Numbers<'h>,
    losses: &mut Vec<Loss>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut source = Source {
        history,
        sessions: &sessions(history),
        numbers,
        losses,
    };
    match format {
        Format::DbcopJson => write_json(&mut source, out),
        Format::DbcopBincode => write_bincode(&mut source, out),
        Format::DbcopHist
        | Format::ElleEdn
        | Format::ElleJson
        | Format::Text
        | Format::Cobra
        | Format::TimeKiller
        | Format::Vbox
        | Format::Viper
        | Format::Native
        | Format::SitedHistory => write_hist(&mut source, out),
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

impl Source<'_, '_> {
    /// The events of a transaction, but for what nobody has seen of one that was aborted.
    fn events(&mut self, txn: TxnIndex) -> Vec<Event> {
        let mut events = Vec::new();
        for op in self.history.ops(txn) {
            let (writes, value) = match *op {
                Op::Write { value, .. } => (true, Some(value)),
                Op::Read { value, .. } => (false, value),
                Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {
                    self.losses.push(Loss::AbortedTransactions);
                    continue;
                }
            };
            events.push(Event {
                writes,
                variable: self.numbers.key(op.key()),
                version: value.map(|value| self.numbers.value(Some(value))),
            });
        }
        events
    }

    /// The events of a transaction, each as a word.
    fn words(&mut self, txn: TxnIndex, word: fn(Event) -> String) -> Vec<String> {
        self.events(txn).into_iter().map(word).collect()
    }

    fn is_committed(&self, txn: TxnIndex) -> bool {
        self.history.txn(txn).outcome == Outcome::Committed
    }
}

fn write_hist(source: &mut Source<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
    for (place, session) in source.sessions.iter().enumerate() {
        if place > 0 {
            writeln!(out, "---")?;
        }
        for &txn in session {
            let words = source.words(txn, |event| {
                let operator = if event.writes { ":=" } else { "==" };
                let version = event.version.as_deref().unwrap_or("?");
                format!("{}{operator}{version}", event.variable)
            });
            if words.is_empty() {
                source.losses.push(Loss::EmptyTransactions);
                continue;
            }
            let mark = if source.is_committed(txn) { "" } else { "!" };
            writeln!(out, "[{}]{mark}", words.join(" "))?;
        }
    }
    Ok(())
}

/// The parameters of the run that would have made the history: its number, and how many sessions, variables,
/// transactions of a session and events of a transaction there are at most.
fn parameters(source: &Source<'_, '_>) -> [usize; 5] {
    let Source {
        history, sessions, ..
    } = source;
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

fn write_json(source: &mut Source<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
    let [id, nodes, variables, transactions, most] = parameters(source);
    let [info, start, end] = STRINGS;
    writeln!(
        out,
        "{{\"params\":{{\"id\":{id},\"n_node\":{nodes},\"n_variable\":{variables},\"n_transaction\":{transactions},\
         \"n_event\":{most}}},\"info\":\"{info}\",\"start\":\"{start}\",\"end\":\"{end}\",\"data\":["
    )?;
    for (place, session) in source.sessions.iter().enumerate() {
        writeln!(out, "{}[", if place > 0 { "," } else { "" })?;
        for (place, &txn) in session.iter().enumerate() {
            let events = source.words(txn, |event| {
                let kind = if event.writes { "Write" } else { "Read" };
                let version = event.version.as_deref().unwrap_or("null");
                let variable = event.variable;
                format!("{{\"{kind}\":{{\"variable\":{variable},\"version\":{version}}}}}")
            });
            let comma = if place > 0 { "," } else { "" };
            let committed = source.is_committed(txn);
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

fn write_bincode(source: &mut Source<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
    for parameter in parameters(source) {
        count(parameter, out)?;
    }
    for text in STRINGS {
        count(text.len(), out)?;
        out.write_all(text.as_bytes())?;
    }
    count(source.sessions.len(), out)?;
    for session in source.sessions {
        count(session.len(), out)?;
        for &txn in session {
            let events = source.events(txn);
            count(events.len(), out)?;
            for event in events {
                out.write_all(&[u8::from(event.writes)])?;
                number(&event.variable, out)?;
                number(event.version.as_deref().unwrap_or("0"), out)?;
                out.write_all(&[1])?;
            }
            out.write_all(&[u8::from(source.is_committed(txn))])?;
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
