//! The report for a program: one document.

use serde_json::{Map, Value, json};

use super::words::cause_key;
use super::{Conclusion, both};
use crate::args::Options;
use crate::judge::Judged;
use crate::run::{Finding, RunReport};
use crate::samples::Sorted;

/// Version of the document; it changes when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// The whole report.
pub(crate) fn document(options: &Options, runs: &[RunReport]) -> Value {
    let [off, on] = both(runs);
    let sites = options.sites().all().into_iter();
    let sites: Vec<Value> = sites
        .map(|site| json!({ "name": site.name(), "engine": site.engine() }))
        .collect();
    let ratio = off
        .zip(on)
        .map(|(off, on)| on.commits_per_second() / off.commits_per_second());
    json!({
        "multidb": VERSION,
        "settings": {
            "clients": options.clients,
            "seconds": options.seconds,
            "accounts": options.accounts,
            "hot": options.hot,
            "seed": options.seed,
            "sites": sites,
        },
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
        "throughput_on_to_off": ratio,
        "exit_status": Conclusion::of(runs).exit_status(),
    })
}

fn run(run: &RunReport) -> Value {
    let tally = &run.tally;
    let aborts: Map<String, Value> = tally
        .aborts
        .iter()
        .map(|(cause, count)| (cause_key(*cause).to_owned(), json!(count)))
        .collect();
    let sites: Map<String, Value> = run
        .sites
        .iter()
        .map(|(site, figures)| (site.name().to_owned(), json!(figures)))
        .collect();
    json!({
        "ordering": run.ordering.word(),
        "finding": match run.finding() {
            Finding::Clean => "clean",
            Finding::Anomalous => "anomalous",
            Finding::Undecided => "undecided",
        },
        "processes": run.processes,
        "seconds": run.elapsed.as_secs_f64(),
        "commits": tally.commits,
        "commits_at_one_site": tally.local_commits,
        "commits_per_second": run.commits_per_second(),
        "latency_micros": latency(&run.latencies),
        "aborts": aborts,
        "given_up": tally.given_up,
        "unknown_outcomes": tally.unknown,
        "site_statistics": sites,
        "coordinator_statistics": run.coordinator,
        "impossible_reads": impossible(run),
        "end_state": {
            "total": run.end_state.total,
            "expected_total": run.end_state.expected_total,
            "counts_checked": run.end_state.counts_checked,
            "faults": run.end_state.faults,
        },
        "checker": checker(run),
        "histories": run.kept,
    })
}

fn latency(latencies: &Sorted) -> Value {
    let micros = |percent| {
        latencies
            .percentile(percent)
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
    };
    json!({ "p50": micros(50), "p99": micros(99), "max": micros(100) })
}

fn impossible(run: &RunReport) -> Value {
    let tally = &run.tally;
    let by_rule: Vec<Value> = tally
        .impossible_by_rule
        .iter()
        .map(|(rule, count)| json!({ "rule": rule, "meaning": rule.to_string(), "count": count }))
        .collect();
    let first: Vec<Value> = tally
        .witnesses
        .iter()
        .map(|witness| {
            json!({
                "seconds": witness.at.as_secs_f64(),
                "client": witness.client,
                "request": witness.request,
                "seen": witness.impossible.to_string(),
            })
        })
        .collect();
    json!({ "count": tally.impossible, "by_rule": by_rule, "first": first })
}

fn checker(run: &RunReport) -> Value {
    let judgement = &run.judgement;
    let alone: Map<String, Value> = judgement
        .alone
        .iter()
        .map(|(site, judged)| (site.name().to_owned(), json!(judged.outcome.word())))
        .collect();
    json!({
        "serializability": verdict(&judgement.serializability),
        "commitment_ordering": verdict(&judgement.commitment_ordering),
        "each_site_alone": alone,
        "statistics": judgement.statistics,
        "seconds": judgement.took.as_secs_f64(),
    })
}

fn verdict(judged: &Judged) -> Value {
    json!({
        "verdict": judged.outcome.word(),
        "grounds": judged.grounds,
        "cycle": judged.cycle,
        "entangled": judged.entangled,
    })
}
