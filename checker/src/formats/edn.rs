//! Reads histories as Jepsen writes them and Elle takes them, in EDN.
//!
//! Nothing recurses: what is not needed is skipped by counting, to [`Limits::depth`](super::Limits::depth).

use super::Kind;
use super::error::FormatFault;
use super::pairing::{Action, Entry, Operand, Operation, Pairing, Process, bare, whole_number};
use super::scanner::Scanner;
use crate::observed::{Key, Observed, Value};

#[inline]
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b',' | b'\n' | b'\t' | b'\r' | 0x0c)
}

/// Whether a byte is of a word, and does not end it.
#[inline]
const fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

static WORD: [bool; 256] = {
    let mut word = [true; 256];
    let ends = b" ,\n\t\r\x0c()[]{}\";";
    let mut place = 0;
    while place < ends.len() {
        word[ends[place] as usize] = false;
        place += 1;
    }
    word
};

pub(super) fn read(
    scanner: &mut Scanner<'_>,
    name: &str,
    kind: Option<Kind>,
) -> Result<Observed, FormatFault> {
    let mut reader = Reader {
        pairing: Pairing::new(name, kind, scanner.limits()),
        entry: Entry::new(),
        is_first: true,
        header: None,
        scanner,
    };
    reader.history()?;
    reader.pairing.finish()
}

struct Reader<'s, 'r> {
    scanner: &'s mut Scanner<'r>,
    pairing: Pairing,
    entry: Entry,
    is_first: bool,
    /// What the entry says of the kind of keys.
    header: Option<Kind>,
}

/// What stands for an operand.
enum Atom {
    Nil,
    One(Value),
    /// It is something else, and nothing of it was consumed.
    Other,
}

impl Reader<'_, '_> {
    /// Entries, one after another or in one vector.
    fn history(&mut self) -> Result<(), FormatFault> {
        let mut closer = None;
        let mut ended = false;
        loop {
            match self.space()? {
                None if closer.is_some() => {
                    return Err(FormatFault::CutShort {
                        expected: "the end of the vector of entries",
                    });
                }
                None => return Ok(()),
                Some(_) if ended => return Err(FormatFault::AfterEnd),
                Some(b'{') => self.entry()?,
                Some(b'#' | b'^') => self.prefix()?,
                Some(open @ (b'[' | b'(')) if closer.is_none() => {
                    self.scanner.bump();
                    closer = Some(if open == b'[' { b']' } else { b')' });
                }
                Some(byte) if closer == Some(byte) => {
                    self.scanner.bump();
                    closer = None;
                    ended = true;
                }
                Some(_) => return Err(self.scanner.unexpected("an entry, that is a map {...}")),
            }
        }
    }

    fn entry(&mut self) -> Result<(), FormatFault> {
        self.scanner.bump();
        let line = self.scanner.line_number();
        self.entry.clear();
        loop {
            match self.space()? {
                Some(b'}') => break,
                Some(b':') => {
                    self.scanner.start_token("");
                    self.scanner.extend_token(is_word)?;
                    self.field()?;
                }
                Some(b'#' | b'^') => self.prefix()?,
                Some(_) => {
                    self.skip()?;
                    self.skip()?;
                }
                None => return Err(self.scanner.unexpected("the end of an entry")),
            }
        }
        self.scanner.bump();
        let is_first = std::mem::replace(&mut self.is_first, false);
        if let Some(kind) = self.header.take()
            && is_first
            && self.entry.is_blank()
        {
            self.pairing.suppose(kind);
            return Ok(());
        }
        self.pairing.entry(&mut self.entry, line)
    }

