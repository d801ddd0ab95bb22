//! A site where an operator decides what is in doubt, restarted before and after every record; the checker judges the
//! history of all lives.

use std::sync::{Arc, Mutex};

use co_core::{Gtid, Stamp};
use coco::protocol::{ByHand, Decision, HeuristicRefused};
use participant::conformance::{get, put};
use participant::site::{ByHandError, DoneByHand};
use participant::storage::SimStorage;

use crate::dependent_site::{REFUSED, Rig, three, yes};

const COMMIT: ByHand = ByHand::Commit { stamp: None };

type Answer = Arc<Mutex<Option<Result<DoneByHand, ByHandError>>>>;

impl Rig {
    /// What the operator is told, when it is.
    fn by_hand(&self, number: u64, how: ByHand) -> Answer {
        let answer = Answer::default();
        let told = Arc::clone(&answer);
        let done = Box::new(move |result| *told.lock().unwrap() = Some(result));
        self.site.resolve(Gtid(number), how, done);
        self.site.run(co_time());
        answer
    }

    fn heard_nothing(&self) -> Vec<u64> {
        let all = self.site.heuristics();
        let unheard = all.iter().filter(|it| it.heard.is_none());
        unheard.map(|it| it.gtid.0).collect()
    }

    fn damaged(&self) -> Vec<u64> {
        let all = self.site.heuristics();
        let damaged = all.iter().filter(|it| it.is_damage());
        damaged.map(|it| it.gtid.0).collect()
    }

    fn in_doubt(&self) -> Vec<u64> {
        self.site.in_doubt().into_iter().map(|it| it.0).collect()
    }
}

const fn co_time() -> coco::protocol::Time {
    coco::protocol::Time(2)
}

/// T1 writes `x` and is in doubt; who comes after it waits.
fn one(storage: Option<SimStorage>) -> Rig {
    let rig = Rig::new(storage);
    rig.run(1, &[put("x", "1")]);
    rig.prepare(1);
    rig.sync();
    rig
}

fn storages() -> [Option<SimStorage>; 2] {
    [None, Some(SimStorage::new())]
}

#[test]
fn a_commit_by_hand_is_there_when_its_record_is_and_lets_others_go_on() {
    for (survivors, storage) in [0, 1]
        .into_iter()
        .flat_map(|it| storages().map(|s| (it, s)))
    {
        let mut rig = one(storage);
        let answer = rig.by_hand(1, COMMIT);
        assert_eq!(*answer.lock().unwrap(), None, "not in the log");
        rig.restart(survivors);
        if survivors == 0 {
            assert_eq!(rig.in_doubt(), [1]);
            rig.by_hand(1, COMMIT);
            rig.sync();
        }
        assert_eq!((rig.in_doubt(), rig.heard_nothing()), (vec![], vec![1]));
        // Its lock is free, its value is there.
        rig.run(4, &[get("x"), put("y", "4")]);
        rig.prepare(4);
        rig.sync();
        let (stamp, after, if_committed) = yes(&rig.votes(4));
        assert_eq!((after, if_committed), (vec![], vec![]));
        rig.commit(4, stamp);
        rig.restart(0);
        assert_eq!(rig.heard_nothing(), [1]);
        rig.commit(4, stamp);
        rig.commit(1, 3);
        rig.sync();
        assert!(rig.acknowledged(1));
        assert!(rig.site.heuristics().is_empty());
        rig.restart(0);
        assert!(rig.site.heuristics().is_empty());
        rig.ends_with("1", "4");
    }
}

/// The numbers of versions, which a replay must give again, go by the log: another commit comes between.
#[test]
fn commits_around_a_commit_by_hand_keep_their_places() {
    for survivors in 0..=3 {
        let mut rig = one(Some(SimStorage::new()));
        rig.run(7, &[put("z", "7")]);
        rig.prepare(7);
        rig.sync();
        rig.by_hand(1, COMMIT);
        rig.commit(7, 40);
        rig.site.flush();
        rig.restart(survivors);
        if survivors == 0 {
            rig.by_hand(1, COMMIT);
        }
        if survivors < 2 {
            assert_eq!(rig.in_doubt(), [7]);
            rig.commit(7, 40);
        }
        rig.sync();
        rig.commit(1, 1);
        rig.ends_with("1", "");
    }
}

#[test]
fn an_abort_by_hand_takes_its_readers_along_over_restarts() {
    for (survivors, storage) in [0, 1]
        .into_iter()
        .flat_map(|it| storages().map(|s| (it, s)))
    {
        let mut rig = three(storage);
        rig.sync();
        rig.votes(2);
        let answer = rig.by_hand(1, ByHand::Abort);
        assert_eq!(rig.site.participant().in_flight(), 3, "not in the log");
        if survivors == 0 {
            rig.restart(0);
            assert_eq!(rig.in_doubt(), [1, 2, 3]);
            rig.votes(2);
            rig.by_hand(1, ByHand::Abort);
            rig.sync();
        } else {
            rig.sync();
            let answer = answer.lock().unwrap().take().unwrap().unwrap();
            assert_eq!(answer.along, [Gtid(2)]);
            rig.restart(0);
        }
        assert_eq!(rig.in_doubt(), [3]);
        assert_eq!(rig.heard_nothing(), [1, 2]);
        assert_eq!(rig.votes(2), [REFUSED]);
        rig.abort(2);
        rig.abort(1);
        assert!(rig.site.heuristics().is_empty());
        rig.commit(3, 50);
        rig.ends_with("3", "");
    }
}

