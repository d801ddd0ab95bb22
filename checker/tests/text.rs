//! Reading and writing the history format: every fault is typed and placed, and text round-trips.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::io::{BufReader, Read};

use checker::parse::{MAX_LINE_BYTES, read_history};
use checker::{
    Committed, Ending, HistoryBuilder, Op, ParseError, ParseFault, Record, RecordFault, Scan, Seq,
    Stamp, Token, TokenFault, TxnId,
};
use proptest::prelude::*;

fn fault(text: &str) -> ParseError {
    read_history(text.as_bytes(), "f").unwrap_err()
}

/// Checks that the line after the header is refused with a fault that satisfies `is`.
fn check(line: &str, is: impl Fn(&ParseFault) -> bool) {
    let error = fault(&format!("co-history 1 A\n{line}\nend 1\n"));
    assert!(is(&error.fault), "{line}: {error:?}");
    assert_eq!(error.line, 2, "{line}");
    assert!(error.to_string().starts_with("f, line 2: "), "{error}");
}

#[test]
fn a_file_needs_the_header_of_this_version() {
    for text in ["", "\n", "c G1 1 1 w:x\n", "co-history\n", "co-history 1 A"] {
        assert!(
            matches!(fault(text).fault, ParseFault::MissingHeader),
            "{text:?}"
        );
    }
    assert!(matches!(
        fault("co-history 3 A\n").fault,
        ParseFault::UnsupportedVersion { found } if found == "3"
    ));
    assert!(matches!(
        fault("co-history 1 A B\n").fault,
        ParseFault::ExtraField { .. }
    ));
    assert!(matches!(
        fault("co-history 1 \n").fault,
        ParseFault::MissingField { .. }
    ));
}

#[test]
fn a_malformed_line_is_refused() {
    use ParseFault as F;
    check("d G1 1 1 w:x", |f| matches!(f, F::UnknownRecord { .. }));
    check("c", |f| matches!(f, F::MissingField { .. }));
    check("c G1 1", |f| matches!(f, F::MissingField { .. }));
    check("a G1", |f| matches!(f, F::MissingField { .. }));
    check("a G1 two words", |f| matches!(f, F::ExtraField { .. }));
    check("c T1 1 1 w:x", |f| matches!(f, F::BadTxn { .. }));
    check("c G 1 1 w:x", |f| matches!(f, F::BadTxn { .. }));
    check("c G+1 1 1 w:x", |f| matches!(f, F::BadTxn { .. }));
    check("c G1 x 1 w:x", |f| matches!(f, F::BadNumber { .. }));
    check("c G1 1 18446744073709551616 w:x", |f| {
        matches!(f, F::BadNumber { .. })
    });
    for op in [
        "x",
        "q:x",
        "r:x",
        "s:a@1[]",
        "s:a..b[]",
        "s:a..b@1[",
        "s:..@1[k]",
        "",
    ] {
        check(&format!("c G1 1 - {op}"), |f| matches!(f, F::BadOp { .. }));
    }
    check("c G1 1 - r:x@", |f| matches!(f, F::BadNumber { .. }));
    check("c G1 1 1 w:%4", |f| {
        matches!(
            f,
            F::BadToken {
                fault: TokenFault::BadEscape,
                ..
            }
        )
    });
    check("c G1 1 1 w:a.b", |f| {
        matches!(
            f,
            F::BadToken {
                fault: TokenFault::MustBeEscaped { byte: b'.' },
                ..
            }
        )
    });
    check("end 2", |f| {
        matches!(
            f,
            F::FooterMismatch {
                stated: 2,
                counted: 0
            }
        )
    });
}

#[test]
fn a_record_that_contradicts_the_file_is_refused() {
    use RecordFault as R;
    let record = |text: &str| match fault(text).fault {
        ParseFault::Record(fault) => fault,
        other => panic!("{text}: {other:?}"),
    };
    let head = "co-history 1 A\nc G1 1 1 w:x\n";
    let refuse = |line: &str| record(&format!("{head}{line}\nend 2\n"));
    assert_eq!(
        refuse("a G1 late"),
        R::DuplicateTxn {
            txn: TxnId::Global(1)
        }
    );
    assert_eq!(
        refuse("c L1 2 1 w:y"),
        R::DuplicateSeq {
            txn: TxnId::Local(1),
            seq: Seq(1)
        }
    );
    assert_eq!(
        refuse("c L1 2 0 w:y"),
        R::ZeroSeq {
            txn: TxnId::Local(1)
        }
    );
    assert_eq!(
        refuse("c L1 2 - w:y"),
        R::InstallWithoutSeq {
            txn: TxnId::Local(1)
        }
    );
    assert_eq!(
        refuse("c L1 2 3 r:y@0"),
        R::SeqWithoutInstall {
            txn: TxnId::Local(1)
        }
    );
}

#[test]
fn nothing_but_comments_may_follow_the_footer() {
    let whole = "co-history 1 A\nend 0\n# fine\n\n";
    assert_eq!(
        read_history(whole.as_bytes(), "f").unwrap().ending(),
        Ending::Footer
    );
    let error = fault("co-history 1 A\nend 0\na L1 late\n");
    assert!(matches!(error.fault, ParseFault::AfterFooter));
    assert_eq!(error.line, 3);
}

