//! The lock table: who is granted what, and that everybody is told.
#![cfg(co_loom)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use co_core::{
    AbortReason, Grant, LockMode, LockPolicy, LockTable, Outcome, Scheduler, State, Txn, Vote,
};
use loom::thread;
use loom_tests::{begin, close, explore, explore_bounded, withhold};

fn table(scheduler: &Scheduler, policy: LockPolicy) -> Arc<LockTable<u8>> {
    Arc::new(LockTable::new(scheduler.clone(), policy))
}

fn end(scheduler: &Scheduler, table: &LockTable<u8>, txn: &Txn, outcome: Outcome) {
    scheduler.decided(txn, outcome).unwrap();
    table.release(txn);
}

/// Ends what is left and checks that nothing stays behind (I7).
fn close_all(scheduler: &Scheduler, table: &LockTable<u8>, txns: &[&Txn]) {
    close(scheduler, txns);
    for txn in txns {
        table.release(txn);
    }
    assert!(table.is_empty(), "I7");
}

/// L1 and no lost grant: both writers get in, one after the other.
#[test]
fn two_writers_and_release() {
    explore("two_writers_and_release", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let txns: [_; 2] = begin(&scheduler);
        let inside = Arc::new(AtomicUsize::new(0));
        let write = {
            let (scheduler, table) = (scheduler.clone(), Arc::clone(&table));
            move |txn: &Txn| {
                let grant = table.acquire(txn, &7, LockMode::Write).wait();
                assert_eq!(grant, Grant::Granted);
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "L1");
                assert_eq!(scheduler.request_vote_blocking(txn), Vote::Yes);
                inside.fetch_sub(1, Ordering::SeqCst);
                end(&scheduler, &table, txn, Outcome::Commit);
            }
        };
        let other = thread::spawn({
            let (write, txn) = (write.clone(), txns[1].clone());
            move || write(&txn)
        });
        write(&txns[0]);
        other.join().unwrap();
        close_all(&scheduler, &table, &[&txns[0], &txns[1]]);
    });
}

/// A thread that waits for a lock hears of its doom though the holder stays: a lost wake-up is a deadlock.
#[test]
fn doom_of_a_lock_waiter() {
    explore("doom_of_a_lock_waiter", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [holder, waiter] = begin(&scheduler);
        assert_eq!(
            table.acquire(&holder, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        let doom = thread::spawn({
            let (scheduler, waiter) = (scheduler.clone(), waiter.clone());
            move || assert!(scheduler.doom(&waiter, AbortReason::Requested))
        });
        let grant = table.acquire(&waiter, &7, LockMode::Write).wait();
        assert_eq!(grant, Grant::Aborted(AbortReason::Requested));
        doom.join().unwrap();
        close_all(&scheduler, &table, &[&holder, &waiter]);
    });
}

/// A grant that comes with a doom does not count: a request that had to wait ends as refused.
#[test]
fn grant_against_doom() {
    explore_bounded("grant_against_doom", 2, || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [holder, waiter] = begin(&scheduler);
        assert_eq!(
            table.acquire(&holder, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        let release = thread::spawn({
            let (scheduler, table, holder) =
                (scheduler.clone(), Arc::clone(&table), holder.clone());
            move || end(&scheduler, &table, &holder, Outcome::Abort)
        });
        let doom = thread::spawn({
            let (scheduler, waiter) = (scheduler.clone(), waiter.clone());
            move || scheduler.doom(&waiter, AbortReason::Requested)
        });
        let request = table.acquire(&waiter, &7, LockMode::Write);
        let at_once = request.peek();
        if at_once == Some(Grant::Granted) {
            assert_ne!(holder.state(), State::Active, "L1: the holder has ended");
        }
        assert!(doom.join().unwrap());
        release.join().unwrap();
        if at_once.is_none() {
            assert_eq!(request.peek(), Some(Grant::Aborted(AbortReason::Requested)));
        }
        close_all(&scheduler, &table, &[&waiter]);
    });
}

/// L4: a key request and a range request see each other; of each such pair exactly one waits.
#[test]
fn two_keys_against_a_range() {
    explore("two_keys_against_a_range", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let txns: [_; 3] = begin(&scheduler);
        let writers: Vec<_> = [0, 1]
            .into_iter()
            .map(|index| {
                let (table, txn) = (Arc::clone(&table), txns[index].clone());
                let key = 3 + u8::try_from(index).unwrap();
                thread::spawn(move || table.acquire(&txn, &key, LockMode::Write))
            })
            .collect();
        let scan = table.acquire_range(&txns[2], &0, Some(&9));
        let writes: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        let waiting = writes.iter().filter(|write| write.peek().is_none()).count();
        assert_eq!(
            scan.peek().is_some(),
            waiting == 2,
            "L1: {waiting} writers wait"
        );
        if scan.peek().is_some() {
            end(&scheduler, &table, &txns[2], Outcome::Abort);
            assert!(
                writes
                    .iter()
                    .all(|write| write.peek() == Some(Grant::Granted))
            );
        } else {
            for (txn, write) in txns.iter().zip(&writes) {
                if write.peek() == Some(Grant::Granted) {
                    end(&scheduler, &table, txn, Outcome::Abort);
                }
            }
            assert_eq!(scan.peek(), Some(Grant::Granted));
        }
        close_all(&scheduler, &table, &[&txns[0], &txns[1], &txns[2]]);
    });
}

/// Two transactions take two keys crosswise: one is doomed, the other gets its lock when the first is undone.
#[test]
fn crosswise_requests_are_a_deadlock() {
    explore("crosswise_requests_are_a_deadlock", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [older, younger] = begin(&scheduler);
        for (txn, key) in [(&older, 1), (&younger, 2)] {
            assert_eq!(
                table.acquire(txn, &key, LockMode::Write).peek(),
                Some(Grant::Granted)
            );
        }
        let other = thread::spawn({
            let (scheduler, table, younger) =
                (scheduler.clone(), Arc::clone(&table), younger.clone());
            move || {
                let grant = table.acquire(&younger, &1, LockMode::Write).wait();
                assert_eq!(grant, Grant::Aborted(AbortReason::Cycle));
                end(&scheduler, &table, &younger, Outcome::Abort);
            }
        });
        let grant = table.acquire(&older, &2, LockMode::Write).wait();
        assert_eq!(grant, Grant::Granted);
        other.join().unwrap();
        close_all(&scheduler, &table, &[&older, &younger]);
    });
}

/// Under SCO the writer gets its lock at once and its vote after the reader's decision.
#[test]
fn sco_writer_against_the_readers_decision() {
    explore("sco_writer_against_the_readers_decision", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Sco);
        let [reader, writer] = begin(&scheduler);
        assert_eq!(
            table.acquire(&reader, &7, LockMode::Read).peek(),
            Some(Grant::Granted)
        );
        assert_eq!(scheduler.request_vote(&reader).peek(), Some(Vote::Yes));
        let decision = thread::spawn({
            let (scheduler, table, reader) =
                (scheduler.clone(), Arc::clone(&table), reader.clone());
            move || end(&scheduler, &table, &reader, Outcome::Commit)
        });
        assert_eq!(
            table.acquire(&writer, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
        assert_eq!(reader.state(), State::Committed, "I1");
        decision.join().unwrap();
        close_all(&scheduler, &table, &[&reader, &writer]);
    });
}
