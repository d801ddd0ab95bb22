//! Coming again after having been refused for lack of room.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use crate::service::retry_after;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that grow, until patience ends.
#[derive(Debug)]
pub(super) struct Backoff {
    end: Instant,
    factor: u32,
}

impl Backoff {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            end: Instant::now() + patience,
            factor: 1,
        }
    }

    /// Whether the call was refused for lack of room and is to be made again now: then the pause is over.
    /// At least what the server asked for, twice as much each time, and up to half of that more, so that those
    /// who were refused together do not come back together.
    pub(super) async fn again(&mut self, status: &Status) -> bool {
        match retry_after(status) {
            Some(after) => self.pause(after).await,
            None => false,
        }
    }

    /// Waits for at least `after`, unless patience ends before.
    pub(super) async fn pause(&mut self, after: Duration) -> bool {
        let pause = after.saturating_mul(self.factor).min(LONGEST.max(after));
        let spread = RandomState::new().build_hasher().finish() % 512;
        let pause = pause + pause / 1024 * u32::try_from(spread).unwrap_or_default();
        self.factor = self.factor.saturating_mul(2);
        if Instant::now() + pause >= self.end {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
