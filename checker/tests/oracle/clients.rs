//! Sessions and real time, against all orders of the transactions that keep them by their definitions.

use std::collections::BTreeMap;

use checker::models::{Model, rules_out};
use checker::verify::verify_at;
use checker::{
    Case, Client, Ending, HistoryBuilder, Level, RealTime, Record, SiteHistory, Token, Turn,
    TxnRef, Verdict, witness,
};
use checker::{assess, formats};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use crate::plan::{bends, plan};
use crate::replay::{permutations, replays, stamp_order, transactions};

const LEVELS: [Level; 4] = [
    Level::StrongSessionSerializability,
    Level::StrictSerializability,
    Level::SessionCommitmentOrdering,
    Level::RealtimeCommitmentOrdering,
];

/// What is known of the clients of a case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients {
    of: BTreeMap<TxnRef, (Turn, RealTime)>,
    clock_error: u64,
}

impl Clients {
    fn turns_disagree(&self, first: &TxnRef, second: &TxnRef) -> bool {
        let (one, other) = (&self.of[first].0, &self.of[second].0);
        one.session == other.session && one.position > other.position
    }

    /// Whether the second was told before the first was asked for, whatever the clocks.
    fn times_disagree(&self, first: &TxnRef, second: &TxnRef) -> bool {
        let to = self.of[second].1.to;
        to.is_some_and(|to| to + self.clock_error < self.of[first].1.from)
    }

    fn keep(&self, order: &[TxnRef], level: Level) -> bool {
        let real = matches!(
            level,
            Level::StrictSerializability | Level::RealtimeCommitmentOrdering
        );
        let pairs = (0..order.len())
            .flat_map(|first| (first + 1..order.len()).map(move |second| (first, second)));
        let mut pairs = pairs.map(|(first, second)| (&order[first], &order[second]));
        pairs.all(|(first, second)| {
            !(self.turns_disagree(first, second) || real && self.times_disagree(first, second))
        })
    }

    /// Whether somebody was told before somebody was asked who is earlier in the session.
    fn contradict(&self) -> bool {
        let txns = || self.of.keys();
        txns().any(|one| {
            txns().any(|other| self.turns_disagree(other, one) && self.times_disagree(one, other))
        })
    }

    /// The histories with these clients. Of a global transaction, one site alone may tell, or each a part of its time.
    fn told_by(&self, sites: &[SiteHistory], how: u8) -> Vec<SiteHistory> {
        let told = |(number, site): (usize, &SiteHistory)| {
            let mut builder = HistoryBuilder::new(site.source(), site.site().clone());
            // The largest bound counts.
            builder.set_clock_error(if number == usize::from(how) % 2 {
                self.clock_error
            } else {
                0
            });
            for record in site.records() {
                let txn = TxnRef::new(record.txn(), site.site());
                let Record::Committed(committed) = record else {
                    unreachable!("all commit")
                };
                let elsewhere = sites.iter().enumerate().any(|(other, history)| {
                    other != number
                        && history
                            .records()
                            .iter()
                            .any(|it| TxnRef::new(it.txn(), history.site()) == txn)
                });
                let (turn, time) = self.of[&txn].clone();
                let client = match how % 4 {
                    1 if elsewhere && number == 0 => Client {
                        turn: Some(turn),
                        time: None,
                    },
                    1 if elsewhere => Client {
                        turn: None,
                        time: Some(time),
                    },
                    2 if elsewhere && number == 0 => Client {
                        turn: Some(turn),
                        time: Some(RealTime {
                            from: time.from,
                            to: time.to.map(|_| time.from),
                        }),
                    },
                    2 if elsewhere => Client {
                        turn: None,
                        time: Some(RealTime {
                            from: time.to.unwrap_or(time.from),
                            to: time.to,
                        }),
                    },
                    _ => Client {
                        turn: Some(turn),
                        time: Some(time),
                    },
                };
                builder.push_of(committed.clone(), client).unwrap();
            }
            builder.finish(Ending::Footer)
        };
        sites.iter().enumerate().map(told).collect()
    }
}

/// Every order of the transactions that explains every read.
fn explaining(sites: &[SiteHistory]) -> Vec<Vec<TxnRef>> {
    let mut order = transactions(sites);
    let count = order.len();
    let mut found = Vec::new();
    permutations(&mut order, count, &mut |order| {
        if replays(sites, order) {
            found.push(order.to_vec());
        }
        false
    });
    found
}

