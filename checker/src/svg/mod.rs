//! Pictures of cycles that read at a glance: SVG, without a drawing program.
//!
//! Transactions are boxes around a ring, clockwise, with what they did; arrows are their dependencies, by colour and
//! letters; the sentences stand below, numbered as the arrows are. Whoever cannot see colours has the letters and the
//! dashes. Nothing covers anything, however long the cycle (`layout`), and long names keep both ends (`words`).
//!
//! ```
//! use checker::assess::Assessment;
//! use checker::observed::ObservedBuilder;
//! use checker::svg::Drawing;
//!
//! // Write skew: each of two doctors goes off duty because the other is still there.
//! let mut builder = ObservedBuilder::new("doctors");
//! builder.txn().write("anne", "on").write("bob", "on").committed()?;
//! builder.txn().read("anne", Some("on")).read("bob", Some("on")).write("anne", "off").committed()?;
//! builder.txn().read("anne", Some("on")).read("bob", Some("on")).write("bob", "off").committed()?;
//! builder.txn().read("anne", Some("off")).read("bob", Some("off")).committed()?;
//! let history = builder.finish();
//!
//! let assessment = Assessment::of(&history);
//! let (title, cycle, sentences) = assessment.gravest_cycle().expect("there is one");
//! let drawing = Drawing::of_cycle(&history, &title, &cycle, &sentences);
//! std::fs::write(std::env::temp_dir().join("skew.svg"), drawing.to_svg())?;
//! assert!(drawing.to_dot().contains("n0 -> n1 [label=\"rw "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod layout;
pub(crate) mod page;
mod sited;
pub(crate) mod words;

use std::fmt::Write as _;

use crate::explain::Step;
use crate::observed::{Edge, Observed};

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    /// What stands above.
    pub title: String,
    /// The boxes.
    pub boxes: Vec<Box>,
    /// The arrows.
    pub arrows: Vec<Arrow>,
}

/// A transaction.
#[derive(Debug, Clone)]
pub struct Box {
    /// Its name.
    pub name: String,
    /// What it did, a line each.
    pub lines: Vec<String>,
}

/// A dependency.
#[derive(Debug, Clone)]
pub struct Arrow {
    /// The box of the earlier transaction.
    pub from: usize,
    /// The box of the later one.
    pub to: usize,
    /// `ww`, `wr`, `rw`, `session` or `real time`.
    pub letters: &'static str,
    /// What it is about: a key.
    pub label: String,
    /// Why.
    pub sentence: String,
}

impl Drawing {
    /// A cycle of an observed history, with a sentence for each of its edges; those that are missing are made.
    #[must_use]
    pub fn of_cycle(history: &Observed, title: &str, cycle: &[Edge], sentences: &[String]) -> Self {
        let (boxes, arrows) = words::of_cycle(history, cycle, sentences);
        Self {
            title: title.to_owned(),
            boxes,
            arrows,
        }
    }

    /// Conflicts between the transactions of our own sites.
    #[must_use]
    pub fn of_steps(title: &str, steps: &[Step]) -> Self {
        let (boxes, arrows) = sited::of_steps(steps);
        Self {
            title: title.to_owned(),
            boxes,
            arrows,
        }
    }

    /// The picture.
    #[must_use]
    pub fn to_svg(&self) -> String {
        page::svg(self)
    }

    /// The same in the DOT language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph conflicts {\n  rankdir=LR;\n  node [shape=box];\n");
        for (place, it) in self.boxes.iter().enumerate() {
            let mut label = quoted(&it.name);
            label.truncate(label.len() - 1);
            for line in &it.lines {
                let line = quoted(line);
                label.push_str("\\n");
                label.push_str(&line[1..line.len() - 1]);
            }
            put(&mut dot, format_args!("  n{place} [label={label}\"];\n"));
        }
        for arrow in &self.arrows {
            let label = quoted(format!("{} {}", arrow.letters, arrow.label).trim_end());
            let tooltip = quoted(&arrow.sentence);
            put(
                &mut dot,
                format_args!(
                    "  n{} -> n{} [label={label}, tooltip={tooltip}];\n",
                    arrow.from, arrow.to
                ),
            );
        }
        dot.push_str("}\n");
        dot
    }
}

/// A text in the quotes of the DOT language.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

pub(crate) fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a string does not fail");
}
