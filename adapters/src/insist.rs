//! What is decided is done, however often the database refuses it.
//!
//! A database that is away comes back, and is asked again without a word (`reach` tells of it). One that answers, and
//! refuses, has to be seen to by somebody: he is told what it said and what to do, at once and then less and less often,
//! and it is asked again all the same, since the decision stands.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::BackendError;

/// How long is waited before the database is asked again, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// How long after the first complaint the second one comes, and how long it is between two at most.
const COMPLAINTS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// What has to be done.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// What it is, after "cannot".
    pub(crate) what: String,
    /// What somebody can do about it.
    pub(crate) remedy: String,
}

impl Task {
    /// To end a branch; `statement` does so by hand.
    pub(crate) fn end_branch(commits: bool, statement: &str) -> Self {
        let (verb, decided) = if commits {
            ("commit", "committed")
        } else {
            ("roll back", "aborted")
        };
        Self {
            what: format!("{verb} a branch whose transaction is {decided}"),
            remedy: format!(
                "run `{statement}` in that database, as the user that prepared it or as a superuser, or give the site's \
                 user back what it lacks"
            ),
        }
    }

    /// To have the changes of a decided transaction in the table.
    pub(crate) fn redo() -> Self {
        Self {
            what: "write again what a decided transaction has left".to_owned(),
            remedy: "let the site's user write to its table again".to_owned(),
        }
    }
}

/// When to complain.
#[derive(Debug)]
pub(crate) struct Complaints {
    next: Option<Instant>,
    pause: Duration,
}

impl Complaints {
    pub(crate) const fn new() -> Self {
        Self {
            next: None,
            pause: COMPLAINTS.0,
        }
    }

    /// Whether it is time for one.
    pub(crate) fn are_due(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now + self.pause);
        self.pause = COMPLAINTS.1.min(2 * self.pause);
        true
    }
}

/// Repeats something until the database has done it.
pub(crate) async fn until_done<T, F>(task: Task, mut work: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, BackendError>>,
{
    let (mut pause, most) = PATIENCE;
    let mut complaints = Complaints::new();
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                if !error.is_away() && complaints.are_due(Instant::now()) {
                    let Task { what, remedy } = &task;
                    tracing::error!(
                        "cannot {what}: {error}; {remedy}. It is tried again until it is done"
                    );
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = most.min(2 * pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_at_once_and_then_less_and_less_often() {
        let mut complaints = Complaints::new();
        let start = Instant::now();
        let day = 24 * 3600;
        let due: Vec<u64> = (0..day)
            .filter(|second| complaints.are_due(start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(due[..5], [0, 60, 180, 420, 900]);
        let pauses: Vec<u64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&3600));
    }
}
