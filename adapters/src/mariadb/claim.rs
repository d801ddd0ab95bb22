//! The claim of a site's name in MariaDB: a lock with a name, of a session of its own.
//!
//! It holds for the whole server, as the names of prepared branches do. What keeps two lives apart that both believe they
//! have it is the epoch (O3).

use std::time::Duration;

use mysql_async::Opts;

use super::session::{Fault, Session};
use crate::branch::Site;
use crate::claim::{PATIENCE, PAUSE, Taken};

/// After how much silence the server takes the claim back, in seconds: it cannot be told to ask the network sooner.
const SILENCE: u64 = 12;
/// How often the session says something.
const TALK: Duration = Duration::from_secs(4);

/// Claims the name of a site in a server, for as long as the present runtime lives.
///
/// # Errors
/// [`Taken`] if another process has it.
pub(crate) async fn claim(site: &str, address: &str) -> Result<(), Taken> {
    let (Ok(site), Ok(opts)) = (Site::new(site), Opts::from_url(address)) else {
        // Whoever connects next says what is wrong with it.
        return Ok(());
    };
    let mut session = match take(&opts, &site, PATIENCE).await {
        Ok(taken) => taken?,
        Err(_) => return Ok(()),
    };
    tokio::spawn(async move {
        loop {
            while session.run("DO 0").await.is_ok() {
                tokio::time::sleep(TALK).await;
            }
            session = loop {
                tokio::time::sleep(PAUSE).await;
                if let Ok(Ok(session)) = take(&opts, &site, Duration::ZERO).await {
                    break session;
                }
            };
        }
    });
    Ok(())
}

/// A session that has the name; or whose thread has it after that time. The server is waited for, not asked again and again.
async fn take(
    opts: &Opts,
    site: &Site,
    patience: Duration,
) -> Result<Result<Session, Taken>, Fault> {
    let mut session = Session::connect(opts.clone()).await?;
    session
        .run(&format!("SET wait_timeout = {SILENCE}"))
        .await?;
    let name = format!("CONCAT('co:', MD5('{}'), ':claim')", site.name());
    let ask = format!("SELECT GET_LOCK({name}, {})", patience.as_secs());
    let answer: Vec<Option<i64>> = session.rows(&ask).await?;
    if answer.first().copied().flatten() == Some(1) {
        return Ok(Ok(session));
    }
    let holders = format!("SELECT IFNULL(IS_USED_LOCK({name}), 0)");
    let holders: Vec<u64> = session.rows(&holders).await?;
    Ok(Err(Taken(holders.first().copied().unwrap_or(0))))
}
