//! Rows near the bound of a check: by how much one execution moves the sum of a row, and which counts make the sums from
//! which the bound is just reached.
//!
//! - **I1** Increments and decrements add to the sum whatever it is, so that of the counts of a row only their sum matters
//!   (conditions are on plain columns, and a copied counter is an error): each sum is made once.
//! - **I2** If a row can be moved towards the bound, some valid row can be moved so once, and not twice. Where there is no
//!   such row, the check is not recognised.

use std::collections::BTreeSet;

use super::database::GREATEST_COUNT;
use super::schema::{Comparison, Linear};

/// The most sums by which one execution of some type moves a row.
const MOST_MOVES: usize = 64;
/// The most ways that are tried to make a sum out of counts.
const MOST_WAYS: i64 = 10_000;

/// A check with what moves it.
pub(super) struct Bound<'a> {
    pub(super) linear: &'a Linear,
    /// The columns of the sum that are counters, with their factors; never empty.
    pub(super) counters: Vec<(u8, i64)>,
    /// By how much one execution can move the sum of a row by its counters.
    pub(super) moves: BTreeSet<i64>,
    /// The sums that the plain columns of a row can have.
    pub(super) plain: BTreeSet<i64>,
}

/// What one execution adds to a row: nothing, or the sum of some of its operations, each of which adds one of these.
pub(super) fn sums_of(operations: &[BTreeSet<i64>]) -> Result<BTreeSet<i64>, String> {
    let mut all = BTreeSet::from([0]);
    for amounts in operations {
        let with = all
            .iter()
            .flat_map(|sum| amounts.iter().map(move |it| sum + it));
        let with: Vec<i64> = with.collect();
        all.extend(with);
        if all.len() > MOST_MOVES {
            return Err("it is moved by too many different amounts".to_owned());
        }
    }
    Ok(all)
}

impl Bound<'_> {
    /// The counts, in the order of `counters`, with which a row whose plain columns make this sum is near the bound.
    ///
    /// # Errors
    ///
    /// If they are out of reach.
    pub(super) fn counts(&self, plain: i64) -> Result<Vec<Vec<i64>>, String> {
        let targets = self.targets(plain).into_iter();
        let mut all = BTreeSet::from([vec![0; self.counters.len()]]);
        for target in targets {
            all.insert(self.solve(target)?);
        }
        Ok(all.into_iter().collect())
    }

    /// Sums of counts that can be made, from which an execution reaches the bound.
    fn targets(&self, plain: i64) -> BTreeSet<i64> {
        let unit = self.unit();
        let bound = self.linear.bound - plain;
        let up = |sum: i64| sum.div_euclid(unit) * unit + if sum % unit == 0 { 0 } else { unit };
        let down = |sum: i64| sum.div_euclid(unit) * unit;
        let swings = self.plain.iter().map(|other| other - plain);
        let swings: BTreeSet<i64> = swings.chain([0]).collect();
        let moves = self.moves.iter().chain([&0]);
        let steps = moves.flat_map(|it| swings.iter().map(move |swing| (it + swing).abs()));
        let steps: BTreeSet<i64> = steps.collect();
        let ahead = steps.iter().flat_map(|it| [*it, 2 * it]);
        match self.linear.comparison {
            Comparison::AtLeast => ahead.map(|it| up(bound + it)).collect(),
            Comparison::Above => ahead.map(|it| up(bound + 1 + it)).collect(),
            Comparison::AtMost => ahead.map(|it| down(bound - it)).collect(),
            Comparison::Below => ahead.map(|it| down(bound - 1 - it)).collect(),
            Comparison::Equal => BTreeSet::from([down(bound)]),
            Comparison::NotEqual => {
                let both = steps.iter().flat_map(|it| [*it, -*it]);
                let both: BTreeSet<i64> = both.collect();
                let sums = both
                    .iter()
                    .flat_map(|one| both.iter().map(move |it| one + it));
                sums.flat_map(|it| [down(bound + it), up(bound + it)])
                    .collect()
            }
        }
    }

    /// What all sums of counts are multiples of, the least one but 0.
    fn unit(&self) -> i64 {
        let factors = self.counters.iter().map(|it| it.1.abs());
        factors.reduce(divisor).unwrap_or(1)
    }

    /// Counts that make a multiple of the unit: small ones, but for that with the smallest factor.
    fn solve(&self, target: i64) -> Result<Vec<i64>, String> {
        let smallest = (0..self.counters.len()).min_by_key(|it| self.counters[*it].1.abs());
        let last = smallest.unwrap_or(0);
        let factor = self.counters[last].1;
        let digits = factor.abs() / self.unit();
        for way in 0..MOST_WAYS {
            let mut rest = way;
            let mut left = target;
            let mut counts = vec![0; self.counters.len()];
            for place in (0..counts.len()).filter(|it| *it != last) {
                counts[place] = rest % digits;
                rest /= digits;
                left -= counts[place] * self.counters[place].1;
            }
            if left % factor == 0 && (left / factor).abs() <= GREATEST_COUNT {
                counts[last] = left / factor;
                return Ok(counts);
            }
            if rest > 0 {
                break;
            }
        }
        Err("its bound is too far away to be counted to".to_owned())
    }

    /// Asks for a row that each move that leads towards the bound can move once and not twice (I2), among rows with these
    /// sums.
    pub(super) fn is_reached(&self, sums: &BTreeSet<i64>) -> Result<(), String> {
        let holds = |sum: i64| self.linear.comparison.holds(sum, self.linear.bound);
        let towards = |it: &&i64| match self.linear.comparison {
            Comparison::AtLeast | Comparison::Above => **it < 0,
            Comparison::AtMost | Comparison::Below => **it > 0,
            Comparison::NotEqual => **it != 0,
            Comparison::Equal => false,
        };
        let reaches = |step: i64| {
            let mut valid = sums.iter().filter(|it| holds(**it));
            valid.any(|sum| holds(sum + step) && !holds(sum + 2 * step))
        };
        let is_reached = match self.linear.comparison {
            Comparison::Equal => sums.contains(&self.linear.bound),
            Comparison::AtLeast
            | Comparison::Above
            | Comparison::AtMost
            | Comparison::Below
            | Comparison::NotEqual => self.moves.iter().filter(towards).all(|it| reaches(*it)),
        };
        if is_reached {
            Ok(())
        } else {
            Err("no row of the model is near its bound".to_owned())
        }
    }
}

fn divisor(one: i64, other: i64) -> i64 {
    if other == 0 {
        one
    } else {
        divisor(other, one % other)
    }
}
