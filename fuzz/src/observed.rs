//! Histories of other people's formats: reading.

use checker::formats::{self, Format, Limits, ReadOptions};

/// Reads or refuses, as every format; and what was read is what it is after it was written and read again.
pub(crate) fn run(input: &[u8]) {
    let told = Format::ALL.into_iter().map(Some);
    for format in told.chain([None]) {
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
        if let Ok(history) = formats::read(input, "fuzz", &options) {
            let once = again(&native(&history));
            assert_eq!(once, again(&once), "{format:?}");
        }
    }
}

fn native(history: &checker::observed::Observed) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = formats::write(history, Format::Native, &mut bytes);
    assert!(written.is_ok_and(|losses| losses.is_empty()));
    bytes
}

/// What is written of what was read.
fn again(bytes: &[u8]) -> Vec<u8> {
    let history = formats::read(bytes, "again", &ReadOptions::default());
    native(&history.unwrap_or_else(|error| panic!("{error}")))
}

/// One of each format.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "co-observed 1\nc 0 0..3 w:x=1 r:y=~ a:l=%20 l:l=[] l:m=[1,2]\nu 1 1.. u:x\na - - w:%=2\nend 3\n",
        "{:type :invoke, :process 0, :f :txn, :value [[:append :x 1] [:r :y nil]], :index 0}\n\
         #jepsen.history.Op{:type :ok, :process 0, :f :txn, :value ([:append :x 1] [:r :y [1 2]]), :index 1}\n\
         #_{} ; comment\n{:type :info, :process :nemesis, :f :kill, :value {:a #{\"b\" \\c}}}\n",
        "[{:type :ok :process 0 :value [[:w \"x\" -1] [:r 5 nil]]} {:type :fail :process 1 :value [[:w 5 2]]}]",
        "[{\"type\":\"ok\",\"process\":0,\"value\":[[\"w\",\"\\u00e9\",1],[\"r\",5,null]],\"error\":{\"a\":[1.5e3,true]}}]",
        "w(1,1,0,0)\nr( 2 ,0,1,1)\n# comment\nw(3,4,0,-1)\r\n",
        "// comment\n[x:=1 y==?] [x==1]!\n---\n[y:=2]\n",
        "[[{\"events\":[{\"Write\":{\"variable\":0,\"version\":1}},[\"r\",1,null]],\"committed\":true}]]",
        "{\"params\":{},\"data\":[[{\"events\":[{\"write\":true,\"variable\":0,\"value\":1,\"success\":false}],\"success\":true}]]}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    seeds.push(bincode());
    seeds.push(cobra());
    seeds.push(TIMEKILLER.as_bytes().to_vec());
    seeds.push(vbox());
    seeds.push(VIPER.as_bytes().to_vec());
    seeds
}

/// TimeKiller's JSON: registers, with times as numbers and in quotes.
const TIMEKILLER: &str = r#"[{"tid":1,"sid":"a","sts":{"p":"1","l":0},"cts":{"p":2,"l":0},"ops":[{"t":"w","k":1,"v":2},{"t":"r","k":2}]},
{"ops":[{"k":1,"t":"READ","v":2}],"tid":2,"sid":3,"cts":{"l":1,"p":3},"sts":{"l":0,"p":3},"rtts":4}]"#;

/// One of ViperBench's logs, with operations of both kinds.
const VIPER: &str = r#"{"preBeginTS": 3, "postCommitTS": 9, "value": [["w", 5, -11, true], ["i", 6, 13, 0, false, true]]}
{"value": [{"opType": "r", "key": "6", "value": 13, "isDead": false}], "isFinal": true}
"#;

/// One of Vbox's logs: a transaction with a write and a read of the initial state.
fn vbox() -> Vec<u8> {
    let mut bytes = vec![b'T', 7, 0, 0, 0];
    bytes.extend([5_u64, 9].into_iter().flat_map(u64::to_le_bytes));
    let records: [(u8, u32, &[u64], &[u32]); 3] = [
        (b'W', 2, &[6, 6, 1, 0], &[4]),
        (b'R', 3, &[7, 7, 2], &[0, 0]),
        (b'C', 4, &[8, 9], &[]),
    ];
    for (kind, op, longs, shorts) in records {
        bytes.push(kind);
        bytes.extend(op.to_le_bytes());
        bytes.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
        bytes.extend(shorts.iter().flat_map(|short| short.to_le_bytes()));
    }
    bytes
}

/// dbcop's binary form: a session of one transaction of one event.
fn bincode() -> Vec<u8> {
    let mut bytes = vec![0; 40];
    for text in ["seed", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.bytes());
    }
    for number in [1_u64, 1, 1] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.push(1);
    bytes.extend([7_u64, 8].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend([1, 1]);
    bytes
}

/// One of Cobra's logs: a transaction with a write and a read of the initial state.
fn cobra() -> Vec<u8> {
    let records: [(u8, &[u64]); 4] = [
        (b'S', &[1]),
        (b'W', &[11, 5, 0]),
        (b'R', &[0xbebe_ebee, 0xbebe_ebee, 6, 0]),
        (b'C', &[1]),
    ];
    let mut bytes = Vec::new();
    for (kind, fields) in records {
        bytes.push(kind);
        bytes.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
    }
    bytes
}
