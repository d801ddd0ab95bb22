//! Reads and writes histories as text: `r(key,value,session,transaction)`, an operation a line.

use std::collections::HashMap;

use super::collector::Collector;
use super::error::FormatFault;
use super::scanner::Scanner;
use crate::observed::{Key, Observed, ObservedFault, Outcome, Value};

/// The transaction number of what was aborted.
const ABORTED: i64 = -1;

#[inline]
const fn is_name(byte: u8) -> bool {
    !matches!(byte, b',' | b'(' | b')' | b' ' | b'\t' | b'\r' | b'\n')
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

pub(super) fn read(scanner: &mut Scanner<'_>, name: &str) -> Result<Observed, FormatFault> {
    let mut reader = Reader {
        collector: Collector::new(name, scanner.limits()),
        operations: Vec::new(),
        txns: Vec::new(),
        places: HashMap::new(),
        sessions: HashMap::new(),
        last: None,
        last_session: None,
        in_order: true,
        scanner,
    };
    while reader.line()? {}
    reader.finish()
}

/// An operation of the transaction with this place.
struct Operation {
    txn: u32,
    key: Key,
    value: Value,
    writes: bool,
}

struct Txn {
    session: u32,
    /// What the file calls the session.
    said: i64,
    line: u32,
    operations: u32,
    aborted: bool,
}

struct Reader<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    collector: Collector,
    operations: Vec<Operation>,
    txns: Vec<Txn>,
    /// The place of each transaction in `txns`, by its number.
    places: HashMap<i64, u32>,
    sessions: HashMap<i64, u32>,
    /// The transaction of the line before.
    last: Option<(i64, u32)>,
    last_session: Option<(i64, u32)>,
    /// Whether the operations of each transaction are together, in the order of `txns`.
    in_order: bool,
}

impl Reader<'_, '_> {
    /// Reads a line; false if there is none.
    fn line(&mut self) -> Result<bool, FormatFault> {
        let blank = |byte| is_blank(byte) || byte == b'\n';
        let writes = match self.scanner.skip_while(blank)? {
            None => return Ok(false),
            Some(b'#') => {
                self.scanner.skip_while(|byte| byte != b'\n')?;
                return Ok(true);
            }
            Some(b'r') => false,
            Some(b'w') => true,
            Some(_) => {
                return Err(self
                    .scanner
                    .unexpected("r(key,value,session,transaction) or w(...)"));
            }
        };
        self.scanner.bump();
        self.scanner
            .expect(b'(', "the ( of r(key,value,session,transaction)")?;
        let key = self.key()?;
        self.scanner
            .expect(b',', "the comma between key and value")?;
        let value = self.value()?;
        self.scanner
            .expect(b',', "the comma between value and session")?;
        let session = self.number("a session, a whole number")?;
        self.scanner
            .expect(b',', "the comma between session and transaction")?;
        let txn = self.number("a transaction, a whole number, -1 if it was aborted")?;
        self.scanner
            .expect(b')', "the ) of r(key,value,session,transaction)")?;
        if !matches!(self.scanner.skip_while(is_blank)?, None | Some(b'\n')) {
            return Err(self.scanner.unexpected("the end of the line"));
        }
        let txn = self.txn(txn, session)?;
        self.collector.spend(1)?;
        self.operations.push(Operation {
            txn,
            key,
            value,
            writes,
        });
        Ok(true)
    }

    fn key(&mut self) -> Result<Key, FormatFault> {
        let name = self.name("a key")?;
        self.collector.key_of(name, self.scanner)
    }

    fn value(&mut self) -> Result<Value, FormatFault> {
        let name = self.name("a value")?;
        self.collector.value_of(name, self.scanner)
    }

    /// A number, or else a name into the token.
    #[inline]
    fn name(&mut self, expected: &'static str) -> Result<Option<u64>, FormatFault> {
        self.scanner.skip_while(is_blank)?;
        let number = self.scanner.word(is_name, expected)?;
        self.scanner.skip_while(is_blank)?;
        Ok(number)
    }

