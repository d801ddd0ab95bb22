//! Times of sources, which need 64 bits or more, as the small ones that a history keeps.
//!
//! Only their order matters, so each is replaced by its rank among all that the source has.

use super::collector::Collector;
use super::error::FormatFault;
use crate::observed::{Interval, ObservedFault};

/// When each transaction ran, in the order in which they were ended; `None` if it is not known.
pub(super) struct Times<T> {
    said: Vec<Option<(T, Option<T>)>>,
}

impl<T: Ord + Copy> Times<T> {
    pub(super) const fn new() -> Self {
        Self { said: Vec::new() }
    }

    /// The next transaction ran from `begin` to `end`; without end, its client was never told the outcome.
    pub(super) fn push(
        &mut self,
        collector: &mut Collector,
        times: Option<(T, Option<T>)>,
    ) -> Result<(), FormatFault> {
        if let Some((begin, Some(end))) = times
            && end < begin
        {
            return Err(FormatFault::Record("the transaction ended before it began"));
        }
        collector.spend(1)?;
        self.said.push(times);
        Ok(())
    }

    /// Gives the transactions of `collector` their intervals.
    pub(super) fn tell(self, collector: &mut Collector) -> Result<(), FormatFault> {
        let of_one = |times: &(T, Option<T>)| [Some(times.0), times.1];
        let mut all: Vec<T> = self
            .said
            .iter()
            .flatten()
            .flat_map(of_one)
            .flatten()
            .collect();
        all.sort_unstable();
        all.dedup();
        if u32::try_from(all.len()).is_err() {
            return Err(ObservedFault::TooLarge("times").into());
        }
        let rank = |time: T| {
            let place = all.partition_point(|other| *other < time);
            u32::try_from(place).expect("there are fewer times than 32 bits count")
        };
        let intervals = self.said.iter().map(|times| {
            times.map(|(begin, end)| Interval {
                begin: rank(begin),
                end: end.map_or(u32::MAX, rank),
            })
        });
        collector.intervals(intervals);
        Ok(())
    }
}
