//! `co-check history`: the histories of sites, in which versions are known.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checker::formats::Format;
use checker::models::Model;
use checker::recovery::{self, Gap, Recovery};
use checker::replay::Replayed;
use checker::svg::Drawing;
use checker::{Anomaly, Case, Level, Named, Report, SiteHistory, Step, Verdict, judge_each};
use clap::ValueEnum;
use serde_json::Value as Json;

use crate::answer::not_drawn;
use crate::input::{Bounds, Input};
use crate::output::{
    Failure, JSON_FORMAT, Paint, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, push, show,
    verdict_of, worse, write_to,
};
use crate::replay::{certify, replayed};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArguments {
    /// One history file for each site; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to judge against; may be repeated, and then all must hold
    ///
    /// Otherwise serializability with the strongest order that the histories
    /// tell: real time, else sessions, else none.
    #[arg(long, value_enum, verbatim_doc_comment)]
    level: Vec<LevelChoice>,
    /// Also judge each site alone
    ///
    /// The exit status stays that of all sites together.
    #[arg(long, verbatim_doc_comment)]
    per_site: bool,
    /// Print the reports as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the cycle in the DOT language; `-` for standard output
    ///
    /// Without a cycle the whole graph, if it is small.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    dot: Option<PathBuf>,
    /// Draw the cycle; `-` for standard output
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// If it is valid, write the order that shows it
    ///
    /// `co-check verify` re-checks it.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    certificate: Option<PathBuf>,
    /// Build the graph of all conflicts in any case
    ///
    /// Otherwise they are replayed in the order of decisions first, and the
    /// graph is built only if that does not show them valid.
    #[arg(long, verbatim_doc_comment)]
    graph: bool,
    /// Print nothing but what --json, --svg and --dot ask for
    ///
    /// The exit status tells the verdict.
    #[arg(long, short, verbatim_doc_comment)]
    quiet: bool,
    #[command(flatten)]
    bounds: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelChoice {
    /// Serializability
    Ser,
    /// Commitment ordering
    Co,
    /// Extended: transactions of one site alone are exempt
    Eco,
    /// Strong session serializability
    Session,
    /// Strict serializability
    Strict,
    /// Commitment ordering that keeps sessions
    SessionCo,
    /// Commitment ordering that keeps real time
    RealtimeCo,
    /// What is asked for without any, and commitment ordering
    All,
}

/// The level of sites that is called so, and is none of clients.
pub(crate) fn level_named(name: &str) -> Option<LevelChoice> {
    match name.to_ascii_lowercase().replace('_', "-").as_str() {
        "co" | "commitment-ordering" => Some(LevelChoice::Co),
        "eco" | "extended-commitment-ordering" => Some(LevelChoice::Eco),
        "session-co" | "session-commitment-ordering" => Some(LevelChoice::SessionCo),
        "realtime-co" | "real-time-commitment-ordering" => Some(LevelChoice::RealtimeCo),
        _ => None,
    }
}

/// The levels of sites that are called so; the strongest serializability and commitment ordering if none is named.
pub(crate) fn levels_named(names: &[String]) -> Result<Vec<LevelChoice>, Failure> {
    let named = |name: &String| {
        let level = match Model::parse(name) {
            Some(Model::Serializable) => Some(LevelChoice::Ser),
            Some(Model::StrongSessionSerializable) => Some(LevelChoice::Session),
            Some(Model::StrictSerializable) => Some(LevelChoice::Strict),
            Some(_) | None => level_named(name),
        };
        level.ok_or_else(|| {
            Failure::Usage(format!(
                "the histories of sites are judged for `serializable`, `strong-session-serializable`, \
                 `strict-serializable`, `commitment-ordering`, `extended-commitment-ordering`, \
                 `session-commitment-ordering` and `real-time-commitment-ordering`, not for `{name}`"
            ))
        })
    };
    if names.is_empty() {
        return Ok(vec![LevelChoice::All]);
    }
    names.iter().map(named).collect()
}

impl LevelChoice {
    pub(crate) fn levels(self, strongest: Level) -> Vec<Level> {
        match self {
            Self::Ser => vec![Level::Serializability],
            Self::Co => vec![Level::CommitmentOrdering],
            Self::Eco => vec![Level::ExtendedCommitmentOrdering],
            Self::Session => vec![Level::StrongSessionSerializability],
            Self::Strict => vec![Level::StrictSerializability],
            Self::SessionCo => vec![Level::SessionCommitmentOrdering],
            Self::RealtimeCo => vec![Level::RealtimeCommitmentOrdering],
            Self::All => vec![strongest, Level::CommitmentOrdering],
        }
    }
}

/// The levels that are asked for, each once.
fn asked(choices: &[LevelChoice], strongest: Level) -> Vec<Level> {
    let mut levels = Vec::new();
    for level in choices.iter().flat_map(|choice| choice.levels(strongest)) {
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    if levels.is_empty() {
        levels.push(strongest);
    }
    levels
}

const EXAMPLES: &str = "\
Examples:
  co-check history a.hist b.hist
      Are the two sites together serializable?
  co-check history --level strict a.hist b.hist
      In real time, too? (Asked by itself if every record tells when that was.)
  co-check history --level all --per-site a.hist b.hist
      Commitment ordered too? And what would each site say alone?
  co-check history --json a.hist b.hist > report.json
      The same for a program.
  co-check history --quiet --dot - a.hist b.hist | dot -Tsvg > cycle.svg
      A drawing of the cycle.

Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
Colours appear on a terminal only, and never when NO_COLOR is set.";

/// A graph with more transactions than this is not drawn as a whole.
const MAX_DRAWN_TXNS: usize = 200;

const TOO_LARGE_TO_DRAW: &str = "there is no cycle, and the whole graph has too many transactions (over 200) to show \
     anything; judge fewer records to see one";

/// Judges, and says the exit status.
pub(crate) fn run(arguments: &HistoryArguments) -> Result<u8, Failure> {
    let bounds = &arguments.bounds;
    let inputs = bounds.open_all(&arguments.files, Some(Format::SitedHistory))?;
    let sited = Sited {
        levels: arguments.level.clone(),
        per_site: arguments.per_site,
        graph: arguments.graph,
        dot: arguments.dot.as_ref(),
        svg: arguments.svg.as_ref(),
        certificate: arguments.certificate.as_ref(),
    };
    let (status, text, json) = sited.judge(bounds, inputs, arguments.json)?;
    if arguments.json {
        write_to(Path::new("-"), &format!("{json:#}\n"))?;
    } else if !arguments.quiet {
        show(&text)?;
    }
    Ok(status)
}

/// What is asked of the histories of sites.
pub(crate) struct Sited<'a> {
    pub(crate) levels: Vec<LevelChoice>,
    pub(crate) per_site: bool,
    /// Not by a replay.
    pub(crate) graph: bool,
    pub(crate) dot: Option<&'a PathBuf>,
    pub(crate) svg: Option<&'a PathBuf>,
    pub(crate) certificate: Option<&'a PathBuf>,
}

impl Sited<'_> {
    /// Judges: the exit status, and a text or JSON.
    pub(crate) fn judge(
        &self,
        bounds: &Bounds,
        inputs: Vec<Input>,
        as_json: bool,
    ) -> Result<(u8, String, Json), Failure> {
        let start = Instant::now();
        if let Some((replayed, reports)) = self.replayed(bounds, &inputs, as_json) {
            let output = Output {
                status: STATUS_VALID,
                named: None,
                recovery: replayed.recovery(),
                sites: &[],
                reports: &reports,
                alone: &[],
                replayed: true,
                time: start.elapsed(),
            };
            return self.finish(&output, as_json);
        }
        let sites = bounds.read_sites(inputs)?;
        let case = Case::new(&sites);
        let levels = asked(&self.levels, case.strongest_told());
        let reports: Vec<Report> = levels.iter().map(|level| case.judge(*level)).collect();
        let alone: Vec<Vec<Report>> = if self.per_site {
            let levels = levels.iter();
            levels.map(|level| judge_each(&sites, *level)).collect()
        } else {
            Vec::new()
        };
        let is_invalid = |report: &Report| matches!(report.verdict, Verdict::Invalid { .. });
        let status = reports.iter().map(|report| status(&report.verdict));
        let status = status.fold(STATUS_VALID, worse);
        let output = Output {
            status,
            named: reports.iter().any(is_invalid).then(|| case.named()),
            recovery: case.recovery(),
            sites: &sites,
            reports: &reports,
            alone: &alone,
            replayed: false,
            time: start.elapsed(),
        };
        self.draw(&case, &reports)?;
        self.finish(&output, as_json)
    }

    /// The histories replayed, and the reports, if that shows them valid and nothing is asked for that takes the graph.
    fn replayed(
        &self,
        bounds: &Bounds,
        inputs: &[Input],
        as_json: bool,
    ) -> Option<(Replayed, Vec<Report>)> {
        if self.graph || self.per_site || self.dot.is_some() || self.svg.is_some() {
            return None;
        }
        let levels = asked(&self.levels, Level::Serializability);
        if levels.iter().any(|level| !Replayed::answers(*level)) {
            return None;
        }
        let with_order = self.certificate.is_some() || as_json;
        let replayed = replayed(inputs, with_order, bounds.bytes())?;
        let reports = levels.iter().map(|level| replayed.report(*level));
        let reports = reports.collect::<Option<Vec<_>>>()?;
        Some((replayed, reports))
    }

    fn finish(&self, output: &Output<'_>, as_json: bool) -> Result<(u8, String, Json), Failure> {
        if let Some(path) = self.certificate {
            certify(path, output.reports)?;
        }
        // Of a large history either takes its time.
        Ok(if as_json {
            (output.status, String::new(), output.json())
        } else {
            (output.status, output.text(Paint::for_stdout()), Json::Null)
        })
    }

    fn draw(&self, case: &Case<'_>, reports: &[Report]) -> Result<(), Failure> {
        if let Some(path) = self.dot {
            match drawing(case, reports) {
                Some(drawing) => write_to(path, &drawing)?,
                None => not_drawn(TOO_LARGE_TO_DRAW, None, self.dot)?,
            }
        }
        if let Some(path) = self.svg {
            match picture(reports) {
                Some(drawing) => write_to(path, &drawing.to_svg())?,
                None => not_drawn("there is no cycle", self.svg, None)?,
            }
        }
        Ok(())
    }
}

