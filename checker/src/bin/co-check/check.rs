//! `co-check FILE`: whatever the file is.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checker::assess::{self, Assessment, Prefix, Verdict, assess, longest_valid_prefix};
use checker::formats::{self, Format, Kind, Limits, ReadOptions};
use checker::models::{Model, ModelSet};
use checker::observed::{Edge, Observed, Outcome};
use checker::search::{self, Budget, Refutation};
use checker::svg::Drawing;
use checker::{anomaly, weak};
use serde_json::json;

use crate::history::{self, HistoryArguments};
use crate::output::{
    Failure, Paint, STATUS_INVALID, STATUS_UNKNOWN, STATUS_VALID, push, worse, write_to,
};

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Histories: files of any known format, folders of logs, `-` for standard input. Those of our own sites are judged
    /// together, all others one after another.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The model that should hold; may be repeated (`co-check levels` lists them). Otherwise the strongest that the
    /// history tells enough for: with real time strict serializability, with sessions strong session serializability.
    #[arg(long, value_name = "MODEL")]
    level: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: ReadingArguments,
    /// Assume that versions of a register come in the order in which each session sees them.
    #[arg(long)]
    sequential_keys: bool,
    /// Assume that versions of a register come in the order of real time.
    #[arg(long)]
    linearizable_keys: bool,
    /// Assume that versions of registers come in the order in which their transactions ended: if times are the
    /// database's own commit timestamps, as in TimeKiller's histories.
    #[arg(long)]
    commit_order: bool,
    /// Judge as Elle does: values of registers that nobody wrote may have been there before the history began, writes
    /// need not follow reads, and version orders that are not known are not searched for.
    #[arg(long)]
    as_elle: bool,
    /// Seconds for each search over version orders; when they are over the answer is Unknown.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    budget: u64,
    /// If it is invalid, find out how many transactions from its beginning are not.
    #[arg(long)]
    prefix: bool,
    /// Write what was found as one JSON object.
    #[arg(long)]
    json: bool,
    /// Draw the gravest cycle; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same in the DOT language of Graphviz.
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// If it is valid, write the order that shows it, which `co-check verify` re-checks.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Build the graph of the conflicts of our own sites in any case; otherwise their histories are replayed in the
    /// order of decisions first, and the graph is built only if that does not show them valid.
    #[arg(long)]
    graph: bool,
    /// Print nothing but what --json, --svg and --dot ask for; the exit status tells the verdict.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReadingArguments {
    /// The format of the files; found out otherwise (`co-check convert --help` lists them).
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What the keys of one of Elle's histories hold; found out otherwise.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<KindChoice>,
    /// How many GiB of a history, decompressed, are read.
    #[arg(long, default_value_t = 16, value_name = "GIB")]
    max_gib: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KindChoice {
    /// Lists, to which transactions append.
    Lists,
    /// Registers.
    Registers,
}

impl ReadingArguments {
    fn options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            kind: self.kind.map(|kind| match kind {
                KindChoice::Lists => Kind::ListAppend,
                KindChoice::Registers => Kind::RwRegister,
            }),
            limits: Limits {
                bytes: self.max_gib << 30,
                ..Limits::default()
            },
        }
    }

    /// Reads a history, with a bar on a terminal.
    pub(crate) fn read(&self, path: &Path) -> Result<Observed, Failure> {
        let options = self.options();
        if path == Path::new("-") {
            let stdin = io::stdin().lock();
            return Ok(formats::read(stdin, "standard input", &options)?);
        }
        if path.is_dir() {
            return Ok(formats::read_path(path, &options)?);
        }
        let open = |source| Failure::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(open)?;
        let size = file.metadata().map_err(open)?.len();
        let name = path.display().to_string();
        let reader = BufReader::with_capacity(1 << 18, Bar::new(file, size));
        Ok(formats::read(reader, &name, &options)?)
    }

    /// Whether the file is the history of one of our own sites.
    pub(crate) fn is_sited(&self, path: &Path) -> bool {
        if let Some(format) = self.format {
            return format == Format::SitedHistory;
        }
        let found = File::open(path)
            .ok()
            .and_then(|file| formats::detect_in(BufReader::new(file)));
        found == Some(Format::SitedHistory)
    }
}

