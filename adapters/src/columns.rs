//! Keys and values of a site, spelled in the columns of a table that somebody else has made.
//!
//! A site orders its keys as bytes, so a key of several columns is spelled such that the order of the bytes is the order of
//! the columns: then a range of keys is a range of rows.
//!
//! | column | bytes of the key |
//! |---|---|
//! | an integer | eight, most significant first, with the sign bit flipped |
//! | a UUID | its sixteen |
//! | text, bytes; the last column | as they are |
//! | text, bytes; an earlier one | as they are, but each 0 becomes 0 255, and 0 0 ends it |
//!
//! A single column that is declared as value and cannot be null is the value, as text (bytes stay bytes). Several, or one
//! that may be null, are a JSON object of texts and nulls, with the names of the columns in their declared order.
//!
//! Invariants:
//! - C1 [`Kinds::decode`] takes what [`Kinds::encode`] gives, and nothing else.
//! - C2 `a < b` as tuples if and only if `encode(a) < encode(b)`.

use std::fmt::Write;

/// What of a table makes a site's rows: the module says how they are spelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableColumns {
    /// The columns of the key, which have a unique index of their own.
    pub key: Vec<String>,
    /// The columns of the value.
    pub value: Vec<String>,
}

/// What kind of column a part of a key is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number of up to eight bytes, with a sign.
    Integer,
    /// Sixteen bytes.
    Uuid,
    /// Text in UTF-8, compared as bytes.
    Text,
    /// Bytes.
    Bytes,
}

/// A part of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cell {
    /// In a column of [`Kind::Integer`].
    Integer(i64),
    /// In a column of [`Kind::Uuid`].
    Uuid([u8; 16]),
    /// In a column of [`Kind::Text`].
    Text(String),
    /// In a column of [`Kind::Bytes`].
    Bytes(Vec<u8>),
}

impl Cell {
    /// The kind of column that it fits into.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) => Kind::Integer,
            Self::Uuid(_) => Kind::Uuid,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
        }
    }
}

/// The kinds of a key's columns, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kinds(Vec<Kind>);

const SIGN: u64 = 1 << 63;

impl Kinds {
    /// A key of such columns.
    ///
    /// # Panics
    /// Without a column.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        assert!(!kinds.is_empty(), "a key has a column");
        Self(kinds)
    }

    /// How many columns.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The key of these cells; `None` if they do not fit the columns.
    #[must_use]
    pub fn encode(&self, cells: &[Cell]) -> Option<Vec<u8>> {
        let fits = cells.iter().map(Cell::kind).eq(self.0.iter().copied());
        if !fits {
            return None;
        }
        let mut key = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let last = at + 1 == cells.len();
            match cell {
                Cell::Integer(number) => {
                    key.extend((number.cast_unsigned() ^ SIGN).to_be_bytes());
                }
                Cell::Uuid(uuid) => key.extend(uuid),
                Cell::Text(text) => push(&mut key, text.as_bytes(), last),
                Cell::Bytes(bytes) => push(&mut key, bytes, last),
            }
        }
        Some(key)
    }

    /// The cells of a key; `None` if it is no key of such columns.
    #[must_use]
    pub fn decode(&self, key: &[u8]) -> Option<Vec<Cell>> {
        let cells = self.decode_start(key)?;
        (cells.len() == self.0.len()).then_some(cells)
    }

    /// The cells of a key, or of the first columns of keys: that is where a range may begin or end. `None` if the bytes
    /// end within a cell.
    #[must_use]
    pub fn decode_start(&self, key: &[u8]) -> Option<Vec<Cell>> {
        let (mut cells, mut rest) = (Vec::new(), key);
        for (at, kind) in self.0.iter().enumerate() {
            let last = at + 1 == self.0.len();
            let variable = matches!(kind, Kind::Text | Kind::Bytes);
            if rest.is_empty() && !(last && variable) {
                break;
            }
            let (cell, after) = match kind {
                Kind::Integer => {
                    let (number, after) = rest.split_first_chunk()?;
                    let number = u64::from_be_bytes(*number) ^ SIGN;
                    (Cell::Integer(number.cast_signed()), after)
                }
                Kind::Uuid => {
                    let (uuid, after) = rest.split_first_chunk()?;
                    (Cell::Uuid(*uuid), after)
                }
                Kind::Text => {
                    let (bytes, after) = pull(rest, last)?;
                    (Cell::Text(String::from_utf8(bytes).ok()?), after)
                }
                Kind::Bytes => {
                    let (bytes, after) = pull(rest, last)?;
                    (Cell::Bytes(bytes), after)
                }
            };
            cells.push(cell);
            rest = after;
        }
        rest.is_empty().then_some(cells)
    }
}

