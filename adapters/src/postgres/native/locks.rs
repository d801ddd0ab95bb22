//! Who waits for whom, from the server's table of locks.
//!
//! `pg_blocking_pids` says 0 for a prepared transaction, so the holders are found here: those who have what conflicts with
//! the request, and those who wait for it and came before. A lock of a prepared transaction has no process. It has the same
//! virtual transaction as the lock that every transaction holds on its own number, and `pg_prepared_xacts` has the name
//! for that number. (The virtual transaction itself is that of the session which has prepared it, and only after a crash
//! made of the number.)

use tokio_postgres::Row;

use crate::branch::Site;
use crate::native::{Holder, SessionId, Wait};

/// All that is asked for or held where somebody waits. Locks that are given back before their transaction ends say
/// nothing about it, and are left out.
pub(super) const QUERY: &str = "\
    WITH l AS MATERIALIZED (\
        SELECT *, ROW(locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, \
        objsubid)::text AS tag FROM pg_locks \
        WHERE locktype IN ('relation', 'transactionid', 'virtualxid', 'tuple', 'object', 'advisory')) \
    SELECT l.tag, l.mode, l.granted, l.pid, p.gid, extract(epoch FROM l.waitstart)::float8 \
    FROM l LEFT JOIN (SELECT o.virtualtransaction, x.gid FROM l o JOIN pg_prepared_xacts x \
        ON o.locktype = 'transactionid' AND o.pid IS NULL AND o.granted AND o.transactionid = x.transaction) p \
    ON l.pid IS NULL AND p.virtualtransaction = l.virtualtransaction \
    WHERE l.tag IN (SELECT tag FROM l WHERE NOT granted)";

/// One lock, held or asked for.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Lock {
    tag: String,
    mode: String,
    granted: bool,
    owner: Holder,
    /// When it was asked for, in seconds; unknown for a moment after that.
    since: Option<f64>,
}

impl Lock {
    pub(super) fn read(row: &Row, site: &Site) -> Self {
        let process: Option<i32> = row.get(3);
        let name: Option<&str> = row.get(4);
        let branch = name.and_then(|name| site.parse(name));
        let owner = match (process, branch) {
            (Some(process), _) => Holder::Session(session_of(process)),
            (None, Some(branch)) => Holder::Branch(branch),
            (None, None) => Holder::Foreign,
        };
        Self {
            tag: row.get(0),
            mode: row.get(1),
            granted: row.get(2),
            owner,
            since: row.get(5),
        }
    }
}

pub(super) fn session_of(process: i32) -> SessionId {
    SessionId(u64::from(process.unsigned_abs()))
}

/// Who waits for whom.
pub(super) fn waits(locks: &[Lock]) -> Vec<Wait> {
    let mut waits = Vec::new();
    for asked in locks.iter().filter(|lock| !lock.granted) {
        let Holder::Session(waiter) = asked.owner else {
            continue;
        };
        let others = locks
            .iter()
            .filter(|other| other.tag == asked.tag && other.owner != asked.owner);
        let in_the_way = others.filter(|other| {
            conflict(&other.mode, &asked.mode) && (other.granted || came_before(other, asked))
        });
        let before = waits.len();
        waits.extend(in_the_way.map(|other| Wait {
            waiter,
            holder: other.owner,
        }));
        if waits.len() == before {
            // Whoever is in its way has gone this moment, or is not known to be.
            let holder = Holder::Foreign;
            waits.push(Wait { waiter, holder });
        }
    }
    waits
}

fn came_before(other: &Lock, asked: &Lock) -> bool {
    match (other.since, asked.since) {
        (Some(other), Some(asked)) => other < asked,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The modes of the server's locks, weakest first, and for each those that it conflicts with (PostgreSQL, table 13.2).
const MODES: [(&str, u8); 8] = [
    ("AccessShareLock", 0b1000_0000),
    ("RowShareLock", 0b1100_0000),
    ("RowExclusiveLock", 0b1111_0000),
    ("ShareUpdateExclusiveLock", 0b1111_1000),
    ("ShareLock", 0b1110_1100),
    ("ShareRowExclusiveLock", 0b1111_1100),
    ("ExclusiveLock", 0b1111_1110),
    ("AccessExclusiveLock", 0b1111_1111),
];

fn conflict(held: &str, asked: &str) -> bool {
    let place = |mode| MODES.iter().position(|(name, _)| *name == mode);
    match (place(held), place(asked)) {
        (Some(held), Some(asked)) => MODES[held].1 & (1 << asked) != 0,
        // Modes of another kind of lock: rather one wait too many.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use co_core::Gtid;

    use super::*;
    use crate::branch::BranchName;

    fn lock(tag: &str, mode: &str, granted: bool, owner: Holder, since: Option<f64>) -> Lock {
        Lock {
            tag: tag.to_owned(),
            mode: mode.to_owned(),
            granted,
            owner,
            since,
        }
    }

    const fn session(id: u64) -> Holder {
        Holder::Session(SessionId(id))
    }

    #[test]
    fn conflicts_are_mutual() {
        for (held, _) in MODES {
            for (asked, _) in MODES {
                assert_eq!(
                    conflict(held, asked),
                    conflict(asked, held),
                    "{held} {asked}"
                );
            }
        }
        assert!(!conflict("RowExclusiveLock", "RowExclusiveLock"));
        assert!(!conflict("ShareLock", "ShareLock"));
        assert!(conflict("ShareLock", "RowExclusiveLock"));
        assert!(conflict("ShareRowExclusiveLock", "ShareRowExclusiveLock"));
        assert!(!conflict("AccessShareLock", "ExclusiveLock"));
    }

    #[test]
    fn who_waits_waits_for_those_who_hold_and_for_those_before_it_in_the_queue() {
        let branch = Holder::Branch(BranchName::Global(Gtid(7)));
        let locks = [
            lock("t", "RowExclusiveLock", true, branch, None),
            lock("t", "AccessShareLock", true, session(1), None),
            lock("t", "ShareLock", false, session(2), Some(1.0)),
            lock("t", "RowExclusiveLock", false, session(3), Some(2.0)),
            lock("u", "ExclusiveLock", true, session(4), None),
            lock("u", "ShareLock", false, session(5), None),
            lock("v", "ShareLock", false, session(6), Some(3.0)),
        ];
        let wait = |waiter, holder| Wait {
            waiter: SessionId(waiter),
            holder,
        };
        assert_eq!(
            waits(&locks),
            [
                wait(2, branch),
                wait(3, session(2)),
                wait(5, session(4)),
                wait(6, Holder::Foreign)
            ]
        );
    }
}
