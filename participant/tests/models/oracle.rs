//! The sequential model: committed transactions one after the other over an ordered map.
//!
//! Whoever commits is run again, alone, on what its predecessors have left: every answer must be the one that it got.

use std::collections::BTreeMap;

use participant::{Key, Operation, Reply, Value};

/// What the commits so far make.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    rows: BTreeMap<Key, Value>,
}

impl Oracle {
    /// A transaction has committed behind all others.
    pub(crate) fn commit(&mut self, who: u64, work: &[(Operation, Reply)]) {
        for (operation, reply) in work {
            let expected = self.run(operation);
            assert_eq!(
                *reply, expected,
                "transaction {who}: {operation:?} was answered as in no serial order by commits"
            );
        }
    }

    pub(crate) fn rows(&self) -> Vec<(Key, Value)> {
        let rows = self.rows.iter();
        rows.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn run(&mut self, operation: &Operation) -> Reply {
        match operation {
            Operation::Get(key) => Reply::Value(self.rows.get(key).cloned()),
            Operation::Put(key, value) => {
                self.rows.insert(key.clone(), value.clone());
                Reply::Done
            }
            Operation::Delete(key) => {
                self.rows.remove(key);
                Reply::Done
            }
            Operation::Scan(range) => {
                let inside = self.rows.iter().filter(|(key, _)| range.contains(key));
                let rows = inside.map(|(key, value)| (key.clone(), value.clone()));
                Reply::Rows(rows.collect())
            }
            Operation::Increment(key, by) => {
                let before = self.rows.get(key).map_or(0, |value| {
                    let bytes = value[..].try_into().expect("only numbers are stored");
                    i64::from_le_bytes(bytes)
                });
                let sum = (before + by).to_le_bytes();
                self.rows.insert(key.clone(), Value::from(sum.as_slice()));
                Reply::Done
            }
            Operation::Declare(_) => Reply::Done,
            Operation::Sql(_) => unreachable!("no plan has statements"),
        }
    }
}
