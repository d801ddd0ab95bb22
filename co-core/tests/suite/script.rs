//! Schedules in textbook notation: `r1(x) w2(x) i3(n) c1 a2`, and `r2(x0)` for a read of the version of x
//! that transaction 0 wrote (0 is the initial state).

use std::fmt;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Act {
    Read,
    Write,
    Increment,
    Commit,
    Abort,
}

/// One operation or one end of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Op {
    pub(crate) act: Act,
    pub(crate) txn: u32,
    /// A space for the ends of transactions.
    pub(crate) item: char,
    pub(crate) version: Option<u32>,
}

impl Act {
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Commit | Self::Abort)
    }

    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Increment)
    }

    fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Increment => 'i',
            Self::Commit => 'c',
            Self::Abort => 'a',
        }
    }

    fn of(letter: char) -> Self {
        [
            Self::Read,
            Self::Write,
            Self::Increment,
            Self::Commit,
            Self::Abort,
        ]
        .into_iter()
        .find(|act| act.letter() == letter)
        .unwrap_or_else(|| panic!("no operation is written {letter:?}"))
    }
}

impl Op {
    pub(crate) fn new(act: Act, txn: u32, item: char) -> Self {
        Self {
            act,
            txn,
            item,
            version: None,
        }
    }

    pub(crate) fn end(act: Act, txn: u32) -> Self {
        Self::new(act, txn, ' ')
    }

    /// Two operations of different transactions on one item that do not commute.
    pub(crate) fn conflicts(&self, later: &Self) -> bool {
        let ends = self.act.is_end() || later.act.is_end();
        let commute = self.act == later.act && self.act != Act::Write;
        !ends && self.txn != later.txn && self.item == later.item && !commute
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.act.letter(), self.txn)?;
        if self.act.is_end() {
            return Ok(());
        }
        match self.version {
            Some(version) => write!(f, "({}{version})", self.item),
            None => write!(f, "({})", self.item),
        }
    }
}

/// Reads a whole schedule.
pub(crate) fn parse(text: &str) -> Vec<Op> {
    text.split_whitespace().map(parse_one).collect()
}

fn parse_one(token: &str) -> Op {
    let (head, item) = token.strip_suffix(')').map_or((token, None), |token| {
        token
            .split_once('(')
            .map_or((token, None), |(head, item)| (head, Some(item)))
    });
    let act = Act::of(head.chars().next().unwrap());
    let txn = head[1..].parse().unwrap();
    let item = item.unwrap_or(" ");
    Op {
        act,
        txn,
        item: item.chars().next().unwrap(),
        version: item[1..].parse().ok(),
    }
}

/// Writes a schedule as [`parse`] reads it.
pub(crate) fn render(schedule: &[Op]) -> String {
    let tokens: Vec<_> = schedule.iter().map(Op::to_string).collect();
    tokens.join(" ")
}

#[test]
fn notation_survives_a_round_trip() {
    let text = "r1(x) w2(x) i3(n) r2(x0) c1 a2";
    assert_eq!(render(&parse(text)), text);
    assert_eq!(parse("r12(y3)")[0].version, Some(3));
}