/// Checks all levels; tells which hold, or nothing where sessions and times contradict each other.
fn check(
    sites: &[SiteHistory],
    clients: &Clients,
    explaining: &[Vec<TxnRef>],
) -> Option<[bool; 4]> {
    let case = Case::new(sites);
    assert_eq!(case.strongest_told(), Level::StrictSerializability);
    let decided = stamp_order(sites);
    let contradict = clients.contradict();
    let mut held = [false; 4];
    for (held, level) in held.iter_mut().zip(LEVELS) {
        let by_decisions = matches!(
            level,
            Level::SessionCommitmentOrdering | Level::RealtimeCommitmentOrdering
        );
        let holds = |order: &Vec<TxnRef>| {
            clients.keep(order, level) && (!by_decisions || *order == decided)
        };
        *held = explaining.iter().any(holds);
        let report = case.judge(level);
        match &report.verdict {
            Verdict::Valid { serial_order } => {
                assert!(*held && !contradict, "{level}: {}", text(sites));
                assert_eq!(
                    verify_at(sites, level, serial_order),
                    Ok(()),
                    "{level}: {}",
                    text(sites)
                );
                assert!(
                    holds(serial_order),
                    "{level}: {serial_order:?}\n{}",
                    text(sites)
                );
            }
            Verdict::Invalid { .. } => {
                assert!(!*held, "{level}: {}", text(sites));
                if let Some(cycle) = report.cycle() {
                    assert_eq!(witness::check(sites, cycle), Ok(()));
                }
            }
            Verdict::Unknown { reasons, .. } => assert!(contradict, "{reasons:?}\n{}", text(sites)),
        }
    }
    if !contradict {
        names_agree(&case, &held, !explaining.is_empty(), sites);
    }
    (!contradict).then_some(held)
}

/// What is ruled out by name is what does not hold, and the class of the cycle that is shown says the same.
fn names_agree(case: &Case<'_>, held: &[bool; 4], serializable: bool, sites: &[SiteHistory]) {
    let named = case.named();
    let out = named.ruled_out.all();
    assert!(!named.gave_up);
    for (model, holds) in [
        (Model::Serializable, serializable),
        (Model::StrongSessionSerializable, held[0]),
        (Model::StrictSerializable, held[1]),
    ] {
        assert_eq!(
            out.contains(model),
            !holds,
            "{}: {:?}\n{}",
            model.name(),
            named.found,
            text(sites)
        );
    }
    for found in named.found.iter().filter(|found| !found.cycle.is_empty()) {
        let letters: Vec<&str> = found
            .cycle
            .iter()
            .map(|step| step.reason.letters())
            .collect();
        let ending = if letters.contains(&"real time") {
            "-realtime"
        } else if letters.contains(&"session") {
            "-process"
        } else {
            ""
        };
        let has = |ending: &str| found.name.name().ends_with(ending);
        assert!(
            has(ending) && (!ending.is_empty() || !(has("-process") || has("-realtime"))),
            "{letters:?}"
        );
        assert!(
            rules_out([found.name])
                .all()
                .contains(Model::StrictSerializable)
        );
    }
    let shown = case.judge(Level::StrictSerializability);
    if let Some(cycle) = shown.cycle() {
        let class = cycle.class.to_string();
        let first = class.split(',').next().unwrap();
        let has_cycle = |level| case.judge(level).cycle().is_some();
        let conflicts = has_cycle(Level::Serializability);
        let expected = if conflicts {
            ""
        } else if has_cycle(Level::StrongSessionSerializability) {
            "-process"
        } else {
            "-realtime"
        };
        assert!(first.ends_with(expected), "{class}\n{}", text(sites));
        let in_time = first.contains("-process") || first.contains("-realtime");
        assert_eq!(in_time, !conflicts, "{class}");
    }
}

fn text(sites: &[SiteHistory]) -> String {
    sites.iter().map(ToString::to_string).collect()
}

/// For each transaction: its session, a choice for its turn, and how far its time reaches from its place before and
/// after.
type Told = (u8, u8, u8, u8);

fn told() -> impl Strategy<Value = (Vec<Told>, u8, u8)> {
    let one = (0u8..3, any::<u8>(), 0u8..8, 0u8..8);
    (prop::collection::vec(one, 8), 0u8..3, 0u8..4)
}

