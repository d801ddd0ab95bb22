//! What each importer makes of what its format can say, and what it says of what it cannot read.
#![allow(clippy::unwrap_used, reason = "a test crate")]

use std::io::{Read as _, Write as _};

use checker::formats::{
    self, Format, FormatError, FormatFault, Kind, Limits, Loss, Place, ReadOptions, WriteError,
    detect,
};
use checker::observed::{Observed, Op, TxnIndex};

fn parse(text: &[u8]) -> Result<Observed, FormatError> {
    formats::read(text, "test", &ReadOptions::default())
}

fn native(history: &Observed) -> String {
    let mut native = Vec::new();
    formats::write(history, Format::Native, &mut native).unwrap();
    String::from_utf8(native).unwrap()
}

/// The transactions of a history, in the native format.
#[track_caller]
fn txns(text: &str) -> Vec<String> {
    let history = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let native = native(&history);
    let lines = native
        .lines()
        .filter(|line| !line.starts_with("co-") && !line.starts_with("end"));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn fails(text: &str, message: &str) {
    match parse(text.as_bytes()) {
        Ok(history) => panic!("it was read: {}", native(&history)),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

#[test]
fn edn_is_read_in_all_its_forms() {
    let expected = ["c 0 0..1 a:x=1 l:y=[1,2] l:z=[]"];
    for text in [
        "{:type :invoke, :process 7, :value nil}\n{:type :ok, :process 7, :value [[:append x 1] [:r y [1 2]] [:r z nil]]}",
        "[{:type :invoke :process 7 :value [[:r x nil]]} {:type :ok :process 7 :value ([:append x 1] (:r y (1 2)) [:r z []])}]",
        "; a comment\n(#jepsen.history.Op{:index 4, :time -1, :type :invoke, :process 7, :f :txn, :value []}\n\
         #_{:gone true} #jepsen.history.Op{:error [:a {:b \"}\" \\} #{1}}], :value [[:append x 1] [:r y [1,2,]] [:r z]],\
         :type :ok :process 7 :f nil :index 5})",
        "^{:meta 1} {:type \"invoke\" :process 7}{:type \"ok\" :process 7 :value [[:append x 1][:r y[1 2]][:r z[]]] :more #_ #_ 1 2 3}",
        "{:type :invoke :more #_ 9 8 :process 7}{:type :ok :more #_ #_ 9 9 8 :process 7 :value [[:append x 1][:r y[1 2]][:r z[]]]}",
    ] {
        assert_eq!(txns(text), expected, "{text}");
    }
}

#[test]
fn json_is_read_in_all_its_forms() {
    let expected = ["c 0 0..1 a:x=1 l:y=[1,2] l:z=[]"];
    for text in [
        "{\"type\":\"invoke\",\"process\":7,\"value\":null}\n{\"type\":\"ok\",\"process\":7,\"value\":[[\"append\",\"x\",1],[\"r\",\"y\",[1,2]],[\"r\",\"z\",null]]}\n",
        "[ {\"type\" : \"invoke\", \"process\" : 7, \"f\":\"txn\", \"index\":4, \"value\":[]} ,\n\
          {\"value\":[[\"append\",\"\\u0078\",1],[\"r\",\"y\",[1,2]],[\"r\",\"z\"]],\"error\":{\"a\":[\"]\"]},\"type\":\":ok\",\"process\":7,\"index\":5}]",
    ] {
        assert_eq!(txns(text), expected, "{text}");
    }
}

#[test]
fn names_keep_what_tells_them_apart() {
    let edn = "{:type :ok, :process 0, :value [[:w :x 1] [:w x 2] [:w \"x\" 3] [:w \"\" 4] [:w -5 -6] [:w 5N 1.50]]}";
    assert_eq!(
        txns(edn),
        ["c 0 - w::x=1 w:x=2 w:\"x\"=3 w:\"\"=4 w:-5=-6 w:5N=1.50"]
    );
    let json = "{\"type\":\"ok\",\"process\":0,\"value\":[[\"w\",5,1],[\"w\",\"5\",2],[\"w\",\"x\",\"null\"],[\"w\",\"\\\"q\",-7]]}";
    let face = "{\"type\":\"ok\",\"process\":0,\"value\":[[\"w\",\"\\ud83d\\ude00\\n\",1]]}";
    assert_eq!(txns(face), ["c 0 - w:\u{1f600}%0A=1"]);
    assert_eq!(
        txns(json),
        ["c 0 - w:5=1 w:\"5\"=2 w:x=\"null\" w:\"\"q\"=-7"]
    );
}

#[test]
fn invocations_and_completions_pair_up_by_process() {
    let text = "{:type :invoke, :process 3, :f :txn, :value [[:w 1 1] [:r 2 nil]]}
{:type :invoke, :process 4, :f :txn, :value [[:w 2 1]]}
{:type :info, :process :nemesis, :f :kill, :value [:w 1 2]}
{:type :ok, :process 4, :f :txn, :value [[:w 2 1]]}
{:type :fail, :process 3, :f :txn, :value nil}
{:type :invoke, :process 3, :f :txn, :value [[:r 1 nil] [:w 1 2]]}
{:type :info, :process 3, :f :txn, :value nil, :error :timeout}
{:type :invoke, :process 5, :f :txn, :value [[:w 2 2]]}
";
    assert_eq!(
        txns(text),
        [
            // Positions are those of entries, the nemesis's too.
            "c 0 1..3 w:2=1",
            "a 1 0..4 w:1=1 u:2",
            "u 1 5.. u:1 w:1=2",
            "u 2 7.. w:2=2",
        ]
        .map(|line| match line.split_once(' ') {
            // Process 3 comes first, and is session 0.
            Some((outcome, rest)) => match rest.split_once(' ') {
                Some(("0", rest)) => format!("{outcome} 1 {rest}"),
                Some(("1", rest)) => format!("{outcome} 0 {rest}"),
                _ => line.to_owned(),
            },
            None => line.to_owned(),
        })
    );
}

#[test]
fn a_process_that_goes_on_after_an_unknown_outcome_leaves_it_to_a_session_of_its_own() {
    let text = "{:type :ok, :process 0, :value [[:w 1 1]]}
{:type :invoke, :process 0, :value [[:w 1 2]]}
{:type :info, :process 0, :value [[:w 1 2]]}
{:type :ok, :process 1, :value [[:r 1 2]]}
{:type :invoke, :process 0, :value [[:w 1 3]]}
{:type :ok, :process 0, :value [[:w 1 3]]}
";
    assert_eq!(
        txns(text),
        [
            "c 0 0..0 w:1=1",
            "c 1 0..3 r:1=2",
            "u - 1.. w:1=2",
            "c 0 4..5 w:1=3"
        ]
    );
}

#[test]
fn completions_without_invocation_began_nobody_knows_when() {
    let text = "{:type :ok, :process 0, :value [[:w 1 1]]}
{:type :fail, :process 0, :value [[:w 1 2] [:r 1 nil]]}
{:type :info, :process 0, :value [[:w 1 3] [:r 1 nil]]}
{:type :ok, :process 0, :value [[:r 1 1]]}
";
    // Of none of them is it known when it began.
    let times = txns(text).iter().filter(|txn| !txn.contains(" - ")).count();
    assert_eq!(times, 0);
    let invoked = format!("{{:type :invoke, :process 9, :value [[:r 1 nil]]}}\n{text}");
    assert_eq!(
        txns(&invoked)[..4],
        [
            "c 1 0..1 w:1=1",
            "a 1 0..2 w:1=2 u:1",
            "u - 0.. w:1=3 u:1",
            "c 1 0..4 r:1=1"
        ]
    );
}

#[test]
fn entries_without_process_pair_up_and_have_no_session() {
    let text = "{:type :invoke, :value [[:w 1 1]]}\n{:type :ok, :value [[:w 1 1]]}\n{:type :ok, :value [[:r 1 1]]}\n";
    assert_eq!(txns(text), ["c - 0..1 w:1=1", "c - 0..2 r:1=1"]);
}

#[test]
fn what_is_read_as_nil_is_a_list_where_lists_are() {
    let early = "{:type :ok, :process 0, :value [[:r 1 nil] [:r 2]]}\n";
    let list = "{:type :ok, :process 0, :value [[:append 1 1]]}\n";
    let register = "{:type :ok, :process 0, :value [[:w 1 1]]}\n";
    assert_eq!(txns(&format!("{early}{list}"))[0], "c 0 - l:1=[] l:2=[]");
    assert_eq!(txns(&format!("{early}{register}"))[0], "c 0 - r:1=~ r:2=~");
    assert_eq!(txns(early), ["c 0 - r:1=~ r:2=~"]);
    let told = ReadOptions {
        kind: Some(Kind::ListAppend),
        ..ReadOptions::default()
    };
    let history = formats::read(early.as_bytes(), "test", &told).unwrap();
    assert!(matches!(history.ops(TxnIndex(0))[0], Op::ReadList { .. }));
}

#[test]
fn a_first_entry_may_say_what_keys_hold() {
    let header = "{:kind :list-append, :test \"x\", :opts {:a [:b]}, :not #{:c}}\n";
    let read = "{:type :ok, :process 0, :value [[:r 1 nil]]}\n";
    assert_eq!(txns(&format!("{header}{read}")), ["c 0 - l:1=[]"]);
    let later = parse(format!("{read}{header}").as_bytes()).unwrap_err();
    assert_eq!(later.place, Place::Line(2));
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!("edn".parse::<Format>().is_err());
}

#[test]
fn what_failed_may_have_any_value() {
    let text = "{:type :invoke, :process 0, :f :txn, :value [[:w 1 1]]}
{:type :fail, :process 0, :f :txn, :value [[:w 1 1] :conflict]}
{:type :invoke, :process 0, :f :txn, :value [[:w 1 2]]}
{:type :info, :process 0, :f :txn, :value \"timed out\"}
{:type :invoke, :process 1, :f :transfer, :value [[:w 1 3]]}
{:type :fail, :process 1, :f :transfer, :value nil}
{:type :invoke, :process 1, :f :drain, :value nil}
{:type :fail, :process 1, :f :drain, :value nil}
";
    assert_eq!(
        txns(text),
        ["a 0 0..1 w:1=1", "a 1 4..5 w:1=3", "u 0 2.. w:1=2"]
    );
    fails(
        "{:type :fail, :process 0, :f :txn, :value :conflict}",
        "test, line 1: \":conflict}\" stands where a transaction, that is a vector of operations should be",
    );
}

#[test]
fn other_functions_are_skipped_unless_they_are_transactions() {
    let text = "{:type :invoke, :process 0, :f :drain, :value nil}
{:type :ok, :process 0, :f :drain, :value {:a [1 2]}}
{:type :info, :process :nemesis, :f :start, :value [:w 1 2]}
{:type :ok, :process 0, :f :transfer, :value [[:w 1 1]]}
";
    assert_eq!(txns(text), ["c 0 - w:1=1"]);
    fails(
        "{:type :ok, :process 0, :f :txn, :value [[:cas 1 2]]}",
        "test, line 1: \":cas\" stands where :r, :w or :append should be",
    );
}

#[test]
fn what_elle_could_not_have_recorded_is_refused() {
    fails(
        "{:type :invoke, :process 0, :value [[:w 1 1]]}\n{:type :invoke, :process 0, :value [[:w 1 2]]}",
        "test, line 2: process 0 invokes a transaction while the one it invoked in line 1 is open; a process runs one \
         at a time",
    );
    fails(
        "{:type :invoke, :process 0, :value [[:w 1 1]]}\n{:type :info, :process 0}\n\n{:type :ok, :process 0, :value [[:w 1 1]]}",
        "test, line 4: process 0 completes a transaction that it has invoked and that line 2 has completed",
    );
    fails(
        "{:type :ok, :process 0, :index 3, :value [[:w 1 1]]}\n{:type :ok, :process 0, :index 3, :value [[:w 1 2]]}",
        "test, line 2: index 3 follows index 3; an operation is there twice, or the file is not in order: sort it by \
         index",
    );
    fails(
        "{:type :ok, :process 0, :value [[:w 1 1]]}\n{:type :ok, :process 0, :value [[:append 1 2]]}",
        "test, line 2: an append in a history of registers; Elle's histories are of lists or of registers, not of both",
    );
    fails(
        "{:type :ok, :process 0, :value nil}",
        "test, line 1: the entry says `ok` and has no value, so it does not say what the transaction read: write the \
         operations of the completion as its value",
    );
    fails(
        "{:type :ok, :process 0, :value [[:w 1 nil]]}",
        "test, line 1: \"]]}\" stands where what was read or written should be",
    );
}

#[test]
fn text_is_read_whatever_the_order_of_its_lines() {
    let text = "w(1,1,5,10)\r\n\n# a comment\n r( 2 , 0 , 5 , 10 )\nw(2,7,6,11)\nr(1,1,5,10)\nw(2,8,5,-1)\nw(2,9,5,-1)\nr(x,-3,6,12)\n";
    assert_eq!(
        txns(text),
        [
            "c 0 - w:1=1 r:2=~ r:1=1",
            "c 1 - w:2=7",
            "a 0 - w:2=8",
            "a 0 - w:2=9",
            "c 1 - r:x=-3"
        ]
    );
    fails(
        "w(1,1,0,0)\nw(1,2,1,0)\n",
        "test, line 2: transaction 0 is in session 1 here and in session 0 before; transaction numbers are for the whole \
         history",
    );
    fails(
        "w(1,1,0,0)\nw(1,2,1\n",
        "test, line 2: \"\\n\" stands where the comma between session and transaction should be",
    );
    fails(
        "w(1,1,0,0)\nw(1,2",
        "test, line 2: the file ends where the comma between value and session should be; it was cut short",
    );
}

#[test]
fn transactions_know_the_line_that_they_end_at() {
    let lines = |text: &str| -> Vec<u32> {
        let history = parse(text.as_bytes()).unwrap();
        history.txns().iter().map(|txn| txn.line).collect()
    };
    assert_eq!(lines("w(1,1,0,0)\nw(1,2,1,1)\n\nr(1,1,0,0)\n"), [4, 2]);
    assert_eq!(lines("co-observed 1\n# a comment\n\nc 0 -\nend 1\n"), [4]);
    assert_eq!(lines("// a comment\n[x:=1]\n---\n[x:=2] [x:=3]"), [2, 4, 4]);
    // A line feed within a string, and an entry of two lines.
    let edn = "; a comment\n{:type :ok,\n :process 0, :value [[:w \"a\nb\" 1]]}\n{:type :ok, :process 0, :value []}";
    assert_eq!(lines(edn), [2, 5]);
    let json = "[{\"type\":\"ok\",\n\"process\":0,\"value\":[]},\n{\"type\":\"ok\",\"process\":0,\"value\":[]}]";
    assert_eq!(lines(json), [1, 3]);
}

#[test]
fn zero_is_the_initial_state_of_keys_that_nobody_wrote_it_to() {
    let text = "r(1,0,0,0)\nr(2,0,0,0)\nr(3,0,0,0)\nw(1,0,1,1)\nw(2,0,1,-1)\n";
    assert_eq!(txns(text)[0], "c 0 - r:1=0 r:2=~ r:3=~");
    let hist = "[x==0 y==0 z==? v==0]\n---\n[x:=0]\n[y:=0]!\n";
    assert_eq!(
        txns(hist),
        [
            "c 0 - r:x=0 r:y=~ r:z=~ r:v=~",
            "c 1 - w:x=0",
            "a 1 - w:y=0"
        ]
    );
}

#[test]
fn dbcops_json_is_read_in_all_its_forms() {
    let expected = ["c 0 - w:0=1 r:1=~", "a 0 - w:1=2", "c 1 - r:0=1 r:2=~"];
    for text in [
        r#"[[{"events":[{"Write":{"variable":0,"version":1}},{"Read":{"variable":1,"version":null}}],"committed":true},
             {"events":[{"Write":{"variable":1,"version":2}}],"committed":false}],
            [{"events":[["r",0,1],["r",2,0]],"committed":true}]]"#,
        r#"{"params":{"id":0},"info":"x","start":"2026","data":[
             [{"events":[{"write":true,"variable":0,"value":1,"success":true},{"write":false,"variable":1,"value":0,"success":true},
                         {"write":false,"variable":1,"value":9,"success":false}],"success":true},
              {"events":[{"write":true,"variable":1,"value":2,"success":true}],"success":false}],
             [{"success":true,"events":[["r",0,1],["r",2,null]]}]]}"#,
    ] {
        assert_eq!(txns(text), expected, "{text}");
    }
}

