//! Tables for people, at most a hundred columns wide.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::service::process::{self, Fatal};

/// The widest line.
const WIDTH: usize = 100;

/// Prints rows under their headings, columns as wide as need be; the last one is cut to fit.
///
/// # Errors
/// If standard output is closed.
pub fn print<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Fatal> {
    let bold = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = lines(headings, rows);
    for (index, line) in lines.iter().enumerate() {
        if index == 0 && bold {
            process::say(&format!("\x1b[1m{line}\x1b[0m"))?;
        } else {
            process::say(line)?;
        }
    }
    Ok(())
}

fn lines<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = headings.map(str::to_owned);
    let line = |cells: &[String; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        let line = line.trim_end();
        if line.chars().count() <= WIDTH {
            return line.to_owned();
        }
        let cut: String = line.chars().take(WIDTH - 1).collect();
        format!("{cut}…")
    };
    std::iter::once(&headings).chain(rows).map(line).collect()
}

/// A span as people say it.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..120 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A moment as `2026-03-01 12:00:00Z`.
pub(super) fn moment(at: SystemTime) -> String {
    let seconds = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar: years that begin in March
/// have their leap day last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_need_be_and_no_line_is_wider_than_a_hundred() {
        let rows = [
            ["1".to_owned(), "x".repeat(200)],
            ["4711".to_owned(), "short".to_owned()],
        ];
        let lines = lines(["GTID", "WHY"], &rows);
        assert_eq!(lines[0], "GTID  WHY");
        assert_eq!(lines[1].chars().count(), 100);
        assert!(lines[1].starts_with("1     xxx") && lines[1].ends_with('…'));
        assert_eq!(lines[2], "4711  short");
    }

    #[test]
    fn moments_are_of_the_calendar() {
        let of = |seconds| moment(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(of(0), "1970-01-01 00:00:00Z");
        assert_eq!(of(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(of(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(of(1_767_225_599), "2025-12-31 23:59:59Z");
    }

    #[test]
    fn spans_are_as_people_say_them() {
        let of = |millis| span(Duration::from_millis(millis));
        assert_eq!(
            [of(7), of(1500), of(119_999), of(120_000), of(7_200_000)],
            ["7 ms", "1.5 s", "119.9 s", "2 min", "2 h"]
        );
        assert_eq!(of(1_000_000_000), "11 days");
    }
}
