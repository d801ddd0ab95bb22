//! Since when transactions are in doubt or wait at this site.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use co_core::Gtid;
use coco::service::site::{InDoubtInfo, Pending, SiteWait};
use tokio::time::Instant;

use crate::site::Site;
use crate::sync::Mutex;

/// When each was first seen so. Looked at every tenth of a second, which is how exact the ages are.
#[derive(Debug, Default)]
pub(super) struct Watch {
    since: Mutex<Since>,
    linked: AtomicBool,
}

#[derive(Debug, Default)]
struct Since {
    in_doubt: HashMap<Gtid, Instant>,
    waits: HashMap<Gtid, Instant>,
}

/// Keeps those that are there, and remembers when the new ones came.
fn update(since: &mut HashMap<Gtid, Instant>, now: Instant, present: &[Gtid]) {
    let before = std::mem::take(since);
    for gtid in present {
        since.insert(*gtid, before.get(gtid).copied().unwrap_or(now));
    }
}

impl Watch {
    /// The link to the coordinator is up, or down.
    pub(super) fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Ordering::Relaxed);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Relaxed)
    }

    /// Looks at the site, and says what is not settled there.
    pub(super) fn look(&self, site: &Site) -> Pending {
        let now = Instant::now();
        let in_doubt = site.in_doubt();
        let waits = site.participant().blocked();
        let waiters: Vec<Gtid> = waits.iter().map(|wait| wait.gtid).collect();
        let mut since = self.since.lock();
        update(&mut since.in_doubt, now, &in_doubt);
        update(&mut since.waits, now, &waiters);
        let in_doubt = in_doubt.into_iter().map(|gtid| InDoubtInfo {
            gtid,
            age: now - since.in_doubt[&gtid],
        });
        let in_doubt = in_doubt.collect();
        let waits = waits.into_iter().map(|wait| SiteWait {
            gtid: wait.gtid,
            waits_for: wait.by.into_iter().map(|(gtid, _)| gtid).collect(),
            age: now - since.waits[&wait.gtid],
        });
        Pending {
            in_doubt,
            waits: waits.collect(),
            heuristics: site.heuristics(),
        }
    }
}
