//! States to make applications of: each is a join semilattice.
//!
//! - [`Grow`]: a set that only grows, in the order of its elements.
//! - [`Rows`]: the versions of a table, with tombstones, so that a deletion is something that is added.
//! - [`Counters`]: counters by name, as what each replica has added and taken away.
//! - [`Both`]: two of them side by side.
//!
//! Copies share what is equal in them until one is changed: a merge with an earlier copy of itself costs little.

use std::cmp::Ordering;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::sync::Arc;

use super::application::{ReplicaId, Semilattice};

/// A set that only grows; its merge is the union.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grow<T>(Arc<Vec<T>>);

impl<T> Default for Grow<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Ord + Clone> Grow<T> {
    /// Adds an element; nothing happens if it is there.
    pub fn insert(&mut self, element: T) {
        if let Err(place) = self.0.binary_search(&element) {
            Arc::make_mut(&mut self.0).insert(place, element);
        }
    }

    /// Whether the element is there.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.0.binary_search(element).is_ok()
    }

    /// All elements, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The union.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(joined(&self.0, &other.0, T::cmp, |one, _| one.clone()))
    }
}

impl<T: Ord + Clone> FromIterator<T> for Grow<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut grow = Self::default();
        elements.into_iter().for_each(|it| grow.insert(it));
        grow
    }
}

impl<T: Display> Display for Grow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_set(f, self.0.iter())
    }
}

impl<T: Ord + Clone + Hash + Debug + Display + Send + Sync> Semilattice for Grow<T> {
    fn merge(&self, other: &Self) -> Self {
        self.union(other)
    }
}

/// Who wrote a version, and its number among what that replica wrote there: no two versions have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Who wrote it.
    pub by: ReplicaId,
    /// The number, from 1.
    pub number: u8,
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by == ReplicaId::INITIAL {
            return write!(f, "initial#{}", self.number);
        }
        write!(f, "r{}#{}", self.by.0, self.number)
    }
}

/// A version of something: equal contents that were written twice are two versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Versioned<T> {
    /// What was written.
    pub content: T,
    /// Which writing of it this is.
    pub version: Version,
}

impl<T: Display> Display for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.content, self.version)
    }
}

/// A table: all versions that were ever added, and which of them were deleted.
///
/// What was deleted does not come back. What may be written twice is [`Versioned`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rows<T> {
    added: Grow<T>,
    deleted: Grow<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            added: Grow::default(),
            deleted: Grow::default(),
        }
    }
}

impl<T: Ord + Clone> Rows<T> {
    /// Adds a row.
    pub fn insert(&mut self, row: T) {
        self.added.insert(row);
    }

    /// Deletes a row for ever, whether it is there or not.
    pub fn delete(&mut self, row: T) {
        self.deleted.insert(row);
    }

    /// Deletes the rows that are there and for which this is true.
    pub fn delete_if(&mut self, mut doomed: impl FnMut(&T) -> bool) {
        let doomed: Vec<T> = self.live().filter(|row| doomed(row)).cloned().collect();
        doomed.into_iter().for_each(|row| self.delete(row));
    }

    /// The rows that are there, in their order.
    pub fn live(&self) -> impl Iterator<Item = &T> {
        let deleted = &self.deleted;
        self.added.iter().filter(|row| !deleted.contains(row))
    }

    /// All rows that were ever added.
    pub fn added(&self) -> std::slice::Iter<'_, T> {
        self.added.iter()
    }

    /// Both parts merged.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            added: self.added.union(&other.added),
            deleted: self.deleted.union(&other.deleted),
        }
    }
}

impl<T: Ord + Clone> Rows<Versioned<T>> {
    /// Adds a new version, the next of this writer.
    ///
    /// # Panics
    ///
    /// If the writer has added 255 versions.
    pub fn write(&mut self, content: T, by: ReplicaId) -> Version {
        let written = self.added().filter(|row| row.version.by == by).count();
        let number = u8::try_from(written + 1).expect("a replica writes at most 255 versions");
        let version = Version { by, number };
        self.insert(Versioned { content, version });
        version
    }

    /// The contents that are there; one that was written twice comes twice.
    pub fn contents(&self) -> impl Iterator<Item = &T> {
        self.live().map(|row| &row.content)
    }
}

impl<T: Ord + Clone + Display> Display for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_set(f, self.live())
    }
}

impl<T: Ord + Clone + Hash + Debug + Display + Send + Sync> Semilattice for Rows<T> {
    fn merge(&self, other: &Self) -> Self {
        self.union(other)
    }
}

/// Counters by name: for each name and replica, what was added there and what was taken away.
///
/// The merge takes the greater of both numbers, as a replica's own numbers only grow: so all increments and decrements
/// of all replicas count once (section 5.2 of the paper).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counters<K>(Arc<Vec<Share<K>>>);

