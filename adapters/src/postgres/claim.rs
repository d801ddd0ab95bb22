//! The claim of a site's name in PostgreSQL: an advisory lock of a session of its own.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls};

use crate::claim::{PATIENCE, PAUSE, Taken};

/// How often a claim is looked at that another has: nothing tells when it goes.
const LOOK: Duration = Duration::from_millis(100);

/// A session, which is over when the task is.
struct Session {
    client: Client,
    over: tokio::task::JoinHandle<()>,
}

/// Claims the name of a site in a database, for as long as the present runtime lives.
///
/// # Errors
/// [`Taken`] if another process has it.
pub(crate) async fn claim(site: &str, address: &str) -> Result<(), Taken> {
    let Ok(config) = address.parse::<Config>() else {
        // Whoever connects next says what is wrong with it.
        return Ok(());
    };
    let Some(mut session) = connect(&config, site).await else {
        return Ok(());
    };
    let given_up = Instant::now() + PATIENCE;
    while let Err(taken) = take(&session.client, site).await {
        if Instant::now() >= given_up {
            return Err(taken);
        }
        tokio::time::sleep(LOOK).await;
    }
    let site = site.to_owned();
    tokio::spawn(async move {
        loop {
            let _ended = session.over.await;
            session = loop {
                tokio::time::sleep(PAUSE).await;
                if let Some(session) = connect(&config, &site).await
                    && take(&session.client, &site).await.is_ok()
                {
                    break session;
                }
            };
        }
    });
    Ok(())
}

/// A session whose end the server notices; nothing if it cannot be reached, which whoever works with it says better.
async fn connect(config: &Config, site: &str) -> Option<Session> {
    let mut config = config.clone();
    config.application_name(format!("commitment ordering: {site}, claim"));
    let (client, connection) = config.connect(NoTls).await.ok()?;
    let over = tokio::spawn(async move {
        let _broken = connection.await;
    });
    for setting in [
        "tcp_keepalives_idle = 5",
        "tcp_keepalives_interval = 2",
        "tcp_keepalives_count = 3",
        "idle_session_timeout = 0",
    ] {
        // Not every server knows the last one.
        let _not_known = client.batch_execute(&format!("SET {setting}")).await;
    }
    Some(Session { client, over })
}

/// Takes the name, or says which process of the server has it.
async fn take(client: &Client, site: &str) -> Result<(), Taken> {
    let statement = "SELECT pg_try_advisory_lock(hashtext('commitment ordering site'), hashtext($1)), \
         coalesce((SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND classid = (hashtext('commitment ordering site')::bigint & 4294967295)::oid \
             AND objid = (hashtext($1)::bigint & 4294967295)::oid LIMIT 1), 0)";
    match client.query_one(statement, &[&site]).await {
        Ok(row) if !row.get::<_, bool>(0) => {
            let process: i32 = row.get(1);
            Err(Taken(u64::try_from(process).unwrap_or(0)))
        }
        // Whoever works with the server says what is wrong with it.
        Ok(_) | Err(_) => Ok(()),
    }
}