#[test]
fn sessions_of_nothing_are_none() {
    for text in [
        "---\n---\n[x:=1]\n---\n---\n[x==1]\n",
        r#"[[],[{"events":[["w","x",1]],"committed":true}],[],[],[{"events":[["r","x",1]],"committed":true}]]"#,
    ] {
        assert_eq!(txns(text), ["c 0 - w:x=1", "c 1 - r:x=1"], "{text}");
    }
}

#[test]
fn cobras_initial_reads_and_stopped_clients_are_told_apart() {
    let mut log = Vec::new();
    let mut record = |kind: u8, fields: &[u64]| {
        log.push(kind);
        log.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
    };
    record(b'S', &[1]);
    record(b'W', &[11, 5, 0]);
    record(b'R', &[0xbebe_ebee, 0xbebe_ebee, 6, 0]);
    record(b'R', &[0xdead_beef, 0xdead_beef, 7, 0]);
    record(b'R', &[0xbebe_ebee, 0x2333_2333, 8, 0]);
    record(b'C', &[1]);
    record(b'S', &[2]);
    record(b'R', &[1, 11, 5, 0]);
    let whole = parse(&log).unwrap();
    let twice = parse(&[&log[..], &log[..]].concat());
    assert!(matches!(twice.unwrap_err().fault, FormatFault::Record(_)));
    let committed = log.len() - 9 - 33;
    let twice = parse(&[&log[..committed], &log[..]].concat());
    assert!(matches!(
        twice.unwrap_err().fault,
        FormatFault::Twice { ref txn } if txn == "1"
    ));
    assert_eq!(
        native(&whole),
        "co-observed 1\nc 0 - w:5=11 r:6=~ r:7=~\nu 0 - r:5=11\nend 2\n"
    );
    let error = parse(&log[..log.len() - 1]).unwrap_err();
    assert!(
        matches!(error.fault, FormatFault::CutShort { .. }),
        "{error}"
    );
    assert_eq!(error.place, Place::Byte(log.len() as u64 - 1));
}

