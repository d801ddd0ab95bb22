//! The figures as tables and as JSON, each beside what it cannot be better than.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Measured;
use crate::figures::{Figures, percentile};

/// One measurement.
#[derive(Debug)]
pub(crate) struct Line {
    name: &'static str,
    in_flight: usize,
    durable: bool,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Transactions for each forced write of the coordinator, and of a site.
    per_sync: Option<(f64, f64)>,
}

impl Line {
    pub(crate) fn bare(name: &'static str, in_flight: usize, mut figures: Figures) -> Self {
        Self {
            name,
            in_flight,
            durable: false,
            per_second: figures.per_second(),
            p50: figures.at(50),
            p99: figures.at(99),
            per_sync: None,
        }
    }

    pub(crate) fn coco(
        name: &'static str,
        in_flight: usize,
        durable: bool,
        measured: Measured,
    ) -> Self {
        let commits = measured.commits as f64;
        let each = |syncs: u64| commits / syncs.max(1) as f64;
        let per_sync = (
            each(measured.coordinator_syncs),
            2.0 * each(measured.site_syncs),
        );
        Self {
            durable,
            per_sync: durable.then_some(per_sync),
            ..Self::bare(name, in_flight, measured.figures)
        }
    }
}

/// All measurements of a run.
#[derive(Debug)]
pub(crate) struct Report {
    disk: Vec<(&'static str, Duration, Duration)>,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self {
            disk: Vec::new(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn disk(&mut self, name: &'static str, mut spans: Vec<Duration>) {
        let (p50, p99) = (percentile(&mut spans, 50), percentile(&mut spans, 99));
        self.disk.push((name, p50, p99));
    }

    pub(crate) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    fn line(&self, name: &str, in_flight: usize, durable: bool) -> Option<&Line> {
        let mut lines = self.lines.iter();
        lines.find(|it| it.name == name && it.in_flight == in_flight && it.durable == durable)
    }

    fn forced(&self, name: &str) -> Option<Duration> {
        let mut disk = self.disk.iter();
        disk.find(|it| it.0 == name).map(|it| it.1)
    }

    /// What a lone commit cannot do without: its message delays, and its forced writes one after the other. The two
    /// sites force theirs at the same time on the same disk.
    fn bound(&self, line: &Line) -> Option<Duration> {
        let round_trips = match line.name {
            "protocol" | "engines" => 1,
            "clients" => 2,
            _ => return None,
        };
        let messages = self.line("echo", 1, false)?.p50 * round_trips;
        if !line.durable {
            return Some(messages);
        }
        let sites = self.forced("forced write beside another")?;
        Some(messages + sites + self.forced("forced write")?)
    }

    /// What the line is compared with: how often it, or how much of it.
    fn ratio(&self, line: &Line) -> Option<(f64, &'static str)> {
        if line.in_flight == 1 {
            let bound = self.bound(line)?;
            let ratio = line.p50.as_secs_f64() / bound.as_secs_f64();
            Some((ratio, "x its delays"))
        } else if line.name == "echo" || line.name == "bare two-phase commit" {
            None
        } else {
            let bare = self.line("bare two-phase commit", line.in_flight, false)?;
            Some((line.per_second / bare.per_second, "of bare"))
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let micros = |span: Duration| span.as_secs_f64() * 1e6;
        let disk = self.disk.iter().map(
            |(name, p50, p99)| json!({ "name": name, "p50_us": micros(*p50), "p99_us": micros(*p99) }),
        );
        let lines = self.lines.iter().map(|line| {
            let ratio = self.ratio(line);
            json!({
                "name": line.name, "in_flight": line.in_flight, "durable": line.durable,
                "per_second": line.per_second, "p50_us": micros(line.p50), "p99_us": micros(line.p99),
                "commits_per_coordinator_sync": line.per_sync.map(|it| it.0),
                "commits_per_site_sync": line.per_sync.map(|it| it.1),
                "ratio": ratio.map(|it| it.0), "ratio_to": ratio.map(|it| it.1),
            })
        });
        json!({
            "disk": disk.collect::<Vec<_>>(),
            "lines": lines.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, p50, p99) in &self.disk {
            writeln!(f, "{name:<30} p50 {:>9.1?}  p99 {:>9.1?}", p50, p99)?;
        }
        writeln!(
            f,
            "\n{:<22} {:>9} {:>8} {:>10} {:>10} {:>10}  {:<18} commits for each forced write",
            "what", "in flight", "disk", "a second", "p50", "p99", "ratio"
        )?;
        for line in &self.lines {
            let ratio = self.ratio(line);
            let ratio = ratio.map_or_else(String::new, |(ratio, to)| format!("{ratio:.2} {to}"));
            let syncs = line
                .per_sync
                .map_or_else(String::new, |(coordinator, site)| {
                    format!("{coordinator:.1} coordinator, {site:.1} site")
                });
            writeln!(
                f,
                "{:<22} {:>9} {:>8} {:>10.0} {:>10.1?} {:>10.1?}  {ratio:<18} {syncs}",
                line.name,
                line.in_flight,
                if line.durable { "forced" } else { "none" },
                line.per_second,
                line.p50,
                line.p99,
            )?;
        }
        Ok(())
    }
}
