//! The section `invariants` of `co-check spec table`: invariant confluence, by two deciders that have nothing in common.

use checker::spec::confluence::{
    About, Application, Bounds, Enforced, Source, Verdict, Visitor, decide, visit_rows,
};
use checker::spec::{Options, monotone};
use serde_json::{Value, json};

use super::table::{Arguments, Cell, Decided};
use super::{said, watch};
use crate::output::{Failure, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, push, worse, wrapped};

const COLUMNS: &[&str] = &[
    "invariant",
    "operation",
    "claim",
    "confluent",
    "monotone",
    "transactions each",
    "pairs of states",
    "events",
    "histories",
    "witness",
];

/// Decides all rows, each over states and over histories, and compares.
pub(super) fn decided(arguments: &Arguments) -> Result<Decided, Failure> {
    let mut rows = Rows {
        arguments,
        cells: Vec::new(),
        json: Vec::new(),
        findings: String::new(),
        status: STATUS_VALID,
    };
    visit_rows(&mut rows);
    let notes = wrapped(
        "\n\"Confluent\": no two valid states that replicas can hold at once have an invalid merge (Bailis et al., \"Coordination \
         Avoidance in Database Systems\", definition 6). \"Monotone\": the specification that every history converges to a valid state \
         is monotone (Complete CALM, section 7.2). Both are of two replicas: pairs of states after up to so many transactions at each, and \
         histories of up to so many events. A no is shown within that bound. A model that contradicts the claim is a finding.\n",
    );
    Ok(Decided {
        heading: "Invariants: which transactions may commit at a replica alone?",
        columns: COLUMNS,
        cells: rows.cells,
        notes: notes + &rows.findings,
        json: Value::Array(rows.json),
        status: rows.status,
    })
}

struct Rows<'a> {
    arguments: &'a Arguments,
    cells: Vec<Vec<Cell>>,
    json: Vec<Value>,
    findings: String,
    status: u8,
}

/// What the walk over histories found.
struct Walked {
    /// Whether the specification is monotone.
    monotone: Option<bool>,
    /// The most events of a history.
    events: usize,
    histories: u64,
}

/// How many events histories have, where no other bound is asked for. A transaction has two, a message sent and received
/// has two. TPC-C has many transactions, and histories of eight events show each no but those of the findings.
fn usual(about: &About) -> usize {
    match (about.source, about.is_finding) {
        (Source::Table3, false) => 8,
        (Source::Table3, true) => 10,
        (Source::Table2, _) => 12,
    }
}

fn by_histories<A: Application>(application: &A, about: &About, options: &Options<'_>) -> Walked {
    let each = usize::from(about.bounds.transactions_each());
    let options = Options {
        events: options.events.or_else(|| Some(usual(about))),
        ..*options
    };
    let mut events = 0;
    let mut histories = 0;
    let mut holds = Some(true);
    for initial in 0..application.initial_states().len() {
        let spec = Enforced::new(application, initial, REPLICAS, each);
        let decision = monotone(&spec, &options);
        histories += decision.examined.histories;
        events = events.max(decision.examined.events);
        let this = match decision.verdict {
            checker::spec::Verdict::Holds => Some(true),
            checker::spec::Verdict::Fails(_) => Some(false),
            checker::spec::Verdict::IllFormed(_) => None,
        };
        holds = match (holds, this) {
            (Some(true), this) => this,
            (Some(false) | None, _) => holds,
        };
    }
    Walked {
        monotone: holds,
        events,
        histories,
    }
}

const REPLICAS: usize = 2;

impl Visitor for Rows<'_> {
    fn visit<A: Application>(&mut self, about: &About, application: &A) {
        let label = format!("{}, {}", about.invariant, about.operation);
        let (verdict, walked) = watch::watched(&label, |progress| {
            let options = self.arguments.walk.options(progress);
            let bounds: Bounds = about.bounds;
            (
                decide(application, &bounds),
                by_histories(application, about, &options),
            )
        });
        let confluent = verdict.is_confluent();
        let agree = confluent.is_some() && confluent == walked.monotone;
        let as_claimed = confluent == Some(about.claim.is_confluent());
        let status = match (agree, as_claimed != about.is_finding) {
            _ if confluent.is_none() => STATUS_UNKNOWN,
            (true, true) => STATUS_VALID,
            (false, _) | (_, false) => STATUS_INVALID,
        };
        self.status = worse(self.status, status);
        if about.is_finding {
            push(
                &mut self.findings,
                format_args!(
                    "{}",
                    wrapped(&format!(
                        "\n{}, {}: a finding: {}.\n",
                        about.invariant, about.operation, about.modelled
                    ))
                ),
            );
        }
        let cell = |words: Option<bool>, is_well: bool| Cell {
            words: said(words, "no verdict").to_owned(),
            is_well: Some(is_well),
        };
        let pairs = verdict.coverage().map_or(0, |coverage| coverage.pairs);
        self.cells.push(vec![
            about.invariant.to_owned().into(),
            about.operation.to_owned().into(),
            said(Some(about.claim.is_confluent()), "-")
                .to_owned()
                .into(),
            cell(confluent, as_claimed),
            cell(walked.monotone, agree),
            about.bounds.transactions_each().to_string().into(),
            pairs.to_string().into(),
            walked.events.to_string().into(),
            walked.histories.to_string().into(),
            line(&verdict).into(),
        ]);
        self.json.push(json!({
            "row": about,
            "confluent": confluent,
            "monotone": walked.monotone,
            "agree": agree,
            "events": walked.events,
            "histories": walked.histories,
            "found": verdict,
        }));
    }
}

/// A witness in one line: who did what, and what came of it.
fn line(verdict: &Verdict) -> String {
    let Some(witness) = verdict.witness() else {
        return String::new();
    };
    let did = |steps: &[checker::spec::confluence::Step]| {
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        steps.join(", ")
    };
    let before = did(&witness.reached_by);
    let before = if before.is_empty() {
        before
    } else {
        format!("{before}; then ")
    };
    format!(
        "{before}{} | {}: {}",
        did(&witness.left.steps),
        did(&witness.right.steps),
        witness.broken
    )
}
