//! A TOML document whose every part knows its line.
//!
//! - **I1** Every key is asked for, or [`Section::finish`] is an error that names it and the nearest key that there is.

use std::collections::BTreeSet;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with an application, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct InputError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what to write instead.
    pub message: String,
}

pub(super) type Result<T> = std::result::Result<T, InputError>;

/// The text, to find lines in.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a>(pub(super) &'a str);

impl Lines<'_> {
    fn of(self, offset: usize) -> usize {
        let before = self.0.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn syntax(self, error: &toml::de::Error) -> InputError {
        InputError {
            line: self.of(error.span().map_or(0, |span| span.start)),
            message: format!("this is not TOML: {}", error.message()),
        }
    }
}

/// A name or text, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl Word<'_> {
    pub(super) fn wrong<T>(self, message: impl Into<String>) -> Result<T> {
        wrong(self.line, message)
    }

    /// The place of this name among others; what they are is for the message.
    pub(super) fn among<'n>(
        self,
        what: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<u8> {
        let place = names.clone().position(|name| name == self.text);
        let place = place.and_then(|it| u8::try_from(it).ok());
        place.map_or_else(
            || {
                let hint = nearest(self.text, names);
                self.wrong(format!("there is no {what} `{}`{hint}", self.text))
            },
            Ok,
        )
    }
}

pub(super) fn wrong<T>(line: usize, message: impl Into<String>) -> Result<T> {
    Err(InputError {
        line,
        message: message.into(),
    })
}

/// A value, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    value: &'a DeValue<'a>,
    pub(super) line: usize,
    lines: Lines<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn new(value: &'a Spanned<DeValue<'a>>, lines: Lines<'a>) -> Self {
        Self {
            value: value.get_ref(),
            line: lines.of(value.span().start),
            lines,
        }
    }

    pub(super) fn word(self) -> Result<Word<'a>> {
        match self.value.as_str() {
            Some(text) => Ok(Word {
                text,
                line: self.line,
            }),
            None => self.expected("a text"),
        }
    }

    pub(super) fn number(self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(super) fn boolean(self) -> Result<bool> {
        self.value
            .as_bool()
            .map_or_else(|| self.expected("true or false"), Ok)
    }

    pub(super) fn list(self) -> Result<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            return self.expected("a list");
        };
        Ok(array.iter().map(|it| Node::new(it, self.lines)).collect())
    }

    pub(super) fn words(self) -> Result<Vec<Word<'a>>> {
        self.list()?.into_iter().map(Self::word).collect()
    }

    pub(super) const fn is_section(self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub(super) fn section(self, what: &'static str) -> Result<Section<'a>> {
        match self.value {
            DeValue::Table(table) => Ok(Section {
                table,
                line: self.line,
                lines: self.lines,
                asked: BTreeSet::new(),
                what,
            }),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => self.expected("a table `{ ... }`"),
        }
    }

    pub(super) fn expected<T>(self, what: &str) -> Result<T> {
        let found = self.value.type_str();
        wrong(self.line, format!("expected {what}, and found {found}"))
    }
}

/// A table of a document, which keeps in mind what it was asked for.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    pub(super) line: usize,
    lines: Lines<'a>,
    asked: BTreeSet<&'static str>,
    what: &'static str,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>, lines: Lines<'a>) -> Self {
        Self {
            table: table.get_ref(),
            line: 1,
            lines,
            asked: BTreeSet::new(),
            what: "the file",
        }
    }

    pub(super) fn maybe(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.asked.insert(key);
        self.table.get(key).map(|it| Node::new(it, self.lines))
    }

    pub(super) fn must(&mut self, key: &'static str) -> Result<Node<'a>> {
        let what = self.what;
        self.maybe(key).map_or_else(
            || wrong(self.line, format!("{what} needs `{key} = ...`")),
            Ok,
        )
    }

    /// All keys with their values, in the order of the keys, where the keys are names of the author's.
    pub(super) fn entries(&self) -> Vec<(Word<'a>, Node<'a>)> {
        let entry = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, _)| {
            let line = self.lines.of(key.span().start);
            let text = key.get_ref().as_ref();
            (Word { text, line }, Node::new(value, self.lines))
        };
        self.table.iter().map(entry).collect()
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        let asked = || self.asked.iter().copied();
        let stranger = self
            .entries()
            .into_iter()
            .find(|(key, _)| !self.asked.contains(key.text));
        let Some((key, _)) = stranger else {
            return Ok(());
        };
        let hint = nearest(key.text, asked());
        let all: Vec<String> = asked().map(|it| format!("`{it}`")).collect();
        key.wrong(format!(
            "{} has no key `{}`{hint} (it can have {})",
            self.what,
            key.text,
            all.join(", ")
        ))
    }
}

/// "; did you mean ...?", or what there is.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    let near = names.clone().map(|it| (distance(name, it), it)).min();
    match near {
        Some((distance, near)) if distance <= 1 + name.chars().count() / 3 => {
            format!("; did you mean `{near}`?")
        }
        Some(_) => {
            let all: Vec<String> = names.map(|it| format!("`{it}`")).collect();
            format!("; there is {}", all.join(", "))
        }
        None => "; there is none at all".to_owned(),
    }
}

/// How many characters must be changed, added or left out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, mine) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (at, theirs) in other.iter().enumerate() {
            let changed = diagonal + usize::from(mine != *theirs);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
