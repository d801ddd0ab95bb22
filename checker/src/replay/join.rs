//! What sites say of global transactions, compared in the order in which they come.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::Receiver;

use crate::follow::ids::IdSet;
use crate::hashing::Hashing;

use super::Undecided;

/// What a site says of a global transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) id: u64,
    pub(super) fate: Fate,
}

/// How it ended there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Decided at this stamp.
    Committed(u64),
    /// Aborted, or in doubt.
    NotCommitted,
}

/// So many global transactions are kept, to compare what sites say of them.
const KEPT: usize = 1 << 17;

/// Reads what the sites tell, of the one first that is behind by its stamps; how many commits are of
/// transactions that another site has named before.
pub(super) fn join(sites: &[Receiver<Vec<Told>>]) -> Result<usize, Undecided> {
    let mut highest: Vec<Option<u64>> = vec![Some(0); sites.len()];
    let mut fates = Fates::default();
    loop {
        let open = |(site, highest): (usize, &Option<u64>)| Some((site, (*highest)?));
        let open = highest.iter().enumerate().filter_map(open);
        let Some((site, _)) = open.min_by_key(|(_, highest)| *highest) else {
            return Ok(fates.repeated);
        };
        // Its reader has ended, well or not.
        let Ok(all) = sites[site].recv() else {
            highest[site] = None;
            continue;
        };
        for told in all {
            fates.tell(told)?;
            if let Fate::Committed(stamp) = told.fate {
                highest[site] = highest[site].max(Some(stamp));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Fates {
    known: HashMap<u64, Fate, Hashing>,
    order: VecDeque<u64>,
    ever: IdSet,
    repeated: usize,
}

impl Fates {
    fn tell(&mut self, told: Told) -> Result<(), Undecided> {
        if let Some(known) = self.known.get(&told.id) {
            if *known != told.fate {
                return Err(Undecided::Disagrees);
            }
            self.repeated += usize::from(told.fate != Fate::NotCommitted);
            return Ok(());
        }
        if !self.ever.insert(told.id) {
            return Err(Undecided::Late);
        }
        if self.order.len() == KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(told.id);
        self.known.insert(told.id, told.fate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_not_taken_for_new() {
        let mut fates = Fates::default();
        let fate = Fate::Committed(7);
        for id in 0..=KEPT as u64 {
            assert_eq!(fates.tell(Told { id, fate }), Ok(()));
        }
        assert_eq!(fates.tell(Told { id: 1, fate }), Ok(()));
        assert_eq!(fates.tell(Told { id: 0, fate }), Err(Undecided::Late));
        assert_eq!((fates.repeated, fates.known.len()), (1, KEPT));
    }
}
