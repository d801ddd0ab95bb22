//! A world in memory around the real coordinator and the real voters: links, logs, engines, crashes.
//!
//! It does the machines' effects, and checks at every one of them what must hold always:
//!
//! - (A1) no site commits what another site aborts, in any of their lives; all commit with one stamp;
//! - (A2) no caller hears "committed" of what a site aborts, or "aborted" of what a site commits;
//! - (A3) a YES leaves only when its record is durable at the site (if the site has a log);
//! - (A4) "commit" is sent, or answered, only when it is durable at whoever decided it;
//! - (A5) a commit is acknowledged only when its decision is durable at the site;
//! - (A6) an engine is told the end of a transaction once, unless it is told of an abort it knows of.
//! - (A7) what an operator has decided at one site alone is carried out when it is durable there; A1 and A2 then
//!   hold for the other sites, and at rest the site shows the difference as damage if, and only if, there is one.
//!
//! A broken rule is kept in `violation`, so that an explorer can show how it was reached.

mod records;
mod text;

pub(crate) use self::text::Text;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use coco::log::Record;
use coco::protocol::{
    AbortCause, Ballot, CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect,
    CoordinatorId, Decision, Dependencies, Durability, Heuristic, InDoubt, Incarnation,
    ReleasedVote, SiteName, Time, ToCoordinator, ToParticipant, Token, Voter, VoterConfig,
    VoterEffect, Wait,
};

/// The only coordinator of this world.
pub(crate) const ID: CoordinatorId = CoordinatorId(0);

/// What lies about being durable, to see whether the checks notice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Lie {
    #[default]
    None,
    /// The coordinator's log says "durable" at once and writes later.
    CoordinatorLog,
    /// The sites' logs do.
    SiteLogs,
    /// Whoever asks about an undecided transaction is told that it was aborted.
    PresumedTooEarly,
    /// The first vote is taken for all of them.
    VotesForOthers,
    /// A site that starts again has forgotten what it voted.
    ForgottenVotes,
}

/// A log whose appends become durable one by one, in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SimLog<R> {
    pub(crate) durable: Vec<R>,
    pub(crate) pending: VecDeque<(R, Option<Token>)>,
    pub(crate) failed: bool,
}

impl<R> Default for SimLog<R> {
    fn default() -> Self {
        Self {
            durable: Vec::new(),
            pending: VecDeque::new(),
            failed: false,
        }
    }
}

impl<R> SimLog<R> {
    pub(crate) fn append(&mut self, record: R, token: Option<Token>) {
        assert!(
            !self.failed || token.is_none(),
            "a machine appends to a log that has failed"
        );
        if !self.failed {
            self.pending.push_back((record, token));
        }
    }

    /// The machine stops; the first `survivors` of the pending records were on the disk already.
    pub(crate) fn crash(&mut self, survivors: usize) {
        let late: Vec<R> = self
            .pending
            .drain(..)
            .take(survivors)
            .map(|(record, _)| record)
            .collect();
        self.durable.extend(late);
        self.failed = false;
    }
}

/// What a site writes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum SiteRecord {
    Prepared(InDoubt),
    Alone {
        gtid: Gtid,
        stamp: Stamp,
    },
    Decided {
        gtid: Gtid,
        decision: Decision,
    },
    ByHand {
        gtid: Gtid,
        decision: Decision,
    },
    /// What has become of a decision by hand.
    Heard(Heuristic),
}

/// How a site's engine sees a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Work {
    /// Operations done, no vote asked for.
    Working,
    /// Asked for its vote: waits for `release`.
    Asked,
    /// Has said YES to the voter, or was found in doubt.
    InDoubt,
    Committed,
    Aborted,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Site {
    pub(crate) name: SiteName,
    pub(crate) voter: Option<Voter>,
    pub(crate) log: SimLog<SiteRecord>,
    pub(crate) work: BTreeMap<Gtid, Work>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) linked: bool,
    pub(crate) to_coordinator: VecDeque<ToCoordinator>,
    pub(crate) to_site: VecDeque<ToParticipant>,
    config: VoterConfig,
    incarnation: u64,
    clock: u64,
    committed_ever: BTreeMap<Gtid, Stamp>,
    aborted_ever: BTreeSet<Gtid>,
    /// What was carried out here as an operator decided.
    pub(crate) by_hand: BTreeMap<Gtid, Decision>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) log: SimLog<Record>,
    pub(crate) sites: Vec<Site>,
    pub(crate) answers: BTreeMap<CallerId, (Gtid, CommitAnswer)>,
    /// Callers that a crash of the coordinator has left without an answer.
    pub(crate) waiting: BTreeSet<CallerId>,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) names: BTreeMap<Gtid, String>,
    config: CoordinatorConfig,
    lie: Lie,
}

