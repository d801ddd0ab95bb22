//! A diagram as an SVG.
//!
//! - **D1** Events of a process are as far apart as their boxes are wide, and a message arrives to the right of where it
//!   left; so nothing that stands on a line covers anything else there.
//! - **D2** What only the future has stands to the right of all other events.
//! - **D3** Arrows are drawn first: where one passes a box, it passes behind it.

use super::{Diagram, Kind};
use crate::svg::page::escaped;
use crate::svg::put;
use crate::svg::words::{breadth, columns, elided, wrapped};

/// Sizes of letters: of labels, which are of one width, and of sentences and captions.
const LABEL: f64 = 13.0;
const SENTENCE: f64 = 14.0;
const CAPTION: f64 = 12.0;
const TITLE: f64 = 17.0 * 1.12;
/// How many columns a label has at most.
const MAX_LABEL: usize = 44;
/// How high a box is, and how far lines of processes are apart.
const BOX: f64 = 28.0;
const LANE: f64 = 66.0;
/// How far boxes are apart.
const GAP: f64 = 18.0;
/// How far to the right a message arrives at least.
const FLIGHT: f64 = 40.0;
/// How wide the dot of a message is.
const DOT: f64 = 10.0;
const MARGIN: f64 = 20.0;
/// How far down the first line of a process is.
const TOP: f64 = 96.0;
/// How wide a picture is at least, and what it widens to for sentences.
const LEAST: f64 = 480.0;
const FOR_SENTENCES: f64 = 760.0;
/// How far lines of text are apart.
const LINE: f64 = 20.0;
/// What stands above the events that are not of the future only, and above those that are.
const BEFORE: &str = "the history";
const LATER: &str = "only in its future";

/// Where everything is.
struct Layout {
    /// The middle of each event, and how wide it is.
    events: Vec<(f64, f64)>,
    /// Where lines begin, and where they end.
    lines: (f64, f64),
    /// Where the future begins.
    future: Option<f64>,
    /// How wide the page is without its margins, and how far down the sentences begin.
    width: f64,
    sentences: f64,
}

/// How wide words in letters of one width are.
fn width_of(words: &str) -> f64 {
    columns(words) as f64 * LABEL * 0.605
}

fn label(words: &str) -> String {
    elided(words, MAX_LABEL)
}

impl Layout {
    fn of(diagram: &Diagram) -> Self {
        let names = (0..diagram.lanes.len()).map(|lane| width_of(&label(&diagram.lane_name(lane))));
        let left = MARGIN + names.fold(0.0, f64::max) + 14.0;
        // How far each line is taken.
        let mut taken = vec![left + 6.0; diagram.lanes.len()];
        let mut events: Vec<(f64, f64)> = Vec::new();
        let mut future = None;
        let caption = |words: &str| breadth(words) * CAPTION + GAP;
        for (number, event) in diagram.events.iter().enumerate() {
            if event.later && future.is_none() {
                let all = taken.iter().copied().fold(left + caption(BEFORE), f64::max);
                taken.fill(all + 2.0 * GAP);
                future = Some(all + GAP);
            }
            let width = if event.is_message() {
                DOT
            } else {
                width_of(&label(&event.words())) + 20.0
            };
            let mut middle = taken[event.lane] + GAP + width / 2.0;
            for [send, receive] in &diagram.messages {
                if *receive == number {
                    middle = middle.max(events[*send].0 + FLIGHT);
                }
            }
            taken[event.lane] = middle + width / 2.0;
            events.push((middle, width));
        }
        let least = future.map_or(left, |future| future + caption(LATER));
        let right = taken.iter().copied().fold(least, f64::max) + GAP;
        let longest = diagram
            .sentences
            .iter()
            .map(|sentence| (breadth(sentence) + 2.0) * SENTENCE);
        let for_words = longest.fold(breadth(&diagram.title) * TITLE, f64::max);
        let width = (right - MARGIN)
            .max(LEAST)
            .max(for_words.min(FOR_SENTENCES));
        Self {
            events,
            lines: (left, right.max(width + MARGIN)),
            future,
            width,
            sentences: lane_y(diagram.lanes.len()) - LANE + BOX + 34.0,
        }
    }
}

fn lane_y(lane: usize) -> f64 {
    TOP + lane as f64 * LANE
}

pub(super) fn svg(diagram: &Diagram) -> String {
    let layout = Layout::of(diagram);
    let mut body = String::new();
    draw_future(&mut body, diagram, &layout);
    draw_lines(&mut body, diagram, &layout);
    for [send, receive] in &diagram.messages {
        let at = |event: usize| (layout.events[event].0, lane_y(diagram.events[event].lane));
        draw_message(
            &mut body,
            at(*send),
            at(*receive),
            diagram.events[*receive].later,
        );
    }
    for number in 0..diagram.events.len() {
        draw_event(&mut body, diagram, &layout, number);
    }
    let bottom = draw_sentences(&mut body, diagram, &layout);
    let (width, height) = (layout.width + 2.0 * MARGIN, bottom + 6.0);
    let most = (20..160)
        .rev()
        .find(|&most| breadth(&elided(&diagram.title, most)) * TITLE <= layout.width);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
         <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n\
         <text x=\"{MARGIN}\" y=\"32\" class=\"t\">{shown}</text>\n{body}</svg>\n",
        title = escaped(&diagram.title),
        shown = escaped(&elided(&diagram.title, most.unwrap_or(20))),
    )
}

