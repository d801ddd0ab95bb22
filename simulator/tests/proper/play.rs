//! One schedule of a workload, a step at a time, over the real engines, voters and coordinator.
//!
//! A step is an operation of a client, the delivery of one message to a site, or the time that passes when nothing
//! else can happen. What a site says to the coordinator arrives at once, and what the coordinator writes is durable at
//! once: both commute with every step at a site, so the decisions come as early as they can, which leaves the sites
//! the longest time to do harm. The messages to sites are delivered in any order that keeps that of each transaction.
//!
//! Invariants:
//! - Y1 The same steps give the same events (a world is deterministic).
//! - Y2 A step happens at one site, and its event says all that it did there. Time passes everywhere.
//! - Y3 Steps of different transactions at different sites commute: sites meet in messages only.

use std::sync::Arc;
use std::time::Duration;

use co_core::{Priority, Stamp};
use coco::protocol::{Ballot, ByHand, Decision as Decided, ToCoordinator, ToParticipant};
use participant::site::Input;
use participant::{Decision, Key, Operation, Reply, TxnName};
use simulator::{Client, Ending, Progress, Step as Moves, World};

use crate::judge::{Fact, Facts};
use crate::keeper::Keeper;
use crate::variant::{Opened, Trap, Variant};
use crate::watched::Watched;
use crate::workload::{Workload, key_name};

/// Something that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The client does its next operation, or looks at the one that waits, or ends the transaction.
    Act { txn: usize, site: usize },
    /// The oldest message about a transaction reaches a site.
    Deliver { txn: usize, site: usize },
    /// An operator aborts a transaction in doubt.
    AbortByHand { txn: usize, site: usize },
    /// Time passes until something can happen.
    Pass,
}

/// What happened at a site in one step.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Event {
    pub(crate) what: What,
    /// What the site did because of it.
    pub(crate) then: Vec<Then>,
}

/// What was asked of a site, and answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum What {
    Read {
        txn: usize,
        key: usize,
        from: Option<usize>,
    },
    Wrote {
        txn: usize,
        key: usize,
    },
    Waits {
        txn: usize,
        key: usize,
    },
    /// The operation is answered by an abort.
    Fails {
        txn: usize,
    },
    /// A local transaction asks for its commit, or gives up.
    Commits {
        txn: usize,
    },
    GivesUp {
        txn: usize,
    },
    Prepare {
        txn: usize,
    },
    Commit {
        txn: usize,
    },
    Abort {
        txn: usize,
    },
    ByHand {
        txn: usize,
    },
    Pass,
}

/// What follows at the same site, in the same step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Then {
    Yes {
        txn: usize,
    },
    No {
        txn: usize,
    },
    /// A local transaction, or by time one that waits over sites.
    Committed {
        txn: usize,
    },
    Aborted {
        txn: usize,
    },
    Replaced {
        txn: usize,
        key: usize,
        before: Option<usize>,
    },
    /// The site has released and forgotten a reader after its vote.
    Forgot {
        txn: usize,
    },
}

/// For how long nothing may move: longer than every timeout of the protocol.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long time passes at once: long enough for a wait to be reported.
const PAUSE: Duration = Duration::from_millis(6);

struct Actor {
    client: Client,
    next: usize,
    reads: Vec<(usize, Option<usize>)>,
    ended: Option<Ending>,
}

/// A schedule under way.
pub(crate) struct Play<'a> {
    variant: Variant,
    workload: &'a Workload,
    world: World,
    own: Vec<Option<Arc<Keeper>>>,
    stores: Vec<Arc<Watched>>,
    actors: Vec<Actor>,
    /// Who wrote the value of each key that its site shows, and what that has replaced.
    shown: Vec<Option<usize>>,
    replaced: Vec<(usize, usize, Option<usize>)>,
    by_hand: bool,
}

