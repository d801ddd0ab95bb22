//! Latencies, kept one by one, so that percentiles are exact.

use std::time::Duration;

/// Durations in microseconds, in no particular order until [`Samples::sorted`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    micros: Vec<u32>,
}

/// Samples in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Sorted {
    micros: Vec<u32>,
}

impl Samples {
    /// Adds a duration; anything over an hour counts as the longest that fits.
    pub(crate) fn add(&mut self, duration: Duration) {
        self.micros
            .push(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds all of another's.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.micros.append(&mut other.micros);
    }

    /// All samples, ordered.
    pub(crate) fn sorted(mut self) -> Sorted {
        self.micros.sort_unstable();
        Sorted {
            micros: self.micros,
        }
    }
}

impl Sorted {
    /// The smallest sample that at least `percent` of all samples do not exceed (nearest rank), or
    /// nothing when there are none. `percent` is at most 100.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        assert!(
            percent <= 100,
            "{percent} percent of the samples do not exist"
        );
        let rank = (self.micros.len() * percent).div_ceil(100).max(1);
        let micros = self.micros.get(rank - 1)?;
        Some(Duration::from_micros(u64::from(*micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Sorted {
        let mut samples = Samples::default();
        micros
            .into_iter()
            .for_each(|micros| samples.add(Duration::from_micros(micros)));
        samples.sorted()
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let hundred = of((1..=100).rev());
        for percent in [1, 50, 99, 100] {
            let expected = Duration::from_micros(percent as u64);
            assert_eq!(hundred.percentile(percent), Some(expected));
        }
        assert_eq!(hundred.percentile(0), Some(Duration::from_micros(1)));
        // The example of the definition: five values, of which the 30th percentile is the second.
        let five = of([15, 20, 35, 40, 50]);
        assert_eq!(five.percentile(30), Some(Duration::from_micros(20)));
        assert_eq!(five.percentile(40), Some(Duration::from_micros(20)));
        assert_eq!(five.percentile(50), Some(Duration::from_micros(35)));
        assert_eq!(five.percentile(99), Some(Duration::from_micros(50)));
    }

    #[test]
    fn no_samples_have_no_percentile_and_one_sample_has_one() {
        assert_eq!(of([]).percentile(50), None);
        assert_eq!(of([7]).percentile(1), Some(Duration::from_micros(7)));
    }

    #[test]
    fn merging_keeps_every_sample() {
        let mut samples = Samples::default();
        samples.add(Duration::from_secs(1 << 40));
        let mut other = Samples::default();
        other.add(Duration::from_micros(3));
        samples.append(other);
        let sorted = samples.sorted();
        assert_eq!(sorted.percentile(50), Some(Duration::from_micros(3)));
        assert_eq!(
            sorted.percentile(100),
            Some(Duration::from_micros(u64::from(u32::MAX)))
        );
    }
}
