//! The residual under an ordering authority: one log, and results that follow from it.

use std::sync::atomic::{AtomicUsize, Ordering};

use checker::spec::rows::registers::{Answer, Linearizable, Op};
use checker::spec::{
    Event, EventId, History, Options, Ordered, Request, Specification, available, each_history,
    monotone,
};

type Log = History<Request<Op>, Answer>;

/// `q` submits a write and sends it; `p`, who orders, writes before it hears of it, and reads after; then `q` hears the log.
fn history() -> (Log, [EventId; 3]) {
    let mut history = Log::new(2);
    let theirs = history.push(1, Event::Internal(Request::Submit(Op::Write("cat"))));
    let request = history.push(1, Event::Send { to: 0 });
    let ours = history.push(0, Event::Internal(Request::Submit(Op::Write("dog"))));
    history.push(0, Event::Receive { from: request });
    let read = history.push(0, Event::Internal(Request::Submit(Op::Read)));
    let log = history.push(0, Event::Send { to: 1 });
    history.push(1, Event::Receive { from: log });
    (history, [ours, theirs, read])
}

#[test]
fn the_log_is_the_order_in_which_the_authority_hears_and_only_grows() {
    let register = Ordered::new(Linearizable);
    let (history, [ours, theirs, read]) = history();
    assert_eq!(register.log(&history), [ours, theirs, read]);
    for cut in history.cuts() {
        let earlier = register.log(&history.restrict(&cut));
        assert!(register.log(&history).starts_with(&earlier), "{earlier:?}");
    }
    // The read comes after both writes in the log, so it returns the second.
    let results = [Answer::Done, Answer::Done, Answer::Value("cat")].map(Some);
    let expected: Vec<_> = [ours, theirs, read].into_iter().zip(results).collect();
    assert_eq!(
        register.evaluate(&history, &register.log(&history)),
        expected
    );
}

#[test]
fn a_result_is_what_the_log_gives_and_nothing_else() {
    let register = Ordered::new(Linearizable);
    let (mut history, [ours, theirs, _]) = history();
    // The first result that `p` asks for is that of its own write: one entry of the log.
    let asked = history.push(0, Event::Invoke(Request::Result));
    let admitted = register.outcomes(&history);
    let lengths: Vec<usize> = admitted.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 2, 3]);
    assert_eq!(admitted[0], [(ours, Some(Answer::Done))]);
    assert_eq!(
        register.answer(&admitted[0], &history, asked),
        Some(Answer::Done)
    );
    history.push(
        0,
        Event::Respond {
            to: asked,
            value: Answer::Done,
        },
    );
    let asked = history.push(0, Event::Invoke(Request::Result));
    // The second is that of the read, and all of the log is needed to know it.
    let admitted = register.outcomes(&history);
    assert_eq!(admitted.len(), 1);
    assert!(admitted[0].iter().any(|(id, _)| *id == theirs));
    history.push(
        0,
        Event::Respond {
            to: asked,
            value: Answer::Value("dog"),
        },
    );
    assert!(register.outcomes(&history).is_empty(), "the log says cat");
}

#[test]
fn everybody_knows_a_prefix_of_the_log_and_both_are_told_results() {
    let register = Ordered::new(Linearizable);
    let told = AtomicUsize::new(0);
    each_history(&register, &Options::default(), |history| {
        let log = register.log(history);
        for process in 0..2 {
            assert!(
                log.starts_with(&register.log(&history.view(process))),
                "{history:?}"
            );
        }
        let answered = |process| history.invocations().any(|(id, _)| id.process == process);
        if answered(0) && answered(1) {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(
        told.into_inner() > 100,
        "both clients have to be told something for this to say anything"
    );
}

#[test]
fn what_needs_coordination_needs_none_behind_the_log() {
    let options = Options::default();
    assert!(!monotone(&Linearizable, &options).holds());
    assert!(!available(&Linearizable, &options).holds());
    let residual = Ordered::new(Linearizable);
    let decision = monotone(&residual, &options);
    assert!(
        decision.holds() && decision.examined.histories > 1000,
        "{}",
        decision.examined
    );
    assert!(available(&residual, &options).holds());
}