impl<'a> Play<'a> {
    pub(crate) fn new(variant: Variant, workload: &'a Workload) -> Self {
        let Opened {
            mut world,
            own,
            stores,
        } = variant.open(workload.sites());
        let actors = (0..workload.programs.len()).map(|txn| {
            let client = if workload.is_local(txn) {
                let age = Priority(world.now().0);
                Client::local(txn as u64 + 1, age)
            } else {
                Client::global(&mut world, None)
            };
            Actor {
                client,
                next: 0,
                reads: Vec::new(),
                ended: None,
            }
        });
        let actors = actors.collect();
        Self {
            variant,
            workload,
            world,
            own,
            stores,
            actors,
            shown: vec![None; workload.site_of.len()],
            replaced: Vec::new(),
            by_hand: false,
        }
    }

    /// What may happen next, in a fixed order.
    pub(crate) fn possible(&self) -> Vec<Step> {
        let mut steps = self.moves();
        let open = self.actors.iter().any(|actor| actor.ended.is_none());
        if steps.is_empty() && open {
            steps.push(Step::Pass);
        }
        steps
    }

    fn moves(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (txn, actor) in self.actors.iter().enumerate() {
            let able =
                actor.ended.is_none() && !actor.client.is_ending() && !actor.client.is_asleep();
            if able {
                steps.push(Step::Act {
                    txn,
                    site: self.site_of_act(txn),
                });
            }
        }
        for site in 0..self.world.sites() {
            let mut named = Vec::new();
            for message in self.world.underway(site) {
                let txn = self.txn(TxnName::Global(message.gtid()));
                if !named.contains(&txn) {
                    named.push(txn);
                    steps.push(Step::Deliver { txn, site });
                }
            }
        }
        if self.variant.trap == Some(Trap::AbortByHand) && !self.by_hand {
            for site in 0..self.world.sites() {
                for gtid in self.world.site(site).in_doubt() {
                    let txn = self.txn(TxnName::Global(gtid));
                    steps.push(Step::AbortByHand { txn, site });
                }
            }
        }
        steps
    }

    /// Where the running, next or last operation is.
    fn site_of_act(&self, txn: usize) -> usize {
        let actor = &self.actors[txn];
        let at = if actor.client.is_running() {
            actor.next - 1
        } else {
            actor.next
        };
        let accesses = &self.workload.programs[txn].accesses;
        let access = accesses
            .get(at)
            .or_else(|| accesses.last())
            .expect("a program does something");
        self.workload.site_of[access.key]
    }

    fn txn(&self, name: TxnName) -> usize {
        let mut actors = self.actors.iter();
        let found = actors.position(|actor| actor.client.name() == name);
        found.expect("there are no others")
    }

    /// Does a step and says what happened.
    pub(crate) fn step(&mut self, step: Step) -> Event {
        let mut then = Vec::new();
        let what = match step {
            Step::Act { txn, site } => {
                let what = self.act(txn);
                self.world.run();
                if self.variant.trap == Some(Trap::ForgetReadersEarly) {
                    self.prepare_early(txn, site);
                }
                what
            }
            Step::Deliver { txn, site } => self.deliver(txn, site),
            Step::AbortByHand { txn, site } => {
                self.by_hand = true;
                let gtid = self.actors[txn].client.gtid();
                let site = self.world.site(site);
                site.resolve(
                    gtid,
                    ByHand::Abort,
                    Box::new(|done| drop(done.expect("it is in doubt"))),
                );
                self.world.run();
                What::ByHand { txn }
            }
            Step::Pass => {
                self.pass(&mut then);
                What::Pass
            }
        };
        self.listen(&mut then);
        self.look(&mut then);
        Event { what, then }
    }

