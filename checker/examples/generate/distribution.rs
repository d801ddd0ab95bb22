//! Which keys are touched: all alike, few of them mostly, or by rank.

use clap::ValueEnum;

use crate::store::Random;

/// How keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// All alike.
    Uniform,
    /// By rank: the key of rank `r` as often as `1 / r`.
    Zipf,
    /// Four of five operations touch one key in five.
    Hotspot,
}

/// Draws keys.
pub(crate) struct Keys {
    distribution: Distribution,
    count: u32,
    /// For each key, the sum of the weights up to it, where they differ.
    sums: Vec<u64>,
}

/// The weight of the most frequent key.
const HEAVIEST: u64 = 1 << 32;

impl Keys {
    pub(crate) fn new(distribution: Distribution, count: u32) -> Self {
        let mut sums = Vec::new();
        if distribution == Distribution::Zipf {
            let mut sum = 0;
            for rank in 1..=u64::from(count) {
                sum += HEAVIEST / rank;
                sums.push(sum);
            }
        }
        Self {
            distribution,
            count,
            sums,
        }
    }

    /// How many keys there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// One of them.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match self.distribution {
            Distribution::Uniform => random.below(self.count),
            Distribution::Hotspot => {
                let hot = (self.count / 5).max(1);
                if random.below(5) > 0 || hot == self.count {
                    random.below(hot)
                } else {
                    hot + random.below(self.count - hot)
                }
            }
            Distribution::Zipf => {
                let all = self.sums.last().copied().unwrap_or(1);
                let at = random.below_wide(all);
                let rank = self.sums.partition_point(|sum| *sum <= at);
                u32::try_from(rank).expect("there are no more ranks than keys")
            }
        }
    }
}
