//! Every variant there and back (W2), and every hole in a message a typed refusal (W1).

use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use proptest::prelude::*;
use prost::Message as _;

use super::refused::CODES;
use super::*;
use crate::protocol::{
    Ballot, ByHand, CommitAnswer, CoordinatorId, Decision, Dependencies, Heuristic, Incarnation,
    PeerMessage, Refusal, SiteName, ToCoordinator, ToParticipant,
};
use crate::service::coordinator::{BeginGrant, SiteInfo, Statistics};
use crate::service::site::{
    DoneByHand, Execute, ExecuteAnswer, ExecuteOutcome, NewLocal, Operation, OperationReply,
    Pending, Range, SiteTxn, Table,
};

const ID: CoordinatorId = CoordinatorId(9);

const CAUSES: [AbortCause; 12] = [
    AbortCause::Client,
    AbortCause::LocalCycle,
    AbortCause::VotingDeadlock,
    AbortCause::StaleRead,
    AbortCause::WriteConflict,
    AbortCause::Cascade,
    AbortCause::Timeout,
    AbortCause::UnknownTransaction,
    AbortCause::SiteUnreachable,
    AbortCause::LogFailure,
    AbortCause::Outranked,
    AbortCause::DatabaseAway,
];

fn cause() -> impl Strategy<Value = AbortCause> {
    prop::sample::select(CAUSES.to_vec())
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        (0..END_OF_STAMPS).prop_map(|stamp| Decision::Commit {
            stamp: Stamp(stamp)
        }),
        cause().prop_map(|cause| Decision::Abort { cause }),
    ]
}

fn heuristic() -> impl Strategy<Value = Heuristic> {
    let heard = prop::option::of(decision());
    let flags = any::<(bool, bool)>();
    let because_of = prop::option::of(any::<u64>());
    (any::<u64>(), decision(), flags, because_of, heard).prop_map(
        |(gtid, decision, flags, because_of, heard)| Heuristic {
            gtid: Gtid(gtid),
            decision,
            read_only: flags.0,
            because_of: because_of.map(Gtid),
            heard,
            acknowledged: flags.1,
        },
    )
}

fn by_hand() -> impl Strategy<Value = ByHand> {
    prop_oneof![
        prop::option::of(0..END_OF_STAMPS).prop_map(|stamp| ByHand::Commit {
            stamp: stamp.map(Stamp)
        }),
        Just(ByHand::Abort),
        Just(ByHand::Acknowledge),
    ]
}

fn up() -> impl Strategy<Value = ToCoordinator> {
    let gtid = || any::<u64>().prop_map(Gtid);
    let gtids = prop::collection::vec(gtid(), 0..4);
    let by = prop::collection::vec((gtid(), any::<u64>().prop_map(Priority)), 0..4);
    prop_oneof![
        (any::<u64>(), ".{0,9}", gtids).prop_map(|(life, address, in_doubt)| {
            ToCoordinator::Hello {
                incarnation: Incarnation(life),
                address,
                in_doubt,
            }
        }),
        (
            gtid(),
            0..END_OF_STAMPS,
            any::<u64>(),
            any::<bool>(),
            depends()
        )
            .prop_map(
                |(gtid, stamp, life, read_only, depends)| ToCoordinator::Vote {
                    gtid,
                    ballot: Ballot::Yes {
                        stamp: Stamp(stamp),
                        incarnation: Incarnation(life),
                        read_only,
                        depends,
                    },
                }
            ),
        (gtid(), cause()).prop_map(|(gtid, cause)| ToCoordinator::Vote {
            gtid,
            ballot: Ballot::No { cause }
        }),
        (gtid(), any::<u64>(), by).prop_map(|(gtid, priority, by)| ToCoordinator::Blocked {
            gtid,
            priority: Priority(priority),
            by,
        }),
        (gtid(), decision(), any::<bool>()).prop_map(|(gtid, decision, known)| {
            ToCoordinator::OnePhaseDone {
                gtid,
                decision,
                known,
            }
        }),
        gtid().prop_map(|gtid| ToCoordinator::Ack { gtid }),
        gtid().prop_map(|gtid| ToCoordinator::Inquire { gtid }),
    ]
}

