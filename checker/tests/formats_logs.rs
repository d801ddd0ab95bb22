//! The formats of TimeKiller, Vbox and ViperBench, and folders of logs: what is made of what they can say, and what is
//! said of what cannot be read.
#![allow(clippy::unwrap_used, reason = "a test crate")]

use std::path::Path;

use checker::formats::{
    self, Format, FormatError, FormatFault, Limits, Loss, Place, ReadOptions, WriteError, detect,
};
use checker::observed::{Interval, Observed, ObservedBuilder, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn parse(bytes: &[u8]) -> Result<Observed, FormatError> {
    formats::read(bytes, "test", &ReadOptions::default())
}

fn native(history: &Observed) -> String {
    let mut native = Vec::new();
    formats::write(history, Format::Native, &mut native).unwrap();
    String::from_utf8(native).unwrap()
}

/// The transactions of a history, in the native format.
#[track_caller]
fn txns(history: Result<Observed, FormatError>) -> Vec<String> {
    let native = native(&history.unwrap_or_else(|error| panic!("{error}")));
    let lines = native.lines().filter(|line| !line.starts_with("co-"));
    let lines = lines.filter(|line| !line.starts_with("end"));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn fails(bytes: &[u8], place: Place, fault: &str) {
    match parse(bytes) {
        Ok(history) => panic!("it was read: {}", native(&history)),
        Err(error) => assert_eq!((error.place, &*error.fault.to_string()), (place, fault)),
    }
}

/// A folder of logs.
fn folder(logs: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, log) in logs {
        std::fs::write(folder.path().join(name), log).unwrap();
    }
    folder
}

fn of_folder(folder: &Path) -> Result<Observed, FormatError> {
    formats::read_path(folder, &ReadOptions::default())
}

#[test]
fn timekillers_registers_are_read_with_their_timestamps() {
    // The members in the order of the README, and in that of examples/format-kv.json, with times in quotes.
    let readme = r#"[
        {"tid": 67, "sid": 19, "sts": {"p": 1691420095436341, "l": 61}, "cts": {"p": 1691420095659914, "l": 18},
         "ops": [{"t": "w", "k": 7, "v": 2}, {"t": "WRITE", "k": 4, "v": 5}, {"t": "r", "k": 8, "v": null}]},
        {"tid": "b", "sid": 20, "sts": {"p": 1691420095659914, "l": 18}, "cts": {"p": 1691420095659914, "l": 19},
         "ops": [{"t": "Read", "k": 7, "v": 2}, {"t": "r", "k": 4, "v": 0}, {"t": "r", "k": 9}], "rtts": 5},
        {"tid": 68, "sid": 19, "sts": {"p": 1691420095659915, "l": -1}, "cts": {"p": 1691420095659915, "l": 0}, "ops": []}
    ]"#;
    assert_eq!(detect(readme.as_bytes()), Some(Format::TimeKiller));
    assert_eq!(
        txns(parse(readme.as_bytes())),
        [
            "c 0 0..1 w:7=2 w:4=5 r:8=~",
            "c 1 1..2 r:7=2 r:4=~ r:9=~",
            "c 0 3..4",
        ]
    );
    let example = r#"[{"cts":{"l":0,"p":"320316486"},"ops":[{"k":313,"t":"r","v":0},{"k":161,"t":"w","v":594}],"sid":32,
        "sts":{"l":0,"p":"320316484"},"tid":50},{"cts":{"l":0,"p":"320316485"},"ops":[{"k":313,"t":"w","v":0}],"sid":"32",
        "sts":{"l":"0","p":"320316483"},"tid":52}]"#;
    assert_eq!(detect(example.as_bytes()), Some(Format::TimeKiller));
    assert_eq!(
        txns(parse(example.as_bytes())),
        ["c 0 1..3 r:313=0 w:161=594", "c 0 0..2 w:313=0"]
    );
}

