//! Lists of lists in two vectors: the items of list `i` are contiguous.

/// Lists of lists.
#[derive(Debug, Clone)]
pub(crate) struct Csr<T> {
    start: Vec<u32>,
    items: Vec<T>,
}

impl<T: Copy> Csr<T> {
    /// `lists` lists with the pairs (list, item), in the order of the pairs.
    ///
    /// # Panics
    ///
    /// If there are more than 32 bits of pairs: the builder of histories counts operations in 32 bits, and callers
    /// bound what they derive.
    pub(crate) fn new<I: Iterator<Item = (u32, T)> + Clone>(lists: usize, pairs: I) -> Self {
        let mut start = vec![0_u32; lists + 1];
        let mut count = 0_usize;
        let mut any = None;
        for (list, item) in pairs.clone() {
            start[list as usize + 1] += 1;
            count += 1;
            any = Some(item);
        }
        assert!(u32::try_from(count).is_ok(), "callers bound their pairs");
        for list in 0..lists {
            start[list + 1] += start[list];
        }
        let mut next = start.clone();
        let mut items = any.map_or_else(Vec::new, |item| vec![item; count]);
        for (list, item) in pairs {
            let place = &mut next[list as usize];
            items[*place as usize] = item;
            *place += 1;
        }
        Self { start, items }
    }

    /// How many lists there are.
    pub(crate) const fn len(&self) -> usize {
        self.start.len() - 1
    }

    /// The items of a list.
    pub(crate) fn get(&self, list: u32) -> &[T] {
        let list = list as usize;
        &self.items[self.start[list] as usize..self.start[list + 1] as usize]
    }

    /// Sorts every list.
    pub(crate) fn sort_each_by_key<K: Ord>(&mut self, key: impl Fn(&T) -> K) {
        for list in 0..self.len() {
            let range = self.start[list] as usize..self.start[list + 1] as usize;
            self.items[range].sort_by_key(&key);
        }
    }
}
