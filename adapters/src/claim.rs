//! One process a site: whoever opens a site over a PostgreSQL database claims its name there first.
//!
//! A site takes all prepared branches with its name for what an earlier life has left, and rolls back those that its log does
//! not know. Two processes with one name would do that to each other. The claim is an advisory lock of a session of its
//! own, so it ends with the process, and with the machine soon after.
//!
//! It keeps operators from a mistake and is no fence: after a break of that session the process claims the name again when
//! it can, and another may have been quicker.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls};

use crate::site::SiteError;

/// How long the claim of a former life may stay: the server looks after a silent machine this often, and as often as it says
/// below.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a claim is looked at that another has: nothing tells when it goes.
const LOOK: Duration = Duration::from_millis(100);
/// How long is waited before a broken session is replaced.
const PAUSE: Duration = Duration::from_secs(1);

/// A session, which is over when the task is.
struct Session {
    client: Client,
    over: tokio::task::JoinHandle<()>,
}

/// Claims the name of a site in a database, for as long as the present runtime lives.
///
/// # Errors
/// [`SiteError::Taken`] if another process has it.
pub(crate) async fn claim(site: &str, address: &str) -> Result<(), SiteError> {
    let Ok(config) = address.parse::<Config>() else {
        // Whoever connects next says what is wrong with it.
        return Ok(());
    };
    let Some(mut session) = connect(&config, site).await else {
        return Ok(());
    };
    let given_up = Instant::now() + PATIENCE;
    while let Err(holder) = take(&session.client, site).await {
        if Instant::now() >= given_up {
            let site = site.to_owned();
            return Err(SiteError::Taken { site, holder });
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
async fn take(client: &Client, site: &str) -> Result<(), i32> {
    let statement = "SELECT pg_try_advisory_lock(hashtext('commitment ordering site'), hashtext($1)), \
         coalesce((SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND classid = (hashtext('commitment ordering site')::bigint & 4294967295)::oid \
             AND objid = (hashtext($1)::bigint & 4294967295)::oid LIMIT 1), 0)";
    match client.query_one(statement, &[&site]).await {
        Ok(row) if !row.get::<_, bool>(0) => Err(row.get(1)),
        // Whoever works with the server says what is wrong with it.
        Ok(_) | Err(_) => Ok(()),
    }
}