/// Shows on a terminal how much of a file was read.
struct Bar {
    file: File,
    size: u64,
    read: u64,
    shown: Instant,
    shows: bool,
}

impl Bar {
    fn new(file: File, size: u64) -> Self {
        Self {
            file,
            size,
            read: 0,
            shown: Instant::now(),
            shows: io::stderr().is_terminal() && size > 0,
        }
    }
}

impl Read for Bar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        if self.shows && (count == 0 || self.shown.elapsed() > Duration::from_millis(200)) {
            self.shown = Instant::now();
            let tenths = self.read.min(self.size) * 30 / self.size;
            let bar: String = (0..30)
                .map(|it| if it < tenths { '=' } else { ' ' })
                .collect();
            say(&if count == 0 {
                String::new()
            } else {
                format!("reading [{bar}]")
            });
        }
        Ok(count)
    }
}

/// Says on a terminal what is going on, in the place of what was said before.
fn say(what: &str) {
    if io::stderr().is_terminal() {
        // Nobody needs it, should standard error be closed.
        write!(io::stderr(), "\r\x1b[K{what}").ok();
    }
}

/// Judges the files, and says the exit status.
pub(crate) fn run(arguments: &CheckArguments) -> Result<u8, Failure> {
    if arguments
        .files
        .iter()
        .all(|file| arguments.reading.is_sited(file))
    {
        return sited(arguments);
    }
    let mut status = STATUS_VALID;
    for path in &arguments.files {
        status = worse(status, one(arguments, path)?);
    }
    Ok(status)
}

fn sited(arguments: &CheckArguments) -> Result<u8, Failure> {
    let mut sited = HistoryArguments::of(
        arguments.files.clone(),
        &arguments.level,
        arguments.json,
        arguments.dot.clone(),
        arguments.svg.clone(),
        arguments.quiet,
    )?;
    sited.certificate.clone_from(&arguments.certificate);
    sited.graph = arguments.graph;
    history::run(&sited)
}

