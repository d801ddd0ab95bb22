//! Every tool has another convention for initial values, and PolySI (amnore, c0c9aaf of 2023) refuses those of others:
//! one history in the convention of each has one verdict.

use super::*;
use checker::formats::Format;

/// An operation: a key, and what was written or seen; nothing is the initial state.
#[derive(Clone, Copy)]
enum Act {
    Write(u64, u64),
    Read(u64, Option<u64>),
}

use Act::{Read, Write};

/// Transactions, each of a session.
type Plan = Vec<(usize, Vec<Act>)>;

/// What each is, and whether it is serializable, of snapshot isolation, and causally consistent.
fn plans() -> Vec<(&'static str, Plan, [&'static str; 3])> {
    let (valid, invalid) = ("valid", "invalid");
    let serial = vec![
        (0, vec![Read(1, None), Write(1, 10)]),
        (1, vec![Read(2, None), Read(1, Some(10)), Write(2, 20)]),
        (0, vec![Read(2, Some(20)), Read(3, None)]),
    ];
    let skew = vec![
        (0, vec![Read(1, None), Read(2, None), Write(1, 10)]),
        (1, vec![Read(1, None), Read(2, None), Write(2, 20)]),
    ];
    let lost = vec![
        (0, vec![Read(1, None), Write(1, 10)]),
        (1, vec![Read(1, None), Write(1, 11)]),
    ];
    let fork = vec![
        (0, vec![Write(1, 10)]),
        (1, vec![Write(2, 20)]),
        (2, vec![Read(1, Some(10)), Read(2, None)]),
        (3, vec![Read(1, None), Read(2, Some(20))]),
    ];
    let forgotten = vec![
        (0, vec![Write(1, 10)]),
        (1, vec![Read(1, Some(10)), Write(2, 20)]),
        (2, vec![Read(2, Some(20)), Read(1, None)]),
    ];
    vec![
        ("serial", serial, [valid, valid, valid]),
        ("write skew", skew, [invalid, valid, valid]),
        ("lost update", lost, [invalid, invalid, valid]),
        ("long fork", fork, [invalid, invalid, valid]),
        ("forgotten cause", forgotten, [invalid, invalid, invalid]),
    ]
}

const KEYS: [u64; 3] = [1, 2, 3];

/// PolySI's text: 0 is there before anything was written, and nobody writes it.
fn zero(plan: &Plan) -> Vec<u8> {
    text(plan, "")
}

/// Plume's and AWDIT's text: a transaction of a session of its own writes 0 to every key first.
fn written_zero(plan: &Plan) -> Vec<u8> {
    let first: Vec<String> = KEYS
        .iter()
        .map(|key| format!("w({key},0,99,99)\n"))
        .collect();
    text(plan, &first.concat())
}

fn text(plan: &Plan, first: &str) -> Vec<u8> {
    let mut text = first.to_owned();
    for (number, (session, acts)) in plan.iter().enumerate() {
        for act in acts {
            let (letter, key, value) = match *act {
                Write(key, value) => ('w', key, value),
                Read(key, value) => ('r', key, value.unwrap_or(0)),
            };
            text.push_str(&format!("{letter}({key},{value},{session},{number})\n"));
        }
    }
    text.into_bytes()
}

/// The transactions of each session.
fn sessions(plan: &Plan) -> Vec<Vec<(usize, &Vec<Act>)>> {
    let mut sessions = vec![Vec::new(); 4];
    for (number, (session, acts)) in plan.iter().enumerate() {
        sessions[*session].push((number, acts));
    }
    sessions.retain(|session| !session.is_empty());
    sessions
}

/// dbcop's notation: `?` for what no transaction wrote.
fn question(plan: &Plan) -> Vec<u8> {
    let mut lines = Vec::new();
    for session in sessions(plan) {
        let txn = |(_, acts): &(usize, &Vec<Act>)| {
            let events: Vec<String> = acts
                .iter()
                .map(|act| match *act {
                    Write(key, value) => format!("{key}:={value}"),
                    Read(key, Some(value)) => format!("{key}=={value}"),
                    Read(key, None) => format!("{key}==?"),
                })
                .collect();
            format!("[{}]\n", events.join(" "))
        };
        lines.push(session.iter().map(txn).collect::<String>());
    }
    lines.join("---\n").into_bytes()
}

/// dbcop's JSON: null.
fn null(plan: &Plan) -> Vec<u8> {
    let event = |act: &Act| match *act {
        Write(key, value) => format!("[\"w\",{key},{value}]"),
        Read(key, value) => {
            let value = value.map_or_else(|| "null".to_owned(), |value| value.to_string());
            format!("[\"r\",{key},{value}]")
        }
    };
    let txn = |(_, acts): &(usize, &Vec<Act>)| {
        let events: Vec<String> = acts.iter().map(event).collect();
        format!("{{\"events\":[{}],\"committed\":true}}", events.join(","))
    };
    let sessions: Vec<String> = sessions(plan)
        .iter()
        .map(|session| session.iter().map(txn).collect::<Vec<_>>().join(","))
        .collect();
    format!("[[{}]]", sessions.join("],[")).into_bytes()
}

