//! The report for a person.

use std::fmt::{Display, Write as _};

use super::paint::Paint;
use super::words::{cause, count, grouped, millis, wrapped};
use super::{Conclusion, both};
use crate::args::{Options, Ordering};
use crate::figures::SiteFigures;
use crate::judge::{Judged, Outcome};
use crate::run::{Finding, RunReport};
use crate::site::Sites;

/// Characters in a line.
const WIDTH: usize = 100;
/// Where values begin.
const COLUMN: usize = 22;
/// What long sentences are indented by.
const INDENT: &str = "                          ";

/// Sites on one line of the heading.
const SITES_A_LINE: usize = 4;
/// Numbers of sites.
const NUMBERS: [&str; Sites::MOST + 1] = [
    "No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight",
];

/// Lines of a report under construction.
#[derive(Debug, Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, text: impl Display) {
        writeln!(self.text, "{text}").expect("a string takes all text");
    }

    /// A label and its value, aligned; a continuation has an empty label.
    fn row(&mut self, label: &str, value: impl Display) {
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("  {label}")
        };
        self.line(format_args!("{label:COLUMN$}  {value}"));
    }

    fn sentence(&mut self, text: &str) {
        self.text.push_str(&wrapped(text, INDENT, WIDTH));
    }
}

/// What is about to happen.
pub(crate) fn heading(options: &Options, paint: Paint) -> String {
    let mut lines = Lines::default();
    let sites = options.sites().all();
    let number = NUMBERS[sites.len()];
    lines.line(paint.head(&if sites.len() == 1 {
        "One database, one process, serializable by itself".to_owned()
    } else {
        let many = number.to_lowercase();
        format!(
            "{number} databases, one transaction: {many} processes, each serializable by itself"
        )
    }));
    for few in sites.chunks(SITES_A_LINE) {
        let few = few.iter();
        let words: Vec<String> = few
            .map(|site| format!("{site} {}", site.kind().words()))
            .collect();
        lines.line(format_args!("  {}", words.join("    ")));
    }
    lines.line(format_args!(
        "  {}, {} per run, {} at each site, hot {}, seed {}",
        count(options.clients.into(), "client", "clients"),
        count(options.seconds.into(), "second", "seconds"),
        count(options.accounts.into(), "account", "accounts"),
        options.hot,
        options.seed
    ));
    lines.text
}

/// What one run showed.
pub(crate) fn run(run: &RunReport, paint: Paint) -> String {
    let mut lines = Lines::default();
    let what = match run.ordering {
        Ordering::Off => "Ordering off: plain two-phase commit",
        Ordering::On => "Ordering on: votes in commitment order",
    };
    lines.line("");
    lines.line(paint.head(what));
    work(run, &mut lines);
    waiting(run, &mut lines);
    application(run, paint, &mut lines);
    checker(run, paint, &mut lines);
    if let Some(folder) = &run.kept {
        lines.row("histories", format_args!("{}/*.hist", folder.display()));
    }
    lines.text
}

fn work(run: &RunReport, lines: &mut Lines) {
    let tally = &run.tally;
    lines.row(
        "commits",
        format_args!(
            "{} per second: {} in {:.1} s, {} of them at a single site",
            rate(run),
            grouped(tally.commits),
            run.elapsed.as_secs_f64(),
            grouped(tally.local_commits)
        ),
    );
    let [half, most] = [50, 99].map(|percent| millis(run.latencies.percentile(percent)));
    lines.row(
        "latency",
        format_args!("p50 {half}, p99 {most}, from first attempt to commit"),
    );
    lines.row("aborted attempts", grouped(tally.aborts_in_all()));
    let mut causes: Vec<_> = tally.aborts.iter().collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (why, count) in causes {
        lines.row("", format_args!("{:>9}  {}", grouped(*count), cause(*why)));
    }
    if tally.given_up > 0 {
        lines.row("given up", count(tally.given_up, "request", "requests"));
    }
    if tally.unknown > 0 {
        lines.row(
            "outcome unknown",
            count(tally.unknown, "transaction", "transactions"),
        );
    }
}

