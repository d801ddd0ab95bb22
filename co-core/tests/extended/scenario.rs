//! Textbook schedules at one site, in the notation of textbooks, and what each rule says about them.
//!
//! A schedule passes when every operation is granted at once and every commit finds its vote cast at once.

use std::collections::BTreeMap;

use co_core::{
    Access, Certification, CommitSeq, Eco, Gco, Gtid, Kind, Outcome, Priority, Reads, SiteTxn,
    Source, Vote,
};

pub(crate) const fn global(number: u64) -> Kind {
    Kind::Global {
        gtid: Gtid(number),
        priority: Priority(number),
    }
}

pub(crate) const fn local(number: u64) -> Kind {
    Kind::Local {
        priority: Priority(number),
    }
}

struct Word {
    verb: char,
    txn: u64,
    item: char,
    /// Whose version a read is expected to get, 0 for the initial one.
    from: Option<u64>,
}

/// `r1(x0)`: verb, transaction, item, version.
fn words(schedule: &str) -> impl Iterator<Item = Word> {
    schedule.split_whitespace().map(|word| {
        let mut letters = word.chars();
        let verb = letters.next().unwrap();
        let txn = letters
            .next()
            .and_then(|letter| letter.to_digit(10))
            .unwrap();
        letters.next();
        let item = letters.next().unwrap_or(' ');
        let from = letters.next().and_then(|letter| letter.to_digit(10));
        Word {
            verb,
            txn: txn.into(),
            item,
            from: from.map(u64::from),
        }
    })
}

fn eco_passes(schedule: &str, globals: &[u64]) -> bool {
    let site = Eco::new();
    let mut txns: BTreeMap<u64, SiteTxn> = BTreeMap::new();
    for word in words(schedule) {
        let kind = if globals.contains(&word.txn) {
            global(word.txn)
        } else {
            local(word.txn)
        };
        let txn = txns.entry(word.txn).or_insert_with(|| site.begin(kind));
        let passes = match word.verb {
            'r' => site.read(txn, &word.item).unwrap().is_granted(),
            'w' => site.write(txn, &word.item).unwrap().is_granted(),
            'i' => site.increment(txn, &word.item).unwrap().is_granted(),
            'a' => {
                site.decided(txn, Outcome::Abort).unwrap();
                true
            }
            _ => {
                let passes = site.request_vote(txn).peek() == Some(Vote::Yes);
                passes && site.decided(txn, Outcome::Commit).is_ok()
            }
        };
        if !passes {
            return false;
        }
    }
    assert!(site.is_empty(), "I7 after {schedule}");
    true
}

fn gco_passes(schedule: &str, certification: Certification, globals: &[u64]) -> bool {
    let site = Gco::new(Reads::Snapshot, certification);
    let mut txns: BTreeMap<u64, SiteTxn> = BTreeMap::new();
    let mut written: Vec<(u64, char)> = Vec::new();
    let mut installed: Vec<(CommitSeq, u64, char)> = Vec::new();
    for word in words(schedule) {
        let kind = if globals.contains(&word.txn) {
            global(word.txn)
        } else {
            local(word.txn)
        };
        let txn = txns.entry(word.txn).or_insert_with(|| site.begin(kind));
        let passes = match word.verb {
            'r' => {
                let Access::Granted(Source::AsOf(number)) = site.read(txn, &word.item).unwrap()
                else {
                    return false;
                };
                let shown = installed
                    .iter()
                    .rfind(|one| one.0 <= number && one.2 == word.item);
                let from = shown.map_or(0, |one| one.1);
                assert_eq!(Some(from), word.from, "{schedule}: a read of T{}", word.txn);
                true
            }
            'w' => {
                written.push((word.txn, word.item));
                site.write(txn, &word.item).unwrap().is_granted()
            }
            _ => {
                let passes = site.request_vote(txn).peek() == Some(Vote::Yes);
                let mine = written.iter().filter(|one| one.0 == word.txn);
                let install = |number| installed.extend(mine.map(|one| (number, one.0, one.1)));
                passes && site.decided_with(txn, Outcome::Commit, install).is_ok()
            }
        };
        if !passes {
            return false;
        }
    }
    assert!(site.is_empty(), "I7 after {schedule}");
    true
}