/// Elle's EDN: nil. Nobody knows when a completion without invocation began, so that real time says nothing.
fn nil(plan: &Plan) -> Vec<u8> {
    let mut text = String::new();
    for (session, acts) in plan {
        let ops: Vec<String> = acts
            .iter()
            .map(|act| match *act {
                Write(key, value) => format!("[:w {key} {value}]"),
                Read(key, Some(value)) => format!("[:r {key} {value}]"),
                Read(key, None) => format!("[:r {key} nil]"),
            })
            .collect();
        let ops = ops.join(" ");
        text.push_str(&format!(
            "{{:process {session} :type :ok :f :txn :value [{ops}]}}\n"
        ));
    }
    text.into_bytes()
}

/// Our own: `~`.
fn native(plan: &Plan) -> Vec<u8> {
    let mut native = Vec::new();
    formats::write(&read(&question(plan)), Format::Native, &mut native).unwrap();
    native
}

/// Cobra's folder of logs: the writer of what was loaded, or of what is not there, is a magic number.
fn cobra(plan: &Plan, initial: u64) -> Observed {
    let folder = tempfile::tempdir().unwrap();
    let writer = |value: u64| {
        let wrote = |acts: &Vec<Act>| {
            acts.iter()
                .any(|act| matches!(act, Write(_, it) if *it == value))
        };
        1 + plan.iter().position(|(_, acts)| wrote(acts)).unwrap() as u64
    };
    for (place, session) in sessions(plan).iter().enumerate() {
        let mut log = Vec::new();
        let mut record = |kind: u8, fields: &[u64]| {
            log.push(kind);
            log.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
        };
        for (number, acts) in session {
            let txn = 1 + *number as u64;
            record(b'S', &[txn]);
            for act in *acts {
                match *act {
                    Write(key, value) => record(b'W', &[value, key, value]),
                    Read(key, Some(value)) => record(b'R', &[writer(value), value, key, value]),
                    Read(key, None) => record(b'R', &[initial, initial, key, 0]),
                }
            }
            record(b'C', &[txn]);
        }
        std::fs::write(folder.path().join(format!("T{place}.log")), log).unwrap();
    }
    formats::read_path(folder.path(), &ReadOptions::default()).unwrap()
}

/// TimeKiller's JSON: null, or 0. All transactions run at once, so that real time says nothing.
fn timestamps(plan: &Plan, initial: &str) -> Vec<u8> {
    let mut txns = Vec::new();
    for (number, (session, acts)) in plan.iter().enumerate() {
        let op = |act: &Act| match *act {
            Write(key, value) => format!("{{\"t\":\"w\",\"k\":{key},\"v\":{value}}}"),
            Read(key, value) => {
                let value = value.map_or_else(|| initial.to_owned(), |value| value.to_string());
                format!("{{\"t\":\"r\",\"k\":{key},\"v\":{value}}}")
            }
        };
        let ops: Vec<String> = acts.iter().map(op).collect();
        txns.push(format!(
            "{{\"tid\":{number},\"sid\":{session},\"sts\":{{\"p\":1,\"l\":0}},\"cts\":{{\"p\":2,\"l\":0}},\"ops\":[{}]}}",
            ops.join(","),
        ));
    }
    format!("[{}]", txns.join(",")).into_bytes()
}

/// ViperBench's logs: 0.
fn viper(plan: &Plan) -> Observed {
    let folder = tempfile::tempdir().unwrap();
    for (place, session) in sessions(plan).iter().enumerate() {
        let mut log = String::new();
        for (_, acts) in session {
            let op = |act: &Act| match *act {
                Write(key, value) => format!("[\"w\", {key}, {value}, true]"),
                Read(key, value) => format!("[\"r\", {key}, {}, false]", value.unwrap_or(0)),
            };
            let ops: Vec<String> = acts.iter().map(op).collect();
            log.push_str(&format!("{{\"value\": [{}]}}\n", ops.join(", ")));
        }
        std::fs::write(folder.path().join(format!("J{place}.log")), log).unwrap();
    }
    formats::read_path(folder.path(), &ReadOptions::default()).unwrap()
}

