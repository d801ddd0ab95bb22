//! Doing a transaction again until it commits.

use std::time::Duration;

use co_core::Stamp;

use super::{Client, ClientError, Commit, Transaction};

/// How often and how fast a transaction is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Most attempts, the first included.
    pub attempts: u32,
    /// The pause after the first abort; doubled each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 100,
            first_pause: Duration::from_micros(500),
            longest_pause: Duration::from_millis(50),
        }
    }
}

impl Client {
    /// Runs `work` in a transaction and commits it; when it is aborted, again, as old as the first time.
    /// Returns what `work` returned last, and the stamp of the commit.
    ///
    /// `work` gets the transaction and gives it back to have it committed; it may run several times and must
    /// not keep anything from a run that failed. An abort that it got from an operation it hands on with
    /// `?`; with an error of its own it gives up. A refusal because a site's database is away
    /// ([`ClientError::is_database_away`]) counts as an abort, after which the longest pause is made.
    ///
    /// ```no_run
    /// # use coco::client::{Client, ClientError, Retry};
    /// # async fn transfer(client: &Client) -> Result<(), ClientError> {
    /// let (balance, stamp) = client
    ///     .retry(Retry::default(), |mut txn| async move {
    ///         txn.increment("berlin", b"alice", -10).await?;
    ///         let balance = txn.get("berlin", b"alice").await?;
    ///         Ok((txn, balance))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Aborted`], or a refusal for a database that is away, when the attempts have run out; at once with
    /// any other error, such as [`ClientError::OutcomeUnknown`], after which doing it again could do it twice.
    pub async fn retry<T, F>(
        &self,
        how: Retry,
        mut work: impl FnMut(Transaction) -> F,
    ) -> Result<(T, Stamp), ClientError>
    where
        F: Future<Output = Result<(Transaction, T), ClientError>>,
    {
        let mut txn = self.begin().await?;
        let priority = txn.priority();
        let mut pause = how.first_pause;
        let mut attempt = 1;
        loop {
            let gtid = txn.gtid();
            let outcome = match work(txn).await {
                Ok((txn, value)) => match txn.commit().await? {
                    Commit::Committed(stamp) => return Ok((value, stamp)),
                    Commit::Aborted(cause) => ClientError::Aborted(cause),
                },
                Err(error) => error,
            };
            let away = outcome.is_database_away();
            if !(outcome.is_abort() || away) || attempt >= how.attempts {
                return Err(outcome);
            }
            if away {
                // A database that is started again takes longer than a conflict.
                pause = how.longest_pause;
            }
            attempt += 1;
            // Those that met once should not meet again in step: the gtids differ, and so do the pauses.
            let spread = u32::try_from(gtid.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60);
            tokio::time::sleep(pause / 2 + pause * spread.unwrap_or(0) / 16).await;
            pause = (pause * 2).min(how.longest_pause);
            txn = self.begin_again(priority).await?;
        }
    }
}
