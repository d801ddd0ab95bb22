//! Sizes that every engine refuses, before it looks at the transaction.

use crate::error::OperationError;
use crate::participant::{
    Key, KeyRange, MAX_DECLARED_KEYS, MAX_KEY_BYTES, MAX_STATEMENT_BYTES, MAX_VALUE_BYTES,
    Operation,
};

pub(super) fn check(operation: &Operation) -> Result<(), OperationError> {
    match operation {
        Operation::Get(key) | Operation::Delete(key) | Operation::Increment(key, _) => {
            check_key(key)
        }
        Operation::Put(key, value) => {
            check_key(key)?;
            match value.len() {
                0..=MAX_VALUE_BYTES => Ok(()),
                bytes => Err(OperationError::ValueTooLong { bytes }),
            }
        }
        Operation::Scan(range) => check_range(range),
        Operation::Declare(keys) => {
            if keys.len() > MAX_DECLARED_KEYS {
                return Err(OperationError::TooManyKeys { keys: keys.len() });
            }
            keys.iter().try_for_each(check_key)
        }
        Operation::Sql(statement) => match statement.len() {
            0..=MAX_STATEMENT_BYTES => Ok(()),
            bytes => Err(OperationError::StatementTooLong { bytes }),
        },
    }
}

/// A range may begin at the empty key, before all keys.
pub(super) fn check_range(range: &KeyRange) -> Result<(), OperationError> {
    check_length(&range.low)?;
    match &range.high {
        None => Ok(()),
        Some(high) if *high <= range.low => Err(OperationError::InvalidRange),
        Some(high) => check_length(high),
    }
}

fn check_key(key: &Key) -> Result<(), OperationError> {
    if key.is_empty() {
        return Err(OperationError::EmptyKey);
    }
    check_length(key)
}

fn check_length(key: &Key) -> Result<(), OperationError> {
    match key.len() {
        0..=MAX_KEY_BYTES => Ok(()),
        bytes => Err(OperationError::KeyTooLong { bytes }),
    }
}