/// Vbox's logs: transaction 0. All transactions run at once.
fn vbox(plan: &Plan) -> Observed {
    let folder = tempfile::tempdir().unwrap();
    let writer = |value: u64| {
        let wrote = |acts: &Vec<Act>| {
            acts.iter()
                .any(|act| matches!(act, Write(_, it) if *it == value))
        };
        1 + u32::try_from(plan.iter().position(|(_, acts)| wrote(acts)).unwrap()).unwrap()
    };
    for (place, session) in sessions(plan).iter().enumerate() {
        let mut log = Vec::new();
        let mut record = |kind: u8, number: u32, times: [u64; 2], rest: &[u8]| {
            log.push(kind);
            log.extend(number.to_le_bytes());
            log.extend(times.into_iter().flat_map(u64::to_le_bytes));
            log.extend(rest);
        };
        for (number, acts) in session {
            record(b'T', 1 + u32::try_from(*number).unwrap(), [1, 2], &[]);
            for act in *acts {
                let of = |value: u64| u32::try_from(value).unwrap();
                match *act {
                    Write(key, value) => {
                        let rest = [&key.to_le_bytes()[..], &[0; 12]].concat();
                        record(b'W', of(value), [1, 1], &rest);
                    }
                    Read(key, value) => {
                        let from = value.map_or([0, 0], |value| [writer(value), of(value)]);
                        let from = from.map(u32::to_le_bytes).concat();
                        record(b'R', 0, [1, 1], &[&key.to_le_bytes()[..], &from].concat());
                    }
                }
            }
            record(b'C', 0, [2, 2], &[]);
        }
        std::fs::write(folder.path().join(format!("{place}.log")), log).unwrap();
    }
    formats::read_path(folder.path(), &ReadOptions::default()).unwrap()
}

#[test]
fn one_history_has_one_verdict_in_every_convention() {
    for (name, plan, [serializable, snapshot, causal]) in plans() {
        let mut histories: Vec<(&str, Observed)> = [
            ("0, unwritten", zero as fn(&Plan) -> Vec<u8>),
            ("0, written", written_zero),
            ("?", question),
            ("null", null),
            ("nil", nil),
            ("~", native),
        ]
        .into_iter()
        .map(|(convention, write)| (convention, read(&write(&plan))))
        .collect();
        histories.push(("0xbebeebee", cobra(&plan, 0xbebe_ebee)));
        histories.push(("0xdeadbeef", cobra(&plan, 0xdead_beef)));
        histories.push(("null, timed", read(&timestamps(&plan, "null"))));
        histories.push(("0, timed", read(&timestamps(&plan, "0"))));
        histories.push(("0, logged", viper(&plan)));
        histories.push(("transaction 0", vbox(&plan)));
        for (convention, history) in &histories {
            let told = format!("{name}, {convention}");
            assert_eq!(
                verdict(history, Model::Serializable),
                serializable,
                "{told}"
            );
            let strong = verdict(history, Model::StrongSessionSerializable);
            assert_eq!(strong, serializable, "{told}");
            assert_eq!(
                verdict(history, Model::SnapshotIsolation),
                snapshot,
                "{told}"
            );
            // Nothing says of the transaction that wrote the zeros that it caused anything but the reads of them: so what
            // forgot its cause may have read what was written at the same time.
            let free = *convention == "0, written" && name == "forgotten cause";
            let causal = if free { "valid" } else { causal };
            assert_eq!(level(history, weak::Level::Causal), causal, "{told}");
        }
    }
}

/// PolySI answers "invalid history" to explicit initial writes of 0, because it makes a transaction of its own that
/// writes it, and to one value written twice. The first is a transaction like any other. The second is a doubt where it
/// matters, and none where it does not.
#[test]
fn initial_writes_and_duplicate_values_are_no_faults_of_a_history() {
    let explicit = "w(1,0,0,0)\nw(2,0,0,0)\nr(1,0,1,1)\nw(1,5,1,1)\nr(1,5,2,2)\nr(2,0,2,2)\n";
    assert_eq!(
        verdict(&read(explicit.as_bytes()), Model::StrongSessionSerializable),
        "valid"
    );
    // The initial transaction was seen not to have run.
    let stale = format!("{explicit}r(1,5,2,3)\nr(1,0,2,4)\n");
    assert_eq!(
        verdict(&read(stale.as_bytes()), Model::StrongSessionSerializable),
        "invalid"
    );

    // Twice written, and an order that explains it.
    let twice = "w(1,5,0,0)\nr(1,5,1,1)\nw(2,6,1,1)\nw(1,5,2,2)\nr(1,5,3,3)\nr(2,6,3,3)\n";
    assert_eq!(
        verdict(&read(twice.as_bytes()), Model::Serializable),
        "valid"
    );
    // Twice written, and nobody knows whose was read: whichever it was, what came before is gone.
    let gone = "w(1,4,0,0)\nr(1,4,1,1)\nw(1,5,1,1)\nr(1,4,2,2)\nw(1,5,2,2)\nr(1,5,3,3)\n";
    assert_ne!(
        verdict(&read(gone.as_bytes()), Model::Serializable),
        "valid"
    );
}