const fn status(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Valid { .. } => STATUS_VALID,
        Verdict::Invalid { .. } => STATUS_INVALID,
        Verdict::Unknown { .. } => STATUS_UNKNOWN,
    }
}

/// The cycle; failing that, the conflict out of order; failing that, the whole graph if it is small.
fn drawing(case: &Case<'_>, reports: &[Report]) -> Option<String> {
    if let Some(cycle) = reports.iter().find_map(Report::cycle) {
        return Some(checker::dot::to_dot(&cycle.steps));
    }
    if let Some(step) = reports.iter().find_map(step_out_of_order) {
        return Some(checker::dot::to_dot(std::slice::from_ref(step)));
    }
    case.conflicts(MAX_DRAWN_TXNS)
        .map(|steps| checker::dot::to_dot(&steps))
}

/// The cycle; failing that, the conflict out of order.
fn picture(reports: &[Report]) -> Option<Drawing> {
    let cycle = reports.iter().find_map(Report::cycle);
    if let Some(cycle) = cycle {
        let title = format!(
            "A cycle of {} transactions, {}",
            cycle.steps.len(),
            cycle.class
        );
        return Some(Drawing::of_steps(&title, &cycle.steps));
    }
    let step = reports.iter().find_map(step_out_of_order)?;
    let title = "A conflict against the order of decisions";
    Some(Drawing::of_steps(title, std::slice::from_ref(step)))
}