fn down() -> impl Strategy<Value = ToParticipant> {
    let gtid = || any::<u64>().prop_map(Gtid);
    prop_oneof![
        (gtid(), any::<bool>())
            .prop_map(|(gtid, dependent)| ToParticipant::Prepare { gtid, dependent }),
        gtid().prop_map(|gtid| ToParticipant::CommitOnePhase { gtid }),
        (gtid(), decision()).prop_map(|(gtid, decision)| ToParticipant::Decide { gtid, decision }),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..5)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        bytes().prop_map(Operation::Get),
        (bytes(), bytes()).prop_map(|(key, value)| Operation::Put(key, value)),
        bytes().prop_map(Operation::Delete),
        (bytes(), prop::option::of(bytes()))
            .prop_map(|(low, high)| Operation::Scan(Range { low, high })),
        (bytes(), any::<i64>()).prop_map(|(key, by)| Operation::Increment(key, by)),
        prop::collection::vec(bytes(), 0..3).prop_map(Operation::Declare),
        ".{0,9}".prop_map(Operation::Sql),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    let cell = || prop::option::of(".{0,3}");
    (0..3_usize).prop_flat_map(move |width| {
        let columns = prop::collection::vec("[a-z]{1,3}", width);
        let rows = prop::collection::vec(prop::collection::vec(cell(), width), 0..3);
        (columns, rows, any::<u64>()).prop_map(|(columns, rows, affected)| Table {
            columns,
            rows,
            affected,
        })
    })
}

fn reply() -> impl Strategy<Value = OperationReply> {
    prop_oneof![
        prop::option::of(bytes()).prop_map(OperationReply::Value),
        prop::collection::vec((bytes(), bytes()), 0..3).prop_map(OperationReply::Rows),
        Just(OperationReply::Done),
        table().prop_map(OperationReply::Table),
    ]
}

fn refused() -> impl Strategy<Value = Refused> {
    let mut codes = CODES.to_vec();
    codes.push(RefusedCode::Other("from-the-future".to_owned()));
    (
        prop::sample::select(codes),
        ".{0,9}",
        prop::option::of(0..9_u64),
    )
        .prop_map(|(code, message, after)| Refused {
            code,
            message,
            retry_after: after.map(Duration::from_millis),
        })
}

fn depends() -> impl Strategy<Value = Dependencies> {
    let gtids = || prop::collection::btree_set(any::<u64>().prop_map(Gtid), 0..4);
    (gtids(), gtids()).prop_map(|(after, if_committed)| Dependencies {
        after,
        if_committed,
    })
}

fn peer() -> impl Strategy<Value = PeerMessage> {
    let gtids = || prop::collection::vec(any::<u64>().prop_map(Gtid), 0..4);
    let site = || "[a-z]{1,5}".prop_map(|name| SiteName::new(&name));
    let at = prop::collection::vec((site(), gtids()), 0..4);
    prop_oneof![
        (any::<u64>(), any::<u64>(), at).prop_map(|(waiter, priority, at)| PeerMessage::Waits {
            waiter: Gtid(waiter),
            priority: Priority(priority),
            at,
        }),
        (any::<u64>(), site()).prop_map(|(gtid, at)| PeerMessage::Wound {
            gtid: Gtid(gtid),
            at,
        }),
    ]
}

