//! Seeds known bugs into co-core, one at a time, and demands that a loom model finds each.
//!
//! The list is `loom-tests/mutants.toml`. The work happens on a copy under `target/mutants`: the root manifest
//! reduced to two members, and those two. The copy is first tested as it is, so that a model which fails
//! anyway does not count as having found something.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::tidy::root;

/// The members that are copied.
const MEMBERS: [&str; 2] = ["co-core", "loom-tests"];

/// A model that explores for longer than this has not found the bug.
const SECONDS_PER_MODEL: &str = "120";

/// One seeded bug.
#[derive(Default, Debug)]
struct Mutant {
    name: String,
    file: String,
    from: String,
    to: String,
    model: String,
    why: String,
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The model failed, as it should.
    Found,
    /// The model passed.
    Survived,
}

pub(crate) fn run() -> Result<(), String> {
    let root = root()?;
    let list = read(&root.join("loom-tests/mutants.toml"))?;
    let mutants = parse(&list)?;
    let copy = root.join("target/mutants/workspace");
    copy_workspace(&root, &copy)?;

    println!(
        "{} mutants; the models must pass without them first",
        mutants.len()
    );
    demand_success(&model(&copy, None)?)?;
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let fate = try_mutant(&copy, mutant)?;
        let word = match fate {
            Fate::Found => "found",
            Fate::Survived => "SURVIVED",
        };
        println!("{word:<9} {:<40} {}", mutant.name, mutant.model);
        if fate == Fate::Survived {
            survivors.push(format!("{} ({})", mutant.name, mutant.why));
        }
    }
    if survivors.is_empty() {
        println!("all {} mutants were found", mutants.len());
        Ok(())
    } else {
        Err(format!("mutants survived: {}", survivors.join("; ")))
    }
}

/// Applies the mutant, runs its model, puts the file back.
fn try_mutant(copy: &Path, mutant: &Mutant) -> Result<Fate, String> {
    let path = copy.join(&mutant.file);
    let original = read(&path)?;
    let occurrences = original.matches(&mutant.from).count();
    if occurrences != 1 {
        return Err(format!(
            "mutant `{}`: its text occurs {occurrences} times in {}",
            mutant.name, mutant.file
        ));
    }
    write(&path, &original.replacen(&mutant.from, &mutant.to, 1))?;
    let built = build(copy, &mutant.model);
    let outputs = built.and_then(|built| Ok((built, model(copy, Some(&mutant.model))?)));
    write(&path, &original)?;
    let (built, run) = outputs?;
    if !built.status.success() {
        let error = String::from_utf8_lossy(&built.stderr);
        return Err(format!(
            "mutant `{}` does not compile:\n{error}",
            mutant.name
        ));
    }
    if !run.status.success() {
        // By a failed assertion, a deadlock that loom reports, or a panic while panicking.
        return Ok(Fate::Found);
    }
    // A name that matches no test passes as well, and would show nothing.
    if String::from_utf8_lossy(&run.stdout).contains("1 passed") {
        Ok(Fate::Survived)
    } else {
        Err(format!(
            "mutant `{}`: there is no model `{}`",
            mutant.name, mutant.model
        ))
    }
}

/// The file and the test of a model, which is named `file::test`.
fn file_and_test(name: &str) -> Result<(&str, &str), String> {
    name.split_once("::")
        .ok_or_else(|| format!("model `{name}` is not named file::test"))
}

/// Compiles the file of a model, so that what does not compile is told from what fails.
fn build(copy: &Path, name: &str) -> Result<Output, String> {
    let (file, _) = file_and_test(name)?;
    output(cargo(copy).args(["--no-run", "--test", file]))
}

/// Runs one model, or all of them.
fn model(copy: &Path, name: Option<&str>) -> Result<Output, String> {
    let mut cargo = cargo(copy);
    if let Some(name) = name {
        let (file, test) = file_and_test(name)?;
        cargo.args(["--test", file, "--", "--exact", test]);
    }
    output(&mut cargo)
}

fn cargo(copy: &Path) -> Command {
    let mut cargo = crate::cargo();
    cargo
        .current_dir(copy)
        .args(["test", "--release", "-p", "loom-tests"])
        .env("RUSTFLAGS", "--cfg co_loom")
        .env("CARGO_TARGET_DIR", copy.join("../build"))
        .env("LOOM_MAX_PREEMPTIONS", "3")
        .env("LOOM_MAX_DURATION", SECONDS_PER_MODEL)
        .env("RUST_BACKTRACE", "0");
    cargo
}

fn output(cargo: &mut Command) -> Result<Output, String> {
    cargo
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))
}

fn demand_success(output: &Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "the models fail without any mutant:\n{said}\n{error}"
    ))
}