/// A reader that cuts a file at any byte must never turn it into a different complete history: a
/// shortened last operation (`w:acct` for `w:acct/3`) is well formed, so the line must be dropped.
#[test]
fn a_file_cut_at_any_byte_is_a_prefix_that_says_so() {
    let text = "co-history 1 A\nc G1 1 1 w:acct/3 w:b\nc G2 2 12 w:acct/33\na L1 late\nend 3\n";
    let whole = read_history(text.as_bytes(), "f").unwrap();
    let header = text.find('\n').unwrap() + 1;
    for cut in header..text.len() - 1 {
        let part = read_history(&text.as_bytes()[..cut], "f").unwrap();
        assert_eq!(part.ending(), Ending::CutShort, "cut at {cut}");
        assert!(whole.records().starts_with(part.records()), "cut at {cut}");
        let lines = text[..cut].matches('\n').count() - 1;
        assert_eq!(part.records().len(), lines, "cut at {cut}");
    }
    let unterminated = &text.as_bytes()[..text.len() - 1];
    assert_eq!(
        read_history(unterminated, "f").unwrap(),
        whole,
        "only the last line feed is lost"
    );
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_memory() {
    let endless = "co-history 1 A\n".as_bytes().chain(std::io::repeat(b'#'));
    let error = read_history(BufReader::new(endless), "f").unwrap_err();
    assert!(matches!(error.fault, ParseFault::LineTooLong));
    let longest = format!("co-history 1 A\n{}\nend 0\n", "#".repeat(MAX_LINE_BYTES));
    assert!(read_history(longest.as_bytes(), "f").is_ok());
}

#[test]
fn a_line_that_is_not_utf8_is_refused() {
    let error = read_history(&b"co-history 1 A\nc G1 1 1 w:\xFF\nend 1\n"[..], "f").unwrap_err();
    assert!(matches!(error.fault, ParseFault::NotUtf8));
}

fn token() -> impl Strategy<Value = Token> {
    prop::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Token::from(bytes.as_slice()))
}

fn op() -> impl Strategy<Value = Op> {
    let version = any::<u64>().prop_map(Seq);
    let found = prop::collection::vec((token(), any::<u64>().prop_map(Seq)), 0..3);
    let hi = token().prop_map(|hi| if hi.is_empty() { None } else { Some(hi) });
    prop_oneof![
        (token(), version.clone()).prop_map(|(key, version)| Op::Read { key, version }),
        token().prop_map(|key| Op::Write { key }),
        token().prop_map(|key| Op::Delete { key }),
        token().prop_map(|key| Op::Increment { key }),
        (token(), hi, version, found).prop_map(|(lo, hi, pos, found)| Op::Scan(Box::new(Scan {
            lo,
            hi,
            pos,
            found
        }))),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let txn = prop_oneof![
        any::<u64>().prop_map(TxnId::Global),
        (0..9u64).prop_map(TxnId::Local)
    ];
    let ops = || prop::collection::vec(op(), 0..4);
    let reason = token().prop_filter("a reason is not empty", |reason| !reason.is_empty());
    let stamp = prop::option::of(any::<u64>().prop_map(Stamp));
    prop_oneof![
        (txn.clone(), reason).prop_map(|(txn, reason)| Record::Aborted { txn, reason }),
        (txn.clone(), ops()).prop_map(|(txn, ops)| Record::InDoubt { txn, ops }),
        (txn, ops(), stamp, 1u64..).prop_map(|(txn, ops, stamp, seq)| {
            let installs = ops.iter().any(|op| op.installs().is_some());
            Record::Committed(Committed {
                txn,
                stamp,
                seq: installs.then_some(Seq(seq)),
                ops,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn any_history_round_trips_through_text(
        site in token().prop_filter("a site is not empty", |site| !site.is_empty()),
        records in prop::collection::vec(record(), 0..8),
        whole in any::<bool>(),
    ) {
        let mut builder = HistoryBuilder::new("f", site);
        for record in records {
            // Random records may contradict each other; the builder leaves those out.
            builder.push(record).ok();
        }
        let history = builder.finish(if whole { Ending::Footer } else { Ending::CutShort });
        let again = read_history(history.to_string().as_bytes(), "f").unwrap();
        prop_assert_eq!(again, history);
    }

    #[test]
    fn no_text_makes_the_reader_panic(lines in prop::collection::vec("[acuGLrwxis:@.,%0-9 \\[\\]#-]{0,24}", 0..6)) {
        let text = format!("co-history 1 A\n{}\n", lines.join("\n"));
        if let Ok(history) = read_history(text.as_bytes(), "f") {
            for level in [checker::Level::Serializability, checker::Level::CommitmentOrdering] {
                assert!(checker::judge(std::slice::from_ref(&history), level).to_json().is_object());
            }
        }
    }
}

#[test]
fn a_compressed_history_is_read_as_if_it_were_plain() {
    use std::io::Write as _;
    let text = "co-history 1 A\nc G1 5 1 w:x\nc G2 6 - r:x@1\nend 2\n";
    let plain = read_history(text.as_bytes(), "f").unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(text.as_bytes(), level);
    for bytes in [text.as_bytes(), &gzip, &zstd] {
        let read = checker::parse::read_compressed_history(bytes, "f", 1 << 20).unwrap();
        assert_eq!(read, plain);
    }
    let cut = &gzip[..gzip.len() - 9];
    let error = checker::parse::read_compressed_history(cut, "f", 1 << 20).unwrap_err();
    assert!(matches!(error.fault, ParseFault::Io(_)), "{error}");
    let error = checker::parse::read_compressed_history(&gzip[..], "f", 40).unwrap_err();
    assert!(error.to_string().contains("more than 40 bytes"), "{error}");
}
