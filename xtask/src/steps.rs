//! The steps of `cargo xtask test`, each one a command that can be run by hand as well.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::limit::Limited;

/// Where a step's work is done.
enum Work {
    /// A cargo command, with extra environment.
    Cargo(
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    ),
    /// A program that [`BUILD_TESTS`] has built, with arguments.
    Built(&'static str, &'static [&'static str]),
    /// A function of this program.
    Here(fn() -> Result<(), String>),
}

struct Step {
    name: &'static str,
    about: &'static str,
    work: Work,
}

/// What the step `tests` builds. What follows it is built from the same packages with the same features, so that nothing has
/// to be built twice: a single package often asks less of its dependencies, and then they are other ones.
const BUILD_TESTS: &[&str] = &[
    "test",
    "--workspace",
    "--all-targets",
    "--no-run",
    "--quiet",
];

/// loom builds with other flags than everything else, so it has a target folder of its own; otherwise
/// each run would throw the other's builds away.
const LOOM_ENV: &[(&str, &str)] = &[
    ("RUSTFLAGS", "--cfg co_loom"),
    ("LOOM_MAX_PREEMPTIONS", "3"),
    ("CARGO_TARGET_DIR", "target/loom"),
];

/// The same for shuttle.
const SHUTTLE_ENV: &[(&str, &str)] = &[
    ("RUSTFLAGS", "--cfg co_shuttle"),
    ("CARGO_TARGET_DIR", "target/shuttle"),
];

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "formatting",
        work: Work::Cargo(&["fmt", "--all", "--check"], &[]),
    },
    Step {
        name: "tidy",
        about: "text and dependency rules",
        work: Work::Here(crate::tidy::run),
    },
    Step {
        name: "clippy",
        about: "lints, warnings denied",
        work: Work::Cargo(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "pure",
        about: "the pure parts build without features",
        work: Work::Cargo(
            &[
                "check",
                "--quiet",
                "--no-default-features",
                "-p",
                "coco",
                "-p",
                "participant",
            ],
            &[],
        ),
    },
    Step {
        name: "tests",
        about: "unit, property, scenario, stress and process tests; benches in test mode",
        work: Work::Cargo(
            &["test", "--workspace", "--all-targets", "--no-fail-fast"],
            // The same cases each time; who leaves it out searches further.
            &[("PROPTEST_RNG_SEED", "1")],
        ),
    },
    Step {
        name: "power-loss",
        about: "a million power losses over the log, and every seeded bug of it found",
        work: Work::Cargo(
            &[
                "test",
                "--workspace",
                "--lib",
                "power_loss",
                "--",
                "--nocapture",
            ],
            &[("COCO_POWER_LOSSES", "1000000")],
        ),
    },
    Step {
        name: "fuzz",
        about: "the fuzz targets on stored inputs and many made from them (libFuzzer: `cargo xtask fuzz`)",
        work: Work::Cargo(
            &[
                "test",
                "--workspace",
                "--test",
                "inputs",
                "--",
                "--nocapture",
            ],
            &[("FUZZ_INPUTS", "500000")],
        ),
    },
    Step {
        name: "doctests",
        about: "the examples in the documentation",
        work: Work::Cargo(&["test", "--workspace", "--doc"], &[]),
    },
    Step {
        name: "docs",
        about: "documentation, warnings denied",
        work: Work::Cargo(
            &["doc", "--workspace", "--no-deps", "--quiet"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    },
    Step {
        name: "simulate",
        about: "80 000 seeds of whole systems under faults, a million faults",
        work: Work::Built("simulate", &["--seeds", "0..80000"]),
    },
    Step {
        name: "schedules",
        about: "a million schedules in the shapes of known anomalies, judged; five million transactions with `simulate`",
        work: Work::Built(
            "schedules",
            &["--count", "1000000", "--workload", "shapes", "--dependent"],
        ),
    },
    Step {
        name: "turmoil",
        about: "500 seeds of the gRPC service under a simulated network, 30 000 faults",
        work: Work::Cargo(
            &[
                "test",
                "--workspace",
                "--test",
                "seeds",
                "--",
                "--nocapture",
            ],
            &[("TURMOIL_SEEDS", "1000..1500")],
        ),
    },
    Step {
        name: "chaos",
        about: "real processes killed for a minute, small systems killed by the thousand, four times the load",
        work: Work::Built("chaos", &["ci"]),
    },
    Step {
        name: "failpoints",
        about: "every failpoint fails in every way, in processes of their own",
        work: Work::Cargo(
            &[
                "test",
                "--workspace",
                "--features",
                "adapters/failpoints",
                "--test",
                "failpoints",
                "--",
                "--nocapture",
            ],
            &[],
        ),
    },
    Step {
        name: "faults",
        about: "every step of a commit over two database servers, and everybody who can die there",
        work: Work::Cargo(
            &[
                "test",
                "--workspace",
                "--exclude",
                "simulator",
                "--features",
                "adapters/failpoints",
                "--test",
                "faults",
                "--",
                "--nocapture",
            ],
            // The other half of the table swaps the servers. The simulator has other tests of that name.
            &[("A", "postgres")],
        ),
    },
    Step {
        name: "loom",
        about: "loom models of co-core",
        work: Work::Cargo(&["test", "--release", "-p", "loom-tests"], LOOM_ENV),
    },
    Step {
        name: "shuttle",
        about: "random schedules of eight threads over co-core",
        work: Work::Cargo(
            &["test", "--release", "-p", "loom-tests", "--test", "random"],
            SHUTTLE_ENV,
        ),
    },
    Step {
        name: "mutants",
        about: "every seeded bug is found by its model",
        work: Work::Here(crate::mutants::run),
    },
];

/// The steps whose tests want database servers.
const WITH_SERVERS: [&str; 2] = ["tests", "faults"];

/// How long a command of a step may take in CI: about twice what it takes on two cores. The step `tests` builds nearly
/// everything. What a step does in this program (`mutants`) has no limit.
fn limit(step: &str) -> Option<Duration> {
    let minutes = if step == "tests" { 60 } else { 12 };
    databases::in_ci().then(|| Duration::from_secs(minutes * 60))
}

/// What a step counted and took.
#[derive(Default, Clone, Copy)]
struct Counts {
    passed: u64,
    failed: u64,
    /// Not run: ignored, or because something is not installed that they say.
    skipped: u64,
}

/// Prints the steps.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:10} {}", step.name, step.about);
    }
}

/// Runs the steps named, or all; goes on after a failure so that one run shows everything.
pub(crate) fn run(names: &[String]) -> Result<(), String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        return Err(format!(
            "no step `{unknown}`; `cargo xtask steps` lists them"
        ));
    }
    let mut total = Counts::default();
    let mut rows = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.contains(&step.name.into()))
    {
        println!("\n==> {}: {}", step.name, step.about);
        let started = Instant::now();
        let mut counts = Counts::default();
        let result = run_step(step, &mut counts);
        if let Err(message) = &result {
            println!("{}: {message}", step.name);
        }
        total.passed += counts.passed;
        total.failed += counts.failed;
        total.skipped += counts.skipped;
        rows.push((step.name, result.is_ok(), counts, started.elapsed()));
    }
    report(&rows, total)
}

