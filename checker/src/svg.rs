//! Pictures of cycles that read at a glance: SVG, without a drawing program.
//!
//! Transactions are boxes on a circle with what they did; arrows are their dependencies, by colour and letters; the
//! sentences stand below, numbered as the arrows are. Whoever cannot see colours has the letters and the dashes.

use std::f64::consts::PI;
use std::fmt::Write as _;

use crate::assess::sentence;
use crate::explain::Step;
use crate::observed::{Edge, Observed, Op, Outcome, TxnIndex, Why};

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

/// How many lines a box has at most.
const MAX_LINES: usize = 8;
/// How many characters a line of a box has at most.
const MAX_LINE: usize = 34;
/// How wide a character of the boxes is.
const CHARACTER: f64 = 7.3;
const LINE: f64 = 17.0;
/// How many characters of the sentences fit beside each other.
const WRAP: usize = 110;

impl Drawing {
    /// A cycle of an observed history, with a sentence for each of its edges; those that are missing are made.
    #[must_use]
    pub fn of_cycle(history: &Observed, title: &str, cycle: &[Edge], sentences: &[String]) -> Self {
        let mut txns: Vec<TxnIndex> = cycle.iter().flat_map(|edge| [edge.from, edge.to]).collect();
        let mut seen = Vec::new();
        txns.retain(|txn| {
            let new = !seen.contains(txn);
            seen.push(*txn);
            new
        });
        let place = |txn: TxnIndex| txns.iter().position(|other| *other == txn).unwrap_or(0);
        let arrows = cycle.iter().enumerate().map(|(number, edge)| {
            let (letters, key) = match edge.why {
                Why::WriteWrite { key, .. } => ("ww", Some(key)),
                Why::WriteRead { key, .. } => ("wr", Some(key)),
                Why::ReadWrite { key, .. } => ("rw", Some(key)),
                Why::Session => ("session", None),
                Why::Realtime => ("real time", None),
            };
            Arrow {
                from: place(edge.from),
                to: place(edge.to),
                letters,
                label: key.map_or_else(String::new, |key| history.key_name(key).to_owned()),
                sentence: sentences
                    .get(number)
                    .cloned()
                    .unwrap_or_else(|| sentence(history, edge)),
            }
        });
        Self {
            title: title.to_owned(),
            boxes: txns.iter().map(|&txn| box_of(history, txn)).collect(),
            arrows: arrows.collect(),
        }
    }

    /// Conflicts between the transactions of our own sites.
    #[must_use]
    pub fn of_steps(title: &str, steps: &[Step]) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut place = |name: String| {
            names
                .iter()
                .position(|other| *other == name)
                .unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                })
        };
        let arrows: Vec<Arrow> = steps
            .iter()
            .map(|step| Arrow {
                from: place(step.from.to_string()),
                to: place(step.to.to_string()),
                letters: step.reason.letters(),
                label: step.about(),
                sentence: step.to_string(),
            })
            .collect();
        let boxes = names.into_iter().map(|name| Box {
            name,
            lines: Vec::new(),
        });
        Self {
            title: title.to_owned(),
            boxes: boxes.collect(),
            arrows,
        }
    }

    /// The picture.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let frames = self.frames();
        let right = frames.iter().map(|frame| frame.x + frame.width / 2.0);
        let below = frames.iter().map(|frame| frame.y + frame.height / 2.0);
        let width = right.fold(0.0, f64::max).max(860.0) + 20.0;
        let arcs = if self.boxes.len() <= 2 { 45.0 } else { 0.0 };
        let mut text = below.fold(0.0, f64::max) + arcs + 40.0;
        let mut body = String::new();
        for (number, arrow) in self.arrows.iter().enumerate() {
            draw_arrow(&mut body, number + 1, arrow, &frames);
        }
        for (it, frame) in self.boxes.iter().zip(&frames) {
            draw_box(&mut body, it, frame);
        }
        for (number, arrow) in self.arrows.iter().enumerate() {
            for (place, line) in wrapped(&arrow.sentence).iter().enumerate() {
                let number = if place == 0 {
                    format!("{}. ", number + 1)
                } else {
                    String::new()
                };
                put(
                    &mut body,
                    format_args!(
                        "<text x=\"{}\" y=\"{text:.0}\" class=\"s\">{number}{}</text>\n",
                        if place == 0 { 20 } else { 38 },
                        escaped(line)
                    ),
                );
                text += LINE + 2.0;
            }
        }
        put(
            &mut body,
            format_args!(
                "<text x=\"20\" y=\"{:.0}\" class=\"k\">{LEGEND}</text>\n",
                text + 8.0
            ),
        );
        let height = text + 24.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
             <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n\
             <text x=\"20\" y=\"30\" class=\"t\">{title}</text>\n{body}</svg>\n",
            title = escaped(&self.title),
        )
    }

    /// The same in the DOT language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
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

    /// Where the boxes are: on an ellipse that has room for them, the first on the left.
    fn frames(&self) -> Vec<Frame> {
        let sizes: Vec<(f64, f64)> = self.boxes.iter().map(size).collect();
        let widest = sizes.iter().map(|size| size.0).fold(0.0, f64::max);
        let highest = sizes.iter().map(|size| size.1).fold(0.0, f64::max);
        let count = sizes.len().max(1) as f64;
        let (across, down) = if sizes.len() <= 2 {
            // Room for two arcs, one above and one below.
            ((widest + 200.0) / 2.0, 45.0)
        } else {
            let around = count / PI;
            (
                (around * (widest + 60.0) / 2.0).max(widest / 2.0 + 110.0),
                (around * (highest + 60.0) / 2.0).max(highest / 2.0 + 80.0),
            )
        };
        let middle = (
            (across + widest / 2.0 + 30.0).max(440.0),
            60.0 + highest / 2.0 + down,
        );
        let frame = |(place, &(width, height)): (usize, &(f64, f64))| {
            let angle = PI + 2.0 * PI * place as f64 / count;
            Frame {
                x: middle.0 + across * angle.cos(),
                y: middle.1
                    + if sizes.len() <= 2 {
                        0.0
                    } else {
                        down * angle.sin()
                    },
                width,
                height,
            }
        };
        sizes.iter().enumerate().map(frame).collect()
    }
}

