//! Draws conflicts in the DOT language of Graphviz.

use std::collections::BTreeSet;

use crate::explain::Step;
use crate::verdict::TxnRef;

/// A directed graph of the conflicts, with the kind, the key and the site on each arrow and the
/// sentence as its tooltip.
///
/// A key may hold `"` and `\`, which are escaped for DOT once more.
#[must_use]
pub fn to_dot(steps: &[Step]) -> String {
    let nodes: BTreeSet<&TxnRef> = steps
        .iter()
        .flat_map(|step| [&step.from, &step.to])
        .collect();
    let head = "digraph conflicts {\n  rankdir=LR;\n  node [shape=box];\n";
    let nodes = nodes
        .into_iter()
        .map(|node| format!("  {};\n", quoted(node)));
    let arrows = steps.iter().map(|step| {
        let label = format!("{} {}", step.reason.letters(), step.about());
        let label = label.trim_end();
        let (from, to) = (quoted(&step.from), quoted(&step.to));
        let (label, tooltip) = (quoted(&label), quoted(step));
        format!("  {from} -> {to} [label={label}, tooltip={tooltip}];\n")
    });
    let lines: String = nodes.chain(arrows).collect();
    format!("{head}{lines}}}\n")
}

fn quoted(item: &impl ToString) -> String {
    format!(
        "\"{}\"",
        item.to_string().replace('\\', "\\\\").replace('"', "\\\"")
    )
}