#[test]
fn timekillers_lists_are_read() {
    let text = r#"[{"tid":1,"sid":1,"sts":{"p":1,"l":0},"cts":{"p":2,"l":0},
        "ops":[{"t":"r","k":6},{"t":"a","k":3,"v":1},{"t":"r","k":6,"v":null},{"t":"r","k":3,"v":[]}]},
       {"tid":2,"sid":1,"sts":{"p":3,"l":0},"cts":{"p":4,"l":0},"ops":[{"k":3,"t":"read","v":[1,-2]},{"t":"append","k":3,"v":-2}]}]"#;
    assert_eq!(
        txns(parse(text.as_bytes())),
        [
            "c 0 0..1 l:6=[] a:3=1 l:6=[] l:3=[]",
            "c 0 2..3 l:3=[1,-2] a:3=-2"
        ]
    );
}

/// A history of one transaction with these operations.
fn of_ops(ops: &str) -> String {
    format!(
        "[\n{{\"tid\":1,\"sid\":1,\"sts\":{{\"p\":1,\"l\":0}},\"cts\":{{\"p\":2,\"l\":0}},\n\"ops\":[{ops}]}}]"
    )
}

#[test]
fn what_is_no_history_of_timekillers_is_refused_with_its_line() {
    let line = Place::Line;
    let record = |ops: &str, place: u64, fault: &str| {
        fails(of_ops(ops).as_bytes(), Place::Line(place), fault);
    };
    record(
        r#"{"t":"w","k":1}"#,
        3,
        "what was written or appended is not one value",
    );
    record(
        r#"{"t":"w","k":1,"v":[1]}"#,
        3,
        "what was written or appended is not one value",
    );
    record(r#"{"t":"w","v":1}"#, 3, "an operation needs t and k");
    record(
        r#"{"t":"x","k":1,"v":1}"#,
        3,
        "\"x\" stands where w, a or r should be",
    );
    record(
        "{\"t\":\"w\",\"k\":1,\"v\":1},\n{\"t\":\"a\",\"k\":2,\"v\":1}",
        4,
        "lists and registers in one history; TimeKiller's are of the one or of the other",
    );
    record(
        r#"{"t":"r","k":1,"v":[null]}"#,
        3,
        "an element of a list is not a value",
    );
    let whole = of_ops("");
    fails(
        whole.replace("\"p\":2", "\"p\":0").as_bytes(),
        line(3),
        "the transaction ended before it began",
    );
    fails(
        whole.replace("\"p\":2", "\"p\":2.5").as_bytes(),
        line(2),
        "\"2.5\" stands where an integer of 64 bits should be",
    );
    fails(
        whole.replace("\"p\":2,", "").as_bytes(),
        line(2),
        "a timestamp needs p and l",
    );
    fails(
        whole.replace("\"sid\":1,", "").as_bytes(),
        line(3),
        "a transaction needs tid, sid, sts, cts and ops",
    );
    let twice = whole.replace("]}]", "]},\n{\"tid\":\"1\",\"sid\":2,\"sts\":{\"p\":1,\"l\":0},\"cts\":{\"p\":2,\"l\":0},\"ops\":[]}]");
    fails(
        twice.as_bytes(),
        line(4),
        "transaction 1 is there twice; is a log there under two names?",
    );
    fails(
        whole.strip_suffix(']').unwrap().as_bytes(),
        line(3),
        "the file ends where a comma or the end of an array should be; it was cut short",
    );
    fails(
        format!("{whole}\n[]").as_bytes(),
        line(4),
        "something follows the end of the history; give one history a file",
    );
}

/// A record of Vbox's.
fn record(kind: u8, op: u32, times: [u64; 2], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(op.to_le_bytes());
    bytes.extend(times.into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(rest);
    bytes
}

fn wrote(key: u64, field: u64, value: u32) -> Vec<u8> {
    let mut bytes = [key, field].map(u64::to_le_bytes).concat();
    bytes.extend(value.to_le_bytes());
    bytes
}

fn saw(key: u64, txn: u32, op: u32) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.extend(txn.to_le_bytes());
    bytes.extend(op.to_le_bytes());
    bytes
}

/// Two logs: a transaction that wrote a row twice; and one that saw that, one that aborted, and one that was not answered.
fn vbox() -> [Vec<u8>; 2] {
    let one = [
        record(
            b'T',
            7,
            [1_700_000_000_000_000_000, 1_700_000_000_000_000_900],
            &[],
        ),
        record(b'S', 1, [0, 0], &[]),
        record(b'W', 2, [0, 0], &wrote(5, 0, 10)),
        record(b'W', 3, [0, 0], &wrote(5, 1, 11)),
        record(b'R', 4, [0, 0], &saw(6, 0, 0)),
        record(b'C', 5, [0, 1_700_000_000_000_000_950], &[]),
    ];
    let other = [
        record(
            b'T',
            8,
            [1_700_000_000_000_000_950, 1_700_000_000_000_000_960],
            &[],
        ),
        record(b'R', 6, [0, 0], &saw(5, 7, 3)),
        record(b'C', 7, [0, 0], &[]),
        record(
            b'T',
            9,
            [1_700_000_000_000_000_970, 1_700_000_000_000_000_980],
            &[],
        ),
        record(b'W', 8, [0, 0], &wrote(u64::MAX, 0, 1)),
        record(b'A', 9, [0, 0], &[]),
        record(
            b'T',
            10,
            [1_700_000_000_000_000_990, 1_700_000_000_000_000_990],
            &[],
        ),
        record(b'W', 10, [0, 0], &wrote(5, 0, 1)),
    ];
    [one.concat(), other.concat()]
}

#[test]
fn vboxs_logs_are_read() {
    let [one, other] = vbox();
    assert_eq!(detect(&one), Some(Format::Vbox));
    assert_eq!(txns(parse(&one)), ["c 0 0..1 w:5=7.2 w:5=7.3 r:6=~"]);
    // 10.log is after 9.log; what has no number is not looked at.
    let logs = folder(&[
        ("10.log", &other),
        ("9.log", &one),
        ("notes.txt", b"?"),
        ("a.log", b"?"),
    ]);
    assert_eq!(
        txns(of_folder(logs.path())),
        [
            // It ended when its client was told, which is when the next began.
            "c 0 0..1 w:5=7.2 w:5=7.3 r:6=~",
            "c 1 1..2 r:5=7.3",
            "a 1 3..4 w:18446744073709551615=9.8",
            "u 1 5.. w:5=10.10",
        ]
    );
    let bytes = u64::try_from(one.len() + other.len()).unwrap();
    let twice = folder(&[("1.log", &one), ("2.log", &one)]);
    let error = of_folder(twice.path()).unwrap_err();
    assert!(
        matches!(&error.fault, FormatFault::Twice { txn } if txn == "7"),
        "{error}"
    );
    assert_eq!(error.place, Place::Byte(21));
    assert!(error.file.ends_with("2.log") && bytes > 21, "{error}");
}

#[test]
fn what_is_no_log_of_vboxs_is_refused_with_its_byte() {
    let [one, other] = vbox();
    let byte = |at: usize| Place::Byte(u64::try_from(at).unwrap());
    let log = |records: &[Vec<u8>]| [&one[..42], &records.concat()].concat();
    let predicate = record(b'P', 3, [0, 0], &[0; 20]);
    fails(
        &log(&[predicate]),
        byte(43),
        "a predicate read (P): a history of reads and writes of keys cannot hold what it did not return",
    );
    fails(
        &log(&[record(b'T', 8, [0, 0], &[])]),
        byte(43),
        "a transaction begins before the last one of its session has ended",
    );
    fails(
        &[&one[..], &record(b'C', 8, [0, 0], &[])].concat(),
        byte(one.len() + 1),
        "a record outside of a transaction",
    );
    fails(
        &log(&[b"?".to_vec()]),
        byte(43),
        "a record is none of T, S, W, R, P, C and A; is this a log of Vbox's?",
    );
    fails(
        &other[..other.len() - 1],
        byte(other.len() - 1),
        "the file ends where the rest of a record should be; it was cut short",
    );
    let initial = [record(b'T', 0, [0, 0], &[]), record(b'C', 1, [0, 0], &[])].concat();
    fails(
        &initial,
        byte(21),
        "transaction 0 is the initial state, and runs nowhere",
    );
}

/// What ViperBench writes for a client with its first kind of operations, and with its second.
const ARRAYS: &str = r#"{"value": [["w", 5, -11, true], ["r", 6, 0, false], ["w", 7, 12, false]]}
{"value": [["i", 6, 13, 0, false, true], ["d", 5, 14, -11, false, true]], "isInitial": false, "isFinal": true}
"#;
const OBJECTS: &str = r#"{"preBeginTS": 30, "postBeginTS": 31, "preCommitTS": 32, "postCommitTS": 33, "value": [{"opType": "w", "key": "5", "value": -11, "succ": true, "reqTS": 1, "resTS": 2}, {"opType": "r", "key": "6", "value": 0, "isDead": false}, {"opType": "w", "key": "7", "value": 12, "succ": false}]}
{"preBeginTS": -1, "postBeginTS": -1, "preCommitTS": 34, "postCommitTS": 35, "value": [{"opType": "i", "key": "6", "value": 13, "readValue": 0, "isDead": false, "succ": true}, {"opType": "d", "key": "5", "value": 14, "readValue": -11, "isDead": false, "succ": true}]}
"#;

#[test]
fn vipers_logs_are_read() {
    for text in [ARRAYS, OBJECTS] {
        assert_eq!(detect(text.as_bytes()), Some(Format::Viper), "{text}");
    }
    assert_eq!(
        txns(parse(ARRAYS.as_bytes())),
        ["c 0 - w:5=-11 r:6=~", "c 0 - r:6=~ w:6=13 r:5=-11 w:5=14"]
    );
    let logs = folder(&[
        ("J14.log", ARRAYS.as_bytes()),
        ("J2.log", OBJECTS.as_bytes()),
    ]);
    assert_eq!(
        txns(of_folder(logs.path())),
        [
            "c 0 0..1 w:\"5\"=-11 r:\"6\"=~",
            "c 0 - r:\"6\"=~ w:\"6\"=13 r:\"5\"=-11 w:\"5\"=14",
            "c 1 - w:5=-11 r:6=~",
            "c 1 - r:6=~ w:6=13 r:5=-11 w:5=14",
        ]
    );
    let zero = format!("{ARRAYS}{}", r#"{"value": [["w", 6, 0, true]]}"#);
    assert_eq!(txns(parse(zero.as_bytes()))[0], "c 0 - w:5=-11 r:6=0");
}

#[test]
fn what_is_no_log_of_vipers_is_refused_with_its_line() {
    let second = |line: &str| format!("{{\"value\": []}}\n{line}");
    for (line, fault) in [
        (
            r#"{"value": [["range", 1, 9, [], []]]}"#,
            "a range read: a history of reads and writes of keys cannot hold what it did not return",
        ),
        (
            r#"{"value": [{"opType": "range", "key1": 1}]}"#,
            "a range read: a history of reads and writes of keys cannot hold what it did not return",
        ),
        (
            r#"{"value": [["w", 1, 2]]}"#,
            "an operation lacks its key, value or flag",
        ),
        (
            r#"{"value": [["i", 1, 2, null, true, true]]}"#,
            "an operation lacks its key, value or flag",
        ),
        (
            r#"{"value": [["r", 1, 2, true, 3]]}"#,
            "\"3]]}\" stands where the end of an operation should be",
        ),
        (r#"{"isFinal": true}"#, "a transaction needs a value"),
        (
            r#"{"value": [], "value": []}"#,
            "a transaction has value twice",
        ),
        (
            r#"{"preBeginTS": 5, "postCommitTS": 4, "value": []}"#,
            "the transaction ended before it began",
        ),
        (
            r#"{"value": [["r", 1, 2"#,
            "the file ends where a comma or the end of an array should be; it was cut short",
        ),
    ] {
        fails(second(line).as_bytes(), Place::Line(2), fault);
    }
}

#[test]
fn a_folder_is_of_one_kind_of_logs() {
    let [one, _] = vbox();
    let none = folder(&[("notes.txt", b"?")]);
    let error = of_folder(none.path()).unwrap_err();
    assert!(
        matches!(error.fault, FormatFault::WrongKind { .. }),
        "{error}"
    );
    let mixed = folder(&[("1.log", &one), ("J1.log", ARRAYS.as_bytes())]);
    let error = of_folder(mixed.path()).unwrap_err();
    assert!(error.to_string().contains("several kinds"), "{error}");
    for (format, count) in [(Format::Vbox, 1), (Format::Viper, 2)] {
        let options = ReadOptions {
            format: Some(format),
            ..ReadOptions::default()
        };
        let history = formats::read_path(mixed.path(), &options).unwrap();
        assert_eq!(history.txns().len(), count);
    }
    let options = ReadOptions {
        format: Some(Format::Text),
        ..ReadOptions::default()
    };
    assert!(formats::read_path(mixed.path(), &options).is_err());
}

#[test]
fn limits_hold_for_these_formats_too() {
    let [one, _] = vbox();
    let many = of_ops(&vec![r#"{"t":"w","k":1,"v":1}"#; 50].join(","));
    for bytes in [one.as_slice(), many.as_bytes(), ARRAYS.as_bytes()] {
        let read = |limits: Limits| {
            let options = ReadOptions {
                limits,
                ..ReadOptions::default()
            };
            formats::read(bytes, "test", &options).unwrap_err().fault
        };
        let fault = read(Limits {
            operations: 3,
            ..Limits::default()
        });
        assert!(
            matches!(fault, FormatFault::TooManyOperations { limit: 3 }),
            "{fault}"
        );
        let fault = read(Limits {
            bytes: 40,
            ..Limits::default()
        });
        assert!(
            matches!(fault, FormatFault::TooManyBytes { limit: 40 }),
            "{fault}"
        );
    }
    let more = format!("\"more\":{}1{}", "[".repeat(65_537), "]".repeat(65_537));
    let deep = of_ops("").replace("\n\"ops\"", &format!("{more},\n\"ops\""));
    fails(
        deep.as_bytes(),
        Place::Line(2),
        "collections are nested deeper than 65536; histories are flat",
    );
}

/// A transaction of registers: session, outcome, when it ran, and operations of small keys; each write is of its own value.
type Draft = (u8, Outcome, (u64, u64), Vec<(u8, Option<Index>)>);

fn draft() -> impl Strategy<Value = Draft> {
    let outcome = prop_oneof![6 => Just(Outcome::Committed), 1 => Just(Outcome::Aborted), 1 => Just(Outcome::Unknown)];
    let op = (0..4_u8, proptest::option::of(any::<Index>()));
    (
        0..3_u8,
        outcome,
        (0..1_u64 << 40, 0..1_u64 << 20),
        vec(op, 0..5),
    )
}

/// An operation: a key, the value (a transaction and an operation in it, both from one), and whether it was written.
type Act = (u8, Option<(u32, u32)>, bool);

/// What the drafts come to: reads see anything that anybody writes.
fn acts(drafts: &[Draft]) -> Vec<Vec<Act>> {
    let mut written: Vec<(u32, u32)> = Vec::new();
    for (txn, (_, _, _, ops)) in (1..).zip(drafts) {
        let writes = (1..).zip(ops).filter(|(_, (_, seen))| seen.is_none());
        written.extend(writes.map(|(op, _)| (txn, op)));
    }
    let act = |txn: u32, op: u32, (key, seen): &(u8, Option<Index>)| match seen {
        None => (*key, Some((txn, op)), true),
        Some(index) => {
            let place = index.index(written.len() + 1);
            (*key, written.get(place).copied(), false)
        }
    };
    let of_txn = |(txn, draft): (u32, &Draft)| {
        (1..)
            .zip(&draft.3)
            .map(|(op, it)| act(txn, op, it))
            .collect()
    };
    (1..).zip(drafts).map(of_txn).collect()
}

/// The same, made here: values are called by `name`; an empty session is none, and what was not answered ends its own.
fn expected(drafts: &[Draft], timed: bool, name: impl Fn((u32, u32)) -> String) -> Observed {
    let mut builder = ObservedBuilder::new("made");
    let mut times: Vec<u64> = Vec::new();
    for (_, outcome, (begin, length), _) in drafts {
        times.push(*begin);
        if *outcome != Outcome::Unknown {
            times.push(begin + length);
        }
    }
    times.sort_unstable();
    times.dedup();
    let rank = |time: u64| u32::try_from(times.binary_search(&time).unwrap()).unwrap();
    for ((session, outcome, (begin, length), _), acts) in drafts.iter().zip(acts(drafts)) {
        for (key, value, writes) in acts {
            let key = builder.key(&key.to_string()).unwrap();
            let value = value.map(|value| builder.value(&name(value)).unwrap());
            match value {
                Some(value) if writes => builder.write(key, value).unwrap(),
                value => builder.read(key, value).unwrap(),
            }
        }
        let end = match outcome {
            Outcome::Unknown => u32::MAX,
            Outcome::Committed | Outcome::Aborted => rank(begin + length),
        };
        let interval = timed.then(|| Interval {
            begin: rank(*begin),
            end,
        });
        builder
            .end(Some(u32::from(*session)), *outcome, interval, 0)
            .unwrap();
    }
    builder.finish()
}

/// Sorted by session, and at most the last of each is unanswered; sessions are numbered without gaps.
fn in_sessions(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.sort_by_key(|draft| draft.0);
    for place in 1..drafts.len() {
        if drafts[place - 1].0 == drafts[place].0 && drafts[place - 1].1 == Outcome::Unknown {
            drafts[place - 1].1 = Outcome::Aborted;
        }
    }
    let mut said = drafts.iter().map(|draft| draft.0).collect::<Vec<_>>();
    said.dedup();
    for draft in &mut drafts {
        draft.0 = u8::try_from(said.iter().position(|it| *it == draft.0).unwrap()).unwrap();
    }
    drafts
}

/// Vbox's logs of the same, one for each session.
fn vbox_logs(drafts: &[Draft]) -> Vec<Vec<u8>> {
    let sessions = drafts.last().map_or(0, |draft| draft.0 + 1);
    let mut logs = vec![Vec::new(); usize::from(sessions)];
    for ((txn, draft), acts) in (1..).zip(drafts).zip(acts(drafts)) {
        let (session, outcome, (begin, length), _) = draft;
        let log = &mut logs[usize::from(*session)];
        log.extend(record(b'T', txn, [*begin, begin + length], &[]));
        for (op, (key, value, writes)) in (1..).zip(acts) {
            let (from, of) = value.unwrap_or((0, 0));
            log.extend(if writes {
                record(b'W', op, [0, 0], &wrote(key.into(), 0, 1))
            } else {
                record(b'R', op, [0, 0], &saw(key.into(), from, of))
            });
        }
        match outcome {
            Outcome::Committed => log.extend(record(b'C', 99, [0, 0], &[])),
            Outcome::Aborted => log.extend(record(b'A', 99, [0, 0], &[])),
            Outcome::Unknown => {}
        }
    }
    logs
}

fn number((txn, op): (u32, u32)) -> String {
    (txn * 100 + op).to_string()
}

fn timekiller_text(drafts: &[Draft]) -> String {
    let mut txns = Vec::new();
    for ((txn, draft), acts) in (1..).zip(drafts).zip(acts(drafts)) {
        let (session, _, (begin, length), _) = draft;
        let ops: Vec<String> = acts
            .into_iter()
            .map(|(key, value, writes)| {
                let value = value.map_or_else(|| "null".to_owned(), number);
                let letter = if writes { "w" } else { "r" };
                format!("{{\"t\":\"{letter}\",\"k\":{key},\"v\":{value}}}")
            })
            .collect();
        // The physical part and the logical one.
        let time = |time: u64| format!("{{\"l\":{},\"p\":\"{}\"}}", time % 1000, time / 1000);
        txns.push(format!(
            "{{\"cts\":{},\"ops\":[{}],\"sid\":\"s{session}\",\"sts\":{},\"tid\":{txn}}}",
            time(begin + length),
            ops.join(","),
            time(*begin),
        ));
    }
    format!("[{}]", txns.join(",\n"))
}

fn viper_text(drafts: &[Draft]) -> String {
    let line = |(draft, acts): (&Draft, Vec<Act>)| {
        let ops: Vec<String> = acts
            .into_iter()
            .map(|(key, value, writes)| {
                let value = value.map_or_else(|| "0".to_owned(), number);
                let (letter, flag) = if writes { ("w", true) } else { ("r", false) };
                format!("[\"{letter}\", {key}, {value}, {flag}]")
            })
            .collect();
        let (begin, length) = draft.2;
        let end = begin + length;
        format!(
            "{{\"preBeginTS\": {begin}, \"postCommitTS\": {end}, \"value\": [{}]}}\n",
            ops.join(", ")
        )
    };
    drafts.iter().zip(acts(drafts)).map(line).collect()
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES");
    let cases = asked.map_or(200, |asked| asked.parse().unwrap());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_recorded_is_read(drafts in vec(draft(), 1..10)) {
        let drafts = in_sessions(drafts);
        let logs: Vec<(String, Vec<u8>)> = (0..)
            .zip(vbox_logs(&drafts))
            .map(|(number, log): (u32, _)| (format!("{number}.log"), log))
            .collect();
        let logs: Vec<(&str, &[u8])> = logs.iter().map(|(name, log)| (&**name, &**log)).collect();
        let read = of_folder(folder(&logs).path()).unwrap();
        let made = expected(&drafts, true, |(txn, op)| format!("{txn}.{op}"));
        prop_assert_eq!(native(&read), native(&made));

        let mut committed = drafts;
        for draft in &mut committed {
            draft.1 = Outcome::Committed;
        }
        let made = expected(&committed, true, number);
        let read = parse(timekiller_text(&committed).as_bytes()).unwrap();
        prop_assert_eq!(native(&read), native(&made));
        for draft in &mut committed {
            draft.0 = 0;
        }
        let made = expected(&committed, true, number);
        let read = parse(viper_text(&committed).as_bytes()).unwrap();
        prop_assert_eq!(native(&read), native(&made));
    }

    #[test]
    fn cobras_logs_that_are_written_are_read_again(drafts in vec(draft(), 1..10)) {
        let drafts = in_sessions(drafts);
        let history = expected(&drafts, false, number);
        let folder = tempfile::tempdir().unwrap();
        let losses = formats::write_folder(&history, Format::Cobra, folder.path()).unwrap();
        let again = of_folder(folder.path()).unwrap();
        if losses.is_empty() {
            prop_assert_eq!(native(&again), native(&history));
            return Ok(());
        }
        // A value that was seen of another key than it was written to gets another identifier, and so do all.
        prop_assert_eq!(losses, [Loss::Names]);
        let unnamed = |history: &Observed| {
            let text = native(history);
            let words = text.split_inclusive(' ').map(|word| word.split_once('=').map_or(word, |(op, _)| op).to_owned());
            words.collect::<String>()
        };
        prop_assert_eq!(unnamed(&again), unnamed(&history));
    }
}

#[test]
fn cobras_logs_hold_what_they_can_and_say_what_they_cannot() {
    let text = "co-observed 1\nc 0 0..1 w:x=a w:y=a\nu 0 2.. r:x=a w:x=b\nc 0 3..4 r:y=a r:x=~\na - - w:x=c u:y\nend 4\n";
    let history = parse(text.as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let losses = formats::write_folder(&history, Format::Cobra, folder.path()).unwrap();
    assert_eq!(
        losses,
        [
            Loss::RealTime,
            Loss::Names,
            Loss::AbortedTransactions,
            Loss::SessionsInDoubt
        ]
    );
    assert_eq!(
        txns(of_folder(folder.path())),
        [
            "c 0 - w:0=1 w:1=2",
            "c 0 - r:1=2 r:0=~",
            "a 1 - w:0=4",
            "u 2 - r:0=1 w:0=3"
        ]
    );
    // A log that is there already would be a session of this history.
    let one = parse(b"w(1,1,0,0)\n").unwrap();
    let error = formats::write_folder(&one, Format::Cobra, folder.path()).unwrap_err();
    assert!(
        matches!(&error, WriteError::Io(io) if io.to_string().contains("empty folder")),
        "{error}"
    );
    for refused in [
        "co-observed 1\nc 0 - a:x=1\nend 1\n",
        "co-observed 1\nc 0 - u:x\nend 1\n",
    ] {
        let history = parse(refused.as_bytes()).unwrap();
        let error = formats::write_folder(&history, Format::Cobra, folder.path()).unwrap_err();
        assert!(
            matches!(error, WriteError::NotRepresentable { .. }),
            "{error}"
        );
    }
    let error = formats::write_folder(&one, Format::Vbox, folder.path()).unwrap_err();
    assert!(
        matches!(error, WriteError::NotWritten(Format::Vbox)),
        "{error}"
    );
}