/// Clients that mostly agree with the order of decisions.
fn clients(sites: &[SiteHistory], told: &[Told], clock_error: u8) -> Clients {
    let mut of = BTreeMap::new();
    for (place, txn) in stamp_order(sites).into_iter().enumerate() {
        let (session, choice, before, after) = told[place % told.len()];
        let place = place as u64;
        // Rarely out of turn; never twice the same.
        let position = if choice % 8 == 0 {
            100 - place
        } else {
            10 + place
        };
        // Rarely long before those that it follows.
        let at = 10 + 4 * if choice % 4 == 2 { place / 2 } else { place };
        let at = if choice % 8 == 3 { at + 12 } else { at };
        let to = if choice % 16 == 1 {
            None
        } else {
            Some(at + u64::from(after))
        };
        let time = RealTime {
            from: at - u64::from(before),
            to,
        };
        let session = Token::from(&[b'p' + session][..]);
        of.insert(txn, (Turn { session, position }, time));
    }
    Clients {
        of,
        clock_error: u64::from(clock_error),
    }
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(2000), ..Config::default() })]

    #[test]
    fn sessions_and_real_time_are_judged_as_all_orders_say(
        plan in plan(), bends in bends(), serial in any::<bool>(), (told, clock_error, how) in told(),
    ) {
        let bare = if serial { plan.execute() } else { plan.execute_bent(&bends) };
        let clients = clients(&bare, &told, clock_error);
        let sites = clients.told_by(&bare, how);
        check(&sites, &clients, &explaining(&sites));
    }
}

/// Both outcomes of each level must be common, and so must levels that tell from each other.
#[test]
fn the_random_clients_are_of_every_sort() {
    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 7];
    for _ in 0..800 {
        let (plan, (told, clock_error, how)) =
            (plan(), told()).new_tree(&mut runner).unwrap().current();
        let bare = plan.execute();
        let clients = clients(&bare, &told, clock_error);
        let sites = clients.told_by(&bare, how);
        let Some([session, strict, session_co, strict_co]) =
            check(&sites, &clients, &explaining(&sites))
        else {
            counts[0] += 1;
            continue;
        };
        counts[1] += usize::from(strict);
        counts[2] += usize::from(!session);
        counts[3] += usize::from(session && !strict);
        counts[4] += usize::from(session && !session_co);
        counts[5] += usize::from(strict && !strict_co);
        counts[6] += usize::from(strict_co);
    }
    assert!(counts.iter().all(|count| *count >= 15), "{counts:?}");
}

/// What a transaction of the smallest histories does: keys that it reads, and that it writes.
const SHAPES: [(&[usize], &[usize]); 6] = [
    (&[0], &[]),
    (&[], &[0]),
    (&[0], &[0]),
    (&[0], &[1]),
    (&[1], &[0]),
    (&[0, 1], &[]),
];

/// Every history of three transactions with these shapes, each read of each version.
fn smallest(mut each: impl FnMut(SiteHistory)) {
    for code in 0..SHAPES.len().pow(3) {
        let shapes = [0, 1, 2].map(|txn| SHAPES[code / SHAPES.len().pow(txn) % SHAPES.len()]);
        let writers = |key: usize| (0..3).filter(move |txn| shapes[*txn].1.contains(&key));
        let reads: Vec<(usize, usize)> = (0..3)
            .flat_map(|txn| shapes[txn].0.iter().map(move |key| (txn, *key)))
            .collect();
        // The versions that each read may see: the initial one, and those of the others.
        let choices: Vec<Vec<usize>> = reads
            .iter()
            .map(|(reader, key)| {
                let others = writers(*key).filter(|txn| txn != reader).map(|txn| txn + 1);
                std::iter::once(0).chain(others).collect()
            })
            .collect();
        let total: usize = choices.iter().map(Vec::len).product();
        for mut choice in 0..total {
            let mut seen = Vec::new();
            for versions in &choices {
                seen.push(versions[choice % versions.len()]);
                choice /= versions.len();
            }
            let mut lines = String::from("co-history 1 A\n");
            for txn in 0..3 {
                let seq = if shapes[txn].1.is_empty() {
                    "-".to_owned()
                } else {
                    (txn + 1).to_string()
                };
                lines += &format!("c L{txn} {} {seq}", [2, 3, 1][txn]);
                for ((_, key), version) in reads
                    .iter()
                    .zip(&seen)
                    .filter(|((reader, _), _)| *reader == txn)
                {
                    lines += &format!(" r:{}@{version}", ["x", "y"][*key]);
                }
                for key in shapes[txn].1 {
                    lines += &format!(" w:{}", ["x", "y"][*key]);
                }
                lines += "\n";
            }
            lines += "end 3\n";
            each(checker::parse::read_history(lines.as_bytes(), "A").unwrap());
        }
    }
}

/// Every way to put three transactions into sessions.
const SESSIONS: [[(u8, u64); 3]; 13] = [
    [(0, 1), (1, 1), (2, 1)],
    [(0, 1), (0, 2), (2, 1)],
    [(0, 2), (0, 1), (2, 1)],
    [(0, 1), (1, 1), (0, 2)],
    [(0, 2), (1, 1), (0, 1)],
    [(0, 1), (1, 1), (1, 2)],
    [(0, 1), (1, 2), (1, 1)],
    [(0, 1), (0, 2), (0, 3)],
    [(0, 1), (0, 3), (0, 2)],
    [(0, 2), (0, 1), (0, 3)],
    [(0, 2), (0, 3), (0, 1)],
    [(0, 3), (0, 1), (0, 2)],
    [(0, 3), (0, 2), (0, 1)],
];

