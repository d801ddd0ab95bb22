//! Files that grow while they are followed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use checker::Level;
use checker::follow::{Options, Tail, Verdict};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::remove_dir_all(&folder).unwrap_or_default();
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a text in pieces that have nothing to do with lines, and waits for a sign before each.
fn writer(path: PathBuf, text: String, go_on: mpsc::Receiver<()>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if go_on.recv().is_err() {
            return;
        }
        let mut file = File::create(path).unwrap();
        for piece in text.as_bytes().chunks(37) {
            if go_on.recv().is_err() {
                return;
            }
            file.write_all(piece).unwrap();
            file.flush().unwrap();
        }
    })
}

fn texts(txns: u64, last: &str) -> [String; 2] {
    ["A", "B"].map(|site| {
        let mut text = format!("co-history 1 {site}\n");
        for txn in 1..=txns {
            text += &format!("c G{txn} {txn} {txn} r:x@{} w:x\n", txn - 1);
        }
        text += last;
        text + &format!("end {}\n", txns + last.lines().count() as u64)
    })
}

/// Follows files that two threads write, each piece by piece; ends when the level is violated or all have ended.
fn follow(name: &str, texts: [String; 2]) -> (Verdict, u64) {
    let folder = folder(name);
    let paths = [folder.join("a.hist"), folder.join("b.hist")];
    let mut tail = Tail::new(&paths, Options::default());
    assert!(!tail.step().unwrap(), "there is nothing yet");
    assert_eq!(tail.absent().len(), 2);
    let mut signs = Vec::new();
    let mut writers = Vec::new();
    for (path, text) in paths.iter().zip(texts) {
        let (sign, go_on) = mpsc::sync_channel(0);
        writers.push(writer(path.clone(), text, go_on));
        signs.push(sign);
    }
    while !tail.follower.is_ended() && !tail.follower.is_violated(Level::CommitmentOrdering) {
        // A writer that has finished needs no sign.
        signs
            .iter()
            .for_each(|sign| sign.send(()).unwrap_or_default());
        while tail.step().unwrap() {}
    }
    let verdict = tail.follower.verdict(Level::CommitmentOrdering);
    drop(signs);
    writers.into_iter().for_each(|writer| drop(writer.join()));
    (verdict, tail.follower.statistics().records)
}

#[test]
fn files_are_followed_to_their_footers_while_others_write_them() {
    let (verdict, records) = follow("to-the-end", texts(500, ""));
    assert_eq!((verdict, records), (Verdict::Valid, 1000));
}

#[test]
fn a_violation_is_seen_although_the_files_go_on() {
    let stale = "c L1 501 - r:x@1\n".to_owned();
    let many: String = (0..2000)
        .map(|txn| format!("c L{} {} - r:x@500\n", txn + 2, txn + 502))
        .collect();
    let (verdict, records) = follow("violated", texts(500, &(stale + &many)));
    let Verdict::Invalid { grounds, .. } = verdict else {
        panic!("a stale read")
    };
    // Both sites have it; which file is read first is up to the threads.
    let said = grounds[0].to_string();
    let site = if said.starts_with("At site A,") {
        "A"
    } else {
        "B"
    };
    assert_eq!(
        said,
        format!(
            "At site {site}, L1@{site} saw \"x\" at version 1, and G2 installed a newer version (seq 2): so \
             L1@{site} precedes G2, but L1@{site} was decided at 501 and G2 at 2."
        )
    );
    assert!(records < 2000, "{records}");
}
