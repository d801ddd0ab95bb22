//! What Prometheus is told of a site. `docs/operations.md` says what each metric means to an operator.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use coco::protocol::VoterStats;
use coco::service::Front;
use coco::service::coordinator::cause_name;
use coco::service::metrics::{LogMeter, Scrape};
use coco::service::site::Pending;

use super::watched::Watch;
use crate::site::Site;

/// Where a site's metrics come from.
#[derive(Clone)]
pub struct SiteMetrics {
    site: Arc<Site>,
    watch: Arc<Watch>,
    front: Front,
    meter: Option<Arc<LogMeter>>,
}

impl fmt::Debug for SiteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteMetrics").finish_non_exhaustive()
    }
}

impl SiteMetrics {
    pub(super) fn new(site: Arc<Site>, watch: Arc<Watch>, front: &Front) -> Self {
        Self {
            site,
            watch,
            front: front.clone(),
            meter: None,
        }
    }

    /// Adds the histograms of the site's log.
    #[must_use]
    pub fn with_log(mut self, meter: Arc<LogMeter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The text for Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut scrape = Scrape::default();
        scrape.counters(
            "coco_site_refused",
            "What was refused at the door, by reason",
            "reason",
            self.front.refused(),
        );
        votes(&mut scrape, &self.site.stats());
        self.engine(&mut scrape);
        pending(&mut scrape, &self.watch.look(&self.site));
        scrape.render(self.meter.as_deref())
    }

    fn engine(&self, scrape: &mut Scrape) {
        let participant = self.site.participant();
        let statistics = participant.statistics();
        scrape.counter(
            "coco_site_votes_requested",
            "Votes that were asked for, local transactions included; without those that depended on others",
            statistics.requested,
        );
        scrape.counter(
            "coco_site_votes_withheld",
            "Votes that had to wait for a predecessor",
            statistics.withheld,
        );
        scrape.counters(
            "coco_site_deadlocks",
            "Cycles of conflicts and waits within the site, by what resolved them",
            "resolver",
            [("local_search".to_owned(), statistics.cycles)],
        );
        scrape.counter(
            "coco_site_overtaken",
            "Transactions that preceded a committed one and were aborted for it",
            statistics.overtaken,
        );
        scrape.gauge(
            "coco_site_in_flight",
            "Transactions that have begun here and are not decided",
            participant.in_flight() as u64,
        );
        scrape.gauge(
            "coco_site_serving",
            "1 while the life is durable and the log works",
            self.site.is_serving().into(),
        );
        scrape.gauge(
            "coco_site_link_up",
            "1 while the site is linked to its coordinator",
            self.watch.is_linked().into(),
        );
    }
}

fn votes(scrape: &mut Scrape, stats: &VoterStats) {
    scrape.counter("coco_site_votes_yes", "Votes YES", stats.votes_yes);
    scrape.counter(
        "coco_site_votes_dependent",
        "Of these, those that depended on others when they were given",
        stats.votes_dependent,
    );
    scrape.counters(
        "coco_site_votes_no",
        "Votes NO, by cause",
        "cause",
        stats
            .votes_no
            .iter()
            .map(|(cause, &count)| (cause_name(*cause).to_owned(), count)),
    );
    scrape.counter(
        "coco_site_commits",
        "Commit decisions applied",
        stats.commits,
    );
    scrape.counter("coco_site_aborts", "Abort decisions applied", stats.aborts);
    scrape.counter(
        "coco_site_one_phase_commits",
        "Transactions that this site alone committed",
        stats.one_phase_commits,
    );
    scrape.counter(
        "coco_site_inquiries",
        "How often the coordinator was asked what became of a transaction",
        stats.inquiries,
    );
    scrape.counter(
        "coco_site_lost_commits",
        "Commits of transactions that a volatile site had voted for and lost",
        stats.lost_commits,
    );
    let decisions = [
        ("commit", stats.heuristic_commits),
        ("abort", stats.heuristic_aborts),
    ];
    scrape.counters(
        "coco_site_heuristics",
        "Transactions in doubt that were decided here by hand",
        "decision",
        decisions.map(|(decision, count)| (decision.to_owned(), count)),
    );
    scrape.counter(
        "coco_site_heuristic_damage",
        "Of these, those that the coordinator had decided the other way",
        stats.heuristic_damage,
    );
}

fn pending(scrape: &mut Scrape, pending: &Pending) {
    let heuristics = &pending.heuristics;
    let unheard = heuristics.iter().filter(|it| it.heard.is_none()).count();
    scrape.gauge(
        "coco_site_heuristics_unheard",
        "Decided here by hand, and the coordinator has not been heard since",
        unheard as u64,
    );
    let damage = heuristics.iter().filter(|it| it.is_damage()).count();
    scrape.gauge(
        "coco_site_heuristic_damage_unacknowledged",
        "Decided here by hand, by the coordinator the other way, and not acknowledged by an operator",
        damage as u64,
    );
    let oldest = |ages: &mut dyn Iterator<Item = Duration>| ages.max().unwrap_or_default();
    scrape.gauge(
        "coco_site_in_doubt",
        "Transactions that have voted YES and whose decision is not known here",
        pending.in_doubt.len() as u64,
    );
    scrape.seconds(
        "coco_site_in_doubt_oldest_seconds",
        "How long the oldest of them is in doubt",
        oldest(&mut pending.in_doubt.iter().map(|info| info.age)),
    );
    scrape.gauge(
        "coco_site_waits",
        "Global transactions whose operation or vote waits here",
        pending.waits.len() as u64,
    );
    scrape.seconds(
        "coco_site_waits_oldest_seconds",
        "How long the oldest of them waits",
        oldest(&mut pending.waits.iter().map(|wait| wait.age)),
    );
}
