//! The traps that were found by search or by thought (G4, G5, the order of learning, a vote order on direct
//! conflicts only, locals that commit before an in-doubt successor), each as one deterministic schedule.

use co_core::{
    AbortReason, Access, Certification, Eco, Gco, Gtid, Outcome, Priority, Reads, SiteTxn, State,
    Vote,
};

use crate::scenario::{global, local};

const G1: u64 = 1;
const G2: u64 = 2;
const G3: u64 = 3;

fn read(site: &Eco<char>, txn: &SiteTxn, item: char) {
    assert!(
        site.read(txn, &item).unwrap().is_granted(),
        "{txn:?} reads {item}"
    );
}

fn write(site: &Eco<char>, txn: &SiteTxn, item: char) {
    assert!(
        site.write(txn, &item).unwrap().is_granted(),
        "{txn:?} writes {item}"
    );
}

fn vote(site: &Eco<char>, txn: &SiteTxn) {
    assert_eq!(site.request_vote(txn).peek(), Some(Vote::Yes), "{txn:?}");
}

fn commit(site: &Eco<char>, txn: &SiteTxn) {
    site.decided(txn, Outcome::Commit).unwrap();
}

#[test]
fn g4_an_indirect_conflict_holds_the_vote_up_and_one_of_the_two_aborts() {
    let (a, b) = (Eco::new(), Eco::new());
    let [g1a, g2a] = [G1, G2].map(|number| a.begin(global(number)));
    let [g1b, g2b] = [G1, G2].map(|number| b.begin(global(number)));
    let bystander = a.begin(local(9));

    read(&a, &g1a, 'a');
    write(&a, &bystander, 'a');
    write(&a, &bystander, 'b');
    vote(&a, &bystander); // at once, although G1 precedes it
    commit(&a, &bystander);
    read(&a, &g2a, 'b');
    read(&b, &g2b, 'c');
    write(&b, &g1b, 'c');

    let at_a = a.request_vote(&g2a);
    let at_b = b.request_vote(&g1b);
    assert_eq!(
        (at_a.peek(), at_b.peek()),
        (None, None),
        "a voting deadlock"
    );
    assert_eq!(a.blocked_by(&g2a), [(Gtid(G1), Priority(G1))]);
    assert_eq!(b.blocked_by(&g1b), [(Gtid(G2), Priority(G2))]);
    vote(&a, &g1a);
    vote(&b, &g2b);

    // The coordinator of G2 gives up; nothing else has to.
    a.decided(&g2a, Outcome::Abort).unwrap();
    b.decided(&g2b, Outcome::Abort).unwrap();
    assert_eq!(at_a.peek(), Some(Vote::No(AbortReason::Requested)));
    assert_eq!(at_b.peek(), Some(Vote::Yes));
    commit(&a, &g1a);
    commit(&b, &g1b);
    assert!(a.is_empty() && b.is_empty());
}

