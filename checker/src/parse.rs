//! Reads a history from text, one line at a time.
//!
//! The format, versions 1 and 2 (`docs/history-format.md` in the repository has the whole contract):
//!
//! ```text
//! co-history 1 <site>                 header, first line
//! co-history 2 <site> [clock-error:<ns>]
//!                                     or this; the clocks of all times agree to within so much
//! c <txn> <stamp> <seq> <op>*         committed at this site
//! a <txn> <reason>                    aborted at this site
//! u <txn> <op>*                       voted YES here, decision unknown when the file ended
//! end <n>                             footer: the number of records above
//! # anything                          comment
//!
//! <txn>    G<number> for a global transaction, L<number> for one local to the site
//! <stamp>  decision stamp, comparable across sites; `-` when unknown
//! <seq>    install position at this site, above 0; `-` when nothing was installed
//! In version 2, a committed record may have these before its operations:
//!          p:<session>@<n>            the transaction is the <n>th (or so) of a session
//!          t:<from>..<to>             its client asked and was told then, in nanoseconds; without
//!                                     <to>, it was never told
//! <op>     r:<key>@<ver>              read the version installed at <ver> (0: initial)
//!          w:<key>  x:<key>  i:<key>  wrote, deleted, incremented
//!          s:<lo>..<hi>@<pos>[<key>@<ver>,...]
//!                                     scanned lo <= key < hi at position <pos>; an empty <hi>
//!                                     means that the range has no end
//! ```
//!
//! Memory is proportional to the history, never to more: equal keys share their bytes, and a line
//! longer than [`MAX_LINE_BYTES`] is refused before it is held in full.
//!
//! A site appends a line when a transaction ends, so a crash leaves a file without footer whose
//! last line may be half written. Such a line (one without its line feed) is dropped, because a
//! shorter operation can be well formed and still be wrong, and the history is marked
//! [`Ending::CutShort`].

use std::collections::HashMap;
use std::io::{BufRead, Read as _};

use crate::client::{Client, RealTime, Turn};
use crate::history::{
    Committed, Ending, HistoryBuilder, Op, Record, Scan, Seq, SiteHistory, Stamp, TxnId,
};
use crate::parse_error::{ParseError, ParseFault};
use crate::token::Token;

/// The longest line that is read, without its line feed: 16 MiB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Reads one site's history. `name` is used in messages.
///
/// ```
/// let text = "co-history 1 A\nc G1 5 1 w:x\nend 1\n";
/// let history = checker::parse::read_history(text.as_bytes(), "A.hist")?;
/// assert_eq!(history.records().len(), 1);
/// # Ok::<(), checker::ParseError>(())
/// ```
///
/// # Errors
///
/// Returns the first fault, with the name and the line. A missing footer is not a fault: the
/// history then says [`Ending::CutShort`].
pub fn read_history(reader: impl BufRead, name: &str) -> Result<SiteHistory, ParseError> {
    let mut lines = Lines {
        reader,
        buffer: Vec::new(),
        number: 0,
    };
    read_lines(&mut lines, name).map_err(|fault| ParseError {
        file: name.to_owned(),
        line: lines.number,
        fault,
    })
}

/// The same of a stream that may be compressed (gzip or zstd, told by its first bytes), with at most `limit_bytes`
/// before and after decompression.
///
/// ```
/// let text = "co-history 1 A\nc G1 5 1 w:x\nend 1\n";
/// let history = checker::parse::read_compressed_history(text.as_bytes(), "A.hist", 1 << 30)?;
/// assert_eq!(history.records().len(), 1);
/// # Ok::<(), checker::ParseError>(())
/// ```
///
/// # Errors
///
/// As [`read_history`]; damaged data and data beyond the limit are faults of reading ([`ParseFault::Io`]). A compressed
/// file that was cut short cannot be told from a damaged one, so unlike a plain one it is refused.
pub fn read_compressed_history(
    reader: impl BufRead,
    name: &str,
    limit_bytes: u64,
) -> Result<SiteHistory, ParseError> {
    let plain = crate::formats::plain(reader, limit_bytes).map_err(|fault| ParseError {
        file: name.to_owned(),
        line: 1,
        fault: ParseFault::Io(std::io::Error::other(fault)),
    })?;
    read_history(std::io::BufReader::with_capacity(1 << 16, plain), name)
}

