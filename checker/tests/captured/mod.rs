//! Histories that were captured from Elle's own tests, each with the verdict that Elle gave.
//!
//! The first line of a file is a map: `:kind`, `:test`, `:opts`, `:valid?`, `:anomaly-types`, `:not`, `:also-not`.
//! The operations follow.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a module of test crates, each of which needs other parts of it"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use checker::formats::{self, Format, Kind, ReadOptions};
use checker::observed::Observed;

/// A captured history.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Lists or registers.
    pub(crate) kind: Kind,
    /// The name of the test.
    pub(crate) test: String,
    /// The options that the check was given, as written; `{}` if none.
    pub(crate) opts: String,
    /// `Some(valid)`, or `None` if Elle did not know.
    pub(crate) valid: Option<bool>,
    /// The anomalies, without colons.
    pub(crate) anomaly_types: Vec<String>,
    /// The weakest models that are ruled out, without colons.
    pub(crate) not: Vec<String>,
    /// The stronger models that are ruled out with them.
    pub(crate) also_not: Vec<String>,
    /// How many lines of operations there are.
    pub(crate) entries: usize,
    /// The history.
    pub(crate) history: Observed,
}

impl Captured {
    pub(crate) fn read(path: &Path) -> Self {
        let mut reader = BufReader::new(File::open(path).unwrap());
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let fields = fields(&header);
        let field = |name: &str| {
            let found = fields.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap()
        };
        let kind = match field(":kind").as_str() {
            ":list-append" => Kind::ListAppend,
            ":rw-register" => Kind::RwRegister,
            other => panic!("no kind: {other}"),
        };
        let options = ReadOptions {
            format: Some(Format::ElleEdn),
            kind: Some(kind),
            ..ReadOptions::default()
        };
        let name = path.display().to_string();
        let history = formats::read(reader, &name, &options);
        let history = history.unwrap_or_else(|error| panic!("{error}"));
        let lines = std::fs::read_to_string(path).unwrap();
        Self {
            kind,
            test: field(":test").trim_matches('"').to_owned(),
            opts: field(":opts"),
            valid: match field(":valid?").as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            anomaly_types: words(&field(":anomaly-types")),
            not: words(&field(":not")),
            also_not: words(&field(":also-not")),
            entries: lines
                .lines()
                .skip(1)
                .filter(|line| !line.is_empty())
                .count(),
            history,
        }
    }
}

/// The keywords in a collection; none in nil.
fn words(collection: &str) -> Vec<String> {
    let words = collection.split(|c: char| c.is_whitespace() || "(){}[]#,".contains(c));
    words
        .filter_map(|word| word.strip_prefix(':'))
        .map(str::to_owned)
        .collect()
}

/// The fields of a flat map, each value as written.
fn fields(map: &str) -> Vec<(String, String)> {
    let mut forms = forms(
        map.trim()
            .strip_prefix('{')
            .unwrap()
            .strip_suffix('}')
            .unwrap(),
    );
    assert_eq!(forms.len() % 2, 0, "{map}");
    let mut fields = Vec::new();
    while let Some(value) = forms.pop() {
        fields.push((forms.pop().unwrap(), value));
    }
    fields
}

/// Splits text into its outermost forms.
fn forms(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let mut form = String::new();
    let mut depth = 0;
    let mut quoted = false;
    for c in text.chars() {
        let outside = depth == 0 && !quoted;
        if outside && (c.is_whitespace() || c == ',') {
            if !form.is_empty() {
                forms.push(std::mem::take(&mut form));
            }
            continue;
        }
        form.push(c);
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    if !form.is_empty() {
        forms.push(form);
    }
    forms
}

/// A folder of published histories, if it is there; says that it is skipped if not.
pub(crate) fn published(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/histories")
        .join(folder);
    let found = path.is_dir();
    if !found {
        eprintln!(
            "SKIPPED: the published histories are not at {}",
            path.display()
        );
    }
    found.then_some(path)
}
