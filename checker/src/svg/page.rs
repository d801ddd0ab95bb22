//! The text of an SVG.

use super::layout::{Frame, LINE, Layout, Route};
use super::words::{MAX_NAME, breadth, elided, wrapped};
use super::{Box, Drawing, put};

/// How wide a picture is at least, and how wide it becomes for the sentences.
const LEAST: f64 = 860.0;
const FOR_SENTENCES: f64 = 1100.0;
const MARGIN: f64 = 20.0;
/// Sizes of letters: of the title, which is bold, and of sentences.
const TITLE: f64 = 17.0 * 1.12;
const SENTENCE: f64 = 14.0;

pub(super) fn svg(drawing: &Drawing) -> String {
    let mut layout = Layout::of(drawing);
    let sentences = drawing
        .arrows
        .iter()
        .map(|arrow| (breadth(&arrow.sentence) + 3.0) * SENTENCE);
    let longest = sentences.fold(0.0, f64::max).min(FOR_SENTENCES);
    let inner = layout.width.max(LEAST).max(longest);
    layout.shift(MARGIN + (inner - layout.width) / 2.0, 56.0);
    let mut body = String::new();
    for (arrow, route) in drawing.arrows.iter().zip(&layout.routes) {
        draw_arrow(&mut body, arrow.letters, &arrow.sentence, route);
    }
    for (it, frame) in drawing.boxes.iter().zip(&layout.frames) {
        draw_box(&mut body, it, frame);
    }
    let mut line = 56.0 + layout.height + 38.0;
    for (number, arrow) in drawing.arrows.iter().enumerate() {
        let number = format!("{}. ", number + 1);
        let indent = breadth(&number) * SENTENCE;
        let lines = wrapped(&arrow.sentence, (inner - indent) / SENTENCE);
        for (place, words) in lines.iter().enumerate() {
            let (x, number) = if place == 0 {
                (MARGIN, number.as_str())
            } else {
                (MARGIN + indent, "")
            };
            put(
                &mut body,
                format_args!(
                    "<text x=\"{x:.0}\" y=\"{line:.0}\" class=\"s\">{number}{}</text>\n",
                    escaped(words)
                ),
            );
            line += LINE + 2.0;
        }
    }
    put(
        &mut body,
        format_args!(
            "<text x=\"20\" y=\"{:.0}\" class=\"k\">{LEGEND}</text>\n",
            line + 8.0
        ),
    );
    let (width, height) = (inner + 2.0 * MARGIN, line + 24.0);
    let most = (20..160)
        .rev()
        .find(|&most| breadth(&elided(&drawing.title, most)) * TITLE <= inner);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
         <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n\
         <text x=\"20\" y=\"30\" class=\"t\">{shown}</text>\n{body}</svg>\n",
        title = escaped(&drawing.title),
        shown = escaped(&elided(&drawing.title, most.unwrap_or(20))),
    )
}

const LEGEND: &str = "ww: both wrote it \u{b7} wr: the second read what the first wrote \u{b7} \
    rw: the first read it before the second wrote";

const STYLE: &str = "<style>\n\
    .paper{fill:#fff}.t{font:600 17px system-ui,sans-serif;fill:#1b1b1b}\
    .k{font:12px system-ui,sans-serif;fill:#666}.s{font:14px system-ui,sans-serif;fill:#1b1b1b}\
    .b{fill:#f7f7f5;stroke:#444;stroke-width:1.2}.n{font:600 14px ui-monospace,monospace;fill:#1b1b1b}\
    .o{font:12px ui-monospace,monospace;fill:#333}\
    .a{fill:none;stroke-width:2}.l{font:600 13px ui-monospace,monospace}\
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
            escaped(&elided(&it.name, MAX_NAME))
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

/// The line stops where the head begins.
fn draw_arrow(body: &mut String, letters: &str, sentence: &str, route: &Route) {
    let Route {
        start,
        control,
        end,
        label,
        text,
    } = route;
    let (ux, uy) = (end.0 - control.0, end.1 - control.1);
    let norm = ux.hypot(uy).max(1.0);
    let (ux, uy) = (ux / norm, uy / norm);
    let back = (end.0 - ux * 11.0, end.1 - uy * 11.0);
    let name = class(letters);
    put(
        body,
        format_args!(
            "<path d=\"M{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}\" class=\"a {name}\"><title>{}</title></path>\n\
             <path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" class=\"f{name}\"/>\n",
            start.0,
            start.1,
            control.0,
            control.1,
            back.0,
            back.1,
            escaped(sentence),
            end.0,
            end.1,
            back.0 - uy * 5.0,
            back.1 + ux * 5.0,
            back.0 + uy * 5.0,
            back.1 - ux * 5.0
        ),
    );
    put(
        body,
        format_args!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.0}\" class=\"paper\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"l f{name}\">{}</text>\n",
            label.x - label.width / 2.0,
            label.y - label.height / 2.0,
            label.width,
            label.height,
            label.x,
            label.y + 4.5,
            escaped(text)
        ),
    );
}

/// Text between tags. Characters that XML cannot hold are left out by a mark.
pub(crate) fn escaped(text: &str) -> String {
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
