//! Two transactions, one conflict: the second's vote waits for the first's decision.
#![allow(clippy::print_stdout, reason = "an example shows something")]

use co_core::{EdgeKind, Kind, Outcome, Priority, Scheduler, Vote, VoteRule};

fn main() -> Result<(), co_core::Misuse> {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let [reader, writer] = [1, 2].map(|age| {
        scheduler.begin(Kind::Local {
            priority: Priority(age),
        })
    });
    // The engine saw `reader` read a record that `writer` then overwrote, and blocked neither.
    scheduler.edge(&reader, &writer, EdgeKind::ReadWrite)?;

    let vote = scheduler.request_vote(&writer);
    println!("the writer is ready: {:?}", vote.peek()); // None: the reader is undecided

    assert_eq!(scheduler.request_vote_blocking(&reader), Vote::Yes);
    scheduler.decided(&reader, Outcome::Commit)?;
    println!("the reader has committed: {:?}", vote.peek()); // Some(Yes)

    assert_eq!(vote.wait(), Vote::Yes);
    scheduler.decided(&writer, Outcome::Commit)
}
