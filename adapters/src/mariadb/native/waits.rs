//! Who waits for whom, from the server's tables of transactions and waits.
//!
//! These tables are a copy that the server makes at most ten times a second, and not while anybody has read the last one
//! within [`AGE`]: whoever looks more often sees the same old copy for ever. So a look waits that long, and is made in
//! a transaction whose own statement bears a number: a copy that has the number is as new as the look.
//!
//! A transaction that has only read has the number 0 there, as all others of that kind, so nobody could tell whose lock it
//! is. A branch of the site gets a number of its own at its beginning: it asks to write to a table that is empty and stays
//! so, and waits for nobody there.
//!
//! Who holds a lock is told by the thread whose transaction it is. A prepared branch has its session until it is decided, so
//! its thread is known as well; without one is only what is left in doubt by a former life, and behind the fence nobody
//! waits for that.

use std::time::Duration;

use super::super::session::{Fault, Session};
use crate::native::SessionId;

/// How long the server shows the same copy after it was last read.
pub(super) const AGE: Duration = Duration::from_millis(100);
/// How often a look is made again because somebody else had looked just before.
const LOOKS: u32 = 50;

/// The thread that waits, and whose transaction it waits for: that of none for somebody who has none.
pub(super) type Seen = (SessionId, Option<SessionId>);

fn query(number: u64) -> String {
    let mark = format!("/* look {number} */");
    // The mark of another number is no part of it: it ends with a space.
    format!(
        "SELECT {mark} r.trx_mysql_thread_id, IFNULL(b.trx_mysql_thread_id, 0) \
         FROM information_schema.INNODB_LOCK_WAITS w \
         JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id AND r.trx_id <> 0 \
         LEFT JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id AND b.trx_id <> 0 \
         UNION ALL SELECT 0, 0 FROM information_schema.INNODB_TRX \
         WHERE trx_mysql_thread_id = CONNECTION_ID() AND LOCATE(CONCAT('look ', '{number} '), trx_query) > 0 \
         UNION ALL SELECT ID, 0 FROM information_schema.PROCESSLIST \
         WHERE STATE LIKE 'Waiting for table%lock' OR STATE LIKE 'Waiting for schema%lock'"
    )
}

/// Looks, in a session that does nothing else. `sites` is a table to begin a transaction with.
pub(super) async fn look(
    session: &mut Session,
    sites: &str,
    number: u64,
) -> Result<Vec<Seen>, Fault> {
    let begin = format!("START TRANSACTION; DO (SELECT COUNT(*) FROM {sites} WHERE `site` = '')");
    let query = query(number);
    for _ in 0..LOOKS {
        session.run(&begin).await?;
        let rows: Vec<(u64, u64)> = session.rows(&query).await?;
        session.run("COMMIT").await?;
        if rows.contains(&(0, 0)) {
            let seen = rows.into_iter().filter(|(waiter, _)| *waiter != 0);
            let session = |thread| SessionId(thread);
            return Ok(seen
                .map(|(waiter, holder)| (session(waiter), (holder != 0).then(|| session(holder))))
                .collect());
        }
        tokio::time::sleep(AGE).await;
    }
    Err(Fault::Said {
        code: 0,
        why: "somebody looks at INNODB_TRX all the time, so that it is never brought up to date"
            .to_owned(),
    })
}