    fn number(&mut self, expected: &'static str) -> Result<i64, FormatFault> {
        self.scanner.skip_while(is_blank)?;
        let negative = self.scanner.take(b'-')?;
        let Some(number) = self.scanner.digits()? else {
            return Err(self.scanner.unexpected(expected));
        };
        if let Some(b'0'..=b'9') = self.scanner.peek()? {
            return Err(self.scanner.unexpected("the end of a number below 10^18"));
        }
        self.scanner.skip_while(is_blank)?;
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Ok(if negative { -number } else { number })
    }

    /// The place of a transaction.
    #[inline]
    fn txn(&mut self, txn: i64, session: i64) -> Result<u32, FormatFault> {
        if let Some((last, place)) = self.last
            && last == txn
            && txn != ABORTED
        {
            return self.again(place, txn, session);
        }
        if txn != ABORTED
            && let Some(place) = self.places.get(&txn).copied()
        {
            self.in_order = false;
            self.last = Some((txn, place));
            return self.again(place, txn, session);
        }
        let place = u32::try_from(self.txns.len());
        let place = place.map_err(|_| ObservedFault::TooLarge("transactions"))?;
        let number = self.session(session)?;
        self.txns.push(Txn {
            session: number,
            said: session,
            line: self.scanner.line_number(),
            operations: 1,
            aborted: txn == ABORTED,
        });
        if txn != ABORTED {
            self.places.insert(txn, place);
            self.last = Some((txn, place));
        }
        Ok(place)
    }

    /// One more operation of a transaction that is known.
    fn again(&mut self, place: u32, txn: i64, session: i64) -> Result<u32, FormatFault> {
        let known = &mut self.txns[place as usize];
        if known.said != session {
            return Err(FormatFault::TwoSessions {
                txn: txn.to_string(),
                session: session.to_string(),
                before: known.said.to_string(),
            });
        }
        known.operations += 1;
        known.line = self.scanner.line_number();
        Ok(place)
    }

    fn session(&mut self, said: i64) -> Result<u32, FormatFault> {
        if let Some((last, session)) = self.last_session
            && last == said
        {
            return Ok(session);
        }
        let next = u32::try_from(self.sessions.len());
        let next = next.map_err(|_| ObservedFault::TooLarge("sessions"))?;
        let session = *self.sessions.entry(said).or_insert(next);
        self.last_session = Some((said, session));
        Ok(session)
    }

    fn finish(mut self) -> Result<Observed, FormatFault> {
        if !self.in_order {
            // Stable: the order within a transaction stays.
            self.operations.sort_by_key(|operation| operation.txn);
        }
        self.collector.refund(self.operations.len() as u64);
        let initial = self.collector.numbered_value(0)?;
        let mut initial_read = false;
        let mut written = Vec::new();
        let mut rest = self.operations.iter();
        for txn in &self.txns {
            for operation in rest.by_ref().take(txn.operations as usize) {
                let (key, value) = (operation.key, operation.value);
                if operation.writes {
                    if value == initial && !txn.aborted {
                        mark(&mut written, key);
                    }
                    self.collector.write(key, value)?;
                } else {
                    initial_read |= value == initial;
                    self.collector.read(key, Some(value))?;
                }
            }
            let outcome = if txn.aborted {
                Outcome::Aborted
            } else {
                Outcome::Committed
            };
            self.collector
                .end(Some(txn.session), outcome, None, txn.line)?;
        }
        if initial_read {
            self.collector.reads_of_initial(initial, &written);
        }
        Ok(self.collector.finish())
    }
}

/// Notes that `key` was written.
pub(super) fn mark(written: &mut Vec<bool>, key: Key) {
    let place = key.0 as usize;
    if written.len() <= place {
        written.resize(place + 1, false);
    }
    written[place] = true;
}
