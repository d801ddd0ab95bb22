//! Writes a history in the text form that [`read_history`](crate::parse::read_history) reads.
//!
//! Reading what was written gives back an equal history (comments are not kept). A history that
//! was cut short is written without a footer, so the doubt survives the round trip.

use std::fmt;

use crate::history::{Committed, Ending, Op, Record, Scan, SiteHistory};

impl fmt::Display for SiteHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "co-history 1 {}", self.site())?;
        for record in self.records() {
            writeln!(f, "{record}")?;
        }
        match self.ending() {
            Ending::Footer => writeln!(f, "end {}", self.records().len()),
            Ending::CutShort => Ok(()),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(committed) => committed.fmt(f),
            Self::Aborted { txn, reason } => write!(f, "a {txn} {reason}"),
            Self::InDoubt { txn, ops } => {
                write!(f, "u {txn}")?;
                write_ops(f, ops)
            }
        }
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c {} ", self.txn)?;
        match self.stamp {
            Some(stamp) => write!(f, "{stamp} ")?,
            None => f.write_str("- ")?,
        }
        match self.seq {
            Some(seq) => write!(f, "{seq}")?,
            None => f.write_str("-")?,
        }
        write_ops(f, &self.ops)
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

fn write_ops(f: &mut fmt::Formatter<'_>, ops: &[Op]) -> fmt::Result {
    ops.iter().try_for_each(|op| write!(f, " {op}"))
}