fn step_out_of_order(report: &Report) -> Option<&Step> {
    let Verdict::Invalid { anomalies, .. } = &report.verdict else {
        return None;
    };
    anomalies.iter().find_map(|anomaly| {
        if let Anomaly::OutOfOrder { step, .. } = anomaly {
            Some(step)
        } else {
            None
        }
    })
}

const fn paint_of(paint: Paint, verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid { .. } => paint.valid(),
        Verdict::Invalid { .. } => paint.invalid(),
        Verdict::Unknown { .. } => paint.unknown(),
    }
}

/// Everything there is to say, and the two ways to say it.
struct Output<'a> {
    status: u8,
    /// What is wrong by its established names, if something is.
    named: Option<Named>,
    recovery: Recovery,
    sites: &'a [SiteHistory],
    reports: &'a [Report],
    /// One list for each level, one report for each site; empty unless asked for.
    alone: &'a [Vec<Report>],
    /// There was no graph.
    replayed: bool,
    time: Duration,
}

impl Output<'_> {
    fn json(&self) -> Json {
        let mut reports: Vec<_> = self.reports.iter().map(Report::to_json).collect();
        if self.replayed {
            let counts = reports.iter_mut().map(|report| &mut report["statistics"]);
            counts.for_each(|counts| counts["edges"] = Json::Null);
        }
        let sites = self
            .alone
            .iter()
            .flat_map(|level| self.sites.iter().zip(level));
        let alone: Vec<_> = sites
            .map(|(site, report)| {
                serde_json::json!({ "site": site.site(), "report": report.to_json() })
            })
            .collect();
        let seconds = self.time.as_secs_f64();
        serde_json::json!({
            "format": JSON_FORMAT,
            "kind": "sites",
            "verdict": verdict_of(self.status),
            "seconds": seconds,
            "method": if self.replayed { "replay" } else { "graph" },
            "reports": reports,
            "named": self.named,
            "recovery": self.recovery,
            "per_site": alone,
        })
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for report in self.reports {
            push(&mut text, format_args!("{}\n", headline(report, paint)));
        }
        if let Some(first) = self.reports.first() {
            push(&mut text, format_args!("{}\n", self.counts(first)));
        }
        for report in self.reports {
            grounds(report, &mut text);
        }
        if let Some(named) = &self.named {
            named_lines(named, &mut text);
        }
        push(
            &mut text,
            format_args!("\n{}\n", recovery_line(&self.recovery)),
        );
        for (site, report) in self
            .alone
            .iter()
            .flat_map(|level| self.sites.iter().zip(level))
        {
            let headline = headline(report, paint);
            push(
                &mut text,
                format_args!("\nSite {} alone: {headline}\n", site.site()),
            );
            grounds(report, &mut text);
        }
        text
    }

    fn counts(&self, report: &Report) -> String {
        let counts = report.statistics;
        let edges = if self.replayed {
            "replayed in the order of decisions".to_owned()
        } else {
            format!("edges {}", counts.edges)
        };
        format!(
            "sites {}, committed {}, aborted {}, in doubt {}, operations {}, keys {}, {edges}, {:.3} s",
            counts.sites,
            counts.committed,
            counts.aborted,
            counts.in_doubt,
            counts.operations,
            counts.keys,
            self.time.as_secs_f64()
        )
    }
}

