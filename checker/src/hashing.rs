//! Hashes that are quick and that nobody can foretell.
//!
//! The hash of a word is both halves of its product with a secret, folded together. The secrets are new in each run, so
//! nobody can write a file whose keys all fall into one place.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashes; see the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hashing {
    seeds: [u64; 2],
}

impl Default for Hashing {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            seeds: [random.hash_one(1), random.hash_one(2) | 1],
        }
    }
}

impl Hashing {
    /// The hash of three numbers.
    #[inline]
    pub(crate) const fn of(self, numbers: [u64; 3]) -> u64 {
        let [first, second] = self.seeds;
        let folded = fold(numbers[0] ^ first, numbers[1] ^ second);
        fold(folded ^ numbers[2], second)
    }

    /// The hash of bytes.
    #[inline]
    pub(crate) fn of_bytes(self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Both halves of a product, folded together.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the two halves of a product are taken apart"
)]
#[inline]
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

impl BuildHasher for Hashing {
    type Hasher = Folding;

    #[inline]
    fn build_hasher(&self) -> Folding {
        let [hash, factor] = self.seeds;
        Folding { hash, factor }
    }
}

/// A hash in the making.
#[derive(Debug)]
pub(crate) struct Folding {
    hash: u64,
    factor: u64,
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ (rest.len() as u64) << 60);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.hash = fold(self.hash ^ number, self.factor);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.hash, self.factor)
    }
}