fn read_lines(lines: &mut Lines<impl BufRead>, name: &str) -> Result<SiteHistory, ParseFault> {
    let header = match lines.next()? {
        Some(Line {
            text,
            terminated: true,
        }) => header(text)?,
        Some(_) | None => return Err(ParseFault::MissingHeader),
    };
    let mut builder = HistoryBuilder::new(name, header.site);
    builder.set_clock_error(header.clock_error);
    let mut tokens = TokenPool::default();
    let mut ended = false;
    while let Some(Line { text, terminated }) = lines.next()? {
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        if ended {
            return Err(ParseFault::AfterFooter);
        }
        let counted = builder.record_count() as u64;
        if !terminated {
            // A complete footer may lack its line feed; any other such line was cut.
            ended = utf8(text).ok() == Some(&format!("end {counted}"));
            break;
        }
        let text = utf8(text)?;
        if let Some(stated) = text.strip_prefix("end ") {
            let stated = parse_number(stated, "a number of records")?;
            if stated != counted {
                return Err(ParseFault::FooterMismatch { stated, counted });
            }
            ended = true;
        } else {
            match parse_record(text, header.version, &mut tokens)? {
                (Record::Committed(committed), client) => builder.push_of(committed, client)?,
                (record, _) => builder.push(record)?,
            }
        }
    }
    let ending = if ended {
        Ending::Footer
    } else {
        Ending::CutShort
    };
    Ok(builder.finish(ending))
}

/// Hands out lines without their line feed, each in one reused buffer.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

struct Line<'a> {
    text: &'a [u8],
    terminated: bool,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Line<'_>>, ParseFault> {
        self.buffer.clear();
        self.number += 1;
        let limit = MAX_LINE_BYTES as u64 + 1;
        self.reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let terminated = self.buffer.last() == Some(&b'\n');
        if terminated {
            self.buffer.pop();
        }
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(ParseFault::LineTooLong);
        }
        Ok(Some(Line {
            text: &self.buffer,
            terminated,
        }))
    }
}

/// Gives equal keys one allocation; keys repeat far more often than they differ.
#[derive(Default)]
struct TokenPool(HashMap<Box<str>, Token>);

impl TokenPool {
    fn get(&mut self, text: &str) -> Result<Token, ParseFault> {
        if let Some(token) = self.0.get(text) {
            return Ok(token.clone());
        }
        let token = parse_token(text)?;
        self.0.insert(text.into(), token.clone());
        Ok(token)
    }
}

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Without clients.
    One,
    /// With clients.
    Two,
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) site: Token,
    pub(crate) version: Version,
    /// In nanoseconds.
    pub(crate) clock_error: u64,
}

fn parse_header(line: &str) -> Result<Header, ParseFault> {
    if line.ends_with('\r') {
        return Err(ParseFault::WindowsLineEnds);
    }
    let mut fields = line.split(' ');
    if fields.next() != Some("co-history") {
        return Err(ParseFault::MissingHeader);
    }
    let version = match fields.next().ok_or(ParseFault::MissingHeader)? {
        "1" => Version::One,
        "2" => Version::Two,
        other => {
            let found = quoted(other);
            return Err(ParseFault::UnsupportedVersion { found });
        }
    };
    let site = parse_token(nonempty(fields.next(), "the site")?)?;
    let mut more = fields.next();
    let mut clock_error = 0;
    if version == Version::Two
        && let Some(text) = more.and_then(|more| more.strip_prefix("clock-error:"))
    {
        clock_error = parse_number(text, "a bound of clock error in nanoseconds")?;
        more = fields.next();
    }
    no_more(more)?;
    Ok(Header {
        site,
        version,
        clock_error,
    })
}