fn push(key: &mut Vec<u8>, bytes: &[u8], last: bool) {
    if last {
        key.extend(bytes);
        return;
    }
    for byte in bytes {
        key.push(*byte);
        if *byte == 0 {
            key.push(255);
        }
    }
    key.extend([0, 0]);
}

fn pull(key: &[u8], last: bool) -> Option<(Vec<u8>, &[u8])> {
    if last {
        return Some((key.to_vec(), &[]));
    }
    let (mut bytes, mut rest) = (Vec::new(), key);
    loop {
        match rest {
            [0, 0, after @ ..] => return Some((bytes, after)),
            [0, 255, after @ ..] => {
                bytes.push(0);
                rest = after;
            }
            [0, ..] | [] => return None,
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

/// How the declared value columns make a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Values {
    /// One column that cannot be null.
    One {
        /// It holds bytes, not text.
        bytes: bool,
    },
    /// A JSON object with these names.
    Object(Vec<String>),
}

impl Values {
    /// The value of what the columns hold, as texts; bytes as they are where [`Values::One`] says so.
    ///
    /// # Panics
    /// If there are more or fewer cells than columns.
    #[must_use]
    pub fn encode(&self, cells: &[Option<&[u8]>]) -> Vec<u8> {
        match (self, cells) {
            (Self::One { .. }, [Some(cell)]) => cell.to_vec(),
            (Self::One { .. }, _) => panic!("one cell that is not null was asked for"),
            (Self::Object(names), cells) => {
                assert_eq!(names.len(), cells.len(), "a cell for each column");
                let mut object = String::from("{");
                for (at, (name, cell)) in names.iter().zip(cells).enumerate() {
                    if at > 0 {
                        object.push(',');
                    }
                    json(&mut object, name);
                    object.push(':');
                    match cell {
                        Some(text) => json(&mut object, &String::from_utf8_lossy(text)),
                        None => object.push_str("null"),
                    }
                }
                object.push('}');
                object.into_bytes()
            }
        }
    }

    /// What the columns are to hold; `None` if the value does not say it for exactly these columns.
    #[must_use]
    pub fn decode(&self, value: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
        match self {
            Self::One { bytes: true } => Some(vec![Some(value.to_vec())]),
            Self::One { bytes: false } => {
                let text = std::str::from_utf8(value).ok()?;
                Some(vec![Some(text.as_bytes().to_vec())])
            }
            Self::Object(names) => {
                let object: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(value).ok()?;
                if object.len() != names.len() {
                    return None;
                }
                let cell = |name: &String| match object.get(name)? {
                    serde_json::Value::Null => Some(None),
                    serde_json::Value::String(text) => Some(Some(text.clone().into_bytes())),
                    serde_json::Value::Number(number) => {
                        Some(Some(number.to_string().into_bytes()))
                    }
                    serde_json::Value::Bool(truth) => Some(Some(truth.to_string().into_bytes())),
                    serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
                };
                names.iter().map(cell).collect()
            }
        }
    }
}

fn json(object: &mut String, text: &str) {
    write!(object, "{}", serde_json::Value::from(text)).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells whose bytes are next to each other, or contain what ends a cell.
    fn cells(kind: Kind) -> Vec<Cell> {
        let texts = ["", "\0", "\0\0", "\0\u{1}", "a", "a\0", "a\0b", "aa", "b"];
        match kind {
            Kind::Integer => [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]
                .map(Cell::Integer)
                .to_vec(),
            Kind::Uuid => [[0; 16], [1; 16], [255; 16]].map(Cell::Uuid).to_vec(),
            Kind::Text => texts.map(|text| Cell::Text(text.to_owned())).to_vec(),
            Kind::Bytes => {
                let mut bytes = texts.map(|text| text.as_bytes().to_vec()).to_vec();
                bytes.extend([vec![0, 255], vec![255], vec![0, 1, 0]]);
                bytes.into_iter().map(Cell::Bytes).collect()
            }
        }
    }

    #[test]
    fn keys_are_ordered_as_their_cells_and_found_again() {
        let all = [Kind::Integer, Kind::Uuid, Kind::Text, Kind::Bytes];
        for first in all {
            for second in all {
                let kinds = Kinds::new(vec![first, second]);
                let mut pairs = Vec::new();
                for a in cells(first) {
                    for b in cells(second) {
                        let tuple = vec![a.clone(), b];
                        let key = kinds.encode(&tuple).unwrap();
                        assert_eq!(kinds.decode(&key), Some(tuple.clone()), "{key:?}");
                        pairs.push((tuple, key));
                    }
                }
                for (tuple, key) in &pairs {
                    for (other, other_key) in &pairs {
                        assert_eq!(tuple.cmp(other), key.cmp(other_key), "{tuple:?} {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_start_of_a_key_is_its_first_columns_and_half_a_cell_is_nothing() {
        let kinds = Kinds::new(vec![Kind::Integer, Kind::Text, Kind::Integer]);
        let text = || Cell::Text("t".to_owned());
        let whole = [Cell::Integer(7), text(), Cell::Integer(8)];
        let key = kinds.encode(&whole).unwrap();
        assert_eq!(kinds.decode_start(&[]), Some(vec![]));
        assert_eq!(kinds.decode_start(&key[..8]), Some(vec![Cell::Integer(7)]));
        assert_eq!(
            kinds.decode_start(&key[..11]),
            Some(vec![Cell::Integer(7), text()])
        );
        assert_eq!(kinds.decode(&key[..11]), None);
        for end in [1, 7, 9, 10, 12, 18] {
            assert_eq!(kinds.decode_start(&key[..end]), None, "{end}");
        }
        assert_eq!(kinds.decode(&[&key[..], b"x"].concat()), None);
        assert_eq!(kinds.encode(&whole[..2]), None);
        let text = Kinds::new(vec![Kind::Text]);
        assert_eq!(text.decode(&[0xff]), None);
    }

    #[test]
    fn a_value_is_one_cell_or_an_object_of_exactly_these_columns() {
        let one = Values::One { bytes: false };
        assert_eq!(one.encode(&[Some(b"7")]), b"7");
        assert_eq!(one.decode(b"7"), Some(vec![Some(b"7".to_vec())]));
        assert_eq!(one.decode(&[0xff]), None);
        let bytes = Values::One { bytes: true };
        assert_eq!(bytes.decode(&[0xff]), Some(vec![Some(vec![0xff])]));
        let object = Values::Object(vec!["b".to_owned(), "a".to_owned()]);
        let value = object.encode(&[Some(b"\"1\""), None]);
        assert_eq!(value, br#"{"b":"\"1\"","a":null}"#);
        assert_eq!(
            object.decode(&value),
            Some(vec![Some(b"\"1\"".to_vec()), None])
        );
        assert_eq!(
            object.decode(br#"{"a": true, "b": 2}"#),
            Some(vec![Some(b"2".to_vec()), Some(b"true".to_vec())])
        );
        for wrong in [
            &br#"{"a":null}"#[..],
            br#"{"a":null,"b":null,"c":null}"#,
            br#"{"a":null,"c":null}"#,
            br#"{"a":[],"b":null}"#,
            b"7",
        ] {
            assert_eq!(object.decode(wrong), None);
        }
    }
}
