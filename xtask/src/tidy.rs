//! Rules that the compiler does not know: what may depend on what, how long a file may be, what may not
//! stand in one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines a source file may have; one that needs more opens with a line `//! Length:` that says why.
const MAX_LINES: usize = 800;

/// Crates and what their dependency trees must not contain: the absences that ARCHITECTURE.md promises.
const ABSENT: &[(&str, &[&str], &[&str])] = &[
    (
        "co-core",
        &[],
        &[
            "coco",
            "participant",
            "checker",
            "tokio",
            "tonic",
            "serde",
            "rand",
        ],
    ),
    (
        "checker",
        &[],
        &["co-core", "coco", "participant", "tokio", "tonic"],
    ),
    (
        "coco",
        &["--no-default-features"],
        &["participant", "checker", "tokio", "tonic", "prost"],
    ),
    (
        "participant",
        &["--no-default-features"],
        &["checker", "tokio", "tonic", "prost"],
    ),
    ("simulator", &[], &["tokio", "tonic", "prost"]),
    (
        "conformance",
        &[],
        &["coco", "participant", "tokio", "tonic", "redb", "fjall"],
    ),
];

/// Text that no committed file may contain, with the reason.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "unfinished code"),
    (concat!("unimplemented", "!("), "unfinished code"),
    (concat!("/wor", "k/"), "a path of one machine"),
    (concat!("/roo", "t/"), "a path of one machine"),
];

/// Runs all checks and reports every finding.
pub(crate) fn run() -> Result<(), String> {
    let root = root()?;
    let mut findings = Vec::new();
    for file in committed(&root)? {
        text(&root, &file, &mut findings);
    }
    for (package, features, absent) in ABSENT {
        dependencies(&root, package, features, absent, &mut findings)?;
    }
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("{} findings", findings.len()))
    }
}

/// The workspace's folder.
pub(crate) fn root() -> Result<PathBuf, String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| "xtask has no parent folder".to_owned())
}

fn committed(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(PathBuf::from)
        .collect())
}

fn text(root: &Path, file: &Path, findings: &mut Vec<String>) {
    // Binary files and files just deleted have no text to check.
    let Ok(content) = std::fs::read_to_string(root.join(file)) else {
        return;
    };
    let extension = file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let lines = content.lines().count();
    let justified = content
        .lines()
        .take(40)
        .any(|line| line.starts_with("//! Length:"));
    if extension == "rs" && lines > MAX_LINES && !justified {
        findings.push(format!(
            "{}: {lines} lines, more than {MAX_LINES}",
            file.display()
        ));
    }
    for (number, line) in content.lines().enumerate() {
        for (text, why) in FORBIDDEN {
            if line.contains(text) {
                findings.push(format!(
                    "{}:{}: `{text}`: {why}",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
}

fn dependencies(
    root: &Path,
    package: &str,
    features: &[&str],
    absent: &[&str],
    findings: &mut Vec<String>,
) -> Result<(), String> {
    let output = crate::cargo()
        .args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}"])
        .args(features)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo tree: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let names = tree
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| absent.contains(name)) {
        findings.push(format!(
            "{package} depends on {name}; ARCHITECTURE.md says it does not"
        ));
    }
    Ok(())
}