/// Through the bytes, not only through the types.
fn through<M: prost::Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn what_operators_and_sites_say_comes_back(
        heuristics in prop::collection::vec(heuristic(), 0..4),
        how in by_hand(),
        decision in prop::option::of(decision()),
        along in prop::collection::vec(any::<u64>(), 0..4),
        reason in ".{0,9}",
    ) {
        let pending = Pending { heuristics, ..Pending::default() };
        let reply = through(&pending_to_wire(pending.clone()));
        prop_assert_eq!(pending_of(reply), Ok(pending));
        let request = through(&site_resolve_request(Gtid(7), how, &reason));
        prop_assert_eq!(site_resolve_of(request), Ok((Gtid(7), how, reason)));
        let along = along.into_iter().map(Gtid).collect();
        let done = Ok(DoneByHand { decision, along });
        let reply = through(&done_by_hand_to_wire(done.clone()));
        prop_assert_eq!(done_by_hand_of(reply), Ok(done));
    }

    #[test]
    fn what_a_site_says_arrives(message in up()) {
        let site = SiteName::new("here");
        let (named, back) = up_of(through(&up_to_wire(ID, &site, message.clone()))).unwrap();
        prop_assert_eq!(named.is_some(), matches!(message, ToCoordinator::Hello { .. }));
        let expected = Introduction { site, to: ID };
        prop_assert!(named.is_none_or(|named| named == expected));
        prop_assert_eq!(back, message);
    }

    #[test]
    fn what_another_coordinator_says_arrives(message in peer()) {
        prop_assert_eq!(peer_of(through(&peer_to_wire(message.clone()))), Ok(message));
    }

    #[test]
    fn what_the_coordinator_says_arrives(message in down()) {
        prop_assert_eq!(down_of(through(&down_to_wire(message.clone()))), Ok(message));
    }

    #[test]
    fn what_a_client_asks_arrives(
        name in any::<u64>(),
        kind in 0..3,
        begin in prop::option::of(any::<u64>()),
        operations in prop::collection::vec(operation(), 0..4),
    ) {
        let txn = match kind {
            0 => SiteTxn::Global(Gtid(name)),
            1 => SiteTxn::Local(name),
            _ => SiteTxn::NewLocal,
        };
        let request = Execute { txn, begin: begin.map(Priority), operations };
        prop_assert_eq!(execute_of(through(&execute_to_wire(request.clone()))), Ok(request));
    }

    #[test]
    fn what_a_site_answers_arrives(
        local in prop::option::of((1..u64::MAX, any::<u64>())),
        outcome in prop_oneof![
            prop::collection::vec(reply(), 0..4).prop_map(ExecuteOutcome::Results),
            cause().prop_map(ExecuteOutcome::Aborted),
            refused().prop_map(ExecuteOutcome::Refused),
        ],
    ) {
        let local = local.map(|(name, age)| NewLocal { name, priority: Priority(age) });
        let answer = ExecuteAnswer { local, outcome };
        let back = execute_answer_of(through(&execute_answer_to_wire(answer.clone())));
        prop_assert_eq!(back, Ok(answer));
    }

    #[test]
    fn no_bytes_break_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(frame) = wire::UpFrame::decode(bytes.as_slice()) {
            frame.messages.into_iter().for_each(|message| drop(up_of(message)));
        }
        if let Ok(frame) = wire::DownFrame::decode(bytes.as_slice()) {
            frame.messages.into_iter().for_each(|message| drop(down_of(message)));
        }
        if let Ok(request) = wire::ExecuteRequest::decode(bytes.as_slice()) {
            drop(execute_of(request));
        }
    }
}

#[test]
fn commit_answers_arrive() {
    let mut answers = vec![
        CommitAnswer::Committed { stamp: Stamp(7) },
        CommitAnswer::Unknown,
        CommitAnswer::Refused(Refusal::UnknownGtid),
    ];
    answers.extend(CAUSES.map(|cause| CommitAnswer::Aborted { cause }));
    for answer in answers {
        assert_eq!(answer_of(through(&answer_to_wire(answer))), Ok(answer));
    }
}

#[test]
fn statistics_sites_and_grants_arrive() {
    let mut statistics = Statistics {
        in_flight: 3,
        epoch: 2,
        serving: true,
        ..Statistics::default()
    };
    statistics.counters.begun = 9;
    statistics.counters.commits = 5;
    statistics.counters.aborts.insert(AbortCause::Timeout, 2);
    statistics.counters.expired = 1;
    statistics.counters.deadlocks_by_search = 4;
    assert_eq!(
        statistics_of(through(&statistics_to_wire(&statistics))),
        Ok(statistics)
    );

    let site = SiteInfo {
        name: SiteName::new("a"),
        address: "http://h:1".to_owned(),
        connected: true,
        incarnation: Incarnation(4),
    };
    assert_eq!(
        site_infos(through(&sites_to_wire(vec![site.clone()]))),
        Ok(vec![site])
    );

    let (first, priority) = (Gtid(5), Priority(6));
    let grant = BeginGrant {
        first,
        count: 2,
        priority,
        lease: Duration::from_millis(70),
    };
    assert_eq!(begin_grant(through(&grant_to_wire(&grant))), Ok(grant));
}

