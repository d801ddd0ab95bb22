//! How far a search goes.

use serde::Serialize;
use thiserror::Error;

/// The most replicas that a search can have.
pub const MAX_REPLICAS: usize = 4;

/// How far a search goes: every situation within these bounds, but at most so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    replicas: u8,
    transactions_each: u8,
    max_situations: u32,
}

/// Why bounds make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BoundsError {
    /// One replica alone merges nothing, and a situation has room for only so many.
    #[error("a search has 2 to {MAX_REPLICAS} replicas, not {0}")]
    Replicas(u8),
    /// No situation at all could be visited.
    #[error("a search must be allowed at least one situation")]
    NoSituations,
}

impl Bounds {
    /// Bounds: the number of replicas, of committed transactions at each of them, and of situations (at about 100
    /// bytes for each, and as many states as are met) after which the verdict is "unknown".
    ///
    /// # Errors
    ///
    /// If there are fewer than 2 or more than [`MAX_REPLICAS`] replicas, or no situations.
    pub const fn new(
        replicas: u8,
        transactions_each: u8,
        max_situations: u32,
    ) -> Result<Self, BoundsError> {
        if replicas < 2 || replicas as usize > MAX_REPLICAS {
            return Err(BoundsError::Replicas(replicas));
        }
        if max_situations == 0 {
            return Err(BoundsError::NoSituations);
        }
        Ok(Self {
            replicas,
            transactions_each,
            max_situations,
        })
    }

    /// The number of replicas.
    #[must_use]
    pub const fn replicas(&self) -> u8 {
        self.replicas
    }

    /// How many transactions may commit at each replica.
    #[must_use]
    pub const fn transactions_each(&self) -> u8 {
        self.transactions_each
    }

    /// How many situations may be kept.
    #[must_use]
    pub const fn max_situations(&self) -> u32 {
        self.max_situations
    }

    /// The same bounds with another number of transactions at each replica.
    #[must_use]
    pub const fn with_transactions_each(self, transactions_each: u8) -> Self {
        Self {
            transactions_each,
            ..self
        }
    }
}

impl Default for Bounds {
    /// Two replicas, three transactions at each, a million situations.
    fn default() -> Self {
        Self {
            replicas: 2,
            transactions_each: 3,
            max_situations: 1_000_000,
        }
    }
}