    /// The value of the field whose name is the token.
    fn field(&mut self) -> Result<(), FormatFault> {
        match self.scanner.token() {
            b":type" => {
                self.word()?;
                let expected = ":invoke, :ok, :fail or :info";
                self.entry.read_type(self.scanner, expected)
            }
            b":process" => {
                self.word()?;
                self.entry.process = match self.scanner.token() {
                    b"nil" => Process::Unnamed,
                    token => parse(token).map_or(Process::Other, Process::Client),
                };
                Ok(())
            }
            b":index" => {
                self.word()?;
                if self.scanner.token() != b"nil" {
                    let index = parse(self.scanner.token());
                    return self.entry.read_index(index, self.scanner);
                }
                self.entry.index = None;
                Ok(())
            }
            b":f" => {
                self.word()?;
                let f = self.scanner.token();
                self.entry.of_transactions = f == b"nil" || bare(f) == b"txn";
                Ok(())
            }
            b":value" => self.value(),
            b":kind" if self.is_first => {
                self.word()?;
                self.header = match self.scanner.token() {
                    b":list-append" => Some(Kind::ListAppend),
                    b":rw-register" => Some(Kind::RwRegister),
                    _ => None,
                };
                Ok(())
            }
            _ => self.skip(),
        }
    }

    /// A word or a string, into the token; anything else is skipped and leaves an empty token.
    fn word(&mut self) -> Result<(), FormatFault> {
        match self.space_or("the value of a field")? {
            b'"' => self.string(),
            b'(' | b'[' | b'{' | b'#' => {
                self.skip()?;
                self.scanner.start_token("");
                Ok(())
            }
            _ => {
                self.scanner.start_token("");
                self.scanner.extend_token(is_word)?;
                if self.scanner.token().is_empty() {
                    return Err(self.scanner.unexpected("the value of a field"));
                }
                Ok(())
            }
        }
    }

    /// The transaction of an entry.
    fn value(&mut self) -> Result<(), FormatFault> {
        self.entry.clear_value();
        let closer = match self.space_or("the value of an entry")? {
            b'[' => b']',
            b'(' => b')',
            b'n' => {
                self.word()?;
                if self.scanner.token() != b"nil" {
                    self.misshapen("a transaction, that is a vector of operations");
                }
                return Ok(());
            }
            _ => {
                let fault = self
                    .scanner
                    .unexpected("a transaction, that is a vector of operations");
                self.entry.misshapen = Some(fault);
                self.entry.has_value = true;
                return self.skip();
            }
        };
        self.entry.has_value = true;
        self.scanner.bump();
        loop {
            match self.space_or("an operation or the end of a transaction")? {
                byte if byte == closer => {
                    self.scanner.bump();
                    return Ok(());
                }
                b'#' | b'^' => self.prefix()?,
                b'[' => self.operation(b']')?,
                b'(' => self.operation(b')')?,
                b')' | b']' | b'}' => return Err(self.scanner.unexpected("an operation")),
                _ => {
                    let fault = self.scanner.unexpected("an operation, such as [:r 5 nil]");
                    self.entry.misshapen.get_or_insert(fault);
                    self.skip()?;
                }
            }
        }
    }

    fn misshapen(&mut self, expected: &'static str) {
        let fault = self.scanner.unexpected_token(expected);
        self.entry.has_value = true;
        self.entry.misshapen.get_or_insert(fault);
    }

    /// `[:r k v]`, `[:w k v]` or `[:append k v]`; of other things that they are something else.
    fn operation(&mut self, closer: u8) -> Result<(), FormatFault> {
        self.scanner.bump();
        let Some(action) = self.action()? else {
            let fault = self.scanner.unexpected_token(":r, :w or :append");
            return self.give_up(fault, closer);
        };
        let Some(key) = self.key()? else {
            let fault = self.scanner.unexpected("a key");
            return self.give_up(fault, closer);
        };
        let Some(operand) = self.operand(action, closer)? else {
            let fault = self.scanner.unexpected("what was read or written");
            return self.give_up(fault, closer);
        };
        if self.space_or("the end of an operation")? != closer {
            let fault = self.scanner.unexpected("the end of an operation");
            return self.give_up(fault, closer);
        }
        self.scanner.bump();
        self.entry.operations.push(Operation {
            action,
            key,
            operand,
        });
        self.pairing.collector.afford(self.entry.operations.len())
    }

    #[inline]
    fn action(&mut self) -> Result<Option<Action>, FormatFault> {
        for (word, action) in [
            (b":r ".as_slice(), Action::Read),
            (b":append ", Action::Append),
            (b":w ", Action::Write),
        ] {
            if self.scanner.take_all(word) {
                return Ok(Some(action));
            }
        }
        self.space_or("an operation")?;
        self.scanner.start_token("");
        self.scanner.extend_token(is_word)?;
        Ok(Action::of(bare(self.scanner.token())))
    }