/// Every way in which three transactions can follow and overlap each other.
fn times() -> Vec<[RealTime; 3]> {
    let all: Vec<RealTime> = (0..3)
        .flat_map(|from| (from..3).map(move |to| RealTime { from, to: Some(to) }))
        .collect();
    let mut found: BTreeMap<Vec<bool>, [RealTime; 3]> = BTreeMap::new();
    for code in 0..all.len().pow(3) {
        let times = [0, 1, 2].map(|txn| all[code / all.len().pow(txn) % all.len()]);
        let before = |one: RealTime, other: RealTime| one.to.unwrap() < other.from;
        let order = times
            .iter()
            .flat_map(|one| times.iter().map(|other| before(*one, *other)))
            .collect();
        found.entry(order).or_insert(times);
    }
    found.into_values().collect()
}

/// What is strictly serializable is so when it is judged by what its clients observed, with other judges.
fn is_valid_when_converted(sites: &[SiteHistory]) {
    let history = formats::observe_sites(sites).unwrap();
    let assessment = assess::assess(&history, &assess::Options::default(), &mut |_| {});
    let asked: Vec<&str> = assessment.asked.iter().map(|model| model.name()).collect();
    assert_eq!(asked, ["strict-serializable"]);
    assert!(
        assessment.verdict() != assess::Verdict::Invalid,
        "{}",
        text(sites)
    );
}

#[test]
fn all_the_smallest_histories_are_judged_as_all_orders_say() {
    let times = times();
    assert_eq!(times.len(), 19, "the partial orders of three");
    let (mut number, mut judged, mut observed) = (0_usize, 0, 0);
    smallest(|site| {
        let sites = [site];
        let explaining = explaining(&sites);
        number += 1;
        // Every session with one of the times, and every time with one of the sessions, in turn.
        let pairs = (0..SESSIONS.len())
            .map(|session| (session, number % times.len()))
            .chain((0..times.len()).map(|time| (number % SESSIONS.len(), time)));
        for (session, time) in pairs {
            let of = transactions(&sites).into_iter().map(|txn| {
                let checker::TxnId::Local(place) = txn.id() else {
                    unreachable!("all are local")
                };
                let (name, position) = SESSIONS[session][place as usize];
                let turn = Turn {
                    session: Token::from(&[b'p' + name][..]),
                    position,
                };
                (txn, (turn, times[time][place as usize]))
            });
            let clients = Clients {
                of: of.collect(),
                clock_error: 0,
            };
            let told = clients.told_by(&sites, 0);
            let held = check(&told, &clients, &explaining);
            if judged % 16 == 0 && held.is_some_and(|held| held[1]) {
                observed += 1;
                is_valid_when_converted(&told);
            }
            judged += 1;
        }
    });
    assert!(number > 1000 && judged > 30 * number, "{number} {judged}");
    assert!(observed > 100, "{observed}");
}

/// Wrong orders are refused for what they break.
#[test]
fn the_re_check_wants_sessions_times_and_decisions_kept() {
    let text = "co-history 2 A clock-error:5\nc L1 1 - p:s@1 t:0..10 r:x@0\nc L2 2 - p:s@2 t:20..30 r:x@0\n\
                c L3 3 - p:u@1 t:35..40 r:x@0\nend 3\n";
    let sites = [checker::parse::read_history(text.as_bytes(), "A").unwrap()];
    let [one, two, three] = transactions(&sites).try_into().unwrap();
    let run = |level, order: [&TxnRef; 3]| {
        verify_at(&sites, level, &order.map(Clone::clone)).map_err(|it| it.to_string())
    };
    let (session, strict) = (
        Level::StrongSessionSerializability,
        Level::StrictSerializability,
    );
    assert_eq!(run(strict, [&one, &two, &three]), Ok(()));
    // Not further apart than the clocks.
    assert_eq!(run(strict, [&one, &three, &two]), Ok(()));
    assert_eq!(run(session, [&three, &one, &two]), Ok(()));
    let refused = run(session, [&two, &one, &three]).unwrap_err();
    assert_eq!(
        refused,
        "session s has L1@A before L2@A, and the order L2@A before L1@A"
    );
    let refused = run(strict, [&three, &one, &two]).unwrap_err();
    assert_eq!(
        refused,
        "L1@A was over when L3@A was asked for, and the order has L3@A before L1@A"
    );
    let refused = run(Level::RealtimeCommitmentOrdering, [&one, &three, &two]).unwrap_err();
    assert_eq!(
        refused,
        "L2@A was decided before L3@A, and the order has L3@A before L2@A"
    );
}
