//! Frames and requests of any bytes, into a coordinator and a voter that are in the middle of things.
//!
//! Whatever a site, a coordinator or a client sends, the state machines refuse it or go on.

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{
    AbortCause, Ballot, CallerId, Coordinator, CoordinatorConfig, CoordinatorEffect, CoordinatorId,
    Decision, Dependencies, Incarnation, PeerMessage, ReleasedVote, SiteName, Time, ToCoordinator,
    ToParticipant, Voter, VoterConfig, VoterEffect,
};
use coco::service::unstable_fuzz::{
    down_frame, encode_down, encode_peer, encode_up, every_message, peer_frame, up_frame,
};

use crate::chunks;

/// What a piece of the input is; anything else is tried as every kind of request.
const UP_A: u8 = 0;
const UP_B: u8 = 1;
const DOWN: u8 = 2;
const COMMIT: u8 = 3;
const ROLLBACK: u8 = 4;
const TICK: u8 = 5;
const LINK: u8 = 6;
const RELEASE: u8 = 7;
const LOG_FAILS: u8 = 8;
const PEER: u8 = 10;
const KINDS: u8 = 11;

/// Another coordinator, and a transaction of its own.
const OTHER: CoordinatorId = CoordinatorId(1);
const FOREIGN: Gtid = Gtid(1 << 56 | 1);

const TRANSACTIONS: u64 = 4;

/// A coordinator with transactions that have begun, and a voter that was asked for votes.
struct Machines {
    coordinator: Coordinator,
    voter: Voter,
    begun: Vec<Gtid>,
    now: Time,
    callers: u64,
    /// What the voter was told, or has decided by itself.
    decided: BTreeMap<Gtid, Decision>,
    /// Where the voter said YES.
    voted: BTreeSet<Gtid>,
    /// Whose commits each one's vote needs.
    needs: BTreeMap<Gtid, BTreeSet<Gtid>>,
    /// Whether appends succeed.
    log_works: bool,
}

pub(crate) fn run(input: &[u8]) {
    let mut machines = Machines::new();
    for (kind, piece) in chunks::split(input) {
        machines.take(kind % KINDS, piece);
    }
}

fn site(name: &str) -> SiteName {
    SiteName::new(name)
}

impl Machines {
    fn new() -> Self {
        let mut effects = Vec::new();
        let config = CoordinatorConfig::default();
        let coordinator = Coordinator::recover(config, CoordinatorId(0), [], &mut effects);
        let coordinator = coordinator.expect("an empty log is no reason to refuse");
        let voter = Voter::recover(VoterConfig::default(), Incarnation(1), Time(0), [], []);
        let mut machines = Self {
            coordinator,
            voter,
            begun: Vec::new(),
            now: Time(0),
            callers: 0,
            decided: BTreeMap::new(),
            voted: BTreeSet::new(),
            needs: BTreeMap::new(),
            log_works: true,
        };
        machines.settle_coordinator(effects);
        for _ in 0..TRANSACTIONS {
            let mut effects = Vec::new();
            let begun = machines
                .coordinator
                .handle_begin(Time(0), None, &mut effects);
            machines.begun.extend(begun.map(|begun| begun.gtid));
            machines.settle_coordinator(effects);
        }
        assert_eq!(
            machines.begun.len() as u64,
            TRANSACTIONS,
            "transactions begin"
        );
        machines
    }

    fn take(&mut self, kind: u8, piece: &[u8]) {
        let mut effects = Vec::new();
        let choice = piece.first().copied().unwrap_or(0);
        let gtid = self.begun[usize::from(choice) % self.begun.len()];
        match kind {
            UP_A => self.up("a", piece),
            UP_B => self.up("b", piece),
            DOWN => self.down(piece),
            COMMIT => {
                let sites: Vec<SiteName> = match choice / 4 % 3 {
                    0 => vec![site("a"), site("b")],
                    1 => vec![site("a")],
                    _ => vec![site("b"), site("b"), site("c")],
                };
                self.callers += 1;
                let caller = CallerId(self.callers);
                self.coordinator
                    .handle_commit(self.now, caller, gtid, &sites, &mut effects);
                self.settle_coordinator(effects);
            }
            ROLLBACK => {
                self.callers += 1;
                let caller = CallerId(self.callers);
                let sites = [site("a"), site("b")];
                self.coordinator
                    .handle_rollback(self.now, caller, gtid, &sites, &mut effects);
                self.settle_coordinator(effects);
            }
            TICK => self.tick(choice),
            LINK => self.link(choice),
            RELEASE => self.release(gtid, choice),
            LOG_FAILS => self.log_works = false,
            PEER => self.peer(piece),
            _ => every_message(piece),
        }
    }

    fn up(&mut self, from: &str, bytes: &[u8]) {
        for (named, message) in up_frame(bytes).unwrap_or_default() {
            let mut effects = Vec::new();
            let from = named.unwrap_or_else(|| site(from));
            self.coordinator
                .handle_message(self.now, &from, message, &mut effects);
            self.settle_coordinator(effects);
        }
    }

