//! Votes, decisions, and what stands between the two.

use co_core::{AbortReason, Gtid, Priority, Stamp};

use super::{
    Ballots, Case, Client, Suite, absent, add, assert_reads, blocked, commit_alone, delete, found,
    get, key, put, rows, scan, value,
};
use crate::error::OperationError;
use crate::participant::{
    Ballot, Blocked, Change, Decision, Dependencies, Granularity, Operation, Prepared, Reply,
};

pub(super) const CASES: &[Case] = &[
    ("a voted reader orders later writers", voted_reader),
    ("a voted scan orders later inserts", voted_scan),
    ("a voted writer orders later readers", voted_writer),
    ("a voted write orders later writes", voted_write_write),
    (
        "nothing ends a voted transaction but its decision",
        voted_stays,
    ),
    (
        "a decision moves the clock of votes",
        decisions_move_the_clock,
    ),
    ("a withheld vote can be aborted", withheld_abort),
    ("a waiting operation can be aborted", waiting_abort),
    ("who waits is told by name", blocked_reports),
    ("an aborted transaction keeps its reason", tombstones),
    ("a vote names whom it depends on", named_dependencies),
    (
        "a vote waits for those that are silent",
        silent_predecessors,
    ),
    ("an abort takes along who has read, voted or not", cascades),
    ("a dependent vote is recovered", recovered_dependents),
];

fn gtids(numbers: &[u64]) -> std::collections::BTreeSet<Gtid> {
    numbers.iter().map(|number| Gtid(*number)).collect()
}

/// What a YES says that it depends on.
fn depends(ballots: &Ballots) -> Dependencies {
    match ballots.cast() {
        Some(Ballot::Yes { depends, .. }) => depends,
        cast => panic!("no YES: {cast:?}"),
    }
}

fn named_dependencies(suite: &Suite<'_>) {
    suite.run("a vote names whom it depends on", |site| {
        commit_alone(site, 1, [put("x", "old"), put("y", "old")]);
        let [two, three, four] = [2, 3, 4].map(|number| Client::begin(site, number));
        assert!(two.run(put("x", "2")).is_ok() && two.run(get("y")).is_ok());
        if !site.reads_undecided() {
            // Asked for such a vote, others give the ordinary one.
            let ballots = two.prepare_dependent();
            assert!(depends(&ballots).is_empty());
            assert!(two.conclude(&ballots).is_ok());
            three.abort();
            four.abort();
            return;
        }
        assert_eq!(three.run(get("x")), Ok(found("2")));
        assert!(three.run(put("y", "3")).is_ok());
        assert!(four.run(put("x", "4")).is_ok() && four.run(scan("y", "z")).is_ok());
        let all = [&two, &three, &four].map(Client::prepare_dependent);
        let expected: [(&[u64], &[u64]); 3] = [(&[], &[]), (&[], &[2]), (&[2], &[3])];
        for (ballots, (after, if_committed)) in all.iter().zip(expected) {
            let (after, if_committed) = (gtids(after), gtids(if_committed));
            let expected = Dependencies {
                after,
                if_committed,
            };
            assert_eq!(depends(ballots), expected);
        }
        assert!(blocked(site).is_empty(), "who has voted does not wait");
        let prepared = site.prepared(four.name()).unwrap_or_default();
        assert_eq!(prepared.changes.len(), 1);
        for (number, client) in (10..).zip([&two, &three, &four]) {
            assert_eq!(client.decide(Decision::Commit(Stamp(number))), Ok(()));
        }
        assert_reads(site, 9, scan("x", "z"), &rows(&[("x", "4"), ("y", "3")]));
    });
}

fn silent_predecessors(suite: &Suite<'_>) {
    suite.run("a vote waits for those that are silent", |site| {
        let [one, two, three] = [1, 2, 3].map(|number| Client::begin(site, number));
        if !site.reads_undecided() {
            [&one, &two, &three].into_iter().for_each(Client::abort);
            return;
        }
        for client in [&one, &two, &three] {
            assert!(client.run(put("x", "new")).is_ok());
        }
        // The last asks first, and an ordinary vote waits for decisions.
        let third = three.prepare_dependent();
        let second = two.prepare_dependent();
        let plain = Client::begin(site, 4);
        assert!(plain.run(put("x", "plain")).is_ok());
        let fourth = plain.prepare();
        assert_eq!((third.cast(), second.cast()), (None, None));
        let first = one.prepare();
        assert!(first.yes().is_some());
        assert_eq!(depends(&second).after, gtids(&[1]));
        assert_eq!(depends(&third).after, gtids(&[1, 2]));
        assert_eq!(fourth.cast(), None);
        two.abort();
        assert!(one.conclude(&first).is_ok());
        assert_eq!(three.decide(Decision::Commit(Stamp(50))), Ok(()));
        assert!(depends(&fourth).is_empty());
        assert!(plain.conclude(&fourth).is_ok_and(|stamp| stamp > Stamp(50)));
    });
}