fn run_step(step: &Step, counts: &mut Counts) -> Result<(), String> {
    let (arguments, environment) = match &step.work {
        Work::Here(function) => return function(),
        Work::Built(program, arguments) => return built(program, arguments, limit(step.name)),
        Work::Cargo(arguments, environment) => (arguments, environment),
    };
    let installed = if WITH_SERVERS.contains(&step.name) {
        crate::databases::prepare()
    } else {
        Ok(())
    };
    let skips = Skips::new(step.name);
    let command = &mut crate::cargo();
    command
        .args(*arguments)
        .envs(environment.iter().copied())
        .env(databases::SKIPPED_TESTS, &skips.file);
    let result = counted(command, limit(step.name), counts);
    let skipped = skips.take()?;
    counts.skip(&skipped);
    for test in &skipped {
        println!("SKIPPED: {test}");
    }
    if databases::in_ci() && !skipped.is_empty() {
        return Err(format!(
            "{} tests skipped, and in CI nothing is",
            skipped.len()
        ));
    }
    installed.and(result)
}

/// The file to which tests that skip add a line each: their programs keep to themselves what passing tests print.
struct Skips {
    file: PathBuf,
}

impl Skips {
    fn new(step: &str) -> Self {
        let name = format!("co-skipped-{step}-{}", std::process::id());
        Self {
            file: std::env::temp_dir().join(name),
        }
    }