    /// The value is not that of a transaction; skips the rest of the collection that ends with `closer`.
    fn give_up(&mut self, fault: FormatFault, closer: u8) -> Result<(), FormatFault> {
        self.entry.misshapen.get_or_insert(fault);
        while self.space_or("the rest of an operation")? != closer {
            self.skip()?;
        }
        self.scanner.bump();
        Ok(())
    }

    fn key(&mut self) -> Result<Option<Key>, FormatFault> {
        let byte = self.space_or("a key")?;
        if byte.is_ascii_digit() {
            if let Some(number) = self.scanner.digits()? {
                match self.scanner.peek()? {
                    Some(next) if is_word(next) => self.scanner.start_token(&number.to_string()),
                    _ => return self.pairing.collector.numbered_key(number).map(Some),
                }
            }
            self.scanner.extend_token(is_word)?;
        } else if !self.atom(byte)? {
            return Ok(None);
        }
        let name = self.scanner.token_text()?;
        self.pairing.collector.key(name).map(Some)
    }

    /// What an operation returned or was given; `None` if it is nothing that an operation can have.
    fn operand(&mut self, action: Action, closer: u8) -> Result<Option<Operand>, FormatFault> {
        let byte = self.space_or("a value or the end of an operation")?;
        let reads = action == Action::Read;
        match byte {
            _ if byte == closer => Ok(reads.then_some(Operand::Nil)),
            b'[' if reads => self.list(b']').map(Some),
            b'(' if reads => self.list(b')').map(Some),
            _ => match self.scalar(byte)? {
                Atom::One(value) => Ok(Some(Operand::One(value))),
                Atom::Nil => Ok(reads.then_some(Operand::Nil)),
                Atom::Other => Ok(None),
            },
        }
    }

    fn list(&mut self, closer: u8) -> Result<Operand, FormatFault> {
        self.scanner.bump();
        let first = self.entry.elements.len();
        loop {
            let byte = self.space_or("an element or the end of a list")?;
            if byte == closer {
                self.scanner.bump();
                break;
            }
            match self.scalar(byte)? {
                Atom::One(value) => {
                    self.entry.elements.push(value);
                    self.pairing.collector.afford(self.entry.elements.len())?;
                }
                Atom::Nil => self.misshapen("an element of a list"),
                Atom::Other => {
                    let fault = self.scanner.unexpected("an element of a list");
                    self.entry.misshapen.get_or_insert(fault);
                    self.skip()?;
                }
            }
        }
        let count = self.entry.elements.len() - first;
        let too_large = crate::observed::ObservedFault::TooLarge("list elements");
        Ok(Operand::List {
            first: u32::try_from(first).map_err(|_| too_large)?,
            count: u32::try_from(count).map_err(|_| too_large)?,
        })
    }

    #[inline]
    fn scalar(&mut self, byte: u8) -> Result<Atom, FormatFault> {
        if byte.is_ascii_digit() {
            if let Some(number) = self.scanner.digits()? {
                match self.scanner.peek()? {
                    Some(next) if is_word(next) => self.scanner.start_token(&number.to_string()),
                    _ => return self.pairing.collector.numbered_value(number).map(Atom::One),
                }
            }
            self.scanner.extend_token(is_word)?;
        } else if !self.atom(byte)? {
            return Ok(Atom::Other);
        }
        if self.scanner.token() == b"nil" {
            return Ok(Atom::Nil);
        }
        let name = self.scanner.token_text()?;
        self.pairing.collector.value(name).map(Atom::One)
    }

    /// A keyword, symbol, number or string, into the token as it is written; false if it is none of them.
    fn atom(&mut self, byte: u8) -> Result<bool, FormatFault> {
        match byte {
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'#' | b'^' | b'\\' => Ok(false),
            b'"' => {
                self.quoted()?;
                Ok(true)
            }
            _ => {
                self.scanner.start_token("");
                self.scanner.extend_token(is_word)?;
                Ok(true)
            }
        }
    }

    /// A string into the token, with its quotes.
    fn quoted(&mut self) -> Result<(), FormatFault> {
        self.string()?;
        self.scanner.wrap_token(b'"')
    }