pub(crate) fn coordinator_config() -> CoordinatorConfig {
    CoordinatorConfig {
        vote_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(10),
        resend_after: Duration::from_millis(200),
        resend_limit: Duration::from_millis(200),
        remembered_outcomes: 4,
        ..CoordinatorConfig::default()
    }
}

pub(crate) fn voter_config(durability: Durability) -> VoterConfig {
    VoterConfig {
        durability,
        inquire_after: Duration::from_millis(50),
        inquire_limit: Duration::from_millis(50),
        remembered_outcomes: 4,
        ..VoterConfig::default()
    }
}

impl World {
    /// A started coordinator and no sites.
    pub(crate) fn new(config: CoordinatorConfig, lie: Lie) -> Self {
        let mut world = Self {
            now: Time(0),
            coordinator: None,
            log: SimLog::default(),
            sites: Vec::new(),
            answers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            violation: None,
            trace: None,
            names: BTreeMap::new(),
            config,
            lie,
        };
        world.start_coordinator();
        world.sync_coordinator_fully();
        world
    }

    pub(crate) fn add_site(&mut self, name: &str, durability: Durability) {
        self.add_site_with(name, voter_config(durability));
    }

    pub(crate) fn add_site_with(&mut self, name: &str, config: VoterConfig) {
        let site = Site {
            name: SiteName::new(name),
            voter: None,
            log: SimLog::default(),
            work: BTreeMap::new(),
            waits: Vec::new(),
            linked: false,
            to_coordinator: VecDeque::new(),
            to_site: VecDeque::new(),
            config,
            incarnation: 0,
            clock: 0,
            committed_ever: BTreeMap::new(),
            aborted_ever: BTreeSet::new(),
            by_hand: BTreeMap::new(),
        };
        self.sites.push(site);
        self.start_site(self.sites.len() - 1);
    }

    pub(crate) fn site(&self, name: &str) -> usize {
        self.sites
            .iter()
            .position(|site| site.name.as_str() == name)
            .expect("a known site")
    }

    pub(crate) fn names_of(&self, sites: &[usize]) -> Vec<SiteName> {
        sites
            .iter()
            .map(|&site| self.sites[site].name.clone())
            .collect()
    }

    /// Calls the coordinator, if it runs, and does what it wants.
    pub(crate) fn on_coordinator<R>(
        &mut self,
        call: impl FnOnce(&mut Coordinator, Time, &mut Vec<CoordinatorEffect>) -> R,
    ) -> Option<R> {
        let mut effects = Vec::new();
        let result = call(self.coordinator.as_mut()?, self.now, &mut effects);
        for effect in effects {
            self.do_coordinator_effect(effect);
        }
        Some(result)
    }

    /// Calls a site's voter, if it runs, and does what it wants.
    pub(crate) fn on_site(
        &mut self,
        site: usize,
        call: impl FnOnce(&mut Voter, Time, &mut Vec<VoterEffect>),
    ) {
        let mut effects = Vec::new();
        let Some(voter) = self.sites[site].voter.as_mut() else {
            return;
        };
        call(voter, self.now, &mut effects);
        for effect in effects {
            self.do_voter_effect(site, effect);
        }
    }

    // What clients do.

    pub(crate) fn begin(&mut self, priority: Option<Priority>) -> Gtid {
        let begun = self.on_coordinator(|it, now, out| it.handle_begin(now, priority, out));
        begun
            .expect("the coordinator runs")
            .expect("it takes transactions")
            .gtid
    }