    fn down(&mut self, bytes: &[u8]) {
        for message in down_frame(bytes).unwrap_or_default() {
            if !self.is_believable(&message) {
                continue;
            }
            let mut effects = Vec::new();
            self.voter
                .handle_message(self.now, CoordinatorId(0), message, &mut effects);
            self.settle_voter(effects);
        }
    }

    /// A coordinator that contradicts itself, or commits what did not vote YES or needs a commit that has not
    /// been, has broken atomicity:
    /// the voter asserts that it does not, and stops. Anything else it takes.
    fn is_believable(&mut self, message: &ToParticipant) -> bool {
        let &ToParticipant::Decide { gtid, decision } = message else {
            return true;
        };
        let committed = |it: &Gtid| matches!(self.decided.get(it), Some(Decision::Commit { .. }));
        let needs = self.needs.get(&gtid);
        let in_turn = needs.is_none_or(|needs| needs.iter().all(committed));
        let may_commit = self.voted.contains(&gtid) && in_turn;
        let may_be = may_commit || matches!(decision, Decision::Abort { .. });
        may_be && *self.decided.entry(gtid).or_insert(decision) == decision
    }

    fn tick(&mut self, choice: u8) {
        self.now = Time(self.now.0 + (1 << (choice % 40)));
        let mut effects = Vec::new();
        self.coordinator.handle_tick(self.now, &mut effects);
        self.settle_coordinator(effects);
        let mut effects = Vec::new();
        self.voter.handle_tick(self.now, &mut effects);
        self.settle_voter(effects);
    }

    fn link(&mut self, choice: u8) {
        let mut effects = Vec::new();
        match choice % 4 {
            0 => {
                self.voter
                    .handle_link_up(self.now, CoordinatorId(0), &mut effects);
            }
            1 => self.voter.handle_link_down(self.now, CoordinatorId(0)),
            other => {
                let name = site(if other == 2 { "a" } else { "b" });
                let mut effects = Vec::new();
                self.coordinator
                    .handle_link_down(self.now, &name, &mut effects);
                self.settle_coordinator(effects);
            }
        }
        self.settle_voter(effects);
    }

    fn peer(&mut self, bytes: &[u8]) {
        let mut effects = Vec::new();
        for message in peer_frame(bytes).unwrap_or_default() {
            self.coordinator
                .handle_peer_message(self.now, OTHER, message, &mut effects);
        }
        if bytes.len().is_multiple_of(7) {
            self.coordinator.handle_peer_silent(self.now, OTHER);
        }
        self.coordinator
            .handle_peer_up(self.now, OTHER, &mut effects);
        self.settle_coordinator(effects);
    }

    fn release(&mut self, gtid: Gtid, choice: u8) {
        let vote = if choice & 0x80 == 0 {
            ReleasedVote::Yes {
                stamp: Stamp(u64::from(choice)),
                read_only: choice & 0x40 != 0,
                depends: self.dependencies(gtid, choice),
            }
        } else {
            ReleasedVote::No(AbortCause::StaleRead)
        };
        let mut effects = Vec::new();
        self.voter
            .handle_released(self.now, gtid, vote, &mut effects);
        self.settle_voter(effects);
    }

    /// An engine names only what it has voted for before.
    fn dependencies(&mut self, gtid: Gtid, choice: u8) -> Dependencies {
        let mut depends = Dependencies::default();
        let named = self.begun[usize::from(choice >> 2) % self.begun.len()];
        if choice & 0x20 != 0 && named != gtid && self.voted.contains(&named) {
            depends.if_committed.insert(named);
            self.needs.insert(gtid, BTreeSet::from([named]));
        }
        depends
    }

    /// Does what the coordinator asks of its log, until it asks for nothing more.
    fn settle_coordinator(&mut self, mut effects: Vec<CoordinatorEffect>) {
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects {
                if let CoordinatorEffect::Append { token, .. } = effect {
                    if self.log_works {
                        self.coordinator.handle_durable(self.now, token, &mut more);
                    } else {
                        self.coordinator.handle_log_failed(self.now, &mut more);
                    }
                }
            }
            effects = more;
        }
    }

    fn settle_voter(&mut self, mut effects: Vec<VoterEffect>) {
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects {
                let token = match effect {
                    VoterEffect::AppendPrepared { token, .. }
                    | VoterEffect::AppendOnePhase { token, .. }
                    | VoterEffect::AppendDecision { token, .. }
                    | VoterEffect::AppendHeuristic { token, .. }
                    | VoterEffect::AppendHeuristicState {
                        token: Some(token), ..
                    } => token,
                    VoterEffect::RequestVote { .. }
                    | VoterEffect::AppendDecisionLazy { .. }
                    | VoterEffect::AppendHeuristicState { token: None, .. }
                    | VoterEffect::Send { .. } => {
                        if let VoterEffect::Send {
                            message:
                                ToCoordinator::Vote {
                                    gtid,
                                    ballot: Ballot::Yes { .. },
                                },
                            ..
                        } = effect
                        {
                            self.voted.insert(gtid);
                        }
                        continue;
                    }
                    VoterEffect::Apply { gtid, decision } => {
                        self.decided.entry(gtid).or_insert(decision);
                        continue;
                    }
                };
                if self.log_works {
                    self.voter.handle_durable(self.now, token, &mut more);
                } else {
                    self.voter.handle_log_failed(&mut more);
                }
            }
            effects = more;
        }
    }
}

