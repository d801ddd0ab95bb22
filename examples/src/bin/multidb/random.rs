//! A small seeded generator, so that a request is a function of the seed, the client and its number.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014): every 64-bit seed gives a full-period stream, which is what
//! a fresh generator for each request needs.

/// A stream of numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The stream for one point, such as (seed, client, number of the request).
    pub(crate) fn at(point: &[u64]) -> Self {
        let mut random = Self { state: 0 };
        for part in point {
            random.state = random.state.rotate_left(17) ^ *part;
            random.state = random.next();
        }
        random
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero. The bias of the multiplication is below 2⁻³².
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "there is no number below zero");
        let high_half = self.next() >> 32;
        u32::try_from((high_half * u64::from(bound)) >> 32).expect("it is below a u32")
    }

    /// One of two, evenly.
    pub(crate) fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of the items, evenly.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let bound = u32::try_from(items.len()).expect("the lists here are short");
        items[self.below(bound) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_a_function_of_the_point() {
        let first = |point: &[u64]| Random::at(point).next();
        assert_eq!(first(&[1, 2, 3]), first(&[1, 2, 3]));
        assert_ne!(first(&[1, 2, 3]), first(&[1, 3, 2]));
        assert_ne!(first(&[1, 2, 3]), first(&[2, 2, 3]));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::at(&[7]);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(
            seen.iter().all(|count| (800..1_200).contains(count)),
            "{seen:?}"
        );
    }
}
