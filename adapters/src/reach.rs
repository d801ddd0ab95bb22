//! Whether the site's database can be reached: told to the operator when that changes, and not with every statement.
//!
//! Whoever finds the database away says so ([`Reach::suspect`]), and it is asked something small until it answers. One
//! connection that broke is no reason to call the database away: its next answer is heard at once, and nothing is told.
//!
//! Invariant (T1): one task at most asks, and it tells once that the database is away and once that it is back.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::backend::BackendError;

/// How long is waited before a database that is away is asked again, at first and at most: no event tells that it is back.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What is known of one database.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Somebody asks (T1).
    asking: Arc<AtomicBool>,
}

/// What happens to a database, for its operator.
#[derive(Clone, PartialEq, Debug)]
enum News {
    Away(String),
    Back(String, Duration),
}

fn log(news: &News) {
    match news {
        News::Away(why) => tracing::warn!(
            "{why}; transactions that need it are refused or aborted until it is back"
        ),
        News::Back(database, after) => tracing::info!(
            "{database} answers again, after {:.1} s",
            after.as_secs_f64()
        ),
    }
}

impl Reach {
    /// Somebody could not reach the database. `ask` asks it something small, on `home`; `None` says that nobody wants to know
    /// any more.
    pub(crate) fn suspect<F>(&self, home: &Handle, ask: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Option<Result<(), BackendError>>> + Send,
    {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let asking = Arc::clone(&self.asking);
        home.spawn(async move {
            follow(ask, log).await;
            asking.store(false, Ordering::Release);
        });
    }
}

/// Asks until there is an answer.
async fn follow<F>(ask: impl Fn() -> F, mut tell: impl FnMut(&News))
where
    F: Future<Output = Option<Result<(), BackendError>>>,
{
    let started = Instant::now();
    let (mut pause, most) = PAUSE;
    let mut away = None;
    while let Some(answer) = ask().await {
        match answer {
            Err(ref error @ BackendError::Away { ref database, .. }) => {
                if away.is_none() {
                    away = Some(database.clone());
                    tell(&News::Away(error.to_string()));
                }
            }
            // A refusal is an answer.
            Ok(()) | Err(BackendError::Refused { .. } | BackendError::TooManyRows) => {
                if let Some(database) = away {
                    tell(&News::Back(database, started.elapsed()));
                }
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = most.min(2 * pause);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn away() -> BackendError {
        BackendError::Away {
            database: "the database".to_owned(),
            why: "it is a test".to_owned(),
        }
    }

    /// Makes an answer; none if nobody wants to know any more.
    type Answer = fn() -> Option<Result<(), BackendError>>;

    /// What is told if the database answers like this.
    fn told(answers: &[Answer]) -> Vec<News> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (asked, told) = (Cell::new(0), RefCell::new(Vec::new()));
        let ask = || {
            let answer = answers[asked.get()]();
            asked.set(asked.get() + 1);
            async { answer }
        };
        runtime.block_on(follow(ask, |news| told.borrow_mut().push(news.clone())));
        assert_eq!(
            asked.get(),
            answers.len(),
            "it asks until there is an answer"
        );
        told.into_inner()
    }

    #[test]
    fn a_database_that_goes_and_comes_is_told_of_once_each() {
        let news = told(&[|| Some(Err(away())), || Some(Err(away())), || Some(Ok(()))]);
        let [News::Away(why), News::Back(database, after)] = news.as_slice() else {
            panic!("{news:?}");
        };
        assert_eq!(why, "the database cannot be reached: it is a test");
        assert_eq!(database, "the database");
        assert!(*after >= PAUSE.0, "{after:?}");
    }

    #[test]
    fn a_connection_that_broke_is_not_a_database_that_is_away() {
        assert_eq!(told(&[|| Some(Ok(()))]), []);
        assert_eq!(told(&[|| None]), []);
    }
}
