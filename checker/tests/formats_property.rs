//! What is written is read again, and nothing that is read makes a reader panic.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test crate; what is skipped has to be said"
)]

use std::io::Write as _;
use std::path::Path;

use checker::formats::{self, Format, Kind, Limits, ReadOptions};
use checker::observed::{Interval, Observed, ObservedBuilder, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// An operation of a transaction, before it is known what it is on.
#[derive(Debug, Clone)]
enum Draft {
    Read(Index, Option<Index>),
    Write(Index, Index),
    ReadList(Index, Vec<Index>),
    Append(Index, Index),
    Unseen(Index),
}

#[derive(Debug, Clone)]
struct TxnDraft {
    session: Option<u8>,
    outcome: Outcome,
    interval: Option<(u32, Option<u32>)>,
    ops: Vec<Draft>,
}

/// Which operations a history has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Registers,
    Lists,
    Both,
}

fn draft(of: Of) -> impl Strategy<Value = Draft> {
    let index = any::<Index>;
    let read =
        (index(), proptest::option::of(index())).prop_map(|(key, value)| Draft::Read(key, value));
    let write = (index(), index()).prop_map(|(key, value)| Draft::Write(key, value));
    let list = (index(), vec(index(), 0..4)).prop_map(|(key, list)| Draft::ReadList(key, list));
    let append = (index(), index()).prop_map(|(key, value)| Draft::Append(key, value));
    let unseen = index().prop_map(Draft::Unseen);
    match of {
        Of::Registers => prop_oneof![read, write].boxed(),
        Of::Lists => prop_oneof![list, append].boxed(),
        Of::Both => prop_oneof![read, write, list, append, unseen].boxed(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Committed),
        1 => Just(Outcome::Aborted),
        1 => Just(Outcome::Unknown),
    ]
}

fn txn(of: Of) -> impl Strategy<Value = TxnDraft> {
    let times = (0..1000_u32, proptest::option::of(0..1000_u32));
    (
        proptest::option::of(0..4_u8),
        outcome(),
        proptest::option::of(times),
        vec(draft(of), 0..5),
    )
        .prop_map(|(session, outcome, interval, ops)| TxnDraft {
            session,
            outcome,
            interval,
            ops,
        })
}

/// One of the names.
fn pick<'n>(index: &Index, names: &[&'n str]) -> &'n str {
    names[index.index(names.len())]
}

/// Adds the operations of a transaction. Reads of one that was not answered were not seen.
fn push(builder: &mut ObservedBuilder, names: &[&str], txn: &TxnDraft, seen: bool) {
    for op in &txn.ops {
        let key = |key: &Index| pick(key, names);
        match op {
            Draft::Read(at, _) | Draft::ReadList(at, _) if !seen => {
                let at = builder.key(key(at)).unwrap();
                builder.unseen(at).unwrap();
            }
            Draft::Read(at, value) => {
                let at = builder.key(key(at)).unwrap();
                let value = value
                    .as_ref()
                    .map(|value| builder.value(pick(value, names)).unwrap());
                builder.read(at, value).unwrap();
            }
            Draft::Write(at, value) | Draft::Append(at, value) => {
                let at = builder.key(key(at)).unwrap();
                let value = builder.value(pick(value, names)).unwrap();
                match op {
                    Draft::Write(..) => builder.write(at, value).unwrap(),
                    Draft::Append(..)
                    | Draft::Read(..)
                    | Draft::ReadList(..)
                    | Draft::Unseen(_) => builder.append(at, value).unwrap(),
                }
            }
            Draft::ReadList(at, list) => {
                let at = builder.key(key(at)).unwrap();
                let list: Vec<_> = list
                    .iter()
                    .map(|value| builder.value(pick(value, names)).unwrap())
                    .collect();
                builder.read_list(at, &list).unwrap();
            }
            Draft::Unseen(at) => {
                let at = builder.key(key(at)).unwrap();
                builder.unseen(at).unwrap();
            }
        }
    }
}

/// Anything that the native format has to hold.
fn anything(txns: &[TxnDraft], names: &[&str]) -> Observed {
    let mut builder = ObservedBuilder::new("made");
    let mut sessions: Vec<u8> = Vec::new();
    for txn in txns {
        push(&mut builder, names, txn, true);
        // Sessions are numbered in the order in which they come.
        let session = txn.session.map(|said| {
            let known = sessions.iter().position(|session| *session == said);
            let place = known.unwrap_or_else(|| {
                sessions.push(said);
                sessions.len() - 1
            });
            u32::try_from(place).unwrap()
        });
        let interval = txn.interval.map(|(begin, length)| Interval {
            begin,
            end: length.map_or(u32::MAX, |length| begin + length),
        });
        builder.end(session, txn.outcome, interval, 0).unwrap();
    }
    builder.finish()
}