    pub(crate) fn commit(&mut self, caller: u64, gtid: Gtid, sites: &[usize], dependent: bool) {
        let sites = self.names_of(sites);
        let caller = CallerId(caller);
        let asked = self.on_coordinator(|it, now, out| {
            if dependent {
                it.handle_commit_dependent(now, caller, gtid, &sites, out);
            } else {
                it.handle_commit(now, caller, gtid, &sites, out);
            }
        });
        if asked.is_some() && !self.answers.contains_key(&caller) {
            self.waiting.insert(caller);
        }
    }

    pub(crate) fn rollback(&mut self, caller: u64, gtid: Gtid, sites: &[usize]) {
        let sites = self.names_of(sites);
        let caller = CallerId(caller);
        self.on_coordinator(|it, now, out| it.handle_rollback(now, caller, gtid, &sites, out));
    }

    // What engines do.

    pub(crate) fn release(&mut self, site: usize, gtid: Gtid, vote: Result<bool, AbortCause>) {
        self.release_dependent(site, gtid, vote, Dependencies::default());
    }

    pub(crate) fn release_dependent(
        &mut self,
        site: usize,
        gtid: Gtid,
        vote: Result<bool, AbortCause>,
        depends: Dependencies,
    ) {
        let at = &mut self.sites[site];
        let vote = match vote {
            Ok(read_only) => {
                at.clock += 1;
                at.work.insert(gtid, Work::InDoubt);
                ReleasedVote::Yes {
                    stamp: Stamp(at.clock),
                    read_only,
                    depends,
                }
            }
            Err(cause) => ReleasedVote::No(cause),
        };
        self.on_site(site, |it, now, out| {
            it.handle_released(now, gtid, vote, out)
        });
    }

    // What the network does.

    pub(crate) fn deliver_to_coordinator(&mut self, site: usize) {
        if let Some(message) = self.sites[site].to_coordinator.pop_front() {
            self.arrive_at_coordinator(site, message);
        }
    }

    pub(crate) fn arrive_at_coordinator(&mut self, site: usize, message: ToCoordinator) {
        let name = self.sites[site].name.clone();
        self.say(|text| text.arrival_at_coordinator(&name, &message));
        if let (Lie::PresumedTooEarly, &ToCoordinator::Inquire { gtid }) = (self.lie, &message) {
            let decision = Decision::Abort {
                cause: AbortCause::UnknownTransaction,
            };
            let message = ToParticipant::Decide { gtid, decision };
            self.do_coordinator_effect(CoordinatorEffect::Send { to: name, message });
            return;
        }
        let vote = matches!(
            message,
            ToCoordinator::Vote {
                ballot: Ballot::Yes { .. },
                ..
            }
        );
        if self.lie == Lie::VotesForOthers && vote {
            for other in self.names_of(&(0..self.sites.len()).collect::<Vec<_>>()) {
                let message = message.clone();
                self.on_coordinator(|it, now, out| it.handle_message(now, &other, message, out));
            }
            return;
        }
        self.on_coordinator(|it, now, out| it.handle_message(now, &name, message, out));
    }

    pub(crate) fn deliver_to_site(&mut self, site: usize) {
        if let Some(message) = self.sites[site].to_site.pop_front() {
            self.arrive_at_site(site, message);
        }
    }

    pub(crate) fn arrive_at_site(&mut self, site: usize, message: ToParticipant) {
        let name = self.sites[site].name.clone();
        self.say(|text| text.arrival_at_site(&name, &message));
        self.on_site(site, |it, now, out| {
            it.handle_message(now, ID, message, out)
        });
    }

    /// Delivers, site by site, until no message is on its way.
    pub(crate) fn deliver_all(&mut self) {
        while let Some(site) = (0..self.sites.len()).find(|&site| {
            !(self.sites[site].to_coordinator.is_empty() && self.sites[site].to_site.is_empty())
        }) {
            self.deliver_to_coordinator(site);
            self.deliver_to_site(site);
        }
    }

    pub(crate) fn cut(&mut self, site: usize) {
        let at = &mut self.sites[site];
        at.linked = false;
        at.to_coordinator.clear();
        at.to_site.clear();
        let name = at.name.clone();
        self.on_site(site, |it, now, _| it.handle_link_down(now, ID));
        self.on_coordinator(|it, now, out| it.handle_link_down(now, &name, out));
    }