/// A box's middle and size.
#[derive(Debug, Clone, Copy)]
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Frame {
    /// Where a line from the middle in this direction leaves the box.
    fn edge(&self, dx: f64, dy: f64) -> (f64, f64) {
        let across = if dx.abs() < 1e-6 {
            f64::MAX
        } else {
            self.width / 2.0 / dx.abs()
        };
        let down = if dy.abs() < 1e-6 {
            f64::MAX
        } else {
            self.height / 2.0 / dy.abs()
        };
        let scale = across.min(down);
        (self.x + dx * scale, self.y + dy * scale)
    }
}

const LEGEND: &str = "ww: both wrote it \u{b7} wr: the second read what the first wrote \u{b7} \
    rw: the first read it before the second wrote";

const STYLE: &str = "<style>\n\
    .paper{fill:#fff}.t{font:600 17px system-ui,sans-serif;fill:#1b1b1b}\
    .k{font:12px system-ui,sans-serif;fill:#666}.s{font:14px system-ui,sans-serif;fill:#1b1b1b}\
    .b{fill:#f7f7f5;stroke:#444;stroke-width:1.2}.n{font:600 14px ui-monospace,monospace;fill:#1b1b1b}\
    .o{font:12px ui-monospace,monospace;fill:#333}\
    .a{fill:none;stroke-width:2}.l{font:600 13px system-ui,sans-serif}\
    .ww{stroke:#444}.wr{stroke:#0a7d33}.rw{stroke:#c62828;stroke-dasharray:7 4}.time{stroke:#1f5fbf;stroke-dasharray:2 4}\
    .fww{fill:#444}.fwr{fill:#0a7d33}.frw{fill:#c62828}.ftime{fill:#1f5fbf}\n</style>\n";

fn class(letters: &str) -> &'static str {
    match letters {
        "ww" => "ww",
        "wr" => "wr",
        "rw" => "rw",
        _ => "time",
    }
}

fn size(it: &Box) -> (f64, f64) {
    let lines = it.lines.iter().map(|line| line.chars().count());
    let longest = lines
        .chain([it.name.chars().count() + 1])
        .max()
        .unwrap_or(0);
    let width = longest as f64 * CHARACTER + 24.0;
    (width.max(70.0), (it.lines.len() as f64 + 1.0) * LINE + 16.0)
}

fn draw_box(body: &mut String, it: &Box, frame: &Frame) {
    let (left, top) = (frame.x - frame.width / 2.0, frame.y - frame.height / 2.0);
    put(
        body,
        format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\" class=\"b\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" class=\"n\">{}</text>\n",
            frame.width,
            frame.height,
            left + 12.0,
            top + LINE + 3.0,
            escaped(&it.name)
        ),
    );
    for (place, line) in it.lines.iter().enumerate() {
        put(
            body,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"o\" xml:space=\"preserve\">{}</text>\n",
                left + 12.0,
                top + (place as f64 + 2.0) * LINE + 4.0,
                escaped(line)
            ),
        );
    }
}

