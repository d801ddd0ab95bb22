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
    explore_bounded("crosswise_requests_are_a_deadlock", 2, || {
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

/// L2: who asks after a waiter does not get in before it, whatever is released meanwhile.
#[test]
fn nobody_passes_a_waiter() {
    explore("nobody_passes_a_waiter", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [holder, writer, reader] = begin(&scheduler);
        assert_eq!(
            table.acquire(&holder, &7, LockMode::Read).peek(),
            Some(Grant::Granted)
        );
        let first = table.acquire(&writer, &7, LockMode::Write);
        let release = thread::spawn({
            let (scheduler, table, holder) =
                (scheduler.clone(), Arc::clone(&table), holder.clone());
            move || end(&scheduler, &table, &holder, Outcome::Abort)
        });
        let second = table.acquire(&reader, &7, LockMode::Read);
        assert_eq!(second.peek(), None, "the writer asked first");
        release.join().unwrap();
        assert_eq!(first.peek(), Some(Grant::Granted));
        assert_eq!(second.peek(), None, "the writer holds the lock");
        end(&scheduler, &table, &writer, Outcome::Abort);
        assert_eq!(second.peek(), Some(Grant::Granted));
        close_all(&scheduler, &table, &[&reader]);
    });
}

/// A request that is taken back just as it is granted leaves nothing in the queue.
#[test]
fn cancel_against_grant() {
    explore("cancel_against_grant", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [holder, waiter, third] = begin(&scheduler);
        assert_eq!(
            table.acquire(&holder, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        let request = table.acquire(&waiter, &7, LockMode::Write);
        let release = thread::spawn({
            let (scheduler, table, holder) =
                (scheduler.clone(), Arc::clone(&table), holder.clone());
            move || end(&scheduler, &table, &holder, Outcome::Abort)
        });
        end(&scheduler, &table, &waiter, Outcome::Abort);
        release.join().unwrap();
        assert!(matches!(request.peek(), Some(Grant::Aborted(_))));
        assert_eq!(
            table.acquire(&third, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        close_all(&scheduler, &table, &[&third]);
    });
}

/// A request of a transaction that somebody else ends meanwhile leaves neither a lock nor a name behind.
#[test]
fn first_request_against_the_end() {
    explore("first_request_against_the_end", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Ss2pl);
        let [txn] = begin(&scheduler);
        let ending = thread::spawn({
            let (scheduler, table, txn) = (scheduler.clone(), Arc::clone(&table), txn.clone());
            move || end(&scheduler, &table, &txn, Outcome::Abort)
        });
        drop(table.acquire(&txn, &7, LockMode::Write));
        ending.join().unwrap();
        assert!(table.is_empty() && scheduler.is_idle(), "I7");
    });
}

/// Ordered sharing: whoever has seen what an aborted transaction wrote falls with it, however the read and the
/// abort interleave; who came after the undo does not.
#[test]
fn cascade_against_the_reader() {
    explore_bounded("cascade_against_the_reader", 2, || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::OrderedSharing { longest_chain: 4 });
        let [writer, reader] = begin(&scheduler);
        let value = Arc::new(AtomicUsize::new(0));
        assert_eq!(
            table.acquire(&writer, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        value.store(1, Ordering::SeqCst);
        let abort = thread::spawn({
            let (scheduler, table, writer) =
                (scheduler.clone(), Arc::clone(&table), writer.clone());
            let value = Arc::clone(&value);
            move || {
                value.store(0, Ordering::SeqCst);
                end(&scheduler, &table, &writer, Outcome::Abort);
            }
        });
        let granted = table.acquire(&reader, &7, LockMode::Read).wait();
        let seen = value.load(Ordering::SeqCst);
        let vote = scheduler.request_vote_blocking(&reader);
        match (granted, vote) {
            (Grant::Granted, Vote::Yes) => assert_eq!(seen, 0, "read what never happened"),
            (_, refused) => assert_eq!(refused, Vote::No(AbortReason::Cascade)),
        }
        abort.join().unwrap();
        close_all(&scheduler, &table, &[&writer, &reader]);
    });
}

/// Ordered sharing: of two reads that together would make a chain of three, one waits when two is the bound.
#[test]
fn two_links_of_a_chain() {
    explore_bounded("two_links_of_a_chain", 2, || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::OrderedSharing { longest_chain: 2 });
        let [first, middle, last] = begin(&scheduler);
        for (txn, key) in [(&first, 1), (&middle, 2)] {
            assert_eq!(
                table.acquire(txn, &key, LockMode::Write).peek(),
                Some(Grant::Granted)
            );
        }
        let upper = thread::spawn({
            let (table, middle) = (Arc::clone(&table), middle.clone());
            move || table.acquire(&middle, &1, LockMode::Read)
        });
        let lower = table.acquire(&last, &2, LockMode::Read);
        let upper = upper.join().unwrap();
        assert!(
            upper.peek().is_none() || lower.peek().is_none(),
            "three transactions would fall together"
        );
        assert!(scheduler.statistics().longest_chain <= 2);
        for txn in [&first, &middle, &last] {
            end(&scheduler, &table, txn, Outcome::Abort);
        }
        close_all(&scheduler, &table, &[]);
    });
}

/// After a restart a transaction in doubt still precedes those that come later, until it is decided.
#[test]
fn new_work_against_a_recovered_decision() {
    explore("new_work_against_a_recovered_decision", || {
        let scheduler = withhold();
        let table = table(&scheduler, LockPolicy::Sco);
        let recovered = scheduler.recover(co_core::Gtid(9), co_core::Priority(9));
        table.reinstate(&recovered, &7, LockMode::Read);
        let [writer] = begin(&scheduler);
        let decision = thread::spawn({
            let (scheduler, table, recovered) =
                (scheduler.clone(), Arc::clone(&table), recovered.clone());
            move || end(&scheduler, &table, &recovered, Outcome::Commit)
        });
        assert_eq!(
            table.acquire(&writer, &7, LockMode::Write).peek(),
            Some(Grant::Granted)
        );
        assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
        assert_eq!(recovered.state(), State::Committed, "I1");
        decision.join().unwrap();
        close_all(&scheduler, &table, &[&recovered, &writer]);
    });
}