#[test]
fn eco_passes_the_textbook_schedules_that_are_strict_and_extended_commitment_ordered() {
    for (name, schedule, globals, passes) in [
        ("S1", "r1(x) w2(x) c1 c2", &[1, 2][..], true),
        ("S2, a dirty read", "w1(x) r2(x) c1 c2", &[1, 2], false),
        ("S3", "r1(x) w2(x) c2 c1", &[1, 2], false),
        ("S3, T1 local: not CO", "r1(x) w2(x) c2 c1", &[2], true),
        ("S3, T2 local: not CO", "r1(x) w2(x) c2 c1", &[1], true),
        ("S4", "r1(x) w2(x) w3(y) c3 r1(y) c1 c2", &[1, 2, 3], true),
        ("S5", "r1(x) w2(x) r2(y) w1(y) c1 c2", &[1, 2], false),
        ("S6, a dirty read", "w1(x) r2(x) c2 a1", &[1, 2], false),
        ("S7, a dirty read", "w1(x) r2(x) c2 c1", &[1, 2], false),
        ("S8, a dirty overwrite", "w1(x) w2(x) c1 c2", &[1, 2], false),
        (
            "S9, indirect",
            "r1(a) w3(a) w3(b) c3 r2(b) c2 c1",
            &[1, 2],
            false,
        ),
        (
            "S9, T2 local",
            "r1(a) w3(a) w3(b) c3 r2(b) c2 c1",
            &[1],
            true,
        ),
        ("S10", "r1(a) w3(a) w3(b) c3 r2(b) c1 c2", &[1, 2], true),
        ("S11", "r1(x) r2(x) w1(x) c2 c1", &[1, 2], true),
        (
            "S12, lost update",
            "r1(x) r2(x) w1(x) w2(x) c1 c2",
            &[1, 2],
            false,
        ),
        (
            "S12, all local",
            "r1(x) r2(x) w1(x) w2(x) c1 c2",
            &[],
            false,
        ),
        ("S13", "i1(n) i2(n) c2 c1", &[1, 2], true),
        ("S13 and a reader", "i1(n) i2(n) r3(n) c2 c1 c3", &[], false),
    ] {
        assert_eq!(eco_passes(schedule, globals), passes, "{name}");
    }
}

#[test]
fn gco_passes_more_local_schedules_than_commit_order_does() {
    for (name, schedule, interval, order) in [
        ("M1", "w1(x) r2(x0) c2 c1", true, true),
        ("M2", "w1(x) r2(x0) c1 c2", true, false),
        ("M3", "r1(x0) w2(x) w2(y) c2 r1(y0) c1", true, false),
        (
            "M4, write skew",
            "r1(x0) r2(y0) w1(y) w2(x) c1 c2",
            false,
            false,
        ),
        ("M5", "r1(x0) w1(y) r2(x0) w2(x) c1 c2", true, true),
        ("M6", "r1(x0) w1(y) r2(x0) w2(x) c2 c1", true, false),
        (
            "M7, a read-only anomaly",
            "r1(x0) r1(y0) w1(y) r2(x0) w2(x) c2 r3(x2) r3(y0) c3 c1",
            false,
            false,
        ),
    ] {
        let both = [
            (Certification::Interval, interval),
            (Certification::CommitOrder, order),
        ];
        for (certification, passes) in both {
            let found = gco_passes(schedule, certification, &[]);
            assert_eq!(found, passes, "{name} under {certification:?}");
        }
        // Globals are ordered by their commits under either.
        let globals = gco_passes(schedule, Certification::Interval, &[1, 2, 3]);
        assert_eq!(globals, order, "{name}, all global");
    }
}

/// The price (§3.5 of the theory): a local may be placed before one whose commit was acknowledged before it began.
#[test]
fn a_local_may_be_placed_before_a_decision_that_the_site_has_not_heard_of() {
    for (certification, passes) in [
        (Certification::Interval, Some(Vote::Yes)),
        (Certification::CommitOrder, None),
    ] {
        let site = Gco::new(Reads::Snapshot, certification);
        let doubt = site.begin(global(1));
        assert!(site.write(&doubt, &'x').unwrap().is_granted());
        assert_eq!(site.request_vote(&doubt).peek(), Some(Vote::Yes));
        // Decided and acknowledged elsewhere, not yet heard of here.
        let stale = site.begin(local(2));
        assert!(site.read(&stale, &'x').unwrap().is_granted());
        let vote = site.request_vote(&stale);
        assert_eq!(vote.peek(), passes, "{certification:?}");
        site.decided(&doubt, Outcome::Commit).unwrap();
        let refused = Some(Vote::No(co_core::AbortReason::Overtaken));
        assert_eq!(vote.peek(), passes.or(refused), "{certification:?}");
    }
}

#[test]
fn a_local_may_be_placed_before_one_that_ended_before_it_began() {
    let site = Eco::new();
    let long = site.begin(local(1));
    assert!(site.read(&long, &'q').unwrap().is_granted());
    let early = site.begin(local(2));
    assert!(site.write(&early, &'q').unwrap().is_granted()); // long → early
    assert_eq!(site.request_vote(&early).peek(), Some(Vote::Yes));
    site.decided(&early, Outcome::Commit).unwrap();
    let late = site.begin(local(3));
    assert!(site.read(&late, &'z').unwrap().is_granted());
    assert!(site.write(&long, &'z').unwrap().is_granted()); // late → long → early
    for txn in [late, long] {
        assert_eq!(site.request_vote(&txn).peek(), Some(Vote::Yes));
        site.decided(&txn, Outcome::Commit).unwrap();
    }
    assert!(site.is_empty());
}