fn cascades(suite: &Suite<'_>) {
    let name = "an abort takes along who has read, voted or not";
    suite.run(name, |site| {
        commit_alone(site, 1, [put("x", "old")]);
        let [two, three, four, five] = [2, 3, 4, 5].map(|number| Client::begin(site, number));
        assert!(two.run(put("x", "2")).is_ok());
        if !site.reads_undecided() {
            [&two, &three, &four, &five]
                .into_iter()
                .for_each(Client::abort);
            return;
        }
        assert_eq!(three.run(get("x")), Ok(found("2")));
        assert!(three.run(put("y", "3")).is_ok());
        assert_eq!(four.run(get("y")), Ok(found("3")));
        assert!(five.run(put("x", "5")).is_ok());
        let ballots = [&two, &three, &five].map(Client::prepare_dependent);
        assert!(ballots.iter().all(|ballots| ballots.yes().is_some()));
        two.abort();
        assert_eq!(site.prepared(three.name()), None, "it is undone at once");
        let fell = Err(OperationError::Aborted(AbortReason::Cascade));
        assert_eq!(four.run(get("z")), fell);
        assert_eq!(site.in_flight(), 1, "and who has only overwritten stays");
        for client in [&three, &four] {
            client.abort();
        }
        assert_eq!(five.decide(Decision::Commit(Stamp(50))), Ok(()));
        assert_reads(site, 9, scan("x", "z"), &rows(&[("x", "5")]));
    });
}

/// Two in doubt on one key, and a third that falls with the second.
fn recovered_dependents(suite: &Suite<'_>) {
    suite.run("a dependent vote is recovered", |site| {
        if !site.reads_undecided() {
            return;
        }
        site.restore(Stamp(3), vec![Change::Put(key("x"), value("old"))]);
        let write = |text: &str| Prepared {
            changes: vec![Change::Put(key("x"), value(text))],
            ..Prepared::default()
        };
        let reader = Prepared {
            changes: vec![Change::Put(key("y"), value("read"))],
            reads: vec![key("x")],
            ..Prepared::default()
        };
        let after = |number, read| Dependencies {
            after: if read { gtids(&[]) } else { gtids(&[number]) },
            if_committed: if read { gtids(&[number]) } else { gtids(&[]) },
        };
        let recover = |number, prepared, depends: &Dependencies| {
            let priority = Priority(number);
            site.recover_dependent(Gtid(number), priority, Stamp(number), prepared, depends);
            Client::of(site, crate::TxnName::Global(Gtid(number)))
        };
        let first = recover(10, write("first"), &Dependencies::default());
        let second = recover(11, write("second"), &after(10, false));
        let third = recover(12, reader, &after(11, true));
        let later = Client::begin(site, 13);
        assert_eq!(later.run(get("x")), Ok(found("second")));
        let ballots = later.prepare_dependent();
        assert_eq!(depends(&ballots).if_committed, gtids(&[11]));
        assert_eq!(first.decide(Decision::Commit(Stamp(20))), Ok(()));
        second.abort();
        assert_eq!(site.in_flight(), 0, "both readers fall with it");
        third.abort();
        later.abort();
        assert_reads(site, 14, scan("x", "z"), &rows(&[("x", "first")]));
    });
}

/// A later transaction does `operation` and asks for its vote: it must get no YES before `earlier`, which
/// has voted, is decided. `commits` says whether it must get one afterwards.
struct Later {
    earlier: fn() -> Operation,
    later: fn() -> Operation,
}

impl Later {
    /// The two in all ways: the earlier commits or aborts.
    fn check(&self, suite: &Suite<'_>, name: &str, after: impl Fn(bool, Result<(), AbortReason>)) {
        for commits in [true, false] {
            suite.run(name, |site| {
                commit_alone(site, 1, [put("x", "old")]);
                let earlier = Client::begin(site, 2);
                assert!(earlier.run((self.earlier)()).is_ok());
                let ballot = earlier.prepare();
                let stamp = ballot.yes().expect("nothing precedes it");

                let later = Client::begin(site, 3);
                let mut running = later.start((self.later)());
                let mut answer = running.poll();
                let mut ballots = answer.as_ref().map(|_| later.prepare());
                let yes = ballots.as_ref().and_then(|ballots| ballots.yes());
                assert_eq!(yes, None, "{name}: a YES before the earlier one is decided");

                if commits {
                    assert!(earlier.conclude(&ballot).is_ok());
                } else {
                    earlier.abort();
                }
                if answer.is_none() {
                    answer = running.poll();
                    assert!(answer.is_some(), "{name}: P3, it may go on");
                    ballots = Some(later.prepare());
                }
                let ballots = ballots.expect("it was asked for its vote");
                let outcome = later.conclude(&ballots);
                if let (true, Ok(later)) = (commits, outcome) {
                    assert!(stamp < later, "{name}: I6, stamps grow along the order");
                }
                after(commits, outcome.map(drop));
            });
        }
    }
}

