//! Numbers in values: eight little-endian bytes.
//!
//! Sums wrap around: an increment is decided after its vote, when nothing may refuse it any more, and
//! wrapping sums commute where saturating ones do not.

use crate::error::OperationError;
use crate::participant::Value;

/// The number in `value`; an absent one is zero. So is one that is not eight bytes long: only a blind
/// increment whose key got another sort of value in the meantime meets it (see
/// [`optimistic`](crate::engine::optimistic)).
pub(crate) fn decode(value: Option<&[u8]>) -> i64 {
    value
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i64::from_le_bytes)
}

/// `value` grown by `delta`.
pub(crate) fn add(value: Option<&[u8]>, delta: i64) -> Value {
    encode(decode(value).wrapping_add(delta))
}

pub(crate) fn encode(number: i64) -> Value {
    Value::from(number.to_le_bytes().as_slice())
}

/// Refuses to add to a value that is not a number.
pub(crate) fn check(value: Option<&[u8]>) -> Result<(), OperationError> {
    match value.map_or(8, <[u8]>::len) {
        8 => Ok(()),
        bytes => Err(OperationError::NotANumber { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_wrap_around() {
        let most = encode(i64::MAX);
        assert_eq!(decode(Some(&add(Some(&most), 1))), i64::MIN);
        assert_eq!(decode(Some(&add(None, -5))), -5);
    }
}