    pub(crate) fn connect(&mut self, site: usize) {
        if self.coordinator.is_some() && self.sites[site].voter.is_some() {
            self.sites[site].linked = true;
            self.on_site(site, |it, now, out| it.handle_link_up(now, ID, out));
        }
    }

    // What disks do.

    /// One record becomes durable.
    pub(crate) fn sync_coordinator(&mut self) {
        let Some((record, token)) = self.log.pending.pop_front() else {
            return;
        };
        self.say(|text| format!("C  disk  {}", text.record(&record)));
        self.log.durable.push(record);
        if let Some(token) = token.filter(|_| self.lie != Lie::CoordinatorLog) {
            self.on_coordinator(|it, now, out| it.handle_durable(now, token, out));
        }
    }

    pub(crate) fn sync_coordinator_fully(&mut self) {
        while !self.log.pending.is_empty() {
            self.sync_coordinator();
        }
    }

    pub(crate) fn sync_site(&mut self, site: usize) {
        let at = &mut self.sites[site];
        let Some((record, token)) = at.log.pending.pop_front() else {
            return;
        };
        let name = at.name.clone();
        at.log.durable.push(record.clone());
        self.say(|text| format!("{name}  disk  {}", text.site_record(&record)));
        if let Some(token) = token.filter(|_| self.lie != Lie::SiteLogs) {
            self.on_site(site, |it, now, out| it.handle_durable(now, token, out));
        }
    }

    pub(crate) fn fail_coordinator_log(&mut self) {
        self.log.failed = true;
        self.on_coordinator(|it, now, out| it.handle_log_failed(now, out));
    }

    pub(crate) fn fail_site_log(&mut self, site: usize) {
        self.sites[site].log.failed = true;
        self.on_site(site, |it, _, out| it.handle_log_failed(out));
    }

    // What machines do.

    pub(crate) fn crash_coordinator(&mut self, survivors: usize) {
        self.coordinator = None;
        self.log.crash(survivors);
        self.waiting.clear();
        for site in 0..self.sites.len() {
            self.cut(site);
        }
    }

    pub(crate) fn start_coordinator(&mut self) {
        let mut effects = Vec::new();
        let coordinator = Coordinator::recover(
            self.config.clone(),
            ID,
            self.log.durable.iter().cloned(),
            &mut effects,
        );
        self.coordinator = Some(coordinator.expect("its own log is sound"));
        for effect in effects {
            self.do_coordinator_effect(effect);
        }
    }

    pub(crate) fn crash_site(&mut self, site: usize, survivors: usize) {
        self.cut(site);
        let at = &mut self.sites[site];
        at.voter = None;
        at.log.crash(survivors);
        let in_doubt: BTreeSet<Gtid> = at.in_doubt().iter().map(|it| it.gtid).collect();
        let mut lost = Vec::new();
        for (&gtid, work) in &at.work {
            let undecided = matches!(work, Work::Working | Work::Asked | Work::InDoubt);
            let by_hand = at.decided_by_hand(gtid).is_some();
            if undecided && !by_hand && !in_doubt.contains(&gtid) && !at.has_committed(gtid) {
                lost.push(gtid);
            }
        }
        at.waits.clear();
        // What has left no trace has never happened here.
        for gtid in lost {
            self.sites[site].work.insert(gtid, Work::Aborted);
            self.ended(
                site,
                gtid,
                Decision::Abort {
                    cause: AbortCause::UnknownTransaction,
                },
            );
        }
    }

    pub(crate) fn start_site(&mut self, site: usize) {
        let at = &mut self.sites[site];
        at.incarnation += 1;
        let in_doubt = if self.lie == Lie::ForgottenVotes {
            Vec::new()
        } else {
            at.in_doubt()
        };
        let mut alone = Vec::new();
        for record in &at.log.durable {
            if let &SiteRecord::Alone { gtid, stamp } = record {
                alone.push((gtid, stamp));
            }
        }
        for in_doubt in &in_doubt {
            at.work.insert(in_doubt.gtid, Work::InDoubt);
        }
        let incarnation = Incarnation(at.incarnation);
        let config = at.config.clone();
        let heuristics = at.heuristics();
        let mut voter = Voter::recover(config, incarnation, self.now, in_doubt, alone.clone());
        voter.recover_heuristics(self.now, heuristics.values().cloned());
        at.voter = Some(voter);
        for (gtid, Heuristic { decision, .. }) in heuristics {
            self.replayed_by_hand(site, gtid, decision);
        }
        for (gtid, stamp) in alone {
            self.sites[site].work.insert(gtid, Work::Committed);
            self.ended(site, gtid, Decision::Commit { stamp });
        }
    }

