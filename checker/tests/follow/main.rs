//! Following is compared with judging the whole: on random histories, valid and bent, fed in every order.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise"
)]

mod bounds;
mod files;
#[path = "../oracle/plan.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod plan;
mod random;
#[path = "../oracle/replay.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod replay;

use checker::follow::{Follower, Options, Verdict};
use checker::parse::read_history;
use checker::{Case, Level, SiteHistory};
use plan::{bends, plan};
use proptest::prelude::*;
use proptest::test_runner::Config;
use random::{History, Numbers, shuffled};

const LEVELS: [Level; 3] = [
    Level::Serializability,
    Level::CommitmentOrdering,
    Level::ExtendedCommitmentOrdering,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Valid,
    Invalid,
    Unknown,
}

fn whole(sites: &[SiteHistory]) -> [Word; 3] {
    let case = Case::new(sites);
    LEVELS.map(|level| match case.judge(level).verdict {
        checker::Verdict::Valid { .. } => Word::Valid,
        checker::Verdict::Invalid { .. } => Word::Invalid,
        checker::Verdict::Unknown { .. } => Word::Unknown,
    })
}

fn word(verdict: &Verdict) -> Word {
    match verdict {
        Verdict::Valid => Word::Valid,
        Verdict::Invalid { .. } => Word::Invalid,
        Verdict::Unknown { .. } => Word::Unknown,
    }
}

/// Feeds the lines of the sites in turns that the numbers choose, and asks in between: what is invalid stays so.
fn follow(texts: &[String], numbers: &mut Numbers, options: Options) -> [Verdict; 3] {
    let names: Vec<String> = (0..texts.len()).map(|site| format!("f{site}")).collect();
    let mut follower = Follower::with_options(&names, options);
    let mut lines: Vec<_> = texts.iter().map(|text| text.lines()).collect();
    let mut invalid = [false; 3];
    let mut left: usize = texts.iter().map(|text| text.lines().count()).sum();
    while left > 0 {
        let site = numbers.below(texts.len() as u64) as usize;
        let Some(line) = lines[site].next() else {
            continue;
        };
        follower.feed(site, line.as_bytes()).unwrap();
        left -= 1;
        if numbers.below(8) == 0 {
            for (level, invalid) in LEVELS.into_iter().zip(&mut invalid) {
                let verdict = follower.verdict(level);
                assert!(!*invalid || word(&verdict) == Word::Invalid, "{verdict:?}");
                *invalid = word(&verdict) == Word::Invalid;
                assert!(!follower.is_violated(level) || *invalid);
                assert!(word(&verdict) != Word::Valid || follower.is_ended());
            }
        }
    }
    (0..texts.len()).for_each(|site| follower.close(site, b""));
    let verdicts = LEVELS.map(|level| follower.verdict(level));
    for (invalid, verdict) in invalid.into_iter().zip(&verdicts) {
        assert!(!invalid || word(verdict) == Word::Invalid, "{verdict:?}");
    }
    verdicts
}

fn parsed(texts: &[String]) -> Vec<SiteHistory> {
    let parse = |(place, text): (usize, &String)| {
        read_history(text.as_bytes(), &format!("f{place}")).unwrap()
    };
    texts.iter().enumerate().map(parse).collect()
}

/// Compares on one history: with much memory the verdicts are the same, and with little, the same or unknown.
fn check(texts: &[String], numbers: &mut Numbers, stamped: bool) -> [Word; 3] {
    let texts = shuffled(texts, numbers);
    let expected = whole(&parsed(&texts));
    let verdicts = follow(&texts, numbers, Options::default());
    for (expected, verdict) in expected.iter().zip(&verdicts) {
        let same = word(verdict) == *expected;
        let unknown = !stamped && word(verdict) == Word::Unknown;
        assert!(
            same || unknown,
            "{expected:?}, but {verdict:?}\n{}",
            texts.concat()
        );
    }
    let little = Options {
        window: numbers.below(4),
        globals: 1 + numbers.below(3) as usize,
        recent_bytes: 64,
        max_entries: usize::MAX,
    };
    for (expected, verdict) in expected.iter().zip(follow(&texts, numbers, little)) {
        let word = word(&verdict);
        assert!(
            word == *expected || word == Word::Unknown,
            "{little:?}: {expected:?}, but {verdict:?}\n{}",
            texts.concat()
        );
    }
    expected
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(3000), ..Config::default() })]

    #[test]
    fn small_histories_are_judged_as_a_whole(plan in plan(), bends in bends(), seed in any::<u64>()) {
        let texts = |sites: Vec<SiteHistory>| sites.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut numbers = Numbers(seed);
        let valid = check(&texts(plan.execute()), &mut numbers, true);
        prop_assert_eq!(valid, [Word::Valid; 3]);
        check(&texts(plan.execute_bent(&bends)), &mut numbers, true);
    }
}

#[test]
fn longer_histories_are_judged_as_a_whole_and_are_of_every_sort() {
    let mut counts = [[0; 3]; 3];
    for seed in 0..4000 {
        let mut numbers = Numbers(seed);
        let history = History::random(&mut numbers);
        let words = check(&history.texts(), &mut numbers, history.stamped);
        for (counts, word) in counts.iter_mut().zip(words) {
            counts[word as usize] += 1;
        }
    }
    eprintln!(
        "valid, invalid, unknown; serializability, commitment ordering and the extended form: {counts:?}"
    );
    assert!(
        counts.iter().flatten().all(|&count| count > 200),
        "{counts:?}"
    );
}

/// What follows the first fault is not compared: a history with a fault is not judged.
#[test]
fn damaged_lines_are_refused_as_when_the_file_is_read_whole() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..20_000 {
        let mut numbers = Numbers(seed);
        let text = History::random(&mut numbers).texts().swap_remove(0);
        let mut bytes = text.into_bytes();
        for _ in 0..=numbers.below(2) {
            let place = numbers.below(bytes.len() as u64) as usize;
            let junk = b" -@:%.[]#,0aGLrwx9\n\xff";
            match numbers.below(3) {
                0 => drop(bytes.remove(place)),
                1 => bytes.insert(place, junk[numbers.below(junk.len() as u64) as usize]),
                _ => bytes[place] = junk[numbers.below(junk.len() as u64) as usize],
            }
        }
        if bytes.last() != Some(&b'\n') {
            continue;
        }
        let whole = read_history(&bytes[..], "f").map(drop);
        let mut follower = Follower::new(&["f"]);
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let fed = lines.try_for_each(|line| follower.feed(0, &line[..line.len() - 1]));
        match (&whole, &fed) {
            (Ok(()), Ok(())) => taken += 1,
            (Err(whole), Err(fed)) => {
                refused += 1;
                assert_eq!(whole.to_string(), fed.to_string());
            }
            _ => panic!(
                "{whole:?}, but {fed:?}\n{}",
                String::from_utf8_lossy(&bytes)
            ),
        }
    }
    assert!(refused > 2000 && taken > 2000, "{refused}, {taken}");
}

#[test]
fn an_increment_that_comes_after_a_reader_of_the_sum_is_compared_with_it() {
    let mut follower = Follower::new(&["f"]);
    let lines = "co-history 1 A\nc L1 1 2 i:x\nc L2 5 - r:x@2\nc L3 7 1 i:x\nend 3";
    for line in lines.lines() {
        follower.feed(0, line.as_bytes()).unwrap();
    }
    let verdict = follower.verdict(Level::CommitmentOrdering);
    assert_eq!(word(&verdict), Word::Invalid, "{verdict:?}");
    assert_eq!(follower.verdict(Level::Serializability), Verdict::Valid);
}
