//! What stands in boxes and beside arrows: cut to size in the middle, so that beginnings, ends and values stay.

use crate::assess::sentence;
use crate::observed::{Edge, Key, Observed, Op, Outcome, TxnIndex, Value, Why};

use super::{Arrow, Box};

/// How many lines of operations a box has at most.
const MAX_LINES: usize = 8;
/// How many columns a line of a box has at most.
const MAX_LINE: usize = 40;
/// How many columns the name of a box has at most.
pub(super) const MAX_NAME: usize = 32;
/// How many columns the label of an arrow has at most, without its number and letters.
pub(super) const MAX_LABEL: usize = 22;

/// The transactions of a cycle with what they did, and its edges.
pub(super) fn of_cycle(
    history: &Observed,
    cycle: &[Edge],
    sentences: &[String],
) -> (Vec<Box>, Vec<Arrow>) {
    let mut txns: Vec<TxnIndex> = Vec::new();
    for txn in cycle.iter().flat_map(|edge| [edge.from, edge.to]) {
        if !txns.contains(&txn) {
            txns.push(txn);
        }
    }
    let place = |txn: TxnIndex| txns.iter().position(|other| *other == txn).unwrap_or(0);
    let arrow = |(number, edge): (usize, &Edge)| {
        let (letters, key) = letters(edge);
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
    };
    let arrows = cycle.iter().enumerate().map(arrow).collect();
    let keys_of = |txn: TxnIndex| -> Vec<Key> {
        let near = cycle
            .iter()
            .filter(|edge| edge.from == txn || edge.to == txn);
        near.filter_map(|edge| letters(edge).1).collect()
    };
    let boxes = txns
        .iter()
        .map(|&txn| box_of(history, txn, &keys_of(txn)))
        .collect();
    (boxes, arrows)
}

const fn letters(edge: &Edge) -> (&'static str, Option<Key>) {
    match edge.why {
        Why::WriteWrite { key, .. } => ("ww", Some(key)),
        Why::WriteRead { key, .. } => ("wr", Some(key)),
        Why::ReadWrite { key, .. } => ("rw", Some(key)),
        Why::Session => ("session", None),
        Why::Realtime => ("real time", None),
    }
}

/// If there is no room for all operations, those on the keys that its arrows are about come first.
fn box_of(history: &Observed, txn: TxnIndex, keys: &[Key]) -> Box {
    let of = history.txn(txn);
    let mut name = format!("T{}", txn.0);
    if let Some(session) = of.session {
        name.push_str(&format!("  session {}", session.0));
    }
    match of.outcome {
        Outcome::Committed => {}
        Outcome::Aborted => name.push_str("  aborted"),
        Outcome::Unknown => name.push_str("  unknown"),
    }
    let ops = history.ops(txn);
    let mut shown: Vec<usize> = (0..ops.len()).collect();
    shown.sort_by_key(|&place| !keys.contains(&ops[place].key()));
    shown.truncate(MAX_LINES);
    shown.sort_unstable();
    let mut lines: Vec<String> = shown
        .iter()
        .map(|&place| op_words(history, &ops[place]))
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
            line("read   ", key, " = ", &value)
        }
        Op::Write { value, .. } => line("write  ", key, " = ", &history.value_name(value)),
        Op::Append { value, .. } => line("append ", key, " += ", &history.value_name(value)),
        Op::Unseen { .. } => line("read   ", key, " = ", "?"),
        Op::ReadList { elements, .. } => {
            let list = history.elements(elements);
            let room = (MAX_LINE - 10).saturating_sub(columns(key)).max(18);
            line("read   ", key, " = ", &list_words(history, list, room))
        }
    }
}

/// A list in about so many columns: the end of a list says most.
fn list_words(history: &Observed, list: &[Value], room: usize) -> String {
    let count = format!(" ({})", list.len());
    let mut shown: Vec<String> = Vec::new();
    let mut used = 2;
    for &value in list.iter().rev() {
        let name = history.value_name(value);
        let is_whole = shown.len() + 1 == list.len();
        let left_out = if is_whole { 0 } else { 2 + columns(&count) };
        used += columns(&name) + 1;
        if used + left_out > room + 1 && !shown.is_empty() {
            shown.reverse();
            return format!("[… {}]{count}", shown.join(" "));
        }
        shown.push(name);
    }
    shown.reverse();
    format!("[{}]", shown.join(" "))
}

