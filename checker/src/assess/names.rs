//! Names that people use for shapes of cycles, beside those of the taxonomy.

use crate::observed::{Edge, Key, Why};

/// What people call a cycle of this shape, if they have a name for it.
///
/// - *write skew*: two transactions, each of which read what the other then wrote, of different keys (Berenson et al. 1995);
/// - *lost update*: the same of one key;
/// - *fractured read*: a transaction read one write of another and not another one (Bailis et al. 2014), also known as
///   read skew;
/// - *long fork*: two transactions that saw two writes in opposite orders (Sovran et al. 2011).
#[must_use]
pub fn common_name(cycle: &[Edge]) -> Option<&'static str> {
    let rw = |edge: &Edge| match edge.why {
        Why::ReadWrite { key, .. } => Some(key),
        Why::WriteWrite { .. } | Why::WriteRead { .. } | Why::Session | Why::Realtime => None,
    };
    let wr = |edge: &Edge| match edge.why {
        Why::WriteRead { key, .. } => Some(key),
        Why::WriteWrite { .. } | Why::ReadWrite { .. } | Why::Session | Why::Realtime => None,
    };
    let differ = |one: Option<Key>, other: Option<Key>| one.zip(other).map(|(a, b)| a != b);
    match cycle {
        [one, other] => {
            if let Some(different) = differ(rw(one), rw(other)) {
                return Some(if different {
                    "write skew"
                } else {
                    "lost update"
                });
            }
            let skewed = differ(wr(one), rw(other)).or_else(|| differ(rw(one), wr(other)));
            (skewed == Some(true)).then_some("fractured read")
        }
        [_, _, _, _] => {
            let alternates = |first: usize| {
                let at = |place: usize| &cycle[(first + place) % 4];
                differ(wr(at(0)), rw(at(1))) == Some(true)
                    && differ(wr(at(2)), rw(at(3))) == Some(true)
            };
            (alternates(0) || alternates(1)).then_some("long fork")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{TxnIndex, Value};

    fn edge(from: u32, to: u32, why: Why) -> Edge {
        let (from, to) = (TxnIndex(from), TxnIndex(to));
        Edge { from, to, why }
    }

    fn rw(key: u32) -> Why {
        let wrote = Value::number(1).unwrap();
        let (key, read) = (Key(key), None);
        Why::ReadWrite { key, read, wrote }
    }

    fn wr(key: u32) -> Why {
        let value = Value::number(1).unwrap();
        let key = Key(key);
        Why::WriteRead { key, value }
    }

    #[test]
    fn shapes_have_their_names_and_others_none() {
        let two = |one, other| common_name(&[edge(0, 1, one), edge(1, 0, other)]);
        assert_eq!(two(rw(1), rw(2)), Some("write skew"));
        assert_eq!(two(rw(1), rw(1)), Some("lost update"));
        assert_eq!(two(wr(1), rw(2)), Some("fractured read"));
        assert_eq!(two(rw(2), wr(1)), Some("fractured read"));
        assert_eq!(two(wr(1), rw(1)), None);
        assert_eq!(two(wr(1), wr(2)), None);
        assert_eq!(two(Why::Session, rw(2)), None);
        let four = |whys: [Why; 4]| {
            let edges: Vec<Edge> = (0..4)
                .map(|it| edge(it, (it + 1) % 4, whys[it as usize]))
                .collect();
            common_name(&edges)
        };
        assert_eq!(four([wr(1), rw(2), wr(2), rw(1)]), Some("long fork"));
        assert_eq!(four([rw(2), wr(2), rw(1), wr(1)]), Some("long fork"));
        assert_eq!(four([wr(1), rw(2), rw(1), wr(2)]), None);
        assert_eq!(four([wr(1), rw(1), wr(2), rw(2)]), None);
    }
}
