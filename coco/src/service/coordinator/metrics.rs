//! What Prometheus is told of a coordinator. `docs/operations.md` says what each metric means to an operator.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::driver::Input;
use super::observe::Gauges;
use super::{SiteInfo, Statistics};
use crate::service::limits::Refusals;
use crate::service::metrics::{LogMeter, Scrape};

/// What one scrape is made of.
pub(super) struct Observation {
    pub(super) statistics: Statistics,
    pub(super) gauges: Gauges,
    pub(super) sites: Vec<SiteInfo>,
}

/// Where a coordinator's metrics come from.
#[derive(Clone, Debug)]
pub struct CoordinatorMetrics {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) meter: Option<Arc<LogMeter>>,
}

impl CoordinatorMetrics {
    /// Adds the histograms of the coordinator's log.
    #[must_use]
    pub fn with_log(mut self, meter: Arc<LogMeter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The text for Prometheus. Of a coordinator that has ended only what was refused is left.
    pub async fn render(&self) -> String {
        let mut scrape = Scrape::default();
        scrape.counters(
            "coco_refused",
            "What was refused at the door, by reason",
            "reason",
            self.refusals
                .counts()
                .map(|(reason, count)| (reason.to_owned(), count)),
        );
        let (reply, answer) = oneshot::channel();
        // An error means that the coordinator has ended.
        let _ended = self.inbox.send(Input::Observe { reply }).await;
        if let Ok(observation) = answer.await {
            counters(&mut scrape, &observation);
            gauges(&mut scrape, &observation);
        }
        scrape.render(self.meter.as_deref())
    }
}

fn counters(scrape: &mut Scrape, observation: &Observation) {
    let counters = &observation.statistics.counters;
    scrape.counter("coco_begins", "Transactions begun", counters.begun);
    scrape.counter(
        "coco_commits",
        "Transactions committed, those of one site included",
        counters.commits,
    );
    scrape.counter(
        "coco_one_phase_commits",
        "Transactions that their only site committed",
        counters.one_phase_commits,
    );
    let aborts = counters.aborts.iter();
    scrape.counters(
        "coco_aborts",
        "Transactions aborted, by cause",
        "cause",
        aborts.map(|(cause, &count)| (cause_name(*cause).to_owned(), count)),
    );
    scrape.counter(
        "coco_unknown_outcomes",
        "Callers that were told that the outcome is unknown",
        counters.unknown,
    );
    scrape.counter(
        "coco_expired",
        "Transactions begun and never heard of again",
        counters.expired,
    );
    scrape.counters(
        "coco_deadlocks",
        "Deadlocks over several sites, by what resolved them",
        "resolver",
        [
            ("search".to_owned(), counters.deadlocks_by_search),
            ("timeout".to_owned(), counters.deadlocks_by_timeout),
        ],
    );
    scrape.counter(
        "coco_wait_reports",
        "Reports of waits that sites have sent",
        counters.reports,
    );
    scrape.counter("coco_resends", "Messages said again", counters.resends);
}

fn gauges(scrape: &mut Scrape, observation: &Observation) {
    let (statistics, gauges) = (&observation.statistics, &observation.gauges);
    scrape.gauge(
        "coco_serving",
        "1 while transactions can begin",
        statistics.serving.into(),
    );
    scrape.gauge(
        "coco_epoch",
        "How often the coordinator has started",
        statistics.epoch.into(),
    );
    scrape.gauge(
        "coco_in_flight",
        "Transactions that are undecided",
        statistics.in_flight,
    );
    scrape.gauge(
        "coco_voting",
        "Transactions that wait for votes",
        gauges.voting,
    );
    scrape.gauge(
        "coco_forcing",
        "Commits on their way to the disk",
        gauges.forcing,
    );
    scrape.gauge(
        "coco_unacknowledged",
        "Commits that some site has not acknowledged: in doubt there at worst",
        gauges.unacknowledged,
    );
    scrape.seconds(
        "coco_unacknowledged_oldest_seconds",
        "How long the oldest of them is decided",
        gauges.oldest_unacknowledged,
    );
    scrape.gauge(
        "coco_waits",
        "Waits that sites have reported: operations and votes",
        gauges.waits,
    );
    scrape.gauge(
        "coco_withheld_votes",
        "Votes that sites withhold until others are decided",
        gauges.withheld,
    );
    scrape.seconds(
        "coco_withheld_votes_oldest_seconds",
        "How long the oldest of them is withheld",
        gauges.oldest_withheld,
    );
    let sites = observation.sites.iter();
    scrape.gauges(
        "coco_site_connected",
        "1 while the site's link is up",
        "site",
        sites.map(|site| (site.name.as_str().to_owned(), site.connected.into())),
    );
}

/// The name of an abort's cause in metrics, and for programs.
#[must_use]
pub const fn cause_name(cause: crate::protocol::AbortCause) -> &'static str {
    use crate::protocol::AbortCause as Cause;
    match cause {
        Cause::Client => "client",
        Cause::LocalCycle => "local_cycle",
        Cause::VotingDeadlock => "voting_deadlock",
        Cause::StaleRead => "stale_read",
        Cause::WriteConflict => "write_conflict",
        Cause::Cascade => "cascade",
        Cause::Timeout => "timeout",
        Cause::UnknownTransaction => "unknown_transaction",
        Cause::SiteUnreachable => "site_unreachable",
        Cause::LogFailure => "log_failure",
        Cause::Outranked => "outranked",
        Cause::DatabaseAway => "database_away",
    }
}