/// A vote, a deadlock, a one-phase commit, a restart of a site; and requests.
#[allow(
    clippy::too_many_lines,
    reason = "a list of scripts and what they are made of"
)]
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let begun = Machines::new().begun;
    let hello = |name: &str| {
        let message = ToCoordinator::Hello {
            incarnation: Incarnation(1),
            address: "http://h:1".to_owned(),
            in_doubt: vec![begun[0]],
        };
        encode_up(&site(name), vec![message])
    };
    let up = |message| encode_up(&site("a"), vec![message]);
    let gtid = begun[0];
    let yes = up(ToCoordinator::Vote {
        gtid,
        ballot: Ballot::Yes {
            stamp: Stamp(3),
            incarnation: Incarnation(1),
            read_only: false,
            depends: Dependencies::default(),
        },
    });
    let after = up(ToCoordinator::Vote {
        gtid: begun[1],
        ballot: Ballot::Yes {
            stamp: Stamp(3),
            incarnation: Incarnation(1),
            read_only: false,
            depends: Dependencies {
                after: [gtid].into(),
                if_committed: [gtid, FOREIGN].into(),
            },
        },
    });
    let peer_waits = encode_peer(vec![PeerMessage::Waits {
        waiter: FOREIGN,
        priority: Priority(9),
        at: vec![(site("a"), vec![gtid])],
    }]);
    let blocked = |gtid, by| {
        up(ToCoordinator::Blocked {
            gtid,
            priority: Priority(1),
            by: vec![(by, Priority(2))],
        })
    };
    let ack = up(ToCoordinator::Ack { gtid });
    let done = up(ToCoordinator::OnePhaseDone {
        gtid,
        decision: Decision::Commit { stamp: Stamp(4) },
        known: true,
    });
    let inquire = up(ToCoordinator::Inquire { gtid });
    let down = |message| encode_down(vec![message]);
    let prepare = down(ToParticipant::Prepare {
        gtid,
        dependent: true,
    });
    let one_phase = down(ToParticipant::CommitOnePhase { gtid });
    let decide = |decision| down(ToParticipant::Decide { gtid, decision });
    let commit = decide(Decision::Commit { stamp: Stamp(9) });
    let abort = decide(Decision::Abort {
        cause: AbortCause::Timeout,
    });
    let (a, b) = (hello("a"), hello("b"));
    let first: &[u8] = &[0];
    let scripts: [&[(u8, &[u8])]; 8] = [
        &[
            (UP_A, &a),
            (UP_B, &b),
            (COMMIT, first),
            (COMMIT, &[1]),
            (UP_A, &after),
            (UP_A, &blocked(begun[0], FOREIGN)),
            (PEER, &peer_waits),
            (UP_A, &yes),
            (UP_B, &yes),
        ],
        &[
            (UP_A, &a),
            (UP_B, &b),
            (COMMIT, first),
            (UP_A, &yes),
            (UP_B, &yes),
            (UP_A, &ack),
            (UP_B, &ack),
        ],
        &[
            (UP_A, &a),
            (UP_B, &b),
            (COMMIT, first),
            (COMMIT, &[1]),
            (UP_A, &blocked(begun[0], begun[1])),
            (UP_B, &blocked(begun[1], begun[0])),
            (TICK, &[33]),
        ],
        &[
            (UP_A, &a),
            (COMMIT, &[4]),
            (UP_A, &done),
            (UP_A, &inquire),
            (LINK, &[2]),
            (UP_A, &a),
        ],
        &[
            (LINK, first),
            (DOWN, &prepare),
            (RELEASE, &[0]),
            (DOWN, &commit),
            (DOWN, &commit),
        ],
        &[
            (LINK, first),
            (DOWN, &one_phase),
            (RELEASE, &[0]),
            (DOWN, &abort),
        ],
        &[
            (DOWN, &prepare),
            (RELEASE, &[0x80]),
            (ROLLBACK, first),
            (LOG_FAILS, &[]),
            (TICK, &[39]),
        ],
        // An `ExecuteRequest` that scans, a `QueryRequest`, a `CommitRequest`.
        &[
            (
                9,
                &[0x08, 5, 0x2a, 8, 0x22, 6, 0x0a, 1, b'a', 0x12, 1, b'z'],
            ),
            (9, &[0x08, 7, 0x12, 3, 0x0a, 1, b'a']),
            (9, &[0x08, 1, 0x12, 1, b'a', 0x12, 1, b'b']),
        ],
    ];
    scripts
        .iter()
        .map(|script| chunks::join(script.iter().copied()))
        .collect()
}