fn waiting(run: &RunReport, lines: &mut Lines) {
    let each = |figure: fn(&SiteFigures) -> u64| {
        let figures = run
            .sites
            .iter()
            .map(|(site, figures)| format!("{site} {}", grouped(figure(figures))));
        figures.collect::<Vec<_>>().join(", ")
    };
    let withheld: u64 = run
        .sites
        .iter()
        .map(|(_, figures)| figures.votes_withheld)
        .sum();
    lines.row(
        "votes withheld",
        format_args!(
            "{}: {}",
            grouped(withheld),
            each(|site| site.votes_withheld)
        ),
    );
    lines.row("local cycles broken", each(|site| site.local_cycles));
    let coordinator = &run.coordinator;
    lines.row(
        "voting deadlocks",
        format_args!(
            "{} resolved by cycle search, {} by timeout",
            grouped(coordinator.deadlocks_by_search),
            grouped(coordinator.deadlocks_by_timeout)
        ),
    );
}

fn application(run: &RunReport, paint: Paint, lines: &mut Lines) {
    let tally = &run.tally;
    if tally.impossible == 0 {
        lines.row("impossible reads", paint.good("none"));
    } else {
        let seen = count(
            tally.impossible,
            "committed transaction saw a state",
            "committed transactions saw a state",
        );
        let seen = format!("{seen} that no serial execution can show");
        lines.row("impossible reads", paint.bad(&seen));
        for (rule, count) in &tally.impossible_by_rule {
            lines.row(
                "",
                format_args!("{:>9}  broke the rule: {rule}", grouped(*count)),
            );
        }
        for witness in &tally.witnesses {
            lines.sentence(&format!(
                "After {:.2} s (client {}, request {}): {}.",
                witness.at.as_secs_f64(),
                witness.client,
                witness.request,
                witness.impossible
            ));
        }
    }
    let end = &run.end_state;
    if end.faults.is_empty() {
        let fine = format!(
            "in order: total {}, {} counts as committed",
            sum(end.total),
            end.counts_checked
        );
        lines.row("end state", paint.good(&fine));
    } else {
        lines.row("end state", paint.bad("broken"));
        end.faults
            .iter()
            .for_each(|fault| lines.sentence(&format!("{fault}.")));
    }
}

fn checker(run: &RunReport, paint: Paint, lines: &mut Lines) {
    let judgement = &run.judgement;
    lines.row(
        "the checker read",
        format_args!(
            "{} transactions, {} operations, {} edges, in {:.2} s",
            grouped(judgement.statistics.committed as u64),
            grouped(judgement.statistics.operations as u64),
            grouped(judgement.statistics.edges as u64),
            judgement.took.as_secs_f64()
        ),
    );
    let alone = judgement
        .alone
        .iter()
        .map(|(site, judged)| format!("{site} {}", verdict(judged, paint)));
    lines.row("each site alone", alone.collect::<Vec<_>>().join(", "));
    let together = &judgement.serializability;
    lines.row("all together", verdict(together, paint));
    if together.entangled > 0 {
        lines.row(
            "",
            format_args!(
                "{} lie on cycles",
                count(together.entangled as u64, "transaction", "transactions")
            ),
        );
    }
    together
        .grounds
        .iter()
        .for_each(|ground| lines.sentence(ground));
    together.cycle.iter().for_each(|step| lines.sentence(step));
    for (site, judged) in &judgement.alone {
        let grounds = judged.grounds.iter().chain(&judged.cycle);
        grounds.for_each(|ground| lines.sentence(&format!("{site} alone: {ground}")));
    }
    let order = &judgement.commitment_ordering;
    let (words, colour): (_, fn(Paint, &str) -> String) = match order.outcome {
        Outcome::Valid => (
            "kept: every conflict agrees with the order of decisions",
            Paint::good,
        ),
        Outcome::Invalid => ("violated", Paint::bad),
        Outcome::Unknown => ("not decided", Paint::bad),
    };
    lines.row("commitment ordering", colour(paint, words));
    let told_above = |ground: &&String| !together.grounds.contains(ground);
    order
        .grounds
        .iter()
        .filter(told_above)
        .for_each(|ground| lines.sentence(ground));
}

