//! Numbers and causes as a person reads them.

use std::time::Duration;

use coco::protocol::AbortCause;

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Milliseconds with two decimals, or a dash when there is nothing to tell.
pub(super) fn millis(duration: Option<Duration>) -> String {
    duration.map_or_else(
        || "-".to_owned(),
        |duration| format!("{:.2} ms", duration.as_secs_f64() * 1_000.0),
    )
}

/// `one` for 1, `many` otherwise, after the number.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// A cause of abort as a phrase.
pub(super) const fn cause(cause: AbortCause) -> &'static str {
    match cause {
        AbortCause::Client => "given up by the client",
        AbortCause::LocalCycle => "deadlock or cycle at one site",
        AbortCause::VotingDeadlock => "deadlock over several sites",
        AbortCause::StaleRead => "read a version since replaced",
        AbortCause::WriteConflict => "failed validation",
        AbortCause::Cascade => "read what was undone",
        AbortCause::Timeout => "waited too long",
        AbortCause::UnknownTransaction => "not known at a site",
        AbortCause::SiteUnreachable => "a site was unreachable",
        AbortCause::LogFailure => "a log failed",
        AbortCause::Outranked => "in an older one's way",
        AbortCause::DatabaseAway => "a site's database was away",
    }
}

/// A cause of abort as a key.
pub(super) const fn cause_key(cause: AbortCause) -> &'static str {
    match cause {
        AbortCause::Client => "client",
        AbortCause::LocalCycle => "local_cycle",
        AbortCause::VotingDeadlock => "voting_deadlock",
        AbortCause::StaleRead => "stale_read",
        AbortCause::WriteConflict => "write_conflict",
        AbortCause::Cascade => "cascade",
        AbortCause::Timeout => "timeout",
        AbortCause::UnknownTransaction => "unknown_transaction",
        AbortCause::SiteUnreachable => "site_unreachable",
        AbortCause::LogFailure => "log_failure",
        AbortCause::Outranked => "outranked",
        AbortCause::DatabaseAway => "database_away",
    }
}

/// Breaks text into lines of at most `width` characters where words end, each after `indent`; a longer
/// word gets a line of its own.
pub(super) fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && longer + indent.chars().count() > width {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn counts_agree_in_number() {
        assert_eq!(count(1, "row", "rows"), "1 row");
        assert_eq!(count(2_000, "row", "rows"), "2,000 rows");
    }

    #[test]
    fn durations_are_milliseconds() {
        assert_eq!(millis(Some(Duration::from_micros(1_234))), "1.23 ms");
        assert_eq!(millis(None), "-");
    }

    #[test]
    fn text_is_broken_between_words_and_loses_none() {
        let text = "one two three four";
        assert_eq!(wrapped(text, "  ", 10), "  one two\n  three\n  four\n");
        assert_eq!(wrapped("unbreakable", "", 4), "unbreakable\n");
        assert_eq!(wrapped("", "  ", 10), "");
    }
}