fn voted_reader(suite: &Suite<'_>) {
    for later in [|| put("x", "new"), || delete("x")] {
        let pair = Later {
            earlier: || get("x"),
            later,
        };
        pair.check(
            suite,
            "a voted reader orders later writers",
            |_, outcome| {
                assert_eq!(outcome, Ok(()), "it was delayed, not more");
            },
        );
    }
    let sum = Later {
        earlier: || get("n"),
        later: || add("n", 1),
    };
    sum.check(
        suite,
        "a voted reader orders later increments",
        |_, outcome| {
            assert_eq!(outcome, Ok(()));
        },
    );
}

fn voted_scan(suite: &Suite<'_>) {
    for later in [|| put("y", "new"), || delete("x"), || add("n", 1)] {
        let pair = Later {
            earlier: || scan("a", "z"),
            later,
        };
        pair.check(suite, "a voted scan orders later inserts", |_, outcome| {
            assert_eq!(outcome, Ok(()), "it was delayed, not more");
        });
    }
}

fn voted_writer(suite: &Suite<'_>) {
    let pairs = [
        Later {
            earlier: || put("x", "new"),
            later: || get("x"),
        },
        Later {
            earlier: || put("y", "new"),
            later: || scan("a", "z"),
        },
        Later {
            earlier: || add("n", 1),
            later: || get("n"),
        },
    ];
    for pair in pairs {
        pair.check(
            suite,
            "a voted writer orders later readers",
            |commits, outcome| {
                // It may have read the version before, and is then overtaken by the commit; or the new one, and
                // falls with the abort.
                let fell = outcome == Err(AbortReason::Cascade);
                assert!(
                    commits || outcome.is_ok() || fell,
                    "the writer aborted: {outcome:?}"
                );
            },
        );
    }
}

fn voted_write_write(suite: &Suite<'_>) {
    let pairs = [
        Later {
            earlier: || put("x", "first"),
            later: || put("x", "second"),
        },
        Later {
            earlier: || add("n", 1),
            later: || delete("n"),
        },
        Later {
            earlier: || delete("n"),
            later: || add("n", 1),
        },
    ];
    for pair in pairs {
        let name = "a voted write orders later writes";
        pair.check(suite, name, |commits, outcome| {
            // Who adds to what is undecided depends on it.
            let adds = matches!((pair.later)(), Operation::Increment(..));
            let fell = adds && !commits && outcome == Err(AbortReason::Cascade);
            assert!(outcome == Ok(()) || fell, "it was delayed: {outcome:?}");
        });
    }
}

fn voted_stays(suite: &Suite<'_>) {
    suite.run(
        "nothing ends a voted transaction but its decision",
        |site| {
            commit_alone(site, 10, [put("x", "old"), put("y", "old")]);
            let voted = Client::begin(site, 50);
            for operation in [get("x"), put("y", "voted"), scan("p", "q")] {
                assert!(voted.run(operation).is_ok());
            }
            let ballots = voted.prepare();
            assert!(ballots.yes().is_some());
            // Older ones come at it from all sides, wait, vote, and give up.
            for (number, first, second) in [
                (1, get("y"), put("x", "1")),
                (2, put("x", "2"), get("y")),
                (3, put("pp", "3"), scan("a", "z")),
                (4, put("y", "4"), put("x", "4")),
            ] {
                let client = Client::begin(site, number);
                for operation in [first, second] {
                    if client.start(operation).poll().is_none() {
                        break;
                    }
                }
                assert_eq!(client.prepare().yes(), None, "transaction {number}");
                client.abort();
            }
            let prepared = site.prepared(voted.name());
            assert!(prepared.is_some_and(|prepared| prepared.changes.len() == 1));
            assert_eq!(voted.conclude(&ballots).map(drop), Ok(()));
            assert_reads(site, 60, get("y"), &found("voted"));
        },
    );
}

fn decisions_move_the_clock(suite: &Suite<'_>) {
    suite.run("a decision moves the clock of votes", |site| {
        let far = Client::begin(site, 1);
        assert!(far.run(put("x", "far")).is_ok());
        assert!(far.prepare().yes().is_some());
        // Another site's clock was ahead.
        let stamp = Stamp(1000);
        assert_eq!(far.decide(Decision::Commit(stamp)), Ok(()));
        let next = Client::begin(site, 2);
        assert_eq!(next.run(get("x")), Ok(found("far")));
        assert!(next.commit() > stamp, "I6");
    });
}

