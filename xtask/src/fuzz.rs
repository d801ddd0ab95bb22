//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, guided by coverage.
//!
//! The tests of the package `fuzz` run the same targets without it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::tidy::root;

const TARGETS: [&str; 6] = [
    "segments",
    "coordinator_records",
    "site_records",
    "history",
    "observed",
    "wire",
];

/// How long each target runs unless told otherwise.
const SECONDS: &str = "60";

const INSTALL: &str = "cargo-fuzz is not installed: `cargo install cargo-fuzz` (a C++ compiler is needed \
     as well). Without it, `cargo test --release -p fuzz` runs the same targets on inputs made from the \
     stored ones, as many as FUZZ_INPUTS says";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    seconds: String,
    targets: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let plan = parse(arguments)?;
    let root = root()?;
    let help = cargo(&root)
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !help.is_ok_and(|status| status.success()) {
        return Err(INSTALL.to_owned());
    }
    for target in &plan.targets {
        println!("==> {target}: {} s", plan.seconds);
        let status = fuzz(&root, target, &plan.seconds)
            .status()
            .map_err(|error| format!("cannot run cargo fuzz: {error}"))?;
        if !status.success() {
            return Err(format!(
                "{target}: {status}; the input is under fuzz/libfuzzer/artifacts/{target}. When it is \
                 mended, keep it: minimise it with `cargo fuzz tmin` and move it to fuzz/findings/{target}"
            ));
        }
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Plan, String> {
    let mut seconds = SECONDS.to_owned();
    let mut targets = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let value = rest.next().ok_or("`--seconds` needs a number")?;
            value
                .parse::<u32>()
                .map_err(|_| format!("`--seconds {value}` is no number of seconds"))?;
            seconds.clone_from(value);
        } else if TARGETS.contains(&argument.as_str()) {
            targets.push(argument.clone());
        } else {
            let known = TARGETS.join(", ");
            return Err(format!("no fuzz target `{argument}`; there are {known}"));
        }
    }
    if targets.is_empty() {
        targets = TARGETS.map(str::to_owned).to_vec();
    }
    Ok(Plan { seconds, targets })
}

/// The stored corpus is only read: what is found beyond it goes to a folder that is not committed.
fn fuzz(root: &Path, target: &str, seconds: &str) -> Command {
    let grown = root.join("target/fuzz-corpus").join(target);
    // cargo-fuzz says what is wrong if this folder cannot be had.
    std::fs::create_dir_all(&grown).unwrap_or_default();
    let mut cargo = cargo(root);
    cargo
        .args(["fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer", target])
        .arg(grown)
        .arg(root.join("fuzz/corpus").join(target))
        .args([
            "--",
            "-max_len=4096",
            "-rss_limit_mb=1024",
            "-malloc_limit_mb=256",
        ])
        .arg(format!("-max_total_time={seconds}"))
        // Sanitizers are flags of the nightly compiler; this admits them on the stable one.
        .env("RUSTC_BOOTSTRAP", "1");
    cargo
}

fn cargo(root: &Path) -> Command {
    let mut cargo = crate::cargo();
    cargo.current_dir(root);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &[&str]) -> Result<Plan, String> {
        parse(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn targets_and_seconds_are_read() {
        let all = plan(&[]).unwrap();
        assert_eq!(
            (all.seconds.as_str(), all.targets.len()),
            ("60", TARGETS.len())
        );
        let one = plan(&["--seconds", "5", "wire"]).unwrap();
        assert_eq!(
            (one.seconds.as_str(), one.targets),
            ("5", vec!["wire".to_owned()])
        );
        assert!(plan(&["wires"]).unwrap_err().contains("segments"));
        assert!(plan(&["--seconds"]).is_err());
        assert!(plan(&["--seconds", "x"]).is_err());
    }

    /// The list here and libFuzzer's are the same.
    #[test]
    fn every_target_has_its_program() {
        let manifest = root().unwrap().join("fuzz/libfuzzer/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for target in TARGETS {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
        }
    }
}
