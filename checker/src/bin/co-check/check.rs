//! `co-check FILE`: whatever the file is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checker::assess::{self, assess, longest_valid_prefix};
use checker::models::{Model, ModelSet};
use checker::observed::Observed;
use checker::search::Budget;
use checker::{anomaly, weak};
use serde_json::Value as Json;

use crate::answer::Answer;
use crate::history::{self, LevelChoice, Sited};
use crate::input::{Input, ReadingArguments, say};
use crate::output::{
    Failure, Paint, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, failure_json, note, show, worse,
    write_to,
};

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Histories: files of any known format, folders of logs, `-` for stdin
    ///
    /// The histories of sites (`co-history`) are judged together, as one
    /// case; all others one after another.
    #[arg(value_name = "FILE", verbatim_doc_comment)]
    pub(crate) files: Vec<PathBuf>,
    /// The model that should hold; may be repeated
    ///
    /// `co-check levels` lists them. Otherwise the strongest that the history
    /// tells enough for: with real time strict serializability, with sessions
    /// strong session serializability. Histories of sites are judged for
    /// serializability and commitment ordering.
    #[arg(long, value_name = "MODEL", verbatim_doc_comment)]
    level: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: ReadingArguments,
    /// Assume versions of a register in the order in which sessions see them
    #[arg(long)]
    sequential_keys: bool,
    /// Assume versions of a register in the order of real time
    #[arg(long)]
    linearizable_keys: bool,
    /// Assume versions of registers in the order in which transactions ended
    ///
    /// If times are the database's own commit timestamps, as in TimeKiller's
    /// histories.
    #[arg(long, verbatim_doc_comment)]
    commit_order: bool,
    /// Judge as Elle does
    ///
    /// Values of registers that nobody wrote may have been there before the
    /// history began, writes need not follow reads, and version orders that
    /// are not known are not searched for.
    #[arg(long, verbatim_doc_comment)]
    as_elle: bool,
    /// Seconds for each search over version orders
    ///
    /// When they are over the answer is Unknown.
    #[arg(
        long,
        default_value_t = 300,
        value_name = "SECONDS",
        verbatim_doc_comment
    )]
    budget: u64,
    /// If it is invalid, tell how much of its beginning is not
    #[arg(long)]
    prefix: bool,
    /// Write what was found as JSON
    ///
    /// One object for each judgement; of several, each is one line. Bad input
    /// gives an object whose "verdict" is "error", neither valid, invalid nor
    /// unknown. `co-check explain json` describes all of it.
    #[arg(long, verbatim_doc_comment)]
    pub(crate) json: bool,
    /// Draw the gravest cycle; `-` for standard output
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same in the DOT language of Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// If it is valid, write the order that shows it
    ///
    /// `co-check verify` re-checks it.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    certificate: Option<PathBuf>,
    /// Of sites, build the graph of all conflicts in any case
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
}

/// Judges the files, and says the exit status.
pub(crate) fn run(arguments: &CheckArguments) -> Result<u8, Failure> {
    let inputs = arguments.reading.open_all(&arguments.files)?;
    let (sites, others): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(Input::is_sited);
    let several = others.len() + usize::from(!sites.is_empty()) > 1;
    if several {
        arguments.refuse_single_files()?;
    }
    let question = if others.is_empty() {
        None
    } else {
        Some(arguments.question()?)
    };
    let mut judgements: Vec<Judging<'_>> = Vec::new();
    if !sites.is_empty() {
        let levels = arguments.levels_of_sites()?;
        judgements.push(Box::new(move || sited(arguments, sites, levels)));
    }
    for input in others {
        let options = question.clone().unwrap_or_default();
        judgements.push(Box::new(move || one(arguments, input, options)));
    }
    let mut status = STATUS_VALID;
    for judging in judgements {
        let outcome = match judging() {
            Err(failure) if several => {
                // The other files are judged all the same.
                note(&failure.to_string());
                Outcome {
                    status: STATUS_UNKNOWN,
                    text: String::new(),
                    json: failure_json(&failure),
                }
            }
            other => other?,
        };
        status = worse(status, outcome.status);
        arguments.tell(&outcome, several)?;
    }
    Ok(status)
}

/// Something that is judged by itself.
type Judging<'a> = Box<dyn FnOnce() -> Result<Outcome, Failure> + 'a>;

/// What is said of one judgement.
struct Outcome {
    status: u8,
    text: String,
    json: Json,
}

impl CheckArguments {
    fn tell(&self, outcome: &Outcome, several: bool) -> Result<(), Failure> {
        if !self.json {
            return if self.quiet {
                Ok(())
            } else {
                show(&outcome.text)
            };
        }
        let json = &outcome.json;
        let text = if several {
            format!("{json}\n")
        } else {
            format!("{json:#}\n")
        };
        write_to(Path::new("-"), &text)
    }

