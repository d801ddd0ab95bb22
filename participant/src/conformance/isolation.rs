//! Several transactions at a time: every interleaving of small conflicting programs.

use std::sync::Arc;

use co_core::AbortReason;

use super::script::{self, Happened, Step, Transcript};
use super::{
    Case, Client, Suite, absent, add, assert_reads, commit_alone, found, get, number, put, rows,
    scan,
};
use crate::participant::{Granularity, Participant, Reply};

pub(super) const CASES: &[Case] = &[
    ("undecided writes are invisible", undecided_writes),
    ("increments commute", increments_commute),
    ("updates are not lost", lost_update),
    ("writes do not skew", write_skew),
    ("there are no phantoms", no_phantoms),
    ("what was read is read again", repeatable_reads),
    ("phantoms do not skew", phantom_skew),
    ("a reader sees all of a commit or nothing", fractured_read),
    ("a deletion is a write", deletion_skew),
    ("a sum is read with all its increments", sums),
    ("three in a circle", three_in_a_circle),
    ("a read-only transaction sees one state", read_only_anomaly),
    ("a deadlock costs the youngest", deadlock),
    ("an idle victim is undone", idle_victim),
];

/// Of `all`, which are in order, the first, the last and what lies evenly between, `most` together.
fn spread<T>(all: Vec<T>, most: usize) -> impl Iterator<Item = T> {
    let (count, most) = (all.len(), most.min(all.len()));
    let all = all.into_iter().enumerate();
    // One of every group that the numbers 0..most share out between them.
    let group = move |at: usize| (at * most.saturating_sub(1)) / count.saturating_sub(1).max(1);
    all.filter(move |(at, _)| *at == 0 || group(*at) > group(*at - 1))
        .map(|(_, item)| item)
}

/// Runs every interleaving, or as many as the suite allows, on a fresh site each, and checks what must hold of all of them.
fn explore(
    suite: &Suite<'_>,
    name: &str,
    before: &[&str],
    programs: &[&str],
    check: impl Fn(&Arc<dyn Participant>, &Transcript),
) {
    let programs: Vec<Vec<Step>> = programs.iter().map(|text| script::parse(text)).collect();
    let mut reached = 0;
    for schedule in spread(script::interleavings(&programs), suite.most) {
        suite.run(name, |site| {
            for (nth, prologue) in before.iter().enumerate() {
                let number = 100 + u64::try_from(nth).unwrap_or(0);
                commit_alone(site, number, [put(prologue, "T0")]);
            }
            let transcript = script::run(site, &schedule);
            // Where reads see what is undecided, the victim of a deadlock may take the other with it.
            let cascades = transcript.aborted.iter();
            let mut cascades = cascades.filter(|(_, reason)| *reason == AbortReason::Cascade);
            let fell = site.reads_undecided() && cascades.next().is_some();
            assert!(
                !transcript.committed.is_empty() || fell,
                "{name}: nobody got through:\n{transcript}"
            );
            if transcript.committed.len() == programs.len() {
                reached += 1;
            }
            check(site, &transcript);
        });
    }
    assert!(
        reached > 0,
        "{name}: no interleaving lets all commit, not even the serial ones"
    );
}

fn undecided_writes(suite: &Suite<'_>) {
    suite.run("undecided writes are invisible", |site| {
        commit_alone(site, 1, [put("a", "old")]);
        let writer = Client::begin(site, 2);
        for operation in [put("a", "new"), put("b", "new"), add("n", 1)] {
            assert!(writer.run(operation).is_ok());
        }
        for voted in [false, true] {
            if voted {
                assert!(writer.prepare().yes().is_some());
            }
            let first = if voted { 20 } else { 10 };
            let reads = [
                (get("a"), found("old")),
                (scan("b", "c"), rows(&[])),
                (get("n"), absent()),
            ];
            for (index, (operation, expected)) in (first..).zip(reads) {
                let reader = Client::begin(site, index);
                // It may wait for the writer; what it must not do is see the write, or vote on it.
                if let Some(answer) = reader.start(operation).poll() {
                    if site.reads_undecided() {
                        assert!(answer.is_ok() && answer != Ok(expected), "voted: {voted}");
                        assert_eq!(reader.prepare().cast(), None, "voted: {voted}");
                    } else {
                        assert_eq!(answer, Ok(expected), "voted: {voted}");
                    }
                }
                reader.abort();
            }
        }
        writer.abort();
        assert_reads(site, 3, scan("a", "z"), &rows(&[("a", "old")]));
    });
}

