//! Sessions with one server, each used by one caller at a time.
//!
//! Their connections live on the runtime on which the pool was made, whoever uses them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::backend::BackendError;

/// A connection, and which process of the server is behind it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) process: Process,
    pub(super) get: Statement,
    pub(super) scan: Statement,
    pub(super) scan_on: Statement,
}

/// A process of the server: numbers come back, so its start belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) started: String,
}

/// What every session prepares.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) get: String,
    pub(super) scan: String,
    pub(super) scan_on: String,
}

#[derive(Debug)]
pub(super) struct Pool {
    config: Config,
    database: String,
    texts: Texts,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
    home: Handle,
}

/// A session that goes back when it is dropped, unless it is broken.
pub(super) struct Held<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// # Panics
    /// Outside a runtime.
    pub(super) fn new(config: Config, database: String, texts: Texts, size: usize) -> Self {
        Self {
            config,
            database,
            texts,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size)),
            home: Handle::current(),
        }
    }

    /// A session of one's own; waits while all are in use.
    pub(super) async fn session(&self) -> Result<Held<'_>, BackendError> {
        let permits = Arc::clone(&self.permits);
        let permit = permits
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let session = loop {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match idle {
                Some(session) if session.client.is_closed() => {}
                Some(session) => break session,
                None => break self.connect().await?,
            }
        };
        Ok(Held {
            pool: self,
            session: Some(session),
            _permit: permit,
        })
    }

    async fn connect(&self) -> Result<Session, BackendError> {
        let error = |error| self.error(&error);
        let config = self.config.clone();
        let connected = self.home.spawn(async move {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(async move {
                // Whoever uses the client hears of it.
                let _broken = connection.await;
            });
            Ok(client)
        });
        let client = match connected.await {
            Ok(client) => client.map_err(error)?,
            Err(gone) => {
                return Err(BackendError::Away {
                    database: self.database.clone(),
                    why: gone.to_string(),
                });
            }
        };
        let row = client
            .query_one(
                "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()",
                &[],
            )
            .await
            .map_err(error)?;
        let process = Process {
            pid: row.get(0),
            started: row.get(1),
        };
        let Texts { get, scan, scan_on } = &self.texts;
        Ok(Session {
            get: client.prepare(get).await.map_err(error)?,
            scan: client.prepare(scan).await.map_err(error)?,
            scan_on: client.prepare(scan_on).await.map_err(error)?,
            client,
            process,
        })
    }

    /// What an error of the server, or of the way to it, means to the adapter.
    pub(super) fn error(&self, error: &tokio_postgres::Error) -> BackendError {
        let database = self.database.clone();
        let Some(said) = error.as_db_error() else {
            return BackendError::Away {
                database,
                why: error.to_string(),
            };
        };
        let code = said.code().code();
        let why = said.message().to_owned();
        // Lost connections, too many of them, and servers that start or stop.
        let away = code.starts_with("08") || code.starts_with("57P") || code == "53300";
        if away {
            BackendError::Away { database, why }
        } else {
            let code = code.to_owned();
            BackendError::Refused {
                database,
                code,
                why,
            }
        }
    }
}

impl Held<'_> {
    /// The session is of no use any more: nobody gets it.
    pub(super) fn discard(mut self) {
        self.session = None;
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if !session.client.is_closed() {
            let mut idle = self
                .pool
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            idle.push(session);
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