fn headline(report: &Report, paint: Paint) -> String {
    let verdict = paint_of(paint, &report.verdict);
    let summary = match &report.verdict {
        Verdict::Valid { .. } => {
            format!(
                "a serial order of {} transactions explains everything",
                report.statistics.committed
            )
        }
        Verdict::Invalid { anomalies, .. } => summary(&anomalies[0]),
        Verdict::Unknown { reasons, .. } => reasons[0].to_string(),
    };
    format!("{verdict} {}: {summary}", report.level)
}

fn summary(anomaly: &Anomaly) -> String {
    match anomaly {
        Anomaly::Cycle(cycle) => {
            format!(
                "a cycle of {} transactions, {}",
                cycle.steps.len(),
                cycle.class
            )
        }
        Anomaly::BrokenAtomicity { txn, .. } => format!("atomicity of {txn} is broken"),
        Anomaly::DecisionDisagreement { txn, .. } => {
            format!("the sites disagree on the decision of {txn}")
        }
        Anomaly::ImpossibleRead(read) => {
            format!(
                "nothing explains what {} read of \"{}\"",
                read.reader, read.key
            )
        }
        Anomaly::OutOfOrder { step, .. } => {
            format!(
                "{} precedes {} and was not decided before it",
                step.from, step.to
            )
        }
        other @ (Anomaly::PathOutOfOrder { .. } | _) => other.to_string(),
    }
}

