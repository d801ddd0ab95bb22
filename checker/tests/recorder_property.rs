//! Any interleaving of sessions is recorded as it happened, compared with a text that is written down by hand.
#![allow(clippy::unwrap_used, reason = "tests may stop")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use checker::formats::{self, Format};
use checker::recorder::{Recorder, Session};
use proptest::collection::vec;
use proptest::prelude::*;

/// What one client is told to do next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Read(u8, Option<u8>),
    Write(u8, u8),
    Append(u8, u8),
    List(u8, u8),
    Unseen(u8),
    Committed,
    Aborted,
    Unknown,
    Dropped,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, value) = (0..4_u8, 0..9_u8);
    prop_oneof![
        4 => Just(Step::Begin),
        2 => (key.clone(), proptest::option::of(value.clone())).prop_map(|(k, v)| Step::Read(k, v)),
        2 => (key.clone(), value.clone()).prop_map(|(k, v)| Step::Write(k, v)),
        2 => (key.clone(), value).prop_map(|(k, v)| Step::Append(k, v)),
        1 => (key.clone(), 0..4_u8).prop_map(|(k, count)| Step::List(k, count)),
        1 => key.prop_map(Step::Unseen),
        2 => Just(Step::Committed),
        1 => Just(Step::Aborted),
        1 => Just(Step::Unknown),
        1 => Just(Step::Dropped),
    ]
}

/// A client thread: takes steps one at a time, and tells when each is done. Steps that make no sense are skipped.
fn client(session: &mut Session, steps: &Receiver<Step>, done: &Sender<()>) {
    while let Ok(first) = steps.recv() {
        if !matches!(first, Step::Begin) {
            done.send(()).unwrap();
            continue;
        }
        let mut txn = session.begin();
        done.send(()).unwrap();
        loop {
            let Ok(step) = steps.recv() else {
                // Left open until the record has been taken.
                std::mem::forget(txn);
                return;
            };
            match step {
                Step::Begin => {}
                Step::Read(key, value) => txn.read(key, value),
                Step::Write(key, value) => txn.write(key, value),
                Step::Append(key, value) => txn.append(key, value),
                Step::List(key, count) => txn.read_list(key, &(0..count).collect::<Vec<_>>()),
                Step::Unseen(key) => txn.unseen(key),
                Step::Committed => break txn.committed(),
                Step::Aborted => break txn.aborted(),
                Step::Unknown => break txn.unknown(),
                Step::Dropped => break drop(txn),
            }
            done.send(()).unwrap();
        }
        done.send(()).unwrap();
    }
}

/// What a client's transactions are expected to look like.
#[derive(Default, Clone)]
struct Expected {
    part: usize,
    open: Option<(u32, String)>,
}

/// An operation in the native format.
fn operation(step: &Step) -> String {
    match step {
        Step::Read(key, value) => {
            let value = value.map_or_else(|| "~".to_owned(), |value| value.to_string());
            format!(" r:{key}={value}")
        }
        Step::Write(key, value) => format!(" w:{key}={value}"),
        Step::Append(key, value) => format!(" a:{key}={value}"),
        Step::List(key, count) => {
            let list: Vec<String> = (0..*count).map(|value| value.to_string()).collect();
            format!(" l:{key}=[{}]", list.join(","))
        }
        Step::Unseen(key) => format!(" u:{key}"),
        Step::Begin | Step::Committed | Step::Aborted | Step::Unknown | Step::Dropped => {
            unreachable!("no operation")
        }
    }
}

/// The history in the native format, with sessions that are not numbered yet.
fn expected(script: &[(usize, Step)]) -> String {
    let mut clock = 0;
    let mut tick = || {
        clock += 1;
        clock - 1
    };
    let mut clients = vec![Expected::default(); SESSIONS];
    let mut lines: Vec<(char, (usize, usize), String)> = Vec::new();
    for (place, step) in script {
        let client = &mut clients[*place];
        let Some((begin, ops)) = &mut client.open else {
            if matches!(step, Step::Begin) {
                client.open = Some((tick(), String::new()));
            }
            continue;
        };
        let outcome = match step {
            Step::Begin => continue,
            Step::Read(..)
            | Step::Write(..)
            | Step::Append(..)
            | Step::List(..)
            | Step::Unseen(..) => {
                ops.push_str(&operation(step));
                continue;
            }
            Step::Committed => 'c',
            Step::Aborted => 'a',
            Step::Unknown | Step::Dropped => 'u',
        };
        let end = tick();
        let end = if outcome == 'u' {
            String::new()
        } else {
            end.to_string()
        };
        lines.push((
            outcome,
            (*place, client.part),
            format!("{begin}..{end}{ops}"),
        ));
        client.part += usize::from(outcome == 'u');
        client.open = None;
    }
    let mut open: Vec<_> = clients.iter().enumerate().collect();
    open.sort_by_key(|(_, client)| client.open.as_ref().map(|(begin, _)| *begin));
    for (place, client) in open {
        if let Some((begin, ops)) = &client.open {
            lines.push(('u', (place, client.part), format!("{begin}..{ops}")));
        }
    }
    let mut sessions = Vec::new();
    let mut text = "co-observed 1\n".to_owned();
    for (outcome, session, rest) in &lines {
        let known = sessions.iter().position(|known| known == session);
        let number = known.unwrap_or(sessions.len());
        if known.is_none() {
            sessions.push(*session);
        }
        text.push_str(&format!("{outcome} {number} {rest}\n"));
    }
    text.push_str(&format!("end {}\n", lines.len()));
    text
}

const SESSIONS: usize = 3;

fn recorded(script: &[(usize, Step)]) -> String {
    let recorder = Recorder::new("script");
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|_| recorder.session()).collect();
    thread::scope(|scope| {
        let (done, is_done) = channel();
        let mut clients = Vec::new();
        for session in &mut sessions {
            let (steps, commands) = channel();
            let done = done.clone();
            scope.spawn(move || client(session, &commands, &done));
            clients.push(steps);
        }
        for (place, step) in script {
            clients[*place].send(*step).unwrap();
            is_done.recv().unwrap();
        }
    });
    let mut bytes = Vec::new();
    formats::write(&recorder.finish(), Format::Native, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_is_recorded_as_it_happened(
        script in vec((0..SESSIONS, step()), 0..60),
    ) {
        prop_assert_eq!(recorded(&script), expected(&script));
    }
}
