//! Queries as of a stamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use co_core::{Kind, Misuse, Outcome, Stamp, State, TooOld, Vote};

use crate::site::Site;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(settled: &mut co_core::Settled<'_>, waker: &Waker) -> Poll<()> {
    std::pin::Pin::new(settled).poll(&mut Context::from_waker(waker))
}

/// G8, the other half: as a query with an older stamp the late reader succeeds, and waits for nobody.
#[test]
fn g8_a_query_older_than_a_vote_need_not_wait_for_it() {
    let mut site = Site::new();
    let writer = site.begin(1);
    site.write(&writer, 'x').unwrap();
    let before = site.queries.clock().now();
    assert_eq!(site.scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
    let stamp = site.queries.vote(&writer).unwrap();
    let query = site.queries.begin(&site.scheduler, before).unwrap();
    assert!(query.settled(&site.versions, &'x', None).is_settled());
    assert!(query.stamp() < stamp);
    drop(query);
    site.commit(&writer, stamp);
    site.close(&[]);
}

#[test]
fn a_query_waits_for_a_vote_that_may_commit_in_time_and_for_nothing_else() {
    for outcome in [Outcome::Commit, Outcome::Abort] {
        let mut site = Site::new();
        let [writer, working] = [1, 2].map(|number| site.begin(number));
        site.write(&writer, 'x').unwrap();
        site.write(&working, 'y').unwrap();
        assert_eq!(site.scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
        let stamp = {
            let query = site.queries.begin(&site.scheduler, Stamp(5)).unwrap();
            let mut settled = query.settled(&site.versions, &'x', Some(&'y'));
            assert!(!settled.is_settled(), "the vote may have any stamp");
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(Arc::clone(&wakes));
            assert_eq!(poll(&mut settled, &waker), Poll::Pending);
            assert_eq!(poll(&mut settled, &waker), Poll::Pending);
            let stamp = site.queries.vote(&writer).unwrap();
            assert_eq!(stamp, Stamp(6), "later than a query that was there first");
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
            assert_eq!(poll(&mut settled, &waker), Poll::Ready(()));
            assert!(query.settled(&site.versions, &'y', None).is_settled());
            stamp
        };
        match outcome {
            Outcome::Commit => site.commit(&writer, stamp),
            Outcome::Abort => site.abort(&writer),
        }
        let query = site.queries.begin(&site.scheduler, stamp).unwrap();
        assert!(query.settled(&site.versions, &'a', None).is_settled());
        drop(query);
        site.close(&[&working]);
    }
}

#[test]
fn a_thread_that_waits_for_a_vote_is_woken_by_its_decision() {
    let mut site = Site::new();
    let writer = site.begin(1);
    site.write(&writer, 'x').unwrap();
    assert_eq!(site.scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
    let stamp = site.queries.vote(&writer).unwrap();
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| {
            let query = site.queries.begin(&site.scheduler, stamp).unwrap();
            query.settled(&site.versions, &'x', None).wait();
            writer.state()
        });
        site.versions.install(&writer, |_| ()).unwrap();
        site.scheduler.decided(&writer, Outcome::Commit).unwrap();
        site.queries.settle(&writer);
        assert_eq!(waits.join().unwrap(), State::Committed);
    });
    site.versions.retire(&writer);
    site.close(&[]);
}

#[test]
fn an_engine_may_keep_the_stamps_of_votes_itself() {
    let mut site = Site::new();
    let writer = site.begin(1);
    site.write(&writer, 'x').unwrap();
    assert_eq!(site.scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
    let query = site.queries.begin(&site.scheduler, Stamp(7)).unwrap();
    for (stamp, expected) in [(None, false), (Some(7), false), (Some(8), true)] {
        let settled = query.settled_with(&site.versions, &'x', None, |_| stamp.map(Stamp));
        assert_eq!(settled.is_settled(), expected, "{stamp:?}");
    }
    drop(query);
    site.close(&[&writer]);
}

#[test]
fn a_vote_in_doubt_is_waited_for_after_a_restart() {
    let mut site = Site::new();
    let in_doubt = site
        .scheduler
        .recover(co_core::Gtid(1), co_core::Priority(1));
    let footprint = co_core::Footprint {
        writes: vec![('x', co_core::WriteKind::Put)],
        ..co_core::Footprint::default()
    };
    site.versions.reinstate(&in_doubt, footprint);
    site.queries.recover(&in_doubt, Stamp(9));
    assert_eq!(site.queries.clock().now(), Stamp(9));
    for (stamp, expected) in [(8, true), (9, false)] {
        let query = site.queries.begin(&site.scheduler, Stamp(stamp)).unwrap();
        let settled = query.settled(&site.versions, &'x', None).is_settled();
        assert_eq!(settled, expected, "as of {stamp}");
    }
    site.close(&[&in_doubt]);
}

#[test]
fn a_query_takes_part_in_no_order() {
    let mut site = Site::new();
    let query = site.queries.begin(&site.scheduler, Stamp(3)).unwrap();
    assert_eq!(query.txn().kind(), Kind::Query { stamp: Stamp(3) });
    assert!(site.versions.read(query.txn(), &'x').is_err());
    assert!(site.versions.scan(query.txn(), &'x', None).is_err());
    assert_eq!(site.versions.held(), 0, "no marks");
    assert_eq!(site.scheduler.undecided(), 1);
    drop(query);
    site.close(&[]);
}

#[test]
fn the_floor_stays_below_running_queries_and_nothing_begins_below_it() {
    let mut site = Site::new();
    let begin = |stamp| site.queries.begin(&site.scheduler, Stamp(stamp));
    let (early, again, late) = (begin(4).unwrap(), begin(4).unwrap(), begin(6).unwrap());
    assert_eq!(site.queries.forget_before(Stamp(9)), Stamp(4));
    let too_old = TooOld { oldest: Stamp(4) };
    assert_eq!(begin(3).err(), Some(too_old));
    assert_eq!(too_old.to_string(), "versions before @4 may be forgotten");
    drop(early);
    assert_eq!(
        site.queries.forget_before(Stamp(9)),
        Stamp(4),
        "one is left"
    );
    drop(again);
    assert_eq!(site.queries.forget_before(Stamp(9)), Stamp(6));
    drop(late);
    assert_eq!(site.queries.forget_before(Stamp(9)), Stamp(9));
    assert_eq!(site.queries.forget_before(Stamp(2)), Stamp(9), "never back");
    site.close(&[]);
}

#[test]
fn only_a_vote_is_stamped() {
    let mut site = Site::new();
    let [working, gone] = [1, 2].map(|number| site.begin(number));
    let refused = site.queries.vote(&working);
    assert!(matches!(
        refused,
        Err(Misuse::WrongState {
            state: State::Active,
            ..
        })
    ));
    // The coordinator's abort came between the vote and its stamp.
    site.abort(&gone);
    assert!(site.queries.vote(&gone).is_ok());
    assert!(site.queries.is_empty());
    site.close(&[&working]);
}
