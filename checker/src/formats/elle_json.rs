//! Reads Elle's histories in JSON: an array of entries, or an entry a line.

use super::Kind;
use super::error::FormatFault;
use super::json::Scalar;
use super::pairing::{Action, Entry, Operand, Operation, Pairing, Process, bare, whole_number};
use super::scanner::Scanner;
use crate::observed::{Observed, ObservedFault};

pub(super) fn read(
    scanner: &mut Scanner<'_>,
    name: &str,
    kind: Option<Kind>,
) -> Result<Observed, FormatFault> {
    let mut reader = Reader {
        pairing: Pairing::new(name, kind, scanner.limits()),
        entry: Entry::new(),
        scanner,
    };
    reader.history()?;
    reader.pairing.finish()
}

struct Reader<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    pairing: Pairing,
    entry: Entry,
}

impl Reader<'_, '_> {
    fn history(&mut self) -> Result<(), FormatFault> {
        if self.scanner.json_space()? == Some(b'[') {
            let mut parts = self.scanner.json_open(b'[', "an array of entries")?;
            while self.scanner.json_element(&mut parts)? {
                self.entry()?;
            }
            return match self.scanner.json_space()? {
                None => Ok(()),
                Some(_) => Err(FormatFault::AfterEnd),
            };
        }
        while self.scanner.json_space()?.is_some() {
            self.entry()?;
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<(), FormatFault> {
        let mut parts = self
            .scanner
            .json_open(b'{', "an entry, that is an object {...}")?;
        let line = self.scanner.line_number();
        self.entry.clear();
        while self.scanner.json_member(&mut parts)? {
            self.member()?;
        }
        self.pairing.entry(&mut self.entry, line)
    }

    fn member(&mut self) -> Result<(), FormatFault> {
        match bare(self.scanner.token()) {
            b"type" => {
                self.scanner.json_scalar()?;
                let expected = "invoke, ok, fail or info";
                self.entry.read_type(self.scanner, expected)
            }
            b"process" => {
                self.entry.process = match self.scanner.json_scalar()? {
                    Scalar::Null => Process::Unnamed,
                    Scalar::Number(number) => {
                        i64::try_from(number).map_or(Process::Other, Process::Client)
                    }
                    Scalar::Name => {
                        let process = whole_number(self.scanner.token());
                        process.map_or(Process::Other, Process::Client)
                    }
                    Scalar::Collection => {
                        self.scanner.json_skip()?;
                        Process::Other
                    }
                };
                Ok(())
            }
            b"index" => {
                self.entry.index = match self.scanner.json_scalar()? {
                    Scalar::Null => None,
                    Scalar::Number(number) => i64::try_from(number).ok(),
                    Scalar::Name | Scalar::Collection => {
                        let index = whole_number(self.scanner.token());
                        return self.entry.read_index(index, self.scanner);
                    }
                };
                Ok(())
            }
            b"f" => {
                self.entry.of_transactions = match self.scanner.json_scalar()? {
                    Scalar::Null => true,
                    Scalar::Name => bare(self.scanner.token()) == b"txn",
                    Scalar::Number(_) => false,
                    Scalar::Collection => {
                        self.scanner.json_skip()?;
                        false
                    }
                };
                Ok(())
            }
            b"value" => self.value(),
            _ => self.scanner.json_skip(),
        }
    }

    /// The transaction of an entry.
    fn value(&mut self) -> Result<(), FormatFault> {
        self.entry.clear_value();
        match self.scanner.json_next("the value of an entry")? {
            b'[' => {}
            b'n' => {
                self.scanner.json_scalar()?;
                return Ok(());
            }
            _ => {
                self.entry.has_value = true;
                let expected = "a transaction, that is an array of operations";
                self.entry.misshapen = Some(self.scanner.unexpected(expected));
                return self.scanner.json_skip();
            }
        }
        self.entry.has_value = true;
        let mut parts = self.scanner.json_open(b'[', "a transaction")?;
        while self.scanner.json_element(&mut parts)? {
            if self.scanner.json_next("an operation")? == b'[' {
                self.operation()?;
            } else {
                let fault = self
                    .scanner
                    .unexpected("an operation, such as [\"r\", 5, null]");
                self.entry.misshapen.get_or_insert(fault);
                self.scanner.json_skip()?;
            }
        }
        Ok(())
    }

    /// `["r", k, v]`, `["w", k, v]` or `["append", k, v]`; of other things that they are something else.
    fn operation(&mut self) -> Result<(), FormatFault> {
        let mut parts = self.scanner.json_open(b'[', "an operation")?;
        let mut operand = None;
        let mut action = None;
        let mut key = None;
        for place in 0_u64.. {
            if !self.scanner.json_element(&mut parts)? {
                break;
            }
            let is_list = place == 2
                && action == Some(Action::Read)
                && self.scanner.json_next("a value")? == b'[';
            if is_list {
                operand = Some(self.list()?);
                continue;
            }
            let scalar = self.scanner.json_scalar()?;
            match (place, scalar) {
                (0, Scalar::Name) => action = Action::of(bare(self.scanner.token())),
                (1, Scalar::Number(_) | Scalar::Name) => {
                    key = scalar.key(self.scanner, &mut self.pairing.collector)?;
                }
                (2, Scalar::Null) if action == Some(Action::Read) => operand = Some(Operand::Nil),
                (2, Scalar::Number(_) | Scalar::Name) => {
                    let value = scalar.value(self.scanner, &mut self.pairing.collector)?;
                    operand = value.map(Operand::One);
                }
                (_, Scalar::Collection) => {
                    action = None;
                    self.scanner.json_skip()?;
                }
                _ => action = None,
            }
        }
        if action == Some(Action::Read) && operand.is_none() {
            operand = Some(Operand::Nil);
        }
        if let (Some(action), Some(key), Some(operand)) = (action, key, operand) {
            self.entry.operations.push(Operation {
                action,
                key,
                operand,
            });
            self.pairing.collector.afford(self.entry.operations.len())?;
        } else {
            let fault = FormatFault::Expected {
                expected: "an operation: [\"r\", key, seen], [\"w\", key, value] or [\"append\", key, value]",
                found: "something else".to_owned(),
            };
            self.entry.misshapen.get_or_insert(fault);
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Operand, FormatFault> {
        let mut parts = self.scanner.json_open(b'[', "a list")?;
        let first = self.entry.elements.len();
        while self.scanner.json_element(&mut parts)? {
            let scalar = self.scanner.json_scalar()?;
            match scalar.value(self.scanner, &mut self.pairing.collector)? {
                Some(value) => {
                    self.entry.elements.push(value);
                    self.pairing.collector.afford(self.entry.elements.len())?;
                }
                None => {
                    let fault = FormatFault::Expected {
                        expected: "an element of a list, that is a number or a string",
                        found: "something else".to_owned(),
                    };
                    self.entry.misshapen.get_or_insert(fault);
                    if scalar == Scalar::Collection {
                        self.scanner.json_skip()?;
                    }
                }
            }
        }
        let count = self.entry.elements.len() - first;
        let too_large = ObservedFault::TooLarge("list elements");
        Ok(Operand::List {
            first: u32::try_from(first).map_err(|_| too_large)?,
            count: u32::try_from(count).map_err(|_| too_large)?,
        })
    }
}