fn verdict(judged: &Judged, paint: Paint) -> String {
    match judged.outcome {
        Outcome::Valid => paint.good("serializable"),
        Outcome::Invalid => paint.bad("NOT serializable"),
        Outcome::Unknown => paint.bad("not decided"),
    }
}

/// The last lines: the runs side by side, and what they mean.
pub(crate) fn comparison(runs: &[RunReport], paint: Paint) -> String {
    let mut lines = Lines::default();
    let [off, on] = both(runs);
    lines.line("");
    if let (Some(off), Some(on)) = (off, on) {
        lines.line(paint.head("Commits per second"));
        let share =
            100.0 * on.commits_per_second() / off.commits_per_second().max(f64::MIN_POSITIVE);
        lines.line(format_args!(
            "  ordering off {}, ordering on {} ({share:.0} %)",
            rate(off),
            rate(on)
        ));
        lines.line("");
    }
    if let Some(off) = off {
        lines
            .text
            .push_str(&wrapped(&off_in_a_sentence(off), "", WIDTH));
    }
    if on.is_some() {
        let (colour, sentence): (fn(Paint, &str) -> String, _) = match Conclusion::of(runs) {
            Conclusion::Clean => (
                Paint::good,
                "With ordering on, no committed transaction saw an impossible state, and all sites \
                 together are serializable.",
            ),
            Conclusion::Anomaly => (
                Paint::bad,
                "With ordering on, an anomaly was found: see above.",
            ),
            Conclusion::Undecided => (
                Paint::bad,
                "With ordering on, the histories do not decide whether all was in order: see above.",
            ),
        };
        lines.line(colour(paint, wrapped(sentence, "", WIDTH).trim_end()));
    }
    lines.text
}

fn off_in_a_sentence(off: &RunReport) -> String {
    let each = off
        .judgement
        .alone
        .iter()
        .all(|(_, judged)| judged.outcome == Outcome::Valid);
    let sites = off.judgement.alone.len();
    let alone = if each {
        format!("each of the {sites} sites is serializable alone")
    } else {
        "not even each site is serializable alone".to_owned()
    };
    if sites == 1 && off.finding() == Finding::Clean {
        return "With ordering off, the one site is serializable, as it is alone: ordering is for several (--sites)."
            .to_owned();
    }
    match (off.finding(), off.shows_the_gap()) {
        (_, true) => format!(
            "With ordering off, {alone}, yet {} a state that cannot be, and all together are not serializable.",
            count(
                off.tally.impossible,
                "committed transaction saw",
                "committed transactions saw"
            )
        ),
        (Finding::Anomalous, false) => format!(
            "With ordering off, {alone}; the run shows an anomaly, but not both kinds. A longer or \
             hotter run will (--seconds, --hot 1, --clients)."
        ),
        (Finding::Clean | Finding::Undecided, false) => format!(
            "With ordering off, {alone}, and this run happened to show no anomaly. A longer or hotter \
             run will (--seconds, --hot 1, --clients)."
        ),
    }
}

fn rate(run: &RunReport) -> String {
    // Far below 2^52: exact as a float, and back.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    let rate = run.commits_per_second().round() as u64;
    grouped(rate)
}

/// A sum of money, grouped like all numbers; below zero only when a rule is broken.
fn sum(total: i64) -> String {
    let sign = if total < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(total.unsigned_abs()))
}