    /// The tests that skipped, each once, whatever it tried.
    fn take(self) -> Result<Vec<String>, String> {
        let content = match std::fs::read_to_string(&self.file) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot read {}: {error}", self.file.display())),
        };
        let _left_behind = std::fs::remove_file(&self.file);
        let mut seen = BTreeSet::new();
        let test = |line: &&str| {
            let test = line.split_once(": ").map_or(*line, |(test, _)| test);
            seen.insert(test.to_owned())
        };
        let first = content.lines().filter(test);
        Ok(first.map(str::to_owned).collect())
    }
}

impl Counts {
    /// These tests did nothing, and their programs have counted them as passed.
    fn skip(&mut self, tests: &[String]) {
        let tests = tests.len() as u64;
        self.skipped += tests;
        self.passed = self.passed.saturating_sub(tests);
    }
}

fn report(rows: &[(&str, bool, Counts, Duration)], total: Counts) -> Result<(), String> {
    println!(
        "\n{:10} {:8} {:>7} {:>7} {:>8} {:>8}",
        "step", "result", "passed", "failed", "skipped", "seconds"
    );
    for (name, ok, counts, took) in rows {
        let result = if *ok { "ok" } else { "FAILED" };
        println!(
            "{name:10} {result:8} {:>7} {:>7} {:>8} {:>8.1}",
            counts.passed,
            counts.failed,
            counts.skipped,
            took.as_secs_f64()
        );
    }
    println!(
        "\n{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    let broken: Vec<&str> = rows
        .iter()
        .filter(|(_, ok, ..)| !ok)
        .map(|(name, ..)| *name)
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", broken.join(", ")))
    }
}

/// Runs a program of the workspace as the tests have it.
fn built(program: &str, arguments: &[&str], limit: Option<Duration>) -> Result<(), String> {
    Limited::start(crate::cargo().args(BUILD_TESTS), limit)?.end("cargo")?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => crate::tidy::root()?.join("target"),
    };
    let path = target.join("debug").join(program);
    Limited::start(Command::new(path).args(arguments), limit)?.end(program)
}

/// Runs cargo, and counts the tests in what it prints.
fn counted(
    cargo: &mut Command,
    limit: Option<Duration>,
    counts: &mut Counts,
) -> Result<(), String> {
    let mut started = Limited::start(cargo.stdout(Stdio::piped()), limit)?;
    let output = started.child.stdout.take().ok_or("cargo has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| format!("cannot read cargo's output: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        count(&line, counts);
        println!("{line}");
    }
    let arguments = cargo.get_args().map(|word| word.to_string_lossy());
    let words: Vec<_> = arguments.collect();
    started.end(&format!("`cargo {}`", words.join(" ")))
}

/// Adds the figures of a line `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(line: &str, counts: &mut Counts) {
    if line.starts_with("SKIPPED: ") {
        counts.skipped += 1;
    }
    let Some(rest) = line.strip_prefix("test result: ") else {
        return;
    };
    for part in rest.split([';', '.']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" => counts.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let mut counts = Counts::default();
        count(
            "test result: ok. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out",
            &mut counts,
        );
        count("test some::thing ... ok", &mut counts);
        assert_eq!((counts.passed, counts.failed, counts.skipped), (12, 1, 2));
    }

    #[test]
    fn tests_that_skipped_are_counted_once_each_and_have_not_passed() {
        let skips = Skips::new("a-test-of-this");
        let lines = "suite one: no server\nsuite two: no server\nsuite one: no other server\n";
        std::fs::write(&skips.file, lines).unwrap();
        let file = skips.file.clone();
        let skipped = skips.take().unwrap();
        assert_eq!(skipped, ["suite one: no server", "suite two: no server"]);
        assert!(!file.exists());
        let mut counts = Counts {
            passed: 5,
            ..Counts::default()
        };
        counts.skip(&skipped);
        assert_eq!((counts.passed, counts.skipped), (3, 2));
        assert_eq!(Skips::new("none").take(), Ok(Vec::new()));
    }
}
