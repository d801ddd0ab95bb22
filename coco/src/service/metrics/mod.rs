//! Metrics for Prometheus: what is read off the state when somebody asks, and histograms of the log.
//!
//! Nothing here is kept up to date between two scrapes but the histograms: counters are those that the state
//! machines keep anyway.

mod log;
mod server;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub use self::log::{LogMeter, MeteredLog};
pub use self::server::MetricsServer;

/// What is written at the top of a scrape's answer.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    label: Option<&'static str>,
    points: Vec<(String, f64)>,
}

/// Families of metrics with the values of one moment.
#[derive(Debug, Default)]
pub struct Scrape {
    families: Vec<Family>,
}

impl Scrape {
    /// A counter; its name gets `_total` when it is written.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Kind::Counter, None, [(String::new(), value)]);
    }

    /// Counters that differ in one label.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.push(name, help, Kind::Counter, Some(label), values);
    }

    /// A whole number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Kind::Gauge, None, [(String::new(), value)]);
    }

    /// Whole numbers that differ in one label.
    pub fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.push(name, help, Kind::Gauge, Some(label), values);
    }

    /// A span of time; its name ends in `_seconds`.
    pub fn seconds(&mut self, name: &'static str, help: &'static str, value: std::time::Duration) {
        self.families.push(Family {
            name,
            help,
            kind: Kind::Gauge,
            label: None,
            points: vec![(String::new(), value.as_secs_f64())],
        });
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "Prometheus keeps all values as such; counts are exact up to 2^53"
    )]
    fn push(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        label: Option<&'static str>,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let points = values
            .into_iter()
            .map(|(label, value)| (label, value as f64));
        self.families.push(Family {
            name,
            help,
            kind,
            label,
            points: points.collect(),
        });
    }

    /// The text of a scrape's answer; with the histograms of a log, if there is one.
    ///
    /// # Panics
    /// If a string refused what is written to it.
    #[must_use]
    pub fn render(self, meter: Option<&LogMeter>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        let written = encode_registry(&mut text, &registry)
            .and_then(|()| match meter {
                Some(meter) => encode_registry(&mut text, meter.registry()),
                None => Ok(()),
            })
            .and_then(|()| encode_eof(&mut text));
        assert!(written.is_ok(), "a string takes whatever is written to it");
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            let Some(label) = family.label else {
                // Without a label there is one value.
                if let Some((_, value)) = family.points.first() {
                    encode(family.kind, *value, metric)?;
                }
                continue;
            };
            for (of_label, value) in &family.points {
                let labels = [(label, of_label.as_str())];
                encode(family.kind, *value, metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode(kind: Kind, value: f64, metric: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(metric),
        Kind::Gauge => ConstGauge::new(value).encode(metric),
    }
}