    /// One file cannot hold what is written for several judgements.
    fn refuse_single_files(&self) -> Result<(), Failure> {
        for (option, path) in [
            ("--svg", &self.svg),
            ("--dot", &self.dot),
            ("--certificate", &self.certificate),
        ] {
            if path.is_some() {
                return Err(Failure::Usage(format!(
                    "{option} names one file, and these are several judgements: give the histories one by one"
                )));
            }
        }
        Ok(())
    }

    /// What is asked of the histories of sites; what has no meaning for them is refused.
    fn levels_of_sites(&self) -> Result<Vec<LevelChoice>, Failure> {
        for (option, given) in [
            ("--commit-order", self.commit_order),
            ("--prefix", self.prefix),
            ("--as-elle", self.as_elle),
            ("--sequential-keys", self.sequential_keys),
            ("--linearizable-keys", self.linearizable_keys),
        ] {
            if given {
                return Err(Failure::Usage(format!(
                    "{option} is for histories of clients; those of sites have the versions themselves"
                )));
            }
        }
        history::levels_named(&self.level)
    }

    /// What is asked of the histories of clients.
    fn question(&self) -> Result<assess::Options, Failure> {
        let (levels, models) = split(&self.level)?;
        let mut options = assess::Options {
            models,
            levels,
            anomaly: if self.as_elle {
                anomaly::Options::as_elle([])
            } else {
                anomaly::Options::new([])
            },
            search: Budget {
                time: Duration::from_secs(self.budget),
                ..Budget::default()
            },
        };
        options.anomaly.order = self.certificate.is_some();
        options.anomaly.keys.sequential = self.sequential_keys;
        options.anomaly.keys.linearizable = self.linearizable_keys;
        Ok(options)
    }
}

fn sited(
    arguments: &CheckArguments,
    inputs: Vec<Input>,
    levels: Vec<LevelChoice>,
) -> Result<Outcome, Failure> {
    let judged = Sited {
        levels,
        per_site: false,
        graph: arguments.graph,
        dot: arguments.dot.as_ref(),
        svg: arguments.svg.as_ref(),
        certificate: arguments.certificate.as_ref(),
    };
    let (status, text, json) = judged.judge(&arguments.reading.bounds, inputs, arguments.json)?;
    Ok(Outcome { status, text, json })
}

fn models(names: &[String]) -> Result<ModelSet, Failure> {
    let parse = |name: &String| {
        Model::parse(name).ok_or_else(|| {
            Failure::Usage(if history::level_named(name).is_some() {
                format!(
                    "`{name}` is judged of the histories of sites (`co-history`), which record the order of decisions; \
                     other histories do not tell it"
                )
            } else {
                format!("no model is called `{name}`; `co-check levels` lists them all")
            })
        })
    };
    names.iter().map(parse).collect()
}

/// The levels with sessions among the names, and the models.
fn split(names: &[String]) -> Result<(Vec<weak::Level>, ModelSet), Failure> {
    let level = |name: &String| {
        weak::Level::ALL
            .into_iter()
            .find(|level| assess::level_name(*level) == name)
    };
    let levels = names.iter().filter_map(level).collect();
    let others: Vec<String> = names
        .iter()
        .filter(|name| level(name).is_none())
        .cloned()
        .collect();
    Ok((levels, models(&others)?))
}

fn one(
    arguments: &CheckArguments,
    input: Input,
    options: assess::Options,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let place_word = input.place_word();
    let history = arguments.reading.read_input(input)?;
    let loaded = start.elapsed();
    let mut options = options;
    if arguments.commit_order {
        options.anomaly.transaction_order = Some(ends(&history)?);
    }
    let assessment = assess(&history, &options, &mut |stage| say(stage));
    let mut answer = Answer {
        history: &history,
        assessment: &assessment,
        as_elle: arguments.as_elle,
        prefix: None,
        place_word,
        times: [loaded, start.elapsed() - loaded],
    };
    if arguments.prefix && answer.status() == STATUS_INVALID {
        say("looking for the longest valid beginning");
        answer.prefix = Some(longest_valid_prefix(&history, &options));
    }
    say("");
    if arguments.svg.is_some() || arguments.dot.is_some() {
        answer.draw(arguments.svg.as_ref(), arguments.dot.as_ref())?;
    }
    if let Some(path) = &arguments.certificate {
        answer.certify(path)?;
    }
    let (text, json) = if arguments.json {
        (String::new(), answer.to_json())
    } else {
        (answer.text(Paint::for_stdout()), Json::Null)
    };
    Ok(Outcome {
        status: answer.status(),
        text,
        json,
    })
}

/// The order in which transactions ended.
fn ends(history: &Observed) -> Result<Vec<u64>, Failure> {
    let none = "--commit-order needs a known end of every transaction that wrote, and no two alike";
    anomaly::commit_order(history).ok_or_else(|| Failure::Usage(none.to_owned()))
}
