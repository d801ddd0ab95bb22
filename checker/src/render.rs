//! Writes a history in the text form that [`read_history`](crate::parse::read_history) reads.
//!
//! Version 1 of the format is written wherever it can hold everything, and version 2 otherwise.
//! Reading what was written gives back an equal history (comments are not kept). A history that
//! was cut short is written without a footer, so the doubt survives the round trip.

use std::fmt;

use crate::client::{Client, RealTime, Turn};
use crate::history::{Committed, Ending, Op, Record, Scan, SiteHistory};
use crate::parse::{Header, Version};

impl fmt::Display for SiteHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Header {
            site: self.site().clone(),
            version: if self.is_of_version_1() {
                Version::One
            } else {
                Version::Two
            },
            clock_error: self.clock_error(),
        };
        writeln!(f, "{head}")?;
        for (place, record) in self.records().iter().enumerate() {
            match (record, self.client(place)) {
                (Record::Committed(committed), Some(client)) => {
                    write_head(f, committed)?;
                    writeln!(f, "{client}{}", Ops(&committed.ops))?;
                }
                _ => writeln!(f, "{record}")?,
            }
        }
        match self.ending() {
            Ending::Footer => writeln!(f, "end {}", self.records().len()),
            Ending::CutShort => Ok(()),
        }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Version::One => 1,
            Version::Two => 2,
        };
        write!(f, "co-history {version} {}", self.site)?;
        match self.clock_error {
            0 => Ok(()),
            nanoseconds => write!(f, " clock-error:{nanoseconds}"),
        }
    }
}

/// The fields of a record, each after a space.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Turn { session, position }) = &self.turn {
            write!(f, " p:{session}@{position}")?;
        }
        if let Some(RealTime { from, to }) = self.time {
            write!(f, " t:{from}..")?;
            to.map_or(Ok(()), |to| to.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(committed) => committed.fmt(f),
            Self::Aborted { txn, reason } => write!(f, "a {txn} {reason}"),
            Self::InDoubt { txn, ops } => {
                write!(f, "u {txn}{}", Ops(ops))
            }
        }
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_head(f, self)?;
        Ops(&self.ops).fmt(f)
    }
}

fn write_head(f: &mut fmt::Formatter<'_>, committed: &Committed) -> fmt::Result {
    write!(f, "c {} ", committed.txn)?;
    match committed.stamp {
        Some(stamp) => write!(f, "{stamp} ")?,
        None => f.write_str("- ")?,
    }
    match committed.seq {
        Some(seq) => write!(f, "{seq}"),
        None => f.write_str("-"),
    }
}

/// Operations, each after a space.
struct Ops<'a>(&'a [Op]);

impl fmt::Display for Ops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| write!(f, " {op}"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key, version } => write!(f, "r:{key}@{version}"),
            Self::Write { key } => write!(f, "w:{key}"),
            Self::Delete { key } => write!(f, "x:{key}"),
            Self::Increment { key } => write!(f, "i:{key}"),
            Self::Scan(scan) => scan.fmt(f),
        }
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s:{}..", self.lo)?;
        if let Some(hi) = &self.hi {
            hi.fmt(f)?;
        }
        write!(f, "@{}[", self.pos)?;
        for (place, (key, version)) in self.found.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{key}@{version}")?;
        }
        f.write_str("]")
    }
}
