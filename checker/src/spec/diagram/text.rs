//! A diagram for a terminal.

use super::{Diagram, Kind, Mark};
use crate::svg::words::{columns, elided};

/// How many columns a label has at most.
const MAX_LABEL: usize = 44;
/// How far processes are apart at least.
const GAP: usize = 3;

pub(super) fn text(diagram: &Diagram) -> String {
    let cells: Vec<String> = (0..diagram.events.len())
        .map(|number| cell(diagram, number))
        .collect();
    let widths: Vec<usize> = (0..diagram.lanes.len())
        .map(|lane| {
            let here = diagram.events.iter().zip(&cells);
            let here = here.filter(|(event, _)| event.lane == lane);
            let widest = here.map(|(_, cell)| columns(cell)).max().unwrap_or(0);
            widest.max(columns(&name(diagram, lane))) + GAP
        })
        .collect();
    let row = |cell: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for (lane, width) in widths.iter().enumerate() {
            let cell = cell(lane);
            line.push_str(&cell);
            line.push_str(&" ".repeat(width.saturating_sub(columns(&cell))));
        }
        format!("  {}\n", line.trim_end())
    };
    let mut text = format!("{}\n\n", diagram.title);
    text.push_str(&row(&|lane| name(diagram, lane)));
    text.push_str(&row(&|_| "\u{2502}".to_owned()));
    let mut is_past = true;
    for (event, cell) in diagram.events.iter().zip(&cells) {
        if event.later && is_past {
            is_past = false;
            text.push_str(&divider(widths.iter().sum()));
        }
        text.push_str(&row(&|lane| {
            if lane == event.lane {
                cell.clone()
            } else {
                "\u{2502}".to_owned()
            }
        }));
    }
    text.push('\n');
    for sentence in &diagram.sentences {
        text.push_str(sentence);
        text.push('\n');
    }
    text
}

pub(super) fn line(diagram: &Diagram) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut is_past = true;
    for event in &diagram.events {
        // A message is told of once, where it arrives.
        if event.kind == Kind::Send {
            continue;
        }
        let then = if event.later && is_past { "then " } else { "" };
        is_past &= !event.later;
        let lane = &diagram.lanes[event.lane].name;
        parts.push(format!("{then}{lane}: {}", event.words()));
    }
    parts.join("; ")
}

fn name(diagram: &Diagram, lane: usize) -> String {
    elided(&diagram.lane_name(lane), MAX_LABEL)
}

/// Between the history and what only its future has.
fn divider(width: usize) -> String {
    const WORDS: &str = " only in the future: ";
    let line = "\u{2504}".repeat(width.saturating_sub(columns(WORDS) + 2).max(4));
    format!("  \u{2504}\u{2504}{WORDS}{line}\n")
}

fn cell(diagram: &Diagram, number: usize) -> String {
    let event = &diagram.events[number];
    let mark = match event.kind {
        Kind::Invoke | Kind::Respond | Kind::Call => '\u{25cf}',
        Kind::Internal => '\u{25aa}',
        Kind::Send | Kind::Receive => '\u{25cb}',
    };
    let words = match letter(diagram, number) {
        Some(letter) => format!("message {letter} {}", event.words()),
        None if event.is_message() => lost(event),
        None => event.words(),
    };
    format!("{mark} {}", elided(&words, MAX_LABEL))
}

fn lost(event: &Mark) -> String {
    format!("message {}, not there yet", event.words())
}

/// What the message is called that leaves or arrives in an event.
fn letter(diagram: &Diagram, event: usize) -> Option<String> {
    let message = diagram
        .messages
        .iter()
        .position(|ends| ends.contains(&event))?;
    let letter = char::from(b"abcdefghijklmnopqrstuvwxyz"[message % 26]);
    let round = message / 26;
    Some(if round == 0 {
        letter.to_string()
    } else {
        format!("{letter}{round}")
    })
}
