//! Names in the documentation.

use std::collections::BTreeSet;
use std::path::Path;

/// The text of every Rust source file below `folder`.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &format!("\n//file {}\n", path.display());
            *text += &std::fs::read_to_string(path).unwrap();
        }
    }
}

/// In `docs/theory.md` whatever stands in backticks and looks like the name of a function or of a source file is one.
#[test]
fn every_test_that_the_theory_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    for member in [
        "co-core",
        "loom-tests",
        "simulator",
        "conformance",
        "participant",
        "checker",
        "examples",
    ] {
        sources(&root.join(member), &mut text);
    }
    let theory = std::fs::read_to_string(root.join("docs/theory.md")).unwrap();
    let named: BTreeSet<_> = theory.split('`').skip(1).step_by(2).collect();
    let is_name = |name: &&&str| {
        let plain = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        plain && name.contains('_')
    };
    let functions: Vec<_> = named.iter().filter(is_name).collect();
    let files: Vec<_> = named.iter().filter(|name| name.ends_with(".rs")).collect();
    let mut missing: Vec<_> = functions
        .iter()
        .filter(|name| !text.contains(&format!("fn {name}(")))
        .collect();
    missing.extend(
        files
            .iter()
            .filter(|name| !text.contains(&format!("/{name}\n"))),
    );
    assert!(missing.is_empty(), "{missing:?}");
    assert!(
        functions.len() > 90 && files.len() >= 5,
        "{} {}",
        functions.len(),
        files.len()
    );
}
