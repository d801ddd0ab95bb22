//! Inputs that are sequences: each piece with its length before it, one byte for what it is and two
//! for how long.

/// Splits an input into pieces; the last one may be shorter than its length claims.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pieces = Vec::new();
    while let [kind, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push((*kind, piece));
        bytes = after;
    }
    pieces
}

/// Joins pieces to an input.
pub(crate) fn join<'a>(pieces: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, piece) in pieces {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        bytes.push(kind);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&piece[..usize::from(length)]);
    }
    bytes
}