    fn act(&mut self, txn: usize) -> What {
        let program = &self.workload.programs[txn];
        let Self { world, actors, .. } = self;
        let actor = &mut actors[txn];
        let progress = if actor.client.is_running() {
            actor.client.poll(world)
        } else if let Some(access) = program.accesses.get(actor.next) {
            actor.next += 1;
            let key = key(access.key);
            let operation = if access.write {
                Operation::Put(key, Arc::from([tag(txn)].as_slice()))
            } else {
                Operation::Get(key)
            };
            let site = self.workload.site_of[access.key];
            actor.client.start(world, site, operation)
        } else if program.gives_up {
            actor.client.rollback(world);
            return What::GivesUp { txn };
        } else {
            actor.client.commit(world);
            return What::Commits { txn };
        };
        let key = program.accesses[actor.next - 1].key;
        match progress {
            Progress::Replied(reply) => self.replied(txn, key, &reply),
            Progress::Waiting => What::Waits { txn, key },
            Progress::Aborted => {
                actor.client.rollback(world);
                What::Fails { txn }
            }
            Progress::Refused(why) => panic!("{}: {why}", self.workload),
        }
    }

    fn replied(&mut self, txn: usize, key: usize, reply: &Reply) -> What {
        let program = &self.workload.programs[txn];
        let Self { world, actors, .. } = self;
        let actor = &mut actors[txn];
        // The request for the end of a global transaction is no event at a site: its messages are.
        if actor.next == program.accesses.len() && !self.workload.is_local(txn) {
            if program.gives_up {
                actor.client.rollback(world);
            } else {
                actor.client.commit(world);
            }
        }
        let Reply::Value(value) = reply else {
            assert_eq!(*reply, Reply::Done, "{}", self.workload);
            return What::Wrote { txn, key };
        };
        let from = value.as_deref().map(writer);
        let mut before = program.accesses[..actor.next - 1].iter();
        let own = before.any(|access| access.write && access.key == key);
        assert_eq!(own, from == Some(txn), "a transaction reads its own write");
        if !own {
            actor.reads.push((key, from));
        }
        What::Read { txn, key, from }
    }

    fn deliver(&mut self, txn: usize, site: usize) -> What {
        let gtid = self.actors[txn].client.gtid();
        let mut underway = self.world.underway(site);
        let message = underway.find(|message| message.gtid() == gtid);
        let what = match message.expect("it was possible") {
            ToParticipant::Prepare { .. } | ToParticipant::CommitOnePhase { .. } => {
                What::Prepare { txn }
            }
            ToParticipant::Decide { decision, .. } => match decision {
                Decided::Commit { .. } => What::Commit { txn },
                Decided::Abort { .. } => What::Abort { txn },
            },
        };
        drop(underway);
        self.world.deliver(site, gtid);
        what
    }

    /// The trap: a site is asked for its vote as soon as the work there is done.
    fn prepare_early(&mut self, txn: usize, site: usize) {
        let actor = &self.actors[txn];
        let rest = self.workload.programs[txn].accesses[actor.next..].iter();
        let done = rest.clone().len() > 0
            && !actor.client.is_running()
            && !actor.client.is_ending()
            && rest
                .clone()
                .all(|access| self.workload.site_of[access.key] != site);
        if done && !self.workload.is_local(txn) {
            let message = ToParticipant::prepare(actor.client.gtid());
            let input = Input::Message(simulator::ID, message);
            self.world.site(site).handle(input, self.world.now());
            self.world.run();
        }
    }

    fn pass(&mut self, then: &mut Vec<Then>) {
        let mut waited = Duration::ZERO;
        while self.moves().is_empty() && self.actors.iter().any(|actor| actor.ended.is_none()) {
            assert!(waited < PATIENCE, "I4: {} is stuck", self.workload);
            self.world.pass(PAUSE);
            waited += PAUSE;
            self.listen(then);
            self.look(then);
        }
    }