/// What one replica has done to one counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Share<K> {
    name: K,
    by: ReplicaId,
    up: u32,
    down: u32,
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone> Counters<K> {
    /// Adds to a counter, or takes away from it.
    pub fn add(&mut self, name: K, by: ReplicaId, amount: i32) {
        let place = self
            .0
            .binary_search_by(|share| (&share.name, share.by).cmp(&(&name, by)));
        let shares = Arc::make_mut(&mut self.0);
        let place = place.unwrap_or_else(|place| {
            let (up, down) = (0, 0);
            shares.insert(place, Share { name, by, up, down });
            place
        });
        let share = &mut shares[place];
        if amount < 0 {
            share.down += amount.unsigned_abs();
        } else {
            share.up += amount.unsigned_abs();
        }
    }

    /// The value of a counter; one that nobody has touched is 0.
    #[must_use]
    pub fn value(&self, name: &K) -> i64 {
        let first = self.0.partition_point(|share| share.name < *name);
        let shares = self.0[first..].iter().take_while(|it| it.name == *name);
        shares.map(Share::total).sum()
    }

    /// The names of the counters that were touched by others than the initial state, each once.
    pub fn touched(&self) -> impl Iterator<Item = &K> {
        let shares = self.0.iter().enumerate();
        let mine = shares.filter(|(_, share)| share.by != ReplicaId::INITIAL);
        let first = mine.filter(|(at, share)| *at == 0 || self.0[at - 1].name != share.name);
        first.map(|(_, share)| &share.name)
    }

    /// Each share merged.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let order =
            |one: &Share<K>, other: &Share<K>| (&one.name, one.by).cmp(&(&other.name, other.by));
        let both = |one: &Share<K>, other: &Share<K>| Share {
            up: one.up.max(other.up),
            down: one.down.max(other.down),
            ..one.clone()
        };
        Self(joined(&self.0, &other.0, order, both))
    }
}

impl<K> Share<K> {
    fn total(&self) -> i64 {
        i64::from(self.up) - i64::from(self.down)
    }
}

impl<K: Ord + Clone + Display> Display for Counters<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&K> = self.0.iter().map(|share| &share.name).collect();
        names.dedup();
        let told = names
            .iter()
            .map(|name| format!("{name} = {}", self.value(name)));
        write_list(f, told)
    }
}

impl<K: Ord + Clone + Hash + Debug + Display + Send + Sync> Semilattice for Counters<K> {
    fn merge(&self, other: &Self) -> Self {
        self.union(other)
    }
}

/// Two states side by side, merged each for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Display, B: Display> Display for Both<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.0, self.1)
    }
}

impl<A: Semilattice, B: Semilattice> Semilattice for Both<A, B> {
    fn merge(&self, other: &Self) -> Self {
        Self(self.0.merge(&other.0), self.1.merge(&other.1))
    }
}

/// Two ordered lists in one; `both` makes one element of two that are equal in the order.
///
/// A list that has everything already is shared, not copied.
fn joined<T: Clone + Eq>(
    one: &Arc<Vec<T>>,
    other: &Arc<Vec<T>>,
    order: impl Fn(&T, &T) -> Ordering,
    both: impl Fn(&T, &T) -> T,
) -> Arc<Vec<T>> {
    if Arc::ptr_eq(one, other) {
        return Arc::clone(one);
    }
    let mut all = Vec::with_capacity(one.len().max(other.len()) + 1);
    let (mut left, mut right) = (0, 0);
    while let (Some(mine), Some(theirs)) = (one.get(left), other.get(right)) {
        let (next, steps) = match order(mine, theirs) {
            Ordering::Less => (mine.clone(), (1, 0)),
            Ordering::Greater => (theirs.clone(), (0, 1)),
            Ordering::Equal => (both(mine, theirs), (1, 1)),
        };
        all.push(next);
        left += steps.0;
        right += steps.1;
    }
    all.extend_from_slice(&one[left..]);
    all.extend_from_slice(&other[right..]);
    let known = [one, other].into_iter().find(|known| ***known == all);
    known.map_or_else(|| Arc::new(all), Arc::clone)
}

fn write_set<T: Display>(
    f: &mut fmt::Formatter<'_>,
    elements: impl Iterator<Item = T>,
) -> fmt::Result {
    f.write_str("{")?;
    write_list(f, elements)?;
    f.write_str("}")
}

fn write_list<T: Display>(
    f: &mut fmt::Formatter<'_>,
    elements: impl Iterator<Item = T>,
) -> fmt::Result {
    for (place, element) in elements.enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{element}")?;
    }
    Ok(())
}
