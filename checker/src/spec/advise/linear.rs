//! Comparisons of sums of columns: `balance - 2 * reserved >= 0`.

use super::document::{Result, Word};
use super::schema::{Column, Comparison, GREATEST, Linear};

const COMPARISONS: [(&str, Comparison); 7] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::NotEqual),
    ("==", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
    ("=", Comparison::Equal),
];

/// How a comparison is written.
pub(super) fn sign(comparison: Comparison) -> &'static str {
    let known = COMPARISONS.iter().find(|(_, it)| *it == comparison);
    known.map_or("?", |(sign, _)| sign)
}

/// A comparison at its sign: what is before, which, what is after.
pub(super) fn comparison<'a>(text: Word<'a>) -> Result<(&'a str, Comparison, &'a str)> {
    let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
        let (left, right) = text.text.split_once(sign)?;
        Some((left, *comparison, right))
    });
    found.map_or_else(|| text.wrong("a comparison has one of >= <= > < = !="), Ok)
}

/// Reads a comparison over the columns of one row; constants go to the right, columns to the left.
pub(super) fn linear(text: Word<'_>, columns: &[Column]) -> Result<Linear> {
    let (left, comparison, right) = comparison(text)?;
    let mut sum = Sum::default();
    sum.add(text, left, 1, columns)?;
    sum.add(text, right, -1, columns)?;
    sum.terms.retain(|(_, factor)| *factor != 0);
    if sum.terms.is_empty() {
        return text.wrong("a comparison needs a column");
    }
    Ok(Linear {
        terms: sum.terms,
        comparison,
        bound: -sum.constant,
    })
}

#[derive(Default)]
struct Sum {
    terms: Vec<(u8, i64)>,
    constant: i64,
}

impl Sum {
    fn add(&mut self, whole: Word<'_>, side: &str, sign: i64, columns: &[Column]) -> Result<()> {
        let spaced = side.replace('-', " - ").replace('+', " + ");
        let spaced = spaced.replace('*', " * ");
        let mut factor = sign;
        let mut pending: Option<i64> = None;
        let mut last = "";
        for token in spaced.split_whitespace() {
            match token {
                "+" | "-" => {
                    self.constant += factor * pending.take().unwrap_or(0);
                    factor = if token == "-" { -sign } else { sign };
                }
                "*" if pending.is_some() => {}
                "*" => return whole.wrong("write `number * column`"),
                number if number.parse::<i64>().is_ok_and(|it| it <= GREATEST) => {
                    if pending.is_some() || !matches!(last, "" | "+" | "-") {
                        return whole.wrong(format!("there is something missing before {number}"));
                    }
                    pending = number.parse().ok();
                }
                number if number.starts_with(|it: char| it.is_ascii_digit()) => {
                    return whole.wrong(format!("`{number}`: numbers are at most {GREATEST} here"));
                }
                name => {
                    if !name.starts_with(|it: char| it.is_alphabetic() || it == '_')
                        || matches!(name, "and" | "or" | "not")
                    {
                        return whole.wrong(format!(
                            "`{name}` is not in the language: a comparison is one of two sums of columns and numbers, \
                             such as `balance - 2 * reserved >= 0`; several of them are several invariants"
                        ));
                    }
                    if !matches!(last, "" | "+" | "-" | "*") {
                        return whole.wrong(format!("there is something missing before {name}"));
                    }
                    let name = Word {
                        text: name,
                        line: whole.line,
                    };
                    let names = columns.iter().map(|it| it.name.as_str());
                    let column = name.among("column", names)?;
                    self.count(column, factor * pending.take().unwrap_or(1));
                }
            }
            last = token;
        }
        if matches!(last, "" | "+" | "-" | "*") {
            return whole.wrong("a comparison has a column or a number on each side");
        }
        self.constant += factor * pending.unwrap_or(0);
        Ok(())
    }

    fn count(&mut self, column: u8, factor: i64) {
        match self.terms.iter_mut().find(|(its, _)| *its == column) {
            Some((_, known)) => *known += factor,
            None => self.terms.push((column, factor)),
        }
    }
}