/// When a transaction was invoked, and which.
type Open<'t> = Option<(u32, &'t TxnDraft)>;

/// What a run of processes could have recorded: `picks` says which goes on next. A process that is told nothing is
/// never used again.
fn recorded(txns: &[TxnDraft], picks: &[u8], names: &[&str]) -> Observed {
    let mut builder = ObservedBuilder::new("made");
    // The session of each worker, and the transaction that it has invoked.
    let mut workers: [(Option<u32>, Open<'_>); 3] = [(None, None); 3];
    let mut sessions = 0;
    let mut unknown: Vec<(u32, u32, &TxnDraft)> = Vec::new();
    let mut rest = txns.iter();
    let mut clock = 0;
    for pick in picks {
        let worker = &mut workers[usize::from(pick % 3)];
        match (worker.0, worker.1.take()) {
            (Some(session), Some((begin, txn))) => {
                if txn.outcome == Outcome::Unknown {
                    unknown.push((begin, session, txn));
                    worker.0 = None;
                    continue;
                }
                push(&mut builder, names, txn, txn.outcome == Outcome::Committed);
                let interval = Some(Interval { begin, end: clock });
                builder
                    .end(Some(session), txn.outcome, interval, 0)
                    .unwrap();
            }
            (session, _) => {
                let Some(txn) = rest.next() else { continue };
                worker.1 = Some((clock, txn));
                worker.0 = session.or(Some(sessions));
                sessions += u32::from(session.is_none());
            }
        }
        clock += 1;
    }
    for (session, open) in workers {
        if let (Some(session), Some((begin, txn))) = (session, open) {
            unknown.push((begin, session, txn));
        }
    }
    unknown.sort_by_key(|(begin, ..)| *begin);
    for (begin, session, txn) in unknown {
        push(&mut builder, names, txn, false);
        let interval = Interval {
            begin,
            end: u32::MAX,
        };
        let unknown = Outcome::Unknown;
        builder
            .end(Some(session), unknown, Some(interval), 0)
            .unwrap();
    }
    builder.finish()
}

/// Registers, of which each transaction is known; what was aborted is one write.
fn plain(txns: &[TxnDraft], names: &[&str], one_session_after_another: bool) -> Observed {
    let mut txns: Vec<TxnDraft> = txns.to_vec();
    txns.retain(|txn| txn.outcome != Outcome::Unknown && !txn.ops.is_empty());
    for txn in &mut txns {
        txn.interval = None;
        txn.session = Some(txn.session.unwrap_or(9));
        if txn.outcome == Outcome::Aborted {
            txn.ops.retain(|op| matches!(op, Draft::Write(..)));
            txn.ops.truncate(1);
        }
    }
    txns.retain(|txn| !txn.ops.is_empty());
    if one_session_after_another {
        txns.sort_by_key(|txn| txn.session);
    }
    anything(&txns, names)
}

fn written(history: &Observed, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    formats::write(history, format, &mut bytes).unwrap();
    bytes
}

fn native(history: &Observed) -> String {
    String::from_utf8(written(history, Format::Native)).unwrap()
}

#[track_caller]
fn survives(history: &Observed, format: Format, kind: Option<Kind>) -> Result<(), TestCaseError> {
    let mut bytes = Vec::new();
    let losses = formats::write(history, format, &mut bytes).unwrap();
    prop_assert_eq!(losses, vec![]);
    if bytes.is_empty() {
        // An empty file is refused, because it is no history but of one that was lost.
        return Ok(());
    }
    let again = formats::read(
        bytes.as_slice(),
        "again",
        &ReadOptions {
            format: Some(format),
            kind,
            ..ReadOptions::default()
        },
    );
    let again = again.map_err(|error| {
        TestCaseError::fail(format!("{error}: {}", String::from_utf8_lossy(&bytes)))
    })?;
    prop_assert_eq!(
        native(&again),
        native(history),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    Ok(())
}

/// Failures are repeated by their seed, and kept nowhere.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES");
    let cases = asked.map_or(cases, |asked| asked.parse().unwrap());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

const ANY_NAMES: [&str; 14] = [
    "0",
    "1",
    "17",
    "9223372036854775807",
    "18446744073709551615",
    "007",
    "-5",
    "x",
    "",
    "%",
    "a b",
    "[=,]~",
    "é\u{a0}\n",
    ":k",
];
const EDN_NAMES: [&str; 9] = [
    "0",
    "1",
    "17",
    "18446744073709551615",
    "-5",
    "x",
    ":k",
    "\"a b\\\" ;\"",
    "1.5",
];
const JSON_NAMES: [&str; 11] = [
    "0",
    "1",
    "17",
    "18446744073709551615",
    "-5",
    "x",
    ":k",
    "a \"b\" \\ ; é\n\u{1}",
    "\"5\"",
    "\"\"",
    "1.5e3",
];
const NUMBERS: [&str; 5] = ["1", "2", "17", "123456789012345678", "9223372036854775807"];

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_native_format_loses_nothing(txns in vec(txn(Of::Both), 0..12)) {
        survives(&anything(&txns, &ANY_NAMES), Format::Native, None)?;
    }

    #[test]
    fn what_processes_recorded_survives_elles_formats(
        of in select(vec![Of::Registers, Of::Lists]),
        seed in vec((txn(Of::Registers), txn(Of::Lists)), 0..12),
        picks in vec(any::<u8>(), 0..40),
    ) {
        let txns: Vec<TxnDraft> = seed
            .into_iter()
            .map(|(registers, lists)| if of == Of::Lists { lists } else { registers })
            .collect();
        let kind = Some(match of {
            Of::Lists => Kind::ListAppend,
            Of::Registers | Of::Both => Kind::RwRegister,
        });
        survives(&recorded(&txns, &picks, &EDN_NAMES), Format::ElleEdn, kind)?;
        survives(&recorded(&txns, &picks, &JSON_NAMES), Format::ElleJson, kind)?;
    }

    #[test]
    fn registers_survive_the_formats_of_numbers(txns in vec(txn(Of::Registers), 0..12)) {
        survives(&plain(&txns, &NUMBERS, false), Format::Text, None)?;
        let in_sessions = plain(&txns, &NUMBERS, true);
        for format in [Format::DbcopHist, Format::DbcopJson, Format::DbcopBincode] {
            survives(&in_sessions, format, None)?;
        }
    }

    #[test]
    fn damage_makes_no_reader_panic(
        txns in vec(txn(Of::Registers), 1..8),
        picks in vec(any::<u8>(), 8..40),
        damage in vec((any::<Index>(), any::<u8>(), 0..5_u8), 1..6),
        which in 0..13_usize,
    ) {
        let recorded = recorded(&txns, &picks, &EDN_NAMES);
        let plain = plain(&txns, &NUMBERS, false);
        let bytes = match which {
            0 => written(&recorded, Format::ElleEdn),
            1 => written(&recorded, Format::ElleJson),
            2 => written(&recorded, Format::Native),
            3 => written(&plain, Format::Text),
            4 => written(&plain, Format::DbcopHist),
            5 => written(&plain, Format::DbcopBincode),
            9 => written(&plain, Format::DbcopJson),
            6 => cobra(&plain),
            10 => TIMEKILLER.to_vec(),
            11 => vbox(),
            12 => VIPER.to_vec(),
            7 => gzip(&written(&plain, Format::Text)),
            _ => {
                let bytes = written(&plain, Format::Text);
                ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest)
            }
        };
        nothing_panics(&damaged(bytes, &damage))?;
    }
}

/// Bytes that mean something to some reader.
const TELLING: &[u8] = b"()[]{}\"#:;^\\,\n-0129 \xff";

/// Changes, inserts, removes, repeats and cuts.
fn damaged(mut bytes: Vec<u8>, damage: &[(Index, u8, u8)]) -> Vec<u8> {
    for (place, byte, how) in damage {
        if bytes.is_empty() {
            break;
        }
        let place = place.index(bytes.len());
        match how {
            0 => bytes[place] = *byte,
            1 => bytes.insert(place, TELLING[usize::from(*byte) % TELLING.len()]),
            2 => {
                bytes.remove(place);
            }
            3 => {
                let end = (place + usize::from(*byte)).min(bytes.len());
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            _ => bytes.truncate(place),
        }
    }
    bytes
}

fn nothing_panics(bytes: &[u8]) -> Result<(), TestCaseError> {
    let formats = Format::ALL.into_iter().map(Some).chain([None]);
    for format in formats {
        let options = ReadOptions {
            format,
            limits: Limits {
                bytes: 1 << 20,
                operations: 10_000,
                token_bytes: 100,
                depth: 8,
                ..Limits::default()
            },
            ..ReadOptions::default()
        };
        if let Ok(history) = formats::read(bytes, "damaged", &options) {
            // Whatever was read is a history that the native format holds.
            let bytes = written(&history, Format::Native);
            let again = formats::read(bytes.as_slice(), "again", &ReadOptions::default());
            // Its sessions are numbered in the order in which they come, from then on.
            survives(&again.unwrap(), Format::Native, None)?;
        }
    }
    Ok(())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TIMEKILLER: &[u8] = br#"[{"tid":1,"sid":"a","sts":{"p":"1","l":0},"cts":{"p":2,"l":0},"ops":[{"t":"w","k":1,"v":2},{"t":"r","k":2}]},
{"ops":[{"k":1,"t":"READ","v":2},{"k":3,"t":"r","v":0}],"tid":2,"sid":3,"cts":{"l":1,"p":3},"sts":{"l":0,"p":3},"rtts":4}]"#;

const VIPER: &[u8] = br#"{"preBeginTS": 3, "postCommitTS": 9, "value": [["w", 5, -11, true], ["i", 6, 13, 0, false, true]]}
{"value": [{"opType": "r", "key": "6", "value": 13, "isDead": false}], "isFinal": true}
"#;

/// One of Vbox's logs: a transaction that wrote and read, and one that was not answered.
fn vbox() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, op, longs, shorts) in [
        (b'T', 7_u32, &[5_u64, 9][..], &[][..]),
        (b'S', 1, &[5, 5], &[]),
        (b'W', 2, &[6, 6, 1, 0], &[4_u32]),
        (b'R', 3, &[7, 7, 2], &[0, 0]),
        (b'C', 4, &[8, 9], &[]),
        (b'T', 8, &[10, 12], &[]),
        (b'R', 5, &[11, 11, 1], &[7, 2]),
    ] {
        bytes.push(kind);
        bytes.extend(op.to_le_bytes());
        bytes.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
        bytes.extend(shorts.iter().flat_map(|short| short.to_le_bytes()));
    }
    bytes
}

