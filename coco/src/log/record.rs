//! The coordinator's records and their bytes (drawn in `docs/log-format.md`).
//!
//! Invariant (R1): `decode(encode(r)) == r`, and no other bytes decode to `r`.

use co_core::{Gtid, Stamp};

use crate::protocol::{CoordinatorId, Epoch, SiteName};

/// What a coordinator writes to its log. Aborts are not written: what is not there was aborted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// A life of the coordinator begins. Durable before any gtid of the epoch is handed out.
    Epoch {
        /// Which coordinator.
        coordinator: CoordinatorId,
        /// Which life.
        epoch: Epoch,
    },
    /// The decision to commit. Durable before anybody hears of it.
    Commit {
        /// Whose.
        gtid: Gtid,
        /// Its place in the order of all sites.
        stamp: Stamp,
        /// Who must acknowledge it.
        sites: Vec<SiteName>,
    },
    /// Every site has acknowledged: the commit need not be remembered. Written without force.
    End {
        /// Whose.
        gtid: Gtid,
    },
}

/// Why bytes are not a record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A kind that this version does not know.
    #[error("a coordinator record of unknown kind {0}; was the log written by a newer version?")]
    UnknownKind(u8),
    /// Too short, too long, or not text where text must be.
    #[error("a coordinator record is malformed: {0}")]
    Malformed(&'static str),
}

const EPOCH: u8 = 1;
const COMMIT: u8 = 2;
const END: u8 = 3;

impl Record {
    /// The bytes.
    ///
    /// # Panics
    ///
    /// If there are 2^16 sites or a site's name has 2^16 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        match self {
            Self::Epoch { coordinator, epoch } => {
                bytes.push(EPOCH);
                bytes.push(coordinator.0);
                bytes.extend_from_slice(&epoch.number().to_le_bytes());
            }
            Self::Commit { gtid, stamp, sites } => {
                bytes.push(COMMIT);
                bytes.extend_from_slice(&gtid.0.to_le_bytes());
                bytes.extend_from_slice(&stamp.0.to_le_bytes());
                bytes.extend_from_slice(&short(sites.len()).to_le_bytes());
                for site in sites {
                    bytes.extend_from_slice(&short(site.as_str().len()).to_le_bytes());
                    bytes.extend_from_slice(site.as_str().as_bytes());
                }
            }
            Self::End { gtid } => {
                bytes.push(END);
                bytes.extend_from_slice(&gtid.0.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads the bytes of one record.
    ///
    /// # Errors
    ///
    /// If they are not exactly one record of a known kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader { rest: bytes };
        let record = match reader.array::<1>()?[0] {
            EPOCH => {
                let coordinator = CoordinatorId(reader.array::<1>()?[0]);
                let epoch = Epoch::new(u32::from_le_bytes(reader.array()?))
                    .ok_or(RecordError::Malformed("an epoch above 24 bits"))?;
                Self::Epoch { coordinator, epoch }
            }
            COMMIT => {
                let gtid = Gtid(u64::from_le_bytes(reader.array()?));
                let stamp = Stamp(u64::from_le_bytes(reader.array()?));
                let count = u16::from_le_bytes(reader.array()?);
                let sites = (0..count)
                    .map(|_| reader.site())
                    .collect::<Result<_, _>>()?;
                Self::Commit { gtid, stamp, sites }
            }
            END => Self::End {
                gtid: Gtid(u64::from_le_bytes(reader.array()?)),
            },
            other => return Err(RecordError::UnknownKind(other)),
        };
        if reader.rest.is_empty() {
            Ok(record)
        } else {
            Err(RecordError::Malformed("bytes left over"))
        }
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).expect("site names and their number stay far below 2^16")
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(RecordError::Malformed("too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn site(&mut self) -> Result<SiteName, RecordError> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let (name, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(RecordError::Malformed("too short"))?;
        self.rest = rest;
        let name = std::str::from_utf8(name)
            .map_err(|_| RecordError::Malformed("a site's name is not UTF-8"))?;
        Ok(SiteName::new(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<u8>(), 0..=Epoch::LAST.number()).prop_map(|(id, epoch)| Record::Epoch {
                coordinator: CoordinatorId(id),
                epoch: Epoch::new(epoch).unwrap(),
            }),
            (
                any::<u64>(),
                any::<u64>(),
                prop::collection::vec(".{0,12}", 0..5)
            )
                .prop_map(|(gtid, stamp, sites)| Record::Commit {
                    gtid: Gtid(gtid),
                    stamp: Stamp(stamp),
                    sites: sites.iter().map(|name| SiteName::new(name)).collect(),
                }),
            any::<u64>().prop_map(|gtid| Record::End { gtid: Gtid(gtid) }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(record in records()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn every_cut_and_every_addition_is_refused(record in records()) {
            let bytes = record.encode();
            for cut in 0..bytes.len() {
                prop_assert!(Record::decode(&bytes[..cut]).is_err());
            }
            prop_assert!(Record::decode(&[bytes, vec![0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_that_decode_are_the_encoding(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_named() {
        assert_eq!(Record::decode(&[9, 1, 2]), Err(RecordError::UnknownKind(9)));
    }
}