    /// A string into the token, without its quotes and otherwise as it is written.
    fn string(&mut self) -> Result<(), FormatFault> {
        self.scanner.bump();
        self.scanner.start_token("");
        loop {
            self.scanner
                .extend_token(|byte| byte != b'"' && byte != b'\\')?;
            match self.scanner.peek()? {
                Some(b'"') => {
                    self.scanner.bump();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.scanner.bump();
                    self.scanner.push_token(b'\\')?;
                    let Some(next) = self.scanner.peek()? else {
                        continue;
                    };
                    self.scanner.bump();
                    self.scanner.push_token(next)?;
                }
                _ => return Err(self.scanner.unexpected("the end of a string")),
            }
        }
    }

    /// Skips white space, commas and comments, and shows what comes next.
    #[inline]
    fn space(&mut self) -> Result<Option<u8>, FormatFault> {
        loop {
            match self.scanner.skip_while(is_space)? {
                Some(b';') => {
                    self.scanner.skip_while(|byte| byte != b'\n')?;
                }
                other => return Ok(other),
            }
        }
    }

    #[inline]
    fn space_or(&mut self, expected: &'static str) -> Result<u8, FormatFault> {
        match self.space()? {
            Some(byte) => Ok(byte),
            None => Err(FormatFault::CutShort { expected }),
        }
    }

    /// `#_ form` and `^meta` go; `#tag` goes and leaves what it tags.
    fn prefix(&mut self) -> Result<(), FormatFault> {
        if self.scanner.peek()? == Some(b'#') {
            return if self.skip_hash()? {
                self.skip()
            } else {
                Ok(())
            };
        }
        self.scanner.bump();
        self.skip()
    }

    /// Skips one form, whatever it is.
    fn skip(&mut self) -> Result<(), FormatFault> {
        let mut closers: Vec<u8> = Vec::new();
        // The form, and those before it that `#_` and metadata take away.
        let mut owed = 1_u32;
        loop {
            match self.space_or("the rest of an entry")? {
                b'"' => self.skip_string()?,
                open @ (b'(' | b'[' | b'{') => {
                    self.scanner.bump();
                    closers.push(match open {
                        b'(' => b')',
                        b'[' => b']',
                        _ => b'}',
                    });
                    let limit = self.scanner.limits().depth;
                    if closers.len() > limit {
                        return Err(FormatFault::TooDeep { limit });
                    }
                    continue;
                }
                byte @ (b')' | b']' | b'}') => {
                    if closers.pop() != Some(byte) {
                        return Err(self.scanner.unexpected("a value"));
                    }
                    self.scanner.bump();
                }
                b'#' => {
                    owed += u32::from(self.skip_hash()? && closers.is_empty());
                    continue;
                }
                b'^' => {
                    self.scanner.bump();
                    owed += u32::from(closers.is_empty());
                    continue;
                }
                b'\\' => {
                    self.scanner.bump();
                    if self.scanner.peek()?.is_some() {
                        self.scanner.bump();
                    }
                    self.scanner.skip_while(is_word)?;
                }
                _ => {
                    self.scanner.skip_while(is_word)?;
                }
            }
            if closers.is_empty() {
                owed -= 1;
                if owed == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Skips `#` and the tag; true if it was `#_`.
    fn skip_hash(&mut self) -> Result<bool, FormatFault> {
        self.scanner.bump();
        let discards = self.scanner.take(b'_')?;
        if !discards {
            self.scanner.skip_while(is_word)?;
        }
        Ok(discards)
    }

    fn skip_string(&mut self) -> Result<(), FormatFault> {
        self.scanner.bump();
        loop {
            match self
                .scanner
                .skip_while(|byte| byte != b'"' && byte != b'\\')?
            {
                Some(b'"') => {
                    self.scanner.bump();
                    return Ok(());
                }
                Some(_) => {
                    self.scanner.bump();
                    if self.scanner.peek()?.is_some() {
                        self.scanner.bump();
                    }
                }
                None => return Err(self.scanner.unexpected("the end of a string")),
            }
        }
    }
}

/// A whole number, perhaps with Clojure's N for large ones.
fn parse(token: &[u8]) -> Option<i64> {
    whole_number(token.strip_suffix(b"N").unwrap_or(token))
}
