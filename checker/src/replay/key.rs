//! Keys as numbers.
//!
//! A key of up to 19 bytes is its bytes, in two words and a half; a longer one is the place of its bytes in the
//! [`Names`] of its site. So to compare two keys is to compare numbers, and they need no memory of their own.

use crate::hashing::Hashing;

/// So many bytes are a key of their own.
const SHORT: usize = 19;

/// A long key, in the lowest byte, where a short one has its length.
const LONG: u32 = 0x40;
/// Always there, so that no key is all zeroes.
const USED: u32 = 0x80;

/// A key. No key is [`Key::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) high: u64,
    pub(crate) middle: u64,
    pub(crate) low: u32,
}

impl Key {
    /// No key.
    pub(crate) const NONE: Self = Self {
        high: 0,
        middle: 0,
        low: 0,
    };

    /// The key of so many bytes, if they are few.
    #[inline]
    fn short(bytes: &[u8]) -> Option<Self> {
        let mut word = [0; SHORT + 1];
        word[..SHORT].get_mut(..bytes.len())?.copy_from_slice(bytes);
        word[SHORT] = u8::try_from(bytes.len()).expect("it is at most 19");
        let (high, rest) = word.split_first_chunk().expect("20 bytes are 8");
        let (middle, low) = rest.split_first_chunk().expect("and 8");
        let low: [u8; 4] = low.try_into().expect("and 4");
        Some(Self {
            high: u64::from_be_bytes(*high),
            middle: u64::from_be_bytes(*middle),
            low: u32::from_be_bytes(low) | USED,
        })
    }

    /// The bytes; those of long keys by their names.
    pub(crate) fn bytes(self, names: &[u8]) -> Box<[u8]> {
        if self.low & LONG != 0 {
            return Box::from(span(names, self.high, self.middle));
        }
        let words = [self.high.to_be_bytes(), self.middle.to_be_bytes()].concat();
        let word = [&words[..], &self.low.to_be_bytes()].concat();
        Box::from(&word[..(self.low & 0x1f) as usize])
    }
}

fn span(names: &[u8], start: u64, length: u64) -> &[u8] {
    let start = usize::try_from(start).expect("it was the length of a list");
    let length = usize::try_from(length).expect("so was it");
    &names[start..start + length]
}

/// The keys of one site that are long.
#[derive(Debug)]
pub(crate) struct Names {
    hashing: Hashing,
    /// Open addressing, at most three quarters full.
    places: Vec<Place>,
    used: usize,
    /// The bytes of all of them.
    pub(crate) bytes: Vec<u8>,
}

/// Where the bytes of a key are; nowhere if the length is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u64,
    length: u32,
    hash: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            hashing: Hashing::default(),
            places: vec![Place::default(); 16],
            used: 0,
            bytes: Vec::new(),
        }
    }
}

impl Names {
    /// The key of these bytes.
    #[inline]
    pub(crate) fn key(&mut self, bytes: &[u8]) -> Key {
        Key::short(bytes).unwrap_or_else(|| self.long(bytes))
    }

    fn long(&mut self, bytes: &[u8]) -> Key {
        let hash = self.hashing.of_bytes(bytes);
        let length = u32::try_from(bytes.len()).expect("a line has at most 16 MiB");
        let upper = u32::try_from(hash >> 32).expect("32 bits are left");
        let mut place = self.first(hash);
        loop {
            let there = self.places[place];
            let alike = there.hash == upper && there.length == length;
            if alike && span(&self.bytes, there.start, u64::from(length)) == bytes {
                return long_key(there);
            }
            if there.length == 0 {
                break;
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        let new = Place {
            start: self.bytes.len() as u64,
            length,
            hash: upper,
        };
        self.bytes.extend_from_slice(bytes);
        self.places[place] = new;
        self.used += 1;
        if self.used * 4 > self.places.len() * 3 {
            self.grow();
        }
        long_key(new)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash will do"
    )]
    const fn first(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![Place::default(); self.places.len() * 2];
        let places = std::mem::replace(&mut self.places, larger);
        for one in places.into_iter().filter(|place| place.length > 0) {
            let bytes = span(&self.bytes, one.start, u64::from(one.length));
            let mut place = self.first(self.hashing.of_bytes(bytes));
            while self.places[place].length > 0 {
                place = (place + 1) & (self.places.len() - 1);
            }
            self.places[place] = one;
        }
    }
}

const fn long_key(place: Place) -> Key {
    Key {
        high: place.start,
        middle: place.length as u64,
        low: LONG | USED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_give_their_bytes_back() {
        let mut names = Names::default();
        let mut texts: Vec<Vec<u8>> = vec![vec![], vec![0], b"a".to_vec(), b"a\0".to_vec()];
        texts.extend((7..24).map(|length| vec![0xff; length]));
        texts.extend((7..24).map(|length| vec![b'0'; length]));
        texts.extend((0..2000).map(|number| format!("a name of 29 bytes {number:010}").into()));
        let made: Vec<Key> = texts.iter().map(|text| names.key(text)).collect();
        for (place, text) in texts.iter().enumerate() {
            assert_eq!(&*made[place].bytes(&names.bytes), text);
            assert_eq!(names.key(text), made[place]);
            assert!(!made[..place].contains(&made[place]) && made[place] != Key::NONE);
        }
    }
}
