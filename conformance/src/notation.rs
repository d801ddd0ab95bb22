//! Schedules in textbook notation.
//!
//! `r1(x)` reads, `w1(x)` writes, `d1(x)` deletes, `i1(x)` reads and then writes, `s1(a..c)` scans from `a`
//! up to, not including, `c`. `p1` asks for the vote, `c1` asks for it if need be and commits on YES, `a1`
//! aborts. `x@B` is the item x of site B, and `p1@B` asks at site B only; without `@` the site is A. The
//! number names the transaction and is its age. `L3` for `3` makes it a local transaction: `wL3(x)`.

use std::fmt;

use crate::engine::Key;

/// What an operation does to a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Read(Key),
    Write(Key),
    Delete(Key),
    /// First key, and first key after; none means to the end.
    Scan(Key, Option<Key>),
}

/// What a step asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Run(usize, Operation),
    /// At one site, or at all that the transaction has touched.
    Vote(Option<usize>),
    Commit,
    Abort,
}

/// One step of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) txn: u64,
    pub(crate) local: bool,
    pub(crate) act: Act,
}

/// Reads a whole schedule.
///
/// # Panics
/// If it is not in the notation. The schedules are the kit's own.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for token in text.split_whitespace() {
        let parsed = parse_one(token);
        steps.extend(parsed.unwrap_or_else(|| panic!("`{token}` is not in the notation")));
    }
    steps
}

fn parse_one(token: &str) -> Option<Vec<Step>> {
    let letter = token.chars().next()?;
    let rest = &token[letter.len_utf8()..];
    let (name, argument) = match rest.split_once('(') {
        Some((name, argument)) => (name, Some(argument.strip_suffix(')')?)),
        None => (rest, None),
    };
    let (name, at) = match name.split_once('@') {
        Some((name, site)) => (name, Some(site_number(site)?)),
        None => (name, None),
    };
    let (local, number) = match name.strip_prefix('L') {
        Some(number) => (true, number),
        None => (false, name),
    };
    let txn = number.parse().ok()?;
    let step = |act| Step { txn, local, act };
    let (item, site) = match argument.and_then(|argument| argument.split_once('@')) {
        Some((item, site)) => (Some(item), site_number(site)?),
        None => (argument, 0),
    };
    let key = |text: &str| text.as_bytes().to_vec();
    let run = |operation| step(Act::Run(site, operation));
    Some(match (letter, item) {
        ('r', Some(item)) => vec![run(Operation::Read(key(item)))],
        ('w', Some(item)) => vec![run(Operation::Write(key(item)))],
        ('d', Some(item)) => vec![run(Operation::Delete(key(item)))],
        ('i', Some(item)) => vec![
            run(Operation::Read(key(item))),
            run(Operation::Write(key(item))),
        ],
        ('s', Some(range)) => {
            let (low, high) = range.split_once("..")?;
            let high = (!high.is_empty()).then(|| key(high));
            vec![run(Operation::Scan(key(low), high))]
        }
        ('p', None) => vec![step(Act::Vote(at))],
        ('c', None) => vec![step(Act::Commit)],
        ('a', None) => vec![step(Act::Abort)],
        _ => return None,
    })
}

fn site_number(name: &str) -> Option<usize> {
    ["A", "B"].iter().position(|site| *site == name)
}

/// The letter of a site.
pub(crate) const fn site_letter(site: usize) -> char {
    if site == 0 { 'A' } else { 'B' }
}

impl Operation {
    /// The same operation on a key of its own for each round of a case that plays a schedule repeatedly.
    pub(crate) fn in_round(&self, round: usize) -> Self {
        let own = |key: &Key| [format!("{round:03}.").as_bytes(), key].concat();
        match self {
            Self::Read(key) => Self::Read(own(key)),
            Self::Write(key) => Self::Write(own(key)),
            Self::Delete(key) => Self::Delete(own(key)),
            Self::Scan(low, high) => {
                // An open end stays within the round: `/` is the byte after `.`.
                let end = || format!("{round:03}/").into_bytes();
                Self::Scan(own(low), Some(high.as_ref().map_or_else(end, own)))
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &Key| String::from_utf8_lossy(key).into_owned();
        match self {
            Self::Read(key) => write!(f, "read {}", text(key)),
            Self::Write(key) => write!(f, "write {}", text(key)),
            Self::Delete(key) => write!(f, "delete {}", text(key)),
            Self::Scan(low, high) => {
                let high = high.as_ref().map(text).unwrap_or_default();
                write!(f, "scan {}..{high}", text(low))
            }
        }
    }
}

/// Every order in which the steps of several transactions can mix, each keeping its own order.
pub(crate) fn interleavings(parts: &[&[Step]]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    extend(&mut vec![0; parts.len()], parts, &mut Vec::new(), &mut all);
    all
}

fn extend(at: &mut [usize], parts: &[&[Step]], prefix: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    if at.iter().zip(parts).all(|(at, part)| *at == part.len()) {
        all.push(prefix.clone());
    }
    for part in 0..parts.len() {
        if let Some(step) = parts[part].get(at[part]) {
            prefix.push(step.clone());
            at[part] += 1;
            extend(at, parts, prefix, all);
            at[part] -= 1;
            prefix.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_name_their_site_and_their_kind_of_transaction() {
        let steps = parse("r1(x@B) wL3(y) p1@B c1 s2(a..)");
        let read = Act::Run(1, Operation::Read(b"x".to_vec()));
        assert_eq!(steps[0].act, read);
        assert!(steps[1].local && steps[1].txn == 3 && !steps[0].local);
        assert_eq!(steps[2].act, Act::Vote(Some(1)));
        assert_eq!(steps[3].act, Act::Commit);
        let scan = Act::Run(0, Operation::Scan(b"a".to_vec(), None));
        assert_eq!(steps[4].act, scan);
    }

    #[test]
    fn an_increment_is_a_read_and_a_write() {
        assert_eq!(parse("i1(n)"), parse("r1(n) w1(n)"));
    }

    #[test]
    fn interleavings_are_all_and_keep_each_order() {
        let (one, two) = (parse("r1(x) w1(y) c1"), parse("r2(y) w2(x) c2"));
        let all = interleavings(&[&one, &two]);
        assert_eq!(all.len(), 20);
        for mixed in &all {
            let of = |txn| mixed.iter().filter(move |step| step.txn == txn).cloned();
            assert_eq!(of(1).collect::<Vec<_>>(), one);
            assert_eq!(of(2).collect::<Vec<_>>(), two);
        }
    }

    #[test]
    fn rounds_do_not_meet() {
        let scan = Operation::Scan(b"a".to_vec(), None);
        let expected = Operation::Scan(b"007.a".to_vec(), Some(b"007/".to_vec()));
        assert_eq!(scan.in_round(7), expected);
    }
}