fn increments_commute(suite: &Suite<'_>) {
    suite.run("increments commute", |site| {
        commit_alone(site, 1, [add("n", 1)]);
        if !site.increments_commute() {
            return;
        }
        let [one, two, three] = [2, 3, 4].map(|number| Client::begin(site, number));
        for (client, delta) in [(&one, 10), (&two, 100), (&three, 1000)] {
            assert_eq!(client.run(add("n", delta)), Ok(Reply::Done));
        }
        let ballots = [&one, &two, &three].map(Client::prepare);
        for ballot in &ballots {
            assert!(ballot.yes().is_some(), "increments order nobody");
        }
        assert!(two.conclude(&ballots[1]).is_ok());
        one.abort();
        assert!(three.conclude(&ballots[2]).is_ok());
        assert_reads(site, 5, get("n"), &Reply::Value(Some(number(1101))));
    });
}

/// If both committed, one of them came after the other and saw what it did: `mark` is in its reads.
fn one_saw_the_other(name: &str, transcript: &Transcript, marks: &[&str]) {
    let mut events = transcript.events.iter();
    let seen = events.any(|(_, happened)| {
        matches!(happened, Happened::Saw(what) if marks.iter().any(|mark| what.contains(mark)))
    });
    assert!(
        transcript.committed.len() < 2 || seen,
        "{name}:\n{transcript}"
    );
}

fn lost_update(suite: &Suite<'_>) {
    let programs = ["r1(x) w1(x) p1 c1", "r2(x) w2(x) p2 c2"];
    explore(
        suite,
        "updates are not lost",
        &["x"],
        &programs,
        |site, transcript| {
            one_saw_the_other("updates are not lost", transcript, &["T1", "T2"]);
            let last = transcript.committed.last().copied().unwrap_or_default();
            assert_reads(site, 50, get("x"), &found(&format!("T{last}")));
        },
    );
}

fn write_skew(suite: &Suite<'_>) {
    let programs = ["r1(x) r1(y) w1(x) c1", "r2(x) r2(y) w2(y) c2"];
    explore(
        suite,
        "writes do not skew",
        &["x", "y"],
        &programs,
        |_, transcript| {
            one_saw_the_other("writes do not skew", transcript, &["T1", "T2"]);
        },
    );
}

fn no_phantoms(suite: &Suite<'_>) {
    let programs = ["s1(a..z) s1(a..z) c1", "w2(m) d2(b) c2"];
    explore(
        suite,
        "there are no phantoms",
        &["b"],
        &programs,
        |_, transcript| {
            if transcript.committed.contains(&1) {
                let scans = transcript.events.iter().filter_map(|(_, happened)| {
                    let Happened::Saw(rows) = happened else {
                        return None;
                    };
                    Some(rows)
                });
                let scans: Vec<_> = scans.collect();
                assert_eq!(scans.len(), 2);
                assert_eq!(scans[0], scans[1], "{transcript}");
            }
        },
    );
}

/// Also of a transaction that will not commit: it is aborted rather than told two stories.
fn repeatable_reads(suite: &Suite<'_>) {
    let name = "what was read is read again";
    let readers = [
        "r1(x) r1(x) s1(x..y) c1",
        "s1(x..y) r1(x) c1",
        "s1(x..y) s1(w..z) c1",
    ];
    for reader in readers {
        let programs = [reader, "w2(x) c2"];
        explore(suite, name, &["x"], &programs, |_, transcript| {
            let sights = transcript.events.iter().filter_map(|(_, happened)| {
                let Happened::Saw(what) = happened else {
                    return None;
                };
                Some(what.contains("T2"))
            });
            let sights: Vec<bool> = sights.collect();
            let same = sights.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(same, "{name}:\n{transcript}");
        });
    }
}

fn phantom_skew(suite: &Suite<'_>) {
    let programs = ["s1(a..m) w1(p) p1 c1", "s2(n..z) w2(b) p2 c2"];
    explore(
        suite,
        "phantoms do not skew",
        &[],
        &programs,
        |_, transcript| {
            one_saw_the_other("phantoms do not skew", transcript, &["T1", "T2"]);
        },
    );
}