    /// What the sites say reaches the coordinator, and what it writes is durable.
    fn listen(&mut self, then: &mut Vec<Then>) {
        loop {
            let mut moved = false;
            for site in 0..self.world.sites() {
                while let Some(message) = self.world.oldest_up(site) {
                    moved = true;
                    self.world.step(Moves::Up(site));
                    if let ToCoordinator::Vote { gtid, ballot } = message {
                        self.voted(self.txn(TxnName::Global(gtid)), site, &ballot, then);
                    }
                }
            }
            for sync in self.world.possible() {
                if matches!(sync, Moves::SyncCoordinator | Moves::SyncSite(_)) {
                    moved = true;
                    self.world.step(sync);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn voted(&mut self, txn: usize, site: usize, ballot: &Ballot, then: &mut Vec<Then>) {
        match ballot {
            Ballot::Yes { read_only, .. } => {
                then.push(Then::Yes { txn });
                let forgets = match self.variant.trap {
                    Some(Trap::ForgetReaders | Trap::ForgetReadersEarly) => *read_only,
                    Some(Trap::AbortByHand) | None => false,
                };
                if forgets {
                    let name = self.actors[txn].client.name();
                    let participant = self.world.participant(site);
                    let released = participant.decide(name, Decision::Commit(Stamp(1)));
                    released.expect("it has voted");
                    self.world.run();
                    then.push(Then::Forgot { txn });
                }
            }
            Ballot::No { .. } => then.push(Then::No { txn }),
        }
    }

    /// Notes what sites show now, and who has ended.
    fn look(&mut self, then: &mut Vec<Then>) {
        self.world.run();
        for (name, value) in self.stores.iter().flat_map(|store| store.take_unseen()) {
            let mut keys = 0..self.shown.len();
            let key = keys.find(|key| key_text(*key).as_bytes() == &*name);
            let key = key.expect("there are no others");
            let txn = writer(&value);
            let before = self.shown[key].replace(txn);
            then.push(Then::Replaced { txn, key, before });
            self.replaced.push((txn, key, before));
        }
        for txn in 0..self.actors.len() {
            let actor = &mut self.actors[txn];
            if actor.ended.is_some() {
                continue;
            }
            actor.ended = actor.client.ending(&self.world);
            match actor.ended {
                // The coordinator's decision is no event at a site: it follows from the votes.
                Some(_) if !self.workload.is_local(txn) => {}
                Some(Ending::Committed) => then.push(Then::Committed { txn }),
                Some(Ending::Aborted | Ending::Unknown) => then.push(Then::Aborted { txn }),
                None => {}
            }
        }
    }

    /// Which transactions' clients know that they are committed.
    pub(crate) fn is_committed(&self, txn: usize) -> bool {
        self.actors[txn].ended == Some(Ending::Committed)
    }

    /// How much has been told: while this stays the same, so do the facts.
    pub(crate) fn told(&self) -> usize {
        let committed = (0..self.actors.len()).filter(|txn| self.is_committed(*txn));
        committed.count() + self.replaced.len()
    }

    /// All that has been told irrevocably.
    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        for (txn, actor) in self.actors.iter().enumerate() {
            if !self.is_committed(txn) {
                continue;
            }
            facts.insert(Fact::Commit { txn });
            for &(key, from) in &actor.reads {
                facts.insert(Fact::Read { txn, key, from });
            }
            for access in &self.workload.programs[txn].accesses {
                if access.write {
                    facts.insert(Fact::Write {
                        txn,
                        key: access.key,
                    });
                }
            }
        }
        for &(txn, key, before) in &self.replaced {
            facts.insert(Fact::Replaced { txn, key, before });
        }
        facts
    }

    /// Whether nothing is left anywhere (I7).
    pub(crate) fn is_quiet(&self) -> bool {
        self.world.is_quiet()
    }

    /// The histories of the sites, for the checker.
    pub(crate) fn histories(&mut self) -> Vec<checker::SiteHistory> {
        let recorded = self.world.histories();
        let sites = recorded.into_iter().zip(&self.own).enumerate();
        sites
            .map(|(site, (recorded, own))| match own {
                Some(own) => own.history(crate::workload::site_name(site)),
                None => recorded,
            })
            .collect()
    }
}

/// A value names its writer.
fn tag(txn: usize) -> u8 {
    u8::try_from(txn).expect("few transactions")
}

fn writer(value: &[u8]) -> usize {
    usize::from(value[0])
}

fn key(key: usize) -> Key {
    Arc::from(key_text(key).as_bytes())
}

fn key_text(key: usize) -> String {
    key_name(key).to_string()
}