/// A fresh copy of the two members under the reduced root manifest; the build folder beside it stays.
fn copy_workspace(root: &Path, copy: &Path) -> Result<(), String> {
    if copy.exists() {
        fs::remove_dir_all(copy)
            .map_err(|error| format!("cannot clear {}: {error}", copy.display()))?;
    }
    for member in MEMBERS {
        copy_folder(&root.join(member), &copy.join(member))?;
    }
    let manifest = read(&root.join("Cargo.toml"))?;
    write(&copy.join("Cargo.toml"), &reduce_members(&manifest)?)?;
    write(&copy.join("Cargo.lock"), &read(&root.join("Cargo.lock"))?)
}

/// The root manifest with [`MEMBERS`] alone.
fn reduce_members(manifest: &str) -> Result<String, String> {
    let missing = || "the root manifest has no list of members".to_owned();
    let start = manifest.find("members = [").ok_or_else(missing)?;
    let length = manifest[start..].find("\n]").ok_or_else(missing)?;
    let members = MEMBERS.map(|member| format!("\"{member}\"")).join(", ");
    let (before, after) = (&manifest[..start], &manifest[start + length + 2..]);
    Ok(format!("{before}members = [{members}]{after}"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot copy {}: {error}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(failed)?;
        }
    }
    Ok(())
}

/// Reads the little TOML that `mutants.toml` uses.
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut rest = text;
    while let Some((line, after)) = next_line(rest) {
        let here = std::mem::replace(&mut rest, after);
        let line = line.trim();
        if line == "[[mutant]]" {
            mutants.push(Mutant::default());
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line
                .split_once(" = ")
                .ok_or_else(|| format!("mutants.toml: cannot read `{line}`"))?;
            let value = match value.strip_prefix("'''") {
                Some(_) => {
                    let (block, after) = block(here)?;
                    rest = after;
                    block
                }
                None => unquote(value)?,
            };
            let mutant = mutants
                .last_mut()
                .ok_or_else(|| format!("mutants.toml: `{key}` before the first mutant"))?;
            *mutant.field(key)? = value;
        }
    }
    Ok(mutants)
}

impl Mutant {
    fn field(&mut self, key: &str) -> Result<&mut String, String> {
        match key {
            "name" => Ok(&mut self.name),
            "file" => Ok(&mut self.file),
            "from" => Ok(&mut self.from),
            "to" => Ok(&mut self.to),
            "model" => Ok(&mut self.model),
            "why" => Ok(&mut self.why),
            other => Err(format!("mutants.toml: no key `{other}`")),
        }
    }
}

fn next_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    Some(text.split_once('\n').unwrap_or((text, "")))
}

/// The first literal in `text`, and what follows it.
fn block(text: &str) -> Result<(String, &str), String> {
    let mut pieces = text.splitn(3, "'''").skip(1);
    match (pieces.next(), pieces.next()) {
        (Some(literal), Some(after)) => Ok((literal.to_owned(), after)),
        _ => Err("mutants.toml: a ''' is not closed".to_owned()),
    }
}

fn unquote(value: &str) -> Result<String, String> {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .ok_or_else(|| format!("mutants.toml: {value} is not a string"))?;
    if inner.contains(['"', '\\']) {
        return Err(format!("mutants.toml: use ''' for {value}"));
    }
    Ok(inner.to_owned())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_blocks_are_read() {
        let text = "# note\n[[mutant]]\nname = \"a\"\nfrom = '''one\n  two\n'''\nto = \"\"\n\n[[mutant]]\nname = \"b\"\n";
        let mutants = parse(text).unwrap();
        assert_eq!(mutants.len(), 2);
        assert_eq!(
            (mutants[0].name.as_str(), mutants[1].name.as_str()),
            ("a", "b")
        );
        assert_eq!(mutants[0].from, "one\n  two\n");
        assert!(parse("name = \"a\"").is_err());
        assert!(parse("[[mutant]]\nname = a").is_err());
        assert!(parse("[[mutant]]\ncolour = \"a\"").is_err());
        assert!(parse("[[mutant]]\nto = '''open").is_err());
    }

    #[test]
    fn the_manifest_keeps_all_but_the_members() {
        let manifest = "[workspace]\nmembers = [\n    \"a\", # note\n    \"b\",\n]\n\n[profile]\n";
        let reduced = reduce_members(manifest).unwrap();
        assert_eq!(
            reduced,
            "[workspace]\nmembers = [\"co-core\", \"loom-tests\"]\n\n[profile]\n"
        );
    }

    /// Every mutant still fits the source it changes, and names a model that exists.
    #[test]
    fn the_list_fits_the_source() {
        let root = root().unwrap();
        let mutants = parse(&read(&root.join("loom-tests/mutants.toml")).unwrap()).unwrap();
        assert!(!mutants.is_empty());
        for mutant in &mutants {
            let source = read(&root.join(&mutant.file)).unwrap();
            assert_eq!(source.matches(&mutant.from).count(), 1, "{}", mutant.name);
            let (file, test) = mutant.model.split_once("::").unwrap();
            let models = read(&root.join(format!("loom-tests/tests/{file}.rs"))).unwrap();
            assert!(models.contains(&format!("fn {test}()")), "{}", mutant.name);
        }
    }
}