/// Reads the first line of a file.
pub(crate) fn header(line: &[u8]) -> Result<Header, ParseFault> {
    parse_header(utf8(line)?)
}

/// Reads the line of one record.
pub(crate) fn record(line: &[u8], version: Version) -> Result<(Record, Client), ParseFault> {
    parse_record(utf8(line)?, version, &mut TokenPool::default())
}

/// Reads a footer, if the line is one: the number of records that it states.
pub(crate) fn footer(line: &[u8]) -> Option<Result<u64, ParseFault>> {
    let stated = line.strip_prefix(b"end ")?;
    Some(utf8(stated).and_then(|stated| parse_number(stated, "a number of records")))
}

fn parse_record(
    line: &str,
    version: Version,
    tokens: &mut TokenPool,
) -> Result<(Record, Client), ParseFault> {
    let mut fields = line.split(' ');
    let word = fields.next().unwrap_or_default();
    if !matches!(word, "c" | "a" | "u") {
        return Err(ParseFault::UnknownRecord { word: quoted(word) });
    }
    let txn = parse_txn(nonempty(fields.next(), "a transaction")?)?;
    if word == "a" {
        let reason = nonempty(fields.next(), "the reason for the abort")?;
        no_more(fields.next())?;
        let reason = tokens.get(reason)?;
        return Ok((Record::Aborted { txn, reason }, Client::default()));
    }
    if word == "u" {
        let ops = fields
            .map(|op| parse_op(op, tokens))
            .collect::<Result<_, _>>()?;
        return Ok((Record::InDoubt { txn, ops }, Client::default()));
    }
    let stamp = nonempty(fields.next(), "the decision stamp, or `-`")?;
    let stamp = parse_optional(stamp, "a decision stamp, or `-`")?.map(Stamp);
    let seq = nonempty(fields.next(), "the install position, or `-`")?;
    let seq = parse_optional(seq, "an install position, or `-`")?.map(Seq);
    let mut fields = fields.peekable();
    let client = match version {
        Version::One => Client::default(),
        Version::Two => parse_client(&mut fields, tokens)?,
    };
    let ops = fields
        .map(|op| parse_op(op, tokens))
        .collect::<Result<_, _>>()?;
    let committed = Committed {
        txn,
        stamp,
        seq,
        ops,
    };
    Ok((Record::Committed(committed), client))
}

/// Reads the fields that stand before the operations.
fn parse_client<'a>(
    fields: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    tokens: &mut TokenPool,
) -> Result<Client, ParseFault> {
    let mut client = Client::default();
    if let Some(field) = fields.next_if(|field| field.starts_with("p:")) {
        let parts = field[2..]
            .split_once('@')
            .ok_or_else(|| ParseFault::BadField {
                text: quoted(field),
                expected: "`p:<session>@<position>`",
            })?;
        client.turn = Some(Turn {
            session: tokens.get(nonempty(Some(parts.0), "the name of a session")?)?,
            position: parse_number(parts.1, "a position in a session")?,
        });
    }
    if let Some(field) = fields.next_if(|field| field.starts_with("t:")) {
        let bad = || ParseFault::BadField {
            text: quoted(field),
            expected: "`t:<from>..<to>`, or `t:<from>..`, in nanoseconds and with from <= to",
        };
        let (from, to) = field[2..].split_once("..").ok_or_else(bad)?;
        let from = parse_number(from, "a time in nanoseconds")?;
        let to = match to {
            "" => None,
            to => Some(parse_number(to, "a time in nanoseconds")?),
        };
        if to.is_some_and(|to| to < from) {
            return Err(bad());
        }
        client.time = Some(RealTime { from, to });
    }
    Ok(client)
}

