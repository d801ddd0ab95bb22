//! A diagram in the DOT language.

use super::Diagram;
use crate::svg::{put, quoted};

pub(super) fn dot(diagram: &Diagram) -> String {
    let mut dot = String::from("digraph history {\n  rankdir=LR;\n  node [shape=box];\n");
    put(
        &mut dot,
        format_args!("  label={};\n", quoted(&caption(diagram))),
    );
    for lane in 0..diagram.lanes.len() {
        let name = quoted(&diagram.lane_name(lane));
        put(
            &mut dot,
            format_args!("  p{lane} [label={name}, shape=plaintext];\n"),
        );
        let mut last = format!("p{lane}");
        for (number, event) in diagram.events.iter().enumerate() {
            if event.lane != lane {
                continue;
            }
            let style = if event.later { ", style=dashed" } else { "" };
            let words = quoted(&event.words());
            put(
                &mut dot,
                format_args!(
                    "  e{number} [label={words}{style}];\n  {last} -> e{number} [arrowhead=none];\n"
                ),
            );
            last = format!("e{number}");
        }
    }
    for [send, receive] in &diagram.messages {
        put(
            &mut dot,
            format_args!("  e{send} -> e{receive} [style=bold, constraint=true];\n"),
        );
    }
    dot.push_str("}\n");
    dot
}

/// What stands below: dashed boxes are explained if there are any.
fn caption(diagram: &Diagram) -> String {
    let mut lines = vec![diagram.title.clone()];
    if diagram.has_future() {
        lines.push("dashed: only in the future".to_owned());
    }
    lines.extend(diagram.sentences.iter().cloned());
    lines.join("\n")
}
