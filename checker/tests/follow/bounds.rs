//! Memory does not grow with the history.

use checker::Level;
use checker::follow::{Follower, Options, Reason, Verdict};

use crate::random::Numbers;

/// Transactions on few keys, over two sites: with reads, writes, increments of a hot counter, and now and then a scan.
fn run(follower: &mut Follower, txns: u64) -> usize {
    let mut numbers = Numbers(1);
    let mut latest = [[0u64; 16]; 2];
    let mut most = 0;
    for txn in 1..=txns {
        for (site, latest) in latest.iter_mut().enumerate() {
            let (read, write) = (numbers.below(15) + 1, numbers.below(15) + 1);
            let version = latest[read as usize];
            let scan = if txn.is_multiple_of(512) {
                format!(" s:zz..@{}[]", txn - 1)
            } else {
                String::new()
            };
            let line = format!("c G{txn} {txn} {txn} r:k{read}@{version} w:k{write} i:hot{scan}");
            latest[write as usize] = txn;
            follower.feed(site, line.as_bytes()).unwrap();
        }
        if txn.is_multiple_of(4096) {
            most = most.max(follower.statistics().entries);
        }
    }
    most
}

fn begin(options: Options) -> Follower {
    let mut follower = Follower::with_options(&["a", "b"], options);
    follower.feed(0, b"co-history 1 A").unwrap();
    follower.feed(1, b"co-history 1 B").unwrap();
    follower
}

#[test]
fn a_million_transactions_on_few_keys_need_no_more_than_a_few() {
    let options = Options {
        window: 1000,
        globals: 4000,
        ..Options::default()
    };
    let mut follower = begin(options);
    let early = run(&mut follower, 100_000);
    let mut follower = begin(options);
    let txns = 1_000_000;
    let most = run(&mut follower, txns);
    for site in 0..2 {
        follower
            .feed(site, format!("end {txns}").as_bytes())
            .unwrap();
    }
    assert_eq!(follower.verdict(Level::CommitmentOrdering), Verdict::Valid);
    assert_eq!(follower.verdict(Level::Serializability), Verdict::Valid);
    let statistics = follower.statistics();
    eprintln!("at most {early} entries in 100,000 transactions, {most} in {txns}: {statistics:?}");
    // One bit for each transaction and position at each site; the rest does not grow.
    let bits = 2 * 2 * txns as usize / 64;
    assert!(most < early + bits, "{most}");
    assert!(statistics.longest_chain <= 2 * 1000 + 4, "{statistics:?}");
    assert!(statistics.recent_bytes <= 2 * (4 << 20), "{statistics:?}");
}

#[test]
fn the_limit_ends_in_unknown() {
    let mut follower = begin(Options {
        max_entries: 3000,
        ..Options::default()
    });
    for txn in 1..=20_000u64 {
        for site in 0..2 {
            let line = format!("c G{txn} {txn} {txn} w:k{txn}");
            follower.feed(site, line.as_bytes()).unwrap();
        }
    }
    for site in 0..2 {
        follower.feed(site, b"end 20000").unwrap();
    }
    let Verdict::Unknown { reasons } = follower.verdict(Level::CommitmentOrdering) else {
        panic!("not everything was looked at")
    };
    assert_eq!(reasons, [Reason::Full { entries: 3000 }]);
    assert!(follower.statistics().entries < 3000 + 8 * 1024);
}
