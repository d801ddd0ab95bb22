//! Values and names: whole numbers as they are, everything else by number.

use std::collections::HashMap;

/// What was written or read. Two values of a history are equal exactly if their sources are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u64);

/// Set in values that are names.
const NAMED: u64 = 1 << 63;

impl Value {
    /// The value of a whole number below 2^63.
    #[must_use]
    pub const fn number(number: u64) -> Option<Self> {
        if number & NAMED == 0 {
            Some(Self(number))
        } else {
            None
        }
    }

    pub(super) const fn named(place: u32) -> Self {
        Self(NAMED | place as u64)
    }

    /// As in the source.
    pub(super) fn name(self, names: &Names) -> String {
        if self.0 & NAMED == 0 {
            self.0.to_string()
        } else {
            let place = u32::try_from(self.0 & !NAMED).expect("only `named` sets the bit");
            names.name(place).to_owned()
        }
    }
}

/// What an allocator takes for a small block besides its content.
const BLOCK_BYTES: usize = 24;

/// Names, numbered densely in the order in which they first came.
#[derive(Debug, Clone, Default)]
pub struct Names {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
    places: HashMap<Box<str>, u32>,
}

impl Names {
    /// The number of a name; a new one gets the next.
    pub(super) fn intern(&mut self, name: &str) -> Option<u32> {
        if let Some(place) = self.places.get(name) {
            return Some(*place);
        }
        let place = u32::try_from(self.ends.len()).ok()?;
        let end = u32::try_from(self.text.len() + name.len()).ok()?;
        self.text.push_str(name);
        self.ends.push(end);
        self.places.insert(name.into(), place);
        Some(place)
    }

    /// About how many bytes of memory they take.
    pub(super) fn memory_bytes(&self) -> usize {
        // Each name is there twice, once in a block of its own; the table is at most seven eighths full.
        let blocks = self.text.len() + self.ends.len() * BLOCK_BYTES;
        let table = self.places.capacity() / 7 * 8 * (size_of::<(Box<str>, u32)>() + 1);
        self.text.capacity() + self.ends.capacity() * size_of::<u32>() + blocks + table
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name with this number.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn name(&self, place: u32) -> &str {
        let place = place as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[place] as usize]
    }
}