#[test]
fn the_native_format_holds_everything() {
    let text = "co-observed 1\nc 0 0..3 w:x=1 r:y=~ a:l=%20 l:l=[] l:m=[1,2,%25]\nu 1 1.. u:x w:%=2\na - - w:é%C2%A0=3\nc 1 - \n";
    let broken = format!("{text}end 4\n");
    fails(
        &broken,
        "test, line 5: \"\\n\" stands where an operation: r:key=value, w:, l:, a: or u: should be",
    );
    let whole = format!("{}c 1 -\nend 4\n", text.strip_suffix("c 1 - \n").unwrap());
    let history = parse(whole.as_bytes()).unwrap();
    assert_eq!(native(&history), whole);
    fails(
        whole.strip_suffix("end 4\n").unwrap(),
        "test, line 6: the file ends where a transaction (c, a or u) or the footer `end <count>` should be; it was cut short",
    );
    fails(
        &whole.replace("end 4", "end 5"),
        "test, line 6: the footer counts 5 transactions and there are 4; lines were lost or added",
    );
    fails(
        &format!("{whole}c 0 -\n"),
        "test, line 7: something follows the end of the history; give one history a file",
    );
    fails(
        "co-observed 2\nend 0\n",
        "test, line 1: the format has version \"2\", and this program reads version 1",
    );
    fails(
        "co-observed 1\nc 0 5..4\nend 1\n",
        "test, line 2: the transaction ended before it began",
    );
    fails(
        "co-observed 1\nc 0 - w:x=%4\nend 1\n",
        "test, line 2: \"%4\" stands where a name, escaped as %HH should be",
    );
}

