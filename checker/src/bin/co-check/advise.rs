//! `co-check advise`: which transaction types of an application have to coordinate.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use checker::spec::advise::{Advice, Answer, Options, advise};

use crate::output::{Failure, JSON_FORMAT, Paint, STATUS_VALID, show, write_to};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AdviseArguments {
    /// The application: tables, invariants, transactions (TOML); `-` is
    /// standard input
    #[arg(verbatim_doc_comment)]
    file: PathBuf,
    /// Print the advice as JSON, with every witness
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print a table in Markdown
    #[arg(long)]
    markdown: bool,
    /// Search up to N transactions at each of two replicas, 1 to 6
    #[arg(long, value_name = "N", default_value_t = 2)]
    bound: u8,
}

const EXAMPLES: &str = "\
Examples:
  co-check advise app.toml             for each transaction type: no coordination,
                                       an ordering point at one site, or the order
                                       of commitment across sites; and why
  co-check advise app.toml --markdown  a table for a design document
  co-check advise app.toml --json      for programs
  co-check advise app.toml --bound 3   longer searches

The answers:
  NO COORDINATION: it commits at its replica without asking another site; if
    types are ordered across sites, its own site's scheduler puts it before or
    after each of them
  SINGLE-SITE ORDERING POINT: one site puts its executions into an order and
    does them one after the other; other sites take no part in that
  COMMITMENT ORDERING ACROSS SITES: one global transaction at every site that
    holds copies of what it touches; all that ran there before is in what it
    sees, and all that runs there later sees it

examples/advise has applications to begin with; docs/advice.md has the language.
Exit status: 0 advice was given, 2 bad input.";

/// Advises, and prints it.
pub(crate) fn run(arguments: &AdviseArguments) -> Result<u8, Failure> {
    let options = Options::default().with_bound(arguments.bound);
    let options = options.map_err(|error| Failure::Usage(format!("--bound: {error}")))?;
    let text = read(&arguments.file)?;
    let advice = advise(&text, &options).map_err(|error| {
        let path = arguments.file.display();
        Failure::Usage(format!(
            "{path}, {error}\nNothing was advised. docs/advice.md has the language, examples/advise has applications."
        ))
    })?;
    if arguments.json {
        let mut json = serde_json::to_value(&advice).expect("advice is plain data");
        json["format"] = JSON_FORMAT.into();
        write_to(Path::new("-"), &format!("{json:#}\n"))?;
    } else if arguments.markdown {
        write_to(Path::new("-"), &advice.markdown())?;
    } else {
        show(&painted(&advice, Paint::for_stdout()))?;
    }
    Ok(STATUS_VALID)
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|source| {
        if source.kind() == std::io::ErrorKind::InvalidData {
            let path = path.display();
            return Failure::Usage(format!(
                "{path} is not text in UTF-8, and an application is TOML"
            ));
        }
        Failure::Open {
            path: path.into(),
            source,
        }
    })
}

/// The advice with each answer in its colour.
fn painted(advice: &Advice, paint: Paint) -> String {
    let mut text = advice.to_string();
    for its in &advice.types {
        let plain = its.answer.heading();
        let coloured = match its.answer {
            Answer::NoCoordination => paint.good(plain),
            Answer::SingleSite { .. } => paint.doubtful(plain),
            Answer::AcrossSites => paint.bad(plain),
        };
        let (from, to) = (
            format!("\n{}: {plain}", its.name),
            format!("\n{}: {coloured}", its.name),
        );
        text = text.replacen(&from, &to, 1);
    }
    text
}