/// An arc to the right of the straight line, so that two arrows between two boxes lie apart.
fn draw_arrow(body: &mut String, number: usize, arrow: &Arrow, frames: &[Frame]) {
    let (from, to) = (&frames[arrow.from], &frames[arrow.to]);
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy).max(1.0);
    let bend = if frames.len() == 2 {
        0.28 * length
    } else {
        0.1 * length
    };
    let control = (
        f64::midpoint(from.x, to.x) - dy / length * bend,
        f64::midpoint(from.y, to.y) + dx / length * bend,
    );
    let start = from.edge(control.0 - from.x, control.1 - from.y);
    let end = to.edge(control.0 - to.x, control.1 - to.y);
    let (ux, uy) = (end.0 - control.0, end.1 - control.1);
    let norm = ux.hypot(uy).max(1.0);
    let (ux, uy) = (ux / norm, uy / norm);
    let back = (end.0 - ux * 11.0, end.1 - uy * 11.0);
    let name = class(arrow.letters);
    let middle = (
        0.25 * start.0 + 0.5 * control.0 + 0.25 * end.0,
        0.25 * start.1 + 0.5 * control.1 + 0.25 * end.1,
    );
    put(
        body,
        format_args!(
            "<path d=\"M{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}\" class=\"a {name}\"><title>{}</title></path>\n",
            start.0,
            start.1,
            control.0,
            control.1,
            back.0,
            back.1,
            escaped(&arrow.sentence)
        ),
    );
    put(
        body,
        format_args!(
            "<path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" class=\"f{name}\"/>\n",
            end.0,
            end.1,
            back.0 - uy * 5.0,
            back.1 + ux * 5.0,
            back.0 + uy * 5.0,
            back.1 - ux * 5.0
        ),
    );
    let label = format!("{number} {} {}", arrow.letters, cut(&arrow.label, 24));
    let width = label.trim_end().chars().count() as f64 * CHARACTER + 8.0;
    put(
        body,
        format_args!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"18\" class=\"paper\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"l f{name}\">{}</text>\n",
            middle.0 - width / 2.0,
            middle.1 - 9.0,
            middle.0,
            middle.1 + 4.5,
            escaped(label.trim_end())
        ),
    );
}

fn box_of(history: &Observed, txn: TxnIndex) -> Box {
    let of = history.txn(txn);
    let mut name = format!("T{}", txn.0);
    if let Some(session) = of.session {
        put(&mut name, format_args!("  session {}", session.0));
    }
    match of.outcome {
        Outcome::Committed => {}
        Outcome::Aborted => name.push_str("  aborted"),
        Outcome::Unknown => name.push_str("  unknown"),
    }
    let ops = history.ops(txn);
    let mut lines: Vec<String> = ops
        .iter()
        .take(MAX_LINES)
        .map(|op| cut(&op_words(history, op), MAX_LINE))
        .collect();
    if ops.len() > MAX_LINES {
        lines.push(format!("and {} more", ops.len() - MAX_LINES));
    }
    Box { name, lines }
}

fn op_words(history: &Observed, op: &Op) -> String {
    let key = history.key_name(op.key());
    match *op {
        Op::Read { value, .. } => {
            let value = value.map_or_else(|| "initial".to_owned(), |it| history.value_name(it));
            format!("read   {key} = {value}")
        }
        Op::Write { value, .. } => format!("write  {key} = {}", history.value_name(value)),
        Op::Append { value, .. } => format!("append {key} += {}", history.value_name(value)),
        Op::Unseen { .. } => format!("read   {key} = ?"),
        Op::ReadList { elements, .. } => {
            let list = history.elements(elements);
            let names: Vec<String> = list.iter().map(|&it| history.value_name(it)).collect();
            let all = format!("read   {key} = [{}]", names.join(" "));
            if all.chars().count() <= MAX_LINE || names.len() < 4 {
                return all;
            }
            // The end of a list says most.
            let last = names[names.len() - 3..].join(" ");
            format!("read   {key} = [.. {last}] ({})", names.len())
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        if !line.is_empty() && line.chars().count() + word.chars().count() >= WRAP {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Text between tags. Characters that XML cannot hold are left out by a mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' => escaped.push(' '),
            control if control.is_control() => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a string does not fail");
}