    // Time.

    pub(crate) fn tick_coordinator(&mut self) {
        self.on_coordinator(|it, now, out| it.handle_tick(now, out));
    }

    pub(crate) fn tick_site(&mut self, site: usize) {
        self.on_site(site, |it, now, out| it.handle_tick(now, out));
    }

    /// Shows the voter who waits at its site.
    pub(crate) fn show_waits(&mut self, site: usize) {
        let waits = self.sites[site].waits.clone();
        self.on_site(site, |it, now, out| it.handle_blocked(now, &waits, out));
    }

    fn do_coordinator_effect(&mut self, effect: CoordinatorEffect) {
        self.say(|text| text.coordinator_effect(&effect));
        match effect {
            CoordinatorEffect::Append { record, token } => {
                self.log.append(record, Some(token));
                if self.lie == Lie::CoordinatorLog {
                    self.on_coordinator(|it, now, out| it.handle_durable(now, token, out));
                }
            }
            CoordinatorEffect::AppendLazy { record } => self.log.append(record, None),
            CoordinatorEffect::Send { to, message } => {
                if let ToParticipant::Decide {
                    gtid,
                    decision: Decision::Commit { .. },
                } = message
                {
                    self.check(
                        self.commit_is_durable(gtid),
                        "A4: commit sent, not durable",
                        gtid,
                    );
                }
                let site = self.site(to.as_str());
                if self.sites[site].linked {
                    self.sites[site].to_site.push_back(message);
                }
            }
            CoordinatorEffect::Answer {
                caller,
                gtid,
                answer,
            } => {
                // A transaction without sites commits without a stamp and without a record.
                if matches!(answer, CommitAnswer::Committed { stamp } if stamp > Stamp::default()) {
                    let alone = self
                        .sites
                        .iter()
                        .any(|it| it.committed_ever.contains_key(&gtid));
                    let durable = alone || self.commit_is_durable(gtid);
                    self.check(durable, "A4: commit answered, not durable", gtid);
                }
                self.waiting.remove(&caller);
                let before = self.answers.insert(caller, (gtid, answer));
                self.check(before.is_none(), "a caller is answered twice", gtid);
                self.check_outcomes(gtid);
            }
            CoordinatorEffect::SendPeer { to, .. } => {
                panic!("nobody has said of {to} that it is there")
            }
            CoordinatorEffect::Note(_) => {}
        }
    }

    fn do_voter_effect(&mut self, site: usize, effect: VoterEffect) {
        let name = self.sites[site].name.clone();
        self.say(|text| text.voter_effect(&name, &effect));
        let at = &mut self.sites[site];
        match effect {
            VoterEffect::RequestVote { gtid, .. } => match at.work.get(&gtid) {
                Some(Work::Working) => {
                    at.work.insert(gtid, Work::Asked);
                }
                _ => self.release(site, gtid, Err(AbortCause::UnknownTransaction)),
            },
            VoterEffect::AppendPrepared {
                gtid,
                stamp,
                read_only,
                depends,
                token,
            } => {
                let record = SiteRecord::Prepared(InDoubt {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    broken: false,
                });
                self.append_at_site(site, record, Some(token));
            }
            VoterEffect::AppendOnePhase { gtid, stamp, token } => {
                self.append_at_site(site, SiteRecord::Alone { gtid, stamp }, Some(token));
            }
            VoterEffect::AppendDecision {
                gtid,
                decision,
                token,
            } => {
                self.append_at_site(site, SiteRecord::Decided { gtid, decision }, Some(token));
            }
            VoterEffect::AppendDecisionLazy { gtid, decision } => {
                self.append_at_site(site, SiteRecord::Decided { gtid, decision }, None);
            }
            VoterEffect::AppendHeuristic {
                gtid,
                decision,
                along,
                token,
            } => {
                self.check(along.is_empty(), "A7: aborted along without reading", gtid);
                self.append_at_site(site, SiteRecord::ByHand { gtid, decision }, Some(token));
            }
            VoterEffect::AppendHeuristicState { heuristic, token } => {
                self.append_at_site(site, SiteRecord::Heard(heuristic), token);
            }
            VoterEffect::Apply { gtid, decision } => self.apply(site, gtid, decision),
            VoterEffect::Send { message, .. } => {
                self.check_said(site, &message);
                if self.sites[site].linked {
                    self.sites[site].to_coordinator.push_back(message);
                }
            }
        }
    }