fn models(names: &[String]) -> Result<ModelSet, Failure> {
    let parse = |name: &String| {
        Model::parse(name).ok_or_else(|| {
            Failure::Usage(format!(
                "no model is called `{name}`; `co-check levels` lists them all"
            ))
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

fn one(arguments: &CheckArguments, path: &Path) -> Result<u8, Failure> {
    let start = Instant::now();
    let (levels, models) = split(&arguments.level)?;
    let history = arguments.reading.read(path)?;
    let loaded = start.elapsed();
    let mut options = assess::Options {
        models,
        levels,
        anomaly: if arguments.as_elle {
            anomaly::Options::as_elle([])
        } else {
            anomaly::Options::new([])
        },
        search: Budget {
            time: Duration::from_secs(arguments.budget),
            ..Budget::default()
        },
    };
    options.anomaly.order = arguments.certificate.is_some();
    options.anomaly.keys.sequential = arguments.sequential_keys;
    options.anomaly.keys.linearizable = arguments.linearizable_keys;
    if arguments.commit_order {
        options.anomaly.transaction_order = Some(ends(&history)?);
    }
    let assessment = assess(&history, &options, &mut |stage| say(stage));
    let mut answer = Answer {
        history: &history,
        assessment: &assessment,
        levels: &options.levels,
        only_levels: !options.levels.is_empty() && options.models.is_empty(),
        prefix: None,
        times: [loaded, start.elapsed() - loaded],
    };
    if arguments.prefix && answer.status() == STATUS_INVALID {
        say("looking for the longest valid beginning");
        answer.prefix = Some(longest_valid_prefix(&history, &options));
    }
    say("");
    answer.draw(arguments)?;
    if let Some(path) = &arguments.certificate {
        answer.certify(path)?;
    }
    let text = if arguments.json {
        format!("{:#}\n", answer.to_json())
    } else if arguments.quiet {
        String::new()
    } else {
        answer.text(Paint::for_stdout())
    };
    write_to(Path::new("-"), &text)?;
    Ok(answer.status())
}

/// The order in which transactions ended.
fn ends(history: &Observed) -> Result<Vec<u64>, Failure> {
    let none = "--commit-order needs a known end of every transaction that wrote, and no two alike";
    anomaly::commit_order(history).ok_or_else(|| Failure::Usage(none.to_owned()))
}

struct Answer<'a> {
    history: &'a Observed,
    assessment: &'a Assessment,
    /// Levels with sessions that are asked for.
    levels: &'a [weak::Level],
    /// Nothing else is.
    only_levels: bool,
    prefix: Option<Prefix>,
    times: [Duration; 2],
}

impl Answer<'_> {
    fn level(&self, level: weak::Level) -> Option<&weak::Verdict> {
        let mut all = self.assessment.weak.iter();
        all.find(|(other, _)| *other == level)
            .map(|(_, verdict)| verdict)
    }

    fn verdict(&self) -> Verdict {
        let of_level = |level: &weak::Level| match self.level(*level) {
            Some(weak::Verdict::Valid(_)) => Verdict::Valid,
            Some(weak::Verdict::Invalid(_)) => Verdict::Invalid,
            Some(weak::Verdict::Unknown(_)) | None => Verdict::Unknown,
        };
        let models = (!self.only_levels).then(|| self.assessment.verdict());
        let all: Vec<Verdict> = self.levels.iter().map(of_level).chain(models).collect();
        if all.contains(&Verdict::Invalid) {
            Verdict::Invalid
        } else if all.contains(&Verdict::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Valid
        }
    }

    fn status(&self) -> u8 {
        match self.verdict() {
            Verdict::Valid => STATUS_VALID,
            Verdict::Invalid => STATUS_INVALID,
            Verdict::Unknown => STATUS_UNKNOWN,
        }
    }

    fn asked(&self) -> String {
        let levels = self.levels.iter().map(|level| assess::level_name(*level));
        let models = self.assessment.asked.iter().map(Model::name);
        let models = models.filter(|_| !self.only_levels);
        levels.chain(models).collect::<Vec<_>>().join(", ")
    }

    fn counts(&self) -> String {
        let txns = self.history.txns();
        let of = |outcome| txns.iter().filter(|txn| txn.outcome == outcome).count();
        format!(
            "{}: {} transactions ({} committed, {} aborted, {} unknown), {} operations, {} keys, {} sessions; \
             read in {:.3} s, judged in {:.3} s",
            self.history.source(),
            txns.len(),
            of(Outcome::Committed),
            of(Outcome::Aborted),
            of(Outcome::Unknown),
            self.history.op_count(),
            self.history.key_count(),
            self.history.session_count(),
            self.times[0].as_secs_f64(),
            self.times[1].as_secs_f64()
        )
    }

    fn to_json(&self) -> serde_json::Value {
        let txns = self.history.txns();
        json!({
            "format": 1,
            "source": self.history.source(),
            "verdict": self.verdict().name(),
            "asked": self.asked(),
            "transactions": txns.len(),
            "operations": self.history.op_count(),
            "keys": self.history.key_count(),
            "sessions": self.history.session_count(),
            "seconds": { "read": self.times[0].as_secs_f64(), "judge": self.times[1].as_secs_f64() },
            "longest_valid_prefix": self.prefix.map(|prefix| prefix.valid),
            "shortest_invalid_prefix": self.prefix.map(|prefix| prefix.invalid),
            "assessment": self.assessment.to_json(self.history),
        })
    }

    fn text(&self, paint: Paint) -> String {
        let verdict = match self.verdict() {
            Verdict::Valid => paint.valid(),
            Verdict::Invalid => paint.invalid(),
            Verdict::Unknown => paint.unknown(),
        };
        let mut text = String::new();
        push(
            &mut text,
            format_args!("{verdict} {}\n{}\n", self.asked(), self.counts()),
        );
        let names = |set: ModelSet| set.names().join(", ");
        let (strongest, failing) = (
            self.assessment.strongest(),
            self.assessment.weakest_failing(),
        );
        if !strongest.is_empty() {
            push(
                &mut text,
                format_args!("\nThe strongest that holds: {}\n", names(strongest)),
            );
        }
        if !failing.is_empty() {
            push(
                &mut text,
                format_args!("The weakest that does not: {}\n", names(failing)),
            );
        }
        self.session_lines(&mut text);
        if let Some(Prefix { valid, invalid }) = self.prefix {
            let all = self.history.txns().len();
            push(
                &mut text,
                format_args!("The first {valid} of {all} transactions are valid.\n"),
            );
            if valid + 1 < invalid {
                push(
                    &mut text,
                    format_args!("The first {invalid} are not; what is between is not known.\n"),
                );
            }
        }
        self.grounds(&mut text);
        let reasons = self.assessment.reasons();
        if !reasons.is_empty() && self.verdict() != Verdict::Valid {
            push(&mut text, format_args!("\nWhat is not known, and why:\n"));
            for reason in reasons {
                push(&mut text, format_args!("- {reason}\n"));
            }
        }
        text
    }

    fn session_lines(&self, text: &mut String) {
        let of = |wanted: &str| -> Vec<&'static str> {
            let all = self.assessment.weak.iter();
            all.filter(|(_, verdict)| assess::weak_word(verdict) == wanted)
                .map(|(level, _)| assess::level_name(*level))
                .collect()
        };
        for (word, label) in [
            ("valid", "Levels of sessions that hold"),
            ("invalid", "And do not"),
        ] {
            let levels = of(word);
            if !levels.is_empty() {
                push(text, format_args!("{label}: {}\n", levels.join(", ")));
            }
        }
    }

    fn grounds(&self, text: &mut String) {
        let all = &self.assessment.judgement.anomalies;
        for same in all.chunk_by(|one, other| one.name == other.name) {
            anomaly_lines(same, text);
        }
        for (model, refutation) in self.refuted() {
            let cycle = match refutation {
                Refutation::Cycles { cycles, .. } if cycles.len() == 1 => {
                    let known_as = assess::common_name(&cycles[0]);
                    let known_as = known_as.map_or_else(String::new, |name| format!(" ({name})"));
                    format!(": {}{known_as}", anomaly::witness::name(&cycles[0]).name())
                }
                Refutation::Cycles { .. } | Refutation::Reads(_) | Refutation::Exhausted { .. } => {
                    String::new()
                }
            };
            push(
                text,
                format_args!("\nWhy {} does not hold{cycle}\n", model.name()),
            );
            for sentence in assess::refutation_sentences(self.history, refutation) {
                push(text, format_args!("  {sentence}\n"));
            }
        }
        for (level, verdict) in &self.assessment.weak {
            if matches!(verdict, weak::Verdict::Invalid(_))
                && (self.levels.contains(level) || self.only_levels)
            {
                push(
                    text,
                    format_args!("\nWhy {} does not hold\n", assess::level_name(*level)),
                );
                for sentence in assess::weak_sentences(self.history, verdict) {
                    push(text, format_args!("  {sentence}\n"));
                }
            }
        }
    }

    /// What searches have refuted, without what a weaker model's refutation says already.
    fn refuted(&self) -> impl Iterator<Item = (Model, &Refutation)> {
        let all = || {
            let searched = self.assessment.searched.iter();
            searched.filter_map(|(model, verdict)| match verdict {
                search::Verdict::Invalid(refutation) => Some((*model, refutation)),
                search::Verdict::Valid(_) | search::Verdict::Unknown(_) => None,
            })
        };
        let is_weakest = move |model: Model| !all().any(|(other, _)| model.is_stronger(other));
        all().filter(move |(model, _)| is_weakest(*model))
    }

    /// The gravest cycle, with a title, and sentences if it has some.
    fn cycle(&self) -> Option<(String, Vec<Edge>, Vec<String>)> {
        let mut all = self.assessment.judgement.anomalies.iter();
        if let Some(found) = all.find(|found| !found.cycle.is_empty()) {
            let name = found.name.name().to_owned();
            return Some((name, found.cycle.clone(), found.sentences.clone()));
        }
        self.refuted()
            .find_map(|(model, refutation)| match refutation {
                Refutation::Cycles { cycles, .. } => {
                    let cycle = cycles.first()?.clone();
                    Some((format!("Not {}", model.name()), cycle, Vec::new()))
                }
                Refutation::Reads(_) | Refutation::Exhausted { .. } => None,
            })
    }

    fn draw(&self, arguments: &CheckArguments) -> Result<(), Failure> {
        if arguments.svg.is_none() && arguments.dot.is_none() {
            return Ok(());
        }
        let Some((name, cycle, sentences)) = self.cycle() else {
            // The verdict stands without the drawing, should standard error be closed.
            writeln!(
                io::stderr(),
                "co-check: nothing was drawn: there is no cycle"
            )
            .ok();
            return Ok(());
        };
        let source = Path::new(self.history.source());
        let source = source.file_name().unwrap_or(source.as_os_str());
        let title = format!("{name} in {}", source.to_string_lossy());
        let drawing = Drawing::of_cycle(self.history, &title, &cycle, &sentences);
        if let Some(path) = &arguments.svg {
            write_to(path, &drawing.to_svg())?;
        }
        if let Some(path) = &arguments.dot {
            write_to(path, &drawing.to_dot())?;
        }
        Ok(())
    }

    fn certify(&self, path: &Path) -> Result<(), Failure> {
        let Some((model, certificate)) = self.assessment.certificate() else {
            let why =
                "no order was written: none was found, or what was asked is shown without one";
            // As above.
            writeln!(io::stderr(), "co-check: {why}").ok();
            return Ok(());
        };
        let json = json!({
            "co-check": "certificate",
            "version": 1,
            "model": model.name(),
            "transactions": self.history.txns().len(),
            "order": assess::certificate_json(&certificate),
        });
        write_to(path, &format!("{json}\n"))
    }
}

/// How many cases of an anomaly are told; `--json` has more.
const TOLD: usize = 2;

/// The cases of one anomaly.
fn anomaly_lines(same: &[anomaly::Found], text: &mut String) {
    let Some(first) = same.first() else {
        return;
    };
    let times = if first.count > 1 {
        format!(", {} times", first.count)
    } else {
        String::new()
    };
    let known_as = assess::common_name(&first.cycle).filter(|name| *name != "lost update");
    let known_as = known_as.map_or_else(String::new, |name| format!(" ({name})"));
    push(
        text,
        format_args!("\n{}{known_as}{times}", first.name.name()),
    );
    let weakest = checker::models::rules_out([first.name]).not;
    if !weakest.is_empty() {
        push(
            text,
            format_args!(
                ": rules out {} and all that is stronger",
                weakest.names().join(", ")
            ),
        );
    }
    text.push('\n');
    for (place, found) in same.iter().take(TOLD).enumerate() {
        if place > 0 && !found.cycle.is_empty() {
            text.push('\n');
        }
        for sentence in &found.sentences {
            push(text, format_args!("  {sentence}\n"));
        }
    }
}