/// One of Cobra's logs.
fn cobra(history: &Observed) -> Vec<u8> {
    let mut bytes = Vec::new();
    for txn in history.indexes() {
        bytes.push(b'S');
        bytes.extend(u64::from(txn.0).to_be_bytes());
        for op in history.ops(txn) {
            let key = u64::from(op.key().0);
            if op.wrote().is_some() {
                bytes.push(b'W');
            } else {
                bytes.push(b'R');
                bytes.extend(0_u64.to_be_bytes());
            }
            for field in [5, key, 0_u64] {
                bytes.extend(field.to_be_bytes());
            }
        }
        bytes.push(b'C');
        bytes.extend(u64::from(txn.0).to_be_bytes());
    }
    bytes
}

#[test]
fn binary_forms_made_here_are_those_that_are_read() {
    let history = formats::read(
        &b"w(1,1,0,0)\nr(2,0,0,1)\n"[..],
        "made",
        &ReadOptions::default(),
    );
    let history = history.unwrap();
    for (bytes, format) in [
        (
            written(&history, Format::DbcopBincode),
            Format::DbcopBincode,
        ),
        (cobra(&history), Format::Cobra),
        (vbox()[..141].to_vec(), Format::Vbox),
    ] {
        assert_eq!(formats::detect(&bytes), Some(format));
        let again = formats::read(bytes.as_slice(), "made", &ReadOptions::default()).unwrap();
        assert_eq!(again.op_count(), 2, "{format}");
    }
}

#[test]
fn damage_to_published_files_makes_no_reader_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if !corpus.is_dir() {
        eprintln!(
            "SKIPPED: the published histories are not at {}",
            corpus.display()
        );
        return;
    }
    let files = [
        "elle/000.edn",
        "elle/paper-example.edn",
        "elle/paper-example.json",
        "elle/rw-register.json",
        "elle/si-without-g-single.edn",
        "registers/awdit-causal-long-fork.txt",
        "cobra/chengRW-100/T10.log",
        "dbcop/galera_all_writes-3_30_20_180-hist-00000/history.bincode",
    ];
    let mut runner = proptest::test_runner::TestRunner::new(config(1500));
    let damage = vec((any::<Index>(), any::<u8>(), 0..5_u8), 1..4);
    let files = files.map(|file| std::fs::read(corpus.join(file)).unwrap());
    let run = runner.run(&(select(files.to_vec()), damage), |(bytes, damage)| {
        nothing_panics(&damaged(bytes, &damage))
    });
    run.unwrap();
}
