//! The task that drives a site: the link's events, the site's wakes, the clock.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coco::log::Log;
use coco::protocol::{CoordinatorId, SiteName, Time, ToParticipant, VoterConfig};
use coco::service::link::{Link, LinkEvent, LinkSender};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::activity::Activity;
use super::watched::Watch;
use super::{ParticipantOptions, volatile_incarnation};
use crate::participant::Participant;
use crate::site::{Input, Parts, RecoverError, Site, SiteConfig};
use crate::sync::Mutex;

/// How often silent clients are looked for, and a site without work looks at anything.
const REAP_EVERY: Duration = Duration::from_millis(100);

type Senders = Arc<Mutex<BTreeMap<CoordinatorId, LinkSender>>>;
/// What the driver keeps going besides the site.
pub(super) struct Around {
    pub(super) activity: Arc<Activity>,
    pub(super) watch: Arc<Watch>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) serving: watch::Sender<bool>,
}

impl Around {
    /// Says whether transactions can begin here, when that changes.
    fn tell_health(&self, site: &Site) {
        let is_serving = site.is_serving() && !self.draining.load(Ordering::SeqCst);
        self.serving.send_if_modified(|serving| {
            let changed = *serving != is_serving;
            *serving = is_serving;
            changed
        });
    }
}

pub(super) struct Driver {
    site: Arc<Site>,
    /// Where the voter's messages go, for each coordinator whose link is up. Taken with the site locked; holds
    /// no lock itself.
    senders: Senders,
    woken: Arc<Notify>,
    start: Instant,
}

impl Driver {
    pub(super) fn open(
        options: &ParticipantOptions,
        voter: VoterConfig,
        participant: Arc<dyn Participant>,
        log: Arc<dyn Log>,
        records: &[Vec<u8>],
    ) -> Result<Self, RecoverError> {
        let senders = Senders::default();
        let woken = Arc::new(Notify::new());
        let (outgoing, waking) = (Arc::clone(&senders), Arc::clone(&woken));
        let config = SiteConfig {
            name: options.name.clone(),
            voter,
            incarnation: volatile_incarnation(),
        };
        let parts = Parts {
            participant,
            log,
            outbox: Box::new(move |to, message| {
                if let Some(sender) = outgoing.lock().get(&to) {
                    sender.send(message);
                }
            }),
            wake: Box::new(move || waking.notify_one()),
        };
        let site = Arc::new(Site::open(config, parts, records, Time::default())?);
        Ok(Self {
            site,
            senders,
            woken,
            start: Instant::now(),
        })
    }

    pub(super) fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site)
    }

    /// Runs until it is told to stop, or its handle is dropped.
    pub(super) async fn run(
        self,
        options: ParticipantOptions,
        links: Vec<Link>,
        mut events: mpsc::Receiver<(CoordinatorId, LinkEvent)>,
        around: Around,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut looked = Instant::now();
        let mut resting = false;
        let mut look = pin!(tokio::time::sleep_until(looked));
        let mut reaped = looked;
        let mut told = BTreeMap::new();
        let mut log_failed = false;
        loop {
            if resting {
                let next;
                (next, resting) = self.next_look(&options, &around, looked);
                look.as_mut().reset(next);
            }
            tokio::select! {
                _ = &mut stopped => break,
                Some((coordinator, event)) = events.recv() => {
                    self.link_event(&options, coordinator, event, &mut told);
                    around.watch.set_linked(self.senders.lock().len() == options.coordinators.len());
                }
                () = self.woken.notified() => self.site.run(self.now()),
                // A transaction has begun where there was none.
                () = around.activity.stirred() => {}
                () = &mut look => {
                    looked = Instant::now();
                    resting = true;
                    around.tell_health(&self.site);
                    self.site.handle(Input::Tick, self.now());
                    if reaped.elapsed() >= REAP_EVERY {
                        reaped = Instant::now();
                        around.activity.reap(&self.site, options.idle_timeout);
                        around.watch.look(&self.site);
                        if !log_failed && self.site.log_failed() {
                            log_failed = true;
                            let name = &options.name;
                            (options.on_event)(&format!("site {name} takes no more work: {}", self.failure()));
                        }
                    }
                }
            }
        }
        self.site.flush();
        drop(links);
    }

    /// When timers and waits are looked at next: often while anything is undecided here, else when something is due, so
    /// that a site without work sleeps. Says whether it rests: what happens then may call for an earlier look.
    fn next_look(
        &self,
        options: &ParticipantOptions,
        around: &Around,
        looked: Instant,
    ) -> (Instant, bool) {
        let soon = looked + options.tick;
        // Before the site is asked, so that whoever begins after that stirs it.
        around.activity.rest();
        if self.site.participant().in_flight() > 0 {
            return (soon, false);
        }
        let due = self.site.next_deadline();
        let due = due.map(|due| self.start + due.since(Time::default()));
        let latest = soon.max(looked + REAP_EVERY);
        (due.map_or(latest, |due| due.clamp(soon, latest)), true)
    }

    fn failure(&self) -> String {
        let failure = self.site.participant().stored().failure();
        failure.map_or_else(
            || "its log has failed".to_owned(),
            |error| error.to_string(),
        )
    }

    fn now(&self) -> Time {
        Time::default() + self.start.elapsed()
    }

    fn link_event(
        &self,
        options: &ParticipantOptions,
        coordinator: CoordinatorId,
        event: LinkEvent,
        told: &mut BTreeMap<CoordinatorId, String>,
    ) {
        match event {
            LinkEvent::Up(sender) => {
                self.senders.lock().insert(coordinator, sender);
                self.site.handle(Input::LinkUp(coordinator), self.now());
            }
            LinkEvent::Down { reason } => {
                self.senders.lock().remove(&coordinator);
                self.site.handle(Input::LinkDown(coordinator), self.now());
                // Once, not at every attempt.
                if told.get(&coordinator) != Some(&reason) {
                    (options.on_event)(&down(&options.name, coordinator, &reason));
                    told.insert(coordinator, reason);
                }
            }
            LinkEvent::TellWorking => {
                let senders = self.senders.lock();
                if let Some(sender) = senders.get(&coordinator).cloned() {
                    drop(senders);
                    sender.working(self.site.working(coordinator));
                }
            }
            LinkEvent::Messages(messages) => {
                messages.iter().for_each(trace);
                let messages = messages.into_iter();
                let inputs = messages.map(|message| Input::Message(coordinator, message));
                self.site.handle_all(inputs, self.now());
            }
        }
    }
}

/// Shows what the coordinator says.
fn trace(message: &ToParticipant) {
    match message {
        ToParticipant::Prepare { gtid, .. } | ToParticipant::CommitOnePhase { gtid } => {
            tracing::debug_span!("vote", gtid = gtid.0).in_scope(|| tracing::debug!(?message));
        }
        ToParticipant::Decide { gtid, decision } => {
            tracing::debug_span!("decision", gtid = gtid.0).in_scope(|| tracing::debug!(?decision));
        }
    }
}

fn down(name: &SiteName, coordinator: CoordinatorId, reason: &str) -> String {
    format!("site {name} has no link to coordinator {coordinator}: {reason}")
}