/// The grounds of a verdict in sentences, a cycle with one sentence for each step.
fn grounds(report: &Report, text: &mut String) {
    let (shown, total) = match &report.verdict {
        Verdict::Valid { .. } => return,
        Verdict::Invalid { anomalies, total } => {
            push(
                text,
                format_args!("\nWhy {} does not hold:\n", report.level),
            );
            anomalies
                .iter()
                .for_each(|anomaly| anomaly_lines(anomaly, text));
            (anomalies.len(), *total)
        }
        Verdict::Unknown { reasons, total } => {
            push(text, format_args!("\nWhy {} is undecided:\n", report.level));
            reasons
                .iter()
                .for_each(|reason| push(text, format_args!("- {reason}\n")));
            (reasons.len(), *total)
        }
    };
    if total > shown {
        push(text, format_args!("- and {} more.\n", total - shown));
    }
}

/// Which classes of schedules hold, in a sentence for each answer, and what violates the weakest that does not hold.
fn recovery_line(recovery: &Recovery) -> String {
    let classes = [
        ("recoverable", &recovery.recoverable),
        ("cascadeless", &recovery.cascadeless),
        ("strict", &recovery.strict),
        ("rigorous", &recovery.rigorous),
    ];
    let of = |wanted: fn(&recovery::Answer) -> bool| -> Option<String> {
        let all = classes.iter().filter(|(_, answer)| wanted(answer));
        let names: Vec<&str> = all.map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(
        of(|answer| matches!(answer, recovery::Answer::Holds))
            .map(|names| format!("Schedules are {names}.")),
    );
    if let Some(names) = of(|answer| matches!(answer, recovery::Answer::Violated { .. })) {
        let why = classes.iter().find_map(|(_, answer)| match answer {
            recovery::Answer::Violated { by } => Some(summary(by)),
            recovery::Answer::Holds | recovery::Answer::Unknown { .. } => None,
        });
        parts.push(format!("Not {names}: {}.", why.unwrap_or_default()));
    }
    if let Some(names) = of(|answer| matches!(answer, recovery::Answer::Unknown { .. })) {
        let why = classes.iter().find_map(|(_, answer)| match answer {
            recovery::Answer::Unknown { because } => because.first(),
            recovery::Answer::Holds | recovery::Answer::Violated { .. } => None,
        });
        let why = match why {
            Some(Gap::Doubt { of }) => of.to_string(),
            Some(Gap::Anomaly { .. }) => "the histories are invalid.".to_owned(),
            Some(Gap::TimesOfOperations | _) | None => {
                "the files do not tell when reads and writes took place.".to_owned()
            }
        };
        parts.push(format!("Not known whether {names}: {why}"));
    }
    parts.join(" ")
}

/// By which names it is known, and what that excludes.
fn named_lines(named: &Named, text: &mut String) {
    let names: Vec<&str> = named.found.iter().map(|it| it.name.name()).collect();
    if names.is_empty() {
        return;
    }
    let (not, left) = (named.ruled_out.not.names(), named.strongest_left.names());
    push(text, format_args!("\nKnown as {}.\n", names.join(", ")));
    push(
        text,
        format_args!("The weakest models that it rules out: {}\n", not.join(", ")),
    );
    push(
        text,
        format_args!("The strongest that are left: {}\n", left.join(", ")),
    );
}

fn anomaly_lines(anomaly: &Anomaly, text: &mut String) {
    push(text, format_args!("- {anomaly}\n"));
    if let Anomaly::Cycle(cycle) = anomaly {
        for (place, step) in cycle.steps.iter().enumerate() {
            push(text, format_args!("  {}. {step}\n", place + 1));
        }
        let (entangled, groups) = (cycle.entangled, cycle.groups);
        if entangled > cycle.steps.len() {
            let group = if groups == 1 { "group" } else { "groups" };
            push(
                text,
                format_args!(
                    "  In all, {entangled} transactions in {groups} {group} lie on cycles.\n"
                ),
            );
        }
    }
    if let Anomaly::OutOfOrder { conflicts: 2.., .. } = anomaly {
        push(
            text,
            format_args!("  Other conflicts are out of order, too.\n"),
        );
    }
}
