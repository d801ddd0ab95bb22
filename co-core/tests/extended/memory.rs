//! What is remembered, why, and when it is forgotten.

use co_core::{
    AbortReason, Access, Certification, CommitSeq, Eco, Gco, Gtid, Kind, Outcome, Priority, Reads,
    Source, Vote,
};

use crate::scenario::{global, local};

fn commit(site: &Eco<u32>, kind: Kind, reads: &[u32], writes: &[u32]) {
    let txn = site.begin(kind);
    for key in reads {
        assert!(site.read(&txn, key).unwrap().is_granted());
    }
    for key in writes {
        assert!(site.write(&txn, key).unwrap().is_granted());
    }
    assert_eq!(site.request_vote(&txn).peek(), Some(Vote::Yes));
    site.decided(&txn, Outcome::Commit).unwrap();
}

#[test]
fn an_open_transaction_that_reaches_nobody_keeps_nobody() {
    let site = Eco::new();
    let idle = site.begin(local(1));
    assert!(site.read(&idle, &0).unwrap().is_granted());
    for key in 1..1_000 {
        commit(&site, local(2), &[key - 1], &[key]);
        commit(&site, global(3), &[key], &[key]);
    }
    assert_eq!(site.remembered(), 1);
    site.decided(&idle, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn an_open_transaction_keeps_what_follows_it_until_it_ends() {
    let site = Eco::new();
    let reader = site.begin(local(1));
    assert!(site.read(&reader, &0).unwrap().is_granted());
    commit(&site, local(2), &[], &[0, 1]); // follows the reader
    commit(&site, local(3), &[1], &[2]); // and this one, by the one before
    commit(&site, local(4), &[7], &[7]); // this one does not
    assert_eq!(site.remembered(), 3);
    let answer = site.read(&reader, &2).unwrap();
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Cycle)),
        "{answer:?}"
    );
    site.decided(&reader, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

/// To keep a committed transaction as long as one that was undecided at its end still is would be too short: here
/// `n` ends while `second` is undecided, `second` ends while `first` is, and `first` began after the end of `n`.
#[test]
fn a_committed_transaction_is_kept_while_a_later_one_reaches_it() {
    let site = Eco::new();
    let second = site.begin(local(1));
    assert!(site.read(&second, &1).unwrap().is_granted());
    commit(&site, local(2), &[], &[1, 2]); // n: second → n
    let first = site.begin(local(3));
    assert!(site.read(&first, &3).unwrap().is_granted());
    assert!(site.write(&second, &3).unwrap().is_granted()); // first → second
    assert_eq!(site.request_vote(&second).peek(), Some(Vote::Yes));
    site.decided(&second, Outcome::Commit).unwrap();
    assert_eq!(site.remembered(), 3);
    commit(&site, local(4), &[2], &[4]); // n → y
    let answer = site.read(&first, &4).unwrap(); // y → first would close the cycle
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Cycle)),
        "{answer:?}"
    );
    site.decided(&first, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

/// A committed node without predecessors may be dropped when only cycles matter. Here it may not.
#[test]
fn a_committed_source_is_kept_while_it_can_be_linked_to_an_earlier_vote() {
    let site = Eco::new();
    let late = site.begin(local(1));
    assert!(site.read(&late, &0).unwrap().is_granted());
    commit(&site, global(2), &[], &[0]); // late → G2
    commit(&site, global(3), &[], &[1]); // learned after the vote of G2: kept
    commit(&site, local(4), &[1], &[2]); // follows G3: kept
    commit(&site, local(5), &[8], &[9]); // forgotten
    assert_eq!(site.remembered(), 4);
    let answer = site.read(&late, &2).unwrap(); // G3 → local → late → G2
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Overtaken)),
        "{answer:?}"
    );
    site.decided(&late, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn a_recovered_transaction_blocks_as_it_did_before_the_crash() {
    let site = Eco::new();
    let doubt = site.recover(Gtid(1), Priority(1), &[1], &[2]);
    let local = site.begin(local(2));
    assert!(matches!(site.read(&local, &2).unwrap(), Access::Busy(_)));
    let later = site.begin(global(3));
    assert!(site.write(&later, &1).unwrap().is_granted());
    let vote = site.request_vote(&later);
    assert_eq!(
        vote.peek(),
        None,
        "the recovered read mark precedes the write"
    );
    site.decided(&doubt, Outcome::Commit).unwrap();
    assert_eq!(vote.peek(), Some(Vote::Yes));
    assert!(site.read(&local, &2).unwrap().is_granted());
    for txn in [later, local] {
        site.decided(&txn, Outcome::Abort).unwrap();
    }
    assert!(site.is_empty());
}

fn update(site: &Gco<u32>, kind: Kind, key: u32) {
    let txn = site.begin(kind);
    assert!(site.read(&txn, &key).unwrap().is_granted());
    assert!(site.write(&txn, &key).unwrap().is_granted());
    assert_eq!(site.request_vote(&txn).peek(), Some(Vote::Yes));
    site.decided(&txn, Outcome::Commit).unwrap();
}

#[test]
fn a_snapshot_keeps_one_version_of_each_key_that_changed_since() {
    let site = Gco::new(Reads::Snapshot, Certification::Interval);
    update(&site, local(1), 0);
    let reader = site.begin(local(2));
    assert!(site.read(&reader, &9).unwrap().is_granted()); // takes its snapshot
    for round in 0..1_000 {
        update(&site, local(3), round % 4);
    }
    assert_eq!(site.oldest_read(), CommitSeq(1));
    // Two versions of each of the four keys, and the one that was read.
    assert_eq!(site.remembered(), 9);
    let Access::Granted(source) = site.read(&reader, &3).unwrap() else {
        panic!("reads never wait");
    };
    assert_eq!(source, Source::AsOf(CommitSeq(1)));
    assert_eq!(site.request_vote(&reader).peek(), Some(Vote::Yes));
    site.decided(&reader, Outcome::Commit).unwrap();
    assert!(site.is_empty());
}

#[test]
fn a_key_is_not_forgotten_while_somebody_with_an_older_snapshot_may_write_it() {
    let site = Gco::new(Reads::Snapshot, Certification::Interval);
    let second = site.begin(local(1));
    assert!(site.read(&second, &9).unwrap().is_granted()); // takes its snapshot
    update(&site, local(2), 5);
    assert_eq!(site.remembered(), 3); // 9, and 5 before and after
    let answer = site.write(&second, &5).unwrap();
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Conflict)),
        "{answer:?}"
    );
    site.decided(&second, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn a_write_that_waited_has_not_taken_a_snapshot_yet() {
    let site = Gco::new(Reads::Snapshot, Certification::Interval);
    let [first, second] = [1, 2].map(|age| site.begin(local(age)));
    assert!(site.write(&first, &5).unwrap().is_granted());
    assert!(matches!(site.write(&second, &5).unwrap(), Access::Busy(_)));
    assert_eq!(site.request_vote(&first).peek(), Some(Vote::Yes));
    site.decided(&first, Outcome::Commit).unwrap();
    assert!(site.write(&second, &5).unwrap().is_granted());
    site.decided(&second, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn keys_that_nobody_can_trip_over_are_forgotten_while_work_goes_on() {
    let site = Gco::new(Reads::Newest, Certification::Interval);
    let idle = site.begin(local(1));
    assert!(site.read(&idle, &u32::MAX).unwrap().is_granted());
    for key in 0..10_000 {
        update(&site, local(2), key);
    }
    assert_eq!(site.remembered(), 1);
    site.decided(&idle, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn stamps_are_kept_while_an_overtaken_reader_may_need_them() {
    let site = Gco::new(Reads::Newest, Certification::Interval);
    let reader = site.begin(local(1));
    assert!(site.read(&reader, &0).unwrap().is_granted());
    update(&site, local(2), 0); // overtakes the reader
    update(&site, local(3), 1);
    assert_eq!(site.remembered(), 3); // two versions of 0 and what was committed since
    assert!(site.read(&reader, &1).unwrap().is_granted());
    // T2 → T3 is not known to be no path, so the reader may not stand between them.
    let answer = site.request_vote(&reader).peek();
    assert_eq!(answer, Some(Vote::No(AbortReason::Conflict)));
    site.decided(&reader, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn a_recovered_writer_of_versions_refuses_what_may_link_to_its_past() {
    let site = Gco::new(Reads::Newest, Certification::Interval);
    let doubt = site.recover(Gtid(1), Priority(1), &[1], &[2]);
    let [alone, linking, writer] = [2, 3, 4].map(|age| site.begin(local(age)));
    assert!(matches!(site.write(&alone, &2).unwrap(), Access::Busy(_)));
    assert!(site.read(&alone, &2).unwrap().is_granted());
    assert_eq!(site.request_vote(&alone).peek(), Some(Vote::Yes));
    site.decided(&alone, Outcome::Commit).unwrap();
    // What it reads at 5 may have been committed after the vote of the one in doubt.
    assert!(site.read(&linking, &2).unwrap().is_granted());
    assert!(site.read(&linking, &5).unwrap().is_granted());
    let answer = site.request_vote(&linking).peek();
    assert_eq!(answer, Some(Vote::No(AbortReason::Conflict)));
    site.decided(&linking, Outcome::Abort).unwrap();
    // Its read marks stand: who overwrites them waits.
    assert!(site.write(&writer, &1).unwrap().is_granted());
    let vote = site.request_vote(&writer);
    assert_eq!(vote.peek(), None);
    assert_eq!(site.blocked_by(&writer), [(Gtid(1), Priority(1))]);
    site.decided(&doubt, Outcome::Commit).unwrap();
    assert_eq!(vote.peek(), Some(Vote::Yes));
    site.decided(&writer, Outcome::Commit).unwrap();
    assert!(site.is_empty());
}
