//! A deterministic mutator: flips, lies in numbers, cuts, splices and repetitions of stored inputs.

/// The longest input that it makes.
const MAX_BYTES: usize = 4096;

/// Numbers that lengths and counts lie with.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Makes inputs from others, the same ones at every run.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A mutator; equal seeds make equal inputs.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An input made from one or two of these.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.choose(inputs);
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let (at, to) = self.range(bytes.len());
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add([1, 0xff][self.below(2)]),
            2 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                for (byte, lie) in bytes[at..].iter_mut().zip(&number[..width]) {
                    *byte = *lie;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..to)),
            5 => {
                let again = bytes[at..to].to_vec();
                let place = self.below(bytes.len() + 1);
                bytes.splice(place..place, again);
            }
            6 => {
                let other = self.choose(inputs);
                let (from, end) = self.range(other.len());
                bytes.splice(at..to, other[from..end].iter().copied());
            }
            7 => {
                let length = 1 + self.below(8);
                let noise: Vec<u8> = (0..length).map(|_| self.byte()).collect();
                bytes.splice(at..at, noise);
            }
            _ => {
                for byte in &mut bytes[at..to] {
                    *byte = 0;
                }
            }
        }
    }

    fn choose(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        if inputs.is_empty() {
            return Vec::new();
        }
        let number = self.below(inputs.len());
        inputs[number].clone()
    }

    /// A range of a slice of this length, mostly short.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let at = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        (at, (at + self.below(most + 1)).min(length))
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[3]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap_or_default()
    }

    const fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