const STYLE: &str = "<style>\n\
    .paper{fill:#fff}.t{font:600 17px system-ui,sans-serif;fill:#1b1b1b}\
    .s{font:14px system-ui,sans-serif;fill:#1b1b1b}.k{font:12px system-ui,sans-serif;fill:#666}\
    .o{font:13px ui-monospace,monospace;fill:#1b1b1b;text-anchor:middle}\
    .n{font:600 13px ui-monospace,monospace;fill:#1b1b1b;text-anchor:end}\
    .line{stroke:#999;stroke-width:1.5}.b{fill:#eef3fb;stroke:#1f5fbf;stroke-width:1.3}\
    .i{fill:#f4f4f2;stroke:#666;stroke-width:1.3}\
    .m{stroke:#0a7d33;stroke-width:1.8;fill:none}.h{fill:#0a7d33}.d{fill:#0a7d33}\
    .z{fill:#fdf1e3}.c{stroke:#c2681a;stroke-width:1.3;stroke-dasharray:5 4}.f{fill:#9a4b06}\
    .bf{fill:#fff6ec;stroke:#c2681a;stroke-width:1.6}\n\
    @media (prefers-color-scheme:dark){.paper{fill:#16181c}.t,.s,.o,.n{fill:#e8e8e6}.k{fill:#a3a6ab}\
    .line{stroke:#6b6f76}.b{fill:#1d2b42;stroke:#7aa7f0}.i{fill:#26282c;stroke:#a3a6ab}\
    .m{stroke:#57c27d}.h,.d{fill:#57c27d}.z{fill:#2b2118}.c{stroke:#e39a55}.f{fill:#f0b37a}\
    .bf{fill:#382815;stroke:#e39a55}}\n</style>\n";

/// The shaded region of the future, and captions.
fn draw_future(body: &mut String, diagram: &Diagram, layout: &Layout) {
    let Some(future) = layout.future else {
        return;
    };
    let (top, bottom) = (TOP - 46.0, lane_y(diagram.lanes.len()) - LANE + BOX);
    let (left, right) = layout.lines;
    put(
        body,
        format_args!(
            "<rect x=\"{future:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"z\"/>\n\
             <path d=\"M{future:.1} {top:.1} V{bottom:.1}\" class=\"c\"/>\n\
             <text x=\"{left:.1}\" y=\"{:.1}\" class=\"k\">{BEFORE}</text>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"k f\">{LATER}</text>\n",
            right - future,
            bottom - top,
            top + 16.0,
            future + 9.0,
            top + 16.0,
        ),
    );
}

fn draw_lines(body: &mut String, diagram: &Diagram, layout: &Layout) {
    let (left, right) = layout.lines;
    for lane in 0..diagram.lanes.len() {
        let y = lane_y(lane);
        put(
            body,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"n\">{}</text>\n\
                 <path d=\"M{left:.1} {y:.1} H{right:.1}\" class=\"line\"/>\n",
                left - 10.0,
                y + 4.5,
                escaped(&label(&diagram.lane_name(lane))),
            ),
        );
    }
}

/// The line of a message stops where its head begins, and the head at the line of the receiver.
fn draw_message(body: &mut String, from: (f64, f64), to: (f64, f64), later: bool) {
    let (ux, uy) = (to.0 - from.0, to.1 - from.1);
    let norm = ux.hypot(uy).max(1.0);
    let (ux, uy) = (ux / norm, uy / norm);
    let tip = (to.0 - ux * DOT / 2.0, to.1 - uy * DOT / 2.0);
    let back = (tip.0 - ux * 10.0, tip.1 - uy * 10.0);
    let dashes = if later {
        " stroke-dasharray=\"6 4\""
    } else {
        ""
    };
    put(
        body,
        format_args!(
            "<path d=\"M{:.1} {:.1} L{:.1} {:.1}\" class=\"m\"{dashes}/>\n\
             <path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" class=\"h\"/>\n",
            from.0,
            from.1,
            back.0,
            back.1,
            tip.0,
            tip.1,
            back.0 - uy * 4.5,
            back.1 + ux * 4.5,
            back.0 + uy * 4.5,
            back.1 - ux * 4.5,
        ),
    );
}

fn draw_event(body: &mut String, diagram: &Diagram, layout: &Layout, number: usize) {
    let event = &diagram.events[number];
    let (x, width) = layout.events[number];
    let y = lane_y(event.lane);
    if event.is_message() {
        put(
            body,
            format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" class=\"d\"><title>message {}</title></circle>\n",
                DOT / 2.0,
                escaped(&event.words()),
            ),
        );
        return;
    }
    let class = match (event.later, event.kind) {
        (true, _) => "bf",
        (false, Kind::Internal) => "i",
        (false, Kind::Invoke | Kind::Respond | Kind::Call | Kind::Send | Kind::Receive) => "b",
    };
    let words = event.words();
    put(
        body,
        format_args!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BOX:.1}\" rx=\"7\" class=\"{class}\">\
             <title>{}</title></rect>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" class=\"o\">{}</text>\n",
            x - width / 2.0,
            y - BOX / 2.0,
            escaped(&words),
            y + 4.5,
            escaped(&label(&words)),
        ),
    );
}

/// Says how far down the last one is.
fn draw_sentences(body: &mut String, diagram: &Diagram, layout: &Layout) -> f64 {
    let mut y = layout.sentences;
    for sentence in &diagram.sentences {
        let words = sentence.trim_start_matches(' ');
        let indent = (sentence.len() - words.len()) as f64 * 9.0;
        let lines = wrapped(words, (layout.width - indent - 18.0) / SENTENCE);
        for (place, line) in lines.iter().enumerate() {
            let further = if place == 0 { 0.0 } else { 18.0 };
            put(
                body,
                format_args!(
                    "<text x=\"{:.0}\" y=\"{y:.0}\" class=\"s\">{}</text>\n",
                    MARGIN + indent + further,
                    escaped(line),
                ),
            );
            y += LINE;
        }
    }
    y
}
