//! The lines that a site wrote last, within a limit, so that they can be judged as a whole.

use crate::history::SiteHistory;
use crate::parse::Header;
use crate::parse::read_history;

/// The last lines of a site: between half of the limit and all of it.
#[derive(Debug)]
pub(super) struct Recent {
    older: Vec<u8>,
    newer: Vec<u8>,
    limit: usize,
    records: u64,
    /// Whether lines were dropped.
    pub(super) dropped: bool,
}

impl Recent {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            older: Vec::new(),
            newer: Vec::new(),
            limit,
            records: 0,
            dropped: false,
        }
    }

    /// Keeps a record.
    pub(super) fn push(&mut self, line: &[u8]) {
        if self.newer.len() + line.len() >= self.limit / 2 {
            self.dropped |= !self.older.is_empty();
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
        self.records += 1;
        self.newer.extend_from_slice(line);
        self.newer.push(b'\n');
    }

    pub(super) const fn bytes(&self) -> usize {
        self.older.len() + self.newer.len()
    }

    /// The history that they are: complete only if it has ended and nothing was dropped.
    pub(super) fn history(&self, source: &str, header: &Header, ended: bool) -> SiteHistory {
        use std::io::Read as _;
        let head = format!("{header}\n");
        let foot = if ended && !self.dropped {
            format!("end {}\n", self.records)
        } else {
            String::new()
        };
        let parts = [head.as_bytes(), &self.older, &self.newer];
        let text = parts[0].chain(parts[1]).chain(parts[2]);
        let text = std::io::BufReader::new(text.chain(foot.as_bytes()));
        read_history(text, source).expect("each of the lines was read before")
    }
}