fn withheld_abort(suite: &Suite<'_>) {
    suite.run("a withheld vote can be aborted", |site| {
        let earlier = Client::begin(site, 1);
        assert!(earlier.run(get("x")).is_ok());
        let first = earlier.prepare();
        let later = Client::begin(site, 2);
        let mut running = later.start(put("x", "later"));
        if running.poll().is_some() {
            let ballots = later.prepare();
            assert_eq!(ballots.cast(), None);
            later.abort();
            assert_eq!(ballots.cast(), Some(Ballot::No(AbortReason::Requested)));
        } else {
            later.abort();
        }
        assert!(earlier.conclude(&first).is_ok());
        assert_reads(site, 3, get("x"), &absent());
    });
}

fn waiting_abort(suite: &Suite<'_>) {
    suite.run("a waiting operation can be aborted", |site| {
        let holder = Client::begin(site, 1);
        assert!(holder.run(put("x", "holder")).is_ok());
        let waiter = Client::begin(site, 2);
        let mut running = waiter.start(put("x", "waiter"));
        if running.poll().is_none() {
            waiter.abort();
            let answer = running.poll();
            let refused = OperationError::Aborted(AbortReason::Requested);
            assert_eq!(answer, Some(Err(refused)));
        } else {
            waiter.abort();
        }
        let next = Client::begin(site, 3);
        let mut running = next.start(put("x", "next"));
        let waited = running.poll().is_none();
        holder.commit();
        if waited {
            assert_eq!(running.poll(), Some(Ok(Reply::Done)));
        }
        next.commit();
        assert_reads(site, 4, get("x"), &found("next"));
    });
}

fn blocked_reports(suite: &Suite<'_>) {
    suite.run("who waits is told by name", |site| {
        let earlier = Client::begin(site, 1);
        assert!(earlier.run(get("x")).is_ok());
        let first = earlier.prepare();
        assert!(first.yes().is_some());
        assert!(blocked(site).is_empty());
        let later = Client::begin(site, 2);
        let mut running = later.start(put("x", "later"));
        let withheld = running.poll().map(|_| later.prepare());
        let expected = Blocked {
            gtid: Gtid(2),
            priority: Priority(2),
            by: vec![(Gtid(1), Priority(1))],
        };
        assert_eq!(blocked(site), [expected]);
        assert!(earlier.conclude(&first).is_ok());
        assert!(blocked(site).is_empty());
        let ballots = withheld.unwrap_or_else(|| {
            assert_eq!(running.poll(), Some(Ok(Reply::Done)));
            later.prepare()
        });
        assert!(later.conclude(&ballots).is_ok());
    });
}

fn tombstones(suite: &Suite<'_>) {
    suite.run("an aborted transaction keeps its reason", |site| {
        if site.granularity() == Granularity::Site {
            // Nobody begins before the other has ended, so nobody has to go.
            return;
        }
        // 1 reads what 2 overwrites, and the other way round: one of them has to go.
        let [one, two] = [1, 2].map(|number| Client::begin(site, number));
        assert!(one.run(get("x")).is_ok() && two.run(get("y")).is_ok());
        let mut first = one.start(put("y", "new"));
        let before = first.poll();
        let second = two.run(put("x", "new"));
        let first = before.or_else(|| first.poll());
        let first = first.expect("the deadlock, if it is one, is resolved");
        let ballots = [&one, &two].map(Client::prepare);
        let mut refused = None;
        for (client, ballots) in [&one, &two].into_iter().zip(&ballots) {
            match ballots.cast() {
                Some(Ballot::Yes { stamp, .. }) => {
                    assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
                }
                Some(Ballot::No(reason)) => refused = Some((client, reason)),
                None => {}
            }
        }
        // A vote that waited for the other's end may be cast only now.
        for (client, ballots) in [&one, &two].into_iter().zip(&ballots) {
            if let (None, Some(Ballot::No(reason))) = (refused, ballots.cast()) {
                refused = Some((client, reason));
            }
        }
        let (client, reason) = refused.expect("one of the two is refused");
        assert_eq!(site.in_flight(), 0, "P4: the victim holds nothing");
        let aborted = Err(OperationError::Aborted(reason));
        for answer in [first, second] {
            assert!(answer.is_ok() || answer == aborted, "{answer:?}");
        }
        assert_eq!(client.run(get("x")), aborted);
        assert_eq!(client.prepare().cast(), Some(Ballot::No(reason)));
        client.abort();
        assert_eq!(
            client.run(get("x")),
            Err(OperationError::UnknownTransaction)
        );
        let survivor = if client.name() == one.name() {
            "x"
        } else {
            "y"
        };
        assert_reads(site, 9, scan("x", "z"), &rows(&[(survivor, "new")]));
    });
}
