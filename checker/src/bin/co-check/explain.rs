//! `co-check explain NAME`: a model, an anomaly or a level, in a few sentences.

use checker::assess::level_name;
use checker::models::{Anomaly, Model, ModelSet, rules_out};
use checker::{Level, weak};

use crate::history::level_named;
use crate::output::{Failure, STATUS_VALID, push, show};

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArguments {
    /// A name such as G2-item; or `json`, for what --json writes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Explains each name.
pub(crate) fn run(arguments: &ExplainArguments) -> Result<u8, Failure> {
    let mut text = String::new();
    for (place, name) in arguments.names.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        let explained = explained(name).ok_or_else(|| {
            Failure::Usage(format!(
                "nothing is called `{name}`; `co-check levels` lists the models and what rules them out, `co-check formats` \
                 the formats"
            ))
        })?;
        text.push_str(&explained);
    }
    show(&text)?;
    Ok(STATUS_VALID)
}

/// What --json writes; also for people who have the command alone.
const JSON: &str = include_str!("json.md");

fn explained(name: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("json") {
        return Some(JSON.to_owned());
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', ' '], "-");
    let wanted = plain(name);
    let mut levels = weak::Level::ALL.into_iter();
    if let Some(level) = levels.find(|level| plain(level_name(*level)) == wanted) {
        return Some(weak_level(level));
    }
    if let Some(level) = level_named(name) {
        let levels = level.levels(Level::Serializability);
        return levels.first().map(|level| level_of_sites(*level));
    }
    if let Some(model) = Model::parse(name) {
        return Some(of_model(model));
    }
    let mut anomalies = Anomaly::ALL.iter();
    if let Some(found) = anomalies.find(|it| plain(it.name()) == wanted) {
        return Some(anomaly(*found));
    }
    let mut shapes = SHAPES.iter();
    let (name, words, source) = shapes.find(|(name, ..)| *name == wanted)?;
    Some(format!("{name}: {words}\n  source      {source}\n"))
}

/// Shapes of cycles that have a name of their own.
const SHAPES: [(&str, &str, &str); 2] = [
    (
        "fractured-read",
        "a transaction read one write of another and not another one, also known as read skew; its cycle is a G-single.",
        "Bailis et al., RAMP, SIGMOD 2014",
    ),
    (
        "long-fork",
        "two transactions saw two writes in opposite orders; its cycle is a G-nonadjacent or G2 of four.",
        "Sovran et al., SOSP 2011",
    ),
];

fn row(text: &mut String, label: &str, names: &[&str]) {
    if !names.is_empty() {
        push(text, format_args!("  {label:<11} {}\n", names.join(", ")));
    }
}

/// The weakest anomalies that rule a model out.
pub(crate) fn first_ruled_out_by(model: Model) -> Vec<&'static str> {
    // What rules out a weaker model rules out this one, too.
    let all = Anomaly::ALL.iter().copied();
    all.filter(|&it| rules_out([it]).not.contains(model))
        .map(Anomaly::name)
        .collect()
}

fn of_model(model: Model) -> String {
    let mut text = format!("{}: {}\n", model.name(), model.definition());
    row(&mut text, "also called", model.aliases());
    let mut implied = model.implied();
    implied = implied.minus(ModelSet::of(model));
    row(&mut text, "implies", &implied.names());
    let mut excluding = first_ruled_out_by(model);
    if !implied.is_empty() {
        excluding.push("what rules out something that it implies");
    }
    row(&mut text, "excluded by", &excluding);
    row(&mut text, "source", &[&model.source()]);
    text
}

fn anomaly(anomaly: Anomaly) -> String {
    let mut text = format!("{}: {}\n", anomaly.name(), anomaly.definition());
    let out = rules_out([anomaly]);
    row(&mut text, "rules out", &out.not.names());
    row(&mut text, "so also", &out.also_not.names());
    row(&mut text, "source", &[&anomaly.source()]);
    text
}

/// What a level with sessions says, and its source.
pub(crate) const fn weak_words(level: weak::Level) -> (&'static str, &'static str) {
    const BISWAS: &str = "Biswas and Enea, OOPSLA 2019";
    const TERRY: &str = "Terry et al., Session Guarantees, PDIS 1994";
    match level {
        weak::Level::ReadUncommitted => (
            "every value that was read was written by somebody, and not only later.",
            "Adya, Weak Consistency, 1999",
        ),
        weak::Level::Pl2 => (
            "no aborted, no intermediate reads, no circular flow of information, without sessions.",
            "Adya, Weak Consistency, 1999, PL-2",
        ),
        weak::Level::ReadCommitted => (
            "one order of the transactions extends sessions and reads, and reads within a transaction do not go back in it.",
            BISWAS,
        ),
        weak::Level::ReadAtomic => (
            "one order extends sessions and reads, in which who read from a transaction, or follows it in its session, sees all \
             that it wrote.",
            BISWAS,
        ),
        weak::Level::Causal => (
            "one order extends sessions and reads, in which a transaction sees all that happened before it: through sessions and \
             reads, however many.",
            BISWAS,
        ),
        weak::Level::ReadYourWrites => ("a session sees what it wrote.", TERRY),
        weak::Level::MonotonicReads => ("a session goes on seeing what it saw.", TERRY),
        weak::Level::MonotonicWrites => (
            "who sees a write sees those before it in its session.",
            TERRY,
        ),
        weak::Level::WritesFollowReads => (
            "who sees a write sees what its session had seen before it.",
            TERRY,
        ),
    }
}

fn weak_level(level: weak::Level) -> String {
    let (words, source) = weak_words(level);
    format!(
        "{}: {words} A level with sessions, for registers.\n  source      {source}\n",
        level_name(level)
    )
}

/// What a level of sites says, and its source.
pub(crate) const fn words_of_sites(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::CommitmentOrdering => (
            "every two transactions in conflict are decided in the order of their conflict; it implies serializability across \
             sites.",
            "Raz, VLDB 1992",
        ),
        Level::ExtendedCommitmentOrdering => (
            "commitment ordering of the transactions of several sites; those of one site alone are exempt, but for the orders \
             that they carry.",
            "Raz, Extended Commitment Ordering, 1993",
        ),
        Level::SessionCommitmentOrdering => (
            "commitment ordering, and the transactions of each session are decided in its order.",
            "Raz, VLDB 1992; Daudjee and Salem, VLDB 2006",
        ),
        Level::RealtimeCommitmentOrdering => (
            "commitment ordering, and what was over before another began is decided before it.",
            "Raz, VLDB 1992; Papadimitriou, JACM 1979",
        ),
        Level::Serializability
        | Level::StrongSessionSerializability
        | Level::StrictSerializability => (
            "as if the transactions had run one after another.",
            "Adya, Weak Consistency, 1999",
        ),
    }
}

fn level_of_sites(level: Level) -> String {
    let (words, source) = words_of_sites(level);
    let name = name_of_sites(level);
    format!(
        "{name}: {words} For the histories of sites, which record the order of decisions.\n  source      {source}\n"
    )
}

/// What `--level` calls a level of sites.
pub(crate) const fn name_of_sites(level: Level) -> &'static str {
    match level {
        Level::CommitmentOrdering => "commitment-ordering",
        Level::ExtendedCommitmentOrdering => "extended-commitment-ordering",
        Level::SessionCommitmentOrdering => "session-commitment-ordering",
        Level::RealtimeCommitmentOrdering => "real-time-commitment-ordering",
        Level::Serializability
        | Level::StrongSessionSerializability
        | Level::StrictSerializability => "serializable",
    }
}