fn fractured_read(suite: &Suite<'_>) {
    let programs = ["r1(x) r1(y) c1", "w2(x) w2(y) c2"];
    let name = "a reader sees all of a commit or nothing";
    explore(suite, name, &["x", "y"], &programs, |_, transcript| {
        if transcript.committed.contains(&1) {
            let saw = |step: &str| {
                let mut events = transcript.events.iter();
                let event = events
                    .find(|(text, happened)| text == step && matches!(happened, Happened::Saw(_)));
                event.map(|(_, happened)| happened.clone())
            };
            assert_eq!(saw("r1(x)"), saw("r1(y)"), "{transcript}");
        }
    });
}

fn deletion_skew(suite: &Suite<'_>) {
    let programs = ["r1(x) d1(y) c1", "r2(y) d2(x) c2"];
    explore(
        suite,
        "a deletion is a write",
        &["x", "y"],
        &programs,
        |_, transcript| {
            one_saw_the_other("a deletion is a write", transcript, &["nothing"]);
        },
    );
}

fn sums(suite: &Suite<'_>) {
    let programs = ["i1(n) c1", "r2(n) w2(x) c2", "i3(n) r3(x) c3"];
    explore(
        suite,
        "a sum is read with all its increments",
        &["x"],
        &programs,
        |site, transcript| {
            let increments = transcript.committed.iter().filter(|txn| **txn != 2).count();
            let sum = i64::try_from(increments).unwrap_or_default();
            let expected = (sum > 0).then(|| number(sum));
            assert_reads(site, 50, get("n"), &Reply::Value(expected));
        },
    );
}

fn three_in_a_circle(suite: &Suite<'_>) {
    let programs = ["r1(x) w1(y) c1", "r2(y) w2(z) c2", "r3(z) w3(x) c3"];
    explore(
        suite,
        "three in a circle",
        &["x", "y", "z"],
        &programs,
        |_, _| {},
    );
}

fn read_only_anomaly(suite: &Suite<'_>) {
    let programs = ["r1(x) r1(y) w1(y) c1", "r2(x) w2(x) c2", "r3(x) r3(y) c3"];
    let name = "a read-only transaction sees one state";
    explore(suite, name, &["x", "y"], &programs, |_, _| {});
}

fn deadlock(suite: &Suite<'_>) {
    suite.run("a deadlock costs the youngest", |site| {
        let schedule = script::parse("w1(a) w2(b) w1(b) w2(a) c1 c2");
        let transcript = script::run(site, &schedule);
        assert!(transcript.committed.contains(&1), "{transcript}");
        for (txn, reason) in &transcript.aborted {
            assert_eq!((*txn, *reason), (2, AbortReason::Cycle), "{transcript}");
        }
        let last = transcript.committed.last().copied().unwrap_or_default();
        let both = format!("T{last}");
        assert_reads(
            site,
            50,
            scan("a", "c"),
            &rows(&[("a", &both), ("b", &both)]),
        );
    });
}

fn idle_victim(suite: &Suite<'_>) {
    // The client of 2 does nothing after its writes; 1 has to get through all the same.
    for schedule in ["r1(y) w2(y) w2(b) w1(b) c1", "w2(b) r1(y) w2(y) w1(b) c1"] {
        suite.run("an idle victim is undone", |site| {
            if site.granularity() != Granularity::Key {
                // The older one waits already where it only reads, and for its time: there is no circle.
                return;
            }
            let transcript = script::run(site, &script::parse(schedule));
            assert_eq!(transcript.committed, [1], "{transcript}");
            assert_reads(site, 50, get("b"), &found("T1"));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_bounded_list_keeps_its_ends_and_what_lies_evenly_between() {
        let of =
            |count: usize, most| -> Vec<usize> { spread((0..count).collect(), most).collect() };
        assert_eq!(of(10, usize::MAX), (0..10).collect::<Vec<_>>());
        assert_eq!(of(10, 4), [0, 3, 6, 9]);
        assert_eq!(of(70, 2), [0, 69]);
        assert_eq!(of(4200, 20).len(), 20);
        assert_eq!(of(1, 5), [0]);
        assert_eq!(of(0, 5), [0; 0]);
    }
}
