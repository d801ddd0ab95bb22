//! Definitions and sources, out of the documentation of models and anomalies: what is explained is what is documented.

/// What stands before each source.
const SOURCE: &str = "Source:";

/// What a documentation says before it names its source, in one line.
pub(super) fn definition(doc: &str) -> String {
    let (definition, _) = doc.split_once(SOURCE).unwrap_or((doc, ""));
    in_one_line(definition)
}

/// The source that a documentation names, without the full stop.
pub(super) fn source(doc: &str) -> String {
    let (_, source) = doc.split_once(SOURCE).unwrap_or(("", ""));
    let mut line = in_one_line(source);
    if line.ends_with('.') {
        line.pop();
    }
    line
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