#[test]
fn damage_stays_over_restarts_and_checkpoints_until_it_is_acknowledged() {
    let mut rig = three(Some(SimStorage::new()));
    rig.sync();
    rig.by_hand(1, ByHand::Abort);
    // A checkpoint while the record is on its way knows of both.
    rig.site.checkpoint_every(1);
    for _ in 0..3 {
        rig.sync();
    }
    assert!(rig.site.checkpoints() > 0);
    rig.restart(0);
    assert_eq!(rig.heard_nothing(), [1, 2]);
    // The coordinator had committed all three.
    rig.commit(2, 101);
    rig.commit(1, 100);
    assert!(
        !rig.acknowledged(1) && !rig.acknowledged(2),
        "not in the log"
    );
    rig.sync();
    assert!(rig.acknowledged(1) && rig.acknowledged(2));
    assert_eq!(rig.damaged(), [1, 2]);
    assert_eq!(rig.site.stats().heuristic_damage, 2);
    for number in [8, 9] {
        rig.site.checkpoint_every(1);
        rig.run(number, &[put("z", "9")]);
        rig.abort(number);
        for _ in 0..3 {
            rig.sync();
        }
        rig.restart(0);
        assert_eq!(rig.damaged(), [1, 2]);
    }
    rig.by_hand(1, ByHand::Acknowledge);
    rig.restart(0);
    assert_eq!(rig.damaged(), [1, 2], "the acknowledgement was lost");
    for number in [1, 2] {
        let answer = rig.by_hand(number, ByHand::Acknowledge);
        rig.sync();
        let answer = answer.lock().unwrap().take().unwrap().unwrap();
        assert_eq!(answer.decision, None);
    }
    rig.restart(0);
    assert!(rig.site.heuristics().is_empty());
    rig.commit(3, 102);
    rig.ends_with("3", "");
}

/// The vote that had read from it is repeated behind the checkpoint, and has nothing to wait for any more.
#[test]
fn a_checkpoint_keeps_what_a_commit_by_hand_has_settled() {
    let mut rig = three(Some(SimStorage::new()));
    rig.sync();
    rig.by_hand(1, COMMIT);
    rig.sync();
    rig.site.checkpoint_every(1);
    for _ in 0..3 {
        rig.sync();
    }
    assert!(rig.site.checkpoints() > 0);
    rig.restart(0);
    let (stamp, after, if_committed) = yes(&rig.votes(2));
    assert_eq!((after, if_committed), (vec![], vec![]));
    rig.commit(2, stamp);
    rig.abort(3);
    rig.commit(1, 3);
    rig.ends_with("1", "2");
}

/// A transaction that has read what was committed by hand, and votes while that is written, is behind it in the log.
#[test]
fn a_vote_that_counts_on_a_commit_by_hand_comes_back_without_it() {
    for survivors in [1, 2] {
        let mut rig = one(None);
        rig.run(2, &[get("x"), put("y", "2")]);
        rig.by_hand(1, COMMIT);
        rig.prepare(2);
        rig.restart(survivors);
        if survivors == 1 {
            rig.commit(1, 3);
            rig.ends_with("1", "");
            continue;
        }
        let (stamp, after, if_committed) = yes(&rig.votes(2));
        assert_eq!((after, if_committed), (vec![], vec![]));
        rig.commit(2, stamp);
        rig.commit(1, 3);
        rig.ends_with("1", "2");
    }
}

#[test]
fn the_operator_chooses_the_stamp_or_the_site_takes_its_next() {
    let rig = one(None);
    let small = ByHand::Commit {
        stamp: Some(Stamp(0)),
    };
    let answer = rig.by_hand(1, small).lock().unwrap().take();
    assert!(
        matches!(
            answer,
            Some(Err(ByHandError::Refused(
                HeuristicRefused::StampTooSmall { .. }
            )))
        ),
        "{answer:?}"
    );
    let stamp = Stamp(77);
    let answer = rig.by_hand(1, ByHand::Commit { stamp: Some(stamp) });
    rig.sync();
    let done = answer.lock().unwrap().take().unwrap().unwrap();
    assert_eq!(done.decision, Some(Decision::Commit { stamp }));
    rig.run(2, &[get("x")]);
    rig.prepare(2);
    rig.sync();
    assert!(yes(&rig.votes(2)).0 > 77, "I6");
    rig.abort(2);
    rig.commit(1, 77);
    rig.ends_with("1", "");
}

#[test]
fn an_operator_is_told_what_is_refused_and_what_a_failed_log_leaves_open() {
    let rig = Rig::new(None);
    let answer = rig.by_hand(5, ByHand::Abort).lock().unwrap().take();
    let refused = HeuristicRefused::NotInDoubt { gtid: Gtid(5) };
    assert_eq!(answer, Some(Err(refused.into())));

    let mut rig = one(None);
    let answer = rig.by_hand(1, COMMIT);
    rig.fail_log();
    assert_eq!(
        answer.lock().unwrap().take(),
        Some(Err(ByHandError::Unknown))
    );
    rig.restart(0);
    assert_eq!(rig.in_doubt(), [1]);
    rig.abort(1);
    rig.ends_with("", "");
}
