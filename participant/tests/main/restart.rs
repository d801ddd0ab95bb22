//! A site that goes down and comes back: its history stays one history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use checker::Level;
use co_core::{Gtid, Priority, Stamp, VoteRule};
use participant::conformance::{Client, absent, add, delete, found, get, number, put, scan};
use participant::engine::{EngineKind, open, open_with};
use participant::storage::{Memory, Storage};
use participant::{
    Begin, Change, Decision, Key, Operation, Participant, Prepared, Recorder, Reply, TxnName,
};

use crate::judge::assert_valid;

/// What a log would hold: commits in the order they were applied, and who is in doubt.
#[derive(Default)]
struct Log {
    committed: Vec<(Stamp, Vec<Change>)>,
    in_doubt: Vec<(Gtid, Stamp, Prepared)>,
}

impl Log {
    fn commit(&mut self, site: &Arc<dyn Participant>, number: u64, operations: &[Operation]) {
        let (client, stamp, prepared) = vote(site, number, operations);
        assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
        self.committed.push((stamp, prepared.changes));
    }

    fn leave_in_doubt(&mut self, site: &Arc<dyn Participant>, number: u64, ops: &[Operation]) {
        let (_, stamp, prepared) = vote(site, number, ops);
        self.in_doubt.push((Gtid(number), stamp, prepared));
    }
}

fn vote(
    site: &Arc<dyn Participant>,
    number: u64,
    operations: &[Operation],
) -> (Client, Stamp, Prepared) {
    let client = Client::begin(site, number);
    for operation in operations {
        client.run(operation.clone()).unwrap();
    }
    let stamp = client.prepare().yes().expect("nothing precedes it");
    let prepared = site.prepared(client.name()).unwrap();
    (client, stamp, prepared)
}

fn first_life(kind: EngineKind, recorder: &Recorder) -> Log {
    let site = open(kind, VoteRule::Withhold, recorder.clone());
    let mut log = Log::default();
    log.commit(&site, 1, &[put("a", "1"), put("b", "1"), add("n", 1)]);
    log.commit(&site, 2, &[get("a"), delete("b")]);
    log.leave_in_doubt(
        &site,
        3,
        &[get("a"), scan("p", "q"), put("c", "3"), add("n", 10)],
    );
    log.commit(&site, 4, &[get("b"), add("n", 100)]);
    // Never decided and never voted: lost with the site.
    Client::begin(&site, 5).run(put("d", "5")).unwrap();
    log
}

fn second_life(kind: EngineKind, recorder: &Recorder, log: Log, decision: fn(Stamp) -> Decision) {
    let site = open(kind, VoteRule::Withhold, recorder.clone());
    for (stamp, changes) in log.committed {
        site.restore(stamp, changes);
    }
    let doubtful: Vec<_> = log
        .in_doubt
        .iter()
        .map(|doubt| (doubt.0, doubt.1))
        .collect();
    for (gtid, stamp, prepared) in log.in_doubt {
        site.recover(gtid, Priority(gtid.0), stamp, prepared);
    }
    assert_eq!(site.in_flight(), 1);
    let reader = Client::begin(&site, 10);
    assert_eq!(reader.run(get("a")), Ok(found("1")));
    assert_eq!(reader.run(get("b")), Ok(absent()));
    assert_eq!(reader.run(get("d")), Ok(absent()));
    reader.commit();
    let mut commits = false;
    for (gtid, stamp) in doubtful {
        let decision = decision(stamp);
        commits = matches!(decision, Decision::Commit(_));
        assert_eq!(site.decide(TxnName::Global(gtid), decision), Ok(()));
    }
    let sum = if commits { 111 } else { 101 };
    let last = Client::begin(&site, 11);
    assert_eq!(last.run(get("n")), Ok(Reply::Value(Some(number(sum)))));
    for operation in [put("a", "11"), put("p1", "11"), get("c"), scan("a", "z")] {
        last.run(operation).unwrap();
    }
    last.commit();
    assert_eq!(site.in_flight(), 0);
}

fn check(same_recorder: bool) {
    let decisions: [fn(Stamp) -> Decision; 2] = [Decision::Commit, |_| Decision::Abort];
    for kind in EngineKind::ALL {
        for decision in decisions {
            let before = Recorder::memory("site");
            let log = first_life(kind, &before);
            let after = if same_recorder {
                before
            } else {
                Recorder::memory("site")
            };
            second_life(kind, &after, log, decision);
            after.finish().unwrap();
            let history = after.text().unwrap();
            assert_valid(&kind.to_string(), &history, Level::CommitmentOrdering);
            let versions = history.lines().filter(|line| line.contains(" w:a"));
            assert_eq!(versions.count(), 2, "{history}");
        }
    }
}

#[test]
fn a_history_goes_on_over_a_restart() {
    check(true);
}

#[test]
fn a_new_history_begins_with_what_was_restored() {
    check(false);
}

#[test]
fn who_is_in_doubt_at_the_end_is_recorded_as_such() {
    for kind in EngineKind::ALL {
        let recorder = Recorder::memory("site");
        let _log = first_life(kind, &recorder);
        recorder.finish().unwrap();
        let history = recorder.text().unwrap();
        assert!(
            history.contains("\nu G3 r:a@1 s:p..q@2[] w:c i:n\n"),
            "{history}"
        );
        assert!(history.ends_with("end 4\n"), "{history}");
    }
}

/// Withheld votes are kept by the scheduler of the site, and the site was kept by them: its store stayed open for
/// whoever was to open it next.
#[test]
fn a_site_that_is_dropped_with_withheld_votes_lets_go_of_its_storage() {
    for kind in [
        EngineKind::Sco,
        EngineKind::Optimistic,
        EngineKind::Mvcc,
        EngineKind::Shared,
    ] {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let seen = Arc::downgrade(&storage);
        let options = participant::engine::Options {
            storage,
            ..participant::engine::Options::default()
        };
        let site = open_with(kind, options);
        let key: Key = Arc::from(b"k".as_slice());
        let work = [
            (1, Operation::Get(key.clone())),
            (2, Operation::Put(key.clone(), key)),
        ];
        for (number, operation) in &work {
            let name = TxnName::Local(*number);
            let priority = Priority(*number);
            site.begin(Begin { name, priority }).unwrap();
            let mut running = site.execute(name, operation);
            let polled = running
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(_))), "{kind}: {polled:?}");
            drop(running);
            let voted = Arc::new(AtomicBool::new(false));
            let votes = Arc::clone(&voted);
            let on_ballot = move |_| votes.store(true, Ordering::Relaxed);
            site.prepare(name, Box::new(on_ballot));
            let withholds = !voted.load(Ordering::Relaxed);
            assert_eq!(withholds, *number == 2, "{kind}: of {number}");
        }
        drop(site);
        assert_eq!(seen.strong_count(), 0, "{kind}");
    }
}