#[test]
fn files_are_what_they_begin_like() {
    let cases: &[(&[u8], Option<Format>)] = &[
        (b"co-history 1 A\n", Some(Format::SitedHistory)),
        (b"co-observed 1\n", Some(Format::Native)),
        (b"r(0,0,0,0)\n", Some(Format::Text)),
        (b"# r\n\n w (0,0,0,0)\n", Some(Format::Text)),
        (b"; c\n{:index 0 :type :ok}", Some(Format::ElleEdn)),
        (b"[{:process 0}]", Some(Format::ElleEdn)),
        (b"#jepsen.history.Op{:type :ok}", Some(Format::ElleEdn)),
        (b"[{\"index\":0,\"type\":\"ok\"}]", Some(Format::ElleJson)),
        (b"[[{\"events\":[]}]]", Some(Format::DbcopJson)),
        (b"{\"params\":{}}", Some(Format::DbcopJson)),
        (b"{\"index\":0,\"value\":[[", Some(Format::ElleJson)),
        (b"{:index 0 :value [[", Some(Format::ElleEdn)),
        (b"// c\n[x:=1]", Some(Format::DbcopHist)),
        (b"---\n[x==?]", Some(Format::DbcopHist)),
        (b"\x00\x01\x02", None),
        (b"{}", None),
        (b"hello", None),
        (b"", None),
    ];
    for (start, format) in cases {
        assert_eq!(
            detect(start),
            *format,
            "{:?}",
            String::from_utf8_lossy(start)
        );
    }
    fails(
        "co-history 1 A\nend 0\n",
        "test: this is the history of one of this project's sites (`co-history`), which has versions instead of values and \
         a reader of its own",
    );
    fails("", "test: the file is empty");
    fails(
        "hello",
        "test: it begins like no format that is known (with \"hello\"); name the format, if it is one of \
         those that are read",
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn compressed_files_are_what_is_in_them() {
    let (one, two) = (b"w(1,1,0,0)\n".as_slice(), b"r(1,1,1,1)\n".as_slice());
    let expected = "co-observed 1\nc 0 - w:1=1\nc 1 - r:1=1\nend 2\n";
    for compress in [gzip, zstd] {
        let whole = compress(&[one, two].concat());
        assert_eq!(native(&parse(&whole).unwrap()), expected);
        // Frames (members) one after another are one file.
        let parts = [compress(one), compress(two)].concat();
        assert_eq!(native(&parse(&parts).unwrap()), expected);
        for cut in [whole.len() - 1, whole.len() / 2] {
            let error = parse(&whole[..cut]).unwrap_err();
            assert!(
                matches!(error.fault, FormatFault::Damaged { .. }),
                "{error}"
            );
        }
        let mut flipped = whole.clone();
        let last = flipped.len() - 2;
        flipped[last] ^= 0x10;
        let error = parse(&flipped).unwrap_err();
        assert!(
            matches!(error.fault, FormatFault::Damaged { .. }),
            "{error}"
        );
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_held() {
    let limits = Limits {
        bytes: 1 << 20,
        operations: 10,
        token_bytes: 20,
        depth: 5,
        ..Limits::default()
    };
    let options = ReadOptions {
        limits,
        ..ReadOptions::default()
    };
    let read = |bytes: &[u8]| formats::read(bytes, "test", &options).unwrap_err().fault;
    let bomb = [b"w(1,1,0,0)\n".to_vec(), vec![b'\n'; 64 << 20]].concat();
    for bytes in [gzip(&bomb), zstd(&bomb), bomb] {
        assert!(matches!(
            read(&bytes),
            FormatFault::TooManyBytes { limit: 0x10_0000 }
        ));
    }
    let ops = "w(1,1,0,0)\n".repeat(11);
    assert!(matches!(
        read(ops.as_bytes()),
        FormatFault::TooManyOperations { limit: 10 }
    ));
    // Each is cut short as well, which nobody gets to see.
    for much in [
        "{:type :ok, :process 0, :value [[:r 1 [1 2 3 4 5 6 7 8 9 10 11 12".to_owned(),
        format!("{{:type :ok, :process 0, :value [{}", "[:r 1] ".repeat(12)),
        "{\"type\":\"ok\",\"process\":0,\"value\":[[\"r\",1,[1,2,3,4,5,6,7,8,9,10,11,12".to_owned(),
        format!(
            "{{\"type\":\"ok\",\"process\":0,\"value\":[{}",
            "[\"r\",1],".repeat(12)
        ),
        format!("co-observed 1\n{}", "c 0 -\n".repeat(12)),
        format!("co-observed 1\nc 0 - l:x=[{}", "1,".repeat(12)),
        format!("[{}", "x:=1 ".repeat(12)),
    ] {
        let fault = read(much.as_bytes());
        assert!(
            matches!(fault, FormatFault::TooManyOperations { limit: 10 }),
            "{much}: {fault}"
        );
    }
    let processes: String = (0..12)
        .map(|process| format!("{{:type :invoke, :process {process}}}\n"))
        .collect();
    assert!(matches!(
        read(processes.as_bytes()),
        FormatFault::TooManyOperations { .. }
    ));
    let key = format!("w({},1,0,0)\n", "k".repeat(21));
    assert!(matches!(
        read(key.as_bytes()),
        FormatFault::TokenTooLong { limit: 20 }
    ));
    for deep in [
        format!("{{:type :ok, :error {}", "[".repeat(100)),
        format!("{{\"type\":\"ok\",\"error\":{}", "[".repeat(100)),
    ] {
        assert!(
            matches!(read(deep.as_bytes()), FormatFault::TooDeep { limit: 5 }),
            "{deep}"
        );
    }
}

#[test]
fn what_is_held_twice_for_a_while_counts_once_in_the_end() {
    let text = "{:type :invoke, :process 0, :value [[:w 1 1]]}\n{:type :ok, :process 0, :value [[:w 1 1]]}\n\
                {:type :invoke, :process 0, :value [[:w 1 2]]}\n{:type :info, :process 0, :value nil}\n";
    let read = |operations| {
        let limits = Limits {
            operations,
            ..Limits::default()
        };
        let options = ReadOptions {
            limits,
            ..ReadOptions::default()
        };
        formats::read(text.as_bytes(), "test", &options)
    };
    // A process, two transactions, two operations.
    assert_eq!(read(5).unwrap().op_count(), 2);
    assert!(read(4).is_err());
}

#[test]
fn a_deep_file_does_not_take_the_stack() {
    let options = ReadOptions {
        limits: Limits {
            depth: usize::MAX,
            ..Limits::default()
        },
        ..ReadOptions::default()
    };
    let text = format!("{{:type :ok, :error {}", "[".repeat(4 << 20));
    let error = formats::read(text.as_bytes(), "test", &options).unwrap_err();
    assert!(
        matches!(error.fault, FormatFault::CutShort { .. }),
        "{error}"
    );
}

/// A stream without end, all of one line.
struct Endless;

impl std::io::Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        into.fill(b'7');
        Ok(into.len())
    }
}

#[test]
fn a_line_without_end_takes_no_memory() {
    for start in [
        "w(",
        "{:type :ok, :x ",
        "{:type :",
        "{\"type\":\"",
        "co-observed 1\nc 0 - w:",
        "[x:=",
    ] {
        let endless = std::io::BufReader::new(start.as_bytes().chain(Endless));
        let options = ReadOptions {
            limits: Limits {
                bytes: 64 << 20,
                ..Limits::default()
            },
            ..ReadOptions::default()
        };
        let error = formats::read(endless, "test", &options).unwrap_err();
        let typed = matches!(
            error.fault,
            FormatFault::TokenTooLong { .. } | FormatFault::TooManyBytes { .. }
        );
        assert!(typed, "{start}: {error}");
    }
}

/// Lines without end, each made of its number.
struct Lines<F> {
    line: F,
    number: u64,
    rest: Vec<u8>,
}

impl<F: Fn(u64) -> String> std::io::Read for Lines<F> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = (self.line)(self.number).into_bytes();
            self.number += 1;
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// Whatever it is that grows.
#[test]
fn memory_is_bounded_while_a_history_is_read() {
    let elements = |it: u64| match it {
        0 => "{:type :ok, :process 0, :value [[:r :x [".to_owned(),
        _ => format!("{it} "),
    };
    type Line = fn(u64) -> String;
    let cases: [(&str, Line); 8] = [
        ("operations", |it| format!("w(1,{it},0,0)\n")),
        ("transactions", |it| format!("r(1,0,0,{it})\n")),
        ("keys", |it| format!("w(k{it},1,{it},{it})\n")),
        ("values", |it| format!("w(1,v{it},{it},{it})\n")),
        ("a list", elements),
        ("open", |it| {
            format!("{{:type :invoke, :process {it}, :value [[:w 1 {it}]]}}\n")
        }),
        ("lists", |it| match it {
            0 => "co-observed 1\n".to_owned(),
            _ => "c 0 - l:x=[1,2,3]\n".to_owned(),
        }),
        ("timestamps", |it| {
            let begin = if it == 0 { '[' } else { ',' };
            format!(
                "{begin}{{\"sid\":\"1\",\"tid\":\"{it}\",\"ops\":[{{\"t\":\"w\",\"k\":\"1\",\"v\":\"1\"}}],\
                 \"sts\":{{\"p\":{it},\"l\":0}},\"cts\":{{\"p\":{it},\"l\":1}}}}"
            )
        }),
    ];
    for (what, line) in cases {
        let lines = Lines {
            line,
            number: 0,
            rest: Vec::new(),
        };
        let options = ReadOptions {
            limits: Limits {
                memory_bytes: 4 << 20,
                operations: u64::MAX,
                bytes: 1 << 30,
                ..Limits::default()
            },
            ..ReadOptions::default()
        };
        let reader = std::io::BufReader::with_capacity(64 << 10, lines);
        let error = formats::read(reader, "test", &options).unwrap_err();
        assert!(
            matches!(error.fault, FormatFault::TooMuchMemory { limit } if limit == 4 << 20),
            "{what}: {error}"
        );
    }
}

#[test]
fn keys_that_are_not_utf8_are_refused() {
    for bytes in [
        b"w(\xff,1,0,0)\n".as_slice(),
        b"{:type :ok, :process 0, :value [[:w \"\xff\" 1]]}",
        b"{\"type\":\"ok\",\"process\":0,\"value\":[[\"w\",\"\xff\",1]]}",
        b"co-observed 1\nc 0 - w:%FF=1\nend 1\n",
    ] {
        let error = parse(bytes).unwrap_err();
        assert!(matches!(error.fault, FormatFault::NotUtf8), "{error}");
    }
}

#[test]
fn writers_say_what_is_lost_and_refuse_to_make_another_history() {
    let write = |text: &str, format| {
        let history = parse(text.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let losses = formats::write(&history, format, &mut bytes)?;
        Ok::<_, WriteError>((String::from_utf8(bytes).unwrap(), losses))
    };
    let timed = "co-observed 1\nc 0 0..1 w:x=1 r:y=~\nc 1 2..3 r:x=1\nend 2\n";
    assert_eq!(
        write(timed, Format::Text).unwrap(),
        (
            "w(0,1,0,0)\nr(1,0,0,0)\nr(0,1,1,1)\n".to_owned(),
            vec![Loss::RealTime, Loss::Names]
        )
    );
    assert_eq!(
        write(timed, Format::DbcopHist).unwrap(),
        (
            "[x:=1 y==?]\n---\n[x==1]\n".to_owned(),
            vec![Loss::RealTime]
        )
    );
    assert_eq!(
        write(timed, Format::ElleEdn).unwrap().0,
        "{:index 0, :type :invoke, :process 0, :f :txn, :value [[:w x 1] [:r y nil]]}\n\
         {:index 1, :type :ok, :process 0, :f :txn, :value [[:w x 1] [:r y nil]]}\n\
         {:index 2, :type :invoke, :process 1, :f :txn, :value [[:r x nil]]}\n\
         {:index 3, :type :ok, :process 1, :f :txn, :value [[:r x 1]]}\n"
    );
    let aborted = "co-observed 1\na 0 - w:x=1 r:y=~\nc 0 - r:x=~\nend 2\n";
    let (json, losses) = write(aborted, Format::DbcopJson).unwrap();
    assert_eq!(losses, [Loss::Names]);
    let params = r#"{"id":0,"n_node":1,"n_variable":2,"n_transaction":2,"n_event":2}"#;
    assert!(
        json.starts_with(&format!("{{\"params\":{params},\"info\":\"converted\"")),
        "{json}"
    );
    assert_eq!(txns(&json), ["a 0 - w:0=1 r:1=~", "c 0 - r:0=~"]);
    // A value 0 gets another number where the initial state is read.
    let zero = "co-observed 1\nc 0 - w:1=0 r:2=~\nend 1\n";
    assert_eq!(
        write(zero, Format::Text).unwrap(),
        ("w(1,1,0,0)\nr(2,0,0,0)\n".to_owned(), vec![Loss::Names])
    );
    let unknown = "co-observed 1\nu 0 0.. w:1=1\nc 0 2..3 r:1=1\nend 2\n";
    let error = write(unknown, Format::Text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "text cannot hold an unknown outcome, of transaction 0 (line 2); write native, which holds everything"
    );
    assert_eq!(
        write(unknown, Format::ElleEdn).unwrap().1,
        [Loss::SessionsInDoubt]
    );
    let lists = "co-observed 1\nc 0 - a:1=1 r:2=~\nend 1\n";
    for format in [Format::Text, Format::ElleJson, Format::DbcopHist] {
        assert!(matches!(
            write(lists, format),
            Err(WriteError::NotRepresentable { .. })
        ));
    }
    assert!(matches!(
        write(lists, Format::Cobra),
        Err(WriteError::NotWritten(Format::Cobra))
    ));
}