    fn append_at_site(&mut self, site: usize, record: SiteRecord, token: Option<Token>) {
        self.sites[site].log.append(record, token);
        if let Some(token) = token.filter(|_| self.lie == Lie::SiteLogs) {
            self.on_site(site, |it, now, out| it.handle_durable(now, token, out));
        }
    }

    fn apply(&mut self, site: usize, gtid: Gtid, decision: Decision) {
        let at = &mut self.sites[site];
        let before = at.work.get(&gtid).copied();
        let (after, sound) = match decision {
            Decision::Commit { stamp } => {
                at.clock = at.clock.max(stamp.0);
                (Work::Committed, before == Some(Work::InDoubt))
            }
            Decision::Abort { .. } => (Work::Aborted, before != Some(Work::Committed)),
        };
        at.work.insert(gtid, after);
        let by_hand = at.decided_by_hand(gtid);
        self.check(sound, "A6: told an end that does not fit", gtid);
        if let Some(decided) = by_hand {
            // An abort that is said again has another cause.
            let same = decided.is_commit() == decision.is_commit();
            self.check(same, "A7: carried out otherwise", gtid);
            self.sites[site].by_hand.insert(gtid, decision);
        } else {
            self.ended(site, gtid, decision);
        }
    }

    /// Keeps what a site has ever done with a transaction.
    fn ended(&mut self, site: usize, gtid: Gtid, decision: Decision) {
        let at = &mut self.sites[site];
        match decision {
            Decision::Commit { stamp } => {
                let before = at.committed_ever.insert(gtid, stamp);
                self.check(
                    before.is_none_or(|it| it == stamp),
                    "A1: stamps differ",
                    gtid,
                );
            }
            Decision::Abort { .. } => {
                at.aborted_ever.insert(gtid);
            }
        }
        self.check_outcomes(gtid);
    }

    /// A1 and A2.
    fn check_outcomes(&mut self, gtid: Gtid) {
        let stamps: BTreeSet<Stamp> = self
            .sites
            .iter()
            .filter_map(|it| it.committed_ever.get(&gtid))
            .copied()
            .collect();
        let aborted = self
            .sites
            .iter()
            .any(|site| site.aborted_ever.contains(&gtid));
        let answers: Vec<CommitAnswer> = self
            .answers
            .values()
            .filter(|(of, _)| *of == gtid)
            .map(|&(_, it)| it)
            .collect();
        self.check(stamps.len() <= 1, "A1: stamps differ between sites", gtid);
        self.check(
            stamps.is_empty() || !aborted,
            "A1: committed here, aborted there",
            gtid,
        );
        for answer in answers {
            match answer {
                CommitAnswer::Committed { stamp } => {
                    self.check(!aborted, "A2: answered committed, aborted at a site", gtid);
                    let agree = stamps.iter().all(|it| *it == stamp);
                    self.check(agree, "A2: answered another stamp", gtid);
                }
                CommitAnswer::Aborted { .. } => {
                    self.check(stamps.is_empty(), "A2: answered aborted, committed", gtid);
                }
                CommitAnswer::Unknown | CommitAnswer::Refused(_) => {}
            }
        }
    }

    fn commit_is_durable(&self, wanted: Gtid) -> bool {
        let is_it = |it: &Record| matches!(it, Record::Commit { gtid, .. } if *gtid == wanted);
        self.log.durable.iter().any(is_it)
    }

    fn check(&mut self, holds: bool, rule: &str, gtid: Gtid) {
        if !holds && self.violation.is_none() {
            self.violation = Some(format!("{rule} ({gtid})"));
        }
    }
}