#[test]
fn g5_a_local_that_links_an_earlier_vote_to_a_later_decision_is_aborted() {
    let site = Eco::new();
    let late = site.begin(local(9));
    read(&site, &late, 'p');
    let g3 = site.begin(global(G3));
    write(&site, &g3, 'p'); // late → G3
    vote(&site, &g3);
    commit(&site, &g3);
    let g1 = site.begin(global(G1));
    write(&site, &g1, 'q');
    vote(&site, &g1);
    commit(&site, &g1);

    // Both are decided, in the order G3, G1, and are remembered for the sake of this operation.
    assert_eq!(site.remembered(), 3);
    let answer = site.write(&late, &'q').unwrap();
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Overtaken)),
        "{answer:?}"
    );
    assert_eq!(site.take_doomed(), std::slice::from_ref(&late));
    site.decided(&late, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn g5_the_order_in_which_decisions_are_learned_does_not_excuse_the_local() {
    let site = Eco::new();
    let late = site.begin(local(9));
    read(&site, &late, 'p');
    let [g1, g3] = [G1, G3].map(|number| site.begin(global(number)));
    write(&site, &g3, 'p');
    write(&site, &g1, 'q');
    // In doubt together; G3 was decided first, and the site hears of G1 first.
    vote(&site, &g3);
    vote(&site, &g1);
    commit(&site, &g1);
    commit(&site, &g3);
    let answer = site.write(&late, &'q').unwrap();
    assert!(
        matches!(answer, Access::Doomed(AbortReason::Overtaken)),
        "{answer:?}"
    );
    site.decided(&late, Outcome::Abort).unwrap();
    assert!(site.is_empty());
}

#[test]
fn g5_in_the_right_order_the_local_commits() {
    let site = Eco::new();
    let late = site.begin(local(9));
    read(&site, &late, 'p');
    let g1 = site.begin(global(G1));
    write(&site, &g1, 'q');
    vote(&site, &g1);
    commit(&site, &g1);
    let g3 = site.begin(global(G3));
    write(&site, &g3, 'p');
    vote(&site, &g3);
    commit(&site, &g3);
    write(&site, &late, 'q'); // G1 → late → G3
    vote(&site, &late);
    commit(&site, &late);
    assert!(site.is_empty());
}

#[test]
fn g5_holds_for_versions_too() {
    for together in [false, true] {
        let site = Gco::new(Reads::Newest, Certification::Interval);
        let late = site.begin(local(9));
        let [g1, g3] = [G1, G3].map(|number| site.begin(global(number)));
        assert!(site.read(&late, &'p').unwrap().is_granted());
        assert!(site.write(&g3, &'p').unwrap().is_granted());
        assert!(site.write(&g1, &'q').unwrap().is_granted());
        assert_eq!(site.request_vote(&g3).peek(), Some(Vote::Yes));
        if together {
            assert_eq!(site.request_vote(&g1).peek(), Some(Vote::Yes));
            site.decided(&g1, Outcome::Commit).unwrap();
            site.decided(&g3, Outcome::Commit).unwrap();
        } else {
            site.decided(&g3, Outcome::Commit).unwrap();
            assert_eq!(site.request_vote(&g1).peek(), Some(Vote::Yes));
            site.decided(&g1, Outcome::Commit).unwrap();
        }
        assert!(site.write(&late, &'q').unwrap().is_granted());
        let answer = site.request_vote(&late).peek();
        assert_eq!(
            answer,
            Some(Vote::No(AbortReason::Conflict)),
            "together: {together}"
        );
        site.decided(&late, Outcome::Abort).unwrap();
        assert!(site.is_empty());
    }
}

/// A coordinator may decide G1 while the site still holds G3 in doubt: the local that reads what G1 wrote and what
/// G3 is about to replace would link them. Only the stamp of the one in doubt shows it.
#[test]
fn a_local_between_a_learned_decision_and_one_in_doubt_is_refused() {
    let site = Gco::new(Reads::Newest, Certification::Interval);
    let [g1, g3] = [G1, G3].map(|number| site.begin(global(number)));
    assert!(site.write(&g3, &'p').unwrap().is_granted());
    assert!(site.write(&g1, &'q').unwrap().is_granted());
    assert_eq!(site.request_vote(&g3).peek(), Some(Vote::Yes));
    assert_eq!(site.request_vote(&g1).peek(), Some(Vote::Yes));
    site.decided(&g1, Outcome::Commit).unwrap();
    let between = site.begin(local(9));
    assert!(site.read(&between, &'p').unwrap().is_granted());
    assert!(site.read(&between, &'q').unwrap().is_granted());
    let answer = site.request_vote(&between).peek();
    assert_eq!(answer, Some(Vote::No(AbortReason::Conflict)));
    site.decided(&between, Outcome::Abort).unwrap();
    site.decided(&g3, Outcome::Commit).unwrap();
    assert!(site.is_empty());
}

/// Site, verb, item.
type Steps = &'static [(usize, char, u8)];

/// A found trace: transactions by number with what they do (site, verb, item), and the events.
struct Trace {
    programs: &'static [(u64, Steps)],
    globals: &'static [u64],
    events: &'static str,
    /// The event that does not happen under [`Eco`].
    refused: &'static str,
}

/// Replays a trace up to the first event that does not happen.
fn replay(trace: &Trace) -> Option<String> {
    let sites = [Eco::new(), Eco::new()];
    let mut txns = Vec::new();
    for &(number, program) in trace.programs {
        let kind = if trace.globals.contains(&number) {
            global(number)
        } else {
            local(number)
        };
        let here = |site: usize| program.iter().any(|step| step.0 == site);
        let parts = [0, 1].map(|site| here(site).then(|| sites[site].begin(kind)));
        txns.push((number, parts, program.iter()));
    }
    let mut outcomes = std::collections::BTreeMap::new();
    for event in trace.events.split(", ") {
        let mut words = event.split(' ');
        let verb = words.next().unwrap();
        let number: u64 = words.next().unwrap().parse().unwrap();
        let at = words.next().map(|word| word.parse::<usize>().unwrap());
        let (_, parts, program) = txns.iter_mut().find(|txn| txn.0 == number).unwrap();
        let happens = match verb {
            "op" => {
                let &(at, verb, item) = program.next().unwrap();
                let txn = parts[at].as_ref().unwrap();
                let answer = if verb == 'r' {
                    sites[at].read(txn, &item)
                } else {
                    sites[at].write(txn, &item)
                };
                answer.unwrap().is_granted()
            }
            "vote" => {
                let at = at.unwrap();
                let vote = sites[at].request_vote(parts[at].as_ref().unwrap()).peek();
                vote == Some(Vote::Yes)
            }
            "commit" => {
                let at = usize::from(parts[0].is_none());
                let txn = parts[at].as_ref().unwrap();
                sites[at].request_vote(txn).peek() == Some(Vote::Yes)
                    && sites[at].decided(txn, Outcome::Commit).is_ok()
            }
            "decide" => {
                outcomes.insert(number, Outcome::Commit);
                let voted = |part: &SiteTxn| part.state() == State::Voted;
                parts.iter().flatten().all(voted)
            }
            _ => {
                let at = at.unwrap();
                let txn = parts[at].as_ref().unwrap();
                let outcome = outcomes.get(&number).copied().unwrap_or(Outcome::Abort);
                sites[at].decided(txn, outcome).is_ok()
            }
        };
        if !happens {
            return Some(event.to_owned());
        }
    }
    None
}

#[test]
fn the_found_traces_stop_where_eco_must_stop_them() {
    for trace in TRACES {
        assert_eq!(
            replay(trace).as_deref(),
            Some(trace.refused),
            "{}",
            trace.events
        );
    }
}

const TRACES: &[Trace] = &[
    // A vote order on direct conflicts only: T1 → L4 → T2 at one site, T2 → L5 → T1 at the other. T1 voted after
    // L5 had committed, so its path from T2 holds its vote up.
    Trace {
        programs: &[
            (1, &[(1, 'r', 0), (0, 'w', 1)]),
            (2, &[(0, 'r', 0), (1, 'r', 1)]),
            (3, &[(1, 'r', 1), (1, 'r', 1), (0, 'w', 1)]),
            (4, &[(1, 'w', 1), (1, 'w', 0), (1, 'w', 0)]),
            (5, &[(0, 'w', 0), (0, 'r', 1)]),
        ],
        globals: &[1, 2, 3],
        events: "op 2, op 1, op 4, op 5, op 5, op 1, vote 1 1, commit 5, vote 1 0, decide 1, learn 1 1, learn 1 0, \
                 op 4, op 4, commit 4, op 3, op 3, op 3, op 2, vote 2 1, vote 3 1, vote 2 0, vote 3 0",
        refused: "vote 1 0",
    },
    // A guard that looks at sources in doubt only: L4 links T1, committed, to T3, committed before it.
    Trace {
        programs: &[
            (1, &[(1, 'w', 1), (0, 'w', 1)]),
            (2, &[(1, 'r', 1), (1, 'w', 0), (0, 'w', 0)]),
            (3, &[(1, 'r', 0), (0, 'w', 0)]),
            (4, &[(0, 'r', 0), (0, 'w', 1)]),
            (5, &[(0, 'w', 1), (0, 'r', 1)]),
        ],
        globals: &[1, 2, 3],
        events: "op 4, op 5, op 3, op 3, op 5, vote 3 0, op 2, op 1, op 2, commit 5, vote 3 1, op 1, vote 1 0, \
                 decide 3, learn 3 1, learn 3 0, op 2, vote 2 1, vote 2 0, decide 2, learn 2 1, vote 1 1, \
                 learn 2 0, decide 1, learn 1 1, learn 1 0, op 4, commit 4",
        refused: "op 4",
    },
    // Locals that commit before an in-doubt successor (G7). It needs a dirty write, which is refused here.
    Trace {
        programs: &[
            (1, &[(1, 'w', 0), (0, 'w', 1)]),
            (2, &[(0, 'w', 0), (1, 'w', 0)]),
            (3, &[(1, 'r', 1), (0, 'w', 1)]),
            (4, &[(1, 'r', 0), (1, 'r', 0)]),
            (5, &[(0, 'r', 1), (0, 'r', 0), (0, 'r', 0)]),
        ],
        globals: &[1, 2, 3],
        events: "op 4, op 3, op 1, op 4",
        refused: "op 4",
    },
    // A guard that compares the order in which decisions were learned: L5 links T1 to T2, decided before it, and
    // the site heard of T1 first.
    Trace {
        programs: &[
            (1, &[(0, 'w', 0), (1, 'w', 1), (1, 'w', 0)]),
            (2, &[(1, 'w', 0), (1, 'r', 1), (0, 'w', 1)]),
            (3, &[(1, 'r', 1), (0, 'w', 1), (0, 'w', 0)]),
            (4, &[(0, 'r', 0), (0, 'w', 0), (0, 'r', 1)]),
            (5, &[(0, 'r', 1), (0, 'w', 0)]),
        ],
        globals: &[1, 2, 3],
        events: "op 2, op 5, op 1, op 2, op 1, op 2, vote 2 1, vote 2 0, decide 2, learn 2 1, op 1, vote 1 1, \
                 vote 1 0, decide 1, learn 1 0, learn 2 0, learn 1 1, op 5, commit 5",
        refused: "op 5",
    },
];