fn parse_op(text: &str, tokens: &mut TokenPool) -> Result<Op, ParseFault> {
    let bad = |expected| ParseFault::BadOp {
        text: quoted(text),
        expected,
    };
    let Some((kind, body)) = text.split_once(':') else {
        return Err(bad("`r:`, `w:`, `x:`, `i:` or `s:`"));
    };
    match kind {
        "r" => {
            let (key, version) = body
                .split_once('@')
                .ok_or_else(|| bad("`r:<key>@<version>`"))?;
            let version = Seq(parse_number(version, "a version")?);
            Ok(Op::Read {
                key: tokens.get(key)?,
                version,
            })
        }
        "w" => Ok(Op::Write {
            key: tokens.get(body)?,
        }),
        "x" => Ok(Op::Delete {
            key: tokens.get(body)?,
        }),
        "i" => Ok(Op::Increment {
            key: tokens.get(body)?,
        }),
        "s" => {
            let shape = "`s:<lo>..<hi>@<position>[<key>@<version>,...]`";
            let parts = split_scan(body).ok_or_else(|| bad(shape))?;
            parse_scan(parts, tokens).map(|scan| Op::Scan(Box::new(scan)))
        }
        "p" | "t" => Err(ParseFault::MisplacedField { text: quoted(text) }),
        _ => Err(bad("`r:`, `w:`, `x:`, `i:` or `s:`")),
    }
}

/// The four parts of a scan, not yet read: lo, hi, position, found.
struct ScanParts<'a> {
    lo: &'a str,
    hi: &'a str,
    pos: &'a str,
    found: &'a str,
}

fn split_scan(body: &str) -> Option<ScanParts<'_>> {
    let (range, found) = body.strip_suffix(']')?.split_once('[')?;
    let (range, pos) = range.split_once('@')?;
    let (lo, hi) = range.split_once("..")?;
    Some(ScanParts { lo, hi, pos, found })
}

fn parse_scan(parts: ScanParts<'_>, tokens: &mut TokenPool) -> Result<Scan, ParseFault> {
    let mut found = Vec::new();
    if !parts.found.is_empty() {
        for entry in parts.found.split(',') {
            let (key, version) = entry.split_once('@').ok_or_else(|| ParseFault::BadOp {
                text: quoted(entry),
                expected: "`<key>@<version>` in the result of a scan",
            })?;
            found.push((tokens.get(key)?, Seq(parse_number(version, "a version")?)));
        }
    }
    let hi = if parts.hi.is_empty() {
        None
    } else {
        Some(tokens.get(parts.hi)?)
    };
    let pos = Seq(parse_number(parts.pos, "a position")?);
    Ok(Scan {
        lo: tokens.get(parts.lo)?,
        hi,
        pos,
        found,
    })
}

fn parse_txn(text: &str) -> Result<TxnId, ParseFault> {
    let number = |digits| parse_number(digits, "a transaction number").ok();
    let global = text.strip_prefix('G').and_then(number).map(TxnId::Global);
    let local = text.strip_prefix('L').and_then(number).map(TxnId::Local);
    global
        .or(local)
        .ok_or_else(|| ParseFault::BadTxn { text: quoted(text) })
}

fn parse_token(text: &str) -> Result<Token, ParseFault> {
    text.parse().map_err(|fault| ParseFault::BadToken {
        text: quoted(text),
        fault,
    })
}

fn parse_optional(text: &str, expected: &'static str) -> Result<Option<u64>, ParseFault> {
    if text == "-" {
        Ok(None)
    } else {
        parse_number(text, expected).map(Some)
    }
}

fn parse_number(text: &str, expected: &'static str) -> Result<u64, ParseFault> {
    // The standard parser also takes a leading `+`, which the format does not know.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| ParseFault::BadNumber {
        expected,
        text: quoted(text),
    })
}

fn nonempty<'a>(field: Option<&'a str>, expected: &'static str) -> Result<&'a str, ParseFault> {
    field
        .filter(|text| !text.is_empty())
        .ok_or(ParseFault::MissingField { expected })
}

fn no_more(field: Option<&str>) -> Result<(), ParseFault> {
    field.map_or(Ok(()), |text| {
        Err(ParseFault::ExtraField { text: quoted(text) })
    })
}

fn utf8(line: &[u8]) -> Result<&str, ParseFault> {
    std::str::from_utf8(line).map_err(|_| ParseFault::NotUtf8)
}

/// The text as it appears in a message: at most 60 characters of it.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