/// A line of a box that has room for it: the key gives way before the value does.
pub(super) fn line(verb: &str, key: &str, between: &str, value: &str) -> String {
    let room = MAX_LINE - columns(verb) - columns(between);
    let wanted = columns(value);
    let for_value = wanted.min((room - room / 3).max(room.saturating_sub(columns(key))));
    let key = elided(key, room - for_value);
    format!("{verb}{key}{between}{}", elided(value, for_value))
}

/// The text, or its beginning and its end.
pub(crate) fn elided(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let within = |room: usize, all: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut used = 0;
        all.take_while(|character| {
            used += columns_of(*character);
            used <= room
        })
        .collect()
    };
    // Numbers and suffixes tell names apart.
    let head = within(kept / 2, &mut text.chars());
    let tail = within(kept - kept / 2, &mut text.chars().rev());
    head.into_iter()
        .chain(['…'])
        .chain(tail.into_iter().rev())
        .collect()
}

/// How many columns a text takes in letters of one width.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

const fn columns_of(character: char) -> usize {
    match character {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f000}'..='\u{1faff}'
        | '\u{20000}'..='\u{3ffff}' => 2,
        _ => 1,
    }
}

/// About how wide a character of a proportional font is, in its size; rather too much.
pub(crate) fn breadth(text: &str) -> f64 {
    let of = |character: char| match character {
        'i' | 'j' | 'l' | 'f' | 't' | 'r' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.41,
        '(' | ')' | '[' | ']' | '-' | '"' => 0.46,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' | '→' | '\u{fffd}' => 1.02,
        'A'..='Z' => 0.75,
        other => 0.64 * columns_of(other) as f64,
    };
    text.chars().map(of).sum()
}

/// The text in lines of at most this breadth; words that are longer are broken.
pub(crate) fn wrapped(text: &str, most: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        if !line.is_empty() && breadth(line) + breadth(" ") + breadth(word) <= most {
            line.push(' ');
        } else if !line.is_empty() {
            lines.push(String::new());
        }
        let mut used = breadth(lines.last().map_or("", String::as_str));
        for character in word.chars() {
            used += breadth(character.encode_utf8(&mut [0; 4]));
            if used > most {
                lines.push(String::new());
                used = breadth(character.encode_utf8(&mut [0; 4]));
            }
            let line = lines.last_mut().expect("as above");
            line.push(character);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends_and_values_stay_whole() {
        assert_eq!(elided("short", 8), "short");
        assert_eq!(elided("a-very-long-name-17", 10), "a-ve…me-17");
        assert_eq!(elided("数据库的很长的名字", 8), "数…名字");
        let key = "a-very-long-table-name/with-a-very-long-row-name/17";
        let words = line("write  ", key, " = ", "1234567");
        assert_eq!(words, "write  a-very-long…row-name/17 = 1234567");
        assert!(columns(&words) <= MAX_LINE, "{words}");
        let both = line("read   ", key, " = ", &key.replace('/', "!"));
        assert!(
            columns(&both) <= MAX_LINE && both.ends_with("!17"),
            "{both}"
        );
    }

    #[test]
    fn sentences_use_the_breadth_that_there_is_and_long_words_are_broken() {
        let text = "T1 read the key and T2 wrote it after that ".repeat(4);
        for line in wrapped(text.trim_end(), 30.0)
            .split_last()
            .expect("lines")
            .1
        {
            assert!(breadth(line) <= 30.0 && breadth(line) > 22.0, "{line}");
        }
        let broken = wrapped(&format!("T1 read {} as 5", "x".repeat(100)), 30.0);
        assert!(
            broken.iter().all(|line| breadth(line) <= 30.0),
            "{broken:?}"
        );
        assert_eq!(broken.concat().matches('x').count(), 100);
    }
}