#[test]
fn every_missing_part_is_named() {
    use MalformedWire::{Empty, Missing, UnknownValue};
    use wire::to_coordinator::Message as Up;
    use wire::to_participant::Message as Down;
    let up = |message| up_of(wire::ToCoordinator { message }).unwrap_err();
    assert_eq!(up(None), Missing("to_coordinator.message"));
    let hello = wire::Hello {
        site: String::new(),
        ..Default::default()
    };
    assert_eq!(up(Some(Up::Hello(hello))), Empty("hello.site"));
    let vote = wire::Vote {
        gtid: 1,
        ballot: None,
    };
    assert_eq!(up(Some(Up::Vote(vote))), Missing("vote.ballot"));
    for value in [0, 99, -1] {
        let vote = wire::Vote {
            gtid: 1,
            ballot: Some(wire::vote::Ballot::No(value)),
        };
        assert_eq!(
            up(Some(Up::Vote(vote))),
            UnknownValue {
                field: "vote.no",
                value
            }
        );
    }
    let done = wire::OnePhaseDone {
        gtid: 1,
        decision: None,
        known: true,
    };
    assert_eq!(up(Some(Up::OnePhaseDone(done))), Missing("decision"));

    let down = |message| down_of(wire::ToParticipant { message }).unwrap_err();
    assert_eq!(down(None), Missing("to_participant.message"));
    let decide = wire::Decide {
        gtid: 1,
        decision: Some(wire::Decision { outcome: None }),
    };
    assert_eq!(down(Some(Down::Decide(decide))), Missing("decision"));

    let none = wire::ExecuteRequest {
        txn: None,
        begin_priority: None,
        operations: Vec::new(),
    };
    assert_eq!(execute_of(none), Err(Missing("execute_request.txn")));
    let empty = wire::ExecuteRequest {
        txn: Some(wire::execute_request::Txn::Gtid(1)),
        begin_priority: None,
        operations: vec![wire::Operation { operation: None }],
    };
    assert_eq!(execute_of(empty), Err(Missing("operation")));
    assert_eq!(
        answer_of(wire::CommitReply { outcome: None }),
        Err(Missing("commit_reply.outcome"))
    );
    assert_eq!(names_of(vec![String::new()]), Err(Empty("sites")));
    assert_eq!(
        site_resolve_of(wire::SiteResolveRequest::default()),
        Err(Missing("site_resolve_request.how"))
    );
    assert_eq!(
        done_by_hand_of(wire::SiteResolveReply::default()),
        Err(Missing("site_resolve_reply.outcome"))
    );
    assert_eq!(
        begin_grant(wire::BeginReply::default()),
        Err(Empty("begin_reply.count"))
    );
}

#[test]
fn each_refused_begin_has_its_status() {
    let code = |refused| begin_refused(refused, Duration::ZERO).code();
    assert_eq!(code(BeginRefused::Starting), Code::Unavailable);
    assert_eq!(code(BeginRefused::LogFailed), Code::FailedPrecondition);
    assert_eq!(
        code(BeginRefused::Busy { limit: 1 }),
        Code::ResourceExhausted
    );
    assert_eq!(
        code(BeginRefused::EpochsExhausted),
        Code::FailedPrecondition
    );
    assert_eq!(
        Status::from(MalformedWire::NoHello).code(),
        Code::InvalidArgument
    );
}

/// Whoever takes over such a stamp could count no further.
#[test]
fn a_stamp_at_the_end_of_all_stamps_is_refused() {
    let yes = |stamp| {
        let ballot = wire::vote::Ballot::Yes(wire::Yes {
            stamp,
            incarnation: 1,
            read_only: false,
            after: Vec::new(),
            if_committed: Vec::new(),
        });
        let vote = wire::Vote {
            gtid: 1,
            ballot: Some(ballot),
        };
        up_of(wire::ToCoordinator {
            message: Some(wire::to_coordinator::Message::Vote(vote)),
        })
    };
    assert!(yes(END_OF_STAMPS - 1).is_ok());
    let refused = MalformedWire::OutOfRange("yes.stamp");
    assert_eq!(yes(END_OF_STAMPS).unwrap_err(), refused);
    let decide = wire::Decide {
        gtid: 1,
        decision: Some(wire::Decision {
            outcome: Some(wire::decision::Outcome::CommitStamp(u64::MAX)),
        }),
    };
    let decide = down_of(wire::ToParticipant {
        message: Some(wire::to_participant::Message::Decide(decide)),
    });
    let refused = MalformedWire::OutOfRange("decision.commit_stamp");
    assert_eq!(decide.unwrap_err(), refused);
    let query = query_of(wire::QueryRequest {
        stamp: u64::MAX,
        range: Some(wire::KeyRange::default()),
    });
    let refused = MalformedWire::OutOfRange("query_request.stamp");
    assert_eq!(query.unwrap_err(), refused);
    let stamp = Some(Stamp(u64::MAX));
    let request = site_resolve_request(Gtid(1), ByHand::Commit { stamp }, "");
    let refused = MalformedWire::OutOfRange("commit_by_hand.stamp");
    assert_eq!(site_resolve_of(request).unwrap_err(), refused);
}
