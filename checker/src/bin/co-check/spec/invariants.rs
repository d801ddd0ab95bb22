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
    "pairs of states",
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
         is monotone (Complete CALM, section 7.2), on histories of two replicas. A model that contradicts the claim is a finding.\n",
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

/// What the walk over histories found: whether the specification is monotone, and how many histories there were.
fn by_histories<A: Application>(
    application: &A,
    about: &About,
    options: &Options<'_>,
) -> (Option<bool>, u64) {
    let each = usize::from(about.bounds.transactions_each());
    // TPC-C has many transactions: four of them, or three with an exchange. Findings take one event pair more.
    let usual = (about.source == Source::Table3).then_some(if about.is_finding { 10 } else { 8 });
    let options = Options {
        events: options.events.or(usual),
        ..*options
    };
    let mut histories = 0;
    let mut holds = Some(true);
    for initial in 0..application.initial_states().len() {
        let spec = Enforced::new(application, initial, REPLICAS, each);
        let decision = monotone(&spec, &options);
        histories += decision.examined.histories;
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
    (holds, histories)
}

const REPLICAS: usize = 2;

impl Visitor for Rows<'_> {
    fn visit<A: Application>(&mut self, about: &About, application: &A) {
        let label = format!("{}, {}", about.invariant, about.operation);
        let (verdict, (monotone, histories)) = watch::watched(&label, |progress| {
            let options = self.arguments.walk.options(progress);
            let bounds: Bounds = about.bounds;
            (
                decide(application, &bounds),
                by_histories(application, about, &options),
            )
        });
        let confluent = verdict.is_confluent();
        let agree = confluent.is_some() && confluent == monotone;
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
            cell(monotone, agree),
            pairs.to_string().into(),
            histories.to_string().into(),
            line(&verdict).into(),
        ]);
        self.json.push(json!({
            "row": about,
            "confluent": confluent,
            "monotone": monotone,
            "agree": agree,
            "histories": histories,
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
