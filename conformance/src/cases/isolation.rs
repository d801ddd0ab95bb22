//! Anomalies at one site: what a reader may see, and which pairs may not both commit.

use super::{Case, Script};
use crate::engine::Engine;

static SCRIPTS: [Script; 16] = [
    one(
        "own-writes",
        "a transaction sees its own writes, in reads and in scans",
        &[
            "r1(x) w1(x) r1(x) s1(a..z) w1(x) r1(x) d1(x) r1(x) s1(a..z) w1(y) s1(a..) c1 r2(x) r2(y) s2(a..z) c2",
        ],
        2,
    ),
    one(
        "dirty-read",
        "what is aborted was never seen",
        &["w1(x) r2(x) a1 c2", "w1(x) w1(y) r2(x) a1 r2(y) c2"],
        1,
    ),
    one(
        "intermediate-read",
        "what is overwritten before the commit was never seen",
        &["w1(x) r2(x) w1(x) c1 c2", "w1(x) s2(a..z) w1(x) c1 c2"],
        1,
    ),
    one(
        "unrepeatable-read",
        "two reads of one item agree",
        &[
            "r1(x) w2(x) c2 r1(x) c1",
            "w9(x) c9 r1(x) d2(x) c2 r1(x) c1",
        ],
        1,
    ),
    one(
        "read-skew",
        "a reader sees all of a transaction or nothing of it",
        &[
            "r1(x) w2(x) w2(y) c2 r1(y) c1",
            "r1(x) w2(y) w2(x) r1(y) c2 c1",
        ],
        1,
    ),
    mixed(
        "lost-update",
        "of two that read and then write one item, the later has seen the earlier",
        &[("r1(x) w1(x) c1", "r2(x) w2(x) c2")],
    ),
    mixed(
        "write-skew",
        "two that read both items and write one each do not both commit on what they read",
        &[
            ("r1(x) w1(y) c1", "r2(y) w2(x) c2"),
            ("r1(x) r1(y) w1(x) c1", "r2(x) r2(y) w2(y) c2"),
        ],
    ),
    mixed(
        "phantom",
        "an insert into a range follows whoever has scanned it",
        &[("s1(a..c) s1(a..c) c1", "w2(b) c2")],
    ),
    one(
        "phantom-delete",
        "a delete from a range follows whoever has scanned it, and is seen by whoever scans later",
        &[
            "w9(b) c9 s1(a..c) d2(b) c2 s1(a..c) c1 s3(a..c) r3(b) c3",
            "w9(b) c9 s1(a..c) d2(b) p2 c1 c2 s3(a..c) c3",
            "w9(b) c9 s1(a..c) s2(a..c) d1(b) w2(a1) c1 c2 s3(a..c) c3",
        ],
        1,
    ),
    mixed(
        "phantom-skew",
        "two that scan a range and insert into it do not both commit on what they saw",
        &[("s1(a..c) w1(a1) c1", "s2(a..c) w2(b1) c2")],
    ),
    one(
        "open-range",
        "a scan without an upper end guards all that comes after",
        &[
            "s1(m..) w2(z) c2 s1(m..) c1",
            "s1(m..) s2(m..) w1(y) w2(z) c1 c2",
        ],
        1,
    ),
    mixed(
        "absent-read",
        "a read of a key that is not there is a read",
        &[("r1(x) w1(y) c1", "r2(y) d2(y) w2(x) c2")],
    ),
    one(
        "every-reader",
        "a writer follows every reader before it, not only the last one",
        &[
            "r1(x) r2(x) w3(x) c3 c2 c1",
            "r1(x) r2(x) w3(x) c3 a2 c1",
            "s1(a..z) s2(a..z) w3(x) c3 c2 c1",
            "r1(x) s2(a..z) w3(x) c3 c2 c1",
        ],
        1,
    ),
    one(
        "every-writer",
        "what follows an aborted writer still follows the one before it",
        &[
            "w1(x) w2(x) r3(x) a2 c3 c1",
            "w1(x) w2(x) w3(x) a2 c3 c1 r4(x) c4",
        ],
        1,
    ),
    mixed(
        "deadlock",
        "of two that write the same items in opposite orders, one commits and nobody waits for ever",
        &[("w1(x) w1(y) c1", "w2(y) w2(x) c2")],
    ),
    one(
        "no-conflict",
        "transactions without a conflict all commit",
        &[
            "r1(x) r2(x) s1(a..z) s2(a..z) c2 c1",
            "r1(x) w1(x) r2(y) w2(y) c2 c1",
        ],
        2,
    ),
];

const fn one(
    id: &'static str,
    title: &'static str,
    schedules: &'static [&'static str],
    least: usize,
) -> Script {
    Script {
        id,
        title,
        sites: 1,
        schedules,
        mixed: &[],
        least,
    }
}

const fn mixed(
    id: &'static str,
    title: &'static str,
    mixed: &'static [(&'static str, &'static str)],
) -> Script {
    Script {
        id,
        title,
        sites: 1,
        schedules: &[],
        mixed,
        least: 1,
    }
}

pub(super) fn cases<E: Engine>() -> Vec<Case<E>> {
    SCRIPTS.iter().map(Script::case).collect()
}
